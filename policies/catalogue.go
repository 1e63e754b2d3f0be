package policies

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gowebpki/jcs"

	"github.com/grensloos/grensloos/gateway"
)

// The statuses of an entry. Only Actief opens anything; NietAangeboden says that the purpose is refused as such.
const (
	Actief         = "actief"
	Gepland        = "gepland"
	Uit            = "uit"
	NietAangeboden = "niet-aangeboden"
)

// Entry is one version of one purpose: what may be asked for it, by whom, on which legal ground (domain.md 3.1). The JSON form is
// what the digest is computed over.
type Entry struct {
	ID                    gateway.Doel       `yaml:"id" json:"id"`
	Versie                int                `yaml:"versie" json:"versie"`
	Naam                  string             `yaml:"naam" json:"-"`        // for display
	Toelichting           string             `yaml:"toelichting" json:"-"` // for display
	GeldigVan             time.Time          `yaml:"geldigVan" json:"-"`   // first moment, midnight UTC
	GeldigTot             time.Time          `yaml:"geldigTot" json:"-"`   // first moment no more; zero: no end
	Status                string             `yaml:"status" json:"-"`
	Grondslag             []Artikel          `yaml:"grondslag" json:"grondslag"` // legal grounds
	AVG                   AVG                `yaml:"avg" json:"avg"`
	Toestemming           *Toestemmingseis   `yaml:"toestemming" json:"toestemming,omitempty"` // nil: no consent, the law decides
	Bezwaar               bool               `yaml:"bezwaar" json:"bezwaar"`                   // AVG art. 21 objection possible
	Richting              []gateway.Richting `yaml:"richting" json:"richting"`
	Reikwijdte            string             `yaml:"reikwijdte" json:"reikwijdte"` // how far a question may reach
	Hergebruik            []Hergebruik       `yaml:"hergebruik" json:"hergebruik,omitempty"`
	Zaaktypen             []string           `yaml:"zaaktypen" json:"zaaktypen"`
	AfnemerRollen         []string           `yaml:"afnemerRollen" json:"afnemerRollen"`       // of the organisation
	MedewerkerRollen      []string           `yaml:"medewerkerRollen" json:"medewerkerRollen"` // of the worker
	Diensten              gateway.Velden     `yaml:"diensten" json:"diensten"`
	Beslisattributen      []string           `yaml:"beslisattributen" json:"beslisattributen"` // read to decide, never answered
	Nooit                 Nooit              `yaml:"nooit" json:"nooit"`
	MaxPersonen           int                `yaml:"maxPersonen" json:"maxPersonen"`
	BewaartermijnLog      string             `yaml:"bewaartermijnLog" json:"bewaartermijnLog"`           // ISO 8601 duration
	Verwerkingsactiviteit string             `yaml:"verwerkingsactiviteit" json:"verwerkingsactiviteit"` // URI in the register of AVG art. 30
}

// Artikel is a place in a law.
type Artikel struct {
	Wet       string `yaml:"wet" json:"wet"`
	Artikel   string `yaml:"artikel" json:"artikel,omitempty"`
	Lid       string `yaml:"lid" json:"lid,omitempty"`
	Onderdeel string `yaml:"onderdeel" json:"onderdeel,omitempty"`
}

// String is how a lawyer would write it: "Participatiewet art. 7 lid 1 onder a".
func (a Artikel) String() string {
	var b strings.Builder
	b.WriteString(a.Wet)
	for _, part := range []struct{ word, value string }{{" art. ", a.Artikel}, {" lid ", a.Lid}, {" onder ", a.Onderdeel}} {
		if part.value != "" {
			b.WriteString(part.word + part.value)
		}
	}
	return b.String()
}

// AVG says on which letters of AVG articles 6(1) and 9(2) the processing rests.
type AVG struct {
	Art6 []string `yaml:"art6" json:"art6"`
	Art9 []string `yaml:"art9" json:"art9,omitempty"`
}

// Toestemmingseis is the consent that a purpose demands.
type Toestemmingseis struct {
	Soort         string             `yaml:"soort" json:"soort"`                           // kind, as in gateway/toestemming
	PerOntvanger  bool               `yaml:"perOntvanger" json:"perOntvanger"`             // always true: there is no consent for everybody
	VanafLeeftijd int                `yaml:"vanafLeeftijd" json:"vanafLeeftijd,omitempty"` // younger persons are refused (UAVG art. 5)
	Richting      []gateway.Richting `yaml:"richting" json:"richting,omitempty"`           // the directions that demand it; empty: all of the purpose
}

// Hergebruik allows data that was collected for some laws to be used for another.
type Hergebruik struct {
	Van  []string `yaml:"van" json:"van"`
	Naar string   `yaml:"naar" json:"naar"`
}

