// Package store keeps the state of one peer: contracts with their signatures and what must still reach other peers, the peers
// that it knows, and the consents of its register. SQLite for one process, PostgreSQL for more; one set of methods, statements and
// tests for both. Where the two differ stands in sqlite.go and postgres.go.
//
// It decides nothing: whether a signature may stand beside the others is asked of gateway/contract inside the transaction that
// writes it, and what must be delivered is written in that same transaction. Content of a contract is kept byte for byte as it
// came, since hashes depend on array order (FSC Core, content hash), and is never updated or deleted.
//
// It refuses a database that this program is too old or too new for, and one that is not ours.
//
// Invariants: no BSN, name or other personal data of a resident enters a table, only a pseudonym of this peer; a change of
// contracts or signatures always moves contract_changes, in the same transaction; what is read in a transaction of inTx is not
// changed by another process until it ends.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/postgres"
)

// Config says where the state is kept.
type Config struct {
	// Driver is the engine: "sqlite" (the default), or "postgres".
	Driver string `yaml:"driver"`
	// Pad is the file of the SQLite database; it is made, with mode 0600, when it does not exist.
	Pad string `yaml:"pad"`
	// Postgres is the PostgreSQL database, for the driver postgres (docs/postgresql.md).
	Postgres PostgresConfig `yaml:"postgres"`
}

// PostgresConfig is the database, as whom this peer uses it, and as whom `grensloos migrate` makes its schema.
type PostgresConfig struct {
	postgres.Config `yaml:",inline"`
	// Migration is the role that owns the schema. Only `grensloos migrate` signs in as it.
	Migration MigrationConfig `yaml:"migratie"`
}

// MigrationConfig is the role that owns the schema.
type MigrationConfig struct {
	// User is its name.
	User string `yaml:"gebruiker"`
	// PasswordFile holds its password; mode 0600. It need not be on the machine where the peer runs.
	PasswordFile string `yaml:"wachtwoordBestand"`
}

// IsPostgres reports whether the state is in PostgreSQL.
func (c Config) IsPostgres() bool { return c.Driver == drivePostgres }

const (
	driveSQLite   = "sqlite"
	drivePostgres = "postgres"
	// minConns is what a store needs: one to write, one to read, and one for who leads (Alone).
	minConns = 3
)

// Check returns all that is wrong at once, each with its key and the mend.
func (c Config) Check() error {
	switch c.Driver {
	case "", driveSQLite:
		return nil
	case drivePostgres:
	default:
		return gateway.Errorf(gateway.Invalid, "driver %.20q: use %q or %q", c.Driver, driveSQLite, drivePostgres)
	}
	var errs []error
	if err := c.Postgres.Check(); err != nil {
		errs = append(errs, gateway.Wrap(gateway.Invalid, err, "postgres"))
	}
	if c.Postgres.MaxConns != 0 && c.Postgres.MaxConns < minConns {
		errs = append(errs, gateway.Errorf(gateway.Invalid, "postgres.maxVerbindingen: %d or more", minConns))
	}
	if c.Postgres.Migration.User != "" && c.Postgres.Migration.User == c.Postgres.User {
		errs = append(errs, gateway.Errorf(gateway.Invalid, "postgres.migratie.gebruiker: is the role that the peer runs as; who runs must not be able to change or drop the tables"))
	}
	return errors.Join(errs...)
}

// Files are the file names in it, for the program to resolve.
func (c *Config) Files() []*string {
	return append(c.Postgres.Files(), &c.Postgres.Migration.PasswordFile)
}

// Store is one peer's state. Its methods may be called from many goroutines. Errors are of kind NotFound, Conflict or Invalid
// where they say so; all others are of kind Unavailable: nobody can tell what is true as long as the database fails. After one of
// kind Unavailable a change may have been made or not; every method that writes may be called again with the same arguments, and
// then says what it would have said.
type Store struct {
	engine
	write  *db
	read   *db
	within time.Duration // bounds each write: what works in the background has no context that ends
}

//go:embed migrations
var migrations embed.FS

// Open opens the database. That of SQLite is made if it is not there, and its schema brought up to date; that of PostgreSQL is
// refused if `grensloos migrate` did not make it fit for this program.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.IsPostgres() {
		return openPostgres(ctx, cfg, false)
	}
	return openFile(ctx, cfg.Pad)
}

// Inspect opens a database to read from it, also while its peer runs. Only the methods that read may be called. It refuses a
// database that is not there, of another program, or with a schema that this program can't read.
func Inspect(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.IsPostgres() {
		return openPostgres(ctx, cfg, true)
	}
	return inspectFile(ctx, cfg.Pad)
}

// Close gives the database back. SQLite's write-ahead log is folded into the file when this was the last connection.
func (s *Store) Close() error {
	var errs []error
	if s.read != nil && s.read != s.write {
		errs = append(errs, s.read.Close())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	return errors.Join(errs...)
}

// Ping reports whether the database answers, takes writes, and is still one that this program may use.
func (s *Store) Ping(ctx context.Context) error {
	return s.unavailable(s.alive(ctx), "ping")
}

// writeWithin is longer than the engines themselves let a statement or a wait for a lock last.
const writeWithin = 45 * time.Second

// triesTx is how often a transaction is run at most.
const triesTx = 4

// inTx runs fn in a writing transaction, in which nothing that fn reads is changed by another transaction of the same area: SQLite
// has one writer, and on PostgreSQL each area has a lock. fn's classified errors come out as they are. fn runs again when the
// database undid the transaction, so it must set what it returns anew each time.
func (s *Store) inTx(ctx context.Context, area string, fn func(*tx) error) error {
	for try := 1; ; try++ {
		committing, err := s.once(ctx, area, fn)
		// After a COMMIT that was not answered nobody knows what is true: that is the caller's to ask again.
		if err == nil || committing || try == triesTx || ctx.Err() != nil || !s.again(err) {
			s.wrote(err)
			return s.unavailable(err, area)
		}
	}
}

func (s *Store) once(ctx context.Context, area string, fn func(*tx) error) (committing bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	leave, err := s.enter(ctx, area)
	if err != nil {
		return false, err
	}
	defer leave()
	inner, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer inner.Rollback() //nolint:errcheck // no effect after Commit
	t := &tx{inner, s.write.marks}
	if err := s.lock(ctx, t, area); err != nil {
		return false, err
	}
	if err := fn(t); err != nil {
		return false, err
	}
	return true, inner.Commit()
}

// exec runs one statement that writes and that may be run twice.
func (s *Store) exec(ctx context.Context, doing, query string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	for try := 1; ; try++ {
		_, err := s.write.ExecContext(ctx, query, args...)
		if err == nil || try == triesTx || ctx.Err() != nil || !s.again(err) {
			s.wrote(err)
			return s.unavailable(err, doing)
		}
	}
}

// unavailable classifies what the database itself says; an error that is classified already stays as it is.
func (s *Store) unavailable(err error, doing string) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*gateway.Error](err); ok {
		return err
	}
	return gateway.Wrap(gateway.Unavailable, s.explain(err), "database: "+doing)
}

// changed reports whether a statement changed a row.
func changed(done sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	return n > 0, err
}

func unixMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// number reads the number that begins a migration's name.
func number(name string) (n int, err error) {
	if _, err := fmt.Sscanf(name, "%04d_", &n); err != nil {
		return 0, fmt.Errorf("migration %s: its name begins with four digits and _", name)
	}
	return n, nil
}
