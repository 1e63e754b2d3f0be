package manager

import (
	"context"
	"crypto/x509"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
)

const (
	// maxAge is how old an answer about the state of a contract may be.
	maxAge = 5 * time.Second
	// freshen is how often Run renews what is remembered, so that a question seldom waits for the store.
	freshen = 2 * time.Second
	// readTimeout bounds one reading of all contracts.
	readTimeout = 4 * time.Second
)

// snapshot is what the store said about the contracts at one moment. It is never changed.
type snapshot struct {
	local   uint64    // value of Contracts.changes that it was read after
	counter int64     // the store's own count of changes
	checked time.Time // when store and certificates were last asked
	grants  map[gateway.GrantHash]standing
	parsed  map[gateway.ContentHash]*contract.Content
	certs   map[string]certificate // by thumbprint

	published []published
	names     map[gateway.PeerID]string // as the signing certificates say
	parties   map[gateway.PeerID]bool   // who is named in a contract that all have accepted and nobody ended
}

// published is a publication grant of a contract that all have accepted and nobody ended.
type published struct {
	contract.Publication
	until  time.Time
	unsure error
}

// standing is a grant of a contract that all have accepted and nobody ended.
type standing struct {
	grant  gateway.Grant
	until  time.Time // the first of its signing certificates ends here
	unsure error     // the state of a signing certificate can't be known
}

// certificate is a certificate that signed something, and what it was worth when asked.
type certificate struct {
	chain []*x509.Certificate
	peer  gateway.PeerID // empty: it does not count
	name  string
	err   error // set if that can't be known
}

// Following is what Contracts needs. All but Directories and Configured are required.
type Following struct {
	Self  gateway.Peer
	Store reader // gateway/store
	// VerifyChain checks a signing certificate: certs.Group.VerifyChain.
	VerifyChain func(chain []*x509.Certificate, at time.Time) (gateway.Peer, error)
	// Directories are the peers whose list of peers and services the manager keeps in the store.
	Directories []gateway.PeerID
	// Configured are the peers that the configuration names, with their addresses. What it says of them wins over what a directory
	// says.
	Configured []contract.KnownPeer
	Now        func() time.Time
	Log        *slog.Logger
}

// reader is what is read of the store to know what holds.
type reader interface {
	InForce(context.Context, time.Time) ([]contract.Record, error)
	Changes(context.Context) (int64, error)
	Directory(context.Context, gateway.PeerID) ([]contract.KnownPeer, []contract.Listing, error)
	Peers(context.Context, contract.PeerFilter) ([]contract.KnownPeer, error)
}

// Contracts knows which contracts of a peer hold at this moment, and which peers it knows, from what the store says. It writes nothing
// and signs nothing, so that any number of processes may have one beside the manager: a revocation bites in each within maxAge of
// reaching the store. When the store can't be read it answers nothing after maxAge, and again when it can.
type Contracts struct {
	o Following

	snap    atomic.Pointer[snapshot]
	changes atomic.Uint64 // counts changes made by this process
	writing atomic.Int64  // counts changes of this process that are under way
	refresh sync.Mutex    // one reader of the store for snap
}

// NewContracts makes one. The error is of kind Invalid and names what is missing.
func NewContracts(o Following) (*Contracts, error) {
	if o.Store == nil || o.VerifyChain == nil || o.Now == nil || o.Log == nil {
		return nil, gateway.Errorf(gateway.Invalid, "contracts: Store, VerifyChain, Now and Log are required")
	}
	if _, err := gateway.ParsePeerID(string(o.Self.ID)); err != nil {
		return nil, err
	}
	o.Directories = slices.DeleteFunc(slices.Clone(o.Directories), func(id gateway.PeerID) bool { return id == o.Self.ID })
	slices.Sort(o.Directories)
	return &Contracts{o: o}, nil
}

