package bevraging

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

// verstrekking is the answer of a gemeente as it comes in (schemas/clientgegevens.openapi.yaml, Antwoord).
type verstrekking struct {
	Transactie gateway.TransactionID `json:"transactie"`
	Doel       gateway.Doel          `json:"doel"`
	DoelVersie int                   `json:"doelVersie"`
	Geheim     *bool                 `json:"geheim"`
	Diensten   []struct {
		Dienst    gateway.Dienst `json:"dienst"`
		Uitkomst  Uitkomst       `json:"uitkomst"`
		Reden     *Reden         `json:"reden"`
		Bron      string         `json:"bron"`
		Grondslag string         `json:"grondslag"`
		Rijen     []Rij          `json:"rijen"`
		Onthouden []Onthouden    `json:"onthouden"`
	} `json:"diensten"`
}

const maxTekst = 500 // bytes of a reason's text, a source's name or a law

// lezen reads an answer in full or not at all: one part that can't be right makes every dienst onbereikbaar, so that nobody reads
// a half answer as a whole one. It reports whether the answer stands.
func (h *Handler) lezen(ctx context.Context, q question, part *GemeenteAntwoord, raw []byte, header http.Header) bool {
	var in verstrekking
	if err := jose.Decode(raw, &in); err != nil {
		h.log(ctx, "answer is not well formed", part, slog.Any("error", err))
		part.alle(Onbereikbaar, reden(codeOnleesbaar))
		return false
	}
	diensten, wrong := q.toets(in, part.Transactie)
	if wrong != "" {
		h.log(ctx, "answer contradicts itself or the question", part, slog.String("where", wrong))
		part.alle(Onbereikbaar, reden(codeTegenstrijdig))
		return false
	}
	whole := *part
	whole.Diensten, whole.Geheim = diensten, *in.Geheim
	if err := h.kwitantie(q, &whole, header); err != nil {
		h.log(ctx, "answer is not what the gemeente signed for", part, slog.Any("error", err))
		part.alle(Onbereikbaar, reden(codeKwitantie))
		return false
	}
	*part = whole
	return true
}

// toets holds an answer to the question: exactly the diensten that were asked, and of each every field either given in every row
// or withheld with a reason. wrong names the place that can't be right, without a value.
func (q question) toets(in verstrekking, id gateway.TransactionID) (out []DienstAntwoord, wrong string) {
	switch {
	case in.Transactie != id:
		return nil, "transactie"
	case in.Doel != q.Doel || in.DoelVersie < 1:
		return nil, "doel"
	case in.Geheim == nil:
		return nil, "geheim"
	case len(in.Diensten) != len(q.velden):
		return nil, "diensten"
	}
	seen := map[gateway.Dienst]bool{}
	for _, d := range in.Diensten {
		gevraagd, asked := q.velden[d.Dienst]
		if !asked || seen[d.Dienst] {
			return nil, "diensten"
		}
		seen[d.Dienst] = true
		a := DienstAntwoord{
			Dienst: d.Dienst, Uitkomst: d.Uitkomst, Gevraagd: gevraagd, Reden: d.Reden, Bron: d.Bron, Grondslag: d.Grondslag,
			Rijen: d.Rijen, Onthouden: d.Onthouden,
		}
		if wrong := q.toetsDienst(&a); wrong != "" {
			return nil, string(d.Dienst) + "." + wrong
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b DienstAntwoord) int {
		if a.Dienst < b.Dienst {
			return -1
		}
		return 1
	})
	return out, ""
}

func (q question) toetsDienst(a *DienstAntwoord) (wrong string) {
	if a.Rijen == nil || a.Onthouden == nil || len(a.Bron) > maxTekst || len(a.Grondslag) > maxTekst {
		return "vorm"
	}
	withheld := map[gateway.Veld]bool{}
	for _, o := range a.Onthouden {
		if len(o.Velden) == 0 || !o.Reden.geldig() {
			return "onthouden"
		}
		for _, veld := range o.Velden {
			if withheld[veld] || !slices.Contains(a.Gevraagd, veld) {
				return "onthouden"
			}
			withheld[veld] = true
		}
	}
	switch a.Uitkomst {
	case Beantwoord:
		if len(a.Rijen) == 0 || a.Bron == "" || a.Grondslag == "" || a.Reden != nil {
			return "beantwoord"
		}
	case GeenGegevens:
		if len(a.Rijen) > 0 || a.Reden != nil && !a.Reden.geldig() {
			return "geen-gegevens"
		}
	case Geweigerd, BronOnbereikbaar:
		if len(a.Rijen) > 0 || a.Reden == nil || !a.Reden.geldig() {
			return "reden"
		}
	default:
		return "uitkomst"
	}
	schema := connectors.Gemeenschappelijk().Diensten[a.Dienst]
	if len(a.Rijen) > 1 && !schema.Meervoudig {
		return "rijen"
	}
	for _, rij := range a.Rijen {
		if _, err := time.Parse(time.DateOnly, rij.Peildatum); err != nil {
			return "peildatum"
		}
		if len(rij.Waarden) == 0 || len(rij.Waarden)+len(withheld) != len(a.Gevraagd) {
			return "waarden"
		}
		for veld, raw := range rij.Waarden {
			if withheld[veld] || !slices.Contains(a.Gevraagd, veld) || !q.past(raw, schema.Velden[veld]) {
				return "waarden." + string(veld)
			}
		}
	}
	return ""
}

func (r Reden) geldig() bool {
	return isCode(r.Code) && r.Tekst != "" && len(r.Tekst) <= maxTekst
}

var (
	datumForm  = regexp.MustCompile(`^[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?$`)
	bedragForm = regexp.MustCompile(`^-?[0-9]+\.[0-9]{2}$`)
)

// past reports whether a value has the shape that the common schema gives its field. A BSN must be the one that was asked.
func (q question) past(raw json.RawMessage, v connectors.VeldSchema) bool {
	if string(raw) == "null" {
		return true
	}
	if v.Type == connectors.JaNee {
		var b bool
		return json.Unmarshal(raw, &b) == nil
	}
	if v.Type == connectors.Adres {
		var delen map[string]string
		if json.Unmarshal(raw, &delen) != nil || len(delen) == 0 {
			return false
		}
		for deel := range delen {
			if !slices.Contains(v.Delen, deel) {
				return false
			}
		}
		return true
	}
	var s string
	if json.Unmarshal(raw, &s) != nil || s == "" {
		return false
	}
	switch v.Type {
	case connectors.BSN:
		return s == q.BSN.Reveal()
	case connectors.Datum:
		return datumForm.MatchString(s)
	case connectors.Bedrag:
		return bedragForm.MatchString(s)
	case connectors.Code:
		return slices.Contains(v.Waarden, s)
	case connectors.Tekst:
		return true
	default:
		return false
	}
}
