package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway/contract"
)

// PutPeer keeps what is known of another peer (FSC Core: id, name and address of negotiated peers are persisted). An empty
// address leaves the one that is there.
func (s *Store) PutPeer(ctx context.Context, p contract.KnownPeer, now time.Time) error {
	return s.exec(ctx, "peer", `INSERT INTO peers (id, name, address, changed_at) VALUES (?,?,?,?) ON CONFLICT (id) DO UPDATE SET
		name = excluded.name, address = CASE excluded.address WHEN '' THEN peers.address ELSE excluded.address END,
		changed_at = excluded.changed_at`, string(p.ID), p.Name, p.Address, unixMilli(now))
}

// Peers returns known peers by id: those named in ids if there are any, else the page after the id after (descending order unless
// ascending), at most limit, whose name contains name in any case.
func (s *Store) Peers(ctx context.Context, f contract.PeerFilter) ([]contract.KnownPeer, error) {
	where, args := `WHERE 1 = 1`, []any{}
	order, than := "DESC", "<"
	if f.Ascending {
		order, than = "ASC", ">"
	}
	if len(f.IDs) > 0 {
		marks, ids := in(f.IDs)
		where, args = where+` AND id IN (`+marks+`)`, append(args, ids...)
	} else {
		if f.Name != "" {
			where, args = where+` AND lower(name) LIKE ? ESCAPE '\'`, append(args, "%"+likeEscaper.Replace(strings.ToLower(f.Name))+"%")
		}
		if f.After != "" {
			where, args = where+` AND id `+than+` ?`, append(args, string(f.After))
		}
	}
	if !f.Since.IsZero() {
		where, args = where+` AND (announced_at = 0 OR announced_at >= ?)`, append(args, unixMilli(f.Since))
	}
	limit := f.Limit
	if len(f.IDs) > 0 {
		limit = len(f.IDs)
	}
	where += fmt.Sprintf(` ORDER BY id %s LIMIT %d`, order, limit)
	rows, err := s.read.QueryContext(ctx, `SELECT id, name, address, announced_at FROM peers `+where, args...)
	if err != nil {
		return nil, s.unavailable(err, "peers")
	}
	defer rows.Close()
	var all []contract.KnownPeer
	for rows.Next() {
		var p contract.KnownPeer
		var announced int64
		if err := rows.Scan((*string)(&p.ID), &p.Name, &p.Address, &announced); err != nil {
			return nil, s.unavailable(err, "peers")
		}
		p.Announced = fromMilli(announced)
		all = append(all, p)
	}
	return all, s.unavailable(rows.Err(), "peers")
}

var likeEscaper = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)
