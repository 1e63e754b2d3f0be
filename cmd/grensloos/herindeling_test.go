package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/cmd/grensloos/bevolking"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/journal"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/bevraging"
	"github.com/grensloos/grensloos/gateway/contactpersoon"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/gemeenten"
	"github.com/grensloos/grensloos/gateway/store"
)

// noordHolland are Heerhugowaard and Langedijk, Dijk en Waard that takes over from them, and who asks.
type noordHolland struct {
	*running
	heerhugowaard, langedijk, dijkEnWaard, asker *regionPeer
}

// layNoordHolland lays the peers out and starts all but Dijk en Waard.
func layNoordHolland(t *testing.T) *noordHolland {
	t.Helper()
	n := &noordHolland{
		heerhugowaard: &regionPeer{ID: "00000099000000398000", Name: "Gemeente Heerhugowaard", Gemeentecode: "0398", Source: sourceOf(bevolking.Heerhugowaard)},
		langedijk:     &regionPeer{ID: "00000099000000416000", Name: "Gemeente Langedijk", Gemeentecode: "0416", Source: sourceOf(bevolking.Langedijk)},
		dijkEnWaard: &regionPeer{
			ID: "00000099000001980000", Name: "Gemeente Dijk en Waard", Gemeentecode: "1980",
			Source: sourceOf(bevolking.Heerhugowaard, bevolking.Langedijk),
		},
		asker: &regionPeer{ID: "00000099900000002000", Name: "uwi-alkmaar"},
	}
	laid, err := layRegion(t.Context(), t.TempDir(), n.heerhugowaard, n.langedijk, n.dijkEnWaard, n.asker)
	if err != nil {
		t.Fatal(err)
	}
	n.running = &running{region: laid, t: t, serve: map[*regionPeer]*served{}}
	n.forget(n.dijkEnWaard, n.asker) // the old peers know where it is
	t.Cleanup(func() {
		for p := range n.serve {
			n.stop(p)
		}
	})
	for _, p := range []*regionPeer{n.heerhugowaard, n.langedijk, n.asker} {
		n.start(p)
	}
	return n
}

// herindeling runs the command and gives its report, if there is one.
func (n *noordHolland) herindeling(extra ...string) (herindelingVerslag, error) {
	var out strings.Builder
	args := append([]string{
		"herindeling", "--van", n.heerhugowaard.config(), "--van", n.langedijk.config(), "--naar", n.dijkEnWaard.config(),
		"--per", "2022-01-01", "--als", "beheerder", "--json",
	}, extra...)
	err := run(n.t.Context(), args, strings.NewReader(""), &out, io.Discard)
	var v herindelingVerslag
	if out.Len() > 0 {
		if err := json.Unmarshal([]byte(out.String()), &v); err != nil {
			n.t.Fatalf("%v\n%s", err, out.String())
		}
	}
	return v, err
}

// person is the i-th resident of a gemeente.
func person(t *testing.T, g bevolking.Gemeente, i int) string {
	t.Helper()
	personen, err := g.Personen(time.Now().UTC())
	if err != nil {
		t.Fatal(err)
	}
	return personen[i].BSN.Reveal()
}

