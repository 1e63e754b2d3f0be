package edge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/grensloos/grensloos/gateway"
)

const (
	testIssuer = "https://login.midden-twente.example"
	testAud    = "grensloos:00000099900000001000"
	testOIN    = gateway.PeerID("00000099900000001000")
)

var testNow = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func issuers(keys ...crypto.PublicKey) Issuers {
	return Issuers{Issuer: testIssuer, Audience: testAud, Keys: keys, Organisatie: testOIN}
}

func newVerifier(t testing.TB, cfg Issuers, now func() time.Time) *Verifier {
	t.Helper()
	v, err := NewVerifier(cfg, now)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func sign(t testing.TB, key crypto.Signer, alg jwa.SignatureAlgorithm, payload string) string {
	t.Helper()
	signed, err := jws.Sign([]byte(payload), jws.WithKey(alg, key))
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

// claims is a token payload that passes, with changes: a nil value removes the claim.
func claims(t testing.TB, change map[string]any) string {
	t.Helper()
	c := map[string]any{
		"iss": testIssuer, "aud": testAud, "sub": "jansen", "rol": []string{"klantmanager"}, "organisatie": testOIN,
		"nbf": testNow.Unix(), "exp": testNow.Add(time.Hour).Unix(),
	}
	for name, value := range change {
		if value == nil {
			delete(c, name)
			continue
		}
		c[name] = value
	}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestVerifierClaims(t *testing.T) {
	key := newKey(t)
	v := newVerifier(t, issuers(&key.PublicKey), func() time.Time { return testNow })
	tests := []struct {
		name   string
		change map[string]any
		want   string // part of the error; empty: accepted
	}{
		{"all right", nil, ""},
		{"aud among others", map[string]any{"aud": []string{"x", testAud}}, ""},
		{"no nbf", map[string]any{"nbf": nil}, ""},
		{"nbf within skew", map[string]any{"nbf": testNow.Add(Skew).Unix()}, ""},
		{"unknown claim", map[string]any{"azp": "desk"}, ""},
		{"wrong issuer", map[string]any{"iss": "https://elsewhere.example"}, "iss"},
		{"no issuer", map[string]any{"iss": nil}, "iss"},
		{"wrong audience", map[string]any{"aud": "grensloos:00000099000000147000"}, "aud"},
		{"no audience", map[string]any{"aud": nil}, "aud"},
		{"expired", map[string]any{"exp": testNow.Unix()}, "exp"},
		{"no exp", map[string]any{"exp": nil}, "exp"},
		{"exp out of reach", map[string]any{"exp": 1e300}, "exp"},
		{"lives longer than a day", map[string]any{"exp": testNow.Add(MaxTokenLife + Skew + time.Second).Unix(), "iat": nil}, "exp"},
		{"lives for years", map[string]any{"exp": testNow.AddDate(10, 0, 0).Unix(), "iat": nil}, "exp"},
		{"lived longer than a day when it ends", map[string]any{"iat": testNow.Add(time.Hour - MaxTokenLife - time.Second).Unix()}, "exp"},
		{"lives a day", map[string]any{"iat": testNow.Add(time.Hour - MaxTokenLife).Unix()}, ""},
		{"iat out of reach", map[string]any{"iat": 1e15}, "iat"},
		{"exp is text", map[string]any{"exp": "tomorrow"}, "claims"},
		{"not yet", map[string]any{"nbf": testNow.Add(Skew + time.Second).Unix()}, "nbf"},
		{"nbf out of reach", map[string]any{"nbf": 1e15}, "nbf"},
		{"no sub", map[string]any{"sub": nil}, "sub"},
		{"no rol", map[string]any{"rol": nil}, "rol"},
		{"empty rol", map[string]any{"rol": []string{}}, "rol"},
		{"rol with empty name", map[string]any{"rol": []string{""}}, "rol"},
		{"rol is text", map[string]any{"rol": "klantmanager"}, "claims"},
		{"other organisatie", map[string]any{"organisatie": "00000099000000147000"}, "organisatie"},
		{"no organisatie", map[string]any{"organisatie": nil}, "organisatie"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token := sign(t, key, jwa.ES256, claims(t, tt.change))
			got, err := v.Verify(token)
			if tt.want == "" {
				want := Caller{Subject: "jansen", Rollen: []string{"klantmanager"}, Organisatie: testOIN, Token: token, Expires: testNow.Add(time.Hour).UTC()}
				if diff := cmp.Diff(want, got); err != nil || diff != "" {
					t.Fatalf("Verify: %v, -want +got\n%s", err, diff)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || gateway.KindOf(err) != gateway.Denied || gateway.CodeOf(err) != CodeUnauthenticated {
				t.Fatalf("Verify: %v (%v), want a denial that names %q", err, gateway.KindOf(err), tt.want)
			}
			if got.Subject != "" || len(got.Rollen) != 0 {
				t.Errorf("Verify returned a caller with an error: %+v", got)
			}
		})
	}
}

func TestVerifierSignature(t *testing.T) {
	key, other := newKey(t), newKey(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, issuers(&key.PublicKey, &rsaKey.PublicKey), func() time.Time { return testNow })
	payload := claims(t, nil)
	good := sign(t, key, jwa.ES256, payload)
	enc := base64.RawURLEncoding.EncodeToString
	parts := strings.Split(good, ".")
	hmacKey, err := jwk.FromRaw([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	hs256, err := jws.Sign([]byte(payload), jws.WithKey(jwa.HS256, hmacKey))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, token string
		ok          bool
	}{
		{"ES256", good, true},
		{"RS256", sign(t, rsaKey, jwa.RS256, payload), true},
		{"PS256 is not on the list", sign(t, rsaKey, jwa.PS256, payload), false},
		{"other key", sign(t, other, jwa.ES256, payload), false},
		{"alg none, no signature", enc([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".", false},
		{"alg none, kept signature", enc([]byte(`{"alg":"none"}`)) + "." + parts[1] + "." + parts[2], false},
		{"no alg", enc([]byte(`{}`)) + "." + parts[1] + "." + parts[2], false},
		{"HS256", string(hs256), false},
		{"duplicate alg", enc([]byte(`{"alg":"ES256","alg":"none"}`)) + "." + parts[1] + "." + parts[2], false},
		{"crit", enc([]byte(`{"alg":"ES256","crit":["b64"],"b64":false}`)) + "." + parts[1] + "." + parts[2], false},
		{"other typ", enc([]byte(`{"alg":"ES256","typ":"dpop+jwt"}`)) + "." + parts[1] + "." + parts[2], false},
		{"payload changed", parts[0] + "." + enc([]byte(claims(t, map[string]any{"rol": []string{"beheerder"}}))) + "." + parts[2], false},
		{"two parts", parts[0] + "." + parts[1], false},
		{"too large", good + strings.Repeat("A", maxTokenBytes), false},
		{"empty", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := v.Verify(tt.token); (err == nil) != tt.ok {
				t.Errorf("Verify = %v, want accepted %v", err, tt.ok)
			}
		})
	}
}

func TestVerifierForgetsAtExpiry(t *testing.T) {
	key, now := newKey(t), testNow
	v := newVerifier(t, issuers(&key.PublicKey), func() time.Time { return now })
	token, err := IssueJWT(key, Claims{Issuer: testIssuer, Audience: testAud, Subject: "jansen", Rollen: []string{"klantmanager"}, Organisatie: testOIN}, now, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(token); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	if _, err := v.Verify(token); err == nil {
		t.Error("a cached token outlived its exp")
	}
	for i := range maxTokenCache + 1 {
		v.keep([32]byte{byte(i), byte(i >> 8), byte(i >> 16)}, verified{exp: now.Add(time.Hour)}, v.keys, now)
	}
	if got := len(v.cache); got > maxTokenCache {
		t.Errorf("cache holds %d, want at most %d", got, maxTokenCache)
	}
}

// A key that is taken away takes its tokens with it, those that were seen before too; what can't be taken changes nothing.
func TestKeysReplaced(t *testing.T) {
	old, fresh := newKey(t), newKey(t)
	v := newVerifier(t, issuers(old.Public()), func() time.Time { return testNow })
	before, after := sign(t, old, jwa.ES256, claims(t, nil)), sign(t, fresh, jwa.ES256, claims(t, nil))
	try := func(when, token string, want bool) {
		t.Helper()
		for range 2 {
			if _, err := v.Verify(token); (err == nil) != want {
				t.Errorf("%s: got %v, want accepted %v", when, err, want)
			}
		}
	}
	try("before", before, true)
	try("a key that is not there yet", after, false)
	for _, wrong := range [][]crypto.PublicKey{nil, {"no key"}} {
		if err := v.Replace(wrong); err == nil {
			t.Errorf("keys %v taken", wrong)
		}
	}
	try("after what was refused", before, true)
	keys := v.keys
	if err := v.Replace([]crypto.PublicKey{fresh.Public()}); err != nil {
		t.Fatal(err)
	}
	try("of the key that is gone", before, false)
	try("of the new key", after, true)
	v.keep([32]byte{1}, verified{exp: testNow.Add(time.Hour)}, keys, testNow)
	if _, kept := v.cache[[32]byte{1}]; kept {
		t.Error("what was verified by keys of before is remembered")
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	key := newKey(t)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	symmetric := []byte(`{"keys":[{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}`)
	tests := []struct {
		name string
		cfg  Issuers
	}{
		{"zero", Issuers{}},
		{"no keys", issuers()},
		{"small RSA", issuers(&small.PublicKey)},
		{"private key", issuers(key)},
		{"symmetric JWKS", Issuers{Issuer: testIssuer, Audience: testAud, JWKS: symmetric, Organisatie: testOIN}},
		{"no organisatie", Issuers{Issuer: testIssuer, Audience: testAud, Keys: []crypto.PublicKey{&key.PublicKey}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := NewVerifier(tt.cfg, nil); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestVerifierJWKS(t *testing.T) {
	key := newKey(t)
	public, err := jwk.FromRaw(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	set := jwk.NewSet()
	if err := set.AddKey(public); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, Issuers{Issuer: testIssuer, Audience: testAud, JWKS: raw, Organisatie: testOIN}, func() time.Time { return testNow })
	if _, err := v.Verify(sign(t, key, jwa.ES256, claims(t, nil))); err != nil {
		t.Error(err)
	}
}

func TestRequire(t *testing.T) {
	key := newKey(t)
	v := newVerifier(t, issuers(&key.PublicKey), func() time.Time { return testNow })
	token := sign(t, key, jwa.ES256, claims(t, nil))
	seen := ""
	next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		c, ok := CallerOf(r.Context())
		if !ok {
			t.Error("no caller in the context")
		}
		seen = c.Subject
	})
	tests := []struct {
		name   string
		auth   []string
		rollen []string
		want   int
	}{
		{"role held", []string{"Bearer " + token}, []string{"beheerder", "klantmanager"}, 200},
		{"any role", []string{"bearer " + token}, nil, 200},
		{"role missing", []string{"Bearer " + token}, []string{"beheerder"}, 403},
		{"no token", nil, nil, 401},
		{"bare token", []string{token}, nil, 401},
		{"basic", []string{"Basic amFuc2VuOng="}, nil, 401},
		{"two tokens", []string{"Bearer " + token, "Bearer " + token}, nil, 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			seen = ""
			r := httptest.NewRequest(http.MethodGet, "/v1/contracten", nil)
			r.Header["Authorization"] = tt.auth
			w := httptest.NewRecorder()
			v.Require(tt.rollen...)(next).ServeHTTP(w, r)
			if w.Code != tt.want || (seen != "") != (tt.want == 200) {
				t.Errorf("status %d, handler saw %q; want status %d", w.Code, seen, tt.want)
			}
			if got := w.Header().Get("WWW-Authenticate"); (got == "Bearer") != (tt.want == 401) {
				t.Errorf("WWW-Authenticate = %q at %d", got, tt.want)
			}
			if strings.Contains(w.Body.String(), token) {
				t.Error("the answer repeats the token")
			}
		})
	}
	if _, ok := CallerOf(t.Context()); ok {
		t.Error("a caller without a token")
	}
}

func TestIssueJWTRefuses(t *testing.T) {
	key := newKey(t)
	good := Claims{Issuer: testIssuer, Audience: testAud, Subject: "jansen", Rollen: []string{"klantmanager"}, Organisatie: testOIN}
	noRol := good
	noRol.Rollen = nil
	if _, err := IssueJWT(key, noRol, testNow, time.Hour); err == nil {
		t.Error("a token without a role")
	}
	if _, err := IssueJWT(key, good, testNow, 13*time.Hour); err == nil {
		t.Error("a token for 13 hours")
	}
}

func FuzzVerify(f *testing.F) {
	key := newKey(f)
	v := newVerifier(f, issuers(&key.PublicKey), func() time.Time { return testNow })
	good := sign(f, key, jwa.ES256, claims(f, nil))
	f.Add(good)
	f.Add("a.b.c")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := v.Verify(token)
		if err == nil && (c.Subject == "" || len(c.Rollen) == 0 || c.Organisatie != testOIN) {
			t.Errorf("accepted %q as %+v", token, c)
		}
	})
}
