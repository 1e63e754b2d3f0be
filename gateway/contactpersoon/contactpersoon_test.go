package contactpersoon_test

import (
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contactpersoon"
)

var (
	now  = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)
	lid  = gateway.Pseudonym("v1." + strings.Repeat("a", 43))
	lid2 = gateway.Pseudonym("v1." + strings.Repeat("b", 43))
)

func contact() contactpersoon.Contactpersoon {
	return contactpersoon.Contactpersoon{
		Huishouden: "HH-12", Leden: []gateway.Pseudonym{lid, lid2}, Naam: "J. Jansen", Organisatie: "Sociaal team Borne",
		Telefoon: "074 000 00 00", Wet: "Wmo2015",
	}
}

func TestNew(t *testing.T) {
	c, err := contactpersoon.New(contact(), now)
	if want := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC); err != nil || c.ID == "" || !c.GeldigVan.Equal(want) || !c.IsActief() {
		t.Fatalf("got %+v, %v", c, err)
	}
	bare := contact()
	bare.Telefoon, bare.Wet = "", ""
	if _, err := contactpersoon.New(bare, now); err != nil {
		t.Errorf("without telephone and law: %v", err)
	}
	for want, edit := range map[string]func(*contactpersoon.Contactpersoon){
		"huishouden":        func(c *contactpersoon.Contactpersoon) { c.Huishouden = "" },
		"en geen BSN":       func(c *contactpersoon.Contactpersoon) { c.Huishouden = "999993653" },
		"bsns: geef":        func(c *contactpersoon.Contactpersoon) { c.Leden = nil },
		"bsns: noem":        func(c *contactpersoon.Contactpersoon) { c.Leden = []gateway.Pseudonym{lid, lid} },
		"leden":             func(c *contactpersoon.Contactpersoon) { c.Leden = []gateway.Pseudonym{"999993653"} },
		"naam: geef de":     func(c *contactpersoon.Contactpersoon) { c.Naam = " J" },
		"naam":              func(c *contactpersoon.Contactpersoon) { c.Naam = "J 999993653" },
		"organisatie":       func(c *contactpersoon.Contactpersoon) { c.Organisatie = "" },
		"telefoon: geef":    func(c *contactpersoon.Contactpersoon) { c.Telefoon = "bel maar" },
		"telefoon":          func(c *contactpersoon.Contactpersoon) { c.Telefoon = "999993653" },
		"wet":               func(c *contactpersoon.Contactpersoon) { c.Wet = "AVG" },
		"geldigVan":         func(c *contactpersoon.Contactpersoon) { c.GeldigVan = now.AddDate(0, 0, 1) },
		"geef 1 tot en met": func(c *contactpersoon.Contactpersoon) { c.Leden = make([]gateway.Pseudonym, contactpersoon.MaxLeden+1) },
	} {
		bad := contact()
		edit(&bad)
		if _, err := contactpersoon.New(bad, now); gateway.KindOf(err) != gateway.Invalid || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "999993653") {
			t.Errorf("%s: got %v, want Invalid that names it and no value", want, err)
		}
	}
}

func TestBeeindig(t *testing.T) {
	c := contact()
	c.Beeindig(now)
	c.Beeindig(now.Add(time.Hour))
	if c.IsActief() || !c.Beeindigd.Equal(now) {
		t.Errorf("ended at %v, want the first moment", c.Beeindigd)
	}
}
