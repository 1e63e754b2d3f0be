package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/bevraging"
)

// withoutContacts is Borne with a source that has no contact persons: the register answers.
func withoutContacts(t *testing.T) *regionPeer {
	t.Helper()
	p := borne(t)
	lay := p.Source
	p.Source = func(ctx context.Context, dir string) error {
		if err := lay(ctx, dir); err != nil {
			return err
		}
		file := filepath.Join(dir, "mapping.yaml")
		mapping, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		at := bytes.Index(mapping, []byte("  contactpersoon:"))
		if at < 0 {
			t.Error("the mapping has no contactpersoon to leave out")
			return nil
		}
		return os.WriteFile(file, mapping[:at], 0o600)
	}
	return p
}

// contactOf is the one row of contactpersoon in an answer, as text by field.
func contactOf(t *testing.T, g bevraging.GemeenteAntwoord) map[gateway.Veld]string {
	t.Helper()
	out := map[gateway.Veld]string{}
	for _, d := range g.Diensten {
		for _, rij := range d.Rijen {
			for veld, raw := range rij.Waarden {
				out[veld] = strings.Trim(string(raw), `"`)
			}
		}
	}
	return out
}

// C8, D05: one contact per household, kept by the gemeente; colleges see the law it comes from, a partner never does.
func TestContactpersoonOverTheBorder(t *testing.T) {
	b, u := withoutContacts(t), uwi()
	partner := &regionPeer{ID: "00000099900000009000", Name: "Welzijn Borne"}
	r := startRegion(t, b, u, partner)
	const doel = "casusregie-contact"
	r.contract(u, b, "--doel", doel, "--namens", string(b.ID))
	r.contract(partner, b, "--doel", doel)
	first, second := clientOf(t, 0), clientOf(t, 1)
	q := testVraag{doel: doel, zaaktype: "casusregie", bsn: first}
	assign := func(huishouden string, bsns ...string) (string, error) {
		out, err := r.grensloos(b, strings.Join(bsns, "\n"), "contactpersoon", "wijs-toe", "--huishouden", huishouden, "--naam", "J. Jansen",
			"--organisatie", "Sociaal team Borne", "--telefoon", "074 000 00 00", "--wet", "Wmo2015", "--bsn-stdin")
		return strings.TrimSpace(out), err
	}

	if got, want := outcomes(r.ask(u, q)), "contactpersoon=geen-gegevens"; got != want {
		t.Fatalf("before: got %s, want %s", got, want)
	}
	// At once: exactly one wins, the others are told that there is one.
	const n = 4
	ids, errs := make([]string, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { ids[i], errs[i] = assign("HH-1", first, second) })
	}
	wg.Wait()
	id := ""
	for i, err := range errs {
		switch {
		case err == nil && id == "":
			id = ids[i]
		case err == nil:
			t.Errorf("two assignments won: %s and %s", id, ids[i])
		case !strings.Contains(err.Error(), "409"):
			t.Errorf("a second assignment: got %v, want 409", err)
		}
	}
	if id == "" {
		t.Fatalf("none won: %v", errs)
	}
	if _, err := assign("HH-2", second); err == nil || !strings.Contains(err.Error(), "409") {
		t.Errorf("a resident in a second household: got %v, want 409", err)
	}

	t.Run("a college sees who, and the law", func(t *testing.T) {
		for _, bsn := range []string{first, second} {
			g := r.ask(u, testVraag{doel: doel, zaaktype: "casusregie", bsn: bsn})
			if c := contactOf(t, g); c["naam"] != "J. Jansen" || c["organisatie"] != "Sociaal team Borne" || c["wet"] != "Wmo2015" || c["geldigVan"] == "" {
				t.Errorf("got %s %v", outcomes(g), c)
			}
			if got := kinds(r.records(b, g.Transactie)); got != providerAnswered {
				t.Errorf("records at the gemeente: got %s, want %s", got, providerAnswered)
			}
		}
	})
	t.Run("a partner sees nothing without consent, and never the law", func(t *testing.T) {
		if got, want := outcomes(r.ask(partner, q)), "contactpersoon=geweigerd(geweigerd)"; got != want {
			t.Errorf("without consent: got %s, want %s", got, want)
		}
		consent := r.must(b, first, "toestemming", "geef", "--doel", doel, "--ontvanger", string(partner.ID), "--bsn-stdin")
		g := r.ask(partner, q)
		c := contactOf(t, g)
		if _, has := c["wet"]; has || c["naam"] != "J. Jansen" || len(c) != 4 {
			t.Errorf("with consent: got %s %v", outcomes(g), c)
		}
		raw, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		for _, leak := range []string{"wet", "Wmo", first} {
			if strings.Contains(string(raw), `"`+leak) || strings.Contains(string(raw), leak+"2015") {
				t.Errorf("the partner's answer holds %q: %s", leak, raw)
			}
		}
		named := q
		named.extra = []string{"--velden", "contactpersoon.wet"}
		if got, want := outcomes(r.ask(partner, named)), "contactpersoon=geweigerd(klasse-verboden)"; got != want {
			t.Errorf("the law by name: got %s, want %s", got, want)
		}
		r.must(b, "", "toestemming", "trek-in", consent)
		if got, want := outcomes(r.ask(partner, q)), "contactpersoon=geweigerd(geweigerd)"; got != want {
			t.Errorf("after withdrawal: got %s, want %s", got, want)
		}
	})
	t.Run("after the end another can come", func(t *testing.T) {
		r.must(b, "", "contactpersoon", "beeindig", id)
		if got, want := outcomes(r.ask(u, q)), "contactpersoon=geen-gegevens"; got != want {
			t.Errorf("ended: got %s, want %s", got, want)
		}
		next, err := assign("HH-1", first)
		if err != nil {
			t.Fatal(err)
		}
		if list := r.must(b, "", "contactpersoon", "list"); !strings.Contains(list, next) || strings.Contains(list, id) {
			t.Errorf("the list of now:\n%s", list)
		}
		if of := r.must(b, first, "contactpersoon", "list", "--bsn-stdin"); !strings.Contains(of, next) {
			t.Errorf("of one person:\n%s", of)
		}
		if all := r.must(b, "", "contactpersoon", "list", "--alles"); !strings.Contains(all, id) {
			t.Errorf("with those that ended:\n%s", all)
		}
	})
	t.Run("a BSN is not typed", func(t *testing.T) {
		if _, err := r.grensloos(b, "", "contactpersoon", "beeindig", first); exitCode(err) != exitUsage {
			t.Errorf("got %v, want a usage error", err)
		}
		if _, err := assign("HH-3", "123"); exitCode(err) != exitUsage {
			t.Errorf("not a BSN: got %v, want a usage error", err)
		}
	})
}

// A gemeente whose source has contact persons keeps no register beside it.
func TestNoRegisterBesideASourceThatHasContacts(t *testing.T) {
	b, u := borne(t), uwi()
	r := startRegion(t, b, u)
	for _, p := range []*regionPeer{b, u} {
		if _, err := r.grensloos(p, "", "contactpersoon", "list"); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("%s: got %v, want 404", p.Name, err)
		}
	}
}
