package clientgegevens_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/grensloos/grensloos/connectors/clientgegevens"
)

// Where only a partner needs consent, a college's question does not depend on the register of consents.
func TestConsentIsAskedInItsDirectionOnly(t *testing.T) {
	for name, tc := range map[string]struct {
		partner bool
		status  int
		asked   int
	}{"namens": {false, http.StatusOK, 0}, "partner": {true, http.StatusServiceUnavailable, 1}} {
		w := nieuw(t)
		w.register.fout = errors.New("register away")
		g := w.grant("casusregie-contact", borne)
		if tc.partner {
			g = w.grant("casusregie-contact", "")
		}
		rec := w.doe(verzoek{grant: g, zaaktype: "casusregie", body: `{"bsn":"999990019","velden":{"contactpersoon":["naam"]}}`})
		if rec.Code != tc.status || w.register.vraag != tc.asked || tc.partner && code(rec) != clientgegevens.CodeRegister {
			t.Errorf("%s: got %d %s after %d questions to the register, want %d after %d", name, rec.Code, rec.Body, w.register.vraag, tc.status, tc.asked)
		}
	}
}
