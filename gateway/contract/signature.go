package contract

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

// SignatureType says what a peer does with a contract.
type SignatureType string

// The types of signature of FSC Core.
const (
	Accept SignatureType = "accept"
	Reject SignatureType = "reject"
	Revoke SignatureType = "revoke"
)

// maxSignature is the longest compact JWS that is read, with room for an embedded chain.
const maxSignature = 32 << 10

// Signature is one peer's accept, reject or revoke of one contract.
type Signature struct {
	JWS      string
	Type     SignatureType
	Hash     gateway.ContentHash
	SignedAt time.Time
	X5T      string         // thumbprint of the certificate that signed
	Peer     gateway.PeerID // set by Verify; empty before

	parsed *jose.Parsed
}

type payload struct {
	Hash     string        `json:"contract_content_hash"`
	Type     SignatureType `json:"type"`
	SignedAt int64         `json:"signed_at"`
}

// Sign makes a signature over the hash of a contract.
func Sign(s *jose.Signer, hash gateway.ContentHash, t SignatureType, now time.Time) (string, error) {
	if _, err := ParseContentHash(string(hash)); err != nil {
		return "", err
	}
	if t != Accept && t != Reject && t != Revoke {
		return "", gateway.Errorf(gateway.Invalid, "signature type: give accept, reject or revoke")
	}
	raw, err := json.Marshal(payload{Hash: string(hash), Type: t, SignedAt: now.Unix()})
	if err != nil {
		return "", gateway.Wrap(gateway.Internal, err, "signature")
	}
	return jose.Sign(s, raw, jose.Header{})
}

// ParseSignature reads a signature without verifying it. The error is of kind Invalid with a code of FSC Core.
func ParseSignature(compact string) (*Signature, error) {
	p, err := jose.ParseCompact(compact, maxSignature)
	if err != nil {
		code := CodeSignature
		if errors.Is(err, jose.ErrAlgorithm) {
			code = CodeUnknownSignatureAlg
		}
		return nil, &gateway.Error{Kind: gateway.Invalid, Code: code, Message: "signature", Cause: err}
	}
	var body payload
	if err := jose.Decode(p.Payload, &body); err != nil {
		return nil, &gateway.Error{Kind: gateway.Invalid, Code: CodeSignature, Message: "signature payload", Cause: err}
	}
	hash, err := ParseContentHash(body.Hash)
	if err != nil {
		code := CodeSignature
		if c := gateway.CodeOf(err); c != "" {
			code = c
		}
		return nil, &gateway.Error{Kind: gateway.Invalid, Code: code, Message: "signature contract_content_hash", Cause: err}
	}
	if body.Type != Accept && body.Type != Reject && body.Type != Revoke {
		return nil, gateway.WithCode(gateway.Invalid, CodeSignature, "signature type: give accept, reject or revoke")
	}
	if body.SignedAt <= 0 {
		return nil, gateway.WithCode(gateway.Invalid, CodeSignature, "signature signed_at: give unix seconds")
	}
	return &Signature{
		JWS: compact, Type: body.Type, Hash: hash, SignedAt: time.Unix(body.SignedAt, 0), X5T: p.X5T, parsed: p,
	}, nil
}

// Chain is the certificate chain that the signature carries, if any; nobody has verified it yet.
func (s *Signature) Chain() ([]*x509.Certificate, error) {
	if s.parsed == nil {
		return nil, nil
	}
	return s.parsed.Chain()
}

// Verify checks that the signature is over want, by the key of cert, and fills in Peer. The caller has verified the chain of
// cert under a trust anchor of the group, and at which moment. The error is of kind Invalid with a code of FSC Core.
func (s *Signature) Verify(cert *x509.Certificate, want gateway.ContentHash) error {
	s.Peer = ""
	if s.parsed == nil {
		again, err := ParseSignature(s.JWS)
		if err != nil {
			return err
		}
		*s = *again
	}
	if want == "" || s.Hash != want {
		return gateway.WithCode(gateway.Invalid, CodeHashMismatch, "signature contract_content_hash: is not the hash of this content")
	}
	if err := s.parsed.Verify(cert); err != nil {
		code := CodeSignature
		if errors.Is(err, jose.ErrAlgorithm) {
			code = CodeUnknownSignatureAlg
		}
		return &gateway.Error{Kind: gateway.Invalid, Code: code, Cause: err}
	}
	peer, err := gateway.PeerFrom(cert)
	if err != nil {
		return &gateway.Error{Kind: gateway.Invalid, Code: CodePeerCertificate, Message: "signature", Cause: err}
	}
	s.Peer = peer.ID
	return nil
}

// SignedBy checks that a verified signature is that of the peer that submits it.
func (s *Signature) SignedBy(submitter gateway.PeerID) error {
	if s.Peer == "" || s.Peer != submitter {
		return gateway.WithCode(gateway.Invalid, CodePeerMismatch, "signature: is not that of peer %s, which submits it", submitter)
	}
	return nil
}

// Is checks the type that a Manager's path demands.
func (s *Signature) Is(t SignatureType) error {
	if s.Type != t {
		return gateway.WithCode(gateway.Invalid, CodeSignature, "signature type: want %s", t)
	}
	return nil
}
