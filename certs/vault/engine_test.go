//go:build engines

package vault

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
)

// admin is the operator of a server, with engines of its own there.
type admin struct {
	t       *testing.T
	api     *api.Client
	address string
	ca      string
	n       string // in the name of all that this test makes
}

// shared uses the server that .ci/openbao started.
func shared(t *testing.T) *admin {
	t.Helper()
	address, token := os.Getenv("GRENSLOOS_VAULT"), os.Getenv("GRENSLOOS_VAULT_TOKEN")
	if address == "" || token == "" {
		t.Fatal(`GRENSLOOS_VAULT and GRENSLOOS_VAULT_TOKEN: eval "$(.ci/openbao start DIR)" first`)
	}
	a := &admin{t: t, address: address, ca: os.Getenv("GRENSLOOS_VAULT_CA")}
	a.connect(token)
	return a
}

func (a *admin) connect(token string) {
	a.t.Helper()
	cfg := api.DefaultConfig()
	cfg.Address = a.address
	if a.ca != "" {
		must(a.t, cfg.ConfigureTLS(&api.TLSConfig{CACert: a.ca}))
	}
	var err error
	a.api, err = api.NewClient(cfg)
	must(a.t, err)
	a.api.SetToken(token)
	raw := make([]byte, 4)
	_, _ = rand.Read(raw)
	a.n = hex.EncodeToString(raw)
}

func (a *admin) write(path string, data map[string]any) *api.Secret {
	a.t.Helper()
	s, err := a.api.Logical().WriteWithContext(context.Background(), path, data)
	must(a.t, err)
	return s
}

func (a *admin) delete(path string) {
	a.t.Helper()
	_, err := a.api.Logical().DeleteWithContext(context.Background(), path)
	must(a.t, err)
}

// policyOf is what docs/vault.md gives a peer.
func (a *admin) policyOf() string {
	return fmt.Sprintf(`path "transit-%[1]s/keys/groep" { capabilities = ["read"] }
path "transit-%[1]s/sign/groep" { capabilities = ["update"] }
path "pki-%[1]s/sign/groep" { capabilities = ["update"] }
path "kv-%[1]s/data/*" { capabilities = ["read"] }`, a.n)
}

// lay mounts the engines, makes the key, the issuer and the AppRole, and gives the configuration of a peer.
func (a *admin) lay(role map[string]any) Config {
	a.t.Helper()
	for kind, name := range map[string]string{"transit": "transit-", "pki": "pki-", "kv-v2": "kv-"} {
		must(a.t, a.api.Sys().Mount(name+a.n, &api.MountInput{Type: kind}))
	}
	must(a.t, a.api.Sys().EnableAuthWithOptions("approle-"+a.n, &api.EnableAuthOptions{Type: "approle"}))
	a.write("transit-"+a.n+"/keys/groep", map[string]any{"type": "ecdsa-p256"})
	a.write("pki-"+a.n+"/root/generate/internal", map[string]any{"common_name": "test root", "key_type": "ec", "key_bits": 256, "ttl": "24h"})
	a.write("pki-"+a.n+"/roles/groep", map[string]any{
		"key_type": "ec", "key_bits": 256, "ttl": "1h", "organization": "Gemeente Borne", "country": "NL", "allowed_serial_numbers": string(borne.ID),
		"allow_localhost": true, "allowed_domains": "localhost", "allow_bare_domains": true, "allow_ip_sans": true, "require_cn": false, "key_usage": "DigitalSignature",
	})
	must(a.t, a.api.Sys().PutPolicy("peer-"+a.n, a.policyOf()))
	settings := map[string]any{"token_policies": "peer-" + a.n, "token_ttl": "1h"}
	for k, v := range role {
		settings[k] = v
	}
	a.write("auth/approle-"+a.n+"/role/peer", settings)
	id, err := a.api.Logical().Read("auth/approle-" + a.n + "/role/peer/role-id")
	must(a.t, err)
	c := Config{
		Adres: a.address, CA: a.ca, AppRole: "approle-" + a.n, Transit: "transit-" + a.n, PKI: "pki-" + a.n, KV: "kv-" + a.n,
		RolID: write(a.t, "rol", []byte(id.Data["role_id"].(string))), GeheimID: write(a.t, "id", nil),
	}
	a.newSecretID(c)
	must(a.t, c.Check())
	return c
}

