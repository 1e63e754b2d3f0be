package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
)

func TestIssue(t *testing.T) {
	r := newRegion(t)
	id, made := r.identity(borne, func(q *Request) {
		q.Hosts, q.IPs, q.Days = []string{"borne.example", "*.borne.example"}, []net.IP{net.ParseIP("127.0.0.1"), net.ParseIP("::1")}, 30
	})
	cert := id.Cert()
	type content struct {
		OIN, Name, CN string
		Hosts         []string
		IPs           int
		Usage         []x509.ExtKeyUsage
		NotAfter      time.Time
	}
	got := content{
		cert.Subject.SerialNumber, cert.Subject.Organization[0], cert.Subject.CommonName,
		cert.DNSNames, len(cert.IPAddresses), cert.ExtKeyUsage, cert.NotAfter,
	}
	want := content{
		string(borne), "Gemeente Borne", "borne.example",
		[]string{"borne.example", "*.borne.example"},
		2,
		[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		t0.AddDate(0, 0, 30),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("certificate (-want +got):\n%s", diff)
	}
	if made.NotAfter != cert.NotAfter || made.Serial != id.Cert().SerialNumber.Text(16) {
		t.Errorf("got %+v, not what the certificate says", made)
	}
	rsaID, _ := r.identity(borne, func(q *Request) { q.KeyType = RSA3072 })
	if pub, ok := rsaID.Cert().PublicKey.(*rsa.PublicKey); !ok || pub.N.BitLen() != 3072 {
		t.Errorf("got key %T, want RSA of 3072 bits", rsaID.Cert().PublicKey)
	}
	long, _ := r.identity(borne, func(q *Request) { q.Days = 2 * DefaultCADays })
	if got, want := long.Cert().NotAfter, t0.AddDate(0, 0, DefaultCADays); !got.Equal(want) {
		t.Errorf("got a leaf until %s, want it to end with its issuer at %s", got, want)
	}
}

func TestIssueRefuses(t *testing.T) {
	r := newRegion(t)
	intern := t.TempDir()
	must(t, InitPKI(intern, InitOptions{Internal: true}))
	good := Request{OIN: borne, Name: "Gemeente Borne", Hosts: []string{"localhost"}}
	tests := []struct {
		name   string
		dir    string
		change func(*Request)
		kind   gateway.Kind
		want   string
	}{
		{"OIN", r.dir, func(q *Request) { q.OIN = "123" }, gateway.Invalid, "oin: peer id: give an OIN of 20 digits"},
		{"no name", r.dir, func(q *Request) { q.Name = " " }, gateway.Invalid, "name: give"},
		{"no host", r.dir, func(q *Request) { q.Hosts = nil }, gateway.Invalid, "hosts: give at least one"},
		{"URL as host", r.dir, func(q *Request) { q.Hosts = []string{"https://borne.example"} }, gateway.Invalid, "without scheme or port"},
		{"port in host", r.dir, func(q *Request) { q.Hosts = []string{"borne.example:443"} }, gateway.Invalid, "without scheme or port"},
		{"address as host", r.dir, func(q *Request) { q.Hosts = []string{"127.0.0.1"} }, gateway.Invalid, "give a DNS name"},
		{"climbing host", r.dir, func(q *Request) { q.Hosts = []string{"../../etc"} }, gateway.Invalid, "give a DNS name"},
		{"half an address", r.dir, func(q *Request) { q.IPs = []net.IP{{1, 2}} }, gateway.Invalid, "is no IP address"},
		{"days", r.dir, func(q *Request) { q.Days = -1 }, gateway.Invalid, "days -1"},
		{"key type", r.dir, func(q *Request) { q.KeyType = "dsa" }, gateway.Invalid, "use ecdsa-p256 or rsa-3072"},
		{"no PKI", t.TempDir(), func(*Request) {}, gateway.NotFound, "make one with `grensloos pki init`"},
		{"internal from the group's", r.dir, func(q *Request) { q.OIN, q.Internal = "", true }, gateway.Invalid, "this PKI is the group's"},
		{"peer from the internal", intern, func(*Request) {}, gateway.Invalid, "this PKI is for an own network"},
		{"internal with OIN", intern, func(q *Request) { q.Internal = true }, gateway.Invalid, "names no peer"},
		{"reuse of no key", r.dir, func(q *Request) { q.ReuseKey = true }, gateway.Invalid, "key.pem"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := good
			q.Out = filepath.Join(t.TempDir(), "uit")
			tt.change(&q)
			_, err := Issue(tt.dir, q)
			wantError(t, err, tt.kind, tt.want)
			if exists(filepath.Join(q.Out, CertFile)) {
				t.Error("a certificate was written")
			}
		})
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	r := newRegion(t)
	id, made := r.identity(borne)
	again := Request{OIN: borne, Name: "Gemeente Borne", Hosts: []string{"localhost"}, Out: filepath.Dir(made.CertFile), Now: t0}

	wantError(t, InitPKI(r.dir, InitOptions{}), gateway.Conflict, "there is a PKI already")
	_, err := Issue(r.dir, again)
	wantError(t, err, gateway.Conflict, "is there already")
	must(t, id.Reload())
	if id.Cert().SerialNumber.Text(16) != made.Serial {
		t.Error("a refused Issue replaced the certificate")
	}

	key := id.Signer().Public()
	again.ReuseKey = true
	_, err = Issue(r.dir, again)
	must(t, err)
	must(t, id.Reload())
	if id.Cert().SerialNumber.Text(16) == made.Serial || !publicEqual(key, id.Signer().Public()) {
		t.Error("renewal must give a new certificate on the same key")
	}
	again.ReuseKey, again.Force = false, true
	_, err = Issue(r.dir, again)
	must(t, err)
	must(t, id.Reload())
	if publicEqual(key, id.Signer().Public()) {
		t.Error("forced, but the key is still the old one")
	}

	must(t, InitPKI(r.dir, InitOptions{Force: true, Now: t0}))
	must(t, r.group.Reload())
	_, _, err = r.group.PeerOf(state(id.Chain()))
	wantError(t, err, gateway.Denied, "not issued under an anchor")
}

func publicEqual(a, b crypto.PublicKey) bool {
	return a.(*ecdsa.PublicKey).Equal(b)
}

// Keys are for their owner alone, and nothing half-written stays behind.
func TestFiles(t *testing.T) {
	r := newRegion(t)
	_, err := Issue(r.dir, Request{OIN: borne, Name: "Gemeente Borne", Hosts: []string{"localhost"}})
	must(t, err)
	var got []string
	must(t, filepath.WalkDir(r.dir, func(name string, d fs.DirEntry, err error) error {
		must(t, err)
		info, err := d.Info()
		must(t, err)
		if !d.IsDir() {
			rel, _ := filepath.Rel(r.dir, name)
			got = append(got, info.Mode().String()+" "+rel)
		} else if info.Mode().Perm()&0o077 != 0 && name != r.dir {
			t.Errorf("folder %s has mode %s", name, info.Mode())
		}
		return nil
	}))
	want := []string{
		"-rw------- .lock",
		"-rw------- index.json",
		"-rw------- intermediate-key.pem",
		"-rw-r--r-- intermediate.crl",
		"-rw-r--r-- intermediate.pem",
		"-rw-r--r-- issued/" + string(borne) + "/cert.pem",
		"-rw------- issued/" + string(borne) + "/key.pem",
		"-rw------- root-key.pem",
		"-rw-r--r-- root.crl",
		"-rw-r--r-- root.pem",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestRevoke(t *testing.T) {
	r := newRegion(t)
	byFile, bySerial := r.issue(borne), r.issue(borne)
	r.revoke(byFile.CertFile)
	r.revoke(strings.ToUpper(colons(bySerial.Serial)))
	r.clock.set(t0.Add(time.Hour))
	r.revoke(bySerial.Serial) // twice is no error, and the moment stays
	ix, err := (&pki{dir: r.dir}).readIndex()
	must(t, err)
	if got := ix.Certs[2].Revoked; !got.Equal(t0) {
		t.Errorf("got revoked at %s, want %s", got, t0)
	}
	root, err := readCRLs(filepath.Join(r.dir, RootCRLFile))
	must(t, err)
	if got := len(root[0].revoked); got != 0 {
		t.Errorf("got %d certificates of the intermediate on the list of the root", got)
	}
	lists, err := readCRLs(filepath.Join(r.dir, IntermediateCRLFile))
	must(t, err)
	if got := len(lists[0].revoked); got != 2 {
		t.Errorf("got %d revoked, want 2", got)
	}
	if got := lists[0].number.Int64(); got != 4 {
		t.Errorf("got CRL number %d, want 4: one up for every list", got)
	}

	foreign := newRegion(t).issue(borne)
	wantError(t, Revoke(r.dir, foreign.CertFile), gateway.NotFound, "was not issued by the PKI")
	wantError(t, Revoke(r.dir, "abc123"), gateway.NotFound, "serial abc123 was not issued")
	wantError(t, Revoke(r.dir, "weg.pem"), gateway.Invalid, "no such file, and no serial number")
	wantError(t, Revoke(r.dir, byFile.KeyFile), gateway.Invalid, "only CERTIFICATE blocks")
	wantError(t, Revoke(t.TempDir(), "01"), gateway.NotFound, "there is no PKI here")
	wantError(t, CRL(r.dir, 0), gateway.Invalid, "say how long the CRL holds")
	wantError(t, CRL(t.TempDir(), time.Hour), gateway.NotFound, "there is no PKI here")
}

func colons(s string) string {
	var parts []string
	for ; s != ""; s = s[2:] {
		parts = append(parts, s[:2])
	}
	return strings.Join(parts, ":")
}

// Two that issue and revoke at once do not lose each other's work.
func TestConcurrentRevoke(t *testing.T) {
	r := newRegion(t)
	var wg sync.WaitGroup
	const n = 8
	for range n {
		wg.Go(func() {
			made, err := Issue(r.dir, Request{OIN: borne, Name: "Gemeente Borne", Hosts: []string{"localhost"}, Out: filepath.Join(t.TempDir(), "x"), Now: t0})
			if err == nil {
				err = Revoke(r.dir, made.Serial)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	lists, err := readCRLs(filepath.Join(r.dir, IntermediateCRLFile))
	must(t, err)
	if got := len(lists[0].revoked); got != n {
		t.Errorf("got %d revoked, want %d", got, n)
	}
}

// A damaged PKI folder is reported, not repaired by guessing.
func TestDamagedPKI(t *testing.T) {
	for _, name := range []string{indexFile, IntermediateFile, intermediateKeyFile} {
		t.Run(name, func(t *testing.T) {
			r := newRegion(t)
			must(t, os.WriteFile(filepath.Join(r.dir, name), []byte("{"), 0o600))
			_, err := Issue(r.dir, Request{OIN: borne, Name: "Gemeente Borne", Hosts: []string{"localhost"}})
			wantError(t, err, gateway.Invalid, name)
		})
	}
}
