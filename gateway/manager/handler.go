package manager

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/jose"
)

// Codes of our own, for what FSC Core has none.
const (
	codeUnprocessable = "GRENSLOOS_UNPROCESSABLE"
	codeUnavailable   = "GRENSLOOS_UNAVAILABLE"
)

// statuses is the table of FSC Core, Manager error codes.
var statuses = map[string]int{
	contract.CodeIncorrectGroup:      http.StatusUnprocessableEntity,
	contract.CodeSubmitterNotParty:   http.StatusUnprocessableEntity,
	contract.CodeReceiverNotParty:    http.StatusUnprocessableEntity,
	contract.CodeHashMismatch:        http.StatusUnprocessableEntity,
	contract.CodePeerCertificate:     http.StatusBadRequest,
	contract.CodePeerMismatch:        http.StatusUnprocessableEntity,
	contract.CodeSignature:           http.StatusUnprocessableEntity,
	contract.CodeGrantCombination:    http.StatusUnprocessableEntity,
	contract.CodeURLHashMismatch:     http.StatusUnprocessableEntity,
	contract.CodeUnknownHash:         http.StatusUnprocessableEntity,
	contract.CodeUnknownSignatureAlg: http.StatusUnprocessableEntity,
	contract.CodeUnknownVersion:      http.StatusUnprocessableEntity,
	codeUnprocessable:                http.StatusUnprocessableEntity,
	codeUnavailable:                  http.StatusServiceUnavailable,
}

// caller is who is at the other end, checked for this request.
type caller struct {
	peer  gateway.Peer
	chain []*x509.Certificate // of the connection, the client's own first
}

type callerKey struct{}

// Handler serves the Manager API of FSC Core under /v1, for the listener that demands mTLS.
func (m *Manager) Handler() http.Handler {
	router := mux.NewRouter().SkipClean(true)
	router.HandleFunc("/v1/contracts", m.postContract).Methods(http.MethodPost)
	router.HandleFunc("/v1/contracts", m.getContracts).Methods(http.MethodGet)
	for _, t := range []contract.SignatureType{contract.Accept, contract.Reject, contract.Revoke} {
		router.HandleFunc("/v1/contracts/{hash}/"+string(t), m.putSignature(t)).Methods(http.MethodPut)
	}
	router.HandleFunc("/v1/token", m.postToken).Methods(http.MethodPost)
	router.HandleFunc("/v1/peer", m.getPeer).Methods(http.MethodGet)
	router.HandleFunc("/v1/peers", m.getPeers).Methods(http.MethodGet)
	router.HandleFunc("/v1/services", m.getServices).Methods(http.MethodGet)
	router.HandleFunc("/v1/announce", m.putAnnounce).Methods(http.MethodPut)
	router.HandleFunc("/v1/.well-known/jwks.json", m.getKeys).Methods(http.MethodGet)
	router.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.fail(w, r, gateway.Errorf(gateway.NotFound, "path: nothing here"))
	})
	router.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.fail(w, r, gateway.WithCode(gateway.Invalid, edge.CodeMethod, "method: this path does not take it"))
	})
	return edge.Headers(contract.Version, m.identified(router))
}

// identified finds out who calls before anything else of the request is looked at.
func (m *Manager) identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, _, err := m.o.PeerOf(r.TLS)
		if err == nil && (r.TLS == nil || len(r.TLS.PeerCertificates) == 0) {
			err = gateway.Errorf(gateway.Denied, "client certificate: none")
		}
		if err != nil {
			m.fail(w, r, &gateway.Error{Kind: gateway.KindOf(err), Code: contract.CodePeerCertificate, Message: "client certificate", Cause: err})
			return
		}
		from := caller{peer: peer, chain: r.TLS.PeerCertificates}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, from)))
	})
}

func callerOf(r *http.Request) caller {
	from, _ := r.Context().Value(callerKey{}).(caller) // the zero caller is a party to nothing
	return from
}

// fail answers with an FSC error. What FSC Core has no code for is 422 when the content is at fault (standards.md 5, row 23).
func (m *Manager) fail(w http.ResponseWriter, r *http.Request, err error) {
	kind, code := gateway.KindOf(err), gateway.CodeOf(err)
	switch {
	case kind == gateway.Internal || kind == gateway.Unavailable:
		m.o.Log.ErrorContext(r.Context(), "request not served", slog.String("path", r.URL.Path), slog.Any("error", err))
		if _, fixed := statuses[code]; kind == gateway.Unavailable && fixed {
			err = &gateway.Error{Kind: kind, Code: codeUnavailable, Cause: err}
		}
	case code == "" && (kind == gateway.Invalid || kind == gateway.Conflict):
		err = &gateway.Error{Kind: kind, Code: codeUnprocessable, Cause: err}
	}
	edge.WriteFSC(w, err, edge.DomainManager, statuses)
}

