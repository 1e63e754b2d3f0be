package policies

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/grensloos/grensloos/gateway"
)

const (
	lokaalPackage = "data.grensloos.lokaal"
	maxRegoFile   = 256 << 10
	lokaalTimeout = 100 * time.Millisecond // a local rule that runs longer denies
)

// lokaal is the own policy of a peer. Whatever it says, it only takes away: narrow gets a decision that the federation allowed.
type lokaal struct {
	query rego.PreparedEvalQuery
	has   map[string]bool // which of weiger and onthoud it has
}

// prepareLokaal compiles the *.rego of a peer (not *_test.rego), apart from the federation's. Every file is of package
// grensloos.lokaal or below it; nothing in it looks outside input and itself.
func prepareLokaal(ctx context.Context, files []file, k klassen) (*lokaal, error) {
	compiler, err := compile(files, lokaalPackage)
	if err != nil {
		return nil, err
	}
	l := &lokaal{has: map[string]bool{}}
	var query []string
	for _, name := range []string{"onthoud", "weiger"} {
		for _, rule := range compiler.GetRulesExact(ast.MustParseRef(lokaalPackage + "." + name)) {
			if err := checkRule(rule, name, k); err != nil {
				return nil, err
			}
			l.has[name] = true
		}
		if l.has[name] {
			query = append(query, fmt.Sprintf("%s = %s.%s", name, lokaalPackage, name))
		}
	}
	if len(query) == 0 {
		return nil, gateway.Errorf(gateway.Invalid, "local policy: no rule weiger or onthoud in package grensloos.lokaal; write `weiger contains \"text\" if ...`")
	}
	l.query, err = rego.New(rego.Query(strings.Join(query, "; ")), rego.Compiler(compiler)).PrepareForEval(ctx)
	return l, gateway.Wrap(gateway.Invalid, err, "local policy")
}

// checkRule demands `contains`, and of onthoud that a field that is written out exists: a typing error would let it through.
func checkRule(rule *ast.Rule, name string, k klassen) error {
	if rule.Head.RuleKind() != ast.MultiValue || len(rule.Head.Ref()) != 1 {
		return located(rule.Location, "rule %s: write `%s contains ... if ...`", name, name)
	}
	text, ok := rule.Head.Key.Value.(ast.String)
	if !ok {
		return nil // computed: checked when it runs
	}
	dienst, veld, _ := strings.Cut(string(text), ".")
	if name == "onthoud" && !k.has(gateway.Dienst(dienst), gateway.Veld(veld)) {
		return located(rule.Location, "onthoud %.80q: no such field in schemas/diensten.json; write \"dienst.veld\"", string(text))
	}
	return nil
}

// narrow evaluates the local policy and subtracts. Anything it does not understand denies.
func (l *lokaal) narrow(ctx context.Context, value ast.Value, d gateway.Decision) (gateway.Decision, error) {
	denied := gateway.Decision{Revision: d.Revision, Rule: "lokaal/weiger", Reasons: []gateway.Reason{gateway.LokaalBeleid}}
	ctx, cancel := context.WithTimeout(ctx, lokaalTimeout)
	defer cancel()
	results, err := l.query.Eval(ctx, rego.EvalParsedInput(value))
	if err != nil {
		return denied, gateway.Wrap(gateway.Internal, err, "policies: local policy")
	}
	if len(results) != 1 {
		return denied, gateway.Errorf(gateway.Internal, "policies: the local policy gave no result")
	}
	if l.has["weiger"] {
		texts, ok := results[0].Bindings["weiger"].([]any)
		if !ok || len(texts) > 0 {
			return denied, nil
		}
	}
	if !l.has["onthoud"] {
		return d, nil
	}
	removed, ok := fields(results[0].Bindings["onthoud"])
	if !ok {
		return denied, gateway.Errorf(gateway.Internal, "policies: local rule onthoud gives something else than \"dienst.veld\"")
	}
	rest := gateway.Velden{}
	for dienst, velden := range d.Velden {
		for _, veld := range velden {
			if !removed.Has(dienst, veld) {
				rest[dienst] = append(rest[dienst], veld)
			}
		}
	}
	if len(rest) == 0 {
		denied.Rule = "lokaal/onthoud"
		return denied, nil
	}
	d = withhold(d, gateway.LokaalBeleid, d.Velden.Beperk(removed))
	d.Velden = rest
	return d, nil
}

