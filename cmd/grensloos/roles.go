package main

import (
	"slices"
	"strings"

	"github.com/grensloos/grensloos/certs"
)

// The roles of a peer that can run in a process of their own.
const (
	roleManager        certs.Role = "manager"
	roleInway          certs.Role = "inway"
	roleOutway         certs.Role = "outway"
	roleClientgegevens certs.Role = "clientgegevens"
	roleBevraging      certs.Role = "bevraging"
	roleBeheer         certs.Role = "beheer"
)

// needs is what a role opens; what is not set it can do without, also the file that it stands in.
type needs struct {
	GroupKey   bool // the key of the group certificate: it signs, or speaks mTLS to other peers
	Pseudonyms bool // the keys that make a BSN a pseudonym
	Store      bool
	Reading    bool // it reads audit records back from Kafka, beside writing its own
	Source     bool // the gemeente's own system
	Callers    bool // it knows callers of the own network by their JWT
}

// roleNeeds is the table of least privilege (docs/roles.md).
var roleNeeds = map[certs.Role]needs{
	roleManager:        {GroupKey: true, Store: true},
	roleInway:          {GroupKey: true, Store: true},
	roleOutway:         {GroupKey: true, Store: true, Pseudonyms: true, Callers: true},
	roleClientgegevens: {Store: true, Pseudonyms: true, Source: true, Reading: true},
	roleBevraging:      {Store: true, Pseudonyms: true, Reading: true, Callers: true},
	roleBeheer:         {GroupKey: true, Store: true, Pseudonyms: true, Reading: true, Callers: true},
}

// mayCall says which roles of a peer call which other over the own network. Whoever is not in it is refused.
var mayCall = map[certs.Role][]certs.Role{
	roleInway:     {roleClientgegevens},
	roleBevraging: {roleOutway},
}

// serveRoles are all roles, in the order in which a peer opens them.
func serveRoles() []certs.Role {
	return []certs.Role{roleManager, roleInway, roleClientgegevens, roleOutway, roleBevraging, roleBeheer}
}

func joinRoles(roles []certs.Role) string {
	var names []string
	for _, r := range roles {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}

// sorted puts roles in the order of serveRoles, each once.
func sorted(roles []certs.Role) []certs.Role {
	return slices.DeleteFunc(serveRoles(), func(r certs.Role) bool { return !slices.Contains(roles, r) })
}
