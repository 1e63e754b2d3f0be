package inway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
)

// afloopTimeout bounds the last record of an exchange whose caller may have gone.
const afloopTimeout = 10 * time.Second

// refuse answers with an error of our own: recorded first, and if that can't be done, with that.
func (x *exchange) refuse(err error) {
	draft := x.draft(err)
	if errors.Is(x.r.Context().Err(), context.Canceled) {
		if failed := x.close(0, 0, audit.Afgebroken, err, x.durably); failed != nil {
			x.Log.ErrorContext(x.r.Context(), "hang-up without an afloop", slog.String("transaction", string(x.id)), slog.Any("error", failed))
		}
		panic(http.ErrAbortHandler) // nobody is there to answer
	}
	uitkomst := audit.Geweigerd
	switch {
	case draft.Status() == http.StatusBadGateway, draft.Status() == http.StatusGatewayTimeout:
		uitkomst = audit.Onbereikbaar
		x.Log.WarnContext(x.r.Context(), "service not reached", slog.String("service", string(x.name)), slog.Any("error", err))
	case draft.Status() >= http.StatusInternalServerError:
		uitkomst = audit.Mislukt
		x.Log.ErrorContext(x.r.Context(), "request not served", slog.String("transaction", string(x.id)), slog.Any("error", err))
	}
	if failed := x.close(draft.Status(), draft.Bytes(), uitkomst, err, x.durably); failed != nil {
		draft = x.draft(failed)
	}
	draft.Send(x.w)
}

func (x *exchange) draft(err error) *edge.Draft {
	d := edge.NewDraft(x.w)
	if x.id != "" {
		d.Header().Set(edge.HeaderTransaction, string(x.id))
	}
	if denied, ok := errors.AsType[*denial](err); ok {
		denied.write(d, x.r)
		return d
	}
	edge.WriteFSC(d, err, edge.DomainInway, codes)
	return d
}

// finish records the afloop of whatever was not refused, also after a panic of the service and after a hang-up.
func (x *exchange) finish() {
	panicked := recover()
	if x.closed {
		if panicked != nil {
			panic(panicked)
		}
		return
	}
	status, uitkomst := x.w.Status(), outcome(x.w)
	switch {
	case panicked != nil && !aborted(panicked):
		uitkomst = audit.Mislukt
		if status == 0 {
			status = http.StatusInternalServerError // what edge.NewServer makes of it
		}
	case panicked != nil, x.answer != nil && !x.answer.ended, x.w.Failed() != nil, !x.w.Started():
		uitkomst = audit.Afgebroken
	}
	keep := x.durably
	if panicked == nil && uitkomst != audit.Afgebroken && status < http.StatusBadRequest && x.w.Header().Get("Content-Length") != "" {
		_ = x.w.FlushError() // whole, with all that goes before it on record: nothing waits for the record of its end. A refusal does.
		keep = x.later
	}
	err := x.close(status, x.w.Bytes(), uitkomst, nil, keep)
	if err != nil {
		x.Log.ErrorContext(x.r.Context(), "answered without an afloop", slog.String("transaction", string(x.id)), slog.Any("error", err))
	}
	switch {
	case panicked != nil && (err == nil || aborted(panicked)):
		panic(panicked)
	case panicked != nil, uitkomst == audit.Afgebroken:
		panic(http.ErrAbortHandler) // an answer that broke off must not look whole, and none leaves unrecorded
	}
}

func aborted(v any) bool {
	err, ok := v.(error)
	return ok && errors.Is(err, http.ErrAbortHandler)
}

func outcome(w *edge.Recorder) string {
	switch s := w.Status(); {
	case s >= http.StatusInternalServerError:
		return audit.Mislukt
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		return audit.Geweigerd
	}
	return audit.Beantwoord
}

// close records how the exchange ended, once.
func (x *exchange) close(status int, bytesOut int64, uitkomst string, cause error, keep func(audit.Record) error) error {
	x.closed = true
	now := x.now()
	o := audit.Outcome{
		Transactie: x.id, Richting: audit.Incoming, Trace: x.trace, Grant: x.grant.Hash, Afnemer: x.peer.ID, Bron: x.Self.ID, Dienst: x.name,
		Status: status, Uitkomst: uitkomst, Reden: x.reason, Fout: gateway.CodeOf(cause), Duur: now.Sub(x.start),
		BytesIn: x.body.Bytes(), BytesOut: bytesOut, Geclaimd: x.id != "" && !x.accepted,
	}
	if o.Grant == "" && x.claims != nil {
		o.Grant = x.claims.GrantHash
	}
	if denied, ok := errors.AsType[*denial](cause); ok {
		o.Reden, o.Fout = denied.reason, denied.code
	}
	if cause == nil {
		o.Fout = edge.ErrorCode(x.w.Header())
	}
	if err := keep(audit.NewAfloop(now, o)); err != nil {
		return err
	}
	x.fault(StepClosed)
	return nil
}

// append records what is pending and recs, in this order and durable together, or says in one way that it can't. What could not be
// recorded is not tried again: it may be kept all the same.
func (x *exchange) append(ctx context.Context, recs ...audit.Record) error {
	recs, x.pending = append(x.pending, recs...), nil
	err := x.Audit.Append(ctx, recs...)
	if err == nil || gateway.CodeOf(err) == audit.WriteError {
		return err
	}
	return &gateway.Error{Kind: gateway.Unavailable, Code: audit.WriteError, Message: "audit log", Cause: gateway.Wrap(gateway.Internal, err, "append")}
}

// durably keeps the record of the end before anything follows, also when the caller has gone.
func (x *exchange) durably(rec audit.Record) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), afloopTimeout)
	defer cancel()
	return x.append(ctx, rec)
}

// later keeps that of an answer that has left whole: nothing waits for it.
func (x *exchange) later(rec audit.Record) error {
	return audit.Later(context.WithoutCancel(x.r.Context()), x.Audit, rec)
}
