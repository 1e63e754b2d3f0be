package policies

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/grensloos/grensloos/gateway"
)

// vast is all that the federation's rules see of a question at uitgaand and inkomend, where nobody knows the person yet: the same
// values give the same decision, so it is made once and kept. Of the zaak they see whether there is one, and of worker and moment
// nothing (Input.onpersoonlijk). The grant's terms are those of this grant, as it is signed, beside the entry that is valid now.
type vast struct {
	grant     *grantTerms
	stap      Stap
	afnemer   gateway.PeerID
	bron      gateway.PeerID
	rollen    string // each after a zero byte
	heeftZaak bool
	zaaktype  string
	aantal    int
}

// besluiten are the decisions of the federation that don't depend on a person. They belong to one revision and go with it.
type besluiten struct {
	mu sync.RWMutex // guards m
	m  map[vast]gateway.Decision
}

// maxBesluiten bounds what is kept: a stranger chooses the zaaktype. Beyond it keeping starts anew.
const maxBesluiten = 4096

// maxRollen is the most text of roles under which a decision is kept.
const maxRollen = 1024

// vast gives the key under which the decision of a question is kept; ok is false if it must be made each time.
func (in Input) vast(g *grantTerms) (key vast, ok bool) {
	if in.Stap == Verstrekking || in.Persoon != nil || len(in.Velden) > 0 || len(in.ToestemmingVelden) > 0 || in.Toestemming != "" || g.grant.Hash == "" {
		return vast{}, false
	}
	var rollen strings.Builder
	for _, rol := range in.MedewerkerRollen {
		if rollen.Len()+len(rol) > maxRollen || strings.Contains(rol, "\x00") {
			return vast{}, false
		}
		rollen.WriteString("\x00" + rol)
	}
	return vast{
		grant: g, stap: in.Stap, afnemer: in.Afnemer, bron: in.Bron, rollen: rollen.String(),
		heeftZaak: in.Zaak != "", zaaktype: in.Zaaktype, aantal: in.Aantal,
	}, true
}

// onpersoonlijk leaves out of a question what differs between two questions that get the same decision of the federation.
func (in Input) onpersoonlijk() Input {
	in.Medewerker, in.Tijd = "", time.Time{}
	if in.Zaak != "" {
		in.Zaak = "zaak"
	}
	return in
}

// federatie is what the federation's rules say, from memory if it doesn't depend on the person.
func (r *revision) federatie(ctx context.Context, in Input, g *grantTerms) (gateway.Decision, error) {
	key, keep := in.vast(g)
	if !keep {
		return r.besluit(ctx, in, g)
	}
	r.kept.mu.RLock()
	d, ok := r.kept.m[key]
	r.kept.mu.RUnlock()
	if !ok {
		var err error
		if d, err = r.besluit(ctx, in.onpersoonlijk(), g); err != nil {
			return d, err
		}
		r.kept.mu.Lock()
		if len(r.kept.m) >= maxBesluiten {
			clear(r.kept.m)
		}
		if r.kept.m == nil {
			r.kept.m = map[vast]gateway.Decision{}
		}
		r.kept.m[key] = d
		r.kept.mu.Unlock()
	}
	d.Reasons, d.Velden, d.Onthouden = slices.Clone(d.Reasons), maps.Clone(d.Velden), maps.Clone(d.Onthouden) // what is kept stays as it is
	return d, nil
}

// besluit evaluates the federation's rules.
func (r *revision) besluit(ctx context.Context, in Input, g *grantTerms) (gateway.Decision, error) {
	denied := gateway.Decision{Revision: r.id, Rule: fout}
	results, err := r.query.Eval(ctx, rego.EvalParsedInput(in.value(g)))
	if err != nil {
		return denied, gateway.Wrap(gateway.Internal, err, "policies: federation policy")
	}
	d, ok := r.read(results)
	if !ok {
		return denied, gateway.Errorf(gateway.Internal, "policies: the federation policy gave no decision")
	}
	return d, nil
}
