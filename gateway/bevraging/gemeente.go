package bevraging

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/policies"
)

const (
	maxFout = 64 << 10 // bytes of a gemeente's refusal

	zoekPath = "/v1/clienten/_zoek"
)

// Codes of what went wrong between here and an answer that can be used.
const (
	codeGeenVerbinding     = "geen-verbinding"
	codeTeLaat             = "te-laat"
	codeTeGroot            = "antwoord-te-groot"
	codeOnleesbaar         = "antwoord-onleesbaar"
	codeTegenstrijdig      = "antwoord-tegenstrijdig"
	codeGeenAntwoord       = "geen-bruikbaar-antwoord"
	codeTransactieOnbekend = "transactie-onbekend"
	codeTotaal             = "antwoorden-te-groot"
	codeFout               = "fout-bij-lezen"
	codeKwitantie          = "kwitantie-past-niet"
)

var teksten = map[string]string{
	codeGeenVerbinding:       "De gemeente is niet bereikt.",
	codeTeLaat:               "De gemeente heeft niet op tijd geantwoord.",
	codeTeGroot:              "Het antwoord van de gemeente is groter dan toegestaan en is niet gelezen.",
	codeOnleesbaar:           "Het antwoord van de gemeente heeft niet de vorm die is afgesproken.",
	codeTegenstrijdig:        "Het antwoord van de gemeente spreekt zichzelf of de vraag tegen.",
	codeGeenAntwoord:         "De gemeente heeft geen bruikbaar antwoord gegeven.",
	codeTotaal:               "De antwoorden van alle gemeenten samen zijn groter dan toegestaan; dit is niet gelezen.",
	codeFout:                 "Het lezen van het antwoord is mislukt; de beheerder vindt het in het logboek.",
	codeKwitantie:            "De gemeente heeft getekend voor iets anders dan zij heeft geantwoord; het antwoord is niet gebruikt.",
	CodeDruk:                 "Er zijn te veel vragen tegelijk onderweg; deze is niet verstuurd.",
	codeTransactieOnbekend:   "Het antwoord heeft geen transactienummer en is niet gebruikt.",
	string(BronOnbereikbaar): "De gemeente heeft geantwoord, maar haar bron niet. Onbekend is of er gegevens zijn.",
}

// verstuurdNee is what only our own outway says: of this request nothing left this peer.
const verstuurdNee = "nee"

// stuur asks the gemeente through the outway. Whatever comes back, or does not, becomes an outcome with a name. again tells that
// nothing was sent for a reason that may pass.
func (h *Handler) stuur(ctx context.Context, q question, rest *atomic.Int64) (part *GemeenteAntwoord, again bool) {
	part = q.antwoord("")
	resp, err := h.zend(ctx, q)
	if err != nil {
		h.fout(ctx, q, part, err)
		return part, false
	}
	defer resp.Body.Close()
	defer context.AfterFunc(ctx, func() { _ = resp.Body.Close() })() // an answer without an end ends too
	id, err := gateway.ParseTransactionID(resp.Header.Get(edge.HeaderTransaction))
	if err != nil {
		part.alle(Onbereikbaar, reden(codeTransactieOnbekend))
		return part, false
	}
	part.Transactie = id
	if resp.StatusCode != http.StatusOK {
		h.geweigerd(ctx, part, resp)
		passing := resp.StatusCode == http.StatusBadGateway || resp.StatusCode == http.StatusServiceUnavailable
		return part, passing && resp.Header.Get(edge.HeaderVerstuurd) == verstuurdNee
	}
	most := h.config().MaxAntwoord
	body := &geteld{Reader: io.LimitReader(resp.Body, most+1), rest: rest}
	raw, err := io.ReadAll(body)
	switch {
	case errors.Is(err, errTotaal):
		part.alle(Onbereikbaar, reden(codeTotaal))
	case err != nil:
		h.fout(ctx, q, part, err)
	case int64(len(raw)) > most:
		part.alle(Onbereikbaar, reden(codeTeGroot))
	case !edge.IsJSON(resp.Header.Get("Content-Type")):
		part.alle(Onbereikbaar, reden(codeOnleesbaar))
	default:
		if h.lezen(ctx, q, part, raw, resp.Header) {
			return part, false
		}
	}
	body.terug()
	return part, false
}

