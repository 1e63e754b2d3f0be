package manager

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/jose"
)

func TestNewRefuses(t *testing.T) {
	r := newRegion(t, nil, borne)
	var good Options
	r.peers[borne].options = func(o *Options) { good = *o }
	r.peers[borne].start(false)
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"are required":    func(o *Options) { o.CheckProperties = nil },
		"tokenTTL":        func(o *Options) { o.TokenTTL = MaxTokenTTL + 1 },
		"retryStart":      func(o *Options) { o.RetryStart = MaxRetry + 1 },
		"OIN":             func(o *Options) { o.Self.ID = "borne" },
		"manager.address": func(o *Options) { o.Address = "http://localhost:8443" },
		"inway.address":   func(o *Options) { o.Services = map[gateway.ServiceName]string{service: "https://localhost:1"} },
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			change(&o)
			_, err := New(o)
			wantError(t, err, gateway.Invalid, name)
		})
	}
}

func TestCheckAddress(t *testing.T) {
	rules := gateway.GroupRules{ID: group, Ports: []int{8443}}
	for address, want := range map[string]bool{
		"https://borne.example:8443": true, "https://borne.example:8443/": true, "https://127.0.0.1:8443": true, "https://[::1]:8443": true,
		"https://borne.example": false, "https://borne.example:443": false, "http://borne.example:8443": false, "borne.example:8443": false,
		"https://user@borne.example:8443": false, "https://borne.example:8443/path": false, "https://borne.example:8443?x": false,
		"https://borne.example:8443#x": false, "https://:8443": false, "": false, "https://" + strings.Repeat("a", 255) + ":8443": false,
	} {
		if err := checkAddress(address, rules); (err == nil) != want {
			t.Errorf("%q: %v, want accepted %v", address, err, want)
		}
	}
}

