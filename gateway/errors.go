package gateway

import (
	"errors"
	"fmt"
)

// Kind says what a caller may do about an error. The edges map it to an HTTP status. The zero value is Internal, so an error
// that nobody classified tells the outside nothing.
type Kind uint8

// The kinds of error.
const (
	Internal    Kind = iota // ours; says nothing outside
	Invalid                 // the caller's input is wrong; the message names the field and the mend
	Denied                  // understood and refused
	Hidden                  // refused without admitting that the thing exists
	NotFound                // no such thing
	Conflict                // contradicts what is there
	Unavailable             // a part that is needed is down or slow; the same call may succeed later
)

func (k Kind) String() string {
	switch k {
	case Invalid:
		return "invalid"
	case Denied:
		return "denied"
	case Hidden:
		return "hidden"
	case NotFound:
		return "not found"
	case Conflict:
		return "conflict"
	case Unavailable:
		return "unavailable"
	case Internal:
	}
	return "internal"
}

// Error is an error that somebody acts on. Message may be shown to the caller and carries no personal value; Cause is for the
// log of the operator only.
type Error struct {
	Kind    Kind
	Code    string // a code of a standard ("ERROR_CODE_ACCESS_TOKEN_INVALID") or a public reason ("geweigerd"); may be empty
	Message string
	Cause   error
}

func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Message
	}
	if e.Message == "" {
		return e.Cause.Error()
	}
	return e.Message + ": " + e.Cause.Error()
}

func (e *Error) Unwrap() error { return e.Cause }

// Errorf makes an error of a kind.
func Errorf(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// Wrap adds what was being done, and a kind, to an error. The outermost kind counts. It returns nil for a nil error.
func Wrap(k Kind, err error, doing string) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: k, Message: doing, Cause: err}
}

// WithCode is Errorf with the code of a standard.
func WithCode(k Kind, code, format string, args ...any) error {
	return &Error{Kind: k, Code: code, Message: fmt.Sprintf(format, args...)}
}

// KindOf returns the kind of the outermost classified error in err's chain, else Internal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// CodeOf returns the outermost code in err's chain that is not empty.
func CodeOf(err error) string {
	for err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			return ""
		}
		if e.Code != "" {
			return e.Code
		}
		err = e.Cause
	}
	return ""
}
