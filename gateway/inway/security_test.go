package inway

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// A verklaring is a stranger's text that goes into our records: none of its claims can bring a BSN along.
func TestNoBSNByWayOfTheVerklaring(t *testing.T) {
	const bsn = "999990019" // passes the eleven-test
	for name, change := range map[string]func(*verklaring.Verklaring){
		"zaak":          func(v *verklaring.Verklaring) { v.Zaak = "Z-" + bsn },
		"zaaktype":      func(v *verklaring.Verklaring) { v.Zaaktype = bsn },
		"sub":           func(v *verklaring.Verklaring) { v.Subject = "m1." + bsn },
		"rol":           func(v *verklaring.Verklaring) { v.Rollen = []string{"klantmanager", "over " + bsn} },
		"rol, too long": func(v *verklaring.Verklaring) { v.Rollen = []string{"klantmanager", strings.Repeat("x", 150)} },
	} {
		r := newRig(t)
		if a := r.do(call{verklaring: change}); a.status != http.StatusForbidden || a.header.Get(edge.HeaderErrorCode) != CodeVerklaring || strings.Contains(a.body, bsn) {
			t.Errorf("%s: got %d %s %s, want it refused, and not repeated", name, a.status, a.header.Get(edge.HeaderErrorCode), a.body)
		}
		for _, rec := range r.log.Records() {
			if strings.Contains(string(rec.Body), bsn) {
				t.Errorf("%s: in the record %s", name, rec.Body)
			}
		}
		if len(r.served()) != 0 {
			t.Errorf("%s: the service was called", name)
		}
	}
}

// Nothing that a peer signs for one use passes for another, whoever signed it: what Borne signs when it asks, contracts or answers
// is no access token of Borne, and a token or contract is no verklaring.
func TestSignedThingsAreNotMixedUp(t *testing.T) {
	r := newRig(t)
	req, _ := r.request(call{})
	token := strings.TrimPrefix(req.Header.Get(edge.HeaderAuthorization), "Bearer ")
	_, parsed, err := accesstoken.Parse(token)
	must(t, err)
	statement := req.Header.Get(edge.HeaderVerklaring)
	_, parsedStatement, err := verklaring.Parse(statement)
	must(t, err)
	byBorne := func(payload []byte, typ string) string {
		jws, err := jose.Sign(r.borne.signer, payload, jose.Header{Typ: typ})
		must(t, err)
		return jws
	}
	signature, err := contract.Sign(r.borne.signer, gateway.ContentHash("$1$1$"+strings.Repeat("A", 86)), contract.Accept, r.now())
	must(t, err)
	for name, jws := range map[string]string{
		"the verklaring":                              statement,
		"a verklaring of Borne itself":                byBorne(parsedStatement.Payload(), verklaring.Typ),
		"the claims of a token in a verklaring":       byBorne(parsed.Payload, verklaring.Typ),
		"the claims of a token in a kwitantie":        byBorne(parsed.Payload, "kwitantie+jwt"),
		"the claims of a token as something unknown":  byBorne(parsed.Payload, "JOSE"),
		"Borne's signature on a contract":             signature,
		"the token with a dot more":                   token + ".",
		"the token without its signature":             token[:strings.LastIndexByte(token, '.')+1],
		"the token, its signature in other base64":    token + "=",
		"the token twice in one header":               token + ", " + token,
		"the token with another scheme before Bearer": "Basic " + token,
	} {
		a := r.do(call{change: set(edge.HeaderAuthorization, "Bearer "+jws)})
		if a.status != http.StatusUnauthorized || a.header.Get(edge.HeaderErrorCode) != accesstoken.CodeInvalid {
			t.Errorf("%s as access token: got %d %s", name, a.status, a.header.Get(edge.HeaderErrorCode))
		}
	}
	sign := func(by identity, typ string, chain bool) func(payload []byte) string {
		return func(payload []byte) string {
			jws, err := jose.Sign(by.signer, payload, jose.Header{Typ: typ, X5C: chain})
			must(t, err)
			return jws
		}
	}
	for name, again := range map[string]func(payload []byte) string{
		"the token": func([]byte) string { return token }, "no typ": sign(r.uwi, "", true), "typ JWT": sign(r.uwi, "JWT", true),
		"typ in capitals": sign(r.uwi, "VERKLARING+JWT", true), "without x5c": sign(r.uwi, verklaring.Typ, false),
		"signed by Borne, which it is for": sign(r.borne, verklaring.Typ, true),
	} {
		req, id := r.request(call{})
		_, own, err := verklaring.Parse(req.Header.Get(edge.HeaderVerklaring))
		must(t, err)
		req.Header.Set(edge.HeaderVerklaring, again(own.Payload()))
		resp, err := r.client(nil).Do(req)
		must(t, err)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		must(t, err)
		if resp.StatusCode != http.StatusForbidden || resp.Header.Get(edge.HeaderErrorCode) != CodeVerklaring {
			t.Errorf("%s as verklaring (%s): got %d %s", name, id, resp.StatusCode, body)
		}
	}
	if n := len(r.served()); n != 0 {
		t.Errorf("the service was called %d times", n)
	}
	if a := r.do(call{}); a.status != http.StatusOK {
		t.Errorf("the honest one: got %d %s: the rest proves nothing", a.status, a.body)
	}
}

