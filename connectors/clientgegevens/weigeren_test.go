package clientgegevens_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/toestemming"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// Whoever gets to the service without the inway, or with proofs that do not fit this very request, learns and reads nothing.
func TestBesideTheInway(t *testing.T) {
	for name, tc := range map[string]struct {
		bend func(w *wereld, v *verzoek)
		code string
	}{
		"no journalled transaction": {func(_ *wereld, v *verzoek) { v.noInway = true }, "niet-via-inway"},
		"transaction of another grant": {func(w *wereld, v *verzoek) {
			v.id = gateway.NewTransactionID(nu)
			other := w.grant("pw-uitkering", borne)
			w.admitted[v.id] = other.Hash
			v.noInway = true
		}, "niet-via-inway"},
		"no transaction id":          {func(_ *wereld, v *verzoek) { v.header = func(h http.Header) { h.Del("Fsc-Transaction-Id") } }, "niet-via-inway"},
		"two transaction ids":        {func(_ *wereld, v *verzoek) { v.header = func(h http.Header) { h.Add("Fsc-Transaction-Id", "x") } }, "niet-via-inway"},
		"no client certificate":      {func(_ *wereld, v *verzoek) { v.noTLS = true }, "niet-via-inway"},
		"another client certificate": {func(w *wereld, v *verzoek) { v.client = signer(w.t, ander, "Ander") }, accesstoken.CodeInvalid},
		"no token":                   {func(_ *wereld, v *verzoek) { v.header = func(h http.Header) { h.Del("Fsc-Authorization") } }, accesstoken.CodeMissing},
		"token by another peer":      {func(w *wereld, v *verzoek) { v.tokenBy = signer(w.t, borne, "Borne") }, accesstoken.CodeInvalid},
		"token for another service":  {func(_ *wereld, v *verzoek) { v.token = func(c *accesstoken.Claims) { c.Service = "plannen" } }, accesstoken.CodeInvalid},
		"token for another group":    {func(_ *wereld, v *verzoek) { v.token = func(c *accesstoken.Claims) { c.GroupID = "elders.example" } }, accesstoken.CodeWrongGroup},
		"token of another's grant":   {func(_ *wereld, v *verzoek) { v.token = func(c *accesstoken.Claims) { c.Subject = ander } }, accesstoken.CodeInvalid},
		"token with other properties": {func(_ *wereld, v *verzoek) {
			v.token = func(c *accesstoken.Claims) { c.Prp = []byte(`{"doel":"pw-uitkering"}`) }
		}, accesstoken.CodeInvalid},
		"expired token": {func(_ *wereld, v *verzoek) {
			v.token = func(c *accesstoken.Claims) { c.NotBefore, c.Expires = nu.Add(-time.Minute), nu.Add(-time.Second) }
		}, accesstoken.CodeExpired},
		"revoked contract":        {func(w *wereld, _ *verzoek) { delete(w.grants, w.onderzoek.Hash) }, "contract-niet-geldig"},
		"grant without a purpose": {func(w *wereld, v *verzoek) { g := v.grant; g.Properties = gateway.Properties{}; w.grants[g.Hash] = g }, "contract-niet-geldig"},
		"grant of another service": {func(w *wereld, v *verzoek) {
			v.grant.Service, v.grant.Hash = "plannen", "$1$4$plannen"
			w.grants[v.grant.Hash] = v.grant
		}, "contract-niet-geldig"},
		"grant at another peer": {func(w *wereld, v *verzoek) {
			g := v.grant
			v.token = func(*accesstoken.Claims) { g.ServicePeer = ander; w.grants[g.Hash] = g }
		}, accesstoken.CodeInvalid},
		"no verklaring": {func(_ *wereld, v *verzoek) { v.header = func(h http.Header) { h.Del(verklaring.Header) } }, "verklaring-ongeldig"},
		"two verklaringen": {func(_ *wereld, v *verzoek) {
			v.header = func(h http.Header) { h.Add(verklaring.Header, h.Get(verklaring.Header)) }
		}, "verklaring-ongeldig"},
		"verklaring for another body": {func(_ *wereld, v *verzoek) { v.signedBody = `{"bsn":"999990020"}` }, "verklaring-ongeldig"},
		"verklaring for another path": {func(_ *wereld, v *verzoek) {
			v.verklaring = func(s *verklaring.Verklaring) { s.Target = "/v1/clienten" }
		}, "verklaring-ongeldig"},
		"verklaring for another verb":  {func(_ *wereld, v *verzoek) { v.verklaring = func(s *verklaring.Verklaring) { s.Method = "GET" } }, "verklaring-ongeldig"},
		"verklaring for another peer":  {func(_ *wereld, v *verzoek) { v.verklaring = func(s *verklaring.Verklaring) { s.Audience = ander } }, "verklaring-ongeldig"},
		"verklaring for another grant": {func(_ *wereld, v *verzoek) { v.verklaring = func(s *verklaring.Verklaring) { s.GrantHash = "$1$4$x" } }, "verklaring-ongeldig"},
		"verklaring for another doel":  {func(_ *wereld, v *verzoek) { v.verklaring = func(s *verklaring.Verklaring) { s.Doel = "pw-uitkering" } }, "verklaring-ongeldig"},
		"verklaring for another time": {func(_ *wereld, v *verzoek) {
			v.verklaring = func(s *verklaring.Verklaring) {
				s.IssuedAt, s.Expires = nu.Add(-2*time.Minute), nu.Add(-90*time.Second)
			}
		}, "verklaring-ongeldig"},
		"verklaring for another transaction": {func(_ *wereld, v *verzoek) {
			v.verklaring = func(s *verklaring.Verklaring) { s.Transactie = gateway.NewTransactionID(nu) }
		}, "verklaring-ongeldig"},
	} {
		t.Run(name, func(t *testing.T) {
			w := nieuw(t)
			v := w.vraag(`{"bsn":"999990019"}`)
			tc.bend(w, &v)
			rec := w.doe(v)
			if rec.Code != http.StatusForbidden || code(rec) != tc.code {
				t.Errorf("got %d %s, want 403 %s\n%s", rec.Code, code(rec), tc.code, rec.Body)
			}
			if len(w.bron.vragen) != 0 || len(w.log.Records()) != 0 {
				t.Errorf("the source was asked %v, %d records: want neither", w.bron.vragen, len(w.log.Records()))
			}
		})
	}
}

