package inway

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

type counts = map[audit.Soort]int

func TestInwayAnswers(t *testing.T) {
	r := newRig(t)
	got := r.do(call{body: `{"bsn":"x"}`, change: func(req *http.Request) {
		req.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-893e1b2ac52d712f-01")
		req.Header.Set("Fsc-Grant-Hash", "left there by another outway")
		req.Header.Set("Grensloos-Rol", "beheerder")
		req.Header.Set("Accept-Language", "nl")
	}})
	if got.err != nil || got.status != 200 || got.body != `{"ok":true}` {
		t.Fatalf("answer %+v", got)
	}
	served := r.served()
	if len(served) != 1 {
		t.Fatalf("service called %d times", len(served))
	}
	a := served[0]
	t.Run("Inway-Incoming-Request-1", func(t *testing.T) {
		if a.body != `{"bsn":"x"}` || a.target != "/v1/clienten/_zoek" || a.method != "POST" || a.header.Get("Accept-Language") != "nl" {
			t.Errorf("the service got %+v", a)
		}
		if !a.admitted || a.again {
			t.Errorf("Admitted = %v, then %v; want true once", a.admitted, a.again)
		}
		if r.inway.Admitted(got.id, r.bound.Hash) {
			t.Error("admitted after the answer")
		}
	})
	t.Run("Inway-Incoming-Request-5", func(t *testing.T) {
		if !strings.HasPrefix(a.header.Get(edge.HeaderAuthorization), "Bearer ey") || a.header.Get(edge.HeaderVerklaring) == "" {
			t.Errorf("token or verklaring did not reach the service: %v", a.header)
		}
		if a.header.Get("Fsc-Grant-Hash") != "" || a.header.Get("Grensloos-Rol") != "" {
			t.Errorf("a header of the stranger's passed: %v", a.header)
		}
	})
	t.Run("Inway-TransactionLog-2", func(t *testing.T) {
		if h := a.header.Get(edge.HeaderTransaction); h != string(got.id) || got.header.Get(edge.HeaderTransaction) != string(got.id) {
			t.Errorf("transaction id: service %q, answer %q, want %q", h, got.header.Get(edge.HeaderTransaction), got.id)
		}
	})
	t.Run("records", func(t *testing.T) {
		if diff := cmp.Diff(counts{audit.Transactie: 1, audit.ADL: 1, audit.Afloop: 1}, r.counts()); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		tx, adl, end := r.last(audit.Transactie), r.last(audit.ADL), r.last(audit.Afloop)
		if tx["direction"] != "DIRECTION_INCOMING" || tx["transaction_id"] != string(got.id) || tx["grant_hash"] != string(r.bound.Hash) {
			t.Errorf("transactie %v", tx)
		}
		if adl["trace_id"] != "4bf92f3577b34da6a3ce929d0e0e4736" {
			t.Errorf("adl trace %v", adl["trace_id"])
		}
		if end["uitkomst"] != audit.Beantwoord || end["status"] != 200.0 || end["bytesIn"] != 11.0 || end["bytesUit"] != 11.0 || end["parentSpanId"] != "893e1b2ac52d712f" {
			t.Errorf("afloop %v", end)
		}
		if want := fmt.Sprintf("00-4bf92f3577b34da6a3ce929d0e0e4736-%s-01", end["spanId"]); a.header.Get("Traceparent") != want {
			t.Errorf("traceparent at the service %q, want %q", a.header.Get("Traceparent"), want)
		}
	})
}

