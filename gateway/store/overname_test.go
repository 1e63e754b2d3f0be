package store

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/toestemming"
)

// Two registers with a key of their own, both version 1, go into a third: a search there by BSN finds the consents of both.
func TestNeemOverFindsConsentsOfBothByOneBSN(t *testing.T) {
	keys := func(c byte) gateway.PseudonymKeys {
		k, err := gateway.NewPseudonymKeys(map[int][]byte{1: bytes.Repeat([]byte{c}, 32)})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	bsn, err := gateway.ParseBSN("999993653")
	if err != nil {
		t.Fatal(err)
	}
	give := func(s *Store, k gateway.PseudonymKeys, doel gateway.Doel) toestemming.Toestemming {
		c, err := toestemming.New(toestemming.Toestemming{
			Betrokkene: k.Pseudonym(bsn), Soort: toestemming.AVG61a, Doel: doel, DoelVersie: 1, Ontvanger: uwi, GegevenDoor: "zelf",
			GeregistreerdDoor: borne, GeldigTot: now.AddDate(1, 0, 0),
		}, now)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Geef(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	heerhugowaard, langedijk, nieuw := open(t), open(t), openAt(t, filepath.Join(t.TempDir(), "nieuw.db"))
	keyH, keyL, keyN := keys(1), keys(2), keys(3)
	h, l := give(heerhugowaard, keyH, "doel-a"), give(langedijk, keyL, "doel-a")
	own := give(nieuw, keyN, "doel-a")

	live, err := keyN.With(map[int][]byte{2: bytes.Repeat([]byte{1}, 32), 3: bytes.Repeat([]byte{2}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	take := func(from *Store, version int) []string {
		t.Helper()
		all, err := from.AlleToestemmingen(t.Context(), "", MaxToestemmingen)
		if err != nil {
			t.Fatal(err)
		}
		for i := range all {
			all[i].Betrokkene = all[i].Betrokkene.Renumbered(version)
		}
		ids, err := nieuw.NeemOver(t.Context(), all)
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	found := func() map[string]gateway.ConsentState {
		t.Helper()
		all, err := nieuw.Toestemmingen(t.Context(), live.All(bsn), "doel-a")
		if err != nil {
			t.Fatal(err)
		}
		states := map[string]gateway.ConsentState{}
		for _, c := range all {
			states[c.ID] = c.StateOf(now.Add(time.Hour))
		}
		return states
	}
	take(heerhugowaard, 2)
	if diff := cmp.Diff([]string{l.ID}, take(langedijk, 3)); diff != "" {
		t.Errorf("new (-want +got):\n%s", diff)
	}
	want := map[string]gateway.ConsentState{own.ID: gateway.Geldig, h.ID: gateway.Geldig, l.ID: gateway.Geldig}
	if diff := cmp.Diff(want, found()); diff != "" {
		t.Errorf("found by BSN (-want +got):\n%s", diff)
	}
	if ids := take(langedijk, 3); len(ids) != 0 {
		t.Errorf("a second time: %v changed", ids)
	}

	// Withdrawn at the old one in between: it closes here too. Withdrawn here: it stays, whatever the old one says.
	if err := heerhugowaard.TrekIn(t.Context(), h.ID, now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := nieuw.TrekIn(t.Context(), l.ID, now.Add(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{h.ID}, take(heerhugowaard, 2)); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
	take(langedijk, 3)
	want[h.ID], want[l.ID] = gateway.Ingetrokken, gateway.Ingetrokken
	if diff := cmp.Diff(want, found()); diff != "" {
		t.Errorf("after withdrawal (-want +got):\n%s", diff)
	}
	if got, err := nieuw.Toestemming(t.Context(), l.ID); err != nil || !got.Ingetrokken.Equal(now.Add(2*time.Minute)) {
		t.Errorf("withdrawn here at %v, %v", got.Ingetrokken, err)
	}
}

func TestNeemOverIsAllOrNothing(t *testing.T) {
	s := open(t)
	consent := func(doel gateway.Doel) toestemming.Toestemming {
		c, err := toestemming.New(toestemming.Toestemming{
			Betrokkene: gateway.Pseudonym("v1.0123456789012345678901234567890123456789012"), Soort: toestemming.AVG61a, Doel: doel, DoelVersie: 1,
			Ontvanger: uwi, GegevenDoor: "zelf", GeregistreerdDoor: borne, GeldigTot: now.AddDate(1, 0, 0),
		}, now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	there, fresh := consent("doel-a"), consent("doel-a")
	if err := s.Geef(t.Context(), there); err != nil {
		t.Fatal(err)
	}
	other := consent("doel-b")
	other.ID = there.ID
	if _, err := s.NeemOver(t.Context(), []toestemming.Toestemming{fresh, other}); gateway.KindOf(err) != gateway.Conflict {
		t.Errorf("got %v, want a conflict", err)
	}
	if _, err := s.Toestemming(t.Context(), fresh.ID); gateway.KindOf(err) != gateway.NotFound {
		t.Errorf("the other one is there: %v", err)
	}
}
