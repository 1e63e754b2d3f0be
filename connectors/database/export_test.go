package database

import (
	"context"
	"database/sql"
	"time"
)

// TryWrite writes through a connection made as Open makes it.
func TryWrite(ctx context.Context, file string) error {
	db := sql.OpenDB(sqliteFile(dsn(file, time.Second)))
	defer db.Close()
	_, err := db.ExecContext(ctx, `INSERT INTO contact (clientnr) VALUES (1)`)
	return err
}

// ParseMapping is what Open does with a mapping file.
func ParseMapping(file string, raw []byte) error {
	_, err := parseMapping(file, raw)
	return err
}

// Pool is how a source reaches its engine.
func Pool(s *Source) *sql.DB { return s.db }
