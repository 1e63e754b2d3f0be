package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sampled are the keys that the examples fill in; all others are commented away. A value is YAML.
var sampled = map[string]string{
	"peer.id": `"00000099000000147000"`, "peer.naam": "Gemeente Borne", "map": "data",
	"group.id": "midden-twente.example", "group.vertrouwen.ankers": "[group/root.pem]", "group.vertrouwen.crls": "[group/root.crl, group/intermediate.crl]",
	"certificaat.certificaat": "group/cert.pem", "certificaat.sleutel": "group/key.pem",
	"netwerk.certificaat.certificaat": "netwerk/cert.pem", "netwerk.certificaat.sleutel": "netwerk/key.pem", "netwerk.ca": "netwerk/ca.pem",
	"netwerk.issuer": "https://issuer.borne.example", "netwerk.issuerSleutels": "[issuer.pem]",
	"pseudoniemen":    "{1: pseudoniem.key}",
	"manager.luister": "0.0.0.0:8443", "manager.adres": "https://manager.borne.example:8443",
	"inway.luister": "0.0.0.0:443", "inway.adres": "https://inway.borne.example:443",
	"outway.luister": "127.0.0.1:7001", "bevraging.luister": "127.0.0.1:7002", "beheer.luister": "127.0.0.1:7003", "bewaking.luister": "127.0.0.1:7004",
	"peers[].id": `"00000099900000001000"`, "peers[].naam": "uwi-midden-twente", "peers[].manager": "https://manager.uwi.example:8443",
	"bron.database.bestand": "bron.db", "bron.database.mapping": "mapping.yaml",
	"inway.services": "clientgegevens", // the name of the one service
	"rollen":         "inway",          // and of the one role

	"groep:id": "midden-twente.example", "groep:poorten": "[443, 8443]", "groep:fscVersie": "2.0.0",
	"groep:directories[].id": `"00000099900000001000"`, "groep:directories[].manager": "https://directory.example:443",
	"groep:bewaartermijnen": "{transactie: 1825, adl: 1825}",
}

