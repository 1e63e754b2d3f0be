// Package jose is the base under every signature: compact JWS with the algorithms of FSC Core, thumbprints, JWKS, and strict
// I-JSON (RFC 7493), since what is hashed or signed must mean one thing to every reader.
//
// It refuses, before any signature is computed: algorithms other than RS256/384/512 and ES256/384/512 (FSC Core, signatures; so
// no "none" and no HMAC), an algorithm that doesn't fit the key or its curve, header members that would let the sender choose
// the key or the meaning (crit, b64, jku, jwk, x5u, zip, enc), a duplicate member, base64url that is not canonical, and an x5c
// whose first certificate isn't the one of x5t#S256. EdDSA is read by ParseEdDSA alone.
//
// Invariant: the key that verifies always comes from the caller's certificate, or from what the key of that certificate signed;
// never from the message as it stands. What is in x5c is a claim until the caller has checked its chain. The cryptography itself is
// jwx's, and of Ed25519 the standard library's.
package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/grensloos/grensloos/gateway"
)

const (
	minRSABits = 2048 // the least RSA modulus that Digikoppeling Beveiliging accepts for signatures
	maxRSABits = 8192 // as crypto/tls: what a key costs to verify with grows with its square
)

// ErrAlgorithm is in the chain of every error about an alg that is not allowed or doesn't fit the key.
var ErrAlgorithm = &gateway.Error{
	Kind:    gateway.Invalid,
	Message: "alg: use RS256, RS384, RS512, ES256, ES384 or ES512, and the one that fits the key",
}

