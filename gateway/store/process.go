package store

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// PutCertificate keeps a certificate, leaf first, with which a process of this peer signs in a role, and forgets those that ended.
func (s *Store) PutCertificate(ctx context.Context, role string, chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 0 {
		return gateway.Errorf(gateway.Invalid, "certificate: none given")
	}
	var der []byte
	for _, c := range chain {
		der = append(der, c.Raw...)
	}
	sum := sha256.Sum256(chain[0].Raw)
	if err := s.exec(ctx, "certificates", `DELETE FROM own_certificates WHERE not_after < ?`, unixMilli(now)); err != nil {
		return err
	}
	return s.exec(ctx, "certificates", `INSERT INTO own_certificates (role, x5t, chain, not_after, seen_at) VALUES (?,?,?,?,?)
		ON CONFLICT (role, x5t) DO UPDATE SET seen_at = excluded.seen_at`,
		role, base64.RawURLEncoding.EncodeToString(sum[:]), der, unixMilli(chain[0].NotAfter), unixMilli(now))
}

// certificateKept is how long a certificate counts as one of ours after the last process that has it said so: much longer than a token
// lives, and than a process is away to restart.
const certificateKept = 24 * time.Hour

// Certificates returns the certificates that were last put for a role and have not ended, leaf first, the newest first.
func (s *Store) Certificates(ctx context.Context, role string, now time.Time) ([][]*x509.Certificate, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT chain FROM own_certificates WHERE role = ? AND not_after >= ? AND seen_at >= ?
		ORDER BY seen_at DESC, x5t`, role, unixMilli(now), unixMilli(now.Add(-certificateKept)))
	if err != nil {
		return nil, s.unavailable(err, "certificates")
	}
	defer rows.Close()
	var all [][]*x509.Certificate
	for rows.Next() {
		var der []byte
		if err := rows.Scan(&der); err != nil {
			return nil, s.unavailable(err, "certificates")
		}
		chain, err := x509.ParseCertificates(der)
		if err != nil || len(chain) == 0 {
			return nil, gateway.Wrap(gateway.Internal, err, "certificate in the database")
		}
		all = append(all, chain)
	}
	return all, s.unavailable(rows.Err(), "certificates")
}

// ClaimTransactions takes transaction ids for who asks: of all who ever ask for one, in whichever process, one hears true. It is one
// statement, so that all or none are taken. After an error of kind Unavailable they may be taken all the same: ask for others.
func (s *Store) ClaimTransactions(ctx context.Context, ids []gateway.TransactionID) (fresh []bool, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	args := make([]any, 0, 2*len(ids))
	for _, id := range ids {
		args = append(args, string(id), unixMilli(id.Time()))
	}
	rows, err := s.write.QueryContext(ctx, `INSERT INTO transaction_claims (id, at) VALUES (?,?)`+strings.Repeat(`,(?,?)`, len(ids)-1)+
		` ON CONFLICT (id) DO NOTHING RETURNING id`, args...)
	if err != nil {
		return nil, s.unavailable(err, "transaction ids")
	}
	defer rows.Close()
	taken := map[gateway.TransactionID]bool{}
	for rows.Next() {
		var id gateway.TransactionID
		if err := rows.Scan(&id); err != nil {
			return nil, s.unavailable(err, "transaction ids")
		}
		taken[id] = true
	}
	if err := rows.Err(); err != nil {
		return nil, s.unavailable(err, "transaction ids")
	}
	fresh = make([]bool, len(ids))
	for i, id := range ids {
		fresh[i] = taken[id]
		delete(taken, id) // the same id twice is one that was there before
	}
	return fresh, nil
}

// ForgetTransactions drops the ids whose own time lies before before.
func (s *Store) ForgetTransactions(ctx context.Context, before time.Time) error {
	return s.exec(ctx, "transaction ids", `DELETE FROM transaction_claims WHERE at < ?`, unixMilli(before))
}
