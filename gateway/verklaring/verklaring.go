// Package verklaring owns the verklaring (statement): a JWS in which the peer that asks says who asks what, for which doel
// (purpose), on whose behalf, about which zaak (case), in this one request. It travels in the header Grensloos-Verklaring and is
// signed by the key of the certificate to which the access token is bound, or by an Ed25519 key that this key certified (its
// sleutelbewijs); the certificate goes with it, so that the record of it can be checked years later. And the kwitantie (receipt) that
// goes back with the answer, signed alike by the peer that gave it. schemas/fsc-doelbinding.md describes them for others.
//
// It refuses a statement for another receiver, grant, purpose, transaction, method, path, body or moment, one that lives longer
// than a minute, one signed under another certificate than the connection's, by a key certified for another peer, use or hour, and a
// JWS of another kind (typ).
//
// Invariant: nothing in a verklaring opens anything by itself. It narrows what the signed grant allows, and every claim that the
// grant also makes must be equal to it.
package verklaring

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

const (
	// Header is the request header that carries a verklaring.
	Header = "Grensloos-Verklaring"
	// Typ is the typ in its JOSE header, so that no other thing that a peer signs can pass for one.
	Typ = "verklaring+jwt"
	// MaxTTL is the longest life of a verklaring.
	MaxTTL = 60 * time.Second
	// MaxBytes is the longest one that is read, its certificates included.
	MaxBytes = 16 << 10
)

const (
	maxText   = 200  // bytes of sub, zaak, zaaktype, one rol
	maxTarget = 2048 // bytes of htu
	maxRollen = 20
)

// Verklaring is what the asking peer states about one request.
type Verklaring struct {
	Issuer        gateway.PeerID // iss: the peer whose outway asks
	Audience      gateway.PeerID // aud: the peer that offers the service
	Subject       string         // sub: pseudonym of the worker
	NamensCollege gateway.PeerID // on whose behalf; as in the grant
	GrantHash     gateway.GrantHash
	Doel          gateway.Doel
	DoelDigest    string
	Zaak          string
	Zaaktype      string
	Grond         gateway.Grond         // why this peer is asked about this person; empty: not said
	Rollen        []string              // rol: the roles of the worker
	Transactie    gateway.TransactionID // jti
	IssuedAt      time.Time
	Expires       time.Time
	Method        string // htm
	Target        string // htu: path as sent, with query
	BodyDigest    string // Digest of the body as sent
}

type wire struct {
	Issuer        gateway.PeerID        `json:"iss"`
	Audience      gateway.PeerID        `json:"aud"`
	Subject       string                `json:"sub"`
	NamensCollege gateway.PeerID        `json:"namensCollege,omitempty"`
	GrantHash     gateway.GrantHash     `json:"gth"`
	Doel          gateway.Doel          `json:"doel"`
	DoelDigest    string                `json:"doelDigest"`
	Zaak          string                `json:"zaak,omitempty"`
	Zaaktype      string                `json:"zaaktype,omitempty"`
	Grond         gateway.Grond         `json:"grond,omitempty"`
	Rollen        []string              `json:"rol"`
	Transactie    gateway.TransactionID `json:"jti"`
	IssuedAt      int64                 `json:"iat"`
	Expires       int64                 `json:"exp"`
	Method        string                `json:"htm"`
	Target        string                `json:"htu"`
	BodyDigest    string                `json:"bodyDigest"`
}

