package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/cmd/grensloos/bevolking"
	"github.com/grensloos/grensloos/gateway/audit/journal"
	"github.com/grensloos/grensloos/gateway/edge"
)

// benchGOGC is the collector's setting of every process in the chains, the client too.
const benchGOGC = "400"

// ketens are the three chains of `make bench` on one machine: (a) two bare proxies, (b) outway and inway before a service of 1 kB,
// (c) outway and inway with clientgegevens on SQLite. Each gateway is a process of its own; (b) and (c) are the same two peers, `serve`
// with journal, embedded broker and shipping. Client and service run in this process.
type ketens struct {
	tb      testing.TB
	program string
	dir     string
	region  *region
	uwi     *regionPeer
	borne   *regionPeer
	running map[*regionPeer]*child
	pprof   map[string]string // address by name of a process
	service *httptest.Server
	bsns    []string
	next    atomic.Int64 // counts the questions: no person comes twice in a row

	grantB, grantC string
	bytes          [2]int // journalled per request of (b), at outway and inway
	kaal           []*kaalProces
	client         *http.Client
	jwt            string
	addressA       string // of the first bare proxy
}

type kaalProces struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

var kilobyte = []byte(strings.Repeat("0123456789abcdef", 64))

// startKetens lays out both peers with their contracts, measures what they journal per request, and starts everything.
func startKetens(tb testing.TB) *ketens {
	tb.Helper()
	program, err := os.Executable()
	must(tb, err)
	k := &ketens{tb: tb, program: program, dir: tb.TempDir(), running: map[*regionPeer]*child{}, pprof: map[string]string{}, uwi: uwi()}
	k.service = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(kilobyte)
	}))
	tb.Cleanup(k.service.Close)
	var blocks []bevolking.Gemeente
	for i := range 4 {
		blocks = append(blocks, bevolking.Gemeente{Naam: "Borne", Block: i, Lopend: 4900}) // a whole block ends in the next one
	}
	k.borne = gemeente("0147", "Gemeente Borne", nil, blocks...)
	k.region, err = layRegion(tb.Context(), filepath.Join(k.dir, "region"), k.borne, k.uwi)
	must(tb, err)
	personen, err := bevolking.Samen(time.Now(), blocks...)
	must(tb, err)
	for _, p := range personen {
		k.bsns = append(k.bsns, p.BSN.Reveal())
	}
	file := k.borne.config()
	raw, err := os.ReadFile(file)
	must(tb, err)
	raw = bytes.Replace(raw, []byte("    clientgegevens: {}\n"), fmt.Appendf(nil, "    clientgegevens: {}\n    kilobyte: {url: %q}\n", k.service.URL), 1)
	must(tb, os.WriteFile(file, raw, 0o600))
	ports, err := freePorts(6)
	must(tb, err)
	for i, name := range []string{"uwi", "borne", "kaal-uit", "kaal-in"} {
		k.pprof[name] = fmt.Sprintf("127.0.0.1:%d", ports[i])
	}
	tb.Cleanup(k.stop)
	k.start()
	k.grantB = k.contract("--service", "kilobyte", "--doel", "pw-reintegratie", "--namens", string(k.borne.ID))
	k.grantC = k.contract("--doel", "pw-reintegratie", "--namens", string(k.borne.ID))
	k.connect()
	k.calibrate()
	k.startKaal(ports[4], ports[5])
	return k
}

// start starts both peers.
func (k *ketens) start() {
	k.tb.Helper()
	for p, name := range map[*regionPeer]string{k.uwi: "uwi", k.borne: "borne"} {
		c, err := startChild(k.tb.Context(), k.program, p, "GRENSLOOS_TEST_MAIN=1", "GOGC="+benchGOGC, "GRENSLOOS_TEST_PPROF="+k.pprof[name])
		must(k.tb, err)
		k.running[p] = c
	}
	for _, c := range k.running {
		_, err := c.ready(k.tb.Context(), time.Minute)
		must(k.tb, err)
	}
}

