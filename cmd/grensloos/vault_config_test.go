package main

import (
	"strings"
	"testing"

	"github.com/grensloos/grensloos/certs"
)

// What comes from Vault and from a file too is refused, by both keys; a section without an address as well.
func TestVaultBesideFiles(t *testing.T) {
	const adres = "\nvault:\n  adres: https://vault.example:8200\n  rolIdBestand: rol-id\n  geheimIdBestand: geheim-id\n"
	for _, tt := range []struct{ name, section, want string }{
		{"group key", adres + "  groep: {sleutel: groep}\n", "vault.groep.sleutel: not beside certificaat.sleutel"},
		{"group certificate", adres + "  groep: {sleutel: groep, rol: groep}\n", "vault.groep.rol: not beside certificaat.certificaat"},
		{"network", adres + "  netwerk: {rol: netwerk, namen: [localhost]}\n", "vault.netwerk.rol: not beside netwerk.certificaat"},
		{"pseudonym keys", adres + "  pseudoniemen: {1: een}\n", "vault.pseudoniemen: not beside pseudoniemen"},
		{"a password that nobody asks for", adres + "  opslagWachtwoord: opslag\n", "vault.opslagWachtwoord: nothing asks for it: leave it out, or set opslag.driver: postgres"},
		{"a source's, too", adres + "  bronWachtwoord: bron\n", "vault.bronWachtwoord: nothing asks for it"},
		{"a path that leads elsewhere", adres + "  kafkaWachtwoord: ../sys\n", "vault.kafkaWachtwoord"},
		{"a password twice", adres + "  opslagWachtwoord: opslag\nopslag:\n  driver: postgres\n  postgres: {adressen: [db.example], database: g, gebruiker: g, wachtwoordBestand: w}\n", "vault.opslagWachtwoord: not beside opslag.postgres.wachtwoordBestand"},
		{"no address", "\nvault: {groep: {sleutel: groep}}\n", "vault.adres: give https://host:port"},
		{"nothing from Vault", adres, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := loadConfig(groupFile(t, configExample+tt.section))
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// A process reads of Vault only the passwords with which it signs in itself: the policy of its AppRole can do without the others.
func TestVaultPasswordsOfOneProcess(t *testing.T) {
	for _, tt := range []struct {
		roles []certs.Role
		want  string
	}{
		{nil, "kafkaWachtwoord opslagWachtwoord bronWachtwoord"},
		{[]certs.Role{roleClientgegevens}, "kafkaWachtwoord opslagWachtwoord bronWachtwoord"},
		{[]certs.Role{roleInway}, "kafkaWachtwoord opslagWachtwoord"},
		{[]certs.Role{roleManager, roleBeheer}, "kafkaWachtwoord opslagWachtwoord"},
		{[]certs.Role{roleOutway, roleBevraging}, "kafkaWachtwoord opslagWachtwoord"},
	} {
		var needed []string
		for _, p := range (&Config{process: process{roles: tt.roles}}).vaultPasswords() {
			if p.needed {
				needed = append(needed, p.key)
			}
		}
		if got := strings.Join(needed, " "); got != tt.want {
			t.Errorf("%v: reads %s, want %s", tt.roles, got, tt.want)
		}
	}
}
