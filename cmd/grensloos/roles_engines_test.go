//go:build engines

package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/bevraging"
	"github.com/grensloos/grensloos/gateway/postgres"
)

// realEngines is the sections opslag and audit for roles apart: a database of the peer's own on the PostgreSQL of .ci/postgres and
// topics of its own on the Kafka of .ci/engines.
func realEngines(t *testing.T, p *regionPeer) string {
	t.Helper()
	dir, kafkaDir := engineEnv(t, "GRENSLOOS_POSTGRES_DIR"), engineEnv(t, "GRENSLOOS_KAFKA_DIR")
	name := fmt.Sprintf("rollen_%s_%d", p.ID, os.Getpid())
	admin := postgresAs(t, "beheerder", "postgres")
	for _, s := range []string{
		"DROP DATABASE IF EXISTS " + name + " WITH (FORCE)", "CREATE DATABASE " + name + " OWNER grensloos_migratie", "REVOKE ALL ON DATABASE " + name + " FROM PUBLIC",
		"GRANT CONNECT ON DATABASE " + name + " TO grensloos",
	} {
		if _, err := admin.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf(`opslag:
  driver: postgres
  postgres:
    adressen: [%s]
    database: %s
    gebruiker: grensloos
    wachtwoordBestand: %s
    maxVerbindingen: 4
    tls: {ca: %s}
    migratie: {gebruiker: grensloos_migratie, wachtwoordBestand: %s}
audit:
  journaal: {bevestiging: kafka, bevestigingBinnen: 5s, segmentBytes: 4194304}
  kafka:
    brokers: [%s]
    topicPrefix: rollen-%s-%d
    partities: 2
    replicatie: 3
    minInsync: 2
    bewaarDagen: {adl: 1825}
    tls: {aan: true, ca: %s}
    sasl: {mechanisme: SCRAM-SHA-512, gebruiker: peer, wachtwoordBestand: %s}
`, engineEnv(t, "GRENSLOOS_POSTGRES"), name, filepath.Join(dir, "wachtwoord", "grensloos"), engineEnv(t, "GRENSLOOS_POSTGRES_CA"),
		filepath.Join(dir, "wachtwoord", "grensloos_migratie"), engineEnv(t, "GRENSLOOS_KAFKA"), p.ID, time.Now().UnixNano(),
		filepath.Join(kafkaDir, "tls", "ca.pem"), filepath.Join(kafkaDir, "wachtwoord"))
}

func postgresAs(t *testing.T, role, database string) *sql.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{
		Addresses: []string{engineEnv(t, "GRENSLOOS_POSTGRES")}, Database: database, User: role,
		PasswordFile: filepath.Join(engineEnv(t, "GRENSLOOS_POSTGRES_DIR"), "wachtwoord", role), TLS: postgres.TLS{CA: engineEnv(t, "GRENSLOOS_POSTGRES_CA")},
	}, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// ownPostgres starts a server of this test's own, so that it can be killed.
func ownPostgres(t *testing.T) (ctl func(what string)) {
	t.Helper()
	script := engineEnv(t, "GRENSLOOS_POSTGRES_CTL")
	dir, err := os.MkdirTemp("", "rollen-postgres-*") // not below TempDir: the server runs as another user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	do := func(what string) []byte {
		t.Helper()
		var problems strings.Builder
		cmd := exec.Command(script, what, dir)
		cmd.Stderr = &problems
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("postgres %s: %v\n%s", what, err, problems.String())
		}
		return out
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	env := do("start")
	t.Cleanup(func() { do("stop") })
	for line := range strings.Lines(string(env)) {
		name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		if ok {
			t.Setenv(name, strings.Trim(value, `"'`))
		}
	}
	return func(what string) { t.Helper(); do(what) }
}

