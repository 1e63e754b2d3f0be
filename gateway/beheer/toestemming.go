package beheer

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/toestemming"
)

// Bounds of a page of consents.
const (
	defaultPage = 100
	maxPage     = 1000
)

// NieuweToestemmingJSON is a consent to register (schemas/beheer.openapi.yaml, NieuweToestemming).
type NieuweToestemmingJSON struct {
	BSN               string            `json:"bsn"`
	Soort             toestemming.Soort `json:"soort"`
	Doel              gateway.Doel      `json:"doel"`
	Ontvanger         gateway.PeerID    `json:"ontvanger"`
	Velden            gateway.Velden    `json:"velden,omitempty"`
	GegevenDoor       string            `json:"gegevenDoor"`
	GeregistreerdDoor gateway.PeerID    `json:"geregistreerdDoor,omitempty"` // default: this peer
	Tekstversie       string            `json:"tekstversie"`
	Kanaal            string            `json:"kanaal"`
	Gegeven           *time.Time        `json:"gegeven,omitempty"` // default: now
	GeldigTot         time.Time         `json:"geldigTot"`
}

// ToestemmingJSON is a consent as this API shows it: by pseudonym.
type ToestemmingJSON struct {
	ID                string            `json:"id"`
	Betrokkene        gateway.Pseudonym `json:"betrokkene"`
	Toestand          string            `json:"toestand"`
	Soort             toestemming.Soort `json:"soort"`
	Doel              gateway.Doel      `json:"doel"`
	DoelVersie        int               `json:"doelVersie"`
	Ontvanger         gateway.PeerID    `json:"ontvanger"`
	Velden            gateway.Velden    `json:"velden,omitempty"`
	GegevenDoor       string            `json:"gegevenDoor"`
	GeregistreerdDoor gateway.PeerID    `json:"geregistreerdDoor"`
	Tekstversie       string            `json:"tekstversie,omitempty"`
	Kanaal            string            `json:"kanaal,omitempty"`
	Gegeven           time.Time         `json:"gegeven"`
	GeldigTot         time.Time         `json:"geldigTot"`
	Bevestigd         *time.Time        `json:"bevestigd,omitempty"`
	Ingetrokken       *time.Time        `json:"ingetrokken,omitempty"`
}

func toestemmingJSON(t toestemming.Toestemming, now time.Time) ToestemmingJSON {
	return ToestemmingJSON{
		ID: t.ID, Betrokkene: t.Betrokkene, Toestand: string(t.StateOf(now)), Soort: t.Soort, Doel: t.Doel, DoelVersie: t.DoelVersie,
		Ontvanger: t.Ontvanger, Velden: t.Velden, GegevenDoor: t.GegevenDoor, GeregistreerdDoor: t.GeregistreerdDoor,
		Tekstversie: t.Tekstversie, Kanaal: t.Kanaal, Gegeven: t.Gegeven.UTC(), GeldigTot: t.GeldigTot.UTC(),
		Bevestigd: moment(t.BevestigdOp), Ingetrokken: moment(t.Ingetrokken),
	}
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// bsn reads the BSN of a body.
func (h *Handler) bsn(s string) (gateway.BSN, error) {
	bsn, err := gateway.ParseBSN(s)
	if err != nil {
		return gateway.BSN{}, gateway.Errorf(gateway.Invalid, "bsn: geef negen cijfers die aan de elfproef voldoen")
	}
	if h.Demo && !bsn.IsTest() {
		return gateway.BSN{}, gateway.Errorf(gateway.Invalid, "bsn: deze omgeving is een demo: geef een fictieve persoon, 999000000 tot en met 999999999")
	}
	return bsn, nil
}

func (h *Handler) giveConsent(w http.ResponseWriter, r *http.Request) {
	var in NieuweToestemmingJSON
	if err := edge.DecodeJSON(w, r, maxBody, &in); err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	now := h.now()
	t, err := h.toestemming(in, now)
	if err == nil {
		err = h.record(r.Context(), "toestemming-gegeven", t.ID, map[string]string{
			"betrokkene": string(t.Betrokkene), "doel": string(t.Doel), "ontvanger": string(t.Ontvanger), "soort": string(t.Soort),
			"geregistreerdDoor": string(t.GeregistreerdDoor), "kanaal": t.Kanaal,
		})
	}
	if err == nil {
		err = h.Register.Geef(r.Context(), t)
	}
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	edge.WriteJSON(w, r, http.StatusCreated, toestemmingJSON(t, now))
}

// toestemming makes the consent that in asks for: by pseudonym, for the current version of a purpose that rests on this consent.
func (h *Handler) toestemming(in NieuweToestemmingJSON, now time.Time) (toestemming.Toestemming, error) {
	bsn, err := h.bsn(in.BSN)
	if err != nil {
		return toestemming.Toestemming{}, err
	}
	entry, known := h.Policy.Session().Entry(in.Doel, now)
	var bad problems
	switch {
	case !known:
		bad.add("doel", "onbekend doel; geef het id van een doel uit de catalogus")
	case entry.Toestemming == nil:
		bad.add("doel", "dit doel vraagt geen toestemming: de wet bepaalt wat mag, en vragen zou een keuze voorspiegelen")
	case entry.Toestemming.Soort != string(in.Soort):
		bad.add("soort", "dit doel vraagt toestemming van de soort "+entry.Toestemming.Soort)
	}
	if known {
		for _, dienst := range in.Velden.Diensten() {
			if len(in.Velden.Beperk(entry.Diensten)[dienst]) != len(in.Velden[dienst]) {
				bad.add("velden", "noem alleen velden die het doel heeft, elk één keer; laat velden weg voor alle")
				break
			}
		}
	}
	if in.Tekstversie == "" {
		bad.add("tekstversie", "geef de versie van de tekst die de betrokkene heeft gezien")
	}
	if in.Kanaal == "" {
		bad.add("kanaal", "geef waar de toestemming is gegeven, zoals balie")
	}
	if err := bad.err(); err != nil {
		return toestemming.Toestemming{}, err
	}
	t := toestemming.Toestemming{
		Betrokkene: h.Pseudonyms.Pseudonym(bsn), Soort: in.Soort, Doel: in.Doel, DoelVersie: entry.Versie, Ontvanger: in.Ontvanger,
		Velden: in.Velden, GegevenDoor: in.GegevenDoor, GeregistreerdDoor: in.GeregistreerdDoor, Tekstversie: in.Tekstversie,
		Kanaal: in.Kanaal, GeldigTot: in.GeldigTot,
	}
	if t.GeregistreerdDoor == "" {
		t.GeregistreerdDoor = h.Self.ID
	}
	if in.Gegeven != nil {
		t.Gegeven = *in.Gegeven
	}
	return toestemming.New(t, now)
}

// changeConsent serves withdrawal and confirmation.
func (h *Handler) changeConsent(handeling string, do func(context.Context, string, time.Time) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := mux.Vars(r)["id"]
		if _, err := gateway.ParseTransactionID(id); err != nil { // the same form: UUID of version 7
			edge.WriteProblem(w, r, gateway.Errorf(gateway.Invalid, "id: geef het id van een toestemming, een UUID in kleine letters"))
			return
		}
		now := h.now()
		t, err := h.Toestemmingen.Toestemming(r.Context(), id)
		if err == nil {
			err = h.record(r.Context(), handeling, id, map[string]string{"betrokkene": string(t.Betrokkene), "doel": string(t.Doel)})
		}
		if err == nil {
			err = do(r.Context(), id, now)
		}
		if err == nil {
			t, err = h.Toestemmingen.Toestemming(r.Context(), id)
		}
		if err != nil {
			edge.WriteProblem(w, r, err)
			return
		}
		edge.WriteJSON(w, r, http.StatusOK, toestemmingJSON(t, now))
	}
}

