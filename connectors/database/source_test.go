package database_test

import (
	"database/sql"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/connectors/conformance"
	"github.com/grensloos/grensloos/connectors/database"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/postgres"
)

// tables are those of an imagined application with conventions of its own, as good_alles.yaml maps them.
const tables = `
CREATE TABLE client (clientnr INTEGER PRIMARY KEY, bsn TEXT, ind_geheim INTEGER, gebdat INTEGER, voorn TEXT, tussenv TEXT, achternaam TEXT,
	straat TEXT, huisnr INTEGER, toev TEXT, postcode TEXT, plaats TEXT, tel TEXT, mail TEXT, mutatiedatum INTEGER, strafblad TEXT);
CREATE INDEX client_bsn ON client (bsn);
CREATE VIEW client_actueel AS SELECT * FROM client WHERE achternaam IS NOT NULL;
CREATE TABLE uitkering (clientnr INTEGER, lopend TEXT, regeling TEXT, begin TEXT, eind TEXT, bedrag INTEGER, maatregel TEXT);
CREATE INDEX uitkering_client ON uitkering (clientnr);
CREATE TABLE contact (clientnr INTEGER, naam TEXT, org TEXT, tel TEXT, vanaf TEXT, wet TEXT);
`

const goodMapping = "testdata/good_alles.yaml"

// fill writes a fixture into a new SQLite file, in the conventions of tables.
func fill(t testing.TB, f conformance.Fixture) (file string, db *sql.DB) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "bron #1?.sqlite") // a name that an URL must escape
	db, err := sql.Open("sqlite", strings.NewReplacer("#", "%23", "?", "%3f").Replace("file:"+file))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := db.Exec(query, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(tables)
	for i, p := range f.Personen {
		gebdat, err := strconv.Atoi((strings.ReplaceAll(p.Geboren, "-", "") + "00000000")[:8])
		if err != nil {
			t.Fatal(err)
		}
		secret := 0
		if p.Geheim {
			secret = 3
		}
		exec(`INSERT INTO client (clientnr, bsn, ind_geheim, gebdat, strafblad) VALUES (?, ?, ?, ?, 'ja')`, i+1, p.BSN, secret, gebdat)
		for _, r := range p.Diensten["persoon"] {
			voor, achter, _ := strings.Cut(r["naam"].(string), " ")
			adres, _ := r["adres"].(map[string]string)
			nr, toev, _ := strings.Cut(adres["huisnummer"], " ")
			huisnr := any(nr)
			if nr == "" {
				huisnr = nil
			}
			exec(`UPDATE client SET voorn = ?, tussenv = '', achternaam = ?, straat = ?, huisnr = ?, toev = ?, postcode = ?, plaats = ?, tel = ?, mail = ?, mutatiedatum = ? WHERE clientnr = ?`,
				voor, achter, adres["straat"], huisnr, toev, adres["postcode"], adres["woonplaats"], r["telefoon"], r["email"],
				f.Peildatum.Format("20060102"), i+1)
		}
		for _, r := range p.Diensten["uitkering"] {
			lopend := map[any]string{true: "J", false: "N"}[r["loopt"]]
			regeling := map[any]string{"algemene-bijstand": "01", "ioaw": "02"}[r["soort"]]
			cents, err := strconv.Atoi(strings.ReplaceAll(r["bedrag"].(string), ".", ""))
			if err != nil {
				t.Fatal(err)
			}
			exec(`INSERT INTO uitkering VALUES (?, ?, ?, ?, ?, ?, 'korting')`, i+1, lopend, regeling, r["ingangsdatum"], r["einddatum"], cents)
		}
		for _, r := range p.Diensten["contactpersoon"] {
			exec(`INSERT INTO contact VALUES (?, ?, ?, ?, ?, ?)`, i+1, r["naam"], r["organisatie"], r["telefoon"], r["geldigVan"], r["wet"])
		}
	}
	return file, db
}

