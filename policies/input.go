package policies

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/grensloos/grensloos/gateway"
)

// The input of the Rego rules is put together from values that are made once: those of an entry per revision, those of a grant per
// revision and grant. Only what belongs to the one question is made anew. rego/besluit.rego and rego/contract.rego say what stands where.

// doelTerms is an entry as Rego sees it.
type doelTerms struct {
	entry  Entry
	term   *ast.Term
	velden *ast.Term // set of "dienst.veld"
}

// grantTerms is a grant as Rego sees it, beside one entry.
type grantTerms struct {
	grant    gateway.Grant // what the terms were made from
	doel     *doelTerms
	term     *ast.Term
	contract *ast.Term // what rule contract says of the two
	id       *ast.Term // of the purpose
	richting *ast.Term
	namens   *ast.Term
	alles    *ast.Term // all fields that grant and purpose have in common
}

type pair = [2]*ast.Term

func is(name string, value *ast.Term) pair { return pair{ast.StringTerm(name), value} }

func set[T ~string](list []T) *ast.Term {
	terms := make([]*ast.Term, len(list))
	for i, s := range list {
		terms[i] = ast.StringTerm(string(s))
	}
	return ast.SetTerm(terms...)
}

func elements(v gateway.Velden) []string {
	var list []string
	for dienst, velden := range v {
		for _, veld := range velden {
			list = append(list, element(dienst, veld))
		}
	}
	return list
}

// newDoelTerms converts an entry. geldig is whether it is valid at the moment asked about.
func newDoelTerms(e Entry, k klassen) *doelTerms {
	var nooit []string
	for dienst, velden := range k {
		for veld := range velden {
			if k.nooit(e.Nooit, dienst, veld) {
				nooit = append(nooit, element(dienst, veld))
			}
		}
	}
	var apart []pair
	var eist []gateway.Richting // the directions that demand consent
	vanaf := 0
	for _, r := range e.Richting {
		apart = append(apart, is(string(r), set(e.Nooit.Richting[r])))
		if eis := e.ToestemmingIn(r); eis != nil {
			eist, vanaf = append(eist, r), eis.VanafLeeftijd
		}
	}
	velden := set(elements(e.Diensten))
	return &doelTerms{entry: e, velden: velden, term: ast.ObjectTerm(
		is("bekend", ast.BooleanTerm(true)),
		is("geldig", ast.BooleanTerm(true)),
		is("status", ast.StringTerm(e.Status)),
		is("versie", ast.IntNumberTerm(e.Versie)),
		is("digest", ast.StringTerm(e.Digest())),
		is("velden", velden),
		is("nooit", set(nooit)),
		is("nooitRichting", ast.ObjectTerm(apart...)),
		is("richting", set(e.Richting)),
		is("zaaktypen", set(e.Zaaktypen)),
		is("afnemerRollen", set(e.AfnemerRollen)),
		is("medewerkerRollen", set(e.MedewerkerRollen)),
		is("maxPersonen", ast.IntNumberTerm(e.MaxPersonen)),
		is("bezwaar", ast.BooleanTerm(e.Bezwaar)),
		is("toestemmingRichting", set(eist)),
		is("vanafLeeftijd", ast.IntNumberTerm(vanaf)),
	)}
}

// noDoel stands for a purpose of which no version is valid.
func noDoel(known bool) *doelTerms {
	return &doelTerms{velden: ast.SetTerm(), term: ast.ObjectTerm(is("bekend", ast.BooleanTerm(known)), is("geldig", ast.BooleanTerm(false)))}
}

