package database

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/connectors"
)

// veldUit reads a field as a mapping would, from the YAML of its value.
func veldUit(t *testing.T, schema connectors.VeldSchema, yaml string) *veldKolommen {
	t.Helper()
	r := &reader{file: "m.yaml"}
	n, ok := r.parse([]byte(yaml))
	if !ok {
		t.Fatalf("%s: %v", yaml, r.defects)
	}
	v := r.veld(schema, n)
	if len(r.defects) > 0 {
		t.Fatalf("%s: %v", yaml, r.defects)
	}
	return v
}

func TestConversions(t *testing.T) {
	datum, jaNee := connectors.VeldSchema{Type: connectors.Datum}, connectors.VeldSchema{Type: connectors.JaNee}
	bedrag, tekst := connectors.VeldSchema{Type: connectors.Bedrag}, connectors.VeldSchema{Type: connectors.Tekst}
	code := connectors.VeldSchema{Type: connectors.Code, Waarden: []string{"ioaw", "anders"}}
	adres := connectors.VeldSchema{Type: connectors.Adres, Delen: []string{"straat", "huisnummer"}}
	bad := fmt.Errorf("bad")
	for _, tc := range []struct {
		schema connectors.VeldSchema
		yaml   string
		in     []any
		want   any
	}{
		{datum, "{kolom: k}", []any{"2026-01-31"}, "2026-01-31"},
		{datum, "k", []any{"2026-01"}, "2026-01"},
		{datum, "k", []any{"2026"}, "2026"},
		{datum, "k", []any{int64(2026)}, "2026"},
		{datum, "k", []any{time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC)}, "2026-01-31"},
		{datum, "k", []any{"2026-01-31 23:59:59.123456+01"}, "2026-01-31"},
		{datum, "k", []any{"2026-01-31 00:00:00"}, "2026-01-31"},
		{datum, "k", []any{"2026-02-30 00:00:00"}, bad},
		{datum, "k", []any{"2026-01-31 noon"}, bad},
		{datum, "k", []any{"0044-03-15 BC"}, bad},
		{datum, "k", []any{"infinity"}, bad},
		{datum, "k", []any{nil}, nil},
		{datum, "k", []any{"  "}, nil},
		{datum, "k", []any{"2026-02-30"}, bad},
		{datum, "k", []any{"2026-13"}, bad},
		{datum, "k", []any{"0000"}, bad},
		{datum, "k", []any{"31-01-2026"}, bad},
		{datum, "{kolom: k, conversie: jjjjmmdd}", []any{"20260131"}, "2026-01-31"},
		{datum, "{kolom: k, conversie: jjjjmmdd}", []any{int64(20260131)}, "2026-01-31"},
		{datum, "{kolom: k, conversie: jjjjmmdd}", []any{int64(19680000)}, "1968"},
		{datum, "{kolom: k, conversie: jjjjmmdd}", []any{"19780300"}, "1978-03"},
		{datum, "{kolom: k, conversie: jjjjmmdd}", []any{"00000000"}, nil},
		{datum, "{kolom: k, conversie: jjjjmmdd}", []any{int64(0)}, nil},
		{datum, "{kolom: k, conversie: jjjjmmdd}", []any{"20260230"}, bad},
		{datum, "{kolom: k, conversie: jjjjmmdd}", []any{"19780031"}, bad},
		{datum, "{kolom: k, conversie: jjjjmmdd}", []any{"2026-01-31"}, bad},
		{jaNee, "k", []any{int64(1)}, true},
		{jaNee, "k", []any{int64(0)}, false},
		{jaNee, "k", []any{true}, true},
		{jaNee, "k", []any{"true"}, true},
		{jaNee, "k", []any{"false"}, false},
		{jaNee, "k", []any{"t"}, bad},
		{jaNee, `{kolom: k, onwaar: ["false"]}`, []any{false}, false},
		{jaNee, "k", []any{nil}, nil},
		{jaNee, "k", []any{int64(2)}, bad},
		{jaNee, "k", []any{"J"}, bad},
		{jaNee, "{kolom: k, waar: [J], onwaar: [N]}", []any{"J"}, true},
		{jaNee, "{kolom: k, waar: [J], onwaar: [N]}", []any{"N"}, false},
		{jaNee, "{kolom: k, waar: [J], onwaar: [N]}", []any{"n"}, bad},
		{jaNee, "{kolom: k, waar: J}", []any{"x"}, false},
		{jaNee, `{kolom: k, onwaar: ["0"]}`, []any{int64(7)}, true},
		{jaNee, `{kolom: k, onwaar: ["0"]}`, []any{nil}, nil},
		{jaNee, `{kolom: k, onwaar: ["0"], leeg: onwaar}`, []any{nil}, false},
		{jaNee, `{kolom: k, onwaar: ["0"], leeg: waar}`, []any{""}, true},
		{jaNee, `{kolom: k, waar: [J], onwaar: ["N", ""]}`, []any{""}, false},
		{bedrag, "{kolom: k, conversie: centen}", []any{int64(123456)}, "1234.56"},
		{bedrag, "{kolom: k, conversie: centen}", []any{int64(-5)}, "-0.05"},
		{bedrag, "{kolom: k, conversie: centen}", []any{"100"}, "1.00"},
		{bedrag, "{kolom: k, conversie: centen}", []any{12.5}, bad},
		{bedrag, "{kolom: k, conversie: centen}", []any{"12,50"}, bad},
		{bedrag, "{kolom: k, conversie: euro}", []any{"1234.5"}, "1234.50"},
		{bedrag, "{kolom: k, conversie: euro}", []any{0.1 + 0.2}, "0.30"},
		{bedrag, "{kolom: k, conversie: euro}", []any{int64(12)}, "12.00"},
		{bedrag, "{kolom: k, conversie: euro}", []any{"1.234,50"}, bad},
		{bedrag, "{kolom: k, conversie: euro}", []any{"1.234"}, bad},
		{bedrag, "{kolom: k, conversie: euro}", []any{"1234.5600"}, "1234.56"},
		{bedrag, "{kolom: k, conversie: euro}", []any{"1.2300000001"}, bad},
		{bedrag, "{kolom: k, conversie: euro}", []any{"NaN"}, bad},
		{bedrag, "{kolom: k, conversie: euro}", []any{"1e+20"}, bad},
		{bedrag, "{kolom: k, conversie: centen}", []any{"100.00"}, bad},
		{code, "k", []any{"ioaw"}, "ioaw"},
		{code, "k", []any{"onbekend"}, bad},
		{code, `{kolom: k, codes: {"02": ioaw, 9: anders}}`, []any{"02"}, "ioaw"},
		{code, `{kolom: k, codes: {"02": ioaw, 9: anders}}`, []any{int64(9)}, "anders"},
		{code, `{kolom: k, codes: {"02": ioaw}}`, []any{int64(2)}, bad},
		{tekst, "k", []any{" x "}, "x"},
		{tekst, "k", []any{""}, nil},
		{tekst, "{kolommen: [a, b, c]}", []any{"Jan", nil, "Jansen"}, "Jan Jansen"},
		{tekst, "{kolommen: [a, b]}", []any{nil, ""}, nil},
		{adres, "{delen: {straat: s, huisnummer: [n, t]}}", []any{"Dorpsstraat", int64(1), "a"}, map[string]string{"straat": "Dorpsstraat", "huisnummer": "1 a"}},
		{adres, "{delen: {straat: s, huisnummer: [n, t]}}", []any{nil, int64(1), nil}, map[string]string{"huisnummer": "1"}},
		{adres, "{delen: {straat: s, huisnummer: [n, t]}}", []any{nil, nil, ""}, nil},
	} {
		got, err := veldUit(t, tc.schema, tc.yaml).waarde(tc.in)
		if wantErr := tc.want == any(bad); (err != nil) != wantErr {
			t.Errorf("%s %s of %v: got %v, error %v, want error %v", tc.schema.Type, tc.yaml, tc.in, got, err, wantErr)
		} else if err == nil && !cmp.Equal(got, connectors.Waarde(tc.want)) {
			t.Errorf("%s %s of %v: got %#v, want %#v", tc.schema.Type, tc.yaml, tc.in, got, tc.want)
		} else if s, ok := tc.in[0].(string); err != nil && ok && len(s) > 1 && strings.Contains(err.Error(), s) {
			t.Errorf("%s: the error repeats the value: %v", tc.schema.Type, err)
		}
	}
}

