package policies_test

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/policies"
)

const (
	borne    gateway.PeerID = "00000099000000147000"
	hengelo  gateway.PeerID = "00000099000000164000"
	uwi      gateway.PeerID = "00000099900000001000"
	stranger gateway.PeerID = "00000099900000009000"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func newEngine(t testing.TB, o policies.Options) *policies.Engine {
	t.Helper()
	o.Now = func() time.Time { return now }
	e, err := policies.New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// grant is one that Borne and uwi-midden-twente would sign for a purpose.
func grant(t testing.TB, e *policies.Engine, doel gateway.Doel, namens gateway.PeerID) gateway.Grant {
	t.Helper()
	p, err := e.Session().Catalogue().Properties(doel, now, namens)
	if err != nil {
		t.Fatal(err)
	}
	return gateway.Grant{
		Hash: gateway.GrantHash("$1$1$" + doel + gateway.Doel(namens)), Type: gateway.ServiceConnection,
		Outway: uwi, ServicePeer: borne, Service: "clientgegevens", Properties: p,
	}
}

// question is one that is answered: a klantmanager about an adult, on a zaak of the purpose.
func question(g gateway.Grant, zaaktype string) policies.Input {
	return policies.Input{
		Stap: policies.Verstrekking, Afnemer: uwi, Bron: borne, Medewerker: "m1.x", MedewerkerRollen: []string{"klantmanager"},
		Grant: g, Zaak: "Z-2026-0001", Zaaktype: zaaktype, Aantal: 1, Persoon: &policies.Persoon{Leeftijd: 40}, Tijd: now,
	}
}

func decide(t testing.TB, e *policies.Engine, in policies.Input) gateway.Decision {
	t.Helper()
	d, err := e.Session().Decide(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDecideAllows(t *testing.T) {
	e := newEngine(t, policies.Options{})
	uitkering := grant(t, e, "pw-uitkering", borne)
	reintegratie := grant(t, e, "pw-reintegratie", borne)
	welzijn := grant(t, e, "doorverwijzing-welzijn", "")
	tussen := grant(t, e, "pw-uitkering", "")
	tussen.Type, tussen.Delegator = gateway.DelegatedServiceConnection, hengelo

	withConsent := question(welzijn, "doorverwijzing")
	withConsent.Toestemming = gateway.Geldig
	limited := withConsent
	limited.ToestemmingVelden = gateway.Velden{"persoon": {"naam"}}
	asked := question(reintegratie, "pw-reintegratietraject")
	asked.Velden = gateway.Velden{"uitkering": {"loopt", "bedrag"}, "persoon": {"naam", "adres"}, "zorg": {"diagnose"}}
	secret := question(uitkering, "pw-aanvraag")
	secret.Persoon = &policies.Persoon{Geheimhouding: true, Leeftijd: -1}
	restricted := question(uitkering, "pw-aanvraag")
	restricted.Persoon = &policies.Persoon{Beperkt: true}
	outgoing := question(uitkering, "pw-heronderzoek")
	outgoing.Stap, outgoing.Persoon, outgoing.Aantal = policies.Uitgaand, nil, 0
	narrow := question(uitkering, "pw-aanvraag")
	narrow.Grant.Properties.Velden = gateway.Velden{"persoon": {"naam"}, "contactpersoon": {"naam"}}
	narrow.Grant.Hash = "$1$1$narrow"

	p01 := gateway.Velden{"persoon": {"adres", "bsn", "geboortedatum", "naam"}, "uitkering": {"bedrag", "einddatum", "ingangsdatum", "loopt", "soort"}}
	p02 := gateway.Velden{
		"persoon": {"bsn", "email", "geboortedatum", "naam", "telefoon"}, "uitkering": {"einddatum", "ingangsdatum", "loopt", "soort"},
		"contactpersoon": {"geldigVan", "naam", "organisatie", "telefoon"},
	}
	p19 := gateway.Velden{"persoon": {"naam", "telefoon"}}
	for _, tc := range []struct {
		name string
		in   policies.Input
		want gateway.Decision
	}{
		{"P01 namens", question(uitkering, "pw-aanvraag"), gateway.Decision{Velden: p01}},
		{"P01 tussen", question(tussen, "pw-aanvraag"), gateway.Decision{Velden: p01}},
		{"P02 namens", question(reintegratie, "pw-reintegratietraject"), gateway.Decision{Velden: p02}},
		{"P19 with consent", withConsent, gateway.Decision{Velden: p19}},
		{"P19 with consent for one field", limited, gateway.Decision{
			Velden:    gateway.Velden{"persoon": {"naam"}},
			Onthouden: map[gateway.Reason]gateway.Velden{gateway.ToestemmingOntbreekt: {"persoon": {"telefoon"}}},
			Reasons:   []gateway.Reason{gateway.ToestemmingOntbreekt},
		}},
		{"more asked than the purpose has", asked, gateway.Decision{
			Velden: gateway.Velden{"uitkering": {"loopt"}, "persoon": {"naam"}},
			Onthouden: map[gateway.Reason]gateway.Velden{
				gateway.KlasseVerboden:           {"uitkering": {"bedrag"}},
				gateway.GrondslagDektElementNiet: {"persoon": {"adres"}, "zorg": {"diagnose"}},
			},
			Reasons: []gateway.Reason{gateway.GrondslagDektElementNiet, gateway.KlasseVerboden},
		}},
		{"geheimhouding, namens", secret, gateway.Decision{Velden: p01, Geheim: true}},
		{"an objection does not stop a legal duty", restricted, gateway.Decision{Velden: p01}},
		{"outgoing, nobody known yet", outgoing, gateway.Decision{Velden: p01}},
		{"grant with fewer and with foreign fields", narrow, gateway.Decision{Velden: gateway.Velden{"persoon": {"naam"}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.Allow, tc.want.Rule, tc.want.Revision = true, "federatie/toegestaan", e.Session().Revision()
			if diff := cmp.Diff(tc.want, decide(t, e, tc.in)); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestDecideDenies(t *testing.T) {
	e := newEngine(t, policies.Options{})
	base := question(grant(t, e, "pw-uitkering", borne), "pw-aanvraag")
	p02 := question(grant(t, e, "pw-reintegratie", borne), "pw-reintegratietraject")
	p19 := question(grant(t, e, "doorverwijzing-welzijn", ""), "doorverwijzing")
	p19.Toestemming = gateway.Geldig
	fraude := base
	fraude.Grant.Properties.Doel = "handhaving-fraude"
	entry, ok := e.Session().Entry("handhaving-fraude", now)
	if !ok {
		t.Fatal("handhaving-fraude: not in the catalogue")
	}
	fraude.Grant.Properties.DoelDigest = entry.Digest()

	type in = policies.Input
	for _, tc := range []struct {
		name string
		base in
		edit func(*in)
		want gateway.Reason
	}{
		{"no purpose in the grant", base, func(i *in) { i.Grant.Properties = gateway.Properties{} }, gateway.DoelOnbekend},
		{"unknown purpose", base, func(i *in) { i.Grant.Properties.Doel = "minima-proactief" }, gateway.DoelOnbekend},
		{"P29, under a contract that names it rightly", fraude, func(*in) {}, gateway.DoelNietAangeboden},
		{"P29 on the way out", fraude, func(i *in) { i.Stap, i.Persoon = policies.Uitgaand, nil }, gateway.DoelNietAangeboden},
		{"not yet valid", base, func(i *in) { i.Tijd = time.Date(2025, 12, 31, 23, 59, 59, 0, time.UTC) }, gateway.DoelNietActief},
		{"another peer's grant", base, func(i *in) { i.Afnemer = stranger }, gateway.GeenContract},
		{"at another peer", base, func(i *in) { i.Bron = hengelo }, gateway.GeenContract},
		{"other version", base, func(i *in) { i.Grant.Properties.DoelVersie = 2 }, gateway.DoelGewijzigd},
		{"altered digest", base, func(i *in) { i.Grant.Properties.DoelDigest = "x" + i.Grant.Properties.DoelDigest[1:] }, gateway.DoelGewijzigd},
		{"no digest", base, func(i *in) { i.Grant.Properties.DoelDigest = "" }, gateway.DoelGewijzigd},
		{"digest of another purpose", base, func(i *in) { i.Grant.Properties.DoelDigest = p02.Grant.Properties.DoelDigest }, gateway.DoelGewijzigd},
		{"partner asks a namens purpose", base, func(i *in) { i.Grant.Properties.NamensCollege = "" }, gateway.RichtingNietToegestaan},
		{"namens asks a partner purpose", p19, func(i *in) { i.Grant.Properties.NamensCollege = borne }, gateway.RichtingNietToegestaan},
		{"publication grant", base, func(i *in) { i.Grant.Type = gateway.ServicePublication }, gateway.RichtingNietToegestaan},
		{"worker without the role", base, func(i *in) { i.MedewerkerRollen = []string{"beheerder", "welzijnswerker"} }, gateway.AfnemerNietBevoegd},
		{"worker without a role, partner, on the way out", p19, func(i *in) { i.Stap, i.Persoon, i.MedewerkerRollen = policies.Uitgaand, nil, nil }, gateway.AfnemerNietBevoegd},
		{"worker without a role, at the inway", base, func(i *in) { i.Stap, i.Persoon, i.MedewerkerRollen = policies.Inkomend, nil, nil }, gateway.AfnemerNietBevoegd},
		{"namens another college", base, func(i *in) { i.Grant.Properties.NamensCollege = hengelo }, gateway.GeenMandaat},
		{"no zaak", base, func(i *in) { i.Zaak = "" }, gateway.ZaakNietOpen},
		{"no zaaktype", base, func(i *in) { i.Zaaktype = "" }, gateway.ZaakNietOpen},
		{"zaaktype of another purpose", base, func(i *in) { i.Zaaktype = "pw-reintegratietraject" }, gateway.ZaakNietOpen},
		{"two persons", base, func(i *in) { i.Aantal = 2 }, gateway.TeVeelPersonen},
		{"fewer than no persons", base, func(i *in) { i.Aantal = -1 }, gateway.TeVeelPersonen},
		{"fields outside the purpose only", base, func(i *in) { i.Velden = gateway.Velden{"contactpersoon": {"naam"}} }, gateway.GrondslagDektElementNiet},
		{"field outside the grant only", base, func(i *in) {
			i.Grant.Properties.Velden = gateway.Velden{"persoon": {"naam"}}
			i.Velden = gateway.Velden{"uitkering": {"bedrag"}}
		}, gateway.GrondslagDektElementNiet},
		{"grant without fields", base, func(i *in) { i.Grant.Properties.Velden = nil }, gateway.GrondslagDektElementNiet},
		{"P02: the amount only", p02, func(i *in) { i.Velden = gateway.Velden{"uitkering": {"bedrag"}} }, gateway.KlasseVerboden},
		{"P02: a grant that signed the amount", p02, func(i *in) {
			i.Grant.Properties.Velden = gateway.Velden{"uitkering": {"bedrag"}}
			i.Velden = i.Grant.Properties.Velden
		}, gateway.KlasseVerboden},
		{"P19: the BSN", p19, func(i *in) { i.Velden = gateway.Velden{"persoon": {"bsn"}} }, gateway.KlasseVerboden},
		{"P19: class F", p19, func(i *in) { i.Velden = gateway.Velden{"uitkering": {"loopt"}} }, gateway.KlasseVerboden},
		{"P02: restricted after an objection", p02, func(i *in) { i.Persoon = &policies.Persoon{Beperkt: true} }, gateway.BeperktNaBezwaar},
		{"P19: geheimhouding", p19, func(i *in) { i.Persoon = &policies.Persoon{Geheimhouding: true, Leeftijd: 40} }, gateway.Geheimhouding},
		{"P19: no consent", p19, func(i *in) { i.Toestemming = gateway.GeenToestemming }, gateway.ToestemmingOntbreekt},
		{"P19: register unknown", p19, func(i *in) { i.Toestemming = gateway.ToestemmingOnbekend }, gateway.ToestemmingOntbreekt},
		{"P19: provisional", p19, func(i *in) { i.Toestemming = gateway.Voorlopig }, gateway.ToestemmingVoorlopig},
		{"P19: expired", p19, func(i *in) { i.Toestemming = gateway.Verlopen }, gateway.ToestemmingVerlopen},
		{"P19: withdrawn", p19, func(i *in) { i.Toestemming = gateway.Ingetrokken }, gateway.ToestemmingIngetrokken},
		{"P19: for another recipient", p19, func(i *in) { i.Toestemming = gateway.AndereOntvanger }, gateway.ToestemmingVerkeerdeOntvanger},
		{"P19: consent for other fields", p19, func(i *in) { i.ToestemmingVelden = gateway.Velden{"persoon": {"email"}} }, gateway.ToestemmingOntbreekt},
		{"P19: fifteen", p19, func(i *in) { i.Persoon = &policies.Persoon{Leeftijd: 15} }, gateway.LeeftijdGezag},
		{"P19: age unknown", p19, func(i *in) { i.Persoon = &policies.Persoon{Leeftijd: -1} }, gateway.LeeftijdGezag},
	} {
		t.Run(tc.name, func(t *testing.T) {
			decide(t, e, tc.base) // also fills the cache: an altered grant under the same hash must not be answered from it
			q := tc.base
			tc.edit(&q)
			got := decide(t, e, q)
			want := gateway.Decision{Reasons: []gateway.Reason{tc.want}, Rule: "federatie/" + string(tc.want), Revision: e.Session().Revision()}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestDecideWithoutWhatItNeedsIsAnError(t *testing.T) {
	e := newEngine(t, policies.Options{})
	base := question(grant(t, e, "doorverwijzing-welzijn", ""), "doorverwijzing")
	for name, edit := range map[string]func(*policies.Input){
		"no step":                    func(i *policies.Input) { i.Stap = "" },
		"unknown step":               func(i *policies.Input) { i.Stap = "elders" },
		"nobody at verstrekking":     func(i *policies.Input) { i.Persoon = nil },
		"somebody at the inway":      func(i *policies.Input) { i.Stap = policies.Inkomend },
		"consent in a state unknown": func(i *policies.Input) { i.Toestemming = "misschien" },
	} {
		in := base
		edit(&in)
		d, err := e.Session().Decide(context.Background(), in)
		if err == nil || d.Allow || len(d.Velden) != 0 {
			t.Errorf("%s: got %+v, %v; want a denial and an error", name, d, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	in := base
	in.Toestemming = gateway.Geldig
	if d, err := e.Session().Decide(ctx, in); err == nil || d.Allow {
		t.Errorf("cancelled: got %+v, %v; want a denial and an error", d, err)
	}
}

func TestNoTijdMeansNow(t *testing.T) {
	e := newEngine(t, policies.Options{})
	in := question(grant(t, e, "pw-uitkering", borne), "pw-aanvraag")
	in.Tijd = time.Time{}
	if d := decide(t, e, in); !d.Allow {
		t.Errorf("got %v, want the engine's now", d.Reasons)
	}
}

// TestGrantIsConvertedFromItsOwnCopy changes the caller's fields after a decision.
func TestGrantIsConvertedFromItsOwnCopy(t *testing.T) {
	e := newEngine(t, policies.Options{})
	in := question(grant(t, e, "pw-uitkering", borne), "pw-aanvraag")
	decide(t, e, in)
	in.Grant.Properties.Velden["persoon"] = in.Grant.Properties.Velden["persoon"][:1]
	in.Grant.Properties.Velden["uitkering"] = nil
	got := decide(t, e, in).Velden
	if diff := cmp.Diff(gateway.Velden{"persoon": {"adres"}}, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

const lokaalHead = "package grensloos.lokaal\n"

func lokaal(rules string) fstest.MapFS {
	return fstest.MapFS{"eigen.rego": &fstest.MapFile{Data: []byte(lokaalHead + rules)}}
}

func TestLokaalNarrows(t *testing.T) {
	voorbeeld, err := os.ReadFile("voorbeelden/borne-lokaal.rego")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name     string
		files    fstest.MapFS
		zaaktype string
		want     gateway.Decision
		wantErr  bool
	}{
		{"the example, zaaktype that it refuses", fstest.MapFS{"borne.rego": {Data: voorbeeld}}, "pw-heronderzoek", gateway.Decision{
			Rule: "lokaal/weiger", Reasons: []gateway.Reason{gateway.LokaalBeleid},
		}, false},
		{"the example, zaaktype that it lets pass", fstest.MapFS{"borne.rego": {Data: voorbeeld}}, "pw-aanvraag", gateway.Decision{
			Allow: true, Rule: "federatie/toegestaan", Velden: gateway.Velden{"persoon": {"naam"}, "uitkering": {"bedrag", "loopt"}},
		}, false},
		{"removes a field", lokaal("onthoud contains \"uitkering.bedrag\" if input.context.stap == \"verstrekking\"\n"), "pw-aanvraag", gateway.Decision{
			Allow: true, Rule: "federatie/toegestaan", Velden: gateway.Velden{"persoon": {"naam"}, "uitkering": {"loopt"}},
			Onthouden: map[gateway.Reason]gateway.Velden{gateway.LokaalBeleid: {"uitkering": {"bedrag"}}},
			Reasons:   []gateway.Reason{gateway.LokaalBeleid},
		}, false},
		{"removes a field that was not there", lokaal("onthoud contains \"contactpersoon.naam\" if true\n"), "pw-aanvraag", gateway.Decision{
			Allow: true, Rule: "federatie/toegestaan", Velden: gateway.Velden{"persoon": {"naam"}, "uitkering": {"bedrag", "loopt"}},
		}, false},
		{"removes all", lokaal("onthoud contains veld if some veld in input.grant.velden\n"), "pw-aanvraag", gateway.Decision{
			Rule: "lokaal/onthoud", Reasons: []gateway.Reason{gateway.LokaalBeleid},
		}, false},
		{"denies by role", lokaal("weiger contains \"x\" if \"klantmanager\" in input.subject.properties.rol\n"), "pw-aanvraag", gateway.Decision{
			Rule: "lokaal/weiger", Reasons: []gateway.Reason{gateway.LokaalBeleid},
		}, false},
		{"a denial that is no text denies too", lokaal("weiger contains 1 if true\n"), "pw-aanvraag", gateway.Decision{
			Rule: "lokaal/weiger", Reasons: []gateway.Reason{gateway.LokaalBeleid},
		}, false},
		{"removes something that is no field", lokaal("onthoud contains x if some x in [1, 2]\n"), "pw-aanvraag", gateway.Decision{
			Rule: "lokaal/weiger", Reasons: []gateway.Reason{gateway.LokaalBeleid},
		}, true},
		{"gives itself rules of the federation's name", lokaal("besluit := {\"velden\": {\"persoon.bsn\"}}\nonthoud contains \"uitkering.bedrag\" if besluit\n"), "geen-zaaktype", gateway.Decision{
			Rule: "federatie/zaak-niet-open", Reasons: []gateway.Reason{gateway.ZaakNietOpen},
		}, false},
		{"runs for ever", lokaal("weiger contains \"x\" if count([x | some a in numbers.range(1, 100000); some b in numbers.range(1, 100000); x := a * b; x < 0]) > 0\n"), "pw-aanvraag", gateway.Decision{
			Rule: "lokaal/weiger", Reasons: []gateway.Reason{gateway.LokaalBeleid},
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEngine(t, policies.Options{Lokaal: tc.files})
			in := question(grant(t, e, "pw-uitkering", borne), tc.zaaktype)
			in.Velden = gateway.Velden{"persoon": {"naam"}, "uitkering": {"loopt", "bedrag"}}
			got, err := e.Session().Decide(context.Background(), in)
			if (err != nil) != tc.wantErr {
				t.Fatalf("got error %v, want one: %v", err, tc.wantErr)
			}
			tc.want.Revision = e.Session().Revision()
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestLokaalIsRefused(t *testing.T) {
	for _, tc := range []struct{ name, file, text, want string }{
		{"not Rego", "a.rego", lokaalHead + "\nweiger contains if", "a.rego:3: "},
		{"another package", "a.rego", "package grensloos.federatie\n\nweiger contains \"x\" if true\n", "a.rego:1: package grensloos.federatie: write package grensloos.lokaal"},
		{"a package that only looks like it", "a.rego", "package grensloos.lokaalx\n\nweiger contains \"x\" if true\n", "a.rego:1: "},
		{"with", "a.rego", lokaalHead + "p if true\nweiger contains \"x\" if p with data.grensloos.lokaal.q as true\n", "a.rego:3: `with`"},
		{"data of the federation", "a.rego", lokaalHead + "weiger contains \"x\" if data.grensloos.federatie.mandaat\n", "a.rego:2: data.grensloos.federatie.mandaat: there is no data"},
		{"data through an import", "a.rego", lokaalHead + "import data.blokkade\nweiger contains \"x\" if blokkade.aan\n", "a.rego:2: data.blokkade: there is no data"},
		{"http.send", "a.rego", lokaalHead + "weiger contains \"x\" if http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"})\n", "a.rego:2: undefined function http.send"},
		{"opa.runtime", "a.rego", lokaalHead + "weiger contains \"x\" if opa.runtime().env.HOME\n", "a.rego:2: undefined function opa.runtime"},
		{"time.now_ns", "a.rego", lokaalHead + "weiger contains \"x\" if time.now_ns() > 0\n", "a.rego:2: undefined function time.now_ns"},
		{"rand.intn", "a.rego", lokaalHead + "weiger contains \"x\" if rand.intn(\"a\", 2) == 0\n", "a.rego:2: undefined function rand.intn"},
		{"net.lookup_ip_addr", "a.rego", lokaalHead + "weiger contains \"x\" if net.lookup_ip_addr(\"a\")\n", "a.rego:2: undefined function net.lookup_ip_addr"},
		{"weiger that is one value", "a.rego", lokaalHead + "weiger := true\n", "a.rego:2: rule weiger: write `weiger contains"},
		{"onthoud that does not exist", "a.rego", lokaalHead + "\nonthoud contains \"uitkering.bedarg\" if true\n", "a.rego:3: onthoud \"uitkering.bedarg\": no such field"},
		{"neither rule", "a.rego", lokaalHead + "wieger contains \"x\" if true\n", "no rule weiger or onthoud"},
		{"empty folder", "leesmij.md", "niets", "no rule weiger or onthoud"},
		{"data beside it", "data.json", "{}", "data.json:1: a folder with policy holds *.rego only"},
		{"empty file", "a.rego", "", "a.rego:1: "},
		{"old Rego", "a.rego", lokaalHead + "weiger[\"x\"] { true }\n", "a.rego:2: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := policies.New(context.Background(), policies.Options{Lokaal: fstest.MapFS{tc.file: {Data: []byte(tc.text)}}})
			if gateway.KindOf(err) != gateway.Invalid || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want kind Invalid with %q", err, tc.want)
			}
		})
	}
}

// TestReload changes the policy under a running engine: an error leaves the old revision, a change bites on the next session, and a
// session keeps what it began with.
func TestReload(t *testing.T) {
	files := lokaal("weiger contains \"x\" if input.context.zaaktype == \"pw-heronderzoek\"\n")
	e := newEngine(t, policies.Options{Lokaal: files})
	in := question(grant(t, e, "pw-uitkering", borne), "pw-aanvraag")
	before := e.Session()

	files["eigen.rego"] = &fstest.MapFile{Data: []byte(lokaalHead + "weiger contains")}
	err := e.Reload(context.Background())
	if err == nil || !strings.Contains(err.Error(), "eigen.rego:2") {
		t.Errorf("bad file: got %v, want an error that names file and line", err)
	}
	if got := e.Session().Revision(); got != before.Revision() || !strings.HasPrefix(got, "sha256:") || len(got) != 71 {
		t.Errorf("after a bad file: got revision %s, want %s", got, before.Revision())
	}
	if d := decide(t, e, in); !d.Allow {
		t.Errorf("after a bad file: got %v, want the old policy", d.Reasons)
	}

	files["eigen.rego"] = &fstest.MapFile{Data: []byte(lokaalHead + "weiger contains \"x\" if true\n")}
	if err := e.Reload(context.Background()); err != nil {
		t.Fatal(err)
	}
	after := decide(t, e, in)
	if after.Allow || after.Revision == before.Revision() {
		t.Errorf("after the change: got %+v, want a denial under a new revision", after)
	}
	d, err := before.Decide(context.Background(), in)
	if err != nil || !d.Allow || d.Revision != before.Revision() {
		t.Errorf("session from before: got %+v, %v; want its own revision", d, err)
	}
}

func TestRevisionCoversEveryFile(t *testing.T) {
	seen := map[string]string{}
	for name, o := range map[string]policies.Options{
		"built in":        {},
		"a local policy":  {Lokaal: lokaal("weiger contains \"x\" if false\n")},
		"another":         {Lokaal: lokaal("weiger contains \"y\" if false\n")},
		"other catalogue": {Catalogus: fstest.MapFS{"handhaving-fraude.yaml": {Data: []byte(entryFraude)}}},
	} {
		id := newEngine(t, o).Session().Revision()
		if other, double := seen[id]; double {
			t.Errorf("%s and %s have one revision", name, other)
		}
		seen[id] = name
		if again := newEngine(t, o).Session().Revision(); again != id {
			t.Errorf("%s: got %s and %s for the same files", name, id, again)
		}
	}
}

// TestHardDenyStandsAboveTheCatalogue gives the engine a catalogue that offers P29.
func TestHardDenyStandsAboveTheCatalogue(t *testing.T) {
	data, err := os.ReadFile("doelen/pw-uitkering.yaml")
	if err != nil {
		t.Fatal(err)
	}
	offered := strings.Replace(string(data), "id: pw-uitkering", "id: handhaving-fraude", 1)
	e := newEngine(t, policies.Options{Catalogus: fstest.MapFS{"handhaving-fraude.yaml": {Data: []byte(offered)}}})
	in := question(grant(t, e, "handhaving-fraude", borne), "pw-aanvraag")
	if d := decide(t, e, in); d.Allow || !cmp.Equal(d.Reasons, []gateway.Reason{gateway.DoelNietAangeboden}) {
		t.Errorf("got %+v, want doel-niet-aangeboden", d)
	}
}

func TestFederatieThatSaysSomethingElseDenies(t *testing.T) {
	for _, besluit := range []string{
		`true`, `{}`, `{"velden": {"persoon.bsn"}}`, `{"velden": set(), "geheim": false}`, `{"reden": "zomaar"}`, `{"reden": 1}`,
		`{"velden": {"persoon"}, "geheim": false, "onthouden": {}}`, `{"velden": set(), "geheim": false, "onthouden": {}}`,
		`{"velden": {"persoon.bsn"}, "geheim": 1, "onthouden": {}}`, `{"velden": {"persoon.bsn"}, "geheim": false, "onthouden": {"zomaar": set()}}`,
		`{"velden": {"persoon.bsn"}, "geheim": false, "onthouden": {"klasse-verboden": 1}}`,
	} {
		files := fstest.MapFS{"x.rego": {Data: []byte("package grensloos.federatie\n\ncontract := {}\nbesluit := " + besluit + "\n")}}
		e := newEngine(t, policies.Options{Federatie: files})
		in := question(grant(t, e, "pw-uitkering", borne), "pw-aanvraag")
		if d, err := e.Session().Decide(context.Background(), in); err == nil || d.Allow || len(d.Velden) > 0 {
			t.Errorf("besluit %s: got %+v, %v; want a denial and an error", besluit, d, err)
		}
	}
}

// cpu is what this process used so far. On a machine that others use too it is the steadier figure.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkDecide holds the budget of 100 us for a decision on a question that was not asked before.
func BenchmarkDecide(b *testing.B) {
	e := newEngine(b, policies.Options{})
	welzijn := question(grant(b, e, "doorverwijzing-welzijn", ""), "doorverwijzing")
	welzijn.Toestemming = gateway.Geldig
	withdrawn := welzijn
	withdrawn.Toestemming = gateway.Ingetrokken
	fields := question(grant(b, e, "pw-uitkering", borne), "pw-aanvraag")
	fields.Velden = gateway.Velden{"uitkering": {"loopt", "bedrag"}, "persoon": {"naam", "telefoon"}}
	for name, in := range map[string]policies.Input{
		"allow": question(grant(b, e, "pw-uitkering", borne), "pw-aanvraag"), "allowConsent": welzijn, "denyLast": withdrawn, "fields": fields,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			before := cpu()
			defer func() { b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op") }()
			for b.Loop() {
				in.Zaak += "x" // no two questions are alike
				if len(in.Zaak) > 40 {
					in.Zaak = "Z"
				}
				if _, err := e.Session().Decide(context.Background(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("allowLokaal", func(b *testing.B) {
		data, err := os.ReadFile("voorbeelden/borne-lokaal.rego")
		if err != nil {
			b.Fatal(err)
		}
		e := newEngine(b, policies.Options{Lokaal: fstest.MapFS{"borne.rego": {Data: data}}})
		in := question(grant(b, e, "pw-uitkering", borne), "pw-aanvraag")
		for b.Loop() {
			if d, err := e.Session().Decide(context.Background(), in); err != nil || !d.Allow {
				b.Fatal(d, err)
			}
		}
	})
}
