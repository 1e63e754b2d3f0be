package audit

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/grensloos/grensloos/gateway"
)

// TestEncodesAsEncodingJSON holds what is written by hand to what encoding/json writes.
func TestEncodesAsEncodingJSON(t *testing.T) {
	many := map[string]any{}
	for _, c := range "zyxwvutsrqponmlkjihgfedcba" {
		many[string(c)] = string(c)
	}
	for _, v := range []any{
		"", "plain ~", "a\"b\\c", "<&>", "é\u2028\x00\x7f", "\xff", gateway.PeerID("0"), gateway.Doel("d"), gateway.GrantHash("$1$"), gateway.TransactionID("t"),
		gateway.Richting("r"), gateway.Pseudonym("p"), gateway.Geldig, 0, -7, true, 3.5, nil,
		[]string(nil),
		[]string{},
		[]string{"a", "<b>"},
		[]gateway.Veld(nil),
		[]gateway.Veld{"naam"},
		gateway.Velden(nil),
		gateway.Velden{},
		gateway.Velden{"b": {"y", "x"}, "a": nil},
		map[string]any(nil),
		map[string]any{},
		map[string]any{"z": 1, "a": map[string]any{"é": []string{"x"}}, "m": struct{ A int }{1}},
		many,
		map[string]string{"b": "2", "a": "1"},
	} {
		want, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(appendValue(nil, v)); got != string(want) {
			t.Errorf("%T: got %s, want %s", v, got, want)
		}
	}
}

// TestNoBSNInARecord: a number of a person where only names and pseudonyms belong is a bug that makes no record.
func TestNoBSNInARecord(t *testing.T) {
	bsn, err := gateway.ParseBSN("999990019")
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{"itself": bsn, "in a map": map[string]any{"x": bsn}, "in a struct": struct{ X gateway.BSN }{bsn}} {
		func() {
			defer func() {
				if text, _ := recover().(string); text == "" || strings.Contains(text, "999990019") {
					t.Errorf("%s: got panic %q, want one that does not name the person", name, text)
				}
			}()
			t.Errorf("%s: encoded as %s", name, appendValue(nil, v))
		}()
	}
}
