package clientgegevens_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

func TestAntwoord(t *testing.T) {
	w := nieuw(t)
	v := w.vraag(`{"bsn":"999990019"}`)
	v.id = gateway.NewTransactionID(nu)
	a := lees(t, w.doe(v))
	if a.Transactie != v.id || a.Doel != "pw-reintegratie" || a.DoelVersie != 1 || a.Geheim {
		t.Errorf("head of the answer: got %s %s %d %v", a.Transactie, a.Doel, a.DoelVersie, a.Geheim)
	}
	got := map[gateway.Dienst]string{}
	for _, d := range a.Diensten {
		got[d.Dienst] = d.Uitkomst
		if d.Uitkomst == "beantwoord" && (d.Bron != "proefbron" || d.Grondslag != "Participatiewet art. 7 lid 1 onder a" || d.Rijen[0].Peildatum != "2026-11-23") {
			t.Errorf("%s: got bron %q, grondslag %q, peildatum %q", d.Dienst, d.Bron, d.Grondslag, d.Rijen[0].Peildatum)
		}
	}
	if diff := cmp.Diff(map[gateway.Dienst]string{"persoon": "beantwoord", "uitkering": "beantwoord", "contactpersoon": "geen-gegevens"}, got); diff != "" {
		t.Errorf("outcomes: -want +got\n%s", diff)
	}
	// The fake source gives all it has: what was not allowed does not leave, and what was is all there, null included.
	want := []map[gateway.Veld]any{{"bsn": "999990019", "naam": "Suzanne Moulin", "geboortedatum": "1985-12-01", "telefoon": "074", "email": nil}}
	if diff := cmp.Diff(want[0], a.Diensten[1].Rijen[0].Waarden); diff != "" {
		t.Errorf("persoon: -want +got\n%s", diff)
	}
	if n := len(a.Diensten[2].Rijen); n != 2 {
		t.Errorf("uitkering: got %d rows, want 2", n)
	}
	if diff := cmp.Diff([]string{
		"sleutel geheimhouding", "contactpersoon geldigVan naam organisatie telefoon",
		"persoon bsn email geboortedatum naam telefoon", "uitkering einddatum ingangsdatum loopt soort",
	}, w.bron.vragen); diff != "" {
		t.Errorf("what the source was asked: -want +got\n%s", diff)
	}
	if w.register.vraag != 0 {
		t.Error("the register of consents was read for a purpose that demands none")
	}
}

func TestWithheldFieldsHaveTheirReason(t *testing.T) {
	w := nieuw(t)
	a := lees(t, w.doe(w.vraag(`{"bsn":"999990019","velden":{"uitkering":["loopt","bedrag"],"persoon":["adres"]}}`)))
	if len(a.Diensten) != 2 {
		t.Fatalf("got %d diensten, want the 2 asked", len(a.Diensten))
	}
	p, u := a.Diensten[0], a.Diensten[1]
	if p.Uitkomst != "geweigerd" || p.Reden == nil || p.Reden.Code == "" || len(p.Rijen) != 0 || len(p.Onthouden) != 1 {
		t.Errorf("persoon: got %+v, want geweigerd with a reason", p)
	}
	if u.Uitkomst != "beantwoord" || len(u.Onthouden) != 1 || !cmp.Equal(u.Onthouden[0].Velden, []gateway.Veld{"bedrag"}) || u.Onthouden[0].Reden.Tekst == "" {
		t.Errorf("uitkering: got %+v, want loopt answered and bedrag withheld", u)
	}
	for _, row := range u.Rijen {
		if _, ok := row.Waarden["bedrag"]; ok || len(row.Waarden) != 1 {
			t.Errorf("uitkering: got %v, want loopt only", row.Waarden)
		}
	}
	for _, asked := range w.bron.vragen {
		if asked == "persoon adres" || asked == "uitkering bedrag loopt" {
			t.Errorf("the source was asked %q: what may not leave is never read", asked)
		}
	}
}

func TestGeheimIsMarked(t *testing.T) {
	w := nieuw(t)
	if a := lees(t, w.doe(w.vraag(`{"bsn":"999990020"}`))); !a.Geheim || a.Diensten[1].Uitkomst != "beantwoord" {
		t.Errorf("got geheim %v, %s, want an answer with the mark", a.Geheim, a.Diensten[1].Uitkomst)
	}
	if a := lees(t, w.doe(w.vraag(`{"bsn":"999990019"}`))); a.Geheim {
		t.Error("a person who is not secret carries the mark")
	}
}

func TestUnknownPersonIsGeenGegevens(t *testing.T) {
	w := nieuw(t)
	a := lees(t, w.doe(w.vraag(`{"bsn":"999990032"}`)))
	for _, d := range a.Diensten {
		if d.Uitkomst != "geen-gegevens" || len(d.Rijen) != 0 {
			t.Errorf("%s: got %s, want geen-gegevens", d.Dienst, d.Uitkomst)
		}
	}
	if len(a.Diensten) != 3 || a.Geheim {
		t.Errorf("got %d diensten, geheim %v, want 3 and no mark", len(a.Diensten), a.Geheim)
	}
	if adl, ldv := w.log.Count(audit.ADL, a.Transactie), w.log.Count(audit.LDV, a.Transactie); adl != 1 || ldv != 1 {
		t.Errorf("records: got %d ADL and %d LDV, want 1 and 1", adl, ldv)
	}
	if len(w.bron.vragen) != 1 {
		t.Errorf("the source was asked %v, want the first read only", w.bron.vragen)
	}
}

func TestDocumentIsServed(t *testing.T) {
	w := nieuw(t)
	r, rec := get(t, "/v1/openapi.json")
	w.h.ServeHTTP(rec, r)
	valideer(t, r, rec)
	if rec.Code != http.StatusOK || rec.Header().Get("Access-Control-Allow-Origin") != "*" || rec.Header().Get("API-Version") != "1.0.0" {
		t.Errorf("got %d, headers %v", rec.Code, rec.Header())
	}
	for _, tc := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/v1/clienten/_zoek", http.StatusMethodNotAllowed},
		{http.MethodPost, "/v1/clienten/_zoek/", http.StatusNotFound},
		{http.MethodGet, "/v1/openapi.json/", http.StatusNotFound},
		{http.MethodGet, "/", http.StatusNotFound},
	} {
		r, rec := get(t, tc.path)
		r.Method = tc.method
		w.h.ServeHTTP(rec, r)
		if rec.Code != tc.status || rec.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: got %d %s, want %d problem+json", tc.method, tc.path, rec.Code, rec.Header().Get("Content-Type"), tc.status)
		}
	}
	r, rec = get(t, "/v1/openapi.json")
	r.Header.Set("Accept", "text/html")
	w.h.ServeHTTP(rec, r)
	if rec.Code != http.StatusNotAcceptable {
		t.Errorf("Accept text/html: got %d, want 406", rec.Code)
	}
}
