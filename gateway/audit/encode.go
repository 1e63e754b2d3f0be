package audit

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/grensloos/grensloos/gateway"
)

// object writes a JSON object as encoding/json would, without reflection: each question makes some eight records, and by encoding/json
// they cost three to ten times as much. What it does not know goes to encoding/json, so that a value that refuses to be encoded (a
// BSN) still does.
type object struct{ b []byte }

func (o *object) open() { o.b = append(o.b, '{') }

func (o *object) shut() { o.b = append(o.b, '}') }

// key begins a member. The name is one of ours: there is nothing to escape in it.
func (o *object) key(name string) {
	if o.b[len(o.b)-1] != '{' {
		o.b = append(o.b, ',')
	}
	o.b = append(o.b, '"')
	o.b = append(o.b, name...)
	o.b = append(o.b, '"', ':')
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

func (o *object) number(name string, n int64) {
	o.key(name)
	o.b = strconv.AppendInt(o.b, n, 10)
}

func (o *object) flag(name string, b bool) {
	o.key(name)
	o.b = strconv.AppendBool(o.b, b)
}

// trace writes the place of a record in its trace, as LDV, ADL and the draft of FSC Logging of August 2026 name it.
func (o *object) trace(t gateway.Trace) {
	o.text("trace_id", t.TraceID)
	o.text("span_id", t.SpanID)
	o.optional("parent_span_id", t.Parent)
}

// ownTrace is trace as our own kinds of record name it; each may be empty.
func (o *object) ownTrace(t gateway.Trace) {
	o.optional("traceId", t.TraceID)
	o.optional("spanId", t.SpanID)
	o.optional("parentSpanId", t.Parent)
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

// plain are the bytes that encoding/json writes as they are, wherever they stand in a string.
var plain = func() (t [256]bool) {
	for c := ' '; c <= '~'; c++ {
		t[c] = !strings.ContainsRune(`"\<>&`, c)
	}
	return t
}()

// appendString writes a JSON string. One with anything in it that must or may be escaped goes to encoding/json.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if !plain[s[i]] {
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
