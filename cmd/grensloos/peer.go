package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/certs/vault"
	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/connectors/database"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/journal"
	"github.com/grensloos/grensloos/gateway/audit/kafka"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/manager"
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
	internal   *certs.Internal // between the roles of this peer; nil when they are all in this process
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
	contracts   *manager.Contracts // what holds now: of manager, or following the store beside it
	manager     *manager.Manager   // nil in a process that signs no contracts
	managers    *manager.Peers     // nil in a process that calls no other peer
	transport   *certs.Transport
	health      *health
	metrics     *metrics
	watch       *watchers
	audit       audit.Log // the journal, watched
	stopping    atomic.Bool

	roles    []role
	ownTasks []task // that the roles of this process brought
	opened   []func(context.Context) error
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
		p.openIdentity, p.openPolicy, p.openStore, p.openAudit, p.openContracts, p.openSource, p.openRoles,
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
	need := p.cfg.needs()
	p.self = gateway.Peer{ID: p.cfg.Peer.ID, Name: p.cfg.Peer.Name}
	if need.GroupKey {
		if err := p.openGroupKey(ctx); err != nil {
			return err
		}
	}
	if p.cfg.onNetwork() {
		if err := p.openNetwork(ctx); err != nil {
			return err
		}
	}
	if need.Callers {
		if err := p.openCallers(); err != nil {
			return err
		}
	}
	if need.Pseudonyms {
		p.pseudonyms, err = loadPseudonyms(p.cfg)
	}
	return err
}

// openGroupKey loads our certificate in the group and its key.
func (p *peer) openGroupKey(ctx context.Context) (err error) {
	if p.identity, err = p.groupIdentity(ctx); err != nil {
		return err
	}
	if p.self, err = p.identity.Peer(); err != nil {
		return fmt.Errorf("certificaat: %w", err)
	}
	if p.self.ID != p.cfg.Peer.ID || p.self.Name != p.cfg.Peer.Name {
		return fmt.Errorf("peer: the certificate is of %s (%s), the configuration says %s (%s)", p.self.Name, p.self.ID, p.cfg.Peer.Name, p.cfg.Peer.ID)
	}
	if p.cfg.runs(roleOutway) {
		p.asks = verklaring.NewSigner(p.signer, verklaring.VoorVerklaring, p.now)
	}
	if p.cfg.runs(roleInway) {
		p.answers = verklaring.NewSigner(p.signer, verklaring.VoorKwitantie, p.now)
	}
	p.transport = p.group.Transport(p.identity)
	p.onClose(func() error { p.transport.CloseIdleConnections(); return nil })
	return nil
}

// openNetwork loads our certificate on the own network. With roles apart it says which roles this process has.
func (p *peer) openNetwork(ctx context.Context) (err error) {
	if p.network, err = p.networkIdentity(ctx); err != nil || !p.cfg.process.apart() {
		return err
	}
	has := certs.RolesOf(p.network.Cert(), p.self.ID)
	for _, role := range p.cfg.process.roles {
		if !slices.Contains(has, role) {
			return fmt.Errorf("netwerk.certificaat: does not name the role %s (%s): grensloos pki issue --dir ... --intern --oin %s --rol %s ..., or allow that URI in the role of vault.netwerk",
				role, role.URI(p.self.ID), p.self.ID, role)
		}
	}
	p.internal, err = certs.OpenInternal(p.self.ID, certs.InternalConfig{CA: p.cfg.Network.CA, CRLs: p.cfg.Network.CRLs}, p.network, p.now, p.log)
	if err != nil {
		return fmt.Errorf("netwerk: %w", err)
	}
	return nil
}

// openCallers loads who may issue JWTs to callers on the own network.
func (p *peer) openCallers() (err error) {
	issuers := edge.Issuers{Issuer: p.cfg.Network.Issuer, Audience: p.cfg.Network.Audience, Organisatie: p.self.ID}
	if issuers.Keys, err = p.issuerKeys(); err != nil {
		return err
	}
	if p.auth, err = edge.NewVerifier(issuers, p.now); err != nil {
		return fmt.Errorf("netwerk: %w", err)
	}
	return nil
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
	if p.cfg.process.embedded {
		ensure = func(ctx context.Context) error { return kafka.EnsureTopics(ctx, target) }
	}
	if len(target.Brokers) == 0 {
		if p.broker, err = kafka.StartBroker(p.cfg.Audit.Embedded, p.log); err != nil {
			return fmt.Errorf("audit.ingebouwd: %w", err)
		}
		p.onClose(p.broker.Close)
		embedded := p.broker.Config()
		target.Brokers, target.SASL, target.TLS = embedded.Brokers, embedded.SASL, embedded.TLS
		target.Compression = or(target.Compression, embedded.Compression)
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
	if p.cfg.needs().Reading {
		if p.reader, err = kafka.NewReader(target); err != nil {
			return fmt.Errorf("audit.kafka: %w", err)
		}
		p.onClose(p.reader.Close)
	}
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

// openContracts knows which contracts hold. A process that signs none follows what the manager keeps in the store.
func (p *peer) openContracts(ctx context.Context) (err error) {
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
	if p.transport != nil {
		p.managers = &manager.Peers{
			Addresses: addresses, Book: p.store, Own: p.cfg.Manager.Address, Transport: p.transport.To, VerifyChain: p.group.VerifyChain, Now: p.now,
		}
	}
	if p.cfg.runs(roleManager) || p.cfg.runs(roleBeheer) {
		return p.openManager(ctx, directories, configured)
	}
	p.contracts, err = manager.NewContracts(manager.Following{
		Self: p.self, Store: p.store, VerifyChain: p.group.VerifyChain, Directories: directories, Configured: configured, Now: p.now, Log: p.log,
	})
	return err
}

func (p *peer) openManager(_ context.Context, directories []gateway.PeerID, configured []contract.KnownPeer) (err error) {
	services := make(map[gateway.ServiceName]string, len(p.cfg.Inway.Services))
	for name := range p.cfg.Inway.Services {
		services[name] = p.cfg.Inway.Address
	}
	o := manager.Options{
		Self: p.self, Rules: contract.Rules{Group: p.rules()}, Address: p.cfg.Manager.Address, Store: p.store, Peers: p.managers,
		PeerOf: p.group.PeerOf, VerifyChain: p.group.VerifyChain, Signer: p.signer, Audit: p.audit, CheckProperties: p.checkGrant,
		Services: services, TokenTTL: p.cfg.Manager.TokenTTL, RetryStart: p.cfg.Manager.RetryStart,
		Directories: directories, DirectoryEvery: p.cfg.Manager.Directory.Every, AcceptPublications: p.cfg.Manager.Directory.Accept,
		Configured: configured, RenewBefore: time.Duration(p.cfg.Manager.RenewDays) * 24 * time.Hour, Now: p.now, Log: p.log,
	}
	if p.cfg.process.apart() {
		o.Certificates = ownCertificates{p.store, roleManager}
	}
	if p.manager, err = manager.New(o); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	p.contracts = p.manager.Contracts
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
	if p.cfg.Source == nil || !p.cfg.needs().Source {
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
