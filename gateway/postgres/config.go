// Package postgres owns how a peer reaches a PostgreSQL server: addresses, TLS, the password, the pool, what is done when a server
// goes away, and what an error of the server means to an operator. `gateway/store` keeps state there, `connectors/database` reads a
// source there; neither knows how a connection is made.
//
// It refuses a server that it cannot verify (TLS with the name checked, or a loopback address or Unix socket that the configuration
// says may go without), and a server that would have the password in a form that it could use elsewhere. Only the configuration
// decides: PGHOST, PGPASSWORD, ~/.pgpass and the like decide nothing. Files are read again at each new connection, so that a
// replaced certificate or password needs no restart.
//
// Invariant: no value of a statement or a row is in an error that leaves this package by Explain.
package postgres

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Config says which server, as whom, and how.
type Config struct {
	// Addresses are host:port, or the absolute folder of a Unix socket (with :port behind it if that is not 5432). Several are the
	// servers of one cluster: the one that takes writes is used, whichever that is now.
	Addresses []string `yaml:"adressen"`

	// Database is its name.
	Database string `yaml:"database"`

	// User is the role to sign in as.
	User string `yaml:"gebruiker"`

	// PasswordFile holds the role's password; mode 0600. Without it, and without one from Vault, the role signs in by its certificate.
	PasswordFile string `yaml:"wachtwoordBestand"`

	// Password gives the password, if it comes from elsewhere (Vault); it is asked at each new connection. Filled in by the program.
	Password func() (string, error) `yaml:"-" json:"-"`

	TLS TLS `yaml:"tls"`

	// Plain goes without TLS; only for loopback addresses and Unix sockets.
	Plain bool `yaml:"zonderTLS"`

	// MaxConns is how many connections this process has at most. Who finds them all in use waits. Default 10.
	MaxConns int `yaml:"maxVerbindingen"`

	// Timeout of making a connection, for each address. Default 5s.
	Timeout time.Duration `yaml:"wachttijd"`
}

// TLS says how the connection is secured. The server's certificate and name are always verified.
type TLS struct {
	CA         string `yaml:"ca"`          // file with the anchors (PEM); empty: those of the system
	Cert       string `yaml:"certificaat"` // files with an own certificate and key (PEM; the key 0600), if the server asks for one
	Key        string `yaml:"sleutel"`
	ServerName string `yaml:"serverNaam"` // name in the server's certificate, if it is not the host of the address
}

// Files are the file names in it, for the program to resolve.
func (c *Config) Files() []*string {
	return []*string{&c.PasswordFile, &c.TLS.CA, &c.TLS.Cert, &c.TLS.Key}
}

// Check returns all that is wrong at once, each with its key and the mend. It opens no file.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, gateway.Errorf(gateway.Invalid, format, args...))
	}
	if len(c.Addresses) == 0 {
		bad("adressen: give host:port of each server, or the folder of its Unix socket")
	}
	seen := map[string]bool{}
	for _, address := range c.Addresses {
		a, err := parseAddress(address)
		switch {
		case err != nil:
			bad("adressen: %q: %v", address, err)
		case seen[address]:
			bad("adressen: %q stands twice", address)
		case c.Plain && !a.local:
			bad("zonderTLS: %q is another machine: only a loopback address or a Unix socket may go without TLS", address)
		}
		seen[address] = true
	}
	for key, value := range map[string]string{"database": c.Database, "gebruiker": c.User} {
		if value == "" || strings.ContainsRune(value, 0) {
			bad("%s: give its name", key)
		}
	}
	if c.PasswordFile != "" && c.Password != nil {
		bad("wachtwoordBestand: the password comes from Vault too; give one of them")
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		bad("tls: give both certificaat and sleutel, or neither")
	}
	if c.Plain && c.TLS != (TLS{}) {
		bad("tls: stands beside zonderTLS: give one of them")
	}
	if c.MaxConns < 0 || c.MaxConns > 1000 {
		bad("maxVerbindingen: between 1 and 1000")
	}
	if c.Timeout < 0 || c.Timeout > time.Minute {
		bad("wachttijd: between 1ms and 1m")
	}
	return errors.Join(errs...)
}

// Conns is how many connections this process has at most.
func (c Config) Conns() int { return c.defaults().MaxConns }

// defaults fills in what was left out.
func (c Config) defaults() Config {
	if c.MaxConns == 0 {
		c.MaxConns = 10
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	return c
}

// address is one of the servers.
type address struct {
	host  string // or the folder of the socket
	port  uint16
	local bool // a loopback address or a socket
}

func (a address) socket() bool { return filepath.IsAbs(a.host) }

func parseAddress(s string) (address, error) {
	host, port := s, "5432"
	if !filepath.IsAbs(s) {
		var err error
		if host, port, err = net.SplitHostPort(s); err != nil || host == "" {
			return address{}, errors.New("give host:port, or an absolute folder of a Unix socket")
		}
	} else if i := strings.LastIndexByte(s, ':'); i > 0 {
		host, port = s[:i], s[i+1:]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return address{}, errors.New("the port is a number from 1 to 65535")
	}
	a := address{host: host, port: uint16(n)}
	ip := net.ParseIP(host)
	a.local = a.socket() || host == "localhost" || (ip != nil && ip.IsLoopback())
	return a, nil
}

// maxPassword bounds the password file.
const maxPassword = 4096

// password reads it anew. Empty: there is none.
func (c Config) password() (string, error) {
	if c.Password != nil {
		p, err := c.Password()
		if err == nil && p == "" {
			err = gateway.Errorf(gateway.Unavailable, "the password of %s from Vault is empty", c.User)
		}
		return p, err
	}
	if c.PasswordFile == "" {
		return "", nil
	}
	raw, err := readSecret(c.PasswordFile, maxPassword)
	if err != nil {
		return "", fmt.Errorf("wachtwoordBestand: %w", err)
	}
	p := strings.TrimRight(string(raw), "\r\n")
	if p == "" || strings.ContainsRune(p, 0) {
		return "", fmt.Errorf("wachtwoordBestand: %s holds no password: write it there, one line", c.PasswordFile)
	}
	return p, nil
}

// readSecret reads a file that only its owner may read.
func readSecret(name string, limit int64) ([]byte, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read by others (%v): chmod 600 %s", name, st.Mode().Perm(), name)
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, limit)
	}
	return os.ReadFile(name)
}

// tlsConfig reads the files anew; nil is without TLS. The server's name is filled in per address.
func (c Config) tlsConfig() (*tls.Config, error) {
	if c.Plain {
		return nil, nil //nolint:nilnil // no TLS, and no error
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS.CA != "" {
		raw, err := os.ReadFile(c.TLS.CA)
		if err != nil {
			return nil, fmt.Errorf("tls.ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("tls.ca: %s holds no certificate in PEM", c.TLS.CA)
		}
	}
	if c.TLS.Cert != "" {
		cert, err := os.ReadFile(c.TLS.Cert)
		if err != nil {
			return nil, fmt.Errorf("tls.certificaat: %w", err)
		}
		key, err := readSecret(c.TLS.Key, 1<<20)
		if err != nil {
			return nil, fmt.Errorf("tls.sleutel: %w", err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("tls.certificaat: %s and %s: %w", c.TLS.Cert, c.TLS.Key, err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
