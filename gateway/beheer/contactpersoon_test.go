package beheer_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/contactpersoon"
)

// contactRegister is a register of contact persons in memory.
type contactRegister struct {
	w   *world
	all []contactpersoon.Contactpersoon
}

func (m *contactRegister) WijsToe(_ context.Context, c contactpersoon.Contactpersoon, personen [][]gateway.Pseudonym) error {
	if len(personen) != len(c.Leden) || !slices.Contains(personen[0], c.Leden[0]) || len(personen[0]) != 2 {
		m.w.t.Errorf("got %v for %v, want the pseudonyms of each under both keys", personen, c.Leden)
	}
	for _, there := range m.all {
		if there.Huishouden == c.Huishouden && there.IsActief() {
			return contactpersoon.Bezet()
		}
	}
	m.all = append(m.all, c)
	return m.w.act("wijs toe")
}

func (m *contactRegister) BeeindigContact(_ context.Context, id string, at time.Time) error {
	for i := range m.all {
		if m.all[i].ID == id {
			m.all[i].Beeindig(at)
		}
	}
	return m.w.act("beeindig")
}

func (m *contactRegister) Contactpersoon(_ context.Context, id string) (contactpersoon.Contactpersoon, error) {
	for _, c := range m.all {
		if c.ID == id {
			return c, nil
		}
	}
	return contactpersoon.Contactpersoon{}, gateway.Errorf(gateway.NotFound, "no such id")
}

func (m *contactRegister) ContactpersonenVan(_ context.Context, person []gateway.Pseudonym) ([]contactpersoon.Contactpersoon, error) {
	return slices.DeleteFunc(slices.Clone(m.all), func(c contactpersoon.Contactpersoon) bool {
		return !c.IsActief() || !slices.ContainsFunc(person, func(p gateway.Pseudonym) bool { return slices.Contains(c.Leden, p) })
	}), nil
}

func (m *contactRegister) Contactpersonen(_ context.Context, actief bool, after string, limit int) ([]contactpersoon.Contactpersoon, error) {
	var out []contactpersoon.Contactpersoon
	for _, c := range m.all {
		if c.ID > after && len(out) < limit && (!actief || c.IsActief()) {
			out = append(out, c)
		}
	}
	return out, nil
}

const toewijzing = `{"huishouden":"HH-1","bsns":["` + bsn + `","999990019"],"naam":"J. Jansen","organisatie":"Sociaal team Borne","telefoon":"074 000 00 00","wet":"Wmo2015","geldigVan":"2026-11-01"}`

func TestContactpersoon(t *testing.T) {
	w := newWorld(t)
	m := &contactRegister{w: w}
	w.handler.Contacten = m
	c := good[beheer.ContactpersoonJSON](w, http.StatusCreated, "Contactpersoon", "beheer", http.MethodPost, "/contactpersonen", toewijzing)
	if c.Naam != "J. Jansen" || c.GeldigVan != "2026-11-01" || c.Wet != "Wmo2015" || len(c.Leden) != 2 || !strings.HasPrefix(string(c.Leden[0]), "v2.") {
		t.Errorf("got %+v", c)
	}
	if status, raw := w.call("beheer", http.MethodPost, "/contactpersonen", toewijzing); status != http.StatusConflict || !strings.Contains(raw, contactpersoon.CodeBezet) {
		t.Errorf("a second assignment: got %d %s", status, raw)
	}
	found := good[beheer.ContactpersonenJSON](w, http.StatusOK, "Contactpersonen", "beheer", http.MethodPost, "/contactpersonen/_zoek", `{"bsn":"`+bsn+`"}`)
	if len(found.Contactpersonen) != 1 || found.Contactpersonen[0].ID != c.ID {
		t.Errorf("found %+v", found)
	}
	ended := good[beheer.ContactpersoonJSON](w, http.StatusOK, "Contactpersoon", "beheer", http.MethodPost, "/contactpersonen/"+c.ID+"/_beeindigen", "")
	if ended.Beeindigd == nil {
		t.Errorf("got %+v", ended)
	}
	good[beheer.ContactpersoonJSON](w, http.StatusCreated, "Contactpersoon", "beheer", http.MethodPost, "/contactpersonen", toewijzing)
	for query, want := range map[string]int{"": 2, "?actief=true": 1, "?aantal=1": 1} {
		if got := good[beheer.ContactpersonenJSON](w, http.StatusOK, "Contactpersonen", "beheer", http.MethodGet, "/contactpersonen"+query, ""); len(got.Contactpersonen) != want {
			t.Errorf("list%s: %d, want %d", query, len(got.Contactpersonen), want)
		}
	}
	for _, r := range w.audit.Records() {
		for _, leak := range []string{bsn, "Jansen", "074"} {
			if strings.Contains(string(r.Body), leak) {
				t.Errorf("a record holds %q: %s", leak, r.Body)
			}
		}
	}
	if w.audit.Count(audit.Beheer, "") != 5 { // each assignment that was tried, the end, the look
		t.Errorf("%d records, want 5", w.audit.Count(audit.Beheer, ""))
	}
}

func TestBadContactpersoon(t *testing.T) {
	for want, edit := range map[string][2]string{
		"bsn: ":       {`"` + bsn + `"`, `"999993654"`},
		"bsns: noem":  {`"999990019"`, `"` + bsn + `"`},
		"bsns: geef":  {`"` + bsn + `","999990019"`, ``},
		"huishouden":  {"HH-1", "999993653"},
		"naam":        {"J. Jansen", ""},
		"wet":         {"Wmo2015", "Wmo"},
		"geldigVan":   {"2026-11-01", "morgen"},
		"geldigVan: ": {"2026-11-01", "2026-12-01"},
		"telefoon":    {"074 000 00 00", "zie brief"},
	} {
		w := newWorld(t)
		w.handler.Contacten = &contactRegister{w: w}
		body := strings.Replace(toewijzing, edit[0], edit[1], 1)
		status, raw := w.call("beheer", http.MethodPost, "/contactpersonen", body)
		if status != http.StatusBadRequest || !strings.Contains(raw, want) || strings.Contains(raw, bsn) || len(w.acts) != 0 || len(w.audit.Records()) != 0 {
			t.Errorf("%s: got %d %s", want, status, raw)
		}
	}
	w := newWorld(t)
	m := &contactRegister{w: w}
	w.handler.Contacten = m
	w.audit.Fail = func(audit.Record) error { return errors.New("disk full") }
	if status, _ := w.call("beheer", http.MethodPost, "/contactpersonen", toewijzing); status != http.StatusServiceUnavailable || len(m.all) != 0 {
		t.Errorf("not recorded: got %d, %d kept", status, len(m.all))
	}
	if status, _ := w.call("beheer", http.MethodPost, "/contactpersonen/x/_beeindigen", ""); status != http.StatusBadRequest {
		t.Errorf("id: got %d", status)
	}
}
