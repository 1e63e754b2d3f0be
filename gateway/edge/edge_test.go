package edge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
)

func TestWriteProblem(t *testing.T) {
	secret := errors.New("dial tcp 10.0.0.7:5432: password of uwi")
	tests := []struct {
		name   string
		err    error
		status int
		code   string
		detail string
	}{
		{"unclassified", secret, 500, "", "Er ging aan deze kant iets mis. De beheerder vindt het in het logboek."},
		{"invalid", gateway.Errorf(gateway.Invalid, "doel: unknown"), 400, "", "doel: unknown"},
		{"cause not shown", gateway.Wrap(gateway.Unavailable, secret, "source"), 503, "", "source"},
		{"internal cause not shown", gateway.Wrap(gateway.Unavailable, gateway.Errorf(gateway.Internal, "password"), "source"), 503, "", "source"},
		{"classified cause shown", gateway.Wrap(gateway.Invalid, gateway.Errorf(gateway.Invalid, "doel: unknown"), "question"), 400, "", "question: doel: unknown"},
		{"unclassified wrapper", fmt.Errorf("store: %w", gateway.Errorf(gateway.Conflict, "contract: already there")), 409, "", "contract: already there"},
		{"denied with code", gateway.WithCode(gateway.Denied, "geweigerd", "geweigerd"), 403, "geweigerd", "geweigerd"},
		{"not found", gateway.WithCode(gateway.NotFound, "x", "contract $1$1$abc"), 404, "", "Hier is niets te vinden."},
		{"hidden", gateway.WithCode(gateway.Hidden, "y", "person is secret"), 404, "", "Hier is niets te vinden."},
		{"too large", gateway.WithCode(gateway.Invalid, CodeBodyTooLarge, "body: larger"), 413, CodeBodyTooLarge, "body: larger"},
		{"problem itself", &Problem{Title: "t", Status: 422, Detail: "d"}, 422, "", "d"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			w.Header().Set(HeaderTransaction, "0190b6a2-7c11-7d3e-9a55-3f5c0b1e2d44")
			WriteProblem(w, httptest.NewRequest(http.MethodGet, "/", nil), tt.err)
			var got Problem
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if w.Code != tt.status || got.Status != tt.status || got.Code != tt.code || got.Detail != tt.detail || got.Title == "" {
				t.Errorf("got %d %+v, want %d %q %q", w.Code, got, tt.status, tt.code, tt.detail)
			}
			if ct := w.Header().Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("Content-Type %q", ct)
			}
			if want := "urn:uuid:0190b6a2-7c11-7d3e-9a55-3f5c0b1e2d44"; got.Instance != want {
				t.Errorf("instance %q, want %q", got.Instance, want)
			}
			if strings.Contains(w.Body.String(), "password") {
				t.Error("the cause leaked")
			}
		})
	}
}

func TestHiddenEqualsNotFound(t *testing.T) {
	answer := func(k gateway.Kind, write func(http.ResponseWriter, error)) string {
		w := httptest.NewRecorder()
		write(w, gateway.WithCode(k, "", "%s says something", k))
		return fmt.Sprint(w.Code, w.Header(), w.Body)
	}
	for name, write := range map[string]func(http.ResponseWriter, error){
		"problem": func(w http.ResponseWriter, err error) { WriteProblem(w, nil, err) },
		"fsc":     func(w http.ResponseWriter, err error) { WriteFSC(w, err, DomainManager, nil) },
	} {
		hidden, notFound := answer(gateway.Hidden, write), answer(gateway.NotFound, write)
		if name == "fsc" {
			notFound = strings.ReplaceAll(notFound, "not found says something", "not found")
			hidden = strings.ReplaceAll(hidden, "hidden says something", "not found")
		}
		if diff := cmp.Diff(notFound, hidden); diff != "" {
			t.Errorf("%s: hidden differs from not found:\n%s", name, diff)
		}
	}
}