func (h *Handler) zend(ctx context.Context, q question) (*http.Response, error) {
	body, err := q.marshalVraag()
	if err != nil {
		return nil, err
	}
	base := h.OutwayURL
	if base == "" {
		base = "https://outway"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(base, "/")+zoekPath, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+q.caller.Token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set(edge.HeaderGrantHash, string(q.grant.Hash))
	req.Header.Set(edge.HeaderZaak, q.Zaak)
	req.Header.Set(edge.HeaderZaaktype, q.Zaaktype)
	req.Header.Set(edge.HeaderGrond, string(q.gemeente.grond))
	edge.SetTrace(req.Header, q.trace)
	return h.Outway.RoundTrip(req)
}

// fout names why no answer came in.
func (h *Handler) fout(ctx context.Context, q question, part *GemeenteAntwoord, err error) {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		part.alle(TeLaat, reden(codeTeLaat))
		return
	}
	h.log(ctx, "gemeente not reached", part, slog.Any("error", err), slog.String("gemeente", string(q.gemeente.ID)))
	part.alle(Onbereikbaar, reden(codeGeenVerbinding))
}

// isCode reports whether what a gemeente gives for a code is one: it goes into our log, and the question taught the gemeente a BSN.
func isCode(s string) bool { return codeForm.MatchString(s) && !gateway.HoldsBSN(s) }

var codeForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)

// geweigerd reads a refusal: of our own outway, of the gemeente's inway (FSC error body) or of its service (problem+json). Of what
// it says only the code is taken over; the text is ours. It is never niet-gevraagd: that nothing was sent is for us to know, not for
// the other side to say.
func (h *Handler) geweigerd(ctx context.Context, part *GemeenteAntwoord, resp *http.Response) {
	var body struct {
		Code string `json:"code"`
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxFout))
	if err != nil || jose.Decode(raw, &body, jose.AllowUnknown()) != nil || !isCode(body.Code) {
		body.Code = ""
	}
	if code := resp.Header.Get(edge.HeaderErrorCode); body.Code == "" && isCode(code) {
		body.Code = code
	}
	code := body.Code
	h.log(ctx, "gemeente refused", part, slog.Int("status", resp.StatusCode), slog.String("code", code))
	switch {
	case resp.StatusCode == http.StatusForbidden:
		if code == "" {
			code = policies.Geweigerd
		}
		part.alle(Geweigerd, openbaar(code))
	case code == string(BronOnbereikbaar):
		part.alle(BronOnbereikbaar, reden(code))
	case resp.StatusCode == http.StatusGatewayTimeout:
		part.alle(TeLaat, Reden{Code: or(code, codeTeLaat), Tekst: teksten[codeTeLaat]})
	case resp.StatusCode == http.StatusBadGateway:
		part.alle(Onbereikbaar, Reden{Code: or(code, codeGeenVerbinding), Tekst: teksten[codeGeenVerbinding]})
	default:
		part.alle(Onbereikbaar, Reden{Code: or(code, codeGeenAntwoord), Tekst: teksten[codeGeenAntwoord]})
	}
}

// openbaar is a public reason with the text that belongs to its code.
func openbaar(code string) Reden {
	if code == strings.ToLower(code) {
		return Reden{Code: code, Tekst: policies.PublicText(code)}
	}
	return Reden{Code: code, Tekst: "De toegang is geweigerd; de beheerder kan de code opzoeken."}
}

func reden(code string) Reden { return Reden{Code: code, Tekst: teksten[code]} }

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (h *Handler) log(ctx context.Context, message string, part *GemeenteAntwoord, attrs ...any) {
	if h.Log != nil {
		h.Log.WarnContext(ctx, message, append(attrs, slog.String("transaction", string(part.Transactie)))...) //nolint:sloglint // both calls give a constant
	}
}
