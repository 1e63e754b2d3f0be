// Package gemeenten knows the codes of municipalities (gemeentecode) and how long each was valid: table 33 of the BRP (LO GBA,
// Landelijke Tabel 33), with for an ended code the one that holds its records since (herindeling: a municipal reorganisation).
//
// It refuses a code that is not four digits, and a table that contradicts itself: a successor that the table does not have, one of a
// code that did not end, a circle. It knows only what the table says: of a gemeente that was split up, table 33 names one successor.
//
// A code is valid from its first day (datum ingang) up to, not including, the day on which it ended (datum einde); without a first
// day it was valid before the table began. Dates are days: what counts is the calendar day that a time.Time says in its own zone.
//
// Invariant a reviewer must keep: Opvolger never names a code that has ended, and a register does not change once it was made.
package gemeenten

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Code is a gemeentecode: exactly four digits, such as "0147". The zero value is none.
type Code string

// ParseCode accepts four digits, with or without the prefix GM that CBS writes. The error does not repeat the input.
func ParseCode(s string) (Code, error) {
	digits := strings.TrimPrefix(s, "GM")
	if len(digits) != 4 || strings.Trim(digits, "0123456789") != "" || digits == "0000" {
		return "", gateway.Errorf(gateway.Invalid, "gemeentecode: give the four digits of table 33, such as 0147 or GM0147")
	}
	return Code(digits), nil
}

// Gemeente is one line of the table. Begin and Einde are zero when the table has none; Opvolger is the code that holds the records
// since Einde, empty for a gemeente that left the country's registers.
type Gemeente struct {
	Code     Code
	Naam     string
	Opvolger Code
	Begin    time.Time // first day
	Einde    time.Time // first day no more
}

// Register is a table of codes.
type Register struct {
	codes map[Code]Gemeente
}

