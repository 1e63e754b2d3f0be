package manager

import (
	"context"
	"crypto/x509"
	"maps"
	"slices"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/jose"
)

// handelingen are the acts of this peer in the audit log.
var handelingen = map[contract.SignatureType]string{
	contract.Accept: "contract-geaccepteerd",
	contract.Reject: "contract-geweigerd",
	contract.Revoke: "contract-ingetrokken",
}

// ontvangen are the acts of another peer in the audit log.
var ontvangen = map[contract.SignatureType]string{
	contract.Accept: "contract-accept-ontvangen",
	contract.Reject: "contract-weigering-ontvangen",
	contract.Revoke: "contract-intrekking-ontvangen",
}

// Propose makes a contract, accepts it and has it brought to every other party. door is the pseudonym of who does it. Group and Now
// may be left out of n.
func (m *Manager) Propose(ctx context.Context, n contract.NewContent, door string) (gateway.ContentHash, error) {
	return m.propose(ctx, n, audit.Act{Handeling: "contract-voorgesteld", Door: door})
}

// propose makes, checks and signs a contract, and records act with its hash.
func (m *Manager) propose(ctx context.Context, n contract.NewContent, act audit.Act) (gateway.ContentHash, error) {
	now := m.o.Now()
	if n.Group == "" {
		n.Group = m.o.Rules.Group.ID
	}
	if n.Now.IsZero() {
		n.Now = now
	}
	c, err := contract.New(n)
	if err != nil {
		return "", err
	}
	if err := c.Validate(m.o.Rules, now); err != nil {
		return "", err
	}
	if err := m.checkOwn(ctx, c); err != nil {
		return "", err
	}
	act.Object = string(c.Hash())
	return c.Hash(), m.sign(ctx, c, contract.Accept, true, act)
}

// Accept puts this peer's accept on a contract. Doing it again changes nothing, unless this peer's certificate was renewed since.
func (m *Manager) Accept(ctx context.Context, hash gateway.ContentHash, door string) error {
	return m.act(ctx, hash, contract.Accept, door)
}

// Reject refuses a contract that is still proposed. It is final.
func (m *Manager) Reject(ctx context.Context, hash gateway.ContentHash, door string) error {
	return m.act(ctx, hash, contract.Reject, door)
}

// Revoke ends a contract that this peer accepted. It is final.
func (m *Manager) Revoke(ctx context.Context, hash gateway.ContentHash, door string) error {
	return m.act(ctx, hash, contract.Revoke, door)
}

func (m *Manager) act(ctx context.Context, hash gateway.ContentHash, t contract.SignatureType, door string) error {
	rec, err := m.o.Store.Contract(ctx, hash)
	if err != nil {
		return err
	}
	c, err := m.parse(rec)
	if err != nil {
		return err
	}
	if t == contract.Accept {
		if m.o.Now().After(c.NotAfter()) {
			return gateway.Errorf(gateway.Conflict, "contract: its validity has ended; propose a new one")
		}
		if err := m.checkOwn(ctx, c); err != nil {
			return err
		}
	}
	if err := m.mayAct(c, rec, t); err != nil {
		return err
	}
	return m.sign(ctx, c, t, false, audit.Act{Handeling: handelingen[t], Door: door, Object: string(hash)})
}

// mayAct holds our own acts to the states of FSC Core: what is proposed is rejected, what was accepted is revoked.
func (m *Manager) mayAct(c *contract.Content, rec contract.Record, t contract.SignatureType) error {
	_, accepted := rec.Of(m.o.Self.ID, contract.Accept)
	_, rejected := rec.Of(m.o.Self.ID, contract.Reject)
	sigs, _ := m.counting(rec, m.o.Now())
	state := contract.StateAt(c, sigs, m.o.Now())
	switch {
	case t == contract.Reject && (state == contract.Valid || state == contract.NotYet):
		return gateway.Errorf(gateway.Conflict, "contract: all parties have accepted it; revoke it instead")
	case t == contract.Revoke && !accepted:
		return gateway.Errorf(gateway.Conflict, "contract: this peer has not accepted it; reject it instead")
	case t == contract.Revoke && rejected:
		return gateway.Errorf(gateway.Conflict, "contract: this peer has rejected it, which is final")
	}
	return nil
}

// checkOwn checks what this peer must know before it puts its accept: it is a party, it can reach the others, and every purpose
// means what this peer knows it to mean.
func (m *Manager) checkOwn(ctx context.Context, c *contract.Content) error {
	if !slices.Contains(c.Parties(), m.o.Self.ID) {
		return gateway.Errorf(gateway.Invalid, "content.grants: no grant names this peer, %s", m.o.Self.ID)
	}
	for _, peer := range m.others(c) {
		addresses, err := m.o.Peers.addresses(ctx, peer)
		if err != nil {
			return err
		}
		if len(addresses) == 0 {
			return gateway.Errorf(gateway.Invalid, "peer %s: the address of its manager is not known; wait until a directory lists it, or add it to peers", peer)
		}
	}
	return m.checkGrants(c)
}

