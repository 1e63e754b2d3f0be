package store

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/terugmelding"
)

func report(t *testing.T, worker string, at time.Time) terugmelding.Melding {
	t.Helper()
	m, err := terugmelding.New(terugmelding.Melding{
		Transactie: "019a0000-7c11-7d3e-9a55-3f5c0b1e2d44", Dienst: "persoon", Veld: "adres", Reden: terugmelding.Verouderd, Toelichting: "verhuisd",
		Doel: "pw-uitkering", Zaak: "Z-1", Zaaktype: "pw-aanvraag", Melder: uwi, Bron: borne, Medewerker: worker,
	}, at)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestTerugmeldingen(t *testing.T) {
	s, k := open(t), keys(t)
	all := k.All(bsn(t, "999000019")) // newest key first
	first, second := report(t, "m1.a", now), report(t, "m1.b", now.Add(time.Second))
	for _, m := range []terugmelding.Melding{first, second} {
		if err := s.Meld(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	received, err := first.Ontvang(all[1], now) // under the key of before
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.NeemAan(t.Context(), received); err != nil {
		t.Fatal(err)
	}

	// One peer can be both sides of one report: they don't touch.
	got, err := s.GedaneMelding(t.Context(), first.ID)
	if diff := cmp.Diff(first, got); err != nil || diff != "" {
		t.Errorf("at the melder: %v (-want +got):\n%s", err, diff)
	}
	got, err = s.OntvangenMelding(t.Context(), first.ID)
	if diff := cmp.Diff(received, got); err != nil || diff != "" {
		t.Errorf("at the bron: %v (-want +got):\n%s", err, diff)
	}
	_, err = s.OntvangenMelding(t.Context(), second.ID)
	wantKind(t, err, gateway.NotFound, "no such id")

	for name, tc := range map[string]struct {
		list func() ([]terugmelding.Melding, error)
		want []terugmelding.Melding
	}{
		"made":           {func() ([]terugmelding.Melding, error) { return s.GedaneMeldingen(t.Context(), "", "", 10) }, []terugmelding.Melding{first, second}},
		"second page":    {func() ([]terugmelding.Melding, error) { return s.GedaneMeldingen(t.Context(), "", first.ID, 1) }, []terugmelding.Melding{second}},
		"of one worker":  {func() ([]terugmelding.Melding, error) { return s.GedaneMeldingen(t.Context(), "m1.b", "", 10) }, []terugmelding.Melding{second}},
		"received":       {func() ([]terugmelding.Melding, error) { return s.OntvangenMeldingen(t.Context(), true, "", 10) }, []terugmelding.Melding{received}},
		"about a person": {func() ([]terugmelding.Melding, error) { return s.OntvangenOver(t.Context(), all) }, []terugmelding.Melding{received}},
		"about another": {func() ([]terugmelding.Melding, error) {
			return s.OntvangenOver(t.Context(), k.All(bsn(t, "999000020")))
		}, nil},
		"after the last":  {func() ([]terugmelding.Melding, error) { return s.OntvangenMeldingen(t.Context(), false, first.ID, 10) }, nil},
		"a worker's none": {func() ([]terugmelding.Melding, error) { return s.GedaneMeldingen(t.Context(), "m1.c", "", 10) }, nil},
	} {
		got, err := tc.list()
		if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}

	// Taking it in again gives what is known, and changes nothing.
	done, err := s.WijzigOntvangen(t.Context(), first.ID, func(m terugmelding.Melding) (terugmelding.Melding, error) {
		return m.Behandel(terugmelding.Gecorrigeerd, "aangepast", now.Add(time.Hour))
	})
	if err != nil || done.Status != terugmelding.Gecorrigeerd {
		t.Fatalf("got %+v, %v", done, err)
	}
	again, err := s.NeemAan(t.Context(), received)
	if diff := cmp.Diff(done, again); err != nil || diff != "" {
		t.Errorf("taken in again: %v (-want +got):\n%s", err, diff)
	}
	if open, err := s.OntvangenMeldingen(t.Context(), true, "", 10); err != nil || len(open) != 0 {
		t.Errorf("open: %v %v, want none", open, err)
	}
	other := received
	other.Veld = "telefoon"
	_, err = s.NeemAan(t.Context(), other)
	wantKind(t, err, gateway.Conflict, "another report")
	_, err = s.WijzigGedane(t.Context(), "no such id", nil)
	wantKind(t, err, gateway.NotFound, "no such id")
	_, err = s.OntvangenOver(t.Context(), nil)
	wantKind(t, err, gateway.Invalid, "betrokkene")
	_, err = s.GedaneMeldingen(t.Context(), "", "", 0)
	wantKind(t, err, gateway.Invalid, "limit")
	bare := received
	bare.ID, bare.Betrokkene = second.ID, "999000019"
	if _, err := s.NeemAan(t.Context(), bare); err == nil {
		t.Error("a BSN came in where a pseudonym belongs")
	}
}

// Two who handle one report at the same moment, through two processes: one ends it, the other is told that it ended.
func TestTerugmeldingHandledTwice(t *testing.T) {
	pad := filepath.Join(t.TempDir(), "peer.db")
	a, b := openAt(t, pad), openAt(t, pad)
	m, err := report(t, "m1.a", now).Ontvang(keys(t).Pseudonym(bsn(t, "999000019")), now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.NeemAan(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	errs := make([]error, 2)
	var wg sync.WaitGroup
	for i, s := range []*Store{a, b} {
		wg.Go(func() {
			_, errs[i] = s.WijzigOntvangen(t.Context(), m.ID, func(m terugmelding.Melding) (terugmelding.Melding, error) {
				return m.Behandel([]terugmelding.Status{terugmelding.Gecorrigeerd, terugmelding.Ongegrond}[i], "", now)
			})
		})
	}
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Fatalf("got %v and %v, want exactly one to succeed", errs[0], errs[1])
	}
	for _, err := range errs {
		if err != nil {
			wantKind(t, err, gateway.Conflict, "status")
		}
	}
}

func TestOpenTerugmeldingenAreBounded(t *testing.T) {
	s, who := open(t), keys(t).Pseudonym(bsn(t, "999000019"))
	take := func(melder gateway.PeerID) error {
		m, err := report(t, "m1.a", now).Ontvang(who, now)
		if err != nil {
			t.Fatal(err)
		}
		m.Melder = melder
		_, err = s.NeemAan(t.Context(), m)
		return err
	}
	for range MaxOpenMeldingen {
		if err := take(uwi); err != nil {
			t.Fatal(err)
		}
	}
	wantKind(t, take(uwi), gateway.Conflict, "open")
	if all, err := s.OntvangenMeldingen(t.Context(), true, "", MaxTerugmeldingen); err != nil || len(all) != MaxOpenMeldingen {
		t.Errorf("%d kept, %v, want %d", len(all), err, MaxOpenMeldingen)
	}
	if err := take(derde); err != nil {
		t.Errorf("another peer's: %v", err)
	}
}