func open(t *testing.T, f conformance.Fixture, opts database.Options) (*database.Source, *sql.DB) {
	t.Helper()
	file, db := fill(t, f)
	opts.Now = func() time.Time { return f.Peildatum }
	s, err := database.Open(t.Context(), database.Config{Bestand: file, Mapping: goodMapping}, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, db
}

func TestConformance(t *testing.T) {
	conformance.Run(t, func(t *testing.T, f conformance.Fixture) connectors.Source {
		s, _ := open(t, f, database.Options{})
		return s
	})
}

func person(t *testing.T, s string) gateway.BSN {
	t.Helper()
	bsn, err := gateway.ParseBSN(s)
	if err != nil {
		t.Fatal(err)
	}
	return bsn
}

func read(t *testing.T, s *database.Source, bsn string, dienst gateway.Dienst, velden ...gateway.Veld) (connectors.Gegevens, error) {
	t.Helper()
	k, err := s.Sleutel(t.Context(), person(t, bsn), []connectors.Attribuut{connectors.Geheimhouding})
	if err != nil {
		return connectors.Gegevens{}, err
	}
	return s.Lees(t.Context(), k, dienst, velden)
}

// The statements that reach the driver name the key, the peildatum and the asked columns: what may not leave is never read.
func TestOnlyAllowedColumnsReachTheSource(t *testing.T) {
	var log []string
	s, _ := open(t, conformance.Standaard(), database.Options{StatementLog: func(sql string) { log = append(log, sql) }})
	log = nil
	if _, err := read(t, s, "999990019", "persoon", "naam", "bsn"); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, s, "999990019", "uitkering", "loopt"); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`SELECT t."clientnr", t."ind_geheim" FROM "client" AS t WHERE t."bsn" = ? LIMIT 2`,
		`SELECT t."mutatiedatum", t."voorn", t."tussenv", t."achternaam" FROM "client_actueel" AS t WHERE t."clientnr" = ? LIMIT 2`,
		`SELECT t."lopend" FROM "uitkering" AS t WHERE t."clientnr" = ? LIMIT 501`,
	}
	if !slices.Equal(log, want) {
		t.Errorf("statements: got\n%s\nwant\n%s", strings.Join(log, "\n"), strings.Join(want, "\n"))
	}
	log = nil
	if _, err := read(t, s, "999990020", "persoon", "naam", "bsn"); err != nil || len(log) != 0 {
		t.Errorf("second person: got error %v and %d new statements, want the prepared ones used again", err, len(log))
	}
}

func TestSourceIsReadOnly(t *testing.T) {
	file, db := fill(t, conformance.Standaard())
	if _, err := db.Exec(`CREATE VIEW gevaar AS SELECT 1 AS bsn`); err != nil {
		t.Fatal(err)
	}
	err := database.TryWrite(t.Context(), file)
	if err == nil || !strings.Contains(err.Error(), "readonly") {
		t.Errorf("a write through the source's connection: got %v, want it refused as readonly", err)
	}
}

