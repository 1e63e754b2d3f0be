package policies

import (
	"context"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Stap is the step in the path of a question at which a decision is asked.
type Stap string

// The steps. The zero value is none and is refused.
const (
	Uitgaand     Stap = "uitgaand"     // the outway of the asker; the worker's roles come from the JWT
	Inkomend     Stap = "inkomend"     // the inway of the provider; the roles come from the verklaring
	Verstrekking Stap = "verstrekking" // clientgegevens: the person is known, fields are about to be read
)

// Persoon is what a decision may know of the person asked about. It never enters the answer, except Geheimhouding as a mark.
type Persoon struct {
	Geheimhouding bool
	Leeftijd      int  // in whole years; -1 if unknown. A purpose with toestemming.vanafLeeftijd denies an unknown age
	Beperkt       bool // an objection is undecided (AVG art. 18(1)(d))
}

// Input is one question at one step. Richting and afnemerRollen are not in it: they follow from the signed grant.
type Input struct {
	Stap             Stap
	Afnemer          gateway.PeerID // who asks: the peer of the client certificate
	Bron             gateway.PeerID // who is asked
	Medewerker       string         // pseudonym of the worker
	MedewerkerRollen []string       // the JWT's or the verklaring's `rol`
	Grant            gateway.Grant
	Zaak, Zaaktype   string
	Velden           gateway.Velden // asked for; empty: all that grant and purpose allow
	Aantal           int            // number of persons; 0 counts as one
	Persoon          *Persoon       // at Verstrekking, and only there; nil there is an error
	Toestemming      gateway.ConsentState
	// ToestemmingVelden is what the person limited the consent to (toestemming.Oordeel.Velden); empty: all of the purpose.
	ToestemmingVelden gateway.Velden
	Tijd              time.Time // the moment that counts for validity; zero: now
}

// Options are what an Engine decides by. The zero value is the built-in policy without a local one.
type Options struct {
	Federatie fs.FS // Rego of the federation, *.rego in any folder; nil: the built-in rego/
	Lokaal    fs.FS // Rego of this peer, package grensloos.lokaal; nil: none
	Catalogus fs.FS // purpose catalogue, *.yaml in any folder; nil: the built-in doelen/
	Now       func() time.Time
}

// Engine decides. It is safe for concurrent use.
type Engine struct {
	opts Options
	cur  atomic.Pointer[revision]
}

// New loads and compiles everything; what it does not know or trust is an error that names file and line.
func New(ctx context.Context, opts Options) (*Engine, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	e := &Engine{opts: opts}
	return e, e.Reload(ctx)
}

// Reload reads the files again. Sessions that are under way keep their revision; after an error the old revision stays.
func (e *Engine) Reload(ctx context.Context) error { return e.ReloadRecorded(ctx, nil) }

// ReloadRecorded is Reload by a peer that keeps a record of which policy was in force: record gets the id of a revision that differs
// from the one in force, before it takes effect. After an error of record the old revision stays.
func (e *Engine) ReloadRecorded(ctx context.Context, record func(revision string) error) error {
	rev, err := load(ctx, e.opts)
	if err != nil {
		return err
	}
	if old := e.cur.Load(); old != nil && old.id == rev.id {
		return nil
	}
	if record != nil {
		if err := record(rev.id); err != nil {
			return err
		}
	}
	e.cur.Store(rev)
	return nil
}

// Session fixes the revision for one request.
func (e *Engine) Session() *Session { return &Session{rev: e.cur.Load(), now: e.opts.Now} }

// Session decides on one revision.
type Session struct {
	rev *revision
	now func() time.Time
}

// Revision is the id of the revision: "sha256:" and the digest over every policy file and the catalogue.
func (s *Session) Revision() string { return s.rev.id }

// Catalogue is the purpose catalogue of the revision.
func (s *Session) Catalogue() *Catalogue { return s.rev.catalogue }

// Entry is the entry of a purpose that is current at a moment.
func (s *Session) Entry(doel gateway.Doel, at time.Time) (Entry, bool) {
	return s.rev.catalogue.Entry(doel, at)
}

// Shared is Entry with its digest, for the path of a question: the entry is everybody's, and must not be changed.
func (s *Session) Shared(doel gateway.Doel, at time.Time) (e *Entry, digest string, ok bool) {
	return s.rev.catalogue.Shared(doel, at)
}

// Decide answers one question. The error is never nil when the decision could not be made; the decision denies then.
func (s *Session) Decide(ctx context.Context, in Input) (gateway.Decision, error) {
	if in.Tijd.IsZero() {
		in.Tijd = s.now()
	}
	return s.rev.decide(ctx, in)
}
