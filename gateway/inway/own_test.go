package inway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// own makes the service a role of the peer in another process.
func (r *rig) own(h http.HandlerFunc) {
	r.t.Helper()
	r.behindURL(client, true, h)
	s := r.inway.Services[client]
	s.Own = true
	r.inway.Services[client] = s
}

// A service of our own in another process is told what was admitted, for whom; what another peer says of that does not reach it, and
// the inway signs what it drafts.
func TestOwnServiceElsewhere(t *testing.T) {
	r := newRig(t)
	digest, err := verklaring.VeldenDigest(gateway.Velden{"persoon": {"leeftijd"}})
	must(t, err)
	var told edge.Toelating
	var problem error
	r.own(func(w http.ResponseWriter, req *http.Request) {
		told, problem = edge.ToelatingFrom(req.Header)
		draft, err := verklaring.Kwitantie{
			Issuer: borne, Audience: uwi, Transactie: told.Transactie, GrantHash: told.Grant, Doel: doel, Besluit: true,
			Uitkomst: map[gateway.Dienst]string{"persoon": "beantwoord"}, VeldenDigest: digest, Aantal: 1, IssuedAt: time.Now(),
		}.Concept()
		if err != nil {
			t.Error(err)
		}
		w.Header().Set(edge.HeaderKwitantie, draft)
		_, _ = w.Write([]byte("{}"))
	})
	a := r.do(call{change: func(req *http.Request) {
		req.Header.Set(edge.HeaderClientCert, ":eA==:")
		req.Header.Set("Client-Cert-Chain", ":eA==:")
		req.Header.Set(edge.HeaderToelating, "van buiten")
	}})
	if a.status != http.StatusOK || problem != nil {
		t.Fatalf("got %d %s, and the service %v", a.status, a.body, problem)
	}
	if told.Transactie != a.id || told.Grant != r.bound.Hash || !told.Client.Equal(r.uwi.signer.Cert) {
		t.Errorf("the service was told %+v", told)
	}
	k, err := r.kwitantie(r.bound, a)
	must(t, err)
	want := verklaring.Kwitantie{
		Issuer: borne, Audience: uwi, Transactie: a.id, GrantHash: r.bound.Hash, Doel: doel, Besluit: true,
		Uitkomst: map[gateway.Dienst]string{"persoon": "beantwoord"}, VeldenDigest: digest, Aantal: 1, IssuedAt: k.IssuedAt,
	}
	if diff := cmp.Diff(want, *k); diff != "" {
		t.Errorf("kwitantie (-want +got):\n%s", diff)
	}
}

// A draft that is none, or of another transaction, is not signed, and nothing of the answer leaves.
func TestBadDraftIsNotSigned(t *testing.T) {
	other, err := verklaring.Kwitantie{
		Issuer: borne, Audience: uwi, Transactie: gateway.NewTransactionID(time.Now()), GrantHash: "g", Doel: doel, IssuedAt: time.Now(),
	}.Concept()
	must(t, err)
	for name, drafts := range map[string][]string{"garbage": {"x!"}, "two": {other, other}, "of another transaction": {other}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.own(func(w http.ResponseWriter, _ *http.Request) {
				w.Header()[edge.HeaderKwitantie] = drafts
				_, _ = w.Write([]byte("secret"))
			})
			a := r.do(call{})
			if a.status != http.StatusInternalServerError || edge.ErrorCode(a.header) != CodeKwitantie || a.body == "secret" {
				t.Errorf("got %d %s %q, want it refused with %s", a.status, a.header, a.body, CodeKwitantie)
			}
		})
	}
}

// Any other service behind a URL is told nothing.
func TestOthersAreNotToldWhoAsked(t *testing.T) {
	r := newRig(t)
	var header http.Header
	r.behindURL(client, true, func(_ http.ResponseWriter, req *http.Request) { header = req.Header.Clone() })
	if a := r.do(call{change: func(req *http.Request) { req.Header.Set(edge.HeaderClientCert, ":eA==:") }}); a.status != http.StatusOK {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	for _, name := range []string{edge.HeaderToelating, edge.HeaderClientCert} {
		if got := header.Values(name); len(got) > 0 {
			t.Errorf("%s: got %q, want none", name, got)
		}
	}
}

// sharedClaims is what the inways of a peer share.
type sharedClaims struct {
	mu   sync.Mutex
	ids  map[gateway.TransactionID]bool
	away bool
}

func (s *sharedClaims) Claim(_ context.Context, id gateway.TransactionID) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return false, gateway.Errorf(gateway.Unavailable, "database: away")
	}
	fresh := !s.ids[id]
	s.ids[id] = true
	return fresh, nil
}

