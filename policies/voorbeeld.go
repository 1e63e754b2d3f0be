package policies

import "embed"

//go:embed voorbeelden/*.rego
var voorbeelden embed.FS

// Voorbeeld is an example of local policy, by its file name in voorbeelden: what a demo or an administrator starts from. It panics
// when there is none of that name: examples are part of the program.
func Voorbeeld(name string) []byte {
	raw, err := voorbeelden.ReadFile("voorbeelden/" + name)
	if err != nil {
		panic("policies: no example " + name)
	}
	return raw
}
