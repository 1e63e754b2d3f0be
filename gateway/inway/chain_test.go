package inway_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/inway"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/outway"
	"github.com/grensloos/grensloos/gateway/verklaring"
	"github.com/grensloos/grensloos/policies"
)

const (
	borne = gateway.PeerID("00000099000000147000")
	uwi   = gateway.PeerID("00000099900000001000")
	group = gateway.GroupID("midden-twente.example")
)

// chain is outway, inway and a service of 1 kB over real mTLS on loopback, and two bare proxies in the same place.
type chain struct {
	client  *http.Client
	url     string
	request func() *http.Request
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type pki struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
	good *sync.Map // certificates found good
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func newPKI(t testing.TB) pki {
	t.Helper()
	key := newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "anchor"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pki{key, cert, pool, new(sync.Map)}
}

func (p pki) issue(t testing.TB, id gateway.PeerID) (*jose.Signer, tls.Certificate) {
	t.Helper()
	key := newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		Subject:     pkix.Name{Organization: []string{"Peer"}, ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 5}, Value: string(id)}}},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, p.cert, key.Public(), p.key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return &jose.Signer{Key: key, Cert: cert}, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}
}

// verify checks a signing certificate, as certs.Group.VerifyChain does: each once.
func (p pki) verify(chain []*x509.Certificate, at time.Time) (gateway.Peer, error) {
	if _, ok := p.good.Load(string(chain[0].Raw)); !ok {
		if _, err := chain[0].Verify(x509.VerifyOptions{Roots: p.pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			return gateway.Peer{}, err
		}
		p.good.Store(string(chain[0].Raw), true)
	}
	return gateway.PeerFrom(chain[0])
}

func (p pki) server(t testing.TB, h http.Handler, cert tls.Certificate, clients bool) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = edge.NewServer(h, nil, slog.New(slog.DiscardHandler))
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}
	if clients {
		srv.TLS.ClientAuth, srv.TLS.ClientCAs = tls.RequireAndVerifyClientCert, p.pool
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

func (p pki) transport(t testing.TB, cert ...tls.Certificate) *http.Transport {
	t.Helper()
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: p.pool, Certificates: cert, MinVersion: tls.VersionTLS13}, MaxIdleConnsPerHost: 64, DisableCompression: true,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

type contracts map[gateway.GrantHash]gateway.Grant

func (c contracts) Grant(_ context.Context, hash gateway.GrantHash) (gateway.Grant, error) {
	if g, ok := c[hash]; ok {
		return g, nil
	}
	return gateway.Grant{}, gateway.Errorf(gateway.NotFound, "grant")
}

type token struct {
	compact string
	claims  accesstoken.Claims
}

func (t token) Token(context.Context, gateway.Grant) (string, *accesstoken.Claims, error) {
	return t.compact, &t.claims, nil
}

func (t token) Kept(gateway.Grant) (string, *accesstoken.Claims, bool) {
	return t.compact, &t.claims, true
}
func (token) Drop(gateway.Grant) {}

type discard struct{}

func (discard) Append(context.Context, ...audit.Record) error { return nil }

var kilobyte = []byte(strings.Repeat("0123456789abcdef", 64))

func serveKilobyte(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(kilobyte)
}

// newChain builds the chain; bound asks under a purpose, so with decisions and a verklaring. Records go to log, or nowhere.
func newChain(t testing.TB, bound bool, log audit.Log) *chain {
	t.Helper()
	p := newPKI(t)
	borneSigner, borneTLS := p.issue(t, borne)
	uwiSigner, uwiTLS := p.issue(t, uwi)
	engine, err := policies.New(t.Context(), policies.Options{})
	must(t, err)
	keyThumb, err := jose.KeyThumbprint(uwiSigner.Cert.PublicKey)
	must(t, err)
	g := gateway.Grant{
		Hash: gateway.GrantHash("$1$3$" + strings.Repeat("A", 86)), Contract: "$1$1$c", Type: gateway.ServiceConnection, Outway: uwi, OutwayThumbprint: keyThumb,
		ServicePeer: borne, Service: "clientgegevens", NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if bound {
		g.Properties, err = engine.Session().Catalogue().Properties("pw-reintegratie", time.Now(), borne)
		must(t, err)
		g.RawProperties, err = contract.Properties(g.Properties)
		must(t, err)
	}
	grants := contracts{g.Hash: g}
	quiet := slog.New(slog.DiscardHandler)
	in := &inway.Handler{
		Self: gateway.Peer{ID: borne}, Grants: grants, Policy: engine, Audit: log, Log: quiet, Sign: verklaring.NewSigner(func() *jose.Signer { return borneSigner }, verklaring.VoorKwitantie, time.Now),
		PeerOf: func(cs *tls.ConnectionState) (gateway.Peer, *x509.Certificate, error) {
			peer, err := gateway.PeerFrom(cs.PeerCertificates[0])
			return peer, cs.PeerCertificates[0], err
		},
		Tokens: accesstoken.NewVerifier(borne, group, func(x5t string) (*x509.Certificate, bool) {
			return borneSigner.Cert, x5t == jose.Thumbprint(borneSigner.Cert)
		}, time.Now),
		Services: map[gateway.ServiceName]inway.Service{"clientgegevens": {Handler: http.HandlerFunc(serveKilobyte), Doelbinding: &bound}},
	}
	inSrv := p.server(t, in, borneTLS, true)
	claims := accesstoken.For(g, accesstoken.Terms{Group: group, Audience: inSrv.URL, Cnf: jose.Thumbprint(uwiSigner.Cert), Now: time.Now().Add(-time.Second), TTL: 5 * time.Minute})
	compact, err := accesstoken.Mint(borneSigner, claims)
	must(t, err)
	u, err := url.Parse(inSrv.URL)
	must(t, err)
	port, err := strconv.Atoi(u.Port())
	must(t, err)
	jwtKey := newKey(t)
	auth, err := edge.NewVerifier(edge.Issuers{Issuer: "i", Audience: "a", Keys: []crypto.PublicKey{jwtKey.Public()}, Organisatie: uwi}, nil)
	must(t, err)
	jwt, err := edge.IssueJWT(jwtKey, edge.Claims{Issuer: "i", Audience: "a", Subject: "s", Rollen: []string{"klantmanager"}, Organisatie: uwi}, time.Now(), time.Hour)
	must(t, err)
	keys, err := gateway.NewPseudonymKeys(map[int][]byte{1: bytes.Repeat([]byte("k"), 32)})
	must(t, err)
	toInway := p.transport(t, uwiTLS)
	out := &outway.Handler{
		Self: gateway.Peer{ID: uwi}, Group: gateway.GroupRules{ID: group, Ports: []int{port}}, Auth: auth, Grants: grants, Tokens: token{compact, claims}, Policy: engine,
		Audit: log, Sign: verklaring.NewSigner(func() *jose.Signer { return uwiSigner }, verklaring.VoorVerklaring, time.Now), Pseudonyms: keys, Transport: func(gateway.PeerID) http.RoundTripper { return toInway }, Log: quiet,
		VerifyChain: p.verify,
	}
	outSrv := p.server(t, out, uwiTLS, false)
	c := &chain{client: &http.Client{Transport: p.transport(t)}, url: outSrv.URL}
	c.request = func() *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url+"/v1/clienten/_zoek", strings.NewReader(`{"bsn":"x"}`))
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+jwt)
		req.Header.Set(edge.HeaderGrantHash, string(g.Hash))
		req.Header.Set(edge.HeaderZaak, "ZAAK-2026-17")
		req.Header.Set(edge.HeaderZaaktype, "pw-reintegratietraject")
		return req
	}
	return c
}

