package policies_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/policies"
)

// declared are the reasons that gateway declares, read from its source: a new one without a row in the table fails here.
func declared(t *testing.T) []gateway.Reason {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../gateway/decision.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var list []gateway.Reason
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); ok && name.Name == "Reason" {
			for _, v := range spec.Values {
				s, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, gateway.Reason(s))
			}
		}
		return true
	})
	if len(list) < 25 {
		t.Fatalf("found %d reasons in gateway, want at least 25", len(list))
	}
	return list
}

func TestEveryReasonHasCodeAndText(t *testing.T) {
	person := map[gateway.Reason]bool{
		gateway.ToestemmingOntbreekt: true, gateway.ToestemmingIngetrokken: true, gateway.ToestemmingVerlopen: true,
		gateway.ToestemmingVoorlopig: true, gateway.ToestemmingVerkeerdeOntvanger: true, gateway.LeeftijdGezag: true,
		gateway.BeperktNaBezwaar: true, gateway.Geheimhouding: true, gateway.LokaalBeleid: true,
	}
	public := policies.PublicText(policies.Geweigerd)
	texts := map[string]gateway.Reason{public: "geweigerd"}
	for _, r := range declared(t) {
		text := policies.Text(r)
		if other, double := texts[text]; double || text == "" {
			t.Errorf("%s: has the text of %s, or none", r, other)
		}
		texts[text] = r
		for _, doel := range []gateway.Doel{"", "pw-uitkering", "doorverwijzing-welzijn"} {
			code := policies.PublicCode(doel, r)
			if person[r] && (code != policies.Geweigerd || policies.PublicText(code) != public) {
				t.Errorf("%s for %q: got %s %q, want the one public code and text", r, doel, code, policies.PublicText(code))
			}
			if !person[r] && (code != string(r) || policies.PublicText(code) != text) {
				t.Errorf("%s for %q: got %s %q, want its own code and text", r, doel, code, policies.PublicText(code))
			}
			for _, stap := range []policies.Stap{policies.Uitgaand, policies.Inkomend, policies.Verstrekking, ""} {
				want := code
				if r == gateway.LokaalBeleid && (stap == policies.Uitgaand || stap == policies.Inkomend) {
					want = string(r)
				}
				if got := stap.PublicCode(doel, r); got != want {
					t.Errorf("%s at %q: got %s, want %s", r, stap, got, want)
				}
			}
		}
		// A reason that is not public by itself has no public text of its own.
		if got := policies.PublicText(string(r)); person[r] && r != gateway.LokaalBeleid && got != public {
			t.Errorf("PublicText(%s): got %q, want the one public text", r, got)
		}
	}
}

func TestUnknownReasonIsNotPublic(t *testing.T) {
	if got := policies.PublicCode("pw-uitkering", "nieuw"); got != policies.Geweigerd {
		t.Errorf("got %q, want geweigerd", got)
	}
	for _, code := range []string{"nieuw", ""} {
		if got := policies.PublicText(code); got != policies.PublicText(policies.Geweigerd) {
			t.Errorf("PublicText(%q): got %q, want the text of geweigerd", code, got)
		}
	}
	if got := policies.Text("nieuw"); got == "" {
		t.Error("Text of an unknown reason: got none")
	}
}
