package outway

import (
	"log/slog"
	"maps"
	"net/http"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/policies"
)

// decide asks our own policy about a purpose-bound grant. What it says is on record, with what follows, before a token is asked for or
// anything is sent or refused.
func (x *exchange) decide() error {
	if !x.grant.IsDoelgebonden() {
		return nil
	}
	session := x.Policy.Session()
	d, failed := session.Decide(x.r.Context(), policies.Input{
		Stap: policies.Uitgaand, Afnemer: x.Self.ID, Bron: x.grant.ServicePeer, Medewerker: x.worker, MedewerkerRollen: x.caller.Rollen,
		Grant: x.grant, Zaak: x.zaak, Zaaktype: x.zaaktype, Tijd: x.now(),
	})
	if failed != nil {
		d = gateway.Decision{Revision: session.Revision()}
	}
	x.pending = append(x.pending, audit.NewADL(x.now(), x.evaluation(d, failed != nil)))
	x.fault(StepDecided)
	switch {
	case failed != nil:
		x.Log.ErrorContext(x.r.Context(), "no decision", slog.String("transaction", string(x.id)), slog.Any("error", failed))
		return gateway.WithCode(gateway.Internal, CodePolicy, "policy: no decision could be made")
	case !d.Allow:
		return newDenial(x.grant.Properties.Doel, d)
	}
	return nil
}

func (x *exchange) evaluation(d gateway.Decision, failed bool) audit.Evaluation {
	p := x.grant.Properties
	return audit.Evaluation{
		Transactie: x.id, Trace: x.trace.Child(), Producent: x.Self.ID, Rol: "outway", Event: audit.AccessEvaluation, Decision: d, Mislukt: failed,
		Vragen: []audit.EvaluationItem{{
			Subject: audit.Entity{Type: "medewerker", ID: x.worker, Properties: map[string]any{"oin": x.Self.ID, "rol": x.caller.Rollen}},
			Action:  audit.Action{Name: "bevragen"},
			Resource: audit.Entity{Type: "service", ID: string(x.grant.Service), Properties: map[string]any{
				"bronOin": x.grant.ServicePeer,
			}},
			Context: present(map[string]any{
				"stap": string(policies.Uitgaand), "doel": string(p.Doel), "doelVersie": p.DoelVersie, "namensCollege": string(p.NamensCollege),
				"richting": string(x.grant.Richting()), "zaak": x.zaak, "zaaktype": x.zaaktype, "grond": string(x.grond),
				"grant": string(x.grant.Hash),
			}),
		}},
	}
}

// denial is what our own policy refused.
type denial struct {
	reason gateway.Reason
	code   string // public
}

func newDenial(doel gateway.Doel, d gateway.Decision) *denial {
	n := &denial{}
	if len(d.Reasons) > 0 {
		n.reason = d.Reasons[0]
	}
	n.code = policies.Uitgaand.PublicCode(doel, n.reason)
	return n
}

func (n *denial) Error() string { return "denied by our own policy: " + n.code }

func (n *denial) write(w http.ResponseWriter, r *http.Request) {
	edge.WriteProblem(w, r, gateway.WithCode(gateway.Denied, n.code, "%s", policies.PublicText(n.code)))
}

// present leaves out what is empty.
func present(m map[string]any) map[string]any {
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == "" })
	return m
}
