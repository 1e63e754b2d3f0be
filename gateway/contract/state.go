package contract

import (
	"slices"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// State is what a contract is worth at a moment. The zero value is nothing; only Valid opens anything.
type State string

// The states of a contract.
const (
	Proposed State = "proposed" // waits for the accept of at least one peer
	NotYet   State = "not-yet"  // accepted by all, its validity has not begun
	Valid    State = "valid"
	Rejected State = "rejected"
	Revoked  State = "revoked"
	Expired  State = "expired"
)

// StateAt gives the state of c at now. Only signatures that were verified (Peer set), over this very content, by a peer that a
// grant names count; the caller leaves out those whose certificate no longer counts. One revoke or reject of any of them ends the
// contract for good: content is immutable, so a change of mind is a new contract.
func StateAt(c *Content, sigs []Signature, now time.Time) State {
	if c == nil || c.hash == "" || len(c.Grants) == 0 {
		return ""
	}
	signers := c.RequiredSigners()
	accepted := map[gateway.PeerID]bool{}
	var rejected, revoked bool
	for _, s := range sigs {
		if s.Hash != c.hash || !slices.Contains(signers, s.Peer) { // an unverified one has no peer
			continue
		}
		switch s.Type {
		case Accept:
			accepted[s.Peer] = true
		case Reject:
			rejected = true
		case Revoke:
			revoked = true
		}
	}
	switch {
	case revoked:
		return Revoked
	case rejected:
		return Rejected
	case now.After(c.NotAfter()):
		return Expired
	case len(accepted) < len(signers):
		return Proposed
	case now.Before(c.NotBefore()):
		return NotYet
	}
	return Valid
}
