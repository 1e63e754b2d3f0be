//go:build engines

package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	vaultapi "github.com/hashicorp/vault/api"

	"github.com/grensloos/grensloos/gateway/bevraging"
	"github.com/grensloos/grensloos/gateway/jose"
)

// vaultAdmin is the operator of the server that .ci/openbao started, with engines of its own.
type vaultAdmin struct {
	t                                *testing.T
	api                              *vaultapi.Client
	transit, pki, net, kv, role, acl string
}

func newVaultAdmin(t *testing.T) *vaultAdmin {
	t.Helper()
	address, token, ca := os.Getenv("GRENSLOOS_VAULT"), os.Getenv("GRENSLOOS_VAULT_TOKEN"), os.Getenv("GRENSLOOS_VAULT_CA")
	if address == "" || token == "" {
		t.Fatal(`GRENSLOOS_VAULT and GRENSLOOS_VAULT_TOKEN: eval "$(.ci/openbao start DIR)" first`)
	}
	cfg := vaultapi.DefaultConfig()
	cfg.Address = address
	if ca != "" {
		if err := cfg.ConfigureTLS(&vaultapi.TLSConfig{CACert: ca}); err != nil {
			t.Fatal(err)
		}
	}
	client, err := vaultapi.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(token)
	raw := make([]byte, 4)
	_, _ = rand.Read(raw)
	n := hex.EncodeToString(raw)
	return &vaultAdmin{t: t, api: client, transit: "transit-" + n, pki: "pki-" + n, net: "netwerk-" + n, kv: "kv-" + n, role: "peer-" + n, acl: "peer-" + n}
}

func (v *vaultAdmin) write(path string, data map[string]any) *vaultapi.Secret {
	v.t.Helper()
	s, err := v.api.Logical().WriteWithContext(context.Background(), path, data)
	if err != nil {
		v.t.Fatal(err)
	}
	return s
}

// lay sets everything up for a peer as docs/vault.md says, and leaves the ids of its AppRole in its folder.
func (v *vaultAdmin) lay(r *region, p *regionPeer, life string) {
	v.t.Helper()
	for mount, kind := range map[string]string{v.transit: "transit", v.pki: "pki", v.net: "pki", v.kv: "kv-v2"} {
		if err := v.api.Sys().Mount(mount, &vaultapi.MountInput{Type: kind}); err != nil {
			v.t.Fatal(err)
		}
		v.t.Cleanup(func() { _ = v.api.Sys().Unmount(mount) })
	}
	v.write(v.transit+"/keys/groep", map[string]any{"type": "ecdsa-p256"})
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	v.write(v.kv+"/data/pseudoniem-1", map[string]any{"data": map[string]any{"sleutel": base64.StdEncoding.EncodeToString(key)}})
	// PKI issues under the intermediate of the region and under that of the peer's own network, so that anchors and revocation lists
	// are those of the files.
	for mount, from := range map[string]string{v.pki: r.pki, v.net: filepath.Join(p.dir, "intern")} {
		var bundle []byte
		for _, name := range []string{"intermediate-key.pem", "intermediate.pem", "root.pem"} {
			raw, err := os.ReadFile(filepath.Join(from, name))
			if err != nil {
				v.t.Fatal(err)
			}
			bundle = append(bundle, raw...)
		}
		v.write(mount+"/config/ca", map[string]any{"pem_bundle": string(bundle)})
	}
	v.write(v.net+"/roles/netwerk", map[string]any{
		"key_type": "ec", "key_bits": 256, "ttl": life, "allowed_domains": "localhost", "allow_localhost": true, "allow_bare_domains": true,
		"allow_ip_sans": true, "require_cn": false, "client_flag": false, "key_usage": "DigitalSignature",
	})
	v.write(v.pki+"/roles/groep", map[string]any{
		"key_type": "ec", "key_bits": 256, "max_ttl": "720h", "ttl": life, "organization": p.Name, "country": "NL", "allowed_serial_numbers": string(p.ID),
		"allowed_domains": "localhost", "allow_localhost": true, "allow_bare_domains": true, "allow_ip_sans": true, "require_cn": false,
		"server_flag": true, "client_flag": true, "key_usage": "DigitalSignature",
	})
	policy := `path "` + v.transit + `/keys/groep" { capabilities = ["read"] }
path "` + v.transit + `/sign/groep" { capabilities = ["update"] }
path "` + v.pki + `/sign/groep" { capabilities = ["update"] }
path "` + v.net + `/sign/netwerk" { capabilities = ["update"] }
path "` + v.kv + `/data/pseudoniem-1" { capabilities = ["read"] }
path "` + v.kv + `/data/opslag" { capabilities = ["read"] }
path "` + v.kv + `/data/bron" { capabilities = ["read"] }`
	if err := v.api.Sys().PutPolicy(v.acl, policy); err != nil {
		v.t.Fatal(err)
	}
	if auths, err := v.api.Sys().ListAuth(); err != nil {
		v.t.Fatal(err)
	} else if auths["approle/"] == nil {
		if err := v.api.Sys().EnableAuthWithOptions("approle", &vaultapi.EnableAuthOptions{Type: "approle"}); err != nil && !strings.Contains(err.Error(), "already in use") {
			v.t.Fatal(err)
		}
	}
	v.write("auth/approle/role/"+v.role, map[string]any{"token_policies": v.acl, "token_ttl": "1h"})
	id, err := v.api.Logical().Read("auth/approle/role/" + v.role + "/role-id")
	if err != nil {
		v.t.Fatal(err)
	}
	secret := v.write("auth/approle/role/"+v.role+"/secret-id", nil)
	for name, text := range map[string]any{"rol-id": id.Data["role_id"], "geheim-id": secret.Data["secret_id"]} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text.(string)+"\n"), 0o600); err != nil {
			v.t.Fatal(err)
		}
	}
}

