package clientgegevens

import (
	"context"
	"net/http"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/terugmelding"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// Codes of what is refused about a report.
const (
	CodeTransactieOnbekend = "transactie-onbekend"      // no answer with this field went to this peer, for this purpose, under this transaction
	CodeMeldingOnbekend    = "terugmelding-onbekend"    // this peer made no such report for this purpose
	CodeVastlegging        = "vastlegging-onbereikbaar" // the audit stream, which says what was disclosed, does not answer
)

// meldingService is what the LDV lines of reports are made by: their lines are no disclosures of the service.
const meldingService = "terugmeldingen"

// terugmeldingen keeps the reports that were made to this peer.
type terugmeldingen interface {
	NeemAan(ctx context.Context, m terugmelding.Melding) (terugmelding.Melding, error)
	OntvangenMelding(ctx context.Context, id string) (terugmelding.Melding, error)
}

// records reads what this peer recorded under one transaction.
type records interface {
	Transaction(ctx context.Context, id gateway.TransactionID) ([]audit.Record, error)
}

// meldingAntwoord is what the melder gets to see of its report.
type meldingAntwoord struct {
	ID        string              `json:"id"`
	Status    terugmelding.Status `json:"status"`
	Antwoord  string              `json:"antwoord,omitempty"`
	Gemeld    time.Time           `json:"gemeld"`
	Gewijzigd time.Time           `json:"gewijzigd"`
}

// meld takes a report in: of a field that this peer disclosed to the asker, under the transaction and for the purpose of the grant.
// The same report a second time changes nothing, so that a melder who got no answer can send it again.
func (h *Handler) meld(w http.ResponseWriter, r *http.Request) {
	p, err := h.toelaten(w, r)
	var m terugmelding.Melding
	var isNew bool
	if err == nil {
		m, isNew, err = h.neemAan(r.Context(), p)
	}
	status := http.StatusOK
	if isNew {
		status = http.StatusCreated
	}
	h.antwoordMelding(w, r, p, m, status, err)
}

// zoekMelding tells the melder how far its report is.
func (h *Handler) zoekMelding(w http.ResponseWriter, r *http.Request) {
	p, err := h.toelaten(w, r)
	var m terugmelding.Melding
	if err == nil {
		m, err = h.melding(r.Context(), p)
	}
	h.antwoordMelding(w, r, p, m, http.StatusOK, err)
}

func (h *Handler) antwoordMelding(w http.ResponseWriter, r *http.Request, p *verzoek, m terugmelding.Melding, status int, err error) {
	var receipt string
	if err == nil {
		// No field left: the kwitantie says that there was an answer.
		receipt, err = h.teken(verklaring.Kwitantie{
			Issuer: h.Self.ID, Audience: p.afnemer, Transactie: p.transactie, GrantHash: p.grant.Hash, Doel: p.grant.Properties.Doel, Besluit: true,
			IssuedAt: h.Now(),
		})
	}
	if err != nil {
		h.refuse(w, r, p, err)
		return
	}
	w.Header().Set(edge.HeaderKwitantie, receipt)
	edge.WriteJSON(w, r, status, meldingAntwoord{m.ID, m.Status, m.Antwoord, m.Gemeld, m.Gewijzigd})
}

func (h *Handler) neemAan(ctx context.Context, p *verzoek) (m terugmelding.Melding, isNew bool, err error) {
	var in struct {
		ID          string                `json:"id"`
		Transactie  gateway.TransactionID `json:"transactie"`
		Dienst      gateway.Dienst        `json:"dienst"`
		Veld        gateway.Veld          `json:"veld"`
		Reden       terugmelding.Reden    `json:"reden"`
		Toelichting string                `json:"toelichting"`
	}
	if err := jose.Decode(p.body, &in, jose.MaxDepth(2)); err != nil {
		return m, false, err
	}
	m = terugmelding.Melding{
		ID: in.ID, Transactie: in.Transactie, Dienst: in.Dienst, Veld: in.Veld, Reden: in.Reden, Toelichting: in.Toelichting,
		Doel: p.grant.Properties.Doel, Zaak: p.verklaring.Zaak, Zaaktype: p.verklaring.Zaaktype, Melder: p.afnemer, Bron: h.Self.ID,
		Medewerker: p.verklaring.Subject, Status: terugmelding.Ontvangen, Gemeld: p.nu, Gewijzigd: p.nu,
	}
	if err := m.Validate(); err != nil {
		return m, false, err
	}
	found, err := h.Records.Transaction(ctx, m.Transactie)
	if err != nil {
		return m, false, &gateway.Error{Kind: gateway.Unavailable, Code: CodeVastlegging, Message: "terugmelding: what was disclosed can't be read now", Cause: opaque{err}}
	}
	d, ok := audit.Verstrekt(found, Service)
	if !ok || d.Afnemer != p.afnemer || d.Doel != m.Doel || !d.Velden.Has(m.Dienst, m.Veld) {
		return m, false, gateway.WithCode(gateway.Denied, CodeTransactieOnbekend,
			"transactie: onder dit nummer is dit veld niet aan u verstrekt voor dit doel; meld een veld uit een eerder antwoord")
	}
	if m, err = m.Ontvang(d.Betrokkene, p.nu); err != nil {
		return m, false, err
	}
	var recs []audit.Record
	_, err = h.Terugmeldingen.OntvangenMelding(ctx, m.ID)
	if isNew = gateway.KindOf(err) == gateway.NotFound; isNew {
		recs = append(recs, audit.NewBeheer(h.Now(), audit.Act{Handeling: "terugmelding-ontvangen", Door: audit.Systeem, Object: m.ID, Details: map[string]string{
			"melder": string(m.Melder), "medewerker": m.Medewerker, "transactie": string(m.Transactie), "doel": string(m.Doel),
			"dienst": string(m.Dienst), "veld": string(m.Veld), "reden": string(m.Reden), "betrokkene": string(m.Betrokkene),
		}}))
	} else if err != nil {
		return m, false, err
	}
	recs = append(recs, h.verwerking(p, "Ontvangen terugmelding", m.Betrokkene))
	if err := h.Audit.Append(context.WithoutCancel(ctx), recs...); err != nil {
		return m, false, gateway.Wrap(gateway.Unavailable, err, "audit: the record of this report is not durable")
	}
	m, err = h.Terugmeldingen.NeemAan(context.WithoutCancel(ctx), m)
	return m, isNew, err
}

func (h *Handler) melding(ctx context.Context, p *verzoek) (terugmelding.Melding, error) {
	var in struct {
		ID string `json:"id"`
	}
	if err := jose.Decode(p.body, &in, jose.MaxDepth(2)); err != nil {
		return terugmelding.Melding{}, err
	}
	if _, err := gateway.ParseTransactionID(in.ID); err != nil { // the same form
		return terugmelding.Melding{}, gateway.Errorf(gateway.Invalid, "id: geef een UUID van versie 7 in kleine letters")
	}
	m, err := h.Terugmeldingen.OntvangenMelding(ctx, in.ID)
	switch {
	case gateway.KindOf(err) == gateway.NotFound, err == nil && (m.Melder != p.afnemer || m.Doel != p.grant.Properties.Doel):
		return terugmelding.Melding{}, gateway.WithCode(gateway.Denied, CodeMeldingOnbekend, "id: u hebt voor dit doel geen terugmelding met dit id gedaan")
	case err != nil:
		return terugmelding.Melding{}, err
	}
	if err := h.Audit.Append(context.WithoutCancel(ctx), h.verwerking(p, "Tonen status terugmelding", m.Betrokkene)); err != nil {
		return terugmelding.Melding{}, gateway.Wrap(gateway.Unavailable, err, "audit: the record of this answer is not durable")
	}
	return m, nil
}

// verwerking is the LDV line of what is done with a report: it discloses no field.
func (h *Handler) verwerking(p *verzoek, naam string, betrokkene gateway.Pseudonym) audit.Record {
	entry, _ := h.Policy.Session().Entry(p.grant.Properties.Doel, p.nu) // the inway decided under it
	return audit.NewLDV(h.Now(), audit.Processing{
		Transactie: p.transactie, Trace: p.trace.Child(), Naam: naam + " " + string(p.grant.Properties.Doel), Start: p.nu, Eind: h.Now(),
		Activiteit: entry.Verwerkingsactiviteit, Betrokkene: betrokkene, Afnemer: p.afnemer, Dienst: meldingService,
	})
}
