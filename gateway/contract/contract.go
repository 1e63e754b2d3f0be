// Package contract owns the contract of FSC Core 2.0.0: its wire form, what makes it acceptable, its hashes, the signatures over
// it and the state that follows from them. It is pure: no network, no disk, no clock of its own.
//
// It refuses what FSC Core refuses (contract content, grants, signatures), FSC 1.1.x shapes (no fsc_version, a flat
// outway.public_key_thumbprint), members that nobody defined, grant properties that no extension of the group documents, and
// what schemas/DIVERGENCES.md lists as our own choice. The codes are those of the Manager of FSC Core, in gateway.Error.Code.
//
// Hashes (FSC Core, content hash and grant hash) are SHA3-512 over the JCS form of the bytes as received, never over a value that
// was decoded and encoded again, so that array order and properties survive.
//
// Invariant: a Content that ParseContent or New returned is never changed; its hash and its grants belong together.
package contract

import (
	"bytes"
	"crypto/sha3"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

// What FSC Core 2.0.0 fixes.
const (
	Version       = "2.0.0"                   // fsc_version
	HashAlgorithm = "HASH_ALGORITHM_SHA3_512" // hash_algorithm

	ServiceTypeService   = "SERVICE_TYPE_SERVICE"
	ServiceTypeDelegated = "SERVICE_TYPE_DELEGATED_SERVICE"

	ProtocolHTTP1 = "PROTOCOL_TCP_HTTP_1.1"
	ProtocolHTTP2 = "PROTOCOL_TCP_HTTP_2"

	ByThumbprint = "OUTWAY_IDENTIFICATION_TYPE_PUBLIC_KEY_THUMBPRINT"
	ByDomainName = "OUTWAY_IDENTIFICATION_TYPE_DOMAIN_NAME"
)

// The error codes of the Manager (FSC Core; the text's list, which is longer than that of manager.yaml).
const (
	CodeIncorrectGroup      = "ERROR_CODE_INCORRECT_GROUP_ID"
	CodeSubmitterNotParty   = "ERROR_CODE_SUBMITTING_PEER_NOT_PART_OF_CONTRACT"
	CodeReceiverNotParty    = "ERROR_CODE_RECEIVING_PEER_NOT_PART_OF_CONTRACT"
	CodeHashMismatch        = "ERROR_CODE_SIGNATURE_CONTRACT_CONTENT_HASH_MISMATCH"
	CodePeerCertificate     = "ERROR_CODE_PEER_CERTIFICATE_VERIFICATION_FAILED"
	CodePeerMismatch        = "ERROR_CODE_PEER_ID_SIGNATURE_MISMATCH"
	CodeSignature           = "ERROR_CODE_SIGNATURE_VERIFICATION_FAILED"
	CodeGrantCombination    = "ERROR_CODE_GRANT_COMBINATION_NOT_ALLOWED"
	CodeURLHashMismatch     = "ERROR_CODE_URL_PATH_CONTENT_HASH_MISMATCH"
	CodeUnknownHash         = "ERROR_CODE_UNKNOWN_HASH_ALGORITHM_HASH"
	CodeUnknownSignatureAlg = "ERROR_CODE_UNKNOWN_ALGORITHM_SIGNATURE"
	CodeUnknownVersion      = "ERROR_CODE_UNKNOWN_FSC_VERSION"
)

// MaxBytes is the largest contract content that is read.
const MaxBytes = 1 << 20

// Content is the content of a contract, as it crosses the wire.
type Content struct {
	FSCVersion    string          `json:"fsc_version"`
	IV            string          `json:"iv"`
	GroupID       gateway.GroupID `json:"group_id"`
	Validity      Validity        `json:"validity"`
	Grants        []GrantEnvelope `json:"grants"`
	HashAlgorithm string          `json:"hash_algorithm"`
	CreatedAt     int64           `json:"created_at"`

	Raw []byte `json:"-"` // as received; what MarshalJSON writes

	hash   gateway.ContentHash
	grants []gateway.GrantHash
	doelen []doelbinding // by grant
}

// doelbinding is what the properties of one grant say of its purpose: nothing, something, or what is wrong with it.
type doelbinding struct {
	properties gateway.Properties
	err        error
}

// Validity is a span of unix seconds, both ends included.
type Validity struct {
	NotBefore int64 `json:"not_before"`
	NotAfter  int64 `json:"not_after"`
}

// GrantEnvelope is one element of grants.
type GrantEnvelope struct {
	Data GrantData `json:"data"`
}

// GrantData is any of the four grants: Type says which members it has.
type GrantData struct {
	Type       gateway.GrantType `json:"type"`
	Outway     *Outway           `json:"outway,omitempty"`    // connection grants
	Directory  *PeerRef          `json:"directory,omitempty"` // publication grants
	Service    Service           `json:"service"`
	Delegator  *PeerRef          `json:"delegator,omitempty"` // delegated grants
	Properties json.RawMessage   `json:"properties,omitempty"`
}

// Outway says which outway may connect.
type Outway struct {
	PeerID         gateway.PeerID `json:"peer_id"`
	Identification Identification `json:"identification"`
}

// Identification is a public-key thumbprint or a domain name, as Type says.
type Identification struct {
	Type                string `json:"type"`
	PublicKeyThumbprint string `json:"public_key_thumbprint,omitempty"`
	DomainName          string `json:"domain_name,omitempty"`
}

// Service is the service of a grant. Type stands in connection grants only, Protocol in publication grants only.
type Service struct {
	Type      string              `json:"type,omitempty"`
	PeerID    gateway.PeerID      `json:"peer_id"`
	Name      gateway.ServiceName `json:"name"`
	Protocol  string              `json:"protocol,omitempty"`
	Delegator *PeerRef            `json:"delegator,omitempty"` // for Type ServiceTypeDelegated
}

// PeerRef names a peer.
type PeerRef struct {
	PeerID gateway.PeerID `json:"peer_id"`
}

// ParseContent reads contract content of at most MaxBytes: its form, not whether it is acceptable (Validate). The error is of kind Invalid and names the member; an unknown fsc_version or hash_algorithm has its code.
func ParseContent(raw []byte) (*Content, error) {
	if len(raw) > MaxBytes {
		return nil, gateway.Errorf(gateway.Invalid, "content: %d bytes, at most %d are accepted", len(raw), MaxBytes)
	}
	// Version and algorithm first: they say how to read the rest.
	var head struct {
		FSCVersion    string `json:"fsc_version"`
		HashAlgorithm string `json:"hash_algorithm"`
	}
	if err := jose.Decode(raw, &head, jose.AllowUnknown()); err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "content")
	}
	if head.FSCVersion != Version {
		return nil, gateway.WithCode(gateway.Invalid, CodeUnknownVersion, "content.fsc_version: only %q is accepted", Version)
	}
	if head.HashAlgorithm != HashAlgorithm {
		return nil, gateway.WithCode(gateway.Invalid, CodeUnknownHash, "content.hash_algorithm: only %q is accepted", HashAlgorithm)
	}
	var wire plain
	if err := jose.Decode(raw, &wire); err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "content")
	}
	c := &Content{
		FSCVersion: wire.FSCVersion, IV: wire.IV, GroupID: wire.GroupID, Validity: wire.Validity,
		HashAlgorithm: wire.HashAlgorithm, CreatedAt: wire.CreatedAt, Raw: slices.Clone(raw),
	}
	canonical, err := jose.CanonicalJSON(raw)
	if err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "content")
	}
	c.hash = gateway.ContentHash("$1$1$" + digest(canonical))
	for i, g := range wire.Grants {
		if err := c.addGrant(g.Data); err != nil {
			return nil, gateway.Wrap(gateway.Invalid, err, at(i))
		}
	}
	return c, nil
}

