package manager

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/grensloos/grensloos/gateway/jose"
)

// certificates keeps the certificates with which the processes of this peer sign contracts and tokens, leaf first: gateway/store.
type certificates interface {
	PutCertificate(ctx context.Context, chain []*x509.Certificate, now time.Time) error
	Certificates(ctx context.Context, now time.Time) ([][]*x509.Certificate, error)
}

// publish makes the certificate of s known to the other processes of this peer before anything that it signed leaves: an inway finds
// there whose token it is, and any of our managers gives it to who asks for our keys.
func (m *Manager) publish(ctx context.Context, s *jose.Signer) error {
	x5t := jose.Thumbprint(s.Cert)
	if m.o.Certificates == nil || m.published.Load() == any(x5t) {
		return nil
	}
	if err := m.o.Certificates.PutCertificate(ctx, chainOf(s), m.o.Now()); err != nil {
		return err
	}
	m.published.Store(x5t)
	return nil
}
