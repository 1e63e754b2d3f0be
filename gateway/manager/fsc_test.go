package manager

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/jose"
)

// The tests below carry the ids of the FSC test suite (edition 2026-01-13).

// suite is a running manager at Borne, and two peers that talk to it.
func suite(t *testing.T) *region {
	t.Helper()
	r := newRegion(t, func(p *testPeer) {
		if p.id == derde {
			p.key = certs.RSA3072
		}
	}, borne, uwi, derde)
	r.peers[borne].start(false)
	return r
}

func publication(directory, from gateway.PeerID) contract.GrantData {
	return contract.GrantData{
		Type: gateway.ServicePublication, Directory: &contract.PeerRef{PeerID: directory},
		Service: contract.Service{PeerID: from, Name: service, Protocol: contract.ProtocolHTTP1},
	}
}

func delegatedConnection(g contract.GrantData, delegator gateway.PeerID) contract.GrantData {
	g.Type, g.Delegator = gateway.DelegatedServiceConnection, &contract.PeerRef{PeerID: delegator}
	return g
}

func delegatedService(g contract.GrantData, delegator gateway.PeerID) contract.GrantData {
	g.Service.Type, g.Service.Delegator = contract.ServiceTypeDelegated, &contract.PeerRef{PeerID: delegator}
	return g
}

func withProperties(g contract.GrantData, properties string) contract.GrantData {
	g.Properties = json.RawMessage(properties)
	return g
}

func wantAnswer(t *testing.T, got answer, status int, code string) {
	t.Helper()
	if got.Status != status || got.Code != code {
		t.Errorf("answer %d %s, want %d %s", got.Status, got.Code, status, code)
	}
}

