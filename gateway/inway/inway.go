// Package inway is the way into a peer: a request of another peer's outway comes in over mTLS, and reaches the service only when
// everything that must be known and recorded before is (FSC Core, Inway; FSC Logging 1.1.0).
//
// In this order: the certificate of this very request (not only of the connection), the access token bound to it, the service,
// the contract as it is now, a transaction id that is timely and new, the verklaring over the bytes that arrived, our own policy, the
// transactie and ADL records (durable together), the service, the afloop. No step sees what a later one needs, and each that fails
// leaves a record and a named error; from a new transaction id on that is the transactie record and the afloop. A call refused before its id was accepted leaves an afloop
// and nothing else, which says that the id is claimed: it may be another peer's.
//
// A service is purpose-bound unless its configuration says otherwise: then a grant without doel (purpose) passes without
// verklaring, as plain FSC has it, and every other check stands. The path is passed on unaltered, Fsc-Authorization too.
//
// Invariants a reviewer must keep: the service is not called before the transactie and the decision are durable; a refusal leaves
// only after its afloop is; no answer under a purpose-bound grant goes out without a kwitantie that this peer signed; one transaction id is served once, whoever sends it, also across a restart (Restore) and by which inway of the peer (Shared); what the policy
// denies says no more than its public code.
package inway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/verklaring"
	"github.com/grensloos/grensloos/policies"
)

// The usual bounds of an exchange.
const (
	DefaultTimeout = 60 * time.Second
	DefaultMaxBody = 1 << 20
	// Window is how far the time in a transaction id may be off, either way, and how long an id is remembered after that.
	Window = 5 * time.Minute
	// Skew is how far the clocks of two peers may differ for a verklaring.
	Skew = 5 * time.Second
)

// verifier verifies an access token for the holder of a certificate.
type verifier interface {
	Verify(compact string, clientCert *x509.Certificate) (*accesstoken.Claims, error)
}

// grants knows the contracts of this peer.
type grants interface {
	// Grant returns a connection grant of a contract that is valid now; NotFound otherwise.
	Grant(ctx context.Context, hash gateway.GrantHash) (gateway.Grant, error)
}

// claims is what the inways of one peer share, so that a transaction id that one of them took is taken at all.
type claims interface {
	// Claim takes an id for one request; false if it was taken before. The error is of kind Unavailable.
	Claim(ctx context.Context, id gateway.TransactionID) (bool, error)
}

// Service is what a name stands for: a handler in this process, or a URL on our own network. Exactly one of the two.
type Service struct {
	Handler     http.Handler
	URL         *url.URL          // its path, if any, stands before that of the request
	Transport   http.RoundTripper // for URL; default one without a proxy that trusts the system's roots
	Doelbinding *bool             // default true
	// Own says that URL is a service of this peer's own in another process, such as clientgegevens: Transport reaches nobody else.
	// It is told what was admitted (edge.Toelating), and drafts the kwitantie that the inway signs.
	Own bool
}

func (s Service) bound() bool { return s.Doelbinding == nil || *s.Doelbinding }

// Handler serves everything on the inway's listener. Every field is needed unless it says otherwise.
type Handler struct {
	Self gateway.Peer
	// PeerOf checks the client certificate of the connection as it is now, and says whose it is (certs.Group.PeerOf).
	PeerOf   func(*tls.ConnectionState) (gateway.Peer, *x509.Certificate, error)
	Tokens   verifier // *accesstoken.Verifier
	Grants   grants
	Policy   *policies.Engine
	Audit    audit.Log
	Sign     *verklaring.Signer // signs the kwitantie of a service that doesn't itself, under our group certificate of now
	Services map[gateway.ServiceName]Service
	Shared   claims           // nil: this is the only inway of the peer
	MaxBody  int64            // of a purpose-bound request; default DefaultMaxBody
	Timeout  time.Duration    // of a whole exchange; default DefaultTimeout
	Now      func() time.Time // default time.Now
	Log      *slog.Logger
	Fault    func(step string) // nil; a test that kills the process between two steps sets it

	keys    verklaring.Keys
	seen    replays
	active  actives
	buffers edge.BufferPool
}

