package jose

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/gowebpki/jcs"

	"github.com/grensloos/grensloos/gateway"
)

// defaultDepth bounds the nesting of arrays and objects.
const defaultDepth = 32

// Option changes how strictly Decode reads.
type Option func(*reader)

// AllowUnknown lets members pass that the Go type doesn't have. A member that differs from a known one in case only is still
// refused: it would be read as that one.
func AllowUnknown() Option { return func(r *reader) { r.allowUnknown = true } }

// MaxDepth sets the deepest nesting of arrays and objects; 32 unless told.
func MaxDepth(n int) Option { return func(r *reader) { r.maxDepth = n } }

// refuse names members of the outermost object that must not be there.
func refuse(names []string) Option { return func(r *reader) { r.refused = names } }

// Decode reads strict I-JSON (RFC 7493) into the value that into points to: valid UTF-8 without surrogates or noncharacters, no
// member twice, no unknown member (unless AllowUnknown), names in their exact case, no null for a typed member, integers within
// 2^53-1, bounded depth, nothing after the value. The error is of kind Invalid and names the member, never a value.
func Decode(data []byte, into any, opts ...Option) error {
	r := &reader{data: data, maxDepth: defaultDepth}
	for _, opt := range opts {
		opt(r)
	}
	if err := r.document(reflect.TypeOf(into)); err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		if te, ok := errors.AsType[*json.UnmarshalTypeError](err); ok { // its text repeats the value
			return gateway.Errorf(gateway.Invalid, "%s: wrong type, want %s", orTop(te.Field), te.Type)
		}
		var own *gateway.Error
		if errors.As(err, &own) {
			return gateway.Wrap(gateway.Invalid, err, "json")
		}
		return gateway.Errorf(gateway.Invalid, "json: a member has a value that its type does not take")
	}
	return nil
}

// Check is Decode without a target: it tells whether data is I-JSON.
func Check(data []byte, opts ...Option) error {
	r := &reader{data: data, maxDepth: defaultDepth}
	for _, opt := range opts {
		opt(r)
	}
	return r.document(nil)
}

// CanonicalJSON gives the JCS form (RFC 8785) of I-JSON.
func CanonicalJSON(raw []byte) ([]byte, error) {
	if err := Check(raw); err != nil {
		return nil, err
	}
	out, err := jcs.Transform(raw)
	if err != nil { // its text may repeat a part of the document
		return nil, gateway.Errorf(gateway.Invalid, "json: has no canonical form (RFC 8785)")
	}
	return out, nil
}

// Canonical gives the JCS form of a Go value.
func Canonical(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, gateway.Wrap(gateway.Internal, err, "json")
	}
	return CanonicalJSON(raw)
}

// reader walks a JSON text once, along the Go type that it will be decoded into.
type reader struct {
	data         []byte
	i            int
	path         []string
	maxDepth     int
	allowUnknown bool
	refused      []string
}

func orTop(path string) string {
	if path == "" {
		return "json"
	}
	return path
}

func (r *reader) errorf(format string, args ...any) error {
	at := strings.ReplaceAll(strings.Join(r.path, "."), ".[", "[")
	return gateway.Errorf(gateway.Invalid, "%s: %s", orTop(at), fmt.Sprintf(format, args...))
}

func (r *reader) document(t reflect.Type) error {
	if !utf8.Valid(r.data) {
		return r.errorf("not valid UTF-8")
	}
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	r.space()
	if r.i == len(r.data) {
		return r.errorf("empty")
	}
	if err := r.value(t, 0); err != nil {
		return err
	}
	r.space()
	if r.i != len(r.data) {
		return r.errorf("data after the end")
	}
	return nil
}

func (r *reader) space() {
	for r.i < len(r.data) {
		switch r.data[r.i] {
		case ' ', '\t', '\n', '\r':
			r.i++
		default:
			return
		}
	}
}

func (r *reader) peek() byte {
	if r.i < len(r.data) {
		return r.data[r.i]
	}
	return 0
}

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	numberType      = reflect.TypeFor[json.Number]()
)

// shape is what a Go type wants to find: the JSON kind as its first byte class, 0 for anything.
func shape(t reflect.Type) (reflect.Type, byte) {
	for t != nil && t.Kind() == reflect.Pointer {
		if t.Implements(jsonUnmarshaler) {
			return nil, 0
		}
		t = t.Elem()
	}
	if t == nil || t.Kind() == reflect.Interface || reflect.PointerTo(t).Implements(jsonUnmarshaler) {
		return nil, 0
	}
	if reflect.PointerTo(t).Implements(textUnmarshaler) {
		return nil, '"'
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return t, '{'
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return nil, '"'
		}
		return t, '['
	case reflect.String:
		if t == numberType {
			return t, '0'
		}
		return t, '"'
	case reflect.Bool:
		return t, 't'
	default:
		return t, '0'
	}
}

