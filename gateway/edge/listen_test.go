package edge

import (
	"log/slog"
	"net"
	"testing"
	"time"
)

// TestLimitListener: who takes too many connections gets no more of them, takes none of the others', and has them back when it closes.
func TestLimitListener(t *testing.T) {
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := LimitListener(inner, 4, 2, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { l.Close() })
	accepted := make(chan net.Conn, 16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := c.Write([]byte{1}); err == nil {
				accepted <- c
			}
		}
	}()
	// dial reports whether the listener took the connection: it says so with a byte.
	dial := func(from string) bool {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
		c, err := d.DialContext(t.Context(), "tcp", inner.Addr().String())
		if err != nil {
			return false
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, _ := c.Read(make([]byte, 1))
		return n == 1
	}
	for i, step := range []struct {
		from string
		want bool
	}{
		{"127.0.0.1", true},
		{"127.0.0.1", true},
		{"127.0.0.1", false}, // its share
		{"127.0.0.2", true},
		{"127.0.0.3", true},
		{"127.0.0.4", false}, // all
	} {
		if got := dial(step.from); got != step.want {
			t.Fatalf("connection %d from %s: taken %v, want %v", i+1, step.from, got, step.want)
		}
	}
	first := <-accepted
	_ = first.Close()
	_ = first.Close() // gives back one place, not two
	if !dial("127.0.0.1") {
		t.Error("a place that was given back can't be taken")
	}
	if dial("127.0.0.1") {
		t.Error("closing twice gave two places")
	}
}
