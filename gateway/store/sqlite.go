package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/grensloos/grensloos/gateway"
)

// applicationID marks the file as ours ("GRSL").
const applicationID = 0x4752534c

// sqlite has one writer: every transaction starts as one, and nothing needs a lock of its own.
type sqlite struct{ read *db }

func (sqlite) enter(context.Context, string) (leave func(), err error) { return func() {}, nil }

func (sqlite) lock(context.Context, *tx, string) error { return nil }

func (sqlite) again(error) bool { return false }

func (sqlite) explain(err error) error { return err }

func (sqlite) wrote(error) {}

func (e *sqlite) alive(ctx context.Context) error {
	var one int
	return e.read.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'contracts'`).Scan(&one)
}

// alone is always so: one process owns the data folder.
func (sqlite) alone(ctx context.Context, _ string, do func(context.Context) error) (bool, error) {
	return true, do(ctx)
}

// openFile opens a database, makes it if it is not there, and brings its schema up to date.
func openFile(ctx context.Context, name string) (*Store, error) {
	if name == "" {
		return nil, gateway.Errorf(gateway.Invalid, "pad: give the file of the database")
	}
	pad, err := filepath.Abs(name)
	if err != nil {
		return nil, fmt.Errorf("pad: %w", err)
	}
	if err := private(pad); err != nil {
		return nil, err
	}
	e := &sqlite{}
	s := &Store{engine: e, within: writeWithin}
	// One connection: SQLite has one writer, and every transaction on it starts as one.
	if s.write, err = openSQLite(pad, "_txlock=immediate", 1); err != nil {
		return nil, err
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", pad, err), s.Close())
	}
	if s.read, err = openSQLite(pad, "_pragma=query_only(1)", max(4, runtime.NumCPU())); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	e.read = s.read
	return s, nil
}

func inspectFile(ctx context.Context, pad string) (*Store, error) {
	if _, err := os.Stat(pad); err != nil {
		return nil, gateway.Wrap(gateway.NotFound, err, "database")
	}
	files, err := fs.Glob(migrations, "migrations/sqlite/*.sql")
	if err != nil {
		return nil, err
	}
	e := &sqlite{}
	s := &Store{engine: e, within: writeWithin}
	if s.read, err = openSQLite(pad, "_pragma=query_only(1)", 1); err != nil {
		return nil, err
	}
	e.read = s.read
	var version, app int
	row := s.read.QueryRowContext(ctx, `SELECT (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id)`)
	if err := row.Scan(&version, &app); err != nil {
		return nil, errors.Join(s.unavailable(err, "schema"), s.Close())
	}
	if app != applicationID || version != len(files) {
		return nil, errors.Join(gateway.Errorf(gateway.Conflict, "database %s: schema %d, this program has %d: the peer brings it up to date when it starts", pad, version, len(files)), s.Close())
	}
	return s, nil
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

func openSQLite(pad, extra string, conns int) (*db, error) {
	dsn := url.URL{
		Scheme: "file", Path: pad,
		RawQuery: "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&" + extra,
	}
	pool, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", pad, err)
	}
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	return &db{pool, asIs, sqlite{}.again}, nil
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
