//go:build engines

package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// engine is the server of .ci/postgres; a missing one fails, since nothing may skip where this tag is set.
func engine(t *testing.T) Config {
	t.Helper()
	if os.Getenv("GRENSLOOS_POSTGRES") == "" {
		t.Fatal("GRENSLOOS_POSTGRES is empty: eval \"$(.ci/postgres start DIR)\"")
	}
	dir := os.Getenv("GRENSLOOS_POSTGRES_DIR")
	return Config{
		Addresses: []string{os.Getenv("GRENSLOOS_POSTGRES")}, Database: "postgres", User: "beheerder",
		PasswordFile: filepath.Join(dir, "wachtwoord", "beheerder"), TLS: TLS{CA: os.Getenv("GRENSLOOS_POSTGRES_CA")},
	}
}

func open(t *testing.T, c Config, o Options) *sql.DB {
	t.Helper()
	db, err := Open(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// database makes one that is dropped after the test.
func newDatabase(t *testing.T, admin *sql.DB, more string) string {
	t.Helper()
	name := fmt.Sprintf("pg_test_%d", time.Now().UnixNano())
	exe(t, admin, `CREATE DATABASE `+name+` `+more)
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.Background(), `DROP DATABASE `+name+` WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	return name
}

func exe(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func TestConnection(t *testing.T) {
	c := engine(t)
	db := open(t, c, Options{ApplicationName: "proef", StatementTimeout: 3 * time.Second})
	for setting, want := range map[string]string{
		"application_name": "proef", "search_path": "pg_catalog, pg_temp", "TimeZone": "UTC", "statement_timeout": "3s", "default_transaction_read_only": "off",
	} {
		var got string
		if err := db.QueryRowContext(t.Context(), `SELECT current_setting($1)`, setting).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", setting, got, err, want)
		}
	}
	var version string
	if err := db.QueryRowContext(t.Context(), `SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()`).Scan(&version); err != nil || !strings.HasPrefix(version, "TLSv1.") {
		t.Errorf("TLS: %q %v", version, err)
	}
	for name, change := range map[string]func(*Config){
		"socket": func(c *Config) {
			c.Addresses, c.TLS, c.Plain = []string{os.Getenv("GRENSLOOS_POSTGRES_SOCKET")}, TLS{}, true
		},
		"loopback":     func(c *Config) { c.TLS, c.Plain = TLS{}, true },
		"dead one too": func(c *Config) { c.Addresses = []string{"127.0.0.1:1", c.Addresses[0]} },
		"by function": func(c *Config) {
			file := c.PasswordFile
			c.PasswordFile, c.Password = "", func() (string, error) { raw, err := os.ReadFile(file); return string(raw), err }
		},
		"by certificate": func(c *Config) {
			tls := filepath.Join(filepath.Dir(c.TLS.CA))
			c.User, c.PasswordFile, c.TLS.Cert, c.TLS.Key = "bron_certificaat", "", filepath.Join(tls, "client.crt"), filepath.Join(tls, "client.key")
			c.Database = "template0"
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := engine(t)
			change(&c)
			if c.Database == "template0" { // no database lets this role in: that it is refused there says that the certificate was taken
				_, err := Open(t.Context(), c, Options{})
				if err == nil || !strings.Contains(err.Error(), "not currently accepting connections") {
					t.Errorf("got %v", err)
				}
				return
			}
			open(t, c, Options{})
		})
	}
}

// Each thing that an operator can have wrong is told by name, with what mends it.
func TestRefusedByTheServer(t *testing.T) {
	admin := open(t, engine(t), Options{})
	readOnly := newDatabase(t, admin, "")
	exe(t, admin, `ALTER DATABASE `+readOnly+` SET default_transaction_read_only = on`)
	full := newDatabase(t, admin, "CONNECTION LIMIT 0")
	lezer := func(c *Config) {
		c.User, c.PasswordFile = "bron_lezer", filepath.Join(os.Getenv("GRENSLOOS_POSTGRES_DIR"), "wachtwoord", "bron_lezer")
	}
	for name, tc := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		"password":    {func(c *Config) { c.User = "bron_lezer" }, []string{"password of role bron_lezer", "wachtwoord/beheerder", `\password`}},
		"no password": {func(c *Config) { c.PasswordFile = "" }, []string{"wants a password", "wachtwoordBestand"}},
		"role":        {func(c *Config) { c.User = "niemand" }, []string{"niemand"}},
		"database":    {func(c *Config) { c.Database = "nergens" }, []string{"no database nergens", "CREATE DATABASE"}},
		"privilege":   {lezer, []string{"role bron_lezer lacks a privilege", "GRANT", "database"}},
		"read only":   {func(c *Config) { c.Database = readOnly }, []string{"takes writes", "promote", "RESET"}},
		"used up":     {func(c *Config) { lezer(c); c.Database = full }, []string{"used up", "max_connections"}},
		"other name":  {func(c *Config) { c.TLS.ServerName = "db.example" }, []string{"serverNaam"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := engine(t)
			tc.change(&c)
			_, err := Open(t.Context(), c, Options{})
			if gateway.KindOf(err) != gateway.Unavailable {
				t.Errorf("kind %v of %v", gateway.KindOf(err), err)
			}
			for _, want := range tc.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
	readOnlyOne := engine(t)
	readOnlyOne.Database = readOnly
	open(t, readOnlyOne, Options{ReadOnly: true})
}

// A changed password, a schema that changes under prepared statements, a connection that is cut, and a server that turns read only:
// the pool goes on without a restart.
func TestPoolGoesOn(t *testing.T) {
	c := engine(t)
	admin := open(t, c, Options{})
	c.Database, c.MaxConns = newDatabase(t, admin, ""), 1
	exe(t, admin, `ALTER DATABASE `+c.Database+` SET synchronous_commit = off`)
	db := open(t, c, Options{SearchPath: "public", LockTimeout: 100 * time.Millisecond})
	var commit string
	if err := db.QueryRowContext(t.Context(), `SHOW synchronous_commit`).Scan(&commit); err != nil || commit != "on" {
		t.Errorf("synchronous_commit is %q, %v", commit, err)
	}
	exe(t, db, `CREATE TABLE proef (a int); INSERT INTO proef VALUES (1)`)
	read := func() (columns int) {
		t.Helper()
		rows, err := db.QueryContext(t.Context(), `SELECT * FROM proef WHERE a >= $1`, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		names, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
		}
		if rows.Err() != nil {
			t.Fatal(rows.Err())
		}
		return len(names)
	}
	read()
	exe(t, db, `ALTER TABLE proef ADD COLUMN b text`)
	if got := read(); got != 2 {
		t.Errorf("%d columns after the change, want 2", got)
	}

	pid := func() (pid int) {
		t.Helper()
		if err := db.QueryRowContext(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	before := pid()
	if _, err := admin.ExecContext(t.Context(), `SELECT pg_terminate_backend($1, 5000)`, before); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		var one int
		err := db.QueryRowContext(t.Context(), `SELECT 1`).Scan(&one)
		if err == nil {
			break
		}
		if gateway.KindOf(c.Explain(err)) != gateway.Unavailable || time.Now().After(deadline) {
			t.Fatalf("after the cut: %v", c.Explain(err))
		}
	}

	before = pid()
	if _, err := db.ExecContext(t.Context(), `SET default_transaction_read_only = on`); err != nil { // as a primary that was demoted
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `INSERT INTO proef VALUES (2)`); Code(err) != "25006" {
		t.Fatalf("got %v", err)
	}
	exe(t, db, `INSERT INTO proef VALUES (2)`)
	if pid() == before {
		t.Error("the connection to a server that takes no writes was kept")
	}

	// A lock, and a statement whose context ends, end; the latter at the server too.
	tx, err := open(t, c, Options{SearchPath: "public"}).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), `LOCK TABLE proef`); err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), `INSERT INTO proef VALUES (3)`)
	if err := c.Explain(err); gateway.KindOf(err) != gateway.Unavailable || !strings.Contains(err.Error(), "pg_locks") {
		t.Errorf("lock: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err = db.ExecContext(ctx, `SELECT pg_sleep(30)`)
	if err == nil || time.Since(begin) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
	for {
		var n int
		if err := admin.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND query LIKE '%pg_sleep%' AND state = 'active'`, c.Database).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the statement still runs at the server")
		}
	}
	// Who waits for a connection that another one has waits as long as its context.
	tx, err = db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	short, cancelShort := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancelShort()
	err = c.Explain(db.PingContext(short))
	if gateway.KindOf(err) != gateway.Unavailable || !strings.Contains(err.Error(), "maxVerbindingen (1)") {
		t.Errorf("pool: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
}

// The password and the CA are read at each new connection; and a standby is passed by until it is the primary.
func TestFailover(t *testing.T) {
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ctl := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(context.Background(), os.Getenv("GRENSLOOS_POSTGRES_CTL"), args...).Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return string(out)
	}
	env := ctl("start", dir)
	t.Cleanup(func() { ctl("stop", dir) })
	ctl("standby", dir)
	value := func(name string) string {
		_, rest, _ := strings.Cut(env, "export "+name+"=")
		line, _, _ := strings.Cut(rest, "\n")
		return line
	}
	c := Config{
		Addresses: []string{value("GRENSLOOS_POSTGRES_STANDBY"), value("GRENSLOOS_POSTGRES")}, Database: "postgres", User: "beheerder",
		PasswordFile: filepath.Join(dir, "wachtwoord", "beheerder"), TLS: TLS{CA: value("GRENSLOOS_POSTGRES_CA")},
	}
	db := open(t, c, Options{})
	exe(t, db, `CREATE TABLE public.proef (a int)`)
	exe(t, db, `ALTER ROLE beheerder PASSWORD 'een-ander'`)
	if err := os.WriteFile(c.PasswordFile, []byte("een-ander"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctl("kill", dir)
	if err := c.Explain(db.PingContext(t.Context())); err == nil || !strings.Contains(err.Error(), "PostgreSQL") {
		t.Errorf("with a standby only: %v", err)
	}
	ctl("promote", dir)
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, err := db.ExecContext(t.Context(), `INSERT INTO public.proef VALUES (1)`)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(c.Explain(err))
		}
	}
}
