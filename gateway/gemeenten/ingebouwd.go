package gemeenten

import (
	"sync"
	"time"
)

// Ingebouwd is the register of the demo regions: enough to try Grensloos out without the national table, and no more.
func Ingebouwd() *Register { return ingebouwd() }

var ingebouwd = sync.OnceValue(func() *Register {
	r, err := New([]Gemeente{
		{Code: "0119", Naam: "Meppel"},
		{Code: "0141", Naam: "Almelo", Begin: on(1913, 1, 1)},
		{Code: "0147", Naam: "Borne"},
		{Code: "0158", Naam: "Haaksbergen"},
		{Code: "0164", Naam: "Hengelo (O)"},
		{Code: "0197", Naam: "Aalten"},
		{Code: "0248", Naam: "Hengelo (Gld)", Opvolger: "1876", Einde: on(2005, 1, 1)},
		{Code: "0289", Naam: "Wageningen"},
		{Code: "0294", Naam: "Winterswijk"},
		{Code: "0355", Naam: "Zeist"},
		{Code: "0361", Naam: "Alkmaar"},
		{Code: "0373", Naam: "Bergen (NH)"},
		{Code: "0383", Naam: "Castricum"},
		{Code: "0392", Naam: "Haarlem"},
		{Code: "0398", Naam: "Heerhugowaard", Opvolger: "1980", Einde: on(2022, 1, 1)},
		{Code: "0399", Naam: "Heiloo"},
		{Code: "0406", Naam: "Huizen"},
		{Code: "0416", Naam: "Langedijk", Opvolger: "1980", Begin: on(1941, 8, 1), Einde: on(2022, 1, 1)},
		{Code: "0450", Naam: "Uitgeest"},
		{Code: "0473", Naam: "Zandvoort"},
		{Code: "0503", Naam: "Delft"},
		{Code: "0545", Naam: "Leerdam", Opvolger: "1961", Einde: on(2019, 1, 1)},
		{Code: "0620", Naam: "Vianen", Opvolger: "1961", Einde: on(2019, 1, 1)},
		{Code: "0707", Naam: "Zederik", Opvolger: "1961", Begin: on(1986, 1, 1), Einde: on(2019, 1, 1)},
		{Code: "0785", Naam: "Goirle"},
		{Code: "0893", Naam: "Bergen (L)"},
		{Code: "0946", Naam: "Nederweert"},
		{Code: "0957", Naam: "Roermond"},
		{Code: "0988", Naam: "Weert"},
		{Code: "1586", Naam: "Oost Gelre", Begin: on(2006, 5, 19)},
		{Code: "1640", Naam: "Leudal", Begin: on(2007, 1, 1)},
		{Code: "1641", Naam: "Maasgouw", Begin: on(2007, 1, 1)},
		{Code: "1669", Naam: "Roerdalen", Begin: on(1993, 1, 1)},
		{Code: "1700", Naam: "Twenterand", Begin: on(2002, 6, 1)},
		{Code: "1711", Naam: "Echt-Susteren", Begin: on(2003, 1, 1)},
		{Code: "1859", Naam: "Berkelland", Begin: on(2005, 1, 1)},
		{Code: "1876", Naam: "Bronckhorst", Begin: on(2005, 1, 1)},
		{Code: "1961", Naam: "Vijfheerenlanden", Begin: on(2019, 1, 1)},
		{Code: "1980", Naam: "Dijk en Waard", Begin: on(2022, 1, 1)},
	})
	if err != nil {
		panic("gemeenten: the built-in register: " + err.Error())
	}
	return r
})

func on(year int, month time.Month, d int) time.Time {
	return time.Date(year, month, d, 0, 0, 0, 0, time.UTC)
}
