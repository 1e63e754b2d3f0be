package certs

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Role is what a process does for its peer, such as inway. When the roles of a peer run apart, each shows by a certificate under
// the peer's internal CA which roles it has: a URI in the SAN, grensloos://<OIN>/<role>. The OIN keeps apart the peers that share a
// CA, such as those of one hosting party.
type Role string

const roleScheme = "grensloos"

func (r Role) uri(peer gateway.PeerID) (*url.URL, error) {
	if r == "" || strings.ContainsFunc(string(r), func(c rune) bool { return c < 'a' || c > 'z' }) {
		return nil, gateway.Errorf(gateway.Invalid, "rol %.40q: give the name of a role, such as inway", string(r))
	}
	return &url.URL{Scheme: roleScheme, Host: string(peer), Path: "/" + string(r)}, nil
}

// URI is how a certificate says that its holder has this role of this peer: what a request for one asks for.
func (r Role) URI(peer gateway.PeerID) string {
	return roleScheme + "://" + string(peer) + "/" + string(r)
}

// RolesOf reads the roles of peer that a certificate names. It does not verify the certificate.
func RolesOf(c *x509.Certificate, peer gateway.PeerID) []Role {
	var all []Role
	for _, u := range c.URIs {
		role, is := strings.CutPrefix(u.String(), roleScheme+"://"+string(peer)+"/")
		if is && role != "" && !strings.ContainsFunc(role, func(c rune) bool { return c < 'a' || c > 'z' }) {
			all = append(all, Role(role))
		}
	}
	return all
}

// InternalConfig says under which CA the roles of a peer know each other.
type InternalConfig struct {
	CA   string   // PEM file of the peer's internal CA
	CRLs []string // its revocation lists; none: a stolen key counts until its certificate ends
}

// Internal is the network between the roles of one peer: mutual TLS under the internal CA. Like a Group it is looked at anew for
// every request, and its files are read again when they change.
type Internal struct {
	peer  gateway.PeerID
	id    *Identity
	group *Group // of which this peer's own network is all
}

// OpenInternal reads CA and revocation lists. id is what this process shows. Errors are of kind Invalid and name the file.
func OpenInternal(peer gateway.PeerID, cfg InternalConfig, id *Identity, now func() time.Time, log *slog.Logger) (*Internal, error) {
	n := &Internal{peer: peer, id: id, group: &Group{
		rules: gateway.GroupRules{ID: gateway.GroupID("own network of " + string(peer))}, now: now, log: log,
		cfg: Config{Ankers: []string{cfg.CA}, CRLs: cfg.CRLs, CRLsNietVerplicht: true},
		who: func(c *x509.Certificate) (gateway.Peer, error) {
			if len(RolesOf(c, peer)) == 0 {
				return gateway.Peer{}, gateway.Errorf(gateway.Denied, "certificate: names no role of peer %s; issue one with grensloos pki issue --intern --rol", peer)
			}
			return gateway.Peer{ID: peer}, nil
		},
	}}
	if err := n.group.Reload(); err != nil {
		return nil, err
	}
	return n, nil
}

// Group is the trust of the own network, for watching its files and tracking its servers.
func (n *Internal) Group() *Group { return n.group }

// ServerTLS is for listeners of a role. A client may show no certificate: then it is no role, and it is up to the listener what that
// may do. One that it shows must be of a role of this peer, valid now.
func (n *Internal) ServerTLS() *tls.Config {
	cfg := n.serverTLS()
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return n.serverTLS(), nil }
	return cfg
}

func (n *Internal) serverTLS() *tls.Config {
	cfg := n.group.serverTLS(n.id)
	cfg.ClientAuth = tls.VerifyClientCertIfGiven
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		_, err := n.Caller(&cs)
		return err
	}
	return cfg
}

// Caller says which roles the other end of a connection that came in has; none if it showed no certificate. Call it for every
// request: it judges by the trust of this moment.
func (n *Internal) Caller(cs *tls.ConnectionState) ([]Role, error) {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return nil, nil
	}
	if _, _, err := n.group.PeerOf(cs); err != nil {
		return nil, err
	}
	return RolesOf(cs.PeerCertificates[0], n.peer), nil
}

// ClientTLS is for one connection to a role: the server must have it, with the dialled name in its SAN.
func (n *Internal) ClientTLS(to Role) *tls.Config {
	cfg := n.group.ClientTLS(n.id, n.peer)
	verify := cfg.VerifyConnection
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		if err := verify(cs); err != nil {
			return err
		}
		if has := RolesOf(cs.PeerCertificates[0], n.peer); !slices.Contains(has, to) {
			return gateway.Errorf(gateway.Denied, "server has the roles %q, want %s: check the address of %s", has, to, to)
		}
		return nil
	}
	return cfg
}

// maxPerRole is how many connections there are to one address of a role.
const maxPerRole = 256

// Transport calls one role. It takes over a new certificate and new trust without a restart.
func (n *Internal) Transport(to Role) http.RoundTripper {
	return &peerTransport{
		group: n.group, id: n.id, most: maxPerRole, allowed: func(int) bool { return true },
		config: func() *tls.Config { return n.ClientTLS(to) },
	}
}