// Follow keeps what is remembered fresh until ctx ends, so that a question seldom waits for the store. A Manager that runs does it
// itself.
func (k *Contracts) Follow(ctx context.Context) error {
	tick := time.NewTicker(freshen)
	defer tick.Stop()
	away := false
	for {
		_, err := k.renew(ctx, freshen)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case err != nil && !away:
			k.o.Log.WarnContext(ctx, "contracts not read; nothing that needs one is answered until they are", slog.Any("error", err))
		case err == nil && away:
			k.o.Log.InfoContext(ctx, "contracts are read again")
		}
		away = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Grant returns a connection grant of a contract to which this peer is a party and that is valid at this moment; else NotFound.
// Whether the caller has a part in it (Outway, ServicePeer) is for the caller to look at. Unavailable means that nobody can tell
// now. The grant's maps and slices are shared: do not change them.
func (k *Contracts) Grant(ctx context.Context, hash gateway.GrantHash) (gateway.Grant, error) {
	snap, err := k.current(ctx)
	if err != nil {
		return gateway.Grant{}, err
	}
	s, ok := snap.grants[hash]
	if !ok {
		return gateway.Grant{}, errNoGrant
	}
	return s.at(k.o.Now())
}

var errNoGrant = gateway.Errorf(gateway.NotFound, "grant: no valid contract holds it")

func (s standing) at(now time.Time) (gateway.Grant, error) {
	switch {
	case now.Before(s.grant.NotBefore) || now.After(s.grant.NotAfter) || now.After(s.until):
		return gateway.Grant{}, errNoGrant
	case s.unsure != nil:
		return gateway.Grant{}, gateway.Wrap(gateway.Unavailable, s.unsure, "grant: the certificate of a signature can't be checked now")
	}
	return s.grant, nil
}

// Grants returns the grants that are valid at this moment under which this peer's outway may ask, and that keep accepts (all if it
// is nil), sorted by hash.
func (k *Contracts) Grants(ctx context.Context, keep func(gateway.Grant) bool) ([]gateway.Grant, error) {
	snap, err := k.current(ctx)
	if err != nil {
		return nil, err
	}
	now := k.o.Now()
	var all []gateway.Grant
	for _, s := range snap.grants {
		if s.grant.Outway != k.o.Self.ID || keep != nil && !keep(s.grant) {
			continue
		}
		g, err := s.at(now)
		if gateway.KindOf(err) == gateway.Unavailable {
			return nil, err
		}
		if err == nil {
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b gateway.Grant) int {
		if a.Hash < b.Hash {
			return -1
		}
		return 1
	})
	return all, nil
}

func (k *Contracts) current(ctx context.Context) (*snapshot, error) {
	if snap := k.snap.Load(); k.fresh(snap, maxAge) {
		return snap, nil
	}
	return k.renew(ctx, maxAge)
}

func (k *Contracts) fresh(snap *snapshot, age time.Duration) bool {
	if snap == nil || snap.local != k.changes.Load() || k.writing.Load() > 0 {
		return false
	}
	passed := k.o.Now().Sub(snap.checked)
	return passed >= 0 && passed < age
}

// renew asks store and certificates again unless somebody else just did.
func (k *Contracts) renew(ctx context.Context, age time.Duration) (*snapshot, error) {
	k.refresh.Lock()
	defer k.refresh.Unlock()
	old := k.snap.Load()
	if k.fresh(old, age) {
		return old, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
	defer cancel()
	local, now := k.changes.Load(), k.o.Now() // before reading: a change meanwhile makes the result stale, not wrong
	counter, err := k.o.Store.Changes(ctx)
	if err != nil {
		return nil, gateway.Wrap(gateway.Unavailable, err, "contracts can't be read")
	}
	if old == nil || counter != old.counter || local != old.local || !k.sameCertificates(old, now) {
		if old, err = k.read(ctx, old, now); err != nil {
			return nil, gateway.Wrap(gateway.Unavailable, err, "contracts can't be read")
		}
	}
	snap := *old
	snap.local, snap.counter, snap.checked = local, counter, now
	k.snap.Store(&snap)
	return &snap, nil
}

// sameCertificates reports whether every signing certificate is still worth what it was.
func (k *Contracts) sameCertificates(snap *snapshot, now time.Time) bool {
	for _, c := range snap.certs {
		if fresh := k.weigh(c.chain, now); fresh.peer != c.peer || (fresh.err == nil) != (c.err == nil) {
			return false
		}
	}
	return true
}

func (k *Contracts) weigh(chain []*x509.Certificate, now time.Time) certificate {
	peer, err := k.o.VerifyChain(chain, now)
	switch {
	case err == nil:
		return certificate{chain: chain, peer: peer.ID, name: peer.Name}
	case gateway.KindOf(err) == gateway.Unavailable:
		return certificate{chain: chain, err: err}
	}
	return certificate{chain: chain}
}

func (k *Contracts) read(ctx context.Context, old *snapshot, now time.Time) (*snapshot, error) {
	recs, err := k.o.Store.InForce(ctx, now)
	if err != nil {
		return nil, err
	}
	snap := &snapshot{
		grants: map[gateway.GrantHash]standing{}, parsed: map[gateway.ContentHash]*contract.Content{}, certs: map[string]certificate{},
		names: map[gateway.PeerID]string{}, parties: map[gateway.PeerID]bool{},
	}
	for _, rec := range recs {
		var c *contract.Content
		if old != nil {
			c = old.parsed[rec.Hash]
		}
		if c == nil {
			if c, err = k.parse(rec); err != nil {
				return nil, err
			}
		}
		snap.parsed[rec.Hash] = c
		snap.add(k, c, rec, now)
	}
	return snap, nil
}

// parse reads stored content again; a hash that differs means that the database was tampered with, or broke.
func (k *Contracts) parse(rec contract.Record) (*contract.Content, error) {
	c, err := contract.ParseContent(rec.Raw)
	if err != nil {
		return nil, gateway.Wrap(gateway.Internal, err, "contract "+string(rec.Hash)+" in the store")
	}
	if c.Hash() != rec.Hash {
		return nil, gateway.Errorf(gateway.Internal, "contract %s in the store: its content has another hash", rec.Hash)
	}
	return c, nil
}

func (s *snapshot) add(k *Contracts, c *contract.Content, rec contract.Record, now time.Time) {
	st := standing{until: c.NotAfter()}
	var counting []contract.Signature
	for _, sig := range rec.Signed {
		if sig.Type != contract.Accept {
			counting = append(counting, sig.Signature) // a no counts, whatever became of its certificate
			continue
		}
		cert, seen := s.certs[sig.X5T]
		if !seen {
			cert = k.weigh(sig.Chain, now)
			s.certs[sig.X5T] = cert
		}
		switch {
		case cert.err != nil:
			st.unsure = cert.err
		case cert.peer != sig.Peer:
			continue
		}
		s.names[sig.Peer] = cert.name
		if end := sig.Chain[0].NotAfter; end.Before(st.until) {
			st.until = end
		}
		counting = append(counting, sig.Signature)
	}
	// The state within the span of validity: the span itself is looked at per question.
	if contract.StateAt(c, counting, c.NotBefore()) != contract.Valid {
		return
	}
	for _, g := range c.ConnectionGrants() {
		st.grant = g
		s.grants[g.Hash] = st
	}
	for _, p := range c.Publications() {
		s.published = append(s.published, published{p, st.until, st.unsure})
	}
	for _, peer := range c.Parties() {
		s.parties[peer] = true
	}
}

// counting tells which signatures count at now, in the order of rec.Signed, and why another does not.
func (m *Manager) counting(rec contract.Record, now time.Time) (sigs []contract.Signature, states []contract.SignatureState) {
	for _, sig := range rec.Signed {
		state := contract.SignatureState{Signature: sig.Signature, Counts: true}
		if sig.Type == contract.Accept {
			switch peer, err := m.o.VerifyChain(sig.Chain, now); {
			case err != nil:
				state.Counts, state.Reason = false, err.Error()
			case peer.ID != sig.Peer:
				state.Counts, state.Reason = false, "the certificate is another peer's"
			}
		}
		states = append(states, state)
		if state.Counts {
			sigs = append(sigs, sig.Signature)
		}
	}
	return sigs, states
}
