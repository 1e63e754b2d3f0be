package main

import (
	"context"
	"crypto/x509"
	"log/slog"
	"sync"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/store"
)

// What the processes of one peer know of each other through the store: with which certificates they sign, and which transaction ids
// were taken.

// ownCertificates are the group certificates of a role of this peer, in whatever process.
type ownCertificates struct {
	store *store.Store
	role  certs.Role
}

// PutCertificate makes a certificate known to the other processes.
func (o ownCertificates) PutCertificate(ctx context.Context, chain []*x509.Certificate, now time.Time) error {
	return o.store.PutCertificate(ctx, string(o.role), chain, now)
}

// Certificates are those that have not ended, leaf first.
func (o ownCertificates) Certificates(ctx context.Context, now time.Time) ([][]*x509.Certificate, error) {
	return o.store.Certificates(ctx, string(o.role), now)
}

const (
	publishEvery = time.Minute
	// storeWithin bounds one such question to the store.
	storeWithin = 2 * time.Second
)

// publishes reports whether this process has a group certificate that the others must know.
func (p *peer) publishes() bool {
	return p.cfg.process.apart() && p.identity != nil && (p.cfg.runs(roleManager) || p.cfg.runs(roleOutway) || p.cfg.runs(roleBeheer))
}

// publish keeps our certificate known to the other processes of this peer. The manager does so itself before it signs.
func (p *peer) publish(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var done time.Time
	known, told := "", false
	for {
		chain := p.identity.Chain()
		if now := p.now(); known != jose.Thumbprint(chain[0]) || now.Sub(done).Abs() >= publishEvery {
			err := p.putCertificate(ctx, chain, now)
			if err == nil {
				known, done = jose.Thumbprint(chain[0]), now
			} else if !told && ctx.Err() == nil {
				p.log.WarnContext(ctx, "certificate not made known to the other processes; this is tried again", slog.Any("error", err))
			}
			told = err != nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (p *peer) putCertificate(ctx context.Context, chain []*x509.Certificate, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	for _, role := range []certs.Role{roleManager, roleOutway} {
		if p.cfg.runs(role) || role == roleManager && p.cfg.runs(roleBeheer) { // beheer signs contracts as the manager does
			if err := (ownCertificates{p.store, role}).PutCertificate(ctx, chain, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// signers finds the certificates with which the managers of this peer sign its tokens. A certificate counts only if it stands under
// the anchor of the group now and is of this peer, whoever wrote it into the store.
type signers struct {
	from   ownCertificates
	self   gateway.PeerID
	verify func([]*x509.Certificate, time.Time) (gateway.Peer, error)
	now    func() time.Time
	log    *slog.Logger

	reading sync.Mutex // one reader of the store

	mu    sync.RWMutex
	known map[string][]*x509.Certificate // by thumbprint; guarded by mu
	last  time.Time                      // of reading; guarded by mu
}

// signersPause is the least time between two readings, so that tokens of strangers don't make us ask the store.
const signersPause = time.Second

func (s *signers) cert(x5t string) (*x509.Certificate, bool) {
	chain, ok, last := s.look(x5t)
	if !ok && s.now().Sub(last).Abs() >= signersPause && s.reading.TryLock() {
		defer s.reading.Unlock()
		if err := s.read(context.Background()); err != nil {
			s.log.Warn("certificates of our managers not read", slog.Any("error", err))
		}
		chain, ok, _ = s.look(x5t)
	}
	if !ok {
		return nil, false
	}
	owner, err := s.verify(chain, s.now())
	return chain[0], err == nil && owner.ID == s.self
}

func (s *signers) look(x5t string) ([]*x509.Certificate, bool, time.Time) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	chain, ok := s.known[x5t]
	return chain, ok, s.last
}

func (s *signers) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	chains, err := s.from.Certificates(ctx, s.now())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = s.now()
	if err != nil {
		return err
	}
	s.known = make(map[string][]*x509.Certificate, len(chains))
	for _, chain := range chains {
		s.known[jose.Thumbprint(chain[0])] = chain
	}
	return nil
}

// claimer takes transaction ids for the inways of this peer together, so that one taken at one is refused at another. Those that come
// in while the store is asked are taken in one next statement.
type claimer struct {
	store claimStore
	now   func() time.Time
	log   *slog.Logger

	mu   sync.Mutex
	busy bool        // guarded by mu
	next *claimBatch // guarded by mu
}

// claimStore is where ids are kept for as long as they are timely.
type claimStore interface {
	ClaimTransactions(ctx context.Context, ids []gateway.TransactionID) (fresh []bool, err error)
	ForgetTransactions(ctx context.Context, before time.Time) error
}

type claimBatch struct {
	ids   []gateway.TransactionID
	fresh []bool
	err   error
	done  chan struct{} // closed when fresh and err are set
}

const (
	// claimBatchMost bounds one statement.
	claimBatchMost = 1000
	// claimsKept is how long an id is remembered after its own time: twice what an inway accepts, for clocks that differ.
	claimsKept = 10 * time.Minute
	cleanEvery = time.Minute
)

// Claim takes an id; false if it was taken before. After an error it may be taken all the same, which harms nobody: who asks mints
// another.
func (c *claimer) Claim(ctx context.Context, id gateway.TransactionID) (bool, error) {
	c.mu.Lock()
	b := c.next
	if b == nil || len(b.ids) >= claimBatchMost {
		if b != nil {
			c.mu.Unlock()
			return false, gateway.Errorf(gateway.Unavailable, "transaction id: too many wait for the database")
		}
		b = &claimBatch{done: make(chan struct{})}
		c.next = b
	}
	n := len(b.ids)
	b.ids = append(b.ids, id)
	if !c.busy {
		c.busy = true
		go c.run() //nolint:gosec // G118: it works for all who wait, not for this one
	}
	c.mu.Unlock()
	select {
	case <-b.done:
		return b.err == nil && b.fresh[n], b.err
	case <-ctx.Done():
		return false, gateway.Wrap(gateway.Unavailable, ctx.Err(), "transaction id: no answer of the database")
	}
}

func (c *claimer) run() {
	for {
		c.mu.Lock()
		b := c.next
		c.next = nil
		c.busy = b != nil
		c.mu.Unlock()
		if b == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), storeWithin)
		b.fresh, b.err = c.store.ClaimTransactions(ctx, b.ids)
		cancel()
		if b.err == nil && len(b.fresh) != len(b.ids) {
			b.err = gateway.Errorf(gateway.Internal, "transaction ids: %d answers to %d claims", len(b.fresh), len(b.ids))
		}
		close(b.done)
	}
}

// clean forgets what is untimely everywhere, until ctx ends.
func (c *claimer) clean(ctx context.Context) error {
	tick := time.NewTicker(cleanEvery)
	defer tick.Stop()
	for {
		if err := c.store.ForgetTransactions(ctx, c.now().Add(-claimsKept)); err != nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "old transaction ids not forgotten; this is tried again", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
