package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/postgres"
)

// How to add a migration: the next number in migrations/sqlite and in migrations/postgres, equal in meaning, under the same name; in
// that of PostgreSQL the line `-- min_binary_schema: N`, where N is the oldest schema number that a program may have which still runs
// on the result (a new table or column with a default: the N of before; a column that goes away: this very number, in a release after
// the one that stopped using it); and for a new table its line in migrations/postgres/grants.sql. Never change one that was released:
// its checksum stands in every database.

// Migration is one step of the schema of PostgreSQL.
type Migration struct {
	Number    int
	Name      string
	SQL       string
	MinBinary int // a program whose own newest migration is older than this may not run on a schema that has this one
}

func (m Migration) sum() string {
	sum := sha256.Sum256([]byte(m.SQL))
	return hex.EncodeToString(sum[:])
}

// minBinaryKey begins the line of a migration that says so.
const minBinaryKey = "-- min_binary_schema: "

// steps are the migrations of this program; number n stands at n-1.
func steps(files fs.FS) ([]Migration, error) {
	names, err := fs.Glob(files, "migrations/postgres/0*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var all []Migration
	for _, name := range names {
		n, err := number(path.Base(name))
		if err != nil {
			return nil, err
		}
		if n == 0 { // the table of migrations itself
			continue
		}
		script, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		m := Migration{Number: n, Name: path.Base(name), SQL: string(script)}
		if n != len(all)+1 {
			return nil, fmt.Errorf("migration %s: want number %d", m.Name, len(all)+1)
		}
		_, line, _ := strings.Cut(m.SQL, minBinaryKey)
		if _, err := fmt.Sscanf(line, "%d", &m.MinBinary); err != nil || m.MinBinary < 1 || m.MinBinary > n {
			return nil, fmt.Errorf("migration %s: say %q and a number from 1 to its own", m.Name, minBinaryKey)
		}
		all = append(all, m)
	}
	return all, nil
}

// MigrateOptions is what `grensloos migrate` is asked.
type MigrateOptions struct {
	// User and PasswordFile are the role that owns the schema, in place of those of the configuration.
	User, PasswordFile string
	// DryRun changes nothing.
	DryRun bool
	files  fs.FS // migrations; a test has its own
}

// schemaName is the schema in which all tables are.
const schemaName = "grensloos"

// migrateWithin bounds the wait for a lock on a table, so that a migration does not hold up a running peer behind it.
const migrateWithin = 10 * time.Second

// Migrate brings the schema of a PostgreSQL database up to date, and gives the role of the configuration the privileges that running
// needs, all in one transaction. It returns the migrations that it ran, or would run. It refuses a schema that is newer than this
// program, or whose migrations are not ours.
func Migrate(ctx context.Context, cfg Config, o MigrateOptions) (ran []Migration, grants string, err error) {
	if !cfg.IsPostgres() {
		return nil, "", gateway.Errorf(gateway.Invalid, "driver: SQLite is brought up to date when the peer starts; there is nothing to do")
	}
	if err := cfg.Check(); err != nil {
		return nil, "", err
	}
	if o.files == nil {
		o.files = migrations
	}
	all, err := steps(o.files)
	if err != nil {
		return nil, "", err
	}
	c, runner := cfg.Postgres.Config, cfg.Postgres.User
	if c.User, c.PasswordFile, c.Password = cfg.Postgres.Migration.User, cfg.Postgres.Migration.PasswordFile, nil; o.User != "" {
		c.User, c.PasswordFile = o.User, o.PasswordFile
	}
	if c.User == "" {
		return nil, "", gateway.Errorf(gateway.Invalid, "postgres.migratie.gebruiker: give the role that owns the schema, or --gebruiker")
	}
	if c.User == runner {
		return nil, "", gateway.Errorf(gateway.Invalid, "--gebruiker: is the role that the peer runs as; who runs must not be able to change or drop the tables")
	}
	rights, err := fs.ReadFile(o.files, "migrations/postgres/grants.sql")
	if err != nil {
		return nil, "", err
	}
	grants = strings.ReplaceAll(string(rights), `:"rol"`, quote(runner))
	pool, err := postgres.Open(ctx, c, postgres.Options{ApplicationName: "grensloos migrate", SearchPath: schemaName, LockTimeout: migrateWithin})
	if err != nil {
		return nil, "", err
	}
	defer pool.Close()
	t, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return nil, "", c.Explain(err)
	}
	defer t.Rollback() //nolint:errcheck // no effect after Commit
	ran, err = migratePostgres(ctx, t, all, o, grants)
	if err != nil {
		return nil, "", c.Explain(err)
	}
	if o.DryRun {
		return ran, grants, nil
	}
	return ran, grants, c.Explain(t.Commit())
}

