package manager

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/jose"
)

const (
	// spare is how long before its end a token is no longer used.
	spare = 10 * time.Second
	// tokenSkew is how far the provider's clock may be ahead of ours.
	tokenSkew = 30 * time.Second
)

// TokenClient fetches access tokens for this peer's outway from the managers of providers, and keeps each until shortly before it
// ends. Make it with its fields; use it by pointer.
type TokenClient struct {
	Self  gateway.PeerID
	Group gateway.GroupRules
	Peers *Peers
	// Certificate is the outway's certificate of this moment: the one that Peers.Transport shows and the token is bound to.
	Certificate func() *x509.Certificate
	Now         func() time.Time

	flight singleflight.Group
	mu     sync.Mutex
	tokens map[gateway.GrantHash]heldToken // guarded by mu
	drops  map[gateway.GrantHash]uint64    // guarded by mu
}

type heldToken struct {
	compact string
	claims  *accesstoken.Claims
}

// Token returns a token for the grant, fetching it if need be; questions at the same time fetch it once. Denied: the provider
// refuses (its reason is in the message), or sends a token that is not what was asked. Unavailable: it can't be asked. The claims
// are shared: do not change them.
func (c *TokenClient) Token(ctx context.Context, g gateway.Grant) (string, *accesstoken.Claims, error) {
	if t, ok := c.held(g.Hash); ok {
		return t.compact, t.claims, nil
	}
	done := c.flight.DoChan(string(g.Hash), func() (any, error) {
		if t, ok := c.held(g.Hash); ok { // came in between looking and flying
			return t, nil
		}
		before := c.dropped(g.Hash)
		t, err := c.fetch(context.WithoutCancel(ctx), g)
		if err == nil {
			c.keep(g.Hash, t, before)
		}
		return t, err
	})
	select {
	case <-ctx.Done():
		return "", nil, gateway.Wrap(gateway.Unavailable, ctx.Err(), "access token of peer "+string(g.ServicePeer))
	case result := <-done:
		if result.Err != nil {
			return "", nil, result.Err
		}
		t := result.Val.(heldToken)
		return t.compact, t.claims, nil
	}
}

// Kept returns the token that Token would give without asking anybody. The claims are shared: do not change them.
func (c *TokenClient) Kept(g gateway.Grant) (string, *accesstoken.Claims, bool) {
	t, ok := c.held(g.Hash)
	return t.compact, t.claims, ok
}

// Drop forgets the token of a grant, also one that is being fetched: the provider said that it no longer counts.
func (c *TokenClient) Drop(g gateway.Grant) {
	c.flight.Forget(string(g.Hash))
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.tokens, g.Hash)
	if c.drops == nil {
		c.drops = map[gateway.GrantHash]uint64{}
	}
	c.drops[g.Hash]++
}

func (c *TokenClient) dropped(hash gateway.GrantHash) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drops[hash]
}

func (c *TokenClient) held(hash gateway.GrantHash) (heldToken, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.tokens[hash]
	if !ok || !c.Now().Before(t.claims.Expires.Add(-spare)) || t.claims.Cnf != jose.Thumbprint(c.Certificate()) {
		return heldToken{}, false
	}
	return t, true
}

func (c *TokenClient) keep(hash gateway.GrantHash, t heldToken, before uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drops[hash] != before {
		return
	}
	if c.tokens == nil {
		c.tokens = map[gateway.GrantHash]heldToken{}
	}
	c.tokens[hash] = t
}

func (c *TokenClient) fetch(ctx context.Context, g gateway.Grant) (heldToken, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {string(g.Hash)}, "client_id": {string(c.Self)}}
	status, body, err := c.Peers.call(ctx, g.ServicePeer, http.MethodPost, "/v1/token", "application/x-www-form-urlencoded", []byte(form.Encode()))
	if err != nil {
		return heldToken{}, err
	}
	switch {
	case status == http.StatusBadRequest:
		return heldToken{}, gateway.Errorf(gateway.Denied, "access token: peer %s refuses: %s", g.ServicePeer, reasonIn(body))
	case status != http.StatusOK:
		return heldToken{}, gateway.Errorf(gateway.Unavailable, "access token: manager of peer %s answers with status %d", g.ServicePeer, status)
	}
	var answer tokenAnswer
	if err := jose.Decode(body, &answer, jose.AllowUnknown()); err != nil {
		return heldToken{}, gateway.Wrap(gateway.Denied, err, "access token: answer of peer "+string(g.ServicePeer))
	}
	if !strings.EqualFold(answer.TokenType, "bearer") {
		return heldToken{}, gateway.Errorf(gateway.Denied, "access token: answer of peer %s: token_type is not bearer", g.ServicePeer)
	}
	claims, parsed, err := accesstoken.Parse(answer.AccessToken)
	if err != nil {
		return heldToken{}, err
	}
	if err := c.judge(g, claims); err != nil {
		return heldToken{}, err
	}
	chain, err := c.Peers.Certificate(ctx, g.ServicePeer, parsed.X5T)
	if err != nil {
		return heldToken{}, err
	}
	if err := parsed.Verify(chain[0]); err != nil {
		return heldToken{}, err
	}
	return heldToken{compact: answer.AccessToken, claims: claims}, nil
}

// judge holds a token to what was asked: this grant, this group, our certificate, this moment, an inway on a port of the group.
func (c *TokenClient) judge(g gateway.Grant, claims *accesstoken.Claims) error {
	if err := claims.Match(g); err != nil {
		return err
	}
	now := c.Now()
	wrong := ""
	switch {
	case claims.GroupID != c.Group.ID:
		wrong = "gid: is for another group"
	case claims.OutwayPeer() != c.Self:
		wrong = "sub, act: is for another outway"
	case claims.Cnf != jose.Thumbprint(c.Certificate()):
		wrong = "cnf: is bound to another certificate than our outway's"
	case !now.Before(claims.Expires):
		wrong = "exp: has passed already"
	case claims.NotBefore.After(now.Add(tokenSkew)):
		wrong = "nbf: lies in the future; one of the two clocks is wrong"
	case checkAddress(claims.Audience, c.Group) != nil:
		wrong = "aud: is no https URL on a port of the group"
	}
	if wrong != "" {
		return gateway.WithCode(gateway.Denied, accesstoken.CodeInvalid, "access token of peer %s: %s", g.ServicePeer, wrong)
	}
	return nil
}

// reasonIn reads the error of RFC 6749, or of FSC Core when the client certificate is what is wrong.
func reasonIn(body []byte) string {
	var answer struct {
		tokenError
		Code string `json:"code"`
	}
	_ = json.Unmarshal(body, &answer) // what is neither has no reason
	if slices.Contains([]string{invalidRequest, invalidClient, invalidGrant, invalidScope, unauthorizedClient, unsupportedGrantType}, answer.Error) {
		return answer.Error + ": " + shorten(description(gateway.Errorf(gateway.Denied, "%s", answer.Description)))
	}
	if strings.HasPrefix(answer.Code, "ERROR_CODE_") && len(answer.Code) < 100 {
		return answer.Code
	}
	return "status 400"
}
