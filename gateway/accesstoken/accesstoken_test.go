package accesstoken_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/jose"
)

const (
	uwi     = gateway.PeerID("00000099900000001000")
	borne   = gateway.PeerID("00000099000000147000")
	hengelo = gateway.PeerID("00000099000000164000")
	group   = gateway.GroupID("demo.regio.example")
	aud     = "https://inway.borne.example:443"
)

var now = time.Unix(1767226000, 0)

func signer(t testing.TB, key crypto.Signer) *jose.Signer {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "peer"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &jose.Signer{Key: key, Cert: cert}
}

func ec(t testing.TB) *jose.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer(t, key)
}

func plain() gateway.Grant {
	return gateway.Grant{
		Hash: "$1$3$abc", Type: gateway.ServiceConnection, Outway: uwi, ServicePeer: borne, Service: "clientgegevens",
		NotAfter: now.Add(24 * time.Hour), RawProperties: []byte(`{"doel": "pw-uitkering"}`),
	}
}

// world is a provider, an outway's certificate, and a verifier whose clock and own certificates a test can move.
type world struct {
	self, outway *jose.Signer
	own          map[string]*x509.Certificate
	now          time.Time
	v            *accesstoken.Verifier
}

func newWorld(t testing.TB) *world {
	w := &world{self: ec(t), outway: ec(t), now: now}
	w.own = map[string]*x509.Certificate{jose.Thumbprint(w.self.Cert): w.self.Cert}
	w.v = accesstoken.NewVerifier(borne, group, func(x5t string) (*x509.Certificate, bool) {
		c, ok := w.own[x5t]
		return c, ok
	}, func() time.Time { return w.now })
	return w
}

func (w *world) terms() accesstoken.Terms {
	return accesstoken.Terms{Group: group, Audience: aud, Cnf: jose.Thumbprint(w.outway.Cert), Now: now, TTL: 2 * time.Minute}
}

