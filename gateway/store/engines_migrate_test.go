//go:build engines

package store

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/postgres"
)

// withMore are the migrations of a program that is newer than this one.
func withMore(t *testing.T, more ...string) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	names, err := fs.Glob(migrations, "migrations/postgres/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		raw, err := fs.ReadFile(migrations, name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: raw}
	}
	for i, sql := range more {
		files[fmt.Sprintf("migrations/postgres/%04d_nieuw.sql", ours(t)+i+1)] = &fstest.MapFile{Data: []byte(sql)}
	}
	return files
}

// ours is the newest migration of this program.
func ours(t *testing.T) int {
	t.Helper()
	return len(mustSteps(t, migrations))
}

func mustSteps(t *testing.T, files fs.FS) []Migration {
	t.Helper()
	all, err := steps(files)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A program runs on a schema that is newer as long as the schema says so, and stops writing when it no longer does; it is refused on
// one that is older, with the command that mends it.
func TestSchemasOfOtherPrograms(t *testing.T) {
	srv, n := shared(t), ours(t)
	compatible := fmt.Sprintf("-- min_binary_schema: %d\nALTER TABLE peers ADD COLUMN soort text NOT NULL DEFAULT '';\nCREATE TABLE nieuw (a integer);\n", n)
	incompatible := fmt.Sprintf("-- min_binary_schema: %d\nALTER TABLE directory_peers RENAME COLUMN name TO naam;\n", n+2)
	cfg := srv.config(srv.database(t))
	_, err := Open(t.Context(), cfg)
	wantKind(t, err, gateway.Conflict, "run grensloos migrate")
	plan, grants, err := Migrate(t.Context(), cfg, MigrateOptions{DryRun: true})
	if err != nil || len(plan) != n || !strings.Contains(grants, `TO "grensloos"`) {
		t.Fatalf("dry run: %d, %v", len(plan), err)
	}
	if _, err := Open(t.Context(), cfg); gateway.KindOf(err) != gateway.Conflict {
		t.Fatalf("after a dry run: %v", err)
	}

	// Two at once: each step is made once.
	var all sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 3 {
		all.Go(func() {
			ran, _, err := Migrate(context.Background(), cfg, MigrateOptions{})
			mu.Lock()
			defer mu.Unlock()
			made += len(ran)
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if made != n {
		t.Errorf("%d steps made, want %d", made, n)
	}

	old, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	works := func(s *Store) {
		t.Helper()
		p := contract.KnownPeer{Peer: gateway.Peer{ID: uwi, Name: "uwi"}, Address: "https://uwi:8443"}
		if err := s.PutPeer(t.Context(), p, now); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Peers(t.Context(), contract.PeerFilter{Limit: 10}); err != nil || len(got) != 1 {
			t.Fatalf("%v, %v", got, err)
		}
		c := proposal(t, 1, now, "a")
		if _, err := s.Sign(t.Context(), c, signed(c, uwi, contract.Accept, "x", now), nil); err != nil {
			t.Fatal(err)
		}
		if err := s.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	works(old)

	newer, newest := withMore(t, compatible), withMore(t, compatible, incompatible)
	_, err = openSteps(t.Context(), cfg, false, mustSteps(t, newer))
	wantKind(t, err, gateway.Conflict, fmt.Sprintf("older than this program, which needs %d: run grensloos migrate", n+1))
	if _, _, err := Migrate(t.Context(), cfg, MigrateOptions{files: newer}); err != nil {
		t.Fatal(err)
	}
	works(old) // the one that ran meanwhile
	again, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("the program of before, started on the newer schema: %v", err)
	}
	defer again.Close()
	works(again)
	inspected, err := Inspect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer inspected.Close()
	if err := inspected.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := inspected.PutPeer(t.Context(), contract.KnownPeer{}, now); err == nil {
		t.Error("a store for reading writes")
	}
	_, _, err = Migrate(t.Context(), cfg, MigrateOptions{})
	wantKind(t, err, gateway.Conflict, "newer than this program")

	// A step that fails leaves nothing of itself, nor of those before it.
	_, _, err = Migrate(t.Context(), cfg, MigrateOptions{files: withMore(t, compatible, incompatible, "-- min_binary_schema: 1\nCREATE TABLE contracts ();\n")})
	if err == nil {
		t.Fatal("a step that can't be made was made")
	}
	works(old)

	if _, _, err := Migrate(t.Context(), cfg, MigrateOptions{files: newest}); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), cfg)
	wantKind(t, err, gateway.Conflict, fmt.Sprintf("for programs that know schema %d or newer, this one knows %d: start the newer Grensloos", n+2, n))
	c := proposal(t, 2, now, "a")
	_, err = old.Sign(t.Context(), c, signed(c, uwi, contract.Accept, "x", now), nil)
	wantKind(t, err, gateway.Conflict, "start the newer Grensloos")
	wantKind(t, old.Ping(t.Context()), gateway.Conflict, "start the newer Grensloos")
}

// A database whose migrations are not ours is refused, and so is one that somebody changed.
func TestForeignSchemas(t *testing.T) {
	srv := shared(t)
	for name, tc := range map[string]struct{ statement, want string }{
		"another checksum": {`UPDATE schema_migrations SET sha256 = 'x' WHERE number = 3`, "0003_terugmelding.sql"},
		"a gap":            {`DELETE FROM schema_migrations WHERE number = 2`, "number 2 is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := srv.migrated(t)
			run(t, srv.pool(t, "grensloos_migratie", cfg.Postgres.Database), tc.statement)
			_, err := Open(t.Context(), cfg)
			wantKind(t, err, gateway.Conflict, tc.want)
			_, _, err = Migrate(t.Context(), cfg, MigrateOptions{})
			wantKind(t, err, gateway.Conflict, tc.want)
		})
	}
}

// The role that runs can do what the suite does (TestPostgres runs as it), and nothing else.
func TestLeastPrivilege(t *testing.T) {
	srv := shared(t)
	cfg := srv.migrated(t)
	own := srv.pool(t, "grensloos", cfg.Postgres.Database)
	for _, statement := range []string{
		`CREATE TABLE grensloos.x (a int)`, `CREATE TABLE public.x (a int)`, `CREATE TEMP TABLE x (a int)`, `CREATE SCHEMA x`, `DROP SCHEMA grensloos CASCADE`,
		`UPDATE contracts SET content = ''`, `DELETE FROM contracts`, `UPDATE contract_grants SET type = 'x'`, `DELETE FROM signatures`, `UPDATE signatures SET peer = 'x'`,
		`DELETE FROM deliveries`, `UPDATE deliveries SET receiver = 'x'`, `INSERT INTO contract_changes VALUES (2, 0)`, `DELETE FROM contract_changes`, `DELETE FROM toestemmingen`,
		`UPDATE toestemmingen SET betrokkene = 'v1.x'`, `UPDATE toestemmingen SET geldig_tot = 0`, `DELETE FROM terugmeldingen`, `UPDATE terugmeldingen SET veld = 'x'`,
		`DELETE FROM contactpersonen`, `UPDATE contactpersoon_leden SET betrokkene = 'v1.x'`, `UPDATE schema_migrations SET min_binary_schema = 0`,
		`INSERT INTO schema_migrations VALUES (999, 'x', 'x', 1)`, `SELECT rolpassword FROM pg_authid`, `COPY contracts TO PROGRAM 'true'`, `SET ROLE grensloos_migratie`,
	} {
		if _, err := own.ExecContext(t.Context(), statement); postgres.Code(err) != "42501" {
			t.Errorf("%s: %v, want permission denied", statement, err)
		}
	}
	tables, err := own.QueryContext(t.Context(), `SELECT tablename, tableowner, has_table_privilege(current_user, 'grensloos.' || quote_ident(tablename), 'TRUNCATE')
		OR has_table_privilege(current_user, 'grensloos.' || quote_ident(tablename), 'REFERENCES') OR has_table_privilege(current_user, 'grensloos.' || quote_ident(tablename), 'TRIGGER')
		FROM pg_tables WHERE schemaname = 'grensloos' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer tables.Close()
	n := 0
	for tables.Next() {
		var name, owner string
		var more bool
		if err := tables.Scan(&name, &owner, &more); err != nil {
			t.Fatal(err)
		}
		if n++; owner != "grensloos_migratie" || more {
			t.Errorf("%s: of %s, more than running needs: %v", name, owner, more)
		}
		for _, statement := range []string{`TRUNCATE `, `DROP TABLE `, `ALTER TABLE `} {
			tail := map[string]string{`ALTER TABLE `: ` ADD COLUMN x int`}[statement]
			if _, err := own.ExecContext(t.Context(), statement+schemaName+`.`+name+tail); postgres.Code(err) != "42501" {
				t.Errorf("%s%s: %v, want permission denied", statement, name, err)
			}
		}
	}
	if tables.Err() != nil || n < 15 {
		t.Errorf("%d tables, %v", n, tables.Err())
	}
	// A right that was given by hand is taken back by the next migrate; one that is missing is named with the command.
	owner := srv.pool(t, "grensloos_migratie", cfg.Postgres.Database)
	run(t, owner, `GRANT DELETE ON contracts TO grensloos`, `REVOKE INSERT ON signatures FROM grensloos`)
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := proposal(t, 1, now, "a")
	_, err = s.Sign(t.Context(), c, signed(c, uwi, contract.Accept, "x", now), nil)
	for _, want := range []string{"signatures", "grensloos migrate -c"} {
		wantKind(t, err, gateway.Unavailable, want)
	}
	if _, _, err := Migrate(t.Context(), cfg, MigrateOptions{}); err != nil {
		t.Fatal(err)
	}
	mustSign(t, s, c, signed(c, uwi, contract.Accept, "x", now))
	if _, err := own.ExecContext(t.Context(), `DELETE FROM contracts`); postgres.Code(err) != "42501" {
		t.Errorf("given by hand: %v", err)
	}
	// As whom it migrates is not as whom it runs.
	_, _, err = Migrate(t.Context(), cfg, MigrateOptions{User: "grensloos", PasswordFile: cfg.Postgres.PasswordFile})
	wantKind(t, err, gateway.Invalid, "--gebruiker")
	super := cfg
	super.Postgres.Config = srv.as("beheerder", cfg.Postgres.Database)
	of, err := Inspect(t.Context(), super)
	if err != nil {
		t.Fatal(err)
	}
	defer of.Close()
	warnings, err := of.Review(t.Context())
	if err != nil || !strings.Contains(cmp.Diff(nil, warnings), "weggooien") {
		t.Errorf("as a superuser: %v %v", warnings, err)
	}
}

// The same tables, columns and keys on both engines.
func TestSchemasAreEqual(t *testing.T) {
	srv := shared(t)
	cfg := srv.migrated(t)
	list := func(s *Store, query string) (all []string) {
		t.Helper()
		rows, err := s.read.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var one string
			if err := rows.Scan(&one); err != nil {
				t.Fatal(err)
			}
			all = append(all, one)
		}
		if rows.Err() != nil {
			t.Fatal(rows.Err())
		}
		return all
	}
	pg, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Close()
	const sqliteColumns = `SELECT m.name || '.' || c.name || CASE WHEN c.pk > 0 THEN ' key' ELSE '' END FROM sqlite_master m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY 1`
	const postgresColumns = `SELECT c.table_name || '.' || c.column_name || CASE WHEN k.column_name IS NULL THEN '' ELSE ' key' END COLLATE "C" FROM information_schema.columns c
		LEFT JOIN (SELECT u.table_name, u.column_name FROM information_schema.key_column_usage u JOIN information_schema.table_constraints t USING (constraint_name, table_schema)
			WHERE t.constraint_type = 'PRIMARY KEY') k ON k.table_name = c.table_name AND k.column_name = c.column_name
		WHERE c.table_schema = 'grensloos' AND c.table_name <> 'schema_migrations' ORDER BY 1`
	owner := cfg
	owner.Postgres.Config = srv.as("beheerder", cfg.Postgres.Database) // who runs does not see keys
	seen, err := Inspect(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	defer seen.Close()
	if diff := cmp.Diff(list(open(t), sqliteColumns), list(seen, postgresColumns)); diff != "" {
		t.Errorf("(-sqlite +postgres):\n%s", diff)
	}
}