func (a *admin) newSecretID(c Config) {
	a.t.Helper()
	s := a.write("auth/"+c.AppRole+"/role/peer/secret-id", nil)
	must(a.t, os.WriteFile(c.GeheimID, []byte(s.Data["secret_id"].(string)), 0o600))
}

var borne = gateway.Peer{ID: "00000099000000147000", Name: "Gemeente Borne"}

func open(t *testing.T, c Config, log io.Writer) *Client {
	t.Helper()
	client, err := Open(t.Context(), c, slog.New(slog.NewTextHandler(log, nil)), nil)
	must(t, err)
	t.Cleanup(client.Close)
	return client
}

func sign(k *Key) ([]byte, []byte, error) {
	digest := sha256.Sum256([]byte("inhoud"))
	sig, err := k.Sign(rand.Reader, digest[:], crypto.SHA256)
	return digest[:], sig, err
}

func wantSigns(t *testing.T, k *Key) {
	t.Helper()
	digest, sig, err := sign(k)
	must(t, err)
	if !ecdsa.VerifyASN1(k.pub, digest, sig) {
		t.Error("the signature does not verify")
	}
}

func TestTransitKey(t *testing.T) {
	a := shared(t)
	c := open(t, a.lay(nil), io.Discard)
	key, err := c.Key(t.Context(), "groep", 1)
	must(t, err)
	wantSigns(t, key)
	t.Run("a digest that is none", func(t *testing.T) {
		_, err := key.Sign(rand.Reader, []byte("kort"), crypto.SHA256)
		wantError(t, err, gateway.Internal, "transit key groep")
	})
	t.Run("rotated: the version that was asked for goes on", func(t *testing.T) {
		a.write(c.cfg.Transit+"/keys/groep/rotate", nil)
		wantSigns(t, key)
		second, err := c.Key(t.Context(), "groep", 2)
		must(t, err)
		if second.pub.Equal(key.pub) {
			t.Error("version 2 is the key of version 1")
		}
		wantSigns(t, second)
	})
	t.Run("a version that is not there", func(t *testing.T) {
		_, err := c.Key(t.Context(), "groep", 7)
		wantError(t, err, gateway.NotFound, "transit key groep", "no version 7 (the newest is 2)", "vault.groep.versie")
	})
	t.Run("a version that may not sign any more", func(t *testing.T) {
		a.write(c.cfg.Transit+"/keys/groep/config", map[string]any{"min_encryption_version": 2})
		_, _, err := sign(key)
		if err == nil || !strings.Contains(err.Error(), "transit key groep") {
			t.Errorf("got %v, want a refusal that names the key", err)
		}
		t.Log(err)
		a.write(c.cfg.Transit+"/keys/groep/config", map[string]any{"min_encryption_version": 0})
	})
	t.Run("a key of another type", func(t *testing.T) {
		must(t, a.api.Sys().PutPolicy("peer-"+a.n, a.policyOf()+"\n"+`path "`+c.cfg.Transit+`/keys/*" { capabilities = ["read"] }`))
		a.write(c.cfg.Transit+"/keys/ed", map[string]any{"type": "ed25519"})
		_, err := c.Key(t.Context(), "ed", 1)
		wantError(t, err, gateway.Invalid, "transit key ed", "ecdsa-p256", "bao write -f")
	})
	t.Run("a key that is not there", func(t *testing.T) {
		_, err := c.Key(t.Context(), "weg", 1)
		wantError(t, err, gateway.NotFound, "transit key weg is not there", "bao write -f "+c.cfg.Transit+"/keys/weg type=ecdsa-p256")
	})
	a.write(c.cfg.Transit+"/keys/groep/config", map[string]any{"deletion_allowed": true})
	a.delete(c.cfg.Transit + "/keys/groep")
	t.Run("deleted", func(t *testing.T) {
		_, _, err := sign(key)
		wantError(t, err, gateway.NotFound, "transit key groep is not there, or was deleted", "restore it from a backup", "bao write -f")
	})
	t.Run("replaced under its name", func(t *testing.T) {
		a.write(c.cfg.Transit+"/keys/groep", map[string]any{"type": "ecdsa-p256"})
		_, sig, err := sign(key)
		wantError(t, err, gateway.Conflict, "transit key groep signs with another key")
		if sig != nil {
			t.Error("a signature of another key came out")
		}
	})
}

