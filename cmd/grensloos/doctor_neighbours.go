package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/manager"
)

const (
	atOnce     = 16 // neighbours looked at at a time
	maxKnown   = 1000
	maxPeerDoc = 64 << 10
	clockSoon  = 2 * time.Second
	clockOff   = 5 * time.Second // what an inway accepts at most
)

// neighbour is another peer of the group, as we know it.
type neighbour struct {
	id      gateway.PeerID
	name    string
	manager string
	grants  []gateway.Grant // that let us ask it
}

// neighbours looks at every peer that we know the manager of.
func (d *doctor) neighbours(ctx context.Context) {
	if d.p == nil {
		d.warn("buren", "", "verbeter eerst de eigen certificaten", "niet bekeken: zonder eigen identiteit is er geen verbinding te leggen")
		return
	}
	all := d.known(ctx)
	found := make([]*diagnosis, len(all))
	var work sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	tokens := d.tokens(all)
	for i, n := range all {
		work.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			found[i] = d.visit(ctx, n, tokens)
		})
	}
	work.Wait()
	for _, f := range found {
		d.Bevindingen = append(d.Bevindingen, f.Bevindingen...)
	}
}

// known are the neighbours: of the configuration, the directories, and those that the store remembers.
func (d *doctor) known(ctx context.Context) []neighbour {
	all := map[gateway.PeerID]neighbour{}
	if d.p.store != nil {
		remembered, err := d.p.store.Peers(ctx, contract.PeerFilter{Ascending: true, Limit: maxKnown})
		if err != nil {
			d.warn("buren", "", "", "wie het register kent is niet te lezen: %v", err)
		}
		for _, k := range remembered {
			if k.Address != "" {
				all[k.ID] = neighbour{id: k.ID, name: k.Name, manager: k.Address}
			}
		}
	}
	for _, dir := range d.cfg.directories() {
		all[dir.ID] = neighbour{id: dir.ID, name: cmp.Or(all[dir.ID].name, "directory"), manager: dir.Manager}
	}
	for _, n := range d.cfg.Peers {
		all[n.ID] = neighbour{id: n.ID, name: cmp.Or(n.Name, all[n.ID].name), manager: n.Manager}
	}
	delete(all, d.cfg.Peer.ID)
	if d.p.manager != nil {
		grants, err := d.p.manager.Grants(ctx, func(g gateway.Grant) bool { return g.Outway == d.cfg.Peer.ID })
		if err != nil {
			d.warn("buren", "", "", "welke inways wij bevragen is niet te lezen: %v", err)
		}
		for _, g := range grants {
			if n, ok := all[g.ServicePeer]; ok {
				n.grants = append(n.grants, g)
				all[g.ServicePeer] = n
			}
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b neighbour) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.id, b.id)) })
}

// tokens fetches access tokens: what they are for is the one place that says where an inway is.
func (d *doctor) tokens(all []neighbour) *manager.TokenClient {
	addresses := map[gateway.PeerID]string{}
	for _, n := range all {
		addresses[n.id] = n.manager
	}
	return &manager.TokenClient{
		Self: d.cfg.Peer.ID, Group: d.p.rules(), Certificate: d.p.identity.Cert, Now: time.Now,
		Peers: &manager.Peers{
			Addresses: addresses, Own: d.cfg.Manager.Address, Transport: d.p.transport.To, VerifyChain: d.p.group.VerifyChain, Now: time.Now,
		},
	}
}

// visit looks at one neighbour: its manager, its clock, its certificate, and the inways that we ask.
func (d *doctor) visit(ctx context.Context, n neighbour, tokens *manager.TokenClient) *diagnosis {
	v := &doctor{cfg: d.cfg, now: d.now, p: d.p}
	who := fmt.Sprintf("%s (%s)", n.name, n.id)
	seen, err := d.callManager(ctx, n)
	if err != nil {
		v.fail("manager", who, "bel de beheerder van deze peer; klopt het adres nog? Zolang dit duurt krijgt een vraag aan hem als uitkomst onbereikbaar, en wachten handtekeningen",
			"%s is niet bereikbaar: %v", n.manager, err)
		return &v.diagnosis
	}
	v.ok("manager", who, "%s antwoordt, FSC %.20s", n.manager, seen.version)
	if seen.version != contract.Version {
		v.warn("manager", who, "spreek af dat alle peers van de groep dezelfde versie draaien", "spreekt FSC %.20s, wij %s", seen.version, contract.Version)
	}
	const theirs = "meld het de beheerder van deze peer: na die dag weigert iedereen hem"
	v.lifetime(who, seen.chain[0], theirs)
	for _, above := range seen.chain[1:] {
		if above.NotAfter.Sub(d.now) < certSoon {
			v.lifetime(who+": uitgever "+above.Subject.CommonName, above, theirs)
		}
	}
	v.clock(who, seen.offset)
	asked := map[string]bool{}
	for _, g := range n.grants {
		v.inway(ctx, who, g, tokens, asked)
	}
	return &v.diagnosis
}

