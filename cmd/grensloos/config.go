package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/certs/vault"
	"github.com/grensloos/grensloos/connectors/database"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit/journal"
	"github.com/grensloos/grensloos/gateway/audit/kafka"
	"github.com/grensloos/grensloos/gateway/bevraging"
	"github.com/grensloos/grensloos/gateway/gemeenten"
	"github.com/grensloos/grensloos/gateway/store"
	"github.com/grensloos/grensloos/policies"
)

// Config is the one file of one peer. File names in it are relative to the file itself. An unknown key is an error with its line.
// Keys are Dutch, but for the terms of FSC and of JWT.
// Each section's struct stands in the package that it configures; what belongs to no package stands here.
type Config struct {
	// Peer is who we are; it must equal what the group certificate says.
	Peer PeerConfig `yaml:"peer"`
	// Data is the folder of this process: journal, database, embedded broker. One process at a time owns it.
	Data string `yaml:"map"`
	// Demo accepts fictitious persons only: a BSN outside 999000000-999999999 is refused everywhere.
	Demo bool `yaml:"demo"`
	// Group holds the group rules and the trust anchors that all peers of the group share.
	Group GroupConfig `yaml:"group"`
	// Certificate is our certificate under the group's trust anchor; manager, inway and outway use it.
	Certificate KeyPair `yaml:"certificaat"`
	// Network is our own network: who may call outway, bevraging and beheer.
	Network NetworkConfig `yaml:"netwerk"`
	// Pseudonyms are the keys under which a BSN becomes a pseudonym: version to file, each file 32 bytes or more, mode 0600.
	// Keys that were taken over at a herindeling stand in the folder overname of the data folder, with versions of their own.
	Pseudonyms map[int]string `yaml:"pseudoniemen"`
	// Vault says which keys, certificates and passwords come from Vault or OpenBao instead of files (docs/vault.md).
	Vault vault.Config `yaml:"vault"`
	// Manager, Inway, Outway, Bevraging and Beheer are the roles. A role without a listen address does not run.
	Manager   ManagerConfig   `yaml:"manager"`
	Inway     InwayConfig     `yaml:"inway"`
	Outway    OutwayConfig    `yaml:"outway"`
	Bevraging BevragingConfig `yaml:"bevraging"`
	Beheer    ListenerConfig  `yaml:"beheer"`
	// Monitoring is where health, readiness and metrics are given, on our own network, without a JWT: nothing there is about
	// anybody. Empty: nowhere.
	Monitoring ListenerConfig `yaml:"bewaking"`
	// Clientgegevens is where the service clientgegevens listens when it is a process of its own (docs/roles.md); in the process of
	// the inway it needs no address.
	Clientgegevens ClientgegevensConfig `yaml:"clientgegevens"`
	// Roles is what a role has of its own when it is a process of its own, by its name: manager, inway, clientgegevens, outway,
	// bevraging, beheer.
	Roles map[certs.Role]RoleConfig `yaml:"rollen"`
	// Directories are the peers whose list of peers and services this peer follows, and to which it announces itself. Not beside
	// those of group.bestand.
	Directories []DirectoryPeer `yaml:"directories"`
	// Peers are the other peers of the group that no directory needs to name. What stands here wins over what a directory says.
	Peers []NeighbourConfig `yaml:"peers"`
	// Gemeenten is the table of gemeentecodes: which were valid when, and who took over from whom.
	Gemeenten gemeenten.Config `yaml:"gemeenten"`
	// Policies says where local policy stands.
	Policies policies.Config `yaml:"beleid"`
	// Store is where contracts and consents are kept. Default: state.db in the data folder.
	Store store.Config `yaml:"opslag"`
	// Audit is where audit records go: the write-ahead journal, and the Kafka that it is shipped to.
	Audit AuditConfig `yaml:"audit"`
	// Source is the gemeente's own system that the service clientgegevens reads.
	Source *SourceConfig `yaml:"bron"`

	process process // which part of the peer this is
	shared  string  // the folder map itself, if Data is below it
}

// PeerConfig names this peer.
type PeerConfig struct {
	// ID is our OIN: 20 digits.
	ID gateway.PeerID `yaml:"id"`
	// Name is our name as in the certificate's subject O.
	Name string `yaml:"naam"`
	// Gemeentecode is the four digits of table 33, if this peer is a gemeente.
	Gemeentecode string `yaml:"gemeentecode"`
}

