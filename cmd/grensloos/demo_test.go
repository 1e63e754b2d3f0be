package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDemo runs what `make demo` runs, and the other region: peers in processes of their own, and the whole story.
func TestDemo(t *testing.T) {
	t.Setenv("GRENSLOOS_TEST_MAIN", "1") // the children are this test binary
	for region, want := range map[string][]string{
		"midden-twente": {
			"Borne (293 running benefits)", "Haaksbergen joins the running group (320 running benefits)",
			"reden geen-contract", "reden lokaal-beleid", "ingetrokken", "inway: geweigerd (lokaal-beleid)", "gecorrigeerd", "Done in",
			// the seven outcomes of completeness
			": beantwoord", ": geen gegevens", ": geweigerd", ": bron onbereikbaar", ": onbereikbaar", ": te laat", ": niet gevraagd",
		},
		"alkmaar": {"pseudoniemsleutels  2 over", "toestemmingen       1 over", "gevraagd als 0398, nu 1980", "Gemeente Dijk en Waard", "Done in"},
	} {
		t.Run(region, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "demo")
			var out bytes.Buffer
			if err := run(t.Context(), []string{"demo", "--region", region, "--map", dir}, strings.NewReader(""), &out, &out); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			for _, text := range want {
				if !strings.Contains(out.String(), text) {
					t.Errorf("the demo does not show %q", text)
				}
			}
			err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
				if err != nil || filepath.Base(path) != "serve.log" {
					return err
				}
				log, err := os.ReadFile(path)
				if regexp.MustCompile(`\b999\d{6}\b`).Match(log) {
					t.Errorf("%s holds a BSN", path)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := run(t.Context(), []string{"demo", "--map", dir}, strings.NewReader(""), &out, &out); exitCode(err) != exitUsage {
				t.Errorf("a folder that is not empty: got %v, want a usage error", err)
			}
		})
	}
}