func (m *Manager) checkGrants(c *contract.Content) error {
	for _, g := range c.ConnectionGrants() {
		if err := m.o.CheckProperties(g); err != nil {
			return gateway.Wrap(gateway.KindOf(err), err, "grant "+string(g.Hash))
		}
	}
	return nil
}

func (m *Manager) others(c *contract.Content) []gateway.PeerID {
	return slices.DeleteFunc(c.Parties(), func(p gateway.PeerID) bool { return p == m.o.Self.ID })
}

// sign makes this peer's signature, records the act, and writes signature and deliveries at once.
func (m *Manager) sign(ctx context.Context, c *contract.Content, t contract.SignatureType, submit bool, act audit.Act) error {
	now, signer := m.o.Now(), m.o.Signer()
	if err := m.publish(ctx, signer); err != nil {
		return err
	}
	jws, err := contract.Sign(signer, c.Hash(), t, now)
	if err != nil {
		return err
	}
	parsed, err := contract.ParseSignature(jws)
	if err != nil {
		return err
	}
	sig := contract.Signed{Signature: *parsed, Chain: chainOf(signer), Received: now}
	if err := sig.Verify(signer.Cert, c.Hash()); err != nil {
		return err
	}
	if sig.Peer != m.o.Self.ID {
		return gateway.Errorf(gateway.Internal, "certificate: it is peer %s's, this is %s", sig.Peer, m.o.Self.ID)
	}
	rec, err := m.o.Store.Contract(ctx, c.Hash())
	if err != nil && gateway.KindOf(err) != gateway.NotFound {
		return err
	}
	if adds, err := rec.Admit(sig); err != nil || !adds {
		return err
	}
	var deliver []contract.Delivery
	for _, peer := range m.others(c) {
		deliver = append(deliver, contract.Delivery{Receiver: peer, Submit: submit, Next: now})
	}
	if err := m.record(ctx, act); err != nil {
		return err
	}
	if err := m.put(ctx, c, sig, deliver); err != nil {
		return err
	}
	m.nudge()
	return nil
}

func chainOf(s *jose.Signer) []*x509.Certificate {
	chain := []*x509.Certificate{s.Cert}
	for _, cert := range s.Chain {
		if !cert.Equal(s.Cert) { // a Chain that starts with Cert is one that was read from a file
			chain = append(chain, cert)
		}
	}
	return chain
}

// take takes in a signature that peer submits over c, by POST /contracts or by a PUT, and reports nothing new as success.
func (m *Manager) take(ctx context.Context, from caller, c *contract.Content, jws string, t contract.SignatureType) error {
	now := m.o.Now()
	rec, err := m.o.Store.Contract(ctx, c.Hash())
	known := err == nil
	if err != nil && gateway.KindOf(err) != gateway.NotFound {
		return err
	}
	if !known { // what we hold is the same content, and was valid when it came
		if err := c.Validate(m.o.Rules, now); err != nil {
			return err
		}
	} else if t == contract.Accept && now.After(c.NotAfter()) {
		return gateway.Errorf(gateway.Invalid, "content.validity.not_after: is in the past")
	}
	if err := c.CheckParties(from.peer.ID, m.o.Self.ID); err != nil {
		return err
	}
	sig, err := m.verify(ctx, from, rec, jws, t, c.Hash())
	if err != nil {
		return err
	}
	adds, err := rec.Admit(sig)
	if err != nil || !adds {
		return err
	}
	if !known {
		if err := m.room(ctx, from.peer.ID, now); err != nil {
			return err
		}
	}
	act := audit.Act{
		Handeling: ontvangen[t], Door: audit.Systeem, Object: string(c.Hash()), Details: map[string]string{"peer": "oin:" + string(from.peer.ID)},
	}
	if err := m.record(ctx, act); err != nil {
		return err
	}
	if err := m.put(ctx, c, sig, nil); err != nil {
		return err
	}
	m.glance()
	return nil
}

// room refuses another contract of a peer that has too many waiting for our answer. It may pass by itself, so the peer may retry.
func (m *Manager) room(ctx context.Context, peer gateway.PeerID, now time.Time) error {
	waiting, err := m.o.Store.Unanswered(ctx, peer, m.o.Self.ID, now)
	if err == nil && waiting >= maxUnanswered {
		err = gateway.Errorf(gateway.Unavailable, "contracts: %d of peer %s wait for an answer; no more are taken until some are answered", waiting, peer)
	}
	return err
}

