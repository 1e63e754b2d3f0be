package verklaring

import (
	"crypto/ed25519"
	"encoding/json"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

const (
	// SleutelTyp is the typ in the JOSE header of a sleutelbewijs.
	SleutelTyp = "sleutelbewijs+jwt"
	// MaxSleutelLife is the longest life of a key that is certified: so long does a key that was stolen from memory last.
	MaxSleutelLife = time.Hour
)

// Gebruik is what a certified key may sign. Each has a key of its own, so that what can answer can't ask.
type Gebruik string

// The two uses.
const (
	VoorVerklaring Gebruik = "verklaring"
	VoorKwitantie  Gebruik = "kwitantie"
)

// sleutelbewijs is the certificate of a key: a JWS in which the key of a group certificate says that an Ed25519 key may sign, for
// this peer, one kind of statement for at most an hour. It goes with each, after a tilde, so that each can be checked by itself.
type sleutelbewijs struct {
	issuer    gateway.PeerID
	gebruik   Gebruik
	notBefore time.Time
	expires   time.Time
	key       ed25519.PublicKey
	parsed    *jose.Parsed
}

type sleutelWire struct {
	Issuer    gateway.PeerID `json:"iss"`
	Gebruik   Gebruik        `json:"gebruik"`
	NotBefore int64          `json:"nbf"`
	Expires   int64          `json:"exp"`
	Cnf       struct {
		JWK jose.OKP `json:"jwk"`
	} `json:"cnf"`
}

// certify has the key of s say that key is ours.
func certify(s *jose.Signer, g Gebruik, key ed25519.PublicKey, from, until time.Time) (string, error) {
	peer, err := gateway.PeerFrom(s.Cert)
	if err != nil {
		return "", err
	}
	w := sleutelWire{Issuer: peer.ID, Gebruik: g, NotBefore: from.Unix(), Expires: until.Unix()}
	w.Cnf.JWK = jose.PublicOKP(key)
	raw, err := json.Marshal(w)
	if err != nil {
		return "", gateway.Wrap(gateway.Internal, err, "sleutelbewijs")
	}
	return jose.Sign(s, raw, jose.Header{Typ: SleutelTyp, X5C: true})
}

// parseSleutel reads a sleutelbewijs without verifying it.
func parseSleutel(compact string) (*sleutelbewijs, error) {
	wrong := func(what string) error { return gateway.Errorf(gateway.Denied, "sleutelbewijs: %s", what) }
	parsed, err := jose.ParseCompact(compact, MaxBytes)
	switch {
	case err != nil:
		return nil, gateway.Wrap(gateway.Denied, err, "sleutelbewijs")
	case parsed.Typ != SleutelTyp:
		return nil, wrong("typ: want " + SleutelTyp)
	case len(parsed.X5C) == 0:
		return nil, wrong("x5c: missing; embed the certificate that signed")
	}
	var w sleutelWire
	if err := jose.Decode(parsed.Payload, &w); err != nil {
		return nil, gateway.Wrap(gateway.Denied, err, "sleutelbewijs")
	}
	if _, err := gateway.ParsePeerID(string(w.Issuer)); err != nil {
		return nil, wrong("iss: missing or not an OIN")
	}
	if w.NotBefore <= 0 || w.Expires <= w.NotBefore || w.Expires-w.NotBefore > int64(MaxSleutelLife/time.Second) {
		return nil, wrong("nbf, exp: give exp after nbf, by at most an hour")
	}
	key, err := w.Cnf.JWK.Key()
	if err != nil {
		return nil, gateway.Wrap(gateway.Denied, err, "sleutelbewijs: cnf.jwk")
	}
	return &sleutelbewijs{
		issuer: w.Issuer, gebruik: w.Gebruik, notBefore: time.Unix(w.NotBefore, 0), expires: time.Unix(w.Expires, 0), key: key, parsed: parsed,
	}, nil
}