// GroupConfig holds what FSC Core lets a group decide: in the file that all its peers share, or here; not both.
type GroupConfig struct {
	// File has the group rules: id, poorten, fscVersie, directories, bewaartermijnen. It is the same file at every peer of the
	// group; `grensloos doctor` shows its digest to compare.
	File string `yaml:"bestand"`
	// ID is the Group ID, such as "midden-twente.example". Not beside bestand.
	ID gateway.GroupID `yaml:"id"`
	// Ports on which peers may listen. FSC Core: 443 and 8443, the default; a demo group names loopback ports. Not beside
	// bestand.
	Ports []int `yaml:"poorten"`
	// Trust names the anchors and revocation lists.
	Trust certs.Config `yaml:"vertrouwen"`

	loaded *GroupRules // of File
}

// KeyPair names two PEM files: the certificate with its chain below the anchor, and its private key (mode 0600).
type KeyPair struct {
	Cert string `yaml:"certificaat"`
	Key  string `yaml:"sleutel"`
}

// NetworkConfig is the own network: TLS under the peer's internal CA, callers known by a JWT.
type NetworkConfig struct {
	// Certificate is what outway, bevraging and beheer show; it stands under CA.
	Certificate KeyPair `yaml:"certificaat"`
	// CA is the internal CA's certificate; the command line trusts it and nothing else.
	CA string `yaml:"ca"`
	// CRLs are revocation lists of that CA, for the certificates by which the roles of this peer know each other. None: a key that was
	// stolen counts until its certificate ends.
	CRLs []string `yaml:"crls"`
	// Issuer is the `iss` that a caller's JWT must have.
	Issuer string `yaml:"issuer"`
	// Audience is the `aud` that a caller's JWT must have. Default: "grensloos:<peer id>".
	Audience string `yaml:"audience"`
	// IssuerKeys are PEM files with the issuer's public keys.
	IssuerKeys []string `yaml:"issuerSleutels"`
	// IssuerKey is the issuer's private key. Only for `grensloos token` on one machine; a real issuer keeps its own.
	IssuerKey string `yaml:"issuerSleutel"`
}

// ListenerConfig is an address on which a role listens.
type ListenerConfig struct {
	// Listen is host:port, such as "127.0.0.1:8443". Empty: the role does not run.
	Listen string `yaml:"luister"`
}

// BevragingConfig is bevraging's section.
type BevragingConfig struct {
	ListenerConfig   `yaml:",inline"`
	bevraging.Config `yaml:",inline"`
}

// ManagerConfig is the manager's section.
type ManagerConfig struct {
	// Listen is host:port on the group side.
	Listen string `yaml:"luister"`
	// Address is where other peers reach our manager: an https URL with a port that the group allows.
	Address string `yaml:"adres"`
	// TokenTTL is how long an access token lives, at most 5 minutes. Default: 2m.
	TokenTTL time.Duration `yaml:"tokenGeldig"`
	// RetryStart is the first pause before a signature that did not reach a peer is sent again; it doubles up to 300 s.
	// Default: 1s.
	RetryStart time.Duration `yaml:"herhaalStart"`
	// RenewDays is how many days before its end a contract that this peer needs is proposed anew, once. Default: 0, never.
	RenewDays int `yaml:"vernieuwDagen"`
	// Directory is how this peer deals with directories, and how it is one.
	Directory DirectoryConfig `yaml:"directory"`
}

// DirectoryConfig is the manager's part about directories.
type DirectoryConfig struct {
	// Accept makes this peer, as a directory, accept a publication by a peer that announced itself, unless another peer publishes
	// the same gemeentecode. Default: a person accepts each.
	Accept bool `yaml:"accepteer"`
	// Every is how often the directories are read. Default: 5s.
	Every time.Duration `yaml:"ververs"`
}

// InwayConfig is the inway's section.
type InwayConfig struct {
	// Listen is host:port on the group side.
	Listen string `yaml:"luister"`
	// Address is where other peers reach our inway: an https URL with a port that the group allows. It is the token's `aud`.
	Address string `yaml:"adres"`
	// Services that we offer, by name. The service `clientgegevens` is our own connector and needs a source, no url.
	Services map[gateway.ServiceName]ServiceConfig `yaml:"services"`
}

