package vault

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Config says which secrets come from Vault or OpenBao. What is not named here comes from files.
type Config struct {
	// Adres is where Vault is: https://host:port; http only on a loopback address. Empty: no Vault.
	Adres string `yaml:"adres"`
	// CA is the PEM file with the certificate under which Vault's own stands. Empty: the system's.
	CA string `yaml:"ca"`
	// RolID is the file with the role id of our AppRole.
	RolID string `yaml:"rolIdBestand"`
	// GeheimID is the file with the secret id of our AppRole, mode 0600. It is read anew at each login, so that it can be replaced.
	GeheimID string `yaml:"geheimIdBestand"`
	// AppRole is where AppRole is mounted. Default: approle.
	AppRole string `yaml:"approle"`
	// Transit, PKI and KV are where these engines are mounted. Defaults: transit, pki, secret.
	Transit string `yaml:"transit"`
	PKI     string `yaml:"pki"`
	KV      string `yaml:"kv"`
	// Groep takes the key of our group certificate from Transit. Not beside certificaat.sleutel.
	Groep Groep `yaml:"groep"`
	// Netwerk takes the certificate of our own network from PKI, with a key that is in memory only. Not beside
	// netwerk.certificaat.
	Netwerk Certificaat `yaml:"netwerk"`
	// Pseudoniemen are the pseudonym keys: version to the path in KV of a secret whose field sleutel is the key in base64, 32
	// bytes or more. Not beside pseudoniemen.
	Pseudoniemen map[int]string `yaml:"pseudoniemen"`
	// KafkaWachtwoord is the path in KV of a secret whose field wachtwoord is that of audit.kafka.sasl. Not beside
	// audit.kafka.sasl.wachtwoordBestand.
	KafkaWachtwoord string `yaml:"kafkaWachtwoord"`
	// OpslagWachtwoord and BronWachtwoord are the same for opslag.postgres and bron.database.postgres. A password that is replaced in
	// KV counts for the next connection.
	OpslagWachtwoord string `yaml:"opslagWachtwoord"`
	BronWachtwoord   string `yaml:"bronWachtwoord"`
}

// Groep is a key in Transit with the certificate over it.
type Groep struct {
	// Sleutel is the name of the key in Transit: ecdsa-p256. Contracts name its public part, so it outlives its certificates.
	Sleutel string `yaml:"sleutel"`
	// Versie is the version of that key. A rotation in Transit changes nothing here until this does. Default: 1.
	Versie int `yaml:"versie"`
	// Certificaat asks PKI for the certificate. Without rol it is the file certificaat.certificaat.
	Certificaat `yaml:",inline"`
}

// Certificaat is a certificate from PKI, renewed at two thirds of its life.
type Certificaat struct {
	// Rol is the role in PKI that issues it.
	Rol string `yaml:"rol"`
	// Mount is where the PKI that issues it is mounted, if not at vault.pki.
	Mount string `yaml:"pki"`
	// Namen are the DNS names and IP addresses in it. Default of groep: the hosts of manager.adres and inway.adres.
	Namen []string `yaml:"namen"`
	// URIs are URIs in it beside those: the roles of the process that asks for it (certs.Role.URI). The role in PKI allows them in
	// allowed_uri_sans.
	URIs []string `yaml:"-"`
}

// Enabled tells whether Vault is used at all.
func (c Config) Enabled() bool { return c.Adres != "" }

// Check returns all that is wrong, by key below `vault`, and fills in the defaults.
func (c *Config) Check() error {
	if !c.Enabled() {
		if c.CA != "" || c.RolID != "" || c.GeheimID != "" || c.Groep.Sleutel != "" || c.Groep.Rol != "" || c.Netwerk.Rol != "" || len(c.Pseudoniemen) > 0 || c.KafkaWachtwoord+c.OpslagWachtwoord+c.BronWachtwoord != "" {
			return errors.New("vault.adres: give https://host:port, or leave the section out")
		}
		return nil
	}
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("vault.%s: %s", key, fmt.Sprintf(format, args...)))
	}
	u, err := url.Parse(c.Adres)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "":
		bad("adres", "give https://host:port")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		bad("adres", "give https: over http anybody on the way reads the token")
	}
	if c.RolID == "" || c.GeheimID == "" {
		bad("rolIdBestand", "give rolIdBestand and geheimIdBestand: `bao read auth/approle/role/ROL/role-id`, `bao write -f auth/approle/role/ROL/secret-id`")
	}
	for key, mount := range map[string]*string{"approle": &c.AppRole, "transit": &c.Transit, "pki": &c.PKI, "kv": &c.KV} {
		*mount = strings.Trim(*mount, "/")
		if *mount == "" {
			*mount = map[string]string{"approle": "approle", "transit": "transit", "pki": "pki", "kv": "secret"}[key]
		}
		if !plainPath(*mount) {
			bad(key, "%q is no mount path", *mount)
		}
	}
	for key, order := range map[string]*Certificaat{"groep.pki": &c.Groep.Certificaat, "netwerk.pki": &c.Netwerk} {
		order.Mount = strings.Trim(cmp.Or(order.Mount, c.PKI), "/")
		if !plainPath(order.Mount) {
			bad(key, "%q is no mount path", order.Mount)
		}
	}
	if c.Groep.Versie == 0 {
		c.Groep.Versie = 1
	}
	switch g := c.Groep; {
	case g.Versie < 1:
		bad("groep.versie", "give 1 or higher")
	case g.Sleutel == "" && g.Rol != "":
		bad("groep.sleutel", "give the name of a key in Transit: contracts name the key, so it must outlive its certificates")
	case g.Sleutel != "" && !plainName(g.Sleutel):
		bad("groep.sleutel", "%q is no name of a key", g.Sleutel)
	case g.Rol != "" && !plainName(g.Rol):
		bad("groep.rol", "%q is no name of a role", g.Rol)
	}
	switch n := c.Netwerk; {
	case n.Rol != "" && !plainName(n.Rol):
		bad("netwerk.rol", "%q is no name of a role", n.Rol)
	case n.Rol != "" && len(n.Namen) == 0:
		bad("netwerk.namen", "give the names under which our own network calls this peer")
	case n.Rol == "" && len(n.Namen) > 0:
		bad("netwerk.rol", "give the role in PKI that issues the certificate")
	}
	for version, path := range c.Pseudoniemen {
		if version < 1 || !plainPath(path) {
			bad("pseudoniemen", "give versions from 1, each with a path in KV, such as {1: borne/pseudoniem-1}")
		}
	}
	for key, path := range map[string]string{"kafkaWachtwoord": c.KafkaWachtwoord, "opslagWachtwoord": c.OpslagWachtwoord, "bronWachtwoord": c.BronWachtwoord} {
		if path != "" && !plainPath(path) {
			bad(key, "%q is no path in KV", path)
		}
	}
	return errors.Join(errs...)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// plainPath accepts names with slashes between. Nothing in it can lead to another path than the one that is written.
func plainPath(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if !plainName(part) {
			return false
		}
	}
	return true
}

func plainName(name string) bool {
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.' {
			return false
		}
	}
	return name != "" && strings.Trim(name, ".") != ""
}
