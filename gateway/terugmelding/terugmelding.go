// Package terugmelding holds the rules of reporting a doubtful field (terugmelding, domain.md C11): the asker (melder) tells the
// gemeente whose source it is (bron) that one field of one answer may be wrong, with a coded reason; the gemeente looks into it and
// both sides see how that ends. It keeps nothing: gateway/store does, at both sides, under the one id that the melder chose.
//
// A report is about what was disclosed: Verstrekt says which fields a peer got under a transaction, from the records that the
// gemeente made of it then. It carries no value, no BSN and no name; its free text is refused when it looks like it holds a BSN.
//
// Invariants a reviewer must keep: a status changes only along the table of Naar, and never back; the person is known at the
// gemeente by pseudonym only, and at the melder not at all; the zero value of everything is refused.
package terugmelding

import (
	"regexp"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/grensloos/grensloos/gateway"
)

// Reden is the coded reason of a report.
type Reden string

// The reasons.
const (
	Onjuist          Reden = "onjuist"           // the value is wrong
	Verouderd        Reden = "verouderd"         // it was right once
	Onvolledig       Reden = "onvolledig"        // something is missing
	VerkeerdePersoon Reden = "verkeerde-persoon" // it is somebody else's
	Anders           Reden = "anders"            // the toelichting says what
)

// Redenen lists the reasons, for messages and for flags.
func Redenen() []Reden { return []Reden{Onjuist, Verouderd, Onvolledig, VerkeerdePersoon, Anders} }

// Status is how far a report is.
type Status string

// The statuses. The first two exist at the melder only: the gemeente has not taken the report, yet or at all.
const (
	Onbezorgd    Status = "onbezorgd"    // not delivered; sent again under the same id
	Geweigerd    Status = "geweigerd"    // the gemeente does not take it
	Ontvangen    Status = "ontvangen"    // received
	InOnderzoek  Status = "in-onderzoek" // being looked into
	Gecorrigeerd Status = "gecorrigeerd" // the source was corrected
	Ongegrond    Status = "ongegrond"    // the source was right
)

// naar is the table of statuses: what each may become. An end is not in it.
var naar = map[Status][]Status{
	Onbezorgd:   {Geweigerd, Ontvangen, InOnderzoek, Gecorrigeerd, Ongegrond},
	Ontvangen:   {InOnderzoek, Gecorrigeerd, Ongegrond},
	InOnderzoek: {Gecorrigeerd, Ongegrond},
}

// Naar lists what a status may become; none for an end and for what is no status.
func (s Status) Naar() []Status { return slices.Clone(naar[s]) }

// IsBijBron reports whether a report can have this status at the gemeente.
func (s Status) IsBijBron() bool {
	return s == Ontvangen || s == InOnderzoek || s == Gecorrigeerd || s == Ongegrond
}

// IsKlaar reports whether s is an end.
func (s Status) IsKlaar() bool { return s == Geweigerd || s == Gecorrigeerd || s == Ongegrond }

// Melding is one report, as one of the two sides holds it.
type Melding struct {
	ID          string                // UUIDv7, made by the melder; the same at both sides
	Transactie  gateway.TransactionID // the answer that had the field
	Dienst      gateway.Dienst
	Veld        gateway.Veld
	Reden       Reden
	Toelichting string // free text, no BSN; may be empty
	Doel        gateway.Doel
	Zaak        string // reference of the zaak that the answer was asked for
	Zaaktype    string
	Melder      gateway.PeerID
	Bron        gateway.PeerID
	Medewerker  string            // pseudonym, by the melder, of its worker
	Betrokkene  gateway.Pseudonym // of the bron; empty at the melder
	Status      Status
	Antwoord    string // what the gemeente says of it, or why the report was not taken; no BSN; may be empty
	Gemeld      time.Time
	Gewijzigd   time.Time
}

// MaxTekst is the longest free text, in characters.
const MaxTekst = 500