func newBareChain(t testing.TB) *chain {
	t.Helper()
	p := newPKI(t)
	_, borneTLS := p.issue(t, borne)
	_, uwiTLS := p.issue(t, uwi)
	service := httptest.NewServer(http.HandlerFunc(serveKilobyte))
	t.Cleanup(service.Close)
	proxy := func(to string, tr http.RoundTripper) http.Handler {
		u, err := url.Parse(to)
		must(t, err)
		return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }, Transport: tr, BufferPool: new(edge.BufferPool)}
	}
	in := p.server(t, proxy(service.URL, &http.Transport{MaxIdleConnsPerHost: 64}), borneTLS, true)
	out := p.server(t, proxy(in.URL, p.transport(t, uwiTLS)), uwiTLS, false)
	c := &chain{client: &http.Client{Transport: p.transport(t)}, url: out.URL}
	c.request = func() *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url+"/v1/clienten/_zoek", strings.NewReader(`{"bsn":"x"}`))
		must(t, err)
		return req
	}
	return c
}

func (c *chain) ask(t testing.TB) (int, []byte) {
	resp, err := c.client.Do(c.request())
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, body
}

// TestChain is one question through a real outway and a real inway: each side has its own records under one transaction id.
func TestChain(t *testing.T) {
	log := &audit.Memory{Validate: true}
	c := newChain(t, true, log)
	status, body := c.ask(t)
	if status != 200 || !bytes.Equal(body, kilobyte) {
		t.Fatalf("answer %d %q", status, body)
	}
	c.client.CloseIdleConnections()
	records := log.Records()
	var ids []gateway.TransactionID
	for _, rec := range records {
		ids = append(ids, rec.Transactie)
		if rec.Transactie != records[0].Transactie {
			t.Errorf("%s under another transaction", rec.Soort)
		}
	}
	if n := log.Count(audit.Transactie, ids[0]); n != 2 {
		t.Errorf("Integration-TransactionLog-1: %d transactie records, want 2", n)
	}
	if n := log.Count(audit.Kwitantie, ids[0]); n != 1 {
		t.Errorf("%d kwitanties, want 1 at the asker", n)
	}
	if n := log.Count(audit.ADL, ids[0]); n != 2 {
		t.Errorf("%d decisions, want 2", n)
	}
}

func benchmark(b *testing.B, c *chain) {
	b.Helper()
	if status, body := c.ask(b); status != 200 {
		b.Fatalf("answer %d %s", status, body)
	}
	var before, after syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &before))
	b.SetParallelism(16)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if status, _ := c.ask(b); status != 200 {
				b.Errorf("status %d", status)
			}
		}
	})
	b.StopTimer()
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &after))
	cpu := (after.Utime.Nano() + after.Stime.Nano()) - (before.Utime.Nano() + before.Stime.Nano())
	b.ReportMetric(float64(cpu)/float64(b.N)/1000, "cpu-us/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// The chain with everything but the disk, the same without a purpose, and two bare proxies beside it. CPU includes the client.
func BenchmarkChainPurposeBound(b *testing.B) { benchmark(b, newChain(b, true, discard{})) }
func BenchmarkChainPlain(b *testing.B)        { benchmark(b, newChain(b, false, discard{})) }
func BenchmarkChainBareProxies(b *testing.B)  { benchmark(b, newBareChain(b)) }
