package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/bevraging"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/jose"
	"github.com/grensloos/grensloos/gateway/store"
	"github.com/grensloos/grensloos/policies"
)

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// landGeheugen is what docs/performance.md tells an asker of a whole country to run with: the collector then works harder before the
// process grows beyond it.
const landGeheugen = "GOMEMLIMIT=200MiB"

// land is a country on one machine: one asker, `serve` in a process of its own, and many gemeenten in a few other processes. Only
// their number is simulated.
type land struct {
	tb     testing.TB
	region *region
	asker  *regionPeer
	peers  []landPeer

	program string
	child   *child
	delen   []*landProces
	pprof   string // address in the asker
	ports   []int  // on which the group listens
	api     *api
}

// landProces is a running process with gemeenten.
type landProces struct {
	mu    sync.Mutex
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Scanner
}

// startLand lays out n gemeenten in a number of processes, gives each a contract with the asker, and starts all.
func startLand(tb testing.TB, n, processen int) *land {
	tb.Helper()
	if runtime.GOOS != "linux" {
		tb.Skip("needs 127.0.0.0/8 to be the loopback interface, all of it, and /proc")
	}
	program, err := os.Executable()
	must(tb, err)
	dir := tb.TempDir()
	l := &land{
		tb: tb, program: program, asker: uwi(),
		region: &region{dir: dir, group: "land.example", pki: filepath.Join(dir, "pki")},
	}
	ctx := tb.Context()
	must(tb, certs.InitPKI(l.region.pki, certs.InitOptions{Name: "Land"}))
	must(tb, certs.CRL(l.region.pki, crlFor))
	ports, err := freePorts(9)
	must(tb, err)
	l.asker.dir = filepath.Join(dir, "vrager")
	l.asker.ports = regionPorts{ports[0], ports[1], ports[2], ports[3], ports[4], ports[5]}
	l.pprof = fmt.Sprintf("127.0.0.1:%d", ports[6])
	l.region.peers = []*regionPeer{l.asker}
	// Every gemeente has a loopback address of its own: hundreds of ports of one address would be taken, by then, by the
	// connections of others. One byte is of this process, so that two countries don't meet.
	net16 := fmt.Sprintf("127.%d", 1+os.Getpid()%250)
	for i := range n {
		code := fmt.Sprintf("%04d", i+1)
		p := landPeer{
			ID: gateway.PeerID("0000009900000" + code + "000"), Name: "Gemeente " + code, Dir: filepath.Join(dir, "gemeenten", code),
			Manager: fmt.Sprintf("%s.%d.%d:%d", net16, i/200, 1+i%200, ports[7]), Inway: fmt.Sprintf("%s.%d.%d:%d", net16, i/200, 1+i%200, ports[8]),
			Traag: i == n/2,
		}
		l.peers = append(l.peers, p)
	}
	must(tb, l.region.lay(ctx, l.asker))
	l.noem(ports[7:])
	must(tb, os.MkdirAll(filepath.Join(l.asker.dir, "data"), 0o700))
	l.sluit(ctx)
	for part := range slices.Chunk(l.peers, (n+processen-1)/processen) {
		l.startDeel(part)
	}
	for _, d := range l.delen {
		if !d.out.Scan() || d.out.Text() != "gereed" {
			tb.Fatalf("a process with gemeenten does not start: %q", d.out.Text())
		}
	}
	return l
}

// noem puts the gemeenten into the asker's file.
func (l *land) noem(ports []int) {
	l.tb.Helper()
	var peers strings.Builder
	for _, p := range l.peers {
		fmt.Fprintf(&peers, "\n  - {id: %q, naam: %q, manager: \"https://%s\", gemeentecode: %q}", p.ID, p.Name, p.Manager, p.Name[len(p.Name)-4:])
	}
	const last = "audit:\n"
	l.wijzig(last, "peers:"+peers.String()+"\n"+last)
	l.ports = append(ports, l.asker.ports.Manager, l.asker.ports.Inway)
	l.wijzig("poorten: [", fmt.Sprintf("poorten: [%d, %d, ", ports[0], ports[1]))
}

// ruim gives the asker's file other bounds for one gemeente and for all together, before it starts.
func (l *land) ruim(bounds string) {
	l.tb.Helper()
	listen := fmt.Sprintf("bevraging: {luister: \"127.0.0.1:%d\"", l.asker.ports.Bevraging)
	l.wijzig(listen, listen+", "+bounds)
}

// wijzig replaces a text in the asker's file.
func (l *land) wijzig(old, text string) {
	l.tb.Helper()
	raw, err := os.ReadFile(l.asker.config())
	must(l.tb, err)
	if strings.Count(string(raw), old) != 1 {
		l.tb.Fatalf("not once %q in the configuration", old)
	}
	must(l.tb, os.WriteFile(l.asker.config(), []byte(strings.Replace(string(raw), old, text, 1)), 0o600))
}

