package manager

import (
	"crypto/x509"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/jose"
)

// The errors of RFC 6749, 5.2.
const (
	invalidRequest       = "invalid_request"
	invalidClient        = "invalid_client"
	invalidGrant         = "invalid_grant"
	invalidScope         = "invalid_scope"
	unauthorizedClient   = "unauthorized_client"
	unsupportedGrantType = "unsupported_grant_type"
)

type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
}

type tokenError struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

// postToken gives an access token to the outway of a peer (FSC Core, access token). The checks are those of FSC Core in its order.
func (m *Manager) postToken(w http.ResponseWriter, r *http.Request) {
	form, err := tokenForm(w, r)
	if err != nil {
		refuse(w, invalidRequest, err)
		return
	}
	from := callerOf(r)
	switch {
	case form.Get("grant_type") == "":
		refuse(w, invalidRequest, gateway.Errorf(gateway.Invalid, "grant_type: missing; send client_credentials"))
		return
	case form.Get("grant_type") != "client_credentials":
		refuse(w, unsupportedGrantType, gateway.Errorf(gateway.Invalid, "grant_type: only client_credentials is supported"))
		return
	case form.Get("client_id") == "":
		refuse(w, invalidRequest, gateway.Errorf(gateway.Invalid, "client_id: missing; send your peer id"))
		return
	case gateway.PeerID(form.Get("client_id")) != from.peer.ID:
		refuse(w, invalidClient, gateway.Errorf(gateway.Invalid, "client_id: is not the peer of the client certificate"))
		return
	}
	hash, err := contract.ParseGrantHash(form.Get("scope"))
	if err != nil {
		refuse(w, invalidScope, gateway.Errorf(gateway.Invalid, "scope: give one grant hash"))
		return
	}
	token, code, err := m.issue(r, from, hash)
	switch {
	case code != "":
		refuse(w, code, err)
	case err != nil:
		m.fail(w, r, err)
	default:
		w.Header().Set("Cache-Control", "no-store")
		edge.WriteJSON(w, r, http.StatusOK, tokenAnswer{AccessToken: token, TokenType: "bearer"})
	}
}

// issue returns a token, or why RFC 6749 refuses it, or an error of our own.
func (m *Manager) issue(r *http.Request, from caller, hash gateway.GrantHash) (token, code string, err error) {
	g, err := m.Grant(r.Context(), hash)
	// A grant of others is as unknown to the caller as one that does not exist.
	if gateway.KindOf(err) == gateway.NotFound || err == nil && (g.Outway != from.peer.ID || g.ServicePeer != m.o.Self.ID) {
		return "", invalidGrant, gateway.Errorf(gateway.Invalid, "scope: no valid contract gives you this grant at this peer")
	}
	if err != nil {
		return "", "", err
	}
	if err := fits(g, from.chain[0]); err != nil {
		return "", unauthorizedClient, err
	}
	inway, ok := m.o.Services[g.Service]
	if !ok {
		return "", invalidGrant, gateway.Errorf(gateway.Invalid, "scope: no inway of this peer offers the service of this grant now")
	}
	signer, now := m.o.Signer(), m.o.Now()
	if err := m.publish(r.Context(), signer); err != nil {
		return "", "", err
	}
	claims := accesstoken.For(g, accesstoken.Terms{
		Group: m.o.Rules.Group.ID, Audience: inway, Cnf: jose.Thumbprint(from.chain[0]), Now: now, TTL: m.o.TokenTTL,
	})
	for _, cert := range []*x509.Certificate{from.chain[0], signer.Cert} { // a token outlives neither certificate
		if cert.NotAfter.Before(claims.Expires) {
			claims.Expires = cert.NotAfter
		}
	}
	token, err = accesstoken.Mint(signer, claims)
	return token, "", err
}

// fits checks the client certificate against the identification of the outway in the grant: exactly one of the two is there.
func fits(g gateway.Grant, cert *x509.Certificate) error {
	if g.OutwayThumbprint != "" {
		print, err := jose.KeyThumbprint(cert.PublicKey)
		if err != nil || print != g.OutwayThumbprint {
			return gateway.Errorf(gateway.Invalid, "client certificate: its key is not the one of the outway in the grant")
		}
		return nil
	}
	if g.OutwayDomain != "" && cert.VerifyHostname(g.OutwayDomain) == nil { // RFC 6125 over the SAN
		return nil
	}
	return gateway.Errorf(gateway.Invalid, "client certificate: its SAN does not have the domain name of the outway in the grant")
}

// tokenForm reads a form of which no parameter stands twice (RFC 6749, 3.2).
func tokenForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/x-www-form-urlencoded" {
		return nil, gateway.Errorf(gateway.Invalid, "Content-Type: send application/x-www-form-urlencoded")
	}
	body, err := edge.ReadBody(w, r, maxTokenBody)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, gateway.Errorf(gateway.Invalid, "body: not a well formed form")
	}
	for name, values := range form {
		if len(values) > 1 {
			return nil, gateway.Errorf(gateway.Invalid, "%.30q: stands there twice", name)
		}
	}
	return form, nil
}

// refuse answers as RFC 6749, 5.2 has it; FSC Core gives every one status 400.
func refuse(w http.ResponseWriter, code string, err error) {
	body, errJSON := json.Marshal(tokenError{Error: code, Description: description(err)})
	if errJSON != nil {
		body = []byte(`{"error":"` + invalidRequest + `"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = w.Write(body)
}

// description is the message of an error that is made to be shown, in the characters that RFC 6749 allows.
func description(err error) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return '\''
		}
		return c
	}, err.Error())
}
