// Package certs owns who a peer is on the wire: the trust anchors and certificate revocation lists (CRLs) of a group, the
// tls.Config of every listener and client, a peer's own certificate and key, and a development PKI.
//
// It implements the group side of FSC Core (mTLS under the Trust Anchor; Peer ID and name from X.509) with the rules of
// Digikoppeling Beveiligingsstandaarden: PKI001 (OIN in subject serialNumber), PKI002-004 (valid and not revoked, by CRL), TLS001-006 and
// TLSCIPH001 (mutual TLS 1.2 or higher, forward secrecy and authenticated encryption only).
//
// It refuses a certificate that is foreign, expired, revoked or without an identity, and, since absence of proof is no proof, one
// whose issuer has no CRL or only a CRL past its nextUpdate. Intermediates are held against the CRL of their own issuer.
//
// Invariant for review: whatever is decided about a certificate is decided against one immutable trust state, and no decision
// outlives that state, the certificates in its chain, or the nextUpdate of the CRLs it was read from. A reload that goes wrong
// changes nothing: the old state ages until it fails closed.
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Config says whom a group trusts. Its files are read again when they change, without a restart.
type Config struct {
	// Ankers are PEM files with the root certificates of the group. All peers of a group trust the same anchors (FSC Core, Trust
	// Anchor). At least one.
	Ankers []string `yaml:"ankers"`

	// CRLs are files with certificate revocation lists, PEM or DER: one of the root and one of each intermediate that issues to
	// peers. Whoever fetches them replaces the files (write beside it, then rename). A list past its nextUpdate refuses every
	// certificate of its issuer, so fetch well before.
	CRLs []string `yaml:"crls"`

	// CRLsNietVerplicht lets certificates in whose issuer has no CRL at all. Leave it off outside a laboratory: without CRLs a
	// stolen key stays good until its certificate ends. A CRL that is there counts, also then.
	CRLsNietVerplicht bool `yaml:"crlsNietVerplicht"`
}

// Group verifies the certificates of the peers of one FSC group. It is safe for concurrent use.
type Group struct {
	rules gateway.GroupRules
	cfg   Config
	now   func() time.Time
	log   *slog.Logger
	who   func(*x509.Certificate) (gateway.Peer, error) // nil: gateway.PeerFrom

	trust atomic.Pointer[trust]

	reload sync.Mutex // one reload at a time
	seen   string     // fingerprint of the files that the trust in force was read from; guarded by reload

	conns registry
}

// OpenGroup reads the anchors and CRLs of a group. Errors are of kind Invalid and name the file. A CRL that is past its
// nextUpdate is no reason not to start: it refuses certificates until its successor is there.
func OpenGroup(rules gateway.GroupRules, cfg Config, now func() time.Time, log *slog.Logger) (*Group, error) {
	if now == nil {
		now = time.Now
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if _, err := gateway.ParseGroupID(string(rules.ID)); err != nil {
		return nil, err
	}
	g := &Group{rules: rules, cfg: cfg, now: now, log: log}
	if err := g.Reload(); err != nil {
		return nil, err
	}
	return g, nil
}

// Reload reads the files again, now, and closes the open connections of peers that are not trusted any more. On an error the
// trust of before stays in force.
func (g *Group) Reload() error {
	g.reload.Lock()
	defer g.reload.Unlock()
	return g.reloadLocked()
}

func (g *Group) reloadLocked() error {
	seen := fingerprint(g.files()) // taken before reading: a change during the reading shows at the next look
	old := g.trust.Load()
	fresh, err := loadTrust(g.rules.ID, g.cfg)
	if err != nil {
		return err
	}
	if g.who != nil {
		fresh.who = g.who
	}
	for _, kept := range fresh.keepNewer(old) {
		g.log.Warn("CRL file is older than the list already read; keeping the newer one", slog.String("file", kept.file), slog.String("number", kept.number.String()))
	}
	for _, stale := range fresh.stale(g.now()) {
		g.log.Warn("CRL is past its nextUpdate: certificates of its issuer are refused", slog.String("file", stale.file), slog.Time("nextUpdate", stale.next))
	}
	g.trust.Store(fresh)
	g.seen = seen
	g.cut()
	return nil
}

// Watch looks at the files every so often, reloads them when one has changed, and closes connections whose certificate has
// expired or whose CRL has gone stale meanwhile. It returns when ctx ends.
func (g *Group) Watch(ctx context.Context, every time.Duration) {
	told := "" // fingerprint of the files that were reported as unreadable: tried at every look, reported once
	poll(ctx, every, func() {
		g.reload.Lock()
		defer g.reload.Unlock()
		now := fingerprint(g.files())
		if g.seen == now {
			g.cut()
			return
		}
		if err := g.reloadLocked(); err != nil {
			if told != now {
				told = now
				g.log.Error("trust not reloaded; the anchors and CRLs of before stay in force, and this is tried again", slog.Any("error", err))
			}
			g.cut()
			return
		}
		g.log.Info("trust reloaded")
	})
}

func (g *Group) files() []string {
	return append(append([]string(nil), g.cfg.Ankers...), g.cfg.CRLs...)
}

// PeerOf says which peer is on the other end of a connection that came in, and gives its certificate. Call it for every request:
// an open connection is not verified again by TLS, but it is here, against the trust of this moment. Kind Denied for a certificate
// that is wrong, expired, foreign or revoked; kind Unavailable when there is no CRL that can tell.
func (g *Group) PeerOf(cs *tls.ConnectionState) (gateway.Peer, *x509.Certificate, error) {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return gateway.Peer{}, nil, gateway.Errorf(gateway.Denied, "no client certificate: call over mTLS with a certificate of group %s", g.rules.ID)
	}
	now := g.now()
	v, err := g.trust.Load().verify(cs.PeerCertificates, now, now, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return gateway.Peer{}, nil, err
	}
	return v.peer, cs.PeerCertificates[0], nil
}

// codePeerCertificate is the code of FSC Core (manager.yaml) for a certificate that does not prove its peer.
const codePeerCertificate = "ERROR_CODE_PEER_CERTIFICATE_VERIFICATION_FAILED"

// VerifyChain checks the certificate of a signature (from x5c or a JWKS): leaf first, then its intermediates; the root may be left
// out. Validity is judged at the moment at, revocation as known now. Kinds as PeerOf, with the code of FSC Core.
func (g *Group) VerifyChain(chain []*x509.Certificate, at time.Time) (gateway.Peer, error) {
	v, err := g.trust.Load().verify(chain, at, g.now(), x509.ExtKeyUsageAny)
	if err != nil {
		return gateway.Peer{}, &gateway.Error{Kind: gateway.KindOf(err), Code: codePeerCertificate, Message: "signing certificate", Cause: err}
	}
	return v.peer, nil
}

// poll calls look every so often until ctx ends.
func poll(ctx context.Context, every time.Duration, look func()) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			look()
		}
	}
}

// fingerprint changes when one of the files does: by time of change, size, presence.
func fingerprint(files []string) string {
	var b strings.Builder
	for _, name := range files {
		if info, err := os.Stat(name); err == nil {
			fmt.Fprintf(&b, "%d.%d/", info.Size(), info.ModTime().UnixNano())
		} else {
			b.WriteString("-/")
		}
	}
	return b.String()
}
