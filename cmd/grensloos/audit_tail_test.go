package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/journal"
	"github.com/grensloos/grensloos/gateway/beheer"
)

// following is a command that runs until it is stopped.
type following struct {
	t    *testing.T
	out  *syncBuffer
	note *syncBuffer
	stop func() error
}

func (r *running) follow(p *regionPeer, args ...string) *following {
	ctx, cancel := context.WithCancel(context.Background())
	f := &following{t: r.t, out: &syncBuffer{}, note: &syncBuffer{}}
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, append([]string{"audit", "tail", "-c", p.config()}, args...), strings.NewReader(""), f.out, f.note)
	}()
	f.stop = func() error { cancel(); return <-done }
	r.t.Cleanup(cancel)
	return f
}

func (f *following) count(words string) int { return strings.Count(f.out.String(), words) }

// Records are followed as they are kept, over a restart of the peer, each once; that somebody looks is on record once a session.
func TestAuditTail(t *testing.T) {
	b, u := borne(t), uwi()
	r := startRegion(t, b, u)
	r.contract(u, b, "--doel", "pw-uitkering", "--namens", string(b.ID))
	client := clientOf(t, 0)
	ask := func() { r.ask(u, testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: client}) }
	ask()

	f := r.follow(b, "--soort", "afloop,ldv", "--sinds", "1h")
	r.await("the question of before", func() bool { return f.count("  afloop  ") == 1 && f.count("  ldv  ") == 1 })
	ask()
	r.await("the next question", func() bool { return f.count("  afloop  ") == 2 })
	r.stop(b)
	r.await("the tail to notice", func() bool { return strings.Contains(f.note.String(), "verbinding weg") })
	r.start(b)
	ask()
	r.await("a question after a restart", func() bool { return f.count("  afloop  ") == 3 })
	if err := f.stop(); err != nil {
		t.Errorf("ended with Ctrl-C: %v", err)
	}
	if f.count("  afloop  ") != 3 || f.count("\n") != 6 || strings.Contains(f.out.String(), client) {
		t.Errorf("got, want three afloop and three ldv, each once:\n%s", f.out)
	}

	all := r.follow(b, "--json", "--sinds", "1h", "--soort", "beheer")
	r.await("the acts", func() bool { return strings.Count(all.out.String(), "vastleggingen-gevolgd") == 3 })
	_ = all.stop()
	for line := range strings.Lines(all.out.String()) {
		var v beheer.GevolgdJSON
		if err := json.Unmarshal([]byte(line), &v); err != nil || v.Soort != audit.Beheer || v.ID == "" {
			t.Errorf("%s: %v", line, err)
		}
	}
	if n := strings.Count(all.out.String(), `"soort":"ldv,afloop"`) + strings.Count(all.out.String(), `"soort":"afloop,ldv"`); n != 2 {
		t.Errorf("%d acts of the first tail, want one for each of its two sessions\n%s", n, all.out)
	}
}

// A record that is kept while what was kept before is read comes once; and what the journal has comes page by page, all of it.
func TestFollowed(t *testing.T) {
	j, err := journal.Open(journal.Config{Dir: t.TempDir()}, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		closing, cancel := context.WithCancel(context.Background())
		cancel()
		_ = j.Close(closing)
	}()
	log := &watchedLog{Log: j, metrics: counted(t), watch: &watchers{}}
	var kept []string
	keep := func(n int) {
		var recs []audit.Record
		for range n {
			recs = append(recs, audit.NewBeheer(time.Now(), audit.Act{Handeling: "x", Door: audit.Systeem}))
			kept = append(kept, recs[len(recs)-1].ID)
		}
		if err := log.Append(t.Context(), recs...); err != nil {
			t.Fatal(err)
		}
	}
	keep(2*page + 10)
	since := time.Now().Add(-time.Hour)
	var got []string
	end := errors.New("seen enough")
	err = followed{j, log.watch}.Volg(t.Context(), since,
		func(from time.Time) error {
			if !from.Equal(since) {
				t.Errorf("complete from %v, want %v: the journal has everything", from, since)
			}
			keep(3) // shown already, and read from the journal next
			return nil
		},
		func(rec audit.Record) error {
			got = append(got, rec.ID)
			switch len(got) {
			case 2*page + 13:
				keep(1) // after all that was read
			case 2*page + 14:
				return end
			}
			return nil
		})
	if !errors.Is(err, end) || !slices.Equal(got, kept) {
		t.Errorf("got %d records, %v, want all %d of them once, in order", len(got), err, len(kept))
	}
}

func TestAuditTailRefuses(t *testing.T) {
	b, u := borne(t), uwi()
	r := startRegion(t, b, u)
	for _, tc := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"role", []string{"--rol", "beheer"}, 1, "403"},
		{"kind", []string{"--soort", "namen"}, 1, "soort: geef"},
		{"since", []string{"--sinds", "gisteren"}, exitUsage, "--sinds"},
	} {
		_, err := r.grensloos(b, "", append([]string{"audit", "tail"}, tc.args...)...)
		if err == nil || exitCode(err) != tc.code || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want code %d and %q", tc.name, err, tc.code, tc.want)
		}
	}
}

func TestSinceWhen(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{"": {}, "10m": now.Add(-10 * time.Minute), "2026-11-23T09:30:00Z": now.Add(-150 * time.Minute)} {
		if got, err := sinceWhen(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"-10m", "gisteren", "2026"} {
		if _, err := sinceWhen(text, now); exitCode(err) != exitUsage {
			t.Errorf("%q: got %v, want a usage error", text, err)
		}
	}
}

// Every event of the stream is one line of data, whatever a record holds.
func TestTailShowsOneLine(t *testing.T) {
	var out bytes.Buffer
	tl := &tail{out: &out, notes: &out}
	rec := audit.NewBeheer(time.Now(), audit.Act{Handeling: "x", Door: audit.Systeem, Object: "a\nb\x1b[31m"})
	raw, err := json.Marshal(beheer.GevolgdJSON{VastleggingJSON: beheer.VastleggingJSON{ID: rec.ID, Soort: rec.Soort, Tijd: rec.Tijd, Inhoud: rec.Body}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second is a repeat
		if done, err := tl.event(beheer.EventVastlegging, raw); done || err != nil {
			t.Fatal(done, err)
		}
	}
	if strings.Count(out.String(), "\n") != 1 || strings.Contains(out.String(), "\x1b") {
		t.Errorf("got %q, want one line without control characters", out.String())
	}
}
