//go:build engines

package database_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/connectors/conformance"
	"github.com/grensloos/grensloos/connectors/database"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/postgres"
)

const postgresMapping = "testdata/good_postgres.yaml"

// pgTables are those of another imagined application, with the types that PostgreSQL has, as good_postgres.yaml maps them. The reader
// may read the mapped columns and no other: whatever else a statement names is refused by the server.
const pgTables = `
CREATE SCHEMA suite;
CREATE TYPE suite.regeling AS ENUM ('algemene-bijstand', 'bijzondere-bijstand', 'bbz', 'ioaw', 'ioaz', 'anders');
CREATE TABLE suite.client (client_nr uuid PRIMARY KEY, bsn char(9), ind_geheim smallint, gebdat integer, voorn varchar(40), tussenv char(10), achternaam text,
	straat text, huisnr integer, toev char(4), postcode char(6), plaats text, "Tel" text, mail text, gewijzigd timestamptz, strafblad text);
CREATE INDEX ON suite.client (bsn);
CREATE VIEW suite.client_actueel AS SELECT * FROM suite.client WHERE achternaam IS NOT NULL;
CREATE TABLE suite.uitkering (client_nr uuid, lopend boolean, regeling suite.regeling, begin date, eind date, bedrag numeric(14, 4), maatregel text);
CREATE INDEX ON suite.uitkering (client_nr);
CREATE TABLE suite.medewerker (client_nr uuid, naam text, org text, tel text, vanaf date, wet varchar(20));
CREATE MATERIALIZED VIEW public.contact AS SELECT * FROM suite.medewerker;
GRANT USAGE ON SCHEMA suite TO bron_lezer;
GRANT SELECT (client_nr, bsn, ind_geheim, gebdat) ON suite.client TO bron_lezer;
GRANT SELECT (client_nr, gebdat, voorn, tussenv, achternaam, straat, huisnr, toev, postcode, plaats, "Tel", mail, gewijzigd) ON suite.client_actueel TO bron_lezer;
GRANT SELECT (client_nr, lopend, regeling, begin, eind, bedrag) ON suite.uitkering TO bron_lezer;
GRANT SELECT ON public.contact TO bron_lezer;
`

// pgServer is a PostgreSQL server and how to reach it as anybody.
type pgServer struct{ address, dir string }

func sharedServer(t *testing.T) pgServer {
	t.Helper()
	s := pgServer{os.Getenv("GRENSLOOS_POSTGRES"), os.Getenv("GRENSLOOS_POSTGRES_DIR")}
	if s.address == "" || s.dir == "" {
		t.Fatal(`GRENSLOOS_POSTGRES is not set: eval "$(.ci/postgres start DIR)"`)
	}
	return s
}

// pool opens connections as a role.
func (s pgServer) pool(t *testing.T, role, name string) *sql.DB {
	t.Helper()
	password, err := os.ReadFile(filepath.Join(s.dir, "wachtwoord", role))
	if err != nil {
		t.Fatal(err)
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(role, string(password)), Host: s.address, Path: name, RawQuery: url.Values{
		"sslmode": {"verify-full"}, "sslrootcert": {filepath.Join(s.dir, "tls", "ca.pem")},
	}.Encode()}
	db, err := sql.Open("pgx", u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// pgBron is a database of its own on a server.
type pgBron struct {
	cfg          database.Config
	admin, owner *sql.DB
}

func (s pgServer) bron(t *testing.T, f conformance.Fixture) pgBron {
	t.Helper()
	name := "bron_" + randomName()
	admin := s.pool(t, "beheerder", "postgres")
	must(t, admin, "CREATE DATABASE "+name+" OWNER bron_eigenaar")
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Log(err)
		}
	})
	b := pgBron{admin: s.pool(t, "beheerder", name), owner: s.pool(t, "bron_eigenaar", name)}
	must(t, b.admin, "GRANT CREATE ON SCHEMA public TO bron_eigenaar")
	must(t, b.owner, pgTables)
	fillPostgres(t, b.owner, f)
	b.cfg = database.Config{Driver: "postgres", Mapping: postgresMapping, Postgres: postgres.Config{
		Addresses: []string{s.address}, Database: name, User: "bron_lezer",
		PasswordFile: filepath.Join(s.dir, "wachtwoord", "bron_lezer"), TLS: postgres.TLS{CA: filepath.Join(s.dir, "tls", "ca.pem")},
	}}
	return b
}

