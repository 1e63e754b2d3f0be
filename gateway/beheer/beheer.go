// Package beheer is the peer's own administration API: contracts, consents (toestemmingen), reports of doubtful fields that were made
// to this peer (terugmeldingen), the register of contact persons, and reading what the audit log says of
// one transaction. The command line and the console call it, on the own network, with a JWT.
//
// It owns who may do what: the role beheer for contracts and consents, privacy-officer for the log and for reading contracts;
// without the role nothing. It decides nothing about contracts itself: the manager does. A BSN comes in only in the body of a
// question, is kept as a pseudonym, and is in no answer, address or record. The paths are in schemas/beheer.openapi.yaml (API
// Design Rules 2.2.1).
//
// Invariants a reviewer must keep: every act, reading the log included, is an audit record (beheer) before it takes effect or is
// answered; when it can't be recorded, it does not happen. A consent is registered for a purpose that rests on consent only:
// asking it where the law decides would suggest a choice that is not there.
package beheer

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/toestemming"
	"github.com/grensloos/grensloos/policies"
	"github.com/grensloos/grensloos/schemas"
)

// Version is the version of this API (schemas/beheer.openapi.yaml).
const Version = "1.0.0"

// The roles that a caller's JWT may have here.
const (
	RolBeheer         = "beheer"
	RolPrivacyOfficer = "privacy-officer"
)

const maxBody = 256 << 10 // bytes of a request

// contracts reads the contracts of this peer, newest first.
type contracts interface {
	List(ctx context.Context) ([]contract.Summary, error)
	Show(ctx context.Context, hash gateway.ContentHash) (contract.Detail, error)
}

// proposer signs and offers a new contract, and records who did it before it takes effect.
type proposer interface {
	Propose(ctx context.Context, n contract.NewContent, door string) (gateway.ContentHash, error)
}

// signer signs what was proposed, and records who did it before it takes effect.
type signer interface {
	Accept(ctx context.Context, hash gateway.ContentHash, door string) error
	Reject(ctx context.Context, hash gateway.ContentHash, door string) error
	Revoke(ctx context.Context, hash gateway.ContentHash, door string) error
}

// register changes the consents of this peer; it records nothing.
type register interface {
	Geef(ctx context.Context, t toestemming.Toestemming) error
	TrekIn(ctx context.Context, id string, at time.Time) error
	Bevestig(ctx context.Context, id string, at time.Time) error
}

// consents reads them: one, those of one person (by all its pseudonyms), and all in pages, oldest id first.
type consents interface {
	Toestemming(ctx context.Context, id string) (toestemming.Toestemming, error)
	ToestemmingenVan(ctx context.Context, person []gateway.Pseudonym) ([]toestemming.Toestemming, error)
	AlleToestemmingen(ctx context.Context, after string, limit int) ([]toestemming.Toestemming, error)
}

// records reads the audit log: all records under one transaction, each once.
type records interface {
	Transaction(ctx context.Context, id gateway.TransactionID) ([]audit.Record, error)
}

// Handler serves the API. Every field is needed, but Meldingen, Contacten and Now.
type Handler struct {
	Self gateway.Peer
	// Sleutel is the public-key thumbprint of our own outway: what a proposal in which we ask names.
	Sleutel       func(context.Context) (string, error)
	Auth          *edge.Verifier   // callers of the own network
	Contracten    contracts        // the manager
	Voorstel      proposer         // the manager
	Ondertekening signer           // the manager
	Vernieuwing   renewer          // the manager
	Groep         directory        // the manager
	Deelname      membership       // the manager
	Register      register         // the store
	Toestemmingen consents         // the store
	Records       records          // the reader of the audit stream
	Volgen        follower         // the records of this peer as they are kept
	Gezondheid    health           // how this peer is doing
	Meldingen     reports          // the store; nil: this peer takes no terugmeldingen
	Contacten     contacts         // the store; nil: this peer keeps no register of contact persons
	Policy        *policies.Engine // for the catalogue
	Audit         audit.Log
	Pseudonyms    gateway.PseudonymKeys
	Demo          bool             // only fictitious persons
	Now           func() time.Time // default time.Now
}

