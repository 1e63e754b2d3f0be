package bevolking_test

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/cmd/grensloos/bevolking"
	"github.com/grensloos/grensloos/gateway"
)

var peildatum = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func TestBorneHasTheFiguresOfD01(t *testing.T) {
	personen, err := bevolking.Borne.Personen(peildatum)
	if err != nil {
		t.Fatal(err)
	}
	lopend, geheim := 0, 0
	seen := map[gateway.BSN]bool{}
	for _, p := range personen {
		if !p.BSN.IsTest() || seen[p.BSN] {
			t.Errorf("a BSN outside the test block or twice")
		}
		seen[p.BSN] = true
		if p.Uitkering.Einddatum.IsZero() {
			lopend++
		}
		if p.Geheim {
			geheim++
		}
	}
	if lopend != 293 || len(personen) != 348 {
		t.Errorf("got %d running of %d, want 293 of 348", lopend, len(personen))
	}
	if geheim == 0 {
		t.Error("nobody has geheimhouding: the demo needs some")
	}
}

func TestSamePersonsEveryTime(t *testing.T) {
	a, err := bevolking.Borne.Personen(peildatum)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bevolking.Borne.Personen(peildatum)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, b, cmp.Comparer(func(x, y gateway.BSN) bool { return x == y })); diff != "" {
		t.Errorf("two runs differ:\n%s", diff)
	}
}

func TestBlocksAreApart(t *testing.T) {
	a, err := bevolking.Borne.Personen(peildatum)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bevolking.Gemeente{Naam: "Hengelo", Block: 1, Lopend: 2140}.Personen(peildatum)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[gateway.BSN]bool{}
	for _, p := range a {
		seen[p.BSN] = true
	}
	for _, p := range b {
		if seen[p.BSN] {
			t.Fatal("two gemeenten share a BSN")
		}
	}
	if _, err := (bevolking.Gemeente{Naam: "X", Block: 18, Lopend: 5000}).Personen(peildatum); err == nil {
		t.Error("a block past the test numbers: want an error")
	}
}

func TestWriteSQLite(t *testing.T) {
	personen, err := bevolking.Borne.Personen(peildatum)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "borne.db")
	if err := bevolking.WriteSQLite(t.Context(), file, personen, peildatum); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var lopend int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM uitkering WHERE lopend = 'J'`).Scan(&lopend); err != nil {
		t.Fatal(err)
	}
	if lopend != 293 {
		t.Errorf("running benefits in the source: got %d, want 293", lopend)
	}
}
