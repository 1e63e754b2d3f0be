package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/contract"
)

// monitor gives a peer a monitoring listener, and what it says there.
type monitor struct {
	t    *testing.T
	base string
	http *http.Client
}

func (r *running) monitor(p *regionPeer) *monitor {
	r.t.Helper()
	ports, err := freePorts(1)
	if err != nil {
		r.t.Fatal(err)
	}
	r.stop(p)
	raw, err := os.ReadFile(p.config())
	if err != nil {
		r.t.Fatal(err)
	}
	raw = fmt.Appendf(raw, "bewaking: {luister: \"127.0.0.1:%d\"}\n", ports[0])
	if err := os.WriteFile(p.config(), raw, 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.start(p)
	cfg, err := loadConfig(p.config())
	if err != nil {
		r.t.Fatal(err)
	}
	trust, err := certs.InternalClientTLS(cfg.Network.CA)
	if err != nil {
		r.t.Fatal(err)
	}
	m := &monitor{t: r.t, base: fmt.Sprintf("https://127.0.0.1:%d", ports[0]), http: &http.Client{Transport: &http.Transport{TLSClientConfig: trust}}}
	r.t.Cleanup(m.http.CloseIdleConnections)
	return m
}

func (m *monitor) get(path string) (int, string) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, m.base+path, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	resp, err := m.http.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// A monitored peer is alive, ready, and says in figures what went through it, and nothing of anybody.
func TestMonitoring(t *testing.T) {
	b, u := borne(t), uwi()
	r := startRegion(t, b, u)
	m := r.monitor(b)
	r.contract(u, b, "--doel", "pw-uitkering", "--namens", string(b.ID))
	client := clientOf(t, 0)
	r.ask(u, testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: client})

	for path, want := range map[string]string{"/gezondheid/levend": `"levend":true`, "/gezondheid/gereed": `"gereed":true`} {
		if status, body := m.get(path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: got %d %s, want 200 and %s", path, status, body, want)
		}
	}
	if status, _ := m.get("/v1/contracten"); status != http.StatusNotFound {
		t.Errorf("another path: got %d, want 404", status)
	}
	status, figures := m.get("/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics: %d", status)
	}
	for _, want := range []string{
		`grensloos_requests_total{code="200",outcome="beantwoord",role="inway"} 1`,
		`grensloos_request_duration_seconds_count{role="inway"} 1`,
		`grensloos_requests_in_flight{role="bewaking"} 1`,
		`grensloos_exchanges_total{code="",direction="DIRECTION_INCOMING",outcome="beantwoord"} 1`,
		`grensloos_decisions_total{doel="pw-uitkering",outcome="toegestaan",role="inway"} 1`,
		`grensloos_audit_records_total{soort="ldv"} 1`,
		`grensloos_audit_refused_total 0`,
		`grensloos_contracts{state="valid"} 1`,
		`grensloos_ready{part="journaal"} 1`,
		`grensloos_journal_lag_bytes `, `grensloos_journal_lag_seconds `,
		`grensloos_certificate_seconds_left{certificate="groep"} 3.1`,
		`grensloos_crl_seconds_left{issuer="Midden Twente demo root"} `,
		`grensloos_build_info{group_rules="`,
	} {
		if !strings.Contains(figures, "\n"+want) {
			t.Errorf("no %s in the figures", want)
		}
	}
	for _, personal := range []string{client, "Z-1", "pw-aanvraag"} {
		if strings.Contains(figures, personal) {
			t.Errorf("the figures hold %q", personal)
		}
	}
	plain, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(m.base, "https", "http", 1)+"/gezondheid/levend", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(plain); err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("it answers without TLS")
		}
	}

	if err := certs.CRL(r.pki, time.Second); err != nil {
		t.Fatal(err)
	}
	r.await("readiness to end with the revocation list", func() bool {
		status, body := m.get("/gezondheid/gereed")
		return status == http.StatusServiceUnavailable && strings.Contains(body, `"naam":"intrekkingslijsten","gereed":false`)
	})
	if status, _ := m.get("/gezondheid/levend"); status != http.StatusOK {
		t.Errorf("not ready, and alive: got %d", status)
	}
}

