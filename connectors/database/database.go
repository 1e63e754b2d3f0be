// Package database is the source that reads SQL tables or views of a gemeente's own system through a mapping (a YAML file) to
// the common schema. The engine is SQLite or PostgreSQL, read-only; dialect says in what they differ.
//
// It refuses at the start: a mapping that is not exact (unknown key, dienst, veld or conversion, a name that is no plain
// identifier), and a source that lacks a mapped table or column, or that does not let all of it be read. Every refusal names the
// mapping file and its line.
//
// Invariants a reviewer must keep: names from the mapping are whitelisted and quoted, values are always bound; a statement names
// the key, the peildatum and the asked columns and no other; whatever is wrong with the source at run time is an error of kind
// Unavailable, never an empty answer; no error or log holds a value from the source.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/postgres"
)

// Config names a database and the mapping from its tables to the common schema.
type Config struct {
	// Driver is the engine: sqlite or postgres. Default: sqlite.
	Driver string `yaml:"driver"`
	// Bestand is the SQLite file. It is opened read-only and must exist.
	Bestand string `yaml:"bestand"`
	// Postgres is the PostgreSQL database, and as whom it is read: a role that may do nothing but that (docs/connector.md). Not its
	// key maxVerbindingen: the one below counts.
	Postgres postgres.Config `yaml:"postgres"`
	// Mapping is the YAML file that maps tables and columns to diensten and velden.
	Mapping string `yaml:"mapping"`
	// MaxVerbindingen bounds the connections to the source. Default: 4.
	MaxVerbindingen int `yaml:"maxVerbindingen"`
	// Wachttijd bounds one statement, also at the server. Default: 2s.
	Wachttijd time.Duration `yaml:"wachttijd"`
}

// The engines.
const (
	driverSQLite   = "sqlite"
	driverPostgres = "postgres"
)

// Check says all that is wrong with the configuration itself, each with its key below bron.database.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, gateway.Errorf(gateway.Invalid, format, args...))
	}
	switch c.Driver {
	case "", driverSQLite:
		if c.Bestand == "" {
			bad("bestand: give the SQLite file; for PostgreSQL set driver: postgres")
		}
		if len(c.Postgres.Addresses) > 0 || c.Postgres.Database != "" {
			bad("postgres: belongs to driver: postgres")
		}
	case driverPostgres:
		if c.Bestand != "" {
			bad("bestand: belongs to driver: sqlite")
		}
		if c.Postgres.MaxConns != 0 {
			bad("postgres.maxVerbindingen: give maxVerbindingen beside postgres, not in it")
		}
		if err := c.Postgres.Check(); err != nil {
			bad("postgres: %v", err)
		}
	default:
		bad("driver %.40q: choose from %s and %s", c.Driver, driverSQLite, driverPostgres)
	}
	if c.Mapping == "" {
		bad("mapping: give the YAML file that maps tables and columns to diensten and velden")
	}
	if c.MaxVerbindingen < 0 || c.MaxVerbindingen > 1000 {
		bad("maxVerbindingen: between 1 and 1000")
	}
	if c.Wachttijd != 0 && (c.Wachttijd < time.Millisecond || c.Wachttijd > time.Hour) {
		bad("wachttijd: between 1ms and 1h")
	}
	return gateway.Wrap(gateway.Invalid, errors.Join(errs...), "source")
}

// Options are what a program or a test adds to a Config.
type Options struct {
	// StatementLog gets the text of every statement that reaches the driver, without values. Nil: none.
	StatementLog func(sql string)
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// maxRijen bounds the rows of one person in one dienst; more is an error, never a shorter answer.
const maxRijen = 500

// Source is a database behind a mapping.
type Source struct {
	db        *sql.DB
	dialect   *dialect
	m         *mapping
	schema    *connectors.Schema
	now       func() time.Time
	wachttijd time.Duration

	statements sync.Map // text of a statement to its *sql.Stmt; as many as there are sets of fields that were asked
}

var _ connectors.Source = (*Source)(nil)

// Open reads the mapping, opens the database read-only and compares the two. It fails on any finding of Ernst fout.
func Open(ctx context.Context, cfg Config, opts Options) (*Source, error) {
	s, err := open(ctx, cfg, opts)
	if err != nil {
		return nil, err
	}
	findings, err := s.dialect.structuur(ctx, s)
	for _, b := range findings {
		if b.Ernst == connectors.Fout {
			err = errors.Join(err, defect{b.Bestand, b.Regel, b.Tekst})
		}
	}
	if err != nil {
		_ = s.Close()
		return nil, gateway.Wrap(gateway.KindOf(err), err, "source")
	}
	return s, nil
}

func open(ctx context.Context, cfg Config, opts Options) (*Source, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	m, err := loadMapping(cfg.Mapping)
	if err != nil {
		return nil, err
	}
	s := &Source{m: m, schema: connectors.Gemeenschappelijk(), now: opts.Now, wachttijd: cfg.Wachttijd}
	if s.now == nil {
		s.now = time.Now
	}
	if s.wachttijd == 0 {
		s.wachttijd = 2 * time.Second
	}
	if cfg.MaxVerbindingen == 0 {
		cfg.MaxVerbindingen = 4
	}
	if cfg.Driver == driverPostgres {
		s.dialect = postgresDialect(cfg.Postgres)
		s.db, err = openPostgres(ctx, cfg, s.wachttijd, opts.StatementLog)
	} else {
		s.dialect = &sqliteDialect
		s.db, err = openSQLite(cfg, s.wachttijd, opts.StatementLog)
	}
	if err != nil {
		return nil, err
	}
	s.db.SetMaxOpenConns(cfg.MaxVerbindingen)
	s.db.SetMaxIdleConns(cfg.MaxVerbindingen)
	return s, nil
}

func loadMapping(file string) (*mapping, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "source mapping")
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxMapping+1))
	if err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "source mapping")
	}
	return parseMapping(file, raw)
}

