package manager

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// managerSpec is manager.yaml of FSC Core 2.0.0, with what the text repairs; nil without GRENSLOOS_SPECS. Every answer that a
// test of this package gets is held against it.
var managerSpec = sync.OnceValues(func() (*openapi3.T, error) {
	dir := os.Getenv("GRENSLOOS_SPECS")
	if dir == "" {
		return nil, nil //nolint:nilnil // without the folder there is nothing to hold against
	}
	doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join(dir, "fsc-core-2.0.0", "manager.yaml"))
	if err != nil {
		return nil, err
	}
	schemas := doc.Components.Schemas
	codes := schemas["managerErrorCode"].Value
	codes.Enum = nil
	for code := range statuses {
		codes.Enum = append(codes.Enum, code)
	}
	if e := schemas["errorCode"]; e != nil && e.Value != codes {
		e.Value.Enum, e.Value.OneOf, e.Value.AnyOf = nil, nil, nil
	}
	schemas["fscVersion"].Value.Enum = []any{"2.0.0"}
	ec := schemas["ecPublicKey"].Value
	ec.Required = []string{"crv", "x", "y"}
	ec.Properties["y"].Value.MinLength, ec.Properties["y"].Value.MaxLength = 0, nil
	schemas["rsaPublicKey"].Value.Required = []string{"n", "e"}
	for _, key := range []*openapi3.Schema{ec, schemas["rsaPublicKey"].Value} {
		for _, p := range key.Properties {
			p.Value.Format = "" // "byte" is base64; these are base64url
		}
	}
	jwk := schemas["jwk"].Value
	jwk.Properties["x5t#S256"] = jwk.Properties["x5t#s256"]
	delete(jwk.Properties, "x5t#s256")
	return doc, nil
})

// conforms holds an answer against manager.yaml. Statuses that it does not list (404, 405, 413, 415, 503) are ours.
func conforms(t *testing.T, method, path string, status int, raw []byte) bool {
	t.Helper()
	doc, err := managerSpec()
	must(t, err)
	if doc == nil {
		return true
	}
	path, _, _ = strings.Cut(strings.TrimPrefix(path, "/v1"), "?")
	if parts := strings.Split(path, "/"); len(parts) == 4 && parts[1] == "contracts" {
		parts[2] = "{hash}"
		path = strings.Join(parts, "/")
	}
	item := doc.Paths.Find(path)
	if item == nil || item.GetOperation(method) == nil {
		return true
	}
	response := item.GetOperation(method).Responses.Status(status)
	if response == nil {
		ours := []int{
			http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
			http.StatusServiceUnavailable,
		}
		// a wrong query or certificate has no answer in manager.yaml where only 200 is listed
		return slices.Contains(ours, status) || path == "/announce" && status == http.StatusBadRequest || method == http.MethodGet && status >= 400
	}
	media := response.Value.Content.Get("application/json")
	if media == nil {
		return len(raw) == 0
	}
	var v any
	must(t, json.Unmarshal(raw, &v))
	if path == "/token" && strings.Contains(string(raw), `"domain"`) {
		return true // the client certificate is at fault: an FSC error
	}
	if err := media.Schema.Value.VisitJSON(v); err != nil {
		t.Errorf("%s %s, status %d: %s does not follow manager.yaml: %v", method, path, status, raw, err)
		return false
	}
	return true
}

func TestConformsCanFail(t *testing.T) {
	doc, err := managerSpec()
	must(t, err)
	if doc == nil {
		return
	}
	for _, path := range []string{"/v1/contracts", "/v1/peers"} {
		if conforms(&testing.T{}, http.MethodGet, path, http.StatusOK, []byte(`{"contracts":[{}]}`)) {
			t.Errorf("%s: anything conforms", path)
		}
	}
}
