package connectors

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/schemas"
)

// Type is the type of a field in the common schema.
type Type string

// The types of the common schema; schemas/diensten.json says what each looks like.
const (
	BSN    Type = "bsn"
	Tekst  Type = "tekst"
	Datum  Type = "datum"
	JaNee  Type = "jaNee"
	Bedrag Type = "bedrag"
	Code   Type = "code"
	Adres  Type = "adres"
)

// Klasse is a sensitivity class: I identifying, C contact, F financial, G health, S criminal, K child, V residence status.
type Klasse string

// VeldSchema describes one field.
type VeldSchema struct {
	Type         Type     `json:"type"`
	Klassen      []Klasse `json:"klassen"`
	Omschrijving string   `json:"omschrijving"`
	Waarden      []string `json:"waarden,omitempty"` // of a code
	Delen        []string `json:"delen,omitempty"`   // of a composed field
}

// DienstSchema describes one dienst.
type DienstSchema struct {
	Omschrijving string                      `json:"omschrijving"`
	Meervoudig   bool                        `json:"meervoudig"` // a person can have several rows
	Velden       map[gateway.Veld]VeldSchema `json:"velden"`
}

// Schema is the common schema.
type Schema struct {
	Versie   string
	Diensten map[gateway.Dienst]DienstSchema
}

// Gemeenschappelijk is the common schema of schemas/diensten.json. It is read once; callers don't change it.
func Gemeenschappelijk() *Schema { return common() }

var common = sync.OnceValue(func() *Schema {
	raw, err := schemas.FS.ReadFile("diensten.json")
	if err != nil {
		panic(err) // embedded: it is there or nothing was built
	}
	s, err := parseSchema(raw)
	if err != nil {
		panic(err) // a test reads the same bytes
	}
	return s
})

func parseSchema(raw []byte) (*Schema, error) {
	var doc struct {
		Versie       string                          `json:"versie"`
		Omschrijving string                          `json:"omschrijving"`
		Typen        map[Type]string                 `json:"typen"`
		Diensten     map[gateway.Dienst]DienstSchema `json:"diensten"`
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("diensten.json: %w", err)
	}
	klassen := []Klasse{"I", "C", "F", "G", "S", "K", "V"}
	for dienst, d := range doc.Diensten {
		for naam, v := range d.Velden {
			at := fmt.Sprintf("diensten.json: %s.%s", dienst, naam)
			if _, ok := doc.Typen[v.Type]; !ok {
				return nil, fmt.Errorf("%s: type %q is not in typen", at, v.Type)
			}
			if len(v.Klassen) == 0 || slices.ContainsFunc(v.Klassen, func(k Klasse) bool { return !slices.Contains(klassen, k) }) {
				return nil, fmt.Errorf("%s: klassen: give one or more of %v", at, klassen)
			}
			if (v.Type == Code) != (len(v.Waarden) > 0) || (v.Type == Adres) != (len(v.Delen) > 0) {
				return nil, fmt.Errorf("%s: waarden belong to a code, delen to an adres, and are not empty there", at)
			}
		}
	}
	return &Schema{Versie: doc.Versie, Diensten: doc.Diensten}, nil
}

// Veld returns the description of one field.
func (s *Schema) Veld(dienst gateway.Dienst, veld gateway.Veld) (VeldSchema, bool) {
	v, ok := s.Diensten[dienst].Velden[veld]
	return v, ok
}

// Valideer checks that every dienst and veld of v stands in the schema. The error is of kind Invalid and names the first that
// does not, and what there is.
func (s *Schema) Valideer(v gateway.Velden) error {
	for _, dienst := range v.Diensten() {
		d, ok := s.Diensten[dienst]
		if !ok {
			return gateway.Errorf(gateway.Invalid, "velden: unknown dienst %.40q; choose from %s", dienst, Namen(s.Diensten))
		}
		if len(v[dienst]) == 0 {
			return gateway.Errorf(gateway.Invalid, "velden.%s: name at least one of %s", dienst, Namen(d.Velden))
		}
		for i, veld := range v[dienst] {
			if _, ok := d.Velden[veld]; !ok {
				return gateway.Errorf(gateway.Invalid, "velden.%s[%d]: unknown veld %.40q; choose from %s", dienst, i, veld, Namen(d.Velden))
			}
			if slices.Contains(v[dienst][:i], veld) {
				return gateway.Errorf(gateway.Invalid, "velden.%s[%d]: %s stands twice", dienst, i, veld)
			}
		}
	}
	return nil
}

// Namen lists the keys of a map, sorted, for people.
func Namen[K ~string, V any](m map[K]V) string {
	var names []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}
