package postgres

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql/driver"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/grensloos/grensloos/gateway"
)

func good() Config {
	return Config{Addresses: []string{"127.0.0.1:5432"}, Database: "grensloos", User: "grensloos"}
}

func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string // "": good
	}{
		"good":               {func(*Config) {}, ""},
		"socket":             {func(c *Config) { c.Addresses, c.Plain = []string{"/run/postgresql", "/run/postgresql:5433"}, true }, ""},
		"loopback, no TLS":   {func(c *Config) { c.Addresses, c.Plain = []string{"localhost:5432", "[::1]:5432"}, true }, ""},
		"elsewhere, no TLS":  {func(c *Config) { c.Addresses, c.Plain = []string{"127.0.0.1:5432", "db.example:5432"}, true }, "zonderTLS"},
		"no address":         {func(c *Config) { c.Addresses = nil }, "adressen"},
		"no port":            {func(c *Config) { c.Addresses = []string{"db.example"} }, "host:port"},
		"port of a name":     {func(c *Config) { c.Addresses = []string{"db.example:postgres"} }, "port is a number"},
		"twice":              {func(c *Config) { c.Addresses = append(c.Addresses, c.Addresses...) }, "stands twice"},
		"no database":        {func(c *Config) { c.Database = "" }, "database"},
		"no role":            {func(c *Config) { c.User = "" }, "gebruiker"},
		"two passwords":      {func(c *Config) { c.PasswordFile, c.Password = "f", func() (string, error) { return "", nil } }, "one of them"},
		"half a certificate": {func(c *Config) { c.TLS.Cert = "f" }, "certificaat and sleutel"},
		"TLS and none":       {func(c *Config) { c.Plain, c.TLS.CA = true, "f" }, "beside zonderTLS"},
		"too many":           {func(c *Config) { c.MaxConns = 1001 }, "maxVerbindingen"},
		"too long":           {func(c *Config) { c.Timeout = time.Hour }, "wachttijd"},
	} {
		t.Run(name, func(t *testing.T) {
			c := good()
			tc.change(&c)
			err := c.Check()
			if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	if err := (Config{MaxConns: -1}).Check(); strings.Count(err.Error(), "\n") < 3 {
		t.Errorf("not all at once: %v", err)
	}
}

// What the environment says about PostgreSQL is in nothing that a connection is made with.
func TestEnvironmentDecidesNothing(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	if err := os.WriteFile(filepath.Join(home, ".pgpass"), []byte("*:*:*:*:EVIL\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGAPPNAME", "PGCONNECT_TIMEOUT", "PGSSLMODE", "PGSSLKEY", "PGSSLCERT", "PGSSLCERTMODE",
		"PGSSLSNI", "PGSSLROOTCERT", "PGSSLPASSWORD", "PGSSLNEGOTIATION", "PGTARGETSESSIONATTRS", "PGSERVICEFILE", "PGTZ", "PGOPTIONS", "PGMINPROTOCOLVERSION",
		"PGMAXPROTOCOLVERSION", "PGCHANNELBINDING", "PGREQUIREAUTH",
	} {
		t.Setenv(name, "EVIL")
	}
	p, err := good().base(Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.DialFunc, p.LookupFunc = nil, nil
	if s := fmt.Sprintf("%+v", p.Config); strings.Contains(s, "EVIL") || p.SSLNegotiation != "" || len(p.Fallbacks) > 0 {
		t.Errorf("the environment is in it: %s", s)
	}
	t.Setenv("PGSERVICE", "EVIL")
	if _, err := good().base(Options{}); gateway.KindOf(err) != gateway.Invalid || !strings.Contains(err.Error(), "unset") {
		t.Errorf("PGSERVICE: %v, want refused", err)
	}
}

// No value of a statement or a row is in an explained error.
func TestExplainHoldsNoValues(t *testing.T) {
	const value = "999000019"
	for _, code := range []string{"22P02", "23505", "P0001", "42501", "53100", "XX000", "99999", "28P01", "25006", ""} {
		e := &pgconn.PgError{
			Code: code, Detail: value, Hint: value, Where: value, InternalQuery: value, TableName: "signatures", ConstraintName: "signatures_pkey",
		}
		if strings.HasPrefix(code, "2") && code[:2] < "25" || code == "P0001" || code == "99999" || code == "" {
			e.Message = "invalid input: " + value
		}
		err := good().Explain(fmt.Errorf("%w", e))
		if s := fmt.Sprintf("%v %+v %s", err, err, errors.Unwrap(err)); strings.Contains(s, value) {
			t.Errorf("%s: the value is in %s", code, s)
		}
		if _, ok := errors.AsType[*pgconn.PgError](err); ok {
			t.Errorf("%s: the server's own error is in the chain", code)
		}
	}
	err := good().Explain(fmt.Errorf("sql: Scan error: converting %q", value))
	if gateway.KindOf(err) != gateway.Internal || strings.Contains(err.Error(), value) {
		t.Errorf("unknown error: %v", err)
	}
	for _, known := range []error{context.DeadlineExceeded, driver.ErrBadConn, io.EOF, ErrReadOnly} {
		if err := good().Explain(known); gateway.KindOf(err) != gateway.Unavailable || !errors.Is(err, known) {
			t.Errorf("%v: got %v", known, err)
		}
	}
	mine := gateway.Errorf(gateway.Conflict, "mine")
	if err := good().Explain(mine); !errors.Is(err, mine) || gateway.KindOf(err) != gateway.Conflict {
		t.Errorf("classified: got %v", err)
	}
	if good().Explain(nil) != nil {
		t.Error("nil is an error")
	}
}

// A server that cannot be verified, and one that asks for the password in the clear, are refused before they learn anything.
func TestFalseServers(t *testing.T) {
	dir := t.TempDir()
	ca, caKey := newCA(t)
	write(t, filepath.Join(dir, "ca.pem"), pemOf("CERTIFICATE", ca.Raw), 0o644)
	write(t, filepath.Join(dir, "pw"), []byte("geheim\n"), 0o600)
	other, otherKey := newCA(t)
	hour := time.Hour
	for name, tc := range map[string]struct {
		cert *tls.Certificate // nil: no TLS
		want string
	}{
		"no TLS":              {nil, "speaks no TLS"},
		"another CA":          {leaf(t, other, otherKey, "127.0.0.1", hour), "tls.ca"},
		"another name":        {leaf(t, ca, caKey, "127.0.0.9", hour), "serverNaam"},
		"expired":             {leaf(t, ca, caKey, "127.0.0.1", -hour), "expired"},
		"password in clear":   {leaf(t, ca, caKey, "127.0.0.1", hour), "scram-sha-256"},
		"nothing after hello": {&tls.Certificate{}, "no connection"},
	} {
		t.Run(name, func(t *testing.T) {
			address, heard := fakeServer(t, tc.cert)
			c := good()
			c.Addresses, c.PasswordFile, c.TLS.CA = []string{address}, filepath.Join(dir, "pw"), filepath.Join(dir, "ca.pem")
			_, err := Open(t.Context(), c, Options{})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if got := heard(); strings.Contains(got, "geheim") {
				t.Errorf("the server heard the password: %q", got)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	c := good()
	c.PasswordFile = filepath.Join(dir, "pw")
	for name, tc := range map[string]struct {
		content string
		mode    os.FileMode
		want    string
	}{
		"readable by others": {"geheim", 0o644, "chmod 600"},
		"empty":              {"\n", 0o600, "holds no password"},
		"too large":          {strings.Repeat("x", maxPassword+1), 0o600, "larger"},
	} {
		write(t, c.PasswordFile, []byte(tc.content), tc.mode)
		if _, err := Open(t.Context(), c, Options{}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
	write(t, c.PasswordFile, []byte("geheim"), 0o600)
	c.TLS.CA = c.PasswordFile
	if _, err := Open(t.Context(), c, Options{}); err == nil || !strings.Contains(err.Error(), "no certificate in PEM") {
		t.Errorf("CA: got %v", err)
	}
	c.TLS.CA = ""
	if _, err := Open(t.Context(), Config{}, Options{}); gateway.KindOf(err) == gateway.Unavailable {
		t.Errorf("not checked: %v", err)
	}
	c.Addresses = []string{"127.0.0.1:1"}
	if _, err := Open(t.Context(), c, Options{}); err == nil || !strings.Contains(err.Error(), "nothing listens") || gateway.KindOf(err) != gateway.Unavailable {
		t.Errorf("nobody there: got %v", err)
	}
}

// fakeServer speaks the beginning of the protocol: yes or no to TLS, then it asks for the password in clear text.
func fakeServer(t *testing.T, cert *tls.Certificate) (address string, heard func() string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	all := make(chan string, 1)
	go func() {
		var got strings.Builder
		defer func() { all <- got.String() }()
		raw, err := l.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		hello := make([]byte, 8)
		if _, err := io.ReadFull(raw, hello); err != nil {
			return
		}
		if cert == nil {
			_, _ = raw.Write([]byte("N"))
			_, _ = io.Copy(&got, io.LimitReader(raw, 1024))
			return
		}
		_, _ = raw.Write([]byte("S"))
		if len(cert.Certificate) == 0 {
			return
		}
		conn := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12})
		buf := make([]byte, 1024)
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		got.Write(buf[:n])
		_, _ = conn.Write([]byte{'R', 0, 0, 0, 8, 0, 0, 0, 3}) // AuthenticationCleartextPassword
		_, _ = io.Copy(&got, io.LimitReader(conn, 1024))
	}()
	return l.Addr().String(), func() string {
		l.Close()
		select {
		case s := <-all:
			return s
		case <-time.After(10 * time.Second):
			t.Error("the fake server hangs")
			return ""
		}
	}
}

func newCA(t *testing.T) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func leaf(t *testing.T, ca *x509.Certificate, caKey *ecdsa.PrivateKey, ip string, life time.Duration) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(life), IPAddresses: []net.IP{net.ParseIP(ip)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

func pemOf(kind string, raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw})
}

func write(t *testing.T, name string, content []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, content, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}