// useVault makes the configuration of a peer take its keys and certificates from Vault, and takes the files
// away.
func (v *vaultAdmin) useVault(p *regionPeer, address string) {
	v.t.Helper()
	raw, err := os.ReadFile(p.config())
	if err != nil {
		v.t.Fatal(err)
	}
	text := string(raw)
	for old, fresh := range map[string]string{
		"certificaat: {certificaat: group/cert.pem, sleutel: group/key.pem}\n":       "",
		"  certificaat: {certificaat: netwerk/cert.pem, sleutel: netwerk/key.pem}\n": "",
		"pseudoniemen: {1: pseudoniem.key}\n": "vault:\n  adres: " + address + "\n  ca: " + os.Getenv("GRENSLOOS_VAULT_CA") +
			"\n  rolIdBestand: rol-id\n  geheimIdBestand: geheim-id\n  transit: " + v.transit + "\n  pki: " + v.pki + "\n  kv: " + v.kv +
			"\n  groep: {sleutel: groep, rol: groep, namen: [localhost, 127.0.0.1]}" +
			"\n  netwerk: {rol: netwerk, pki: " + v.net + ", namen: [localhost, 127.0.0.1]}\n  pseudoniemen: {1: pseudoniem-1}\n",
	} {
		if !strings.Contains(text, old) {
			v.t.Fatalf("the configuration has no %q", old)
		}
		text = strings.Replace(text, old, fresh, 1)
	}
	if err := os.WriteFile(p.config(), []byte(text), 0o600); err != nil {
		v.t.Fatal(err)
	}
	for _, name := range []string{"group/cert.pem", "group/key.pem", "netwerk/cert.pem", "netwerk/key.pem", "pseudoniem.key"} {
		if err := os.Remove(filepath.Join(p.dir, name)); err != nil {
			v.t.Fatal(err)
		}
	}
}

