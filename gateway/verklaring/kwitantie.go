package verklaring

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

const (
	// KwitantieHeader is the header of an answer that carries a kwitantie.
	KwitantieHeader = "Grensloos-Kwitantie"
	// KwitantieTyp is the typ in its JOSE header.
	KwitantieTyp = "kwitantie+jwt"
)

const (
	maxDiensten = 50
	maxAantal   = 1_000_000
)

// Kwitantie is the receipt that goes with an answer: the peer that gave it signs which transaction it answers, under which grant and
// decision, which fields left and how many records. The asker keeps it, so that neither side can later tell it otherwise. It holds
// names of fields as a digest only, and no value.
//
// VeldenDigest is empty, and Uitkomst and Aantal with it, if the service behind the inway is one of which Grensloos doesn't know
// what it answers: then the receipt says that there was an answer, and nothing of what is in it.
type Kwitantie struct {
	Issuer       gateway.PeerID        // iss: the peer that offers the service
	Audience     gateway.PeerID        // aud: the peer whose outway asked
	Transactie   gateway.TransactionID // jti
	GrantHash    gateway.GrantHash
	Doel         gateway.Doel
	Besluit      bool                      // the decision on record at the provider allows
	Uitkomst     map[gateway.Dienst]string // how the question for each dienst ended
	VeldenDigest string                    // VeldenDigest of the fields that left
	Aantal       int                       // number of records that left, over all diensten
	IssuedAt     time.Time
}

type kwitantieWire struct {
	Issuer       gateway.PeerID            `json:"iss"`
	Audience     gateway.PeerID            `json:"aud"`
	Transactie   gateway.TransactionID     `json:"jti"`
	GrantHash    gateway.GrantHash         `json:"gth"`
	Doel         gateway.Doel              `json:"doel"`
	Besluit      *bool                     `json:"besluit"`
	Uitkomst     map[gateway.Dienst]string `json:"uitkomst,omitempty"`
	VeldenDigest string                    `json:"veldenDigest,omitempty"`
	Aantal       *int                      `json:"aantal,omitempty"`
	IssuedAt     int64                     `json:"iat"`
}

// VeldenDigest is the digest of the names of fields: base64url of the SHA-256 over the JCS form (RFC 8785) of {dienst: [veld, ...]},
// the fields sorted and each once, without diensten that have none. That no field left has a digest too.
func VeldenDigest(velden gateway.Velden) (string, error) {
	raw, err := json.Marshal(velden.Beperk(velden))
	if err != nil {
		return "", gateway.Wrap(gateway.Internal, err, "velden")
	}
	if raw, err = jose.CanonicalJSON(raw); err != nil {
		return "", gateway.Wrap(gateway.Internal, err, "velden")
	}
	return Digest(raw), nil
}

// Matches holds an answer to its kwitantie: the fields that are in it, and the number of its records over all diensten. The error is
// of kind Denied and says what differs, not how.
func (k Kwitantie) Matches(velden gateway.Velden, aantal int) error {
	if k.VeldenDigest == "" {
		return gateway.Errorf(gateway.Denied, "kwitantie: veldenDigest: missing; the peer does not sign what it answered")
	}
	digest, err := VeldenDigest(velden)
	if err != nil {
		return err
	}
	if k.VeldenDigest != digest {
		return gateway.Errorf(gateway.Denied, "kwitantie: veldenDigest: is not that of the fields in the answer")
	}
	if k.Aantal != aantal {
		return gateway.Errorf(gateway.Denied, "kwitantie: aantal: is not the number of records in the answer")
	}
	return nil
}

// SignKwitantie makes the compact JWS, whole.
func SignKwitantie(s *Signer, k Kwitantie) (string, error) { return SignKwitantieTo(s, k, "") }

// SignKwitantieTo is SignKwitantie to an asker who said what it has in its KnownHeader: it gets the digest of the sleutelbewijs if it has it.
func SignKwitantieTo(s *Signer, k Kwitantie, known string) (string, error) {
	if err := k.check(); err != nil {
		return "", gateway.Wrap(gateway.Invalid, err, "kwitantie")
	}
	w := kwitantieWire{
		Issuer: k.Issuer, Audience: k.Audience, Transactie: k.Transactie, GrantHash: k.GrantHash, Doel: k.Doel, Besluit: &k.Besluit,
		Uitkomst: k.Uitkomst, VeldenDigest: k.VeldenDigest, IssuedAt: k.IssuedAt.Unix(),
	}
	if k.VeldenDigest != "" {
		w.Aantal = &k.Aantal
	}
	raw, err := json.Marshal(w)
	if err != nil {
		return "", gateway.Wrap(gateway.Internal, err, "kwitantie")
	}
	signed, err := s.sign(KwitantieTyp, VoorKwitantie, raw, k.IssuedAt)
	switch {
	case err != nil:
		return "", err
	case says(known, signed.by.digest):
		return signed.with(signed.by.digest), nil
	}
	return signed.whole(), nil
}

