package toestemming_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/toestemming"
)

const (
	borne gateway.PeerID = "00000099000000147000"
	uwi   gateway.PeerID = "00000099900000001000"
	other gateway.PeerID = "00000099900000002000"
	doel  gateway.Doel   = "doorverwijzing-welzijn"
)

var t0 = time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)

func day(n int) time.Time { return t0.AddDate(0, 0, n) }

// given is a valid consent, written down by the gemeente on a day, for 30 days.
func given(t *testing.T, on int, edits ...func(*toestemming.Toestemming)) toestemming.Toestemming {
	t.Helper()
	in := toestemming.Toestemming{
		Betrokkene: gateway.Pseudonym("v1." + strings.Repeat("a", 43)), Soort: toestemming.AVG61a, Doel: doel, DoelVersie: 1, Ontvanger: uwi,
		GegevenDoor: "zelf", GeregistreerdDoor: borne, Tekstversie: "v1", Kanaal: "balie", GeldigTot: day(on + 30),
	}
	for _, edit := range edits {
		edit(&in)
	}
	out, err := toestemming.New(in, day(on))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func withdrawn(on int) func(*toestemming.Toestemming) {
	return func(t *toestemming.Toestemming) { t.TrekIn(day(on)) }
}

func byBeneficiary(t *toestemming.Toestemming) { t.GeregistreerdDoor = t.Ontvanger }

func TestBeoordeel(t *testing.T) {
	type list = []toestemming.Toestemming
	for _, tc := range []struct {
		name string
		all  list
		at   int
		want gateway.ConsentState
		id   int // which of all decided; -1 none
	}{
		{"nothing", nil, 1, gateway.GeenToestemming, -1},
		{"valid", list{given(t, 0)}, 1, gateway.Geldig, 0},
		{"not given yet", list{given(t, 2)}, 1, gateway.GeenToestemming, -1},
		{"last moment", list{given(t, 0)}, 29, gateway.Geldig, 0},
		{"expired on the moment", list{given(t, 0)}, 30, gateway.Verlopen, 0},
		{"withdrawn", list{given(t, 0, withdrawn(3))}, 3, gateway.Ingetrokken, 0},
		{"withdrawn later than asked about", list{given(t, 0, withdrawn(3))}, 2, gateway.Geldig, 0},
		{"withdrawn after it expired", list{given(t, 0, withdrawn(31))}, 40, gateway.Ingetrokken, 0},
		{"given again after withdrawal", list{given(t, 0, withdrawn(3)), given(t, 4)}, 5, gateway.Geldig, 1},
		{"given again, other order in the register", list{given(t, 4), given(t, 0, withdrawn(3))}, 5, gateway.Geldig, 0},
		{"the older of two withdrawn", list{given(t, 0, withdrawn(5)), given(t, 2)}, 6, gateway.Ingetrokken, 0},
		{"the newer of two withdrawn", list{given(t, 0), given(t, 2, withdrawn(5))}, 6, gateway.Ingetrokken, 1},
		{"given and withdrawn in one moment", list{given(t, 0, withdrawn(2)), given(t, 2)}, 3, gateway.Ingetrokken, 0},
		{"provisional", list{given(t, 0, byBeneficiary)}, 1, gateway.Voorlopig, 0},
		{"provisional, older than a valid one", list{given(t, 0, byBeneficiary), given(t, 1)}, 2, gateway.Geldig, 1},
		{"provisional, newer than a valid one", list{given(t, 0), given(t, 1, byBeneficiary)}, 2, gateway.Geldig, 0},
		{"provisional after a withdrawal", list{given(t, 0, withdrawn(1)), given(t, 2, byBeneficiary)}, 3, gateway.Ingetrokken, 0},
		{"provisional after an expired one", list{given(t, 0), given(t, 31, byBeneficiary)}, 32, gateway.Verlopen, 0},
		{"for another recipient", list{given(t, 0, func(t *toestemming.Toestemming) { t.Ontvanger = other })}, 1, gateway.AndereOntvanger, -1},
		{"for another recipient, withdrawn", list{given(t, 0, withdrawn(1), func(t *toestemming.Toestemming) { t.Ontvanger = other })}, 2, gateway.GeenToestemming, -1},
		{"for another purpose", list{given(t, 0, func(t *toestemming.Toestemming) { t.Doel = "activering" })}, 1, gateway.GeenToestemming, -1},
		{"newest of two valid", list{given(t, 1), given(t, 0)}, 2, gateway.Geldig, 0},
		{"the zero value", make(list, 1), 1, gateway.GeenToestemming, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := toestemming.Oordeel{State: tc.want}
			if tc.id >= 0 {
				want.ID = tc.all[tc.id].ID
			}
			got := toestemming.Beoordeel(tc.all, toestemming.Vraag{Doel: doel, Ontvanger: uwi}, day(tc.at))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			state, id := toestemming.State(tc.all, doel, uwi, day(tc.at))
			if state != tc.want || id != want.ID {
				t.Errorf("State: got %q %q, want %q %q", state, id, tc.want, want.ID)
			}
		})
	}
}

