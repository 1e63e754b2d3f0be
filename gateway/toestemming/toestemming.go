// Package toestemming holds the rules of consent (toestemming): its kinds, who may give it, until when it is valid, and what the
// register of a gemeente says about one person, one purpose and one recipient. It keeps no register: gateway/store does.
//
// The kinds are those of domain.md 3.3 and are never merged: only avg-6-1-a is a legal base of its own (AVG art. 6(1)(a)); the
// others are conditions on top of a legal task. Withdrawal (AVG art. 7(3)) works at once and forward only. A consent that the
// recipient who profits from it registers is voorlopig (provisional) and opens nothing until the gemeente or the person confirms
// it.
//
// Invariants a reviewer must keep: a person is known here by pseudonym only; the zero value of everything opens nothing; the last
// act of the person counts, and a withdrawal wins from a consent of the same moment.
package toestemming

import (
	"regexp"
	"slices"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Soort is the kind of a consent.
type Soort string

// The kinds of consent.
const (
	AVG61a                  Soort = "avg-6-1-a"                 // free consent, AVG art. 6(1)(a)
	WetUitdrukkelijk        Soort = "wet-uitdrukkelijk"         // explicit consent that a law demands (Wmo 2015 5.1.1(4), Jw 7.3.11)
	Beroepsgeheim           Soort = "beroepsgeheim"             // lifts professional secrecy
	GeenBezwaarSchriftelijk Soort = "geen-bezwaar-schriftelijk" // written no-objection (SUWI 74(2)b)
	InstemmingHulp          Soort = "instemming-hulp"           // agrees to be helped; no legal base
)

// Soorten lists the kinds, for messages and for flags.
func Soorten() []Soort {
	return []Soort{AVG61a, WetUitdrukkelijk, Beroepsgeheim, GeenBezwaarSchriftelijk, InstemmingHulp}
}

// Gevers lists in which capacity somebody may give a consent.
func Gevers() []string { return []string{"zelf", "gezag", "curator", "gemachtigde"} }

// Toestemming is one consent, for one purpose and one recipient, as the register of a gemeente holds it.
type Toestemming struct {
	ID                string            // UUIDv7
	Betrokkene        gateway.Pseudonym // of the gemeente that keeps the register
	Soort             Soort             // kind
	Doel              gateway.Doel      // purpose
	DoelVersie        int               // the version of the purpose that the person was shown
	Ontvanger         gateway.PeerID    // recipient
	Velden            gateway.Velden    // empty: all fields of the purpose; else what the person limited it to
	GegevenDoor       string            // who gave it: zelf, gezag, curator, gemachtigde
	GeregistreerdDoor gateway.PeerID    // which organisation wrote it down
	Tekstversie       string            // version of the text that was shown
	Kanaal            string            // where it was given, such as "balie"
	Gegeven           time.Time         // given
	GeldigTot         time.Time         // no longer valid from this moment on
	BevestigdOp       time.Time         // confirmed by the gemeente or the person; zero while it is voorlopig
	Ingetrokken       time.Time         // withdrawn; zero if not
}

// MaxGeldig is the longest that a consent may last before it is asked again.
const MaxGeldig = 5 * 366 * 24 * time.Hour

// New completes t with an id and the moment of giving, if it has none, and validates it. What another than the recipient
// registers is confirmed by that.
func New(t Toestemming, now time.Time) (Toestemming, error) {
	if t.ID == "" {
		t.ID = gateway.NewUUID(now)
	}
	if t.Gegeven.IsZero() {
		t.Gegeven = now
	}
	if t.BevestigdOp.IsZero() && t.GeregistreerdDoor != t.Ontvanger {
		t.BevestigdOp = t.Gegeven
	}
	return t, t.Validate(now)
}

var (
	pseudonymForm = regexp.MustCompile(`^v[1-9][0-9]{0,3}\.[A-Za-z0-9_-]{43}$`)
	idForm        = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	doelForm      = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	wordForm      = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9._-]{0,63}$`)
)

// Validate checks the form of t and what must hold of it at now. The error is of kind Invalid and names the field.
func (t Toestemming) Validate(now time.Time) error {
	switch {
	case !idForm.MatchString(t.ID):
		return invalid("id: give a UUID of version 7 in lower case")
	case !pseudonymForm.MatchString(string(t.Betrokkene)):
		return invalid("betrokkene: give a pseudonym, never a BSN or a name")
	case !slices.Contains(Soorten(), t.Soort):
		return invalid("soort: give one of avg-6-1-a, wet-uitdrukkelijk, beroepsgeheim, geen-bezwaar-schriftelijk, instemming-hulp")
	case len(t.Doel) > 64 || !doelForm.MatchString(string(t.Doel)):
		return invalid("doel: give the id of a purpose in the catalogue")
	case t.DoelVersie < 1:
		return invalid("doelVersie: give the version of the purpose that the person was shown, from 1 up")
	case !slices.Contains(Gevers(), t.GegevenDoor):
		return invalid("gegevenDoor: give zelf, gezag, curator or gemachtigde")
	case t.Tekstversie != "" && !wordForm.MatchString(t.Tekstversie):
		return invalid("tekstversie: use a letter and then at most 63 letters, digits, . _ -")
	case t.Kanaal != "" && !wordForm.MatchString(t.Kanaal):
		return invalid("kanaal: use a letter and then at most 63 letters, digits, . _ -")
	case t.Gegeven.IsZero() || t.Gegeven.After(now):
		return invalid("gegeven: give the moment of giving, not in the future")
	case !t.GeldigTot.After(t.Gegeven):
		return invalid("geldigTot: give a moment after gegeven")
	case t.GeldigTot.Sub(t.Gegeven) > MaxGeldig:
		return invalid("geldigTot: a consent lasts five years at most; ask again then")
	case !t.BevestigdOp.IsZero() && t.BevestigdOp.Before(t.Gegeven):
		return invalid("bevestigdOp: not before gegeven")
	case !t.Ingetrokken.IsZero() && t.Ingetrokken.Before(t.Gegeven):
		return invalid("ingetrokken: not before gegeven")
	}
	for dienst, velden := range t.Velden {
		if !wordForm.MatchString(string(dienst)) || len(velden) == 0 {
			return invalid("velden: name a dienst and at least one of its fields, or leave it empty for all of the purpose")
		}
	}
	if _, err := gateway.ParsePeerID(string(t.Ontvanger)); err != nil {
		return gateway.Wrap(gateway.Invalid, err, "toestemming: ontvanger")
	}
	if _, err := gateway.ParsePeerID(string(t.GeregistreerdDoor)); err != nil {
		return gateway.Wrap(gateway.Invalid, err, "toestemming: geregistreerdDoor")
	}
	return nil
}

func invalid(message string) error {
	return gateway.Errorf(gateway.Invalid, "toestemming: %s", message)
}

// TrekIn withdraws t as of now. Withdrawing twice keeps the first moment.
func (t *Toestemming) TrekIn(now time.Time) {
	if t.Ingetrokken.IsZero() {
		t.Ingetrokken = now
	}
}

// Bevestig confirms t as of now: the gemeente or the person says that it was really given.
func (t *Toestemming) Bevestig(now time.Time) {
	if t.BevestigdOp.IsZero() {
		t.BevestigdOp = now
	}
}

// IsSame reports whether u is the same consent as t, whatever became of it since: one act of one person.
func (t Toestemming) IsSame(u Toestemming) bool {
	return t.ID == u.ID && t.Betrokkene == u.Betrokkene && t.Soort == u.Soort && t.Doel == u.Doel && t.DoelVersie == u.DoelVersie &&
		t.Ontvanger == u.Ontvanger && t.Gegeven.UnixMilli() == u.Gegeven.UnixMilli()
}

// Merge is t with what another register knows of the same consent: the first moment of a withdrawal and of a confirmation counts.
func (t Toestemming) Merge(u Toestemming) Toestemming {
	if !u.BevestigdOp.IsZero() {
		t.Bevestig(u.BevestigdOp)
		t.BevestigdOp = earliest(t.BevestigdOp, u.BevestigdOp)
	}
	if !u.Ingetrokken.IsZero() {
		t.TrekIn(u.Ingetrokken)
		t.Ingetrokken = earliest(t.Ingetrokken, u.Ingetrokken)
	}
	return t
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// IsVoorlopig reports whether t opens nothing yet at now, because its beneficiary wrote it down and nobody confirmed it. A consent
// without a registrar is voorlopig too.
func (t Toestemming) IsVoorlopig(now time.Time) bool {
	return t.BevestigdOp.IsZero() || t.BevestigdOp.After(now)
}

// StateOf is the state of t alone at now.
func (t Toestemming) StateOf(now time.Time) gateway.ConsentState {
	switch {
	case t.Gegeven.IsZero() || t.Gegeven.After(now):
		return gateway.GeenToestemming
	case !t.Ingetrokken.IsZero() && !t.Ingetrokken.After(now):
		return gateway.Ingetrokken
	case t.IsVoorlopig(now):
		return gateway.Voorlopig
	case !now.Before(t.GeldigTot):
		return gateway.Verlopen
	}
	return gateway.Geldig
}

// Vraag is what is asked of a person's consents. Soort and DoelVersie narrow it when they are set: a consent of another kind, or
// for another version of the purpose, then does not count; withdrawing one closes the purpose whatever its version.
type Vraag struct {
	Doel       gateway.Doel
	DoelVersie int
	Soort      Soort
	Ontvanger  gateway.PeerID
}

// Oordeel is what the register says. ID is the consent that decided, if one did; Velden what a valid consent is limited to, empty
// if it covers all of the purpose.
type Oordeel struct {
	State  gateway.ConsentState
	ID     string
	Velden gateway.Velden
}

// Beoordeel says what the consents of one person mean for v at now. The last act counts: a withdrawal closes every earlier
// consent, also one that would still run, and wins from a consent of the same moment. A voorlopig consent neither opens nor closes
// anything while there is a definitive one.
func Beoordeel(all []Toestemming, v Vraag, now time.Time) Oordeel {
	var newest, provisional, withdrawn *Toestemming
	elsewhere := false
	for i := range all {
		t := &all[i]
		if t.Doel != v.Doel || v.Doel == "" || v.Soort != "" && t.Soort != v.Soort {
			continue
		}
		state := t.StateOf(now)
		if v.DoelVersie != 0 && t.DoelVersie != v.DoelVersie && state != gateway.Ingetrokken {
			continue
		}
		switch {
		case state == gateway.GeenToestemming:
		case t.Ontvanger != v.Ontvanger:
			elsewhere = elsewhere || state == gateway.Geldig
		case state == gateway.Ingetrokken:
			if withdrawn == nil || t.Ingetrokken.After(withdrawn.Ingetrokken) {
				withdrawn = t
			}
		case state == gateway.Voorlopig:
			provisional = later(provisional, t)
		default:
			newest = later(newest, t)
		}
	}
	switch {
	case withdrawn != nil && (newest == nil || !newest.Gegeven.After(withdrawn.Ingetrokken)):
		return Oordeel{State: gateway.Ingetrokken, ID: withdrawn.ID}
	case newest != nil && newest.StateOf(now) == gateway.Geldig:
		return Oordeel{State: gateway.Geldig, ID: newest.ID, Velden: newest.Velden}
	case newest != nil:
		return Oordeel{State: gateway.Verlopen, ID: newest.ID}
	case provisional != nil:
		return Oordeel{State: gateway.Voorlopig, ID: provisional.ID}
	case elsewhere:
		return Oordeel{State: gateway.AndereOntvanger}
	}
	return Oordeel{State: gateway.GeenToestemming}
}

func later(a, b *Toestemming) *Toestemming {
	if a == nil || b.Gegeven.After(a.Gegeven) || b.Gegeven.Equal(a.Gegeven) && b.ID > a.ID {
		return b
	}
	return a
}

// State is Beoordeel for a caller that cannot narrow the answer to fewer fields: a consent that the person limited to some fields
// opens nothing for it. It returns the state and the id of the consent that decided.
func State(all []Toestemming, doel gateway.Doel, ontvanger gateway.PeerID, now time.Time) (gateway.ConsentState, string) {
	o := Beoordeel(all, Vraag{Doel: doel, Ontvanger: ontvanger}, now)
	if o.State == gateway.Geldig && len(o.Velden) > 0 {
		return gateway.GeenToestemming, o.ID
	}
	return o.State, o.ID
}
