package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func groupFile(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "group.yaml")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const goodGroup = `# remarks mean nothing
id: midden-twente.example
poorten: [443, 8443]
fscVersie: 2.0.0
directories:
  - {id: "00000099900000001000", manager: "https://directory.example:443"}
  - {id: "00000099000000147000", manager: "https://borne.example:8443"}
bewaartermijnen: {transactie: 1825, adl: 1825}
`

// The digest is of what the rules mean: the same for any way to write them, another for another meaning.
func TestGroupRulesDigest(t *testing.T) {
	load := func(content string) string {
		t.Helper()
		r, err := loadGroupRules(groupFile(t, content))
		if err != nil {
			t.Fatal(err)
		}
		return r.digest()
	}
	want := load(goodGroup)
	same := `bewaartermijnen:
  adl: 1825
  transactie: 1825
directories:
  - manager: https://borne.example:8443
    id: "00000099000000147000"
  - manager: https://directory.example:443
    id: "00000099900000001000"
poorten: [8443, 443]
id: midden-twente.example
`
	if got := load(same); got != want || len(got) != 64 {
		t.Errorf("the same rules written otherwise: got %s, want %s", got, want)
	}
	for _, change := range [][2]string{
		{"id: midden", "id: groot"},
		{"[443, 8443]", "[443, 8443, 9443]"},
		{"adl: 1825", "adl: 1826"},
		{"borne.example", "born.example"},
		{`  - {id: "00000099000000147000", manager: "https://borne.example:8443"}` + "\n", ""},
	} {
		if got := load(strings.Replace(goodGroup, change[0], change[1], 1)); got == want {
			t.Errorf("%q for %q: the digest stays the same", change[1], change[0])
		}
	}
	inline := GroupConfig{ID: "midden-twente.example", Ports: []int{8443, 443}}
	if got, want := inline.digest(), load("id: midden-twente.example\n"); got != want {
		t.Errorf("inline rules: got %s, want %s as a file that says the same", got, want)
	}
}

func TestGroupRulesRefuse(t *testing.T) {
	for _, tc := range []struct{ name, old, altered, want string }{
		{"unknown key", "poorten:", "porten:", `[3:1] unknown field "porten"; did you mean "poorten"?`},
		{"group id", "id: midden-twente.example", "id: midden twente", "group.yaml:2: id: group id"},
		{"port", "[443, 8443]", "[443, 8443, 70000]", "group.yaml:3: poorten[2]: give 1 to 65535"},
		{"version", "fscVersie: 2.0.0", "fscVersie: 1.0.0", "group.yaml:4: fscVersie: \"1.0.0\": this program speaks 2.0.0"},
		{"directory", `"00000099000000147000"`, `"147"`, "group.yaml:7: directories[1].id: peer id"},
		{"directory twice", `"00000099000000147000"`, `"00000099900000001000"`, "group.yaml:7: directories[1].id: stands twice"},
		{"directory's port", "borne.example:8443", "borne.example:9000", "group.yaml:7: directories[1].manager: port 9000"},
		{"kind", "adl: 1825", "als: 1825", "group.yaml:8: bewaartermijnen.als: no such kind"},
		{"days", "adl: 1825", "adl: 0", "group.yaml:8: bewaartermijnen.adl: give days"},
		{"not YAML", "poorten: [443, 8443]", "poorten: [443", "group.yaml"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			altered := strings.Replace(goodGroup, tc.old, tc.altered, 1)
			if altered == goodGroup {
				t.Fatalf("no %q in the file", tc.old)
			}
			_, err := loadGroupRules(groupFile(t, altered))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// A peer takes its rules from the file that the group shares, or from its own configuration, not from both.
func TestConfigWithGroupFile(t *testing.T) {
	b, u := borne(t), uwi()
	r, err := layRegion(t.Context(), t.TempDir(), b, u)
	if err != nil {
		t.Fatal(err)
	}
	inline, err := loadConfig(b.config())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(b.config())
	if err != nil {
		t.Fatal(err)
	}
	var kept, rules []string
	for line := range strings.SplitSeq(string(raw), "\n") {
		if rule, ok := strings.CutPrefix(line, "  id: "); ok {
			rules, line = append(rules, "id: "+rule), "  bestand: ../group.yaml"
		} else if rule, ok := strings.CutPrefix(line, "  poorten: "); ok {
			rules = append(rules, "poorten: "+rule)
			continue
		}
		kept = append(kept, line)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "group.yaml"), []byte(strings.Join(rules, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	write := func(content string) {
		if err := os.WriteFile(b.config(), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Join(kept, "\n"))
	shared, err := loadConfig(b.config())
	if err != nil {
		t.Fatal(err)
	}
	if shared.Group.ID != inline.Group.ID || shared.Group.digest() != inline.Group.digest() {
		t.Errorf("got %s %s, want what stood in the configuration: %s %s", shared.Group.ID, shared.Group.digest(), inline.Group.ID, inline.Group.digest())
	}
	write(strings.Replace(strings.Join(kept, "\n"), "  bestand:", "  id: x\n  bestand:", 1))
	if _, err := loadConfig(b.config()); err == nil || !strings.Contains(err.Error(), "not both") {
		t.Errorf("both: got %v, want it refused", err)
	}
	write(strings.Replace(strings.Join(kept, "\n"), "../group.yaml", "../no.yaml", 1))
	if _, err := loadConfig(b.config()); err == nil || !strings.Contains(err.Error(), "group.bestand") {
		t.Errorf("no such file: got %v, want it named", err)
	}
}

// An unknown key is answered with the key that was meant.
func TestSuggestedKey(t *testing.T) {
	for _, tc := range []struct{ yaml, want string }{
		{"mapp: x\n", `did you mean "map"?`},
		{"group: {portten: [1]}\n", `did you mean "poorten"?`},
		{"inway: {services: {open: {doelbindign: false}}}\n", `did you mean "doelbinding"?`},
		{"peers:\n  - {id: x, mangaer: y}\n", `did you mean "manager"?`},
		{"poorten: [443]\n", "that key stands at group.poorten"},
		{"beheer: {xyzzyx: 1}\n", "known here: luister"},
	} {
		err := decodeStrict([]byte(tc.yaml), &Config{})
		if err == nil || !strings.Contains(err.Error(), "unknown field") || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: got %v, want %q", tc.yaml, err, tc.want)
		}
	}
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"map", "mapp", 1}, {"manager", "mangaer", 1}, {"abc", "", 3}, {"kitten", "sitting", 3}} {
		if got := edits(tc.a, tc.b); got != tc.want {
			t.Errorf("edits(%q, %q): got %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}
