package certs

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

const (
	borne = gateway.PeerID("00000099000000147000")
	uwi   = gateway.PeerID("00000099900000001000")
)

var t0 = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// clock is a time that a test moves.
type clock struct{ at atomic.Int64 }

func newClock(t time.Time) *clock {
	c := new(clock)
	c.set(t)
	return c
}

func (c *clock) now() time.Time  { return time.Unix(c.at.Load(), 0).UTC() }
func (c *clock) set(t time.Time) { c.at.Store(t.Unix()) }

// region is a development PKI with a group that trusts it.
type region struct {
	t     *testing.T
	dir   string
	clock *clock
	group *Group
}

func newRegion(t *testing.T) *region {
	t.Helper()
	r := &region{t: t, dir: t.TempDir(), clock: newClock(t0)}
	must(t, InitPKI(r.dir, InitOptions{Name: "Proefregio", Now: t0}))
	r.group = r.open()
	return r
}

func (r *region) config() Config {
	return Config{
		Ankers: []string{filepath.Join(r.dir, RootFile)},
		CRLs:   []string{filepath.Join(r.dir, RootCRLFile), filepath.Join(r.dir, IntermediateCRLFile)},
	}
}

func (r *region) open() *Group {
	r.t.Helper()
	g, err := OpenGroup(gateway.GroupRules{ID: "proef", Ports: []int{443}}, r.config(), r.clock.now, nil)
	must(r.t, err)
	return g
}

func (r *region) issue(oin gateway.PeerID, change ...func(*Request)) Issued {
	r.t.Helper()
	q := Request{
		OIN: oin, Name: "Gemeente Borne", Hosts: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)},
		Out: filepath.Join(r.t.TempDir(), "id"), Now: r.clock.now(),
	}
	for _, c := range change {
		c(&q)
	}
	made, err := Issue(r.dir, q)
	must(r.t, err)
	return made
}

func (r *region) identity(oin gateway.PeerID, change ...func(*Request)) (*Identity, Issued) {
	r.t.Helper()
	made := r.issue(oin, change...)
	id, err := LoadIdentity(made.CertFile, made.KeyFile)
	must(r.t, err)
	return id, made
}

func (r *region) revoke(what string) {
	r.t.Helper()
	must(r.t, revoke(r.dir, what, r.clock.now()))
}

// own signs a certificate outside the rules that Issue keeps to.
func (r *region) own(change func(*x509.Certificate)) []*x509.Certificate {
	r.t.Helper()
	issuer, key, err := (&pki{dir: r.dir}).ca(IntermediateFile, intermediateKeyFile)
	must(r.t, err)
	return []*x509.Certificate{signOwn(r.t, issuer, key, change), issuer}
}

