package clientgegevens_test

import (
	"context"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/schemas"
)

// An answer that breaks a promise of the document does not pass; without this the check in doe could not fail.
func TestAnswersAreReallyHeldToTheDocument(t *testing.T) {
	w := nieuw(t)
	rec := w.doe(w.vraag(`{"bsn":"999990019","velden":{"persoon":["naam","geboortedatum"],"uitkering":["loopt"],"contactpersoon":["naam"]}}`))
	good := rec.Body.String()
	r, _ := get(t, "/v1/clienten/_zoek")
	r.Method = http.MethodPost
	if err := past(r, 200, rec.Header(), []byte(good)); err != nil {
		t.Fatalf("the good answer: %v", err)
	}
	for name, bend := range map[string][2]string{
		"unknown outcome":           {`"uitkomst":"beantwoord"`, `"uitkomst":"niets"`},
		"no outcome":                {`"uitkomst":"geen-gegevens",`, ``},
		"answered without rows":     {`"uitkomst":"geen-gegevens"`, `"uitkomst":"beantwoord","bron":"b","grondslag":"g"`},
		"rows without an answer":    {`"uitkomst":"beantwoord"`, `"uitkomst":"geen-gegevens"`},
		"refused without a reason":  {`"uitkomst":"geen-gegevens"`, `"uitkomst":"geweigerd"`},
		"no grondslag":              {`"grondslag":"Participatiewet art. 7 lid 1 onder a",`, ``},
		"field outside the schema":  {`"loopt":true`, `"bedrag2":"1.00"`},
		"field of another dienst":   {`"loopt":true`, `"telefoon":"06"`},
		"wrong type":                {`"loopt":true`, `"loopt":"J"`},
		"no ISO date":               {`1985-12-01`, `19851201`},
		"member outside the answer": {`"geheim":false`, `"geheim":false,"leeftijd":40`},
		"no peildatum":              {`"peildatum":"2026-11-23",`, ``},
		"two rows of one person":    {`"rijen":[{"peildatum":"2026-11-23","waarden":{"geb`, `"rijen":[{"peildatum":"2026-11-23","waarden":{"naam":"x"}},{"peildatum":"2026-11-23","waarden":{"geb`},
		"empty answer":              {good[strings.Index(good, `"diensten":[`)+12 : len(good)-3], ``},
	} {
		bad := strings.Replace(good, bend[0], bend[1], 1)
		if bad == good {
			t.Errorf("%s: nothing was bent in %s", name, good)
		} else if past(r, 200, rec.Header(), []byte(bad)) == nil {
			t.Errorf("%s: passes: %s", name, bad)
		}
	}
	if past(r, 418, rec.Header(), []byte(good)) == nil {
		t.Error("a status that the document does not have passes")
	}
}

