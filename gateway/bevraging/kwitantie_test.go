package bevraging_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// An answer that is not what the gemeente signed for is not used.
func TestReceipt(t *testing.T) {
	for name, change := range map[string]func(*verklaring.Kwitantie){
		"another gemeente's OIN":   func(k *verklaring.Kwitantie) { k.Issuer = otherGem },
		"for another asker":        func(k *verklaring.Kwitantie) { k.Audience = otherGem },
		"of another transaction":   func(k *verklaring.Kwitantie) { k.Transactie = "019a0000-7c11-7d3e-9a55-3f5c0b1e2d45" },
		"under another grant":      func(k *verklaring.Kwitantie) { k.GrantHash = "$1$3$x" },
		"for another purpose":      func(k *verklaring.Kwitantie) { k.Doel = "pw-uitkering" },
		"signed as a denial":       func(k *verklaring.Kwitantie) { k.Besluit = false },
		"signed for fewer records": func(k *verklaring.Kwitantie) { k.Aantal-- },
		"signed for other fields":  func(k *verklaring.Kwitantie) { k.VeldenDigest, _ = verklaring.VeldenDigest(gateway.Velden{}) },
		"signed another outcome":   func(k *verklaring.Kwitantie) { k.Uitkomst["uitkering"] = "geen-gegevens" },
		"signed nothing of it":     func(k *verklaring.Kwitantie) { k.Uitkomst, k.VeldenDigest, k.Aantal = nil, "", 0 },
		"no receipt":               func(k *verklaring.Kwitantie) { *k = verklaring.Kwitantie{} },
		"as it is":                 nil,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.outway.body, f.outway.change = strings.Replace(beantwoord, `"geheim":false`, `"geheim":true`, 1), change
			want := "onbereikbaar kwitantie-past-niet"
			if change == nil {
				want = "beantwoord"
			}
			a := f.answer(question)
			if diff := cmp.Diff(map[gateway.Dienst]string{"uitkering": want}, outcomes(a)); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			if g := a.Gemeenten[0]; g.Transactie != transact || g.Geheim != (change == nil) || (len(g.Diensten[0].Rijen) > 0) != (change == nil) {
				t.Errorf("what is left of the answer: %+v", g)
			}
		})
	}
	f := newFixture(t)
	f.outway.body, f.outway.header = beantwoord, http.Header{"Content-Type": {"application/json"}, "Fsc-Transaction-Id": {transact}, "Grensloos-Kwitantie": {"a", "b"}}
	f.outway.read = strings.NewReader(beantwoord)
	if got := outcomes(f.answer(question))["uitkering"]; got != "onbereikbaar kwitantie-past-niet" {
		t.Errorf("two receipts: got %s", got)
	}
}
