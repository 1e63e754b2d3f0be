package verklaring_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

const (
	uwi   = gateway.PeerID("00000099900000001000")
	borne = gateway.PeerID("00000099000000147000")
	other = gateway.PeerID("00000099000000164000")
)

var (
	now  = time.Unix(1767226000, 0)
	body = []byte(`{"bsn":"999990019"}`)
)

func signer(t testing.TB, id gateway.PeerID, key crypto.Signer) *jose.Signer {
	t.Helper()
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{"outway.example"},
		Subject: pkix.Name{Organization: []string{"Peer"}, ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: asn1.ObjectIdentifier{2, 5, 4, 5}, Value: string(id)},
		}},
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

func grant() gateway.Grant {
	return gateway.Grant{
		Hash: "$1$3$abc", Type: gateway.ServiceConnection, Outway: uwi, ServicePeer: borne, Service: "clientgegevens",
		Properties: gateway.Properties{Doel: "pw-reintegratie", DoelVersie: 1, DoelDigest: "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU", NamensCollege: borne},
	}
}

func statement() verklaring.Verklaring {
	g := grant()
	return verklaring.Verklaring{
		Issuer: uwi, Audience: borne, Subject: "m1.abc", NamensCollege: borne, GrantHash: g.Hash, Doel: g.Properties.Doel,
		DoelDigest: g.Properties.DoelDigest, Zaak: "Z-2026-17", Zaaktype: "bijstand", Rollen: []string{"klantmanager"},
		Transactie: gateway.NewTransactionID(now), IssuedAt: now, Expires: now.Add(verklaring.MaxTTL), Method: "POST",
		Target: "/v1/clienten/_zoek?x=%2F", BodyDigest: verklaring.Digest(body),
	}
}

func expect(s *jose.Signer, v verklaring.Verklaring) verklaring.Expect {
	return verklaring.Expect{
		ClientCert: s.Cert, Audience: borne, Grant: grant(), Transactie: v.Transactie, Method: v.Method, Target: v.Target,
		BodyDigest: verklaring.Digest(body), Now: now.Add(time.Second), Skew: 2 * time.Second,
	}
}

// statements signs verklaringen with a key that s certifies; receipts does so for kwitanties.
func statements(s *jose.Signer) *verklaring.Signer { return keyOf(s, verklaring.VoorVerklaring) }
func receipts(s *jose.Signer) *verklaring.Signer   { return keyOf(s, verklaring.VoorKwitantie) }

func keyOf(s *jose.Signer, g verklaring.Gebruik) *verklaring.Signer {
	return verklaring.NewSigner(func() *jose.Signer { return s }, g, func() time.Time { return now })
}

