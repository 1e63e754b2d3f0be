package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
)

// counted makes metrics of no peer: what is measured at the moment is left out.
func counted(t *testing.T) *metrics {
	t.Helper()
	m := newMetrics(&health{})
	m.registry = prometheus.NewRegistry()
	m.registry.MustRegister(m.requests, m.exchanges, m.decisions, m.records, m.refused)
	m.known = func(d gateway.Doel) bool { return d == "pw-uitkering" }
	return m
}

func (m *metrics) lines(t *testing.T) []string {
	t.Helper()
	out := httptest.NewRecorder()
	m.handler().ServeHTTP(out, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	var lines []string
	for line := range strings.SplitSeq(out.Body.String(), "\n") {
		if line != "" && line[0] != '#' {
			lines = append(lines, strings.TrimPrefix(line, "grensloos_"))
		}
	}
	return lines
}

func (m *metrics) want(t *testing.T, want ...string) {
	t.Helper()
	all := strings.Join(m.lines(t), "\n") + "\n"
	for _, w := range want {
		if !strings.Contains(all, w+"\n") {
			t.Errorf("no %s in\n%s", w, all)
		}
	}
}

func TestMetricsOfRequests(t *testing.T) {
	m := counted(t)
	serve := func(h http.HandlerFunc) {
		defer func() { _ = recover() }()
		m.observe("inway", h).ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	}
	serve(func(http.ResponseWriter, *http.Request) {})
	serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	serve(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(edge.HeaderErrorCode, "ERROR_CODE_ACCESS_TOKEN_INVALID")
		w.WriteHeader(http.StatusForbidden)
	})
	serve(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("half"))
		panic(http.ErrAbortHandler)
	})
	m.want(t,
		`requests_total{code="200",outcome="beantwoord",role="inway"} 1`,
		`requests_total{code="502",outcome="mislukt",role="inway"} 1`,
		`requests_total{code="ERROR_CODE_ACCESS_TOKEN_INVALID",outcome="geweigerd",role="inway"} 1`,
		`requests_total{code="200",outcome="afgebroken",role="inway"} 1`,
	)
	for i := range 1000 { // a service behind us that makes up codes
		serve(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(edge.HeaderErrorCode, "CODE_"+string([]byte{byte('A' + i%26), byte('A' + i/26%26), byte('A' + i/676)}))
			w.WriteHeader(http.StatusForbidden)
		})
	}
	serve(func(w http.ResponseWriter, _ *http.Request) { // a provider that writes a person there
		w.Header().Set(edge.HeaderErrorCode, "999990019")
		w.WriteHeader(http.StatusForbidden)
	})
	if strings.Contains(strings.Join(m.lines(t), "\n"), "999990019") {
		t.Error("a number of a person is shown to whoever asks for metrics")
	}
	if n := len(m.lines(t)); n > 80 || len(m.requests.seen) >= n {
		t.Errorf("%d series after a thousand made-up codes, %d counters of requests kept", n, len(m.requests.seen))
	}
}

func TestMetricsOfDecisions(t *testing.T) {
	m := counted(t)
	now := time.Now()
	adl := func(doel string, d gateway.Decision, broken bool, diensten ...gateway.Dienst) {
		e := audit.Evaluation{Producent: borneID, Rol: "inway", Decision: d, Mislukt: broken}
		for _, dienst := range diensten {
			e.Vragen = append(e.Vragen, audit.EvaluationItem{Dienst: dienst, Context: map[string]any{"doel": doel}})
		}
		m.see(audit.NewADL(now, e))
	}
	both := gateway.Velden{"persoon": {"naam"}, "uitkering": {"loopt"}}
	adl("pw-uitkering", gateway.Decision{Allow: true}, false, "")
	adl("pw-uitkering", gateway.Decision{}, false, "")
	adl("pw-uitkering", gateway.Decision{Allow: true, Velden: both}, false, "persoon", "uitkering")
	adl("pw-uitkering", gateway.Decision{Allow: true, Velden: gateway.Velden{"persoon": {"naam"}}}, false, "persoon", "uitkering")
	adl("pw-uitkering", gateway.Decision{}, true, "")
	for i := range 1000 { // purposes that nobody knows
		adl(fmt.Sprint("verzonnen-", i), gateway.Decision{}, false, "")
	}
	m.want(t,
		`decisions_total{doel="pw-uitkering",outcome="toegestaan",role="inway"} 2`,
		`decisions_total{doel="pw-uitkering",outcome="deels",role="inway"} 1`,
		`decisions_total{doel="pw-uitkering",outcome="geweigerd",role="inway"} 1`,
		`decisions_total{doel="pw-uitkering",outcome="mislukt",role="inway"} 1`,
		`decisions_total{doel="overig",outcome="geweigerd",role="inway"} 1000`,
		`audit_records_total{soort="adl"} 1005`,
	)
}

