package manager

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/jose"
)

const (
	// DefaultDirectoryEvery is how often a directory is read: who joins or leaves is known everywhere within this time.
	DefaultDirectoryEvery = 5 * time.Second

	maxDirectoryPause = 30 * time.Second // after failures
	directoryPage     = 200
	maxPages          = 100
	confirmAtOnce     = 8
	confirmTimeout    = 3 * time.Second
)

// follow is what this process knows of one directory that it follows.
type follow struct {
	refresh sync.Mutex // one reader of the directory

	mu       sync.Mutex
	state    contract.DirectoryState // guarded by mu
	confirms map[string]attempt      // what a peer did not confirm yet; used under refresh
}

type attempt struct {
	next time.Time
	n    int
}

func (f *follow) update(change func(*contract.DirectoryState)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.state)
}

// Directories says how far this peer is with each directory, by id.
func (m *Manager) Directories() []contract.DirectoryState {
	var all []contract.DirectoryState
	for _, id := range slices.Sorted(maps.Keys(m.follows)) {
		f := m.follows[id]
		f.mu.Lock()
		all = append(all, f.state)
		f.mu.Unlock()
	}
	return all
}

// followDirectory reads a directory until ctx ends. While it is away, what was read before stands.
func (m *Manager) followDirectory(ctx context.Context, id gateway.PeerID) {
	failures := 0
	for {
		pause := m.o.DirectoryEvery
		if err := m.refreshDirectory(ctx, id); err != nil {
			if ctx.Err() == nil && failures == 0 {
				m.o.Log.WarnContext(ctx, "directory not read; what is known stands", slog.String("directory", string(id)), slog.Any("error", err))
			}
			if failures++; failures < 10 {
				pause <<= failures - 1
			}
			pause = min(max(pause, m.o.DirectoryEvery), max(maxDirectoryPause, m.o.DirectoryEvery))
			if failures >= 10 {
				pause = max(maxDirectoryPause, m.o.DirectoryEvery)
			}
		} else if failures > 0 {
			m.o.Log.InfoContext(ctx, "directory read again", slog.String("directory", string(id)))
			failures = 0
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// refreshDirectory announces this peer if need be, reads the directory, and keeps what it says.
func (m *Manager) refreshDirectory(ctx context.Context, id gateway.PeerID) error {
	f := m.follows[id]
	f.refresh.Lock()
	defer f.refresh.Unlock()
	err := m.refreshOnce(ctx, id, f)
	f.update(func(s *contract.DirectoryState) {
		s.Problem = ""
		if err != nil {
			s.Problem = shorten(err.Error())
		}
	})
	return err
}

func (m *Manager) refreshOnce(ctx context.Context, id gateway.PeerID, f *follow) error {
	left, err := m.o.Store.Left(ctx)
	if err != nil {
		return err
	}
	f.mu.Lock()
	last := f.state.Announced
	f.mu.Unlock()
	now := m.o.Now()
	if left.IsZero() && (last.IsZero() || now.Sub(last) >= announceEvery) {
		if err := m.announceTo(ctx, id, f); err != nil {
			return err
		}
		last = now
	}
	peers, listsUs, err := m.readPeers(ctx, id)
	if err != nil {
		return err
	}
	if left.IsZero() && !listsUs && now.Sub(last) >= 2*m.o.DirectoryEvery { // it lost us, or has another address
		if err := m.announceTo(ctx, id, f); err != nil {
			return err
		}
	}
	services, err := m.readServices(ctx, id, peers)
	if err != nil {
		return err
	}
	return m.keepDirectory(ctx, id, f, peers, services)
}

func (m *Manager) announceTo(ctx context.Context, id gateway.PeerID, f *follow) error {
	if err := m.announce(ctx, id); err != nil {
		return err
	}
	f.update(func(s *contract.DirectoryState) { s.Announced = m.o.Now() })
	return nil
}

func (m *Manager) announce(ctx context.Context, to gateway.PeerID) error {
	status, _, err := m.o.Peers.call(ctx, to, http.MethodPut, "/v1/announce", "", nil)
	if err == nil && status != http.StatusOK {
		err = gateway.Errorf(gateway.Unavailable, "announcement to peer %s: status %d", to, status)
	}
	return err
}

// pages reads all pages of a list. each decodes one and returns its next cursor.
func (m *Manager) pages(ctx context.Context, from gateway.PeerID, path string, query url.Values, each func([]byte) (string, error)) error {
	query.Set("limit", strconv.Itoa(directoryPage))
	query.Set("sort_order", "SORT_ORDER_ASCENDING")
	for range maxPages {
		status, body, err := m.o.Peers.call(ctx, from, http.MethodGet, path+"?"+query.Encode(), "", nil)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return gateway.Errorf(gateway.Unavailable, "%s of peer %s: status %d", path, from, status)
		}
		next, err := each(body)
		if err != nil {
			return gateway.Wrap(gateway.Unavailable, err, path+" of peer "+string(from))
		}
		if next == "" || next == query.Get("cursor") {
			return nil
		}
		query.Set("cursor", next)
	}
	return gateway.Errorf(gateway.Unavailable, "%s of peer %s: more than %d pages", path, from, maxPages)
}

// readPeers reads who a directory lists. What is not well formed is left out: the rest stands.
func (m *Manager) readPeers(ctx context.Context, id gateway.PeerID) (peers map[gateway.PeerID]contract.KnownPeer, listsUs bool, err error) {
	peers = map[gateway.PeerID]contract.KnownPeer{}
	err = m.pages(ctx, id, "/v1/peers", url.Values{}, func(body []byte) (string, error) {
		var page peersJSON
		if err := jose.Decode(body, &page, jose.AllowUnknown()); err != nil {
			return "", err
		}
		for _, p := range page.Peers {
			if p.ID == m.o.Self.ID {
				listsUs = p.Address == m.o.Address
			} else if known, ok := m.sound(p); ok {
				peers[p.ID] = known
			}
		}
		return page.Pagination.NextCursor, nil
	})
	return peers, listsUs, err
}

// sound takes a peer as a directory lists it, if it is well formed.
func (m *Manager) sound(p peerJSON) (contract.KnownPeer, bool) {
	_, err := gateway.ParsePeerID(string(p.ID))
	ok := err == nil && checkAddress(p.Address, m.o.Rules.Group) == nil && soundName(p.Name)
	return contract.KnownPeer{Peer: gateway.Peer{ID: p.ID, Name: p.Name}, Address: p.Address, Origin: contract.Listed}, ok
}

func soundName(name string) bool {
	return name != "" && len(name) <= 255 && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) // also what turns the text around
}

func (m *Manager) readServices(ctx context.Context, id gateway.PeerID, peers map[gateway.PeerID]contract.KnownPeer) ([]contract.Listing, error) {
	all := map[string]contract.Listing{}
	err := m.pages(ctx, id, "/v1/services", url.Values{}, func(body []byte) (string, error) {
		var page servicesJSON
		if err := jose.Decode(body, &page, jose.AllowUnknown()); err != nil {
			return "", err
		}
		for _, s := range page.Services {
			l, ok := m.soundListing(id, s.Data)
			if !ok {
				continue
			}
			if _, listed := peers[l.Peer.ID]; !listed && l.Peer.ID != m.o.Self.ID {
				peers[l.Peer.ID] = l.Peer
			}
			all[l.Key()] = l
		}
		return page.Pagination.NextCursor, nil
	})
	return slices.Collect(maps.Values(all)), err
}

func (m *Manager) soundListing(directory gateway.PeerID, d listingJSON) (contract.Listing, bool) {
	peer, ok := m.sound(d.Peer)
	_, err := gateway.ParseServiceName(string(d.Name))
	if !ok || err != nil || d.Protocol != contract.ProtocolHTTP1 && d.Protocol != contract.ProtocolHTTP2 || len(d.Properties) > 64<<10 {
		return contract.Listing{}, false
	}
	l := contract.Listing{
		Peer: peer, Service: d.Name, Protocol: d.Protocol, Properties: d.Properties, Gemeentecode: contract.GemeentecodeOf(d.Properties),
		Directory: directory,
	}
	if d.Delegator != nil {
		if _, err := gateway.ParsePeerID(string(d.Delegator.ID)); err != nil || !soundName(d.Delegator.Name) {
			return contract.Listing{}, false
		}
		l.Delegator = gateway.Peer{ID: d.Delegator.ID, Name: d.Delegator.Name}
	}
	return l, true
}

// keepDirectory writes what a directory says. A peer that it lists no more stays for as long as a valid contract names it: a
// directory that lost its memory takes nothing away that a contract gives.
func (m *Manager) keepDirectory(ctx context.Context, id gateway.PeerID, f *follow, peers map[gateway.PeerID]contract.KnownPeer, services []contract.Listing) error {
	oldPeers, oldServices, err := m.o.Store.Directory(ctx, id)
	if err != nil {
		return err
	}
	snap, err := m.current(ctx)
	if err != nil {
		return err
	}
	was := map[string]contract.Listing{}
	for _, p := range oldPeers {
		if _, listed := peers[p.ID]; !listed && snap.parties[p.ID] {
			peers[p.ID] = p
			for _, l := range oldServices {
				if l.Peer.ID == p.ID {
					services = append(services, l)
				}
			}
		}
	}
	for _, l := range oldServices {
		was[l.Key()] = l
	}
	for i, l := range services {
		old := was[l.Key()]
		services[i].Confirmed = l.Confirmed || old.Confirmed && old.Gemeentecode == l.Gemeentecode && old.Gemeentecode != ""
		services[i].Peer = peers[l.Peer.ID]
		services[i].Peer.ID = l.Peer.ID
	}
	slices.SortFunc(services, func(a, b contract.Listing) int { return strings.Compare(a.Key(), b.Key()) })
	sorted := make([]contract.KnownPeer, 0, len(peers))
	for _, peer := range slices.Sorted(maps.Keys(peers)) {
		sorted = append(sorted, peers[peer])
	}
	write := func() error {
		if same(oldPeers, sorted) && same(oldServices, services) {
			return nil
		}
		if err := m.o.Store.PutDirectory(ctx, id, sorted, services); err != nil {
			return err
		}
		oldPeers, oldServices = sorted, slices.Clone(services)
		return nil
	}
	if err := write(); err != nil { // first, since confirming calls the addresses in the store
		return err
	}
	services = slices.Clone(services)
	if m.confirm(ctx, f, services) {
		if err := write(); err != nil {
			return err
		}
	}
	f.update(func(s *contract.DirectoryState) { s.Read, s.Peers, s.Services = m.o.Now(), len(sorted), len(services) })
	return nil
}

func same[T any](a, b []T) bool { return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b) }

