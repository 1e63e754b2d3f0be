package bevraging

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/grensloos/grensloos/gateway"
)

// sloten bound what is under way at once: questions, requests to one gemeente, and requests to all.
type sloten struct {
	vragen, verzoeken chan struct{}
	perGemeente       int

	mu       sync.Mutex // guards gemeente, which has an entry per peer that was ever asked
	gemeente map[gateway.PeerID]chan struct{}
}

func newSloten(c Config) *sloten {
	return &sloten{
		vragen: make(chan struct{}, c.MaxVragen), verzoeken: make(chan struct{}, c.MaxVerzoeken), perGemeente: c.MaxPerGemeente,
		gemeente: map[gateway.PeerID]chan struct{}{},
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

// verzoek takes the slots of one request to a gemeente, and waits for them until ctx ends.
func (s *sloten) verzoek(ctx context.Context, id gateway.PeerID) (free func(), ok bool) {
	s.mu.Lock()
	own := s.gemeente[id]
	if own == nil {
		own = make(chan struct{}, s.perGemeente)
		s.gemeente[id] = own
	}
	s.mu.Unlock()
	if !take(ctx, own) {
		return nil, false
	}
	if !take(ctx, s.verzoeken) {
		<-own
		return nil, false
	}
	return func() { <-s.verzoeken; <-own }, true
}

// take takes a slot that is free also when ctx has ended.
func take(ctx context.Context, slot chan struct{}) bool {
	select {
	case slot <- struct{}{}:
		return true
	default:
	}
	select {
	case slot <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
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
