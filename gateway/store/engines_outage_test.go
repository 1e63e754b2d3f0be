//go:build engines

package store

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/postgres"
)

// ownServer starts a server for one test, that waits for its disk, to be killed.
func ownServer(t *testing.T) (srv server, ctl func(args ...string)) {
	t.Helper()
	shared(t)
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	ctl = func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(context.Background(), os.Getenv("GRENSLOOS_POSTGRES_CTL"), append([]string{args[0], dir}, args[1:]...)...)
		cmd.Env = append(os.Environ(), "GRENSLOOS_POSTGRES_FSYNC=on")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Cleanup(func() { ctl("stop") })
	ctl("start")
	port := func(name string) string {
		raw, err := os.ReadFile(dir + "/port." + name)
		if err != nil {
			t.Fatal(err)
		}
		return "127.0.0.1:" + strings.TrimSpace(string(raw))
	}
	return server{[]string{port("primary"), port("standby")}, dir}, ctl
}

// load writes from two processes at once until stopped: contracts, and consents that are given and withdrawn. A write that was not
// acknowledged is asked again with the same arguments, as callers do, until it is.
type load struct {
	stores []*Store
	stop   chan struct{}
	all    sync.WaitGroup

	mu       sync.Mutex
	signed   []*contract.Content // acknowledged
	consents []string            // given and withdrawn, both acknowledged
	failed   int
	longest  time.Duration // between two acknowledgements
	last     time.Time
}

func startLoad(t *testing.T, cfg Config) *load {
	t.Helper()
	l := &load{stop: make(chan struct{}), last: time.Now()}
	for range 2 {
		s, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		l.stores = append(l.stores, s)
	}
	until := func(do func(context.Context) error) {
		for {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			err := do(ctx)
			cancel()
			l.mu.Lock()
			if err == nil {
				l.longest, l.last = max(l.longest, time.Since(l.last)), time.Now()
				l.mu.Unlock()
				return
			}
			l.failed++
			l.mu.Unlock()
			if gateway.KindOf(err) != gateway.Unavailable {
				t.Errorf("not told as a failure of the database: %v", err)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	who := keys(t).Pseudonym(bsn(t, "999000019"))
	for w := range 4 {
		s := l.stores[w%2]
		l.all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-l.stop:
					return
				default:
				}
				if w < 2 {
					c := proposal(t, w*1_000_000+n, now, "a")
					until(func(ctx context.Context) error {
						_, err := s.Sign(ctx, c, signed(c, uwi, contract.Accept, "x", now), []contract.Delivery{{Receiver: borne, Next: now}})
						return err
					})
					l.mu.Lock()
					l.signed = append(l.signed, c)
					l.mu.Unlock()
					continue
				}
				c := consent(t, who, "doel", uwi)
				until(func(ctx context.Context) error { return s.Geef(ctx, c) })
				until(func(ctx context.Context) error { return s.TrekIn(ctx, c.ID, now.Add(time.Hour)) })
				l.mu.Lock()
				l.consents = append(l.consents, c.ID)
				l.mu.Unlock()
			}
		})
	}
	return l
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.signed) + len(l.consents)
}

// more waits until n more writes were acknowledged.
func (l *load) more(t *testing.T, n int) {
	t.Helper()
	want := l.count() + n
	pollUntil(t, 60*time.Second, "more writes", func() bool { return l.count() >= want })
}

// check stops the load and looks whether everything that was acknowledged is there, once.
func (l *load) check(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.all.Wait()
	s := l.stores[0]
	for _, c := range l.signed {
		rec, err := s.Contract(t.Context(), c.Hash())
		if err != nil || len(rec.Signed) != 1 {
			t.Fatalf("an acknowledged contract: %d signatures, %v", len(rec.Signed), err)
		}
		if due, err := s.Deliveries(t.Context(), c.Hash()); err != nil || len(due) != 1 {
			t.Fatalf("its delivery: %d, %v", len(due), err)
		}
	}
	for _, id := range l.consents {
		if c, err := s.Toestemming(t.Context(), id); err != nil || !c.Ingetrokken.Equal(now.Add(time.Hour)) {
			t.Fatalf("an acknowledged withdrawal: %v, %v", c.Ingetrokken, err)
		}
	}
	if changes, err := s.Changes(t.Context()); err != nil || changes != int64(len(l.signed)) {
		t.Errorf("%d changes of %d signatures, %v", changes, len(l.signed), err)
	}
	if l.failed == 0 {
		t.Error("no write failed: the outage was none")
	}
	t.Logf("%d signatures and %d withdrawn consents acknowledged, all there; %d calls failed and were asked again; longest without an acknowledgement %v",
		len(l.signed), len(l.consents), l.failed, l.longest.Round(time.Millisecond))
}

