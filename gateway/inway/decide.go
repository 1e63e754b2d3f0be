package inway

import (
	"log/slog"
	"maps"
	"net/http"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/policies"
)

// decide asks our own policy. A grant without a purpose for a purpose-bound service is a denial like any other. Nothing follows from
// what it says before that is on record: obey.
func (x *exchange) decide() error {
	if !x.purposeBound() {
		return nil
	}
	session := x.Policy.Session()
	d, failed := gateway.Decision{Reasons: []gateway.Reason{gateway.DoelOnbekend}, Rule: "inway/doelbinding", Revision: session.Revision()}, error(nil)
	if x.grant.IsDoelgebonden() {
		d, failed = session.Decide(x.r.Context(), policies.Input{
			Stap: policies.Inkomend, Afnemer: x.peer.ID, Bron: x.Self.ID, Medewerker: x.verklaring.Subject, MedewerkerRollen: x.verklaring.Rollen,
			Grant: x.grant, Zaak: x.verklaring.Zaak, Zaaktype: x.verklaring.Zaaktype, Tijd: x.now(),
		})
	}
	if failed != nil {
		d = gateway.Decision{Revision: session.Revision()}
	}
	x.pending = append(x.pending, audit.NewADL(x.now(), x.evaluation(d, failed != nil)))
	x.fault(StepDecided)
	switch {
	case failed != nil:
		x.Log.ErrorContext(x.r.Context(), "no decision", slog.String("transaction", string(x.id)), slog.Any("error", failed))
		x.decision = gateway.WithCode(gateway.Internal, CodePolicy, "policy: no decision could be made")
	case !d.Allow:
		n := &denial{}
		if len(d.Reasons) > 0 {
			n.reason = d.Reasons[0]
		}
		n.code = policies.Inkomend.PublicCode(x.grant.Properties.Doel, n.reason)
		x.decision = n
	}
	return nil
}

// obey does what our policy said, which is on record now.
func (x *exchange) obey() error {
	if x.purposeBound() {
		x.fault(StepRecorded)
	}
	return x.decision
}

func (x *exchange) evaluation(d gateway.Decision, failed bool) audit.Evaluation {
	p, v := x.grant.Properties, x.verklaring
	subject := audit.Entity{Type: "organisatie", ID: string(x.peer.ID)}
	if v.Subject != "" {
		subject = audit.Entity{Type: "medewerker", ID: v.Subject, Properties: map[string]any{"oin": x.peer.ID, "rol": v.Rollen}}
	}
	return audit.Evaluation{
		Transactie: x.id, Trace: x.trace.Child(), Producent: x.Self.ID, Rol: "inway", Event: audit.AccessEvaluation, Decision: d, Mislukt: failed,
		Vragen: []audit.EvaluationItem{{
			Subject: subject,
			Action:  audit.Action{Name: "bevragen"},
			Resource: audit.Entity{Type: "service", ID: string(x.name), Properties: map[string]any{
				"bronOin": x.Self.ID,
			}},
			Context: present(map[string]any{
				"stap": string(policies.Inkomend), "doel": string(p.Doel), "doelVersie": p.DoelVersie, "namensCollege": string(p.NamensCollege),
				"richting": string(x.grant.Richting()), "zaak": v.Zaak, "zaaktype": v.Zaaktype, "grond": string(v.Grond),
				"grant": string(x.grant.Hash),
			}),
		}},
	}
}

// present leaves out what is empty.
func present(m map[string]any) map[string]any {
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == "" })
	return m
}

// denial is what our policy refused.
type denial struct {
	reason gateway.Reason // stays here
	code   string         // public
}

func (n *denial) Error() string { return "denied by policy: " + n.code }

func (n *denial) write(w http.ResponseWriter, r *http.Request) {
	edge.WriteProblem(w, r, gateway.WithCode(gateway.Denied, n.code, "%s", policies.PublicText(n.code)))
}
