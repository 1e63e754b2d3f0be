package contract_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/jose"
)

// certificate makes a self-signed one: whether a chain is good is not this package's business.
func certificate(t testing.TB, id gateway.PeerID, key crypto.Signer) *jose.Signer {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{"peer.example"},
		Subject: pkix.Name{Organization: []string{"Peer"}, ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: asn1.ObjectIdentifier{2, 5, 4, 5}, Value: string(id)},
		}},
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

func peer(t testing.TB, id gateway.PeerID) *jose.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return certificate(t, id, key)
}

func signed(t testing.TB, s *jose.Signer, c *contract.Content, st contract.SignatureType) contract.Signature {
	t.Helper()
	compact, err := contract.Sign(s, c.Hash(), st, now)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := contract.ParseSignature(compact)
	if err != nil {
		t.Fatal(err)
	}
	if err := sig.Verify(s.Cert, c.Hash()); err != nil {
		t.Fatal(err)
	}
	return *sig
}

func TestSignatures(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c := parse(t, "good_service_connection.json")
	for name, s := range map[string]*jose.Signer{"ecdsa": peer(t, uwi), "rsa": certificate(t, uwi, rsaKey)} {
		for _, st := range []contract.SignatureType{contract.Accept, contract.Reject, contract.Revoke} {
			sig := signed(t, s, c, st)
			if sig.Peer != uwi || sig.Type != st || sig.Hash != c.Hash() || !sig.SignedAt.Equal(now) || sig.X5T != jose.Thumbprint(s.Cert) {
				t.Errorf("%s %s: got %+v", name, st, sig)
			}
			if err := sig.SignedBy(uwi); err != nil {
				t.Error(err)
			}
			if err := sig.SignedBy(borne); gateway.CodeOf(err) != contract.CodePeerMismatch {
				t.Errorf("submitted by another: got %v", err)
			}
			if err := sig.Is(st); err != nil {
				t.Error(err)
			}
		}
	}
	// one that comes from a store has only its JWS
	sig := signed(t, peer(t, uwi), c, contract.Accept)
	stored := contract.Signature{JWS: sig.JWS}
	other := peer(t, uwi)
	if err := stored.Verify(other.Cert, c.Hash()); gateway.CodeOf(err) != contract.CodeSignature || stored.Peer != "" {
		t.Errorf("by another certificate of the same peer: got %v, peer %q", err, stored.Peer)
	}
}

