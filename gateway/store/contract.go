package store

import (
	"context"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
)

// MaxContracts is the longest page of contracts.
const MaxContracts = 1000

// maxBytes bounds what one page holds in content, so that 1,000 contracts of 1.5 MB do not become one answer.
const maxBytes = 16 << 20

// Sign writes a verified signature, the content that it is over if that is not there yet, and what must be delivered because of
// it, in one transaction. The rules of contract.Record.Admit hold: adds is false if the signature was there already, and then
// nothing is written. The error is of kind Conflict if Admit says so, or if another contract has the same iv.
func (s *Store) Sign(ctx context.Context, c *contract.Content, sig contract.Signed, deliver []contract.Delivery) (adds bool, err error) {
	hash := c.Hash()
	err = s.inTx(ctx, "contract", func(tx *sql.Tx) error {
		adds = false
		rec, err := contractOf(ctx, tx, hash)
		if err != nil && gateway.KindOf(err) != gateway.NotFound {
			return err
		}
		isNew := err != nil
		if adds, err = rec.Admit(sig); err != nil || !adds {
			return err
		}
		if isNew {
			if err := insertContract(ctx, tx, c, sig.Received); err != nil {
				return err
			}
		}
		var chain []byte
		for _, cert := range sig.Chain {
			chain = append(chain, cert.Raw...)
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO signatures (contract, peer, type, jws, x5t, chain, signed_at, received_at)
			VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (contract, peer, type) DO UPDATE SET jws = excluded.jws, x5t = excluded.x5t,
			chain = excluded.chain, signed_at = excluded.signed_at, received_at = excluded.received_at`,
			string(hash), string(sig.Peer), string(sig.Type), sig.JWS, sig.X5T, chain, sig.SignedAt.Unix(), unixMilli(sig.Received)); err != nil {
			return err
		}
		for _, d := range deliver {
			if err := insertDelivery(ctx, tx, hash, sig, d); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, `UPDATE contract_changes SET counter = counter + 1`)
		return err
	})
	return adds && err == nil, err
}

func insertContract(ctx context.Context, tx *sql.Tx, c *contract.Content, received time.Time) error {
	hash := string(c.Hash())
	done, err := tx.ExecContext(ctx, `INSERT INTO contracts (hash, iv, content, created_at, not_before, not_after, received_at)
		VALUES (?,?,?,?,?,?,?) ON CONFLICT (iv) DO NOTHING`,
		hash, c.IV, c.Raw, c.CreatedAt, c.Validity.NotBefore, c.Validity.NotAfter, unixMilli(received))
	isNew, err := changed(done, err)
	if err != nil {
		return err
	}
	if !isNew {
		return gateway.Errorf(gateway.Conflict, "contract content.iv: another contract has it already; make a new UUID")
	}
	for _, peer := range c.Parties() {
		if _, err := tx.ExecContext(ctx, `INSERT INTO contract_parties (contract, peer) VALUES (?,?)`, hash, string(peer)); err != nil {
			return err
		}
	}
	for i, grant := range c.GrantHashes() {
		if _, err := tx.ExecContext(ctx, `INSERT INTO contract_grants (contract, position, hash, type) VALUES (?,?,?,?)`,
			hash, i, string(grant), string(c.Grants[i].Data.Type)); err != nil {
			return err
		}
	}
	return nil
}

// Contract returns one contract, or NotFound.
func (s *Store) Contract(ctx context.Context, hash gateway.ContentHash) (contract.Record, error) {
	rec, err := contractOf(ctx, s.read, hash)
	return rec, unavailable(err, "contract")
}

// InForce returns the contracts that did not end before now, with their signatures: all that may be valid now or later.
func (s *Store) InForce(ctx context.Context, now time.Time) ([]contract.Record, error) {
	recs, err := contracts(ctx, s.read, 0, `WHERE not_after >= ? ORDER BY hash`, now.Unix())
	return recs, unavailable(err, "contracts")
}

// Contracts returns the contracts that f selects, by creation date, newest first unless f.Ascending. more is where the next page
// starts, nil at the end.
func (s *Store) Contracts(ctx context.Context, f contract.Filter) (recs []contract.Record, more *contract.Position, err error) {
	where, args := `WHERE 1 = 1`, []any{}
	if f.Party != "" {
		where += ` AND hash IN (SELECT contract FROM contract_parties WHERE peer = ?)`
		args = append(args, string(f.Party))
	}
	order, than := "DESC", "<"
	if f.Ascending {
		order, than = "ASC", ">"
	}
	limit := MaxContracts
	if len(f.GrantHashes) > 0 {
		marks, hashes := in(f.GrantHashes)
		where += ` AND hash IN (SELECT contract FROM contract_grants WHERE hash IN (` + marks + `))`
		args = append(args, hashes...)
	} else {
		if f.Limit < 1 || f.Limit > MaxContracts {
			return nil, nil, gateway.Errorf(gateway.Invalid, "limit: give 1 to %d", MaxContracts)
		}
		limit = f.Limit
		if f.GrantType != "" {
			where += ` AND hash IN (SELECT contract FROM contract_grants WHERE type = ?)`
			args = append(args, string(f.GrantType))
		}
		if f.After != (contract.Position{}) {
			where += ` AND (created_at, hash) ` + than + ` (?, ?)`
			args = append(args, f.After.Created, string(f.After.Hash))
		}
	}
	where += fmt.Sprintf(` ORDER BY created_at %s, hash %s LIMIT %d`, order, order, limit+1)
	recs, last, err := page(ctx, s.read, limit, where, args...)
	return recs, last, unavailable(err, "contracts")
}

const (
	// unansweredUnit is how much content counts as one contract that waits: a thousand of them hold 16 MB, not a gigabyte.
	unansweredUnit = 16 << 10
	// unansweredFor is how long one counts after its end, so that proposals that end at once do not fill the disk.
	unansweredFor = 30 * 24 * time.Hour
)

// Unanswered weighs the contracts that peer signed, that self has not signed in any way, and that did not end more than
// unansweredFor before now: each counts one, and one more for every whole unansweredUnit of content. What another peer proposed
// does not count for those that it names.
func (s *Store) Unanswered(ctx context.Context, peer, self gateway.PeerID, now time.Time) (int, error) {
	var n int
	err := s.read.QueryRowContext(ctx, `SELECT coalesce(sum(1 + length(c.content) / ?), 0) FROM contracts c WHERE c.not_after >= ?
		AND EXISTS (SELECT 1 FROM signatures s WHERE s.contract = c.hash AND s.peer = ?)
		AND NOT EXISTS (SELECT 1 FROM signatures s WHERE s.contract = c.hash AND s.peer = ?)`,
		unansweredUnit, now.Add(-unansweredFor).Unix(), string(peer), string(self)).Scan(&n)
	return n, unavailable(err, "contracts")
}

// Changes counts the changes of contracts and signatures by any process on this database.
func (s *Store) Changes(ctx context.Context) (int64, error) {
	var n int64
	err := s.read.QueryRowContext(ctx, `SELECT counter FROM contract_changes`).Scan(&n)
	return n, unavailable(err, "changes")
}

type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func contractOf(ctx context.Context, q queryer, hash gateway.ContentHash) (contract.Record, error) {
	rec := contract.Record{Hash: hash}
	var received int64
	err := q.QueryRowContext(ctx, `SELECT content, received_at FROM contracts WHERE hash = ?`, string(hash)).Scan((*[]byte)(&rec.Raw), &received)
	if errors.Is(err, sql.ErrNoRows) {
		return rec, gateway.Errorf(gateway.NotFound, "contract: no such content hash")
	}
	if err != nil {
		return rec, err
	}
	rec.Received = fromMilli(received)
	signed, err := signatures(ctx, q, hash)
	rec.Signed = signed
	return rec, err
}

// contracts reads whole contracts; limit 0 is all that the clause selects.
func contracts(ctx context.Context, q queryer, limit int, clause string, args ...any) ([]contract.Record, error) {
	recs, _, err := page(ctx, q, limit, clause, args...)
	return recs, err
}

func page(ctx context.Context, q queryer, limit int, clause string, args ...any) (recs []contract.Record, more *contract.Position, err error) {
	rows, err := q.QueryContext(ctx, `SELECT hash, content, created_at, received_at FROM contracts `+clause, args...)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	var last contract.Position
	size := 0
	for rows.Next() {
		var rec contract.Record
		var created, received int64
		if err := rows.Scan(&rec.Hash, (*[]byte)(&rec.Raw), &created, &received); err != nil {
			return nil, nil, err
		}
		size += len(rec.Raw)
		if limit > 0 && len(recs) > 0 && (len(recs) == limit || size > maxBytes) {
			more = &last
			break
		}
		rec.Received = fromMilli(received)
		last = contract.Position{Created: created, Hash: rec.Hash}
		recs = append(recs, rec)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, nil, err
	}
	for i := range recs {
		if recs[i].Signed, err = signatures(ctx, q, recs[i].Hash); err != nil {
			return nil, nil, err
		}
	}
	return recs, more, nil
}

func signatures(ctx context.Context, q queryer, hash gateway.ContentHash) ([]contract.Signed, error) {
	rows, err := q.QueryContext(ctx, `SELECT peer, type, jws, x5t, chain, signed_at, received_at FROM signatures WHERE contract = ?
		ORDER BY received_at, peer, type`, string(hash))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []contract.Signed
	for rows.Next() {
		sig := contract.Signed{Signature: contract.Signature{Hash: hash}}
		var chain []byte
		var signedAt, received int64
		if err := rows.Scan(&sig.Peer, &sig.Type, &sig.JWS, &sig.X5T, &chain, &signedAt, &received); err != nil {
			return nil, err
		}
		if sig.Chain, err = x509.ParseCertificates(chain); err != nil {
			return nil, err
		}
		sig.SignedAt, sig.Received = time.Unix(signedAt, 0).UTC(), fromMilli(received)
		all = append(all, sig)
	}
	return all, rows.Err()
}
