package main

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway/audit/journal"
)

// OutwayConfig is the outway's section.
type OutwayConfig struct {
	ListenerConfig `yaml:",inline"`
	// Address is where bevraging reaches the outway when each is a process of its own: https://host:port.
	Address string `yaml:"adres"`
}

// ClientgegevensConfig is where the service clientgegevens is, when it is a process of its own.
type ClientgegevensConfig struct {
	ListenerConfig `yaml:",inline"`
	// Address is where the inway reaches it: https://host:port.
	Address string `yaml:"adres"`
}

// RoleConfig is what a role has of its own when it is a process of its own.
type RoleConfig struct {
	// Certificate is its certificate in the group, of the same OIN. Only manager, inway, outway and beheer have one. Default:
	// certificaat.
	Certificate KeyPair `yaml:"certificaat"`
	// Network is its certificate on the own network; it names the role (grensloos pki issue --intern --rol). Default:
	// netwerk.certificaat.
	Network KeyPair `yaml:"netwerk"`
}

// process says which roles of a peer one process runs; the zero value runs all of them.
type process struct {
	roles  []certs.Role
	name   string            // of its folder below map, and in messages; default the roles
	listen map[string]string // by role or "bewaking": in place of what the configuration says
	// embedded lets roles run apart on the engines of one machine, which the shipped program does not: only tests set it.
	embedded bool
}

func (p process) apart() bool { return len(p.roles) > 0 }

func (p process) String() string {
	return cmp.Or(p.name, strings.ReplaceAll(joinRoles(p.roles), ", ", "-"))
}

// runs reports whether this process runs a role.
func (c *Config) runs(role certs.Role) bool {
	return !c.process.apart() || slices.Contains(c.process.roles, role)
}

// needs is what this process opens: all of it, or what its roles need.
func (c *Config) needs() needs {
	if !c.process.apart() {
		return needs{GroupKey: true, Pseudonyms: true, Store: true, Reading: true, Source: true, Callers: true}
	}
	var all needs
	for _, role := range c.process.roles {
		n := roleNeeds[role]
		all.GroupKey = all.GroupKey || n.GroupKey
		all.Pseudonyms = all.Pseudonyms || n.Pseudonyms
		all.Store = all.Store || n.Store
		all.Reading = all.Reading || n.Reading
		all.Source = all.Source || n.Source
		all.Callers = all.Callers || n.Callers
	}
	return all
}

// onNetwork reports whether this process is on the own network: it listens or calls there.
func (c *Config) onNetwork() bool {
	return !slices.Equal(c.process.roles, []certs.Role{roleManager}) || c.Monitoring.Listen != ""
}

// listeners are the listen addresses by the name of their section.
func (c *Config) listeners() map[string]*string {
	return map[string]*string{
		string(roleManager): &c.Manager.Listen, string(roleInway): &c.Inway.Listen, string(roleClientgegevens): &c.Clientgegevens.Listen,
		string(roleOutway): &c.Outway.Listen, string(roleBevraging): &c.Bevraging.Listen, string(roleBeheer): &c.Beheer.Listen,
		"bewaking": &c.Monitoring.Listen,
	}
}

// separate makes of the configuration of a peer that of one of its processes: its folder, its certificates, the listeners that it opens.
func (c *Config) separate(p process) {
	c.process = p
	if !p.apart() {
		return
	}
	c.shared = c.Data
	c.Data = filepath.Join(c.Data, p.String())
	if c.Audit.Journal.Dir != "" {
		c.Audit.Journal.Dir = filepath.Join(c.Audit.Journal.Dir, p.String())
	}
	for name, listen := range c.listeners() {
		switch {
		case name != "bewaking" && !c.runs(certs.Role(name)):
			*listen = ""
		case p.listen[name] != "":
			*listen = p.listen[name]
		}
	}
	for _, role := range p.roles { // the first that has one: a process has one certificate in the group and one on the own network
		own := c.Roles[role]
		if roleNeeds[role].GroupKey && own.Certificate != (KeyPair{}) {
			c.Certificate = own.Certificate
			break
		}
	}
	for _, role := range p.roles {
		if own := c.Roles[role]; own.Network != (KeyPair{}) {
			c.Network.Certificate = own.Network
			break
		}
	}
	for _, role := range p.roles {
		if c.Vault.Netwerk.Rol != "" {
			c.Vault.Netwerk.URIs = append(c.Vault.Netwerk.URIs, role.URI(c.Peer.ID))
		}
	}
}

