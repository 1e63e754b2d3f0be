package inway

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// exchange is one request on its way in.
type exchange struct {
	*Handler
	w     *edge.Recorder
	r     *http.Request
	body  *edge.CountedBody
	start time.Time
	trace gateway.Trace

	peer       gateway.Peer
	cert       *x509.Certificate
	target     string
	claims     *accesstoken.Claims
	name       gateway.ServiceName
	service    Service
	grant      gateway.Grant
	id         gateway.TransactionID
	accepted   bool // the id is this exchange's; before that it is what the caller claims
	verklaring verklaring.Verklaring
	known      string         // sleutelbewijzen of ours that the asker has
	reason     gateway.Reason // why it was refused, for the afloop

	pending  []audit.Record // made and not yet durable
	decision error          // what our policy refused, once its record is durable

	answer *watchedBody // of a service behind a URL
	closed bool         // the afloop is recorded, or could not be
}

// run takes the steps. What goes wrong before the service answered is refused; what goes wrong after is told as it is.
func (x *exchange) run() {
	defer x.finish()
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{StepReceived, x.receive},
		{StepToken, x.verifyToken},
		{StepContract, x.checkContract},
		{StepReserved, x.reserve},
		{StepBound, x.bind},
		{"", x.decide},
		{StepJournaled, x.journal},
		{"", x.obey},
	} {
		if err := step.do(); err != nil {
			x.refuse(err)
			return
		}
		if step.name != "" {
			x.fault(step.name)
		}
	}
	x.serve()
	x.fault(StepServed)
}

// receive checks who calls, now, and the form of the request.
func (x *exchange) receive() error {
	// What was claimed goes into the afloop of a refusal, if it has the form of an id.
	claimed := x.r.Header[edge.HeaderTransaction]
	if len(claimed) == 1 {
		if id, err := gateway.ParseTransactionID(claimed[0]); err == nil {
			x.id = id
		}
	}
	var err error
	if x.peer, x.cert, err = x.PeerOf(x.r.TLS); err != nil {
		x.peer = gateway.Peer{}
		return &gateway.Error{Kind: gateway.Denied, Code: CodePeer, Message: "client certificate: not of a peer of this group, revoked, or not to be checked now", Cause: err}
	}
	edge.StripForwarded(x.r.Header)
	if err := edge.CheckHop(x.r); err != nil {
		return err
	}
	x.known = x.r.Header.Get(edge.HeaderSleutel)
	// What else another peer's outway keeps in headers like ours is not for the service.
	edge.StripReserved(x.r.Header, edge.HeaderAuthorization, edge.HeaderTransaction, edge.HeaderVerklaring)
	x.target, err = edge.Target(x.r)
	return err
}

// verifyToken holds the token to this request's certificate and finds the service.
func (x *exchange) verifyToken() error {
	token, err := accesstoken.FromHeader(x.r.Header[edge.HeaderAuthorization])
	if err != nil {
		return err
	}
	claims, err := x.Tokens.Verify(token, x.cert)
	if err != nil {
		return err
	}
	if claims.OutwayPeer() != x.peer.ID {
		return gateway.WithCode(gateway.Denied, accesstoken.CodeInvalid, "access token: sub, act: is another peer than the certificate's")
	}
	x.claims = claims
	service, ok := x.Services[claims.Service]
	if !ok {
		return gateway.WithCode(gateway.NotFound, CodeServiceNotFound, "service: not offered by this inway")
	}
	x.name, x.service = claims.Service, service
	return nil
}

// checkContract looks up the contract as it is now: a token outlives a revocation, a contract doesn't.
func (x *exchange) checkContract() error {
	gone := func() error {
		return gateway.WithCode(gateway.Denied, accesstoken.CodeInvalid, "access token: its grant is not in a contract that is valid now")
	}
	g, err := x.Grants.Grant(x.r.Context(), x.claims.GrantHash)
	switch {
	case gateway.KindOf(err) == gateway.NotFound:
		x.reason = gateway.GeenContract
		return gone()
	case err != nil:
		return err
	case x.start.Before(g.NotBefore), !x.start.Before(g.NotAfter), !identifies(g, x.cert):
		x.reason = gateway.GeenContract
		return gone()
	}
	if err := x.claims.Match(g); err != nil {
		return err
	}
	x.grant = g
	return nil
}