func TestTokenAndPolicy(t *testing.T) {
	a := shared(t)
	cfg := a.lay(nil)
	c := open(t, cfg, io.Discard)
	key, err := c.Key(t.Context(), "groep", 1)
	must(t, err)
	t.Run("revoked: a new login, without a hand", func(t *testing.T) {
		before := c.api.Token()
		a.write("auth/token/revoke", map[string]any{"token": before})
		wantSigns(t, key)
		if c.api.Token() == before {
			t.Error("the revoked token is still in use")
		}
	})
	t.Run("revoked, and the secret id too", func(t *testing.T) {
		c := open(t, cfg, io.Discard)
		key, err := c.Key(t.Context(), "groep", 1)
		must(t, err)
		raw, err := os.ReadFile(cfg.GeheimID)
		must(t, err)
		a.write("auth/"+cfg.AppRole+"/role/peer/secret-id/destroy", map[string]any{"secret_id": string(raw)})
		a.write("auth/token/revoke", map[string]any{"token": c.api.Token()})
		_, _, err = sign(key)
		wantError(t, err, gateway.Denied, "the role id or the secret id is wrong", "vault.geheimIdBestand", "bao write -field=secret_id -f auth/"+cfg.AppRole)
		if strings.Contains(err.Error(), string(raw)) {
			t.Error("the error holds the secret id")
		}
		a.newSecretID(cfg)
		time.Sleep(loginPause)
		wantSigns(t, key)
	})
	t.Run("policy too narrow", func(t *testing.T) {
		must(t, a.api.Sys().PutPolicy("peer-"+a.n, `path "transit-`+a.n+`/keys/groep" { capabilities = ["read"] }`))
		defer func() { must(t, a.api.Sys().PutPolicy("peer-"+a.n, a.policyOf())) }()
		token := c.api.Token()
		_, _, err := sign(key)
		wantError(t, err, gateway.Denied, "transit key groep is refused: our policy is too narrow", `path "transit-`+a.n+`/sign/groep" { capabilities = ["update"] }`)
		if c.api.Token() != token {
			t.Error("logged in anew, though the token is good")
		}
		_, err = c.Secret(t.Context(), "x", "y")
		wantError(t, err, gateway.Denied, "secret x", `capabilities = ["read"]`)
	})
	wantSigns(t, key)
	t.Run("AppRole that is not mounted", func(t *testing.T) {
		other := cfg
		other.AppRole = "elders"
		_, err := Open(t.Context(), other, nil, nil)
		wantError(t, err, gateway.Denied, "auth/elders/login", "bao auth enable -path=elders approle")
	})
}

// A token of 3 s that lasts 8 s at most is renewed, and replaced when it can't be.
func TestTokenRenewal(t *testing.T) {
	a := shared(t)
	var log lockedBuffer
	c := open(t, a.lay(map[string]any{"token_ttl": "3s", "token_max_ttl": "8s"}), &log)
	key, err := c.Key(t.Context(), "groep", 1)
	must(t, err)
	go func() { _ = c.Run(t.Context()) }()
	first := c.api.Token()
	for until := time.Now().Add(12 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		wantSigns(t, key)
	}
	if c.api.Token() == first {
		t.Error("the token outlived its longest life")
	}
	if strings.Contains(log.String(), "refused our token") {
		t.Errorf("a token ran out before it was renewed:\n%s", log.String())
	}
}

