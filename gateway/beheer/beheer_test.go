package beheer_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/toestemming"
	"github.com/grensloos/grensloos/policies"
)

const (
	borne      gateway.PeerID = "00000099000000147000"
	uwi        gateway.PeerID = "00000099900000001000"
	bsn                       = "999993653"
	thumbprint                = "3a56f2e9269ac63f0d4394c46b96539da1625b6a985d38029ff89f34e490960c"
	transactie                = "019a0000-7c11-7d3e-9a55-3f5c0b1e2d44"
)

var now = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)

func clock() time.Time { return now }

// builtin is the built-in policy; it does not change, and is compiled once.
var builtin = sync.OnceValue(func() *policies.Engine {
	engine, err := policies.New(context.Background(), policies.Options{Now: clock})
	if err != nil {
		panic(err)
	}
	return engine
})

// world is a beheer with fakes that keep, in order, what was done and what was recorded.
type world struct {
	t       *testing.T
	handler *beheer.Handler
	audit   *audit.Memory
	key     crypto.Signer

	acts      []string // effects, as they happen: each with the number of records that stood before it
	contracts []*contract.Content
	consents  []toestemming.Toestemming
	records   []audit.Record
	err       error // of the manager, the register and the reader
}

func newWorld(t *testing.T) *world {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	auth, err := edge.NewVerifier(edge.Issuers{
		Issuer: "https://issuer.example", Audience: "test", Keys: []crypto.PublicKey{key.Public()}, Organisatie: borne,
	}, clock)
	if err != nil {
		t.Fatal(err)
	}
	pseudonyms, err := gateway.NewPseudonymKeys(map[int][]byte{1: bytes.Repeat([]byte{7}, 32), 2: bytes.Repeat([]byte{8}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, key: key, audit: &audit.Memory{Validate: true}}
	w.handler = &beheer.Handler{
		Self: gateway.Peer{ID: borne, Name: "Borne"}, Sleutel: func(context.Context) (string, error) { return thumbprint, nil }, Auth: auth, Contracten: w, Voorstel: w, Ondertekening: w,
		Vernieuwing: w, Groep: w, Deelname: w,
		Register: register{w}, Toestemmingen: w, Records: w, Volgen: w, Gezondheid: w, Policy: builtin(), Audit: w.audit, Pseudonyms: pseudonyms, Demo: true, Now: clock,
	}
	return w
}

func (w *world) act(what string) error {
	if w.err != nil {
		return w.err
	}
	w.acts = append(w.acts, what)
	return nil
}

func (w *world) List(context.Context) ([]contract.Summary, error) {
	var all []contract.Summary
	for _, c := range w.contracts {
		all = append(all, contract.Summary{Hash: c.Hash(), State: contract.Proposed, Content: c, Missing: []gateway.PeerID{uwi}})
	}
	return all, w.err
}

func (w *world) Show(_ context.Context, hash gateway.ContentHash) (contract.Detail, error) {
	all, err := w.List(context.Background())
	for _, s := range all {
		if s.Hash == hash {
			return contract.Detail{
				Summary:    s,
				Deliveries: []contract.Delivery{{Receiver: uwi, Type: contract.Accept, State: contract.Open, Attempts: 2, Reason: "not reached"}},
			}, err
		}
	}
	return contract.Detail{}, gateway.Errorf(gateway.NotFound, "contract: unknown")
}

func (w *world) Propose(_ context.Context, n contract.NewContent, door string) (gateway.ContentHash, error) {
	n.Group = "demo"
	c, err := contract.New(n)
	if err != nil {
		return "", err
	}
	w.contracts = append(w.contracts, c)
	return c.Hash(), w.act("propose by " + door[:3])
}

func (w *world) Accept(_ context.Context, _ gateway.ContentHash, door string) error {
	return w.act("accept by " + door[:3])
}

func (w *world) Reject(_ context.Context, _ gateway.ContentHash, door string) error {
	return w.act("reject by " + door[:3])
}

func (w *world) Revoke(_ context.Context, _ gateway.ContentHash, door string) error {
	return w.act("revoke by " + door[:3])
}

// register is the writing half of the store.
type register struct{ w *world }

func (r register) Geef(_ context.Context, t toestemming.Toestemming) error {
	r.w.consents = append(r.w.consents, t)
	return r.w.act("geef")
}

func (r register) change(id string, f func(*toestemming.Toestemming)) error {
	for i := range r.w.consents {
		if r.w.consents[i].ID == id {
			f(&r.w.consents[i])
		}
	}
	return nil
}

func (r register) TrekIn(_ context.Context, id string, at time.Time) error {
	return errors.Join(r.w.act("trek-in"), r.change(id, func(t *toestemming.Toestemming) { t.TrekIn(at) }))
}

func (r register) Bevestig(_ context.Context, id string, at time.Time) error {
	return errors.Join(r.w.act("bevestig"), r.change(id, func(t *toestemming.Toestemming) { t.Bevestig(at) }))
}

func (w *world) Toestemming(_ context.Context, id string) (toestemming.Toestemming, error) {
	for _, t := range w.consents {
		if t.ID == id {
			return t, w.err
		}
	}
	return toestemming.Toestemming{}, gateway.Errorf(gateway.NotFound, "toestemming: no such id")
}

func (w *world) ToestemmingenVan(_ context.Context, person []gateway.Pseudonym) ([]toestemming.Toestemming, error) {
	var out []toestemming.Toestemming
	for _, t := range w.consents {
		if slices.Contains(person, t.Betrokkene) {
			out = append(out, t)
		}
	}
	return out, w.err
}

func (w *world) AlleToestemmingen(_ context.Context, after string, limit int) ([]toestemming.Toestemming, error) {
	var out []toestemming.Toestemming
	for _, t := range w.consents {
		if t.ID > after && len(out) < limit {
			out = append(out, t)
		}
	}
	return out, w.err
}

func (w *world) Transaction(context.Context, gateway.TransactionID) ([]audit.Record, error) {
	return w.records, errors.Join(w.err, w.act("lees"))
}

// call does one request with a role; empty: without a token.
func (w *world) call(rol, method, path, body string) (int, string) {
	w.t.Helper()
	router, err := w.handler.Router()
	if err != nil {
		w.t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(w.t.Context(), method, "https://beheer/v1"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if rol != "" {
		token, err := edge.IssueJWT(w.key, edge.Claims{
			Issuer: "https://issuer.example", Audience: "test", Subject: "a.beheer", Rollen: []string{rol}, Organisatie: borne,
		}, now, time.Hour)
		if err != nil {
			w.t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
	}
	out := httptest.NewRecorder()
	router.ServeHTTP(out, r)
	return out.Code, out.Body.String()
}

// good is a call that must succeed; it decodes the answer and holds it to a schema of the OpenAPI document.
func good[T any](w *world, status int, schema, rol, method, path, body string) T {
	w.t.Helper()
	var out T
	got, raw := w.call(rol, method, path, body)
	if got != status {
		w.t.Fatalf("%s %s: got %d %s, want %d", method, path, got, raw, status)
	}
	if err := json.Unmarshal([]byte(raw), &out); err != nil {
		w.t.Fatal(err)
	}
	if schema != "" {
		w.conforms(schema, raw)
	}
	return out
}

func (w *world) conforms(schema, raw string) {
	w.t.Helper()
	_, doc := w.call("", http.MethodGet, "/openapi.json", "")
	parsed, err := jsonschema.UnmarshalJSON(strings.NewReader(doc))
	if err != nil {
		w.t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("https://example/beheer.json", parsed); err != nil {
		w.t.Fatal(err)
	}
	s, err := c.Compile("https://example/beheer.json#/components/schemas/" + schema)
	if err != nil {
		w.t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(raw))
	if err == nil {
		err = s.Validate(v)
	}
	if err != nil {
		w.t.Errorf("%s: %v\n%s", schema, err, raw)
	}
}

const (
	voorstel = `{"geldigVanaf":"2026-11-23T00:00:00Z","geldigTot":"2027-11-23T00:00:00Z","grants":[{"outway":"00000099900000001000","outwaySleutel":"` + thumbprint + `","aanbieder":"00000099000000147000","service":"clientgegevens","doel":"pw-reintegratie","namensCollege":"00000099000000147000","velden":{"uitkering":["loopt"]}}]}`
	geef     = `{"bsn":"` + bsn + `","soort":"avg-6-1-a","doel":"doorverwijzing-welzijn","ontvanger":"00000099900000001000","gegevenDoor":"zelf","tekstversie":"welzijn-1","kanaal":"balie","geldigTot":"2027-02-01T00:00:00Z"}`
)

// Who may do what: every path, every role. What is not listed as allowed is refused, with no effect and no record.
func TestRoles(t *testing.T) {
	hash := "$1$1$" + strings.Repeat("A", 86)
	paths := []struct {
		method, path, body string
		allowed            []string
	}{
		{http.MethodGet, "/contracten", "", []string{"beheer", "privacy-officer"}},
		{http.MethodPost, "/contracten", voorstel, []string{"beheer"}},
		{http.MethodGet, "/contracten/" + hash, "", []string{"beheer", "privacy-officer"}},
		{http.MethodPost, "/contracten/" + hash + "/_accepteren", "", []string{"beheer"}},
		{http.MethodPost, "/contracten/" + hash + "/_weigeren", "", []string{"beheer"}},
		{http.MethodPost, "/contracten/" + hash + "/_intrekken", "", []string{"beheer"}},
		{http.MethodPost, "/contracten/" + hash + "/_vernieuwen", "{}", []string{"beheer"}},
		{http.MethodGet, "/contracten/" + hash + "/verschil", "", []string{"beheer", "privacy-officer"}},
		{http.MethodGet, "/groep", "", []string{"beheer", "privacy-officer"}},
		{http.MethodPost, "/groep/_hervatten", "", []string{"beheer"}},
		{http.MethodPost, "/groep/_verlaten", "", []string{"beheer"}},
		{http.MethodGet, "/peers", "", []string{"beheer", "privacy-officer"}},
		{http.MethodGet, "/services", "", []string{"beheer", "privacy-officer"}},
		{http.MethodGet, "/toestemmingen", "", []string{"beheer"}},
		{http.MethodPost, "/toestemmingen", geef, []string{"beheer"}},
		{http.MethodPost, "/toestemmingen/_zoek", `{"bsn":"` + bsn + `"}`, []string{"beheer"}},
		{http.MethodPost, "/toestemmingen/" + transactie + "/_intrekken", "", []string{"beheer"}},
		{http.MethodPost, "/toestemmingen/" + transactie + "/_bevestigen", "", []string{"beheer"}},
		{http.MethodGet, "/transacties/" + transactie, "", []string{"privacy-officer"}},
	}
	for _, p := range paths {
		for _, rol := range []string{"", "klantmanager", "Beheer", "beheer", "privacy-officer"} {
			w := newWorld(t)
			status, body := w.call(rol, p.method, p.path, p.body)
			switch {
			case slices.Contains(p.allowed, rol):
				if status == http.StatusUnauthorized || status == http.StatusForbidden {
					t.Errorf("%s %s as %q: got %d %s, want it allowed", p.method, p.path, rol, status, body)
				}
				continue
			case rol == "" && status != http.StatusUnauthorized, rol != "" && status != http.StatusForbidden:
				t.Errorf("%s %s as %q: got %d, want it refused", p.method, p.path, rol, status)
			}
			if len(w.acts) > 0 || len(w.audit.Records()) > 0 {
				t.Errorf("%s %s as %q: had an effect", p.method, p.path, rol)
			}
		}
	}
	w := newWorld(t)
	if status, _ := w.call("beheer", http.MethodDelete, "/contracten", ""); status != http.StatusMethodNotAllowed {
		t.Errorf("DELETE: got %d, want 405", status)
	}
	if status, _ := w.call("beheer", http.MethodGet, "/contracten/", ""); status != http.StatusNotFound {
		t.Errorf("trailing slash: got %d, want 404", status)
	}
}

func TestContract(t *testing.T) {
	w := newWorld(t)
	c := good[beheer.ContractJSON](w, http.StatusCreated, "Contract", "beheer", http.MethodPost, "/contracten", voorstel)
	entry, _ := w.handler.Policy.Session().Entry("pw-reintegratie", now)
	grants := w.contracts[0].ConnectionGrants()
	if len(grants) != 1 || grants[0].Properties.DoelDigest != entry.Digest() || grants[0].OutwayThumbprint != thumbprint {
		t.Errorf("grants: got %+v, want the catalogue's digest and the thumbprint", grants)
	}
	want := beheer.GrantJSON{
		Hash: grants[0].Hash, Soort: gateway.ServiceConnection, Outway: uwi, Aanbieder: borne, Service: "clientgegevens", Richting: gateway.Namens,
		Doel: "pw-reintegratie", DoelVersie: 1, NamensCollege: borne, Velden: gateway.Velden{"uitkering": {"loopt"}},
	}
	if diff := cmp.Diff([]beheer.GrantJSON{want}, c.Grants); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
	if c.Toestand != "voorgesteld" || !slices.Equal(c.WachtOp, []gateway.PeerID{uwi}) || len(c.Afleveringen) != 1 || c.Afleveringen[0].Toestand != "onderweg" {
		t.Errorf("got %+v", c)
	}
	list := good[struct{ Contracten []beheer.ContractJSON }](w, 200, "", "privacy-officer", http.MethodGet, "/contracten", "")
	if len(list.Contracten) != 1 || list.Contracten[0].Hash != c.Hash {
		t.Errorf("list: got %+v", list)
	}
	for _, verb := range []string{"_accepteren", "_weigeren", "_intrekken"} {
		good[beheer.ContractJSON](w, 200, "Contract", "beheer", http.MethodPost, "/contracten/"+string(c.Hash)+"/"+verb, "")
	}
	if diff := cmp.Diff([]string{"propose by m2.", "accept by m2.", "reject by m2.", "revoke by m2."}, w.acts); diff != "" {
		t.Errorf("acts (-want +got):\n%s", diff)
	}
	w.err = gateway.Errorf(gateway.Conflict, "contract: this peer has rejected it")
	if status, body := w.call("beheer", http.MethodPost, "/contracten/"+string(c.Hash)+"/_accepteren", ""); status != http.StatusConflict {
		t.Errorf("conflict: got %d %s", status, body)
	}
	w.err = nil
	for path, want := range map[string]int{"/contracten/$1$1$x": 400, "/contracten/$1$1$" + strings.Repeat("A", 86): 404} {
		if status, body := w.call("beheer", http.MethodGet, path, ""); status != want {
			t.Errorf("%s: got %d %s, want %d", path, status, body, want)
		}
	}
}

func TestBadProposal(t *testing.T) {
	replace := func(old, with string) string {
		if !strings.Contains(voorstel, old) {
			t.Fatalf("no %s", old)
		}
		return strings.Replace(voorstel, old, with, 1)
	}
	for name, tc := range map[string]struct{ body, field string }{
		"purpose unknown":       {replace("pw-reintegratie", "pw-alles"), "grants[0].doel"},
		"purpose not offered":   {replace("pw-reintegratie", "handhaving-fraude"), "grants[0].doel"},
		"field not of purpose":  {replace("loopt", "bedrag"), "grants[0].velden"},
		"provider":              {replace(`"aanbieder":"00000099000000147000"`, `"aanbieder":"0147"`), "grants[0].aanbieder"},
		"key of another":        {replace(`"outwaySleutel":"`+thumbprint+`",`, ""), "grants[0].outwaySleutel"},
		"service":               {replace("clientgegevens", "a b"), "grants[0].service"},
		"college":               {replace(`"namensCollege":"00000099000000147000"`, `"namensCollege":"Borne"`), "grants[0].namensCollege"},
		"ends before it begins": {replace("2027-11-23", "2026-11-22"), "geldigTot"},
		"no grants":             {`{"geldigVanaf":"2026-11-23T00:00:00Z","geldigTot":"2027-11-23T00:00:00Z","grants":[]}`, "grants"},
		"fields, no purpose":    {replace(`"doel":"pw-reintegratie",`, ""), "grants[0].doel"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			status, body := w.call("beheer", http.MethodPost, "/contracten", tc.body)
			var p edge.Problem
			if err := json.Unmarshal([]byte(body), &p); err != nil || status != http.StatusBadRequest || len(p.InvalidParams) == 0 {
				t.Fatalf("got %d %s, want 400 with ongeldigeVelden", status, body)
			}
			if p.InvalidParams[0].Naam != tc.field || p.InvalidParams[0].Reden == "" {
				t.Errorf("got %v, want %s and a mend", p.InvalidParams, tc.field)
			}
			if len(w.acts) != 0 {
				t.Error("something was proposed")
			}
		})
	}
}

func TestConsent(t *testing.T) {
	w := newWorld(t)
	given := good[beheer.ToestemmingJSON](w, http.StatusCreated, "Toestemming", "beheer", http.MethodPost, "/toestemmingen", geef)
	if given.Toestand != "geldig" || given.GeregistreerdDoor != borne || given.DoelVersie != 1 || !strings.HasPrefix(string(given.Betrokkene), "v2.") {
		t.Errorf("given: got %+v", given)
	}
	found := good[beheer.ToestemmingenJSON](w, 200, "", "beheer", http.MethodPost, "/toestemmingen/_zoek", `{"bsn":"`+bsn+`"}`)
	if len(found.Toestemmingen) != 1 || found.Toestemmingen[0].ID != given.ID {
		t.Errorf("found: got %+v", found)
	}
	gone := good[beheer.ToestemmingJSON](w, 200, "Toestemming", "beheer", http.MethodPost, "/toestemmingen/"+given.ID+"/_intrekken", "")
	if gone.Toestand != "ingetrokken" || gone.Ingetrokken == nil {
		t.Errorf("withdrawn: got %+v", gone)
	}
	var handelingen []string
	for _, r := range w.audit.Records() {
		var b struct{ Handeling, Door, Object string }
		if err := json.Unmarshal(r.Body, &b); err != nil || r.Soort != audit.Beheer || !strings.HasPrefix(b.Door, "m2.") {
			t.Errorf("record %s %s", r.Soort, r.Body)
		}
		handelingen = append(handelingen, b.Handeling)
		if strings.Contains(string(r.Body), bsn) || strings.Contains(string(r.Body), "a.beheer") {
			t.Errorf("the record names a person: %s", r.Body)
		}
	}
	if diff := cmp.Diff([]string{"toestemming-gegeven", "toestemmingen-ingezien", "toestemming-ingetrokken"}, handelingen); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestConsentOfItsBeneficiaryIsVoorlopig(t *testing.T) {
	w := newWorld(t)
	own := strings.Replace(geef, `"kanaal"`, `"geregistreerdDoor":"00000099900000001000","kanaal"`, 1)
	given := good[beheer.ToestemmingJSON](w, http.StatusCreated, "Toestemming", "beheer", http.MethodPost, "/toestemmingen", own)
	if given.Toestand != "voorlopig" || given.Bevestigd != nil {
		t.Errorf("got %+v, want voorlopig", given)
	}
	after := good[beheer.ToestemmingJSON](w, 200, "Toestemming", "beheer", http.MethodPost, "/toestemmingen/"+given.ID+"/_bevestigen", "")
	if after.Toestand != "geldig" {
		t.Errorf("confirmed: got %s", after.Toestand)
	}
}

func TestBadConsent(t *testing.T) {
	for name, tc := range map[string]struct{ old, with, field string }{
		"eleven-test":      {bsn, "999993654", "bsn"},
		"not in demo":      {bsn, "123456782", "bsn"},
		"purpose unknown":  {"doorverwijzing-welzijn", "alles", "doel"},
		"law decides":      {"doorverwijzing-welzijn", "pw-uitkering", "doel"},
		"other kind":       {"avg-6-1-a", "beroepsgeheim", "soort"},
		"fields":           {`"kanaal"`, `"velden":{"persoon":["adres"]},"kanaal"`, "velden"},
		"recipient":        {"00000099900000001000", "uwi", "toestemming"},
		"giver":            {"zelf", "buurman", "toestemming"},
		"text":             {`"tekstversie":"welzijn-1",`, "", "tekstversie"},
		"ends in the past": {"2027-02-01", "2020-02-01", "toestemming"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			status, body := w.call("beheer", http.MethodPost, "/toestemmingen", strings.Replace(geef, tc.old, tc.with, 1))
			var p edge.Problem
			if err := json.Unmarshal([]byte(body), &p); err != nil || status != http.StatusBadRequest || len(p.InvalidParams) != 1 {
				t.Fatalf("got %d %s, want 400 with one of ongeldigeVelden", status, body)
			}
			if p.InvalidParams[0].Naam != tc.field {
				t.Errorf("got %v, want %s", p.InvalidParams, tc.field)
			}
			if strings.Contains(body, "99999365") || strings.Contains(body, "123456782") || len(w.acts)+len(w.audit.Records()) != 0 {
				t.Errorf("a BSN in %s, or an effect: %v", body, w.acts)
			}
		})
	}
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		good[beheer.ToestemmingJSON](w, http.StatusCreated, "", "beheer", http.MethodPost, "/toestemmingen", geef)
	}
	slices.SortFunc(w.consents, func(a, b toestemming.Toestemming) int { return strings.Compare(a.ID, b.ID) })
	first := good[beheer.ToestemmingenJSON](w, 200, "", "beheer", http.MethodGet, "/toestemmingen?aantal=2", "")
	last := good[beheer.ToestemmingenJSON](w, 200, "", "beheer", http.MethodGet, "/toestemmingen?aantal=2&na="+first.Volgende, "")
	if len(first.Toestemmingen) != 2 || len(last.Toestemmingen) != 1 || last.Volgende != "" {
		t.Errorf("pages of %d and %d, next %q; want 2, 1 and none", len(first.Toestemmingen), len(last.Toestemmingen), last.Volgende)
	}
	for _, query := range []string{"aantal=0", "aantal=1001", "na=x", "bsn=" + bsn, "aantal=1&aantal=2"} {
		if status, body := w.call("beheer", http.MethodGet, "/toestemmingen?"+query, ""); status != 400 || strings.Contains(body, bsn) {
			t.Errorf("%s: got %d %s, want 400", query, status, body)
		}
	}
}

// What can't be recorded does not happen, and is not answered; whatever the log then holds.
func TestRecordedBeforeItTakesEffect(t *testing.T) {
	disk := errors.New("disk full")
	for hook, set := range map[string]func(*audit.Memory){
		"failed":               func(m *audit.Memory) { m.Fail = func(audit.Record) error { return disk } },
		"failed but persisted": func(m *audit.Memory) { m.FailPersisted = func(audit.Record) error { return disk } },
	} {
		for _, tc := range []struct{ name, rol, method, path, body string }{
			{"give", "beheer", http.MethodPost, "/toestemmingen", geef},
			{"find", "beheer", http.MethodPost, "/toestemmingen/_zoek", `{"bsn":"` + bsn + `"}`},
			{"withdraw", "beheer", http.MethodPost, "/toestemmingen/%ID/_intrekken", ""},
			{"confirm", "beheer", http.MethodPost, "/toestemmingen/%ID/_bevestigen", ""},
			{"view", "privacy-officer", http.MethodGet, "/transacties/" + transactie, ""},
		} {
			t.Run(hook+"/"+tc.name, func(t *testing.T) {
				w := newWorld(t)
				given := good[beheer.ToestemmingJSON](w, http.StatusCreated, "", "beheer", http.MethodPost, "/toestemmingen", geef)
				before := slices.Clone(w.acts)
				set(w.audit)
				status, body := w.call(tc.rol, tc.method, strings.Replace(tc.path, "%ID", given.ID, 1), tc.body)
				if status != http.StatusServiceUnavailable || strings.Contains(body, "betrokkene") {
					t.Errorf("got %d %s, want 503 and nothing shown", status, body)
				}
				if diff := cmp.Diff(before, w.acts); diff != "" {
					t.Errorf("it took effect:\n%s", diff)
				}
			})
		}
	}
}

func TestTransaction(t *testing.T) {
	w := newWorld(t)
	at := func(seconds int) time.Time { return now.Add(time.Duration(seconds) * time.Second) }
	first, second := audit.NewAfloop(at(1), audit.Outcome{Transactie: transactie}), audit.NewAfloop(at(2), audit.Outcome{Transactie: transactie})
	w.records = []audit.Record{second, first, second}
	got := good[beheer.TransactieJSON](w, 200, "Transactie", "privacy-officer", http.MethodGet, "/transacties/"+transactie, "")
	if len(got.Vastleggingen) != 2 || got.Vastleggingen[0].ID != first.ID || got.Vastleggingen[1].ID != second.ID || got.Peer.OIN != borne {
		t.Errorf("got %+v, want both once, by time", got)
	}
	records := w.audit.Records()
	if len(records) != 1 || !strings.Contains(string(records[0].Body), "transactie-ingezien") || !strings.Contains(string(records[0].Body), transactie) {
		t.Errorf("records: got %v, want that somebody looked", records)
	}
	if status, _ := w.call("privacy-officer", http.MethodGet, "/transacties/"+strings.ToUpper(transactie), ""); status != 400 {
		t.Errorf("bad id: got %d, want 400", status)
	}
	w.err = errors.New("broker down")
	if status, body := w.call("privacy-officer", http.MethodGet, "/transacties/"+transactie, ""); status != 503 || strings.Contains(body, "broker") {
		t.Errorf("reader down: got %d %s, want 503: not being able to read is not having nothing", status, body)
	}
}
