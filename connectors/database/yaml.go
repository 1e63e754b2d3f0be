package database

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxMapping bounds the mapping file, in bytes.
const maxMapping = 256 << 10

// reader walks the YAML of a mapping and collects every defect with its line. It knows mappings, sequences and plain scalars;
// anchors, aliases, tags and merge keys are refused, so that what stands on a line is what counts.
type reader struct {
	file    string
	defects []defect
}

type defect struct {
	file string
	line int
	text string
}

func (d defect) Error() string { return fmt.Sprintf("%s:%d: %s", d.file, d.line, d.text) }

// node is one place in the file; path names it for people.
type node struct {
	ast.Node
	path string
}

func (n node) line() int {
	if n.Node == nil || n.GetToken() == nil {
		return 1
	}
	return n.GetToken().Position.Line
}

func (r *reader) bad(line int, format string, args ...any) {
	r.defects = append(r.defects, defect{r.file, line, fmt.Sprintf(format, args...)})
}

// parse gives the root of the only document in raw.
func (r *reader) parse(raw []byte) (node, bool) {
	if len(raw) > maxMapping {
		r.bad(1, "larger than %d bytes", maxMapping)
		return node{}, false
	}
	if deep(raw) {
		r.bad(1, "nested too deep")
		return node{}, false
	}
	f, err := parser.ParseBytes(raw, 0)
	if err != nil {
		line := 1
		text := strings.TrimSpace(err.Error())
		_, _ = fmt.Sscanf(text, "[%d:", &line)
		text, _, _ = strings.Cut(text, "\n")
		r.bad(line, "%s", text)
		return node{}, false
	}
	if len(f.Docs) != 1 || f.Docs[0].Body == nil {
		r.bad(1, "give exactly one YAML document")
		return node{}, false
	}
	return node{f.Docs[0].Body, ""}, true
}

// deep reports whether flow collections nest deeper than any mapping needs; the parser recurses on them.
func deep(raw []byte) bool {
	depth := 0
	for _, c := range raw {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		}
		if depth > 32 {
			return true
		}
	}
	return false
}

// entry is one key of a mapping and its value.
type entry struct {
	key  string
	line int
	node
}

// entries lists the keys of a mapping in the order of the file. Duplicates are defects.
func (r *reader) entries(n node) []entry {
	var values []*ast.MappingValueNode
	switch m := n.Node.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		r.bad(n.line(), "%swant keys and values", prefix(n.path))
		return nil
	}
	var all []entry
	for _, v := range values {
		key, ok := scalar(v.Key)
		line := node{Node: v.Key}.line()
		if !ok || key == "" {
			r.bad(line, "%skeys are plain text", prefix(n.path))
			continue
		}
		if slices.ContainsFunc(all, func(e entry) bool { return e.key == key }) {
			r.bad(line, "%s%s stands twice", prefix(n.path), key)
			continue
		}
		all = append(all, entry{key, line, node{v.Value, strings.TrimPrefix(n.path+"."+key, ".")}})
	}
	return all
}

// fields reads a mapping whose keys are known: what the caller then asks for by name. Unknown keys are defects.
func (r *reader) fields(n node, known ...string) map[string]entry {
	out := map[string]entry{}
	for _, e := range r.entries(n) {
		if !slices.Contains(known, e.key) {
			r.bad(e.line, "%sunknown key %.40q; choose from %s", prefix(n.path), e.key, strings.Join(known, ", "))
			continue
		}
		out[e.key] = e
	}
	return out
}

// text reads a scalar that is not empty.
func (r *reader) text(n node) string {
	s, ok := scalar(n.Node)
	if !ok || s == "" {
		r.bad(n.line(), "%swant plain text", prefix(n.path))
		return ""
	}
	return s
}

// texts reads one scalar or a sequence of scalars. Empty text may stand in a sequence.
func (r *reader) texts(n node) []string {
	seq, ok := n.Node.(*ast.SequenceNode)
	if !ok {
		if s := r.text(n); s != "" {
			return []string{s}
		}
		return nil
	}
	var out []string
	for _, v := range seq.Values {
		s, ok := scalar(v)
		if !ok {
			r.bad(node{Node: v}.line(), "%swant plain texts", prefix(n.path))
			return nil
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		r.bad(n.line(), "%sgive at least one", prefix(n.path))
	}
	return out
}

// scalar gives the text of a scalar as it stands in the file, so that 01 stays "01".
func scalar(n ast.Node) (string, bool) {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return s.GetToken().Value, true
	}
	return "", false
}

func prefix(path string) string {
	if path == "" {
		return ""
	}
	return path + ": "
}
