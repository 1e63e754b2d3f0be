// Package accesstoken owns the access token of FSC Core 2.0.0: a JWT that a Manager signs, bound to the client certificate of an
// outway (RFC 8705, section 3). It mints, parses and verifies; it fetches nothing.
//
// It refuses a token without one of its claims, with a member that differs in case only, signed by anybody but this peer, for
// another group, another certificate or another moment. The codes are those of the Inway of FSC Core, in gateway.Error.Code.
//
// Who is who (schemas/DIVERGENCES.md, token subject): with act the outway's peer is act.sub and sub is the delegator on whose
// behalf it asks; without act sub is the outway's peer. OutwayPeer and Delegator are the only code that knows.
//
// Invariant: a cached verdict covers the signature and nothing else. Expiry, certificate binding, group and the signing
// certificate's standing are checked on every call; the state of the contract is the inway's to check.
package accesstoken

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

// The codes of the Inway of FSC Core.
const (
	CodeMissing    = "ERROR_CODE_ACCESS_TOKEN_MISSING"
	CodeInvalid    = "ERROR_CODE_ACCESS_TOKEN_INVALID"
	CodeExpired    = "ERROR_CODE_ACCESS_TOKEN_EXPIRED"
	CodeWrongGroup = "ERROR_CODE_WRONG_GROUP_ID_IN_TOKEN"
)

// MaxBytes is the longest token that is read.
const MaxBytes = 96 << 10

// MaxTTL is the longest life of a token that Mint makes: revocation of a contract must not have to wait for it.
const MaxTTL = 5 * time.Minute

// Claims are what a token says.
type Claims struct {
	GrantHash gateway.GrantHash
	GroupID   gateway.GroupID
	Subject   gateway.PeerID // sub
	Actor     gateway.PeerID // act.sub; empty unless the connection is delegated
	Issuer    gateway.PeerID // iss: the peer that offers the service
	Publisher gateway.PeerID // pdi: for whom the service is offered, if for another
	Service   gateway.ServiceName
	Audience  string // URL of the inway with scheme and port
	NotBefore time.Time
	Expires   time.Time
	Cnf       string          // thumbprint of the client certificate
	Prp       json.RawMessage // properties of the grant; nil if it has none
	Add       json.RawMessage // free object; nil if absent
}

type wire struct {
	GrantHash gateway.GrantHash   `json:"gth"`
	GroupID   gateway.GroupID     `json:"gid"`
	Subject   gateway.PeerID      `json:"sub"`
	Actor     *actor              `json:"act,omitempty"`
	Issuer    gateway.PeerID      `json:"iss"`
	Publisher gateway.PeerID      `json:"pdi,omitempty"`
	Service   gateway.ServiceName `json:"svc"`
	Audience  string              `json:"aud"`
	NotBefore int64               `json:"nbf"`
	Expires   int64               `json:"exp"`
	Cnf       confirmation        `json:"cnf"`
	Prp       json.RawMessage     `json:"prp,omitempty"`
	Add       json.RawMessage     `json:"add,omitempty"`
}

type actor struct {
	Subject gateway.PeerID `json:"sub"`
}

type confirmation struct {
	X5T string `json:"x5t#S256"`
}

// OutwayPeer is the peer whose outway asks.
func (c Claims) OutwayPeer() gateway.PeerID {
	if c.Actor != "" {
		return c.Actor
	}
	return c.Subject
}

// Delegator is the peer on whose behalf the outway asks; empty unless the connection is delegated.
func (c Claims) Delegator() gateway.PeerID {
	if c.Actor != "" {
		return c.Subject
	}
	return ""
}

// Terms are what a token needs beside the grant.
type Terms struct {
	Group    gateway.GroupID
	Audience string // URL of the inway with scheme and port
	Cnf      string // thumbprint of the certificate of the mTLS connection that asks
	Now      time.Time
	TTL      time.Duration // at most MaxTTL
}

// For gives the claims that follow from a connection grant.
func For(g gateway.Grant, t Terms) Claims {
	c := Claims{
		GrantHash: g.Hash, GroupID: t.Group, Subject: g.Outway, Issuer: g.ServicePeer, Publisher: g.ServiceDelegator,
		Service: g.Service, Audience: t.Audience, NotBefore: t.Now, Expires: t.Now.Add(min(t.TTL, MaxTTL)), Cnf: t.Cnf,
		Prp: bytes.Clone(g.RawProperties),
	}
	if g.Type == gateway.DelegatedServiceConnection {
		c.Subject, c.Actor = g.Delegator, g.Outway
	}
	if !g.NotAfter.IsZero() && g.NotAfter.Before(c.Expires) {
		c.Expires = g.NotAfter
	}
	return c
}

// Match checks that the token is one for this grant: every claim that follows from the grant is what it should be.
func (c Claims) Match(g gateway.Grant) error {
	want := For(g, Terms{})
	switch {
	case g.Hash == "" || c.GrantHash != g.Hash:
		return invalid("gth: is for another grant")
	case c.Subject != want.Subject || c.Actor != want.Actor:
		return invalid("sub, act: are not the peers of the grant")
	case c.Issuer != want.Issuer || c.Service != want.Service || c.Publisher != want.Publisher:
		return invalid("iss, svc, pdi: are not the service of the grant")
	}
	if (c.Prp == nil) != (want.Prp == nil) {
		return invalid("prp: are not the properties of the grant")
	}
	if c.Prp != nil && !bytes.Equal(c.Prp, want.Prp) {
		a, errA := jose.CanonicalJSON(c.Prp)
		b, errB := jose.CanonicalJSON(want.Prp)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			return invalid("prp: are not the properties of the grant")
		}
	}
	return nil
}

