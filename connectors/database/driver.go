package database

import (
	"context"
	"database/sql/driver"

	"modernc.org/sqlite"
)

// connector opens connections to one file and, if there is a log, shows it every statement that reaches the driver: below
// database/sql, so that nothing the source is asked can pass it by.
type connector struct {
	dsn string
	log func(sql string)
}

func (c connector) Driver() driver.Driver { return &sqlite.Driver{} }

func (c connector) Connect(context.Context) (driver.Conn, error) {
	inner, err := c.Driver().Open(c.dsn)
	if err != nil || c.log == nil {
		return inner, err
	}
	return &loggedConn{inner, c.log}, nil
}

// loggedConn has no other way to a statement than Prepare: database/sql then prepares what it would otherwise run at once.
type loggedConn struct {
	driver.Conn
	log func(sql string)
}

func (c *loggedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	c.log(query)
	if p, ok := c.Conn.(driver.ConnPrepareContext); ok {
		return p.PrepareContext(ctx, query)
	}
	return c.Conn.Prepare(query)
}

func (c *loggedConn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}
