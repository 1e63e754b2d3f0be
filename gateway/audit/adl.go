package audit

import (
	"slices"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Event names what was asked of the policy (ADL, event_name).
type Event string

// The events of ADL 1.0.0 that Grensloos makes.
const (
	AccessEvaluation  Event = "adl.access_evaluation"  // one question
	AccessEvaluations Event = "adl.access_evaluations" // several, decided together
)

// Entity is the subject or the resource of an AuthZEN question. ID is an OIN, a pseudonym or a name of ours; never a BSN.
type Entity struct {
	Type       string         `json:"type"`
	ID         string         `json:"id"`
	Properties map[string]any `json:"properties,omitempty"`
}

// Action is the action of an AuthZEN question.
type Action struct {
	Name       string         `json:"name"`
	Properties map[string]any `json:"properties,omitempty"`
}

// EvaluationItem is one AuthZEN question, as the policy was asked it. Properties and context say what was decided on in booleans,
// codes and pseudonyms.
type EvaluationItem struct {
	Subject  Entity
	Action   Action
	Resource Entity
	Context  map[string]any
	Dienst   gateway.Dienst // the part of the decision that answers this item; empty: all of it
}

// An Evaluation is one decision of a policy, made by one call.
type Evaluation struct {
	Transactie gateway.TransactionID
	Lokaal     bool // the question crosses no inway or outway (geen-contract): then ADL forbids adl.fsc.transaction_id
	Trace      gateway.Trace
	Producent  gateway.PeerID // the peer whose policy decided
	Rol        string         // the part of it that asked: outway, inway, clientgegevens, bevraging
	Event      Event          // empty: AccessEvaluation for one item, AccessEvaluations for more
	Vragen     []EvaluationItem
	Decision   gateway.Decision
	Mislukt    bool              // the evaluation itself broke; what follows is a denial
	Betrokkene gateway.Pseudonym // if the question is about one person that is known here
	Informatie map[string]any    // what else the decision rests on: consent id and state, catalogue digest
}

type adlBody struct {
	span
	EventName  Event             `json:"event_name"`
	Timestamp  int64             `json:"timestamp"` // Unix milliseconds
	Status     string            `json:"status"`
	Resource   map[string]string `json:"resource,omitempty"`
	Attributes map[string]any    `json:"attributes"`
	Body       adlQuestion       `json:"body"`
}

type adlQuestion struct {
	Request  any `json:"adl.core.request"`
	Response any `json:"adl.core.response,omitempty"` // absent when the evaluation broke
}

type authzenRequest struct {
	Subject  Entity         `json:"subject"`
	Action   Action         `json:"action"`
	Resource Entity         `json:"resource"`
	Context  map[string]any `json:"context,omitempty"`
}

type authzenResponse struct {
	Decision bool             `json:"decision"`
	Context  *decisionContext `json:"context,omitempty"`
}

// decisionContext has the internal reasons: the record keeps the real one.
type decisionContext struct {
	Redenen   []gateway.Reason                  `json:"redenen,omitempty"`
	Velden    gateway.Velden                    `json:"velden,omitempty"`
	Onthouden map[gateway.Reason]gateway.Velden `json:"onthouden,omitempty"`
	Geheim    bool                              `json:"geheim,omitempty"`
	Regel     string                            `json:"regel,omitempty"`
}

// NewADL makes the record of ADL 1.0.0, levels 1 to 3: request and response in the body, references to the policy revision and
// to what it rested on in the attributes. A denial has status Unset; only an evaluation that broke has Error.
func NewADL(now time.Time, e Evaluation) Record {
	body := adlBody{
		span:       spanOf(e.Trace),
		EventName:  e.Event,
		Timestamp:  now.UnixMilli(),
		Status:     "Unset",
		Resource:   map[string]string{"service.name": e.Rol, "grensloos.peer": string(e.Producent)},
		Attributes: map[string]any{},
	}
	if body.EventName == "" {
		body.EventName = AccessEvaluation
		if len(e.Vragen) > 1 {
			body.EventName = AccessEvaluations
		}
	}
	if e.Transactie != "" && !e.Lokaal {
		body.Attributes["adl.fsc.transaction_id"] = e.Transactie
	}
	if e.Decision.Revision != "" {
		body.Attributes["adl.core.policies"] = map[string]string{"grensloos": e.Decision.Revision}
	}
	if len(e.Informatie) > 0 {
		body.Attributes["adl.core.information"] = e.Informatie
	}
	if e.Betrokkene != "" {
		body.Attributes["dpl.core.data_subject_id"] = e.Betrokkene
		body.Attributes["dpl.core.data_subject_id_type"] = PseudoniemType
	}
	requests := make([]authzenRequest, len(e.Vragen))
	responses := make([]authzenResponse, len(e.Vragen))
	for i, v := range e.Vragen {
		requests[i] = authzenRequest{Subject: v.Subject, Action: v.Action, Resource: v.Resource, Context: v.Context}
		responses[i] = answer(e.Decision, v.Dienst)
	}
	if body.EventName == AccessEvaluations {
		body.Body.Request = map[string]any{"evaluations": requests}
		body.Body.Response = map[string]any{"evaluations": responses}
	} else if len(requests) == 1 {
		body.Body.Request, body.Body.Response = requests[0], responses[0]
	}
	if e.Mislukt {
		body.Status, body.Body.Response = "Error", nil
	}
	r := record(now, ADL, e.Transactie, body)
	r.Telling = Telling{Doel: e.doel(), Rol: e.Rol, Uitkomst: outcome(e.Mislukt, responses)}
	return r
}

// The outcomes of a decision beside Geweigerd and Mislukt, for who counts.
const (
	Toegestaan = "toegestaan"
	Deels      = "deels" // of several questions some
)

func outcome(broken bool, answers []authzenResponse) string {
	allowed := 0
	for _, a := range answers {
		if a.Decision {
			allowed++
		}
	}
	switch {
	case broken:
		return Mislukt
	case allowed == 0:
		return Geweigerd
	case allowed < len(answers):
		return Deels
	}
	return Toegestaan
}

// doel is the purpose of the (first) question.
func (e Evaluation) doel() gateway.Doel {
	if len(e.Vragen) == 0 {
		return ""
	}
	switch doel := e.Vragen[0].Context["doel"].(type) {
	case gateway.Doel:
		return doel
	case string:
		return gateway.Doel(doel)
	}
	return ""
}

// answer is the part of d that concerns one dienst; a dienst of which no field may leave is denied.
func answer(d gateway.Decision, dienst gateway.Dienst) authzenResponse {
	c := decisionContext{Redenen: d.Reasons, Velden: d.Velden, Onthouden: d.Onthouden, Geheim: d.Geheim, Regel: d.Rule}
	allow := d.Allow
	if dienst != "" {
		allow = allow && len(d.Velden[dienst]) > 0
		c.Velden, c.Onthouden = only(d.Velden, dienst), nil
		for reason, velden := range d.Onthouden {
			if part := only(velden, dienst); part != nil {
				if c.Onthouden == nil {
					c.Onthouden = map[gateway.Reason]gateway.Velden{}
				}
				c.Onthouden[reason] = part
			}
		}
		if d.Allow {
			// The reasons of a permit say why fields are withheld; keep those of this dienst.
			c.Redenen = slices.DeleteFunc(slices.Clone(d.Reasons), func(r gateway.Reason) bool { return c.Onthouden[r] == nil })
		}
	}
	return authzenResponse{Decision: allow, Context: &c}
}

func only(v gateway.Velden, dienst gateway.Dienst) gateway.Velden {
	if len(v[dienst]) == 0 {
		return nil
	}
	return gateway.Velden{dienst: v[dienst]}
}