func TestBadQuestion(t *testing.T) {
	deep := strings.Repeat(`{"velden":`, 40) + "1" + strings.Repeat("}", 40)
	for name, tc := range map[string]struct {
		body   string
		bend   func(*verzoek)
		status int
		want   string // in the detail: the field and the mend
	}{
		"bsn fails the eleven-test": {`{"bsn":"999990018"}`, nil, 400, "eleven-test"},
		"bsn as a number":           {`{"bsn":999990019}`, nil, 400, "bsn: "},
		"bsn of eight digits":       {`{"bsn":"99999001"}`, nil, 400, "bsn: give 9 digits"},
		"no bsn":                    {`{}`, nil, 400, "bsn: give 9 digits"},
		"outside the test block":    {`{"bsn":"123456782"}`, nil, 400, "bsn: in demo mode"},
		"unknown dienst":            {`{"bsn":"999990019","velden":{"schulden":["bedrag"]}}`, nil, 400, `velden: unknown dienst "schulden"; choose from contactpersoon, persoon, uitkering`},
		"unknown veld":              {`{"bsn":"999990019","velden":{"persoon":["naam","geloof"]}}`, nil, 400, `velden.persoon[1]: unknown veld "geloof"; choose from adres`},
		"veld twice":                {`{"bsn":"999990019","velden":{"persoon":["naam","naam"]}}`, nil, 400, "velden.persoon[1]: naam stands twice"},
		"dienst without velden":     {`{"bsn":"999990019","velden":{"persoon":[]}}`, nil, 400, "velden.persoon: name at least one"},
		"velden without dienst":     {`{"bsn":"999990019","velden":{}}`, nil, 400, "velden: name a dienst"},
		"role in the body":          {`{"bsn":"999990019","rol":["klantmanager"]}`, nil, 400, "rol"},
		"worker in the body":        {`{"bsn":"999990019","medewerker":"x"}`, nil, 400, "medewerker"},
		"purpose in the body":       {`{"bsn":"999990019","doel":"pw-uitkering"}`, nil, 400, "doel"},
		"duplicate key":             {`{"bsn":"999990020","bsn":"999990019"}`, nil, 400, "bsn"},
		"duplicate dienst":          {`{"bsn":"999990019","velden":{"persoon":["naam"],"persoon":["bsn"]}}`, nil, 400, "persoon"},
		"other case":                {`{"BSN":"999990019"}`, nil, 400, "BSN"},
		"null":                      {`{"bsn":"999990019","velden":null}`, nil, 400, "velden"},
		"not JSON":                  {`bsn=999990019`, nil, 400, ""},
		"two values":                {`{"bsn":"999990019"}{}`, nil, 400, ""},
		"deep":                      {deep, nil, 400, ""},
		"empty":                     {``, nil, 400, "body: empty"},
		"a list":                    {`["999990019"]`, nil, 400, ""},
		"too large":                 {`{"bsn":"999990019"}` + strings.Repeat(" ", 1<<15), nil, 413, "body: larger than 16384 bytes"},
		"a form": {`{"bsn":"999990019"}`, func(v *verzoek) {
			v.header = func(h http.Header) { h.Set("Content-Type", "application/x-www-form-urlencoded") }
		}, 415, "application/json"},
		"query":               {`{"bsn":"999990019"}`, func(v *verzoek) { v.path = "/v1/clienten/_zoek?bsn=1" }, 400, "query: leave it out"},
		"Accept without JSON": {`{"bsn":"999990019"}`, func(v *verzoek) { v.header = func(h http.Header) { h.Set("Accept", "application/xml") } }, 406, "application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			w := nieuw(t)
			w.h.DemoBSN = true
			v := w.vraag(tc.body)
			if tc.bend != nil {
				tc.bend(&v)
			}
			rec := w.doe(v)
			if rec.Code != tc.status || !strings.Contains(rec.Body.String(), strings.ReplaceAll(tc.want, `"`, `\"`)) {
				t.Errorf("got %d, want %d with %q\n%s", rec.Code, tc.status, tc.want, rec.Body)
			}
			if strings.Contains(rec.Body.String(), "99999001") || strings.Contains(w.operator.String(), "99999001") {
				t.Error("the bsn is repeated")
			}
			if len(w.bron.vragen) != 0 {
				t.Errorf("the source was asked %v", w.bron.vragen)
			}
		})
	}
}

