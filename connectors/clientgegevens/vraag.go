package clientgegevens

import (
	"net/http"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

// maxDepth is one more than a question nests.
const maxDepth = 4

// vraag reads the question. The error is of kind Invalid and names the member and the mend, never a value.
func (h *Handler) vraag(r *http.Request, body []byte) (gateway.BSN, gateway.Velden, error) {
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return gateway.BSN{}, nil, gateway.Errorf(gateway.Invalid, "query: leave it out; the question stands in the body")
	}
	bsn, velden, err := ParseVraag(body)
	if err == nil && h.DemoBSN && !bsn.IsTest() {
		err = gateway.Errorf(gateway.Invalid, "bsn: in demo mode give a fictitious person, 999000000 to 999999999")
	}
	return bsn, velden, err
}

// ParseVraag reads the body of a question: strict I-JSON with bsn and velden, each dienst and veld in the common schema.
func ParseVraag(body []byte) (gateway.BSN, gateway.Velden, error) {
	var q struct {
		BSN    string         `json:"bsn"`
		Velden gateway.Velden `json:"velden"`
	}
	if len(body) == 0 {
		return gateway.BSN{}, nil, gateway.Errorf(gateway.Invalid, "body: empty; send a JSON object")
	}
	if err := jose.Decode(body, &q, jose.MaxDepth(maxDepth)); err != nil {
		return gateway.BSN{}, nil, err
	}
	bsn, err := gateway.ParseBSN(q.BSN)
	if err != nil {
		return gateway.BSN{}, nil, err
	}
	if q.Velden != nil && len(q.Velden) == 0 {
		return gateway.BSN{}, nil, gateway.Errorf(gateway.Invalid, "velden: name a dienst and its velden, or leave it out for all that the purpose allows")
	}
	if err := connectors.Gemeenschappelijk().Valideer(q.Velden); err != nil {
		return gateway.BSN{}, nil, err
	}
	return bsn, q.Velden, nil
}
