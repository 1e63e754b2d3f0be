package clientgegevens

import (
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// kwitantie signs what is about to leave: which diensten with which outcome, a digest of the names of the fields, and the number of
// records over all diensten.
func (h *Handler) kwitantie(p *verzoek, a *antwoord, verstrekt gateway.Velden) (string, error) {
	digest, err := verklaring.VeldenDigest(verstrekt)
	if err != nil {
		return "", err
	}
	k := verklaring.Kwitantie{
		Issuer: h.Self.ID, Audience: p.afnemer, Transactie: p.transactie, GrantHash: p.grant.Hash, Doel: p.grant.Properties.Doel, Besluit: true,
		Uitkomst: make(map[gateway.Dienst]string, len(a.Diensten)), VeldenDigest: digest, IssuedAt: h.Now(),
	}
	for _, d := range a.Diensten {
		k.Uitkomst[d.Dienst] = string(d.Uitkomst)
		k.Aantal += len(d.Rijen)
	}
	return h.teken(k)
}

// teken signs a kwitantie, or drafts it for the inway that does.
func (h *Handler) teken(k verklaring.Kwitantie) (string, error) {
	if h.Sign == nil {
		return k.Concept()
	}
	compact, err := verklaring.SignKwitantie(h.Sign, k)
	return compact, gateway.Wrap(gateway.Internal, err, "sign")
}
