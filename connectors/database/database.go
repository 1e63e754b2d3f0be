// Package database is the source that reads SQL tables or views of a gemeente's own system through a mapping (a YAML file) to
// the common schema. The engine is SQLite, opened read-only.
//
// It refuses at the start: a mapping that is not exact (unknown key, dienst, veld or conversion, a name that is no plain
// identifier), and a source that lacks a mapped table or column. Every refusal names the mapping file and its line.
//
// Invariants a reviewer must keep: names from the mapping are whitelisted and quoted, values are always bound; a statement names
// the key, the peildatum and the asked columns and no other; whatever is wrong with the source at run time is an error of kind
// Unavailable, never an empty answer; no error or log holds a value from the source.
package database

import (
	"context"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Config names a database and the mapping from its tables to the common schema.
type Config struct {
	// Driver is the engine. Default, and the only one: sqlite.
	Driver string `yaml:"driver"`
	// Bestand is the SQLite file. It is opened read-only and must exist.
	Bestand string `yaml:"bestand"`
	// Mapping is the YAML file that maps tables and columns to diensten and velden.
	Mapping string `yaml:"mapping"`
	// MaxVerbindingen bounds the connections to the source. Default: 4.
	MaxVerbindingen int `yaml:"maxVerbindingen"`
	// Wachttijd bounds one statement. Default: 2s.
	Wachttijd time.Duration `yaml:"wachttijd"`
}

// Options are what a program or a test adds to a Config.
type Options struct {
	// StatementLog gets the text of every statement that reaches the driver, without values. Nil: none.
	StatementLog func(sql string)
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Source is a database behind a mapping.
type Source struct{}

// Open reads the mapping, opens the database read-only and compares the two. It fails on any finding of Ernst fout.
func Open(ctx context.Context, cfg Config, opts Options) (*Source, error) {
	return nil, gateway.Errorf(gateway.Unavailable, "database: not yet")
}
