package store

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
)

func TestDirectory(t *testing.T) {
	s, now := open(t), time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	const first, second, borne gateway.PeerID = "00000099900000009001", "00000099900000009002", "00000099000000147000"
	known := contract.KnownPeer{Peer: gateway.Peer{ID: borne, Name: "Borne"}, Address: "https://listed:8443", Origin: contract.Listed}
	listing := contract.Listing{
		Peer: known, Service: "clientgegevens", Protocol: contract.ProtocolHTTP1, Delegator: gateway.Peer{ID: second, Name: "Ander"},
		Properties: json.RawMessage(`{"gemeentecode":"0147"}`), Gemeentecode: "0147", Directory: first, Confirmed: true,
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	addresses := func(want ...string) {
		t.Helper()
		got, err := s.PeerAddresses(t.Context(), borne)
		must(err)
		if !slices.Equal(got, want) {
			t.Errorf("addresses %v, want %v", got, want)
		}
	}
	addresses()
	must(s.PutDirectory(t.Context(), first, []contract.KnownPeer{known}, []contract.Listing{listing}))
	peers, services, err := s.Directory(t.Context(), first)
	must(err)
	if diff := cmp.Diff([]contract.KnownPeer{known}, peers) + cmp.Diff([]contract.Listing{listing}, services); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	addresses("https://listed:8443")
	other := known
	other.Address = "https://elsewhere:8443"
	must(s.PutDirectory(t.Context(), second, []contract.KnownPeer{other}, nil))
	must(s.Announce(t.Context(), contract.KnownPeer{Peer: known.Peer, Address: "https://told:8443"}, now))
	addresses("https://told:8443", "https://listed:8443", "https://elsewhere:8443") // the peer's own word first
	must(s.PutPeer(t.Context(), contract.KnownPeer{Peer: known.Peer, Address: "https://moved:8443"}, now.Add(time.Hour)))
	got, err := s.Peers(t.Context(), contract.PeerFilter{IDs: []gateway.PeerID{borne}, Since: now})
	must(err)
	want := []contract.KnownPeer{{Peer: known.Peer, Address: "https://moved:8443", Announced: now}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a contract moves the address and leaves the announcement (-want +got):\n%s", diff)
	}
	if got, err := s.Peers(t.Context(), contract.PeerFilter{IDs: []gateway.PeerID{borne}, Since: now.Add(time.Second)}); err != nil || len(got) != 0 {
		t.Errorf("announced too long ago: %v %v", got, err)
	}
	must(s.PutDirectory(t.Context(), first, nil, nil))
	must(s.DropPeer(t.Context(), borne))
	addresses("https://elsewhere:8443")
	peers, services, err = s.Directory(t.Context(), first)
	must(err)
	if len(peers)+len(services) != 0 {
		t.Errorf("left of a directory that is empty: %v %v", peers, services)
	}
}

func TestLeft(t *testing.T) {
	s, now := open(t), time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, want := range []time.Time{{}, now, now.Add(time.Hour), {}} {
		if err := s.SetLeft(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Left(t.Context()); err != nil || !got.Equal(want) {
			t.Errorf("left %v %v, want %v", got, err, want)
		}
	}
}
