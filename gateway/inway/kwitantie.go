package inway

import (
	"net/http"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// receipt sees to it that an answer under a purpose-bound grant goes out with a kwitantie, and no other answer with one. A service in
// this process signs its own; for one of our own in another process the inway signs what that drafts; for any other the inway signs that there was an answer, and nothing of what:
// what a service behind a URL sets itself is not the peer's word.
func (x *exchange) receipt(status int, h http.Header, trusted bool) error {
	if !x.grant.IsDoelgebonden() || status < 200 || status > 299 {
		h.Del(edge.HeaderKwitantie)
		return nil
	}
	if signed := h[edge.HeaderKwitantie]; trusted && len(signed) > 0 {
		for i, compact := range signed {
			signed[i] = verklaring.Shorten(compact, x.known)
		}
		return nil
	}
	k := verklaring.Kwitantie{
		Issuer: x.Self.ID, Audience: x.peer.ID, Transactie: x.id, GrantHash: x.grant.Hash, Doel: x.grant.Properties.Doel, Besluit: true,
		IssuedAt: x.now(),
	}
	var err error
	if drafts := h[edge.HeaderKwitantie]; x.service.Own && len(drafts) > 0 {
		err = k.Complete(drafts)
	}
	compact := ""
	if err == nil {
		compact, err = verklaring.SignKwitantieTo(x.Sign, k, x.known)
	}
	if err != nil {
		return &gateway.Error{Kind: gateway.Internal, Code: CodeKwitantie, Message: "kwitantie: can't be signed now", Cause: err}
	}
	h.Set(edge.HeaderKwitantie, compact)
	return nil
}

// receipted is the ResponseWriter of a service in this process: the kwitantie is settled before the first byte. After an error
// nothing of the answer goes out.
type receipted struct {
	http.ResponseWriter
	x    *exchange
	done bool
	err  error
}

func (r *receipted) WriteHeader(status int) {
	if !r.done && status >= 200 {
		r.done = true
		r.err = r.x.receipt(status, r.Header(), true)
	}
	if r.err == nil {
		r.ResponseWriter.WriteHeader(status)
	}
}

func (r *receipted) Write(p []byte) (int, error) {
	r.begin()
	if r.err != nil {
		return 0, r.err
	}
	return r.ResponseWriter.Write(p)
}

func (r *receipted) begin() {
	if !r.done {
		r.WriteHeader(http.StatusOK)
	}
}

// FlushError begins the answer, as flushing does.
func (r *receipted) FlushError() error {
	r.begin()
	if r.err != nil {
		return r.err
	}
	return http.NewResponseController(r.ResponseWriter).Flush()
}

// Flush is FlushError for those who ask for an http.Flusher.
func (r *receipted) Flush() { _ = r.FlushError() }

// Unwrap lets http.ResponseController reach the deadlines of the connection.
func (r *receipted) Unwrap() http.ResponseWriter { return r.ResponseWriter }
