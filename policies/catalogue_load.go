package policies

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/schemas"
)

// Limits on one file of a catalogue. The largest real entry is 2 kB and 5 deep.
const (
	maxCatalogueFile = 64 << 10
	maxYAMLDepth     = 16
	maxFiles         = 500
)

// LoadCatalogue reads every *.yaml in fsys: one file per purpose, named after it, with its versions. Each is held against
// schemas/doelen.schema.json and schemas/diensten.json, and against the rules between versions. The error is of kind Invalid and
// names file, line and mend.
func LoadCatalogue(fsys fs.FS) (*Catalogue, error) {
	files, err := readFiles(fsys, ".yaml", ".yml")
	if err != nil {
		return nil, err
	}
	return loadCatalogue(files)
}

func loadCatalogue(files []file) (*Catalogue, error) {
	if len(files) == 0 {
		return nil, gateway.Errorf(gateway.Invalid, "purpose catalogue: no *.yaml in the folder")
	}
	c := &Catalogue{entries: map[gateway.Doel][]Entry{}, digests: map[gateway.Doel][]string{}}
	l, err := newLoader()
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		entries, err := l.file(f)
		if err != nil {
			return nil, err
		}
		id := entries[0].ID
		if _, double := c.entries[id]; double {
			return nil, gateway.Errorf(gateway.Invalid, "%s:1: doel %s stands in another file too; keep one file per doel", f.name, id)
		}
		c.add(entries)
	}
	return c, nil
}

type file struct {
	name string
	data []byte
}

// readFiles reads the files with one of these extensions, in any folder, by name. A hidden file or folder is not looked at.
func readFiles(fsys fs.FS, extensions ...string) ([]file, error) {
	var files []file
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name != "." && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() || !slices.Contains(extensions, path.Ext(name)) {
			return nil
		}
		if len(files) == maxFiles {
			return gateway.Errorf(gateway.Invalid, "%s: more than %d files", name, maxFiles)
		}
		data, err := fs.ReadFile(fsys, name)
		files = append(files, file{name, data})
		return err
	})
	if err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "policies")
	}
	return files, nil
}

// loader holds what every file is held against.
type loader struct {
	schema *jsonschema.Schema
	klasse klassen
}

func newLoader() (*loader, error) {
	k, err := loadKlassen()
	if err != nil {
		return nil, err
	}
	const name = "doelen.schema.json"
	f, err := schemas.FS.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	doc, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		return nil, fmt.Errorf("schemas/%s: %w", name, err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat() // a date that does not exist would be read as no date
	if err := compiler.AddResource(name, doc); err != nil {
		return nil, fmt.Errorf("schemas/%s: %w", name, err)
	}
	schema, err := compiler.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("schemas/%s: %w", name, err)
	}
	return &loader{schema, k}, nil
}

const dienstenFile = "diensten.json"

// klassen has the sensitivity classes of every field that exists, by dienst and veld (schemas/diensten.json).
type klassen map[gateway.Dienst]map[gateway.Veld][]string

