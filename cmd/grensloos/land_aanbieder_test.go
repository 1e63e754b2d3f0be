package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/journal"
	"github.com/grensloos/grensloos/policies"
)

// The country's persons, known everywhere. Over traag one gemeente takes its time, and over nooit it never gets done.
const (
	landSnel  = "999990007"
	landTraag = "999990019"
	landNooit = "999990020"
	landDoel  = gateway.Doel("casusregie-contact") // reikwijdte groep
	landDuur  = 2 * time.Second                    // what the slow one takes
)

// landDeel is what one provider process runs, as the test writes it.
type landDeel struct {
	Dir     string // of the process itself
	PKI     string
	Netwerk string // folder with certificate, CA and issuer's key of the own network; nobody calls it here
	Groep   gateway.GroupID
	Ports   []int
	Peers   []landPeer
}

// landPeer is one gemeente of the country.
type landPeer struct {
	ID             gateway.PeerID
	Name, Dir      string
	Manager, Inway string // host:port
	Traag          bool
}

// landStand is what a provider process says about itself when asked.
type landStand struct {
	Open     int // connections to all its inways at this moment
	MeestPer int // the most that one inway had open at once
	Meest    int // the most that all had open at once
	Records  int // audit records that were journalled
}

// isLandProces runs this test binary as a process with gemeenten if that is what it was started for. In a process that stands in for
// the program it opens the profiler, if asked.
func isLandProces() bool {
	if address := os.Getenv("GRENSLOOS_TEST_PPROF"); address != "" {
		go func() {
			mux := http.NewServeMux()
			mux.HandleFunc("/profile", pprof.Profile)
			mux.HandleFunc("/heap", pprof.Handler("heap").ServeHTTP)
			mux.HandleFunc("/memstats", func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Has("gc") {
					runtime.GC()
				}
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				_ = json.NewEncoder(w).Encode(m)
			})
			fmt.Fprintln(os.Stderr, http.ListenAndServe(address, mux))
		}()
	}
	file := os.Getenv("GRENSLOOS_TEST_LAND")
	if file == "" {
		return false
	}
	if err := landAanbieder(file, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// landAanbieder is a process with many gemeenten: each has its own certificate, store with contracts, manager and inway with the
// service clientgegevens, wired as `serve` does. Shared are what says nothing about a peer: the policy engine, and the journal, so
// that 342 of them don't fill ahead 342 segments. It serves until stdin ends; every line there is answered with a landStand.
func landAanbieder(file string, stdin io.Reader, stdout io.Writer) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var deel landDeel
	if err := json.Unmarshal(raw, &deel); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError + 1}))
	engine, err := policies.New(ctx, policies.Config{}.Options())
	if err != nil {
		return err
	}
	j, err := journal.Open(journal.Config{Dir: filepath.Join(deel.Dir, "journal"), SegmentBytes: 8 << 20}, log, time.Now)
	if err != nil {
		return err
	}
	weg := &wegwerp{}
	geteld := &verbindingen{}
	var work errgroup.Group
	work.Go(func() error { return j.Ship(ctx, weg) })
	var servers []*http.Server
	for _, lp := range deel.Peers {
		p, err := openLandPeer(ctx, deel, lp, engine, j, log)
		if err != nil {
			return fmt.Errorf("%s: %w", lp.Name, err)
		}
		listeners, err := p.listen(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", lp.Name, err)
		}
		work.Go(func() error { return p.manager.Run(ctx) })
		for i, r := range p.roles {
			l := listeners[i]
			if r.name == "inway" {
				l, r.server.Handler = geteld.tel(l), stempel(r.server.Handler)
			}
			servers = append(servers, r.server)
			work.Go(func() error { return r.server.ServeTLS(l, "", "") })
		}
	}
	if _, err := fmt.Fprintln(stdout, "gereed"); err != nil {
		return err
	}
	lines := bufio.NewScanner(stdin)
	for lines.Scan() {
		stand := geteld.stand()
		stand.Records = weg.aantal()
		if err := json.NewEncoder(stdout).Encode(stand); err != nil {
			return err
		}
	}
	cancel()
	for _, s := range servers {
		_ = s.Close()
	}
	err = j.Close(context.Background())
	if ended := work.Wait(); !errors.Is(ended, http.ErrServerClosed) && !errors.Is(ended, context.Canceled) {
		err = errors.Join(err, ended)
	}
	return err
}

