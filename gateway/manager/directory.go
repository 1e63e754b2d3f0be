package manager

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
)

// What every manager does as a directory (FSC Core, Directory): peers announce themselves, and it lists them and the services that
// a valid publication contract names.

const (
	// announcedFor is how long an announcement keeps a peer in the list. Peers announce themselves again every announceEvery.
	announcedFor  = 7 * 24 * time.Hour
	announceEvery = 6 * time.Hour
	// announcePause is the least time between two announcements of one peer that are written.
	announcePause = time.Minute
	// movePause is the least time between two addresses of one peer: each costs a write, and a look at what waits for us.
	movePause = time.Second
)

// putAnnounce keeps where the manager of the calling peer is.
func (m *Manager) putAnnounce(w http.ResponseWriter, r *http.Request) {
	if err := m.addressIn(r); err != nil {
		m.fail(w, r, err)
		return
	}
	from := callerOf(r).peer
	if err := m.announced(r.Context(), contract.KnownPeer{Peer: from, Address: r.Header.Get(edge.HeaderManager)}); err != nil {
		m.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (m *Manager) announced(ctx context.Context, p contract.KnownPeer) error {
	now := m.o.Now()
	m.known.Lock()
	defer m.known.Unlock()
	old := m.written[p.ID]
	if old.Peer == p.Peer && old.Address == p.Address && now.Sub(old.Announced).Abs() < announcePause {
		return nil
	}
	if now.Sub(old.Announced).Abs() < movePause {
		return gateway.Errorf(gateway.Unavailable, "announcement: another one was made within %v; announce again later", movePause)
	}
	if err := m.o.Store.Announce(ctx, p, now); err != nil {
		return err
	}
	if old.Address != p.Address {
		m.o.Log.InfoContext(ctx, "peer announced", slog.String("peer", string(p.ID)), slog.String("address", p.Address))
	}
	p.Announced = now
	m.written[p.ID] = p
	m.acceptable.Store(true)
	m.glance()
	return nil
}

// know keeps name and address of a peer that we deal with.
func (m *Manager) know(ctx context.Context, peer gateway.Peer, address string) {
	m.known.Lock()
	defer m.known.Unlock()
	old := m.written[peer.ID]
	if old.Peer == peer && old.Address == address {
		return
	}
	p := contract.KnownPeer{Peer: peer, Address: address, Announced: old.Announced}
	if err := m.o.Store.PutPeer(ctx, p, m.o.Now()); err != nil {
		m.o.Log.WarnContext(ctx, "peer not written", slog.String("peer", string(peer.ID)), slog.Any("error", err))
		return
	}
	m.written[peer.ID] = p
}

// forget drops what a peer told us of itself, when it ended the last contract that named it: it left, as far as we can see. One
// that stays in the group announces itself again.
func (m *Manager) forget(ctx context.Context, peer gateway.PeerID) {
	recs, err := m.o.Store.InForce(ctx, m.o.Now())
	if err != nil {
		m.o.Log.WarnContext(ctx, "contracts not read", slog.Any("error", err))
		return
	}
	for _, rec := range recs {
		c, err := m.parse(rec)
		if err != nil || slices.Contains(c.Parties(), peer) && !ended(rec) {
			return
		}
	}
	m.known.Lock()
	defer m.known.Unlock()
	if err := m.o.Store.DropPeer(ctx, peer); err != nil {
		m.o.Log.WarnContext(ctx, "peer not dropped", slog.String("peer", string(peer)), slog.Any("error", err))
		return
	}
	delete(m.written, peer)
	m.o.Log.InfoContext(ctx, "peer ended its last contract; its address is dropped", slog.String("peer", string(peer)))
}

// ended reports whether somebody put a no on a contract.
func ended(rec contract.Record) bool {
	return slices.ContainsFunc(rec.Signed, func(s contract.Signed) bool { return s.Type != contract.Accept })
}

type peerJSON struct {
	ID      gateway.PeerID `json:"id"`
	Name    string         `json:"name"`
	Address string         `json:"manager_address"`
}

// getPeers lists the peers that announced themselves here, and those that this one negotiated with.
func (m *Manager) getPeers(w http.ResponseWriter, r *http.Request) {
	f, limit, err := peerFilter(r)
	if err != nil {
		m.fail(w, r, err)
		return
	}
	f.Since = m.o.Now().Add(-announcedFor)
	all, err := m.o.Store.Peers(r.Context(), f)
	if err != nil {
		m.fail(w, r, err)
		return
	}
	out := peersJSON{Peers: []peerJSON{}}
	for i, p := range all {
		if limit > 0 && i == limit {
			out.Pagination.NextCursor = cursor(string(all[i-1].ID))
			break
		}
		if p.ID == m.o.Self.ID { // kept to know whom we told our address
			continue
		}
		if own := m.o.Peers.Addresses[p.ID]; own != "" && p.Announced.IsZero() { // what a peer announced is its own word
			p.Address = own
		}
		out.Peers = append(out.Peers, peerJSON{ID: p.ID, Name: p.Name, Address: p.Address})
	}
	edge.WriteJSON(w, r, http.StatusOK, out)
}

// peerFilter asks for one more than the page, to know whether there is a next; limit is zero when ids are asked for.
func peerFilter(r *http.Request) (f contract.PeerFilter, limit int, err error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return f, 0, gateway.Errorf(gateway.Invalid, "query: not well formed")
	}
	if list := query.Get("peer_id"); list != "" {
		for id := range strings.SplitSeq(list, ",") {
			peer, err := gateway.ParsePeerID(id)
			if err != nil || len(f.IDs) == maxHashes {
				return f, 0, gateway.Errorf(gateway.Invalid, "peer_id: give 1 to %d OINs with commas between", maxHashes)
			}
			if !slices.Contains(f.IDs, peer) {
				f.IDs = append(f.IDs, peer)
			}
		}
		return f, 0, nil
	}
	if f.Ascending, limit, err = paging(query); err != nil {
		return f, 0, err
	}
	f.Limit = limit + 1
	if f.Name = query.Get("peer_name"); len(f.Name) > 200 {
		return f, 0, gateway.Errorf(gateway.Invalid, "peer_name: at most 200 bytes")
	}
	if c := query.Get("cursor"); c != "" {
		id, err := uncursor(c)
		if err != nil {
			return f, 0, errCursor
		}
		if f.After, err = gateway.ParsePeerID(id); err != nil {
			return f, 0, errCursor
		}
	}
	return f, limit, nil
}

// The wire form of GET /services.
type serviceListing struct {
	Type string      `json:"type"` // manager.yaml demands it here, and defines it in data
	Data listingJSON `json:"data"`
}

type listingJSON struct {
	Type       string              `json:"type"`
	Delegator  *delegatorJSON      `json:"delegator,omitempty"`
	Peer       peerJSON            `json:"peer"`
	Name       gateway.ServiceName `json:"name"`
	Protocol   string              `json:"protocol"`
	Properties json.RawMessage     `json:"properties,omitempty"`
}

type delegatorJSON struct {
	ID   gateway.PeerID `json:"peer_id"`
	Name string         `json:"peer_name"`
}

type servicesJSON struct {
	Services   []serviceListing `json:"services"`
	Pagination pagination       `json:"pagination"`
}

type peersJSON struct {
	Peers      []peerJSON `json:"peers"`
	Pagination pagination `json:"pagination"`
}

// getServices lists the services that a valid contract of this manager publishes.
func (m *Manager) getServices(w http.ResponseWriter, r *http.Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		m.fail(w, r, gateway.Errorf(gateway.Invalid, "query: not well formed"))
		return
	}
	page, next, err := m.servicePage(r.Context(), query)
	if err != nil {
		m.fail(w, r, err)
		return
	}
	out := servicesJSON{Services: page, Pagination: pagination{NextCursor: next}}
	edge.WriteJSON(w, r, http.StatusOK, out)
}

