package outway

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

func TestOutwayKeepsTheKwitantie(t *testing.T) {
	r := newRig(t)
	got := r.do(r.ask("{}", nil))
	compact := got.header.Values(edge.HeaderKwitantie)
	if got.status != 200 || len(compact) != 1 {
		t.Fatalf("answer %d, kwitanties %d", got.status, len(compact))
	}
	kept := r.last(audit.Kwitantie)
	_, parsed, err := verklaring.ParseKwitantie(compact[0])
	must(t, err)
	must(t, parsed.Verify(r.provider.Cert))
	end := r.last(audit.Afloop)
	want := map[string]any{
		"transactie": got.header.Get(edge.HeaderTransaction), "traceId": end["traceId"], "spanId": end["spanId"], "parentSpanId": end["parentSpanId"],
		"grant": string(r.bound.Hash), "afnemer": string(uwi), "bron": string(borne), "dienst": "clientgegevens", "doel": "pw-reintegratie",
		"besluit": true, "uitkomst": map[string]any{"persoon": "beantwoord"}, "aantal": 1.0, "afgegeven": kept["afgegeven"],
		"veldenDigest": kept["veldenDigest"], "jws": compact[0],
	}
	if diff := cmp.Diff(want, kept); diff != "" {
		t.Errorf("record -want +got\n%s", diff)
	}
}

// A sleutelbewijs that the outway has need not come again: it says which it has, puts it back in the place of its digest, and records the
// kwitantie whole. A digest of anything else is refused.
func TestOutwayPutsTheSleutelbewijsBack(t *testing.T) {
	r := newRig(t)
	s := verklaring.NewSigner(func() *jose.Signer { return r.provider }, verklaring.VoorKwitantie, time.Now)
	var asked, answered []string
	change := func(compact string) string { return compact }
	r.answer = func(w http.ResponseWriter, req *http.Request) {
		k, err := verklaring.ReadKwitantie(w.Header().Get(edge.HeaderKwitantie))
		must(t, err)
		compact, err := verklaring.SignKwitantie(s, *k)
		must(t, err)
		known := req.Header.Values(edge.HeaderSleutel)
		asked = append(asked, strings.Join(known, " "))
		compact = change(verklaring.Shorten(compact, strings.Join(known, "")))
		answered = append(answered, compact)
		w.Header().Set(edge.HeaderKwitantie, compact)
		_, _ = io.WriteString(w, "values")
	}
	for i := range 3 {
		got := r.do(r.ask("{}", nil))
		if got.status != 200 || got.header.Get(edge.HeaderKwitantie) != answered[i] {
			t.Fatalf("answer %d %s, with %q; want as it came", got.status, got.body, got.header.Get(edge.HeaderKwitantie))
		}
		jws, _ := r.last(audit.Kwitantie)["jws"].(string)
		k, parsed, err := verklaring.ParseKwitantie(jws)
		must(t, err)
		if parsed.Verify(r.provider.Cert) != nil || string(k.Transactie) != got.header.Get(edge.HeaderTransaction) {
			t.Errorf("question %d: recorded is not the whole kwitantie of it: %s", i, jws)
		}
		_, bewijs, _ := strings.Cut(jws, "~")
		_, came, _ := strings.Cut(answered[i], "~")
		switch {
		case i == 0 && (asked[i] != "" || came != bewijs):
			t.Errorf("at first it says that it has %q", asked[i])
		case i > 0 && (asked[i] != verklaring.Digest([]byte(bewijs)) || came != asked[i]):
			t.Errorf("question %d: it says that it has %q; came %d bytes", i, asked[i], len(came))
		}
	}
	for name, wrong := range map[string]func(string) string{
		"the digest of another": func(c string) string { return c[:len(c)-43] + verklaring.Digest([]byte("x")) },
		"half a digest":         func(c string) string { return c[:len(c)-1] },
		"no digest":             func(c string) string { return c[:len(c)-43] },
		"neither":               func(c string) string { return c[:len(c)-44] },
		"a statement as bewijs": func(c string) string { return c[:len(c)-43] + c[:len(c)-44] },
	} {
		change = wrong
		got := r.do(r.ask("{}", nil))
		if got.status != 502 || got.header.Get(edge.HeaderErrorCode) != CodeKwitantie || strings.Contains(got.body, "values") {
			t.Errorf("%s: answer %d %s, want 502", name, got.status, got.body)
		}
	}
}

