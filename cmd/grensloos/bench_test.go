package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/journal"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/policies"
)

// BenchmarkMetingen is `make bench`: the chains beside two bare proxies, and the parts of which a goal is set, in one run on one
// machine. It prints docs/performance.md's tables; with -short it takes a minute. GRENSLOOS_BENCH names a folder for the tables and the
// CPU profiles, GRENSLOOS_BENCH_PROGRAM the program of which memory and start are measured (else this test binary).
func BenchmarkMetingen(b *testing.B) {
	if b.N > 1 {
		b.Fatal("give -benchtime 1x: it measures by itself")
	}
	dir := os.Getenv("GRENSLOOS_BENCH")
	if dir == "" {
		dir = b.TempDir()
	}
	must(b, os.MkdirAll(dir, 0o700))
	file, err := os.Create(filepath.Join(dir, "metingen.md"))
	must(b, err)
	defer file.Close()
	out := io.MultiWriter(os.Stdout, file)
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // as the gateways: benchGOGC
	fmt.Fprintf(out, "\n%s, %d processors, %s, %s, %s\n", cpuName(), runtime.NumCPU(), runtime.Version(), load(), time.Now().Format(time.DateOnly))
	benchKetens(b, out, dir)
	benchDelen(b, out)
}

// benchKetens measures the three chains by turns, so that what else the machine does hits all alike, and gives medians of the rounds.
func benchKetens(b *testing.B, out io.Writer, dir string) {
	rounds, during := 5, 3*time.Second
	if testing.Short() {
		rounds, during = 2, time.Second
	}
	chains, clients := []string{"a", "b", "c"}, []int{1, 8, 32}
	k := startKetens(b)
	defer k.stop()
	for _, chain := range chains { // connections, tokens, statements
		k.meet(chain, 32, time.Second)
	}
	got := map[string][]meting{}
	for range rounds {
		for _, n := range clients {
			for _, chain := range chains {
				key := fmt.Sprint(chain, n)
				got[key] = append(got[key], k.meet(chain, n, during))
			}
		}
	}
	fmt.Fprintf(out, "\nPer request (a) and (b) each write %d bytes at the outway and %d at the inway. Median of %d rounds of %v; clients ask one question after another.\n\n",
		k.bytes[0], k.bytes[1], rounds, during)
	fmt.Fprintln(out, "| clients | chain | requests a second | of (a) | p50 | p99 | CPU of both gateways | CPU of client and service |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|")
	for _, n := range clients {
		var bare float64
		for _, chain := range chains {
			m := middle(got[fmt.Sprint(chain, n)])
			if chain == "a" {
				bare = m.perSecond
			}
			fmt.Fprintf(out, "| %d | (%s) | %.0f | %.2f | %s | %s | %d us | %d us |\n",
				n, chain, m.perSecond, m.perSecond/bare, ms(m.p50), ms(m.p99), m.cpu.Microseconds(), m.clients.Microseconds())
		}
	}
	benchProfiles(b, out, k, dir, chains)
}

// benchProfiles says where the processor time of the gateways goes, under 32 clients.
func benchProfiles(b *testing.B, out io.Writer, k *ketens, dir string, chains []string) {
	during := 5 * time.Second
	if testing.Short() {
		during = 2 * time.Second
	}
	shares := map[string]map[string]float64{}
	for _, chain := range chains {
		var err error
		shares[chain], err = share(b.Context(), k.profile(chain, dir, during))
		must(b, err)
	}
	fmt.Fprintf(out, "\nWhere the gateways' processor time goes, 32 clients (profiles in %s):\n\n| part | (a) | (b) | (c) |\n|---|---|---|---|\n", dir)
	var what []string
	for _, c := range costs {
		what = append(what, c.what)
	}
	for _, w := range append(what, "rest") {
		fmt.Fprintf(out, "| %s | %.0f %% | %.0f %% | %.0f %% |\n", w, 100*shares["a"][w], 100*shares["b"][w], 100*shares["c"][w])
	}
}