// verify checks one peer's signature: type, content, time, certificate, owner.
func (m *Manager) verify(ctx context.Context, from caller, rec contract.Record, jws string, t contract.SignatureType, hash gateway.ContentHash) (contract.Signed, error) {
	sig, err := contract.ParseSignature(jws)
	if err != nil {
		return contract.Signed{}, err
	}
	if err := sig.Is(t); err != nil {
		return contract.Signed{}, err
	}
	if sig.Hash != hash {
		return contract.Signed{}, gateway.WithCode(gateway.Invalid, contract.CodeHashMismatch,
			"signature contract_content_hash: is not the hash of this content")
	}
	now := m.o.Now()
	if sig.SignedAt.After(now.Add(clockSkew)) {
		return contract.Signed{}, gateway.WithCode(gateway.Invalid, contract.CodeSignature, "signature signed_at: is in the future")
	}
	chain, err := m.signingChain(ctx, from, rec, sig.X5T)
	if err != nil {
		return contract.Signed{}, err
	}
	peer, err := m.o.VerifyChain(chain, now)
	if err != nil {
		return contract.Signed{}, &gateway.Error{Kind: gateway.KindOf(err), Code: contract.CodePeerCertificate, Message: "signature", Cause: err}
	}
	if err := sig.Verify(chain[0], hash); err != nil {
		return contract.Signed{}, err
	}
	if err := sig.SignedBy(from.peer.ID); err != nil {
		return contract.Signed{}, err
	}
	if peer.ID != sig.Peer {
		return contract.Signed{}, gateway.WithCode(gateway.Invalid, contract.CodePeerMismatch, "signature: its certificate is peer %s's", peer.ID)
	}
	return contract.Signed{Signature: *sig, Chain: chain, Received: now}, nil
}

// signingChain finds the certificate that a signature names: that of the call itself, or one that the calling peer publishes.
func (m *Manager) signingChain(ctx context.Context, from caller, rec contract.Record, x5t string) ([]*x509.Certificate, error) {
	if jose.Thumbprint(from.chain[0]) == x5t {
		return from.chain, nil
	}
	if owner := m.ownerOf(rec, x5t); owner != "" && owner != from.peer.ID {
		return nil, gateway.WithCode(gateway.Invalid, contract.CodePeerMismatch, "signature: is peer %s's, submitted by peer %s", owner, from.peer.ID)
	}
	chain, err := m.o.Peers.Certificate(ctx, from.peer.ID, x5t)
	switch {
	case gateway.KindOf(err) == gateway.Unavailable:
		return nil, gateway.Wrap(gateway.Unavailable, err, "signature: its certificate can't be fetched now")
	case err != nil:
		return nil, &gateway.Error{Kind: gateway.Invalid, Code: contract.CodeSignature, Message: "signature x5t#S256", Cause: err}
	}
	return chain, nil
}

func (m *Manager) ownerOf(rec contract.Record, x5t string) gateway.PeerID {
	if jose.Thumbprint(m.o.Signer().Cert) == x5t {
		return m.o.Self.ID
	}
	for _, s := range rec.Signed {
		if s.X5T == x5t {
			return s.Peer
		}
	}
	return m.o.Peers.holder(x5t)
}

// List returns all contracts of this peer, the newest first.
func (m *Manager) List(ctx context.Context) ([]contract.Summary, error) {
	failed, err := m.o.Store.FailedDeliveries(ctx)
	if err != nil {
		return nil, err
	}
	open, err := m.o.Store.OpenDeliveries(ctx)
	if err != nil {
		return nil, err
	}
	var all []contract.Summary
	filter := contract.Filter{Limit: maxPage}
	for {
		recs, more, err := m.o.Store.Contracts(ctx, filter)
		if err != nil {
			return nil, err
		}
		for _, rec := range recs {
			c, err := m.parse(rec)
			if err != nil {
				return nil, err
			}
			s := m.summary(rec, c, m.o.Now())
			s.Failed, s.Open = failed[rec.Hash], open[rec.Hash]
			all = append(all, s)
		}
		if more == nil {
			return all, nil
		}
		filter.After = *more
	}
}

// Show returns all that is known of one contract, or NotFound.
func (m *Manager) Show(ctx context.Context, hash gateway.ContentHash) (contract.Detail, error) {
	rec, err := m.o.Store.Contract(ctx, hash)
	if err != nil {
		return contract.Detail{}, err
	}
	c, err := m.parse(rec)
	if err != nil {
		return contract.Detail{}, err
	}
	d := contract.Detail{Summary: m.summary(rec, c, m.o.Now())}
	if d.Deliveries, err = m.o.Store.Deliveries(ctx, hash); err != nil {
		return contract.Detail{}, err
	}
	for _, delivery := range d.Deliveries {
		switch delivery.State {
		case contract.Failed:
			d.Failed++
		case contract.Open:
			d.Open++
		case contract.Delivered:
		}
	}
	if err := m.checkOwn(ctx, c); err != nil {
		d.Objection = err.Error()
	}
	return d, nil
}

func (m *Manager) summary(rec contract.Record, c *contract.Content, now time.Time) contract.Summary {
	counting, states := m.counting(rec, now)
	missing := map[gateway.PeerID]bool{}
	for _, peer := range c.RequiredSigners() {
		missing[peer] = true
	}
	for _, s := range counting {
		if s.Type == contract.Accept {
			delete(missing, s.Peer)
		}
	}
	return contract.Summary{
		Hash: rec.Hash, State: contract.StateAt(c, counting, now), Content: c, Signatures: states,
		Missing: slices.Sorted(maps.Keys(missing)),
	}
}
