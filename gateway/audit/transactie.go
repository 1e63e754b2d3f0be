package audit

import (
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Direction says on which side of the border a record was made (FSC Logging, direction).
type Direction string

// The directions of FSC Logging.
const (
	Outgoing Direction = "DIRECTION_OUTGOING" // by the outway
	Incoming Direction = "DIRECTION_INCOMING" // by the inway
)

// An Exchange is a request that is about to cross the border.
type Exchange struct {
	Transactie gateway.TransactionID
	Richting   Direction
	Grant      gateway.Grant // Hash, Outway, Delegator, ServicePeer, ServiceDelegator and Service are recorded
	Trace      gateway.Trace
}

type transactieBody struct {
	TransactionID  gateway.TransactionID `json:"transaction_id"`
	Direction      Direction             `json:"direction"`
	GrantHash      gateway.GrantHash     `json:"grant_hash"`
	Source         source                `json:"source"`
	Destination    destination           `json:"destination"`
	ServiceName    gateway.ServiceName   `json:"service_name"`
	AdditionalData *span                 `json:"additional_data,omitempty"`
	CreatedAt      int64                 `json:"created_at"` // Unix seconds
}

type source struct {
	Type      string         `json:"type"`
	Outway    gateway.PeerID `json:"outway_peer_id"`
	Delegator gateway.PeerID `json:"delegator_peer_id,omitempty"`
}

type destination struct {
	Type      string         `json:"type"`
	Service   gateway.PeerID `json:"service_peer_id"`
	Delegator gateway.PeerID `json:"delegator_peer_id,omitempty"`
}

// span is the place of a record in its trace, as LDV, ADL and the draft of FSC Logging of August 2026 write it.
type span struct {
	TraceID  string `json:"trace_id"`
	SpanID   string `json:"span_id"`
	ParentID string `json:"parent_span_id,omitempty"`
}

func spanOf(t gateway.Trace) span {
	return span{TraceID: t.TraceID, SpanID: t.SpanID, ParentID: t.Parent}
}

// NewTransactie makes the log record of FSC Logging 1.1.0. Trace and span go into additional_data, since 1.1.0 has no member of
// its own for them.
func NewTransactie(now time.Time, x Exchange) Record {
	body := transactieBody{
		TransactionID: x.Transactie,
		Direction:     x.Richting,
		GrantHash:     x.Grant.Hash,
		Source:        source{Type: "SOURCE_TYPE_SOURCE", Outway: x.Grant.Outway},
		Destination:   destination{Type: "DESTINATION_TYPE_DESTINATION", Service: x.Grant.ServicePeer},
		ServiceName:   x.Grant.Service,
		CreatedAt:     now.Unix(),
	}
	if x.Grant.Delegator != "" {
		body.Source.Type, body.Source.Delegator = "SOURCE_TYPE_DELEGATED_SOURCE", x.Grant.Delegator
	}
	if x.Grant.ServiceDelegator != "" {
		body.Destination.Type, body.Destination.Delegator = "DESTINATION_TYPE_DELEGATED_DESTINATION", x.Grant.ServiceDelegator
	}
	if x.Trace.TraceID != "" {
		s := spanOf(x.Trace)
		body.AdditionalData = &s
	}
	return record(now, Transactie, x.Transactie, body)
}
