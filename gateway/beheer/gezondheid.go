package beheer

import (
	"context"
	"net/http"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/edge"
)

// health tells how this peer is doing at this moment.
type health interface {
	Gezondheid(ctx context.Context) GezondheidJSON
}

// GezondheidJSON is how a peer is doing (schemas/beheer.openapi.yaml, Gezondheid). It holds nothing about a person.
type GezondheidJSON struct {
	Peer         PeerJSON         `json:"peer"`
	Tijd         time.Time        `json:"tijd"`
	Gestart      time.Time        `json:"gestart"`
	Versie       string           `json:"versie"`
	Gereed       bool             `json:"gereed"` // every part is ready
	Onderdelen   []OnderdeelJSON  `json:"onderdelen"`
	Journaal     JournaalJSON     `json:"journaal"`
	Contracten   ContractenJSON   `json:"contracten"`
	Groepsregels GroepsregelsJSON `json:"groepsregels"`
	Beleid       string           `json:"beleid"` // revision of the policy that decides
}

// OnderdeelJSON is one part without which this peer must not be asked anything.
type OnderdeelJSON struct {
	Naam    string `json:"naam"`
	Gereed  bool   `json:"gereed"`
	Uitleg  string `json:"uitleg,omitempty"`  // why not
	Herstel string `json:"herstel,omitempty"` // what to do
}

// JournaalJSON is how far shipping to the audit stream (Kafka) is behind.
type JournaalJSON struct {
	AchterstandBytes    int64   `json:"achterstandBytes"`
	AchterstandSeconden float64 `json:"achterstandSeconden"`
}

// GroepsregelsJSON says which group rules are in force; two peers of a group have the same digest.
type GroepsregelsJSON struct {
	Groep  gateway.GroupID `json:"groep"`
	Digest string          `json:"digest"`
}

// ContractenJSON counts the contracts of a peer and names those that ask for something.
type ContractenJSON struct {
	PerToestand map[string]int `json:"perToestand"`
	Aandacht    []AandachtJSON `json:"aandacht"`
	Fout        string         `json:"fout,omitempty"` // why they could not be counted
}

// What a contract can ask for.
const (
	AandachtVerloopt  = "verloopt" // is valid, ends within 30 days, and nothing takes its place
	AandachtWachtOns  = "wacht-op-ons"
	AandachtGeweigerd = "niet-afgeleverd" // a party refused a signature of ours for good
)

// AandachtJSON is a contract that asks for something.
type AandachtJSON struct {
	Hash      gateway.ContentHash `json:"hash"`
	Wat       string              `json:"wat"`
	GeldigTot time.Time           `json:"geldigTot"`
	Partijen  []gateway.PeerID    `json:"partijen"` // the others
}

// showHealth is no act: it tells nothing of anybody, and monitoring asks it all day.
func (h *Handler) showHealth(w http.ResponseWriter, r *http.Request) {
	edge.WriteJSON(w, r, http.StatusOK, h.Gezondheid.Gezondheid(r.Context()))
}