// What is refused before its transaction id is accepted leaves an afloop only; after that a transactie too; a denial by policy an
// ADL record as well. The service is never called.
func TestInwayRefuses(t *testing.T) {
	early, noted, decided := counts{audit.Afloop: 1}, counts{audit.Transactie: 1, audit.Afloop: 1}, counts{audit.Transactie: 1, audit.ADL: 1, audit.Afloop: 1}
	foreign := newAuthority(t)
	tests := []struct {
		name   string
		call   func(r *rig) call
		status int
		code   string // Fsc-Error-Code, or the code of a problem
		want   counts
	}{
		{"Inway-Incoming-Request-2 no token", func(*rig) call { return call{noToken: true} }, 401, accesstoken.CodeMissing, early},
		{"Inway-Incoming-Request-3 token of another certificate", func(r *rig) call { as := r.ca.issue(t, uwi); return call{as: &as, claims: bindTo(r.uwi)} }, 401, accesstoken.CodeInvalid, early},
		{"Inway-Incoming-Request-4 foreign certificate", func(*rig) call { as := foreign.issue(t, uwi); return call{as: &as} }, 403, CodePeer, early},
		{"Inway-Incoming-Request-6 expired token", func(*rig) call {
			return call{claims: func(c *accesstoken.Claims) {
				c.NotBefore, c.Expires = c.NotBefore.Add(-2*time.Minute), c.NotBefore.Add(-time.Minute)
			}}
		}, 401, accesstoken.CodeExpired, early},
		{"Inway-TransactionLog-3 no transaction id", func(*rig) call { return call{change: del(edge.HeaderTransaction)} }, 400, CodeMissingID, early},
		{"revoked certificate", func(r *rig) call { r.revoked = true; return call{} }, 403, CodePeer, early},
		{"token signed by another peer", func(r *rig) call { by := r.ca.issue(t, almelo); return call{mintedBy: &by} }, 401, accesstoken.CodeInvalid, early},
		{"token signed by the asker", func(r *rig) call { return call{mintedBy: &r.uwi} }, 401, accesstoken.CodeInvalid, early},
		{"token of another group", func(*rig) call { return call{claims: func(c *accesstoken.Claims) { c.GroupID = "other.example" }} }, 403, accesstoken.CodeWrongGroup, early},
		{"token of another grant", func(r *rig) call { return call{claims: func(c *accesstoken.Claims) { c.GrantHash = r.unbound.Hash }} }, 401, accesstoken.CodeInvalid, early},
		{"token for another service of ours", func(*rig) call { return call{claims: func(c *accesstoken.Claims) { c.Service = plain }} }, 401, accesstoken.CodeInvalid, early},
		{"token for a service nobody offers", func(*rig) call { return call{claims: func(c *accesstoken.Claims) { c.Service = "nothing" }} }, 404, CodeServiceNotFound, early},
		{"token of another issuer", func(*rig) call { return call{claims: func(c *accesstoken.Claims) { c.Issuer = almelo }} }, 401, accesstoken.CodeInvalid, early},
		{"token for another peer on this certificate", func(*rig) call { return call{claims: func(c *accesstoken.Claims) { c.Subject = almelo }} }, 401, accesstoken.CodeInvalid, early},
		{"token with other properties", func(*rig) call {
			return call{claims: func(c *accesstoken.Claims) { c.Prp = json.RawMessage(`{"doel":"pw-uitkering"}`) }}
		}, 401, accesstoken.CodeInvalid, early},
		{"token in a doubled header", func(*rig) call {
			return call{change: func(req *http.Request) { req.Header.Add(edge.HeaderAuthorization, "Bearer x") }}
		}, 400, edge.CodeHeader, early},
		{"connection names our header", func(*rig) call {
			return call{change: func(req *http.Request) { req.Header.Set("Connection", "Fsc-Transaction-Id") }}
		}, 400, edge.CodeHeader, early},
		{"upgrade", func(*rig) call {
			return call{change: func(req *http.Request) {
				req.Header.Set("Upgrade", "websocket")
				req.Header.Set("Connection", "Upgrade")
			}}
		}, 400, edge.CodeHeader, early},
		{"contract revoked while the token lives", func(r *rig) call { delete(r.grants.m, r.bound.Hash); return call{} }, 401, accesstoken.CodeInvalid, early},
		{"contract ended", func(r *rig) call { g := r.bound; g.NotAfter = time.Now(); r.allow(g); return call{} }, 401, accesstoken.CodeInvalid, early},
		{"contract not begun", func(r *rig) call { g := r.bound; g.NotBefore = time.Now().Add(time.Hour); r.allow(g); return call{} }, 401, accesstoken.CodeInvalid, early},
		{"contract for another outway key", func(r *rig) call {
			g := r.bound
			g.OutwayThumbprint = strings.Repeat("0", 64)
			r.allow(g)
			return call{}
		}, 401, accesstoken.CodeInvalid, early},
		{"contract of another peer that holds this key", func(r *rig) call {
			g := r.bound
			g.Outway = almelo
			r.allow(g)
			return call{grant: &g}
		}, 401, accesstoken.CodeInvalid, early},
		{"contract for another domain", func(r *rig) call {
			g := r.bound
			g.OutwayThumbprint, g.OutwayDomain = "", "other.example"
			r.allow(g)
			return call{}
		}, 401, accesstoken.CodeInvalid, early},
		{"id is no UUIDv7", func(*rig) call {
			return call{change: set(edge.HeaderTransaction, "f81d4fae-7dec-11d0-a765-00a0c91e6bf6")}
		}, 400, CodeInvalidID, early},
		{"id in capitals", func(*rig) call {
			return call{change: func(req *http.Request) {
				req.Header.Set(edge.HeaderTransaction, strings.ToUpper(req.Header.Get(edge.HeaderTransaction)))
			}}
		}, 400, CodeInvalidID, early},
		{"id too old", func(*rig) call { return call{id: gateway.NewTransactionID(time.Now().Add(-Window - 2*time.Second))} }, 400, CodeInvalidID, early},
		{"id from the future", func(*rig) call { return call{id: gateway.NewTransactionID(time.Now().Add(Window + 2*time.Second))} }, 400, CodeInvalidID, early},
		{"path that Go would rewrite", func(*rig) call {
			return call{change: func(req *http.Request) { req.URL.Opaque = "/v1/a|b" }}
		}, 400, "GRENSLOOS_INVALID", early},

		{"no verklaring", func(*rig) call { return call{noStaat: true} }, 403, CodeVerklaring, noted},
		{"verklaring for another body", func(*rig) call {
			return call{verklaring: func(v *verklaring.Verklaring) { v.BodyDigest = verklaring.Digest([]byte("other")) }}
		}, 403, CodeVerklaring, noted},
		{"verklaring for another receiver", func(*rig) call { return call{verklaring: func(v *verklaring.Verklaring) { v.Audience = almelo }} }, 403, CodeVerklaring, noted},
		{"verklaring for another grant", func(*rig) call {
			return call{verklaring: func(v *verklaring.Verklaring) { v.GrantHash = hashOf("$1$3$", "other") }}
		}, 403, CodeVerklaring, noted},
		{"verklaring for another doel", func(*rig) call { return call{verklaring: func(v *verklaring.Verklaring) { v.Doel = "pw-uitkering" }} }, 403, CodeVerklaring, noted},
		{"verklaring for another path", func(*rig) call { return call{verklaring: func(v *verklaring.Verklaring) { v.Target = "/v1/other" }} }, 403, CodeVerklaring, noted},
		{"verklaring for another transaction", func(*rig) call {
			return call{verklaring: func(v *verklaring.Verklaring) { v.Transactie = gateway.NewTransactionID(time.Now()) }}
		}, 403, CodeVerklaring, noted},
		{"verklaring that has passed", func(*rig) call {
			return call{verklaring: func(v *verklaring.Verklaring) {
				v.IssuedAt, v.Expires = v.IssuedAt.Add(-2*time.Minute), v.Expires.Add(-2*time.Minute)
			}}
		}, 403, CodeVerklaring, noted},
		{"verklaring of tomorrow", func(*rig) call {
			return call{verklaring: func(v *verklaring.Verklaring) {
				v.IssuedAt, v.Expires = v.IssuedAt.Add(time.Hour), v.Expires.Add(time.Hour)
			}}
		}, 403, CodeVerklaring, noted},
		{"verklaring signed by another", func(r *rig) call { by := r.ca.issue(t, uwi); return call{signedBy: &by} }, 403, CodeVerklaring, noted},
		{"verklaring with a BSN for a zaak", func(*rig) call { return call{verklaring: func(v *verklaring.Verklaring) { v.Zaak = "999993653" }} }, 403, CodeVerklaring, noted},
		{"verklaring with a BSN for a worker", func(*rig) call { return call{verklaring: func(v *verklaring.Verklaring) { v.Subject = "999993653" }} }, 403, CodeVerklaring, noted},
		{"body too large", func(r *rig) call { r.inway.MaxBody = 100; return call{body: strings.Repeat("x", 101)} }, 413, edge.CodeBodyTooLarge, noted},

		{"policy: role", func(*rig) call {
			return call{verklaring: func(v *verklaring.Verklaring) { v.Rollen = []string{"stagiair"} }}
		}, 403, string(gateway.AfnemerNietBevoegd), decided},
		{"policy: no zaak", func(*rig) call {
			return call{verklaring: func(v *verklaring.Verklaring) { v.Zaak, v.Zaaktype = "", "" }}
		}, 403, string(gateway.ZaakNietOpen), decided},
		{"no doel for a purpose-bound service", func(r *rig) call {
			g := r.unbound
			g.Hash, g.Service = hashOf("$1$3$", "doelloos"), client
			r.allow(g)
			return call{grant: &g}
		}, 403, string(gateway.DoelOnbekend), decided},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			got := r.do(tt.call(r))
			if got.err != nil {
				t.Fatal(got.err)
			}
			var body struct{ Code, Domain, Title string }
			if err := json.Unmarshal([]byte(got.body), &body); err != nil {
				t.Fatalf("body %q: %v", got.body, err)
			}
			if got.status != tt.status || body.Code != tt.code {
				t.Errorf("answer %d %s, want %d %s (%s)", got.status, body.Code, tt.status, tt.code, got.body)
			}
			problem := body.Title != ""
			if header := got.header.Get(edge.HeaderErrorCode); !problem && (header != tt.code || body.Domain != edge.DomainInway) {
				t.Errorf("Fsc-Error-Code %q, domain %q", header, body.Domain)
			}
			if www := got.header.Get("WWW-Authenticate"); (www == "Bearer") != (tt.status == 401) {
				t.Errorf("WWW-Authenticate %q", www)
			}
			if diff := cmp.Diff(tt.want, r.counts()); diff != "" {
				t.Errorf("records -want +got\n%s", diff)
			}
			if n := len(r.served()); n != 0 {
				t.Errorf("the service was called %d times", n)
			}
			end := r.last(audit.Afloop)
			if end["uitkomst"] != audit.Geweigerd || end["fout"] != tt.code && tt.code != "GRENSLOOS_INVALID" || end["status"] != float64(tt.status) || end["bytesUit"] != float64(len(got.body)) {
				t.Errorf("afloop %v for %d bytes", end, len(got.body))
			}
			// Before it was accepted the id is the caller's word, and the record says so.
			claimed := tt.want[audit.Transactie] == 0 && end["transactie"] != nil
			if got := end["geclaimd"]; (got == true) != claimed {
				t.Errorf("afloop has geclaimd %v, want %v", got, claimed)
			}
			if strings.Contains(fmt.Sprint(r.log.Records()), "999993653") {
				t.Error("a BSN reached the records")
			}
		})
	}
}