func signOwn(t *testing.T, issuer *x509.Certificate, key crypto.Signer, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	leafKey, err := newKey(ECDSAP256)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(4711),
		Subject:      pkix.Name{SerialNumber: string(borne), Organization: []string{"Gemeente Borne"}},
		DNSNames:     []string{"localhost"}, NotBefore: t0.Add(-time.Hour), NotAfter: t0.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	change(template)
	pub := leafKey.Public()
	if template.PublicKey != nil {
		pub = template.PublicKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, pub, key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError checks the kind of err and that its text has what a reader needs.
func wantError(t *testing.T, err error, kind gateway.Kind, text string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want %s with %q", kind, text)
	}
	if got := gateway.KindOf(err); got != kind {
		t.Errorf("got kind %s, want %s: %v", got, kind, err)
	}
	if !strings.Contains(err.Error(), text) {
		t.Errorf("got error %q, want it to say %q", err, text)
	}
}

func state(chain []*x509.Certificate) *tls.ConnectionState {
	return &tls.ConnectionState{PeerCertificates: chain}
}

func TestPeerOf(t *testing.T) {
	r, other := newRegion(t), newRegion(t)
	foreign, _ := other.identity(borne)
	self := func() []*x509.Certificate {
		key, err := newKey(ECDSAP256)
		must(t, err)
		issuer := &x509.Certificate{Subject: pkix.Name{CommonName: "self"}}
		return []*x509.Certificate{signOwn(t, issuer, key, func(*x509.Certificate) {})}
	}
	ed25519Key := func(c *x509.Certificate) { c.PublicKey = newEd25519(t) }
	tests := []struct {
		name  string
		chain []*x509.Certificate
		kind  gateway.Kind
		want  string
	}{
		{"none", nil, gateway.Denied, "no client certificate"},
		{"foreign group", foreign.Chain(), gateway.Denied, "not issued under an anchor of group proef"},
		{"self-signed", self(), gateway.Denied, "not issued under an anchor"},
		{"without its intermediate", r.own(func(*x509.Certificate) {})[:1], gateway.Denied, "not issued under an anchor"},
		{"expired", r.own(func(c *x509.Certificate) { c.NotAfter = t0.Add(-time.Minute) }), gateway.Denied, "expired on 2026-11-23T11:59:00Z"},
		{"not yet valid", r.own(func(c *x509.Certificate) { c.NotBefore = t0.Add(time.Minute) }), gateway.Denied, "not valid before 2026-11-23T12:01:00Z"},
		{"for servers only", r.own(func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }), gateway.Denied, "extended key usage"},
		{"key usage", r.own(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), gateway.Denied, "digitalSignature"},
		{"Ed25519", r.own(ed25519Key), gateway.Denied, "key type"},
		{"the intermediate itself", r.own(func(*x509.Certificate) {})[1:], gateway.Denied, "certificate of a CA"},
		{"no OIN", r.own(func(c *x509.Certificate) { c.Subject.SerialNumber = "" }), gateway.Denied, "serialNumber"},
		{"OIN of 19 digits", r.own(func(c *x509.Certificate) { c.Subject.SerialNumber = string(borne[1:]) }), gateway.Denied, "20 digits"},
		{"two OINs", r.own(func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: []int{2, 5, 4, 5}, Value: string(borne)}, {Type: []int{2, 5, 4, 5}, Value: string(uwi)}}
		}), gateway.Denied, "2 values of serialNumber"},
		{"no name", r.own(func(c *x509.Certificate) { c.Subject.Organization = nil }), gateway.Denied, "values of O"},
		{"no SAN", r.own(func(c *x509.Certificate) { c.DNSNames = nil }), gateway.Denied, "SAN"},
		{"endless chain", repeat(r.own(func(*x509.Certificate) {}), 20), gateway.Denied, "at most 8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			peer, cert, err := r.group.PeerOf(state(tt.chain))
			wantError(t, err, tt.kind, tt.want)
			if peer != (gateway.Peer{}) || cert != nil {
				t.Errorf("got peer %v beside the error", peer)
			}
		})
	}

	t.Run("good", func(t *testing.T) {
		for _, key := range []KeyType{ECDSAP256, RSA3072} {
			id, _ := r.identity(borne, func(q *Request) { q.KeyType = key })
			got, cert, err := r.group.PeerOf(state(id.Chain()))
			must(t, err)
			if want := (gateway.Peer{ID: borne, Name: "Gemeente Borne"}); got != want || cert != id.Cert() {
				t.Errorf("got %v, want %v", got, want)
			}
		}
	})
	t.Run("no connection", func(t *testing.T) {
		_, _, err := r.group.PeerOf(nil)
		wantError(t, err, gateway.Denied, "mTLS")
	})
}

func newEd25519(t *testing.T) ed25519.PublicKey {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	return pub
}

func repeat(certs []*x509.Certificate, n int) []*x509.Certificate {
	for len(certs) < n {
		certs = append(certs, certs[1])
	}
	return certs
}

