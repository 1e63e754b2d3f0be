package contract

import (
	"crypto/x509"
	"encoding/json"
	"slices"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Signed is a verified signature with the chain of the certificate that verified it, signer first, without the root.
type Signed struct {
	Signature
	Chain    []*x509.Certificate
	Received time.Time
}

// Record is a contract as a peer keeps it: the content byte for byte as it came, and the signatures that it holds.
type Record struct {
	Hash     gateway.ContentHash
	Raw      json.RawMessage
	Received time.Time
	Signed   []Signed
}

// Of returns the signature of one peer and type.
func (r Record) Of(peer gateway.PeerID, t SignatureType) (Signed, bool) {
	i := slices.IndexFunc(r.Signed, func(s Signed) bool { return s.Peer == peer && s.Type == t })
	if i < 0 {
		return Signed{}, false
	}
	return r.Signed[i], true
}

// Admit reports whether s adds something to the record. It adds nothing when its peer already signed so under the same
// certificate, or later; under a renewed certificate it takes the place of the earlier one (FSC Core counts no signature whose
// certificate expired). The error, of kind Conflict, refuses an accept by a peer that rejected or revoked: the content is
// immutable and so is a no; a new contract is the way back. A reject or revoke is never refused for what came before it: it
// only narrows, and a peer may see a contract as proposed that we already see as valid.
func (r Record) Admit(s Signed) (adds bool, err error) {
	if s.Type == Accept {
		for _, no := range []SignatureType{Reject, Revoke} {
			if _, ok := r.Of(s.Peer, no); ok {
				return false, gateway.Errorf(gateway.Conflict, "signature: %s has put a %s on this contract, which is final; propose a new contract", s.Peer, no)
			}
		}
	}
	old, ok := r.Of(s.Peer, s.Type)
	return !ok || old.X5T != s.X5T && s.SignedAt.After(old.SignedAt), nil
}

// Delivery is the duty to bring one of our signatures to one other party.
type Delivery struct {
	ID       int64
	Contract gateway.ContentHash
	Receiver gateway.PeerID
	Type     SignatureType
	Submit   bool // the signature goes with the proposal itself
	JWS      string
	State    DeliveryState
	Attempts int
	Next     time.Time // not before this moment
	Reason   string    // why the last attempt did not succeed
	Changed  time.Time
}

// DeliveryState says how far a delivery is.
type DeliveryState string

// The states of a delivery. Failed means that the receiver refused for good.
const (
	Open      DeliveryState = "open"
	Delivered DeliveryState = "delivered"
	Failed    DeliveryState = "failed"
)

// Filter selects contracts. The zero value of a member does not filter.
type Filter struct {
	Party       gateway.PeerID
	GrantType   gateway.GrantType
	GrantHashes []gateway.GrantHash // when set, GrantType, After and Limit do not count
	After       Position            // the last one of the page before
	Ascending   bool
	Limit       int
}

// Position is a place in the list of contracts by creation date.
type Position struct {
	Created int64 // created_at, unix seconds
	Hash    gateway.ContentHash
}

// Summary is what a list of contracts shows of one.
type Summary struct {
	Hash       gateway.ContentHash
	State      State
	Content    *Content
	Signatures []SignatureState
	Missing    []gateway.PeerID // who must still accept, or accept again
	Failed     int              // deliveries that a party refused for good
	Open       int              // deliveries that are still on their way
}

// SignatureState is a signature and whether it counts now.
type SignatureState struct {
	Signature
	Counts bool
	Reason string // why not
}

// Detail is all that a peer knows of one contract.
type Detail struct {
	Summary
	Deliveries []Delivery
	Objection  string // why this peer can't accept it as it is; empty if it can
}

// KnownPeer is another peer and where its manager is.
type KnownPeer struct {
	gateway.Peer
	Address      string    // of its manager
	Announced    time.Time // when it last announced itself to us; zero if it did not
	Gemeentecode string    // for which it says to answer; empty in what the peer itself told us
	Origin       Origin    // who says so; empty in what the peer itself told us
}

// Origin says from whom we know a peer's address.
type Origin string

// The origins, the strongest first.
const (
	Configured Origin = "configuratie" // our own configuration
	Told       Origin = "peer"         // the peer itself, over a connection with its certificate
	Listed     Origin = "directory"    // a directory: a hint, since the certificate decides who answers there
)

// Listing is a published service as a directory lists it.
type Listing struct {
	Peer         KnownPeer // who offers it
	Service      gateway.ServiceName
	Protocol     string
	Delegator    gateway.Peer    // for whom it is offered, if for another
	Properties   json.RawMessage // of the publication grant; nil if it has none
	Gemeentecode string          // from the properties
	Directory    gateway.PeerID  // who lists it
	Confirmed    bool            // the peer itself says so too
}

// Key names the service in a list: by peer, name, and for whom it is offered.
func (l Listing) Key() string {
	return string(l.Peer.ID) + " " + string(l.Service) + " " + string(l.Delegator.ID)
}

// PeerFilter selects known peers. IDs, when set, overrides the rest.
type PeerFilter struct {
	IDs       []gateway.PeerID
	Since     time.Time // leaves out who announced itself before this moment, and not since; IDs does not override it
	Name      string    // contained in the name, in any case
	After     gateway.PeerID
	Ascending bool
	Limit     int
}
