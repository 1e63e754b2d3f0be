package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway/audit/kafka"
	"github.com/grensloos/grensloos/gateway/edge"
)

// oneMachine is the sections opslag and audit for roles apart on the engines of one machine: a SQLite file that the processes share, and
// a broker of the test. The shipped program refuses the first.
func oneMachine(t *testing.T, p *regionPeer) string {
	t.Helper()
	dir := filepath.Join(p.dir, "broker")
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Dir: dir}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	cfg := broker.Config()
	secret, err := cfg.SASL.Password()
	if err != nil {
		t.Fatal(err)
	}
	password := filepath.Join(dir, "wachtwoord-voor-de-processen")
	if err := os.WriteFile(password, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`opslag: {pad: %s}
audit:
  journaal: {bevestiging: kafka, segmentBytes: 1048576}
  kafka:
    brokers: [%q]
    sasl: {mechanisme: %s, gebruiker: %s, wachtwoordBestand: %s}
`, filepath.Join(p.dir, "state.db"), cfg.Brokers[0], cfg.SASL.Mechanism, cfg.SASL.User, password)
}

// apartRegion is demo D01 with the roles of both peers apart, the gemeente with two inways and two managers; nothing runs yet. others are
// more peers of the region.
func apartRegion(t *testing.T, engines func(*testing.T, *regionPeer) string, others ...*regionPeer) (r *running, b, u *apart) {
	t.Helper()
	gemeente, asker := borne(t), uwi()
	laid, err := layRegion(t.Context(), t.TempDir(), append(others, gemeente, asker)...)
	if err != nil {
		t.Fatal(err)
	}
	r = &running{region: laid, t: t, serve: map[*regionPeer]*served{}}
	b, u = r.separate(gemeente, engines(t, gemeente)), r.separate(asker, engines(t, asker))
	b.balance(gemeente.ports.Manager, roleManager, "manager-1", "manager-2")
	b.balance(gemeente.ports.Inway, roleInway, "inway-1", "inway-2")
	u.balance(asker.ports.Manager, roleManager, "manager")
	return r, b, u
}

// part of a region is one process.
type regionProcess struct {
	of    *apart
	name  string
	roles []certs.Role
}

func (p regionProcess) String() string { return p.of.p.Name + " " + p.name }

// apartProcesses are all processes of apartRegion.
func apartProcesses(b, u *apart) []regionProcess {
	one := func(of *apart, name string, role certs.Role) regionProcess {
		return regionProcess{of, name, []certs.Role{role}}
	}
	return []regionProcess{
		one(b, "manager-1", roleManager), one(b, "manager-2", roleManager), one(b, "beheer", roleBeheer), one(b, "clientgegevens", roleClientgegevens),
		one(b, "inway-1", roleInway), one(b, "inway-2", roleInway),
		one(u, "manager", roleManager), one(u, "beheer", roleBeheer), one(u, "outway", roleOutway), one(u, "bevraging", roleBevraging),
	}
}

func TestRolesApart(t *testing.T) {
	r, b, u := apartRegion(t, oneMachine)
	for _, one := range apartProcesses(b, u) {
		one.of.start(one.name, one.roles...)
	}
	r.promisesApart(b, u)
}