// Mint signs a token. The error names the claim that is missing or wrong.
func Mint(s *jose.Signer, c Claims) (string, error) {
	if err := c.check(); err != nil {
		return "", gateway.Wrap(gateway.Internal, err, "mint")
	}
	if c.Expires.Sub(c.NotBefore) > MaxTTL {
		return "", gateway.Errorf(gateway.Internal, "mint: exp: at most %s after nbf", MaxTTL)
	}
	w := wire{
		GrantHash: c.GrantHash, GroupID: c.GroupID, Subject: c.Subject, Issuer: c.Issuer, Publisher: c.Publisher,
		Service: c.Service, Audience: c.Audience, NotBefore: c.NotBefore.Unix(), Expires: c.Expires.Unix(),
		Cnf: confirmation{X5T: c.Cnf}, Prp: c.Prp, Add: c.Add,
	}
	if c.Actor != "" {
		w.Actor = &actor{Subject: c.Actor}
	}
	raw, err := json.Marshal(w)
	if err != nil {
		return "", gateway.Wrap(gateway.Internal, err, "mint")
	}
	return jose.Sign(s, raw, jose.Header{Typ: "JWT"})
}

// Parse reads a token without verifying it, as an outway does with a token that it received. The error is of kind Denied.
func Parse(compact string) (*Claims, *jose.Parsed, error) {
	if compact == "" {
		return nil, nil, gateway.WithCode(gateway.Denied, CodeMissing, "access token: missing")
	}
	p, err := jose.ParseCompact(compact, MaxBytes)
	if err != nil {
		return nil, nil, invalidCause(err)
	}
	if typ := strings.ToLower(p.Typ); typ != "" && typ != "jwt" && typ != "at+jwt" {
		return nil, nil, invalid("typ: is not that of an access token")
	}
	var w wire
	if err := jose.Decode(p.Payload, &w, jose.AllowUnknown()); err != nil {
		return nil, nil, invalidCause(err)
	}
	c := &Claims{
		GrantHash: w.GrantHash, GroupID: w.GroupID, Subject: w.Subject, Issuer: w.Issuer, Publisher: w.Publisher,
		Service: w.Service, Audience: w.Audience, NotBefore: time.Unix(w.NotBefore, 0), Expires: time.Unix(w.Expires, 0),
		Cnf: w.Cnf.X5T, Prp: w.Prp, Add: w.Add,
	}
	if w.Actor != nil {
		if w.Actor.Subject == "" {
			return nil, nil, invalid("act.sub: missing")
		}
		c.Actor = w.Actor.Subject
	}
	if w.NotBefore <= 0 || w.Expires <= 0 {
		return nil, nil, invalid("nbf, exp: missing")
	}
	if err := c.check(); err != nil {
		return nil, nil, invalidCause(err)
	}
	return c, p, nil
}

// check holds a token to its form.
func (c Claims) check() error {
	wrong := func(what string) error { return gateway.Errorf(gateway.Invalid, "%s", what) }
	if c.GrantHash == "" {
		return wrong("gth: missing")
	}
	if _, err := gateway.ParseGroupID(string(c.GroupID)); err != nil {
		return wrong("gid: missing or malformed")
	}
	for _, id := range []struct {
		claim    string
		id       gateway.PeerID
		optional bool
	}{{"sub", c.Subject, false}, {"iss", c.Issuer, false}, {"act.sub", c.Actor, true}, {"pdi", c.Publisher, true}} {
		if _, err := gateway.ParsePeerID(string(id.id)); err != nil && (id.id != "" || !id.optional) {
			return wrong(id.claim + ": missing or not an OIN")
		}
	}
	if _, err := gateway.ParseServiceName(string(c.Service)); err != nil {
		return wrong("svc: missing or malformed")
	}
	u, err := url.Parse(c.Audience)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return wrong("aud: give the https URL of the inway with its port")
	}
	if raw, err := base64.RawURLEncoding.Strict().DecodeString(c.Cnf); err != nil || len(raw) != 32 {
		return wrong("cnf.x5t#S256: missing or malformed")
	}
	if !c.Expires.After(c.NotBefore) {
		return wrong("exp: must be after nbf")
	}
	for claim, raw := range map[string]json.RawMessage{"prp": c.Prp, "add": c.Add} {
		if raw != nil && (len(raw) < 2 || raw[0] != '{') {
			return wrong(claim + ": give an object, or leave it out")
		}
	}
	return nil
}

func invalid(what string) error {
	return gateway.WithCode(gateway.Denied, CodeInvalid, "access token: %s", what)
}

func invalidCause(err error) error {
	return &gateway.Error{Kind: gateway.Denied, Code: CodeInvalid, Message: "access token", Cause: err}
}
