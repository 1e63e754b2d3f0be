package verklaring

import (
	"context"
	"crypto/x509"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

// proof is a verklaring of which the signature was verified: these bytes, by the key of this certificate. It says nothing else.
type proof struct {
	compact string
	cert    *x509.Certificate
	v       Verklaring
}

type proofKey struct{}

// Verified is a context that tells a service in this process, of this very request, which verklaring had a good signature, so that it
// need not verify that a second time. v is what Verify gave for compact under cert.
func Verified(ctx context.Context, compact string, cert *x509.Certificate, v Verklaring) context.Context {
	return context.WithValue(ctx, proofKey{}, proof{compact, cert, v})
}

// VerifyOnce is Verify for a service that may stand behind an inway in the same process: of the same bytes under the same certificate it
// takes the signature as verified. All that the verklaring is held to is held to it again. What comes from elsewhere is verified whole.
func (e Expect) VerifyOnce(ctx context.Context, compact string) (*Verklaring, error) {
	p, ok := ctx.Value(proofKey{}).(proof)
	if !ok || p.compact != compact || e.ClientCert == nil || !e.ClientCert.Equal(p.cert) {
		return e.Verify(compact)
	}
	if err := e.complete(); err != nil {
		return nil, err
	}
	if e.Cnf != "" && e.Cnf != jose.Thumbprint(e.ClientCert) {
		return nil, differs("cnf", "the certificate of the connection")
	}
	if err := e.compare(&p.v); err != nil {
		return nil, err
	}
	return &p.v, nil
}

// complete refuses to expect nothing.
func (e Expect) complete() error {
	if e.Audience == "" || e.Grant.Hash == "" || !e.Grant.IsDoelgebonden() || e.Transactie == "" || e.BodyDigest == "" || e.Now.IsZero() {
		return gateway.Errorf(gateway.Denied, "verklaring: nothing to hold it against")
	}
	return nil
}
