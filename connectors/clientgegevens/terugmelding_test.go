package clientgegevens_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/connectors/clientgegevens"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/terugmelding"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// meldingen is a register of reports in memory; records reads the audit log of the world.
type meldingen struct {
	w   *wereld
	all map[string]terugmelding.Melding
	err error
}

func (m *meldingen) NeemAan(_ context.Context, in terugmelding.Melding) (terugmelding.Melding, error) {
	if m.w.log.Count(audit.Beheer, "") == 0 {
		m.w.t.Error("a report was kept before it was recorded")
	}
	if there, ok := m.all[in.ID]; ok {
		return there, m.err
	}
	m.all[in.ID] = in
	return in, m.err
}

func (m *meldingen) OntvangenMelding(_ context.Context, id string) (terugmelding.Melding, error) {
	in, ok := m.all[id]
	if !ok {
		return in, gateway.Errorf(gateway.NotFound, "terugmelding: no such id")
	}
	return in, m.err
}

func (m *meldingen) Transaction(_ context.Context, id gateway.TransactionID) ([]audit.Record, error) {
	var found []audit.Record
	for _, r := range m.w.log.Records() {
		if r.Transactie == id {
			found = append(found, r)
		}
	}
	return found, m.err
}

const meldingID = "019a0001-0000-7d3e-9a55-3f5c0b1e2d44"

// verstrekt is a world in which one answer was given: the telephone number and the name of a person.
func verstrekt(t *testing.T) (*wereld, *meldingen, gateway.TransactionID) {
	t.Helper()
	w := nieuw(t)
	m := &meldingen{w: w, all: map[string]terugmelding.Melding{}}
	w.h.Terugmeldingen, w.h.Records = m, m
	a := lees(t, w.doe(w.vraag(`{"bsn":"999990019","velden":{"persoon":["naam","telefoon"]}}`)))
	return w, m, a.Transactie
}

func (w *wereld) melding(id gateway.TransactionID, veld, more string) verzoek {
	v := w.vraag(`{"id":"` + meldingID + `","transactie":"` + string(id) + `","dienst":"persoon","veld":"` + veld + `","reden":"verouderd"` + more + `}`)
	v.path = "/v1/terugmeldingen"
	return v
}

