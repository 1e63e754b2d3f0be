package policies_test

import (
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/policies"
)

const entryFraude = `- id: handhaving-fraude
  versie: 1
  naam: Samenwerking tegen fraude
  geldigVan: 2026-01-01
  status: niet-aangeboden
  grondslag: [{wet: Wet SUWI, artikel: "64"}]
`

const entryA = `- id: a
  versie: 1
  naam: Proef
  geldigVan: 2026-01-01
  status: actief
  grondslag: [{wet: Participatiewet, artikel: "7", lid: "1", onderdeel: a}]
  avg: {art6: [e]}
  bezwaar: true
  richting: [namens]
  reikwijdte: woongemeente
  zaaktypen: [proef]
  afnemerRollen: [verwerker-college]
  medewerkerRollen: [klantmanager]
  diensten: {uitkering: [loopt, soort]}
  beslisattributen: [geheimhouding]
  nooit: {klassen: [G]}
  maxPersonen: 1
  bewaartermijnLog: P5Y
  verwerkingsactiviteit: https://register.example/a/1
`

func load(text string) (*policies.Catalogue, error) {
	return policies.LoadCatalogue(fstest.MapFS{"a.yaml": {Data: []byte(text)}})
}

func TestBuiltInCatalogue(t *testing.T) {
	c, err := policies.LoadCatalogue(policies.Embedded())
	if err != nil {
		t.Fatal(err)
	}
	want := []gateway.Doel{"casusregie-contact", "doorverwijzing-welzijn", "handhaving-fraude", "pw-reintegratie", "pw-uitkering"}
	if diff := cmp.Diff(want, c.Doelen()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	e, ok := c.Entry("pw-reintegratie", now)
	if got, want := e.Wet(), "Participatiewet art. 7 lid 1 onder a"; !ok || got != want {
		t.Errorf("Wet: got %q, want %q", got, want)
	}
	if e.Diensten.Has("uitkering", "bedrag") {
		t.Error("pw-reintegratie gives the amount")
	}
	for _, doel := range []gateway.Doel{"pw-uitkering", "pw-reintegratie"} {
		if e, _ := c.Entry(doel, now); e.Toestemming != nil {
			t.Errorf("%s asks consent, where the law decides", doel)
		}
	}
	e, _ = c.Entry("doorverwijzing-welzijn", now)
	if e.Toestemming == nil || e.Toestemming.Soort != "avg-6-1-a" || e.Diensten.Has("persoon", "bsn") || !cmp.Equal(e.Richting, []gateway.Richting{gateway.Partner}) {
		t.Errorf("doorverwijzing-welzijn: got %+v", e)
	}
	if _, ok := c.Entry("pw-uitkering", time.Date(2025, 12, 31, 23, 59, 59, 0, time.UTC)); ok {
		t.Error("an entry before its first day")
	}
}

// TestDigestIsWhatWasSigned pins the digests: a change here breaks every contract that was signed, so it needs a new version.
func TestDigestIsWhatWasSigned(t *testing.T) {
	c, err := policies.LoadCatalogue(policies.Embedded())
	if err != nil {
		t.Fatal(err)
	}
	for doel, want := range map[gateway.Doel]string{
		"pw-uitkering":           "NvyT-021yKl_rLRgZmIbZUJxTsbVc6wEP6Sx2wvLM18",
		"pw-reintegratie":        "F3QNphjO_-ZXGt7uWP2qk84K2oyGX-FePKEc0cjq1wg",
		"doorverwijzing-welzijn": "-rTzJQEhzYt0rizXlJFtjjYoF8dGZwAdhnkIc51STig",
		"casusregie-contact":     "5ZxC9hlKJpLQUQg-vL-OUKTwlNI_afyvooeOmyTOJ8Y",
		"handhaving-fraude":      "v1nMRuFXrXhAyMumbD538a3cXAFgEAyu9LY4GqmWACc",
	} {
		e, ok := c.Entry(doel, now)
		if got := e.Digest(); !ok || got != want {
			t.Errorf("%s: got %s, want %s", doel, got, want)
		}
	}
}

func TestDigestIsOverMeaning(t *testing.T) {
	digest := func(text string) string {
		c, err := load(text)
		if err != nil {
			t.Fatal(err)
		}
		e, ok := c.Entry("a", now)
		if !ok {
			t.Fatal("no entry")
		}
		return e.Digest()
	}
	base := digest(entryA)
	for name, edit := range map[string][2]string{
		"name":             {"naam: Proef", "naam: Anders gezegd\n  toelichting: Met uitleg"},
		"status":           {"status: actief", "status: uit"},
		"first day":        {"geldigVan: 2026-01-01", "geldigVan: 2026-02-01"},
		"last day":         {"geldigVan: 2026-01-01", "geldigVan: 2026-01-01\n  geldigTot: 2027-01-01"},
		"order of fields":  {"[loopt, soort]", "[soort, loopt]"},
		"writing of lists": {"zaaktypen: [proef]", "zaaktypen:\n    - proef"},
		"no reuse":         {"maxPersonen: 1", "maxPersonen: 1\n  hergebruik: []"},
	} {
		if got := digest(strings.Replace(entryA, edit[0], edit[1], 1)); got != base {
			t.Errorf("%s: an editorial change changed the digest", name)
		}
	}
	seen := map[string]string{base: "base"}
	for name, edit := range map[string][2]string{
		"version":      {"versie: 1", "versie: 2"},
		"a field more": {"[loopt, soort]", "[loopt, soort, bedrag]"},
		"a field less": {"[loopt, soort]", "[loopt]"},
		"law":          {`lid: "1"`, `lid: "2"`},
		"avg":          {"art6: [e]", "art6: [c, e]"},
		"objection":    {"bezwaar: true", "bezwaar: false"},
		"direction":    {"richting: [namens]", "richting: [namens, tussen]\n  # x"},
		"reach":        {"woongemeente", "groep"},
		"zaaktype":     {"[proef]", "[proef, proef-twee]"},
		"role":         {"[klantmanager]", "[klantmanager, beheerder]"},
		"consent":      {"bezwaar: true", "bezwaar: true\n  toestemming: {soort: avg-6-1-a, perOntvanger: true}"},
		"consent in":   {"bezwaar: true", "bezwaar: true\n  toestemming: {soort: avg-6-1-a, perOntvanger: true, richting: [namens]}"},
		"never in":     {"klassen: [G]", "klassen: [G], richting: {namens: [uitkering.soort]}"},
		"attributes":   {"[geheimhouding]", "[geheimhouding, geboortedatum]"},
		"never":        {"klassen: [G]", "klassen: [G, S]"},
		"persons":      {"maxPersonen: 1", "maxPersonen: 2"},
		"retention":    {"P5Y", "P6Y"},
		"activity":     {"/a/1", "/a/2"},
		"reuse":        {"maxPersonen: 1", "maxPersonen: 1\n  hergebruik: [{van: [Wgs], naar: Wmo 2015}]"},
	} {
		text := strings.Replace(entryA, edit[0], edit[1], 1)
		if name == "direction" {
			text = strings.Replace(text, "[verwerker-college]", "[verwerker-college, college]", 1)
		}
		got := digest(text)
		if other, double := seen[got]; double {
			t.Errorf("%s: the digest is that of %s", name, other)
		}
		seen[got] = name
	}
}

func TestLoadCatalogueRefuses(t *testing.T) {
	edit := func(old, replacement string) string {
		if !strings.Contains(entryA, old) {
			t.Fatalf("%q is not in the entry", old)
		}
		return strings.Replace(entryA, old, replacement, 1)
	}
	second := strings.Replace(entryA, "versie: 1", "versie: 2", 1)
	for _, tc := range []struct{ name, text, want string }{
		{"not YAML", "- id: [", "a.yaml:1: "},
		{"empty", "", "a.yaml:1: want exactly one YAML document"},
		{"two documents", entryA + "---\n" + entryA, "a.yaml:1: want exactly one YAML document"},
		{"not a list", "id: a\n", "a.yaml:1: "},
		{"no version", "[]", "a.yaml:1: "},
		{"unknown key", edit("maxPersonen: 1", "maxPersoon: 1"), "a.yaml:17: unknown key \"maxPersoon\""},
		{"unknown key, deep", edit("{klassen: [G]}", "{klasse: [G]}"), "a.yaml:16: unknown key \"klasse\""},
		{"key missing", edit("  reikwijdte: woongemeente\n", ""), "reikwijdte"},
		{"double key", edit("maxPersonen: 1", "maxPersonen: 1\n  maxPersonen: 1000"), "a.yaml:18: key \"maxPersonen\" stands here twice"},
		{"anchor", edit("[klantmanager]", "&r [klantmanager]"), "a.yaml:13: anchor is not used here"},
		{"alias", edit("[klantmanager]", "*r"), "a.yaml:13: "},
		{"tag", edit("maxPersonen: 1", "maxPersonen: !!int \"1\""), "a.yaml:17: tag is not used here"},
		{"merge key", edit("{klassen: [G]}", "{<<: {klassen: [G]}}"), "a.yaml:16: "},
		{"fraction", edit("maxPersonen: 1", "maxPersonen: 1.5"), "a.yaml:17: "},
		{"null", edit("bezwaar: true", "bezwaar:"), "a.yaml:8: "},
		{"deep", "- " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "a.yaml:1: nested more than"},
		{"deep in dashes", strings.Repeat("- ", 5000) + "a", "a.yaml:1: nested more than"},
		{"large", "# " + strings.Repeat("x", 70_000) + "\n" + entryA, "a.yaml:1: larger than 64 kB"},
		{"wrong type", edit("versie: 1", "versie: een"), "a.yaml:2: 0.versie"},
		{"number of an article without quotes", edit(`artikel: "7"`, "artikel: 7"), "a.yaml:6: 0.grondslag.0.artikel"},
		{"unknown status", edit("status: actief", "status: aan"), "a.yaml:5: 0.status"},
		{"unknown direction", edit("richting: [namens]", "richting: [zomaar]"), "a.yaml:9: 0.richting.0"},
		{"consent for everybody", edit("bezwaar: true", "bezwaar: true\n  toestemming: {soort: avg-6-1-a, perOntvanger: false}"), "a.yaml:9: 0.toestemming.perOntvanger"},
		{"date that does not exist", edit("2026-01-01", "2026-13-41"), "a.yaml:4: 0.geldigVan"},
		{"last day that does not exist", edit("geldigVan: 2026-01-01", "geldigVan: 2026-01-01\n  geldigTot: 2026-02-30"), "a.yaml:5: 0.geldigTot"},
		{"unknown dienst", edit("uitkering:", "uitkeringen:"), "a.yaml:14: dienst \"uitkeringen\""},
		{"unknown field", edit("[loopt, soort]", "[loopt, inkomen]"), "a.yaml:14: veld \"inkomen\": dienst uitkering has no such field"},
		{"unknown field in nooit", edit("{klassen: [G]}", "{velden: [uitkering.bedarg]}"), "a.yaml:16: nooit.velden uitkering.bedarg"},
		{"field of a class in nooit", edit("klassen: [G]", "klassen: [F]"), "a.yaml:14: veld loopt: forbidden by nooit"},
		{"field in nooit", edit("{klassen: [G]}", "{velden: [uitkering.soort]}"), "a.yaml:14: veld soort: forbidden by nooit"},
		{"objection to a legal duty", edit("art6: [e]", "art6: [c]"), "a.yaml:8: bezwaar"},
		{"direction that no role asks in", edit("richting: [namens]", "richting: [namens, partner]"), "a.yaml:9: richting partner"},
		{"age without date of birth", edit("bezwaar: true", "bezwaar: true\n  toestemming: {soort: avg-6-1-a, perOntvanger: true, vanafLeeftijd: 16}"), "beslisattributen"},
		{"consent in another direction", edit("bezwaar: true", "bezwaar: true\n  toestemming: {soort: avg-6-1-a, perOntvanger: true, richting: [partner]}"), "a.yaml:9: toestemming.richting partner"},
		{"consent in no direction", edit("bezwaar: true", "bezwaar: true\n  toestemming: {soort: avg-6-1-a, perOntvanger: true, richting: []}"), "a.yaml:9: 0.toestemming.richting"},
		{"never in another direction", edit("{klassen: [G]}", "{richting: {partner: [uitkering.soort]}}"), "a.yaml:16: nooit.richting partner"},
		{"never in a direction, a field it does not give", edit("{klassen: [G]}", "{richting: {namens: [uitkering.bedrag]}}"), "a.yaml:16: nooit.richting.namens uitkering.bedrag"},
		{"never in a direction, all fields", edit("{klassen: [G]}", "{richting: {namens: [uitkering.soort, uitkering.loopt]}}"), "a.yaml:16: nooit.richting.namens: leaves no field"},
		{"ends before it begins", edit("geldigVan: 2026-01-01", "geldigVan: 2026-01-01\n  geldigTot: 2026-01-01"), "a.yaml:5: geldigTot"},
		{"same version twice", entryA + strings.Replace(entryA, "2026", "2027", 1), "a.yaml:21: versie 1 stands here twice"},
		{"overlap without an end", entryA + strings.Replace(second, "2026", "2027", 1), "a.yaml:23: version 2 begins while version 1 is valid"},
		{"overlap by a day", edit("geldigVan: 2026-01-01", "geldigVan: 2026-01-01\n  geldigTot: 2027-01-02") + strings.Replace(second, "2026", "2027", 1), "a.yaml:24: version 2 begins"},
		{"another purpose in the file", edit("id: a", "id: b"), "a.yaml:1: id b: a file is named after its doel"},
		{"fields of a purpose that is not offered", entryFraude + "  diensten: {persoon: [bsn]}\n", "a.yaml:7: 0.diensten"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := load(tc.text)
			if gateway.KindOf(err) != gateway.Invalid || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want kind Invalid with %q", err, tc.want)
			}
		})
	}
	if _, err := policies.LoadCatalogue(fstest.MapFS{}); gateway.KindOf(err) != gateway.Invalid {
		t.Errorf("no file: got %v, want Invalid", err)
	}
	two := fstest.MapFS{"x/a.yaml": {Data: []byte(entryA)}, "y/a.yaml": {Data: []byte(entryA)}}
	if _, err := policies.LoadCatalogue(two); err == nil || !strings.Contains(err.Error(), "y/a.yaml:1: doel a stands in another file") {
		t.Errorf("one purpose in two files: got %v", err)
	}
}

