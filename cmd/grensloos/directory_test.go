package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/beheer"
)

const (
	directoryID   gateway.PeerID = "00000099900000009000"
	haaksbergenID gateway.PeerID = "00000099000000158000"
)

func directoryPeer() *regionPeer {
	return &regionPeer{ID: directoryID, Name: "Directory Midden-Twente", Directory: true}
}

func haaksbergen() *regionPeer {
	return &regionPeer{ID: haaksbergenID, Name: "Gemeente Haaksbergen", Gemeentecode: "0158", Source: borneSource}
}

// joins goes through the checklist and returns what is still to be done.
func (r *running) joins(p *regionPeer) (open []string, steps map[string]joinStap) {
	r.t.Helper()
	out, err := r.grensloos(p, "", "join", "--json")
	if code, ok := errors.AsType[exit](err); err != nil && (!ok || code.code != exitIncomplete) {
		r.t.Fatalf("join: %v", err)
	}
	var list struct {
		Klaar   bool       `json:"klaar"`
		Stappen []joinStap `json:"stappen"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		r.t.Fatalf("join %s: %v", out, err)
	}
	if list.Klaar != (err == nil) {
		r.t.Errorf("join says klaar %v and ends with %v", list.Klaar, err)
	}
	steps = map[string]joinStap{}
	for _, s := range list.Stappen {
		steps[s.Stap] = s
		if s.Toestand != joinKlaar && s.Toestand != joinGedaan {
			open = append(open, s.Stap)
		}
	}
	return open, steps
}

func (r *running) knows(p *regionPeer, other gateway.PeerID) (beheer.GroepspeerJSON, bool) {
	r.t.Helper()
	var out struct{ Peers []beheer.GroepspeerJSON }
	if err := json.Unmarshal([]byte(r.must(p, "", "peers", "--json")), &out); err != nil {
		r.t.Fatal(err)
	}
	i := slices.IndexFunc(out.Peers, func(g beheer.GroepspeerJSON) bool { return g.OIN == other })
	if i < 0 {
		return beheer.GroepspeerJSON{}, false
	}
	return out.Peers[i], true
}

// D01: Haaksbergen joins a region that runs, and leaves it. Nobody else's configuration names it, and nobody restarts.
func TestHaaksbergenJoinsAndLeaves(t *testing.T) {
	d, b, u, h := directoryPeer(), borne(t), uwi(), haaksbergen()
	laid, err := layRegion(t.Context(), t.TempDir(), d, b, u, h)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{region: laid, t: t, serve: map[*regionPeer]*served{}}
	t.Cleanup(func() {
		for p := range r.serve {
			r.stop(p)
		}
	})
	before := map[*regionPeer]string{}
	for _, p := range []*regionPeer{d, b, u} {
		r.start(p)
		raw, err := os.ReadFile(p.config())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), string(haaksbergenID)) {
			t.Fatalf("the configuration of %s names Haaksbergen", p.Name)
		}
		before[p] = string(raw)
	}
	started := map[*regionPeer]*served{d: r.serve[d], b: r.serve[b], u: r.serve[u]}

	if open, _ := r.joins(b); !slices.Equal(open, []string{"contracten"}) {
		t.Errorf("borne has still to do %v, want a contract only", open)
	}
	r.await("uwi to know Borne by its code", func() bool { k, ok := r.knows(u, b.ID); return ok && k.Gemeentecode == "0147" })
	pwUitkering := []string{"--doel", "pw-uitkering", "--namens"}
	r.contract(u, b, append(pwUitkering, string(b.ID))...)
	if open, steps := r.joins(b); len(open) != 0 {
		t.Errorf("borne has still to do %v: %+v", open, steps)
	}
	client := clientOf(t, 0)
	question := func(code string) testVraag {
		return testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: client, extra: []string{"--gemeente", code}}
	}
	const answered = "persoon=beantwoord uitkering=beantwoord"
	if got := outcomes(r.ask(u, question("0147"))); got != answered {
		t.Fatalf("Borne: %s", got)
	}

	t.Run("before it runs, join says what to do", func(t *testing.T) {
		open, steps := r.joins(h)
		if !slices.Contains(open, "peer") || !strings.Contains(steps["peer"].Herstel, "grensloos serve") || steps["directory"].Toestand != joinKlaar {
			t.Errorf("open %v, steps %+v", open, steps)
		}
	})
	r.start(h)
	if open, steps := r.joins(h); !slices.Equal(open, []string{"contracten"}) || steps["publicatie clientgegevens"].Toestand != joinGedaan {
		t.Errorf("haaksbergen has still to do %v, want a contract only: %+v", open, steps)
	}
	r.await("uwi to know Haaksbergen by its code", func() bool { k, ok := r.knows(u, h.ID); return ok && k.Gemeentecode == "0158" })
	hash := r.contract(u, h, append(pwUitkering, string(h.ID))...)
	if got := outcomes(r.ask(u, question("0158"))); got != answered {
		t.Fatalf("Haaksbergen: %s", got)
	}
	for _, list := range [][]string{{"services"}, {"services", "--zoek", "haaksbergen"}} {
		if out := r.must(u, "", list...); !strings.Contains(out, string(haaksbergenID)) || !strings.Contains(out, "0158") {
			t.Errorf("%v: %s", list, out)
		}
	}
	if out := r.must(u, "", "group", "show"); !strings.Contains(out, string(directoryID)) || !strings.Contains(out, "3 peers, 2 services") {
		t.Errorf("group show: %s", out)
	}

	t.Run("the directory is down, and uwi restarts", func(t *testing.T) {
		r.stop(d)
		r.stop(u)
		r.start(u)
		for _, code := range []string{"0147", "0158"} {
			if got := outcomes(r.ask(u, question(code))); got != answered {
				t.Errorf("%s: %s", code, got)
			}
		}
		r.await("the trouble to be shown", func() bool { return strings.Contains(r.must(u, "", "group", "show"), "laatste poging") })
		r.start(d)
		started[d], started[u] = r.serve[d], r.serve[u]
	})
	t.Run("a contract is proposed anew, and compared", func(t *testing.T) {
		newer := r.must(u, "", "contract", "renew", hash)
		if out := r.must(u, "", "contract", "diff", newer); !strings.Contains(out, hash) || !strings.Contains(out, "geldigVanaf") {
			t.Errorf("diff: %s", out)
		}
		if out := r.must(u, "", "contract", "diff", hash, hash); !strings.Contains(out, "geen verschil") {
			t.Errorf("diff with itself: %s", out)
		}
		r.await("the renewal to arrive", func() bool { return r.state(h, newer) == "voorgesteld" })
		r.must(h, "", "contract", "reject", newer)
		r.await("the rejection to arrive", func() bool { return r.state(u, newer) == "afgewezen" })
	})

	if _, err := r.grensloos(h, "", "group", "leave"); err == nil || exitCode(err) != exitUsage {
		t.Errorf("leave without saying that it is meant: %v", err)
	}
	r.must(h, "", "group", "leave", "--ja")
	r.await("uwi to forget Haaksbergen", func() bool { _, ok := r.knows(u, h.ID); return !ok })
	if got := r.state(u, hash); got != "ingetrokken" {
		t.Errorf("the contract is %s at uwi", got)
	}
	if out := r.must(u, "", "services"); strings.Contains(out, string(haaksbergenID)) {
		t.Errorf("services after it left: %s", out)
	}
	if _, err := r.grensloos(u, client, "vraag", "--doel", "pw-uitkering", "--zaaktype", "pw-aanvraag", "--zaak", "Z-1", "--bsn-stdin", "--gemeente", "0158"); err == nil {
		t.Error("Haaksbergen can still be asked")
	}
	if got := outcomes(r.ask(u, question("0147"))); got != answered {
		t.Errorf("Borne, after Haaksbergen left: %s", got)
	}
	for p, was := range before {
		raw, err := os.ReadFile(filepath.Clean(p.config()))
		if err != nil || string(raw) != was || r.serve[p] != started[p] {
			t.Errorf("%s was restarted or changed: %v", p.Name, err)
		}
	}
}
