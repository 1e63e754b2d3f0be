package verklaring

import (
	"crypto/x509"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

// Expect is what the receiver knows of the request from elsewhere: the connection, the verified token, the stored contract and
// the bytes that arrived. A zero value expects nothing and so accepts nothing.
type Expect struct {
	ClientCert *x509.Certificate // of the connection; or, where that is not at hand,
	Cnf        string            // its thumbprint from the verified token
	Audience   gateway.PeerID    // this peer
	Grant      gateway.Grant     // the grant of the verified token, valid now
	Transactie gateway.TransactionID
	Method     string
	Target     string // path as it arrived, with query
	BodyDigest string // Digest of the body that arrived
	Now        time.Time
	Skew       time.Duration // how far the clocks of peers may differ
	Keys       *Keys         // certified keys that were seen before; nil: none is remembered
}

// Verify accepts the verklaring that belongs to this request. Errors are of kind Denied and name the claim that differs.
func (e Expect) Verify(compact string) (*Verklaring, error) {
	if err := e.complete(); err != nil {
		return nil, err
	}
	v, signed, err := parse(compact, e.Keys, e.Now)
	if err != nil {
		return nil, err
	}
	cert, err := e.signer(signed)
	if err != nil {
		return nil, err
	}
	// What costs nothing to compare goes first; the signature is the dear part.
	if err := e.compare(v); err != nil {
		return nil, err
	}
	peer, err := gateway.PeerFrom(cert)
	if err != nil {
		return nil, gateway.Wrap(gateway.Denied, err, "verklaring")
	}
	if peer.ID != v.Issuer {
		return nil, differs("iss", "the peer of the certificate that signed")
	}
	if err := signed.Verify(cert); err != nil {
		return nil, gateway.Wrap(gateway.Denied, err, "verklaring")
	}
	e.Keys.keep(signed, e.Now)
	return v, nil
}

// signer gives the certificate whose key must have signed, or certified: the one that the connection and its token are bound to.
func (e Expect) signer(p *Signed) (*x509.Certificate, error) {
	want := e.Cnf
	if e.ClientCert != nil {
		want = jose.Thumbprint(e.ClientCert)
		if e.Cnf != "" && e.Cnf != want {
			return nil, differs("cnf", "the certificate of the connection")
		}
	}
	if want == "" || p.X5T() != want {
		return nil, differs("x5t#S256", "the certificate of the connection")
	}
	if e.ClientCert != nil {
		return e.ClientCert, nil
	}
	chain, err := p.Chain() // its first certificate hashes to x5t#S256, hence to cnf
	if err != nil {
		return nil, gateway.Wrap(gateway.Denied, err, "verklaring")
	}
	return chain[0], nil
}

func (e Expect) compare(v *Verklaring) error {
	g := e.Grant
	for _, c := range []struct{ claim, got, want, what string }{
		{"iss", string(v.Issuer), string(g.Outway), "the outway's peer of the grant"},
		{"aud", string(v.Audience), string(e.Audience), "this peer"},
		{"aud", string(v.Audience), string(g.ServicePeer), "the service's peer of the grant"},
		{"gth", string(v.GrantHash), string(g.Hash), "the grant of the token"},
		{"doel", string(v.Doel), string(g.Properties.Doel), "the purpose of the grant"},
		{"doelDigest", v.DoelDigest, g.Properties.DoelDigest, "that of the grant"},
		{"namensCollege", string(v.NamensCollege), string(g.Properties.NamensCollege), "that of the grant"},
		{"jti", string(v.Transactie), string(e.Transactie), "the transaction of this request"},
		{"htm", v.Method, e.Method, "the method of this request"},
		{"htu", v.Target, e.Target, "the path of this request"},
		{"bodyDigest", v.BodyDigest, e.BodyDigest, "that of the body of this request"},
	} {
		if c.got != c.want {
			return differs(c.claim, c.what)
		}
	}
	skew := max(e.Skew, 0)
	if v.IssuedAt.After(e.Now.Add(skew)) {
		return gateway.Errorf(gateway.Denied, "verklaring: iat: lies in the future")
	}
	if !e.Now.Add(-skew).Before(v.Expires) {
		return gateway.Errorf(gateway.Denied, "verklaring: exp: has passed")
	}
	return nil
}

func differs(claim, what string) error {
	return gateway.Errorf(gateway.Denied, "verklaring: %s: is not %s", claim, what)
}
