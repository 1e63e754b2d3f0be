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
// blocks whoever answers. When ctx ends they all end. A gemeente whose turn does not come while there is time left for its answer is
// not asked.
func (h *Handler) vraagAlle(ctx context.Context, vragen []question) <-chan genummerd {
	out := make(chan genummerd, len(vragen))
	rest := &atomic.Int64{}
	rest.Store(h.config().MaxTotaal)
	var seen sync.Map // transaction ids: one answer each
	var busy sync.WaitGroup
	var waiting []*wachter
	for i := range vragen {
		q := &vragen[i]
		if q.grant == nil {
			part := q.antwoord(q.id)
			part.alle(NietGevraagd, Reden{Code: string(q.niet), Tekst: policies.Text(q.niet)})
			out <- genummerd{i, part}
			continue
		}
		busy.Add(1)
		waiting = append(waiting, h.sloten.verzoek(q.gemeente.ID, func(ok bool) {
			defer busy.Done()
			if !ok {
				part := q.antwoord("")
				part.alle(Onbereikbaar, reden(CodeDruk))
				out <- genummerd{i, part}
				return
			}
			part := h.vraagGemeente(ctx, q, rest)
			if part.Transactie != "" {
				if _, twice := seen.LoadOrStore(part.Transactie, true); twice {
					h.log(ctx, "two answers to one transaction", part, slog.String("gemeente", string(q.gemeente.ID)))
					part = q.antwoord("")
					part.alle(Onbereikbaar, reden(codeTegenstrijdig))
				}
			}
			out <- genummerd{i, part}
		}))
	}
	turn, stop := ctx, context.CancelFunc(func() {})
	if whole, ok := ctx.Deadline(); ok {
		turn, stop = context.WithDeadline(ctx, whole.Add(-h.config().GemeenteTimeout))
	}
	keep := context.AfterFunc(turn, func() { h.sloten.vergeet(waiting) })
	go func() {
		busy.Wait()
		keep()
		stop()
		close(out)
	}()
	return out
}

// vraagGemeente asks one gemeente, within its own time.
func (h *Handler) vraagGemeente(ctx context.Context, q *question, rest *atomic.Int64) (part *GemeenteAntwoord) {
	defer func() {
		if v := recover(); v != nil { // of one gemeente; the others stand
			h.log(ctx, "panic", q.antwoord(""), slog.String("type", fmt.Sprintf("%T", v)), slog.String("gemeente", string(q.gemeente.ID)))
			part = q.antwoord("")
			part.alle(Onbereikbaar, reden(codeFout))
		}
	}()
	limit := h.config().GemeenteTimeout
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	part, again := h.stuur(ctx, *q, rest)
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
	part, _ = h.stuur(ctx, *q, rest)
	return part
}
