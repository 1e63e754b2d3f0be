package verklaring

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway/jose"
)

// oneProcessor makes who joins a batch a matter of order: whoever yields lets all others run first.
func oneProcessor(t *testing.T) {
	t.Helper()
	before := runtime.GOMAXPROCS(1)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

func newSleutel(t *testing.T) *sleutel {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x5t := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	k := &sleutel{key: key}
	k.head, err = jose.EdDSAHead(Typ, x5t)
	if err == nil {
		k.treeHead, err = jose.EdDSATreeHead(Typ, x5t)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// leaves says how many were signed with a statement.
func leaves(t *testing.T, jws []byte) int {
	t.Helper()
	sig, err := base64.RawURLEncoding.DecodeString(string(jws[bytes.LastIndexByte(jws, '.')+1:]))
	if err != nil {
		t.Fatal(err)
	}
	if len(sig) == ed25519.SignatureSize {
		return 1
	}
	return int(binary.BigEndian.Uint16(sig[ed25519.SignatureSize:]))
}

// However many sign at once, and whichever of two keys each has: everybody gets its own statement, by its own key.
func TestEverybodyGetsHisOwn(t *testing.T) {
	oneProcessor(t)
	keys := []*sleutel{newSleutel(t), newSleutel(t)}
	for _, of := range []int{1, 2} { // keys in use
		var s Signer
		var all sync.WaitGroup
		for i := range 3 * jose.MaxTree {
			all.Go(func() {
				k := keys[i/10%of]
				payload := fmt.Sprintf(`{"i":%d}`, i)
				got, err := s.together(k, []byte(payload))
				if err != nil {
					t.Error(err)
					return
				}
				p, err := jose.ParseEdDSA(string(got), MaxBytes)
				if err != nil || string(p.Payload) != payload || p.VerifyKey(k.key.Public()) != nil {
					t.Errorf("%d: got %+v, %v", i, p, err)
				}
			})
		}
		all.Wait()
		if s.open != nil {
			t.Error("a batch is left open")
		}
	}
}

// Nobody joins a batch that is full, that is for another key, or that began a while ago.
func TestJoinsNoOther(t *testing.T) {
	k, now := newSleutel(t), time.Now().Add(time.Minute)
	full := make([][]byte, jose.MaxTree)
	for name, b := range map[string]*batch{
		"full": {key: k, began: now, payloads: full}, "of another key": {key: newSleutel(t), began: now, payloads: full[:1]},
		"that began before": {key: k, began: time.Now().Add(-2 * joinFor), payloads: full[:1]},
	} {
		b.done = make(chan struct{})
		close(b.done) // who joins it gets nothing
		s := Signer{open: b}
		if got, err := s.together(k, []byte("{}")); err != nil || leaves(t, got) != 1 {
			t.Errorf("joins one %s: %v", name, err)
		}
	}
	b := &batch{key: k, began: now, payloads: full[:1], done: make(chan struct{})}
	close(b.done)
	if _, err := (&Signer{open: b}).together(k, []byte("{}")); err == nil {
		t.Error("joins none at all")
	}
}

// Who signs first waits a moment and no longer, also when on a busy processor there is always one more to join.
func TestFirstDoesNotWaitForAll(t *testing.T) {
	oneProcessor(t)
	var s Signer
	k := newSleutel(t)
	var all sync.WaitGroup
	var join func(n int)
	join = func(n int) {
		for began := time.Now(); time.Since(began) < joinFor; { // busy with its question
		}
		if n > 0 {
			all.Go(func() { join(n - 1) })
		}
		if _, err := s.together(k, []byte("{}")); err != nil {
			t.Error(err)
		}
	}
	all.Go(func() { join(200) })
	first, err := s.together(k, []byte("{}"))
	if n := leaves(t, first); err != nil || n > 3 {
		t.Errorf("the first waited for %d others, each of which took a millisecond (%v)", n-1, err)
	}
	all.Wait()
}

// Signing that breaks gives an error to all that waited for it, and the next is signed.
func TestSigningBreaks(t *testing.T) {
	oneProcessor(t)
	var s Signer
	broken := newSleutel(t)
	broken.key = broken.key[:3]
	var panicked, failed atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			defer func() {
				if recover() != nil {
					panicked.Add(1)
				}
			}()
			if _, err := s.together(broken, []byte("{}")); err != nil {
				failed.Add(1)
			}
		})
	}
	all.Wait()
	if panicked.Load() != 1 || failed.Load() != 19 {
		t.Errorf("%d of 20 panicked, %d got an error, want 1 and 19", panicked.Load(), failed.Load())
	}
	if got, err := s.together(newSleutel(t), []byte("{}")); err != nil || leaves(t, got) != 1 {
		t.Errorf("after it: %q, %v", got, err)
	}
}
