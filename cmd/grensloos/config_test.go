package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A wrong configuration names the file, the line or key, and the mend; nothing starts.
func TestConfigRefuses(t *testing.T) {
	b, u := borne(t), uwi()
	if _, err := layRegion(t.Context(), t.TempDir(), b, u); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(b.config())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loadConfig(b.config()); err != nil {
		t.Fatalf("the configuration that the cases below alter: %v", err)
	}
	for _, tc := range []struct{ name, old, altered, want string }{
		{"unknown key", "map: data\n", "map: data\nmapp: data\n", `[4:1] unknown field "mapp"`},
		{"unknown key deep down", "poorten:", "portten:", `[7:3] unknown field "portten"`},
		{"key twice", "demo: true\n", "demo: true\ndemo: false\n", "demo"},
		{"not YAML", "map: data\n", "map: [data\n", "peer.yaml"},
		{"OIN", `id: "00000099000000147000"`, `id: "147"`, "peer.id: peer id: give an OIN of 20 digits"},
		{"no folder", "map: data\n", "", "map: give a folder"},
		{"own network without TLS", "  ca: intern/root.pem\n", "", "netwerk: give certificaat.certificaat, certificaat.sleutel and ca"},
		{"no issuer", "  issuerSleutels: [issuer.pem]\n", "", "netwerk: give issuer and issuerSleutels"},
		{"no pseudonym key", "pseudoniemen: {1: pseudoniem.key}\n", "", "pseudoniemen: give at least one key file"},
		{"address on a port that the group does not allow", "  poorten: [", "  poorten: [1, ", ""},
		{"manager without TLS", `adres: "https://127`, `adres: "http://127`, "manager.adres: give https://host:port"},
		{"the same peer twice", `  - {id: "00000099900000001000"`, `  - {id: "00000099000000147000"`, "peers[0].id: stands twice, or is our own"},
		{"connector without a source", "bron:\n  database: {bestand: bron.db, mapping: mapping.yaml}\n", "", "bron: the service clientgegevens needs one"},
		{"bounds of bevraging", `bevraging: {`, `bevraging: {wachttijd: 30s, wachttijdGemeente: 5s, vragenPerGemeente: 4, `, ""},
		{"bevraging that waits too long", `bevraging: {`, `bevraging: {wachttijd: 5m, `, "bevraging: wachttijd: at most 50s"},
		{"unknown bound of bevraging", `bevraging: {`, `bevraging: {wachtijd: 5m, `, "wachtijd"},
		{"plain service without a URL", "    clientgegevens: {}\n", "    clientgegevens: {}\n    open: {doelbinding: false}\n", "inway.services.open.url: give http(s)://host:port"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			altered := strings.Replace(string(good), tc.old, tc.altered, 1)
			if altered == string(good) {
				t.Fatalf("the configuration has no %q", tc.old)
			}
			file := filepath.Join(t.TempDir(), "peer.yaml")
			if err := os.WriteFile(file, []byte(altered), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := loadConfig(file)
			if tc.want == "" {
				if err != nil {
					t.Errorf("got %v, want it accepted", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), file) {
				t.Errorf("got %v, want it to say %q and name the file", err, tc.want)
			}
		})
	}
}

// What another user of the machine may read is not a secret: the peer does not start with it.
func TestServeRefusesFilesThatOthersRead(t *testing.T) {
	for _, name := range []string{"pseudoniem.key", filepath.Join("group", "key.pem")} {
		t.Run(name, func(t *testing.T) {
			b, u := borne(t), uwi()
			if _, err := layRegion(t.Context(), t.TempDir(), b, u); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(filepath.Join(b.dir, name), 0o644); err != nil {
				t.Fatal(err)
			}
			err := run(t.Context(), []string{"serve", "-c", b.config()}, strings.NewReader(""), &syncBuffer{}, &syncBuffer{})
			if err == nil || !strings.Contains(err.Error(), filepath.Base(name)) {
				t.Errorf("got %v, want a refusal that names %s", err, name)
			}
		})
	}
}

// A certificate that says somebody else stops the start.
func TestServeRefusesAnotherPeersCertificate(t *testing.T) {
	b, u := borne(t), uwi()
	if _, err := layRegion(t.Context(), t.TempDir(), b, u); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cert.pem", "key.pem"} {
		raw, err := os.ReadFile(filepath.Join(u.dir, "group", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(b.dir, "group", name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := run(t.Context(), []string{"serve", "-c", b.config()}, strings.NewReader(""), &syncBuffer{}, &syncBuffer{})
	if err == nil || !strings.Contains(err.Error(), "the certificate is of uwi-midden-twente") {
		t.Errorf("got %v, want a refusal that names both peers", err)
	}
}