func TestSecrets(t *testing.T) {
	a := shared(t)
	cfg := a.lay(nil)
	c := open(t, cfg, io.Discard)
	key := bytes.Repeat([]byte{7}, 32)
	a.write(cfg.KV+"/data/p1", map[string]any{"data": map[string]any{"sleutel": base64.StdEncoding.EncodeToString(key)}})
	a.write(cfg.KV+"/data/short", map[string]any{"data": map[string]any{"sleutel": "a29ydA=="}})
	a.write(cfg.KV+"/data/kafka", map[string]any{"data": map[string]any{"wachtwoord": "geheim"}})
	c.cfg.Pseudoniemen = map[int]string{1: "p1"}
	keys, err := c.PseudonymKeys(t.Context())
	must(t, err)
	if len(keys) != 1 || !bytes.Equal(keys[1], key) {
		t.Error("the pseudonym key is another")
	}
	if got, err := c.Secret(t.Context(), "kafka", "wachtwoord"); err != nil || got != "geheim" {
		t.Errorf("got %q, %v", got, err)
	}
	c.cfg.Pseudoniemen = map[int]string{3: "short"}
	_, err = c.PseudonymKeys(t.Context())
	wantError(t, err, gateway.Invalid, "vault.pseudoniemen.3", "32 bytes or more", "openssl rand -base64 32")
	_, err = c.Secret(t.Context(), "weg", "sleutel")
	wantError(t, err, gateway.NotFound, "secret weg is not there", "bao kv put -mount="+cfg.KV+" weg sleutel=...")
	_, err = c.Secret(t.Context(), "p1", "anders")
	wantError(t, err, gateway.NotFound, "secret p1 has no field anders")
	a.delete(cfg.KV + "/data/p1")
	_, err = c.Secret(t.Context(), "p1", "sleutel")
	wantError(t, err, gateway.NotFound, "is deleted", "bao kv undelete -mount="+cfg.KV+" -versions=1 p1")
	must(t, a.api.Sys().Unmount(cfg.KV))
	_, err = c.Secret(t.Context(), "p1", "sleutel")
	if err == nil || !strings.Contains(err.Error(), "secret p1") {
		t.Errorf("got %v, want a refusal that names the secret", err)
	}
}

// lockedBuffer is written by one goroutine and read by another.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}

// A certificate that does not hold at the time that it is here is refused with both times.
func TestClocksApart(t *testing.T) {
	a := shared(t)
	cfg := a.lay(nil)
	c, err := Open(t.Context(), cfg, nil, func() time.Time { return time.Now().Add(3 * time.Hour) }) // and PKI issues for an hour
	must(t, err)
	defer c.Close()
	_, err = c.MemoryIdentity(t.Context(), "netwerk.certificaat", Certificaat{Rol: "groep", Namen: []string{"localhost"}})
	wantError(t, err, gateway.Unavailable, "holds from", "here it is "+time.Now().Add(3*time.Hour).UTC().Format("2006-01-02T15"), "NTP")
}

