package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// cheat is a peer that holds a good certificate and a valid contract and sends what it likes, past its own outway.
type cheat struct {
	t        *testing.T
	client   *http.Client
	signer   *jose.Signer
	manager  string
	inway    string
	self     gateway.PeerID
	provider gateway.PeerID
}

// cheatAs makes one from the files of a peer.
func (r *running) cheatAs(p, provider *regionPeer) *cheat { return r.cheatWith("group", p, provider) }

// cheatWith makes one from a certificate of a peer, in a folder of it.
func (r *running) cheatWith(folder string, p, provider *regionPeer) *cheat {
	r.t.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(p.dir, folder, "cert.pem"), filepath.Join(p.dir, folder, "key.pem"))
	if err != nil {
		r.t.Fatal(err)
	}
	id, err := certs.LoadIdentity(filepath.Join(p.dir, folder, "cert.pem"), filepath.Join(p.dir, folder, "key.pem"))
	if err != nil {
		r.t.Fatal(err)
	}
	roots, err := certs.InternalClientTLS(filepath.Join(r.pki, certs.RootFile))
	if err != nil {
		r.t.Fatal(err)
	}
	roots.Certificates = []tls.Certificate{cert}
	c := &cheat{
		t: r.t, client: &http.Client{Transport: &http.Transport{TLSClientConfig: roots}, Timeout: 10 * time.Second},
		signer:  &jose.Signer{Key: id.Signer(), Cert: id.Cert(), Chain: id.Chain()[1:]},
		manager: "https://127.0.0.1:" + strconv.Itoa(provider.ports.Manager), inway: "https://127.0.0.1:" + strconv.Itoa(provider.ports.Inway),
		self: p.ID, provider: provider.ID,
	}
	r.t.Cleanup(c.client.CloseIdleConnections)
	return c
}

// token asks the provider's manager for a token.
func (c *cheat) token(grant string) string {
	c.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {grant}, "client_id": {string(c.self)}}
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.manager+"/v1/token", strings.NewReader(form.Encode()))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, body, _ := c.send(req)
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK {
		c.t.Fatalf("token: %d %s", status, body)
	}
	return answer.AccessToken
}

// question is a request as the outway would send it.
func (c *cheat) question(grant gateway.Grant, token, body string) *http.Request {
	c.t.Helper()
	now := time.Now()
	id := gateway.NewTransactionID(now)
	signed, err := c.sign(c.verklaring(grant, id, body))
	if err != nil {
		c.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.inway+"/v1/clienten/_zoek", strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Fsc-Authorization", "Bearer "+token)
	req.Header.Set("Fsc-Transaction-Id", string(id))
	req.Header.Set("Traceparent", gateway.NewTrace().Traceparent())
	req.Header.Set(verklaring.Header, signed)
	return req
}

func (c *cheat) sign(v verklaring.Verklaring) (string, error) {
	at := func() time.Time { return v.IssuedAt }
	return verklaring.Sign(verklaring.NewSigner(func() *jose.Signer { return c.signer }, verklaring.VoorVerklaring, at), v)
}

func (c *cheat) verklaring(grant gateway.Grant, id gateway.TransactionID, body string) verklaring.Verklaring {
	now := time.Now()
	return verklaring.Verklaring{
		Issuer: c.self, Audience: c.provider, Subject: "m1.pseudoniem", NamensCollege: grant.Properties.NamensCollege, GrantHash: grant.Hash,
		Doel: grant.Properties.Doel, DoelDigest: grant.Properties.DoelDigest, Zaak: "Z-1", Zaaktype: "pw-aanvraag", Rollen: []string{"klantmanager"},
		Transactie: id, IssuedAt: now, Expires: now.Add(30 * time.Second), Method: http.MethodPost, Target: "/v1/clienten/_zoek",
		BodyDigest: verklaring.Digest([]byte(body)),
	}
}

func (c *cheat) resign(req *http.Request, v verklaring.Verklaring) {
	c.t.Helper()
	signed, err := c.sign(v)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set(verklaring.Header, signed)
}

func (c *cheat) send(req *http.Request) (status int, body []byte, header http.Header) {
	c.t.Helper()
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, []byte(err.Error()), nil
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		return 0, []byte(err.Error()), nil
	}
	return resp.StatusCode, body, resp.Header
}

// contracts lists a peer's contracts.
func (r *running) contracts(p *regionPeer) []beheer.ContractJSON {
	r.t.Helper()
	var list struct {
		Contracten []beheer.ContractJSON `json:"contracten"`
	}
	if err := json.Unmarshal([]byte(r.must(p, "", "contract", "list", "--json")), &list); err != nil {
		r.t.Fatal(err)
	}
	return list.Contracten
}

