package bevraging_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/bevraging"
	"github.com/grensloos/grensloos/gateway/edge"
)

// gem is the i-th gemeente of a region: its code, and its peer.
func gem(i int) string { return fmt.Sprintf("%04d", i) }

func gemPeer(i int) gateway.PeerID { return gateway.PeerID(fmt.Sprintf("00000099000000%04d00", i)) }

func number(r *http.Request) (i int)    { _, _ = fmt.Sscanf(string(peerOf(r))[14:18], "%d", &i); return i }
func named(in ...int) string            { return namedAs("pw-reintegratie", in...) }
func grantOf(i int) gateway.GrantHash   { return grantHash + "-" + gateway.GrantHash(gemPeer(i)) }
func wait(r *http.Request)              { <-r.Context().Done() }
func after(d time.Duration) func() bool { time.Sleep(d); return func() bool { return true } }

func namedAs(doel string, in ...int) string {
	var names []string
	for _, i := range in {
		names = append(names, `"`+gem(i)+`"`)
	}
	return strings.Replace(strings.Replace(question, `"0147"`, strings.Join(names, ","), 1), `"pw-reintegratie"`, `"`+doel+`"`, 1)
}

// newRegion is a fixture with gemeenten 1 to n, each with a contract, each answering through do.
func newRegion(t *testing.T, n int, do func(r *http.Request, i int) (*http.Response, error)) *fixture {
	t.Helper()
	f := newFixture(t)
	f.grants.all, f.handler.Gemeenten = nil, nil
	for i := 1; i <= n; i++ {
		g := grantFor(builtin(), reint, gemPeer(i))
		g.Hash = grantOf(i)
		f.grants.all = append(f.grants.all, g)
		f.handler.Gemeenten = append(f.handler.Gemeenten, bevraging.Gemeente{ID: gemPeer(i), Naam: "Gemeente " + gem(i), Code: gem(i)})
	}
	f.outway.each = func(r *http.Request) (*http.Response, error) { return do(r, number(r)) }
	return f
}

// reply is an answer with a receipt and a transaction of its own.
func reply(r *http.Request, status int, body string, header ...string) (*http.Response, error) {
	id := string(gateway.NewTransactionID(now))
	body = strings.ReplaceAll(body, transact, id)
	resp := &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: r, Header: http.Header{
		"Content-Type": {"application/json"}, "Fsc-Transaction-Id": {id},
	}}
	if status == http.StatusOK {
		resp.Header.Set("Grensloos-Kwitantie", receipt(r, body, nil))
	}
	for i := 0; i < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp, nil
}

const (
	niets   = `{"transactie":"` + transact + `","doel":"pw-reintegratie","doelVersie":1,"geheim":false,"diensten":[{"dienst":"uitkering","uitkomst":"geen-gegevens","rijen":[],"onthouden":[]}]}`
	bronUit = `{"transactie":"` + transact + `","doel":"pw-reintegratie","doelVersie":1,"geheim":false,"diensten":[{"dienst":"uitkering","uitkomst":"bron-onbereikbaar","reden":{"code":"bron-onbereikbaar","tekst":"x"},"rijen":[],"onthouden":[]}]}`
)

func good(r *http.Request) (*http.Response, error) { return reply(r, 200, beantwoord) }

// per is the outcome and reason of each gemeente, by its code.
func per(a bevraging.Antwoord) map[string]string {
	out := map[string]string{}
	for _, g := range a.Gemeenten {
		out[g.Gemeentecode] = outcomes(bevraging.Antwoord{Gemeenten: []bevraging.GemeenteAntwoord{g}})["uitkering"]
	}
	return out
}

