package audit

import (
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// A Receipt is a verified kwitantie: what the provider signed about the answer that it gave. The asker keeps it.
type Receipt struct {
	Transactie   gateway.TransactionID
	Trace        gateway.Trace
	Grant        gateway.GrantHash
	Afnemer      gateway.PeerID // who asked
	Bron         gateway.PeerID // who answered, and signed
	Dienst       gateway.ServiceName
	Doel         gateway.Doel
	Besluit      bool                      // the provider's decision allows
	Uitkomst     map[gateway.Dienst]string // how the question for each dienst ended
	VeldenDigest string                    // of the names of the fields that left; empty: the provider says nothing of what it answered
	Aantal       int                       // number of records that left; counts beside VeldenDigest only
	Afgegeven    time.Time                 // when, by the provider's clock
	JWS          string                    // the kwitantie as it came, with the certificate that signed
}

type kwitantieBody struct {
	Transactie   gateway.TransactionID     `json:"transactie"`
	TraceID      string                    `json:"traceId,omitempty"`
	SpanID       string                    `json:"spanId,omitempty"`
	ParentSpanID string                    `json:"parentSpanId,omitempty"`
	Grant        gateway.GrantHash         `json:"grant"`
	Afnemer      gateway.PeerID            `json:"afnemer"`
	Bron         gateway.PeerID            `json:"bron"`
	Dienst       gateway.ServiceName       `json:"dienst"`
	Doel         gateway.Doel              `json:"doel"`
	Besluit      bool                      `json:"besluit"`
	Uitkomst     map[gateway.Dienst]string `json:"uitkomst,omitempty"`
	VeldenDigest string                    `json:"veldenDigest,omitempty"`
	Aantal       *int                      `json:"aantal,omitempty"`
	Afgegeven    int64                     `json:"afgegeven"` // Unix seconds
	JWS          string                    `json:"jws"`
}

// NewKwitantie makes the record of an answer's kwitantie, at the asker.
func NewKwitantie(now time.Time, r Receipt) Record {
	body := kwitantieBody{
		Transactie: r.Transactie, TraceID: r.Trace.TraceID, SpanID: r.Trace.SpanID, ParentSpanID: r.Trace.Parent,
		Grant: r.Grant, Afnemer: r.Afnemer, Bron: r.Bron, Dienst: r.Dienst, Doel: r.Doel, Besluit: r.Besluit, Uitkomst: r.Uitkomst,
		VeldenDigest: r.VeldenDigest, Afgegeven: r.Afgegeven.Unix(), JWS: r.JWS,
	}
	if r.VeldenDigest != "" {
		body.Aantal = &r.Aantal
	}
	return record(now, Kwitantie, r.Transactie, body)
}