// middle takes the median of each figure.
func middle(all []meting) meting {
	at := func(value func(meting) float64) float64 {
		values := make([]float64, len(all))
		for i, m := range all {
			values[i] = value(m)
		}
		slices.Sort(values)
		return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
	}
	duration := func(value func(meting) time.Duration) time.Duration {
		return time.Duration(at(func(m meting) float64 { return float64(value(m)) }))
	}
	return meting{
		perSecond: at(func(m meting) float64 { return m.perSecond }),
		p50:       duration(func(m meting) time.Duration { return m.p50 }), p99: duration(func(m meting) time.Duration { return m.p99 }),
		cpu: duration(func(m meting) time.Duration { return m.cpu }), clients: duration(func(m meting) time.Duration { return m.clients }),
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }

// benchDelen measures the parts that have a goal of their own.
func benchDelen(b *testing.B, out io.Writer) {
	during, questions := 2*time.Second, 40
	if testing.Short() {
		during, questions = time.Second/2, 5
	}
	fmt.Fprint(out, "\n| part | figure | goal |\n|---|---|---|\n")
	row := func(what, goal, format string, args ...any) {
		fmt.Fprintf(out, "| %s | %s | %s |\n", what, fmt.Sprintf(format, args...), goal)
	}
	cold, kept := benchBesluit(b, during)
	row("a decision, everything of the question anew", "50 us", "%.1f us", cold)
	row("the same, what does not depend on the person kept", "", "%.1f us", kept)
	took, err := fdatasyncs(filepath.Join(b.TempDir(), "sync"), 1024, 500)
	must(b, err)
	row("one durable write of 1 kB to this disk", "", "median %d us, p99 %d us", took[len(took)/2].Microseconds(), took[len(took)*99/100].Microseconds())
	var perSecond []string
	for _, writers := range []int{1, 8, 64} {
		perSecond = append(perSecond, fmt.Sprintf("%.0f", benchJournaal(b, writers, during)))
	}
	row("journal, 1 / 8 / 64 writers, records a second", "100,000 at 64", "%s", strings.Join(perSecond, " / "))
	row("an access token: minted", "", "%.1f us", benchToken(b, during))
	start, resident, program := benchStil(b)
	row("a peer that starts, to ready", "1 s", "%d ms", start.Milliseconds())
	row("memory of an idle peer, resident", "64 MiB", "%.0f MiB, of which %.0f of the program's own file", resident, program)
	p50, p99 := benchRegio(b, questions)
	row("one question to a region of 12", "", "p50 %s, p99 %s", ms(p50), ms(p99))
}

// perOp is the processor time of one call, in microseconds.
func perOp(during time.Duration, f func(i int)) float64 {
	f(0)
	n, before := 0, ownCPU()
	for start := time.Now(); time.Since(start) < during; n++ {
		f(n)
	}
	return float64((ownCPU() - before).Nanoseconds()) / float64(n) / 1000
}

// benchBesluit measures decisions: over a person, where nothing is kept but the grant, and over a question of which the outway keeps all
// that does not depend on the person.
func benchBesluit(b *testing.B, during time.Duration) (cold, kept float64) {
	engine, err := policies.New(b.Context(), policies.Options{})
	must(b, err)
	gemeente, asker := gateway.PeerID("00000099000000147000"), uwiID
	props, err := engine.Session().Catalogue().Properties("pw-reintegratie", time.Now(), gemeente)
	must(b, err)
	in := policies.Input{
		Afnemer: asker, Bron: gemeente, MedewerkerRollen: []string{"klantmanager"}, Zaaktype: "pw-reintegratietraject", Medewerker: "m1.x",
		Grant: gateway.Grant{
			Hash: "$1$3$bench", Type: gateway.ServiceConnection, Outway: asker, ServicePeer: gemeente, Service: serviceClientgegevens, Properties: props,
		},
	}
	decide := func(in policies.Input) func(int) {
		return func(i int) {
			in.Zaak = strconv.Itoa(i)
			if d, err := engine.Session().Decide(context.Background(), in); err != nil || !d.Allow {
				b.Fatal(d, err)
			}
		}
	}
	in.Stap = policies.Uitgaand
	kept = perOp(during, decide(in))
	in.Stap, in.Persoon = policies.Verstrekking, &policies.Persoon{Leeftijd: 40}
	return perOp(during, decide(in)), kept
}

// benchJournaal gives how many records a second several writers get durable, each one after another.
func benchJournaal(b *testing.B, writers int, during time.Duration) float64 {
	j, err := journal.Open(journal.Config{Dir: filepath.Join(b.TempDir(), "journal"), MaxLagBytes: 1 << 40}, slog.New(slog.DiscardHandler), time.Now)
	must(b, err)
	id := gateway.NewTransactionID(time.Now())
	rec := audit.NewTransactie(time.Now(), audit.Exchange{Transactie: id, Richting: audit.Outgoing, Trace: gateway.NewTrace(), Grant: gateway.Grant{
		Hash: "$1$3$bench", Outway: uwiID, ServicePeer: uwiID, Service: serviceClientgegevens,
	}})
	var n atomic.Int64
	var work sync.WaitGroup
	start := time.Now()
	for range writers {
		work.Go(func() {
			for time.Since(start) < during {
				if err := j.Append(context.Background(), rec); err != nil {
					b.Error(err)
					return
				}
				n.Add(1)
			}
		})
	}
	work.Wait()
	elapsed := time.Since(start)
	must(b, j.Close(context.Background()))
	return float64(n.Load()) / elapsed.Seconds()
}

func benchToken(b *testing.B, during time.Duration) float64 {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(b, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	must(b, err)
	cert, err := x509.ParseCertificate(der)
	must(b, err)
	signer := &jose.Signer{Key: key, Cert: cert}
	g := gateway.Grant{Hash: "$1$3$bench", Type: gateway.ServiceConnection, Outway: uwiID, ServicePeer: uwiID, Service: serviceClientgegevens}
	terms := accesstoken.Terms{Group: "bench.example", Audience: "https://inway.example:8443", Cnf: jose.Thumbprint(cert), TTL: time.Minute}
	return perOp(during, func(int) {
		terms.Now = time.Now()
		if _, err := accesstoken.Mint(signer, accesstoken.For(g, terms)); err != nil {
			b.Fatal(err)
		}
	})
}

// benchStil starts a peer with all roles that has nothing to do, with the settings that `serve` has of itself: how long until it is
// ready, and what is resident five seconds later, in MiB.
func benchStil(b *testing.B) (start time.Duration, resident, program float64) {
	file := os.Getenv("GRENSLOOS_BENCH_PROGRAM")
	env := []string{"GOGC="}
	if file == "" {
		own, err := os.Executable()
		must(b, err)
		file, env = own, append(env, "GRENSLOOS_TEST_MAIN=1")
	}
	p := gemeente("0147", "Gemeente Borne", nil)
	_, err := layRegion(b.Context(), b.TempDir(), p)
	must(b, err)
	for range 2 { // the second finds its files
		began := time.Now()
		c, err := startChild(b.Context(), file, p, env...)
		must(b, err)
		_, err = c.ready(b.Context(), time.Minute)
		must(b, err)
		start = time.Since(began)
		time.Sleep(3 * time.Second)
		resident, program = geheugen(b, c.cmd.Process.Pid, "VmRSS:"), geheugen(b, c.cmd.Process.Pid, "RssFile:")
		must(b, c.stop())
	}
	return start, resident, program
}

// geheugen is one line of the status of a process, in MiB.
func geheugen(tb testing.TB, pid int, name string) float64 {
	tb.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(tb, err)
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kb, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			must(tb, err)
			return float64(kb) / 1024
		}
	}
	return 0
}

