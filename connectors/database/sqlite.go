package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"modernc.org/sqlite"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/gateway"
)

var sqliteDialect = dialect{
	param:     "?",
	getal:     "?",
	prepare:   true,
	vormTekst: `(typeof(%[1]s) = 'text' AND length(%[1]s) = 9)`,
	vormGetal: `(typeof(%[1]s) = 'integer')`,
	structuur: structuurSQLite,
	oorzaak:   func(err error) error { return err },
}

func openSQLite(cfg Config, wait time.Duration, log func(sql string)) (*sql.DB, error) {
	if info, err := os.Stat(cfg.Bestand); err != nil {
		return nil, gateway.Wrap(gateway.Unavailable, err, "source bestand")
	} else if !info.Mode().IsRegular() {
		return nil, gateway.Errorf(gateway.Invalid, "source bestand %s: no file", cfg.Bestand)
	}
	return sql.OpenDB(logged(sqliteFile(dsn(cfg.Bestand, wait)), log)), nil
}

// dsn opens a file read-only twice over: the file itself, and every statement on the connection.
func dsn(file string, wait time.Duration) string {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath()}
	u.RawQuery = url.Values{
		"mode":    {"ro"},
		"_pragma": {"query_only(1)", "busy_timeout(" + strconv.FormatInt(wait.Milliseconds(), 10) + ")"},
	}.Encode()
	return u.String()
}

// sqliteFile is the dsn of one file.
type sqliteFile string

func (f sqliteFile) Driver() driver.Driver { return &sqlite.Driver{} }

func (f sqliteFile) Connect(context.Context) (driver.Conn, error) { return f.Driver().Open(string(f)) }

func structuurSQLite(ctx context.Context, s *Source) ([]connectors.Bevinding, error) {
	var findings []connectors.Bevinding
	seen := map[string]bool{}
	for _, m := range s.mapped() {
		if m.tabel.schema != "" {
			findings = append(findings, s.fout(m.tabel.regel, "table %s: SQLite has no schemas; give the name of the table alone", m.tabel))
			continue
		}
		rows, err := s.rijen(ctx, m.tabel.naam, `SELECT name FROM pragma_table_info(?) LIMIT 10000`, 1, 10000, m.tabel.naam)
		if err != nil {
			return nil, err
		}
		if len(rows) == 0 {
			findings = append(findings, s.fout(m.tabel.regel, "the source has no table or view %s", m.tabel))
			continue
		}
		have := map[string]bool{}
		for _, row := range rows {
			have[strings.ToLower(tekst(row[0]))] = true
		}
		for _, k := range m.kolommen {
			at := fmt.Sprint(m.tabel.naam, ".", k.naam, ":", k.regel)
			if !have[strings.ToLower(k.naam)] && !seen[at] {
				findings = append(findings, s.fout(k.regel, "table %s has no column %s", m.tabel, k))
			}
			seen[at] = true
		}
	}
	return findings, nil
}
