package main

import (
	"context"
	"database/sql"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/kafka"
	"github.com/grensloos/grensloos/gateway/bevraging"
)

// testpersoon is one person row of the official fictitious persons of the GBA-V test environment.
type testpersoon struct {
	line                                         int
	bsn, voornamen, voorvoegsel, achternaam      string
	geboren, gemeente, geheim                    string
	straat, huisnummer, postcode, woonplaatsnaam string
}

// readTestpersonen reads the person rows; rows of history are passed over. The columns go by their LO GBA element numbers.
func readTestpersonen(t *testing.T, file string) []testpersoon {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma, r.FieldsPerRecord, r.LazyQuotes = ';', -1, true
	header, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	column := func(element string) int {
		i := slices.Index(header, element)
		if i < 0 {
			t.Fatalf("%s: no column %s", file, element)
		}
		return i
	}
	bsn, voornamen, voorvoegsel, achternaam := column("01.01.20"), column("01.02.10"), column("01.02.30"), column("01.02.40")
	geboren, gemeente, geheim := column("01.03.10"), column("08.09.10"), column("07.70.10")
	straat, huisnummer, postcode, plaats := column("08.11.10"), column("08.11.20"), column("08.11.60"), column("08.11.70")
	var all []testpersoon
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(strings.ToLower(row[0]), "lg01_") {
			continue
		}
		line, _ := r.FieldPos(0)
		all = append(all, testpersoon{
			line, row[bsn], row[voornamen], row[voorvoegsel], row[achternaam], row[geboren], row[gemeente], row[geheim],
			row[straat], row[huisnummer], row[postcode], row[plaats],
		})
	}
}

const testpersonenMapping = `
bron: Testset GBA-V
persoon:
  tabel: persoon
  bsn: bsn
  sleutel: nr
  beslisattributen:
    geheimhouding: {kolom: geheim, waar: ["1", "2", "3", "4", "5", "6", "7"], onwaar: ["0", ""]}
    geboortedatum: {kolom: geboren, conversie: jjjjmmdd}
diensten:
  persoon:
    tabel: persoon
    sleutel: nr
    peildatum: {vast: 2022-05-02}
    velden:
      bsn: vraag
      naam: {kolommen: [voornamen, voorvoegsel, achternaam]}
      geboortedatum: {kolom: geboren, conversie: jjjjmmdd}
      adres: {delen: {straat: [straat], huisnummer: [huisnummer], postcode: [postcode], woonplaats: [woonplaats]}}
`

// loadTestpersonen loads persons into a SQLite source.
func loadTestpersonen(ctx context.Context, dir string, persons []testpersoon) (loaded []testpersoon, defects []string, err error) {
	if err := os.WriteFile(filepath.Join(dir, "mapping.yaml"), []byte(testpersonenMapping), 0o600); err != nil {
		return nil, nil, err
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "bron.db"))
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, fmt.Sprintf(testpersonenTable, "TEXT")); err != nil {
		return nil, nil, err
	}
	loaded, defects = loadable(persons)
	return loaded, defects, insertTestpersonen(ctx, db, loaded, "INSERT INTO persoon VALUES (?,?,?,?,?,?,?,?,?,?,?)")
}

// testpersonenTable is the table of testpersonenMapping; %s is the type of the bsn.
const testpersonenTable = `CREATE TABLE persoon (nr INTEGER PRIMARY KEY, bsn %s UNIQUE, voornamen TEXT, voorvoegsel TEXT, achternaam TEXT,
	geboren TEXT, geheim TEXT, straat TEXT, huisnummer TEXT, postcode TEXT, woonplaats TEXT)`

// execer is a database, or a transaction in one.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func insertTestpersonen(ctx context.Context, db execer, persons []testpersoon, insert string) error {
	for _, p := range persons {
		if _, err := db.ExecContext(ctx, insert, p.line, p.bsn, p.voornamen, p.voorvoegsel, p.achternaam,
			p.geboren, p.geheim, p.straat, p.huisnummer, p.postcode, p.woonplaatsnaam); err != nil {
			return fmt.Errorf("line %d: %w", p.line, err)
		}
	}
	return nil
}

// loadable are the persons who can be found. A row without BSN, or with one that another row has already, is reported by its line.
func loadable(persons []testpersoon) (found []testpersoon, defects []string) {
	lines := map[string]int{}
	for _, p := range persons {
		if _, err := gateway.ParseBSN(p.bsn); err != nil {
			defects = append(defects, fmt.Sprintf("line %d: no BSN that passes the eleven-test", p.line))
			continue
		}
		if first, twice := lines[p.bsn]; twice {
			defects = append(defects, fmt.Sprintf("line %d: the BSN of line %d again", p.line, first))
			continue
		}
		lines[p.bsn] = p.line
		found = append(found, p)
	}
	return found, defects
}

