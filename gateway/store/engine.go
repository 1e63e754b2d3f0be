package store

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
)

// engine is where the databases differ, beside their migrations. Seven methods: what SQLite gives for free has to be done on the other.
type engine interface {
	// enter waits until this process may begin a transaction of an area, without a connection.
	enter(ctx context.Context, area string) (leave func(), err error)
	// lock keeps other processes out of an area until the transaction ends. It is the transaction's first statement.
	lock(ctx context.Context, t *tx, area string) error
	// again reports whether what failed so was undone, or not begun, and may succeed at once.
	again(err error) bool
	// explain says what an error means.
	explain(err error) error
	// wrote hears how each write ended.
	wrote(err error)
	// alive is what Ping asks.
	alive(ctx context.Context) error
	// alone is Alone.
	alone(ctx context.Context, name string, do func(context.Context) error) (bool, error)
}

// Alone runs do unless another process on this database is in an Alone of the same name: then it returns false at once. It is for what
// a peer does of its own accord, when doing it twice is wrong though each half is right: a contract that would be proposed twice. It
// keeps apart for as long as the connection lives that holds the lock; what must never happen twice needs a row of its own.
//
// All else needs no leader: deliveries are claimed one by one (ClaimDeliveries), and what is read of a directory may be written by
// several, the last one as a whole (PutDirectory).
func (s *Store) Alone(ctx context.Context, name string, do func(context.Context) error) (did bool, err error) {
	return s.alone(ctx, name, do)
}

// db is a pool that takes ? for a placeholder, whatever the engine's own are, and that asks a read again which failed because its
// connection was gone.
type db struct {
	*sql.DB
	marks func(string) string
	again func(error) bool
}

func (d *db) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	query = d.marks(query)
	rows, err := d.DB.QueryContext(ctx, query, args...)
	if err != nil && ctx.Err() == nil && d.again(err) {
		rows, err = d.DB.QueryContext(ctx, query, args...)
	}
	return rows, err
}

func (d *db) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	query = d.marks(query)
	row := d.DB.QueryRowContext(ctx, query, args...)
	if err := row.Err(); err != nil && ctx.Err() == nil && d.again(err) {
		row = d.DB.QueryRowContext(ctx, query, args...)
	}
	return row
}

func (d *db) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return d.DB.ExecContext(ctx, d.marks(query), args...)
}

// tx is a transaction that takes ? for a placeholder.
type tx struct {
	*sql.Tx
	marks func(string) string
}

func (t *tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return t.Tx.QueryContext(ctx, t.marks(query), args...)
}

func (t *tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return t.Tx.QueryRowContext(ctx, t.marks(query), args...)
}

func (t *tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return t.Tx.ExecContext(ctx, t.marks(query), args...)
}

// asIs is for an engine whose placeholder is ?.
func asIs(query string) string { return query }

// numbered makes $1, $2 of ?. No statement of ours has a ? elsewhere.
func numbered(query string) string {
	var b strings.Builder
	b.Grow(len(query) + 16)
	for n := 1; ; n++ {
		before, after, more := strings.Cut(query, "?")
		b.WriteString(before)
		if !more {
			return b.String()
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
		query = after
	}
}