// sluit makes every gemeente's certificate and its contract with the asker, signed by both, and puts it into both stores.
func (l *land) sluit(ctx context.Context) {
	l.tb.Helper()
	asker, err := landSigner(filepath.Join(l.asker.dir, "group"))
	must(l.tb, err)
	thumbprint, err := jose.KeyThumbprint(asker.Cert.PublicKey)
	must(l.tb, err)
	engine, err := policies.New(ctx, policies.Config{}.Options())
	must(l.tb, err)
	own, err := store.Open(ctx, store.Config{Pad: filepath.Join(l.asker.dir, "data", "state.db")})
	must(l.tb, err)
	for _, p := range l.peers {
		_, err := certs.Issue(l.region.pki, certs.Request{OIN: p.ID, Name: p.Name, IPs: []net.IP{netip.MustParseAddrPort(p.Manager).Addr().AsSlice()}, Out: p.Dir})
		must(l.tb, err)
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(runtime.NumCPU())
	for _, p := range l.peers {
		work.Go(func() error {
			now := time.Now().Truncate(time.Second)
			props, err := engine.Session().Catalogue().Properties(landDoel, now, p.ID)
			if err != nil {
				return err
			}
			grant, err := contract.FromGrant(gateway.Grant{
				Type: gateway.ServiceConnection, Outway: uwiID, OutwayThumbprint: thumbprint, ServicePeer: p.ID,
				Service: serviceClientgegevens, Properties: props,
			})
			if err != nil {
				return err
			}
			c, err := contract.New(contract.NewContent{
				Group: l.region.group, Grants: []contract.GrantData{grant}, NotBefore: now.Add(-time.Minute), NotAfter: now.AddDate(0, 1, 0), Now: now,
			})
			if err != nil {
				return err
			}
			theirs, err := store.Open(ctx, store.Config{Pad: filepath.Join(p.Dir, "state.db")})
			if err != nil {
				return err
			}
			defer theirs.Close()
			provider, err := landSigner(p.Dir)
			if err != nil {
				return err
			}
			for _, signer := range []*jose.Signer{asker, provider} {
				jws, err := contract.Sign(signer, c.Hash(), contract.Accept, now)
				if err != nil {
					return err
				}
				sig, err := contract.ParseSignature(jws)
				if err != nil {
					return err
				}
				if err := sig.Verify(signer.Cert, c.Hash()); err != nil {
					return err
				}
				signed := contract.Signed{Signature: *sig, Chain: append([]*x509.Certificate{signer.Cert}, signer.Chain...), Received: now}
				for _, s := range []*store.Store{own, theirs} {
					if _, err := s.Sign(ctx, c, signed, nil); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	must(l.tb, work.Wait())
	must(l.tb, own.Close())
}

func landSigner(dir string) (*jose.Signer, error) {
	id, err := certs.LoadIdentity(filepath.Join(dir, certs.CertFile), filepath.Join(dir, certs.KeyFile))
	if err != nil {
		return nil, err
	}
	pair := id.Pair()
	return &jose.Signer{Key: pair.Key, Cert: pair.Cert(), Chain: pair.Chain[1:]}, nil
}

// startDeel starts one process with gemeenten; when it is ready it says so.
func (l *land) startDeel(peers []landPeer) {
	l.tb.Helper()
	dir := filepath.Join(l.region.dir, fmt.Sprintf("deel-%d", len(l.delen)))
	must(l.tb, os.MkdirAll(dir, 0o700))
	raw, err := json.Marshal(landDeel{Dir: dir, PKI: l.region.pki, Netwerk: l.asker.dir, Groep: l.region.group, Ports: l.ports, Peers: peers})
	must(l.tb, err)
	file := filepath.Join(dir, "deel.json")
	must(l.tb, os.WriteFile(file, raw, 0o600))
	cmd := exec.Command(l.program)
	cmd.Env = append(os.Environ(), "GRENSLOOS_TEST_LAND="+file)
	cmd.Stderr = os.Stderr
	d := &landProces{cmd: cmd}
	d.stdin, err = cmd.StdinPipe()
	must(l.tb, err)
	stdout, err := cmd.StdoutPipe()
	must(l.tb, err)
	d.out = bufio.NewScanner(stdout)
	must(l.tb, cmd.Start())
	l.delen = append(l.delen, d)
	l.tb.Cleanup(func() {
		_ = d.stdin.Close()
		if err := cmd.Wait(); err != nil {
			l.tb.Errorf("a process with gemeenten ended with %v", err)
		}
	})
}

// start starts the asker, which has no connection yet, and makes ready to ask it.
func (l *land) start() {
	l.tb.Helper()
	c, err := startChild(l.tb.Context(), l.program, l.asker, "GRENSLOOS_TEST_MAIN=1", "GRENSLOOS_TEST_PPROF="+l.pprof, landGeheugen)
	must(l.tb, err)
	l.child = c
	_, err = c.ready(l.tb.Context(), time.Minute)
	must(l.tb, err)
	cfg, err := loadConfig(l.asker.config())
	must(l.tb, err)
	l.api, err = newAPI(cfg, "bevraging.luister", cfg.Bevraging.Listen, &identity{als: "test", rollen: []string{"klantmanager"}})
	must(l.tb, err)
}

// stop ends the asker.
func (l *land) stop() {
	l.tb.Helper()
	if err := l.child.stop(); err != nil {
		l.tb.Error(err)
	}
}

// vraag asks all gemeenten about one person.
func (l *land) vraag(bsn string) (bevraging.Antwoord, time.Duration) {
	var a bevraging.Antwoord
	start := time.Now()
	err := l.api.call(l.tb.Context(), http.MethodPost, "/bevragingen", map[string]any{
		"doel": landDoel, "zaak": "Z-1", "zaaktype": "casusregie", "bsn": bsn,
	}, &a)
	took := time.Since(start)
	if err != nil {
		l.tb.Error(err)
	}
	return a, took
}

// telling counts the parts of an answer by outcome, with the code of what is not answered.
func telling(a bevraging.Antwoord) map[string]int {
	n := map[string]int{}
	for _, g := range a.Gemeenten {
		for _, d := range g.Diensten {
			what := string(d.Uitkomst)
			if d.Reden != nil {
				what += "(" + d.Reden.Code + ")"
			}
			n[what]++
		}
	}
	return n
}

// stand sums up what the processes with gemeenten say.
func (l *land) stand() landStand {
	l.tb.Helper()
	var sum landStand
	for _, d := range l.delen {
		d.mu.Lock()
		_, err := io.WriteString(d.stdin, "?\n")
		must(l.tb, err)
		var s landStand
		if !d.out.Scan() {
			l.tb.Fatal("a process with gemeenten is gone")
		}
		must(l.tb, json.Unmarshal(d.out.Bytes(), &s))
		d.mu.Unlock()
		sum.Open += s.Open
		sum.Meest += s.Meest
		sum.Records += s.Records
		sum.MeestPer = max(sum.MeestPer, s.MeestPer)
	}
	return sum
}

// TestLand asks forty gemeenten at once, twelve questions at a time: every part is there, the questions together don't open a
// connection each, and a gemeente that does not answer holds up nobody else.
func TestLand(t *testing.T) {
	const gemeenten, vragen, tegelijk = 40, 12, 2
	l := startLand(t, gemeenten, 2)
	l.ruim(fmt.Sprintf("wachttijd: 50s, wachttijdGemeente: 20s, vragenPerGemeente: %d", tegelijk))
	l.start()
	defer func() { l.stop() }()
	alles := map[string]int{string(bevraging.Beantwoord): gemeenten}
	eenTeLaat := map[string]int{string(bevraging.Beantwoord): gemeenten - 1, "te-laat(te-laat)": 1}

	a, _ := l.vraag(landSnel)
	if got := telling(a); !maps.Equal(got, alles) || !a.Volledig {
		t.Errorf("one question: got %v, whole %v; want %v, whole", got, a.Volledig, alles)
	}
	seen := map[gateway.PeerID]bool{}
	for _, g := range a.Gemeenten {
		seen[g.OIN] = true
		if g.Grond != gateway.GrondGroep {
			t.Errorf("%s: asked on ground %q, want %q", g.Naam, g.Grond, gateway.GrondGroep)
		}
	}
	if len(seen) != gemeenten {
		t.Errorf("got parts of %d gemeenten, want %d", len(seen), gemeenten)
	}

	var work sync.WaitGroup
	for range vragen {
		work.Go(func() {
			a, _ := l.vraag(landSnel)
			if got := telling(a); !maps.Equal(got, alles) {
				t.Errorf("%d questions at once: got %v, want %v", vragen, got, alles)
			}
		})
	}
	work.Wait()
	// A connection that was begun for a question that then got another one is kept too, so it can be a few more than are in use.
	if got, want := l.stand().MeestPer, 3*tegelijk; got > want {
		t.Errorf("connections to one gemeente: got %d, want at most %d", got, want)
	}

	l.stop()
	l.wijzig("wachttijdGemeente: 20s", "wachttijdGemeente: 3s")
	l.start()
	l.vraag(landSnel) // from here on it is warm
	a, _ = l.vraag(landNooit)
	if got := telling(a); !maps.Equal(got, eenTeLaat) || a.Volledig {
		t.Errorf("one does not answer: got %v, whole %v; want %v, not whole", got, a.Volledig, eenTeLaat)
	}
}