// The acts of our own peer, and what contradicts what.
func TestOwnActs(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b, u := r.peers[borne].start(false), r.peers[uwi]
	ctx := t.Context()
	proposedByOther := func(t *testing.T) gateway.ContentHash {
		t.Helper()
		c := r.content(r.connection(uwi, borne))
		wantAnswer(t, u.submit(borne, c, u.sign(c, contract.Accept)), http.StatusCreated, "")
		return c.Hash()
	}
	t.Run("accept, again, then revoke, again", func(t *testing.T) {
		hash := proposedByOther(t)
		before := len(b.log.Records())
		for range 2 {
			must(t, b.m.Accept(ctx, hash, "m1.test"))
		}
		wantError(t, b.m.Reject(ctx, hash, "m1.test"), gateway.Conflict, "revoke it instead")
		for range 2 {
			must(t, b.m.Revoke(ctx, hash, "m1.test"))
		}
		wantError(t, b.m.Accept(ctx, hash, "m1.test"), gateway.Conflict, "final")
		if got := len(b.log.Records()) - before; got != 2 {
			t.Errorf("%d records, want 2: doing it again is no act", got)
		}
		d, err := b.m.Show(ctx, hash)
		must(t, err)
		if len(d.Deliveries) != 2 || d.State != contract.Revoked {
			t.Errorf("state %s, deliveries %+v", d.State, d.Deliveries)
		}
	})
	t.Run("reject, then accept or revoke", func(t *testing.T) {
		hash := proposedByOther(t)
		wantError(t, b.m.Revoke(ctx, hash, "m1.test"), gateway.Conflict, "reject it instead")
		must(t, b.m.Reject(ctx, hash, "m1.test"))
		wantError(t, b.m.Accept(ctx, hash, "m1.test"), gateway.Conflict, "final")
		if got := b.state(hash); got != contract.Rejected {
			t.Errorf("state %s", got)
		}
	})
	t.Run("accept under a renewed certificate goes out again", func(t *testing.T) {
		hash := proposedByOther(t)
		must(t, b.m.Accept(ctx, hash, "m1.test"))
		r.clock.advance(time.Minute)
		b.issue(certs.Request{ReuseKey: true})
		must(t, b.m.Accept(ctx, hash, "m1.test"))
		rec, err := b.store.Contract(ctx, hash)
		must(t, err)
		if sig, _ := rec.Of(borne, contract.Accept); sig.X5T != jose.Thumbprint(b.ident.Cert()) {
			t.Error("the signature is still that of the certificate of before")
		}
		_, raw := u.call(borne, http.MethodGet, "/v1/.well-known/jwks.json", "", nil)
		keys, err := jose.ParseJWKS(raw)
		must(t, err)
		if len(keys) != 2 { // other contracts still stand on the certificate of before
			t.Errorf("%d keys published, want 2", len(keys))
		}
	})
	t.Run("an ended contract", func(t *testing.T) {
		hash := proposedByOther(t)
		r.clock.advance(29*24*time.Hour + 23*time.Hour)
		must(t, certs.CRL(r.pki, certs.DefaultCRLNext))
		must(t, b.group.Reload())
		r.clock.advance(2 * time.Hour)
		wantError(t, b.m.Accept(ctx, hash, "m1.test"), gateway.Conflict, "has ended")
	})
	for name, act := range map[string]func(context.Context, gateway.ContentHash, string) error{"Accept": b.m.Accept, "Reject": b.m.Reject, "Revoke": b.m.Revoke} {
		t.Run(name+" of what is not there", func(t *testing.T) { wantError(t, act(ctx, "$1$1$x", "m1.test"), gateway.NotFound, "no such") })
	}
	for name, tt := range map[string]struct {
		grant contract.GrantData
		want  string
	}{
		"as no party":        {r.connection(uwi, uwi), "names this peer"},
		"to a peer unknown":  {r.connection(borne, derde), "add it to peers"},
		"without an address": {contract.GrantData{Type: "x"}, "one of the four"},
	} {
		t.Run("propose "+name, func(t *testing.T) {
			_, err := b.m.Propose(ctx, r.newContent(tt.grant), "m1.test")
			wantError(t, err, gateway.Invalid, tt.want)
		})
	}
	t.Run("show what is not there", func(t *testing.T) {
		_, err := b.m.Show(ctx, "$1$1$x")
		wantError(t, err, gateway.NotFound, "no such")
	})
}

// A grant whose purpose is not what this peer knows it to be is neither proposed nor accepted; Show says why.
func TestCheckProperties(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b, u := r.peers[borne], r.peers[uwi]
	ours := strings.Repeat("A", 43)
	b.options = func(o *Options) {
		o.CheckProperties = func(g gateway.Grant) error {
			if g.Properties.DoelDigest != ours {
				return gateway.Errorf(gateway.Invalid, "properties.doelDigest: is not that of %s in our catalogue", g.Properties.Doel)
			}
			return nil
		}
	}
	b.start(false)
	bound := func(digest string) contract.GrantData {
		raw, err := contract.Properties(gateway.Properties{
			Doel: "pw-reintegratie", DoelVersie: 1, DoelDigest: digest, Velden: gateway.Velden{"uitkering": {"loopt"}}, NamensCollege: borne,
		})
		must(t, err)
		return withProperties(r.connection(uwi, borne), string(raw))
	}
	altered := r.content(bound(strings.Repeat("B", 42) + "A"))
	wantAnswer(t, u.submit(borne, altered, u.sign(altered, contract.Accept)), http.StatusCreated, "") // to be looked at, and refused
	wantError(t, b.m.Accept(t.Context(), altered.Hash(), "m1.test"), gateway.Invalid, "properties.doelDigest")
	if got := b.state(altered.Hash()); got != contract.Proposed {
		t.Errorf("state %s", got)
	}
	d, err := b.m.Show(t.Context(), altered.Hash())
	must(t, err)
	if !strings.Contains(d.Objection, "properties.doelDigest") {
		t.Errorf("objection %q", d.Objection)
	}
	must(t, b.m.Reject(t.Context(), altered.Hash(), "m1.test"))
	_, err = b.m.Propose(t.Context(), r.newContent(bound(strings.Repeat("B", 42)+"A")), "m1.test")
	wantError(t, err, gateway.Invalid, "properties.doelDigest")

	good := r.content(bound(ours))
	wantAnswer(t, u.submit(borne, good, u.sign(good, contract.Accept)), http.StatusCreated, "")
	must(t, b.m.Accept(t.Context(), good.Hash(), "m1.test"))
	g, err := b.m.Grant(t.Context(), good.GrantHashes()[0])
	must(t, err)
	if g.Properties.Doel != "pw-reintegratie" || g.Richting() != gateway.Namens {
		t.Errorf("grant %+v", g)
	}
}

