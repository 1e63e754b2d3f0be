package verklaring_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

var update = flag.Bool("update", false, "sign the compact vector anew")

var fields = gateway.Velden{"persoon": {"naam", "geboortedatum"}, "uitkering": {}}

const (
	fieldsDigest  = "D2g29Rtapn2m9LQICDBG1l-rKBJv-Qg7uU-arYN5gDA" // SHA-256 of {"persoon":["geboortedatum","naam"]}
	nothingDigest = "RBNvo1WzZ4oRRq0W9-hknpT7T8If536DEMBg9hyq_4o" // SHA-256 of {}
)

func receipt() verklaring.Kwitantie {
	g := grant()
	return verklaring.Kwitantie{
		Issuer: borne, Audience: uwi, Transactie: gateway.NewTransactionID(now), GrantHash: g.Hash, Doel: g.Properties.Doel, Besluit: true,
		Uitkomst: map[gateway.Dienst]string{"persoon": "beantwoord", "uitkering": "geen-gegevens"}, VeldenDigest: fieldsDigest, Aantal: 1, IssuedAt: now,
	}
}

// trusts takes the word of any certificate about whose it is, as long as it is alone.
func trusts(chain []*x509.Certificate, _ time.Time) (gateway.Peer, error) {
	if len(chain) != 1 {
		return gateway.Peer{}, errors.New("another chain")
	}
	return gateway.PeerFrom(chain[0])
}

func expectReceipt(k verklaring.Kwitantie) verklaring.ExpectKwitantie {
	return verklaring.ExpectKwitantie{
		Audience: uwi, Grant: grant(), Transactie: k.Transactie, Now: now.Add(time.Second), Skew: 2 * time.Second, VerifyChain: trusts,
	}
}

