package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/gemeenten"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/store"
	"github.com/grensloos/grensloos/gateway/toestemming"
)

// herindelingPlan is what moves and what can't, worked out from the stores of all sides before anything is written.
type herindelingPlan struct {
	per       time.Time
	sleutels  []teNemenSleutel
	gegeven   []overTeNemen
	voorstel  []*voorstel
	intrekken []intrekking
	adressen  []contract.KnownPeer // where peers are that only a predecessor knows
	verslag   herindelingVerslag
}

// teNemenSleutel is a pseudonym key that the successor does not have yet.
type teNemenSleutel struct {
	overgenomenSleutel
	van *offline
	key []byte
}

// overTeNemen are consents of one predecessor that are new or changed for the successor, renumbered.
type overTeNemen struct {
	van *offline
	all []toestemming.Toestemming
}

// voorstel is a contract in the successor's name, and the old ones that it stands for.
type voorstel struct {
	grants    []contract.GrantData
	notBefore time.Time
	notAfter  time.Time
	van       []intrekking
	er        *contract.Summary // the successor has it already
}

// intrekking is a contract of a predecessor.
type intrekking struct {
	peer *offline
	hash gateway.ContentHash
}

// herindelingVerslag is what the command prints.
type herindelingVerslag struct {
	Proef         bool                  `json:"proef"` // a dry run: nothing was changed
	Per           string                `json:"per"`
	Naar          herindelingPeer       `json:"naar"`
	Van           []herindelingPeer     `json:"van"`
	Sleutels      int                   `json:"sleutels"` // pseudonym keys taken over now
	Toestemmingen toestemmingenVerslag  `json:"toestemmingen"`
	Contracten    contractenVerslag     `json:"contracten"`
	NietOver      []nietOver            `json:"nietOver"`
	Hashes        []gateway.ContentHash `json:"voorgesteld"` // the new proposals
}

type herindelingPeer struct {
	OIN  gateway.PeerID `json:"oin"`
	Naam string         `json:"naam"`
	Code gemeenten.Code `json:"gemeentecode"`
}

type toestemmingenVerslag struct {
	Over        int `json:"over"`        // taken over now, or changed
	Ingetrokken int `json:"ingetrokken"` // of these: withdrawn, and they stay so
	WasOver     int `json:"wasOver"`     // taken over before
}

type contractenVerslag struct {
	Oud         int `json:"oud"`         // in force at the predecessors on the day
	Voorstellen int `json:"voorstellen"` // proposed now
	WasVoorstel int `json:"wasVoorstel"` // proposed before
	Geldig      int `json:"geldig"`      // of these: accepted by all
	Ingetrokken int `json:"ingetrokken"` // old ones revoked now
}

// nietOver counts what can't move, for one reason.
type nietOver struct {
	Van    gateway.PeerID `json:"van"`
	Wat    string         `json:"wat"` // toestemming, contract, grant, intrekking, contactpersoon, terugmelding
	Reden  string         `json:"reden"`
	Aantal int            `json:"aantal"`
}

func (p *herindelingPlan) niet(van *offline, wat, reden string) {
	v := &p.verslag
	for i := range v.NietOver {
		if n := &v.NietOver[i]; n.Van == van.cfg.Peer.ID && n.Wat == wat && n.Reden == reden {
			n.Aantal++
			return
		}
	}
	v.NietOver = append(v.NietOver, nietOver{van.cfg.Peer.ID, wat, reden, 1})
}

