package vault

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, kind gateway.Kind, parts ...string) {
	t.Helper()
	if err == nil || gateway.KindOf(err) != kind {
		t.Fatalf("got %v (%v), want kind %v", err, gateway.KindOf(err), kind)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want %q in it", err, part)
		}
	}
}

func write(t *testing.T, name string, raw []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(file, raw, 0o600))
	return file
}

// authority makes server certificates.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return &authority{t, key, cert, write(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

func (a *authority) server(until time.Time, names ...string) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "vault"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	must(a.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Whatever is wrong with the way to Vault is named, with what mends it, and nothing of ours goes there.
func TestServerThatIsNotVault(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	for _, tt := range []struct {
		name string
		cert tls.Certificate
		want string
	}{
		{"expired", ours.server(time.Now().Add(-time.Minute), "127.0.0.1"), "is expired"},
		{"of another CA", other.server(time.Now().Add(time.Hour), "127.0.0.1"), "does not stand under vault.ca"},
		{"for another name", ours.server(time.Now().Add(time.Hour), "vault.example"), "is not for 127.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") }))
			srv.Config.ErrorLog = nil
			srv.TLS = &tls.Config{Certificates: []tls.Certificate{tt.cert}}
			srv.StartTLS()
			defer srv.Close()
			_, err := Open(t.Context(), fakeConfig(t, srv.URL, ours.file), nil, nil)
			wantError(t, err, gateway.Unavailable, srv.URL, tt.want, "openssl s_client")
			if strings.Contains(err.Error(), "geheim") {
				t.Errorf("the error holds the secret id: %v", err)
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		address := "https://" + l.Addr().String()
		must(t, l.Close())
		_, err = Open(t.Context(), fakeConfig(t, address, ours.file), nil, nil)
		wantError(t, err, gateway.Unavailable, address, "not reached (connect: connection refused)", "bao status -address="+address)
	})
}

func fakeConfig(t *testing.T, address, ca string) Config {
	t.Helper()
	c := Config{Adres: address, CA: ca, RolID: write(t, "rol", []byte("rol\n")), GeheimID: write(t, "id", []byte("geheim\n"))}
	must(t, c.Check())
	return c
}

// The environment of whoever starts the peer decides nothing: not the address, the token, nor whether a certificate is checked.
func TestEnvironmentDecidesNothing(t *testing.T) {
	var tokens []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tokens = append(tokens, r.Header.Get("X-Vault-Token")+r.Header.Get("X-Vault-Namespace"))
		_ = json.NewEncoder(w).Encode(map[string]any{"auth": map[string]any{"client_token": "van-vault", "lease_duration": 60}})
	}))
	defer srv.Close()
	t.Setenv("VAULT_ADDR", "https://elsewhere.invalid")
	t.Setenv("VAULT_AGENT_ADDR", "https://elsewhere.invalid")
	t.Setenv("VAULT_TOKEN", "uit-omgeving")
	t.Setenv("VAULT_NAMESPACE", "elders")
	c, err := Open(t.Context(), fakeConfig(t, srv.URL, ""), nil, nil)
	must(t, err)
	c.Close()
	if len(tokens) != 2 || tokens[0] != "" || tokens[1] != "van-vault" {
		t.Errorf("got tokens %q, want none at the login and the one of the login after it", tokens)
	}
}

func TestFilesOfTheAppRole(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		spoil      func(c *Config)
	}{
		{"no role id", "vault.rolIdBestand", func(c *Config) { must(t, os.Remove(c.RolID)) }},
		{"no secret id", "vault.geheimIdBestand", func(c *Config) { must(t, os.Remove(c.GeheimID)) }},
		{"empty secret id", "is empty", func(c *Config) { must(t, os.WriteFile(c.GeheimID, []byte(" \n"), 0o600)) }},
		{"secret id for all to read", "run chmod 600", func(c *Config) { must(t, os.Chmod(c.GeheimID, 0o604)) }},
		{"no CA", "vault.ca", func(c *Config) { c.CA = "weg.pem" }},
		{"CA that is none", "has no certificate in PEM", func(c *Config) { c.CA = c.RolID }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := fakeConfig(t, "https://127.0.0.1:1", "")
			tt.spoil(&c)
			_, err := Open(t.Context(), c, nil, nil)
			wantError(t, err, gateway.Invalid, tt.want)
		})
	}
}

