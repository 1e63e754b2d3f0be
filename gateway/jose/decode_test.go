package jose_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

// statement and receipt are what gateway/verklaring reads once per question each.
type statement struct {
	Issuer        gateway.PeerID        `json:"iss"`
	Audience      gateway.PeerID        `json:"aud"`
	Subject       string                `json:"sub"`
	NamensCollege gateway.PeerID        `json:"namensCollege,omitempty"`
	GrantHash     gateway.GrantHash     `json:"gth"`
	Doel          gateway.Doel          `json:"doel"`
	DoelDigest    string                `json:"doelDigest"`
	Zaak          string                `json:"zaak,omitempty"`
	Zaaktype      string                `json:"zaaktype,omitempty"`
	Grond         gateway.Grond         `json:"grond,omitempty"`
	Rollen        []string              `json:"rol"`
	Transactie    gateway.TransactionID `json:"jti"`
	IssuedAt      int64                 `json:"iat"`
	Expires       int64                 `json:"exp"`
	Method        string                `json:"htm"`
	Target        string                `json:"htu"`
	BodyDigest    string                `json:"bodyDigest"`
}

type receipt struct {
	Issuer       gateway.PeerID            `json:"iss"`
	Audience     gateway.PeerID            `json:"aud"`
	Transactie   gateway.TransactionID     `json:"jti"`
	GrantHash    gateway.GrantHash         `json:"gth"`
	Doel         gateway.Doel              `json:"doel"`
	Besluit      *bool                     `json:"besluit"`
	Uitkomst     map[gateway.Dienst]string `json:"uitkomst,omitempty"`
	VeldenDigest string                    `json:"veldenDigest,omitempty"`
	Aantal       *int                      `json:"aantal,omitempty"`
	IssuedAt     int64                     `json:"iat"`
}

var (
	statementJSON = []byte(`{"iss":"00000099900000001000","aud":"00000099000000147000","sub":"m1.8c1f6f2a9d3e4b5c8c1f6f2a9d3e4b5c","namensCollege":"00000099000000147000",` +
		`"gth":"$1$3$` + strings.Repeat("a", 86) + `","doel":"pw-reintegratie","doelDigest":"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU","zaak":"Z-2026-17",` +
		`"zaaktype":"bijstand","rol":["klantmanager"],"jti":"0190b6a2-7c11-7d3e-9a55-3f5c0b1e2d44","iat":1767226000,"exp":1767226060,"htm":"POST",` +
		`"htu":"/clientgegevens/v1/clienten/_zoek","bodyDigest":"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"}`)
	receiptJSON = []byte(`{"iss":"00000099000000147000","aud":"00000099900000001000","jti":"0190b6a2-7c11-7d3e-9a55-3f5c0b1e2d44",` +
		`"gth":"$1$3$` + strings.Repeat("a", 86) + `","doel":"pw-reintegratie","besluit":true,"uitkomst":{"persoon":"beantwoord","uitkering":"geen-gegevens"},` +
		`"veldenDigest":"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU","aantal":1,"iat":1767226000}`)
)

func BenchmarkDecodeVerklaring(b *testing.B) { benchmarkDecode[statement](b, statementJSON) }
func BenchmarkDecodeKwitantie(b *testing.B)  { benchmarkDecode[receipt](b, receiptJSON) }

func benchmarkDecode[T any](b *testing.B, data []byte) {
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := jose.Decode(data, new(T)); err != nil {
			b.Fatal(err)
		}
	}
}

// kinds has one member of each kind of Go type that is read, by itself or by encoding/json.
type kinds struct {
	Text    string                             `json:"text"`
	Named   gateway.Doel                       `json:"named"`
	Int     int                                `json:"int"`
	Small   int8                               `json:"small"`
	Uint    uint16                             `json:"uint"`
	Float   float64                            `json:"float"`
	Bool    bool                               `json:"bool"`
	PBool   *bool                              `json:"pBool"`
	PPText  **string                           `json:"ppText"`
	PAny    *any                               `json:"pAny"`
	Any     any                                `json:"any"`
	List    []string                           `json:"list"`
	Lists   [][]int8                           `json:"lists"`
	Parts   []*kinds                           `json:"parts"`
	Two     [2]int                             `json:"two"`
	Bytes   []byte                             `json:"bytes"`
	Map     map[string]string                  `json:"map"`
	Velden  gateway.Velden                     `json:"velden"`
	Maps    map[gateway.Dienst]map[string]bool `json:"maps"`
	Numbers map[int]string                     `json:"numbers"`
	Raws    map[string]json.RawMessage         `json:"raws"`
	Raw     json.RawMessage                    `json:"raw"`
	PRaw    *json.RawMessage                   `json:"pRaw"`
	Time    time.Time                          `json:"time"`
	PTime   *time.Time                         `json:"pTime"`
	Number  json.Number                        `json:"number"`
	Inner   inner                              `json:"inner"`
	PInner  *inner                             `json:"pInner"`
	Mixed   struct {                           // not of plain fields only
		inner
		Other string `json:"other"`
	} `json:"mixed"`
	NoTag string
	Dash  string `json:"-"`
}

