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

// NewKwitantie makes the record of an answer's kwitantie, at the asker.
func NewKwitantie(now time.Time, r Receipt) Record {
	o := &object{b: make([]byte, 0, usualKwitantie+len(r.JWS))}
	o.open()
	o.text("transactie", string(r.Transactie))
	o.ownTrace(r.Trace)
	o.text("grant", string(r.Grant))
	o.text("afnemer", string(r.Afnemer))
	o.text("bron", string(r.Bron))
	o.text("dienst", string(r.Dienst))
	o.text("doel", string(r.Doel))
	o.flag("besluit", r.Besluit)
	if len(r.Uitkomst) > 0 {
		o.key("uitkomst")
		o.b = appendMap(o.b, r.Uitkomst, appendString)
	}
	o.optional("veldenDigest", r.VeldenDigest)
	if r.VeldenDigest != "" {
		o.number("aantal", int64(r.Aantal))
	}
	o.number("afgegeven", r.Afgegeven.Unix())
	o.text("jws", r.JWS)
	o.shut()
	return encoded(now, Kwitantie, r.Transactie, o.b)
}

// usualKwitantie is more bytes than most of these records have beside the kwitantie itself.
const usualKwitantie = 768
