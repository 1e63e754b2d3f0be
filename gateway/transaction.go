package gateway

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"
)

// TransactionID is the UUIDv7, in lower case, under which both peers record one exchange (FSC Logging; Digikoppeling REST-API
// demands version 7).
type TransactionID string

// isUUID7 reports whether s is a UUID of version 7 in lower case. It is asked many times per question, so it is no regular expression.
func isUUID7(s string) bool {
	if len(s) != 36 || s[14] != '7' || s[19] != '8' && s[19] != '9' && s[19] != 'a' && s[19] != 'b' {
		return false
	}
	for i := range len(s) {
		switch i {
		case 8, 13, 18, 23:
			if s[i] != '-' {
				return false
			}
		default:
			if !isHex(s[i]) {
				return false
			}
		}
	}
	return true
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }

// NewTransactionID mints an id that carries now, to the millisecond.
func NewTransactionID(now time.Time) TransactionID { return TransactionID(NewUUID(now)) }

// NewUUID mints a UUIDv7 (RFC 9562) that carries now, to the millisecond, and 74 random bits.
func NewUUID(now time.Time) string {
	var u [16]byte
	_, _ = rand.Read(u[6:])
	ms := now.UnixMilli()
	for i := range 6 {
		u[i] = byte(ms >> (40 - 8*i))
	}
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80
	var b [36]byte
	hex.Encode(b[0:8], u[0:4])
	hex.Encode(b[9:13], u[4:6])
	hex.Encode(b[14:18], u[6:8])
	hex.Encode(b[19:23], u[8:10])
	hex.Encode(b[24:36], u[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// ParseTransactionID accepts a UUIDv7 in lower case.
func ParseTransactionID(s string) (TransactionID, error) {
	if !isUUID7(s) {
		return "", Errorf(Invalid, "transaction id: give a UUID of version 7 in lower case")
	}
	return TransactionID(s), nil
}

// Time is the moment that the id carries; the zero time if it is not a UUIDv7.
func (t TransactionID) Time() time.Time {
	if !isUUID7(string(t)) {
		return time.Time{}
	}
	raw, _ := hex.DecodeString(string(t[0:8] + t[9:13])) // form checked above
	var ms int64
	for _, b := range raw {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms)
}

// Trace is the place of one step in a W3C trace: 32 and 16 lowercase hex digits. Parent is empty at the root.
type Trace struct {
	TraceID string
	SpanID  string
	Parent  string
	Sampled bool   // carried on unaltered; never decides whether something is recorded (ADL 1.0.0)
	State   string // tracestate, carried on unaltered
}

// NewTrace starts a trace with ids from the system's random source.
func NewTrace() Trace { return Trace{TraceID: randomHex(16), SpanID: randomHex(8), Sampled: true} }

// Child is a new span below t.
func (t Trace) Child() Trace {
	child := t
	child.Parent, child.SpanID = t.SpanID, randomHex(8)
	return child
}

// Traceparent is the W3C header value of t.
func (t Trace) Traceparent() string {
	flags := "-00"
	if t.Sampled {
		flags = "-01"
	}
	return "00-" + t.TraceID + "-" + t.SpanID + flags
}

const (
	zeroTrace = "00000000000000000000000000000000"
	zeroSpan  = "0000000000000000"
)

// ParseTrace reads a traceparent header (version 00). ok is false if it is absent or malformed: then a new trace starts.
func ParseTrace(traceparent, tracestate string) (t Trace, ok bool) {
	const ids = len(zeroTrace) + 1 + len(zeroSpan)
	rest, version := strings.CutPrefix(traceparent, "00-")
	if !version || len(rest) != ids+3 {
		return Trace{}, false
	}
	trace, span, flags := rest[:len(zeroTrace)], rest[len(zeroTrace)+1:ids], rest[ids+1:]
	if rest[len(zeroTrace)] != '-' || rest[ids] != '-' || !allHex(trace) || !allHex(span) || !allHex(flags) || trace == zeroTrace || span == zeroSpan {
		return Trace{}, false
	}
	raw, _ := hex.DecodeString(flags)
	return Trace{TraceID: trace, SpanID: span, Sampled: raw[0]&1 == 1, State: tracestate}, true
}

func allHex(s string) bool {
	for i := range len(s) {
		if !isHex(s[i]) {
			return false
		}
	}
	return true
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
