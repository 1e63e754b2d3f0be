package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/terugmelding"
)

// The two sides at which a report is kept: a peer that is a gemeente and asks other gemeenten has both.
const (
	kantMelder = "melder"
	kantBron   = "bron"
)

// MaxTerugmeldingen is how many reports one call returns at most.
const MaxTerugmeldingen = 1000

const terugmeldingColumns = `id, transactie, dienst, veld, reden, toelichting, doel, zaak, zaaktype, melder, bron, medewerker, betrokkene,
	status, antwoord, gemeld, gewijzigd`

// Meld keeps a report that this peer makes, before it is sent.
func (s *Store) Meld(ctx context.Context, m terugmelding.Melding) error {
	_, err := s.keepTerugmelding(ctx, kantMelder, m)
	return err
}

// MaxOpenMeldingen is how many reports of one melder may be open at once.
const MaxOpenMeldingen = 1000

// NeemAan keeps a report that was made to this peer. The same report a second time is no error: what is kept of it, with its
// status of now, is returned. Another report under the same id is a Conflict, and so is one more than MaxOpenMeldingen.
func (s *Store) NeemAan(ctx context.Context, m terugmelding.Melding) (terugmelding.Melding, error) {
	return s.keepTerugmelding(ctx, kantBron, m)
}

func (s *Store) keepTerugmelding(ctx context.Context, kant string, m terugmelding.Melding) (terugmelding.Melding, error) {
	err := s.inTx(ctx, "terugmelding", func(tx *tx) error {
		done, err := tx.ExecContext(ctx, `INSERT INTO terugmeldingen (kant, `+terugmeldingColumns+`) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
			ON CONFLICT (kant, id) DO NOTHING`, // a report that is one too many is rolled back below
			kant, m.ID, string(m.Transactie), string(m.Dienst), string(m.Veld), string(m.Reden), m.Toelichting, string(m.Doel), m.Zaak,
			m.Zaaktype, string(m.Melder), string(m.Bron), m.Medewerker, string(m.Betrokkene), string(m.Status), m.Antwoord,
			unixMilli(m.Gemeld), unixMilli(m.Gewijzigd))
		isNew, err := changed(done, err)
		switch {
		case err != nil:
			return err
		case isNew && kant == kantBron:
			return s.roomFor(ctx, tx, m.Melder)
		case isNew:
			return nil
		}
		there, err := oneTerugmelding(ctx, tx, kant, m.ID)
		if err != nil {
			return err
		}
		if there.Transactie != m.Transactie || there.Dienst != m.Dienst || there.Veld != m.Veld || there.Melder != m.Melder ||
			there.Bron != m.Bron || there.Reden != m.Reden {
			return gateway.Errorf(gateway.Conflict, "terugmelding: this id belongs to another report")
		}
		m = there
		return nil
	})
	return m, err
}

func (s *Store) roomFor(ctx context.Context, tx *tx, melder gateway.PeerID) error {
	var open int
	err := tx.QueryRowContext(ctx, `SELECT count(*) FROM terugmeldingen WHERE kant = ? AND melder = ? AND status IN (?, ?)`, kantBron, string(melder),
		string(terugmelding.Ontvangen), string(terugmelding.InOnderzoek)).Scan(&open)
	if err == nil && open > MaxOpenMeldingen {
		return gateway.WithCode(gateway.Conflict, "te-veel-open", "terugmelding: er staan er al %d open; wacht tot de gemeente er heeft behandeld", MaxOpenMeldingen)
	}
	return err
}

// GedaneMelding returns one report that this peer made, or NotFound.
func (s *Store) GedaneMelding(ctx context.Context, id string) (terugmelding.Melding, error) {
	m, err := oneTerugmelding(ctx, s.read, kantMelder, id)
	return m, s.unavailable(err, "terugmelding")
}

// OntvangenMelding returns one report that was made to this peer, or NotFound.
func (s *Store) OntvangenMelding(ctx context.Context, id string) (terugmelding.Melding, error) {
	m, err := oneTerugmelding(ctx, s.read, kantBron, id)
	return m, s.unavailable(err, "terugmelding")
}

// GedaneMeldingen pages through the reports that this peer made, oldest id first: those of one worker, or of all if medewerker is
// empty. after is the last id of the page before; limit is 1 to MaxTerugmeldingen. A page shorter than limit is the last one.
func (s *Store) GedaneMeldingen(ctx context.Context, medewerker, after string, limit int) ([]terugmelding.Melding, error) {
	if medewerker == "" {
		return s.terugmeldingen(ctx, limit, `WHERE kant = ? AND id > ?`, kantMelder, after)
	}
	return s.terugmeldingen(ctx, limit, `WHERE kant = ? AND medewerker = ? AND id > ?`, kantMelder, medewerker, after)
}

