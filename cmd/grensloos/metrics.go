package main

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
)

// metrics counts what goes through a peer. What is counted comes from the audit records as they are kept and from the answers of
// the listeners, so that no other package knows of it. No label has a value of a person, and each has a bounded number of them.
type metrics struct {
	registry *prometheus.Registry

	requests  *counters
	durations *prometheus.HistogramVec
	inFlight  *prometheus.GaugeVec
	exchanges *counters
	decisions *counters
	records   *counters
	refused   prometheus.Counter

	codes   bounded
	reasons bounded
	known   func(gateway.Doel) bool // whether the catalogue has this purpose
}

// newMetrics makes the metrics of one peer; h tells what is measured at the moment that somebody asks.
func newMetrics(h *health) *metrics {
	counter := func(name, help string, labels ...string) *counters {
		return &counters{CounterVec: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "grensloos", Name: name, Help: help}, labels)}
	}
	m := &metrics{
		registry:  prometheus.NewRegistry(),
		requests:  counter("requests_total", "Requests at a listener of this peer: by role, outcome, and status or error code.", "role", "outcome", "code"),
		exchanges: counter("exchanges_total", "Ended exchanges with other peers (afloop records), by direction, outcome and error code.", "direction", "outcome", "code"),
		decisions: counter("decisions_total", "Policy decisions (ADL records), by purpose, by the role that asked, and outcome.", "doel", "role", "outcome"),
		records:   counter("audit_records_total", "Audit records that were kept, by kind.", "soort"),
		refused:   prometheus.NewCounter(prometheus.CounterOpts{Namespace: "grensloos", Name: "audit_refused_total", Help: "Appends that the journal refused: none of them was answered."}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "grensloos", Name: "request_duration_seconds", Help: "Time from the request to the end of the answer, by role.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"role"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "grensloos", Name: "requests_in_flight", Help: "Requests that are being served, by role."}, []string{"role"}),
		codes:    bounded{most: 64}, reasons: bounded{most: 32},
	}
	m.known = func(d gateway.Doel) bool {
		_, _, ok := h.p.policy.Session().Shared(d, h.p.now())
		return ok
	}
	m.registry.MustRegister(m.requests, m.durations, m.inFlight, m.exchanges, m.decisions, m.records, m.refused, newMoment(h),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// handler gives all of it in the Prometheus text format.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// observe counts the requests to one role.
func (m *metrics) observe(role string, next http.Handler) http.Handler {
	inFlight, duration := m.inFlight.WithLabelValues(role), m.durations.WithLabelValues(role)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := edge.NewRecorder(w)
		inFlight.Inc()
		whole := false // false: a panic goes by
		defer func() {
			inFlight.Dec()
			duration.Observe(time.Since(start).Seconds())
			outcome, code := m.outcome(rec, whole)
			m.requests.inc(role, outcome, code)
		}()
		next.ServeHTTP(rec, r)
		whole = true
	})
}

// outcome says in the words of the afloop record how a request ended. The code is the error code of FSC Core if the answer has one,
// else the status.
func (m *metrics) outcome(rec *edge.Recorder, whole bool) (outcome, code string) {
	status := rec.Status()
	if status == 0 && whole {
		status = http.StatusOK
	}
	code = strconv.Itoa(status)
	if e := edge.ErrorCode(rec.Header()); e != "" {
		code = m.codes.value(e)
	}
	switch {
	case !whole || rec.Failed() != nil:
		return audit.Afgebroken, code
	case status >= 500:
		return audit.Mislukt, code
	case status >= 400:
		return audit.Geweigerd, code
	}
	return audit.Beantwoord, code
}

// see counts one record that was kept.
func (m *metrics) see(rec audit.Record) {
	m.records.inc(string(rec.Soort))
	switch rec.Soort { //nolint:exhaustive // the others are counted, and no more
	case audit.Afloop:
		t := rec.Telling
		m.exchanges.inc(string(t.Richting), m.reasons.value(t.Uitkomst), m.codes.value(t.Fout))
	case audit.ADL:
		t := rec.Telling
		name := string(t.Doel)
		switch {
		case t.Doel == "":
			name = "geen"
		case !m.known(t.Doel):
			name = other
		}
		m.decisions.inc(name, m.reasons.value(t.Rol), t.Uitkomst)
	}
}

// counters are counters by the values of at most three labels, with what CounterVec takes longest for beside it: the counter of each
// combination that was seen. There are as many of these as CounterVec has series.
type counters struct {
	*prometheus.CounterVec
	mu   sync.RWMutex
	seen map[[3]string]prometheus.Counter // guarded by mu
}