// All seven outcomes in one question: each gemeente has its own, in the order of the question, and the slow one takes its own time
// and nobody else's.
func TestSevenOutcomes(t *testing.T) {
	builtin()
	synctest.Test(t, func(t *testing.T) {
		f := newRegion(t, 7, func(r *http.Request, i int) (*http.Response, error) {
			switch i {
			case 1:
				return good(r)
			case 2:
				return reply(r, 200, niets)
			case 3:
				return reply(r, 403, `{"code":"afnemer-niet-bevoegd"}`)
			case 4:
				return reply(r, 200, bronUit)
			case 5:
				return nil, errors.New("connection refused")
			default:
				wait(r)
				return nil, r.Context().Err()
			}
		})
		f.grants.all = f.grants.all[:6]
		start := time.Now()
		a := f.answer(named(7, 6, 5, 4, 3, 2, 1))
		want := map[string]string{
			"0001": "beantwoord", "0002": "geen-gegevens", "0003": "geweigerd afnemer-niet-bevoegd", "0004": "bron-onbereikbaar bron-onbereikbaar",
			"0005": "onbereikbaar geen-verbinding", "0006": "te-laat te-laat", "0007": "niet-gevraagd geen-contract",
		}
		if diff := cmp.Diff(want, per(a)); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
		if a.Volledig || a.Gemeenten[0].Gemeentecode != "0007" || a.Gemeenten[6].Gemeentecode != "0001" {
			t.Errorf("volledig %v, order %s ... %s", a.Volledig, a.Gemeenten[0].Gemeentecode, a.Gemeenten[6].Gemeentecode)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("took %s, want the time that one gemeente has", took)
		}
		for i, r := range f.outway.sent {
			if r.Header.Get(edge.HeaderGrond) != "zaak" || peerOf(r) == gemPeer(7) {
				t.Errorf("request %d: ground %q to %s", i, r.Header.Get(edge.HeaderGrond), peerOf(r))
			}
		}
		spans := map[string]bool{}
		for _, r := range f.outway.sent {
			spans[r.Header.Get("Traceparent")] = true
		}
		if len(spans) != len(f.outway.sent) {
			t.Error("two questions share a span")
		}
	})
}

// One outcome is not whole, and one withheld field neither; all answered or unknown is.
func TestWholeOverAllGemeenten(t *testing.T) {
	for name, tc := range map[string]struct {
		third string
		want  bool
	}{
		"all":      {niets, true},
		"one down": {bronUit, false},
		"withheld": {strings.Replace(beantwoord, `,"soort":"ioaw"}}],"onthouden":[]`, `}}],"onthouden":[{"velden":["soort"],"reden":{"code":"geweigerd","tekst":"x"}}]`, 1), false},
	} {
		f := newRegion(t, 3, func(r *http.Request, i int) (*http.Response, error) {
			if i == 3 {
				return reply(r, 200, tc.third)
			}
			return good(r)
		})
		if a := f.answer(named(1, 2, 3)); a.Volledig != tc.want {
			t.Errorf("%s: volledig %v, want %v", name, a.Volledig, tc.want)
		}
	}
}

// clocked notes when each piece of a stream was flushed.
type clocked struct {
	*httptest.ResponseRecorder
	start time.Time
	mu    sync.Mutex
	lines []string
	buf   strings.Builder
	fail  bool
}

func newClocked() *clocked {
	return &clocked{ResponseRecorder: httptest.NewRecorder(), start: time.Now()}
}

func (c *clocked) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail {
		return 0, errors.New("broken pipe")
	}
	return c.buf.Write(p)
}

func (c *clocked) FlushError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buf.Len() > 0 {
		c.lines = append(c.lines, fmt.Sprintf("%s %s", time.Since(c.start), c.buf.String()))
		c.buf.Reset()
	}
	return nil
}

func (f *fixture) stream(ctx context.Context, w http.ResponseWriter, accept, body string) {
	f.t.Helper()
	r := f.request(body).WithContext(ctx)
	r.Header.Set("Accept", accept)
	f.serve(w, r)
}

