package store

import (
	"context"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"slices"
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
	err = s.inTx(ctx, "contract", func(tx *tx) error {
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

func insertContract(ctx context.Context, tx *tx, c *contract.Content, received time.Time) error {
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
	return rec, s.unavailable(err, "contract")
}

// InForce returns the contracts that did not end before now, with their signatures: all that may be valid now or later.
func (s *Store) InForce(ctx context.Context, now time.Time) ([]contract.Record, error) {
	recs, err := contracts(ctx, s.read, `WHERE not_after >= ?`, now.Unix())
	return recs, s.unavailable(err, "contracts")
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
	return recs, last, s.unavailable(err, "contracts")
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
	return n, s.unavailable(err, "contracts")
}

// Changes counts the changes of contracts and signatures by any process on this database.
func (s *Store) Changes(ctx context.Context) (int64, error) {
	var n int64
	err := s.read.QueryRowContext(ctx, `SELECT counter FROM contract_changes`).Scan(&n)
	return n, s.unavailable(err, "changes")
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
	signed, err := signatures(ctx, q, `WHERE contract = ?`, string(hash))
	rec.Signed = signed[hash]
	return rec, err
}

// contracts reads whole contracts in the order of their hashes: two statements, however many there are. A signature that comes between
// the two may be in it; one that was there before is.
func contracts(ctx context.Context, q queryer, where string, args ...any) ([]contract.Record, error) {
	rows, err := q.QueryContext(ctx, `SELECT hash, content, received_at FROM contracts `+where+` ORDER BY hash`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var recs []contract.Record
	for rows.Next() {
		var rec contract.Record
		var received int64
		if err := rows.Scan(&rec.Hash, (*[]byte)(&rec.Raw), &received); err != nil {
			return nil, err
		}
		rec.Received = fromMilli(received)
		recs = append(recs, rec)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || len(recs) == 0 {
		return nil, err
	}
	signed, err := signatures(ctx, q, `WHERE contract IN (SELECT hash FROM contracts `+where+`)`, args...)
	for i := range recs {
		recs[i].Signed = signed[recs[i].Hash]
	}
	return recs, err
}

// page reads at most limit contracts in the order of the clause, and at most maxBytes of content, but at least one. It looks at sizes
// first, so that no content is read that is not returned.
func page(ctx context.Context, q queryer, limit int, clause string, args ...any) (recs []contract.Record, more *contract.Position, err error) {
	rows, err := q.QueryContext(ctx, `SELECT hash, created_at, length(content) FROM contracts `+clause, args...)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	var hashes []gateway.ContentHash
	var last contract.Position
	total := 0
	for rows.Next() {
		var p contract.Position
		var size int
		if err := rows.Scan(&p.Hash, &p.Created, &size); err != nil {
			return nil, nil, err
		}
		total += size
		if len(hashes) > 0 && (len(hashes) == limit || total > maxBytes) {
			more = &last
			break
		}
		last = p
		hashes = append(hashes, p.Hash)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || len(hashes) == 0 {
		return nil, nil, err
	}
	marks, chosen := in(hashes)
	recs, err = contracts(ctx, q, `WHERE hash IN (`+marks+`)`, chosen...)
	order := make(map[gateway.ContentHash]int, len(hashes))
	for i, hash := range hashes {
		order[hash] = i
	}
	slices.SortFunc(recs, func(a, b contract.Record) int { return order[a.Hash] - order[b.Hash] })
	return recs, more, err
}

// signatures reads signatures by contract, each in the order in which they came.
func signatures(ctx context.Context, q queryer, where string, args ...any) (map[gateway.ContentHash][]contract.Signed, error) {
	rows, err := q.QueryContext(ctx, `SELECT contract, peer, type, jws, x5t, chain, signed_at, received_at FROM signatures `+where+`
		ORDER BY received_at, peer, type`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[gateway.ContentHash][]contract.Signed{}
	for rows.Next() {
		var sig contract.Signed
		var chain []byte
		var signedAt, received int64
		if err := rows.Scan(&sig.Hash, &sig.Peer, &sig.Type, &sig.JWS, &sig.X5T, &chain, &signedAt, &received); err != nil {
			return nil, err
		}
		if sig.Chain, err = x509.ParseCertificates(chain); err != nil {
			return nil, err
		}
		sig.SignedAt, sig.Received = time.Unix(signedAt, 0).UTC(), fromMilli(received)
		all[sig.Hash] = append(all[sig.Hash], sig)
	}
	return all, rows.Err()
}