func newGrantTerms(g gateway.Grant, d *doelTerms) *grantTerms {
	richting := g.Richting()
	rol := "" // a direction has one role
	if rollen := richting.AfnemerRollen(); len(rollen) == 1 {
		rol = rollen[0]
	}
	return &grantTerms{
		grant:    g,
		doel:     d,
		id:       ast.StringTerm(string(g.Properties.Doel)),
		richting: ast.StringTerm(string(richting)),
		namens:   ast.StringTerm(string(g.Properties.NamensCollege)),
		alles:    set(elements(g.Properties.Velden.Beperk(d.entry.DienstenIn(richting)))),
		term: ast.ObjectTerm(
			is("doel", ast.StringTerm(string(g.Properties.Doel))),
			is("afnemer", ast.StringTerm(string(g.Outway))),
			is("bron", ast.StringTerm(string(g.ServicePeer))),
			is("versie", ast.IntNumberTerm(g.Properties.DoelVersie)),
			is("digest", ast.StringTerm(g.Properties.DoelDigest)),
			is("velden", set(elements(g.Properties.Velden))),
			is("richting", ast.StringTerm(string(richting))),
			is("afnemerRol", ast.StringTerm(rol)),
			is("namensCollege", ast.StringTerm(string(g.Properties.NamensCollege))),
		),
	}
}

// isOf reports whether the terms were made from this grant and entry. A grant hash stands for its content; comparing costs little
// and means that no cache can ever answer for another grant.
func (t *grantTerms) isOf(g gateway.Grant, d *doelTerms) bool {
	p, q := t.grant.Properties, g.Properties
	return t.doel == d && t.grant.Hash == g.Hash && t.grant.Type == g.Type && t.grant.Outway == g.Outway &&
		t.grant.ServicePeer == g.ServicePeer && t.grant.Delegator == g.Delegator &&
		p.Doel == q.Doel && p.DoelVersie == q.DoelVersie && p.DoelDigest == q.DoelDigest && p.NamensCollege == q.NamensCollege &&
		maps.EqualFunc(p.Velden, q.Velden, func(a, b []gateway.Veld) bool { return slices.Equal(a, b) })
}

// keys are the names in the input that are set per question.
var keys = struct {
	subject, action, resource, context, grant, doel, kind, id, properties, oin, rol, bronOin, velden, geheimhouding, beperkt, leeftijd,
	stap, tijd, contract, richting, namensCollege, zaak, zaaktype, aantal, toestemming, toestemmingVelden *ast.Term
	medewerker, clientgegevens, bevragen *ast.Term
}{
	subject: ast.StringTerm("subject"), action: ast.StringTerm("action"), resource: ast.StringTerm("resource"),
	context: ast.StringTerm("context"), grant: ast.StringTerm("grant"), doel: ast.StringTerm("doel"), kind: ast.StringTerm("type"),
	id: ast.StringTerm("id"), properties: ast.StringTerm("properties"), oin: ast.StringTerm("oin"), rol: ast.StringTerm("rol"),
	bronOin: ast.StringTerm("bronOin"), velden: ast.StringTerm("velden"), geheimhouding: ast.StringTerm("geheimhouding"),
	beperkt: ast.StringTerm("beperkt"), leeftijd: ast.StringTerm("leeftijd"), stap: ast.StringTerm("stap"), tijd: ast.StringTerm("tijd"),
	contract: ast.StringTerm("contract"), richting: ast.StringTerm("richting"), namensCollege: ast.StringTerm("namensCollege"), zaak: ast.StringTerm("zaak"),
	zaaktype: ast.StringTerm("zaaktype"), aantal: ast.StringTerm("aantal"), toestemming: ast.StringTerm("toestemming"),
	toestemmingVelden: ast.StringTerm("toestemmingVelden"),
	medewerker:        ast.StringTerm("medewerker"), clientgegevens: ast.StringTerm("clientgegevens"),
	bevragen: ast.ObjectTerm([2]*ast.Term{ast.StringTerm("name"), ast.StringTerm("bevragen")}),
}

