package edge

import (
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

// Caller is who calls on the own network, as a verified token says it.
type Caller struct {
	Subject     string
	Rollen      []string
	Organisatie gateway.PeerID
	Token       string    // the token itself, to hand on to another role of this peer; never to another peer, never to a log
	Expires     time.Time // exp of the token: what outlives a request ends then
}

// Has reports whether the caller has one of the roles.
func (c Caller) Has(rollen ...string) bool {
	return slices.ContainsFunc(rollen, func(rol string) bool { return slices.Contains(c.Rollen, rol) })
}

// Issuers says whose tokens are accepted on the own network. All fields are needed, of Keys and JWKS at least one.
type Issuers struct {
	Issuer      string             // iss, exactly
	Audience    string             // must be among aud
	Keys        []crypto.PublicKey // RSA of 2048 bits or more, ECDSA P-256, P-384 or P-521
	JWKS        []byte             // the same as a JWK set (RFC 7517)
	Organisatie gateway.PeerID     // organisatie, exactly: the peer itself
}

// The bounds of a token of the own network. A clock that is behind may see a token up to Skew before its nbf; exp is exact.
const (
	maxTokenBytes = 8 << 10
	maxTokenCache = 10_000
	// MaxTokenLife is how long a token may live, whatever its issuer says: one that leaked is of use for no longer.
	MaxTokenLife = 24 * time.Hour
	Skew         = 10 * time.Second
)

// Verifier verifies the JWT of the own network (RFC 7519): iss, aud, exp, nbf, sub, rol, organisatie, signed with an algorithm
// that fits the issuer's key: RS256/384/512 or ES256/384/512, and no longer alive than MaxTokenLife. Verified tokens are kept by SHA-256 until exp.
type Verifier struct {
	cfg Issuers
	now func() time.Time

	mu    sync.RWMutex // guards what follows
	keys  *[]crypto.PublicKey
	cache map[[sha256.Size]byte]verified // of tokens that one of keys signed
}

type verified struct {
	caller Caller
	exp    time.Time
}

// NewVerifier checks the configuration; the error names the field.
func NewVerifier(cfg Issuers, now func() time.Time) (*Verifier, error) {
	if cfg.Issuer == "" || cfg.Audience == "" {
		return nil, gateway.Errorf(gateway.Invalid, "jwt issuer and audience: give both")
	}
	if _, err := gateway.ParsePeerID(string(cfg.Organisatie)); err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "jwt organisatie")
	}
	if now == nil {
		now = time.Now
	}
	v := &Verifier{cfg: cfg, now: now}
	if err := v.Replace(cfg.Keys); err != nil {
		return nil, err
	}
	return v, nil
}

// Replace takes other keys for those of Issuers.Keys. A token that only a key of before signed is refused from now on. On an error the
// keys of before stay.
func (v *Verifier) Replace(keys []crypto.PublicKey) error {
	keys = slices.Clone(keys)
	if len(v.cfg.JWKS) > 0 {
		set, err := jose.ParseJWKS(v.cfg.JWKS)
		if err != nil {
			return gateway.Wrap(gateway.Invalid, err, "jwt jwks")
		}
		for _, key := range set {
			keys = append(keys, key.Public)
		}
	}
	for i, key := range keys {
		if _, err := jose.PublicJWKS(key); err != nil {
			return gateway.Errorf(gateway.Invalid, "jwt key %d: give a public RSA key of at least 2048 bits, or ECDSA on P-256, P-384 or P-521", i+1)
		}
	}
	if len(keys) == 0 {
		return gateway.Errorf(gateway.Invalid, "jwt keys: give at least one key of the issuer")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys, v.cache = &keys, map[[sha256.Size]byte]verified{}
	return nil
}

// Caller verifies the token in the Authorization header. The error is of kind Denied with CodeUnauthenticated (401) and says
// which claim is wrong.
func (v *Verifier) Caller(r *http.Request) (Caller, error) {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return Caller{}, unauthenticated("Authorization: send one bearer token")
	}
	return v.Verify(Bearer(values[0], false))
}

// Verify verifies a token itself, for those who find it elsewhere.
func (v *Verifier) Verify(compact string) (Caller, error) {
	if compact == "" {
		return Caller{}, unauthenticated("Authorization: send one bearer token")
	}
	if len(compact) > maxTokenBytes {
		return Caller{}, unauthenticated("token: larger than %d bytes", maxTokenBytes)
	}
	now := v.now()
	sum := sha256.Sum256([]byte(compact))
	v.mu.RLock()
	known, ok := v.cache[sum]
	keys := v.keys
	v.mu.RUnlock()
	if !ok {
		var err error
		if known, err = v.verify(compact, *keys, now); err != nil {
			return Caller{}, err
		}
		v.keep(sum, known, keys, now)
	}
	if !now.Before(known.exp) {
		return Caller{}, unauthenticated("token exp: expired")
	}
	return known.caller, nil
}

func (v *Verifier) keep(sum [sha256.Size]byte, k verified, by *[]crypto.PublicKey, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.keys != by {
		return // the keys were replaced meanwhile
	}
	if len(v.cache) >= maxTokenCache {
		for s, old := range v.cache {
			if !now.Before(old.exp) {
				delete(v.cache, s)
			}
		}
		if len(v.cache) >= maxTokenCache {
			clear(v.cache)
		}
	}
	v.cache[sum] = k
}

