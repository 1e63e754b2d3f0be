//go:build engines

package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway/postgres"
)

// vaultDatabases are a database of the state and one of a source, each with a role whose password is in KV.
type vaultDatabases struct {
	t           *testing.T
	v           *vaultAdmin
	admin       *sql.DB
	name        string
	state, read string // roles
	section     func(role string) string
}

func newVaultDatabases(t *testing.T, v *vaultAdmin) *vaultDatabases {
	t.Helper()
	dir := engineEnv(t, "GRENSLOOS_POSTGRES_DIR")
	address, ca := engineEnv(t, "GRENSLOOS_POSTGRES"), engineEnv(t, "GRENSLOOS_POSTGRES_CA")
	admin, err := postgres.Open(t.Context(), postgres.Config{
		Addresses: []string{address}, Database: "postgres", User: "beheerder", PasswordFile: filepath.Join(dir, "wachtwoord", "beheerder"), TLS: postgres.TLS{CA: ca},
	}, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, 4)
	_, _ = rand.Read(raw)
	n := hex.EncodeToString(raw)
	d := &vaultDatabases{t: t, v: v, admin: admin, name: "vault_" + n, state: "opslag_" + n, read: "bron_" + n}
	d.section = func(role string) string {
		return fmt.Sprintf("adressen: [%q], database: %s, gebruiker: %s, tls: {ca: %s}", address, d.name, role, ca)
	}
	d.do("CREATE ROLE "+d.state+" LOGIN", "CREATE ROLE "+d.read+" LOGIN", "CREATE DATABASE "+d.name+" OWNER grensloos_migratie",
		"REVOKE ALL ON DATABASE "+d.name+" FROM PUBLIC", "GRANT CONNECT ON DATABASE "+d.name+" TO "+d.state+", "+d.read)
	t.Cleanup(func() {
		for _, s := range []string{"DROP DATABASE " + d.name + " WITH (FORCE)", "DROP ROLE " + d.state, "DROP ROLE " + d.read} {
			if _, err := admin.ExecContext(context.Background(), s); err != nil {
				t.Errorf("%s: %v", s, err)
			}
		}
		admin.Close()
	})
	return d
}

func (d *vaultDatabases) do(statements ...string) {
	d.t.Helper()
	for _, s := range statements {
		if _, err := d.admin.ExecContext(d.t.Context(), s); err != nil {
			d.t.Fatalf("%s: %v", strings.SplitN(s, "PASSWORD", 2)[0], err)
		}
	}
}

// rotate gives both roles another password, in the database and in KV, and ends their connections.
func (d *vaultDatabases) rotate() {
	d.t.Helper()
	for role, path := range map[string]string{d.state: "opslag", d.read: "bron"} {
		raw := make([]byte, 16)
		_, _ = rand.Read(raw)
		password := hex.EncodeToString(raw)
		d.do("ALTER ROLE " + role + " PASSWORD '" + password + "'")
		d.v.write(d.v.kv+"/data/"+path, map[string]any{"data": map[string]any{"wachtwoord": password}})
		d.do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '" + role + "'")
	}
}

// The passwords of the state store and of a source come from KV; one that is replaced there is used at the next connection, without a
// restart. With all from Vault, no private key and no password of the peer is on its disk.
func TestVaultDatabasePasswords(t *testing.T) {
	v := newVaultAdmin(t)
	b := borne(t)
	laid, err := layRegion(t.Context(), t.TempDir(), b)
	if err != nil {
		t.Fatal(err)
	}
	v.lay(laid, b, "720h")
	v.useVault(b, os.Getenv("GRENSLOOS_VAULT"))
	d := newVaultDatabases(t, v)
	d.rotate()
	raw, err := os.ReadFile(b.config())
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(raw), "  pseudoniemen: {1: pseudoniem-1}\n", "  pseudoniemen: {1: pseudoniem-1}\n  opslagWachtwoord: opslag\n", 1)
	text += "\nopslag:\n  driver: postgres\n  postgres: {" + d.section(d.state) + "}\n"
	if err := os.WriteFile(b.config(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &running{region: laid, t: t, serve: map[*regionPeer]*served{}}
	t.Cleanup(func() {
		for p := range r.serve {
			r.stop(p)
		}
	})
	r.must(b, "", "migrate", "--gebruiker", "grensloos_migratie", "--wachtwoordbestand", filepath.Join(engineEnv(t, "GRENSLOOS_POSTGRES_DIR"), "wachtwoord", "grensloos_migratie"))
	r.start(b)
	r.must(b, "", "contract", "list")
	if out, _ := r.grensloos(b, "", "doctor"); !strings.Contains(out, "ok      opslag") && !strings.Contains(out, "LET OP  opslag") {
		t.Errorf("doctor can't look at the store:\n%s", out)
	}
	for range 2 {
		d.rotate()
		r.await("the store with the new password", func() bool { _, err := r.grensloos(b, "", "contract", "list"); return err == nil })
	}
	// All of this peer comes from Vault. What is left on its disk are the keys of the test's own authorities and of the issuer of JWTs.
	err = filepath.WalkDir(b.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.Contains(path, "/intern/") || filepath.Base(path) == "issuer.key" {
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
	r.stop(b)

	// A source alike; and what is wrong with a password in KV is named, by the peer and by doctor.
	text = strings.Replace(text, "  opslagWachtwoord: opslag\n", "  opslagWachtwoord: opslag\n  bronWachtwoord: bron\n", 1)
	text = strings.Replace(text, "{bestand: bron.db, mapping: mapping.yaml}", "{driver: postgres, mapping: mapping.yaml, postgres: {"+d.section(d.read)+"}}", 1)
	if err := os.WriteFile(b.config(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig(b.config())
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() error{
		"a command": func() error { return nil },
		"a peer": func() error {
			p := &peer{cfg: cfg, log: slog.New(slog.DiscardHandler), now: time.Now}
			t.Cleanup(func() { _ = p.close(context.Background()) })
			return p.openVault(t.Context())
		},
	} {
		if err := open(); err != nil {
			t.Fatal(err)
		}
		pool, err := postgres.Open(t.Context(), cfg.Source.Database.Postgres, postgres.Options{ReadOnly: true})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for range 2 {
			d.rotate()
			r.await(name+" to read the source with the new password", func() bool { // one that was read less than a second ago counts
				var one int
				return pool.QueryRowContext(t.Context(), "SELECT 1").Scan(&one) == nil
			})
		}
		pool.Close()
	}
	v.write(v.kv+"/data/opslag", map[string]any{"data": map[string]any{"ander": "veld"}})
	out, _ := r.grensloos(b, "", "doctor")
	for _, word := range []string{"FOUT", "vault.opslagWachtwoord", "has no field wachtwoord", "bao kv put"} {
		if !strings.Contains(out, word) {
			t.Errorf("doctor does not say %q:\n%s", word, out)
		}
	}
}
