package database_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grensloos/grensloos/connectors/database"
	"github.com/grensloos/grensloos/gateway"
)

func TestGoodMappings(t *testing.T) {
	files, err := filepath.Glob("testdata/good_*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("vectors: got %d, error %v", len(files), err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := database.ParseMapping(file, raw); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// Every defect is an error that names the file, the line and what to write instead.
func TestFailMappings(t *testing.T) {
	want := map[string]string{
		"fail_unknown_key.yaml":               `:13: unknown key "extra"; choose from bron, persoon, diensten`,
		"fail_unknown_veld.yaml":              `:12: diensten.uitkering.velden.looptt: unknown veld; choose from bedrag, einddatum, ingangsdatum, loopt, soort`,
		"fail_unknown_dienst.yaml":            `:7: diensten: unknown dienst "uitkeringen"; choose from contactpersoon, persoon, uitkering`,
		"fail_duplicate_veld.yaml":            `:13: `,
		"fail_identifier.yaml":                `:8: diensten.uitkering.tabel: "uit\"; DROP TABLE x; --" is no plain name`,
		"fail_schema.yaml":                    `:8: diensten.uitkering.tabel: "uitkering\"; --" is no plain name`,
		"fail_three_parts.yaml":               `:8: diensten.uitkering.tabel: "werk.uitkering" is no plain name`,
		"fail_column_list.yaml":               `:9: diensten.uitkering.sleutel: "naam, geheim" is no plain name`,
		"fail_bedrag_without_conversion.yaml": `:12: diensten.uitkering.velden.bedrag: conversie is missing; choose from [centen euro]`,
		"fail_conversion.yaml":                `:12: diensten.uitkering.velden.ingangsdatum.conversie: choose from [iso jjjjmmdd]`,
		"fail_code_value.yaml":                `:12: diensten.uitkering.velden.soort.codes.01: unknown value "gratis-geld"`,
		"fail_waar_and_onwaar.yaml":           `:12: diensten.uitkering.velden.loopt.waar: "J" is also in onwaar`,
		"fail_peildatum.yaml":                 ":10: diensten.uitkering.peildatum: write `nu`, or give kolom or vast",
		"fail_no_peildatum.yaml":              `: diensten.uitkering: peildatum is missing`,
		"fail_no_geheimhouding.yaml":          `: persoon: beslisattributen is missing`,
		"fail_anchor.yaml":                    `:3: persoon.tabel: want plain text`,
		"fail_list.yaml":                      `:12: diensten.uitkering.velden.loopt: want keys and values`,
		"fail_deep.yaml":                      `:1: nested too deep`,
		"fail_two_documents.yaml":             `:1: give exactly one YAML document`,
		"fail_syntax.yaml":                    `:1: `,
		"fail_empty.yaml":                     `:1: give exactly one YAML document`,
		"fail_bsn_column.yaml":                ":12: diensten.persoon.velden.bsn: write `vraag`",
	}
	files, err := filepath.Glob("testdata/fail_*.yaml")
	if err != nil || len(files) != len(want) {
		t.Errorf("vectors: got %d files for %d wants, error %v", len(files), len(want), err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		err = database.ParseMapping(file, raw)
		text := want[filepath.Base(file)]
		if gateway.KindOf(err) != gateway.Invalid || text == "" || !strings.Contains(err.Error(), file+":") || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: got %v, want Invalid with %q", file, err, text)
		}
	}
	if err := database.ParseMapping("big.yaml", make([]byte, 1<<20)); gateway.KindOf(err) != gateway.Invalid {
		t.Errorf("a mapping of 1 MiB: got %v, want Invalid", err)
	}
}

// All defects of a file come at once.
func TestAllDefectsAtOnce(t *testing.T) {
	err := database.ParseMapping("m.yaml", []byte("bron: b\npersoon: {tabel: 1x}\ndiensten:\n  persoon: {}\n  schuld: {}\n"))
	for _, want := range []string{"m.yaml:2: persoon.tabel", "m.yaml:2: persoon: bsn is missing", "m.yaml:4: diensten.persoon: tabel is missing", "m.yaml:5: diensten: unknown dienst"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func FuzzMapping(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := database.ParseMapping("m.yaml", raw); err != nil && gateway.KindOf(err) != gateway.Invalid {
			t.Errorf("got %v, want Invalid", err)
		}
	})
}
