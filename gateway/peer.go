package gateway

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// PeerID identifies an organisation in a group: an OIN of exactly 20 digits (OIN-stelsel 3.0.1; FSC Core leaves the form to the
// group, and Digikoppeling REST-API fixes it to the OIN).
type PeerID string

// GroupID names a group of peers (FSC Core, Group ID).
type GroupID string

// ServiceName names a service of one peer (FSC Core, service name; length 3 to 100 as in manager.yaml).
type ServiceName string

// A Peer is an organisation that takes part in a group. Name is what its certificate says in subject O; it need not be unique.
type Peer struct {
	ID   PeerID
	Name string
}

// GroupRules are the decisions that FSC Core leaves to a group and that are needed to recognise a peer and its addresses.
type GroupRules struct {
	ID    GroupID
	Ports []int // ports on which peers may listen; FSC Core: 443 and 8443, a demo group allows loopback ports
}

var (
	groupIDForm = regexp.MustCompile(`^[a-zA-Z0-9./_-]{1,100}$`)
	serviceForm = regexp.MustCompile(`^[a-zA-Z0-9._-]{3,100}$`)
)

// ParsePeerID accepts an OIN of 20 digits and nothing else. The error is of kind Invalid and does not repeat the input, which may
// be anything that stood in the wrong place.
func ParsePeerID(s string) (PeerID, error) {
	if len(s) != 20 || strings.ContainsFunc(s, func(c rune) bool { return c < '0' || c > '9' }) {
		return "", Errorf(Invalid, "peer id: give an OIN of 20 digits")
	}
	return PeerID(s), nil
}

// ParseGroupID checks the form that FSC Core prescribes for a Group ID.
func ParseGroupID(s string) (GroupID, error) {
	if !groupIDForm.MatchString(s) {
		return "", Errorf(Invalid, "group id %.40q: use 1 to 100 of a-z A-Z 0-9 . / _ -", s)
	}
	return GroupID(s), nil
}

// ParseServiceName checks the form that FSC Core prescribes for the name of a service.
func ParseServiceName(s string) (ServiceName, error) {
	if !serviceForm.MatchString(s) {
		return "", Errorf(Invalid, "service name %.40q: use 3 to 100 of a-z A-Z 0-9 . _ -", s)
	}
	return ServiceName(s), nil
}

// AllowsPort reports whether the group lets a peer listen on port. A group without ports allows none.
func (r GroupRules) AllowsPort(port int) bool { return slices.Contains(r.Ports, port) }

var (
	oidSerialNumber = asn1.ObjectIdentifier{2, 5, 4, 5}
	oidOrganisation = asn1.ObjectIdentifier{2, 5, 4, 10}
)

// PeerFrom reads the identity of a peer from its certificate: the OIN in subject serialNumber, the name in subject O, and at
// least one DNS name or IP address in the SAN (FSC Core, Peer; Digikoppeling PKI001). It does not verify the certificate: certs
// does. Each attribute must stand there exactly once, so that no reader of the same certificate can see another peer. The error
// is of kind Invalid and names the attribute.
func PeerFrom(cert *x509.Certificate) (Peer, error) {
	if cert == nil {
		return Peer{}, Errorf(Invalid, "certificate: none given")
	}
	oin, err := subjectAttribute(cert, oidSerialNumber, "serialNumber")
	if err != nil {
		return Peer{}, err
	}
	id, err := ParsePeerID(oin)
	if err != nil {
		return Peer{}, Wrap(Invalid, err, "certificate subject serialNumber")
	}
	name, err := subjectAttribute(cert, oidOrganisation, "O")
	if err != nil {
		return Peer{}, err
	}
	if len(cert.DNSNames) == 0 && len(cert.IPAddresses) == 0 {
		return Peer{}, Errorf(Invalid, "certificate of %s: no DNS name or IP address in the SAN", id)
	}
	return Peer{ID: id, Name: name}, nil
}

func subjectAttribute(cert *x509.Certificate, oid asn1.ObjectIdentifier, label string) (string, error) {
	var values []string
	for _, name := range cert.Subject.Names {
		if name.Type.Equal(oid) {
			values = append(values, fmt.Sprint(name.Value))
		}
	}
	if len(values) != 1 || values[0] == "" {
		return "", Errorf(Invalid, "certificate subject: %d values of %s, want exactly one", len(values), label)
	}
	if !utf8.ValidString(values[0]) || strings.ContainsFunc(values[0], unicode.IsControl) {
		return "", Errorf(Invalid, "certificate subject: %s holds control characters or is not UTF-8", label)
	}
	return values[0], nil
}
