package register_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/connectors/register"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contactpersoon"
)

var now = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)

// bron knows one person and has only persoon.
type bron struct {
	diensten gateway.Velden
	closed   bool
}

func (b *bron) Diensten() gateway.Velden { return b.diensten }
func (b *bron) Sleutel(_ context.Context, bsn gateway.BSN, _ []connectors.Attribuut) (connectors.Sleutel, error) {
	if bsn.Reveal() != "999993653" {
		return connectors.Sleutel{}, connectors.ErrGeenGegevens
	}
	return connectors.Sleutel{BSN: bsn, Intern: 1}, nil
}

func (b *bron) Lees(_ context.Context, _ connectors.Sleutel, dienst gateway.Dienst, _ []gateway.Veld) (connectors.Gegevens, error) {
	return connectors.Gegevens{Bron: "bron van " + string(dienst)}, nil
}
func (b *bron) Check(context.Context) ([]connectors.Bevinding, error) { return nil, nil }
func (b *bron) Close() error                                          { b.closed = true; return nil }

// contacten is a register with what it was asked.
type contacten struct {
	all  map[gateway.Pseudonym]contactpersoon.Contactpersoon
	more []contactpersoon.Contactpersoon
	err  error
}

func (c *contacten) ContactpersonenVan(_ context.Context, person []gateway.Pseudonym) ([]contactpersoon.Contactpersoon, error) {
	out := c.more
	for _, p := range person {
		if found, ok := c.all[p]; ok {
			out = append(out, found)
		}
	}
	return out, c.err
}

func TestRegisterBesideASource(t *testing.T) {
	keys, err := gateway.NewPseudonymKeys(map[int][]byte{1: bytes.Repeat([]byte{1}, 32), 2: bytes.Repeat([]byte{2}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	bsn, err := gateway.ParseBSN("999993653")
	if err != nil {
		t.Fatal(err)
	}
	c := contactpersoon.Contactpersoon{
		ID: "x", Huishouden: "HH-1", Naam: "J. Jansen", Organisatie: "Sociaal team", Wet: "Wmo2015", GeldigVan: time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC),
	}
	r := &contacten{all: map[gateway.Pseudonym]contactpersoon.Contactpersoon{keys.All(bsn)[1]: c}} // under the key of before
	b := &bron{diensten: gateway.Velden{"persoon": {"naam"}}}
	s, err := register.Naast(b, r, keys, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	schema := connectors.Gemeenschappelijk().Diensten[register.Dienst]
	var all []gateway.Veld
	for veld := range schema.Velden {
		all = append(all, veld)
	}
	want := gateway.Velden{"persoon": {"naam"}, register.Dienst: all}
	if diff := cmp.Diff(want.Beperk(want), s.Diensten()); diff != "" {
		t.Errorf("Diensten (-want +got):\n%s", diff)
	}
	if len(b.diensten) != 1 {
		t.Error("the source's own list changed")
	}

	k, err := s.Sleutel(t.Context(), bsn, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Lees(t.Context(), k, register.Dienst, []gateway.Veld{"naam", "telefoon", "geldigVan", "wet"})
	wantRow := connectors.Gegevens{Bron: register.Bron, Rijen: []connectors.Rij{{
		Waarden:   map[gateway.Veld]connectors.Waarde{"naam": "J. Jansen", "telefoon": nil, "geldigVan": "2026-03-04", "wet": "Wmo2015"},
		Peildatum: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC),
	}}}
	if diff := cmp.Diff(wantRow, got); err != nil || diff != "" {
		t.Errorf("Lees: %v (-want +got):\n%s", err, diff)
	}
	if other, err := s.Lees(t.Context(), k, "persoon", []gateway.Veld{"naam"}); err != nil || other.Bron != "bron van persoon" {
		t.Errorf("another dienst: got %+v %v", other, err)
	}
	if _, err := s.Lees(t.Context(), k, register.Dienst, []gateway.Veld{"reden"}); gateway.KindOf(err) != gateway.Invalid {
		t.Errorf("a field that is not there: got %v", err)
	}
	if _, err := s.Lees(t.Context(), k, register.Dienst, nil); gateway.KindOf(err) != gateway.Invalid {
		t.Errorf("no field: got %v", err)
	}
	r.all = nil
	if got, err := s.Lees(t.Context(), k, register.Dienst, []gateway.Veld{"naam"}); err != nil || len(got.Rijen) != 0 {
		t.Errorf("nobody assigned: got %+v %v, want no rows", got, err)
	}
	r.more = []contactpersoon.Contactpersoon{c, c}
	if _, err := s.Lees(t.Context(), k, register.Dienst, []gateway.Veld{"naam"}); gateway.CodeOf(err) != connectors.CodeMeerduidig {
		t.Errorf("two contacts: got %v", err)
	}
	r.err = errors.New("disk")
	if got, err := s.Lees(t.Context(), k, register.Dienst, []gateway.Veld{"naam"}); gateway.KindOf(err) != gateway.Unavailable || gateway.CodeOf(err) != connectors.CodeOnbereikbaar || got.Rijen != nil {
		t.Errorf("a register that fails: got %+v %v", got, err)
	}
	if err := s.Close(); err != nil || !b.closed {
		t.Errorf("Close: %v, source closed %v", err, b.closed)
	}

	b.diensten[register.Dienst] = []gateway.Veld{"naam"}
	if _, err := register.Naast(b, r, keys, nil); gateway.KindOf(err) != gateway.Invalid {
		t.Errorf("a source with contactpersoon: got %v", err)
	}
}

// The rules, the register and the common schema have the same laws.
func TestLawsAreThoseOfTheSchema(t *testing.T) {
	v, ok := connectors.Gemeenschappelijk().Veld(register.Dienst, "wet")
	var rules []string
	for _, w := range contactpersoon.Wetten() {
		rules = append(rules, string(w))
	}
	if diff := cmp.Diff(v.Waarden, rules); !ok || diff != "" {
		t.Errorf("-schema +rules\n%s", diff)
	}
}
