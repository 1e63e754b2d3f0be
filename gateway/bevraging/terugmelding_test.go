package bevraging_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/bevraging"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/terugmelding"
)

// meldingen is a register of reports and an audit stream in memory.
type meldingen struct {
	f     *fixture
	order []string
	all   map[string]terugmelding.Melding
	recs  []audit.Record
	err   error
}

func (m *meldingen) Meld(_ context.Context, in terugmelding.Melding) error {
	if m.f.audit.Count(audit.Beheer, "") == 0 {
		m.f.t.Error("a report was kept before it was recorded")
	}
	if len(m.f.outway.sent) != 0 {
		m.f.t.Error("a report was sent before it was kept")
	}
	m.order, m.all[in.ID] = append(m.order, in.ID), in
	return m.err
}

func (m *meldingen) GedaneMelding(_ context.Context, id string) (terugmelding.Melding, error) {
	in, ok := m.all[id]
	if !ok {
		return in, gateway.Errorf(gateway.NotFound, "no such id")
	}
	return in, nil
}

func (m *meldingen) GedaneMeldingen(_ context.Context, medewerker, after string, limit int) ([]terugmelding.Melding, error) {
	var out []terugmelding.Melding
	for _, id := range m.order {
		if in := m.all[id]; id > after && len(out) < limit && (medewerker == "" || in.Medewerker == medewerker) {
			out = append(out, in)
		}
	}
	return out, nil
}

func (m *meldingen) WijzigGedane(_ context.Context, id string, change func(terugmelding.Melding) (terugmelding.Melding, error)) (terugmelding.Melding, error) {
	in, err := change(m.all[id])
	if err == nil {
		m.all[id] = in
	}
	return in, err
}

func (m *meldingen) Transaction(context.Context, gateway.TransactionID) ([]audit.Record, error) {
	return m.recs, m.err
}

// metMeldingen is a fixture that asked Borne something under transact, and got an answer.
func metMeldingen(t *testing.T) (*fixture, *meldingen) {
	t.Helper()
	f := newFixture(t)
	m := &meldingen{f: f, all: map[string]terugmelding.Melding{}}
	m.recs = []audit.Record{
		audit.NewADL(now, audit.Evaluation{
			Transactie: transact, Trace: gateway.NewTrace(), Producent: uwi, Rol: "outway", Decision: gateway.Decision{Allow: true},
			Vragen: []audit.EvaluationItem{{
				Subject: audit.Entity{Type: "medewerker", ID: "m1.x"}, Action: audit.Action{Name: "bevragen"},
				Resource: audit.Entity{Type: "service", ID: "clientgegevens", Properties: map[string]any{"bronOin": borne}},
				Context:  map[string]any{"doel": reint, "zaak": "Z-7", "zaaktype": "pw-reintegratietraject"},
			}},
		}),
		audit.NewAfloop(now, audit.Outcome{Transactie: transact, Richting: audit.Outgoing, Status: 200, Uitkomst: audit.Beantwoord}),
	}
	f.handler.Terugmeldingen = &bevraging.Terugmeldingen{Register: m, Records: m}
	return f, m
}

// gemeente makes the outway answer as the gemeente would, about the report that it is asked about.
func (f *fixture) gemeente(status int, body string) {
	f.outway.each = func(r *http.Request) (*http.Response, error) {
		var in struct{ ID string }
		if err := json.Unmarshal([]byte(f.outway.got[len(f.outway.got)-1]), &in); err != nil {
			f.t.Error(err)
		}
		return &http.Response{
			StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(strings.NewReader(strings.ReplaceAll(body, "ID", in.ID))), Request: r,
		}, nil
	}
}

func staat(status string) string {
	return `{"id":"ID","status":"` + status + `","gemeld":"2026-11-23T09:30:00Z","gewijzigd":"2026-11-23T09:30:00Z"}`
}

