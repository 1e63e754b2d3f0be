package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"maps"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/grensloos/grensloos/gateway"
)

// Options is what a user of a pool decides, not its operator.
type Options struct {
	// ApplicationName is shown in pg_stat_activity.
	ApplicationName string
	// SearchPath is where names without a schema are looked for. Default: the system's own only, so that statements name the schema.
	SearchPath string
	// StatementTimeout and LockTimeout end a statement at the server. 0: never.
	StatementTimeout, LockTimeout time.Duration
	// ReadOnly makes every transaction read only, and takes a standby too.
	ReadOnly bool
	// Settings are settings of the server that these connections have besides, whatever the role or the database says.
	Settings map[string]string
	// Wrap stands between database/sql and the connections, for instance to log statements.
	Wrap func(driver.Connector) driver.Connector
}

// A connection is used for at most connLifetime, so that a cluster's other members are found again after a change of primary, and
// closed after connIdle of rest.
const (
	connLifetime = 30 * time.Minute
	connIdle     = 5 * time.Minute
	// userTimeout is how long what was sent may be unacknowledged by the machine of the server.
	userTimeout = 30 * time.Second
)

// Open makes the pool and one connection, so that what is wrong is told at start; errors are explained. Afterwards connections come
// and go: after a restart or a failover of the server the next statement makes a new one.
func Open(ctx context.Context, c Config, o Options) (*sql.DB, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	c = c.defaults()
	connect, err := c.connector(o)
	if err != nil {
		return nil, err
	}
	if o.Wrap != nil {
		connect = o.Wrap(connect)
	}
	db := sql.OpenDB(connect)
	db.SetMaxOpenConns(c.MaxConns)
	db.SetMaxIdleConns(c.MaxConns)
	db.SetConnMaxLifetime(connLifetime)
	db.SetConnMaxIdleTime(connIdle)
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return nil, c.Explain(err)
	}
	return db, nil
}

// given says every key for which the driver would otherwise look at the environment in a way that can fail; what it does take from
// the environment is overwritten in base.
const given = "host=/ port=5432 user=x password=x database=x sslmode=disable sslcertmode=allow connect_timeout=5 " +
	"target_session_attrs=any min_protocol_version=3.0 max_protocol_version=3.0 channel_binding=prefer require_auth=scram-sha-256"

// base is the driver's configuration, without what is read anew at each connection.
func (c Config) base(o Options) (*pgx.ConnConfig, error) {
	if os.Getenv("PGSERVICE") != "" {
		return nil, gateway.Errorf(gateway.Invalid, "PGSERVICE is set in the environment: unset it; which server is used stands in the configuration")
	}
	p, err := pgx.ParseConfig(given)
	if err != nil {
		return nil, gateway.Errorf(gateway.Internal, "PostgreSQL driver: %v", err)
	}
	path := o.SearchPath
	if path == "" {
		path = "pg_catalog"
	}
	p.Database, p.User, p.Password = c.Database, c.User, ""
	p.KerberosSrvName, p.KerberosSpn, p.SSLNegotiation, p.SSLCertMode = "", "", "", ""
	p.RuntimeParams = map[string]string{
		"application_name": o.ApplicationName,
		// pg_temp last: by default a temporary table would stand before ours.
		"search_path":                         path + ", pg_temp",
		"timezone":                            "UTC",
		"client_encoding":                     "UTF8",
		"idle_in_transaction_session_timeout": "60000",
		"statement_timeout":                   strconv.FormatInt(o.StatementTimeout.Milliseconds(), 10),
		"lock_timeout":                        strconv.FormatInt(o.LockTimeout.Milliseconds(), 10),
	}
	maps.Copy(p.RuntimeParams, o.Settings)
	// A password leaves this process only in the form of SCRAM, which a false server cannot use elsewhere. none: the server asks no
	// password, since it knows us by our certificate or by the socket.
	p.RequireAuth, p.ChannelBinding = "scram-sha-256,none", "prefer"
	p.ConnectTimeout = c.Timeout
	// A machine that vanished is noticed in half a minute; what a server may do before it answers is for the context of the statement.
	dialer := &net.Dialer{Control: unanswered, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	p.DialFunc = dialer.DialContext
	// A statement whose context ends is cancelled at the server too; only if that does not help the connection is given up.
	p.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: time.Second}
	}
	if o.ReadOnly {
		p.RuntimeParams["default_transaction_read_only"] = "on"
		p.ValidateConnect = nil
	} else {
		p.ValidateConnect = takesWrites
		// Whatever the server, the database or the role says: what is acknowledged is on disk, here and at a synchronous standby.
		p.RuntimeParams["synchronous_commit"] = "on"
	}
	return p, nil
}

