package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

// Writer ships entries to the cluster; it is a journal.Sink. It holds connections: Close it.
type Writer struct {
	cfg   Config
	kinds map[audit.Soort]kind
	w     *kafkago.Writer
	t     *kafkago.Transport
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
	return &Writer{cfg: cfg, kinds: cfg.kinds(), t: t, w: &kafkago.Writer{
		Addr:         cfg.addr(),
		Transport:    t,
		Balancer:     &kafkago.Hash{},
		RequiredAcks: kafkago.RequireAll,
		Compression:  compressions[cfg.Compression],
		BatchSize:    1000,
		BatchBytes:   950 << 10,            // brokers take 1 MiB with what the protocol adds
		BatchTimeout: 2 * time.Millisecond, // the default of 1 s is waited out by every Write
		MaxAttempts:  2,                    // the journal comes again, with back-off
		ReadTimeout:  cfg.Timeout,
		WriteTimeout: cfg.Timeout,
	}}, nil
}

// Write returns nil when all in-sync replicas have all entries. After an error some may be there: they come again, and readers
// drop what they have.
func (w *Writer) Write(ctx context.Context, entries []audit.Entry) error {
	messages, journal := make([]kafkago.Message, len(entries)), []byte(nil)
	for i, e := range entries {
		if i == 0 || e.Journal != entries[i-1].Journal {
			journal = []byte(e.Journal)
		}
		messages[i] = w.kinds[e.Record.Soort].message(e, journal)
	}
	if err := w.w.WriteMessages(ctx, messages...); err != nil {
		w.t.CloseIdleConnections() // come again with what the cluster is then
		return w.cfg.explain(first(err), "write")
	}
	return nil
}

// first takes one error out of kafka-go's list with one per message.
func first(err error) error {
	if all, ok := errors.AsType[kafkago.WriteErrors](err); ok {
		for _, e := range all {
			if e != nil {
				return e
			}
		}
	}
	return err
}

// Close closes the connections.
func (w *Writer) Close() error {
	err := w.w.Close()
	w.t.CloseIdleConnections()
	return err
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
