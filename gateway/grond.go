package gateway

// Grond is the ground on which one gemeente is asked about one person. Asking is already a disclosure, so every gemeente that is
// asked has one; bevraging decides it within the purpose's reikwijdte, the outway records and signs it.
type Grond string

// The grounds. The zero value is none.
const (
	GrondWoonplaats Grond = "woonplaats" // the person lives there
	GrondZaak       Grond = "zaak"       // the gemeente has a part in the zaak
	GrondVerhuizing Grond = "verhuizing" // the person moved from or to it
	GrondGroep      Grond = "groep"      // the purpose is asked of all gemeenten of the group
)

// ParseGrond accepts a ground and nothing else. The error is of kind Invalid and does not repeat the input.
func ParseGrond(s string) (Grond, error) {
	switch g := Grond(s); g {
	case GrondWoonplaats, GrondZaak, GrondVerhuizing, GrondGroep:
		return g, nil
	}
	return "", Errorf(Invalid, "grond: give woonplaats, zaak, verhuizing or groep")
}
