package bevraging

import (
	"encoding/json"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Uitkomst is how the question for one dienst of one gemeente ended. Only Beantwoord and GeenGegevens say something about the
// person.
type Uitkomst string

// The outcomes.
const (
	Beantwoord       Uitkomst = "beantwoord"        // there is data
	GeenGegevens     Uitkomst = "geen-gegevens"     // all sources of the dienst answered and do not know the person
	Geweigerd        Uitkomst = "geweigerd"         // denied, by our own policy or by the gemeente
	BronOnbereikbaar Uitkomst = "bron-onbereikbaar" // the gemeente answered, its source did not
	Onbereikbaar     Uitkomst = "onbereikbaar"      // no answer that can be used
	TeLaat           Uitkomst = "te-laat"           // no answer in time
	NietGevraagd     Uitkomst = "niet-gevraagd"     // nothing was sent
)

// Antwoord is the answer to a question (schemas/bevraging.openapi.yaml).
type Antwoord struct {
	Doel       gateway.Doel       `json:"doel"`
	Zaak       string             `json:"zaak"`
	GevraagdOp time.Time          `json:"gevraagdOp"`
	Volledig   bool               `json:"volledig"` // every dienst Beantwoord or GeenGegevens, and nothing withheld
	Gemeenten  []GemeenteAntwoord `json:"gemeenten"`
}

// Samenvatting ends a stream: whoever did not read it does not have the whole answer.
type Samenvatting struct {
	Doel       gateway.Doel `json:"doel"`
	Zaak       string       `json:"zaak"`
	GevraagdOp time.Time    `json:"gevraagdOp"`
	Volledig   bool         `json:"volledig"`
	Aantal     int          `json:"aantal"` // of gemeenten, each of which was given
}

// GemeenteGevraagd says of a gemeente that it is being asked: the first event of an event stream has them all.
type GemeenteGevraagd struct {
	OIN          gateway.PeerID `json:"oin"`
	Gemeentecode string         `json:"gemeentecode,omitempty"`
	Naam         string         `json:"naam"`
	Grond        gateway.Grond  `json:"grond"`
}

// GemeenteAntwoord is what came of the question at one gemeente.
type GemeenteAntwoord struct {
	OIN          gateway.PeerID        `json:"oin"`
	Gemeentecode string                `json:"gemeentecode,omitempty"`
	GevraagdAls  []string              `json:"gevraagdAls,omitempty"` // codes of before a herindeling, by which the question named it
	Naam         string                `json:"naam"`
	Grond        gateway.Grond         `json:"grond"`                // on which this gemeente is asked
	Transactie   gateway.TransactionID `json:"transactie,omitempty"` // empty: the outway did not answer either
	Geheim       bool                  `json:"geheim"`               // the person asked for secrecy: do not pass on
	Diensten     []DienstAntwoord      `json:"diensten"`             // every dienst that was asked, or would have been
}

// DienstAntwoord is what came of one dienst.
type DienstAntwoord struct {
	Dienst    gateway.Dienst `json:"dienst"`
	Uitkomst  Uitkomst       `json:"uitkomst"`
	Gevraagd  []gateway.Veld `json:"gevraagd"`
	Reden     *Reden         `json:"reden,omitempty"` // always, unless Beantwoord or GeenGegevens
	Bron      string         `json:"bron,omitempty"`
	Grondslag string         `json:"grondslag,omitempty"` // the law that this disclosure rests on
	Rijen     []Rij          `json:"rijen"`
	Onthouden []Onthouden    `json:"onthouden"` // asked and withheld
}

// Rij is one occurrence: its values by field, and the day that they describe.
type Rij struct {
	Peildatum string                           `json:"peildatum"` // 2026-11-23
	Waarden   map[gateway.Veld]json.RawMessage `json:"waarden"`
}

// Onthouden are fields that were asked and are not given, for one reason.
type Onthouden struct {
	Velden []gateway.Veld `json:"velden"`
	Reden  Reden          `json:"reden"`
}

// Reden is a public reason.
type Reden struct {
	Code  string `json:"code"`
	Tekst string `json:"tekst"`
}

// antwoord is the answer about q's gemeente before anything is known: every dienst that is asked, as niet-gevraagd.
func (q question) antwoord(id gateway.TransactionID) *GemeenteAntwoord {
	g := &GemeenteAntwoord{
		OIN: q.gemeente.ID, Gemeentecode: q.gemeente.Code, GevraagdAls: q.gemeente.als, Naam: q.gemeente.Naam, Grond: q.gemeente.grond,
		Transactie: id,
	}
	for _, dienst := range q.velden.Diensten() {
		g.Diensten = append(g.Diensten, DienstAntwoord{
			Dienst: dienst, Uitkomst: NietGevraagd, Gevraagd: q.velden[dienst], Rijen: []Rij{}, Onthouden: []Onthouden{},
		})
	}
	return g
}

// alle gives every dienst one outcome and one reason.
func (g *GemeenteAntwoord) alle(u Uitkomst, r Reden) {
	for i := range g.Diensten {
		g.Diensten[i].Uitkomst, g.Diensten[i].Reden = u, &r
	}
}

func (g *GemeenteAntwoord) volledig() bool {
	for _, d := range g.Diensten {
		if d.Uitkomst != Beantwoord && d.Uitkomst != GeenGegevens || len(d.Onthouden) > 0 {
			return false
		}
	}
	return len(g.Diensten) > 0
}
