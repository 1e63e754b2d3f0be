package edge

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
)

// serveRaw answers every request with its method, target and body, and counts them; the client writes bytes, not requests.
func serveRaw(t *testing.T) (send func(raw string) string) {
	t.Helper()
	srv := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target, err := Target(r)
		if err == nil {
			err = CheckHop(r)
		}
		if err != nil {
			WriteProblem(w, r, err)
			return
		}
		body, err := ReadBody(w, r, MaxBody)
		if err != nil {
			WriteProblem(w, r, err)
			return
		}
		_, _ = io.WriteString(w, "<"+r.Method+" "+target+" "+string(body)+">")
	}), nil, slog.New(slog.DiscardHandler))
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return func(raw string) string {
		t.Helper()
		var dial net.Dialer
		conn, err := dial.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, raw); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		answer, _ := io.ReadAll(bufio.NewReader(conn)) // a reset is an answer too
		return string(answer)
	}
}

// TestSmuggling sends requests of which two readers could see different ends, names or targets. Each is refused, or read in one way
// that shows no second request.
func TestSmuggling(t *testing.T) {
	send := serveRaw(t)
	const head = "POST /a HTTP/1.1\r\nHost: x\r\n"
	for _, tc := range []struct{ name, raw, want string }{
		{"two lengths", head + "Content-Length: 3\r\nContent-Length: 30\r\n\r\nabcGET /b HTTP/1.1\r\nHost: x\r\n\r\n", " 400 "},
		{"a length with a sign", head + "Content-Length: +3\r\n\r\nabc", " 400 "},
		{"a length and chunks that end before it", head + "Content-Length: 60\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n", "<POST /a >"},
		{"chunked twice", head + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", " 501 "},
		{"a coding in disguise", head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", " 501 "},
		{"a space before the colon", head + "Content-Length : 3\r\n\r\nabc", " 400 "},
		{"a header without a name", head + ": x\r\n\r\n", " 400 "},
		{"two hosts", head + "Host: y\r\n\r\n", " 400 "},
		{"no host", "GET /a HTTP/1.1\r\n\r\n", " 400 "},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", " 400 "},
		{"CONNECT", "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\nConnection: close\r\n\r\n", " 400 "},
		{"an opaque target", "GET mailto:x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", " 400 "},
		{"Upgrade", "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\r\n", " 400 "},
		{"HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", " 400 "},
		{"a trailer of ours", head + "Transfer-Encoding: chunked\r\nConnection: close\r\nTrailer: Fsc_Authorization\r\n\r\n0\r\nFsc_Authorization: x\r\n\r\n", " 400 "},
		{"a hop header that names ours with underscores", head + "Content-Length: 0\r\nConnection: close, Fsc_Transaction_Id\r\n\r\n", " 400 "},
	} {
		got := send(tc.raw)
		if !strings.Contains(got, tc.want) || strings.Contains(got, "/b") {
			t.Errorf("%s: got %q, want %q, and nothing of a second request", tc.name, got, tc.want)
		}
	}
}

// TestHugeHeaders keeps what a stranger can make us hold per request within MaxHeaderBytes.
func TestHugeHeaders(t *testing.T) {
	send := serveRaw(t)
	if got := send("GET /a HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 2*MaxHeaderBytes) + "\r\n\r\n"); !strings.Contains(got, " 431 ") {
		t.Errorf("one long header: got %.40q, want 431", got)
	}
	if got := send("GET /a HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", MaxHeaderBytes/4) + "\r\n"); !strings.Contains(got, " 431 ") {
		t.Errorf("many headers: got %.40q, want 431", got)
	}
	if got := send("GET /" + strings.Repeat("y", 2*MaxHeaderBytes) + " HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.Contains(got, " 431 ") && !strings.Contains(got, " 414 ") {
		t.Errorf("a long target: got %.40q, want 431", got)
	}
}
