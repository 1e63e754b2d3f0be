package verklaring_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// vaultKey is a group key that stands elsewhere: it can be away, and it counts what it signs.
type vaultKey struct {
	crypto.Signer
	signed atomic.Int32
	away   atomic.Bool
	slow   atomic.Int64 // how long it takes to find that it is away
}

func (v *vaultKey) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if v.away.Load() {
		time.Sleep(time.Duration(v.slow.Load()))
		return nil, errors.New("vault https://vault.example: it is sealed")
	}
	v.signed.Add(1)
	return v.Signer.Sign(r, digest, opts)
}

// bench is a Signer over such a key, in the time of synctest.
type bench struct {
	t     *testing.T
	key   *vaultKey
	group atomic.Pointer[jose.Signer]
	*verklaring.Signer
	log bytes.Buffer
}

func newBench(t *testing.T) *bench {
	t.Helper()
	s := signer(t, uwi, nil)
	b := &bench{t: t, key: &vaultKey{Signer: s.Key}}
	b.group.Store(&jose.Signer{Key: b.key, Cert: s.Cert})
	b.Signer = verklaring.NewSigner(b.group.Load, verklaring.VoorVerklaring, time.Now)
	return b
}

func (b *bench) run() (stop func()) {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx, slog.New(slog.NewTextHandler(&b.log, nil))) }()
	synctest.Wait()
	return func() { cancel(); <-done }
}

// sign makes a statement of this moment and holds it to what a receiver would.
func (b *bench) sign() error {
	b.t.Helper()
	v := statement()
	v.IssuedAt = time.Now().Truncate(time.Second)
	v.Expires = v.IssuedAt.Add(time.Minute)
	compact, err := verklaring.Sign(b.Signer, v)
	if err != nil {
		return err
	}
	e := expect(b.group.Load(), v)
	e.Now = time.Now()
	if _, err := e.Verify(compact); err != nil {
		b.t.Errorf("at %s: signed, and refused: %v", time.Now(), err)
	}
	return nil
}

// A key is replaced long before its end, in the background: no signature waits for the group key.
func TestKeyIsRenewedInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.run()()
		if n := b.key.signed.Load(); n != 1 {
			t.Fatalf("%d keys certified at the start, want 1", n)
		}
		time.Sleep(time.Second) // not at the very moment at which Run looks
		for range 4 * 60 {
			before := b.key.signed.Load()
			if err := b.sign(); err != nil {
				t.Fatal(err)
			}
			if b.key.signed.Load() != before {
				t.Fatal("a signature waited for the group key")
			}
			time.Sleep(time.Minute)
		}
		if n := b.key.signed.Load(); n < 15 || n > 17 {
			t.Errorf("%d keys in four hours, want one each quarter of an hour", n)
		}
	})
}

// With the group key away the last key goes on until it ends; then nothing is signed, and the error says why. When it is back, the
// next signature works.
func TestKeyGoesOnUntilItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		stop := b.run()
		time.Sleep(14 * time.Minute)
		b.key.away.Store(true)
		time.Sleep(44 * time.Minute)
		if err := b.sign(); err != nil {
			t.Fatalf("with two minutes to go: %v", err)
		}
		time.Sleep(2 * time.Minute)
		err := b.sign()
		if gateway.KindOf(err) != gateway.Unavailable || !strings.Contains(err.Error(), "sealed") || !strings.Contains(err.Error(), "verklaring") {
			t.Errorf("after the end: got %v, want Unavailable with the reason", err)
		}
		b.key.away.Store(false)
		time.Sleep(time.Second)
		if err := b.sign(); err != nil {
			t.Errorf("the group key is back: %v", err)
		}
		time.Sleep(5 * time.Second)
		stop()
		if said := b.log.String(); strings.Count(said, "not renewed") != 1 || strings.Count(said, "renewed again") != 1 {
			t.Errorf("the log says it not once:\n%s", said)
		}
	})
}

// What keeps the group key may take long to fail: one waits for that, not each in turn.
func TestOneWaitsForAKeyThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.key.away.Store(true)
		b.key.slow.Store(int64(5 * time.Second))
		if err := b.sign(); err == nil {
			t.Fatal("signed")
		}
		time.Sleep(2 * time.Second)
		start := time.Now()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if err := b.sign(); gateway.KindOf(err) != gateway.Unavailable {
					t.Errorf("got %v", err)
				}
			})
		}
		all.Wait()
		if took := time.Since(start); took > 6*time.Second {
			t.Errorf("50 took %s", took)
		}
	})
}

// Many at once on the first signature have one key certified.
func TestManySignAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if err := b.sign(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := b.key.signed.Load(); n != 1 {
			t.Errorf("%d keys certified, want 1", n)
		}
	})
}

