package main

import (
	"os"
	"path/filepath"
	"testing"
)

// A gemeente changes its own policy while it serves: it bites within five seconds, and a file that is wrong changes nothing.
func TestPolicyChangesWhileServing(t *testing.T) {
	b, u := borne(t), uwi()
	r := startRegion(t, b, u)
	r.contract(u, b, "--doel", "pw-uitkering", "--namens", string(b.ID))
	ask := func() string {
		return outcomes(r.ask(u, testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: clientOf(t, 0)}))
	}
	const answered, refused = "persoon=beantwoord uitkering=beantwoord", "persoon=geweigerd(lokaal-beleid) uitkering=geweigerd(lokaal-beleid)"
	if got := ask(); got != answered {
		t.Fatalf("before: got %s, want %s", got, answered)
	}
	file := filepath.Join(b.dir, "beleid", "lokaal.rego")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("package grensloos.lokaal\n\nweiger contains \"vandaag niet\" if input.context.doel == \"pw-uitkering\"\n")
	r.await("the new policy to refuse", func() bool { return ask() == refused })
	write("package grensloos.lokaal\n\nthis is no Rego\n")
	r.await("the broken policy to be reported", func() bool { return contains(r.serve[b].log, "policy not reloaded") })
	if got := ask(); got != refused {
		t.Errorf("with a broken file: got %s, want the policy of before", got)
	}
	write("package grensloos.lokaal\n\nweiger contains \"nooit\" if input.context.doel == \"pw-reintegratie\"\n")
	r.await("the policy that allows again", func() bool { return ask() == answered })
}
