package beheer

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
)

// directory says who is in the group, as this peer knows it from its configuration, from the peers, and from directories.
type directory interface {
	Known(ctx context.Context) ([]contract.KnownPeer, error)
	Listings(ctx context.Context) ([]contract.Listing, error)
	Directories() []contract.DirectoryState
}

// membership makes this peer take part in the group or leave it, and records who did it before it takes effect.
type membership interface {
	Rejoin(ctx context.Context, door string) error
	Leave(ctx context.Context, door string) error
	Left(ctx context.Context) (time.Time, error)
}

// renewer proposes a contract anew, and finds the one that a contract takes the place of.
type renewer interface {
	Renew(ctx context.Context, hash gateway.ContentHash, until time.Time, door string) (gateway.ContentHash, error)
	Predecessor(ctx context.Context, hash gateway.ContentHash) (contract.Summary, error)
}

// GroepspeerJSON is another peer of the group as this API shows it (schemas/beheer.openapi.yaml, Groepspeer).
type GroepspeerJSON struct {
	OIN          gateway.PeerID        `json:"oin"`
	Naam         string                `json:"naam"`
	Adres        string                `json:"adres"` // of its manager
	Gemeentecode string                `json:"gemeentecode,omitempty"`
	Bron         contract.Origin       `json:"bron"` // who says so
	AangemeldOp  *time.Time            `json:"aangemeldOp,omitempty"`
	Services     []gateway.ServiceName `json:"services"` // that it publishes
}

// ServiceJSON is a published service (schemas/beheer.openapi.yaml, Service).
type ServiceJSON struct {
	Aanbieder     gateway.PeerID      `json:"aanbieder"`
	Naam          string              `json:"naam"`            // of who offers it
	Adres         string              `json:"adres,omitempty"` // of its manager
	Service       gateway.ServiceName `json:"service"`
	Protocol      string              `json:"protocol"`
	Delegator     gateway.PeerID      `json:"delegator,omitempty"` // for whom it is offered, if for another
	DelegatorNaam string              `json:"delegatorNaam,omitempty"`
	Gemeentecode  string              `json:"gemeentecode,omitempty"`
	Bevestigd     bool                `json:"bevestigd"` // the provider itself says so too
	Directory     gateway.PeerID      `json:"directory"` // who lists it
	Eigenschappen json.RawMessage     `json:"eigenschappen,omitempty"`
}

// GroepJSON is how this peer stands in the group (schemas/beheer.openapi.yaml, Groep).
type GroepJSON struct {
	OIN         gateway.PeerID  `json:"oin"`
	Naam        string          `json:"naam"`
	BeeindigdOp *time.Time      `json:"beeindigdOp,omitempty"` // it left
	Directories []DirectoryJSON `json:"directories"`
	Peers       int             `json:"peers"`
	Services    int             `json:"services"`
	Onderweg    int             `json:"onderweg"` // signatures that have not reached their receiver
}

// DirectoryJSON is one directory that this peer follows.
type DirectoryJSON struct {
	OIN         gateway.PeerID `json:"oin"`
	Adres       string         `json:"adres"`
	AangemeldOp *time.Time     `json:"aangemeldOp,omitempty"` // when this peer announced itself there
	GelezenOp   *time.Time     `json:"gelezenOp,omitempty"`
	Probleem    string         `json:"probleem,omitempty"` // why the last attempt did not succeed; what was known stands
}

// listPeers lists the other peers of the group; zoek keeps those whose name, OIN or gemeentecode contains it.
func (h *Handler) listPeers(w http.ResponseWriter, r *http.Request) {
	known, err := h.Groep.Known(r.Context())
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	services, err := h.Groep.Listings(r.Context())
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	zoek, ok := zoekterm(w, r)
	if !ok {
		return
	}
	out := []GroepspeerJSON{}
	for _, p := range known {
		if !contains(zoek, p.Name, string(p.ID), p.Gemeentecode) {
			continue
		}
		peer := GroepspeerJSON{
			OIN: p.ID, Naam: p.Name, Adres: p.Address, Gemeentecode: p.Gemeentecode, Bron: p.Origin, AangemeldOp: moment(p.Announced),
			Services: []gateway.ServiceName{},
		}
		for _, l := range services {
			if l.Peer.ID == p.ID {
				peer.Services = append(peer.Services, l.Service)
			}
		}
		out = append(out, peer)
	}
	edge.WriteJSON(w, r, http.StatusOK, map[string]any{"peers": out})
}

