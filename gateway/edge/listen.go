package edge

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// The connections that a listener holds at a time: in all, and from one address. An outway of ours makes at most 64 to one inway.
const (
	MaxConns     = 4096
	MaxHostConns = 1024
)

// fullLogEvery is how often a listener says that it is full.
const fullLogEvery = time.Minute

// LimitListener bounds how many connections of l are open at a time: most in all and perHost from one address (IPv6: one /64), so
// that a stranger takes neither all files of the process nor the place of the others. One too many is closed at once.
func LimitListener(l net.Listener, most, perHost int, log *slog.Logger) net.Listener {
	return &limitedListener{Listener: l, most: most, perHost: perHost, log: log, open: map[netip.Prefix]int{}}
}

type limitedListener struct {
	net.Listener
	most, perHost int
	log           *slog.Logger

	mu     sync.Mutex // guards what follows
	all    int
	open   map[netip.Prefix]int
	logged time.Time
}

// Accept gives the next connection for which there is room.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok {
			return c, nil
		}
		host := hostOf(tcp.RemoteAddr())
		if l.take(host) {
			return &limitedConn{TCPConn: tcp, free: sync.OnceFunc(func() { l.free(host) })}, nil
		}
		_ = tcp.SetLinger(0)
		_ = tcp.Close()
	}
}

func hostOf(addr net.Addr) netip.Prefix {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	host, _ := ip.Prefix(bits)
	return host
}

func (l *limitedListener) take(host netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all < l.most && l.open[host] < l.perHost {
		l.all++
		l.open[host]++
		return true
	}
	if now := time.Now(); now.Sub(l.logged) >= fullLogEvery {
		l.logged = now
		l.log.LogAttrs(context.Background(), slog.LevelWarn, "connections refused: too many are open",
			slog.String("from", host.String()), slog.Int("of", l.open[host]), slog.Int("all", l.all))
	}
	return false
}

func (l *limitedListener) free(host netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.open[host]--; l.open[host] == 0 {
		delete(l.open, host)
	}
}

// limitedConn gives its place back when it closes.
type limitedConn struct {
	*net.TCPConn
	free func()
}

// Close closes the connection.
func (c *limitedConn) Close() error {
	defer c.free()
	return c.TCPConn.Close()
}