// What is not for the service does not reach it, in whatever spelling, and what a client can nominate away or add behind is refused.
func TestHeaderConfusion(t *testing.T) {
	r := newRig(t)
	for name, change := range map[string]func(*http.Request){
		"underscores":                func(q *http.Request) { q.Header["Fsc_Authorization"] = []string{"Bearer x"} },
		"a role":                     set("Grensloos-Rol", "beheerder"),
		"a role with underscores":    func(q *http.Request) { q.Header["grensloos_rol"] = []string{"beheerder"} },
		"a grant hash":               set(edge.HeaderGrantHash, "$1$3$x"),
		"a zaak":                     set(edge.HeaderZaak, "Z-2"),
		"an answer of our own":       set(edge.HeaderVerstuurd, "nee"),
		"a kwitantie of the asker's": set(edge.HeaderKwitantie, "x.y.z"),
	} {
		a := r.do(call{change: change})
		if a.status != http.StatusOK {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
			continue
		}
		all := r.served()
		for header := range all[len(all)-1].header {
			switch lower := strings.ReplaceAll(strings.ToLower(header), "_", "-"); {
			case header == edge.HeaderAuthorization, header == edge.HeaderTransaction, header == edge.HeaderVerklaring:
			case strings.HasPrefix(lower, "fsc-"), strings.HasPrefix(lower, "grensloos-"):
				t.Errorf("%s: %s reached the service", name, header)
			}
		}
	}
	before := len(r.served())
	for name, change := range map[string]func(*http.Request){
		"Connection names a header of ours":   set("Connection", "keep-alive, fsc-transaction-id"),
		"Connection names it with underscore": set("Connection", "Grensloos_Verklaring"),
		"a trailer of ours": func(q *http.Request) {
			q.Trailer = http.Header{edge.HeaderVerklaring: {"x.y.z"}}
			q.ContentLength = -1
		},
		"two transaction ids": func(q *http.Request) { q.Header.Add(edge.HeaderTransaction, q.Header.Get(edge.HeaderTransaction)) },
		"two verklaringen":    func(q *http.Request) { q.Header.Add(edge.HeaderVerklaring, q.Header.Get(edge.HeaderVerklaring)) },
		"two traceparents":    func(q *http.Request) { q.Header["Traceparent"] = []string{"00-1", "00-2"} },
	} {
		if a := r.do(call{body: "{}", change: change}); a.status != http.StatusBadRequest {
			t.Errorf("%s: got %d %s, want 400", name, a.status, a.body)
		}
	}
	if n := len(r.served()) - before; n != 0 {
		t.Errorf("the service was called %d times", n)
	}
}

// However many ask at once under one transaction id, one is served, and only its records are those of a question.
func TestOneTransactionIsServedOnce(t *testing.T) {
	r := newRig(t)
	first, id := r.request(call{})
	caller := r.client(nil)
	var all sync.WaitGroup
	statuses := make(chan int, 40)
	for range 40 {
		q := first.Clone(t.Context())
		q.Body = http.NoBody
		all.Go(func() {
			resp, err := caller.Do(q)
			if err != nil {
				statuses <- 0
				return
			}
			defer resp.Body.Close()
			_, _ = io.Copy(io.Discard, resp.Body)
			statuses <- resp.StatusCode
		})
	}
	all.Wait()
	close(statuses)
	got := map[int]int{}
	for s := range statuses {
		got[s]++
	}
	if got[http.StatusOK] != 1 || got[http.StatusBadRequest] != 39 {
		t.Errorf("statuses: got %v, want one 200 and 39 times 400", got)
	}
	claimed := 0
	for _, rec := range r.log.Records() {
		if rec.Soort == audit.Afloop && strings.Contains(string(rec.Body), `"geclaimd":true`) {
			claimed++
		}
	}
	if claimed != 39 {
		t.Errorf("%d aflopen say that the id is what the caller claims, want 39", claimed)
	}
	if n := r.counts(); n[audit.Transactie] != 1 || n[audit.ADL] != 1 || n[audit.Afloop] != 40 || len(r.served()) != 1 {
		t.Errorf("records of %s: got %v and %d calls, want one transactie, one adl, 40 aflopen, one call", id, n, len(r.served()))
	}
}
