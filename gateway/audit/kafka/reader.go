package kafka

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

// Reader reads records back. It holds connections: Close it.
type Reader struct {
	cfg    Config
	client *kafkago.Client
	t      *kafkago.Transport

	mu    sync.Mutex     // guards parts
	parts map[string]int // partitions by topic; they never change
}

// NewReader makes a reader; it does not connect yet.
func NewReader(cfg Config) (*Reader, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	t, err := cfg.transport()
	if err != nil {
		return nil, err
	}
	return &Reader{
		cfg: cfg, t: t, parts: map[string]int{},
		client: &kafkago.Client{Addr: cfg.addr(), Timeout: cfg.Timeout, Transport: t},
	}, nil
}

// Close closes the connections.
func (r *Reader) Close() error {
	r.t.CloseIdleConnections()
	return nil
}

// Transaction gives the records of one transaction in order of time, each once; none is no error. It reads, in the one partition
// of its key, from somewhat before the time in the id until Config.Window after it. Not found are records under an id whose
// time is further off than that from when they were made: an inway refuses such an id, so it is at most an afloop.
func (r *Reader) Transaction(ctx context.Context, id gateway.TransactionID) ([]audit.Record, error) {
	if _, err := gateway.ParseTransactionID(string(id)); err != nil {
		return nil, err
	}
	from, until := id.Time().Add(-skew), id.Time().Add(r.cfg.Window)
	kinds := slices.DeleteFunc(audit.Soorten(), func(s audit.Soort) bool { return s == audit.Beheer }) // acts have no transaction
	found := make([][]audit.Entry, len(kinds))
	g, ctx := errgroup.WithContext(ctx)
	for i, s := range kinds {
		g.Go(func() error {
			n, err := r.partitions(ctx, s)
			if err != nil {
				return err
			}
			return r.read(ctx, s, partitionOf(key(id, ""), n), from, until, func(e audit.Entry) {
				if e.Record.Transactie == id {
					found[i] = append(found[i], e)
				}
			})
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return records(slices.Concat(found...)), nil
}

// Beheer gives the management acts from, up to but not including, until, in order of time, each once.
func (r *Reader) Beheer(ctx context.Context, from, until time.Time) ([]audit.Record, error) {
	// A journal may ship late; what stands after until in the topic can still be of before it, and is at most Window late.
	all, err := r.entries(ctx, audit.Beheer, from, until.Add(r.cfg.Window))
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(e audit.Entry) bool {
		return e.Record.Tijd.Before(from) || !e.Record.Tijd.Before(until)
	})
	return records(all), nil
}

// All gives every record of a kind in order of time, each once. It reads the whole topic: for tests, counts and exports.
func (r *Reader) All(ctx context.Context, s audit.Soort) ([]audit.Record, error) {
	all, err := r.entries(ctx, s, time.Time{}, time.Time{})
	return records(all), err
}

// Entries gives every entry of every kind, each once, ordered by journal and sequence: what audit.CheckChain takes, one journal
// at a time. It reads all topics whole.
func (r *Reader) Entries(ctx context.Context) ([]audit.Entry, error) {
	var all []audit.Entry
	for _, s := range audit.Soorten() {
		part, err := r.entries(ctx, s, time.Time{}, time.Time{})
		if err != nil {
			return nil, err
		}
		all = append(all, part...)
	}
	slices.SortFunc(all, func(a, b audit.Entry) int {
		if a.Journal != b.Journal {
			if a.Journal < b.Journal {
				return -1
			}
			return 1
		}
		return compare(a.Seq, b.Seq)
	})
	return all, nil
}

func (r *Reader) entries(ctx context.Context, s audit.Soort, from, until time.Time) ([]audit.Entry, error) {
	n, err := r.partitions(ctx, s)
	if err != nil {
		return nil, err
	}
	var all []audit.Entry
	seen := map[string]bool{}
	for p := range n {
		err := r.read(ctx, s, p, from, until, func(e audit.Entry) {
			if !seen[e.Record.ID] {
				seen[e.Record.ID] = true
				all = append(all, e)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// records drops repeated record ids and sorts by time, then journal order.
func records(all []audit.Entry) []audit.Record {
	slices.SortStableFunc(all, func(a, b audit.Entry) int {
		if c := a.Record.Tijd.Compare(b.Record.Tijd); c != 0 {
			return c
		}
		return compare(a.Seq, b.Seq)
	})
	seen := map[string]bool{}
	var recs []audit.Record
	for _, e := range all {
		if !seen[e.Record.ID] {
			seen[e.Record.ID] = true
			recs = append(recs, e.Record)
		}
	}
	return recs
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (r *Reader) partitions(ctx context.Context, s audit.Soort) (int, error) {
	topic := r.cfg.topic(s)
	r.mu.Lock()
	n := r.parts[topic]
	r.mu.Unlock()
	if n > 0 {
		return n, nil
	}
	n, err := again(ctx, r.t, func() (int, error) { return partitions(ctx, r.client, topic) })
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	r.parts[topic] = n
	r.mu.Unlock()
	return n, nil
}

// read gives the entries of one partition between two times (zero: no bound) up to what is there when it begins. The times are
// those of the messages, which need not be in order: from is the first message that is not older, until the first that is.
func (r *Reader) read(ctx context.Context, s audit.Soort, partition int, from, until time.Time, fn func(audit.Entry)) error {
	topic := r.cfg.topic(s)
	end, err := r.offset(ctx, topic, kafkago.LastOffsetOf(partition))
	if err != nil {
		return err
	}
	var at int64
	if from.IsZero() {
		at, err = r.offset(ctx, topic, kafkago.FirstOffsetOf(partition))
	} else {
		at, err = r.offset(ctx, topic, kafkago.TimeOffsetOf(partition, from))
	}
	if err != nil || at < 0 {
		return err
	}
	if !until.IsZero() {
		stop, err := r.offset(ctx, topic, kafkago.TimeOffsetOf(partition, until))
		if err != nil {
			return err
		}
		if stop >= 0 {
			end = min(end, stop)
		}
	}
	for idle := 0; at < end; {
		next, err := r.fetch(ctx, s, partition, at, end, fn)
		if err != nil {
			return err
		}
		if next > at {
			at, idle = next, 0
			continue
		}
		if idle++; idle > 5 {
			return gateway.Errorf(gateway.Unavailable, "kafka: topic %s, partition %d: nothing comes at offset %d of %d", topic, partition, at, end)
		}
	}
	return nil
}

// fetch gives the entries of one answer of the broker from at up to end, and the offset to go on from.
func (r *Reader) fetch(ctx context.Context, s audit.Soort, partition int, at, end int64, fn func(audit.Entry)) (int64, error) {
	topic := r.cfg.topic(s)
	resp, err := again(ctx, r.t, func() (*kafkago.FetchResponse, error) {
		resp, err := r.client.Fetch(ctx, &kafkago.FetchRequest{
			Topic: topic, Partition: partition, Offset: at, MinBytes: 1, MaxBytes: 4 << 20, MaxWait: 500 * time.Millisecond,
		})
		if err == nil {
			err = resp.Error
		}
		return resp, err
	})
	if err != nil {
		return at, gateway.Wrap(gateway.Unavailable, err, "kafka: read topic "+topic)
	}
	for {
		m, err := resp.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return at, nil
		}
		if err != nil {
			return at, gateway.Wrap(gateway.Unavailable, err, "kafka: read topic "+topic)
		}
		switch {
		case m.Offset < at: // a batch is sent whole
			continue
		case m.Offset >= end:
			return end, nil
		}
		e, err := entry(topic, s, m)
		if err != nil {
			return at, err
		}
		at = m.Offset + 1
		fn(e)
	}
}

// again does a read, and does it anew on new connections if it breaks: after a restart of a broker those of before are dead, and
// kafka-go finds out only by using them.
func again[T any](ctx context.Context, t *kafkago.Transport, do func() (T, error)) (T, error) {
	v, err := do()
	for range 2 {
		if err == nil || ctx.Err() != nil {
			break
		}
		t.CloseIdleConnections()
		v, err = do()
	}
	return v, err
}

// offset asks for one offset of one partition; -1 if there is no message as young as that.
func (r *Reader) offset(ctx context.Context, topic string, q kafkago.OffsetRequest) (int64, error) {
	resp, err := again(ctx, r.t, func() (*kafkago.ListOffsetsResponse, error) {
		return r.client.ListOffsets(ctx, &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{topic: {q}}})
	})
	if err != nil {
		return 0, gateway.Wrap(gateway.Unavailable, err, "kafka: offsets of topic "+topic)
	}
	for _, p := range resp.Topics[topic] {
		if p.Error != nil {
			return 0, gateway.Wrap(gateway.Unavailable, p.Error, "kafka: offsets of topic "+topic)
		}
		switch q.Timestamp {
		case kafkago.FirstOffset:
			return p.FirstOffset, nil
		case kafkago.LastOffset:
			return p.LastOffset, nil
		}
		for offset := range p.Offsets {
			return offset, nil
		}
	}
	return -1, nil
}
