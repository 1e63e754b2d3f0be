package audit_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

func TestVerstrektAndGevraagd(t *testing.T) {
	at := time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)
	const (
		id    gateway.TransactionID = "019a0000-7c11-7d3e-9a55-3f5c0b1e2d44"
		borne gateway.PeerID        = "00000099000000147000"
		uwi   gateway.PeerID        = "00000099900000001000"
	)
	velden := gateway.Velden{"persoon": {"adres", "naam"}}
	adl := func(rol string, dienst gateway.Dienst) audit.Record {
		return audit.NewADL(at, audit.Evaluation{
			Transactie: id, Trace: gateway.NewTrace(), Producent: borne, Rol: rol, Decision: gateway.Decision{Allow: true, Velden: velden},
			Vragen: []audit.EvaluationItem{{
				Subject: audit.Entity{Type: "medewerker", ID: "m1.x"}, Action: audit.Action{Name: "bevragen"}, Dienst: dienst,
				Resource: audit.Entity{Type: "service", ID: "clientgegevens", Properties: map[string]any{"bronOin": borne}},
				Context:  map[string]any{"doel": "pw-uitkering", "zaak": "Z-1", "zaaktype": "pw-aanvraag"},
			}},
		})
	}
	several := audit.NewADL(at, audit.Evaluation{
		Transactie: id, Trace: gateway.NewTrace(), Producent: borne, Rol: "clientgegevens", Event: audit.AccessEvaluations,
		Vragen: []audit.EvaluationItem{{
			Subject: audit.Entity{Type: "medewerker", ID: "m1.x"}, Action: audit.Action{Name: "bevragen"},
			Resource: audit.Entity{Type: "persoon", ID: "v1.x"}, Context: map[string]any{"doel": "pw-uitkering"},
		}},
	})
	ldv := func(dienst string, v gateway.Velden) audit.Record {
		return audit.NewLDV(at, audit.Processing{Transactie: id, Trace: gateway.NewTrace(), Naam: "x", Betrokkene: "v1.x", Afnemer: uwi, Velden: v, Dienst: dienst})
	}
	afloop := func(status int, uitkomst string) audit.Record {
		return audit.NewAfloop(at, audit.Outcome{Transactie: id, Richting: audit.Outgoing, Status: status, Uitkomst: uitkomst})
	}

	want := audit.Disclosure{Afnemer: uwi, Betrokkene: "v1.x", Doel: "pw-uitkering", Velden: velden}
	got, ok := audit.Verstrekt([]audit.Record{adl("inway", ""), several, ldv("clientgegevens", velden)}, "clientgegevens")
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Errorf("Verstrekt: %v (-want +got):\n%s", ok, diff)
	}
	for name, recs := range map[string][]audit.Record{
		"no records":             nil,
		"no line":                {several},
		"nothing was given":      {several, ldv("clientgegevens", nil)},
		"no decision":            {ldv("clientgegevens", velden)},
		"another service's line": {several, ldv("terugmeldingen", velden)},
		"two lines":              {several, ldv("clientgegevens", velden), ldv("clientgegevens", gateway.Velden{"uitkering": {"bedrag"}})},
		"not JSON":               {several, {Soort: audit.LDV, Body: []byte("{")}},
	} {
		if d, ok := audit.Verstrekt(recs, "clientgegevens"); ok {
			t.Errorf("Verstrekt, %s: got %+v", name, d)
		}
	}

	asked, ok := audit.Gevraagd([]audit.Record{adl("outway", ""), afloop(200, audit.Beantwoord)})
	if diff := cmp.Diff(audit.Asked{Bron: borne, Doel: "pw-uitkering", Zaak: "Z-1", Zaaktype: "pw-aanvraag"}, asked); !ok || diff != "" {
		t.Errorf("Gevraagd: %v (-want +got):\n%s", ok, diff)
	}
	for name, recs := range map[string][]audit.Record{
		"no records":      nil,
		"refused":         {adl("outway", ""), afloop(403, audit.Geweigerd)},
		"no decision":     {afloop(200, audit.Beantwoord)},
		"never sent":      {adl("bevraging", ""), afloop(200, audit.Beantwoord)},
		"did not end":     {adl("outway", "")},
		"cut off":         {adl("outway", ""), afloop(200, audit.Afgebroken)},
		"at the gemeente": {adl("inway", ""), audit.NewAfloop(at, audit.Outcome{Transactie: id, Richting: audit.Incoming, Status: 200, Uitkomst: audit.Beantwoord})},
	} {
		if a, ok := audit.Gevraagd(recs); ok {
			t.Errorf("Gevraagd, %s: got %+v", name, a)
		}
	}
}
