package database

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/gateway"
)

// Check tries a mapping file against a database and writes one line per finding to out, with file and line. It returns an error
// when the mapping can't be used: exit non-zero. It reads a sample of the source's rows to try the conversions, so it is for
// whoever may see them; what it writes has no value from the source.
func Check(ctx context.Context, cfg Config, out io.Writer) error {
	s, err := open(ctx, cfg, Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	findings, err := s.Check(ctx)
	if err != nil {
		return err
	}
	defects := 0
	for _, b := range findings {
		fmt.Fprintf(out, "%s:%d: %s: %s\n", b.Bestand, b.Regel, b.Ernst, b.Tekst)
		if b.Ernst == connectors.Fout {
			defects++
		}
	}
	if defects > 0 {
		return gateway.Errorf(gateway.Invalid, "mapping %s: %d defects", cfg.Mapping, defects)
	}
	for _, dienst := range slices.Sorted(maps.Keys(s.m.diensten)) {
		velden := s.m.diensten[dienst].velden
		fmt.Fprintf(out, "%s: %d of %d velden mapped\n", dienst, len(velden), len(s.schema.Diensten[dienst].Velden))
	}
	return nil
}

// Findings is Check on a source that need not be usable, as Open demands. The error says that the mapping can't be read, with file
// and line, or that the source can't be reached.
func Findings(ctx context.Context, cfg Config) ([]connectors.Bevinding, error) {
	s, err := open(ctx, cfg, Options{})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Check(ctx)
}

// Check compares the mapping with the tables and columns that there are, tries the conversions on a sample of rows, and says what
// of the common schema is not mapped.
func (s *Source) Check(ctx context.Context) ([]connectors.Bevinding, error) {
	findings, err := s.dialect.structuur(ctx, s)
	if err != nil || slices.ContainsFunc(findings, func(b connectors.Bevinding) bool { return b.Ernst == connectors.Fout }) {
		return findings, err
	}
	for _, step := range []func(context.Context) ([]connectors.Bevinding, error){s.personen, s.proef, s.sleutels} {
		more, err := step(ctx)
		if err != nil {
			return nil, err
		}
		findings = append(findings, more...)
	}
	return append(findings, s.ontbreekt()...), nil
}

// mapped is a table and the columns that the mapping expects in it.
type mapped struct {
	tabel    tabel
	kolommen []kolom
}

func (s *Source) mapped() []mapped {
	p := s.m.persoon
	all := []mapped{{p.tabel, append([]kolom{p.bsn, p.sleutel}, p.geheim.kolommen()...)}}
	if p.geboren != nil {
		all[0].kolommen = append(all[0].kolommen, p.geboren.kolommen()...)
	}
	for _, dienst := range slices.Sorted(maps.Keys(s.m.diensten)) {
		d := s.m.diensten[dienst]
		m := mapped{d.tabel, []kolom{d.sleutel}}
		if d.peildatum.kolom.naam != "" {
			m.kolommen = append(m.kolommen, d.peildatum.kolom)
		}
		for _, veld := range slices.Sorted(maps.Keys(d.velden)) {
			m.kolommen = append(m.kolommen, d.velden[veld].kolommen()...)
		}
		all = append(all, m)
	}
	return all
}

// personen looks for persons that can't be found, or not told apart.
func (s *Source) personen(ctx context.Context) ([]connectors.Bevinding, error) {
	p, d := s.m.persoon, s.dialect
	vorm := d.vormTekst
	if p.getal {
		vorm = d.vormGetal
	}
	var findings []connectors.Bevinding
	for _, c := range []struct{ query, tekst string }{
		{
			fmt.Sprintf(`SELECT COUNT(*) FROM %s AS t WHERE NOT COALESCE(%s, FALSE)`, d.tabel(p.tabel), fmt.Sprintf(vorm, p.bsn.quoted())),
			"%d rows hold no bsn in the form that is mapped (nine digits of text; vorm: getal for a number): they can't be found",
		},
		{
			fmt.Sprintf(`SELECT COUNT(*) FROM (SELECT 1 FROM %s AS t WHERE %[2]s IS NOT NULL GROUP BY %[2]s HAVING COUNT(*) > 1) AS twice`, d.tabel(p.tabel), p.bsn.quoted()),
			"%d bsns stand in several rows: a question about them is refused",
		},
	} {
		rows, err := s.rijen(ctx, "persoon", c.query, 1, 1)
		if err != nil {
			return nil, err
		}
		if n, _ := rows[0][0].(int64); n > 0 {
			findings = append(findings, s.letOp(p.bsn.regel, c.tekst, n))
		}
	}
	return findings, nil
}

// sample is how many rows of each table are tried.
const sample = 1000

// proef converts a sample of rows and counts, per field, the values that don't fit.
func (s *Source) proef(ctx context.Context) ([]connectors.Bevinding, error) {
	var findings []connectors.Bevinding
	try := func(t tabel, veld string, v *veldKolommen) error {
		if v == nil || len(v.delen) == 0 {
			return nil
		}
		text := fmt.Sprintf(`SELECT %s FROM %s AS t LIMIT %d`, s.dialect.kolommen(v.kolommen()), s.dialect.tabel(t), sample)
		rows, err := s.rijen(ctx, veld, text, v.breedte(), sample)
		if err != nil {
			return err
		}
		bad, cause := 0, error(nil)
		for _, row := range rows {
			if _, err := v.waarde(row); err != nil {
				bad, cause = bad+1, err
			}
		}
		if bad > 0 {
			findings = append(findings, s.fout(v.regel, "%s: %d of %d rows hold a value that does not fit: %v", veld, bad, len(rows), cause))
		}
		return nil
	}
	p := s.m.persoon
	if err := try(p.tabel, "geheimhouding", p.geheim); err != nil {
		return nil, err
	}
	if err := try(p.tabel, "geboortedatum", p.geboren); err != nil {
		return nil, err
	}
	for _, dienst := range slices.Sorted(maps.Keys(s.m.diensten)) {
		d := s.m.diensten[dienst]
		for _, veld := range slices.Sorted(maps.Keys(d.velden)) {
			if err := try(d.tabel, string(dienst)+"."+string(veld), d.velden[veld]); err != nil {
				return nil, err
			}
		}
	}
	return findings, nil
}

// sleutels looks for tables of which no row has a person: then the key is mapped to the wrong column, or to another type.
func (s *Source) sleutels(ctx context.Context) ([]connectors.Bevinding, error) {
	var findings []connectors.Bevinding
	p := s.m.persoon
	for _, dienst := range slices.Sorted(maps.Keys(s.m.diensten)) {
		d := s.m.diensten[dienst]
		text := fmt.Sprintf(`SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM %[1]s LIMIT 1) AS filled), (SELECT COUNT(*) FROM (SELECT 1 FROM %[2]s LIMIT 1) AS joined)`,
			s.dialect.tabel(d.tabel), s.dialect.samen(d, &p))
		rows, err := s.rijen(ctx, string(dienst), text, 2, 1)
		if err != nil {
			return nil, err
		}
		filled, _ := rows[0][0].(int64)
		joined, _ := rows[0][1].(int64)
		if filled > 0 && joined == 0 {
			findings = append(findings, s.fout(d.sleutel.regel, "no row of table %s belongs to a person of %s: is %s the right key?", d.tabel, p.tabel, d.sleutel))
		}
	}
	return findings, nil
}

// ontbreekt says what of the common schema has no column.
func (s *Source) ontbreekt() []connectors.Bevinding {
	var findings []connectors.Bevinding
	for _, dienst := range slices.Sorted(maps.Keys(s.schema.Diensten)) {
		d, ok := s.m.diensten[dienst]
		if !ok {
			findings = append(findings, nietAangeboden(s.letOp(1, "dienst %s is not mapped: it is not offered", dienst)))
			continue
		}
		for _, veld := range slices.Sorted(maps.Keys(s.schema.Diensten[dienst].Velden)) {
			if _, ok := d.velden[veld]; !ok {
				findings = append(findings, nietAangeboden(s.letOp(d.tabel.regel, "veld %s.%s is not mapped: it is not offered", dienst, veld)))
			}
		}
	}
	if s.m.persoon.geboren == nil {
		findings = append(findings, s.letOp(s.m.persoon.tabel.regel, "geboortedatum is not mapped: a purpose that decides on age can't be answered"))
	}
	return findings
}

func nietAangeboden(b connectors.Bevinding) connectors.Bevinding {
	b.NietAangeboden = true
	return b
}

func (s *Source) fout(line int, format string, args ...any) connectors.Bevinding {
	return connectors.Bevinding{Bestand: s.m.file, Regel: line, Ernst: connectors.Fout, Tekst: fmt.Sprintf(format, args...)}
}

func (s *Source) letOp(line int, format string, args ...any) connectors.Bevinding {
	return connectors.Bevinding{Bestand: s.m.file, Regel: line, Ernst: connectors.LetOp, Tekst: fmt.Sprintf(format, args...)}
}
