package inway

import (
	"crypto"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
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

// kwitantie verifies that of an answer, as the asker's outway does.
func (r *rig) kwitantie(g gateway.Grant, a answer) (*verklaring.Kwitantie, error) {
	r.t.Helper()
	values := a.header.Values(edge.HeaderKwitantie)
	if len(values) > 1 {
		r.t.Errorf("%d kwitanties", len(values))
	}
	return verklaring.ExpectKwitantie{
		Audience: uwi, Grant: g, Transactie: a.id, Now: r.now(), Skew: Skew,
		VerifyChain: func(chain []*x509.Certificate, _ time.Time) (gateway.Peer, error) { return gateway.PeerFrom(chain[0]) },
	}.Verify(a.header.Get(edge.HeaderKwitantie))
}

// behindURL puts the service in another process.
func (r *rig) behindURL(name gateway.ServiceName, bound bool, h http.HandlerFunc) {
	r.t.Helper()
	srv := httptest.NewServer(h)
	r.t.Cleanup(srv.Close)
	base, err := url.Parse(srv.URL)
	must(r.t, err)
	r.inway.Services[name] = Service{URL: base, Doelbinding: &bound}
}

// The asker who says that it has the sleutelbewijs gets its digest, from a service that signs and from one that doesn't; who says nothing, or
// something else, gets the whole.
func TestInwayShortensTheKwitantie(t *testing.T) {
	r := newRig(t)
	r.behindURL("clientgegevens", true, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get(edge.HeaderSleutel) != "" {
			t.Error("the service sees what the asker said to the inway")
		}
		_, _ = io.WriteString(w, "ok")
	})
	own := func(w http.ResponseWriter, req *http.Request) {
		compact, err := verklaring.SignKwitantie(r.inway.Sign, verklaring.Kwitantie{
			Issuer: borne, Audience: uwi, Transactie: gateway.TransactionID(req.Header.Get(edge.HeaderTransaction)), GrantHash: r.bound.Hash,
			Doel: r.bound.Properties.Doel, Besluit: true, IssuedAt: r.now(),
		})
		must(t, err)
		w.Header().Set(edge.HeaderKwitantie, compact)
		_, _ = io.WriteString(w, "ok")
	}
	for range 2 {
		whole := r.do(call{})
		if _, err := r.kwitantie(r.bound, whole); err != nil {
			t.Fatal(err)
		}
		_, bewijs, _ := strings.Cut(whole.header.Get(edge.HeaderKwitantie), "~")
		digest := verklaring.Digest([]byte(bewijs))
		for said, want := range map[string]string{
			digest: digest, "x," + digest: digest, "": bewijs, "x": bewijs, digest[:42]: bewijs, strings.Repeat("x,", 300) + digest: bewijs,
		} {
			got := r.do(call{change: func(req *http.Request) { req.Header.Set(edge.HeaderSleutel, said) }})
			if _, came, _ := strings.Cut(got.header.Get(edge.HeaderKwitantie), "~"); got.status != 200 || came != want {
				t.Errorf("to who has %.60q: %d with %.60q, want %.60q", said, got.status, came, want)
			}
		}
		twice := r.do(call{change: func(req *http.Request) { req.Header[edge.HeaderSleutel] = []string{digest, digest} }})
		if twice.status != 400 {
			t.Errorf("said twice: %d, want 400", twice.status)
		}
		r.inway.Services["clientgegevens"] = Service{Handler: http.HandlerFunc(own)}
	}
}