func bindTo(i identity) func(*accesstoken.Claims) {
	return func(c *accesstoken.Claims) { c.Cnf = thumb(i) }
}

func del(name string) func(*http.Request) {
	return func(req *http.Request) { req.Header.Del(name) }
}

func set(name, value string) func(*http.Request) {
	return func(req *http.Request) { req.Header.Set(name, value) }
}

func TestInwayDelegation(t *testing.T) {
	r := newRig(t)
	g := r.unbound
	g.Hash, g.Type, g.Delegator = hashOf("$1$4$", "delegated"), gateway.DelegatedServiceConnection, almelo
	r.allow(g)
	t.Run("Inway-TransactionLog-4", func(t *testing.T) {
		if got := r.do(call{grant: &g, path: "/plain"}); got.status != 200 {
			t.Fatalf("answer %+v", got)
		}
		want := map[string]any{"type": "SOURCE_TYPE_DELEGATED_SOURCE", "outway_peer_id": string(uwi), "delegator_peer_id": string(almelo)}
		if diff := cmp.Diff(want, r.last(audit.Transactie)["source"]); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
	t.Run("Inway-TransactionLog-5", func(t *testing.T) {
		p := r.unbound
		p.Hash, p.ServiceDelegator = hashOf("$1$3$", "published"), almelo
		r.allow(p)
		if got := r.do(call{grant: &p, path: "/plain"}); got.status != 200 {
			t.Fatalf("answer %+v", got)
		}
		want := map[string]any{"type": "DESTINATION_TYPE_DELEGATED_DESTINATION", "service_peer_id": string(borne), "delegator_peer_id": string(almelo)}
		if diff := cmp.Diff(want, r.last(audit.Transactie)["destination"]); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
}

func TestInwayReplay(t *testing.T) {
	r := newRig(t)
	id := gateway.NewTransactionID(r.now())
	if got := r.do(call{id: id}); got.status != 200 {
		t.Fatalf("first: %+v", got)
	}
	before := r.counts()
	got := r.do(call{id: id})
	if got.status != 400 || got.header.Get(edge.HeaderErrorCode) != CodeInvalidID {
		t.Errorf("replay: %d %s", got.status, got.body)
	}
	before[audit.Afloop]++
	if diff := cmp.Diff(before, r.counts()); diff != "" {
		t.Errorf("a replay leaves more than an afloop: -want +got\n%s", diff)
	}
	// Another peer may not use it either.
	as := r.ca.issue(t, uwi)
	g := r.unbound
	g.Hash, g.OutwayThumbprint = hashOf("$1$3$", "second"), key(t, as)
	r.allow(g)
	if got := r.do(call{id: id, grant: &g, as: &as}); got.status != 400 {
		t.Errorf("the same id under another grant: %d", got.status)
	}
	// A restart remembers: an inway with an empty memory takes it from the journal.
	var fresh Handler
	fresh.Now = r.now
	must(t, fresh.Restore(func(since time.Time, each func(audit.Record) error) error {
		if age := r.now().Sub(since); age < 2*Window {
			t.Errorf("restores %s only; an id is timely for %s", age, 2*Window)
		}
		for _, rec := range r.log.Records() {
			if err := each(rec); err != nil {
				return err
			}
		}
		return nil
	}))
	if ok, err := fresh.seen.reserve(id, r.now()); ok || err != nil {
		t.Errorf("after a restart reserve = %v, %v; want taken", ok, err)
	}
	if ok, _ := fresh.seen.reserve(gateway.NewTransactionID(r.now()), r.now()); !ok {
		t.Error("a fresh id is refused after a restart")
	}
}

func TestInwayRestoreIgnoresOutgoing(t *testing.T) {
	now := time.Now()
	id := gateway.NewTransactionID(now)
	var h Handler
	must(t, h.Restore(func(_ time.Time, each func(audit.Record) error) error {
		return each(audit.NewTransactie(now, audit.Exchange{Transactie: id, Richting: audit.Outgoing}))
	}))
	if ok, _ := h.seen.reserve(id, now); !ok {
		t.Error("what our own outway sent counts as received")
	}
}

func TestInwayConcurrentReplay(t *testing.T) {
	r := newRig(t)
	id := gateway.NewTransactionID(r.now())
	var wg sync.WaitGroup
	var mu sync.Mutex
	status := map[int]int{}
	for range 12 {
		wg.Go(func() {
			got := r.do(call{id: id})
			mu.Lock()
			defer mu.Unlock()
			status[got.status]++
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[int]int{200: 1, 400: 11}, status); diff != "" || len(r.served()) != 1 {
		t.Errorf("served %d times, -want +got\n%s", len(r.served()), diff)
	}
}

func TestReplaysForget(t *testing.T) {
	var r replays
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	for i := range 100 {
		at := now.Add(time.Duration(i) * time.Minute)
		for _, off := range []time.Duration{-Window, 0, Window} {
			if ok, err := r.reserve(gateway.NewTransactionID(at.Add(off)), at); !ok || err != nil {
				t.Fatalf("minute %d, %s: %v %v", i, off, ok, err)
			}
		}
	}
	if len(r.minutes) > 13 || r.n > 40 {
		t.Errorf("remembers %d minutes, %d ids", len(r.minutes), r.n)
	}
	r.n = 2 * maxReplays
	if _, err := r.reserve(gateway.NewTransactionID(now.Add(100*time.Minute)), now.Add(100*time.Minute)); gateway.KindOf(err) != gateway.Unavailable {
		t.Errorf("a full memory gives %v", err)
	}
}

// TestInwayNoAnswerWithoutRecords makes each append fail in turn, with and without keeping the record.
func TestInwayNoAnswerWithoutRecords(t *testing.T) {
	disk := errors.New("disk full")
	for _, soort := range []audit.Soort{audit.Transactie, audit.ADL} {
		for _, kept := range []bool{false, true} {
			t.Run(fmt.Sprintf("Inway-TransactionLog-6 %s kept %v", soort, kept), func(t *testing.T) {
				r := newRig(t)
				fail := func(rec audit.Record) error {
					if rec.Soort == soort {
						return disk
					}
					return nil
				}
				if kept {
					r.log.FailPersisted = fail
				} else {
					r.log.Fail = fail
				}
				got := r.do(call{})
				if got.status != 500 || got.header.Get(edge.HeaderErrorCode) != audit.WriteError {
					t.Errorf("answer %d %s", got.status, got.body)
				}
				if len(r.served()) != 0 {
					t.Error("the service was called")
				}
				if end := r.last(audit.Afloop); end["uitkomst"] != audit.Mislukt || end["fout"] != audit.WriteError {
					t.Errorf("afloop %v", end)
				}
				if again := r.do(call{id: got.id}); again.status != 400 && again.status != 500 {
					t.Errorf("the id is free again: %d", again.status)
				}
			})
		}
	}
	t.Run("a refusal whose afloop can't be written", func(t *testing.T) {
		r := newRig(t)
		r.log.Fail = func(audit.Record) error { return disk }
		if got := r.do(call{noToken: true}); got.status != 500 || got.header.Get(edge.HeaderErrorCode) != audit.WriteError {
			t.Errorf("answer %d %s", got.status, got.body)
		}
	})
}

func TestInwayRecordsComeBeforeWhatFollows(t *testing.T) {
	r := newRig(t)
	var steps []string
	seen := map[string]counts{}
	r.inway.Fault = func(step string) {
		steps = append(steps, step)
		seen[step] = r.counts()
	}
	if got := r.do(call{}); got.status != 200 {
		t.Fatalf("answer %+v", got)
	}
	r.srv.Close() // waits for the last step
	if diff := cmp.Diff(Steps(), steps); diff != "" {
		t.Errorf("steps -want +got\n%s", diff)
	}
	want := map[string]counts{
		StepReserved: {}, StepDecided: {}, StepJournaled: {audit.Transactie: 1, audit.ADL: 1},
		StepRecorded: {audit.Transactie: 1, audit.ADL: 1}, StepClosed: {audit.Transactie: 1, audit.ADL: 1, audit.Afloop: 1},
	}
	for step, n := range want {
		if diff := cmp.Diff(n, seen[step]); diff != "" {
			t.Errorf("Inway-TransactionLog-1: after %q -want +got\n%s", step, diff)
		}
	}
}

func TestInwayPlainService(t *testing.T) {
	r := newRig(t)
	got := r.do(call{grant: &r.unbound, path: "/plain", body: "hello"})
	if got.status != 200 {
		t.Fatalf("answer %+v", got)
	}
	if diff := cmp.Diff(counts{audit.Transactie: 1, audit.Afloop: 1}, r.counts()); diff != "" {
		t.Errorf("records -want +got\n%s", diff)
	}
	if a := r.served()[0]; !a.admitted || a.body != "hello" {
		t.Errorf("service got %+v", a)
	}
	// Every other check stands, and a grant that does have a doel still needs its verklaring.
	if got := r.do(call{grant: &r.unbound, path: "/plain", noToken: true}); got.status != 401 {
		t.Errorf("without a token: %d", got.status)
	}
	g := r.bound
	g.Hash, g.Service = hashOf("$1$3$", "doel-plain"), plain
	r.allow(g)
	if got := r.do(call{grant: &g, path: "/plain", noStaat: true}); got.status != 403 {
		t.Errorf("a purpose-bound grant without verklaring: %d", got.status)
	}
}

func TestInwayStreams(t *testing.T) {
	r := newRig(t)
	r.inway.MaxBody = 10 // for what needs a verklaring only
	first := make(chan struct{})
	r.inway.Services[plain] = Service{Doelbinding: new(bool), Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		buf := make([]byte, 5)
		_, _ = io.ReadFull(req.Body, buf)
		close(first)
		rest, _ := io.ReadAll(req.Body)
		fmt.Fprint(w, len(rest))
	})}
	pr, pw := io.Pipe()
	go func() {
		_, _ = io.WriteString(pw, "first")
		<-first // the service has the head before the tail is sent
		_, _ = io.WriteString(pw, strings.Repeat("x", 100_000))
		_ = pw.Close()
	}()
	got := r.do(call{grant: &r.unbound, path: "/plain", change: func(req *http.Request) { req.Body, req.ContentLength, req.GetBody = pr, -1, nil }})
	if got.status != 200 || got.body != "100000" {
		t.Errorf("answer %+v", got)
	}
	if end := r.last(audit.Afloop); end["bytesIn"] != 100_005.0 {
		t.Errorf("afloop %v", end)
	}
}

// TestInwayPathUnaltered sends raw request lines and compares what reaches a service behind a URL.
func TestInwayPathUnaltered(t *testing.T) {
	r := newRig(t)
	var target string
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		target = req.RequestURI
		w.Header().Set("Fsc-Transaction-Id", "forged")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "teapot")
	}))
	defer backend.Close()
	base, err := url.Parse(backend.URL + "/base")
	must(t, err)
	r.inway.Services[plain] = Service{URL: base, Doelbinding: new(bool)}
	for _, want := range []string{"/", "/plain//a/../b/./c/", "/plain/%2F%2e%41", "/plain?x=%zz&y=1;2&&", "/plain?", "//double", "/a;b=c,d:e@f"} {
		req, id := r.request(call{grant: &r.unbound})
		conn, err := tls.Dial("tcp", r.srv.Listener.Addr().String(), &tls.Config{RootCAs: r.ca.pool, Certificates: []tls.Certificate{r.uwi.tls}, MinVersion: tls.VersionTLS12})
		must(t, err)
		_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n%s: %s\r\n%s: %s\r\n\r\n", want,
			edge.HeaderAuthorization, req.Header.Get(edge.HeaderAuthorization), edge.HeaderTransaction, id)
		must(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		_ = conn.Close()
		if target != "/base"+want || resp.StatusCode != http.StatusTeapot || string(body) != "teapot" {
			t.Errorf("sent %q, the service got %q; answer %d", want, target, resp.StatusCode)
		}
		if diff := cmp.Diff([]string{string(id)}, resp.Header.Values(edge.HeaderTransaction)); diff != "" {
			t.Errorf("transaction id of the answer -want +got\n%s", diff)
		}
	}
}

