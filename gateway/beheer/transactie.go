package beheer

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/gorilla/mux"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
)

// TransactieJSON is what this peer recorded of one transaction (schemas/beheer.openapi.yaml, Transactie).
type TransactieJSON struct {
	Transactie    gateway.TransactionID `json:"transactie"`
	Peer          PeerJSON              `json:"peer"`
	Vastleggingen []VastleggingJSON     `json:"vastleggingen"`
}

// PeerJSON names a peer.
type PeerJSON struct {
	OIN  gateway.PeerID `json:"oin"`
	Naam string         `json:"naam"`
}

// VastleggingJSON is one record.
type VastleggingJSON struct {
	ID     string          `json:"id"`
	Soort  audit.Soort     `json:"soort"`
	Tijd   time.Time       `json:"tijd"`
	Inhoud json.RawMessage `json:"inhoud"` // as its JSON Schema says
}

// showTransaction gives every record of one transaction. That somebody looked is recorded before the answer.
func (h *Handler) showTransaction(w http.ResponseWriter, r *http.Request) {
	id, err := gateway.ParseTransactionID(mux.Vars(r)["id"])
	if err != nil {
		edge.WriteProblem(w, r, gateway.Errorf(gateway.Invalid, "id: geef een transactienummer, een UUID van versie 7 in kleine letters"))
		return
	}
	if err := h.record(r.Context(), "transactie-ingezien", string(id), nil); err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	found, err := h.Records.Transaction(r.Context(), id)
	if err != nil {
		edge.WriteProblem(w, r, gateway.Wrap(gateway.Unavailable, err, "vastleggingen"))
		return
	}
	slices.SortStableFunc(found, func(a, b audit.Record) int {
		return cmp.Or(a.Tijd.Compare(b.Tijd), cmp.Compare(a.ID, b.ID))
	})
	out := TransactieJSON{Transactie: id, Peer: PeerJSON{OIN: h.Self.ID, Naam: h.Self.Name}, Vastleggingen: []VastleggingJSON{}}
	seen := map[string]bool{}
	for _, rec := range found {
		if !seen[rec.ID] {
			seen[rec.ID] = true
			out.Vastleggingen = append(out.Vastleggingen, VastleggingJSON{ID: rec.ID, Soort: rec.Soort, Tijd: rec.Tijd.UTC(), Inhoud: rec.Body})
		}
	}
	edge.WriteJSON(w, r, http.StatusOK, out)
}
