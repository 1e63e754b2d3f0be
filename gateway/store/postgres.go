package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/postgres"
)

const (
	// lockClass and leadClass are the first halves of the keys of our advisory locks: of areas, and of who leads.
	lockClass = 0x4752534c
	leadClass = lockClass + 1
	// statementWithin and lockWithin bound what the server does for us; a caller's context may be shorter.
	statementWithin = 30 * time.Second
	lockWithin      = 15 * time.Second
)

// postgresEngine keeps what SQLite gives for free: one writer. Every transaction of inTx begins with the advisory lock of its area and
// is READ COMMITTED, so all that it reads was committed before it had the lock, and stays so until it ends.
//
// That is chosen over SERIALIZABLE, which undoes one of two transactions that met and asks for retries: here each Sign moves the one row
// of contract_changes, so with n signatures at once there would be n rounds of retries, and the pages of small tables would make
// transactions meet that have nothing to do with each other. With the lock they queue, in the order in which they came. The rights to
// what is read most, questions about contracts and consents, take no lock. A statement that writes alone (exec) needs none either: its
// conditions hold of the row that it changes.
type postgresEngine struct {
	cfg   postgres.Config
	steps []Migration
	pool  *db
	// inspect reads only, and from a standby too.
	inspect bool

	mu    sync.Mutex
	gates map[string]chan struct{} // by area; guarded by mu. Who waits for another of this process keeps no connection busy.

	full atomic.Pointer[error] // set while the last write that came through, or not, found the server's disk full
}

func openPostgres(ctx context.Context, cfg Config, inspect bool) (*Store, error) {
	all, err := steps(migrations)
	if err != nil {
		return nil, err
	}
	return openSteps(ctx, cfg, inspect, all)
}

// openSteps is openPostgres for a program with these migrations.
func openSteps(ctx context.Context, cfg Config, inspect bool, all []Migration) (*Store, error) {
	o := postgres.Options{
		ApplicationName: "grensloos", SearchPath: schemaName, StatementTimeout: statementWithin, LockTimeout: lockWithin, ReadOnly: inspect,
	}
	pool, err := postgres.Open(ctx, cfg.Postgres.Config, o)
	if err != nil {
		return nil, err
	}
	e := &postgresEngine{cfg: cfg.Postgres.Config, steps: all, inspect: inspect, gates: map[string]chan struct{}{}}
	e.pool = &db{pool, numbered, e.again}
	s := &Store{engine: e, read: e.pool, write: e.pool, within: writeWithin} // for reading, the server refuses what writes
	if err := e.fit(ctx); err != nil {
		return nil, errors.Join(s.unavailable(err, "schema"), s.Close())
	}
	return s, nil
}

// fit reads what the database says of its schema, and whether this program may run on it.
func (e *postgresEngine) fit(ctx context.Context) error {
	at, err := readSchema(ctx, e.pool)
	if postgres.Code(err) == "42P01" { // undefined_table
		return schemaState{}.fit(e.steps)
	}
	if err != nil {
		return err
	}
	return at.fit(e.steps)
}