func TestStreamShowsEachAsItAnswers(t *testing.T) {
	builtin()
	synctest.Test(t, func(t *testing.T) {
		f := newRegion(t, 4, func(r *http.Request, i int) (*http.Response, error) {
			if i == 3 {
				wait(r)
				return nil, r.Context().Err()
			}
			after(time.Duration(4-i) * time.Second)
			return good(r)
		})
		f.grants.all = f.grants.all[:3]
		for accept, want := range map[string][]string{
			"application/x-ndjson": {
				`0s {"oin":"` + string(gemPeer(4)), `2s {"oin":"` + string(gemPeer(2)), `3s {"oin":"` + string(gemPeer(1)), `10s {"oin":"` + string(gemPeer(3)),
				`10s {"doel":"pw-reintegratie","zaak":"Z-1","gevraagdOp":"2026-11-23T09:30:00Z","volledig":false,"aantal":4}` + "\n",
			},
			"text/event-stream, application/json;q=0.5": {
				"0s event: gevraagd\ndata: [{\"oin\":\"" + string(gemPeer(1)), "0s event: gemeente\ndata: {\"oin\":\"" + string(gemPeer(4)),
				"2s event: gemeente\ndata: {\"oin\":\"" + string(gemPeer(2)), "3s event: gemeente\n", "10s event: gemeente\n", "10s event: klaar\ndata: {\"doel\":",
			},
		} {
			w := newClocked()
			f.stream(t.Context(), w, accept, named(1, 2, 3, 4))
			if len(w.lines) != len(want) {
				t.Fatalf("%s: got %d pieces\n%s\nwant %d", accept, len(w.lines), strings.Join(w.lines, ""), len(want))
			}
			for i := range want {
				if !strings.HasPrefix(w.lines[i], want[i]) {
					t.Errorf("%s, piece %d: got %s\nwant %s", accept, i, w.lines[i], want[i])
				}
			}
			if w.Code != 200 || !strings.HasPrefix(accept, w.Header().Get("Content-Type")) {
				t.Errorf("got %d %s", w.Code, w.Header().Get("Content-Type"))
			}
		}
	})
}

// A client that hangs up ends every question that is under way, and what it read has no last line.
func TestHangUp(t *testing.T) {
	builtin()
	for name, hangUp := range map[string]func(cancel context.CancelFunc, w *clocked){
		"connection closed": func(cancel context.CancelFunc, _ *clocked) { cancel() },
		"write fails":       func(_ context.CancelFunc, w *clocked) { w.mu.Lock(); w.fail = true; w.mu.Unlock() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ended atomic.Int32
				f := newRegion(t, 5, func(r *http.Request, i int) (*http.Response, error) {
					if i < 3 {
						after(time.Duration(i) * time.Second)
						return good(r)
					}
					wait(r)
					ended.Add(1)
					return nil, r.Context().Err()
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w, start := newClocked(), time.Now()
				go func() { time.Sleep(1500 * time.Millisecond); hangUp(cancel, w) }()
				func() {
					defer func() { _ = recover() }() // the connection is cut
					f.stream(ctx, w, "application/x-ndjson", named(1, 2, 3, 4, 5))
				}()
				if took := time.Since(start); took > 2*time.Second || ended.Load() != 3 {
					t.Errorf("after %s %d of 3 had ended", took, ended.Load())
				}
				if len(w.lines) != 1 || strings.Contains(w.lines[0], "volledig") {
					t.Errorf("got %v, want one gemeente and no last line", w.lines)
				}
			})
		})
	}
}

func TestAccept(t *testing.T) {
	for accept, want := range map[string]string{
		"": "application/json", "*/*": "application/json", "application/*": "application/json", "application/json": "application/json",
		"text/event-stream": "text/event-stream", "text/*": "text/event-stream", "application/x-ndjson, */*;q=0.1": "application/x-ndjson",
		"application/json;q=0.2, text/event-stream;q=0.3": "text/event-stream", "application/problem+json, application/json": "application/json",
		"text/html": "application/problem+json", "application/json;q=0": "application/problem+json", "application/json;q=x": "application/problem+json",
	} {
		f := newRegion(t, 1, func(r *http.Request, _ int) (*http.Response, error) { return good(r) })
		w := httptest.NewRecorder()
		r := f.request(named(1))
		if accept != "" {
			r.Header.Set("Accept", accept)
		}
		f.serve(w, r)
		if got := w.Header().Get("Content-Type"); got != want {
			t.Errorf("Accept %q: got %d %s, want %s", accept, w.Code, got, want)
		}
		if refused := want == "application/problem+json"; refused != (w.Code == 406) || refused != (len(f.outway.sent) == 0) {
			t.Errorf("Accept %q: got %d, sent %d", accept, w.Code, len(f.outway.sent))
		}
	}
}