func (m *Manager) postContract(w http.ResponseWriter, r *http.Request) {
	body, c, err := m.signatureOf(w, r)
	if err == nil {
		err = m.take(r.Context(), callerOf(r), c, body.Signature, contract.Accept)
	}
	m.answerSignature(w, r, contract.Accept, err)
}

func (m *Manager) putSignature(t contract.SignatureType) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, c, err := m.signatureOf(w, r)
		if err == nil {
			err = c.MatchPath(mux.Vars(r)["hash"])
		}
		if err == nil {
			err = m.take(r.Context(), callerOf(r), c, body.Signature, t)
		}
		m.answerSignature(w, r, t, err)
	}
}

func (m *Manager) answerSignature(w http.ResponseWriter, r *http.Request, t contract.SignatureType, err error) {
	if err != nil {
		m.fail(w, r, err)
		return
	}
	if from := callerOf(r).peer; t == contract.Accept {
		m.know(r.Context(), from, r.Header.Get(edge.HeaderManager))
	} else {
		m.forget(r.Context(), from.ID)
	}
	w.WriteHeader(http.StatusCreated)
}

// signatureOf reads header and body of a POST or PUT.
func (m *Manager) signatureOf(w http.ResponseWriter, r *http.Request) (signatureBody, *contract.Content, error) {
	var body signatureBody
	if err := m.addressIn(r); err != nil {
		return body, nil, err
	}
	if err := edge.DecodeJSON(w, r, maxContractBody, &body); err != nil {
		return body, nil, badRequest(err)
	}
	c, err := contract.ParseContent(body.Content)
	return body, c, err
}

// badRequest is 400 where FSC Core has no code.
func badRequest(err error) error {
	if gateway.CodeOf(err) != "" {
		return err
	}
	return &gateway.Error{Kind: gateway.Invalid, Code: "GRENSLOOS_INVALID", Cause: err}
}

// addressIn checks the Fsc-Manager-Address of a request.
func (m *Manager) addressIn(r *http.Request) error {
	if values := r.Header.Values(edge.HeaderManager); len(values) != 1 {
		return badRequest(gateway.Errorf(gateway.Invalid, "%s: send it once", edge.HeaderManager))
	}
	if err := checkAddress(r.Header.Get(edge.HeaderManager), m.o.Rules.Group); err != nil {
		return badRequest(gateway.Wrap(gateway.Invalid, err, edge.HeaderManager))
	}
	return nil
}

const (
	maxPage     = 1000
	defaultPage = 100
	maxHashes   = 100
)

type contractJSON struct {
	Content    json.RawMessage                                      `json:"content"`
	Signatures map[contract.SignatureType]map[gateway.PeerID]string `json:"signatures"`
}

type pagination struct {
	NextCursor string `json:"next_cursor"`
}

// getContracts lists the contracts that name the caller; no other is ever selected.
func (m *Manager) getContracts(w http.ResponseWriter, r *http.Request) {
	f, err := contractFilter(r)
	if err != nil {
		m.fail(w, r, err)
		return
	}
	f.Party = callerOf(r).peer.ID
	if f.Party == "" {
		m.fail(w, r, gateway.Errorf(gateway.Denied, "client certificate: none"))
		return
	}
	recs, more, err := m.o.Store.Contracts(r.Context(), f)
	if err != nil {
		m.fail(w, r, err)
		return
	}
	out := struct {
		Contracts  []contractJSON `json:"contracts"`
		Pagination pagination     `json:"pagination"`
	}{Contracts: []contractJSON{}}
	for _, rec := range recs {
		c := contractJSON{Content: rec.Raw, Signatures: map[contract.SignatureType]map[gateway.PeerID]string{
			contract.Accept: {}, contract.Reject: {}, contract.Revoke: {},
		}}
		for _, sig := range rec.Signed {
			c.Signatures[sig.Type][sig.Peer] = sig.JWS
		}
		out.Contracts = append(out.Contracts, c)
	}
	if more != nil && len(f.GrantHashes) == 0 {
		out.Pagination.NextCursor = cursor(strconv.FormatInt(more.Created, 10) + " " + string(more.Hash))
	}
	edge.WriteJSON(w, r, http.StatusOK, out)
}

