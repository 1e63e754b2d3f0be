package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/edge"
)

const (
	cliBSN         = "999993653"
	cliTransaction = "019a0000-7c11-7d3e-9a55-3f5c0b1e2d44"
)

// cliPeer is a peer whose own APIs are canned: what the command line meets.
type cliPeer struct {
	config  string
	key     *ecdsa.PrivateKey
	server  *httptest.Server
	status  int
	answer  string            // to every request, unless answers has its path
	answers map[string]string // by request URI below /v1
	media   string            // Content-Type of the answer; empty: whatever it looks like
	got     []string          // method, path and body of what came in
	callers []edge.Caller
}

func newCLIPeer(t *testing.T, id gateway.PeerID, name string) *cliPeer {
	t.Helper()
	dir := t.TempDir()
	if err := writeIssuer(dir); err != nil {
		t.Fatal(err)
	}
	signer, err := loadPrivateKey(filepath.Join(dir, "issuer.key"))
	if err != nil {
		t.Fatal(err)
	}
	p := &cliPeer{config: filepath.Join(dir, "peer.yaml"), key: signer.(*ecdsa.PrivateKey), status: http.StatusOK, answers: map[string]string{}}
	auth, err := edge.NewVerifier(edge.Issuers{
		Issuer: "https://issuer.example", Audience: "grensloos:" + string(id), Keys: []crypto.PublicKey{p.key.Public()}, Organisatie: id,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := auth.Caller(r)
		if err != nil {
			edge.WriteProblem(w, r, err)
			return
		}
		body, _ := io.ReadAll(r.Body)
		path := strings.TrimPrefix(r.RequestURI, "/v1")
		p.callers = append(p.callers, caller)
		p.got = append(p.got, strings.TrimSpace(r.Method+" "+path+" "+string(body)))
		answer, ok := p.answers[path]
		if !ok {
			answer = p.answer
		}
		if p.media != "" {
			w.Header().Set("Content-Type", p.media)
		}
		w.WriteHeader(p.status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(p.server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	listen := strings.TrimPrefix(p.server.URL, "https://")
	config := fmt.Sprintf(`peer: {id: "%s", naam: "%s"}
map: data
group: {id: demo, poorten: [8443], vertrouwen: {ankers: [a.pem], crls: [a.crl]}}
certificaat: {certificaat: c.pem, sleutel: k.pem}
netwerk:
  certificaat: {certificaat: c.pem, sleutel: k.pem}
  ca: ca.pem
  issuer: https://issuer.example
  issuerSleutels: [issuer.pem]
  issuerSleutel: issuer.key
pseudoniemen: {1: p.key}
manager: {luister: "127.0.0.1:8443", adres: "https://localhost:8443"}
bevraging: {luister: "%s"}
beheer: {luister: "%s"}
`, id, name, listen, listen)
	if err := os.WriteFile(p.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// cli runs the program as a script would, and gives its exit code and what it wrote.
func cli(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	err := run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	if err != nil {
		code = exitCode(err)
		fmt.Fprintln(&errs, err)
	}
	return code, out.String(), errs.String()
}

func TestToken(t *testing.T) {
	p := newCLIPeer(t, borneID, "Gemeente Borne")
	code, out, errs := cli(t, "", "token", "-c", p.config, "--als", "j.jansen", "--rol", "beheer,privacy-officer", "--geldig", "10m")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	auth, err := edge.NewVerifier(edge.Issuers{
		Issuer: "https://issuer.example", Audience: "grensloos:" + string(borneID), Keys: []crypto.PublicKey{p.key.Public()}, Organisatie: borneID,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	caller, err := auth.Verify(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"beheer", "privacy-officer"}, caller.Rollen); diff != "" || caller.Subject != "j.jansen" || caller.Organisatie != borneID {
		t.Errorf("got %s of %s with %v", caller.Subject, caller.Organisatie, caller.Rollen)
	}
	for name, args := range map[string][]string{
		"no role":       {"token", "-c", p.config},
		"no config":     {"token", "--rol", "beheer"},
		"unknown flag":  {"token", "-c", p.config, "--rolle", "beheer"},
		"with argument": {"token", "-c", p.config, "--rol", "beheer", "beheer"},
	} {
		if code, out, errs := cli(t, "", args...); code != exitUsage || out != "" || errs == "" {
			t.Errorf("%s: exit %d, %q, %q; want %d and an error", name, code, out, errs, exitUsage)
		}
	}
	if code, out, _ := cli(t, "", "token", "-c", p.config, "--rol", "beheer", "--geldig", "24h"); code != 1 || out != "" {
		t.Errorf("24h: exit %d, %q; want 1", code, out)
	}
	if err := os.Chmod(filepath.Join(filepath.Dir(p.config), "issuer.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := cli(t, "", "token", "-c", p.config, "--rol", "beheer"); code != 1 || out != "" || !strings.Contains(errs, "chmod 600") {
		t.Errorf("key that others may read: exit %d, %q, %q; want a refusal with the mend", code, out, errs)
	}
}

func TestTokenFromFile(t *testing.T) {
	p := newCLIPeer(t, borneID, "Gemeente Borne")
	p.answer = `{"contracten":[]}`
	token, err := edge.IssueJWT(p.key, edge.Claims{
		Issuer: "https://issuer.example", Audience: "grensloos:" + string(borneID), Subject: "uit-bestand", Rollen: []string{"beheer"}, Organisatie: borneID,
	}, time.Now(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := cli(t, "", "contract", "list", "-c", p.config, "--token", file); code != 0 || p.callers[0].Subject != "uit-bestand" {
		t.Errorf("exit %d, %s, callers %v", code, errs, p.callers)
	}
}

// The command line trusts the peer's own internal CA, and nobody else.
func TestOnlyTheInternalCA(t *testing.T) {
	p := newCLIPeer(t, borneID, "Gemeente Borne")
	p.answer = `{"contracten":[]}`
	if code, _, errs := cli(t, "", "contract", "list", "-c", p.config); code != 0 {
		t.Fatalf("under its own CA: exit %d, %s", code, errs)
	}
	p.got = nil
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, p.key.Public(), p.key)
	if err != nil {
		t.Fatal(err)
	}
	other := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
	if err := os.WriteFile(filepath.Join(filepath.Dir(p.config), "ca.pem"), other, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := cli(t, "", "contract", "list", "-c", p.config); code != 1 || out != "" || !strings.Contains(errs, "certificate") || len(p.got) != 0 {
		t.Errorf("exit %d, %q, %q, requests %v; want none to a server of another CA", code, out, errs, p.got)
	}
}

// A BSN comes in by standard input alone, and is never repeated.
func TestNoBSNOnTheCommandLine(t *testing.T) {
	p := newCLIPeer(t, borneID, "Gemeente Borne")
	question := []string{"vraag", "-c", p.config, "--doel", "pw-uitkering", "--zaak", "Z-1", "--zaaktype", "pw-aanvraag"}
	for name, tc := range map[string]struct {
		stdin string
		args  []string
	}{
		"argument":           {"", append(question[:len(question):len(question)], "--bsn-stdin", cliBSN)},
		"flag":               {"", append(question[:len(question):len(question)], "--bsn", cliBSN)},
		"flag with =":        {"", append(question[:len(question):len(question)], "--bsn="+cliBSN)},
		"to the flag":        {"", append(question[:len(question):len(question)], "--bsn-stdin="+cliBSN)},
		"no --bsn-stdin":     {cliBSN, question},
		"empty stdin":        {"", append(question[:len(question):len(question)], "--bsn-stdin")},
		"eleven-test":        {"999993654", append(question[:len(question):len(question)], "--bsn-stdin")},
		"two on stdin":       {cliBSN + "\n" + cliBSN, append(question[:len(question):len(question)], "--bsn-stdin")},
		"consent, argument":  {"", []string{"toestemming", "geef", cliBSN, "-c", p.config}},
		"consents, argument": {"", []string{"toestemming", "list", cliBSN, "-c", p.config}},
	} {
		code, out, errs := cli(t, tc.stdin, tc.args...)
		if code != exitUsage || out != "" {
			t.Errorf("%s: exit %d, %q; want %d", name, code, out, exitUsage)
		}
		if strings.Contains(errs, cliBSN) || strings.Contains(errs, "999993654") {
			t.Errorf("%s: the error repeats the BSN: %s", name, errs)
		}
	}
	if len(p.got) != 0 {
		t.Errorf("something was asked: %v", p.got)
	}
}

const cliAnswer = `{"doel":"pw-uitkering","zaak":"Z-1","gevraagdOp":"2026-11-23T09:30:00Z","volledig":%t,"gemeenten":[{"oin":"00000099000000147000","naam":"Borne","transactie":"` + cliTransaction + `","geheim":true,"diensten":[
{"dienst":"persoon","uitkomst":"beantwoord","gevraagd":["adres","naam"],"bron":"brp","grondslag":"Pw art. 7","rijen":[{"peildatum":"2026-11-23","waarden":{"adres":{"straat":"Markt","huisnummer":"1 a"},"naam":"A\u001b[2J\nB"}}],"onthouden":[{"velden":["email"],"reden":{"code":"geweigerd","tekst":"niet verstrekt"}}]},
{"dienst":"uitkering","uitkomst":"%s","gevraagd":["loopt"],"reden":{"code":"x","tekst":"waarom"},"rijen":[],"onthouden":[]}]}]}`

func TestVraag(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		answer string
		code   int
		want   []string // in what is printed
	}{
		"whole": {200, fmt.Sprintf(cliAnswer, true, "geen-gegevens"), 0, []string{
			"GEHEIM", "naam             A [2J B\n", "adres            Markt 1 a\n", "uit brp, peildatum 2026-11-23, op grond van Pw art. 7",
			"onthouden email: niet verstrekt (geweigerd)", "geen gegevens: de bronnen hebben geantwoord", "volledig: ja",
		}},
		"denied":      {200, fmt.Sprintf(cliAnswer, false, "geweigerd"), exitIncomplete, []string{"uitkering: geweigerd", "reden x: waarom", "volledig: nee"}},
		"not asked":   {200, fmt.Sprintf(cliAnswer, false, "niet-gevraagd"), exitIncomplete, []string{"niet gevraagd: er is niets verstuurd"}},
		"unreachable": {200, fmt.Sprintf(cliAnswer, false, "onbereikbaar"), exitIncomplete, []string{"onbekend of er gegevens zijn"}},
		"bad":         {400, `{"title":"Ongeldig verzoek","status":400,"detail":"zaak: geef","ongeldigeVelden":[{"naam":"zaak","reden":"geef"},{"naam":"doel","reden":"kies"}]}`, exitUsage, []string{"zaak: geef", "doel: kies"}},
		"down":        {503, `{"title":"Tijdelijk niet beschikbaar","status":503,"detail":"vastlegging"}`, exitLater, []string{"vastlegging"}},
		"nonsense":    {200, `<html>`, 1, []string{"answer"}},
		"no problem":  {500, `boom`, 1, []string{"500"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newCLIPeer(t, uwiID, "uwi")
			p.status, p.answer = tc.status, tc.answer
			code, out, errs := cli(t, cliBSN+"\n", "vraag", "-c", p.config, "--doel", "pw-uitkering", "--zaak", "Z-1", "--zaaktype", "pw-aanvraag",
				"--velden", "uitkering.loopt,persoon", "--gemeente", "0147", "--als", "j.jansen", "--bsn-stdin")
			if code != tc.code {
				t.Errorf("exit %d, want %d: %s", code, tc.code, errs)
			}
			for _, want := range tc.want {
				if !strings.Contains(out+errs, want) {
					t.Errorf("no %q in:\n%s%s", want, out, errs)
				}
			}
			want := `POST /bevragingen {"bsn":"` + cliBSN + `","doel":"pw-uitkering","gemeenten":["0147"],"velden":{"persoon":[],"uitkering":["loopt"]},"zaak":"Z-1","zaaktype":"pw-aanvraag"}`
			if diff := cmp.Diff([]string{want}, p.got); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			if len(p.callers) != 1 || p.callers[0].Subject != "j.jansen" {
				t.Errorf("callers: %v", p.callers)
			}
		})
	}
	p := newCLIPeer(t, uwiID, "uwi")
	p.answer = fmt.Sprintf(cliAnswer, false, "te-laat")
	code, out, _ := cli(t, cliBSN, "vraag", "-c", p.config, "--doel", "x", "--zaak", "Z", "--zaaktype", "y", "--bsn-stdin", "--json")
	if !json.Valid([]byte(out)) || code != exitIncomplete {
		t.Errorf("--json: exit %d, %s", code, out)
	}
	p.server.Close()
	if code, _, errs := cli(t, cliBSN, "vraag", "-c", p.config, "--doel", "x", "--zaak", "Z", "--zaaktype", "y", "--bsn-stdin"); code != 1 || strings.Contains(errs, cliBSN) {
		t.Errorf("own peer down: exit %d, %s", code, errs)
	}
}

func TestContractCommands(t *testing.T) {
	const hash = "$1$1$abc"
	contract := `{"hash":"` + hash + `","toestand":"voorgesteld","partijen":[],"geldigVanaf":"2026-12-01T00:00:00Z","geldigTot":"2027-12-01T00:00:00Z","wachtOp":["00000099000000147000"],
"grants":[{"hash":"$1$3$g","soort":"GRANT_TYPE_SERVICE_CONNECTION","outway":"00000099900000001000","aanbieder":"00000099000000147000","service":"clientgegevens","doel":"pw-uitkering","velden":{"uitkering":["loopt"]}}],
"handtekeningen":[{"peer":"00000099900000001000","soort":"accept","getekendOp":"2026-11-23T00:00:00Z","telt":false,"waarom":"verlopen"}]}`
	for name, tc := range map[string]struct {
		args []string
		got  string
		want []string
	}{
		"propose": {
			[]string{"propose", "--aanbieder", "00000099000000147000", "--doel", "pw-uitkering", "--namens", "00000099000000147000", "--velden", "uitkering.loopt", "--vanaf", "2026-12-01", "--tot", "2027-12-01"},
			`POST /contracten {"geldigVanaf":"2026-12-01T00:00:00Z","geldigTot":"2027-12-01T00:00:00Z","grants":[{"aanbieder":"00000099000000147000","service":"clientgegevens","doel":"pw-uitkering","namensCollege":"00000099000000147000","velden":{"uitkering":["loopt"]}}]}`,
			[]string{hash + "\n"},
		},
		"accept": {[]string{"accept", hash}, "POST /contracten/$1$1$abc/_accepteren", []string{"toestand   voorgesteld", "wacht op   00000099000000147000", "telt niet: verlopen"}},
		"reject": {[]string{"reject", hash}, "POST /contracten/$1$1$abc/_weigeren", []string{hash}},
		"revoke": {[]string{"revoke", hash}, "POST /contracten/$1$1$abc/_intrekken", []string{hash}},
		"show":   {[]string{"show", hash}, "GET /contracten/$1$1$abc", []string{"doel pw-uitkering", "uitkering: loopt"}},
		"list":   {[]string{"list"}, "GET /contracten", []string{"voorgesteld  pw-uitkering"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newCLIPeer(t, uwiID, "uwi")
			p.answer = contract
			p.answers["/contracten"] = contract
			if name == "list" {
				p.answers["/contracten"] = `{"contracten":[` + contract + `]}`
			}
			code, out, errs := cli(t, "", append(append([]string{"contract"}, tc.args...), "-c", p.config)...)
			if code != 0 {
				t.Fatalf("exit %d: %s", code, errs)
			}
			if diff := cmp.Diff([]string{tc.got}, p.got); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			for _, want := range tc.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
			if diff := cmp.Diff([]string{"beheer"}, p.callers[0].Rollen); diff != "" {
				t.Errorf("roles (-want +got):\n%s", diff)
			}
		})
	}
	p := newCLIPeer(t, uwiID, "uwi")
	p.status, p.answer = 409, `{"title":"In strijd met wat er is","status":409,"detail":"signature: final"}`
	if code, _, errs := cli(t, "", "contract", "accept", hash, "-c", p.config); code != 1 || !strings.Contains(errs, "signature: final") {
		t.Errorf("conflict: exit %d, %s", code, errs)
	}
	for _, args := range [][]string{{"contract"}, {"contract", "sign"}, {"contract", "accept", "-c", p.config}, {"contract", "show", "a", "b"}, {"contract", "propose", "-c", p.config, "--tot", "morgen"}} {
		if code, _, errs := cli(t, "", args...); code != exitUsage || errs == "" {
			t.Errorf("%v: exit %d, %q; want %d", args, code, errs, exitUsage)
		}
	}
}

func TestParseVelden(t *testing.T) {
	for _, tc := range []struct {
		in   []string
		want gateway.Velden
		ok   bool
	}{
		{nil, nil, true},
		{[]string{"uitkering.loopt", "uitkering.soort", "persoon"}, gateway.Velden{"uitkering": {"loopt", "soort"}, "persoon": {}}, true},
		{[]string{"uitkering.loopt", "uitkering"}, nil, false},
		{[]string{"uitkering", "uitkering.loopt"}, nil, false},
		{[]string{".loopt"}, nil, false},
		{[]string{"uitkering."}, nil, false},
		{[]string{""}, nil, false},
	} {
		got, err := parseVelden(tc.in)
		if (err == nil) != tc.ok || !cmp.Equal(got, tc.want) {
			t.Errorf("%v: got %v, %v; want %v", tc.in, got, err, tc.want)
		}
	}
}

func TestToestemmingCommands(t *testing.T) {
	const id = "019a0000-7c11-7d3e-9a55-3f5c0b1e2d45"
	consent := func(id, state string) string {
		return `{"id":"` + id + `","betrokkene":"v1.x","toestand":"` + state + `","soort":"avg-6-1-a","doel":"doorverwijzing-welzijn","ontvanger":"00000099900000001000","gegeven":"2026-11-23T00:00:00Z","geldigTot":"2027-11-23T00:00:00Z"}`
	}
	p := newCLIPeer(t, borneID, "Gemeente Borne")
	p.answer = consent(id, "voorlopig")
	p.answers["/toestemmingen?aantal=1000"] = `{"toestemmingen":[` + consent(id, "geldig") + `],"volgende":"` + id + `"}`
	p.answers["/toestemmingen?aantal=1000&na="+id] = `{"toestemmingen":[` + consent("tweede", "ingetrokken") + `]}`
	p.answers["/toestemmingen/_zoek"] = `{"toestemmingen":[]}`
	code, out, errs := cli(t, cliBSN, "toestemming", "geef", "-c", p.config, "--doel", "doorverwijzing-welzijn", "--ontvanger", string(uwiID), "--geldig-tot", "2027-01-01", "--geregistreerd-door", string(uwiID), "--bsn-stdin")
	if code != 0 || out != id+"\n" || !strings.Contains(errs, "voorlopig en opent nog niets") {
		t.Errorf("geef: exit %d, %q, %q", code, out, errs)
	}
	if code, out, _ := cli(t, "", "toestemming", "trek-in", id, "-c", p.config); code != 0 || out != id+" voorlopig\n" {
		t.Errorf("trek-in: exit %d, %q", code, out)
	}
	if code, out, _ := cli(t, "", "toestemming", "list", "-c", p.config); code != 0 || !strings.Contains(out, id) || !strings.Contains(out, "tweede") {
		t.Errorf("list: exit %d, want both pages:\n%s", code, out)
	}
	if code, out, _ := cli(t, cliBSN, "toestemming", "list", "-c", p.config, "--bsn-stdin"); code != 0 || strings.Contains(out, id) {
		t.Errorf("list of one person: exit %d:\n%s", code, out)
	}
	if code, _, _ := cli(t, "", "toestemming", "bevestig", id, "-c", p.config); code != 0 {
		t.Errorf("bevestig: exit %d", code)
	}
	want := []string{
		`POST /toestemmingen {"bsn":"` + cliBSN + `","soort":"avg-6-1-a","doel":"doorverwijzing-welzijn","ontvanger":"00000099900000001000","gegevenDoor":"zelf","geregistreerdDoor":"00000099900000001000","tekstversie":"standaard-1","kanaal":"balie","geldigTot":"2027-01-01T00:00:00Z"}`,
		"POST /toestemmingen/" + id + "/_intrekken",
		"GET /toestemmingen?aantal=1000",
		"GET /toestemmingen?aantal=1000&na=" + id,
		`POST /toestemmingen/_zoek {"bsn":"` + cliBSN + `"}`,
		"POST /toestemmingen/" + id + "/_bevestigen",
	}
	if diff := cmp.Diff(want, p.got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// One time line of several peers; a peer that gives nothing is named, in the output and in the exit code.
func TestAuditShow(t *testing.T) {
	side := func(id gateway.PeerID, name string, records ...string) *cliPeer {
		p := newCLIPeer(t, id, name)
		p.answer = fmt.Sprintf(`{"transactie":"%s","peer":{"oin":"%s","naam":"%s"},"vastleggingen":[%s]}`, cliTransaction, id, name, strings.Join(records, ","))
		return p
	}
	record := func(second, soort, inhoud string) string {
		return `{"id":"x","soort":"` + soort + `","tijd":"2026-11-23T09:30:` + second + `Z","inhoud":` + inhoud + `}`
	}
	adl := `{"resource":{"service.name":"outway"},"body":{"adl.core.response":{"decision":%t,"context":{"redenen":["lokaal-beleid"]}}}}`
	a := side(uwiID, "uwi", record("01", "adl", fmt.Sprintf(adl, true)), record("04", "afloop", `{"uitkomst":"beantwoord\u001b[2J","status":200,"duurMs":12}`))
	b := side(borneID, "Borne", record("02", "transactie", `{"direction":"DIRECTION_INCOMING","service_name":"clientgegevens"}`), record("03", "ldv", `{"name":"Verstrekken"}`))
	code, out, errs := cli(t, "", "audit", "show", cliTransaction, "-c", a.config, "-c", b.config)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	last := -1
	for _, want := range []string{"outway: toegestaan", "inkomend", "Verstrekken", "beantwoord [2J (status 200), 12 ms", "uwi (00000099900000001000): 2 vastleggingen", "Borne (00000099000000147000): 2 vastleggingen"} {
		at := strings.Index(out, want)
		if at <= last {
			t.Errorf("%q is at %d, after %d: not merged by time\n%s", want, at, last, out)
		}
		last = at
	}
	if diff := cmp.Diff([]string{"privacy-officer"}, b.callers[0].Rollen); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
	if code, out, _ := cli(t, "", "audit", "show", cliTransaction, "-c", a.config); code != 0 || strings.Contains(out, "Borne") {
		t.Errorf("one side: exit %d\n%s", code, out)
	}
	for name, breaks := range map[string]func(){
		"of another peer": func() { b.answer = a.answer },
		"denied":          func() { b.status, b.answer = 403, `{"title":"Geweigerd","status":403,"detail":"rol"}` },
		"down":            func() { b.server.Close() },
	} {
		breaks()
		code, out, errs := cli(t, "", "audit", "show", cliTransaction, "-c", a.config, "-c", b.config)
		if code != exitIncomplete || !strings.Contains(out, "Borne (00000099000000147000): ONTBREEKT") || !strings.Contains(errs, "Borne") {
			t.Errorf("%s: exit %d, want %d and Borne named\n%s%s", name, code, exitIncomplete, out, errs)
		}
		if !strings.Contains(out, "outway: toegestaan") {
			t.Errorf("%s: what the other side gave is gone\n%s", name, out)
		}
	}
	for _, args := range [][]string{{"audit"}, {"audit", "show", cliTransaction}, {"audit", "show", "x", "-c", a.config}, {"audit", "show", cliTransaction, "-c", a.config, "-c", a.config}} {
		if code, _, _ := cli(t, "", args...); code != exitUsage {
			t.Errorf("%v: exit %d, want %d", args, code, exitUsage)
		}
	}
}

// An interrupted command ends, and does not hang on a peer that says nothing.
func TestInterrupted(t *testing.T) {
	p := newCLIPeer(t, borneID, "Gemeente Borne")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, []string{"contract", "list", "-c", p.config}, strings.NewReader(""), io.Discard, io.Discard); exitCode(err) != 1 {
		t.Errorf("got %v, want an error", err)
	}
}
