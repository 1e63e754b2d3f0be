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

type ldvBody struct {
	span
	Status     string            `json:"status"`
	Name       string            `json:"name"`
	StartTime  int64             `json:"start_time"` // Unix milliseconds
	EndTime    int64             `json:"end_time"`
	Resource   ldvResource       `json:"resource"`
	Attributes map[string]string `json:"attributes"`
}

type ldvResource struct {
	Attributes map[string]any `json:"attributes"`
}

// NewLDV makes one line of LDV 1.0.0, level of detail 2: which fields, no values. The transaction id and the names of the fields
// stand under names of ours in resource.attributes, since LDV allows no dpl.* key that is not established.
func NewLDV(now time.Time, p Processing) Record {
	resource := map[string]any{"service.name": p.Dienst}
	if p.Transactie != "" {
		resource["grensloos.transactie"] = p.Transactie
	}
	if p.Bron != "" {
		resource["grensloos.bron"] = p.Bron
	}
	if len(p.Velden) > 0 {
		resource["grensloos.velden"] = p.Velden
	}
	body := ldvBody{
		span:      spanOf(p.Trace),
		Status:    "Unset",
		Name:      p.Naam,
		StartTime: p.Start.UnixMilli(),
		EndTime:   p.Eind.UnixMilli(),
		Resource:  ldvResource{Attributes: resource},
		Attributes: map[string]string{
			"dpl.core.processing_activity_id": p.Activiteit,
			"dpl.core.data_subject_id":        string(p.Betrokkene),
			"dpl.core.data_subject_id_type":   PseudoniemType,
		},
	}
	if p.Afnemer != "" {
		body.Attributes["dpl.core.foreign_operation.processor"] = "urn:nld:oin:" + string(p.Afnemer)
	}
	if p.Fout {
		body.Status = "Error"
	}
	return record(now, LDV, p.Transactie, body)
}
