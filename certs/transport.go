package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Limits of calls to other peers. How long an answer may take is up to the context of the call.
const (
	dialTimeout     = 5 * time.Second // TCP and TLS together
	idleTimeout     = 90 * time.Second
	maxPerPeer      = 64 // connections to one address of a peer, in use or kept; a call beyond it waits for one
	maxHeaderAnswer = 64 << 10
	peerBuffer      = 8 << 10 // the head of a question, with token and verklaring, is 6 kB: one write, one TLS record
)

// Transport calls other peers over mTLS with one identity. It keeps connections per peer, takes over new trust and a new
// certificate without a restart, and dials only ports that the group allows.
type Transport struct {
	group *Group
	id    *Identity

	mu    sync.Mutex
	peers map[gateway.PeerID]*peerTransport // guarded by mu
}

// Transport makes a Transport that shows id.
func (g *Group) Transport(id *Identity) *Transport {
	return &Transport{group: g, id: id, peers: map[gateway.PeerID]*peerTransport{}}
}

// To calls one peer: a server that turns out to be another gets nothing but a handshake. An empty peer means any peer of the
// group. The result is kept, so ask for it per call.
func (t *Transport) To(peer gateway.PeerID) http.RoundTripper {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peers[peer]
	if p == nil {
		p = &peerTransport{
			group: t.group, id: t.id, most: maxPerPeer,
			allowed: func(port int) bool { return t.group.rules.AllowsPort(port) },
			config:  func() *tls.Config { return t.group.ClientTLS(t.id, peer) },
		}
		t.peers[peer] = p
	}
	return p
}

// RoundTrip calls any peer of the group.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) { return t.To("").RoundTrip(r) }

// CloseIdleConnections closes what is kept open and not in use.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.peers {
		p.CloseIdleConnections()
	}
}

// peerTransport keeps the connections to one peer, or to one role of our own, that were made with one certificate.
type peerTransport struct {
	group   *Group
	id      *Identity
	most    int // connections to one address
	allowed func(port int) bool
	config  func() *tls.Config // of one connection, without a server name

	mu   sync.Mutex
	leaf *x509.Certificate // guarded by mu
	http *http.Transport   // guarded by mu
}

// RoundTrip implements http.RoundTripper.
func (p *peerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return p.current().RoundTrip(r)
}

func (p *peerTransport) CloseIdleConnections() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.http != nil {
		p.http.CloseIdleConnections()
	}
}

// current gives connections that show the certificate of now. A token is bound to a certificate, so connections that show the one
// of before end with the call they are in.
func (p *peerTransport) current() *http.Transport {
	pair := p.id.Pair()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.http == nil || p.leaf != pair.Cert() {
		if p.http != nil {
			p.http.CloseIdleConnections()
		}
		p.leaf = pair.Cert()
		p.http = &http.Transport{
			DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return p.dial(ctx, network, addr, pair)
			},
			DialContext:            noPlain,
			MaxConnsPerHost:        p.most,
			MaxIdleConnsPerHost:    p.most,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxHeaderAnswer,
			WriteBufferSize:        peerBuffer,
			ReadBufferSize:         peerBuffer,
			DisableCompression:     true, // what passes is passed on as it is
		}
	}
	return p.http
}

func noPlain(context.Context, string, string) (net.Conn, error) {
	return nil, gateway.Errorf(gateway.Invalid, "address of a peer: use https")
}

func (p *peerTransport) dial(ctx context.Context, network, addr string, pair *Pair) (net.Conn, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "address of a peer")
	}
	if port, err := strconv.Atoi(portText); err != nil || !p.allowed(port) {
		return nil, gateway.Errorf(gateway.Denied, "address of a peer: group %s does not allow port %s", p.group.rules.ID, portText)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, gateway.Wrap(gateway.Unavailable, err, "peer not reached")
	}
	cfg := p.config()
	cfg.ServerName = host
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.tls, nil }
	watched := &watchedConn{Conn: raw}
	conn := tls.Client(watched, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, p.group.explainHandshake(err, host)
	}
	p.group.conns.add(conn, false)
	watched.closed(func() { p.group.conns.remove(conn) })
	if err := p.group.judgeConn(conn, false); err != nil { // the trust may have changed before add
		_ = watched.Close()
		return nil, err
	}
	return conn, nil
}

// explainHandshake classifies why a handshake with a server ended.
func (g *Group) explainHandshake(err error, host string) error {
	if e, ok := errors.AsType[*gateway.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return gateway.Wrap(gateway.Denied, e, "server certificate is not for the address dialled, "+host)
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return g.trust.Load().explain(e.Err, g.now())
	}
	return gateway.Wrap(gateway.Unavailable, err, "handshake with peer")
}

// watchedConn tells once that it was closed.
type watchedConn struct {
	net.Conn
	tell atomic.Pointer[func()]
}

func (c *watchedConn) closed(tell func()) { c.tell.Store(&tell) }

func (c *watchedConn) Close() error {
	if tell := c.tell.Swap(nil); tell != nil {
		(*tell)()
	}
	return c.Conn.Close()
}
