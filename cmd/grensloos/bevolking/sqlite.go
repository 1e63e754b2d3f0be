package bevolking

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// The tables of an imagined application for work and income: its own names, its own conventions (dates as YYYYMMDD, amounts in
// cents, J and N for yes and no), as a mapping has to deal with.
const tabellen = `
CREATE TABLE client (
	clientnr     INTEGER PRIMARY KEY,
	bsn          TEXT NOT NULL,
	voorl        TEXT NOT NULL,
	tussenv      TEXT NOT NULL,
	achternaam   TEXT NOT NULL,
	gebdat       INTEGER NOT NULL,
	straat       TEXT NOT NULL,
	huisnr       INTEGER NOT NULL,
	postcode     TEXT NOT NULL,
	plaats       TEXT NOT NULL,
	tel          TEXT NOT NULL,
	mail         TEXT NOT NULL,
	ind_geheim   INTEGER NOT NULL,
	mutatiedatum INTEGER NOT NULL
) STRICT;
CREATE INDEX client_bsn ON client (bsn);
CREATE TABLE uitkering (
	clientnr INTEGER NOT NULL REFERENCES client,
	regeling TEXT NOT NULL,
	lopend   TEXT NOT NULL,
	begin    INTEGER NOT NULL,
	eind     INTEGER,
	bedrag   INTEGER NOT NULL,
	mutatiedatum INTEGER NOT NULL
) STRICT;
CREATE INDEX uitkering_client ON uitkering (clientnr);
CREATE TABLE contact (
	clientnr INTEGER NOT NULL REFERENCES client,
	naam     TEXT NOT NULL,
	org      TEXT NOT NULL,
	wet      TEXT NOT NULL,
	tel      TEXT NOT NULL,
	vanaf    INTEGER NOT NULL,
	mutatiedatum INTEGER NOT NULL
) STRICT;
CREATE INDEX contact_client ON contact (clientnr);
CREATE TABLE kenmerk (fictief TEXT NOT NULL) STRICT;
INSERT INTO kenmerk VALUES ('deze gegevens zijn fictief');
`

// Mapping maps these tables to the common schema.
//
//go:embed mapping.yaml
var Mapping []byte

// WriteSQLite writes the persons into a new SQLite file.
func WriteSQLite(ctx context.Context, file string, personen []Persoon, peildatum time.Time) (err error) {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(delete)&_pragma=synchronous(off)&mode=rwc")
	if err != nil {
		return fmt.Errorf("source %s: %w", file, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, tabellen); err != nil {
		return fmt.Errorf("source %s: %w", file, err)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("source %s: %w", file, err)
	}
	defer func() { _ = tx.Rollback() }()
	for i, p := range personen {
		if err := insert(ctx, tx, i+1, p, peildatum); err != nil {
			return fmt.Errorf("source %s: person %d: %w", file, i+1, err)
		}
	}
	return tx.Commit()
}

func insert(ctx context.Context, tx *sql.Tx, nr int, p Persoon, peildatum time.Time) error {
	stand := compact(peildatum)
	geheim := 0
	if p.Geheim {
		geheim = 7 // BRP 07.70.10: 7 is the fullest secrecy
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO client VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)`, nr, p.BSN.Reveal(), p.Voorletters, p.Tussenvoegsel,
		p.Achternaam, compact(p.Geboortedatum), p.Straat, p.Huisnummer, p.Postcode, p.Woonplaats, p.Telefoon, p.Email, geheim, stand); err != nil {
		return err
	}
	lopend, eind := "J", any(nil)
	if !p.Uitkering.Einddatum.IsZero() {
		lopend, eind = "N", compact(p.Uitkering.Einddatum)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO uitkering VALUES (?,?,?,?,?,?,?)`, nr, p.Uitkering.Regeling, lopend,
		compact(p.Uitkering.Ingangsdatum), eind, p.Uitkering.Bedrag, stand); err != nil {
		return err
	}
	if c := p.Contactpersoon; c != nil {
		if _, err := tx.ExecContext(ctx, `INSERT INTO contact VALUES (?,?,?,?,?,?,?)`, nr, c.Naam, c.Organisatie, wetten[c.Organisatie], c.Telefoon, compact(c.GeldigVan), stand); err != nil {
			return err
		}
	}
	return nil
}

// compact writes a date as the number YYYYMMDD.
func compact(t time.Time) int { return t.Year()*10000 + int(t.Month())*100 + t.Day() }