// A verdict is remembered, so what ends it must be looked at every time: expiry of the leaf, of the CRL, and new trust.
func TestPeerOfLooksAgain(t *testing.T) {
	t.Run("expires", func(t *testing.T) {
		r := newRegion(t)
		id, _ := r.identity(borne, func(q *Request) { q.Days = 2 })
		_, _, err := r.group.PeerOf(state(id.Chain()))
		must(t, err)
		r.clock.set(id.Cert().NotAfter)
		_, _, err = r.group.PeerOf(state(id.Chain()))
		must(t, err)
		r.clock.set(id.Cert().NotAfter.Add(time.Second))
		_, _, err = r.group.PeerOf(state(id.Chain()))
		wantError(t, err, gateway.Denied, "expired")
	})
	t.Run("CRL past nextUpdate", func(t *testing.T) {
		r := newRegion(t)
		must(t, writeCRLs(r.dir, time.Hour, t0))
		must(t, r.group.Reload())
		id, _ := r.identity(borne)
		r.clock.set(t0.Add(time.Hour - time.Second))
		_, _, err := r.group.PeerOf(state(id.Chain()))
		must(t, err)
		r.clock.set(t0.Add(time.Hour))
		_, _, err = r.group.PeerOf(state(id.Chain()))
		wantError(t, err, gateway.Unavailable, `CRL of "Proefregio intermediate" is past its nextUpdate (2026-11-23T13:00:00Z)`)

		must(t, writeCRLs(r.dir, time.Hour, r.clock.now()))
		must(t, r.group.Reload())
		_, _, err = r.group.PeerOf(state(id.Chain()))
		must(t, err)
	})
	t.Run("revoked", func(t *testing.T) {
		r := newRegion(t)
		id, made := r.identity(borne)
		_, _, err := r.group.PeerOf(state(id.Chain()))
		must(t, err)
		r.revoke(made.CertFile)
		must(t, r.group.Reload())
		_, _, err = r.group.PeerOf(state(id.Chain()))
		wantError(t, err, gateway.Denied, "certificate of 00000099000000147000 is revoked")

		r.clock.set(t0.Add(DefaultCRLNext)) // a stale list still tells who was revoked
		_, _, err = r.group.PeerOf(state(id.Chain()))
		wantError(t, err, gateway.Denied, "revoked")
	})
	t.Run("intermediate revoked", func(t *testing.T) {
		r := newRegion(t)
		id, _ := r.identity(borne)
		_, _, err := r.group.PeerOf(state(id.Chain()))
		must(t, err)
		r.revoke(filepath.Join(r.dir, IntermediateFile))
		must(t, r.group.Reload())
		_, _, err = r.group.PeerOf(state(id.Chain()))
		wantError(t, err, gateway.Denied, `its issuer "Proefregio intermediate" is revoked`)
	})
	t.Run("anchor gone", func(t *testing.T) {
		r, other := newRegion(t), newRegion(t)
		id, _ := r.identity(borne)
		_, _, err := r.group.PeerOf(state(id.Chain()))
		must(t, err)
		copyFile(t, filepath.Join(other.dir, RootFile), filepath.Join(r.dir, RootFile))
		must(t, r.group.Reload())
		_, _, err = r.group.PeerOf(state(id.Chain()))
		wantError(t, err, gateway.Denied, "not issued under an anchor")
	})
	t.Run("intermediate expires before the leaf", func(t *testing.T) {
		r := newRegion(t)
		g, err := OpenGroup(gateway.GroupRules{ID: "proef"}, Config{Ankers: r.config().Ankers, CRLsNietVerplicht: true}, r.clock.now, nil)
		must(t, err)
		chain := r.own(func(c *x509.Certificate) { c.NotAfter = t0.AddDate(20, 0, 0) })
		_, _, err = g.PeerOf(state(chain))
		must(t, err)
		r.clock.set(chain[1].NotAfter.Add(time.Second))
		_, _, err = g.PeerOf(state(chain))
		wantError(t, err, gateway.Denied, "expired")
	})
	t.Run("memory is bounded", func(t *testing.T) {
		r := newRegion(t)
		id, _ := r.identity(borne)
		trusted := r.group.trust.Load()
		trusted.count.Store(maxVerdicts)
		trusted.recentCount.Store(maxVerdicts)
		trusted.recent.Store(presented{}, &verdict{})
		_, _, err := r.group.PeerOf(state(id.Chain()))
		must(t, err)
		if got := trusted.count.Load(); got != 1 {
			t.Errorf("got %d verdicts counted, want a fresh start at 1", got)
		}
		if _, left := trusted.recent.Load(presented{}); left || trusted.recentCount.Load() != 1 {
			t.Errorf("got %d verdicts of connections counted, want a fresh start at 1", trusted.recentCount.Load())
		}
	})
	t.Run("by the certificates of a connection: for what they were presented, while they hold, under this trust", func(t *testing.T) {
		r := newRegion(t)
		chain := r.own(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
		for range 2 {
			_, _, err := r.group.PeerOf(state(chain))
			must(t, err)
		}
		if err := r.group.server(chain, ""); err == nil {
			t.Error("a client's certificate is good for a server since it was good for a client")
		}
		r.clock.set(chain[0].NotAfter.Add(time.Second))
		if _, _, err := r.group.PeerOf(state(chain)); err == nil {
			t.Error("a certificate outlives its end")
		}
	})
}

// Two CAs may hand out the same serial number; each CRL speaks for its own issuer only.
func TestSerialsOfTwoIssuers(t *testing.T) {
	a, b := newRegion(t), newRegion(t) // same names, other keys: worse than two CAs will ever look
	leafA, leafB := a.own(func(*x509.Certificate) {}), b.own(func(*x509.Certificate) {})
	if leafA[0].SerialNumber.Cmp(leafB[0].SerialNumber) != 0 {
		t.Fatal("the serials differ; this test shows nothing")
	}
	cfg := a.config()
	cfg.Ankers = append(cfg.Ankers, b.config().Ankers...)
	cfg.CRLs = append(cfg.CRLs, b.config().CRLs...)

	must(t, withPKI(b.dir, func(p *pki) error {
		ix, err := p.readIndex()
		must(t, err)
		ix.Certs = append(ix.Certs, entryOf(leafB[0], issuerIntermediate))
		return p.writeIndex(ix)
	}))
	b.revoke("1267") // 4711
	g, err := OpenGroup(gateway.GroupRules{ID: "proef"}, cfg, a.clock.now, nil)
	must(t, err)
	_, _, err = g.PeerOf(state(leafA))
	must(t, err)
	_, _, err = g.PeerOf(state(leafB))
	wantError(t, err, gateway.Denied, "revoked")
}

func TestCRLs(t *testing.T) {
	inter := func(r *region) string { return filepath.Join(r.dir, IntermediateCRLFile) }
	signed := func(t *testing.T, r *region, change func(*x509.RevocationList)) []byte {
		issuer, key, err := (&pki{dir: r.dir}).ca(IntermediateFile, intermediateKeyFile)
		must(t, err)
		list := &x509.RevocationList{Number: big.NewInt(100), ThisUpdate: t0, NextUpdate: t0.Add(time.Hour)}
		change(list)
		der, err := x509.CreateRevocationList(rand.Reader, list, issuer, key)
		must(t, err)
		return der
	}

	t.Run("DER and several lists in one PEM", func(t *testing.T) {
		r := newRegion(t)
		id, made := r.identity(borne)
		r.revoke(made.Serial)
		rootCRL, err := os.ReadFile(filepath.Join(r.dir, RootCRLFile))
		must(t, err)
		interCRL, err := os.ReadFile(inter(r))
		must(t, err)
		both := filepath.Join(t.TempDir(), "both.crl")
		must(t, os.WriteFile(both, append(rootCRL, interCRL...), 0o600))
		der := filepath.Join(t.TempDir(), "inter.crl")
		block, _ := pem.Decode(interCRL)
		must(t, os.WriteFile(der, block.Bytes, 0o600))
		for _, crls := range [][]string{{both}, {filepath.Join(r.dir, RootCRLFile), der}} {
			g, err := OpenGroup(gateway.GroupRules{ID: "proef"}, Config{Ankers: r.config().Ankers, CRLs: crls}, r.clock.now, nil)
			must(t, err)
			_, _, err = g.PeerOf(state(id.Chain()))
			wantError(t, err, gateway.Denied, "revoked")
		}
	})
	t.Run("issuer without a CRL", func(t *testing.T) {
		r := newRegion(t)
		id, _ := r.identity(borne)
		cfg := r.config()
		cfg.CRLs = cfg.CRLs[:1]
		g, err := OpenGroup(gateway.GroupRules{ID: "proef"}, cfg, r.clock.now, nil)
		must(t, err)
		_, _, err = g.PeerOf(state(id.Chain()))
		wantError(t, err, gateway.Unavailable, `no CRL of "Proefregio intermediate": add its file to crls`)

		cfg.CRLsNietVerplicht = true
		g, err = OpenGroup(gateway.GroupRules{ID: "proef"}, cfg, r.clock.now, nil)
		must(t, err)
		_, _, err = g.PeerOf(state(id.Chain()))
		must(t, err)
		r.clock.set(t0.Add(DefaultCRLNext)) // the root's list is there, so it counts
		_, _, err = g.PeerOf(state(id.Chain()))
		wantError(t, err, gateway.Unavailable, `CRL of "Proefregio root" is past its nextUpdate`)
	})
	t.Run("altered", func(t *testing.T) {
		r := newRegion(t)
		id, _ := r.identity(borne)
		raw, err := os.ReadFile(inter(r))
		must(t, err)
		block, _ := pem.Decode(raw)
		block.Bytes[len(block.Bytes)-1] ^= 1 // in the signature
		must(t, os.WriteFile(inter(r), pem.EncodeToMemory(block), 0o600))
		cfg := r.config()
		cfg.CRLsNietVerplicht = true // even then: somebody meant to say something
		g, err := OpenGroup(gateway.GroupRules{ID: "proef"}, cfg, r.clock.now, nil)
		must(t, err)
		_, _, err = g.PeerOf(state(id.Chain()))
		wantError(t, err, gateway.Unavailable, "is not signed by its issuer")
	})
	t.Run("an older list does not give life back", func(t *testing.T) {
		r := newRegion(t)
		id, made := r.identity(borne)
		old, err := os.ReadFile(inter(r))
		must(t, err)
		r.revoke(made.CertFile)
		must(t, r.group.Reload())
		must(t, os.WriteFile(inter(r), old, 0o600))
		must(t, r.group.Reload())
		_, _, err = r.group.PeerOf(state(id.Chain()))
		wantError(t, err, gateway.Denied, "revoked")
	})
	t.Run("unreadable on reload", func(t *testing.T) {
		r := newRegion(t)
		id, made := r.identity(borne)
		must(t, os.WriteFile(inter(r), []byte("half a fi"), 0o600))
		wantError(t, r.group.Reload(), gateway.Invalid, IntermediateCRLFile)
		_, _, err := r.group.PeerOf(state(id.Chain())) // the trust of before holds
		must(t, err)
		r.revoke(made.CertFile)
		must(t, r.group.Reload())
		_, _, err = r.group.PeerOf(state(id.Chain()))
		wantError(t, err, gateway.Denied, "revoked")
	})
	t.Run("delta list", func(t *testing.T) {
		r := newRegion(t)
		must(t, os.WriteFile(inter(r), signed(t, r, func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}}
		}), 0o600))
		wantError(t, r.group.Reload(), gateway.Invalid, "critical extension 2.5.29.27; give the full list")
	})
	t.Run("indirect list", func(t *testing.T) {
		r := newRegion(t)
		must(t, os.WriteFile(inter(r), signed(t, r, func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{
				SerialNumber: big.NewInt(1), RevocationTime: t0,
				ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}}},
			}}
		}), 0o600))
		wantError(t, r.group.Reload(), gateway.Invalid, "an entry has critical extension 2.5.29.29")
	})
}

