package kafka

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

// Records of before are looked for where kafka-go's Writer put them.
func TestPartitionOf(t *testing.T) {
	for _, n := range []int{1, 3, 12} {
		all := make([]int, n)
		for p := range all {
			all[p] = p
		}
		for i := range 1000 {
			key := fmt.Sprintf("key-%d", i)
			if got, want := partitionOf(key, n), (&kafkago.Hash{}).Balance(kafkago.Message{Key: []byte(key)}, all...); got != want {
				t.Fatalf("partitionOf(%q, %d) = %d, want %d", key, n, got, want)
			}
		}
	}
}

// answers alters what the broker answers to what is produced.
type answers struct {
	kafkago.RoundTripper
	alter    func(request int, p *produce.Response)
	requests []int // partitions in each
}

func (a *answers) RoundTrip(ctx context.Context, addr net.Addr, req kafkago.Request) (kafkago.Response, error) {
	resp, err := a.RoundTripper.RoundTrip(ctx, addr, req)
	if r, ok := req.(*rawproduce.Request); ok && err == nil {
		n := 0
		for _, t := range r.Topics {
			n += len(t.Partitions)
		}
		a.requests = append(a.requests, n)
		a.alter(len(a.requests), resp.(*produce.Response))
	}
	return resp, err
}

// Write says nil when every partition was acknowledged, and sends again only those that were not.
func TestEveryPartitionIsAcknowledged(t *testing.T) {
	b, err := StartBroker(BrokerConfig{Dir: t.TempDir()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	cfg := b.Config()
	cfg.Organisation = "00000099000000147000"
	if err := EnsureTopics(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	var entries []audit.Entry
	for i := range 50 { // in all three partitions
		at := time.Now().Add(time.Duration(i) * time.Second)
		entries = append(entries, audit.Entry{Journal: "j", Seq: uint64(i + 1), Record: audit.NewAfloop(at, audit.Outcome{Transactie: gateway.NewTransactionID(at)})})
	}
	refuse := func(code kafkago.Error) func(*produce.Response) {
		return func(p *produce.Response) { p.Topics[0].Partitions[0].ErrorCode = int16(code) }
	}
	leaveOut := func(p *produce.Response) { p.Topics[0].Partitions = p.Topics[0].Partitions[1:] }
	for _, c := range []struct {
		name     string
		alter    func(*produce.Response)
		times    int
		want     gateway.Kind // 0: kept
		requests []int
	}{
		{"all", nil, 0, 0, []int{3}},
		{"refused once", refuse(kafkago.NotLeaderForPartition), 1, 0, []int{3, 1}},
		{"left out once", leaveOut, 1, 0, []int{3, 1}},
		{"refused", refuse(kafkago.TopicAuthorizationFailed), 9, gateway.Denied, []int{3, 1, 1}},
		{"left out", leaveOut, 9, gateway.Unavailable, []int{3, 1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := NewWriter(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			a := &answers{RoundTripper: w.client.Transport, alter: func(request int, p *produce.Response) {
				if request <= c.times {
					c.alter(p)
				}
			}}
			w.client.Transport = a
			err = w.Write(t.Context(), entries)
			if (err == nil) != (c.want == 0) || err != nil && gateway.KindOf(err) != c.want {
				t.Errorf("Write = %v, want kind %v", err, c.want)
			}
			if fmt.Sprint(a.requests) != fmt.Sprint(c.requests) {
				t.Errorf("partitions in the requests: %v, want %v", a.requests, c.requests)
			}
		})
	}
}
