package postgres

import (
	"context"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/grensloos/grensloos/gateway"
)

// Code is the SQLSTATE of an error of the server, or empty.
func Code(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// Again reports whether a transaction that failed so was undone by the server because of another one at the same time, or because
// a prepared statement went stale, and may be tried anew from its beginning.
func Again(err error) bool {
	switch Code(err) {
	case "40001", "40P01", "0A000", "26000":
		return true
	}
	return false
}

// Lost reports whether a connection was lost, or ended by the server. What was under way is undone, unless it was a COMMIT, or a statement
// without a transaction: then nobody knows.
func Lost(err error) bool {
	switch code := Code(err); {
	case code == "57P01", code == "57P02", code == "57P05", code == "25P03", strings.HasPrefix(code, "08"):
		return true
	case code != "":
		return false
	}
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	for _, lost := range []error{driver.ErrBadConn, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, lost) {
			return true
		}
	}
	return false
}

// Explain says what an error of a pool of c means, and what mends it. It is Unavailable where the same call may succeed later, once
// somebody mended it if need be; else Internal. An error that is classified already is returned as it is. The values of the statement
// and of rows, which the server repeats in some errors, are left out.
func (c Config) Explain(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*gateway.Error](err); ok {
		return err
	}
	say := func(format string, args ...any) error {
		return &gateway.Error{Kind: gateway.Unavailable, Message: "PostgreSQL: " + fmt.Sprintf(format, args...), Cause: safe(err)}
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		if meaning := c.meaning(e); meaning != "" {
			return say("%s", meaning)
		}
		return &gateway.Error{Kind: gateway.Internal, Cause: safe(err)}
	}
	if meaning := c.meaningTLS(err); meaning != "" {
		return say("%s", meaning)
	}
	at := strings.Join(c.Addresses, ", ")
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	var dns *net.DNSError
	switch {
	case errors.Is(err, ErrReadOnly):
		return say("none of adressen (%s) takes writes: it is a standby, or the database is set read only; name the primary in adressen, promote one "+
			"(SELECT pg_promote()), or ALTER DATABASE %q RESET default_transaction_read_only", at, c.Database)
	case errors.Is(err, context.Canceled):
		return say("the caller went away")
	case errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		return say("no answer in time from %s, or all maxVerbindingen (%d) connections were in use: see pg_stat_activity", at, c.Conns())
	case errors.As(err, &dns):
		return say("the name %s is not known: mend adressen", dns.Name)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return say("nothing listens at %s: start the server, or mend adressen", at)
	case connecting:
		return say("no connection to %s", at)
	case Lost(err):
		return say("the connection was lost; a new one is made at the next call")
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return say("the connection failed; a new one is made at the next call")
	}
	return &gateway.Error{Kind: gateway.Internal, Cause: safe(err)}
}