func TestWriteFSC(t *testing.T) {
	table := map[string]int{"ERROR_CODE_ACCESS_TOKEN_INVALID": 401, "ERROR_CODE_INCORRECT_GROUP_ID": 422}
	tests := []struct {
		name   string
		err    error
		status int
		want   FSCError
	}{
		{
			"by table", gateway.WithCode(gateway.Invalid, "ERROR_CODE_INCORRECT_GROUP_ID", "group_id: other group"), 422,
			FSCError{"group_id: other group", DomainManager, "ERROR_CODE_INCORRECT_GROUP_ID"},
		},
		{
			"unauthorised", gateway.WithCode(gateway.Denied, "ERROR_CODE_ACCESS_TOKEN_INVALID", "token"), 401,
			FSCError{"token", DomainManager, "ERROR_CODE_ACCESS_TOKEN_INVALID"},
		},
		{"by kind", gateway.WithCode(gateway.Invalid, "ERROR_CODE_OTHER", "x"), 400, FSCError{"x", DomainManager, "ERROR_CODE_OTHER"}},
		{"unclassified", errors.New("disk /var/lib"), 500, FSCError{"internal error", DomainManager, "GRENSLOOS_INTERNAL"}},
		{"hidden", gateway.WithCode(gateway.Hidden, "SECRET", "peer known"), 404, FSCError{"not found", DomainManager, "GRENSLOOS_NOT_FOUND"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			WriteFSC(w, tt.err, DomainManager, table)
			var got FSCError
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || w.Code != tt.status {
				t.Errorf("status %d want %d, -want +got\n%s", w.Code, tt.status, diff)
			}
			if h := w.Header().Get(HeaderErrorCode); h != tt.want.Code {
				t.Errorf("%s %q, want %q", HeaderErrorCode, h, tt.want.Code)
			}
			if got := w.Header().Get("WWW-Authenticate"); (got != "") != (tt.status == 401) {
				t.Errorf("WWW-Authenticate %q at %d", got, tt.status)
			}
		})
	}
}

func TestCheckHeaders(t *testing.T) {
	tests := []struct {
		name   string
		method string
		header http.Header
		local  bool   // CheckLocal accepts
		hop    bool   // CheckHop accepts
		names  string // the header that the errors name
	}{
		{name: "plain", header: http.Header{"Accept": {"*/*"}, "X-Other": {"a", "b"}}, hop: true, local: true},
		{name: "local three", header: http.Header{"Fsc-Grant-Hash": {"x"}, "Grensloos-Zaak": {"z"}, "Grensloos-Zaaktype": {"t"}}, hop: true, local: true},
		{name: "peer three", header: http.Header{"Fsc-Authorization": {"x"}, "Fsc-Transaction-Id": {"z"}, "Grensloos-Verklaring": {"t"}}, hop: true},
		{name: "keep-alive", header: http.Header{"Connection": {"keep-alive, TE"}}, hop: true, local: true},
		{name: "role in a header", header: http.Header{"Grensloos-Rol": {"beheerder"}}, hop: true, names: "Grensloos-Rol"},
		{name: "worker in a header", header: http.Header{"Grensloos-Medewerker": {"jansen"}}, hop: true, names: "Grensloos-Medewerker"},
		{name: "unknown FSC", header: http.Header{"Fsc-Peer": {"1"}}, hop: true, names: "Fsc-Peer"},
		{name: "underscores", header: http.Header{"Fsc_transaction_id": {"1"}}, hop: true, names: "Fsc_transaction_id"},
		{name: "mixed underscore", header: http.Header{"Grensloos_rol": {"1"}}, hop: true, names: "Grensloos_rol"},
		{name: "not canonical", header: http.Header{"fsc-grant-hash": {"1"}}, hop: true, names: "fsc-grant-hash"},
		{name: "connection names ours", header: http.Header{"Connection": {"close, fsc-transaction-id"}}, names: "Connection"},
		{name: "connection names verklaring", header: http.Header{"Connection": {"Grensloos-Verklaring"}}, names: "Connection"},
		{name: "second connection line", header: http.Header{"Connection": {"close", "Fsc-Authorization"}}, names: "Connection"},
		{name: "trailer names ours", header: http.Header{"Trailer": {"Fsc-Transaction-Id"}}, names: "Trailer"},
		{name: "upgrade", header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, names: "Upgrade"},
		{name: "upgrade alone", header: http.Header{"Upgrade": {"h2c"}}, names: "Upgrade"},
		{name: "connection upgrade alone", header: http.Header{"Connection": {"upgrade"}}, names: "Connection"},
		{name: "two tokens", header: http.Header{"Fsc-Authorization": {"a", "b"}}, names: "Fsc-Authorization"},
		{name: "two bearers", header: http.Header{"Authorization": {"a", "b"}}, names: "Authorization"},
		{name: "two ids", header: http.Header{"Fsc-Transaction-Id": {"a", "a"}}, names: "Fsc-Transaction-Id"},
		{name: "two grants", header: http.Header{"Fsc-Grant-Hash": {"a", "b"}}, names: "Fsc-Grant-Hash"},
		{name: "connect", method: http.MethodConnect, names: "CONNECT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Method: tt.method, Header: tt.header}
			for which, c := range map[string]struct {
				err error
				ok  bool
			}{"hop": {CheckHop(r), tt.hop}, "local": {CheckLocal(r), tt.local}} {
				if (c.err == nil) != c.ok {
					t.Errorf("%s: %v, want accepted %v", which, c.err, c.ok)
				}
				if c.err != nil && !strings.Contains(c.err.Error(), tt.names) {
					t.Errorf("%s: %v does not name %s", which, c.err, tt.names)
				}
			}
		})
	}
	if CheckHop(&http.Request{Trailer: http.Header{"Fsc-Authorization": nil}}) == nil {
		t.Error("a trailer of ours accepted")
	}
	h := http.Header{"Fsc-Authorization": {"t"}, "Fsc-Grant-Hash": {"x"}, "Grensloos_rol": {"x"}, "fsc-x": {"y"}, "Accept": {"a"}}
	StripReserved(h, HeaderAuthorization)
	if diff := cmp.Diff(http.Header{"Fsc-Authorization": {"t"}, "Accept": {"a"}}, h); diff != "" {
		t.Errorf("StripReserved -want +got\n%s", diff)
	}
}

