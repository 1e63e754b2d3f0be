//go:build engines

package database_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/connectors/conformance"
	"github.com/grensloos/grensloos/connectors/database"
)

// Every finding names the file, the line and the mend, and holds no value.
func TestPostgresCheck(t *testing.T) {
	server := sharedServer(t)
	for name, tc := range map[string]struct {
		harm     string
		old, new string // in the mapping
		role     string
		want     []string
		not      string
		defect   bool
	}{
		"good":              {want: []string{"persoon: 6 of 6 velden mapped", "uitkering: 5 of 5 velden mapped", "1 bsns stand in several rows"}, not: "let op: role"},
		"bsn of other form": {harm: `INSERT INTO suite.client (client_nr, bsn, ind_geheim) VALUES ('00000000-0000-4000-8000-000000000099', '12', 0)`, want: []string{":5: let op: 1 rows hold no bsn in the form that is mapped"}},
		"missing column":    {harm: `DROP MATERIALIZED VIEW public.contact; CREATE TABLE public.contact AS SELECT client_nr, naam, org, vanaf, wet FROM suite.medewerker; GRANT SELECT ON public.contact TO bron_lezer`, want: []string{`:44: fout: table "public"."contact" has no column "tel"`}, defect: true},
		"capitals":          {old: "telefoon: Tel", new: "telefoon: tel", want: []string{`:25: fout: table "suite"."client_actueel" has no column "tel"`}, defect: true},
		"table elsewhere":   {old: "tabel: contact ", new: "tabel: suite.Contact ", want: []string{`:38: fout: the source has no table or view "suite"."Contact"; there is public.contact`}, defect: true},
		"no such schema":    {old: "tabel: suite.uitkering", new: "tabel: Suite.uitkering", want: []string{`:28: fout: the source has no table or view "Suite"."uitkering"; there is suite.uitkering`}, defect: true},
		"no right to a column": {
			harm: `REVOKE SELECT (bedrag) ON suite.uitkering FROM bron_lezer`, want: []string{`:28: fout: table "suite"."uitkering" can't be read`, `GRANT SELECT ("bedrag") ON "suite"."uitkering" TO "bron_lezer"`}, defect: true,
		},
		"no right to the schema": {harm: `REVOKE USAGE ON SCHEMA suite FROM bron_lezer`, want: []string{`:4: fout: table "suite"."client" can't be read`, `GRANT USAGE ON SCHEMA "suite" TO "bron_lezer"`}, defect: true},
		"row-level security": {
			harm: `ALTER TABLE suite.uitkering ENABLE ROW LEVEL SECURITY; CREATE POLICY alle ON suite.uitkering USING (true)`,
			want: []string{`:28: fout: table "suite"."uitkering" can't be read`, "row-level security hides rows of it from role"}, defect: true,
		},
		"row-level security below a view": {
			harm: `ALTER TABLE suite.client ENABLE ROW LEVEL SECURITY; ALTER TABLE suite.client FORCE ROW LEVEL SECURITY; ALTER ROLE bron_eigenaar RESET search_path`,
			want: []string{`:12: fout: table "suite"."client_actueel" can't be read`, "the owner of the view may not read what is under it, or row-level security"}, defect: true,
		},
		"unfit values": {harm: `UPDATE suite.uitkering SET bedrag = 12.345`, want: []string{":36: fout: uitkering.bedrag: 2 of 2 rows hold a value that does not fit"}, defect: true},
		"wrong key":    {harm: `UPDATE suite.uitkering SET client_nr = gen_random_uuid()`, want: []string{`:29: fout: no row of table`}, defect: true},
		"keys of two types": {
			harm: `ALTER TABLE suite.uitkering ALTER client_nr TYPE text`, want: []string{`:29: fout: key "client_nr" of table "suite"."uitkering" can't be compared with key "client_nr"`, "make a view"}, defect: true,
		},
		"number mapped as text": {harm: `DROP VIEW suite.client_actueel; ALTER TABLE suite.client ALTER bsn TYPE integer USING bsn::integer`, want: []string{`:5: fout: column "bsn" is of type integer: write bsn: {kolom: bsn, vorm: getal}`}, defect: true},
		"text mapped as number": {old: "bsn: bsn\n", new: "bsn: {kolom: bsn, vorm: getal}\n", want: []string{`:5: fout: column "bsn" is of type character(9), which holds no whole numbers exactly`}, defect: true},
		"number that rounds": {
			harm: `DROP VIEW suite.client_actueel; ALTER TABLE suite.client ALTER bsn TYPE real USING bsn::real`, old: "bsn: bsn\n", new: "bsn: {kolom: bsn, vorm: getal}\n",
			want: []string{`:5: fout: column "bsn" is of type real, which holds no whole numbers exactly`}, defect: true,
		},
		"may write":              {harm: `GRANT UPDATE (tel) ON public.contact TO bron_lezer; GRANT DELETE ON suite.uitkering TO bron_lezer`, want: []string{`:28: let op: role "bron_lezer" may write to table "suite"."uitkering": REVOKE`}},
		"owner":                  {role: "bron_eigenaar", want: []string{`:4: let op: role "bron_eigenaar" owns table "suite"."client"`}},
		"superuser":              {role: "beheerder", want: []string{`:4: let op: role "beheerder" is a superuser`}},
		"no such database right": {role: "grensloos", want: []string{"role grensloos lacks a privilege", "permission denied for database"}, defect: true},
		"sequence":               {harm: `CREATE SEQUENCE public.teller; GRANT SELECT ON SEQUENCE public.teller TO bron_lezer`, old: "tabel: contact ", new: "tabel: teller ", want: []string{`:38: fout: "public"."teller" is no table or view`}, defect: true},
		"not yet filled view":    {harm: `REFRESH MATERIALIZED VIEW public.contact WITH NO DATA`, want: []string{`:38: fout: table "public"."contact" can't be read`}, defect: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := server.bron(t, conformance.Standaard())
			if tc.harm != "" {
				must(t, b.owner, tc.harm)
			}
			if tc.old != "" {
				raw, err := os.ReadFile(postgresMapping)
				if err != nil {
					t.Fatal(err)
				}
				text := strings.Replace(string(raw), tc.old, tc.new, 1)
				if text == string(raw) {
					t.Fatalf("nothing to bend: %q is not in the mapping", tc.old)
				}
				b.cfg.Mapping = filepath.Join(t.TempDir(), "mapping.yaml")
				if err := os.WriteFile(b.cfg.Mapping, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if tc.role != "" {
				b.cfg.Postgres.User, b.cfg.Postgres.PasswordFile = tc.role, filepath.Join(server.dir, "wachtwoord", tc.role)
			}
			if tc.role == "grensloos" {
				must(t, b.admin, `REVOKE CONNECT ON DATABASE `+b.cfg.Postgres.Database+` FROM PUBLIC`)
			}
			var out strings.Builder
			err := database.Check(t.Context(), b.cfg, &out)
			if (err != nil) != tc.defect {
				t.Errorf("got error %v, want defect %v\n%s", err, tc.defect, out.String())
			}
			said := out.String()
			if err != nil {
				said += err.Error()
			}
			for _, want := range tc.want {
				if !strings.Contains(said, want) {
					t.Errorf("got\n%s\nwant %q in it", said, want)
				}
			}
			if tc.not != "" && strings.Contains(said, tc.not) {
				t.Errorf("got\n%s\nwithout %q", said, tc.not)
			}
			if strings.Contains(said, "999990") || strings.Contains(said, "korting") {
				t.Errorf("the report holds a value:\n%s", said)
			}
			// Open refuses what makes every question fail.
			if s, openErr := database.Open(t.Context(), b.cfg, database.Options{}); openErr == nil {
				s.Close()
				if tc.defect && !strings.Contains(said, "does not fit") && !strings.Contains(said, "no row of table") {
					t.Error("opened, with a defect of its structure")
				}
			} else if !tc.defect {
				t.Errorf("not opened: %v", openErr)
			}
		})
	}
}

// Numbers and texts of nine digits find the same person, with leading zeros or without.
func TestPostgresBSNColumns(t *testing.T) {
	server := sharedServer(t)
	const low = "000009878" // an official test person
	for _, kind := range []string{"text", "varchar(9)", "char(9)", "char(12)", "integer", "bigint", "numeric(9)", "numeric"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := server.bron(t, conformance.Fixture{})
			number := !strings.Contains(kind, "char") && kind != "text"
			must(t, b.owner, `DROP VIEW suite.client_actueel; ALTER TABLE suite.client ALTER bsn TYPE `+kind+` USING bsn::text::`+kind)
			must(t, b.owner, `CREATE VIEW suite.client_actueel AS SELECT * FROM suite.client; GRANT SELECT ON suite.client_actueel TO bron_lezer`)
			for i, bsn := range []string{low, "999990019"} {
				must(t, b.owner, fmt.Sprintf(`INSERT INTO suite.client (client_nr, bsn, ind_geheim) VALUES ('00000000-0000-4000-8000-%012d', '%s', 0)`, i, bsn))
			}
			if number {
				raw, err := os.ReadFile(postgresMapping)
				if err != nil {
					t.Fatal(err)
				}
				b.cfg.Mapping = filepath.Join(t.TempDir(), "mapping.yaml")
				if err := os.WriteFile(b.cfg.Mapping, []byte(strings.Replace(string(raw), "bsn: bsn\n", "bsn: {kolom: bsn, vorm: getal}\n", 1)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s := b.open(t, database.Options{})
			for i, bsn := range []string{low, "999990019"} {
				k, err := s.Sleutel(t.Context(), person(t, bsn), nil)
				if want := fmt.Sprintf("00000000-0000-4000-8000-%012d", i); err != nil || k.Intern != want {
					t.Errorf("person %d: got key %v, error %v", i, k.Intern, err)
				}
			}
			if _, err := s.Sleutel(t.Context(), person(t, "999990020"), nil); !errors.Is(err, connectors.ErrGeenGegevens) {
				t.Errorf("nobody: got %v", err)
			}
			// The index is used, or a question reads the whole table.
			text := `SELECT t."client_nr"::text FROM "suite"."client" AS t WHERE t."bsn" = $1 LIMIT 2`
			arg := any(low)
			if number {
				text, arg = strings.Replace(text, "$1", "$1::bigint", 1), 9878
			}
			conn, err := b.owner.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.ExecContext(t.Context(), `SET enable_seqscan = off`); err != nil {
				t.Fatal(err)
			}
			rows, err := conn.QueryContext(t.Context(), `EXPLAIN `+text, arg)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			plan := ""
			for rows.Next() {
				var line string
				if err := rows.Scan(&line); err != nil {
					t.Fatal(err)
				}
				plan += line + "\n"
			}
			if err := rows.Err(); err != nil || !strings.Contains(plan, "Index Cond: (") {
				t.Errorf("the plan uses no index on the bsn (%v):\n%s", err, plan)
			}
		})
	}
}
