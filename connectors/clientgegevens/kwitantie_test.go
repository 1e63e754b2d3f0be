package clientgegevens_test

import (
	"crypto"
	"crypto/x509"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// verifieer holds the kwitantie of an answer to the question, as the asker's outway does.
func (w *wereld) verifieer(g gateway.Grant, id gateway.TransactionID, rec *httptest.ResponseRecorder) (*verklaring.Kwitantie, error) {
	w.t.Helper()
	return verklaring.ExpectKwitantie{
		Audience: uwi, Grant: g, Transactie: id, Now: nu, Skew: time.Minute,
		VerifyChain: func(chain []*x509.Certificate, _ time.Time) (gateway.Peer, error) { return gateway.PeerFrom(chain[0]) },
	}.Verify(rec.Header().Get(verklaring.KwitantieHeader))
}

func TestKwitantieOfAnAnswer(t *testing.T) {
	tests := []struct {
		name, body string
		uitkomst   map[gateway.Dienst]string
		velden     gateway.Velden
		aantal     int
	}{
		{
			name: "fields of one dienst", body: `{"bsn":"999990019","velden":{"persoon":["naam"]}}`,
			uitkomst: map[gateway.Dienst]string{"persoon": "beantwoord"},
			velden:   gateway.Velden{"persoon": {"naam"}}, aantal: 1,
		},
		{
			name: "a field withheld", body: `{"bsn":"999990019","velden":{"persoon":["naam","adres"],"uitkering":["loopt"]}}`,
			uitkomst: map[gateway.Dienst]string{"persoon": "beantwoord", "uitkering": "beantwoord"},
			velden:   gateway.Velden{"persoon": {"naam"}, "uitkering": {"loopt"}}, aantal: 3,
		},
		{
			name: "nobody knows", body: `{"bsn":"999990032","velden":{"persoon":["naam"]}}`,
			uitkomst: map[gateway.Dienst]string{"persoon": "geen-gegevens"},
			velden:   nil, aantal: 0,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := nieuw(t)
			v := w.vraag(tt.body)
			rec := w.doe(v)
			a := lees(t, rec)
			if n := len(rec.Header().Values(verklaring.KwitantieHeader)); n != 1 {
				t.Fatalf("%d kwitanties, want 1", n)
			}
			k, err := w.verifieer(v.grant, a.Transactie, rec)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.uitkomst, k.Uitkomst); diff != "" {
				t.Errorf("uitkomst -want +got\n%s", diff)
			}
			rijen := 0
			for _, d := range a.Diensten {
				rijen += len(d.Rijen)
			}
			if rijen != tt.aantal {
				t.Errorf("the answer has %d records, want %d", rijen, tt.aantal)
			}
			if err := k.Matches(tt.velden, tt.aantal); err != nil {
				t.Error(err)
			}
			_, parsed, err := verklaring.ParseKwitantie(rec.Header().Get(verklaring.KwitantieHeader))
			if err != nil {
				t.Fatal(err)
			}
			for _, value := range []string{bekend, onbekend, "naam", "loopt"} {
				if strings.Contains(string(parsed.Payload()), value) {
					t.Errorf("the kwitantie holds %q: %s", value, parsed.Payload())
				}
			}
		})
	}
}

// broken is a key that can't sign now, as one that lives elsewhere.
type broken struct{ crypto.Signer }

func (broken) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the vault is sealed")
}

func TestNoAnswerWithoutKwitantie(t *testing.T) {
	w := nieuw(t)
	v := w.vraag(`{"bsn":"999990019"}`)
	w.h.Sign = signs(&jose.Signer{Key: broken{w.gemeente.Key}, Cert: w.gemeente.Cert}, verklaring.VoorKwitantie, nu)
	rec := w.doe(v)
	if rec.Code != 500 || strings.Contains(rec.Body.String(), "vault") || strings.Contains(rec.Body.String(), "rijen") || rec.Header().Get(verklaring.KwitantieHeader) != "" {
		t.Errorf("answer %d %s", rec.Code, rec.Body)
	}
	if w.log.Count(audit.LDV, "") != 1 {
		t.Error("values were read and there is no line of it")
	}
}

func TestNoKwitantieOnARefusal(t *testing.T) {
	w := nieuw(t)
	v := w.vraag(`{"bsn":"999990019","velden":{"persoon":["adres"]}}`)
	if rec := w.doe(v); rec.Code != 403 || rec.Header().Get(verklaring.KwitantieHeader) != "" {
		t.Errorf("answer %d with kwitantie %q", rec.Code, rec.Header().Get(verklaring.KwitantieHeader))
	}
}
