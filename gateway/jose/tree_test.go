package jose_test

import (
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

// grove makes trees under one header.
type grove struct {
	t               testing.TB
	key             ed25519.PrivateKey
	pub             ed25519.PublicKey
	head, headAlone string
	x5t             string
}

func newGrove(t testing.TB) *grove {
	t.Helper()
	s := signerOf(t, ecKey(t, elliptic.P256()))
	g := &grove{t: t, x5t: jose.Thumbprint(s.Cert)}
	g.pub, g.key = edKey(t)
	var err error
	if g.head, err = jose.EdDSATreeHead("x", g.x5t); err != nil {
		t.Fatal(err)
	}
	if g.headAlone, err = jose.EdDSAHead("x", g.x5t); err != nil {
		t.Fatal(err)
	}
	return g
}

// of signs n payloads together.
func (g *grove) of(n int) []string {
	g.t.Helper()
	payloads := make([][]byte, n)
	for i := range payloads {
		payloads[i] = fmt.Appendf(nil, `{"a":%d}`, i)
	}
	var all []string
	for _, one := range jose.SignEdDSATree(g.key, g.head, payloads) {
		all = append(all, string(one))
	}
	return all
}

// verify reads and verifies, with a fresh memory, with one that has seen it, and without any: all three must say the same.
func (g *grove) verify(compact string) error {
	g.t.Helper()
	p, err := jose.ParseEdDSA(compact, 8192)
	if err != nil {
		return err
	}
	err = p.VerifyKey(g.pub)
	var trees jose.Trees
	for range 2 {
		if remembered := p.VerifyEdDSA(g.pub, &trees); (remembered == nil) != (err == nil) {
			g.t.Errorf("with a memory %v, without %v", remembered, err)
		}
	}
	return err
}

// parts gives the three parts, the last one decoded.
func parts(t testing.TB, compact string) (head, payload string, sig []byte) {
	t.Helper()
	all := strings.Split(compact, ".")
	sig, err := base64.RawURLEncoding.DecodeString(all[2])
	if err != nil {
		t.Fatal(err)
	}
	return all[0], all[1], sig
}

// merkle is the tree hash as RFC 9162 (2.1.1) defines it.
func merkle(leaves [][]byte) []byte {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := 1
	for k*2 < len(leaves) {
		k *= 2
	}
	sum := sha256.Sum256(slices.Concat([]byte{1}, merkle(leaves[:k]), merkle(leaves[k:])))
	return sum[:]
}

// What is signed together is one tree as RFC 9162 defines it, over leaves that nobody can guess, and each statement proves by itself that it
// is in it.
func TestTree(t *testing.T) {
	g := newGrove(t)
	for _, n := range []int{2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 100, 255, 256} {
		all := g.of(n)
		var leaves [][]byte
		for i, compact := range all {
			if err := g.verify(compact); err != nil {
				t.Errorf("%d of %d: %v", i, n, err)
			}
			p, err := jose.ParseEdDSA(compact, 8192)
			if err != nil || p.Alg != jose.EdDSATree || p.Typ != "x" || p.X5T != g.x5t || string(p.Payload) != fmt.Sprintf(`{"a":%d}`, i) {
				t.Errorf("%d of %d: got %+v, %v", i, n, p, err)
			}
			head, payload, sig := parts(t, compact)
			if size, at := int(binary.BigEndian.Uint16(sig[64:])), int(binary.BigEndian.Uint16(sig[66:])); size != n || at != i {
				t.Errorf("%d of %d says that it is %d of %d", i, n, at, size)
			}
			leaf := sha256.Sum256(slices.Concat([]byte{0}, sig[68:84], []byte(head+"."+payload)))
			leaves = append(leaves, leaf[:])
		}
		signed := slices.Concat([]byte("fsc-doelbinding, a tree of statements\x00"), binary.BigEndian.AppendUint16(nil, uint16(n)), merkle(leaves))
		_, _, sig := parts(t, all[0])
		if _, longest, _ := strings.Cut(all[0][strings.Index(all[0], ".")+1:], "."); len(longest) > jose.MaxTreePart || n == jose.MaxTree && len(longest) != jose.MaxTreePart {
			t.Errorf("%d: a third part of %d bytes, said is at most %d", n, len(longest), jose.MaxTreePart)
		}
		if !ed25519.Verify(g.pub, signed, sig[:64]) {
			t.Errorf("%d: the signature is not over the tree hash of RFC 9162", n)
		}
	}
	a, b := g.of(2), g.of(2)
	_, _, first := parts(t, a[0])
	_, _, again := parts(t, b[0])
	if slices.Equal(first[68:84], again[68:84]) || slices.Equal(first[84:], again[84:]) {
		t.Error("the same statements give the same hashes: who gets one can confirm a guess of the others")
	}
}

func TestTreeRefuses(t *testing.T) {
	g := newGrove(t)
	all, others := g.of(5), g.of(5)
	head, payload, sig := parts(t, all[1])
	_, otherPayload, otherSig := parts(t, others[1])
	_, _, third := parts(t, all[3])
	make3 := func(head, payload string, sig []byte) string {
		return head + "." + payload + "." + base64.RawURLEncoding.EncodeToString(sig)
	}
	if err := g.verify(make3(head, payload, sig)); err != nil {
		t.Fatal(err)
	}
	at := func(size, at uint16) []byte {
		changed := slices.Clone(sig)
		binary.BigEndian.PutUint16(changed[64:], size)
		binary.BigEndian.PutUint16(changed[66:], at)
		return changed
	}
	signedAlone := string(jose.AppendEdDSA(nil, g.key, g.headAlone, []byte(`{"a":1}`)))
	_, _, alone := parts(t, signedAlone)
	root := sha256.Sum256(slices.Concat([]byte{0}, sig[68:84], []byte(head+"."+payload)))
	signedAs := func(size, at byte) []byte { // by the honest key, with the leaf for the root
		m := slices.Concat([]byte("fsc-doelbinding, a tree of statements\x00"), []byte{0, size}, root[:])
		return slices.Concat(ed25519.Sign(g.key, m), []byte{0, size, 0, at}, sig[68:84])
	}
	for name, wrong := range map[string]string{
		"another payload":              make3(head, otherPayload+"AA", sig),
		"the payload of another leaf":  strings.Split(all[2], ".")[0] + "." + strings.Split(all[2], ".")[1] + "." + strings.Split(all[1], ".")[2],
		"another header":               make3(b64(`{"alg":"`+jose.EdDSATree+`","typ":"y","x5t#S256":"`+g.x5t+`"}`), payload, sig),
		"the path of another tree":     make3(head, payload, slices.Concat(sig[:68], otherSig[68:])),
		"the path of another leaf":     make3(head, payload, slices.Concat(sig[:84], third[84:])),
		"the signature of another":     make3(head, payload, slices.Concat(otherSig[:64], sig[64:])),
		"a tree of none":               make3(head, payload, at(0, 0)),
		"a tree of one":                make3(head, payload, at(1, 0)),
		"a tree of one that is signed": make3(head, payload, signedAs(1, 0)),
		"a place that is not there":    make3(head, payload, signedAs(2, 2)),
		"more than one may cover":      g.of(jose.MaxTree + 1)[0],
		"a tree of four":               make3(head, payload, at(4, 1)),
		"a tree of six":                make3(head, payload, at(6, 1)),
		"a tree that is too large":     make3(head, payload, at(jose.MaxTree+1, 1)),
		"another place":                make3(head, payload, at(5, 0)),
		"a place behind the last":      make3(head, payload, at(5, 5)),
		"a path that is too short":     make3(head, payload, sig[:len(sig)-32]),
		"a path that is too long":      make3(head, payload, append(slices.Clone(sig), make([]byte, 32)...)),
		"half a hash":                  make3(head, payload, sig[:len(sig)-1]),
		"no path":                      make3(head, payload, sig[:84]),
		"the signature of the tree":    make3(head, payload, sig[:64]),
		"a signature alone":            make3(head, payload, ed25519.Sign(g.key, []byte(head+"."+payload))),
		"what was signed alone":        make3(head, payload, alone),
		"a tree as if signed alone":    make3(g.headAlone, payload, sig[:64]),
	} {
		if err := g.verify(wrong); gateway.KindOf(err) != gateway.Denied {
			t.Errorf("%s: got %v, want Denied", name, err)
		}
	}
	for i := range sig {
		changed := slices.Clone(sig)
		changed[i] ^= 1
		if err := g.verify(make3(head, payload, changed)); gateway.KindOf(err) != gateway.Denied {
			t.Errorf("byte %d of the third part changed: got %v, want Denied", i, err)
		}
	}
	other, _ := edKey(t)
	p, err := jose.ParseEdDSA(all[1], 8192)
	if err != nil {
		t.Fatal(err)
	}
	var trees jose.Trees
	if err := p.VerifyEdDSA(g.pub, &trees); err != nil {
		t.Error(err)
	}
	for size := uint16(6); size < 9; size++ { // of which this path leads to the same root
		q, err := jose.ParseEdDSA(make3(head, payload, at(size, 1)), 8192)
		if err != nil || q.VerifyEdDSA(g.pub, &trees) == nil {
			t.Errorf("once its tree was seen, the same leaf is accepted as of a tree of %d (%v)", size, err)
		}
	}
	for name, key := range map[string]ed25519.PublicKey{"another key": other, "no key": nil, "a short key": g.pub[:31]} {
		if err := p.VerifyEdDSA(key, &trees); gateway.KindOf(err) != gateway.Denied {
			t.Errorf("by %s, once its own key was seen: got %v, want Denied", name, err)
		}
	}
	if _, err := jose.ParseCompact(all[1], 8192); err == nil {
		t.Error("is read as a JWS of FSC Core")
	}
	// Nor is it of the certificate that it names, also when the key of that is an Ed25519 key.
	s := signerOf(t, g.key)
	named, err := jose.EdDSATreeHead("x", jose.Thumbprint(s.Cert))
	if err != nil {
		t.Fatal(err)
	}
	own, err := jose.ParseEdDSA(string(jose.SignEdDSATree(g.key, named, [][]byte{[]byte("{}"), []byte("{}")})[0]), 8192)
	if err != nil || own.VerifyKey(g.pub) != nil {
		t.Fatal(err)
	}
	if err := own.Verify(s.Cert); !errors.Is(err, jose.ErrAlgorithm) {
		t.Errorf("by the key of its certificate: %v", err)
	}
}

// TestTrees: the trees of a stranger push out others, and no more; who verifies at the same moment gets the same.
func TestTrees(t *testing.T) {
	g := newGrove(t)
	var trees jose.Trees
	good := g.of(8)
	var all sync.WaitGroup
	for _, compact := range good {
		all.Go(func() {
			p, err := jose.ParseEdDSA(compact, 8192)
			if err != nil || p.VerifyEdDSA(g.pub, &trees) != nil {
				t.Errorf("%v", err)
			}
		})
	}
	all.Wait()
	if n := trees.Len(); n != 1 {
		t.Errorf("eight leaves of one tree are remembered as %d trees", n)
	}
	head, payload, sig := parts(t, good[0])
	for range 3000 {
		_, _ = rand.Read(sig[:64])
		p, err := jose.ParseEdDSA(head+"."+payload+"."+base64.RawURLEncoding.EncodeToString(sig), 8192)
		if err != nil {
			t.Fatal(err)
		}
		if p.VerifyEdDSA(g.pub, &trees) == nil {
			t.Fatal("a random signature is accepted")
		}
	}
	if n := trees.Len(); n != 1024 {
		t.Errorf("%d trees remembered, want 1024 at most", n)
	}
	for _, compact := range good {
		if p, err := jose.ParseEdDSA(compact, 8192); err != nil || p.VerifyEdDSA(g.pub, &trees) != nil {
			t.Error("refused since it was forgotten")
		}
	}
}

// TestTwin: what was seen alone tells how it looks with others, and the other way round.
func TestTwin(t *testing.T) {
	g := newGrove(t)
	alone, together := string(jose.AppendEdDSA(nil, g.key, g.headAlone, []byte(`{"a":1}`))), g.of(2)[0]
	for seen, next := range map[string]string{alone: together, together: alone} {
		p, err := jose.ParseEdDSA(seen, 8192)
		if err != nil {
			t.Fatal(err)
		}
		q, ok := p.Twin().Parse(next, 8192)
		want, err := jose.ParseEdDSA(next, 8192)
		if !ok || err != nil || q.Alg != want.Alg || q.Typ != want.Typ || q.X5T != want.X5T || q.VerifyKey(g.pub) != nil {
			t.Errorf("got %+v, want %+v", q, want)
		}
	}
}

// FuzzTree: nothing but the leaves that were signed verifies, whatever stands in the third part.
func FuzzTree(f *testing.F) {
	g := newGrove(f)
	all := g.of(7)
	signed := map[string]bool{}
	for _, compact := range all {
		_, payload, sig := parts(f, compact)
		signed[string(sig)+payload] = true
		f.Add([]byte(payload), sig)
	}
	f.Fuzz(func(t *testing.T, payload, sig []byte) {
		p, err := jose.ParseEdDSA(g.head+"."+string(payload)+"."+base64.RawURLEncoding.EncodeToString(sig), 8192)
		if err == nil && p.VerifyKey(g.pub) == nil && !signed[string(sig)+string(payload)] {
			t.Fatalf("accepted: %q under %x", payload, sig)
		}
	})
}

func BenchmarkTree(b *testing.B) {
	g := newGrove(b)
	payload := []byte(strings.Repeat("x", 700))
	for _, n := range []int{2, 4, 8, 32} {
		payloads := make([][]byte, n)
		for i := range payloads {
			payloads[i] = payload
		}
		b.Run(fmt.Sprintf("sign/%d", n), func(b *testing.B) {
			for i := 0; i < b.N; i += n {
				jose.SignEdDSATree(g.key, g.head, payloads)
			}
		})
		var all []*jose.Parsed
		for _, compact := range jose.SignEdDSATree(g.key, g.head, payloads) {
			p, err := jose.ParseEdDSA(string(compact), 8192)
			if err != nil {
				b.Fatal(err)
			}
			all = append(all, p)
		}
		b.Run(fmt.Sprintf("verify/%d", n), func(b *testing.B) {
			for i := 0; i < b.N; i += n {
				var trees jose.Trees
				for _, p := range all {
					if err := p.VerifyEdDSA(g.pub, &trees); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
