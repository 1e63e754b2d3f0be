package beheer

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contactpersoon"
	"github.com/grensloos/grensloos/gateway/edge"
)

// contacts keeps the register of contact persons. It records nothing.
type contacts interface {
	WijsToe(ctx context.Context, c contactpersoon.Contactpersoon, personen [][]gateway.Pseudonym) error
	BeeindigContact(ctx context.Context, id string, at time.Time) error
	Contactpersoon(ctx context.Context, id string) (contactpersoon.Contactpersoon, error)
	ContactpersonenVan(ctx context.Context, person []gateway.Pseudonym) ([]contactpersoon.Contactpersoon, error)
	Contactpersonen(ctx context.Context, actief bool, after string, limit int) ([]contactpersoon.Contactpersoon, error)
}

// NieuweContactpersoonJSON assigns a contact person to a household (schemas/beheer.openapi.yaml, NieuweContactpersoon).
type NieuweContactpersoonJSON struct {
	Huishouden  string             `json:"huishouden"`
	BSNs        []string           `json:"bsns"`
	Naam        string             `json:"naam"`
	Organisatie string             `json:"organisatie"`
	Telefoon    string             `json:"telefoon,omitempty"`
	Wet         contactpersoon.Wet `json:"wet,omitempty"`
	GeldigVan   string             `json:"geldigVan,omitempty"` // a day; default: today
}

// ContactpersoonJSON is a contact person as this API shows it: residents by pseudonym.
type ContactpersoonJSON struct {
	ID          string              `json:"id"`
	Huishouden  string              `json:"huishouden"`
	Leden       []gateway.Pseudonym `json:"leden"`
	Naam        string              `json:"naam"`
	Organisatie string              `json:"organisatie"`
	Telefoon    string              `json:"telefoon,omitempty"`
	Wet         contactpersoon.Wet  `json:"wet,omitempty"`
	GeldigVan   string              `json:"geldigVan"`
	Beeindigd   *time.Time          `json:"beeindigd,omitempty"`
}

// ContactpersonenJSON is a page of contact persons.
type ContactpersonenJSON struct {
	Contactpersonen []ContactpersoonJSON `json:"contactpersonen"`
	Volgende        string               `json:"volgende,omitempty"` // value of na for the next page; absent on the last
}

func contactJSON(c contactpersoon.Contactpersoon) ContactpersoonJSON {
	return ContactpersoonJSON{
		ID: c.ID, Huishouden: c.Huishouden, Leden: c.Leden, Naam: c.Naam, Organisatie: c.Organisatie, Telefoon: c.Telefoon, Wet: c.Wet,
		GeldigVan: c.GeldigVan.Format(time.DateOnly), Beeindigd: moment(c.Beeindigd),
	}
}

func contactsJSON(all []contactpersoon.Contactpersoon) ContactpersonenJSON {
	out := ContactpersonenJSON{Contactpersonen: []ContactpersoonJSON{}}
	for _, c := range all {
		out.Contactpersonen = append(out.Contactpersonen, contactJSON(c))
	}
	return out
}

// contactDetails are what the record of an act says: whose contact it is, not who.
func contactDetails(c contactpersoon.Contactpersoon) map[string]string {
	details := map[string]string{"huishouden": c.Huishouden}
	for i, lid := range c.Leden {
		details["lid"+strconv.Itoa(i+1)] = string(lid)
	}
	return details
}

// contactEndpoints are the paths of the register of contact persons; none if this peer keeps none, since a source has them.
func (h *Handler) contactEndpoints() []endpoint {
	if h.Contacten == nil {
		return nil
	}
	beheer := []string{RolBeheer}
	return []endpoint{
		{http.MethodGet, "/contactpersonen", beheer, h.listContacts},
		{http.MethodPost, "/contactpersonen", beheer, h.assignContact},
		{http.MethodPost, "/contactpersonen/_zoek", beheer, h.findContacts},
		{http.MethodPost, "/contactpersonen/{id}/_beeindigen", beheer, h.endContact},
	}
}

