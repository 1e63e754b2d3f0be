// Package audit owns the records that Grensloos keeps of every exchange, and the contract under which they are kept.
//
// The kinds: transactie (FSC Logging 1.1.0, "Log record"), ADL (Authorization Decision Log 1.0.0), LDV (Logboek
// Dataverwerkingen 1.0.0, one line per betrokkene), afloop (how an exchange ended), kwitantie (what the provider signed about its
// answer) and beheer (a management act). Their JSON Schemas are in schemas/. A constructor makes each of them from typed values, so that a record is valid by construction;
// Validate checks one against its schema and is for tests, imports and a debug run, not for the path of a question.
//
// The package does no I/O. Record ids are made here, never taken from what a peer sends.
//
// Invariants a reviewer must keep: no record carries a name, an address, a BSN or a value from a source: pseudonyms, references
// of a zaak, names of fields and booleans only. What Append returned nil for is durable; what it returned an error for may be
// durable all the same, and whoever appended must then not answer.
package audit

import (
	"context"
	"encoding/json"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Soort is the kind of a record.
type Soort string

// The kinds of record.
const (
	Transactie Soort = "transactie" // FSC Logging: these two peers talked, under this grant
	ADL        Soort = "adl"        // a policy decision
	LDV        Soort = "ldv"        // a processing of one betrokkene's data
	Afloop     Soort = "afloop"     // how an exchange ended
	Kwitantie  Soort = "kwitantie"  // what the other side signed about its answer
	Beheer     Soort = "beheer"     // a management act
)

// Soorten lists all kinds.
func Soorten() []Soort { return []Soort{Transactie, ADL, LDV, Afloop, Kwitantie, Beheer} }

// A Record is one line of the audit log. It must not be changed once it was appended.
type Record struct {
	ID         string                `json:"id"`                   // UUIDv7, made by the writer
	Soort      Soort                 `json:"soort"`                // says which schema Body follows
	Transactie gateway.TransactionID `json:"transactie,omitempty"` // empty for beheer, and for a call without a usable id
	Tijd       time.Time             `json:"tijd"`                 // when it was made, UTC, to the microsecond
	Body       json.RawMessage       `json:"body"`                 // as the standard of its kind prescribes

	// Telling is for who counts records as they are made. It is not kept: a record that was read back has none.
	Telling Telling `json:"-"`
}

// Telling is what of a decision or an ended exchange is counted: nothing of a person.
type Telling struct {
	Doel     gateway.Doel
	Rol      string    // that had a decision made
	Uitkomst string    // of a decision: Toegestaan, Deels, Geweigerd, Mislukt; of an exchange as in its record
	Richting Direction // of an exchange
	Fout     string
}

// Log is where records are kept.
//
// Append returns nil only when every record is durable as the log's acknowledgement mode defines it: on this machine's disk, or
// acknowledged by the cluster. An error means that it is not known to be durable: whoever appended must not act, answer or send.
// After an error, also after the end of ctx, the records may be kept all the same, or some of them; a log may therefore say more
// than happened, never less. Records of one call are kept in the order given; of two calls, the one that returned before the
// other began comes first. Append may be called from many goroutines.
//
// A log that can't write returns an error of kind Unavailable with code WriteError.
type Log interface {
	Append(ctx context.Context, recs ...Record) error
}

// Later keeps records that nothing waits for: the end of an exchange of which the answer has left whole. They are durable with what is
// appended next, or within some milliseconds; a crash in between loses them, and only them. The error says that they are not taken. A
// log that knows no later keeps them at once.
func Later(ctx context.Context, l Log, recs ...Record) error {
	if later, ok := l.(interface {
		Later(ctx context.Context, recs ...Record) error
	}); ok {
		return later.Later(ctx, recs...)
	}
	return l.Append(ctx, recs...)
}

// WriteError is the code of FSC Logging for a record that could not be written; inway and outway answer it with 500.
const WriteError = "TRANSACTION_LOG_WRITE_ERROR"

// Refused makes the error of a log that can't write: kind Unavailable, code WriteError.
func Refused(cause error, message string) error {
	return &gateway.Error{Kind: gateway.Unavailable, Code: WriteError, Message: message, Cause: cause}
}