func TestVersionsFollowEachOther(t *testing.T) {
	next := strings.NewReplacer("versie: 1", "versie: 2", "2026-01-01", "2027-01-01", "[loopt, soort]", "[loopt]").Replace(entryA)
	// The file may have them in any order.
	c, err := load(next + strings.Replace(entryA, "geldigVan: 2026-01-01", "geldigVan: 2026-01-01\n  geldigTot: 2027-01-01", 1))
	if err != nil {
		t.Fatal(err)
	}
	turn := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		at   time.Time
		want int
	}{{turn.AddDate(-1, 0, -1), 0}, {turn.Add(-time.Nanosecond), 1}, {turn, 2}, {turn.AddDate(9, 0, 0), 2}} {
		if e, _ := c.Entry("a", tc.at); e.Versie != tc.want {
			t.Errorf("at %s: got version %d, want %d", tc.at, e.Versie, tc.want)
		}
	}
	// A contract signed under version 1 is not one under version 2.
	e := newEngine(t, policies.Options{Catalogus: fstest.MapFS{"a.yaml": {Data: []byte(next + strings.Replace(entryA, "geldigVan: 2026-01-01", "geldigVan: 2026-01-01\n  geldigTot: 2027-01-01", 1))}}})
	in := question(grant(t, e, "a", borne), "proef")
	if d := decide(t, e, in); !d.Allow {
		t.Errorf("under version 1: got %v", d.Reasons)
	}
	in.Tijd = turn
	if d := decide(t, e, in); d.Allow || d.Reasons[0] != gateway.DoelGewijzigd {
		t.Errorf("under version 2: got %+v, want doel-gewijzigd", d)
	}
}