// confirm asks the peers whose gemeentecode nobody but the directory vouches for. A directory that lies sends no question to the
// wrong gemeente: a code counts when the peer itself, by its certificate, says the same.
func (m *Manager) confirm(ctx context.Context, f *follow, services []contract.Listing) (changed bool) {
	now := m.o.Now()
	listed := map[string]bool{}
	for _, l := range services {
		listed[l.Key()+" "+l.Gemeentecode] = true
	}
	maps.DeleteFunc(f.confirms, func(key string, _ attempt) bool { return !listed[key] })
	confirmed := make([]bool, len(services))
	var all errgroup.Group
	all.SetLimit(confirmAtOnce)
	for i, l := range services {
		key := l.Key() + " " + l.Gemeentecode
		if l.Gemeentecode == "" || l.Confirmed || l.Delegator.ID != "" || l.Peer.ID == m.o.Self.ID || now.Before(f.confirms[key].next) {
			continue
		}
		all.Go(func() error {
			confirmed[i] = m.saysItself(ctx, l)
			return nil
		})
		f.confirms[key] = attempt{next: now.Add(backoff(m.o.DirectoryEvery, f.confirms[key].n+1)), n: f.confirms[key].n + 1}
	}
	_ = all.Wait()
	for i := range services {
		if confirmed[i] {
			services[i].Confirmed, changed = true, true
			delete(f.confirms, services[i].Key()+" "+services[i].Gemeentecode)
		}
	}
	return changed
}