// stop ends all processes.
func (k *ketens) stop() {
	for p, c := range k.running {
		delete(k.running, p)
		if err := c.stop(); err != nil {
			k.tb.Error(err)
		}
	}
	for _, p := range k.kaal {
		_ = p.stdin.Close()
		if err := p.cmd.Wait(); err != nil {
			k.tb.Error(err)
		}
	}
	k.kaal = nil
}

func (k *ketens) grensloos(p *regionPeer, args ...string) string {
	k.tb.Helper()
	var out, problems bytes.Buffer
	if err := run(k.tb.Context(), append(args, "-c", p.config()), strings.NewReader(""), &out, &problems); err != nil {
		k.tb.Fatalf("grensloos %s: %v %s", strings.Join(args, " "), err, problems.String())
	}
	return strings.TrimSpace(out.String())
}

// contract makes a contract between the two that is valid at both, and gives the hash of its grant.
func (k *ketens) contract(args ...string) string {
	k.tb.Helper()
	hash := k.grensloos(k.uwi, append([]string{"contract", "propose", "--aanbieder", string(k.borne.ID)}, args...)...)
	k.await(k.borne, hash, "voorgesteld")
	k.grensloos(k.borne, "contract", "accept", hash)
	k.await(k.borne, hash, "geldig")
	return k.await(k.uwi, hash, "geldig")
}

func (k *ketens) await(p *regionPeer, hash, state string) string {
	k.tb.Helper()
	var c struct {
		Toestand string `json:"toestand"`
		Grants   []struct {
			Hash string `json:"hash"`
		} `json:"grants"`
	}
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var out, problems bytes.Buffer
		if run(k.tb.Context(), []string{"contract", "show", hash, "--json", "-c", p.config()}, strings.NewReader(""), &out, &problems) != nil {
			continue
		}
		must(k.tb, json.Unmarshal(out.Bytes(), &c))
		if c.Toestand == state {
			return c.Grants[0].Hash
		}
	}
	k.tb.Fatalf("contract %s at %s: %s, want %s", hash, p.Name, c.Toestand, state)
	return ""
}

// connect makes the client: it trusts the asker's own network and keeps its connections.
func (k *ketens) connect() {
	k.tb.Helper()
	cfg, err := loadConfig(k.uwi.config())
	must(k.tb, err)
	id := &identity{als: "test", rollen: []string{"klantmanager"}}
	k.jwt, err = id.token(cfg, time.Now(), time.Hour)
	must(k.tb, err)
	trust, err := certs.InternalClientTLS(cfg.Network.CA)
	must(k.tb, err)
	k.client = &http.Client{Transport: &http.Transport{TLSClientConfig: trust, MaxIdleConnsPerHost: 64, DisableCompression: true}}
	k.tb.Cleanup(k.client.CloseIdleConnections)
}

// calibrate asks a few questions of (b), stops both peers, reads what each journalled per question, and starts them again.
func (k *ketens) calibrate() {
	k.tb.Helper()
	const questions = 20
	since := time.Now()
	for range questions {
		k.ask("b", "", k.grantB)
	}
	k.stop()
	for i, p := range []*regionPeer{k.uwi, k.borne} {
		cfg, err := loadConfig(p.config())
		must(k.tb, err)
		j, err := journal.Open(cfg.Audit.Journal, slog.New(slog.DiscardHandler), time.Now)
		must(k.tb, err)
		total := 0
		must(k.tb, j.Scan(since, func(e journal.Entry) error {
			if r := e.Record; r.Transactie != "" {
				total += 72 + len(r.ID) + len(r.Soort) + len(r.Transactie) + len(r.Body) // 72: frame, time and lengths
			}
			return nil
		}))
		must(k.tb, j.Close(k.tb.Context()))
		k.bytes[i] = total / questions
	}
	k.start()
}

