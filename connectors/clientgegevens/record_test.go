package clientgegevens_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/connectors/clientgegevens"
	"github.com/grensloos/grensloos/connectors/database"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

// The records of an answer: the decision per dienst with what it rested on, then one LDV line with names of fields. Neither has a
// bsn or a value of the source.
func TestRecordsOfAnAnswer(t *testing.T) {
	w := nieuw(t)
	a := lees(t, w.doe(w.vraag(`{"bsn":"999990020","velden":{"persoon":["naam","adres"],"uitkering":["loopt"]}}`)))
	recs := w.log.Records()
	if len(recs) != 2 || recs[0].Soort != audit.ADL || recs[1].Soort != audit.LDV || recs[0].Transactie != a.Transactie || recs[1].Transactie != a.Transactie {
		t.Fatalf("got %d records, want ADL and LDV of %s", len(recs), a.Transactie)
	}
	all := string(recs[0].Body) + string(recs[1].Body)
	for _, value := range []string{geheim, "Niet-Vindbaar", "1985", "\"06\"", "Marktstraat"} {
		if strings.Contains(all, value) {
			t.Errorf("a record holds %q:\n%s", value, all)
		}
	}
	var adl struct {
		TraceID    string `json:"trace_id"`
		SpanID     string `json:"span_id"`
		Parent     string `json:"parent_span_id"`
		EventName  string `json:"event_name"`
		Attributes map[string]any
		Body       struct {
			Request struct {
				Evaluations []struct {
					Subject, Action map[string]any
					Resource        struct {
						Type, ID   string
						Properties map[string]any
					}
					Context map[string]any
				}
			} `json:"adl.core.request"`
			Response struct {
				Evaluations []struct{ Decision bool }
			} `json:"adl.core.response"`
		}
	}
	if err := json.Unmarshal(recs[0].Body, &adl); err != nil {
		t.Fatal(err)
	}
	if adl.EventName != "adl.access_evaluations" || adl.TraceID != "4bf92f3577b34da6a3ce929d0e0e4736" || adl.Parent != "00f067aa0ba902b7" {
		t.Errorf("ADL: got %s, trace %s, parent %s", adl.EventName, adl.TraceID, adl.Parent)
	}
	if n := len(adl.Body.Request.Evaluations); n != 2 || len(adl.Body.Response.Evaluations) != 2 {
		t.Fatalf("ADL: got %d evaluations, want one per dienst", n)
	}
	q := adl.Body.Request.Evaluations[0]
	bsn, err := gateway.ParseBSN(geheim)
	if err != nil {
		t.Fatal(err)
	}
	pseudonym := string(w.h.Pseudonyms.Pseudonym(bsn))
	if q.Resource.Type != "persoon" || q.Resource.ID != pseudonym || q.Resource.Properties["geheimhouding"] != true || q.Context["doel"] != "pw-reintegratie" || q.Context["zaak"] != "Z-1" || q.Context["grond"] != "zaak" {
		t.Errorf("ADL question: got %+v", q)
	}
	var ldv struct {
		SpanID   string `json:"span_id"`
		Parent   string `json:"parent_span_id"`
		Status   string
		Resource struct{ Attributes map[string]any }
		Attr     map[string]string `json:"attributes"`
	}
	if err := json.Unmarshal(recs[1].Body, &ldv); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"dpl.core.processing_activity_id":      "https://register.example/verwerkingen/pw-reintegratie/1",
		"dpl.core.data_subject_id":             pseudonym,
		"dpl.core.data_subject_id_type":        audit.PseudoniemType,
		"dpl.core.foreign_operation.processor": "urn:nld:oin:" + string(uwi),
	}
	if diff := cmp.Diff(want, ldv.Attr); diff != "" {
		t.Errorf("LDV attributes: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"persoon": []any{"naam"}}, ldv.Resource.Attributes["grensloos.velden"]); diff != "" {
		t.Errorf("LDV: the fields that were disclosed: -want +got\n%s", diff)
	}
	if ldv.Parent != "00f067aa0ba902b7" || ldv.SpanID == adl.SpanID || ldv.Status != "Unset" {
		t.Errorf("LDV: got parent %s, span %s beside ADL's %s, status %s", ldv.Parent, ldv.SpanID, adl.SpanID, ldv.Status)
	}
}