func TestInwaySignsForAServiceThatDoesNot(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	flushed := func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "late")
	}
	early := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "ok")
	}
	forged := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(edge.HeaderKwitantie, "forged")
		_, _ = io.WriteString(w, "ok")
	}
	for name, h := range map[string]http.HandlerFunc{
		"writes": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }, "says nothing": func(http.ResponseWriter, *http.Request) {},
		"created": status(201), "no content": status(204), "flushes": flushed, "early hints": early,
	} {
		for _, remote := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				r := newRig(t)
				if remote {
					r.behindURL(client, true, h)
				} else {
					r.service = h
				}
				k, err := r.kwitantie(r.bound, r.do(call{}))
				if err != nil {
					t.Fatalf("remote %v: %v", remote, err)
				}
				want := verklaring.Kwitantie{
					Issuer: borne, Audience: uwi, Transactie: k.Transactie, GrantHash: r.bound.Hash, Doel: doel, Besluit: true, IssuedAt: k.IssuedAt,
				}
				if diff := cmp.Diff(want, *k); diff != "" {
					t.Errorf("remote %v: -want +got\n%s", remote, diff)
				}
			})
		}
	}
	t.Run("what a service behind a URL sets is not the peer's word", func(t *testing.T) {
		r := newRig(t)
		r.behindURL(client, true, forged)
		if _, err := r.kwitantie(r.bound, r.do(call{})); err != nil {
			t.Error(err)
		}
	})
	t.Run("what a service in this process signs passes unaltered", func(t *testing.T) {
		r := newRig(t)
		r.service = forged
		if got := r.do(call{}); got.status != 200 || cmp.Diff([]string{"forged"}, got.header.Values(edge.HeaderKwitantie)) != "" {
			t.Errorf("answer %+v", got)
		}
	})
	t.Run("none without a purpose", func(t *testing.T) {
		r := newRig(t)
		r.service = forged
		if got := r.do(call{grant: &r.unbound, path: "/plain"}); got.status != 200 || got.header.Get(edge.HeaderKwitantie) != "" {
			t.Errorf("in this process: answer %+v", got)
		}
		r.behindURL(plain, false, forged)
		if got := r.do(call{grant: &r.unbound, path: "/plain"}); got.status != 200 || got.header.Get(edge.HeaderKwitantie) != "" {
			t.Errorf("behind a URL: answer %+v", got)
		}
	})
	t.Run("none on what is no answer", func(t *testing.T) {
		for _, remote := range []bool{false, true} {
			for _, code := range []int{304, 403, 500} {
				r := newRig(t)
				h := func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set(edge.HeaderKwitantie, "forged")
					w.WriteHeader(code)
				}
				if r.service = h; remote {
					r.behindURL(client, true, h)
				}
				if got := r.do(call{}); got.status != code || got.header.Get(edge.HeaderKwitantie) != "" {
					t.Errorf("remote %v: answer %+v, want %d", remote, got, code)
				}
			}
		}
	})
}

// sealed is a key that can't sign now, as one that lives elsewhere.
type sealed struct{ crypto.Signer }

func (sealed) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the vault is sealed")
}

func TestInwayNoAnswerWithoutKwitantie(t *testing.T) {
	h := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "6")
		w.Header().Set("Secret", "x")
		_, _ = io.WriteString(w, "values")
		_ = http.NewResponseController(w).Flush()
	}
	for name, h := range map[string]http.HandlerFunc{"writes": h, "says nothing": func(http.ResponseWriter, *http.Request) {}} {
		for _, remote := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				r := newRig(t)
				if r.service = h; remote {
					r.behindURL(client, true, h)
				}
				r.inway.Sign = signs(&jose.Signer{Key: sealed{r.borne.signer.Key}, Cert: r.borne.signer.Cert}, verklaring.VoorKwitantie, r.now)
				got := r.do(call{})
				if got.status != 500 || got.header.Get(edge.HeaderErrorCode) != CodeKwitantie || got.header.Get("Secret") != "" ||
					strings.Contains(got.body, "values") || strings.Contains(got.body, "vault") {
					t.Errorf("remote %v: answer %+v", remote, got)
				}
				if end := r.last(audit.Afloop); end["uitkomst"] != audit.Mislukt || end["fout"] != CodeKwitantie {
					t.Errorf("remote %v: afloop %v", remote, end)
				}
			})
		}
	}
}

func TestInwayRecordsTheGround(t *testing.T) {
	r := newRig(t)
	if got := r.do(call{verklaring: func(v *verklaring.Verklaring) { v.Grond = gateway.GrondVerhuizing }}); got.status != 200 {
		t.Fatalf("answer %+v", got)
	}
	if got := grond(t, r.last(audit.ADL)); got != "verhuizing" {
		t.Errorf("grond %v", got)
	}
	r.do(call{})
	if got := grond(t, r.last(audit.ADL)); got != nil {
		t.Errorf("a ground that nobody gave is on record: %v", got)
	}
}

func grond(t *testing.T, adl map[string]any) any {
	t.Helper()
	body, _ := adl["body"].(map[string]any)
	request, _ := body["adl.core.request"].(map[string]any)
	ctx, ok := request["context"].(map[string]any)
	if !ok {
		t.Fatalf("no context in %v", adl)
	}
	return ctx["grond"]
}
