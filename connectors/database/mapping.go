package database

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/gateway"
)

// mapping is a mapping file as read: which table and columns hold what. Every part knows its line.
type mapping struct {
	file     string
	persoon  persoonTabel
	diensten map[gateway.Dienst]*dienstTabel
}

// persoonTabel is what the first read asks.
type persoonTabel struct {
	tabel        tabel
	bsn, sleutel kolom
	getal        bool // the bsn column holds a number
	geheim       *veldKolommen
	geboren      *veldKolommen // nil: the source does not know
}

// dienstTabel is what the second read asks for one dienst.
type dienstTabel struct {
	bron      string
	tabel     tabel
	sleutel   kolom
	peildatum peildatum
	velden    map[gateway.Veld]*veldKolommen
}

// tabel is the name of a table or view, whitelisted, the schema that it stands in if the mapping says so, and the line.
type tabel struct {
	schema, naam string
	regel        int
}

// kolom is the name of a column, whitelisted, and the line that names it.
type kolom struct {
	naam  string
	regel int
}

// veldKolommen says from which columns a field comes. A field of type bsn has none.
type veldKolommen struct {
	schema    connectors.VeldSchema
	delen     []deel
	conversie conversie
	regel     int
}

// deel is a part of a composed field, or the one nameless part of any other. Its columns are joined by a space.
type deel struct {
	naam     string
	kolommen []kolom
}

// peildatum is where the day comes from that a row describes: a column, one fixed day, or the moment of asking.
type peildatum struct {
	kolom     kolom
	conversie conversie
	vast      time.Time
}

// The keys of a mapping file; docs/connector.md explains each.
const (
	kBron, kTabel, kSleutel, kKolom, kConversie = "bron", "tabel", "sleutel", "kolom", "conversie"
	kPersoon, kDiensten, kVelden, kPeildatum    = "persoon", "diensten", "velden", "peildatum"
	kBSN, kVorm, kAttributen                    = "bsn", "vorm", "beslisattributen"
	kKolommen, kDelen, kCodes                   = "kolommen", "delen", "codes"
	kWaar, kOnwaar, kLeeg, kVast                = "waar", "onwaar", "leeg", "vast"
)

// identifier is what a table or column may be called. Whoever has another name makes a view.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

// parseMapping reads a mapping file. The error joins all defects, each with file and line.
func parseMapping(file string, raw []byte) (*mapping, error) {
	r := &reader{file: file}
	m := &mapping{file: file, diensten: map[gateway.Dienst]*dienstTabel{}}
	if root, ok := r.parse(raw); ok {
		r.mapping(m, root)
	}
	if len(r.defects) > 0 {
		errs := make([]error, len(r.defects))
		for i, d := range r.defects {
			errs[i] = d
		}
		return nil, gateway.Wrap(gateway.Invalid, errors.Join(errs...), "mapping")
	}
	return m, nil
}

func (r *reader) mapping(m *mapping, root node) {
	top := r.fields(root, kBron, kPersoon, kDiensten)
	bron := ""
	if r.required(root, top, kBron) {
		bron = r.text(top[kBron].node)
	}
	if r.required(root, top, kPersoon) {
		r.persoon(&m.persoon, top[kPersoon].node)
	}
	if !r.required(root, top, kDiensten) {
		return
	}
	schema := connectors.Gemeenschappelijk()
	for _, e := range r.entries(top[kDiensten].node) {
		d, ok := schema.Diensten[gateway.Dienst(e.key)]
		if !ok {
			r.bad(e.line, "diensten: unknown dienst %.40q; choose from %s", e.key, connectors.Namen(schema.Diensten))
			continue
		}
		m.diensten[gateway.Dienst(e.key)] = r.dienst(d, bron, e.node)
	}
	if len(m.diensten) == 0 {
		r.bad(top[kDiensten].line, "diensten: give at least one")
	}
}

