package store

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
)

const (
	borne = gateway.PeerID("00000099000000147000")
	uwi   = gateway.PeerID("00000099900000001000")
	derde = gateway.PeerID("00000099900000002000")
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// suite is what both engines pass: on SQLite each by its own name, on PostgreSQL below TestPostgres (engines_test.go).
// TestSuiteIsComplete holds it to the tests that there are.
var suite = map[string]func(*testing.T){
	"Contactpersonen": TestContactpersonen, "ContactAssignedAtOnce": TestContactAssignedAtOnce, "ContactAssignedAgain": TestContactAssignedAgain,
	"Sign": TestSign, "InForce": TestInForce, "Unanswered": TestUnanswered, "UnansweredIsNotEvaded": TestUnansweredIsNotEvaded, "Contracts": TestContracts,
	"PagesAreBounded": TestPagesAreBounded, "Deliveries": TestDeliveries, "RenewedSignatureGoesOutAgain": TestRenewedSignatureGoesOutAgain, "Peers": TestPeers, "Directory": TestDirectory,
	"Left": TestLeft, "NeemOverFindsConsentsOfBothByOneBSN": TestNeemOverFindsConsentsOfBothByOneBSN, "NeemOverIsAllOrNothing": TestNeemOverIsAllOrNothing,
	"TwoWriters": TestTwoWriters, "ClosedIsUnavailable": TestClosedIsUnavailable, "Terugmeldingen": TestTerugmeldingen,
	"TerugmeldingHandledTwice": TestTerugmeldingHandledTwice, "OpenTerugmeldingenAreBounded": TestOpenTerugmeldingenAreBounded,
	"Toestemmingen": TestToestemmingen, "ToestemmingRefused": TestToestemmingRefused, "AlleToestemmingen": TestAlleToestemmingen,
	"ToestemmingenNeverCutOff": TestToestemmingenNeverCutOff, "AtOnce": TestAtOnce, "Alone": TestAlone,
	"Certificates": TestCertificates, "ClaimTransactions": TestClaimTransactions, "ClaimedOnce": TestClaimedOnce,
}

// ofOneEngine are the tests that are about SQLite itself, or about nothing that a database does.
var ofOneEngine = []string{
	"Open", "Pragmas", "NoBSNInTheFile", "Inspect", "SuiteIsComplete", "Steps", "MigrationsOfBothEngines", "Numbered", "Check",
}

func TestSuiteIsComplete(t *testing.T) {
	names, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(raw, []byte("//go:build engines")) {
			continue
		}
		for _, found := range regexp.MustCompile(`(?m)^func Test(\w+)\(t \*testing.T\)`).FindAllStringSubmatch(string(raw), -1) {
			if suite[found[1]] == nil && !slices.Contains(ofOneEngine, found[1]) {
				t.Errorf("%s: Test%s does not run on PostgreSQL: put it in suite, or say in ofOneEngine that it is of one engine", name, found[1])
			}
		}
	}
}

// open makes a store of its own for one test.
func open(t *testing.T) *Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "peer.db"))
}

// configAt is the configuration of a database by the name pad, which is made when it is not there. That of PostgreSQL is in
// engines_test.go.
var configAt = func(_ *testing.T, pad string) Config { return Config{Pad: pad} }