// What goes wrong with the source while it runs is an error of kind Unavailable and never an empty answer.
func TestSourceFailures(t *testing.T) {
	for name, tc := range map[string]struct {
		harm string
		code string
	}{
		"column gone":            {`ALTER TABLE uitkering DROP COLUMN lopend`, connectors.CodeOnbereikbaar},
		"table gone":             {`DROP TABLE uitkering`, connectors.CodeOnbereikbaar},
		"person table gone":      {`DROP VIEW client_actueel; DROP TABLE client`, connectors.CodeOnbereikbaar},
		"slow":                   {`DROP TABLE uitkering; CREATE VIEW uitkering AS WITH RECURSIVE n(clientnr) AS (SELECT 100 UNION ALL SELECT clientnr+1 FROM n) SELECT clientnr, 'J' AS lopend FROM n`, connectors.CodeOnbereikbaar},
		"breaks off":             {`DROP TABLE uitkering; CREATE TABLE u (n INTEGER); INSERT INTO u VALUES (1), (-9223372036854775808); CREATE VIEW uitkering AS SELECT 1 AS clientnr, CASE WHEN abs(n) > 0 THEN 'J' END AS lopend FROM u`, connectors.CodeOnbereikbaar},
		"value does not fit":     {`UPDATE uitkering SET lopend = 'X'`, connectors.CodeOngeldigWaarde},
		"key empty":              {`DROP VIEW client_actueel; ALTER TABLE client RENAME TO oud; CREATE VIEW client AS SELECT bsn, NULL AS clientnr, ind_geheim FROM oud`, connectors.CodeOngeldigWaarde},
		"secrecy does not fit":   {`UPDATE client SET ind_geheim = NULL`, ""},
		"too many rows":          {`INSERT INTO uitkering SELECT 1, 'J', '01', NULL, NULL, 0, '' FROM uitkering a, uitkering b, uitkering c, uitkering d, uitkering e, uitkering f, uitkering g, uitkering h, uitkering i, uitkering j`, connectors.CodeMeerduidig},
		"second row in the view": {`DROP VIEW client_actueel; CREATE VIEW client_actueel AS SELECT * FROM client UNION ALL SELECT * FROM client`, connectors.CodeMeerduidig},
	} {
		t.Run(name, func(t *testing.T) {
			file, db := fill(t, conformance.Standaard())
			s, err := database.Open(t.Context(), database.Config{Bestand: file, Mapping: goodMapping, Wachttijd: 100 * time.Millisecond}, database.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			dienst, veld := gateway.Dienst("uitkering"), gateway.Veld("loopt")
			if name == "second row in the view" {
				dienst, veld = "persoon", "telefoon"
			}
			if _, err := read(t, s, "999990019", dienst, veld); err != nil {
				t.Fatalf("before: %v", err) // also prepares the statement, which must not outlive the column
			}
			if _, err := db.Exec(tc.harm); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			got, err := read(t, s, "999990019", dienst, veld)
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %s, with a bound of 100 ms on each statement", took)
			}
			if tc.code == "" { // secrecy that is empty counts as secret, and the answer stands
				k, err := s.Sleutel(t.Context(), person(t, "999990019"), []connectors.Attribuut{connectors.Geheimhouding})
				if err != nil || !k.Geheimhouding {
					t.Errorf("empty secrecy: got %v, error %v, want secret", k.Geheimhouding, err)
				}
				return
			}
			if gateway.KindOf(err) != gateway.Unavailable || gateway.CodeOf(err) != tc.code {
				t.Errorf("got %d rows and %v, want Unavailable with code %s", len(got.Rijen), err, tc.code)
			}
			if err != nil && (strings.Contains(err.Error(), "999990019") || strings.Contains(err.Error(), "'X'")) {
				t.Errorf("the error holds a value of the source: %v", err)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	file, db := fill(t, conformance.Standaard())
	if _, err := db.Exec(`ALTER TABLE contact DROP COLUMN org; DROP TABLE uitkering`); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		cfg  database.Config
		want []string
	}{
		"column and table missing": {
			database.Config{Bestand: file, Mapping: goodMapping},
			[]string{`good_alles.yaml:43: table "contact" has no column "org"`, `good_alles.yaml:28: the source has no table or view "uitkering"`},
		},
		"no file":    {database.Config{Bestand: file + "x", Mapping: goodMapping}, []string{"no such file"}},
		"a folder":   {database.Config{Bestand: t.TempDir(), Mapping: goodMapping}, []string{"no file"}},
		"no mapping": {database.Config{Bestand: file, Mapping: "testdata/none.yaml"}, []string{"no such file"}},
		"driver":     {database.Config{Driver: "oracle", Bestand: file}, []string{`driver "oracle": choose from sqlite and postgres`, "mapping: give the YAML file"}},
		"schema":     {database.Config{Bestand: file, Mapping: "testdata/good_postgres.yaml"}, []string{`good_postgres.yaml:4: table "suite"."client": SQLite has no schemas`}},
		"two engines": {
			database.Config{Bestand: file, Mapping: goodMapping, Postgres: postgres.Config{Addresses: []string{"localhost:5432"}}, MaxVerbindingen: -1, Wachttijd: time.Microsecond},
			[]string{"postgres: belongs to driver: postgres", "maxVerbindingen: between", "wachttijd: between"},
		},
		"two other engines": {
			database.Config{Driver: "postgres", Bestand: file, Mapping: goodMapping, Postgres: postgres.Config{MaxConns: 4}},
			[]string{"bestand: belongs to driver: sqlite", "postgres.maxVerbindingen: give maxVerbindingen beside", "postgres: adressen: give host:port", "gebruiker: give its name"},
		},
		"no server": {
			database.Config{Driver: "postgres", Mapping: goodMapping, Postgres: postgres.Config{Addresses: []string{"127.0.0.1:1"}, Database: "bron", User: "lezer", Plain: true}},
			[]string{"nothing listens at 127.0.0.1:1"},
		},
		"not SQLite": {database.Config{Bestand: goodMapping, Mapping: goodMapping}, []string{"not a database"}},
	} {
		s, err := database.Open(t.Context(), tc.cfg, database.Options{})
		if err == nil {
			s.Close()
			t.Errorf("%s: opened", name)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q in it", name, err, want)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		harm, want string
		defect     bool
	}{
		"good":           {``, "persoon: 6 of 6 velden mapped", false},
		"bsn twice":      {``, "1 bsns stand in several rows", false},
		"bsn as number":  {`INSERT INTO client (clientnr, bsn, ind_geheim) VALUES (99, '12', 0)`, "1 rows hold no bsn in the form that is mapped", false},
		"missing column": {`ALTER TABLE contact DROP COLUMN tel`, `good_alles.yaml:44: fout: table "contact" has no column "tel"`, true},
		"unfit values":   {`UPDATE uitkering SET bedrag = 12.5`, "good_alles.yaml:36: fout: uitkering.bedrag: 2 of 2 rows hold a value that does not fit: no whole number of cents", true},
		"wrong key":      {`UPDATE uitkering SET clientnr = clientnr + 1000`, `no row of table "uitkering" belongs to a person of "client"`, true},
	} {
		t.Run(name, func(t *testing.T) {
			file, db := fill(t, conformance.Standaard())
			if _, err := db.Exec(tc.harm); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			err := database.Check(t.Context(), database.Config{Bestand: file, Mapping: goodMapping}, &out)
			if (err != nil) != tc.defect || !strings.Contains(out.String(), tc.want) {
				t.Errorf("got error %v and\n%s\nwant defect %v and %q", err, out.String(), tc.defect, tc.want)
			}
			if strings.Contains(out.String(), "999990") {
				t.Error("the report holds a bsn")
			}
		})
	}
}
