package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

// opaque hides the key, as one in Vault would be.
type opaque struct{ crypto.Signer }

func signerOf(t testing.TB, key crypto.Signer) *jose.Signer {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
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

func ecKey(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func TestSignAndVerify(t *testing.T) {
	p256 := ecKey(t, elliptic.P256())
	for _, tc := range []struct {
		name string
		key  crypto.Signer
		alg  string
	}{
		{"rsa", rsaKey(), "RS256"},
		{"rsa elsewhere", opaque{rsaKey()}, "RS256"},
		{"p256", p256, "ES256"},
		{"p256 elsewhere", opaque{p256}, "ES256"},
		{"p384", ecKey(t, elliptic.P384()), "ES384"},
		{"p521", ecKey(t, elliptic.P521()), "ES512"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := signerOf(t, tc.key)
			s.Chain = []*x509.Certificate{s.Cert}
			compact, err := jose.Sign(s, []byte(`{"a":1}`), jose.Header{Typ: "x", X5C: true})
			if err != nil {
				t.Fatal(err)
			}
			p, err := jose.ParseCompact(compact, 8192)
			if err != nil {
				t.Fatal(err)
			}
			if p.Alg != tc.alg || p.Typ != "x" || p.X5T != jose.Thumbprint(s.Cert) || len(p.X5C) != 2 || string(p.Payload) != `{"a":1}` {
				t.Errorf("got %+v", p)
			}
			if err := p.Verify(s.Cert); err != nil {
				t.Errorf("verify: %v", err)
			}
			if other := signerOf(t, tc.key); p.Verify(other.Cert) == nil {
				t.Error("verified by another certificate on the same key")
			}
			if p.Verify(nil) == nil {
				t.Error("verified without a certificate")
			}
			for _, cut := range []int{0, 1, 2} { // any changed part breaks it
				parts := strings.Split(compact, ".")
				parts[cut] = flip(parts[cut])
				if q, err := jose.ParseCompact(strings.Join(parts, "."), 8192); err == nil && q.Verify(s.Cert) == nil {
					t.Errorf("verified with part %d changed", cut)
				}
			}
		})
	}
}

// flip changes one character in the middle of a base64url text.
func flip(s string) string {
	b := []byte(s)
	i := len(b) / 2
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

func TestVerifiesWhatAnotherLibrarySigned(t *testing.T) {
	for alg, key := range map[jwa.SignatureAlgorithm]crypto.Signer{
		jwa.RS256: rsaKey(), jwa.RS384: rsaKey(), jwa.RS512: rsaKey(),
		jwa.ES256: ecKey(t, elliptic.P256()), jwa.ES384: ecKey(t, elliptic.P384()), jwa.ES512: ecKey(t, elliptic.P521()),
	} {
		s := signerOf(t, key)
		h := jws.NewHeaders()
		if err := h.Set("x5t#S256", jose.Thumbprint(s.Cert)); err != nil {
			t.Fatal(err)
		}
		compact, err := jws.Sign([]byte("{}"), jws.WithKey(alg, key, jws.WithProtectedHeaders(h)))
		if err != nil {
			t.Fatal(err)
		}
		p, err := jose.ParseCompact(string(compact), 4096)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		if err := p.Verify(s.Cert); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	s := signerOf(t, ecKey(t, elliptic.P256()))
	x5t := jose.Thumbprint(s.Cert)
	other := signerOf(t, ecKey(t, elliptic.P256()))
	good, err := jose.Sign(s, []byte("{}"), jose.Header{})
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	with := func(header string) string { return b64(header) + "." + parts[1] + "." + parts[2] }
	head := func(extra string) string { return with(`{"alg":"ES256","x5t#S256":"` + x5t + `"` + extra + `}`) }
	der := base64.StdEncoding.EncodeToString(other.Cert.Raw)
	for _, tc := range []struct {
		name, in, want string
		alg            bool
	}{
		{"empty", "", "compact form", false},
		{"two parts", parts[0] + "." + parts[1], "compact form", false},
		{"four parts", good + "." + parts[2], "compact form", false},
		{"json form", `{"payload":"e30","signatures":[]}`, "compact form", false},
		{"too long", good + strings.Repeat("A", 9000), "at most", false},
		{"padded", parts[0] + "=." + parts[1] + "." + parts[2], "base64url", false},
		{"newline in signature", good[:len(good)-4] + "\n" + good[len(good)-4:], "signature", false},
		{"not canonical", parts[0] + "." + "e31" + "." + parts[2], "base64url", false},
		{"standard alphabet", parts[0] + "." + "+/8" + "." + parts[2], "base64url", false},
		{"no signature", parts[0] + "." + parts[1] + ".", "signature", false},
		{"alg none", with(`{"alg":"none","x5t#S256":"` + x5t + `"}`), "alg", true},
		{"alg None", with(`{"alg":"None","x5t#S256":"` + x5t + `"}`), "alg", true},
		{"hmac", with(`{"alg":"HS256","x5t#S256":"` + x5t + `"}`), "alg", true},
		{"pss", with(`{"alg":"PS256","x5t#S256":"` + x5t + `"}`), "alg", true},
		{"es256k", with(`{"alg":"ES256K","x5t#S256":"` + x5t + `"}`), "alg", true},
		{"no alg", with(`{"x5t#S256":"` + x5t + `"}`), "alg", true},
		{"alg twice", with(`{"alg":"ES256","alg":"none","x5t#S256":"` + x5t + `"}`), "alg: is there twice", false},
		{"Alg", with(`{"Alg":"none","alg":"ES256","x5t#S256":"` + x5t + `"}`), "Alg", false},
		{"crit", head(`,"crit":["b64"]`), "crit: is not accepted", false},
		{"b64", head(`,"b64":false`), "b64: is not accepted", false},
		{"jku", head(`,"jku":"https://evil.example/jwks"`), "jku: is not accepted", false},
		{"x5u", head(`,"x5u":"https://evil.example/c"`), "x5u: is not accepted", false},
		{"jwk", head(`,"jwk":{}`), "jwk: is not accepted", false},
		{"zip", head(`,"zip":"DEF"`), "zip: is not accepted", false},
		{"no x5t", with(`{"alg":"ES256"}`), "x5t#S256", false},
		{"short x5t", with(`{"alg":"ES256","x5t#S256":"AAAA"}`), "x5t#S256", false},
		{"x5t in the standard alphabet", with(`{"alg":"ES256","x5t#S256":"` + strings.Repeat("+", 42) + `A"}`), "x5t#S256", false},
		{"x5c of another", head(`,"x5c":["` + der + `"]`), "not the one of x5t#S256", false},
		{"x5c empty", head(`,"x5c":[]`), "x5c: empty", false},
		{"x5c in url alphabet", head(`,"x5c":["_-8"]`), "x5c[0]: not base64", false},
		{"x5c too long", head(`,"x5c":["AAAA","AAAA","AAAA","AAAA","AAAA","AAAA"]`), "at most 5", false},
		{"header is an array", with(`["ES256"]`), "wrong type", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := jose.ParseCompact(tc.in, 9000)
			if err == nil || !strings.Contains(err.Error(), tc.want) || gateway.KindOf(err) != gateway.Invalid || errors.Is(err, jose.ErrAlgorithm) != tc.alg {
				t.Errorf("got %v (alg %v), want Invalid with %q", err, errors.Is(err, jose.ErrAlgorithm), tc.want)
			}
		})
	}
	if _, err := jose.ParseCompact(head(`,"kid":"k","vendor":1`), 9000); err != nil {
		t.Errorf("a header that need not be understood: %v", err)
	}
}

// An attacker who may write the header must not get a key used with an algorithm that isn't its own.
func TestAlgorithmMustFitTheKey(t *testing.T) {
	p256, p384, rsa := signerOf(t, ecKey(t, elliptic.P256())), signerOf(t, ecKey(t, elliptic.P384())), signerOf(t, rsaKey())
	for _, tc := range []struct {
		alg string
		s   *jose.Signer
	}{{"RS256", p256}, {"ES384", p256}, {"ES512", p256}, {"ES256", p384}, {"ES256", rsa}} {
		compact, err := jose.Sign(tc.s, []byte("{}"), jose.Header{})
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(compact, ".")
		parts[0] = b64(`{"alg":"` + tc.alg + `","x5t#S256":"` + jose.Thumbprint(tc.s.Cert) + `"}`)
		p, err := jose.ParseCompact(strings.Join(parts, "."), 9000)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Verify(tc.s.Cert); !errors.Is(err, jose.ErrAlgorithm) || gateway.KindOf(err) != gateway.Denied {
			t.Errorf("%s with a key of %T: got %v, want Denied for the algorithm", tc.alg, tc.s.Key, err)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	a, b := signerOf(t, ecKey(t, elliptic.P256())), signerOf(t, ecKey(t, elliptic.P256()))
	if _, err := jose.Sign(&jose.Signer{Key: a.Key, Cert: b.Cert}, nil, jose.Header{}); err == nil {
		t.Error("signed with the key of another certificate")
	}
	if _, err := jose.Sign(&jose.Signer{}, nil, jose.Header{}); err == nil {
		t.Error("signed without a key")
	}
	if _, err := jose.SignKey(ecKey(t, elliptic.P224()), nil, jose.Header{}); !errors.Is(err, jose.ErrAlgorithm) {
		t.Errorf("P-224: got %v", err)
	}
	if _, err := jose.SignKey(opaque{weakRSA{rsaKey()}}, nil, jose.Header{}); !errors.Is(err, jose.ErrAlgorithm) {
		t.Errorf("RSA 1024: got %v", err)
	}
}

// weakRSA claims to be a key of 1024 bits.
type weakRSA struct{ crypto.Signer }

func (weakRSA) Public() crypto.PublicKey {
	return &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}
}

func TestKeyedTokens(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	compact, err := jose.SignKey(key, []byte("{}"), jose.Header{Typ: "JWT", Kid: "1"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := jose.ParseKeyed(compact, 4096)
	if err != nil || p.Kid != "1" {
		t.Fatalf("got %+v, %v", p, err)
	}
	if err := p.VerifyKey(key.Public()); err != nil {
		t.Error(err)
	}
	if p.VerifyKey(ecKey(t, elliptic.P256()).Public()) == nil || p.VerifyKey(nil) == nil {
		t.Error("verified by another key")
	}
	if _, err := jose.ParseCompact(compact, 4096); err == nil {
		t.Error("a token without certificate passed ParseCompact")
	}
	bound, err := jose.Sign(signerOf(t, key), []byte("{}"), jose.Header{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jose.ParseKeyed(bound, 4096); err == nil {
		t.Error("a token with certificate passed ParseKeyed")
	}
}

func TestJWKS(t *testing.T) {
	ec, r := signerOf(t, ecKey(t, elliptic.P521())), signerOf(t, rsaKey())
	raw, err := jose.JWKS([]*x509.Certificate{ec.Cert, r.Cert}, []*x509.Certificate{r.Cert})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := jose.ParseJWKS(raw)
	if err != nil || len(keys) != 2 {
		t.Fatalf("got %d keys, %v", len(keys), err)
	}
	if keys[0].X5T != jose.Thumbprint(ec.Cert) || len(keys[0].Chain) != 2 || !keys[0].Chain[0].Equal(ec.Cert) || keys[1].X5T != jose.Thumbprint(r.Cert) {
		t.Errorf("got %+v", keys)
	}
	if !strings.Contains(string(raw), `"x5t#S256"`) {
		t.Error("the thumbprint is not written as RFC 7517 spells it")
	}
	if raw, err = jose.PublicJWKS(ec.Key.Public(), r.Key.Public()); err != nil {
		t.Fatal(err)
	}
	if keys, err = jose.ParseJWKS(raw); err != nil || len(keys) != 2 || keys[0].X5T != "" {
		t.Fatalf("got %+v, %v", keys, err)
	}
	if pub, ok := keys[1].Public.(*rsa.PublicKey); !ok || !pub.Equal(r.Key.Public()) {
		t.Error("the RSA key did not come back")
	}
}

func TestParseJWKSRefuses(t *testing.T) {
	a, b := signerOf(t, ecKey(t, elliptic.P256())), signerOf(t, ecKey(t, elliptic.P256()))
	raw, err := jose.JWKS([]*x509.Certificate{a.Cert})
	if err != nil {
		t.Fatal(err)
	}
	edit := func(f func(map[string]any)) []byte {
		var set struct {
			Keys []map[string]any `json:"keys"`
		}
		if err := json.Unmarshal(raw, &set); err != nil {
			t.Fatal(err)
		}
		f(set.Keys[0])
		out, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for name, tc := range map[string]struct {
		in   []byte
		want string
	}{
		"another certificate": {edit(func(k map[string]any) { k["x5c"] = []string{base64.StdEncoding.EncodeToString(b.Cert.Raw)} }), "another key"},
		"another thumbprint":  {edit(func(k map[string]any) { k["x5t#S256"] = jose.Thumbprint(b.Cert) }), "x5t#S256"},
		"another x5t#s256":    {edit(func(k map[string]any) { k["x5t#s256"] = jose.Thumbprint(b.Cert) }), "x5t#S256"},
		"not on the curve":    {edit(func(k map[string]any) { k["y"] = k["x"] }), "curve"},
		"private key":         {edit(func(k map[string]any) { k["d"] = "AAAA" }), "private"},
		"no key":              {[]byte(`{"keys":[{"kty":"EC"}]}`), "keys[0]"},
		"not a set":           {[]byte(`{"keys":{}}`), "keys"},
	} {
		if _, err := jose.ParseJWKS(tc.in); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
	if keys, err := jose.ParseJWKS([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA"},{"kty":"EC","use":"enc"}]}`)); err != nil || len(keys) != 0 {
		t.Errorf("keys for other uses: got %v, %v, want them skipped", keys, err)
	}
}

func TestKeyThumbprint(t *testing.T) {
	s := signerOf(t, ecKey(t, elliptic.P256()))
	got, err := jose.KeyThumbprint(s.Cert.PublicKey)
	if err != nil || len(got) != 64 || got != strings.ToLower(got) {
		t.Errorf("got %q, %v", got, err)
	}
	if again := signerOf(t, s.Key); again.Cert.Equal(s.Cert) {
		t.Fatal("want two certificates")
	} else if second, _ := jose.KeyThumbprint(again.Cert.PublicKey); second != got {
		t.Error("another certificate on the same key has another key thumbprint")
	}
	raw := *s.Cert
	raw.RawSubjectPublicKeyInfo = []byte("written in another way")
	if !jose.HasKey(s.Cert, got) || !jose.HasKey(&raw, got) || jose.HasKey(s.Cert, strings.Repeat("0", 64)) || jose.HasKey(&x509.Certificate{}, got) {
		t.Error("HasKey does not find the key of a certificate by its thumbprint, and no other")
	}
	if _, err := jose.KeyThumbprint("nope"); err == nil {
		t.Error("thumbprint of no key")
	}
}

func FuzzParseCompact(f *testing.F) {
	s := signerOf(f, ecKey(f, elliptic.P256()))
	good, err := jose.Sign(s, []byte(`{"a":1}`), jose.Header{X5C: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("e30.e30.e30")
	f.Fuzz(func(t *testing.T, in string) {
		p, err := jose.ParseCompact(in, 16384)
		if err != nil {
			return
		}
		if p.Verify(s.Cert) == nil && in[:strings.LastIndex(in, ".")] != good[:strings.LastIndex(good, ".")] {
			t.Fatalf("a signature over other bytes verifies: %q", in)
		}
		_, _ = p.Chain()
	})
}

func BenchmarkSign(b *testing.B) {
	s := signerOf(b, ecKey(b, elliptic.P256()))
	for b.Loop() {
		if _, err := jose.Sign(s, []byte(`{"a":1}`), jose.Header{X5C: true}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseAndVerify(b *testing.B) {
	s := signerOf(b, ecKey(b, elliptic.P256()))
	compact, err := jose.Sign(s, []byte(`{"a":1}`), jose.Header{X5C: true})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p, err := jose.ParseCompact(compact, 8192)
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Verify(s.Cert); err != nil {
			b.Fatal(err)
		}
	}
}
