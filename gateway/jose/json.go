package jose

import (
	"encoding/json"
	"errors"
	"reflect"

	"github.com/gowebpki/jcs"

	"github.com/grensloos/grensloos/gateway"
)

// defaultDepth bounds the nesting of arrays and objects.
const defaultDepth = 32

// Option changes how strictly Decode reads.
type Option func(*reader)

// AllowUnknown lets members pass that the Go type doesn't have. A member that differs from a known one in case only is still
// refused: it would be read as that one.
func AllowUnknown() Option { return func(r *reader) { r.allowUnknown = true } }

// MaxDepth sets the deepest nesting of arrays and objects; 32 unless told.
func MaxDepth(n int) Option { return func(r *reader) { r.maxDepth = n } }

// refuse names members of the outermost object that must not be there.
func refuse(names []string) Option { return func(r *reader) { r.refused = names } }

// Decode reads strict I-JSON (RFC 7493) into the value that into points to: valid UTF-8 without surrogates or noncharacters, no
// member twice, no unknown member (unless AllowUnknown), names in their exact case, no null for a typed member, integers within
// 2^53-1, bounded depth, nothing after the value. What it accepts it reads as encoding/json does, in the same pass; give it a zero
// value. The error is of kind Invalid and names the member, never a value; what into points to is then of no use.
func Decode(data []byte, into any, opts ...Option) error {
	r := &reader{data: string(data), maxDepth: defaultDepth}
	for _, opt := range opts {
		opt(r)
	}
	whole, v := planOf(reflect.TypeOf(into)), reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() || whole.fill != asPointer {
		v, r.unfit = reflect.Value{}, true
	}
	if err := r.document(whole, v); err != nil {
		return err
	}
	if !r.unfit {
		return nil
	}
	// encoding/json has the words for what doesn't fit.
	if err := json.Unmarshal(data, into); err != nil {
		if te, ok := errors.AsType[*json.UnmarshalTypeError](err); ok { // its text repeats the value
			return gateway.Errorf(gateway.Invalid, "%s: wrong type, want %s", orTop(te.Field), te.Type)
		}
		var own *gateway.Error
		if errors.As(err, &own) {
			return gateway.Wrap(gateway.Invalid, err, "json")
		}
		return gateway.Errorf(gateway.Invalid, "json: a member has a value that its type does not take")
	}
	return nil
}

// Check is Decode without a target: it tells whether data is I-JSON.
func Check(data []byte, opts ...Option) error {
	r := &reader{data: string(data), maxDepth: defaultDepth}
	for _, opt := range opts {
		opt(r)
	}
	return r.document(nil, reflect.Value{})
}

// CanonicalJSON gives the JCS form (RFC 8785) of I-JSON.
func CanonicalJSON(raw []byte) ([]byte, error) {
	if err := Check(raw); err != nil {
		return nil, err
	}
	out, err := jcs.Transform(raw)
	if err != nil { // its text may repeat a part of the document
		return nil, gateway.Errorf(gateway.Invalid, "json: has no canonical form (RFC 8785)")
	}
	return out, nil
}

// Canonical gives the JCS form of a Go value.
func Canonical(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, gateway.Wrap(gateway.Internal, err, "json")
	}
	return CanonicalJSON(raw)
}
