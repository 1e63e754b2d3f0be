package manager

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/store"
)

const (
	borne = gateway.PeerID("00000099000000147000")
	uwi   = gateway.PeerID("00000099900000001000")
	derde = gateway.PeerID("00000099900000002000")

	group   = gateway.GroupID("proef.group")
	service = gateway.ServiceName("clientgegevens")
)

var names = map[gateway.PeerID]string{borne: "Gemeente Borne", uwi: "UWI Midden-Twente", derde: "Derde Partij"}

// clock runs, and can be put forward.
type clock struct {
	mu      sync.Mutex
	start   time.Time
	forward time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).Add(time.Since(c.start) + c.forward)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forward += d
}

// region is a group of peers with a development PKI, each with a manager on loopback.
type region struct {
	t     *testing.T
	pki   string
	clock *clock
	rules contract.Rules
	addrs map[gateway.PeerID]string
	peers map[gateway.PeerID]*testPeer
}

type testPeer struct {
	r     *region
	id    gateway.PeerID
	pad   string // database
	out   string // folder of certificate and key
	key   certs.KeyType
	group *certs.Group
	ident *certs.Identity
	store *store.Store
	log   *audit.Memory
	peers *Peers
	m     *Manager
	inner http.Handler // in place of m.Handler, if set

	faults  func(keeper) keeper // wraps the store, if set
	options func(*Options)      // changes the options, if set
	server  *http.Server
	stop    func()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, kind gateway.Kind, text string) {
	t.Helper()
	if err == nil || gateway.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Fatalf("error %v (%v), want kind %v and %q", err, gateway.KindOf(err), kind, text)
	}
}

// newRegion makes peers that do not run yet; change may alter each before its certificate is made.
func newRegion(t *testing.T, change func(*testPeer), ids ...gateway.PeerID) *region {
	t.Helper()
	r := &region{
		t: t, pki: t.TempDir(), clock: &clock{start: time.Now()}, addrs: map[gateway.PeerID]string{}, peers: map[gateway.PeerID]*testPeer{},
		rules: contract.Rules{Group: gateway.GroupRules{ID: group}, Properties: []string{"proef"}},
	}
	must(t, certs.InitPKI(r.pki, certs.InitOptions{Name: "Proefregio", Now: r.clock.now()}))
	for _, id := range ids {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		must(t, err)
		r.addrs[id] = "https://" + l.Addr().String()
		r.rules.Group.Ports = append(r.rules.Group.Ports, l.Addr().(*net.TCPAddr).Port)
		must(t, l.Close())
	}
	for _, id := range ids {
		p := &testPeer{r: r, id: id, pad: filepath.Join(t.TempDir(), "peer.db"), out: filepath.Join(t.TempDir(), "id"), log: &audit.Memory{Validate: true}}
		if change != nil {
			change(p)
		}
		r.peers[id] = p
		p.issue(certs.Request{})
		var err error
		p.group, err = certs.OpenGroup(r.rules.Group, certs.Config{
			Ankers: []string{filepath.Join(r.pki, certs.RootFile)},
			CRLs:   []string{filepath.Join(r.pki, certs.RootCRLFile), filepath.Join(r.pki, certs.IntermediateCRLFile)},
		}, r.clock.now, nil)
		must(t, err)
		p.peers = &Peers{
			Addresses: r.addrs, Own: r.addrs[id], Transport: p.group.Transport(p.ident).To, VerifyChain: p.group.VerifyChain, Now: r.clock.now,
		}
	}
	return r
}

// issue gives the peer a certificate, a second time a renewed one.
func (p *testPeer) issue(q certs.Request) {
	p.r.t.Helper()
	q.OIN, q.Name, q.Out, q.Now, q.Force = p.id, names[p.id], p.out, p.r.clock.now(), true
	q.Hosts, q.IPs, q.KeyType = append(q.Hosts, "localhost"), []net.IP{net.IPv4(127, 0, 0, 1)}, p.key
	made, err := certs.Issue(p.r.pki, q)
	must(p.r.t, err)
	if p.ident != nil {
		must(p.r.t, p.ident.Reload())
		return
	}
	p.ident, err = certs.LoadIdentity(made.CertFile, made.KeyFile)
	must(p.r.t, err)
}

func (p *testPeer) signer() *jose.Signer {
	pair := p.ident.Pair()
	return &jose.Signer{Key: pair.Key, Cert: pair.Cert(), Chain: pair.Chain[1:]}
}

