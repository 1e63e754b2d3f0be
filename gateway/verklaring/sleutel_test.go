package verklaring_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// forger makes a statement by a certified key, with one thing changed.
type forger struct {
	t       testing.TB
	group   *jose.Signer // whose key certifies
	names   *jose.Signer // whose certificate the statement names
	key     ed25519.PrivateKey
	typ     string // of the statement
	payload []byte
	bewijs  jose.Header
	claims  map[string]any
	change  func(compact string) string // of the sleutelbewijs
	others  int                         // how many statements are signed together with it
}

func newForger(t testing.TB, s *jose.Signer, iss gateway.PeerID, gebruik, typ string, payload []byte) *forger {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &forger{
		t: t, group: s, names: s, key: key, typ: typ, payload: payload, bewijs: jose.Header{Typ: verklaring.SleutelTyp, X5C: true},
		claims: map[string]any{
			"iss": iss, "gebruik": gebruik, "nbf": now.Unix() - 60, "exp": now.Unix() + 60,
			"cnf": map[string]any{"jwk": map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64(pub)}},
		},
	}
}

func b64(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// jwk changes members of the key that is certified; nil takes one away.
func (f *forger) jwk(members map[string]any) {
	jwk := maps.Clone(f.claims["cnf"].(map[string]any)["jwk"].(map[string]any))
	for name, v := range members {
		if jwk[name] = v; v == nil {
			delete(jwk, name)
		}
	}
	f.claims["cnf"] = map[string]any{"jwk": jwk}
}

func (f *forger) compact() string {
	f.t.Helper()
	head, err := jose.EdDSAHead(f.typ, jose.Thumbprint(f.names.Cert))
	if err != nil {
		f.t.Fatal(err)
	}
	claims, err := json.Marshal(f.claims)
	if err != nil {
		f.t.Fatal(err)
	}
	bewijs, err := jose.Sign(f.group, claims, f.bewijs)
	if err != nil {
		f.t.Fatal(err)
	}
	if f.change != nil {
		bewijs = f.change(bewijs)
	}
	if f.others == 0 {
		return string(jose.AppendEdDSA(nil, f.key, head, f.payload)) + "~" + bewijs
	}
	if head, err = jose.EdDSATreeHead(f.typ, jose.Thumbprint(f.names.Cert)); err != nil {
		f.t.Fatal(err)
	}
	payloads := [][]byte{f.payload}
	for range f.others {
		payloads = append(payloads, []byte(`{}`))
	}
	return string(jose.SignEdDSATree(f.key, head, payloads)[0]) + "~" + bewijs
}

func payloadOf(t testing.TB, compact string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(cut(t, compact).payload)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// reheaded gives a compact JWS another header, and leaves the rest.
func reheaded(header string) func(string) string {
	return func(compact string) string {
		_, rest, _ := strings.Cut(compact, ".")
		return b64([]byte(header)) + "." + rest
	}
}

// Whatever is wrong with the certificate of a key, with the key, or with who used it for what: nothing that it signed is accepted,
// neither as verklaring nor as kwitantie, neither at first sight nor when an honest key of the peer is known.
func TestCertifiedKeyRefused(t *testing.T) {
	asker, provider := signer(t, uwi, nil), signer(t, borne, nil)
	foreign := signer(t, other, nil)
	renewed := signer(t, uwi, asker.Key) // the same key under another certificate
	renewedProvider := signer(t, borne, provider.Key)
	v, k := statement(), receipt()
	order8, _ := base64.RawURLEncoding.DecodeString("JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_AU")
	notOnCurve := make([]byte, 32)
	notOnCurve[0] = 2
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := p256.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	_, otherKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		spoil func(f *forger)
		want  string
	}{
		{"nothing", func(*forger) {}, ""},
		{"certified by another peer", func(f *forger) { f.group = foreign }, "x5t#S256"},
		{"certified by another peer, who is named too", func(f *forger) { f.group, f.names = foreign, foreign }, "x5t#S256 or iss"},
		{"certified for another peer", func(f *forger) { f.claims["iss"] = other }, "sleutelbewijs: iss"},
		{"certified under another certificate of the same key", func(f *forger) {
			if f.group == asker {
				f.group = renewed
			} else {
				f.group = renewedProvider
			}
		}, "x5t#S256"},
		{"signature on the certificate of another key", func(f *forger) {
			f.change = func(compact string) string {
				bewijs, _, _ := cutLast(compact)
				_, sig, _ := cutLast(cut(f.t, sign(f.t, foreign, v)).bewijs)
				return bewijs + "." + sig
			}
		}, "signature"},
		{"expired", func(f *forger) { f.claims["exp"] = now.Unix() }, "exp"},
		{"not yet valid", func(f *forger) { f.claims["nbf"] = now.Unix() + 1 }, "nbf"},
		{"for ever", func(f *forger) { f.claims["exp"] = now.Unix() + 3600 }, "by at most an hour"},
		{"for ever, by overflow", func(f *forger) { f.claims["exp"] = int64(1)<<53 - 1 }, "by at most an hour"},
		{"ends before it begins", func(f *forger) { f.claims["exp"] = now.Unix() - 61 }, "nbf, exp"},
		{"without an end", func(f *forger) { delete(f.claims, "exp") }, "nbf, exp"},
		{"without a beginning", func(f *forger) { delete(f.claims, "nbf") }, "nbf, exp"},
		{"for the other use", func(f *forger) {
			f.claims["gebruik"] = map[any]string{"verklaring": "kwitantie", "kwitantie": "verklaring"}[f.claims["gebruik"]]
		}, "gebruik"},
		{"for every use", func(f *forger) { f.claims["gebruik"] = "*" }, "gebruik"},
		{"for no use", func(f *forger) { delete(f.claims, "gebruik") }, "gebruik"},
		{"with a claim too many", func(f *forger) { f.claims["scope"] = "all" }, "scope: unknown member"},
		{"of another typ", func(f *forger) { f.bewijs.Typ = verklaring.Typ }, "sleutelbewijs: typ"},
		{"an access token's typ", func(f *forger) { f.bewijs.Typ = "JWT" }, "sleutelbewijs: typ"},
		{"of no typ", func(f *forger) { f.bewijs.Typ = "" }, "sleutelbewijs: typ"},
		{"without a chain", func(f *forger) { f.bewijs.X5C = false }, "x5c"},
		{"alg none", func(f *forger) {
			f.change = reheaded(`{"alg":"none","typ":"sleutelbewijs+jwt","x5t#S256":"` + jose.Thumbprint(f.names.Cert) + `"}`)
		}, "alg"},
		{"certified by a certified key", func(f *forger) { // a chain of two
			f.change = func(compact string) string {
				head, err := jose.EdDSAHead(verklaring.SleutelTyp, jose.Thumbprint(f.names.Cert))
				if err != nil {
					f.t.Fatal(err)
				}
				claims, err := json.Marshal(f.claims)
				if err != nil {
					f.t.Fatal(err)
				}
				return string(jose.AppendEdDSA(nil, f.key, head, claims)) + "~" + compact
			}
		}, "compact form"},
		{"a certificate too many", func(f *forger) { f.change = func(compact string) string { return compact + "~" + compact } }, "compact form"},
		{"an empty one", func(f *forger) { f.change = func(string) string { return "" } }, "sleutelbewijs"},
		{"huge", func(f *forger) { f.claims["iss"] = strings.Repeat("0", verklaring.MaxBytes) }, "at most"},
		{"a chain that is long", func(f *forger) { f.group = longChain(f.group) }, "at most 5"},
		{"signed by another key", func(f *forger) { f.key = otherKey }, "signature"},
		{"a key of ECDSA inside", func(f *forger) {
			f.jwk(map[string]any{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])})
		}, "jwk"},
		{"a key of ECDSA that says it is Ed25519", func(f *forger) { f.jwk(map[string]any{"x": b64(point[1:33])}) }, "signature or cnf.jwk"},
		{"a key for X25519", func(f *forger) { f.jwk(map[string]any{"crv": "X25519"}) }, "cnf.jwk"},
		{"a secret for HMAC", func(f *forger) { f.jwk(map[string]any{"kty": "oct", "crv": nil, "x": nil, "k": "AAAA"}) }, "jwk"},
		{"no key", func(f *forger) { delete(f.claims, "cnf") }, "cnf.jwk"},
		{"a short key", func(f *forger) { f.jwk(map[string]any{"x": b64(point[1:32])}) }, "cnf.jwk"},
		{"a private key", func(f *forger) { f.jwk(map[string]any{"d": b64(f.key.Seed())}) }, "d: unknown member"},
		{"a point of order 1", func(f *forger) { f.jwk(map[string]any{"x": b64(append([]byte{1}, make([]byte, 31)...))}) }, "point"},
		{"a point of order 8", func(f *forger) { f.jwk(map[string]any{"x": b64(order8)}) }, "point"},
		{"a point off the curve", func(f *forger) { f.jwk(map[string]any{"x": b64(notOnCurve)}) }, "signature"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			keys := new(verklaring.Keys)
			e, er := expect(asker, v), expectReceipt(k)
			e.Keys, er.Keys = keys, keys
			for honest, check := range map[string]func(string) error{
				sign(t, asker, v):           func(c string) error { _, err := e.Verify(c); return err },
				signReceipt(t, provider, k): func(c string) error { _, err := er.Verify(c); return err },
			} {
				f := newForger(t, asker, uwi, "verklaring", verklaring.Typ, payloadOf(t, honest))
				if !strings.Contains(string(f.payload), `"htm"`) {
					f = newForger(t, provider, borne, "kwitantie", verklaring.KwitantieTyp, f.payload)
				}
				tc.spoil(f)
				alone := f.compact()
				f.others = 2
				for _, forged := range []string{alone, alone, f.compact(), f.compact()} {
					err := check(forged)
					if tc.want == "" {
						if err != nil {
							t.Fatalf("an honest one: %v", err)
						}
						continue
					}
					named := func(want string) bool { return err != nil && strings.Contains(err.Error(), want) }
					if gateway.KindOf(err) != gateway.Denied || !slices.ContainsFunc(strings.Split(tc.want, " or "), named) {
						t.Errorf("%s: got %v, want Denied with %q", f.typ, err, tc.want)
					}
					if err := check(honest); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

// longChain makes a chain of six.
func longChain(s *jose.Signer) *jose.Signer {
	long := *s
	for range 5 {
		long.Chain = append(long.Chain, s.Cert)
	}
	return &long
}

func cutLast(compact string) (head, sig string, ok bool) {
	i := strings.LastIndex(compact, ".")
	return compact[:i], compact[i+1:], i >= 0
}

// A signature under a point of small order fits more than one message: why such a key is refused.
func TestSmallOrderSignatureFitsAnything(t *testing.T) {
	identity := append([]byte{1}, make([]byte, 31)...)
	sig := append(append([]byte{}, identity...), make([]byte, 32)...) // R the identity, S zero
	if !ed25519.Verify(identity, []byte("paid out"), sig) || !ed25519.Verify(identity, []byte("not paid out"), sig) {
		t.Fatal("crypto/ed25519 refuses small orders now; the check in jose may go")
	}
	for _, y := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // 0 again
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // 1 again
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	} {
		for _, sign := range []byte{0, 0x80} {
			key, err := hex.DecodeString(y)
			if err != nil {
				t.Fatal(err)
			}
			key[31] |= sign
			if _, err := (jose.OKP{Kty: "OKP", Crv: "Ed25519", X: b64(key)}).Key(); err == nil {
				t.Errorf("%x: taken as a key", key)
			}
		}
	}
}

// The group key itself may sign too: records of before have it so, and another implementation may.
func TestSignedByTheKeyOfTheCertificate(t *testing.T) {
	asker, provider := signer(t, uwi, nil), signer(t, borne, nil)
	v, k := statement(), receipt()
	for _, keys := range []*verklaring.Keys{nil, new(verklaring.Keys)} {
		direct, err := jose.Sign(asker, payloadOf(t, sign(t, asker, v)), jose.Header{Typ: verklaring.Typ, X5C: true})
		if err != nil {
			t.Fatal(err)
		}
		e := expect(asker, v)
		e.Keys = keys
		if _, err := e.Verify(direct); err != nil {
			t.Error(err)
		}
		if _, err := e.Verify(direct + "~" + cut(t, sign(t, asker, v)).bewijs); err == nil || !strings.Contains(err.Error(), "alg") {
			t.Errorf("with a sleutelbewijs behind it: %v", err)
		}
		if _, err := e.Verify(strings.Split(sign(t, asker, v), "~")[0]); err == nil || !strings.Contains(err.Error(), "alg") {
			t.Errorf("by a certified key, without its sleutelbewijs: %v", err)
		}
		if direct, err = jose.Sign(provider, payloadOf(t, signReceipt(t, provider, k)), jose.Header{Typ: verklaring.KwitantieTyp, X5C: true}); err != nil {
			t.Fatal(err)
		}
		er := expectReceipt(k)
		er.Keys = keys
		if _, err := er.Verify(direct); err != nil {
			t.Error(err)
		}
	}
}

// A certificate with an Ed25519 key does not make a sleutelbewijs superfluous, nor is one signed with it taken.
func TestEd25519CertificateSignsNothing(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, v := signer(t, uwi, key), statement()
	head, err := jose.EdDSAHead(verklaring.Typ, jose.Thumbprint(s.Cert))
	if err != nil {
		t.Fatal(err)
	}
	payload := payloadOf(t, sign(t, signer(t, uwi, nil), v))
	alone := string(jose.AppendEdDSA(nil, key, head, payload))
	sleutel, err := jose.EdDSAHead(verklaring.SleutelTyp, jose.Thumbprint(s.Cert))
	if err != nil {
		t.Fatal(err)
	}
	own := string(jose.AppendEdDSA(nil, key, sleutel, []byte(`{}`)))
	for _, compact := range []string{alone, alone + "~" + own} {
		if _, err := expect(s, v).Verify(compact); err == nil || !strings.Contains(err.Error(), "alg") {
			t.Errorf("got %v", err)
		}
	}
	if _, err := verklaring.Sign(statements(s), v); gateway.KindOf(err) != gateway.Unavailable {
		t.Errorf("signed under such a certificate: %v", err)
	}
}

// A key that is remembered is held to the moment, the use, the connection and the standing of its certificate all the same.
func TestRememberedKeyIsCheckedEachTime(t *testing.T) {
	asker, provider := signer(t, uwi, nil), signer(t, borne, nil)
	clock := now
	at := func() time.Time { return clock }
	stmts := verklaring.NewSigner(func() *jose.Signer { return asker }, verklaring.VoorVerklaring, at)
	rcpts := verklaring.NewSigner(func() *jose.Signer { return provider }, verklaring.VoorKwitantie, at)
	keys := new(verklaring.Keys)
	v, k := statement(), receipt()
	first, err := verklaring.Sign(stmts, v)
	if err != nil {
		t.Fatal(err)
	}
	firstReceipt, err := verklaring.SignKwitantie(rcpts, k)
	if err != nil {
		t.Fatal(err)
	}
	e, er := expect(asker, v), expectReceipt(k)
	e.Keys, er.Keys = keys, keys
	for range 2 {
		if _, err := e.Verify(first); err != nil {
			t.Fatal(err)
		}
		if _, err := er.Verify(firstReceipt); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := e
	elsewhere.ClientCert = signer(t, uwi, asker.Key).Cert
	if _, err := elsewhere.Verify(first); err == nil || !strings.Contains(err.Error(), "x5t#S256") {
		t.Errorf("over a connection with another certificate: %v", err)
	}
	if _, known, err := verklaring.ParseWith(first, keys, now); err != nil || known.Verify(asker.Cert) != nil || known.Verify(elsewhere.ClientCert) == nil || known.Verify(nil) == nil {
		t.Errorf("verified by another certificate than its own, or not by that (%v)", err)
	}
	revoked := er
	revoked.VerifyChain = func([]*x509.Certificate, time.Time) (gateway.Peer, error) {
		return gateway.Peer{}, errors.New("revoked")
	}
	if _, err := revoked.Verify(firstReceipt); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("a kwitantie under a revoked certificate: %v", err)
	}
	// The same sleutelbewijs behind a statement that claims to be of after its end.
	f := newForger(t, asker, uwi, "verklaring", verklaring.Typ, nil)
	late := v
	late.IssuedAt, late.Expires = now.Add(61*time.Second), now.Add(90*time.Second)
	f.payload = payloadOf(t, signAt(t, asker, late))
	f.claims["exp"] = now.Unix() + 61
	forged := f.compact()
	f.payload = payloadOf(t, first)
	if _, err := e.Verify(f.compact()); err != nil { // now it is known
		t.Fatal(err)
	}
	e.Now = late.IssuedAt
	if _, err := e.Verify(forged); err == nil || !strings.Contains(err.Error(), "sleutelbewijs: exp") {
		t.Errorf("signed after the end of its key: %v", err)
	}
	before := keys.Len()
	e.Now = now.Add(2 * time.Hour)
	if _, err := e.Verify(first); err == nil || keys.Len() != before-1 {
		t.Errorf("%d of %d keys are remembered after the end of one that was asked for (%v)", keys.Len(), before, err)
	}
}

// signAt signs at the moment of the statement.
func signAt(t testing.TB, s *jose.Signer, v verklaring.Verklaring) string {
	t.Helper()
	compact, err := verklaring.Sign(verklaring.NewSigner(func() *jose.Signer { return s }, verklaring.VoorVerklaring, func() time.Time { return v.IssuedAt }), v)
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// However many keys a peer has certified, no more than a bounded number is remembered, and all are accepted.
func TestKeysAreBounded(t *testing.T) {
	s, v := signer(t, uwi, nil), statement()
	e := expect(s, v)
	e.Keys = new(verklaring.Keys)
	for range 1100 {
		if _, err := e.Verify(sign(t, s, v)); err != nil {
			t.Fatal(err)
		}
	}
	if n := e.Keys.Len(); n > 1024 || n < 512 {
		t.Errorf("%d are remembered", n)
	}
	late := v
	late.IssuedAt = now.Add(2 * time.Hour)
	late.Expires, e.Now = late.IssuedAt.Add(time.Minute), late.IssuedAt
	before := e.Keys.Len()
	for range 1025 - before {
		if _, err := e.Verify(signAt(t, s, late)); err != nil {
			t.Fatal(err)
		}
	}
	if n := e.Keys.Len(); n > 1025-before {
		t.Errorf("%d are remembered, want those that ended gone", n)
	}
}

// A sleutelbewijs passes for nothing else that a peer signs.
func TestSleutelbewijsIsNothingElse(t *testing.T) {
	bewijs := cut(t, sign(t, signer(t, uwi, nil), statement())).bewijs
	if _, _, err := verklaring.Parse(bewijs); err == nil {
		t.Error("as a verklaring: accepted")
	}
	if _, _, err := verklaring.ParseKwitantie(bewijs); err == nil {
		t.Error("as a kwitantie: accepted")
	}
	if _, _, err := accesstoken.Parse(bewijs); err == nil {
		t.Error("as an access token: accepted")
	}
	if _, err := contract.ParseSignature(bewijs); err == nil {
		t.Error("as a signature of a contract: accepted")
	}
	for name, compact := range map[string]string{"whole": sign(t, signer(t, uwi, nil), statement()), "alone": strings.Split(sign(t, signer(t, uwi, nil), statement()), "~")[0]} {
		if _, _, err := accesstoken.Parse(compact); err == nil {
			t.Errorf("a verklaring (%s) as an access token: accepted", name)
		}
		if _, err := contract.ParseSignature(compact); err == nil {
			t.Errorf("a verklaring (%s) as a signature of a contract: accepted", name)
		}
	}
}

func FuzzSleutelbewijs(f *testing.F) {
	s, v := signer(f, uwi, nil), statement()
	p := cut(f, sign(f, s, v))
	f.Add(p.bewijs)
	f.Add(cut(f, signReceipt(f, s, receipt())).bewijs)
	said, _, _ := cutLast(p.bewijs)
	f.Fuzz(func(t *testing.T, bewijs string) {
		mine := p
		mine.bewijs = bewijs
		if _, err := expect(s, v).Verify(mine.String()); err == nil && !strings.HasPrefix(bewijs, said+".") {
			t.Fatalf("a key that was never certified is accepted: %q", bewijs)
		}
	})
}
