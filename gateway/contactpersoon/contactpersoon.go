// Package contactpersoon holds the rules of the register of fixed contact persons (casusregisseur, domain.md C8, D05): who of which
// organisation a household can turn to. A gemeente keeps it when none of its sources has it. It keeps nothing itself: gateway/store
// does, and connectors/register answers questions from it.
//
// Name and telephone are those of the worker, business data of the contact; residents are known by pseudonym only, and the
// household by the gemeente's own reference. Which law the contact comes from is kept for colleges and never reaches a partner: the
// purpose casusregie-contact sees to that.
//
// Invariants a reviewer must keep: at most one contact is active per household and per resident, and it is the store that holds
// that, in the transaction that writes; what ended is kept and stays ended.
package contactpersoon

import (
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/grensloos/grensloos/gateway"
)

// Wet is the law that a contact comes from. The zero value is not told.
type Wet string

// Wetten lists the laws, as schemas/diensten.json has them.
func Wetten() []Wet { return []Wet{"Participatiewet", "Wmo2015", "Jeugdwet", "Wgs"} }

// CodeBezet is the code of the Conflict when a household or a resident has an active contact already.
const CodeBezet = "contactpersoon-bestaat-al"

// Contactpersoon is one contact of one household.
type Contactpersoon struct {
	ID          string              // UUIDv7
	Huishouden  string              // the gemeente's reference of the household; no name, no BSN
	Leden       []gateway.Pseudonym // its residents, each under the pseudonym key of the day of assignment
	Naam        string              // of the worker
	Organisatie string              // where the worker works
	Telefoon    string              // of the worker; may be empty
	Wet         Wet                 // may be empty
	GeldigVan   time.Time           // first day, midnight UTC
	Beeindigd   time.Time           // ended; zero while it is active
}

// MaxLeden is the most residents of one household.
const MaxLeden = 20

var (
	idForm         = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	pseudonymForm  = regexp.MustCompile(`^v[1-9][0-9]{0,3}\.[A-Za-z0-9_-]{43}$`)
	huishoudenForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$`)
	telefoonForm   = regexp.MustCompile(`^\+?[0-9][0-9 ()-]{2,23}$`)
)

// New completes c with an id and, if it has none, today as its first day, and validates it.
func New(c Contactpersoon, now time.Time) (Contactpersoon, error) {
	c.ID = gateway.NewUUID(now)
	if c.GeldigVan.IsZero() {
		c.GeldigVan = now
	}
	c.GeldigVan = c.GeldigVan.UTC().Truncate(24 * time.Hour)
	return c, c.Validate(now)
}

// Validate checks the form of c. The error is of kind Invalid and names the field, never its value.
func (c Contactpersoon) Validate(now time.Time) error {
	switch {
	case !idForm.MatchString(c.ID):
		return invalid("id: geef een UUID van versie 7 in kleine letters")
	case !huishoudenForm.MatchString(c.Huishouden) || gateway.HoldsBSN(c.Huishouden):
		return invalid("huishouden: geef het kenmerk van het huishouden: 1 tot 64 letters, cijfers of . _ : / -, en geen BSN")
	case len(c.Leden) == 0 || len(c.Leden) > MaxLeden:
		return invalid("bsns: geef 1 tot en met 20 inwoners")
	case !naam(c.Naam):
		return invalid("naam: geef de naam van de contactpersoon: 1 tot 100 tekens, geen BSN")
	case !naam(c.Organisatie):
		return invalid("organisatie: geef waar de contactpersoon werkt: 1 tot 100 tekens, geen BSN")
	case c.Telefoon != "" && (!telefoonForm.MatchString(c.Telefoon) || digits(c.Telefoon) == 9):
		return invalid("telefoon: geef een telefoonnummer, zoals 074 000 00 00 of +31 74 000 00 00")
	case c.Wet != "" && !slices.Contains(Wetten(), c.Wet):
		return invalid("wet: kies uit Participatiewet, Wmo2015, Jeugdwet, Wgs")
	case c.GeldigVan.IsZero() || c.GeldigVan.After(now):
		return invalid("geldigVan: geef een dag die niet in de toekomst ligt")
	}
	for i, lid := range c.Leden {
		if !pseudonymForm.MatchString(string(lid)) {
			return invalid("leden: zijn pseudoniemen, nooit een BSN of een naam")
		}
		if slices.Contains(c.Leden[:i], lid) {
			return invalid("bsns: noem elke inwoner één keer")
		}
	}
	return nil
}

func naam(s string) bool {
	return s != "" && s == strings.TrimSpace(s) && utf8.ValidString(s) && utf8.RuneCountInString(s) <= 100 &&
		!strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) && !gateway.HoldsBSN(s)
}

func digits(s string) int {
	n := 0
	for _, c := range s {
		if c >= '0' && c <= '9' {
			n++
		}
	}
	return n
}

func invalid(message string) error { return gateway.Errorf(gateway.Invalid, "%s", message) }

// IsActief reports whether c has not ended.
func (c Contactpersoon) IsActief() bool { return c.Beeindigd.IsZero() }

// Beeindig ends c as of now. Ending twice keeps the first moment.
func (c *Contactpersoon) Beeindig(now time.Time) {
	if c.Beeindigd.IsZero() {
		c.Beeindigd = now
	}
}

// Bezet is the error when a household or a resident has an active contact already.
func Bezet() error {
	return gateway.WithCode(gateway.Conflict, CodeBezet,
		"huishouden: dit huishouden of een inwoner ervan heeft al een vaste contactpersoon; beëindig die eerst")
}
