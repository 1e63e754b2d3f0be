package certs

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// A connection made before a renewal ends with its next answer, which arrives whole; one made after it stays.
func TestRetire(t *testing.T) {
	r := newRegion(t)
	id, _ := r.identity(borne)
	other, _ := r.identity(uwi)
	identity, err := NewIdentity(id.Signer(), id.Chain())
	must(t, err)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("antwoord")) }))
	identity.Retire(srv.Config)
	srv.Start()
	defer srv.Close()
	for n, want := range []bool{false, false, true, false, false} {
		if n == 2 {
			must(t, identity.Replace(other.Signer(), other.Chain()))
		}
		resp, err := srv.Client().Get(srv.URL)
		must(t, err)
		body := make([]byte, 8)
		if n, _ := resp.Body.Read(body); string(body[:n]) != "antwoord" {
			t.Errorf("got answer %q", body)
		}
		_ = resp.Body.Close()
		if resp.Close != want {
			t.Errorf("answer %d: the connection ends: %t, want %t", n, resp.Close, want)
		}
	}
}