// regoFiles reads a folder with policy, and what stands there by mistake: data in it would be ignored otherwise.
func regoFiles(fsys fs.FS) ([]file, error) { return readFiles(fsys, ".rego", ".json", ".yaml", ".yml") }

// compile compiles the *.rego of one package, strictly, without `with` and without functions that reach outside.
func compile(files []file, prefix string) (*ast.Compiler, error) {
	caps := capabilities()
	modules := map[string]*ast.Module{}
	for _, f := range files {
		if !strings.HasSuffix(f.name, ".rego") {
			return nil, gateway.Errorf(gateway.Invalid, "%s:1: a folder with policy holds *.rego only; write data as rules", f.name)
		}
		if strings.HasSuffix(f.name, "_test.rego") {
			continue
		}
		if len(f.data) > maxRegoFile {
			return nil, gateway.Errorf(gateway.Invalid, "%s:1: larger than %d kB", f.name, maxRegoFile>>10)
		}
		m, err := ast.ParseModuleWithOpts(f.name, string(f.data), ast.ParserOptions{RegoVersion: ast.RegoV1, Capabilities: caps})
		if err != nil {
			return nil, regoError(err)
		}
		if m == nil {
			return nil, gateway.Errorf(gateway.Invalid, "%s:1: no package", f.name)
		}
		if err := checkModule(m, prefix); err != nil {
			return nil, err
		}
		modules[f.name] = m
	}
	compiler := ast.NewCompiler().WithStrict(true).WithCapabilities(caps)
	if compiler.Compile(modules); compiler.Failed() {
		return nil, regoError(compiler.Errors)
	}
	return compiler, nil
}

// checkModule refuses a package outside prefix, `with`, and any look at data outside prefix: such data does not exist, so a rule
// that waits for it would silently never deny.
func checkModule(m *ast.Module, prefix string) error {
	root := ast.MustParseRef(prefix)
	if !m.Package.Path.HasPrefix(root) {
		return located(m.Package.Location, "package %s: write package %s", strings.TrimPrefix(m.Package.Path.String(), "data."), strings.TrimPrefix(prefix, "data."))
	}
	var err error
	ast.WalkWiths(m, func(w *ast.With) bool {
		err = located(w.Location, "`with` is for tests only; leave it out")
		return true
	})
	ast.WalkRefs(m, func(ref ast.Ref) bool {
		if ref.HasPrefix(ast.DefaultRootRef) && !ref.HasPrefix(root) && err == nil {
			err = located(ref[0].Location, "%s: there is no data outside package %s; use input", ref, strings.TrimPrefix(prefix, "data."))
		}
		return false
	})
	return err
}

// reaches are the built-in functions that look or write outside the decision, besides those that OPA itself marks as not
// deterministic. With them a decision could not be replayed, or could carry data away.
var reaches = []string{"http.send", "opa.runtime", "time.now_ns", "rego.parse_module", "rego.metadata.chain", "rego.metadata.rule", "trace", "print", "net.lookup_ip_addr"}

func capabilities() *ast.Capabilities {
	caps := ast.CapabilitiesForThisVersion(ast.CapabilitiesRegoVersion(ast.RegoV1))
	caps.Builtins = slices.DeleteFunc(caps.Builtins, func(b *ast.Builtin) bool {
		return b.IsNondeterministic() || slices.Contains(reaches, b.Name) || strings.HasPrefix(b.Name, "io.jwt.") || strings.HasPrefix(b.Name, "providers.")
	})
	caps.AllowNet = []string{}
	return caps
}

func located(at *ast.Location, format string, args ...any) error {
	file, row := "policy", 1
	if at != nil {
		file, row = at.File, max(at.Row, 1)
	}
	return gateway.Errorf(gateway.Invalid, "%s:%d: %s", file, row, fmt.Sprintf(format, args...))
}

// regoError is the first of OPA's errors: the others often follow from it.
func regoError(err error) error {
	var list ast.Errors
	switch err := err.(type) { //nolint:errorlint // OPA returns these types bare
	case ast.Errors:
		list = err
	case *ast.Error:
		list = ast.Errors{err}
	}
	if len(list) == 0 {
		return gateway.Wrap(gateway.Invalid, err, "rego")
	}
	return located(list[0].Location, "%s", list[0].Message)
}
