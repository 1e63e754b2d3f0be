package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/connectors/clientgegevens"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/journal"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/bevraging"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/gemeenten"
	"github.com/grensloos/grensloos/gateway/inway"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/manager"
	"github.com/grensloos/grensloos/gateway/outway"
)

// openRoles makes a server of every role of this process with an address.
func (p *peer) openRoles(ctx context.Context) error {
	var groupSide, ownSide *tls.Config
	if p.identity != nil {
		groupSide = p.group.ServerTLS(p.identity)
	}
	switch {
	case p.internal != nil:
		ownSide = p.internal.ServerTLS()
	case p.network != nil:
		ownSide = certs.InternalServerTLS(p.network)
	}
	if p.cfg.runs(roleManager) {
		p.addRole("manager", p.cfg.Manager.Listen, p.manager.Handler(), groupSide)
	}
	if p.cfg.Inway.Listen != "" {
		in, err := p.openInway(ctx)
		if err != nil {
			return err
		}
		p.addRole("inway", p.cfg.Inway.Listen, in, groupSide)
	} else if p.cfg.process.apart() && p.cfg.runs(roleClientgegevens) {
		h, err := p.openClientgegevens(ctx)
		if err != nil {
			return err
		}
		p.addRole("clientgegevens", p.cfg.Clientgegevens.Listen, p.only(roleClientgegevens, h), ownSide)
	}
	var out *outway.Handler
	if p.cfg.runs(roleOutway) {
		out = p.openOutway()
		if p.cfg.Outway.Listen != "" {
			p.addRole("outway", p.cfg.Outway.Listen, p.only(roleOutway, out), ownSide)
		}
	}
	if p.cfg.Bevraging.Listen != "" {
		h, err := p.openBevraging(out)
		if err != nil {
			return err
		}
		p.addRole("bevraging", p.cfg.Bevraging.Listen, p.only(roleBevraging, h), ownSide)
	}
	if p.cfg.Beheer.Listen != "" {
		h, err := p.openBeheer()
		if err != nil {
			return err
		}
		p.addRole("beheer", p.cfg.Beheer.Listen, p.only(roleBeheer, h), ownSide)
	}
	if p.cfg.Monitoring.Listen != "" {
		p.addRole("bewaking", p.cfg.Monitoring.Listen, p.health.monitoring(p.metrics.handler()), ownSide)
	}
	return nil
}

func (p *peer) addRole(name, address string, h http.Handler, tlsConfig *tls.Config) {
	server := edge.NewServer(p.metrics.observe(name, h), tlsConfig, p.log.With(slog.String("role", name)))
	server.RegisterOnShutdown(p.watch.stop) // who follows records would hold up the stop
	switch name {
	case "manager", "inway":
		p.group.Track(server)
		p.identity.Retire(server)
	default:
		if p.internal != nil {
			p.internal.Group().Track(server)
		}
		p.network.Retire(server)
	}
	p.roles = append(p.roles, role{name: name, address: address, server: server})
}

// tasks is the work in the background, beside shipping the journal.
func (p *peer) tasks() []task {
	watch := func(f func(context.Context)) func(context.Context) error {
		return func(ctx context.Context) error { f(ctx); return nil }
	}
	all := []task{
		{"group.vertrouwen", watch(func(ctx context.Context) { p.group.Watch(ctx, watchEvery) })},
		{"beleid", watch(p.watchPolicy)},
	}
	if p.cfg.runs(roleManager) {
		all = append(all, task{"manager", p.manager.Run})
	} else {
		all = append(all, task{"contracten", p.contracts.Follow})
	}
	if p.identity != nil {
		all = append(all, task{"certificaat", watch(func(ctx context.Context) { p.identity.Watch(ctx, watchEvery, p.log) })})
	}
	if p.asks != nil {
		all = append(all, task{"verklaring", watch(func(ctx context.Context) { p.asks.Run(ctx, p.log) })})
	}
	if p.answers != nil {
		all = append(all, task{"kwitantie", watch(func(ctx context.Context) { p.answers.Run(ctx, p.log) })})
	}
	if p.network != nil {
		all = append(all, task{"netwerk.certificaat", watch(func(ctx context.Context) { p.network.Watch(ctx, watchEvery, p.log) })})
	}
	if p.auth != nil {
		all = append(all, task{"netwerk.issuerSleutels", watch(p.watchIssuers)})
	}
	if p.internal != nil {
		all = append(all, task{"netwerk.ca", watch(func(ctx context.Context) { p.internal.Group().Watch(ctx, watchEvery) })})
	}
	if p.publishes() {
		all = append(all, task{"certificaat in de opslag", p.publish})
	}
	return slices.Concat(all, p.ownTasks, p.vaultTasks)
}

// openOutway makes the outway.
func (p *peer) openOutway() *outway.Handler {
	return &outway.Handler{
		Self: p.self, Group: p.rules(), Auth: p.auth, Grants: p.contracts, Tokens: p.tokens(), Policy: p.policy, Audit: p.audit, Sign: p.asks, Pseudonyms: p.pseudonyms,
		Transport: p.transport.To, VerifyChain: p.group.VerifyChain, Now: p.now, Log: p.log, Fault: stepFault(),
	}
}

