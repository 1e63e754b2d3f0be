package outway

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
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
	borne  = gateway.PeerID("00000099000000147000")
	uwi    = gateway.PeerID("00000099900000001000")
	almelo = gateway.PeerID("00000099000000141000")
	group  = gateway.GroupID("midden-twente.example")
	issuer = "https://login.midden-twente.example"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newSigner(t testing.TB, id gateway.PeerID) *jose.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"outway.example"},
		Subject: pkix.Name{Organization: []string{"Peer " + string(id)}, ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 5}, Value: string(id)}}},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return &jose.Signer{Key: key, Cert: cert}
}

// tokensOf is the manager of the provider, as the test wants it.
type tokensOf struct {
	r       *rig
	err     error
	change  func(*accesstoken.Claims)
	kept    bool // a token is at hand
	mu      sync.Mutex
	asked   int
	dropped int
}

func (t *tokensOf) Token(_ context.Context, g gateway.Grant) (string, *accesstoken.Claims, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	if t.err != nil {
		return "", nil, t.err
	}
	c := accesstoken.For(g, accesstoken.Terms{Group: group, Audience: t.r.inway.URL, Cnf: jose.Thumbprint(t.r.signer.Cert), Now: time.Now(), TTL: time.Minute})
	if t.change != nil {
		t.change(&c)
	}
	return "the-token", &c, nil
}

func (t *tokensOf) Kept(g gateway.Grant) (string, *accesstoken.Claims, bool) {
	if !t.kept {
		return "", nil, false
	}
	compact, claims, err := t.Token(context.Background(), g)
	return compact, claims, err == nil
}

func (t *tokensOf) Drop(gateway.Grant) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropped++
}

type grantsOf map[gateway.GrantHash]gateway.Grant

func (g grantsOf) Grant(_ context.Context, hash gateway.GrantHash) (gateway.Grant, error) {
	if grant, ok := g[hash]; ok {
		return grant, nil
	}
	return gateway.Grant{}, gateway.Errorf(gateway.NotFound, "grant")
}

// rig is an outway at uwi-midden-twente and a server in the place of Borne's inway, which notes what arrives.
type rig struct {
	t       testing.TB
	signer  *jose.Signer
	key     crypto.Signer // of the issuer of the own network
	grants  grantsOf
	bound   gateway.Grant
	unbound gateway.Grant
	tokens  *tokensOf
	log     *audit.Memory
	outway  *Handler
	inway   *httptest.Server
	srv     *httptest.Server
	busy    sync.RWMutex     // read by each exchange: an answer is with the caller before the record of its end
	peers   []gateway.PeerID // that a transport was asked for

	mu       sync.Mutex
	answer   func(w http.ResponseWriter, r *http.Request)
	arrivals []arrival

	provider *jose.Signer // signs the kwitantie
	receipt  func(*verklaring.Kwitantie)
	revoked  bool // the provider's certificate
}

type arrival struct {
	target, body string
	length       int64
	header       http.Header
	records      map[audit.Soort]int // durable when it arrived
}

func hashOf(prefix, name string) gateway.GrantHash {
	return gateway.GrantHash(prefix + name + strings.Repeat("_", 86-len(name)))
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, signer: newSigner(t, uwi), grants: grantsOf{}, log: &audit.Memory{Validate: true}}
	r.tokens = &tokensOf{r: r}
	r.provider = newSigner(t, borne)
	r.inway = httptest.NewTLSServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.inway.Close)
	engine, err := policies.New(t.Context(), policies.Options{})
	must(t, err)
	props, err := engine.Session().Catalogue().Properties("pw-reintegratie", time.Now(), borne)
	must(t, err)
	raw, err := contract.Properties(props)
	must(t, err)
	r.bound = gateway.Grant{
		Hash: hashOf("$1$3$", "bound"), Contract: "$1$1$c", Type: gateway.ServiceConnection, Outway: uwi, OutwayThumbprint: strings.Repeat("0", 64), ServicePeer: borne,
		Service: "clientgegevens", NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), Properties: props, RawProperties: raw,
	}
	r.unbound = r.bound
	r.unbound.Hash, r.unbound.Properties, r.unbound.RawProperties = hashOf("$1$3$", "plain"), gateway.Properties{}, nil
	r.grants[r.bound.Hash], r.grants[r.unbound.Hash] = r.bound, r.unbound

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	r.key = key
	auth, err := edge.NewVerifier(edge.Issuers{Issuer: issuer, Audience: "outway", Keys: []crypto.PublicKey{key.Public()}, Organisatie: uwi}, nil)
	must(t, err)
	keys, err := gateway.NewPseudonymKeys(map[int][]byte{1: bytes.Repeat([]byte("k"), 32)})
	must(t, err)
	u, err := url.Parse(r.inway.URL)
	must(t, err)
	port, err := strconv.Atoi(u.Port())
	must(t, err)
	r.outway = &Handler{
		Self: gateway.Peer{ID: uwi, Name: "UWI"}, Group: gateway.GroupRules{ID: group, Ports: []int{port}}, Auth: auth, Grants: r.grants, Tokens: r.tokens,
		Policy: engine, Audit: r.log, Sign: verklaring.NewSigner(func() *jose.Signer { return r.signer }, verklaring.VoorVerklaring, time.Now), Pseudonyms: keys, Log: slog.New(slog.DiscardHandler),
		VerifyChain: r.verifyChain,
		Transport: func(peer gateway.PeerID) http.RoundTripper {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.peers = append(r.peers, peer)
			return r.inway.Client().Transport
		},
	}
	r.srv = httptest.NewUnstartedServer(nil)
	r.srv.Config = edge.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.busy.RLock()
		defer r.busy.RUnlock()
		r.outway.ServeHTTP(w, req)
	}), nil, slog.New(slog.DiscardHandler))
	r.srv.Start()
	t.Cleanup(r.srv.Close)
	return r
}