func TestRealBSNOutsideDemoMode(t *testing.T) {
	w := nieuw(t)
	if a := lees(t, w.doe(w.vraag(`{"bsn":"123456782"}`))); a.Diensten[0].Uitkomst != "geen-gegevens" {
		t.Errorf("got %s, want geen-gegevens", a.Diensten[0].Uitkomst)
	}
}

// All refusals that depend on the person are one and the same, byte for byte, also for a person who is not known here; the record
// keeps the real reason.
func TestPersonDependentRefusalsAreAlike(t *testing.T) {
	kind := func(w *wereld) {
		p := w.bron.personen[bekend]
		p.geboren = nu.AddDate(-10, 0, 0)
		w.bron.personen[bekend] = p
	}
	id := gateway.NewTransactionID(nu)
	var first string
	for _, tc := range []struct {
		name   string
		bsn    string
		set    func(w *wereld)
		reason gateway.Reason
	}{
		{"no consent", bekend, func(*wereld) {}, gateway.ToestemmingOntbreekt},
		{"withdrawn", bekend, func(w *wereld) {
			w.geef(bekend, "doorverwijzing-welzijn", uwi, func(c *toestemming.Toestemming) { c.TrekIn(nu.Add(-time.Minute)) })
		}, gateway.ToestemmingIngetrokken},
		{"expired", bekend, func(w *wereld) {
			w.geef(bekend, "doorverwijzing-welzijn", uwi, func(c *toestemming.Toestemming) { c.GeldigTot = nu.Add(-time.Minute) })
		}, gateway.ToestemmingVerlopen},
		{"provisional", bekend, func(w *wereld) {
			w.geef(bekend, "doorverwijzing-welzijn", uwi, func(c *toestemming.Toestemming) { c.BevestigdOp = time.Time{}; c.GeregistreerdDoor = uwi })
		}, gateway.ToestemmingVoorlopig},
		{"for another", bekend, func(w *wereld) { w.geef(bekend, "doorverwijzing-welzijn", ander, nil) }, gateway.ToestemmingVerkeerdeOntvanger},
		{"a child", bekend, func(w *wereld) { kind(w); w.geef(bekend, "doorverwijzing-welzijn", uwi, nil) }, gateway.LeeftijdGezag},
		{"secret", geheim, func(w *wereld) { w.geef(geheim, "doorverwijzing-welzijn", uwi, nil) }, gateway.Geheimhouding},
		{"not known here", onbekend, func(*wereld) {}, gateway.ToestemmingOntbreekt},
		{"several persons", dubbel, func(*wereld) {}, gateway.ToestemmingOntbreekt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := nieuw(t)
			tc.set(w)
			v := verzoek{grant: w.grant("doorverwijzing-welzijn", ""), zaaktype: "doorverwijzing", body: `{"bsn":"` + tc.bsn + `"}`, id: id}
			rec := w.doe(v)
			got := fmt.Sprint(rec.Code, rec.Header(), rec.Body)
			if first == "" {
				first = got
			}
			if rec.Code != http.StatusForbidden || code(rec) != "geweigerd" || got != first {
				t.Errorf("got\n%s\nwant\n%s", got, first)
			}
			recs := w.log.Records()
			if len(recs) != 1 || recs[0].Soort != audit.ADL || !strings.Contains(string(recs[0].Body), string(tc.reason)) {
				t.Errorf("records: got %s, want one ADL with %q", recs, tc.reason)
			}
			if len(w.bron.vragen) != 1 || w.register.vraag != 1 {
				t.Errorf("the source was asked %v and the register %d times, want one first read and one look", w.bron.vragen, w.register.vraag)
			}
		})
	}
}

