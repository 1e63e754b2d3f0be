package main

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/connectors/clientgegevens"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/inway"
)

// The roles of a peer that can run in a process of their own.
const (
	roleManager        certs.Role = "manager"
	roleInway          certs.Role = "inway"
	roleOutway         certs.Role = "outway"
	roleClientgegevens certs.Role = "clientgegevens"
	roleBevraging      certs.Role = "bevraging"
	roleBeheer         certs.Role = "beheer"
)

// needs is what a role opens; what is not set it can do without, also the file that it stands in.
type needs struct {
	GroupKey   bool // the key of the group certificate: it signs, or speaks mTLS to other peers
	Pseudonyms bool // the keys that make a BSN a pseudonym
	Store      bool
	Reading    bool // it reads audit records back from Kafka, beside writing its own
	Source     bool // the gemeente's own system
	Callers    bool // it knows callers of the own network by their JWT
}

// roleNeeds is the table of least privilege (docs/roles.md).
var roleNeeds = map[certs.Role]needs{
	roleManager:        {GroupKey: true, Store: true},
	roleInway:          {GroupKey: true, Store: true},
	roleOutway:         {GroupKey: true, Store: true, Pseudonyms: true, Callers: true},
	roleClientgegevens: {Store: true, Pseudonyms: true, Source: true, Reading: true},
	roleBevraging:      {Store: true, Pseudonyms: true, Reading: true, Callers: true},
	roleBeheer:         {GroupKey: true, Store: true, Pseudonyms: true, Reading: true, Callers: true},
}

// mayCall says which roles of a peer call which other over the own network. Whoever is not in it is refused.
var mayCall = map[certs.Role][]certs.Role{
	roleInway:     {roleClientgegevens},
	roleBevraging: {roleOutway},
}

// serveRoles are all roles, in the order in which a peer opens them.
func serveRoles() []certs.Role {
	return []certs.Role{roleManager, roleInway, roleClientgegevens, roleOutway, roleBevraging, roleBeheer}
}

func joinRoles(roles []certs.Role) string {
	var names []string
	for _, r := range roles {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}

// sorted puts roles in the order of serveRoles, each once.
func sorted(roles []certs.Role) []certs.Role {
	return slices.DeleteFunc(serveRoles(), func(r certs.Role) bool { return !slices.Contains(roles, r) })
}

// codeRol is the code of a call by a role of this peer that may not make it, or by who is no role where only roles may call.
const codeRol = "rol-niet-toegelaten"

// only lets a role be called by the roles that may (mayCall). A caller without a certificate is no role: whether that may call is
// told by its JWT, except at clientgegevens, which has no other callers than roles.
func (p *peer) only(role certs.Role, next http.Handler) http.Handler {
	if p.internal == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		callers, err := p.internal.Caller(r.TLS)
		allowed := err == nil && (len(callers) == 0 && role != roleClientgegevens ||
			slices.ContainsFunc(callers, func(c certs.Role) bool { return slices.Contains(mayCall[c], role) }))
		if !allowed {
			p.log.WarnContext(r.Context(), "call refused: this role may not call here", slog.String("role", string(role)),
				slog.String("caller", joinRoles(callers)), slog.String("from", r.RemoteAddr), slog.Any("error", err))
			w.Header().Set(edge.HeaderErrorCode, codeRol)
			edge.WriteProblem(w, r, &gateway.Error{
				Kind: gateway.Denied, Code: codeRol, Message: "certificate: " + string(role) + " is called by other roles of this peer", Cause: err,
			})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// callRole calls a role of this peer in another process. That it does not want us is no answer of what it serves.
func (p *peer) callRole(to certs.Role) http.RoundTripper {
	return roleCaller{p.internal.Transport(to), to}
}

type roleCaller struct {
	http.RoundTripper
	to certs.Role
}

func (c roleCaller) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.RoundTripper.RoundTrip(r)
	// What a role lets in it answers with the transaction, also when another peer gave the answer and wrote our code in it.
	if err == nil && edge.ErrorCode(resp.Header) == codeRol && resp.Header.Get(edge.HeaderTransaction) == "" {
		_ = resp.Body.Close()
		return nil, gateway.WithCode(gateway.Unavailable, codeRol, "%s refuses this process: see its log, and the certificate of this one", c.to)
	}
	return resp, err
}

// admission is the way into clientgegevens from an inway in another process: it takes what that says that it admitted, and the
// certificate of who asked. Nobody but an inway comes here (mayCall). Whether the certificate is good it finds itself: who has the
// inway's keys could else make one of any peer, and with it a token and a verklaring.
type admission struct {
	service  http.Handler
	admitted inway.Admissions
	peerOf   func(*tls.ConnectionState) (gateway.Peer, *x509.Certificate, error) // certs.Group.PeerOf, as for the inway
	chains   chains
	now      func() time.Time
	log      *slog.Logger
}

func (a *admission) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	said, err := edge.ToelatingFrom(r.Header)
	state := *r.TLS // of the connection with the inway; the service wants to know who asked that
	var done func()
	if err == nil {
		state.PeerCertificates, state.VerifiedChains = a.chains.same(append([]*x509.Certificate{said.Client}, said.Chain...)), nil
		_, _, err = a.peerOf(&state)
	}
	if err == nil {
		done, err = a.admitted.Admit(said.Transactie, said.Grant, a.now())
	}
	if err != nil {
		a.log.WarnContext(r.Context(), "call refused: the inway did not admit it, or not by a certificate that is good here", slog.Any("error", err))
		kind := gateway.Denied
		if gateway.KindOf(err) == gateway.Unavailable { // no revocation list that can tell
			kind = gateway.Unavailable
		}
		edge.WriteProblem(w, r, &gateway.Error{Kind: kind, Code: clientgegevens.CodeBuitenInway, Message: "inway", Cause: err})
		return
	}
	defer done()
	inner := r.WithContext(r.Context())
	inner.TLS = &state
	a.service.ServeHTTP(w, inner)
}

// chains gives the same certificates for the same bytes, as a connection of the peer itself would: what was found of them is
// remembered by that. The zero value is ready.
type chains struct {
	mu    sync.Mutex // guards known
	known map[string][]*x509.Certificate
}

const maxChains = 1024

func (c *chains) same(chain []*x509.Certificate) []*x509.Certificate {
	var der strings.Builder
	for _, one := range chain {
		der.Write(one.Raw)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.known[der.String()]; known != nil {
		return known
	}
	if c.known == nil || len(c.known) >= maxChains {
		c.known = map[string][]*x509.Certificate{}
	}
	c.known[der.String()] = chain
	return chain
}
