// Package conformance has the suite that every source passes: Run. A source's own test gives it a function that makes a source
// with the persons of a Fixture in it, in whatever form the source keeps them.
//
// The suite holds the promises of connectors.Source: the asked fields and no other, each in the shape of its type; a person who
// is not known, a person without rows and a source that can't answer are three different things; two persons are never mixed.
package conformance

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/gateway"
)

// Fixture is what the source under test holds.
type Fixture struct {
	Personen  []Persoon
	Peildatum time.Time // of every row
	Bron      string    // name of the source
}

// Persoon is one person, or one of two under the same bsn.
type Persoon struct {
	BSN      string
	Geheim   bool
	Geboren  string // YYYY-MM-DD, YYYY-MM, YYYY or empty
	Diensten map[gateway.Dienst][]map[gateway.Veld]connectors.Waarde
}

// The persons of the suite.
const (
	volledig = "999990019" // has everything, and two benefits
	geheim   = "999990020" // secret; holds no value where it may
	kaal     = "999990032" // known, without any row
	dubbel   = "999990044" // stands twice
	onbekend = "999990056"
)

func adres() connectors.Waarde {
	return map[string]string{"straat": "Marktstraat", "huisnummer": "12 a", "postcode": "7622AA", "woonplaats": "Borne"}
}

// Standaard is the fixture that Run uses. All its fields are in the common schema.
func Standaard() Fixture {
	type rij = map[gateway.Veld]connectors.Waarde
	return Fixture{
		Bron:      "proefbron",
		Peildatum: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC),
		Personen: []Persoon{
			{BSN: volledig, Geboren: "1985-12-01", Diensten: map[gateway.Dienst][]rij{
				"persoon": {{"naam": "Suzanne Moulin", "geboortedatum": "1985-12-01", "adres": adres(), "telefoon": "0740000000", "email": "s@voorbeeld.example"}},
				"uitkering": {
					{"loopt": true, "soort": "algemene-bijstand", "ingangsdatum": "2024-03-01", "einddatum": nil, "bedrag": "1234.56"},
					{"loopt": false, "soort": "ioaw", "ingangsdatum": "2020-01-01", "einddatum": "2021-12-31", "bedrag": "0.05"},
				},
				"contactpersoon": {{"naam": "J. Jansen", "organisatie": "Sociale Zaken", "telefoon": "0741111111", "geldigVan": "2024-03-04", "wet": "Participatiewet"}},
			}},
			{BSN: geheim, Geheim: true, Geboren: "1990", Diensten: map[gateway.Dienst][]rij{
				"persoon": {{"naam": "O. Niet-Vindbaar", "geboortedatum": "1990", "adres": nil, "telefoon": nil, "email": nil}},
			}},
			{BSN: kaal, Geboren: ""},
			{BSN: dubbel, Geboren: "1970-01-01", Diensten: map[gateway.Dienst][]rij{"persoon": {{"naam": "De Ene"}}}},
			{BSN: dubbel, Geboren: "1971-01-01", Diensten: map[gateway.Dienst][]rij{"persoon": {{"naam": "De Andere"}}}},
		},
	}
}

