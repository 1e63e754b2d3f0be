package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/postgres"
)

// postgresSettings hold on every connection, whatever the server, the database or the role has. Row security off does not switch a
// policy off: what it would hide is an error then, where a shorter answer would read as "has nothing". A moment counts as its day in
// the Netherlands. All that is read comes as the text that the server writes, so what shapes that text is set too.
var postgresSettings = map[string]string{
	"row_security": "off", "timezone": "Europe/Amsterdam", "datestyle": "ISO, YMD", "intervalstyle": "iso_8601", "extra_float_digits": "1", "bytea_output": "hex",
}

func openPostgres(ctx context.Context, cfg Config, wait time.Duration, log func(sql string)) (*sql.DB, error) {
	cfg.Postgres.MaxConns = cfg.MaxVerbindingen
	return postgres.Open(ctx, cfg.Postgres, postgres.Options{
		ApplicationName: "grensloos bron", StatementTimeout: wait, ReadOnly: true, Settings: postgresSettings,
		Wrap: func(c driver.Connector) driver.Connector { return logged(c, log) },
	})
}

// postgresDialect reads every column as text, so that a NUMERIC keeps its decimals, a CHAR loses its padding, and a column whose type
// changes while we run is judged by its value. A bsn in a column of numbers is compared as a whole number, never as a rounded one.
func postgresDialect(cfg postgres.Config) *dialect {
	return &dialect{
		param: "$1", getal: "$1::bigint",
		schema: "public", tekst: "::text",
		vormTekst: `(%s::text ~ '^[0-9]{9}$')`,
		vormGetal: `(%s::text ~ '^[0-9]{1,9}(\.0+)?$')`,
		structuur: structuurPostgres,
		oorzaak:   func(err error) error { return oorzaakPostgres(cfg, err) },
	}
}

