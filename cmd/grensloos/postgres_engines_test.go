//go:build engines

package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway/postgres"
)

// database is an empty one on the server of .ci/postgres, as docs/postgresql.md tells an administrator to make it.
type testDatabase struct {
	name  string
	dir   string // a copy of the secrets, to be made wrong
	admin *sql.DB
}

func newDatabase(t *testing.T) *testDatabase {
	t.Helper()
	from := os.Getenv("GRENSLOOS_POSTGRES_DIR")
	if from == "" {
		t.Fatal("GRENSLOOS_POSTGRES_DIR is not set: eval \"$(.ci/postgres start DIR)\"")
	}
	d := &testDatabase{name: fmt.Sprintf("peer_test_%d", time.Now().UnixNano()), dir: t.TempDir()}
	for name, file := range map[string]string{"wachtwoord": "wachtwoord/grensloos", "ca.pem": "tls/ca.pem", "migratie": "wachtwoord/grensloos_migratie", "beheerder": "wachtwoord/beheerder"} {
		raw, err := os.ReadFile(filepath.Join(from, file))
		if err != nil {
			t.Fatal(err)
		}
		d.put(t, name, raw)
	}
	open := func(database string) *sql.DB {
		db, err := postgres.Open(context.Background(), postgres.Config{
			Addresses: []string{os.Getenv("GRENSLOOS_POSTGRES")}, Database: database, User: "beheerder",
			PasswordFile: filepath.Join(from, "wachtwoord", "beheerder"), TLS: postgres.TLS{CA: os.Getenv("GRENSLOOS_POSTGRES_CA")},
		}, postgres.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
	server := open("postgres")
	exe := func(statement string) {
		if _, err := server.ExecContext(context.Background(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	exe(`CREATE DATABASE ` + d.name + ` OWNER grensloos_migratie`)
	t.Cleanup(func() { exe(`DROP DATABASE ` + d.name + ` WITH (FORCE)`) })
	exe(`REVOKE ALL ON DATABASE ` + d.name + ` FROM PUBLIC`)
	exe(`GRANT CONNECT ON DATABASE ` + d.name + ` TO grensloos`)
	d.admin = open(d.name)
	return d
}

func (d *testDatabase) put(t *testing.T, name string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (d *testDatabase) run(t *testing.T, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := d.admin.ExecContext(context.Background(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// keepIn puts the state of a peer into it.
func (d *testDatabase) keepIn(t *testing.T, p *regionPeer) {
	t.Helper()
	f, err := os.OpenFile(p.config(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, `
opslag:
  driver: postgres
  postgres:
    adressen: [%s]
    database: %s
    gebruiker: grensloos
    wachtwoordBestand: %s
    tls: {ca: %s}
    maxVerbindingen: 6
    migratie: {gebruiker: grensloos_migratie, wachtwoordBestand: %s}
`, os.Getenv("GRENSLOOS_POSTGRES"), d.name, filepath.Join(d.dir, "wachtwoord"), filepath.Join(d.dir, "ca.pem"), filepath.Join(d.dir, "migratie")); err != nil {
		t.Fatal(err)
	}
}

// A gemeente with its state in PostgreSQL: what is wrong with the database is refused at the start or told in use, doctor finds it with
// the command that mends it, and when it is mended the peer goes on without a hand.
func TestPostgresPeer(t *testing.T) {
	d, b, u := newDatabase(t), borne(t), uwi()
	laid, err := layRegion(t.Context(), t.TempDir(), b, u)
	if err != nil {
		t.Fatal(err)
	}
	d.keepIn(t, b)
	r := &running{region: laid, t: t, serve: map[*regionPeer]*served{}}
	t.Cleanup(func() {
		for p := range r.serve {
			r.stop(p)
		}
	})
	says := func(where, got string, words ...string) {
		t.Helper()
		for _, word := range words {
			if !strings.Contains(got, word) {
				t.Errorf("%s says %q, want %q in it", where, got, word)
			}
		}
	}
	says("start without a schema", startRefused(t, b), "opslag", "grensloos migrate -c")
	found, _ := r.doctor(b)
	wants(t, found, "opslag", fout, d.name, "grensloos migrate -c")
	says("dry run", r.must(b, "", "migrate", "--dry-run"), "CREATE TABLE contracts", "GRANT SELECT", `TO "grensloos"`)
	says("start after a dry run", startRefused(t, b), "grensloos migrate -c")
	if _, err := r.grensloos(b, "", "migrate", "--gebruiker", "grensloos", "--wachtwoordbestand", filepath.Join(d.dir, "wachtwoord")); err == nil || !strings.Contains(err.Error(), "role that the peer runs as") {
		t.Errorf("migrate as the role that runs: %v", err)
	}
	says("migrate", r.must(b, "", "migrate"), "uitgevoerd: 0001_contract.sql", "past bij dit programma")
	says("migrate again", r.must(b, "", "migrate"), "past bij dit programma")
	says("migrate of SQLite", r.must(u, "", "migrate"), "SQLite")

	r.start(b)
	r.start(u)
	r.contract(u, b, "--doel", "pw-uitkering", "--namens", string(b.ID))
	q := testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: clientOf(t, 0)}
	want := outcomes(r.ask(u, q))
	if !strings.Contains(want, "beantwoord") {
		t.Fatalf("the question: %s", want)
	}
	found, _ = r.doctor(b)
	wants(t, found, "gereed", inOrde, "opslag")
	wants(t, found, "opslag", letOp, "fsync is off") // the server of .ci/postgres does not wait for its disk
	if n := found.count(fout); n != 0 {
		t.Errorf("%d wrong:\n%s", n, listed(found))
	}

	read := func(name string) []byte {
		raw, err := os.ReadFile(filepath.Join(d.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	password, ca, admin := read("wachtwoord"), read("ca.pem"), read("beheerder")
	other, err := os.ReadFile(filepath.Join(r.pki, certs.RootFile))
	if err != nil {
		t.Fatal(err)
	}
	cut := `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'grensloos' AND datname = '` + d.name + `'`
	newest := `(SELECT max(number) FROM grensloos.schema_migrations)`
	for _, tc := range []struct {
		what          string
		wrong, mended func()
		inspect       bool // doctor sees it itself; else the peer tells, when it tried to write
		words         []string
		refused       bool // a start is refused
		cut           bool // it is felt by new connections only
	}{
		{"its connections are cut", func() { d.run(t, cut) }, func() {}, false, nil, false, false},
		{
			"full", func() {
				d.run(t, `CREATE FUNCTION vol() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$`,
					`CREATE TRIGGER vol BEFORE UPDATE OR INSERT ON grensloos.toestemmingen FOR EACH ROW EXECUTE FUNCTION vol()`,
					`CREATE TRIGGER vol BEFORE UPDATE ON grensloos.deliveries FOR EACH STATEMENT EXECUTE FUNCTION vol()`)
			}, func() {
				d.run(t, `DROP TRIGGER vol ON grensloos.toestemmingen`, `DROP TRIGGER vol ON grensloos.deliveries`)
			}, false, []string{"disk of the server is full"}, false, false,
		},
		{
			"read only", func() { d.run(t, `ALTER DATABASE `+d.name+` SET default_transaction_read_only = on`) },
			func() {
				d.run(t, `SET default_transaction_read_only = off`, `ALTER DATABASE `+d.name+` RESET default_transaction_read_only`)
			}, false,
			[]string{"takes writes", "default_transaction_read_only"},
			true, true,
		},
		{
			"connections used up", func() { d.run(t, `ALTER DATABASE `+d.name+` CONNECTION LIMIT 0`) }, func() { d.run(t, `ALTER DATABASE `+d.name+` CONNECTION LIMIT -1`) },
			true,
			[]string{"used up", "max_connections"},
			true, true,
		},
		{
			"password", func() { d.put(t, "wachtwoord", admin) }, func() { d.put(t, "wachtwoord", password) },
			true,
			[]string{"password of role grensloos", `\password`},
			true, true,
		},
		{
			"anchor", func() { d.put(t, "ca.pem", other) }, func() { d.put(t, "ca.pem", ca) },
			true,
			[]string{"tls.ca"},
			true, true,
		},
		{
			"newer", func() {
				d.run(t, `UPDATE grensloos.schema_migrations SET min_binary_schema = 900 WHERE number = `+newest)
			},
			func() {
				d.run(t, `UPDATE grensloos.schema_migrations SET min_binary_schema = 1 WHERE number = `+newest)
			},
			true,
			[]string{"start the newer Grensloos"},
			true, false,
		},
	} {
		t.Run(strings.ReplaceAll(tc.what, " ", "_"), func(t *testing.T) {
			r.t = t
			tc.wrong()
			if len(tc.words) > 0 {
				r.await("doctor to find it", func() bool {
					if tc.cut { // also one that was being made when the others were cut
						d.run(t, cut)
					}
					found, _ = r.doctor(b)
					for _, f := range found.Bevindingen {
						if f.Onderdeel == "gereed" && f.Over == "opslag" && f.Ernst == fout && strings.Contains(f.Tekst, tc.words[0]) {
							return true
						}
					}
					return false
				})
				wants(t, found, "gereed", fout, append(tc.words, "opslag")...)
				if tc.inspect {
					wants(t, found, "opslag", fout, tc.words...)
				}
			}
			tc.mended()
			r.await("it to go on", func() bool { return outcomes(r.ask(u, q)) == want })
			r.await("doctor to be content", func() bool {
				found, _ = r.doctor(b)
				return found.count(fout) == 0
			})
			if tc.refused {
				r.stop(b)
				tc.wrong()
				says("start", startRefused(t, b), tc.words...)
				tc.mended()
				r.start(b)
			}
		})
	}
	r.t = t
}
