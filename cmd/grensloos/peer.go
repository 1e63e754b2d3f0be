package main

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/certs/vault"
	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/connectors/clientgegevens"
	"github.com/grensloos/grensloos/connectors/database"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/journal"
	"github.com/grensloos/grensloos/gateway/audit/kafka"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/bevraging"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/gemeenten"
	"github.com/grensloos/grensloos/gateway/inway"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/manager"
	"github.com/grensloos/grensloos/gateway/outway"
	"github.com/grensloos/grensloos/gateway/store"
	"github.com/grensloos/grensloos/gateway/verklaring"
	"github.com/grensloos/grensloos/policies"
)

// peer is everything that one process runs, in the order in which it is opened; close goes back up.
type peer struct {
	cfg  *Config
	log  *slog.Logger
	now  func() time.Time
	self gateway.Peer

	vault      *vault.Client // nil without vault.adres
	vaultTasks []task
	asks       *verklaring.Signer // signs our verklaringen
	answers    *verklaring.Signer // signs our kwitanties
	group      *certs.Group
	identity   *certs.Identity
	network    *certs.Identity
	auth       *edge.Verifier
	pseudonyms gateway.PseudonymKeys
	policy     *policies.Engine
	store      *store.Store
	broker     *kafka.Broker // nil with a cluster
	writer     *kafka.Writer
	sink       *topicSink
	shipping   chan error // gets the end of shipping the journal
	reader     *kafka.Reader
	journal    *journal.Journal
	source     connectors.Source
	// ownContacts says that the register of contact persons is kept here: no source has them.
	ownContacts bool
	manager     *manager.Manager
	managers    *manager.Peers
	transport   *certs.Transport
	health      *health
	metrics     *metrics
	watch       *watchers
	audit       audit.Log // the journal, watched
	stopping    atomic.Bool

	roles  []role
	opened []func(context.Context) error
}

// role is one listener.
type role struct {
	name    string
	address string
	server  *http.Server
}

// task is work in the background.
type task struct {
	name string
	run  func(context.Context) error
}

