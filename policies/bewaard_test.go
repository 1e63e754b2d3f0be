package policies

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
)

// outgoing is a question at the outway that is allowed.
func outgoing(t *testing.T, e *Engine) Input {
	t.Helper()
	const borne, uwi = gateway.PeerID("00000099000000147000"), gateway.PeerID("00000099900000001000")
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	props, err := e.Session().Catalogue().Properties("pw-uitkering", at, borne)
	if err != nil {
		t.Fatal(err)
	}
	return Input{
		Stap: Uitgaand, Afnemer: uwi, Bron: borne, Medewerker: "m1.a", MedewerkerRollen: []string{"klantmanager"}, Zaak: "Z-1", Zaaktype: "pw-aanvraag", Tijd: at,
		Grant: gateway.Grant{Hash: "$1$3$x", Type: gateway.ServiceConnection, Outway: uwi, ServicePeer: borne, Service: "clientgegevens", Properties: props},
	}
}

func newKeeping(t *testing.T, o Options) *Engine {
	t.Helper()
	e, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// decided is the decision over a question, and how many the revision keeps after it.
func decided(t *testing.T, e *Engine, in Input) (gateway.Decision, int) {
	t.Helper()
	s := e.Session()
	d, err := s.Decide(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return d, len(s.rev.kept.m)
}

// TestKeptDecision holds each kept decision to what it rests on: whatever may change it makes another one.
func TestKeptDecision(t *testing.T) {
	e := newKeeping(t, Options{})
	base := outgoing(t, e)
	two := base
	two.MedewerkerRollen = []string{"klantmanager", "beheerder"}
	allowed, _ := decided(t, e, base)
	for name, edit := range map[string]func(*Input){
		"worker": func(i *Input) { i.Medewerker = "m1.b" },
		"zaak":   func(i *Input) { i.Zaak = "Z-2" },
		"moment": func(i *Input) { i.Tijd = i.Tijd.Add(time.Hour) },
	} {
		in := base
		edit(&in)
		if d, n := decided(t, e, in); n != 1 || !d.Allow {
			t.Errorf("another %s: %d decisions kept, want the one of before", name, n)
		}
	}
	for name, c := range map[string]struct {
		edit func(*Input)
		want gateway.Reason
	}{
		"no roles":                {func(i *Input) { i.MedewerkerRollen = nil }, gateway.AfnemerNietBevoegd},
		"another role":            {func(i *Input) { i.MedewerkerRollen = []string{"beheerder"} }, gateway.AfnemerNietBevoegd},
		"two roles as one":        {func(i *Input) { i.MedewerkerRollen = []string{"klantmanager\x00beheerder"} }, gateway.AfnemerNietBevoegd},
		"no zaak":                 {func(i *Input) { i.Zaak = "" }, gateway.ZaakNietOpen},
		"another zaaktype":        {func(i *Input) { i.Zaaktype = "doorverwijzing" }, gateway.ZaakNietOpen},
		"two persons":             {func(i *Input) { i.Aantal = 2 }, gateway.TeVeelPersonen},
		"another asker":           {func(i *Input) { i.Afnemer = "00000099900000009000" }, gateway.GeenContract},
		"another provider":        {func(i *Input) { i.Bron = "00000099000000164000" }, gateway.GeenContract},
		"before the purpose":      {func(i *Input) { i.Tijd = time.Date(2025, 12, 31, 0, 0, 0, 0, time.UTC) }, gateway.DoelNietActief},
		"another grant, its hash": {func(i *Input) { i.Grant.Properties.DoelDigest = "x" }, gateway.DoelGewijzigd},
		"fields outside":          {func(i *Input) { i.Velden = gateway.Velden{"zorg": {"diagnose"}} }, gateway.GrondslagDektElementNiet},
	} {
		in := base
		c.edit(&in)
		decided(t, e, base)
		decided(t, e, two)
		for range 2 { // made, and from memory
			if d, _ := decided(t, e, in); d.Allow || len(d.Reasons) != 1 || d.Reasons[0] != c.want {
				t.Errorf("%s: got %+v, want refused for %s", name, d, c.want)
			}
		}
	}
	if again, _ := decided(t, e, base); !cmp.Equal(allowed, again) {
		t.Error(cmp.Diff(allowed, again))
	}
	inkomend := base
	inkomend.Stap = Inkomend
	before := len(e.Session().rev.kept.m)
	if _, n := decided(t, e, inkomend); n != before+1 {
		t.Error("another step has the decision of this one")
	}
}

// TestKeptDecisionIsOfNobody: a decision in which a person takes part is made each time.
func TestKeptDecisionIsOfNobody(t *testing.T) {
	e := newKeeping(t, Options{})
	in := outgoing(t, e)
	in.Stap, in.Persoon = Verstrekking, &Persoon{Leeftijd: 40}
	if d, n := decided(t, e, in); !d.Allow || n != 0 {
		t.Errorf("allowed %v, %d kept, want none", d.Allow, n)
	}
}

// TestKeptDecisionEndsWithItsRevision: a purpose that ended, or local policy that changed, bites with the next question.
func TestKeptDecisionEndsWithItsRevision(t *testing.T) {
	doelen, eigen := fstest.MapFS{}, fstest.MapFS{"eigen.rego": {Data: []byte("package grensloos.lokaal\nweiger contains \"x\" if input.context.zaak == \"Z-9\"\n")}}
	raw, err := embedded.ReadFile("doelen/pw-uitkering.yaml")
	if err != nil {
		t.Fatal(err)
	}
	doelen["pw-uitkering.yaml"] = &fstest.MapFile{Data: raw}
	e := newKeeping(t, Options{Catalogus: doelen, Lokaal: eigen})
	in := outgoing(t, e)
	want := func(what string, allow bool, in Input) {
		t.Helper()
		if d, _ := decided(t, e, in); d.Allow != allow || d.Revision != e.Session().Revision() {
			t.Errorf("%s: allowed %v under the revision of now %v, want %v", what, d.Allow, d.Revision == e.Session().Revision(), allow)
		}
	}
	zaak9, worker := in, in
	zaak9.Zaak, worker.Medewerker = "Z-9", "m1.b"
	want("at first", true, in)
	want("local policy sees the zaak of each question", false, zaak9)
	want("and of the one after it", true, in)

	eigen["eigen.rego"] = &fstest.MapFile{Data: []byte("package grensloos.lokaal\nweiger contains \"x\" if input.subject.id == \"m1.a\"\n")}
	if err := e.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("local policy that refuses this worker", false, in)
	want("and no other", true, worker)

	doelen["pw-uitkering.yaml"] = &fstest.MapFile{Data: []byte(strings.Replace(string(raw), "status: actief", "status: uit", 1))}
	if err := e.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("a purpose that ended", false, worker)
}

// TestKeptDecisionIsNotTheCallers: who gets it may change it, also the local policy.
func TestKeptDecisionIsNotTheCallers(t *testing.T) {
	e := newKeeping(t, Options{})
	in := outgoing(t, e)
	d, _ := decided(t, e, in)
	delete(d.Velden, "persoon")
	d.Onthouden = map[gateway.Reason]gateway.Velden{}
	if again, _ := decided(t, e, in); len(again.Velden) != 2 {
		t.Errorf("the kept decision has %d diensten, want 2", len(again.Velden))
	}
}

func TestKeptDecisionsAreBounded(t *testing.T) {
	e := newKeeping(t, Options{})
	in := outgoing(t, e)
	for i := range maxBesluiten + 10 {
		in.Zaaktype = strconv.Itoa(i)
		if _, n := decided(t, e, in); n > maxBesluiten {
			t.Fatalf("%d decisions kept, at most %d", n, maxBesluiten)
		}
	}
	in.MedewerkerRollen = []string{string(make([]byte, 2*maxRollen))}
	before := len(e.Session().rev.kept.m)
	if _, n := decided(t, e, in); n != before {
		t.Error("a decision is kept under roles without end")
	}
}