// identifies reports whether the contract names the key, or the domain, of this certificate as the outway.
func identifies(g gateway.Grant, cert *x509.Certificate) bool {
	if g.OutwayDomain != "" && !slices.Contains(cert.DNSNames, g.OutwayDomain) {
		return false
	}
	if g.OutwayThumbprint == "" {
		return g.OutwayDomain != ""
	}
	return jose.HasKey(cert, g.OutwayThumbprint)
}

// reserve takes the transaction id for this request and no other.
func (x *exchange) reserve() error {
	claimed := x.r.Header.Get(edge.HeaderTransaction)
	if claimed == "" {
		return gateway.WithCode(gateway.Invalid, CodeMissingID, "%s: missing; send a UUID of version 7", edge.HeaderTransaction)
	}
	id, err := gateway.ParseTransactionID(claimed)
	if err != nil {
		return &gateway.Error{Kind: gateway.Invalid, Code: CodeInvalidID, Message: edge.HeaderTransaction, Cause: err}
	}
	fresh, err := x.seen.reserve(id, x.now())
	if err != nil {
		return err
	}
	if fresh && x.Shared != nil {
		if fresh, err = x.Shared.Claim(x.r.Context(), id); err != nil {
			return err
		}
	}
	if !fresh {
		return gateway.WithCode(gateway.Invalid, CodeInvalidID, "%s: was used before; mint one for each request", edge.HeaderTransaction)
	}
	x.accepted = true
	// From here on there is a transactie record, whatever follows: it becomes durable with the next one, before anything is done.
	x.pending = append(x.pending, audit.NewTransactie(x.now(), audit.Exchange{
		Transactie: x.id, Richting: audit.Incoming, Grant: x.grant, Trace: x.trace,
	}))
	return nil
}

// journal makes durable what was made of this request so far: the transactie, and the decision if there was one.
func (x *exchange) journal() error { return x.append(x.r.Context()) }

// purposeBound reports whether this request needs a purpose: by its service, or because its grant has one.
func (x *exchange) purposeBound() bool { return x.service.bound() || x.grant.IsDoelgebonden() }

// bind verifies the verklaring over the very bytes that arrived; the body is read for it. What is not purpose-bound streams.
func (x *exchange) bind() error {
	if !x.grant.IsDoelgebonden() {
		return nil // decide refuses it, unless the service is not purpose-bound
	}
	payload, err := edge.ReadBody(x.w, x.r, x.maxBody())
	if err != nil {
		return err
	}
	compact := x.r.Header.Get(edge.HeaderVerklaring)
	v, err := verklaring.Expect{
		ClientCert: x.cert, Audience: x.Self.ID, Grant: x.grant, Transactie: x.id, Method: x.r.Method, Target: x.target,
		BodyDigest: verklaring.Digest(payload), Now: x.now(), Skew: Skew, Keys: &x.keys,
	}.Verify(compact)
	if err == nil {
		err = edge.CheckReference("verklaring: zaak", v.Zaak)
	}
	if err == nil {
		err = edge.CheckReference("verklaring: zaaktype", v.Zaaktype)
	}
	if err == nil {
		err = edge.CheckReference("verklaring: sub", v.Subject)
	}
	for i := 0; err == nil && i < len(v.Rollen); i++ { // they go into our records too
		err = edge.CheckReference("verklaring: rol", v.Rollen[i])
	}
	if err != nil {
		return &gateway.Error{Kind: gateway.Denied, Code: CodeVerklaring, Cause: err}
	}
	x.verklaring = *v
	x.r = x.r.WithContext(verklaring.Verified(x.r.Context(), compact, x.cert, *v)) // for a service in this process
	x.r.Body, x.r.ContentLength, x.r.TransferEncoding = io.NopCloser(bytes.NewReader(payload)), int64(len(payload)), nil
	return nil
}