func TestLaatsteDag(t *testing.T) {
	for in, want := range map[string]string{"2026": "2026-12-31", "2024-02": "2024-02-29", "2026-01-31": "2026-01-31"} {
		if got := laatsteDag(in).Format(time.DateOnly); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestPeildatum(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		yaml, want string
		row        []any
	}{
		{"nu", "2026-11-23", nil},
		{"{vast: 2026-01-31}", "2026-01-31", nil},
		{"{kolom: k}", "2026-02-01", []any{"2026-02-01"}},
		{"{kolom: k, conversie: jjjjmmdd}", "2026-02-01", []any{int64(20260201)}},
		{"{kolom: k}", "", []any{nil}},
		{"{kolom: k}", "", []any{"2026-02"}},
	} {
		r := &reader{file: "m.yaml"}
		n, _ := r.parse([]byte(tc.yaml))
		p := r.peildatum(n)
		if len(r.defects) > 0 {
			t.Fatalf("%s: %v", tc.yaml, r.defects)
		}
		got, err := p.dag(tc.row, func() time.Time { return now })
		if (err != nil) != (tc.want == "") || err == nil && got.Format(time.DateOnly) != tc.want {
			t.Errorf("%s of %v: got %s, error %v, want %q", tc.yaml, tc.row, got.Format(time.DateOnly), err, tc.want)
		}
	}
}
