package policies

import "embed"

//go:embed voorbeelden/*.rego
var voorbeelden embed.FS

// Voorbeeld is an example of local policy, by its file name in voorbeelden: what a demo or an administrator starts from.
func Voorbeeld(name string) ([]byte, error) { return voorbeelden.ReadFile("voorbeelden/" + name) }
