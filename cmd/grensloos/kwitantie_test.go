package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// What the gemeente signed for is with the asker, can be checked from its record alone, and is what the answer says.
func TestKwitantieAtTheAsker(t *testing.T) {
	b, u := borne(t), uwi()
	r := startRegion(t, b, u)
	r.contract(u, b, "--doel", "pw-uitkering", "--namens", string(b.ID))
	g := r.ask(u, testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: clientOf(t, 0)})
	if got, want := outcomes(g), "persoon=beantwoord uitkering=beantwoord"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	velden, aantal := gateway.Velden{}, 0
	for _, d := range g.Diensten {
		aantal += len(d.Rijen)
		for veld := range d.Rijen[0].Waarden {
			velden[d.Dienst] = append(velden[d.Dienst], veld)
		}
	}
	recs := r.records(u, g.Transactie)
	i := slices.IndexFunc(recs, func(rec beheer.VastleggingJSON) bool { return rec.Soort == audit.Kwitantie })
	if i < 0 {
		t.Fatal("no kwitantie at the asker")
	}
	var kept struct {
		JWS string `json:"jws"`
	}
	if err := json.Unmarshal(recs[i].Inhoud, &kept); err != nil {
		t.Fatal(err)
	}
	k, parsed, err := verklaring.ParseKwitantie(kept.JWS)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := parsed.Chain()
	if err != nil {
		t.Fatal(err)
	}
	if peer, err := gateway.PeerFrom(chain[0]); err != nil || peer.ID != b.ID || parsed.Verify(chain[0]) != nil {
		t.Errorf("signed by %v (%v), want the gemeente", peer.ID, err)
	}
	if k.Transactie != g.Transactie || k.Issuer != b.ID || k.Audience != u.ID || k.Uitkomst["uitkering"] != "beantwoord" {
		t.Errorf("kwitantie %+v", k)
	}
	if err := k.Matches(velden, aantal); err != nil {
		t.Error(err)
	}
	shown := r.must(u, "", "audit", "show", string(g.Transactie))
	if want := string(b.ID) + " tekende voor: persoon beantwoord, uitkering beantwoord; records: "; !strings.Contains(shown, want) {
		t.Errorf("the time line lacks %q:\n%s", want, shown)
	}
	// The ground on which the gemeente was asked is on record on both sides.
	if _, err := gateway.ParseGrond(string(g.Grond)); err != nil {
		t.Error(err)
	}
	for _, p := range []*regionPeer{u, b} {
		grounds := 0
		for _, rec := range r.records(p, g.Transactie) {
			var compact bytes.Buffer
			if err := json.Compact(&compact, rec.Inhoud); err != nil {
				t.Fatal(err)
			}
			if rec.Soort == audit.ADL && strings.Contains(compact.String(), `"grond":"`+string(g.Grond)+`"`) {
				grounds++
			}
		}
		if want := map[gateway.PeerID]int{u.ID: 1, b.ID: 2}[p.ID]; grounds != want {
			t.Errorf("%s: %d decisions with a ground, want %d", p.Name, grounds, want)
		}
	}
}