func TestTarget(t *testing.T) {
	for uri, ok := range map[string]bool{
		"/": true, "//a//b/": true, "/a%2Fb/../c?q=1;2&x=%zz": true, "/a?": true, "/%41": true, "/a;b=c": true, "/[x]": true,
		"/a|b": false, "/a\"b": false, "*": false,
	} {
		u, err := url.ParseRequestURI(uri)
		if err != nil {
			u = &url.URL{Path: uri}
		}
		got, err := Target(&http.Request{URL: u})
		if (err == nil) != ok || ok && got != uri {
			t.Errorf("Target(%q) = %q, %v; want accepted %v", uri, got, err, ok)
		}
	}
}

func TestCheckReference(t *testing.T) {
	for value, ok := range map[string]bool{
		"": true, "ZAAK-2026-0000123": true, "Z/2026/123456789": true, "wmo-onderzoek": true,
		"999993653": false, "zaak 999993653": false, "a\nb": false, strings.Repeat("a", 101): false,
	} {
		err := CheckReference("Grensloos-Zaak", value)
		if (err == nil) != ok {
			t.Errorf("CheckReference(%q) = %v, want accepted %v", value, err, ok)
		}
		if err != nil && (!strings.Contains(err.Error(), "Grensloos-Zaak") || strings.Contains(err.Error(), "999993653")) {
			t.Errorf("error %v must name the field and not the value", err)
		}
	}
}

func TestDraft(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("X-Kept", "1")
	d := NewDraft(w)
	WriteFSC(d, gateway.Errorf(gateway.Unavailable, "later"), DomainInway, nil)
	if w.Body.Len() != 0 || w.Code != 200 || d.Status() != 503 {
		t.Fatalf("the draft left before Send: %d, draft %d", w.Code, d.Status())
	}
	d.Send(w)
	if w.Code != 503 || int64(w.Body.Len()) != d.Bytes() || w.Header().Get("X-Kept") != "1" || w.Header().Get(HeaderErrorCode) == "" {
		t.Errorf("sent %d %v, %d bytes", w.Code, w.Header(), w.Body.Len())
	}
}

