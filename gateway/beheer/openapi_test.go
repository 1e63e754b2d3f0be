package beheer_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grensloos/grensloos/schemas"
)

func TestDesignRules(t *testing.T) {
	specs, spectral := os.Getenv("GRENSLOOS_SPECS"), os.Getenv("GRENSLOOS_SPECTRAL")
	if specs == "" || spectral == "" {
		t.Skip("GRENSLOOS_SPECS and GRENSLOOS_SPECTRAL name the folder with the ruleset and the linter")
	}
	raw, err := schemas.FS.ReadFile("beheer.openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "beheer.openapi.yaml")
	for name, tc := range map[string]struct {
		old, with string
		ok        bool
	}{
		"as it is":          {"", "", true},
		"query in snake":    {"name: aantal", "name: hoe_veel", false},
		"operation in dash": {"/_intrekken:", "/_trek-in:", false},
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
