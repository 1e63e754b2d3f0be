package edge

import (
	"net/http"
	"slices"
	"strings"

	"github.com/grensloos/grensloos/gateway"
)

// The headers of FSC and of Grensloos.
const (
	HeaderAuthorization = "Fsc-Authorization"    // access token, "Bearer " before it
	HeaderTransaction   = "Fsc-Transaction-Id"   // UUIDv7, minted by the outway
	HeaderGrantHash     = "Fsc-Grant-Hash"       // local: which grant the outway must use
	HeaderManager       = "Fsc-Manager-Address"  // between managers
	HeaderVerklaring    = "Grensloos-Verklaring" // the signed statement of who asks what for which purpose
	HeaderKwitantie     = "Grensloos-Kwitantie"  // the signed receipt that goes with an answer
	HeaderSleutel       = "Grensloos-Sleutel"    // digests of the sleutelbewijzen of the receiver that the asker has
	HeaderZaak          = "Grensloos-Zaak"       // local: reference of the zaak
	HeaderZaaktype      = "Grensloos-Zaaktype"   // local
	HeaderGrond         = "Grensloos-Grond"      // local: the ground on which this gemeente is asked
	HeaderVerstuurd     = "Grensloos-Verstuurd"  // local: "nee" on an answer of the outway of which nothing left this peer
)

// ErrMethodUnsupported is the error code of FSC Core for CONNECT.
const ErrMethodUnsupported = "ERROR_CODE_METHOD_UNSUPPORTED"

// single are the headers of which a second value is an attempt to let two readers see different things.
var single = []string{
	"Authorization", "Proxy-Authorization", "Content-Type", "Content-Length", "Connection", "Upgrade", "Traceparent",
	HeaderAuthorization, HeaderTransaction, HeaderGrantHash, HeaderVerklaring, HeaderSleutel, HeaderZaak, HeaderZaaktype, HeaderGrond, HeaderErrorCode,
	HeaderToelating, HeaderClientCert,
}

// CheckLocal checks the headers of a client on the own network: of ours it may set Fsc-Grant-Hash, Grensloos-Zaak,
// Grensloos-Zaaktype and Grensloos-Grond, each once, and nothing else. The error is of kind Invalid and names the header.
func CheckLocal(r *http.Request) error {
	return CheckHeaders(r, HeaderGrantHash, HeaderZaak, HeaderZaaktype, HeaderGrond)
}

// CheckHeaders is CheckHop, and refuses each of our headers that is not in allow.
func CheckHeaders(r *http.Request, allow ...string) error {
	if err := CheckHop(r); err != nil {
		return err
	}
	for name := range r.Header {
		if reserved(name) && !slices.Contains(allow, name) {
			return refusedHeader(name, "not yours to set here; leave it out")
		}
	}
	return nil
}

// CheckHop refuses CONNECT, Upgrade, a Connection or Trailer header that names one of our headers (a proxy would drop it on the
// way, or add it after the checks), and a second value of a header that has one. Underscores count as dashes, as they do for many
// a service behind a gateway.
func CheckHop(r *http.Request) error {
	if r.Method == http.MethodConnect {
		return gateway.WithCode(gateway.Invalid, ErrMethodUnsupported, "method: CONNECT is not supported")
	}
	if len(r.Header["Upgrade"]) > 0 {
		return refusedHeader("Upgrade", "another protocol is not supported; leave it out")
	}
	for name, values := range r.Header {
		if len(values) > 1 && slices.Contains(single, name) {
			return refusedHeader(name, "send it once")
		}
	}
	for _, hop := range []string{"Connection", "Trailer", "Proxy-Connection"} {
		for _, value := range r.Header[hop] {
			for token := range strings.SplitSeq(value, ",") {
				if token = strings.TrimSpace(token); reserved(token) || strings.EqualFold(token, "Upgrade") {
					return refusedHeader(hop, "it may not name headers of FSC or Grensloos, nor Upgrade")
				}
			}
		}
	}
	for name := range r.Trailer {
		if reserved(name) {
			return refusedHeader("Trailer", "it may not name headers of FSC or Grensloos")
		}
	}
	return nil
}

func refusedHeader(name, mend string) error {
	return gateway.WithCode(gateway.Invalid, CodeHeader, "%.60s: %s", name, mend)
}

func reserved(name string) bool {
	return hasPrefixFold(name, "fsc-") || hasPrefixFold(name, "grensloos-")
}

func hasPrefixFold(s, prefix string) bool {
	if len(s) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c == '_':
			c = '-'
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}

// StripReserved removes every header of FSC and Grensloos except keep: what another peer's outway may send along for itself is
// not for the service behind our inway.
func StripReserved(h http.Header, keep ...string) {
	for name := range h {
		if reserved(name) && !slices.Contains(keep, name) {
			delete(h, name)
		}
	}
}

// Bearer returns the token of an Authorization-like header value: with "Bearer " before it, in any case, or bare if bare is
// allowed (FSC Core is silent on the form of Fsc-Authorization). It is empty if there is none.
func Bearer(value string, bare bool) string {
	if len(value) > 7 && strings.EqualFold(value[:7], "Bearer ") {
		return strings.TrimSpace(value[7:])
	}
	if bare && !strings.Contains(value, " ") {
		return value
	}
	return ""
}

// Headers sets API-Version and the security headers that the API Design Rules want on every answer.
func Headers(version string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := w.Header()
		out.Set("API-Version", version)
		out.Set("Cache-Control", "no-store")
		out.Set("Content-Security-Policy", "frame-ancestors 'none'")
		out.Set("Strict-Transport-Security", "max-age=31536000")
		out.Set("X-Content-Type-Options", "nosniff")
		out.Set("X-Frame-Options", "DENY")
		h.ServeHTTP(w, r)
	})
}

// TraceFrom is the caller's place in a W3C trace, or a new trace if the request carries none that is well formed; a handler works
// under its Child. tracestate longer than 512 bytes is dropped.
func TraceFrom(r *http.Request) gateway.Trace {
	parents := r.Header["Traceparent"]
	if len(parents) == 1 {
		state := strings.Join(r.Header["Tracestate"], ",")
		if len(state) > 512 {
			state = ""
		}
		if t, ok := gateway.ParseTrace(parents[0], state); ok {
			return t
		}
	}
	return gateway.NewTrace()
}

// SetTrace puts t on an outgoing request.
func SetTrace(h http.Header, t gateway.Trace) {
	h.Set("Traceparent", t.Traceparent())
	if t.State == "" {
		h.Del("Tracestate")
		return
	}
	h.Set("Tracestate", t.State)
}
