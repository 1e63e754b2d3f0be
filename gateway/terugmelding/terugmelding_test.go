package terugmelding_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/terugmelding"
)

var now = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)

func melding() terugmelding.Melding {
	return terugmelding.Melding{
		Transactie: "019a0000-7c11-7d3e-9a55-3f5c0b1e2d44", Dienst: "persoon", Veld: "adres", Reden: terugmelding.Verouderd,
		Doel: "pw-uitkering", Zaak: "Z-1", Zaaktype: "pw-aanvraag", Melder: "00000099900000001000", Bron: "00000099000000147000", Medewerker: "m1.x",
	}
}

func TestNew(t *testing.T) {
	m, err := terugmelding.New(melding(), now)
	if err != nil || m.Status != terugmelding.Onbezorgd || m.ID == "" || !m.Gemeld.Equal(now) || !m.Gewijzigd.Equal(now) {
		t.Fatalf("got %+v, %v", m, err)
	}
	for want, edit := range map[string]func(*terugmelding.Melding){
		"transactie":     func(m *terugmelding.Melding) { m.Transactie = "x" },
		"dienst":         func(m *terugmelding.Melding) { m.Dienst = "" },
		"veld":           func(m *terugmelding.Melding) { m.Veld = "persoon.adres" },
		"reden":          func(m *terugmelding.Melding) { m.Reden = "zomaar" },
		"toelichting: z": func(m *terugmelding.Melding) { m.Reden = terugmelding.Anders },
		"toelichting: h": func(m *terugmelding.Melding) { m.Toelichting = "van 999 993 653" },
		"toelichting: g": func(m *terugmelding.Melding) { m.Toelichting = strings.Repeat("é", terugmelding.MaxTekst+1) },
		"stuurtekens":    func(m *terugmelding.Melding) { m.Toelichting = "a\x1b[2J" },
		"doel":           func(m *terugmelding.Melding) { m.Doel = "PW" },
		"zaak":           func(m *terugmelding.Melding) { m.Zaak = "" },
		"betrokkene":     func(m *terugmelding.Melding) { m.Betrokkene = "999993653" },
		"melder":         func(m *terugmelding.Melding) { m.Melder = "1" },
		"bron":           func(m *terugmelding.Melding) { m.Bron = "" },
	} {
		bad := melding()
		edit(&bad)
		_, err := terugmelding.New(bad, now)
		if gateway.KindOf(err) != gateway.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want Invalid that names it", want, err)
		}
		if err != nil && strings.Contains(err.Error(), "999") {
			t.Errorf("%s: the error repeats the value", want)
		}
	}
	longest := melding()
	longest.Toelichting = strings.Repeat("é", terugmelding.MaxTekst)
	if _, err := terugmelding.New(longest, now); err != nil {
		t.Errorf("the longest text: %v", err)
	}
}

// Every status against every other: the gemeente's acts, and what the melder takes over.
func TestTransitions(t *testing.T) {
	all := []terugmelding.Status{
		"", "klaar", terugmelding.Onbezorgd, terugmelding.Geweigerd, terugmelding.Ontvangen, terugmelding.InOnderzoek, terugmelding.Gecorrigeerd, terugmelding.Ongegrond,
	}
	behandel := map[terugmelding.Status][]terugmelding.Status{
		terugmelding.Ontvangen:   {terugmelding.InOnderzoek, terugmelding.Gecorrigeerd, terugmelding.Ongegrond},
		terugmelding.InOnderzoek: {terugmelding.Gecorrigeerd, terugmelding.Ongegrond},
		terugmelding.Onbezorgd:   {terugmelding.InOnderzoek, terugmelding.Gecorrigeerd, terugmelding.Ongegrond}, // no gemeente has one
	}
	volg := map[terugmelding.Status][]terugmelding.Status{
		terugmelding.Onbezorgd:   {terugmelding.Geweigerd, terugmelding.Ontvangen, terugmelding.InOnderzoek, terugmelding.Gecorrigeerd, terugmelding.Ongegrond},
		terugmelding.Ontvangen:   behandel[terugmelding.Ontvangen],
		terugmelding.InOnderzoek: behandel[terugmelding.InOnderzoek],
	}
	later := now.Add(time.Hour)
	for _, from := range all {
		for _, to := range all {
			m := melding()
			m.Status, m.Gemeld, m.Gewijzigd = from, now, now
			got, err := m.Behandel(to, "gedaan", later)
			want := slices.Contains(behandel[from], to)
			if (err == nil) != want || want && (got.Status != to || got.Antwoord != "gedaan" || !got.Gewijzigd.Equal(later)) || !want && !cmp.Equal(got, m) {
				t.Errorf("Behandel %q to %q: got %q %v, want it %v", from, to, got.Status, err, want)
			}
			got, err = m.Volg(to, "", later)
			want = slices.Contains(volg[from], to) || from == to
			if (err == nil) != want || want && got.Status != to || !want && !cmp.Equal(got, m) {
				t.Errorf("Volg %q to %q: got %q %v, want it %v", from, to, got.Status, err, want)
			}
			if from == to && !got.Gewijzigd.Equal(now) {
				t.Errorf("Volg %q again: it changed", from)
			}
		}
		if from.IsKlaar() != (len(from.Naar()) == 0 && from != "" && from != "klaar") {
			t.Errorf("%q: IsKlaar %v, Naar %v", from, from.IsKlaar(), from.Naar())
		}
	}
	m := melding()
	m.Status = terugmelding.Ontvangen
	if _, err := m.Behandel(terugmelding.Ongegrond, "zie 999993653", now); gateway.KindOf(err) != gateway.Invalid {
		t.Errorf("an answer with a BSN: got %v", err)
	}
	if _, err := m.Volg(terugmelding.Ongegrond, "zie 999993653", now); gateway.KindOf(err) != gateway.Invalid {
		t.Errorf("an answer of the gemeente with a BSN: got %v", err)
	}
}

func TestOntvang(t *testing.T) {
	sent, err := terugmelding.New(melding(), now)
	if err != nil {
		t.Fatal(err)
	}
	who := gateway.Pseudonym("v1." + strings.Repeat("a", 43))
	m, err := sent.Ontvang(who, now.Add(time.Minute))
	if err != nil || m.ID != sent.ID || m.Status != terugmelding.Ontvangen || m.Betrokkene != who || !m.Gemeld.Equal(now.Add(time.Minute)) {
		t.Errorf("got %+v, %v", m, err)
	}
	if _, err := sent.Ontvang("", now); err == nil {
		t.Error("taken in without a person")
	}
}