func contractFilter(r *http.Request) (contract.Filter, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return contract.Filter{}, gateway.Errorf(gateway.Invalid, "query: not well formed")
	}
	var f contract.Filter
	if list := query.Get("grant_hash"); list != "" {
		for hash := range strings.SplitSeq(list, ",") {
			h, err := contract.ParseGrantHash(hash)
			if err != nil || len(f.GrantHashes) == maxHashes {
				return f, gateway.Errorf(gateway.Invalid, "grant_hash: give 1 to %d grant hashes with commas between", maxHashes)
			}
			f.GrantHashes = append(f.GrantHashes, h)
		}
		return f, nil
	}
	if f.Ascending, f.Limit, err = paging(query); err != nil {
		return f, err
	}
	switch t := gateway.GrantType(query.Get("grant_type")); t {
	case "", gateway.ServicePublication, gateway.ServiceConnection, gateway.DelegatedServiceConnection, gateway.DelegatedServicePublication:
		f.GrantType = t
	default:
		return f, gateway.Errorf(gateway.Invalid, "grant_type: give one of the four grant types of FSC Core")
	}
	if c := query.Get("cursor"); c != "" {
		text, err := uncursor(c)
		created, hash, ok := strings.Cut(text, " ")
		seconds, errNumber := strconv.ParseInt(created, 10, 64)
		parsed, errHash := contract.ParseContentHash(hash)
		if err != nil || !ok || errNumber != nil || errHash != nil {
			return f, errCursor
		}
		f.After = contract.Position{Created: seconds, Hash: parsed}
	}
	return f, nil
}

func paging(query url.Values) (ascending bool, limit int, err error) {
	switch query.Get("sort_order") {
	case "", "SORT_ORDER_DESCENDING":
	case "SORT_ORDER_ASCENDING":
		ascending = true
	default:
		return false, 0, gateway.Errorf(gateway.Invalid, "sort_order: give SORT_ORDER_ASCENDING or SORT_ORDER_DESCENDING")
	}
	limit = defaultPage
	if text := query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPage {
			return false, 0, gateway.Errorf(gateway.Invalid, "limit: give 1 to %d", maxPage)
		}
	}
	return ascending, limit, nil
}

var errCursor = gateway.Errorf(gateway.Invalid, "cursor: give next_cursor of the page before, or leave it out")

func cursor(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func uncursor(c string) (string, error) {
	if len(c) > 400 {
		return "", errCursor
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(c)
	return string(raw), err
}

// getPeer describes this peer.
func (m *Manager) getPeer(w http.ResponseWriter, r *http.Request) {
	edge.WriteJSON(w, r, http.StatusOK, map[string]any{
		"peer_id": m.o.Self.ID, "peer_name": m.o.Self.Name, "fsc_version": contract.Version, "enabled_extensions": map[string]string{},
	})
}

// getKeys publishes the certificates that this peer's signatures and tokens are made with, those of before included as long as a
// signature stands that they made.
func (m *Manager) getKeys(w http.ResponseWriter, r *http.Request) {
	chains, err := m.ownChains(r.Context())
	if err != nil {
		m.fail(w, r, err)
		return
	}
	body, err := jose.JWKS(chains...)
	if err != nil {
		m.fail(w, r, gateway.Wrap(gateway.Internal, err, "jwks"))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

// maxKeys is what a reader of our own kind accepts in one set.
const maxKeys = 100

func (m *Manager) ownChains(ctx context.Context) ([][]*x509.Certificate, error) {
	chains := [][]*x509.Certificate{chainOf(m.o.Signer())}
	seen := map[string]bool{jose.Thumbprint(chains[0][0]): true}
	add := func(chain []*x509.Certificate) {
		if x5t := jose.Thumbprint(chain[0]); !seen[x5t] && len(chains) < maxKeys {
			seen[x5t] = true
			chains = append(chains, chain)
		}
	}
	if m.o.Certificates != nil {
		others, err := m.o.Certificates.Certificates(ctx, m.o.Now())
		if err != nil {
			return nil, err
		}
		for _, chain := range others {
			add(chain)
		}
	}
	snap, err := m.current(ctx)
	if err != nil {
		return nil, err
	}
	for _, cert := range snap.certs {
		if cert.peer == m.o.Self.ID {
			add(cert.chain)
		}
	}
	return chains, nil
}
