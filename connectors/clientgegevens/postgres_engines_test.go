//go:build engines

package clientgegevens_test

import (
	"context"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/grensloos/grensloos/connectors/database"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/postgres"
)

// What may not leave is never read from PostgreSQL either, and there the role may not even read it.
func TestPostgresWhatMayNotLeaveIsNeverRead(t *testing.T) {
	address, dir := os.Getenv("GRENSLOOS_POSTGRES"), os.Getenv("GRENSLOOS_POSTGRES_DIR")
	if address == "" || dir == "" {
		t.Fatal(`GRENSLOOS_POSTGRES is not set: eval "$(.ci/postgres start DIR)"`)
	}
	pool := func(name string) *sql.DB {
		password, err := os.ReadFile(filepath.Join(dir, "wachtwoord", "beheerder"))
		if err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("pgx", (&url.URL{
			Scheme: "postgres", User: url.UserPassword("beheerder", string(password)), Host: address, Path: name,
			RawQuery: url.Values{"sslmode": {"verify-full"}, "sslrootcert": {filepath.Join(dir, "tls", "ca.pem")}}.Encode(),
		}).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
	admin, name := pool("postgres"), "gegevens_"+strings.ReplaceAll(string(gateway.NewTransactionID(time.Now())), "-", "")
	must := func(db *sql.DB, query string) {
		t.Helper()
		if _, err := db.ExecContext(context.WithoutCancel(t.Context()), query); err != nil {
			t.Fatalf("%.60s: %v", query, err)
		}
	}
	must(admin, "CREATE DATABASE "+name)
	t.Cleanup(func() { must(admin, "DROP DATABASE "+name+" WITH (FORCE)") })
	must(pool(name), `
		CREATE TABLE client (nr integer PRIMARY KEY, bsn char(9), geheim integer, geboren date, naam text, straat text, tel text, mail text, strafblad text);
		CREATE TABLE uitkering (nr integer, loopt boolean, soort text, begin date, eind date, bedrag bigint);
		INSERT INTO client VALUES (1, '999990019', 0, '1985-12-01', 'Suzanne Moulin', 'Marktstraat', '074', NULL, 'ja');
		INSERT INTO uitkering VALUES (1, true, 'ioaw', '2024-03-01', NULL, 123456);
		GRANT SELECT (nr, bsn, geheim, geboren, naam, straat, tel, mail) ON client TO bron_lezer;
		GRANT SELECT ON uitkering TO bron_lezer`)
	yaml := filepath.Join(t.TempDir(), "mapping.yaml")
	if err := os.WriteFile(yaml, []byte(mapping), 0o600); err != nil {
		t.Fatal(err)
	}
	var statements []string
	s, err := database.Open(t.Context(), database.Config{
		Driver: "postgres", Mapping: yaml, Postgres: postgres.Config{
			Addresses: []string{address}, Database: name, User: "bron_lezer", PasswordFile: filepath.Join(dir, "wachtwoord", "bron_lezer"),
			TLS: postgres.TLS{CA: filepath.Join(dir, "tls", "ca.pem")},
		},
	}, database.Options{Now: func() time.Time { return nu }, StatementLog: func(s string) {
		// As the same statement reads in SQLite.
		statements = append(statements, strings.NewReplacer(`"public".`, "", "::text", "", "$1", "?").Replace(s))
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	neverRead(t, s, &statements)
}