func (r *reader) value(t reflect.Type, depth int) error {
	t, want := shape(t)
	var got byte
	switch c := r.peek(); {
	case c == '{' || c == '[' || c == '"' || c == 'n':
		got = c
	case c == 't' || c == 'f':
		got = 't'
	case c == '-' || c >= '0' && c <= '9':
		got = '0'
	default:
		return r.errorf("not JSON")
	}
	if got == 't' || got == 'n' {
		if err := r.literal(); err != nil {
			return err
		}
	}
	if want != 0 && got != want {
		return r.errorf("wrong type: want %s, got %s", kindName(want), kindName(got))
	}
	if (got == '{' || got == '[') && depth >= r.maxDepth {
		return r.errorf("nested deeper than %d", r.maxDepth)
	}
	switch got {
	case '{':
		return r.object(t, depth+1)
	case '[':
		return r.array(t, depth+1)
	case '"':
		_, err := r.text()
		return err
	case '0':
		return r.number()
	}
	return nil // a literal, read above
}

func kindName(c byte) string {
	switch c {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 't':
		return "true or false"
	}
	return "null (leave the member out)"
}

func (r *reader) literal() error {
	for _, word := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(r.data[r.i:], []byte(word)) {
			r.i += len(word)
			return nil
		}
	}
	return r.errorf("not JSON")
}

func (r *reader) object(t reflect.Type, depth int) error {
	r.i++ // {
	known, elem := members(t)
	var few []string // names seen; many takes over when there are more
	var many map[string]bool
	r.space()
	if r.peek() == '}' {
		r.i++
		return nil
	}
	for {
		r.space()
		if r.peek() != '"' {
			return r.errorf("not JSON: a member name is missing")
		}
		name, err := r.text()
		if err != nil {
			return err
		}
		r.path = append(r.path, printable(name))
		if slices.Contains(few, name) || many[name] {
			return r.errorf("is there twice")
		}
		switch {
		case len(few) < 16:
			few = append(few, name)
		case many == nil:
			many = map[string]bool{name: true}
		default:
			many[name] = true
		}
		if depth == 1 && slices.Contains(r.refused, name) {
			return r.errorf("is not accepted")
		}
		next := elem
		if known != nil {
			field, ok := known[name]
			if !ok {
				if err := r.unknown(name, known); err != nil {
					return err
				}
			}
			next = field
		}
		r.space()
		if r.peek() != ':' {
			return r.errorf("not JSON: a colon is missing")
		}
		r.i++
		r.space()
		if err := r.value(next, depth); err != nil {
			return err
		}
		r.path = r.path[:len(r.path)-1]
		r.space()
		switch r.peek() {
		case ',':
			r.i++
		case '}':
			r.i++
			return nil
		default:
			return r.errorf("not JSON: an object is not closed")
		}
	}
}

func (r *reader) unknown(name string, known map[string]reflect.Type) error {
	if !r.allowUnknown {
		return r.errorf("unknown member")
	}
	for k := range known {
		if strings.EqualFold(k, name) {
			return r.errorf("unknown member; write it as %s", k)
		}
	}
	return nil
}

func (r *reader) array(t reflect.Type, depth int) error {
	r.i++ // [
	var elem reflect.Type
	if t != nil {
		elem = t.Elem()
	}
	r.space()
	if r.peek() == ']' {
		r.i++
		return nil
	}
	for n := 0; ; n++ {
		r.space()
		r.path = append(r.path, "["+strconv.Itoa(n)+"]")
		if err := r.value(elem, depth); err != nil {
			return err
		}
		r.path = r.path[:len(r.path)-1]
		r.space()
		switch r.peek() {
		case ',':
			r.i++
		case ']':
			r.i++
			return nil
		default:
			return r.errorf("not JSON: an array is not closed")
		}
	}
}

// text reads a string and returns its value.
func (r *reader) text() (string, error) {
	start := r.i
	r.i++ // "
	escaped := false
	for r.i < len(r.data) {
		c := r.data[r.i]
		switch {
		case c == '"':
			r.i++
			if !escaped {
				return string(r.data[start+1 : r.i-1]), nil
			}
			var s string
			if err := json.Unmarshal(r.data[start:r.i], &s); err != nil {
				return "", r.errorf("not JSON: a bad escape")
			}
			return s, nil
		case c < 0x20:
			return "", r.errorf("not JSON: a control character in a string")
		case c == '\\':
			escaped = true
			if err := r.escape(); err != nil {
				return "", err
			}
		case c < utf8.RuneSelf:
			r.i++
		default:
			char, size := utf8.DecodeRune(r.data[r.i:])
			if noncharacter(char) {
				return "", r.errorf("a noncharacter in a string (RFC 7493, 2.1)")
			}
			r.i += size
		}
	}
	return "", r.errorf("not JSON: a string is not closed")
}