// plain is Content with the grants left raw, since they are hashed as they came.
type plain struct {
	FSCVersion    string          `json:"fsc_version"`
	IV            string          `json:"iv"`
	GroupID       gateway.GroupID `json:"group_id"`
	Validity      Validity        `json:"validity"`
	Grants        []rawGrant      `json:"grants"`
	HashAlgorithm string          `json:"hash_algorithm"`
	CreatedAt     int64           `json:"created_at"`
}

type rawGrant struct {
	Data json.RawMessage `json:"data"`
}

func (c *Content) addGrant(raw json.RawMessage) error {
	if raw == nil {
		return gateway.Errorf(gateway.Invalid, "data: missing")
	}
	var data GrantData
	if err := jose.Decode(raw, &data); err != nil {
		return err
	}
	hashType, ok := hashTypes[data.Type]
	if !ok {
		return gateway.Errorf(gateway.Invalid, "type: give one of the four grant types of FSC Core")
	}
	canonical, err := jose.CanonicalJSON(raw)
	if err != nil {
		return err
	}
	if data.Properties != nil && !bytes.HasPrefix(data.Properties, []byte("{")) {
		return gateway.Errorf(gateway.Invalid, "properties: give a JSON object, or leave it out")
	}
	properties, err := parseProperties(data.Properties)
	c.Grants = append(c.Grants, GrantEnvelope{Data: data})
	c.grants = append(c.grants, gateway.GrantHash("$1$"+hashType+"$"+digest([]byte(c.hash), canonical)))
	c.doelen = append(c.doelen, doelbinding{properties, err})
	return nil
}

