// Package outway is the way out of a peer: its own applications send a request with the hash of a grant, and the outway decides,
// records, and only then sends it to the inway of the peer that the grant names (FSC Core, Outway; FSC Logging 1.1.0).
//
// In this order: who calls (JWT of the own network), the grant (valid now, ours), our own policy for a purpose-bound grant (one
// ADL record, also of a denial), the access token, the verklaring over the very bytes that go out, the transactie record, the
// request, the kwitantie of the answer and its record, the answer, the afloop. No step sees what a later one needs, and each that fails leaves a record and a named error.
//
// It refuses headers of FSC and Grensloos from a local client except Fsc-Grant-Hash, Grensloos-Zaak, Grensloos-Zaaktype and
// Grensloos-Grond; it never passes the caller's JWT on; it doesn't alter the path, nor an error of the other side; it doesn't retry.
//
// Invariants a reviewer must keep: nothing is sent before the records of the decision and of the transaction are durable; a
// refusal leaves only after its afloop is; nothing of an answer under a purpose-bound grant is passed on before its kwitantie is
// verified and durable; the token comes from the peer that offers the service and is for this grant alone.
package outway

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/http"
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
)

// grants knows the contracts of this peer.
type grants interface {
	// Grant returns a connection grant of a contract that is valid now; NotFound otherwise.
	Grant(ctx context.Context, hash gateway.GrantHash) (gateway.Grant, error)
}

// tokens gets access tokens from the manager of the peer that offers the service.
type tokens interface {
	// Kept gives the token that Token would give without asking anybody; ok is false if there is none.
	Kept(g gateway.Grant) (compact string, claims *accesstoken.Claims, ok bool)
	Token(ctx context.Context, g gateway.Grant) (string, *accesstoken.Claims, error)
	Drop(g gateway.Grant)
}

// Handler serves https://outway/<path of the service>. Every field is needed unless it says otherwise.
type Handler struct {
	Self       gateway.Peer
	Group      gateway.GroupRules
	Auth       *edge.Verifier
	Grants     grants
	Tokens     tokens
	Policy     *policies.Engine
	Audit      audit.Log
	Sign       *verklaring.Signer // signs the verklaring, under our group certificate of now
	Pseudonyms gateway.PseudonymKeys
	// Transport calls one peer over mTLS: whoever answers shows a certificate of that peer (certs.Transport.To).
	Transport func(gateway.PeerID) http.RoundTripper
	// VerifyChain says whose a signing certificate is, if it is good now (certs.Group.VerifyChain).
	VerifyChain func(chain []*x509.Certificate, at time.Time) (gateway.Peer, error)
	MaxBody     int64            // of a request that needs a verklaring; default DefaultMaxBody
	Timeout     time.Duration    // of a whole exchange; default DefaultTimeout
	Now         func() time.Time // default time.Now
	Log         *slog.Logger
	Fault       func(step string) // nil; a test that kills the process between two steps sets it

	keys    verklaring.Keys
	buffers edge.BufferPool
}

// The steps of a request, in order; Fault is called after each.
const (
	StepReceived  = "outway: received"
	StepGranted   = "outway: grant found"
	StepDecided   = "outway: decided"
	StepRecorded  = "outway: decision recorded"
	StepToken     = "outway: token at hand"
	StepSigned    = "outway: verklaring signed"
	StepJournaled = "outway: transaction recorded"
	StepAnswered  = "outway: other side answered"
	StepReceipt   = "outway: kwitantie recorded"
	StepPassedOn  = "outway: answer passed on"
	StepClosed    = "outway: afloop recorded" // of an answer that left whole: given to audit.Later
)

// Steps lists the steps of an answered, purpose-bound request. With a token at hand the decision is recorded with the transaction:
// StepRecorded then comes right before StepJournaled.
func Steps() []string {
	return []string{
		StepReceived, StepGranted, StepDecided, StepRecorded, StepToken, StepSigned, StepJournaled, StepAnswered, StepReceipt, StepPassedOn,
		StepClosed,
	}
}

// The codes of the outway: that of FSC Core, that of FSC Logging, and ours for what FSC has none for.
const (
	CodeGrantHash    = "GRENSLOOS_GRANT_HASH"         // 400: Fsc-Grant-Hash is missing
	CodeToken        = "GRENSLOOS_TOKEN_REFUSED"      //nolint:gosec // 403: the provider's manager gives no token
	CodeTokenInvalid = "GRENSLOOS_TOKEN_INVALID"      //nolint:gosec // 502: what it gave is not a token for this grant
	CodeUnreachable  = "GRENSLOOS_INWAY_UNREACHABLE"  // 502: manager or inway of the provider not reached, or another peer answers
	CodeTimeout      = "GRENSLOOS_TIMEOUT"            // 504
	CodePolicy       = "GRENSLOOS_POLICY_UNAVAILABLE" // 500: no decision could be made
	CodeKwitantie    = "GRENSLOOS_KWITANTIE"          // 502: the answer has no kwitantie, or not one of this peer about this question
)

var codes = map[string]int{
	edge.ErrMethodUnsupported: http.StatusMethodNotAllowed,
	audit.WriteError:          http.StatusInternalServerError,
	CodeGrantHash:             http.StatusBadRequest,
	CodeToken:                 http.StatusForbidden,
	CodeTokenInvalid:          http.StatusBadGateway,
	CodeUnreachable:           http.StatusBadGateway,
	CodeTimeout:               http.StatusGatewayTimeout,
	CodePolicy:                http.StatusInternalServerError,
	CodeKwitantie:             http.StatusBadGateway,
}

// ServeHTTP carries one request across the border.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), h.timeout())
	defer cancel()
	now := h.now()
	x := &exchange{
		Handler: h, w: edge.NewRecorder(w), r: r.WithContext(ctx), body: edge.CountBody(r.Body), start: now,
		id: gateway.NewTransactionID(now), trace: edge.TraceFrom(r).Child(),
	}
	x.r.Body = x.body
	w.Header().Set(edge.HeaderTransaction, string(x.id))
	x.run()
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
