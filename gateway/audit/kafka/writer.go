package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
	"golang.org/x/sync/errgroup"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

// Writer ships entries to the cluster; it is a journal.Sink. It holds connections: Close it.
type Writer struct {
	cfg    Config
	kinds  map[audit.Soort]kind
	client *kafkago.Client
	t      *kafkago.Transport

	mu      sync.Mutex // guards what follows: the room of one Write is that of the next
	room    []*batch
	scratch []byte
}

// NewWriter makes a writer; it does not connect yet. The topics must exist: see EnsureTopics.
func NewWriter(cfg Config) (*Writer, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	if _, err := gateway.ParsePeerID(string(cfg.Organisation)); err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "kafka: organisation of the records")
	}
	t, err := cfg.transport()
	if err != nil {
		return nil, err
	}
	return &Writer{cfg: cfg, kinds: cfg.kinds(), t: t, client: &kafkago.Client{Addr: cfg.addr(), Timeout: cfg.Timeout, Transport: t}}, nil
}

// Write returns nil when all in-sync replicas have all entries. After an error some may be there: they come again, and readers
// drop what they have.
func (w *Writer) Write(ctx context.Context, entries []audit.Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var batches []*batch
	_, err := again(ctx, w.t, func() (leaders map[part]int, err error) {
		if leaders, err = w.leaders(ctx); err != nil {
			return nil, err
		}
		if batches == nil {
			if batches, err = w.batches(entries, leaders); err != nil {
				return nil, err
			}
		}
		return leaders, w.produce(ctx, batches, leaders)
	})
	if err != nil {
		w.t.CloseIdleConnections() // come again with what the cluster is then
		return w.cfg.explain(err, "write")
	}
	return nil
}

// leaders says which broker leads each partition. kafka-go keeps it for Config's MetadataTTL.
func (w *Writer) leaders(ctx context.Context) (map[part]int, error) {
	meta, err := w.client.Metadata(ctx, &kafkago.MetadataRequest{Topics: w.cfg.topics()})
	if err != nil {
		return nil, err
	}
	leaders := map[part]int{}
	for _, s := range audit.Soorten() {
		for _, t := range meta.Topics {
			if t.Name != w.cfg.topic(s) {
				continue
			}
			if t.Error != nil {
				return nil, t.Error
			}
			for _, p := range t.Partitions {
				leaders[part{s, p.ID}] = p.Leader.ID
			}
		}
	}
	return leaders, nil
}

// batches puts entries into batches by their partition, in order.
func (w *Writer) batches(entries []audit.Entry, leaders map[part]int) ([]*batch, error) {
	many := map[audit.Soort]int{}
	for p := range leaders {
		many[p.soort]++
	}
	var all []*batch
	filling := map[part]*batch{}
	for _, e := range entries {
		r := e.Record
		n := many[r.Soort]
		if n == 0 {
			return nil, kafkago.UnknownTopicOrPartition
		}
		p := part{r.Soort, partitionOf(key(r.Transactie, r.ID), n)}
		b := filling[p]
		if b == nil || b.full(len(r.Body)+messageOverhead) {
			if len(all) == len(w.room) {
				w.room = append(w.room, new(batch))
			}
			b = w.room[len(all)]
			b.reset(p)
			all, filling[p] = append(all, b), b
		}
		w.scratch = b.add(w.kinds[r.Soort], e, w.scratch)
	}
	return all, nil
}

// produce sends the batches that are not acknowledged to the leaders of their partitions, to all leaders at once.
func (w *Writer) produce(ctx context.Context, batches []*batch, leaders map[part]int) error {
	own := map[int][]*batch{}
	for _, b := range batches {
		if !b.acked {
			own[leaders[b.part]] = append(own[leaders[b.part]], b)
		}
	}
	var g errgroup.Group
	for _, some := range own {
		g.Go(func() error {
			for len(some) > 0 {
				var now, later []*batch
				seen := map[part]bool{}
				for _, b := range some { // a request takes one batch of each partition
					if seen[b.part] {
						later = append(later, b)
						continue
					}
					now, seen[b.part] = append(now, b), true
				}
				if err := w.send(ctx, now); err != nil {
					return err
				}
				some = later
			}
			return nil
		})
	}
	return g.Wait()
}

