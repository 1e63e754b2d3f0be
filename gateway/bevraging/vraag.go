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
	Gemeenten []genoemde          `json:"gemeenten"`
	Peildatum string              `json:"peildatum"`
}

// vraag is a question that passed every check that needs no contract.
type vraag struct {
	gateway.Vraag
	gemeenten []gevraagde    // empty: every gemeente with a contract for the purpose
	velden    gateway.Velden // exactly what is asked
	genoemd   bool           // the question named fields or diensten

	reikwijdte string // of the purpose
	aangeboden bool   // the purpose gives something at all
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
	op := at
	if in.Peildatum != "" {
		if op, err = time.Parse(time.DateOnly, in.Peildatum); err != nil || op.After(at) {
			bad.add("peildatum", "geef een dag als 2026-11-23, vandaag of eerder")
			op = at
		}
	}
	v.gemeenten = h.gemeenten(in, entry, op, &bad)
	if known {
		v.reikwijdte = entry.Reikwijdte
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
