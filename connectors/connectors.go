// Package connectors says what a source is: a gemeente's own system that can be asked about one person in two reads. The first
// read gives the key of the person and the beslisattributen (attributes that a decision needs and that never leave); the second
// reads exactly the fields that the decision allowed. It also holds the common schema (schemas/diensten.json): diensten, velden,
// their types and sensitivity classes.
//
// It does no HTTP and decides nothing. A source lives in a package below this one; conformance has the suite that each must pass.
//
// Invariants a reviewer must keep: a source that can't answer returns an error, never an empty answer; two persons are never
// mixed; a field that was not asked is in no statement that reaches the source; no error carries a value from the source.
package connectors

import (
	"context"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// A Source is one system of the gemeente behind a mapping to the common schema. Its methods are safe for concurrent use and stop
// when ctx ends.
type Source interface {
	// Diensten lists what the source can give, by dienst.
	Diensten() gateway.Velden
	// Sleutel is the first read: the person's key and the beslisattributen in attrs. It returns ErrGeenGegevens when the source
	// answered and does not know the person, and an error of kind Unavailable for all else, also when the source has several
	// persons under this bsn (CodeMeerduidig) or can't give an attribute.
	Sleutel(ctx context.Context, bsn gateway.BSN, attrs []Attribuut) (Sleutel, error)
	// Lees is the second read: the given fields of one dienst, and nothing else. No rows: the source answered and has nothing.
	// An unknown dienst or veld is of kind Invalid, every failure of the source of kind Unavailable.
	Lees(ctx context.Context, s Sleutel, dienst gateway.Dienst, velden []gateway.Veld) (Gegevens, error)
	// Check compares the mapping with the source as it is now. The error says that the source can't be reached.
	Check(ctx context.Context) ([]Bevinding, error)
	// Close ends all use of the source.
	Close() error
}

// Attribuut is the name of a beslisattribuut: what a decision about a person needs and the answer never holds.
type Attribuut string

// The beslisattributen.
const (
	Geheimhouding Attribuut = "geheimhouding" // the person's data may not be given to just anyone (BRP 07.70.10 not 0)
	Geboortedatum Attribuut = "geboortedatum" // decides the age; the date itself never leaves as one
)

// Sleutel is what the first read found. It is good for one question to the source that gave it.
type Sleutel struct {
	BSN           gateway.BSN
	Intern        any       // what the source itself needs to find the person again; never logged
	Geheimhouding bool      // only if asked; true also when the source leaves it empty
	Geboren       time.Time // only if asked; the last day that an incomplete date can mean; zero: unknown
}

// LeeftijdOp is the age in whole years on the day of t, or -1 when the source does not know it. Who was born on 29 February
// has his birthday on 1 March of other years.
func (s Sleutel) LeeftijdOp(t time.Time) int {
	if s.Geboren.IsZero() || t.Before(s.Geboren) {
		return -1
	}
	years := t.Year() - s.Geboren.Year()
	if t.Month() < s.Geboren.Month() || t.Month() == s.Geboren.Month() && t.Day() < s.Geboren.Day() {
		years--
	}
	return years
}

// Waarde is one value in the shape of its type in the common schema: nil (the source holds none), string, bool, or
// map[string]string for a composed field such as adres.
type Waarde any

// Gegevens is what one source has in one dienst about one person.
type Gegevens struct {
	Bron  string // name of the source, for people
	Rijen []Rij
}

// Rij is one row: the fields that were asked, each present, and the day that they describe.
type Rij struct {
	Waarden   map[gateway.Veld]Waarde
	Peildatum time.Time
}

// Ernst is how bad a finding is.
type Ernst string

// A Fout makes a dienst unusable; a Let-op leaves something unsaid.
const (
	Fout  Ernst = "fout"
	LetOp Ernst = "let op"
)

// Bevinding is one finding of Check, with the place in the mapping that it is about.
type Bevinding struct {
	Bestand string
	Regel   int
	Ernst   Ernst
	Tekst   string

	NietAangeboden bool // no defect: a dienst or veld of the common schema that the mapping leaves out
}

// Codes of the errors that a source returns.
const (
	CodeGeenGegevens   = "geen-gegevens"
	CodeOnbereikbaar   = "bron-onbereikbaar"
	CodeMeerduidig     = "bron-meerduidig"      // several persons under one bsn, or several rows where the schema has one
	CodeOngeldigWaarde = "bron-waarde-ongeldig" // a value that does not fit its type
)

// ErrGeenGegevens says that the source answered and does not know the person.
var ErrGeenGegevens error = &gateway.Error{Kind: gateway.NotFound, Code: CodeGeenGegevens, Message: "source: does not know this person"}
