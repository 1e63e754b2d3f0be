package beheer_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/terugmelding"
)

// reports is a register of reports in memory.
type reports struct {
	w   *world
	all []terugmelding.Melding
}

func (m *reports) OntvangenMelding(_ context.Context, id string) (terugmelding.Melding, error) {
	for _, r := range m.all {
		if r.ID == id {
			return r, m.w.err
		}
	}
	return terugmelding.Melding{}, gateway.Errorf(gateway.NotFound, "no such id")
}

func (m *reports) OntvangenMeldingen(_ context.Context, open bool, after string, limit int) ([]terugmelding.Melding, error) {
	var out []terugmelding.Melding
	for _, r := range m.all {
		if r.ID > after && len(out) < limit && (!open || !r.Status.IsKlaar()) {
			out = append(out, r)
		}
	}
	return out, m.w.err
}

func (m *reports) OntvangenOver(_ context.Context, person []gateway.Pseudonym) ([]terugmelding.Melding, error) {
	return slices.DeleteFunc(slices.Clone(m.all), func(r terugmelding.Melding) bool { return !slices.Contains(person, r.Betrokkene) }), m.w.err
}

func (m *reports) WijzigOntvangen(_ context.Context, id string, change func(terugmelding.Melding) (terugmelding.Melding, error)) (terugmelding.Melding, error) {
	i := slices.IndexFunc(m.all, func(r terugmelding.Melding) bool { return r.ID == id })
	out, err := change(m.all[i])
	if err == nil {
		m.all[i] = out
		err = m.w.act("behandel")
	}
	return out, err
}

// withReports is a world in which two things were reported: one about bsn, one about somebody else.
func withReports(t *testing.T) (*world, *reports) {
	t.Helper()
	w := newWorld(t)
	m := &reports{w: w}
	for i, who := range []string{bsn, "999990019"} {
		person, err := gateway.ParseBSN(who)
		if err != nil {
			t.Fatal(err)
		}
		r, err := terugmelding.New(terugmelding.Melding{
			Transactie: transactie, Dienst: "persoon", Veld: "adres", Reden: terugmelding.Verouderd, Toelichting: "post komt retour", Doel: "pw-uitkering",
			Zaak: "Z-1", Zaaktype: "pw-aanvraag", Melder: uwi, Bron: borne, Medewerker: "m1.x",
		}, now.Add(time.Duration(i)*time.Second))
		if err == nil {
			r, err = r.Ontvang(w.handler.Pseudonyms.Pseudonym(person), now)
		}
		if err != nil {
			t.Fatal(err)
		}
		m.all = append(m.all, r)
	}
	w.handler.Meldingen = m
	return w, m
}

func TestReports(t *testing.T) {
	w, m := withReports(t)
	first := m.all[0].ID
	list := func(query string) beheer.TerugmeldingenJSON {
		return good[beheer.TerugmeldingenJSON](w, http.StatusOK, "Terugmeldingen", "beheer", http.MethodGet, "/terugmeldingen"+query, "")
	}
	if all := list("?open=true"); len(all.Terugmeldingen) != 2 || all.Volgende != "" {
		t.Fatalf("got %+v", all)
	}
	if page := list("?aantal=1"); len(page.Terugmeldingen) != 1 || page.Volgende != first {
		t.Errorf("first page: got %+v", page)
	}
	of := good[beheer.TerugmeldingenJSON](w, http.StatusOK, "Terugmeldingen", "beheer", http.MethodPost, "/terugmeldingen/_zoek", `{"bsn":"`+bsn+`"}`)
	if len(of.Terugmeldingen) != 1 || of.Terugmeldingen[0].ID != first || w.audit.Count(audit.Beheer, "") != 1 {
		t.Errorf("of one person: got %+v with %d records", of, w.audit.Count(audit.Beheer, ""))
	}
	handle := "/terugmeldingen/" + first + "/_behandelen"
	got := good[beheer.TerugmeldingJSON](w, http.StatusOK, "Terugmelding", "beheer", http.MethodPost, handle, `{"status":"in-onderzoek"}`)
	if got.Status != terugmelding.InOnderzoek {
		t.Errorf("got %+v", got)
	}
	got = good[beheer.TerugmeldingJSON](w, http.StatusOK, "Terugmelding", "beheer", http.MethodPost, handle, `{"status":"gecorrigeerd","antwoord":"adres aangepast"}`)
	if got.Status != terugmelding.Gecorrigeerd || got.Antwoord != "adres aangepast" {
		t.Errorf("got %+v", got)
	}
	got = good[beheer.TerugmeldingJSON](w, http.StatusOK, "Terugmelding", "beheer", http.MethodGet, "/terugmeldingen/"+first, "")
	if got.Status != terugmelding.Gecorrigeerd {
		t.Errorf("shown: got %+v", got)
	}
	if open := list("?open=true"); len(open.Terugmeldingen) != 1 {
		t.Errorf("open: got %+v", open)
	}
	records := w.audit.Records()
	for _, r := range records {
		for _, leak := range []string{bsn, "post komt retour", "adres aangepast"} {
			if strings.Contains(string(r.Body), leak) {
				t.Errorf("a record holds %q: %s", leak, r.Body)
			}
		}
	}
	for want, body := range map[int]string{http.StatusConflict: `{"status":"ongegrond"}`, http.StatusBadRequest: `{"status":"ontvangen"}`} {
		if status, raw := w.call("beheer", http.MethodPost, handle, body); status != want {
			t.Errorf("%s: got %d %s, want %d", body, status, raw, want)
		}
	}
	for _, path := range []string{"/terugmeldingen/x", "/terugmeldingen?open=ja", "/terugmeldingen?wie=x"} {
		if status, raw := w.call("beheer", http.MethodGet, path, ""); status != http.StatusBadRequest {
			t.Errorf("%s: got %d %s", path, status, raw)
		}
	}
	if len(w.audit.Records()) != len(records) {
		t.Error("what was refused is on record as done")
	}
}