func TestOpenGroupRefuses(t *testing.T) {
	r := newRegion(t)
	made := r.issue(borne)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	must(t, os.WriteFile(empty, nil, 0o600))
	good := r.config()
	tests := []struct {
		name string
		id   gateway.GroupID
		cfg  Config
		want string
	}{
		{"no group", "", good, "group id"},
		{"no anchors", "proef", Config{CRLs: good.CRLs}, "ankers: none given"},
		{"no CRLs", "proef", Config{Ankers: good.Ankers}, "crls: none given"},
		{"missing file", "proef", Config{Ankers: []string{"weg.pem"}, CRLs: good.CRLs}, "weg.pem"},
		{"empty file", "proef", Config{Ankers: []string{empty}, CRLs: good.CRLs}, "no certificate in PEM"},
		{"a leaf as anchor", "proef", Config{Ankers: []string{made.CertFile}, CRLs: good.CRLs}, "not the certificate of a CA"},
		{"a key as anchor", "proef", Config{Ankers: []string{made.KeyFile}, CRLs: good.CRLs}, "only CERTIFICATE blocks"},
		{"a certificate as CRL", "proef", Config{Ankers: good.Ankers, CRLs: good.Ankers}, "only X509 CRL blocks"},
		{"no CRL at all", "proef", Config{Ankers: good.Ankers, CRLs: []string{empty}}, "crls: " + empty},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := OpenGroup(gateway.GroupRules{ID: tt.id}, tt.cfg, nil, nil)
			wantError(t, err, gateway.Invalid, tt.want)
		})
	}
}

