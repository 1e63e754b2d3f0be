package main

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// decodeStrict decodes YAML into a struct. An unknown key is an error with its line, and with the known key that looks like it.
func decodeStrict(raw []byte, into any) error {
	if line := tooDeep(raw); line > 0 {
		return fmt.Errorf("[%d:1] nested deeper than %d", line, maxNesting)
	}
	err := yaml.UnmarshalWithOptions(raw, into, yaml.DisallowUnknownField())
	if err == nil {
		return nil
	}
	text := yaml.FormatError(err, false, false)
	if unknown, ok := errors.AsType[*yaml.UnknownFieldError](err); ok {
		text += suggestion(raw, unknown.Token, reflect.TypeOf(into))
	}
	return errors.New(text)
}

// maxNesting is deeper than any key of ours stands.
const maxNesting = 32

// tooDeep is the first line on which collections nest deeper than maxNesting, or 0: the parser takes minutes over a megabyte of
// brackets or dashes. What it counts too many of is a bracket in a text, of which no key of ours holds that many.
func tooDeep(raw []byte) int {
	open, n := 0, 0
	for line := range bytes.Lines(raw) {
		n++
		rest := bytes.TrimLeft(line, " -?\t")
		lead := line[:len(line)-len(rest)]
		if len(lead) > 8*maxNesting || bytes.Count(lead, []byte("-"))+bytes.Count(lead, []byte("?")) > maxNesting {
			return n
		}
		if bytes.HasPrefix(rest, []byte("#")) {
			continue
		}
		for _, c := range rest {
			switch c {
			case '[', '{':
				open++
			case ']', '}':
				open = max(open-1, 0)
			}
			if open > maxNesting {
				return n
			}
		}
	}
	return 0
}

// suggestion says which key somebody may have meant: one beside it that is spelt almost so, else one that stands elsewhere, else
// which keys there are.
func suggestion(raw []byte, at *token.Token, root reflect.Type) string {
	path := pathOf(raw, at)
	if path == "" {
		return ""
	}
	parent := path[:max(strings.LastIndexByte(path, '.'), 0)]
	var beside []string
	for _, f := range yamlFields(typeAt(root, parent)) {
		beside = append(beside, f.key)
	}
	if key := nearest(at.Value, beside); key != "" {
		return fmt.Sprintf("; did you mean %q?", key)
	}
	var elsewhere []string
	walkKeys(root, "", func(path string, _ reflect.StructField, _ reflect.Type) { elsewhere = append(elsewhere, path) })
	for _, other := range elsewhere {
		if other[strings.LastIndexByte(other, '.')+1:] == at.Value {
			return fmt.Sprintf("; that key stands at %s", other)
		}
	}
	if len(beside) > 0 {
		return "; known here: " + strings.Join(beside, ", ")
	}
	return ""
}

// pathOf is the path of the key that a token is, such as "inway.services.x.url"; empty if there is none.
func pathOf(raw []byte, at *token.Token) string {
	tree, err := parser.ParseBytes(raw, 0)
	if err != nil || at == nil || at.Position == nil {
		return ""
	}
	find := &keyFinder{line: at.Position.Line, column: at.Position.Column}
	for _, doc := range tree.Docs {
		if doc.Body != nil {
			ast.Walk(find, doc.Body)
		}
	}
	return strings.TrimPrefix(find.path, "$.")
}

type keyFinder struct {
	line, column int
	path         string
}

// Visit implements ast.Visitor.
func (f *keyFinder) Visit(n ast.Node) ast.Visitor {
	if kv, ok := n.(*ast.MappingValueNode); ok {
		if p := kv.Key.GetToken().Position; p.Line == f.line && p.Column == f.column {
			f.path = kv.Key.GetPath()
			if f.path == "" {
				f.path = kv.GetPath()
			}
		}
	}
	return f
}

// yamlField is a field of a struct as YAML has it.
type yamlField struct {
	key   string
	field reflect.StructField
}

// yamlFields are the keys of a struct, in order; nothing for another type.
func yamlFields(t reflect.Type) []yamlField {
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	var all []yamlField
	for i := range t.NumField() {
		f := t.Field(i)
		key, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case key == "-" || !f.IsExported():
		case strings.Contains(opts, "inline"):
			all = append(all, yamlFields(deref(f.Type))...)
		case key != "":
			all = append(all, yamlField{key, f})
		}
	}
	return all
}

func deref(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

var pathStep = regexp.MustCompile(`'[^']*'|[^.\[\]]+|\[\d+\]`)

// typeAt is the type of the value at a path below root; nil if there is none.
func typeAt(root reflect.Type, path string) reflect.Type {
	t := deref(root)
	for _, step := range pathStep.FindAllString(path, -1) {
		switch t.Kind() {
		case reflect.Map, reflect.Slice:
			t = deref(t.Elem())
		case reflect.Struct:
			var next reflect.Type
			for _, f := range yamlFields(t) {
				if f.key == step {
					next = deref(f.field.Type)
				}
			}
			if next == nil {
				return nil
			}
			t = next
		default:
			return nil
		}
	}
	return t
}

// walkKeys visits every key below root, with its path; in stands the struct that it belongs to. A list or map is entered once.
func walkKeys(root reflect.Type, path string, visit func(path string, f reflect.StructField, in reflect.Type)) {
	t := deref(root)
	for _, f := range yamlFields(t) {
		at := strings.TrimPrefix(path+"."+f.key, ".")
		visit(at, f.field, t)
		below := deref(f.field.Type)
		for below.Kind() == reflect.Map || below.Kind() == reflect.Slice {
			below = deref(below.Elem())
		}
		walkKeys(below, at, visit)
	}
}

// nearest is the candidate that is at most two edits, and less than half its length, away from what was written; or nothing.
func nearest(written string, candidates []string) string {
	best, least := "", 3
	for _, c := range candidates {
		if d := edits(strings.ToLower(written), strings.ToLower(c)); d < least && 2*d < len(c) {
			best, least = c, d
		}
	}
	return best
}

// edits is the least number of letters to add, drop, change or swap with the next, that makes b of a (Damerau, optimal string
// alignment).
func edits(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, last := make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := range x {
		row := make([]int, len(y)+1)
		row[0] = i + 1
		for j := range y {
			same := 1
			if x[i] == y[j] {
				same = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+same)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(y)]
}