func (b pgBron) open(t *testing.T, opts database.Options) *database.Source {
	t.Helper()
	s, err := database.Open(t.Context(), b.cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func randomName() string {
	raw := make([]byte, 8)
	_, _ = rand.Read(raw)
	return hex.EncodeToString(raw)
}

func must(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%.80s: %v", query, err)
	}
}

// fillPostgres writes a fixture in the conventions of pgTables. Client n is 00000000-...-n.
func fillPostgres(t *testing.T, db *sql.DB, f conformance.Fixture) {
	t.Helper()
	// The last half hour of the peildatum in the Netherlands; at UTC it is still the day before an hour later.
	changed := f.Peildatum.Add(-30 * time.Minute)
	null := func(v any) any {
		if v == "" {
			return nil
		}
		return v
	}
	for i, p := range f.Personen {
		key := fmt.Sprintf("00000000-0000-4000-8000-%012d", i+1)
		secret := 0
		if p.Geheim {
			secret = 3
		}
		must(t, db, `INSERT INTO suite.client (client_nr, bsn, ind_geheim, gebdat, strafblad) VALUES ($1, $2, $3, $4::text::integer, 'ja')`,
			key, p.BSN, secret, (strings.ReplaceAll(p.Geboren, "-", "") + "00000000")[:8])
		for _, r := range p.Diensten["persoon"] {
			voor, achter, _ := strings.Cut(r["naam"].(string), " ")
			adres, _ := r["adres"].(map[string]string)
			nr, toev, _ := strings.Cut(adres["huisnummer"], " ")
			must(t, db, `UPDATE suite.client SET voorn = $1, tussenv = '', achternaam = $2, straat = $3, huisnr = $4::text::integer, toev = $5, postcode = $6, plaats = $7,
				"Tel" = $8, mail = $9, gewijzigd = $10 WHERE client_nr = $11`,
				voor, achter, adres["straat"], null(nr), toev, adres["postcode"], adres["woonplaats"], r["telefoon"], r["email"], changed, key)
		}
		for _, r := range p.Diensten["uitkering"] {
			must(t, db, `INSERT INTO suite.uitkering VALUES ($1, $2, $3, $4, $5, $6, 'korting')`, key, r["loopt"], r["soort"], r["ingangsdatum"], r["einddatum"], r["bedrag"])
		}
		for _, r := range p.Diensten["contactpersoon"] {
			must(t, db, `INSERT INTO suite.medewerker VALUES ($1, $2, $3, $4, $5, $6)`, key, r["naam"], r["organisatie"], r["telefoon"], r["geldigVan"], r["wet"])
		}
	}
	must(t, db, `REFRESH MATERIALIZED VIEW public.contact`)
}

func TestPostgresConformance(t *testing.T) {
	server := sharedServer(t)
	conformance.Run(t, func(t *testing.T, f conformance.Fixture) connectors.Source {
		return server.bron(t, f).open(t, database.Options{Now: func() time.Time { return f.Peildatum }})
	})
}

// The statements that reach the driver name the key, the peildatum and the asked columns: what may not leave is never read. That
// the role may not read it holds beside it: see pgTables.
func TestPostgresOnlyAllowedColumns(t *testing.T) {
	var log []string
	s := sharedServer(t).bron(t, conformance.Standaard()).open(t, database.Options{StatementLog: func(sql string) { log = append(log, sql) }})
	if len(log) == 0 {
		t.Fatal("what Open asks does not pass the log")
	}
	log = nil
	k, err := s.Sleutel(t.Context(), person(t, "999990019"), []connectors.Attribuut{connectors.Geheimhouding})
	if err != nil {
		t.Fatal(err)
	}
	for dienst, velden := range map[gateway.Dienst][]gateway.Veld{"persoon": {"naam", "bsn"}, "uitkering": {"loopt"}} {
		if _, err := s.Lees(t.Context(), k, dienst, velden); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(log[1:])
	want := []string{
		`SELECT t."client_nr"::text, t."ind_geheim"::text FROM "suite"."client" AS t WHERE t."bsn" = $1 LIMIT 2`,
		`SELECT t."gewijzigd"::text, t."voorn"::text, t."tussenv"::text, t."achternaam"::text FROM "suite"."client_actueel" AS t WHERE t."client_nr" = $1 LIMIT 2`,
		`SELECT t."lopend"::text FROM "suite"."uitkering" AS t WHERE t."client_nr" = $1 LIMIT 501`,
	}
	if !slices.Equal(log, want) {
		t.Errorf("statements: got\n%s\nwant\n%s", strings.Join(log, "\n"), strings.Join(want, "\n"))
	}
}

// What holds on a connection holds whatever the role and the database say; and the server ends a statement by itself.
func TestPostgresSession(t *testing.T) {
	b := sharedServer(t).bron(t, conformance.Standaard())
	must(t, b.owner, `CREATE TABLE suite.vrij (n integer); GRANT SELECT, INSERT ON suite.vrij TO bron_lezer`)
	for _, setting := range []string{"row_security = on", "default_transaction_read_only = off", "statement_timeout = 0", "search_path = kwaad, public", "timezone = 'Pacific/Auckland'", "datestyle = 'SQL, DMY'"} {
		must(t, b.admin, "ALTER ROLE bron_lezer IN DATABASE "+b.cfg.Postgres.Database+" SET "+setting)
	}
	b.cfg.Wachttijd = 700 * time.Millisecond
	db := database.Pool(b.open(t, database.Options{}))
	for setting, want := range map[string]string{
		"row_security": "off", "default_transaction_read_only": "on", "statement_timeout": "700ms", "search_path": "pg_catalog, pg_temp", "TimeZone": "Europe/Amsterdam", "DateStyle": "ISO, YMD",
	} {
		var got string
		if err := db.QueryRowContext(t.Context(), "SELECT current_setting($1)", setting).Scan(&got); err != nil || got != want {
			t.Errorf("%s: got %q, error %v, want %q", setting, got, err, want)
		}
	}
	if _, err := db.ExecContext(t.Context(), `INSERT INTO suite.vrij VALUES (1)`); postgres.Code(err) != "25006" {
		t.Errorf("a write by a role that may: got %v, want it refused as read-only", err)
	}
	start := time.Now()
	if _, err := db.ExecContext(t.Context(), `SELECT pg_sleep(60)`); postgres.Code(err) != "57014" || time.Since(start) > 10*time.Second {
		t.Errorf("a statement that nobody here ends: got %v after %s, want it ended by the server", err, time.Since(start))
	}
}

// What goes wrong with the source while it runs is an error of kind Unavailable and never an empty answer; and once it is mended, the
// next question is answered.
func TestPostgresFailures(t *testing.T) {
	server := sharedServer(t)
	const unreadable = connectors.CodeOnbereikbaar
	slow := func(select_ string) string {
		return `ALTER TABLE suite.uitkering RENAME TO u; CREATE VIEW suite.uitkering AS ` + select_ + `; GRANT SELECT ON suite.uitkering TO bron_lezer`
	}
	const unslow = `DROP VIEW suite.uitkering; ALTER TABLE suite.u RENAME TO uitkering`
	for name, tc := range map[string]struct {
		harm, mend string
		dienst     gateway.Dienst
		veld       gateway.Veld
		code       string // empty: the answer stands
		rows       int
	}{
		"column gone":       {harm: `ALTER TABLE suite.uitkering RENAME lopend TO weg`, mend: `ALTER TABLE suite.uitkering RENAME weg TO lopend`, code: unreadable},
		"table gone":        {harm: `ALTER TABLE suite.uitkering RENAME TO weg`, mend: `ALTER TABLE suite.weg RENAME TO uitkering`, code: unreadable},
		"person table gone": {harm: `ALTER TABLE suite.client RENAME TO weg`, mend: `ALTER TABLE suite.weg RENAME TO client`, code: unreadable},
		"schema gone":       {harm: `ALTER SCHEMA suite RENAME TO weg`, mend: `ALTER SCHEMA weg RENAME TO suite`, code: unreadable},
		"one of the same name in another schema": {
			harm: `ALTER TABLE suite.uitkering RENAME TO weg; CREATE TABLE public.uitkering (client_nr uuid, lopend boolean); GRANT SELECT ON public.uitkering TO bron_lezer`,
			mend: `DROP TABLE public.uitkering; ALTER TABLE suite.weg RENAME TO uitkering`, code: unreadable,
		},
		"right to a column withdrawn": {harm: `REVOKE SELECT (lopend) ON suite.uitkering FROM bron_lezer`, mend: `GRANT SELECT (lopend) ON suite.uitkering TO bron_lezer`, code: unreadable},
		"right to the schema withdrawn": {
			harm: `REVOKE USAGE ON SCHEMA suite FROM bron_lezer`, mend: `GRANT USAGE ON SCHEMA suite TO bron_lezer`, code: unreadable,
		},
		"row-level security hides the row": {
			harm: `ALTER TABLE suite.uitkering ENABLE ROW LEVEL SECURITY; CREATE POLICY niets ON suite.uitkering FOR SELECT TO bron_lezer USING (false)`,
			mend: `ALTER TABLE suite.uitkering DISABLE ROW LEVEL SECURITY; DROP POLICY niets ON suite.uitkering`, code: unreadable,
		},
		"row-level security hides the person": {
			harm: `ALTER TABLE suite.client ENABLE ROW LEVEL SECURITY`, mend: `ALTER TABLE suite.client DISABLE ROW LEVEL SECURITY`, code: unreadable,
		},
		"row-level security below a view": {
			harm:   `ALTER TABLE suite.client ENABLE ROW LEVEL SECURITY; ALTER TABLE suite.client FORCE ROW LEVEL SECURITY; CREATE POLICY alle ON suite.client TO bron_lezer USING (true)`,
			mend:   `ALTER TABLE suite.client NO FORCE ROW LEVEL SECURITY; ALTER TABLE suite.client DISABLE ROW LEVEL SECURITY; DROP POLICY alle ON suite.client`,
			dienst: "persoon", veld: "telefoon", code: unreadable,
		},
		"materialized view emptied": {
			harm: `REFRESH MATERIALIZED VIEW public.contact WITH NO DATA`, mend: `REFRESH MATERIALIZED VIEW public.contact`, dienst: "contactpersoon", veld: "telefoon", code: unreadable,
		},
		"slow":   {harm: slow(`SELECT client_nr, lopend FROM suite.u WHERE pg_sleep(60) IS NOT NULL`), mend: unslow, code: unreadable},
		"locked": {harm: slow(`SELECT client_nr, lopend FROM suite.u WHERE pg_advisory_xact_lock_shared(77) IS NOT NULL`), mend: unslow, code: unreadable},
		"breaks off": {
			harm: slow(`SELECT u.client_nr, 1 / (n % 400) > 0 AS lopend FROM suite.u, generate_series(1, 450) AS n ORDER BY n`), mend: unslow, code: unreadable,
		},
		"a view that casts": {
			harm: slow(`SELECT client_nr, (maatregel || '999990019')::integer = 1 AS lopend FROM suite.u`), mend: unslow, code: unreadable,
		},
		"a view whose function tells": {
			harm: `CREATE FUNCTION suite.klapt(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'client 999990019 %', $1; END $$;` +
				slow(`SELECT client_nr, suite.klapt(maatregel) AS lopend FROM suite.u`),
			mend: unslow + `; DROP FUNCTION suite.klapt`, code: unreadable,
		},
		"a view that writes": {
			harm: `CREATE FUNCTION suite.schrijft() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN DELETE FROM suite.u; RETURN true; END $$;` +
				slow(`SELECT client_nr, suite.schrijft() AS lopend FROM suite.u`),
			mend: unslow + `; DROP FUNCTION suite.schrijft`, code: unreadable,
		},
		"type changed, value does not fit": {
			harm: `ALTER TABLE suite.uitkering ALTER lopend TYPE text USING 'X'`, mend: `ALTER TABLE suite.uitkering ALTER lopend TYPE boolean USING true`, code: connectors.CodeOngeldigWaarde,
		},
		"type changed, value fits": {harm: `ALTER TABLE suite.uitkering ALTER lopend TYPE integer USING lopend::integer`, rows: 2},
		"type of the key changed": {
			harm: `ALTER TABLE suite.uitkering ALTER client_nr TYPE integer USING 1`, mend: `ALTER TABLE suite.uitkering ALTER client_nr TYPE uuid USING '00000000-0000-4000-8000-000000000001'`, code: unreadable,
		},
		"endless date":           {harm: `UPDATE suite.uitkering SET eind = 'infinity'`, mend: `UPDATE suite.uitkering SET eind = NULL`, veld: "einddatum", code: connectors.CodeOngeldigWaarde},
		"amount no number":       {harm: `UPDATE suite.uitkering SET bedrag = 'NaN'`, mend: `UPDATE suite.uitkering SET bedrag = 1`, veld: "bedrag", code: connectors.CodeOngeldigWaarde},
		"part of a cent":         {harm: `UPDATE suite.uitkering SET bedrag = 1.001`, mend: `UPDATE suite.uitkering SET bedrag = 1`, veld: "bedrag", code: connectors.CodeOngeldigWaarde},
		"too many rows":          {harm: `INSERT INTO suite.uitkering SELECT client_nr, true FROM suite.uitkering, generate_series(1, 600)`, mend: `DELETE FROM suite.uitkering WHERE bedrag IS NULL`, code: connectors.CodeMeerduidig},
		"second row in the view": {harm: `CREATE OR REPLACE VIEW suite.client_actueel AS SELECT * FROM suite.client UNION ALL SELECT * FROM suite.client`, mend: `CREATE OR REPLACE VIEW suite.client_actueel AS SELECT * FROM suite.client`, dienst: "persoon", veld: "telefoon", code: connectors.CodeMeerduidig},
		"truncated":              {harm: `TRUNCATE suite.uitkering`, rows: 0},
		"persons truncated":      {harm: `TRUNCATE suite.client`, code: connectors.CodeGeenGegevens},
		"may not sign in":        {harm: `SELECT 1`, code: "signed out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := server.bron(t, conformance.Standaard())
			b.cfg.Wachttijd = time.Second
			s := b.open(t, database.Options{})
			dienst, veld := gateway.Dienst("uitkering"), gateway.Veld("loopt")
			if tc.dienst != "" {
				dienst = tc.dienst
			}
			if tc.veld != "" {
				veld = tc.veld
			}
			if got, err := read(t, s, "999990019", dienst, veld); err != nil || len(got.Rijen) == 0 {
				t.Fatalf("before: got %d rows, %v", len(got.Rijen), err) // also prepares the statement
			}
			code := tc.code
			if code == "signed out" { // new connections are refused, and those that there are end
				code = unreadable
				must(t, b.admin, `REVOKE CONNECT ON DATABASE `+b.cfg.Postgres.Database+` FROM PUBLIC`)
				must(t, b.admin, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bron_lezer' AND datname = $1`, b.cfg.Postgres.Database)
				tc.mend = `GRANT CONNECT ON DATABASE ` + b.cfg.Postgres.Database + ` TO PUBLIC`
			}
			if name == "locked" {
				lock, err := b.admin.BeginTx(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = lock.Rollback() }()
				if _, err := lock.ExecContext(t.Context(), `SELECT pg_advisory_xact_lock(77)`); err != nil {
					t.Fatal(err)
				}
			}
			must(t, b.owner, tc.harm)
			start := time.Now()
			got, err := read(t, s, "999990019", dienst, veld)
			if took := time.Since(start); took > 8*time.Second {
				t.Errorf("took %s, with a bound of 1 s on each statement", took)
			}
			switch {
			case code == "" && (err != nil || len(got.Rijen) != tc.rows):
				t.Errorf("got %d rows and %v, want %d rows", len(got.Rijen), err, tc.rows)
			case code == connectors.CodeGeenGegevens:
				if gateway.KindOf(err) != gateway.NotFound {
					t.Errorf("got %v, want %s", err, code)
				}
			case code != "" && (gateway.KindOf(err) != gateway.Unavailable || gateway.CodeOf(err) != code):
				t.Errorf("got %d rows and %v, want Unavailable with code %s", len(got.Rijen), err, code)
			}
			if err != nil && (strings.Contains(err.Error(), "999990019") || strings.Contains(err.Error(), "korting")) {
				t.Errorf("the error holds a value of the source: %v", err)
			}
			t.Logf("%v", err)
			if tc.mend == "" {
				return
			}
			must(t, b.owner, tc.mend)
			if got, err := read(t, s, "999990019", dienst, veld); err != nil || len(got.Rijen) == 0 {
				t.Errorf("once mended: got %d rows, %v", len(got.Rijen), err)
			}
		})
	}
}
