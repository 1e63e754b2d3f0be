package manager

import (
	"bytes"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/jose"
)

// A peer may say where its manager is, and so have us look there. What we find is not for it to know: a closed port, a listener of
// another kind and another peer's listener give the same answer, byte for byte.
func TestAnnouncedAddressIsNoScanner(t *testing.T) {
	r := newRegion(t, nil, borne, uwi, derde)
	follower(r.peers[borne], borne)
	b, u := r.peers[borne].start(false), r.peers[uwi]
	r.peers[derde].start(false)
	mute, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // hangs up on whoever calls
	must(t, err)
	defer mute.Close()
	go func() {
		for {
			conn, err := mute.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	var first []byte
	for name, address := range map[string]string{
		"nobody listens": r.addrs[uwi], "another peer listens": r.addrs[derde], "a port that the group has not": "https://" + mute.Addr().String(),
	} {
		must(t, b.store.Announce(t.Context(), contract.KnownPeer{Peer: gateway.Peer{ID: uwi, Name: names[uwi]}, Address: address}, r.clock.now()))
		c := r.content(r.connection(uwi, borne))
		jws, err := contract.Sign(r.peers[derde].signer(), c.Hash(), contract.Accept, r.clock.now()) // any thumbprint that is not the connection's
		must(t, err)
		body := []byte(`{"content":` + string(c.Raw) + `,"signature":"` + jws + `"}`)
		got, raw := u.call(borne, http.MethodPost, "/v1/contracts", "application/json", body)
		wantAnswer(t, got, http.StatusServiceUnavailable, codeUnavailable)
		if first == nil {
			first = raw
		}
		if !bytes.Equal(raw, first) {
			t.Errorf("%s: got %s, elsewhere %s", name, raw, first)
		}
	}
}

// What ended stays ended: the same content, written in another way, proposed again by either side, has the same hash and the same no.
func TestRevokedContentProposedAgain(t *testing.T) {
	r := suite(t)
	b, u := r.peers[borne], r.peers[uwi]
	c := r.content(r.connection(uwi, borne))
	wantAnswer(t, u.submit(borne, c, u.sign(c, contract.Accept)), http.StatusCreated, "")
	must(t, b.m.Accept(t.Context(), c.Hash(), "m1.test"))
	if _, err := b.m.Grant(t.Context(), c.GrantHashes()[0]); err != nil {
		t.Fatal(err)
	}
	must(t, b.m.Revoke(t.Context(), c.Hash(), "m1.test"))
	again, err := contract.ParseContent(bytes.Replace(c.Raw, []byte(`{`), []byte("{\n \t"), 1))
	must(t, err)
	if again.Hash() != c.Hash() || bytes.Equal(again.Raw, c.Raw) {
		t.Fatal("the test shows nothing: want the same content in other bytes")
	}
	r.clock.advance(time.Minute)
	u.submit(borne, again, u.sign(again, contract.Accept))
	u.put(borne, again.Hash(), contract.Accept, again, u.sign(again, contract.Accept))
	if err := b.m.Accept(t.Context(), c.Hash(), "m1.test"); gateway.KindOf(err) != gateway.Conflict {
		t.Errorf("accepted again: got %v, want a conflict", err)
	}
	if got := b.state(c.Hash()); got != contract.Revoked {
		t.Errorf("state: got %s, want %s", got, contract.Revoked)
	}
	if g, err := b.m.Grant(t.Context(), c.GrantHashes()[0]); gateway.KindOf(err) != gateway.NotFound {
		t.Errorf("grant: got %v %v, want none", g.Hash, err)
	}
}

// Accepts and a revoke that arrive at the same time end in the revoke.
func TestRevokeWinsEveryRace(t *testing.T) {
	r := suite(t)
	b, u := r.peers[borne], r.peers[uwi]
	for range 5 {
		c := r.content(r.connection(uwi, borne))
		accept, revoke := u.sign(c, contract.Accept), u.sign(c, contract.Revoke)
		wantAnswer(t, u.submit(borne, c, accept), http.StatusCreated, "")
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				switch i {
				case 0:
					u.put(borne, c.Hash(), contract.Revoke, c, revoke)
				case 1:
					_ = b.m.Accept(t.Context(), c.Hash(), "m1.test")
				default:
					u.put(borne, c.Hash(), contract.Accept, c, accept)
				}
			})
		}
		all.Wait()
		if got := b.state(c.Hash()); got != contract.Revoked {
			t.Errorf("state: got %s, want %s", got, contract.Revoked)
		}
		if _, err := b.m.Grant(t.Context(), c.GrantHashes()[0]); gateway.KindOf(err) != gateway.NotFound {
			t.Errorf("grant: got %v, want none", err)
		}
	}
}

// Nothing else that a peer signs passes for its signature on a contract: another payload, or more than the payload.
func TestOtherSignedThingsAreNoSignature(t *testing.T) {
	r := suite(t)
	b, u := r.peers[borne], r.peers[uwi]
	c := r.content(r.connection(uwi, borne))
	g := c.ConnectionGrants()[0]
	g.ServicePeer = uwi
	token, err := accesstoken.Mint(u.signer(), accesstoken.For(g, accesstoken.Terms{
		Group: group, Audience: r.addrs[uwi], Cnf: jose.Thumbprint(u.ident.Cert()), Now: r.clock.now(), TTL: time.Minute,
	}))
	must(t, err)
	hash := `"contract_content_hash":"` + string(c.Hash()) + `","type":"accept","signed_at":` + itoa(r.clock.now().Unix())
	for name, payload := range map[string]string{
		"with claims of a token beside":       `{` + hash + `,"iss":"x"}`,
		"a type in capitals":                  `{` + hash[:len(hash)-1] + `0,"Type":"revoke"}`,
		"the type twice":                      `{` + hash + `,"type":"revoke"}`,
		"signed at a moment as text":          `{"contract_content_hash":"` + string(c.Hash()) + `","type":"accept","signed_at":"1"}`,
		"without a moment":                    `{"contract_content_hash":"` + string(c.Hash()) + `","type":"accept"}`,
		"of no type":                          `{"contract_content_hash":"` + string(c.Hash()) + `","signed_at":1}`,
		"the hash of a grant of the contract": `{"contract_content_hash":"` + string(c.GrantHashes()[0]) + `","type":"accept","signed_at":1}`,
	} {
		jws, err := jose.Sign(u.signer(), []byte(payload), jose.Header{})
		must(t, err)
		if got := u.submit(borne, c, jws); got.Status != http.StatusUnprocessableEntity {
			t.Errorf("%s: got %d %s, want 422", name, got.Status, got.Code)
		}
	}
	if got := u.submit(borne, c, token); got.Status != http.StatusUnprocessableEntity {
		t.Errorf("an access token: got %d %s, want 422", got.Status, got.Code)
	}
	if got := b.state(c.Hash()); got != "" {
		t.Errorf("it was stored: %s", got)
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
