package verklaring

import (
	"encoding/base64"
	"encoding/json"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

// concept is what a service says of its answer to the inway that signs for it: the part of a kwitantie that the inway can't know.
type concept struct {
	Transactie   gateway.TransactionID     `json:"jti"`
	Uitkomst     map[gateway.Dienst]string `json:"uitkomst,omitempty"`
	VeldenDigest string                    `json:"veldenDigest,omitempty"`
	Aantal       int                       `json:"aantal,omitempty"`
}

// Concept is the draft of a kwitantie, for the header KwitantieHeader on the way from a service without a key to the inway of its own
// peer. It is no kwitantie to anybody else.
func (k Kwitantie) Concept() (string, error) {
	if err := k.check(); err != nil {
		return "", gateway.Wrap(gateway.Invalid, err, "kwitantie")
	}
	raw, err := json.Marshal(concept{k.Transactie, k.Uitkomst, k.VeldenDigest, k.Aantal})
	return base64.RawURLEncoding.EncodeToString(raw), gateway.Wrap(gateway.Internal, err, "kwitantie")
}

// Complete puts into k what a draft says of the answer. The rest of k stays; the transaction must be the same. The error is of kind
// Denied.
func (k *Kwitantie) Complete(drafts []string) error {
	if len(drafts) != 1 || len(drafts[0]) > MaxBytes {
		return gateway.Errorf(gateway.Denied, "kwitantie: draft: want one, of at most %d bytes", MaxBytes)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(drafts[0])
	if err != nil {
		return gateway.Errorf(gateway.Denied, "kwitantie: draft: is not base64url")
	}
	var c concept
	if err := jose.Decode(raw, &c); err != nil {
		return gateway.Wrap(gateway.Denied, err, "kwitantie: draft")
	}
	if c.Transactie != k.Transactie {
		return gateway.Errorf(gateway.Denied, "kwitantie: draft: is of another transaction")
	}
	k.Uitkomst, k.VeldenDigest, k.Aantal = c.Uitkomst, c.VeldenDigest, c.Aantal
	return nil
}
