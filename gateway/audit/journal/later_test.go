package journal_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/journal"
)

// What nothing waits for is written with what comes next, before it, and by itself when nothing comes.
func TestLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, writes := small(t), 0
		cfg.Fault = func(step string) error {
			if step == journal.BeforeWrite {
				writes++
			}
			return nil
		}
		j := open(t, cfg)
		var want []audit.Record
		for i := range 6 {
			want = append(want, rec(i))
		}
		for _, r := range want[:2] {
			if err := j.Later(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if writes != 0 || len(entries(t, j)) != 0 {
			t.Errorf("written before anything came: %d writes", writes)
		}
		mustAppend(t, j, want[2])
		if writes != 1 {
			t.Errorf("%d writes for all, want 1", writes)
		}
		if diff := cmp.Diff(want[:3], records(entries(t, j))); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		if err := j.Later(t.Context(), want[3:5]...); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
		synctest.Wait()
		if diff := cmp.Diff(want[:5], records(entries(t, j))); diff != "" {
			t.Errorf("nothing came for 5 ms: -want +got\n%s", diff)
		}
		if err := j.Later(t.Context(), want[5]); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		cfg.Fault = nil
		if diff := cmp.Diff(want, records(entries(t, open(t, cfg)))); diff != "" {
			t.Errorf("closed at once: -want +got\n%s", diff)
		}
	})
}

// Who must see all that was taken waits for what nothing else waits for.
func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small(t)
		goOn := make(chan struct{})
		writing := make(chan struct{}, 9)
		cfg.Fault = func(step string) error {
			if step == journal.BeforeWrite {
				writing <- struct{}{}
				<-goOn
			}
			return nil
		}
		j := open(t, cfg)
		if err := j.Settle(t.Context()); err != nil {
			t.Error("with nothing to wait for:", err)
		}
		if err := j.Later(t.Context(), rec(1)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		settled := make(chan error, 1)
		go func() { settled <- j.Settle(t.Context()) }()
		<-writing
		if !time.Now().Equal(began) {
			t.Error("it waits until the record is written by itself")
		}
		again := make(chan error, 1) // nothing is in the batch after the one that is being written
		go func() { again <- j.Settle(t.Context()) }()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := j.Settle(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it ends before the record is durable: %v", err)
		}
		select {
		case err := <-settled:
			t.Error("the first ends before the record is durable", err)
		case err := <-again:
			t.Error("the second ends before the record is durable", err)
		default:
		}
		close(goOn)
		if err := errors.Join(<-settled, <-again); err != nil || len(entries(t, j)) != 1 {
			t.Errorf("%v, %d records", err, len(entries(t, j)))
		}
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := j.Settle(t.Context()); err != nil {
			t.Error("closed:", err)
		}
	})
}

func TestLaterRefuses(t *testing.T) {
	large := rec(1)
	large.Body = []byte(`"` + strings.Repeat("x", 64<<10) + `"`)
	j := open(t, small(t))
	if err := j.Later(t.Context(), large); gateway.KindOf(err) != gateway.Invalid {
		t.Errorf("a record that does not fit: %v", err)
	}
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, j.Later(t.Context(), rec(1)), "closed")

	cfg := small(t)
	cfg.MaxLagBytes = 1
	wantRefused(t, open(t, cfg).Later(t.Context(), rec(1)), "wait for shipping")
}

// In mode kafka there is no later: it says what an append says.
func TestLaterWaitsForTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small(t)
		cfg.Ack = journal.AckKafka
		j := open(t, cfg)
		wantRefused(t, j.Later(t.Context(), rec(1)), "not acknowledged by the cluster within 5s")
	})
}

// If what nothing waits for can't be written, the log of the operator says so, and whoever comes next is refused.
func TestLaterThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small(t)
		cfg.Fault = func(step string) error {
			if step == journal.BeforeWrite {
				return errors.New("the disk is gone")
			}
			return nil
		}
		var log bytes.Buffer
		j, err := journal.Open(cfg, slog.New(slog.NewTextHandler(&log, nil)), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = j.Close(context.Background()) }()
		if err := j.Later(t.Context(), rec(1), rec(2)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
		synctest.Wait()
		if got := log.String(); !strings.Contains(got, "may be lost") || !strings.Contains(got, "records=2") || !strings.Contains(got, "the disk is gone") {
			t.Errorf("the log says %q", got)
		}
		wantRefused(t, j.Later(t.Context(), rec(3)), "broken")
	})
}
