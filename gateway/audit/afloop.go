package audit

import (
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Usual values of Outcome.Uitkomst.
const (
	Beantwoord   = "beantwoord"   // an answer left, or came in, whole
	Geweigerd    = "geweigerd"    // refused: by a check, a policy or the other side
	Onbereikbaar = "onbereikbaar" // the other side or the service could not be reached
	Mislukt      = "mislukt"      // broke on our side
	Afgebroken   = "afgebroken"   // the answer was cut short
)

// An Outcome is how an exchange ended on one side. Of a call that was refused before its token was verified most is unknown, and
// left out.
type Outcome struct {
	Transactie gateway.TransactionID // if it has the form of one
	Geclaimd   bool                  // Transactie is the caller's word: it may be that of another exchange, of another peer
	Richting   Direction
	Trace      gateway.Trace
	Grant      gateway.GrantHash
	Afnemer    gateway.PeerID // who asked, as far as proven
	Bron       gateway.PeerID // who was asked
	Dienst     gateway.ServiceName
	Status     int            // HTTP status given to the caller; 0 if none went out
	Uitkomst   string         // Beantwoord, Geweigerd ...: small letters and dashes
	Reden      gateway.Reason // internal reason of a refusal by policy
	Fout       string         // Fsc-Error-Code or other public code
	Duur       time.Duration
	BytesIn    int64 // body of the request
	BytesOut   int64 // body of the answer
}

type afloopBody struct {
	Transactie   gateway.TransactionID `json:"transactie,omitempty"`
	Geclaimd     bool                  `json:"geclaimd,omitempty"`
	Richting     Direction             `json:"richting"`
	TraceID      string                `json:"traceId,omitempty"`
	SpanID       string                `json:"spanId,omitempty"`
	ParentSpanID string                `json:"parentSpanId,omitempty"`
	Grant        gateway.GrantHash     `json:"grant,omitempty"`
	Afnemer      gateway.PeerID        `json:"afnemer,omitempty"`
	Bron         gateway.PeerID        `json:"bron,omitempty"`
	Dienst       gateway.ServiceName   `json:"dienst,omitempty"`
	Status       int                   `json:"status"`
	Uitkomst     string                `json:"uitkomst"`
	Reden        gateway.Reason        `json:"reden,omitempty"`
	Fout         string                `json:"fout,omitempty"`
	DuurMs       int64                 `json:"duurMs"`
	BytesIn      int64                 `json:"bytesIn"`
	BytesUit     int64                 `json:"bytesUit"`
}

// NewAfloop makes the record of how an exchange ended.
func NewAfloop(now time.Time, o Outcome) Record {
	r := record(now, Afloop, o.Transactie, afloopBody{
		Transactie: o.Transactie, Geclaimd: o.Geclaimd && o.Transactie != "", Richting: o.Richting,
		TraceID: o.Trace.TraceID, SpanID: o.Trace.SpanID, ParentSpanID: o.Trace.Parent,
		Grant: o.Grant, Afnemer: o.Afnemer, Bron: o.Bron, Dienst: o.Dienst,
		Status: o.Status, Uitkomst: o.Uitkomst, Reden: o.Reden, Fout: o.Fout,
		DuurMs: o.Duur.Milliseconds(), BytesIn: o.BytesIn, BytesUit: o.BytesOut,
	})
	r.Telling = Telling{Richting: o.Richting, Uitkomst: o.Uitkomst, Fout: o.Fout}
	return r
}
