package verklaring_test

import (
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// TestKnown: an asker has the last few sleutelbewijzen of a peer, as long as they are of use, and no other peer's.
func TestKnown(t *testing.T) {
	provider := signer(t, borne, nil)
	var keys verklaring.Keys
	k := receipt()
	e := expectReceipt(k)
	e.Keys = &keys
	if keys.Of(borne, now).Header() != "" {
		t.Error("has something at the start")
	}
	var whole []string
	for i := range 6 {
		compact, err := verklaring.SignKwitantie(verklaring.NewSigner(func() *jose.Signer { return provider }, verklaring.VoorKwitantie, func() time.Time { return now.Add(time.Duration(i) * time.Second) }), k)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Verify(compact); err != nil {
			t.Fatal(err)
		}
		whole = append(whole, compact)
		_, bewijs, _ := strings.Cut(compact, "~")
		digest := verklaring.Digest([]byte(bewijs))
		known := keys.Of(borne, now)
		if all := strings.Split(known.Header(), ","); all[0] != digest || len(all) != min(i+1, 4) {
			t.Errorf("after %d: has %q, want the last one first, 4 at most", i+1, known.Header())
		}
		short := verklaring.Shorten(compact, known.Header())
		if !strings.HasSuffix(short, "~"+digest) || known.Whole(short) != compact || known.Whole(compact) != compact {
			t.Errorf("short %q, whole again %q", short, known.Whole(short))
		}
		if _, err := e.Verify(short); err == nil {
			t.Error("a digest passes for a sleutelbewijs")
		}
		if got, err := verklaring.ReadKwitantie(short); err != nil || got.Transactie != k.Transactie {
			t.Errorf("read as the application does: %+v, %v", got, err)
		}
	}
	known := keys.Of(borne, now)
	if verklaring.Shorten(whole[0], known.Header()) != whole[0] {
		t.Error("one that the asker does not say it has is left out")
	}
	if keys.Of(uwi, now) != nil || keys.Of(borne, now.Add(2*time.Hour)).Header() != "" {
		t.Error("has those of another peer, or after their end")
	}
	byKey, err := jose.Sign(provider, payloadOf(t, whole[0]), jose.Header{Typ: verklaring.KwitantieTyp, X5C: true})
	if err != nil || verklaring.Shorten(byKey, known.Header()) != byKey || known.Whole(byKey) != byKey {
		t.Errorf("one by the group key has no sleutelbewijs (%v)", err)
	}
	for name, wrong := range map[string]string{
		"a verklaring": sign(t, provider, statement()), "no statement": "~" + strings.Repeat("A", 43), "nothing": "",
	} {
		if _, err := verklaring.ReadKwitantie(wrong); err == nil {
			t.Errorf("%s is read as a kwitantie", name)
		}
	}
	statement, _, _ := strings.Cut(sign(t, provider, statement()), "~")
	if _, err := verklaring.ReadKwitantie(statement + "~" + strings.Repeat("A", 43)); err == nil || !strings.Contains(err.Error(), "typ") {
		t.Errorf("a short verklaring is read as a kwitantie: %v", err)
	}
}
