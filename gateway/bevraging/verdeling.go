package bevraging

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/policies"
)

// question is one question on its way to one gemeente.
type question struct {
	vraag
	gemeente gevraagde
	grant    *gateway.Grant // nil: nothing is sent
	niet     gateway.Reason // why nothing is sent
	id       gateway.TransactionID
	caller   edge.Caller
	session  *policies.Session
	trace    gateway.Trace
	at       time.Time
}

// verdeel makes of one question the question to each gemeente, with the grant or with the reason why nothing is sent. The reasons
// are on record when it returns. An error means that the question can't be handled here at all, and that nothing was sent.
func (h *Handler) verdeel(ctx context.Context, q question) ([]question, error) {
	grants, err := h.grants(ctx, q.Doel)
	if err != nil {
		return nil, err
	}
	targets := q.gemeenten
	if len(targets) == 0 {
		if targets, err = h.groep(grants); err != nil {
			return nil, err
		}
	}
	var all []question
	var recs []audit.Record
	for _, g := range targets {
		q := q
		q.gemeente, q.trace = g, q.trace.Child()
		q.kies(grants[g.ID])
		if q.grant == nil {
			q.id = gateway.NewTransactionID(h.now())
			recs = append(recs, h.weigering(q))
		}
		all = append(all, q)
	}
	if len(recs) > 0 {
		if err := h.Audit.Append(ctx, recs...); err != nil {
			return nil, gateway.Wrap(gateway.Unavailable, err, "vastlegging")
		}
	}
	return all, nil
}

// kies takes the grant, or the reason why there is none to use.
func (q *question) kies(grant *gateway.Grant) {
	switch mag, ok := gronden[q.reikwijdte]; {
	case !q.aangeboden:
		q.niet = gateway.DoelNietAangeboden
		return
	case !ok || !slices.Contains(mag, q.gemeente.grond):
		q.niet = gateway.BuitenReikwijdte
		return
	case grant == nil:
		q.niet = gateway.GeenContract
		return
	}
	if !q.genoemd { // a question that names its fields asks them all: the policy says which are withheld
		asked := q.velden.Beperk(grant.Properties.Velden)
		if len(asked) == 0 {
			q.niet = gateway.DoelGewijzigd
			return
		}
		q.velden = asked
	}
	q.grant = grant
}

// grants picks the grant for the purpose of each gemeente: of several, the one that began last.
func (h *Handler) grants(ctx context.Context, doel gateway.Doel) (map[gateway.PeerID]*gateway.Grant, error) {
	found, err := h.Grants.Grants(ctx, func(g gateway.Grant) bool {
		return g.Outway == h.Self.ID && g.Service == h.service() && g.Properties.Doel == doel
	})
	if err != nil {
		return nil, gateway.Wrap(gateway.Unavailable, err, "contracten")
	}
	best := map[gateway.PeerID]*gateway.Grant{}
	for i := range found {
		g := &found[i]
		old := best[g.ServicePeer]
		if old == nil || g.NotBefore.After(old.NotBefore) || g.NotBefore.Equal(old.NotBefore) && g.Hash < old.Hash {
			best[g.ServicePeer] = g
		}
	}
	return best, nil
}

// groep are the gemeenten of a question to the group: each that has a contract for its purpose. If none has, it is each that is
// known, so that the answer says of whom nothing was asked.
func (h *Handler) groep(grants map[gateway.PeerID]*gateway.Grant) ([]gevraagde, error) {
	byID := map[gateway.PeerID]Gemeente{}
	for _, g := range h.bekend() {
		byID[g.ID] = g
	}
	var all []gevraagde
	add := func(g Gemeente) { all = append(all, gevraagde{Gemeente: g, grond: gateway.GrondGroep}) }
	for id := range grants {
		g, ok := byID[id]
		if !ok {
			g = Gemeente{ID: id, Naam: string(id)}
		}
		add(g)
	}
	if len(all) == 0 {
		for _, g := range byID {
			add(g)
		}
	}
	slices.SortFunc(all, func(a, b gevraagde) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.ID, b.ID))
	})
	var bad problems
	switch most := h.config().MaxGemeenten; {
	case len(all) == 0:
		bad.add("gemeenten", "er is geen gemeente bekend")
	case len(all) > most:
		bad.add("gemeenten", "de groep is groter dan er gemeenten in één vraag mogen; noem ze, verdeeld over meer vragen")
	}
	return all, bad.err()
}

// weigering is the record that this question is denied here. Nothing is sent.
func (h *Handler) weigering(q question) audit.Record {
	items := make([]audit.EvaluationItem, 0, len(q.velden))
	for _, dienst := range q.velden.Diensten() {
		items = append(items, audit.EvaluationItem{
			Subject: audit.Entity{Type: "medewerker", ID: h.Pseudonyms.Worker(q.caller.Subject), Properties: map[string]any{
				"oin": h.Self.ID, "rol": q.caller.Rollen,
			}},
			Action: audit.Action{Name: "bevragen"},
			Resource: audit.Entity{Type: string(dienst), ID: string(h.Pseudonyms.Pseudonym(q.BSN)), Properties: map[string]any{
				"bronOin": q.gemeente.ID, "velden": q.velden[dienst],
			}},
			Context: map[string]any{"doel": q.Doel, "zaak": q.Zaak, "zaaktype": q.Zaaktype, "grond": q.gemeente.grond},
			Dienst:  dienst,
		})
	}
	return audit.NewADL(h.now(), audit.Evaluation{
		Transactie: q.id,
		Lokaal:     true,
		Trace:      q.trace,
		Producent:  h.Self.ID,
		Rol:        "bevraging",
		Vragen:     items,
		Decision:   gateway.Decision{Reasons: []gateway.Reason{q.niet}, Rule: "bevraging/" + string(q.niet), Revision: q.session.Revision()},
		Betrokkene: h.Pseudonyms.Pseudonym(q.BSN),
	})
}

// marshalVraag is the body that the gemeente gets: the person and the fields, nothing else. All that says who asks and why travels
// in what is signed.
func (q question) marshalVraag() ([]byte, error) {
	return json.Marshal(struct {
		BSN    string         `json:"bsn"`
		Velden gateway.Velden `json:"velden"`
	}{q.BSN.Reveal(), q.velden})
}
