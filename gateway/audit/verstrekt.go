package audit

import (
	"encoding/json"
	"strings"

	"github.com/grensloos/grensloos/gateway"
)

// A Disclosure is what the records of one transaction say was given to whom, at the side that gave it.
type Disclosure struct {
	Afnemer    gateway.PeerID // who asked
	Betrokkene gateway.Pseudonym
	Doel       gateway.Doel
	Velden     gateway.Velden
}

// Verstrekt reads the disclosure out of the records of one transaction: fields and person from the LDV line of the service, the
// purpose from its decision. ok is false if there was none, or if the records don't tell one story.
func Verstrekt(recs []Record, service gateway.ServiceName) (d Disclosure, ok bool) {
	lines := 0
	for _, r := range recs {
		switch r.Soort { //nolint:exhaustive // the others say nothing of it
		case LDV:
			var body struct {
				Resource struct {
					Attributes struct {
						Service string         `json:"service.name"`
						Velden  gateway.Velden `json:"grensloos.velden"`
					} `json:"attributes"`
				} `json:"resource"`
				Attributes map[string]string `json:"attributes"`
			}
			if json.Unmarshal(r.Body, &body) != nil || body.Resource.Attributes.Service != string(service) {
				continue
			}
			lines++
			d.Velden = body.Resource.Attributes.Velden
			d.Betrokkene = gateway.Pseudonym(body.Attributes["dpl.core.data_subject_id"])
			d.Afnemer = gateway.PeerID(strings.TrimPrefix(body.Attributes["dpl.core.foreign_operation.processor"], "urn:nld:oin:"))
		case ADL:
			if q, made := question(r, string(service)); made {
				d.Doel = q.Context.Doel
			}
		}
	}
	return d, lines == 1 && d.Afnemer != "" && d.Betrokkene != "" && d.Doel != "" && len(d.Velden) > 0
}

// Asked is what the records of one transaction say was asked of whom, at the side that asked.
type Asked struct {
	Bron           gateway.PeerID
	Doel           gateway.Doel
	Zaak, Zaaktype string
}

// Gevraagd reads the question out of the records of one transaction: from the decision of the outway. ok is false unless the question
// was sent and an answer came in whole.
func Gevraagd(recs []Record) (a Asked, ok bool) {
	answered := false
	for _, r := range recs {
		switch r.Soort { //nolint:exhaustive // the others say nothing of it
		case ADL:
			if q, made := question(r, "outway"); made {
				a = Asked{Bron: q.Resource.Properties.Bron, Doel: q.Context.Doel, Zaak: q.Context.Zaak, Zaaktype: q.Context.Zaaktype}
			}
		case Afloop:
			var body struct {
				Richting Direction `json:"richting"`
				Status   int       `json:"status"`
				Uitkomst string    `json:"uitkomst"`
			}
			if json.Unmarshal(r.Body, &body) == nil && body.Richting == Outgoing && body.Uitkomst == Beantwoord && body.Status == 200 {
				answered = true
			}
		}
	}
	return a, answered && a.Bron != "" && a.Doel != "" && a.Zaak != "" && a.Zaaktype != ""
}

// recordedQuestion is the part of a decision's request that says what it was about.
type recordedQuestion struct {
	Resource struct {
		Properties struct {
			Bron gateway.PeerID `json:"bronOin"`
		} `json:"properties"`
	} `json:"resource"`
	Context struct {
		Doel     gateway.Doel `json:"doel"`
		Zaak     string       `json:"zaak"`
		Zaaktype string       `json:"zaaktype"`
	} `json:"context"`
}

// question reads the (first) question of a decision that rol made.
func question(r Record, rol string) (recordedQuestion, bool) {
	var body struct {
		Resource map[string]string `json:"resource"`
		Body     struct {
			Request struct {
				recordedQuestion
				Evaluations []recordedQuestion `json:"evaluations"`
			} `json:"adl.core.request"`
		} `json:"body"`
	}
	if json.Unmarshal(r.Body, &body) != nil || body.Resource["service.name"] != rol {
		return recordedQuestion{}, false
	}
	if all := body.Body.Request.Evaluations; len(all) > 0 {
		return all[0], true
	}
	return body.Body.Request.recordedQuestion, true
}