// enter lets one transaction per area of this process through.
func (e *postgresEngine) enter(ctx context.Context, area string) (leave func(), err error) {
	e.mu.Lock()
	gate := e.gates[area]
	if gate == nil {
		gate = make(chan struct{}, 1)
		e.gates[area] = gate
	}
	e.mu.Unlock()
	select {
	case gate <- struct{}{}:
		return func() { <-gate }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// lock also refuses, in the same round trip, what a migration made meanwhile that this program is too old for.
func (e *postgresEngine) lock(ctx context.Context, t *tx, area string) error {
	var held any
	var oldest int
	if err := t.QueryRowContext(ctx, `SELECT pg_advisory_xact_lock(?, hashtext(?)), (SELECT max(min_binary_schema) FROM schema_migrations)`, lockClass, area).Scan(&held, &oldest); err != nil {
		return err
	}
	if oldest > len(e.steps) {
		return schemaState{version: oldest, minBinary: oldest}.fit(e.steps)
	}
	return nil
}

func (e *postgresEngine) again(err error) bool { return postgres.Again(err) || postgres.Lost(err) }

func (e *postgresEngine) explain(err error) error {
	switch postgres.Code(err) {
	case "42P01", "3F000", "42703":
		return gateway.Wrap(gateway.Unavailable, e.cfg.Explain(err), "grensloos migrate -c with this configuration mends it")
	case "42501":
		return gateway.Wrap(gateway.Unavailable, e.cfg.Explain(err), fmt.Sprintf("grensloos migrate -c with this configuration gives role %s what it needs", e.cfg.User))
	}
	return e.cfg.Explain(err)
}

func (e *postgresEngine) wrote(err error) {
	switch {
	case err == nil:
		e.full.Store(nil)
	case postgres.Code(err) == "53100": // disk_full
		e.full.Store(&err)
	}
}

// alive is asked by health checks: whether the server answers, takes writes, and has a schema for this program.
func (e *postgresEngine) alive(ctx context.Context) error {
	var readOnly string
	if err := e.pool.QueryRowContext(ctx, `SELECT current_setting('transaction_read_only')`).Scan(&readOnly); err != nil {
		return err
	}
	if readOnly == "on" && !e.inspect {
		return postgres.ErrReadOnly
	}
	if full := e.full.Load(); full != nil {
		return *full
	}
	return e.fit(ctx)
}

// alone holds an advisory lock on a connection of its own. The lock ends with the connection, so that a leader that dies leaves none.
func (e *postgresEngine) alone(ctx context.Context, name string, do func(context.Context) error) (did bool, err error) {
	conn, err := e.pool.Conn(ctx)
	if err != nil {
		return false, gateway.Wrap(gateway.Unavailable, e.explain(err), "database: leader")
	}
	defer conn.Close()
	var first bool
	if err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1, hashtext($2))`, leadClass, name).Scan(&first); err != nil {
		return false, gateway.Wrap(gateway.Unavailable, e.explain(err), "database: leader")
	}
	if !first {
		return false, nil
	}
	defer func() {
		var free bool
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockWithin)
		defer cancel()
		if err := conn.QueryRowContext(ending, `SELECT pg_advisory_unlock($1, hashtext($2))`, leadClass, name).Scan(&free); err != nil || !free {
			_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // the lock goes with it
		}
	}()
	return true, do(ctx)
}

var _ rowsQueryer = (*sql.Tx)(nil)

// Warning is what a database does that it should not, though it can be used.
type Warning struct{ Text, Mend string }

// Review looks at settings of a PostgreSQL database that cost durability or availability; of SQLite there is nothing to say.
func (s *Store) Review(ctx context.Context) ([]Warning, error) {
	e, ok := s.engine.(*postgresEngine)
	if !ok {
		return nil, nil
	}
	var fsync, encoding string
	var owns, super, standby bool
	var used, most, roleLimit int
	err := e.pool.QueryRowContext(ctx, `SELECT current_setting('fsync'), current_setting('server_encoding'), pg_is_in_recovery(),
		(SELECT pg_has_role(current_user, nspowner, 'USAGE') FROM pg_namespace WHERE nspname = ?), (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
		(SELECT sum(numbackends) FROM pg_stat_database)::integer, current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer,
		(SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user)`, schemaName).Scan(&fsync, &encoding, &standby, &owns, &super, &used, &most, &roleLimit)
	if err != nil {
		return nil, s.unavailable(err, "review")
	}
	var all []Warning
	warn := func(mend, format string, args ...any) {
		all = append(all, Warning{fmt.Sprintf(format, args...), mend})
	}
	own := e.cfg.User
	if fsync == "off" {
		warn("fsync = on in postgresql.conf", "fsync is off: wat bevestigd is kan verloren gaan als de machine uitvalt")
	}
	if encoding != "UTF8" {
		warn("maak de database opnieuw met ENCODING 'UTF8'", "de database bewaart tekst in %s: een naam met een vreemd teken wordt geweigerd", encoding)
	}
	if owns || super {
		warn("laat de peer draaien als een eigen rol, en grensloos migrate de rechten geven", "rol %s kan de tabellen wijzigen en weggooien", own)
	}
	if standby {
		warn("noem de primary in opslag.postgres.adressen, of wacht tot zij er is", "alleen een standby antwoordt: er wordt niets opgeslagen")
	}
	if conns := e.cfg.Conns(); most-used < conns {
		warn("verhoog max_connections, of verlaag maxVerbindingen van wie er gebruikt", "van de %d verbindingen van de server zijn er %d in gebruik; deze peer mag er %d", most, used, conns)
	}
	if roleLimit >= 0 && roleLimit < 2*e.cfg.Conns() {
		warn(fmt.Sprintf("ALTER ROLE %q CONNECTION LIMIT %d", own, 2*e.cfg.Conns()), "rol %s mag %d verbindingen; bij een herstart zijn er even tweemaal maxVerbindingen (%d)", own, roleLimit, e.cfg.Conns())
	}
	return all, nil
}