func migratePostgres(ctx context.Context, t *sql.Tx, all []Migration, o MigrateOptions, grants string) ([]Migration, error) {
	var held any
	if err := t.QueryRowContext(ctx, `SELECT pg_advisory_xact_lock($1, 0)`, lockClass).Scan(&held); err != nil { // one migration at a time
		return nil, err
	}
	var hasSchema, hasTable bool
	if err := t.QueryRowContext(ctx, `SELECT to_regnamespace($1) IS NOT NULL, to_regclass($1 || '.schema_migrations') IS NOT NULL`, schemaName).Scan(&hasSchema, &hasTable); err != nil {
		return nil, err
	}
	var at schemaState
	if hasTable {
		var err error
		if at, err = readSchema(ctx, t); err != nil {
			return nil, err
		}
	} else if !o.DryRun {
		if !hasSchema {
			if _, err := t.ExecContext(ctx, `CREATE SCHEMA `+schemaName); err != nil {
				return nil, err
			}
		}
		start, err := fs.ReadFile(o.files, "migrations/postgres/0000_schema.sql")
		if err != nil {
			return nil, err
		}
		if _, err := t.ExecContext(ctx, string(start)); err != nil {
			return nil, err
		}
	}
	if at.version > len(all) {
		return nil, gateway.Errorf(gateway.Conflict, "schema %d of the database is newer than this program, which has %d: use the newer Grensloos that made it", at.version, len(all))
	}
	if err := at.ours(all); err != nil {
		return nil, err
	}
	pending := all[at.version:]
	if o.DryRun {
		return pending, nil
	}
	for _, m := range pending {
		if _, err := t.ExecContext(ctx, m.SQL); err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
		if _, err := t.ExecContext(ctx, `INSERT INTO schema_migrations (number, name, sha256, min_binary_schema) VALUES ($1,$2,$3,$4)`,
			m.Number, m.Name, m.sum(), m.MinBinary); err != nil {
			return nil, err
		}
	}
	_, err := t.ExecContext(ctx, grants)
	return pending, err
}

// quote makes an identifier of a role's name.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// schemaState is what a database says of its schema.
type schemaState struct {
	version   int      // the newest migration; 0: none
	minBinary int      // the newest migration that a program must have at least
	sums      []string // by number, from 1
	names     []string
}

type rowsQueryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func readSchema(ctx context.Context, q rowsQueryer) (at schemaState, err error) {
	rows, err := q.QueryContext(ctx, `SELECT number, name, sha256, min_binary_schema FROM schema_migrations ORDER BY number`)
	if err != nil {
		return at, err
	}
	defer rows.Close()
	for rows.Next() {
		var n, oldest int
		var name, sum string
		if err := rows.Scan(&n, &name, &sum, &oldest); err != nil {
			return at, err
		}
		if n != len(at.sums)+1 {
			return at, gateway.Errorf(gateway.Conflict, "schema_migrations: number %d is missing: the database was changed by hand; put a back-up back", len(at.sums)+1)
		}
		at.version, at.minBinary = n, max(at.minBinary, oldest)
		at.sums, at.names = append(at.sums, sum), append(at.names, name)
	}
	return at, rows.Err()
}

// ours holds the migrations of a database to those of this program, as far as it has them.
func (at schemaState) ours(all []Migration) error {
	for i, m := range all[:min(len(all), at.version)] {
		if at.sums[i] != m.sum() {
			return gateway.Errorf(gateway.Conflict, "migration %s of the database is another than %s of this program: it is the database of another program, or one of the two was changed",
				at.names[i], m.Name)
		}
	}
	return nil
}

// fit says whether a program with these migrations may run.
func (at schemaState) fit(all []Migration) error {
	switch {
	case at.version == 0:
		return gateway.Errorf(gateway.Conflict, "the schema %s is not there: run grensloos migrate -c with this configuration", schemaName)
	case at.minBinary > len(all):
		return gateway.Errorf(gateway.Conflict, "schema %d of the database is for programs that know schema %d or newer, this one knows %d: start the newer Grensloos", at.version, at.minBinary, len(all))
	case at.version < len(all):
		return gateway.Errorf(gateway.Conflict, "schema %d of the database is older than this program, which needs %d: run grensloos migrate -c with this configuration (peers of the version before go on meanwhile)",
			at.version, len(all))
	}
	return at.ours(all)
}
