package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/contract"
)

// health tells how a peer is doing: to its own administration, to monitoring and to whoever balances load.
type health struct {
	p       *peer
	started time.Time

	mu      sync.Mutex
	counted time.Time             // guarded by mu
	last    beheer.ContractenJSON // guarded by mu
}

const (
	// countEvery is how old a count of contracts may be: it reads them all.
	countEvery = 10 * time.Second
	// endsSoon is how long before its end a contract without a successor asks for attention.
	endsSoon = 30 * 24 * time.Hour
	// pingWithin bounds asking the store whether it is there.
	pingWithin = 2 * time.Second
)

// Gezondheid is all that the administration may see.
func (h *health) Gezondheid(ctx context.Context) beheer.GezondheidJSON {
	p := h.p
	parts := h.parts(ctx)
	lag, age := p.journal.Lag()
	return beheer.GezondheidJSON{
		Peer: beheer.PeerJSON{OIN: p.self.ID, Naam: p.self.Name}, Tijd: p.now().UTC(), Gestart: h.started.UTC(), Versie: version(),
		Gereed: ready(parts), Onderdelen: parts,
		Journaal:     beheer.JournaalJSON{AchterstandBytes: lag, AchterstandSeconden: age.Seconds()},
		Contracten:   h.contracts(ctx),
		Groepsregels: beheer.GroepsregelsJSON{Groep: p.cfg.Group.ID, Digest: p.cfg.Group.digest()},
		Beleid:       p.policy.Session().Revision(),
	}
}

func ready(parts []beheer.OnderdeelJSON) bool {
	return !slices.ContainsFunc(parts, func(o beheer.OnderdeelJSON) bool { return !o.Gereed })
}

// parts looks at everything without which this peer can't answer or ask anything. A source that is down is not among them: the
// answer says so by name.
func (h *health) parts(ctx context.Context) []beheer.OnderdeelJSON {
	p, now := h.p, h.p.now()
	var parts []beheer.OnderdeelJSON
	add := func(name, why, mend string) {
		if why == "" {
			mend = ""
		}
		parts = append(parts, beheer.OnderdeelJSON{Naam: name, Gereed: why == "", Uitleg: why, Herstel: mend})
	}
	why := ""
	if err := p.journal.Refusal(); err != nil {
		why = err.Error()
	}
	add("journaal", why, "zie dat de auditstroom (audit.kafka) bereikbaar is en dat de schijf van audit.journaal.map ruimte heeft")
	asking, cancel := context.WithTimeout(ctx, pingWithin)
	defer cancel()
	why = ""
	if err := p.store.Ping(asking); err != nil {
		why = err.Error()
	}
	add("opslag", why, "doe wat de uitleg zegt; zie dat de database van opslag bereikbaar is, en start de peer opnieuw als het bestand van SQLite vervangen is")
	if p.vault != nil {
		why = ""
		if err := p.vault.Trouble(); err != nil {
			why = err.Error()
		}
		add("vault", why, "doe wat de uitleg zegt; herstarten van de peer is niet nodig")
	}
	why = ""
	for _, l := range p.group.CRLs() {
		if !now.Before(l.NextUpdate) {
			why = fmt.Sprintf("de lijst van %q in %s is verlopen op %s: alle certificaten van die uitgever worden geweigerd", l.Issuer, l.File, l.NextUpdate.UTC().Format(time.RFC3339))
		}
	}
	add("intrekkingslijsten", why, "haal een nieuwe lijst op en zet die in de plaats; herstarten is niet nodig")
	why = ""
	if p.identity != nil {
		if end := p.identity.Cert().NotAfter; now.After(end) {
			why = "het groepscertificaat is verlopen op " + end.UTC().Format(time.RFC3339)
		}
		add("certificaat", why, "vraag een nieuw certificaat aan en zet het met zijn sleutel in de plaats; herstarten is niet nodig")
	}
	if p.internal != nil {
		why = ""
		if end := p.network.Cert().NotAfter; now.After(end) {
			why = "het certificaat op het eigen netwerk is verlopen op " + end.UTC().Format(time.RFC3339) + ": de andere rollen weigeren dit proces"
		}
		add("netwerkcertificaat", why, "geef een nieuw certificaat uit (grensloos pki issue --intern --rol ...); herstarten is niet nodig")
	}
	return parts
}

// contracts counts the contracts, at most every countEvery; only a process that signs them does.
func (h *health) contracts(ctx context.Context) beheer.ContractenJSON {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := h.p.now(); h.counted.IsZero() || now.Sub(h.counted).Abs() >= countEvery {
		all, err := h.p.manager.List(ctx)
		h.last = countContracts(all, h.p.self.ID, now)
		if err != nil {
			h.last.Fout = err.Error()
			return h.last // not remembered
		}
		h.counted = now
	}
	return h.last
}

// countContracts counts by state and names what asks for something: what ends soon without a successor, what waits for us, and
// what a party refused to take.
func countContracts(all []contract.Summary, self gateway.PeerID, now time.Time) beheer.ContractenJSON {
	out := beheer.ContractenJSON{PerToestand: map[string]int{}, Aandacht: []beheer.AandachtJSON{}}
	for _, s := range all {
		out.PerToestand[beheer.Toestand(s.State)]++
		end := s.Content.NotAfter()
		add := func(what string) {
			others := slices.DeleteFunc(s.Content.Parties(), func(id gateway.PeerID) bool { return id == self })
			out.Aandacht = append(out.Aandacht, beheer.AandachtJSON{Hash: s.Hash, Wat: what, GeldigTot: end.UTC(), Partijen: others})
		}
		followed := slices.ContainsFunc(all, func(o contract.Summary) bool {
			return (o.State == contract.Valid || o.State == contract.NotYet) && o.Content.NotAfter().After(end) && o.Content.Covers(s.Content)
		})
		if s.State == contract.Valid && end.Sub(now) < endsSoon && !followed {
			add(beheer.AandachtVerloopt)
		}
		if s.State == contract.Proposed && slices.Contains(s.Missing, self) {
			add(beheer.AandachtWachtOns)
		}
		if s.Failed > 0 && (s.State == contract.Valid || s.State == contract.NotYet || s.State == contract.Proposed) {
			add(beheer.AandachtGeweigerd)
		}
	}
	slices.SortStableFunc(out.Aandacht, func(a, b beheer.AandachtJSON) int {
		return cmp.Or(a.GeldigTot.Compare(b.GeldigTot), cmp.Compare(a.Hash, b.Hash))
	})
	return out
}

// monitoring is the listener for whoever watches this peer: no caller is known there, so nothing there is about anybody.
func (h *health) monitoring(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /gezondheid/levend", func(w http.ResponseWriter, _ *http.Request) {
		writeState(w, http.StatusOK, map[string]any{"levend": true})
	})
	mux.HandleFunc("GET /gezondheid/gereed", func(w http.ResponseWriter, r *http.Request) {
		parts := h.parts(r.Context())
		if h.p.stopping.Load() {
			parts = append(parts, beheer.OnderdeelJSON{Naam: "peer", Uitleg: "stopt"})
		}
		status := http.StatusOK
		if !ready(parts) {
			status = http.StatusServiceUnavailable
		}
		writeState(w, status, map[string]any{"gereed": ready(parts), "onderdelen": parts})
	})
	mux.Handle("GET /metrics", metrics)
	return mux
}

func writeState(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// version is what the build knows of itself: the module's version, or the commit that it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "onbekend"
	}
	commit, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+gewijzigd"
		}
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return cmp.Or(commit, "onbekend") + modified
}
