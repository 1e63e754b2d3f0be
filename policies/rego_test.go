package policies

import (
	"context"
	"io/fs"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/tester"
)

// TestRego runs the tests written in Rego, and demands that every line of every rule took part in one.
func TestRego(t *testing.T) {
	modules := map[string]*ast.Module{}
	err := fs.WalkDir(Embedded(), "rego", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(Embedded(), name)
		if err != nil {
			return err
		}
		m, err := ast.ParseModuleWithOpts(name, string(data), ast.ParserOptions{RegoVersion: ast.RegoV1})
		modules[name] = m
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	c := cover.New()
	results, err := tester.NewRunner().SetCoverageQueryTracer(c).SetModules(modules).RunTests(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for r := range results {
		count++
		if !r.Pass() {
			t.Errorf("%s: %s: fail %v, skip %v, %v", r.Location, r.Name, r.Fail, r.Skip, r.Error)
		}
	}
	if count < 20 {
		t.Errorf("got %d Rego tests, want at least 20", count)
	}
	covered := 0
	for name, report := range c.Report(modules).Files {
		if strings.HasSuffix(name, "_test.rego") {
			continue
		}
		covered++
		for _, r := range report.NotCovered {
			t.Errorf("%s:%d-%d: no test reaches this", name, r.Start.Row, r.End.Row)
		}
	}
	if covered == 0 {
		t.Error("no coverage was measured")
	}
}