// With a consent the same question is answered, with what it allows; withdrawal closes it for the next.
func TestConsentOpensAndWithdrawalCloses(t *testing.T) {
	w := nieuw(t)
	v := verzoek{grant: w.grant("doorverwijzing-welzijn", ""), zaaktype: "doorverwijzing", body: `{"bsn":"999990019"}`}
	w.geef(bekend, "doorverwijzing-welzijn", uwi, nil)
	rec := w.doe(v)
	a := lees(t, rec)
	if len(a.Diensten) != 1 || a.Diensten[0].Uitkomst != "beantwoord" || len(a.Diensten[0].Rijen[0].Waarden) != 2 || a.Diensten[0].Rijen[0].Waarden["naam"] != "Suzanne Moulin" {
		t.Errorf("got %s, want naam and telefoon", rec.Body)
	}
	if strings.Contains(rec.Body.String(), bekend) {
		t.Error("a bsn stands in an answer to a partner")
	}
	w.register.alle[0].TrekIn(nu)
	if rec := w.doe(v); rec.Code != http.StatusForbidden || code(rec) != "geweigerd" {
		t.Errorf("after withdrawal: got %d %s, want 403 geweigerd", rec.Code, code(rec))
	}
}

func TestConsentForFewerFields(t *testing.T) {
	w := nieuw(t)
	w.geef(bekend, "doorverwijzing-welzijn", uwi, func(c *toestemming.Toestemming) { c.Velden = gateway.Velden{"persoon": {"naam"}} })
	rec := w.doe(verzoek{grant: w.grant("doorverwijzing-welzijn", ""), zaaktype: "doorverwijzing", body: `{"bsn":"999990019"}`})
	a := lees(t, rec)
	if _, ok := a.Diensten[0].Rijen[0].Waarden["telefoon"]; ok || a.Diensten[0].Rijen[0].Waarden["naam"] == nil {
		t.Errorf("got %s, want naam only", rec.Body)
	}
}

