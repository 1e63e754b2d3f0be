package audit

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/grensloos/grensloos/gateway"
)

// object writes a JSON object as encoding/json would, without reflection: a decision is recorded two or three times per question, and
// its many small maps cost encoding/json ten times what the record of a transaction costs. What it does not know goes to encoding/json,
// so that a value that refuses to be encoded (a BSN) still does.
type object struct{ b []byte }

func (o *object) open() { o.b = append(o.b, '{') }

func (o *object) shut() { o.b = append(o.b, '}') }

// key begins a member.
func (o *object) key(name string) {
	if o.b[len(o.b)-1] != '{' {
		o.b = append(o.b, ',')
	}
	o.b = append(appendString(o.b, name), ':')
}

func (o *object) text(name, value string) {
	o.key(name)
	o.b = appendString(o.b, value)
}

// optional is text that is left out when it is empty.
func (o *object) optional(name, value string) {
	if value != "" {
		o.text(name, value)
	}
}

func (o *object) value(name string, v any) {
	o.key(name)
	o.b = appendValue(o.b, v)
}

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return appendString(b, v)
	case gateway.PeerID:
		return appendString(b, string(v))
	case gateway.Doel:
		return appendString(b, string(v))
	case gateway.GrantHash:
		return appendString(b, string(v))
	case gateway.TransactionID:
		return appendString(b, string(v))
	case gateway.Richting:
		return appendString(b, string(v))
	case gateway.Pseudonym:
		return appendString(b, string(v))
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case bool:
		return strconv.AppendBool(b, v)
	case []string:
		return appendList(b, v)
	case []gateway.Veld:
		return appendList(b, v)
	case gateway.Velden:
		return appendMap(b, v, func(b []byte, velden []gateway.Veld) []byte { return appendList(b, velden) })
	case map[string]any:
		return appendMap(b, v, appendValue)
	case map[string]string:
		return appendMap(b, v, appendString)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		unencodable(err)
	}
	return append(b, raw...)
}

func appendList[T ~string](b []byte, list []T) []byte {
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, string(s))
	}
	return append(b, ']')
}

// appendMap writes the members in the order of their names, as encoding/json does.
func appendMap[M ~map[K]V, K ~string, V any](b []byte, m M, value func([]byte, V) []byte) []byte {
	if m == nil {
		return append(b, "null"...)
	}
	var few [16]K
	names := few[:0]
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, string(name)), ':')
		b = value(b, m[name])
	}
	return append(b, '}')
}

// appendString writes a JSON string. One with anything in it that must or may be escaped goes to encoding/json.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			raw, err := json.Marshal(s)
			if err != nil {
				unencodable(err)
			}
			return append(b, raw...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// unencodable is for a BSN or a channel put where neither belongs: a bug that must not become a record without content.
func unencodable(err error) { panic("audit: record can't be encoded: " + err.Error()) }