// value is the whole input of one question.
func (in Input) value(g *grantTerms) ast.Value {
	asked := g.alles
	if len(in.Velden) > 0 {
		asked = set(elements(in.Velden))
	}
	consented := g.doel.velden
	if in.Stap == Verstrekking && len(in.ToestemmingVelden) > 0 && g.doel.entry.ToestemmingIn(g.grant.Richting()) != nil {
		consented = set(elements(in.ToestemmingVelden))
	}
	count := in.Aantal
	if count == 0 {
		count = 1
	}
	resource := make([]pair, 2, 5)
	resource[0] = pair{keys.bronOin, ast.StringTerm(string(in.Bron))}
	resource[1] = pair{keys.velden, asked}
	if in.Persoon != nil {
		resource = append(
			resource,
			pair{keys.geheimhouding, ast.BooleanTerm(in.Persoon.Geheimhouding)},
			pair{keys.beperkt, ast.BooleanTerm(in.Persoon.Beperkt)},
			pair{keys.leeftijd, ast.IntNumberTerm(in.Persoon.Leeftijd)},
		)
	}
	return ast.NewObject(
		pair{keys.subject, ast.ObjectTerm(
			pair{keys.kind, keys.medewerker},
			pair{keys.id, ast.StringTerm(in.Medewerker)},
			pair{keys.properties, ast.ObjectTerm(pair{keys.oin, ast.StringTerm(string(in.Afnemer))}, pair{keys.rol, set(in.MedewerkerRollen)})},
		)},
		pair{keys.action, keys.bevragen},
		pair{keys.resource, ast.ObjectTerm(pair{keys.kind, keys.clientgegevens}, pair{keys.properties, ast.ObjectTerm(resource...)})},
		pair{keys.context, ast.ObjectTerm(
			pair{keys.stap, ast.StringTerm(string(in.Stap))},
			pair{keys.tijd, ast.StringTerm(in.Tijd.UTC().Format(time.RFC3339))},
			pair{keys.doel, g.id},
			pair{keys.richting, g.richting},
			pair{keys.namensCollege, g.namens},
			pair{keys.zaak, ast.StringTerm(in.Zaak)},
			pair{keys.zaaktype, ast.StringTerm(in.Zaaktype)},
			pair{keys.aantal, ast.IntNumberTerm(count)},
			pair{keys.toestemming, ast.StringTerm(string(in.Toestemming))},
			pair{keys.toestemmingVelden, consented},
		)},
		pair{keys.grant, g.term},
		pair{keys.doel, g.doel.term},
		pair{keys.contract, g.contract},
	)
}

// contractInput is what rule contract decides on.
func (t *grantTerms) contractInput() ast.Value {
	return ast.NewObject(pair{keys.grant, t.term}, pair{keys.doel, t.doel.term})
}

// fields reads a set of "dienst.veld" that came out of Rego. ok is false if it is anything else.
func fields(v any) (velden gateway.Velden, ok bool) {
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	velden = gateway.Velden{}
	for _, item := range list {
		name, isString := item.(string)
		dienst, veld, isField := strings.Cut(name, ".")
		if !isString || !isField {
			return nil, false
		}
		velden[gateway.Dienst(dienst)] = append(velden[gateway.Dienst(dienst)], gateway.Veld(veld))
	}
	for _, list := range velden {
		slices.Sort(list)
	}
	return velden, true
}

// contractTerm makes a term of what rule contract gave: an object of texts, numbers and sets.
func contractTerm(results rego.ResultSet) (*ast.Term, error) {
	bad := gateway.Errorf(gateway.Internal, "policies: the federation policy said nothing of the contract")
	if len(results) != 1 {
		return nil, bad
	}
	contract, ok := results[0].Bindings["x"].(map[string]any)
	if !ok {
		return nil, bad
	}
	pairs := make([]pair, 0, len(contract))
	for name, v := range contract {
		value, err := ast.InterfaceToValue(v)
		if err != nil {
			return nil, bad
		}
		if list, isList := value.(*ast.Array); isList { // a set comes out of Rego as a list
			members := ast.NewSet()
			list.Foreach(members.Add)
			value = members
		}
		pairs = append(pairs, pair{ast.StringTerm(name), ast.NewTerm(value)})
	}
	return ast.ObjectTerm(pairs...), nil
}
