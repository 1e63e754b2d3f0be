package edge

import (
	"net/http"
	"strings"
	"unicode"

	"github.com/grensloos/grensloos/gateway"
)

// Target is the path and query of a request, byte for byte as they arrived and as a proxy will send them. A gateway must not
// alter a path (FSC Core, Outway), so one that Go would write differently is refused: the error is of kind Invalid.
func Target(r *http.Request) (string, error) {
	u := r.URL
	if u.Opaque != "" || !strings.HasPrefix(u.Path, "/") && u.Path != "" {
		return "", gateway.Errorf(gateway.Invalid, "path: start it with /")
	}
	if u.RawPath != "" && u.EscapedPath() != u.RawPath {
		return "", gateway.Errorf(gateway.Invalid, "path: percent-encode what RFC 3986 does not allow in it")
	}
	return u.RequestURI(), nil
}

const maxReference = 100

// CheckReference holds the reference of a zaak, or a zaaktype, to a form that can go into a record: at most 100 printable
// characters, no BSN. Empty is fine: whether there must be one is the policy's to say. The error names field.
func CheckReference(field, value string) error {
	if len(value) > maxReference || strings.ContainsFunc(value, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return gateway.Errorf(gateway.Invalid, "%s: give at most %d printable characters", field, maxReference)
	}
	for digits := range strings.FieldsFuncSeq(value, func(c rune) bool { return c < '0' || c > '9' }) {
		if _, err := gateway.ParseBSN(digits); err == nil {
			return gateway.Errorf(gateway.Invalid, "%s: looks like a BSN; give a reference that names no person", field)
		}
	}
	return nil
}