func TestOutwayRefusesWithoutKwitantie(t *testing.T) {
	change := func(f func(*verklaring.Kwitantie)) func(*rig) { return func(r *rig) { r.receipt = f } }
	header := func(f func(h http.Header)) func(*rig) {
		return func(r *rig) {
			r.answer = func(w http.ResponseWriter, req *http.Request) {
				f(w.Header())
				_, _ = io.WriteString(w, "values")
			}
		}
	}
	status := func(code int) func(*rig) {
		return func(r *rig) {
			r.answer = func(w http.ResponseWriter, req *http.Request) {
				w.Header().Del(edge.HeaderKwitantie)
				w.WriteHeader(code)
				_, _ = io.WriteString(w, "values")
			}
		}
	}
	for _, tt := range []struct {
		name string
		prep func(*rig)
		want string // in the answer
	}{
		{"none", header(func(h http.Header) { h.Del(edge.HeaderKwitantie) }), "missing"},
		{"empty", header(func(h http.Header) { h.Set(edge.HeaderKwitantie, "") }), "missing"},
		{"two", header(func(h http.Header) { h.Add(edge.HeaderKwitantie, h.Get(edge.HeaderKwitantie)) }), "once"},
		{"as a trailer", header(func(h http.Header) {
			h.Set(http.TrailerPrefix+edge.HeaderKwitantie, h.Get(edge.HeaderKwitantie))
			h.Del(edge.HeaderKwitantie)
		}), "missing"},
		{"none at 201", status(201), "missing"},
		{"none at 206", status(206), "missing"},
		{"none at 299", status(299), "missing"},
		{"none without a body", func(r *rig) {
			r.answer = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Del(edge.HeaderKwitantie)
				w.WriteHeader(204)
			}
		}, "missing"},
		{"not a JWS", header(func(h http.Header) { h.Set(edge.HeaderKwitantie, "x") }), "kwitantie"},
		{"of another transaction", change(func(k *verklaring.Kwitantie) { k.Transactie = gateway.NewTransactionID(time.Now()) }), "jti"},
		{"of another grant", change(func(k *verklaring.Kwitantie) { k.GrantHash = "$1$3$x" }), "gth"},
		{"of another purpose", change(func(k *verklaring.Kwitantie) { k.Doel = "pw-uitkering" }), "doel"},
		{"for another asker", change(func(k *verklaring.Kwitantie) { k.Audience = almelo }), "aud"},
		{"of another peer", change(func(k *verklaring.Kwitantie) { k.Issuer = almelo }), "iss"},
		{"that denies", change(func(k *verklaring.Kwitantie) { k.Besluit = false }), "besluit"},
		{"of later", change(func(k *verklaring.Kwitantie) { k.IssuedAt = time.Now().Add(2 * time.Minute) }), "iat"},
		{"of before", change(func(k *verklaring.Kwitantie) { k.IssuedAt = time.Now().Add(-2 * time.Minute) }), "iat"},
		{"signed by another peer", func(r *rig) { r.provider = newSigner(r.t, almelo) }, "iss"},
		{"signed by ourselves", func(r *rig) { r.provider = r.signer }, "iss"},
		{"under a certificate that was revoked", func(r *rig) { r.revoked = true }, "x5c"},
		{"over another content", func(r *rig) {
			r.answer = func(w http.ResponseWriter, req *http.Request) {
				head, rest, _ := strings.Cut(w.Header().Get(edge.HeaderKwitantie), ".")
				payload, signature, _ := strings.Cut(rest, ".")
				claims, err := base64.RawURLEncoding.DecodeString(payload)
				must(r.t, err)
				more := strings.Replace(string(claims), `"aantal":1`, `"aantal":2`, 1)
				w.Header().Set(edge.HeaderKwitantie, head+"."+base64.RawURLEncoding.EncodeToString([]byte(more))+"."+signature)
				_, _ = io.WriteString(w, "values")
			}
		}, "signature"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			tt.prep(r)
			got := r.do(r.ask("{}", nil))
			if got.status != 502 || got.header.Get(edge.HeaderErrorCode) != CodeKwitantie || !strings.Contains(got.body, tt.want) {
				t.Errorf("answer %d %s, want 502 %s with %q", got.status, got.body, CodeKwitantie, tt.want)
			}
			if strings.Contains(got.body, "values") || got.header.Get(edge.HeaderKwitantie) != "" || got.header.Get(edge.HeaderVerstuurd) != "" {
				t.Errorf("something of the answer is passed on: %+v", got)
			}
			if diff := cmp.Diff(counts{audit.ADL: 1, audit.Transactie: 1, audit.Afloop: 1}, r.counts()); diff != "" {
				t.Errorf("records -want +got\n%s", diff)
			}
			if end := r.last(audit.Afloop); end["fout"] != CodeKwitantie || end["status"] != 502.0 {
				t.Errorf("afloop %v", end)
			}
		})
	}
}

