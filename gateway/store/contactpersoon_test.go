package store

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contactpersoon"
)

// contact makes a contact of a household with these residents, and the pseudonyms of each under all keys.
func contact(t *testing.T, huishouden string, bsns ...string) (contactpersoon.Contactpersoon, [][]gateway.Pseudonym) {
	t.Helper()
	k := keys(t)
	c := contactpersoon.Contactpersoon{Huishouden: huishouden, Naam: "J. Jansen", Organisatie: "Sociaal team", Telefoon: "074 000 00 00", Wet: "Wmo2015"}
	var personen [][]gateway.Pseudonym
	for _, b := range bsns {
		personen = append(personen, k.All(bsn(t, b)))
		c.Leden = append(c.Leden, k.Pseudonym(bsn(t, b)))
	}
	c, err := contactpersoon.New(c, now)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(c.Leden) // as the store gives them back
	return c, personen
}

func TestContactpersonen(t *testing.T) {
	s, k := open(t), keys(t)
	c, personen := contact(t, "HH-1", "999000019", "999000020")
	if err := s.WijsToe(t.Context(), c, personen); err != nil {
		t.Fatal(err)
	}
	for _, person := range personen {
		got, err := s.ContactpersonenVan(t.Context(), person)
		if diff := cmp.Diff([]contactpersoon.Contactpersoon{c}, got); err != nil || diff != "" {
			t.Errorf("of a resident: %v (-want +got):\n%s", err, diff)
		}
	}
	for name, conflict := range map[string][]string{"same household": {"HH-1", "999000032"}, "same resident elsewhere": {"HH-2", "999000032", "999000020"}} {
		again, of := contact(t, conflict[0], conflict[1:]...)
		err := s.WijsToe(t.Context(), again, of)
		wantKind(t, err, gateway.Conflict, "vaste contactpersoon")
		if gateway.CodeOf(err) != contactpersoon.CodeBezet {
			t.Errorf("%s: code %q", name, gateway.CodeOf(err))
		}
	}
	// A resident who was written down under the key of before is the same resident.
	old, of := contact(t, "HH-3", "999000032")
	old.Leden = []gateway.Pseudonym{k.All(bsn(t, "999000032"))[1]}
	if err := s.WijsToe(t.Context(), old, of); err != nil {
		t.Fatal(err)
	}
	renewed, of := contact(t, "HH-4", "999000032")
	wantKind(t, s.WijsToe(t.Context(), renewed, of), gateway.Conflict, "vaste contactpersoon")

	later := now.Add(time.Hour)
	for _, at := range []time.Time{later, later.Add(time.Hour)} { // the first moment stands
		if err := s.BeeindigContact(t.Context(), c.ID, at); err != nil {
			t.Fatal(err)
		}
	}
	c.Beeindigd = later
	got, err := s.Contactpersoon(t.Context(), c.ID)
	if diff := cmp.Diff(c, got); err != nil || diff != "" {
		t.Errorf("ended: %v (-want +got):\n%s", err, diff)
	}
	if of, err := s.ContactpersonenVan(t.Context(), personen[0]); err != nil || len(of) != 0 {
		t.Errorf("of a resident, after the end: %v %v, want none", of, err)
	}
	next, personen := contact(t, "HH-1", "999000019")
	if err := s.WijsToe(t.Context(), next, personen); err != nil {
		t.Errorf("a new contact after the end: %v", err)
	}
	active, err := s.Contactpersonen(t.Context(), true, "", 10)
	if err != nil || len(active) != 2 {
		t.Errorf("active: %d %v, want 2", len(active), err)
	}
	page, err := s.Contactpersonen(t.Context(), false, "", 1)
	if err != nil || len(page) != 1 {
		t.Fatalf("first page: %v %v", page, err)
	}
	rest, err := s.Contactpersonen(t.Context(), false, page[0].ID, 10)
	if err != nil || len(rest) != 2 {
		t.Errorf("second page: %d %v, want 2", len(rest), err)
	}

	wantKind(t, s.BeeindigContact(t.Context(), "no such id", now), gateway.NotFound, "no such id")
	_, err = s.ContactpersonenVan(t.Context(), nil)
	wantKind(t, err, gateway.Invalid, "betrokkene")
	_, err = s.Contactpersonen(t.Context(), false, "", 0)
	wantKind(t, err, gateway.Invalid, "limit")
	wantKind(t, s.WijsToe(t.Context(), next, nil), gateway.Invalid, "pseudonyms")
}

// Assignments to one household at once, through two processes: exactly one wins, the others are told.
func TestContactAssignedAtOnce(t *testing.T) {
	pad := filepath.Join(t.TempDir(), "peer.db")
	stores := []*Store{openAt(t, pad), openAt(t, pad)}
	const n = 16
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		c, personen := contact(t, "HH-1", "999000019")
		if i%2 == 1 { // by the resident alone
			c, personen = contact(t, fmt.Sprintf("HH-%d", 100+i), "999000019")
		}
		wg.Go(func() {
			<-start
			errs[i] = stores[i%len(stores)].WijsToe(t.Context(), c, personen)
		})
	}
	close(start)
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		wantKind(t, err, gateway.Conflict, "vaste contactpersoon")
	}
	active, err := stores[0].Contactpersonen(t.Context(), true, "", 10)
	if won != 1 || err != nil || len(active) != 1 {
		t.Errorf("%d won, %d active, %v; want 1 and 1", won, len(active), err)
	}
}