func (c *counters) inc(values ...string) {
	var key [3]string
	copy(key[:], values)
	c.mu.RLock()
	counter := c.seen[key]
	c.mu.RUnlock()
	if counter == nil {
		counter = c.WithLabelValues(values...)
		c.mu.Lock()
		if c.seen == nil {
			c.seen = map[[3]string]prometheus.Counter{}
		}
		c.seen[key] = counter
		c.mu.Unlock()
	}
	counter.Inc()
}

// other stands for every value beyond a bound.
const other = "overig"

// bounded lets through the first values that it sees, up to most of them, and makes other of the rest: what a stranger can choose
// must not become a series each.
type bounded struct {
	most int
	mu   sync.Mutex
	seen map[string]bool // guarded by mu
}

func (b *bounded) value(v string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.seen[v]:
		return v
	case len(v) > 80 || len(b.seen) >= b.most:
		return other
	case b.seen == nil:
		b.seen = map[string]bool{}
	}
	v = strings.Clone(v)
	b.seen[v] = true
	return v
}

// moment is what is measured when somebody asks.
type moment struct {
	h *health

	build, ready, lagBytes, lagSeconds, contracts, certificate, crl *prometheus.Desc
}

func newMoment(h *health) *moment {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("grensloos_"+name, help, labels, nil)
	}
	return &moment{
		h:           h,
		build:       desc("build_info", "Version of this program and digest of the group rules; the value is always 1.", "version", "group_rules"),
		ready:       desc("ready", "Whether a part without which this peer can't work is ready.", "part"),
		lagBytes:    desc("journal_lag_bytes", "Bytes in the journal that wait for shipping to Kafka."),
		lagSeconds:  desc("journal_lag_seconds", "How long the oldest record in the journal waits for shipping to Kafka."),
		contracts:   desc("contracts", "Contracts of this peer, by state.", "state"),
		certificate: desc("certificate_seconds_left", "Seconds until a certificate of this peer ends.", "certificate"),
		crl:         desc("crl_seconds_left", "Seconds until the nextUpdate of the revocation list of an issuer.", "issuer"),
	}
}

// Describe implements prometheus.Collector.
func (m *moment) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.build, m.ready, m.lagBytes, m.lagSeconds, m.contracts, m.certificate, m.crl} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *moment) Collect(out chan<- prometheus.Metric) {
	p := m.h.p
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), pingWithin)
	defer cancel()
	gauge(m.build, 1, version(), p.cfg.Group.digest())
	for _, part := range m.h.parts(ctx) {
		value := 0.0
		if part.Gereed {
			value = 1
		}
		gauge(m.ready, value, part.Naam)
	}
	lag, age := p.journal.Lag()
	gauge(m.lagBytes, float64(lag))
	gauge(m.lagSeconds, age.Seconds())
	if p.manager != nil { // who only follows contracts does not count them
		if counts := m.h.contracts(ctx); counts.Fout == "" {
			for _, state := range []contract.State{contract.Proposed, contract.NotYet, contract.Valid, contract.Rejected, contract.Revoked, contract.Expired} {
				gauge(m.contracts, float64(counts.PerToestand[beheer.Toestand(state)]), string(state))
			}
		}
	}
	now := p.now()
	if p.identity != nil {
		gauge(m.certificate, p.identity.Cert().NotAfter.Sub(now).Seconds(), "groep")
	}
	if p.network != nil {
		gauge(m.certificate, p.network.Cert().NotAfter.Sub(now).Seconds(), "netwerk")
	}
	seen := map[string]bool{}
	for _, l := range p.group.CRLs() {
		if !seen[l.Issuer] { // two lists of one name would be one series twice
			seen[l.Issuer] = true
			gauge(m.crl, l.NextUpdate.Sub(now).Seconds(), l.Issuer)
		}
	}
}

// watchedLog keeps records in a log and shows them, when they are kept, to those who count or follow them.
type watchedLog struct {
	audit.Log
	metrics *metrics
	watch   *watchers
}

// Append keeps the records; see audit.Log.
func (l *watchedLog) Append(ctx context.Context, recs ...audit.Record) error {
	return l.tell(l.Log.Append(ctx, recs...), recs)
}

// Later keeps what nothing waits for; see audit.Later.
func (l *watchedLog) Later(ctx context.Context, recs ...audit.Record) error {
	return l.tell(audit.Later(ctx, l.Log, recs...), recs)
}

func (l *watchedLog) tell(err error, recs []audit.Record) error {
	if err != nil {
		l.metrics.refused.Inc()
		return err
	}
	for _, rec := range recs {
		l.metrics.see(rec)
	}
	l.watch.show(recs)
	return nil
}