func TestSignatureRefuses(t *testing.T) {
	c, other := parse(t, "good_service_connection.json"), parse(t, "good_service_publication.json")
	s := peer(t, uwi)
	raw := func(payload string) string {
		compact, err := jose.Sign(s, []byte(payload), jose.Header{})
		if err != nil {
			t.Fatal(err)
		}
		return compact
	}
	hash := string(c.Hash())
	body := `{"contract_content_hash":"` + hash + `","type":"accept","signed_at":1767226000}`
	good := raw(body)
	parts := strings.Split(good, ".")
	header := func(h string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(h)) + "." + parts[1] + "." + parts[2]
	}
	for _, tc := range []struct{ name, jws, code string }{
		{"no JWS", "accept", contract.CodeSignature},
		{"empty", "", contract.CodeSignature},
		{"alg none", header(`{"alg":"none","x5t#S256":"` + jose.Thumbprint(s.Cert) + `"}`), contract.CodeUnknownSignatureAlg},
		{"unknown algorithm", header(`{"alg":"PS512","x5t#S256":"` + jose.Thumbprint(s.Cert) + `"}`), contract.CodeUnknownSignatureAlg},
		{"algorithm of another key", header(`{"alg":"RS256","x5t#S256":"` + jose.Thumbprint(s.Cert) + `"}`), contract.CodeUnknownSignatureAlg},
		{"no x5t", header(`{"alg":"ES256"}`), contract.CodeSignature},
		{"payload of 1.x", raw(strings.Replace(body, "contract_content_hash", "contentHash", 1)), contract.CodeSignature},
		{"unknown type", raw(strings.Replace(body, "accept", "approve", 1)), contract.CodeSignature},
		{"no type", raw(`{"contract_content_hash":"` + hash + `","signed_at":1767226000}`), contract.CodeSignature},
		{"no time", raw(`{"contract_content_hash":"` + hash + `","type":"accept"}`), contract.CodeSignature},
		{"hash twice", raw(strings.Replace(body, "{", `{"contract_content_hash":"`+hash+`",`, 1)), contract.CodeSignature},
		{"other hash", raw(strings.Replace(body, hash, string(other.Hash()), 1)), contract.CodeHashMismatch},
		{"malformed hash", raw(strings.Replace(body, hash, "abc", 1)), contract.CodeSignature},
		{"unknown hash algorithm", raw(strings.Replace(body, "$1$1$", "$2$1$", 1)), contract.CodeUnknownHash},
		{"payload changed", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(body, "accept", "revoke", 1))) + "." + parts[2], contract.CodeSignature},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sig, err := contract.ParseSignature(tc.jws)
			if err == nil {
				err = sig.Verify(s.Cert, c.Hash())
				if sig.Peer != "" {
					t.Errorf("peer is set to %s", sig.Peer)
				}
			}
			if err == nil || gateway.CodeOf(err) != tc.code || gateway.KindOf(err) != gateway.Invalid {
				t.Errorf("got %v (%s), want %s", err, gateway.CodeOf(err), tc.code)
			}
		})
	}
	sig, err := contract.ParseSignature(good)
	if err != nil {
		t.Fatal(err)
	}
	if err := sig.Verify(s.Cert, ""); err == nil {
		t.Error("verified against no hash")
	}
	if err := sig.Is(contract.Reject); gateway.CodeOf(err) != contract.CodeSignature {
		t.Errorf("wrong type: got %v", err)
	}
	nobody := certificate(t, "not-an-oin", peer(t, uwi).Key)
	compact, err := contract.Sign(nobody, c.Hash(), contract.Accept, now)
	if err != nil {
		t.Fatal(err)
	}
	if sig, err = contract.ParseSignature(compact); err != nil {
		t.Fatal(err)
	}
	if err := sig.Verify(nobody.Cert, c.Hash()); gateway.CodeOf(err) != contract.CodePeerCertificate {
		t.Errorf("a certificate without OIN: got %v", err)
	}
	if _, err := contract.Sign(s, c.Hash(), "approve", now); err == nil {
		t.Error("signed an unknown type")
	}
	if _, err := contract.Sign(s, "abc", contract.Accept, now); err == nil {
		t.Error("signed what is no hash")
	}
}

