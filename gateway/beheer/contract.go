package beheer

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/mux"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
)

// ContractJSON is a contract as this API shows it (schemas/beheer.openapi.yaml, Contract).
type ContractJSON struct {
	Hash           gateway.ContentHash `json:"hash"`
	Toestand       string              `json:"toestand"`
	Partijen       []gateway.PeerID    `json:"partijen"`
	GemaaktOp      time.Time           `json:"gemaaktOp"`
	GeldigVanaf    time.Time           `json:"geldigVanaf"`
	GeldigTot      time.Time           `json:"geldigTot"`
	Grants         []GrantJSON         `json:"grants"`
	Handtekeningen []HandtekeningJSON  `json:"handtekeningen"`
	WachtOp        []gateway.PeerID    `json:"wachtOp"` // who must still accept
	Afleveringen   []AfleveringJSON    `json:"afleveringen,omitempty"`
	Bezwaar        string              `json:"bezwaar,omitempty"` // why this peer can't accept it as it is
}

// GrantJSON is one grant of a contract.
type GrantJSON struct {
	Hash          gateway.GrantHash   `json:"hash"`
	Soort         gateway.GrantType   `json:"soort"`
	Outway        gateway.PeerID      `json:"outway,omitempty"`
	Aanbieder     gateway.PeerID      `json:"aanbieder"`
	Service       gateway.ServiceName `json:"service"`
	Delegator     gateway.PeerID      `json:"delegator,omitempty"`
	Directory     gateway.PeerID      `json:"directory,omitempty"` // where the service is published
	Gemeentecode  string              `json:"gemeentecode,omitempty"`
	Richting      gateway.Richting    `json:"richting,omitempty"`
	Doel          gateway.Doel        `json:"doel,omitempty"`
	DoelVersie    int                 `json:"doelVersie,omitempty"`
	NamensCollege gateway.PeerID      `json:"namensCollege,omitempty"`
	Velden        gateway.Velden      `json:"velden,omitempty"`
}

// HandtekeningJSON is one signature of one party.
type HandtekeningJSON struct {
	Peer       gateway.PeerID         `json:"peer"`
	Soort      contract.SignatureType `json:"soort"`
	GetekendOp time.Time              `json:"getekendOp"`
	Telt       bool                   `json:"telt"`
	Waarom     string                 `json:"waarom,omitempty"` // why it does not count
}

// AfleveringJSON says how far one of our signatures is on its way to one party.
type AfleveringJSON struct {
	Aan      gateway.PeerID         `json:"aan"`
	Soort    contract.SignatureType `json:"soort"`
	Toestand string                 `json:"toestand"`
	Pogingen int                    `json:"pogingen"`
	Reden    string                 `json:"reden,omitempty"` // why the last attempt did not succeed
}

// toestanden are the states of a contract in the words of this API.
var toestanden = map[contract.State]string{
	contract.Proposed: "voorgesteld",
	contract.NotYet:   "nog-niet-geldig",
	contract.Valid:    "geldig",
	contract.Rejected: "afgewezen",
	contract.Revoked:  "ingetrokken",
	contract.Expired:  "verlopen",
}

// Toestand is a state of a contract in the words of this API.
func Toestand(s contract.State) string { return toestanden[s] }

var aflevertoestanden = map[contract.DeliveryState]string{
	contract.Open:      "onderweg",
	contract.Delivered: "afgeleverd",
	contract.Failed:    "geweigerd",
}

func contractJSON(c contract.Summary) ContractJSON {
	out := ContractJSON{
		Hash:           c.Content.Hash(),
		Toestand:       toestanden[c.State],
		Partijen:       c.Content.Parties(),
		GemaaktOp:      time.Unix(c.Content.CreatedAt, 0).UTC(),
		GeldigVanaf:    c.Content.NotBefore().UTC(),
		GeldigTot:      c.Content.NotAfter().UTC(),
		Grants:         []GrantJSON{},
		Handtekeningen: []HandtekeningJSON{},
		WachtOp:        append([]gateway.PeerID{}, c.Missing...),
	}
	connections := map[gateway.GrantHash]gateway.Grant{}
	for _, g := range c.Content.ConnectionGrants() {
		connections[g.Hash] = g
	}
	hashes := c.Content.GrantHashes()
	for i, envelope := range c.Content.Grants {
		d := envelope.Data
		g := GrantJSON{Hash: hashes[i], Soort: d.Type, Aanbieder: d.Service.PeerID, Service: d.Service.Name}
		if d.Delegator != nil {
			g.Delegator = d.Delegator.PeerID
		}
		if d.Directory != nil {
			g.Directory, g.Gemeentecode = d.Directory.PeerID, contract.GemeentecodeOf(d.Properties)
		}
		if conn, ok := connections[hashes[i]]; ok {
			p := conn.Properties
			g.Outway, g.Richting = conn.Outway, conn.Richting()
			g.Doel, g.DoelVersie, g.NamensCollege, g.Velden = p.Doel, p.DoelVersie, p.NamensCollege, p.Velden
		}
		out.Grants = append(out.Grants, g)
	}
	for _, s := range c.Signatures {
		out.Handtekeningen = append(out.Handtekeningen, HandtekeningJSON{
			Peer: s.Peer, Soort: s.Type, GetekendOp: s.SignedAt.UTC(), Telt: s.Counts, Waarom: s.Reason,
		})
	}
	return out
}