func load(t *testing.T) *openapi3.T {
	t.Helper()
	raw, err := schemas.FS.ReadFile("clientgegevens.openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background(), openapi3.EnableExamplesValidation()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// The document and the common schema have the same diensten, velden, codes and parts.
func TestDocumentFollowsTheCommonSchema(t *testing.T) {
	doc := load(t)
	ask := doc.Components.Schemas["Vraag"].Value.Properties["velden"].Value.Properties
	wantRefs := map[connectors.Type]string{
		connectors.Tekst: "Tekst", connectors.Datum: "Dag", connectors.JaNee: "JaNee", connectors.Bedrag: "Bedrag", connectors.Adres: "Adres",
	}
	common := connectors.Gemeenschappelijk().Diensten
	if diff := cmp.Diff(sorted(common), sorted(ask)); diff != "" {
		t.Errorf("diensten in a question: -want +got\n%s", diff)
	}
	for dienst, d := range common {
		name := strings.ToUpper(string(dienst[:1])) + string(dienst[1:])
		answer := doc.Components.Schemas[name]
		if answer == nil || ask[string(dienst)] == nil {
			t.Errorf("no schema %s", name)
			continue
		}
		var asked []string
		for _, v := range ask[string(dienst)].Value.Items.Value.Enum {
			asked = append(asked, v.(string))
		}
		slices.Sort(asked)
		if diff := cmp.Diff(sorted(d.Velden), asked); diff != "" {
			t.Errorf("velden of %s in a question: -want +got\n%s", dienst, diff)
		}
		if diff := cmp.Diff(sorted(d.Velden), sorted(answer.Value.Properties)); diff != "" {
			t.Errorf("velden of %s in an answer: -want +got\n%s", dienst, diff)
		}
		for veld, v := range d.Velden {
			prop := answer.Value.Properties[string(veld)]
			switch {
			case prop == nil:
			case v.Type == connectors.Code:
				var codes []string
				for _, c := range prop.Value.Enum {
					if s, ok := c.(string); ok {
						codes = append(codes, s)
					}
				}
				if !slices.Equal(codes, v.Waarden) || len(prop.Value.Enum) != len(codes)+1 {
					t.Errorf("%s.%s: got %v, want %v and null", dienst, veld, prop.Value.Enum, v.Waarden)
				}
			case v.Type == connectors.BSN:
				if prop.Value.Pattern != "^[0-9]{9}$" {
					t.Errorf("%s.%s: got %q", dienst, veld, prop.Value.Pattern)
				}
			case prop.Ref != "#/components/schemas/"+wantRefs[v.Type]:
				t.Errorf("%s.%s: got %q for type %s", dienst, veld, prop.Ref, v.Type)
			case v.Type == connectors.Adres:
				if got := sorted(prop.Value.Properties); !slices.Equal(got, slices.Sorted(slices.Values(v.Delen))) {
					t.Errorf("%s.%s: got %v, want %v", dienst, veld, got, v.Delen)
				}
			}
		}
	}
}

func sorted[K ~string, V any](m map[K]V) []string {
	var out []string
	for k := range maps.Keys(m) {
		out = append(out, string(k))
	}
	slices.Sort(out)
	return out
}

// The document passes the API Design Rules 2.2.1, and the rules are seen to refuse what they must: the test cases of the linter
// itself, and our own document with one rule broken.
func TestDesignRules(t *testing.T) {
	specs, spectral := os.Getenv("GRENSLOOS_SPECS"), os.Getenv("GRENSLOOS_SPECTRAL")
	if specs == "" || spectral == "" {
		t.Skip("GRENSLOOS_SPECS and GRENSLOOS_SPECTRAL name the folder with the ruleset and the linter")
	}
	lint := func(file string) (string, error) {
		out, err := exec.CommandContext(t.Context(), spectral, "lint", "--ruleset", filepath.Join(specs, "adr-2.2.1", "linter.yaml"), file).CombinedOutput()
		return string(out), err
	}
	for name, rule := range map[string]string{
		"baseline": "", "error-type-invalid-input": "nlgov:problem-invalid-input",
		"query-keys-camel-case": "nlgov:query-keys-camel-case", "version-header-missing": "nlgov:missing-version-header",
	} {
		out, err := lint(filepath.Join(specs, "adr-linter-testcases", name, "openapi.json"))
		if (err != nil) != (rule != "") || !strings.Contains(out, rule) {
			t.Errorf("the linter's own test case %s: got error %v, want rule %q\n%s", name, err, rule, out)
		}
	}
	ours, err := schemas.FS.ReadFile("clientgegevens.openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "clientgegevens.openapi.yaml")
	for name, tc := range map[string]struct{ old, new, rule string }{
		"as it is":           {},
		"path in camel case": {"/clienten/_zoek:", "/clientGegevens/_zoek:", "nlgov:paths-kebab-case"},
		"plain http":         {"https://inway", "http://inway", "nlgov:servers-use-https"},
	} {
		if err := os.WriteFile(file, []byte(strings.Replace(string(ours), tc.old, tc.new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := lint(file)
		if (err != nil) != (tc.rule != "") || !strings.Contains(out, tc.rule) {
			t.Errorf("%s: got error %v, want rule %q\n%s", name, err, tc.rule, out)
		}
	}
}
