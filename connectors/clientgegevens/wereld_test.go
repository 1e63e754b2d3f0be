package clientgegevens_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/connectors/clientgegevens"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/toestemming"
	"github.com/grensloos/grensloos/gateway/verklaring"
	"github.com/grensloos/grensloos/policies"
	"github.com/grensloos/grensloos/schemas"
)

const (
	borne = gateway.PeerID("00000099000000147000")
	uwi   = gateway.PeerID("00000099900000001000")
	ander = gateway.PeerID("00000099000000164000")
	group = gateway.GroupID("proef.example")

	bekend   = "999990019"
	geheim   = "999990020"
	onbekend = "999990032"
	dubbel   = "999990044"
)

var nu = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// wereld is a gemeente with the service and one asker, without a network.
type wereld struct {
	t         *testing.T
	h         *clientgegevens.Handler
	log       *audit.Memory
	bron      *bron
	register  *register
	admitted  map[gateway.TransactionID]gateway.GrantHash
	grants    map[gateway.GrantHash]gateway.Grant
	gemeente  *jose.Signer
	vrager    *jose.Signer
	operator  *bytes.Buffer
	onderzoek gateway.Grant // pw-reintegratie, namens
}

func nieuw(t *testing.T) *wereld {
	t.Helper()
	w := &wereld{
		t: t, log: &audit.Memory{Validate: true}, bron: nieuweBron(), register: &register{}, operator: &bytes.Buffer{},
		admitted: map[gateway.TransactionID]gateway.GrantHash{}, grants: map[gateway.GrantHash]gateway.Grant{},
		gemeente: signer(t, borne, "Borne"), vrager: signer(t, uwi, "Uitvoering Midden-Twente"),
	}
	keys, err := gateway.NewPseudonymKeys(map[int][]byte{1: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	tokens := accesstoken.NewVerifier(borne, group, func(x5t string) (*x509.Certificate, bool) {
		return w.gemeente.Cert, x5t == jose.Thumbprint(w.gemeente.Cert)
	}, func() time.Time { return nu })
	w.h = &clientgegevens.Handler{
		Self: gateway.Peer{ID: borne, Name: "Borne"}, Tokens: tokens, Grants: w, Transacties: w, Policy: engine(), Toestemmingen: w.register,
		Audit: w.log, Sign: signs(w.gemeente, verklaring.VoorKwitantie, nu), Pseudonyms: keys, Bron: w.bron, Now: func() time.Time { return nu }, Timeout: 5 * time.Second,
		Log: slog.New(slog.NewTextHandler(w.operator, nil)),
	}
	w.onderzoek = w.grant("pw-reintegratie", borne)
	return w
}

var engine = sync.OnceValue(func() *policies.Engine {
	e, err := policies.New(context.Background(), policies.Options{Now: func() time.Time { return nu }})
	if err != nil {
		panic(err)
	}
	return e
})

// signs makes statements of one use and moment, by a key that s certifies.
func signs(s *jose.Signer, g verklaring.Gebruik, at time.Time) *verklaring.Signer {
	return verklaring.NewSigner(func() *jose.Signer { return s }, g, func() time.Time { return at })
}

func signer(t *testing.T, id gateway.PeerID, name string) *jose.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{SerialNumber: string(id), Organization: []string{name}},
		DNSNames: []string{"localhost"}, NotBefore: nu.Add(-time.Hour), NotAfter: nu.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &jose.Signer{Key: key, Cert: cert}
}

// grant makes a grant for a purpose, valid now.
func (w *wereld) grant(doel gateway.Doel, namens gateway.PeerID) gateway.Grant {
	w.t.Helper()
	props, err := w.h.Policy.Session().Catalogue().Properties(doel, nu, namens)
	if err != nil {
		w.t.Fatal(err)
	}
	raw, err := json.Marshal(props)
	if err != nil {
		w.t.Fatal(err)
	}
	g := gateway.Grant{
		Hash: gateway.GrantHash("$1$4$" + string(doel)), Type: gateway.ServiceConnection, Outway: uwi, ServicePeer: borne,
		Service: clientgegevens.Service, NotBefore: nu.Add(-time.Hour), NotAfter: nu.Add(time.Hour), Properties: props, RawProperties: raw,
	}
	w.grants[g.Hash] = g
	return g
}

func (w *wereld) Grant(_ context.Context, hash gateway.GrantHash) (gateway.Grant, error) {
	g, ok := w.grants[hash]
	if !ok {
		return g, gateway.Errorf(gateway.NotFound, "grant: not known")
	}
	return g, nil
}

func (w *wereld) Admitted(id gateway.TransactionID, hash gateway.GrantHash) bool {
	got, ok := w.admitted[id]
	return ok && got == hash
}

// verzoek is a request as the inway passes it on; every part can be bent.
type verzoek struct {
	grant      gateway.Grant
	zaaktype   string
	body       string
	signedBody string // what the verklaring is about, if not body
	path       string
	header     func(http.Header)
	token      func(*accesstoken.Claims)
	tokenBy    *jose.Signer
	verklaring func(*verklaring.Verklaring)
	client     *jose.Signer
	noTLS      bool
	noInway    bool
	id         gateway.TransactionID
	ctx        context.Context
}

func (w *wereld) vraag(body string) verzoek {
	return verzoek{grant: w.onderzoek, zaaktype: "pw-reintegratietraject", body: body}
}

func (w *wereld) doe(v verzoek) *httptest.ResponseRecorder {
	w.t.Helper()
	if v.client == nil {
		v.client = w.vrager
	}
	if v.tokenBy == nil {
		v.tokenBy = w.gemeente
	}
	if v.path == "" {
		v.path = "/v1/clienten/_zoek"
	}
	if v.id == "" {
		v.id = gateway.NewTransactionID(nu)
	}
	if v.signedBody == "" {
		v.signedBody = v.body
	}
	if !v.noInway {
		w.admitted[v.id] = v.grant.Hash
	}
	claims := accesstoken.For(v.grant, accesstoken.Terms{
		Group: group, Audience: "https://localhost:8443", Cnf: jose.Thumbprint(w.vrager.Cert), Now: nu, TTL: time.Minute,
	})
	if v.token != nil {
		v.token(&claims)
	}
	token, err := accesstoken.Mint(v.tokenBy, claims)
	if err != nil {
		w.t.Fatal(err)
	}
	statement := verklaring.Verklaring{
		Issuer: uwi, Audience: borne, Subject: "m1.worker", NamensCollege: v.grant.Properties.NamensCollege, GrantHash: v.grant.Hash,
		Doel: v.grant.Properties.Doel, DoelDigest: v.grant.Properties.DoelDigest, Zaak: "Z-1", Zaaktype: v.zaaktype, Grond: gateway.GrondZaak,
		Rollen: []string{"klantmanager"}, Transactie: v.id, IssuedAt: nu, Expires: nu.Add(30 * time.Second), Method: http.MethodPost,
		Target: v.path, BodyDigest: verklaring.Digest([]byte(v.signedBody)),
	}
	if v.verklaring != nil {
		v.verklaring(&statement)
	}
	signed, err := verklaring.Sign(signs(w.vrager, verklaring.VoorVerklaring, statement.IssuedAt), statement)
	if err != nil {
		w.t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(context.WithoutCancel(w.t.Context()), http.MethodPost, v.path, strings.NewReader(v.body))
	if v.ctx != nil {
		r = r.WithContext(v.ctx)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Fsc-Authorization", "Bearer "+token)
	r.Header.Set("Fsc-Transaction-Id", string(v.id))
	r.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	r.Header.Set(verklaring.Header, signed)
	if v.header != nil {
		v.header(r.Header)
	}
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{v.client.Cert}}
	if v.noTLS {
		r.TLS = nil
	}
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, r)
	valideer(w.t, r, rec)
	return rec
}

// document is the API that every answer of every test is held to.
var document = sync.OnceValue(func() routers.Router {
	raw, err := schemas.FS.ReadFile("clientgegevens.openapi.yaml")
	if err != nil {
		panic(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	if err != nil {
		panic(err)
	}
	if err := doc.Validate(context.Background(), openapi3.EnableExamplesValidation()); err != nil {
		panic(err)
	}
	doc.Servers = openapi3.Servers{{URL: "/v1"}}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		panic(err)
	}
	return router
})

// valideer holds an answer to the OpenAPI document.
func valideer(t *testing.T, r *http.Request, rec *httptest.ResponseRecorder) {
	t.Helper()
	if err := past(r, rec.Code, rec.Header(), rec.Body.Bytes()); err != nil {
		t.Errorf("the answer is not what the OpenAPI document promises: %v\n%s", err, rec.Body)
	}
}

func past(r *http.Request, status int, header http.Header, body []byte) error {
	route, params, err := document().FindRoute(r)
	if err != nil {
		return err
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route},
		Status:                 status, Header: header, Body: io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	})
}

