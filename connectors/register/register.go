// Package register puts the gemeente's own register of contact persons beside a source that has none: Naast gives a source that
// answers the dienst contactpersoon from the register, and everything else from the source it wraps.
//
// Whether the person is known, and the beslisattributen, are the wrapped source's to say: the register decides nothing, and a person
// whom the source does not know has no contact here. It refuses to stand before a source that offers contactpersoon itself: two
// sources of one dienst would answer differently.
//
// Invariant: a register that can't be read is an error of kind Unavailable, never an answer without rows.
package register

import (
	"context"
	"slices"
	"time"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contactpersoon"
)

// Dienst is the dienst that the register answers.
const Dienst gateway.Dienst = "contactpersoon"

// Bron is the name of the register in answers.
const Bron = "register contactpersonen"

// velden gives the value of each field that the register has.
var velden = map[gateway.Veld]func(contactpersoon.Contactpersoon) connectors.Waarde{
	"naam":        func(c contactpersoon.Contactpersoon) connectors.Waarde { return tekst(c.Naam) },
	"organisatie": func(c contactpersoon.Contactpersoon) connectors.Waarde { return tekst(c.Organisatie) },
	"telefoon":    func(c contactpersoon.Contactpersoon) connectors.Waarde { return tekst(c.Telefoon) },
	"geldigVan":   func(c contactpersoon.Contactpersoon) connectors.Waarde { return c.GeldigVan.Format(time.DateOnly) },
	"wet":         func(c contactpersoon.Contactpersoon) connectors.Waarde { return tekst(string(c.Wet)) },
}

func tekst(s string) connectors.Waarde {
	if s == "" {
		return nil
	}
	return s
}

// contacten reads the active contact of one person, by the pseudonyms under all live keys.
type contacten interface {
	ContactpersonenVan(ctx context.Context, person []gateway.Pseudonym) ([]contactpersoon.Contactpersoon, error)
}

type source struct {
	connectors.Source
	register   contacten
	pseudonyms gateway.PseudonymKeys
	now        func() time.Time
}

// Naast is bron with the register beside it. The error says that bron offers contactpersoon itself.
func Naast(bron connectors.Source, register contacten, pseudonyms gateway.PseudonymKeys, now func() time.Time) (connectors.Source, error) {
	if Heeft(bron) {
		return nil, gateway.Errorf(gateway.Invalid, "register: the source offers contactpersoon itself; use one of the two")
	}
	return &source{bron, register, pseudonyms, now}, nil
}

// Heeft reports whether a source offers contactpersoon itself.
func Heeft(bron connectors.Source) bool { return len(bron.Diensten()[Dienst]) > 0 }

func (s *source) Diensten() gateway.Velden {
	out := gateway.Velden{}
	for dienst, velden := range s.Source.Diensten() {
		out[dienst] = slices.Clone(velden)
	}
	for veld := range velden {
		out[Dienst] = append(out[Dienst], veld)
	}
	slices.Sort(out[Dienst])
	return out
}

func (s *source) Lees(ctx context.Context, k connectors.Sleutel, dienst gateway.Dienst, asked []gateway.Veld) (connectors.Gegevens, error) {
	if dienst != Dienst {
		return s.Source.Lees(ctx, k, dienst, asked)
	}
	for _, veld := range asked {
		if velden[veld] == nil {
			return connectors.Gegevens{}, gateway.Errorf(gateway.Invalid, "velden.%s: the register has no such veld", Dienst)
		}
	}
	if len(asked) == 0 || k.BSN.IsZero() {
		return connectors.Gegevens{}, gateway.Errorf(gateway.Invalid, "velden.%s: name a person and at least one veld", Dienst)
	}
	found, err := s.register.ContactpersonenVan(ctx, s.pseudonyms.All(k.BSN))
	if err != nil {
		return connectors.Gegevens{}, &gateway.Error{Kind: gateway.Unavailable, Code: connectors.CodeOnbereikbaar, Message: Bron, Cause: err}
	}
	if len(found) > 1 { // the store holds that this can't be
		return connectors.Gegevens{}, gateway.WithCode(gateway.Unavailable, connectors.CodeMeerduidig, "%s: several for one person", Bron)
	}
	out := connectors.Gegevens{Bron: Bron}
	for _, c := range found {
		r := connectors.Rij{Waarden: map[gateway.Veld]connectors.Waarde{}, Peildatum: s.now().UTC().Truncate(24 * time.Hour)}
		for _, veld := range asked {
			r.Waarden[veld] = velden[veld](c)
		}
		out.Rijen = append(out.Rijen, r)
	}
	return out, nil
}