// What is signed at the same moment has one signature, and each statement stands by itself: for its own question, offline too, and for no
// other question of the same moment.
func TestSignedTogether(t *testing.T) {
	s := signer(t, uwi, nil)
	b := verklaring.NewSigner(func() *jose.Signer { return s }, verklaring.VoorVerklaring, func() time.Time { return now })
	const many = 40
	together := 0
	for try := 0; together == 0; try++ {
		if try == 1000 {
			t.Fatal("40 at once are never signed together")
		}
		var asked [many]verklaring.Verklaring
		var signed [many]string
		var start, all sync.WaitGroup
		start.Add(1)
		for i := range many {
			asked[i] = statement()
			asked[i].Transactie = gateway.NewTransactionID(now)
			all.Go(func() {
				start.Wait()
				var err error
				if signed[i], err = verklaring.Sign(b, asked[i]); err != nil {
					t.Error(err)
				}
			})
		}
		start.Done()
		all.Wait()
		var keys verklaring.Keys
		for i, compact := range signed {
			head, _, _ := strings.Cut(compact, ".")
			if raw, err := base64.RawURLEncoding.DecodeString(head); err == nil && strings.Contains(string(raw), jose.EdDSATree) {
				together++
			}
			e := expect(s, asked[i])
			for _, e.Keys = range []*verklaring.Keys{nil, &keys, &keys} {
				if v, err := e.Verify(compact); err != nil || v.Transactie != asked[i].Transactie {
					t.Fatalf("got %+v, %v", v, err)
				}
				if _, err := e.Verify(signed[(i+1)%many]); err == nil {
					t.Fatal("the statement of another question is accepted")
				}
				swapped := cut(t, compact)
				swapped.sig = cut(t, signed[(i+1)%many]).sig
				if _, err := e.Verify(swapped.String()); gateway.KindOf(err) != gateway.Denied {
					t.Fatalf("under the signature of another question: %v", err)
				}
			}
			_, offline, err := verklaring.Parse(compact)
			if err != nil || offline.Verify(s.Cert) != nil {
				t.Fatalf("offline: %v", err)
			}
		}
	}
}

// Whether a statement fits does not depend on who else signs.
func TestSignRefusesWhatMayNotFit(t *testing.T) {
	s := signer(t, uwi, nil)
	b := verklaring.NewSigner(func() *jose.Signer { return s }, verklaring.VoorVerklaring, func() time.Time { return now })
	v, last := statement(), 0
	v.Rollen = nil
	for len(v.Rollen) < 20 {
		for n := 0; n < 199; n += 3 {
			v.Rollen = append(v.Rollen[:len(v.Rollen):len(v.Rollen)], string(rune('a'+len(v.Rollen)))+strings.Repeat("<", n)) // six bytes each
			compact, err := verklaring.Sign(b, v)
			if err != nil {
				if gateway.KindOf(err) != gateway.Invalid || !strings.Contains(err.Error(), "at most 16384") || last < verklaring.MaxBytes-500-18 || last > verklaring.MaxBytes-jose.MaxTreePart+86 {
					t.Errorf("after one of %d bytes: %v", last, err)
				}
				return
			}
			last = len(compact)
			if n < 196 {
				v.Rollen = v.Rollen[:len(v.Rollen)-1]
			}
		}
	}
	t.Fatalf("a statement of %d bytes is the longest: nothing is refused", last)
}

// With a new group certificate a new key signs at once, since the connection shows the new one too; and so after the clock was set
// back to before the key.
func TestKeyOfAnotherCertificateOrTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		if err := b.sign(); err != nil {
			t.Fatal(err)
		}
		renewed := signer(t, uwi, b.key.Signer)
		b.group.Store(&jose.Signer{Key: b.key, Cert: renewed.Cert})
		if err := b.sign(); err != nil { // sign verifies it under the new certificate
			t.Fatal(err)
		}
		if !b.Cert().Equal(renewed.Cert) || b.key.signed.Load() != 2 {
			t.Errorf("%d keys certified, want a second for the new certificate", b.key.signed.Load())
		}
		stop := b.run()
		third := signer(t, uwi, b.key.Signer)
		b.group.Store(&jose.Signer{Key: b.key, Cert: third.Cert})
		time.Sleep(5 * time.Second)
		stop()
		if n := b.key.signed.Load(); n != 3 {
			t.Errorf("%d keys certified, want a third without a signature asking for it", n)
		}
	})
	clock := now
	s := signer(t, uwi, nil)
	back := verklaring.NewSigner(func() *jose.Signer { return s }, verklaring.VoorVerklaring, func() time.Time { return clock })
	for _, at := range []time.Time{now, now.Add(-30 * time.Second), now.Add(-2 * time.Hour)} {
		clock = at
		v := statement()
		v.IssuedAt, v.Expires = at, at.Add(time.Minute)
		compact, err := verklaring.Sign(back, v)
		if err != nil {
			t.Fatal(err)
		}
		e := expect(s, v)
		e.Now = at
		if _, err := e.Verify(compact); err != nil {
			t.Errorf("at %s: %v", at, err)
		}
	}
}

// A signer signs what it is for, of now.
func TestSignerRefuses(t *testing.T) {
	s := signer(t, borne, nil)
	if _, err := verklaring.SignKwitantie(statements(s), receipt()); err == nil || !strings.Contains(err.Error(), "is not for a kwitantie") {
		t.Errorf("a key for verklaringen signed a kwitantie: %v", err)
	}
	if _, err := verklaring.Sign(receipts(s), statement()); err == nil || !strings.Contains(err.Error(), "is not for a verklaring") {
		t.Errorf("a key for kwitanties signed a verklaring: %v", err)
	}
	if _, err := verklaring.Sign(nil, statement()); err == nil {
		t.Error("signed without a signer")
	}
	late := statement()
	late.IssuedAt, late.Expires = now.Add(2*time.Hour), now.Add(2*time.Hour+time.Minute)
	if _, err := verklaring.Sign(statements(s), late); err == nil || !strings.Contains(err.Error(), "iat") {
		t.Errorf("signed a statement of after its key: %v", err)
	}
	broken := verklaring.NewSigner(func() *jose.Signer { return &jose.Signer{Key: s.Key, Cert: signer(t, borne, nil).Cert} }, verklaring.VoorVerklaring, func() time.Time { return now })
	if _, err := verklaring.Sign(broken, statement()); gateway.KindOf(err) != gateway.Unavailable {
		t.Errorf("certified by the key of another certificate: %v", err)
	}
}
