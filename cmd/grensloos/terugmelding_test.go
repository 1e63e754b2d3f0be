package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/bevraging"
)

// made reads a report as its maker sees it; asked of the gemeente.
func (r *running) made(p *regionPeer, id string, args ...string) bevraging.TerugmeldingJSON {
	r.t.Helper()
	var m bevraging.TerugmeldingJSON
	out, err := r.grensloos(p, "", append([]string{"terugmelding", "toon", id, "--als", "wim", "--json"}, args...)...)
	if code, ok := errors.AsType[exit](err); err != nil && (!ok || code.code != exitIncomplete) {
		r.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), &m); err != nil {
		r.t.Fatalf("%s: %v", out, err)
	}
	return m
}

// received reads a report as the gemeente sees it.
func (r *running) received(p *regionPeer, id string) beheer.TerugmeldingJSON {
	r.t.Helper()
	var m beheer.TerugmeldingJSON
	if err := json.Unmarshal([]byte(r.must(p, "", "terugmelding", "toon", id, "--ontvangen", "--json")), &m); err != nil {
		r.t.Fatal(err)
	}
	return m
}

// D02: a doubtful address, answered by the gemeente whose it is; both sides see the status.
func TestTerugmeldingCrossesTheBorder(t *testing.T) {
	b, u := borne(t), uwi()
	r := startRegion(t, b, u)
	contract := r.contract(u, b, "--doel", "pw-uitkering", "--namens", string(b.ID))
	client := clientOf(t, 0)
	g := r.ask(u, testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: client})
	if got, want := outcomes(g), "persoon=beantwoord uitkering=beantwoord"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	meld := func(args ...string) (string, error) {
		out, err := r.grensloos(u, "", append([]string{"terugmelding", "meld", string(g.Transactie), "--als", "wim", "--dienst", "persoon", "--reden", "verouderd"}, args...)...)
		return strings.TrimSpace(out), err
	}
	id, err := meld("--veld", "adres", "--toelichting", "post komt retour")
	if err != nil {
		t.Fatal(err)
	}

	t.Run("both sides have it, by pseudonym", func(t *testing.T) {
		if m := r.made(u, id, "--bewaard"); m.Status != "ontvangen" || m.Gemeente != b.ID || m.Zaak != "Z-1" || m.Doel != "pw-uitkering" {
			t.Errorf("at the asker: %+v", m)
		}
		m := r.received(b, id)
		if m.Status != "ontvangen" || m.Melder != u.ID || m.Veld != "adres" || m.Toelichting != "post komt retour" || !strings.HasPrefix(string(m.Betrokkene), "v1.") {
			t.Errorf("at the gemeente: %+v", m)
		}
		if raw, _ := json.Marshal(m); strings.Contains(string(raw), client) {
			t.Error("a BSN shows")
		}
		if list := r.must(b, "", "terugmelding", "list", "--ontvangen", "--open"); !strings.Contains(list, id) {
			t.Errorf("not in the list of the gemeente:\n%s", list)
		}
	})
	t.Run("the status flows back when it is asked, and each question leaves its records", func(t *testing.T) {
		r.must(b, "", "terugmelding", "behandel", id, "--status", "in-onderzoek")
		if m := r.made(u, id, "--bewaard"); m.Status != "ontvangen" {
			t.Errorf("without asking: %s", m.Status)
		}
		if m := r.made(u, id); m.Status != "in-onderzoek" {
			t.Errorf("asked: %s", m.Status)
		}
		r.must(b, "", "terugmelding", "behandel", id, "--status", "gecorrigeerd", "--antwoord", "adres aangepast")
		if m := r.made(u, id); m.Status != "gecorrigeerd" || m.Antwoord != "adres aangepast" {
			t.Errorf("asked again: %+v", m)
		}
		if _, err := r.grensloos(b, "", "terugmelding", "behandel", id, "--status", "ongegrond"); err == nil || !strings.Contains(err.Error(), "409") {
			t.Errorf("an end that changes: %v", err)
		}
		if out := r.must(u, "", "terugmelding", "list", "--als", "wim"); !strings.Contains(out, "gecorrigeerd") {
			t.Errorf("list of the asker:\n%s", out)
		}
	})
	t.Run("a colleague does not see it, beheer does", func(t *testing.T) {
		if _, err := r.grensloos(u, "", "terugmelding", "toon", id, "--bewaard", "--als", "els"); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("colleague: %v", err)
		}
		r.must(u, "", "terugmelding", "toon", id, "--bewaard", "--als", "els", "--rol", "beheer")
	})
	t.Run("of a field that was not in the answer, and of a transaction of nobody's, nothing is taken", func(t *testing.T) {
		out, err := r.grensloos(u, "", "terugmelding", "meld", string(g.Transactie), "--als", "wim", "--dienst", "persoon", "--veld", "email", "--reden", "onjuist")
		if code, ok := errors.AsType[exit](err); !ok || code.code != exitIncomplete {
			t.Fatalf("got %v, want exit %d", err, exitIncomplete)
		}
		if m := r.made(u, strings.TrimSpace(out), "--bewaard"); m.Status != "geweigerd" {
			t.Errorf("a field that was not given: %s", m.Status)
		}
		if _, err := r.grensloos(u, "", "terugmelding", "meld", "019a0000-7c11-7d3e-9a55-3f5c0b1e2d44", "--dienst", "persoon", "--veld", "adres", "--reden", "onjuist"); err == nil || !strings.Contains(err.Error(), "geen beantwoorde vraag") {
			t.Errorf("a transaction that never was: %v", err)
		}
		if list := r.must(b, "", "terugmelding", "list", "--ontvangen"); strings.Count(list, "persoon.") != 1 {
			t.Errorf("the gemeente holds more than the one report:\n%s", list)
		}
		if _, err := meld("--veld", "adres", "--toelichting", "van "+client); err == nil || !strings.Contains(err.Error(), "BSN") {
			t.Errorf("a BSN in the text: %v", err)
		}
	})
	t.Run("a role that the purpose does not know reports nothing; it is sent when one does", func(t *testing.T) {
		out, err := r.grensloos(u, "", "terugmelding", "meld", string(g.Transactie), "--als", "wim", "--rol", "portier", "--dienst", "persoon", "--veld", "naam", "--reden", "onjuist")
		if err == nil {
			t.Fatal("sent")
		}
		late := strings.TrimSpace(out)
		if m := r.made(u, late, "--bewaard"); m.Status != "onbezorgd" {
			t.Errorf("got %s", m.Status)
		}
		if m := r.made(u, late); m.Status != "ontvangen" {
			t.Errorf("sent again: got %+v", m)
		}
	})
	t.Run("the gemeente away: kept, and sent when it is back; after a restart all is there", func(t *testing.T) {
		r.stop(b)
		out, err := meld("--veld", "adres")
		if code, ok := errors.AsType[exit](err); !ok || code.code != exitIncomplete {
			t.Fatalf("got %q %v, want exit %d", out, err, exitIncomplete)
		}
		r.start(b)
		if m := r.made(u, out); m.Status != "ontvangen" {
			t.Errorf("sent again: %+v", m)
		}
		if m := r.received(b, id); m.Status != "gecorrigeerd" {
			t.Errorf("the first report after a restart: %s", m.Status)
		}
	})
	t.Run("without the contract nothing is told", func(t *testing.T) {
		r.must(b, "", "contract", "revoke", contract)
		r.await("the revocation to arrive", func() bool { return r.state(u, contract) == "ingetrokken" })
		out, err := meld("--veld", "adres")
		if err == nil || !strings.Contains(err.Error(), "geen-contract") {
			t.Errorf("got %v, want geen-contract", err)
		}
		if m := r.made(u, out, "--bewaard"); m.Status != "onbezorgd" {
			t.Errorf("got %s", m.Status)
		}
	})
}
