package verklaring

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

const (
	// backdated is how long before it is made a key counts, for clocks of others that are behind.
	backdated = time.Minute
	// renewAfter is when a key is replaced: what keeps the group key (Vault) may then be away for three quarters of an hour.
	renewAfter = 15 * time.Minute
	lookEvery  = 5 * time.Second // how often Run looks whether it is time
	tryEvery   = time.Second     // the least time between two tries after one failed
)

// Signer signs the verklaringen or the kwitanties of this peer, with an Ed25519 key that is in memory only and that the key of the
// group certificate certified. So a signature is cheap, and waits for nobody. Run makes a new key in time. A key whose renewal fails
// goes on until it ends; then nothing is signed, and the error says why. It is safe for concurrent use.
type Signer struct {
	group   func() *jose.Signer
	gebruik Gebruik
	now     func() time.Time

	current atomic.Pointer[sleutel]
	failed  atomic.Pointer[failure]
	making  sync.Mutex // one at a time

	mu     sync.Mutex // guards what follows
	open   *batch     // the statements that wait to be signed together; nil: none waits
	before int        // statements in the batch before
}

// sleutel is a key with what goes before and after all that it signs.
type sleutel struct {
	key      ed25519.PrivateKey
	head     string            // of a statement that is signed alone
	treeHead string            // of one that is signed with others
	bewijs   string            // after every statement
	digest   string            // of bewijs
	cert     *x509.Certificate // whose key certified it

	notBefore, renewal, expires time.Time
}

// fits tells whether the key can sign at this moment under this certificate.
func (k *sleutel) fits(cert *x509.Certificate, at time.Time) bool {
	return k != nil && k.cert.Equal(cert) && !at.Before(k.notBefore) && at.Before(k.expires)
}

type failure struct {
	at  time.Time
	err error
}

// NewSigner makes a Signer for one use. group gives the group certificate of this moment, with its key.
func NewSigner(group func() *jose.Signer, g Gebruik, now func() time.Time) *Signer {
	return &Signer{group: group, gebruik: g, now: now}
}

// Cert is the group certificate under which a signature stands that is made now.
func (s *Signer) Cert() *x509.Certificate { return s.group().Cert }

