package bevraging_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway/bevraging"
	"github.com/grensloos/grensloos/gateway/edge"
)

// All answers together have a bound; what does not fit is named, and an answer that is thrown away costs nothing.
func TestBytesTogether(t *testing.T) {
	large := strings.Replace(beantwoord, `"bron":"suite"`, `"bron":"`+strings.Repeat("x", 490)+`"`, 1)
	f := newRegion(t, 9, func(r *http.Request, i int) (*http.Response, error) {
		if i > 3 {
			return reply(r, 200, strings.Repeat("<html>", 10))
		}
		return reply(r, 200, large)
	})
	f.handler.Config.MaxAntwoord, f.handler.Config.MaxTotaal, f.handler.Config.MaxVerzoeken = 1000, int64(2*len(large)+100), 1
	got := map[string]int{}
	for _, outcome := range per(f.answer(named(9, 8, 7, 6, 5, 4, 3, 2, 1))) {
		got[outcome]++
	}
	want := map[string]int{"beantwoord": 2, "onbereikbaar antwoorden-te-groot": 1, "onbereikbaar antwoord-onleesbaar": 6}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

func TestQuestionsInFlight(t *testing.T) {
	builtin()
	synctest.Test(t, func(t *testing.T) {
		f := newRegion(t, 1, func(r *http.Request, _ int) (*http.Response, error) { after(time.Second); return good(r) })
		f.handler.Config.MaxVragen = 2
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { f.answer(named(1)) })
		}
		synctest.Wait()
		w := httptest.NewRecorder()
		f.serve(w, f.request(named(1)))
		var p edge.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 503 || w.Header().Get("Retry-After") == "" || p.Code != bevraging.CodeDruk {
			t.Errorf("got %d %v %s", w.Code, w.Header(), w.Body)
		}
		wg.Wait()
		f.answer(named(1))
		if got := len(f.outway.sent); got != 3 {
			t.Errorf("sent %d, want 3: nothing of the one that was refused", got)
		}
	})
}

// A slow gemeente has its own bound: questions to it wait or are not sent, and never hold up a question to another.
func TestSlowGemeenteTakesNotAll(t *testing.T) {
	builtin()
	synctest.Test(t, func(t *testing.T) {
		var busy, most atomic.Int32
		f := newRegion(t, 2, func(r *http.Request, i int) (*http.Response, error) {
			if i == 1 {
				if n := busy.Add(1); n > most.Load() {
					most.Store(n)
				}
				defer busy.Add(-1)
				after(9 * time.Second)
			}
			return good(r)
		})
		f.handler.Config = bevraging.Config{MaxPerGemeente: 2, MaxVerzoeken: 4, Timeout: 20 * time.Second, GemeenteTimeout: 10 * time.Second}
		var mu sync.Mutex
		counts, start := map[string]int{}, time.Now()
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				w := newClocked()
				f.stream(t.Context(), w, "application/x-ndjson", named(1, 2))
				mu.Lock()
				defer mu.Unlock()
				if !strings.HasPrefix(w.lines[0], `0s {"oin":"`+string(gemPeer(2))) {
					t.Errorf("first line %s, want gemeente 2 at once", w.lines[0])
				}
				for _, what := range []string{"beantwoord", bevraging.CodeDruk} {
					if strings.Contains(w.lines[1], `"`+what+`"`) {
						counts[what]++
					}
				}
			})
		}
		wg.Wait()
		if most.Load() != 2 || counts["beantwoord"] != 4 || counts[bevraging.CodeDruk] != 2 || time.Since(start) > 19*time.Second {
			t.Errorf("at most %d at once, %v, %s: want 2; two rounds of 2 answered, and 2 not sent as there was no time left", most.Load(), counts, time.Since(start))
		}
	})
}

// All questions together have a bound on what they send at once; what waits for its turn is sent after.
func TestRequestsInFlight(t *testing.T) {
	builtin()
	synctest.Test(t, func(t *testing.T) {
		var busy, most atomic.Int32
		f := newRegion(t, 5, func(r *http.Request, _ int) (*http.Response, error) {
			if n := busy.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer busy.Add(-1)
			after(time.Second)
			return good(r)
		})
		f.handler.Config = bevraging.Config{MaxVerzoeken: 2}
		start := time.Now()
		if a := f.answer(named(1, 2, 3, 4, 5)); !a.Volledig || most.Load() != 2 || time.Since(start) != 3*time.Second {
			t.Errorf("volledig %v, at most %d at once, %s; want all answered, 2 at a time, in 3 s", a.Volledig, most.Load(), time.Since(start))
		}
	})
}

// What waits for its turn costs an entry in a queue: were it a goroutine, fifty questions to the whole country would cost more
// memory for waiting than for asking. Who hangs up waits no longer.
func TestWaitingIsCheap(t *testing.T) {
	builtin()
	synctest.Test(t, func(t *testing.T) {
		const gemeenten = 99
		f := newRegion(t, gemeenten, func(r *http.Request, _ int) (*http.Response, error) { after(time.Second); return good(r) })
		f.handler.Config = bevraging.Config{MaxVerzoeken: 2}
		all := make([]int, gemeenten)
		for i := range all {
			all[i] = i + 1
		}
		ctx, hangUp := context.WithCancel(t.Context())
		before := runtime.NumGoroutine()
		var wg sync.WaitGroup
		wg.Go(func() {
			defer func() {
				if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // what net/http itself compares
					t.Errorf("got %v, want the stream aborted", p)
				}
			}()
			f.stream(ctx, newClocked(), "application/x-ndjson", named(all...))
		})
		synctest.Wait()
		if more := runtime.NumGoroutine() - before; more > 20 {
			t.Errorf("%d goroutines more for %d requests of which 2 are under way", more, gemeenten)
		}
		hangUp()
		wg.Wait()
		synctest.Wait()
		if got := len(f.outway.sent); got != 2 {
			t.Errorf("sent %d, want the 2 that were under way", got)
		}
	})
}

func TestConfig(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg bevraging.Config
		bad string
	}{
		"default":       {bevraging.Config{}, ""},
		"short":         {bevraging.Config{Timeout: time.Second}, ""},
		"long":          {bevraging.Config{Timeout: time.Minute}, "wachttijd:"},
		"gemeente long": {bevraging.Config{Timeout: time.Second, GemeenteTimeout: 2 * time.Second}, "wachttijdGemeente:"},
		"gemeenten":     {bevraging.Config{MaxGemeenten: 401}, "gemeenten:"},
		"bytes":         {bevraging.Config{MaxAntwoord: -1}, "antwoordBytes:"},
		"total":         {bevraging.Config{MaxTotaal: 1}, "totaalBytes:"},
		"questions":     {bevraging.Config{MaxVragen: -1}, "vragen:"},
		"per gemeente":  {bevraging.Config{MaxPerGemeente: -1}, "vragenPerGemeente:"},
		"requests":      {bevraging.Config{MaxVerzoeken: -1}, "verzoeken:"},
	} {
		err := tc.cfg.Check()
		if (err == nil) != (tc.bad == "") || err != nil && !strings.HasPrefix(err.Error(), tc.bad) {
			t.Errorf("%s: got %v, want %q", name, err, tc.bad)
		}
		f := newFixture(t)
		f.handler.Config = tc.cfg
		if _, err := f.handler.Router(); (err == nil) != (tc.bad == "") {
			t.Errorf("%s: router %v", name, err)
		}
	}
}