// antwoord is what an asker reads.
type antwoord struct {
	Transactie gateway.TransactionID
	Doel       gateway.Doel
	DoelVersie int
	Geheim     bool
	Diensten   []struct {
		Dienst    gateway.Dienst
		Uitkomst  string
		Reden     *struct{ Code, Tekst string }
		Bron      string
		Grondslag string
		Rijen     []struct {
			Peildatum string
			Waarden   map[gateway.Veld]any
		}
		Onthouden []struct {
			Velden []gateway.Veld
			Reden  struct{ Code, Tekst string }
		}
	}
}

func lees(t *testing.T, rec *httptest.ResponseRecorder) antwoord {
	t.Helper()
	var a antwoord
	if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil || rec.Code != http.StatusOK {
		t.Fatalf("got status %d, error %v\n%s", rec.Code, err, rec.Body)
	}
	return a
}

// code is the code of a problem.
func code(rec *httptest.ResponseRecorder) string {
	var p struct{ Code string }
	_ = json.Unmarshal(rec.Body.Bytes(), &p)
	return p.Code
}

// bron is a source in memory with failure hooks; it keeps what it was asked.
type bron struct {
	personen map[string]persoon
	sleutel  error                    // fails the first read
	lees     map[gateway.Dienst]error // fails the second read of a dienst
	gelezen  func(dienst gateway.Dienst, velden []gateway.Veld)

	mu     sync.Mutex
	vragen []string // "sleutel geheimhouding", "persoon naam bsn" ...
}

