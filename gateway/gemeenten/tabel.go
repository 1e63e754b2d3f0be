package gemeenten

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/grensloos/grensloos/gateway"
)

// Config says which table of codes is used.
type Config struct {
	// Tabel is a CSV file in the layout of Landelijke Tabel 33, as RvIG publishes it. Empty: the built-in register, which has the
	// gemeenten of the demo regions only.
	Tabel string `yaml:"tabel"`
}

// Open reads the table of the configuration, or gives the built-in one.
func Open(cfg Config) (*Register, error) {
	if cfg.Tabel == "" {
		return Ingebouwd(), nil
	}
	f, err := os.Open(cfg.Tabel)
	if err != nil {
		return nil, fmt.Errorf("gemeenten.tabel: %w", err)
	}
	defer f.Close()
	r, err := Parse(f)
	if err != nil {
		return nil, fmt.Errorf("gemeenten.tabel %s: %w", cfg.Tabel, err)
	}
	return r, nil
}

// kolommen are the columns of Landelijke Tabel 33, in their order.
var kolommen = []string{"92.10 Gemeentecode", "92.11 Omschrijving", "92.12 Nieuwe code", "99.98 Datum ingang", "99.99 Datum einde"}

const (
	maxTabel = 4 << 20 // bytes; the official one has less than 100 kB
	maxNaam  = 80      // characters: table 33, omschrijving
)

var bom = []byte("\ufeff")

// Parse reads a table in the layout of Landelijke Tabel 33: CSV, UTF-8 with or without BOM. The code 0000 (unknown) is no gemeente and
// is left out. The error is of kind Invalid; of a line that is wrong by itself it gives the number.
func Parse(in io.Reader) (*Register, error) {
	raw, err := io.ReadAll(io.LimitReader(in, maxTabel+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxTabel {
		return nil, gateway.Errorf(gateway.Invalid, "larger than %d bytes", maxTabel)
	}
	rows := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(raw, bom)))
	rows.FieldsPerRecord = len(kolommen)
	var lines []Gemeente
	first := map[Code]int{}
	for header := true; ; header = false {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, gateway.Wrap(gateway.Invalid, err, "csv") // names the line itself
		}
		nr, _ := rows.FieldPos(0)
		switch {
		case header && !slices.Equal(row, kolommen):
			return nil, gateway.Errorf(gateway.Invalid, "line %d: want the columns %s", nr, strings.Join(kolommen, ", "))
		case header || row[0] == "0000":
			continue
		}
		g, err := parseLine(row)
		if err != nil {
			return nil, gateway.Wrap(gateway.Invalid, err, fmt.Sprintf("line %d", nr))
		}
		if before, twice := first[g.Code]; twice {
			return nil, gateway.Errorf(gateway.Invalid, "line %d: code %s stands in line %d too", nr, g.Code, before)
		}
		first[g.Code] = nr
		lines = append(lines, g)
	}
	if len(lines) == 0 {
		return nil, gateway.Errorf(gateway.Invalid, "no gemeente in it")
	}
	return New(lines)
}

func parseLine(row []string) (g Gemeente, err error) {
	if g.Code, err = parseColumn(0, row[0]); err != nil {
		return g, err
	}
	if g.Naam = row[1]; g.Naam == "" || !utf8.ValidString(g.Naam) || utf8.RuneCountInString(g.Naam) > maxNaam || strings.ContainsFunc(g.Naam, unicode.IsControl) {
		return g, gateway.Errorf(gateway.Invalid, "%s: give a name of 1 to %d characters in UTF-8", kolommen[1], maxNaam)
	}
	if row[2] != "" {
		if g.Opvolger, err = parseColumn(2, row[2]); err != nil {
			return g, err
		}
	}
	if g.Begin, err = parseDay(3, row[3]); err != nil {
		return g, err
	}
	g.Einde, err = parseDay(4, row[4])
	return g, err
}

// parseColumn reads a code; the table writes it without GM.
func parseColumn(column int, s string) (Code, error) {
	code, err := ParseCode(s)
	if err != nil || len(s) != 4 {
		return "", gateway.Errorf(gateway.Invalid, "%s: give four digits", kolommen[column])
	}
	return code, nil
}

func parseDay(column int, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse("20060102", s)
	if err != nil {
		return time.Time{}, gateway.Errorf(gateway.Invalid, "%s: give a day as YYYYMMDD, or nothing", kolommen[column])
	}
	return t, nil
}
