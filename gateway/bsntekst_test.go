package gateway_test

import (
	"testing"

	"github.com/grensloos/grensloos/gateway"
)

func TestHoldsBSN(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                 false,
		"Straat klopt niet meer":           false,
		"sinds 01-02-2026 verhuisd":        false,
		"huisnummer 12, postcode 7622 AA":  false,
		"999993653":                        true,
		"betreft 999993653.":               true,
		"bsn999993653x":                    true,
		"x 1999993653 y":                   true, // inside a longer number
		"999 993 653":                      true,
		"9999.93.653":                      true,
		"999-993-653 verhuisd":             true,
		"10000003":                         false,
		"bsn 10008579 klopt":               false, // fails the test with a zero before it, as 010008579 does
		"zonder nul: 00009830":             true,  // 000009830
		"９９９９９３６５３":                        true,  // full-width digits
		"٩٩٩٩٩٣٦٥٣":                        true,  // Arabic-Indic digits
		"999993654":                        false, // fails the eleven-test
		"999 993":                          false,
		"regel een 999\n993653 regel twee": false, // a line ends a group
	} {
		if got := gateway.HoldsBSN(text); got != want {
			t.Errorf("HoldsBSN(%q) = %v, want %v", text, got, want)
		}
	}
}