// FuzzDecodeAsJSON holds Decode to encoding/json: what it accepts it reads alike, and of I-JSON it refuses no more than null and names
// in another case. Each seed is accepted, unless it is in the second list.
func FuzzDecodeAsJSON(f *testing.F) {
	good := []string{
		`{"text":"a"}`, `{"text":"\u00e9\ud83d\ude00\"\\\/"}`, `{"te\u0078t":"é"}`, `{"named":"pw"}`, `{"int":-12}`, `{"int":-0}`, `{"small":-128}`, `{"uint":65535}`, `{"float":1.5e3}`,
		`{"float":2}`, `{"bool":true}`, `{"bool":false}`, `{"pBool":false}`, `{"ppText":"x"}`, `{"pAny":null}`, `{"pAny":[1]}`, `{"any":{"x":[null,1.5,"é",true]}}`, `{"any":null}`,
		`{"list":[]}`, `{"list":["a","b","c"]}`, `{"lists":[[1,2],[],[3]]}`, `{"parts":[{"text":"a"},{},{"parts":[{"int":1}]}]}`, `{"two":[1,2]}`, `{"two":[1,2,3]}`, `{"bytes":"YWJj"}`,
		`{"map":{}}`, `{"map":{"a":"b","c":"d"}}`, `{"velden":{"persoon":["naam"],"uitkering":[]}}`, `{"maps":{"a":{"b":true},"c":{}}}`, `{"numbers":{"1":"a"}}`,
		`{"raws":{"a": [1, 2] ,"b":null}}`, `{"raw": { "x" : [ 1 ] } }`, `{"raw":null}`, `{"pRaw":1}`, `{"pRaw":null}`, `{"time":"2026-01-01T00:00:00Z"}`, `{"pTime":"2026-01-01T00:00:00.5+01:00"}`,
		`{"pTime":null}`, `{"number":12.50}`, `{"inner":{"name":"x"}}`, `{"pInner":{}}`, `{"mixed":{"name":"x","other":"y"}}`, `{"NoTag":"x"}`, ` { "text" : "a" , "int" : 1 } `, string(statementJSON),
		`{"list":["` + strings.Repeat("long", 2000) + `","b"],"map":{"c":"d"}}`, string(receiptJSON),
	}
	bad := []string{
		`{"small":128}`, `{"small":1.0}`, `{"uint":-1}`, `{"uint":65536}`, `{"int":1e2}`, `{"time":"today"}`, `{"bytes":"*"}`, `{"numbers":{"x":"a"}}`, `{"text":null}`, `{"Text":"a"}`, `{"-":"a"}`, `{"Dash":"a"}`,
		`{"mixed":{"Name":"x"}}`, `{"parts":[null]}`, `{"list":"a"}`, `{"lists":[[300]]}`, `{"inner":{"name":1}}`, `{"pInner":[]}`, `null`, `[]`, `{"iss":null}`,
	}
	for _, s := range good {
		if jose.Decode([]byte(s), new(kinds)) != nil && jose.Decode([]byte(s), new(statement)) != nil && jose.Decode([]byte(s), new(receipt)) != nil {
			f.Errorf("refused: %s", s)
		}
		f.Add([]byte(s))
	}
	for _, s := range bad {
		if jose.Decode([]byte(s), new(kinds)) == nil {
			f.Errorf("accepted: %s", s)
		}
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		asJSON[kinds](t, data)
		asJSON[statement](t, data)
		asJSON[receipt](t, data)
		asJSON[[]kinds](t, data)
		asJSON[map[string]json.RawMessage](t, data)
		asJSON[any](t, data)
	})
}

func asJSON[T any](t *testing.T, data []byte) {
	t.Helper()
	var got, want T
	err := jose.Decode(data, &got)
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	stdErr := d.Decode(&want)
	switch {
	case err != nil && stdErr == nil && jose.Check(data) == nil:
		if !strings.Contains(err.Error(), "got null") && !strings.Contains(err.Error(), "unknown member") {
			t.Fatalf("%T: refused %q, which encoding/json takes: %v", got, data, err)
		}
	case err == nil && stdErr != nil:
		t.Fatalf("%T: accepted %q, which encoding/json refuses: %v", got, data, stdErr)
	case err == nil && !reflect.DeepEqual(got, want):
		t.Fatalf("%T: read %q as %+v, encoding/json as %+v", got, data, got, want)
	}
}

// TestDecodeKeepsLittle: a string that is kept of a long document does not keep all of it.
func TestDecodeKeepsLittle(t *testing.T) {
	long := []byte(`{"text":"` + strings.Repeat("x", 100) + `","map":{"` + strings.Repeat("z", 100) + `":""},"any":"` + strings.Repeat("y", 1<<20) + `"}`)
	var kept [64]struct {
		text string
		m    map[string]string
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range kept {
		var d kinds
		if err := jose.Decode(long, &d); err != nil {
			t.Fatal(err)
		}
		kept[i].text, kept[i].m = d.Text, d.Map
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(&kept)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("64 short strings keep %d kB", grown>>10)
	}
}

// TestDecodeQuoted: a number in a string is no number to us, and a number is none to encoding/json where a field says string.
func TestDecodeQuoted(t *testing.T) {
	for _, in := range []string{`{"n":1}`, `{"n":"1"}`} {
		var v struct {
			N int `json:"n,string"`
		}
		if err := jose.Decode([]byte(in), &v); err == nil {
			t.Errorf("%s: accepted as %d", in, v.N)
		}
	}
}
