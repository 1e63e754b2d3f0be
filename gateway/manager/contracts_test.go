package manager

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// awayStore is a store that can be away.
type awayStore struct {
	keeper
	away atomic.Bool
}

func (s *awayStore) Changes(ctx context.Context) (int64, error) {
	if s.away.Load() {
		return 0, gateway.Wrap(gateway.Unavailable, errors.New("connection refused"), "database")
	}
	return s.keeper.Changes(ctx)
}

// Another process of the peer that follows the store sees a contract end within maxAge; without the store it answers nothing after
// that time, and again when the store is back.
func TestContractsFollowTheStore(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b := r.peers[borne].start(false)
	grant := b.agree(r.content(r.connection(uwi, borne)))
	db := &awayStore{keeper: b.store}
	k, err := NewContracts(Following{
		Self: gateway.Peer{ID: borne}, Store: db, VerifyChain: b.group.VerifyChain, Now: r.clock.now, Log: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	valid := func(when string) {
		t.Helper()
		if _, err := k.Grant(t.Context(), grant); err != nil {
			t.Fatalf("%s: got %v, want the grant", when, err)
		}
	}
	valid("first")
	db.away.Store(true)
	valid("just after the store went away")
	r.clock.advance(maxAge)
	_, err = k.Grant(t.Context(), grant)
	wantError(t, err, gateway.Unavailable, "contracts can't be read")
	db.away.Store(false)
	valid("the store is back")

	must(t, b.m.Revoke(t.Context(), b.lastHash(), "m1.test"))
	r.clock.advance(maxAge)
	_, err = k.Grant(t.Context(), grant)
	wantError(t, err, gateway.NotFound, "no valid contract")
}

// Follow renews by itself: who asks finds what the store said at most freshen ago.
func TestContractsAreKeptFresh(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b := r.peers[borne].start(false)
	grant := b.agree(r.content(r.connection(uwi, borne)))
	k, err := NewContracts(Following{
		Self: gateway.Peer{ID: borne}, Store: b.store, VerifyChain: b.group.VerifyChain, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.Follow(ctx) }()
	eventually(t, "the grant to be remembered", func() bool { s := k.snap.Load(); return s != nil && s.grants[grant].grant.Hash == grant })
	must(t, b.m.Revoke(t.Context(), b.lastHash(), "m1.test"))
	began := time.Now()
	eventually(t, "the revocation to be remembered, though nobody asked", func() bool { _, there := k.snap.Load().grants[grant]; return !there })
	if took := time.Since(began); took > maxAge {
		t.Errorf("took %v, want at most %v", took, maxAge)
	}
	cancel()
	must(t, <-ended)
}
