package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// serve answers with the peer that PeerOf tells, on a listener of the group.
func (r *region) serve(id *Identity, change ...func(*http.Server)) *httptest.Server {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		peer, _, err := r.group.PeerOf(q.TLS)
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, string(peer.ID))
	}))
	srv.TLS = r.group.ServerTLS(id)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	for _, c := range change {
		c(srv.Config)
	}
	srv.StartTLS()
	r.t.Cleanup(srv.Close)
	r.allow(srv)
	return srv
}

// allow lets the group use the port of a test server.
func (r *region) allow(srv *httptest.Server) {
	at, err := url.Parse(srv.URL)
	must(r.t, err)
	port, err := strconv.Atoi(at.Port())
	must(r.t, err)
	r.group.rules.Ports = append(r.group.rules.Ports, port)
}

func client(t *testing.T, cfg *tls.Config) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: cfg}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

// ask gives status and body.
func ask(c *http.Client, at string) (int, string, error) {
	res, err := c.Get(at)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

func wantPeer(t *testing.T, c *http.Client, at string, want gateway.PeerID) {
	t.Helper()
	status, body, err := ask(c, at)
	must(t, err)
	if status != http.StatusOK || body != string(want) {
		t.Fatalf("got %d %q, want 200 %q", status, body, want)
	}
}

func TestServerTLS(t *testing.T) {
	r, other := newRegion(t), newRegion(t)
	id, _ := r.identity(borne)
	asker, _ := r.identity(uwi)
	srv := r.serve(id)
	wantPeer(t, client(t, r.group.ClientTLS(asker, borne)), srv.URL, uwi)

	foreign, _ := other.identity(uwi)
	expired, _ := r.identity(uwi, func(q *Request) { q.Now, q.Days = t0.AddDate(0, 0, -9), 1 })
	revoked, made := r.identity(uwi)
	r.revoke(made.CertFile)
	must(t, r.group.Reload())
	for name, who := range map[string]*Identity{"foreign": foreign, "expired": expired, "revoked": revoked} {
		t.Run(name, func(t *testing.T) {
			status, body, err := ask(client(t, r.group.ClientTLS(who, "")), srv.URL)
			if err == nil {
				t.Errorf("got %d %q, want a refused handshake", status, body)
			}
		})
	}
	t.Run("no certificate", func(t *testing.T) {
		cfg := r.group.ClientTLS(asker, "")
		cfg.GetClientCertificate = nil
		if status, body, err := ask(client(t, cfg), srv.URL); err == nil {
			t.Errorf("got %d %q, want a refused handshake", status, body)
		}
	})
}

// TLS versions and suites: 1.3 when both have it, 1.2 with ECDHE-AEAD else, nothing lower.
func TestTLSMatrix(t *testing.T) {
	r := newRegion(t)
	asker, _ := r.identity(uwi)
	for _, key := range []KeyType{ECDSAP256, RSA3072} {
		id, _ := r.identity(borne, func(q *Request) { q.KeyType = key })
		srv := r.serve(id)
		tests := []struct {
			name     string
			min, max uint16
			suites   []uint16
			want     uint16 // version; 0: refused
		}{
			{"all", 0, 0, nil, tls.VersionTLS13},
			{"1.2", 0, tls.VersionTLS12, nil, tls.VersionTLS12},
			{"1.1", tls.VersionTLS10, tls.VersionTLS11, nil, 0},
			{"1.0", tls.VersionTLS10, tls.VersionTLS10, nil, 0},
			{"1.2 without forward secrecy", 0, tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}, 0},
			{"1.2 with CBC", 0, tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}, 0},
		}
		for _, tt := range tests {
			t.Run(string(key)+" "+tt.name, func(t *testing.T) {
				cfg := r.group.ClientTLS(asker, borne)
				cfg.MinVersion, cfg.MaxVersion, cfg.CipherSuites = tt.min, tt.max, tt.suites
				cfg.ServerName = "localhost"
				conn, err := tls.Dial("tcp", srv.Listener.Addr().String(), cfg)
				if tt.want == 0 {
					if err == nil {
						t.Fatalf("got version %x suite %s, want refused", conn.ConnectionState().Version, tls.CipherSuiteName(conn.ConnectionState().CipherSuite))
					}
					return
				}
				must(t, err)
				defer conn.Close()
				cs := conn.ConnectionState()
				if cs.Version != tt.want {
					t.Errorf("got version %x, want %x", cs.Version, tt.want)
				}
				if cs.Version == tls.VersionTLS12 && !slices.Contains(suites, cs.CipherSuite) {
					t.Errorf("got suite %s", tls.CipherSuiteName(cs.CipherSuite))
				}
			})
		}
	}
	t.Run("each line of defence by itself", func(t *testing.T) {
		id, _ := r.identity(borne)
		for _, cfg := range []*tls.Config{r.group.ServerTLS(id), r.group.ClientTLS(asker, ""), InternalServerTLS(id)} {
			if cfg.MinVersion != tls.VersionTLS12 || !slices.Equal(cfg.CipherSuites, suites) {
				t.Errorf("got version %x and suites %x", cfg.MinVersion, cfg.CipherSuites)
			}
		}
		if got := r.group.ServerTLS(id).ClientAuth; got != tls.RequireAndVerifyClientCert {
			t.Errorf("got client authentication %s", got)
		}
	})
	t.Run("as a client", func(t *testing.T) {
		id, _ := r.identity(borne)
		srv := httptest.NewUnstartedServer(http.NotFoundHandler())
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{*id.Pair().tls}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
		srv.StartTLS()
		defer srv.Close()
		if _, _, err := ask(client(t, r.group.ClientTLS(asker, borne)), srv.URL); err == nil {
			t.Error("spoke TLS 1.1 to a server")
		}
	})
}