func (r *reader) persoon(p *persoonTabel, n node) {
	f := r.fields(n, kTabel, kBSN, kSleutel, kAttributen)
	if r.required(n, f, kTabel) {
		p.tabel = r.tabel(f[kTabel].node)
	}
	if r.required(n, f, kBSN) {
		b := f[kBSN].node
		if _, plain := scalar(b.Node); plain {
			p.bsn = r.kolom(b)
		} else {
			g := r.fields(b, kKolom, kVorm)
			if r.required(b, g, kKolom) {
				p.bsn = r.kolom(g[kKolom].node)
			}
			p.getal = r.choice(g, kVorm, "tekst", "getal") == "getal"
		}
	}
	p.sleutel = p.bsn
	if e, ok := f[kSleutel]; ok {
		p.sleutel = r.kolom(e.node)
	}
	if !r.required(n, f, kAttributen) {
		return
	}
	a := f[kAttributen].node
	g := r.fields(a, string(connectors.Geheimhouding), string(connectors.Geboortedatum))
	if r.required(a, g, string(connectors.Geheimhouding)) {
		p.geheim = r.veld(connectors.VeldSchema{Type: connectors.JaNee}, g[string(connectors.Geheimhouding)].node)
	}
	if e, ok := g[string(connectors.Geboortedatum)]; ok {
		p.geboren = r.veld(connectors.VeldSchema{Type: connectors.Datum}, e.node)
	}
}

func (r *reader) dienst(schema connectors.DienstSchema, bron string, n node) *dienstTabel {
	d := &dienstTabel{bron: bron, velden: map[gateway.Veld]*veldKolommen{}}
	f := r.fields(n, kBron, kTabel, kSleutel, kPeildatum, kVelden)
	if e, ok := f[kBron]; ok {
		d.bron = r.text(e.node)
	}
	if r.required(n, f, kTabel) {
		d.tabel = r.tabel(f[kTabel].node)
	}
	if r.required(n, f, kSleutel) {
		d.sleutel = r.kolom(f[kSleutel].node)
	}
	if r.required(n, f, kPeildatum) {
		d.peildatum = r.peildatum(f[kPeildatum].node)
	}
	if !r.required(n, f, kVelden) {
		return d
	}
	for _, e := range r.entries(f[kVelden].node) {
		v, ok := schema.Velden[gateway.Veld(e.key)]
		if !ok {
			r.bad(e.line, "%s: unknown veld; choose from %s", e.path, connectors.Namen(schema.Velden))
			continue
		}
		if vk := r.veld(v, e.node); vk != nil {
			d.velden[gateway.Veld(e.key)] = vk
		}
	}
	if len(d.velden) == 0 {
		r.bad(f[kVelden].line, "%s: give at least one", f[kVelden].path)
	}
	return d
}

// veld reads where one field comes from: the name of a column, or keys. Which keys fit follows from the type.
func (r *reader) veld(schema connectors.VeldSchema, n node) *veldKolommen {
	v := &veldKolommen{schema: schema, regel: n.line()}
	if schema.Type == connectors.BSN {
		if s, _ := scalar(n.Node); s != "vraag" {
			r.bad(n.line(), "%s: write `vraag`: the bsn of an answer is that of the question", n.path)
		}
		return v
	}
	if _, plain := scalar(n.Node); plain {
		if schema.Type == connectors.Adres {
			r.bad(n.line(), "%s: want delen with some of %v", n.path, schema.Delen)
			return nil
		}
		v.delen = []deel{{kolommen: []kolom{r.kolom(n)}}}
		v.conversie = r.conversie(schema, n, nil)
		return v
	}
	var f map[string]entry
	switch schema.Type {
	case connectors.Adres:
		f = r.fields(n, kDelen)
		if r.required(n, f, kDelen) {
			v.delen = r.delen(schema, f[kDelen].node)
		}
		return v
	case connectors.Tekst:
		f = r.fields(n, kKolommen)
		if r.required(n, f, kKolommen) {
			v.delen = []deel{{kolommen: r.kolommen(f[kKolommen].node)}}
		}
		return v
	case connectors.JaNee:
		f = r.fields(n, kKolom, kWaar, kOnwaar, kLeeg)
	case connectors.Code:
		f = r.fields(n, kKolom, kCodes)
	default:
		f = r.fields(n, kKolom, kConversie)
	}
	if r.required(n, f, kKolom) {
		v.delen = []deel{{kolommen: []kolom{r.kolom(f[kKolom].node)}}}
	}
	v.conversie = r.conversie(schema, n, f)
	return v
}