// start opens store and manager and listens; with deliver it delivers too.
func (p *testPeer) start(deliver bool) *testPeer {
	t := p.r.t
	t.Helper()
	var err error
	p.store, err = store.Open(t.Context(), store.Config{Pad: p.pad})
	must(t, err)
	var kept keeper = p.store
	if p.faults != nil {
		kept = p.faults(kept)
	}
	o := Options{
		Self: gateway.Peer{ID: p.id, Name: names[p.id]}, Rules: p.r.rules, Address: p.r.addrs[p.id], Store: kept, Peers: p.peers,
		PeerOf: p.group.PeerOf, VerifyChain: p.group.VerifyChain, Signer: p.signer, Audit: p.log,
		CheckProperties: func(gateway.Grant) error { return nil }, Services: map[gateway.ServiceName]string{service: p.r.addrs[p.id]},
		RetryStart: 10 * time.Millisecond, Now: p.r.clock.now, Log: slog.New(slog.DiscardHandler),
	}
	if p.options != nil {
		p.options(&o)
	}
	p.m, err = New(o)
	must(t, err)
	handler := p.inner
	if handler == nil {
		handler = p.m.Handler()
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", strings.TrimPrefix(p.r.addrs[p.id], "https://"))
	must(t, err)
	p.server = edge.NewServer(handler, p.group.ServerTLS(p.ident), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { _ = p.server.ServeTLS(l, "", "") })
	if deliver {
		all.Go(func() { _ = p.m.Run(ctx) })
	}
	p.stop = sync.OnceFunc(func() {
		cancel()
		_ = p.server.Close()
		all.Wait()
		if err := p.store.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { p.stop() })
	return p
}

type answer struct {
	Status int
	Code   string
}

// call sends a request as this peer and reads status and FSC code.
func (p *testPeer) call(to gateway.PeerID, method, path, contentType string, body []byte, change ...func(*http.Request)) (answer, []byte) {
	t := p.r.t
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.r.addrs[to]+path, bytes.NewReader(body))
	must(t, err)
	req.Header.Set("Content-Type", contentType)
	req.Header.Set(edge.HeaderManager, p.r.addrs[p.id])
	for _, c := range change {
		c(req)
	}
	resp, err := p.peers.Transport(to).RoundTrip(req)
	must(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(t, err)
	if p.r.peers[to].inner == nil && !conforms(t, method, path, resp.StatusCode, raw) {
		t.Errorf("%s %s: status %d is not in manager.yaml", method, path, resp.StatusCode)
	}
	return answer{resp.StatusCode, resp.Header.Get(edge.HeaderErrorCode)}, raw
}

func (p *testPeer) submit(to gateway.PeerID, c *contract.Content, jws string) answer {
	p.r.t.Helper()
	body, err := json.Marshal(signatureBody{Content: c.Raw, Signature: jws})
	must(p.r.t, err)
	got, _ := p.call(to, http.MethodPost, "/v1/contracts", "application/json", body)
	return got
}

func (p *testPeer) put(to gateway.PeerID, path gateway.ContentHash, kind contract.SignatureType, c *contract.Content, jws string) answer {
	p.r.t.Helper()
	body, err := json.Marshal(signatureBody{Content: c.Raw, Signature: jws})
	must(p.r.t, err)
	got, _ := p.call(to, http.MethodPut, "/v1/contracts/"+string(path)+"/"+string(kind), "application/json", body)
	return got
}

func (p *testPeer) sign(c *contract.Content, kind contract.SignatureType) string {
	p.r.t.Helper()
	jws, err := contract.Sign(p.signer(), c.Hash(), kind, p.r.clock.now())
	must(p.r.t, err)
	return jws
}

// connection is a plain connection grant from one peer's outway to another peer's service.
func (r *region) connection(from, to gateway.PeerID) contract.GrantData {
	r.t.Helper()
	thumb, err := jose.KeyThumbprint(r.peers[from].ident.Cert().PublicKey)
	must(r.t, err)
	return contract.GrantData{
		Type:    gateway.ServiceConnection,
		Outway:  &contract.Outway{PeerID: from, Identification: contract.Identification{Type: contract.ByThumbprint, PublicKeyThumbprint: thumb}},
		Service: contract.Service{Type: contract.ServiceTypeService, PeerID: to, Name: service},
	}
}

func (r *region) newContent(grants ...contract.GrantData) contract.NewContent {
	now := r.clock.now()
	return contract.NewContent{Group: group, Grants: grants, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(30 * 24 * time.Hour), Now: now}
}

func (r *region) content(grants ...contract.GrantData) *contract.Content {
	r.t.Helper()
	c, err := contract.New(r.newContent(grants...))
	must(r.t, err)
	return c
}

// agree makes a contract valid at one peer, by signatures of all its parties, without the network.
func (p *testPeer) agree(c *contract.Content) gateway.GrantHash {
	p.r.t.Helper()
	for _, party := range c.Parties() {
		from := p.r.peers[party]
		chain := from.ident.Chain()
		must(p.r.t, p.m.take(p.r.t.Context(), caller{peer: gateway.Peer{ID: party, Name: names[party]}, chain: chain}, c, from.sign(c, contract.Accept), contract.Accept))
	}
	return c.GrantHashes()[0]
}

func (p *testPeer) state(hash gateway.ContentHash) contract.State {
	p.r.t.Helper()
	d, err := p.m.Show(p.r.t.Context(), hash)
	if gateway.KindOf(err) == gateway.NotFound {
		return ""
	}
	must(p.r.t, err)
	return d.State
}

// eventually waits for what another goroutine brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func mustJSON(t *testing.T, raw []byte, into any) {
	t.Helper()
	must(t, json.Unmarshal(raw, into))
}

// tokens is the token client of this peer's outway.
func (p *testPeer) tokens() *TokenClient {
	return &TokenClient{Self: p.id, Group: p.r.rules.Group, Peers: p.peers, Certificate: p.ident.Cert, Now: p.r.clock.now}
}

func (p *testPeer) ownCert(x5t string) (*x509.Certificate, bool) {
	cert := p.ident.Cert()
	return cert, jose.Thumbprint(cert) == x5t
}
