package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway/edge"
)

func newECKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writeFile(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The key of the issuer of JWTs is replaced in its file while the peer serves: from then on the new one counts, and the old one does not.
func TestIssuerKeyReplaced(t *testing.T) {
	old, fresh := newECKey(t), newECKey(t)
	file := filepath.Join(t.TempDir(), "issuer.pem")
	put := func(key *ecdsa.PrivateKey) {
		t.Helper()
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, file, "PUBLIC KEY", der)
	}
	put(old)
	const self = "00000099000000147000"
	token := func(key crypto.Signer) string {
		t.Helper()
		jwt, err := edge.IssueJWT(key, edge.Claims{Issuer: "i", Audience: "a", Subject: "s", Rollen: []string{"beheerder"}, Organisatie: self}, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return jwt
	}
	said := &syncBuffer{}
	p := &peer{cfg: &Config{Network: NetworkConfig{IssuerKeys: []string{file}}}, log: slog.New(slog.NewTextHandler(said, nil)), now: time.Now}
	keys, err := p.issuerKeys()
	if err != nil {
		t.Fatal(err)
	}
	if p.auth, err = edge.NewVerifier(edge.Issuers{Issuer: "i", Audience: "a", Organisatie: self, Keys: keys}, nil); err != nil {
		t.Fatal(err)
	}
	accepted := func(jwt string) bool { _, err := p.auth.Verify(jwt); return err == nil }
	before, after := token(old), token(fresh)
	if !accepted(before) || accepted(after) {
		t.Fatal("at the start: want the token of the first key accepted, and no other")
	}
	go p.watchIssuers(t.Context())
	await := func(what string, until func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !until(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not within 20 s\n%s", what, said)
			}
		}
	}
	if err := os.WriteFile(file, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	await("the half file to be reported", func() bool { return contains(said, "not reloaded") })
	if !accepted(before) {
		t.Error("half a file took the key away")
	}
	put(fresh)
	await("the new key", func() bool { return accepted(after) })
	if accepted(before) {
		t.Error("a token of the key that is gone is accepted")
	}
}

// The CA of a service behind the inway is that of the moment of a connection.
func TestServiceCAReplaced(t *testing.T) {
	var shown atomic.Pointer[tls.Certificate]
	var cas [2][]byte
	var certificates [2]tls.Certificate
	for i := range cas {
		key := newECKey(t)
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dienst"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		cas[i], certificates[i] = der, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	shown.Store(&certificates[0])
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{*shown.Load()}}, nil
	}}
	srv.StartTLS()
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if _, err := serviceTransport(ca); err == nil {
		t.Error("no CA file, and no error at the start")
	}
	writeFile(t, ca, "CERTIFICATE", cas[0])
	rt, err := serviceTransport(ca)
	if err != nil {
		t.Fatal(err)
	}
	closer := rt.(*http.Transport)
	defer closer.CloseIdleConnections()
	call := func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.Body.Close()
	}
	if err := call(); err != nil {
		t.Fatal(err)
	}
	shown.Store(&certificates[1])
	if err := os.WriteFile(ca, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := call(); err != nil {
		t.Errorf("over the connection that is open: %v", err)
	}
	closer.CloseIdleConnections()
	if err := call(); err == nil {
		t.Error("a new connection without a CA that can be read")
	}
	writeFile(t, ca, "CERTIFICATE", cas[0])
	if err := call(); err == nil {
		t.Error("a certificate that does not stand under the CA")
	}
	writeFile(t, ca, "CERTIFICATE", cas[1])
	if err := call(); err != nil {
		t.Errorf("the new CA, without a restart: %v", err)
	}
}
