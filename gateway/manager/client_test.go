package manager

import (
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/jose"
)

// provider is a manager at Borne of which the test writes the answers to /token; its JWKS is true.
func provider(t *testing.T) (r *region, g gateway.Grant, answer *atomic.Pointer[func(http.ResponseWriter)], asked *atomic.Int32) {
	t.Helper()
	r = newRegion(t, nil, borne, uwi, derde)
	answer, asked = &atomic.Pointer[func(http.ResponseWriter)]{}, &atomic.Int32{}
	b := r.peers[borne]
	b.inner = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/v1/token" {
			asked.Add(1)
			(*answer.Load())(w)
			return
		}
		raw, err := jose.JWKS(b.ident.Chain())
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(raw)
	})
	b.start(false)
	return r, r.content(withProperties(r.connection(uwi, borne), `{"proef":1}`)).ConnectionGrants()[0], answer, asked
}

// mint makes a token as Borne's manager would, but for what change alters.
func (r *region) mint(g gateway.Grant, s *jose.Signer, change func(*accesstoken.Claims)) string {
	r.t.Helper()
	claims := accesstoken.For(g, accesstoken.Terms{
		Group: group, Audience: r.addrs[borne], Cnf: jose.Thumbprint(r.peers[uwi].ident.Cert()), Now: r.clock.now(), TTL: time.Minute,
	})
	change(&claims)
	compact, err := accesstoken.Mint(s, claims)
	must(r.t, err)
	return compact
}

func send(status int, v any) *func(http.ResponseWriter) {
	f := func(w http.ResponseWriter) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	return &f
}

func TestTokenClient(t *testing.T) {
	r, g, answer, asked := provider(t)
	b, u := r.peers[borne], r.peers[uwi]
	unchanged := func(*accesstoken.Claims) {}
	fresh := func() { answer.Store(send(200, tokenAnswer{r.mint(g, b.signer(), unchanged), "Bearer"})) }
	fresh()
	client := u.tokens()
	get := func(t *testing.T, wantAsked int32) string {
		t.Helper()
		compact, claims, err := client.Token(t.Context(), g)
		must(t, err)
		if claims.GrantHash != g.Hash || asked.Load() != wantAsked {
			t.Fatalf("grant %s, asked %d times, want %d", claims.GrantHash, asked.Load(), wantAsked)
		}
		return compact
	}
	t.Run("many at once fetch one", func(t *testing.T) {
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, _, err := client.Token(t.Context(), g); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if asked.Load() != 1 {
			t.Errorf("asked %d times", asked.Load())
		}
	})
	first := get(t, 1)
	t.Run("kept until shortly before its end", func(t *testing.T) {
		r.clock.advance(time.Minute - spare - 5*time.Second)
		if got := get(t, 1); got != first {
			t.Error("another token")
		}
		r.clock.advance(6 * time.Second)
		fresh()
		if got := get(t, 2); got == first {
			t.Error("the token is about to end and still in use")
		}
	})
	t.Run("dropped", func(t *testing.T) {
		client.Drop(g)
		get(t, 3)
	})
	t.Run("dropped while it is fetched", func(t *testing.T) {
		client.Drop(g)
		inner := *answer.Load()
		during := func(w http.ResponseWriter) { client.Drop(g); inner(w) }
		answer.Store(&during)
		get(t, 4)
		fresh()
		get(t, 5) // the one of before was not kept
	})
	t.Run("bound to the certificate of before", func(t *testing.T) {
		u.issue(certs.Request{ReuseKey: true})
		fresh()
		get(t, 6)
	})
}