// benchRegio asks twelve gemeenten one question, warm.
func benchRegio(b *testing.B, questions int) (p50, p99 time.Duration) {
	l := startLand(b, 12, 1)
	l.start()
	defer l.stop()
	l.vraag(landSnel)
	var took []time.Duration
	for range questions {
		a, d := l.vraag(landSnel)
		if got := telling(a); !maps.Equal(got, map[string]int{"beantwoord": 12}) {
			b.Errorf("region of 12: got %v", got)
		}
		took = append(took, d)
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100]
}

func cpuName() string {
	raw, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(raw)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return runtime.GOARCH
}

func load() string {
	raw, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(raw), " ")
	return "load " + first
}

// BenchmarkKeten is one chain under 32 clients, for who works on its speed: -bench Keten/b. With GRENSLOOS_BENCH it leaves the profiles.
func BenchmarkKeten(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	for _, chain := range []string{"a", "b", "c"} {
		b.Run(chain, func(b *testing.B) {
			k := startKetens(b)
			defer k.stop()
			k.meet(chain, 32, time.Second)
			m := k.meet(chain, 32, 5*time.Second)
			b.ReportMetric(m.perSecond, "req/s")
			b.ReportMetric(float64(m.cpu.Microseconds()), "cpu-us/req")
			if dir := os.Getenv("GRENSLOOS_BENCH"); dir != "" {
				k.profile(chain, dir, 5*time.Second)
			}
		})
	}
}