// Diensten lists what the mapping maps.
func (s *Source) Diensten() gateway.Velden {
	out := gateway.Velden{}
	for dienst, d := range s.m.diensten {
		out[dienst] = slices.Sorted(maps.Keys(d.velden))
	}
	return out
}

// Close ends all use of the source.
func (s *Source) Close() error {
	s.statements.Range(func(_, st any) bool {
		_ = st.(*sql.Stmt).Close()
		return true
	})
	return s.db.Close()
}

// Sleutel is the first read: one statement with the key and the asked beslisattributen.
func (s *Source) Sleutel(ctx context.Context, bsn gateway.BSN, attrs []connectors.Attribuut) (connectors.Sleutel, error) {
	p := &s.m.persoon
	velden := make([]*veldKolommen, 0, 2)
	for _, a := range attrs {
		v := map[connectors.Attribuut]*veldKolommen{connectors.Geheimhouding: p.geheim, connectors.Geboortedatum: p.geboren}[a]
		if v == nil {
			return connectors.Sleutel{}, unavailable(connectors.CodeOnbereikbaar, nil, "beslisattribuut %.40q is not in mapping %s", a, s.m.file)
		}
		velden = append(velden, v)
	}
	param, gebonden := s.dialect.param, any(bsn.Reveal())
	if p.getal {
		n, _ := strconv.ParseInt(bsn.Reveal(), 10, 64) // nine digits by construction
		param, gebonden = s.dialect.getal, n
	}
	rows, err := s.rijen(ctx, "persoon", s.dialect.query(p.tabel, p.bsn, param, []kolom{p.sleutel}, velden, 2), 1+breedte(velden), 2, gebonden)
	switch {
	case err != nil:
		return connectors.Sleutel{}, err
	case len(rows) == 0:
		return connectors.Sleutel{}, connectors.ErrGeenGegevens
	case len(rows) > 1:
		return connectors.Sleutel{}, unavailable(connectors.CodeMeerduidig, nil, "source persoon: several persons under this bsn; mend the source")
	case tekst(rows[0][0]) == "":
		return connectors.Sleutel{}, unavailable(connectors.CodeOngeldigWaarde, nil, "source persoon: column %s is empty", p.sleutel)
	}
	sleutel := connectors.Sleutel{BSN: bsn, Intern: rows[0][0]}
	rest := rows[0][1:]
	for i, v := range velden {
		waarde, err := v.waarde(rest[:v.breedte()])
		if err != nil {
			return connectors.Sleutel{}, unavailable(connectors.CodeOngeldigWaarde, err, "source persoon: beslisattribuut %s", attrs[i])
		}
		rest = rest[v.breedte():]
		if attrs[i] == connectors.Geheimhouding {
			sleutel.Geheimhouding = waarde != false // empty counts as secret
		} else if datum, ok := waarde.(string); ok {
			sleutel.Geboren = laatsteDag(datum)
		}
	}
	return sleutel, nil
}

