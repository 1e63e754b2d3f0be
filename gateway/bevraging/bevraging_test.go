package bevraging_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/bevraging"
	"github.com/grensloos/grensloos/gateway/edge"
)

const (
	uwi       gateway.PeerID = "00000099900000001000"
	borne     gateway.PeerID = "00000099000000147000"
	otherGem  gateway.PeerID = "00000099000000164000"
	bsn                      = "999993653"
	transact                 = "019a0000-7c11-7d3e-9a55-3f5c0b1e2d44"
	reint     gateway.Doel   = "pw-reintegratie"
	grantHash                = "$1$3$reintegratie"
)

var now = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)

func clock() time.Time { return now }

const (
	question   = `{"doel":"pw-reintegratie","zaak":"Z-1","zaaktype":"pw-reintegratietraject","bsn":"` + bsn + `","velden":{"uitkering":["soort","loopt"]},"gemeenten":["0147"]}`
	beantwoord = `{"transactie":"` + transact + `","doel":"pw-reintegratie","doelVersie":1,"geheim":false,"diensten":[` + uitkering + `]}`
	uitkering  = `{"dienst":"uitkering","uitkomst":"beantwoord","bron":"suite","grondslag":"Participatiewet art. 7","rijen":[{"peildatum":"2026-11-23","waarden":{"loopt":true,"soort":"ioaw"}}],"onthouden":[]}`
)

