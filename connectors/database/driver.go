package database

import (
	"context"
	"database/sql/driver"
)

// logged shows log every statement that reaches the driver: below database/sql, so that nothing the source is asked can pass it
// by. Without a log the connector stays as it is.
func logged(c driver.Connector, log func(sql string)) driver.Connector {
	if log == nil {
		return c
	}
	return loggedConnector{c, log}
}

type loggedConnector struct {
	driver.Connector
	log func(sql string)
}

func (c loggedConnector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &loggedConn{inner, c.log}, nil
}

// loggedConn has the ways to a statement that database/sql uses, and passes on what keeps a connection usable.
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

func (c *loggedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	q, ok := c.Conn.(driver.QueryerContext)
	if !ok {
		return nil, driver.ErrSkip // it is prepared then
	}
	c.log(query)
	return q.QueryContext(ctx, query, args)
}

func (c *loggedConn) CheckNamedValue(v *driver.NamedValue) error {
	if k, ok := c.Conn.(driver.NamedValueChecker); ok {
		return k.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c *loggedConn) ResetSession(ctx context.Context) error {
	if r, ok := c.Conn.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

func (c *loggedConn) IsValid() bool {
	v, ok := c.Conn.(driver.Validator)
	return !ok || v.IsValid()
}