type persoon struct {
	geheim   bool
	geboren  time.Time
	diensten map[gateway.Dienst][]map[gateway.Veld]connectors.Waarde
}

func nieuweBron() *bron {
	type rij = map[gateway.Veld]connectors.Waarde
	volwassen := time.Date(1985, 12, 1, 0, 0, 0, 0, time.UTC)
	return &bron{lees: map[gateway.Dienst]error{}, personen: map[string]persoon{
		bekend: {geboren: volwassen, diensten: map[gateway.Dienst][]rij{
			"persoon": {{"bsn": bekend, "naam": "Suzanne Moulin", "geboortedatum": "1985-12-01", "adres": map[string]string{"straat": "Marktstraat", "huisnummer": "1"}, "telefoon": "074", "email": nil}},
			"uitkering": {
				{"loopt": true, "soort": "algemene-bijstand", "ingangsdatum": "2024-03-01", "einddatum": nil, "bedrag": "1234.56"},
				{"loopt": false, "soort": "ioaw", "ingangsdatum": "2020", "einddatum": "2021-12-31", "bedrag": "0.05"},
			},
		}},
		geheim: {geheim: true, geboren: volwassen, diensten: map[gateway.Dienst][]rij{
			"persoon": {{"bsn": geheim, "naam": "O. Niet-Vindbaar", "geboortedatum": "1985", "adres": nil, "telefoon": "06", "email": nil}},
		}},
	}}
}

func (b *bron) Diensten() gateway.Velden {
	out := gateway.Velden{}
	for dienst, d := range connectors.Gemeenschappelijk().Diensten {
		for veld := range d.Velden {
			out[dienst] = append(out[dienst], veld)
		}
	}
	return out
}

func (b *bron) noteer(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.vragen = append(b.vragen, s)
}