func (m *Manager) servicePage(ctx context.Context, query url.Values) (page []serviceListing, next string, err error) {
	ascending, limit, err := paging(query)
	if err != nil {
		return nil, "", err
	}
	match, err := serviceFilter(query)
	if err != nil {
		return nil, "", err
	}
	after, err := uncursor(query.Get("cursor"))
	if err != nil || after == "" && query.Get("cursor") != "" || strings.Count(after, " ") != 2 && after != "" {
		return nil, "", errCursor
	}
	snap, err := m.current(ctx)
	if err != nil {
		return nil, "", err
	}
	all, err := snap.publications(m.o.Now())
	if err != nil {
		return nil, "", err
	}
	if !ascending {
		slices.Reverse(all)
	}
	page = []serviceListing{}
	addresses := map[gateway.PeerID]string{}
	for i, p := range all {
		order := cmp.Compare(publicationKey(p), after)
		if after != "" && (ascending && order <= 0 || !ascending && order >= 0) || !match(p) {
			continue
		}
		if len(page) == limit {
			return page, cursor(last(page)), nil
		}
		address, known := addresses[p.Peer]
		if !known {
			if address, err = m.listedAddress(ctx, p.Peer); err != nil {
				return nil, "", err
			}
			addresses[p.Peer] = address
		}
		page = append(page, listingOf(all[i], snap.names, address))
	}
	return page, "", nil
}