func TestAnswer(t *testing.T) {
	f := newFixture(t)
	f.outway.body = beantwoord
	got := f.answer(question)
	want := bevraging.Antwoord{
		Doel: reint, Zaak: "Z-1", GevraagdOp: now, Volledig: true,
		Gemeenten: []bevraging.GemeenteAntwoord{{
			OIN: borne, Gemeentecode: "0147", Naam: "Borne", Grond: gateway.GrondZaak, Transactie: transact,
			Diensten: []bevraging.DienstAntwoord{{
				Dienst: "uitkering", Uitkomst: bevraging.Beantwoord, Gevraagd: []gateway.Veld{"loopt", "soort"}, Bron: "suite",
				Grondslag: "Participatiewet art. 7", Onthouden: []bevraging.Onthouden{},
				Rijen: []bevraging.Rij{{Peildatum: "2026-11-23", Waarden: map[gateway.Veld]json.RawMessage{"loopt": []byte("true"), "soort": []byte(`"ioaw"`)}}},
			}},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if len(f.outway.sent) != 1 {
		t.Fatalf("sent %d requests, want 1", len(f.outway.sent))
	}
	sent := f.outway.sent[0]
	for name, want := range map[string]string{
		"Fsc-Grant-Hash": grantHash, "Grensloos-Zaak": "Z-1", "Grensloos-Zaaktype": "pw-reintegratietraject", "Grensloos-Grond": "zaak", "Content-Type": "application/json",
	} {
		if got := sent.Header.Get(name); got != want {
			t.Errorf("header %s: got %q, want %q", name, got, want)
		}
	}
	if got := sent.Method + " " + sent.URL.Path; got != "POST /v1/clienten/_zoek" {
		t.Errorf("sent %s", got)
	}
	if _, ok := gateway.ParseTrace(sent.Header.Get("Traceparent"), ""); !ok {
		t.Errorf("traceparent: got %q", sent.Header.Get("Traceparent"))
	}
	if !strings.HasPrefix(sent.Header.Get("Authorization"), "Bearer ") {
		t.Error("the caller's token did not go to the outway")
	}
	if got, want := f.outway.got[0], `{"bsn":"`+bsn+`","velden":{"uitkering":["loopt","soort"]}}`; got != want {
		t.Errorf("body: got %s, want %s", got, want)
	}
	if n := len(f.audit.Records()); n != 0 {
		t.Errorf("%d records; the outway makes those of a question that is sent", n)
	}
}

func TestAsksAllThatPurposeAndGrantGive(t *testing.T) {
	f := newFixture(t)
	f.grants.all[0].Properties.Velden = gateway.Velden{"uitkering": {"loopt"}, "persoon": {"naam", "adres"}} // adres is not in the purpose
	f.outway.body = "{}"
	f.answer(strings.Replace(question, `"velden":{"uitkering":["soort","loopt"]},`, "", 1))
	if got, want := f.outway.got[0], `{"bsn":"`+bsn+`","velden":{"persoon":["naam"],"uitkering":["loopt"]}}`; got != want {
		t.Errorf("body: got %s, want %s", got, want)
	}
}

func TestWithoutContractNothingIsSent(t *testing.T) {
	expired := func(f *fixture) { f.grants.all = nil }
	for name, tc := range map[string]struct {
		change   func(*fixture)
		question string
		want     string
	}{
		"no grant":            {expired, question, "niet-gevraagd geen-contract"},
		"other purpose":       {func(*fixture) {}, strings.Replace(question, "pw-reintegratie\"", "pw-uitkering\"", 1), "niet-gevraagd geen-contract"},
		"other gemeente":      {func(*fixture) {}, strings.Replace(question, "0147", "GM0164", 1), "niet-gevraagd geen-contract"},
		"other outway":        {func(f *fixture) { f.grants.all[0].Outway = otherGem }, question, "niet-gevraagd geen-contract"},
		"other service":       {func(f *fixture) { f.grants.all[0].Service = "anders" }, question, "niet-gevraagd geen-contract"},
		"no ground for it":    {func(*fixture) {}, strings.Replace(question, `"0147"`, `{"gemeente":"0147","grond":"groep"}`, 1), "niet-gevraagd buiten-reikwijdte"},
		"purpose not offered": {expired, strings.Replace(question, "pw-reintegratie\"", "handhaving-fraude\"", 1), "niet-gevraagd doel-niet-aangeboden"},
		"grant gives nothing": {
			func(f *fixture) { f.grants.all[0].Properties.Velden = gateway.Velden{"uitkering": {"bedrag"}} },
			strings.Replace(question, `"velden":{"uitkering":["soort","loopt"]},`, "", 1), "niet-gevraagd doel-gewijzigd",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			tc.change(f)
			a := f.answer(tc.question)
			for dienst, got := range outcomes(a) {
				if got != tc.want {
					t.Errorf("%s: got %s, want %s", dienst, got, tc.want)
				}
			}
			if a.Volledig {
				t.Error("volledig: got true")
			}
			if len(f.outway.sent) != 0 {
				t.Error("something was sent")
			}
			records := f.audit.Records()
			if len(records) != 1 || records[0].Soort != audit.ADL || records[0].Transactie != a.Gemeenten[0].Transactie {
				t.Fatalf("records: got %v, want one ADL of transaction %s", records, a.Gemeenten[0].Transactie)
			}
			if body := string(records[0].Body); strings.Contains(body, bsn) || strings.Contains(body, "jansen") {
				t.Errorf("the record names a person: %s", body)
			}
		})
	}
}

func TestNothingIsSaidThatIsNotRecorded(t *testing.T) {
	for name, fail := range map[string]func(*audit.Memory){
		"failed":               func(m *audit.Memory) { m.Fail = func(audit.Record) error { return errors.New("disk full") } },
		"failed but persisted": func(m *audit.Memory) { m.FailPersisted = func(audit.Record) error { return errors.New("disk full") } },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.grants.all = nil
			fail(f.audit)
			if status, body := f.ask(question); status != http.StatusServiceUnavailable || strings.Contains(body, "niet-gevraagd") {
				t.Errorf("got %d %s, want 503", status, body)
			}
		})
	}
}

func TestContractsOutOfReach(t *testing.T) {
	f := newFixture(t)
	f.grants.err = gateway.Errorf(gateway.Unavailable, "store: down")
	if status, body := f.ask(question); status != http.StatusServiceUnavailable {
		t.Errorf("got %d %s, want 503: not knowing the contracts is not having none", status, body)
	}
	if len(f.outway.sent) != 0 || len(f.audit.Records()) != 0 {
		t.Error("something was sent or recorded")
	}
}