func TestEntryIsTheCallersOwn(t *testing.T) {
	e := newEngine(t, policies.Options{})
	got, _ := e.Session().Entry("doorverwijzing-welzijn", now)
	got.Diensten["persoon"][0], got.Toestemming.Soort, got.Richting[0] = "bsn", "", "namens"
	again, _ := e.Session().Entry("doorverwijzing-welzijn", now)
	if again.Diensten.Has("persoon", "bsn") || again.Toestemming.Soort == "" || again.Richting[0] != gateway.Partner {
		t.Errorf("a caller changed the catalogue: %+v", again)
	}
}

func TestPropertiesAndCheck(t *testing.T) {
	e := newEngine(t, policies.Options{})
	c := e.Session().Catalogue()
	for _, tc := range []struct {
		doel   gateway.Doel
		namens gateway.PeerID
		want   gateway.Reason
	}{
		{"minima-proactief", borne, gateway.DoelOnbekend},
		{"handhaving-fraude", borne, gateway.DoelNietAangeboden},
		{"doorverwijzing-welzijn", borne, gateway.RichtingNietToegestaan},
	} {
		if _, err := c.Properties(tc.doel, now, tc.namens); gateway.CodeOf(err) != string(tc.want) {
			t.Errorf("Properties of %s: got %v, want code %s", tc.doel, err, tc.want)
		}
	}
	if _, err := c.Properties("pw-uitkering", now.AddDate(-2, 0, 0), borne); gateway.CodeOf(err) != string(gateway.DoelNietActief) {
		t.Errorf("Properties before the first day: got %v", err)
	}
	good := grant(t, e, "pw-uitkering", borne)
	for _, tc := range []struct {
		name string
		edit func(*gateway.Grant)
		want gateway.Reason
	}{
		{"as proposed", func(*gateway.Grant) {}, ""},
		{"fewer fields", func(g *gateway.Grant) { g.Properties.Velden = gateway.Velden{"persoon": {"naam"}} }, ""},
		{"not purpose-bound", func(g *gateway.Grant) { g.Properties = gateway.Properties{} }, ""},
		{"altered digest", func(g *gateway.Grant) { g.Properties.DoelDigest = "x" }, gateway.DoelGewijzigd},
		{"other version", func(g *gateway.Grant) { g.Properties.DoelVersie++ }, gateway.DoelGewijzigd},
		{"P29", func(g *gateway.Grant) { g.Properties.Doel = "handhaving-fraude" }, gateway.DoelNietAangeboden},
		{"partner", func(g *gateway.Grant) { g.Properties.NamensCollege = "" }, gateway.RichtingNietToegestaan},
		{"another college", func(g *gateway.Grant) { g.Properties.NamensCollege = hengelo }, gateway.GeenMandaat},
		{"more fields", func(g *gateway.Grant) { g.Properties.Velden = gateway.Velden{"contactpersoon": {"naam"}} }, gateway.GrondslagDektElementNiet},
		{"no fields", func(g *gateway.Grant) { g.Properties.Velden = gateway.Velden{"persoon": nil} }, gateway.GrondslagDektElementNiet},
	} {
		g := good
		tc.edit(&g)
		if err := c.Check(g, now); gateway.CodeOf(err) != string(tc.want) || (err == nil) != (tc.want == "") {
			t.Errorf("Check, %s: got %v, want code %q", tc.name, err, tc.want)
		}
	}
}