// ParseKwitantie reads a kwitantie without verifying it: its form only. The error is of kind Denied and names the claim.
func ParseKwitantie(compact string) (*Kwitantie, *Signed, error) {
	return parseKwitantie(compact, nil, time.Time{})
}

func parseKwitantie(compact string, keys *Keys, now time.Time) (*Kwitantie, *Signed, error) {
	if compact == "" {
		return nil, nil, gateway.Errorf(gateway.Denied, "kwitantie: missing; an answer carries it in the header %s", KwitantieHeader)
	}
	p, err := open(compact, KwitantieTyp, VoorKwitantie, keys, now)
	if err != nil {
		return nil, nil, gateway.Wrap(gateway.Denied, err, "kwitantie")
	}
	k, err := readKwitantie(p.Payload())
	if err != nil {
		return nil, nil, err
	}
	p.issuer, p.iat = k.Issuer, k.IssuedAt
	return k, p, nil
}

// ReadKwitantie reads the claims of a kwitantie that the outway verified and passed on: its form only. Its sleutelbewijs may be gone, with a
// digest in its place; the whole is on record.
func ReadKwitantie(compact string) (*Kwitantie, error) {
	statement, digest, found := strings.Cut(compact, "~")
	if !found || strings.Contains(digest, ".") {
		k, _, err := ParseKwitantie(compact)
		return k, err
	}
	p, err := jose.ParseEdDSA(statement, MaxBytes)
	switch {
	case err != nil:
		return nil, gateway.Wrap(gateway.Denied, err, "kwitantie")
	case p.Typ != KwitantieTyp:
		return nil, gateway.Errorf(gateway.Denied, "kwitantie: typ: want %s", KwitantieTyp)
	}
	return readKwitantie(p.Payload)
}

func readKwitantie(payload []byte) (*Kwitantie, error) {
	var w kwitantieWire
	if err := jose.Decode(payload, &w); err != nil {
		return nil, gateway.Wrap(gateway.Denied, err, "kwitantie")
	}
	k := &Kwitantie{
		Issuer: w.Issuer, Audience: w.Audience, Transactie: w.Transactie, GrantHash: w.GrantHash, Doel: w.Doel, Uitkomst: w.Uitkomst,
		VeldenDigest: w.VeldenDigest, IssuedAt: time.Unix(w.IssuedAt, 0),
	}
	if w.Besluit == nil {
		return nil, gateway.Errorf(gateway.Denied, "kwitantie: besluit: missing")
	}
	if (w.Aantal == nil) != (w.VeldenDigest == "") {
		return nil, gateway.Errorf(gateway.Denied, "kwitantie: aantal, veldenDigest: give both or neither")
	}
	k.Besluit = *w.Besluit
	if w.Aantal != nil {
		k.Aantal = *w.Aantal
	}
	if err := k.check(); err != nil {
		return nil, gateway.Wrap(gateway.Denied, err, "kwitantie")
	}
	return k, nil
}

// check holds a kwitantie to its form.
func (k Kwitantie) check() error {
	wrong := func(format string, args ...any) error { return gateway.Errorf(gateway.Invalid, format, args...) }
	if _, err := gateway.ParsePeerID(string(k.Issuer)); err != nil {
		return wrong("iss: missing or not an OIN")
	}
	if _, err := gateway.ParsePeerID(string(k.Audience)); err != nil {
		return wrong("aud: missing or not an OIN")
	}
	if _, err := gateway.ParseTransactionID(string(k.Transactie)); err != nil {
		return wrong("jti: give the transaction id, a UUID of version 7")
	}
	if k.GrantHash == "" || k.Doel == "" {
		return wrong("gth, doel: each must be there")
	}
	if k.IssuedAt.Unix() <= 0 {
		return wrong("iat: missing")
	}
	if k.VeldenDigest == "" {
		if len(k.Uitkomst) > 0 || k.Aantal != 0 {
			return wrong("veldenDigest: missing beside uitkomst and aantal")
		}
		return nil
	}
	if raw, err := base64.RawURLEncoding.Strict().DecodeString(k.VeldenDigest); err != nil || len(raw) != sha256.Size {
		return wrong("veldenDigest: give base64url of a SHA-256")
	}
	if k.Aantal < 0 || k.Aantal > maxAantal {
		return wrong("aantal: give a number of records, at most %d", maxAantal)
	}
	if len(k.Uitkomst) == 0 || len(k.Uitkomst) > maxDiensten {
		return wrong("uitkomst: give 1 to %d diensten", maxDiensten)
	}
	for dienst, uitkomst := range k.Uitkomst {
		if !word(string(dienst)) || !word(uitkomst) {
			return wrong("uitkomst: names of a dienst and of an outcome only")
		}
	}
	return nil
}