func (r *rig) serve(w http.ResponseWriter, req *http.Request) {
	a := arrival{target: req.RequestURI, length: req.ContentLength, header: req.Header.Clone(), records: r.counts()}
	r.mu.Lock()
	answer := r.answer
	r.mu.Unlock()
	if answer == nil {
		body, _ := io.ReadAll(req.Body)
		a.body = string(body)
	}
	r.mu.Lock()
	r.arrivals = append(r.arrivals, a)
	r.mu.Unlock()
	if a.header.Get(edge.HeaderVerklaring) != "" {
		w.Header().Set(edge.HeaderKwitantie, r.kwitantie(a.header))
	}
	if answer != nil {
		answer(w, req)
		return
	}
	w.Header().Set(edge.HeaderTransaction, "of the other side")
	_, _ = io.WriteString(w, `{"ok":true}`)
}

// verifyChain trusts the two peers' certificates.
func (r *rig) verifyChain(chain []*x509.Certificate, _ time.Time) (gateway.Peer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.revoked {
		return gateway.Peer{}, gateway.Errorf(gateway.Denied, "certificate: revoked")
	}
	return gateway.PeerFrom(chain[0])
}

// kwitantie signs for the answer to a request.
func (r *rig) kwitantie(request http.Header) string {
	digest, err := verklaring.VeldenDigest(gateway.Velden{"persoon": {"naam"}})
	must(r.t, err)
	k := verklaring.Kwitantie{
		Issuer: borne, Audience: uwi, Transactie: gateway.TransactionID(request.Get(edge.HeaderTransaction)), GrantHash: r.bound.Hash,
		Doel: r.bound.Properties.Doel, Besluit: true, Uitkomst: map[gateway.Dienst]string{"persoon": "beantwoord"}, VeldenDigest: digest, Aantal: 1,
		IssuedAt: time.Now().Truncate(time.Second),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.receipt != nil {
		r.receipt(&k)
	}
	compact, err := verklaring.SignKwitantie(verklaring.NewSigner(func() *jose.Signer { return r.provider }, verklaring.VoorKwitantie, func() time.Time { return k.IssuedAt }), k)
	must(r.t, err)
	return compact
}

func (r *rig) sent() []arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]arrival(nil), r.arrivals...)
}

func (r *rig) jwt(rollen ...string) string {
	r.t.Helper()
	token, err := edge.IssueJWT(r.key, edge.Claims{Issuer: issuer, Audience: "outway", Subject: "jansen", Rollen: rollen, Organisatie: uwi}, time.Now(), time.Hour)
	must(r.t, err)
	return token
}

// ask makes a good question under the purpose-bound grant; change makes it another.
func (r *rig) ask(body string, change func(*http.Request)) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.srv.URL+"/v1/clienten/_zoek", strings.NewReader(body))
	must(r.t, err)
	req.Header.Set("Authorization", "Bearer "+r.jwt("klantmanager"))
	req.Header.Set(edge.HeaderGrantHash, string(r.bound.Hash))
	req.Header.Set(edge.HeaderZaak, "ZAAK-2026-17")
	req.Header.Set(edge.HeaderZaaktype, "pw-reintegratietraject")
	if change != nil {
		change(req)
	}
	return req
}

type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

func (r *rig) do(req *http.Request) answer {
	r.t.Helper()
	resp, err := r.srv.Client().Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	r.busy.Lock() // when all have ended
	defer r.busy.Unlock()
	return answer{status: resp.StatusCode, header: resp.Header, body: string(body), err: err}
}

func (r *rig) counts() map[audit.Soort]int {
	n := map[audit.Soort]int{}
	for _, rec := range r.log.Records() {
		n[rec.Soort]++
	}
	return n
}

// last is the body of the last record of a kind.
func (r *rig) last(s audit.Soort) map[string]any {
	r.t.Helper()
	out := map[string]any{}
	for _, rec := range r.log.Records() {
		if rec.Soort == s {
			clear(out)
			must(r.t, json.Unmarshal(rec.Body, &out))
		}
	}
	return out
}
