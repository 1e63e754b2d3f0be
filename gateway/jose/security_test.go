package jose_test

import (
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway/jose"
)

// A key that is dear to verify with is no key, wherever it comes from.
func TestGiantRSAKeyIsNoKey(t *testing.T) {
	n := new(big.Int).Lsh(big.NewInt(1), 65536)
	n.Sub(n, big.NewInt(1))
	token, err := jose.Sign(signerOf(t, rsaKey()), []byte(`{}`), jose.Header{})
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(token, ".")
	sig := make([]byte, 8192)
	sig[9] = 7
	parsed, err := jose.ParseCompact(head+".e30."+base64.RawURLEncoding.EncodeToString(sig), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := parsed.VerifyKey(&rsa.PublicKey{N: n, E: 1<<31 - 1}); err == nil || !strings.Contains(err.Error(), "2048 to 8192") {
		t.Errorf("verify: got %v, want the size refused", err)
	}
	set := `{"keys":[{"kty":"RSA","e":"f____w","n":"` + base64.RawURLEncoding.EncodeToString(n.Bytes()) + `"}]}`
	if _, err := jose.ParseJWKS([]byte(set)); err == nil || !strings.Contains(err.Error(), "2048 to 8192") {
		t.Errorf("jwks: got %v, want the size refused", err)
	}
}

// The canonical form costs about what its text is long, whatever the text: content of 1 MB is hashed before anything is known of it
// but who sent it.
func TestCanonicalFormIsCheap(t *testing.T) {
	var members strings.Builder
	for i := 90_000; i > 0; i-- { // from last to first: the worst order for a sort by insertion
		members.WriteString(`"` + strings.Repeat("0", 6-len(itoa(i))) + itoa(i) + `":1,`)
	}
	for name, text := range map[string]string{
		"many members, in the worst order": `{` + members.String() + `"z":1}`,
		"many escapes":                     `"` + strings.Repeat(`\u0041`, 170_000) + `"`,
		"many numbers":                     `[1` + strings.Repeat(`,1.7976931348623157e308`, 45_000) + `]`,
		"one long number":                  `[0.` + strings.Repeat(`3`, 1_000_000) + `]`,
		"many arrays":                      `[` + strings.Repeat(`[],`, 340_000) + `[]]`,
		"deep":                             strings.Repeat(`[`, 1_000_000),
	} {
		start := time.Now()
		_, _ = jose.CanonicalJSON([]byte(text))
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: %d bytes took %v", name, len(text), took)
		}
	}
}

func itoa(n int) string { return big.NewInt(int64(n)).String() }