func TestSubmitContract(t *testing.T) {
	r := suite(t)
	b, u, d := r.peers[borne], r.peers[uwi], r.peers[derde]
	delegatedPublication := publication(borne, uwi)
	delegatedPublication.Type, delegatedPublication.Delegator = gateway.DelegatedServicePublication, &contract.PeerRef{PeerID: derde}
	stored := func(t *testing.T, c *contract.Content, want bool) {
		t.Helper()
		if got := b.state(c.Hash()) != ""; got != want {
			t.Errorf("stored %v, want %v", got, want)
		}
	}
	for _, tt := range []struct {
		id    string
		grant contract.GrantData
	}{
		{"Manager-SubmitContract-1", r.connection(uwi, borne)},
		{"Manager-SubmitContract-2", publication(borne, uwi)},
		{"Manager-SubmitContract-3", delegatedPublication},
		{"Manager-SubmitContract-4", delegatedConnection(r.connection(uwi, borne), derde)},
		{"Manager-SubmitContract-5", delegatedService(r.connection(uwi, borne), derde)},
		{"Manager-SubmitContract-6", delegatedService(delegatedConnection(r.connection(uwi, borne), derde), derde)},
		{"Manager-SubmitContract-12", r.connection(uwi, borne)}, // uwi's key is ECDSA
	} {
		t.Run(tt.id, func(t *testing.T) {
			c := r.content(tt.grant)
			wantAnswer(t, u.submit(borne, c, u.sign(c, contract.Accept)), http.StatusCreated, "")
			stored(t, c, true)
		})
	}
	t.Run("Manager-SubmitContract-11", func(t *testing.T) { // derde's key is RSA
		c := r.content(r.connection(derde, borne))
		wantAnswer(t, d.submit(borne, c, d.sign(c, contract.Accept)), http.StatusCreated, "")
		stored(t, c, true)
	})
	t.Run("Manager-SubmitContract-7", func(t *testing.T) {
		c := r.content(r.connection(uwi, borne))
		wantAnswer(t, d.submit(borne, c, d.sign(c, contract.Accept)), 422, contract.CodeSubmitterNotParty)
		stored(t, c, false)
	})
	t.Run("the receiver is no party", func(t *testing.T) {
		c := r.content(r.connection(uwi, derde))
		wantAnswer(t, u.submit(borne, c, u.sign(c, contract.Accept)), 422, contract.CodeReceiverNotParty)
		stored(t, c, false)
	})
	t.Run("Manager-SubmitContract-8", func(t *testing.T) {
		c := r.content(publication(borne, uwi), r.connection(uwi, borne))
		wantAnswer(t, u.submit(borne, c, u.sign(c, contract.Accept)), 422, contract.CodeGrantCombination)
		stored(t, c, false)
	})
	t.Run("Manager-SubmitContract-9", func(t *testing.T) {
		n := r.newContent(r.connection(uwi, borne))
		n.Group = "another.group"
		c, err := contract.New(n)
		must(t, err)
		wantAnswer(t, u.submit(borne, c, u.sign(c, contract.Accept)), 422, contract.CodeIncorrectGroup)
		stored(t, c, false)
	})
	for name, tt := range map[string]struct{ old, new, code string }{
		"Manager-SubmitContract-10": {"HASH_ALGORITHM_SHA3_512", "HASH_ALGORITHM_SHA3_256", contract.CodeUnknownHash},
		"unknown fsc_version":       {`"2.0.0"`, `"1.1.2"`, contract.CodeUnknownVersion},
	} {
		t.Run(name, func(t *testing.T) {
			c := r.content(r.connection(uwi, borne))
			changed := *c
			changed.Raw = []byte(strings.Replace(string(c.Raw), tt.old, tt.new, 1))
			wantAnswer(t, u.submit(borne, &changed, u.sign(c, contract.Accept)), 422, tt.code)
		})
	}
	t.Run("more than ten grants", func(t *testing.T) {
		var grants []contract.GrantData
		for i := range 11 {
			g := r.connection(uwi, borne)
			g.Service.Name = gateway.ServiceName("svc-" + strings.Repeat("x", i+1))
			grants = append(grants, g)
		}
		c := r.content(grants...)
		wantAnswer(t, u.submit(borne, c, u.sign(c, contract.Accept)), 422, codeUnprocessable)
		stored(t, c, false)
	})
	t.Run("a second time", func(t *testing.T) {
		c := r.content(r.connection(uwi, borne))
		records := len(b.log.Records())
		for range 2 {
			wantAnswer(t, u.submit(borne, c, u.sign(c, contract.Accept)), http.StatusCreated, "")
		}
		if got := len(b.log.Records()) - records; got != 1 {
			t.Errorf("%d audit records, want 1", got)
		}
	})
	t.Run("another contract under the same iv", func(t *testing.T) {
		c := r.content(r.connection(uwi, borne))
		wantAnswer(t, u.submit(borne, c, u.sign(c, contract.Accept)), http.StatusCreated, "")
		other, err := contract.ParseContent([]byte(strings.Replace(string(c.Raw), "clientgegevens", "iets-anders", 1)))
		must(t, err)
		wantAnswer(t, u.submit(borne, other, u.sign(other, contract.Accept)), 422, codeUnprocessable)
		stored(t, other, false)
	})
}