// Digest is the bodyDigest of a body: base64url of its SHA-256. An empty body has one too.
func Digest(body []byte) string {
	sum := sha256.Sum256(body)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Sign makes the compact JWS.
func Sign(s *Signer, v Verklaring) (string, error) {
	if err := v.check(); err != nil {
		return "", gateway.Wrap(gateway.Invalid, err, "verklaring")
	}
	rollen := v.Rollen
	if rollen == nil {
		rollen = []string{}
	}
	raw, err := json.Marshal(wire{
		Issuer: v.Issuer, Audience: v.Audience, Subject: v.Subject, NamensCollege: v.NamensCollege, GrantHash: v.GrantHash,
		Doel: v.Doel, DoelDigest: v.DoelDigest, Zaak: v.Zaak, Zaaktype: v.Zaaktype, Grond: v.Grond, Rollen: rollen, Transactie: v.Transactie,
		IssuedAt: v.IssuedAt.Unix(), Expires: v.Expires.Unix(), Method: v.Method, Target: v.Target, BodyDigest: v.BodyDigest,
	})
	if err != nil {
		return "", gateway.Wrap(gateway.Internal, err, "verklaring")
	}
	signed, err := s.sign(Typ, VoorVerklaring, raw, v.IssuedAt)
	if err != nil {
		return "", err
	}
	return signed.whole(), nil
}

// Parse reads a verklaring without verifying it: its form only. The error is of kind Denied and names the claim.
func Parse(compact string) (*Verklaring, *Signed, error) { return parse(compact, nil, time.Time{}) }

func parse(compact string, keys *Keys, now time.Time) (*Verklaring, *Signed, error) {
	if compact == "" {
		return nil, nil, gateway.Errorf(gateway.Denied, "verklaring: missing; send it in the header %s", Header)
	}
	p, err := open(compact, Typ, VoorVerklaring, keys, now)
	if err != nil {
		return nil, nil, gateway.Wrap(gateway.Denied, err, "verklaring")
	}
	var w wire
	if err := jose.Decode(p.Payload(), &w); err != nil {
		return nil, nil, gateway.Wrap(gateway.Denied, err, "verklaring")
	}
	v := &Verklaring{
		Issuer: w.Issuer, Audience: w.Audience, Subject: w.Subject, NamensCollege: w.NamensCollege, GrantHash: w.GrantHash,
		Doel: w.Doel, DoelDigest: w.DoelDigest, Zaak: w.Zaak, Zaaktype: w.Zaaktype, Grond: w.Grond, Rollen: w.Rollen, Transactie: w.Transactie,
		IssuedAt: time.Unix(w.IssuedAt, 0), Expires: time.Unix(w.Expires, 0), Method: w.Method, Target: w.Target, BodyDigest: w.BodyDigest,
	}
	if w.IssuedAt <= 0 || w.Rollen == nil {
		return nil, nil, gateway.Errorf(gateway.Denied, "verklaring: iat, rol: missing")
	}
	if err := v.check(); err != nil {
		return nil, nil, gateway.Wrap(gateway.Denied, err, "verklaring")
	}
	p.issuer, p.iat = v.Issuer, v.IssuedAt
	return v, p, nil
}

// check holds a verklaring to its form.
func (v Verklaring) check() error {
	wrong := func(format string, args ...any) error { return gateway.Errorf(gateway.Invalid, format, args...) }
	if _, err := gateway.ParsePeerID(string(v.Issuer)); err != nil {
		return wrong("iss: missing or not an OIN")
	}
	if _, err := gateway.ParsePeerID(string(v.Audience)); err != nil {
		return wrong("aud: missing or not an OIN")
	}
	if v.NamensCollege != "" {
		if _, err := gateway.ParsePeerID(string(v.NamensCollege)); err != nil {
			return wrong("namensCollege: not an OIN")
		}
	}
	if v.Subject == "" || !text(v.Subject) {
		return wrong("sub: give the pseudonym of the worker")
	}
	if v.GrantHash == "" || v.Doel == "" || v.DoelDigest == "" {
		return wrong("gth, doel, doelDigest: each must be there")
	}
	if !text(v.Zaak) || !text(v.Zaaktype) {
		return wrong("zaak, zaaktype: at most %d bytes without control characters", maxText)
	}
	if v.Grond != "" {
		if _, err := gateway.ParseGrond(string(v.Grond)); err != nil {
			return err
		}
	}
	if len(v.Rollen) > maxRollen {
		return wrong("rol: at most %d", maxRollen)
	}
	for i, rol := range v.Rollen {
		if rol == "" || !text(rol) || slices.Contains(v.Rollen[:i], rol) {
			return wrong("rol: each once, not empty")
		}
	}
	if _, err := gateway.ParseTransactionID(string(v.Transactie)); err != nil {
		return wrong("jti: give the transaction id, a UUID of version 7")
	}
	if life := v.Expires.Sub(v.IssuedAt); life <= 0 || life > MaxTTL {
		return wrong("exp: after iat, by at most %s", MaxTTL)
	}
	if v.Method == "" || len(v.Method) > 20 || strings.ContainsFunc(v.Method, func(c rune) bool { return c < 'A' || c > 'Z' }) {
		return wrong("htm: give the method in capitals")
	}
	if !strings.HasPrefix(v.Target, "/") || len(v.Target) > maxTarget {
		return wrong("htu: give the path as sent, with its query, of at most %d bytes", maxTarget)
	}
	if raw, err := base64.RawURLEncoding.Strict().DecodeString(v.BodyDigest); err != nil || len(raw) != sha256.Size {
		return wrong("bodyDigest: give base64url of the SHA-256 of the body")
	}
	return nil
}

func text(s string) bool { return len(s) <= maxText && !strings.ContainsFunc(s, unicode.IsControl) }
