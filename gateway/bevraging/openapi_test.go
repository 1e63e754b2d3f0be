package bevraging_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/grensloos/grensloos/schemas"
)

// document is the OpenAPI document as the API publishes it: without a token.
func (f *fixture) document() any {
	f.t.Helper()
	router, err := f.handler.Router()
	if err != nil {
		f.t.Fatal(err)
	}
	w := httptest.NewRecorder()
	router.ServeHTTP(w, httptest.NewRequestWithContext(f.t.Context(), http.MethodGet, "https://bevraging/v1/openapi.json", nil))
	if w.Code != http.StatusOK || w.Header().Get("Api-Version") != "1.0.0" || w.Header().Get("Access-Control-Allow-Origin") != "*" {
		f.t.Fatalf("openapi.json: got %d %v", w.Code, w.Header())
	}
	doc, err := jsonschema.UnmarshalJSON(w.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return doc
}

func (f *fixture) schema(name string) *jsonschema.Schema {
	f.t.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("https://example/bevraging.json", f.document()); err != nil {
		f.t.Fatal(err)
	}
	s, err := c.Compile("https://example/bevraging.json#/components/schemas/" + name)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

func validate(s *jsonschema.Schema, raw string) error {
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(raw))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

func TestAnswersFollowTheDocument(t *testing.T) {
	for name, change := range map[string]func(*fixture){
		"answered":    func(f *fixture) { f.outway.body = beantwoord },
		"no contract": func(f *fixture) { f.grants.all = nil },
		"denied":      func(f *fixture) { f.outway.status = http.StatusForbidden },
		"unreachable": func(f *fixture) { f.outway.err = http.ErrHandlerTimeout },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			change(f)
			status, body := f.ask(question)
			if status != http.StatusOK {
				t.Fatalf("got %d %s", status, body)
			}
			if err := validate(f.schema("Antwoord"), body); err != nil {
				t.Errorf("%v\n%s", err, body)
			}
		})
	}
	f := newFixture(t)
	if err := validate(f.schema("Vraag"), question); err != nil {
		t.Errorf("question: %v", err)
	}
	_, body := f.ask("{}")
	if err := validate(f.schema("Probleem"), body); err != nil || !strings.Contains(body, "ongeldigeVelden") {
		t.Errorf("problem: %v\n%s", err, body)
	}
}