// What one inway of a peer took, another refuses; when nobody can tell, it is refused too.
func TestReplayAtAnotherInway(t *testing.T) {
	shared := &sharedClaims{ids: map[gateway.TransactionID]bool{}}
	one, other := newRig(t), newRig(t)
	one.inway.Shared, other.inway.Shared = shared, shared
	id := gateway.NewTransactionID(time.Now())
	if a := one.do(call{id: id}); a.status != http.StatusOK {
		t.Fatalf("first: got %d %s", a.status, a.body)
	}
	if a := other.do(call{id: id}); a.status != http.StatusBadRequest || edge.ErrorCode(a.header) != CodeInvalidID {
		t.Errorf("at the other: got %d %s, want it refused as used", a.status, a.body)
	}
	if n := len(other.served()); n != 0 {
		t.Errorf("the service of the other was called %d times", n)
	}
	shared.away = true
	if a := other.do(call{}); a.status != http.StatusServiceUnavailable {
		t.Errorf("the store away: got %d %s, want it refused", a.status, a.body)
	}
}

func TestAdmissionsCountOnce(t *testing.T) {
	var a Admissions
	now := time.Now()
	id := gateway.NewTransactionID(now)
	done, err := a.Admit(id, "g", now)
	must(t, err)
	if a.Admitted(id, "other") {
		t.Error("admitted under another grant")
	}
	if !a.Admitted(id, "g") || a.Admitted(id, "g") {
		t.Error("want it admitted once")
	}
	done()
	if _, err := a.Admit(id, "g", now); gateway.CodeOf(err) != CodeInvalidID {
		t.Errorf("a second time: got %v, want it refused", err)
	}
	if _, err := a.Admit(gateway.NewTransactionID(now.Add(-Window-time.Second)), "g", now); gateway.CodeOf(err) != CodeInvalidID {
		t.Errorf("too old: got %v, want it refused", err)
	}
	next := gateway.NewTransactionID(now)
	done, err = a.Admit(next, "g", now)
	must(t, err)
	done()
	if a.Admitted(next, "g") {
		t.Error("admitted after it was served")
	}
}

// A refusal by the service leaves after the record of its end, as one of the inway itself does; an answer need not wait for that.
func TestRefusalOfTheServiceWaitsForItsEnd(t *testing.T) {
	for status, want := range map[int]bool{http.StatusOK: true, http.StatusForbidden: false, http.StatusServiceUnavailable: false} {
		r := newRig(t)
		r.own(func(w http.ResponseWriter, _ *http.Request) { // net/http says how long it is
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{}`)
		})
		req, _ := r.request(call{})
		req.RequestURI, req.TLS = req.URL.RequestURI(), &tls.ConnectionState{PeerCertificates: []*x509.Certificate{r.uwi.signer.Cert}}
		w := httptest.NewRecorder()
		left, ended, later := false, false, laterLog{r.log, new(int)}
		r.inway.Audit = later
		r.log.Fail = func(rec audit.Record) error {
			if rec.Soort == audit.Afloop {
				left, ended = w.Flushed, true
			}
			return nil
		}
		r.inway.ServeHTTP(w, req)
		if w.Code != status || !ended || left != want || (*later.n == 1) != want {
			t.Errorf("got %d, ended %v, left before that %v, kept later %d; want %d and %v", w.Code, ended, left, *later.n, status, want)
		}
	}
}

// laterLog counts what nothing waits for.
type laterLog struct {
	*audit.Memory
	n *int
}

func (l laterLog) Later(ctx context.Context, recs ...audit.Record) error {
	*l.n += len(recs)
	return l.Append(ctx, recs...)
}