// assignContact makes somebody the contact of a household. That it was tried is recorded; a household that has one is a conflict.
func (h *Handler) assignContact(w http.ResponseWriter, r *http.Request) {
	var in NieuweContactpersoonJSON
	err := edge.DecodeJSON(w, r, maxBody, &in)
	var c contactpersoon.Contactpersoon
	var personen [][]gateway.Pseudonym
	if err == nil {
		c, personen, err = h.contact(in)
	}
	if err == nil {
		err = h.record(r.Context(), "contactpersoon-toegewezen", c.ID, contactDetails(c))
	}
	if err == nil {
		err = h.Contacten.WijsToe(r.Context(), c, personen)
	}
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	edge.WriteJSON(w, r, http.StatusCreated, contactJSON(c))
}

func (h *Handler) contact(in NieuweContactpersoonJSON) (c contactpersoon.Contactpersoon, personen [][]gateway.Pseudonym, err error) {
	c = contactpersoon.Contactpersoon{
		Huishouden: in.Huishouden, Naam: in.Naam, Organisatie: in.Organisatie, Telefoon: in.Telefoon, Wet: in.Wet,
	}
	if in.GeldigVan != "" {
		if c.GeldigVan, err = time.Parse(time.DateOnly, in.GeldigVan); err != nil {
			return c, nil, gateway.Errorf(gateway.Invalid, "geldigVan: geef een dag, zoals 2026-01-31")
		}
	}
	if len(in.BSNs) > contactpersoon.MaxLeden {
		return c, nil, gateway.Errorf(gateway.Invalid, "bsns: geef 1 tot en met %d inwoners", contactpersoon.MaxLeden)
	}
	for _, s := range in.BSNs {
		bsn, err := h.bsn(s)
		if err != nil {
			return c, nil, err
		}
		c.Leden = append(c.Leden, h.Pseudonyms.Pseudonym(bsn))
		personen = append(personen, h.Pseudonyms.All(bsn))
	}
	c, err = contactpersoon.New(c, h.now())
	return c, personen, err
}

// endContact ends a contact; after that the household can get another.
func (h *Handler) endContact(w http.ResponseWriter, r *http.Request) {
	id, err := idOf(r)
	var c contactpersoon.Contactpersoon
	if err == nil {
		c, err = h.Contacten.Contactpersoon(r.Context(), id)
	}
	if err == nil {
		err = h.record(r.Context(), "contactpersoon-beeindigd", id, contactDetails(c))
	}
	if err == nil {
		err = h.Contacten.BeeindigContact(r.Context(), id, h.now())
	}
	if err == nil {
		c, err = h.Contacten.Contactpersoon(r.Context(), id)
	}
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	edge.WriteJSON(w, r, http.StatusOK, contactJSON(c))
}

// listContacts pages through the register, oldest first; with actief=true those that have not ended.
func (h *Handler) listContacts(w http.ResponseWriter, r *http.Request) {
	actief, err := flag(r, "actief")
	var after string
	var limit int
	if err == nil {
		after, limit, err = page(r)
	}
	var all []contactpersoon.Contactpersoon
	if err == nil {
		all, err = h.Contacten.Contactpersonen(r.Context(), actief, after, limit)
	}
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	out := contactsJSON(all)
	if len(all) == limit {
		out.Volgende = all[limit-1].ID
	}
	edge.WriteJSON(w, r, http.StatusOK, out)
}

// findContacts gives the active contact of one person. Looking is recorded.
func (h *Handler) findContacts(w http.ResponseWriter, r *http.Request) {
	bsn, err := h.person(w, r, "contactpersonen-ingezien")
	var all []contactpersoon.Contactpersoon
	if err == nil {
		all, err = h.Contacten.ContactpersonenVan(r.Context(), h.Pseudonyms.All(bsn))
	}
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	edge.WriteJSON(w, r, http.StatusOK, contactsJSON(all))
}
