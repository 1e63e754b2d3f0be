package store

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
)

type due struct {
	To       gateway.PeerID
	Type     contract.SignatureType
	Attempts int
}

func claim(t *testing.T, s *Store, at time.Time) (got []due, all []contract.Delivery) {
	t.Helper()
	all, err := s.ClaimDeliveries(t.Context(), at, at.Add(time.Minute), 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		got = append(got, due{d.Receiver, d.Type, d.Attempts})
	}
	return got, all
}

func wantDue(t *testing.T, got, want []due) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("due (-want +got):\n%s", diff)
	}
}

func settle(t *testing.T, s *Store, d contract.Delivery, state contract.DeliveryState, next time.Time, reason string) {
	t.Helper()
	d.State, d.Next, d.Reason, d.Changed = state, next, reason, next
	if err := s.SettleDelivery(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func TestDeliveries(t *testing.T) {
	pad := filepath.Join(t.TempDir(), "peer.db")
	s := openAt(t, pad)
	c := proposal(t, 1, now, "a")
	mustSign(t, s, c, signed(c, uwi, contract.Accept, "x1", now),
		contract.Delivery{Receiver: borne, Submit: true, Next: now}, contract.Delivery{Receiver: derde, Submit: true, Next: now})
	mustSign(t, s, c, signed(c, uwi, contract.Revoke, "x1", now), contract.Delivery{Receiver: borne, Next: now}, contract.Delivery{Receiver: derde, Next: now})

	got, claimed := claim(t, s, now)
	wantDue(t, got, []due{{borne, contract.Accept, 1}, {derde, contract.Accept, 1}}) // the revoke waits for its accept
	if d := claimed[0]; !d.Submit || d.JWS != signed(c, uwi, contract.Accept, "x1", now).JWS || d.Contract != c.Hash() {
		t.Errorf("delivery %+v", d)
	}
	got, _ = claim(t, s, now)
	wantDue(t, got, nil) // claimed by somebody

	settle(t, s, claimed[0], contract.Delivered, now, "")
	settle(t, s, claimed[1], contract.Open, now.Add(time.Second), "down")
	got, claimed = claim(t, s, now)
	wantDue(t, got, []due{{borne, contract.Revoke, 1}})
	settle(t, s, claimed[0], contract.Failed, now, "status 422")
	if next, err := s.NextDelivery(t.Context()); err != nil || !next.Equal(now) { // derde's revoke is due, but stands in line
		t.Errorf("next %v, %v", next, err)
	}

	again := openAt(t, pad) // as after a restart
	got, claimed = claim(t, again, now.Add(time.Second))
	wantDue(t, got, []due{{derde, contract.Accept, 2}})
	got, _ = claim(t, again, now.Add(time.Second+time.Minute)) // whoever claimed it died
	wantDue(t, got, []due{{derde, contract.Accept, 3}})
	settle(t, again, claimed[0], contract.Delivered, now, "")
	settle(t, again, claimed[0], contract.Failed, now, "late") // settled is settled

	all, err := again.Deliveries(t.Context(), c.Hash())
	if err != nil {
		t.Fatal(err)
	}
	var states []contract.DeliveryState
	for _, d := range all {
		states = append(states, d.State)
	}
	if diff := cmp.Diff([]contract.DeliveryState{contract.Delivered, contract.Delivered, contract.Failed, contract.Open}, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if all[2].Reason != "status 422" {
		t.Errorf("reason %q", all[2].Reason)
	}
	failed, err := again.FailedDeliveries(t.Context())
	if err != nil || failed[c.Hash()] != 1 {
		t.Errorf("failed %v, %v, want 1", failed, err)
	}
}

func TestRenewedSignatureGoesOutAgain(t *testing.T) {
	s := open(t)
	c := proposal(t, 1, now, "a")
	mustSign(t, s, c, signed(c, uwi, contract.Accept, "x1", now), contract.Delivery{Receiver: borne, Submit: true, Next: now})
	_, old := claim(t, s, now)
	renewed := signed(c, uwi, contract.Accept, "x2", now.Add(time.Minute))
	mustSign(t, s, c, renewed, contract.Delivery{Receiver: borne, Next: now.Add(time.Minute)})
	settle(t, s, old[0], contract.Delivered, now, "") // the outcome of the old one says nothing about the new one
	_, fresh := claim(t, s, now.Add(time.Minute))
	if len(fresh) != 1 || fresh[0].JWS != renewed.JWS || fresh[0].Attempts != 1 || !fresh[0].Submit {
		t.Errorf("after renewal %+v", fresh)
	}
}

func TestPeers(t *testing.T) {
	s := open(t)
	peers := []contract.KnownPeer{
		{Peer: gateway.Peer{ID: borne, Name: "Gemeente Borne"}, Address: "https://borne.example:8443"},
		{Peer: gateway.Peer{ID: uwi, Name: "UWI Midden-Twente"}, Address: "https://uwi.example:8443"},
		{Peer: gateway.Peer{ID: derde, Name: "100%_echt"}, Address: "https://derde.example:8443"},
	}
	for _, p := range peers {
		if err := s.PutPeer(t.Context(), p, now); err != nil {
			t.Fatal(err)
		}
	}
	nameless := peers[1]
	nameless.Address = ""
	if err := s.PutPeer(t.Context(), nameless, now); err != nil { // an empty address leaves what is there
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		filter contract.PeerFilter
		want   []contract.KnownPeer
	}{
		{"ascending", contract.PeerFilter{Ascending: true, Limit: 2}, []contract.KnownPeer{peers[0], peers[1]}},
		{"descending", contract.PeerFilter{Limit: 10}, []contract.KnownPeer{peers[2], peers[1], peers[0]}},
		{"second page", contract.PeerFilter{Ascending: true, Limit: 2, After: uwi}, []contract.KnownPeer{peers[2]}},
		{"by name", contract.PeerFilter{Name: "BORNE", Limit: 10}, []contract.KnownPeer{peers[0]}},
		{"wildcards are letters", contract.PeerFilter{Name: "%_", Limit: 10}, []contract.KnownPeer{peers[2]}},
		{"by id, whatever else", contract.PeerFilter{IDs: []gateway.PeerID{uwi, "x"}, Name: "no", After: derde}, []contract.KnownPeer{peers[1]}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := s.Peers(t.Context(), tt.filter)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