// ServiceConfig is a service behind the inway.
type ServiceConfig struct {
	// URL is where the service listens on our own network. Empty only for clientgegevens.
	URL string `yaml:"url"`
	// CA is the certificate that an https URL is trusted by. Empty: the system's.
	CA string `yaml:"ca"`
	// Doelbinding false lets grants without a purpose pass, as plain FSC does. Default: true.
	Doelbinding *bool `yaml:"doelbinding"`
}

// NeighbourConfig is another peer of the group.
type NeighbourConfig struct {
	// ID is the peer's OIN.
	ID gateway.PeerID `yaml:"id"`
	// Name is for people.
	Name string `yaml:"naam"`
	// Manager is the https URL of its manager.
	Manager string `yaml:"manager"`
	// Gemeentecode is the four digits of table 33, if the peer is a gemeente.
	Gemeentecode string `yaml:"gemeentecode"`
}

// AuditConfig is the audit section.
type AuditConfig struct {
	// Journal is the write-ahead log of audit records. Default: the folder journal in the data folder.
	Journal journal.Config `yaml:"journaal"`
	// Kafka is the cluster that the journal is shipped to. Without brokers an embedded one runs in this process.
	Kafka kafka.Config `yaml:"kafka"`
	// Embedded is the embedded broker. Default: the folder kafka in the data folder, any free loopback port.
	Embedded kafka.BrokerConfig `yaml:"ingebouwd"`
}

// SourceConfig is the connector's source; exactly one kind.
type SourceConfig struct {
	// Database reads SQL tables through a mapping.
	Database *database.Config `yaml:"database"`
	// Timeout of all reads of one question. Default: 5s.
	Timeout time.Duration `yaml:"wachttijd"`
}

// maxConfig bounds the configuration file.
const maxConfig = 1 << 20

// loadConfig reads and checks one peer's file. The error names the file, the line and the key.
func loadConfig(file string) (*Config, error) { return loadConfigOf(file, process{}) }

// loadConfigOf is loadConfig for one process of a peer.
func loadConfigOf(file string, part process) (*Config, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", file, err)
	}
	if len(raw) > maxConfig {
		return nil, fmt.Errorf("configuration %s: larger than %d bytes", file, maxConfig)
	}
	c := &Config{}
	if err := decodeStrict(raw, c); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", file, err)
	}
	if err := c.Group.load(filepath.Dir(file)); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", file, err)
	}
	c.defaults()
	c.separate(part)
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", file, err)
	}
	c.resolve(filepath.Dir(file))
	c.askVault()
	return c, nil
}

func (c *Config) defaults() {
	if len(c.Group.Ports) == 0 {
		c.Group.Ports = []int{443, 8443}
	}
	if c.Network.Audience == "" {
		c.Network.Audience = "grensloos:" + string(c.Peer.ID)
	}
	if c.Audit.Kafka.TopicPrefix == "" {
		c.Audit.Kafka.TopicPrefix = "grensloos." + string(c.Peer.ID)
	}
	if c.Manager.TokenTTL == 0 {
		c.Manager.TokenTTL = 2 * time.Minute
	}
	if c.Manager.RetryStart == 0 {
		c.Manager.RetryStart = time.Second
	}
	if c.Manager.Directory.Every == 0 {
		c.Manager.Directory.Every = 5 * time.Second
	}
	if c.Source != nil && c.Source.Timeout == 0 {
		c.Source.Timeout = 5 * time.Second
	}
}

