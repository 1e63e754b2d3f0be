package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

func TestLoadIdentity(t *testing.T) {
	r := newRegion(t)
	id, made := r.identity(borne)
	if got, want := len(id.Chain()), 2; got != want {
		t.Errorf("got a chain of %d, want leaf and intermediate", got)
	}
	if got, err := id.Peer(); err != nil || got.ID != borne {
		t.Errorf("got peer %v, %v", got, err)
	}
	other := r.issue(uwi)
	pemOf := func(name string) []byte {
		raw, err := os.ReadFile(name)
		must(t, err)
		return raw
	}
	write := func(raw []byte, mode os.FileMode) string {
		name := filepath.Join(t.TempDir(), "f.pem")
		must(t, os.WriteFile(name, raw, 0o600))
		must(t, os.Chmod(name, mode))
		return name
	}
	inter := pemOf(filepath.Join(r.dir, IntermediateFile))
	leaf := bytes.TrimSuffix(pemOf(made.CertFile), inter)
	tests := []struct{ name, cert, key, want string }{
		{"no certificate", "weg.pem", made.KeyFile, "weg.pem"},
		{"no key", made.CertFile, "weg.pem", "weg.pem"},
		{"key of another", made.CertFile, other.KeyFile, "private key does not match"},
		{"swapped", made.KeyFile, made.CertFile, "only CERTIFICATE blocks"},
		{"not a key", made.CertFile, write([]byte("geen sleutel"), 0o600), "failed to find any PEM data"},
		{"key for all to read", made.CertFile, write(pemOf(made.KeyFile), 0o604), "mode 0604 lets others at it; run chmod 600"},
		{"key for the group to write", made.CertFile, write(pemOf(made.KeyFile), 0o660), "chmod 600"},
		{"chain out of order", write(append(bytes.Clone(inter), leaf...), 0o600), made.KeyFile, "put the leaf first"},
		{"a CA", filepath.Join(r.dir, IntermediateFile), filepath.Join(r.dir, intermediateKeyFile), "certificate of a CA"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := LoadIdentity(tt.cert, tt.key)
			wantError(t, err, gateway.Invalid, tt.want)
		})
	}
	t.Run("key for the group to read", func(t *testing.T) {
		_, err := LoadIdentity(made.CertFile, write(pemOf(made.KeyFile), 0o640))
		must(t, err)
	})
}

func TestIdentityReload(t *testing.T) {
	r := newRegion(t)
	id, made := r.identity(borne)
	before := id.Pair()
	good, err := os.ReadFile(made.CertFile)
	must(t, err)
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		go id.Watch(t.Context(), time.Second, slog.New(slog.NewTextHandler(&log, nil)))
		must(t, os.WriteFile(made.CertFile, good[:100], 0o600))
		time.Sleep(3 * time.Second) // of the fake clock
		synctest.Wait()
		if got := strings.Count(log.String(), "not reloaded"); got != 1 || id.Pair() != before {
			t.Errorf("got %d reports, pair kept %t; want 1 and kept:\n%s", got, id.Pair() == before, log.String())
		}
		r.issue(borne, func(q *Request) { q.Out, q.Force = filepath.Dir(made.CertFile), true })
		time.Sleep(time.Second)
		synctest.Wait()
	})
	after := id.Pair()
	if after == before || after.Cert().Equal(before.Cert()) {
		t.Fatal("the new certificate was not taken over")
	}
	if !after.Cert().PublicKey.(*ecdsa.PublicKey).Equal(after.Key.Public()) {
		t.Error("key and certificate of the pair do not belong together")
	}
}

// A key that only signs, as one in Vault does, is as good as a key file; what does not belong to it is refused.
func TestIdentityOfASigner(t *testing.T) {
	r := newRegion(t)
	id, made := r.identity(borne)
	other, _ := r.identity(uwi)
	key := struct{ crypto.Signer }{id.Signer()}
	fromFile, err := LoadCertificate(made.CertFile, key)
	must(t, err)
	if !fromFile.Cert().Equal(id.Cert()) || len(fromFile.Chain()) != 2 {
		t.Error("the certificate is not that of the file")
	}
	fresh, err := NewIdentity(key, id.Chain())
	must(t, err)
	must(t, fresh.Reload()) // of no file: nothing to do
	before := fresh.Pair()
	wantError(t, fresh.Replace(key, other.Chain()), gateway.Invalid, "of another key")
	wantError(t, fresh.Replace(key, nil), gateway.Invalid, "give a key and its certificate")
	wantError(t, fresh.Replace(key, []*x509.Certificate{id.Chain()[0], id.Chain()[0]}), gateway.Invalid, "put the leaf first")
	if fresh.Pair() != before {
		t.Error("a refused certificate replaced the one of before")
	}
	must(t, fresh.Replace(struct{ crypto.Signer }{other.Signer()}, other.Chain()))
	if !fresh.Cert().Equal(other.Cert()) {
		t.Error("the certificate was not taken over")
	}
	if recent := fresh.Recent(); len(recent) != 2 || !recent[0].Equal(other.Cert()) || !recent[1].Equal(id.Cert()) {
		t.Errorf("got %d recent certificates, want the new one and the one before", len(recent))
	}
	_, err = LoadCertificate(made.CertFile, other.Signer())
	wantError(t, err, gateway.Invalid, "of another key")
}