func TestBadQuestion(t *testing.T) {
	replace := func(old, with string) string { return strings.Replace(question, old, with, 1) }
	for name, tc := range map[string]struct{ body, field string }{
		"purpose":            {replace("pw-reintegratie\"", "pw-alles\""), "doel"},
		"bsn eleven-test":    {replace(bsn, "999993654"), "bsn"},
		"bsn not in demo":    {replace(bsn, "123456782"), "bsn"},
		"zaak missing":       {replace(`"zaak":"Z-1",`, ""), "zaak"},
		"zaak with a header": {replace("Z-1", `Z-1\r\nFsc-Grant-Hash: x`), "zaak"},
		"zaak with a bsn":    {replace("Z-1", "Z-"+bsn), "zaak"},
		"zaaktype":           {replace("pw-reintegratietraject", "Pw Traject"), "zaaktype"},
		"dienst":             {replace(`"uitkering":`, `"schulden":`), "velden.schulden"},
		"dienst as bsn":      {replace(`"uitkering":`, `"`+bsn+`":`), "velden."},
		"veld":               {replace(`"soort"`, `"saldo"`), "velden.uitkering.saldo"},
		"whole dienst":       {replace(`"velden":{"uitkering":["soort","loopt"]}`, `"diensten":["belasting"]`), "diensten"},
		"gemeente":           {replace("0147", "9999"), "gemeenten"},
		"no gemeente":        {replace(`,"gemeenten":["0147"]`, ""), "gemeenten"},
		"empty list":         {replace(`["0147"]`, `[]`), "gemeenten"},
		"ground":             {replace(`["0147"]`, `[{"gemeente":"0147","grond":"zomaar"}]`), "gemeenten.grond"},
		"two grounds":        {replace(`["0147"]`, `["0147",{"gemeente":"GM0147","grond":"verhuizing"}]`), "gemeenten"},
		"beyond its reach":   {`{"doel":"doorverwijzing-welzijn","zaak":"Z-1","zaaktype":"doorverwijzing","bsn":"` + bsn + `","gemeenten":["0147","0164"]}`, "gemeenten"},
		"too many":           {replace(`["0147"]`, `["0147"`+strings.Repeat(`,"0164"`, 400)+`]`), "gemeenten"},
		"no day":             {replace(`"gemeenten"`, `"peildatum":"gisteren","gemeenten"`), "peildatum"},
		"day to come":        {replace(`"gemeenten"`, `"peildatum":"2027-01-01","gemeenten"`), "peildatum"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			status, body := f.ask(tc.body)
			var p edge.Problem
			if err := json.Unmarshal([]byte(body), &p); err != nil || status != http.StatusBadRequest {
				t.Fatalf("got %d %s, want 400 problem+json", status, body)
			}
			if len(p.InvalidParams) != 1 || p.InvalidParams[0].Naam != tc.field || p.InvalidParams[0].Reden == "" {
				t.Errorf("ongeldigeVelden: got %v, want %s and a mend", p.InvalidParams, tc.field)
			}
			if strings.Contains(body, bsn) || strings.Contains(body, "123456782") || strings.Contains(body, "999993654") {
				t.Errorf("the error repeats a BSN: %s", body)
			}
			if len(f.outway.sent) != 0 || len(f.audit.Records()) != 0 {
				t.Error("something was sent or recorded")
			}
		})
	}
}

func TestMalformedQuestion(t *testing.T) {
	for name, tc := range map[string]struct {
		body string
		want int
	}{
		"not JSON":        {"<vraag/>", 400},
		"empty":           {"", 400},
		"duplicate keys":  {strings.Replace(question, `"zaak":"Z-1"`, `"zaak":"Z-1","zaak":"Z-2"`, 1), 400},
		"role in body":    {strings.Replace(question, `"zaak":"Z-1"`, `"zaak":"Z-1","rol":"beheer"`, 1), 400},
		"gemeente":        {strings.Replace(question, `"0147"`, `{"gemeente":"0147","waarom":"x"}`, 1), 400},
		"gemeente number": {strings.Replace(question, `"0147"`, `147`, 1), 400},
		"wrong type":      {strings.Replace(question, `"`+bsn+`"`, bsn, 1), 400},
		"deep":            {strings.Replace(question, `"Z-1"`, strings.Repeat("[", 100)+strings.Repeat("]", 100), 1), 400},
		"too large":       {strings.Replace(question, "Z-1", strings.Repeat("Z", 70<<10), 1), 413},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			if status, body := f.ask(tc.body); status != tc.want || strings.Contains(body, bsn) {
				t.Errorf("got %d %s, want %d", status, body, tc.want)
			}
			if len(f.outway.sent) != 0 {
				t.Error("something was sent")
			}
		})
	}
}

