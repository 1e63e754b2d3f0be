package outway

import (
	"net/http"
	"testing"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/edge"
)

// Only this outway says that nothing was sent: whoever asks again on that word discloses nothing twice.
func TestOutwayVerstuurd(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*rig) func(*http.Request)
		status int
		want   string
	}{
		"answered": {func(*rig) func(*http.Request) { return nil }, 200, ""},
		"the other side says it": {func(r *rig) func(*http.Request) {
			r.answer = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set(edge.HeaderVerstuurd, "nee")
				w.WriteHeader(http.StatusBadGateway)
			}
			return nil
		}, 502, ""},
		"no grant": {func(*rig) func(*http.Request) {
			return func(req *http.Request) { req.Header.Set(edge.HeaderGrantHash, "$1$3$x") }
		}, 403, "nee"},
		"no token": {func(r *rig) func(*http.Request) {
			r.tokens.err = gateway.Errorf(gateway.Unavailable, "manager")
			return nil
		}, 502, "nee"},
		"connection refused": {func(r *rig) func(*http.Request) { r.inway.Close(); return nil }, 502, "nee"},
		"connection lost": {func(r *rig) func(*http.Request) {
			r.answer = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
			return nil
		}, 502, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			got := r.do(r.ask("{}", tc.change(r)))
			if got.status != tc.status || got.header.Get(edge.HeaderVerstuurd) != tc.want {
				t.Errorf("got %d %q, want %d %q", got.status, got.header.Get(edge.HeaderVerstuurd), tc.status, tc.want)
			}
		})
	}
}
