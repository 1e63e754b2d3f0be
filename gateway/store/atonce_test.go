package store

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contactpersoon"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/toestemming"
)

// rounds is how often each race is run: without the lock of its area, most lose within a few.
const rounds = 15

// together runs all of do at the same moment, each on one of two stores, as two processes.
func together(stores []*Store, do ...func(*Store)) {
	start := make(chan struct{})
	var all sync.WaitGroup
	for i, f := range do {
		all.Go(func() {
			<-start
			f(stores[i%len(stores)])
		})
	}
	close(start)
	all.Wait()
}

// What two processes do to the same thing at the same moment is as if one had come after the other.
func TestAtOnce(t *testing.T) {
	two := func(t *testing.T) []*Store {
		pad := filepath.Join(t.TempDir(), "peer.db")
		return []*Store{openAt(t, pad), openAt(t, pad)}
	}
	t.Run("one signature is added once", func(t *testing.T) {
		stores := two(t)
		for n := range rounds {
			c := proposal(t, n, now, "a")
			const many = 6
			var mu sync.Mutex
			added := 0
			sign := func(s *Store) {
				adds, err := s.Sign(t.Context(), c, signed(c, uwi, contract.Accept, "x", now), []contract.Delivery{{Receiver: borne, Next: now}})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("Sign: %v", err)
				}
				if adds {
					added++
				}
				if _, err := s.Contract(t.Context(), c.Hash()); err != nil {
					t.Errorf("read after Sign: %v", err)
				}
			}
			together(stores, sign, sign, sign, sign, sign, sign)
			if changes, err := stores[0].Changes(t.Context()); added != 1 || err != nil || changes != int64(n+1) {
				t.Fatalf("round %d: %d of %d added it, %d changes, %v", n, added, many, changes, err)
			}
		}
	})
	t.Run("the newer of two signatures stays", func(t *testing.T) {
		stores := two(t)
		for n := range rounds {
			c := proposal(t, n, now, "a")
			mustSign(t, stores[0], c, signed(c, borne, contract.Accept, "x", now))
			mustSign(t, stores[1], c, signed(c, uwi, contract.Accept, "oldest", now.Add(-time.Hour)))
			sign := func(x5t string, at time.Time) func(*Store) {
				return func(s *Store) {
					if _, err := s.Sign(t.Context(), c, signed(c, uwi, contract.Accept, x5t, at), nil); err != nil {
						t.Errorf("Sign: %v", err)
					}
				}
			}
			// Without the lock the older one, if it read before the newer one was written, takes its place.
			together(stores, sign("new", now.Add(time.Hour)), sign("old", now))
			rec, err := stores[1].Contract(t.Context(), c.Hash())
			if got, _ := rec.Of(uwi, contract.Accept); err != nil || got.X5T != "new" {
				t.Fatalf("round %d: %q stays, %v", n, got.X5T, err)
			}
		}
	})
	t.Run("a delivery is claimed once", func(t *testing.T) {
		stores := two(t)
		for n := range rounds {
			for i := range 4 {
				c := proposal(t, 4*n+i, now, "a")
				mustSign(t, stores[0], c, signed(c, uwi, contract.Accept, "x", now), contract.Delivery{Receiver: borne, Next: now}, contract.Delivery{Receiver: derde, Next: now})
			}
			var mu sync.Mutex
			times := map[int64]int{}
			claim := func(s *Store) {
				got, err := s.ClaimDeliveries(t.Context(), now, now.Add(time.Minute), 10)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("claim: %v", err)
				}
				for _, d := range got {
					times[d.ID]++
				}
			}
			together(stores, claim, claim, claim, claim)
			for id, times := range times {
				if times != 1 {
					t.Fatalf("round %d: delivery %d was claimed %d times", n, id, times)
				}
			}
			if len(times) != 8 {
				t.Fatalf("round %d: %d claimed, want 8", n, len(times))
			}
		}
	})
	t.Run("a withdrawal outlives a confirmation", func(t *testing.T) {
		stores, who := two(t), keys(t).Pseudonym(bsn(t, "999000019"))
		for n := range rounds {
			c := consent(t, who, "doorverwijzing-welzijn", uwi)
			if err := stores[0].Geef(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			must := func(err error) {
				if err != nil {
					t.Error(err)
				}
			}
			took := c
			took.BevestigdOp = now.Add(2 * time.Hour)
			together(stores,
				func(s *Store) { must(s.TrekIn(t.Context(), c.ID, now.Add(time.Hour))) },
				func(s *Store) { must(s.Bevestig(t.Context(), c.ID, now.Add(time.Hour))) },
				func(s *Store) { _, err := s.NeemOver(t.Context(), []toestemming.Toestemming{took}); must(err) })
			got, err := stores[1].Toestemming(t.Context(), c.ID)
			if err != nil || !got.Ingetrokken.Equal(now.Add(time.Hour)) || got.BevestigdOp.IsZero() {
				t.Fatalf("round %d: withdrawn %v, confirmed %v, %v", n, got.Ingetrokken, got.BevestigdOp, err)
			}
		}
	})
	t.Run("no more reports than there is room for", func(t *testing.T) {
		stores, who := two(t), keys(t).Pseudonym(bsn(t, "999000019"))
		if _, err := stores[0].write.ExecContext(t.Context(), `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
			INSERT INTO terugmeldingen (kant, `+terugmeldingColumns+`) SELECT 'bron', 'x' || i, 't', 'd', 'v', 'r', '', 'd', 'z', 'zt', '`+string(uwi)+`', 'b', 'm', '', 'ontvangen', '', 1, 1 FROM n`,
			MaxOpenMeldingen-1); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		taken := 0
		take := func(s *Store) {
			m, err := report(t, "m1.a", now).Ontvang(who, now)
			if err != nil {
				t.Error(err)
				return
			}
			_, err = s.NeemAan(t.Context(), m)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				taken++
			} else if gateway.KindOf(err) != gateway.Conflict {
				t.Error(err)
			}
		}
		together(stores, take, take, take, take, take, take)
		if taken != 1 {
			t.Errorf("%d taken, want 1", taken)
		}
	})
	t.Run("a directory is kept whole", func(t *testing.T) {
		stores := two(t)
		list := func(n string) ([]contract.KnownPeer, []contract.Listing) {
			peers := []contract.KnownPeer{
				{Peer: gateway.Peer{ID: borne, Name: n}, Address: "https://" + n, Origin: contract.Listed}, {Peer: gateway.Peer{ID: gateway.PeerID("p" + n), Name: n}, Origin: contract.Listed},
			}
			return peers, []contract.Listing{{Peer: peers[0], Service: "s", Directory: uwi}, {Peer: peers[1], Service: "s", Directory: uwi}}
		}
		put := func(n string) func(*Store) {
			return func(s *Store) {
				peers, services := list(n)
				if err := s.PutDirectory(t.Context(), uwi, peers, services); err != nil {
					t.Error(err)
				}
				if err := s.SetLeft(t.Context(), now); err != nil {
					t.Error(err)
				}
			}
		}
		for range rounds {
			together(stores, put("a"), put("b"), put("c"))
			peers, services, err := stores[0].Directory(t.Context(), uwi)
			if err != nil || len(peers) != 2 {
				t.Fatalf("%v, %v", peers, err)
			}
			wantPeers, wantServices := list(peers[0].Name)
			if diff := cmp.Diff(wantPeers, peers) + cmp.Diff(wantServices, services); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
		}
	})
}

