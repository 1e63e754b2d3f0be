package bevraging_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/grensloos/grensloos/gateway/bevraging"
)

// Whatever an application sends: an answer that names every dienst, or a refusal; and a refusal sends nothing and repeats no BSN.
func FuzzVraag(f *testing.F) {
	f.Add(question)
	f.Add(strings.Replace(question, `"velden":{"uitkering":["soort","loopt"]},`, `"diensten":["persoon"],`, 1))
	f.Add(`{"doel":"handhaving-fraude","zaak":"Z","zaaktype":"z","bsn":"999993653","gemeenten":["GM147"]}`)
	f.Add(`{"velden":{"999993653":["999993653"]}}`)
	f.Fuzz(func(t *testing.T, body string) {
		x := newFixture(t)
		x.outway.body = beantwoord
		status, answer := x.ask(body)
		switch status {
		case http.StatusOK:
			var a bevraging.Antwoord
			if err := json.Unmarshal([]byte(answer), &a); err != nil || len(a.Gemeenten) == 0 || len(a.Gemeenten[0].Diensten) == 0 {
				t.Errorf("an answer that says nothing: %s", answer)
			}
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			if len(x.outway.sent) != 0 || strings.Contains(answer, bsn) {
				t.Errorf("sent %d, answered %s", len(x.outway.sent), answer)
			}
		default:
			t.Errorf("status %d: %s", status, answer)
		}
	})
}

// Whatever a gemeente answers: every dienst that was asked gets an outcome, data only with a source, and nothing else passes.
func FuzzAntwoord(f *testing.F) {
	f.Add(200, beantwoord)
	f.Add(200, strings.Replace(beantwoord, "beantwoord", "geen-gegevens", 1))
	f.Add(403, `{"code":"geweigerd"}`)
	f.Add(503, `{"code":"bron-onbereikbaar"}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		x := newFixture(t)
		x.outway.status, x.outway.body = status, body
		a := x.answer(question)
		for _, d := range a.Gemeenten[0].Diensten {
			data := len(d.Rijen) > 0
			if d.Dienst != "uitkering" || data != (d.Uitkomst == bevraging.Beantwoord) || data && (d.Bron == "" || d.Grondslag == "") {
				t.Errorf("got %+v", d)
			}
			if d.Uitkomst != bevraging.Beantwoord && d.Uitkomst != bevraging.GeenGegevens && (d.Reden == nil || a.Volledig) {
				t.Errorf("%s without a reason, or volledig", d.Uitkomst)
			}
		}
	})
}
