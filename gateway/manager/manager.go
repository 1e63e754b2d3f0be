// Package manager is the manager of one peer (FSC Core 2.0.0): it holds the contracts that the peer is a party to, puts and
// takes in signatures, brings its own signatures to every other party, gives out access tokens for the peer's services and
// fetches tokens for its outway.
//
// To other peers it speaks FSC over mTLS (Handler). Who calls is checked first, per request, before anything of it is read. It
// takes a signature only from the peer that made it, over content that it hashed itself, by a certificate that stands under the
// group's anchor now. To its own peer it is a Go API: Propose, Accept, Reject, Revoke, List, Show, Grant, Grants.
//
// It refuses: whatever FSC Core has a code for; an accept by who said no before; content under a used iv; a contract whose purpose
// this peer does not know as it is written (CheckProperties); a token for a contract that is not valid at this moment.
//
// Invariants a reviewer must keep: an act, our own or another peer's, is in the audit log before it takes effect; a signature and
// the duty to deliver it are one transaction; a no (reject, revoke) is never undone, also not by the expiry of the certificate
// that signed it; whether a grant is valid is answered from what the store said at most maxAge ago, or not at all.
package manager

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/jose"
)

// Limits and defaults.
const (
	DefaultTokenTTL   = 120 * time.Second
	MaxTokenTTL       = 5 * time.Minute
	DefaultRetryStart = time.Second
	MaxRetry          = 300 * time.Second // Digikoppeling REST-API: exponential back-off, cap 300 s

	maxContractBody = 1536 << 10
	maxTokenBody    = 8 << 10
	clockSkew       = 60 * time.Second // how far another peer's clock may be ahead

	// maxUnanswered is how many contracts of one peer may wait for our answer: nobody fills our disk with proposals.
	maxUnanswered = 1000
)

// Options are what a manager needs. All are required unless they say otherwise.
type Options struct {
	Self    gateway.Peer
	Rules   contract.Rules
	Address string // where other peers reach this manager: https://host:port
	Store   keeper // gateway/store
	Peers   *Peers // the other managers

	// PeerOf says who is at the other end of a connection, at this moment: certs.Group.PeerOf.
	PeerOf func(*tls.ConnectionState) (gateway.Peer, *x509.Certificate, error)
	// VerifyChain checks a signing certificate: certs.Group.VerifyChain.
	VerifyChain func(chain []*x509.Certificate, at time.Time) (gateway.Peer, error)
	// Signer gives the key and certificate of this moment.
	Signer func() *jose.Signer
	Audit  audit.Log
	// CheckProperties objects to a grant whose purpose is not what this peer knows it to be. It is asked for every connection
	// grant of a contract before this peer proposes or accepts it.
	CheckProperties func(gateway.Grant) error

	// Directories are the peers whose list of peers and services is followed, and to which this peer announces itself. Their
	// addresses stand in Peers.Addresses.
	Directories []gateway.PeerID
	// DirectoryEvery is how often they are read. Zero: DefaultDirectoryEvery.
	DirectoryEvery time.Duration
	// AcceptPublications makes this peer, as a directory, accept the publication of a service by a peer that announced itself.
	AcceptPublications bool
	// Configured are the peers that the configuration names. What it says of them wins over what a directory says.
	Configured []contract.KnownPeer
	// RenewBefore is how long before its end a contract that this peer needs is proposed anew. Zero: never.
	RenewBefore time.Duration

	// Certificates keeps those that the processes of this peer sign with, so that each knows the others'. Nil: this is the only one.
	Certificates certificates

	// Services that this peer offers, with the address of the inway that does (https://host:port). Empty: none.
	Services map[gateway.ServiceName]string
	// TokenTTL is how long a token lives, at most MaxTokenTTL. Zero: DefaultTokenTTL.
	TokenTTL time.Duration
	// RetryStart is the first pause of a delivery that did not succeed. Zero: DefaultRetryStart.
	RetryStart time.Duration

	Now func() time.Time
	Log *slog.Logger
}

// keeper is where contracts, deliveries and peers are kept.
type keeper interface {
	contractStore
	deliveryStore
	peerStore
	directoryStore
	// Alone runs do unless another process of this peer is in an Alone of the same name.
	Alone(ctx context.Context, name string, do func(context.Context) error) (did bool, err error)
}

type contractStore interface {
	Sign(context.Context, *contract.Content, contract.Signed, []contract.Delivery) (adds bool, err error)
	Contract(context.Context, gateway.ContentHash) (contract.Record, error)
	Contracts(context.Context, contract.Filter) ([]contract.Record, *contract.Position, error)
	InForce(context.Context, time.Time) ([]contract.Record, error)
	Unanswered(ctx context.Context, peer, self gateway.PeerID, now time.Time) (int, error)
	Changes(context.Context) (int64, error)
}

type deliveryStore interface {
	ClaimDeliveries(ctx context.Context, now, until time.Time, limit int) ([]contract.Delivery, error)
	SettleDelivery(context.Context, contract.Delivery) error
	NextDelivery(context.Context) (time.Time, error)
	Deliveries(context.Context, gateway.ContentHash) ([]contract.Delivery, error)
	FailedDeliveries(context.Context) (map[gateway.ContentHash]int, error)
	OpenDeliveries(context.Context) (map[gateway.ContentHash]int, error)
}

type directoryStore interface {
	Directory(context.Context, gateway.PeerID) ([]contract.KnownPeer, []contract.Listing, error)
	PutDirectory(context.Context, gateway.PeerID, []contract.KnownPeer, []contract.Listing) error
	Left(context.Context) (time.Time, error)
	SetLeft(context.Context, time.Time) error
}

