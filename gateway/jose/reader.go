package jose

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/grensloos/grensloos/gateway"
)

// reader walks a JSON text once, along the plan of the Go value that it fills on its way. Text and errors are made only of what is
// kept: a document of a question is read for each one, and is nearly always good.
type reader struct {
	data         string
	i            int
	maxDepth     int
	allowUnknown bool
	refused      []string
	unfit        bool // strict I-JSON so far, with a value in it that its type may not take: encoding/json has the last word
}

// flaw is what is wrong with a document, and the names of where, the innermost first.
type flaw struct {
	what string
	at   []string
}

func flawed(format string, args ...any) *flaw { return &flaw{what: fmt.Sprintf(format, args...)} }

func (f *flaw) in(name string) *flaw {
	f.at = append(f.at, name)
	return f
}

func (f *flaw) error() error {
	slices.Reverse(f.at)
	at := strings.ReplaceAll(strings.Join(f.at, "."), ".[", "[")
	return gateway.Errorf(gateway.Invalid, "%s: %s", orTop(at), f.what)
}

func orTop(path string) string {
	if path == "" {
		return "json"
	}
	return path
}

func (r *reader) document(p *plan, v reflect.Value) error {
	if !utf8.ValidString(r.data) {
		return flawed("not valid UTF-8").error()
	}
	r.space()
	if r.i == len(r.data) {
		return flawed("empty").error()
	}
	if f := r.value(p, v, 0); f != nil {
		return f.error()
	}
	r.space()
	if r.i != len(r.data) {
		return flawed("data after the end").error()
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

// value reads one value of plan p into v; a v that is not valid takes nothing.
func (r *reader) value(p *plan, v reflect.Value, depth int) *flaw {
	start := r.i
	var got byte
	switch c := r.peek(); {
	case c == '{' || c == '[' || c == '"' || c == 'n':
		got = c
	case c == 't' || c == 'f':
		got = 't'
	case c == '-' || c >= '0' && c <= '9':
		got = '0'
	default:
		return flawed("not JSON")
	}
	if got == 't' || got == 'n' {
		if f := r.literal(); f != nil {
			return f
		}
	}
	if p != nil && p.want != 0 && got != p.want {
		return flawed("wrong type: want %s, got %s", kindName(p.want), kindName(got))
	}
	if (got == '{' || got == '[') && depth >= r.maxDepth {
		return flawed("nested deeper than %d", r.maxDepth)
	}
	p, v = p.target(v)
	var parts reflect.Value // where what is in this value goes; nowhere if it is set as a whole
	if p != nil && p.fill == byParts {
		parts = v
	}
	var text string
	var f *flaw
	switch got {
	case '{':
		f = r.object(p, parts, depth+1)
	case '[':
		f = r.array(p, parts, depth+1)
	case '"':
		text, f = r.text()
	case '0':
		f = r.number()
	}
	if f == nil && v.IsValid() && !p.set(v, r.data[start:r.i], r.kept(text)) {
		r.unfit = true
	}
	return f
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

func (r *reader) literal() *flaw {
	for _, word := range []string{"true", "false", "null"} {
		if strings.HasPrefix(r.data[r.i:], word) {
			r.i += len(word)
			return nil
		}
	}
	return flawed("not JSON")
}

func (r *reader) object(p *plan, v reflect.Value, depth int) *flaw {
	r.i++ // {
	if v.IsValid() && v.Kind() == reflect.Map && v.IsNil() {
		v.Set(reflect.MakeMap(p.typ))
	}
	var seen names
	r.space()
	if r.peek() == '}' {
		r.i++
		return nil
	}
	for {
		r.space()
		if r.peek() != '"' {
			return flawed("not JSON: a member name is missing")
		}
		name, f := r.text()
		if f != nil {
			return f
		}
		if seen.add(name) {
			return flawed("is there twice").in(printable(name))
		}
		if f := r.member(p, v, name, depth); f != nil {
			return f.in(printable(name))
		}
		r.space()
		switch r.peek() {
		case ',':
			r.i++
		case '}':
			r.i++
			return nil
		default:
			return flawed("not JSON: an object is not closed")
		}
	}
}

// member reads what follows the name of a member of v: a field of a struct, or an entry of a map.
func (r *reader) member(p *plan, v reflect.Value, name string, depth int) *flaw {
	if depth == 1 && slices.Contains(r.refused, name) {
		return flawed("is not accepted")
	}
	var next *plan
	var to, key reflect.Value
	switch {
	case p == nil:
	case p.byName == nil:
		next = p.elem
		if v.IsValid() {
			to, key = reflect.New(next.typ).Elem(), reflect.New(p.typ.Key()).Elem()
			key.SetString(r.kept(name))
		}
	default:
		n, known := p.byName[name]
		if !known {
			if f := r.unknown(name, p); f != nil {
				return f
			}
			break
		}
		next = p.fields[n].plan
		if v.IsValid() {
			to = v.Field(p.fields[n].index)
		}
	}
	r.space()
	if r.peek() != ':' {
		return flawed("not JSON: a colon is missing")
	}
	r.i++
	r.space()
	if f := r.value(next, to, depth); f != nil {
		return f
	}
	if key.IsValid() {
		v.SetMapIndex(key, to)
	}
	return nil
}

func (r *reader) unknown(name string, p *plan) *flaw {
	if !r.allowUnknown {
		return flawed("unknown member")
	}
	for k := range p.byName {
		if strings.EqualFold(k, name) {
			return flawed("unknown member; write it as %s", k)
		}
	}
	return nil
}

// names are the members of one object that were read.
type names struct {
	few  [16]string
	n    int
	many map[string]bool // when there are more
}

// add reports whether name was there before.
func (s *names) add(name string) bool {
	switch {
	case slices.Contains(s.few[:s.n], name) || s.many[name]:
		return true
	case s.n < len(s.few):
		s.few[s.n] = name
		s.n++
	case s.many == nil:
		s.many = map[string]bool{name: true}
	default:
		s.many[name] = true
	}
	return false
}

func (r *reader) array(p *plan, v reflect.Value, depth int) *flaw {
	r.i++ // [
	var elem *plan
	if p != nil {
		elem = p.elem
	}
	r.space()
	if r.peek() == ']' {
		r.i++
		if v.IsValid() {
			v.Set(reflect.MakeSlice(p.typ, 0, 0))
		}
		return nil
	}
	if v.IsValid() {
		v.SetZero()
	}
	for n := 0; ; n++ {
		r.space()
		var to reflect.Value
		if v.IsValid() {
			if n == v.Cap() {
				v.Grow(1)
			}
			v.SetLen(n + 1)
			to = v.Index(n)
		}
		if f := r.value(elem, to, depth); f != nil {
			return f.in("[" + strconv.Itoa(n) + "]")
		}
		r.space()
		switch r.peek() {
		case ',':
			r.i++
		case ']':
			r.i++
			return nil
		default:
			return flawed("not JSON: an array is not closed")
		}
	}
}

// maxShared is the longest document that may stay in memory for a string that is kept of it.
const maxShared = 2 << 10

// kept is a part of the document that outlives it.
func (r *reader) kept(s string) string {
	if len(r.data) > maxShared {
		return strings.Clone(s)
	}
	return s
}

// text reads a string and returns its value.
func (r *reader) text() (string, *flaw) {
	start := r.i
	r.i++ // "
	escaped := false
	for {
		r.i += plain(r.data[r.i:])
		switch c := r.peek(); {
		case c == '"':
			r.i++
			if !escaped {
				return r.data[start+1 : r.i-1], nil
			}
			var s string
			if err := json.Unmarshal([]byte(r.data[start:r.i]), &s); err != nil {
				return "", flawed("not JSON: a bad escape")
			}
			return s, nil
		case r.i == len(r.data):
			return "", flawed("not JSON: a string is not closed")
		case c < 0x20:
			return "", flawed("not JSON: a control character in a string")
		case c == '\\':
			escaped = true
			if f := r.escape(); f != nil {
				return "", f
			}
		default:
			char, size := utf8.DecodeRuneInString(r.data[r.i:])
			if noncharacter(char) {
				return "", flawed("a noncharacter in a string (RFC 7493, 2.1)")
			}
			r.i += size
		}
	}
}

// plain is how many bytes of s are nothing but text: most strings are no more than that.
func plain(s string) int {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return i
		}
	}
	return len(s)
}

func (r *reader) escape() *flaw {
	r.i++ // backslash
	switch r.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		r.i++
		return nil
	case 'u':
	default:
		return flawed("not JSON: a bad escape")
	}
	char, ok := r.hex4()
	if ok && utf16.IsSurrogate(char) {
		var low rune
		if r.peek() != '\\' || r.i+1 >= len(r.data) || r.data[r.i+1] != 'u' {
			return flawed("a lone surrogate in a string (RFC 7493, 2.1)")
		}
		r.i++
		if low, ok = r.hex4(); ok {
			if char = utf16.DecodeRune(char, low); char == utf8.RuneError {
				return flawed("a lone surrogate in a string (RFC 7493, 2.1)")
			}
		}
	}
	if !ok {
		return flawed("not JSON: a bad escape")
	}
	if noncharacter(char) {
		return flawed("a noncharacter in a string (RFC 7493, 2.1)")
	}
	return nil
}

