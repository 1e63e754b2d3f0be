package bevraging

import (
	"maps"
	"net/http"
	"slices"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// kwitantie holds what was read to what the gemeente signed that it gave: for this question, by this gemeente, the same outcome of
// every dienst, the same fields, as many records. The outway verified the signature and has the kwitantie on record; here is the
// first who knows the answer. The error says what differs, without a value.
func (h *Handler) kwitantie(q question, part *GemeenteAntwoord, header http.Header) error {
	values := header.Values(verklaring.KwitantieHeader)
	if len(values) != 1 {
		return gateway.Errorf(gateway.Denied, "%s: %d values, want 1", verklaring.KwitantieHeader, len(values))
	}
	k, err := verklaring.ReadKwitantie(values[0])
	if err != nil {
		return err
	}
	for claim, fits := range map[string]bool{
		"iss": k.Issuer == q.gemeente.ID, "aud": k.Audience == h.Self.ID, "jti": k.Transactie == part.Transactie,
		"gth": k.GrantHash == q.grant.Hash, "doel": k.Doel == q.Doel, "besluit": k.Besluit,
	} {
		if !fits {
			return gateway.Errorf(gateway.Denied, "kwitantie: %s: is not that of this question", claim)
		}
	}
	velden, uitkomst, aantal := gateway.Velden{}, map[gateway.Dienst]string{}, 0
	for _, d := range part.Diensten {
		uitkomst[d.Dienst] = string(d.Uitkomst)
		aantal += len(d.Rijen)
		if len(d.Rijen) > 0 {
			velden[d.Dienst] = slices.Collect(maps.Keys(d.Rijen[0].Waarden)) // the same in every row
		}
	}
	if !maps.Equal(uitkomst, k.Uitkomst) {
		return gateway.Errorf(gateway.Denied, "kwitantie: uitkomst: is not that of the diensten in the answer")
	}
	return k.Matches(velden, aantal)
}