func (w *world) mint(t testing.TB, s *jose.Signer, c accesstoken.Claims) string {
	t.Helper()
	compact, err := accesstoken.Mint(s, c)
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// What the standard's table says of each kind of grant.
func TestClaimsFollowFromTheGrant(t *testing.T) {
	delegated := plain()
	delegated.Type, delegated.Delegator = gateway.DelegatedServiceConnection, hengelo
	published := plain()
	published.ServiceDelegator, published.RawProperties = hengelo, nil
	for _, tc := range []struct {
		name  string
		grant gateway.Grant
		want  string // members of the payload that depend on the grant
	}{
		{"plain", plain(), `{"gth":"$1$3$abc","iss":"00000099000000147000","prp":{"doel":"pw-uitkering"},"sub":"00000099900000001000","svc":"clientgegevens"}`},
		{"delegated connection", delegated, `{"act":{"sub":"00000099900000001000"},"gth":"$1$3$abc","iss":"00000099000000147000","prp":{"doel":"pw-uitkering"},"sub":"00000099000000164000","svc":"clientgegevens"}`},
		{"delegated service", published, `{"gth":"$1$3$abc","iss":"00000099000000147000","pdi":"00000099000000164000","sub":"00000099900000001000","svc":"clientgegevens"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			claims := accesstoken.For(tc.grant, w.terms())
			compact := w.mint(t, w.self, claims)
			_, parsed, err := accesstoken.Parse(compact)
			if err != nil {
				t.Fatal(err)
			}
			var payload map[string]any
			if err := json.Unmarshal(parsed.Payload, &payload); err != nil {
				t.Fatal(err)
			}
			rest := map[string]any{}
			for _, k := range []string{"gid", "aud", "nbf", "exp", "cnf"} {
				rest[k] = payload[k]
				delete(payload, k)
			}
			got, err := jose.Canonical(payload)
			if err != nil || string(got) != tc.want {
				t.Errorf("got  %s %v\nwant %s", got, err, tc.want)
			}
			wantRest := map[string]any{
				"gid": string(group), "aud": aud, "nbf": float64(1767226000), "exp": float64(1767226120),
				"cnf": map[string]any{"x5t#S256": jose.Thumbprint(w.outway.Cert)},
			}
			if diff := cmp.Diff(wantRest, rest); diff != "" {
				t.Error(diff)
			}
			verified, err := w.v.Verify(compact, w.outway.Cert)
			if err != nil {
				t.Fatal(err)
			}
			if verified.OutwayPeer() != uwi || verified.Delegator() != tc.grant.Delegator || verified.Publisher != tc.grant.ServiceDelegator {
				t.Errorf("got %+v", verified)
			}
			if err := verified.Match(tc.grant); err != nil {
				t.Errorf("match: %v", err)
			}
		})
	}
}

func TestMatchRefuses(t *testing.T) {
	w := newWorld(t)
	claims := accesstoken.For(plain(), w.terms())
	for name, change := range map[string]func(*gateway.Grant){
		"hash":       func(g *gateway.Grant) { g.Hash = "$1$3$def" },
		"no hash":    func(g *gateway.Grant) { g.Hash = "" },
		"outway":     func(g *gateway.Grant) { g.Outway = hengelo },
		"service":    func(g *gateway.Grant) { g.Service = "anders" },
		"provider":   func(g *gateway.Grant) { g.ServicePeer = hengelo },
		"publisher":  func(g *gateway.Grant) { g.ServiceDelegator = hengelo },
		"delegated":  func(g *gateway.Grant) { g.Type, g.Delegator = gateway.DelegatedServiceConnection, hengelo },
		"properties": func(g *gateway.Grant) { g.RawProperties = []byte(`{"doel":"pw-reintegratie"}`) },
		"none":       func(g *gateway.Grant) { g.RawProperties = nil },
	} {
		g := plain()
		change(&g)
		if err := claims.Match(g); gateway.CodeOf(err) != accesstoken.CodeInvalid {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
	if err := (accesstoken.Claims{}).Match(gateway.Grant{}); err == nil {
		t.Error("Claims{} match Grant{}")
	}
	g := plain()
	g.RawProperties = []byte(` {"doel":"pw-uitkering"} `)
	if err := claims.Match(g); err != nil {
		t.Errorf("other white space: %v", err)
	}
}

func TestExpiryFollowsTheContract(t *testing.T) {
	w := newWorld(t)
	g := plain()
	g.NotAfter = now.Add(30 * time.Second)
	if got := accesstoken.For(g, w.terms()).Expires; !got.Equal(g.NotAfter) {
		t.Errorf("got %v, want no later than the contract", got)
	}
	terms := w.terms()
	terms.TTL = time.Hour
	if got := accesstoken.For(plain(), terms).Expires; got.Sub(now) != accesstoken.MaxTTL {
		t.Errorf("got %v, want at most %v", got.Sub(now), accesstoken.MaxTTL)
	}
}

func TestVerifyRefuses(t *testing.T) {
	w := newWorld(t)
	good := accesstoken.For(plain(), w.terms())
	with := func(f func(*accesstoken.Claims)) accesstoken.Claims {
		c := good
		f(&c)
		return c
	}
	other := ec(t)
	forged, err := accesstoken.Mint(&jose.Signer{Key: other.Key, Cert: other.Cert}, good)
	if err != nil {
		t.Fatal(err)
	}
	// the header names the provider's certificate, the signature is another's
	mine := strings.Split(w.mint(t, w.self, good), ".")
	theirs := strings.Split(forged, ".")
	for _, tc := range []struct {
		name    string
		compact string
		cert    *x509.Certificate
		at      time.Duration
		code    string
		message string
	}{
		{"missing", "", w.outway.Cert, 0, accesstoken.CodeMissing, "missing"},
		{"garbage", "abc", w.outway.Cert, 0, accesstoken.CodeInvalid, "compact form"},
		{"expired", w.mint(t, w.self, good), w.outway.Cert, 2 * time.Minute, accesstoken.CodeExpired, "exp"},
		{"not yet", w.mint(t, w.self, good), w.outway.Cert, -6 * time.Second, accesstoken.CodeInvalid, "nbf"},
		{"another certificate", w.mint(t, w.self, good), other.Cert, 0, accesstoken.CodeInvalid, "cnf"},
		{"another certificate on the same key", w.mint(t, w.self, good), signer(t, w.outway.Key).Cert, 0, accesstoken.CodeInvalid, "cnf"},
		{"no certificate", w.mint(t, w.self, good), nil, 0, accesstoken.CodeInvalid, "cnf"},
		{"another group", w.mint(t, w.self, with(func(c *accesstoken.Claims) { c.GroupID = "other.group" })), w.outway.Cert, 0, accesstoken.CodeWrongGroup, "gid"},
		{"another issuer", w.mint(t, w.self, with(func(c *accesstoken.Claims) { c.Issuer = hengelo })), w.outway.Cert, 0, accesstoken.CodeInvalid, "iss"},
		{"signed by another peer", forged, w.outway.Cert, 0, accesstoken.CodeInvalid, "not signed by this peer"},
		{"signature of another", mine[0] + "." + mine[1] + "." + theirs[2], w.outway.Cert, 0, accesstoken.CodeInvalid, "signature"},
		{"too long", strings.Repeat("a", accesstoken.MaxBytes+1), w.outway.Cert, 0, accesstoken.CodeInvalid, "too long"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w.now = now.Add(tc.at)
			_, err := w.v.Verify(tc.compact, tc.cert)
			if err == nil || gateway.CodeOf(err) != tc.code || gateway.KindOf(err) != gateway.Denied || !strings.Contains(err.Error(), tc.message) {
				t.Errorf("got %v (%s), want Denied %s with %q", err, gateway.CodeOf(err), tc.code, tc.message)
			}
		})
	}
	w.now = now
	w.v.Audiences = []string{"https://other.example:443"}
	if _, err := w.v.Verify(w.mint(t, w.self, good), w.outway.Cert); err == nil || !strings.Contains(err.Error(), "aud") {
		t.Errorf("another inway: got %v", err)
	}
	var zero accesstoken.Verifier
	if _, err := zero.Verify(w.mint(t, w.self, good), w.outway.Cert); err == nil {
		t.Error("Verifier{} accepts")
	}
}

// A verdict from the cache must not outlive anything but the signature.
func TestCachedTokenIsJudgedAgain(t *testing.T) {
	w := newWorld(t)
	compact := w.mint(t, w.self, accesstoken.For(plain(), w.terms()))
	verify := func(cert *x509.Certificate) error {
		_, err := w.v.Verify(compact, cert)
		return err
	}
	for range 2 {
		if err := verify(w.outway.Cert); err != nil {
			t.Fatal(err)
		}
	}
	if err := verify(ec(t).Cert); gateway.CodeOf(err) != accesstoken.CodeInvalid {
		t.Errorf("another certificate: got %v", err)
	}
	w.now = now.Add(2 * time.Minute)
	if err := verify(w.outway.Cert); gateway.CodeOf(err) != accesstoken.CodeExpired {
		t.Errorf("expired: got %v", err)
	}
	w.now = now
	mine := jose.Thumbprint(w.self.Cert)
	delete(w.own, mine)
	if err := verify(w.outway.Cert); gateway.CodeOf(err) != accesstoken.CodeInvalid {
		t.Errorf("signing certificate withdrawn: got %v", err)
	}
	w.own[mine] = w.self.Cert
	claims, err := w.v.Verify(compact, w.outway.Cert)
	if err != nil {
		t.Fatal(err)
	}
	claims.Subject, claims.Prp[2] = hengelo, 'X'
	again, err := w.v.Verify(compact, w.outway.Cert)
	if err != nil || again.Subject != uwi || string(again.Prp) != `{"doel":"pw-uitkering"}` {
		t.Errorf("a caller changed the cache: %+v %s %v", again, again.Prp, err)
	}
}

func TestConcurrentUse(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	for i := range 8 {
		c := accesstoken.For(plain(), w.terms())
		c.GrantHash = gateway.GrantHash(fmt.Sprint("$1$3$", i%3))
		compact := w.mint(t, w.self, c)
		wg.Go(func() {
			for range 20 {
				if _, err := w.v.Verify(compact, w.outway.Cert); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestParseRefuses(t *testing.T) {
	w := newWorld(t)
	payload := `{"gth":"$1$3$abc","gid":"demo.regio.example","sub":"00000099900000001000","iss":"00000099000000147000","svc":"clientgegevens",` +
		`"aud":"https://inway.borne.example:443","nbf":1767226000,"exp":1767226120,"cnf":{"x5t#S256":"` + jose.Thumbprint(w.outway.Cert) + `"}}`
	parse := func(payload, typ string) error {
		compact, err := jose.Sign(w.self, []byte(payload), jose.Header{Typ: typ})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = accesstoken.Parse(compact)
		return err
	}
	for _, typ := range []string{"", "JWT", "at+jwt"} {
		if err := parse(payload, typ); err != nil {
			t.Errorf("typ %q: %v", typ, err)
		}
	}
	if err := parse(strings.Replace(payload, "{", `{"iat":1767226000,"jti":"x","add":{},`, 1), "JWT"); err != nil {
		t.Errorf("further claims: %v", err)
	}
	for _, tc := range []struct{ name, old, new, want string }{
		{"no gth", `"gth":"$1$3$abc",`, ``, "gth"},
		{"no gid", `"gid":"demo.regio.example",`, ``, "gid"},
		{"no sub", `"sub":"00000099900000001000",`, ``, "sub"},
		{"no iss", `"iss":"00000099000000147000",`, ``, "iss"},
		{"no svc", `"svc":"clientgegevens",`, ``, "svc"},
		{"no nbf", `"nbf":1767226000,`, ``, "nbf"},
		{"no exp", `"exp":1767226120,`, ``, "exp"},
		{"no cnf", `"cnf":{"x5t#S256":"` + jose.Thumbprint(w.outway.Cert) + `"}`, `"cnf":{}`, "cnf"},
		{"cnf in hex", jose.Thumbprint(w.outway.Cert), strings.Repeat("ab", 32), "cnf"},
		{"aud without scheme", "https://inway.borne.example:443", "inway.borne.example:443", "aud"},
		{"aud without port", "https://inway.borne.example:443", "https://inway.borne.example", "aud"},
		{"aud plain http", "https://", "http://", "aud"},
		{"aud with user", "https://", "https://a@", "aud"},
		{"aud list", `"https://inway.borne.example:443"`, `["https://inway.borne.example:443"]`, "aud"},
		{"exp before nbf", `"exp":1767226120`, `"exp":1767226000`, "exp"},
		{"exp as text", `"exp":1767226120`, `"exp":"1767226120"`, "exp"},
		{"sub twice", `"sub":`, `"sub":"00000099000000164000","sub":`, "sub: is there twice"},
		{"sub in capitals", `{`, `{"SUB":"00000099000000164000",`, "SUB"},
		{"act empty", `"svc":`, `"act":{},"svc":`, "act.sub"},
		{"act not an OIN", `"svc":`, `"act":{"sub":"x"},"svc":`, "act.sub"},
		{"act null", `"svc":`, `"act":null,"svc":`, "act"},
		{"pdi not an OIN", `"svc":`, `"pdi":"x","svc":`, "pdi"},
		{"prp not an object", `"svc":`, `"prp":[],"svc":`, "prp"},
		{"prp null", `"svc":`, `"prp":null,"svc":`, "prp"},
	} {
		changed := strings.Replace(payload, tc.old, tc.new, 1)
		if changed == payload {
			t.Fatalf("%s: nothing changed", tc.name)
		}
		err := parse(changed, "JWT")
		if gateway.CodeOf(err) != accesstoken.CodeInvalid || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
	}
	if err := parse(payload, "verklaring+jwt"); err == nil {
		t.Error("a statement passes for a token")
	}
}

func TestMintRefuses(t *testing.T) {
	w := newWorld(t)
	good := accesstoken.For(plain(), w.terms())
	if _, err := accesstoken.Mint(w.self, accesstoken.Claims{}); err == nil {
		t.Error("minted Claims{}")
	}
	long := good
	long.Expires = good.NotBefore.Add(time.Hour)
	if _, err := accesstoken.Mint(w.self, long); err == nil || !strings.Contains(err.Error(), "exp") {
		t.Errorf("a long life: got %v", err)
	}
	nocert := good
	nocert.Cnf = ""
	if _, err := accesstoken.Mint(w.self, nocert); err == nil || !strings.Contains(err.Error(), "cnf") {
		t.Errorf("unbound: got %v", err)
	}
}

func TestRSA(t *testing.T) {
	w := newWorld(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s := signer(t, key)
	w.own[jose.Thumbprint(s.Cert)] = s.Cert
	if _, err := w.v.Verify(w.mint(t, s, accesstoken.For(plain(), w.terms())), w.outway.Cert); err != nil {
		t.Error(err)
	}
}

func TestFromHeader(t *testing.T) {
	for _, tc := range []struct {
		in         []string
		want, code string
	}{
		{[]string{"Bearer a.b.c"}, "a.b.c", ""},
		{[]string{"bearer  a.b.c "}, "a.b.c", ""},
		{[]string{"a.b.c"}, "a.b.c", ""},
		{nil, "", accesstoken.CodeMissing},
		{[]string{""}, "", accesstoken.CodeMissing},
		{[]string{"Bearer "}, "", accesstoken.CodeMissing},
		{[]string{"Basic a.b.c"}, "", accesstoken.CodeInvalid},
		{[]string{"a.b.c", "a.b.c"}, "", accesstoken.CodeInvalid},
	} {
		got, err := accesstoken.FromHeader(tc.in)
		if got != tc.want || gateway.CodeOf(err) != tc.code {
			t.Errorf("%q: got %q, %v", tc.in, got, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	good := w.mint(f, w.self, accesstoken.For(plain(), w.terms()))
	f.Add(good)
	f.Add(strings.Replace(good, ".", "..", 1))
	signed := good[:strings.LastIndex(good, ".")]
	f.Fuzz(func(t *testing.T, in string) {
		_, _, _ = accesstoken.Parse(in)
		if _, err := w.v.Verify(in, w.outway.Cert); err == nil && !strings.HasPrefix(in, signed+".") {
			t.Fatalf("a token that was never minted is accepted: %q", in)
		}
	})
}

func BenchmarkMint(b *testing.B) {
	w := newWorld(b)
	c := accesstoken.For(plain(), w.terms())
	for b.Loop() {
		w.mint(b, w.self, c)
	}
}

func BenchmarkVerifyFirst(b *testing.B) {
	w := newWorld(b)
	compact := w.mint(b, w.self, accesstoken.For(plain(), w.terms()))
	for b.Loop() {
		w.v = accesstoken.NewVerifier(w.v.Self, w.v.Group, w.v.Cert, w.v.Now)
		if _, err := w.v.Verify(compact, w.outway.Cert); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyCached(b *testing.B) {
	w := newWorld(b)
	compact := w.mint(b, w.self, accesstoken.For(plain(), w.terms()))
	for b.Loop() {
		if _, err := w.v.Verify(compact, w.outway.Cert); err != nil {
			b.Fatal(err)
		}
	}
}