// checkHerindeling holds the peers to the register: each predecessor ended at the latest on the day, and the successor holds its
// records from then on.
func checkHerindeling(codes *gemeenten.Register, oud []*Config, nieuw *Config, per time.Time) error {
	seen := map[gateway.PeerID]bool{nieuw.Peer.ID: true}
	for _, cfg := range slices.Concat([]*Config{nieuw}, oud) {
		if _, err := gemeenten.ParseCode(cfg.Peer.Gemeentecode); err != nil {
			return usage("%s: peer.gemeentecode is not in its configuration; it says which gemeente this is", cfg.Peer.Name)
		}
		if cfg.Group.ID != nieuw.Group.ID || cfg.Demo != nieuw.Demo {
			return usage("%s: is of another group than %s, or one of them is a demo and the other is not", cfg.Peer.Name, nieuw.Peer.Name)
		}
	}
	to := gemeenten.Code(nieuw.Peer.Gemeentecode)
	if !codes.GeldigOp(to, per) {
		return usage("--per %s: gemeentecode %s (%s) is not valid on that day", per.Format(time.DateOnly), to, nieuw.Peer.Name)
	}
	for _, cfg := range oud {
		code := gemeenten.Code(cfg.Peer.Gemeentecode)
		switch next, err := codes.Opvolger(code, per); {
		case seen[cfg.Peer.ID]:
			return usage("--van: %s (%s) stands there twice, or is the successor itself", cfg.Peer.Name, cfg.Peer.ID)
		case err != nil:
			return exit{exitUsage, fmt.Errorf("%s: %w", cfg.Peer.Name, err)}
		case next == code:
			return usage("--per %s: gemeentecode %s (%s) has not ended on that day", per.Format(time.DateOnly), code, cfg.Peer.Name)
		case next != to:
			return usage("the successor of gemeentecode %s (%s) on %s is %s, not %s (%s)", code, cfg.Peer.Name, per.Format(time.DateOnly), next, to, nieuw.Peer.Name)
		}
		seen[cfg.Peer.ID] = true
	}
	return nil
}

// planHerindeling works out what moves. It writes nothing.
func planHerindeling(ctx context.Context, oud []*offline, nieuw *offline, per time.Time, intrekken bool) (*herindelingPlan, error) {
	p := &herindelingPlan{per: per}
	party := func(o *offline) herindelingPeer {
		return herindelingPeer{o.cfg.Peer.ID, o.cfg.Peer.Name, gemeenten.Code(o.cfg.Peer.Gemeentecode)}
	}
	p.verslag = herindelingVerslag{
		Per: per.Format(time.DateOnly), Naar: party(nieuw), NietOver: []nietOver{}, Hashes: []gateway.ContentHash{},
	}
	weg := map[gateway.PeerID]bool{}
	for _, o := range oud {
		weg[o.cfg.Peer.ID] = true
		p.verslag.Van = append(p.verslag.Van, party(o))
	}
	if err := p.contracten(ctx, oud, nieuw, weg); err != nil {
		return nil, err
	}
	if intrekken {
		p.kiesIntrekkingen()
	}
	for _, o := range oud {
		if err := p.blijft(ctx, o); err != nil {
			return nil, fmt.Errorf("%s: %w", o.cfg.Peer.Name, err)
		}
	}
	return p, p.register(ctx, oud, nieuw, weg)
}

// blijft counts what a person must see to: the household references of two gemeenten can't be joined by a program, and a report is
// about an answer that the old gemeente gave.
func (p *herindelingPlan) blijft(ctx context.Context, o *offline) error {
	for after := ""; ; {
		page, err := o.store.Contactpersonen(ctx, true, after, store.MaxContactpersonen)
		if err != nil {
			return err
		}
		for _, c := range page {
			p.niet(o, "contactpersoon", "wijs haar opnieuw toe bij de nieuwe gemeente")
			after = c.ID
		}
		if len(page) < store.MaxContactpersonen {
			break
		}
	}
	for after := ""; ; {
		page, err := o.store.OntvangenMeldingen(ctx, true, after, store.MaxTerugmeldingen)
		if err != nil {
			return err
		}
		for _, m := range page {
			p.niet(o, "terugmelding", "nog niet afgehandeld; handel haar bij de oude gemeente af")
			after = m.ID
		}
		if len(page) < store.MaxTerugmeldingen {
			return nil
		}
	}
}

// bereikbaar reports whether the successor knows where a peer's manager is. What only a predecessor knows is planned to go along: it is
// a hint, since the certificate decides who is there.
func (p *herindelingPlan) bereikbaar(ctx context.Context, oud []*offline, nieuw *offline, id gateway.PeerID) (bool, error) {
	if id == nieuw.cfg.Peer.ID || slices.ContainsFunc(p.adressen, func(k contract.KnownPeer) bool { return k.ID == id }) {
		return true, nil
	}
	for _, o := range slices.Concat([]*offline{nieuw}, oud) {
		known := contract.KnownPeer{Peer: gateway.Peer{ID: id}}
		for _, n := range o.cfg.Peers {
			if n.ID == id {
				known.Name, known.Address = n.Name, n.Manager
			}
		}
		addresses, err := o.store.PeerAddresses(ctx, id)
		if err != nil {
			return false, err
		}
		if known.Address == "" && len(addresses) > 0 {
			known.Address = addresses[0]
		}
		if known.Address == "" {
			continue
		}
		if o != nieuw {
			p.adressen = append(p.adressen, known)
		}
		return true, nil
	}
	return false, nil
}