// TestOfficialTestPersons asks for every official test person of 's-Gravenhage, and for twenty of elsewhere, through the whole
// chain, and then reads everything that both sides kept.
func TestOfficialTestPersons(t *testing.T) {
	data := os.Getenv("GRENSLOOS_TESTPERSONEN")
	if data == "" {
		t.Skip("GRENSLOOS_TESTPERSONEN does not name the folder with the official test persons")
	}
	var haagse, elsewhere []testpersoon
	known := map[string]bool{}
	all := readTestpersonen(t, filepath.Join(data, "rvig-testset-gbav-20220502.csv"))
	for _, p := range all {
		if p.gemeente == "0518" {
			haagse = append(haagse, p)
			known[p.bsn] = true
		}
	}
	for _, p := range all {
		if _, err := gateway.ParseBSN(p.bsn); err == nil && !known[p.bsn] && len(elsewhere) < 20 {
			known[p.bsn] = true
			elsewhere = append(elsewhere, p)
		}
	}
	if len(haagse) != 176 || len(elsewhere) != 20 {
		t.Fatalf("got %d and %d rows, want 176 and 20: another edition of the test set?", len(haagse), len(elsewhere))
	}

	var loaded []testpersoon
	denHaag := &regionPeer{ID: "00000099000000518000", Name: "Gemeente 's-Gravenhage", Gemeentecode: "0518", Real: true}
	denHaag.Source = func(ctx context.Context, dir string) (err error) {
		var defects []string
		loaded, defects, err = loadTestpersonen(ctx, dir, haagse)
		if len(defects) != 2 {
			t.Errorf("reported by line: got %q, want the row without BSN and the BSN that stands twice", defects)
		}
		t.Log("not loaded: " + strings.Join(defects, "; "))
		return err
	}
	u := uwi()
	u.Real = true
	r := startRegion(t, denHaag, u)
	r.contract(u, denHaag, "--doel", "pw-reintegratie", "--namens", string(denHaag.ID))
	if len(loaded) != 174 {
		t.Fatalf("persons to ask for: got %d, want 174", len(loaded))
	}

	scanner := bsnScanner{}
	geheim := 0
	ask := func(p testpersoon) bevraging.GemeenteAntwoord {
		scanner[p.bsn] = true
		g := r.ask(u, testVraag{
			doel: "pw-reintegratie", zaaktype: "pw-reintegratietraject", bsn: p.bsn, extra: []string{"--velden", "persoon.bsn,persoon.naam,persoon.geboortedatum"},
		})
		if g.Geheim {
			geheim++
		}
		return g
	}
	for _, p := range loaded {
		g := ask(p)
		if got := outcomes(g); got != "persoon=beantwoord" || len(g.Diensten[0].Rijen) != 1 {
			t.Errorf("line %d: got %s, want one answer", p.line, got)
			continue
		}
		if got, want := string(g.Diensten[0].Rijen[0].Waarden["bsn"]), `"`+p.bsn+`"`; got != want {
			t.Errorf("line %d: the answer is about another person", p.line)
		}
	}
	for _, p := range elsewhere {
		if got := outcomes(ask(p)); got != "persoon=geen-gegevens" {
			t.Errorf("line %d: got %s, want geen-gegevens", p.line, got)
		}
	}
	if geheim != 5 {
		t.Errorf("answers with the mark geheim: got %d, want 5", geheim)
	}

	var logs strings.Builder
	for _, p := range []*regionPeer{denHaag, u} {
		logs.WriteString(r.serve[p].log.String() + r.serve[p].out.String())
		r.stop(p)
	}
	const n = 174 + 20
	if diff := cmp.Diff(map[audit.Soort]int{audit.Transactie: n, audit.ADL: n, audit.LDV: 0, audit.Afloop: n, audit.Kwitantie: n}, streams(t, u)); diff != "" {
		t.Errorf("records in the asker's streams (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[audit.Soort]int{audit.Transactie: n, audit.ADL: 2 * n, audit.LDV: n, audit.Afloop: n, audit.Kwitantie: 0}, streams(t, denHaag)); diff != "" {
		t.Errorf("records in the gemeente's streams (-want +got):\n%s", diff)
	}
	if found := scanner.find([]byte(logs.String())); len(found) > 0 {
		t.Errorf("BSNs in the logs: %v", found)
	}
	found, err := scanner.scanTree(t.Context(), r.dir, "bron.db")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) > 0 {
		t.Errorf("BSNs in what both sides keep: %v", found)
	}
}

// streams counts the records of a stopped peer's streams by kind, each record once.
func streams(t *testing.T, p *regionPeer) map[audit.Soort]int {
	t.Helper()
	cfg, err := loadConfig(p.config())
	if err != nil {
		t.Fatal(err)
	}
	broker, err := kafka.StartBroker(cfg.Audit.Embedded, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	source := broker.Config()
	source.TopicPrefix = cfg.Audit.Kafka.TopicPrefix
	reader, err := kafka.NewReader(source)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	n := map[audit.Soort]int{}
	for _, soort := range []audit.Soort{audit.Transactie, audit.ADL, audit.LDV, audit.Afloop, audit.Kwitantie} {
		recs, err := reader.All(t.Context(), soort)
		if err != nil {
			t.Fatal(err)
		}
		n[soort] = len(recs)
		for _, rec := range recs {
			if err := rec.Validate(); err != nil {
				t.Errorf("%s: a record of kind %s in the stream: %v", p.Name, soort, err)
			}
		}
	}
	return n
}