var (
	idForm     = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	naamForm   = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9]{0,63}$`)
	doelForm   = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	pseudoniem = regexp.MustCompile(`^v[1-9][0-9]{0,3}\.[A-Za-z0-9_-]{43}$`)
)

// New completes a report with an id and its moments, as onbezorgd, and validates it. The melder makes it.
func New(m Melding, now time.Time) (Melding, error) {
	now = now.UTC().Truncate(time.Millisecond)
	m.ID, m.Status, m.Gemeld, m.Gewijzigd = gateway.NewUUID(now), Onbezorgd, now, now
	return m, m.Validate()
}

// Ontvang is m as the gemeente takes it in: about betrokkene, received now.
func (m Melding) Ontvang(betrokkene gateway.Pseudonym, now time.Time) (Melding, error) {
	now = now.UTC().Truncate(time.Millisecond)
	m.Betrokkene, m.Status, m.Antwoord, m.Gemeld, m.Gewijzigd = betrokkene, Ontvangen, "", now, now
	if betrokkene == "" {
		return m, gateway.Errorf(gateway.Internal, "terugmelding: without a betrokkene")
	}
	return m, m.Validate()
}

// Validate checks the form of m. The error is of kind Invalid and names the field, never its value.
func (m Melding) Validate() error {
	switch {
	case !idForm.MatchString(m.ID):
		return invalid("id: geef een UUID van versie 7 in kleine letters")
	case !idForm.MatchString(string(m.Transactie)):
		return invalid("transactie: geef het transactienummer van het antwoord, een UUID van versie 7 in kleine letters")
	case !naamForm.MatchString(string(m.Dienst)):
		return invalid("dienst: geef de dienst waar het veld in stond")
	case !naamForm.MatchString(string(m.Veld)):
		return invalid("veld: geef het veld dat niet lijkt te kloppen")
	case !slices.Contains(Redenen(), m.Reden):
		return invalid("reden: kies uit onjuist, verouderd, onvolledig, verkeerde-persoon, anders")
	case m.Reden == Anders && m.Toelichting == "":
		return invalid("toelichting: zeg bij de reden anders wat er niet klopt")
	case len(m.Doel) > 64 || !doelForm.MatchString(string(m.Doel)):
		return invalid("doel: geef het doel van de vraag")
	case m.Zaak == "" || m.Zaaktype == "" || m.Medewerker == "":
		return invalid("zaak, zaaktype, medewerker: ontbreken")
	case m.Betrokkene != "" && !pseudoniem.MatchString(string(m.Betrokkene)):
		return invalid("betrokkene: is een pseudoniem, nooit een BSN of een naam")
	case !m.Status.IsBijBron() && m.Status != Onbezorgd && m.Status != Geweigerd:
		return invalid("status: onbekend")
	case m.Gemeld.IsZero() || m.Gewijzigd.Before(m.Gemeld):
		return invalid("gemeld, gewijzigd: gewijzigd komt niet voor gemeld")
	}
	if _, err := gateway.ParsePeerID(string(m.Melder)); err != nil {
		return gateway.Wrap(gateway.Invalid, err, "terugmelding: melder")
	}
	if _, err := gateway.ParsePeerID(string(m.Bron)); err != nil {
		return gateway.Wrap(gateway.Invalid, err, "terugmelding: bron")
	}
	if err := CheckTekst("toelichting", m.Toelichting); err != nil {
		return err
	}
	return CheckTekst("antwoord", m.Antwoord)
}

// CheckTekst holds free text to its form: at most MaxTekst printable characters and no BSN. Empty is fine.
func CheckTekst(field, text string) error {
	switch {
	case !utf8.ValidString(text) || utf8.RuneCountInString(text) > MaxTekst:
		return gateway.Errorf(gateway.Invalid, "%s: geef ten hoogste %d tekens", field, MaxTekst)
	case slices.ContainsFunc([]rune(text), func(c rune) bool { return !unicode.IsPrint(c) && c != '\n' }):
		return gateway.Errorf(gateway.Invalid, "%s: geef gewone tekst, zonder stuurtekens", field)
	case gateway.HoldsBSN(text):
		return gateway.Errorf(gateway.Invalid, "%s: hierin lijkt een BSN te staan; schrijf het zonder nummers van personen", field)
	}
	return nil
}

// Behandel is m with a new status by the gemeente and what it says of it. The error is of kind Conflict when the status can't
// become that.
func (m Melding) Behandel(status Status, antwoord string, now time.Time) (Melding, error) {
	if !status.IsBijBron() || status == Ontvangen {
		return m, gateway.Errorf(gateway.Invalid, "status: kies uit in-onderzoek, gecorrigeerd, ongegrond")
	}
	if err := CheckTekst("antwoord", antwoord); err != nil {
		return m, err
	}
	return m.wordt(status, antwoord, now)
}

// Volg is m, at the melder, with what the gemeente says of it now. The same status is no change. The error is of kind Conflict
// when the gemeente contradicts what it said before.
func (m Melding) Volg(status Status, antwoord string, now time.Time) (Melding, error) {
	if err := CheckTekst("antwoord", antwoord); err != nil {
		return m, err
	}
	if status == m.Status && antwoord == m.Antwoord {
		return m, nil
	}
	return m.wordt(status, antwoord, now)
}

func (m Melding) wordt(status Status, antwoord string, now time.Time) (Melding, error) {
	if !slices.Contains(naar[m.Status], status) {
		return m, gateway.WithCode(gateway.Conflict, "status-strijdig", "status: een terugmelding die %s is, kan niet %.20s worden", m.Status, status)
	}
	m.Status, m.Antwoord, m.Gewijzigd = status, antwoord, now.UTC().Truncate(time.Millisecond)
	if m.Gewijzigd.Before(m.Gemeld) {
		m.Gewijzigd = m.Gemeld
	}
	return m, nil
}

func invalid(message string) error { return gateway.Errorf(gateway.Invalid, "%s", message) }