func TestStaticRefusalNamesItsReason(t *testing.T) {
	w := nieuw(t)
	v := w.vraag(`{"bsn":"999990019"}`)
	v.zaaktype = "parkeervergunning"
	rec := w.doe(v)
	if rec.Code != http.StatusForbidden || code(rec) != string(gateway.ZaakNietOpen) {
		t.Errorf("got %d %s, want 403 %s\n%s", rec.Code, code(rec), gateway.ZaakNietOpen, rec.Body)
	}
	if w.log.Count(audit.ADL, "") != 1 || w.log.Count(audit.LDV, "") != 0 || len(w.bron.vragen) != 1 {
		t.Errorf("got %d ADL, %d LDV, source asked %v: want the decision only", w.log.Count(audit.ADL, ""), w.log.Count(audit.LDV, ""), w.bron.vragen)
	}
}

func TestRegisterDown(t *testing.T) {
	w := nieuw(t)
	w.register.fout = errKapot
	for _, bsn := range []string{bekend, onbekend, geheim} {
		rec := w.doe(verzoek{grant: w.grant("doorverwijzing-welzijn", ""), zaaktype: "doorverwijzing", body: `{"bsn":"` + bsn + `"}`})
		if rec.Code != http.StatusServiceUnavailable || code(rec) != "register-onbereikbaar" || strings.Contains(rec.Body.String(), "kapot") {
			t.Errorf("got %d %s, want 503 register-onbereikbaar\n%s", rec.Code, code(rec), rec.Body)
		}
	}
	if n := w.log.Count(audit.ADL, ""); n != 3 {
		t.Errorf("got %d ADL records, want one of each evaluation that broke", n)
	}
}

// A source that fails is never an empty answer.
func TestSourceFailures(t *testing.T) {
	down := gateway.WithCode(gateway.Unavailable, connectors.CodeOnbereikbaar, "source uitkering: tabel uitk_2019")
	t.Run("second read of one dienst", func(t *testing.T) {
		w := nieuw(t)
		w.bron.lees["uitkering"] = down
		rec := w.doe(w.vraag(`{"bsn":"999990019"}`))
		a := lees(t, rec)
		if a.Diensten[2].Uitkomst != "bron-onbereikbaar" || a.Diensten[2].Reden == nil || a.Diensten[1].Uitkomst != "beantwoord" {
			t.Errorf("got %s, want uitkering bron-onbereikbaar and persoon beantwoord", rec.Body)
		}
		if strings.Contains(rec.Body.String(), "uitk_2019") || !strings.Contains(w.operator.String(), "uitk_2019") {
			t.Error("the name of a table is for the operator's log, not for the asker")
		}
		if w.log.Count(audit.LDV, a.Transactie) != 1 {
			t.Error("want one LDV line")
		}
	})
	for name, tc := range map[string]struct {
		bsn  string
		set  func(w *wereld)
		code string
	}{
		"first read":        {bekend, func(w *wereld) { w.bron.sleutel = down }, "bron-onbereikbaar"},
		"first read, other": {bekend, func(w *wereld) { w.bron.sleutel = errKapot }, "bron-onbereikbaar"},
		"several persons":   {dubbel, func(*wereld) {}, "bron-meerduidig"},
		"attribute does not fit": {bekend, func(w *wereld) {
			w.bron.sleutel = gateway.WithCode(gateway.Unavailable, connectors.CodeOngeldigWaarde, "source")
		}, "bron-waarde-ongeldig"},
	} {
		t.Run(name, func(t *testing.T) {
			w := nieuw(t)
			tc.set(w)
			rec := w.doe(w.vraag(`{"bsn":"` + tc.bsn + `"}`))
			if rec.Code != http.StatusServiceUnavailable || code(rec) != tc.code || strings.Contains(rec.Body.String(), "uitk_2019") || strings.Contains(rec.Body.String(), "kapot") {
				t.Errorf("got %d %s, want 503 %s\n%s", rec.Code, code(rec), tc.code, rec.Body)
			}
			if w.log.Count(audit.ADL, "") != 1 || w.log.Count(audit.LDV, "") != 0 || len(w.bron.vragen) != 1 {
				t.Errorf("got %d ADL, %d LDV, source asked %v", w.log.Count(audit.ADL, ""), w.log.Count(audit.LDV, ""), w.bron.vragen)
			}
		})
	}
	t.Run("a dienst without a source", func(t *testing.T) {
		w := nieuw(t)
		w.h.Bron = half{w.bron}
		a := lees(t, w.doe(w.vraag(`{"bsn":"999990019"}`)))
		if d := a.Diensten[2]; d.Uitkomst != "bron-onbereikbaar" || d.Reden.Code != "bron-niet-aangesloten" {
			t.Errorf("uitkering: got %+v, want bron-onbereikbaar: nothing is known of it", d)
		}
		if d := a.Diensten[1]; d.Uitkomst != "beantwoord" || len(d.Onthouden) != 1 || d.Onthouden[0].Reden.Code != "bron-niet-aangesloten" || len(d.Onthouden[0].Velden) != 4 {
			t.Errorf("persoon: got %+v, want naam answered and the other four withheld", d)
		}
	})
}