// A certificate over the key in Transit, and one over a key in memory, are renewed at two thirds of their life; a connection that is
// open stays open, and the next handshake shows the new one.
func TestCertificatesAreRenewed(t *testing.T) {
	a := shared(t)
	cfg := a.lay(nil)
	a.write("pki-"+a.n+"/roles/groep", map[string]any{
		"key_type": "ec", "key_bits": 256, "ttl": "4s", "not_before_duration": "30s", "organization": "Gemeente Borne", "country": "NL",
		"allowed_serial_numbers": string(borne.ID), "allow_localhost": true, "allowed_domains": "localhost", "allow_bare_domains": true,
		"allow_ip_sans": true, "require_cn": false, "key_usage": "DigitalSignature",
	})
	var log lockedBuffer
	c := open(t, cfg, &log)
	key, err := c.Key(t.Context(), "groep", 1)
	must(t, err)
	order := Certificaat{Rol: "groep", Namen: []string{"localhost", "127.0.0.1"}}
	group, err := c.Identity(t.Context(), "certificaat", order, Subject{Peer: borne}, key)
	must(t, err)
	memory, err := c.MemoryIdentity(t.Context(), "netwerk.certificaat", order)
	must(t, err)
	if peer, err := group.Peer(); err != nil || peer != borne {
		t.Errorf("the certificate is of %v, %v", peer, err)
	}
	if len(group.Chain()) != 1 {
		t.Errorf("got a chain of %d, want the leaf without the root", len(group.Chain()))
	}
	ca, err := a.api.Logical().Read("pki-" + a.n + "/cert/ca")
	must(t, err)
	block, _ := pem.Decode([]byte(ca.Data["certificate"].(string)))
	root, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(root)
	l, err := tls.Listen("tcp", "127.0.0.1:0", certs.InternalServerTLS(group.Identity))
	must(t, err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn) }()
		}
	}()
	dial := func() *tls.Conn {
		t.Helper()
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
		must(t, err)
		return conn
	}
	echo := func(conn net.Conn) {
		t.Helper()
		_, err := conn.Write([]byte("x"))
		must(t, err)
		_, err = io.ReadFull(conn, make([]byte, 1))
		must(t, err)
	}
	conn := dial()
	defer conn.Close()
	echo(conn)
	before, beforeMemory := group.Cert(), memory.Cert()
	got := time.Now()
	for _, k := range []*Kept{group, memory} {
		go func() { _ = k.Run(t.Context()) }()
	}
	await(t, "both certificates to be renewed", func() bool { return !group.Cert().Equal(before) && !memory.Cert().Equal(beforeMemory) })
	if passed := time.Since(got); passed < 1500*time.Millisecond || passed > 3900*time.Millisecond {
		t.Errorf("renewed after %v of 4 s, want two thirds", passed)
	}
	if !key.pub.Equal(group.Cert().PublicKey) {
		t.Error("the key of the group certificate changed")
	}
	if memory.Cert().PublicKey.(*ecdsa.PublicKey).Equal(beforeMemory.PublicKey) {
		t.Error("the key in memory stayed")
	}
	echo(conn)
	fresh := dial()
	defer fresh.Close()
	if shown := fresh.ConnectionState().PeerCertificates[0]; shown.Equal(before) {
		t.Error("a new handshake shows the old certificate")
	}
	t.Run("another peer's OIN", func(t *testing.T) {
		_, err := c.Identity(t.Context(), "certificaat", order, Subject{Peer: gateway.Peer{ID: "00000099900000001000", Name: "Gemeente Borne"}}, key)
		wantError(t, err, gateway.Invalid, "PKI role groep", "serial_number")
	})
	t.Run("another peer's name", func(t *testing.T) {
		_, err := c.Identity(t.Context(), "certificaat", order, Subject{Peer: gateway.Peer{ID: borne.ID, Name: "Gemeente Almelo"}}, key)
		wantError(t, err, gateway.Invalid, "certificate of another peer", "docs/vault.md")
	})
	t.Run("a role that is not there", func(t *testing.T) {
		must(t, a.api.Sys().PutPolicy("peer-"+a.n, a.policyOf()+"\n"+`path "pki-`+a.n+`/sign/*" { capabilities = ["update"] }`))
		_, err := c.MemoryIdentity(t.Context(), "netwerk.certificaat", Certificaat{Rol: "weg", Namen: order.Namen})
		wantError(t, err, gateway.NotFound, "PKI role weg is not there", "bao write "+cfg.PKI+"/roles/weg")
	})
}

// ownServer runs a server of its own on files, so that it can be sealed and killed.
type ownServer struct {
	*admin
	dir, unseal string
	cmd         *exec.Cmd
}

