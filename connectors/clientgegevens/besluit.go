package clientgegevens

import (
	"context"
	"errors"
	"slices"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/toestemming"
	"github.com/grensloos/grensloos/policies"
)

// besluit is a decision that allows, on record, and what it was made of.
type besluit struct {
	gateway.Decision
	entry   *policies.Entry // everybody's; not to be changed
	digest  string          // of entry
	sleutel connectors.Sleutel
	bekend  bool // the source knows the person
}

// besluit does the first read, asks the consents if the purpose demands one, decides, and appends the decision to the audit log.
// The error is a denial, a source or a register that can't answer, or a log that can't write; then no value was read.
func (h *Handler) besluit(ctx context.Context, p *verzoek) (*besluit, error) {
	session := h.Policy.Session()
	b := &besluit{}
	b.entry, b.digest, _ = session.Shared(p.grant.Properties.Doel, p.nu) // an entry that is not there is denied by Decide
	var attrs []connectors.Attribuut
	for _, a := range b.entry.Beslisattributen {
		attrs = append(attrs, connectors.Attribuut(a))
	}
	var readErr, registerErr error
	b.sleutel, readErr = h.Bron.Sleutel(ctx, p.bsn, attrs)
	b.bekend = readErr == nil

	in := policies.Input{
		Stap:             policies.Verstrekking,
		Afnemer:          p.afnemer,
		Bron:             h.Self.ID,
		Medewerker:       p.verklaring.Subject,
		MedewerkerRollen: p.verklaring.Rollen,
		Grant:            p.grant,
		Zaak:             p.verklaring.Zaak,
		Zaaktype:         p.verklaring.Zaaktype,
		Velden:           p.velden,
		Aantal:           1,
		Persoon:          &policies.Persoon{Leeftijd: -1},
		Tijd:             p.nu,
	}
	if b.bekend {
		in.Persoon.Geheimhouding = b.sleutel.Geheimhouding
		in.Persoon.Leeftijd = b.sleutel.LeeftijdOp(p.nu)
	}
	consentID := ""
	if eis := b.entry.ToestemmingIn(p.grant.Richting()); eis != nil {
		var all []toestemming.Toestemming
		if all, registerErr = h.Toestemmingen.Toestemmingen(ctx, h.Pseudonyms.All(p.bsn), b.entry.ID); registerErr != nil {
			in.Toestemming = gateway.ToestemmingOnbekend
		} else {
			o := toestemming.Beoordeel(all, toestemming.Vraag{
				Doel: b.entry.ID, DoelVersie: b.entry.Versie, Soort: toestemming.Soort(eis.Soort), Ontvanger: p.afnemer,
			}, p.nu)
			in.Toestemming, in.ToestemmingVelden, consentID = o.State, o.Velden, o.ID
		}
	}
	// That a source or the register is down says nothing about the person, and is said. All else that the first read can find
	// does: it is decided on like any other person, and shows only if the decision allows.
	down := registerErr
	if !b.bekend && gateway.CodeOf(readErr) != connectors.CodeMeerduidig && gateway.CodeOf(readErr) != connectors.CodeOngeldigWaarde && !errors.Is(readErr, connectors.ErrGeenGegevens) {
		down = errors.Join(readErr, registerErr)
	}
	var decideErr error
	if down == nil {
		if b.Decision, decideErr = session.Decide(ctx, in); decideErr != nil {
			b.Decision = gateway.Decision{}
		}
	}
	b.Revision = session.Revision()
	if len(p.velden) > 0 {
		b.Velden = b.Velden.Beperk(p.velden) // whatever the policy says, no more than what was asked
	}
	h.fault(StepDecided)
	err := h.Audit.Append(context.WithoutCancel(ctx), audit.NewADL(h.Now(), h.evaluatie(p, b, in, consentID, readErr, down != nil || decideErr != nil)))
	if err == nil {
		h.fault(StepRecorded)
	}
	switch {
	case err != nil:
		return nil, gateway.Wrap(gateway.Unavailable, err, "audit: the record of this decision is not durable")
	case decideErr != nil:
		return nil, gateway.Wrap(gateway.Internal, decideErr, "decision")
	case registerErr != nil:
		return nil, &gateway.Error{Kind: gateway.Unavailable, Code: CodeRegister, Message: "toestemmingen: the register does not answer", Cause: opaque{registerErr}}
	case down != nil:
		return nil, &gateway.Error{Kind: gateway.Unavailable, Code: codeBronOnbereikbaar, Message: "source: does not answer", Cause: opaque{down}}
	case !b.Allow || len(b.diensten(p)) == 0:
		r := b.geweigerd()
		return nil, gateway.WithCode(gateway.Denied, r.Code, "%s", r.Tekst)
	case !b.bekend && !errors.Is(readErr, connectors.ErrGeenGegevens):
		return nil, &gateway.Error{Kind: gateway.Unavailable, Code: gateway.CodeOf(readErr), Message: "source: can't answer about this person; the gemeente has to mend it", Cause: opaque{readErr}}
	}
	return b, nil
}