// half is a source with one mapped field.
type half struct{ *bron }

func (half) Diensten() gateway.Velden { return gateway.Velden{"persoon": {"naam"}} }

// No value is read before the decision is on record, and nothing leaves before the LDV line is.
func TestNothingWithoutItsRecord(t *testing.T) {
	for _, persisted := range []bool{false, true} {
		for _, soort := range []audit.Soort{audit.ADL, audit.LDV} {
			t.Run(fmt.Sprintf("%s fails, persisted %v", soort, persisted), func(t *testing.T) {
				w := nieuw(t)
				hook := func(r audit.Record) error {
					if r.Soort == soort {
						return errors.New("disk full")
					}
					return nil
				}
				if persisted {
					w.log.FailPersisted = hook
				} else {
					w.log.Fail = hook
				}
				rec := w.doe(w.vraag(`{"bsn":"999990019"}`))
				if rec.Code != http.StatusServiceUnavailable || code(rec) != audit.WriteError || strings.Contains(rec.Body.String(), "Moulin") {
					t.Errorf("got %d %s, want 503 %s and no value\n%s", rec.Code, code(rec), audit.WriteError, rec.Body)
				}
				if reads := len(w.bron.vragen); soort == audit.ADL && reads != 1 || soort == audit.LDV && reads != 4 {
					t.Errorf("source asked %v", w.bron.vragen)
				}
			})
		}
	}
	t.Run("the decision comes first", func(t *testing.T) {
		w := nieuw(t)
		w.bron.gelezen = func(dienst gateway.Dienst, _ []gateway.Veld) {
			if w.log.Count(audit.ADL, "") != 1 || w.log.Count(audit.LDV, "") != 0 {
				t.Errorf("%s is read with %d ADL and %d LDV records, want 1 and 0", dienst, w.log.Count(audit.ADL, ""), w.log.Count(audit.LDV, ""))
			}
		}
		lees(t, w.doe(w.vraag(`{"bsn":"999990019"}`)))
	})
	t.Run("a refusal too", func(t *testing.T) {
		w := nieuw(t)
		w.log.Fail = func(audit.Record) error { return errKapot }
		v := w.vraag(`{"bsn":"999990019"}`)
		v.zaaktype = "parkeervergunning"
		if rec := w.doe(v); rec.Code != http.StatusServiceUnavailable {
			t.Errorf("got %d, want 503: an unrecorded refusal is not given either", rec.Code)
		}
	})
}