func startOwn(t *testing.T) *ownServer {
	t.Helper()
	bao := os.Getenv("GRENSLOOS_BAO")
	if bao == "" {
		t.Fatal(`GRENSLOOS_BAO: eval "$(.ci/openbao start DIR)" first`)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close())
	ca := newAuthority(t)
	s := &ownServer{admin: &admin{t: t, address: "https://" + address, ca: ca.file}, dir: t.TempDir()}
	pair := ca.server(time.Now().Add(time.Hour), "127.0.0.1")
	rawKey, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	must(t, err)
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: rawKey}} {
		must(t, os.WriteFile(filepath.Join(s.dir, name), pem.EncodeToMemory(block), 0o600))
	}
	must(t, os.Mkdir(filepath.Join(s.dir, "data"), 0o700))
	l, err = net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	cluster := l.Addr().String()
	must(t, l.Close())
	config := fmt.Sprintf(`storage "raft" {
  path = "%[1]s/data"
  node_id = "een"
}
listener "tcp" {
  address = "%[2]s"
  cluster_address = "%[3]s"
  tls_cert_file = "%[1]s/cert.pem"
  tls_key_file = "%[1]s/key.pem"
}
api_addr = "https://%[2]s"
cluster_addr = "https://%[3]s"
`, s.dir, address, cluster)
	must(t, os.WriteFile(filepath.Join(s.dir, "bao.hcl"), []byte(config), 0o600))
	s.connect("")
	s.start()
	t.Cleanup(s.kill)
	init, err := s.api.Sys().Init(&api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	must(t, err)
	s.unseal = init.KeysB64[0]
	s.api.SetToken(init.RootToken)
	s.open()
	return s
}

func (s *ownServer) start() {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(s.t, err)
	defer log.Close()
	s.cmd = exec.Command(os.Getenv("GRENSLOOS_BAO"), "server", "-config", filepath.Join(s.dir, "bao.hcl"))
	s.cmd.Stdout, s.cmd.Stderr = log, log
	must(s.t, s.cmd.Start())
	await(s.t, "the server", func() bool { _, err := s.api.Sys().SealStatus(); return err == nil })
}

func (s *ownServer) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

func (s *ownServer) open() {
	s.t.Helper()
	_, err := s.api.Sys().Unseal(s.unseal)
	must(s.t, err)
	await(s.t, "the unsealed server", func() bool { h, err := s.api.Sys().Health(); return err == nil && !h.Sealed && !h.Standby })
}

// Sealed, or killed: what needs Vault is refused by name at once; what is in memory stays; and when it is back the same client goes
// on, with a new login if its token ended meanwhile.
func TestSealedAndAway(t *testing.T) {
	s := startOwn(t)
	cfg := s.lay(map[string]any{"token_ttl": "6s", "token_max_ttl": "6s"})
	var log lockedBuffer
	c := open(t, cfg, &log)
	key, err := c.Key(t.Context(), "groep", 1)
	must(t, err)
	id, err := c.Identity(t.Context(), "certificaat", Certificaat{Rol: "groep", Namen: []string{"localhost"}}, Subject{Peer: borne}, key)
	must(t, err)
	before := id.Pair()
	go func() { _ = c.Run(t.Context()) }()
	for _, away := range []struct {
		name, want  string
		leave, back func()
	}{
		{"sealed", "it is sealed, so transit key groep can't be used; unseal it: bao operator unseal -address=" + s.address, func() { must(t, s.api.Sys().Seal()) }, s.open},
		{"killed", "not reached (", s.kill, func() { s.start(); s.open() }},
	} {
		t.Run(away.name, func(t *testing.T) {
			wantSigns(t, key)
			returned := strings.Count(log.String(), "vault is back")
			away.leave()
			started := time.Now()
			_, _, err := sign(key)
			wantError(t, err, gateway.Unavailable, away.want)
			if passed := time.Since(started); passed > callWithin {
				t.Errorf("refused after %v", passed)
			}
			if err := id.renew(t.Context()); err == nil || id.Pair() != before {
				t.Errorf("got %v; the certificate of before must stay", err)
			}
			_, err = Open(t.Context(), cfg, nil, nil)
			wantError(t, err, gateway.Unavailable, s.address)
			await(t, "Run to see it", func() bool { return c.Trouble() != nil })
			wantError(t, c.Trouble(), gateway.KindOf(c.Trouble()), s.address)
			time.Sleep(7 * time.Second) // the token ends meanwhile
			away.back()
			await(t, "Run to see that it is back", func() bool { return c.Trouble() == nil && strings.Count(log.String(), "vault is back") > returned })
			wantSigns(t, key)
			must(t, id.renew(t.Context()))
			before = id.Pair()
		})
	}
}