func TestInwayServiceFails(t *testing.T) {
	t.Run("unreachable", func(t *testing.T) {
		r := newRig(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		must(t, l.Close())
		r.inway.Services[plain] = Service{URL: &url.URL{Scheme: "http", Host: l.Addr().String()}, Doelbinding: new(bool)}
		got := r.do(call{grant: &r.unbound})
		if got.status != 502 || got.header.Get(edge.HeaderErrorCode) != CodeUnreachable || strings.Contains(got.body, l.Addr().String()) {
			t.Errorf("answer %d %s", got.status, got.body)
		}
		if end := r.last(audit.Afloop); end["uitkomst"] != audit.Onbereikbaar || end["fout"] != CodeUnreachable {
			t.Errorf("afloop %v", end)
		}
	})
	t.Run("its own errors pass unaltered", func(t *testing.T) {
		r := newRig(t)
		r.service = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"title":"bron"}`)
		}
		got := r.do(call{})
		if got.status != 503 || got.body != `{"title":"bron"}` || got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("answer %d %s", got.status, got.body)
		}
		if end := r.last(audit.Afloop); end["uitkomst"] != audit.Mislukt || end["status"] != 503.0 {
			t.Errorf("afloop %v", end)
		}
	})
	t.Run("panic", func(t *testing.T) {
		r := newRig(t)
		r.service = func(http.ResponseWriter, *http.Request) { panic("999993653") }
		got := r.do(call{})
		if got.status != 500 || strings.Contains(got.body, "999993653") {
			t.Errorf("answer %d %s", got.status, got.body)
		}
		if end := r.last(audit.Afloop); end["uitkomst"] != audit.Mislukt || end["status"] != 500.0 {
			t.Errorf("afloop %v", end)
		}
		if r.inway.Admitted(got.id, r.bound.Hash) {
			t.Error("still admitted after a panic")
		}
	})
	t.Run("answer breaks off", func(t *testing.T) {
		r := newRig(t)
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}))
		defer backend.Close()
		base, err := url.Parse(backend.URL)
		must(t, err)
		r.inway.Services[plain] = Service{URL: base, Doelbinding: new(bool)}
		if got := r.do(call{grant: &r.unbound}); got.err == nil {
			t.Errorf("half an answer looks whole: %+v", got)
		}
		r.srv.Close()
		if end := r.last(audit.Afloop); end["uitkomst"] != audit.Afgebroken || end["bytesUit"] != 4.0 {
			t.Errorf("afloop %v", end)
		}
	})
	t.Run("too slow", func(t *testing.T) {
		r := newRig(t)
		r.inway.Timeout = 50 * time.Millisecond
		r.service = func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }
		got := r.do(call{})
		if got.status != 504 || got.header.Get(edge.HeaderErrorCode) != CodeTimeout {
			t.Errorf("answer %d %s", got.status, got.body)
		}
	})
	t.Run("caller hangs up", func(t *testing.T) {
		r := newRig(t)
		began, ended := make(chan struct{}), make(chan struct{})
		r.service = func(_ http.ResponseWriter, req *http.Request) {
			close(began)
			<-req.Context().Done()
		}
		r.inway.Fault = func(step string) {
			if step == StepClosed {
				close(ended)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-began; cancel() }()
		got := r.do(call{change: func(req *http.Request) { *req = *req.WithContext(ctx) }})
		if got.err == nil {
			t.Errorf("answer %+v", got)
		}
		<-ended
		if end := r.last(audit.Afloop); end["uitkomst"] != audit.Afgebroken || end["status"] != 0.0 {
			t.Errorf("afloop %v", end)
		}
	})
}

// In one process nothing but the handler itself tells the caller that an answer broke off.
func TestInwayBrokenAnswerInProcess(t *testing.T) {
	r := newRig(t)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer backend.Close()
	base, err := url.Parse(backend.URL)
	must(t, err)
	r.inway.Services[plain] = Service{URL: base, Doelbinding: new(bool)}
	req, _ := r.request(call{grant: &r.unbound})
	req.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{r.uwi.signer.Cert}}
	defer func() {
		if v := recover(); v != http.ErrAbortHandler { //nolint:errorlint // the very value
			t.Errorf("panic %v, want http.ErrAbortHandler", v)
		}
		if end := r.last(audit.Afloop); end["uitkomst"] != audit.Afgebroken {
			t.Errorf("afloop %v", end)
		}
	}()
	r.inway.ServeHTTP(httptest.NewRecorder(), req)
}

func TestAdmittedOnlyWhileServed(t *testing.T) {
	r := newRig(t)
	r.inway.Services[client] = Service{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})} // never asks
	got := r.do(call{})
	r.srv.Close()
	if got.status != 200 || r.inway.Admitted(got.id, r.bound.Hash) {
		t.Errorf("answer %d; admitted after it, want not", got.status)
	}
	if r.inway.Admitted("", "") || r.inway.Admitted(gateway.NewTransactionID(r.now()), r.bound.Hash) {
		t.Error("admitted without a request")
	}
}

// TestInwayRecordsTogether: what a request leaves before the service is called becomes durable at once, the transactie first; refused
// after its id was taken it leaves the transactie with its end.
func TestInwayRecordsTogether(t *testing.T) {
	for name, c := range map[string]struct {
		call call
		want [][]audit.Soort
	}{
		"answered":              {call{}, [][]audit.Soort{{audit.Transactie, audit.ADL}, {audit.Afloop}}},
		"no verklaring":         {call{noStaat: true}, [][]audit.Soort{{audit.Transactie, audit.Afloop}}},
		"refused by our policy": {call{verklaring: func(v *verklaring.Verklaring) { v.Rollen = []string{"beheerder"} }}, [][]audit.Soort{{audit.Transactie, audit.ADL}, {audit.Afloop}}},
		"id used before":        {call{id: "01900000-0000-7000-8000-000000000000"}, [][]audit.Soort{{audit.Afloop}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			log := &appends{Log: r.log}
			r.inway.Audit = log
			r.do(c.call)
			if diff := cmp.Diff(c.want, log.kinds); diff != "" {
				t.Errorf("appends -want +got\n%s", diff)
			}
		})
	}
}

// appends notes which kinds of record are appended together.
type appends struct {
	audit.Log
	kinds [][]audit.Soort
}

func (a *appends) Append(ctx context.Context, recs ...audit.Record) error {
	var kinds []audit.Soort
	for _, rec := range recs {
		kinds = append(kinds, rec.Soort)
	}
	a.kinds = append(a.kinds, kinds)
	return a.Log.Append(ctx, recs...)
}

// TestInwayAnswerBeforeItsEnd: the asker has the whole answer while the record of its end is being kept.
func TestInwayAnswerBeforeItsEnd(t *testing.T) {
	r := newRig(t)
	answered := make(chan struct{})
	r.log.Fail = func(rec audit.Record) error {
		if rec.Soort == audit.Afloop {
			select {
			case <-answered:
			case <-time.After(10 * time.Second):
				t.Error("the answer waits for the record of its end")
			}
		}
		return nil
	}
	r.service = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "11") // as a service of ours does, and most do
		_, _ = io.WriteString(w, `{"ok":true}`)
	}
	req, _ := r.request(call{})
	resp, err := r.client(nil).Do(req)
	must(t, err)
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != `{"ok":true}` || resp.StatusCode != http.StatusOK {
		t.Errorf("got %d %s %v", resp.StatusCode, body, err)
	}
	close(answered)
	r.busy.Wait()
}
