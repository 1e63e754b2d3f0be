package jose

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"sync"
)

// EdDSATree is the algorithm of things that a certified key signed several of at once: one Ed25519 signature over the root of a hash
// tree (RFC 9162, 2.1, with SHA-256) of which each is a leaf. It is a name of our own, as RFC 7515 (4.1.1) allows: there is none for it.
//
// The third part of such a JWS is base64url of
//
//	64 B    signature over treeDomain, the number of leaves as u16 and the root
//	u16     number of leaves, 2 to MaxTree
//	u16     which of them this is, from 0
//	16 B    salt of this leaf
//	32 B *  the hashes beside the way from the leaf to the root
//
// and the leaf is SHA-256 over a zero byte, the salt, and header and payload as they stand with the dot between. The salt is random and goes
// to the receiver of this leaf alone: by the hashes of the others he can't confirm a guess of what they are.
const EdDSATree = "https://github.com/grensloos/grensloos#eddsa-tree"

const (
	// MaxTree is the most that one signature covers.
	MaxTree = 256
	// MaxTreePart is the most bytes that the third part takes, as base64url.
	MaxTreePart = ((treeFixed+maxPath*sha256.Size)*8 + 5) / 6
)

const (
	maxPath    = 8 // hashes between a leaf and the root of MaxTree
	saltBytes  = 16
	treeFixed  = ed25519.SignatureSize + 2 + 2 + saltBytes
	treeDomain = "fsc-doelbinding, a tree of statements\x00" // no JWS begins so: what it signs can't be taken for this, nor this for it
)

type digest = [sha256.Size]byte

func leafOf(salt, signed []byte) digest {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(salt)
	h.Write(signed)
	return digest(h.Sum(nil))
}

func nodeOf(left, right digest) digest {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

func treeMessage(size int, root digest) []byte {
	return append(binary.BigEndian.AppendUint16([]byte(treeDomain), uint16(size)), root[:]...)
}

// SignEdDSATree makes a compact JWS over each payload, 2 to MaxTree of them, by one signature. head is EdDSATreeHead's.
func SignEdDSATree(key ed25519.PrivateKey, head string, payloads [][]byte) [][]byte {
	b64, size := base64.RawURLEncoding, len(payloads)
	salts := make([]byte, size*saltBytes)
	_, _ = rand.Read(salts)
	out, level := make([][]byte, size), make([]digest, size)
	for i, payload := range payloads {
		o := make([]byte, 0, len(head)+b64.EncodedLen(len(payload))+MaxTreePart+2)
		o = b64.AppendEncode(append(append(o, head...), '.'), payload)
		level[i] = leafOf(salts[i*saltBytes:][:saltBytes], o)
		out[i] = append(o, '.')
	}
	paths := make([][]byte, size)
	for at := 0; len(level) > 1; at++ { // of leaf i, i>>at stands on this level
		for i := range paths {
			if beside := i>>at ^ 1; beside < len(level) {
				paths[i] = append(paths[i], level[beside][:]...)
			}
		}
		next := level[:0]
		for i := 0; i < len(level); i += 2 {
			if i+1 == len(level) {
				next = append(next, level[i]) // has none beside it: goes up as it is
			} else {
				next = append(next, nodeOf(level[i], level[i+1]))
			}
		}
		level = next
	}
	sig := ed25519.Sign(key, treeMessage(size, level[0]))
	for i := range out {
		part := binary.BigEndian.AppendUint16(append(make([]byte, 0, treeFixed+len(paths[i])), sig...), uint16(size))
		part = append(binary.BigEndian.AppendUint16(part, uint16(i)), salts[i*saltBytes:][:saltBytes]...)
		out[i] = b64.AppendEncode(out[i], append(part, paths[i]...))
	}
	return out
}

// treeHead is what a key signed for all leaves of a tree, with the signature.
type treeHead struct {
	size int
	root digest
	sig  [ed25519.SignatureSize]byte
}

// treeOf goes from a leaf to the root of the tree that it says it is in; ok is false if it can't be in one.
func treeOf(signed string, part []byte) (h treeHead, ok bool) {
	if len(part) < treeFixed {
		return treeHead{}, false
	}
	rest := part[copy(h.sig[:], part):]
	h.size = int(binary.BigEndian.Uint16(rest))
	at, salt, path := int(binary.BigEndian.Uint16(rest[2:])), rest[4:4+saltBytes], rest[4+saltBytes:]
	if h.size < 2 || h.size > MaxTree || at >= h.size {
		return treeHead{}, false
	}
	h.root = leafOf(salt, []byte(signed))
	for n := h.size; n > 1; n, at = (n+1)/2, at/2 {
		if at^1 >= n {
			continue // goes up as it is
		}
		if len(path) < sha256.Size {
			return treeHead{}, false
		}
		beside := digest(path[:sha256.Size])
		path = path[sha256.Size:]
		if at%2 == 0 {
			h.root = nodeOf(h.root, beside)
		} else {
			h.root = nodeOf(beside, h.root)
		}
	}
	return h, len(path) == 0
}

func (h treeHead) verify(key ed25519.PublicKey) bool {
	return ed25519.Verify(key, treeMessage(h.size, h.root), h.sig[:])
}

// maxTrees bounds the trees that are remembered. The leaves of one arrive within a moment of each other.
const maxTrees = 1024

// Trees remembers the last trees that were verified, so that their signature is verified once and not with each leaf. What is remembered
// follows from the bytes alone. The zero value is ready; it is safe for concurrent use.
type Trees struct {
	mu    sync.Mutex           // guards what follows
	known map[tree]*verifiedAt // at most maxTrees
	order []tree               // as they came; from next on it begins anew
	next  int
}

type tree struct {
	treeHead
	key [ed25519.PublicKeySize]byte
}

type verifiedAt struct {
	once sync.Once
	good bool
}

// verify verifies a tree, unless that was done before: then it says the same. Of several at once one verifies and the others wait for it.
func (t *Trees) verify(h treeHead, key ed25519.PublicKey) bool {
	if t == nil {
		return h.verify(key)
	}
	at := t.find(tree{h, [ed25519.PublicKeySize]byte(key)})
	at.once.Do(func() { at.good = h.verify(key) })
	return at.good
}

func (t *Trees) find(one tree) *verifiedAt {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := t.known[one]
	if at != nil {
		return at
	}
	if t.known == nil {
		t.known = map[tree]*verifiedAt{}
	}
	if len(t.order) < maxTrees {
		t.order = append(t.order, one)
	} else {
		delete(t.known, t.order[t.next])
		t.order[t.next] = one
		t.next = (t.next + 1) % maxTrees
	}
	at = &verifiedAt{}
	t.known[one] = at
	return at
}
