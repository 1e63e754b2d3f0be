package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/policies"
)

// A gemeente changes its own policy while it serves: it bites within five seconds, and a file that is wrong changes nothing.
func TestPolicyChangesWhileServing(t *testing.T) {
	b, u := borne(t), uwi()
	r := startRegion(t, b, u)
	r.contract(u, b, "--doel", "pw-uitkering", "--namens", string(b.ID))
	ask := func() string {
		return outcomes(r.ask(u, testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: clientOf(t, 0)}))
	}
	const answered, refused = "persoon=beantwoord uitkering=beantwoord", "persoon=geweigerd(lokaal-beleid) uitkering=geweigerd(lokaal-beleid)"
	if got := ask(); got != answered {
		t.Fatalf("before: got %s, want %s", got, answered)
	}
	file := filepath.Join(b.dir, "beleid", "lokaal.rego")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("package grensloos.lokaal\n\nweiger contains \"vandaag niet\" if input.context.doel == \"pw-uitkering\"\n")
	r.await("the new policy to refuse", func() bool { return ask() == refused })
	write("package grensloos.lokaal\n\nthis is no Rego\n")
	r.await("the broken policy to be reported", func() bool { return contains(r.serve[b].log, "policy not reloaded") })
	if got := ask(); got != refused {
		t.Errorf("with a broken file: got %s, want the policy of before", got)
	}
	write("package grensloos.lokaal\n\nweiger contains \"nooit\" if input.context.doel == \"pw-reintegratie\"\n")
	r.await("the policy that allows again", func() bool { return ask() == answered })
}

// A change of policy that can't be recorded does not take effect, and is not forgotten: it does as soon as it can be.
func TestPolicyChangeWaitsForItsRecord(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "lokaal.rego")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("package grensloos.lokaal\n\nweiger contains \""+text+"\" if input.context.doel == \"pw-uitkering\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("eerst")
	synctest.Test(t, func(t *testing.T) {
		section := policies.Config{Lokaal: dir}
		engine, err := policies.New(t.Context(), section.Options())
		if err != nil {
			t.Fatal(err)
		}
		var refuses atomic.Bool
		refuses.Store(true)
		log := &audit.Memory{Fail: func(audit.Record) error {
			if refuses.Load() {
				return errors.New("disk full")
			}
			return nil
		}}
		p := &peer{cfg: &Config{Policies: section}, policy: engine, audit: log, now: time.Now, log: slog.New(slog.DiscardHandler)}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go p.watchPolicy(ctx)
		synctest.Wait()
		before := engine.Session().Revision()
		write("daarna, en langer")
		time.Sleep(3 * watchEvery) // of the fake clock
		synctest.Wait()
		if got := engine.Session().Revision(); got != before {
			t.Error("a policy that could not be recorded is in force")
		}
		refuses.Store(false)
		time.Sleep(2 * watchEvery)
		synctest.Wait()
		if got := engine.Session().Revision(); got == before {
			t.Error("the change was forgotten")
		}
		if n := len(log.Records()); n != 1 {
			t.Errorf("records of the change: got %d, want 1", n)
		}
	})
}