func loadKlassen() (klassen, error) {
	const name = dienstenFile
	raw, err := fs.ReadFile(schemas.FS, name)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Diensten map[gateway.Dienst]struct {
			Velden map[gateway.Veld]struct {
				Klassen []string `json:"klassen"`
			} `json:"velden"`
		} `json:"diensten"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("schemas/%s: %w", name, err)
	}
	k := klassen{}
	for dienst, d := range doc.Diensten {
		k[dienst] = map[gateway.Veld][]string{}
		for veld, v := range d.Velden {
			if len(v.Klassen) == 0 {
				return nil, fmt.Errorf("schemas/%s: %s.%s has no class", name, dienst, veld)
			}
			k[dienst][veld] = v.Klassen
		}
	}
	return k, nil
}

func (k klassen) has(dienst gateway.Dienst, veld gateway.Veld) bool { return k[dienst][veld] != nil }

// nooit reports whether n forbids a field, by name or by class.
func (k klassen) nooit(n Nooit, dienst gateway.Dienst, veld gateway.Veld) bool {
	return slices.Contains(n.Velden, element(dienst, veld)) ||
		slices.ContainsFunc(k[dienst][veld], func(klasse string) bool { return slices.Contains(n.Klassen, klasse) })
}

func element(dienst gateway.Dienst, veld gateway.Veld) string {
	return string(dienst) + "." + string(veld)
}

// file reads the versions of one purpose, by geldigVan.
func (l *loader) file(f file) ([]Entry, error) {
	doc, lines, err := parseYAML(f)
	if err != nil {
		return nil, err
	}
	if err := l.schema.Validate(doc); err != nil {
		return nil, lines.schemaError(err)
	}
	var entries []Entry
	if err := yaml.UnmarshalWithOptions(f.data, &entries, yaml.Strict()); err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, f.name)
	}
	for i, e := range entries {
		if want := strings.TrimSuffix(path.Base(f.name), path.Ext(f.name)); string(e.ID) != want {
			return nil, lines.errorf(at(i, "id"), "id %s: a file is named after its doel; call it %s.yaml", e.ID, e.ID)
		}
		if err := l.entry(e, lines, i); err != nil {
			return nil, err
		}
	}
	return inOrder(entries, lines)
}

// inOrder sorts the versions of a purpose by validity and refuses double versions and overlap: at every moment there is at most one.
func inOrder(entries []Entry, lines *lines) ([]Entry, error) {
	line := map[int]int{}
	for i, e := range entries {
		if _, double := line[e.Versie]; double {
			return nil, lines.errorf(at(i, "versie"), "versie %d stands here twice; a changed entry gets a new version", e.Versie)
		}
		line[e.Versie] = i
	}
	slices.SortFunc(entries, func(a, b Entry) int { return a.GeldigVan.Compare(b.GeldigVan) })
	for i := 1; i < len(entries); i++ {
		prev, e := entries[i-1], entries[i]
		if prev.GeldigTot.IsZero() || prev.GeldigTot.After(e.GeldigVan) {
			return nil, lines.errorf(at(line[e.Versie], "geldigVan"),
				"version %d begins while version %d is valid; set geldigTot of version %d to %s or earlier", e.Versie, prev.Versie, prev.Versie, e.GeldigVan.Format(time.DateOnly))
		}
	}
	return entries, nil
}

// entry checks what a JSON Schema cannot say of one entry.
func (l *loader) entry(e Entry, lines *lines, i int) error {
	if e.GeldigVan.IsZero() {
		return lines.errorf(at(i, "geldigVan"), "geldigVan: give a day as 2026-01-31")
	}
	if !e.GeldigTot.IsZero() && !e.GeldigTot.After(e.GeldigVan) {
		return lines.errorf(at(i, "geldigTot"), "geldigTot: give a day after geldigVan")
	}
	if e.Bezwaar && !slices.Contains(e.AVG.Art6, "e") {
		return lines.errorf(at(i, "bezwaar"), "bezwaar: possible under AVG art. 6(1)(e) only; set it to false or name letter e in avg.art6")
	}
	if e.Toestemming != nil && e.Toestemming.VanafLeeftijd > 0 && !slices.Contains(e.Beslisattributen, "geboortedatum") {
		return lines.errorf(at(i, "beslisattributen"), "beslisattributen: toestemming.vanafLeeftijd needs geboortedatum here")
	}
	for j, naam := range e.Nooit.Velden {
		dienst, veld, _ := strings.Cut(naam, ".")
		if !l.klasse.has(gateway.Dienst(dienst), gateway.Veld(veld)) {
			return lines.errorf(at(i, "nooit", "velden", strconv.Itoa(j)), "nooit.velden %s: no such field in schemas/diensten.json", naam)
		}
	}
	for j, r := range e.Richting {
		if !slices.ContainsFunc(r.AfnemerRollen(), func(rol string) bool { return slices.Contains(e.AfnemerRollen, rol) }) {
			return lines.errorf(at(i, "richting", strconv.Itoa(j)), "richting %s: afnemerRollen has no role that asks in it (%s)", r, strings.Join(r.AfnemerRollen(), ", "))
		}
	}
	if e.Toestemming != nil {
		for j, r := range e.Toestemming.Richting {
			if !slices.Contains(e.Richting, r) {
				return lines.errorf(at(i, "toestemming", "richting", strconv.Itoa(j)), "toestemming.richting %s: not a direction of this entry", r)
			}
		}
	}
	if err := e.nooitIn(lines, i); err != nil {
		return err
	}
	for _, dienst := range e.Diensten.Diensten() {
		if l.klasse[dienst] == nil {
			return lines.errorf(at(i, "diensten", string(dienst)), "dienst %.40q: not in schemas/diensten.json; leave it out until one exists", dienst)
		}
		for j, veld := range e.Diensten[dienst] {
			place := at(i, "diensten", string(dienst), strconv.Itoa(j))
			switch {
			case !l.klasse.has(dienst, veld):
				return lines.errorf(place, "veld %.40q: dienst %s has no such field in schemas/diensten.json", veld, dienst)
			case l.klasse.nooit(e.Nooit, dienst, veld):
				return lines.errorf(place, "veld %s: forbidden by nooit of the same entry; leave it out", veld)
			}
		}
	}
	return nil
}

// nooitIn checks the fields that an entry does not give in one direction.
func (e Entry) nooitIn(lines *lines, i int) error {
	for _, r := range slices.Sorted(maps.Keys(e.Nooit.Richting)) {
		place := at(i, "nooit", "richting", string(r))
		if !slices.Contains(e.Richting, r) {
			return lines.errorf(place, "nooit.richting %s: not a direction of this entry", r)
		}
		for j, naam := range e.Nooit.Richting[r] {
			dienst, veld, _ := strings.Cut(naam, ".")
			if !e.Diensten.Has(gateway.Dienst(dienst), gateway.Veld(veld)) {
				return lines.errorf(place+"/"+strconv.Itoa(j), "nooit.richting.%s %s: the entry gives no such field in any direction; leave it out", r, naam)
			}
		}
		if len(e.DienstenIn(r)) == 0 {
			return lines.errorf(place, "nooit.richting.%s: leaves no field; take the direction away", r)
		}
	}
	return nil
}

func at(i int, parts ...string) string {
	return "/" + strings.Join(append([]string{strconv.Itoa(i)}, parts...), "/")
}

// lines knows where everything in a YAML file stands, by JSON pointer.
type lines struct {
	file string
	line map[string]int
}

// errorf is an error at a place, or at the nearest place above it that exists.
func (l *lines) errorf(place, format string, args ...any) error {
	return gateway.Errorf(gateway.Invalid, "%s:%d: %s", l.file, l.of(place), fmt.Sprintf(format, args...))
}

func (l *lines) of(place string) int {
	for {
		if n, ok := l.line[place]; ok || place == "" {
			return max(n, 1)
		}
		place = place[:strings.LastIndexByte(place, '/')]
	}
}

// schemaError is the deepest cause of a schema's refusal: it says the most.
func (l *lines) schemaError(err error) error {
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return gateway.Wrap(gateway.Invalid, err, l.file)
	}
	for len(invalid.Causes) > 0 {
		invalid = invalid.Causes[0]
	}
	place := invalid.InstanceLocation
	names := strings.Join(place, ".")
	if extra, ok := invalid.ErrorKind.(*kind.AdditionalProperties); ok && len(extra.Properties) > 0 {
		slices.Sort(extra.Properties)
		name := extra.Properties[0]
		return l.errorf("/"+strings.Join(append(slices.Clone(place), name), "/"), "unknown key %.40q; see schemas/doelen.schema.json", name)
	}
	text := invalid.BasicOutput().Error.String()
	return l.errorf("/"+strings.Join(place, "/"), "%.80s: %.200s; see schemas/doelen.schema.json", names, text)
}

// parseYAML reads plain YAML: one document of maps, lists, strings, whole numbers, booleans. What gives a file a second reading
// (anchors, aliases, merge keys, tags, double keys) is refused.
func parseYAML(f file) (any, *lines, error) {
	l := &lines{file: f.name, line: map[string]int{}}
	if len(f.data) > maxCatalogueFile {
		return nil, nil, l.errorf("", "larger than %d kB", maxCatalogueFile>>10)
	}
	if n, ok := tooDeep(f.data); ok {
		l.line[""] = n
		return nil, nil, l.errorf("", "nested more than %d deep", maxYAMLDepth)
	}
	doc, err := parser.ParseBytes(f.data, 0, parser.AllowDuplicateMapKey()) // ours names the line
	if err != nil {
		return nil, nil, yamlError(l, err)
	}
	if len(doc.Docs) != 1 || doc.Docs[0].Body == nil {
		return nil, nil, l.errorf("", "want exactly one YAML document with a list of versions")
	}
	v, err := l.value(doc.Docs[0].Body, "", 0)
	return v, l, err
}

func yamlError(l *lines, err error) error {
	if e, ok := errors.AsType[yaml.Error](err); ok {
		if tok := e.GetToken(); tok != nil && tok.Position != nil {
			l.line[""] = tok.Position.Line
		}
		return l.errorf("", "%.200s", e.GetMessage())
	}
	return l.errorf("", "not YAML")
}

// tooDeep bounds nesting before the parser recurses into it: brackets on the way, list dashes in a row, and indentation.
func tooDeep(data []byte) (line int, deep bool) {
	open := 0
	for i, text := range strings.Split(string(data), "\n") {
		indent := len(text) - len(strings.TrimLeft(text, " -?:\t"))
		if indent > 8*maxYAMLDepth || strings.Count(text[:indent], "-")+strings.Count(text[:indent], "?") > maxYAMLDepth {
			return i + 1, true
		}
		open += strings.Count(text, "[") + strings.Count(text, "{")
		if open > 8*maxYAMLDepth {
			return i + 1, true
		}
		open = max(0, open-strings.Count(text, "]")-strings.Count(text, "}"))
	}
	return 0, false
}

func (l *lines) value(n ast.Node, place string, depth int) (any, error) {
	line := n.GetToken().Position.Line
	if _, known := l.line[place]; !known {
		l.line[place] = line
	}
	if depth > maxYAMLDepth {
		return nil, l.errorf(place, "nested more than %d deep", maxYAMLDepth)
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return l.mapping(n.Values, place, depth)
	case *ast.MappingValueNode:
		return l.mapping([]*ast.MappingValueNode{n}, place, depth)
	case *ast.SequenceNode:
		list := make([]any, 0, len(n.Values))
		for i, item := range n.Values {
			v, err := l.value(item, place+"/"+strconv.Itoa(i), depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.BoolNode:
		return n.Value, nil
	case *ast.IntegerNode:
		return json.Number(fmt.Sprint(n.Value)), nil
	}
	return nil, gateway.Errorf(gateway.Invalid, "%s:%d: %s is not used here; write plain values, lists and maps", l.file, line, strings.ToLower(n.Type().String()))
}

func (l *lines) mapping(pairs []*ast.MappingValueNode, place string, depth int) (any, error) {
	m := make(map[string]any, len(pairs))
	for _, pair := range pairs {
		key, ok := pair.Key.(*ast.StringNode)
		line := pair.Key.GetToken().Position.Line
		if !ok {
			return nil, gateway.Errorf(gateway.Invalid, "%s:%d: key: write a plain word", l.file, line)
		}
		if _, double := m[key.Value]; double {
			return nil, gateway.Errorf(gateway.Invalid, "%s:%d: key %.40q stands here twice; keep one", l.file, line, key.Value)
		}
		l.line[place+"/"+key.Value] = line
		if pair.Value == nil {
			return nil, l.errorf(place+"/"+key.Value, "key %.40q has no value", key.Value)
		}
		v, err := l.value(pair.Value, place+"/"+key.Value, depth+1)
		if err != nil {
			return nil, err
		}
		m[key.Value] = v
	}
	return m, nil
}
