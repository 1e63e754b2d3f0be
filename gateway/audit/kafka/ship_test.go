package kafka_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/journal"
	"github.com/grensloos/grensloos/gateway/audit/kafka"
)

// BenchmarkShip is the whole way of a record at the pace of a busy peer: 32 writers append what a question leaves at an outway, 4,000 records
// a second in all, and the journal ships them to the embedded broker. Beside it the same into nothing: the difference is what shipping costs.
func BenchmarkShip(b *testing.B) {
	for _, shipped := range []bool{false, true} {
		name := map[bool]string{false: "to=nothing", true: "to=broker"}[shipped]
		b.Run(name, func(b *testing.B) {
			sink := journal.Sink(nothing{})
			if shipped {
				k := broker(b, kafka.BrokerConfig{Dir: b.TempDir()})
				defer func() { _ = k.Close() }()
				sink, _ = connect(b, k.Config())
			}
			j, err := journal.Open(journal.Config{Dir: b.TempDir()}, quiet(), time.Now)
			if err != nil {
				b.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- j.Ship(context.Background(), sink) }()
			questions := make([][][]audit.Record, 1000)
			for i := range questions {
				questions[i] = question(start.Add(time.Duration(i) * time.Millisecond))
			}
			const pace, perQuestion = 4000, 4
			work := make(chan [][]audit.Record, 1000)
			var writers sync.WaitGroup
			for range 32 {
				writers.Go(func() {
					for question := range work {
						for _, recs := range question {
							if err := j.Append(context.Background(), recs...); err != nil {
								b.Error(err)
							}
						}
					}
				})
			}
			b.ResetTimer()
			before, begun := cpu(b), time.Now()
			for i := range b.N { // one question each
				time.Sleep(time.Until(begun.Add(time.Duration(i) * perQuestion * time.Second / pace).Truncate(time.Millisecond)))
				work <- questions[i%len(questions)]
			}
			close(work)
			writers.Wait()
			if err := j.Close(context.Background()); err != nil { // all is shipped then
				b.Fatal(err)
			}
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N*perQuestion), "cpu-us/record")
			b.ReportMetric(float64(b.N*perQuestion)/b.Elapsed().Seconds(), "records/s")
			if err := <-ended; err != nil {
				b.Fatal(err)
			}
		})
	}
}

// question is what a question leaves at an outway, append by append: as many bytes as a real one, as much of them the same in the next.
func question(at time.Time) [][]audit.Record {
	_, recs := exchange(at)
	transactie, adl, kwitantie, afloop := recs[0], recs[1], recs[3], recs[4]
	same := rand.New(rand.NewPCG(1, 2))
	adl.Body = slices.Concat(adl.Body[:len(adl.Body)-1], []byte(`,"vulling":"`+letters(same, 600)+`"}`))
	jws := letters(rand.New(rand.NewPCG(1, uint64(at.UnixNano()))), 500) + letters(same, 2500)
	kwitantie.Body = bytes.Replace(kwitantie.Body, []byte("e30.e30.c2ln"), []byte(jws), 1)
	return [][]audit.Record{{adl, transactie}, {kwitantie}, {afloop}}
}

func letters(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[r.IntN(64)]
	}
	return string(b)
}

type nothing struct{}

func (nothing) Write(context.Context, []journal.Entry) error { return nil }

// cpu is the processor time of this process.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
