package inway

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/verklaring"
	"github.com/grensloos/grensloos/policies"
)

const (
	borne   = gateway.PeerID("00000099000000147000")
	uwi     = gateway.PeerID("00000099900000001000")
	almelo  = gateway.PeerID("00000099000000141000")
	group   = gateway.GroupID("midden-twente.example")
	address = "https://127.0.0.1:8443"
	plain   = gateway.ServiceName("plain")
	client  = gateway.ServiceName("clientgegevens")
	doel    = gateway.Doel("pw-reintegratie")
)

// identity is a peer's key and certificate.
type identity struct {
	signer *jose.Signer
	tls    tls.Certificate
}

// authority is a trust anchor.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
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
	return &authority{key: key, cert: cert, pool: pool}
}

func (a *authority) issue(t testing.TB, id gateway.PeerID) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	must(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		Subject:     pkix.Name{Organization: []string{"Peer " + string(id)}, ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 5}, Value: string(id)}}},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"peer.example"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return identity{signer: &jose.Signer{Key: key, Cert: cert}, tls: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// grantsOf is the contracts that a test says are valid.
type grantsOf struct {
	mu sync.Mutex
	m  map[gateway.GrantHash]gateway.Grant
}

func (g *grantsOf) Grant(_ context.Context, hash gateway.GrantHash) (gateway.Grant, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if grant, ok := g.m[hash]; ok {
		return grant, nil
	}
	return gateway.Grant{}, gateway.Errorf(gateway.NotFound, "grant")
}

// arrival is what the service saw of one request.
type arrival struct {
	method, target, body string
	header               http.Header
	admitted, again      bool
}

// rig is an inway at Borne, an outway at uwi-midden-twente, and a service that notes what arrives.
type rig struct {
	t       testing.TB
	ca      *authority
	borne   identity
	uwi     identity
	grants  *grantsOf
	bound   gateway.Grant // for a purpose
	unbound gateway.Grant // of the service plain
	log     *audit.Memory
	inway   *Handler
	srv     *httptest.Server
	service func(w http.ResponseWriter, r *http.Request) // what the service does; nil: answers

	busy inFlight // exchanges: an answer is with the asker before the record of its end

	mu       sync.Mutex
	revoked  bool
	arrivals []arrival
}

// signs makes statements of one use by a key that s certifies.
func signs(s *jose.Signer, g verklaring.Gebruik, now func() time.Time) *verklaring.Signer {
	return verklaring.NewSigner(func() *jose.Signer { return s }, g, now)
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, ca: newAuthority(t), grants: &grantsOf{m: map[gateway.GrantHash]gateway.Grant{}}, log: &audit.Memory{Validate: true}}
	r.borne, r.uwi = r.ca.issue(t, borne), r.ca.issue(t, uwi)
	engine, err := policies.New(t.Context(), policies.Options{})
	must(t, err)
	props, err := engine.Session().Catalogue().Properties(doel, r.now(), borne)
	must(t, err)
	raw, err := contract.Properties(props)
	must(t, err)
	key, err := jose.KeyThumbprint(r.uwi.signer.Cert.PublicKey)
	must(t, err)
	r.bound = gateway.Grant{
		Hash: hashOf("$1$3$", "bound"), Contract: "$1$1$c", Type: gateway.ServiceConnection, Outway: uwi, OutwayThumbprint: key, ServicePeer: borne,
		Service: client, NotBefore: r.now().Add(-time.Hour), NotAfter: r.now().Add(24 * time.Hour), Properties: props, RawProperties: raw,
	}
	r.unbound = r.bound
	r.unbound.Hash, r.unbound.Service, r.unbound.Properties, r.unbound.RawProperties = hashOf("$1$3$", "plain"), plain, gateway.Properties{}, nil
	r.allow(r.bound)
	r.allow(r.unbound)
	no := false
	service := http.HandlerFunc(r.serve)
	r.inway = &Handler{
		Self: gateway.Peer{ID: borne, Name: "Borne"}, PeerOf: r.peerOf, Grants: r.grants, Policy: engine, Audit: r.log, Now: r.now, Sign: signs(r.borne.signer, verklaring.VoorKwitantie, r.now),
		Log: slog.New(slog.DiscardHandler),
		Tokens: accesstoken.NewVerifier(borne, group, func(x5t string) (*x509.Certificate, bool) {
			return r.borne.signer.Cert, x5t == jose.Thumbprint(r.borne.signer.Cert)
		}, r.now),
		Services: map[gateway.ServiceName]Service{client: {Handler: service}, plain: {Handler: service, Doelbinding: &no}},
	}
	r.srv = httptest.NewUnstartedServer(nil)
	r.srv.Config = edge.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.busy.Add(1)
		defer r.busy.Done()
		r.inway.ServeHTTP(w, req)
	}), nil, slog.New(slog.DiscardHandler))
	r.srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{r.borne.tls}, ClientAuth: tls.RequireAnyClientCert}
	r.srv.StartTLS()
	t.Cleanup(r.srv.Close)
	return r
}

