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

// answer is what the policy said to one question.
type answer struct {
	decision bool
	decisionContext
}

// decisionContext has the internal reasons: the record keeps the real one.
type decisionContext struct {
	Redenen   []gateway.Reason
	Velden    gateway.Velden
	Onthouden map[gateway.Reason]gateway.Velden
	Geheim    bool
	Regel     string
}

// NewADL makes the record of ADL 1.0.0, levels 1 to 3: request and response in the body, references to the policy revision and
// to what it rested on in the attributes. A denial has status Unset; only an evaluation that broke has Error.
func NewADL(now time.Time, e Evaluation) Record {
	event, status := e.Event, "Unset"
	if event == "" {
		event = AccessEvaluation
		if len(e.Vragen) > 1 {
			event = AccessEvaluations
		}
	}
	if e.Mislukt {
		status = "Error"
	}
	answers := make([]answer, len(e.Vragen))
	for i, v := range e.Vragen {
		answers[i] = answerTo(e.Decision, v.Dienst)
	}
	o := &object{b: make([]byte, 0, usualADL)}
	o.open()
	o.trace(e.Trace)
	o.text("event_name", string(event))
	o.number("timestamp", now.UnixMilli())
	o.text("status", status)
	o.key("resource")
	o.open()
	o.text("grensloos.peer", string(e.Producent))
	o.text("service.name", e.Rol)
	o.shut()
	o.key("attributes")
	e.attributes(o)
	o.key("body")
	o.open()
	several := event == AccessEvaluations
	o.key("adl.core.request")
	switch {
	case several:
		evaluations(o, e.Vragen, EvaluationItem.write)
	case len(e.Vragen) == 1:
		e.Vragen[0].write(o)
	default:
		o.b = append(o.b, "null"...)
	}
	if !e.Mislukt && several {
		o.key("adl.core.response")
		evaluations(o, answers, answer.write)
	} else if !e.Mislukt && len(answers) == 1 {
		o.key("adl.core.response")
		answers[0].write(o)
	}
	o.shut()
	o.shut()
	r := encoded(now, ADL, e.Transactie, o.b)
	r.Telling = Telling{Doel: e.doel(), Rol: e.Rol, Uitkomst: outcome(e.Mislukt, answers)}
	return r
}

// usualADL is more bytes than most of these records have.
const usualADL = 2048

// attributes says under which policy and on what was decided, in the order of the names.
func (e Evaluation) attributes(o *object) {
	o.open()
	if len(e.Informatie) > 0 {
		o.value("adl.core.information", e.Informatie)
	}
	if e.Decision.Revision != "" {
		o.key("adl.core.policies")
		o.open()
		o.text("grensloos", e.Decision.Revision)
		o.shut()
	}
	if e.Transactie != "" && !e.Lokaal {
		o.text("adl.fsc.transaction_id", string(e.Transactie))
	}
	if e.Betrokkene != "" {
		o.text("dpl.core.data_subject_id", string(e.Betrokkene))
		o.text("dpl.core.data_subject_id_type", PseudoniemType)
	}
	o.shut()
}

// evaluations writes several questions or answers.
func evaluations[T any](o *object, all []T, write func(T, *object)) {
	o.open()
	o.key("evaluations")
	o.b = append(o.b, '[')
	for i, one := range all {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		write(one, o)
	}
	o.b = append(o.b, ']')
	o.shut()
}

func (v EvaluationItem) write(o *object) {
	o.open()
	v.Subject.write(o, "subject")
	o.key("action")
	o.open()
	o.text("name", v.Action.Name)
	if len(v.Action.Properties) > 0 {
		o.value("properties", v.Action.Properties)
	}
	o.shut()
	v.Resource.write(o, "resource")
	if len(v.Context) > 0 {
		o.value("context", v.Context)
	}
	o.shut()
}

func (e Entity) write(o *object, name string) {
	o.key(name)
	o.open()
	o.text("type", e.Type)
	o.text("id", e.ID)
	if len(e.Properties) > 0 {
		o.value("properties", e.Properties)
	}
	o.shut()
}

func (a answer) write(o *object) {
	o.open()
	o.flag("decision", a.decision)
	o.key("context")
	o.open()
	if len(a.Redenen) > 0 {
		o.key("redenen")
		o.b = appendList(o.b, a.Redenen)
	}
	if len(a.Velden) > 0 {
		o.value("velden", a.Velden)
	}
	if len(a.Onthouden) > 0 {
		o.key("onthouden")
		o.b = appendMap(o.b, a.Onthouden, func(b []byte, velden gateway.Velden) []byte { return appendValue(b, velden) })
	}
	if a.Geheim {
		o.flag("geheim", true)
	}
	o.optional("regel", a.Regel)
	o.shut()
	o.shut()
}

// The outcomes of a decision beside Geweigerd and Mislukt, for who counts.
const (
	Toegestaan = "toegestaan"
	Deels      = "deels" // of several questions some
)

func outcome(broken bool, answers []answer) string {
	allowed := 0
	for _, a := range answers {
		if a.decision {
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

// answerTo is the part of d that concerns one dienst; a dienst of which no field may leave is denied.
func answerTo(d gateway.Decision, dienst gateway.Dienst) answer {
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
	return answer{allow, c}
}

func only(v gateway.Velden, dienst gateway.Dienst) gateway.Velden {
	if len(v[dienst]) == 0 {
		return nil
	}
	return gateway.Velden{dienst: v[dienst]}
}