// hashTypes are the HashType numbers of FSC Core; 1 is the contract.
var hashTypes = map[gateway.GrantType]string{
	gateway.ServicePublication:          "2",
	gateway.ServiceConnection:           "3",
	gateway.DelegatedServiceConnection:  "4",
	gateway.DelegatedServicePublication: "5",
}

func digest(parts ...[]byte) string {
	h := sha3.New512()
	for _, p := range parts {
		_, _ = h.Write(p) // a hash never fails
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// Hash is the content hash.
func (c *Content) Hash() gateway.ContentHash { return c.hash }

// GrantHashes are the hashes of the grants, in their order.
func (c *Content) GrantHashes() []gateway.GrantHash { return slices.Clone(c.grants) }

// MarshalJSON writes the content as it was received.
func (c *Content) MarshalJSON() ([]byte, error) {
	if c == nil || c.Raw == nil {
		return nil, gateway.Errorf(gateway.Internal, "contract content: made by ParseContent or New only")
	}
	return c.Raw, nil
}

// UnmarshalJSON is ParseContent.
func (c *Content) UnmarshalJSON(raw []byte) error {
	parsed, err := ParseContent(raw)
	if err != nil {
		return err
	}
	*c = *parsed
	return nil
}

// NotBefore and NotAfter are the span of validity.
func (c *Content) NotBefore() time.Time { return time.Unix(c.Validity.NotBefore, 0) }

// NotAfter is the last second of validity.
func (c *Content) NotAfter() time.Time { return time.Unix(c.Validity.NotAfter, 0) }

// Parties are the peers that the grants name, in order of appearance.
func (c *Content) Parties() []gateway.PeerID {
	var all []gateway.PeerID
	add := func(id gateway.PeerID) {
		if id != "" && !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	for _, g := range c.Grants {
		d := g.Data
		if d.Outway != nil {
			add(d.Outway.PeerID)
		}
		if d.Directory != nil {
			add(d.Directory.PeerID)
		}
		add(d.Service.PeerID)
		for _, ref := range []*PeerRef{d.Service.Delegator, d.Delegator} {
			if ref != nil {
				add(ref.PeerID)
			}
		}
	}
	return all
}

// RequiredSigners are the peers whose accept the contract needs: every one that a grant names, delegators too (FSC Core, grants;
// schemas/DIVERGENCES.md for the delegators).
func (c *Content) RequiredSigners() []gateway.PeerID { return c.Parties() }

// ConnectionGrants are the plain and delegated connection grants in the form that the other packages know. A grant whose
// properties Validate refuses is not among them: it must not pass for one that is not purpose-bound.
func (c *Content) ConnectionGrants() []gateway.Grant {
	var out []gateway.Grant
	for i, env := range c.Grants {
		d := env.Data
		if c.doelen[i].err != nil || d.Outway == nil || d.Type != gateway.ServiceConnection && d.Type != gateway.DelegatedServiceConnection {
			continue
		}
		g := gateway.Grant{
			Hash: c.grants[i], Contract: c.hash, Type: d.Type,
			Outway:           d.Outway.PeerID,
			OutwayThumbprint: strings.ToLower(d.Outway.Identification.PublicKeyThumbprint),
			OutwayDomain:     strings.ToLower(d.Outway.Identification.DomainName),
			ServicePeer:      d.Service.PeerID, Service: d.Service.Name,
			NotBefore: c.NotBefore(), NotAfter: c.NotAfter(),
			Properties: c.doelen[i].properties, RawProperties: slices.Clone([]byte(d.Properties)),
		}
		if d.Service.Delegator != nil {
			g.ServiceDelegator = d.Service.Delegator.PeerID
		}
		if d.Delegator != nil {
			g.Delegator = d.Delegator.PeerID
		}
		out = append(out, g)
	}
	return out
}

// MatchPath checks the hash that a Manager finds in the path of accept, reject and revoke.
func (c *Content) MatchPath(hash string) error {
	if hash != string(c.hash) {
		return gateway.WithCode(gateway.Invalid, CodeURLHashMismatch, "path: its hash is not that of the content in the body")
	}
	return nil
}

// CheckParties checks that both the peer that submits and the peer that receives are named in a grant.
func (c *Content) CheckParties(submitter, receiver gateway.PeerID) error {
	parties := c.Parties()
	if submitter == "" || !slices.Contains(parties, submitter) {
		return gateway.WithCode(gateway.Invalid, CodeSubmitterNotParty, "contract: no grant names peer %s, which submits it", submitter)
	}
	if receiver == "" || !slices.Contains(parties, receiver) {
		return gateway.WithCode(gateway.Invalid, CodeReceiverNotParty, "contract: no grant names peer %s, which receives it", receiver)
	}
	return nil
}

var (
	contentHashForm = regexp.MustCompile(`^\$1\$1\$([A-Za-z0-9_-]{86})$`)
	grantHashForm   = regexp.MustCompile(`^\$1\$[2-5]\$([A-Za-z0-9_-]{86})$`)
	anyHashForm     = regexp.MustCompile(`^\$[0-9]+\$[0-9]+\$`)
)

// ParseContentHash checks the form of a content hash. A hash of another algorithm has its own code.
func ParseContentHash(s string) (gateway.ContentHash, error) {
	if err := checkHash(s, contentHashForm, "content hash: give $1$1$ and base64url of a SHA3-512"); err != nil {
		return "", err
	}
	return gateway.ContentHash(s), nil
}

// ParseGrantHash checks the form of a grant hash: that of any of the four grants.
func ParseGrantHash(s string) (gateway.GrantHash, error) {
	if err := checkHash(s, grantHashForm, "grant hash: give $1$, the type of grant 2 to 5, $ and base64url of a SHA3-512"); err != nil {
		return "", err
	}
	return gateway.GrantHash(s), nil
}

func checkHash(s string, form *regexp.Regexp, want string) error {
	m := form.FindStringSubmatch(s)
	if m != nil {
		if _, err := base64.RawURLEncoding.Strict().DecodeString(m[1]); err == nil {
			return nil
		}
	}
	if anyHashForm.MatchString(s) && !strings.HasPrefix(s, "$1$") {
		return gateway.WithCode(gateway.Invalid, CodeUnknownHash, "%s", want)
	}
	return gateway.Errorf(gateway.Invalid, "%s", want)
}