// Many at once, as a busy gemeente signs.
func TestManySignAtOnce(t *testing.T) {
	a := shared(t)
	c := open(t, a.lay(nil), io.Discard)
	key, err := c.Key(t.Context(), "groep", 1)
	must(t, err)
	const workers, each = 16, 50
	started := time.Now()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				if _, _, err := sign(key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d signatures by %d at once in %v", workers*each, workers, time.Since(started).Round(time.Millisecond))
	started = time.Now()
	for range each {
		wantSigns(t, key)
	}
	t.Logf("one after the other: %v each", (time.Since(started) / each).Round(time.Microsecond))
}

// The roles of a peer, in processes of their own, know each other by certificates that PKI issues over keys in memory: none of them has a
// private key on a disk. A role that the PKI role does not allow is refused by name.
func TestRoleCertificates(t *testing.T) {
	a := shared(t)
	cfg := a.lay(nil)
	uri := func(r certs.Role) []string { return []string{r.URI(borne.ID)} }
	a.write("pki-"+a.n+"/roles/groep", map[string]any{
		"key_type": "ec", "key_bits": 256, "ttl": "1h", "allow_localhost": true, "allowed_domains": "localhost", "allow_bare_domains": true, "allow_ip_sans": true,
		"require_cn": false, "key_usage": "DigitalSignature", "client_flag": true, "allowed_uri_sans": strings.Join(append(uri("inway"), uri("manager")...), ","),
	})
	c := open(t, cfg, nil)
	root, err := a.api.Logical().Read("pki-" + a.n + "/cert/ca")
	must(t, err)
	ca := write(t, "ca.pem", []byte(root.Data["certificate"].(string)))
	network := map[certs.Role]*certs.Internal{}
	for _, role := range []certs.Role{"inway", "manager"} {
		id, err := c.MemoryIdentity(t.Context(), "netwerk.certificaat", Certificaat{Rol: "groep", Namen: []string{"localhost", "127.0.0.1"}, URIs: uri(role)})
		must(t, err)
		if got := certs.RolesOf(id.Cert(), borne.ID); len(got) != 1 || got[0] != role {
			t.Errorf("the certificate names the roles %q, want %s", got, role)
		}
		network[role], err = certs.OpenInternal(borne.ID, certs.InternalConfig{CA: ca}, id.Identity, time.Now, slog.New(slog.DiscardHandler))
		must(t, err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", network["manager"].ServerTLS())
	must(t, err)
	defer l.Close()
	called := make(chan []certs.Role, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if err := conn.(*tls.Conn).Handshake(); err != nil {
			called <- nil
			return
		}
		cs := conn.(*tls.Conn).ConnectionState()
		roles, _ := network["manager"].Caller(&cs)
		called <- roles
	}()
	trust := network["inway"].ClientTLS("manager")
	trust.ServerName = "127.0.0.1"
	conn, err := tls.Dial("tcp", l.Addr().String(), trust)
	must(t, err)
	defer conn.Close()
	if got := <-called; len(got) != 1 || got[0] != "inway" {
		t.Errorf("the manager was called by %q, want inway", got)
	}
	_, err = c.MemoryIdentity(t.Context(), "netwerk.certificaat", Certificaat{Rol: "groep", Namen: []string{"localhost"}, URIs: uri("outway")})
	if err == nil || !strings.Contains(err.Error(), "PKI role groep") || !strings.Contains(err.Error(), "URI") {
		t.Errorf("a role that is not allowed: got %v", err)
	}
}
