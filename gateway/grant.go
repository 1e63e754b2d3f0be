package gateway

import "time"

// ContentHash is the hash of a contract's content: "$1$1$" and base64url of SHA3-512 (FSC Core, content hash).
type ContentHash string

// GrantHash is the hash of one grant: "$1$<HashType>$" and base64url of SHA3-512 (FSC Core, grant hash).
type GrantHash string

// GrantType is one of the four grants of FSC Core.
type GrantType string

// The grants of FSC Core.
const (
	ServicePublication          GrantType = "GRANT_TYPE_SERVICE_PUBLICATION"
	ServiceConnection           GrantType = "GRANT_TYPE_SERVICE_CONNECTION"
	DelegatedServiceConnection  GrantType = "GRANT_TYPE_DELEGATED_SERVICE_CONNECTION"
	DelegatedServicePublication GrantType = "GRANT_TYPE_DELEGATED_SERVICE_PUBLICATION"
)

// Grant is a connection grant of a contract that was valid when it was read: who may ask which service of whom, for which
// purpose. It is what the packages that decide, sign and record have in common; gateway/contract owns the wire form.
type Grant struct {
	Hash             GrantHash
	Contract         ContentHash
	Type             GrantType
	Outway           PeerID // who asks
	OutwayThumbprint string // public-key thumbprint of the outway, or
	OutwayDomain     string // a domain name in its certificate: exactly one of the two
	ServicePeer      PeerID // who answers
	Service          ServiceName
	ServiceDelegator PeerID // for whom the service is offered, if for another
	Delegator        PeerID // on whose behalf the outway asks, for a delegated connection
	NotBefore        time.Time
	NotAfter         time.Time
	Properties       Properties
	RawProperties    []byte // grant.data.properties as signed (JSON object), nil if absent; becomes prp in the token
}

// Properties are the grant properties of our FSC extension for purpose binding (schemas/fsc-doelbinding.md). All are empty for a
// grant that is not purpose-bound.
type Properties struct {
	Doel                   Doel   `json:"doel"`
	DoelVersie             int    `json:"doelVersie"`
	DoelDigest             string `json:"doelDigest"` // base64url SHA-256 over the JCS form of what the entry means
	Velden                 Velden `json:"velden"`
	NamensCollege          PeerID `json:"namensCollege,omitempty"`
	Verwerkersovereenkomst string `json:"verwerkersovereenkomst,omitempty"`
}

// IsDoelgebonden reports whether the grant is bound to a purpose.
func (g Grant) IsDoelgebonden() bool { return g.Properties.Doel != "" }

// Richting is the direction of an exchange: in which legal role one organisation asks another (domain.md 3.0 point 11).
type Richting string

// The directions. The zero value is none of them and is refused.
const (
	Namens  Richting = "namens"  // an executor asks a college's data on behalf of that college
	Tussen  Richting = "tussen"  // a college asks another college's data
	Partner Richting = "partner" // a non-college asks
)

// Richting follows from the signed grant, never from what a question says: a delegated connection is tussen, a plain one with
// namensCollege is namens, a plain one without is partner.
func (g Grant) Richting() Richting {
	switch {
	case g.Type == DelegatedServiceConnection && g.Delegator != "":
		return Tussen
	case g.Type == ServiceConnection && g.Properties.NamensCollege != "":
		return Namens
	case g.Type == ServiceConnection:
		return Partner
	}
	return ""
}

// AfnemerRollen are the roles in which the asking organisation stands; they follow from the direction.
func (r Richting) AfnemerRollen() []string {
	switch r {
	case Namens:
		return []string{"verwerker-college"}
	case Tussen:
		return []string{"college"}
	case Partner:
		return []string{"partner"}
	}
	return nil
}