// meaning of an error of the server; empty if an operator can do nothing about it.
func (c Config) meaning(e *pgconn.PgError) string {
	password := c.PasswordFile
	if c.Password != nil {
		password = "Vault"
	}
	switch e.Code {
	case "28P01":
		if password == "" {
			return fmt.Sprintf("the server wants a password of role %s: give wachtwoordBestand", c.User)
		}
		return fmt.Sprintf("the password of role %s (from %s) was refused, or there is no such role: put the right one there, or set it with \\password %s in psql", c.User, password, c.User)
	case "28000":
		return fmt.Sprintf("role %s may not sign in from here this way: CREATE ROLE %q LOGIN if there is none, and a line `hostssl %s %s ADDRESS scram-sha-256` in pg_hba.conf, "+
			"then SELECT pg_reload_conf()", c.User, c.User, c.Database, c.User)
	case "3D000":
		return fmt.Sprintf("there is no database %s: mend database, or CREATE DATABASE %q", c.Database, c.Database)
	case "42501":
		return fmt.Sprintf("role %s lacks a privilege: have the owner GRANT it", c.User) // what on, says the server's own message
	case "25006":
		return fmt.Sprintf("the server takes no writes: it is a standby now, or database %s is set read only; the next call looks for the primary among adressen", c.Database)
	case "53300":
		return fmt.Sprintf("all connections that the server gives (or role %s, or database %s) are used up: raise max_connections (or CONNECTION LIMIT), or lower maxVerbindingen of who uses it",
			c.User, c.Database)
	case "53100":
		return "the disk of the server is full: give it room; nothing was written"
	case "53200", "53000", "53400":
		return "the server lacks memory or another resource: see its log"
	case "55P03":
		return "another transaction held a lock for too long: see pg_locks and pg_stat_activity"
	case "57014":
		return "the statement was cancelled: it took longer than allowed, or its caller went away"
	case "57P01", "57P02", "57P03", "57P05", "25P03", "25P04":
		return "the server is stopping or starting, or it ended the connection; the next call makes a new one"
	case "40001", "40P01":
		return "too many changes of the same thing at once; the same call may succeed later"
	case "42704":
		return "a role or another object that is named is not there: CREATE ROLE first"
	case "42P01", "3F000", "42703", "42883":
		return "a table, column or function that is needed is not there: the schema of the database is missing or of another version"
	case "58P01", "58030", "XX001", "XX002":
		return "the server cannot read its own files: see its log and its disk"
	}
	if strings.HasPrefix(e.Code, "08") {
		return "the connection failed"
	}
	return ""
}

// meaningTLS of an error of making the connection secure; empty if it is none.
func (c Config) meaningTLS(err error) string {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		alert     *net.OpError
	)
	ca := c.TLS.CA
	if ca == "" {
		ca = "the system's anchors"
	}
	switch {
	case errors.As(err, &authority):
		return fmt.Sprintf("the server's certificate was not given out by an anchor of tls.ca (%s): put the CA of the server there", ca)
	case errors.As(err, &name):
		return "the server's certificate has another name than the host in adressen: mend adressen, or give the name in tls.serverNaam"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate has expired, or is not valid yet (or the clock here is wrong): renew it, then SELECT pg_reload_conf()"
	case errors.As(err, &invalid):
		return "the server's certificate is not valid for a server"
	case strings.Contains(err.Error(), "server refused TLS connection"):
		return "the server speaks no TLS: set ssl = on with ssl_cert_file and ssl_key_file, and restart it; zonderTLS is for loopback addresses and sockets only"
	case errors.As(err, &alert) && alert.Op == "remote error":
		return fmt.Sprintf("the server refused our certificate (tls.certificaat %q): give one of the CA in its ssl_ca_file, that is valid now, for role %s", c.TLS.Cert, c.User)
	case strings.Contains(err.Error(), "require_auth"):
		return "the server asks for the password in a form that it could use elsewhere: set password_encryption = scram-sha-256, set the password anew, and scram-sha-256 in pg_hba.conf"
	}
	return ""
}

// safe is an error without what may be a value. The server repeats values in errors of data, of constraints and of functions of the
// database, and so do database/sql and the driver where a value does not fit: of those only names are kept.
func safe(err error) error {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		f := &Fault{SQLState: e.Code, Text: strings.TrimSpace(e.TableName + " " + e.ColumnName + " " + e.ConstraintName)}
		if len(e.Code) == 5 && slices.Contains([]string{"08", "0A", "25", "26", "28", "3D", "3F", "40", "42", "53", "55", "57", "58", "XX"}, e.Code[:2]) {
			f.Text = e.Message
		}
		return f
	}
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting {
		return errors.New(err.Error())
	}
	for _, known := range []error{
		context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed, ErrReadOnly,
		sql.ErrTxDone, sql.ErrConnDone, sql.ErrNoRows, driver.ErrBadConn,
	} {
		if errors.Is(err, known) {
			return known
		}
	}
	if network, ok := errors.AsType[net.Error](err); ok {
		return errors.New(network.Error())
	}
	return fmt.Errorf("%T, whose text may hold values", err)
}

// Fault is an error of the server without values.
type Fault struct {
	SQLState string
	Text     string
}

func (f *Fault) Error() string { return strings.TrimSpace(f.Text + " (SQLSTATE " + f.SQLState + ")") }
