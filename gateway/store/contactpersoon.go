package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contactpersoon"
)

// MaxContactpersonen is how many contacts one call returns at most.
const MaxContactpersonen = 1000

const contactColumns = `id, huishouden, naam, organisatie, telefoon, wet, geldig_van, beeindigd_op,
	(SELECT string_agg(betrokkene, ' ' ORDER BY betrokkene) FROM contactpersoon_leden WHERE contactpersoon = contactpersonen.id)`

// WijsToe makes c the contact of its household. personen are its residents, in the order of c.Leden, each by the pseudonyms under
// all live keys. It is a Conflict (contactpersoon.CodeBezet) when the household or one of them has an active contact; c itself, a
// second time, is no error.
func (s *Store) WijsToe(ctx context.Context, c contactpersoon.Contactpersoon, personen [][]gateway.Pseudonym) error {
	if len(personen) != len(c.Leden) || len(c.Leden) == 0 {
		return gateway.Errorf(gateway.Invalid, "contactpersoon: give the pseudonyms of each resident")
	}
	return s.inTx(ctx, "contactpersoon", func(tx *tx) error {
		var all []gateway.Pseudonym
		for _, p := range personen {
			all = append(all, p...)
		}
		there, err := scanContact(tx.QueryRowContext(ctx, `SELECT `+contactColumns+` FROM contactpersonen WHERE id = ?`, c.ID))
		if err == nil && there.Huishouden == c.Huishouden && there.GeldigVan.Equal(c.GeldigVan) {
			return nil
		}
		if err != nil && gateway.KindOf(err) != gateway.NotFound {
			return err
		}
		marks, args := in(all)
		var taken bool
		if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM contactpersonen WHERE huishouden = ? AND beeindigd_op = 0)
			OR EXISTS (SELECT 1 FROM contactpersoon_leden WHERE actief = 1 AND betrokkene IN (`+marks+`))`,
			append([]any{c.Huishouden}, args...)...).Scan(&taken); err != nil {
			return err
		}
		if taken {
			return contactpersoon.Bezet()
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO contactpersonen (id, huishouden, naam, organisatie, telefoon, wet, geldig_van, beeindigd_op)
			VALUES (?,?,?,?,?,?,?,0)`, c.ID, c.Huishouden, c.Naam, c.Organisatie, c.Telefoon, string(c.Wet), unixMilli(c.GeldigVan)); err != nil {
			return err
		}
		for _, lid := range c.Leden {
			if _, err := tx.ExecContext(ctx, `INSERT INTO contactpersoon_leden (betrokkene, contactpersoon, actief) VALUES (?,?,1)`, string(lid), c.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// BeeindigContact ends a contact as of at. Ending twice keeps the first moment.
func (s *Store) BeeindigContact(ctx context.Context, id string, at time.Time) error {
	return s.inTx(ctx, "contactpersoon", func(tx *tx) error {
		c, err := scanContact(tx.QueryRowContext(ctx, `SELECT `+contactColumns+` FROM contactpersonen WHERE id = ?`, id))
		if err != nil {
			return err
		}
		c.Beeindig(at)
		if _, err := tx.ExecContext(ctx, `UPDATE contactpersonen SET beeindigd_op = ? WHERE id = ?`, unixMilli(c.Beeindigd), id); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE contactpersoon_leden SET actief = 0 WHERE contactpersoon = ?`, id)
		return err
	})
}

// Contactpersoon returns one contact, or NotFound.
func (s *Store) Contactpersoon(ctx context.Context, id string) (contactpersoon.Contactpersoon, error) {
	c, err := scanContact(s.read.QueryRowContext(ctx, `SELECT `+contactColumns+` FROM contactpersonen WHERE id = ?`, id))
	return c, s.unavailable(err, "contactpersoon")
}

// ContactpersonenVan returns the active contact of one person, given by the pseudonyms under all live keys; none is no error.
func (s *Store) ContactpersonenVan(ctx context.Context, person []gateway.Pseudonym) ([]contactpersoon.Contactpersoon, error) {
	if len(person) == 0 {
		return nil, gateway.Errorf(gateway.Invalid, "betrokkene: give at least one pseudonym")
	}
	marks, args := in(person)
	return s.contactpersonen(ctx, MaxContactpersonen, `WHERE beeindigd_op = 0 AND id IN
		(SELECT contactpersoon FROM contactpersoon_leden WHERE actief = 1 AND betrokkene IN (`+marks+`))`, args...)
}

// Contactpersonen pages through the register, oldest id first. actief leaves out what ended; after is the last id of the page
// before; limit is 1 to MaxContactpersonen. A page shorter than limit is the last one.
func (s *Store) Contactpersonen(ctx context.Context, actief bool, after string, limit int) ([]contactpersoon.Contactpersoon, error) {
	if limit < 1 || limit > MaxContactpersonen {
		return nil, gateway.Errorf(gateway.Invalid, "limit: give 1 to %d", MaxContactpersonen)
	}
	if actief {
		return s.contactpersonen(ctx, limit, `WHERE id > ? AND beeindigd_op = 0`, after)
	}
	return s.contactpersonen(ctx, limit, `WHERE id > ?`, after)
}

func (s *Store) contactpersonen(ctx context.Context, limit int, where string, args ...any) ([]contactpersoon.Contactpersoon, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT `+contactColumns+` FROM contactpersonen `+where+` ORDER BY id LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, s.unavailable(err, "contactpersonen")
	}
	defer rows.Close()
	var all []contactpersoon.Contactpersoon
	for rows.Next() {
		c, err := scanContact(rows)
		if err != nil {
			return nil, s.unavailable(err, "contactpersonen")
		}
		all = append(all, c)
	}
	return all, s.unavailable(rows.Err(), "contactpersonen")
}

func scanContact(row interface{ Scan(...any) error }) (contactpersoon.Contactpersoon, error) {
	var c contactpersoon.Contactpersoon
	var van, beeindigd int64
	var leden string
	err := row.Scan(&c.ID, &c.Huishouden, &c.Naam, &c.Organisatie, &c.Telefoon, &c.Wet, &van, &beeindigd, &leden)
	if errors.Is(err, sql.ErrNoRows) {
		return c, gateway.Errorf(gateway.NotFound, "contactpersoon: no such id")
	}
	for lid := range strings.FieldsSeq(leden) {
		c.Leden = append(c.Leden, gateway.Pseudonym(lid))
	}
	c.GeldigVan, c.Beeindigd = fromMilli(van), fromMilli(beeindigd)
	return c, err
}