// grantOf reads the grant that a token is for.
func grantOf(t *testing.T, token string) gateway.Grant {
	t.Helper()
	claims, _, err := accesstoken.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	g := gateway.Grant{Hash: claims.GrantHash, Outway: claims.OutwayPeer(), ServicePeer: claims.Issuer, Service: claims.Service}
	if len(claims.Prp) > 0 {
		if err := json.Unmarshal(claims.Prp, &g.Properties); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// TestCheatingPeer tries what a peer with a good certificate and a valid contract can try at the other side's inway. Nothing of it
// gives data, and everything of it is recorded.
func TestCheatingPeer(t *testing.T) {
	b, u := borne(t), uwi()
	r := startRegion(t, b, u)
	r.contract(u, b, "--doel", "pw-uitkering", "--namens", string(b.ID))
	r.contract(u, b, "--doel", "doorverwijzing-welzijn")
	c := r.cheatAs(u, b)
	token := c.token(r.grantHash(u, "pw-uitkering"))
	grant := grantOf(t, token)
	other := grantOf(t, c.token(r.grantHash(u, "doorverwijzing-welzijn")))
	body := `{"bsn":"` + clientOf(t, 0) + `"}`

	honest := c.question(grant, token, body)
	if status, answer, _ := c.send(honest); status != http.StatusOK {
		t.Fatalf("the honest question: got %d %s, want 200: the tests below would prove nothing", status, answer)
	}

	for _, tc := range []struct {
		name   string
		cheat  func(*http.Request)
		status int
		code   string
	}{
		{"no token", func(q *http.Request) { q.Header.Del("Fsc-Authorization") }, 401, "ERROR_CODE_ACCESS_TOKEN_MISSING"},
		{"a token that is no token", func(q *http.Request) { q.Header.Set("Fsc-Authorization", "Bearer x.y.z") }, 401, "ERROR_CODE_ACCESS_TOKEN_INVALID"},
		{"a token of our own making", func(q *http.Request) {
			forged, err := accesstoken.Mint(c.signer, mustClaims(t, token))
			if err != nil {
				t.Fatal(err)
			}
			q.Header.Set("Fsc-Authorization", "Bearer "+forged)
		}, 401, "ERROR_CODE_ACCESS_TOKEN_INVALID"},
		{"no transaction id", func(q *http.Request) { q.Header.Del("Fsc-Transaction-Id") }, 400, "MISSING_LOG_RECORD_ID"},
		{"a transaction id of an hour ago", func(q *http.Request) {
			q.Header.Set("Fsc-Transaction-Id", string(gateway.NewTransactionID(time.Now().Add(-time.Hour))))
		}, 400, "INVALID_LOG_RECORD_ID"},
		{"a transaction id that was used", func(q *http.Request) {
			q.Header.Set("Fsc-Transaction-Id", honest.Header.Get("Fsc-Transaction-Id"))
			q.Header.Set(verklaring.Header, honest.Header.Get(verklaring.Header))
		}, 400, "INVALID_LOG_RECORD_ID"},
		{"no verklaring", func(q *http.Request) { q.Header.Del(verklaring.Header) }, 403, "GRENSLOOS_VERKLARING"},
		{"a verklaring for another body", func(q *http.Request) {
			q.Body, q.ContentLength = io.NopCloser(strings.NewReader(`{"bsn":"`+clientOf(t, 1)+`"}`)), -1
		}, 403, "GRENSLOOS_VERKLARING"},
		{"a verklaring for another purpose", func(q *http.Request) {
			v := c.verklaring(grant, idOf(q), body)
			v.Doel, v.DoelDigest, v.GrantHash = other.Properties.Doel, other.Properties.DoelDigest, other.Hash
			c.resign(q, v)
		}, 403, "GRENSLOOS_VERKLARING"},
		{"a verklaring for another receiver", func(q *http.Request) {
			v := c.verklaring(grant, idOf(q), body)
			v.Audience = "00000099000000164000"
			c.resign(q, v)
		}, 403, "GRENSLOOS_VERKLARING"},
		{"a verklaring of an hour ago", func(q *http.Request) {
			v := c.verklaring(grant, idOf(q), body)
			v.IssuedAt, v.Expires = v.IssuedAt.Add(-time.Hour), v.Expires.Add(-time.Hour)
			c.resign(q, v)
		}, 403, "GRENSLOOS_VERKLARING"},
		{"a role that the purpose does not know", func(q *http.Request) {
			v := c.verklaring(grant, idOf(q), body)
			v.Rollen = []string{"beheerder"}
			c.resign(q, v)
		}, 403, ""},
		{"no zaak", func(q *http.Request) {
			v := c.verklaring(grant, idOf(q), body)
			v.Zaak = ""
			c.resign(q, v)
		}, 403, ""},
		{"a Connection header that names Fsc-Authorization", func(q *http.Request) { q.Header.Set("Connection", "Fsc-Authorization") }, 400, ""},
		{"a token twice", func(q *http.Request) { q.Header.Add("Fsc-Authorization", "Bearer "+token) }, 0, ""},
		{"a role in a header, beside the one that is signed", func(q *http.Request) {
			v := c.verklaring(grant, idOf(q), body)
			v.Rollen = []string{"beheerder"}
			c.resign(q, v)
			q.Header.Set("Grensloos-Rol", "klantmanager")
		}, 403, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := c.question(grant, token, body)
			tc.cheat(q)
			status, answer, header := c.send(q)
			if status < 400 || status >= 500 || tc.status != 0 && status != tc.status {
				t.Errorf("got %d %s, want a refusal (%d)", status, answer, tc.status)
			}
			if got := header.Get("Fsc-Error-Code"); tc.code != "" && got != tc.code {
				t.Errorf("Fsc-Error-Code: got %q, want %q", got, tc.code)
			}
			if bytes.Contains(answer, []byte(clientOf(t, 0))) || bytes.Contains(answer, []byte("uitkering")) {
				t.Errorf("the refusal gives data: %s", answer)
			}
		})
	}

	t.Run("fields that the purpose does not give", func(t *testing.T) {
		asked := `{"bsn":"` + clientOf(t, 0) + `","velden":{"persoon":["telefoon","naam"]}}`
		q := c.question(grant, token, asked)
		status, answer, _ := c.send(q)
		if status != http.StatusOK || bytes.Contains(answer, []byte("060")) {
			t.Errorf("got %d %s, want the name, and the telephone number withheld", status, answer)
		}
	})
	t.Run("bodies that are no question", func(t *testing.T) {
		for name, asked := range map[string]string{
			"not JSON": "bsn=1", "duplicate key": `{"bsn":"999000007","bsn":"999000019"}`, "deep": strings.Repeat("[", 500), "wrong type": `{"bsn":999000007}`,
			"unknown field": `{"bsn":"` + clientOf(t, 0) + `","rol":"beheerder"}`, "unknown dienst": `{"bsn":"` + clientOf(t, 0) + `","velden":{"strafblad":["x"]}}`,
			"eleven-test": `{"bsn":"999000008"}`, "outside the test block": `{"bsn":"123456782"}`, "too large": `{"bsn":"` + strings.Repeat("9", 2<<20) + `"}`,
			"nothing": "",
		} {
			status, answer, _ := c.send(c.question(grant, token, asked))
			if status != http.StatusBadRequest && status != http.StatusRequestEntityTooLarge {
				t.Errorf("%s: got %d %s, want 400 or 413", name, status, answer)
			}
			for _, number := range []string{"999000007", "999000008", "999000019", "123456782"} {
				if bytes.Contains(answer, []byte(number)) {
					t.Errorf("%s: the refusal repeats the input: %s", name, answer)
				}
			}
		}
	})
	t.Run("revoked: refused on the connection that is open", func(t *testing.T) {
		if err := certs.Revoke(r.pki, filepath.Join(u.dir, "group", "cert.pem")); err != nil {
			t.Fatal(err)
		}
		r.await("the revocation to bite, within five seconds", func() bool {
			status, _, _ := c.send(c.question(grant, token, body))
			return status != http.StatusOK
		})
		if status, answer, _ := c.send(c.question(grant, token, body)); status == http.StatusOK {
			t.Errorf("answered a revoked peer: %s", answer)
		}
	})
	r.stop(b)
	if n := streams(t, b); n[audit.Afloop] < 25 || n[audit.Transactie] == 0 {
		t.Errorf("records of the attempts: got %v, want an afloop of each that reached the inway", n)
	}
}

func idOf(q *http.Request) gateway.TransactionID {
	return gateway.TransactionID(q.Header.Get("Fsc-Transaction-Id"))
}

func mustClaims(t *testing.T, token string) accesstoken.Claims {
	t.Helper()
	claims, _, err := accesstoken.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	return *claims
}

// TestForeignCertificate knocks on the group side with a certificate of another trust anchor, and with none.
func TestForeignCertificate(t *testing.T) {
	b, u := borne(t), uwi()
	r := startRegion(t, b, u)
	foreign := filepath.Join(t.TempDir(), "pki")
	if err := certs.InitPKI(foreign, certs.InitOptions{Name: "elsewhere"}); err != nil {
		t.Fatal(err)
	}
	issued, err := certs.Issue(foreign, certs.Request{OIN: u.ID, Name: u.Name, Hosts: []string{"localhost"}, Out: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(issued.CertFile, issued.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, own := range map[string][]tls.Certificate{"of another anchor": {cert}, "none": nil} {
		for role, port := range map[string]int{"manager": b.ports.Manager, "inway": b.ports.Inway} {
			cfg, err := certs.InternalClientTLS(filepath.Join(r.pki, certs.RootFile))
			if err != nil {
				t.Fatal(err)
			}
			cfg.Certificates = own
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}, Timeout: 5 * time.Second}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://127.0.0.1:"+strconv.Itoa(port)+"/v1/peer", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := client.Do(req); err == nil {
				resp.Body.Close()
				t.Errorf("certificate %s at the %s: got %d, want no connection", name, role, resp.StatusCode)
			}
		}
	}
}

// TestPlainService carries any FSC peer's plain service: a grant without a purpose, no verklaring, the path and body unaltered.
func TestPlainService(t *testing.T) {
	var path, authorization, verklaringHeader string
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		path, authorization, verklaringHeader = q.RequestURI, q.Header.Get("Fsc-Authorization"), q.Header.Get(verklaring.Header)
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.Copy(w, q.Body)
	}))
	defer plain.Close()
	b, u := borne(t), uwi()
	laid, err := layRegion(t.Context(), t.TempDir(), b, u)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(b.config())
	if err != nil {
		t.Fatal(err)
	}
	file = bytes.Replace(file, []byte("    clientgegevens: {}\n"), []byte("    clientgegevens: {}\n    openbaar: {url: \""+plain.URL+"\", doelbinding: false}\n"), 1)
	if err := os.WriteFile(b.config(), file, 0o600); err != nil {
		t.Fatal(err)
	}
	r := &running{region: laid, t: t, serve: map[*regionPeer]*served{}}
	t.Cleanup(func() {
		for p := range r.serve {
			r.stop(p)
		}
	})
	r.start(b)
	r.start(u)
	r.contract(u, b, "--service", "openbaar")
	grant := string(r.contracts(u)[0].Grants[0].Hash)

	cfg, err := loadConfig(u.config())
	if err != nil {
		t.Fatal(err)
	}
	a, err := newAPI(cfg, "outway.luister", cfg.Outway.Listen, &identity{als: "app", rollen: []string{"toepassing"}})
	if err != nil {
		t.Fatal(err)
	}
	const target = "/a//b/%2F/c/../d/?q=1&q=%20"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, strings.TrimSuffix(a.base, "/v1"), strings.NewReader("hallo"))
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Opaque = target
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Fsc-Grant-Hash", grant)
	resp, err := a.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusTeapot || string(body) != "hallo" {
		t.Errorf("got %d %q %v, want the service's own answer", resp.StatusCode, body, err)
	}
	if path != target {
		t.Errorf("path at the service: got %q, want %q", path, target)
	}
	if !strings.HasPrefix(authorization, "Bearer ") || verklaringHeader != "" {
		t.Errorf("Fsc-Authorization %.10q, verklaring %q: want the token kept and no verklaring", authorization, verklaringHeader)
	}
	id := gateway.TransactionID(resp.Header.Get("Fsc-Transaction-Id"))
	for p, want := range map[*regionPeer]string{u: "transactie=1 adl=0 ldv=0 afloop=1 kwitantie=0", b: "transactie=1 adl=0 ldv=0 afloop=1 kwitantie=0"} {
		if got := kinds(r.records(p, id)); got != want {
			t.Errorf("%s: got %s, want %s", p.Name, got, want)
		}
	}
}

// grantHash is the hash of the valid grant for a purpose, as contract list tells it.
func (r *running) grantHash(p *regionPeer, doel string) string {
	r.t.Helper()
	for _, c := range r.contracts(p) {
		for _, g := range c.Grants {
			if string(g.Doel) == doel && c.Toestand == "geldig" {
				return string(g.Hash)
			}
		}
	}
	r.t.Fatalf("no valid grant for %s", doel)
	return ""
}