// A contact that was assigned, by a call whose answer was lost, is assigned: asking again says so.
func TestContactAssignedAgain(t *testing.T) {
	s := open(t)
	c, personen := contact(t, "HH-1", "999000019")
	for range 2 {
		if err := s.WijsToe(t.Context(), c, personen); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Contactpersonen(t.Context(), false, "", 10)
	if diff := cmp.Diff([]contactpersoon.Contactpersoon{c}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	other := c
	other.Huishouden = "HH-2"
	if err := s.WijsToe(t.Context(), other, personen); err == nil {
		t.Error("another one under the same id was taken")
	}
}

// One process does what may not be done twice. On SQLite there is one process.
func TestAlone(t *testing.T) {
	pad := filepath.Join(t.TempDir(), "peer.db")
	a, b := openAt(t, pad), openAt(t, pad)
	mine := errors.New("mine")
	did, err := a.Alone(t.Context(), "x", func(ctx context.Context) error {
		done := false
		also, err := b.Alone(ctx, "x", func(context.Context) error { done = true; return nil })
		if also != done || err != nil {
			t.Errorf("meanwhile: did %v, done %v, %v", also, done, err)
		}
		if _, one := a.engine.(*sqlite); also && !one {
			t.Error("two at once")
		}
		if also, err := b.Alone(ctx, "y", func(context.Context) error { return nil }); !also || err != nil {
			t.Errorf("something else meanwhile: %v %v", also, err)
		}
		return mine
	})
	if !did || !errors.Is(err, mine) {
		t.Errorf("did %v, %v", did, err)
	}
	if did, err := b.Alone(t.Context(), "x", func(context.Context) error { return nil }); !did || err != nil {
		t.Errorf("afterwards: %v %v", did, err)
	}
}
