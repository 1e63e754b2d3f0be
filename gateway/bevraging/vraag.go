package bevraging

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/policies"
)

// invoer is the body of a question, as an application sends it.
type invoer struct {
	Doel      string              `json:"doel"`
	Zaak      string              `json:"zaak"`
	Zaaktype  string              `json:"zaaktype"`
	BSN       string              `json:"bsn"`
	Diensten  []string            `json:"diensten"`
	Velden    map[string][]string `json:"velden"`
	Gemeenten []string            `json:"gemeenten"`
}

// vraag is a question that passed every check that needs no contract.
type vraag struct {
	gateway.Vraag
	gemeente Gemeente
	velden   gateway.Velden // exactly what is asked
	genoemd  bool           // the question named fields or diensten

	aangeboden bool // the purpose gives something at all
}

var (
	zaakForm     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$`)
	zaaktypeForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
)

// lees checks a question against the catalogue and the common schema. The error names every field that is wrong, and the mend;
// none repeats the BSN.
func (h *Handler) lees(in invoer, session *policies.Session, at time.Time) (*vraag, error) {
	var bad problems
	v := &vraag{Vraag: gateway.Vraag{Doel: gateway.Doel(in.Doel), Zaak: in.Zaak, Zaaktype: in.Zaaktype}}

	entry, known := session.Entry(v.Doel, at)
	if !known {
		bad.add("doel", "onbekend doel; kies uit "+joined(session.Catalogue().Doelen()))
	}
	bsn, err := gateway.ParseBSN(in.BSN)
	switch {
	case err != nil:
		bad.add("bsn", "geef negen cijfers die aan de elfproef voldoen")
	case h.Demo && !bsn.IsTest():
		bad.add("bsn", "deze omgeving is een demo: geef een fictieve persoon, 999000000 tot en met 999999999")
	}
	v.BSN = bsn
	switch {
	case !zaakForm.MatchString(in.Zaak):
		bad.add("zaak", "geef het kenmerk van de zaak: 1 tot 64 letters, cijfers of . _ : / -")
	case edge.CheckReference("zaak", in.Zaak) != nil:
		bad.add("zaak", "het kenmerk wordt vastgelegd en mag geen BSN bevatten; geef het kenmerk van de zaak zelf")
	}
	if len(in.Zaaktype) > 64 || !zaaktypeForm.MatchString(in.Zaaktype) {
		bad.add("zaaktype", "geef het zaaktype in kleine letters met streepjes, zoals het bij het doel in de catalogus staat")
	}
	v.gemeente = h.gemeente(in.Gemeenten, &bad)
	if known {
		v.velden, v.genoemd = gevraagd(in, entry, &bad)
		v.aangeboden = len(entry.Diensten) > 0
		if !v.aangeboden && !v.genoemd {
			v.velden = gateway.Velden{}
			for dienst := range connectors.Gemeenschappelijk().Diensten {
				v.velden[dienst] = []gateway.Veld{} // nothing of any of them
			}
		}
	}
	return v, bad.err()
}

// gevraagd is exactly what is asked: the fields that the question names, for a dienst without fields all that the purpose gives
// of it, and without either all that the purpose gives.
func gevraagd(in invoer, entry policies.Entry, bad *problems) (velden gateway.Velden, genoemd bool) {
	if len(in.Diensten) == 0 && len(in.Velden) == 0 {
		return entry.Diensten, false
	}
	schema := connectors.Gemeenschappelijk()
	velden = gateway.Velden{}
	whole := func(field string, dienst gateway.Dienst) {
		if _, ok := schema.Diensten[dienst]; !ok {
			bad.add(field, "onbekende dienst; kies uit "+lijst(schema.Diensten))
			return
		}
		if len(entry.Diensten) > 0 && len(entry.Diensten[dienst]) == 0 {
			bad.add(field, "het doel "+string(entry.ID)+" geeft niets van deze dienst; kies uit "+lijst(entry.Diensten))
			return
		}
		velden[dienst] = entry.Diensten[dienst]
	}
	for _, d := range in.Diensten {
		dienst := gateway.Dienst(d)
		if _, twice := in.Velden[d]; twice {
			bad.add("diensten", "een dienst staat in diensten of in velden, niet in allebei")
			continue
		}
		whole("diensten", dienst)
	}
	for _, d := range slices.Sorted(maps.Keys(in.Velden)) {
		dienst, field := gateway.Dienst(d), "velden."+plain(d)
		if len(in.Velden[d]) == 0 {
			whole(field, dienst)
			continue
		}
		if _, ok := schema.Diensten[dienst]; !ok {
			bad.add(field, "onbekende dienst; kies uit "+lijst(schema.Diensten))
			continue
		}
		for _, n := range in.Velden[d] {
			veld := gateway.Veld(n)
			if _, ok := schema.Veld(dienst, veld); !ok {
				bad.add(field+"."+plain(n), "onbekend veld; kies uit "+lijst(schema.Diensten[dienst].Velden))
				continue
			}
			if !velden.Has(dienst, veld) {
				velden[dienst] = append(velden[dienst], veld)
			}
		}
	}
	for dienst := range velden {
		velden[dienst] = slices.Sorted(slices.Values(velden[dienst]))
	}
	return velden, true
}

// gemeente finds whom to ask, by gemeentecode (0147, 147 or GM0147) or OIN. One at a time.
func (h *Handler) gemeente(names []string, bad *problems) Gemeente {
	switch {
	case len(names) > 1:
		bad.add("gemeenten", "noem er één; een vraag aan meer gemeenten tegelijk kan nog niet")
		return Gemeente{}
	case len(names) == 0 && len(h.Gemeenten) == 1:
		return h.Gemeenten[0]
	case len(names) == 0:
		bad.add("gemeenten", "noem de gemeente met haar code of OIN; kies uit "+h.codes())
		return Gemeente{}
	}
	code := strings.TrimPrefix(names[0], "GM")
	if len(code) < 4 {
		code = strings.Repeat("0", 4-len(code)) + code
	}
	for _, g := range h.Gemeenten {
		if string(g.ID) == names[0] || g.Code != "" && g.Code == code {
			return g
		}
	}
	bad.add("gemeenten", "onbekende gemeente; kies uit "+h.codes())
	return Gemeente{}
}

func (h *Handler) codes() string {
	var codes []string
	for _, g := range h.Gemeenten {
		if g.Code == "" {
			codes = append(codes, string(g.ID))
			continue
		}
		codes = append(codes, g.Code+" ("+g.Naam+")")
	}
	slices.Sort(codes)
	return strings.Join(codes, ", ")
}

// plain makes a name of a stranger fit to stand in an error: short, and letters and dashes only. Digits are left out, in case
// somebody put a BSN where a name belongs.
func plain(s string) string {
	out := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' || r == '_' {
			return r
		}
		return -1
	}, s)
	return out[:min(len(out), 40)]
}

func lijst[K ~string, V any](m map[K]V) string { return joined(slices.Sorted(maps.Keys(m))) }

func joined[S ~string](list []S) string {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// problems collects all that is wrong with a question, so that one round mends it.
type problems []edge.InvalidParam

func (p *problems) add(field, mend string) {
	*p = append(*p, edge.InvalidParam{Naam: field, Reden: mend})
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return &edge.Problem{
		Title: "Ongeldig verzoek", Status: 400, Code: "ongeldige-vraag", InvalidParams: p,
		Detail: p[0].Naam + ": " + p[0].Reden,
	}
}