// P18: colleges see the law that a contact person comes from and need no consent; a partner needs it and never sees the law.
func TestDirectionsOfOnePurpose(t *testing.T) {
	e := newEngine(t, policies.Options{})
	c := e.Session().Catalogue()
	const doel = gateway.Doel("casusregie-contact")
	namens, partner := grant(t, e, doel, borne), grant(t, e, doel, "")
	if !namens.Properties.Velden.Has("contactpersoon", "wet") || partner.Properties.Velden.Has("contactpersoon", "wet") {
		t.Errorf("proposed: namens %v, partner %v; want the law in the first only", namens.Properties.Velden, partner.Properties.Velden)
	}
	widened := partner
	widened.Properties.Velden = namens.Properties.Velden
	if err := c.Check(widened, now); gateway.CodeOf(err) != string(gateway.GrondslagDektElementNiet) {
		t.Errorf("Check of a partner's grant with the law: got %v", err)
	}
	tussen := namens
	tussen.Type, tussen.Delegator, tussen.Properties.NamensCollege = gateway.DelegatedServiceConnection, hengelo, ""
	all, without := []gateway.Veld{"geldigVan", "naam", "organisatie", "telefoon", "wet"}, []gateway.Veld{"geldigVan", "naam", "organisatie", "telefoon"}
	for _, tc := range []struct {
		name    string
		grant   gateway.Grant
		consent gateway.ConsentState
		asked   gateway.Velden
		allow   bool
		velden  []gateway.Veld
		reason  gateway.Reason
	}{
		{"namens", namens, gateway.GeenToestemming, nil, true, all, ""},
		{"tussen", tussen, gateway.Ingetrokken, nil, true, all, ""},
		{"partner", partner, gateway.Geldig, nil, true, without, ""},
		{"partner that names the law", partner, gateway.Geldig, gateway.Velden{"contactpersoon": all}, true, without, gateway.KlasseVerboden},
		{"partner whose grant has the law", widened, gateway.Geldig, nil, true, without, ""},
		{"partner that asks the law alone", widened, gateway.Geldig, gateway.Velden{"contactpersoon": {"wet"}}, false, nil, gateway.KlasseVerboden},
		{"partner without consent", partner, gateway.GeenToestemming, nil, false, nil, gateway.ToestemmingOntbreekt},
		{"partner after withdrawal", partner, gateway.Ingetrokken, nil, false, nil, gateway.ToestemmingIngetrokken},
	} {
		in := question(tc.grant, "casusregie")
		in.Toestemming, in.Velden = tc.consent, tc.asked
		d := decide(t, e, in)
		var reason gateway.Reason
		if len(d.Reasons) > 0 {
			reason = d.Reasons[0]
		}
		if d.Allow != tc.allow || reason != tc.reason || !cmp.Equal(d.Velden["contactpersoon"], tc.velden) {
			t.Errorf("%s: got allow %v, %v, reasons %v; want %v, %v, %q", tc.name, d.Allow, d.Velden, d.Reasons, tc.allow, tc.velden, tc.reason)
		}
	}
	young := question(partner, "casusregie")
	young.Toestemming, young.Persoon = gateway.Geldig, &policies.Persoon{Leeftijd: 15}
	if d := decide(t, e, young); d.Allow || d.Reasons[0] != gateway.LeeftijdGezag {
		t.Errorf("a partner about a child: got %+v", d)
	}
	young.Grant, young.Toestemming = namens, gateway.GeenToestemming
	if d := decide(t, e, young); !d.Allow {
		t.Errorf("a college about a child: got %+v", d)
	}
}

func FuzzLoadCatalogue(f *testing.F) {
	f.Add([]byte(entryA))
	f.Add([]byte(entryFraude))
	f.Add([]byte("- &a [*a]\n- {<<: *a, ? b : c}\n"))
	for _, dir := range []string{"doelen"} {
		files, err := os.ReadDir(dir)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(dir + "/" + file.Name())
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := policies.LoadCatalogue(fs.FS(fstest.MapFS{"a.yaml": {Data: data}}))
		if err != nil {
			if gateway.KindOf(err) != gateway.Invalid || !strings.Contains(err.Error(), "a.yaml") {
				t.Errorf("got %v, want kind Invalid and the file", err)
			}
			return
		}
		e, ok := c.Entry("a", now)
		if ok && (e.ID != "a" || e.Versie < 1 || e.Digest() == "" || len(e.Grondslag) == 0) {
			t.Errorf("accepted %+v", e)
		}
	})
}
