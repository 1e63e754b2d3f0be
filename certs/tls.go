package certs

import (
	"crypto/tls"
	"crypto/x509"
	"slices"

	"github.com/grensloos/grensloos/gateway"
)

// Suites for TLS 1.2: ECDHE with authenticated encryption, what NCSC calls "goed" or "voldoende". TLS 1.3 has no other and is
// taken whenever both sides have it.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
}

// FSC Core demands HTTP/1.1 and allows HTTP/2. We speak the former: over kept connections it costs less, and it offers a stranger
// less to abuse.
var protocols = []string{"http/1.1"}

func baseTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: slices.Clone(suites), NextProtos: slices.Clone(protocols)}
}

// ServerTLS is for listeners on the group's network: a client certificate under the anchors is demanded. Every handshake, resumed
// ones too, meets the anchors, CRLs and identity of that moment.
func (g *Group) ServerTLS(id *Identity) *tls.Config {
	cfg := g.serverTLS(id)
	// Certificates stays empty: with it set, GetCertificate is ignored for clients without SNI.
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return g.serverTLS(id), nil }
	return cfg
}

func (g *Group) serverTLS(id *Identity) *tls.Config {
	t := g.trust.Load()
	cfg := baseTLS()
	cfg.Time = g.now
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	cfg.ClientCAs = t.roots
	cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return id.Pair().tls, nil }
	cfg.VerifyConnection = func(cs tls.ConnectionState) error { // runs on resumption, VerifyPeerCertificate does not
		_, _, err := g.PeerOf(&cs)
		return err
	}
	return cfg
}

// ClientTLS is for one call to a peer: the server must have a certificate under the anchors, not revoked, with the dialled name or
// IP address in its SAN, and, unless peer is empty, be that peer. An anchor that is removed or a CRL that is replaced counts for a
// config that was made before; an anchor that is added does not, so make a config per connection, as Transport does.
func (g *Group) ClientTLS(id *Identity, peer gateway.PeerID) *tls.Config {
	cfg := baseTLS()
	cfg.Time = g.now
	cfg.RootCAs = g.trust.Load().roots // TLS itself checks chain and SAN, VerifyConnection the rest
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return id.Pair().tls, nil }
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		return g.server(cs.PeerCertificates, peer)
	}
	return cfg
}

// server judges the chain of a server that we called.
func (g *Group) server(chain []*x509.Certificate, want gateway.PeerID) error {
	now := g.now()
	v, err := g.trust.Load().verify(chain, now, now, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return err
	}
	if want != "" && v.peer.ID != want {
		return gateway.Errorf(gateway.Denied, "server is peer %s, want %s: check the address of the peer", v.peer.ID, want)
	}
	return nil
}

// InternalServerTLS is for listeners on the own network: who calls is told by a JWT, not by a certificate.
func InternalServerTLS(id *Identity) *tls.Config {
	cfg := baseTLS()
	cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return id.Pair().tls, nil }
	return cfg
}

// InternalClientTLS is for callers on the own network: it trusts the peer's own internal CA in caFile (PEM), and nothing else.
func InternalClientTLS(caFile string) (*tls.Config, error) {
	cas, err := readCerts(caFile)
	if err != nil {
		return nil, err
	}
	cfg := baseTLS()
	cfg.RootCAs = x509.NewCertPool()
	for _, ca := range cas {
		cfg.RootCAs.AddCert(ca)
	}
	return cfg, nil
}
