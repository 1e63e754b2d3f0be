package contract

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Rules are what the group decides about contracts. A zero limit takes its default, never "none".
type Rules struct {
	Group         gateway.GroupRules
	MaxGrants     int      // grants in one contract; 10 (Digikoppeling REST-API)
	MaxProperties int      // bytes of properties of one grant; 64 KiB
	Properties    []string // property names of other documented extensions of the group, carried and not interpreted
}

const (
	defaultMaxGrants     = 10
	defaultMaxProperties = 64 << 10

	// clockSkew is how far the clock of the peer that made a contract may be ahead.
	clockSkew = 60 * time.Second
)

var (
	uuidForm       = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)
	thumbprintForm = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
	labelForm      = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)
)

func at(grant int) string { return "content.grants[" + strconv.Itoa(grant) + "].data" }

// Validate checks everything that FSC Core and the group demand of content when it is proposed or received at now. The error is
// of kind Invalid, names the member, and has the code of FSC Core where there is one.
func (c *Content) Validate(r Rules, now time.Time) error {
	invalid := func(format string, args ...any) error { return gateway.Errorf(gateway.Invalid, format, args...) }
	if c.hash == "" {
		return invalid("content: empty")
	}
	if r.Group.ID == "" || c.GroupID != r.Group.ID {
		return gateway.WithCode(gateway.Invalid, CodeIncorrectGroup, "content.group_id: not the group of this peer, %q", r.Group.ID)
	}
	if !uuidForm.MatchString(c.IV) || strings.Trim(c.IV, "0-") == "" {
		return invalid("content.iv: give a UUID")
	}
	if c.CreatedAt <= 0 || time.Unix(c.CreatedAt, 0).After(now.Add(clockSkew)) {
		return invalid("content.created_at: give unix seconds that are not in the future")
	}
	if c.Validity.NotBefore <= 0 || c.Validity.NotAfter <= c.Validity.NotBefore {
		return invalid("content.validity: not_after must be later than not_before, both in unix seconds")
	}
	if !c.NotAfter().After(now) {
		return invalid("content.validity.not_after: is in the past")
	}
	limit := r.MaxGrants
	if limit <= 0 {
		limit = defaultMaxGrants
	}
	if len(c.Grants) == 0 || len(c.Grants) > limit {
		return invalid("content.grants: %d, give 1 to %d", len(c.Grants), limit)
	}
	if err := c.combination(); err != nil {
		return err
	}
	seen := map[gateway.GrantHash]bool{}
	for i, env := range c.Grants {
		if err := c.validateGrant(i, env.Data, r); err != nil {
			return gateway.Wrap(gateway.Invalid, err, at(i))
		}
		if seen[c.grants[i]] {
			return invalid("%s: the same grant stands there twice", at(i))
		}
		seen[c.grants[i]] = true
	}
	return nil
}

// combination refuses a publication grant beside a grant of any other type.
func (c *Content) combination() error {
	first := c.Grants[0].Data.Type
	for _, env := range c.Grants[1:] {
		t := env.Data.Type
		if t != first && (publication(t) || publication(first)) {
			return gateway.WithCode(gateway.Invalid, CodeGrantCombination,
				"content.grants: %s can't stand beside a grant of another type; make two contracts", gateway.ServicePublication)
		}
	}
	return nil
}

func publication(t gateway.GrantType) bool {
	return t == gateway.ServicePublication || t == gateway.DelegatedServicePublication
}

func (c *Content) validateGrant(i int, d GrantData, r Rules) error {
	delegated := d.Type == gateway.DelegatedServiceConnection || d.Type == gateway.DelegatedServicePublication
	if err := demand("delegator", d.Delegator, delegated); err != nil {
		return err
	}
	if err := demand("directory", d.Directory, publication(d.Type)); err != nil {
		return err
	}
	if _, err := gateway.ParsePeerID(string(d.Service.PeerID)); err != nil {
		return gateway.Wrap(gateway.Invalid, err, "service.peer_id")
	}
	if _, err := gateway.ParseServiceName(string(d.Service.Name)); err != nil {
		return gateway.Wrap(gateway.Invalid, err, "service.name")
	}
	check := validateConnection
	if publication(d.Type) {
		check = validatePublication
	}
	if err := check(d); err != nil {
		return err
	}
	limit := r.MaxProperties
	if limit <= 0 {
		limit = defaultMaxProperties
	}
	if len(d.Properties) > limit {
		return gateway.Errorf(gateway.Invalid, "properties: %d bytes, at most %d are accepted", len(d.Properties), limit)
	}
	if err := checkNames(d.Properties, d.Type, r.Properties); err != nil {
		return err
	}
	if err := c.doelen[i].err; err != nil {
		return err
	}
	return checkCollege(d, c.doelen[i].properties.NamensCollege)
}