func TestReportsAreForBeheer(t *testing.T) {
	id := "/" + transactie
	for _, p := range []struct{ method, path, body string }{
		{http.MethodGet, "/terugmeldingen", ""},
		{http.MethodGet, "/terugmeldingen" + id, ""},
		{http.MethodPost, "/terugmeldingen/_zoek", `{"bsn":"` + bsn + `"}`},
		{http.MethodPost, "/terugmeldingen" + id + "/_behandelen", `{"status":"ongegrond"}`},
		{http.MethodGet, "/contactpersonen", ""},
		{http.MethodPost, "/contactpersonen", "{}"},
		{http.MethodPost, "/contactpersonen/_zoek", `{"bsn":"` + bsn + `"}`},
		{http.MethodPost, "/contactpersonen" + id + "/_beeindigen", ""},
	} {
		for rol, want := range map[string]int{"": http.StatusUnauthorized, "klantmanager": http.StatusForbidden, "privacy-officer": http.StatusForbidden} {
			w, _ := withReports(t)
			w.handler.Contacten = &contactRegister{w: w}
			if status, body := w.call(rol, p.method, p.path, p.body); status != want || len(w.acts) > 0 || len(w.audit.Records()) > 0 {
				t.Errorf("%s %s as %q: got %d %s, want %d", p.method, p.path, rol, status, body, want)
			}
		}
		if status, _ := newWorld(t).call("beheer", p.method, p.path, p.body); status != http.StatusNotFound {
			t.Errorf("%s %s without a register: got %d", p.method, p.path, status)
		}
	}
}

func TestReportHandledOnlyOnRecord(t *testing.T) {
	w, m := withReports(t)
	w.audit.Fail = func(audit.Record) error { return errors.New("disk full") }
	path := "/terugmeldingen/" + m.all[0].ID + "/_behandelen"
	if status, _ := w.call("beheer", http.MethodPost, path, `{"status":"ongegrond"}`); status != http.StatusServiceUnavailable || len(w.acts) != 0 {
		t.Errorf("got %d, %v", status, w.acts)
	}
	if status, raw := w.call("beheer", http.MethodPost, "/terugmeldingen/_zoek", `{"bsn":"`+bsn+`"}`); status != http.StatusServiceUnavailable || strings.Contains(raw, "adres") {
		t.Errorf("shown without a record: %d %s", status, raw)
	}
	var p struct{ Detail string }
	w, m = withReports(t)
	_, raw := w.call("beheer", http.MethodPost, "/terugmeldingen/"+m.all[0].ID+"/_behandelen", `{"status":"ongegrond","antwoord":"zie 999 993 653"}`)
	if err := json.Unmarshal([]byte(raw), &p); err != nil || !strings.Contains(p.Detail, "BSN") || len(w.acts) != 0 {
		t.Errorf("an answer with a BSN: %s", raw)
	}
}