// Lees is the second read: one statement with the asked columns.
func (s *Source) Lees(ctx context.Context, sleutel connectors.Sleutel, dienst gateway.Dienst, velden []gateway.Veld) (connectors.Gegevens, error) {
	d := s.m.diensten[dienst]
	if d == nil || len(velden) == 0 {
		return connectors.Gegevens{}, gateway.Errorf(gateway.Invalid, "source: dienst %.40q is not mapped, or no veld is asked", dienst)
	}
	if sleutel.Intern == nil {
		return connectors.Gegevens{}, gateway.Errorf(gateway.Invalid, "source: a key of no person")
	}
	velden = slices.Compact(slices.Sorted(slices.Values(velden)))
	bronnen := make([]*veldKolommen, len(velden))
	for i, veld := range velden {
		if bronnen[i] = d.velden[veld]; bronnen[i] == nil {
			return connectors.Gegevens{}, gateway.Errorf(gateway.Invalid, "source: veld %s.%.40q is not mapped", dienst, veld)
		}
	}
	limit := 1
	if s.schema.Diensten[dienst].Meervoudig {
		limit = maxRijen
	}
	var extra []kolom
	if d.peildatum.kolom.naam != "" {
		extra = []kolom{d.peildatum.kolom}
	}
	rows, err := s.rijen(ctx, string(dienst), s.dialect.query(d.tabel, d.sleutel, s.dialect.param, extra, bronnen, limit+1), len(extra)+breedte(bronnen), limit+1, sleutel.Intern)
	if err != nil {
		return connectors.Gegevens{}, err
	}
	if len(rows) > limit {
		return connectors.Gegevens{}, unavailable(connectors.CodeMeerduidig, nil, "source %s: more than %d rows for one person", dienst, limit)
	}
	out := connectors.Gegevens{Bron: d.bron}
	for _, row := range rows {
		rij := connectors.Rij{Waarden: make(map[gateway.Veld]connectors.Waarde, len(velden))}
		if rij.Peildatum, err = d.peildatum.dag(row, s.now); err != nil {
			return connectors.Gegevens{}, unavailable(connectors.CodeOngeldigWaarde, err, "source %s: peildatum", dienst)
		}
		rest := row[len(extra):]
		for i, v := range bronnen {
			if v.schema.Type == connectors.BSN {
				rij.Waarden[velden[i]] = sleutel.BSN.Reveal()
				continue
			}
			if rij.Waarden[velden[i]], err = v.waarde(rest[:v.breedte()]); err != nil {
				return connectors.Gegevens{}, unavailable(connectors.CodeOngeldigWaarde, err, "source %s: veld %s", dienst, velden[i])
			}
			rest = rest[v.breedte():]
		}
		out.Rijen = append(out.Rijen, rij)
	}
	return out, nil
}

// rijen runs a statement and reads at most limit rows of width columns.
func (s *Source) rijen(ctx context.Context, dienst, text string, width, limit int, args ...any) ([][]any, error) {
	ctx, cancel := context.WithTimeout(ctx, s.wachttijd)
	defer cancel()
	fail := func(err error) error {
		return unavailable(connectors.CodeOnbereikbaar, s.dialect.oorzaak(err), "source %s", dienst)
	}
	rows, err := s.query(ctx, text, args)
	if err != nil {
		return nil, fail(err)
	}
	defer rows.Close()
	var out [][]any
	for rows.Next() && len(out) < limit {
		row := make([]any, max(width, 1))
		dest := make([]any, len(row))
		for i := range row {
			dest[i] = &row[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return nil, fail(err)
		}
		out = append(out, row)
	}
	if err := errors.Join(rows.Err(), ctx.Err()); err != nil {
		return nil, fail(err)
	}
	return out, nil
}

// query runs a statement. Where the driver does not keep prepared statements itself they are kept here.
func (s *Source) query(ctx context.Context, text string, args []any) (*sql.Rows, error) {
	if !s.dialect.prepare {
		return s.db.QueryContext(ctx, text, args...)
	}
	st, err := s.prepare(ctx, text) //nolint:sqlclosecheck // kept for the next question; Close closes it
	if err != nil {
		return nil, err
	}
	return st.QueryContext(ctx, args...)
}

func (s *Source) prepare(ctx context.Context, text string) (*sql.Stmt, error) {
	if st, ok := s.statements.Load(text); ok {
		return st.(*sql.Stmt), nil
	}
	st, err := s.db.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	if earlier, loaded := s.statements.LoadOrStore(text, st); loaded {
		_ = st.Close() //nolint:sqlclosecheck // one too many, made at the same time
		return earlier.(*sql.Stmt), nil
	}
	return st, nil
}

// dag is the peildatum of a row; its column, if it has one, comes first.
func (p peildatum) dag(row []any, now func() time.Time) (time.Time, error) {
	switch {
	case !p.vast.IsZero():
		return p.vast, nil
	case p.kolom.naam == "":
		return now(), nil
	}
	waarde, err := p.conversie.waarde(connectors.VeldSchema{Type: connectors.Datum}, row[0])
	if err != nil {
		return time.Time{}, err
	}
	datum, _ := waarde.(string)
	t, err := time.Parse(time.DateOnly, datum)
	if err != nil {
		return time.Time{}, errors.New("no whole date")
	}
	return t, nil
}

func breedte(velden []*veldKolommen) int {
	n := 0
	for _, v := range velden {
		n += v.breedte()
	}
	return n
}

func (v *veldKolommen) breedte() int {
	n := 0
	for _, d := range v.delen {
		n += len(d.kolommen)
	}
	return n
}

func unavailable(code string, cause error, format string, args ...any) error {
	return &gateway.Error{Kind: gateway.Unavailable, Code: code, Message: fmt.Sprintf(format, args...), Cause: cause}
}