func TestReach(t *testing.T) {
	contact := func(f *fixture, in ...int) {
		f.grants.all = nil
		for _, i := range in {
			g := grantFor(builtin(), "casusregie-contact", gemPeer(i))
			g.Hash = grantOf(i)
			f.grants.all = append(f.grants.all, g)
		}
	}
	group := `{"doel":"casusregie-contact","zaak":"Z-1","zaaktype":"casusregie","bsn":"` + bsn + `"}`
	some := strings.Replace(group, `}`, `,"gemeenten":["0002",{"gemeente":"0003","grond":"verhuizing"}]}`, 1)
	for name, tc := range map[string]struct {
		change func(*fixture)
		body   string
		want   []string // code, ground, outcome
	}{
		"group: all with a contract": {func(f *fixture) { contact(f, 3, 1) }, group, []string{"0001 groep asked", "0003 groep asked"}},
		"group: some":                {func(f *fixture) { contact(f, 1, 2) }, some, []string{"0002 groep asked", "0003 verhuizing geen-contract"}},
		"group: nobody":              {func(f *fixture) { contact(f) }, group, []string{"0001 groep geen-contract", "0002 groep geen-contract", "0003 groep geen-contract"}},
		"group: a peer of which nothing is known": {
			func(f *fixture) { contact(f, 1, 3); f.handler.Gemeenten = f.handler.Gemeenten[:1] }, group,
			[]string{" groep asked", "0001 groep asked"},
		},
		"involved: named":         {nil, named(2, 1), []string{"0002 zaak asked", "0001 zaak asked"}},
		"involved: named twice":   {nil, named(2, 1, 2), []string{"0002 zaak asked", "0001 zaak asked"}},
		"involved: moved":         {nil, strings.Replace(named(1, 2), `"0002"`, `{"gemeente":"`+string(gemPeer(2))+`","grond":"verhuizing"}`, 1), []string{"0001 zaak asked", "0002 verhuizing asked"}},
		"involved: not the group": {nil, strings.Replace(named(1, 2), `"0002"`, `{"gemeente":"0002","grond":"groep"}`, 1), []string{"0001 zaak asked", "0002 groep buiten-reikwijdte"}},
		"residence": {
			nil, `{"doel":"doorverwijzing-welzijn","zaak":"Z-1","zaaktype":"doorverwijzing","bsn":"` + bsn + `","gemeenten":["2"]}`,
			[]string{"0002 woonplaats geen-contract"},
		},
		"residence: another ground": {
			nil, `{"doel":"doorverwijzing-welzijn","zaak":"Z-1","zaaktype":"doorverwijzing","bsn":"` + bsn + `","gemeenten":[{"gemeente":"2","grond":"zaak"}]}`,
			[]string{"0002 zaak buiten-reikwijdte"},
		},
		"not in the table, but a peer": {
			func(f *fixture) {
				f.handler.Indeling = func(string, time.Time, func(string) bool) (string, bool) { return "", false }
			}, named(1), []string{"0001 zaak asked"},
		},
		"joined since": {
			func(f *fixture) {
				f.handler.Bekend = func() []bevraging.Gemeente {
					return []bevraging.Gemeente{{ID: gemPeer(2), Naam: "Nieuw", Code: "0009"}}
				}
			}, strings.Replace(named(9), "0009", "GM9", 1), []string{"0009 zaak asked"},
		},
		"merged since": {
			func(f *fixture) {
				f.handler.Indeling = func(code string, op time.Time, bekend func(string) bool) (string, bool) {
					switch {
					case code != "0008" && code != "0009":
						return code, true
					case op.Equal(time.Date(2021, 6, 1, 0, 0, 0, 0, time.UTC)) && bekend("0001") && !bekend(code):
						return "0001", true
					}
					return "", false
				}
			}, strings.Replace(named(8, 9, 1), `"velden"`, `"peildatum":"2021-06-01","velden"`, 1), []string{"0001 zaak asked as 0008 0009"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newRegion(t, 3, func(r *http.Request, _ int) (*http.Response, error) { return reply(r, 502, "") })
			if tc.change != nil {
				tc.change(f)
			}
			a := f.answer(tc.body)
			var got []string
			for _, g := range a.Gemeenten {
				how := "asked"
				if d := g.Diensten[0]; d.Uitkomst == bevraging.NietGevraagd {
					how = d.Reden.Code
				}
				line := g.Gemeentecode + " " + string(g.Grond) + " " + how
				if len(g.GevraagdAls) > 0 {
					line += " as " + strings.Join(g.GevraagdAls, " ")
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			for _, r := range f.outway.sent {
				if r.Header.Get(edge.HeaderGrond) == "" {
					t.Error("a question without a ground was sent")
				}
			}
			for _, rec := range f.audit.Records() {
				if !strings.Contains(string(rec.Body), `"grond":"`) {
					t.Errorf("record without a ground: %s", rec.Body)
				}
			}
		})
	}
	for name, body := range map[string]string{
		"group too large":       group,
		"code of another time":  named(8),
		"known now, not then":   strings.Replace(named(1), `"velden"`, `"peildatum":"2020-01-01","velden"`, 1),
		"named, not of the day": strings.Replace(named(8), `"velden"`, `"peildatum":"2020-01-01","velden"`, 1),
	} {
		f := newRegion(t, 3, func(r *http.Request, _ int) (*http.Response, error) { return good(r) })
		contact(f, 1, 2, 3)
		f.handler.Config.MaxGemeenten = 2
		f.handler.Indeling = func(string, time.Time, func(string) bool) (string, bool) { return "", false }
		if status, answer := f.ask(body); status != 400 || !strings.Contains(answer, `"naam":"gemeenten"`) || len(f.outway.sent) != 0 {
			t.Errorf("%s: got %d %s", name, status, answer)
		}
	}
}

// What is denied here is on record before anything at all is sent.
func TestNothingIsSentBeforeTheRecord(t *testing.T) {
	f := newRegion(t, 3, func(r *http.Request, _ int) (*http.Response, error) { return good(r) })
	f.grants.all = f.grants.all[:2]
	f.audit.Fail = func(audit.Record) error { return errors.New("disk full") }
	if status, body := f.ask(named(1, 2, 3)); status != 503 || len(f.outway.sent) != 0 {
		t.Errorf("got %d %s, sent %d", status, body, len(f.outway.sent))
	}
}

// A question is sent a second time only when our own outway says that nothing was sent, for a reason that may pass, and there is time.
func TestSentOnce(t *testing.T) {
	builtin()
	for name, tc := range map[string]struct {
		status int
		header []string
		takes  time.Duration
		want   int
	}{
		"refused connection":       {502, []string{"Grensloos-Verstuurd", "nee"}, 0, 2},
		"manager away":             {503, []string{"Grensloos-Verstuurd", "nee"}, 0, 2},
		"lost connection":          {502, nil, 0, 1},
		"source down":              {503, nil, 0, 1},
		"denied, nothing sent":     {403, []string{"Grensloos-Verstuurd", "nee"}, 0, 1},
		"too late":                 {504, []string{"Grensloos-Verstuurd", "nee"}, 0, 1},
		"not sent, after too long": {502, []string{"Grensloos-Verstuurd", "nee"}, 6 * time.Second, 1},
		"answer with the mark":     {200, []string{"Grensloos-Verstuurd", "nee"}, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newRegion(t, 1, func(r *http.Request, _ int) (*http.Response, error) {
					time.Sleep(tc.takes)
					return reply(r, tc.status, "{}", tc.header...)
				})
				f.answer(named(1))
				if got := len(f.outway.sent); got != tc.want {
					t.Errorf("sent %d times, want %d", got, tc.want)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		times := 0
		f := newRegion(t, 1, func(r *http.Request, _ int) (*http.Response, error) {
			if times++; times == 1 {
				return reply(r, 502, "", "Grensloos-Verstuurd", "nee")
			}
			return good(r)
		})
		if a := f.answer(named(1)); !a.Volledig {
			t.Errorf("second time: got %v", per(a))
		}
	})
}

// One gemeente whose answer can't be used is a named failure; the rest stands.
func TestTheRestStands(t *testing.T) {
	builtin()
	for name, tc := range map[string]struct {
		do   func(r *http.Request) (*http.Response, error)
		want string
	}{
		"receipt of nonsense": {func(r *http.Request) (*http.Response, error) {
			return reply(r, 200, beantwoord, "Grensloos-Kwitantie", "a.b.c")
		}, "onbereikbaar kwitantie-past-niet"},
		"two receipts": {func(r *http.Request) (*http.Response, error) {
			resp, err := good(r)
			resp.Header.Add("Grensloos-Kwitantie", resp.Header.Get("Grensloos-Kwitantie"))
			return resp, err
		}, "onbereikbaar kwitantie-past-niet"},
		"two answers in one": {func(r *http.Request) (*http.Response, error) { return reply(r, 200, beantwoord+beantwoord) }, "onbereikbaar antwoord-onleesbaar"},
		"endless": {func(r *http.Request) (*http.Response, error) {
			resp, err := good(r)
			resp.Body = io.NopCloser(zeros{})
			return resp, err
		}, "onbereikbaar antwoord-te-groot"},
		"drips for ever": {func(r *http.Request) (*http.Response, error) {
			resp, err := good(r)
			body, w := io.Pipe()
			go func() {
				for {
					if _, err := w.Write([]byte(" ")); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			resp.Body = body
			return resp, err
		}, "te-laat te-laat"},
		"begins, and stops": {func(r *http.Request) (*http.Response, error) {
			resp, err := good(r)
			resp.Body, _ = io.Pipe()
			return resp, err
		}, "te-laat te-laat"},
		"panic": {func(*http.Request) (*http.Response, error) { panic(bsn) }, "onbereikbaar fout-bij-lezen"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newRegion(t, 3, func(r *http.Request, i int) (*http.Response, error) {
					if i == 2 {
						return good(r)
					}
					if i == 3 {
						return reply(r, 200, niets)
					}
					return tc.do(r)
				})
				want := map[string]string{"0001": tc.want, "0002": "beantwoord", "0003": "geen-gegevens"}
				a := f.answer(named(1, 2, 3))
				if diff := cmp.Diff(want, per(a)); diff != "" || a.Volledig {
					t.Errorf("volledig %v, outcomes (-want +got):\n%s", a.Volledig, diff)
				}
				if len(a.Gemeenten[0].Diensten[0].Rijen) > 0 {
					t.Error("a failure with data")
				}
				time.Sleep(2 * time.Second) // who still writes an answer finds nobody
			})
		})
	}
}

// One transaction has one answer.
func TestAnswersTwice(t *testing.T) {
	f := newRegion(t, 2, func(r *http.Request, _ int) (*http.Response, error) {
		resp, err := good(r)
		resp.Header.Set("Fsc-Transaction-Id", transact)
		resp.Header.Set("Grensloos-Kwitantie", receipt(r, beantwoord, nil))
		resp.Body = io.NopCloser(strings.NewReader(beantwoord))
		return resp, err
	})
	got := per(f.answer(named(1, 2)))
	if got["0001"] == got["0002"] || got["0001"] != "beantwoord" && got["0002"] != "beantwoord" {
		t.Errorf("got %v, want one answer and one failure", got)
	}
}