// The server that we call must be who we meant, at the address that we dialled.
func TestClientTLS(t *testing.T) {
	r, other := newRegion(t), newRegion(t)
	asker, _ := r.identity(uwi)
	good, _ := r.identity(borne)
	foreign, _ := other.identity(borne)
	elsewhere, _ := r.identity(borne, func(q *Request) { q.Hosts, q.IPs = []string{"borne.example"}, nil })
	revoked, made := r.identity(borne)
	expired, _ := r.identity(borne, func(q *Request) { q.Now, q.Days = t0.AddDate(0, 0, -9), 1 })
	r.revoke(made.CertFile)
	must(t, r.group.Reload())
	tests := []struct {
		name   string
		server *Identity
		peer   gateway.PeerID
		kind   gateway.Kind
		want   string
	}{
		{"another peer", good, uwi, gateway.Denied, "server is peer 00000099000000147000, want 00000099900000001000"},
		{"another group", foreign, borne, gateway.Denied, "not issued under an anchor"},
		{"another address", elsewhere, borne, gateway.Denied, "not for the address dialled, 127.0.0.1"},
		{"revoked", revoked, borne, gateway.Denied, "is revoked"},
		{"expired", expired, borne, gateway.Denied, "expired on 2026-11-15"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := r.serve(tt.server)
			c := &http.Client{Transport: r.group.Transport(asker).To(tt.peer)}
			_, _, err := ask(c, srv.URL)
			wantError(t, err, tt.kind, tt.want)
			if _, _, err := ask(client(t, r.group.ClientTLS(asker, tt.peer)), srv.URL); err == nil {
				t.Error("the plain config let it pass")
			}
		})
	}
	t.Run("by name and by address", func(t *testing.T) {
		srv := r.serve(good)
		at, err := url.Parse(srv.URL)
		must(t, err)
		tr := r.group.Transport(asker)
		wantPeer(t, &http.Client{Transport: tr.To(borne)}, srv.URL, uwi)
		wantPeer(t, &http.Client{Transport: tr}, "https://localhost:"+at.Port(), uwi)
		tr.CloseIdleConnections()
	})
}

// countConns counts the connections that a server took.
func countConns(n *atomic.Int32) func(*http.Server) {
	return func(srv *http.Server) {
		srv.ConnState = func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				n.Add(1)
			}
		}
	}
}