// Algorithms are the signature algorithms of FSC Core.
func Algorithms() []string { return []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"} }

// Signer is a private key with the certificate that names it. Key may live elsewhere, as long as it is RSA or ECDSA.
type Signer struct {
	Key   crypto.Signer
	Cert  *x509.Certificate
	Chain []*x509.Certificate // what follows Cert, without the root
}

// Header says what Sign puts in the protected header beside alg and x5t#S256.
type Header struct {
	Typ string
	Kid string
	X5C bool // embed Cert and Chain
}

// protected is the header as it crosses the wire. Kid and others that don't choose the key are read and ignored.
type protected struct {
	Alg string   `json:"alg"`
	Typ string   `json:"typ,omitempty"`
	Kid string   `json:"kid,omitempty"`
	X5T string   `json:"x5t#S256,omitempty"`
	X5C []string `json:"x5c,omitempty"`
}

// refusedHeaders choose a key, change what is signed, or must be understood: none is needed here.
var refusedHeaders = []string{"crit", "b64", "jku", "jwk", "x5u", "zip", "enc", "epk"}

// Sign makes a compact JWS over payload. The algorithm follows from the key: RS256, or the ES algorithm of the curve.
func Sign(s *Signer, payload []byte, h Header) (string, error) {
	if s == nil || s.Key == nil || s.Cert == nil {
		return "", gateway.Errorf(gateway.Internal, "signer: a key and its certificate are needed")
	}
	if pub, ok := s.Key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(s.Cert.PublicKey) {
		return "", gateway.Errorf(gateway.Internal, "signer: the key is not that of the certificate")
	}
	head := protected{Typ: h.Typ, Kid: h.Kid, X5T: Thumbprint(s.Cert)}
	if h.X5C {
		head.X5C = append(head.X5C, base64.StdEncoding.EncodeToString(s.Cert.Raw))
		for _, cert := range s.Chain {
			head.X5C = append(head.X5C, base64.StdEncoding.EncodeToString(cert.Raw))
		}
	}
	return sign(s.Key, payload, head)
}

// SignKey is Sign for a key without a certificate, such as that of an issuer of tokens on the own network: there is no x5t#S256,
// and kid, if given, tells the verifier which of its keys to try.
func SignKey(key crypto.Signer, payload []byte, h Header) (string, error) {
	if key == nil {
		return "", gateway.Errorf(gateway.Internal, "signer: a key is needed")
	}
	return sign(key, payload, protected{Typ: h.Typ, Kid: h.Kid})
}

func sign(key crypto.Signer, payload []byte, head protected) (string, error) {
	alg, err := algorithmOf(key.Public())
	if err != nil {
		return "", gateway.Wrap(gateway.Internal, err, "signer")
	}
	head.Alg = alg
	raw, err := json.Marshal(head)
	if err != nil {
		return "", gateway.Wrap(gateway.Internal, err, "jws header")
	}
	var b strings.Builder
	b.Grow(base64.RawURLEncoding.EncodedLen(len(raw)+len(payload)) + 1024)
	b.WriteString(base64.RawURLEncoding.EncodeToString(raw))
	b.WriteByte('.')
	b.WriteString(base64.RawURLEncoding.EncodeToString(payload))
	signer, err := jws.NewSigner(jwa.SignatureAlgorithm(alg))
	if err != nil {
		return "", gateway.Wrap(gateway.Internal, err, "jws signer")
	}
	sig, err := signer.Sign([]byte(b.String()), key)
	if err != nil {
		return "", gateway.Wrap(gateway.Unavailable, err, "sign")
	}
	b.WriteByte('.')
	b.WriteString(base64.RawURLEncoding.EncodeToString(sig))
	return b.String(), nil
}

// Parsed is a compact JWS of which the form is right and the signature unchecked.
type Parsed struct {
	Alg     string
	X5T     string // x5t#S256: thumbprint of the certificate that signed; empty after ParseKeyed
	Typ     string
	Kid     string
	X5C     [][]byte // DER of the embedded chain, the first one's thumbprint equal to X5T; nil if there is none
	Payload []byte

	signed string // header and payload as received: what the signature is over
	sig    []byte
}

// ParseCompact reads a compact JWS of at most maxBytes whose header names its certificate by x5t#S256. It checks no signature.
// The error is of kind Invalid; errors.Is(err, ErrAlgorithm) if the algorithm is what is wrong.
func ParseCompact(s string, maxBytes int) (*Parsed, error) {
	return parseCompact(s, maxBytes, Algorithms())
}

func parseCompact(s string, maxBytes int, algorithms []string) (*Parsed, error) {
	p, err := parse(s, maxBytes, algorithms)
	if err != nil {
		return nil, err
	}
	if raw, err := decode64(p.X5T); err != nil || len(raw) != sha256.Size {
		return nil, gateway.Errorf(gateway.Invalid, "jws header x5t#S256: give base64url of the SHA-256 of the signing certificate")
	}
	if len(p.X5C) > 0 {
		if sum := sha256.Sum256(p.X5C[0]); base64.RawURLEncoding.EncodeToString(sum[:]) != p.X5T {
			return nil, gateway.Errorf(gateway.Invalid, "jws header x5c: its first certificate is not the one of x5t#S256")
		}
	}
	return p, nil
}

// ParseKeyed reads a compact JWS that names no certificate: that of an issuer whose keys the caller has.
func ParseKeyed(s string, maxBytes int) (*Parsed, error) {
	p, err := parse(s, maxBytes, Algorithms())
	if err != nil {
		return nil, err
	}
	if p.X5T != "" || p.X5C != nil {
		return nil, gateway.Errorf(gateway.Invalid, "jws header: x5t#S256 and x5c are not accepted here")
	}
	return p, nil
}

func parse(s string, maxBytes int, algorithms []string) (*Parsed, error) {
	if len(s) > maxBytes {
		return nil, gateway.Errorf(gateway.Invalid, "jws: %d bytes, at most %d are accepted", len(s), maxBytes)
	}
	head, rest, ok1 := strings.Cut(s, ".")
	body, tail, ok2 := strings.Cut(rest, ".")
	if !ok1 || !ok2 || strings.Contains(tail, ".") {
		return nil, gateway.Errorf(gateway.Invalid, "jws: give the compact form, three parts with dots between")
	}
	rawHead, err := decode64(head)
	if err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "jws header")
	}
	var h protected
	if err := Decode(rawHead, &h, AllowUnknown(), refuse(refusedHeaders)); err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "jws header")
	}
	if !slices.Contains(algorithms, h.Alg) {
		return nil, gateway.Wrap(gateway.Invalid, ErrAlgorithm, "jws header")
	}
	p := &Parsed{Alg: h.Alg, X5T: h.X5T, Typ: h.Typ, Kid: h.Kid, signed: s[:len(head)+1+len(body)]}
	if h.X5C != nil && len(h.X5C) == 0 {
		return nil, gateway.Errorf(gateway.Invalid, "jws header x5c: empty; leave it out")
	}
	if p.X5C, err = decodeChain(h.X5C); err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "jws header")
	}
	if p.Payload, err = decode64(body); err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "jws payload")
	}
	if p.sig, err = decode64(tail); err != nil || len(p.sig) == 0 {
		return nil, gateway.Errorf(gateway.Invalid, "jws signature: not base64url without padding")
	}
	return p, nil
}

// maxChain is the longest certificate chain that is read.
const maxChain = 5

func decodeChain(b64 []string) ([][]byte, error) {
	if len(b64) > maxChain {
		return nil, gateway.Errorf(gateway.Invalid, "x5c: %d certificates, at most %d are accepted", len(b64), maxChain)
	}
	var chain [][]byte
	for i, c := range b64 {
		der, err := base64.StdEncoding.Strict().DecodeString(c)
		if err != nil || strings.ContainsAny(c, "\r\n") || len(der) == 0 {
			return nil, gateway.Errorf(gateway.Invalid, "x5c[%d]: not base64 (RFC 7515, 4.1.6)", i)
		}
		chain = append(chain, der)
	}
	return chain, nil
}

