package jose_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

type inner struct {
	Name string `json:"name"`
}

type doc struct {
	ID     string               `json:"id"`
	Count  int64                `json:"count,omitempty"`
	Small  uint8                `json:"small,omitempty"`
	Items  []inner              `json:"items,omitempty"`
	By     map[string]inner     `json:"by,omitempty"`
	Opt    *inner               `json:"opt,omitempty"`
	Raw    json.RawMessage      `json:"raw,omitempty"`
	Any    any                  `json:"any,omitempty"`
	Flag   bool                 `json:"flag,omitempty"`
	Doelen map[gateway.Doel]int `json:"doelen,omitempty"`
	inner
}

func TestDecode(t *testing.T) {
	const in = ` {"id":"\u00e9\ud83d\ude00","count":-9007199254740991,"items":[{"name":"a"},{"name":"b"}],"by":{"x":{"name":"c"}},
		"opt":{"name":"d"},"raw":{"z":[1,2.5e3,null]},"any":null,"flag":false,"doelen":{"pw":1},"name":"n"} `
	var got doc
	if err := jose.Decode([]byte(in), &got); err != nil {
		t.Fatal(err)
	}
	want := doc{
		ID: "é😀", Count: -9007199254740991, Items: []inner{{"a"}, {"b"}}, By: map[string]inner{"x": {"c"}}, Opt: &inner{"d"},
		Raw: json.RawMessage(`{"z":[1,2.5e3,null]}`), Doelen: map[gateway.Doel]int{"pw": 1}, inner: inner{"n"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(doc{})); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	deep := func(n int) string { return `{"any":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}` }
	for _, tc := range []struct{ name, in, want string }{
		{"empty", "  ", "empty"},
		{"not json", "nope", "not JSON"},
		{"cut off", `{"id":"a"`, "not closed"},
		{"cut off in a string", `{"id":"a`, "id: not JSON: a string is not closed"},
		{"trailing data", `{"id":"a"} {}`, "data after the end"},
		{"trailing comma", `{"id":"a",}`, "member name is missing"},
		{"trailing comma in array", `{"any":[1,]}`, "any[1]: not JSON"},
		{"byte order mark", "\xef\xbb\xbf{}", "not JSON"},
		{"no utf-8", "{\"id\":\"\xff\"}", "not valid UTF-8"},
		{"lone surrogate", `{"id":"\ud83d"}`, "id: a lone surrogate"},
		{"low surrogate first", `{"id":"\ude00\ud83d"}`, "id: a lone surrogate"},
		{"noncharacter", `{"id":"\uffff"}`, "id: a noncharacter"},
		{"raw noncharacter", "{\"id\":\"\uFDD0\"}", "id: a noncharacter"},
		{"control character", "{\"id\":\"\x01\"}", "control character"},
		{"bad escape", `{"id":"\x41"}`, "bad escape"},
		{"twice", `{"id":"a","id":"b"}`, "id: is there twice"},
		{"twice by escape", `{"id":"a","\u0069d":"b"}`, "id: is there twice"},
		{"twice deep in raw", `{"id":"a","raw":{"x":[{"k":1,"k":1}]}}`, "raw.x[0].k: is there twice"},
		{"twice in a large object", `{"any":{` + many(40) + `,"k39":1}}`, "any.k39: is there twice"},
		{"unknown", `{"id":"a","items":[{"name":"a","extra":1}]}`, "items[0].extra: unknown member"},
		{"other case", `{"ID":"a"}`, "ID: unknown member"},
		{"null for a string", `{"id":null}`, "id: wrong type: want a string, got null"},
		{"null for a pointer", `{"id":"a","opt":null}`, "opt: wrong type: want an object, got null"},
		{"array for a string", `{"id":["a"]}`, "id: wrong type: want a string, got an array"},
		{"number in items", `{"id":"a","items":[{"name":12345}]}`, "items[0].name: wrong type"},
		{"too large integer", `{"count":9007199254740992}`, "count: an integer beyond 2^53-1"},
		{"too large integer in raw", `{"raw":-9007199254740993}`, "raw: an integer beyond"},
		{"beyond a double", `{"any":1e400}`, "any: a number beyond a double"},
		{"fraction for an integer", `{"count":1.5}`, "count: wrong type"},
		{"range", `{"small":256}`, "small: wrong type"},
		{"leading zero", `{"count":01}`, "count: not JSON"},
		{"plus", `{"count":+1}`, "count: not JSON"},
		{"nan", `{"any":NaN}`, "any: not JSON"},
		{"half a literal", `{"flag":tru}`, "flag: not JSON"},
		{"too deep", deep(32), "nested deeper than 32"},
		{"far too deep", strings.Repeat("[", 1_000_000), "wrong type"},
		{"digits as a name", `{"999993653":1}`, "[a member]: unknown member"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := jose.Decode([]byte(tc.in), new(doc))
			if err == nil || !strings.Contains(err.Error(), tc.want) || gateway.KindOf(err) != gateway.Invalid {
				t.Errorf("got %v (%v), want Invalid with %q", err, gateway.KindOf(err), tc.want)
			}
			if err != nil && (strings.Contains(err.Error(), "12345") || strings.Contains(err.Error(), "999993653")) {
				t.Errorf("the error repeats a value: %v", err)
			}
		})
	}
	if err := jose.Decode([]byte(deep(31)), new(doc)); err != nil {
		t.Errorf("depth 32: got %v, want it accepted", err)
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"k` + string(rune('0'+i/10)) + string(rune('0'+i%10)) + `":1`)
	}
	return b.String()
}

func TestAllowUnknownStillMindsCase(t *testing.T) {
	var got inner
	if err := jose.Decode([]byte(`{"name":"a","other":{"x":1}}`), &got, jose.AllowUnknown()); err != nil || got.Name != "a" {
		t.Errorf("got %+v, %v", got, err)
	}
	// encoding/json would read each of these as name
	for _, in := range []string{`{"Name":"evil"}`, `{"name":"a","NAME":"evil"}`} {
		if err := jose.Decode([]byte(in), new(inner), jose.AllowUnknown()); err == nil {
			t.Errorf("%s: accepted", in)
		}
	}
	if err := jose.Decode([]byte(`{"name":"a","name":"b"}`), new(inner), jose.AllowUnknown()); err == nil {
		t.Error("twice: accepted")
	}
}

// The examples of RFC 8785, 3.2.2 and 3.2.3.
func TestCanonicalJSON(t *testing.T) {
	in := `{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
		"literals":[null,true,false]}`
	want := `{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`
	got, err := jose.CanonicalJSON([]byte(in))
	if err != nil || string(got) != want {
		t.Errorf("got  %s (%v)\nwant %s", got, err, want)
	}
	in = `{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}`
	want = "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}"
	if got, err = jose.CanonicalJSON([]byte(in)); err != nil || string(got) != want {
		t.Errorf("got  %s (%v)\nwant %s", got, err, want)
	}
	if _, err := jose.CanonicalJSON([]byte(`{"a":1,"a":1}`)); err == nil {
		t.Error("duplicate member: accepted")
	}
	if got, err := jose.Canonical(map[string]any{"b": "<&>", "a": 1}); err != nil || string(got) != `{"a":1,"b":"<&>"}` {
		t.Errorf("got %s, %v", got, err)
	}
}

// What Decode accepts, encoding/json accepts too, and its canonical form is stable.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"id":"a"}`, `{"id":"\ud83d\ude00","raw":[1,2.50,{"a":null}]}`, `{"a":1,"a":2}`, `[`, `{"count":1e2}`, `1e16`, "{\"id\":\"\xff\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var d doc
		_ = jose.Decode(data, &d)
		if jose.Check(data) != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatalf("accepted what is not JSON: %q", data)
		}
		once, err := jose.CanonicalJSON(data)
		if err != nil {
			t.Fatalf("I-JSON without a canonical form: %q: %v", data, err)
		}
		twice, err := jose.CanonicalJSON(once)
		if err != nil && strings.Contains(err.Error(), "an integer beyond") {
			return // 1e16 is a double like another, and its canonical form an integer of 17 digits that nobody need read again
		}
		if err != nil || string(once) != string(twice) {
			t.Fatalf("%q: not stable: %q, %q, %v", data, once, twice, err)
		}
	})
}