func TestTerugmelding(t *testing.T) {
	w, m, id := verstrekt(t)
	before := len(w.log.Records())
	v := w.melding(id, "telefoon", `,"toelichting":"in gesprek, nooit opgenomen"`)
	v.id = gateway.NewTransactionID(nu)
	rec := w.doe(v)
	if rec.Code != http.StatusCreated {
		t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	kept := m.all[meldingID]
	want := terugmelding.Melding{
		ID: meldingID, Transactie: id, Dienst: "persoon", Veld: "telefoon", Reden: terugmelding.Verouderd, Toelichting: "in gesprek, nooit opgenomen",
		Doel: "pw-reintegratie", Zaak: "Z-1", Zaaktype: "pw-reintegratietraject", Melder: uwi, Bron: borne, Medewerker: "m1.worker",
		Betrokkene: kept.Betrokkene, Status: terugmelding.Ontvangen, Gemeld: nu, Gewijzigd: nu,
	}
	if diff := cmp.Diff(want, kept); diff != "" || !strings.HasPrefix(string(kept.Betrokkene), "v1.") {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	k, _, err := verklaring.ParseKwitantie(rec.Header().Get("Grensloos-Kwitantie"))
	if err != nil || k.Transactie != v.id || k.VeldenDigest != "" {
		t.Errorf("kwitantie: %+v %v, want one of this transaction without fields", k, err)
	}
	recs := w.log.Records()[before:]
	if len(recs) != 2 || recs[0].Soort != audit.Beheer || recs[1].Soort != audit.LDV || recs[1].Transactie != v.id {
		t.Fatalf("got %d records, want the act and an LDV line of this transaction", len(recs))
	}
	for _, r := range recs {
		for _, leak := range []string{bekend, "in gesprek"} {
			if strings.Contains(string(r.Body), leak) {
				t.Errorf("a record holds %q: %s", leak, r.Body)
			}
		}
	}
	if !strings.Contains(string(recs[1].Body), string(kept.Betrokkene)) {
		t.Error("the LDV line is not about the person")
	}

	// Sent again, it is the same report; and the report itself is no disclosure that can be reported on.
	if again := w.doe(w.melding(id, "telefoon", "")); again.Code != http.StatusOK || w.log.Count(audit.Beheer, "") != 1 {
		t.Errorf("again: got %d and %d acts, want 200 and 1", again.Code, w.log.Count(audit.Beheer, ""))
	}
	if rec := w.doe(w.melding(v.id, "telefoon", "")); code(rec) != clientgegevens.CodeTransactieOnbekend {
		t.Errorf("about a report: got %d %s", rec.Code, rec.Body)
	}

	// The melder sees how far it is.
	kept.Status, kept.Antwoord = terugmelding.Gecorrigeerd, "aangepast"
	m.all[meldingID] = kept
	ask := w.vraag(`{"id":"` + meldingID + `"}`)
	ask.path, ask.id = "/v1/terugmeldingen/_zoek", gateway.NewTransactionID(nu)
	rec = w.doe(ask)
	var got struct{ ID, Status, Antwoord string }
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || got.ID != meldingID || got.Status != "gecorrigeerd" || got.Antwoord != "aangepast" {
		t.Errorf("status: got %d %s", rec.Code, rec.Body)
	}
	if w.log.Count(audit.LDV, ask.id) != 1 {
		t.Error("showing the status left no LDV line")
	}
}

// What was not disclosed to this peer, under this transaction and for this purpose, can't be reported on; and the answer is the same
// whatever of it is not so.
func TestTerugmeldingRefused(t *testing.T) {
	var texts []string
	for name, do := range map[string]func(w *wereld, m *meldingen, id gateway.TransactionID) verzoek{
		"a field that was not in the answer": func(w *wereld, _ *meldingen, id gateway.TransactionID) verzoek { return w.melding(id, "email", "") },
		"a transaction that never was": func(w *wereld, _ *meldingen, _ gateway.TransactionID) verzoek {
			return w.melding(gateway.NewTransactionID(nu), "telefoon", "")
		},
		"another purpose's grant": func(w *wereld, _ *meldingen, id gateway.TransactionID) verzoek {
			v := w.melding(id, "telefoon", "")
			v.grant, v.zaaktype = w.grant("pw-uitkering", borne), "pw-aanvraag"
			return v
		},
		"an answer to another peer": func(w *wereld, _ *meldingen, _ gateway.TransactionID) verzoek {
			other := gateway.NewTransactionID(nu)
			decided := w.log.Records()[0] // the decision of the answer, and a line that names another asker
			decided.Transactie = other
			line := audit.NewLDV(nu, audit.Processing{
				Transactie: other, Trace: gateway.NewTrace(), Naam: "x", Start: nu, Eind: nu, Activiteit: "https://register.example/1", Betrokkene: "v1.x",
				Afnemer: ander, Velden: gateway.Velden{"persoon": {"telefoon"}}, Dienst: "clientgegevens",
			})
			if err := w.log.Append(context.Background(), decided, line); err != nil {
				w.t.Fatal(err)
			}
			return w.melding(other, "telefoon", "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, m, id := verstrekt(t)
			rec := w.doe(do(w, m, id))
			if rec.Code != http.StatusForbidden || code(rec) != clientgegevens.CodeTransactieOnbekend || len(m.all) != 0 || w.log.Count(audit.Beheer, "") != 0 {
				t.Errorf("got %d %s, %d kept", rec.Code, rec.Body, len(m.all))
			}
			texts = append(texts, rec.Body.String())
		})
	}
	for _, text := range texts {
		if text != texts[0] {
			t.Errorf("refusals differ: %s and %s", text, texts[0])
		}
	}
	w, m, id := verstrekt(t)
	for want, v := range map[string]verzoek{
		"toelichting":    w.melding(id, "telefoon", `,"toelichting":"van 999993653"`),
		"unknown":        w.melding(id, "telefoon", `,"bsn":"999993653"`),
		"id: geef een U": {grant: w.onderzoek, zaaktype: "pw-reintegratietraject", path: "/v1/terugmeldingen", body: `{}`},
		"id: geef":       {grant: w.onderzoek, zaaktype: "pw-reintegratietraject", path: "/v1/terugmeldingen/_zoek", body: `{"id":"x"}`},
	} {
		if rec := w.doe(v); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), want) || strings.Contains(rec.Body.String(), "999993653") {
			t.Errorf("%s: got %d %s", want, rec.Code, rec.Body)
		}
	}
	v := w.melding(id, "telefoon", "")
	v.noInway = true
	if rec := w.doe(v); rec.Code != http.StatusForbidden || code(rec) != clientgegevens.CodeBuitenInway {
		t.Errorf("beside the inway: got %d %s", rec.Code, rec.Body)
	}
	v = w.melding(id, "telefoon", "")
	v.signedBody = `{"id":"x"}`
	if rec := w.doe(v); rec.Code != http.StatusForbidden || code(rec) != clientgegevens.CodeVerklaring {
		t.Errorf("a verklaring over another body: got %d %s", rec.Code, rec.Body)
	}
	if len(m.all) != 0 {
		t.Errorf("%d kept, want none", len(m.all))
	}
}