// hex4 reads u and four hex digits.
func (r *reader) hex4() (rune, bool) {
	if r.i+5 > len(r.data) {
		return 0, false
	}
	var v rune
	for _, c := range []byte(r.data[r.i+1 : r.i+5]) {
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

func (r *reader) number() *flaw {
	start := r.i
	if r.peek() == '-' {
		r.i++
	}
	lead := r.i
	if !r.digits() || r.data[lead] == '0' && r.i > lead+1 {
		return flawed("not JSON: a bad number")
	}
	integer := true
	if r.peek() == '.' {
		integer = false
		r.i++
		if !r.digits() {
			return flawed("not JSON: a bad number")
		}
	}
	if c := r.peek(); c == 'e' || c == 'E' {
		integer = false
		r.i++
		if c := r.peek(); c == '+' || c == '-' {
			r.i++
		}
		if !r.digits() {
			return flawed("not JSON: a bad number")
		}
	}
	if !integer {
		f, err := strconv.ParseFloat(r.data[start:r.i], 64)
		if err != nil || math.IsInf(f, 0) {
			return flawed("a number beyond a double (RFC 7493, 2.2)")
		}
		return nil
	}
	if n, err := strconv.ParseUint(r.data[lead:r.i], 10, 64); err != nil || n > maxInteger {
		return flawed("an integer beyond 2^53-1 (RFC 7493, 2.2)")
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
