package manager

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
)

// Known are the other peers of the group that this one knows of at this moment, by id: those of the configuration, those that told
// us their address, and those that a directory lists. Gemeentecode is that of the configuration, else the one that the peer
// publishes and confirms. A code that two peers claim, of which the configuration names neither, is nobody's; neither is one that
// we publish ourselves, or one of several that one peer claims: who has a contract for one gemeente draws no questions about another.
func (k *Contracts) Known(ctx context.Context) ([]contract.KnownPeer, error) {
	all := map[gateway.PeerID]contract.KnownPeer{}
	for _, p := range k.o.Configured {
		p.Origin = contract.Configured
		all[p.ID] = p
	}
	told, err := k.told(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range told {
		p.Origin = contract.Told
		add(all, p)
	}
	claims := map[string]map[gateway.PeerID]bool{}
	for _, id := range k.o.Directories {
		peers, services, err := k.o.Store.Directory(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, p := range peers {
			add(all, p)
		}
		for _, l := range services {
			if l.Confirmed && l.Delegator.ID == "" {
				claim(claims, l.Gemeentecode, l.Peer.ID)
			}
		}
	}
	snap, err := k.current(ctx)
	if err != nil {
		return nil, err
	}
	own, err := snap.publications(k.o.Now())
	if err != nil {
		return nil, err
	}
	taken := map[string]bool{}
	for _, p := range own { // as a directory ourselves: what its peer signed needs no other word
		switch {
		case p.Delegator != "":
		case p.Peer == k.o.Self.ID: // a question for our own residents goes to nobody else
			taken[p.Gemeentecode] = true
		default:
			claim(claims, p.Gemeentecode, p.Peer)
		}
	}
	for _, p := range k.o.Configured {
		taken[p.Gemeentecode] = true
	}
	of := map[gateway.PeerID]int{} // how many codes it claims
	for _, peers := range claims {
		for id := range peers {
			of[id]++
		}
	}
	for code, peers := range claims {
		if len(peers) > 1 && !taken[code] {
			k.o.Log.WarnContext(ctx, "gemeentecode claimed by more than one peer; it counts for none", slog.String("gemeentecode", code))
		}
		for id := range peers {
			p, ok := all[id]
			if !ok || len(peers) > 1 || p.Gemeentecode != "" || taken[code] {
				continue
			}
			if of[id] > 1 {
				k.o.Log.WarnContext(ctx, "peer claims more than one gemeentecode; none counts", slog.String("peer", string(id)), slog.String("gemeentecode", code))
				continue
			}
			p.Gemeentecode = code
			all[id] = p
		}
	}
	delete(all, k.o.Self.ID)
	out := make([]contract.KnownPeer, 0, len(all))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		p := all[id]
		if p.Name == "" {
			p.Name = snap.names[id]
		}
		out = append(out, p)
	}
	return out, nil
}

func claim(claims map[string]map[gateway.PeerID]bool, code string, peer gateway.PeerID) {
	if code == "" {
		return
	}
	if claims[code] == nil {
		claims[code] = map[gateway.PeerID]bool{}
	}
	claims[code][peer] = true
}

// add puts in what is weaker than what is there: it fills gaps only.
func add(all map[gateway.PeerID]contract.KnownPeer, p contract.KnownPeer) {
	old, ok := all[p.ID]
	switch {
	case !ok:
		all[p.ID] = p
		return
	case old.Name == "":
		old.Name = p.Name
	}
	if old.Address == "" {
		old.Address = p.Address
	}
	if old.Announced.IsZero() {
		old.Announced = p.Announced
	}
	all[p.ID] = old
}

// told are the peers that told us their address.
func (k *Contracts) told(ctx context.Context) ([]contract.KnownPeer, error) {
	var all []contract.KnownPeer
	filter := contract.PeerFilter{Since: k.o.Now().Add(-announcedFor), Ascending: true, Limit: maxPage}
	for {
		page, err := k.o.Store.Peers(ctx, filter)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < maxPage {
			return all, nil
		}
		filter.After = page[len(page)-1].ID
	}
}