// A signature by an earlier certificate is looked up where its peer publishes it; what is not published does not count.
func TestSignatureByAnotherCertificate(t *testing.T) {
	r := newRegion(t, nil, borne, uwi, derde)
	b, u := r.peers[borne].start(false), r.peers[uwi]
	old := u.ident.Pair()
	oldSigner := &jose.Signer{Key: old.Key, Cert: old.Cert(), Chain: old.Chain[1:]}
	signOld := func(c *contract.Content) string {
		jws, err := contract.Sign(oldSigner, c.Hash(), contract.Accept, r.clock.now())
		must(t, err)
		return jws
	}
	u.issue(certs.Request{})
	first := r.content(r.connection(uwi, borne))
	wantAnswer(t, u.submit(borne, first, signOld(first)), http.StatusServiceUnavailable, "GRENSLOOS_UNAVAILABLE") // its manager is down: try again

	var published [][]byte
	u.inner = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if len(published) == 0 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write(published[0])
	})
	u.start(false)
	publish := func(chains ...*certs.Pair) {
		t.Helper()
		var raw []byte
		var err error
		switch len(chains) {
		case 1:
			raw, err = jose.JWKS(chains[0].Chain)
		case 2:
			raw, err = jose.JWKS(chains[0].Chain, chains[1].Chain)
		}
		must(t, err)
		published = [][]byte{raw}
		r.clock.advance(keysPause)
	}
	wantAnswer(t, u.submit(borne, first, signOld(first)), http.StatusServiceUnavailable, codeUnavailable)
	publish(u.ident.Pair())
	wantAnswer(t, u.submit(borne, first, signOld(first)), 422, contract.CodeSignature)
	d := r.peers[derde]
	publish(u.ident.Pair(), d.ident.Pair()) // another peer's certificate in its set does not make it its own
	wantAnswer(t, u.submit(borne, first, d.sign(first, contract.Accept)), 422, contract.CodeSignature)
	publish(u.ident.Pair(), old)
	wantAnswer(t, u.submit(borne, first, signOld(first)), http.StatusCreated, "")
	must(t, certs.Revoke(r.pki, old.Cert().SerialNumber.Text(16)))
	must(t, b.group.Reload())
	second := r.content(r.connection(uwi, borne))
	wantAnswer(t, u.submit(borne, second, signOld(second)), 422, contract.CodeSignature)
	if got := b.state(second.Hash()); got != "" {
		t.Errorf("a signature by a revoked certificate was stored: %s", got)
	}
}

// A signature counts for the peer whose certificate made it, whatever connection it comes over.
func TestSignatureIsItsPeers(t *testing.T) {
	r := newRegion(t, nil, borne, uwi, derde)
	b, d := r.peers[borne].start(false), r.peers[derde]
	c := r.content(r.connection(uwi, borne))
	from := caller{peer: gateway.Peer{ID: uwi, Name: names[uwi]}, chain: d.ident.Chain()}
	err := b.m.take(t.Context(), from, c, d.sign(c, contract.Accept), contract.Accept)
	wantError(t, err, gateway.Invalid, "which submits it")
	if got := gateway.CodeOf(err); got != contract.CodePeerMismatch {
		t.Errorf("code %s", got)
	}
}