// A peer is ready as long as its journal takes records and its store answers.
func TestReady(t *testing.T) {
	b := borne(t)
	if _, err := layRegion(t.Context(), t.TempDir(), b, uwi()); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig(b.config())
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := lockFolder(cfg.Data)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	cfg.Audit.Journal.MaxLagBytes = 32 << 10
	p, err := openPeer(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		closing, cancel := context.WithCancel(context.Background())
		cancel() // nothing ships here
		_ = p.close(closing)
	}()
	unready := func() string {
		var names []string
		for _, part := range p.health.parts(t.Context()) {
			if !part.Gereed {
				names = append(names, part.Naam)
				if part.Uitleg == "" || part.Herstel == "" {
					t.Errorf("%+v says not why, or not what to do", part)
				}
			}
		}
		return strings.Join(names, " ")
	}
	if got := unready(); got != "" {
		t.Fatalf("at the start: %s not ready", got)
	}
	for p.audit.Append(t.Context(), audit.NewBeheer(time.Now(), audit.Act{Handeling: "vol", Door: audit.Systeem})) == nil {
	}
	if got := unready(); got != "journaal" {
		t.Errorf("nothing shipped up to the bound: got %q not ready, want journaal", got)
	}
	if err := p.store.Close(); err != nil {
		t.Fatal(err)
	}
	if got := unready(); got != "journaal opslag" {
		t.Errorf("the store gone: got %q not ready, want opslag too", got)
	}
	p.now = func() time.Time { return time.Now().AddDate(2, 0, 0) }
	if got := unready(); got != "journaal opslag intrekkingslijsten certificaat" {
		t.Errorf("two years later: got %q not ready", got)
	}
}

func summaryOf(t *testing.T, n int, doel gateway.Doel, from, until time.Time) contract.Summary {
	t.Helper()
	grant, err := contract.FromGrant(gateway.Grant{
		Type: gateway.ServiceConnection, Outway: uwiID, OutwayThumbprint: strings.Repeat("ab", 32), ServicePeer: borneID, Service: "clientgegevens",
		Properties: gateway.Properties{Doel: doel, DoelVersie: 1, DoelDigest: strings.Repeat("A", 43), NamensCollege: borneID},
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := contract.New(contract.NewContent{Group: "demo", Grants: []contract.GrantData{grant}, NotBefore: from, NotAfter: until, Now: from.Add(time.Duration(n) * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	return contract.Summary{Hash: c.Hash(), State: contract.Valid, Content: c}
}

// Counting says which contracts ask for something, and of what is followed up nothing.
func TestCountContracts(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	day := func(n int) time.Time { return now.AddDate(0, 0, n) }
	ending := summaryOf(t, 1, "pw-uitkering", day(-300), day(20))
	followed := summaryOf(t, 2, "pw-reintegratie", day(-300), day(20))
	successor := summaryOf(t, 3, "pw-reintegratie", day(-1), day(300))
	waiting := summaryOf(t, 4, "doorverwijzing-welzijn", day(-1), day(300))
	waiting.State, waiting.Missing = contract.Proposed, []gateway.PeerID{borneID}
	failed := summaryOf(t, 5, "casusregie-contact", day(-1), day(200))
	failed.Failed = 1
	got := countContracts([]contract.Summary{ending, followed, successor, waiting, failed}, borneID, now)
	var asks []string
	for _, a := range got.Aandacht {
		asks = append(asks, a.Wat)
		if len(a.Partijen) != 1 || a.Partijen[0] != uwiID {
			t.Errorf("%+v: want the other party", a)
		}
	}
	if want := "verloopt niet-afgeleverd wacht-op-ons"; strings.Join(asks, " ") != want {
		t.Errorf("got %v, want %s", asks, want)
	}
	raw, err := json.Marshal(got.PerToestand)
	if err != nil || string(raw) != `{"geldig":4,"voorgesteld":1}` {
		t.Errorf("got %s", raw)
	}
	if got.Aandacht[0].Hash != ending.Hash || got.Aandacht[0].Wat != beheer.AandachtVerloopt {
		t.Errorf("got %+v first, want what ends first", got.Aandacht[0])
	}
}
