package main

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/grensloos/grensloos/connectors/clientgegevens"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/journal"
	"github.com/grensloos/grensloos/gateway/inway"
	"github.com/grensloos/grensloos/gateway/outway"
)

// crash is one moment at which a peer dies, and the records that it must then hold: those that were durable by that step. The afloop of an
// answer is none: nothing waits for it.
type crash struct {
	step string
	want map[audit.Soort]int
}

// crashes gives what must be on disk at each step, given the steps after which a record is durable.
func crashes(steps []string, durable map[string]audit.Soort) []crash {
	var all []crash
	have := map[audit.Soort]int{}
	for _, step := range steps {
		if soort, ok := durable[step]; ok {
			have[soort]++
		}
		want := map[audit.Soort]int{}
		for soort, n := range have {
			want[soort] = n
		}
		all = append(all, crash{step, want})
	}
	return all
}

// TestKilledBetweenAnyTwoSteps kills one side with SIGKILL after every step of an answered question, on the real files and the real
// wire, and looks at its journal: no answer is outside without its record on that side, and no record that was acknowledged is lost.
func TestKilledBetweenAnyTwoSteps(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "grensloos-faults")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "faults", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build with faults: %v\n%s", err, out)
	}
	b, u := borne(t), uwi()
	laid, err := layRegion(t.Context(), filepath.Join(dir, "region"), b, u)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{region: laid, t: t, serve: map[*regionPeer]*served{}}
	r.start(b)
	r.start(u)
	r.contract(u, b, "--doel", "pw-uitkering", "--namens", string(b.ID))
	grant := r.grantHash(u, "pw-uitkering")
	r.stop(b)
	r.stop(u)

	inwaySteps := inway.Steps()
	served := slices.Index(inwaySteps, inway.StepServed)
	provider := slices.Concat(inwaySteps[:served], clientgegevens.Steps(), inwaySteps[served:])
	sides := []struct {
		victim, other *regionPeer
		crashes       []crash
	}{
		{u, b, crashes(outway.Steps(), map[string]audit.Soort{
			outway.StepRecorded: audit.ADL, outway.StepJournaled: audit.Transactie, outway.StepReceipt: audit.Kwitantie,
		})},
		{b, u, crashes(provider, map[string]audit.Soort{
			inway.StepJournaled: audit.Transactie, inway.StepRecorded: audit.ADL, clientgegevens.StepRecorded: audit.ADL,
			clientgegevens.StepAccounted: audit.LDV,
		})},
	}
	for _, side := range sides {
		other, err := startChild(t.Context(), program, side.other)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.ready(t.Context(), 20*time.Second); err != nil {
			t.Fatal(err)
		}
		for _, c := range side.crashes {
			t.Run(side.victim.Name+"/"+c.step, func(t *testing.T) {
				victim, err := startChild(t.Context(), program, side.victim, "GRENSLOOS_FAULT="+c.step)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := victim.ready(t.Context(), 20*time.Second); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				status, whole := askOutway(t, u, grant, clientOf(t, 0))
				if err := <-victim.done; !killed(err) {
					t.Fatalf("the peer ended with %v, want it killed after this step", err)
				}
				got := journalled(t, side.victim, start)
				for _, soort := range audit.Soorten() {
					if got[soort] < c.want[soort] {
						t.Errorf("records of kind %s on its disk: got %d, want at least %d", soort, got[soort], c.want[soort])
					}
				}
				if status == http.StatusOK && whole {
					answered := map[audit.Soort]int{audit.Transactie: 1, audit.ADL: 1, audit.Kwitantie: 1}
					if side.victim == b {
						answered = map[audit.Soort]int{audit.Transactie: 1, audit.ADL: 2, audit.LDV: 1}
					}
					for soort, n := range answered {
						if got[soort] < n {
							t.Errorf("an answer is outside with %d records of kind %s, want %d", got[soort], soort, n)
						}
					}
				}
			})
		}
		if err := other.stop(); err != nil {
			t.Error(err)
		}
	}
}

func killed(err error) bool {
	exited, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := exited.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// askOutway asks as an application does that knows FSC: straight at the outway. whole tells whether the answer came to its end.
func askOutway(t *testing.T, p *regionPeer, grant, bsn string) (status int, whole bool) {
	t.Helper()
	cfg, err := loadConfig(p.config())
	if err != nil {
		t.Fatal(err)
	}
	a, err := newAPI(cfg, "outway.luister", cfg.Outway.Listen, &identity{als: "test", rollen: []string{"klantmanager"}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.base+"/clienten/_zoek", strings.NewReader(`{"bsn":"`+bsn+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + a.token, "Content-Type": "application/json", "Fsc-Grant-Hash": grant,
		"Grensloos-Zaak": "Z-1", "Grensloos-Zaaktype": "pw-aanvraag",
	} {
		req.Header.Set(name, value)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return 0, false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err == nil
}

// journalled counts the records that a dead peer has on its disk since a moment.
func journalled(t *testing.T, p *regionPeer, since time.Time) map[audit.Soort]int {
	t.Helper()
	cfg, err := loadConfig(p.config())
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(cfg.Audit.Journal, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	n := map[audit.Soort]int{}
	if err := j.Scan(since, func(e journal.Entry) error { n[e.Record.Soort]++; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}