func (h *Handler) listContracts(w http.ResponseWriter, r *http.Request) {
	all, err := h.Contracten.List(r.Context())
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	out := make([]ContractJSON, len(all))
	for i, c := range all {
		out[i] = contractJSON(c)
	}
	edge.WriteJSON(w, r, http.StatusOK, map[string]any{"contracten": out})
}

// hashOf reads the content hash in the path.
func hashOf(r *http.Request) (gateway.ContentHash, error) {
	hash, err := contract.ParseContentHash(mux.Vars(r)["hash"])
	return hash, gateway.Wrap(gateway.Invalid, err, "hash")
}

func (h *Handler) showContract(w http.ResponseWriter, r *http.Request) {
	hash, err := hashOf(r)
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	h.answerContract(w, r, http.StatusOK, hash)
}

func (h *Handler) answerContract(w http.ResponseWriter, r *http.Request, status int, hash gateway.ContentHash) {
	c, err := h.Contracten.Show(r.Context(), hash)
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	out := contractJSON(c.Summary)
	out.Bezwaar = c.Objection
	for _, d := range c.Deliveries {
		out.Afleveringen = append(out.Afleveringen, AfleveringJSON{
			Aan: d.Receiver, Soort: d.Type, Toestand: aflevertoestanden[d.State], Pogingen: d.Attempts, Reden: d.Reason,
		})
	}
	edge.WriteJSON(w, r, status, out)
}

// sign serves accept, reject and revoke. The manager records the act before it signs.
func (h *Handler) sign(do func(context.Context, gateway.ContentHash, string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		hash, err := hashOf(r)
		if err == nil {
			err = do(r.Context(), hash, h.door(r.Context()))
		}
		if err != nil {
			edge.WriteProblem(w, r, err)
			return
		}
		h.answerContract(w, r, http.StatusOK, hash)
	}
}

// VoorstelJSON is a contract to propose (schemas/beheer.openapi.yaml, Voorstel).
type VoorstelJSON struct {
	GeldigVanaf time.Time           `json:"geldigVanaf"`
	GeldigTot   time.Time           `json:"geldigTot"`
	Grants      []VoorstelGrantJSON `json:"grants"`
}

// VoorstelGrantJSON is one grant of a proposal: a publication if it names a directory, else a connection.
type VoorstelGrantJSON struct {
	Outway                 gateway.PeerID      `json:"outway,omitempty"`        // default: this peer
	OutwaySleutel          string              `json:"outwaySleutel,omitempty"` // default: this peer's key, if it is the outway
	Aanbieder              gateway.PeerID      `json:"aanbieder"`
	Service                gateway.ServiceName `json:"service"`
	Doel                   gateway.Doel        `json:"doel,omitempty"`
	NamensCollege          gateway.PeerID      `json:"namensCollege,omitempty"`
	Velden                 gateway.Velden      `json:"velden,omitempty"` // default: all that the purpose has
	Verwerkersovereenkomst string              `json:"verwerkersovereenkomst,omitempty"`
	Directory              gateway.PeerID      `json:"directory,omitempty"`    // where the service is published; aanbieder is this peer by default
	Protocol               string              `json:"protocol,omitempty"`     // of a publication; default HTTP/1.1
	Delegator              gateway.PeerID      `json:"delegator,omitempty"`    // of a publication: for whom the service is offered
	Gemeentecode           string              `json:"gemeentecode,omitempty"` // of a publication: for which gemeente the service answers
}

func (h *Handler) propose(w http.ResponseWriter, r *http.Request) {
	var in VoorstelJSON
	err := edge.DecodeJSON(w, r, maxBody, &in)
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	for i, g := range in.Grants {
		if g.Directory == "" && g.OutwaySleutel == "" && (g.Outway == "" || g.Outway == h.Self.ID) {
			if in.Grants[i].OutwaySleutel, err = h.Sleutel(r.Context()); err != nil {
				edge.WriteProblem(w, r, err)
				return
			}
		}
	}
	now := h.now()
	content, err := h.content(in, now)
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	hash, err := h.Voorstel.Propose(r.Context(), content, h.door(r.Context()))
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	h.answerContract(w, r, http.StatusCreated, hash)
}

