package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
)

// insertDelivery notes what must reach another party because of sig. A signature renewed under another certificate goes out again.
func insertDelivery(ctx context.Context, tx *tx, hash gateway.ContentHash, sig contract.Signed, d contract.Delivery) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO deliveries (contract, receiver, type, submit, jws, state, attempts, next_at, reason, changed_at)
		VALUES (?,?,?,?,?,'open',0,?,'',?) ON CONFLICT (contract, receiver, type) DO UPDATE SET jws = excluded.jws, state = 'open',
		attempts = 0, next_at = excluded.next_at, reason = '', changed_at = excluded.changed_at`,
		string(hash), string(d.Receiver), string(sig.Type), d.Submit, sig.JWS, unixMilli(d.Next), unixMilli(sig.Received))
	return err
}

const deliveryColumns = `id, contract, receiver, type, submit, jws, state, attempts, next_at, reason, changed_at`

// ClaimDeliveries returns open deliveries whose time has come, at most limit, and puts off their next attempt to until: if this
// process dies meanwhile, another attempt follows then. Signatures on one contract reach a receiver in the order in which they
// were put: a later one is not returned before the earlier one is delivered or failed. Attempts counts this one too.
func (s *Store) ClaimDeliveries(ctx context.Context, now, until time.Time, limit int) (claimed []contract.Delivery, err error) {
	err = s.inTx(ctx, "contract", func(tx *tx) error {
		rows, err := tx.QueryContext(ctx, `UPDATE deliveries SET next_at = ?, attempts = attempts + 1, changed_at = ? WHERE id IN (
			SELECT d.id FROM deliveries d WHERE d.state = 'open' AND d.next_at <= ? AND NOT EXISTS (SELECT 1 FROM deliveries e
				WHERE e.contract = d.contract AND e.receiver = d.receiver AND e.state = 'open' AND e.id < d.id)
			ORDER BY d.next_at, d.id LIMIT ?) RETURNING `+deliveryColumns, unixMilli(until), unixMilli(now), unixMilli(now), limit)
		if err != nil {
			return err
		}
		claimed, err = scanDeliveries(rows)
		slices.SortFunc(claimed, func(a, b contract.Delivery) int { return cmp.Compare(a.ID, b.ID) })
		return err
	})
	return claimed, err
}

// SettleDelivery writes the outcome of an attempt: State, Next and Reason of d. It does nothing if a renewed signature took the
// place of d's meanwhile, or if another attempt settled it.
func (s *Store) SettleDelivery(ctx context.Context, d contract.Delivery) error {
	return s.exec(ctx, "delivery", `UPDATE deliveries SET state = ?, next_at = ?, reason = ?, changed_at = ? WHERE id = ? AND jws = ? AND state = 'open'`,
		string(d.State), unixMilli(d.Next), d.Reason, unixMilli(d.Changed), d.ID, d.JWS)
}

// NextDelivery is the moment of the next attempt; the zero time if nothing is open.
func (s *Store) NextDelivery(ctx context.Context) (time.Time, error) {
	var next sql.NullInt64
	err := s.read.QueryRowContext(ctx, `SELECT min(next_at) FROM deliveries WHERE state = 'open'`).Scan(&next)
	return fromMilli(next.Int64), s.unavailable(err, "deliveries")
}

// HastenDeliveries brings forward what is open for one receiver: it was just heard of, so it is worth trying.
func (s *Store) HastenDeliveries(ctx context.Context, receiver gateway.PeerID, now time.Time) error {
	return s.exec(ctx, "deliveries", `UPDATE deliveries SET next_at = ? WHERE state = 'open' AND receiver = ? AND next_at > ? AND attempts > 0`,
		unixMilli(now), string(receiver), unixMilli(now))
}

// Deliveries returns all deliveries of one contract, in the order in which they were noted.
func (s *Store) Deliveries(ctx context.Context, hash gateway.ContentHash) ([]contract.Delivery, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT `+deliveryColumns+` FROM deliveries WHERE contract = ? ORDER BY id`, string(hash))
	if err != nil {
		return nil, s.unavailable(err, "deliveries")
	}
	all, err := scanDeliveries(rows)
	return all, s.unavailable(err, "deliveries")
}

// FailedDeliveries counts, by contract, the deliveries that their receiver refused for good.
func (s *Store) FailedDeliveries(ctx context.Context) (map[gateway.ContentHash]int, error) {
	return s.countDeliveries(ctx, contract.Failed)
}

// OpenDeliveries counts, by contract, the deliveries that are on their way.
func (s *Store) OpenDeliveries(ctx context.Context) (map[gateway.ContentHash]int, error) {
	return s.countDeliveries(ctx, contract.Open)
}

func (s *Store) countDeliveries(ctx context.Context, state contract.DeliveryState) (map[gateway.ContentHash]int, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT contract, count(*) FROM deliveries WHERE state = ? GROUP BY contract`, string(state))
	if err != nil {
		return nil, s.unavailable(err, "deliveries")
	}
	defer rows.Close()
	counts := map[gateway.ContentHash]int{}
	for rows.Next() {
		var hash gateway.ContentHash
		var n int
		if err := rows.Scan(&hash, &n); err != nil {
			return nil, s.unavailable(err, "deliveries")
		}
		counts[hash] = n
	}
	return counts, s.unavailable(rows.Err(), "deliveries")
}

func scanDeliveries(rows *sql.Rows) ([]contract.Delivery, error) {
	defer rows.Close()
	var all []contract.Delivery
	for rows.Next() {
		var d contract.Delivery
		var next, changed int64
		if err := rows.Scan(&d.ID, &d.Contract, &d.Receiver, &d.Type, &d.Submit, &d.JWS, &d.State, &d.Attempts, &next, &d.Reason, &changed); err != nil {
			return nil, err
		}
		d.Next, d.Changed = fromMilli(next), fromMilli(changed)
		all = append(all, d)
	}
	return all, rows.Err()
}