// Chain parses the embedded chain. Who made it is unknown until the caller has verified it under a trust anchor.
func (p *Parsed) Chain() ([]*x509.Certificate, error) { return parseChain(p.X5C) }

func parseChain(ders [][]byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for i, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, gateway.Errorf(gateway.Invalid, "x5c[%d]: not an X.509 certificate", i)
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

// Verify checks that cert is the one that the header names and that its key made the signature. Whether cert may be trusted is
// the caller's business. The error is of kind Denied.
func (p *Parsed) Verify(cert *x509.Certificate) error {
	if cert == nil || p.X5T == "" || Thumbprint(cert) != p.X5T {
		return gateway.Errorf(gateway.Denied, "signature: x5t#S256 names another certificate")
	}
	if p.Alg == EdDSA || p.Alg == EdDSATree { // the certificate is that of the key that certified, also when it is an Ed25519 key itself
		return gateway.Wrap(gateway.Denied, ErrAlgorithm, "signature")
	}
	return p.VerifyKey(cert.PublicKey)
}

// VerifyKey checks the signature by a public key that the caller trusts. The error is of kind Denied.
func (p *Parsed) VerifyKey(pub crypto.PublicKey) error {
	if p.Alg == EdDSA || p.Alg == EdDSATree {
		key, ok := pub.(ed25519.PublicKey)
		if !ok {
			return gateway.Wrap(gateway.Denied, ErrAlgorithm, "signature")
		}
		return p.VerifyEdDSA(key, nil)
	}
	if err := fits(p.Alg, pub); err != nil {
		return gateway.Wrap(gateway.Denied, err, "signature")
	}
	verifier, err := jws.NewVerifier(jwa.SignatureAlgorithm(p.Alg))
	if err != nil {
		return gateway.Wrap(gateway.Denied, err, "signature")
	}
	if err := verifier.Verify([]byte(p.signed), p.sig, pub); err != nil {
		return notSigned()
	}
	return nil
}

func notSigned() error {
	return gateway.Errorf(gateway.Denied, "signature: not made by that key over this content")
}

// algorithmOf is the algorithm in which a key signs.
func algorithmOf(pub crypto.PublicKey) (string, error) {
	switch key := pub.(type) {
	case *rsa.PublicKey:
		if key.N != nil && key.N.BitLen() >= minRSABits && key.N.BitLen() <= maxRSABits {
			return "RS256", nil
		}
	case *ecdsa.PublicKey:
		if key.Curve != nil {
			switch key.Curve.Params().BitSize {
			case 256:
				return "ES256", nil
			case 384:
				return "ES384", nil
			case 521:
				return "ES512", nil
			}
		}
	}
	return "", gateway.Wrap(gateway.Invalid, ErrAlgorithm, "key: RSA of 2048 to 8192 bits, or ECDSA on P-256, P-384 or P-521")
}

func fits(alg string, pub crypto.PublicKey) error {
	want, err := algorithmOf(pub)
	if err != nil {
		return err
	}
	if alg == want || want == "RS256" && (alg == "RS384" || alg == "RS512") {
		return nil
	}
	return ErrAlgorithm
}

// Thumbprint is x5t#S256 and cnf: base64url of SHA-256 over the certificate's DER (RFC 7515, 4.1.8).
func Thumbprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// KeyThumbprint is the public-key thumbprint of an outway: 64 lowercase hex digits of SHA-256 over the DER SubjectPublicKeyInfo.
func KeyThumbprint(pub any) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", gateway.Errorf(gateway.Invalid, "public key: of no known type")
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// HasKey reports whether a certificate is of the key with this thumbprint.
func HasKey(cert *x509.Certificate, thumbprint string) bool {
	// The key as it stands in the certificate is nearly always the DER that is hashed; making that anew costs ten times as much.
	if sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo); hex.EncodeToString(sum[:]) == thumbprint {
		return true
	}
	made, err := KeyThumbprint(cert.PublicKey)
	return err == nil && made == thumbprint
}

// decode64 accepts canonical base64url without padding only, so that one value has one encoding.
func decode64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") { // the standard library skips these
		return nil, gateway.Errorf(gateway.Invalid, "not base64url without padding")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, gateway.Errorf(gateway.Invalid, "not base64url without padding")
	}
	return raw, nil
}

// sameKey reports whether two public keys are the same.
func sameKey(a, b crypto.PublicKey) bool {
	x, errX := x509.MarshalPKIXPublicKey(a)
	y, errY := x509.MarshalPKIXPublicKey(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
