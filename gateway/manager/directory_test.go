package manager

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/jose"
)

// services asks a manager for its list.
func (p *testPeer) services(to gateway.PeerID, query string) servicesJSON {
	p.r.t.Helper()
	got, raw := p.call(to, http.MethodGet, "/v1/services"+query, "", nil)
	wantAnswer(p.r.t, got, http.StatusOK, "")
	var out servicesJSON
	must(p.r.t, json.Unmarshal(raw, &out))
	return out
}

func serviceNames(page servicesJSON) string {
	var all []string
	for _, s := range page.Services {
		name := string(s.Data.Name)
		if s.Data.Delegator != nil {
			name += "@" + string(s.Data.Delegator.ID)
		}
		all = append(all, name)
	}
	return strings.Join(all, " ")
}

func named(g contract.GrantData, name gateway.ServiceName) contract.GrantData {
	g.Service.Name = name
	return g
}

func delegatedPublication(directory, from, delegator gateway.PeerID) contract.GrantData {
	g := publication(directory, from)
	g.Type, g.Delegator = gateway.DelegatedServicePublication, &contract.PeerRef{PeerID: delegator}
	return g
}

// Borne is the directory here.
func TestServices(t *testing.T) {
	r := suite(t)
	b, u := r.peers[borne], r.peers[uwi]
	publish := func(g contract.GrantData) *contract.Content {
		c := r.content(g)
		wantAnswer(t, u.submit(borne, c, u.sign(c, contract.Accept)), http.StatusCreated, "")
		b.agree(c)
		must(t, b.m.Accept(t.Context(), c.Hash(), "m1.test"))
		return c
	}
	publish(withProperties(named(publication(borne, uwi), "alpha"), `{"gemeentecode":"0147"}`))
	publish(withProperties(named(delegatedPublication(borne, uwi, derde), "beta"), `{"gemeentecode":"0164"}`))
	waiting := r.content(named(publication(borne, uwi), "gamma"))
	wantAnswer(t, u.submit(borne, waiting, u.sign(waiting, contract.Accept)), http.StatusCreated, "")

	all := u.services(borne, "?sort_order=SORT_ORDER_ASCENDING")
	if got, want := serviceNames(all), "alpha beta@"+string(derde); got != want {
		t.Fatalf("services %q, want %q: only what all have accepted", got, want)
	}
	peer := peerJSON{uwi, names[uwi], r.addrs[uwi]}
	for i, tt := range []struct {
		id   string
		want listingJSON
	}{
		{"Manager-Services-1", listingJSON{Type: contract.ServiceTypeService, Peer: peer, Name: "alpha", Protocol: contract.ProtocolHTTP1}},
		{"Manager-Services-2", listingJSON{
			Type: contract.ServiceTypeDelegated, Peer: peer, Name: "beta", Protocol: contract.ProtocolHTTP1,
			Delegator: &delegatorJSON{derde, names[derde]},
		}},
	} {
		t.Run(tt.id, func(t *testing.T) {
			got := all.Services[i]
			got.Data.Properties = nil
			if diff := cmp.Diff(serviceListing{tt.want.Type, tt.want}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for i, id := range []string{"Manager-Services-3", "Manager-Services-4"} {
		t.Run(id, func(t *testing.T) {
			if got, want := string(all.Services[i].Data.Properties), []string{`{"gemeentecode":"0147"}`, `{"gemeentecode":"0164"}`}[i]; got != want {
				t.Errorf("properties %s, want %s", got, want)
			}
		})
	}
	for query, want := range map[string]string{
		"":                                       "beta@" + string(derde) + " alpha", // descending
		"?service_name=ALP":                      "alpha",
		"?service_name=x":                        "",
		"?peer_id=" + string(derde):              "",
		"?service_name=x&peer_id=" + string(uwi): "beta@" + string(derde) + " alpha", // either is enough
		"?service_name=lph&peer_id=" + string(derde): "alpha",
	} {
		if got := serviceNames(u.services(borne, query)); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=1001", "?sort_order=x", "?peer_id=x", "?cursor=eA", "?cursor=*", "?service_name=" + strings.Repeat("a", 256)} {
		got, _ := u.call(borne, http.MethodGet, "/v1/services"+query, "", nil)
		wantAnswer(t, got, 422, codeUnprocessable)
	}
	t.Run("a newer contract takes the place of an older; revoked, the service is gone", func(t *testing.T) {
		r.clock.advance(2 * time.Second)
		newer := publish(withProperties(named(publication(borne, uwi), "alpha"), `{"gemeentecode":"0163"}`))
		got := u.services(borne, "?service_name=alpha")
		if len(got.Services) != 1 || string(got.Services[0].Data.Properties) != `{"gemeentecode":"0163"}` {
			t.Errorf("services %+v", got)
		}
		wantAnswer(t, u.put(borne, newer.Hash(), contract.Revoke, newer, u.sign(newer, contract.Revoke)), http.StatusCreated, "")
		got = u.services(borne, "?service_name=alpha")
		if len(got.Services) != 1 || string(got.Services[0].Data.Properties) != `{"gemeentecode":"0147"}` {
			t.Errorf("services %+v", got)
		}
	})
	t.Run("pages", func(t *testing.T) {
		for i := range 5 {
			publish(named(publication(borne, uwi), gateway.ServiceName(fmt.Sprintf("page-%d", i))))
		}
		for order, want := range map[string]string{
			"SORT_ORDER_ASCENDING": "page-0 page-1 page-2 page-3 page-4", "SORT_ORDER_DESCENDING": "page-4 page-3 page-2 page-1 page-0",
		} {
			var seen []string
			query, pages := "?service_name=page&limit=2&sort_order="+order, 0
			for next := ""; pages < 5; pages++ {
				page := u.services(borne, query+"&cursor="+next)
				seen = append(seen, serviceNames(page))
				if next = page.Pagination.NextCursor; next == "" {
					break
				}
			}
			if got := strings.Join(seen, " "); got != want || pages != 2 {
				t.Errorf("%s: %q in %d pages, want %q in 3", order, got, pages+1, want)
			}
		}
	})
}

func TestAnnounce(t *testing.T) {
	r := suite(t)
	u := r.peers[uwi]
	listed := func(query string) []peerJSON {
		t.Helper()
		_, raw := u.call(borne, http.MethodGet, "/v1/peers"+query, "", nil)
		var out peersJSON
		must(t, json.Unmarshal(raw, &out))
		return out.Peers
	}
	announce := func(p *testPeer, address string) answer {
		got, _ := p.call(borne, http.MethodPut, "/v1/announce", "", nil, func(r *http.Request) { r.Header.Set(edge.HeaderManager, address) })
		return got
	}
	if got := listed(""); len(got) != 0 {
		t.Fatalf("peers %v before anybody announced itself", got)
	}
	wantAnswer(t, announce(u, r.addrs[uwi]), http.StatusOK, "")
	wantAnswer(t, announce(r.peers[derde], r.addrs[derde]), http.StatusOK, "")
	want := []peerJSON{{derde, names[derde], r.addrs[derde]}, {uwi, names[uwi], r.addrs[uwi]}}
	if diff := cmp.Diff(want, listed("")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := listed("?peer_name=MIDDEN"); len(got) != 1 || got[0].ID != uwi {
		t.Errorf("by name: %v", got)
	}
	wantAnswer(t, announce(u, r.addrs[derde]), http.StatusServiceUnavailable, "GRENSLOOS_UNAVAILABLE") // nobody moves that often
	r.clock.advance(movePause)
	wantAnswer(t, announce(u, r.addrs[derde]), http.StatusOK, "") // it moved; that there is another peer there is for the certificate to tell
	if got := listed("?peer_id=" + string(uwi)); got[0].Address != r.addrs[derde] {
		t.Errorf("after a move: %v", got)
	}
	for _, bad := range []string{"http://localhost:8443", "https://localhost:22", "", "https://x"} {
		wantAnswer(t, announce(u, bad), http.StatusBadRequest, "GRENSLOOS_INVALID")
	}
	got, _ := u.call(borne, http.MethodPut, "/v1/announce", "", nil, func(r *http.Request) { r.Header.Del(edge.HeaderManager) })
	wantAnswer(t, got, http.StatusBadRequest, "GRENSLOOS_INVALID")

	r.clock.advance(announcedFor - time.Hour)
	must(t, certs.CRL(r.pki, certs.DefaultCRLNext))
	wantAnswer(t, announce(r.peers[derde], r.addrs[derde]), http.StatusOK, "")
	r.clock.advance(2 * time.Hour)
	if got := listed(""); len(got) != 1 || got[0].ID != derde {
		t.Errorf("peers %v, want only the one that announced itself this week", got)
	}
}

// follower makes uwi know nobody but the directory, and derde nobody at all.
func follower(p *testPeer, directories ...gateway.PeerID) {
	known := map[gateway.PeerID]string{}
	for _, id := range directories {
		known[id] = p.r.addrs[id]
	}
	p.peers.Addresses = known
	p.options = func(o *Options) {
		o.Directories, o.DirectoryEvery = directories, 10*time.Millisecond
		o.Peers.Book = o.Store.(addressBook)
	}
}

func known(t *testing.T, p *testPeer) map[gateway.PeerID]contract.KnownPeer {
	t.Helper()
	all, err := p.m.Known(t.Context())
	must(t, err)
	out := map[gateway.PeerID]contract.KnownPeer{}
	for _, k := range all {
		out[k.ID] = k
	}
	return out
}

// A gemeente joins by announcing itself and publishing, and leaves, and nobody else changes anything. Borne is the directory.
func TestJoinAndLeave(t *testing.T) {
	r := newRegion(t, nil, borne, uwi, derde)
	b, u, d := r.peers[borne], r.peers[uwi], r.peers[derde]
	follower(b)
	b.options = func(o *Options) { o.AcceptPublications, o.Peers.Book = true, o.Store.(addressBook) }
	follower(u, borne)
	follower(d, borne)
	b.start(true)
	u.start(true)
	eventually(t, "uwi to announce itself", func() bool { return known(t, b)[uwi].Address == r.addrs[uwi] })
	_, err := u.m.Propose(t.Context(), r.newContent(r.connection(uwi, derde)), "m1.test")
	wantError(t, err, gateway.Invalid, "not known")

	d.start(true)
	_, err = d.m.Propose(t.Context(), r.newContent(withProperties(publication(borne, derde), `{"gemeentecode":"0163"}`)), "m1.test")
	must(t, err)
	eventually(t, "uwi to know derde with its code", func() bool {
		k := known(t, u)[derde]
		return k.Address == r.addrs[derde] && k.Gemeentecode == "0163" && k.Name == names[derde] && k.Origin == contract.Listed
	})
	hash, err := u.m.Propose(t.Context(), r.newContent(r.connection(uwi, derde)), "m1.test")
	must(t, err)
	eventually(t, "the proposal to arrive", func() bool { return d.state(hash) == contract.Proposed })
	must(t, d.m.Accept(t.Context(), hash, "m2.test"))
	eventually(t, "the accept to arrive", func() bool { return u.state(hash) == contract.Valid })
	var grants []gateway.Grant
	eventually(t, "the grant to be there", func() bool {
		grants, err = u.m.Grants(t.Context(), nil)
		must(t, err)
		return len(grants) > 0
	})
	if _, _, err := u.tokens().Token(t.Context(), grants[0]); err != nil {
		t.Fatalf("token from a peer that only the directory knows: %v", err)
	}

	t.Run("the directory is away, also over a restart", func(t *testing.T) {
		b.stop()
		u.stop()
		u.start(true)
		if k := known(t, u)[derde]; k.Gemeentecode != "0163" || k.Address != r.addrs[derde] {
			t.Errorf("derde is %+v", k)
		}
		if _, _, err := u.tokens().Token(t.Context(), grants[0]); err != nil {
			t.Error(err)
		}
		eventually(t, "the trouble to be shown", func() bool { return u.m.Directories()[0].Problem != "" })
		b.start(true)
		eventually(t, "the directory to be read again", func() bool { return u.m.Directories()[0].Problem == "" })
	})
	t.Run("derde leaves", func(t *testing.T) {
		must(t, d.m.Leave(t.Context(), "m3.test"))
		eventually(t, "uwi to forget derde", func() bool { _, ok := known(t, u)[derde]; return !ok && u.state(hash) == contract.Revoked })
		eventually(t, "the directory to list it no more", func() bool {
			all, err := b.m.Listings(t.Context())
			must(t, err)
			_, ok := known(t, b)[derde]
			return len(all) == 0 && !ok
		})
		addresses, err := u.peers.addresses(t.Context(), derde)
		must(t, err)
		if len(addresses) != 0 {
			t.Errorf("addresses %v are still there", addresses)
		}
		acts := slices.DeleteFunc(d.log.Records(), func(rec audit.Record) bool { return !strings.Contains(string(rec.Body), "deelname-beeindigd") })
		if len(acts) != 1 {
			t.Errorf("%d records of leaving, want 1", len(acts))
		}
		must(t, d.m.Rejoin(t.Context(), "m3.test"))
		eventually(t, "uwi to know derde again", func() bool { _, ok := known(t, u)[derde]; return ok })
	})
}

// liar is a directory that says what it wants.
func liar(p *testPeer, peers []peerJSON, services []serviceListing) {
	p.inner = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/peers":
			edge.WriteJSON(w, r, http.StatusOK, peersJSON{Peers: peers})
		case "/v1/services":
			edge.WriteJSON(w, r, http.StatusOK, servicesJSON{Services: services})
		}
	})
}

func listing(peer peerJSON, code string) serviceListing {
	return serviceListing{contract.ServiceTypeService, listingJSON{
		Type: contract.ServiceTypeService, Peer: peer, Name: service, Protocol: contract.ProtocolHTTP1,
		Properties: json.RawMessage(`{"gemeentecode":"` + code + `"}`),
	}}
}

// What a directory says of an address is a hint, and what it says of a gemeentecode counts when the peer says so itself.
func TestLyingDirectory(t *testing.T) {
	r := newRegion(t, nil, borne, uwi, derde)
	b, u, d := r.peers[borne], r.peers[uwi], r.peers[derde]
	elsewhere := peerJSON{derde, names[derde], r.addrs[borne]} // derde is said to be where the directory itself listens
	liar(b, []peerJSON{
		elsewhere,
		{"1", "no OIN", r.addrs[derde]},
		{"00000099000000163000", "elsewhere", "https://example.org:22"},
		{"00000099000000164000", "steers\x1b[2J", r.addrs[derde]},
	}, []serviceListing{listing(elsewhere, "0147")})
	b.start(false)
	follower(u, borne)
	u.start(true)
	d.start(false)
	eventually(t, "the directory to be read", func() bool { return !u.m.Directories()[0].Read.IsZero() })
	if diff := cmp.Diff([]gateway.PeerID{derde}, keys(known(t, u))); diff != "" {
		t.Errorf("known (-want +got):\n%s", diff)
	}
	if k := known(t, u)[derde]; k.Gemeentecode != "" {
		t.Errorf("derde is taken for gemeente %s on the word of the directory", k.Gemeentecode)
	}
	c := r.content(r.connection(uwi, derde))
	u.agree(c)
	grants, err := u.m.Grants(t.Context(), nil)
	must(t, err)
	before := len(b.log.Records())
	_, _, err = u.tokens().Token(t.Context(), grants[0])
	wantError(t, err, gateway.Denied, "") // who answers there has another certificate
	if len(b.log.Records()) != before {
		t.Error("the directory got something of the request")
	}
	t.Run("the peer's own word goes first", func(t *testing.T) {
		must(t, u.store.Announce(t.Context(), contract.KnownPeer{Peer: gateway.Peer{ID: derde, Name: names[derde]}, Address: r.addrs[derde]}, r.clock.now()))
		d.agree(c)
		if _, _, err := u.tokens().Token(t.Context(), grants[0]); err != nil {
			t.Error(err)
		}
		if k := known(t, u)[derde]; k.Gemeentecode != "" {
			t.Errorf("derde publishes nothing, and is gemeente %s", k.Gemeentecode)
		}
	})
}

func keys(all map[gateway.PeerID]contract.KnownPeer) []gateway.PeerID {
	var out []gateway.PeerID
	for id := range all {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// A directory that lost its memory takes nothing away that a contract gives.
func TestForgetfulDirectory(t *testing.T) {
	r := newRegion(t, nil, borne, uwi, derde)
	b, u, d := r.peers[borne], r.peers[uwi], r.peers[derde]
	there := peerJSON{derde, names[derde], r.addrs[derde]}
	liar(b, []peerJSON{there}, []serviceListing{listing(there, "0163")})
	b.start(false)
	d.start(false)
	d.agree(r.content(withProperties(publication(borne, derde), `{"gemeentecode":"0163"}`)))
	follower(u, borne)
	u.start(true)
	c := r.content(r.connection(uwi, derde))
	u.agree(c)
	eventually(t, "derde to be known by its code", func() bool { return known(t, u)[derde].Gemeentecode == "0163" })
	b.stop()
	liar(b, []peerJSON{}, []serviceListing{})
	b.start(false)
	read := r.clock.now()
	eventually(t, "the empty list to be read", func() bool { return u.m.Directories()[0].Read.After(read) })
	if k := known(t, u)[derde]; k.Gemeentecode != "0163" || k.Address != r.addrs[derde] {
		t.Errorf("derde is %+v", k)
	}
	must(t, u.m.Revoke(t.Context(), c.Hash(), "m1.test"))
	eventually(t, "derde to be gone with the contract", func() bool { _, ok := known(t, u)[derde]; return !ok })
}

// The directory accepts by itself only what it need not think about.
func TestAcceptPublications(t *testing.T) {
	r := newRegion(t, nil, borne, uwi, derde)
	b, u, d := r.peers[borne], r.peers[uwi], r.peers[derde]
	b.options = func(o *Options) { o.AcceptPublications = true }
	b.start(true)
	submit := func(p *testPeer, g contract.GrantData) gateway.ContentHash {
		c := r.content(g)
		wantAnswer(t, p.submit(borne, c, p.sign(c, contract.Accept)), http.StatusCreated, "")
		return c.Hash()
	}
	announce := func(p *testPeer) {
		got, _ := p.call(borne, http.MethodPut, "/v1/announce", "", nil)
		wantAnswer(t, got, http.StatusOK, "")
	}
	stranger := submit(u, withProperties(publication(borne, uwi), `{"gemeentecode":"0147"}`))
	connection := submit(u, r.connection(uwi, borne))
	announce(d)
	first := submit(d, named(publication(borne, derde), "eerste"))
	eventually(t, "the publication of a peer that announced itself to be accepted", func() bool { return b.state(first) == contract.Valid })
	if got := b.state(stranger); got != contract.Proposed {
		t.Errorf("publication of a peer that did not announce itself: %s", got)
	}
	announce(u)
	eventually(t, "it to be accepted after the announcement", func() bool { return b.state(stranger) == contract.Valid })
	same := submit(d, withProperties(publication(borne, derde), `{"gemeentecode":"0147"}`))
	delegated := submit(d, delegatedPublication(borne, derde, uwi)) // uwi has not accepted it
	last := submit(d, named(publication(borne, derde), "laatste"))
	eventually(t, "the one after it to be accepted", func() bool { return b.state(last) == contract.Valid })
	for name, hash := range map[string]gateway.ContentHash{"a connection": connection, "a gemeentecode of another": same, "a delegated one": delegated} {
		if got := b.state(hash); got != contract.Proposed {
			t.Errorf("%s: %s, want it to wait for a person", name, got)
		}
	}
}

// Nobody fills the directory alone: beyond a number of services of one peer a person decides.
func TestOnePeerDoesNotFillTheDirectory(t *testing.T) {
	r := newRegion(t, nil, borne, uwi, derde)
	b, u, d := r.peers[borne], r.peers[uwi], r.peers[derde]
	b.options = func(o *Options) { o.AcceptPublications = true }
	b.start(true)
	submit := func(p *testPeer, grants ...contract.GrantData) gateway.ContentHash {
		got, _ := p.call(borne, http.MethodPut, "/v1/announce", "", nil)
		wantAnswer(t, got, http.StatusOK, "")
		c := r.content(grants...)
		wantAnswer(t, p.submit(borne, c, p.sign(c, contract.Accept)), http.StatusCreated, "")
		return c.Hash()
	}
	many := func(from int) (all []contract.GrantData) {
		for i := range 10 {
			all = append(all, named(publication(borne, derde), gateway.ServiceName(fmt.Sprintf("dienst%03d", from+i))))
		}
		return all
	}
	for n := 0; n < maxListed; n += 10 {
		hash := submit(d, many(n)...)
		eventually(t, "the first publications to be accepted", func() bool { return b.state(hash) == contract.Valid })
	}
	tooMany := submit(d, many(maxListed)...)
	other := submit(u, publication(borne, uwi))
	eventually(t, "that of another peer to be accepted", func() bool { return b.state(other) == contract.Valid })
	if got := b.state(tooMany); got != contract.Proposed {
		t.Errorf("publications beyond %d of one peer: %s, want them to wait for a person", maxListed, got)
	}
}

// A certificate renewed on the same key: every accept is given again without a person, and recorded.
func TestSignsAgain(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b, u := r.peers[borne].start(true), r.peers[uwi].start(true)
	hash, err := u.m.Propose(t.Context(), r.newContent(r.connection(uwi, borne)), "m1.test")
	must(t, err)
	eventually(t, "the proposal to arrive", func() bool { return b.state(hash) == contract.Proposed })
	must(t, b.m.Accept(t.Context(), hash, "m1.test"))
	eventually(t, "the accept to arrive", func() bool { return u.state(hash) == contract.Valid })
	accept := func(at *testPeer) string {
		rec, err := at.store.Contract(t.Context(), hash)
		must(t, err)
		sig, _ := rec.Of(borne, contract.Accept)
		return sig.X5T
	}
	r.clock.advance(time.Minute)
	b.issue(certs.Request{ReuseKey: true})
	want := jose.Thumbprint(b.ident.Cert())
	eventually(t, "the accept under the new certificate on both sides", func() bool { return accept(b) == want && accept(u) == want })
	acts := slices.DeleteFunc(b.log.Records(), func(rec audit.Record) bool {
		return !strings.Contains(string(rec.Body), `"handeling":"contract-opnieuw-ondertekend","door":"systeem"`)
	})
	if len(acts) != 1 {
		t.Errorf("%d records of signing again, want 1", len(acts))
	}
	r.clock.advance(time.Minute)
	b.issue(certs.Request{}) // another key: a person's decision
	b.stop()
	must(t, b.start(false).m.resign(t.Context()))
	if got := accept(b); got != want {
		t.Error("it was signed again under another key")
	}
}

// A contract that ends soon is proposed anew, once.
func TestRenewal(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b, u := r.peers[borne], r.peers[uwi]
	for _, p := range []*testPeer{b, u} {
		p.options = func(o *Options) { o.RenewBefore = 40 * 24 * time.Hour }
		p.start(false)
	}
	c := r.content(r.connection(uwi, borne)) // ends in 30 days
	u.agree(c)
	b.agree(c)
	for range 2 {
		must(t, u.m.renewals(t.Context()))
		must(t, b.m.renewals(t.Context()))
		r.clock.advance(2 * renewEvery)
	}
	if all, err := b.m.List(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("the peer that offers the service has %d contracts, want 1: who asks renews: %v", len(all), err)
	}
	all, err := u.m.List(t.Context())
	must(t, err)
	if len(all) != 2 {
		t.Fatalf("%d contracts, want the old one and one that follows it", len(all))
	}
	fresh := all[0]
	if fresh.Hash == c.Hash() {
		fresh = all[1]
	}
	if !fresh.Content.NotBefore().Equal(c.NotAfter()) || !fresh.Content.NotAfter().After(c.NotAfter().Add(29*24*time.Hour)) {
		t.Errorf("it runs from %v until %v", fresh.Content.NotBefore(), fresh.Content.NotAfter())
	}
	old, err := u.m.Predecessor(t.Context(), fresh.Hash)
	must(t, err)
	if old.Hash != c.Hash() {
		t.Errorf("it takes the place of %s", old.Hash)
	}
	_, err = u.m.Predecessor(t.Context(), c.Hash())
	wantError(t, err, gateway.NotFound, "no other")
}

// A peer that moves tells the peers that its contracts name, without a directory.
func TestMove(t *testing.T) {
	r := newRegion(t, nil, borne, uwi, derde)
	b, u := r.peers[borne], r.peers[uwi]
	b.start(true)
	u.start(false)
	c := r.content(r.connection(uwi, borne))
	b.agree(c)
	u.agree(c)
	u.stop()
	moved := r.addrs[derde] // uwi listens elsewhere from now on
	r.addrs[uwi] = moved
	u.peers.Own = moved
	u.start(true)
	eventually(t, "borne to hear of it", func() bool { return known(t, b)[uwi].Address == moved && !known(t, b)[uwi].Announced.IsZero() })
	eventually(t, "uwi to note that all know", func() bool {
		self, err := u.store.Peers(t.Context(), contract.PeerFilter{IDs: []gateway.PeerID{uwi}})
		must(t, err)
		return len(self) == 1 && self[0].Address == moved
	})
}

// Two peers that claim one gemeentecode get it neither; the configuration decides.
func TestClaimedTwice(t *testing.T) {
	r := newRegion(t, nil, borne, uwi, derde)
	b := r.peers[borne]
	b.start(false)
	for i, from := range []gateway.PeerID{uwi, derde} {
		b.agree(r.content(withProperties(publication(borne, from), `{"gemeentecode":"0158"}`)))
		must(t, b.m.Accept(t.Context(), b.lastHash(), "m1.test"))
		must(t, b.store.Announce(t.Context(), contract.KnownPeer{Peer: gateway.Peer{ID: from, Name: names[from]}, Address: r.addrs[from]}, r.clock.now()))
		if got := known(t, b)[uwi].Gemeentecode; (got == "0158") != (i == 0) {
			t.Errorf("after claim %d uwi has code %q", i+1, got)
		}
		b.m.Contracts.o.Configured = []contract.KnownPeer{{Peer: gateway.Peer{ID: derde}, Gemeentecode: "0158"}}
		if got := known(t, b)[uwi].Gemeentecode; got != "" {
			t.Errorf("after claim %d uwi has code %q, which the configuration gives to another", i+1, got)
		}
		b.m.Contracts.o.Configured = nil
	}
	if got := known(t, b)[derde].Gemeentecode; got != "" {
		t.Errorf("derde has code %q", got)
	}
	b.m.Contracts.o.Configured = []contract.KnownPeer{{Peer: gateway.Peer{ID: derde}, Gemeentecode: "0158"}}
	if u, d := known(t, b)[uwi].Gemeentecode, known(t, b)[derde].Gemeentecode; u != "" || d != "0158" {
		t.Errorf("with the configuration: uwi %q, derde %q", u, d)
	}
}

// Who has a contract for one gemeente does not draw the questions about another by publishing its code as well, nor those about the
// residents of whoever asks.
func TestCodeOfAnother(t *testing.T) {
	r := newRegion(t, nil, borne, uwi, derde)
	b := r.peers[borne]
	b.start(false)
	publish := func(from gateway.PeerID, service gateway.ServiceName, code string) {
		b.agree(r.content(withProperties(named(publication(borne, from), service), `{"gemeentecode":"`+code+`"}`)))
		must(t, b.m.Accept(t.Context(), b.lastHash(), "m1.test"))
	}
	must(t, b.store.Announce(t.Context(), contract.KnownPeer{Peer: gateway.Peer{ID: uwi, Name: names[uwi]}, Address: r.addrs[uwi]}, r.clock.now()))
	publish(uwi, "eerste", "0158")
	if got := known(t, b)[uwi].Gemeentecode; got != "0158" {
		t.Fatalf("uwi has code %q, want the one it publishes", got)
	}
	publish(uwi, "tweede", "0163") // that of derde, which publishes nothing yet
	for range 20 {
		if got := known(t, b)[uwi].Gemeentecode; got != "" {
			t.Fatalf("uwi claims two codes and has %q", got)
		}
	}
}

// A directory that changes what it lists fills no memory with what was to be confirmed.
func TestConfirmForgets(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b := r.peers[borne]
	b.start(false)
	f := &follow{confirms: map[string]attempt{}}
	for i := range 20 {
		l := contract.Listing{Peer: contract.KnownPeer{Peer: gateway.Peer{ID: derde}}, Service: "dienst", Gemeentecode: fmt.Sprintf("%04d", i), Directory: uwi}
		b.m.confirm(t.Context(), f, []contract.Listing{l})
	}
	if len(f.confirms) != 1 {
		t.Errorf("%d attempts are remembered, want that of what is listed now", len(f.confirms))
	}
}

func TestSoundName(t *testing.T) {
	for name, want := range map[string]bool{
		"Gemeente Súdwest-Fryslân": true, "'s-Hertogenbosch": true, "": false, "Borne\nHengelo": false, "Born\u202ee": false, "Bor\u200bne": false,
		"\x1b[2JBorne": false, "Borne\xff": false, strings.Repeat("x", 256): false,
	} {
		if got := soundName(name); got != want {
			t.Errorf("%q: sound %v, want %v", name, got, want)
		}
	}
}

func TestCodeOfOurselves(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b := r.peers[borne]
	b.start(false)
	must(t, b.store.Announce(t.Context(), contract.KnownPeer{Peer: gateway.Peer{ID: uwi, Name: names[uwi]}, Address: r.addrs[uwi]}, r.clock.now()))
	for _, from := range []gateway.PeerID{uwi, borne} {
		b.agree(r.content(withProperties(publication(borne, from), `{"gemeentecode":"0147"}`)))
		must(t, b.m.Accept(t.Context(), b.lastHash(), "m1.test"))
		if got := known(t, b)[uwi].Gemeentecode; (got == "0147") != (from == uwi) {
			t.Errorf("after %s published, uwi has code %q", from, got)
		}
	}
}

func (p *testPeer) lastHash() gateway.ContentHash {
	p.r.t.Helper()
	all, err := p.m.List(p.r.t.Context())
	must(p.r.t, err)
	for _, s := range all {
		if s.State == contract.Proposed {
			return s.Hash
		}
	}
	return all[0].Hash
}