// startKaal starts the two bare proxies, with the peers' own certificates.
func (k *ketens) startKaal(out, in int) {
	k.tb.Helper()
	pair := func(p *regionPeer, folder string) KeyPair {
		return KeyPair{filepath.Join(p.dir, folder, certs.CertFile), filepath.Join(p.dir, folder, certs.KeyFile)}
	}
	root := filepath.Join(k.region.pki, certs.RootFile)
	k.addressA = fmt.Sprintf("127.0.0.1:%d", out)
	inway := fmt.Sprintf("127.0.0.1:%d", in)
	k.startKaalDeel("kaal-in", kaalDeel{
		Listen: inway, To: k.service.URL, Cert: pair(k.borne, "group"), ClientCA: root, Log: filepath.Join(k.dir, "kaal-in.log"), Bytes: k.bytes[1],
	})
	k.startKaalDeel("kaal-uit", kaalDeel{
		Listen: k.addressA, To: "https://" + inway, Cert: pair(k.uwi, "netwerk"), ServerCA: root, Out: pair(k.uwi, "group"),
		Log: filepath.Join(k.dir, "kaal-uit.log"), Bytes: k.bytes[0],
	})
}

func (k *ketens) startKaalDeel(name string, d kaalDeel) {
	k.tb.Helper()
	raw, err := json.Marshal(d)
	must(k.tb, err)
	cmd := exec.Command(k.program)
	cmd.Env = append(os.Environ(), "GRENSLOOS_TEST_KAAL="+string(raw), "GOGC="+benchGOGC, "GRENSLOOS_TEST_PPROF="+k.pprof[name])
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(k.tb, err)
	stdout, err := cmd.StdoutPipe()
	must(k.tb, err)
	must(k.tb, cmd.Start())
	k.kaal = append(k.kaal, &kaalProces{cmd, stdin})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "gereed\n" {
		k.tb.Fatalf("%s does not start: %q %v", name, line, err)
	}
}

// question asks one chain: a question about the next person. It gives how long the whole answer took.
func (k *ketens) question(chain string) time.Duration {
	switch chain {
	case "a":
		return k.ask(chain, k.addressA, "")
	case "b":
		return k.ask(chain, "", k.grantB)
	}
	return k.ask(chain, "", k.grantC)
}

func (k *ketens) ask(chain, address, grant string) time.Duration {
	if address == "" {
		address = fmt.Sprintf("127.0.0.1:%d", k.uwi.ports.Outway)
	}
	bsn := k.bsns[k.next.Add(1)%int64(len(k.bsns))]
	req, err := http.NewRequestWithContext(k.tb.Context(), http.MethodPost, "https://"+address+"/v1/clienten/_zoek", strings.NewReader(`{"bsn":"`+bsn+`"}`))
	if err != nil {
		k.tb.Error(err)
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+k.jwt)
	req.Header.Set(edge.HeaderGrantHash, grant)
	req.Header.Set(edge.HeaderZaak, "ZAAK-2026-17")
	req.Header.Set(edge.HeaderZaaktype, "pw-reintegratietraject")
	start := time.Now()
	resp, err := k.client.Do(req)
	if err != nil {
		k.tb.Errorf("chain %s: %v", chain, err)
		return 0
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	took := time.Since(start)
	if err != nil || resp.StatusCode != http.StatusOK || len(body) < 300 {
		k.tb.Errorf("chain %s: %d %s %v", chain, resp.StatusCode, body, err)
	}
	return took
}

// pids are the two gateways of a chain.
func (k *ketens) pids(chain string) []int {
	if chain == "a" {
		return []int{k.kaal[0].cmd.Process.Pid, k.kaal[1].cmd.Process.Pid}
	}
	return []int{k.running[k.uwi].cmd.Process.Pid, k.running[k.borne].cmd.Process.Pid}
}

func (k *ketens) cpu(pids []int) (sum time.Duration) {
	for _, pid := range pids {
		sum += cpuVan(k.tb, pid)
	}
	return sum
}

// quiet waits until the gateways have nothing to do, such as shipping what they journalled: it belongs to the requests before.
func (k *ketens) quiet(pids []int) {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		before := k.cpu(pids)
		time.Sleep(200 * time.Millisecond)
		if k.cpu(pids)-before <= 10*time.Millisecond {
			return
		}
	}
}

// meting is one run of one chain.
type meting struct {
	perSecond    float64
	p50, p99     time.Duration
	cpu, clients time.Duration // processor time per request: both gateways; client and service
}