// Who calls is found out before anything else, per request.
func TestCallerFirst(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b, u := r.peers[borne].start(false), r.peers[uwi]
	t.Run("without a connection of a peer nothing is read", func(t *testing.T) {
		for _, path := range []string{"/v1/peer", "/v1/contracts", "/v1/token", "/nothing"} {
			body := &watched{Reader: strings.NewReader("{}")}
			w := httptest.NewRecorder()
			b.m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, body))
			if w.Code != http.StatusBadRequest || w.Header().Get(edge.HeaderErrorCode) != contract.CodePeerCertificate || body.read {
				t.Errorf("%s: %d %s, body read %v", path, w.Code, w.Header().Get(edge.HeaderErrorCode), body.read)
			}
		}
	})
	t.Run("a certificate that is revoked while the connection is open", func(t *testing.T) {
		got, _ := u.call(borne, http.MethodGet, "/v1/peer", "", nil)
		wantAnswer(t, got, http.StatusOK, "")
		must(t, certs.Revoke(r.pki, u.ident.Cert().SerialNumber.Text(16)))
		must(t, b.group.Reload())
		got, _ = u.call(borne, http.MethodGet, "/v1/peer", "", nil)
		wantAnswer(t, got, http.StatusBadRequest, contract.CodePeerCertificate)
	})
}

type watched struct {
	io.Reader
	read bool
}

func (w *watched) Read(p []byte) (int, error) { w.read = true; return w.Reader.Read(p) }

// Bodies and headers that no honest manager sends.
func TestBadRequests(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b, u := r.peers[borne].start(false), r.peers[uwi]
	c := r.content(r.connection(uwi, borne))
	good, err := json.Marshal(signatureBody{Content: c.Raw, Signature: u.sign(c, contract.Accept)})
	must(t, err)
	replace := func(old, to string) []byte {
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("%q is not in the body", old)
		}
		return bytes.Replace(good, []byte(old), []byte(to), 1)
	}
	for _, tt := range []struct {
		name        string
		contentType string
		body        []byte
		change      func(*http.Request)
		want        answer
	}{
		{"not JSON", "application/json", []byte("hello"), nil, answer{400, "GRENSLOOS_INVALID"}},
		{"empty", "application/json", []byte{}, nil, answer{400, "GRENSLOOS_INVALID"}},
		{"another media type", "text/plain", good, nil, answer{415, edge.CodeMediaType}},
		{"too large", "application/json", replace(`"signature":"`, `"signature":"`+strings.Repeat("a", maxContractBody)), nil, answer{413, edge.CodeBodyTooLarge}},
		{"a member twice", "application/json", replace(`"signature":`, `"signature":"","signature":`), nil, answer{400, "GRENSLOOS_INVALID"}},
		{"a member twice deep inside", "application/json", replace(`"iv":`, `"iv":"x","iv":`), nil, answer{400, "GRENSLOOS_INVALID"}},
		{"an unknown member", "application/json", replace(`"signature":`, `"worker":"x","signature":`), nil, answer{400, "GRENSLOOS_INVALID"}},
		{"the body key of 1.1", "application/json", replace(`"content":`, `"contract_content":`), nil, answer{400, "GRENSLOOS_INVALID"}},
		{"an unknown member of the content", "application/json", replace(`"iv":`, `"rol":"x","iv":`), nil, answer{422, codeUnprocessable}},
		{"a wrong type", "application/json", replace(`"created_at":`, `"created_at":"`+"x"+`","x":`), nil, answer{422, codeUnprocessable}},
		{"deep nesting", "application/json", replace(`"iv":`, `"x":`+strings.Repeat("[", 50)+strings.Repeat("]", 50)+`,"iv":`), nil, answer{400, "GRENSLOOS_INVALID"}},
		{"no address", "application/json", good, func(r *http.Request) { r.Header.Del(edge.HeaderManager) }, answer{400, "GRENSLOOS_INVALID"}},
		{"two addresses", "application/json", good, func(r *http.Request) { r.Header.Add(edge.HeaderManager, "https://x:1") }, answer{400, "GRENSLOOS_INVALID"}},
		{"an address without TLS", "application/json", good, func(r *http.Request) { r.Header.Set(edge.HeaderManager, "http://localhost:8443") }, answer{400, "GRENSLOOS_INVALID"}},
		{"an address at a port that the group does not allow", "application/json", good, func(r *http.Request) { r.Header.Set(edge.HeaderManager, "https://localhost:22") }, answer{400, "GRENSLOOS_INVALID"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			change := tt.change
			if change == nil {
				change = func(*http.Request) {}
			}
			got, raw := u.call(borne, http.MethodPost, "/v1/contracts", tt.contentType, tt.body, change)
			if got != tt.want {
				t.Errorf("%v %s, want %v", got, raw, tt.want)
			}
			if b.state(c.Hash()) != "" {
				t.Error("it was stored")
			}
		})
	}
	for path, want := range map[string]answer{
		"/v1/nothing": {404, "GRENSLOOS_NOT_FOUND"}, "/": {404, "GRENSLOOS_NOT_FOUND"}, "/v1/contracts/": {404, "GRENSLOOS_NOT_FOUND"},
		"/v1/contracts/x/sign": {404, "GRENSLOOS_NOT_FOUND"}, "/v1/peer": {405, edge.CodeMethod}, "/v1/../v1/peer": {404, "GRENSLOOS_NOT_FOUND"},
	} {
		t.Run("POST "+path, func(t *testing.T) {
			if got, raw := u.call(borne, http.MethodPost, path, "application/json", nil); got != want {
				t.Errorf("%v %s, want %v", got, raw, want)
			}
		})
	}
	wantAnswer(t, u.submit(borne, c, u.sign(c, contract.Accept)), http.StatusCreated, "") // the good one still goes in
}