func (b *bron) Sleutel(ctx context.Context, bsn gateway.BSN, attrs []connectors.Attribuut) (connectors.Sleutel, error) {
	b.noteer(strings.TrimSpace("sleutel " + woorden(attrs)))
	p, ok := b.personen[bsn.Reveal()]
	switch {
	case ctx.Err() != nil:
		return connectors.Sleutel{}, gateway.WithCode(gateway.Unavailable, connectors.CodeOnbereikbaar, "source: stopped")
	case b.sleutel != nil:
		return connectors.Sleutel{}, b.sleutel
	case bsn.Reveal() == dubbel:
		return connectors.Sleutel{}, gateway.WithCode(gateway.Unavailable, connectors.CodeMeerduidig, "source persoon: tabel geheim_x: several")
	case !ok:
		return connectors.Sleutel{}, connectors.ErrGeenGegevens
	}
	k := connectors.Sleutel{BSN: bsn, Intern: bsn.Reveal()}
	if slices.Contains(attrs, connectors.Geheimhouding) {
		k.Geheimhouding = p.geheim
	}
	if slices.Contains(attrs, connectors.Geboortedatum) {
		k.Geboren = p.geboren
	}
	return k, nil
}

func (b *bron) Lees(ctx context.Context, s connectors.Sleutel, dienst gateway.Dienst, velden []gateway.Veld) (connectors.Gegevens, error) {
	b.noteer(string(dienst) + " " + woorden(velden))
	if b.gelezen != nil {
		b.gelezen(dienst, velden)
	}
	if err := b.lees[dienst]; err != nil {
		return connectors.Gegevens{}, err
	}
	if ctx.Err() != nil {
		return connectors.Gegevens{}, gateway.WithCode(gateway.Unavailable, connectors.CodeOnbereikbaar, "source: stopped")
	}
	out := connectors.Gegevens{Bron: "proefbron"}
	for _, row := range b.personen[s.BSN.Reveal()].diensten[dienst] {
		out.Rijen = append(out.Rijen, connectors.Rij{Waarden: row, Peildatum: nu}) // more than asked: it must not leave
	}
	return out, nil
}

func (b *bron) Check(context.Context) ([]connectors.Bevinding, error) { return nil, nil }
func (b *bron) Close() error                                          { return nil }

func woorden[T ~string](all []T) string {
	var s []string
	for _, a := range all {
		s = append(s, string(a))
	}
	slices.Sort(s)
	return strings.Join(s, " ")
}

// register is a register of consents in memory.
type register struct {
	alle  []toestemming.Toestemming
	fout  error
	vraag int
}

func (r *register) Toestemmingen(_ context.Context, betrokkene []gateway.Pseudonym, doel gateway.Doel) ([]toestemming.Toestemming, error) {
	r.vraag++
	if r.fout != nil {
		return nil, r.fout
	}
	var out []toestemming.Toestemming
	for _, t := range r.alle {
		if slices.Contains(betrokkene, t.Betrokkene) && t.Doel == doel {
			out = append(out, t)
		}
	}
	return out, nil
}

// geef registers a consent of a person for a purpose.
func (w *wereld) geef(bsn string, doel gateway.Doel, ontvanger gateway.PeerID, bend func(*toestemming.Toestemming)) {
	w.t.Helper()
	b, err := gateway.ParseBSN(bsn)
	if err != nil {
		w.t.Fatal(err)
	}
	entry, _ := w.h.Policy.Session().Entry(doel, nu)
	c, err := toestemming.New(toestemming.Toestemming{
		Betrokkene: w.h.Pseudonyms.Pseudonym(b), Soort: toestemming.Soort(entry.Toestemming.Soort), Doel: doel, DoelVersie: entry.Versie,
		Ontvanger: ontvanger, GegevenDoor: "zelf", GeregistreerdDoor: borne, Gegeven: nu.Add(-time.Hour), GeldigTot: nu.Add(24 * time.Hour),
	}, nu)
	if err != nil {
		w.t.Fatal(err)
	}
	if bend != nil {
		bend(&c)
	}
	w.register.alle = append(w.register.alle, c)
}

var errKapot = errors.New("kapot")

func get(t *testing.T, path string) (*http.Request, *httptest.ResponseRecorder) {
	t.Helper()
	return httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil), httptest.NewRecorder()
}
