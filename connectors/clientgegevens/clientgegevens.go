// Package clientgegevens is the service that a gemeente's connector offers: POST /v1/clienten/_zoek answers a question about one
// client (schemas/clientgegevens.openapi.yaml). It stands behind the inway and trusts nothing of it but that the transaction was
// journalled: it verifies token, grant and verklaring itself, so that nothing gets in beside the inway. In the inway's own process one
// signature over the same bytes is verified once (verklaring.VerifyOnce).
//
// The order of checks is that of the design, and no step sees what a later one needs: token, transaction, grant, verklaring (body
// digest too), question, key and beslisattributen (first read), consents, decision, ADL record, the allowed columns (second read),
// LDV record, kwitantie, answer.
//
// Invariants a reviewer must keep: no value is read before its decision is on record; no byte of an answer leaves before the LDV
// line is durable; doel, role, worker and organisation come from grant and verklaring, never from the body; all refusals that
// depend on the person have the same bytes, also when the person is unknown here under a purpose that needs consent; a source that
// fails is an outcome of its own, never an empty answer.
package clientgegevens

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/toestemming"
	"github.com/grensloos/grensloos/gateway/verklaring"
	"github.com/grensloos/grensloos/policies"
	"github.com/grensloos/grensloos/schemas"
)

// Service is the name under which the service stands in grants and tokens.
const Service gateway.ServiceName = "clientgegevens"

// Version is the version of the API.
const Version = "1.0.0"

// Codes of refusals that are no reason of a policy.
const (
	CodeBuitenInway      = "niet-via-inway"        // no journalled transaction: the call did not pass the inway
	CodeRegister         = "register-onbereikbaar" // the register of consents did not answer
	CodeNietAangesloten  = "bron-niet-aangesloten" // no source is connected for this dienst or veld
	CodeVerklaring       = "verklaring-ongeldig"   // the verklaring is missing or does not fit this request
	CodeGrant            = "contract-niet-geldig"  // the grant of the token is not valid (any more)
	codeBronOnbereikbaar = connectors.CodeOnbereikbaar
)

const (
	maxBody int64 = 16 << 10        // bytes of a question
	skew          = 5 * time.Second // how far the clocks of two peers may differ for a verklaring
)

// The steps of a question, in order; Fault is called after each.
const (
	StepAdmitted  = "clientgegevens: admitted"            // every check that needs no person
	StepDecided   = "clientgegevens: decided"             // the decision is made, not on record
	StepRecorded  = "clientgegevens: decision recorded"   // the decision is on record, no value was read
	StepRead      = "clientgegevens: values read"         // the values are read
	StepAccounted = "clientgegevens: processing recorded" // the LDV line is on record, nothing has left
	StepSigned    = "clientgegevens: kwitantie signed"    // nothing has left
)

// Steps lists them for tests.
func Steps() []string {
	return []string{StepAdmitted, StepDecided, StepRecorded, StepRead, StepAccounted, StepSigned}
}

func (h *Handler) fault(step string) {
	if h.Fault != nil {
		h.Fault(step)
	}
}

type tokenVerifier interface {
	Verify(compact string, clientCert *x509.Certificate) (*accesstoken.Claims, error)
}

type grants interface {
	Grant(ctx context.Context, hash gateway.GrantHash) (gateway.Grant, error)
}

type transacties interface {
	Admitted(id gateway.TransactionID, hash gateway.GrantHash) bool
}

type consents interface {
	Toestemmingen(ctx context.Context, betrokkene []gateway.Pseudonym, doel gateway.Doel) ([]toestemming.Toestemming, error)
}

// Handler is the service. All fields but Sign, Terugmeldingen, Records, DemoBSN, Timeout and Fault must be set.
type Handler struct {
	Self          gateway.Peer
	Tokens        tokenVerifier
	Grants        grants      // valid now, or an error
	Transacties   transacties // whether the inway journalled this transaction under this grant
	Policy        *policies.Engine
	Toestemmingen consents // read only when the purpose demands consent
	Audit         audit.Log
	Sign          *verklaring.Signer // signs the kwitantie, under our group certificate of now; nil: the inway signs what is drafted here
	Pseudonyms    gateway.PseudonymKeys
	Bron          connectors.Source
	// Terugmeldingen keeps what askers report as doubtful; nil: this service takes no reports. Records says what was disclosed.
	Terugmeldingen terugmeldingen
	Records        records
	DemoBSN        bool          // accept fictitious persons only: 999000000-999999999
	Timeout        time.Duration // of all reads of one question; 0: 5 seconds
	Now            func() time.Time
	Log            *slog.Logger
	Fault          func(step string) // nil; a test that kills the process between two steps sets it

	keys   verklaring.Keys
	once   sync.Once
	router http.Handler
}

// ServeHTTP serves the API. The client certificate of the group side stands in r.TLS: the inway passes it on.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.once.Do(func() {
		router := edge.NewRouter(Version)
		router.HandleFunc("/v1/clienten/_zoek", h.zoek).Methods(http.MethodPost)
		if h.Terugmeldingen != nil {
			router.HandleFunc("/v1/terugmeldingen", h.meld).Methods(http.MethodPost)
			router.HandleFunc("/v1/terugmeldingen/_zoek", h.zoekMelding).Methods(http.MethodPost)
		}
		router.HandleFunc("/v1/openapi.json", openapi).Methods(http.MethodGet, http.MethodHead)
		router.Use(edge.AcceptJSON)
		h.router = router
	})
	h.router.ServeHTTP(w, r)
}

