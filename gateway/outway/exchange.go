package outway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// exchange is one request on its way out.
type exchange struct {
	*Handler
	w     *edge.Recorder
	r     *http.Request
	body  *edge.CountedBody
	start time.Time
	id    gateway.TransactionID
	trace gateway.Trace

	caller     edge.Caller
	keepAuth   bool // Authorization is the service's, not the JWT of our own network
	target     string
	grant      gateway.Grant
	worker     string
	zaak       string
	zaaktype   string
	grond      gateway.Grond
	token      string
	address    *url.URL
	payload    []byte // the body, if it had to be read for the verklaring
	verklaring string
	known      *verklaring.Known // sleutelbewijzen of the other side that need not come again

	pending []audit.Record // made and not yet durable: the decision
	sent    bool           // the other side may have seen the request
	answer  *watchedBody   // of the other side
	closed  bool           // the afloop is recorded, or could not be
}

// run takes the steps. What goes wrong before anything was sent is refused; what goes wrong after is told as it is.
func (x *exchange) run() {
	defer x.finish()
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{StepReceived, x.receive}, {StepGranted, x.findGrant}, {"", x.decide}, {StepToken, x.getToken}, {StepSigned, x.sign}, {StepJournaled, x.journal},
	} {
		if err := step.do(); err != nil {
			x.refuse(err)
			return
		}
		if step.name != "" {
			x.fault(step.name)
		}
	}
	x.send()
}

// receive checks the form of the request and who calls.
func (x *exchange) receive() error {
	edge.StripForwarded(x.r.Header)
	if err := edge.CheckLocal(x.r); err != nil {
		return err
	}
	caller, err := x.authenticate()
	if err != nil {
		return err
	}
	x.caller = caller
	if x.target, err = edge.Target(x.r); err != nil {
		return err
	}
	x.zaak, x.zaaktype = x.r.Header.Get(edge.HeaderZaak), x.r.Header.Get(edge.HeaderZaaktype)
	if err := edge.CheckReference(edge.HeaderZaak, x.zaak); err != nil {
		return err
	}
	if err := edge.CheckReference(edge.HeaderZaaktype, x.zaaktype); err != nil {
		return err
	}
	if grond := x.r.Header.Get(edge.HeaderGrond); grond != "" {
		if x.grond, err = gateway.ParseGrond(grond); err != nil {
			return gateway.Wrap(gateway.Invalid, err, edge.HeaderGrond)
		}
	}
	x.worker = x.Pseudonyms.Worker(caller.Subject)
	return nil
}

// authenticate takes the JWT from Proxy-Authorization if that is there: then Authorization is the service's, unless it holds a
// JWT of our own network too, which is never passed on.
func (x *exchange) authenticate() (edge.Caller, error) {
	proxied, ok := x.r.Header["Proxy-Authorization"]
	if !ok {
		return x.Auth.Caller(x.r)
	}
	caller, err := x.Auth.Verify(edge.Bearer(proxied[0], false))
	if err != nil {
		return edge.Caller{}, err
	}
	_, err = x.Auth.Verify(edge.Bearer(x.r.Header.Get("Authorization"), true))
	x.keepAuth = err != nil
	return caller, nil
}

// findGrant finds the grant that the caller chose; choosing a purpose is choosing a grant.
func (x *exchange) findGrant() error {
	hash := gateway.GrantHash(x.r.Header.Get(edge.HeaderGrantHash))
	if hash == "" {
		return gateway.WithCode(gateway.Invalid, CodeGrantHash, "%s: give the hash of the grant to use", edge.HeaderGrantHash)
	}
	none := func() error {
		return gateway.WithCode(gateway.Denied, string(gateway.GeenContract), "%s: no valid contract with this grant for our outway", edge.HeaderGrantHash)
	}
	g, err := x.Grants.Grant(x.r.Context(), hash)
	switch {
	case gateway.KindOf(err) == gateway.NotFound:
		return none()
	case err != nil:
		return err
	case g.Hash != hash || g.Outway != x.Self.ID || g.ServicePeer == "" || g.Service == "" ||
		g.Type != gateway.ServiceConnection && g.Type != gateway.DelegatedServiceConnection ||
		x.start.Before(g.NotBefore) || !x.start.Before(g.NotAfter):
		return none()
	}
	x.grant = g
	return nil
}

