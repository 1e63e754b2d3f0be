package accesstoken

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"time"
)

func TestCacheIsBounded(t *testing.T) {
	var v Verifier
	now := time.Unix(1767226000, 0)
	add := func(n int, expires time.Time) {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64(n))
		v.store(sha256.Sum256(b[:]), verified{claims: Claims{Expires: expires}}, now)
	}
	for i := range 3 * maxCached {
		add(i, now.Add(time.Minute))
		if len(v.known) > maxCached {
			t.Fatalf("%d tokens remembered, want at most %d", len(v.known), maxCached)
		}
	}
	v.known = nil
	for i := range maxCached - 10 {
		add(i, now) // over
	}
	for i := range 11 {
		add(maxCached+i, now.Add(time.Minute))
	}
	if len(v.known) != 11 {
		t.Errorf("%d remembered, want the 11 that still live", len(v.known))
	}
}