func TestRevokedWhileConnectionIsOpen(t *testing.T) {
	t.Run("per request", func(t *testing.T) {
		r := newRegion(t)
		id, _ := r.identity(borne)
		asker, made := r.identity(uwi)
		var conns atomic.Int32
		srv := r.serve(id, countConns(&conns))
		c := client(t, r.group.ClientTLS(asker, borne))
		wantPeer(t, c, srv.URL, uwi)
		r.revoke(made.CertFile)
		must(t, r.group.Reload())
		status, body, err := ask(c, srv.URL)
		must(t, err)
		if want := "certificate of 00000099900000001000 is revoked: ask \"Proefregio intermediate\" for a new one\n"; status != http.StatusForbidden || body != want {
			t.Errorf("got %d %q, want 403 %q", status, body, want)
		}
		if got := conns.Load(); got != 1 {
			t.Errorf("got %d connections, want 1: the test must ask over the open one", got)
		}
	})
	t.Run("cut in the middle of an answer", func(t *testing.T) {
		r := newRegion(t)
		id, _ := r.identity(borne)
		asker, made := r.identity(uwi)
		stays, _ := r.identity(borne)
		var conns atomic.Int32
		ended := make(chan error, 1)
		srv := r.serve(id, countConns(&conns), r.group.Track, func(srv *http.Server) {
			peers := srv.Handler
			srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if q.URL.Path != "/lang" {
					peers.ServeHTTP(w, q)
					return
				}
				w.WriteHeader(http.StatusOK)
				must(t, http.NewResponseController(w).Flush())
				<-q.Context().Done() // net/http ends it when the connection is gone
				ended <- q.Context().Err()
			})
		})
		keeps := client(t, r.group.ClientTLS(stays, borne))
		wantPeer(t, keeps, srv.URL, borne)
		res, err := client(t, r.group.ClientTLS(asker, borne)).Get(srv.URL + "/lang")
		must(t, err)
		defer res.Body.Close()
		r.revoke(made.CertFile)
		must(t, r.group.Reload())
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the request cancelled", err)
		}
		if rest, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("got a complete answer %q, want a broken connection", rest)
		}
		before := conns.Load() // also shows that Track kept the hook that was there
		wantPeer(t, keeps, srv.URL, borne)
		if after := conns.Load(); before != 2 || after != before {
			t.Errorf("got %d then %d connections, want 2 and 2: other peers keep theirs", before, after)
		}
	})
	t.Run("closed connections are forgotten", func(t *testing.T) {
		r := newRegion(t)
		id, _ := r.identity(borne)
		asker, _ := r.identity(uwi)
		closed := make(chan struct{})
		srv := r.serve(id, func(srv *http.Server) {
			srv.ConnState = func(_ net.Conn, s http.ConnState) {
				if s == http.StateClosed {
					close(closed)
				}
			}
		}, r.group.Track)
		c := client(t, r.group.ClientTLS(asker, borne))
		wantPeer(t, c, srv.URL, uwi)
		if got := r.group.conns.len(); got != 1 {
			t.Errorf("got %d connections in the registry, want 1", got)
		}
		c.CloseIdleConnections()
		<-closed
		if got := r.group.conns.len(); got != 0 {
			t.Errorf("got %d connections in the registry, want 0", got)
		}
	})
	t.Run("server", func(t *testing.T) {
		r := newRegion(t)
		id, made := r.identity(borne)
		asker, _ := r.identity(uwi)
		srv := r.serve(id)
		c := &http.Client{Transport: r.group.Transport(asker).To(borne)}
		wantPeer(t, c, srv.URL, uwi)
		if got := r.group.conns.len(); got != 1 {
			t.Fatalf("got %d connections in the registry, want 1", got)
		}
		r.revoke(made.CertFile)
		must(t, r.group.Reload())
		if got := r.group.conns.len(); got != 0 {
			t.Errorf("got %d connections in the registry, want 0", got)
		}
		_, _, err := ask(c, srv.URL)
		wantError(t, err, gateway.Denied, "revoked")
	})
}

func TestRevokedBeforeResumption(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := newRegion(t)
			id, _ := r.identity(borne)
			asker, made := r.identity(uwi)
			srv := r.serve(id)
			cfg := r.group.ClientTLS(asker, borne)
			cfg.MaxVersion = version
			cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			again := func() (resumed bool, err error) {
				c := client(t, cfg)
				res, err := c.Get(srv.URL)
				if err != nil {
					return false, err
				}
				defer res.Body.Close()
				_, err = io.ReadAll(res.Body)
				c.CloseIdleConnections()
				return res.TLS.DidResume, err
			}
			_, err := again()
			must(t, err)
			resumed, err := again()
			must(t, err)
			if !resumed {
				t.Fatal("the second connection did not resume: this test shows nothing")
			}
			r.revoke(made.CertFile)
			must(t, r.group.Reload())
			if _, err := again(); err == nil {
				t.Error("a revoked certificate came in on a resumed session")
			}
		})
	}
}