func TestStateAt(t *testing.T) {
	c := parse(t, "good_delegated_service_connection.json") // signers: uwi, borne, hengelo
	other := parse(t, "good_service_connection.json")
	by := map[gateway.PeerID]*jose.Signer{uwi: peer(t, uwi), borne: peer(t, borne), hengelo: peer(t, hengelo), directory: peer(t, directory)}
	sig := func(id gateway.PeerID, st contract.SignatureType) contract.Signature { return signed(t, by[id], c, st) }
	all := []contract.Signature{sig(uwi, contract.Accept), sig(borne, contract.Accept), sig(hengelo, contract.Accept)}
	unverified := sig(hengelo, contract.Accept)
	unverified.Peer = ""
	with := func(more ...contract.Signature) []contract.Signature { return append(slices.Clone(all), more...) }
	begin, end := c.NotBefore(), c.NotAfter()
	for _, tc := range []struct {
		name string
		sigs []contract.Signature
		now  time.Time
		want contract.State
	}{
		{"nobody", nil, now, contract.Proposed},
		{"two of three", all[:2], now, contract.Proposed},
		{"one of them twice", []contract.Signature{all[0], all[1], all[1]}, now, contract.Proposed},
		{"all", all, now, contract.Valid},
		{"all, first second", all, begin, contract.Valid},
		{"all, last second", all, end, contract.Valid},
		{"all, before", all, begin.Add(-time.Second), contract.NotYet},
		{"all, after", all, end.Add(time.Second), contract.Expired},
		{"two of three, after", all[:2], end.Add(time.Second), contract.Expired},
		{"rejected", with(sig(borne, contract.Reject)), now, contract.Rejected},
		{"revoked", with(sig(uwi, contract.Revoke)), now, contract.Revoked},
		{"revoked and rejected", with(sig(borne, contract.Reject), sig(uwi, contract.Revoke)), now, contract.Revoked},
		{"revoked, long after", with(sig(uwi, contract.Revoke)), end.Add(time.Hour), contract.Revoked},
		{"revoked before all accepted", []contract.Signature{all[0], sig(uwi, contract.Revoke)}, now, contract.Revoked},
		{"accept after revoke", []contract.Signature{sig(uwi, contract.Revoke), all[0], all[1], all[2]}, now, contract.Revoked},
		{"an outsider's revoke", with(sig(directory, contract.Revoke)), now, contract.Valid},
		{"an outsider's accept", append(slices.Clone(all[:2]), sig(directory, contract.Accept)), now, contract.Proposed},
		{"one not verified", append(slices.Clone(all[:2]), unverified), now, contract.Proposed},
		{"over another contract", append(slices.Clone(all[:2]), signed(t, by[hengelo], other, contract.Accept)), now, contract.Proposed},
	} {
		if got := contract.StateAt(c, tc.sigs, tc.now); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
	if got := contract.StateAt(nil, all, now); got != "" {
		t.Errorf("no contract: got %q", got)
	}
	if got := contract.StateAt(&contract.Content{}, nil, now); got != "" {
		t.Errorf("Content{}: got %q", got)
	}
}

func FuzzParseContent(f *testing.F) {
	f.Add(read(f, "good_two_connections_in_order.json"))
	f.Add(read(f, "good_delegated_service_publication.json"))
	f.Add(read(f, "good_escapes.json"))
	f.Add(read(f, "fail_duplicate_member.json"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := contract.ParseContent(data)
		if err != nil {
			return
		}
		if c.Validate(rules, now) != nil {
			return
		}
		// Whatever is accepted hashes to the same in canonical form, and says the same.
		canonical, err := jose.CanonicalJSON(data)
		if err != nil {
			t.Fatal(err)
		}
		again, err := contract.ParseContent(canonical)
		if err != nil || again.Hash() != c.Hash() || !slices.Equal(again.GrantHashes(), c.GrantHashes()) {
			t.Fatalf("the canonical form is another contract: %v", err)
		}
		for _, id := range c.Parties() {
			if _, err := gateway.ParsePeerID(string(id)); err != nil {
				t.Fatal(err)
			}
		}
		for _, g := range c.ConnectionGrants() {
			if g.Richting() == "" || (g.OutwayDomain == "") == (g.OutwayThumbprint == "") {
				t.Fatalf("a grant without direction or outway: %+v", g)
			}
		}
	})
}

func FuzzParseSignature(f *testing.F) {
	c := parse(f, "good_service_connection.json")
	s := peer(f, uwi)
	good, err := contract.Sign(s, c.Hash(), contract.Accept, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, in string) {
		sig, err := contract.ParseSignature(in)
		if err == nil && sig.Verify(s.Cert, c.Hash()) == nil && sig.Type != contract.Accept {
			t.Fatalf("a forged %s verifies", sig.Type)
		}
	})
}

func BenchmarkParseContent(b *testing.B) {
	raw := read(b, "good_service_connection_doelbinding.json")
	for b.Loop() {
		if _, err := contract.ParseContent(raw); err != nil {
			b.Fatal(err)
		}
	}
}

// A signature must not be taken for a token or a statement, nor the other way round: its payload has no other member.
func TestPayloadIsExactlyThreeMembers(t *testing.T) {
	c := parse(t, "good_service_connection.json")
	compact, err := contract.Sign(peer(t, uwi), c.Hash(), contract.Accept, now)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(compact, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(payload, &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got["contract_content_hash"] != string(c.Hash()) || got["type"] != "accept" || got["signed_at"] != float64(1767226000) {
		t.Errorf("got %v", got)
	}
}
