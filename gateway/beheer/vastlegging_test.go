package beheer_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/edge"
)

// Volg gives w.records and then waits, or ends with w.err.
func (w *world) Volg(ctx context.Context, since time.Time, begin func(time.Time) error, each func(audit.Record) error) error {
	if err := begin(since.Add(time.Minute)); err != nil {
		return err
	}
	for _, rec := range w.records {
		if err := each(rec); err != nil {
			return err
		}
	}
	if w.err != nil {
		return w.err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (w *world) Gezondheid(context.Context) beheer.GezondheidJSON {
	return beheer.GezondheidJSON{
		Peer: beheer.PeerJSON{OIN: borne, Naam: "Borne"}, Tijd: now, Gestart: now, Versie: "test",
		Onderdelen: []beheer.OnderdeelJSON{{Naam: "journaal", Uitleg: "vol", Herstel: "maak ruimte"}},
		Contracten: beheer.ContractenJSON{
			PerToestand: map[string]int{"geldig": 1},
			Aandacht:    []beheer.AandachtJSON{{Hash: "$1$1$x", Wat: beheer.AandachtVerloopt, GeldigTot: now, Partijen: []gateway.PeerID{uwi}}},
		},
		Groepsregels: beheer.GroepsregelsJSON{Groep: "demo", Digest: "x"}, Beleid: "r1",
	}
}

func TestHealth(t *testing.T) {
	w := newWorld(t)
	got := good[beheer.GezondheidJSON](w, 200, "Gezondheid", "beheer", http.MethodGet, "/gezondheid", "")
	if got.Gereed || len(got.Onderdelen) != 1 {
		t.Errorf("got %+v, want what the peer says of itself", got)
	}
	for rol, want := range map[string]int{"": 401, "privacy-officer": 403, "klantmanager": 403} {
		if status, _ := w.call(rol, http.MethodGet, "/gezondheid", ""); status != want {
			t.Errorf("role %q: got %d, want %d", rol, status, want)
		}
	}
	if n := len(w.audit.Records()); n != 0 {
		t.Errorf("got %d records, want none: asking for health is no act", n)
	}
}

// event is one server-sent event.
type event struct{ name, data string }

func events(t *testing.T, raw string) []event {
	t.Helper()
	var all []event
	var e event
	for line := range strings.SplitSeq(raw, "\n") {
		switch name, value, _ := strings.Cut(line, ": "); {
		case line == "" && e.name != "":
			all, e = append(all, e), event{}
		case name == "event":
			e.name = value
		case name == "data":
			e.data = value
		}
	}
	return all
}

// The stream gives what was asked, after it was recorded that somebody looks: once, however long the stream is.
func TestFollowRecords(t *testing.T) {
	w := newWorld(t)
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	first := audit.NewAfloop(at(1), audit.Outcome{Transactie: transactie})
	w.records = []audit.Record{first, audit.NewBeheer(at(2), audit.Act{Handeling: "x", Door: audit.Systeem}), audit.NewAfloop(at(3), audit.Outcome{Transactie: transactie})}
	w.err = beheer.ErrPeerStopt
	status, raw := w.call("privacy-officer", http.MethodGet, "/vastleggingen?soort=afloop&sinds=2026-11-23T09:00:00Z", "")
	if status != 200 {
		t.Fatalf("got %d %s", status, raw)
	}
	got := events(t, raw)
	if len(got) != 4 || got[0].name != "begin" || got[1].name != "vastlegging" || got[3].name != "einde" {
		t.Fatalf("got %+v, want begin, two records, einde", got)
	}
	w.conforms("Begin", got[0].data)
	w.conforms("Gevolgd", got[1].data)
	w.conforms("Einde", got[3].data)
	if !strings.Contains(got[0].data, "2026-11-23T09:01:00Z") || !strings.Contains(got[1].data, first.ID) || !strings.Contains(got[3].data, "peer-stopt") {
		t.Errorf("got %+v", got)
	}
	records := w.audit.Records()
	if len(records) != 1 || !strings.Contains(string(records[0].Body), "vastleggingen-gevolgd") || !strings.Contains(string(records[0].Body), `"soort":"afloop"`) {
		t.Errorf("got records %v, want one act with what was looked at", records)
	}
}

func TestFollowRecordsRefuses(t *testing.T) {
	w := newWorld(t)
	w.err = beheer.ErrPeerStopt
	for _, tc := range []struct {
		name, rol, query string
		status           int
		want             string
	}{
		{"no token", "", "", 401, ""},
		{"role", "beheer", "", 403, ""},
		{"kind", "privacy-officer", "?soort=namen", 400, "soort: geef"},
		{"since", "privacy-officer", "?sinds=gisteren", 400, "sinds: geef"},
		{"since the future", "privacy-officer", "?sinds=2027-01-01T00:00:00Z", 400, "sinds: geef"},
		{"other query", "privacy-officer", "?alles=1", 400, "query: alleen"},
	} {
		if status, raw := w.call(tc.rol, http.MethodGet, "/vastleggingen"+tc.query, ""); status != tc.status || !strings.Contains(raw, tc.want) {
			t.Errorf("%s: got %d %s, want %d and %q", tc.name, status, raw, tc.status, tc.want)
		}
	}
	if n := len(w.audit.Records()); n != 0 {
		t.Errorf("%d records of what was refused", n)
	}
	w.audit.Fail = func(audit.Record) error { return errors.New("disk full") }
	if status, raw := w.call("privacy-officer", http.MethodGet, "/vastleggingen", ""); status != 503 || strings.Contains(raw, "event:") {
		t.Errorf("not recorded: got %d %s, want 503 and nothing of the stream", status, raw)
	}
	w.audit.Fail, w.err = nil, nil
	r := w.request(t, "http://beheer", time.Hour)
	r.Header.Set("Accept", "application/json")
	router, _ := w.handler.Router()
	out := httptest.NewRecorder()
	if router.ServeHTTP(out, r); out.Code != http.StatusNotAcceptable {
		t.Errorf("Accept JSON: got %d, want 406", out.Code)
	}
}

func (w *world) request(t *testing.T, base string, ttl time.Duration) *http.Request {
	t.Helper()
	token, err := edge.IssueJWT(w.key, edge.Claims{
		Issuer: "https://issuer.example", Audience: "test", Subject: "fg", Rollen: []string{"privacy-officer"}, Organisatie: borne,
	}, now, ttl)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v1/vastleggingen", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// The stream outlives the limits of the listener, which are for one answer, and ends with the token of the caller.
func TestFollowRecordsEndsWithTheToken(t *testing.T) {
	w := newWorld(t)
	w.records = []audit.Record{audit.NewBeheer(now, audit.Act{Handeling: "x", Door: audit.Systeem})}
	router, err := w.handler.Router()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(router)
	server.Config.ReadTimeout, server.Config.WriteTimeout = 200*time.Millisecond, 200*time.Millisecond
	server.Start()
	defer server.Close()
	resp, err := server.Client().Do(w.request(t, server.URL, time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type %q", got)
	}
	start, last := time.Now(), ""
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if lines.Text() != "" {
			last = lines.Text()
		}
	}
	var end beheer.EindeJSON
	if err := json.Unmarshal([]byte(strings.TrimPrefix(last, "data: ")), &end); err != nil || end.Reden != beheer.EindeVerlopen {
		t.Errorf("after %v the last line was %q, want that the token ended", time.Since(start), last)
	}
	if took := time.Since(start); took < 500*time.Millisecond {
		t.Errorf("ended after %v, want the second of the token", took)
	}
}