// Only what was verified leaves with a kwitantie on it.
func TestOutwayTakesOffWhatItDidNotVerify(t *testing.T) {
	t.Run("a refusal", func(t *testing.T) {
		r := newRig(t)
		r.answer = func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "no")
		}
		if got := r.do(r.ask("{}", nil)); got.status != 403 || got.body != "no" || got.header.Get(edge.HeaderKwitantie) != "" {
			t.Errorf("answer %+v", got)
		}
	})
	t.Run("an answer without a purpose", func(t *testing.T) {
		r := newRig(t)
		r.answer = func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set(edge.HeaderKwitantie, r.kwitantie(req.Header))
			_, _ = io.WriteString(w, "ok")
		}
		got := r.do(r.ask("", func(req *http.Request) { req.Header.Set(edge.HeaderGrantHash, string(r.unbound.Hash)) }))
		if got.status != 200 || got.header.Get(edge.HeaderKwitantie) != "" || r.counts()[audit.Kwitantie] != 0 {
			t.Errorf("answer %+v, records %v", got, r.counts())
		}
	})
}

func TestOutwayPassesNothingOnWithoutTheRecord(t *testing.T) {
	for _, kept := range []bool{false, true} {
		t.Run(fmt.Sprintf("kept %v", kept), func(t *testing.T) {
			r := newRig(t)
			fail := func(rec audit.Record) error {
				if rec.Soort == audit.Kwitantie {
					return errors.New("disk full")
				}
				return nil
			}
			if r.log.Fail = fail; kept {
				r.log.Fail, r.log.FailPersisted = nil, fail
			}
			got := r.do(r.ask("{}", nil))
			if got.status != 500 || got.header.Get(edge.HeaderErrorCode) != audit.WriteError || strings.Contains(got.body, "ok") || got.header.Get(edge.HeaderKwitantie) != "" {
				t.Errorf("answer %d %s", got.status, got.body)
			}
			if end := r.last(audit.Afloop); end["uitkomst"] != audit.Mislukt || end["fout"] != audit.WriteError {
				t.Errorf("afloop %v", end)
			}
		})
	}
}

// What was answered is on record, also when the caller left while it came in.
func TestOutwayKeepsTheKwitantieOfAHangUp(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.outway.Fault = func(step string) {
		if step == StepAnswered {
			cancel()
		}
	}
	func() {
		defer func() { _ = recover() }() // an answer that broke off
		r.outway.ServeHTTP(httptest.NewRecorder(), r.ask("{}", func(req *http.Request) { *req = *req.WithContext(ctx) }))
	}()
	if n := r.counts()[audit.Kwitantie]; n != 1 {
		t.Errorf("%d kwitanties on record, want 1", n)
	}
}

func TestOutwayGround(t *testing.T) {
	for _, tt := range []struct {
		header []string
		status int
		want   any
	}{
		{nil, 200, nil},
		{[]string{"verhuizing"}, 200, "verhuizing"},
		{[]string{"nieuwsgierig"}, 400, nil},
		{[]string{"zaak", "groep"}, 400, nil},
	} {
		r := newRig(t)
		got := r.do(r.ask("{}", func(req *http.Request) { req.Header[edge.HeaderGrond] = tt.header }))
		if got.status != tt.status || strings.Contains(got.body, "nieuwsgierig") {
			t.Errorf("%v: answer %d %s, want %d", tt.header, got.status, got.body, tt.status)
		}
		if tt.status != 200 {
			if len(r.sent()) != 0 {
				t.Errorf("%v: sent", tt.header)
			}
			continue
		}
		a := r.sent()[0]
		if a.header.Get(edge.HeaderGrond) != "" {
			t.Errorf("%v: the local header went out", tt.header)
		}
		v, _, err := verklaring.Parse(a.header.Get(edge.HeaderVerklaring))
		must(t, err)
		body, _ := r.last(audit.ADL)["body"].(map[string]any)
		request, _ := body["adl.core.request"].(map[string]any)
		asked, _ := request["context"].(map[string]any)
		if want, _ := tt.want.(string); asked["grond"] != tt.want || string(v.Grond) != want {
			t.Errorf("%v: record %v, verklaring %q, want %v", tt.header, asked["grond"], v.Grond, tt.want)
		}
	}
}

func BenchmarkReceipt(b *testing.B) {
	r := newRig(b)
	id := gateway.NewTransactionID(time.Now())
	x := &exchange{Handler: r.outway, grant: r.bound, id: id, start: time.Now()}
	compact := r.kwitantie(http.Header{edge.HeaderTransaction: {string(id)}})
	for b.Loop() {
		if _, _, err := x.verifyReceipt([]string{compact}); err != nil {
			b.Fatal(err)
		}
	}
}