// Sessions of before are refused when the anchor that vouched for them is gone.
func TestAnchorReplaced(t *testing.T) {
	r, next := newRegion(t), newRegion(t)
	id, _ := r.identity(borne)
	asker, _ := r.identity(uwi)
	newAsker, _ := next.identity(uwi)
	srv := r.serve(id)
	tr := r.group.Transport(asker)
	wantPeer(t, &http.Client{Transport: tr}, srv.URL, uwi)

	copyFile(t, filepath.Join(next.dir, RootFile), filepath.Join(r.dir, RootFile))
	copyFile(t, filepath.Join(next.dir, RootCRLFile), filepath.Join(r.dir, RootCRLFile))
	copyFile(t, filepath.Join(next.dir, IntermediateCRLFile), filepath.Join(r.dir, IntermediateCRLFile))
	must(t, r.group.Reload())
	_, _, err := ask(&http.Client{Transport: tr}, srv.URL)
	wantError(t, err, gateway.Denied, "not issued under an anchor") // the server's, by a Transport made before

	cfg := r.group.ClientTLS(newAsker, "")
	cfg.InsecureSkipVerify, cfg.VerifyConnection = true, nil // only the server's judgement is of interest
	wantPeer(t, client(t, cfg), srv.URL, uwi)
}

func TestTransport(t *testing.T) {
	r := newRegion(t)
	id, _ := r.identity(borne)
	srv := r.serve(id)
	asker, made := r.identity(uwi)
	tr := r.group.Transport(asker)
	c := &http.Client{Transport: tr.To(borne)}

	t.Run("port", func(t *testing.T) {
		defer func(was []int) { r.group.rules.Ports = was }(r.group.rules.Ports)
		r.group.rules.Ports = []int{443}
		_, _, err := ask(c, srv.URL)
		wantError(t, err, gateway.Denied, "group proef does not allow port")
	})
	t.Run("plain HTTP", func(t *testing.T) {
		_, _, err := ask(c, "http://localhost:443")
		wantError(t, err, gateway.Invalid, "use https")
	})
	t.Run("nobody there", func(t *testing.T) {
		gone := r.serve(id)
		gone.Close()
		_, _, err := ask(c, gone.URL)
		wantError(t, err, gateway.Unavailable, "peer not reached")
	})
	t.Run("no TLS there", func(t *testing.T) {
		plain := httptest.NewServer(http.NotFoundHandler())
		defer plain.Close()
		r.allow(plain)
		_, _, err := ask(c, "https"+plain.URL[len("http"):])
		wantError(t, err, gateway.Unavailable, "handshake with peer")
	})
	// A token is bound to a certificate: after a renewal no connection may show the old one.
	t.Run("renewed certificate", func(t *testing.T) {
		showed := make(chan string, 1)
		srv := r.serve(id, func(srv *http.Server) {
			srv.Handler = http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
				showed <- q.TLS.PeerCertificates[0].SerialNumber.String()
			})
		})
		for range 2 {
			_, _, err := ask(c, srv.URL)
			must(t, err)
			if got, want := <-showed, asker.Cert().SerialNumber.String(); got != want {
				t.Errorf("showed certificate %s, want %s", got, want)
			}
			_, err = Issue(r.dir, Request{OIN: uwi, Name: "UWI", Hosts: []string{"localhost"}, Out: filepath.Dir(made.CertFile), ReuseKey: true, Now: t0})
			must(t, err)
			must(t, asker.Reload())
		}
	})
	t.Run("no more connections than the bound", func(t *testing.T) {
		var made, busy atomic.Int32
		full := make(chan struct{})
		srv := r.serve(id, countConns(&made), func(srv *http.Server) {
			srv.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				if busy.Add(1) == maxPerPeer {
					close(full)
				}
				<-full
			})
		})
		var all sync.WaitGroup
		for range 2 * maxPerPeer {
			all.Go(func() {
				if _, _, err := ask(c, srv.URL); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got := made.Load(); got > maxPerPeer {
			t.Errorf("got %d connections, want at most %d", got, maxPerPeer)
		}
	})
	t.Run("closed connections are forgotten", func(t *testing.T) {
		tr.CloseIdleConnections()
		if got := r.group.conns.len(); got != 0 {
			t.Errorf("got %d connections in the registry, want 0", got)
		}
	})
}

