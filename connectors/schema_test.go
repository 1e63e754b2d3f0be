package connectors

import (
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/schemas"
)

func TestCommonSchema(t *testing.T) {
	s := Gemeenschappelijk()
	for dienst, velden := range map[gateway.Dienst][]gateway.Veld{
		"persoon":        {"bsn", "naam", "geboortedatum", "adres", "telefoon", "email"},
		"uitkering":      {"loopt", "soort", "ingangsdatum", "einddatum", "bedrag"},
		"contactpersoon": {"naam", "organisatie", "telefoon", "geldigVan", "wet"},
	} {
		for _, veld := range velden {
			if v, ok := s.Veld(dienst, veld); !ok || len(v.Klassen) == 0 {
				t.Errorf("%s.%s: got %+v, want it there with a class", dienst, veld, v)
			}
		}
		if got := len(s.Diensten[dienst].Velden); got != len(velden) {
			t.Errorf("%s: got %d velden, want %d", dienst, got, len(velden))
		}
	}
}

func TestSchemaFileIsStrict(t *testing.T) {
	raw, err := schemas.FS.ReadFile("diensten.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, bend := range map[string][2]string{
		"unknown member": {`"versie"`, `"edities"`},
		"unknown type":   {`{"type": "bsn"`, `{"type": "nummer"`},
		"unknown class":  {`"klassen": ["I"]`, `"klassen": ["X"]`},
		"no class":       {`"klassen": ["I"]`, `"klassen": []`},
		"code without":   {`"type": "code"`, `"type": "tekst"`},
	} {
		bad := strings.Replace(string(raw), bend[0], bend[1], 1)
		if _, err := parseSchema([]byte(bad)); bad == string(raw) || err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestValideer(t *testing.T) {
	s := Gemeenschappelijk()
	if err := s.Valideer(gateway.Velden{"persoon": {"naam", "bsn"}, "uitkering": {"loopt"}}); err != nil {
		t.Errorf("good: %v", err)
	}
	for want, v := range map[string]gateway.Velden{
		`unknown dienst "jeugd"; choose from contactpersoon, persoon, uitkering`: {"jeugd": {"status"}},
		`velden.persoon[0]: unknown veld "Naam"`:                                 {"persoon": {"Naam"}},
		`velden.persoon[1]: naam stands twice`:                                   {"persoon": {"naam", "naam"}},
		`velden.persoon: name at least one of adres`:                             {"persoon": {}},
	} {
		if err := s.Valideer(v); gateway.KindOf(err) != gateway.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want Invalid with %q", v, err, want)
		}
	}
}

func TestLeeftijdOp(t *testing.T) {
	day := func(s string) time.Time {
		d, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, tc := range []struct {
		born, at string
		want     int
	}{
		{"2010-11-23", "2026-11-22", 15},
		{"2010-11-23", "2026-11-23", 16},
		{"2010-11-23", "2026-12-01", 16},
		{"2008-02-29", "2024-02-28", 15},
		{"2008-02-29", "2026-02-28", 17},
		{"2008-02-29", "2026-03-01", 18},
		{"2026-11-23", "2026-11-23", 0},
		{"2026-11-24", "2026-11-23", -1},
	} {
		if got := (Sleutel{Geboren: day(tc.born)}).LeeftijdOp(day(tc.at)); got != tc.want {
			t.Errorf("born %s, on %s: got %d, want %d", tc.born, tc.at, got, tc.want)
		}
	}
	if got := (Sleutel{}).LeeftijdOp(day("2026-11-23")); got != -1 {
		t.Errorf("unknown: got %d, want -1", got)
	}
}
