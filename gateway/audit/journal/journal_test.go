package journal_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/journal"
)

var start = time.Now().UTC().Truncate(time.Second) // the bounds on age count from the times of the records

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func small(t testing.TB) journal.Config {
	return journal.Config{Dir: t.TempDir(), SegmentBytes: 64 << 10}
}

func open(t testing.TB, cfg journal.Config) *journal.Journal {
	t.Helper()
	j, err := journal.Open(cfg, quiet(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close(context.Background()) })
	return j
}

func rec(i int) audit.Record {
	tid := gateway.NewTransactionID(start.Add(time.Duration(i) * time.Second))
	r := audit.NewAfloop(start.Add(time.Duration(i)*time.Second), audit.Outcome{
		Transactie: tid, Richting: audit.Incoming, Status: 200, Uitkomst: audit.Beantwoord, BytesOut: int64(i),
	})
	r.Telling = audit.Telling{} // is not kept
	return r
}

func mustAppend(t testing.TB, j *journal.Journal, recs ...audit.Record) {
	t.Helper()
	if err := j.Append(context.Background(), recs...); err != nil {
		t.Fatal(err)
	}
}

func entries(t testing.TB, j *journal.Journal) []audit.Entry {
	t.Helper()
	var all []audit.Entry
	if err := j.Scan(time.Time{}, func(e audit.Entry) error { all = append(all, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func records(all []audit.Entry) []audit.Record {
	var recs []audit.Record
	for _, e := range all {
		recs = append(recs, e.Record)
	}
	return recs
}

func wantRefused(t testing.TB, err error, with string) {
	t.Helper()
	if gateway.KindOf(err) != gateway.Unavailable || gateway.CodeOf(err) != audit.WriteError || !strings.Contains(err.Error(), with) {
		t.Fatalf("got %v, want kind unavailable, code %s, with %q", err, audit.WriteError, with)
	}
}

func segments(t testing.TB, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestAppendScanReopen(t *testing.T) {
	cfg := small(t)
	j := open(t, cfg)
	var want []audit.Record
	for i := range 600 { // over several segments
		want = append(want, rec(i))
		mustAppend(t, j, want[i])
	}
	batch := []audit.Record{rec(600), rec(601), rec(602)}
	mustAppend(t, j, batch...)
	want = append(want, batch...)
	mustAppend(t, j)
	if diff := cmp.Diff(want, records(entries(t, j))); diff != "" {
		t.Fatalf("records (-want +got):\n%s", diff)
	}
	if n := len(segments(t, cfg.Dir)); n < 3 {
		t.Fatalf("%d segments, want several", n)
	}
	id := j.ID()
	if err := j.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, j.Append(context.Background(), rec(1)), "closed")

	j = open(t, cfg)
	mustAppend(t, j, rec(603))
	all := entries(t, j)
	if diff := cmp.Diff(append(want, all[603].Record), records(all)); diff != "" || len(all) != 604 {
		t.Fatalf("after reopening, %d records (-want +got):\n%s", len(all), diff)
	}
	c, err := audit.CheckChain(slices.Values(all))
	if err != nil || c.Seq != 604 || c.Journal != id {
		t.Fatalf("chain ends at %+v, %v; want 604 of journal %s", c, err, id)
	}
	var since []audit.Record
	if err := j.Scan(want[590].Tijd, func(e audit.Entry) error { since = append(since, e.Record); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(since) != 14 || since[0].ID != want[590].ID {
		t.Errorf("Scan from record 591 gives %d records, want 14", len(since))
	}
	boom := errors.New("enough")
	if err := j.Scan(time.Time{}, func(audit.Entry) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("Scan = %v, want the error of fn", err)
	}
}

func TestConcurrentAppends(t *testing.T) {
	j := open(t, small(t))
	const writers, each = 32, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := j.Append(context.Background(), rec(w*1000+i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all := entries(t, j)
	if _, err := audit.CheckChain(slices.Values(all)); err != nil || len(all) != writers*each {
		t.Fatalf("%d records, %v; want %d in one chain", len(all), err, writers*each)
	}
	next := map[int]int{}
	for _, e := range all {
		n := int(e.Record.Tijd.Sub(start) / time.Second)
		if n%1000 != next[n/1000] {
			t.Fatalf("writer %d: record %d comes where %d is due", n/1000, n%1000, next[n/1000])
		}
		next[n/1000]++
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	cfg := small(t)
	j := open(t, cfg)
	_, err := journal.Open(cfg, quiet(), time.Now)
	if gateway.KindOf(err) != gateway.Conflict || !strings.Contains(err.Error(), fmt.Sprintf("in use by process %d", os.Getpid())) {
		t.Fatalf("second Open = %v, want kind conflict that names the process", err)
	}
	mustAppend(t, j, rec(1))
	if err := j.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	open(t, cfg)
}

func TestConfigIsRefused(t *testing.T) {
	cases := map[string]struct {
		edit func(*journal.Config)
		want string
	}{
		"no folder":       {func(c *journal.Config) { c.Dir = "" }, "map"},
		"tiny segment":    {func(c *journal.Config) { c.SegmentBytes = 100 }, "segmentBytes"},
		"lag bytes":       {func(c *journal.Config) { c.MaxLagBytes = -1 }, "maxAchterstandBytes"},
		"lag age":         {func(c *journal.Config) { c.MaxLagAge = -1 }, "maxAchterstand"},
		"ack":             {func(c *journal.Config) { c.Ack = "none" }, "bevestiging"},
		"ack timeout":     {func(c *journal.Config) { c.AckTimeout = -1 }, "bevestigingBinnen"},
		"keeps too short": {func(c *journal.Config) { c.KeepFor = time.Minute }, "bewaar"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := small(t)
			tc.edit(&cfg)
			_, err := journal.Open(cfg, quiet(), time.Now)
			if gateway.KindOf(err) != gateway.Invalid || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("Open = %v, want kind invalid naming %s", err, tc.want)
			}
		})
	}
}

func TestTooLargeARecord(t *testing.T) {
	j := open(t, small(t))
	big := rec(1)
	big.Body = []byte(`"` + strings.Repeat("x", 64<<10) + `"`)
	if err := j.Append(context.Background(), big); gateway.KindOf(err) != gateway.Invalid {
		t.Fatalf("Append = %v, want kind invalid", err)
	}
	mustAppend(t, j, rec(2))
}

func TestEndedContext(t *testing.T) {
	j := open(t, small(t))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := j.Append(ctx, rec(1))
	wantRefused(t, err, "nothing was kept")
	if !errors.Is(err, context.Canceled) || len(entries(t, j)) != 0 {
		t.Fatalf("Append = %v and %d records, want context canceled and none", err, len(entries(t, j)))
	}

	// Ended while it waits: an error, and the record is kept all the same.
	cfg := small(t)
	syncing, goOn := make(chan struct{}), make(chan struct{})
	cfg.Fault = func(step string) error {
		if step == journal.AfterWrite {
			close(syncing)
			<-goOn
		}
		return nil
	}
	j = open(t, cfg)
	ctx, cancel = context.WithCancel(context.Background())
	go func() {
		<-syncing
		cancel()
	}()
	wantRefused(t, j.Append(ctx, rec(1)), "may be kept")
	close(goOn)
	if err := j.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	cfg.Fault = nil
	if n := len(entries(t, open(t, cfg))); n != 1 {
		t.Errorf("%d records kept, want 1", n)
	}
}

func TestDiskFull(t *testing.T) {
	cfg := small(t)
	full := false
	cfg.Fault = func(step string) error {
		if full && step == journal.BeforeRotate {
			return syscall.ENOSPC
		}
		return nil
	}
	j := open(t, cfg)
	full = true
	kept := 0
	var err error
	for err == nil {
		if err = j.Append(context.Background(), rec(kept)); err == nil {
			kept++
		}
	}
	wantRefused(t, err, "make room on the disk")
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("cause of %v is not ENOSPC", err)
	}
	wantRefused(t, j.Append(context.Background(), rec(kept)), "make room")
	full = false
	mustAppend(t, j, rec(kept))
	all := entries(t, j)
	if _, err := audit.CheckChain(slices.Values(all)); err != nil || len(all) != kept+1 {
		t.Fatalf("%d records, %v; want %d: the refused ones left nothing", len(all), err, kept+1)
	}
}

func TestBrokenDiskPoisons(t *testing.T) {
	for _, step := range []string{journal.BeforeWrite, journal.AfterWrite} {
		t.Run(step, func(t *testing.T) {
			cfg := small(t)
			var fail error
			cfg.Fault = func(s string) error {
				if s == step {
					return fail
				}
				return nil
			}
			j := open(t, cfg)
			mustAppend(t, j, rec(1))
			fail = syscall.EIO
			wantRefused(t, j.Append(context.Background(), rec(2)), "write to disk")
			fail = nil
			wantRefused(t, j.Append(context.Background(), rec(3)), "mend the disk and restart")
			if err := j.Err(); !errors.Is(err, syscall.EIO) {
				t.Errorf("Err = %v, want EIO", err)
			}
			if n := len(entries(t, j)); n != 1 {
				t.Errorf("%d records readable, want the durable one", n)
			}
			if err := j.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			all := entries(t, open(t, cfg))
			if _, err := audit.CheckChain(slices.Values(all)); err != nil || len(all) == 0 {
				t.Errorf("after reopening: %v", err)
			}
		})
	}
}

func TestFailedButPersisted(t *testing.T) {
	cfg := small(t)
	fail := false
	cfg.Fault = func(step string) error {
		if fail && step == journal.AfterSync {
			return errors.New("nobody hears")
		}
		return nil
	}
	j := open(t, cfg)
	fail = true
	wantRefused(t, j.Append(context.Background(), rec(1)), "kept all the same")
	fail = false
	mustAppend(t, j, rec(2))
	all := entries(t, j)
	if _, err := audit.CheckChain(slices.Values(all)); err != nil || len(all) != 2 {
		t.Fatalf("%d records, %v; want 2", len(all), err)
	}
}

// sink keeps what is shipped; fail, if set, is asked first.
type sink struct {
	mu   sync.Mutex
	fail func() error
	got  []audit.Entry
}

func (s *sink) Write(_ context.Context, e []audit.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(); err != nil {
			return err
		}
	}
	s.got = append(s.got, e...)
	return nil
}

func (s *sink) entries() []audit.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func ship(t testing.TB, j *journal.Journal, to journal.Sink) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := j.Ship(context.Background(), to); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { <-ended }) // runs before the Close of open, so tests close themselves
}

func TestShipsInOrderAndDrains(t *testing.T) {
	cfg := small(t)
	j := open(t, cfg)
	var s sink
	ship(t, j, &s)
	var wg sync.WaitGroup
	for i := range 2500 {
		wg.Go(func() {
			if err := j.Append(context.Background(), rec(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := j.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	got := s.entries()
	if c, err := audit.CheckChain(slices.Values(got)); err != nil || c.Seq != 2500 {
		t.Fatalf("shipped up to %d, %v; want 2500", c.Seq, err)
	}
	if bytes, age := j.Lag(); bytes != 0 || age != 0 {
		t.Errorf("Lag = %d, %v; want none", bytes, age)
	}

	// Nothing is shipped twice after a clean stop; what is new follows.
	j = open(t, cfg)
	var next sink
	ship(t, j, &next)
	mustAppend(t, j, rec(2500))
	if err := j.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := next.entries(); len(got) != 1 || got[0].Seq != 2501 {
		t.Fatalf("%d entries after reopening, want one with number 2501", len(got))
	}
}

// What is shipped from memory, from disk when it was too much for memory, and after a restart from where memory ended, is one whole.
func TestShipsFromMemoryAndDisk(t *testing.T) {
	for _, c := range []struct {
		name           string
		records, bytes int // that come while the first Write is under way
		writes         int // that they go in
	}{
		{"all in memory", 20, 100 << 10, 1},
		{"in memory, more than one Write takes", 7, 800 << 10, 2},
		{"too much for memory", 13, 800 << 10, 12}, // eleven from disk, one in each segment; then two that came after memory was full
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := journal.Config{Dir: t.TempDir(), SegmentBytes: 1 << 20}
			j := open(t, cfg)
			large := func(i int) audit.Record {
				r := rec(i)
				r.Body = []byte(`"` + strings.Repeat("x", c.bytes) + `"`)
				return r
			}
			began, goOn, away, writes := make(chan struct{}), make(chan struct{}), make(chan struct{}), 0
			to := &sink{fail: func() error {
				switch writes++; {
				case writes == 1:
					close(began)
					<-goOn
				case writes == c.writes+2:
					close(away)
					return errors.New("away")
				case writes > c.writes+2:
					return errors.New("away")
				}
				return nil
			}}
			ship(t, j, to)
			mustAppend(t, j, rec(0))
			<-began
			for i := range c.records {
				mustAppend(t, j, large(i+1))
			}
			close(goOn)
			for end := time.Now().Add(20 * time.Second); len(to.entries()) < c.records+1 && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			mustAppend(t, j, rec(c.records+1))
			select {
			case <-away:
			case <-time.After(20 * time.Second):
				t.Errorf("%d entries shipped, in other than the %d Writes of this case", len(to.entries()), c.writes+1)
			}
			over, cancel := context.WithCancel(context.Background())
			cancel()
			if err := j.Close(over); err != nil {
				t.Fatal(err)
			}
			to.fail = nil
			j = open(t, cfg)
			all := entries(t, j)
			ship(t, j, to)
			for end := time.Now().Add(20 * time.Second); len(to.entries()) < len(all) && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			if err := j.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			if chain, err := audit.CheckChain(slices.Values(to.entries())); err != nil || chain.Seq != uint64(c.records)+2 || len(to.entries()) != len(all) {
				t.Errorf("%d entries shipped, up to %d, %v; want each of %d once", len(to.entries()), chain.Seq, err, c.records+2)
			}
		})
	}
}

// Each Write costs the broker a sync per partition, so a stream of records is gathered; and still no record waits long.
func TestGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, err := journal.Open(journal.Config{Dir: t.TempDir()}, quiet(), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		writes := 0
		var oldest time.Duration
		s := &sink{fail: func() error {
			writes++
			_, age := j.Lag()
			oldest = max(oldest, age)
			time.Sleep(20 * time.Millisecond) // records come in meanwhile
			return nil
		}}
		behind := make([]audit.Record, 9000)
		for i := range behind {
			behind[i] = rec(i)
		}
		mustAppend(t, j, behind...)
		begun := time.Now()
		ship(t, j, s)
		for bytes, _ := j.Lag(); bytes > 0 && time.Since(begun) < time.Minute; bytes, _ = j.Lag() {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("catching up with %d records took %v: what is there need not be gathered", len(behind), took)
		}
		writes, oldest = 0, 0
		for i := range 3000 {
			mustAppend(t, j, rec(i))
			time.Sleep(time.Millisecond)
		}
		begun = time.Now()
		if err := j.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > 50*time.Millisecond {
			t.Errorf("closing took %v: nothing more comes to gather", took)
		}
		if n := len(s.entries()); n != len(behind)+3000 || writes > 10 || oldest > 1700*time.Millisecond {
			t.Errorf("%d records in %d Writes, the oldest %v old; want %d, 3000 of them in 10 at most, none older than 1.7s", n, writes, oldest, len(behind)+3000)
		}
	})
}

func TestSecondShipIsRefused(t *testing.T) {
	j := open(t, small(t))
	started := make(chan struct{})
	var once sync.Once
	s := &sink{fail: func() error { once.Do(func() { close(started) }); return nil }}
	ship(t, j, s)
	mustAppend(t, j, rec(1))
	<-started
	if err := j.Ship(context.Background(), s); gateway.KindOf(err) != gateway.Conflict {
		t.Errorf("second Ship = %v, want kind conflict", err)
	}
	if err := j.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestBrokerGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small(t)
		cfg.MaxLagAge = 10 * time.Minute
		j := open(t, cfg)
		down, tries := true, 0
		s := &sink{fail: func() error {
			tries++
			if down {
				return errors.New("no broker")
			}
			return nil
		}}
		ship(t, j, s)
		for i := range 5 {
			mustAppend(t, j, rec(i))
			time.Sleep(2 * time.Minute) // of the bubble
		}
		time.Sleep(time.Second)
		wantRefused(t, j.Append(context.Background(), rec(5)), "maxAchterstand")
		wantRefused(t, j.Refusal(), "maxAchterstand")
		if _, age := j.Lag(); age != 10*time.Minute+time.Second {
			t.Errorf("age of the lag = %v, want 10m1s", age)
		}
		// 0.1 s doubling to 5 s, half to one and a half of it each time: some 120 tries in ten minutes, not thousands.
		if tries < 80 || tries > 250 {
			t.Errorf("%d tries in ten minutes, want a back-off of up to 5 s", tries)
		}
		s.mu.Lock()
		down = false
		s.mu.Unlock()
		time.Sleep(time.Minute)
		if err := j.Refusal(); err != nil {
			t.Errorf("after catching up: %v", err)
		}
		mustAppend(t, j, rec(5))
		if err := j.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if c, err := audit.CheckChain(slices.Values(s.entries())); err != nil || c.Seq != 6 {
			t.Errorf("shipped up to %d, %v; want 6: nothing lost", c.Seq, err)
		}
	})
}

func TestBoundOfBytes(t *testing.T) {
	cfg := small(t)
	cfg.MaxLagBytes = 10_000
	j := open(t, cfg)
	kept := 0
	var err error
	for err == nil {
		if err = j.Append(context.Background(), rec(kept)); err == nil {
			kept++
		}
	}
	wantRefused(t, err, "maxAchterstandBytes")
	if bytes, _ := j.Lag(); bytes > 10_000 || bytes < 9_000 {
		t.Errorf("lag = %d bytes at refusal, want just below 10000", bytes)
	}
	if err := j.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	j = open(t, cfg) // the bound holds over a restart
	wantRefused(t, j.Append(context.Background(), rec(kept)), "maxAchterstandBytes")
	var s sink
	ship(t, j, &s)
	for j.Append(context.Background(), rec(kept)) != nil {
		if t.Context().Err() != nil {
			t.Fatal("never taken again")
		}
	}
	if err := j.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := len(s.entries()); n != kept+1 {
		t.Errorf("%d shipped, want %d", n, kept+1)
	}
}

func TestAckKafka(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small(t)
		cfg.Ack = journal.AckKafka
		j := open(t, cfg)
		var down error
		s := &sink{fail: func() error { return down }}
		ship(t, j, s)
		mustAppend(t, j, rec(1))
		if len(s.entries()) != 1 {
			t.Error("Append returned before the sink had the record")
		}
		s.mu.Lock()
		down = errors.New("no broker")
		s.mu.Unlock()
		began := time.Now()
		wantRefused(t, j.Append(context.Background(), rec(2)), "bevestigingBinnen")
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("refused after %v, want 5s", took)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		wantRefused(t, j.Append(ctx, rec(3)), "not acknowledged")
		closing, stop := context.WithTimeout(context.Background(), time.Second)
		defer stop()
		if err := j.Close(closing); err != nil { // doesn't hang on a dead broker
			t.Fatal(err)
		}
	})
}

