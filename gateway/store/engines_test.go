//go:build engines

package store

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway/postgres"
)

// server is a PostgreSQL server of .ci/postgres; a missing one fails, since nothing may skip where this tag is set.
type server struct {
	addresses []string
	dir       string // of .ci/postgres
}

func shared(t testing.TB) server {
	t.Helper()
	if os.Getenv("GRENSLOOS_POSTGRES") == "" {
		t.Fatal("GRENSLOOS_POSTGRES is empty: eval \"$(.ci/postgres start DIR)\"")
	}
	return server{[]string{os.Getenv("GRENSLOOS_POSTGRES")}, os.Getenv("GRENSLOOS_POSTGRES_DIR")}
}

func (s server) as(role, database string) postgres.Config {
	return postgres.Config{
		Addresses: s.addresses, Database: database, User: role, PasswordFile: filepath.Join(s.dir, "wachtwoord", role),
		TLS: postgres.TLS{CA: filepath.Join(s.dir, "tls", "ca.pem")}, MaxConns: 8,
	}
}

func (s server) config(database string) Config {
	c := Config{Driver: drivePostgres}
	c.Postgres.Config = s.as("grensloos", database)
	c.Postgres.Migration = MigrationConfig{User: "grensloos_migratie", PasswordFile: filepath.Join(s.dir, "wachtwoord", "grensloos_migratie")}
	return c
}

func (s server) pool(t testing.TB, role, database string) *sql.DB {
	t.Helper()
	db, err := postgres.Open(context.Background(), s.as(role, database), postgres.Options{SearchPath: schemaName})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

var counter struct {
	sync.Mutex
	n int
}

// database makes an empty one, as docs/postgresql.md tells a database administrator to.
func (s server) database(t testing.TB) string {
	t.Helper()
	counter.Lock()
	counter.n++
	name := fmt.Sprintf("store_test_%d_%d", os.Getpid(), counter.n)
	counter.Unlock()
	admin := s.pool(t, "beheerder", "postgres")
	run(t, admin, `CREATE DATABASE `+name+` OWNER grensloos_migratie`, `REVOKE ALL ON DATABASE `+name+` FROM PUBLIC`, `GRANT CONNECT ON DATABASE `+name+` TO grensloos`)
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.Background(), `DROP DATABASE `+name+` WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	return name
}

// migrated makes one with the schema of this program.
func (s server) migrated(t testing.TB) Config {
	t.Helper()
	cfg := s.config(s.database(t))
	if _, _, err := Migrate(context.Background(), cfg, MigrateOptions{}); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func run(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.ExecContext(context.Background(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// TestPostgres runs the tests of the suite on PostgreSQL, each on a database of its own, as the role that may do least.
func TestPostgres(t *testing.T) {
	srv := shared(t)
	sqlite := configAt
	defer func() { configAt = sqlite }()
	made := map[string]Config{}
	configAt = func(t *testing.T, pad string) Config {
		t.Helper()
		if !strings.HasPrefix(t.Name(), "TestPostgres/") {
			t.Fatal("runs beside TestPostgres")
		}
		if _, ok := made[pad]; !ok {
			made[pad] = srv.migrated(t)
		}
		return made[pad]
	}
	for name, test := range suite {
		t.Run(name, test)
	}
}

// pollUntil waits for what comes of itself.
func pollUntil(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, within)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
