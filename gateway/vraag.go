package gateway

import (
	"maps"
	"slices"
)

// Doel is the id of a purpose in the catalogue, such as "pw-reintegratie".
type Doel string

// Dienst is a group of data that a connector offers, such as "uitkering".
type Dienst string

// Veld is the name of one field of a dienst, such as "ingangsdatum".
type Veld string

// Velden are fields by dienst. The zero value is none.
type Velden map[Dienst][]Veld

// Vraag is a question about one person, for one purpose: what bevraging asks and clientgegevens answers.
type Vraag struct {
	Doel     Doel
	Zaak     string // reference of the zaak that the question belongs to; not a name, not a BSN
	Zaaktype string
	BSN      BSN
	Velden   Velden // empty: all that the purpose allows
}

// Beperk keeps the fields of v that are also in other, in sorted order, without empty diensten.
func (v Velden) Beperk(other Velden) Velden {
	out := Velden{}
	for dienst, velden := range v {
		var keep []Veld
		for _, veld := range velden {
			if slices.Contains(other[dienst], veld) && !slices.Contains(keep, veld) {
				keep = append(keep, veld)
			}
		}
		if len(keep) > 0 {
			slices.Sort(keep)
			out[dienst] = keep
		}
	}
	return out
}

// Diensten lists the diensten of v, sorted.
func (v Velden) Diensten() []Dienst { return slices.Sorted(maps.Keys(v)) }

// Has reports whether v has the field.
func (v Velden) Has(dienst Dienst, veld Veld) bool { return slices.Contains(v[dienst], veld) }
