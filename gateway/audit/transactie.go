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

// NewTransactie makes the log record of FSC Logging 1.1.0. Trace and span go into additional_data, since 1.1.0 has no member of
// its own for them.
func NewTransactie(now time.Time, x Exchange) Record {
	g := x.Grant
	o := &object{b: make([]byte, 0, usualTransactie)}
	o.open()
	o.text("transaction_id", string(x.Transactie))
	o.text("direction", string(x.Richting))
	o.text("grant_hash", string(g.Hash))
	o.key("source")
	o.open()
	if g.Delegator != "" {
		o.text("type", "SOURCE_TYPE_DELEGATED_SOURCE")
	} else {
		o.text("type", "SOURCE_TYPE_SOURCE")
	}
	o.text("outway_peer_id", string(g.Outway))
	o.optional("delegator_peer_id", string(g.Delegator))
	o.shut()
	o.key("destination")
	o.open()
	if g.ServiceDelegator != "" {
		o.text("type", "DESTINATION_TYPE_DELEGATED_DESTINATION")
	} else {
		o.text("type", "DESTINATION_TYPE_DESTINATION")
	}
	o.text("service_peer_id", string(g.ServicePeer))
	o.optional("delegator_peer_id", string(g.ServiceDelegator))
	o.shut()
	o.text("service_name", string(g.Service))
	if x.Trace.TraceID != "" {
		o.key("additional_data")
		o.open()
		o.trace(x.Trace)
		o.shut()
	}
	o.number("created_at", now.Unix())
	o.shut()
	return encoded(now, Transactie, x.Transactie, o.b)
}

// usualTransactie is more bytes than most of these records have.
const usualTransactie = 768