// A server that is killed under load and started again.
func TestServerKilled(t *testing.T) {
	srv, ctl := ownServer(t)
	l := startLoad(t, srv.migrated(t))
	for range 2 {
		l.more(t, 60)
		ctl("kill")
		ctl("run")
	}
	l.more(t, 60)
	l.check(t)
}

// A primary that is killed under load; its synchronous standby takes its place.
func TestPrimaryLost(t *testing.T) {
	srv, ctl := ownServer(t)
	cfg := srv.migrated(t)
	ctl("standby")
	l := startLoad(t, cfg)
	l.more(t, 60)
	ctl("kill")
	ctl("promote")
	l.more(t, 60)
	l.check(t)
	if warnings, err := l.stores[0].Review(t.Context()); err != nil || len(warnings) != 0 {
		t.Errorf("%v, %v", warnings, err)
	}
}

// A server that is there and does nothing: a write whose caller would wait without end is told so, and the next one after it works.
func TestServerFrozen(t *testing.T) {
	srv := shared(t)
	cfg := srv.migrated(t)
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.within = time.Second
	given := consent(t, keys(t).Pseudonym(bsn(t, "999000019")), "doel", uwi)
	if err := s.Geef(t.Context(), given); err != nil {
		t.Fatal(err)
	}
	pids := func() (all []int) {
		rows, err := srv.pool(t, "beheerder", "postgres").QueryContext(t.Context(), `SELECT pid FROM pg_stat_activity WHERE usename = 'grensloos' AND datname = $1`, cfg.Postgres.Database)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var pid int
			if err := rows.Scan(&pid); err != nil {
				t.Fatal(err)
			}
			all = append(all, pid)
		}
		if rows.Err() != nil || len(all) == 0 {
			t.Fatalf("%d connections, %v", len(all), rows.Err())
		}
		return all
	}()
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer syscall.Kill(pid, syscall.SIGCONT) //nolint:errcheck // it may have ended
	}
	begin := time.Now()
	wantKind(t, s.TrekIn(t.Context(), given.ID, now), gateway.Unavailable, "database")
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("told after %v", took)
	}
	pollUntil(t, 20*time.Second, "another connection", func() bool { return s.TrekIn(t.Context(), given.ID, now) == nil })
}

// proxy stands between a store and its server, and can end a connection at a COMMIT: before the server hears of it, or after it did it
// and before its answer is passed on.
type proxy struct {
	net.Listener
	cut atomic.Int32 // 0: nothing; the next COMMIT is cut before (1) or after (2) the server
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			var swallow atomic.Bool
			go func() {
				defer client.Close()
				buf := make([]byte, 64<<10)
				for {
					n, err := server.Read(buf)
					if err != nil || swallow.Load() {
						return
					}
					if _, err := client.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
			go func() {
				defer server.Close()
				buf := make([]byte, 64<<10)
				for {
					n, err := client.Read(buf)
					if err != nil {
						return
					}
					if bytes.Contains(buf[:n], []byte("commit\x00")) {
						switch {
						case p.cut.CompareAndSwap(1, 0):
							client.Close()
							return
						case p.cut.CompareAndSwap(2, 0):
							swallow.Store(true)
						}
					}
					if _, err := server.Write(buf[:n]); err != nil {
						return
					}
					if swallow.Load() {
						_, _ = io.Copy(io.Discard, client) // until the answer came, and the client's side was closed for it
						return
					}
				}
			}()
		}
	}()
	return p
}