// register plans the pseudonym keys and the consents.
func (p *herindelingPlan) register(ctx context.Context, oud []*offline, nieuw *offline, weg map[gateway.PeerID]bool) error {
	over, err := loadOvername(nieuw.cfg)
	if err != nil {
		return err
	}
	have, err := over.keys(nieuw.cfg)
	if err != nil {
		return err
	}
	for _, o := range oud {
		keys, err := allKeys(o.cfg)
		if err != nil {
			return fmt.Errorf("%s: %w", o.cfg.Peer.Name, err)
		}
		versies, fresh, err := over.renumber(nieuw.cfg.pseudonymSources(), have, o.cfg.Peer.ID, keys)
		if err != nil {
			return err
		}
		for _, s := range fresh {
			p.sleutels = append(p.sleutels, teNemenSleutel{s, o, keys[s.VanVersie]})
		}
		over.Sleutels = append(over.Sleutels, fresh...) // the next predecessor gets the numbers after these
		take := overTeNemen{van: o}
		for after := ""; ; {
			page, err := o.store.AlleToestemmingen(ctx, after, store.MaxToestemmingen)
			if err != nil {
				return fmt.Errorf("%s: %w", o.cfg.Peer.Name, err)
			}
			for _, t := range page {
				after = t.ID
				bekend, err := p.bereikbaar(ctx, oud, nieuw, t.Ontvanger)
				if err != nil {
					return err
				}
				switch versie, ok := versies[t.Betrokkene.Version()]; {
				case !ok:
					p.niet(o, "toestemming", "de sleutel van het pseudoniem is er niet meer")
				case weg[t.Ontvanger] || t.Ontvanger == nieuw.cfg.Peer.ID:
					p.niet(o, "toestemming", "de ontvanger is opgegaan in de nieuwe gemeente")
				case !bekend:
					p.niet(o, "toestemming", "de ontvanger "+string(t.Ontvanger)+" is bij de nieuwe gemeente niet bekend")
				default:
					t.Betrokkene = t.Betrokkene.Renumbered(versie)
					if err := p.toestemming(ctx, nieuw, &take, t); err != nil {
						return err
					}
				}
			}
			if len(page) < store.MaxToestemmingen {
				break
			}
		}
		p.gegeven = append(p.gegeven, take)
	}
	p.verslag.Sleutels = len(p.sleutels)
	return nil
}

// toestemming plans one consent, unless the successor knows all of it.
func (p *herindelingPlan) toestemming(ctx context.Context, nieuw *offline, take *overTeNemen, t toestemming.Toestemming) error {
	there, err := nieuw.store.Toestemming(ctx, t.ID)
	switch {
	case gateway.KindOf(err) == gateway.NotFound:
	case err != nil:
		return err
	case !there.IsSame(t):
		p.niet(take.van, "toestemming", "bij de nieuwe gemeente staat een andere toestemming onder hetzelfde nummer")
		return nil
	default:
		if merged := there.Merge(t); merged.BevestigdOp.Equal(there.BevestigdOp) && merged.Ingetrokken.Equal(there.Ingetrokken) {
			p.verslag.Toestemmingen.WasOver++
			return nil
		}
	}
	take.all = append(take.all, t)
	p.verslag.Toestemmingen.Over++
	if !t.Ingetrokken.IsZero() {
		p.verslag.Toestemmingen.Ingetrokken++
	}
	return nil
}

