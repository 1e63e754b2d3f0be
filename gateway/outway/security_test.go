package outway

import (
	"net/http"
	"testing"

	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
)

// TestErrorCodeOfAnother: what the other side writes for an error code does not come into our records, and keeps none of them away.
func TestErrorCodeOfAnother(t *testing.T) {
	for code, want := range map[string]string{
		"ERROR_CODE_ACCESS_DENIED":     "ERROR_CODE_ACCESS_DENIED",
		"999990019":                    edge.CodeVreemd,
		"BSN-999990019":                edge.CodeVreemd,
		"P. de Vries, Dorpsstraat 12":  edge.CodeVreemd,
		"ERROR_CODE\u00e9_NOT_A_CODE ": edge.CodeVreemd,
	} {
		r := newRig(t)
		r.answer = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(edge.HeaderErrorCode, code)
			w.WriteHeader(http.StatusForbidden)
		}
		got := r.do(r.ask(`{}`, nil))
		if got.err != nil || got.status != http.StatusForbidden {
			t.Errorf("%q: got %d %v, want the refusal passed on", code, got.status, got.err)
		}
		if fout := r.last(audit.Afloop)["fout"]; fout != want {
			t.Errorf("%q: afloop has fout %v, want %s", code, fout, want)
		}
	}
}