func TestBeoordeelKindAndVersion(t *testing.T) {
	help := given(t, 0, func(t *toestemming.Toestemming) { t.Soort = toestemming.InstemmingHulp })
	v2 := given(t, 1, func(t *toestemming.Toestemming) { t.DoelVersie = 2 })
	stopped := given(t, 1, withdrawn(2))
	for _, tc := range []struct {
		name string
		all  []toestemming.Toestemming
		v    toestemming.Vraag
		want gateway.ConsentState
	}{
		{"another kind", []toestemming.Toestemming{help}, toestemming.Vraag{Soort: toestemming.AVG61a}, gateway.GeenToestemming},
		{"the kind", []toestemming.Toestemming{help}, toestemming.Vraag{Soort: toestemming.InstemmingHulp}, gateway.Geldig},
		{"another version", []toestemming.Toestemming{v2}, toestemming.Vraag{DoelVersie: 1}, gateway.GeenToestemming},
		{"the version", []toestemming.Toestemming{v2}, toestemming.Vraag{DoelVersie: 2}, gateway.Geldig},
		{"withdrawn under another version", []toestemming.Toestemming{v2, stopped}, toestemming.Vraag{DoelVersie: 2}, gateway.Ingetrokken},
	} {
		tc.v.Doel, tc.v.Ontvanger = doel, uwi
		if got := toestemming.Beoordeel(tc.all, tc.v, day(3)); got.State != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got.State, tc.want)
		}
	}
	if got := toestemming.Beoordeel([]toestemming.Toestemming{given(t, 0)}, toestemming.Vraag{}, day(1)); got.State != gateway.GeenToestemming {
		t.Errorf("no purpose asked: got %q", got.State)
	}
}

func TestLimitedConsent(t *testing.T) {
	all := []toestemming.Toestemming{given(t, 0, func(t *toestemming.Toestemming) { t.Velden = gateway.Velden{"persoon": {"naam"}} })}
	got := toestemming.Beoordeel(all, toestemming.Vraag{Doel: doel, Ontvanger: uwi}, day(1))
	if got.State != gateway.Geldig || !got.Velden.Has("persoon", "naam") {
		t.Errorf("got %+v, want valid for its fields", got)
	}
	if state, _ := toestemming.State(all, doel, uwi, day(1)); state != gateway.GeenToestemming {
		t.Errorf("State, which cannot tell the fields: got %q, want none", state)
	}
}

func TestConfirmationOpens(t *testing.T) {
	c := given(t, 0, byBeneficiary)
	if !c.IsVoorlopig(day(1)) {
		t.Error("registered by its beneficiary: not voorlopig")
	}
	c.Bevestig(day(2))
	c.Bevestig(day(9))
	for at, want := range map[int]gateway.ConsentState{1: gateway.Voorlopig, 2: gateway.Geldig} {
		if got, _ := toestemming.State([]toestemming.Toestemming{c}, doel, uwi, day(at)); got != want {
			t.Errorf("day %d: got %q, want %q", at, got, want)
		}
	}
}

func TestTrekInKeepsTheFirstMoment(t *testing.T) {
	c := given(t, 0)
	c.TrekIn(day(2))
	c.TrekIn(day(5))
	if !c.Ingetrokken.Equal(day(2)) {
		t.Errorf("got %s, want %s", c.Ingetrokken, day(2))
	}
}

func TestNew(t *testing.T) {
	c := given(t, 0)
	if _, err := gateway.ParseTransactionID(c.ID); err != nil || !c.Gegeven.Equal(t0) || !c.BevestigdOp.Equal(t0) {
		t.Errorf("got %+v, want an id of version 7, given and confirmed now", c)
	}
	if c := given(t, 0, byBeneficiary); !c.BevestigdOp.IsZero() {
		t.Error("registered by its beneficiary: confirmed by itself")
	}
}

func TestValidateRefuses(t *testing.T) {
	for field, edit := range map[string]func(*toestemming.Toestemming){
		"id:":                func(t *toestemming.Toestemming) { t.ID = "1" },
		"betrokkene":         func(t *toestemming.Toestemming) { t.Betrokkene = "999993653" },
		"soort":              func(t *toestemming.Toestemming) { t.Soort = "" },
		"doel:":              func(t *toestemming.Toestemming) { t.Doel = "" },
		"doelVersie":         func(t *toestemming.Toestemming) { t.DoelVersie = 0 },
		"ontvanger":          func(t *toestemming.Toestemming) { t.Ontvanger = "welzijn" },
		"geregistreerdDoor":  func(t *toestemming.Toestemming) { t.GeregistreerdDoor = "" },
		"gegevenDoor":        func(t *toestemming.Toestemming) { t.GegevenDoor = "buurman" },
		"tekstversie":        func(t *toestemming.Toestemming) { t.Tekstversie = "Jan Jansen, 1 januari" },
		"kanaal":             func(t *toestemming.Toestemming) { t.Kanaal = "06 12345678" },
		"gegeven: ":          func(t *toestemming.Toestemming) { t.Gegeven = day(1) },
		"geldigTot":          func(t *toestemming.Toestemming) { t.GeldigTot = time.Time{} },
		"five years":         func(t *toestemming.Toestemming) { t.GeldigTot = t.Gegeven.AddDate(5, 1, 0) },
		"bevestigdOp":        func(t *toestemming.Toestemming) { t.BevestigdOp = day(-1) },
		"ingetrokken":        func(t *toestemming.Toestemming) { t.Ingetrokken = day(-1) },
		"velden":             func(t *toestemming.Toestemming) { t.Velden = gateway.Velden{"persoon": nil} },
		"toestemming: velde": func(t *toestemming.Toestemming) { t.Velden = gateway.Velden{"": {"naam"}} },
	} {
		c := given(t, 0)
		edit(&c)
		err := c.Validate(t0)
		if gateway.KindOf(err) != gateway.Invalid || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v, want kind Invalid that names it", field, err)
		}
		if err != nil && strings.Contains(err.Error(), "999993653") {
			t.Errorf("the error repeats the value: %v", err)
		}
	}
	if _, err := toestemming.New(toestemming.Toestemming{}, t0); gateway.KindOf(err) != gateway.Invalid {
		t.Errorf("the zero value: got %v, want Invalid", err)
	}
}
