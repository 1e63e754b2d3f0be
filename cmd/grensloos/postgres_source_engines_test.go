//go:build engines

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// onPostgres puts the source of a peer in it, read as bron_lezer.
func (d *testDatabase) onPostgres(t *testing.T, p *regionPeer) {
	t.Helper()
	dir := engineEnv(t, "GRENSLOOS_POSTGRES_DIR")
	editConfig(t, p, "  database: {bestand: bron.db, mapping: mapping.yaml}\n", fmt.Sprintf(`  database:
    driver: postgres
    mapping: mapping.yaml
    postgres:
      adressen: [%s]
      database: %s
      gebruiker: bron_lezer
      wachtwoordBestand: %s
      tls: {ca: %s}
`, os.Getenv("GRENSLOOS_POSTGRES"), d.name, filepath.Join(dir, "wachtwoord", "bron_lezer"), filepath.Join(d.dir, "ca.pem")))
}

func editConfig(t *testing.T, p *regionPeer, old, new string) {
	t.Helper()
	file, err := os.ReadFile(p.config())
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(string(file), old, new, 1)
	if edited == string(file) {
		t.Fatalf("%s: no %q in it", p.config(), old)
	}
	if err := os.WriteFile(p.config(), []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
}

// loadPersons loads persons into it as the table of bron_eigenaar, and writes the mapping: 's-Gravenhage has a view, any other the bsn
// as a number.
func (d *testDatabase) loadPersons(t *testing.T, dir, code string, persons []testpersoon) {
	t.Helper()
	mapping, kind, table := testpersonenMapping, "integer", "burgerzaken.persoon"
	if code == "0518" {
		kind, table = "char(9)", "burgerzaken.ingezetene"
	} else {
		mapping = strings.Replace(mapping, "  bsn: bsn\n", "  bsn: {kolom: bsn, vorm: getal}\n", 1)
	}
	mapping = strings.ReplaceAll(mapping, "tabel: persoon", "tabel: "+table)
	if err := os.WriteFile(filepath.Join(dir, "mapping.yaml"), []byte(mapping), 0o600); err != nil {
		t.Fatal(err)
	}
	d.run(t, "CREATE SCHEMA burgerzaken AUTHORIZATION bron_eigenaar",
		strings.Replace(fmt.Sprintf(testpersonenTable, kind), "TABLE persoon", "TABLE burgerzaken.persoon", 1),
		"CREATE VIEW burgerzaken.ingezetene AS SELECT * FROM burgerzaken.persoon",
		"ALTER TABLE burgerzaken.persoon OWNER TO bron_eigenaar; ALTER VIEW burgerzaken.ingezetene OWNER TO bron_eigenaar",
		"GRANT USAGE ON SCHEMA burgerzaken TO bron_lezer; GRANT SELECT ON "+table+" TO bron_lezer; GRANT CONNECT ON DATABASE "+d.name+" TO bron_lezer")
	tx, err := d.admin.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if err := insertTestpersonen(t.Context(), tx, persons, "INSERT INTO burgerzaken.persoon VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// TestPostgresSource: a peer whose source is in PostgreSQL. What is wrong with it is found by the commands, with the file and line of the
// mapping and the mend; a question meanwhile is told that the source can't answer, and not that there is nobody; mended, all goes on.
func TestPostgresSource(t *testing.T) {
	const bsn, nobody = "999990019", "999990020"
	d := newDatabase(t)
	b := &regionPeer{ID: "00000099000000147000", Name: "Gemeente Borne", Gemeentecode: "0147"}
	b.Source = func(_ context.Context, dir string) error {
		d.loadPersons(t, dir, "0518", []testpersoon{{line: 1, bsn: bsn, voornamen: "Suzanne", achternaam: "Moulin", geboren: "19851201", geheim: "0"}})
		return nil
	}
	u := uwi()
	r := laidRegion(t, b, u)
	d.onPostgres(t, b)
	says := func(where, got string, words ...string) {
		t.Helper()
		for _, word := range words {
			if !strings.Contains(got, word) {
				t.Errorf("%s says %q, want %q in it", where, got, word)
			}
		}
		if strings.Contains(got, bsn) {
			t.Errorf("%s tells a BSN", where)
		}
	}
	r.start(b)
	r.start(u)
	r.contract(u, b, "--doel", "pw-reintegratie", "--namens", string(b.ID))
	ask := func(bsn, want string) {
		t.Helper()
		g := r.ask(u, testVraag{doel: "pw-reintegratie", zaaktype: "pw-reintegratietraject", bsn: bsn, extra: []string{"--velden", "persoon.bsn,persoon.naam"}})
		if got := outcomes(g); !strings.HasPrefix(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	ask(bsn, "persoon=beantwoord")
	ask(nobody, "persoon=geen-gegevens")

	mapping := filepath.Join(b.dir, "mapping.yaml")
	for harm, tc := range map[string]struct {
		mend string
		want []string
	}{
		"REVOKE SELECT ON burgerzaken.ingezetene FROM bron_lezer": {
			"GRANT SELECT ON burgerzaken.ingezetene TO bron_lezer", []string{mapping + ":4: fout: table", `GRANT SELECT ("bsn"`, `ON "burgerzaken"."ingezetene" TO "bron_lezer"`},
		},
		"ALTER VIEW burgerzaken.ingezetene RENAME voornamen TO voornaam": {
			"ALTER VIEW burgerzaken.ingezetene RENAME voornaam TO voornamen", []string{mapping + `:17: fout: table "burgerzaken"."ingezetene" has no column "voornamen"`},
		},
		"ALTER TABLE burgerzaken.persoon ENABLE ROW LEVEL SECURITY; ALTER TABLE burgerzaken.persoon FORCE ROW LEVEL SECURITY": {
			"ALTER TABLE burgerzaken.persoon NO FORCE ROW LEVEL SECURITY; ALTER TABLE burgerzaken.persoon DISABLE ROW LEVEL SECURITY", []string{mapping + ":4: fout: table", "row-level security"},
		},
	} {
		d.run(t, harm)
		ask(bsn, "persoon=bron-onbereikbaar")
		out, err := r.grensloos(b, "", "connector", "check")
		if err == nil {
			t.Errorf("%s: connector check finds nothing", harm)
		}
		says("connector check", out, tc.want...)
		out, _ = r.grensloos(b, "", "doctor")
		says("doctor", out, "FOUT    bron", strings.SplitN(tc.want[0], ": fout: ", 2)[0][len(b.dir)+1:])
		d.run(t, tc.mend)
		ask(bsn, "persoon=beantwoord")
	}

	// The server away: at start it is named, with what to do.
	r.stop(b)
	editConfig(t, b, "adressen: ["+os.Getenv("GRENSLOOS_POSTGRES")+"]", "adressen: [127.0.0.1:1]")
	says("start", startRefused(t, b), "bron.database", "nothing listens at 127.0.0.1:1: start the server, or mend adressen")
	out, _ := r.grensloos(b, "", "doctor")
	says("doctor", out, "FOUT    bron", "nothing listens at 127.0.0.1:1")
}
