package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/toestemming"
)

// MaxToestemmingen is how many consents one call returns at most. For one person and one purpose more than that is an error, not
// a shorter answer: the withdrawal could be among those left out.
const MaxToestemmingen = 1000

const toestemmingColumns = `id, betrokkene, soort, doel, doel_versie, ontvanger, velden, gegeven_door, geregistreerd_door, tekstversie, kanaal,
	gegeven, geldig_tot, bevestigd_op, ingetrokken`

// Geef registers a consent. The same consent a second time is no error; another one under the same id is a Conflict. Times are
// kept to the millisecond.
func (s *Store) Geef(ctx context.Context, t toestemming.Toestemming) error {
	velden, err := json.Marshal(nonNil(t.Velden))
	if err != nil {
		return gateway.Wrap(gateway.Invalid, err, "toestemming: velden")
	}
	return s.inTx(ctx, "toestemming", func(tx *tx) error {
		done, err := tx.ExecContext(ctx, `INSERT INTO toestemmingen (`+toestemmingColumns+`) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
			ON CONFLICT (id) DO NOTHING`,
			t.ID, string(t.Betrokkene), string(t.Soort), string(t.Doel), t.DoelVersie, string(t.Ontvanger), string(velden), t.GegevenDoor,
			string(t.GeregistreerdDoor), t.Tekstversie, t.Kanaal, unixMilli(t.Gegeven), unixMilli(t.GeldigTot), unixMilli(t.BevestigdOp),
			unixMilli(t.Ingetrokken))
		if isNew, err := changed(done, err); err != nil || isNew {
			return err
		}
		there, err := scanToestemming(tx.QueryRowContext(ctx, `SELECT `+toestemmingColumns+` FROM toestemmingen WHERE id = ?`, t.ID))
		if err != nil {
			return err
		}
		if there.IsSame(t) {
			return nil
		}
		return gateway.Errorf(gateway.Conflict, "toestemming %s: this id belongs to another consent", t.ID)
	})
}

// TrekIn withdraws a consent as of at. Withdrawing twice keeps the first moment.
func (s *Store) TrekIn(ctx context.Context, id string, at time.Time) error {
	return s.changeToestemming(ctx, id, func(t *toestemming.Toestemming) { t.TrekIn(at) })
}

// Bevestig confirms a consent that its beneficiary registered. Confirming twice keeps the first moment.
func (s *Store) Bevestig(ctx context.Context, id string, at time.Time) error {
	return s.changeToestemming(ctx, id, func(t *toestemming.Toestemming) { t.Bevestig(at) })
}

func (s *Store) changeToestemming(ctx context.Context, id string, change func(*toestemming.Toestemming)) error {
	return s.inTx(ctx, "toestemming", func(tx *tx) error {
		t, err := scanToestemming(tx.QueryRowContext(ctx, `SELECT `+toestemmingColumns+` FROM toestemmingen WHERE id = ?`, id))
		if err != nil {
			return err
		}
		change(&t)
		_, err = tx.ExecContext(ctx, `UPDATE toestemmingen SET bevestigd_op = ?, ingetrokken = ? WHERE id = ?`,
			unixMilli(t.BevestigdOp), unixMilli(t.Ingetrokken), id)
		return err
	})
}

// Toestemming returns one consent, or NotFound.
func (s *Store) Toestemming(ctx context.Context, id string) (toestemming.Toestemming, error) {
	t, err := scanToestemming(s.read.QueryRowContext(ctx, `SELECT `+toestemmingColumns+` FROM toestemmingen WHERE id = ?`, id))
	return t, s.unavailable(err, "toestemming")
}

