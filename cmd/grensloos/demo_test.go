package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDemo runs what `make demo` runs: two peers in processes of their own, and the whole story.
func TestDemo(t *testing.T) {
	t.Setenv("GRENSLOOS_TEST_MAIN", "1") // the children are this test binary
	dir := filepath.Join(t.TempDir(), "demo")
	var out bytes.Buffer
	if err := run(t.Context(), []string{"demo", "--map", dir}, strings.NewReader(""), &out, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{
		"348 fictitious clients of Borne, 293 with a running benefit",
		"reden geen-contract", "reden lokaal-beleid", "ingetrokken", "inway: geweigerd (lokaal-beleid)", "Done in",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo does not show %q", want)
		}
	}
	for _, peer := range []string{"gemeente-borne", "uwi-midden-twente"} {
		log, err := os.ReadFile(filepath.Join(dir, peer, "serve.log"))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(log, []byte(`"level":"ERROR"`)) {
			t.Errorf("%s logged an error:\n%s", peer, log)
		}
		if regexp.MustCompile(`\b999\d{6}\b`).Match(log) {
			t.Errorf("%s logged a BSN", peer)
		}
	}
	if err := run(t.Context(), []string{"demo", "--map", dir}, strings.NewReader(""), &out, &out); exitCode(err) != exitUsage {
		t.Errorf("a folder that is not empty: got %v, want a usage error", err)
	}
}