// OntvangenMeldingen pages through the reports that were made to this peer, as GedaneMeldingen does. open leaves out what has ended.
func (s *Store) OntvangenMeldingen(ctx context.Context, open bool, after string, limit int) ([]terugmelding.Melding, error) {
	if open {
		return s.terugmeldingen(ctx, limit, `WHERE kant = ? AND id > ? AND status IN (?, ?)`, kantBron, after,
			string(terugmelding.Ontvangen), string(terugmelding.InOnderzoek))
	}
	return s.terugmeldingen(ctx, limit, `WHERE kant = ? AND id > ?`, kantBron, after)
}

// OntvangenOver returns the reports that were made to this peer about one person, given by the pseudonyms under all live keys.
func (s *Store) OntvangenOver(ctx context.Context, person []gateway.Pseudonym) ([]terugmelding.Melding, error) {
	if len(person) == 0 {
		return nil, gateway.Errorf(gateway.Invalid, "betrokkene: give at least one pseudonym")
	}
	marks, args := in(person)
	return s.terugmeldingen(ctx, MaxTerugmeldingen, `WHERE kant = ? AND betrokkene IN (`+marks+`)`, append([]any{kantBron}, args...)...)
}

// WijzigGedane changes the status of a report that this peer made, by a rule of gateway/terugmelding, in one transaction: of two
// changes at once the second sees the first.
func (s *Store) WijzigGedane(ctx context.Context, id string, change func(terugmelding.Melding) (terugmelding.Melding, error)) (terugmelding.Melding, error) {
	return s.changeTerugmelding(ctx, kantMelder, id, change)
}

// WijzigOntvangen is WijzigGedane for a report that was made to this peer.
func (s *Store) WijzigOntvangen(ctx context.Context, id string, change func(terugmelding.Melding) (terugmelding.Melding, error)) (terugmelding.Melding, error) {
	return s.changeTerugmelding(ctx, kantBron, id, change)
}

func (s *Store) changeTerugmelding(ctx context.Context, kant, id string, change func(terugmelding.Melding) (terugmelding.Melding, error)) (terugmelding.Melding, error) {
	var m terugmelding.Melding
	err := s.inTx(ctx, "terugmelding", func(tx *tx) error {
		var err error
		if m, err = oneTerugmelding(ctx, tx, kant, id); err != nil {
			return err
		}
		if m, err = change(m); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE terugmeldingen SET status = ?, antwoord = ?, gewijzigd = ? WHERE kant = ? AND id = ?`,
			string(m.Status), m.Antwoord, unixMilli(m.Gewijzigd), kant, id)
		return err
	})
	return m, err
}

func oneTerugmelding(ctx context.Context, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, kant, id string,
) (terugmelding.Melding, error) {
	return scanTerugmelding(db.QueryRowContext(ctx, `SELECT `+terugmeldingColumns+` FROM terugmeldingen WHERE kant = ? AND id = ?`, kant, id))
}

func (s *Store) terugmeldingen(ctx context.Context, limit int, where string, args ...any) ([]terugmelding.Melding, error) {
	if limit < 1 || limit > MaxTerugmeldingen {
		return nil, gateway.Errorf(gateway.Invalid, "limit: give 1 to %d", MaxTerugmeldingen)
	}
	rows, err := s.read.QueryContext(ctx, `SELECT `+terugmeldingColumns+` FROM terugmeldingen `+where+` ORDER BY id LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, s.unavailable(err, "terugmeldingen")
	}
	defer rows.Close()
	var all []terugmelding.Melding
	for rows.Next() {
		m, err := scanTerugmelding(rows)
		if err != nil {
			return nil, s.unavailable(err, "terugmeldingen")
		}
		all = append(all, m)
	}
	return all, s.unavailable(rows.Err(), "terugmeldingen")
}

func scanTerugmelding(row interface{ Scan(...any) error }) (terugmelding.Melding, error) {
	var m terugmelding.Melding
	var gemeld, gewijzigd int64
	err := row.Scan(&m.ID, &m.Transactie, &m.Dienst, &m.Veld, &m.Reden, &m.Toelichting, &m.Doel, &m.Zaak, &m.Zaaktype, &m.Melder, &m.Bron,
		&m.Medewerker, &m.Betrokkene, &m.Status, &m.Antwoord, &gemeld, &gewijzigd)
	if errors.Is(err, sql.ErrNoRows) {
		return m, gateway.Errorf(gateway.NotFound, "terugmelding: no such id")
	}
	m.Gemeld, m.Gewijzigd = fromMilli(gemeld), fromMilli(gewijzigd)
	return m, err
}