// promisesApart are those that hold of roles apart, on whatever engines.
func (r *running) promisesApart(b, u *apart) {
	t := r.t
	t.Helper()
	// The folders say what each runs with; what a role can do without is not there.
	for name, without := range map[string][]string{
		"manager-1": {"pseudoniem", "bron", "issuer"}, "inway-1": {"pseudoniem", "bron", "issuer", "group/"},
		"clientgegevens": {"group", "groep", "issuer"}, "beheer": {"bron.db"},
	} {
		for _, file := range b.files(name) {
			if slices.ContainsFunc(without, func(w string) bool { return strings.HasPrefix(file, w) || strings.Contains(file, "/"+w) }) {
				t.Errorf("%s runs with %s", name, file)
			}
		}
	}
	for _, file := range u.files("bevraging") {
		if strings.Contains(file, "group") || strings.Contains(file, "groep") {
			t.Errorf("bevraging runs with %s", file)
		}
	}
	r.contract(u.p, b.p, "--doel", "pw-uitkering", "--namens", string(b.p.ID))
	r.contract(u.p, b.p, "--doel", "doorverwijzing-welzijn")
	q := testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: clientOf(t, 0)}
	const answered = "persoon=beantwoord uitkering=beantwoord"

	t.Run("answered, with every record on both sides", func(t *testing.T) {
		r.await("every process to know the contract", func() bool { return outcomes(r.ask(u.p, q)) == answered })
		g := r.ask(u.p, q)
		if got := outcomes(g); got != answered {
			t.Fatalf("got %s, want %s", got, answered)
		}
		r.await("the afloop of both sides", func() bool {
			return kinds(r.records(u.p, g.Transactie)) == askerAnswered && kinds(r.records(b.p, g.Transactie)) == providerAnswered
		})
	})
	cheater := r.cheatWith(filepath.Join("rollen", "outway", "groep"), u.p, b.p)
	token := cheater.token(r.grantHash(u.p, "pw-uitkering"))
	grant := grantOf(t, token)
	inwayAt := func(name string) string { return fmt.Sprintf("https://127.0.0.1:%d", b.port(name+" inway")) }
	body := `{"bsn":"` + q.bsn + `"}`

	t.Run("what one inway took, the other refuses", func(t *testing.T) {
		cheater.inway = inwayAt("inway-1")
		first := cheater.question(grant, token, body)
		if status, answer, _ := cheater.send(first); status != http.StatusOK {
			t.Fatalf("first: got %d %s", status, answer)
		}
		cheater.inway = inwayAt("inway-2")
		again := cheater.question(grant, token, body)
		again.Header = first.Header.Clone()
		if status, answer, header := cheater.send(again); status != http.StatusBadRequest || edge.ErrorCode(header) != "INVALID_LOG_RECORD_ID" {
			t.Errorf("at the other inway: got %d %s, want it refused", status, answer)
		}
	})

	t.Run("a role calls only where it may", func(t *testing.T) {
		call := func(as certs.Role, peer *apart, address string) (int, string) {
			t.Helper()
			trust, err := certs.InternalClientTLS(filepath.Join(peer.p.dir, "intern", certs.RootFile))
			if err != nil {
				t.Fatal(err)
			}
			if as != "" {
				dir := filepath.Join(peer.p.dir, "rollen", string(as))
				pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
				if err != nil {
					t.Fatal(err)
				}
				trust.Certificates = []tls.Certificate{pair}
			}
			transport := &http.Transport{TLSClientConfig: trust}
			defer transport.CloseIdleConnections()
			req := cheater.question(grant, token, body) // all that another peer could send
			req.URL.Host = strings.TrimPrefix(address, "https://")
			resp, err := transport.RoundTrip(req)
			if err != nil {
				return 0, err.Error()
			}
			defer resp.Body.Close()
			raw, _ := io.ReadAll(resp.Body)
			return resp.StatusCode, string(raw)
		}
		service := fmt.Sprintf("https://127.0.0.1:%d", b.port("clientgegevens clientgegevens"))
		for _, as := range []certs.Role{"", roleManager, roleOutway, roleBevraging, roleBeheer, roleClientgegevens} {
			if status, answer := call(as, b, service); status != http.StatusForbidden || !strings.Contains(answer, codeRol) {
				t.Errorf("%q calls clientgegevens: got %d %s, want 403 %s", as, status, answer, codeRol)
			}
		}
		// The inway itself, without saying that it admitted this: refused too.
		if status, answer := call(roleInway, b, service); status != http.StatusForbidden || !strings.Contains(answer, "niet-via-inway") {
			t.Errorf("the inway without an admission: got %d %s, want 403 niet-via-inway", status, answer)
		}
		outway := fmt.Sprintf("https://127.0.0.1:%d", u.p.ports.Outway)
		for _, as := range []certs.Role{roleInway, roleClientgegevens, roleManager} {
			if status, answer := call(as, u, outway); status != http.StatusForbidden || !strings.Contains(answer, codeRol) {
				t.Errorf("%q calls the outway: got %d %s, want 403 %s", as, status, answer, codeRol)
			}
		}
		if status, answer := call(roleBevraging, u, outway); strings.Contains(answer, codeRol) {
			t.Errorf("bevraging calls the outway: got %d %s, want it let in", status, answer)
		}
		if log := b.log("clientgegevens"); !strings.Contains(log, "this role may not call here") {
			t.Errorf("nothing in the log of clientgegevens:\n%s", log)
		}
	})

	t.Run("consent withdrawn, and a contract revoked, bite within 5 s", func(t *testing.T) {
		c := testVraag{doel: "doorverwijzing-welzijn", zaaktype: "doorverwijzing", bsn: clientOf(t, 1)}
		id := r.must(b.p, c.bsn, "toestemming", "geef", "--doel", c.doel, "--ontvanger", string(u.p.ID), "--bsn-stdin")
		r.await("an answer with consent", func() bool { return outcomes(r.ask(u.p, c)) == "persoon=beantwoord" }) // every process knows the contract
		r.must(b.p, "", "toestemming", "trek-in", id)
		if got, want := outcomes(r.ask(u.p, c)), "persoon=geweigerd(geweigerd)"; got != want {
			t.Errorf("withdrawn: got %s, want %s", got, want)
		}
		hash := ""
		for _, contract := range r.contracts(b.p) {
			if contract.Grants[0].Hash == grant.Hash {
				hash = string(contract.Hash)
			}
		}
		r.must(b.p, "", "contract", "revoke", hash)
		revoked := time.Now()
		for _, name := range []string{"inway-1", "inway-2"} {
			cheater.inway = inwayAt(name)
			for {
				status, answer, _ := cheater.send(cheater.question(grant, token, body))
				if status == http.StatusUnauthorized && strings.Contains(string(answer), "contract") {
					break
				}
				if time.Since(revoked) > 5*time.Second {
					t.Fatalf("%s after %v: got %d %s, want it refused", name, time.Since(revoked), status, answer)
				}
			}
		}
		r.await("the asker to know", func() bool {
			return outcomes(r.ask(u.p, q)) == "persoon=niet-gevraagd(geen-contract) uitkering=niet-gevraagd(geen-contract)"
		})
	})

	t.Run("doctor sees the roles reach each other, and what each shows of itself", func(t *testing.T) {
		out, _ := r.grensloos(b.p, "", "doctor")
		if !strings.Contains(out, "bereikbaar voor inway") || !strings.Contains(out, "rol inway") {
			t.Errorf("doctor of the gemeente:\n%s", out)
		}
		if out, _ := r.grensloos(u.p, "", "doctor"); !strings.Contains(out, "bereikbaar voor bevraging") {
			t.Errorf("doctor of the asker:\n%s", out)
		}
		trust, err := certs.InternalClientTLS(filepath.Join(b.p.dir, "intern", certs.RootFile))
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust}, Timeout: 10 * time.Second}
		defer client.CloseIdleConnections()
		for _, name := range []string{"manager-1", "inway-1", "clientgegevens", "beheer"} {
			for _, path := range []string{"/gezondheid/gereed", "/metrics"} {
				resp, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d%s", b.port(name+" bewaking"), path))
				if err != nil {
					t.Errorf("%s %s: %v", name, path, err)
					continue
				}
				raw, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("%s %s: got %d %s", name, path, resp.StatusCode, raw)
				}
			}
		}
	})

	t.Run("audit tail shows the records of every process", func(t *testing.T) {
		f := r.follow(b.p, "--sinds", "10m", "--json")
		defer func() {
			if t.Failed() {
				t.Log(f.note, f.out)
			}
		}()
		r.await("records of inway and clientgegevens", func() bool {
			return contains(f.out, `"soort":"ldv"`) && contains(f.out, `"soort":"transactie"`) && contains(f.out, "contract-ingetrokken")
		})
	})
}