// opaque keeps the messages of a cause from the caller: the names of tables are the gemeente's own.
type opaque struct{ error }

// geweigerd is the public reason of a denial. If anything in it depends on the person, it is the one that says nothing.
func (b *besluit) geweigerd() reden {
	var first *reden
	for _, r := range b.Reasons {
		o := openbaar(b.entry.ID, r)
		if o.Code == policies.Geweigerd {
			return o
		}
		if first == nil {
			first = &o
		}
	}
	if first == nil {
		return reden{policies.Geweigerd, policies.PublicText(policies.Geweigerd)}
	}
	return *first
}

// diensten are those that were asked, or else those that the decision is about.
func (b *besluit) diensten(p *verzoek) []gateway.Dienst {
	if len(p.velden) > 0 {
		return p.velden.Diensten()
	}
	all := b.Velden.Diensten()
	for _, velden := range b.Onthouden {
		all = append(all, velden.Diensten()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// evaluatie is what the record says of the decision: pseudonyms, names, booleans and an age band.
func (h *Handler) evaluatie(p *verzoek, b *besluit, in policies.Input, consentID string, readErr error, mislukt bool) audit.Evaluation {
	v := p.verklaring
	props := p.grant.Properties
	subject := audit.Entity{Type: "medewerker", ID: v.Subject, Properties: map[string]any{
		"oin": p.afnemer, "rol": v.Rollen, "richting": p.grant.Richting(),
	}}
	betrokkene := h.Pseudonyms.Pseudonym(p.bsn)
	context := map[string]any{
		"doel": props.Doel, "doelVersie": props.DoelVersie, "zaak": v.Zaak, "zaaktype": v.Zaaktype, "grant": p.grant.Hash,
	}
	if v.Grond != "" {
		context["grond"] = v.Grond
	}
	if props.NamensCollege != "" {
		context["namensCollege"] = props.NamensCollege
	}
	bron := "bekend"
	if readErr != nil {
		bron = gateway.CodeOf(readErr)
	}
	e := audit.Evaluation{
		Transactie: p.transactie, Trace: p.trace.Child(), Producent: h.Self.ID, Rol: string(Service),
		Event: audit.AccessEvaluations, Decision: b.Decision, Mislukt: mislukt, Betrokkene: betrokkene,
		Informatie: map[string]any{"bron": bron},
	}
	if b.entry.ID != "" {
		e.Informatie["catalogus"] = b.digest
	}
	if b.entry.ToestemmingIn(p.grant.Richting()) != nil {
		consent := map[string]any{"staat": in.Toestemming}
		if consentID != "" {
			consent["id"] = consentID
		}
		e.Informatie["toestemming"] = consent
	}
	diensten := b.diensten(p)
	if len(diensten) == 0 {
		diensten = props.Velden.Diensten()
	}
	for _, dienst := range diensten {
		velden := p.velden[dienst]
		if len(p.velden) == 0 {
			velden = props.Velden[dienst]
		}
		properties := map[string]any{"bronOin": h.Self.ID, "velden": velden}
		if b.bekend {
			properties["geheimhouding"] = in.Persoon.Geheimhouding
			properties["leeftijd"] = leeftijdsband(in.Persoon.Leeftijd)
		}
		e.Vragen = append(e.Vragen, audit.EvaluationItem{
			Subject: subject, Action: audit.Action{Name: "bevragen"}, Context: context, Dienst: dienst,
			Resource: audit.Entity{Type: string(dienst), ID: string(betrokkene), Properties: properties},
		})
	}
	return e
}

// leeftijdsband is as much of an age as a record may hold: what the rules on consent turn on.
func leeftijdsband(jaren int) string {
	switch {
	case jaren < 0:
		return "onbekend"
	case jaren < 12:
		return "0-11"
	case jaren < 16:
		return "12-15"
	case jaren < 18:
		return "16-17"
	}
	return "18+"
}