// openLandPeer opens a peer from its files as openPeer does, but for what it shares with the others of its process.
func openLandPeer(ctx context.Context, deel landDeel, lp landPeer, engine *policies.Engine, j *journal.Journal, log *slog.Logger) (*peer, error) {
	cfg := &Config{
		Peer: PeerConfig{ID: lp.ID, Name: lp.Name}, Data: lp.Dir, Demo: true,
		Certificate: KeyPair{filepath.Join(lp.Dir, certs.CertFile), filepath.Join(lp.Dir, certs.KeyFile)},
		Network: NetworkConfig{
			Certificate: KeyPair{filepath.Join(deel.Netwerk, "netwerk", certs.CertFile), filepath.Join(deel.Netwerk, "netwerk", certs.KeyFile)},
			CA:          filepath.Join(deel.Netwerk, "intern", certs.RootFile), Issuer: "https://issuer.example", IssuerKeys: []string{filepath.Join(deel.Netwerk, "issuer.pem")},
		},
		Pseudonyms: map[int]string{1: filepath.Join(deel.Netwerk, "pseudoniem.key")},
		Source:     &SourceConfig{},
	}
	cfg.Group.ID, cfg.Group.Ports = deel.Groep, deel.Ports
	cfg.Group.Trust = certs.Config{
		Ankers: []string{filepath.Join(deel.PKI, certs.RootFile)},
		CRLs:   []string{filepath.Join(deel.PKI, certs.RootCRLFile), filepath.Join(deel.PKI, certs.IntermediateCRLFile)},
	}
	cfg.Manager.Listen, cfg.Manager.Address = lp.Manager, "https://"+lp.Manager
	cfg.Inway.Listen, cfg.Inway.Address = lp.Inway, "https://"+lp.Inway
	cfg.Inway.Services = map[gateway.ServiceName]ServiceConfig{serviceClientgegevens: {}}
	cfg.Store.Pad = filepath.Join(lp.Dir, "state.db")
	cfg.defaults()
	p := &peer{cfg: cfg, log: log, now: time.Now, watch: &watchers{}, policy: engine, journal: j, source: landBron{lp}}
	p.health = &health{p: p, started: p.now()}
	p.metrics = newMetrics(p.health)
	p.audit = &watchedLog{Log: j, metrics: p.metrics, watch: p.watch}
	for _, step := range []func(context.Context) error{p.openIdentity, p.openStore, p.openContracts, p.openRoles} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, p.close(ctx))
		}
	}
	return p, nil
}

// aankomst is the key under which a request's context tells when it came: the slow gemeente takes its two seconds from there, so
// that how busy this machine is with all the others does not add to them.
type aankomst struct{}

func stempel(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), aankomst{}, time.Now())))
	})
}

// landBron is a gemeente's own system with two persons, both with a contact person here.
type landBron struct{ van landPeer }

func (landBron) Diensten() gateway.Velden {
	return gateway.Velden{"contactpersoon": {"geldigVan", "naam", "organisatie", "telefoon", "wet"}}
}

func (b landBron) Sleutel(ctx context.Context, bsn gateway.BSN, _ []connectors.Attribuut) (connectors.Sleutel, error) {
	var ready <-chan time.Time
	switch who := bsn.Reveal(); {
	case who != landSnel && who != landTraag && who != landNooit:
		return connectors.Sleutel{}, connectors.ErrGeenGegevens
	case who == landSnel || !b.van.Traag:
		done := make(chan time.Time)
		close(done)
		ready = done
	case who == landTraag:
		ready = time.After(time.Until(ctx.Value(aankomst{}).(time.Time).Add(landDuur)))
	}
	select {
	case <-ready:
	case <-ctx.Done():
		return connectors.Sleutel{}, gateway.WithCode(gateway.Unavailable, connectors.CodeOnbereikbaar, "source: no time left")
	}
	return connectors.Sleutel{BSN: bsn, Geboren: time.Date(1980, 1, 2, 0, 0, 0, 0, time.UTC)}, nil
}

func (b landBron) Lees(_ context.Context, _ connectors.Sleutel, _ gateway.Dienst, velden []gateway.Veld) (connectors.Gegevens, error) {
	all := map[gateway.Veld]connectors.Waarde{
		"naam": "Medewerker van " + b.van.Name, "organisatie": b.van.Name, "telefoon": "+31538440000", "geldigVan": "2026-01-02", "wet": "Participatiewet",
	}
	rij := connectors.Rij{Waarden: map[gateway.Veld]connectors.Waarde{}, Peildatum: time.Now().UTC().Truncate(24 * time.Hour)}
	for _, veld := range velden {
		rij.Waarden[veld] = all[veld]
	}
	return connectors.Gegevens{Bron: "register van " + b.van.Name, Rijen: []connectors.Rij{rij}}, nil
}

func (landBron) Check(context.Context) ([]connectors.Bevinding, error) { return nil, nil }
func (landBron) Close() error                                          { return nil }

// wegwerp is a sink that counts what is shipped.
type wegwerp struct {
	mu sync.Mutex
	n  int
}

func (w *wegwerp) Write(_ context.Context, entries []audit.Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n += len(entries)
	return nil
}

func (w *wegwerp) aantal() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

// verbindingen counts the connections of many listeners.
type verbindingen struct {
	mu                    sync.Mutex
	open, meestPer, meest int
}

func (v *verbindingen) tel(l net.Listener) net.Listener {
	return &geteldeListener{Listener: l, alle: v}
}

func (v *verbindingen) stand() landStand {
	v.mu.Lock()
	defer v.mu.Unlock()
	return landStand{Open: v.open, MeestPer: v.meestPer, Meest: v.meest}
}

type geteldeListener struct {
	net.Listener
	alle *verbindingen
	open int // guarded by alle.mu
}

func (l *geteldeListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.erbij(1)
		c = &geteldeConn{Conn: c, dicht: sync.OnceFunc(func() { l.erbij(-1) })}
	}
	return c, err
}

func (l *geteldeListener) erbij(n int) {
	l.alle.mu.Lock()
	defer l.alle.mu.Unlock()
	l.open += n
	l.alle.open += n
	l.alle.meestPer = max(l.alle.meestPer, l.open)
	l.alle.meest = max(l.alle.meest, l.alle.open)
}

type geteldeConn struct {
	net.Conn
	dicht func()
}

func (c *geteldeConn) Close() error {
	c.dicht()
	return c.Conn.Close()
}
