package bevraging_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/bevraging"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/verklaring"
	"github.com/grensloos/grensloos/policies"
)

// builtin is the built-in policy; it does not change, and is compiled once.
var builtin = sync.OnceValue(func() *policies.Engine {
	engine, err := policies.New(context.Background(), policies.Options{Now: clock})
	if err != nil {
		panic(err)
	}
	return engine
})

// fixture is a bevraging with everything around it faked.
type fixture struct {
	t       *testing.T
	handler *bevraging.Handler
	grants  fakeGrants
	outway  *fakeOutway
	audit   *audit.Memory
	key     crypto.Signer
}

type fakeGrants struct {
	all []gateway.Grant
	err error
}

func (f *fakeGrants) Grants(_ context.Context, keep func(gateway.Grant) bool) ([]gateway.Grant, error) {
	var out []gateway.Grant
	for _, g := range f.all {
		if keep(g) {
			out = append(out, g)
		}
	}
	return out, f.err
}

// fakeOutway answers as the outway would, and remembers what it was sent.
type fakeOutway struct {
	status int
	header http.Header
	body   string
	read   io.Reader // instead of body
	err    error
	change func(*verklaring.Kwitantie)
	wait   bool                                        // until the context ends
	each   func(*http.Request) (*http.Response, error) // instead of all that

	mu   sync.Mutex
	sent []*http.Request
	got  []string
}

func (f *fakeOutway) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.sent, f.got = append(f.sent, r), append(f.got, string(body))
	f.mu.Unlock()
	if f.each != nil {
		return f.each(r)
	}
	if f.wait {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if f.err != nil {
		return nil, f.err
	}
	read, header := f.read, f.header.Clone()
	if read == nil {
		read = strings.NewReader(f.body)
		if k := receipt(r, f.body, f.change); k != "" {
			header.Set("Grensloos-Kwitantie", k)
		}
	}
	return &http.Response{StatusCode: f.status, Header: header, Body: io.NopCloser(read), Request: r}, nil
}

// signer signs receipts; whose it is, is the outway's to look at.
var signer = sync.OnceValue(func() *jose.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: now.AddDate(1, 0, 0), DNSNames: []string{"localhost"},
		Subject: pkix.Name{Organization: []string{"Gemeente"}, SerialNumber: "00000099000000147000"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return &jose.Signer{Key: key, Cert: cert}
})

// receipt is what a gemeente signs for an answer, after change; empty if the answer can't be read.
func receipt(r *http.Request, body string, change func(*verklaring.Kwitantie)) string {
	var in struct {
		Transactie gateway.TransactionID
		Doel       gateway.Doel
		Diensten   []bevraging.DienstAntwoord
	}
	if json.Unmarshal([]byte(body), &in) != nil {
		return ""
	}
	k := verklaring.Kwitantie{
		Issuer: peerOf(r), Audience: uwi, Transactie: in.Transactie, GrantHash: gateway.GrantHash(r.Header.Get("Fsc-Grant-Hash")), Doel: in.Doel,
		Besluit: true, Uitkomst: map[gateway.Dienst]string{}, IssuedAt: now,
	}
	velden := gateway.Velden{}
	for _, d := range in.Diensten {
		k.Uitkomst[d.Dienst] = string(d.Uitkomst)
		k.Aantal += len(d.Rijen)
		if len(d.Rijen) > 0 {
			velden[d.Dienst] = slices.Collect(maps.Keys(d.Rijen[0].Waarden))
		}
	}
	k.VeldenDigest, _ = verklaring.VeldenDigest(velden)
	if change != nil {
		change(&k)
	}
	compact, _ := verklaring.SignKwitantie(verklaring.NewSigner(signer, verklaring.VoorKwitantie, func() time.Time { return k.IssuedAt }), k) // a receipt that can't be made is no receipt
	return compact
}

// peerOf is the gemeente that a request goes to: that of its grant.
func peerOf(r *http.Request) gateway.PeerID {
	if id, ok := strings.CutPrefix(r.Header.Get("Fsc-Grant-Hash"), grantHash+"-"); ok {
		return gateway.PeerID(id)
	}
	return borne
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	auth, err := edge.NewVerifier(edge.Issuers{
		Issuer: "https://issuer.example", Audience: "test", Keys: []crypto.PublicKey{key.Public()}, Organisatie: uwi,
	}, clock)
	if err != nil {
		t.Fatal(err)
	}
	pseudonyms, err := gateway.NewPseudonymKeys(map[int][]byte{1: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, key: key, audit: &audit.Memory{Validate: true}}
	f.grants.all = []gateway.Grant{grantFor(builtin(), reint, borne)}
	f.outway = &fakeOutway{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}, "Fsc-Transaction-Id": {transact}}}
	f.handler = &bevraging.Handler{
		Self: gateway.Peer{ID: uwi, Name: "uwi"}, Auth: auth, Grants: &f.grants, Outway: f.outway, Policy: builtin(), Audit: f.audit,
		Pseudonyms: pseudonyms, Demo: true, Now: clock,
		Gemeenten: []bevraging.Gemeente{{ID: borne, Naam: "Borne", Code: "0147"}, {ID: otherGem, Naam: "Hengelo", Code: "0164"}},
	}
	return f
}

func grantFor(engine *policies.Engine, doel gateway.Doel, peer gateway.PeerID) gateway.Grant {
	properties, err := engine.Session().Catalogue().Properties(doel, now, peer)
	if err != nil {
		panic(err)
	}
	return gateway.Grant{
		Hash: grantHash, Type: gateway.ServiceConnection, Outway: uwi, ServicePeer: peer, Service: "clientgegevens", Properties: properties,
	}
}

// ask sends a question as an application would, and gives the status and the body.
func (f *fixture) ask(body string) (int, string) {
	f.t.Helper()
	w := httptest.NewRecorder()
	f.serve(w, f.request(body))
	return w.Code, w.Body.String()
}

// serve answers one request.
func (f *fixture) serve(w http.ResponseWriter, r *http.Request) {
	f.t.Helper()
	router, err := f.handler.Router()
	if err != nil {
		f.t.Fatal(err)
	}
	router.ServeHTTP(w, r)
}

// request is a question as an application sends it.
func (f *fixture) request(body string) *http.Request {
	f.t.Helper()
	token, err := edge.IssueJWT(f.key, edge.Claims{
		Issuer: "https://issuer.example", Audience: "test", Subject: "j.jansen", Rollen: []string{"klantmanager"}, Organisatie: uwi,
	}, now, time.Hour)
	if err != nil {
		f.t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(f.t.Context(), http.MethodPost, "https://bevraging/v1/bevragingen", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	return r
}

func (f *fixture) answer(body string) bevraging.Antwoord {
	f.t.Helper()
	status, raw := f.ask(body)
	if status != http.StatusOK {
		f.t.Fatalf("got status %d: %s", status, raw)
	}
	var a bevraging.Antwoord
	if err := json.Unmarshal([]byte(raw), &a); err != nil {
		f.t.Fatal(err)
	}
	if len(a.Gemeenten) == 0 || len(a.Gemeenten[0].Diensten) == 0 {
		f.t.Fatalf("an answer without a gemeente or a dienst: %s", raw)
	}
	return a
}

// outcomes are the outcome and the reason of each dienst.
func outcomes(a bevraging.Antwoord) map[gateway.Dienst]string {
	out := map[gateway.Dienst]string{}
	for _, d := range a.Gemeenten[0].Diensten {
		out[d.Dienst] = string(d.Uitkomst)
		if d.Reden != nil {
			out[d.Dienst] += " " + d.Reden.Code
		}
	}
	return out
}