type tokenClaims struct {
	Iss         string          `json:"iss"`
	Aud         json.RawMessage `json:"aud"`
	Exp         *float64        `json:"exp"`
	Nbf         *float64        `json:"nbf"`
	Iat         *float64        `json:"iat"`
	Sub         string          `json:"sub"`
	Rol         []string        `json:"rol"`
	Organisatie gateway.PeerID  `json:"organisatie"`
}

func (v *Verifier) verify(compact string, keys []crypto.PublicKey, now time.Time) (verified, error) {
	token, err := jose.ParseKeyed(compact, maxTokenBytes)
	if err != nil {
		return verified{}, unauthenticated("token: not a JWS that is accepted here")
	}
	if token.Typ != "" && !strings.EqualFold(token.Typ, "JWT") && !strings.EqualFold(token.Typ, "at+jwt") {
		return verified{}, unauthenticated("token typ: want JWT")
	}
	if !slices.ContainsFunc(keys, func(key crypto.PublicKey) bool { return token.VerifyKey(key) == nil }) {
		return verified{}, unauthenticated("token signature: not of the issuer")
	}
	var c tokenClaims
	if err := jose.Decode(token.Payload, &c, jose.AllowUnknown()); err != nil {
		return verified{}, unauthenticated("token claims: not strict JSON of the right types")
	}
	exp, expOK := seconds(c.Exp)
	nbf, nbfOK := seconds(c.Nbf)
	iat, iatOK := seconds(c.Iat)
	switch {
	case c.Iss != v.cfg.Issuer:
		return verified{}, unauthenticated("token iss: another issuer")
	case !hasAudience(c.Aud, v.cfg.Audience):
		return verified{}, unauthenticated("token aud: meant for another receiver")
	case c.Exp == nil || !expOK:
		return verified{}, unauthenticated("token exp: missing")
	case !now.Before(exp):
		return verified{}, unauthenticated("token exp: expired")
	case exp.Sub(now) > MaxTokenLife+Skew, iatOK && exp.Sub(iat) > MaxTokenLife:
		return verified{}, unauthenticated("token exp: lives longer than %v", MaxTokenLife)
	case c.Iat != nil && !iatOK:
		return verified{}, unauthenticated("token iat: not a time")
	case c.Nbf != nil && (!nbfOK || now.Add(Skew).Before(nbf)):
		return verified{}, unauthenticated("token nbf: not valid yet")
	case c.Sub == "" || len(c.Sub) > 255:
		return verified{}, unauthenticated("token sub: missing or longer than 255")
	case len(c.Rol) == 0 || slices.Contains(c.Rol, ""):
		return verified{}, unauthenticated("token rol: missing or empty")
	case c.Organisatie != v.cfg.Organisatie:
		return verified{}, unauthenticated("token organisatie: another organisation than this peer")
	}
	caller := Caller{Subject: c.Sub, Rollen: c.Rol, Organisatie: c.Organisatie, Token: compact}
	caller.Expires = exp
	return verified{caller: caller, exp: exp}, nil
}

func hasAudience(raw json.RawMessage, want string) bool {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return one == want
	}
	var many []string
	return json.Unmarshal(raw, &many) == nil && slices.Contains(many, want)
}

// seconds reads a NumericDate; ok is false if there is none, or it lies outside what a clock can mean.
func seconds(n *float64) (t time.Time, ok bool) {
	if n == nil || math.IsNaN(*n) || *n < 0 || *n > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(*n), 0), true
}

func unauthenticated(format string, args ...any) error {
	return gateway.WithCode(gateway.Denied, CodeUnauthenticated, format, args...)
}

// Require lets only verified callers through who have one of the roles (none given: any role), and puts the Caller into the
// context.
func (v *Verifier) Require(rollen ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			caller, err := v.Caller(r)
			if err == nil && len(rollen) > 0 && !caller.Has(rollen...) {
				err = gateway.WithCode(gateway.Denied, CodeRole, "rol: this needs one of %s", strings.Join(rollen, ", "))
			}
			if err != nil {
				WriteProblem(w, r, err)
				return
			}
			next.ServeHTTP(w, r.WithContext(withCaller(r.Context(), caller)))
		})
	}
}

// Claims of a token that IssueJWT makes.
type Claims struct {
	Issuer      string
	Audience    string
	Subject     string
	Rollen      []string
	Organisatie gateway.PeerID
}

// IssueJWT makes a token of the own network, for `grensloos token` and tests. ttl is at most 12 hours.
func IssueJWT(key crypto.Signer, c Claims, now time.Time, ttl time.Duration) (string, error) {
	if c.Issuer == "" || c.Audience == "" || c.Subject == "" || len(c.Rollen) == 0 || c.Organisatie == "" {
		return "", gateway.Errorf(gateway.Invalid, "token: give issuer, audience, subject, rol and organisatie")
	}
	if ttl <= 0 || ttl > 12*time.Hour {
		return "", gateway.Errorf(gateway.Invalid, "token ttl: give more than 0 and at most 12h")
	}
	payload, err := json.Marshal(map[string]any{
		"iss": c.Issuer, "aud": c.Audience, "sub": c.Subject, "rol": c.Rollen, "organisatie": c.Organisatie,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(ttl).Unix(), "jti": gateway.NewUUID(now),
	})
	if err != nil {
		return "", err
	}
	return jose.SignKey(key, payload, jose.Header{Typ: "JWT"})
}
