package beheer

import (
	"context"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/terugmelding"
)

// reports keeps what others reported as doubtful in what this peer disclosed. It records nothing.
type reports interface {
	OntvangenMelding(ctx context.Context, id string) (terugmelding.Melding, error)
	OntvangenMeldingen(ctx context.Context, open bool, after string, limit int) ([]terugmelding.Melding, error)
	OntvangenOver(ctx context.Context, person []gateway.Pseudonym) ([]terugmelding.Melding, error)
	WijzigOntvangen(ctx context.Context, id string, change func(terugmelding.Melding) (terugmelding.Melding, error)) (terugmelding.Melding, error)
}

// TerugmeldingJSON is a report that was made to this peer (schemas/beheer.openapi.yaml, Terugmelding).
type TerugmeldingJSON struct {
	ID          string                `json:"id"`
	Melder      gateway.PeerID        `json:"melder"`
	Medewerker  string                `json:"medewerker"`
	Betrokkene  gateway.Pseudonym     `json:"betrokkene"`
	Transactie  gateway.TransactionID `json:"transactie"`
	Dienst      gateway.Dienst        `json:"dienst"`
	Veld        gateway.Veld          `json:"veld"`
	Reden       terugmelding.Reden    `json:"reden"`
	Toelichting string                `json:"toelichting,omitempty"`
	Doel        gateway.Doel          `json:"doel"`
	Zaak        string                `json:"zaak"` // of the melder: what to ask it by
	Status      terugmelding.Status   `json:"status"`
	Antwoord    string                `json:"antwoord,omitempty"`
	Gemeld      time.Time             `json:"gemeld"`
	Gewijzigd   time.Time             `json:"gewijzigd"`
}

// TerugmeldingenJSON is a page of reports.
type TerugmeldingenJSON struct {
	Terugmeldingen []TerugmeldingJSON `json:"terugmeldingen"`
	Volgende       string             `json:"volgende,omitempty"` // value of na for the next page; absent on the last
}

// BehandelingJSON is what the gemeente decides about a report.
type BehandelingJSON struct {
	Status   terugmelding.Status `json:"status"`
	Antwoord string              `json:"antwoord,omitempty"` // the melder reads it
}

func terugmeldingJSON(m terugmelding.Melding) TerugmeldingJSON {
	return TerugmeldingJSON{
		ID: m.ID, Melder: m.Melder, Medewerker: m.Medewerker, Betrokkene: m.Betrokkene, Transactie: m.Transactie, Dienst: m.Dienst,
		Veld: m.Veld, Reden: m.Reden, Toelichting: m.Toelichting, Doel: m.Doel, Zaak: m.Zaak, Status: m.Status, Antwoord: m.Antwoord,
		Gemeld: m.Gemeld.UTC(), Gewijzigd: m.Gewijzigd.UTC(),
	}
}

func terugmeldingenJSON(all []terugmelding.Melding) TerugmeldingenJSON {
	out := TerugmeldingenJSON{Terugmeldingen: []TerugmeldingJSON{}}
	for _, m := range all {
		out.Terugmeldingen = append(out.Terugmeldingen, terugmeldingJSON(m))
	}
	return out
}

// reportEndpoints are the paths of reports; none if this peer takes none.
func (h *Handler) reportEndpoints() []endpoint {
	if h.Meldingen == nil {
		return nil
	}
	beheer := []string{RolBeheer}
	return []endpoint{
		{http.MethodGet, "/terugmeldingen", beheer, h.listReports},
		{http.MethodPost, "/terugmeldingen/_zoek", beheer, h.findReports},
		{http.MethodGet, "/terugmeldingen/{id}", beheer, h.showReport},
		{http.MethodPost, "/terugmeldingen/{id}/_behandelen", beheer, h.handleReport},
	}
}

