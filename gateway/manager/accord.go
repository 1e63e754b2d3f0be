package manager

import (
	"context"
	"crypto"
	"log/slog"
	"slices"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/jose"
)

// renewEvery is how often contracts are looked at that end soon.
const renewEvery = time.Hour

// ownAccord does what this peer does without a person: it signs again what it signed under a certificate of before, accepts
// publications if it is a directory that does so, and proposes contracts anew that end soon. Each is recorded as an act of systeem;
// what does not succeed is tried again at the next look.
//
// Of several managers one does it at a time: a second proposal of the same renewal would have another hash, and nothing would tell that
// one of the two is too many.
func (m *Manager) ownAccord(ctx context.Context) {
	_, err := m.o.Store.Alone(ctx, "own accord", func(ctx context.Context) error { m.actAlone(ctx); return nil })
	if err != nil && ctx.Err() == nil {
		m.o.Log.WarnContext(ctx, "nothing done of our own accord", slog.Any("error", err))
	}
}

func (m *Manager) actAlone(ctx context.Context) {
	for what, do := range map[string]func(context.Context) error{
		"contracts not signed again": m.resign, "publications not accepted": m.acceptPublications, "contracts not renewed": m.renewals,
	} {
		if err := do(ctx); err != nil && ctx.Err() == nil {
			m.o.Log.WarnContext(ctx, "not done of our own accord", slog.String("what", what), slog.Any("error", err))
		}
	}
}