// Nooit is what a purpose never gets, whatever a contract says: classes of schemas/diensten.json, and fields by "dienst.veld".
// Richting has the fields that the purpose gives, but never in one direction.
type Nooit struct {
	Klassen  []string                      `yaml:"klassen" json:"klassen,omitempty"`
	Velden   []string                      `yaml:"velden" json:"velden,omitempty"`
	Richting map[gateway.Richting][]string `yaml:"richting" json:"richting,omitempty"`
}

// DienstenIn is what the purpose gives in one direction.
func (e Entry) DienstenIn(r gateway.Richting) gateway.Velden {
	out := gateway.Velden{}
	for dienst, velden := range e.Diensten {
		for _, veld := range velden {
			if !slices.Contains(e.Nooit.Richting[r], element(dienst, veld)) {
				out[dienst] = append(out[dienst], veld)
			}
		}
	}
	return out
}

// ToestemmingIn is the consent that the purpose demands in one direction; nil: none, the law decides.
func (e Entry) ToestemmingIn(r gateway.Richting) *Toestemmingseis {
	if eis := e.Toestemming; eis != nil && (len(eis.Richting) == 0 || slices.Contains(eis.Richting, r)) {
		return eis
	}
	return nil
}

// IsGeldig reports whether at lies in the validity of e: from geldigVan on, before geldigTot.
func (e Entry) IsGeldig(at time.Time) bool {
	return !e.GeldigVan.IsZero() && !at.Before(e.GeldigVan) && (e.GeldigTot.IsZero() || at.Before(e.GeldigTot))
}

// Wet is the first legal ground for display, such as "Participatiewet art. 7 lid 1 onder a".
func (e Entry) Wet() string {
	if len(e.Grondslag) == 0 {
		return ""
	}
	return e.Grondslag[0].String()
}