// Router is the API with all its paths. The error names a dependency that is missing.
func (h *Handler) Router() (http.Handler, error) {
	for name, missing := range map[string]bool{
		"Self": h.Self.ID == "", "Sleutel": h.Sleutel == nil, "Auth": h.Auth == nil, "Contracten": h.Contracten == nil,
		"Vernieuwing": h.Vernieuwing == nil, "Groep": h.Groep == nil, "Deelname": h.Deelname == nil,
		"Voorstel": h.Voorstel == nil, "Ondertekening": h.Ondertekening == nil, "Register": h.Register == nil,
		"Toestemmingen": h.Toestemmingen == nil, "Records": h.Records == nil, "Policy": h.Policy == nil, "Audit": h.Audit == nil,
		"Volgen": h.Volgen == nil, "Gezondheid": h.Gezondheid == nil,
	} {
		if missing {
			return nil, gateway.Errorf(gateway.Internal, "beheer: %s is not given", name)
		}
	}
	doc, err := openapi()
	if err != nil {
		return nil, err
	}
	router := edge.NewRouter(Version)
	router.HandleFunc("/v1/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		_, _ = w.Write(doc)
	}).Methods(http.MethodGet)
	for _, e := range slices.Concat(h.endpoints(), h.reportEndpoints(), h.contactEndpoints()) {
		router.Handle("/v1"+e.path, edge.AcceptJSON(h.Auth.Require(e.rollen...)(e.serve))).Methods(e.method)
	}
	router.Handle("/v1/vastleggingen", h.Auth.Require(RolPrivacyOfficer)(http.HandlerFunc(h.followRecords))).Methods(http.MethodGet)
	return router, nil
}

type endpoint struct {
	method, path string
	rollen       []string
	serve        http.HandlerFunc
}

// endpoints is the whole API with who may use it: nothing is reachable that has no role here.
func (h *Handler) endpoints() []endpoint {
	beheer, lezen, inzien := []string{RolBeheer}, []string{RolBeheer, RolPrivacyOfficer}, []string{RolPrivacyOfficer}
	return []endpoint{
		{http.MethodGet, "/contracten", lezen, h.listContracts},
		{http.MethodPost, "/contracten", beheer, h.propose},
		{http.MethodGet, "/contracten/{hash}", lezen, h.showContract},
		{http.MethodPost, "/contracten/{hash}/_accepteren", beheer, h.sign(h.Ondertekening.Accept)},
		{http.MethodPost, "/contracten/{hash}/_weigeren", beheer, h.sign(h.Ondertekening.Reject)},
		{http.MethodPost, "/contracten/{hash}/_intrekken", beheer, h.sign(h.Ondertekening.Revoke)},
		{http.MethodPost, "/contracten/{hash}/_vernieuwen", beheer, h.renew},
		{http.MethodGet, "/contracten/{hash}/verschil", lezen, h.showDiff},
		{http.MethodGet, "/groep", lezen, h.showGroup},
		{http.MethodPost, "/groep/_hervatten", beheer, h.member(h.Deelname.Rejoin)},
		{http.MethodPost, "/groep/_verlaten", beheer, h.member(h.Deelname.Leave)},
		{http.MethodGet, "/peers", lezen, h.listPeers},
		{http.MethodGet, "/services", lezen, h.listServices},
		{http.MethodGet, "/toestemmingen", beheer, h.listConsents},
		{http.MethodPost, "/toestemmingen", beheer, h.giveConsent},
		{http.MethodPost, "/toestemmingen/_zoek", beheer, h.findConsents},
		{http.MethodPost, "/toestemmingen/{id}/_bevestigen", beheer, h.changeConsent("toestemming-bevestigd", h.Register.Bevestig)},
		{http.MethodPost, "/toestemmingen/{id}/_intrekken", beheer, h.changeConsent("toestemming-ingetrokken", h.Register.TrekIn)},
		{http.MethodGet, "/transacties/{id}", inzien, h.showTransaction},
		{http.MethodGet, "/gezondheid", beheer, h.showHealth},
	}
}

// openapi is the API's document as JSON; it is embedded, and converted once.
var openapi = sync.OnceValues(func() ([]byte, error) {
	raw, err := schemas.FS.ReadFile("beheer.openapi.yaml")
	if err != nil {
		return nil, err
	}
	return yaml.YAMLToJSON(raw)
})

func (h *Handler) now() time.Time {
	if h.Now == nil {
		return time.Now()
	}
	return h.Now()
}

// door is the caller as the audit log knows it.
func (h *Handler) door(ctx context.Context) string {
	caller, ok := edge.CallerOf(ctx)
	if !ok {
		panic("beheer: an endpoint without a verified caller")
	}
	return h.Pseudonyms.Worker(caller.Subject)
}

// record makes an act durable before it takes effect. After an error it must not take effect.
func (h *Handler) record(ctx context.Context, handeling, object string, details map[string]string) error {
	err := h.Audit.Append(ctx, audit.NewBeheer(h.now(), audit.Act{
		Handeling: handeling, Door: h.door(ctx), Object: object, Details: details,
	}))
	return gateway.Wrap(gateway.Unavailable, err, "vastlegging: deze handeling kon niet worden vastgelegd en is niet gedaan")
}

// problems collects all that is wrong with a request, so that one round mends it.
type problems []edge.InvalidParam

func (p *problems) add(field, mend string) {
	*p = append(*p, edge.InvalidParam{Naam: field, Reden: mend})
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return &edge.Problem{
		Title: "Ongeldig verzoek", Status: http.StatusBadRequest, Code: "ongeldig", InvalidParams: p,
		Detail: p[0].Naam + ": " + p[0].Reden,
	}
}
