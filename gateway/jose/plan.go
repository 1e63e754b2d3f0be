package jose

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// A plan is what a Go type wants to find in a document, and how it is filled. nil is the plan of what has no Go type: anything may
// stand there, and it fills nothing.
type plan struct {
	typ    reflect.Type
	want   byte // the kind of JSON as its first byte ({, [, ", 0 for a number, t for a boolean); 0 is anything
	fill   fill
	fields []field        // of a struct
	byName map[string]int // the index in fields; not nil if this is a struct
	elem   *plan          // of a pointer's target, an array's elements, a map's values
}

type field struct {
	name  string
	index int // in the Go struct
	plan  *plan
}

// fill says how a value is set.
type fill int

const (
	byJSON  fill = iota // by encoding/json, from its part of the document; also what is in it
	byParts             // while its parts are read: a struct, a slice, a map
	asString
	asBool
	asInt
	asUint
	asRaw
	asPointer
)

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	numberType      = reflect.TypeFor[json.Number]()
	rawType         = reflect.TypeFor[json.RawMessage]()
)

// plans remembers the plan of each type that was decoded into: making one costs more than a decode. It only ever grows to the number
// of types that the program decodes.
var plans sync.Map // reflect.Type -> *plan

func planOf(t reflect.Type) *plan {
	if t == nil {
		return nil
	}
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	p := newPlan(t, map[reflect.Type]*plan{})
	plans.Store(t, p)
	return p
}

// newPlan makes the plan of t, and of what is in it; made are those begun before, so that a type may have itself in it.
func newPlan(t reflect.Type, made map[reflect.Type]*plan) *plan {
	if p := made[t]; p != nil {
		return p
	}
	p := &plan{typ: t}
	made[t] = p
	switch {
	case t == rawType:
		p.fill = asRaw
		return p
	case t.Kind() == reflect.Interface || t.Implements(jsonUnmarshaler) || reflect.PointerTo(t).Implements(jsonUnmarshaler):
		return p
	case t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(textUnmarshaler):
		p.want = '"'
		return p
	}
	switch t.Kind() {
	case reflect.Pointer:
		if elem := newPlan(t.Elem(), made); elem.want != 0 { // else null may stand there, and makes the pointer nil
			p.elem, p.want, p.fill = elem, elem.want, asPointer
		}
	case reflect.Struct:
		p.want, p.fill, p.byName = '{', byParts, map[string]int{}
		p.members(t, made)
	case reflect.Map:
		p.want = '{'
		if key := t.Key(); key.Kind() == reflect.String && !reflect.PointerTo(key).Implements(textUnmarshaler) {
			p.fill = byParts
		}
		p.elem = newPlan(t.Elem(), made)
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 { // base64
			p.want = '"'
			break
		}
		p.want = '['
		if t.Kind() == reflect.Slice {
			p.fill = byParts
		}
		p.elem = newPlan(t.Elem(), made)
	case reflect.String:
		p.want, p.fill = '"', asString
		if t == numberType {
			p.want, p.fill = '0', byJSON
		}
	case reflect.Bool:
		p.want, p.fill = 't', asBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		p.want, p.fill = '0', asInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		p.want, p.fill = '0', asUint
	default:
		p.want = '0'
	}
	return p
}

// members plans the fields of a struct. One with others than plain fields is left to encoding/json.
func (p *plan) members(t reflect.Type, made map[reflect.Type]*plan) {
	add := func(name string, index int, member *plan) {
		p.byName[name] = len(p.fields)
		p.fields = append(p.fields, field{name, index, member})
	}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Tag.Get("json") == "-":
		case f.Anonymous && name == "":
			p.fill = byJSON
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				embedded := &plan{byName: map[string]int{}}
				embedded.members(inner, made)
				for _, in := range embedded.fields {
					if _, shadowed := p.byName[in.name]; !shadowed {
						add(in.name, 0, in.plan)
					}
				}
			}
		case !f.IsExported():
		default:
			if name == "" {
				name = f.Name
			}
			if strings.Contains(options, "string") {
				p.fill = byJSON
			}
			add(name, f.Index[0], newPlan(f.Type, made))
		}
	}
}

// target is where a value of plan p goes: v, or what v points to.
func (p *plan) target(v reflect.Value) (*plan, reflect.Value) {
	for p != nil && p.fill == asPointer {
		if v.IsValid() {
			if v.IsNil() {
				v.Set(reflect.New(p.elem.typ))
			}
			v = v.Elem()
		}
		p = p.elem
	}
	return p, v
}

// set fills v with a value that was read: raw is its part of the document, text its value if it is a string. false: v can't hold it.
func (p *plan) set(v reflect.Value, raw, text string) bool {
	switch p.fill {
	case byParts, asPointer: // set while it was read
	case byJSON:
		return json.Unmarshal([]byte(raw), v.Addr().Interface()) == nil
	case asString:
		v.SetString(text)
	case asBool:
		v.SetBool(raw == "true")
	case asInt:
		n, err := strconv.ParseInt(raw, 10, 64)
		if err != nil || v.OverflowInt(n) {
			return false
		}
		v.SetInt(n)
	case asUint:
		n, err := strconv.ParseUint(raw, 10, 64)
		if err != nil || v.OverflowUint(n) {
			return false
		}
		v.SetUint(n)
	case asRaw:
		v.SetBytes([]byte(raw))
	}
	return true
}