func sign(t testing.TB, s *jose.Signer, v verklaring.Verklaring) string {
	t.Helper()
	compact, err := verklaring.Sign(statements(s), v)
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// parts are those of a statement: of its JWS, and its sleutelbewijs.
type parts struct{ head, payload, sig, bewijs string }

func cut(t testing.TB, compact string) parts {
	t.Helper()
	jws, bewijs, ok := strings.Cut(compact, "~")
	p := strings.Split(jws, ".")
	if !ok || len(p) != 3 {
		t.Fatalf("no statement by a certified key: %s", compact)
	}
	return parts{p[0], p[1], p[2], bewijs}
}

func (p parts) String() string { return p.head + "." + p.payload + "." + p.sig + "~" + p.bewijs }

func TestSignAndVerify(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*jose.Signer{"ecdsa": signer(t, uwi, nil), "rsa": signer(t, uwi, key)} {
		want := statement()
		compact := sign(t, s, want)
		if name == "ecdsa" && len(compact) > 4096 {
			t.Errorf("%d bytes: too long for a header", len(compact))
		}
		e := expect(s, want)
		got, err := e.Verify(compact)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Error(diff)
		}
		// with the thumbprint of the token instead of the certificate of the connection
		e.Cnf, e.ClientCert = jose.Thumbprint(s.Cert), nil
		if _, err := e.Verify(compact); err != nil {
			t.Errorf("%s by cnf: %v", name, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	s := signer(t, uwi, nil)
	v := statement()
	good := sign(t, s, v)
	if _, err := expect(s, v).Verify(good); err != nil {
		t.Fatal(err)
	}
	foreign := signer(t, other, nil)
	for _, tc := range []struct {
		name   string
		change func(*verklaring.Expect)
		want   string
	}{
		{"another body", func(e *verklaring.Expect) { e.BodyDigest = verklaring.Digest([]byte(`{"bsn":"999990020"}`)) }, "bodyDigest"},
		{"another receiver", func(e *verklaring.Expect) { e.Audience = other }, "aud"},
		{"another service peer", func(e *verklaring.Expect) { e.Grant.ServicePeer = other }, "aud"},
		{"another grant", func(e *verklaring.Expect) { e.Grant.Hash = "$1$3$def" }, "gth"},
		{"another outway", func(e *verklaring.Expect) { e.Grant.Outway = other }, "iss"},
		{"another purpose", func(e *verklaring.Expect) { e.Grant.Properties.Doel = "pw-uitkering" }, "doel"},
		{"another digest", func(e *verklaring.Expect) {
			e.Grant.Properties.DoelDigest = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopq"
		}, "doelDigest"},
		{"another college", func(e *verklaring.Expect) { e.Grant.Properties.NamensCollege = other }, "namensCollege"},
		{"no college", func(e *verklaring.Expect) { e.Grant.Properties.NamensCollege = "" }, "namensCollege"},
		{"another transaction", func(e *verklaring.Expect) { e.Transactie = gateway.NewTransactionID(now) }, "jti"},
		{"another method", func(e *verklaring.Expect) { e.Method = "GET" }, "htm"},
		{"another path", func(e *verklaring.Expect) { e.Target = "/v1/clienten/_zoek" }, "htu"},
		{"path decoded", func(e *verklaring.Expect) { e.Target = "/v1/clienten/_zoek?x=/" }, "htu"},
		{"too late", func(e *verklaring.Expect) { e.Now = now.Add(verklaring.MaxTTL + 3*time.Second) }, "exp"},
		{"too early", func(e *verklaring.Expect) { e.Now = now.Add(-3 * time.Second) }, "iat"},
		{"negative skew", func(e *verklaring.Expect) { e.Skew, e.Now = -time.Hour, now.Add(verklaring.MaxTTL) }, "exp"},
		{"another connection", func(e *verklaring.Expect) { e.ClientCert = signer(t, uwi, nil).Cert }, "x5t#S256"},
		{"another connection than the token's", func(e *verklaring.Expect) { e.Cnf = jose.Thumbprint(foreign.Cert) }, "cnf"},
		{"another token", func(e *verklaring.Expect) { e.ClientCert, e.Cnf = nil, jose.Thumbprint(foreign.Cert) }, "x5t#S256"},
		{"no connection", func(e *verklaring.Expect) { e.ClientCert = nil }, "x5t#S256"},
		{"grant without purpose", func(e *verklaring.Expect) { e.Grant.Properties = gateway.Properties{} }, "nothing to hold it against"},
		{"nothing expected", func(e *verklaring.Expect) { *e = verklaring.Expect{} }, "nothing to hold it against"},
		{"no moment", func(e *verklaring.Expect) { e.Now = time.Time{} }, "nothing to hold it against"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := expect(s, v)
			tc.change(&e)
			got, err := e.Verify(good)
			if err == nil || !strings.Contains(err.Error(), tc.want) || gateway.KindOf(err) != gateway.Denied || got != nil {
				t.Errorf("got %v, want Denied with %q", err, tc.want)
			}
		})
	}
	t.Run("signed by another peer", func(t *testing.T) { // whose connection it is, but who claims to be uwi
		if _, err := expect(foreign, v).Verify(sign(t, foreign, v)); err == nil || !strings.Contains(err.Error(), "iss") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("signature of another key", func(t *testing.T) {
		mine, theirs := cut(t, good), cut(t, sign(t, foreign, v))
		mine.sig = theirs.sig
		if _, err := expect(s, v).Verify(mine.String()); err == nil || !strings.Contains(err.Error(), "signature") {
			t.Errorf("got %v", err)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	s := signer(t, uwi, nil)
	good := sign(t, s, statement())
	_, parsed, err := verklaring.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	type edit func(map[string]any)
	set := func(k string, v any) edit { return func(m map[string]any) { m[k] = v } }
	drop := func(k string) edit { return func(m map[string]any) { delete(m, k) } }
	for _, tc := range []struct {
		name   string
		change edit
		want   string
	}{
		{"no iss", drop("iss"), "iss"},
		{"no aud", drop("aud"), "aud"},
		{"no sub", drop("sub"), "sub"},
		{"no gth", drop("gth"), "gth"},
		{"no doel", drop("doel"), "doel"},
		{"no digest", drop("doelDigest"), "doelDigest"},
		{"no rol", drop("rol"), "rol"},
		{"rol as text", set("rol", "klantmanager"), "rol: wrong type"},
		{"rol twice", set("rol", []string{"a", "a"}), "rol"},
		{"empty rol", set("rol", []string{""}), "rol"},
		{"rol null", set("rol", nil), "rol"},
		{"no jti", drop("jti"), "jti"},
		{"jti of version 4", set("jti", "0190b6a2-7c11-4d3e-9a55-3f5c0b1e2d44"), "jti"},
		{"no iat", drop("iat"), "iat"},
		{"no exp", drop("exp"), "exp"},
		{"lives too long", set("exp", now.Unix()+61), "exp"},
		{"ends before it begins", set("exp", now.Unix()), "exp"},
		{"no htm", drop("htm"), "htm"},
		{"htm in small letters", set("htm", "post"), "htm"},
		{"no htu", drop("htu"), "htu"},
		{"htu absolute", set("htu", "https://borne.example/v1"), "htu"},
		{"no digest of the body", drop("bodyDigest"), "bodyDigest"},
		{"digest in hex", set("bodyDigest", strings.Repeat("ab", 32)), "bodyDigest"},
		{"college not an OIN", set("namensCollege", "Borne"), "namensCollege"},
		{"long zaak", set("zaak", strings.Repeat("z", 201)), "zaak"},
		{"newline in zaak", set("zaak", "a\nb"), "zaak"},
		{"unknown claim", set("velden", "x"), "velden: unknown member"},
		{"claim in capitals", set("DOEL", "x"), "DOEL"},
	} {
		var m map[string]any
		if err := json.Unmarshal(parsed.Payload(), &m); err != nil {
			t.Fatal(err)
		}
		tc.change(m)
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		compact, err := jose.Sign(s, raw, jose.Header{Typ: verklaring.Typ, X5C: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err = verklaring.Parse(compact); err == nil || !strings.Contains(err.Error(), tc.want) || gateway.KindOf(err) != gateway.Denied {
			t.Errorf("%s: got %v, want Denied with %q", tc.name, err, tc.want)
		}
	}
	for name, h := range map[string]jose.Header{
		"typ":     {Typ: "JWT", X5C: true},
		"no typ":  {X5C: true},
		"x5c":     {Typ: verklaring.Typ},
		"x5c typ": {},
	} {
		compact, err := jose.Sign(s, parsed.Payload(), h)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := verklaring.Parse(compact); err == nil || !strings.Contains(err.Error(), strings.Fields(strings.TrimPrefix(name, "no "))[0]) && name != "x5c typ" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, _, err := verklaring.Parse(""); err == nil || !strings.Contains(err.Error(), verklaring.Header) {
		t.Errorf("missing: got %v", err)
	}
	if _, _, err := verklaring.Parse(strings.Repeat("a", verklaring.MaxBytes+1)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("too long: got %v", err)
	}
}

func TestSignRefuses(t *testing.T) {
	if _, err := verklaring.Sign(statements(signer(t, uwi, nil)), verklaring.Verklaring{}); gateway.KindOf(err) != gateway.Invalid {
		t.Errorf("signed Verklaring{}: %v", err)
	}
	long := statement()
	long.Expires = long.IssuedAt.Add(2 * time.Minute)
	if _, err := verklaring.Sign(statements(signer(t, uwi, nil)), long); err == nil {
		t.Error("signed one that lives two minutes")
	}
	none := statement()
	none.Rollen = nil
	if _, _, err := verklaring.Parse(sign(t, signer(t, uwi, nil), none)); err != nil {
		t.Errorf("no roles: %v", err)
	}
}

// RFC 6234 vector: the digest of nothing.
func TestDigest(t *testing.T) {
	if got, want := verklaring.Digest(nil), "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzVerify(f *testing.F) {
	s := signer(f, uwi, nil)
	v := statement()
	good := sign(f, s, v)
	f.Add(good)
	p := cut(f, good)
	signed := p.head + "." + p.payload + "." + p.sig + "~" // Ed25519 leaves one signature per statement; the bewijs says the same in any
	f.Fuzz(func(t *testing.T, in string) {
		if _, err := expect(s, v).Verify(in); err == nil && !strings.HasPrefix(in, signed) {
			t.Fatalf("a statement that was never signed is accepted: %q", in)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	s, v := statements(signer(b, uwi, nil)), statement()
	for b.Loop() {
		if _, err := verklaring.Sign(s, v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	s, v := signer(b, uwi, nil), statement()
	compact, e := sign(b, s, v), expect(s, v)
	e.Keys = new(verklaring.Keys)
	for b.Loop() {
		if _, err := e.Verify(compact); err != nil {
			b.Fatal(err)
		}
	}
}
