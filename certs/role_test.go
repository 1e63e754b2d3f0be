package certs

import (
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// network is the internal CA of one peer, with its revocation lists.
type network struct {
	t   *testing.T
	dir string
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t, dir: t.TempDir()}
	must(t, InitPKI(n.dir, InitOptions{Name: "Borne intern", Internal: true}))
	return n
}

func (n *network) issue(peer gateway.PeerID, roles ...Role) (*Identity, Issued) {
	n.t.Helper()
	q := Request{Internal: true, Hosts: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Out: filepath.Join(n.t.TempDir(), "id"), Roles: roles}
	if len(roles) > 0 {
		q.OIN = peer
	}
	made, err := Issue(n.dir, q)
	must(n.t, err)
	id, err := LoadIdentity(made.CertFile, made.KeyFile)
	must(n.t, err)
	return id, made
}

func (n *network) open(id *Identity) *Internal {
	n.t.Helper()
	in, err := OpenInternal(borne, InternalConfig{
		CA: filepath.Join(n.dir, RootFile), CRLs: []string{filepath.Join(n.dir, RootCRLFile), filepath.Join(n.dir, IntermediateCRLFile)},
	}, id, time.Now, slog.New(slog.DiscardHandler))
	must(n.t, err)
	return in
}

// serve answers with the roles of who calls.
func (n *network) serve(in *Internal) *httptest.Server {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		roles, err := in.Caller(r.TLS)
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		for _, role := range roles {
			_, _ = io.WriteString(w, string(role)+" ")
		}
	}))
	srv.TLS = in.ServerTLS()
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	in.Group().Track(srv.Config)
	srv.StartTLS()
	n.t.Cleanup(srv.Close)
	return srv
}

func TestRolesKnowEachOther(t *testing.T) {
	n := newNetwork(t)
	clientgegevens, _ := n.issue(borne, "clientgegevens")
	in := n.open(clientgegevens)
	srv := n.serve(in)
	asks := func(id *Identity, to Role) (string, error) {
		tr := n.open(id).Transport(to)
		_, body, err := ask(&http.Client{Transport: tr, Timeout: 10 * time.Second}, srv.URL)
		tr.(*peerTransport).CloseIdleConnections()
		return body, err
	}
	inway, _ := n.issue(borne, "inway", "outway")
	if got, err := asks(inway, "clientgegevens"); err != nil || got != "inway outway " {
		t.Errorf("an inway: got %q, %v, want it known by its roles", got, err)
	}
	if _, err := asks(inway, "outway"); err == nil || !strings.Contains(err.Error(), "want outway") {
		t.Errorf("a server of another role: got %v, want it refused by name", err)
	}
	host, _ := n.issue(borne)
	neighbour, _ := n.issue(uwi, "inway")
	for name, id := range map[string]*Identity{"a host without a role": host, "the inway of another peer under the same CA": neighbour} {
		if got, err := asks(id, "clientgegevens"); err == nil {
			t.Errorf("%s: got %q, want it refused", name, got)
		}
	}
	stranger, _ := newNetwork(t).issue(borne, "inway")
	if got, err := asks(stranger, "clientgegevens"); err == nil {
		t.Errorf("an inway under another CA: got %q, want it refused", got)
	}
	// Who shows nothing is nobody, and it is up to the listener what nobody may do.
	trust, err := InternalClientTLS(filepath.Join(n.dir, RootFile))
	must(t, err)
	if status, body, err := ask(client(t, trust), srv.URL); err != nil || status != http.StatusOK || body != "" {
		t.Errorf("without a certificate: got %d %q, %v, want no role", status, body, err)
	}
	before := in.Group().conns.len()
	must(t, in.Group().Reload())
	if after := in.Group().conns.len(); before == 0 || after != before {
		t.Errorf("of %d connections %d are left after a look at the trust, want all", before, after)
	}
}

// A role whose certificate is revoked is refused on the connection that it has, and its connection is closed.
func TestRevokedRoleIsRefused(t *testing.T) {
	n := newNetwork(t)
	server, _ := n.issue(borne, "clientgegevens")
	in := n.open(server)
	srv := n.serve(in)
	inway, made := n.issue(borne, "inway")
	cfg := n.open(inway).ClientTLS("clientgegevens")
	cfg.ServerName = "127.0.0.1"
	c := client(t, cfg)
	if status, body, err := ask(c, srv.URL); err != nil || status != http.StatusOK || body != "inway " {
		t.Fatalf("before: got %d %q, %v", status, body, err)
	}
	must(t, Revoke(n.dir, made.CertFile))
	must(t, in.Group().Reload())
	if n := in.Group().conns.len(); n != 0 {
		t.Errorf("%d connections are open, want them closed", n)
	}
	if status, body, err := ask(c, srv.URL); err == nil {
		t.Errorf("after: got %d %q, want it refused", status, body)
	}
}

func TestIssueRoles(t *testing.T) {
	n := newNetwork(t)
	id, _ := n.issue(borne, "inway", "beheer")
	if got := RolesOf(id.Cert(), borne); !slices.Equal(got, []Role{"inway", "beheer"}) {
		t.Errorf("got %q", got)
	}
	if got := RolesOf(id.Cert(), uwi); got != nil {
		t.Errorf("of another peer: got %q, want none", got)
	}
	if got, want := id.Cert().URIs[0].String(), Role("inway").URI(borne); got != want {
		t.Errorf("got URI %s, want %s", got, want)
	}
	good := Request{Internal: true, Hosts: []string{"localhost"}, OIN: borne, Roles: []Role{"inway"}}
	for name, change := range map[string]func(*Request){
		"no OIN":             func(q *Request) { q.OIN = "" },
		"no name of a role":  func(q *Request) { q.Roles = []Role{"inway/../manager"} },
		"in the group's PKI": func(q *Request) { q.Internal = false },
	} {
		q := good
		change(&q)
		if _, err := q.template(time.Now()); gateway.KindOf(err) != gateway.Invalid {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
	}
}