// getToken gets the token and holds it to the grant. Nobody is asked for one under a decision that is not on record.
func (x *exchange) getToken() error {
	token, claims, kept := x.Tokens.Kept(x.grant)
	if !kept {
		if err := x.append(x.r.Context()); err != nil {
			return err
		}
		var err error
		if token, claims, err = x.Tokens.Token(x.r.Context(), x.grant); err != nil {
			return x.tokenError(err)
		}
	}
	var err error
	if x.address, err = x.checkToken(claims); err != nil {
		x.Tokens.Drop(x.grant)
		return err
	}
	x.token = token
	return nil
}

func (x *exchange) tokenError(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &gateway.Error{Kind: gateway.Unavailable, Code: CodeTimeout, Message: "access token: no answer in time", Cause: err}
	case gateway.KindOf(err) == gateway.Unavailable, gateway.KindOf(err) == gateway.Internal:
		return &gateway.Error{Kind: gateway.Unavailable, Code: CodeUnreachable, Message: "access token: the manager of the provider gives no answer that can be used", Cause: err}
	default:
		return &gateway.Error{Kind: gateway.Denied, Code: CodeToken, Message: "access token: refused by the manager of the provider", Cause: err}
	}
}

// checkToken refuses a token that is not for this grant, this group and this certificate, and gives the inway's address.
func (x *exchange) checkToken(c *accesstoken.Claims) (*url.URL, error) {
	wrong := func(what string) error {
		return gateway.WithCode(gateway.Unavailable, CodeTokenInvalid, "access token of %s: %s", x.grant.ServicePeer, what)
	}
	if c == nil {
		return nil, wrong("missing")
	}
	if err := c.Match(x.grant); err != nil {
		return nil, &gateway.Error{Kind: gateway.Unavailable, Code: CodeTokenInvalid, Message: "access token of " + string(x.grant.ServicePeer), Cause: err}
	}
	switch {
	case c.GroupID != x.Group.ID:
		return nil, wrong("gid: is for another group")
	case !x.now().Before(c.Expires):
		return nil, wrong("exp: has passed")
	case c.Cnf != jose.Thumbprint(x.Sign.Cert()):
		return nil, wrong("cnf: is bound to another certificate")
	}
	u, err := url.Parse(c.Audience)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return nil, wrong("aud: must be https://host:port")
	}
	if port, err := strconv.Atoi(u.Port()); err != nil || !x.Group.AllowsPort(port) {
		return nil, wrong("aud: the group does not allow this port")
	}
	return u, nil
}

// sign makes the verklaring over the bytes that will go out; the body is read for it. Without a purpose there is none, and the
// body streams.
func (x *exchange) sign() error {
	if !x.grant.IsDoelgebonden() {
		return nil
	}
	var err error
	if x.payload, err = edge.ReadBody(x.w, x.r, x.maxBody()); err != nil {
		return err
	}
	p, now := x.grant.Properties, x.now()
	x.verklaring, err = verklaring.Sign(x.Sign, verklaring.Verklaring{
		Issuer: x.Self.ID, Audience: x.grant.ServicePeer, Subject: x.worker, NamensCollege: p.NamensCollege, GrantHash: x.grant.Hash,
		Doel: p.Doel, DoelDigest: p.DoelDigest, Zaak: x.zaak, Zaaktype: x.zaaktype, Grond: x.grond, Rollen: x.caller.Rollen, Transactie: x.id,
		IssuedAt: now, Expires: now.Add(verklaring.MaxTTL), Method: x.r.Method, Target: x.target, BodyDigest: verklaring.Digest(x.payload),
	})
	return err
}

