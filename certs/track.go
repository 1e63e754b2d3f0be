package certs

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
)

// registry holds the open connections of a group, both ways, so that they can be cut.
type registry struct {
	mu    sync.Mutex
	conns map[*tls.Conn]*tracked // guarded by mu
}

type tracked struct {
	in       bool // came in: the other end is a client
	hijacked bool // net/http no longer tells when it closes
}

func (r *registry) add(c *tls.Conn, in bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		r.conns = map[*tls.Conn]*tracked{}
	}
	if r.conns[c] == nil {
		r.conns[c] = &tracked{in: in}
	}
}

func (r *registry) remove(c *tls.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

func (r *registry) hijack(c *tls.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.conns[c]; t != nil {
		t.hijacked = true
	}
}

func (r *registry) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns)
}

// Track makes reloads close the open connections of srv whose peer is no longer trusted, in the middle of a request if need be.
// Call it before srv serves, and after its ConnState is set: that hook keeps being called.
func (g *Group) Track(srv *http.Server) {
	before := srv.ConnState
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		if tc, ok := c.(*tls.Conn); ok {
			switch state {
			case http.StateActive: // the handshake is done
				g.conns.add(tc, true)
			case http.StateHijacked:
				g.conns.hijack(tc)
			case http.StateClosed:
				g.conns.remove(tc)
			case http.StateNew, http.StateIdle:
			}
		}
		if before != nil {
			before(c, state)
		}
	}
}

// cut closes every connection that would not be made now.
func (g *Group) cut() {
	g.conns.mu.Lock()
	open := make(map[*tls.Conn]tracked, len(g.conns.conns))
	for c, t := range g.conns.conns {
		open[c] = *t
	}
	g.conns.mu.Unlock()
	for c, t := range open {
		err := g.judgeConn(c, t.in)
		if err == nil {
			if t.hijacked && closed(c.NetConn()) {
				g.conns.remove(c)
			}
			continue
		}
		_ = c.NetConn().Close() // not c.Close, which waits to send an alert
		g.conns.remove(c)
		g.log.Warn("connection closed: the peer's certificate is no longer trusted", slog.Bool("incoming", t.in), slog.Any("error", err))
	}
}

func (g *Group) judgeConn(c *tls.Conn, in bool) error {
	use := x509.ExtKeyUsageServerAuth
	if in {
		use = x509.ExtKeyUsageClientAuth
	}
	if in && g.who != nil && len(c.ConnectionState().PeerCertificates) == 0 {
		return nil // on the own network a caller need not show one
	}
	now := g.now()
	_, err := g.trust.Load().verify(c.ConnectionState().PeerCertificates, now, now, use)
	return err
}

func closed(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	return err != nil || raw.Control(func(uintptr) {}) != nil
}
