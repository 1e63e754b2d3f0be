package bevraging

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grensloos/grensloos/policies"
)

// retryAfter is the pause before a question that was not sent is sent once more.
const retryAfter = 200 * time.Millisecond

// genummerd is the answer about one gemeente, with its place in the question.
type genummerd struct {
	plaats int
	*GemeenteAntwoord
}

// vraagAlle asks every gemeente at once. The channel gives one answer for each as it comes, and closes after the last; it never
// blocks whoever answers. When ctx ends they all end.
func (h *Handler) vraagAlle(ctx context.Context, vragen []question) <-chan genummerd {
	out := make(chan genummerd, len(vragen))
	rest := &atomic.Int64{}
	rest.Store(h.config().MaxTotaal)
	var seen sync.Map // transaction ids: one answer each
	var busy sync.WaitGroup
	for i, q := range vragen {
		if q.grant == nil {
			part := q.antwoord(q.id)
			part.alle(NietGevraagd, Reden{Code: string(q.niet), Tekst: policies.Text(q.niet)})
			out <- genummerd{i, part}
			continue
		}
		busy.Go(func() {
			part := h.vraagGemeente(ctx, q, rest)
			if part.Transactie != "" {
				if _, twice := seen.LoadOrStore(part.Transactie, true); twice {
					h.log(ctx, "two answers to one transaction", part, slog.String("gemeente", string(q.gemeente.ID)))
					part = q.antwoord("")
					part.alle(Onbereikbaar, reden(codeTegenstrijdig))
				}
			}
			out <- genummerd{i, part}
		})
	}
	go func() {
		busy.Wait()
		close(out)
	}()
	return out
}

// vraagGemeente asks one gemeente, within its own time and its own share of what may be under way.
func (h *Handler) vraagGemeente(ctx context.Context, q question, rest *atomic.Int64) (part *GemeenteAntwoord) {
	defer func() {
		if v := recover(); v != nil { // of one gemeente; the others stand
			h.log(ctx, "panic", q.antwoord(""), slog.String("type", fmt.Sprintf("%T", v)), slog.String("gemeente", string(q.gemeente.ID)))
			part = q.antwoord("")
			part.alle(Onbereikbaar, reden(codeFout))
		}
	}()
	limit := h.config().GemeenteTimeout
	turn, stop := ctx, context.CancelFunc(func() {})
	if whole, ok := ctx.Deadline(); ok {
		turn, stop = context.WithDeadline(ctx, whole.Add(-limit))
	}
	free, ok := h.sloten.verzoek(turn, q.gemeente.ID)
	stop()
	if !ok {
		part = q.antwoord("")
		part.alle(Onbereikbaar, reden(CodeDruk))
		return part
	}
	defer free()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	part, again := h.stuur(ctx, q, rest)
	if !again || time.Since(start) > limit/2 {
		return part
	}
	pause := time.NewTimer(retryAfter)
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return part
	case <-pause.C:
	}
	part, _ = h.stuur(ctx, q, rest)
	return part
}
