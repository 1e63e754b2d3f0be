package bevraging

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/policies"
)

// The reikwijdten of the catalogue: how far a question for a purpose may reach. A purpose without one reaches one gemeente.
const (
	woongemeente       = "woongemeente"
	betrokkenGemeenten = "betrokken-gemeenten"
	groep              = "groep"
)

// gronden are the grounds on which a purpose may ask a gemeente, by its reikwijdte; the first is the one that a question has when
// it names none.
var gronden = map[string][]gateway.Grond{
	"":                 {gateway.GrondWoonplaats},
	woongemeente:       {gateway.GrondWoonplaats},
	betrokkenGemeenten: {gateway.GrondZaak, gateway.GrondVerhuizing, gateway.GrondWoonplaats},
	groep:              {gateway.GrondGroep, gateway.GrondZaak, gateway.GrondVerhuizing, gateway.GrondWoonplaats},
}

// gevraagde is a gemeente that is asked, and why.
type gevraagde struct {
	Gemeente
	grond gateway.Grond
	als   []string // the codes by which the question named it, where that is another than its own (herindeling)
}

// genoemde is a gemeente as a question names it: "0147", or {"gemeente":"0147","grond":"zaak"}.
type genoemde struct {
	Gemeente string
	Grond    string
}

// UnmarshalJSON takes both forms.
func (g *genoemde) UnmarshalJSON(raw []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte(`"`)) {
		return json.Unmarshal(raw, &g.Gemeente)
	}
	var in struct {
		Gemeente string `json:"gemeente"`
		Grond    string `json:"grond"`
	}
	if err := jose.Decode(raw, &in); err != nil {
		return gateway.Wrap(gateway.Invalid, err, "gemeenten")
	}
	g.Gemeente, g.Grond = in.Gemeente, in.Grond
	return nil
}

// bekend are the gemeenten that can be asked at this moment.
func (h *Handler) bekend() []Gemeente {
	if h.Bekend != nil {
		return h.Bekend()
	}
	return h.Gemeenten
}

// gemeenten finds whom to ask, each with its ground. None: the purpose reaches the group and the question names nobody.
func (h *Handler) gemeenten(in invoer, entry policies.Entry, op time.Time, bad *problems) []gevraagde {
	mag := gronden[entry.Reikwijdte]
	if len(mag) == 0 {
		mag = gronden[""]
	}
	known := h.bekend()
	most := h.config().MaxGemeenten
	switch {
	case in.Gemeenten == nil && entry.Reikwijdte == groep:
		return nil
	case in.Gemeenten == nil && len(known) == 1: // there is nothing to choose
		return []gevraagde{{Gemeente: known[0], grond: mag[0]}}
	case len(in.Gemeenten) == 0:
		bad.add("gemeenten", "noem de gemeente met haar code of OIN; kies uit "+codes(known))
		return nil
	case len(in.Gemeenten) > 1 && len(mag) == 1:
		bad.add("gemeenten", "dit doel mag alleen aan de woongemeente worden gevraagd; noem er één")
		return nil
	case len(in.Gemeenten) > most:
		bad.add("gemeenten", "meer dan er in één vraag mogen; verdeel ze over meer vragen")
		return nil
	}
	var all []gevraagde
	for _, naam := range in.Gemeenten {
		g, ok := h.vind(naam.Gemeente, known, op, in.Peildatum != "", bad)
		if !ok {
			continue
		}
		g.grond = mag[0]
		if naam.Grond != "" {
			grond, err := gateway.ParseGrond(naam.Grond)
			if err != nil {
				bad.add("gemeenten.grond", "kies uit woonplaats, zaak, verhuizing, groep")
				continue
			}
			g.grond = grond
		}
		at := slices.IndexFunc(all, func(other gevraagde) bool { return other.ID == g.ID })
		switch {
		case at < 0:
			all = append(all, g)
		case all[at].grond != g.grond:
			bad.add("gemeenten", "een gemeente staat er twee keer, op verschillende gronden; noem haar één keer")
		default: // it is asked once
			all[at].als = append(all[at].als, g.als...)
		}
	}
	return all
}

// vind finds a gemeente by its code (0147, 147 or GM0147) as it was at a moment, or by its OIN.
func (h *Handler) vind(naam string, known []Gemeente, op time.Time, gedateerd bool, bad *problems) (gevraagde, bool) {
	var als []string
	code := strings.TrimPrefix(naam, "GM")
	if len(code) < 4 {
		code = strings.Repeat("0", 4-len(code)) + code
	}
	if h.Indeling != nil && len(code) == 4 {
		nu, ok := h.Indeling(code, op, func(c string) bool {
			return slices.ContainsFunc(known, func(g Gemeente) bool { return g.Code == c })
		})
		switch {
		case !ok && gedateerd: // without a day, a code that a peer has today will do
			bad.add("gemeenten", "onbekende gemeentecode op deze dag; geef de code van vandaag, of de peildatum waarop zij bestond")
			return gevraagde{}, false
		case ok && nu != code:
			als, code = []string{code}, nu
		}
	}
	for _, g := range known {
		if string(g.ID) == naam || g.Code != "" && g.Code == code {
			return gevraagde{Gemeente: g, als: als}, true
		}
	}
	bad.add("gemeenten", "onbekende gemeente; kies uit "+codes(known))
	return gevraagde{}, false
}

// mostNamed is how many gemeenten a mend lists.
const mostNamed = 30

func codes(known []Gemeente) string {
	var names []string
	for _, g := range known {
		if g.Code == "" {
			names = append(names, string(g.ID))
			continue
		}
		names = append(names, g.Code+" ("+g.Naam+")")
	}
	slices.Sort(names)
	if len(names) > mostNamed {
		names = append(names[:mostNamed], "...")
	}
	return strings.Join(names, ", ")
}
