package main

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/edge"
)

// The word of the inway for who asks is not enough: a certificate that is not of the group now, whatever OIN stands in it, gets
// nothing of clientgegevens.
func TestAdmissionJudgesTheAsker(t *testing.T) {
	const asker gateway.PeerID = "00000099900000001000"
	dir := t.TempDir()
	issue := func(pki string) (chain []*x509.Certificate, serial string) {
		t.Helper()
		made, err := certs.Issue(filepath.Join(dir, pki), certs.Request{OIN: asker, Name: "Asker", Hosts: []string{"localhost"}, Out: filepath.Join(dir, "out"), Force: true})
		if err != nil {
			t.Fatal(err)
		}
		id, err := certs.LoadIdentity(made.CertFile, made.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		return id.Chain(), made.Serial
	}
	for _, pki := range []string{"group", "forged"} {
		if err := certs.InitPKI(filepath.Join(dir, pki), certs.InitOptions{Name: pki}); err != nil {
			t.Fatal(err)
		}
	}
	good, _ := issue("group")
	revoked, serial := issue("group")
	forged, _ := issue("forged")
	if err := certs.Revoke(filepath.Join(dir, "group"), serial); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, "group", name) }
	group, err := certs.OpenGroup(gateway.GroupRules{ID: "test"}, certs.Config{
		Ankers: []string{in(certs.RootFile)}, CRLs: []string{in("root.crl"), in("intermediate.crl")},
	}, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var served *x509.Certificate
	a := &admission{peerOf: group.PeerOf, now: time.Now, log: slog.New(slog.DiscardHandler)}
	a.service = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { served = r.TLS.PeerCertificates[0] })
	for name, tc := range map[string]struct {
		chain []*x509.Certificate
		want  int
	}{
		"of the group":                 {good, http.StatusOK},
		"again, from other bytes":      {parsedAnew(t, good), http.StatusOK},
		"revoked":                      {revoked, http.StatusForbidden},
		"made by somebody, same OIN":   {forged, http.StatusForbidden},
		"of the group, without a CA":   {good[:1], http.StatusForbidden},
		"forged, under the group's CA": {append(forged[:1:1], good[1:]...), http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			served = nil
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://clientgegevens/v1/clienten/_zoek", strings.NewReader("{}"))
			r.TLS = &tls.ConnectionState{}
			edge.Toelating{Transactie: gateway.NewTransactionID(time.Now()), Grant: "$1$3$abc", Client: tc.chain[0], Chain: tc.chain[1:]}.Set(r.Header)
			w := httptest.NewRecorder()
			a.ServeHTTP(w, r)
			if w.Code != tc.want || (served != nil) != (tc.want == http.StatusOK) {
				t.Errorf("got %d %s, served %v; want %d", w.Code, w.Body, served != nil, tc.want)
			}
		})
	}
	if a.chains.same(good)[0] != a.chains.same(parsedAnew(t, good))[0] {
		t.Error("the same bytes gave other certificates: each question would be judged anew")
	}
}

func parsedAnew(t *testing.T, chain []*x509.Certificate) (anew []*x509.Certificate) {
	t.Helper()
	for _, c := range chain {
		again, err := x509.ParseCertificate(c.Raw)
		if err != nil {
			t.Fatal(err)
		}
		anew = append(anew, again)
	}
	return anew
}

// stub answers each call with one code, and the transaction if there is one.
type stub struct{ code, transaction string }

func (s stub) RoundTrip(*http.Request) (*http.Response, error) {
	h := http.Header{}
	h.Set(edge.HeaderErrorCode, s.code)
	if s.transaction != "" {
		h.Set(edge.HeaderTransaction, s.transaction)
	}
	return &http.Response{StatusCode: http.StatusForbidden, Header: h, Body: http.NoBody}, nil
}

// That a role refuses this process is its own word: another peer that writes our code in its answer has answered.
func TestCodeOfARoleFromAnotherPeer(t *testing.T) {
	call := func(s stub) (status int, err error) {
		resp, err := roleCaller{s, roleOutway}.RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://outway/v1/clienten/_zoek", nil))
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	if _, err := call(stub{codeRol, ""}); gateway.CodeOf(err) != codeRol || gateway.KindOf(err) != gateway.Unavailable {
		t.Errorf("refused by the role: got %v", err)
	}
	if status, err := call(stub{codeRol, string(gateway.NewTransactionID(time.Now()))}); err != nil || status != http.StatusForbidden {
		t.Errorf("answered by another peer: got %d, %v, want its answer", status, err)
	}
}