// The shipped program refuses roles apart without the engines that they share, with all that is missing at once.
func TestRolesApartNeedEngines(t *testing.T) {
	_, b, _ := apartRegion(t, func(*testing.T, *regionPeer) string { return "audit: {}\n" })
	_, err := loadConfigOf(b.folder("inway-1", roleInway), b.part("inway-1", roleInway))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"opslag: roles apart keep their state in one PostgreSQL", "audit.kafka.brokers: roles apart", "audit.journaal.bevestiging: give kafka"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

// A process whose certificate does not name its role does not start.
func TestRoleNeedsItsCertificate(t *testing.T) {
	_, b, _ := apartRegion(t, oneMachine)
	part := b.part("inway-1", roleInway)
	part.embedded = true
	config := b.folder("inway-1", roleInway)
	for _, file := range []string{"cert.pem", "key.pem"} {
		raw, err := os.ReadFile(filepath.Join(b.p.dir, "rollen", "outway", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(config), "rollen", "inway", file), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := loadConfigOf(config, part)
	if err != nil {
		t.Fatal(err)
	}
	err = serve(t.Context(), cfg, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "does not name the role inway") || !strings.Contains(err.Error(), "pki issue") {
		t.Errorf("got %v, want the start refused with the command that mends it", err)
	}
}

func TestParseProcess(t *testing.T) {
	for _, tc := range []struct {
		roles, listen []string
		name, want    string // of the error; empty: it is good
	}{
		{roles: nil},
		{roles: []string{"inway"}, listen: []string{"inway=:8443", "bewaking=:9000"}, name: "inway-2"},
		{roles: []string{"notaris"}, want: "--role"},
		{name: "x", want: "go with --role"},
		{roles: []string{"inway"}, name: "../x", want: "--proces"},
		{roles: []string{"inway"}, listen: []string{"outway=:1"}, want: "--luister"},
		{roles: []string{"inway"}, listen: []string{":1"}, want: "--luister"},
	} {
		_, err := parseProcess(tc.roles, tc.name, tc.listen)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%+v: got %v", tc, err)
		}
	}
	p, err := parseProcess([]string{"outway", "manager", "outway"}, "", nil)
	if err != nil || p.String() != "manager-outway" {
		t.Errorf("got %s, %v, want manager-outway", p, err)
	}
}

func TestServeRolesAllHaveTheirNeeds(t *testing.T) {
	for _, role := range serveRoles() {
		if _, ok := roleNeeds[role]; !ok {
			t.Errorf("%s has no row in roleNeeds", role)
		}
	}
	if len(roleNeeds) != len(serveRoles()) {
		t.Errorf("%d rows, want %d", len(roleNeeds), len(serveRoles()))
	}
	// A role without the key of the group signs nothing; one that calls others shows its own certificate.
	for _, role := range []certs.Role{roleClientgegevens, roleBevraging} {
		if roleNeeds[role].GroupKey {
			t.Errorf("%s needs no key of the group", role)
		}
	}
	for _, role := range []certs.Role{roleManager, roleInway} {
		if roleNeeds[role].Pseudonyms || roleNeeds[role].Source {
			t.Errorf("%s faces other peers: it needs neither pseudonym keys nor the source", role)
		}
	}
}

// A file for one process may leave out what its roles don't need; a role that needs it says so.
func TestConfigOfOneProcess(t *testing.T) {
	_, b, _ := apartRegion(t, oneMachine)
	raw, err := os.ReadFile(b.p.config())
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for _, left := range []string{
		"pseudoniemen: {1: pseudoniem.key}\n", "  issuerSleutels: [issuer.pem]\n", "bron:\n  database: {bestand: bron.db, mapping: mapping.yaml}\n",
		"certificaat: {certificaat: group/cert.pem, sleutel: group/key.pem}\n",
	} {
		if !strings.Contains(text, left) {
			t.Fatalf("the configuration has no %q", left)
		}
		text = strings.Replace(text, left, "", 1)
	}
	file := filepath.Join(b.p.dir, "inway.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(role certs.Role) error {
		part := b.part(string(role), role)
		part.embedded = true
		_, err := loadConfigOf(file, part)
		return err
	}
	if err := load(roleInway); err != nil {
		t.Errorf("the inway needs none of it: %v", err)
	}
	for role, want := range map[certs.Role][]string{
		roleManager: {"certificaat: give"}, roleClientgegevens: {"pseudoniemen: give", "bron: the service"}, roleBevraging: {"pseudoniemen: give", "issuerSleutels"},
	} {
		err := load(role)
		for _, text := range want {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: got %v, want %q in it", role, err, text)
			}
		}
	}
	// Tokens name the address of the inway: whoever verifies them must know it.
	if err := os.WriteFile(file, []byte(regexp.MustCompile(`(?m)^  adres: .*\n(  services:)`).ReplaceAllString(text, "$1")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := load(roleClientgegevens); err == nil || !strings.Contains(err.Error(), "inway.adres: give") {
		t.Errorf("clientgegevens without inway.adres: got %v", err)
	}
	if err := load(roleClientgegevens); err != nil && strings.Contains(err.Error(), "certificaat: give") {
		t.Errorf("clientgegevens has no key of the group, and it asks for one: %v", err)
	}
}
