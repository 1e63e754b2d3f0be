// Package bevraging asks on behalf of the applications of this peer: one question about one person, for one purpose (doel), to the
// gemeenten that it concerns. It owns the choice of the grant (choosing a purpose is choosing a grant: the one whose signed
// properties.doel is this purpose) and the account of completeness: per gemeente and dienst what was answered, and what not.
//
// It refuses a question that is not well formed before anything is sent. Without a grant it sends nothing, not even a request for
// a token: it records the denial (ADL 1.0.0, reason geen-contract) and says niet-gevraagd. It decides nothing else: the outway
// does, behind an http.RoundTripper. It keeps nothing but that record. The answers are in schemas/bevraging.openapi.yaml.
//
// Invariants a reviewer must keep: an answer of a gemeente that can't be read in full, or that contradicts itself, becomes a named
// failure, never an empty answer; only beantwoord and geen-gegevens say something about the person; no BSN in an error or in a log.
package bevraging

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/policies"
	"github.com/grensloos/grensloos/schemas"
)

// Version is the version of this API (schemas/bevraging.openapi.yaml).
const Version = "1.0.0"

const (
	maxVraag       = 64 << 10         // bytes of a question
	defaultTimeout = 20 * time.Second // of all gemeenten of one question
	defaultService = gateway.ServiceName("clientgegevens")
)

// Gemeente is a peer that can be asked.
type Gemeente struct {
	ID   gateway.PeerID
	Naam string
	Code string // gemeentecode of table 33: four digits; may be empty
}

// grants knows the contracts: all grants valid now in which this peer is the outway.
type grants interface {
	Grants(ctx context.Context, keep func(gateway.Grant) bool) ([]gateway.Grant, error)
}

// Handler serves POST /v1/bevragingen.
type Handler struct {
	Self       gateway.Peer
	Auth       *edge.Verifier        // who may ask; what a role may ask is the policy's to say, at the outway
	Grants     grants                // the manager of this peer
	Outway     http.RoundTripper     // the outway, in the process or over HTTPS
	OutwayURL  string                // where Outway is; default "https://outway", enough for one in the process
	Policy     *policies.Engine      // for the catalogue and the revision that a denial is recorded under
	Audit      audit.Log             // for the denial geen-contract
	Pseudonyms gateway.PseudonymKeys // of this peer
	Gemeenten  []Gemeente            // whom this peer knows
	Service    gateway.ServiceName   // default clientgegevens
	Demo       bool                  // only fictitious persons
	Timeout    time.Duration         // of one question; default 20 s
	Now        func() time.Time      // default time.Now
	Log        *slog.Logger          // for the operator; gets no question and no answer
}