// resign puts this peer's accept again on every contract that stands on a certificate of before, once the certificate was renewed
// on the same key (FSC Core counts no signature whose certificate expired). Another key is a person's decision: a grant may name
// the old one. A certificate that was revoked gets nothing.
func (m *Manager) resign(ctx context.Context) error {
	signer := m.o.Signer()
	x5t := jose.Thumbprint(signer.Cert)
	if m.resigned == x5t {
		return nil
	}
	now := m.o.Now()
	recs, err := m.o.Store.InForce(ctx, now)
	if err != nil {
		return err
	}
	complete := true
	for _, rec := range recs {
		old, ok := rec.Of(m.o.Self.ID, contract.Accept)
		if !ok || old.X5T == x5t || ended(rec) {
			continue
		}
		key, comparable := old.Chain[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		if !comparable || !key.Equal(signer.Cert.PublicKey) {
			m.o.Log.WarnContext(ctx, "contract stands on another key than that of the certificate; accept it again, or propose a new one",
				slog.String("contract", string(rec.Hash)))
			continue
		}
		if _, err := m.o.VerifyChain(old.Chain, now); err != nil && !now.After(old.Chain[0].NotAfter) {
			if gateway.KindOf(err) == gateway.Unavailable {
				return err
			}
			m.o.Log.WarnContext(ctx, "contract stands on a certificate that counts no more; a person must accept it again",
				slog.String("contract", string(rec.Hash)), slog.Any("error", err))
			continue
		}
		if now.Unix() <= old.SignedAt.Unix() { // it takes the place of the first only when it is later, in whole seconds
			complete = false
			continue
		}
		c, err := m.parse(rec)
		if err != nil {
			return err
		}
		act := audit.Act{Handeling: "contract-opnieuw-ondertekend", Door: audit.Systeem, Object: string(rec.Hash)}
		if err := m.sign(ctx, c, contract.Accept, false, act); err != nil {
			return err
		}
	}
	if complete {
		m.resigned = x5t
	}
	return nil
}

// maxListed is how many publications of one peer are accepted without a person: who reads a directory reads all of it, or nothing
// (maxPages), so that nobody may fill it alone.
const maxListed = 50

// acceptPublications puts the accept of this directory on publications that it need not think about: all other parties have
// accepted and have announced themselves, no other peer publishes the same gemeentecode, and their peer has not maxListed already.
func (m *Manager) acceptPublications(ctx context.Context) error {
	if !m.o.AcceptPublications {
		return nil
	}
	changes, err := m.o.Store.Changes(ctx)
	if err != nil {
		return err
	}
	if !m.acceptable.Swap(false) && changes == m.looked {
		return nil
	}
	if err := m.acceptEach(ctx); err != nil {
		m.acceptable.Store(true)
		return err
	}
	m.looked = changes
	return nil
}

func (m *Manager) acceptEach(ctx context.Context) error {
	if _, err := m.renew(ctx, 0); err != nil { // what another process accepted a moment ago counts
		return err
	}
	recs, err := m.o.Store.InForce(ctx, m.o.Now())
	if err != nil {
		return err
	}
	for _, rec := range recs {
		if _, ours := rec.Of(m.o.Self.ID, contract.Accept); ours || ended(rec) {
			continue
		}
		c, err := m.parse(rec)
		if err != nil {
			return err
		}
		ok, err := m.mayPublish(ctx, c, rec)
		if err != nil {
			return err
		}
		if ok {
			act := audit.Act{Handeling: handelingen[contract.Accept], Door: audit.Systeem, Object: string(rec.Hash)}
			if err := m.sign(ctx, c, contract.Accept, false, act); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Manager) mayPublish(ctx context.Context, c *contract.Content, rec contract.Record) (bool, error) {
	publications := c.Publications()
	if len(publications) == 0 || len(publications) != len(c.Grants) {
		return false, nil
	}
	sigs, _ := m.counting(rec, m.o.Now())
	for _, peer := range m.others(c) {
		accepted := slices.ContainsFunc(sigs, func(s contract.Signature) bool { return s.Peer == peer && s.Type == contract.Accept })
		found, err := m.o.Store.Peers(ctx, contract.PeerFilter{IDs: []gateway.PeerID{peer}, Since: m.o.Now().Add(-announcedFor)})
		if err != nil {
			return false, err
		}
		if !accepted || len(found) != 1 || found[0].Announced.IsZero() {
			return false, nil
		}
	}
	snap, err := m.current(ctx)
	if err != nil {
		return false, err
	}
	listed := map[gateway.PeerID]int{}
	for _, p := range snap.published {
		if !m.o.Now().After(p.until) {
			listed[p.Peer]++
		}
	}
	for _, p := range publications {
		if p.Directory != m.o.Self.ID {
			return false, nil
		}
		if listed[p.Peer]++; listed[p.Peer] > maxListed {
			m.o.Log.WarnContext(ctx, "publication waits for a person: its peer publishes many services already",
				slog.String("contract", string(c.Hash())), slog.String("peer", string(p.Peer)))
			return false, nil
		}
		if p.Gemeentecode != "" && slices.ContainsFunc(snap.published, func(other published) bool {
			return other.Gemeentecode == p.Gemeentecode && other.Peer != p.Peer && !m.o.Now().After(other.until)
		}) {
			m.o.Log.WarnContext(ctx, "publication waits for a person: another peer publishes this gemeentecode",
				slog.String("contract", string(c.Hash())), slog.String("gemeentecode", p.Gemeentecode))
			return false, nil
		}
	}
	return true, nil
}

// renewals proposes contracts anew that end within RenewBefore and that this peer needs: it asks under them, or publishes with
// them. Once: whatever became of the proposal, a person decides what follows.
func (m *Manager) renewals(ctx context.Context) error {
	now := m.o.Now()
	if m.o.RenewBefore == 0 || !m.renewed.IsZero() && now.Sub(m.renewed).Abs() < renewEvery {
		return nil
	}
	left, err := m.o.Store.Left(ctx)
	if err != nil || !left.IsZero() {
		return err
	}
	recs, err := m.o.Store.InForce(ctx, now)
	if err != nil {
		return err
	}
	all := make([]*contract.Content, len(recs))
	for i, rec := range recs {
		if all[i], err = m.parse(rec); err != nil {
			return err
		}
	}
	for i, rec := range recs {
		c := all[i]
		if c.NotAfter().After(now.Add(m.o.RenewBefore)) || !m.needs(c) {
			continue
		}
		sigs, _ := m.counting(rec, now)
		if contract.StateAt(c, sigs, now) != contract.Valid || slices.ContainsFunc(all, func(o *contract.Content) bool {
			return o.Supersedes(c) && o.Covers(c) && o.NotAfter().After(c.NotAfter())
		}) {
			continue
		}
		hash, err := m.Renew(ctx, rec.Hash, time.Time{}, audit.Systeem)
		if err != nil {
			m.o.Log.WarnContext(ctx, "contract that ends soon is not proposed anew", slog.String("contract", string(rec.Hash)), slog.Any("error", err))
			continue
		}
		m.o.Log.InfoContext(ctx, "contract that ends soon is proposed anew", slog.String("contract", string(rec.Hash)), slog.String("new", string(hash)))
	}
	m.renewed = now
	return nil
}

// needs reports whether this peer asks under a grant of c, or publishes with it.
func (m *Manager) needs(c *contract.Content) bool {
	return slices.ContainsFunc(c.Grants, func(g contract.GrantEnvelope) bool {
		if g.Data.Outway != nil {
			return g.Data.Outway.PeerID == m.o.Self.ID
		}
		return g.Data.Service.PeerID == m.o.Self.ID
	})
}

// Renew proposes a contract anew, with the same grants, from the moment that it ends (at once, if it ended) until until; the zero
// time is as long as it lasted. The error is of kind Invalid when a purpose in it is no longer what this peer knows.
func (m *Manager) Renew(ctx context.Context, hash gateway.ContentHash, until time.Time, door string) (gateway.ContentHash, error) {
	rec, err := m.o.Store.Contract(ctx, hash)
	if err != nil {
		return "", err
	}
	c, err := m.parse(rec)
	if err != nil {
		return "", err
	}
	n := contract.NewContent{NotBefore: c.NotAfter(), NotAfter: until}
	if now := m.o.Now(); n.NotBefore.Before(now) {
		n.NotBefore = now
	}
	if until.IsZero() {
		n.NotAfter = n.NotBefore.Add(c.NotAfter().Sub(c.NotBefore()))
	}
	for _, g := range c.Grants {
		n.Grants = append(n.Grants, g.Data)
	}
	return m.propose(ctx, n, audit.Act{
		Handeling: "contract-vernieuwing-voorgesteld", Door: door, Details: map[string]string{"vervangt": string(hash)},
	})
}

// Predecessor is the newest contract of this peer that hash takes the place of: the same peers, service and purpose. NotFound if
// there is none.
func (m *Manager) Predecessor(ctx context.Context, hash gateway.ContentHash) (contract.Summary, error) {
	all, err := m.List(ctx)
	if err != nil {
		return contract.Summary{}, err
	}
	i := slices.IndexFunc(all, func(s contract.Summary) bool { return s.Hash == hash })
	if i < 0 {
		return contract.Summary{}, gateway.Errorf(gateway.NotFound, "contract: no such content hash")
	}
	for _, s := range all { // newest first
		if s.State != contract.Proposed && s.State != contract.Rejected && all[i].Content.Supersedes(s.Content) {
			return s, nil
		}
	}
	return contract.Summary{}, gateway.Errorf(gateway.NotFound, "contract: it takes the place of no other")
}

// Leave takes this peer out of the group: it announces itself no more, and revokes or rejects every contract that it is a party
// to, its publications among them. Others drop its address when that reaches them. door is the pseudonym of who does it.
func (m *Manager) Leave(ctx context.Context, door string) error {
	now := m.o.Now()
	if err := m.record(ctx, audit.Act{Handeling: "deelname-beeindigd", Door: door, Object: string(m.o.Rules.Group.ID)}); err != nil {
		return err
	}
	if err := m.o.Store.SetLeft(ctx, now); err != nil {
		return err
	}
	recs, err := m.o.Store.InForce(ctx, now)
	if err != nil {
		return err
	}
	for _, rec := range recs {
		if ended(rec) {
			continue
		}
		no := m.Reject
		if _, accepted := rec.Of(m.o.Self.ID, contract.Accept); accepted {
			no = m.Revoke
		}
		if err := no(ctx, rec.Hash, door); err != nil {
			return err
		}
	}
	return nil
}

// Rejoin makes this peer take part again, if it had left, and announces it to every directory now. The error is the first of them.
func (m *Manager) Rejoin(ctx context.Context, door string) error {
	left, err := m.o.Store.Left(ctx)
	if err != nil {
		return err
	}
	if !left.IsZero() {
		if err := m.record(ctx, audit.Act{Handeling: "deelname-hervat", Door: door, Object: string(m.o.Rules.Group.ID)}); err != nil {
			return err
		}
		if err := m.o.Store.SetLeft(ctx, time.Time{}); err != nil {
			return err
		}
	}
	for id, f := range m.follows {
		f.refresh.Lock()
		err := m.announceTo(ctx, id, f)
		f.refresh.Unlock()
		if err == nil {
			err = m.refreshDirectory(ctx, id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Left says since when this peer has left the group; the zero time if it takes part.
func (m *Manager) Left(ctx context.Context) (time.Time, error) { return m.o.Store.Left(ctx) }

// announceMove tells the peers that contracts name where this manager is, when that changed since they were last told (FSC Core,
// announce). It ends when all of them know.
func (m *Manager) announceMove(ctx context.Context) {
	self := contract.KnownPeer{Peer: m.o.Self, Address: m.o.Address}
	told, err := m.o.Store.Peers(ctx, contract.PeerFilter{IDs: []gateway.PeerID{self.ID}})
	if err == nil && len(told) == 1 && told[0].Address == self.Address {
		return
	}
	waiting := map[gateway.PeerID]bool{}
	if recs, err := m.o.Store.InForce(ctx, m.o.Now()); err == nil {
		for _, rec := range recs {
			if c, err := m.parse(rec); err == nil && !ended(rec) {
				for _, peer := range m.others(c) {
					waiting[peer] = m.follows[peer] == nil // a directory hears it from followDirectory
				}
			}
		}
	}
	for attempts := 1; ; attempts++ {
		for peer, needs := range waiting {
			if !needs || m.announce(ctx, peer) == nil {
				delete(waiting, peer)
			}
		}
		if len(waiting) == 0 {
			if err := m.o.Store.PutPeer(ctx, self, m.o.Now()); err != nil && ctx.Err() == nil {
				m.o.Log.WarnContext(ctx, "own address not written", slog.Any("error", err))
			}
			return
		}
		timer := time.NewTimer(backoff(m.o.RetryStart, attempts))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}