func last(page []serviceListing) string {
	d := page[len(page)-1].Data
	delegator := ""
	if d.Delegator != nil {
		delegator = string(d.Delegator.ID)
	}
	return string(d.Peer.ID) + " " + string(d.Name) + " " + delegator
}

func listingOf(p contract.Publication, names map[gateway.PeerID]string, address string) serviceListing {
	d := listingJSON{
		Type: contract.ServiceTypeService, Peer: peerJSON{ID: p.Peer, Name: names[p.Peer], Address: address}, Name: p.Service,
		Protocol: p.Protocol, Properties: p.Properties,
	}
	if p.Delegator != "" {
		d.Type, d.Delegator = contract.ServiceTypeDelegated, &delegatorJSON{ID: p.Delegator, Name: names[p.Delegator]}
	}
	return serviceListing{Type: d.Type, Data: d}
}

func publicationKey(p contract.Publication) string {
	return string(p.Peer) + " " + string(p.Service) + " " + string(p.Delegator)
}

// publications are those that count at now, one for each service and whom it is offered for, the newest contract's, by key.
func (s *snapshot) publications(now time.Time) ([]contract.Publication, error) {
	newest := map[string]contract.Publication{}
	for _, p := range s.published {
		if now.Before(p.NotBefore) || now.After(p.NotAfter) || now.After(p.until) {
			continue
		}
		if p.unsure != nil {
			return nil, gateway.Wrap(gateway.Unavailable, p.unsure, "publication: the certificate of a signature can't be checked now")
		}
		key := publicationKey(p.Publication)
		if old, ok := newest[key]; !ok || p.Created.After(old.Created) || p.Created.Equal(old.Created) && p.Hash > old.Hash {
			newest[key] = p.Publication
		}
	}
	all := make([]contract.Publication, 0, len(newest))
	for _, p := range newest {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b contract.Publication) int { return cmp.Compare(publicationKey(a), publicationKey(b)) })
	return all, nil
}

// serviceFilter keeps a service that one of the filters names; without filters every one.
func serviceFilter(query url.Values) (func(contract.Publication) bool, error) {
	var peer gateway.PeerID
	if id := query.Get("peer_id"); id != "" {
		var err error
		if peer, err = gateway.ParsePeerID(id); err != nil {
			return nil, gateway.Errorf(gateway.Invalid, "peer_id: give an OIN of 20 digits")
		}
	}
	name := strings.ToLower(query.Get("service_name"))
	if len(name) > 255 {
		return nil, gateway.Errorf(gateway.Invalid, "service_name: at most 255 bytes")
	}
	return func(p contract.Publication) bool {
		return peer == "" && name == "" || peer != "" && p.Peer == peer ||
			name != "" && strings.Contains(strings.ToLower(string(p.Service)), name)
	}, nil
}

// listedAddress is where a peer said that its manager is, else where our configuration says so.
func (m *Manager) listedAddress(ctx context.Context, peer gateway.PeerID) (string, error) {
	if peer == m.o.Self.ID {
		return m.o.Address, nil
	}
	found, err := m.o.Store.Peers(ctx, contract.PeerFilter{IDs: []gateway.PeerID{peer}})
	if err != nil {
		return "", err
	}
	if len(found) == 1 && (!found[0].Announced.IsZero() || m.o.Peers.Addresses[peer] == "") {
		return found[0].Address, nil
	}
	return m.o.Peers.Addresses[peer], nil
}
