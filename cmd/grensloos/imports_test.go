package main

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The table of docs/architecture.md: which of our packages each package may import. A package that is not here is a decision
// that nobody took yet. "gateway" stands for the vocabulary alone.
var (
	base  = []string{"gateway", "gateway/jose", "gateway/edge"}
	rules = []string{
		"gateway/contract", "gateway/accesstoken", "gateway/verklaring", "gateway/audit", "gateway/toestemming", "gateway/terugmelding", "gateway/contactpersoon",
		"gateway/gemeenten", "policies", "connectors", "certs",
	}
	server = slices.Concat(base, rules, []string{"schemas"})

	mayImport = map[string][]string{
		"gateway": {},
		"schemas": {},

		"gateway/jose": {"gateway"},
		"gateway/edge": {"gateway", "gateway/jose"},

		"gateway/contract":       {"gateway", "schemas", "gateway/jose"},
		"gateway/accesstoken":    {"gateway", "gateway/jose"},
		"gateway/verklaring":     {"gateway", "gateway/jose"},
		"gateway/audit":          {"gateway", "schemas"},
		"gateway/toestemming":    {"gateway"},
		"gateway/terugmelding":   {"gateway"},
		"gateway/contactpersoon": {"gateway"},
		"gateway/gemeenten":      {"gateway"},
		"policies":               {"gateway", "schemas"},
		"connectors":             {"gateway", "schemas"},
		"certs":                  {"gateway"},
		"certs/vault":            {"gateway", "certs"},

		"gateway/audit/journal":  {"gateway", "gateway/audit"},
		"gateway/audit/kafka":    {"gateway", "gateway/audit"},
		"gateway/postgres":       {"gateway"},
		"gateway/store":          slices.Concat([]string{"gateway", "gateway/postgres"}, rules),
		"connectors/database":    {"gateway", "gateway/postgres", "connectors", "schemas"},
		"connectors/register":    {"gateway", "connectors", "gateway/contactpersoon"},
		"connectors/conformance": {"gateway", "connectors"},

		"gateway/manager":           server,
		"gateway/inway":             server,
		"gateway/outway":            server,
		"gateway/bevraging":         server,
		"gateway/beheer":            server,
		"connectors/clientgegevens": server,

		"cmd/grensloos":           {"*"},
		"cmd/grensloos/bevolking": {"gateway", "connectors"},
	}
)

const module = "github.com/grensloos/grensloos"

type goPackage struct {
	ImportPath string
	Imports    []string
}

func TestImportsFollowTheTable(t *testing.T) {
	packages := listPackages(t)
	for path, pkg := range packages {
		allowed, known := mayImport[path]
		if !known {
			t.Errorf("package %s is not in the table: a new package is a decision, write it in docs/architecture.md and here", path)
			continue
		}
		if slices.Contains(allowed, "*") {
			continue
		}
		for _, imp := range pkg.Imports {
			short, ours := strings.CutPrefix(imp, module+"/")
			if ours && !slices.Contains(allowed, short) {
				t.Errorf("%s imports %s: the table of docs/architecture.md does not allow it", path, short)
			}
		}
	}
	for path := range maps.Keys(mayImport) {
		if _, ok := packages[path]; !ok {
			t.Errorf("the table names package %s, which does not exist", path)
		}
	}
}

// The layers, so that the table itself cannot be widened against them without this test being changed too.
func TestTableKeepsTheLayers(t *testing.T) {
	adapters := []string{"certs/vault", "gateway/audit/journal", "gateway/audit/kafka", "gateway/postgres", "gateway/store", "connectors/database", "connectors/register", "connectors/conformance"}
	servers := []string{"gateway/manager", "gateway/inway", "gateway/outway", "gateway/bevraging", "gateway/beheer", "connectors/clientgegevens"}
	for _, rule := range rules {
		for _, other := range slices.Concat(rules, adapters, servers) {
			if slices.Contains(mayImport[rule], other) {
				t.Errorf("rule package %s may import %s: rules meet in vocabulary types only", rule, other)
			}
		}
	}
	for _, s := range servers {
		for _, other := range slices.Concat(adapters, servers) {
			if slices.Contains(mayImport[s], other) {
				t.Errorf("server %s may import %s: servers know no adapter and no other server", s, other)
			}
		}
	}
}

func listPackages(t *testing.T) map[string]goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := map[string]goPackage{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages[strings.TrimPrefix(p.ImportPath, module+"/")] = p
	}
}
