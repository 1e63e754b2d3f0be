package bevraging

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/grensloos/grensloos/gateway"
)

// sloten bound what is under way at once: questions, requests to one gemeente, and requests to all. A request that must wait is an
// entry in a queue, not a goroutine: fifty questions to the whole country are seventeen thousand of them.
type sloten struct {
	vragen      chan struct{}
	perGemeente int

	mu       sync.Mutex              // guards what follows, and every rij and wachter
	vrij     int                     // requests that may still start
	gemeente map[gateway.PeerID]*rij // has an entry per peer that was ever asked
	klaar    []*rij                  // with a request that waits and room for it at its gemeente, in turn
}

// rij is what is under way to one gemeente and what waits.
type rij struct {
	onderweg int
	wacht    []*wachter
	klaar    bool // stands in sloten.klaar
}

// wachter is a request and what becomes of it: do is called once, with whether it may be sent.
type wachter struct {
	do      func(ok bool)
	geweest bool
}

func newSloten(c Config) *sloten {
	return &sloten{
		vragen: make(chan struct{}, c.MaxVragen), vrij: c.MaxVerzoeken, perGemeente: c.MaxPerGemeente, gemeente: map[gateway.PeerID]*rij{},
	}
}

// vraag takes the slot of a question, if there is one at this moment.
func (s *sloten) vraag() (free func(), ok bool) {
	select {
	case s.vragen <- struct{}{}:
		return func() { <-s.vragen }, true
	default:
		return nil, false
	}
}

// verzoek calls do(true) in a goroutine of its own as soon as there is a slot for a request to this gemeente; the slot is free again
// when do returns.
func (s *sloten) verzoek(id gateway.PeerID, do func(ok bool)) *wachter {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.gemeente[id]
	if r == nil {
		r = &rij{}
		s.gemeente[id] = r
	}
	w := &wachter{do: do}
	r.wacht = append(r.wacht, w)
	s.begin(r)
	return w
}

// vergeet calls do(false) for those that still wait.
func (s *sloten) vergeet(all []*wachter) {
	s.mu.Lock()
	var left []*wachter
	for _, w := range all {
		if !w.geweest {
			w.geweest = true // it leaves its queue when its turn comes
			left = append(left, w)
		}
	}
	s.mu.Unlock()
	for _, w := range left {
		w.do(false)
	}
}

// begin starts what can start now that something changed for one gemeente. s.mu is held.
func (s *sloten) begin(changed *rij) {
	for r := changed; ; {
		for len(r.wacht) > 0 && r.wacht[0].geweest {
			r.wacht = r.wacht[1:]
		}
		if !r.klaar && len(r.wacht) > 0 && r.onderweg < s.perGemeente {
			r.klaar = true
			s.klaar = append(s.klaar, r)
		}
		if s.vrij == 0 || len(s.klaar) == 0 {
			return
		}
		r = s.klaar[0]
		s.klaar, r.klaar = s.klaar[1:], false
		if len(r.wacht) == 0 || r.wacht[0].geweest {
			continue // who waited was forgotten meanwhile
		}
		w := r.wacht[0]
		r.wacht, w.geweest = r.wacht[1:], true
		r.onderweg++
		s.vrij--
		go func() {
			defer s.klaarMet(r)
			w.do(true)
		}()
	}
}

// klaarMet gives back the slot of a request.
func (s *sloten) klaarMet(r *rij) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.onderweg--
	s.vrij++
	s.begin(r)
}

var errTotaal = errors.New("the answers together are larger than allowed")

// geteld reads an answer at the cost of what all answers of the question may have together.
type geteld struct {
	io.Reader
	rest *atomic.Int64
	read int64
}

func (g *geteld) Read(p []byte) (int, error) {
	n, err := g.Reader.Read(p)
	g.read += int64(n)
	if g.rest.Add(-int64(n)) < 0 {
		return n, errTotaal
	}
	return n, err
}

// terug gives back the cost of an answer that is not kept.
func (g *geteld) terug() { g.rest.Add(g.read) }