func signReceipt(t testing.TB, s *jose.Signer, k verklaring.Kwitantie) string {
	t.Helper()
	compact, err := verklaring.SignKwitantie(receipts(s), k)
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

func TestKwitantie(t *testing.T) {
	ofTheInway := receipt()
	ofTheInway.Uitkomst, ofTheInway.VeldenDigest, ofTheInway.Aantal = nil, "", 0
	none := receipt()
	none.VeldenDigest, none.Aantal = nothingDigest, 0
	for name, want := range map[string]verklaring.Kwitantie{"fields": receipt(), "no fields": none, "of the inway": ofTheInway} {
		compact := signReceipt(t, signer(t, borne, nil), want)
		if len(compact) > 4096 {
			t.Errorf("%s: %d bytes: too long for a header", name, len(compact))
		}
		got, err := expectReceipt(want).Verify(compact)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestKwitantieRefused(t *testing.T) {
	s, foreign := signer(t, borne, nil), signer(t, other, nil)
	k := receipt()
	good := signReceipt(t, s, k)
	if _, err := expectReceipt(k).Verify(good); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		change func(*verklaring.ExpectKwitantie)
		want   string
	}{
		{"another asker", func(e *verklaring.ExpectKwitantie) { e.Audience = other }, "aud"},
		{"another outway", func(e *verklaring.ExpectKwitantie) { e.Grant.Outway = other }, "aud"},
		{"another provider", func(e *verklaring.ExpectKwitantie) { e.Grant.ServicePeer = other }, "iss"},
		{"another transaction", func(e *verklaring.ExpectKwitantie) { e.Transactie = gateway.NewTransactionID(now) }, "jti"},
		{"another grant", func(e *verklaring.ExpectKwitantie) { e.Grant.Hash = "$1$3$def" }, "gth"},
		{"another purpose", func(e *verklaring.ExpectKwitantie) { e.Grant.Properties.Doel = "pw-uitkering" }, "doel"},
		{"from the future", func(e *verklaring.ExpectKwitantie) { e.Now = now.Add(-3 * time.Second) }, "iat"},
		{"negative skew", func(e *verklaring.ExpectKwitantie) { e.Skew, e.Now = -time.Hour, now.Add(-time.Second) }, "iat"},
		{"certificate not of the group", func(e *verklaring.ExpectKwitantie) {
			e.VerifyChain = func([]*x509.Certificate, time.Time) (gateway.Peer, error) {
				return gateway.Peer{}, gateway.Errorf(gateway.Unavailable, "revoked")
			}
		}, "x5c"},
		{"certificate of another peer", func(e *verklaring.ExpectKwitantie) {
			e.VerifyChain = func([]*x509.Certificate, time.Time) (gateway.Peer, error) { return gateway.Peer{ID: other}, nil }
		}, "iss"},
		{"grant without purpose", func(e *verklaring.ExpectKwitantie) { e.Grant.Properties = gateway.Properties{} }, "nothing to hold it against"},
		{"nobody to check the chain", func(e *verklaring.ExpectKwitantie) { e.VerifyChain = nil }, "nothing to hold it against"},
		{"nothing expected", func(e *verklaring.ExpectKwitantie) { *e = verklaring.ExpectKwitantie{} }, "nothing to hold it against"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := expectReceipt(k)
			tc.change(&e)
			got, err := e.Verify(good)
			if err == nil || !strings.Contains(err.Error(), tc.want) || gateway.KindOf(err) != gateway.Denied || got != nil {
				t.Errorf("got %v, want Denied with %q", err, tc.want)
			}
		})
	}
	old, denied := k, k
	old.IssuedAt = now.Add(-3 * time.Second)
	denied.Besluit = false
	grafted := cut(t, good)
	grafted.sig = cut(t, signReceipt(t, foreign, k)).sig
	for name, tc := range map[string]struct{ compact, want string }{
		"of before the question":   {signReceipt(t, s, old), "iat"},
		"denies what is answered":  {signReceipt(t, s, denied), "besluit"},
		"signed by another peer":   {signReceipt(t, foreign, k), "iss"},
		"signature of another key": {grafted.String(), "signature"},
		"none":                     {"", verklaring.KwitantieHeader},
		"too long":                 {strings.Repeat("a", verklaring.MaxBytes+1), "at most"},
		"a verklaring":             {sign(t, s, statement()), "typ"},
	} {
		if got, err := expectReceipt(k).Verify(tc.compact); err == nil || !strings.Contains(err.Error(), tc.want) || gateway.KindOf(err) != gateway.Denied || got != nil {
			t.Errorf("%s: got %v, want Denied with %q", name, err, tc.want)
		}
	}
}

// The vectors are payloads; the name of one that fails begins with the claim that the error must name.
func TestKwitantieVectors(t *testing.T) {
	s := signer(t, borne, nil)
	files, err := filepath.Glob("testdata/kwitantie/*.json")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d vectors, %v", len(files), err)
	}
	for _, file := range files {
		payload, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		payload = []byte(strings.TrimSpace(string(payload)))
		compact, err := jose.Sign(s, payload, jose.Header{Typ: verklaring.KwitantieTyp, X5C: true})
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		k, _, err := verklaring.ParseKwitantie(compact)
		if claim, fails := strings.CutPrefix(name, "fail_"); fails {
			claim, _, _ = strings.Cut(claim, "_")
			if err == nil || !strings.Contains(err.Error(), claim) || gateway.KindOf(err) != gateway.Denied {
				t.Errorf("%s: got %v, want Denied with %q", name, err, claim)
			}
			if err != nil && (strings.Contains(err.Error(), "Jansen") || strings.Contains(err.Error(), "999990019")) {
				t.Errorf("%s: the error repeats what was sent: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, _, err := verklaring.ParseKwitantie(signReceipt(t, s, *k))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(k, again); diff != "" {
			t.Errorf("%s: signed anew it says something else:\n%s", name, diff)
		}
	}
}

// The compact vectors are whole kwitanties as they crossed the wire once: signed by the key of the certificate, as records from
// before have it, and by a key that this one certified.
func TestKwitantieCompactVector(t *testing.T) {
	const certified, together = "testdata/kwitantie/good_certified.jws", "testdata/kwitantie/good_together.jws"
	if *update {
		provider := signer(t, borne, nil)
		alone := signReceipt(t, provider, receipt())
		f := newForger(t, provider, borne, "kwitantie", verklaring.KwitantieTyp, payloadOf(t, alone))
		f.others = 4
		for file, compact := range map[string]string{certified: alone, together: f.compact()} {
			if err := os.WriteFile(file, []byte(compact+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, file := range []string{"testdata/kwitantie/good_compact.jws", certified, together} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		compact := strings.TrimSpace(string(raw))
		k, signed, err := verklaring.ParseKwitantie(compact)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := expectReceipt(*k).Verify(compact); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if err := k.Matches(fields, 1); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		// years later, by itself
		if chain, err := signed.Chain(); err != nil || signed.Verify(chain[0]) != nil {
			t.Errorf("%s: can't be checked by itself (%v)", file, err)
		}
	}
}

// Nothing else that a peer signs passes for a kwitantie, and a kwitantie passes for nothing else.
func TestKwitantieIsNothingElse(t *testing.T) {
	s, k := signer(t, borne, nil), receipt()
	good := signReceipt(t, s, k)
	_, parsed, err := verklaring.ParseKwitantie(good)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []jose.Header{{X5C: true}, {Typ: "JWT", X5C: true}, {Typ: verklaring.Typ, X5C: true}, {Typ: verklaring.KwitantieTyp}} {
		compact, err := jose.Sign(s, parsed.Payload(), h)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := verklaring.ParseKwitantie(compact); err == nil {
			t.Errorf("header %+v: accepted", h)
		}
	}
	if _, _, err := verklaring.Parse(good); err == nil || !strings.Contains(err.Error(), "typ") {
		t.Errorf("as a verklaring: %v", err)
	}
	if _, _, err := accesstoken.Parse(good); err == nil {
		t.Error("as an access token: accepted")
	}
	if _, err := contract.ParseSignature(good); err == nil {
		t.Error("as a signature of a contract: accepted")
	}
}

func TestSignKwitantieRefuses(t *testing.T) {
	s := signer(t, borne, nil)
	for name, change := range map[string]func(*verklaring.Kwitantie){
		"zero":           func(k *verklaring.Kwitantie) { *k = verklaring.Kwitantie{} },
		"count alone":    func(k *verklaring.Kwitantie) { k.VeldenDigest, k.Uitkomst = "", nil },
		"outcome alone":  func(k *verklaring.Kwitantie) { k.VeldenDigest, k.Aantal = "", 0 },
		"no moment":      func(k *verklaring.Kwitantie) { k.IssuedAt = time.Time{} },
		"no transaction": func(k *verklaring.Kwitantie) { k.Transactie = "" },
	} {
		k := receipt()
		change(&k)
		if _, err := verklaring.SignKwitantie(receipts(s), k); gateway.KindOf(err) != gateway.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMatches(t *testing.T) {
	if got, err := verklaring.VeldenDigest(fields); err != nil || got != fieldsDigest {
		t.Errorf("digest %s, %v; want %s", got, err, fieldsDigest)
	}
	if got, err := verklaring.VeldenDigest(nil); err != nil || got != nothingDigest {
		t.Errorf("digest of nothing %s, %v; want %s", got, err, nothingDigest)
	}
	k := receipt()
	silent := k
	silent.VeldenDigest = ""
	for _, tc := range []struct {
		name   string
		k      verklaring.Kwitantie
		velden gateway.Velden
		aantal int
		want   string
	}{
		{"as it is", k, fields, 1, ""},
		{"in another order, one twice", k, gateway.Velden{"persoon": {"geboortedatum", "naam", "naam"}}, 1, ""},
		{"a field more", k, gateway.Velden{"persoon": {"naam", "geboortedatum", "adres"}}, 1, "veldenDigest"},
		{"a field less", k, gateway.Velden{"persoon": {"naam"}}, 1, "veldenDigest"},
		{"of another dienst", k, gateway.Velden{"uitkering": {"naam", "geboortedatum"}}, 1, "veldenDigest"},
		{"nothing", k, nil, 0, "veldenDigest"},
		{"a record more", k, fields, 2, "aantal"},
		{"a record less", k, fields, 0, "aantal"},
		{"says nothing", silent, nil, 0, "veldenDigest"},
		{"zero", verklaring.Kwitantie{}, nil, 0, "veldenDigest"},
	} {
		err := tc.k.Matches(tc.velden, tc.aantal)
		if (err == nil) != (tc.want == "") || err != nil && (!strings.Contains(err.Error(), tc.want) || gateway.KindOf(err) != gateway.Denied) {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestGrond(t *testing.T) {
	s := signer(t, uwi, nil)
	v := statement()
	v.Grond = gateway.GrondVerhuizing
	got, err := expect(s, v).Verify(sign(t, s, v))
	if err != nil || got.Grond != gateway.GrondVerhuizing {
		t.Fatalf("got %+v, %v", got, err)
	}
	v.Grond = "nieuwsgierig"
	if _, err := verklaring.Sign(statements(s), v); err == nil || !strings.Contains(err.Error(), "grond") {
		t.Errorf("an unknown ground is signed: %v", err)
	}
	v.Grond = ""
	_, parsed, err := verklaring.Parse(sign(t, s, v))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(parsed.Payload(), &m); err != nil {
		t.Fatal(err)
	}
	if _, ok := m["grond"]; ok {
		t.Error("a ground that is not given is there")
	}
	m["grond"] = "nieuwsgierig"
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := jose.Sign(s, raw, jose.Header{Typ: verklaring.Typ, X5C: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := verklaring.Parse(compact); err == nil || !strings.Contains(err.Error(), "grond") || strings.Contains(err.Error(), "nieuwsgierig") {
		t.Errorf("an unknown ground is read: %v", err)
	}
}

func FuzzKwitantie(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	s, k := signer(f, borne, key), receipt()
	good := signReceipt(f, s, k)
	f.Add(good)
	f.Add(sign(f, s, statement()))
	p := cut(f, good)
	signed := p.head + "." + p.payload + "." + p.sig + "~"
	// Who may sign is a certificate, not the name that another one has.
	only := func(chain []*x509.Certificate, _ time.Time) (gateway.Peer, error) {
		if !chain[0].Equal(s.Cert) {
			return gateway.Peer{}, errors.New("not of the group")
		}
		return gateway.PeerFrom(chain[0])
	}
	f.Fuzz(func(t *testing.T, in string) {
		e := expectReceipt(k)
		e.VerifyChain = only
		if _, err := e.Verify(in); err == nil && !strings.HasPrefix(in, signed) {
			t.Fatalf("a kwitantie that was never signed is accepted: %q", in)
		}
		if got, _, err := verklaring.ParseKwitantie(in); err == nil {
			then := verklaring.NewSigner(func() *jose.Signer { return s }, verklaring.VoorKwitantie, func() time.Time { return got.IssuedAt })
			if _, err := verklaring.SignKwitantie(then, *got); err != nil {
				t.Fatalf("what is read can't be signed: %v", err)
			}
		}
	})
}

func BenchmarkSignKwitantie(b *testing.B) {
	s, k := receipts(signer(b, borne, nil)), receipt()
	for b.Loop() {
		digest, err := verklaring.VeldenDigest(fields)
		if err != nil {
			b.Fatal(err)
		}
		k.VeldenDigest = digest
		if _, err := verklaring.SignKwitantie(s, k); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyKwitantie(b *testing.B) {
	s, k := signer(b, borne, nil), receipt()
	compact, e := signReceipt(b, s, k), expectReceipt(k)
	e.Keys = new(verklaring.Keys)
	for b.Loop() {
		if _, err := e.Verify(compact); err != nil {
			b.Fatal(err)
		}
	}
}
