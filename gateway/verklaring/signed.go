package verklaring

import (
	"crypto/x509"
	"strings"
	"sync"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

// Signed is a verklaring or kwitantie as its JWS: signed by the key of the certificate that x5t#S256 names, or by a key that this one
// certified, whose sleutelbewijs follows after a tilde. Either way it can be checked by itself, offline and years later: its chain
// under the anchor of that day, then Verify.
type Signed struct {
	parsed *jose.Parsed
	key    *certified  // nil: signed by the key of the certificate
	trees  *jose.Trees // remembers trees of statements; may be nil

	issuer gateway.PeerID // what the payload says
	iat    time.Time
}

// certified is a key with its sleutelbewijs. It does not change once it is remembered.
type certified struct {
	*sleutelbewijs
	compact string              // the sleutelbewijs as received
	heads   [2]*jose.Head       // of what the key signs, alone and with others; set once it is remembered
	chain   []*x509.Certificate // what it embeds, once parsed
	proven  bool                // its signature is known to be that of chain[0]
}

// open reads a JWS of this kind. It checks no signature.
func open(compact, typ string, g Gebruik, keys *Keys, now time.Time) (_ *Signed, err error) {
	if len(compact) > MaxBytes {
		return nil, gateway.Errorf(gateway.Denied, "%d bytes, at most %d are accepted", len(compact), MaxBytes)
	}
	s := &Signed{}
	if keys != nil {
		s.trees = &keys.trees
	}
	statement, bewijs, byKey := strings.Cut(compact, "~")
	if byKey {
		known := false
		if s.key = keys.find(bewijs, now); s.key != nil {
			for i := 0; i < len(s.key.heads) && !known; i++ {
				s.parsed, known = s.key.heads[i].Parse(statement, MaxBytes)
			}
		}
		if !known {
			s.parsed, err = jose.ParseEdDSA(statement, MaxBytes)
		}
	} else {
		s.parsed, err = jose.ParseCompact(statement, MaxBytes)
	}
	switch {
	case err != nil:
		return nil, err
	case s.parsed.Typ != typ:
		return nil, gateway.Errorf(gateway.Denied, "typ: want %s", typ)
	case !byKey && len(s.parsed.X5C) == 0:
		return nil, gateway.Errorf(gateway.Denied, "x5c: missing; embed the certificate that signed")
	case !byKey:
		return s, nil
	}
	if s.key == nil {
		s.key = &certified{compact: bewijs}
		if s.key.sleutelbewijs, err = parseSleutel(bewijs); err != nil {
			return nil, err
		}
	}
	switch k := s.key; {
	case k.parsed.X5T != s.parsed.X5T:
		return nil, gateway.Errorf(gateway.Denied, "sleutelbewijs: x5t#S256: is another certificate than the statement names")
	case k.gebruik != g:
		return nil, gateway.Errorf(gateway.Denied, "sleutelbewijs: gebruik: its key may not sign a %s", g)
	}
	return s, nil
}

// X5T is the thumbprint of the certificate of the peer that signed.
func (s *Signed) X5T() string { return s.parsed.X5T }

// Payload is what was signed.
func (s *Signed) Payload() []byte { return s.parsed.Payload }

// Chain is the embedded chain. Who made it is unknown until the caller has verified it under a trust anchor.
func (s *Signed) Chain() ([]*x509.Certificate, error) {
	if s.key == nil {
		return s.parsed.Chain()
	}
	if s.key.chain == nil {
		chain, err := s.key.parsed.Chain()
		if err != nil {
			return nil, err
		}
		s.key.chain = chain
	}
	return s.key.chain, nil
}

// Verify checks that cert is the one of x5t#S256, and that its key signed; or that its key certified, for this peer, this use and
// the moment of iat, the key that did. Whether cert may be trusted is the caller's business. The error is of kind Denied.
func (s *Signed) Verify(cert *x509.Certificate) error {
	k := s.key
	if k == nil {
		return s.parsed.Verify(cert)
	}
	if cert == nil || jose.Thumbprint(cert) != s.parsed.X5T {
		return gateway.Errorf(gateway.Denied, "signature: x5t#S256 names another certificate")
	}
	if !k.proven {
		if err := k.parsed.Verify(cert); err != nil {
			return gateway.Wrap(gateway.Denied, err, "sleutelbewijs")
		}
	}
	switch {
	case k.issuer != s.issuer:
		return gateway.Errorf(gateway.Denied, "sleutelbewijs: iss: is another peer")
	// One clock wrote all three. That iat is now, the caller checks with the leeway that it gives between peers.
	case s.iat.Before(k.notBefore):
		return gateway.Errorf(gateway.Denied, "sleutelbewijs: nbf: had not come when this was signed")
	case !s.iat.Before(k.expires):
		return gateway.Errorf(gateway.Denied, "sleutelbewijs: exp: had passed when this was signed")
	}
	return s.parsed.VerifyEdDSA(k.key, s.trees)
}

const (
	// maxKeys bounds the keys that are remembered: a peer has about four an hour, of which one is in use.
	maxKeys = 1024
	// staleAfter is how long after its end a key is of no use to anybody: what it signed last lives a minute, and clocks differ.
	staleAfter = 2 * MaxTTL
)

// Keys remembers certified keys, so that a sleutelbewijs is read and its signature verified once, not with each statement; and the trees
// of statements that one signature covers. What is remembered follows from its bytes alone: which key is certified, by the key of which certificate. Everything that depends on the
// moment or on who calls (validity, revocation, contract, purpose) is checked each time. The zero value is ready; it is safe for
// concurrent use.
type Keys struct {
	mu    sync.RWMutex
	known map[string]*certified     // by sleutelbewijs; guarded by mu
	of    map[gateway.PeerID]*Known // what Of made of known since it changed; guarded by mu
	trees jose.Trees
}

func (k *Keys) find(bewijs string, now time.Time) *certified {
	if k == nil {
		return nil
	}
	k.mu.RLock()
	found := k.known[bewijs]
	k.mu.RUnlock()
	if found != nil && found.stale(now) {
		k.mu.Lock()
		delete(k.known, bewijs)
		k.mu.Unlock()
		return nil
	}
	return found
}

func (c *certified) stale(now time.Time) bool { return !now.Before(c.expires.Add(staleAfter)) }

// keep remembers the key of a statement that passed every check.
func (k *Keys) keep(s *Signed, now time.Time) {
	if k == nil || s.key == nil || s.key.proven || s.key.stale(now) {
		return
	}
	chain, err := s.Chain()
	if err != nil {
		return
	}
	c := &certified{sleutelbewijs: s.key.sleutelbewijs, compact: strings.Clone(s.key.compact), chain: chain, proven: true}
	c.heads = [2]*jose.Head{s.parsed.Head(), s.parsed.Twin()}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known == nil {
		k.known = make(map[string]*certified)
	}
	delete(k.of, c.issuer)
	if len(k.known) >= maxKeys {
		clear(k.of)
		for bewijs, old := range k.known {
			if old.stale(now) {
				delete(k.known, bewijs)
			}
		}
		for bewijs := range k.known { // still full: any will do, it only costs time
			if len(k.known) < maxKeys*3/4 {
				break
			}
			delete(k.known, bewijs)
		}
	}
	k.known[c.compact] = c
}