// The CA of Vault is that of the moment of a connection: one that is replaced counts for the next, without a restart.
func TestCAOfTheMoment(t *testing.T) {
	first, second := newAuthority(t), newAuthority(t)
	var shown atomic.Pointer[tls.Certificate]
	show := func(a *authority) { cert := a.server(time.Now().Add(time.Hour), "127.0.0.1"); shown.Store(&cert) }
	show(first)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"auth": map[string]any{"client_token": "t", "lease_duration": 60}})
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{*shown.Load()}}, nil
	}}
	srv.StartTLS()
	defer srv.Close()
	cfg := fakeConfig(t, srv.URL, write(t, "ca.pem", read(t, first.file)))
	c, err := Open(t.Context(), cfg, nil, nil)
	must(t, err)
	defer c.Close()
	show(second)
	c.transport.CloseIdleConnections()
	wantError(t, c.login(t.Context()), gateway.Unavailable, "does not stand under vault.ca")
	must(t, os.WriteFile(cfg.CA, read(t, second.file), 0o600))
	must(t, c.login(t.Context()))
	must(t, os.WriteFile(cfg.CA, []byte("half"), 0o600))
	must(t, c.login(t.Context())) // over the connection that is open
	c.transport.CloseIdleConnections()
	wantError(t, c.login(t.Context()), gateway.Unavailable, "no certificate in PEM")
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	raw, err := os.ReadFile(file)
	must(t, err)
	return raw
}

// A password that is replaced in KV counts for the next connection; while Vault is away the last one does, and who connects does not
// wait for Vault each time; one that is gone is an error.
func TestPasswordOfTheMoment(t *testing.T) {
	var mu sync.Mutex
	secret, status, asked := "een", http.StatusOK, 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if !strings.HasPrefix(r.URL.Path, "/v1/secret/data/") {
			_ = json.NewEncoder(w).Encode(map[string]any{"auth": map[string]any{"client_token": "t", "lease_duration": 60}})
			return
		}
		asked++
		w.WriteHeader(status)
		if status != http.StatusOK {
			_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{"Vault is sealed"}})
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"data": map[string]any{"wachtwoord": secret}, "metadata": map[string]any{"version": 1}}})
	}))
	defer srv.Close()
	clock := time.Now()
	c, err := Open(t.Context(), fakeConfig(t, srv.URL, ""), nil, func() time.Time { return clock })
	must(t, err)
	defer c.Close()
	set := func(s string, code int) { mu.Lock(); secret, status = s, code; mu.Unlock() }
	password, err := c.Password(t.Context(), "borne/opslag")
	must(t, err)
	want := func(when, want string) {
		t.Helper()
		if got, err := password(); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", when, got, err, want)
		}
	}
	want("at first", "een")
	set("twee", http.StatusOK)
	clock = clock.Add(2 * time.Second)
	want("replaced", "twee")
	before := asked
	for range 20 {
		want("many at once", "twee")
	}
	if asked != before {
		t.Errorf("asked %d times for connections that are made together", asked-before)
	}
	set("drie", http.StatusServiceUnavailable)
	for range 20 {
		clock = clock.Add(time.Second)
		want("Vault sealed", "twee")
	}
	if n := asked - before; n < 3 || n > 20 { // the client of Vault itself tries a few times
		t.Errorf("asked %d times in twenty seconds of a Vault that is sealed", n)
	}
	set("drie", http.StatusOK)
	clock = clock.Add(10 * time.Second)
	want("Vault back", "drie")
	set("", http.StatusOK)
	clock = clock.Add(2 * time.Second)
	if got, err := password(); gateway.KindOf(err) != gateway.NotFound || got != "" || !strings.Contains(err.Error(), "wachtwoord") {
		t.Errorf("taken away: got %q, %v", got, err)
	}
	if _, err := c.Password(t.Context(), "borne/opslag"); err == nil {
		t.Error("no password at the start, and no error")
	}
}

// A token that Vault will not renew any more is replaced at once, in whatever words it says so; one of a Vault that can't answer is kept.
func TestTokenThatIsNotRenewed(t *testing.T) {
	for status, replaced := range map[int]bool{
		http.StatusForbidden: true, http.StatusBadRequest: true, http.StatusInternalServerError: true, http.StatusServiceUnavailable: false,
	} {
		var logins atomic.Int32
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/login"):
				logins.Add(1)
				_ = json.NewEncoder(w).Encode(map[string]any{"auth": map[string]any{"client_token": "t", "lease_duration": 60, "renewable": true}})
			case strings.HasSuffix(r.URL.Path, "/renew-self"):
				w.WriteHeader(status)
				_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{"past the max TTL, cannot renew"}})
			default:
				_ = json.NewEncoder(w).Encode(map[string]any{})
			}
		}))
		defer srv.Close()
		c, err := Open(t.Context(), fakeConfig(t, srv.URL, ""), nil, nil)
		must(t, err)
		defer c.Close()
		before := logins.Load()
		err = c.renew(t.Context())
		if got := logins.Load() > before; got != replaced || (err == nil) != replaced {
			t.Errorf("refused with %d: replaced %v, %v; want %v", status, got, err, replaced)
		}
	}
}
