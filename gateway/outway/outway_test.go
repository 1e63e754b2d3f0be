package outway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

type counts = map[audit.Soort]int

func TestOutwayAnswers(t *testing.T) {
	r := newRig(t)
	got := r.do(r.ask(`{"bsn":"x"}`, func(req *http.Request) {
		req.URL.RawQuery = "a=%zz&b=1;2"
		req.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-893e1b2ac52d712f-01")
		req.Header.Set(edge.HeaderClientCert, ":eA==:") // as a proxy before us adds
		req.Header.Set("Client-Cert-Chain", ":eA==:")
	}))
	t.Run("Outway-IncomingRequest-1", func(t *testing.T) {
		if got.status != 200 || got.body != `{"ok":true}` || len(r.sent()) != 1 {
			t.Fatalf("answer %+v, sent %d", got, len(r.sent()))
		}
	})
	a := r.sent()[0]
	id := gateway.TransactionID(a.header.Get(edge.HeaderTransaction))
	t.Run("Outway-TransactionLog-1", func(t *testing.T) {
		if diff := cmp.Diff(counts{audit.ADL: 1, audit.Transactie: 1}, a.records); diff != "" {
			t.Errorf("durable when the request arrived: -want +got\n%s", diff)
		}
		if tx := r.last(audit.Transactie); tx["direction"] != "DIRECTION_OUTGOING" || tx["transaction_id"] != string(id) {
			t.Errorf("transactie %v", tx)
		}
	})
	t.Run("Outway-TransactionLog-2", func(t *testing.T) {
		if _, err := gateway.ParseTransactionID(string(id)); err != nil || time.Since(id.Time()).Abs() > time.Minute {
			t.Errorf("id %q: %v", id, err)
		}
		if diff := cmp.Diff([]string{string(id)}, got.header.Values(edge.HeaderTransaction)); diff != "" {
			t.Errorf("id given to the client -want +got\n%s", diff)
		}
	})
	t.Run("headers", func(t *testing.T) {
		if a.header.Get(edge.HeaderAuthorization) != "Bearer the-token" || a.target != "/v1/clienten/_zoek?a=%zz&b=1;2" || a.body != `{"bsn":"x"}` || a.length != 11 {
			t.Errorf("sent %+v", a)
		}
		for _, name := range []string{"Authorization", "Proxy-Authorization", edge.HeaderGrantHash, edge.HeaderZaak, edge.HeaderZaaktype, edge.HeaderClientCert, "Client-Cert-Chain"} {
			if v := a.header.Get(name); v != "" {
				t.Errorf("%s went out: %q", name, v)
			}
		}
		end := r.last(audit.Afloop)
		if want := fmt.Sprintf("00-4bf92f3577b34da6a3ce929d0e0e4736-%s-01", end["spanId"]); a.header.Get("Traceparent") != want {
			t.Errorf("traceparent %q, want %q", a.header.Get("Traceparent"), want)
		}
		if end["uitkomst"] != audit.Beantwoord || end["bytesIn"] != 11.0 || end["bytesUit"] != 11.0 || end["status"] != 200.0 {
			t.Errorf("afloop %v", end)
		}
	})
	t.Run("verklaring", func(t *testing.T) {
		v, err := verklaring.Expect{
			ClientCert: r.signer.Cert, Audience: borne, Grant: r.bound, Transactie: id, Method: "POST", Target: a.target,
			BodyDigest: verklaring.Digest([]byte(a.body)), Now: time.Now(),
		}.Verify(a.header.Get(edge.HeaderVerklaring))
		if err != nil {
			t.Fatal(err)
		}
		if v.Subject != r.outway.Pseudonyms.Worker("jansen") || strings.Contains(v.Subject, "jansen") || v.Zaak != "ZAAK-2026-17" || cmp.Diff([]string{"klantmanager"}, v.Rollen) != "" {
			t.Errorf("verklaring %+v", v)
		}
	})
	t.Run("peer", func(t *testing.T) {
		if diff := cmp.Diff([]gateway.PeerID{borne}, r.peers); diff != "" {
			t.Errorf("transport -want +got\n%s", diff)
		}
		if diff := cmp.Diff(counts{audit.ADL: 1, audit.Transactie: 1, audit.Kwitantie: 1, audit.Afloop: 1}, r.counts()); diff != "" {
			t.Errorf("records -want +got\n%s", diff)
		}
	})
}