func (r *reader) delen(schema connectors.VeldSchema, n node) []deel {
	var delen []deel
	f := r.fields(n, schema.Delen...)
	for _, naam := range schema.Delen {
		if e, ok := f[naam]; ok {
			delen = append(delen, deel{naam, r.kolommen(e.node)})
		}
	}
	if len(delen) == 0 {
		r.bad(n.line(), "%s: give at least one", n.path)
	}
	return delen
}

func (r *reader) kolommen(n node) []kolom {
	var all []kolom
	for _, naam := range r.texts(n) {
		all = append(all, r.naam(naam, n))
	}
	return all
}

func (r *reader) kolom(n node) kolom {
	if s := r.text(n); s != "" {
		return r.naam(s, n)
	}
	return kolom{}
}

func (r *reader) tabel(n node) tabel {
	s := r.text(n)
	if s == "" {
		return tabel{}
	}
	schema, naam, two := strings.Cut(s, ".")
	if !two {
		return tabel{"", r.naam(s, n).naam, n.line()}
	}
	return tabel{r.naam(schema, n).naam, r.naam(naam, n).naam, n.line()}
}

func (r *reader) naam(s string, n node) kolom {
	if !identifier.MatchString(s) {
		r.bad(n.line(), "%s: %.40q is no plain name: letters, digits and _ only, at most 63; make a view for any other", n.path, s)
		return kolom{}
	}
	return kolom{s, n.line()}
}

func (r *reader) peildatum(n node) peildatum {
	if s, plain := scalar(n.Node); plain {
		if s != "nu" {
			r.bad(n.line(), "%s: write `nu`, or give kolom or vast", n.path)
		}
		return peildatum{}
	}
	f := r.fields(n, kKolom, kConversie, kVast)
	if e, ok := f[kVast]; ok {
		day, err := time.Parse(time.DateOnly, r.text(e.node))
		if err != nil || len(f) > 1 {
			r.bad(e.line, "%s: a day such as 2026-01-31, and no other key", e.path)
		}
		return peildatum{vast: day}
	}
	p := peildatum{conversie: r.conversie(connectors.VeldSchema{Type: connectors.Datum}, n, f)}
	if r.required(n, f, kKolom) {
		p.kolom = r.kolom(f[kKolom].node)
	}
	return p
}

// required reports whether key is there, and notes the defect when it is not.
func (r *reader) required(n node, f map[string]entry, key string) bool {
	_, ok := f[key]
	if !ok {
		r.bad(n.line(), "%s%s is missing", prefix(n.path), key)
	}
	return ok
}

// choice reads a key that has a default, the first of the options.
func (r *reader) choice(f map[string]entry, key string, options ...string) string {
	e, ok := f[key]
	if !ok {
		return options[0]
	}
	s := r.text(e.node)
	for _, o := range options {
		if s == o {
			return s
		}
	}
	r.bad(e.line, "%s: choose from %v", e.path, options)
	return options[0]
}

// kolommen lists the columns of the field, in order.
func (v *veldKolommen) kolommen() []kolom {
	var all []kolom
	for _, d := range v.delen {
		all = append(all, d.kolommen...)
	}
	return all
}

func (k kolom) String() string { return fmt.Sprintf("%q", k.naam) }

func (t tabel) String() string {
	if t.schema == "" {
		return fmt.Sprintf("%q", t.naam)
	}
	return fmt.Sprintf("%q.%q", t.schema, t.naam)
}