// tokens fetches access tokens for our outway.
func (p *peer) tokens() *manager.TokenClient {
	return &manager.TokenClient{
		Self: p.self.ID, Group: p.rules(), Peers: p.managers, Certificate: p.identity.Cert, Now: p.now,
	}
}

// tokenVerifier accepts the tokens of our manager: of this process, or of those whose certificates are in the store.
func (p *peer) tokenVerifier(ctx context.Context) (*accesstoken.Verifier, error) {
	cert := func(x5t string) (*x509.Certificate, bool) {
		all := p.identity.Recent() // a token signed just before a renewal is still ours
		n := slices.IndexFunc(all, func(c *x509.Certificate) bool { return jose.Thumbprint(c) == x5t })
		return all[max(n, 0)], n >= 0
	}
	if p.cfg.process.apart() {
		s := &signers{from: ownCertificates{p.store, roleManager}, self: p.self.ID, verify: p.group.VerifyChain, now: p.now, log: p.log}
		if err := s.read(ctx); err != nil {
			return nil, err
		}
		cert = s.cert
	}
	tokens := accesstoken.NewVerifier(p.self.ID, p.cfg.Group.ID, cert, p.now)
	tokens.Audiences = []string{p.cfg.Inway.Address}
	return tokens, nil
}

// openInway makes the inway with its services. It knows the transaction ids of before a restart.
func (p *peer) openInway(ctx context.Context) (http.Handler, error) {
	tokens, err := p.tokenVerifier(ctx)
	if err != nil {
		return nil, fmt.Errorf("inway: %w", err)
	}
	h := &inway.Handler{
		Self: p.self, PeerOf: p.group.PeerOf, Tokens: tokens, Grants: p.contracts, Policy: p.policy, Audit: p.audit, Sign: p.answers,
		Services: map[gateway.ServiceName]inway.Service{}, Now: p.now, Log: p.log, Fault: stepFault(),
	}
	if p.cfg.process.apart() {
		claims := &claimer{store: p.store, now: p.now, log: p.log}
		h.Shared = claims
		p.ownTasks = append(p.ownTasks, task{"transactienummers", claims.clean})
	}
	for name, service := range p.cfg.Inway.Services {
		s := inway.Service{Doelbinding: service.Doelbinding}
		switch {
		case service.URL == "" && p.cfg.runs(roleClientgegevens):
			own := p.clientgegevens(tokens, h)
			own.Sign = p.answers
			s.Handler = own
		case service.URL == "":
			s.Own = true
			if s.URL, err = url.Parse(p.cfg.Clientgegevens.Address); err != nil {
				return nil, fmt.Errorf("clientgegevens.adres: %w", err)
			}
			s.Transport = p.callRole(roleClientgegevens)
		default:
			if s.URL, err = url.Parse(service.URL); err != nil {
				return nil, fmt.Errorf("inway.services.%s.url: %w", name, err)
			}
			if s.Transport, err = serviceTransport(service.CA); err != nil {
				return nil, fmt.Errorf("inway.services.%s.ca: %w", name, err)
			}
		}
		h.Services[name] = s
	}
	err = h.Restore(func(since time.Time, each func(audit.Record) error) error {
		return p.journal.Scan(since, func(e journal.Entry) error { return each(e.Record) })
	})
	if err != nil {
		return nil, fmt.Errorf("inway: transaction ids of before: %w", err)
	}
	return h, nil
}

// clientgegevens makes the service. Without a key to sign with it drafts what the inway signs.
func (p *peer) clientgegevens(tokens *accesstoken.Verifier, admitted interface {
	Admitted(gateway.TransactionID, gateway.GrantHash) bool
},
) *clientgegevens.Handler {
	return p.takeReports(&clientgegevens.Handler{
		Self: p.self, Tokens: tokens, Grants: p.contracts, Transacties: admitted, Policy: p.policy, Toestemmingen: p.store,
		Audit: p.audit, Pseudonyms: p.pseudonyms, Bron: p.source, DemoBSN: p.cfg.Demo,
		Timeout: p.cfg.Source.Timeout, Now: p.now, Log: p.log, Fault: stepFault(),
	})
}

// openClientgegevens makes the service for a process without the inway.
func (p *peer) openClientgegevens(ctx context.Context) (http.Handler, error) {
	tokens, err := p.tokenVerifier(ctx)
	if err != nil {
		return nil, fmt.Errorf("clientgegevens: %w", err)
	}
	a := &admission{peerOf: p.group.PeerOf, now: p.now, log: p.log}
	a.service = p.clientgegevens(tokens, &a.admitted)
	return a, nil
}

// serviceTransport reaches a service on our own network: kept connections, the system's trust or the given CA, no proxy.
func serviceTransport(ca string) (http.RoundTripper, error) {
	t := &http.Transport{
		MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second, ResponseHeaderTimeout: inway.DefaultTimeout,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableCompression: true,
		WriteBufferSize: 8 << 10, // token and verklaring are in the head of a request: 6 kB in one write
	}
	if ca == "" {
		return t, nil
	}
	// The file is read anew for each connection, so that it can be replaced; those that are open stay.
	t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		cfg, err := certs.InternalClientTLS(ca)
		if err != nil {
			return nil, err
		}
		return (&tls.Dialer{Config: cfg}).DialContext(ctx, network, address)
	}
	_, err := certs.InternalClientTLS(ca)
	return t, err
}