// Router is the API with all its paths. The error names a dependency that is missing.
func (h *Handler) Router() (http.Handler, error) {
	for name, missing := range map[string]bool{
		"Self": h.Self.ID == "", "Auth": h.Auth == nil, "Grants": h.Grants == nil, "Outway": h.Outway == nil,
		"Policy": h.Policy == nil, "Audit": h.Audit == nil,
	} {
		if missing {
			return nil, gateway.Errorf(gateway.Internal, "bevraging: %s is not given", name)
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
	router.Handle("/v1/bevragingen", edge.AcceptJSON(h.Auth.Require()(http.HandlerFunc(h.bevraag)))).Methods(http.MethodPost)
	return router, nil
}

// openapi is the API's document as JSON; it is embedded, and converted once.
var openapi = sync.OnceValues(func() ([]byte, error) {
	raw, err := schemas.FS.ReadFile("bevraging.openapi.yaml")
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

func (h *Handler) service() gateway.ServiceName {
	if h.Service == "" {
		return defaultService
	}
	return h.Service
}

func (h *Handler) timeout() time.Duration {
	if h.Timeout <= 0 {
		return defaultTimeout
	}
	return h.Timeout
}

// bevraag answers one question. One policy revision serves it from validation to record.
func (h *Handler) bevraag(w http.ResponseWriter, r *http.Request) {
	caller, ok := edge.CallerOf(r.Context())
	if !ok {
		edge.WriteProblem(w, r, gateway.Errorf(gateway.Internal, "bevraging: no caller"))
		return
	}
	var in invoer
	if err := edge.DecodeJSON(w, r, maxVraag, &in); err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	session := h.Policy.Session()
	now := h.now()
	v, err := h.lees(in, session, now)
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.timeout())
	defer cancel()
	part, err := h.vraagGemeente(ctx, question{vraag: *v, caller: caller, session: session, trace: edge.TraceFrom(r).Child(), at: now})
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	edge.WriteJSON(w, r, http.StatusOK, Antwoord{
		Doel: v.Doel, Zaak: v.Zaak, GevraagdOp: now.UTC().Truncate(time.Second), Volledig: part.volledig(), Gemeenten: []GemeenteAntwoord{*part},
	})
}

// question is one question on its way to one gemeente.
type question struct {
	vraag
	caller  edge.Caller
	session *policies.Session
	trace   gateway.Trace
	at      time.Time
}

// vraagGemeente asks one gemeente. An error means that the question could not be handled here at all: nothing was sent, or it
// could not be recorded that nothing was.
func (h *Handler) vraagGemeente(ctx context.Context, q question) (*GemeenteAntwoord, error) {
	grant, err := h.grant(ctx, q)
	if err != nil {
		return nil, err
	}
	switch {
	case !q.aangeboden:
		return h.nietGevraagd(ctx, q, gateway.DoelNietAangeboden)
	case grant == nil:
		return h.nietGevraagd(ctx, q, gateway.GeenContract)
	}
	if !q.genoemd { // a question that names its fields asks them all: the policy says which are withheld
		asked := q.velden.Beperk(grant.Properties.Velden)
		if len(asked) == 0 {
			return h.nietGevraagd(ctx, q, gateway.DoelGewijzigd)
		}
		q.velden = asked
	}
	return h.stuur(ctx, q, *grant), nil
}

// grant picks the grant for the question's purpose at its gemeente: of several, the one that began last. nil: there is none.
func (h *Handler) grant(ctx context.Context, q question) (*gateway.Grant, error) {
	found, err := h.Grants.Grants(ctx, func(g gateway.Grant) bool {
		return g.Outway == h.Self.ID && g.ServicePeer == q.gemeente.ID && g.Service == h.service() && g.Properties.Doel == q.Doel
	})
	if err != nil {
		return nil, gateway.Wrap(gateway.Unavailable, err, "contracten")
	}
	var best *gateway.Grant
	for i := range found {
		g := &found[i]
		if best == nil || g.NotBefore.After(best.NotBefore) || g.NotBefore.Equal(best.NotBefore) && g.Hash < best.Hash {
			best = g
		}
	}
	return best, nil
}

// nietGevraagd records that this question is denied here, before it is said. Nothing is sent.
func (h *Handler) nietGevraagd(ctx context.Context, q question, reason gateway.Reason) (*GemeenteAntwoord, error) {
	id := gateway.NewTransactionID(h.now())
	items := make([]audit.EvaluationItem, 0, len(q.velden))
	for _, dienst := range q.velden.Diensten() {
		items = append(items, audit.EvaluationItem{
			Subject: audit.Entity{Type: "medewerker", ID: h.Pseudonyms.Worker(q.caller.Subject), Properties: map[string]any{
				"oin": h.Self.ID, "rol": q.caller.Rollen,
			}},
			Action: audit.Action{Name: "bevragen"},
			Resource: audit.Entity{Type: string(dienst), ID: string(h.Pseudonyms.Pseudonym(q.BSN)), Properties: map[string]any{
				"bronOin": q.gemeente.ID, "velden": q.velden[dienst],
			}},
			Context: map[string]any{"doel": q.Doel, "zaak": q.Zaak, "zaaktype": q.Zaaktype},
			Dienst:  dienst,
		})
	}
	err := h.Audit.Append(ctx, audit.NewADL(h.now(), audit.Evaluation{
		Transactie: id,
		Lokaal:     true,
		Trace:      q.trace,
		Producent:  h.Self.ID,
		Rol:        "bevraging",
		Vragen:     items,
		Decision:   gateway.Decision{Reasons: []gateway.Reason{reason}, Rule: "bevraging/" + string(reason), Revision: q.session.Revision()},
		Betrokkene: h.Pseudonyms.Pseudonym(q.BSN),
	}))
	if err != nil {
		return nil, gateway.Wrap(gateway.Unavailable, err, "vastlegging")
	}
	part := q.antwoord(id)
	part.alle(NietGevraagd, Reden{Code: string(reason), Tekst: policies.Text(reason)})
	return part, nil
}

// marshalVraag is the body that the gemeente gets: the person and the fields, nothing else. All that says who asks and why travels
// in what is signed.
func (q question) marshalVraag() ([]byte, error) {
	return json.Marshal(struct {
		BSN    string         `json:"bsn"`
		Velden gateway.Velden `json:"velden"`
	}{q.BSN.Reveal(), q.velden})
}