// checkRoles checks the section rollen, and what roles apart need.
func (c *Config) checkRoles(bad func(key, format string, args ...any)) {
	for role, own := range c.Roles {
		key := "rollen." + string(role)
		known, ok := roleNeeds[role]
		switch {
		case !ok:
			bad(key, "is no role: give %s", joinRoles(serveRoles()))
		case !known.GroupKey && own.Certificate != (KeyPair{}):
			bad(key+".certificaat", "leave it out: this role has no key of the group")
		}
		for name, pair := range map[string]KeyPair{"certificaat": own.Certificate, "netwerk": own.Network} {
			if (pair.Cert == "") != (pair.Key == "") {
				bad(key+"."+name, "give certificaat and sleutel, or neither")
			}
		}
	}
	internal := func(key, address string, required bool) {
		if address == "" && !required {
			return
		}
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "https" || u.Port() == "" || u.Path != "" || u.User != nil || u.RawQuery != "" {
			bad(key, "give https://host:port, where the other roles of this peer reach it")
		}
	}
	p := c.process
	_, offers := c.Inway.Services[serviceClientgegevens]
	offers = offers && c.Inway.Services[serviceClientgegevens].URL == ""
	internal("clientgegevens.adres", c.Clientgegevens.Address, p.apart() && c.runs(roleInway) && !c.runs(roleClientgegevens) && offers)
	internal("outway.adres", c.Outway.Address, p.apart() && c.runs(roleBevraging) && !c.runs(roleOutway))
	if !p.apart() {
		return
	}
	for _, role := range p.roles {
		with := role == roleClientgegevens && c.runs(roleInway) || role == roleOutway && c.runs(roleBevraging) // then nobody else need reach it
		if listen := *c.listeners()[string(role)]; listen == "" && !with {
			bad(string(role)+".luister", "give host:port: this process runs it")
		}
	}
	if c.runs(roleClientgegevens) && !offers {
		bad("inway.services", "has no clientgegevens: there is nothing to serve")
	}
	for name, listen := range p.listen {
		if _, _, err := net.SplitHostPort(listen); err != nil {
			bad("--luister "+name, "give host:port: %v", err)
		}
	}
	if p.embedded {
		return
	}
	if !c.Store.IsPostgres() {
		bad("opslag", "roles apart keep their state in one PostgreSQL: give driver: postgres and postgres (docs/roles.md)")
	}
	if len(c.Audit.Kafka.Brokers) == 0 {
		bad("audit.kafka.brokers", "roles apart write to one Kafka cluster: give its brokers (docs/kafka.md)")
	}
	if c.Audit.Journal.Ack != journal.AckKafka {
		bad("audit.journaal.bevestiging", "give kafka with roles apart: a record that is in one process's journal alone is not seen by the others")
	}
}

// parseProcess reads the flags of serve.
func parseProcess(roles []string, name string, listen []string) (process, error) {
	p := process{name: name}
	for _, role := range roles {
		if !slices.Contains(serveRoles(), certs.Role(role)) {
			return p, usage("--role %q: give one of %s", role, joinRoles(serveRoles()))
		}
		p.roles = append(p.roles, certs.Role(role))
	}
	p.roles = sorted(p.roles)
	if !p.apart() && (name != "" || len(listen) > 0) {
		return p, usage("--proces and --luister go with --role")
	}
	if strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }) {
		return p, usage("--proces %q: give a name of small letters, digits and dashes", name)
	}
	p.listen = map[string]string{}
	for _, text := range listen {
		key, address, ok := strings.Cut(text, "=")
		if !ok || key != "bewaking" && !slices.Contains(p.roles, certs.Role(key)) {
			return p, usage("--luister %q: give ROLE=HOST:PORT, of a role of this process or bewaking", text)
		}
		p.listen[key] = address
	}
	return p, nil
}

// describe tells which roles this process runs, and its name.
func (p process) describe() string {
	return fmt.Sprintf("%s (%s)", joinRoles(p.roles), p)
}