func TestVerifyChain(t *testing.T) {
	r := newRegion(t)
	id, made := r.identity(borne)
	got, err := r.group.VerifyChain(id.Chain(), t0)
	must(t, err)
	if got.ID != borne {
		t.Errorf("got %s, want %s", got.ID, borne)
	}
	_, err = r.group.VerifyChain(id.Chain(), id.Cert().NotAfter.Add(time.Second)) // the remembered verdict must not answer for then
	wantError(t, err, gateway.Denied, "expired")
	if got := gateway.CodeOf(err); got != codePeerCertificate {
		t.Errorf("got code %q, want %q", got, codePeerCertificate)
	}
	_, err = r.group.VerifyChain(nil, t0)
	wantError(t, err, gateway.Denied, "none given")
	_, err = r.group.VerifyChain([]*x509.Certificate{nil}, t0)
	wantError(t, err, gateway.Denied, "none given")

	r.revoke(made.Serial)
	must(t, r.group.Reload())
	_, err = r.group.VerifyChain(id.Chain(), t0.Add(-time.Minute)) // also for a moment before
	wantError(t, err, gateway.Denied, "revoked")
}

// Watch, on a fake clock: looks, takes over what changed, reports what can't be read once, and goes on.
func TestWatch(t *testing.T) {
	r := newRegion(t)
	id, made := r.identity(borne)
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		g, err := OpenGroup(gateway.GroupRules{ID: "proef"}, r.config(), r.clock.now, slog.New(slog.NewTextHandler(&log, nil)))
		must(t, err)
		ctx := t.Context()
		go g.Watch(ctx, 5*time.Second)

		must(t, os.WriteFile(filepath.Join(r.dir, RootCRLFile), []byte("x"), 0o600))
		time.Sleep(12 * time.Second) // of the fake clock: two looks
		synctest.Wait()
		if got := strings.Count(log.String(), "trust not reloaded"); got != 1 {
			t.Errorf("got %d reports of an unreadable file, want 1:\n%s", got, log.String())
		}
		_, _, err = g.PeerOf(state(id.Chain()))
		must(t, err)

		r.revoke(made.CertFile)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		_, _, err = g.PeerOf(state(id.Chain()))
		wantError(t, err, gateway.Denied, "revoked")
	})
}

