package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// TestAttacks tries, against two peers that serve, what a stranger, a cheating peer, a caller on the own network and whoever reads
// the disk can try. In the end what was answered is counted against what was recorded, and everything kept is searched for the
// persons that were asked about. docs/security-review.md tells of each.
func TestAttacks(t *testing.T) {
	b, u := borne(t), uwi()
	r := startRegion(t, b, u)
	namens := r.contract(u, b, "--doel", "pw-uitkering", "--namens", string(b.ID))
	r.contract(u, b, "--doel", "doorverwijzing-welzijn")
	c := r.cheatAs(u, b)
	a := &attack{cheat: c, running: r, gemeente: b, partner: u}
	a.token = c.token(r.grantHash(u, "pw-uitkering"))
	a.grant = grantOf(t, a.token)
	a.welzijnToken = c.token(r.grantHash(u, "doorverwijzing-welzijn"))
	a.welzijn = grantOf(t, a.welzijnToken)

	idle := a.strangersThatSayNothing()
	t.Run("targets", a.targets)
	t.Run("refusals that depend on the person", a.refusals)
	t.Run("own network", a.ownNetwork)
	t.Run("a consent withdrawn while many ask", a.withdrawnWhileAsking)
	t.Run("a contract revoked while many ask", func(t *testing.T) { a.revokedWhileAsking(t, namens) })
	t.Run("strangers that say nothing", func(t *testing.T) {
		for what, took := range idle() {
			if took > edge.ReadHeaderTimeout+10*time.Second {
				t.Errorf("%s: kept for %v, want about %v", what, took, edge.ReadHeaderTimeout)
			}
		}
	})

	logs := r.serve[b].log.String() + r.serve[b].out.String() + r.serve[u].log.String() + r.serve[u].out.String()
	r.stop(b)
	r.stop(u)
	t.Run("as many answers as records of them", func(t *testing.T) {
		n := streams(t, b)
		if got := int(a.answered.Load()); got == 0 || n[audit.LDV] != got {
			t.Errorf("answered %d times, recorded %d times", got, n[audit.LDV])
		}
	})
	t.Run("nothing kept names a person", func(t *testing.T) {
		scanner := bsnScanner{}
		for n := range 20 {
			scanner[clientOf(t, n)] = true
		}
		found, err := scanner.scanTree(t.Context(), r.dir, "bron.db")
		if err != nil {
			t.Fatal(err)
		}
		if found = append(found, scanner.find([]byte(logs))...); len(found) > 0 {
			t.Errorf("BSNs in what is kept: %v", found)
		}
	})
	t.Run("nothing kept is for others on the machine to read", func(t *testing.T) {
		for _, p := range r.peers {
			for _, path := range readableByOthers(t, p.dir) {
				t.Errorf("%s: others may read it", path)
			}
		}
	})
}