// told are the classes of SQLSTATE of which the server's message names tables, columns and roles, never what they hold.
var told = []string{"08", "0A", "25", "26", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58"}

// oorzaakPostgres says what an error means. Of one about data only its SQLSTATE is told, and of one that is not the server's nothing
// but what is known to be about the connection: the driver repeats the values that it can't send.
func oorzaakPostgres(cfg postgres.Config, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	explained := cfg.Explain(err)
	if f, ok := errors.AsType[*postgres.Fault](explained); ok {
		switch {
		case !slices.Contains(told, class(f)):
			return &postgres.Fault{SQLState: f.SQLState, Text: "PostgreSQL: an error about what the source holds"}
		case slices.Contains([]string{"25", "3F", "40", "42", "55"}, class(f)): // about the mapped tables; connector check says the mend
			return &postgres.Fault{SQLState: f.SQLState, Text: "PostgreSQL: " + f.Text}
		}
		return explained
	}
	if gateway.KindOf(explained) != gateway.Unavailable {
		return errors.New("PostgreSQL: what was asked does not fit the source; see grensloos connector check")
	}
	return explained
}

// class is the class of an error: the first two characters of its SQLSTATE.
func class(f *postgres.Fault) string {
	if len(f.SQLState) != 5 {
		return ""
	}
	return f.SQLState[:2]
}

// relation is what the catalogue of PostgreSQL says of a table or view, and of what our role may do with it.
type relation struct {
	soort                        string // relkind
	rol                          string // as whom we read
	superuser, eigenaar, schrijf bool
	schema, gefilterd            bool // may use the schema; row-level security applies to us
	kolommen                     map[string]kolomType
}

// kolomType is the type of a column, that of a domain its base, and whether we may read it.
type kolomType struct {
	naam, basis, categorie string
	leesbaar               bool
}

const relationQuery = `SELECT c.relkind::text, current_user::text, current_setting('is_superuser') = 'on', pg_has_role(c.relowner, 'USAGE'),
	has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') OR has_any_column_privilege(c.oid, 'INSERT, UPDATE'),
	has_schema_privilege(n.oid, 'USAGE'), row_security_active(c.oid),
	COALESCE(a.attname::text, ''), COALESCE(format_type(a.atttypid, a.atttypmod), ''), COALESCE(b.typname::text, ''), COALESCE(b.typcategory::text, ''),
	COALESCE(has_column_privilege(c.oid, a.attnum, 'SELECT'), FALSE)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_type AS y ON y.oid = a.atttypid LEFT JOIN pg_type AS b ON b.oid = CASE WHEN y.typtype = 'd' THEN y.typbasetype ELSE y.oid END
WHERE n.nspname = $1 AND c.relname = $2`

// maxKolommen is more than PostgreSQL has in a table.
const maxKolommen = 2000

// relation looks a table up; nil: there is none.
func (s *Source) relation(ctx context.Context, t tabel) (*relation, error) {
	schema := t.schema
	if schema == "" {
		schema = s.dialect.schema
	}
	rows, err := s.rijen(ctx, t.naam, relationQuery, 12, maxKolommen, schema, t.naam)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	yes := func(v any) bool { b, ok := v.(bool); return ok && b }
	first := rows[0]
	r := &relation{
		soort: tekst(first[0]), rol: tekst(first[1]), superuser: yes(first[2]), eigenaar: yes(first[3]), schrijf: yes(first[4]),
		schema: yes(first[5]), gefilterd: yes(first[6]), kolommen: map[string]kolomType{},
	}
	for _, row := range rows {
		r.kolommen[tekst(row[7])] = kolomType{tekst(row[8]), tekst(row[9]), tekst(row[10]), yes(row[11])}
	}
	return r, nil
}

// structuurPostgres looks every mapped table and column up, tries to read no row of them, and says which rights our role has beyond
// reading.
func structuurPostgres(ctx context.Context, s *Source) ([]connectors.Bevinding, error) {
	var findings []connectors.Bevinding
	whole := map[tabel]bool{}
	rights := map[string]bool{}
	for i, m := range s.mapped() {
		r, err := s.relation(ctx, m.tabel)
		if err != nil {
			return nil, err
		}
		if r == nil {
			b, err := s.geenTabel(ctx, m.tabel)
			if err != nil {
				return nil, err
			}
			findings = append(findings, b)
			continue
		}
		defects := s.kolommenVan(m, r)
		if i == 0 && len(defects) == 0 {
			defects = s.vormVan(r)
		}
		if len(defects) == 0 {
			if defects, err = s.leesbaar(ctx, m, r); err != nil {
				return nil, err
			}
		}
		whole[m.tabel] = len(defects) == 0
		findings = append(findings, defects...)
		if name := s.dialect.tabel(m.tabel); !rights[name] {
			rights[name] = true
			findings = append(findings, s.rechten(m.tabel, r, i == 0)...)
		}
	}
	for _, d := range s.m.diensten {
		if !whole[d.tabel] || !whole[s.m.persoon.tabel] {
			continue
		}
		fault, err := s.proefLezen(ctx, d.tabel.naam, "SELECT 1 FROM "+s.dialect.samen(d, &s.m.persoon)+" LIMIT 0")
		if err != nil {
			return nil, err
		}
		if fault != nil {
			findings = append(findings, s.fout(d.sleutel.regel, "key %s of table %s can't be compared with key %s of %s (%v): make a view in which they have one type",
				d.sleutel, s.dialect.tabel(d.tabel), s.m.persoon.sleutel, s.dialect.tabel(s.m.persoon.tabel), fault))
		}
	}
	return findings, nil
}

// geenTabel says that there is no such table, and which have the same name elsewhere, or in other capitals.
func (s *Source) geenTabel(ctx context.Context, t tabel) (connectors.Bevinding, error) {
	rows, err := s.rijen(ctx, t.naam, `SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE lower(c.relname) = lower($1) AND c.relkind IN ('r', 'v', 'm', 'p', 'f') ORDER BY 1`, 1, 5, t.naam)
	if err != nil {
		return connectors.Bevinding{}, err
	}
	elsewhere := ""
	for i, row := range rows {
		elsewhere += map[bool]string{true: "; there is ", false: ", "}[i == 0] + tekst(row[0])
	}
	return s.fout(t.regel, "the source has no table or view %s%s", s.dialect.tabel(t), elsewhere), nil
}

// kolommenVan looks for the mapped columns of a table.
func (s *Source) kolommenVan(m mapped, r *relation) []connectors.Bevinding {
	name := s.dialect.tabel(m.tabel)
	if !strings.Contains("rvmpf", r.soort) {
		return []connectors.Bevinding{s.fout(m.tabel.regel, "%s is no table or view", name)}
	}
	var findings []connectors.Bevinding
	seen := map[kolom]bool{}
	for _, k := range m.kolommen {
		if _, ok := r.kolommen[k.naam]; !ok && !seen[k] {
			findings = append(findings, s.fout(k.regel, "table %s has no column %s", name, k))
		}
		seen[k] = true
	}
	return findings
}

// vormVan holds the type of the bsn column to the form that is mapped.
func (s *Source) vormVan(r *relation) []connectors.Bevinding {
	p := s.m.persoon
	t := r.kolommen[p.bsn.naam]
	switch whole := slices.Contains([]string{"int2", "int4", "int8", "numeric"}, t.basis); {
	case p.getal && !whole:
		return []connectors.Bevinding{s.fout(p.bsn.regel, "column %s is of type %s, which holds no whole numbers exactly: leave out vorm: getal for text, or make a view", p.bsn, t.naam)}
	case !p.getal && whole:
		return []connectors.Bevinding{s.fout(p.bsn.regel, "column %s is of type %s: write bsn: {kolom: %s, vorm: getal}", p.bsn, t.naam, p.bsn.naam)}
	case !p.getal && t.categorie != "S":
		return []connectors.Bevinding{s.fout(p.bsn.regel, "column %s is of type %s: it is to hold nine digits of text, or a whole number; make a view", p.bsn, t.naam)}
	}
	return nil
}

// leesbaar tries to read no row of the mapped columns: what the server refuses then it refuses of every question.
func (s *Source) leesbaar(ctx context.Context, m mapped, r *relation) ([]connectors.Bevinding, error) {
	name := s.dialect.tabel(m.tabel)
	fault, err := s.proefLezen(ctx, m.tabel.naam, fmt.Sprintf(`SELECT %s FROM %s AS t LIMIT 0`, s.dialect.kolommen(m.kolommen), name))
	if err != nil || fault == nil {
		return nil, err
	}
	var closed []string
	for _, k := range m.kolommen {
		if !r.kolommen[k.naam].leesbaar && !slices.Contains(closed, `"`+k.naam+`"`) {
			closed = append(closed, `"`+k.naam+`"`)
		}
	}
	schema, _, _ := strings.Cut(name, ".")
	mend := ""
	switch {
	case fault.SQLState != "42501":
	case !r.schema:
		mend = fmt.Sprintf(": GRANT USAGE ON SCHEMA %s TO %q", schema, r.rol)
	case len(closed) > 0:
		mend = fmt.Sprintf(": GRANT SELECT (%s) ON %s TO %q", strings.Join(closed, ", "), name, r.rol)
	case r.gefilterd:
		mend = fmt.Sprintf(": row-level security hides rows of it from role %q, and who is hidden can't be told from who is not there; map a view of an owner whom no policy binds, "+
			"or ALTER ROLE %q BYPASSRLS", r.rol, r.rol)
	default:
		mend = ": the owner of the view may not read what is under it, or row-level security hides rows of that, and who is hidden can't be told from who is not there"
	}
	return []connectors.Bevinding{s.fout(m.tabel.regel, "table %s can't be read (%v)%s", name, fault, mend)}, nil
}

// proefLezen runs a statement that reads no row. A fault is what the server has against the statement; an error, that it could not be
// asked.
func (s *Source) proefLezen(ctx context.Context, over, text string) (*postgres.Fault, error) {
	_, err := s.rijen(ctx, over, text, 1, 1)
	if f, ok := errors.AsType[*postgres.Fault](err); ok && !slices.Contains([]string{"08", "40", "53", "57", "58"}, class(f)) {
		return f, nil
	}
	return nil, err
}

// rechten says what our role may do besides reading: every connection is read-only, but a role that may nothing else holds when that
// is forgotten.
func (s *Source) rechten(t tabel, r *relation, first bool) []connectors.Bevinding {
	name := s.dialect.tabel(t)
	switch {
	case r.superuser && first:
		return []connectors.Bevinding{s.letOp(t.regel, "role %q is a superuser, for whom no right and no row-level security counts: give a role that may only read", r.rol)}
	case r.superuser:
	case r.eigenaar:
		return []connectors.Bevinding{s.letOp(t.regel, "role %q owns table %s, and so may change it: give a role that may only read", r.rol, name)}
	case r.schrijf:
		return []connectors.Bevinding{s.letOp(t.regel, "role %q may write to table %s: REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON %s FROM %q", r.rol, name, name, r.rol)}
	}
	return nil
}
