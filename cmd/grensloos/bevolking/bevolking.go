// Package bevolking makes the synthetic residents of the demo regions: persons who do not exist, with benefits in the numbers
// that domain.md's demos ask for, written into the kind of database that a gemeente's own application keeps.
//
// Every BSN lies in the block 999000000-999999999, which is used for fictitious persons only. The same gemeente and seed give the
// same persons on every machine, so a demo or a test can name one. It imports nothing of the gateway but the vocabulary.
package bevolking

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Gemeente says what to make. Block keeps the BSNs of several gemeenten apart: each block holds 5,000 persons.
type Gemeente struct {
	Naam      string
	Block     int // 0 to 17
	Lopend    int // running benefits
	Beeindigd int // ended benefits
}

// The gemeenten of the demo regions. Borne has the figures of demo D01: 348 benefits at the start of the cooperation in 2013, 293 of
// them running now. Of the others the running ones are the clients of domain.md 5.3; one in ten more has ended.
var (
	Borne       = Gemeente{Naam: "Borne", Block: 0, Lopend: 293, Beeindigd: 55}
	Hengelo     = Gemeente{Naam: "Hengelo", Block: 1, Lopend: 2140, Beeindigd: 214}
	Haaksbergen = Gemeente{Naam: "Haaksbergen", Block: 2, Lopend: 320, Beeindigd: 32}

	Alkmaar       = Gemeente{Naam: "Alkmaar", Block: 3, Lopend: 2930, Beeindigd: 293}
	BergenNH      = Gemeente{Naam: "Bergen NH", Block: 4, Lopend: 270, Beeindigd: 27}
	Castricum     = Gemeente{Naam: "Castricum", Block: 5, Lopend: 295, Beeindigd: 30}
	Heerhugowaard = Gemeente{Naam: "Heerhugowaard", Block: 6, Lopend: 860, Beeindigd: 86}
	Langedijk     = Gemeente{Naam: "Langedijk", Block: 7, Lopend: 400, Beeindigd: 40}
	Heiloo        = Gemeente{Naam: "Heiloo", Block: 8, Lopend: 200, Beeindigd: 20}
	Uitgeest      = Gemeente{Naam: "Uitgeest", Block: 9, Lopend: 125, Beeindigd: 13}
)

// Samen gives the residents of several gemeenten as one: what a gemeente has after a herindeling.
func Samen(peildatum time.Time, gemeenten ...Gemeente) ([]Persoon, error) {
	var all []Persoon
	for _, g := range gemeenten {
		personen, err := g.Personen(peildatum)
		if err != nil {
			return nil, err
		}
		all = append(all, personen...)
	}
	return all, nil
}

// Persoon is one synthetic resident with at most one benefit and at most one contact person.
type Persoon struct {
	BSN            gateway.BSN
	Voorletters    string
	Tussenvoegsel  string
	Achternaam     string
	Geboortedatum  time.Time
	Straat         string
	Huisnummer     int
	Postcode       string
	Woonplaats     string
	Telefoon       string
	Email          string
	Geheim         bool
	Uitkering      Uitkering
	Contactpersoon *Contactpersoon
}

// Uitkering is a benefit. Einddatum is zero while it runs. Bedrag is in eurocents a month.
type Uitkering struct {
	Regeling     string
	Ingangsdatum time.Time
	Einddatum    time.Time
	Bedrag       int
}

// Contactpersoon is the fixed contact of a person.
type Contactpersoon struct {
	Naam        string
	Organisatie string
	Telefoon    string
	GeldigVan   time.Time
}

const (
	firstBSN  = 999_000_000
	lastBSN   = 999_999_999
	blockSize = 5_000 // persons; a block spans 55,000 numbers, of which one in eleven is valid
)