// Another peer's report, and one under another purpose, are not there for who asks.
func TestStatusIsForTheMelder(t *testing.T) {
	for name, edit := range map[string]func(*terugmelding.Melding){
		"another melder":  func(m *terugmelding.Melding) { m.Melder = ander },
		"another purpose": func(m *terugmelding.Melding) { m.Doel = "pw-uitkering" },
		"never made":      func(m *terugmelding.Melding) { m.ID = "" },
	} {
		w, m, _ := verstrekt(t)
		there := terugmelding.Melding{ID: meldingID, Melder: uwi, Doel: "pw-reintegratie", Status: terugmelding.Ontvangen, Betrokkene: "v1.x"}
		edit(&there)
		m.all[there.ID] = there
		v := w.vraag(`{"id":"` + meldingID + `"}`)
		v.path = "/v1/terugmeldingen/_zoek"
		if rec := w.doe(v); rec.Code != http.StatusForbidden || code(rec) != clientgegevens.CodeMeldingOnbekend {
			t.Errorf("%s: got %d %s", name, rec.Code, rec.Body)
		}
	}
}

// No report is kept, and no status shown, that is not on record; a stream that can't be read is no "unknown".
func TestTerugmeldingNeedsItsRecords(t *testing.T) {
	w, m, id := verstrekt(t)
	m.err = errors.New("broker away")
	if rec := w.doe(w.melding(id, "telefoon", "")); rec.Code != http.StatusServiceUnavailable || strings.Contains(rec.Body.String(), "broker") {
		t.Errorf("stream away: got %d %s", rec.Code, rec.Body)
	}
	m.err = nil
	w.log.Fail = func(audit.Record) error { return errors.New("disk full") }
	if rec := w.doe(w.melding(id, "telefoon", "")); rec.Code != http.StatusServiceUnavailable || len(m.all) != 0 {
		t.Errorf("log full: got %d, %d kept", rec.Code, len(m.all))
	}
	m.all[meldingID] = terugmelding.Melding{ID: meldingID, Melder: uwi, Doel: "pw-reintegratie", Status: terugmelding.Ontvangen, Betrokkene: "v1.x"}
	v := w.vraag(`{"id":"` + meldingID + `"}`)
	v.path = "/v1/terugmeldingen/_zoek"
	if rec := w.doe(v); rec.Code != http.StatusServiceUnavailable || strings.Contains(rec.Body.String(), "ontvangen") {
		t.Errorf("status without a record: got %d %s", rec.Code, rec.Body)
	}
}
