package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grensloos/grensloos/cmd/grensloos/bevolking"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/bevraging"
	"github.com/grensloos/grensloos/policies"
)

// TestMain lets this test binary stand in for the program: the demo starts its own executable as a peer.
func TestMain(m *testing.M) {
	if isLandProces() || isKaal() {
		return
	}
	if os.Getenv("GRENSLOOS_TEST_MAIN") == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

// running is a region whose peers serve in this process, each from its own files.
type running struct {
	*region
	t     *testing.T
	serve map[*regionPeer]*served
	taken map[int]bool // ports that apart gave out
}

// served is one peer that serves.
type served struct {
	stop context.CancelFunc
	done chan error
	out  *syncBuffer
	log  *syncBuffer
}

// syncBuffer is a buffer that one goroutine writes and another reads.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func contains(b *syncBuffer, text string) bool { return strings.Contains(b.String(), text) }

// startRegion lays out the peers and runs them until the test ends.
func startRegion(t *testing.T, peers ...*regionPeer) *running {
	t.Helper()
	r := laidRegion(t, peers...)
	for _, p := range peers {
		r.start(p)
	}
	return r
}

// laidRegion lays out the peers. Those that are started are stopped when the test ends.
func laidRegion(t *testing.T, peers ...*regionPeer) *running {
	t.Helper()
	laid, err := layRegion(t.Context(), t.TempDir(), peers...)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{region: laid, t: t, serve: map[*regionPeer]*served{}}
	t.Cleanup(func() {
		for p := range r.serve {
			r.stop(p)
		}
	})
	return r
}

// start serves a peer and waits until it is ready.
func (r *running) start(p *regionPeer) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &served{stop: cancel, done: make(chan error, 1), out: &syncBuffer{}, log: &syncBuffer{}}
	go func() { s.done <- run(ctx, []string{"serve", "-c", p.config()}, strings.NewReader(""), s.out, s.log) }()
	r.await(p.Name+" to be ready", func() bool {
		select {
		case err := <-s.done:
			cancel()
			r.t.Fatalf("%s ended: %v\n%s", p.Name, err, s.log)
		default:
		}
		return strings.Contains(s.out.String(), "gereed")
	})
	r.serve[p] = s
}

// stop ends a peer as SIGTERM would.
func (r *running) stop(p *regionPeer) {
	r.t.Helper()
	s := r.serve[p]
	delete(r.serve, p)
	s.stop()
	if err := <-s.done; err != nil {
		r.t.Errorf("%s stopped with: %v\n%s", p.Name, err, s.log)
	}
}

// await looks until done, for at most fifteen seconds.
func (r *running) await(what string, done func() bool) {
	r.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(15 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("waited fifteen seconds for %s", what)
		}
	}
}

// grensloos runs a command for a peer and returns what it printed.
func (r *running) grensloos(p *regionPeer, stdin string, args ...string) (string, error) {
	var out, problems bytes.Buffer
	err := run(r.t.Context(), append(args, "-c", p.config()), strings.NewReader(stdin), &out, &problems)
	if err != nil {
		err = fmt.Errorf("%w %s", err, problems.String())
	}
	return out.String(), err
}

