package database

import (
	"context"
	"fmt"
	"strings"

	"github.com/grensloos/grensloos/connectors"
)

// dialect is what differs between the engines. All else, and every statement about a person, is the same.
type dialect struct {
	param   string // the one parameter of a statement about a person
	getal   string // the same, for a bsn in a column of numbers
	schema  string // of a table whose mapping names none; empty: the engine has no schemas
	tekst   string // behind a column that is read: how it becomes the text that the engine itself writes; empty: as the driver gives it
	prepare bool   // the driver keeps no prepared statements itself

	// vormTekst and vormGetal are the conditions on a bsn column of text and of numbers, under which a bsn is found.
	vormTekst, vormGetal string

	// structuur compares the mapping with the tables and columns that there are, and with what may be done with them. It reads no row.
	structuur func(context.Context, *Source) ([]connectors.Bevinding, error)
	// oorzaak is what may be told of an error of the driver: nothing that the source holds.
	oorzaak func(error) error
}

// tabel is a table as a statement names it: quoted, and where there are schemas with its schema, so that no search path counts.
func (d *dialect) tabel(t tabel) string {
	switch {
	case d.schema == "":
		return `"` + t.naam + `"`
	case t.schema == "":
		return `"` + d.schema + `"."` + t.naam + `"`
	}
	return `"` + t.schema + `"."` + t.naam + `"`
}

// kolommen are columns of the table t as a statement reads them.
func (d *dialect) kolommen(all []kolom) string {
	if len(all) == 0 {
		return "1"
	}
	var b strings.Builder
	for i, k := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(k.quoted() + d.tekst)
	}
	return b.String()
}

// query is the only place where a statement about a person is put together: whitelisted names, quoted and qualified. Unqualified,
// SQLite takes a quoted name that is no column for a text, and a missing column would answer with its own name.
func (d *dialect) query(t tabel, sleutel kolom, param string, extra []kolom, velden []*veldKolommen, limit int) string {
	for _, v := range velden {
		extra = append(extra, v.kolommen()...)
	}
	return fmt.Sprintf(`SELECT %s FROM %s AS t WHERE %s = %s LIMIT %d`, d.kolommen(extra), d.tabel(t), sleutel.quoted(), param, limit)
}

// samen is the FROM clause of the rows of a dienst that belong to a person.
func (d *dialect) samen(dienst *dienstTabel, p *persoonTabel) string {
	return fmt.Sprintf(`%s AS t, %s AS p WHERE %s = p."%s"`, d.tabel(dienst.tabel), d.tabel(p.tabel), dienst.sleutel.quoted(), p.sleutel.naam)
}

func (k kolom) quoted() string { return `t."` + k.naam + `"` }