// meet lets clients ask one chain, each one question after another.
func (k *ketens) meet(chain string, clients int, during time.Duration) meting {
	pids := k.pids(chain)
	k.quiet(pids)
	var all []time.Duration
	var mu sync.Mutex
	var work sync.WaitGroup
	own, before, start := ownCPU(), k.cpu(pids), time.Now()
	for range clients {
		work.Go(func() {
			var took []time.Duration
			for time.Since(start) < during && !k.tb.Failed() {
				took = append(took, k.question(chain))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
		})
	}
	work.Wait()
	elapsed, own := time.Since(start), ownCPU()-own
	k.quiet(pids)
	if len(all) == 0 || k.tb.Failed() {
		k.tb.FailNow()
	}
	slices.Sort(all)
	n := time.Duration(len(all))
	return meting{
		perSecond: float64(len(all)) / elapsed.Seconds(), p50: all[len(all)/2], p99: all[len(all)*99/100],
		cpu: (k.cpu(pids) - before) / n, clients: own / n,
	}
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// profile takes a CPU profile of both gateways of a chain under 32 clients.
func (k *ketens) profile(chain, dir string, during time.Duration) []string {
	k.tb.Helper()
	names := []string{"uwi", "borne"}
	if chain == "a" {
		names = []string{"kaal-uit", "kaal-in"}
	}
	files := make([]string, len(names))
	var work sync.WaitGroup
	for i, name := range names {
		files[i] = filepath.Join(dir, chain+"-"+name+".pprof")
		work.Go(func() {
			resp, err := http.Get(fmt.Sprintf("http://%s/profile?seconds=%d", k.pprof[name], int(during.Seconds())))
			if err != nil {
				k.tb.Error(err)
				return
			}
			defer resp.Body.Close()
			raw, err := io.ReadAll(resp.Body)
			if err == nil {
				err = os.WriteFile(files[i], raw, 0o600)
			}
			if err != nil {
				k.tb.Error(err)
			}
		})
	}
	k.meet(chain, 32, during+time.Second)
	work.Wait()
	return files
}

// costs are the places where the processor time of a chain goes, each a pattern over the functions of a stack; a stack counts for the
// first that fits.
var costs = []struct{ what, pattern string }{
	{"collector", `^runtime\.(gcBgMarkWorker|bgsweep|bgscavenge|gcAssistAlloc)`},
	{"embedded broker", `franz-go`},
	{"shipping to it", `journal\.\(\*Journal\)\.Ship|segmentio/kafka-go`},
	{"journal", `audit/journal`},
	{"policy (OPA)", `policies\.`},
	{"verklaring and kwitantie", `gateway/verklaring`},
	{"making records, counting them", `gateway/audit\.|\(\*metrics\)\.see`},
	{"source, SQLite", `connectors/database`},
	{"log of (a)", `kaalLog`},
	{"scheduling", `^runtime\.(mcall|park_m|schedule|mstart|findRunnable|goschedImpl|sysmon)`},
	{"TLS", `crypto/tls`},
	{"HTTP", `net/http`},
}

// share tells what part of the samples each cost has, by go tool pprof: profile by profile, samples by stack.
func share(ctx context.Context, files []string) (map[string]float64, error) {
	sum, total := map[string]float64{}, 0.0
	for _, file := range files {
		out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-traces", "-unit=ms", file).Output()
		if err != nil {
			return nil, fmt.Errorf("go tool pprof %s: %w", file, err)
		}
		for trace := range strings.SplitSeq(string(out), "-----------+-------------------------------------------------------\n") {
			ms, stack, found := strings.Cut(strings.TrimLeft(trace, " "), "ms")
			var v float64
			if _, err := fmt.Sscanf(ms, "%g", &v); err != nil || !found {
				continue
			}
			total += v
			sum[costOf(stack)] += v
		}
	}
	for what := range sum {
		sum[what] /= total
	}
	return sum, nil
}

var costPatterns = func() (all []*regexp.Regexp) {
	for _, c := range costs {
		all = append(all, regexp.MustCompile(`(?m)`+strings.Replace(c.pattern, "^", `^\s*`, 1)))
	}
	return all
}()

func costOf(stack string) string {
	for i, p := range costPatterns {
		if p.MatchString(stack) {
			return costs[i].what
		}
	}
	return "rest"
}