func TestDecodeJSON(t *testing.T) {
	tests := []struct {
		name, contentType, body string
		status                  int
	}{
		{"good", "application/json; charset=utf-8", `{"doel":"pw-uitkering"}`, 200},
		{"no type", "", `{}`, 415},
		{"form", "application/x-www-form-urlencoded", `doel=x`, 415},
		{"json-like", "application/jsonx", `{}`, 415},
		{"latin1", "application/json; charset=iso-8859-1", `{}`, 415},
		{"empty", "application/json", ``, 400},
		{"not json", "application/json", `doel`, 400},
		{"wrong type", "application/json", `{"doel":7}`, 400},
		{"duplicate", "application/json", `{"doel":"a","doel":"b"}`, 400},
		{"unknown", "application/json", `{"dool":"a"}`, 400},
		{"trailing", "application/json", `{"doel":"a"}{}`, 400},
		{"deep", "application/json", `{"doel":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, 400},
		{"too large", "application/json", `{"doel":"` + strings.Repeat("a", 2000) + `"}`, 413},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(tt.body))
			r.Header.Set("Content-Type", tt.contentType)
			var into struct {
				Doel string `json:"doel"`
			}
			if err := DecodeJSON(w, r, 1000, &into); err != nil {
				WriteProblem(w, r, err)
			}
			if w.Code != tt.status {
				t.Errorf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if tt.status == 413 && !strings.Contains(w.Body.String(), "1000") {
				t.Errorf("the limit is not named: %s", w.Body)
			}
		})
	}
}

func TestRouter(t *testing.T) {
	router := NewRouter("1.2.3")
	router.HandleFunc("/v1/contracten", func(w http.ResponseWriter, r *http.Request) {
		WriteJSON(w, r, 200, map[string]string{"a": "b"})
	}).Methods(http.MethodGet, http.MethodPost)
	tests := []struct {
		method, path string
		want         int
	}{
		{"GET", "/v1/contracten", 200},
		{"GET", "/v1/contracten/", 404},
		{"GET", "/v1//contracten", 404},
		{"GET", "/v1/../v1/contracten", 404},
		{"DELETE", "/v1/contracten", 405},
		{"GET", "/", 404},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		router.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, w.Code, tt.want)
		}
		for _, name := range []string{"API-Version", "Cache-Control", "Content-Security-Policy", "Strict-Transport-Security", "X-Content-Type-Options", "X-Frame-Options"} {
			if w.Header().Get(name) == "" {
				t.Errorf("%s %s: no %s", tt.method, tt.path, name)
			}
		}
		if got := w.Header().Get("Allow"); tt.want == 405 && got != "GET, POST" {
			t.Errorf("Allow = %q", got)
		}
		if ct := w.Header().Get("Content-Type"); tt.want >= 400 && ct != "application/problem+json" {
			t.Errorf("%s %s: Content-Type %q", tt.method, tt.path, ct)
		}
	}
}

func TestAcceptJSON(t *testing.T) {
	for accept, want := range map[string]int{
		"": 200, "*/*": 200, "text/html, application/json;q=0.5": 200, "application/*": 200, "text/html": 406, "application/json;q=0": 406, "application/json;q=0.0": 406,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if accept != "" {
			r.Header.Set("Accept", accept)
		}
		w := httptest.NewRecorder()
		AcceptJSON(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("Accept %q: %d, want %d", accept, w.Code, want)
		}
	}
}

func TestServerPanic(t *testing.T) {
	var out bytes.Buffer
	const secret = "999993653 in a panic"
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
		}
		panic(fmt.Errorf("%s", secret))
	}), nil, slog.New(slog.NewJSONHandler(&out, nil)))
	srv.Start()
	defer srv.Close()
	resp, err := http.Get(srv.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != 500 {
		t.Errorf("status %d", resp.StatusCode)
	}
	resp, err = http.Get(srv.URL + "/late")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("an answer that broke off looks whole")
	}
	_ = resp.Body.Close()
	srv.Close()
	if strings.Contains(out.String()+string(body), "999993653") {
		t.Errorf("the value of a panic leaked: %s %s", out.String(), body)
	}
	if !strings.Contains(out.String(), "panic in handler") {
		t.Error("the panic was not logged")
	}
}

func TestServerLimits(t *testing.T) {
	srv := NewServer(nil, nil, slog.New(slog.DiscardHandler))
	for name, d := range map[string]time.Duration{
		"ReadHeaderTimeout": srv.ReadHeaderTimeout, "ReadTimeout": srv.ReadTimeout, "WriteTimeout": srv.WriteTimeout, "IdleTimeout": srv.IdleTimeout,
	} {
		if d <= 0 {
			t.Errorf("%s is not set", name)
		}
	}
	if srv.MaxHeaderBytes <= 0 {
		t.Error("MaxHeaderBytes is not set")
	}
}

func TestTrace(t *testing.T) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-893e1b2ac52d712f-00"
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Traceparent", parent)
	r.Header.Set("Tracestate", "a=1")
	child := TraceFrom(r).Child()
	if child.TraceID != "4bf92f3577b34da6a3ce929d0e0e4736" || child.Parent != "893e1b2ac52d712f" || child.Sampled || child.State != "a=1" {
		t.Errorf("child = %+v", child)
	}
	out := http.Header{"Tracestate": {"old=1"}}
	SetTrace(out, child)
	if got := out.Get("Traceparent"); !strings.HasPrefix(got, "00-"+child.TraceID+"-"+child.SpanID) || out.Get("Tracestate") != "a=1" {
		t.Errorf("header = %v", out)
	}
	r.Header.Set("Traceparent", "garbage")
	if fresh := TraceFrom(r); fresh.TraceID == child.TraceID || fresh.State != "" {
		t.Errorf("a malformed traceparent gave %+v", fresh)
	}
}

func TestRecorder(t *testing.T) {
	w := httptest.NewRecorder()
	rec := NewRecorder(w)
	if rec.Started() {
		t.Error("started before anything was written")
	}
	rec.WriteHeader(http.StatusTeapot)
	_, _ = io.WriteString(rec, "abc")
	if err := http.NewResponseController(rec).Flush(); err != nil || !w.Flushed {
		t.Errorf("Flush: %v, flushed %v", err, w.Flushed)
	}
	if rec.Status() != http.StatusTeapot || rec.Bytes() != 3 {
		t.Errorf("status %d, bytes %d", rec.Status(), rec.Bytes())
	}
	hinted := NewRecorder(httptest.NewRecorder())
	hinted.WriteHeader(http.StatusEarlyHints)
	if hinted.Started() {
		t.Error("103 counts as the answer")
	}
	implicit := NewRecorder(httptest.NewRecorder())
	_, _ = io.WriteString(implicit, "abc")
	if implicit.Status() != 200 {
		t.Errorf("implicit status %d", implicit.Status())
	}
	body := CountBody(io.NopCloser(strings.NewReader("12345")))
	_, _ = io.ReadAll(body)
	if body.Bytes() != 5 || CountBody(nil).Bytes() != 0 {
		t.Errorf("counted %d", body.Bytes())
	}
	var pool BufferPool
	b := pool.Get()
	pool.Put(b)
	pool.Put(make([]byte, 3))
	if got := len(pool.Get()); got != len(b) {
		t.Errorf("buffer of %d", got)
	}
}

func TestBearer(t *testing.T) {
	for value, want := range map[string]string{"Bearer a.b.c": "a.b.c", "bearer a": "a", "a.b.c": "a.b.c", "Basic xyz": "", "": "", "Bearer": "Bearer"} {
		if got := Bearer(value, true); got != want {
			t.Errorf("Bearer(%q) = %q, want %q", value, got, want)
		}
	}
	if got := Bearer("a.b.c", false); got != "" {
		t.Errorf("bare token accepted: %q", got)
	}
}

// What a body is does not follow from what the caller says of its length.
func TestReadBody(t *testing.T) {
	big := strings.Repeat("x", 100)
	for _, tt := range []struct {
		name   string
		body   string
		length int64 // that is said; -1: nothing
		broken error // how it ends
		want   string
		code   string
	}{
		{"as said", "12345", 5, nil, "12345", ""},
		{"nothing said", "12345", -1, nil, "12345", ""},
		{"empty", "", 0, nil, "", ""},
		{"shorter", "1234", 5, nil, "", "broke off"},
		{"broken off where it ends", "12345", 5, io.ErrClosedPipe, "", "broke off"},
		{"broken off", "1234", 5, io.ErrUnexpectedEOF, "", "broke off"},
		{"longer", "123456", 5, nil, "", "broke off"},
		{"at the limit", big, 100, nil, big, ""},
		{"at the limit, nothing said", big, -1, nil, big, ""},
		{"over it", big + "x", 101, nil, "", CodeBodyTooLarge},
		{"over it, nothing said", big + "x", -1, nil, "", CodeBodyTooLarge},
		{"over it, and says less", big + big, 5, nil, "", "broke off"},
		{"says much more", "x", 1 << 60, nil, "x", ""},
	} {
		body := io.Reader(strings.NewReader(tt.body))
		if tt.broken != nil {
			body = io.MultiReader(body, iotest.ErrReader(tt.broken))
		}
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Body, r.ContentLength = io.NopCloser(body), tt.length
		got, err := ReadBody(httptest.NewRecorder(), r, 100)
		if tt.code != "" {
			if gateway.KindOf(err) != gateway.Invalid || gateway.CodeOf(err) != tt.code && !strings.Contains(err.Error(), tt.code) || got != nil {
				t.Errorf("%s: got %q, %v; want an error with %q", tt.name, got, err, tt.code)
			}
			continue
		}
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %q, %v", tt.name, got, err)
		}
	}
}