// files gives the content of every file of a peer but the lock, which is empty.
func files(t *testing.T, peers ...*regionPeer) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, p := range peers {
		err := filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			all[path] = string(raw)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// acts counts the management acts in the journal of a peer that does not run.
func acts(t *testing.T, p *regionPeer) map[string]int {
	t.Helper()
	cfg, err := loadConfig(p.config())
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(cfg.Audit.Journal, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	err = j.Scan(time.Time{}, func(e journal.Entry) error {
		if e.Record.Soort != audit.Beheer {
			return nil
		}
		var act struct{ Handeling, Door string }
		if err := json.Unmarshal(e.Record.Body, &act); err != nil {
			return err
		}
		if strings.Contains(act.Door, "beheerder") {
			t.Errorf("act %s names the account", act.Handeling)
		}
		n[act.Handeling]++
		return e.Record.Validate()
	})
	if err := errors.Join(err, j.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestHerindeling(t *testing.T) {
	n := layNoordHolland(t)
	const doel = "doorverwijzing-welzijn"
	vraag := func(bsn string, extra ...string) bevraging.GemeenteAntwoord {
		t.Helper()
		return n.ask(n.asker, testVraag{doel: doel, zaaktype: "doorverwijzing", bsn: bsn, extra: extra})
	}
	want := func(what string, g bevraging.GemeenteAntwoord, outcome string) {
		t.Helper()
		if got := outcomes(g); got != outcome {
			t.Errorf("%s: got %s, want %s", what, got, outcome)
		}
	}
	geef := func(p *regionPeer, bsn string, ontvanger gateway.PeerID) string {
		t.Helper()
		return n.must(p, bsn, "toestemming", "geef", "--doel", doel, "--ontvanger", string(ontvanger), "--bsn-stdin")
	}
	oud := map[string]string{
		"h-welzijn":   n.contract(n.asker, n.heerhugowaard, "--doel", doel),
		"l-welzijn":   n.contract(n.asker, n.langedijk, "--doel", doel), // in the successor's name the same as the one above
		"h-uitkering": n.contract(n.asker, n.heerhugowaard, "--doel", "pw-uitkering", "--namens", string(n.heerhugowaard.ID)),
	}
	toegestaan, ingetrokken := person(t, bevolking.Heerhugowaard, 1), person(t, bevolking.Heerhugowaard, 2)
	later, langedijker := person(t, bevolking.Heerhugowaard, 3), person(t, bevolking.Langedijk, 1)
	toegestaanID := geef(n.heerhugowaard, toegestaan, n.asker.ID)
	n.must(n.heerhugowaard, "", "toestemming", "trek-in", geef(n.heerhugowaard, ingetrokken, n.asker.ID))
	geef(n.heerhugowaard, later, n.langedijk.ID)         // a recipient that ends too
	geef(n.heerhugowaard, later, "00000099900000009000") // a recipient that nobody knows
	geef(n.langedijk, langedijker, n.asker.ID)
	want("before, with consent", vraag(toegestaan, "--gemeente", string(n.heerhugowaard.ID)), "persoon=beantwoord")
	want("before, withdrawn", vraag(ingetrokken, "--gemeente", string(n.heerhugowaard.ID)), "persoon=geweigerd(geweigerd)")

	t.Run("refused while a peer runs", func(t *testing.T) {
		for _, extra := range [][]string{nil, {"--dry-run"}} {
			if _, err := n.herindeling(extra...); err == nil || !strings.Contains(err.Error(), "in use by another process") {
				t.Errorf("%v: got %v, want a refusal that names the folder", extra, err)
			}
		}
	})
	n.stop(n.heerhugowaard)
	n.stop(n.langedijk)

	n.contactpersoon(n.langedijk, later)
	blijft := []nietOver{
		{n.heerhugowaard.ID, "toestemming", "de ontvanger 00000099900000009000 is bij de nieuwe gemeente niet bekend", 1},
		{n.heerhugowaard.ID, "toestemming", "de ontvanger is opgegaan in de nieuwe gemeente", 1},
		{n.langedijk.ID, "contactpersoon", "wijs haar opnieuw toe bij de nieuwe gemeente", 1},
	}
	planned := herindelingVerslag{
		Per:  "2022-01-01",
		Naar: herindelingPeer{n.dijkEnWaard.ID, n.dijkEnWaard.Name, "1980"},
		Van: []herindelingPeer{
			{n.heerhugowaard.ID, n.heerhugowaard.Name, "0398"}, {n.langedijk.ID, n.langedijk.Name, "0416"},
		},
		Sleutels: 2, Toestemmingen: toestemmingenVerslag{Over: 3, Ingetrokken: 1}, Contracten: contractenVerslag{Oud: 3, Voorstellen: 2},
		NietOver: blijft, Hashes: []gateway.ContentHash{},
	}
	report := func(got herindelingVerslag, err error, want herindelingVerslag) {
		t.Helper()
		if exitCode(err) != exitIncomplete {
			t.Fatalf("got %v, want exit code %d: not all can move", err, exitIncomplete)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}
	}
	t.Run("a dry run shows all and changes no byte", func(t *testing.T) {
		before := files(t, n.heerhugowaard, n.langedijk, n.dijkEnWaard)
		dry := planned
		dry.Proef = true
		got, err := n.herindeling("--dry-run")
		report(got, err, dry)
		after := files(t, n.heerhugowaard, n.langedijk, n.dijkEnWaard)
		for name := range after {
			if old, was := before[name]; !was || old != after[name] {
				t.Errorf("%s changed, or is new", name)
			}
		}
		if len(after) != len(before) {
			t.Errorf("%d files, were %d", len(after), len(before))
		}
		if left, err := filepath.Glob(filepath.Join(os.TempDir(), "grensloos-herindeling-*")); err != nil || len(left) > 0 {
			t.Errorf("copies are left: %v, %v", left, err)
		}
	})

	t.Run("what broke off goes on", func(t *testing.T) {
		n.half()
		rest := planned
		rest.Sleutels, rest.Toestemmingen = 0, toestemmingenVerslag{Over: 1, WasOver: 2}
		got, err := n.herindeling()
		if len(got.Hashes) != 2 {
			t.Errorf("proposals: got %d, want 2", len(got.Hashes))
		}
		got.Hashes = []gateway.ContentHash{}
		report(got, err, rest)
	})
	t.Run("again: nothing is left to move", func(t *testing.T) {
		again := planned
		again.Sleutels, again.Toestemmingen = 0, toestemmingenVerslag{WasOver: 3}
		again.Contracten = contractenVerslag{Oud: 3, WasVoorstel: 2}
		got, err := n.herindeling()
		report(got, err, again)
	})
	t.Run("no old contract goes before the new one is accepted", func(t *testing.T) {
		wait := planned
		wait.Proef, wait.Sleutels, wait.Toestemmingen = true, 0, toestemmingenVerslag{WasOver: 3}
		wait.Contracten = contractenVerslag{Oud: 3, WasVoorstel: 2}
		const reden = "het nieuwe contract is nog niet door alle partijen geaccepteerd"
		wait.NietOver = []nietOver{{n.heerhugowaard.ID, "intrekking", reden, 2}, blijft[0], blijft[1], blijft[2], {n.langedijk.ID, "intrekking", reden, 1}}
		got, err := n.herindeling("--dry-run", "--oude-contracten", "intrekken")
		report(got, err, wait)
	})
	t.Run("on record at both sides", func(t *testing.T) {
		for _, tt := range []struct {
			peer                              *regionPeer
			sleutels, toestemmingen, voorstel int
		}{{n.dijkEnWaard, 2, 3, 2}, {n.heerhugowaard, 1, 2, 0}, {n.langedijk, 1, 1, 0}} {
			got := acts(t, tt.peer)
			if got["herindeling"] == 0 || got["pseudoniemsleutel-overgenomen"] != tt.sleutels || got["toestemming-overgenomen"] != tt.toestemmingen ||
				got["contract-voorgesteld"] != tt.voorstel {
				t.Errorf("%s: %v", tt.peer.Name, got)
			}
		}
	})

	n.start(n.dijkEnWaard)
	var nieuw []string
	n.await("both proposals to reach the asker", func() bool {
		nieuw = n.hashes(n.asker, "voorgesteld")
		return len(nieuw) == 2
	})
	want("proposed is not accepted", vraag(toegestaan, "--gemeente", "0398"), "persoon=niet-gevraagd(geen-contract)")
	for _, hash := range nieuw {
		n.must(n.asker, "", "contract", "accept", hash)
		n.await("the acceptance to arrive", func() bool { return n.state(n.dijkEnWaard, hash) == "geldig" })
	}

	t.Run("the old code finds who holds the records now, and the old consent opens them", func(t *testing.T) {
		for _, tt := range []struct {
			bsn, code string
			extra     []string
			als       []string
		}{
			{toegestaan, "0398", nil, []string{"0398"}},
			{toegestaan, "GM0398", []string{"--peildatum", "2021-06-01"}, []string{"0398"}},
			{langedijker, "0416", nil, []string{"0416"}},
			{langedijker, "1980", nil, nil},
		} {
			g := vraag(tt.bsn, append([]string{"--gemeente", tt.code}, tt.extra...)...)
			want("code "+tt.code, g, "persoon=beantwoord")
			if diff := cmp.Diff(tt.als, g.GevraagdAls); diff != "" || g.OIN != n.dijkEnWaard.ID || g.Gemeentecode != "1980" {
				t.Errorf("code %s: answered by %s (%s), asked as (-want +got):\n%s", tt.code, g.OIN, g.Gemeentecode, diff)
			}
		}
	})
	want("withdrawn stays withdrawn", vraag(ingetrokken, "--gemeente", "0398"), "persoon=geweigerd(geweigerd)")
	want("never given", vraag(person(t, bevolking.Heerhugowaard, 7), "--gemeente", "0398"), "persoon=geweigerd(geweigerd)")
	t.Run("the mandate goes along", func(t *testing.T) {
		g := n.ask(n.asker, testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: later, extra: []string{"--gemeente", "0398"}})
		want("in the name of the new college", g, "persoon=beantwoord uitkering=beantwoord")
	})
	t.Run("the person finds the consent at the new gemeente, and withdraws it there", func(t *testing.T) {
		if out := n.must(n.dijkEnWaard, toegestaan, "toestemming", "list", "--bsn-stdin", "--json"); !strings.Contains(out, toegestaanID) {
			t.Errorf("not in %s", out)
		}
		n.must(n.dijkEnWaard, "", "toestemming", "trek-in", toegestaanID)
		want("withdrawn at the new one", vraag(toegestaan, "--gemeente", "0398"), "persoon=geweigerd(geweigerd)")
	})

	n.stop(n.dijkEnWaard)
	t.Run("old contracts go once the new ones are accepted, and no withdrawal is undone", func(t *testing.T) {
		done := planned
		done.Sleutels, done.Toestemmingen = 0, toestemmingenVerslag{WasOver: 3}
		done.Contracten = contractenVerslag{Oud: 3, WasVoorstel: 2, Geldig: 2, Ingetrokken: 3}
		got, err := n.herindeling("--oude-contracten", "intrekken")
		report(got, err, done)
		n.start(n.heerhugowaard)
		n.start(n.langedijk)
		n.start(n.dijkEnWaard)
		for name, hash := range oud {
			n.await("the revocation of "+name, func() bool { return n.state(n.asker, hash) == "ingetrokken" })
		}
		want("still withdrawn", vraag(toegestaan, "--gemeente", "0398"), "persoon=geweigerd(geweigerd)")
		want("still open", vraag(langedijker, "--gemeente", "0416"), "persoon=beantwoord")
	})
}

// forget takes a peer out of another's configuration.
func (n *noordHolland) forget(p, other *regionPeer) {
	n.t.Helper()
	raw, err := os.ReadFile(p.config())
	if err != nil {
		n.t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(string(raw)) {
		if !strings.Contains(line, `- {id: "`+string(other.ID)) {
			kept = append(kept, line)
		}
	}
	if err := os.WriteFile(p.config(), []byte(strings.Join(kept, "")), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// contactpersoon writes one into the register of a peer that does not run.
func (n *noordHolland) contactpersoon(p *regionPeer, bsn string) {
	n.t.Helper()
	cfg, err := loadConfig(p.config())
	if err != nil {
		n.t.Fatal(err)
	}
	keys, err := loadPseudonyms(cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	person, err := gateway.ParseBSN(bsn)
	if err != nil {
		n.t.Fatal(err)
	}
	c, err := contactpersoon.New(contactpersoon.Contactpersoon{
		Huishouden: "H-1", Leden: []gateway.Pseudonym{keys.Pseudonym(person)}, Naam: "C. Bakker", Organisatie: "Sociaal team",
	}, time.Now())
	if err != nil {
		n.t.Fatal(err)
	}
	s, err := store.Open(n.t.Context(), cfg.Store)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := errors.Join(s.WijsToe(n.t.Context(), c, [][]gateway.Pseudonym{keys.All(person)}), s.Close()); err != nil {
		n.t.Fatal(err)
	}
}

// half does the first half of a herindeling: the keys, and the consents of the first gemeente.
func (n *noordHolland) half() {
	n.t.Helper()
	var opened []*offline
	for _, p := range []*regionPeer{n.heerhugowaard, n.langedijk, n.dijkEnWaard} {
		cfg, err := loadConfig(p.config())
		if err != nil {
			n.t.Fatal(err)
		}
		o, err := openOffline(n.t.Context(), cfg, "", slog.New(slog.DiscardHandler))
		if err != nil {
			n.t.Fatal(err)
		}
		opened = append(opened, o)
	}
	oud, nieuw := opened[:2], opened[2]
	plan, err := planHerindeling(n.t.Context(), oud, nieuw, time.Date(2022, 1, 1, 0, 0, 0, 0, time.UTC), false)
	if err != nil {
		n.t.Fatal(err)
	}
	plan.gegeven, plan.voorstel = plan.gegeven[:1], nil
	if err := plan.uitvoeren(n.t.Context(), oud, nieuw, "beheerder"); err != nil {
		n.t.Fatal(err)
	}
	for _, o := range opened {
		if err := o.shut(n.t.Context()); err != nil {
			n.t.Fatal(err)
		}
	}
}

// hashes are the contracts of a peer in one state.
func (n *noordHolland) hashes(p *regionPeer, state string) (all []string) {
	out, err := n.grensloos(p, "", "contract", "list", "--json")
	if err != nil {
		n.t.Fatal(err)
	}
	var list struct {
		Contracten []beheer.ContractJSON `json:"contracten"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		n.t.Fatal(err)
	}
	for _, c := range list.Contracten {
		if c.Toestand == state {
			all = append(all, string(c.Hash))
		}
	}
	return all
}

func TestHerindelingHoldsPeersToTheTable(t *testing.T) {
	of := func(code, oin string) *Config {
		return &Config{Peer: PeerConfig{ID: gateway.PeerID(oin), Name: "Gemeente " + code, Gemeentecode: code}, Group: GroupConfig{ID: "g"}}
	}
	h, l, d := of("0398", "00000099000000398000"), of("0416", "00000099000000416000"), of("1980", "00000099000001980000")
	other, demo := of("0416", "00000099000000416000"), of("0416", "00000099000000416000")
	other.Group.ID, demo.Demo = "another", true
	per := time.Date(2022, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name string
		oud  []*Config
		naar *Config
		per  time.Time
		want string // "": allowed
	}{
		{"as the table says", []*Config{h, l}, d, per, ""},
		{"one of the two", []*Config{l}, d, per, ""},
		{"later", []*Config{h}, d, per.AddDate(4, 0, 0), ""},
		{"the day before", []*Config{h}, d, per.AddDate(0, 0, -1), "gemeentecode 1980 (Gemeente 1980) is not valid on that day"},
		{"one that goes on", []*Config{of("0361", "00000099000000361000")}, d, per, "0361 (Gemeente 0361) has not ended"},
		{"into another", []*Config{of("0545", "00000099000000545000")}, d, per, "successor of gemeentecode 0545"},
		{"into one that ended", []*Config{h}, l, per, "0416 (Gemeente 0416) is not valid"},
		{"not in the table", []*Config{of("4321", "00000099000004321000")}, d, per, "not in table 33"},
		{"no code", []*Config{of("", "00000099000000398000")}, d, per, "peer.gemeentecode"},
		{"no code at the new one", []*Config{h}, of("", "00000099000001980000"), per, "peer.gemeentecode"},
		{"twice", []*Config{h, h}, d, per, "stands there twice"},
		{"itself", []*Config{of("0398", "00000099000001980000")}, d, per, "stands there twice"},
		{"another group", []*Config{other}, d, per, "another group"},
		{"a demo into a real one", []*Config{demo}, d, per, "demo"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkHerindeling(gemeenten.Ingebouwd(), tt.oud, tt.naar, tt.per)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || exitCode(err) != exitUsage) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestHerindelingTranslatesGrants(t *testing.T) {
	const h, l, d, asker = gateway.PeerID("00000099000000398000"), gateway.PeerID("00000099000000416000"), gateway.PeerID("00000099000001980000"), gateway.PeerID("00000099900000002000")
	oldKey, newKey := strings.Repeat("a", 64), strings.Repeat("b", 64)
	outway := func(id gateway.PeerID, key string) *contract.Outway {
		return &contract.Outway{PeerID: id, Identification: contract.Identification{Type: contract.ByThumbprint, PublicKeyThumbprint: key}}
	}
	service := func(id gateway.PeerID) contract.Service {
		return contract.Service{Type: contract.ServiceTypeService, PeerID: id, Name: "clientgegevens"}
	}
	props := func(college gateway.PeerID) json.RawMessage {
		raw, err := contract.Properties(gateway.Properties{
			Doel: "pw-uitkering", DoelVersie: 1, DoelDigest: strings.Repeat("A", 43), Velden: gateway.Velden{"persoon": {"naam"}}, NamensCollege: college,
		})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	ref := func(id gateway.PeerID) *contract.PeerRef { return &contract.PeerRef{PeerID: id} }
	plain, delegated := gateway.ServiceConnection, gateway.DelegatedServiceConnection
	for _, tt := range []struct {
		name    string
		in      []contract.GrantData
		want    []contract.GrantData
		dropped int
	}{
		{"as provider", []contract.GrantData{{Type: plain, Outway: outway(asker, oldKey), Service: service(h)}}, []contract.GrantData{{Type: plain, Outway: outway(asker, oldKey), Service: service(d)}}, 0},
		{
			"in the name of the college",
			[]contract.GrantData{{Type: plain, Outway: outway(asker, oldKey), Service: service(h), Properties: props(h)}},
			[]contract.GrantData{{Type: plain, Outway: outway(asker, oldKey), Service: service(d), Properties: props(d)}},
			0,
		},
		{
			"in the name of a college that goes on",
			[]contract.GrantData{{Type: plain, Outway: outway(asker, oldKey), Service: service(h), Properties: props(asker)}},
			[]contract.GrantData{{Type: plain, Outway: outway(asker, oldKey), Service: service(d), Properties: props(asker)}},
			0,
		},
		{"as asker, by the successor's key", []contract.GrantData{{Type: plain, Outway: outway(h, oldKey), Service: service(asker)}}, []contract.GrantData{{Type: plain, Outway: outway(d, newKey), Service: service(asker)}}, 0},
		{
			"as delegator",
			[]contract.GrantData{{Type: delegated, Outway: outway(asker, oldKey), Service: service("00000099000000361000"), Delegator: ref(h)}},
			[]contract.GrantData{{Type: delegated, Outway: outway(asker, oldKey), Service: service("00000099000000361000"), Delegator: ref(d)}},
			0,
		},
		{
			"publication",
			[]contract.GrantData{{Type: gateway.ServicePublication, Directory: ref(asker), Service: contract.Service{PeerID: l, Name: "clientgegevens", Protocol: contract.ProtocolHTTP1}}},
			[]contract.GrantData{{Type: gateway.ServicePublication, Directory: ref(asker), Service: contract.Service{PeerID: d, Name: "clientgegevens", Protocol: contract.ProtocolHTTP1}}},
			0,
		},
		{"two that become one", []contract.GrantData{
			{Type: plain, Outway: outway(asker, oldKey), Service: service(h)}, {Type: plain, Outway: outway(asker, oldKey), Service: service(l)},
		}, []contract.GrantData{{Type: plain, Outway: outway(asker, oldKey), Service: service(d)}}, 0},
		{"between the two", []contract.GrantData{{Type: plain, Outway: outway(h, oldKey), Service: service(l)}}, nil, 1},
		{"asked at one on behalf of the other", []contract.GrantData{{Type: delegated, Outway: outway(asker, oldKey), Service: service(l), Delegator: ref(h)}}, nil, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Now()
			c, err := contract.New(contract.NewContent{Group: "g", Grants: tt.in, NotBefore: now, NotAfter: now.Add(time.Hour), Now: now})
			if err != nil {
				t.Fatal(err)
			}
			raw := string(c.Raw)
			got, dropped := vertaal(c, map[gateway.PeerID]bool{h: true, l: true}, d, newKey)
			if dropped != tt.dropped || len(got) != len(tt.want) {
				t.Fatalf("got %d grants and %d dropped, want %d and %d", len(got), dropped, len(tt.want), tt.dropped)
			}
			gotKey, err := grantsKey(got)
			if err != nil {
				t.Fatal(err)
			}
			wantKey, err := grantsKey(tt.want)
			if err != nil {
				t.Fatal(err)
			}
			if gotKey != wantKey {
				t.Errorf("got\n%s\nwant\n%s", gotKey, wantKey)
			}
			again, err := contract.ParseContent([]byte(raw))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(grantData(again), grantData(c)); diff != "" {
				t.Errorf("the old contract changed:\n%s", diff)
			}
		})
	}
}

// A key rotated at the old peer after it was taken over, or a version of our own that a key taken over has, must not pass.
func TestOvernameRefusesKeysThatDoNotFit(t *testing.T) {
	dir := t.TempDir()
	write := func(name, key string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	cfg := &Config{Data: filepath.Join(dir, "data"), Pseudonyms: map[int]string{1: write("own", strings.Repeat("o", 32))}}
	const van = gateway.PeerID("00000099000000398000")
	theirs := map[int][]byte{1: []byte(strings.Repeat("t", 32)), 4: []byte(strings.Repeat("u", 32))}
	var o overname
	versies, fresh, err := o.renumber(cfg.Pseudonyms, nil, van, theirs)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int]int{1: 2, 4: 3}, versies); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	for _, s := range fresh {
		if err := o.write(cfg, s, theirs[s.VanVersie]); err != nil {
			t.Fatal(err)
		}
	}
	loaded, err := loadOvername(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(o, loaded); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	have, err := loaded.keys(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if again, fresh, err := loaded.renumber(cfg.Pseudonyms, have, van, theirs); err != nil || len(fresh) != 0 || cmp.Diff(versies, again) != "" {
		t.Errorf("again: %v, %v, %v", again, fresh, err)
	}
	theirs[1] = []byte(strings.Repeat("x", 32))
	if _, _, err := loaded.renumber(cfg.Pseudonyms, have, van, theirs); err == nil || !strings.Contains(err.Error(), "is not the one that was taken over as v2") {
		t.Errorf("another key under a version that was taken over: got %v", err)
	}
	if _, err := loadPseudonyms(cfg); err != nil {
		t.Errorf("own and taken over: %v", err)
	}
	cfg.Pseudonyms[3] = write("own3", strings.Repeat("p", 32))
	if _, err := loadPseudonyms(cfg); err == nil || !strings.Contains(err.Error(), "pseudoniemen.3") {
		t.Errorf("a version that is taken: got %v", err)
	}
	delete(cfg.Pseudonyms, 3)
	if err := os.Chmod(filepath.Join(cfg.Data, "overname", "v2.key"), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := loadPseudonyms(cfg); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others may read: got %v", err)
	}
}