// openPeer builds a peer from its configuration. What was opened before an error is closed again.
func openPeer(ctx context.Context, cfg *Config, log *slog.Logger) (_ *peer, err error) {
	p := &peer{cfg: cfg, log: log, now: time.Now, watch: &watchers{}}
	p.health = &health{p: p, started: p.now()}
	p.metrics = newMetrics(p.health)
	defer func() {
		if err != nil {
			closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
			defer cancel()
			err = errors.Join(err, p.close(closing))
		}
	}()
	for _, step := range []func(context.Context) error{
		p.openIdentity, p.openPolicy, p.openStore, p.openAudit, p.openManager, p.openSource, p.openRoles,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// close undoes openPeer in reverse order.
func (p *peer) close(ctx context.Context) error {
	var errs []error
	for i := len(p.opened) - 1; i >= 0; i-- {
		errs = append(errs, p.opened[i](ctx))
	}
	p.opened = nil
	return errors.Join(errs...)
}

func (p *peer) onClose(f func() error) {
	p.opened = append(p.opened, func(context.Context) error { return f() })
}

// openIdentity loads who we are and whom we trust. The certificate must say what the configuration says.
func (p *peer) openIdentity(ctx context.Context) (err error) {
	if p.group, err = certs.OpenGroup(p.rules(), p.cfg.Group.Trust, p.now, p.log); err != nil {
		return fmt.Errorf("group.vertrouwen: %w", err)
	}
	if err := p.openVault(ctx); err != nil {
		return err
	}
	if p.identity, err = p.groupIdentity(ctx); err != nil {
		return err
	}
	if p.self, err = p.identity.Peer(); err != nil {
		return fmt.Errorf("certificaat: %w", err)
	}
	if p.self.ID != p.cfg.Peer.ID || p.self.Name != p.cfg.Peer.Name {
		return fmt.Errorf("peer: the certificate is of %s (%s), the configuration says %s (%s)", p.self.Name, p.self.ID, p.cfg.Peer.Name, p.cfg.Peer.ID)
	}
	if p.network, err = p.networkIdentity(ctx); err != nil {
		return err
	}
	issuers := edge.Issuers{Issuer: p.cfg.Network.Issuer, Audience: p.cfg.Network.Audience, Organisatie: p.self.ID}
	if issuers.Keys, err = p.issuerKeys(); err != nil {
		return err
	}
	if p.auth, err = edge.NewVerifier(issuers, p.now); err != nil {
		return fmt.Errorf("netwerk: %w", err)
	}
	p.asks = verklaring.NewSigner(p.signer, verklaring.VoorVerklaring, p.now)
	p.answers = verklaring.NewSigner(p.signer, verklaring.VoorKwitantie, p.now)
	p.pseudonyms, err = loadPseudonyms(p.cfg)
	p.transport = p.group.Transport(p.identity)
	p.onClose(func() error { p.transport.CloseIdleConnections(); return nil })
	return err
}

func (p *peer) rules() gateway.GroupRules {
	return gateway.GroupRules{ID: p.cfg.Group.ID, Ports: p.cfg.Group.Ports}
}

func (p *peer) openPolicy(ctx context.Context) (err error) {
	opts := p.cfg.Policies.Options()
	opts.Now = p.now
	if p.policy, err = policies.New(ctx, opts); err != nil {
		return fmt.Errorf("beleid: %w", err)
	}
	return nil
}

// watchPolicy reads the policy folders again when a file in them has changed. What is wrong with a new file is logged and the old
// policy stays. A change is on record before it takes effect; one that could not be taken is tried again, for it may take away what
// the policy in force still gives.
func (p *peer) watchPolicy(ctx context.Context) {
	folders := []string{p.cfg.Policies.Lokaal, p.cfg.Policies.Catalogus}
	watchFiles(ctx, folders, fingerprint(folders), func() error {
		return p.policy.ReloadRecorded(ctx, func(revision string) error { return p.recordPolicy(ctx, "beleid-gewijzigd", revision) })
	}, func(err error) {
		p.log.Error("policy not reloaded; the one of before stays in force, and this is tried again", slog.Any("error", err))
	})
}

// watchFiles calls reload when the files, or those in the folders, are not as inForce says, until ctx ends; failed hears once of each
// state of theirs that could not be taken.
func watchFiles(ctx context.Context, files []string, inForce string, reload func() error, failed func(error)) {
	told := ""
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := fingerprint(files)
		if now == inForce {
			continue
		}
		switch err := reload(); {
		case err == nil:
			inForce = now
		case told != now:
			told = now
			failed(err)
		}
	}
}

// issuerKeys are the keys of who gives the JWTs of our own network.
func (p *peer) issuerKeys() (keys []crypto.PublicKey, err error) {
	for _, file := range p.cfg.Network.IssuerKeys {
		key, err := loadPublicKey(file)
		if err != nil {
			return nil, fmt.Errorf("netwerk.issuerSleutels: %w", err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// watchIssuers takes over other keys of the issuer of JWTs.
func (p *peer) watchIssuers(ctx context.Context) {
	watchFiles(ctx, p.cfg.Network.IssuerKeys, "", func() error {
		keys, err := p.issuerKeys()
		if err != nil {
			return err
		}
		return p.auth.Replace(keys)
	}, func(err error) {
		p.log.Error("keys of the issuer of JWTs not reloaded; those of before stay in use, and this is tried again", slog.Any("error", err))
	})
}

// recordPolicy puts on record which policy decides from now on.
func (p *peer) recordPolicy(ctx context.Context, act, revision string) error {
	return p.audit.Append(ctx, audit.NewBeheer(p.now(), audit.Act{Handeling: act, Door: audit.Systeem, Object: revision}))
}

// fingerprint changes when a file in one of the folders does.
func fingerprint(folders []string) string {
	var all strings.Builder
	for _, folder := range folders {
		if folder == "" {
			continue
		}
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			fmt.Fprintln(&all, path, info.Size(), info.ModTime().UnixNano())
			return nil
		})
		fmt.Fprintln(&all, err)
	}
	return all.String()
}

func (p *peer) openStore(ctx context.Context) (err error) {
	if p.store, err = store.Open(ctx, p.cfg.Store); err != nil {
		return fmt.Errorf("opslag: %w", err)
	}
	p.onClose(p.store.Close)
	return nil
}

// clusterWithin is how long a start waits for the audit stream before it goes on with the journal alone.
const clusterWithin = 5 * time.Second

// openAudit opens the journal and what it ships to. Closing the journal ships what is in it, so it closes first.
func (p *peer) openAudit(ctx context.Context) (err error) {
	target := p.cfg.Audit.Kafka
	ensure := func(ctx context.Context) error { return clusterReady(ctx, p.cfg.Data, target) }
	if len(target.Brokers) == 0 {
		if p.broker, err = kafka.StartBroker(p.cfg.Audit.Embedded, p.log); err != nil {
			return fmt.Errorf("audit.ingebouwd: %w", err)
		}
		p.onClose(p.broker.Close)
		embedded := p.broker.Config()
		target.Brokers, target.SASL, target.TLS = embedded.Brokers, embedded.SASL, embedded.TLS
		ensure = func(ctx context.Context) error { return kafka.EnsureTopics(ctx, target) }
	}
	target.Organisation = p.self.ID
	if p.writer, err = kafka.NewWriter(target); err != nil {
		return fmt.Errorf("audit.kafka: %w", err)
	}
	p.onClose(p.writer.Close)
	p.sink = &topicSink{ensure: ensure, writer: p.writer}
	looking, cancel := context.WithTimeout(ctx, clusterWithin)
	defer cancel()
	if err := p.sink.ready(looking); gateway.KindOf(err) == gateway.Unavailable {
		p.log.Warn("audit stream not reached; records wait in the journal", slog.Any("error", err))
	} else if err != nil {
		return fmt.Errorf("audit.kafka: %w", err)
	}
	if p.reader, err = kafka.NewReader(target); err != nil {
		return fmt.Errorf("audit.kafka: %w", err)
	}
	p.onClose(p.reader.Close)
	journalConfig := p.cfg.Audit.Journal
	journalConfig.Fault = journalFault()
	if p.journal, err = journal.Open(journalConfig, p.log, p.now); err != nil {
		return fmt.Errorf("audit.journaal: %w", err)
	}
	p.opened = append(p.opened, p.journal.Close)
	// In mode kafka an append waits for it. It ends when the journal is closed, not before: closing waits until all is shipped.
	p.shipping = make(chan error, 1)
	go func() { p.shipping <- p.journal.Ship(context.WithoutCancel(ctx), p.sink) }()
	p.audit = &watchedLog{Log: p.journal, metrics: p.metrics, watch: p.watch}
	err = p.recordPolicy(ctx, "beleid-in-gebruik", p.policy.Session().Revision())
	switch {
	case err != nil && journalConfig.Ack == journal.AckKafka && p.journal.Refusal() == nil:
		// It is kept here and goes when the cluster comes; until then questions are refused, and no hand is needed.
		p.log.Warn("the cluster acknowledges nothing yet", slog.Any("error", err))
	case err != nil:
		return fmt.Errorf("audit.journaal: %w", err)
	}
	return nil
}

// signer is the key of our group certificate of this moment.
func (p *peer) signer() *jose.Signer {
	pair := p.identity.Pair()
	return &jose.Signer{Key: pair.Key, Cert: pair.Cert(), Chain: pair.Chain[1:]}
}

func (p *peer) openManager(context.Context) (err error) {
	addresses := make(map[gateway.PeerID]string, len(p.cfg.Peers))
	var directories []gateway.PeerID
	for _, d := range p.cfg.directories() {
		directories = append(directories, d.ID)
		addresses[d.ID] = d.Manager
	}
	// Ourselves too: a question about our own residents goes to nobody else, whatever somebody publishes.
	configured := []contract.KnownPeer{{Peer: p.self, Gemeentecode: p.cfg.Peer.Gemeentecode}}
	for _, d := range p.cfg.directories() {
		if !slices.ContainsFunc(p.cfg.Peers, func(n NeighbourConfig) bool { return n.ID == d.ID }) {
			configured = append(configured, contract.KnownPeer{Peer: gateway.Peer{ID: d.ID}, Address: d.Manager})
		}
	}
	for _, n := range p.cfg.Peers {
		addresses[n.ID] = n.Manager
		configured = append(configured, contract.KnownPeer{Peer: gateway.Peer{ID: n.ID, Name: n.Name}, Address: n.Manager, Gemeentecode: n.Gemeentecode})
	}
	services := make(map[gateway.ServiceName]string, len(p.cfg.Inway.Services))
	for name := range p.cfg.Inway.Services {
		services[name] = p.cfg.Inway.Address
	}
	p.managers = &manager.Peers{
		Addresses: addresses, Book: p.store, Own: p.cfg.Manager.Address, Transport: p.transport.To, VerifyChain: p.group.VerifyChain, Now: p.now,
	}
	p.manager, err = manager.New(manager.Options{
		Self: p.self, Rules: contract.Rules{Group: p.rules()}, Address: p.cfg.Manager.Address, Store: p.store, Peers: p.managers,
		PeerOf: p.group.PeerOf, VerifyChain: p.group.VerifyChain, Signer: p.signer, Audit: p.audit, CheckProperties: p.checkGrant,
		Services: services, TokenTTL: p.cfg.Manager.TokenTTL, RetryStart: p.cfg.Manager.RetryStart,
		Directories: directories, DirectoryEvery: p.cfg.Manager.Directory.Every, AcceptPublications: p.cfg.Manager.Directory.Accept,
		Configured: configured, RenewBefore: time.Duration(p.cfg.Manager.RenewDays) * 24 * time.Hour, Now: p.now, Log: p.log,
	})
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	return nil
}

// checkGrant objects to a grant that this peer must not sign: one whose purpose is not what our catalogue says it is, and one
// without a purpose for a service of ours that is bound to purposes.
func (p *peer) checkGrant(g gateway.Grant) error {
	if g.IsDoelgebonden() {
		return p.policy.Session().Catalogue().Check(g, p.now())
	}
	service, ours := p.cfg.Inway.Services[g.Service]
	if g.ServicePeer == p.self.ID && ours && (service.Doelbinding == nil || *service.Doelbinding) {
		return gateway.Errorf(gateway.Invalid, "grant for service %s: it is purpose-bound; put doel in the grant's properties", g.Service)
	}
	return nil
}

func (p *peer) openSource(ctx context.Context) (err error) {
	if p.cfg.Source == nil {
		return nil
	}
	source, err := database.Open(ctx, *p.cfg.Source.Database, database.Options{Now: p.now})
	if err != nil {
		return fmt.Errorf("bron.database: %w", err)
	}
	p.onClose(source.Close)
	p.source, err = p.withRegister(source)
	return err
}

// openRoles makes a server of every role with an address.
func (p *peer) openRoles(ctx context.Context) error {
	groupSide := p.group.ServerTLS(p.identity)
	ownSide := certs.InternalServerTLS(p.network)
	p.addRole("manager", p.cfg.Manager.Listen, p.manager.Handler(), groupSide)
	if p.cfg.Inway.Listen != "" {
		in, err := p.openInway(ctx)
		if err != nil {
			return err
		}
		p.addRole("inway", p.cfg.Inway.Listen, in, groupSide)
	}
	out := &outway.Handler{
		Self: p.self, Group: p.rules(), Auth: p.auth, Grants: p.manager, Tokens: p.tokens(), Policy: p.policy, Audit: p.audit, Sign: p.asks, Pseudonyms: p.pseudonyms,
		Transport: p.transport.To, VerifyChain: p.group.VerifyChain, Now: p.now, Log: p.log, Fault: stepFault(),
	}
	if p.cfg.Outway.Listen != "" {
		p.addRole("outway", p.cfg.Outway.Listen, out, ownSide)
	}
	if p.cfg.Bevraging.Listen != "" {
		h, err := p.openBevraging(out)
		if err != nil {
			return err
		}
		p.addRole("bevraging", p.cfg.Bevraging.Listen, h, ownSide)
	}
	if p.cfg.Beheer.Listen != "" {
		h, err := p.openBeheer()
		if err != nil {
			return err
		}
		p.addRole("beheer", p.cfg.Beheer.Listen, h, ownSide)
	}
	if p.cfg.Monitoring.Listen != "" {
		p.addRole("bewaking", p.cfg.Monitoring.Listen, p.health.monitoring(p.metrics.handler()), ownSide)
	}
	return nil
}

func (p *peer) addRole(name, address string, h http.Handler, tlsConfig *tls.Config) {
	server := edge.NewServer(p.metrics.observe(name, h), tlsConfig, p.log.With(slog.String("role", name)))
	server.RegisterOnShutdown(p.watch.stop) // who follows records would hold up the stop
	if name == "manager" || name == "inway" {
		p.group.Track(server)
		p.identity.Retire(server)
	} else {
		p.network.Retire(server)
	}
	p.roles = append(p.roles, role{name: name, address: address, server: server})
}

// tasks is the work in the background, beside shipping the journal.
func (p *peer) tasks() []task {
	watch := func(f func(context.Context)) func(context.Context) error {
		return func(ctx context.Context) error { f(ctx); return nil }
	}
	return append([]task{
		{"manager", p.manager.Run},
		{"group.vertrouwen", watch(func(ctx context.Context) { p.group.Watch(ctx, watchEvery) })},
		{"certificaat", watch(func(ctx context.Context) { p.identity.Watch(ctx, watchEvery, p.log) })},
		{"netwerk.certificaat", watch(func(ctx context.Context) { p.network.Watch(ctx, watchEvery, p.log) })},
		{"beleid", watch(p.watchPolicy)},
		{"netwerk.issuerSleutels", watch(p.watchIssuers)},
		{"verklaring", watch(func(ctx context.Context) { p.asks.Run(ctx, p.log) })},
		{"kwitantie", watch(func(ctx context.Context) { p.answers.Run(ctx, p.log) })},
	}, p.vaultTasks...)
}

// tokens fetches access tokens for our outway.
func (p *peer) tokens() *manager.TokenClient {
	return &manager.TokenClient{
		Self: p.self.ID, Group: p.rules(), Peers: p.managers, Certificate: p.identity.Cert, Now: p.now,
	}
}

// openInway makes the inway with its services. It knows the transaction ids of before a restart.
func (p *peer) openInway(context.Context) (http.Handler, error) {
	tokens := accesstoken.NewVerifier(p.self.ID, p.cfg.Group.ID, func(x5t string) (*x509.Certificate, bool) {
		all := p.identity.Recent() // a token signed just before a renewal is still ours
		n := slices.IndexFunc(all, func(c *x509.Certificate) bool { return jose.Thumbprint(c) == x5t })
		return all[max(n, 0)], n >= 0
	}, p.now)
	tokens.Audiences = []string{p.cfg.Inway.Address}
	h := &inway.Handler{
		Self: p.self, PeerOf: p.group.PeerOf, Tokens: tokens, Grants: p.manager, Policy: p.policy, Audit: p.audit, Sign: p.answers,
		Services: map[gateway.ServiceName]inway.Service{}, Now: p.now, Log: p.log, Fault: stepFault(),
	}
	for name, service := range p.cfg.Inway.Services {
		s := inway.Service{Doelbinding: service.Doelbinding}
		if service.URL == "" {
			s.Handler = p.takeReports(&clientgegevens.Handler{
				Self: p.self, Tokens: tokens, Grants: p.manager, Transacties: h, Policy: p.policy, Toestemmingen: p.store,
				Audit: p.audit, Sign: p.answers, Pseudonyms: p.pseudonyms, Bron: p.source, DemoBSN: p.cfg.Demo,
				Timeout: p.cfg.Source.Timeout, Now: p.now, Log: p.log, Fault: stepFault(),
			})
		} else {
			var err error
			if s.URL, err = url.Parse(service.URL); err != nil {
				return nil, fmt.Errorf("inway.services.%s.url: %w", name, err)
			}
			if s.Transport, err = serviceTransport(service.CA); err != nil {
				return nil, fmt.Errorf("inway.services.%s.ca: %w", name, err)
			}
		}
		h.Services[name] = s
	}
	err := h.Restore(func(since time.Time, each func(audit.Record) error) error {
		return p.journal.Scan(since, func(e journal.Entry) error { return each(e.Record) })
	})
	if err != nil {
		return nil, fmt.Errorf("inway: transaction ids of before: %w", err)
	}
	return h, nil
}

// serviceTransport reaches a service on our own network: kept connections, the system's trust or the given CA, no proxy.
func serviceTransport(ca string) (http.RoundTripper, error) {
	t := &http.Transport{
		MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second, ResponseHeaderTimeout: inway.DefaultTimeout,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableCompression: true,
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

func (p *peer) openBevraging(out http.Handler) (http.Handler, error) {
	h := &bevraging.Handler{
		Self: p.self, Auth: p.auth, Grants: p.manager, Outway: inProcess{p.metrics.observe("outway", out)}, Policy: p.policy, Audit: p.audit,
		Pseudonyms: p.pseudonyms, Demo: p.cfg.Demo, Config: p.cfg.Bevraging.Config, Now: p.now, Log: p.log,
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
	known, err := p.manager.Known(ctx)
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
	sleutel, err := jose.KeyThumbprint(p.identity.Cert().PublicKey)
	if err != nil {
		return nil, fmt.Errorf("certificaat: %w", err)
	}
	h := &beheer.Handler{
		Self: p.self, Sleutel: sleutel, Auth: p.auth, Contracten: p.manager, Voorstel: p.manager, Vernieuwing: p.manager, Groep: p.manager, Deelname: p.manager,
		Ondertekening: p.manager, Register: p.store, Toestemmingen: p.store, Records: shipped{p.journal, p.reader}, Policy: p.policy,
		Volgen: followed{p.journal, p.watch}, Gezondheid: p.health,
		Audit: p.audit, Pseudonyms: p.pseudonyms, Demo: p.cfg.Demo, Now: p.now,
	}
	p.administer(h)
	return h.Router()
}
