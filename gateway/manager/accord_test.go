package manager

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway/store"
)

// shut lets one process at a time be alone, as a store of several processes does.
type shut struct {
	keeper
	door *sync.Mutex
}

func (s shut) Alone(ctx context.Context, _ string, do func(context.Context) error) (bool, error) {
	if !s.door.TryLock() {
		return false, nil
	}
	defer s.door.Unlock()
	return true, do(ctx)
}

// Two processes of one peer propose a contract that ends soon anew once.
func TestRenewalByTwoProcesses(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b, u := r.peers[borne].start(false), r.peers[uwi]
	u.options = func(o *Options) { o.RenewBefore = 40 * 24 * time.Hour }
	var door sync.Mutex
	u.faults = func(k keeper) keeper { return shut{k, &door} }
	u.start(false)
	c := r.content(r.connection(uwi, borne))
	u.agree(c)
	b.agree(c)
	count := func() int {
		all, err := u.m.List(t.Context())
		must(t, err)
		return len(all)
	}
	door.Lock() // another one is at it
	u.m.ownAccord(t.Context())
	door.Unlock()
	if n := count(); n != 1 {
		t.Fatalf("%d contracts while another process was at it, want 1", n)
	}
	managers := []*Manager{u.m}
	for range 3 {
		other, err := store.Open(t.Context(), store.Config{Pad: u.pad})
		must(t, err)
		defer other.Close()
		o := u.m.o
		o.Store = shut{other, &door}
		m, err := New(o)
		must(t, err)
		managers = append(managers, m)
	}
	var all sync.WaitGroup
	for _, m := range managers {
		all.Go(func() {
			for range 3 {
				m.ownAccord(t.Context())
			}
		})
	}
	all.Wait()
	if n := count(); n != 2 {
		t.Errorf("%d contracts, want the old one and one that follows it", n)
	}
}
