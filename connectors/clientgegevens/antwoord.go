package clientgegevens

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/policies"
)

// Uitkomst is how the question for one dienst ended.
type Uitkomst string

// The outcomes. Only Beantwoord and GeenGegevens say something about the person.
const (
	Beantwoord       Uitkomst = "beantwoord"
	GeenGegevens     Uitkomst = "geen-gegevens"     // the source answered and has nothing
	Geweigerd        Uitkomst = "geweigerd"         // none of the asked fields may leave
	BronOnbereikbaar Uitkomst = "bron-onbereikbaar" // the source failed, or none is connected
)

// antwoord is the body of an answer.
type antwoord struct {
	Transactie gateway.TransactionID `json:"transactie"`
	Doel       gateway.Doel          `json:"doel"`
	DoelVersie int                   `json:"doelVersie"`
	Geheim     bool                  `json:"geheim"`
	Diensten   []dienstAntwoord      `json:"diensten"`

	kwitantie string // for its header
}

type dienstAntwoord struct {
	Dienst    gateway.Dienst `json:"dienst"`
	Uitkomst  Uitkomst       `json:"uitkomst"`
	Reden     *reden         `json:"reden,omitempty"`
	Bron      string         `json:"bron,omitempty"`
	Grondslag string         `json:"grondslag,omitempty"`
	Rijen     []rij          `json:"rijen"`
	Onthouden []onthouden    `json:"onthouden"`
}

type rij struct {
	Peildatum string                             `json:"peildatum"`
	Waarden   map[gateway.Veld]connectors.Waarde `json:"waarden"`
}

type onthouden struct {
	Velden []gateway.Veld `json:"velden"`
	Reden  reden          `json:"reden"`
}

type reden struct {
	Code  string `json:"code"`
	Tekst string `json:"tekst"`
}

func openbaar(doel gateway.Doel, r gateway.Reason) reden {
	code := policies.Verstrekking.PublicCode(doel, r)
	return reden{code, policies.PublicText(code)}
}

var (
	nietAangesloten = reden{CodeNietAangesloten, "De gemeente heeft hiervoor geen bron aangesloten."}
	bronFout        = reden{codeBronOnbereikbaar, "De bron van de gemeente gaf geen bruikbaar antwoord; probeer het later opnieuw."}
)

// beantwoord decides, reads what may be read, and gives the answer when both records of it are durable and its kwitantie is signed.
func (h *Handler) beantwoord(ctx context.Context, p *verzoek) (*antwoord, error) {
	limit := h.Timeout
	if limit <= 0 {
		limit = 5 * time.Second
	}
	reading, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	b, err := h.besluit(reading, p)
	if err != nil {
		return nil, err
	}
	a := &antwoord{Transactie: p.transactie, Doel: b.entry.ID, DoelVersie: b.entry.Versie, Geheim: b.Geheim && b.bekend}
	verstrekt := gateway.Velden{}
	var bronnen []string
	for _, dienst := range b.diensten(p) {
		d := h.lees(reading, p, b, dienst)
		if d.Uitkomst == Beantwoord {
			for _, veld := range b.Velden[dienst] {
				if _, ok := d.Rijen[0].Waarden[veld]; ok {
					verstrekt[dienst] = append(verstrekt[dienst], veld)
				}
			}
			if !slices.Contains(bronnen, d.Bron) {
				bronnen = append(bronnen, d.Bron)
			}
		}
		a.Diensten = append(a.Diensten, d)
	}
	h.fault(StepRead)
	// The line is written also when the asker left meanwhile: values may have been read.
	err = h.Audit.Append(context.WithoutCancel(ctx), audit.NewLDV(h.Now(), audit.Processing{
		Transactie: p.transactie,
		Trace:      p.trace.Child(),
		Naam:       "Verstrekken clientgegevens " + string(b.entry.ID),
		Start:      p.nu,
		Eind:       h.Now(),
		Activiteit: b.entry.Verwerkingsactiviteit,
		Betrokkene: h.Pseudonyms.Pseudonym(p.bsn),
		Afnemer:    p.afnemer,
		Velden:     verstrekt,
		Bron:       strings.Join(bronnen, ", "),
		Dienst:     string(Service),
	}))
	if err != nil {
		return nil, gateway.Wrap(gateway.Unavailable, err, "audit: the record of this answer is not durable")
	}
	h.fault(StepAccounted)
	if a.kwitantie, err = h.kwitantie(p, a, verstrekt); err != nil {
		return nil, gateway.Wrap(gateway.Internal, err, "kwitantie")
	}
	h.fault(StepSigned)
	return a, nil
}

// lees makes the answer of one dienst: reads the allowed columns that the source has, and no other.
func (h *Handler) lees(ctx context.Context, p *verzoek, b *besluit, dienst gateway.Dienst) dienstAntwoord {
	d := dienstAntwoord{Dienst: dienst, Rijen: []rij{}, Onthouden: []onthouden{}}
	for _, r := range b.Reasons {
		if velden := b.Onthouden[r][dienst]; len(velden) > 0 {
			d.onthoud(velden, openbaar(b.entry.ID, r))
		}
	}
	mag, heeft := b.Velden[dienst], h.Bron.Diensten()[dienst]
	if len(mag) == 0 {
		d.Uitkomst, d.Reden = Geweigerd, &reden{policies.Geweigerd, policies.PublicText(policies.Geweigerd)}
		if len(d.Onthouden) > 0 {
			d.Reden = &d.Onthouden[0].Reden
		}
		return d
	}
	var lezen, mist []gateway.Veld
	for _, veld := range mag {
		if slices.Contains(heeft, veld) {
			lezen = append(lezen, veld)
		} else {
			mist = append(mist, veld)
		}
	}
	if len(lezen) == 0 {
		d.Uitkomst, d.Reden = BronOnbereikbaar, &nietAangesloten
		return d
	}
	if len(mist) > 0 {
		d.onthoud(mist, nietAangesloten)
	}
	if !b.bekend {
		d.Uitkomst = GeenGegevens
		return d
	}
	gegevens, err := h.Bron.Lees(ctx, b.sleutel, dienst, lezen)
	switch {
	case err != nil:
		h.Log.LogAttrs(ctx, slog.LevelWarn, "source failed", slog.String("dienst", string(dienst)), slog.String("code", gateway.CodeOf(err)),
			slog.String("transaction", string(p.transactie)), slog.Any("error", err))
		d.Uitkomst, d.Reden = BronOnbereikbaar, &bronFout
		return d
	case len(gegevens.Rijen) == 0:
		d.Uitkomst = GeenGegevens
		return d
	}
	d.Uitkomst, d.Bron, d.Grondslag = Beantwoord, gegevens.Bron, b.entry.Wet()
	for _, r := range gegevens.Rijen {
		out := rij{r.Peildatum.Format(time.DateOnly), make(map[gateway.Veld]connectors.Waarde, len(lezen))}
		for _, veld := range lezen { // what the source gave besides does not leave
			out.Waarden[veld] = r.Waarden[veld]
		}
		d.Rijen = append(d.Rijen, out)
	}
	return d
}

// onthoud adds withheld fields, one entry per public reason.
func (d *dienstAntwoord) onthoud(velden []gateway.Veld, r reden) {
	for i := range d.Onthouden {
		if d.Onthouden[i].Reden == r {
			d.Onthouden[i].Velden = slices.Compact(slices.Sorted(slices.Values(append(d.Onthouden[i].Velden, velden...))))
			return
		}
	}
	d.Onthouden = append(d.Onthouden, onthouden{slices.Sorted(slices.Values(velden)), r})
}
