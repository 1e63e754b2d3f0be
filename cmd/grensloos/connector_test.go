package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/cmd/grensloos/bevolking"
)

func TestConnectorCheck(t *testing.T) {
	dir := t.TempDir()
	peildatum := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	personen, err := bevolking.Borne.Personen(peildatum)
	if err != nil {
		t.Fatal(err)
	}
	source, mapping := filepath.Join(dir, "bron.sqlite"), filepath.Join(dir, "mapping.yaml")
	if err := bevolking.WriteSQLite(t.Context(), source, personen[:20], peildatum); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name     string
		old, new string
		args     []string
		want     []string // in what is printed, or in the error
		ok       bool
	}{
		{"good", "", "", nil, []string{"persoon: 6 of 6 velden mapped", "uitkering: 5 of 5 velden mapped", "contactpersoon: 5 of 5 velden mapped"}, true},
		{"column missing", "telefoon: tel\n      email", "telefoon: telnr\n      email", nil, []string{`mapping.yaml:20: fout: table "client" has no column "telnr"`}, false},
		{"unknown veld", "email: mail", "e-mail: mail", nil, []string{"mapping.yaml:21: diensten.persoon.velden.e-mail: unknown veld"}, false},
		{"value does not fit", "waar: [J], onwaar: [N]", "waar: [j], onwaar: [n]", nil, []string{"mapping.yaml:27: fout: uitkering.loopt: 20 of 20 rows hold a value that does not fit"}, false},
		{"not mapped", "      email: mail\n", "", nil, []string{"let op: veld persoon.email is not mapped: it is not offered"}, true},
		{"no source", "", "", []string{"--bestand", source + "x"}, []string{"no such file"}, false},
		{"no flags", "", "", []string{}, []string{"give -c, or --mapping and --bestand"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := strings.Replace(string(bevolking.Mapping), tc.old, tc.new, 1)
			if tc.old != "" && text == string(bevolking.Mapping) {
				t.Fatalf("nothing to bend: %q is not in the mapping", tc.old)
			}
			if err := os.WriteFile(mapping, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"--mapping", mapping, "--bestand", source}
			if tc.args != nil {
				args = tc.args
			}
			if tc.name == "no source" {
				args = append([]string{"--mapping", mapping}, tc.args...)
			}
			var out bytes.Buffer
			err := run(t.Context(), append([]string{"connector", "check"}, args...), strings.NewReader(""), &out, &out)
			said := out.String()
			if err != nil {
				said += err.Error()
			}
			if (err == nil) != tc.ok {
				t.Errorf("got error %v, want ok %v\n%s", err, tc.ok, said)
			}
			for _, want := range tc.want {
				if !strings.Contains(said, want) {
					t.Errorf("got\n%s\nwant %q in it", said, want)
				}
			}
			for _, p := range personen[:20] {
				if strings.Contains(said, p.BSN.Reveal()) {
					t.Fatal("the report holds a bsn")
				}
			}
		})
	}
}
