// Package store keeps the state of one peer: contracts with their signatures and what must still reach other peers, the peers
// that it knows, and the consents of its register. SQLite today; the statements and the tests are written so that PostgreSQL
// can pass the same suite.
//
// It decides nothing: whether a signature may stand beside the others is asked of gateway/contract inside the transaction that
// writes it, and what must be delivered is written in that same transaction. Content of a contract is kept byte for byte as it
// came, since hashes depend on array order (FSC Core, content hash), and is never updated or deleted.
//
// It refuses a database that a newer Grensloos wrote, and a file that is not ours.
//
// Invariants: no BSN, name or other personal data of a resident enters a table, only a pseudonym of this peer; a change of
// contracts or signatures always moves contract_changes, in the same transaction.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/grensloos/grensloos/gateway"
)

// Config says where the state is kept.
type Config struct {
	// Driver is the engine: "sqlite" (the default).
	Driver string `yaml:"driver"`
	// Pad is the file of the SQLite database; it is made, with mode 0600, when it does not exist.
	Pad string `yaml:"pad"`
}

// Store is one peer's state. Its methods may be called from many goroutines. Errors are of kind NotFound, Conflict or Invalid
// where they say so; all others are of kind Unavailable: nobody can tell what is true as long as the database fails.
type Store struct {
	write *sql.DB // one connection: SQLite has one writer, and every transaction on it starts as one
	read  *sql.DB
}

//go:embed migrations
var migrations embed.FS

// applicationID marks the file as ours ("GRSL").
const applicationID = 0x4752534c

// Open opens the database, makes it if it is not there, and brings its schema up to date.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Driver != "" && cfg.Driver != "sqlite" {
		return nil, gateway.Errorf(gateway.Invalid, "store.driver %.20q: use \"sqlite\"", cfg.Driver)
	}
	if cfg.Pad == "" {
		return nil, gateway.Errorf(gateway.Invalid, "store.pad: give the file of the database")
	}
	pad, err := filepath.Abs(cfg.Pad)
	if err != nil {
		return nil, fmt.Errorf("store.pad: %w", err)
	}
	if err := private(pad); err != nil {
		return nil, err
	}
	s := &Store{}
	if s.write, err = openSQLite(pad, "_txlock=immediate"); err != nil {
		return nil, err
	}
	s.write.SetMaxOpenConns(1)
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", pad, err), s.Close())
	}
	if s.read, err = openSQLite(pad, "_pragma=query_only(1)"); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.read.SetMaxOpenConns(max(4, runtime.NumCPU()))
	s.read.SetMaxIdleConns(max(4, runtime.NumCPU()))
	return s, nil
}

// Close gives the database back. The write-ahead log is folded into the file when this was the last connection.
func (s *Store) Close() error {
	var errs []error
	if s.read != nil {
		errs = append(errs, s.read.Close())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	return errors.Join(errs...)
}

// Inspect opens a database to read from it, also while its peer runs. Only the methods that read may be called. It refuses a
// database that is not there, of another program, or with another schema than this program's.
func Inspect(ctx context.Context, cfg Config) (*Store, error) {
	if _, err := os.Stat(cfg.Pad); err != nil {
		return nil, gateway.Wrap(gateway.NotFound, err, "database")
	}
	files, err := fs.Glob(migrations, "migrations/sqlite/*.sql")
	if err != nil {
		return nil, err
	}
	s := &Store{}
	if s.read, err = openSQLite(cfg.Pad, "_pragma=query_only(1)"); err != nil {
		return nil, err
	}
	s.read.SetMaxOpenConns(1)
	var version, app int
	row := s.read.QueryRowContext(ctx, `SELECT (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id)`)
	if err := row.Scan(&version, &app); err != nil {
		return nil, errors.Join(unavailable(err, "schema"), s.Close())
	}
	if app != applicationID || version != len(files) {
		return nil, errors.Join(gateway.Errorf(gateway.Conflict, "database %s: schema %d, this program has %d: the peer brings it up to date when it starts", cfg.Pad, version, len(files)), s.Close())
	}
	return s, nil
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	return unavailable(s.read.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'contracts'`).Scan(&one), "ping")
}

// private makes the file with mode 0600 (SQLite gives its side files the same mode) and refuses one that others may read.
func private(pad string) error {
	f, err := os.OpenFile(pad, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return gateway.Errorf(gateway.Invalid, "database %s: mode %v, want a file that only its owner may read: chmod 600", pad, info.Mode())
	}
	return nil
}

func openSQLite(pad, extra string) (*sql.DB, error) {
	dsn := url.URL{
		Scheme: "file", Path: pad,
		RawQuery: "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&" + extra,
	}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", pad, err)
	}
	return db, nil
}

// migrate runs the numbered files that this database has not seen, all in one transaction.
func (s *Store) migrate(ctx context.Context) error {
	files, err := fs.Glob(migrations, "migrations/sqlite/*.sql") // sorted
	if err != nil {
		return err
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // no effect after Commit
	var version, app, tables int
	if err := tx.QueryRowContext(ctx, `SELECT (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id),
		(SELECT count(*) FROM sqlite_master)`).Scan(&version, &app, &tables); err != nil {
		return err
	}
	if app != applicationID && (app != 0 || version != 0 || tables != 0) {
		return gateway.Errorf(gateway.Invalid, "is a SQLite database of another program: give another file")
	}
	if version > len(files) {
		return gateway.Errorf(gateway.Invalid, "has schema %d, this program knows up to %d: use the newer Grensloos that wrote it", version, len(files))
	}
	if version == len(files) {
		return nil
	}
	for _, file := range files[version:] {
		script, err := migrations.ReadFile(file)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, string(script)); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, len(files))); err != nil {
		return err
	}
	return tx.Commit()
}

// inTx runs fn in a writing transaction. fn's classified errors come out as they are.
func (s *Store) inTx(ctx context.Context, doing string, fn func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return unavailable(err, doing)
	}
	defer tx.Rollback() //nolint:errcheck // no effect after Commit
	if err := fn(tx); err != nil {
		return unavailable(err, doing)
	}
	return unavailable(tx.Commit(), doing)
}

// unavailable classifies what the database itself says; an error that is classified already stays as it is.
func unavailable(err error, doing string) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*gateway.Error](err); ok {
		return err
	}
	return gateway.Wrap(gateway.Unavailable, err, "database: "+doing)
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