func TestTokenClientRefuses(t *testing.T) {
	r, g, answer, _ := provider(t)
	b, u, d := r.peers[borne], r.peers[uwi], r.peers[derde]
	try := func(t *testing.T, kind gateway.Kind, want string) {
		t.Helper()
		client := u.tokens()
		_, _, err := client.Token(t.Context(), g)
		wantError(t, err, kind, want)
		if _, kept := client.held(g.Hash); kept {
			t.Error("it is kept")
		}
	}
	for want, change := range map[string]func(*accesstoken.Claims){
		"gth:":      func(c *accesstoken.Claims) { c.GrantHash = "$1$3$x" },
		"gid:":      func(c *accesstoken.Claims) { c.GroupID = "another" },
		"sub, act:": func(c *accesstoken.Claims) { c.Subject = derde },
		"iss, svc":  func(c *accesstoken.Claims) { c.Issuer = derde },
		"svc, pdi":  func(c *accesstoken.Claims) { c.Service = "iets-anders" },
		"cnf:":      func(c *accesstoken.Claims) { c.Cnf = jose.Thumbprint(d.ident.Cert()) },
		"exp:": func(c *accesstoken.Claims) {
			c.NotBefore, c.Expires = c.NotBefore.Add(-2*time.Minute), c.NotBefore.Add(-time.Minute)
		},
		"nbf:": func(c *accesstoken.Claims) {
			c.NotBefore, c.Expires = c.NotBefore.Add(time.Hour), c.NotBefore.Add(time.Hour+time.Minute)
		},
		"aud:": func(c *accesstoken.Claims) { c.Audience = "https://localhost:22" },
		"prp:": func(c *accesstoken.Claims) { c.Prp = json.RawMessage(`{"proef":2}`) },
	} {
		t.Run(want, func(t *testing.T) {
			answer.Store(send(200, tokenAnswer{r.mint(g, b.signer(), change), "bearer"}))
			try(t, gateway.Denied, want)
		})
	}
	t.Run("signed by another peer", func(t *testing.T) {
		answer.Store(send(200, tokenAnswer{r.mint(g, d.signer(), func(*accesstoken.Claims) {}), "bearer"}))
		try(t, gateway.Denied, "publishes no certificate")
	})
	t.Run("signed by nobody", func(t *testing.T) {
		good := r.mint(g, b.signer(), func(*accesstoken.Claims) {})
		answer.Store(send(200, tokenAnswer{good[:len(good)-10] + "AAAAAAAAAA", "bearer"}))
		try(t, gateway.Denied, "signature")
	})
	for name, tt := range map[string]struct {
		status int
		body   any
		kind   gateway.Kind
		want   string
	}{
		"refused":             {400, tokenError{invalidGrant, "the contract is gone\x00"}, gateway.Denied, "invalid_grant: the contract is gone'"},
		"refused as a peer":   {400, map[string]string{"code": "ERROR_CODE_PEER_CERTIFICATE_VERIFICATION_FAILED"}, gateway.Denied, "PEER_CERTIFICATE"},
		"refused in no form":  {400, "<script>", gateway.Denied, "status 400"},
		"down":                {503, "x", gateway.Unavailable, "status 503"},
		"elsewhere":           {302, "x", gateway.Unavailable, "status 302"},
		"another token type":  {200, tokenAnswer{"x", "mac"}, gateway.Denied, "token_type"},
		"no token":            {200, tokenAnswer{"", "bearer"}, gateway.Denied, "missing"},
		"not a token":         {200, tokenAnswer{"a.b.c", "bearer"}, gateway.Denied, "access token"},
		"not JSON for object": {200, "x", gateway.Denied, "answer of peer"},
		"too much":            {200, make([]byte, maxAnswer), gateway.Unavailable, "answers more than"},
	} {
		t.Run(name, func(t *testing.T) {
			answer.Store(send(tt.status, tt.body))
			try(t, tt.kind, tt.want)
		})
	}
	t.Run("not there", func(t *testing.T) {
		b.stop()
		try(t, gateway.Unavailable, "manager of peer")
	})
	t.Run("another peer at that address", func(t *testing.T) {
		r.addrs[borne], r.addrs[derde] = r.addrs[derde], r.addrs[borne]
		d.inner = b.inner
		r.addrs[derde] = r.addrs[borne]
		d.start(false)
		try(t, gateway.Denied, "server is peer "+string(derde))
	})
}
