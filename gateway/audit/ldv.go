package audit

import (
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// PseudoniemType says what kind of identifier a pseudonym is (LDV, dpl.core.data_subject_id_type).
const PseudoniemType = "https://github.com/grensloos/grensloos#pseudoniem"

// A Processing is one action on the data of one betrokkene.
type Processing struct {
	Transactie gateway.TransactionID
	Trace      gateway.Trace // the span of this processing; its parent is the caller's
	Naam       string        // for people: "Verstrekken clientgegevens pw-reintegratie"
	Start      time.Time
	Eind       time.Time
	Activiteit string            // URI of the processing activity in the controller's register
	Betrokkene gateway.Pseudonym // one line has one betrokkene
	Afnemer    gateway.PeerID    // the peer that asked, from its token, never from a header
	Velden     gateway.Velden    // names of the fields that were disclosed; no values
	Bron       string            // name of the source, for operators
	Dienst     string            // name of the service that processed, such as "clientgegevens"
	Fout       bool              // internal failure; a denial or "geen gegevens" is none
}

// NewLDV makes one line of LDV 1.0.0, level of detail 2: which fields, no values. The transaction id and the names of the fields
// stand under names of ours in resource.attributes, since LDV allows no dpl.* key that is not established.
func NewLDV(now time.Time, p Processing) Record {
	status := "Unset"
	if p.Fout {
		status = "Error"
	}
	o := &object{b: make([]byte, 0, usualLDV)}
	o.open()
	o.trace(p.Trace)
	o.text("status", status)
	o.text("name", p.Naam)
	o.number("start_time", p.Start.UnixMilli())
	o.number("end_time", p.Eind.UnixMilli())
	o.key("resource")
	o.open()
	o.key("attributes")
	o.open()
	o.optional("grensloos.bron", p.Bron)
	o.optional("grensloos.transactie", string(p.Transactie))
	if len(p.Velden) > 0 {
		o.value("grensloos.velden", p.Velden)
	}
	o.text("service.name", p.Dienst)
	o.shut()
	o.shut()
	o.key("attributes")
	o.open()
	o.text("dpl.core.data_subject_id", string(p.Betrokkene))
	o.text("dpl.core.data_subject_id_type", PseudoniemType)
	if p.Afnemer != "" {
		o.text("dpl.core.foreign_operation.processor", "urn:nld:oin:"+string(p.Afnemer))
	}
	o.text("dpl.core.processing_activity_id", p.Activiteit)
	o.shut()
	o.shut()
	return encoded(now, LDV, p.Transactie, o.b)
}

// usualLDV is more bytes than most of these records have.
const usualLDV = 1024