// contracten plans the proposals: every contract that is in force at a predecessor on the day, in the successor's name. Two that
// then say the same are one.
func (p *herindelingPlan) contracten(ctx context.Context, oud []*offline, nieuw *offline, weg map[gateway.PeerID]bool) error {
	now := nieuw.now()
	there, err := nieuw.manager.List(ctx)
	if err != nil {
		return err
	}
	sleutel, err := jose.KeyThumbprint(nieuw.identity.Cert().PublicKey)
	if err != nil {
		return fmt.Errorf("certificaat: %w", err)
	}
	has := map[string]*contract.Summary{}
	for i := range there {
		key, err := grantsKey(grantData(there[i].Content))
		if err != nil {
			return err
		}
		if old := has[key]; there[i].State != contract.Expired && (old == nil || there[i].State == contract.Valid) {
			has[key] = &there[i]
		}
	}
	plan := map[string]*voorstel{}
	for _, o := range oud {
		all, err := o.manager.List(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", o.cfg.Peer.Name, err)
		}
		for _, s := range all {
			switch {
			case s.State == contract.Proposed:
				p.niet(o, "contract", "nog niet door alle partijen geaccepteerd")
				continue
			case s.State != contract.Valid && s.State != contract.NotYet:
				continue
			case !s.Content.NotAfter().After(p.per) || !s.Content.NotAfter().After(now):
				p.niet(o, "contract", "loopt voor de herindeling af")
				continue
			}
			p.verslag.Contracten.Oud++
			grants, dropped := vertaal(s.Content, weg, nieuw.cfg.Peer.ID, sleutel)
			for range dropped {
				p.niet(o, "grant", "na de herindeling zijn beide kanten dezelfde gemeente")
			}
			if len(grants) == 0 {
				continue
			}
			key, err := grantsKey(grants)
			if err != nil {
				return err
			}
			v := plan[key]
			if v == nil {
				v = &voorstel{grants: grants, notBefore: latest(now.Truncate(time.Second), p.per, s.Content.NotBefore()), er: has[key]}
				v.notAfter = s.Content.NotAfter()
				if bezwaar := nieuw.bezwaar(v, now); v.er == nil && bezwaar != "" {
					p.niet(o, "contract", bezwaar)
					continue
				}
				switch ver, err := p.onbereikbaar(ctx, oud, nieuw, v); {
				case err != nil:
					return err
				case v.er == nil && ver != "":
					p.niet(o, "contract", fmt.Sprintf("van %s is niet bekend waar de manager is", ver))
					continue
				}
				plan[key] = v
				p.voorstel = append(p.voorstel, v)
			}
			v.notAfter = latest(v.notAfter, s.Content.NotAfter())
			v.van = append(v.van, intrekking{o, s.Hash})
		}
	}
	for _, v := range p.voorstel {
		switch {
		case v.er == nil:
			p.verslag.Contracten.Voorstellen++
		case v.er.State == contract.Valid:
			p.verslag.Contracten.Geldig++
			fallthrough
		default:
			p.verslag.Contracten.WasVoorstel++
		}
	}
	return nil
}

// kiesIntrekkingen picks the old contracts that may go: those whose successor is accepted by all. Nobody is left without.
func (p *herindelingPlan) kiesIntrekkingen() {
	for _, v := range p.voorstel {
		if v.er != nil && v.er.State == contract.Valid {
			p.intrekken = append(p.intrekken, v.van...)
			continue
		}
		for _, old := range v.van {
			p.niet(old.peer, "intrekking", "het nieuwe contract is nog niet door alle partijen geaccepteerd")
		}
	}
	p.verslag.Contracten.Ingetrokken = len(p.intrekken)
}

func latest(first time.Time, more ...time.Time) time.Time {
	return slices.MaxFunc(append(more, first), time.Time.Compare)
}

// bezwaar says why the successor can't propose a contract; empty if it can.
func (o *offline) bezwaar(v *voorstel, now time.Time) string {
	for _, g := range v.grants {
		if _, offers := o.cfg.Inway.Services[g.Service.Name]; g.Service.PeerID == o.cfg.Peer.ID && !offers {
			return fmt.Sprintf("de nieuwe gemeente biedt de service %s niet aan", g.Service.Name)
		}
	}
	c, err := contract.New(v.content(o.cfg.Group.ID, now))
	if err == nil {
		err = c.Validate(contract.Rules{Group: o.rules()}, now)
	}
	if err != nil {
		return err.Error()
	}
	for _, g := range c.ConnectionGrants() {
		if err := o.checkGrant(g); err != nil {
			return err.Error()
		}
	}
	return ""
}

