package vault

import (
	"strings"
	"testing"
)

func good() Config {
	return Config{
		Adres: "https://vault.example:8200", RolID: "rol-id", GeheimID: "geheim-id", Groep: Groep{Sleutel: "groep", Certificaat: Certificaat{Rol: "groep"}},
		Netwerk: Certificaat{Rol: "netwerk", Namen: []string{"localhost"}}, Pseudoniemen: map[int]string{1: "borne/pseudoniem-1"}, KafkaWachtwoord: "borne/kafka",
	}
}

func TestConfigCheck(t *testing.T) {
	c := good()
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	if c.AppRole != "approle" || c.Transit != "transit" || c.PKI != "pki" || c.KV != "secret" || c.Groep.Versie != 1 {
		t.Errorf("the defaults are not filled in: %+v", c)
	}
	none := Config{}
	if err := none.Check(); err != nil || none.Enabled() {
		t.Errorf("no section: got %v, enabled %t", err, none.Enabled())
	}
	loop := good()
	loop.Adres = "http://127.0.0.1:8200"
	if err := loop.Check(); err != nil {
		t.Errorf("http on loopback: %v", err)
	}
	for _, tt := range []struct {
		name, want string
		spoil      func(*Config)
	}{
		{"no address", "vault.adres", func(c *Config) { c.Adres = "" }},
		{"token in the clear", "vault.adres: give https", func(c *Config) { c.Adres = "http://vault.example:8200" }},
		{"path in the address", "vault.adres", func(c *Config) { c.Adres = "https://vault.example:8200/v1" }},
		{"user in the address", "vault.adres", func(c *Config) { c.Adres = "https://a:b@vault.example" }},
		{"no role id", "vault.rolIdBestand", func(c *Config) { c.RolID = "" }},
		{"no secret id", "geheimIdBestand", func(c *Config) { c.GeheimID = "" }},
		{"mount that climbs", "vault.transit", func(c *Config) { c.Transit = "../sys" }},
		{"mount with a query", "vault.pki", func(c *Config) { c.PKI = "pki?x=1" }},
		{"mount of the network that climbs", "vault.netwerk.pki", func(c *Config) { c.Netwerk.Mount = "../pki" }},
		{"key that climbs", "vault.groep.sleutel", func(c *Config) { c.Groep.Sleutel = "../x" }},
		{"key with a slash", "vault.groep.sleutel", func(c *Config) { c.Groep.Sleutel = "a/b" }},
		{"role without key", "vault.groep.sleutel", func(c *Config) { c.Groep.Sleutel = "" }},
		{"role with a slash", "vault.groep.rol", func(c *Config) { c.Groep.Rol = "a/b" }},
		{"version below one", "vault.groep.versie", func(c *Config) { c.Groep.Versie = -1 }},
		{"names without role", "vault.netwerk.rol", func(c *Config) { c.Netwerk.Rol = "" }},
		{"role without names", "vault.netwerk.namen", func(c *Config) { c.Netwerk.Namen = nil }},
		{"pseudonym version 0", "vault.pseudoniemen", func(c *Config) { c.Pseudoniemen = map[int]string{0: "x"} }},
		{"pseudonym path that climbs", "vault.pseudoniemen", func(c *Config) { c.Pseudoniemen = map[int]string{1: "x/../y"} }},
		{"password path that is empty in part", "vault.kafkaWachtwoord", func(c *Config) { c.KafkaWachtwoord = "a//b" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			tt.spoil(&c)
			if err := c.Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}
