package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strconv"

	"github.com/grensloos/grensloos/gateway"
)

// Key is one public key of a JWKS.
type Key struct {
	X5T    string // thumbprint of Chain[0], computed; empty for a key without certificate
	Chain  []*x509.Certificate
	Kid    string
	Public crypto.PublicKey
}

type jwk struct {
	Kty string   `json:"kty"`
	Use string   `json:"use,omitempty"`
	Kid string   `json:"kid,omitempty"`
	Crv string   `json:"crv,omitempty"`
	X   string   `json:"x,omitempty"`
	Y   string   `json:"y,omitempty"`
	N   string   `json:"n,omitempty"`
	E   string   `json:"e,omitempty"`
	X5T string   `json:"x5t#S256,omitempty"`
	X5C []string `json:"x5c,omitempty"`
	D   any      `json:"d,omitempty"` // a private key: refused
	// as manager.yaml spells it
	X5TLower string `json:"x5t#s256,omitempty"`
}

type jwkSet struct {
	Keys []jwk `json:"keys"`
}

// JWKS writes the set that a Manager publishes: for each chain (leaf first, without the root) its key with x5c and x5t#S256.
func JWKS(chains ...[]*x509.Certificate) ([]byte, error) {
	set := jwkSet{Keys: []jwk{}}
	for _, chain := range chains {
		if len(chain) == 0 {
			continue
		}
		k, err := publicJWK(chain[0].PublicKey)
		if err != nil {
			return nil, err
		}
		k.X5T = Thumbprint(chain[0])
		for _, cert := range chain {
			k.X5C = append(k.X5C, base64.StdEncoding.EncodeToString(cert.Raw))
		}
		set.Keys = append(set.Keys, k)
	}
	return json.Marshal(set)
}

// PublicJWKS writes a set of keys without certificates.
func PublicJWKS(keys ...crypto.PublicKey) ([]byte, error) {
	set := jwkSet{Keys: []jwk{}}
	for _, pub := range keys {
		k, err := publicJWK(pub)
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, k)
	}
	return json.Marshal(set)
}

func publicJWK(pub crypto.PublicKey) (jwk, error) {
	alg, err := algorithmOf(pub)
	if err != nil {
		return jwk{}, err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	switch key := pub.(type) {
	case *rsa.PublicKey:
		return jwk{Kty: "RSA", Use: "sig", N: b64(key.N.Bytes()), E: b64(big.NewInt(int64(key.E)).Bytes())}, nil
	case *ecdsa.PublicKey:
		point, err := key.Bytes() // 4, x, y
		if err != nil {
			return jwk{}, gateway.Wrap(gateway.Invalid, err, "public key")
		}
		half := (len(point) - 1) / 2
		crv := map[string]string{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[alg]
		return jwk{Kty: "EC", Use: "sig", Crv: crv, X: b64(point[1 : 1+half]), Y: b64(point[1+half:])}, nil
	}
	return jwk{}, ErrAlgorithm
}

// maxKeys bounds the size of a set.
const maxKeys = 100

// ParseJWKS reads a set. A certificate must be that of the key beside it and of the x5t#S256 beside it; a key of a type that we
// don't use, or meant for encryption, is skipped. Chains are not verified.
func ParseJWKS(raw []byte) ([]Key, error) {
	var set jwkSet
	if err := Decode(raw, &set, AllowUnknown()); err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "jwks")
	}
	if len(set.Keys) > maxKeys {
		return nil, gateway.Errorf(gateway.Invalid, "jwks: %d keys, at most %d are accepted", len(set.Keys), maxKeys)
	}
	var keys []Key
	for i, k := range set.Keys {
		if k.Use == "enc" || k.Kty != "RSA" && k.Kty != "EC" {
			continue
		}
		key, err := k.key()
		if err != nil {
			return nil, gateway.Wrap(gateway.Invalid, err, "jwks keys["+strconv.Itoa(i)+"]")
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (k jwk) key() (Key, error) {
	if k.D != nil {
		return Key{}, gateway.Errorf(gateway.Invalid, "d: a private key does not belong here")
	}
	out := Key{Kid: k.Kid}
	if k.N != "" || k.X != "" {
		pub, err := k.public()
		if err != nil {
			return Key{}, err
		}
		out.Public = pub
	}
	if len(k.X5C) > 0 {
		ders, err := decodeChain(k.X5C)
		if err != nil {
			return Key{}, err
		}
		if out.Chain, err = parseChain(ders); err != nil {
			return Key{}, err
		}
		out.X5T = Thumbprint(out.Chain[0])
		if out.Public != nil && !sameKey(out.Public, out.Chain[0].PublicKey) {
			return Key{}, gateway.Errorf(gateway.Invalid, "x5c: its first certificate has another key")
		}
		out.Public = out.Chain[0].PublicKey
	}
	for _, x5t := range []string{k.X5T, k.X5TLower} {
		if x5t != "" && out.X5T != "" && x5t != out.X5T {
			return Key{}, gateway.Errorf(gateway.Invalid, "x5t#S256: not that of the first certificate in x5c")
		}
	}
	if out.Public == nil {
		return Key{}, gateway.Errorf(gateway.Invalid, "neither a key nor a certificate")
	}
	if _, err := algorithmOf(out.Public); err != nil {
		return Key{}, err
	}
	return out, nil
}

func (k jwk) public() (crypto.PublicKey, error) {
	if k.Kty == "RSA" {
		n, errN := decode64(k.N)
		e, errE := decode64(k.E)
		exp := new(big.Int).SetBytes(e)
		if errN != nil || errE != nil || len(n) == 0 || !exp.IsInt64() || exp.Int64() < 3 || exp.Int64() > 1<<31-1 {
			return nil, gateway.Errorf(gateway.Invalid, "n, e: not an RSA key (RFC 7518, 6.3)")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exp.Int64())}, nil
	}
	curve, size := curveOf(k.Crv)
	x, errX := decode64(k.X)
	y, errY := decode64(k.Y)
	if curve == nil || errX != nil || errY != nil || len(x) != size || len(y) != size {
		return nil, gateway.Errorf(gateway.Invalid, "crv, x, y: not a key on P-256, P-384 or P-521 (RFC 7518, 6.2)")
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, x...), y...))
	if err != nil {
		return nil, gateway.Errorf(gateway.Invalid, "crv, x, y: not a point on the curve")
	}
	return pub, nil
}

func curveOf(crv string) (elliptic.Curve, int) {
	switch crv {
	case "P-256":
		return elliptic.P256(), 32
	case "P-384":
		return elliptic.P384(), 48
	case "P-521":
		return elliptic.P521(), 66
	}
	return nil, 0
}