// send sends batches of different partitions with one leader in one request, and notes which were acknowledged.
func (w *Writer) send(ctx context.Context, batches []*batch) error {
	req := &rawproduce.Request{Acks: int16(kafkago.RequireAll), Timeout: int32(w.cfg.Timeout.Milliseconds())}
	at := map[string]int{} // in req.Topics
	sent := map[string]map[int32]*batch{}
	for _, b := range batches {
		raw, err := b.encode(compressions[w.cfg.Compression])
		if err != nil {
			return err
		}
		topic := w.kinds[b.part.soort].topic
		if sent[topic] == nil {
			at[topic], sent[topic] = len(req.Topics), map[int32]*batch{}
			req.Topics = append(req.Topics, rawproduce.RequestTopic{Topic: topic})
		}
		sent[topic][int32(b.part.partition)] = b
		t := &req.Topics[at[topic]]
		t.Partitions = append(t.Partitions, rawproduce.RequestPartition{
			Partition: int32(b.part.partition), RecordSet: protocol.RawRecordSet{Reader: bytes.NewReader(raw)},
		})
	}
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	resp, err := w.client.Transport.RoundTrip(ctx, w.client.Addr, req)
	if err != nil {
		return err
	}
	answer, ok := resp.(*produce.Response)
	if !ok {
		return fmt.Errorf("%T for an answer", resp)
	}
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				err = errors.Join(err, fmt.Errorf("topic %s, partition %d: %w", t.Topic, p.Partition, kafkago.Error(p.ErrorCode)))
			} else if b := sent[t.Topic][p.Partition]; b != nil {
				b.acked = true
			}
		}
	}
	for _, b := range batches {
		if err == nil && !b.acked {
			err = fmt.Errorf("topic %s, partition %d: not in the answer", w.kinds[b.part.soort].topic, b.part.partition)
		}
	}
	return err
}

// Close closes the connections.
func (w *Writer) Close() error {
	w.t.CloseIdleConnections()
	return nil
}

// EnsureTopics makes the topics that are missing: with the configured partitions and replication, and without an end to their
// retention. An existing topic with another number of partitions is refused with kind Invalid: transactions are found by it.
func EnsureTopics(ctx context.Context, cfg Config) error {
	cfg, err := cfg.complete()
	if err != nil {
		return err
	}
	t, err := cfg.transport()
	if err != nil {
		return err
	}
	defer t.CloseIdleConnections()
	client := &kafkago.Client{Addr: cfg.addr(), Timeout: cfg.Timeout, Transport: t}
	req := &kafkago.CreateTopicsRequest{}
	for _, s := range audit.Soorten() {
		req.Topics = append(req.Topics, kafkago.TopicConfig{
			Topic: cfg.topic(s), NumPartitions: cfg.Partitions, ReplicationFactor: cfg.Replication,
			ConfigEntries: []kafkago.ConfigEntry{
				{ConfigName: "min.insync.replicas", ConfigValue: strconv.Itoa(cfg.MinInsync)},
				{ConfigName: "retention.ms", ConfigValue: "-1"},
				{ConfigName: "cleanup.policy", ConfigValue: "delete"},
			},
		})
	}
	resp, err := client.CreateTopics(ctx, req)
	if err != nil {
		return gateway.Wrap(gateway.Unavailable, err, "kafka: make topics")
	}
	for topic, err := range resp.Errors {
		if err != nil && !errors.Is(err, kafkago.TopicAlreadyExists) {
			return gateway.Wrap(gateway.Unavailable, err, "kafka: make topic "+topic)
		}
	}
	for _, s := range audit.Soorten() {
		n, err := partitions(ctx, client, cfg.topic(s))
		if err != nil {
			return err
		}
		if n != cfg.Partitions {
			return gateway.Errorf(gateway.Invalid, "kafka: topic %s has %d partitions, the configuration says %d (partities): set it to %d; it can't change", cfg.topic(s), n, cfg.Partitions, n)
		}
	}
	return nil
}

func partitions(ctx context.Context, client *kafkago.Client, topic string) (int, error) {
	meta, err := client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return 0, gateway.Wrap(gateway.Unavailable, err, "kafka: metadata")
	}
	for _, t := range meta.Topics {
		if t.Name == topic && t.Error == nil && len(t.Partitions) > 0 {
			return len(t.Partitions), nil
		}
		if t.Name == topic && t.Error != nil {
			return 0, gateway.Wrap(gateway.Unavailable, t.Error, "kafka: topic "+topic)
		}
	}
	return 0, gateway.Wrap(gateway.Unavailable, fmt.Errorf("no topic %s", topic), "kafka: metadata")
}
