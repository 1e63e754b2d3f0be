package accesstoken

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

// maxCached bounds the tokens whose signature is remembered; each is one that this peer signed.
const maxCached = 4096

// nbfLeeway is how far the clocks of the peer's own processes may differ.
const nbfLeeway = 5 * time.Second

// Verifier accepts the tokens that this peer signed. It is safe for concurrent use; the fields don't change once it is used.
type Verifier struct {
	Self      gateway.PeerID
	Group     gateway.GroupID
	Cert      func(x5t string) (*x509.Certificate, bool) // this peer's own signing certificates that still count
	Now       func() time.Time
	Audiences []string // own inway URLs; when there are any, aud must be one of them

	mu    sync.Mutex
	known map[[32]byte]verified // guarded by mu
}

// verified is a token whose signature was found good under cert. Its claims are never changed nor handed out.
type verified struct {
	claims Claims
	x5t    string
	cert   *x509.Certificate
}

// NewVerifier makes a Verifier of one peer in one group.
func NewVerifier(self gateway.PeerID, group gateway.GroupID, cert func(x5t string) (*x509.Certificate, bool), now func() time.Time) *Verifier {
	return &Verifier{Self: self, Group: group, Cert: cert, Now: now}
}

// FromHeader takes the token from the values of Fsc-Authorization: "Bearer <token>", or the bare token.
func FromHeader(values []string) (string, error) {
	if len(values) == 0 || strings.TrimSpace(values[0]) == "" {
		return "", gateway.WithCode(gateway.Denied, CodeMissing, "Fsc-Authorization: missing; send Bearer and the access token")
	}
	if len(values) > 1 {
		return "", invalid("Fsc-Authorization: is there twice")
	}
	token := strings.TrimSpace(values[0])
	if scheme, rest, ok := strings.Cut(token, " "); ok {
		if !strings.EqualFold(scheme, "Bearer") {
			return "", invalid("Fsc-Authorization: the scheme must be Bearer")
		}
		token = strings.TrimSpace(rest)
	}
	if strings.EqualFold(token, "Bearer") {
		return "", gateway.WithCode(gateway.Denied, CodeMissing, "Fsc-Authorization: missing; send Bearer and the access token")
	}
	return token, nil
}

// Verify accepts a token that this peer signed for this group, now, for the holder of clientCert: the certificate of the very
// connection that the request came in on. Errors are of kind Denied with a code of the Inway.
func (v *Verifier) Verify(compact string, clientCert *x509.Certificate) (*Claims, error) {
	if compact == "" {
		return nil, gateway.WithCode(gateway.Denied, CodeMissing, "access token: missing")
	}
	if len(compact) > MaxBytes {
		return nil, invalid("too long")
	}
	if v.Self == "" || v.Group == "" || v.Cert == nil || v.Now == nil {
		return nil, gateway.Errorf(gateway.Internal, "access token verifier: not set up")
	}
	key := sha256.Sum256([]byte(compact))
	entry, hit := v.load(key)
	if !hit {
		claims, parsed, err := Parse(compact)
		if err != nil {
			return nil, err
		}
		cert, ok := v.Cert(parsed.X5T)
		if !ok || cert == nil {
			return nil, invalid("x5t#S256: is not signed by this peer")
		}
		if err := parsed.Verify(cert); err != nil {
			return nil, invalidCause(err)
		}
		entry = verified{claims: *claims, x5t: parsed.X5T, cert: cert}
	}
	now := v.Now()
	if err := v.judge(entry, hit, clientCert, now); err != nil {
		return nil, err
	}
	if !hit {
		v.store(key, entry, now)
	}
	out := entry.claims
	out.Prp, out.Add = bytes.Clone(out.Prp), bytes.Clone(out.Add)
	return &out, nil
}

// judge checks what the signature doesn't settle for good.
func (v *Verifier) judge(e verified, hit bool, clientCert *x509.Certificate, now time.Time) error {
	if hit {
		if cert, ok := v.Cert(e.x5t); !ok || cert == nil || !cert.Equal(e.cert) {
			return invalid("x5t#S256: the certificate that signed it no longer counts")
		}
	}
	c := e.claims
	switch {
	case c.Issuer != v.Self:
		return invalid("iss: is not this peer")
	case c.GroupID != v.Group:
		return gateway.WithCode(gateway.Denied, CodeWrongGroup, "access token: gid: is for another group")
	case !now.Before(c.Expires):
		return gateway.WithCode(gateway.Denied, CodeExpired, "access token: exp: has passed; get a new one")
	case now.Before(c.NotBefore.Add(-nbfLeeway)):
		return invalid("nbf: has not come yet")
	case clientCert == nil || jose.Thumbprint(clientCert) != c.Cnf:
		return invalid("cnf: is bound to another client certificate")
	case len(v.Audiences) > 0 && !slices.Contains(v.Audiences, c.Audience):
		return invalid("aud: is for another inway")
	}
	return nil
}

func (v *Verifier) load(key [32]byte) (verified, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e, ok := v.known[key]
	return e, ok
}

func (v *Verifier) store(key [32]byte, e verified, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known == nil {
		v.known = make(map[[32]byte]verified)
	}
	if len(v.known) >= maxCached {
		for k, old := range v.known {
			if !now.Before(old.claims.Expires) {
				delete(v.known, k)
			}
		}
		for k := range v.known { // still full: any will do, it is only a cache
			if len(v.known) < maxCached*3/4 {
				break
			}
			delete(v.known, k)
		}
	}
	v.known[key] = e
}
