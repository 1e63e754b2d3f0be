package journal_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/journal"
)

// written is a folder with n records, each a batch of its own, and where the frame of each begins and the last ends.
type written struct {
	cfg   journal.Config
	recs  []audit.Record
	at    []int
	path  string
	bytes []byte
}

func write(t *testing.T, n int) written {
	t.Helper()
	w := written{cfg: small(t)}
	j := open(t, w.cfg)
	w.path = segments(t, w.cfg.Dir)[0]
	w.at = []int{128}
	for i := range n {
		w.recs = append(w.recs, rec(i))
		mustAppend(t, j, w.recs[i])
		w.at = append(w.at, len(bytes.TrimRight(contents(t, w.path), "\x00")))
	}
	if err := j.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.bytes = contents(t, w.path)
	return w
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// put writes an altered segment. The size of the file says nothing to the journal, so the zeros at the end are left off: that
// keeps thousands of cases quick.
func (w written) put(t *testing.T, b []byte) {
	t.Helper()
	if err := os.WriteFile(w.path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w written) wantRecords(t *testing.T, what string, n int) {
	t.Helper()
	j, err := journal.Open(w.cfg, quiet(), time.Now)
	if err != nil {
		t.Fatalf("%s: Open: %v", what, err)
	}
	defer func() { _ = j.Close(context.Background()) }()
	mustAppend(t, j, rec(99))
	all := entries(t, j)
	if _, err := audit.CheckChain(slices.Values(all)); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if diff := cmp.Diff(w.recs[:n], records(all[:len(all)-1])); diff != "" {
		t.Fatalf("%s: records (-want +got):\n%s", what, diff)
	}
}

func TestTornTailIsRepaired(t *testing.T) {
	w := write(t, 3)
	from, end := w.at[2], w.at[3]
	for cut := from; cut < end; cut++ {
		w.put(t, w.bytes[:cut])
		w.wantRecords(t, fmt.Sprintf("cut off at byte %d of the last frame", cut-from), 2)
	}
	for at := from; at < end; at++ {
		b := slices.Clone(w.bytes[:end])
		b[at] ^= 0x40
		w.put(t, b)
		w.wantRecords(t, fmt.Sprintf("byte %d of the last frame altered", at-from), 2)

		if b[at] = 0; w.bytes[at] != 0 {
			w.put(t, b)
			w.wantRecords(t, fmt.Sprintf("byte %d of the last frame zero", at-from), 2)
		}
	}
	w.put(t, w.bytes[:end])
	w.wantRecords(t, "whole", 3)
}

func TestTornBatchIsRepaired(t *testing.T) {
	// The pages of one batch reach the disk in any order: a frame that is whole behind a torn one of its own batch was never
	// acknowledged either.
	w := write(t, 1)
	j := open(t, w.cfg)
	mustAppend(t, j, rec(1), rec(2), rec(3))
	if err := j.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	b := contents(t, w.path)
	b[w.at[1]+80] ^= 1
	w.put(t, b)
	w.wantRecords(t, "first frame of the last batch torn", 1)

	var log bytes.Buffer // what was torn is gone: nothing is left to repair behind the record that wantRecords appended
	j, err := journal.Open(w.cfg, slog.New(slog.NewTextHandler(&log, nil)), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	_ = j.Close(context.Background())
	if strings.Contains(log.String(), "torn") {
		t.Errorf("repaired a second time: %s", log.String())
	}
}

func TestDamageIsNamed(t *testing.T) {
	w := write(t, 5)
	from, end := w.at[1], w.at[2] // the second frame; three batches stand behind it
	for at := from; at < end; at++ {
		for name, b := range map[string]byte{"altered": w.bytes[at] ^ 0x40, "zero": 0} {
			if b == w.bytes[at] {
				continue
			}
			damaged := slices.Clone(w.bytes[:w.at[5]])
			damaged[at] = b
			w.put(t, damaged)
			w.wantDamage(t, fmt.Sprintf("byte %d %s", at-from, name), fmt.Sprintf("%s is damaged at offset %d", w.path, from))
			if !bytes.Equal(contents(t, w.path), damaged) {
				t.Fatalf("byte %d %s: the segment was changed", at-from, name)
			}
		}
	}
}

func (w written) wantDamage(t *testing.T, what, with string) {
	t.Helper()
	j, err := journal.Open(w.cfg, quiet(), time.Now)
	if err == nil {
		_ = j.Close(context.Background())
	}
	if err == nil || !strings.Contains(err.Error(), with) {
		t.Fatalf("%s: Open = %v, want an error with %q", what, err, with)
	}
}

func TestDamagedFolder(t *testing.T) {
	many := func(t *testing.T) written { // three segments or more
		t.Helper()
		w := written{cfg: small(t)}
		j := open(t, w.cfg)
		for i := range 600 {
			mustAppend(t, j, rec(i))
		}
		if err := j.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		return w
	}
	cases := map[string]struct {
		do   func(t *testing.T, w written, paths []string)
		want string
	}{
		"a segment gone in the middle": {func(t *testing.T, _ written, p []string) { remove(t, p[1]) }, "starts at"},
		"all segments gone after shipping": {func(t *testing.T, w written, p []string) {
			shipAll(t, w.cfg)
			for _, path := range p {
				remove(t, path)
			}
		}, "no segment"},
		"the end gone after shipping": {func(t *testing.T, w written, p []string) {
			shipAll(t, w.cfg)
			b := contents(t, p[len(p)-1])
			overwrite(t, p[len(p)-1], b[:200])
		}, "was shipped"},
		"header": {func(t *testing.T, _ written, p []string) {
			b := contents(t, p[0])
			b[20] ^= 1
			overwrite(t, p[0], b)
		}, "header is damaged"},
		"renamed": {func(t *testing.T, _ written, p []string) {
			if err := os.Rename(p[0], filepath.Join(filepath.Dir(p[0]), "00000000000000000002.journal")); err != nil {
				t.Fatal(err)
			}
		}, "starts at record 1"},
		"cut in the middle": {func(t *testing.T, _ written, p []string) {
			b := contents(t, p[0])
			overwrite(t, p[0], b[:len(b)-300])
		}, "is damaged at offset"},
		"of another journal": {func(t *testing.T, _ written, p []string) {
			other := many(t)
			overwrite(t, p[1], contents(t, segments(t, other.cfg.Dir)[1]))
		}, "another journal"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := many(t)
			tc.do(t, w, segments(t, w.cfg.Dir))
			w.wantDamage(t, name, tc.want)
		})
	}
}

func TestLostPositionShipsAgain(t *testing.T) {
	w := write(t, 3)
	shipAll(t, w.cfg)
	remove(t, filepath.Join(w.cfg.Dir, "shipped"))
	if got := shipAll(t, w.cfg); len(got) != 3 {
		t.Errorf("%d shipped again, want all 3", len(got))
	}
	if got := shipAll(t, w.cfg); len(got) != 0 {
		t.Errorf("%d shipped once more, want none", len(got))
	}
}

// shipAll opens the journal, ships what is left and closes it.
func shipAll(t *testing.T, cfg journal.Config) []audit.Entry {
	t.Helper()
	j, err := journal.Open(cfg, quiet(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	s := &sink{fail: func() error {
		select {
		case <-started:
		default:
			close(started)
		}
		return nil
	}}
	ended := make(chan error, 1)
	go func() { ended <- j.Ship(context.Background(), s) }()
	if bytes, _ := j.Lag(); bytes > 0 {
		<-started
	}
	if err := errors.Join(j.Close(context.Background()), <-ended); err != nil {
		t.Fatal(err)
	}
	return s.entries()
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// fileSink keeps what is shipped in a file, so that it outlives a kill.
type fileSink struct {
	f    *os.File
	step func(string) error
}

// inSink is the step at which the sink has been called and has kept nothing yet.
const inSink = "in-sink"

func (s fileSink) Write(_ context.Context, all []audit.Entry) error {
	if err := s.step(inSink); err != nil {
		return err
	}
	for _, e := range all {
		if err := json.NewEncoder(s.f).Encode(e); err != nil {
			return err
		}
	}
	return nil
}

// TestKilled kills a process at each step of the journal, at several passes, and looks at what is left: every record that was
// acknowledged is there, the chain is whole, and everything reaches the sink.
func TestKilled(t *testing.T) {
	if step := os.Getenv("JOURNAL_KILL_STEP"); step != "" {
		victim(t, step)
		return
	}
	for _, step := range append(journal.Steps(), inSink) {
		passes := []string{"1", "2", "40"}
		if slices.Contains([]string{journal.BeforeShip, journal.AfterShip, journal.AfterPosition, inSink}, step) {
			passes[2] = "5" // there are two of these a second
		}
		for _, pass := range passes {
			t.Run(step+"/"+pass, func(t *testing.T) {
				dir := t.TempDir()
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$", "-test.timeout=60s")
				cmd.Env = append(os.Environ(), "JOURNAL_KILL_STEP="+step, "JOURNAL_KILL_PASS="+pass, "JOURNAL_DIR="+dir)
				out, err := cmd.Output()
				if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("the process ended with %v, want killed; it said:\n%s", err, out)
				}
				var acknowledged []string
				for _, line := range strings.Fields(string(out)) {
					if _, err := gateway.ParseTransactionID(line); err == nil {
						acknowledged = append(acknowledged, line)
					}
				}
				cfg := journal.Config{Dir: filepath.Join(dir, "journal"), SegmentBytes: 64 << 10}
				shipped := map[string]int{}
				for _, e := range shippedTo(t, filepath.Join(dir, "sink")) {
					shipped[e.Record.ID]++
				}
				for _, e := range shipAll(t, cfg) {
					shipped[e.Record.ID]++
				}
				all := entries(t, open(t, cfg))
				if _, err := audit.CheckChain(slices.Values(all)); err != nil {
					t.Error(err)
				}
				kept := map[string]bool{}
				for _, e := range all {
					kept[e.Record.ID] = true
					if shipped[e.Record.ID] == 0 {
						t.Errorf("record %d never reached the sink", e.Seq)
					}
				}
				for _, id := range acknowledged {
					if !kept[id] {
						t.Errorf("record %s was acknowledged and is gone", id)
					}
				}
				if pass != "1" && step != journal.BeforeRotate && len(acknowledged) == 0 {
					t.Error("nothing was acknowledged before the kill: the test shows nothing")
				}
			})
		}
	}
}

// victim appends and ships until it is killed, and prints each acknowledged id.
func victim(t *testing.T, step string) {
	var pass, passes int
	if _, err := fmt.Sscan(os.Getenv("JOURNAL_KILL_PASS"), &pass); err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv("JOURNAL_DIR")
	f, err := os.Create(filepath.Join(dir, "sink"))
	if err != nil {
		t.Fatal(err)
	}
	die := func(s string) error {
		if s == step {
			if passes++; passes == pass {
				time.Sleep(20 * time.Millisecond) // so that what was acknowledged too early is printed before the end
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
		return nil
	}
	j, err := journal.Open(journal.Config{Dir: filepath.Join(dir, "journal"), SegmentBytes: 64 << 10, Fault: die}, quiet(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = j.Ship(context.Background(), fileSink{f, die}) }()
	for {
		r := audit.NewBeheer(time.Now(), audit.Act{Handeling: "x", Door: audit.Systeem, Object: strings.Repeat("o", 400)})
		if err := j.Append(context.Background(), r); err != nil {
			t.Fatal(err)
		}
		fmt.Println(r.ID)
	}
}

func shippedTo(t *testing.T, path string) []audit.Entry {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var all []audit.Entry
	for s := bufio.NewScanner(f); s.Scan(); {
		var e audit.Entry
		if json.Unmarshal(s.Bytes(), &e) != nil {
			break // cut off by the kill
		}
		all = append(all, e)
	}
	return all
}