// Personen makes the gemeente's residents, in a fixed order: first those with a running benefit, then those with an ended one.
func (g Gemeente) Personen(peildatum time.Time) ([]Persoon, error) {
	n := g.Lopend + g.Beeindigd
	if n > blockSize || g.Block < 0 || firstBSN+(g.Block+1)*blockSize*11 > lastBSN {
		return nil, fmt.Errorf("bevolking of %s: %d persons in block %d do not fit the test numbers", g.Naam, n, g.Block)
	}
	//nolint:gosec // G404: synthetic persons must be the same on every machine
	random := rand.New(rand.NewPCG(uint64(g.Block)+1, 2013))
	personen := make([]Persoon, 0, n)
	for number := firstBSN + g.Block*blockSize*11; len(personen) < n; number++ {
		bsn, err := gateway.ParseBSN(fmt.Sprintf("%09d", number))
		if err != nil {
			continue // ten in eleven numbers fail the eleven-test
		}
		personen = append(personen, g.persoon(random, bsn, len(personen), peildatum))
	}
	return personen, nil
}

func (g Gemeente) persoon(random *rand.Rand, bsn gateway.BSN, i int, peildatum time.Time) Persoon {
	pick := func(list []string) string { return list[random.IntN(len(list))] }
	p := Persoon{
		BSN:           bsn,
		Voorletters:   pick(voorletters),
		Achternaam:    pick(achternamen),
		Geboortedatum: day(peildatum.AddDate(-21-random.IntN(46), 0, -random.IntN(365))),
		Straat:        pick(straten),
		Huisnummer:    1 + random.IntN(180),
		Postcode:      fmt.Sprintf("%04d%c%c", 7620+random.IntN(3), 'A'+random.IntN(26), 'A'+random.IntN(26)),
		Woonplaats:    g.Naam,
		Telefoon:      fmt.Sprintf("060%07d", g.Block*blockSize+i), // 06-0 is issued to nobody
		Geheim:        i%97 == 11,                                  // about 1 in 100
	}
	if before, rest, found := strings.Cut(p.Achternaam, "|"); found {
		p.Tussenvoegsel, p.Achternaam = before, rest
	}
	p.Email = fmt.Sprintf("bewoner%d@%s.example", g.Block*blockSize+i, strings.ToLower(strings.ReplaceAll(g.Naam, " ", "-")))
	p.Uitkering = Uitkering{
		Regeling:     pick(regelingen),
		Ingangsdatum: day(peildatum.AddDate(0, -3-random.IntN(120), -random.IntN(28))),
		Bedrag:       60_000 + random.IntN(90_000),
	}
	if i >= g.Lopend {
		p.Uitkering.Einddatum = day(peildatum.AddDate(0, -1-random.IntN(2), -random.IntN(28)))
	}
	if random.IntN(100) < 35 {
		p.Contactpersoon = &Contactpersoon{
			Naam:        pick(voorletters) + " " + strings.ReplaceAll(pick(achternamen), "|", " "),
			Organisatie: pick(organisaties),
			Telefoon:    fmt.Sprintf("0600%06d", 900_000+i),
			GeldigVan:   day(peildatum.AddDate(0, -1-random.IntN(24), 0)),
		}
	}
	return p
}

func day(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC) }

// The parts that names are made of are common words and names; together they point at nobody. A bar splits the prefix off.
var (
	voorletters  = []string{"A.", "A.B.", "C.", "D.J.", "E.", "F.", "G.H.", "H.", "J.", "J.M.", "K.", "L.", "M.", "N.", "P.", "R.", "S.", "T.", "W.", "Y."}
	achternamen  = []string{"de|Vries", "Jansen", "van|Dijk", "Bakker", "Visser", "Smit", "Meijer", "de|Boer", "Mulder", "de|Groot", "Bos", "Vos", "Peters", "Hendriks", "van|Leeuwen", "Dekker", "Brouwer", "de|Wit", "Dijkstra", "Smits", "van|der Meer", "Yilmaz", "Kaya", "El|Amrani", "Nguyen", "Kowalski"}
	straten      = []string{"Teststraat", "Voorbeeldlaan", "Fictieweg", "Proefplein", "Demohof", "Oefenpad"}
	regelingen   = []string{"PW", "PW", "PW", "PW", "PW", "IOAW", "IOAZ"}
	organisaties = []string{"Sociaal team", "Werk en Inkomen", "Wmo-loket", "Jeugdteam"}

	// wetten gives the code of the law that a contact of each organisation works under.
	wetten = map[string]string{"Sociaal team": "WMO", "Werk en Inkomen": "PW", "Wmo-loket": "WMO", "Jeugdteam": "JW"}
)
