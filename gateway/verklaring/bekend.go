package verklaring

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// KnownHeader is the header of a question in which the asker says which sleutelbewijzen of the receiver it has.
const KnownHeader = "Grensloos-Sleutel"

// maxKnown is how many sleutelbewijzen of one peer an asker says that it has: about those of an hour, or of several inways.
const maxKnown = 4

// maxKnownHeader bounds what is read of others, who may remember more.
const maxKnownHeader = 512

// Known are sleutelbewijzen of one peer that the asker has, at the moment of a question. They need not come again with the answer: a digest
// in their place will do. Nil is none.
type Known struct {
	header string
	bewijs map[string]string // by digest
	until  time.Time         // then one of them is of no use any more
}

// Header is what the asker puts in KnownHeader; empty if there is nothing to say.
func (k *Known) Header() string {
	if k == nil {
		return ""
	}
	return k.header
}

// Whole puts the sleutelbewijs back into a kwitantie that has only its digest. Any other it gives as it is, also one with a digest of
// something else: that is refused when it is verified.
func (k *Known) Whole(compact string) string {
	statement, digest, found := strings.Cut(compact, "~")
	if !found || k == nil || k.bewijs[digest] == "" {
		return compact
	}
	return statement + "~" + k.bewijs[digest]
}

// Shorten puts the digest of its sleutelbewijs into a kwitantie, if that is one of those in the KnownHeader of the question.
func Shorten(compact, known string) string {
	statement, bewijs, found := strings.Cut(compact, "~")
	if !found || known == "" {
		return compact
	}
	if digest := Digest([]byte(bewijs)); says(known, digest) {
		return statement + "~" + digest
	}
	return compact
}

// says tells whether a KnownHeader names a digest.
func says(known, digest string) bool {
	return known != "" && len(known) <= maxKnownHeader && slices.Contains(strings.Split(known, ","), digest)
}

// Of are the remembered sleutelbewijzen of one peer.
func (k *Keys) Of(peer gateway.PeerID, now time.Time) *Known {
	k.mu.RLock()
	found, ok := k.of[peer]
	k.mu.RUnlock()
	if ok && now.Before(found.until) {
		return found
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of == nil {
		k.of = map[gateway.PeerID]*Known{}
	}
	var all []*certified
	for _, c := range k.known {
		if c.issuer == peer && !c.stale(now) {
			all = append(all, c)
		}
	}
	if len(all) == 0 {
		delete(k.of, peer)
		return nil
	}
	slices.SortFunc(all, func(a, b *certified) int {
		return cmp.Or(b.notBefore.Compare(a.notBefore), cmp.Compare(a.compact, b.compact))
	})
	made := &Known{bewijs: map[string]string{}}
	var digests []string
	for _, c := range all[:min(len(all), maxKnown)] {
		digest := Digest([]byte(c.compact))
		digests = append(digests, digest)
		made.bewijs[digest] = c.compact
		if end := c.expires.Add(staleAfter); made.until.IsZero() || end.Before(made.until) {
			made.until = end
		}
	}
	made.header = strings.Join(digests, ",")
	k.of[peer] = made
	return made
}