// spawn starts a process of the peer, as the shipped program, and waits until it is ready.
func (p regionProcess) spawn() {
	a := p.of
	t := a.r.t
	t.Helper()
	part := a.part(p.name, p.roles...)
	args := []string{"-c", a.folder(p.name, p.roles...), "--proces", p.name}
	for _, role := range part.roles {
		args = append(args, "--role", string(role))
	}
	for _, name := range slices.Sorted(maps.Keys(part.listen)) {
		args = append(args, "--luister", name+"="+part.listen[name])
	}
	c, err := startProcess(t.Context(), os.Args[0], p.String(), args, "GRENSLOOS_TEST_MAIN=1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ready(t.Context(), 60*time.Second); err != nil {
		t.Fatal(err)
	}
	first := a.kids[p.name] == nil
	a.kids[p.name] = c
	if first {
		t.Cleanup(func() {
			if t.Failed() {
				log := a.log(p.name)
				t.Logf("%s:\n%s", p, log[max(0, len(log)-4000):])
			}
			if err := a.kids[p.name].stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// kill ends a process as a power cut would.
func (p regionProcess) kill() {
	t := p.of.r.t
	t.Helper()
	c := p.of.kids[p.name]
	if err := c.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-c.done; !killed(err) {
		t.Fatalf("%s ended with %v", p, err)
	}
}

// asking is load: questions, one after the other in each of its goroutines, of which it keeps the transactions that were answered.
type asking struct {
	mu       sync.Mutex
	answered []gateway.TransactionID
	last     time.Time // of an answer
	failed   int
	stop     func()
}

func (r *running) keepAsking(p *regionPeer, askers int) *asking {
	ctx, cancel := context.WithCancel(context.Background())
	a := &asking{}
	var all sync.WaitGroup
	a.stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	r.t.Cleanup(a.stop)
	for n := range askers {
		client := clientOf(r.t, n)
		all.Go(func() {
			for ctx.Err() == nil {
				out, _ := r.grensloos(p, client, "vraag", "--doel", "pw-uitkering", "--zaaktype", "pw-aanvraag", "--zaak", "Z-1", "--bsn-stdin", "--json")
				var answer bevraging.Antwoord
				ok := json.Unmarshal([]byte(out), &answer) == nil && len(answer.Gemeenten) == 1 && outcomes(answer.Gemeenten[0]) == "persoon=beantwoord uitkering=beantwoord"
				a.mu.Lock()
				if ok {
					a.answered, a.last = append(a.answered, answer.Gemeenten[0].Transactie), time.Now()
				} else {
					a.failed++
				}
				a.mu.Unlock()
				if !ok {
					select { // what refuses at once is not asked a thousand times
					case <-ctx.Done():
					case <-time.After(50 * time.Millisecond):
					}
				}
			}
		})
	}
	return a
}

func (a *asking) since(moment time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last.After(moment)
}

// TestRolesApartOnEngines runs a region whose peers have every role in a process of its own, on PostgreSQL and Kafka: an asker, a gemeente
// with two managers and two inways, and a directory. All that holds of roles apart holds there; two managers sign and deliver once; and
// each process is killed and started again under load, without an answer that lacks its records on either side.
func TestRolesApartOnEngines(t *testing.T) {
	brokers(t, "run", "1", "2", "3")
	server := ownPostgres(t)
	d := directoryPeer()
	r, b, u := apartRegion(t, realEngines, d)
	r.start(d)
	t.Cleanup(func() { r.stop(d) })
	all := apartProcesses(b, u)
	for _, peer := range []*apart{b, u} {
		r.must(peer.p, "", "migrate")
		r.must(peer.p, "", append([]string{"kafka", "init", "--acl"}, asAdmin(t)...)...)
	}
	for _, p := range all {
		p.spawn()
	}
	r.joins(b.p)
	r.joins(u.p)
	r.await("the asker to know the gemeente from the directory", func() bool { k, ok := r.knows(u.p, b.p.ID); return ok && k.Gemeentecode == "0147" })

	t.Run("two managers over one database", func(t *testing.T) {
		second := secondBeheer(t, b)
		db := postgresAs(t, "beheerder", fmt.Sprintf("rollen_%s_%d", b.p.ID, os.Getpid()))
		count := func(query string, args ...any) (n int) {
			t.Helper()
			if err := db.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		var hashes []string
		for range 6 {
			hash := r.must(u.p, "", "contract", "propose", "--aanbieder", string(b.p.ID), "--doel", "pw-reintegratie", "--namens", string(b.p.ID))
			hashes = append(hashes, hash)
			r.await("the proposal to arrive", func() bool { return r.state(b.p, hash) == "voorgesteld" })
			// Accepted at two processes at once.
			var at sync.WaitGroup
			for _, config := range []string{b.p.config(), second} {
				at.Go(func() {
					var out strings.Builder
					if err := run(t.Context(), []string{"contract", "accept", hash, "-c", config}, strings.NewReader(""), &out, &out); err != nil {
						t.Errorf("accept: %v", err)
					}
				})
			}
			at.Wait()
		}
		for _, hash := range hashes {
			r.await("the acceptance to arrive", func() bool { return r.state(u.p, hash) == "geldig" })
			if n := count("SELECT count(*) FROM grensloos.signatures WHERE contract = $1 AND peer = $2", hash, string(b.p.ID)); n != 1 {
				t.Errorf("contract %s has %d signatures of the gemeente, want 1", hash, n)
			}
			r.await("the delivery to be settled", func() bool {
				return count("SELECT count(*) FROM grensloos.deliveries WHERE contract = $1 AND state = 'delivered'", hash) == 1
			})
			if n := count("SELECT coalesce(sum(attempts), 0) FROM grensloos.deliveries WHERE contract = $1", hash); n != 1 {
				t.Errorf("contract %s was delivered in %d attempts, want 1", hash, n)
			}
			r.must(b.p, "", "contract", "revoke", hash)
		}
		received := map[string]int{}
		r.await("the asker's records of what it received", func() bool {
			clear(received)
			for _, e := range entries(t, u.p) {
				var act struct{ Handeling, Object string }
				if e.Record.Soort == audit.Beheer && json.Unmarshal(e.Record.Body, &act) == nil && act.Handeling == "contract-accept-ontvangen" {
					received[act.Object]++
				}
			}
			return len(received) >= len(hashes)
		})
		for _, hash := range hashes {
			if received[hash] != 1 {
				t.Errorf("the acceptance of %s was received %d times, want 1", hash, received[hash])
			}
		}
	})

	asked := r.contract(u.p, b.p, "--doel", "pw-uitkering", "--namens", string(b.p.ID))
	load := r.keepAsking(u.p, 3)
	r.await("the first answer under load", func() bool { return load.since(time.Time{}) })
	for _, p := range all {
		p.kill()
		dead := time.Now()
		p.spawn()
		back := time.Now()
		deadline := time.After(60 * time.Second)
		tick := time.NewTicker(20 * time.Millisecond)
		for !load.since(back) {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("%s was killed and started again: no answer since; its log:\n%s", p, p.of.log(p.name))
			}
		}
		tick.Stop()
		t.Logf("%s: killed, ready after %v, an answer %v later", p, back.Sub(dead).Round(time.Millisecond), time.Since(back).Round(time.Millisecond))
	}
	// The store away: nothing is answered any more, at most maxAge later; back: all go on, without a hand.
	server("kill")
	gone := time.Now()
	time.Sleep(7 * time.Second) // 5 s, and what was under way
	if load.since(gone.Add(6 * time.Second)) {
		t.Error("a question was answered more than 6 s after PostgreSQL was gone")
	}
	server("run")
	back := time.Now()
	for deadline := back.Add(60 * time.Second); !load.since(back); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("PostgreSQL is back: no answer within 60 s")
		}
	}
	t.Logf("PostgreSQL gone and back: an answer %v later", time.Since(back).Round(time.Millisecond))
	load.stop()
	t.Logf("%d questions answered, %d refused or not reached", len(load.answered), load.failed)

	// No answer without its records on both sides in Kafka, each once, and no journal with a gap.
	for _, side := range []struct {
		of   *apart
		want map[audit.Soort]int
	}{
		{u, map[audit.Soort]int{audit.Transactie: 1, audit.ADL: 1, audit.Kwitantie: 1}},
		{b, map[audit.Soort]int{audit.Transactie: 1, audit.ADL: 2, audit.LDV: 1}},
	} {
		got := map[gateway.TransactionID]map[audit.Soort]int{}
		journals := map[string][]audit.Entry{}
		for _, e := range entries(t, side.of.p) {
			journals[e.Journal] = append(journals[e.Journal], e)
			if got[e.Record.Transactie] == nil {
				got[e.Record.Transactie] = map[audit.Soort]int{}
			}
			got[e.Record.Transactie][e.Record.Soort]++
		}
		for _, id := range load.answered {
			for soort, n := range side.want {
				if got[id][soort] != n {
					t.Errorf("%s: answered transaction %s has %d records of kind %s, want %d", side.of.p.Name, id, got[id][soort], soort, n)
				}
			}
		}
		for name, journal := range journals {
			if _, err := audit.CheckChain(slices.Values(journal)); err != nil {
				t.Errorf("%s, journal %s: %v", side.of.p.Name, name, err)
			}
		}
		if len(journals) < 4 {
			t.Errorf("%s: %d journals, want one of each process", side.of.p.Name, len(journals))
		}
	}
	r.must(b.p, "", "contract", "revoke", asked)
	r.await("the asker to know that it ended", func() bool { return r.state(u.p, asked) == "ingetrokken" })
	r.promisesApart(b, u)
}

// secondBeheer starts another beheer of the peer, and gives a configuration with which the command line reaches it.
func secondBeheer(t *testing.T, a *apart) (config string) {
	t.Helper()
	a.part("beheer-2", roleBeheer)
	port := a.port("beheer-2 beheer")
	args := []string{
		"-c", a.folder("beheer-2", roleBeheer), "--proces", "beheer-2", "--role", "beheer", "--luister", fmt.Sprintf("beheer=127.0.0.1:%d", port),
		"--luister", fmt.Sprintf("bewaking=127.0.0.1:%d", a.port("beheer-2 bewaking")),
	}
	c, err := startProcess(t.Context(), os.Args[0], "beheer-2", args, "GRENSLOOS_TEST_MAIN=1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ready(t.Context(), 60*time.Second); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	})
	raw, err := os.ReadFile(a.p.config())
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(raw), fmt.Sprintf(`beheer: {luister: "127.0.0.1:%d"}`, a.p.ports.Beheer), fmt.Sprintf(`beheer: {luister: "127.0.0.1:%d"}`, port), 1)
	if text == string(raw) {
		t.Fatal("the configuration has no beheer")
	}
	config = filepath.Join(a.p.dir, "peer-2.yaml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config
}