// clock judges how far two clocks are apart.
func (d *doctor) clock(who string, offset *time.Duration) {
	if offset == nil {
		d.warn("klok", who, "", "zegt niet hoe laat het daar is")
		return
	}
	switch off := offset.Abs(); {
	case off > clockOff:
		d.fail("klok", who, mendClock, "loopt %v uit de pas met de onze", offset.Round(time.Second))
	case off > clockSoon:
		d.warn("klok", who, mendClock, "loopt %v uit de pas met de onze", offset.Round(time.Second))
	default:
		d.ok("klok", who, "loopt gelijk met de onze")
	}
}

// inway asks for a token of one grant and looks whether somebody answers where it may be used.
func (d *doctor) inway(ctx context.Context, who string, g gateway.Grant, tokens *manager.TokenClient, asked map[string]bool) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	_, claims, err := tokens.Token(ctx, g)
	if err != nil {
		d.fail("token", who, "kijk aan beide kanten naar het contract (grensloos contract list); bij die peer moet de service "+string(g.Service)+" aan staan",
			"geeft geen token voor %s%s: %v", g.Service, prefixed(", doel ", string(g.Properties.Doel)), err)
		return
	}
	if asked[claims.Audience] {
		return
	}
	asked[claims.Audience] = true
	if err := d.handshake(ctx, g.ServicePeer, claims.Audience); err != nil {
		d.fail("inway", who, "bel de beheerder van deze peer; zolang dit duurt krijgt een vraag aan hem als uitkomst onbereikbaar", "%s is niet bereikbaar: %v", claims.Audience, err)
		return
	}
	d.ok("inway", who, "%s antwoordt", claims.Audience)
}

// sight is what one call to a manager showed.
type sight struct {
	version string
	chain   []*x509.Certificate
	offset  *time.Duration // of its clock against ours; nil: unknown
}

// callManager asks a manager who it is, over a connection of its own.
func (d *doctor) callManager(ctx context.Context, n neighbour) (sight, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: d.p.group.ClientTLS(d.p.identity, n.id), DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.manager+"/v1/peer", nil)
	if err != nil {
		return sight{}, err
	}
	before := time.Now()
	resp, err := transport.RoundTrip(req) // no redirects
	if err != nil {
		return sight{}, err
	}
	defer resp.Body.Close()
	rtt := time.Since(before)
	var doc struct {
		ID      gateway.PeerID `json:"peer_id"`
		Version string         `json:"fsc_version"`
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxPeerDoc))
	switch {
	case err != nil:
		return sight{}, err
	case resp.StatusCode != http.StatusOK:
		return sight{}, fmt.Errorf("status %d%s", resp.StatusCode, prefixed(" ", resp.Header.Get("Fsc-Error-Code")))
	case json.Unmarshal(raw, &doc) != nil || doc.ID != n.id:
		return sight{}, fmt.Errorf("the answer is not of peer %s", n.id)
	}
	s := sight{version: doc.Version, chain: resp.TLS.PeerCertificates}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		off := clockOffset(at, before, rtt)
		s.offset = &off
	}
	return s, nil
}

// clockOffset is how far a clock is off at least, when it said date (in whole seconds) to a question sent at before that took rtt.
func clockOffset(date, before time.Time, rtt time.Duration) time.Duration {
	earliest, latest := date.Sub(before.Add(rtt)), date.Add(time.Second).Sub(before)
	switch {
	case earliest > 0:
		return earliest
	case latest < 0:
		return latest
	}
	return 0
}

// hostPort is what to dial for an https address.
func hostPort(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Port() == "" {
		return "", fmt.Errorf("address %.100q: want https://host:port", address)
	}
	return u.Host, nil
}