// word reports whether s is a name as the catalogue has them: a small letter, then letters, digits and dashes.
func word(s string) bool {
	if s == "" || len(s) > 64 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-'
	})
}

// ExpectKwitantie is what the asker knows of its own question. A zero value expects nothing and so accepts nothing.
type ExpectKwitantie struct {
	Audience   gateway.PeerID // this peer
	Grant      gateway.Grant  // under which it asked; its service peer must have signed
	Transactie gateway.TransactionID
	Now        time.Time
	Skew       time.Duration // how far the clocks of peers may differ
	// VerifyChain says whose a signing certificate is, if it is good now (certs.Group.VerifyChain).
	VerifyChain func(chain []*x509.Certificate, at time.Time) (gateway.Peer, error)
	Keys        *Keys // certified keys that were seen before; nil: none is remembered
}

// Verify accepts the kwitantie of the answer to this question. Errors are of kind Denied and name the claim that differs.
func (e ExpectKwitantie) Verify(compact string) (*Kwitantie, error) {
	if e.Audience == "" || e.Grant.Hash == "" || !e.Grant.IsDoelgebonden() || e.Transactie == "" || e.Now.IsZero() || e.VerifyChain == nil {
		return nil, gateway.Errorf(gateway.Denied, "kwitantie: nothing to hold it against")
	}
	k, signed, err := parseKwitantie(compact, e.Keys, e.Now)
	if err != nil {
		return nil, err
	}
	// What costs nothing to compare goes first; certificates and the signature are the dear part.
	if err := e.compare(k); err != nil {
		return nil, err
	}
	chain, err := signed.Chain() // its first certificate hashes to x5t#S256
	if err != nil {
		return nil, gateway.Wrap(gateway.Denied, err, "kwitantie")
	}
	peer, err := e.VerifyChain(chain, e.Now)
	if err != nil {
		return nil, &gateway.Error{Kind: gateway.Denied, Message: "kwitantie: x5c", Cause: err}
	}
	if peer.ID != k.Issuer {
		return nil, gateway.Errorf(gateway.Denied, "kwitantie: iss: is not the peer of the certificate that signed")
	}
	if err := signed.Verify(chain[0]); err != nil {
		return nil, gateway.Wrap(gateway.Denied, err, "kwitantie")
	}
	e.Keys.keep(signed, e.Now)
	return k, nil
}

func (e ExpectKwitantie) compare(k *Kwitantie) error {
	for _, c := range []struct{ claim, got, want, what string }{
		{"iss", string(k.Issuer), string(e.Grant.ServicePeer), "the service's peer of the grant"},
		{"aud", string(k.Audience), string(e.Audience), "this peer"},
		{"aud", string(k.Audience), string(e.Grant.Outway), "the outway's peer of the grant"},
		{"jti", string(k.Transactie), string(e.Transactie), "the transaction of this question"},
		{"gth", string(k.GrantHash), string(e.Grant.Hash), "the grant of this question"},
		{"doel", string(k.Doel), string(e.Grant.Properties.Doel), "the purpose of the grant"},
	} {
		if c.got != c.want {
			return gateway.Errorf(gateway.Denied, "kwitantie: %s: is not %s", c.claim, c.what)
		}
	}
	if !k.Besluit {
		return gateway.Errorf(gateway.Denied, "kwitantie: besluit: denies what is answered")
	}
	skew := max(e.Skew, 0)
	if k.IssuedAt.After(e.Now.Add(skew)) {
		return gateway.Errorf(gateway.Denied, "kwitantie: iat: lies in the future")
	}
	// iat is in whole seconds.
	if k.IssuedAt.Before(e.Transactie.Time().Add(-skew).Truncate(time.Second)) {
		return gateway.Errorf(gateway.Denied, "kwitantie: iat: lies before the question")
	}
	return nil
}