// zoekterm reads the query zoek. When it is not right, it has answered.
func zoekterm(w http.ResponseWriter, r *http.Request) (string, bool) {
	zoek := r.URL.Query().Get("zoek")
	if len(zoek) > 100 {
		edge.WriteProblem(w, r, problems{{Naam: "zoek", Reden: "geef hoogstens 100 tekens"}}.err())
		return "", false
	}
	return strings.ToLower(zoek), true
}

func contains(zoek string, in ...string) bool {
	for _, s := range in {
		if strings.Contains(strings.ToLower(s), zoek) {
			return true
		}
	}
	return false
}

// listServices lists the published services; zoek keeps those whose name, provider or gemeentecode contains it.
func (h *Handler) listServices(w http.ResponseWriter, r *http.Request) {
	all, err := h.Groep.Listings(r.Context())
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	zoek, ok := zoekterm(w, r)
	if !ok {
		return
	}
	out := []ServiceJSON{}
	for _, l := range all {
		if contains(zoek, string(l.Service), l.Peer.Name, string(l.Peer.ID), l.Gemeentecode) {
			out = append(out, ServiceJSON{
				Aanbieder: l.Peer.ID, Naam: l.Peer.Name, Service: l.Service, Protocol: l.Protocol, Delegator: l.Delegator.ID,
				DelegatorNaam: l.Delegator.Name, Gemeentecode: l.Gemeentecode, Bevestigd: l.Confirmed, Directory: l.Directory,
				Eigenschappen: l.Properties, Adres: l.Peer.Address,
			})
		}
	}
	edge.WriteJSON(w, r, http.StatusOK, map[string]any{"services": out})
}

func (h *Handler) showGroup(w http.ResponseWriter, r *http.Request) {
	out, err := h.groep(r.Context())
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	edge.WriteJSON(w, r, http.StatusOK, out)
}

func (h *Handler) groep(ctx context.Context) (GroepJSON, error) {
	out := GroepJSON{OIN: h.Self.ID, Naam: h.Self.Name, Directories: []DirectoryJSON{}}
	left, err := h.Deelname.Left(ctx)
	if err != nil {
		return out, err
	}
	out.BeeindigdOp = moment(left)
	for _, d := range h.Groep.Directories() {
		out.Directories = append(out.Directories, DirectoryJSON{
			OIN: d.ID, Adres: d.Address, AangemeldOp: moment(d.Announced), GelezenOp: moment(d.Read), Probleem: d.Problem,
		})
	}
	known, err := h.Groep.Known(ctx)
	if err != nil {
		return out, err
	}
	services, err := h.Groep.Listings(ctx)
	if err != nil {
		return out, err
	}
	out.Peers, out.Services = len(known), len(services)
	contracts, err := h.Contracten.List(ctx)
	for _, c := range contracts {
		out.Onderweg += c.Open
	}
	return out, err
}

// member serves joining and leaving. The manager records the act before it takes effect.
func (h *Handler) member(do func(context.Context, string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := do(r.Context(), h.door(r.Context())); err != nil {
			edge.WriteProblem(w, r, err)
			return
		}
		h.showGroup(w, r)
	}
}

// VernieuwingJSON says until when a contract is proposed anew (schemas/beheer.openapi.yaml, Vernieuwing).
type VernieuwingJSON struct {
	GeldigTot time.Time `json:"geldigTot,omitzero"` // absent: as long as it lasted
}

func (h *Handler) renew(w http.ResponseWriter, r *http.Request) {
	var in VernieuwingJSON
	hash, err := hashOf(r)
	if err == nil {
		err = edge.DecodeJSON(w, r, maxBody, &in)
	}
	if err == nil && !in.GeldigTot.IsZero() && !in.GeldigTot.After(h.now()) {
		err = problems{{Naam: "geldigTot", Reden: "geef een moment in de toekomst, of laat het weg"}}.err()
	}
	if err == nil {
		hash, err = h.Vernieuwing.Renew(r.Context(), hash, in.GeldigTot, h.door(r.Context()))
	}
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	h.answerContract(w, r, http.StatusCreated, hash)
}