// The steps of a request, in order; Fault is called after each.
const (
	StepReceived  = "inway: received"
	StepToken     = "inway: token verified" //nolint:gosec // the name of a step
	StepContract  = "inway: contract valid"
	StepReserved  = "inway: transaction id reserved"
	StepBound     = "inway: verklaring verified"
	StepDecided   = "inway: decided"
	StepJournaled = "inway: transaction recorded" // with the decision
	StepRecorded  = "inway: decision recorded"
	StepServed    = "inway: served"
	StepClosed    = "inway: afloop recorded" // of an answer that left whole: given to audit.Later
)

// Steps lists the steps of an answered, purpose-bound request.
func Steps() []string {
	return []string{
		StepReceived, StepToken, StepContract, StepReserved, StepBound, StepDecided, StepJournaled, StepRecorded, StepServed, StepClosed,
	}
}

// The codes of the inway: those of FSC Core and FSC Logging, and ours for what they have none for.
const (
	CodeServiceNotFound = "ERROR_CODE_SERVICE_NOT_FOUND"
	CodeUnreachable     = "ERROR_CODE_SERVICE_UNREACHABLE"
	CodePeer            = "ERROR_CODE_PEER_CERTIFICATE_VERIFICATION_FAILED"
	CodeMissingID       = "MISSING_LOG_RECORD_ID"
	CodeInvalidID       = "INVALID_LOG_RECORD_ID"
	CodeVerklaring      = "GRENSLOOS_VERKLARING"         // 403: missing, or not about this request
	CodeTimeout         = "GRENSLOOS_TIMEOUT"            // 504
	CodePolicy          = "GRENSLOOS_POLICY_UNAVAILABLE" // 500: no decision could be made
	CodeKwitantie       = "GRENSLOOS_KWITANTIE"          // 500: the answer could not be signed for
)

var codes = map[string]int{
	accesstoken.CodeMissing:    http.StatusUnauthorized,
	accesstoken.CodeInvalid:    http.StatusUnauthorized,
	accesstoken.CodeExpired:    http.StatusUnauthorized,
	accesstoken.CodeWrongGroup: http.StatusForbidden,
	CodePeer:                   http.StatusForbidden,
	CodeServiceNotFound:        http.StatusNotFound,
	CodeUnreachable:            http.StatusBadGateway,
	CodeMissingID:              http.StatusBadRequest,
	CodeInvalidID:              http.StatusBadRequest,
	CodeVerklaring:             http.StatusForbidden,
	CodeTimeout:                http.StatusGatewayTimeout,
	CodePolicy:                 http.StatusInternalServerError,
	CodeKwitantie:              http.StatusInternalServerError,
	audit.WriteError:           http.StatusInternalServerError,
	edge.ErrMethodUnsupported:  http.StatusMethodNotAllowed,
}

// ServeHTTP takes in one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), h.timeout())
	defer cancel()
	x := &exchange{
		Handler: h, w: edge.NewRecorder(w), r: r.WithContext(ctx), body: edge.CountBody(r.Body), start: h.now(), trace: edge.TraceFrom(r).Child(),
	}
	x.r.Header = r.Header.Clone()
	x.r.Body = x.body
	x.run()
}

// Admitted tells the service in this process whether a request passed this inway and is being served now, under this transaction and grant. It
// says so once: a second request that claims the same is not the one that passed.
func (h *Handler) Admitted(id gateway.TransactionID, gth gateway.GrantHash) bool {
	return id != "" && gth != "" && h.active.take(id, gth)
}

func (h *Handler) now() time.Time {
	if h.Now == nil {
		return time.Now()
	}
	return h.Now()
}

func (h *Handler) timeout() time.Duration {
	if h.Timeout <= 0 {
		return DefaultTimeout
	}
	return h.Timeout
}

func (h *Handler) maxBody() int64 {
	if h.MaxBody <= 0 {
		return DefaultMaxBody
	}
	return h.MaxBody
}

func (h *Handler) fault(step string) {
	if h.Fault != nil {
		h.Fault(step)
	}
}