// A process that dies after a step has this on record, and has read no value before its decision.
func TestStepsInOrder(t *testing.T) {
	w := nieuw(t)
	type state struct {
		Step            string
		ADL, LDV, Reads int
	}
	var got []state
	w.h.Fault = func(step string) {
		got = append(got, state{step, w.log.Count(audit.ADL, ""), w.log.Count(audit.LDV, ""), len(w.bron.vragen)})
	}
	lees(t, w.doe(w.vraag(`{"bsn":"999990019"}`)))
	want := []state{
		{clientgegevens.StepAdmitted, 0, 0, 0},
		{clientgegevens.StepDecided, 0, 0, 1},
		{clientgegevens.StepRecorded, 1, 0, 1},
		{clientgegevens.StepRead, 1, 0, 4},
		{clientgegevens.StepAccounted, 1, 1, 4},
		{clientgegevens.StepSigned, 1, 1, 4},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps: -want +got\n%s", diff)
	}
	if len(got) != len(clientgegevens.Steps()) {
		t.Errorf("Steps lists %d, want %d", len(clientgegevens.Steps()), len(got))
	}
}

const mapping = `
bron: proefbron
persoon:
  tabel: client
  bsn: bsn
  sleutel: nr
  beslisattributen:
    geheimhouding: {kolom: geheim, onwaar: ["0"]}
    geboortedatum: geboren
diensten:
  persoon:
    tabel: client
    sleutel: nr
    peildatum: nu
    velden: {bsn: vraag, naam: naam, geboortedatum: geboren, adres: {delen: {straat: straat}}, telefoon: tel, email: mail}
  uitkering:
    tabel: uitkering
    sleutel: nr
    peildatum: nu
    velden: {loopt: loopt, soort: soort, ingangsdatum: begin, einddatum: eind, bedrag: {kolom: bedrag, conversie: centen}}
`

