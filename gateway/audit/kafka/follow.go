package kafka

import (
	"context"
	"maps"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

const (
	followPoll = 250 * time.Millisecond
	// followLate is how long after it was made a record may come into its topic and still be given, and how long an id is remembered to
	// give it once.
	followLate = 2 * time.Minute
)

// Follow gives the records that were made since a moment and those that come in from then on, each once, until ctx ends or each says
// no. begin is called when it is known where they start. Those of one moment come in no order.
func (r *Reader) Follow(ctx context.Context, since time.Time, begin func() error, each func(audit.Record) error) error {
	at, err := r.starts(ctx, since.Add(-followLate))
	if err != nil {
		return err
	}
	if err := begin(); err != nil {
		return err
	}
	given := map[string]time.Time{} // when each was given
	tick := time.NewTicker(followPoll)
	defer tick.Stop()
	for {
		ends, err := r.edges(ctx, kafkago.LastOffset)
		if err != nil {
			return err
		}
		now := time.Now()
		maps.DeleteFunc(given, func(_ string, when time.Time) bool { return now.Sub(when) > 2*followLate })
		for p, end := range ends {
			for at[p] < end {
				var failed error
				next, err := r.fetch(ctx, p.soort, p.partition, at[p], end, func(e audit.Entry) {
					if _, again := given[e.Record.ID]; again || failed != nil || e.Record.Tijd.Before(since) {
						return
					}
					given[e.Record.ID] = now
					failed = each(e.Record)
				})
				switch {
				case failed != nil:
					return failed
				case err != nil:
					return err
				case next == at[p]: // nothing came yet: it is looked at again
					end = next
				}
				at[p] = next
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// part is one partition of the topic of a kind.
type part struct {
	soort     audit.Soort
	partition int
}

// starts are the offsets of the first messages that are not older than from, in every partition of every kind.
func (r *Reader) starts(ctx context.Context, from time.Time) (map[part]int64, error) {
	last, err := r.edges(ctx, kafkago.LastOffset) // first: what comes in meanwhile is not passed over
	if err != nil {
		return nil, err
	}
	young, err := r.edges(ctx, from.UnixMilli())
	if err != nil {
		return nil, err
	}
	for p, offset := range young {
		if offset >= 0 {
			last[p] = min(last[p], offset)
		}
	}
	return last, nil
}

// edges asks for one offset of every partition of every kind: the last, or the first from a moment in milliseconds on, -1 if there is none.
func (r *Reader) edges(ctx context.Context, timestamp int64) (map[part]int64, error) {
	ask := map[string][]kafkago.OffsetRequest{}
	soorten := map[string]audit.Soort{}
	for _, s := range audit.Soorten() {
		n, err := r.partitions(ctx, s)
		if err != nil {
			return nil, err
		}
		topic := r.cfg.topic(s)
		soorten[topic] = s
		for p := range n {
			ask[topic] = append(ask[topic], kafkago.OffsetRequest{Partition: p, Timestamp: timestamp})
		}
	}
	resp, err := again(ctx, r.t, func() (*kafkago.ListOffsetsResponse, error) {
		return r.client.ListOffsets(ctx, &kafkago.ListOffsetsRequest{Topics: ask})
	})
	if err != nil {
		return nil, gateway.Wrap(gateway.Unavailable, err, "kafka: offsets")
	}
	all := map[part]int64{}
	for topic, s := range soorten {
		for _, p := range resp.Topics[topic] {
			if p.Error != nil {
				return nil, gateway.Wrap(gateway.Unavailable, p.Error, "kafka: offsets of topic "+topic)
			}
			offset := p.LastOffset
			if timestamp != kafkago.LastOffset {
				offset = -1
				if found := slices.Collect(maps.Keys(p.Offsets)); len(found) > 0 {
					offset = found[0]
				}
			}
			all[part{s, p.Partition}] = offset
		}
	}
	return all, nil
}