// readableByOthers lists the files below dir that hold more than a certificate, a CRL or configuration, and that another account could reach.
func readableByOthers(t *testing.T, dir string) (reached []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if entry.IsDir() {
			// The two outermost folders may be the operator's own making; what the program makes in them is closed by itself.
			if path != dir && entry.Name() != "data" && info.Mode().Perm()&0o077 == 0 {
				return fs.SkipDir
			}
			return nil
		}
		switch filepath.Ext(path) {
		case ".yaml", ".rego", ".md":
			return nil
		}
		if name := filepath.Base(path); strings.Contains(name, "cert") || strings.Contains(name, "crl") || strings.HasSuffix(name, "root.pem") || name == "ca.pem" {
			return nil
		}
		if info.Mode().Perm()&0o077 != 0 && entry.Name() != "bron.db" { // the gemeente's own source, which we only read
			rel, _ := filepath.Rel(dir, path)
			reached = append(reached, fmt.Sprintf("%s (%04o)", rel, info.Mode().Perm()))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return reached
}

// attack is a cheating peer at work in a region.
type attack struct {
	*cheat
	*running
	gemeente, partner   *regionPeer
	token, welzijnToken string
	grant, welzijn      gateway.Grant
	answered            atomic.Int64 // how often a question about a person got 200
}

// try sends a question and counts it if it is answered.
func (a *attack) try(req *http.Request) (status int, body []byte, header http.Header) {
	status, body, header = a.send(req)
	if status == http.StatusOK {
		a.answered.Add(1)
	}
	return status, body, header
}

// aboutWelzijn is a partner's question under its own grant.
func (a *attack) aboutWelzijn(body string) *http.Request {
	req := a.question(a.welzijn, a.welzijnToken, body)
	v := a.verklaring(a.welzijn, idOf(req), body)
	v.Zaaktype = "doorverwijzing"
	a.resign(req, v)
	return req
}

// targets asks with a good token and a verklaring over exactly what is sent, at an address that another reader could take for the
// service's. Only the service's own address, as it is written, answers.
func (a *attack) targets(t *testing.T) {
	person := clientOf(t, 0)
	body := `{"bsn":"` + person + `"}`
	for target, want := range map[string]int{
		"/v1/clienten/_zoek":                        http.StatusOK,
		"//v1/clienten/_zoek":                       http.StatusNotFound,
		"/v1//clienten/_zoek":                       http.StatusNotFound,
		"/v1/./clienten/_zoek":                      http.StatusNotFound,
		"/v1/x/../clienten/_zoek":                   http.StatusNotFound,
		"/v1/clienten/_zoek/":                       http.StatusNotFound,
		"/v1/clienten/_ZOEK":                        http.StatusNotFound,
		"/v1/clienten/_zoek;x=1":                    http.StatusNotFound,
		"/v1/clienten%2F_zoek":                      http.StatusOK, // decoded by the router; what is signed is what was sent
		"/v1/clienten/_zoek%00":                     http.StatusNotFound,
		"/v1/clienten/_zoek?":                       http.StatusBadRequest,
		"/v1/clienten/_zoek?bsn=" + person:          http.StatusBadRequest,
		"/v1/clienten/_zoek?a=%zz;b":                http.StatusBadRequest,
		"/v1/clienten/" + person:                    http.StatusNotFound,
		"https://127.0.0.1/v1/clienten/_zoek":       http.StatusForbidden, // absolute form: not what the verklaring can say
		"https://127.0.0.1:1/v1/clienten/_zoek?a=b": http.StatusForbidden,
	} {
		req := a.question(a.grant, a.token, body)
		v := a.verklaring(a.grant, idOf(req), body)
		v.Target = target
		if !strings.HasPrefix(target, "/") {
			v.Target = "/v1/clienten/_zoek"
		}
		a.resign(req, v)
		status, answer := a.raw(t, req, target, body)
		if status == http.StatusOK {
			a.answered.Add(1)
		}
		if want != http.StatusOK && (status != want || bytes.Contains(answer, []byte("uitkering")) || bytes.Contains(answer, []byte(person))) {
			t.Errorf("%s: got %d %s, want %d", target, status, answer, want)
		}
		if target == "/v1/clienten/_zoek" && status != http.StatusOK {
			t.Errorf("the honest address: got %d %s: the rest proves nothing", status, answer)
		}
	}
}

// raw writes a request with a target of our own making, over HTTP/1.1.
func (a *attack) raw(t *testing.T, req *http.Request, target, body string) (status int, answer []byte) {
	t.Helper()
	conn := a.dial(t, true)
	defer conn.Close()
	var b strings.Builder
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: %d\r\n", target, len(body))
	for name, values := range req.Header {
		for _, v := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	if _, err := io.WriteString(conn, b.String()+"\r\n"+body); err != nil {
		t.Fatal(err)
	}
	answer, _ = io.ReadAll(conn)
	_, _ = fmt.Sscanf(string(answer), "HTTP/1.1 %d", &status)
	return status, answer
}

// dial connects to the gemeente's inway, with the partner's certificate or without.
func (a *attack) dial(t *testing.T, certificate bool) net.Conn {
	t.Helper()
	cfg, err := certs.InternalClientTLS(filepath.Join(a.pki, certs.RootFile))
	if err != nil {
		t.Fatal(err)
	}
	if certificate {
		cert, err := tls.LoadX509KeyPair(filepath.Join(a.partner.dir, "group", "cert.pem"), filepath.Join(a.partner.dir, "group", "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	cfg.NextProtos = []string{"http/1.1"}
	dialer := tls.Dialer{Config: cfg}
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(a.inway, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// strangersThatSayNothing opens connections that ask nothing, or half of something; the function that it returns tells how long
// each was kept.
func (a *attack) strangersThatSayNothing() func() map[string]time.Duration {
	address := strings.TrimPrefix(a.inway, "https://")
	var all sync.WaitGroup
	var mu sync.Mutex
	took := map[string]time.Duration{}
	wait := func(what string, conn net.Conn) {
		start := time.Now()
		all.Go(func() {
			defer conn.Close()
			_ = conn.SetReadDeadline(start.Add(edge.ReadHeaderTimeout + 20*time.Second))
			_, _ = io.Copy(io.Discard, conn)
			mu.Lock()
			defer mu.Unlock()
			took[what] = time.Since(start)
		})
	}
	var dialer net.Dialer
	mute, err := dialer.DialContext(a.running.t.Context(), "tcp", address)
	if err != nil {
		a.running.t.Fatal(err)
	}
	wait("no handshake", mute)
	half := a.dial(a.running.t, true)
	_, _ = io.WriteString(half, "POST /v1/clienten/_zoek HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	wait("half a header", half)
	return func() map[string]time.Duration { all.Wait(); return took }
}

var transactie = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)

// refusals asks as a partner about persons of whom different things are true. All that it may not know comes back as the same
// bytes, and leaves the same kinds of record.
func (a *attack) refusals(t *testing.T) {
	give := func(n int, more ...string) string {
		t.Helper()
		args := append([]string{"toestemming", "geef", "--doel", "doorverwijzing-welzijn", "--ontvanger", string(a.partner.ID), "--bsn-stdin"}, more...)
		return a.must(a.gemeente, clientOf(t, n), args...)
	}
	give(1)
	a.must(a.gemeente, "", "toestemming", "trek-in", give(2))
	give(3, "--geregistreerd-door", string(a.partner.ID))
	give(11) // geheimhouding
	if status, answer, _ := a.try(a.aboutWelzijn(`{"bsn":"` + clientOf(t, 1) + `"}`)); status != http.StatusOK {
		t.Fatalf("with consent: got %d %s: the rest proves nothing", status, answer)
	}
	for _, velden := range []string{"", `,"velden":{"persoon":["naam"]}`} {
		var first, firstHeader, firstKinds string
		for what, bsn := range map[string]string{
			"nobody knows": "999999990", "never asked": clientOf(t, 4), "withdrew": clientOf(t, 2), "voorlopig": clientOf(t, 3), "geheim": clientOf(t, 11),
		} {
			req := a.aboutWelzijn(`{"bsn":"` + bsn + `"` + velden + `}`)
			status, answer, header := a.try(req)
			got := fmt.Sprint(status, " ", transactie.ReplaceAllString(string(answer), "id"))
			for _, name := range []string{"Date", "Fsc-Transaction-Id", "Traceparent"} {
				header.Del(name)
			}
			kept := kinds(a.records(a.gemeente, idOf(req)))
			if first == "" {
				first, firstHeader, firstKinds = got, fmt.Sprint(header), kept
			}
			if status != http.StatusForbidden || got != first || fmt.Sprint(header) != firstHeader || kept != firstKinds {
				t.Errorf("%s: got %s %v %s\nelsewhere %s %s %s", what, got, header, kept, first, firstHeader, firstKinds)
			}
		}
	}
}

// ownNetwork calls the peer's own APIs with tokens of others, without a role, and with what is no such token at all.
func (a *attack) ownNetwork(t *testing.T) {
	token := func(p *regionPeer, rollen ...string) string {
		t.Helper()
		cfg, err := loadConfig(p.config())
		if err != nil {
			t.Fatal(err)
		}
		compact, err := (&identity{als: "iemand", rollen: rollen}).token(cfg, time.Now(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return compact
	}
	good := token(a.gemeente, beheer.RolBeheer, beheer.RolPrivacyOfficer)
	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	cfg, err := loadConfig(a.gemeente.config())
	if err != nil {
		t.Fatal(err)
	}
	for _, listener := range []struct{ name, listen, method, path string }{
		{"beheer", cfg.Beheer.Listen, http.MethodGet, "/v1/contracten"},
		{"beheer", cfg.Beheer.Listen, http.MethodPost, "/v1/toestemmingen/_zoek"},
		{"outway", cfg.Outway.Listen, http.MethodPost, "/v1/clienten/_zoek"},
	} {
		if listener.listen == "" {
			continue
		}
		for what, authorization := range map[string][]string{
			"none":                        nil,
			"another peer's":              {"Bearer " + token(a.partner, beheer.RolBeheer)},
			"a role that is not for this": {"Bearer " + token(a.gemeente, "klantmanager")},
			"an access token":             {"Bearer " + a.token},
			"a verklaring":                {"Bearer " + a.question(a.grant, a.token, "{}").Header.Get(verklaring.Header)},
			"alg none":                    {"Bearer " + b64([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "."},
			"HMAC by the public key":      {"Bearer " + b64([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + parts[1] + "." + parts[2]},
			"a key of its own":            {"Bearer " + b64([]byte(`{"alg":"ES256","typ":"JWT","jwk":{}}`)) + "." + parts[1] + "." + parts[2]},
			"other claims":                {"Bearer " + parts[0] + "." + b64([]byte(`{"rol":["beheer"]}`)) + "." + parts[2]},
			"two":                         {"Bearer " + good, "Bearer " + token(a.gemeente, "klantmanager")},
			"bare":                        {good},
		} {
			api, err := newAPI(cfg, listener.name, listener.listen, &identity{als: "x", rollen: []string{"x"}})
			if err != nil {
				t.Fatal(err)
			}
			req, err := http.NewRequestWithContext(t.Context(), listener.method, strings.TrimSuffix(api.base, "/v1")+listener.path, strings.NewReader(`{"bsn":"`+clientOf(t, 5)+`"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header["Authorization"] = authorization
			resp, err := api.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode < 400 || resp.StatusCode >= 500 || bytes.Contains(answer, []byte(clientOf(t, 5))) {
				t.Errorf("%s %s with %s: got %d %s %v, want a refusal", listener.name, listener.path, what, resp.StatusCode, answer, err)
			}
		}
	}
}

// whileAsking asks from many sides at once, ends what allows it, and asks on: what was begun after the end is not answered.
func (a *attack) whileAsking(t *testing.T, ask func() *http.Request, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var before atomic.Int64
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				if status, _, _ := a.try(ask()); status == http.StatusOK {
					before.Add(1)
				}
			}
		})
	}
	a.await("some answers", func() bool { return before.Load() > 8 })
	end()
	for range 20 {
		if status, answer, _ := a.try(ask()); status == http.StatusOK {
			t.Errorf("answered after the end: %s", answer)
		}
	}
	cancel()
	all.Wait()
}

func (a *attack) withdrawnWhileAsking(t *testing.T) {
	id := a.must(a.gemeente, clientOf(t, 6), "toestemming", "geef", "--doel", "doorverwijzing-welzijn", "--ontvanger", string(a.partner.ID), "--bsn-stdin")
	a.whileAsking(t, func() *http.Request { return a.aboutWelzijn(`{"bsn":"` + clientOf(t, 6) + `"}`) }, func() {
		a.must(a.gemeente, "", "toestemming", "trek-in", id)
	})
}

func (a *attack) revokedWhileAsking(t *testing.T, contract string) {
	a.whileAsking(t, func() *http.Request { return a.question(a.grant, a.token, `{"bsn":"`+clientOf(t, 7)+`"}`) }, func() {
		a.must(a.gemeente, "", "contract", "revoke", contract)
	})
}

// TestOneLine: what somebody else is called neither steers a terminal nor turns its text around.
func TestOneLine(t *testing.T) {
	if got, want := oneLine("Gemeente\x1b[2J\nBo\u202erne\u0085\u200b"), "Gemeente [2J Bo rne  "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// deepByLines is YAML whose every line stands one deeper.
func deepByLines(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// TestConfigurationBomb keeps a file of a few hundred bytes from becoming gigabytes.
func TestConfigurationBomb(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), ", "))
	}
	for name, text := range map[string]string{
		"aliases of aliases": bomb.String(), "an alias of itself": "peer: &a {x: *a}\n", "deep": "peer: " + strings.Repeat("[", 500_000) + "\n",
		"deep in braces": "peer: " + strings.Repeat("{a: ", 200_000) + "\n", "deep in dashes": "peers:\n" + strings.Repeat("- ", 500_000) + "x\n",
		"deep by lines": deepByLines(1300),
	} {
		file := filepath.Join(t.TempDir(), "peer.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := loadConfig(file); err == nil {
			t.Errorf("%s: no error", name)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
}