// startVaultRegion is startRegion with a peer whose key is in Vault.
func startVaultRegion(t *testing.T, v *vaultAdmin, address, life string, inVault *regionPeer, peers ...*regionPeer) *running {
	t.Helper()
	laid, err := layRegion(t.Context(), t.TempDir(), append(peers, inVault)...)
	if err != nil {
		t.Fatal(err)
	}
	v.lay(laid, inVault, life)
	v.useVault(inVault, address)
	r := &running{region: laid, t: t, serve: map[*regionPeer]*served{}}
	t.Cleanup(func() {
		for p := range r.serve {
			r.stop(p)
		}
	})
	for _, p := range laid.peers {
		r.start(p)
	}
	return r
}

// A gemeente whose group key is in Transit, whose certificate comes from PKI and whose pseudonym key is in KV, signs contracts, gives
// tokens and answers; no private key of it is on its disk. Its certificate is renewed while it answers.
func TestVaultPeerAnswers(t *testing.T) {
	v := newVaultAdmin(t)
	b, u := borne(t), uwi()
	r := startVaultRegion(t, v, os.Getenv("GRENSLOOS_VAULT"), "12s", b, u)
	r.contract(u, b, "--doel", "pw-uitkering", "--namens", string(b.ID))
	q := testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: clientOf(t, 0)}
	ask := func(when string) bevraging.GemeenteAntwoord {
		t.Helper()
		g := r.ask(u, q)
		if got, want := outcomes(g), "persoon=beantwoord uitkering=beantwoord"; got != want {
			t.Fatalf("%s: got %s, want %s\n%s", when, got, want, r.serve[b].log)
		}
		return g
	}
	g := ask("first")
	if got := kinds(r.records(b, g.Transactie)); got != providerAnswered {
		t.Errorf("records at the gemeente: got %s, want %s", got, providerAnswered)
	}
	if got := kinds(r.records(u, g.Transactie)); got != askerAnswered {
		t.Errorf("records at the asker: got %s, want %s", got, askerAnswered)
	}
	err := filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, "/intern/") || filepath.Base(path) == "issuer.key" {
			return err
		}
		raw, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(raw), "PRIVATE KEY") {
			t.Errorf("%s has a private key", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	// Of 12 s, two thirds pass: questions go on through the renewal, with a token that was signed before it.
	renewed := func() bool { return strings.Count(r.serve[b].log.String(), "certificate renewed") >= 4 }
	deadline := time.Now().Add(40 * time.Second)
	for n := 0; !renewed(); n++ {
		if time.Now().After(deadline) {
			t.Fatalf("not each renewed twice within 40 s:\n%s", r.serve[b].log)
		}
		ask("during the renewal")
	}
	ask("after the renewal")
	out := r.must(b, "", "doctor", "--json")
	if !strings.Contains(out, `"vault"`) {
		t.Errorf("doctor says nothing of vault:\n%s", out)
	}
}

// The certificate in PKI is of the key in Transit, and stays so when the key is rotated: contracts name it.
func TestVaultRotationKeepsTheKey(t *testing.T) {
	v := newVaultAdmin(t)
	b, u := borne(t), uwi()
	r := startVaultRegion(t, v, os.Getenv("GRENSLOOS_VAULT"), "720h", u, b)
	r.contract(u, b, "--doel", "pw-uitkering", "--namens", string(b.ID))
	q := testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: clientOf(t, 0)}
	key := func() string {
		cfg, err := loadConfig(u.config())
		if err != nil {
			t.Fatal(err)
		}
		id, err := loadGroupIdentity(cfg)
		if err != nil {
			t.Fatal(err)
		}
		thumb, err := jose.KeyThumbprint(id.Cert().PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		return thumb
	}
	before := key()
	v.write(v.transit+"/keys/groep/rotate", nil)
	r.stop(u)
	r.start(u)
	if after := key(); after != before {
		t.Errorf("after a rotation the key is %s, want %s", after, before)
	}
	if got, want := outcomes(r.ask(u, q)), "persoon=beantwoord uitkering=beantwoord"; got != want {
		t.Errorf("an asker whose key is in Vault: got %s, want %s", got, want)
	}
	// A version that may not sign any more is refused by name, at the start.
	v.write(v.transit+"/keys/groep/config", map[string]any{"min_encryption_version": 2})
	r.stop(u)
	cfg, err := loadConfig(u.config())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loadGroupIdentity(cfg); err == nil || !strings.Contains(err.Error(), "transit key groep") {
		t.Errorf("got %v, want a refusal that names the key", err)
	}
}

// door is a way to Vault that can be shut.
type door struct {
	t       *testing.T
	address string
	mu      sync.Mutex
	open    net.Listener // guarded by mu
	through []net.Conn   // guarded by mu
}

func (d *door) unlock() {
	d.t.Helper()
	l, err := net.Listen("tcp", d.address)
	if err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	d.open, d.address = l, l.Addr().String()
	d.mu.Unlock()
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", strings.TrimPrefix(os.Getenv("GRENSLOOS_VAULT"), "https://"))
			if err != nil {
				_ = in.Close()
				continue
			}
			d.mu.Lock()
			d.through = append(d.through, in, out)
			d.mu.Unlock()
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
		}
	}()
}