// A COMMIT without an answer: the caller is told that it is not known, and asks again. What it asked is then done, once.
func TestCommitWithoutAnAnswer(t *testing.T) {
	srv := shared(t)
	for name, cut := range map[string]int32{"lost on the way": 1, "done, and the answer lost": 2} {
		t.Run(name, func(t *testing.T) {
			cfg := srv.migrated(t)
			p := newProxy(t, srv.addresses[0])
			cfg.Postgres.Addresses, cfg.Postgres.TLS, cfg.Postgres.Plain = []string{p.Addr().String()}, postgres.TLS{}, true // so that the proxy can read
			s, err := Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			k := keys(t)
			who := k.Pseudonym(bsn(t, "999000019"))
			c, given := proposal(t, 1, now, "a"), consent(t, who, "doel", uwi)
			reported, err := report(t, "m1.a", now).Ontvang(who, now)
			if err != nil {
				t.Fatal(err)
			}
			contact, personen := contact(t, "HH-1", "999000019")
			added := false
			for what, do := range map[string]func() error{
				"Sign": func() (err error) {
					added, err = s.Sign(t.Context(), c, signed(c, uwi, contract.Accept, "x", now), []contract.Delivery{{Receiver: borne, Next: now}})
					return err
				},
				"Geef":    func() error { return s.Geef(t.Context(), given) },
				"NeemAan": func() error { _, err := s.NeemAan(t.Context(), reported); return err },
				"WijsToe": func() error { return s.WijsToe(t.Context(), contact, personen) },
				"SetLeft": func() error { return s.SetLeft(t.Context(), now) },
				"Directory": func() error {
					return s.PutDirectory(t.Context(), uwi, []contract.KnownPeer{{Peer: gateway.Peer{ID: borne}}}, nil)
				},
			} {
				p.cut.Store(cut)
				wantKind(t, do(), gateway.Unavailable, "database")
				if p.cut.Load() != 0 {
					t.Fatalf("%s: nothing was cut", what)
				}
				if what == "Sign" {
					_, err := s.Contract(t.Context(), c.Hash())
					if (err == nil) != (cut == 2) {
						t.Errorf("after the cut: %v", err)
					}
				}
				if err := do(); err != nil {
					t.Errorf("%s, asked again: %v", what, err)
				}
			}
			rec, err := s.Contract(t.Context(), c.Hash())
			if changes, err2 := s.Changes(t.Context()); err != nil || err2 != nil || len(rec.Signed) != 1 || changes != 1 || added != (cut == 1) {
				t.Errorf("%d signatures, %d changes, added by the second call: %v; %v %v", len(rec.Signed), changes, added, err, err2)
			}
		})
	}
}