// serve hands the request to the service.
func (x *exchange) serve() {
	x.r.Header.Set(edge.HeaderTransaction, string(x.id))
	edge.SetTrace(x.r.Header, x.trace)
	x.w.Header().Set(edge.HeaderTransaction, string(x.id))
	x.active.put(x.id, x.grant.Hash)
	defer x.active.drop(x.id)
	if x.service.Handler != nil {
		w := &receipted{ResponseWriter: x.w, x: x}
		x.service.Handler.ServeHTTP(w, x.r)
		switch err := x.r.Context().Err(); {
		case w.err != nil:
			x.unsigned(w.err)
		case x.w.Started() || errors.Is(err, context.Canceled):
		case err != nil:
			x.unanswered(nil, x.r, err)
		default:
			w.WriteHeader(http.StatusOK) // as net/http does for a handler that says nothing
			if w.err != nil {
				x.unsigned(w.err)
			}
		}
		return
	}
	if x.service.URL == nil {
		x.refuse(gateway.WithCode(gateway.Unavailable, CodeUnreachable, "service: has no address"))
		return
	}
	transport := x.service.Transport
	if transport == nil {
		transport = direct
	}
	proxy := httputil.ReverseProxy{
		Rewrite:        x.rewrite,
		Transport:      transport,
		ModifyResponse: x.received,
		ErrorHandler:   x.unanswered,
		BufferPool:     &x.buffers,
		ErrorLog:       quiet,
	}
	proxy.ServeHTTP(x.w, x.r)
}

// quiet takes what ReverseProxy logs: ErrorHandler and the afloop have it.
var quiet = slog.NewLogLogger(slog.DiscardHandler, 0)

// direct reaches a service on our own network: without a proxy from the environment, and without compression of its own.
var direct http.RoundTripper = &http.Transport{
	MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 5 * time.Second, DisableCompression: true,
	MaxResponseHeaderBytes: edge.MaxHeaderBytes,
}

func (x *exchange) rewrite(p *httputil.ProxyRequest) {
	base, in, out := x.service.URL, p.In.URL, p.Out
	out.URL = &url.URL{
		Scheme: base.Scheme, Host: base.Host, Path: base.Path + in.Path, RawPath: base.EscapedPath() + in.EscapedPath(),
		RawQuery: in.RawQuery, ForceQuery: in.ForceQuery, // ReverseProxy drops what it can't parse; we alter nothing
	}
	out.Host = base.Host
	out.Header.Del("Expect")
	if x.service.Own {
		edge.Toelating{Transactie: x.id, Grant: x.grant.Hash, Client: x.cert, Chain: x.r.TLS.PeerCertificates[1:]}.Set(out.Header)
	}
}

// unsigned refuses in the place of an answer that has no kwitantie.
func (x *exchange) unsigned(err error) {
	clear(x.w.Header())
	x.refuse(err)
}

// received sees the head of the service's answer, which passes unaltered; the transaction id and the kwitantie on it are ours.
func (x *exchange) received(resp *http.Response) error {
	if err := x.receipt(resp.StatusCode, resp.Header, false); err != nil {
		return err
	}
	x.w.Header().Del(edge.HeaderTransaction)
	resp.Header.Set(edge.HeaderTransaction, string(x.id))
	x.answer = &watchedBody{ReadCloser: resp.Body}
	resp.Body = x.answer
	return nil
}

// unanswered is for a service that gave no answer, or one that can't be passed on.
func (x *exchange) unanswered(_ http.ResponseWriter, r *http.Request, err error) {
	if gateway.CodeOf(err) == CodeKwitantie {
		x.unsigned(err)
		return
	}
	if errors.Is(r.Context().Err(), context.DeadlineExceeded) {
		x.refuse(&gateway.Error{Kind: gateway.Unavailable, Code: CodeTimeout, Message: "service: no answer in time", Cause: hide(err)})
		return
	}
	x.refuse(&gateway.Error{Kind: gateway.Unavailable, Code: CodeUnreachable, Message: "service: not reached", Cause: hide(err)})
}

// hide keeps the addresses of our own network out of what the other side reads: an unclassified cause isn't shown.
func hide(err error) error { return gateway.Wrap(gateway.Internal, err, "") }

// watchedBody remembers whether the answer ended as it should.
type watchedBody struct {
	io.ReadCloser
	ended bool
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.ended = true
	}
	return n, err
}