func (d *door) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.open.Close()
	for _, c := range d.through {
		_ = c.Close()
	}
	d.through = nil
}

// While Vault is away a gemeente goes on over the connections that are open: its kwitanties are signed by a key in memory. What Vault
// must sign waits (here the handshake with an asker that started anew); the peer says why and stays up, and when Vault is back it
// answers, without a hand.
func TestVaultAway(t *testing.T) {
	v := newVaultAdmin(t)
	b, u := borne(t), uwi()
	d := &door{t: t, address: "127.0.0.1:0"}
	d.unlock()
	t.Cleanup(d.shut)
	r := startVaultRegion(t, v, "https://"+d.address, "720h", b, u)
	r.contract(u, b, "--doel", "pw-uitkering", "--namens", string(b.ID))
	q := testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: clientOf(t, 0)}
	const answered = "persoon=beantwoord uitkering=beantwoord"
	if got := outcomes(r.ask(u, q)); got != answered {
		t.Fatalf("before: got %s, want %s", got, answered)
	}
	d.shut()
	for range 3 {
		g := r.ask(u, q)
		if got := outcomes(g); got != answered {
			t.Errorf("over an open connection: got %s, want %s", got, answered)
		}
		if got := kinds(r.records(u, g.Transactie)); got != askerAnswered {
			t.Errorf("records at the asker: got %s, want %s", got, askerAnswered)
		}
	}
	r.stop(u)
	r.start(u)
	if got := outcomes(r.ask(u, q)); strings.Contains(got, "=beantwoord") {
		t.Errorf("answered over a handshake that nobody signed: %s", got)
	}
	r.await("the log to say so", func() bool {
		return contains(r.serve[b].log, "vault can't be used") && contains(r.serve[b].log, "https://"+d.address)
	})
	d.unlock()
	r.await("an answer again", func() bool { return outcomes(r.ask(u, q)) == answered })
	r.await("the log to say so", func() bool { return contains(r.serve[b].log, "vault is back") })
}