func (r *running) must(p *regionPeer, stdin string, args ...string) string {
	r.t.Helper()
	out, err := r.grensloos(p, stdin, args...)
	if err != nil {
		r.t.Fatalf("grensloos %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(out)
}

// contract proposes a contract, has it accepted, and waits until both sides hold it for valid.
func (r *running) contract(asker, provider *regionPeer, args ...string) string {
	r.t.Helper()
	hash := r.must(asker, "", append([]string{"contract", "propose", "--aanbieder", string(provider.ID)}, args...)...)
	r.await("the proposal to arrive", func() bool { return r.state(provider, hash) == "voorgesteld" })
	r.must(provider, "", "contract", "accept", hash)
	r.await("the acceptance to arrive", func() bool { return r.state(asker, hash) == "geldig" })
	return hash
}

func (r *running) state(p *regionPeer, hash string) string {
	out, err := r.grensloos(p, "", "contract", "show", hash, "--json")
	if err != nil {
		return ""
	}
	var c beheer.ContractJSON
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		r.t.Fatal(err)
	}
	return c.Toestand
}

// question is what a test asks.
type testVraag struct {
	doel, zaaktype, bsn string
	extra               []string
}

// ask puts a question through the command line and returns the answer of the one gemeente.
func (r *running) ask(p *regionPeer, q testVraag) bevraging.GemeenteAntwoord {
	r.t.Helper()
	args := append([]string{"vraag", "--doel", q.doel, "--zaaktype", q.zaaktype, "--zaak", "Z-1", "--bsn-stdin", "--json"}, q.extra...)
	out, err := r.grensloos(p, q.bsn, args...)
	if err != nil {
		if code, ok := errors.AsType[exit](err); !ok || code.code != exitIncomplete {
			r.t.Fatalf("vraag: %v", err)
		}
	}
	var a bevraging.Antwoord
	if err := json.Unmarshal([]byte(out), &a); err != nil || len(a.Gemeenten) != 1 {
		r.t.Fatalf("answer %s: %v", out, err)
	}
	return a.Gemeenten[0]
}

// outcomes gives the outcome of every dienst, as "persoon=beantwoord uitkering=geweigerd(lokaal-beleid)".
func outcomes(g bevraging.GemeenteAntwoord) string {
	var parts []string
	for _, d := range g.Diensten {
		part := string(d.Dienst) + "=" + string(d.Uitkomst)
		if d.Reden != nil {
			part += "(" + d.Reden.Code + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " ")
}

// records are the audit records of one transaction at one peer, through its beheer API.
func (r *running) records(p *regionPeer, id gateway.TransactionID) []beheer.VastleggingJSON {
	r.t.Helper()
	key := "beheer"
	cfg, err := loadConfig(p.config())
	if err != nil {
		r.t.Fatal(err)
	}
	a, err := newAPI(cfg, key, cfg.Beheer.Listen, &identity{als: "fg", rollen: []string{beheer.RolPrivacyOfficer}})
	if err != nil {
		r.t.Fatal(err)
	}
	var out beheer.TransactieJSON
	if err := a.call(r.t.Context(), "GET", "/transacties/"+string(id), nil, &out); err != nil {
		r.t.Fatal(err)
	}
	return out.Vastleggingen
}

// kinds counts records by kind, as "transactie=1 adl=2 ldv=1 afloop=1 kwitantie=0".
func kinds(recs []beheer.VastleggingJSON) string {
	n := map[audit.Soort]int{}
	for _, rec := range recs {
		n[rec.Soort]++
	}
	return fmt.Sprintf("transactie=%d adl=%d ldv=%d afloop=%d kwitantie=%d", n[audit.Transactie], n[audit.ADL], n[audit.LDV], n[audit.Afloop], n[audit.Kwitantie])
}

// What is promised for an answered question, and at the asker for one that the gemeente refused.
const (
	askerAnswered    = "transactie=1 adl=1 ldv=0 afloop=1 kwitantie=1"
	askerRefused     = "transactie=1 adl=1 ldv=0 afloop=1 kwitantie=0"
	providerAnswered = "transactie=1 adl=2 ldv=1 afloop=1 kwitantie=0"
)

// borne and uwi are the peers of demo D01.
func borne(t *testing.T) *regionPeer {
	t.Helper()
	return gemeente("0147", "Gemeente Borne", policies.Voorbeeld("borne-lokaal.rego"), bevolking.Borne)
}

func borneSource(ctx context.Context, dir string) error { return sourceOf(bevolking.Borne)(ctx, dir) }

func uwi() *regionPeer { return &regionPeer{ID: uwiID, Name: "uwi-midden-twente"} }

// clientOf gives the n-th client of Borne.
func clientOf(t *testing.T, n int) string {
	t.Helper()
	bsn, err := client(bevolking.Borne, n)
	if err != nil {
		t.Fatal(err)
	}
	return bsn
}

func TestQuestionCrossesOneBorder(t *testing.T) {
	b, u := borne(t), uwi()
	r := startRegion(t, b, u)
	pwUitkering := r.contract(u, b, "--doel", "pw-uitkering", "--namens", string(b.ID))
	r.contract(u, b, "--doel", "doorverwijzing-welzijn")
	client := clientOf(t, 0)
	const nobody = "999999990" // passes the eleven-test, is nobody's

	t.Run("answered, with every record on both sides", func(t *testing.T) {
		g := r.ask(u, testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: client})
		if got, want := outcomes(g), "persoon=beantwoord uitkering=beantwoord"; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		if got := kinds(r.records(u, g.Transactie)); got != askerAnswered {
			t.Errorf("records at the asker: got %s, want %s", got, askerAnswered)
		}
		if got := kinds(r.records(b, g.Transactie)); got != providerAnswered {
			t.Errorf("records at the gemeente: got %s, want %s", got, providerAnswered)
		}
	})
	t.Run("somebody nobody knows: geen-gegevens, recorded all the same", func(t *testing.T) {
		g := r.ask(u, testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: nobody})
		if got, want := outcomes(g), "persoon=geen-gegevens uitkering=geen-gegevens"; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		if got := kinds(r.records(b, g.Transactie)); got != providerAnswered {
			t.Errorf("records at the gemeente: got %s, want %s", got, providerAnswered)
		}
	})
	t.Run("no contract for the purpose: nothing sent, recorded at the asker", func(t *testing.T) {
		g := r.ask(u, testVraag{doel: "pw-reintegratie", zaaktype: "pw-reintegratietraject", bsn: client})
		if got, want := outcomes(g), "contactpersoon=niet-gevraagd(geen-contract) persoon=niet-gevraagd(geen-contract) uitkering=niet-gevraagd(geen-contract)"; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		if got, want := kinds(r.records(u, g.Transactie)), "transactie=0 adl=1 ldv=0 afloop=0 kwitantie=0"; got != want {
			t.Errorf("records at the asker: got %s, want %s", got, want)
		}
		if got, want := kinds(r.records(b, g.Transactie)), "transactie=0 adl=0 ldv=0 afloop=0 kwitantie=0"; got != want {
			t.Errorf("records at the gemeente: got %s, want %s", got, want)
		}
	})
	t.Run("the gemeente's own policy refuses under a valid contract, recorded on both sides", func(t *testing.T) {
		g := r.ask(u, testVraag{doel: "pw-uitkering", zaaktype: "pw-heronderzoek", bsn: client})
		if got, want := outcomes(g), "persoon=geweigerd(lokaal-beleid) uitkering=geweigerd(lokaal-beleid)"; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		if got := kinds(r.records(u, g.Transactie)); got != askerRefused {
			t.Errorf("records at the asker: got %s, want %s", got, askerRefused)
		}
		if got, want := kinds(r.records(b, g.Transactie)), "transactie=1 adl=1 ldv=0 afloop=1 kwitantie=0"; got != want {
			t.Errorf("records at the gemeente: got %s, want %s", got, want)
		}
	})
	t.Run("consent opens, withdrawal closes with the next question, and no BSN is in the answer", func(t *testing.T) {
		q := testVraag{doel: "doorverwijzing-welzijn", zaaktype: "doorverwijzing", bsn: clientOf(t, 1)}
		if got, want := outcomes(r.ask(u, q)), "persoon=geweigerd(geweigerd)"; got != want {
			t.Errorf("without consent: got %s, want %s", got, want)
		}
		id := r.must(b, q.bsn, "toestemming", "geef", "--doel", q.doel, "--ontvanger", string(u.ID), "--bsn-stdin")
		g := r.ask(u, q)
		if got, want := outcomes(g), "persoon=beantwoord"; got != want {
			t.Errorf("with consent: got %s, want %s", got, want)
		}
		if raw, _ := json.Marshal(g); strings.Contains(string(raw), q.bsn) {
			t.Error("a partner's answer holds a BSN")
		}
		r.must(b, "", "toestemming", "trek-in", id)
		if got, want := outcomes(r.ask(u, q)), "persoon=geweigerd(geweigerd)"; got != want {
			t.Errorf("after withdrawal: got %s, want %s", got, want)
		}
	})
	t.Run("what its beneficiary registers is voorlopig and opens nothing", func(t *testing.T) {
		q := testVraag{doel: "doorverwijzing-welzijn", zaaktype: "doorverwijzing", bsn: clientOf(t, 2)}
		r.must(b, q.bsn, "toestemming", "geef", "--doel", q.doel, "--ontvanger", string(u.ID), "--geregistreerd-door", string(u.ID), "--bsn-stdin")
		if got, want := outcomes(r.ask(u, q)), "persoon=geweigerd(geweigerd)"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("geheimhouding: answered with a mark to who acts for the college", func(t *testing.T) {
		g := r.ask(u, testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: clientOf(t, 11)})
		if !g.Geheim || outcomes(g) != "persoon=beantwoord uitkering=beantwoord" {
			t.Errorf("got %s with mark %v, want an answer with the mark", outcomes(g), g.Geheim)
		}
	})
	t.Run("audit show merges both sides into one time line", func(t *testing.T) {
		g := r.ask(u, testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: client})
		out := r.must(u, "", "audit", "show", string(g.Transactie), "-c", b.config())
		for _, want := range []string{string(g.Transactie), "Gemeente Borne", "uwi-midden-twente"} {
			if !strings.Contains(out, want) {
				t.Errorf("the time line lacks %q:\n%s", want, out)
			}
		}
		if strings.Contains(out, client) {
			t.Error("the time line holds a BSN")
		}
		one := r.must(u, "", "audit", "show", string(g.Transactie))
		if strings.Contains(one, "Gemeente Borne (") {
			t.Errorf("with one -c the other side shows too:\n%s", one)
		}
	})
	t.Run("after a restart of either side: contracts, consents and records are there", func(t *testing.T) {
		before := r.ask(u, testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: client})
		r.stop(b)
		r.stop(u)
		r.start(b)
		r.start(u)
		if got := kinds(r.records(b, before.Transactie)); got != providerAnswered {
			t.Errorf("records of before: got %s, want %s", got, providerAnswered)
		}
		g := r.ask(u, testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: client})
		if got, want := outcomes(g), "persoon=beantwoord uitkering=beantwoord"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("a contract revoked bites with the next question, though a token lives", func(t *testing.T) {
		r.must(b, "", "contract", "revoke", pwUitkering)
		// The asker may not know yet; the gemeente does.
		g := r.ask(u, testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: client})
		for _, d := range g.Diensten {
			if d.Uitkomst == bevraging.Beantwoord || d.Uitkomst == bevraging.GeenGegevens {
				t.Errorf("%s is answered after the contract was revoked", d.Dienst)
			}
		}
		r.await("the revocation to arrive", func() bool { return r.state(u, pwUitkering) == "ingetrokken" })
		g = r.ask(u, testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: client})
		if got, want := outcomes(g), "persoon=niet-gevraagd(geen-contract) uitkering=niet-gevraagd(geen-contract)"; got != want {
			t.Errorf("once the asker knows: got %s, want %s", got, want)
		}
	})
	t.Run("a second start on the same data folder is refused", func(t *testing.T) {
		err := run(t.Context(), []string{"serve", "-c", b.config()}, strings.NewReader(""), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "in use by another process") {
			t.Errorf("got %v, want a refusal that names the folder", err)
		}
	})
}
