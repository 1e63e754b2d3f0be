package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway/bevraging"
)

const (
	eventGevraagd = `event: gevraagd
data: [{"oin":"00000099000000147000","gemeentecode":"0147","naam":"Borne","grond":"zaak"},{"oin":"00000099000000164000","gemeentecode":"0164","naam":"Hen\u001bgelo","grond":"verhuizing"}]

`
	eventHengelo = `event: gemeente
data: {"oin":"00000099000000164000","gemeentecode":"0164","gevraagdAls":["0163"],"naam":"Hengelo","grond":"verhuizing","geheim":false,"diensten":[{"dienst":"uitkering","uitkomst":"te-laat","gevraagd":["loopt"],"reden":{"code":"te-laat","tekst":"niet op tijd"},"rijen":[],"onthouden":[]}]}

`
	eventBorne = `event: gemeente
data: {"oin":"00000099000000147000","gemeentecode":"0147","naam":"Borne","grond":"zaak","transactie":"` + cliTransaction + `","geheim":true,"diensten":[{"dienst":"persoon","uitkomst":"beantwoord","gevraagd":["naam","email"],"bron":"brp","grondslag":"Pw art. 7","rijen":[{"peildatum":"2026-11-23","waarden":{"naam":"Jansen"}}],"onthouden":[{"velden":["email"],"reden":{"code":"geweigerd","tekst":"niet verstrekt"}}]},{"dienst":"uitkering","uitkomst":"geen-gegevens","gevraagd":["loopt"],"rijen":[],"onthouden":[]}]}

`
	eventKlaar = `event: klaar
data: {"doel":"pw-uitkering","zaak":"Z-1","gevraagdOp":"2026-11-23T09:30:00Z","volledig":false,"aantal":2}

`
)

// What comes in is printed as it comes, each gemeente in full; and a stream that was cut is never taken for an answer.
func TestVraagStream(t *testing.T) {
	for name, tc := range map[string]struct {
		stream string
		code   int
		want   []string // in this order
		not    string
	}{
		"not whole": {
			eventGevraagd + eventHengelo + eventBorne + eventKlaar, exitIncomplete,
			[]string{"doel pw-uitkering, zaak Z-1\n", "Hengelo\n", "gevraagd als 0163, nu 0164", "te laat", "Borne, transactie " + cliTransaction, "GEHEIM", "Jansen", "volledig: nee", "het antwoord is niet volledig"},
			"",
		},
		"whole":       {eventGevraagd + eventBorne + strings.Replace(strings.Replace(eventKlaar, "false", "true", 1), "2}", "1}", 1), 0, []string{"Jansen", "volledig: ja"}, "niet volledig"},
		"cut off":     {eventGevraagd + eventBorne, 1, []string{"Jansen", "broke off before its end"}, "volledig:"},
		"one missing": {eventGevraagd + eventBorne + eventKlaar, 1, []string{"Jansen", "broke off before its end"}, "volledig:"},
		"cut in two":  {eventGevraagd + eventBorne[:200], 1, []string{"answer"}, "volledig:"},
		"nothing":     {"", 1, []string{"broke off before its end"}, "volledig:"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newCLIPeer(t, uwiID, "uwi")
			p.answer, p.media = tc.stream, "text/event-stream"
			code, out, errs := cli(t, cliBSN+"\n", "vraag", "-c", p.config, "--doel", "pw-uitkering", "--zaak", "Z-1", "--zaaktype", "pw-aanvraag",
				"--gemeente", "0147", "--gemeente", "GM0163=verhuizing", "--peildatum", "2021-12-31", "--bsn-stdin")
			if code != tc.code {
				t.Errorf("exit %d, want %d: %s", code, tc.code, errs)
			}
			rest := out + errs
			for _, want := range tc.want {
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Errorf("no %q, or not in its place, in:\n%s%s", want, out, errs)
				}
				rest = after
			}
			if tc.not != "" && strings.Contains(out+errs, tc.not) {
				t.Errorf("%q in:\n%s%s", tc.not, out, errs)
			}
			want := `POST /bevragingen {"bsn":"` + cliBSN + `","doel":"pw-uitkering","gemeenten":["0147",{"gemeente":"GM0163","grond":"verhuizing"}],"peildatum":"2021-12-31","zaak":"Z-1","zaaktype":"pw-aanvraag"}`
			if diff := cmp.Diff([]string{want}, p.got); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

// screen is what a terminal shows of what was written to it: cursor up, erase line, line feed.
func screen(written string) []string {
	var lines []string
	at := 0
	for len(written) > 0 {
		switch {
		case strings.HasPrefix(written, "\x1b[2A"):
			at, written = at-2, written[4:]
			continue
		case strings.HasPrefix(written, "\r\x1b[2K"):
			lines[at], written = "", written[5:]
			continue
		}
		for at >= len(lines) {
			lines = append(lines, "")
		}
		text, rest, _ := strings.Cut(written, "\n")
		lines[at] += text
		at, written = at+1, rest
		for at >= len(lines) {
			lines = append(lines, "")
		}
	}
	return lines
}

func TestVraagTable(t *testing.T) {
	var out bytes.Buffer
	table := &tabel{w: &out, width: 60, height: 24, start: time.Now().Add(-1500 * time.Millisecond)}
	events := strings.NewReader(eventGevraagd + eventHengelo)
	if _, err := readEvents(events, "pw-uitkering", "Z-1", table); err == nil {
		t.Error("a stream without its last event: got no error")
	}
	want := []string{
		"doel pw-uitkering, zaak Z-1: 2 gevraagd",
		"  0147 Borne                zaak       ...",
		"  0164 Hen gelo             verhuizing te-laat (1.5 s)",
	}
	if diff := cmp.Diff(want, screen(out.String())[:3]); diff != "" {
		t.Errorf("while one is out (-want +got):\n%s", diff)
	}
	out.Reset()
	a, err := readEvents(strings.NewReader(eventGevraagd+eventHengelo+eventBorne+eventKlaar), "pw-uitkering", "Z-1", table)
	if err != nil {
		t.Fatal(err)
	}
	if a.Gemeenten[0].Naam != "Borne" || a.Gemeenten[1].Naam != "Hengelo" || a.Volledig {
		t.Errorf("the answer: got %+v, want the order of the question", a)
	}
	want[1] = "  0147 Borne                zaak       1 beantwoord, 1 geen" // cut at the width
	if diff := cmp.Diff(want, screen(out.String())[:3]); diff != "" {
		t.Errorf("when all is in (-want +got):\n%s", diff)
	}
	out.Reset()
	if err := table.klaar(a); err != nil || !strings.Contains(out.String(), "onthouden email") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("the whole answer: %v\n%s", err, out.String())
	}
	out.Reset()
	small := &tabel{w: &out, width: 80, height: 3, start: time.Now()}
	if _, err := readEvents(strings.NewReader(eventGevraagd+eventHengelo+eventBorne+eventKlaar), "d", "z", small); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "\x1b") || strings.Count(out.String(), "\n") != 3 {
		t.Errorf("more gemeenten than lines: got %q, want a line as each answers", out.String())
	}
	if got, want := kort(bevraging.GemeenteAntwoord{Geheim: true, Diensten: a.Gemeenten[0].Diensten}), "1 beantwoord, 1 geen-gegevens, 1 velden onthouden, GEHEIM"; got != want {
		t.Errorf("in short: got %q, want %q", got, want)
	}
}
