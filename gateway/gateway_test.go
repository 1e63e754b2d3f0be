package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
)

func TestParseBSN(t *testing.T) {
	for _, tc := range []struct {
		in string
		ok bool
	}{
		{"999993653", true},
		{"123456782", true},
		{"000000012", true},
		{"123456789", false},
		{"010008579", false}, // stands in the official test set, fails the eleven-test
		{"000000000", false},
		{"99999365", false},
		{"9999936533", false},
		{"99999365x", false},
		{"", false},
	} {
		b, err := gateway.ParseBSN(tc.in)
		if (err == nil) != tc.ok {
			t.Errorf("ParseBSN(%q): got error %v, want ok %v", tc.in, err, tc.ok)
		}
		if tc.ok && b.Reveal() != tc.in {
			t.Errorf("Reveal: got %q, want %q", b.Reveal(), tc.in)
		}
		if err != nil && tc.in != "" && strings.Contains(err.Error(), tc.in) {
			t.Errorf("error repeats the input: %v", err)
		}
	}
}

func TestBSNIsNeverPrinted(t *testing.T) {
	const digits = "999993653"
	b, err := gateway.ParseBSN(digits)
	if err != nil {
		t.Fatal(err)
	}
	vraag := gateway.Vraag{BSN: b}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%p"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", b, &b, vraag)
	}
	for _, h := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(h).Info("x", slog.Any("bsn", b), slog.Any("vraag", vraag), slog.Any("p", &vraag))
	}
	if raw, err := json.Marshal(vraag); err == nil {
		t.Errorf("json.Marshal of a struct with a BSN: got %s, want an error", raw)
	}
	if strings.Contains(out.String(), digits) || strings.Contains(out.String(), "393939") {
		t.Errorf("a BSN was printed:\n%s", out.String())
	}
}