func (r *reader) escape() error {
	r.i++ // backslash
	switch r.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		r.i++
		return nil
	case 'u':
	default:
		return r.errorf("not JSON: a bad escape")
	}
	char, ok := r.hex4()
	if ok && utf16.IsSurrogate(char) {
		var low rune
		if r.peek() != '\\' || r.i+1 >= len(r.data) || r.data[r.i+1] != 'u' {
			return r.errorf("a lone surrogate in a string (RFC 7493, 2.1)")
		}
		r.i++
		if low, ok = r.hex4(); ok {
			if char = utf16.DecodeRune(char, low); char == utf8.RuneError {
				return r.errorf("a lone surrogate in a string (RFC 7493, 2.1)")
			}
		}
	}
	if !ok {
		return r.errorf("not JSON: a bad escape")
	}
	if noncharacter(char) {
		return r.errorf("a noncharacter in a string (RFC 7493, 2.1)")
	}
	return nil
}

// hex4 reads u and four hex digits.
func (r *reader) hex4() (rune, bool) {
	if r.i+5 > len(r.data) {
		return 0, false
	}
	var v rune
	for _, c := range r.data[r.i+1 : r.i+5] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | rune(c)
	}
	r.i += 5
	return v, true
}

func noncharacter(c rune) bool { return c&0xfffe == 0xfffe || c >= 0xfdd0 && c <= 0xfdef }

const maxInteger = 1<<53 - 1

func (r *reader) number() error {
	start := r.i
	if r.peek() == '-' {
		r.i++
	}
	lead := r.i
	if !r.digits() || r.data[lead] == '0' && r.i > lead+1 {
		return r.errorf("not JSON: a bad number")
	}
	integer := true
	if r.peek() == '.' {
		integer = false
		r.i++
		if !r.digits() {
			return r.errorf("not JSON: a bad number")
		}
	}
	if c := r.peek(); c == 'e' || c == 'E' {
		integer = false
		r.i++
		if c := r.peek(); c == '+' || c == '-' {
			r.i++
		}
		if !r.digits() {
			return r.errorf("not JSON: a bad number")
		}
	}
	if !integer {
		f, err := strconv.ParseFloat(string(r.data[start:r.i]), 64)
		if err != nil || math.IsInf(f, 0) {
			return r.errorf("a number beyond a double (RFC 7493, 2.2)")
		}
		return nil
	}
	if n, err := strconv.ParseUint(string(r.data[lead:r.i]), 10, 64); err != nil || n > maxInteger {
		return r.errorf("an integer beyond 2^53-1 (RFC 7493, 2.2)")
	}
	return nil
}

func (r *reader) digits() bool {
	start := r.i
	for c := r.peek(); c >= '0' && c <= '9'; c = r.peek() {
		r.i++
	}
	return r.i > start
}

// printable keeps a member name fit for an error: short, and without a run of digits that might be somebody's number.
func printable(name string) string {
	run := 0
	for _, c := range name {
		run++
		if c < '0' || c > '9' {
			run = 0
		}
		if run > 7 || c < ' ' || c > '~' || c == '"' {
			return "[a member]"
		}
	}
	if len(name) > 64 {
		return "[a member]"
	}
	return name
}

// structs remembers the members of struct types; reflecting on one costs more than a small decode. It only ever grows to the
// number of types that the program decodes.
var structs sync.Map // reflect.Type -> map[string]reflect.Type

// members gives the JSON names of a struct with their types, or the type of a map's values.
func members(t reflect.Type) (known map[string]reflect.Type, elem reflect.Type) {
	switch {
	case t == nil:
		return nil, nil
	case t.Kind() == reflect.Map:
		return nil, t.Elem()
	}
	if m, ok := structs.Load(t); ok {
		return m.(map[string]reflect.Type), nil
	}
	m := map[string]reflect.Type{}
	for f := range t.Fields() {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Tag.Get("json") == "-":
		case f.Anonymous && tag == "":
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				embedded, _ := members(inner)
				for name, ft := range embedded {
					if _, shadowed := m[name]; !shadowed {
						m[name] = ft
					}
				}
			}
		case !f.IsExported():
		case tag != "":
			m[tag] = f.Type
		default:
			m[f.Name] = f.Type
		}
	}
	structs.Store(t, m)
	return m, nil
}
