package contract

import (
	"encoding/json"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// NewContent is what a proposal needs; the rest (version, iv, created_at, algorithm) New fills in.
type NewContent struct {
	Group     gateway.GroupID
	Grants    []GrantData
	NotBefore time.Time
	NotAfter  time.Time
	Now       time.Time
}

// New builds contract content and encodes it. What comes out still has to pass Validate.
func New(opts NewContent) (*Content, error) {
	wire := plain{
		FSCVersion: Version, IV: gateway.NewUUID(opts.Now), GroupID: opts.Group, HashAlgorithm: HashAlgorithm,
		Validity:  Validity{NotBefore: opts.NotBefore.Unix(), NotAfter: opts.NotAfter.Unix()},
		CreatedAt: opts.Now.Unix(),
		Grants:    []rawGrant{},
	}
	for i, g := range opts.Grants {
		raw, err := json.Marshal(g)
		if err != nil {
			return nil, gateway.Wrap(gateway.Invalid, err, at(i))
		}
		wire.Grants = append(wire.Grants, rawGrant{Data: raw})
	}
	raw, err := json.Marshal(wire)
	if err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "content")
	}
	return ParseContent(raw)
}

// FromGrant gives the wire form of a connection grant. Properties come from RawProperties if there are any, else from Properties.
func FromGrant(g gateway.Grant) (GrantData, error) {
	d := GrantData{
		Type:    g.Type,
		Outway:  &Outway{PeerID: g.Outway, Identification: Identification{Type: ByThumbprint, PublicKeyThumbprint: g.OutwayThumbprint}},
		Service: Service{Type: ServiceTypeService, PeerID: g.ServicePeer, Name: g.Service},
	}
	if g.OutwayDomain != "" {
		d.Outway.Identification = Identification{Type: ByDomainName, DomainName: g.OutwayDomain, PublicKeyThumbprint: g.OutwayThumbprint}
	}
	if g.ServiceDelegator != "" {
		d.Service.Type, d.Service.Delegator = ServiceTypeDelegated, &PeerRef{PeerID: g.ServiceDelegator}
	}
	if g.Delegator != "" {
		d.Delegator = &PeerRef{PeerID: g.Delegator}
	}
	switch {
	case g.RawProperties != nil:
		d.Properties = g.RawProperties
	case g.IsDoelgebonden():
		raw, err := Properties(g.Properties)
		if err != nil {
			return GrantData{}, err
		}
		d.Properties = raw
	}
	return d, nil
}