// openBevraging makes bevraging, before the outway of this process, or before the one elsewhere if out is nil.
func (p *peer) openBevraging(out http.Handler) (http.Handler, error) {
	h := &bevraging.Handler{
		Self: p.self, Auth: p.auth, Grants: p.contracts, Policy: p.policy, Audit: p.audit,
		Pseudonyms: p.pseudonyms, Demo: p.cfg.Demo, Config: p.cfg.Bevraging.Config, Now: p.now, Log: p.log,
	}
	if p.cfg.runs(roleOutway) {
		h.Outway = inProcess{p.metrics.observe("outway", out)}
	} else {
		h.Outway, h.OutwayURL = p.callRole(roleOutway), p.cfg.Outway.Address
	}
	codes, err := gemeenten.Open(p.cfg.Gemeenten)
	if err != nil {
		return nil, err
	}
	h.Indeling = indeling(codes, p.now)
	h.Bekend = p.gemeenten
	p.makeReports(h)
	return h.Router()
}

// gemeenten are the peers that answer for a gemeente, at this moment: those of the configuration, and those that a directory lists
// and that confirm it. When the store can't say, those of the configuration.
func (p *peer) gemeenten() []bevraging.Gemeente {
	ctx, cancel := context.WithTimeout(context.Background(), gemeentenWithin)
	defer cancel()
	known, err := p.contracts.Known(ctx)
	if err != nil {
		p.log.Warn("peers of the group not read; only those of the configuration are asked", slog.Any("error", err))
		known = nil
		for _, n := range p.cfg.Peers {
			known = append(known, contract.KnownPeer{Peer: gateway.Peer{ID: n.ID, Name: n.Name}, Gemeentecode: n.Gemeentecode})
		}
	}
	var all []bevraging.Gemeente
	for _, k := range known {
		if k.Gemeentecode != "" {
			all = append(all, bevraging.Gemeente{ID: k.ID, Naam: k.Name, Code: k.Gemeentecode})
		}
	}
	return all
}

// gemeentenWithin bounds how long a question waits to learn who can be asked.
const gemeentenWithin = 2 * time.Second

// indeling finds which gemeente, of those that are known, now has the data of the one with this code on a day. A code that the table
// does not have stands for itself: the built-in table has few.
func indeling(codes *gemeenten.Register, now func() time.Time) func(string, time.Time, func(string) bool) (string, bool) {
	return func(code string, op time.Time, bekend func(string) bool) (string, bool) {
		found, err := codes.Zoek(gemeenten.Code(code), op, now(), func(c gemeenten.Code) bool { return bekend(string(c)) })
		if gateway.KindOf(err) == gateway.NotFound {
			return code, true
		}
		return string(found.Code), err == nil
	}
}

func (p *peer) openBeheer() (http.Handler, error) {
	h := &beheer.Handler{
		Self: p.self, Sleutel: p.outwayKey, Auth: p.auth, Contracten: p.manager, Voorstel: p.manager, Vernieuwing: p.manager, Groep: p.manager, Deelname: p.manager,
		Ondertekening: p.manager, Register: p.store, Toestemmingen: p.store, Records: shipped{p.journal, p.reader}, Policy: p.policy,
		Volgen: followed{p.journal, p.watch}, Gezondheid: p.health,
		Audit: p.audit, Pseudonyms: p.pseudonyms, Demo: p.cfg.Demo, Now: p.now,
	}
	if p.cfg.process.apart() {
		h.Volgen = followedElsewhere{p.reader, p.watch}
	}
	if err := p.administer(h); err != nil {
		return nil, err
	}
	return h.Router()
}

// outwayKey is the thumbprint of the public key of our outway: what a proposal in which we ask names.
func (p *peer) outwayKey(ctx context.Context) (string, error) {
	if p.cfg.runs(roleOutway) {
		return jose.KeyThumbprint(p.identity.Cert().PublicKey)
	}
	chains, err := ownCertificates{p.store, roleOutway}.Certificates(ctx, p.now())
	if err != nil {
		return "", err
	}
	keys := map[string]bool{}
	for _, chain := range chains {
		if owner, err := p.group.VerifyChain(chain, p.now()); err != nil || owner.ID != p.self.ID {
			continue
		}
		key, err := jose.KeyThumbprint(chain[0].PublicKey)
		if err != nil {
			return "", err
		}
		keys[key] = true
	}
	switch len(keys) {
	case 0:
		return "", gateway.Errorf(gateway.Unavailable, "outway: none of this peer has started yet, so that its key is not known; start it, or give outwaySleutel")
	case 1:
		for key := range keys {
			return key, nil
		}
	}
	return "", gateway.Errorf(gateway.Conflict, "outway: those of this peer have %d different keys, and a grant names one; give outwaySleutel, and let all have the same key", len(keys))
}
