package contract

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Publication is a (delegated) publication grant: a directory may list a service.
type Publication struct {
	Hash                gateway.GrantHash
	Contract            gateway.ContentHash
	Directory           gateway.PeerID
	Peer                gateway.PeerID // who offers the service
	Service             gateway.ServiceName
	Delegator           gateway.PeerID // for whom, if for another
	Protocol            string
	Properties          json.RawMessage // as signed; nil if absent
	Gemeentecode        string          // from the properties
	Created             time.Time
	NotBefore, NotAfter time.Time
}

// Publications are the publication grants of the contract.
func (c *Content) Publications() []Publication {
	var out []Publication
	for i, env := range c.Grants {
		d := env.Data
		if !publication(d.Type) || d.Directory == nil {
			continue
		}
		p := Publication{
			Hash: c.grants[i], Contract: c.hash, Directory: d.Directory.PeerID, Peer: d.Service.PeerID, Service: d.Service.Name,
			Protocol: d.Service.Protocol, Properties: slices.Clone(d.Properties), Gemeentecode: gemeentecode(d.Properties),
			Created: time.Unix(c.CreatedAt, 0), NotBefore: c.NotBefore(), NotAfter: c.NotAfter(),
		}
		if d.Delegator != nil {
			p.Delegator = d.Delegator.PeerID
		}
		out = append(out, p)
	}
	return out
}

// Publish gives the wire form of a publication grant; Hash, Contract and times of p do not count. Properties come from p.Properties
// if there are any, else from Gemeentecode.
func Publish(p Publication) GrantData {
	d := GrantData{
		Type: gateway.ServicePublication, Directory: &PeerRef{PeerID: p.Directory},
		Service:    Service{PeerID: p.Peer, Name: p.Service, Protocol: p.Protocol},
		Properties: p.Properties,
	}
	if d.Service.Protocol == "" {
		d.Service.Protocol = ProtocolHTTP1
	}
	if p.Delegator != "" {
		d.Type, d.Delegator = gateway.DelegatedServicePublication, &PeerRef{PeerID: p.Delegator}
	}
	if d.Properties == nil && p.Gemeentecode != "" {
		d.Properties, _ = json.Marshal(map[string]string{"gemeentecode": p.Gemeentecode}) // a string always encodes
	}
	return d
}

// GemeentecodeOf reads the gemeentecode in the properties of a publication; empty when there is none, or no four digits.
func GemeentecodeOf(properties json.RawMessage) string { return gemeentecode(properties) }

// DirectoryState is how far this peer is with one directory.
type DirectoryState struct {
	ID        gateway.PeerID
	Address   string
	Announced time.Time // when we last announced ourselves there; zero: not since this process started
	Read      time.Time // when it was last read; zero: not since this process started
	Peers     int       // what is kept of it
	Services  int
	Problem   string // why the last attempt did not succeed; empty if it did
}
