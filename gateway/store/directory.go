package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
)

// Announce keeps name and address of a peer that announced itself at now.
func (s *Store) Announce(ctx context.Context, p contract.KnownPeer, now time.Time) error {
	return s.exec(ctx, "peer", `INSERT INTO peers (id, name, address, changed_at, announced_at) VALUES (?,?,?,?,?) ON CONFLICT (id)
		DO UPDATE SET name = excluded.name, address = excluded.address, changed_at = excluded.changed_at,
		announced_at = excluded.announced_at`, string(p.ID), p.Name, p.Address, unixMilli(now), unixMilli(now))
}

// DropPeer forgets what a peer told us of itself: it left.
func (s *Store) DropPeer(ctx context.Context, id gateway.PeerID) error {
	return s.exec(ctx, "peer", `DELETE FROM peers WHERE id = ?`, string(id))
}

// PeerAddresses are the addresses at which the manager of a peer may be: first the one that it told us itself, then those that
// directories list.
func (s *Store) PeerAddresses(ctx context.Context, id gateway.PeerID) ([]string, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT address FROM (SELECT address, 0 AS rank, '' AS directory FROM peers WHERE id = ?
		UNION ALL SELECT address, 1, directory FROM directory_peers WHERE id = ?) AS a WHERE address <> '' ORDER BY rank, directory`, string(id), string(id))
	if err != nil {
		return nil, s.unavailable(err, "peers")
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var address string
		if err := rows.Scan(&address); err != nil {
			return nil, s.unavailable(err, "peers")
		}
		all = append(all, address)
	}
	return all, s.unavailable(rows.Err(), "peers")
}

// Directory returns what was last kept of one directory: peers by id, services by their key.
func (s *Store) Directory(ctx context.Context, id gateway.PeerID) (peers []contract.KnownPeer, services []contract.Listing, err error) {
	rows, err := s.read.QueryContext(ctx, `SELECT id, name, address FROM directory_peers WHERE directory = ? ORDER BY id`, string(id))
	if err != nil {
		return nil, nil, s.unavailable(err, "directory")
	}
	defer rows.Close()
	byID := map[gateway.PeerID]contract.KnownPeer{}
	for rows.Next() {
		p := contract.KnownPeer{Origin: contract.Listed}
		if err := rows.Scan((*string)(&p.ID), &p.Name, &p.Address); err != nil {
			return nil, nil, s.unavailable(err, "directory")
		}
		peers, byID[p.ID] = append(peers, p), p
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, nil, s.unavailable(err, "directory")
	}
	listed, err := s.read.QueryContext(ctx, `SELECT peer, name, delegator, delegator_name, protocol, properties, confirmed
		FROM directory_services WHERE directory = ? ORDER BY peer, name, delegator`, string(id))
	if err != nil {
		return nil, nil, s.unavailable(err, "directory")
	}
	defer listed.Close()
	for listed.Next() {
		l := contract.Listing{Directory: id}
		var peer, properties string
		if err := listed.Scan(&peer, (*string)(&l.Service), (*string)(&l.Delegator.ID), &l.Delegator.Name, &l.Protocol, &properties, &l.Confirmed); err != nil {
			return nil, nil, s.unavailable(err, "directory")
		}
		l.Peer = byID[gateway.PeerID(peer)]
		l.Peer.ID = gateway.PeerID(peer)
		if properties != "" {
			l.Properties = json.RawMessage(properties)
		}
		l.Gemeentecode = contract.GemeentecodeOf(l.Properties)
		services = append(services, l)
	}
	return peers, services, s.unavailable(listed.Err(), "directory")
}

// PutDirectory replaces what is kept of one directory, in one transaction.
func (s *Store) PutDirectory(ctx context.Context, id gateway.PeerID, peers []contract.KnownPeer, services []contract.Listing) error {
	return s.inTx(ctx, "directory", func(tx *tx) error {
		for _, table := range []string{"directory_peers", "directory_services"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE directory = ?`, string(id)); err != nil {
				return err
			}
		}
		for _, p := range peers {
			if _, err := tx.ExecContext(ctx, `INSERT INTO directory_peers (directory, id, name, address) VALUES (?,?,?,?)`,
				string(id), string(p.ID), p.Name, p.Address); err != nil {
				return err
			}
		}
		for _, l := range services {
			if _, err := tx.ExecContext(ctx, `INSERT INTO directory_services (directory, peer, name, delegator, delegator_name, protocol,
				properties, confirmed) VALUES (?,?,?,?,?,?,?,?)`, string(id), string(l.Peer.ID), string(l.Service), string(l.Delegator.ID),
				l.Delegator.Name, l.Protocol, string(l.Properties), l.Confirmed); err != nil {
				return err
			}
		}
		return nil
	})
}

// Left says since when this peer has left the group; the zero time if it takes part.
func (s *Store) Left(ctx context.Context) (time.Time, error) {
	var at int64
	err := s.read.QueryRowContext(ctx, `SELECT at FROM membership_ended`).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	return fromMilli(at), s.unavailable(err, "membership")
}

// SetLeft writes that this peer left at a moment, or, with the zero time, that it takes part.
func (s *Store) SetLeft(ctx context.Context, at time.Time) error {
	return s.inTx(ctx, "membership", func(tx *tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM membership_ended`); err != nil || at.IsZero() {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO membership_ended (one, at) VALUES (1, ?)`, unixMilli(at))
		return err
	})
}
