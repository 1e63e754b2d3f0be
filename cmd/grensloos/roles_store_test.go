package main

import (
	"context"
	"crypto/x509"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/store"
)

// slowClaims answers a claim when it is told to.
type slowClaims struct {
	mu    sync.Mutex
	took  map[gateway.TransactionID]bool
	asked [][]gateway.TransactionID
	began chan struct{}
	goOn  chan error
}

func (s *slowClaims) ClaimTransactions(_ context.Context, ids []gateway.TransactionID) ([]bool, error) {
	s.began <- struct{}{}
	if err := <-s.goOn; err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, ids)
	fresh := make([]bool, len(ids))
	for i, id := range ids {
		fresh[i], s.took[id] = !s.took[id], true
	}
	return fresh, nil
}

func (s *slowClaims) ForgetTransactions(context.Context, time.Time) error { return nil }

// Claims that come in while the store is asked go to it together, and each hears what is true of its own id.
func TestClaimsGoTogether(t *testing.T) {
	s := &slowClaims{took: map[gateway.TransactionID]bool{}, began: make(chan struct{}), goOn: make(chan error)}
	c := &claimer{store: s, now: time.Now, log: slog.New(slog.DiscardHandler)}
	type answer struct {
		fresh bool
		err   error
	}
	claim := func(ids ...gateway.TransactionID) []chan answer {
		var all []chan answer
		for _, id := range ids {
			got := make(chan answer, 1)
			go func() {
				fresh, err := c.Claim(t.Context(), id)
				got <- answer{fresh, err}
			}()
			all = append(all, got)
		}
		return all
	}
	now := time.Now()
	a, b, d := gateway.NewTransactionID(now), gateway.NewTransactionID(now), gateway.NewTransactionID(now)
	first := claim(a)[0]
	<-s.began
	rest := claim(b, d)
	again := claim(a)[0]
	for {
		c.mu.Lock()
		waiting := c.next != nil && len(c.next.ids) == 3
		c.mu.Unlock()
		if waiting {
			break
		}
		time.Sleep(time.Millisecond)
	}
	s.goOn <- nil
	if got := <-first; !got.fresh || got.err != nil {
		t.Errorf("the first: got %+v, want it taken", got)
	}
	<-s.began
	s.goOn <- nil
	for _, ch := range rest {
		if got := <-ch; !got.fresh || got.err != nil {
			t.Errorf("another: got %+v, want it taken", got)
		}
	}
	if got := <-again; got.fresh || got.err != nil {
		t.Errorf("the first again: got %+v, want it refused", got)
	}
	if len(s.asked) != 2 || len(s.asked[1]) != 3 {
		t.Errorf("the store was asked %d times, want twice, the second time for three", len(s.asked))
	}
	// The store away: nobody gets one; back: as if nothing was.
	failed := claim(gateway.NewTransactionID(now))[0]
	<-s.began
	s.goOn <- gateway.Errorf(gateway.Unavailable, "database: away")
	if got := <-failed; got.fresh || gateway.KindOf(got.err) != gateway.Unavailable {
		t.Errorf("away: got %+v, want it refused", got)
	}
	back := claim(gateway.NewTransactionID(now))[0]
	<-s.began
	s.goOn <- nil
	if got := <-back; !got.fresh {
		t.Errorf("back: got %+v, want it taken", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	go func() { <-s.began; s.goOn <- nil }()
	if _, err := c.Claim(ctx, gateway.NewTransactionID(now)); err != nil && gateway.KindOf(err) != gateway.Unavailable {
		t.Errorf("who hangs up: got %v", err)
	}
}

// A certificate in the store counts as a signer of our tokens only if it stands under the anchor of the group now and is ours: whoever
// can write there makes nobody a signer.
func TestSignersAreOurs(t *testing.T) {
	b, u := borne(t), uwi()
	r, err := layRegion(t.Context(), t.TempDir(), b, u)
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), store.Config{Pad: filepath.Join(t.TempDir(), "state.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	cfg, err := loadConfig(b.config())
	if err != nil {
		t.Fatal(err)
	}
	group, err := certs.OpenGroup(gateway.GroupRules{ID: cfg.Group.ID, Ports: cfg.Group.Ports}, cfg.Group.Trust, time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	chain := func(dir string) []*x509.Certificate {
		id, err := certs.LoadIdentity(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return id.Chain()
	}
	now := time.Now()
	s := &signers{from: ownCertificates{db, roleManager}, self: b.ID, verify: group.VerifyChain, now: func() time.Time { return now }, log: slog.New(slog.DiscardHandler)}
	ours, neighbour, internal := chain(filepath.Join(b.dir, "group")), chain(filepath.Join(u.dir, "group")), chain(filepath.Join(b.dir, "netwerk"))
	counts := func(c []*x509.Certificate) bool {
		now = now.Add(2 * signersPause)
		_, ok := s.cert(jose.Thumbprint(c[0]))
		return ok
	}
	if counts(ours) {
		t.Error("ours counts before any manager wrote it")
	}
	for _, c := range [][]*x509.Certificate{ours, neighbour, internal} {
		if err := (ownCertificates{db, roleManager}).PutCertificate(t.Context(), c, now); err != nil {
			t.Fatal(err)
		}
	}
	if !counts(ours) {
		t.Error("ours does not count")
	}
	if counts(neighbour) {
		t.Error("a neighbour's certificate counts as ours")
	}
	if counts(internal) {
		t.Error("a certificate of the own network counts in the group")
	}
	if err := (ownCertificates{db, roleOutway}).PutCertificate(t.Context(), chain(filepath.Join(b.dir, "group")), now); err != nil {
		t.Fatal(err)
	}
	if err := certs.Revoke(r.pki, filepath.Join(b.dir, "group", "cert.pem")); err != nil {
		t.Fatal(err)
	}
	if err := group.Reload(); err != nil {
		t.Fatal(err)
	}
	if counts(ours) {
		t.Error("a revoked certificate counts")
	}
}