// listReports pages through the reports, oldest first; with open=true those that have not ended.
func (h *Handler) listReports(w http.ResponseWriter, r *http.Request) {
	open, err := flag(r, "open")
	var after string
	var limit int
	if err == nil {
		after, limit, err = page(r)
	}
	var all []terugmelding.Melding
	if err == nil {
		all, err = h.Meldingen.OntvangenMeldingen(r.Context(), open, after, limit)
	}
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	out := terugmeldingenJSON(all)
	if len(all) == limit {
		out.Volgende = all[limit-1].ID
	}
	edge.WriteJSON(w, r, http.StatusOK, out)
}

// findReports gives the reports about one person. Looking is recorded.
func (h *Handler) findReports(w http.ResponseWriter, r *http.Request) {
	bsn, err := h.person(w, r, "terugmeldingen-ingezien")
	var all []terugmelding.Melding
	if err == nil {
		all, err = h.Meldingen.OntvangenOver(r.Context(), h.Pseudonyms.All(bsn))
	}
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	edge.WriteJSON(w, r, http.StatusOK, terugmeldingenJSON(all))
}

func (h *Handler) showReport(w http.ResponseWriter, r *http.Request) {
	id, err := idOf(r)
	var m terugmelding.Melding
	if err == nil {
		m, err = h.Meldingen.OntvangenMelding(r.Context(), id)
	}
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	edge.WriteJSON(w, r, http.StatusOK, terugmeldingJSON(m))
}

// handleReport gives a report its next status. What can't be is refused before anything is recorded, and again in the transaction
// that writes: of two at once one is told.
func (h *Handler) handleReport(w http.ResponseWriter, r *http.Request) {
	var in BehandelingJSON
	id, err := idOf(r)
	if err == nil {
		err = edge.DecodeJSON(w, r, maxBody, &in)
	}
	var m terugmelding.Melding
	if err == nil {
		m, err = h.Meldingen.OntvangenMelding(r.Context(), id)
	}
	now := h.now()
	handle := func(m terugmelding.Melding) (terugmelding.Melding, error) {
		return m.Behandel(in.Status, in.Antwoord, now)
	}
	if err == nil {
		_, err = handle(m)
	}
	if err == nil {
		err = h.record(r.Context(), "terugmelding-behandeld", id, map[string]string{
			"melder": string(m.Melder), "betrokkene": string(m.Betrokkene), "dienst": string(m.Dienst), "veld": string(m.Veld), "status": string(in.Status),
		})
	}
	if err == nil {
		m, err = h.Meldingen.WijzigOntvangen(r.Context(), id, handle)
	}
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	edge.WriteJSON(w, r, http.StatusOK, terugmeldingJSON(m))
}

// idOf reads the id in the path.
func idOf(r *http.Request) (string, error) {
	id := mux.Vars(r)["id"]
	if _, err := gateway.ParseTransactionID(id); err != nil { // the same form: UUID of version 7
		return "", gateway.Errorf(gateway.Invalid, "id: geef een UUID van versie 7 in kleine letters")
	}
	return id, nil
}

// flag reads a query parameter that is true or false, and takes it off the request.
func flag(r *http.Request, name string) (bool, error) {
	query := r.URL.Query()
	values := query[name]
	query.Del(name)
	r.URL.RawQuery = query.Encode()
	switch {
	case len(values) == 0 || len(values) == 1 && values[0] == "false":
		return false, nil
	case len(values) == 1 && values[0] == "true":
		return true, nil
	}
	return false, gateway.Errorf(gateway.Invalid, "%s: geef true of false", name)
}

// person reads the BSN of a body {bsn} and records that somebody looks at what is kept about this person.
func (h *Handler) person(w http.ResponseWriter, r *http.Request, handeling string) (gateway.BSN, error) {
	var in struct {
		BSN string `json:"bsn"`
	}
	if err := edge.DecodeJSON(w, r, maxBody, &in); err != nil {
		return gateway.BSN{}, err
	}
	bsn, err := h.bsn(in.BSN)
	if err != nil {
		return gateway.BSN{}, err
	}
	return bsn, h.record(r.Context(), handeling, string(h.Pseudonyms.Pseudonym(bsn)), nil)
}