// check returns all that is wrong at once, each with the key and the mend.
func (c *Config) check() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if _, err := gateway.ParsePeerID(string(c.Peer.ID)); err != nil {
		bad("peer.id", "%v", err)
	}
	if c.Peer.Name == "" {
		bad("peer.naam", "give the name in the certificate's subject O")
	}
	if c.Peer.Gemeentecode != "" {
		code, err := gemeenten.ParseCode(c.Peer.Gemeentecode)
		if err != nil {
			bad("peer.gemeentecode", "%v", err)
		}
		c.Peer.Gemeentecode = string(code)
	}
	if _, err := gateway.ParseGroupID(string(c.Group.ID)); err != nil {
		bad("group.id", "%v", err)
	}
	if c.Data == "" {
		bad("map", "give a folder that this process owns")
	}
	c.checkVault(bad)
	c.checkRoles(bad)
	need := c.needs()
	if need.GroupKey && (c.Certificate.Cert == "" && c.Vault.Groep.Rol == "" || c.Certificate.Key == "" && c.Vault.Groep.Sleutel == "") {
		bad("certificaat", "give certificaat and sleutel")
	}
	if c.onNetwork() && ((c.Network.Certificate.Cert == "" || c.Network.Certificate.Key == "") && c.Vault.Netwerk.Rol == "" || c.Network.CA == "") {
		bad("netwerk", "give certificaat.certificaat, certificaat.sleutel and ca: listeners on the own network speak TLS")
	}
	if need.Callers && (c.Network.Issuer == "" || len(c.Network.IssuerKeys) == 0) {
		bad("netwerk", "give issuer and issuerSleutels: callers on the own network are known by a JWT")
	}
	if need.Pseudonyms && len(c.Pseudonyms) == 0 && len(c.Vault.Pseudoniemen) == 0 {
		bad("pseudoniemen", "give at least one key file, such as {1: pseudonym.key}")
	}
	for name, listen := range c.listeners() {
		if _, _, err := net.SplitHostPort(*listen); *listen != "" && err != nil {
			bad(name+".luister", "give host:port: %v", err)
		}
	}
	if c.Manager.Listen == "" && !c.process.apart() {
		bad("manager.luister", "give host:port: without roles apart every peer runs its manager here")
	}
	c.checkAddress("manager.adres", c.Manager.Address, need.GroupKey, bad)
	c.checkAddress("inway.adres", c.Inway.Address, c.Inway.Listen != "" || (c.runs(roleManager) || c.runs(roleClientgegevens)) && len(c.Inway.Services) > 0, bad)
	if err := c.Bevraging.Check(); err != nil {
		bad("bevraging", "%v", err)
	}
	if c.Manager.TokenTTL < time.Second || c.Manager.TokenTTL > 5*time.Minute {
		bad("manager.tokenGeldig", "between 1s and 5m")
	}
	for name, svc := range c.Inway.Services {
		if _, err := gateway.ParseServiceName(string(name)); err != nil {
			bad("inway.services", "%v", err)
		}
		u, err := url.Parse(svc.URL)
		switch {
		case name == serviceClientgegevens && svc.URL == "" && c.Source == nil && need.Source:
			bad("bron", "the service clientgegevens needs one")
		case name == serviceClientgegevens && svc.URL == "":
		case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || u.RawQuery != "":
			bad("inway.services."+string(name)+".url", "give http(s)://host:port without user or query")
		}
	}
	seen := map[gateway.PeerID]bool{c.Peer.ID: true}
	for i, n := range c.Peers {
		key := "peers[" + strconv.Itoa(i) + "]"
		if _, err := gateway.ParsePeerID(string(n.ID)); err != nil {
			bad(key+".id", "%v", err)
		} else if seen[n.ID] {
			bad(key+".id", "stands twice, or is our own")
		}
		seen[n.ID] = true
		if n.Gemeentecode != "" {
			code, err := gemeenten.ParseCode(n.Gemeentecode)
			if err != nil {
				bad(key+".gemeentecode", "%v", err)
			}
			c.Peers[i].Gemeentecode = string(code)
		}
		c.checkAddress(key+".manager", n.Manager, true, bad)
	}
	for soort, days := range c.Group.rules().Retention {
		if keep := c.Audit.Kafka.RetentionDays[soort]; keep > 0 && keep < days {
			bad("audit.kafka.bewaarDagen."+string(soort), "the group wants %d days or more", days)
		}
	}
	if c.Manager.RenewDays < 0 || c.Manager.RenewDays > 3650 {
		bad("manager.vernieuwDagen", "between 0 and 3650")
	}
	if c.Manager.Directory.Every < time.Second || c.Manager.Directory.Every > time.Hour {
		bad("manager.directory.ververs", "between 1s and 1h")
	}
	if len(c.Directories) > 0 && len(c.Group.rules().Directories) > 0 {
		bad("directories", "stand in group.bestand; give them there, or here, not both")
	}
	for i, d := range c.Directories {
		key := "directories[" + strconv.Itoa(i) + "]"
		if _, err := gateway.ParsePeerID(string(d.ID)); err != nil {
			bad(key+".id", "%v", err)
		} else if slices.ContainsFunc(c.Directories[:i], func(o DirectoryPeer) bool { return o.ID == d.ID }) {
			bad(key+".id", "stands twice")
		}
		c.checkAddress(key+".manager", d.Manager, true, bad)
	}
	if c.Source != nil && c.Source.Database == nil {
		bad("bron", "give database")
	} else if c.Source != nil {
		if err := c.Source.Database.Check(); err != nil {
			bad("bron.database", "%v", err)
		}
	}
	if err := c.Store.Check(); err != nil {
		bad("opslag", "%v", err)
	}
	return errors.Join(errs...)
}