// What is refused before the policy decided leaves an afloop; a denial an ADL record too; nothing is sent.
func TestOutwayRefuses(t *testing.T) {
	early, decided := counts{audit.Afloop: 1}, counts{audit.ADL: 1, audit.Afloop: 1}
	grant := func(change func(*gateway.Grant)) func(*rig) func(*http.Request) {
		return func(r *rig) func(*http.Request) {
			g := r.bound
			change(&g)
			r.grants[r.bound.Hash] = g
			return nil
		}
	}
	claims := func(change func(*accesstoken.Claims)) func(*rig) func(*http.Request) {
		return func(r *rig) func(*http.Request) { r.tokens.change = change; return nil }
	}
	header := func(name, value string) func(*rig) func(*http.Request) {
		return func(*rig) func(*http.Request) { return func(req *http.Request) { req.Header.Set(name, value) } }
	}
	tests := []struct {
		name   string
		prep   func(*rig) func(*http.Request)
		status int
		code   string
		want   counts
	}{
		{"no JWT", func(*rig) func(*http.Request) { return func(req *http.Request) { req.Header.Del("Authorization") } }, 401, edge.CodeUnauthenticated, early},
		{"JWT of elsewhere", func(r *rig) func(*http.Request) {
			r.key = newSigner(t, uwi).Key
			return nil
		}, 401, edge.CodeUnauthenticated, early},
		{"role in a header", header("Grensloos-Rol", "beheerder"), 400, edge.CodeHeader, early},
		{"transaction id of its own", header(edge.HeaderTransaction, "0190b6a2-7c11-7d3e-9a55-3f5c0b1e2d44"), 400, edge.CodeHeader, early},
		{"token of its own", header(edge.HeaderAuthorization, "Bearer x"), 400, edge.CodeHeader, early},
		{"connection names ours", header("Connection", "Fsc-Grant-Hash"), 400, edge.CodeHeader, early},
		{"BSN for a zaak", header(edge.HeaderZaak, "999993653"), 400, "GRENSLOOS_INVALID", early},
		{"BSN in a zaaktype", header(edge.HeaderZaaktype, "x 999993653"), 400, "GRENSLOOS_INVALID", early},
		{"no grant named", header(edge.HeaderGrantHash, ""), 400, CodeGrantHash, early},
		{"Integration-ConsumeService-2 no contract", header(edge.HeaderGrantHash, "$1$3$unknown"), 403, string(gateway.GeenContract), early},
		{"grant of another outway", grant(func(g *gateway.Grant) { g.Outway = almelo }), 403, string(gateway.GeenContract), early},
		{"grant that ended", grant(func(g *gateway.Grant) { g.NotAfter = time.Now() }), 403, string(gateway.GeenContract), early},
		{"grant that has not begun", grant(func(g *gateway.Grant) { g.NotBefore = time.Now().Add(time.Hour) }), 403, string(gateway.GeenContract), early},
		{"publication grant", grant(func(g *gateway.Grant) { g.Type = gateway.ServicePublication }), 403, string(gateway.GeenContract), early},
		{"policy: role", func(r *rig) func(*http.Request) {
			return func(req *http.Request) { req.Header.Set("Authorization", "Bearer "+r.jwt("stagiair")) }
		}, 403, string(gateway.AfnemerNietBevoegd), decided},
		{"policy: no zaak", func(*rig) func(*http.Request) {
			return func(req *http.Request) { req.Header.Del(edge.HeaderZaak); req.Header.Del(edge.HeaderZaaktype) }
		}, 403, string(gateway.ZaakNietOpen), decided},
		{"Outway-IncomingRequest-2 token refused", func(r *rig) func(*http.Request) {
			r.tokens.err = gateway.Errorf(gateway.Denied, "invalid_scope")
			return nil
		}, 403, CodeToken, decided},
		{"Outway-IncomingRequest-2 manager not reached", func(r *rig) func(*http.Request) {
			r.tokens.err = gateway.Errorf(gateway.Unavailable, "dial")
			return nil
		}, 502, CodeUnreachable, decided},
		{"Outway-IncomingRequest-2 manager too slow", func(r *rig) func(*http.Request) {
			r.tokens.err = gateway.Wrap(gateway.Unavailable, context.DeadlineExceeded, "token")
			return nil
		}, 504, CodeTimeout, decided},
		{"token of another peer", claims(func(c *accesstoken.Claims) { c.Issuer = almelo }), 502, CodeTokenInvalid, decided},
		{"token of another grant", claims(func(c *accesstoken.Claims) { c.GrantHash = "$1$3$x" }), 502, CodeTokenInvalid, decided},
		{"token of another group", claims(func(c *accesstoken.Claims) { c.GroupID = "other.example" }), 502, CodeTokenInvalid, decided},
		{"token for another service", claims(func(c *accesstoken.Claims) { c.Service = "other" }), 502, CodeTokenInvalid, decided},
		{"token for another outway", claims(func(c *accesstoken.Claims) { c.Subject = almelo }), 502, CodeTokenInvalid, decided},
		{"token for another certificate", claims(func(c *accesstoken.Claims) { c.Cnf = "x" }), 502, CodeTokenInvalid, decided},
		{"token that expired", claims(func(c *accesstoken.Claims) { c.Expires = time.Now() }), 502, CodeTokenInvalid, decided},
		{"token without purpose", claims(func(c *accesstoken.Claims) { c.Prp = nil }), 502, CodeTokenInvalid, decided},
		{"address without TLS", claims(func(c *accesstoken.Claims) { c.Audience = strings.Replace(c.Audience, "https", "http", 1) }), 502, CodeTokenInvalid, decided},
		{"address on a port that the group forbids", claims(func(c *accesstoken.Claims) { c.Audience = "https://127.0.0.1:22" }), 502, CodeTokenInvalid, decided},
		{"address with a path", claims(func(c *accesstoken.Claims) { c.Audience += "/steal" }), 502, CodeTokenInvalid, decided},
		{"address with a user", claims(func(c *accesstoken.Claims) { c.Audience = strings.Replace(c.Audience, "//", "//u:p@", 1) }), 502, CodeTokenInvalid, decided},
		{"body too large", func(r *rig) func(*http.Request) { r.outway.MaxBody = 3; return nil }, 413, edge.CodeBodyTooLarge, decided},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			change := tt.prep(r)
			got := r.do(r.ask("1234", change))
			var body struct{ Code, Domain, Title string }
			if err := json.Unmarshal([]byte(got.body), &body); err != nil {
				t.Fatalf("answer %+v: %v", got, err)
			}
			if got.status != tt.status || body.Code != tt.code {
				t.Errorf("answer %d %s, want %d %s: %s", got.status, body.Code, tt.status, tt.code, got.body)
			}
			if h := got.header.Get(edge.HeaderErrorCode); body.Title == "" && (h != tt.code || body.Domain != edge.DomainOutway) {
				t.Errorf("Fsc-Error-Code %q, domain %q", h, body.Domain)
			}
			if _, err := gateway.ParseTransactionID(got.header.Get(edge.HeaderTransaction)); err != nil {
				t.Errorf("no transaction id on a refusal: %v", err)
			}
			if diff := cmp.Diff(tt.want, r.counts()); diff != "" {
				t.Errorf("records -want +got\n%s", diff)
			}
			if n := len(r.sent()); n != 0 {
				t.Errorf("sent %d", n)
			}
			if tt.code == string(gateway.GeenContract) && r.tokens.asked != 0 {
				t.Error("a token was asked for without a contract")
			}
			if tt.code == CodeTokenInvalid && r.tokens.dropped != 1 {
				t.Error("a token that is no good was kept")
			}
			end := r.last(audit.Afloop)
			if end["status"] != float64(tt.status) || end["bytesUit"] != float64(len(got.body)) || end["uitkomst"] == audit.Beantwoord {
				t.Errorf("afloop %v", end)
			}
			if strings.Contains(fmt.Sprint(got, r.log.Records()), "999993653") {
				t.Error("a BSN got out")
			}
		})
	}
}

