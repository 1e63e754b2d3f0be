package manager

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
)

const (
	// lease is how long an attempt may take before another process, or this one after a crash, tries again.
	lease = callTimeout + 5*time.Second
	// lookEvery is how often the store is asked for deliveries that another process noted.
	lookEvery = 2 * time.Second
	// atOnce is how many deliveries are on their way at the same time.
	atOnce = 16
)

// Run delivers signatures to the other peers, follows the directories, does what this peer does of its own accord (ownAccord), and
// keeps what is remembered of contracts fresh, until ctx ends. What was not delivered stays in the store for the next Run. It
// returns nil.
func (m *Manager) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { m.keepFresh(ctx) })
	for id := range m.follows {
		all.Go(func() { m.followDirectory(ctx, id) })
	}
	all.Go(func() { m.announceMove(ctx) })
	slots := make(chan struct{}, atOnce)
	for {
		wait := m.deliverDue(ctx, &all, slots)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-m.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

func (m *Manager) keepFresh(ctx context.Context) {
	tick := time.NewTicker(freshen)
	defer tick.Stop()
	for {
		if _, err := m.renew(ctx, freshen); err != nil && ctx.Err() == nil {
			m.o.Log.WarnContext(ctx, "contracts not read", slog.Any("error", err))
		}
		m.ownAccord(ctx)
		select {
		case <-ctx.Done():
			return
		case <-m.look:
		case <-tick.C:
		}
	}
}

// deliverDue starts what is due and returns how long nothing else will be.
func (m *Manager) deliverDue(ctx context.Context, all *sync.WaitGroup, slots chan struct{}) time.Duration {
	now := m.o.Now()
	due, err := m.o.Store.ClaimDeliveries(ctx, now, now.Add(lease), cap(slots)-len(slots))
	if err != nil {
		if ctx.Err() == nil {
			m.o.Log.WarnContext(ctx, "deliveries not read", slog.Any("error", err))
		}
		return lookEvery
	}
	for _, d := range due {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots; m.nudge() }() // a place is free, or the next one in line may go
			m.deliver(ctx, d)
		})
	}
	if len(slots) == cap(slots) {
		return lookEvery
	}
	next, err := m.o.Store.NextDelivery(ctx)
	if err != nil || next.IsZero() {
		return lookEvery
	}
	return min(max(next.Sub(m.o.Now()), time.Millisecond), lookEvery)
}

// deliver makes one attempt and writes how it went.
func (m *Manager) deliver(ctx context.Context, d contract.Delivery) {
	d.State, d.Reason = m.attempt(ctx, d)
	d.Changed = m.o.Now()
	d.Next = d.Changed
	if d.State == contract.Open {
		d.Next = d.Changed.Add(backoff(m.o.RetryStart, d.Attempts))
	}
	log := m.o.Log.With(slog.String("contract", string(d.Contract)), slog.String("peer", string(d.Receiver)),
		slog.String("type", string(d.Type)), slog.Int("attempt", d.Attempts))
	switch d.State {
	case contract.Delivered:
		log.InfoContext(ctx, "signature delivered")
	case contract.Failed:
		log.WarnContext(ctx, "signature refused by its receiver", slog.String("reason", d.Reason))
	case contract.Open:
		log.WarnContext(ctx, "signature not delivered yet", slog.String("reason", d.Reason), slog.Time("next", d.Next))
	}
	if err := m.o.Store.SettleDelivery(context.WithoutCancel(ctx), d); err != nil {
		log.ErrorContext(ctx, "outcome of a delivery not written", slog.Any("error", err))
	}
}

func (m *Manager) attempt(ctx context.Context, d contract.Delivery) (contract.DeliveryState, string) {
	rec, err := m.o.Store.Contract(ctx, d.Contract)
	if err != nil {
		return contract.Open, shorten(err.Error())
	}
	status, answer, err := m.o.Peers.send(ctx, d, rec.Raw)
	if err != nil {
		return contract.Open, shorten(err.Error())
	}
	return judge(status, answer)
}

// judge reads a receiver's answer. 409 is a receiver that has it already. What may pass by itself is tried again: a server that
// fails or is too busy, and a certificate that it could not verify, which a newer CRL or our renewed certificate mends.
func judge(status int, answer []byte) (contract.DeliveryState, string) {
	switch {
	case status >= 200 && status < 300, status == http.StatusConflict:
		return contract.Delivered, ""
	}
	var body edge.FSCError
	_ = json.Unmarshal(answer, &body) // what is no FSC error has no code
	reason := shorten(strings.TrimSpace(fmt.Sprintf("status %d %s %s", status, body.Code, body.Message)))
	final := status >= 400 && status < 500
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusMisdirectedRequest:
		final = false
	}
	if final && body.Code != contract.CodePeerCertificate {
		return contract.Failed, reason
	}
	return contract.Open, reason
}

// backoff is the pause after so many attempts: start, doubled each time, at most MaxRetry (Digikoppeling REST-API).
func backoff(start time.Duration, attempts int) time.Duration {
	pause := start
	for range attempts - 1 {
		if pause *= 2; pause >= MaxRetry {
			return MaxRetry
		}
	}
	return min(pause, MaxRetry)
}

const maxReason = 300 // bytes

// shorten makes what another peer said fit to be kept and shown: PostgreSQL takes no NUL and no half character, and an outcome that
// can't be written is an attempt that is made again.
func shorten(s string) string {
	s = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, s)
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "")
	}
	return s
}

// record puts a management act in the audit log; without it the act must not take effect.
func (m *Manager) record(ctx context.Context, act audit.Act) error {
	if act.Door == "" {
		return gateway.Errorf(gateway.Internal, "act %s: nobody is named who does it", act.Handeling)
	}
	err := m.o.Audit.Append(ctx, audit.NewBeheer(m.o.Now(), act))
	return gateway.Wrap(gateway.KindOf(err), err, "audit log")
}