// VerschilJSON is what a contract changes against another (schemas/beheer.openapi.yaml, Verschil).
type VerschilJSON struct {
	Hash        gateway.ContentHash `json:"hash"`
	Met         gateway.ContentHash `json:"met,omitempty"` // absent: it takes the place of no other
	Wijzigingen []WijzigingJSON     `json:"wijzigingen"`
	ToestandMet string              `json:"toestandMet,omitempty"`
}

// WijzigingJSON is one change.
type WijzigingJSON struct {
	Soort contract.ChangeKind `json:"soort"`
	Grant string              `json:"grant,omitempty"` // which, in words; absent: the contract as a whole
	Veld  string              `json:"veld,omitempty"`
	Oud   string              `json:"oud,omitempty"`
	Nieuw string              `json:"nieuw,omitempty"`
}

// showDiff compares a contract with the one that met names, else with the one that it takes the place of.
func (h *Handler) showDiff(w http.ResponseWriter, r *http.Request) {
	out, err := h.diff(r)
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	edge.WriteJSON(w, r, http.StatusOK, out)
}

func (h *Handler) diff(r *http.Request) (VerschilJSON, error) {
	var out VerschilJSON
	hash, err := hashOf(r)
	if err != nil {
		return out, err
	}
	fresh, err := h.Contracten.Show(r.Context(), hash)
	if err != nil {
		return out, err
	}
	out = VerschilJSON{Hash: hash, Wijzigingen: []WijzigingJSON{}}
	var old contract.Summary
	if met := r.URL.Query().Get("met"); met != "" {
		other, err := contract.ParseContentHash(met)
		if err != nil {
			return out, problems{{Naam: "met", Reden: "geef de hash van een contract"}}.err()
		}
		detail, err := h.Contracten.Show(r.Context(), other)
		if err != nil {
			return out, err
		}
		old = detail.Summary
	} else if old, err = h.Vernieuwing.Predecessor(r.Context(), hash); gateway.KindOf(err) == gateway.NotFound {
		return out, nil
	} else if err != nil {
		return out, err
	}
	out.Met, out.ToestandMet = old.Hash, toestanden[old.State]
	for _, c := range contract.Diff(old.Content, fresh.Content) {
		out.Wijzigingen = append(out.Wijzigingen, WijzigingJSON{Soort: c.Kind, Grant: c.Grant, Veld: c.Field, Oud: c.Old, Nieuw: c.New})
	}
	return out, nil
}

// publication makes the publication grant of a proposal.
func (h *Handler) publication(g VoorstelGrantJSON, at string, bad *problems) (contract.GrantData, bool) {
	before := len(*bad)
	p := contract.Publication{
		Directory: g.Directory, Peer: g.Aanbieder, Service: g.Service, Delegator: g.Delegator, Protocol: g.Protocol, Gemeentecode: g.Gemeentecode,
	}
	if p.Peer == "" {
		p.Peer = h.Self.ID
	}
	for naam, id := range map[string]gateway.PeerID{"directory": p.Directory, "aanbieder": p.Peer, "delegator": p.Delegator} {
		if _, err := gateway.ParsePeerID(string(id)); err != nil && (naam != "delegator" || id != "") {
			bad.add(at+naam, "geef een OIN van 20 cijfers")
		}
	}
	if _, err := gateway.ParseServiceName(string(p.Service)); err != nil {
		bad.add(at+"service", "geef de naam van de service, zoals clientgegevens")
	}
	if p.Protocol != "" && p.Protocol != contract.ProtocolHTTP1 && p.Protocol != contract.ProtocolHTTP2 {
		bad.add(at+"protocol", "geef "+contract.ProtocolHTTP1+" of "+contract.ProtocolHTTP2+", of laat het weg")
	}
	if g.Gemeentecode != "" && contract.GemeentecodeOf(contract.Publish(p).Properties) == "" {
		bad.add(at+"gemeentecode", "geef de vier cijfers van tabel 33, of laat het weg")
	}
	if g.Outway != "" || g.OutwaySleutel != "" || g.Doel != "" || g.NamensCollege != "" || len(g.Velden) > 0 || g.Verwerkersovereenkomst != "" {
		bad.add(at+"directory", "een publicatie heeft geen outway, doel, namensCollege, velden of verwerkersovereenkomst")
	}
	return contract.Publish(p), len(*bad) == before
}