// TestSign holds for accept, reject and revoke alike.
func TestSign(t *testing.T) {
	r := suite(t)
	b, u, d := r.peers[borne], r.peers[uwi], r.peers[derde]
	other := map[contract.SignatureType]contract.SignatureType{contract.Accept: contract.Reject, contract.Reject: contract.Revoke, contract.Revoke: contract.Accept}
	for kind, suiteName := range map[contract.SignatureType]string{
		contract.Accept: "Manager-AcceptContract-", contract.Reject: "Manager-RejectContract-", contract.Revoke: "Manager-RevokeContract-",
	} {
		// known is a contract that Borne proposed, so that nobody else signed it yet.
		known := func(t *testing.T, from gateway.PeerID) *contract.Content {
			t.Helper()
			hash, err := b.m.Propose(t.Context(), r.newContent(r.connection(from, borne)), "m1.test")
			must(t, err)
			rec, err := b.store.Contract(t.Context(), hash)
			must(t, err)
			c, err := contract.ParseContent(rec.Raw)
			must(t, err)
			return c
		}
		holds := func(t *testing.T, c *contract.Content, peer gateway.PeerID, want bool) {
			t.Helper()
			rec, err := b.store.Contract(t.Context(), c.Hash())
			must(t, err)
			if _, got := rec.Of(peer, kind); got != want {
				t.Errorf("holds the %s of %s: %v, want %v", kind, peer, got, want)
			}
		}
		t.Run(suiteName+"1", func(t *testing.T) {
			c := known(t, uwi)
			wantAnswer(t, u.put(borne, c.Hash(), kind, c, u.sign(c, kind)), http.StatusCreated, "")
			holds(t, c, uwi, true)
		})
		t.Run(suiteName+"2", func(t *testing.T) {
			c := known(t, uwi)
			wantAnswer(t, d.put(borne, c.Hash(), kind, c, d.sign(c, kind)), 422, contract.CodeSubmitterNotParty)
			holds(t, c, derde, false)
		})
		t.Run(suiteName+"3", func(t *testing.T) {
			c := known(t, uwi)
			wantAnswer(t, u.put(borne, c.Hash(), kind, c, "not a jws"), 422, contract.CodeSignature)
			holds(t, c, uwi, false)
		})
		t.Run(suiteName+"4", func(t *testing.T) {
			c := known(t, uwi)
			wantAnswer(t, u.put(borne, c.Hash(), kind, c, u.sign(known(t, uwi), kind)), 422, contract.CodeHashMismatch)
			holds(t, c, uwi, false)
		})
		t.Run(suiteName+"5", func(t *testing.T) {
			c := known(t, uwi)
			wantAnswer(t, u.put(borne, c.Hash(), kind, c, u.sign(c, other[kind])), 422, contract.CodeSignature)
			holds(t, c, uwi, false)
		})
		t.Run(suiteName+"6", func(t *testing.T) {
			c := known(t, uwi)
			wantAnswer(t, u.put(borne, known(t, uwi).Hash(), kind, c, u.sign(c, kind)), 422, contract.CodeURLHashMismatch)
			holds(t, c, uwi, false)
		})
		t.Run(suiteName+"7", func(t *testing.T) {
			c := known(t, uwi)
			// {"alg":"HS256","x5t#S256":...}: a real payload under an algorithm that FSC does not have
			_, rest, _ := strings.Cut(u.sign(c, kind), ".")
			head := b64(`{"alg":"HS256","x5t#S256":"` + jose.Thumbprint(u.ident.Cert()) + `"}`)
			wantAnswer(t, u.put(borne, c.Hash(), kind, c, head+"."+rest), 422, contract.CodeUnknownSignatureAlg)
			holds(t, c, uwi, false)
		})
		t.Run(suiteName+"8", func(t *testing.T) { // RSA; the suite has this for accept only
			c := known(t, derde)
			wantAnswer(t, d.put(borne, c.Hash(), kind, c, d.sign(c, kind)), http.StatusCreated, "")
			holds(t, c, derde, true)
		})
		t.Run(suiteName+"9", func(t *testing.T) { // ECDSA, twice; the suite has this for accept only
			c := known(t, uwi)
			for range 2 {
				wantAnswer(t, u.put(borne, c.Hash(), kind, c, u.sign(c, kind)), http.StatusCreated, "")
			}
			holds(t, c, uwi, true)
		})
		t.Run(string(kind)+" of another peer", func(t *testing.T) {
			c := known(t, uwi)
			wantAnswer(t, u.put(borne, c.Hash(), kind, c, b.sign(c, kind)), 422, contract.CodePeerMismatch)
			holds(t, c, uwi, false)
		})
		t.Run(string(kind)+" of a contract that we don't know yet", func(t *testing.T) {
			c := r.content(r.connection(uwi, borne))
			wantAnswer(t, u.put(borne, c.Hash(), kind, c, u.sign(c, kind)), http.StatusCreated, "")
			holds(t, c, uwi, true)
		})
	}
	for _, no := range []contract.SignatureType{contract.Reject, contract.Revoke} {
		t.Run("an accept after a "+string(no), func(t *testing.T) {
			c := r.content(r.connection(uwi, borne))
			wantAnswer(t, u.put(borne, c.Hash(), no, c, u.sign(c, no)), http.StatusCreated, "")
			wantAnswer(t, u.put(borne, c.Hash(), contract.Accept, c, u.sign(c, contract.Accept)), 422, codeUnprocessable)
			wantAnswer(t, u.submit(borne, c, u.sign(c, contract.Accept)), 422, codeUnprocessable)
			if got := b.state(c.Hash()); got != contract.Rejected && got != contract.Revoked {
				t.Errorf("state %s", got)
			}
		})
	}
	t.Run("signed in the future", func(t *testing.T) {
		c := r.content(r.connection(uwi, borne))
		jws, err := contract.Sign(u.signer(), c.Hash(), contract.Accept, r.clock.now().Add(time.Hour))
		must(t, err)
		wantAnswer(t, u.submit(borne, c, jws), 422, contract.CodeSignature)
	})
	t.Run("a signature altered on its way", func(t *testing.T) {
		c := r.content(r.connection(uwi, borne))
		head, rest, _ := strings.Cut(u.sign(c, contract.Accept), ".")
		body, _, _ := strings.Cut(rest, ".")
		_, sig, _ := strings.Cut(rest, ".")
		_, otherSig, _ := strings.Cut(strings.SplitN(u.sign(r.content(r.connection(uwi, borne)), contract.Accept), ".", 2)[1], ".")
		if sig == otherSig {
			t.Fatal("the two signatures are one")
		}
		wantAnswer(t, u.submit(borne, c, head+"."+body+"."+otherSig), 422, contract.CodeSignature)
	})
}