// directories are those of the group's file, else those that stand here; our own left out.
func (c *Config) directories() []DirectoryPeer {
	all := c.Group.rules().Directories
	if len(all) == 0 {
		all = c.Directories
	}
	return slices.DeleteFunc(slices.Clone(all), func(d DirectoryPeer) bool { return d.ID == c.Peer.ID })
}

func (c *Config) checkAddress(key, address string, required bool, bad func(key, format string, args ...any)) {
	if address == "" && !required {
		return
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Port() == "" || (u.Path != "" && u.Path != "/") {
		bad(key, "give https://host:port")
		return
	}
	if port, _ := strconv.Atoi(u.Port()); !(gateway.GroupRules{Ports: c.Group.Ports}).AllowsPort(port) {
		bad(key, "port %s is not allowed by group.poorten %v", u.Port(), c.Group.Ports)
	}
}

// resolve makes every file name absolute to the configuration's own folder, and fills in those below the data folder.
func (c *Config) resolve(dir string) {
	abs := func(names ...*string) {
		for _, name := range names {
			if *name != "" && !filepath.IsAbs(*name) {
				*name = filepath.Join(dir, *name)
			}
		}
	}
	abs(&c.Data, &c.shared, &c.Certificate.Cert, &c.Certificate.Key, &c.Network.Certificate.Cert, &c.Network.Certificate.Key, &c.Network.CA,
		&c.Network.IssuerKey, &c.Policies.Lokaal, &c.Policies.Catalogus, &c.Gemeenten.Tabel, &c.Store.Pad, &c.Audit.Journal.Dir, &c.Audit.Embedded.Dir,
		&c.Audit.Kafka.TLS.CA, &c.Audit.Kafka.TLS.Cert, &c.Audit.Kafka.TLS.Key, &c.Audit.Kafka.SASL.PasswordFile,
		&c.Vault.CA, &c.Vault.RolID, &c.Vault.GeheimID)
	abs(c.Store.Files()...)
	for _, list := range [][]string{c.Group.Trust.Ankers, c.Group.Trust.CRLs, c.Network.IssuerKeys, c.Network.CRLs} {
		for i := range list {
			abs(&list[i])
		}
	}
	for role, own := range c.Roles {
		abs(&own.Certificate.Cert, &own.Certificate.Key, &own.Network.Cert, &own.Network.Key)
		c.Roles[role] = own
	}
	for version, name := range c.Pseudonyms {
		abs(&name)
		c.Pseudonyms[version] = name
	}
	for name, service := range c.Inway.Services {
		abs(&service.CA)
		c.Inway.Services[name] = service
	}
	if c.Source != nil && c.Source.Database != nil {
		abs(&c.Source.Database.Bestand, &c.Source.Database.Mapping)
		abs(c.Source.Database.Postgres.Files()...)
	}
	for name, fallback := range map[*string]string{&c.Store.Pad: "state.db", &c.Audit.Journal.Dir: "journal", &c.Audit.Embedded.Dir: "kafka"} {
		if *name == "" {
			*name = filepath.Join(c.Data, fallback)
		}
	}
}

// serviceClientgegevens is the service that a gemeente's connector offers.
const serviceClientgegevens gateway.ServiceName = "clientgegevens"
