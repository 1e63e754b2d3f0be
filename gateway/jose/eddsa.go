package jose

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/grensloos/grensloos/gateway"
)

// EdDSA is the algorithm of a key that the key of a certificate certified (RFC 8037), with Ed25519 only. It is none of FSC Core:
// contracts, signatures and tokens are not read with it.
const EdDSA = "EdDSA"

// EdDSAHead is the protected header of what such a key signs, as it stands before the first dot, the same each time. x5t is the
// thumbprint of the certificate whose key certified it.
func EdDSAHead(typ, x5t string) (string, error) { return certifiedHead(EdDSA, typ, x5t) }

// EdDSATreeHead is EdDSAHead for what is signed together.
func EdDSATreeHead(typ, x5t string) (string, error) { return certifiedHead(EdDSATree, typ, x5t) }

func certifiedHead(alg, typ, x5t string) (string, error) {
	raw, err := json.Marshal(protected{Alg: alg, Typ: typ, X5T: x5t})
	if err != nil {
		return "", gateway.Wrap(gateway.Internal, err, "jws header")
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

// AppendEdDSA appends a compact JWS over payload to out, under a header of EdDSAHead.
func AppendEdDSA(out []byte, key ed25519.PrivateKey, head string, payload []byte) []byte {
	b64, start := base64.RawURLEncoding, len(out)
	out = slices.Grow(out, len(head)+b64.EncodedLen(len(payload))+b64.EncodedLen(ed25519.SignatureSize)+2)
	out = append(append(out, head...), '.')
	out = b64.AppendEncode(out, payload)
	sig := ed25519.Sign(key, out[start:])
	return b64.AppendEncode(append(out, '.'), sig)
}

// ParseEdDSA is ParseCompact for what a certified key signed, by itself or together with others. x5t#S256 names the certificate of which
// the key certified it; VerifyKey takes the key itself.
func ParseEdDSA(s string, maxBytes int) (*Parsed, error) {
	p, err := parseCompact(s, maxBytes, []string{EdDSA, EdDSATree})
	switch {
	case errors.Is(err, ErrAlgorithm):
		return nil, gateway.Errorf(gateway.Invalid, "jws header alg: want %s or %s", EdDSA, EdDSATree)
	case err != nil:
		return nil, err
	case p.X5C != nil:
		return nil, gateway.Errorf(gateway.Invalid, "jws header x5c: goes with the sleutelbewijs")
	}
	return p, nil
}

// Head is the header of something that was parsed, to read what comes under the very same one with.
type Head struct {
	raw    string // as it stands before the first dot
	parsed Parsed // of which only the header
}

// Head is the header of p.
func (p *Parsed) Head() *Head {
	raw, _, _ := strings.Cut(p.signed, ".")
	return &Head{strings.Clone(raw), Parsed{Alg: p.Alg, X5T: p.X5T, Typ: p.Typ, Kid: p.Kid, X5C: p.X5C}}
}

// Twin is the header under which the same key signs with others, if p is signed alone, and the other way round: as EdDSAHead and
// EdDSATreeHead write them.
func (p *Parsed) Twin() *Head {
	alg := EdDSATree
	if p.Alg == EdDSATree {
		alg = EdDSA
	}
	raw, err := certifiedHead(alg, p.Typ, p.X5T)
	if err != nil {
		return nil
	}
	return &Head{raw, Parsed{Alg: alg, X5T: p.X5T, Typ: p.Typ}}
}

// Parse reads a compact JWS that stands under this header byte for byte, and so means the same by it; ok is false for any other, and for
// one that is not well formed: that is for ParseEdDSA, which says what is wrong.
func (h *Head) Parse(s string, maxBytes int) (p *Parsed, ok bool) {
	if h == nil || len(s) > maxBytes {
		return nil, false
	}
	head, rest, found := strings.Cut(s, ".")
	body, tail, foundBody := strings.Cut(rest, ".")
	if !found || !foundBody || head != h.raw || strings.Contains(tail, ".") {
		return nil, false
	}
	parsed := h.parsed
	parsed.signed = s[:len(head)+1+len(body)]
	var err error
	if parsed.Payload, err = decode64(body); err != nil {
		return nil, false
	}
	if parsed.sig, err = decode64(tail); err != nil || len(parsed.sig) == 0 {
		return nil, false
	}
	return &parsed, true
}

// VerifyEdDSA is VerifyKey for a certified key; trees remembers trees, and may be nil.
func (p *Parsed) VerifyEdDSA(key ed25519.PublicKey, trees *Trees) error {
	good := false
	switch {
	case len(key) != ed25519.PublicKeySize:
	case p.Alg == EdDSA:
		good = ed25519.Verify(key, []byte(p.signed), p.sig)
	case p.Alg == EdDSATree:
		head, ok := treeOf(p.signed, p.sig)
		good = ok && trees.verify(head, key)
	}
	if !good {
		return notSigned()
	}
	return nil
}

// OKP is an Ed25519 public key as JWK (RFC 8037).
type OKP struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
}

// PublicOKP is the JWK of a key.
func PublicOKP(key ed25519.PublicKey) OKP {
	return OKP{Kty: "OKP", Crv: "Ed25519", X: base64.RawURLEncoding.EncodeToString(key)}
}

// Key reads the key. It refuses one that is not encoded as RFC 8032 says, and one of small order: of these a signature fits more
// than one message, so that whoever signed could tell it otherwise later.
func (k OKP) Key() (ed25519.PublicKey, error) {
	raw, err := decode64(k.X)
	if k.Kty != "OKP" || k.Crv != "Ed25519" || err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, gateway.Errorf(gateway.Invalid, "kty, crv, x: not an Ed25519 key (RFC 8037)")
	}
	y := slices.Clone(raw) // little endian; the highest bit is the sign of x
	y[31] &= 0x7f
	if !belowPrime(y) || slices.Contains(smallOrder, string(y)) {
		return nil, gateway.Errorf(gateway.Invalid, "x: not a point that a signature can be held to")
	}
	return raw, nil
}

// belowPrime tells whether a little-endian number is below 2^255-19.
func belowPrime(y []byte) bool {
	if y[31] != 0x7f || slices.ContainsFunc(y[1:31], func(b byte) bool { return b != 0xff }) {
		return true
	}
	return y[0] < 0xed
}

// smallOrder are the y of the eight points of which the order divides 8.
var smallOrder = []string{
	strings.Repeat("\x00", 32),                   // order 4
	"\x01" + strings.Repeat("\x00", 31),          // order 1
	"\xec" + strings.Repeat("\xff", 30) + "\x7f", // order 2
	"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05", // order 8
	"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a", // order 8
}