// listConsents pages through the register, oldest first.
func (h *Handler) listConsents(w http.ResponseWriter, r *http.Request) {
	after, limit, err := page(r)
	var all []toestemming.Toestemming
	if err == nil {
		all, err = h.Toestemmingen.AlleToestemmingen(r.Context(), after, limit)
	}
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	out := h.lijst(all)
	if len(all) == limit {
		out.Volgende = all[len(all)-1].ID
	}
	edge.WriteJSON(w, r, http.StatusOK, out)
}

func page(r *http.Request) (after string, limit int, err error) {
	limit = defaultPage
	for name, values := range r.URL.Query() {
		switch {
		case len(values) != 1:
			return "", 0, gateway.Errorf(gateway.Invalid, "%s: geef één waarde", letters(name))
		case name == "na":
			if _, err := gateway.ParseTransactionID(values[0]); err != nil {
				return "", 0, gateway.Errorf(gateway.Invalid, "na: geef de waarde van volgende uit de vorige bladzijde")
			}
			after = values[0]
		case name == "aantal":
			if limit, err = strconv.Atoi(values[0]); err != nil || limit < 1 || limit > maxPage {
				return "", 0, gateway.Errorf(gateway.Invalid, "aantal: geef 1 tot en met %d", maxPage)
			}
		default:
			return "", 0, gateway.Errorf(gateway.Invalid, "%s: onbekende parameter; deze lijst kent na en aantal", letters(name))
		}
	}
	return after, limit, nil
}

// letters keeps what may be repeated of a stranger's word: no digits, so never a BSN.
func letters(s string) string {
	out := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, s)
	return out[:min(len(out), 20)]
}

// ToestemmingenJSON is a list of consents.
type ToestemmingenJSON struct {
	Toestemmingen []ToestemmingJSON `json:"toestemmingen"`
	Volgende      string            `json:"volgende,omitempty"` // value of na for the next page; absent on the last
}

func (h *Handler) lijst(all []toestemming.Toestemming) ToestemmingenJSON {
	out, now := ToestemmingenJSON{Toestemmingen: []ToestemmingJSON{}}, h.now()
	for _, t := range all {
		out.Toestemmingen = append(out.Toestemmingen, toestemmingJSON(t, now))
	}
	return out
}

// findConsents gives the consents of one person. Looking is recorded.
func (h *Handler) findConsents(w http.ResponseWriter, r *http.Request) {
	var in struct {
		BSN string `json:"bsn"`
	}
	err := edge.DecodeJSON(w, r, maxBody, &in)
	var bsn gateway.BSN
	if err == nil {
		bsn, err = h.bsn(in.BSN)
	}
	if err == nil {
		err = h.record(r.Context(), "toestemmingen-ingezien", string(h.Pseudonyms.Pseudonym(bsn)), nil)
	}
	var all []toestemming.Toestemming
	if err == nil {
		all, err = h.Toestemmingen.ToestemmingenVan(r.Context(), h.Pseudonyms.All(bsn))
	}
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	edge.WriteJSON(w, r, http.StatusOK, h.lijst(all))
}
