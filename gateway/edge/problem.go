package edge

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/grensloos/grensloos/gateway"
)

// Codes of our own that have a status of their own; an error of another code has the status of its kind.
const (
	CodeUnauthenticated = "niet-aangemeld"      // 401
	CodeMethod          = "methode-onbekend"    // 405
	CodeNotAcceptable   = "niet-leverbaar"      // 406
	CodeBodyTooLarge    = "body-te-groot"       // 413
	CodeMediaType       = "mediatype-onbekend"  // 415
	CodeRole            = "rol-ontbreekt"       // 403
	CodeHeader          = "header-niet-gewenst" // 400
)

var codeStatus = map[string]int{
	CodeUnauthenticated: http.StatusUnauthorized,
	CodeMethod:          http.StatusMethodNotAllowed,
	CodeNotAcceptable:   http.StatusNotAcceptable,
	CodeBodyTooLarge:    http.StatusRequestEntityTooLarge,
	CodeMediaType:       http.StatusUnsupportedMediaType,
}

// Problem is an error body of RFC 9457 with our extension members. It is an error too, for the edges that need a status outside
// the table.
type Problem struct {
	Type          string         `json:"type,omitempty"` // absent means about:blank
	Title         string         `json:"title"`
	Status        int            `json:"status"`
	Detail        string         `json:"detail"`
	Code          string         `json:"code,omitempty"`
	Instance      string         `json:"instance,omitempty"`
	InvalidParams []InvalidParam `json:"ongeldigeVelden,omitempty"`
}

// InvalidParam is one field that is wrong, and how to mend it. It never repeats the value.
type InvalidParam struct {
	Naam  string `json:"naam"`
	Reden string `json:"reden"`
}

func (p *Problem) Error() string { return p.Title + ": " + p.Detail }

// KindStatus is the table from kind to HTTP status of our own APIs.
func KindStatus(k gateway.Kind) int {
	switch k {
	case gateway.Invalid:
		return http.StatusBadRequest
	case gateway.Denied:
		return http.StatusForbidden
	case gateway.Hidden, gateway.NotFound:
		return http.StatusNotFound
	case gateway.Conflict:
		return http.StatusConflict
	case gateway.Unavailable:
		return http.StatusServiceUnavailable
	case gateway.Internal:
	}
	return http.StatusInternalServerError
}

var titles = map[int]string{
	http.StatusBadRequest:            "Ongeldig verzoek",
	http.StatusUnauthorized:          "Niet aangemeld",
	http.StatusForbidden:             "Geweigerd",
	http.StatusNotFound:              "Niet gevonden",
	http.StatusMethodNotAllowed:      "Methode niet toegestaan",
	http.StatusNotAcceptable:         "Niet leverbaar",
	http.StatusConflict:              "In strijd met wat er is",
	http.StatusRequestEntityTooLarge: "Verzoek te groot",
	http.StatusUnsupportedMediaType:  "Mediatype niet ondersteund",
	http.StatusInternalServerError:   "Interne fout",
	http.StatusBadGateway:            "Geen antwoord van de andere kant",
	http.StatusServiceUnavailable:    "Tijdelijk niet beschikbaar",
}

// ProblemOf is what the outside may see of an error: the messages that were made to be shown, the code, the status of its code
// or else of its kind. Internal, Hidden and NotFound say nothing of themselves.
func ProblemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	kind := gateway.KindOf(err)
	p := &Problem{Status: KindStatus(kind)}
	switch kind {
	case gateway.Internal:
		p.Detail = "Er ging aan deze kant iets mis. De beheerder vindt het in het logboek."
	case gateway.Hidden, gateway.NotFound:
		p.Detail = "Hier is niets te vinden."
	case gateway.Invalid, gateway.Denied, gateway.Conflict, gateway.Unavailable:
		p.Detail = shown(err)
		p.Code = gateway.CodeOf(err)
		if status, ok := codeStatus[p.Code]; ok {
			p.Status = status
		}
		if field, mend, ok := strings.Cut(p.Detail, ": "); ok && kind == gateway.Invalid && p.Status == http.StatusBadRequest {
			p.InvalidParams = []InvalidParam{{Naam: field, Reden: mend}}
		}
	}
	p.Title = titles[p.Status]
	return p
}

// shown joins the messages of the classified errors at the head of err's chain: Message may be shown, an unclassified cause not.
func shown(err error) string {
	var parts []string
	for {
		e, ok := errors.AsType[*gateway.Error](err)
		if !ok || e.Kind == gateway.Internal {
			break
		}
		if e.Message != "" {
			parts = append(parts, e.Message)
		}
		if err = e.Cause; err == nil {
			break
		}
	}
	return strings.Join(parts, ": ")
}

// WriteProblem answers with an error as problem+json. The instance is the transaction id, if the answer already carries one.
func WriteProblem(w http.ResponseWriter, _ *http.Request, err error) {
	p := *ProblemOf(err)
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	if id := w.Header().Get(HeaderTransaction); id != "" && p.Instance == "" {
		p.Instance = "urn:uuid:" + id
	}
	if p.Status == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeError(w, "application/problem+json", p.Status, p)
}

// Domains of FSC errors.
const (
	DomainManager = "ERROR_DOMAIN_MANAGER"
	DomainInway   = "ERROR_DOMAIN_INWAY"
	DomainOutway  = "ERROR_DOMAIN_OUTWAY"
)

// HeaderErrorCode carries the code of an FSC error.
const HeaderErrorCode = "Fsc-Error-Code"

// CodeVreemd stands for an error code that somebody else gave and that is no code as FSC has them.
const CodeVreemd = "vreemde-code"

var errorCodeForm = regexp.MustCompile(`^[A-Za-z][A-Za-z_-]{0,79}$`)

// ErrorCode is the error code on an answer, fit for a record, a count or a log: who answers may be another peer, and could write
// anything there, a number of a person too. Empty if there is none.
func ErrorCode(h http.Header) string {
	switch code := h.Get(HeaderErrorCode); {
	case code == "", errorCodeForm.MatchString(code):
		return code
	default:
		return CodeVreemd
	}
}

// FSCError is the error body of FSC Core.
type FSCError struct {
	Message string `json:"message"`
	Domain  string `json:"domain"`
	Code    string `json:"code"`
}

// WriteFSC answers with an error as FSC Core has it, body and Fsc-Error-Code. The status is that of the code in the server's
// table, else of its kind. An error without a code gets one of ours, GRENSLOOS_<KIND>: FSC has none for it.
func WriteFSC(w http.ResponseWriter, err error, domain string, table map[string]int) {
	kind, code, message := gateway.KindOf(err), gateway.CodeOf(err), shown(err)
	if kind == gateway.Hidden {
		kind, code = gateway.NotFound, ""
	}
	switch {
	case kind == gateway.Internal && code == "":
		message = "internal error"
	case kind == gateway.NotFound && code == "":
		message = "not found"
	case message == "":
		message = kind.String()
	}
	status, ok := table[code]
	if !ok {
		if status, ok = codeStatus[code]; !ok {
			status = KindStatus(kind)
		}
	}
	if code == "" {
		code = "GRENSLOOS_" + strings.ToUpper(strings.ReplaceAll(kind.String(), " ", "_"))
	}
	w.Header().Set(HeaderErrorCode, code)
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeError(w, "application/json", status, FSCError{Message: message, Domain: domain, Code: code})
}

func writeError(w http.ResponseWriter, contentType string, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		body, status = []byte("{}"), http.StatusInternalServerError
	}
	h := w.Header()
	h.Del("Content-Length")
	h.Del("Content-Encoding")
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