// Run makes a key at once, and a new one well before the end of each and when the group certificate is another, until ctx ends. It
// tells the log once when that fails, and once when it is mended.
func (s *Signer) Run(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	told := ""
	for {
		group, now := s.group(), s.now()
		_, err := s.renew(group, func(k *sleutel) bool { return k.fits(group.Cert, now) && now.Before(k.renewal) })
		switch {
		case err == nil && told != "":
			log.Info("key to sign with renewed again", slog.String("for", string(s.gebruik)))
			told = ""
		case err != nil && told != err.Error():
			told = err.Error()
			until := time.Time{}
			if k := s.current.Load(); k != nil {
				until = k.expires
			}
			log.Error("key to sign with not renewed; the one of before goes on until it ends", slog.String("for", string(s.gebruik)), slog.Time("until", until), slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sign makes the JWS of a payload that says iat. Only the first signature, and the first after a change of certificate that Run has
// not seen yet, waits for the group key.
func (s *Signer) sign(typ string, g Gebruik, payload []byte, iat time.Time) (statement, error) {
	if s == nil || s.gebruik != g {
		return statement{}, gateway.Errorf(gateway.Internal, "signer: is not for a %s", g)
	}
	group := s.group()
	k := s.current.Load()
	if !k.fits(group.Cert, iat) {
		var err error
		if k, err = s.renew(group, func(k *sleutel) bool { return k.fits(group.Cert, iat) }); err != nil {
			return statement{}, err
		}
		if !k.fits(group.Cert, iat) {
			return statement{}, gateway.Errorf(gateway.Internal, "%s: iat: is not now", typ)
		}
	}
	// Whether it fits must not depend on who else signs at this moment.
	if n := len(k.treeHead) + base64.RawURLEncoding.EncodedLen(len(payload)) + jose.MaxTreePart + len("..~") + len(k.bewijs); n > MaxBytes {
		return statement{}, gateway.Errorf(gateway.Invalid, "%s: may take %d bytes, at most %d are accepted", g, n, MaxBytes)
	}
	jws, err := s.together(k, payload)
	return statement{jws, k}, err
}

// statement is what a key signed.
type statement struct {
	jws []byte
	by  *sleutel
}

// whole is the statement with its sleutelbewijs.
func (s statement) whole() string { return s.with(s.by.bewijs) }

// with is the statement with something behind the tilde.
func (s statement) with(tail string) string {
	var b strings.Builder
	b.Grow(len(s.jws) + 1 + len(tail))
	b.Write(s.jws)
	b.WriteByte('~')
	b.WriteString(tail)
	return b.String()
}

// joinFor bounds how long the first of a batch waits for others.
const joinFor = time.Millisecond

// batch is what one signature covers: statements that were made while it was open. Whoever opened it closes it and signs.
type batch struct {
	key      *sleutel
	began    time.Time
	payloads [][]byte
	signed   [][]byte // JWS by payload, once done is closed; none if signing broke
	done     chan struct{}
}

// together signs a payload with those of others that are at it at the same moment.
func (s *Signer) together(k *sleutel, payload []byte) ([]byte, error) {
	now := time.Now()
	s.mu.Lock()
	r := s.open
	if r == nil || r.key != k || len(r.payloads) == jose.MaxTree || now.Sub(r.began) > joinFor {
		r = &batch{key: k, began: now, done: make(chan struct{})}
		s.open = r
	}
	at := len(r.payloads)
	r.payloads = append(r.payloads, payload)
	s.mu.Unlock()
	if at == 0 {
		s.finish(r)
	}
	<-r.done
	if r.signed == nil {
		return nil, gateway.Errorf(gateway.Internal, "signer: signing broke")
	}
	return r.signed[at], nil
}

// finish lets others join, for joinFor at most, and signs. Where nobody else signs it does not sleep; on a busy machine those who were about
// to sign are ahead of us in the queue for a processor, and if fewer than half come of those in the batch before, it waits for them.
func (s *Signer) finish(r *batch) {
	defer close(r.done)
	for n := 0; ; {
		runtime.Gosched()
		s.mu.Lock()
		if time.Since(r.began) > joinFor || n == len(r.payloads) && 2*n >= s.before {
			break
		}
		few := n == len(r.payloads)
		n = len(r.payloads)
		s.mu.Unlock()
		if few {
			time.Sleep(joinFor)
		}
	}
	if s.open == r {
		s.open = nil
	}
	s.before = len(r.payloads)
	s.mu.Unlock()
	r.signed = r.key.sign(r.payloads)
}

// sign makes the JWS of each payload. One alone is a JWS as anybody's library reads it.
func (k *sleutel) sign(payloads [][]byte) [][]byte {
	if len(payloads) > 1 {
		return jose.SignEdDSATree(k.key, k.treeHead, payloads)
	}
	return [][]byte{jose.AppendEdDSA(nil, k.key, k.head, payloads[0])}
}

// renew makes a new key, unless another did so meanwhile (good), or failed a moment ago.
func (s *Signer) renew(group *jose.Signer, good func(*sleutel) bool) (*sleutel, error) {
	if k := s.current.Load(); good(k) {
		return k, nil
	}
	if !s.making.TryLock() {
		if f := s.failed.Load(); f != nil {
			return nil, f.err // what keeps the group key may take seconds to fail; who waits for that need not wait twice
		}
		s.making.Lock()
	}
	defer s.making.Unlock()
	now := s.now()
	if k := s.current.Load(); good(k) {
		return k, nil
	}
	if f := s.failed.Load(); f != nil && now.Sub(f.at) < tryEvery && !now.Before(f.at) {
		return nil, f.err
	}
	k, err := s.make(group, now)
	if err != nil {
		err = &gateway.Error{Kind: gateway.Unavailable, Message: "key to sign a " + string(s.gebruik) + " with: not certified by the key of the group certificate", Cause: err}
		s.failed.Store(&failure{s.now(), err})
		return nil, err
	}
	s.failed.Store(nil)
	s.current.Store(k)
	return k, nil
}

func (s *Signer) make(group *jose.Signer, now time.Time) (*sleutel, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	k := &sleutel{key: key, cert: group.Cert, notBefore: now.Add(-backdated).Truncate(time.Second), renewal: now.Add(renewAfter)}
	k.expires = k.notBefore.Add(MaxSleutelLife)
	if k.bewijs, err = certify(group, s.gebruik, pub, k.notBefore, k.expires); err != nil {
		return nil, err
	}
	k.digest = Digest([]byte(k.bewijs))
	typ := map[Gebruik]string{VoorVerklaring: Typ, VoorKwitantie: KwitantieTyp}[s.gebruik]
	if k.head, err = jose.EdDSAHead(typ, jose.Thumbprint(group.Cert)); err != nil {
		return nil, err
	}
	k.treeHead, err = jose.EdDSATreeHead(typ, jose.Thumbprint(group.Cert))
	return k, err
}