// A reader of the document can tell "knows nothing" from "could not ask": an answer that leaves it open is not valid.
func TestTheDocumentAllowsNoEmptyAnswer(t *testing.T) {
	f := newFixture(t)
	f.outway.body = beantwoord
	_, good := f.ask(question)
	why := map[string]any{"code": "x", "tekst": "x"}
	schema := f.schema("Antwoord")
	if err := validate(schema, good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(dienst map[string]any){
		"answered without rows":   func(d map[string]any) { d["rijen"] = []any{} },
		"answered without source": func(d map[string]any) { delete(d, "bron") },
		"answered without law":    func(d map[string]any) { delete(d, "grondslag") },
		"no outcome":              func(d map[string]any) { delete(d, "uitkomst") },
		"other outcome with rows": func(d map[string]any) { d["uitkomst"] = "geen-gegevens" },
		"unreachable, no reason":  func(d map[string]any) { d["uitkomst"], d["rijen"] = "onbereikbaar", []any{} },
		"outcome of its own":      func(d map[string]any) { d["uitkomst"], d["rijen"] = "leeg", []any{} },
		"whole, but withheld":     func(d map[string]any) { d["onthouden"] = []any{map[string]any{"velden": []any{"soort"}, "reden": why}} },
		"whole, but unreachable":  func(d map[string]any) { d["uitkomst"], d["rijen"], d["reden"] = "onbereikbaar", []any{}, why },
	} {
		var a map[string]any
		if err := json.NewDecoder(bytes.NewReader([]byte(good))).Decode(&a); err != nil {
			t.Fatal(err)
		}
		change(a["gemeenten"].([]any)[0].(map[string]any)["diensten"].([]any)[0].(map[string]any))
		raw, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if validate(schema, string(raw)) == nil {
			t.Errorf("%s: valid, want an error", name)
		}
	}
	for name, changed := range map[string]string{
		"no gemeenten":             good[:strings.Index(good, `"gemeenten":[`)] + `"gemeenten":[]}`,
		"all known, yet not whole": strings.Replace(good, `"volledig":true`, `"volledig":false`, 1),
		"not said":                 strings.Replace(good, `"volledig":true,`, ``, 1),
		"answer nobody recorded":   strings.Replace(good, `"transactie":"`+transact+`",`, ``, 1),
		"no ground":                strings.Replace(good, `"grond":"zaak",`, ``, 1),
	} {
		if changed == good || validate(schema, changed) == nil {
			t.Errorf("%s: valid, want an error: %s", name, changed)
		}
	}
}

// Every piece of a stream has its schema, and no gemeente can be read as the end.
func TestStreamsFollowTheDocument(t *testing.T) {
	f := newRegion(t, 3, func(r *http.Request, i int) (*http.Response, error) {
		if i == 1 {
			return nil, http.ErrHandlerTimeout
		}
		return good(r)
	})
	f.grants.all = f.grants.all[:2]
	w := newClocked()
	f.stream(t.Context(), w, "application/x-ndjson", named(1, 2, 3))
	regel, gemeente, slot := f.schema("Regel"), f.schema("Gemeente"), f.schema("Slot")
	for i, line := range w.lines {
		_, line, _ = strings.Cut(line, " ")
		last := i == len(w.lines)-1
		if err := validate(regel, line); err != nil {
			t.Errorf("line %d: %v\n%s", i, err, line)
		}
		if (validate(slot, line) == nil) != last || (validate(gemeente, line) == nil) == last {
			t.Errorf("line %d of %d: can't tell a gemeente from the end: %s", i, len(w.lines), line)
		}
	}
	w = newClocked()
	f.stream(t.Context(), w, "text/event-stream", named(1, 2, 3))
	for i, piece := range w.lines {
		_, piece, _ = strings.Cut(piece, "event: ")
		event, data, _ := strings.Cut(piece, "\ndata: ")
		schema := map[string]string{"gevraagd": "Gevraagd", "gemeente": "Gemeente", "klaar": "Slot"}[event]
		if !strings.HasSuffix(data, "\n\n") || strings.Count(data, "\n") != 2 {
			t.Errorf("event %d is not one: %q", i, piece)
		}
		if err := validate(f.schema(schema), data); err != nil {
			t.Errorf("event %d %s: %v", i, event, err)
		}
	}
	if len(w.lines) != 5 {
		t.Errorf("got %d events, want gevraagd, 3 gemeenten and klaar", len(w.lines))
	}
}

func TestDesignRules(t *testing.T) {
	specs, spectral := os.Getenv("GRENSLOOS_SPECS"), os.Getenv("GRENSLOOS_SPECTRAL")
	if specs == "" || spectral == "" {
		t.Skip("GRENSLOOS_SPECS and GRENSLOOS_SPECTRAL name the folder with the ruleset and the linter")
	}
	raw, err := schemas.FS.ReadFile("bevraging.openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bevraging.openapi.yaml")
	for name, tc := range map[string]struct {
		old, with string
		ok        bool
	}{
		"as it is":      {"", "", true},
		"no version":    {"/v1\n", "/\n", false},
		"no 400":        {"        '400':\n", "        '422':\n", false},
		"path in camel": {"  /bevragingen:\n", "  /bevragingenLijst:\n", false},
	} {
		if err := os.WriteFile(file, []byte(strings.Replace(string(raw), tc.old, tc.with, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), spectral, "lint", "--ruleset", filepath.Join(specs, "adr-2.2.1", "linter.yaml"), file).CombinedOutput()
		if (err == nil) != tc.ok {
			t.Errorf("%s: got %v, want ok %v\n%s", name, err, tc.ok, out)
		}
	}
}