type peerStore interface {
	Announce(context.Context, contract.KnownPeer, time.Time) error
	DropPeer(context.Context, gateway.PeerID) error
	PutPeer(context.Context, contract.KnownPeer, time.Time) error
	Peers(context.Context, contract.PeerFilter) ([]contract.KnownPeer, error)
}

// Manager is the manager of one peer. Its methods may be called from many goroutines.
type Manager struct {
	*Contracts
	o Options

	wake chan struct{} // tells Run that a delivery is due
	look chan struct{} // tells Run that a contract, or who we know, changed

	follows map[gateway.PeerID]*follow // by directory; never changed

	acceptable atomic.Bool // somebody announced itself since publications were last looked at

	resigned string    // thumbprint of the certificate under which everything stands; used by Run alone
	looked   int64     // changes of the store when publications were last looked at; used by Run alone
	renewed  time.Time // when contracts that end soon were last looked at; used by Run alone

	published atomic.Value // thumbprint of our certificate that Certificates has; a string

	known   sync.Mutex
	written map[gateway.PeerID]contract.KnownPeer // what was last written of a peer; guarded by known
}

// New makes a manager. The error is of kind Invalid and names the option.
func New(o Options) (*Manager, error) {
	switch {
	case o.Store == nil || o.Peers == nil || o.PeerOf == nil || o.VerifyChain == nil || o.Signer == nil || o.Audit == nil ||
		o.CheckProperties == nil || o.Now == nil || o.Log == nil:
		return nil, gateway.Errorf(gateway.Invalid, "manager: Store, Peers, PeerOf, VerifyChain, Signer, Audit, CheckProperties, Now and Log are required")
	case o.TokenTTL < 0 || o.TokenTTL > MaxTokenTTL:
		return nil, gateway.Errorf(gateway.Invalid, "manager.tokenTTL: give at most %v", MaxTokenTTL)
	case o.DirectoryEvery < 0 || o.RenewBefore < 0:
		return nil, gateway.Errorf(gateway.Invalid, "manager.directory.ververs, manager.vernieuwDagen: not negative")
	case o.RetryStart < 0 || o.RetryStart > MaxRetry:
		return nil, gateway.Errorf(gateway.Invalid, "manager.retryStart: give at most %v", MaxRetry)
	}
	if err := checkAddress(o.Address, o.Rules.Group); err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "manager.address")
	}
	for _, name := range slices.Sorted(maps.Keys(o.Services)) {
		if err := checkAddress(o.Services[name], o.Rules.Group); err != nil {
			return nil, gateway.Wrap(gateway.Invalid, err, "inway.address of service "+string(name))
		}
	}
	if o.TokenTTL == 0 {
		o.TokenTTL = DefaultTokenTTL
	}
	if o.RetryStart == 0 {
		o.RetryStart = DefaultRetryStart
	}
	if o.DirectoryEvery == 0 {
		o.DirectoryEvery = DefaultDirectoryEvery
	}
	following := Following{
		Self: o.Self, Store: o.Store, VerifyChain: o.VerifyChain, Directories: o.Directories, Configured: slices.Clone(o.Configured), Now: o.Now, Log: o.Log,
	}
	for i, p := range following.Configured {
		if p.Address == "" {
			following.Configured[i].Address = o.Peers.Addresses[p.ID]
		}
	}
	contracts, err := NewContracts(following)
	if err != nil {
		return nil, err
	}
	m := &Manager{
		Contracts: contracts, o: o, wake: make(chan struct{}, 1), look: make(chan struct{}, 1), written: map[gateway.PeerID]contract.KnownPeer{},
		follows: map[gateway.PeerID]*follow{},
	}
	for _, id := range o.Directories {
		if id == o.Self.ID {
			continue // our own list needs no following
		}
		if o.Peers.Addresses[id] == "" {
			return nil, gateway.Errorf(gateway.Invalid, "directories: peer %s has no address", id)
		}
		m.follows[id] = &follow{state: contract.DirectoryState{ID: id, Address: o.Peers.Addresses[id]}, confirms: map[string]attempt{}}
	}
	return m, nil
}

// checkAddress accepts https://host:port on a port of the group, and nothing beside it (FSC Core, Fsc-Manager-Address; aud).
func checkAddress(address string, group gateway.GroupRules) error {
	u, err := url.Parse(address)
	if err != nil || len(address) > 255 || u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" || u.User != nil ||
		(u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" {
		return gateway.Errorf(gateway.Invalid, "address: give https://host:port")
	}
	if port, err := strconv.Atoi(u.Port()); err != nil || !group.AllowsPort(port) {
		return gateway.Errorf(gateway.Invalid, "address: port %.6s is not one of the group's %v", u.Port(), group.Ports)
	}
	return nil
}

// put stores a signature. While it is under way nothing remembered is taken for fresh, and after it, whether it says that it failed or
// not, what was remembered is dropped: whoever can see the signature in the store is answered from it.
func (m *Manager) put(ctx context.Context, c *contract.Content, sig contract.Signed, deliver []contract.Delivery) error {
	m.writing.Add(1)
	defer m.writing.Add(-1)
	defer m.changes.Add(1)
	_, err := m.o.Store.Sign(ctx, c, sig, deliver)
	return err
}

// glance tells Run to look at contracts and peers now.
func (m *Manager) glance() {
	select {
	case m.look <- struct{}{}:
	default:
	}
}

// nudge tells Run to look at the deliveries now.
func (m *Manager) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}