func listed(t *testing.T, p *testPeer, query string) (hashes []gateway.ContentHash, next string, raw []byte) {
	t.Helper()
	got, raw := p.call(borne, http.MethodGet, "/v1/contracts"+query, "", nil)
	if got.Status != http.StatusOK {
		t.Fatalf("status %d: %s", got.Status, raw)
	}
	var out struct {
		Contracts []struct {
			Content    *contract.Content `json:"content"`
			Signatures map[string]map[gateway.PeerID]string
		} `json:"contracts"`
		Pagination *pagination `json:"pagination"`
	}
	must(t, json.Unmarshal(raw, &out))
	for _, c := range out.Contracts {
		hashes = append(hashes, c.Content.Hash())
		if len(c.Signatures) != 3 || c.Signatures["accept"][borne] == "" {
			t.Errorf("signatures %v", c.Signatures)
		}
	}
	return hashes, out.Pagination.NextCursor, raw
}

func TestContracts(t *testing.T) {
	r := suite(t)
	b, u, d := r.peers[borne], r.peers[uwi], r.peers[derde]
	var own []gateway.ContentHash
	for range 3 {
		hash, err := b.m.Propose(t.Context(), r.newContent(r.connection(uwi, borne)), "m1.test")
		must(t, err)
		own = append(own, hash)
		r.clock.advance(time.Second)
	}
	other, err := b.m.Propose(t.Context(), r.newContent(publication(derde, borne)), "m1.test")
	must(t, err)
	reversed := slices.Clone(own)
	slices.Reverse(reversed)
	t.Run("Manager-Contracts-1", func(t *testing.T) {
		got, next, _ := listed(t, u, "")
		if diff := cmp.Diff(reversed, got); diff != "" || next != "" {
			t.Errorf("next %q (-want +got):\n%s", next, diff)
		}
	})
	t.Run("Manager-Contracts-2", func(t *testing.T) {
		got, _, _ := listed(t, d, "")
		if diff := cmp.Diff([]gateway.ContentHash{other}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		rec, err := b.store.Contract(t.Context(), own[0])
		must(t, err)
		c, err := contract.ParseContent(rec.Raw)
		must(t, err)
		got, _, _ = listed(t, d, "?grant_hash="+url.QueryEscape(string(c.GrantHashes()[0])))
		if got != nil {
			t.Errorf("by grant hash: %v", got)
		}
		got, _, _ = listed(t, u, "?limit=1&grant_type=GRANT_TYPE_SERVICE_PUBLICATION&grant_hash="+url.QueryEscape(string(c.GrantHashes()[0])))
		if diff := cmp.Diff(own[:1], got); diff != "" {
			t.Errorf("a party by grant hash, which overrides the rest (-want +got):\n%s", diff)
		}
	})
	t.Run("pages", func(t *testing.T) {
		var all []gateway.ContentHash
		query := "?limit=2&sort_order=SORT_ORDER_ASCENDING"
		got, next, _ := listed(t, u, query)
		all = append(all, got...)
		if len(got) != 2 || next == "" {
			t.Fatalf("%d on the first page, next %q", len(got), next)
		}
		got, last, _ := listed(t, u, query+"&cursor="+next)
		if diff := cmp.Diff(own, append(all, got...)); diff != "" || last != "" {
			t.Errorf("next %q (-want +got):\n%s", last, diff)
		}
		if got, _, _ := listed(t, d, query+"&cursor="+next); slices.Contains(got, own[2]) {
			t.Error("another peer's cursor shows another peer's contract")
		}
	})
	t.Run("by grant type", func(t *testing.T) {
		if got, _, _ := listed(t, d, "?grant_type=GRANT_TYPE_SERVICE_PUBLICATION"); len(got) != 1 {
			t.Errorf("%d, want 1", len(got))
		}
		if got, _, _ := listed(t, d, "?grant_type=GRANT_TYPE_SERVICE_CONNECTION"); len(got) != 0 {
			t.Errorf("%d, want 0", len(got))
		}
	})
	for _, query := range []string{
		"?limit=0", "?limit=1001", "?limit=x", "?sort_order=UP", "?grant_type=X", "?cursor=%25", "?cursor=eA", "?cursor=" + strings.Repeat("A", 500), "?grant_hash=x",
	} {
		t.Run(query, func(t *testing.T) {
			got, _ := u.call(borne, http.MethodGet, "/v1/contracts"+query, "", nil)
			wantAnswer(t, got, 422, codeUnprocessable)
		})
	}
}

func TestPeerAndKeys(t *testing.T) {
	r := suite(t)
	b, u := r.peers[borne], r.peers[uwi]
	t.Run("Manager-PeerInfo-1", func(t *testing.T) {
		_, raw := u.call(borne, http.MethodGet, "/v1/peer", "", nil)
		var got map[string]any
		must(t, json.Unmarshal(raw, &got))
		want := map[string]any{"peer_id": string(borne), "peer_name": names[borne], "fsc_version": "2.0.0", "enabled_extensions": map[string]any{}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("Manager-Peers-1", func(t *testing.T) {
		c := r.content(r.connection(uwi, borne))
		wantAnswer(t, u.submit(borne, c, u.sign(c, contract.Accept)), http.StatusCreated, "")
		_, raw := u.call(borne, http.MethodGet, "/v1/peers?peer_name=midden", "", nil)
		var got struct{ Peers []peerJSON }
		must(t, json.Unmarshal(raw, &got))
		if diff := cmp.Diff([]peerJSON{{uwi, names[uwi], r.addrs[uwi]}}, got.Peers); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		_, raw = u.call(borne, http.MethodGet, "/v1/peers?peer_id="+string(derde), "", nil)
		must(t, json.Unmarshal(raw, &got))
		if len(got.Peers) != 0 {
			t.Errorf("a peer that nobody dealt with: %v", got.Peers)
		}
		for _, query := range []string{"?peer_id=x", "?limit=0", "?cursor=eA", "?peer_name=" + strings.Repeat("a", 201)} {
			got, _ := u.call(borne, http.MethodGet, "/v1/peers"+query, "", nil)
			wantAnswer(t, got, 422, codeUnprocessable)
		}
	})
	t.Run("Manager-JSONWebKeySet-1", func(t *testing.T) {
		_, raw := u.call(borne, http.MethodGet, "/v1/.well-known/jwks.json", "", nil)
		keys, err := jose.ParseJWKS(raw)
		must(t, err)
		if len(keys) != 1 || keys[0].X5T != jose.Thumbprint(b.ident.Cert()) || len(keys[0].Chain) != 2 {
			t.Errorf("keys %+v, want the certificate of the peer with its chain", keys)
		}
	})
}

func (p *testPeer) token(form url.Values) (code, description, token string) {
	t := p.r.t
	t.Helper()
	got, raw := p.call(borne, http.MethodPost, "/v1/token", "application/x-www-form-urlencoded", []byte(form.Encode()))
	var out struct {
		tokenAnswer
		tokenError
	}
	must(t, json.Unmarshal(raw, &out))
	if (got.Status == http.StatusOK) != (out.Error == "") || got.Status != http.StatusOK && got.Status != http.StatusBadRequest {
		t.Errorf("status %d with error %q", got.Status, out.Error)
	}
	return out.Error, out.Description, out.AccessToken
}

func tokenRequest(scope gateway.GrantHash, id gateway.PeerID) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "scope": {string(scope)}, "client_id": {string(id)}}
}

func TestGetToken(t *testing.T) {
	r := suite(t)
	b, u, d := r.peers[borne], r.peers[uwi], r.peers[derde]
	must(t, b.group.Reload())
	claims := func(t *testing.T, token string) *accesstoken.Claims {
		t.Helper()
		c, parsed, err := accesstoken.Parse(token)
		must(t, err)
		must(t, parsed.Verify(b.ident.Cert()))
		return c
	}
	refused := func(t *testing.T, p *testPeer, form url.Values, want string) {
		t.Helper()
		if code, _, token := p.token(form); code != want || token != "" {
			t.Errorf("error %q and token %q, want error %q", code, token, want)
		}
	}
	granted := func(t *testing.T, hash gateway.GrantHash) *accesstoken.Claims {
		t.Helper()
		code, text, token := u.token(tokenRequest(hash, uwi))
		if code != "" {
			t.Fatalf("refused: %s: %s", code, text)
		}
		return claims(t, token)
	}
	plain := r.content(r.connection(uwi, borne))
	valid := b.agree(plain)

	t.Run("Manager-GetToken-1", func(t *testing.T) {
		got := granted(t, valid)
		now := r.clock.now()
		if life := got.Expires.Sub(got.NotBefore); life != DefaultTokenTTL || got.Expires.Before(now.Add(DefaultTokenTTL-5*time.Second)) {
			t.Errorf("from %v to %v, want %v", got.NotBefore, got.Expires, DefaultTokenTTL)
		}
		want := &accesstoken.Claims{
			GrantHash: valid, GroupID: group, Subject: uwi, Issuer: borne, Service: service, Audience: r.addrs[borne],
			NotBefore: got.NotBefore, Expires: got.Expires, Cnf: jose.Thumbprint(u.ident.Cert()),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("claims (-want +got):\n%s", diff)
		}
	})
	t.Run("Manager-GetToken-2", func(t *testing.T) {
		c := r.content(r.connection(uwi, borne))
		refused(t, u, tokenRequest(c.GrantHashes()[0], uwi), invalidGrant) // nobody knows it
		wantAnswer(t, u.submit(borne, c, u.sign(c, contract.Accept)), http.StatusCreated, "")
		refused(t, u, tokenRequest(c.GrantHashes()[0], uwi), invalidGrant) // proposed
	})
	t.Run("Manager-GetToken-3", func(t *testing.T) {
		c := r.content(r.connection(uwi, borne))
		hash := b.agree(c)
		granted(t, hash)
		must(t, b.m.Revoke(t.Context(), c.Hash(), "m1.test"))
		refused(t, u, tokenRequest(hash, uwi), invalidGrant)
	})
	t.Run("Manager-GetToken-4", func(t *testing.T) {
		for _, scope := range []string{"", "x", "$1$9$" + strings.Repeat("A", 86), string(valid) + " " + string(valid), string(plain.Hash())} {
			refused(t, u, tokenRequest(gateway.GrantHash(scope), uwi), invalidScope)
		}
	})
	t.Run("Manager-GetToken-5", func(t *testing.T) {
		form := tokenRequest(valid, uwi)
		form.Set("grant_type", "password")
		refused(t, u, form, unsupportedGrantType)
		form.Del("grant_type")
		refused(t, u, form, invalidRequest)
	})
	t.Run("Manager-GetToken-6", func(t *testing.T) {
		got := granted(t, b.agree(r.content(delegatedConnection(r.connection(uwi, borne), derde))))
		if got.OutwayPeer() != uwi || got.Delegator() != derde {
			t.Errorf("outway %s for %s, want %s for %s", got.OutwayPeer(), got.Delegator(), uwi, derde)
		}
	})
	t.Run("Manager-GetToken-7", func(t *testing.T) {
		got := granted(t, b.agree(r.content(delegatedService(r.connection(uwi, borne), derde))))
		if got.Publisher != derde {
			t.Errorf("pdi %s, want %s", got.Publisher, derde)
		}
	})
	t.Run("Manager-GetToken-8", func(t *testing.T) {
		form := tokenRequest(valid, uwi)
		form.Del("client_id")
		refused(t, u, form, invalidRequest)
	})
	t.Run("Manager-GetToken-9", func(t *testing.T) {
		refused(t, u, tokenRequest(valid, "x"), invalidClient)
		refused(t, u, tokenRequest(valid, derde), invalidClient)
		refused(t, d, tokenRequest(valid, uwi), invalidClient)
	})
	t.Run("a peer that is not the outway of the grant", func(t *testing.T) {
		refused(t, d, tokenRequest(valid, derde), invalidGrant)
		_, known, _ := d.token(tokenRequest(valid, derde))
		_, unknown, _ := d.token(tokenRequest("$1$3$"+gateway.GrantHash(strings.Repeat("A", 86)), derde))
		if known != unknown {
			t.Errorf("%q for a grant of others, %q for one that does not exist", known, unknown)
		}
	})
	for id, delegated := range map[string]bool{"Manager-GetToken-10": false, "Manager-GetToken-11": true} {
		t.Run(id, func(t *testing.T) {
			g := withProperties(r.connection(uwi, borne), `{"proef": [3, 1, {"b":1,"a":2}]}`)
			if delegated {
				g = delegatedConnection(g, derde)
			}
			got := granted(t, b.agree(r.content(g)))
			same, err := jose.CanonicalJSON(got.Prp)
			must(t, err)
			if want := `{"proef":[3,1,{"a":2,"b":1}]}`; string(same) != want {
				t.Errorf("prp %s, want %s", got.Prp, want)
			}
		})
	}
	t.Run("a service that no inway offers", func(t *testing.T) {
		g := r.connection(uwi, borne)
		g.Service.Name = "niet-hier"
		refused(t, u, tokenRequest(b.agree(r.content(g)), uwi), invalidGrant)
	})
	t.Run("a service of another peer in a contract of ours", func(t *testing.T) {
		c := r.content(r.connection(uwi, borne), r.connection(uwi, derde))
		b.agree(c)
		granted(t, c.GrantHashes()[0])
		refused(t, u, tokenRequest(c.GrantHashes()[1], uwi), invalidGrant)
	})
	t.Run("another key than the grant names", func(t *testing.T) {
		g := r.connection(uwi, borne)
		g.Outway.Identification.PublicKeyThumbprint = strings.Repeat("a", 64)
		refused(t, u, tokenRequest(b.agree(r.content(g)), uwi), unauthorizedClient)
	})
	for domain, want := range map[string]string{"localhost": "", "elders.example": unauthorizedClient} {
		t.Run("by domain name "+domain, func(t *testing.T) {
			g := r.connection(uwi, borne)
			g.Outway.Identification = contract.Identification{Type: contract.ByDomainName, DomainName: domain}
			if code, text, _ := u.token(tokenRequest(b.agree(r.content(g)), uwi)); code != want {
				t.Errorf("error %q (%s), want %q", code, text, want)
			}
		})
	}
	t.Run("never past the contract's end", func(t *testing.T) {
		n := r.newContent(r.connection(uwi, borne))
		n.NotAfter = r.clock.now().Add(30 * time.Second)
		c, err := contract.New(n)
		must(t, err)
		if got := granted(t, b.agree(c)); got.Expires.After(c.NotAfter()) {
			t.Errorf("until %v, the contract ends %v", got.Expires, c.NotAfter())
		}
	})
	t.Run("a contract that has not begun", func(t *testing.T) {
		n := r.newContent(r.connection(uwi, borne))
		n.NotBefore = r.clock.now().Add(time.Hour)
		c, err := contract.New(n)
		must(t, err)
		refused(t, u, tokenRequest(b.agree(c), uwi), invalidGrant)
	})
	t.Run("malformed", func(t *testing.T) {
		form := tokenRequest(valid, uwi)
		form.Add("scope", string(valid))
		refused(t, u, form, invalidRequest)
		for name, send := range map[string]struct{ contentType, body string }{
			"json": {"application/json", `{}`}, "too large": {"application/x-www-form-urlencoded", "x=" + strings.Repeat("y", maxTokenBody)},
			"not a form": {"application/x-www-form-urlencoded", "%zz"}, "nothing": {"application/x-www-form-urlencoded", ""},
		} {
			got, raw := u.call(borne, http.MethodPost, "/v1/token", send.contentType, []byte(send.body))
			if got.Status != http.StatusBadRequest || !strings.Contains(string(raw), invalidRequest) {
				t.Errorf("%s: %d %s", name, got.Status, raw)
			}
		}
	})
}