// Nothing that a peer sends, and no cause of ours, is repeated in an internal error.
func TestInternalErrorsSayNothing(t *testing.T) {
	m := &Manager{o: Options{Log: slog.New(slog.DiscardHandler)}}
	w := httptest.NewRecorder()
	m.fail(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/peer", nil), errDown)
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), errDown.Error()) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A peer that proposes without end is stopped before it fills the disk; what it has there already goes on.
func TestTooManyUnanswered(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b, u := r.peers[borne], r.peers[uwi]
	waiting := &crowded{}
	b.faults = func(k keeper) keeper { waiting.keeper = k; return waiting }
	b.start(false)
	c := r.content(r.connection(uwi, borne))
	wantAnswer(t, u.submit(borne, c, u.sign(c, contract.Accept)), http.StatusCreated, "")
	waiting.n = maxUnanswered
	another := r.content(r.connection(uwi, borne))
	wantAnswer(t, u.submit(borne, another, u.sign(another, contract.Accept)), http.StatusServiceUnavailable, "GRENSLOOS_UNAVAILABLE")
	if b.state(another.Hash()) != "" {
		t.Error("it was stored")
	}
	wantAnswer(t, u.put(borne, c.Hash(), contract.Revoke, c, u.sign(c, contract.Revoke)), http.StatusCreated, "")
}

type crowded struct {
	keeper
	n int
}

func (c *crowded) Unanswered(context.Context, gateway.PeerID, gateway.PeerID, time.Time) (int, error) {
	return c.n, nil
}

// A port that the group does not have is refused; the group of FSC Core has 443 and 8443.
func TestPort(t *testing.T) {
	t.Run("Manager-Port-1", func(t *testing.T) {
		rules := gateway.GroupRules{ID: group, Ports: []int{443, 8443}}
		for port, want := range map[string]bool{"443": true, "8443": true, "80": false, "9443": false} {
			if err := checkAddress("https://borne.example:"+port, rules); (err == nil) != want {
				t.Errorf("%s: %v, want accepted %v", port, err, want)
			}
		}
	})
}