// A listener shows a new certificate from the next handshake on.
func TestServerCertificateRenewed(t *testing.T) {
	r := newRegion(t)
	id, made := r.identity(borne)
	asker, _ := r.identity(uwi)
	srv := r.serve(id)
	for range 2 {
		cfg := r.group.ClientTLS(asker, borne)
		cfg.ServerName = "localhost"
		conn, err := tls.Dial("tcp", srv.Listener.Addr().String(), cfg)
		must(t, err)
		if got, want := conn.ConnectionState().PeerCertificates[0].SerialNumber.Text(16), made.Serial; got != want {
			t.Errorf("got certificate %s, want %s", got, want)
		}
		_ = conn.Close()
		made = r.issue(borne, func(q *Request) { q.Out, q.Force = filepath.Dir(made.CertFile), true })
		must(t, id.Reload())
	}
}

// Watch also cuts what expired while nothing changed on disk.
func TestWatchCutsExpired(t *testing.T) {
	r := newRegion(t)
	asker, _ := r.identity(uwi)
	id, _ := r.identity(borne, func(q *Request) { q.Days = 1 })
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		server := tls.Server(far, r.group.ServerTLS(id))
		served := make(chan error, 1)
		go func() { served <- server.Handshake() }()
		cfg := r.group.ClientTLS(asker, borne)
		cfg.ServerName = "localhost"
		conn := tls.Client(near, cfg)
		must(t, conn.Handshake())
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		must(t, <-served)
		r.group.conns.add(conn, false)

		go r.group.Watch(t.Context(), time.Second)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := r.group.conns.len(); got != 1 {
			t.Fatalf("got %d open connections, want 1", got)
		}
		r.clock.set(t0.AddDate(0, 0, 2))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := r.group.conns.len(); got != 0 {
			t.Errorf("got %d open connections, want 0", got)
		}
		_ = far.Close()
	})
}

// A connection that was taken over from net/http stays under watch until it is closed.
func TestTrackHijacked(t *testing.T) {
	r := newRegion(t)
	id, _ := r.identity(borne)
	asker, _ := r.identity(uwi)
	taken := make(chan net.Conn, 1)
	srv := r.serve(id, r.group.Track, func(srv *http.Server) {
		srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
			}
			taken <- conn
		})
	})
	cfg := r.group.ClientTLS(asker, borne)
	cfg.ServerName = "localhost"
	conn, err := tls.Dial("tcp", srv.Listener.Addr().String(), cfg)
	must(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	must(t, err)
	theirs := <-taken
	must(t, r.group.Reload())
	if got := r.group.conns.len(); got != 1 {
		t.Errorf("got %d connections under watch, want 1", got)
	}
	_ = theirs.(*tls.Conn).NetConn().Close()
	must(t, r.group.Reload())
	if got := r.group.conns.len(); got != 0 {
		t.Errorf("got %d connections under watch, want 0", got)
	}
}

func TestInternalTLS(t *testing.T) {
	dir := t.TempDir()
	must(t, InitPKI(dir, InitOptions{Name: "Gemeente Borne", Internal: true}))
	made, err := Issue(dir, Request{Internal: true, Hosts: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	must(t, err)
	id, err := LoadIdentity(made.CertFile, made.KeyFile)
	must(t, err)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "intern") }))
	srv.TLS = InternalServerTLS(id)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS() // adds a certificate of its own, which is for clients without SNI: so ask by name
	defer srv.Close()
	at, err := url.Parse(srv.URL)
	must(t, err)
	address := "https://localhost:" + at.Port()

	cfg, err := InternalClientTLS(filepath.Join(dir, RootFile))
	must(t, err)
	if _, body, err := ask(client(t, cfg), address); err != nil || body != "intern" {
		t.Errorf("got %q, %v", body, err)
	}
	elsewhere := t.TempDir()
	must(t, InitPKI(elsewhere, InitOptions{Name: "Gemeente Borne", Internal: true}))
	cfg, err = InternalClientTLS(filepath.Join(elsewhere, RootFile))
	must(t, err)
	var unknown x509.UnknownAuthorityError
	if _, _, err := ask(client(t, cfg), address); !errors.As(err, &unknown) {
		t.Errorf("got %v, want the server of another CA refused", err)
	}
	_, err = InternalClientTLS(filepath.Join(dir, "weg.pem"))
	wantError(t, err, gateway.Invalid, "weg.pem")
	if _, err := id.Peer(); err == nil {
		t.Error("a certificate of the own network named a peer")
	}
}