func TestEveryQuestionNeedsAToken(t *testing.T) {
	f := newFixture(t)
	router, err := f.handler.Router()
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://bevraging/v1/bevragingen", strings.NewReader(question))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	router.ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized || len(f.outway.sent) != 0 {
		t.Errorf("got %d and %d requests sent, want 401 and none", w.Code, len(f.outway.sent))
	}
}

// What goes wrong between here and an answer that can be used has a name, and is never an answer.
func TestFailuresHaveAName(t *testing.T) {
	problem := func(code string) string {
		return `{"title":"x","status":1,"detail":"naam van een bewoner","code":"` + code + `"}`
	}
	dienst := func(old, with string) string {
		changed := strings.Replace(beantwoord, old, with, 1)
		if changed == beantwoord {
			panic("no " + old)
		}
		return changed
	}
	for name, tc := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"no contract after all":     {403, problem("geen-contract"), "geweigerd geen-contract"},
		"denied by our policy":      {403, problem("afnemer-niet-bevoegd"), "geweigerd afnemer-niet-bevoegd"},
		"denied, no code":           {403, "nee", "geweigerd geweigerd"},
		"denied by the inway":       {403, `{"message":"x","domain":"ERROR_DOMAIN_INWAY","code":"ERROR_CODE_ACCESS_DENIED"}`, "geweigerd ERROR_CODE_ACCESS_DENIED"},
		"code that is no code":      {403, problem("<script>"), "geweigerd geweigerd"},
		"code with a BSN in it":     {403, problem("x999990019"), "geweigerd geweigerd"},
		"source down":               {503, problem("bron-onbereikbaar"), "bron-onbereikbaar bron-onbereikbaar"},
		"other side down":           {502, `{"message":"x","domain":"ERROR_DOMAIN_OUTWAY","code":"GRENSLOOS_INWAY_UNREACHABLE"}`, "onbereikbaar GRENSLOOS_INWAY_UNREACHABLE"},
		"other side too late":       {504, "", "te-laat te-laat"},
		"journal full":              {500, `{"message":"x","domain":"ERROR_DOMAIN_OUTWAY","code":"TRANSACTION_LOG_WRITE_ERROR"}`, "onbereikbaar TRANSACTION_LOG_WRITE_ERROR"},
		"question not understood":   {400, problem("ongeldig"), "onbereikbaar ongeldig"},
		"redirect":                  {302, "", "onbereikbaar geen-bruikbaar-antwoord"},
		"no content":                {204, "", "onbereikbaar geen-bruikbaar-antwoord"},
		"empty":                     {200, "", "onbereikbaar antwoord-onleesbaar"},
		"not JSON":                  {200, "<html>", "onbereikbaar antwoord-onleesbaar"},
		"cut off":                   {200, beantwoord[:len(beantwoord)-10], "onbereikbaar antwoord-onleesbaar"},
		"unknown member":            {200, dienst(`"geheim":false`, `"geheim":false,"advies":"x"`), "onbereikbaar antwoord-onleesbaar"},
		"duplicate member":          {200, dienst(`"geheim":false`, `"geheim":false,"geheim":true`), "onbereikbaar antwoord-onleesbaar"},
		"empty object":              {200, "{}", "onbereikbaar antwoord-tegenstrijdig"},
		"no diensten":               {200, dienst(uitkering, ""), "onbereikbaar antwoord-tegenstrijdig"},
		"geheim missing":            {200, dienst(`"geheim":false,`, ""), "onbereikbaar antwoord-tegenstrijdig"},
		"other transaction":         {200, dienst(transact, "019a0000-7c11-7d3e-9a55-3f5c0b1e2d45"), "onbereikbaar antwoord-tegenstrijdig"},
		"other purpose":             {200, dienst(`"pw-reintegratie"`, `"pw-uitkering"`), "onbereikbaar antwoord-tegenstrijdig"},
		"other dienst":              {200, dienst(`"dienst":"uitkering"`, `"dienst":"persoon"`), "onbereikbaar antwoord-tegenstrijdig"},
		"dienst twice":              {200, dienst(uitkering, uitkering+","+uitkering), "onbereikbaar antwoord-tegenstrijdig"},
		"answered with nothing":     {200, dienst(`{"peildatum":"2026-11-23","waarden":{"loopt":true,"soort":"ioaw"}}`, ""), "onbereikbaar antwoord-tegenstrijdig"},
		"no data with data":         {200, dienst(`"uitkomst":"beantwoord"`, `"uitkomst":"geen-gegevens"`), "onbereikbaar antwoord-tegenstrijdig"},
		"denied with data":          {200, dienst(`"uitkomst":"beantwoord"`, `"uitkomst":"geweigerd","reden":{"code":"geweigerd","tekst":"x"}`), "onbereikbaar antwoord-tegenstrijdig"},
		"unknown outcome":           {200, dienst(`"uitkomst":"beantwoord"`, `"uitkomst":"niet-gevraagd"`), "onbereikbaar antwoord-tegenstrijdig"},
		"no source":                 {200, dienst(`"bron":"suite",`, ""), "onbereikbaar antwoord-tegenstrijdig"},
		"no law":                    {200, dienst(`"grondslag":"Participatiewet art. 7",`, ""), "onbereikbaar antwoord-tegenstrijdig"},
		"no day":                    {200, dienst(`2026-11-23`, "gisteren"), "onbereikbaar antwoord-tegenstrijdig"},
		"field not asked":           {200, dienst(`"loopt":true`, `"loopt":true,"bedrag":"12.00"`), "onbereikbaar antwoord-tegenstrijdig"},
		"field instead of another":  {200, dienst(`"loopt":true`, `"bedrag":"12.00"`), "onbereikbaar antwoord-tegenstrijdig"},
		"withheld, given, left out": {200, dienst(`"loopt":true,"soort":"ioaw"}}],"onthouden":[]`, `"soort":"ioaw"}}],"onthouden":[{"velden":["soort"],"reden":{"code":"geweigerd","tekst":"x"}}]`), "onbereikbaar antwoord-tegenstrijdig"},
		"field left out":            {200, dienst(`"loopt":true,`, ""), "onbereikbaar antwoord-tegenstrijdig"},
		"withheld and given":        {200, dienst(`"onthouden":[]`, `"onthouden":[{"velden":["soort"],"reden":{"code":"geweigerd","tekst":"x"}}]`), "onbereikbaar antwoord-tegenstrijdig"},
		"withheld without reason":   {200, dienst(`,"soort":"ioaw"}}],"onthouden":[]`, `}}],"onthouden":[{"velden":["soort"],"reden":{"code":"","tekst":""}}]`), "onbereikbaar antwoord-tegenstrijdig"},
		"value of another type":     {200, dienst(`"loopt":true`, `"loopt":"ja"`), "onbereikbaar antwoord-tegenstrijdig"},
		"value not in the list":     {200, dienst(`"ioaw"`, `"loterij"`), "onbereikbaar antwoord-tegenstrijdig"},
		"no outcome for the dienst": {200, dienst(`"uitkomst":"beantwoord",`, ""), "onbereikbaar antwoord-tegenstrijdig"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.outway.status, f.outway.body = tc.status, tc.body
			a := f.answer(question)
			if got := outcomes(a); !cmp.Equal(got, map[gateway.Dienst]string{"uitkering": tc.want}) {
				t.Errorf("got %v, want uitkering %s", got, tc.want)
			}
			if a.Volledig || len(a.Gemeenten[0].Diensten[0].Rijen) != 0 {
				t.Error("a failure with data, or volledig")
			}
			if a.Gemeenten[0].Diensten[0].Reden.Tekst == "" || strings.Contains(a.Gemeenten[0].Diensten[0].Reden.Tekst, "bewoner") {
				t.Errorf("reason text: got %q, want one of ours", a.Gemeenten[0].Diensten[0].Reden.Tekst)
			}
		})
	}
}

func TestNoAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*fixture)
		want   string
	}{
		"not reached":    {func(f *fixture) { f.outway.err = errors.New("connection refused") }, "onbereikbaar geen-verbinding"},
		"too late":       {func(f *fixture) { f.outway.wait, f.handler.Config.Timeout = true, time.Millisecond }, "te-laat te-laat"},
		"too large":      {func(f *fixture) { f.outway.read = io.LimitReader(zeros{}, 5<<20) }, "onbereikbaar antwoord-te-groot"},
		"broken off":     {func(f *fixture) { f.outway.read = io.MultiReader(strings.NewReader("{"), broken{}) }, "onbereikbaar geen-verbinding"},
		"no transaction": {func(f *fixture) { f.outway.header.Del("Fsc-Transaction-Id") }, "onbereikbaar transactie-onbekend"},
		"not JSON":       {func(f *fixture) { f.outway.header.Set("Content-Type", "text/html") }, "onbereikbaar antwoord-onleesbaar"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.outway.body = beantwoord
			tc.change(f)
			if got := outcomes(f.answer(question)); !cmp.Equal(got, map[gateway.Dienst]string{"uitkering": tc.want}) {
				t.Errorf("got %v, want %s", got, tc.want)
			}
		})
	}
}

func TestPartial(t *testing.T) {
	both := strings.Replace(question, `"velden":{"uitkering":["soort","loopt"]}`, `"velden":{"uitkering":["soort","loopt"],"persoon":["bsn","naam"]}`, 1)
	persoon := func(waarden string) string {
		return `{"dienst":"persoon","uitkomst":"beantwoord","bron":"brp","grondslag":"x","rijen":[{"peildatum":"2026-11-23","waarden":{` + waarden + `}}],"onthouden":[]}`
	}
	reply := func(diensten ...string) string {
		return strings.Replace(beantwoord, uitkering, strings.Join(diensten, ","), 1)
	}
	unknown := `{"dienst":"persoon","uitkomst":"geen-gegevens","rijen":[],"onthouden":[]}`
	for name, tc := range map[string]struct {
		body   string
		want   map[gateway.Dienst]string
		whole  bool
		geheim bool
	}{
		"whole":           {reply(uitkering, persoon(`"bsn":"`+bsn+`","naam":null`)), map[gateway.Dienst]string{"uitkering": "beantwoord", "persoon": "beantwoord"}, true, false},
		"knows nothing":   {reply(unknown, uitkering), map[gateway.Dienst]string{"uitkering": "beantwoord", "persoon": "geen-gegevens"}, true, false},
		"another person":  {reply(uitkering, persoon(`"bsn":"999990019","naam":"x"`)), map[gateway.Dienst]string{"uitkering": "onbereikbaar antwoord-tegenstrijdig", "persoon": "onbereikbaar antwoord-tegenstrijdig"}, false, false},
		"secret":          {strings.Replace(reply(unknown, uitkering), `"geheim":false`, `"geheim":true`, 1), map[gateway.Dienst]string{"uitkering": "beantwoord", "persoon": "geen-gegevens"}, true, true},
		"one source down": {reply(uitkering, `{"dienst":"persoon","uitkomst":"bron-onbereikbaar","reden":{"code":"bron-onbereikbaar","tekst":"x"},"rijen":[],"onthouden":[]}`), map[gateway.Dienst]string{"uitkering": "beantwoord", "persoon": "bron-onbereikbaar bron-onbereikbaar"}, false, false},
		"withheld": {
			reply(unknown, strings.Replace(uitkering, `,"soort":"ioaw"}}],"onthouden":[]`, `}}],"onthouden":[{"velden":["soort"],"reden":{"code":"geweigerd","tekst":"x"}}]`, 1)),
			map[gateway.Dienst]string{"uitkering": "beantwoord", "persoon": "geen-gegevens"},
			false, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.outway.body = tc.body
			a := f.answer(both)
			if diff := cmp.Diff(tc.want, outcomes(a)); diff != "" {
				t.Errorf("outcomes (-want +got):\n%s", diff)
			}
			if a.Volledig != tc.whole || a.Gemeenten[0].Geheim != tc.geheim {
				t.Errorf("volledig %v, geheim %v; want %v, %v", a.Volledig, a.Gemeenten[0].Geheim, tc.whole, tc.geheim)
			}
		})
	}
}

func TestNewestGrantWins(t *testing.T) {
	f := newFixture(t)
	old, next := f.grants.all[0], f.grants.all[0]
	old.NotBefore, next.NotBefore, next.Hash = now.Add(-48*time.Hour), now.Add(-time.Hour), "$1$3$new"
	f.grants.all = []gateway.Grant{old, next, old}
	f.outway.body = beantwoord
	f.answer(question)
	if got := f.outway.sent[0].Header.Get("Fsc-Grant-Hash"); got != "$1$3$new" {
		t.Errorf("grant: got %s, want the one that began last", got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }
