package bevraging

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/terugmelding"
)

// RolBeheer sees the reports of all workers of this peer; everybody else those of their own.
const RolBeheer = "beheer"

const (
	maxMelding  = 16 << 10 // bytes of a report, and of what the gemeente says of it
	meldTimeout = 15 * time.Second
	meldPath    = "/v1/terugmeldingen"

	defaultPage = 100
	maxPage     = 1000

	// codeNietVerstrekt is the gemeente's word for: not disclosed to you. It is the only refusal that is final.
	codeNietVerstrekt = "transactie-onbekend"
)

// meldingen keeps the reports that this peer makes.
type meldingen interface {
	Meld(ctx context.Context, m terugmelding.Melding) error
	GedaneMelding(ctx context.Context, id string) (terugmelding.Melding, error)
	GedaneMeldingen(ctx context.Context, medewerker, after string, limit int) ([]terugmelding.Melding, error)
	WijzigGedane(ctx context.Context, id string, change func(terugmelding.Melding) (terugmelding.Melding, error)) (terugmelding.Melding, error)
}

// records reads what this peer recorded under one transaction.
type records interface {
	Transaction(ctx context.Context, id gateway.TransactionID) ([]audit.Record, error)
}

// Terugmeldingen is what the handler needs to report doubtful fields to the gemeente that gave them.
type Terugmeldingen struct {
	Register meldingen
	Records  records
}

// TerugmeldingJSON is a report as this API shows it (schemas/bevraging.openapi.yaml, Terugmelding).
type TerugmeldingJSON struct {
	ID          string                `json:"id"`
	Gemeente    gateway.PeerID        `json:"gemeente"`
	Transactie  gateway.TransactionID `json:"transactie"`
	Dienst      gateway.Dienst        `json:"dienst"`
	Veld        gateway.Veld          `json:"veld"`
	Reden       terugmelding.Reden    `json:"reden"`
	Toelichting string                `json:"toelichting,omitempty"`
	Doel        gateway.Doel          `json:"doel"`
	Zaak        string                `json:"zaak"`
	Status      terugmelding.Status   `json:"status"`
	Antwoord    string                `json:"antwoord,omitempty"`
	Gemeld      time.Time             `json:"gemeld"`
	Gewijzigd   time.Time             `json:"gewijzigd"`
	Fout        *Reden                `json:"fout,omitempty"` // why the gemeente could not be asked just now
}

// TerugmeldingenJSON is a page of reports.
type TerugmeldingenJSON struct {
	Terugmeldingen []TerugmeldingJSON `json:"terugmeldingen"`
	Volgende       string             `json:"volgende,omitempty"`
}

func meldingJSON(m terugmelding.Melding, fout *Reden) TerugmeldingJSON {
	return TerugmeldingJSON{
		ID: m.ID, Gemeente: m.Bron, Transactie: m.Transactie, Dienst: m.Dienst, Veld: m.Veld, Reden: m.Reden, Toelichting: m.Toelichting,
		Doel: m.Doel, Zaak: m.Zaak, Status: m.Status, Antwoord: m.Antwoord, Gemeld: m.Gemeld.UTC(), Gewijzigd: m.Gewijzigd.UTC(), Fout: fout,
	}
}

// routesTerugmelding adds the paths of reports; without Terugmeldingen there are none.
func (h *Handler) routesTerugmelding(router *mux.Router) {
	if h.Terugmeldingen == nil {
		return
	}
	for _, e := range []struct {
		method, path string
		serve        http.HandlerFunc
	}{
		{http.MethodPost, meldPath, h.meldTerug},
		{http.MethodGet, meldPath, h.lijstMeldingen},
		{http.MethodGet, meldPath + "/{id}", h.toonMelding},
		{http.MethodPost, meldPath + "/{id}/_opvragen", h.vraagMelding},
	} {
		router.Handle(e.path, edge.AcceptJSON(h.Auth.Require()(e.serve))).Methods(e.method)
	}
}

// meldTerug makes a report about a field of an answer that this peer got, and sends it. Whom, for which purpose and for which zaak
// follows from what was recorded of the question. What could not be delivered is kept, and sent again when its status is asked.
func (h *Handler) meldTerug(w http.ResponseWriter, r *http.Request) {
	caller, _ := edge.CallerOf(r.Context())
	var in struct {
		Transactie  string             `json:"transactie"`
		Dienst      gateway.Dienst     `json:"dienst"`
		Veld        gateway.Veld       `json:"veld"`
		Reden       terugmelding.Reden `json:"reden"`
		Toelichting string             `json:"toelichting"`
	}
	err := edge.DecodeJSON(w, r, maxMelding, &in)
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	id, err := gateway.ParseTransactionID(in.Transactie)
	if err != nil {
		edge.WriteProblem(w, r, gateway.Errorf(gateway.Invalid, "transactie: geef het transactienummer van het antwoord, een UUID van versie 7 in kleine letters"))
		return
	}
	if _, ok := connectors.Gemeenschappelijk().Veld(in.Dienst, in.Veld); !ok {
		edge.WriteProblem(w, r, gateway.Errorf(gateway.Invalid, "veld: geef een dienst en een veld daarvan, zoals persoon en adres"))
		return
	}
	found, err := h.Terugmeldingen.Records.Transaction(r.Context(), id)
	if err != nil {
		edge.WriteProblem(w, r, gateway.Wrap(gateway.Unavailable, err, "vastleggingen"))
		return
	}
	asked, ok := audit.Gevraagd(found)
	if !ok {
		edge.WriteProblem(w, r, gateway.Errorf(gateway.Invalid, "transactie: onder dit nummer is hier geen beantwoorde vraag vastgelegd"))
		return
	}
	m, err := terugmelding.New(terugmelding.Melding{
		Transactie: id, Dienst: in.Dienst, Veld: in.Veld, Reden: in.Reden, Toelichting: in.Toelichting, Doel: asked.Doel, Zaak: asked.Zaak,
		Zaaktype: asked.Zaaktype, Melder: h.Self.ID, Bron: asked.Bron, Medewerker: h.Pseudonyms.Worker(caller.Subject),
	}, h.now())
	if err == nil {
		err = h.Audit.Append(r.Context(), audit.NewBeheer(h.now(), audit.Act{
			Handeling: "terugmelding-gedaan", Door: m.Medewerker, Object: m.ID, Details: map[string]string{
				"bron": string(m.Bron), "transactie": string(m.Transactie), "doel": string(m.Doel), "dienst": string(m.Dienst),
				"veld": string(m.Veld), "reden": string(m.Reden),
			},
		}))
		err = gateway.Wrap(gateway.Unavailable, err, "vastlegging: deze handeling kon niet worden vastgelegd en is niet gedaan")
	}
	if err == nil {
		err = h.Terugmeldingen.Register.Meld(r.Context(), m)
	}
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	m, fout := h.overleg(r, m, caller)
	edge.WriteJSON(w, r, http.StatusCreated, meldingJSON(m, fout))
}

// eigen finds a report that the caller may see. Somebody else's is not there.
func (h *Handler) eigen(r *http.Request) (terugmelding.Melding, edge.Caller, error) {
	caller, _ := edge.CallerOf(r.Context())
	id := mux.Vars(r)["id"]
	if _, err := gateway.ParseTransactionID(id); err != nil { // the same form
		return terugmelding.Melding{}, caller, gateway.Errorf(gateway.Invalid, "id: geef het id van een terugmelding, een UUID in kleine letters")
	}
	m, err := h.Terugmeldingen.Register.GedaneMelding(r.Context(), id)
	if err == nil && m.Medewerker != h.Pseudonyms.Worker(caller.Subject) && !slices.Contains(caller.Rollen, RolBeheer) {
		err = gateway.Errorf(gateway.Hidden, "terugmelding: of another worker")
	}
	if err != nil {
		return terugmelding.Melding{}, caller, err
	}
	return m, caller, nil
}

// toonMelding shows a report as it was when the gemeente was last asked.
func (h *Handler) toonMelding(w http.ResponseWriter, r *http.Request) {
	m, _, err := h.eigen(r)
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	edge.WriteJSON(w, r, http.StatusOK, meldingJSON(m, nil))
}

// vraagMelding asks the gemeente how far a report is, or sends it again if it was not delivered.
func (h *Handler) vraagMelding(w http.ResponseWriter, r *http.Request) {
	m, caller, err := h.eigen(r)
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	var fout *Reden
	if !m.Status.IsKlaar() {
		m, fout = h.overleg(r, m, caller)
	}
	edge.WriteJSON(w, r, http.StatusOK, meldingJSON(m, fout))
}

func (h *Handler) lijstMeldingen(w http.ResponseWriter, r *http.Request) {
	caller, _ := edge.CallerOf(r.Context())
	wie := h.Pseudonyms.Worker(caller.Subject)
	if slices.Contains(caller.Rollen, RolBeheer) {
		wie = ""
	}
	after, limit, err := bladzijde(r)
	var all []terugmelding.Melding
	if err == nil {
		all, err = h.Terugmeldingen.Register.GedaneMeldingen(r.Context(), wie, after, limit)
	}
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	out := TerugmeldingenJSON{Terugmeldingen: []TerugmeldingJSON{}}
	for _, m := range all {
		out.Terugmeldingen = append(out.Terugmeldingen, meldingJSON(m, nil))
	}
	if len(all) == limit {
		out.Volgende = all[limit-1].ID
	}
	edge.WriteJSON(w, r, http.StatusOK, out)
}

// bladzijde reads which page of a list is asked.
func bladzijde(r *http.Request) (after string, limit int, err error) {
	limit = defaultPage
	for name, values := range r.URL.Query() {
		switch {
		case len(values) != 1:
			return "", 0, gateway.Errorf(gateway.Invalid, "%s: geef één waarde", plain(name))
		case name == "na":
			if _, err := gateway.ParseTransactionID(values[0]); err != nil {
				return "", 0, gateway.Errorf(gateway.Invalid, "na: geef de waarde van volgende uit de vorige bladzijde")
			}
			after = values[0]
		case name == "aantal":
			if limit, err = strconv.Atoi(values[0]); err != nil || limit < 1 || limit > maxPage {
				return "", 0, gateway.Errorf(gateway.Invalid, "aantal: geef 1 tot en met %d", maxPage)
			}
		default:
			return "", 0, gateway.Errorf(gateway.Invalid, "%s: onbekende parameter; deze lijst kent na en aantal", plain(name))
		}
	}
	return after, limit, nil
}

// overleg sends a report, or asks how far it is, and takes over what the gemeente says. fout says why that could not be; the report is
// then as it was.
func (h *Handler) overleg(r *http.Request, m terugmelding.Melding, caller edge.Caller) (terugmelding.Melding, *Reden) {
	ctx, cancel := context.WithTimeout(r.Context(), meldTimeout)
	defer cancel()
	status, antwoord, code := h.zendMelding(ctx, m, caller, edge.TraceFrom(r).Child())
	if code != "" {
		return m, meldFout(code)
	}
	// The gemeente has it: that is kept also when the caller has gone.
	out, err := h.Terugmeldingen.Register.WijzigGedane(context.WithoutCancel(ctx), m.ID, func(m terugmelding.Melding) (terugmelding.Melding, error) {
		return m.Volg(status, antwoord, h.now())
	})
	switch {
	case gateway.KindOf(err) == gateway.Conflict || gateway.KindOf(err) == gateway.Invalid:
		return m, meldFout(codeTegenstrijdig)
	case err != nil:
		if h.Log != nil {
			h.Log.LogAttrs(ctx, slog.LevelError, "status of a report not kept", slog.String("terugmelding", m.ID), slog.Any("error", err))
		}
		return m, meldFout("niet-bewaard")
	}
	return out, nil
}

var meldTeksten = map[string]string{
	string(gateway.GeenContract): "Er is nu geen contract met deze gemeente voor dit doel; zonder contract kan er niets worden gemeld.",
	"terugmelding-onbekend":      "De gemeente zegt deze terugmelding niet te kennen.",
	codeTegenstrijdig:            "De gemeente spreekt tegen wat zij eerder over deze terugmelding zei.",
	"niet-bewaard":               "De gemeente heeft geantwoord, maar dat kon hier niet worden bewaard; vraag het later op.",
}

func meldFout(code string) *Reden {
	tekst := meldTeksten[code]
	if tekst == "" {
		tekst = teksten[code]
	}
	if tekst == "" {
		tekst = "De terugmelding is niet bij de gemeente gekomen, of haar status is nu niet te zien; probeer het later opnieuw."
	}
	return &Reden{Code: code, Tekst: tekst}
}

// zendMelding does one exchange with the gemeente about a report. code says what went wrong; then nothing is known.
func (h *Handler) zendMelding(ctx context.Context, m terugmelding.Melding, caller edge.Caller, trace gateway.Trace) (status terugmelding.Status, antwoord, code string) {
	found, err := h.Grants.Grants(ctx, func(g gateway.Grant) bool {
		return g.Outway == h.Self.ID && g.ServicePeer == m.Bron && g.Service == h.service() && g.Properties.Doel == m.Doel
	})
	if err != nil {
		return "", "", "contracten-onbereikbaar"
	}
	if len(found) == 0 {
		return "", "", string(gateway.GeenContract)
	}
	grant := slices.MaxFunc(found, func(a, b gateway.Grant) int {
		if c := a.NotBefore.Compare(b.NotBefore); c != 0 {
			return c
		}
		return strings.Compare(string(b.Hash), string(a.Hash))
	})
	path, body := meldPath+"/_zoek", map[string]any{"id": m.ID}
	if m.Status == terugmelding.Onbezorgd {
		path, body = meldPath, map[string]any{"id": m.ID, "transactie": m.Transactie, "dienst": m.Dienst, "veld": m.Veld, "reden": m.Reden}
		if m.Toelichting != "" {
			body["toelichting"] = m.Toelichting
		}
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return "", "", codeGeenVerbinding
	}
	base := h.OutwayURL
	if base == "" {
		base = "https://outway"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(base, "/")+path, bytes.NewReader(raw))
	if err != nil {
		return "", "", codeGeenVerbinding
	}
	req.Header.Set("Authorization", "Bearer "+caller.Token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set(edge.HeaderGrantHash, string(grant.Hash))
	req.Header.Set(edge.HeaderZaak, m.Zaak)
	req.Header.Set(edge.HeaderZaaktype, m.Zaaktype)
	req.Header.Set(edge.HeaderGrond, string(gateway.GrondZaak))
	edge.SetTrace(req.Header, trace)
	resp, err := h.Outway.RoundTrip(req)
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return "", "", codeTeLaat
		}
		return "", "", codeGeenVerbinding
	}
	defer resp.Body.Close()
	defer context.AfterFunc(ctx, func() { _ = resp.Body.Close() })()
	raw, err = io.ReadAll(io.LimitReader(resp.Body, maxMelding+1))
	switch {
	case err != nil:
		return "", "", codeGeenVerbinding
	case len(raw) > maxMelding:
		return "", "", codeTeGroot
	case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated:
		return h.meldGeweigerd(m, resp, raw)
	}
	var in struct {
		ID        string              `json:"id"`
		Status    terugmelding.Status `json:"status"`
		Antwoord  string              `json:"antwoord"`
		Gemeld    time.Time           `json:"gemeld"`
		Gewijzigd time.Time           `json:"gewijzigd"`
	}
	if !edge.IsJSON(resp.Header.Get("Content-Type")) || jose.Decode(raw, &in) != nil || in.ID != m.ID || !in.Status.IsBijBron() {
		return "", "", codeOnleesbaar
	}
	return in.Status, in.Antwoord, ""
}

// meldGeweigerd reads a refusal. That the gemeente never disclosed the field to us is final; all else may pass.
func (h *Handler) meldGeweigerd(m terugmelding.Melding, resp *http.Response, raw []byte) (terugmelding.Status, string, string) {
	var body struct {
		Code string `json:"code"`
	}
	if jose.Decode(raw, &body, jose.AllowUnknown()) != nil || !isCode(body.Code) {
		body.Code = codeGeenAntwoord
	}
	if resp.StatusCode == http.StatusForbidden && body.Code == codeNietVerstrekt && m.Status == terugmelding.Onbezorgd {
		return terugmelding.Geweigerd, "De gemeente vindt geen verstrekking van dit veld aan ons onder dit transactienummer.", ""
	}
	return "", "", body.Code
}