func TestShippedButPositionLost(t *testing.T) {
	for _, step := range []string{journal.BeforeShip, journal.AfterShip, journal.AfterPosition} {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := small(t)
				failed := false
				cfg.Fault = func(s string) error {
					if s == step && !failed {
						failed = true
						return errors.New("crash")
					}
					return nil
				}
				j := open(t, cfg)
				mustAppend(t, j, rec(1), rec(2))
				var s sink
				ship(t, j, &s)
				time.Sleep(time.Second)
				if err := j.Close(context.Background()); err != nil {
					t.Fatal(err)
				}
				want := []uint64{1, 2}
				if step == journal.AfterShip {
					want = []uint64{1, 2, 1, 2} // at least once
				}
				var got []uint64
				for _, e := range s.entries() {
					got = append(got, e.Seq)
				}
				if diff := cmp.Diff(want, got); diff != "" || !failed {
					t.Errorf("shipped (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestShippedSegmentsAreDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small(t)
		cfg.KeepFor = time.Hour
		j, err := journal.Open(cfg, quiet(), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		add := func(n int) {
			for range n {
				mustAppend(t, j, audit.NewBeheer(time.Now(), audit.Act{Handeling: "x", Door: audit.Systeem}))
			}
		}
		add(1000)
		time.Sleep(2 * time.Hour)
		if n := len(segments(t, cfg.Dir)); n < 3 {
			t.Fatalf("%d segments; nothing was shipped, so nothing may be deleted", n)
		}
		cfg.MaxLagAge = 0
		_ = j.Close(context.Background())
		cfg.MaxLagAge = 24 * time.Hour
		if j, err = journal.Open(cfg, quiet(), time.Now); err != nil {
			t.Fatal(err)
		}
		var s sink
		ended := make(chan error)
		go func() { ended <- j.Ship(context.Background(), &s) }()
		add(1000)
		synctest.Wait()
		time.Sleep(2 * time.Minute)
		all := entries(t, j)
		if len(all) >= 1500 || len(all) < 1000 || all[len(all)-1].Seq != 2000 {
			t.Errorf("%d records kept, want the 1000 of this hour and the rest of their segment", len(all))
		}
		if _, err := audit.CheckChain(slices.Values(all)); err != nil {
			t.Error(err)
		}
		if err := j.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if len(s.entries()) != 2000 {
			t.Errorf("%d shipped, want 2000", len(s.entries()))
		}
		if j, err = journal.Open(cfg, quiet(), time.Now); err != nil { // opens without its beginning
			t.Fatal(err)
		}
		add(1)
		_ = j.Close(context.Background())
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 8, 32, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			cfg := journal.Config{Dir: b.TempDir(), MaxLagBytes: 1 << 40}
			j, err := journal.Open(cfg, quiet(), time.Now)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = j.Close(context.Background()) }()
			r := rec(1)
			b.SetBytes(int64(len(r.Body)))
			work := make(chan struct{}, writers)
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for range work {
						if err := j.Append(context.Background(), r); err != nil {
							b.Error(err)
						}
					}
				})
			}
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu(b)
			for range b.N {
				work <- struct{}{}
			}
			close(work)
			wg.Wait()
			b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/1e3/float64(b.N), "cpu-us/record")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// cpu is the processor time of this process.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