func TestPseudonym(t *testing.T) {
	b, _ := gateway.ParseBSN("999993653")
	c, _ := gateway.ParseBSN("999990019")
	keys, err := gateway.NewPseudonymKeys(map[int][]byte{1: bytes.Repeat([]byte{1}, 32), 2: bytes.Repeat([]byte{2}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	all := keys.All(b)
	if len(all) != 2 || all[0] != keys.Pseudonym(b) || !strings.HasPrefix(string(all[0]), "v2.") || !strings.HasPrefix(string(all[1]), "v1.") {
		t.Errorf("All: got %v, want the newest key first", all)
	}
	if keys.Pseudonym(b) == keys.Pseudonym(c) {
		t.Error("two persons have one pseudonym")
	}
	if strings.TrimPrefix(keys.Worker("999993653"), "m2.") == strings.TrimPrefix(string(all[0]), "v2.") {
		t.Error("a worker's account and a BSN of the same digits share a pseudonym")
	}
	if _, err := gateway.NewPseudonymKeys(map[int][]byte{1: []byte("short")}); gateway.KindOf(err) != gateway.Invalid {
		t.Errorf("short key: got %v, want Invalid", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a pseudonym without a key: want a panic, never a readable value")
		}
	}()
	gateway.PseudonymKeys{}.Pseudonym(b)
}

func TestTransactionID(t *testing.T) {
	now := time.UnixMilli(1767226001123)
	id := gateway.NewTransactionID(now)
	if _, err := gateway.ParseTransactionID(string(id)); err != nil {
		t.Errorf("own id %s: %v", id, err)
	}
	if got := id.Time(); !got.Equal(now) {
		t.Errorf("Time: got %v, want %v", got, now)
	}
	for _, bad := range []string{"", "0190b6a2-7c11-4d3e-9a55-3f5c0b1e2d44", "0190B6A2-7c11-7d3e-9a55-3f5c0b1e2d44", string(id) + "0", "0190b6a2-7c11-7d3e-ca55-3f5c0b1e2d44"} {
		if _, err := gateway.ParseTransactionID(bad); gateway.KindOf(err) != gateway.Invalid {
			t.Errorf("ParseTransactionID(%q): got %v, want Invalid", bad, err)
		}
		if !gateway.TransactionID(bad).Time().IsZero() {
			t.Errorf("Time of %q: want the zero time", bad)
		}
	}
}

func TestTrace(t *testing.T) {
	const header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	got, ok := gateway.ParseTrace(header, "a=b")
	if !ok || got.Traceparent() != header {
		t.Errorf("got %+v %v, want %s back", got, ok, header)
	}
	child := got.Child()
	if child.TraceID != got.TraceID || child.Parent != got.SpanID || child.SpanID == got.SpanID || child.State != "a=b" || !child.Sampled {
		t.Errorf("child of %+v: got %+v", got, child)
	}
	for _, bad := range []string{"", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "01-" + header[3:], strings.ToUpper(header)} {
		if _, ok := gateway.ParseTrace(bad, ""); ok {
			t.Errorf("ParseTrace(%q): accepted", bad)
		}
	}
}

func TestZeroValuesRefuse(t *testing.T) {
	if (gateway.Decision{}).Allow {
		t.Error("Decision{} allows")
	}
	if got := gateway.KindOf(fmt.Errorf("x")); got != gateway.Internal {
		t.Errorf("unclassified error: got kind %v, want internal", got)
	}
	if got := (gateway.Grant{}).Richting(); got != "" || got.AfnemerRollen() != nil {
		t.Errorf("direction of Grant{}: got %q", got)
	}
	if (gateway.GroupRules{}).AllowsPort(443) {
		t.Error("GroupRules{} allows a port")
	}
}

func TestErrorKindAndCodeAreTheOutermost(t *testing.T) {
	err := gateway.Wrap(gateway.Unavailable, gateway.WithCode(gateway.Denied, "X", "inner"), "outer")
	err = fmt.Errorf("more: %w", err)
	if got := gateway.KindOf(err); got != gateway.Unavailable {
		t.Errorf("kind: got %v, want unavailable", got)
	}
	if got := gateway.CodeOf(err); got != "X" {
		t.Errorf("code: got %q, want X", got)
	}
	if got, want := err.Error(), "more: outer: inner"; got != want {
		t.Errorf("message: got %q, want %q", got, want)
	}
}

func TestBeperk(t *testing.T) {
	a := gateway.Velden{"uitkering": {"soort", "bedrag", "loopt"}, "persoon": {"naam"}}
	b := gateway.Velden{"uitkering": {"loopt", "soort", "loopt"}, "contact": {"naam"}}
	got := fmt.Sprint(a.Beperk(b))
	if want := "map[uitkering:[loopt soort]]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestKeysTakenOverAreSearchedAndNeverUsed(t *testing.T) {
	key := func(c byte) []byte { return bytes.Repeat([]byte{c}, 32) }
	own, err := gateway.NewPseudonymKeys(map[int][]byte{1: key(1), 2: key(2)})
	if err != nil {
		t.Fatal(err)
	}
	old, err := gateway.NewPseudonymKeys(map[int][]byte{1: key(9)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := gateway.ParseBSN("999993653")
	if err != nil {
		t.Fatal(err)
	}
	with, err := own.With(map[int][]byte{3: key(9)})
	if err != nil {
		t.Fatal(err)
	}
	want := append(own.All(b), old.Pseudonym(b).Renumbered(3))
	if diff := cmp.Diff(want, with.All(b)); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}
	if with.Pseudonym(b) != own.Pseudonym(b) || with.Worker("a") != own.Worker("a") {
		t.Error("a new pseudonym is made under a key that was taken over")
	}
	if got := len(own.All(b)); got != 2 {
		t.Errorf("the keys of before changed: %d pseudonyms", got)
	}
	if got := old.Pseudonym(b).Renumbered(12).Version(); got != 12 {
		t.Errorf("version: got %d, want 12", got)
	}
	for _, p := range []gateway.Pseudonym{"", "v", "v1", "v1.", "x1.abc", "1.abc", "v.abc"} {
		if got := p.Version(); got != 0 {
			t.Errorf("version of %q: got %d, want 0", p, got)
		}
	}
	for name, over := range map[string]map[int][]byte{"a version in use": {2: key(9)}, "version 0": {0: key(9)}, "short": {3: key(9)[:31]}} {
		if _, err := own.With(over); gateway.KindOf(err) != gateway.Invalid {
			t.Errorf("%s: got %v, want an error of kind invalid", name, err)
		}
	}
	if _, err := (gateway.PseudonymKeys{}).With(map[int][]byte{1: key(9)}); err == nil {
		t.Error("no own key: want an error")
	}
}