// Digest is what a grant signs: base64url SHA-256 over the JCS form (RFC 8785) of what e means. Order within a set, the texts for
// display, status and validity are not part of it: a new wording needs no new signature, and ending an entry denies by itself.
func (e Entry) Digest() string {
	e = e.canonical()
	raw, err := json.Marshal(e)
	if err == nil {
		raw, err = jcs.Transform(raw)
	}
	if err != nil {
		panic(fmt.Sprintf("policies: digest of %s: %v", e.ID, err)) // strings, numbers and lists only: cannot fail
	}
	sum := sha256.Sum256(raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// canonical is e with every set in sorted order, without the memory of e.
func (e Entry) canonical() Entry {
	e.Grondslag = slices.Clone(e.Grondslag) // an order of importance: it stays
	e.AVG = AVG{sorted(e.AVG.Art6), sorted(e.AVG.Art9)}
	e.Richting, e.Zaaktypen = sorted(e.Richting), sorted(e.Zaaktypen)
	e.AfnemerRollen, e.MedewerkerRollen = sorted(e.AfnemerRollen), sorted(e.MedewerkerRollen)
	e.Beslisattributen = sorted(e.Beslisattributen)
	e.Nooit = Nooit{sorted(e.Nooit.Klassen), sorted(e.Nooit.Velden), maps.Clone(e.Nooit.Richting)}
	for r, velden := range e.Nooit.Richting {
		e.Nooit.Richting[r] = sorted(velden)
	}
	e.Diensten = e.Diensten.Beperk(e.Diensten)
	reuse := slices.Clone(e.Hergebruik)
	for i := range reuse {
		reuse[i].Van = sorted(reuse[i].Van)
	}
	slices.SortFunc(reuse, func(a, b Hergebruik) int { return strings.Compare(a.Naar, b.Naar) })
	e.Hergebruik = reuse
	if e.Toestemming != nil {
		eis := *e.Toestemming
		eis.Richting = sorted(eis.Richting)
		e.Toestemming = &eis
	}
	return e
}

// sorted is a sorted copy, never nil, so that an absent list and an empty one mean the same.
func sorted[T ~string](list []T) []T {
	return append([]T{}, slices.Sorted(slices.Values(list))...)
}

// Catalogue is the set of purposes. It does not change after loading.
type Catalogue struct {
	entries map[gateway.Doel][]Entry  // canonical, by geldigVan
	digests map[gateway.Doel][]string // of entries
}

// add takes the versions of one purpose.
func (c *Catalogue) add(entries []Entry) {
	id := entries[0].ID
	for _, e := range entries {
		c.entries[id] = append(c.entries[id], e.canonical())
		c.digests[id] = append(c.digests[id], e.Digest())
	}
}

// Doelen lists the ids of all purposes, sorted.
func (c *Catalogue) Doelen() []gateway.Doel { return slices.Sorted(maps.Keys(c.entries)) }

// Entry is the version of a purpose that is valid at a moment, whatever its status. ok is false if there is none. The
// entry is the caller's own.
func (c *Catalogue) Entry(doel gateway.Doel, at time.Time) (Entry, bool) {
	if i := c.index(doel, at); i >= 0 {
		return c.entries[doel][i].canonical(), true
	}
	return Entry{}, false
}

// Shared is Entry with its digest, for the path of a question: the entry is everybody's, and must not be changed.
func (c *Catalogue) Shared(doel gateway.Doel, at time.Time) (e *Entry, digest string, ok bool) {
	i := c.index(doel, at)
	if i < 0 {
		return &Entry{}, "", false
	}
	return &c.entries[doel][i], c.digests[doel][i], true
}

func (c *Catalogue) index(doel gateway.Doel, at time.Time) int {
	return slices.IndexFunc(c.entries[doel], func(e Entry) bool { return e.IsGeldig(at) })
}

// current is the entry that may be used at a moment, or why there is none.
func (c *Catalogue) current(doel gateway.Doel, at time.Time) (Entry, error) {
	if len(c.entries[doel]) == 0 {
		return Entry{}, gateway.WithCode(gateway.NotFound, string(gateway.DoelOnbekend), "doel: not in the purpose catalogue")
	}
	e, ok := c.Entry(doel, at)
	switch {
	case ok && e.Status == NietAangeboden:
		return Entry{}, gateway.WithCode(gateway.Denied, string(gateway.DoelNietAangeboden), "doel %s: not offered, also not under a contract", doel)
	case !ok || e.Status != Actief:
		return Entry{}, gateway.WithCode(gateway.Conflict, string(gateway.DoelNietActief), "doel %s: no version of it is active on %s", doel, at.Format(time.DateOnly))
	}
	return e, nil
}

// Properties are the properties of a grant to propose for a purpose: all its fields in the grant's direction, in its current
// version. namens is the college on whose behalf the outway will ask. Empty, it is a partner that asks, or, for a purpose that no
// partner has, a delegated grant.
func (c *Catalogue) Properties(doel gateway.Doel, at time.Time, namens gateway.PeerID) (gateway.Properties, error) {
	e, err := c.current(doel, at)
	if err != nil {
		return gateway.Properties{}, err
	}
	isNamens := slices.Contains(e.Richting, gateway.Namens)
	switch {
	case namens != "" && !isNamens:
		return gateway.Properties{}, gateway.WithCode(gateway.Invalid, string(gateway.RichtingNietToegestaan), "namensCollege: doel %s is not asked on behalf of a college; leave it out", doel)
	case namens == "" && len(e.Richting) == 1 && isNamens:
		return gateway.Properties{}, gateway.WithCode(gateway.Invalid, string(gateway.RichtingNietToegestaan), "namensCollege: doel %s is asked on behalf of a college only; name it", doel)
	}
	richting := gateway.Namens
	if namens == "" {
		richting = gateway.Tussen
		if slices.Contains(e.Richting, gateway.Partner) {
			richting = gateway.Partner
		}
	}
	return gateway.Properties{Doel: doel, DoelVersie: e.Versie, DoelDigest: e.Digest(), Velden: e.DienstenIn(richting), NamensCollege: namens}, nil
}

// Check tells what is wrong with the purpose in a grant that is about to be proposed or accepted: a purpose that is not active, a
// digest or version that is not the current one, a direction or a field that the purpose does not have. A grant without a purpose
// passes: it opens nothing that is purpose-bound.
func (c *Catalogue) Check(g gateway.Grant, at time.Time) error {
	if !g.IsDoelgebonden() {
		return nil
	}
	p := g.Properties
	e, err := c.current(p.Doel, at)
	if err != nil {
		return err
	}
	switch {
	case p.DoelVersie != e.Versie || p.DoelDigest != e.Digest():
		return gateway.WithCode(gateway.Invalid, string(gateway.DoelGewijzigd), "doelDigest: not that of version %d of doel %s in this catalogue; propose with the current version", e.Versie, p.Doel)
	case !slices.Contains(e.Richting, g.Richting()):
		return gateway.WithCode(gateway.Invalid, string(gateway.RichtingNietToegestaan), "namensCollege, delegator: doel %s is not asked in direction %q", p.Doel, g.Richting())
	case g.Richting() == gateway.Namens && p.NamensCollege != g.ServicePeer:
		return gateway.WithCode(gateway.Invalid, string(gateway.GeenMandaat), "namensCollege: must be the peer that offers the service")
	}
	fields, gives := 0, e.DienstenIn(g.Richting())
	for dienst, velden := range p.Velden {
		for _, veld := range velden {
			fields++
			if !gives.Has(dienst, veld) {
				return gateway.WithCode(gateway.Invalid, string(gateway.GrondslagDektElementNiet), "velden: doel %s has no field %.40q of dienst %.40q in direction %s", p.Doel, veld, dienst, g.Richting())
			}
		}
	}
	if fields == 0 {
		return gateway.WithCode(gateway.Invalid, string(gateway.GrondslagDektElementNiet), "velden: name at least one field of doel %s", p.Doel)
	}
	return nil
}
