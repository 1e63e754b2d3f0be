package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unique"
)

// BSN is a burgerservicenummer: the number that identifies a resident of the Netherlands. No verb, log handler or encoder prints
// it; Reveal does, and review greps for it. The zero value is no person.
type BSN struct{ h unique.Handle[string] }

// ErrBSN is what ParseBSN returns; it never repeats the input.
var ErrBSN = &Error{Kind: Invalid, Message: "bsn: give 9 digits that pass the eleven-test"}

// ParseBSN accepts 9 digits that pass the eleven-test (9a+8b+7c+6d+5e+4f+3g+2h-i divisible by 11, not all zero). The error does
// not repeat the input.
func ParseBSN(s string) (BSN, error) {
	if len(s) != 9 || s == "000000000" {
		return BSN{}, ErrBSN
	}
	sum := 0
	for i, c := range []byte(s) {
		if c < '0' || c > '9' {
			return BSN{}, ErrBSN
		}
		weight := 9 - i
		if i == 8 {
			weight = -1
		}
		sum += weight * int(c-'0')
	}
	if sum%11 != 0 {
		return BSN{}, ErrBSN
	}
	return BSN{unique.Make(s)}, nil
}

// Reveal returns the nine digits. Call it only to ask a source, to compute a pseudonym, or to answer whoever may have the BSN.
func (b BSN) Reveal() string {
	if b.IsZero() {
		return ""
	}
	return b.h.Value()
}

// IsZero reports whether b is no BSN at all.
func (b BSN) IsZero() bool { return b == BSN{} }

// IsTest reports whether b lies in the block 999000000-999999999 that is used for fictitious persons only.
func (b BSN) IsTest() bool {
	s := b.Reveal()
	return len(s) == 9 && s[:3] == "999"
}

const bsnMask = "[bsn]"

// Format prints a mask for every verb.
func (b BSN) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, bsnMask) }

// LogValue gives slog a mask.
func (b BSN) LogValue() slog.Value { return slog.StringValue(bsnMask) }

// MarshalText refuses: an encoder that meets a BSN is a leak in the making.
func (b BSN) MarshalText() ([]byte, error) {
	return nil, errors.New("a bsn is not encoded; whoever may write it calls Reveal")
}

// Pseudonym stands for a betrokkene within one peer: "v<key>." and base64url of HMAC-SHA256(key of the peer, BSN). Without the
// key it can't be linked to another peer's.
type Pseudonym string

// PseudonymKeys are the live keys of one peer, by version. New pseudonyms use the newest; searches span all.
type PseudonymKeys struct {
	keys map[int][]byte
	cur  int
	over map[int]bool // versions that were taken over: only searched with
}

// NewPseudonymKeys takes keys of at least 32 bytes, by version from 1 up.
func NewPseudonymKeys(keys map[int][]byte) (PseudonymKeys, error) {
	k := PseudonymKeys{keys: make(map[int][]byte, len(keys))}
	for version, key := range keys {
		if version < 1 || len(key) < 32 {
			return PseudonymKeys{}, Errorf(Invalid, "pseudonym key v%d: versions count from 1 and a key has at least 32 bytes", version)
		}
		k.keys[version] = slices.Clone(key)
		k.cur = max(k.cur, version)
	}
	if k.cur == 0 {
		return PseudonymKeys{}, Errorf(Invalid, "pseudonym keys: none given")
	}
	return k, nil
}

// With adds keys that were taken over from another peer (herindeling), by a version that no key has yet: searches span them, and new
// pseudonyms go on using our own newest, whatever the versions.
func (k PseudonymKeys) With(over map[int][]byte) (PseudonymKeys, error) {
	out := PseudonymKeys{keys: maps.Clone(k.keys), cur: k.cur, over: maps.Clone(k.over)}
	if out.over == nil {
		out.over = map[int]bool{}
	}
	for version, key := range over {
		if _, taken := out.keys[version]; taken || version < 1 || len(key) < 32 || k.cur == 0 {
			return PseudonymKeys{}, Errorf(Invalid, "pseudonym key v%d, taken over: give a version that no key has, and at least 32 bytes", version)
		}
		out.keys[version], out.over[version] = slices.Clone(key), true
	}
	return out, nil
}

// Pseudonym is the pseudonym of b under the newest key. It panics without keys: a pseudonym under an empty key would be readable
// by anyone.
func (k PseudonymKeys) Pseudonym(b BSN) Pseudonym { return k.under(k.cur, b) }

// All gives the pseudonyms of b under every live key, newest first and those taken over last: what a search must look for.
func (k PseudonymKeys) All(b BSN) []Pseudonym {
	versions := make([]int, 0, len(k.keys))
	for v := range k.keys {
		versions = append(versions, v)
	}
	slices.SortFunc(versions, func(a, b int) int {
		if k.over[a] != k.over[b] {
			if k.over[a] {
				return 1
			}
			return -1
		}
		return b - a
	})
	all := make([]Pseudonym, len(versions))
	for i, v := range versions {
		all[i] = k.under(v, b)
	}
	return all
}

// Version is the version of the key that p was made under; 0 if p is no pseudonym.
func (p Pseudonym) Version() int {
	version, mac, ok := strings.Cut(strings.TrimPrefix(string(p), "v"), ".")
	n, err := strconv.Atoi(version)
	if !ok || err != nil || mac == "" || p[0] != 'v' {
		return 0
	}
	return n
}

// Renumbered is p with another version of the same key: what a taken over pseudonym is called at the peer that took it over.
func (p Pseudonym) Renumbered(version int) Pseudonym {
	_, mac, _ := strings.Cut(string(p), ".")
	return Pseudonym("v" + strconv.Itoa(version) + "." + mac)
}

func (k PseudonymKeys) under(version int, b BSN) Pseudonym {
	key, ok := k.keys[version]
	if !ok || b.IsZero() {
		panic("gateway: pseudonym without a key or a person")
	}
	return Pseudonym("v" + strconv.Itoa(version) + "." + keyed(key, "bsn\x00"+b.Reveal()))
}

// Worker is the pseudonym of an employee: what a verklaring and a decision record say instead of a name or an account.
func (k PseudonymKeys) Worker(account string) string {
	key, ok := k.keys[k.cur]
	if !ok {
		panic("gateway: pseudonym without a key")
	}
	return "m" + strconv.Itoa(k.cur) + "." + keyed(key, "medewerker\x00"+account)
}

func keyed(key []byte, value string) string {
	mac := hmac.New(sha256.New, key)
	_, _ = io.WriteString(mac, value)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