// onbereikbaar is the first party whose manager nobody knows how to reach; empty if there is none.
func (p *herindelingPlan) onbereikbaar(ctx context.Context, oud []*offline, nieuw *offline, v *voorstel) (gateway.PeerID, error) {
	c, err := contract.New(v.content(nieuw.cfg.Group.ID, nieuw.now()))
	if err != nil {
		return "", err
	}
	for _, id := range c.Parties() {
		if ok, err := p.bereikbaar(ctx, oud, nieuw, id); err != nil || !ok {
			return id, err
		}
	}
	return "", nil
}

func (v *voorstel) content(group gateway.GroupID, now time.Time) contract.NewContent {
	return contract.NewContent{Group: group, Grants: v.grants, NotBefore: v.notBefore, NotAfter: v.notAfter, Now: now}
}

// vertaal gives the grants of a contract in the successor's name, each once: every peer that is gone is the successor, also as the
// college in whose name is asked. An outway of a peer that is gone becomes the successor's, known by its key. Grants in which the
// successor would ask itself are dropped, and counted.
func vertaal(c *contract.Content, weg map[gateway.PeerID]bool, nieuw gateway.PeerID, sleutel string) (grants []contract.GrantData, dropped int) {
	now := func(id gateway.PeerID) gateway.PeerID {
		if weg[id] {
			return nieuw
		}
		return id
	}
	ref := func(r *contract.PeerRef) *contract.PeerRef {
		if r == nil {
			return nil
		}
		return &contract.PeerRef{PeerID: now(r.PeerID)}
	}
	seen := map[string]bool{}
	for _, d := range grantData(c) {
		if d.Outway != nil && weg[d.Outway.PeerID] {
			d.Outway = &contract.Outway{PeerID: nieuw, Identification: contract.Identification{Type: contract.ByThumbprint, PublicKeyThumbprint: sleutel}}
		}
		d.Directory, d.Delegator = ref(d.Directory), ref(d.Delegator)
		d.Service.PeerID, d.Service.Delegator = now(d.Service.PeerID), ref(d.Service.Delegator)
		d.Properties = namens(d.Properties, now)
		if d.Outway != nil && d.Outway.PeerID == d.Service.PeerID || d.Delegator != nil && d.Delegator.PeerID == d.Service.PeerID {
			dropped++
			continue
		}
		key, err := grantsKey([]contract.GrantData{d})
		if err != nil || seen[key] {
			continue
		}
		seen[key] = true
		grants = append(grants, d)
	}
	return grants, dropped
}

// namens puts the successor where properties name a college that is gone. All else stays as it was signed.
func namens(properties json.RawMessage, now func(gateway.PeerID) gateway.PeerID) json.RawMessage {
	var all map[string]json.RawMessage
	var college gateway.PeerID
	if json.Unmarshal(properties, &all) != nil || json.Unmarshal(all["namensCollege"], &college) != nil || now(college) == college {
		return properties
	}
	all["namensCollege"], _ = json.Marshal(now(college))
	out, err := json.Marshal(all)
	if err != nil {
		return properties
	}
	return out
}

func grantData(c *contract.Content) []contract.GrantData {
	all := make([]contract.GrantData, len(c.Grants))
	for i, g := range c.Grants {
		all[i] = g.Data
	}
	return all
}

// grantsKey is equal for grants that say the same, in any order.
func grantsKey(grants []contract.GrantData) (string, error) {
	all := make([]string, len(grants))
	for i, g := range grants {
		raw, err := json.Marshal(g)
		if err == nil {
			raw, err = jose.CanonicalJSON(raw)
		}
		if err != nil {
			return "", err
		}
		all[i] = string(raw)
	}
	slices.Sort(all)
	return strings.Join(all, "\n"), nil
}

// sort puts what can't move in one order.
func (v *herindelingVerslag) sort() {
	slices.SortFunc(v.NietOver, func(a, b nietOver) int {
		return cmp.Or(cmp.Compare(a.Van, b.Van), cmp.Compare(a.Wat, b.Wat), cmp.Compare(a.Reden, b.Reden))
	})
}
