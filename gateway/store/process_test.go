package store

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func certificate(t *testing.T, name string, until time.Time) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ok(t, err)
	cert, err := x509.ParseCertificate(der)
	ok(t, err)
	return cert
}

func TestCertificates(t *testing.T) {
	s := open(t)
	leaf, issuer := certificate(t, "leaf", now.Add(48*time.Hour)), certificate(t, "issuer", now.Add(48*time.Hour))
	short := certificate(t, "short", now.Add(time.Hour))
	for role, chain := range map[string][]*x509.Certificate{"manager": {leaf, issuer}, "outway": {short}} {
		ok(t, s.PutCertificate(t.Context(), role, chain, now))
	}
	ok(t, s.PutCertificate(t.Context(), "manager", []*x509.Certificate{short}, now.Add(time.Second)))
	look := func(role string, at time.Time) (serials []string) {
		t.Helper()
		all, err := s.Certificates(t.Context(), role, at)
		ok(t, err)
		for _, chain := range all {
			name := ""
			for _, c := range chain {
				name += c.Subject.CommonName + " "
			}
			serials = append(serials, name)
		}
		return serials
	}
	for _, tc := range []struct {
		what, role string
		at         time.Time
		want       []string
	}{
		{"the newest first", "manager", now, []string{"short ", "leaf issuer "}},
		{"of another role", "outway", now, []string{"short "}},
		{"of no role", "inway", now, nil},
		{"one that ended", "manager", now.Add(2 * time.Hour), []string{"leaf issuer "}},
		{"long not seen", "manager", now.Add(certificateKept + time.Minute), nil},
	} {
		if diff := cmp.Diff(tc.want, look(tc.role, tc.at)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.what, diff)
		}
	}
	later := now.Add(certificateKept)
	ok(t, s.PutCertificate(t.Context(), "manager", []*x509.Certificate{leaf, issuer}, later))
	if diff := cmp.Diff([]string{"leaf issuer "}, look("manager", later.Add(time.Hour))); diff != "" {
		t.Errorf("seen again (-want +got):\n%s", diff)
	}
	if err := s.PutCertificate(t.Context(), "manager", nil, now); gateway.KindOf(err) != gateway.Invalid {
		t.Errorf("no certificate: got %v, want it refused", err)
	}
}

func TestClaimTransactions(t *testing.T) {
	s := open(t)
	a, b, c := gateway.NewTransactionID(now), gateway.NewTransactionID(now.Add(-time.Hour)), gateway.NewTransactionID(now)
	for _, tc := range []struct {
		what string
		ids  []gateway.TransactionID
		want []bool
	}{
		{"none", nil, nil},
		{"two new", []gateway.TransactionID{a, b}, []bool{true, true}},
		{"old and new, the new one twice", []gateway.TransactionID{a, c, c}, []bool{false, true, false}},
	} {
		got, err := s.ClaimTransactions(t.Context(), tc.ids)
		ok(t, err)
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.what, diff)
		}
	}
	ok(t, s.ForgetTransactions(t.Context(), now.Add(-time.Minute)))
	got, err := s.ClaimTransactions(t.Context(), []gateway.TransactionID{a, b})
	ok(t, err)
	if diff := cmp.Diff([]bool{false, true}, got); diff != "" {
		t.Errorf("after the old were forgotten (-want +got):\n%s", diff)
	}
}

// Of many who claim one id at once, over two connections to one database, one gets it.
func TestClaimedOnce(t *testing.T) {
	pad := filepath.Join(t.TempDir(), "peer.db")
	stores := []*Store{openAt(t, pad), openAt(t, pad)}
	for range 20 {
		id := gateway.NewTransactionID(time.Now())
		var got atomic.Int32
		var all sync.WaitGroup
		for n := range 8 {
			all.Go(func() {
				fresh, err := stores[n%2].ClaimTransactions(t.Context(), []gateway.TransactionID{id})
				if err != nil {
					t.Error(err)
				} else if fresh[0] {
					got.Add(1)
				}
			})
		}
		all.Wait()
		if got.Load() != 1 {
			t.Fatalf("%d got it, want 1", got.Load())
		}
	}
}