// New makes a register of these lines. The error is of kind Invalid and names the code.
func New(lines []Gemeente) (*Register, error) {
	r := &Register{codes: make(map[Code]Gemeente, len(lines))}
	for _, g := range lines {
		if _, err := ParseCode(string(g.Code)); err != nil || len(g.Code) != 4 {
			return nil, gateway.Errorf(gateway.Invalid, "a line without a code of four digits")
		}
		if _, twice := r.codes[g.Code]; twice {
			return nil, gateway.Errorf(gateway.Invalid, "code %s stands there twice", g.Code)
		}
		r.codes[g.Code] = g
	}
	for _, code := range slices.Sorted(maps.Keys(r.codes)) {
		if err := r.check(r.codes[code]); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *Register) check(g Gemeente) error {
	if g.Naam == "" {
		return gateway.Errorf(gateway.Invalid, "code %s: no name", g.Code)
	}
	if !g.Begin.IsZero() && !g.Einde.IsZero() && !g.Begin.Before(g.Einde) {
		return gateway.Errorf(gateway.Invalid, "code %s: ends before it begins", g.Code)
	}
	if g.Opvolger == "" {
		return nil
	}
	if g.Einde.IsZero() {
		return gateway.Errorf(gateway.Invalid, "code %s: has successor %s and no day on which it ended", g.Code, g.Opvolger)
	}
	for next, steps := g.Opvolger, 0; next != ""; steps++ {
		there, ok := r.codes[next]
		switch {
		case !ok:
			return gateway.Errorf(gateway.Invalid, "code %s: its successor %s is not in the table", g.Code, next)
		case steps > len(r.codes):
			return gateway.Errorf(gateway.Invalid, "code %s: its successors go round in a circle", g.Code)
		}
		next = there.Opvolger
	}
	return nil
}

// Len is how many codes the register has.
func (r *Register) Len() int { return len(r.codes) }

// Gemeente returns the line of a code.
func (r *Register) Gemeente(code Code) (Gemeente, bool) {
	g, ok := r.codes[code]
	return g, ok
}

// GeldigOp reports whether a code was valid on a day.
func (r *Register) GeldigOp(code Code, dag time.Time) bool {
	g, ok := r.codes[code]
	d := day(dag)
	return ok && !d.Before(g.Begin) && (g.Einde.IsZero() || d.Before(g.Einde))
}

// Opvolger gives the code that on a day holds the records of code: itself as long as it had not ended. The error is of kind
// NotFound for a code that the register does not have, and for one that ended without a successor.
func (r *Register) Opvolger(code Code, dag time.Time) (Code, error) {
	keten, err := r.Keten(code, dag)
	if err != nil {
		return "", err
	}
	return keten[len(keten)-1], nil
}

// Keten gives code and those that took over from it, up to the one that holds the records on a day. The errors are those of
// Opvolger.
func (r *Register) Keten(code Code, dag time.Time) ([]Code, error) {
	d := day(dag)
	keten := []Code{code}
	for {
		g, ok := r.codes[code]
		switch {
		case !ok:
			return nil, gateway.Errorf(gateway.NotFound, "gemeentecode %s: not in table 33", code)
		case g.Einde.IsZero() || d.Before(g.Einde):
			return keten, nil
		case g.Opvolger == "":
			return nil, gateway.Errorf(gateway.NotFound, "gemeentecode %s: ended on %s without a successor", code, g.Einde.Format(time.DateOnly))
		}
		code = g.Opvolger
		keten = append(keten, code)
	}
}

// Gevonden is what a code in a question stands for.
type Gevonden struct {
	Gevraagd Code      // as asked
	Code     Code      // who holds the records now
	Per      time.Time // since when, if that is another one than asked; else zero
}

// IsOpgevolgd reports whether another code than the asked one holds the records.
func (g Gevonden) IsOpgevolgd() bool { return g.Code != g.Gevraagd }

// Resolve says who holds now what the gemeente with this code recorded on peildatum (the zero time: now). A code that has ended is
// accepted for any peildatum: people and old files go on naming it. The error is of kind Invalid for a peildatum that lies in the
// future or on which neither the code nor one that it took over from was valid, and else that of Opvolger.
func (r *Register) Resolve(code Code, peildatum, now time.Time) (Gevonden, error) {
	return r.Zoek(code, peildatum, now, func(Code) bool { return true })
}

// Zoek is Resolve for somebody who can't reach every gemeente: of code and its successors it gives the last that bekend knows. That is
// an ended gemeente as long as its successor has not joined. NotFound if bekend knows none of them.
func (r *Register) Zoek(code Code, peildatum, now time.Time, bekend func(Code) bool) (Gevonden, error) {
	if peildatum.IsZero() {
		peildatum = now
	}
	if day(peildatum).After(day(now)) {
		return Gevonden{}, gateway.Errorf(gateway.Invalid, "peildatum: lies in the future")
	}
	keten, err := r.Keten(code, now)
	if err != nil {
		return Gevonden{}, err
	}
	if !r.bestond(code, day(peildatum)) {
		return Gevonden{}, gateway.Errorf(gateway.Invalid, "peildatum: gemeentecode %s begins on %s", code, r.codes[code].Begin.Format(time.DateOnly))
	}
	for i := len(keten) - 1; i >= 0; i-- {
		if !bekend(keten[i]) {
			continue
		}
		out := Gevonden{Gevraagd: code, Code: keten[i]}
		if i > 0 {
			out.Per = r.codes[keten[i-1]].Einde
		}
		return out, nil
	}
	return Gevonden{}, gateway.Errorf(gateway.NotFound, "gemeentecode %s: no gemeente that is known here holds its records", code)
}

// bestond reports whether code, or one that it took over from, had begun on d: its records may then be about that day.
func (r *Register) bestond(code Code, d time.Time) bool {
	if !d.Before(r.codes[code].Begin) {
		return true
	}
	for _, g := range r.codes {
		if g.Opvolger == code && r.bestond(g.Code, d) {
			return true
		}
	}
	return false
}

// day is the calendar day of t, at midnight UTC.
func day(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC) }