// openAt opens a database. Twice with one pad is as two processes do.
func openAt(t *testing.T, pad string) *Store {
	t.Helper()
	s, err := Open(t.Context(), configAt(t, pad))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func wantKind(t *testing.T, err error, want gateway.Kind, text string) {
	t.Helper()
	if err == nil || gateway.KindOf(err) != want || !strings.Contains(err.Error(), text) {
		t.Fatalf("error %v (%v), want kind %v and %q", err, gateway.KindOf(err), want, text)
	}
}

// proposal makes content between uwi and borne; iv is derived from n, so equal n collide.
func proposal(t testing.TB, n int, created time.Time, thumb string) *contract.Content {
	t.Helper()
	raw := fmt.Sprintf(`{"fsc_version":"2.0.0","iv":"01890a5d-ac96-774b-bcce-%012d","group_id":"test.group",
		"validity":{"not_before":%d,"not_after":%d},"grants":[{"data":{"type":"GRANT_TYPE_SERVICE_CONNECTION","outway":{"peer_id":%q,
		"identification":{"type":"OUTWAY_IDENTIFICATION_TYPE_PUBLIC_KEY_THUMBPRINT","public_key_thumbprint":"%s"}},
		"service":{"type":"SERVICE_TYPE_SERVICE","peer_id":%q,"name":"clientgegevens"}}}],
		"hash_algorithm":"HASH_ALGORITHM_SHA3_512","created_at":%d}`,
		n, created.Unix(), created.Add(24*time.Hour).Unix(), uwi, strings.Repeat(thumb, 64), borne, created.Unix())
	c, err := contract.ParseContent([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var testCert = func() *x509.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}()

func signed(c *contract.Content, peer gateway.PeerID, t contract.SignatureType, x5t string, at time.Time) contract.Signed {
	return contract.Signed{
		Signature: contract.Signature{JWS: string(peer) + "." + string(t) + "." + x5t, Type: t, Hash: c.Hash(), SignedAt: at, X5T: x5t, Peer: peer},
		Chain:     []*x509.Certificate{testCert}, Received: at,
	}
}

func mustSign(t *testing.T, s *Store, c *contract.Content, sig contract.Signed, deliver ...contract.Delivery) {
	t.Helper()
	if adds, err := s.Sign(t.Context(), c, sig, deliver); err != nil || !adds {
		t.Fatalf("Sign: adds %v, error %v", adds, err)
	}
}

func TestOpen(t *testing.T) {
	t.Run("makes a private file and opens it again", func(t *testing.T) {
		pad := filepath.Join(t.TempDir(), "a b?c%20#.db") // what a URL would read otherwise
		s := openAt(t, pad)
		mustSign(t, s, proposal(t, 1, now, "a"), signed(proposal(t, 1, now, "a"), uwi, contract.Accept, "x", now))
		for _, name := range []string{pad, pad + "-wal"} {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v, want 0600", filepath.Base(name), info.Mode())
			}
		}
		again := openAt(t, pad)
		if _, err := again.Contract(t.Context(), proposal(t, 1, now, "a").Hash()); err != nil {
			t.Error(err)
		}
	})
	t.Run("refuses a file that others may read", func(t *testing.T) {
		pad := filepath.Join(t.TempDir(), "peer.db")
		if err := os.WriteFile(pad, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), Config{Pad: pad})
		wantKind(t, err, gateway.Invalid, "chmod 600")
	})
	t.Run("refuses a schema that is newer", func(t *testing.T) {
		pad := filepath.Join(t.TempDir(), "peer.db")
		s := openAt(t, pad)
		if _, err := s.write.ExecContext(t.Context(), "PRAGMA user_version = 999"); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), Config{Pad: pad})
		wantKind(t, err, gateway.Invalid, "has schema 999, this program knows up to")
	})
	t.Run("refuses the database of another program", func(t *testing.T) {
		pad := filepath.Join(t.TempDir(), "peer.db")
		if err := os.WriteFile(pad, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite", pad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), "CREATE TABLE mine (x)"); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		_, err = Open(t.Context(), Config{Pad: pad})
		wantKind(t, err, gateway.Invalid, "another program")
	})
	for name, cfg := range map[string]Config{"pad": {}, "driver": {Driver: "oracle", Pad: "x"}, "postgres: adressen": {Driver: "postgres", Pad: "x"}} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), cfg)
			wantKind(t, err, gateway.Invalid, name)
		})
	}
}

func TestPragmas(t *testing.T) {
	s := open(t)
	for pragma, want := range map[string]string{"journal_mode": "wal", "foreign_keys": "1", "synchronous": "2", "busy_timeout": "5000"} {
		for name, db := range map[string]*db{"write": s.write, "read": s.read} {
			var got string
			if err := db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("%s %s = %s, want %s", name, pragma, got, want)
			}
		}
	}
	if _, err := s.read.ExecContext(t.Context(), "DELETE FROM contracts"); err == nil {
		t.Error("the reading connections can write")
	}
	var loose []string
	rows, err := s.read.QueryContext(t.Context(), `SELECT name FROM pragma_table_list WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND strict = 0`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		loose = append(loose, name)
	}
	if rows.Err() != nil || loose != nil {
		t.Errorf("tables that are not STRICT: %v (%v)", loose, rows.Err())
	}
}

// What two processes write at the same time is all there, and neither is told that the database is locked.
func TestTwoWriters(t *testing.T) {
	pad := filepath.Join(t.TempDir(), "peer.db")
	a, b := openAt(t, pad), openAt(t, pad)
	const each = 20
	done := make(chan error, 2)
	for i, s := range []*Store{a, b} {
		go func() {
			for n := range each {
				c := proposal(t, i*each+n, now, "a")
				if _, err := s.Sign(context.Background(), c, signed(c, uwi, contract.Accept, "x", now), nil); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if n, err := a.Changes(t.Context()); err != nil || n != 2*each {
		t.Errorf("changes %d, %v, want %d", n, err, 2*each)
	}
	recs, err := b.InForce(t.Context(), now)
	if err != nil || len(recs) != 2*each {
		t.Errorf("%d contracts, %v, want %d", len(recs), err, 2*each)
	}
}

func TestClosedIsUnavailable(t *testing.T) {
	s := open(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := s.Changes(t.Context())
	wantKind(t, err, gateway.Unavailable, "changes")
	_, err = s.Toestemmingen(t.Context(), []gateway.Pseudonym{"v1.x"}, "x")
	wantKind(t, err, gateway.Unavailable, "toestemmingen")
}
