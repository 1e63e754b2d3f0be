package main

import (
	"context"
	"fmt"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/journal"
	"github.com/grensloos/grensloos/gateway/audit/kafka"
	"github.com/grensloos/grensloos/gateway/beheer"
)

// topicSink is what the journal ships to: a cluster that may be away when this process starts. It is made sure of that it is the right
// one with the right topics before the first record goes, and after each failure.
type topicSink struct {
	ensure func(context.Context) error
	writer journal.Sink
	ok     bool // set by the one goroutine at a time that uses it: openAudit, then Ship
}

func (s *topicSink) ready(ctx context.Context) error {
	if s.ok {
		return nil
	}
	err := s.ensure(ctx)
	s.ok = err == nil
	return err
}

func (s *topicSink) Write(ctx context.Context, entries []journal.Entry) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	err := s.writer.Write(ctx, entries)
	s.ok = err == nil
	return err
}

// shipped reads the audit log after what was journalled up to this moment has reached it, so that a reader never misses a record
// that was there when it asked.
type shipped struct {
	journal *journal.Journal
	reader  *kafka.Reader
}

const (
	shipWithin = 5 * time.Second
	shipPoll   = 5 * time.Millisecond
)

func (s shipped) Transaction(ctx context.Context, id gateway.TransactionID) ([]audit.Record, error) {
	asked := time.Now()
	deadline, cancel := context.WithTimeout(ctx, shipWithin)
	defer cancel()
	tick := time.NewTicker(shipPoll)
	defer tick.Stop()
	err := s.journal.Settle(deadline)
	for err == nil {
		if lag, age := s.journal.Lag(); lag == 0 || age < time.Since(asked) {
			return s.reader.Transaction(ctx, id)
		}
		select {
		case <-tick.C:
		case <-deadline.Done():
			err = deadline.Err()
		}
	}
	return nil, &gateway.Error{Kind: gateway.Unavailable, Cause: err, Message: fmt.Sprintf("the audit log has not caught up with the journal within %v; is the broker there? Try again", shipWithin)}
}

// followedElsewhere gives the records of all processes of this peer, as they come into the audit stream.
type followedElsewhere struct {
	reader *kafka.Reader
	watch  *watchers
}

// Volg is what beheer asks for.
func (f followedElsewhere) Volg(ctx context.Context, since time.Time, begin func(time.Time) error, each func(audit.Record) error) error {
	one, err := f.watch.add() // for the end of this process, and the bound of how many follow
	if err != nil {
		return err
	}
	defer f.watch.remove(one)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		for range one.records { // our own come in the stream too
		}
		if one.stopped {
			cancel(beheer.ErrPeerStopt)
		}
	}()
	err = f.reader.Follow(ctx, since, func() error { return begin(since) }, each)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