// What was not kept is counted as refused and shown to nobody.
func TestWatchedLog(t *testing.T) {
	m := counted(t)
	memory := &audit.Memory{}
	log := &watchedLog{Log: memory, metrics: m, watch: &watchers{}}
	one, err := log.watch.add()
	if err != nil {
		t.Fatal(err)
	}
	rec := audit.NewAfloop(time.Now(), audit.Outcome{Richting: audit.Incoming, Uitkomst: audit.Geweigerd, Fout: "X"})
	if err := log.Append(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	memory.Fail = func(audit.Record) error { return errors.New("disk full") }
	if err := log.Append(t.Context(), rec); gateway.CodeOf(err) != audit.WriteError {
		t.Errorf("got %v, want the refusal of the log itself", err)
	}
	m.want(t, `audit_refused_total 1`, `audit_records_total{soort="afloop"} 1`, `exchanges_total{code="X",direction="DIRECTION_INCOMING",outcome="geweigerd"} 1`)
	if len(one.records) != 1 {
		t.Errorf("%d records shown, want the one that was kept", len(one.records))
	}
}

// Who follows never holds up who keeps: a slow one is let go, and the end of the process ends all.
func TestWatchers(t *testing.T) {
	w := &watchers{}
	slow, err := w.add()
	if err != nil {
		t.Fatal(err)
	}
	rec := audit.NewBeheer(time.Now(), audit.Act{Handeling: "x", Door: audit.Systeem})
	for range watchBuffer + 1 {
		w.show([]audit.Record{rec})
	}
	n := 0
	for range slow.records {
		n++
	}
	if n != watchBuffer || slow.stopped {
		t.Errorf("a slow watcher got %d and stopped=%v, want %d and to be let go", n, slow.stopped, watchBuffer)
	}
	var last *watcher
	for range maxWatchers {
		if last, err = w.add(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.add(); gateway.KindOf(err) != gateway.Unavailable {
		t.Errorf("one too many: got %v", err)
	}
	w.remove(last)
	if last, err = w.add(); err != nil {
		t.Errorf("after one left: %v", err)
	}
	w.stop()
	if _, more := <-last.records; more || !last.stopped {
		t.Error("the end of the process does not end the following")
	}
	if _, err := w.add(); err == nil {
		t.Error("a stopped process takes watchers")
	}
}

// TestCountersAtOnce: who meets a combination first at the same moment as another counts in the same counter.
func TestCountersAtOnce(t *testing.T) {
	m := counted(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				m.requests.inc("inway", "beantwoord", strconv.Itoa(200+i%10))
			}
		})
	}
	wg.Wait()
	m.want(t, `requests_total{code="200",outcome="beantwoord",role="inway"} 800`, `requests_total{code="209",outcome="beantwoord",role="inway"} 800`)
}

func BenchmarkWatchedLog(b *testing.B) {
	m := newMetrics(&health{})
	m.known = func(gateway.Doel) bool { return true }
	log := &watchedLog{Log: discardLog{}, metrics: m, watch: &watchers{}}
	rec := audit.NewADL(time.Now(), audit.Evaluation{Producent: borneID, Rol: "inway", Vragen: []audit.EvaluationItem{{Context: map[string]any{"doel": "pw-uitkering"}}}})
	for b.Loop() {
		_ = log.Append(b.Context(), rec)
	}
}

type discardLog struct{}

func (discardLog) Append(context.Context, ...audit.Record) error { return nil }
