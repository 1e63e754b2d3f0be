package outway

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// receiptSkew is how far the clock of the provider may differ in its kwitantie: as far as it lets ours differ in a verklaring.
const receiptSkew = verklaring.MaxTTL

// receipt holds the kwitantie of an answer to the question, and records it. Every answer (2xx) under a purpose-bound grant must have
// one; on anything else it is taken off, so that what leaves here was verified. It is passed on as it came, and recorded whole. After an error nothing of the answer is passed on.
func (x *exchange) receipt(resp *http.Response) error {
	if !x.grant.IsDoelgebonden() || resp.StatusCode < 200 || resp.StatusCode > 299 {
		resp.Header.Del(edge.HeaderKwitantie)
		return nil
	}
	compact, k, err := x.verifyReceipt(resp.Header[edge.HeaderKwitantie])
	if err != nil {
		x.Log.WarnContext(x.r.Context(), "answer without a kwitantie that can be used", slog.String("transaction", string(x.id)),
			slog.String("peer", string(x.grant.ServicePeer)), slog.Any("error", err))
		return &gateway.Error{Kind: gateway.Unavailable, Code: CodeKwitantie, Message: "answer of " + string(x.grant.ServicePeer), Cause: err}
	}
	// It was answered: that stays on record also when the caller has gone meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), afloopTimeout)
	defer cancel()
	err = x.append(ctx, audit.NewKwitantie(x.now(), audit.Receipt{
		Transactie: x.id, Trace: x.trace, Grant: k.GrantHash, Afnemer: k.Audience, Bron: k.Issuer, Dienst: x.grant.Service, Doel: k.Doel,
		Besluit: k.Besluit, Uitkomst: k.Uitkomst, VeldenDigest: k.VeldenDigest, Aantal: k.Aantal, Afgegeven: k.IssuedAt, JWS: compact,
	}))
	if err == nil {
		x.fault(StepReceipt)
	}
	return err
}

func (x *exchange) verifyReceipt(values []string) (string, *verklaring.Kwitantie, error) {
	switch len(values) {
	case 0:
		values = []string{""}
	case 1:
	default:
		return "", nil, gateway.Errorf(gateway.Denied, "kwitantie: send the header %s once", edge.HeaderKwitantie)
	}
	compact := x.known.Whole(values[0])
	k, err := verklaring.ExpectKwitantie{
		Audience: x.Self.ID, Grant: x.grant, Transactie: x.id, Now: x.now(), Skew: receiptSkew, VerifyChain: x.VerifyChain, Keys: &x.keys,
	}.Verify(compact)
	return compact, k, err
}