// Run runs the suite. open makes a source that holds the fixture, all diensten and velden of the common schema mapped; it closes
// the source itself when the test ends, besides what the suite closes.
func Run(t *testing.T, open func(t *testing.T, f Fixture) connectors.Source) {
	f := Standaard()
	attrs := []connectors.Attribuut{connectors.Geheimhouding, connectors.Geboortedatum}
	ctx := t.Context()

	t.Run("all of the common schema is offered", func(t *testing.T) {
		got := open(t, f).Diensten()
		want := gateway.Velden{}
		for dienst, d := range connectors.Gemeenschappelijk().Diensten {
			for veld := range d.Velden {
				want[dienst] = append(want[dienst], veld)
			}
		}
		if diff := cmp.Diff(want.Beperk(want), got.Beperk(got)); diff != "" {
			t.Errorf("Diensten: -want +got\n%s", diff)
		}
	})

	t.Run("beslisattributen", func(t *testing.T) {
		s := open(t, f)
		op := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
		for bsn, want := range map[string]struct {
			geheim   bool
			leeftijd int
		}{volledig: {false, 40}, geheim: {true, 35}, kaal: {false, -1}} {
			k := sleutel(t, s, bsn, attrs)
			if k.Geheimhouding != want.geheim || k.LeeftijdOp(op) != want.leeftijd {
				t.Errorf("person %s: got geheim %v, leeftijd %d, want %v, %d", bsn[6:], k.Geheimhouding, k.LeeftijdOp(op), want.geheim, want.leeftijd)
			}
		}
		if k := sleutel(t, s, volledig, nil); k.Geheimhouding || !k.Geboren.IsZero() {
			t.Error("attributes that were not asked came back")
		}
		if _, err := s.Sleutel(ctx, number(t, volledig), []connectors.Attribuut{"schoenmaat"}); gateway.KindOf(err) != gateway.Unavailable {
			t.Errorf("an attribute that the source does not have: got %v, want Unavailable", err)
		}
	})

	t.Run("every field alone, and all at once", func(t *testing.T) {
		s := open(t, f)
		for _, p := range f.Personen[:3] {
			k := sleutel(t, s, p.BSN, attrs)
			for dienst, velden := range s.Diensten() {
				for _, asked := range append(single(velden), velden) {
					got, err := s.Lees(ctx, k, dienst, asked)
					if err != nil {
						t.Fatalf("Lees %s %v: %v", dienst, asked, err)
					}
					if diff := cmp.Diff(want(f, p, dienst, asked), got); diff != "" {
						t.Errorf("person %s, %s %v: -want +got\n%s", p.BSN[6:], dienst, asked, diff)
					}
				}
			}
		}
	})

	t.Run("not known", func(t *testing.T) {
		k, err := open(t, f).Sleutel(ctx, number(t, onbekend), attrs)
		if gateway.KindOf(err) != gateway.NotFound || gateway.CodeOf(err) != connectors.CodeGeenGegevens || k.Intern != nil {
			t.Errorf("got %v, want ErrGeenGegevens and no key", err)
		}
	})

	t.Run("two persons under one bsn are refused, never mixed", func(t *testing.T) {
		_, err := open(t, f).Sleutel(ctx, number(t, dubbel), attrs)
		if gateway.KindOf(err) != gateway.Unavailable || gateway.CodeOf(err) != connectors.CodeMeerduidig {
			t.Errorf("got %v, want Unavailable with code %s", err, connectors.CodeMeerduidig)
		}
	})

	t.Run("what is not in the schema, or without a key", func(t *testing.T) {
		s := open(t, f)
		k := sleutel(t, s, volledig, attrs)
		for name, call := range map[string]func() error{
			"dienst":  func() error { _, err := s.Lees(ctx, k, "schulden", []gateway.Veld{"bedrag"}); return err },
			"veld":    func() error { _, err := s.Lees(ctx, k, "persoon", []gateway.Veld{"naam", "geloof"}); return err },
			"no veld": func() error { _, err := s.Lees(ctx, k, "persoon", nil); return err },
			"no key": func() error {
				_, err := s.Lees(ctx, connectors.Sleutel{}, "persoon", []gateway.Veld{"naam"})
				return err
			},
			"injected": func() error { _, err := s.Lees(ctx, k, "persoon", []gateway.Veld{`naam", t."bsn`}); return err },
		} {
			if err := call(); gateway.KindOf(err) != gateway.Invalid {
				t.Errorf("%s: got %v, want Invalid", name, err)
			}
		}
	})

	t.Run("a source that can't answer says so", func(t *testing.T) {
		s := open(t, f)
		k := sleutel(t, s, kaal, attrs)
		stopped, cancel := context.WithCancel(ctx)
		cancel()
		unavailable(stopped, t, "cancelled", s, k)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		unavailable(ctx, t, "closed", s, k)
		if _, err := s.Check(ctx); err == nil {
			t.Error("Check of a closed source: want an error")
		}
	})

	t.Run("many at once", func(t *testing.T) {
		s := open(t, f)
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				p := f.Personen[i%2]
				k, err := s.Sleutel(ctx, number(t, p.BSN), attrs)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := s.Lees(ctx, k, "persoon", []gateway.Veld{"naam", "bsn"})
				if diff := cmp.Diff(want(f, p, "persoon", []gateway.Veld{"bsn", "naam"}), got); err != nil || diff != "" {
					t.Errorf("error %v, -want +got\n%s", err, diff)
				}
			})
		}
		wg.Wait()
	})

	t.Run("check finds no defect", func(t *testing.T) {
		findings, err := open(t, f).Check(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range findings {
			if b.Ernst == connectors.Fout {
				t.Errorf("finding: %s:%d: %s", b.Bestand, b.Regel, b.Tekst)
			}
		}
	})
}

func unavailable(ctx context.Context, t *testing.T, when string, s connectors.Source, k connectors.Sleutel) {
	t.Helper()
	if _, err := s.Sleutel(ctx, number(t, onbekend), nil); gateway.KindOf(err) != gateway.Unavailable {
		t.Errorf("%s: Sleutel: got %v, want Unavailable", when, err)
	}
	if got, err := s.Lees(ctx, k, "uitkering", []gateway.Veld{"loopt"}); gateway.KindOf(err) != gateway.Unavailable {
		t.Errorf("%s: Lees: got %v rows and %v, want Unavailable", when, len(got.Rijen), err)
	}
}

func number(t *testing.T, s string) gateway.BSN {
	t.Helper()
	bsn, err := gateway.ParseBSN(s)
	if err != nil {
		t.Errorf("fixture: %v", err)
	}
	return bsn
}

func sleutel(t *testing.T, s connectors.Source, bsn string, attrs []connectors.Attribuut) connectors.Sleutel {
	t.Helper()
	k, err := s.Sleutel(t.Context(), number(t, bsn), attrs)
	if err != nil {
		t.Fatalf("Sleutel: %v", err)
	}
	if k.BSN.Reveal() != bsn {
		t.Error("Sleutel: of another person")
	}
	return k
}

// single gives each field in a list of its own.
func single(velden []gateway.Veld) [][]gateway.Veld {
	out := make([][]gateway.Veld, len(velden))
	for i, v := range velden {
		out[i] = []gateway.Veld{v}
	}
	return out
}

// want is what a source must give for p.
func want(f Fixture, p Persoon, dienst gateway.Dienst, velden []gateway.Veld) connectors.Gegevens {
	out := connectors.Gegevens{Bron: f.Bron}
	for _, row := range p.Diensten[dienst] {
		rij := connectors.Rij{Peildatum: f.Peildatum, Waarden: map[gateway.Veld]connectors.Waarde{}}
		for _, veld := range velden {
			rij.Waarden[veld] = row[veld]
			if veld == "bsn" && dienst == "persoon" {
				rij.Waarden[veld] = p.BSN
			}
		}
		out.Rijen = append(out.Rijen, rij)
	}
	return out
}
