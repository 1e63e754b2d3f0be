package jose_test

import (
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

func edKey(t testing.TB) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pub, key
}

func TestEdDSA(t *testing.T) {
	s := signerOf(t, ecKey(t, elliptic.P256()))
	pub, key := edKey(t)
	head, err := jose.EdDSAHead("x", jose.Thumbprint(s.Cert))
	if err != nil {
		t.Fatal(err)
	}
	compact := string(jose.AppendEdDSA([]byte("before "), key, head, []byte(`{"a":1}`)))
	compact = strings.TrimPrefix(compact, "before ")
	p, err := jose.ParseEdDSA(compact, 4096)
	if err != nil || p.Alg != jose.EdDSA || p.Typ != "x" || p.X5T != jose.Thumbprint(s.Cert) || string(p.Payload) != `{"a":1}` {
		t.Fatalf("got %+v, %v", p, err)
	}
	if err := p.VerifyKey(pub); err != nil {
		t.Error(err)
	}
	if payload, err := jws.Verify([]byte(compact), jws.WithKey(jwa.EdDSA, pub)); err != nil || string(payload) != `{"a":1}` {
		t.Errorf("another library: %q, %v", payload, err)
	}
	other, _ := edKey(t)
	for name, wrong := range map[string]any{"another key": other, "ECDSA": s.Cert.PublicKey, "none": nil, "a short key": pub[:31], "the private key": key} {
		if err := p.VerifyKey(wrong); gateway.KindOf(err) != gateway.Denied {
			t.Errorf("by %s: %v", name, err)
		}
	}
	if err := p.Verify(s.Cert); gateway.KindOf(err) != gateway.Denied {
		t.Errorf("by the certificate that it names: %v", err)
	}
	// Nothing that reads the algorithms of FSC Core reads this one.
	if _, err := jose.ParseCompact(compact, 4096); !errors.Is(err, jose.ErrAlgorithm) {
		t.Errorf("as any JWS: %v", err)
	}
	if _, err := jose.ParseKeyed(compact, 4096); !errors.Is(err, jose.ErrAlgorithm) {
		t.Errorf("as a token of the own network: %v", err)
	}
	if _, err := jose.Sign(signerOf(t, key), []byte("{}"), jose.Header{}); !errors.Is(err, jose.ErrAlgorithm) {
		t.Errorf("signed by the key of an Ed25519 certificate: %v", err)
	}
}

// The certificate that x5t#S256 names is that of the key that certified. Also when its own key is an Ed25519 key, and signed.
func TestEdDSAIsNotOfACertificate(t *testing.T) {
	pub, key := edKey(t)
	s := signerOf(t, key)
	head, err := jose.EdDSAHead("x", jose.Thumbprint(s.Cert))
	if err != nil {
		t.Fatal(err)
	}
	p, err := jose.ParseEdDSA(string(jose.AppendEdDSA(nil, key, head, []byte("{}"))), 4096)
	if err != nil || p.VerifyKey(pub) != nil {
		t.Fatal(err)
	}
	if err := p.Verify(s.Cert); !errors.Is(err, jose.ErrAlgorithm) || gateway.KindOf(err) != gateway.Denied {
		t.Errorf("got %v", err)
	}
}

func TestParseEdDSARefuses(t *testing.T) {
	s := signerOf(t, ecKey(t, elliptic.P256()))
	_, key := edKey(t)
	x5t := jose.Thumbprint(s.Cert)
	es256, err := jose.Sign(s, []byte("{}"), jose.Header{Typ: "x"})
	if err != nil {
		t.Fatal(err)
	}
	with := func(header string) string { return string(jose.AppendEdDSA(nil, key, b64(header), []byte("{}"))) }
	for name, tc := range map[string]struct{ in, want string }{
		"ES256":       {es256, "alg: want EdDSA"},
		"none":        {with(`{"alg":"none","x5t#S256":"` + x5t + `"}`), "alg: want EdDSA"},
		"HS256":       {with(`{"alg":"HS256","x5t#S256":"` + x5t + `"}`), "alg: want EdDSA"},
		"no x5t#S256": {with(`{"alg":"EdDSA"}`), "x5t#S256"},
		"x5c":         {with(`{"alg":"EdDSA","x5t#S256":"` + x5t + `","x5c":["` + base64.StdEncoding.EncodeToString(s.Cert.Raw) + `"]}`), "x5c"},
		"jwk":         {with(`{"alg":"EdDSA","x5t#S256":"` + x5t + `","jwk":{}}`), "jwk: is not accepted"},
		"crit":        {with(`{"alg":"EdDSA","x5t#S256":"` + x5t + `","crit":["x"]}`), "crit: is not accepted"},
		"too long":    {with(strings.Repeat(" ", 4096)), "at most"},
	} {
		if _, err := jose.ParseEdDSA(tc.in, 4096); gateway.KindOf(err) != gateway.Invalid || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want Invalid with %q", name, err, tc.want)
		}
	}
}

// TestHead: what stands under a header that was read before reads as ParseEdDSA reads it, and nothing else does.
func TestHead(t *testing.T) {
	s := signerOf(t, ecKey(t, elliptic.P256()))
	pub, key := edKey(t)
	head, err := jose.EdDSAHead("x", jose.Thumbprint(s.Cert))
	if err != nil {
		t.Fatal(err)
	}
	first, err := jose.ParseEdDSA(string(jose.AppendEdDSA(nil, key, head, []byte(`{"a":1}`))), 4096)
	if err != nil {
		t.Fatal(err)
	}
	second := string(jose.AppendEdDSA(nil, key, head, []byte(`{"a":2}`)))
	p, ok := first.Head().Parse(second, 4096)
	if !ok || p.Alg != jose.EdDSA || p.Typ != "x" || p.X5T != first.X5T || string(p.Payload) != `{"a":2}` || p.VerifyKey(pub) != nil {
		t.Errorf("got %+v, %v", p, ok)
	}
	otherHead, err := jose.EdDSAHead("y", jose.Thumbprint(s.Cert))
	if err != nil {
		t.Fatal(err)
	}
	for name, wrong := range map[string]string{
		"another header": string(jose.AppendEdDSA(nil, key, otherHead, []byte(`{}`))), "nothing": "", "two parts": head + ".e30", "four parts": second + ".x",
		"no signature": head + ".e30.", "a bad payload": head + ".e30=.e30", "a bad signature": head + ".e30.e3=", "too long": second + strings.Repeat("A", 4096),
	} {
		if _, ok := first.Head().Parse(wrong, 4096); ok {
			t.Errorf("%s is read", name)
		}
	}
	if _, ok := (*jose.Head)(nil).Parse(second, 4096); ok {
		t.Error("no header reads")
	}
}
