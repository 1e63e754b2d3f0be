package policies

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/schemas"
)

// revision is everything that one request decides by. Except for what is kept of decisions and grants it does not change.
type revision struct {
	id        string
	catalogue *Catalogue
	doelen    map[gateway.Doel][]*doelTerms // in the order of catalogue.entries
	unknown   *doelTerms
	inactive  *doelTerms
	contract  rego.PreparedEvalQuery // once per grant
	query     rego.PreparedEvalQuery // rule besluit: per question, or kept
	lokaal    *lokaal                // nil: no local policy
	kept      besluiten

	mu     sync.RWMutex // guards grants
	grants map[gateway.GrantHash]*grantTerms
}

// maxGrants bounds the cache of converted grants; beyond it the cache starts anew.
const maxGrants = 10_000

// load reads every file once, so that the id is that of what was compiled.
func load(ctx context.Context, o Options) (*revision, error) {
	parts, err := o.read()
	if err != nil {
		return nil, err
	}
	c, err := loadCatalogue(parts.catalogus)
	if err != nil {
		return nil, err
	}
	k, err := loadKlassen()
	if err != nil {
		return nil, err
	}
	r := &revision{
		id: parts.digest(), catalogue: c, doelen: map[gateway.Doel][]*doelTerms{}, unknown: noDoel(false), inactive: noDoel(true),
		grants: map[gateway.GrantHash]*grantTerms{},
	}
	for doel, entries := range c.entries {
		for _, e := range entries {
			r.doelen[doel] = append(r.doelen[doel], newDoelTerms(e.canonical(), k))
		}
	}
	if err := r.prepare(ctx, parts.federatie); err != nil {
		return nil, err
	}
	if o.Lokaal != nil {
		if r.lokaal, err = prepareLokaal(ctx, parts.lokaal, k); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// parts are the files that a revision is made of.
type parts struct{ catalogus, diensten, federatie, lokaal []file }

func (o Options) read() (p parts, err error) {
	if o.Catalogus == nil {
		o.Catalogus = mustSub("doelen")
	}
	if o.Federatie == nil {
		o.Federatie = mustSub("rego")
	}
	if p.catalogus, err = readFiles(o.Catalogus, ".yaml", ".yml"); err != nil {
		return p, err
	}
	if p.federatie, err = regoFiles(o.Federatie); err != nil {
		return p, err
	}
	if o.Lokaal != nil {
		if p.lokaal, err = regoFiles(o.Lokaal); err != nil {
			return p, err
		}
	}
	raw, err := fs.ReadFile(schemas.FS, dienstenFile)
	p.diensten = []file{{dienstenFile, raw}}
	return p, err
}

func mustSub(dir string) fs.FS {
	sub, err := fs.Sub(embedded, dir)
	if err != nil {
		panic(err) // the folder is embedded
	}
	return sub
}

// digest is over the names and contents of all files.
func (p parts) digest() string {
	h := sha256.New()
	for i, files := range [][]file{p.catalogus, p.diensten, p.federatie, p.lokaal} {
		for _, f := range files {
			fmt.Fprintf(h, "%d %q %x\n", i, f.name, sha256.Sum256(f.data))
		}
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

const federatiePackage = "data.grensloos.federatie"

func (r *revision) prepare(ctx context.Context, files []file) error {
	compiler, err := compile(files, federatiePackage)
	if err != nil {
		return err
	}
	for name, query := range map[string]*rego.PreparedEvalQuery{"contract": &r.contract, "besluit": &r.query} {
		if len(compiler.GetRulesExact(ast.MustParseRef(federatiePackage+"."+name))) == 0 {
			return gateway.Errorf(gateway.Invalid, "federation policy: package grensloos.federatie has no rule %s", name)
		}
		*query, err = rego.New(rego.Query("x = "+federatiePackage+"."+name), rego.Compiler(compiler)).PrepareForEval(ctx)
		if err != nil {
			return gateway.Wrap(gateway.Invalid, err, "federation policy")
		}
	}
	return nil
}

// doel is the entry that is current at a moment, as Rego sees it.
func (r *revision) doel(doel gateway.Doel, at time.Time) *doelTerms {
	terms := r.doelen[doel]
	if len(terms) == 0 {
		return r.unknown
	}
	if i := r.catalogue.index(doel, at); i >= 0 {
		return terms[i]
	}
	return r.inactive
}

// grant is a grant as Rego sees it, with what the contract opens. Both are made once per grant and kept.
func (r *revision) grant(ctx context.Context, g gateway.Grant, at time.Time) (*grantTerms, error) {
	d := r.doel(g.Properties.Doel, at)
	r.mu.RLock()
	t := r.grants[g.Hash]
	r.mu.RUnlock()
	if t != nil && t.isOf(g, d) {
		return t, nil
	}
	g.Properties.Velden = g.Properties.Velden.Beperk(g.Properties.Velden) // ours: the caller may change its own
	t = newGrantTerms(g, d)
	results, err := r.contract.Eval(ctx, rego.EvalParsedInput(t.contractInput()))
	if err != nil {
		return nil, gateway.Wrap(gateway.Internal, err, "policies: federation policy, rule contract")
	}
	if t.contract, err = contractTerm(results); err != nil || g.Hash == "" {
		return t, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.grants) >= maxGrants {
		clear(r.grants)
	}
	r.grants[g.Hash] = t
	return t, nil
}

// fout is the rule of a decision that could not be made.
const fout = "federatie/fout"

// decide evaluates the federation's policy, and if that allows, subtracts what the local policy denies or withholds.
func (r *revision) decide(ctx context.Context, in Input) (gateway.Decision, error) {
	denied := gateway.Decision{Revision: r.id, Rule: fout}
	switch {
	case in.Stap != Uitgaand && in.Stap != Inkomend && in.Stap != Verstrekking:
		return denied, gateway.Errorf(gateway.Internal, "policies: stap %.20q: give uitgaand, inkomend or verstrekking", string(in.Stap))
	case (in.Stap == Verstrekking) != (in.Persoon != nil):
		return denied, gateway.Errorf(gateway.Internal, "policies: persoon: give it at verstrekking, and only there")
	}
	if err := ctx.Err(); err != nil {
		return denied, gateway.Wrap(gateway.Unavailable, err, "policies")
	}
	// The federation's rules take microseconds and always end: watching ctx meanwhile would cost a goroutine per question.
	unhurried := context.WithoutCancel(ctx)
	g, err := r.grant(unhurried, in.Grant, in.Tijd)
	if err != nil {
		return denied, err
	}
	d, err := r.federatie(unhurried, in, g)
	if err != nil {
		return d, err
	}
	if d.Allow && r.lokaal != nil {
		return r.lokaal.narrow(ctx, in.value(g), d)
	}
	return d, nil
}

// read makes a decision of what rule besluit gave. ok is false for anything but an allowed decision with fields or a refusal with a
// known reason.
func (r *revision) read(results rego.ResultSet) (d gateway.Decision, ok bool) {
	if len(results) != 1 {
		return d, false
	}
	besluit, isObject := results[0].Bindings["x"].(map[string]any)
	if !isObject {
		return d, false
	}
	d.Revision = r.id
	if code, refused := besluit["reden"].(string); refused {
		_, known := reasons[gateway.Reason(code)]
		d.Reasons, d.Rule = []gateway.Reason{gateway.Reason(code)}, "federatie/"+code
		return d, known
	}
	d.Rule = "federatie/toegestaan"
	velden, ok := fields(besluit["velden"])
	geheim, isBool := besluit["geheim"].(bool)
	if !ok || !isBool || len(velden) == 0 {
		return d, false
	}
	onthouden, ok := besluit["onthouden"].(map[string]any)
	if !ok {
		return d, false
	}
	for _, why := range slices.Sorted(maps.Keys(onthouden)) {
		withheld, ok := fields(onthouden[why])
		if _, known := reasons[gateway.Reason(why)]; !ok || !known {
			return d, false
		}
		d = withhold(d, gateway.Reason(why), withheld)
	}
	d.Allow, d.Velden, d.Geheim = true, velden, geheim
	return d, true
}

// withhold notes fields that stay behind, and why.
func withhold(d gateway.Decision, why gateway.Reason, velden gateway.Velden) gateway.Decision {
	if len(velden) == 0 {
		return d
	}
	if d.Onthouden == nil {
		d.Onthouden = map[gateway.Reason]gateway.Velden{}
	}
	d.Onthouden[why] = velden
	d.Reasons = append(d.Reasons, why)
	return d
}