// Who finds all connections in use waits as long as its context, and readers are not held up by writers who wait for each other.
func TestPoolLimit(t *testing.T) {
	srv := shared(t)
	cfg := srv.migrated(t)
	cfg.Postgres.MaxConns = minConns
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	given := consent(t, keys(t).Pseudonym(bsn(t, "999000019")), "doel", uwi)
	if err := s.Geef(t.Context(), given); err != nil {
		t.Fatal(err)
	}
	admin := srv.pool(t, "beheerder", cfg.Postgres.Database)
	other, err := admin.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Rollback() //nolint:errcheck // no effect after Commit
	var held any
	if err := other.QueryRowContext(t.Context(), `SELECT pg_advisory_xact_lock($1, hashtext('toestemming'))`, lockClass).Scan(&held); err != nil {
		t.Fatal(err)
	}
	const writers = 20
	begin := time.Now()
	errs := make(chan error, writers)
	for range writers {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			errs <- s.TrekIn(ctx, given.ID, now)
		}()
	}
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		if _, err := s.Toestemming(ctx, given.ID); err != nil {
			t.Errorf("a reader was held up: %v", err)
		}
		cancel()
	}
	var conns int
	if err := admin.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND usename = 'grensloos'`, cfg.Postgres.Database).Scan(&conns); err != nil || conns > minConns {
		t.Errorf("%d connections, %v, want at most %d", conns, err, minConns)
	}
	for range writers {
		if err := <-errs; gateway.KindOf(err) != gateway.Unavailable || !strings.Contains(err.Error(), "in time") && !strings.Contains(err.Error(), "cancelled") {
			t.Errorf("a writer was told %v", err)
		}
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("told after %v, want after a second", took)
	}
	if err := other.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := s.TrekIn(t.Context(), given.ID, now); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	// All connections held by readers of long lists: the next caller waits, and is told.
	var busy []interface{ Close() error }
	for range minConns {
		conn, err := s.read.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		busy = append(busy, conn)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = s.Changes(ctx)
	wantKind(t, err, gateway.Unavailable, fmt.Sprintf("maxVerbindingen (%d)", minConns))
	for _, conn := range busy {
		conn.Close()
	}
	if _, err := s.Changes(t.Context()); err != nil {
		t.Error(err)
	}
}

// What can be wrong with a database while it is used: named, told as Unavailable, seen by Ping, and gone when it is mended.
func TestTroubleInUse(t *testing.T) {
	srv := shared(t)
	cfg := srv.migrated(t)
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	name := cfg.Postgres.Database
	admin, owner := srv.pool(t, "beheerder", "postgres"), srv.pool(t, "beheerder", name)
	cut := `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'grensloos' AND datname = '` + name + `'`
	n := 0
	write := func() error {
		n++
		c := proposal(t, n, now, "a")
		_, err := s.Sign(t.Context(), c, signed(c, uwi, contract.Accept, "x", now), nil)
		return err
	}
	for what, tc := range map[string]struct {
		wrong, mended []string // by whom: an empty first word is the superuser in the database, else in another
		want          []string
		pings         bool // Ping sees it
	}{
		"full": {
			[]string{`CREATE FUNCTION vol() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$`, `CREATE TRIGGER vol BEFORE INSERT ON grensloos.signatures EXECUTE FUNCTION vol()`},
			[]string{`DROP TRIGGER vol ON grensloos.signatures`},
			[]string{"disk of the server is full"},
			true,
		},
		"read only": {
			[]string{`ALTER DATABASE ` + name + ` SET default_transaction_read_only = on`, cut},
			[]string{`SET default_transaction_read_only = off`, `ALTER DATABASE ` + name + ` RESET default_transaction_read_only`},
			[]string{"takes writes", "RESET default_transaction_read_only"},
			true,
		},
		"used up": {
			[]string{`ALTER DATABASE ` + name + ` CONNECTION LIMIT 0`, cut}, []string{`ALTER DATABASE ` + name + ` CONNECTION LIMIT -1`}, []string{"used up", "max_connections"}, true,
		},
		"table away": {
			[]string{`ALTER TABLE grensloos.contracts RENAME TO weg`}, []string{`ALTER TABLE grensloos.weg RENAME TO contracts`}, []string{"grensloos migrate -c"}, false,
		},
		"privilege": {
			[]string{`REVOKE SELECT ON grensloos.contracts FROM grensloos`}, []string{`GRANT SELECT ON grensloos.contracts TO grensloos`}, []string{"permission denied for table contracts", "grensloos migrate -c"}, false,
		},
		"not let in": {
			[]string{`REVOKE CONNECT ON DATABASE ` + name + ` FROM grensloos`, cut}, []string{`GRANT CONNECT ON DATABASE ` + name + ` TO grensloos`}, []string{"role grensloos lacks a privilege"}, true,
		},
	} {
		t.Run(strings.ReplaceAll(what, " ", "_"), func(t *testing.T) {
			if err := write(); err != nil {
				t.Fatalf("before: %v", err)
			}
			run(t, owner, tc.wrong...)
			var got error
			pollUntil(t, 10*time.Second, what, func() bool {
				got = write()
				return got != nil && strings.Contains(got.Error(), tc.want[0]) || t.Failed()
			})
			for _, want := range tc.want {
				wantKind(t, got, gateway.Unavailable, want)
			}
			if tc.pings {
				wantKind(t, s.Ping(t.Context()), gateway.Unavailable, tc.want[0])
			}
			run(t, owner, tc.mended...)
			pollUntil(t, 10*time.Second, "mended", func() bool { return write() == nil })
			if err := s.Ping(t.Context()); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
	_ = admin
}

// A password and an anchor that are replaced are read at the next connection; wrong ones are named.
func TestSecretsReplaced(t *testing.T) {
	srv := shared(t)
	cfg := srv.migrated(t)
	dir := t.TempDir()
	replace := func(name, from string) string {
		t.Helper()
		raw, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/"+name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		return dir + "/" + name
	}
	good, ca := cfg.Postgres.PasswordFile, cfg.Postgres.TLS.CA
	cfg.Postgres.PasswordFile, cfg.Postgres.TLS.CA = replace("pw", good), replace("ca", ca)
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	admin := srv.pool(t, "beheerder", "postgres")
	cut := `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'grensloos' AND datname = '` + cfg.Postgres.Database + `'`
	for what, tc := range map[string]struct{ file, wrong, right, want string }{
		"password": {"pw", srv.dir + "/wachtwoord/bron_lezer", good, "password of role grensloos"},
		"anchor":   {"ca", srv.dir + "/tls/client.crt", ca, "tls.ca"},
	} {
		replace(tc.file, tc.wrong)
		if _, err := s.Changes(t.Context()); err != nil {
			t.Errorf("%s: a connection that is there goes on: %v", what, err)
		}
		run(t, admin, cut)
		var got error
		pollUntil(t, 10*time.Second, what, func() bool { _, got = s.Changes(t.Context()); return got != nil })
		wantKind(t, got, gateway.Unavailable, tc.want)
		replace(tc.file, tc.right)
		if _, err := s.Changes(t.Context()); err != nil {
			t.Errorf("%s, mended: %v", what, err)
		}
	}
}
