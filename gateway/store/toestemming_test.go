package store

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/toestemming"
)

func keys(t testing.TB) gateway.PseudonymKeys {
	t.Helper()
	k, err := gateway.NewPseudonymKeys(map[int][]byte{1: []byte(strings.Repeat("1", 32)), 2: []byte(strings.Repeat("2", 32))})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func bsn(t testing.TB, s string) gateway.BSN {
	t.Helper()
	b, err := gateway.ParseBSN(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func consent(t *testing.T, who gateway.Pseudonym, doel gateway.Doel, by gateway.PeerID) toestemming.Toestemming {
	t.Helper()
	c, err := toestemming.New(toestemming.Toestemming{
		Betrokkene: who, Soort: toestemming.AVG61a, Doel: doel, DoelVersie: 1, Ontvanger: uwi, GegevenDoor: "zelf", GeregistreerdDoor: by,
		Velden: gateway.Velden{"contactpersoon": {"naam"}}, Tekstversie: "v1", Kanaal: "balie", GeldigTot: now.AddDate(1, 0, 0),
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestToestemmingen(t *testing.T) {
	s, k := open(t), keys(t)
	person, other := bsn(t, "999000019"), bsn(t, "999000020")
	all := k.All(person) // newest key first
	given := consent(t, all[0], "doorverwijzing-welzijn", borne)
	old := consent(t, all[1], "doorverwijzing-welzijn", uwi) // under the key of before; registered by its beneficiary
	for _, c := range []toestemming.Toestemming{
		given, old, consent(t, all[0], "pw-uitkering", borne), consent(t, k.Pseudonym(other), "doorverwijzing-welzijn", borne), given,
	} {
		if err := s.Geef(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	read := func(t *testing.T) map[string]toestemming.Toestemming {
		t.Helper()
		got, err := s.Toestemmingen(t.Context(), all, "doorverwijzing-welzijn")
		if err != nil {
			t.Fatal(err)
		}
		byID := map[string]toestemming.Toestemming{}
		for _, c := range got {
			byID[c.ID] = c
		}
		return byID
	}
	if diff := cmp.Diff(map[string]toestemming.Toestemming{given.ID: given, old.ID: old}, read(t)); diff != "" {
		t.Errorf("one person, one purpose, all keys (-want +got):\n%s", diff)
	}

	later := now.Add(time.Hour)
	if err := s.Bevestig(t.Context(), old.ID, later); err != nil {
		t.Fatal(err)
	}
	if err := s.TrekIn(t.Context(), given.ID, later); err != nil {
		t.Fatal(err)
	}
	if err := s.TrekIn(t.Context(), given.ID, later.Add(time.Hour)); err != nil { // the first moment stands
		t.Fatal(err)
	}
	given.Ingetrokken, old.BevestigdOp = later, later
	if diff := cmp.Diff(map[string]toestemming.Toestemming{given.ID: given, old.ID: old}, read(t)); diff != "" {
		t.Errorf("after confirming and withdrawing (-want +got):\n%s", diff)
	}
	if err := s.Geef(t.Context(), given); err != nil { // giving it again does not undo the withdrawal
		t.Fatal(err)
	}
	if got := read(t)[given.ID]; !got.Ingetrokken.Equal(later) {
		t.Errorf("withdrawn at %v, want %v", got.Ingetrokken, later)
	}
	one, err := s.Toestemming(t.Context(), old.ID)
	if diff := cmp.Diff(old, one); err != nil || diff != "" {
		t.Errorf("by id: %v\n%s", err, diff)
	}
	of, err := s.ToestemmingenVan(t.Context(), all)
	if err != nil || len(of) != 3 {
		t.Errorf("%d consents of the person, %v, want 3", len(of), err)
	}
}

func TestToestemmingRefused(t *testing.T) {
	s, k := open(t), keys(t)
	c := consent(t, k.Pseudonym(bsn(t, "999000019")), "doorverwijzing-welzijn", borne)
	if err := s.Geef(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	elsewhere := c
	elsewhere.Ontvanger = borne
	wantKind(t, s.Geef(t.Context(), elsewhere), gateway.Conflict, "belongs to another consent")
	for name, do := range map[string]func(context.Context, string, time.Time) error{"TrekIn": s.TrekIn, "Bevestig": s.Bevestig} {
		t.Run(name, func(t *testing.T) { wantKind(t, do(t.Context(), "no such id", now), gateway.NotFound, "no such id") })
	}
	_, err := s.Toestemmingen(t.Context(), nil, "x")
	wantKind(t, err, gateway.Invalid, "betrokkene")
	bare := c
	bare.ID, bare.Betrokkene = gateway.NewUUID(now), "999000019"
	if err := s.Geef(t.Context(), bare); err == nil {
		t.Error("a BSN was taken for a pseudonym")
	}
	for _, limit := range []int{0, MaxToestemmingen + 1} {
		_, err := s.AlleToestemmingen(t.Context(), "", limit)
		wantKind(t, err, gateway.Invalid, "limit")
	}
}

func TestAlleToestemmingen(t *testing.T) {
	s, k := open(t), keys(t)
	want := map[string]bool{}
	for range 5 {
		c := consent(t, k.Pseudonym(bsn(t, "999000019")), "doorverwijzing-welzijn", borne)
		if err := s.Geef(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		want[c.ID] = true
	}
	after, pages := "", 0
	for {
		page, err := s.AlleToestemmingen(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, c := range page {
			if !want[c.ID] || c.ID <= after {
				t.Fatalf("%s a second time or out of order", c.ID)
			}
			delete(want, c.ID)
			after = c.ID
		}
		if len(page) < 2 {
			break
		}
	}
	if len(want) != 0 || pages != 3 {
		t.Errorf("%d left out, %d pages, want 3", len(want), pages)
	}
}

// More consents than one answer holds are an error: the withdrawal could be among those left out.
func TestToestemmingenNeverCutOff(t *testing.T) {
	s, k := open(t), keys(t)
	who := k.Pseudonym(bsn(t, "999000019"))
	for i := range MaxToestemmingen + 1 {
		if _, err := s.write.ExecContext(t.Context(), `INSERT INTO toestemmingen (`+toestemmingColumns+`)
			VALUES (?,?,'avg-6-1-a','d',1,'o','{}','zelf','g','','',1,2,0,0)`, gateway.NewUUID(now.Add(time.Duration(i)*time.Millisecond)), string(who)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Toestemmingen(t.Context(), []gateway.Pseudonym{who}, "d")
	wantKind(t, err, gateway.Unavailable, "more than")
}

// No BSN is in the database file, whatever is written.
func TestNoBSNInTheFile(t *testing.T) {
	pad := filepath.Join(t.TempDir(), "peer.db")
	s, k := openAt(t, pad), keys(t)
	if err := s.Geef(t.Context(), consent(t, k.Pseudonym(bsn(t, "999000019")), "doorverwijzing-welzijn", borne)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{pad, pad + "-wal"} {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), "999000019") {
			t.Errorf("%s holds the BSN", filepath.Base(name))
		}
	}
}