func (m *Manager) saysItself(ctx context.Context, l contract.Listing) (says bool) {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	err := m.pages(ctx, l.Peer.ID, "/v1/services", url.Values{"peer_id": {string(l.Peer.ID)}}, func(body []byte) (string, error) {
		var page servicesJSON
		if err := json.Unmarshal(body, &page); err != nil {
			return "", err
		}
		for _, s := range page.Services {
			if s.Data.Peer.ID == l.Peer.ID && s.Data.Name == l.Service && s.Data.Delegator == nil &&
				contract.GemeentecodeOf(s.Data.Properties) == l.Gemeentecode {
				says = true
			}
		}
		return page.Pagination.NextCursor, nil
	})
	if err != nil && ctx.Err() == nil {
		m.o.Log.InfoContext(ctx, "gemeentecode not confirmed by its peer", slog.String("peer", string(l.Peer.ID)), slog.Any("error", err))
	}
	return says
}

// Listings are the services that the directories list, and those that this peer lists itself, by key.
func (m *Manager) Listings(ctx context.Context) ([]contract.Listing, error) {
	all := map[string]contract.Listing{}
	for _, id := range slices.Sorted(maps.Keys(m.follows)) {
		_, services, err := m.o.Store.Directory(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, l := range services {
			if l.Peer.ID == m.o.Self.ID {
				l.Peer = contract.KnownPeer{Peer: m.o.Self, Address: m.o.Address}
			}
			if _, there := all[l.Key()]; !there {
				all[l.Key()] = l
			}
		}
	}
	snap, err := m.current(ctx)
	if err != nil {
		return nil, err
	}
	own, err := snap.publications(m.o.Now())
	if err != nil {
		return nil, err
	}
	for _, p := range own {
		if p.Directory != m.o.Self.ID {
			continue
		}
		l := contract.Listing{
			Peer: contract.KnownPeer{Peer: gateway.Peer{ID: p.Peer, Name: snap.names[p.Peer]}}, Service: p.Service, Protocol: p.Protocol,
			Delegator: gateway.Peer{ID: p.Delegator, Name: snap.names[p.Delegator]}, Properties: p.Properties, Gemeentecode: p.Gemeentecode,
			Directory: p.Directory, Confirmed: true,
		}
		if l.Peer.Address, err = m.listedAddress(ctx, p.Peer); err != nil {
			return nil, err
		}
		all[l.Key()] = l
	}
	out := make([]contract.Listing, 0, len(all))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[key])
	}
	return out, nil
}