var document = sync.OnceValues(func() ([]byte, error) {
	raw, err := schemas.FS.ReadFile("clientgegevens.openapi.yaml")
	if err != nil {
		return nil, err
	}
	return yaml.YAMLToJSON(raw)
})

func openapi(w http.ResponseWriter, r *http.Request) {
	raw, err := document()
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(raw)
}

func (h *Handler) zoek(w http.ResponseWriter, r *http.Request) {
	p, err := h.toelaten(w, r)
	if err == nil {
		p.bsn, p.velden, err = h.vraag(r, p.body)
	}
	if err == nil {
		h.fault(StepAdmitted)
		var a *antwoord
		if a, err = h.beantwoord(r.Context(), p); err == nil {
			w.Header().Set(verklaring.KwitantieHeader, a.kwitantie)
			edge.WriteJSON(w, r, http.StatusOK, a)
			return
		}
	}
	h.refuse(w, r, p, err)
}

// refuse answers with an error, and tells the operator of one that is ours to mend. p is nil for what was not admitted.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, p *verzoek, err error) {
	if k := gateway.KindOf(err); k == gateway.Internal || k == gateway.Unavailable {
		attrs := []slog.Attr{slog.String("code", gateway.CodeOf(err)), slog.Any("error", err)}
		if p != nil {
			attrs = append(attrs, slog.String("transaction", string(p.transactie)))
		}
		h.Log.LogAttrs(r.Context(), slog.LevelError, "question not answered", attrs...)
	}
	edge.WriteProblem(w, r, err)
}

// verzoek is a question that passed every check that does not need the person.
type verzoek struct {
	transactie gateway.TransactionID
	trace      gateway.Trace // the caller's span
	afnemer    gateway.PeerID
	grant      gateway.Grant
	verklaring *verklaring.Verklaring
	body       []byte
	bsn        gateway.BSN
	velden     gateway.Velden // asked; nil: all that the purpose allows
	nu         time.Time
}

// toelaten verifies what the inway verified, and the verklaring against the body.
func (h *Handler) toelaten(w http.ResponseWriter, r *http.Request) (*verzoek, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, gateway.WithCode(gateway.Denied, CodeBuitenInway, "client certificate: missing; this service stands behind the inway")
	}
	cert := r.TLS.PeerCertificates[0]
	token, err := accesstoken.FromHeader(r.Header.Values(edge.HeaderAuthorization))
	if err != nil {
		return nil, err
	}
	claims, err := h.Tokens.Verify(token, cert)
	if err != nil {
		return nil, err
	}
	ids := r.Header.Values(edge.HeaderTransaction)
	if len(ids) != 1 || !h.Transacties.Admitted(gateway.TransactionID(ids[0]), claims.GrantHash) {
		return nil, gateway.WithCode(gateway.Denied, CodeBuitenInway, "Fsc-Transaction-Id: no journalled transaction; this service stands behind the inway")
	}
	p := &verzoek{transactie: gateway.TransactionID(ids[0]), trace: edge.TraceFrom(r), nu: h.Now()}
	if p.grant, err = h.Grants.Grant(r.Context(), claims.GrantHash); err != nil {
		if k := gateway.KindOf(err); k == gateway.NotFound || k == gateway.Denied || k == gateway.Hidden {
			return nil, &gateway.Error{Kind: gateway.Denied, Code: CodeGrant, Message: "grant: is not valid any more; ask for a new contract", Cause: err}
		}
		return nil, err
	}
	if err := claims.Match(p.grant); err != nil {
		return nil, &gateway.Error{Kind: gateway.Denied, Code: accesstoken.CodeInvalid, Message: "access token: does not fit its grant", Cause: err}
	}
	if p.grant.ServicePeer != h.Self.ID || p.grant.Service != Service || !p.grant.IsDoelgebonden() {
		return nil, gateway.WithCode(gateway.Denied, CodeGrant, "grant: is not for this service of this peer, or names no purpose")
	}
	p.afnemer = claims.OutwayPeer()
	if !edge.IsJSON(r.Header.Get("Content-Type")) {
		return nil, gateway.WithCode(gateway.Invalid, edge.CodeMediaType, "Content-Type: send application/json")
	}
	body, err := edge.ReadBody(w, r, maxBody)
	if err != nil {
		return nil, err
	}
	statements := r.Header.Values(verklaring.Header)
	if len(statements) != 1 {
		return nil, gateway.WithCode(gateway.Denied, CodeVerklaring, "%s: send it once", verklaring.Header)
	}
	p.verklaring, err = verklaring.Expect{
		ClientCert: cert, Cnf: claims.Cnf, Audience: h.Self.ID, Grant: p.grant, Transactie: p.transactie,
		Method: r.Method, Target: target(r), BodyDigest: verklaring.Digest(body), Now: p.nu, Skew: skew, Keys: &h.keys,
	}.VerifyOnce(r.Context(), statements[0])
	if err != nil {
		return nil, &gateway.Error{Kind: gateway.Denied, Code: CodeVerklaring, Cause: err}
	}
	p.body = body
	return p, nil
}

// target is the path as it arrived, with its query.
func target(r *http.Request) string {
	if r.RequestURI != "" {
		return r.RequestURI
	}
	return r.URL.RequestURI()
}
