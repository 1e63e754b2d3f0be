// Package edge is what every listener of Grensloos has in common on HTTP: limits on time, headers and bodies; the table from
// gateway.Kind to problem+json (RFC 9457, API Design Rules 2.2.1) and to the error body of FSC Core; security headers; W3C trace
// context; which headers a caller may set; and the JWT of the own network.
//
// It refuses by default: a listener made here has a limit on everything a stranger can send, an error that nobody classified says
// nothing outside, a token without role or organisation is no token, and the Fsc-* and Grensloos-* headers are ours, so a caller
// who sets one that it has no business with is refused rather than corrected.
//
// Invariants a reviewer must keep: Hidden and NotFound give the same bytes; the cause of an error and the value of a panic are
// for the operator at most, never for the caller; role, worker and organisation come from a verified token only.
package edge

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

// The limits of every listener. A body has the limit of the handler that reads it; MaxBody is the usual one for JSON.
const (
	ReadHeaderTimeout = 5 * time.Second
	ReadTimeout       = 60 * time.Second
	WriteTimeout      = 120 * time.Second
	IdleTimeout       = 90 * time.Second
	MaxHeaderBytes    = 64 << 10
	MaxBody           = 1 << 20
)

// NewServer makes the server of one listener, with every limit of this package set. tlsCfg is nil only for a test. A panic in h
// is logged by its type and stack, never by its value, and answered with 500 if nothing was answered yet.
func NewServer(h http.Handler, tlsCfg *tls.Config, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           recovered(h, log),
		TLSConfig:         tlsCfg.Clone(), // net/http adds to it, and several servers share one
		ReadHeaderTimeout: ReadHeaderTimeout,
		ReadTimeout:       ReadTimeout,
		WriteTimeout:      WriteTimeout,
		IdleTimeout:       IdleTimeout,
		MaxHeaderBytes:    MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		// net/http answers OPTIONS * by itself, before h has seen who asks.
		DisableGeneralOptionsHandler: true,
	}
}

func recovered(h http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := NewRecorder(w)
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(http.ErrAbortHandler)
			}
			log.ErrorContext(r.Context(), "panic in handler", slog.String("type", fmt.Sprintf("%T", v)), slog.String("stack", string(debug.Stack())))
			if rec.Started() {
				panic(http.ErrAbortHandler) // the answer is cut off rather than ended as if it were whole
			}
			WriteProblem(w, r, gateway.Errorf(gateway.Internal, "panic"))
		}()
		h.ServeHTTP(rec, r)
	})
}

// NewRouter makes the router of one of our own APIs: no redirects, 404 and 405 (with Allow) as problem+json, every answer with
// API-Version and the security headers. Path variables arrive decoded.
func NewRouter(version string) *mux.Router {
	router := mux.NewRouter().SkipClean(true)
	router.NotFoundHandler = Headers(version, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		WriteProblem(w, r, gateway.Errorf(gateway.NotFound, "path: nothing here"))
	}))
	router.MethodNotAllowedHandler = Headers(version, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", strings.Join(allowed(router, r), ", "))
		WriteProblem(w, r, gateway.WithCode(gateway.Invalid, CodeMethod, "method: this address does not take %.10s", r.Method))
	}))
	router.Use(func(next http.Handler) http.Handler { return Headers(version, next) })
	return router
}

func allowed(router *mux.Router, r *http.Request) []string {
	var methods []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		probe := r.Clone(r.Context())
		probe.Method = m
		var match mux.RouteMatch
		if router.Match(probe, &match) && match.MatchErr == nil {
			methods = append(methods, m)
		}
	}
	return methods
}

// LimitBody refuses to read more than limit bytes of the body of any request to h.
func LimitBody(limit int64, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		h.ServeHTTP(w, r)
	})
}

// ReadBody reads a whole body of at most limit bytes. The error is of kind Invalid: CodeBodyTooLarge (413) with the limit, or a
// body that broke off.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	in := http.MaxBytesReader(w, r.Body, limit)
	var body []byte
	var err error
	if n := int(r.ContentLength); n > 0 && r.ContentLength <= limit {
		body = make([]byte, n+1) // one more, to see that there is none
		got, failed := io.ReadFull(in, body)
		if body, err = body[:min(got, n)], failed; got == n && errors.Is(failed, io.ErrUnexpectedEOF) {
			err = nil
		} else if failed == nil {
			err = errors.New("longer than its Content-Length")
		}
	} else {
		body, err = io.ReadAll(in)
	}
	if err == nil {
		return body, nil
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, gateway.WithCode(gateway.Invalid, CodeBodyTooLarge, "body: larger than %d bytes; send less", tooLarge.Limit)
	}
	return nil, gateway.Wrap(gateway.Invalid, err, "body: broke off before its end")
}

// DecodeJSON reads a body of at most limit bytes as strict I-JSON into into (jose.Decode: no unknown or duplicate members). A
// Content-Type other than application/json is refused with CodeMediaType (415).
func DecodeJSON(w http.ResponseWriter, r *http.Request, limit int64, into any) error {
	if !IsJSON(r.Header.Get("Content-Type")) {
		return gateway.WithCode(gateway.Invalid, CodeMediaType, "Content-Type: send application/json")
	}
	body, err := ReadBody(w, r, limit)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return gateway.Errorf(gateway.Invalid, "body: empty; send a JSON object")
	}
	return jose.Decode(body, into)
}

// IsJSON reports whether a Content-Type says application/json in UTF-8.
func IsJSON(contentType string) bool {
	media, params, err := mime.ParseMediaType(contentType)
	charset, has := params["charset"]
	return err == nil && media == "application/json" && (!has || strings.EqualFold(charset, "utf-8"))
}

// WriteJSON answers with v. An answer that can't be encoded is an internal error.
func WriteJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		WriteProblem(w, r, err)
		return
	}
	body = append(body, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body))) // also when it is flushed before the handler ends
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// AcceptJSON refuses, with 406, a request whose Accept header rules out JSON.
func AcceptJSON(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !acceptsJSON(r.Header.Values("Accept")) {
			WriteProblem(w, r, gateway.WithCode(gateway.Invalid, CodeNotAcceptable, "Accept: only application/json is given here"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func acceptsJSON(values []string) bool {
	if len(values) == 0 {
		return true
	}
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			media, params, err := mime.ParseMediaType(strings.TrimSpace(part))
			if err != nil || strings.Trim(params["q"], "0.") == "" && params["q"] != "" {
				continue
			}
			switch media {
			case "*/*", "application/*", "application/json":
				return true
			}
		}
	}
	return false
}

// ctxKey are the keys of this package in a request's context.
type ctxKey int

const callerKey ctxKey = iota

func withCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey, c)
}

// CallerOf returns the verified caller that Verifier.Require put into the context.
func CallerOf(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey).(Caller)
	return c, ok
}