// Toestemmingen returns every consent of one person for one purpose, for all recipients, whatever their state: what State of
// gateway/toestemming judges. The person is given by the pseudonyms under all live keys.
func (s *Store) Toestemmingen(ctx context.Context, person []gateway.Pseudonym, doel gateway.Doel) ([]toestemming.Toestemming, error) {
	if len(person) == 0 {
		return nil, gateway.Errorf(gateway.Invalid, "betrokkene: give at least one pseudonym")
	}
	marks, args := in(person)
	all, err := s.toestemmingen(ctx, `WHERE betrokkene IN (`+marks+`) AND doel = ? ORDER BY id LIMIT ?`, append(args, string(doel), MaxToestemmingen+1)...)
	if err == nil && len(all) > MaxToestemmingen {
		return nil, gateway.Errorf(gateway.Unavailable, "toestemmingen: more than %d for one person and purpose", MaxToestemmingen)
	}
	return all, err
}

// ToestemmingenVan returns what is registered for one person, all purposes, oldest first.
func (s *Store) ToestemmingenVan(ctx context.Context, person []gateway.Pseudonym) ([]toestemming.Toestemming, error) {
	if len(person) == 0 {
		return nil, gateway.Errorf(gateway.Invalid, "betrokkene: give at least one pseudonym")
	}
	marks, args := in(person)
	return s.toestemmingen(ctx, `WHERE betrokkene IN (`+marks+`) ORDER BY id LIMIT ?`, append(args, MaxToestemmingen)...)
}

// AlleToestemmingen pages through the register, oldest id first. after is the last id of the page before, empty for the first;
// limit is 1 to MaxToestemmingen. A page shorter than limit is the last one.
func (s *Store) AlleToestemmingen(ctx context.Context, after string, limit int) ([]toestemming.Toestemming, error) {
	if limit < 1 || limit > MaxToestemmingen {
		return nil, gateway.Errorf(gateway.Invalid, "limit: give 1 to %d", MaxToestemmingen)
	}
	return s.toestemmingen(ctx, `WHERE id > ? ORDER BY id LIMIT ?`, after, limit)
}

func (s *Store) toestemmingen(ctx context.Context, where string, args ...any) ([]toestemming.Toestemming, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT `+toestemmingColumns+` FROM toestemmingen `+where, args...)
	if err != nil {
		return nil, s.unavailable(err, "toestemmingen")
	}
	defer rows.Close()
	var all []toestemming.Toestemming
	for rows.Next() {
		t, err := scanToestemming(rows)
		if err != nil {
			return nil, s.unavailable(err, "toestemmingen")
		}
		all = append(all, t)
	}
	return all, s.unavailable(rows.Err(), "toestemmingen")
}

func scanToestemming(row interface{ Scan(...any) error }) (toestemming.Toestemming, error) {
	var t toestemming.Toestemming
	var velden string
	var gegeven, geldigTot, bevestigd, ingetrokken int64
	err := row.Scan(&t.ID, &t.Betrokkene, &t.Soort, &t.Doel, &t.DoelVersie, &t.Ontvanger, &velden, &t.GegevenDoor, &t.GeregistreerdDoor,
		&t.Tekstversie, &t.Kanaal, &gegeven, &geldigTot, &bevestigd, &ingetrokken)
	if errors.Is(err, sql.ErrNoRows) {
		return t, gateway.Errorf(gateway.NotFound, "toestemming: no such id")
	}
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal([]byte(velden), &t.Velden); err != nil {
		return toestemming.Toestemming{}, err
	}
	if len(t.Velden) == 0 {
		t.Velden = nil
	}
	t.Gegeven, t.GeldigTot, t.BevestigdOp, t.Ingetrokken = fromMilli(gegeven), fromMilli(geldigTot), fromMilli(bevestigd), fromMilli(ingetrokken)
	return t, nil
}

func nonNil(v gateway.Velden) gateway.Velden {
	if v == nil {
		return gateway.Velden{}
	}
	return v
}

// in gives the placeholders and the arguments of an IN list.
func in[S ~string](values []S) (string, []any) {
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = string(v)
	}
	return strings.TrimSuffix(strings.Repeat("?,", len(values)), ","), args
}