// call does one request as a worker; the answer is held to the document.
func (f *fixture) call(method, path, body, worker string, rollen ...string) (int, bevraging.TerugmeldingJSON, string) {
	f.t.Helper()
	if rollen == nil {
		rollen = []string{"klantmanager"}
	}
	token, err := edge.IssueJWT(f.key, edge.Claims{Issuer: "https://issuer.example", Audience: "test", Subject: worker, Rollen: rollen, Organisatie: uwi}, now, time.Minute)
	if err != nil {
		f.t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(f.t.Context(), method, "https://bevraging/v1/terugmeldingen"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	f.serve(w, r)
	var out bevraging.TerugmeldingJSON
	raw := w.Body.String()
	name := "Probleem"
	if w.Code < 300 {
		name = "Terugmelding"
		if err := json.Unmarshal([]byte(raw), &out); err != nil {
			f.t.Fatal(err)
		}
	}
	if !strings.HasPrefix(path, "?") || w.Code >= 300 {
		if err := validate(f.schema(name), raw); err != nil {
			f.t.Errorf("%s %s: not what the document says: %v\n%s", method, path, err, raw)
		}
	}
	return w.Code, out, raw
}

const nieuweMelding = `{"transactie":"` + transact + `","dienst":"persoon","veld":"telefoon","reden":"verouderd","toelichting":"in gesprek"}`

func TestTerugmelding(t *testing.T) {
	f, m := metMeldingen(t)
	f.gemeente(http.StatusCreated, staat("ontvangen"))
	status, got, raw := f.call(http.MethodPost, "", nieuweMelding, "wim")
	if status != http.StatusCreated || got.Status != terugmelding.Ontvangen || got.Gemeente != borne || got.Doel != reint || got.Zaak != "Z-7" || got.Fout != nil {
		t.Fatalf("got %d %s", status, raw)
	}
	sent := f.outway.sent[0]
	if sent.URL.Path != "/v1/terugmeldingen" || sent.Header.Get("Fsc-Grant-Hash") == "" || sent.Header.Get("Grensloos-Zaak") != "Z-7" ||
		sent.Header.Get("Grensloos-Zaaktype") != "pw-reintegratietraject" || sent.Header.Get("Grensloos-Grond") != "zaak" {
		t.Errorf("sent %s with %v", sent.URL.Path, sent.Header)
	}
	if want := `{"dienst":"persoon","id":"` + got.ID + `","reden":"verouderd","toelichting":"in gesprek","transactie":"` + transact + `","veld":"telefoon"}`; f.outway.got[0] != want {
		t.Errorf("sent %s, want %s", f.outway.got[0], want)
	}
	for _, r := range f.audit.Records() {
		if strings.Contains(string(r.Body), "in gesprek") {
			t.Error("the free text is on record")
		}
	}

	// Its status comes when it is asked for, and only then; after the end nothing is asked.
	f.gemeente(http.StatusOK, staat("in-onderzoek"))
	if _, got, _ := f.call(http.MethodGet, "/"+got.ID, "", "wim"); got.Status != terugmelding.Ontvangen || len(f.outway.sent) != 1 {
		t.Errorf("shown: %s after %d exchanges", got.Status, len(f.outway.sent))
	}
	if _, got, _ := f.call(http.MethodPost, "/"+got.ID+"/_opvragen", "", "wim"); got.Status != terugmelding.InOnderzoek || f.outway.sent[1].URL.Path != "/v1/terugmeldingen/_zoek" {
		t.Errorf("asked: %s at %s", got.Status, f.outway.sent[1].URL.Path)
	}
	f.gemeente(http.StatusOK, `{"id":"ID","status":"gecorrigeerd","antwoord":"aangepast","gemeld":"2026-11-23T09:30:00Z","gewijzigd":"2026-11-23T09:30:00Z"}`)
	for range 2 {
		if _, got, _ := f.call(http.MethodPost, "/"+got.ID+"/_opvragen", "", "wim"); got.Status != terugmelding.Gecorrigeerd || got.Antwoord != "aangepast" {
			t.Errorf("asked again: %+v", got)
		}
	}
	if len(f.outway.sent) != 3 {
		t.Errorf("%d exchanges, want 3", len(f.outway.sent))
	}

	// It is its maker's, and beheer's.
	if status, _, _ := f.call(http.MethodGet, "/"+got.ID, "", "els"); status != http.StatusNotFound {
		t.Errorf("another worker: got %d", status)
	}
	if status, _, _ := f.call(http.MethodPost, "/"+got.ID+"/_opvragen", "", "els"); status != http.StatusNotFound {
		t.Errorf("another worker asks: got %d", status)
	}
	if status, _, _ := f.call(http.MethodGet, "/"+got.ID, "", "els", bevraging.RolBeheer); status != http.StatusOK {
		t.Errorf("beheer: got %d", status)
	}
	for who, want := range map[string]int{"wim": 1, "els": 0} {
		var page bevraging.TerugmeldingenJSON
		_, _, raw := f.call(http.MethodGet, "?aantal=1", "", who)
		if err := json.Unmarshal([]byte(raw), &page); err != nil || len(page.Terugmeldingen) != want {
			t.Errorf("list of %s: %s, want %d", who, raw, want)
		}
	}
	if len(m.all) != 1 {
		t.Errorf("%d kept, want 1", len(m.all))
	}
}

// What goes wrong on the way leaves the report as it was, to be sent again under the same id.
func TestTerugmeldingNotDelivered(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(*fixture)
		code string
		want terugmelding.Status
	}{
		"no contract":          {func(f *fixture) { f.grants.all = nil }, "geen-contract", terugmelding.Onbezorgd},
		"not reached":          {func(f *fixture) { f.outway.err = errors.New("down") }, "geen-verbinding", terugmelding.Onbezorgd},
		"own policy":           {func(f *fixture) { f.gemeente(403, `{"code":"afnemer-niet-bevoegd"}`) }, "afnemer-niet-bevoegd", terugmelding.Onbezorgd},
		"takes no reports":     {func(f *fixture) { f.gemeente(404, `{}`) }, "geen-bruikbaar-antwoord", terugmelding.Onbezorgd},
		"not JSON":             {func(f *fixture) { f.gemeente(200, `<html>`) }, "antwoord-onleesbaar", terugmelding.Onbezorgd},
		"another report":       {func(f *fixture) { f.gemeente(200, strings.Replace(staat("ontvangen"), "ID", "x", 1)) }, "antwoord-onleesbaar", terugmelding.Onbezorgd},
		"no status of its own": {func(f *fixture) { f.gemeente(200, staat("geweigerd")) }, "antwoord-onleesbaar", terugmelding.Onbezorgd},
		"endless":              {func(f *fixture) { f.gemeente(200, strings.Repeat(" ", 17<<10)) }, "antwoord-te-groot", terugmelding.Onbezorgd},
		"a BSN in its words": {func(f *fixture) {
			f.gemeente(200, strings.Replace(staat("ontvangen"), `,"gemeld`, `,"antwoord":"zie 999993653","gemeld`, 1))
		}, "antwoord-tegenstrijdig", terugmelding.Onbezorgd},
		"never disclosed to us":  {func(f *fixture) { f.gemeente(403, `{"code":"transactie-onbekend"}`) }, "", terugmelding.Geweigerd},
		"handled before we knew": {func(f *fixture) { f.gemeente(200, staat("ongegrond")) }, "", terugmelding.Ongegrond},
	} {
		t.Run(name, func(t *testing.T) {
			f, m := metMeldingen(t)
			tc.do(f)
			status, got, raw := f.call(http.MethodPost, "", nieuweMelding, "wim")
			code := ""
			if got.Fout != nil {
				code = got.Fout.Code
			}
			if status != http.StatusCreated || got.Status != tc.want || code != tc.code || m.all[got.ID].Status != tc.want {
				t.Fatalf("got %d %s, want %s and %q", status, raw, tc.want, tc.code)
			}
			if tc.want != terugmelding.Onbezorgd {
				return
			}
			f.grants.all, f.outway.err = []gateway.Grant{grantFor(builtin(), reint, borne)}, nil
			f.gemeente(http.StatusCreated, staat("ontvangen"))
			_, again, raw := f.call(http.MethodPost, "/"+got.ID+"/_opvragen", "", "wim")
			if last := f.outway.sent[len(f.outway.sent)-1]; again.Status != terugmelding.Ontvangen || again.ID != got.ID || last.URL.Path != "/v1/terugmeldingen" {
				t.Errorf("sent again: %s", raw)
			}
		})
	}
	// A gemeente that takes back what it said is not believed.
	f, m := metMeldingen(t)
	f.gemeente(http.StatusCreated, staat("in-onderzoek"))
	_, got, _ := f.call(http.MethodPost, "", nieuweMelding, "wim")
	f.gemeente(http.StatusOK, staat("ontvangen"))
	if _, again, raw := f.call(http.MethodPost, "/"+got.ID+"/_opvragen", "", "wim"); again.Fout == nil || again.Fout.Code != "antwoord-tegenstrijdig" || m.all[got.ID].Status != terugmelding.InOnderzoek {
		t.Errorf("taken back: %s", raw)
	}
}

func TestTerugmeldingRefused(t *testing.T) {
	for want, body := range map[string]string{
		"transactie: geef": `{"transactie":"x","dienst":"persoon","veld":"telefoon","reden":"onjuist"}`,
		"veld":             `{"transactie":"` + transact + `","dienst":"persoon","veld":"schoenmaat","reden":"onjuist"}`,
		"reden":            `{"transactie":"` + transact + `","dienst":"persoon","veld":"telefoon","reden":"zomaar"}`,
		"toelichting":      `{"transactie":"` + transact + `","dienst":"persoon","veld":"telefoon","reden":"anders"}`,
		"BSN":              `{"transactie":"` + transact + `","dienst":"persoon","veld":"telefoon","reden":"onjuist","toelichting":"van 999.993.653"}`,
	} {
		f, m := metMeldingen(t)
		status, _, raw := f.call(http.MethodPost, "", body, "wim")
		if status != http.StatusBadRequest || !strings.Contains(raw, want) || strings.Contains(raw, "993") || len(m.all) != 0 || len(f.audit.Records()) != 0 {
			t.Errorf("%s: got %d %s, %d kept", want, status, raw, len(m.all))
		}
	}
	f, m := metMeldingen(t)
	m.recs = m.recs[:1] // sent, and never answered
	if status, _, raw := f.call(http.MethodPost, "", nieuweMelding, "wim"); status != http.StatusBadRequest || !strings.Contains(raw, "geen beantwoorde vraag") {
		t.Errorf("no answer to report on: got %d %s", status, raw)
	}
	f, m = metMeldingen(t)
	f.audit.Fail = func(audit.Record) error { return errors.New("disk full") }
	if status, _, _ := f.call(http.MethodPost, "", nieuweMelding, "wim"); status != http.StatusServiceUnavailable || len(m.all) != 0 || len(f.outway.sent) != 0 {
		t.Errorf("not recorded: got %d, %d kept, %d sent", status, len(m.all), len(f.outway.sent))
	}
	f, m = metMeldingen(t)
	m.err = errors.New("broker away")
	if status, _, raw := f.call(http.MethodPost, "", nieuweMelding, "wim"); status != http.StatusServiceUnavailable || strings.Contains(raw, "broker") {
		t.Errorf("audit stream away: got %d %s", status, raw)
	}
	f, _ = metMeldingen(t)
	for _, path := range []string{"/x", "/x/_opvragen"} {
		method := http.MethodGet
		if strings.HasSuffix(path, "_opvragen") {
			method = http.MethodPost
		}
		if status, _, _ := f.call(method, path, "", "wim"); status != http.StatusBadRequest {
			t.Errorf("%s: got %d", path, status)
		}
	}
	if status, _, _ := f.call(http.MethodGet, "?naam=x", "", "wim"); status != http.StatusBadRequest {
		t.Errorf("an unknown parameter: got %d", status)
	}
	f.handler.Terugmeldingen = nil
	if status, _, _ := f.call(http.MethodPost, "", nieuweMelding, "wim"); status != http.StatusNotFound {
		t.Errorf("without a register: got %d", status)
	}
}