func databank(t *testing.T, statements func(string)) (*database.Source, *sql.DB) {
	t.Helper()
	dir := t.TempDir()
	file, yaml := filepath.Join(dir, "bron.sqlite"), filepath.Join(dir, "mapping.yaml")
	if err := os.WriteFile(yaml, []byte(mapping), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if _, err := db.Exec(`
		CREATE TABLE client (nr INTEGER PRIMARY KEY, bsn TEXT, geheim INTEGER, geboren TEXT, naam TEXT, straat TEXT, tel TEXT, mail TEXT, strafblad TEXT);
		CREATE TABLE uitkering (nr INTEGER, loopt INTEGER, soort TEXT, begin TEXT, eind TEXT, bedrag INTEGER);
		INSERT INTO client VALUES (1, '999990019', 0, '1985-12-01', 'Suzanne Moulin', 'Marktstraat', '074', NULL, 'ja');
		INSERT INTO uitkering VALUES (1, 1, 'ioaw', '2024-03-01', NULL, 123456)`); err != nil {
		t.Fatal(err)
	}
	s, err := database.Open(t.Context(), database.Config{Bestand: file, Mapping: yaml}, database.Options{StatementLog: statements, Now: func() time.Time { return nu }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, db
}

// From question to SQL: a column that may not leave stands in no statement that reaches the source, whatever was asked.
func TestWhatMayNotLeaveIsNeverRead(t *testing.T) {
	var statements []string
	source, _ := databank(t, func(s string) { statements = append(statements, s) })
	neverRead(t, source, &statements)
}

// neverRead asks two questions, and compares what of SQL reached the source.
func neverRead(t *testing.T, source connectors.Source, statements *[]string) {
	t.Helper()
	w := nieuw(t)
	w.h.Bron = source
	*statements = nil // what Open asked of the schema
	a := lees(t, w.doe(w.vraag(`{"bsn":"999990019","velden":{"persoon":["bsn","naam","adres","telefoon"],"uitkering":["loopt","bedrag"]}}`)))
	if a.Diensten[0].Rijen[0].Waarden["naam"] != "Suzanne Moulin" || a.Diensten[0].Rijen[0].Waarden["bsn"] != bekend || a.Diensten[1].Rijen[0].Waarden["loopt"] != true {
		t.Errorf("got %+v", a.Diensten)
	}
	want := []string{
		`SELECT t."nr", t."geheim" FROM "client" AS t WHERE t."bsn" = ? LIMIT 2`,
		`SELECT t."naam", t."tel" FROM "client" AS t WHERE t."nr" = ? LIMIT 2`,
		`SELECT t."loopt" FROM "uitkering" AS t WHERE t."nr" = ? LIMIT 501`,
	}
	if !slices.Equal(*statements, want) {
		t.Errorf("statements: got\n%s\nwant\n%s", strings.Join(*statements, "\n"), strings.Join(want, "\n"))
	}
	// A refusal stops after the first read.
	*statements = nil
	if rec := w.doe(verzoek{grant: w.grant("doorverwijzing-welzijn", ""), zaaktype: "doorverwijzing", body: `{"bsn":"999990019"}`}); rec.Code != 403 {
		t.Errorf("got %d, want 403", rec.Code)
	}
	if want := []string{`SELECT t."nr", t."geboren", t."geheim" FROM "client" AS t WHERE t."bsn" = ? LIMIT 2`}; !slices.Equal(*statements, want) {
		t.Errorf("statements of a refusal: got\n%s\nwant\n%s", strings.Join(*statements, "\n"), strings.Join(want, "\n"))
	}
}

func TestMissingColumnAtRunTime(t *testing.T) {
	w := nieuw(t)
	source, db := databank(t, nil)
	w.h.Bron = source
	v := w.vraag(`{"bsn":"999990019","velden":{"uitkering":["loopt"],"persoon":["naam"]}}`)
	if a := lees(t, w.doe(v)); a.Diensten[1].Uitkomst != "beantwoord" {
		t.Fatalf("before: got %s", a.Diensten[1].Uitkomst)
	}
	if _, err := db.Exec(`ALTER TABLE uitkering DROP COLUMN loopt`); err != nil {
		t.Fatal(err)
	}
	a := lees(t, w.doe(v))
	if a.Diensten[1].Uitkomst != "bron-onbereikbaar" || a.Diensten[0].Uitkomst != "beantwoord" {
		t.Errorf("got %s and %s, want uitkering bron-onbereikbaar and persoon beantwoord", a.Diensten[1].Uitkomst, a.Diensten[0].Uitkomst)
	}
	if _, err := db.Exec(`ALTER TABLE client DROP COLUMN geheim`); err != nil {
		t.Fatal(err)
	}
	if rec := w.doe(v); rec.Code != 503 || code(rec) != "bron-onbereikbaar" {
		t.Errorf("without the column of secrecy: got %d %s, want 503 bron-onbereikbaar", rec.Code, code(rec))
	}
}

// traag is a source whose second read waits until the question is given up.
type traag struct {
	*bron
	began chan struct{}
}

func (b traag) Lees(ctx context.Context, s connectors.Sleutel, dienst gateway.Dienst, velden []gateway.Veld) (connectors.Gegevens, error) {
	if b.began != nil {
		close(b.began)
	}
	<-ctx.Done()
	return b.bron.Lees(ctx, s, dienst, velden)
}

func TestSlowSourceIsCutOff(t *testing.T) {
	w := nieuw(t)
	w.h.Bron = traag{bron: w.bron}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		a := lees(t, w.doe(w.vraag(`{"bsn":"999990019","velden":{"persoon":["naam"],"uitkering":["loopt"]}}`)))
		if took := time.Since(start); took != w.h.Timeout {
			t.Errorf("took %s, want the time-out of %s for all reads together", took, w.h.Timeout)
		}
		for _, d := range a.Diensten {
			if d.Uitkomst != "bron-onbereikbaar" {
				t.Errorf("%s: got %s, want bron-onbereikbaar", d.Dienst, d.Uitkomst)
			}
		}
	})
}

// When the asker leaves, the source is told, and the record is still made.
func TestCancelledDownToTheSource(t *testing.T) {
	w := nieuw(t)
	began := make(chan struct{})
	w.h.Bron = traag{w.bron, began}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	v := w.vraag(`{"bsn":"999990019","velden":{"persoon":["naam"]}}`)
	v.ctx = ctx
	w.doe(v)
	if w.log.Count(audit.ADL, "") != 1 || w.log.Count(audit.LDV, "") != 1 {
		t.Errorf("got %d ADL and %d LDV records, want 1 and 1", w.log.Count(audit.ADL, ""), w.log.Count(audit.LDV, ""))
	}
}

func TestManyAtOnce(t *testing.T) {
	w := nieuw(t)
	w.h.Bron, _ = databank(t, nil)
	v := w.vraag(`{"bsn":"999990019"}`)
	w.doe(v) // makes the router; what doe keeps of admitted transactions is not for many at once
	v.noInway, v.id = true, gateway.NewTransactionID(nu)
	w.admitted[v.id] = v.grant.Hash
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if rec := w.doe(v); rec.Code != 200 || !strings.Contains(rec.Body.String(), "Moulin") {
				t.Errorf("got %d %s", rec.Code, rec.Body)
			}
		})
	}
	wg.Wait()
}

func FuzzVraag(f *testing.F) {
	for _, s := range []string{`{"bsn":"999990019"}`, `{"bsn":"999990019","velden":{"persoon":["naam"]}}`, `{"bsn":"1","bsn":"2"}`, `[]`, `{"velden":{"x":[]}}`, "{\"bsn\":\"\xff\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		bsn, velden, err := clientgegevens.ParseVraag(body)
		if err != nil {
			if gateway.KindOf(err) != gateway.Invalid {
				t.Errorf("got kind %v, want Invalid", gateway.KindOf(err))
			}
			return
		}
		if bsn.IsZero() || connectors.Gemeenschappelijk().Valideer(velden) != nil {
			t.Error("accepted without a person, or with a field that is not in the schema")
		}
	})
}
