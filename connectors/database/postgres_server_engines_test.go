//go:build engines

package database_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/connectors/conformance"
	"github.com/grensloos/grensloos/connectors/database"
	"github.com/grensloos/grensloos/gateway"
)

// running counts the statements of the reader that run at the server, in its database.
func (b pgBron) running(t *testing.T) int {
	t.Helper()
	n := 0
	err := b.admin.QueryRowContext(context.WithoutCancel(t.Context()), `SELECT COUNT(*) FROM pg_stat_activity WHERE usename = 'bron_lezer' AND datname = $1 AND state = 'active'`,
		b.cfg.Postgres.Database).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func await(t *testing.T, what string, within time.Duration, done func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(within); !done(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %s for %s", within, what)
		}
	}
}

// A statement ends at the server when the question is cancelled, and when its time is up; the connection serves on.
func TestPostgresStatementEndsAtTheServer(t *testing.T) {
	b := sharedServer(t).bron(t, conformance.Standaard())
	must(t, b.owner, `ALTER TABLE suite.uitkering RENAME TO u; CREATE VIEW suite.uitkering AS SELECT client_nr, lopend FROM suite.u WHERE pg_sleep(60) IS NOT NULL;
		GRANT SELECT ON suite.uitkering TO bron_lezer; ALTER TABLE suite.u ADD COLUMN x integer`)
	b.cfg.Mapping = shortMapping(t)
	for name, tc := range map[string]struct {
		wait   time.Duration
		cancel bool
	}{"cancelled": {time.Minute, true}, "too late": {time.Second, false}} {
		t.Run(name, func(t *testing.T) {
			b.cfg.Wachttijd, b.cfg.MaxVerbindingen = tc.wait, 1
			s := b.open(t, database.Options{})
			k, err := s.Sleutel(t.Context(), person(t, "999990019"), nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := s.Lees(ctx, k, "uitkering", []gateway.Veld{"loopt"})
				done <- err
			}()
			await(t, "the statement to run at the server", 10*time.Second, func() bool { return b.running(t) == 1 })
			start := time.Now()
			if tc.cancel {
				cancel()
			}
			await(t, "the statement to be gone from the server", 5*time.Second, func() bool { return b.running(t) == 0 })
			select {
			case err := <-done:
				if gateway.KindOf(err) != gateway.Unavailable || gateway.CodeOf(err) != connectors.CodeOnbereikbaar {
					t.Errorf("got %v, want Unavailable", err)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("the question waits on")
			}
			t.Logf("ended after %s", time.Since(start).Round(time.Millisecond))
			if _, err := s.Sleutel(t.Context(), person(t, "999990019"), nil); err != nil {
				t.Errorf("the next question: %v", err)
			}
		})
	}
}

// ownServer starts a server that a test may kill.
func ownServer(t *testing.T) (pgServer, func(args ...string)) {
	t.Helper()
	ctl := os.Getenv("GRENSLOOS_POSTGRES_CTL")
	if ctl == "" {
		t.Fatal(`GRENSLOOS_POSTGRES_CTL is not set: eval "$(.ci/postgres start DIR)"`)
	}
	dir, err := os.MkdirTemp("/tmp", "grensloos-bron-") // where the server's own user may enter
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		cmd := control(args[0], dir, args[1:]...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	t.Cleanup(func() {
		run("stop")
		os.RemoveAll(dir)
	})
	run("start")
	port, err := os.ReadFile(filepath.Join(dir, "port.primary"))
	if err != nil {
		t.Fatal(err)
	}
	return pgServer{"127.0.0.1:" + strings.TrimSpace(string(port)), dir}, run
}

func control(what, dir string, more ...string) *exec.Cmd {
	return exec.Command(os.Getenv("GRENSLOOS_POSTGRES_CTL"), append([]string{what, dir}, more...)...)
}

// A server that is killed in the middle of a read leaves no shorter answer, and once it is back the next question is answered; and
// on a standby a read that the primary's changes cut short is no shorter answer either.
func TestPostgresServerGone(t *testing.T) {
	server, ctl := ownServer(t)
	b := server.bron(t, conformance.Standaard())
	b.cfg.Wachttijd = 20 * time.Second
	s := b.open(t, database.Options{})
	lees := func() (connectors.Gegevens, error) { return read(t, s, "999990019", "uitkering", "loopt") }
	if got, err := lees(); err != nil || len(got.Rijen) != 2 {
		t.Fatalf("before: got %d rows, %v", len(got.Rijen), err)
	}
	// Rows come, and then the statement goes on.
	must(t, b.owner, `ALTER TABLE suite.uitkering RENAME TO u; CREATE VIEW suite.uitkering AS SELECT u.client_nr, lopend FROM suite.u, generate_series(1, 200) AS n
		WHERE n < 150 OR pg_sleep(60) IS NOT NULL; GRANT SELECT ON suite.uitkering TO bron_lezer`)
	type answer struct {
		got connectors.Gegevens
		err error
	}
	done := make(chan answer, 1)
	go func() {
		got, err := lees()
		done <- answer{got, err}
	}()
	await(t, "the statement to run at the server", 10*time.Second, func() bool { return b.running(t) == 1 })
	ctl("kill")
	a := <-done
	if gateway.KindOf(a.err) != gateway.Unavailable || gateway.CodeOf(a.err) != connectors.CodeOnbereikbaar || len(a.got.Rijen) != 0 {
		t.Errorf("killed in the middle of a read: got %d rows and %v, want Unavailable", len(a.got.Rijen), a.err)
	}
	if got, err := lees(); gateway.KindOf(err) != gateway.Unavailable {
		t.Errorf("while it is away: got %d rows and %v, want Unavailable", len(got.Rijen), err)
	} else {
		t.Log(err)
	}
	ctl("run")
	must(t, b.owner, `DROP VIEW suite.uitkering; ALTER TABLE suite.u RENAME TO uitkering`)
	if got, err := lees(); err != nil || len(got.Rijen) != 2 {
		t.Errorf("once it is back: got %d rows and %v", len(got.Rijen), err)
	}

	ctl("standby")
	port, err := os.ReadFile(filepath.Join(server.dir, "port.standby"))
	if err != nil {
		t.Fatal(err)
	}
	standby := pgServer{"127.0.0.1:" + strings.TrimSpace(string(port)), server.dir}
	onStandby := standby.pool(t, "beheerder", b.cfg.Postgres.Database)
	must(t, onStandby, `ALTER SYSTEM SET max_standby_streaming_delay = 0`)
	must(t, onStandby, `SELECT pg_reload_conf()`)
	must(t, b.owner, `ALTER TABLE suite.uitkering RENAME TO u; CREATE VIEW suite.uitkering AS SELECT u.client_nr, lopend FROM suite.u WHERE pg_sleep(5) IS NOT NULL;
		GRANT SELECT ON suite.uitkering TO bron_lezer`)
	b.cfg.Postgres.Addresses, b.admin = []string{standby.address}, onStandby
	b.cfg.Mapping = shortMapping(t)
	s = b.open(t, database.Options{})
	go func() {
		got, err := lees()
		done <- answer{got, err}
	}()
	await(t, "the statement to run at the standby", 10*time.Second, func() bool { return b.running(t) == 1 })
	must(t, b.owner, `ALTER TABLE suite.u ADD COLUMN later integer`) // takes a lock that the standby must replay
	a = <-done
	if gateway.KindOf(a.err) != gateway.Unavailable || gateway.CodeOf(a.err) != connectors.CodeOnbereikbaar {
		t.Errorf("in conflict with recovery: got %d rows and %v, want Unavailable", len(a.got.Rijen), a.err)
	}
	t.Log(a.err)
	must(t, b.owner, `DROP VIEW suite.uitkering; ALTER TABLE suite.u RENAME TO uitkering`)
	await(t, "an answer of the standby", 10*time.Second, func() bool {
		got, err := lees()
		return err == nil && len(got.Rijen) == 2
	})
}

// shortMapping is the mapping without the columns that the slow views of these tests leave out.
func shortMapping(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(postgresMapping)
	if err != nil {
		t.Fatal(err)
	}
	short, _, ok := strings.Cut(string(raw), "      soort: regeling")
	if !ok {
		t.Fatal("nothing to leave out")
	}
	file := filepath.Join(t.TempDir(), "mapping.yaml")
	if err := os.WriteFile(file, []byte(short), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