// A revocation behind a reading that failed is not forgotten, also when the files look the same as they did then.
func TestWatchTriesAgain(t *testing.T) {
	r := newRegion(t)
	id, made := r.identity(borne)
	file := filepath.Join(r.dir, IntermediateCRLFile)
	synctest.Test(t, func(t *testing.T) {
		g, err := OpenGroup(gateway.GroupRules{ID: "proef"}, r.config(), r.clock.now, slog.New(slog.DiscardHandler))
		must(t, err)
		go g.Watch(t.Context(), 5*time.Second)
		r.revoke(made.CertFile)
		revoked, err := os.ReadFile(file)
		must(t, err)
		same := func(raw []byte) {
			must(t, os.WriteFile(file, raw, 0o600))
			must(t, os.Chtimes(file, t0, t0))
		}
		same(bytes.Repeat([]byte("x"), len(revoked)))
		time.Sleep(12 * time.Second) // of the fake clock
		synctest.Wait()
		_, _, err = g.PeerOf(state(id.Chain()))
		must(t, err)
		same(revoked)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		_, _, err = g.PeerOf(state(id.Chain()))
		wantError(t, err, gateway.Denied, "revoked")
	})
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, raw, 0o600))
}

func BenchmarkPeerOf(b *testing.B) {
	dir := b.TempDir()
	if err := InitPKI(dir, InitOptions{}); err != nil {
		b.Fatal(err)
	}
	made, err := Issue(dir, Request{OIN: borne, Name: "Gemeente Borne", Hosts: []string{"localhost"}})
	if err != nil {
		b.Fatal(err)
	}
	id, err := LoadIdentity(made.CertFile, made.KeyFile)
	if err != nil {
		b.Fatal(err)
	}
	g, err := OpenGroup(gateway.GroupRules{ID: "proef"}, Config{
		Ankers: []string{filepath.Join(dir, RootFile)},
		CRLs:   []string{filepath.Join(dir, RootCRLFile), filepath.Join(dir, IntermediateCRLFile)},
	}, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	cs := state(id.Chain())
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := g.PeerOf(cs); err != nil {
			b.Fatal(errors.Unwrap(err))
		}
	}
}