func (x *exchange) journal() error {
	return x.append(x.r.Context(), audit.NewTransactie(x.now(), audit.Exchange{
		Transactie: x.id, Richting: audit.Outgoing, Grant: x.grant, Trace: x.trace,
	}))
}

// quiet takes what ReverseProxy logs: ErrorHandler and the afloop have it.
var quiet = slog.NewLogLogger(slog.DiscardHandler, 0)

// send proxies. From here on the other side may have seen the request.
func (x *exchange) send() {
	x.sent = true
	proxy := httputil.ReverseProxy{
		Rewrite:        x.rewrite,
		Transport:      x.Transport(x.grant.ServicePeer),
		ModifyResponse: x.received,
		ErrorHandler:   x.unanswered,
		BufferPool:     &x.buffers,
		ErrorLog:       quiet,
	}
	proxy.ServeHTTP(x.w, x.r)
	x.fault(StepPassedOn)
}

func (x *exchange) rewrite(p *httputil.ProxyRequest) {
	out := p.Out
	out.URL.Scheme, out.URL.Host, out.Host = x.address.Scheme, x.address.Host, x.address.Host
	out.URL.RawQuery = p.In.URL.RawQuery // ReverseProxy drops what it can't parse; we alter nothing
	out.Header.Del(edge.HeaderGrantHash)
	out.Header.Del(edge.HeaderZaak)
	out.Header.Del(edge.HeaderZaaktype)
	out.Header.Del(edge.HeaderGrond)
	out.Header.Del("Expect")
	if !x.keepAuth {
		out.Header.Del("Authorization")
	}
	out.Header.Set(edge.HeaderAuthorization, "Bearer "+x.token)
	out.Header.Set(edge.HeaderTransaction, string(x.id))
	edge.SetTrace(out.Header, x.trace)
	if x.verklaring != "" {
		out.Header.Set(edge.HeaderVerklaring, x.verklaring)
		if x.known = x.keys.Of(x.grant.ServicePeer, x.now()); x.known != nil {
			out.Header.Set(edge.HeaderSleutel, x.known.Header())
		}
		out.Body, out.ContentLength, out.TransferEncoding = http.NoBody, int64(len(x.payload)), nil
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(x.payload)), nil }
		if len(x.payload) > 0 {
			out.Body, _ = out.GetBody()
		}
	}
}

// received sees the head of the answer, which passes unaltered; the transaction id on it is ours.
func (x *exchange) received(resp *http.Response) error {
	x.fault(StepAnswered)
	x.w.Header().Del(edge.HeaderTransaction)
	resp.Header.Set(edge.HeaderTransaction, string(x.id))
	resp.Header.Del(edge.HeaderVerstuurd) // ours to say
	switch resp.Header.Get(edge.HeaderErrorCode) {
	case accesstoken.CodeInvalid, accesstoken.CodeExpired, accesstoken.CodeWrongGroup:
		x.Tokens.Drop(x.grant)
	}
	if err := x.receipt(resp); err != nil {
		return err
	}
	x.answer = &watchedBody{ReadCloser: resp.Body}
	resp.Body = x.answer
	return nil
}

// unanswered is for a request that got no answer, or one that can't be passed on.
func (x *exchange) unanswered(_ http.ResponseWriter, r *http.Request, err error) {
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		x.sent = false
	}
	tooLarge, ok := errors.AsType[*http.MaxBytesError](err)
	switch {
	case gateway.CodeOf(err) == CodeKwitantie, gateway.CodeOf(err) == audit.WriteError: // it answered, and we can't pass that on
	case ok:
		err = gateway.WithCode(gateway.Invalid, edge.CodeBodyTooLarge, "body: larger than %d bytes; send less", tooLarge.Limit)
	case errors.Is(r.Context().Err(), context.DeadlineExceeded):
		err = &gateway.Error{Kind: gateway.Unavailable, Code: CodeTimeout, Message: "inway: no answer in time", Cause: err}
	default:
		err = &gateway.Error{Kind: gateway.Unavailable, Code: CodeUnreachable, Message: "inway of " + string(x.grant.ServicePeer) + ": not reached", Cause: err}
	}
	x.refuse(err)
}