func demand(name string, ref *PeerRef, wanted bool) error {
	switch {
	case !wanted && ref != nil:
		return gateway.Errorf(gateway.Invalid, "%s: does not belong in this type of grant", name)
	case !wanted:
		return nil
	case ref == nil:
		return gateway.Errorf(gateway.Invalid, "%s: missing", name)
	}
	_, err := gateway.ParsePeerID(string(ref.PeerID))
	return gateway.Wrap(gateway.Invalid, err, name+".peer_id")
}

func validateConnection(d GrantData) error {
	if d.Outway == nil {
		return gateway.Errorf(gateway.Invalid, "outway: missing")
	}
	if _, err := gateway.ParsePeerID(string(d.Outway.PeerID)); err != nil {
		return gateway.Wrap(gateway.Invalid, err, "outway.peer_id")
	}
	if err := d.Outway.Identification.validate(); err != nil {
		return gateway.Wrap(gateway.Invalid, err, "outway.identification")
	}
	if d.Service.Protocol != "" {
		return gateway.Errorf(gateway.Invalid, "service.protocol: does not belong in this type of grant")
	}
	if d.Service.Type != ServiceTypeService && d.Service.Type != ServiceTypeDelegated {
		return gateway.Errorf(gateway.Invalid, "service.type: give %s or %s", ServiceTypeService, ServiceTypeDelegated)
	}
	if err := demand("service.delegator", d.Service.Delegator, d.Service.Type == ServiceTypeDelegated); err != nil {
		return err
	}
	if d.Service.Delegator != nil && d.Service.Delegator.PeerID == d.Service.PeerID {
		return gateway.Errorf(gateway.Invalid, "service.delegator.peer_id: a peer does not delegate to itself")
	}
	if d.Delegator != nil && d.Delegator.PeerID == d.Outway.PeerID {
		return gateway.Errorf(gateway.Invalid, "delegator.peer_id: a peer does not delegate to itself")
	}
	return nil
}

func validatePublication(d GrantData) error {
	if d.Outway != nil {
		return gateway.Errorf(gateway.Invalid, "outway: does not belong in this type of grant")
	}
	if d.Service.Type != "" || d.Service.Delegator != nil {
		return gateway.Errorf(gateway.Invalid, "service: type and delegator do not belong in this type of grant")
	}
	if d.Service.Protocol != ProtocolHTTP1 && d.Service.Protocol != ProtocolHTTP2 {
		return gateway.Errorf(gateway.Invalid, "service.protocol: give %s or %s", ProtocolHTTP1, ProtocolHTTP2)
	}
	if d.Delegator != nil && d.Delegator.PeerID == d.Service.PeerID {
		return gateway.Errorf(gateway.Invalid, "delegator.peer_id: a peer does not delegate to itself")
	}
	return nil
}

func (id Identification) validate() error {
	switch id.Type {
	case ByThumbprint:
		if !thumbprintForm.MatchString(id.PublicKeyThumbprint) || id.DomainName != "" {
			return gateway.Errorf(gateway.Invalid, "public_key_thumbprint: give 64 hex digits, and nothing beside them")
		}
	case ByDomainName:
		if !isDomainName(id.DomainName) || id.PublicKeyThumbprint != "" {
			return gateway.Errorf(gateway.Invalid, "domain_name: give a domain name (RFC 1035), and nothing beside it")
		}
	default:
		return gateway.Errorf(gateway.Invalid, "type: give %s or %s", ByThumbprint, ByDomainName)
	}
	return nil
}

// isDomainName takes a name of which the last label has a letter first, so that no IP address passes.
func isDomainName(s string) bool {
	if len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if !labelForm.MatchString(label) {
			return false
		}
	}
	last := labels[len(labels)-1][0]
	return last < '0' || last > '9'
}

// checkCollege holds namensCollege to what the direction namens means: a plain connection to the college's own service, or to
// one that is offered for it (schemas/fsc-doelbinding.md).
func checkCollege(d GrantData, college gateway.PeerID) error {
	if college == "" {
		return nil
	}
	if d.Type != gateway.ServiceConnection {
		return gateway.Errorf(gateway.Invalid, "properties.namensCollege: belongs in a %s; a delegated grant names its delegator", gateway.ServiceConnection)
	}
	owner := d.Service.PeerID
	if d.Service.Delegator != nil {
		owner = d.Service.Delegator.PeerID
	}
	if college != owner {
		return gateway.Errorf(gateway.Invalid, "properties.namensCollege: must be the college whose service this is, %s", owner)
	}
	return nil
}