func (r *rig) now() time.Time { return time.Now() }

func (r *rig) allow(g gateway.Grant) {
	r.grants.mu.Lock()
	defer r.grants.mu.Unlock()
	r.grants.m[g.Hash] = g
}

func (r *rig) peerOf(cs *tls.ConnectionState) (gateway.Peer, *x509.Certificate, error) {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return gateway.Peer{}, nil, gateway.Errorf(gateway.Denied, "certificate: none")
	}
	cert := cs.PeerCertificates[0]
	if _, err := cert.Verify(x509.VerifyOptions{Roots: r.ca.pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return gateway.Peer{}, nil, gateway.Wrap(gateway.Denied, errors.New("not under the anchor"), "certificate")
	}
	r.mu.Lock()
	revoked := r.revoked
	r.mu.Unlock()
	if revoked {
		return gateway.Peer{}, nil, gateway.Errorf(gateway.Denied, "certificate: revoked")
	}
	peer, err := gateway.PeerFrom(cert)
	return peer, cert, err
}

func (r *rig) serve(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	id, gth := gateway.TransactionID(req.Header.Get(edge.HeaderTransaction)), r.bound.Hash
	if strings.HasPrefix(req.URL.Path, "/plain") {
		gth = r.unbound.Hash
	}
	a := arrival{method: req.Method, target: req.RequestURI, body: string(body), header: req.Header.Clone()}
	a.admitted, a.again = r.inway.Admitted(id, gth), r.inway.Admitted(id, gth)
	r.mu.Lock()
	r.arrivals = append(r.arrivals, a)
	service := r.service
	r.mu.Unlock()
	if service != nil {
		service(w, req)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"ok":true}`)
}

func (r *rig) served() []arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]arrival(nil), r.arrivals...)
}

// call is one request of an outway; the zero value is a good question under the purpose-bound grant.
type call struct {
	grant      *gateway.Grant
	as         *identity // client certificate
	path       string
	body       string
	id         gateway.TransactionID
	noToken    bool
	claims     func(*accesstoken.Claims)
	mintedBy   *identity
	verklaring func(*verklaring.Verklaring)
	signedBy   *identity // of the verklaring
	noStaat    bool      // no verklaring
	change     func(*http.Request)
}

type answer struct {
	status int
	header http.Header
	body   string
	id     gateway.TransactionID
	err    error
}

func (r *rig) request(c call) (*http.Request, gateway.TransactionID) {
	r.t.Helper()
	g := r.bound
	if c.grant != nil {
		g = *c.grant
	}
	as := r.uwi
	if c.as != nil {
		as = *c.as
	}
	if c.path == "" {
		c.path = "/v1/clienten/_zoek"
	}
	if c.id == "" {
		c.id = gateway.NewTransactionID(r.now())
	}
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.srv.URL+c.path, strings.NewReader(c.body))
	must(r.t, err)
	if !c.noToken {
		claims := accesstoken.For(g, accesstoken.Terms{Group: group, Audience: address, Cnf: jose.Thumbprint(as.signer.Cert), Now: r.now().Add(-time.Second), TTL: time.Minute})
		if c.claims != nil {
			c.claims(&claims)
		}
		by := r.borne
		if c.mintedBy != nil {
			by = *c.mintedBy
		}
		token, err := accesstoken.Mint(by.signer, claims)
		must(r.t, err)
		req.Header.Set(edge.HeaderAuthorization, "Bearer "+token)
	}
	req.Header.Set(edge.HeaderTransaction, string(c.id))
	if g.IsDoelgebonden() && !c.noStaat {
		v := verklaring.Verklaring{
			Issuer: uwi, Audience: borne, Subject: "m1.abc", NamensCollege: g.Properties.NamensCollege, GrantHash: g.Hash, Doel: g.Properties.Doel,
			DoelDigest: g.Properties.DoelDigest, Zaak: "ZAAK-2026-17", Zaaktype: "pw-reintegratietraject", Rollen: []string{"klantmanager"}, Transactie: c.id,
			IssuedAt: r.now().Truncate(time.Second), Expires: r.now().Truncate(time.Second).Add(verklaring.MaxTTL), Method: req.Method, Target: req.URL.RequestURI(),
			BodyDigest: verklaring.Digest([]byte(c.body)),
		}
		if c.verklaring != nil {
			c.verklaring(&v)
		}
		by := as
		if c.signedBy != nil {
			by = *c.signedBy
		}
		compact, err := verklaring.Sign(signs(by.signer, verklaring.VoorVerklaring, func() time.Time { return v.IssuedAt }), v)
		must(r.t, err)
		req.Header.Set(edge.HeaderVerklaring, compact)
	}
	if c.change != nil {
		c.change(req)
	}
	return req, c.id
}

func (r *rig) client(as *identity) *http.Client {
	cert := r.uwi.tls
	if as != nil {
		cert = as.tls
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.ca.pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, DisableCompression: true}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (r *rig) do(c call) answer {
	r.t.Helper()
	req, id := r.request(c)
	resp, err := r.client(c.as).Do(req)
	if err != nil {
		return answer{id: id, err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	r.busy.Wait()
	return answer{status: resp.StatusCode, header: resp.Header, body: string(body), id: id, err: err}
}

// counts are the records of one transaction by kind.
func (r *rig) counts() map[audit.Soort]int {
	n := map[audit.Soort]int{}
	for _, rec := range r.log.Records() {
		n[rec.Soort]++
	}
	return n
}

// body decodes the last record of a kind.
func (r *rig) last(s audit.Soort) map[string]any {
	r.t.Helper()
	out := map[string]any{}
	for _, rec := range r.log.Records() {
		if rec.Soort == s {
			clear(out)
			must(r.t, json.NewDecoder(bytes.NewReader(rec.Body)).Decode(&out))
		}
	}
	return out
}

func thumb(i identity) string { return jose.Thumbprint(i.signer.Cert) }

func key(t testing.TB, i identity) string {
	t.Helper()
	k, err := jose.KeyThumbprint(i.signer.Cert.PublicKey)
	must(t, err)
	return k
}

// hashOf makes a grant hash of the right form.
func hashOf(prefix, name string) gateway.GrantHash {
	return gateway.GrantHash(prefix + name + strings.Repeat("_", 86-len(name)))
}

// inFlight counts what goes on; several may wait for none while more begins, which a sync.WaitGroup does not allow.
type inFlight struct {
	mu sync.Mutex
	n  int
	no chan struct{} // closed when n becomes 0; nil while nobody waits
}

func (f *inFlight) Add(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n += n; f.n == 0 && f.no != nil {
		close(f.no)
		f.no = nil
	}
}

func (f *inFlight) Done() { f.Add(-1) }

func (f *inFlight) Wait() {
	f.mu.Lock()
	if f.n == 0 {
		f.mu.Unlock()
		return
	}
	if f.no == nil {
		f.no = make(chan struct{})
	}
	none := f.no
	f.mu.Unlock()
	<-none
}
