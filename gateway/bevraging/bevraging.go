// Package bevraging asks on behalf of the applications of this peer: one question about one person, for one purpose (doel), to the
// gemeenten that it concerns. It owns how far a question reaches (the purpose's reikwijdte) and the ground (grond) on which each
// gemeente is asked, since asking is already a disclosure; the choice of the grant of each (choosing a purpose is choosing a grant:
// the one whose signed properties.doel is this purpose); and the account of completeness: per gemeente and dienst what was
// answered, and what not. All are asked at once and none waits for another; the answer is one document, or a stream.
//
// It refuses a question that is not well formed before anything is sent. Where there is no grant, or no ground, it sends nothing,
// not even a request for a token: it records the denial (ADL 1.0.0) and says niet-gevraagd. It decides nothing else: the outway
// does, behind an http.RoundTripper. It keeps nothing but that record, and the reports of doubtful fields that its users make
// (terugmelding.go). The answers are in schemas/bevraging.openapi.yaml.
//
// Invariants a reviewer must keep: an answer of a gemeente that can't be read in full, or that contradicts itself, becomes a named
// failure, never an empty answer; only beantwoord and geen-gegevens say something about the person; a question is sent a second
// time only when our own outway says that nothing was sent; no BSN in an error or in a log.
package bevraging

import (
	"context"
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
	maxVraag       = 64 << 10 // bytes of a question
	defaultService = gateway.ServiceName("clientgegevens")

	// CodeDruk is the code of a question that is refused, or not sent, because too many are under way.
	CodeDruk = "druk"
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
	Bekend     func() []Gemeente     // if set, whom this peer knows at this moment, instead of Gemeenten: peers join and leave
	Service    gateway.ServiceName   // default clientgegevens
	Demo       bool                  // only fictitious persons
	Config     Config                // the bounds
	Now        func() time.Time      // default time.Now
	Log        *slog.Logger          // for the operator; gets no question and no answer

	// Terugmeldingen, if set, lets this peer report doubtful fields to the gemeente that gave them.
	Terugmeldingen *Terugmeldingen

	// Indeling, if set, gives the code of the gemeente that today has the data of the one with this code on a day (herindeling), of
	// those that bekend knows. ok is false when there was no such gemeente on that day, or none is known.
	Indeling func(code string, op time.Time, bekend func(code string) bool) (nu string, ok bool)

	once   sync.Once
	sloten *sloten
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
	if err := h.Config.Check(); err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "bevraging")
	}
	h.once.Do(func() { h.sloten = newSloten(h.config()) })
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
	h.routesTerugmelding(router)
	router.Handle("/v1/bevragingen", h.Auth.Require()(http.HandlerFunc(h.bevraag))).Methods(http.MethodPost)
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

func (h *Handler) config() Config { return h.Config.withDefaults() }

// bevraag answers one question. One policy revision serves it from validation to record.
func (h *Handler) bevraag(w http.ResponseWriter, r *http.Request) {
	caller, ok := edge.CallerOf(r.Context())
	if !ok {
		edge.WriteProblem(w, r, gateway.Errorf(gateway.Internal, "bevraging: no caller"))
		return
	}
	media, ok := gevraagdeVorm(r.Header.Values("Accept"))
	if !ok {
		edge.WriteProblem(w, r, gateway.WithCode(gateway.Invalid, edge.CodeNotAcceptable, "Accept: give %s, %s or %s", mediaJSON, mediaNDJSON, mediaSSE))
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
	free, ok := h.sloten.vraag()
	if !ok {
		w.Header().Set("Retry-After", "1")
		edge.WriteProblem(w, r, gateway.WithCode(gateway.Unavailable, CodeDruk, "vragen: er zijn er al te veel tegelijk onderweg; probeer het over een seconde opnieuw"))
		return
	}
	defer free()
	ctx, cancel := context.WithTimeout(r.Context(), h.config().Timeout)
	defer cancel()
	vragen, err := h.verdeel(ctx, question{vraag: *v, caller: caller, session: session, trace: edge.TraceFrom(r), at: now})
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	uit := &uitvoer{w: w, r: r, cancel: cancel, vragen: vragen, slot: Samenvatting{
		Doel: v.Doel, Zaak: v.Zaak, GevraagdOp: now.UTC().Truncate(time.Second), Aantal: len(vragen),
	}}
	antwoorden := h.vraagAlle(ctx, vragen)
	switch media {
	case mediaJSON:
		uit.document(antwoorden)
	default:
		uit.stroom(media, antwoorden)
	}
}