// Whatever is wrong with what a peer takes from Vault, doctor and config check name it with what mends it, and the peer does not start.
func TestVaultDoctor(t *testing.T) {
	v := newVaultAdmin(t)
	b := borne(t)
	laid, err := layRegion(t.Context(), t.TempDir(), b)
	if err != nil {
		t.Fatal(err)
	}
	v.lay(laid, b, "720h")
	v.useVault(b, os.Getenv("GRENSLOOS_VAULT"))
	r := &running{region: laid, t: t, serve: map[*regionPeer]*served{}}
	good, err := v.api.Sys().GetPolicy(v.acl)
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(b.config())
	if err != nil {
		t.Fatal(err)
	}
	policy := func(text string) {
		t.Helper()
		if err := v.api.Sys().PutPolicy(v.acl, text); err != nil {
			t.Fatal(err)
		}
	}
	without := func(path string) func() {
		return func() {
			var kept []string
			for line := range strings.SplitSeq(good, "\n") {
				if !strings.Contains(line, path) {
					kept = append(kept, line)
				}
			}
			policy(strings.Join(kept, "\n"))
		}
	}
	rewrite := func(old, fresh string) func() {
		return func() {
			t.Helper()
			text := strings.Replace(string(config), old, fresh, 1)
			if text == string(config) {
				t.Fatalf("the configuration has no %q", old)
			}
			if err := os.WriteFile(b.config(), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	secretID, err := os.ReadFile(filepath.Join(b.dir, "geheim-id"))
	if err != nil {
		t.Fatal(err)
	}
	tooNarrow := func(path, capability string) []string {
		return []string{"policy is too narrow", `path "` + path + `" { capabilities = ["` + capability + `"] }`}
	}
	if out, _ := r.grensloos(b, "", "doctor"); !strings.Contains(out, "ok      vault") {
		t.Fatalf("all is well, and doctor says:\n%s", out)
	}
	for _, tt := range []struct {
		name  string
		spoil func()
		want  []string
	}{
		{"may not read the key", without("/keys/groep"), tooNarrow(v.transit+"/keys/groep", "read")},
		{"may not sign", without(v.transit + "/sign"), tooNarrow(v.transit+"/sign/groep", "update")},
		{"may not have a certificate", without(v.pki + "/sign"), tooNarrow(v.pki+"/sign/groep", "update")},
		{"may not have one of the own network", without(v.net + "/sign"), tooNarrow(v.net+"/sign/netwerk", "update")},
		{"may not read a secret", without("pseudoniem-1"), tooNarrow(v.kv+"/data/pseudoniem-1", "read")},
		{"a secret id that is refused", func() {
			if err := os.WriteFile(filepath.Join(b.dir, "geheim-id"), []byte("00000000-0000-0000-0000-000000000000\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"login by AppRole approle is refused", "secret-id"}},
		{"nobody there", rewrite("adres: "+os.Getenv("GRENSLOOS_VAULT"), "adres: https://127.0.0.1:1"), []string{"vault https://127.0.0.1:1: not reached", "bao status"}},
		{"another CA", rewrite("ca: "+os.Getenv("GRENSLOOS_VAULT_CA"), "ca: "+filepath.Join(laid.pki, "root.pem")), []string{"does not stand under vault.ca"}},
		{"no such version", rewrite("sleutel: groep,", "sleutel: groep, versie: 7,"), []string{"transit key groep has no version 7", "vault.groep.versie"}},
		{"a version that may not sign any more", func() {
			v.write(v.transit+"/keys/groep/rotate", nil)
			v.write(v.transit+"/keys/groep/config", map[string]any{"min_encryption_version": 2})
		}, []string{"transit key groep", "min_encryption_version"}},
		{"a role that is gone", rewrite("groep: {sleutel: groep, rol: groep", "groep: {sleutel: groep, rol: weg"), []string{"PKI role weg"}},
		{"a key that was deleted", func() {
			v.write(v.transit+"/keys/groep/config", map[string]any{"deletion_allowed": true})
			if _, err := v.api.Logical().Delete(v.transit + "/keys/groep"); err != nil {
				t.Fatal(err)
			}
		}, []string{"transit key groep is not there", "restore it from a backup"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.spoil()
			t.Cleanup(func() {
				policy(good)
				for file, raw := range map[string][]byte{b.config(): config, filepath.Join(b.dir, "geheim-id"): secretID} {
					if err := os.WriteFile(file, raw, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if strings.HasPrefix(tt.name, "a version") {
					v.write(v.transit+"/keys/groep/config", map[string]any{"min_encryption_version": 0})
				}
			})
			doctor, _ := r.grensloos(b, "", "doctor")
			_, check := r.grensloos(b, "", "config", "check")
			if check == nil {
				t.Error("config check finds nothing")
				return
			}
			for _, want := range append(tt.want, "FOUT") {
				if !strings.Contains(doctor, want) {
					t.Errorf("doctor does not say %q:\n%s", want, doctor)
				}
				if want != "FOUT" && !strings.Contains(check.Error(), want) {
					t.Errorf("config check does not say %q: %v", want, check)
				}
			}
		})
	}
}
