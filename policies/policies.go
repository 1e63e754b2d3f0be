// Package policies decides: may this organisation, for this purpose (doel), on this zaak, see which fields of this person? It owns
// the purpose catalogue (doelen/*.yaml, the legal frame of domain.md 3.1), the federation's Rego (rego/), the gemeente's own local
// Rego and the table of reasons, and answers with a gateway.Decision.
//
// A decision is federation policy AND signed grant AND consent and objection state AND local policy. Default is to deny. Local
// Rego (package grensloos.lokaal) is compiled apart, without `with` and without built-in functions that reach outside, and yields
// only denials and removed fields, which Go subtracts: it narrows by construction and cannot widen.
//
// It refuses a catalogue or a policy with anything it does not know; a bad reload leaves the old revision standing. One request
// decides on one revision (Session), whose id is a digest over every file that took part.
//
// Invariants a reviewer must keep: an error or an undefined result is a denial; what depends on the person is decided per request
// and never kept, and has one and the same public code and text (reasons.go); the allow path is one conjunctive body.
package policies

import (
	"embed"
	"io/fs"
	"os"
)

//go:embed doelen/*.yaml rego/*.rego
var embedded embed.FS

// Embedded is the built-in catalogue (doelen/*.yaml) and the built-in Rego with its tests (rego/*.rego).
func Embedded() fs.FS { return embedded }

// Config is the section `beleid` of a peer's configuration. Both keys may be left out.
type Config struct {
	// Lokaal is a folder with this peer's own Rego (package grensloos.lokaal). It can only deny and withhold: rules
	// `weiger contains "text" if ...` and `onthoud contains "dienst.veld" if ...`. Empty: no local policy.
	Lokaal string `yaml:"lokaal"`
	// Catalogus is a folder with a purpose catalogue (doelen/*.yaml) instead of the built-in one. All peers of a group must use the
	// same one: a contract is signed over what its purpose means. Empty: the built-in catalogue.
	Catalogus string `yaml:"catalogus"`
}

// Options gives the options that c stands for.
func (c Config) Options() Options {
	var o Options
	if c.Lokaal != "" {
		o.Lokaal = os.DirFS(c.Lokaal)
	}
	if c.Catalogus != "" {
		o.Catalogus = os.DirFS(c.Catalogus)
	}
	return o
}