func TestOutwayConnect(t *testing.T) {
	r := newRig(t)
	conn, err := net.Dial("tcp", r.srv.Listener.Addr().String())
	must(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "CONNECT inway.example:443 HTTP/1.1\r\nHost: inway.example:443\r\n\r\n")
	must(t, err)
	raw := make([]byte, 400)
	n, _ := io.ReadAtLeast(conn, raw, 100)
	if got := string(raw[:n]); !strings.HasPrefix(got, "HTTP/1.1 405 ") || !strings.Contains(got, "Fsc-Error-Code: "+edge.ErrMethodUnsupported) {
		t.Errorf("answer %q", got)
	}
}

func TestOutwayNeverPassesItsJWTOn(t *testing.T) {
	tests := []struct {
		name string
		set  func(r *rig, h http.Header)
		want string // Authorization at the other side
	}{
		{"as Authorization", func(*rig, http.Header) {}, ""},
		{"as Proxy-Authorization, service token beside it", func(r *rig, h http.Header) {
			h.Set("Proxy-Authorization", "Bearer "+r.jwt("klantmanager"))
			h.Set("Authorization", "Bearer of-the-service")
		}, "Bearer of-the-service"},
		{"as Proxy-Authorization, nothing beside it", func(r *rig, h http.Header) {
			h.Set("Proxy-Authorization", "Bearer "+r.jwt("klantmanager"))
			h.Del("Authorization")
		}, ""},
		{"twice", func(r *rig, h http.Header) { h.Set("Proxy-Authorization", "Bearer "+r.jwt("klantmanager")) }, ""},
		{"twice, bare", func(r *rig, h http.Header) {
			h.Set("Proxy-Authorization", "Bearer "+r.jwt("klantmanager"))
			h.Set("Authorization", r.jwt("klantmanager"))
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			if got := r.do(r.ask("", func(req *http.Request) { tt.set(r, req.Header) })); got.status != 200 {
				t.Fatalf("answer %+v", got)
			}
			a := r.sent()[0]
			if got := a.header.Get("Authorization"); got != tt.want || a.header.Get("Proxy-Authorization") != "" {
				t.Errorf("Authorization sent %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("Proxy-Authorization that is no good is not made up for", func(t *testing.T) {
		r := newRig(t)
		if got := r.do(r.ask("", func(req *http.Request) { req.Header.Set("Proxy-Authorization", "Bearer x") })); got.status != 401 {
			t.Errorf("answer %d", got.status)
		}
	})
}

func TestOutwayDelegation(t *testing.T) {
	r := newRig(t)
	g := r.unbound
	g.Hash, g.Type, g.Delegator, g.ServiceDelegator = hashOf("$1$4$", "delegated"), gateway.DelegatedServiceConnection, almelo, almelo
	r.grants[g.Hash] = g
	if got := r.do(r.ask("", func(req *http.Request) { req.Header.Set(edge.HeaderGrantHash, string(g.Hash)) })); got.status != 200 {
		t.Fatalf("answer %+v", got)
	}
	tx := r.last(audit.Transactie)
	t.Run("Outway-TransactionLog-3", func(t *testing.T) {
		want := map[string]any{"type": "SOURCE_TYPE_DELEGATED_SOURCE", "outway_peer_id": string(uwi), "delegator_peer_id": string(almelo)}
		if diff := cmp.Diff(want, tx["source"]); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
	t.Run("Outway-TransactionLog-4", func(t *testing.T) {
		want := map[string]any{"type": "DESTINATION_TYPE_DELEGATED_DESTINATION", "service_peer_id": string(borne), "delegator_peer_id": string(almelo)}
		if diff := cmp.Diff(want, tx["destination"]); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
}

// TestOutwayNothingSentWithoutRecords makes each append fail in turn, with and without keeping the record.
func TestOutwayNothingSentWithoutRecords(t *testing.T) {
	disk := errors.New("disk full")
	for _, soort := range []audit.Soort{audit.ADL, audit.Transactie} {
		for _, kept := range []bool{false, true} {
			t.Run(fmt.Sprintf("Outway-TransactionLog-5 %s kept %v", soort, kept), func(t *testing.T) {
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
				got := r.do(r.ask("{}", nil))
				if got.status != 500 || got.header.Get(edge.HeaderErrorCode) != audit.WriteError || len(r.sent()) != 0 {
					t.Errorf("answer %d %s, sent %d", got.status, got.body, len(r.sent()))
				}
				if soort == audit.ADL && r.tokens.asked != 0 {
					t.Error("a token was asked for under a decision that is not on record")
				}
				if end := r.last(audit.Afloop); end["uitkomst"] != audit.Mislukt || end["fout"] != audit.WriteError {
					t.Errorf("afloop %v", end)
				}
			})
		}
	}
	t.Run("a refusal whose afloop can't be written", func(t *testing.T) {
		r := newRig(t)
		r.log.Fail = func(audit.Record) error { return disk }
		if got := r.do(r.ask("", func(req *http.Request) { req.Header.Del("Authorization") })); got.status != 500 || got.header.Get(edge.HeaderErrorCode) != audit.WriteError {
			t.Errorf("answer %d %s", got.status, got.body)
		}
	})
}

func TestOutwaySteps(t *testing.T) {
	r := newRig(t)
	var steps []string
	seen := map[string]counts{}
	r.outway.Fault = func(step string) { steps = append(steps, step); seen[step] = r.counts() }
	if got := r.do(r.ask("{}", nil)); got.status != 200 {
		t.Fatalf("answer %+v", got)
	}
	r.srv.Close() // waits for the last step
	if diff := cmp.Diff(Steps(), steps); diff != "" {
		t.Errorf("steps -want +got\n%s", diff)
	}
	for step, want := range map[string]counts{
		StepDecided: {}, StepRecorded: {audit.ADL: 1}, StepSigned: {audit.ADL: 1}, StepJournaled: {audit.ADL: 1, audit.Transactie: 1},
		StepAnswered: {audit.ADL: 1, audit.Transactie: 1}, StepReceipt: {audit.ADL: 1, audit.Transactie: 1, audit.Kwitantie: 1},
		StepClosed: {audit.ADL: 1, audit.Transactie: 1, audit.Kwitantie: 1, audit.Afloop: 1},
	} {
		if diff := cmp.Diff(want, seen[step]); diff != "" {
			t.Errorf("after %q -want +got\n%s", step, diff)
		}
	}
}

func TestOutwayOtherSideRefuses(t *testing.T) {
	for code, dropped := range map[string]int{accesstoken.CodeInvalid: 1, accesstoken.CodeExpired: 1, "ERROR_CODE_SERVICE_UNREACHABLE": 0} {
		t.Run(code, func(t *testing.T) {
			r := newRig(t)
			const body = `{"message":"m","domain":"ERROR_DOMAIN_INWAY","code":"x"}`
			r.answer = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set(edge.HeaderErrorCode, code)
				w.Header().Set("WWW-Authenticate", "Bearer")
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = io.WriteString(w, body)
			}
			got := r.do(r.ask("{}", nil))
			if got.status != 401 || got.body != body || got.header.Get(edge.HeaderErrorCode) != code || got.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("the error did not pass unaltered: %+v", got)
			}
			if len(r.sent()) != 1 || r.tokens.dropped != dropped {
				t.Errorf("sent %d times, token dropped %d times, want once and %d", len(r.sent()), r.tokens.dropped, dropped)
			}
			if end := r.last(audit.Afloop); end["uitkomst"] != audit.Geweigerd || end["fout"] != code {
				t.Errorf("afloop %v", end)
			}
		})
	}
}

func TestOutwayOtherSideFails(t *testing.T) {
	t.Run("Outway-IncomingRequest-3 inway unreachable", func(t *testing.T) {
		r := newRig(t)
		r.inway.Close()
		got := r.do(r.ask("{}", nil))
		if got.status != 502 || got.header.Get(edge.HeaderErrorCode) != CodeUnreachable {
			t.Errorf("answer %d %s", got.status, got.body)
		}
		if diff := cmp.Diff(counts{audit.ADL: 1, audit.Transactie: 1, audit.Afloop: 1}, r.counts()); diff != "" {
			t.Errorf("records -want +got\n%s", diff)
		}
		if end := r.last(audit.Afloop); end["uitkomst"] != audit.Onbereikbaar {
			t.Errorf("afloop %v", end)
		}
	})
	t.Run("answer breaks off", func(t *testing.T) {
		r := newRig(t)
		r.answer = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		if got := r.do(r.ask("{}", nil)); got.err == nil {
			t.Errorf("half an answer looks whole: %+v", got)
		}
		r.srv.Close()
		if end := r.last(audit.Afloop); end["uitkomst"] != audit.Afgebroken || end["bytesUit"] != 4.0 {
			t.Errorf("afloop %v", end)
		}
	})
	t.Run("too slow", func(t *testing.T) {
		r := newRig(t)
		r.outway.Timeout = 50 * time.Millisecond
		r.answer = func(_ http.ResponseWriter, req *http.Request) {
			_, _ = io.Copy(io.Discard, req.Body)
			<-req.Context().Done()
		}
		if got := r.do(r.ask("{}", nil)); got.status != 504 || got.header.Get(edge.HeaderErrorCode) != CodeTimeout {
			t.Errorf("answer %d %s", got.status, got.body)
		}
	})
	t.Run("client hangs up", func(t *testing.T) {
		r := newRig(t)
		began, ended := make(chan struct{}), make(chan struct{})
		r.answer = func(_ http.ResponseWriter, req *http.Request) {
			_, _ = io.Copy(io.Discard, req.Body)
			close(began)
			<-req.Context().Done()
		}
		r.outway.Fault = func(step string) {
			if step == StepClosed {
				close(ended)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-began; cancel() }()
		if got := r.do(r.ask("{}", func(req *http.Request) { *req = *req.WithContext(ctx) })); got.err == nil {
			t.Errorf("answer %+v", got)
		}
		<-ended
		if end := r.last(audit.Afloop); end["uitkomst"] != audit.Afgebroken || end["status"] != 0.0 {
			t.Errorf("afloop %v", end)
		}
	})
	t.Run("panic", func(t *testing.T) {
		r := newRig(t)
		r.outway.Fault = func(step string) {
			if step == StepSigned {
				panic("999993653")
			}
		}
		if got := r.do(r.ask("{}", nil)); got.status != 500 || strings.Contains(got.body, "999993653") || len(r.sent()) != 0 {
			t.Errorf("answer %d %s, sent %d", got.status, got.body, len(r.sent()))
		}
		if end := r.last(audit.Afloop); end["uitkomst"] != audit.Mislukt || end["status"] != 500.0 {
			t.Errorf("afloop %v", end)
		}
	})
	t.Run("informational answers", func(t *testing.T) {
		r := newRig(t)
		r.answer = func(w http.ResponseWriter, req *http.Request) {
			_, _ = io.Copy(io.Discard, req.Body)
			w.Header().Set(edge.HeaderTransaction, "forged")
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(w, "ok")
		}
		got := r.do(r.ask("{}", nil))
		if id := got.header.Values(edge.HeaderTransaction); got.status != 200 || len(id) != 1 || id[0] == "forged" {
			t.Errorf("answer %d, ids %v", got.status, id)
		}
	})
}

// A question that needs no verklaring streams, with a body larger than what may be kept.
func TestOutwayStreams(t *testing.T) {
	r := newRig(t)
	r.outway.MaxBody = 10
	first := make(chan struct{})
	r.answer = func(w http.ResponseWriter, req *http.Request) {
		buf := make([]byte, 5)
		_, _ = io.ReadFull(req.Body, buf)
		close(first)
		rest, _ := io.ReadAll(req.Body)
		fmt.Fprint(w, len(rest))
	}
	pr, pw := io.Pipe()
	go func() {
		_, _ = io.WriteString(pw, "first")
		<-first // the other side has the head before the tail is sent
		_, _ = io.WriteString(pw, strings.Repeat("x", 100_000))
		_ = pw.Close()
	}()
	got := r.do(r.ask("", func(req *http.Request) {
		req.Header.Set(edge.HeaderGrantHash, string(r.unbound.Hash))
		req.Body, req.ContentLength, req.GetBody = pr, -1, nil
	}))
	if got.status != 200 || got.body != "100000" {
		t.Errorf("answer %+v", got)
	}
	if diff := cmp.Diff(counts{audit.Transactie: 1, audit.Afloop: 1}, r.counts()); diff != "" {
		t.Errorf("records -want +got\n%s", diff)
	}
	if a := r.sent()[0]; a.header.Get(edge.HeaderVerklaring) != "" {
		t.Error("a verklaring without a purpose")
	}
}

func TestOutwayKeepsToItsOwnCertificate(t *testing.T) {
	r := newRig(t)
	if got := r.do(r.ask("{}", nil)); got.status != 200 {
		t.Fatalf("answer %+v", got)
	}
	old := jose.Thumbprint(r.signer.Cert)
	r.signer = newSigner(t, uwi) // renewed on another key while the old token is still kept
	r.tokens.change = func(c *accesstoken.Claims) { c.Cnf = old }
	if got := r.do(r.ask("{}", nil)); got.status != 502 || r.tokens.dropped != 1 {
		t.Errorf("answer %d, dropped %d", got.status, r.tokens.dropped)
	}
}

// In one process nothing but the handler itself tells the caller that an answer broke off.
func TestOutwayBrokenAnswerInProcess(t *testing.T) {
	r := newRig(t)
	r.answer = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	defer func() {
		if v := recover(); v != http.ErrAbortHandler { //nolint:errorlint // the very value
			t.Errorf("panic %v, want http.ErrAbortHandler", v)
		}
		if end := r.last(audit.Afloop); end["uitkomst"] != audit.Afgebroken {
			t.Errorf("afloop %v", end)
		}
	}()
	r.outway.ServeHTTP(httptest.NewRecorder(), r.ask("{}", nil))
}

// TestOutwayRecordsTogether: with a token at hand the decision and the transactie become durable at once, before anything is sent;
// without one the decision is on record before a token is asked for.
func TestOutwayRecordsTogether(t *testing.T) {
	answered := [][]audit.Soort{{audit.ADL, audit.Transactie}, {audit.Kwitantie}, {audit.Afloop}}
	for name, c := range map[string]struct {
		kept bool
		edit func(*http.Request)
		want [][]audit.Soort
	}{
		"token at hand":         {true, nil, answered},
		"no token":              {false, nil, [][]audit.Soort{{audit.ADL}, {audit.Transactie}, {audit.Kwitantie}, {audit.Afloop}}},
		"refused by our policy": {true, func(r *http.Request) { r.Header.Set(edge.HeaderZaaktype, "x") }, [][]audit.Soort{{audit.ADL, audit.Afloop}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.tokens.kept = c.kept
			log := &appends{Log: r.log}
			r.outway.Audit = log
			r.do(r.ask("{}", c.edit))
			r.srv.Close()
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

// laterLog tells what nothing waits for.
type laterLog struct {
	*audit.Memory
	later chan audit.Soort
}

func (l laterLog) Later(ctx context.Context, recs ...audit.Record) error {
	for _, rec := range recs {
		l.later <- rec.Soort
	}
	return l.Append(ctx, recs...)
}

// The record of its end waits for others to be written with, once an answer has left whole. What tells the caller that it was refused or that
// it broke leaves after it.
func TestOnlyAnAnswerDoesNotWaitForItsEnd(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, "x")
		}
	}
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		status int
		want   bool // to be kept later
	}{
		"an answer":               {status(200), 200, true},
		"a refusal":               {status(403), 403, false},
		"nothing there":           {status(404), 404, false},
		"a failure":               {status(500), 500, false},
		"not an answer to this":   {func(w http.ResponseWriter, _ *http.Request) { w.Header().Del(edge.HeaderKwitantie) }, 502, false},
		"of a length nobody says": {func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() }, 200, false},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "2")
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			log := laterLog{r.log, make(chan audit.Soort, 9)}
			r.outway.Audit, r.answer = log, tt.answer
			if got := r.do(r.ask("{}", nil)); got.status != tt.status {
				t.Errorf("answer %+v", got)
			}
			close(log.later)
			if kept, ok := <-log.later; ok != tt.want || ok && kept != audit.Afloop {
				t.Errorf("%q is kept later, want %v", kept, tt.want)
			}
			if more, ok := <-log.later; ok || r.counts()[audit.Afloop] != 1 {
				t.Errorf("%q is kept later too; records %v", more, r.counts())
			}
		})
	}
}
