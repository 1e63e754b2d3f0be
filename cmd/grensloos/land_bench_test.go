package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway/bevraging"
)

// landGrootte is how many gemeenten the Netherlands have, and in how many processes they run here.
const landGrootte, landProcessen = 342, 4

// getelde counts the parts of answers by outcome: a benchmark reports what is not answered, so that no figure hides it.
type getelde struct {
	mu sync.Mutex
	n  map[string]int
}

func (g *getelde) erbij(a bevraging.Antwoord) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n == nil {
		g.n = map[string]int{}
	}
	for what, n := range telling(a) {
		g.n[what] += n
	}
}

// meld reports outcomes per question; parts that are missing altogether are an error.
func (g *getelde) meld(b *testing.B, vragen int) {
	b.Helper()
	total := 0
	for what, n := range g.n {
		total += n
		b.Logf("%s: %d of %d parts", what, n, vragen*landGrootte)
	}
	b.ReportMetric(float64(g.n[string(bevraging.Beantwoord)])/float64(vragen), "beantwoord/vraag")
	if total != vragen*landGrootte {
		b.Errorf("got %d parts of %d questions, want %d", total, vragen, vragen*landGrootte)
	}
}

// tijden reports the spread of the questions' durations.
func tijden(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	at := func(p float64) float64 {
		return float64(took[min(len(took)-1, int(p*float64(len(took))))].Microseconds()) / 1000
	}
	b.ReportMetric(at(.5), "p50-ms")
	b.ReportMetric(at(.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
}

// gebruik reports what the asker's own process uses: the most memory that was resident since it started, its heap after a
// collection, open files, and connections at the gemeenten.
func (l *land) gebruik(b *testing.B) {
	b.Helper()
	pid := l.child.cmd.Process.Pid
	b.ReportMetric(geheugen(b, pid, "VmHWM:"), "rss-MiB")
	b.ReportMetric(geheugen(b, pid, "RssFile:"), "waarvan-programma-MiB")
	b.ReportMetric(float64(l.bestanden()), "fds")
	var before, after runtime.MemStats
	l.meet("/memstats", &before)
	l.meet("/memstats?gc", &after)
	b.ReportMetric(float64(before.HeapSys-before.HeapReleased)/(1<<20), "heap-MiB")
	b.ReportMetric(float64(after.HeapAlloc)/(1<<20), "levend-MiB")
	s := l.stand()
	b.ReportMetric(float64(s.MeestPer), "verbindingen/gemeente")
	b.ReportMetric(float64(s.Meest), "verbindingen")
}

// bestanden is how many files and connections the asker has open.
func (l *land) bestanden() int {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", l.child.cmd.Process.Pid))
	must(l.tb, err)
	return len(open)
}

// cpuVan is the processor time that a process used so far, all its threads together.
func cpuVan(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(tb, err)
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:])) // the name of the program may hold anything
	var ticks int
	for _, field := range fields[11:13] { // utime, stime, in hundredths of a second
		n, err := strconv.Atoi(field)
		must(tb, err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// cpu gives the processor time of the asker and of all gemeenten together.
func (l *land) cpu() (asker, gemeenten time.Duration) {
	l.tb.Helper()
	for _, d := range l.delen {
		gemeenten += cpuVan(l.tb, d.cmd.Process.Pid)
	}
	return cpuVan(l.tb, l.child.cmd.Process.Pid), gemeenten
}

// rekenwerk reports the processor time per question since before: unlike the duration, it is the same on a busy machine.
func (l *land) rekenwerk(b *testing.B, vragen int, asker, gemeenten time.Duration) {
	b.Helper()
	a, g := l.cpu()
	b.ReportMetric(float64((a-asker).Milliseconds())/float64(vragen), "vrager-cpu-ms/vraag")
	b.ReportMetric(float64((g-gemeenten).Milliseconds())/float64(vragen), "gemeenten-cpu-ms/vraag")
}

func (l *land) haal(path string) []byte {
	l.tb.Helper()
	resp, err := http.Get("http://" + l.pprof + path)
	must(l.tb, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(l.tb, err)
	return raw
}

func (l *land) meet(path string, into any) {
	l.tb.Helper()
	must(l.tb, json.NewDecoder(bytes.NewReader(l.haal(path))).Decode(into))
}

// profiel takes a CPU profile of the asker while a benchmark runs, if GRENSLOOS_LAND_PROFIEL names a folder for it.
func (l *land) profiel(b *testing.B, seconds int) (wait func()) {
	dir := os.Getenv("GRENSLOOS_LAND_PROFIEL")
	if dir == "" {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw := l.haal(fmt.Sprintf("/profile?seconds=%d", seconds))
		if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(b.Name(), "/", "-")+".pprof"), raw, 0o600); err != nil {
			b.Error(err)
		}
	}()
	return func() { <-done }
}

// BenchmarkLandKoud is the first question to the whole country of an asker that just started: no connection, no token, no key set.
func BenchmarkLandKoud(b *testing.B) {
	l := startLand(b, landGrootte, landProcessen)
	var took []time.Duration
	var parts getelde
	for b.Loop() {
		b.StopTimer()
		l.start()
		wait := l.profiel(b, 4)
		asker, gemeenten := l.cpu()
		b.StartTimer()
		a, d := l.vraag(landSnel)
		b.StopTimer()
		l.rekenwerk(b, 1, asker, gemeenten)
		wait()
		took = append(took, d)
		parts.erbij(a)
		l.stop()
		b.StartTimer()
	}
	tijden(b, took)
	parts.meld(b, len(took))
}

// BenchmarkLandWarm is one question after another, with the connections and tokens of before.
func BenchmarkLandWarm(b *testing.B) { benchmarkLand(b, landSnel) }

// BenchmarkLandTraag is the same with one gemeente that takes two seconds.
func BenchmarkLandTraag(b *testing.B) { benchmarkLand(b, landTraag) }

func benchmarkLand(b *testing.B, bsn string) {
	l := startLand(b, landGrootte, landProcessen)
	l.start()
	defer l.stop()
	l.vraag(landSnel)
	l.vraag(landSnel)
	var took []time.Duration
	var parts getelde
	wait := l.profiel(b, 10)
	asker, gemeenten := l.cpu()
	for b.Loop() {
		a, d := l.vraag(bsn)
		took = append(took, d)
		parts.erbij(a)
	}
	wait()
	l.rekenwerk(b, len(took), asker, gemeenten)
	tijden(b, took)
	parts.meld(b, len(took))
	l.gebruik(b)
}

// BenchmarkLandVijftig is fifty questions at once, to the whole country, one gemeente of which takes two seconds for each.
func BenchmarkLandVijftig(b *testing.B) {
	const vragen = 50
	l := startLand(b, landGrootte, landProcessen)
	l.ruim("wachttijd: 50s")
	l.start()
	defer l.stop()
	l.vraag(landSnel)
	var mu sync.Mutex
	var took []time.Duration
	var parts getelde
	var most atomic.Int64
	wait := l.profiel(b, 10)
	asker, gemeenten := l.cpu()
	for b.Loop() {
		var work sync.WaitGroup
		stop := make(chan struct{})
		go func() {
			for tick := time.NewTicker(50 * time.Millisecond); ; {
				select {
				case <-stop:
					tick.Stop()
					return
				case <-tick.C:
					most.Store(max(most.Load(), int64(l.bestanden())))
				}
			}
		}()
		for range vragen {
			work.Go(func() {
				a, d := l.vraag(landTraag)
				mu.Lock()
				took = append(took, d)
				mu.Unlock()
				parts.erbij(a)
			})
		}
		work.Wait()
		close(stop)
	}
	wait()
	l.rekenwerk(b, len(took), asker, gemeenten)
	tijden(b, took)
	parts.meld(b, len(took))
	l.gebruik(b)
	b.ReportMetric(float64(most.Load()), "meeste-fds")
}
