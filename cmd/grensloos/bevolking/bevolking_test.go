package bevolking_test

import (
	"database/sql"
	"path/filepath"
	"strings"
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
	seen := map[gateway.BSN]string{}
	lopend := map[string]int{}
	for _, g := range []bevolking.Gemeente{
		bevolking.Borne, bevolking.Hengelo, bevolking.Haaksbergen, bevolking.Alkmaar, bevolking.BergenNH, bevolking.Castricum,
		bevolking.Heerhugowaard, bevolking.Langedijk, bevolking.Heiloo, bevolking.Uitgeest,
	} {
		personen, err := g.Personen(peildatum)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range personen {
			if other, twice := seen[p.BSN]; twice || !p.BSN.IsTest() {
				t.Fatalf("%s has a BSN outside the test block, or one of %q", g.Naam, other)
			}
			seen[p.BSN] = g.Naam
			if p.Uitkering.Einddatum.IsZero() {
				lopend[g.Naam]++
			}
			if strings.ContainsAny(p.Email, " ()") {
				t.Fatalf("email of %s: %s", g.Naam, p.Email)
			}
		}
	}
	want := map[string]int{ // domain.md 5.3; Heerhugowaard and Langedijk are 1,260 together
		"Borne": 293, "Hengelo": 2140, "Haaksbergen": 320, "Alkmaar": 2930, "Bergen NH": 270, "Castricum": 295,
		"Heerhugowaard": 860, "Langedijk": 400, "Heiloo": 200, "Uitgeest": 125,
	}
	if diff := cmp.Diff(want, lopend); diff != "" {
		t.Errorf("running benefits (-want +got):\n%s", diff)
	}
	if _, err := (bevolking.Gemeente{Naam: "X", Block: 18, Lopend: 5000}).Personen(peildatum); err == nil {
		t.Error("a block past the test numbers: want an error")
	}
	if _, err := (bevolking.Gemeente{Naam: "X", Block: 17, Lopend: 5000}).Personen(peildatum); err != nil {
		t.Errorf("the last block, full: %v", err)
	}
}

func TestSamenIsEverybodyOnce(t *testing.T) {
	samen, err := bevolking.Samen(peildatum, bevolking.Heerhugowaard, bevolking.Langedijk)
	if err != nil {
		t.Fatal(err)
	}
	lopend, plaatsen := 0, map[string]bool{}
	for _, p := range samen {
		if p.Uitkering.Einddatum.IsZero() {
			lopend++
		}
		plaatsen[p.Woonplaats] = true
	}
	if lopend != 1260 || len(plaatsen) != 2 {
		t.Errorf("got %d running in %d places, want 1260 in 2", lopend, len(plaatsen))
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