// content makes the contract content of a proposal: version, meaning and fields of a purpose come from the catalogue.
func (h *Handler) content(in VoorstelJSON, now time.Time) (contract.NewContent, error) {
	var bad problems
	if in.GeldigVanaf.IsZero() {
		bad.add("geldigVanaf", "geef de datum en tijd waarop het contract ingaat, zoals 2026-12-01T00:00:00Z")
	}
	if !in.GeldigTot.After(in.GeldigVanaf) || !in.GeldigTot.After(now) {
		bad.add("geldigTot", "geef een moment in de toekomst, na geldigVanaf")
	}
	if len(in.Grants) == 0 || len(in.Grants) > 10 {
		bad.add("grants", "geef er 1 tot en met 10")
	}
	out := contract.NewContent{NotBefore: in.GeldigVanaf, NotAfter: in.GeldigTot, Now: now}
	for i, g := range in.Grants {
		if len(bad) > 20 {
			break
		}
		data, ok := h.grantData(g, "grants["+strconv.Itoa(i)+"].", now, &bad)
		if ok {
			out.Grants = append(out.Grants, data)
		}
	}
	return out, bad.err()
}

func (h *Handler) grantData(g VoorstelGrantJSON, at string, now time.Time, bad *problems) (contract.GrantData, bool) {
	if g.Directory != "" {
		return h.publication(g, at, bad)
	}
	if g.Protocol != "" || g.Delegator != "" || g.Gemeentecode != "" {
		bad.add(at+"directory", "geef de directory: protocol, delegator en gemeentecode horen bij een publicatie")
		return contract.GrantData{}, false
	}
	before := len(*bad)
	grant := gateway.Grant{
		Type: gateway.ServiceConnection, Outway: g.Outway, OutwayThumbprint: g.OutwaySleutel, ServicePeer: g.Aanbieder, Service: g.Service,
	}
	if grant.Outway == "" {
		grant.Outway = h.Self.ID
	}
	if _, err := gateway.ParsePeerID(string(grant.Outway)); err != nil {
		bad.add(at+"outway", "geef een OIN van 20 cijfers")
	}
	if grant.OutwayThumbprint == "" {
		bad.add(at+"outwaySleutel", "geef de vingerafdruk van de publieke sleutel van de outway; die van een ander kent deze peer niet")
	}
	if _, err := gateway.ParsePeerID(string(g.Aanbieder)); err != nil {
		bad.add(at+"aanbieder", "geef een OIN van 20 cijfers")
	}
	if _, err := gateway.ParseServiceName(string(g.Service)); err != nil {
		bad.add(at+"service", "geef de naam van de service, zoals clientgegevens")
	}
	if g.NamensCollege != "" {
		if _, err := gateway.ParsePeerID(string(g.NamensCollege)); err != nil {
			bad.add(at+"namensCollege", "geef een OIN van 20 cijfers")
		}
	}
	switch {
	case g.Doel != "":
		h.properties(g, at, now, &grant, bad)
	case g.NamensCollege != "" || len(g.Velden) > 0 || g.Verwerkersovereenkomst != "":
		bad.add(at+"doel", "geef het doel; zonder doel heeft een grant geen namensCollege, velden of verwerkersovereenkomst")
	}
	if len(*bad) > before {
		return contract.GrantData{}, false
	}
	data, err := contract.FromGrant(grant)
	if err != nil {
		bad.add(at+"doel", err.Error())
		return contract.GrantData{}, false
	}
	return data, true
}

func (h *Handler) properties(g VoorstelGrantJSON, at string, now time.Time, grant *gateway.Grant, bad *problems) {
	p, err := h.Policy.Session().Catalogue().Properties(g.Doel, now, g.NamensCollege)
	if err != nil {
		mend := "dit doel is hier niet te gebruiken"
		if e, ok := errors.AsType[*gateway.Error](err); ok && e.Kind != gateway.Internal {
			mend = e.Message
		}
		bad.add(at+"doel", mend)
		return
	}
	p.Verwerkersovereenkomst = g.Verwerkersovereenkomst
	if len(g.Velden) > 0 {
		for _, dienst := range g.Velden.Diensten() {
			for _, veld := range g.Velden[dienst] {
				if !p.Velden.Has(dienst, veld) {
					bad.add(at+"velden", "noem alleen velden die het doel "+string(g.Doel)+" heeft; zie de doelencatalogus")
					return
				}
			}
		}
		p.Velden = g.Velden.Beperk(p.Velden)
	}
	grant.Properties = p
}