// connector reads files anew at each connection.
func (c Config) connector(o Options) (driver.Connector, error) {
	base, err := c.base(o)
	if err != nil {
		return nil, err
	}
	inner := stdlib.GetConnector(*base, stdlib.OptionBeforeConnect(func(_ context.Context, p *pgx.ConnConfig) error {
		password, err := c.password()
		if err != nil {
			return unreadable(err)
		}
		secure, err := c.tlsConfig()
		if err != nil {
			return unreadable(err)
		}
		p.Password, p.RuntimeParams, p.Fallbacks = password, maps.Clone(base.RuntimeParams), nil
		for i, s := range c.Addresses {
			a, err := parseAddress(s)
			if err != nil {
				return err
			}
			one := &pgconn.FallbackConfig{Host: a.host, Port: a.port}
			if secure != nil && !a.socket() {
				one.TLSConfig = secure.Clone()
				one.TLSConfig.ServerName = a.host
				if c.TLS.ServerName != "" {
					one.TLSConfig.ServerName = c.TLS.ServerName
				}
			}
			if i == 0 {
				p.Host, p.Port, p.TLSConfig = one.Host, one.Port, one.TLSConfig
				continue
			}
			p.Fallbacks = append(p.Fallbacks, one)
		}
		return nil
	}))
	return connector{inner, !o.ReadOnly}, nil
}

func unreadable(err error) error {
	return &gateway.Error{Kind: gateway.Unavailable, Message: "PostgreSQL: no connection is made", Cause: err}
}

// ErrReadOnly is of a server that takes no writes.
var ErrReadOnly = errors.New("the server takes no writes")

// takesWrites refuses a standby, and a database that is set read only. Servers from 14 on say so unasked.
func takesWrites(ctx context.Context, conn *pgconn.PgConn) error {
	standby, readOnly := conn.ParameterStatus("in_hot_standby"), conn.ParameterStatus("default_transaction_read_only")
	if standby == "" || readOnly == "" {
		result, err := conn.Exec(ctx, "SHOW transaction_read_only").ReadAll()
		if err != nil {
			return err
		}
		if len(result) == 1 && len(result[0].Rows) == 1 {
			readOnly = string(result[0].Rows[0][0])
		}
	}
	if standby == "on" || readOnly == "on" {
		return ErrReadOnly
	}
	return nil
}

type connector struct {
	driver.Connector
	writes bool
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: inner.(*stdlib.Conn), writes: c.writes}, nil //nolint:forcetypeassert // stdlib's connector makes no other
}

// conn gives up a connection to a server that has become a standby, and asks anew when a prepared statement went stale because the
// schema changed. Both would otherwise need a restart.
type conn struct {
	*stdlib.Conn
	writes, demoted bool
}

// IsValid says whether the pool may keep it.
func (c *conn) IsValid() bool { return !c.demoted && !c.Conn.Conn().IsClosed() }

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.Conn.QueryContext(ctx, query, args)
	if c.again(err) {
		rows, err = c.Conn.QueryContext(ctx, query, args)
	}
	return rows, err
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	done, err := c.Conn.ExecContext(ctx, query, args)
	if c.again(err) {
		done, err = c.Conn.ExecContext(ctx, query, args)
	}
	return done, err
}

// again notes what an error says of the connection, and tells whether the statement, which did not run, may be given once more.
func (c *conn) again(err error) bool {
	switch code := Code(err); code {
	case "25006": // read_only_sql_transaction
		c.demoted = c.writes
	case "0A000", "26000": // cached plan must not change result type; prepared statement does not exist
		return c.Conn.Conn().PgConn().TxStatus() == 'I' // in a transaction, that is lost: its owner begins again
	}
	return false
}