// watchedBody remembers whether the answer ended as it should.
type watchedBody struct {
	io.ReadCloser
	ended bool
	err   error
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case errors.Is(err, io.EOF):
		b.ended = true
	case err != nil:
		b.err = err
	}
	return n, err
}

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
	case draft.Status() >= http.StatusInternalServerError:
		uitkomst = audit.Mislukt
		x.Log.ErrorContext(x.r.Context(), "request not sent", slog.String("transaction", string(x.id)), slog.Any("error", err))
	}
	if failed := x.close(draft.Status(), draft.Bytes(), uitkomst, err, x.durably); failed != nil {
		draft = x.draft(failed)
	}
	draft.Send(x.w)
}

func (x *exchange) draft(err error) *edge.Draft {
	d := edge.NewDraft(x.w)
	d.Header().Set(edge.HeaderTransaction, string(x.id)) // an informational answer clears what was set
	if !x.sent {
		d.Header().Set(edge.HeaderVerstuurd, "nee")
	}
	if denied, ok := errors.AsType[*denial](err); ok {
		denied.write(d, x.r)
		return d
	}
	if gateway.CodeOf(err) == string(gateway.GeenContract) {
		d.Header().Set(edge.HeaderErrorCode, string(gateway.GeenContract))
		edge.WriteProblem(d, x.r, err)
		return d
	}
	edge.WriteFSC(d, err, edge.DomainOutway, codes)
	return d
}

// finish records the afloop of whatever was not refused, also after a panic and after a hang-up.
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
	case panicked != nil, x.answer == nil, !x.answer.ended, x.w.Failed() != nil:
		uitkomst = audit.Afgebroken
	}
	keep := x.durably
	if panicked == nil && uitkomst == audit.Beantwoord && status < http.StatusBadRequest && x.w.Header().Get("Content-Length") != "" {
		_ = x.w.FlushError() // whole, with its kwitantie on record: nothing waits for the record of its end. A refusal does.
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
	code := edge.ErrorCode(w.Header())
	switch s := w.Status(); {
	case s == http.StatusBadGateway || s == http.StatusGatewayTimeout:
		return audit.Onbereikbaar
	case s >= http.StatusInternalServerError:
		return audit.Mislukt
	case s == http.StatusUnauthorized || s == http.StatusForbidden || code != "":
		return audit.Geweigerd
	}
	return audit.Beantwoord
}

// close records how the exchange ended, once.
func (x *exchange) close(status int, bytesOut int64, uitkomst string, cause error, keep func(audit.Record) error) error {
	x.closed = true
	now := x.now()
	o := audit.Outcome{
		Transactie: x.id, Richting: audit.Outgoing, Trace: x.trace, Grant: x.grant.Hash, Afnemer: x.Self.ID, Bron: x.grant.ServicePeer,
		Dienst: x.grant.Service, Status: status, Uitkomst: uitkomst, Fout: gateway.CodeOf(cause), Duur: now.Sub(x.start),
		BytesIn: x.body.Bytes(), BytesOut: bytesOut,
	}
	if denied, ok := errors.AsType[*denial](cause); ok {
		o.Reden, o.Fout = denied.reason, denied.code
	}
	if o.Fout == string(gateway.GeenContract) {
		o.Reden = gateway.GeenContract
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
	decided := len(x.pending) > 0
	if recs, x.pending = append(x.pending, recs...), nil; len(recs) == 0 {
		return nil
	}
	err := x.Audit.Append(ctx, recs...)
	if err == nil && decided {
		x.fault(StepRecorded)
	}
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