// The embedded examples say what the comments of the source say, of every key that there is; and a peer can read them.
func TestConfigExample(t *testing.T) {
	e := &exampleWriter{t: t, docs: map[string]structDoc{}}
	for _, tc := range []struct {
		file, prefix, embedded, head string
		root                         reflect.Type
	}{
		{
			"config_example.yaml", "", configExample, "Configuration of one peer: every key that there is. File names are relative to this file. Keys that most peers leave out are commented\naway; a default is named with its key.",
			reflect.TypeFor[Config](),
		},
		{
			"group_example.yaml", "groep:", groupExample, "The rules of one group: the same file at every peer (group.bestand). grensloos doctor shows the digest of what it means.",
			reflect.TypeFor[GroupRules](),
		},
	} {
		e.b.Reset()
		for line := range strings.SplitSeq(tc.head, "\n") {
			fmt.Fprintf(&e.b, "# %s\n", line)
		}
		e.fields(tc.root, tc.prefix, "", false)
		if *update {
			if err := os.WriteFile(tc.file, []byte(e.b.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(tc.embedded, e.b.String()); diff != "" {
			t.Errorf("%s is not what the comments say; run with -update\n%s", tc.file, diff)
		}
	}
	if *update {
		return // what is embedded is of before
	}
	file := filepath.Join(t.TempDir(), "peer.yaml")
	if err := os.WriteFile(file, []byte(configExample), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig(file)
	if err != nil {
		t.Fatalf("the example: %v", err)
	}
	if cfg.Peer.Name != "Gemeente Borne" || len(cfg.Peers) != 1 || cfg.Inway.Services[serviceClientgegevens].URL != "" {
		t.Errorf("the example is read as %+v", cfg)
	}
	// With everything uncommented it is still YAML of known keys.
	every := regexp.MustCompile(`(?m)^( *)#([a-zA-Z]+:|- )`).ReplaceAllString(configExample, "$1$2")
	if every == configExample {
		t.Fatal("nothing is commented away")
	}
	if err := decodeStrict([]byte(every), &Config{}); err != nil {
		t.Errorf("the example with every key: %v", err)
	}
	if _, err := loadGroupRules(groupFile(t, groupExample)); err != nil {
		t.Errorf("the example of the group: %v", err)
	}
	walkKeys(reflect.TypeFor[Config](), "", func(path string, _ reflect.StructField, _ reflect.Type) {
		if key := path[strings.LastIndexByte(path, '.')+1:]; !regexp.MustCompile(`(?m)^[ #-]*` + key + `:`).MatchString(configExample) {
			t.Errorf("the example has no %s", path)
		}
	})
}

// exampleWriter writes YAML with the comments of the structs.
type exampleWriter struct {
	t    *testing.T
	b    strings.Builder
	docs map[string]structDoc // by package path and type
	said string               // the comment that stands above the struct that is written now
}

// structDoc is what the source says of a struct.
type structDoc struct {
	self   string
	fields map[string]string // by Go name
	below  map[string]bool   // fields that stand directly under the one before and share its comment
}

func (e *exampleWriter) fields(t reflect.Type, path, indent string, off bool) {
	names := map[string]string{}
	for _, f := range yamlFields(t) {
		names[f.field.Name] = f.key
	}
	for i, f := range yamlFields(t) {
		at := f.key
		if path != "" && !strings.HasSuffix(path, ":") {
			at = "." + at
		}
		at = path + at
		doc, shared := e.doc(t, f.field, i == 0)
		if doc == "" && !shared {
			e.t.Errorf("%s: no comment on %s.%s", at, t, f.field.Name)
		}
		if indent == "" {
			e.b.WriteString("\n")
		}
		if doc == e.said {
			doc = ""
		}
		for line := range strings.SplitSeq(rename(doc, names), "\n") {
			if line != "" {
				fmt.Fprintf(&e.b, "%s# %s\n", indent, line)
			}
		}
		e.said = doc
		e.value(f.key, at, deref(f.field.Type), indent, off)
	}
}

func (e *exampleWriter) value(key, at string, t reflect.Type, indent string, off bool) {
	off = off || !has(at)
	mark := ""
	if off {
		mark = "#"
	}
	sample, filled := sampled[at]
	switch {
	case t.Kind() == reflect.Struct && t != reflect.TypeFor[time.Time]():
		fmt.Fprintf(&e.b, "%s%s%s:\n", indent, mark, key)
		e.fields(t, at, indent+"  ", off)
	case t.Kind() == reflect.Map && deref(t.Elem()).Kind() == reflect.Struct:
		fmt.Fprintf(&e.b, "%s%s%s:\n%s  %s%s:\n", indent, mark, key, indent, mark, sample)
		e.fields(deref(t.Elem()), at+"[]", indent+"    ", off)
	case t.Kind() == reflect.Slice && deref(t.Elem()).Kind() == reflect.Struct:
		fmt.Fprintf(&e.b, "%s%s%s:\n", indent, mark, key)
		inner := &exampleWriter{t: e.t, docs: e.docs}
		inner.fields(deref(t.Elem()), at+"[]", indent+"    ", off)
		// The dash stands before the first key, after the comments on it.
		first := true
		for line := range strings.Lines(inner.b.String()) {
			text := strings.TrimLeft(line, " ")
			if first && !strings.HasPrefix(text, "# ") {
				first = false
				if bare, ok := strings.CutPrefix(text, "#"); ok {
					line = indent + "  #- " + bare
				} else {
					line = indent + "  - " + text
				}
			}
			e.b.WriteString(line)
		}
	case filled:
		fmt.Fprintf(&e.b, "%s%s%s: %s\n", indent, mark, key, sample)
	default:
		fmt.Fprintf(&e.b, "%s%s%s: %s\n", indent, mark, key, empty(t))
	}
}

// has reports whether a key or one below it is filled in.
func has(at string) bool {
	for path := range sampled {
		if path == at || strings.HasPrefix(path, at+".") || strings.HasPrefix(path, at+"[") {
			return true
		}
	}
	return false
}

func empty(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "0s"
	case t.Kind() == reflect.Slice:
		return "[]"
	case t.Kind() == reflect.Map:
		return "{}"
	case t.Kind() == reflect.Bool:
		return "false"
	case t.Kind() == reflect.String:
		return `""`
	}
	return "0"
}

// rename puts the keys of YAML in the place of the names of Go fields.
func rename(doc string, names map[string]string) string {
	first := true
	return regexp.MustCompile(`(Group )?\b[A-Z][A-Za-z]*\b`).ReplaceAllStringFunc(doc, func(word string) string {
		key, ok := names[word]
		head := first && strings.HasPrefix(doc, word+" ")
		first = false
		acronym := len(word) > 1 && unicode.IsUpper(rune(word[1])) // CA, URL: a word of its own, but at the head
		same := strings.EqualFold(word, key) && strings.IndexFunc(word[1:], unicode.IsUpper) < 0
		if !ok || !head && (acronym || same) {
			return word
		}
		return key
	})
}

func (e *exampleWriter) doc(t reflect.Type, f reflect.StructField, first bool) (doc string, shared bool) {
	owner := t
	if direct, ok := t.FieldByName(f.Name); ok && len(direct.Index) > 1 { // of an embedded struct
		for _, i := range direct.Index[:len(direct.Index)-1] {
			owner = deref(owner.Field(i).Type)
		}
	}
	d := e.source(owner)
	doc = d.fields[f.Name]
	if doc == "" && first {
		doc = d.self
	}
	if below := deref(f.Type); doc == "" && !d.below[f.Name] && below.Kind() == reflect.Struct {
		doc = e.source(below).self
	}
	return doc, d.below[f.Name]
}

// source reads the comments of a struct from its package.
func (e *exampleWriter) source(t reflect.Type) structDoc {
	path := t.PkgPath()
	if path == "main" || strings.HasSuffix(path, "/cmd/grensloos") {
		path = module + "/cmd/grensloos"
	}
	if d, ok := e.docs[path+"."+t.Name()]; ok {
		return d
	}
	files, err := filepath.Glob(filepath.Join("..", "..", strings.TrimPrefix(path, module+"/"), "*.go"))
	if err != nil || len(files) == 0 {
		e.t.Fatalf("source of %s: no files (%v)", path, err)
	}
	set := token.NewFileSet()
	for _, name := range files {
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			e.t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			decl, ok := n.(*ast.GenDecl)
			if !ok {
				return true
			}
			for _, spec := range decl.Specs {
				if s, ok := spec.(*ast.TypeSpec); ok {
					if st, ok := s.Type.(*ast.StructType); ok {
						e.docs[path+"."+s.Name.Name] = readStruct(set, decl, s, st)
					}
				}
			}
			return false
		})
	}
	return e.docs[path+"."+t.Name()]
}

func readStruct(set *token.FileSet, decl *ast.GenDecl, s *ast.TypeSpec, st *ast.StructType) structDoc {
	d := structDoc{self: strings.TrimSpace(s.Doc.Text()), fields: map[string]string{}, below: map[string]bool{}}
	if d.self == "" {
		d.self = strings.TrimSpace(decl.Doc.Text())
	}
	end, documented := 0, false
	for _, f := range st.Fields.List {
		text := strings.TrimSpace(f.Doc.Text())
		if text == "" {
			text = strings.TrimSpace(f.Comment.Text())
		}
		for _, name := range f.Names {
			d.fields[name.Name] = text
			d.below[name.Name] = text == "" && documented && set.Position(f.Pos()).Line == end+1
			documented = text != "" || d.below[name.Name] || end == 0
		}
		end = set.Position(f.End()).Line
	}
	return d
}

// The examples and the check are there on the command line, and a shell completes what follows -c.
func TestConfigCommand(t *testing.T) {
	b := borne(t)
	if _, err := layRegion(t.Context(), t.TempDir(), b, uwi()); err != nil {
		t.Fatal(err)
	}
	shell := func(args ...string) (string, error) {
		var out syncBuffer
		err := run(t.Context(), args, strings.NewReader(""), &out, &syncBuffer{})
		return out.String(), err
	}
	for want, args := range map[string][]string{
		configExample: {"config", "example"}, groupExample: {"config", "example", "--groep"},
		":8\n": {"__complete", "doctor", "-c", ""}, "yaml\nyml\n": {"__complete", "audit", "tail", "-c", ""},
		"afloop\n": {"__complete", "audit", "tail", "--soort", ""}, "bash completion V2 for grensloos": {"completion", "bash"},
		"is goed: Gemeente Borne": {"config", "check", "-c", b.config()},
	} {
		if out, err := shell(args...); err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: %v, got %.200q, want it to hold %.60q", args, err, out, want)
		}
	}
	if err := os.Remove(filepath.Join(b.dir, "issuer.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := shell("config", "check", "-c", b.config()); exitCode(err) != 1 || !strings.Contains(err.Error(), "issuer.pem") {
		t.Errorf("without the issuer's key: got %v, want the file named", err)
	}
}
