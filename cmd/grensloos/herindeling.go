package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/journal"
	"github.com/grensloos/grensloos/gateway/gemeenten"
)

func herindelingCommand() *cobra.Command {
	var (
		van    []string
		naar   string
		per    string
		oude   string
		dryRun bool
		asJSON bool
		als    identity
	)
	cmd := &cobra.Command{
		Use:   "herindeling --van OLD.yaml [--van OLD2.yaml] --naar NEW.yaml --per 2022-01-01 [--dry-run]",
		Short: "Move what gemeenten that end have here to the one that takes over from them",
		Long: `Move what gemeenten that end (herindeling) have here to the gemeente that takes over from them.

  contracts   every contract that is in force is proposed anew in the successor's name: the same partners, purposes and fields; the
              mandate (namensCollege) goes along. Partners must accept. The proposals go out when the successor's peer starts.
  consents    go over as they were given, withdrawn ones as withdrawn.
  keys        the pseudonym keys of the old peers go over under versions of their own (folder overname in the successor's data
              folder), so that the successor finds those consents by BSN. Pseudonyms of its own go on being made under its own key.

It works on the peers' files and needs all of them stopped. Each act is recorded at the successor and at the old peer before it takes
effect. Run it as often as need be: what is there stays, what came since goes over, and what broke off goes on. Old contracts run out at
their own end; with --oude-contracten intrekken, on or after the day, each is revoked whose successor all parties accepted, and the
old peer must run once more to say so to its partners.

Not moved: sources, local policy and logs; the old peers keep theirs for as long as the law wants. Contact persons and open reports
(terugmeldingen) are counted, for a person to see to.

Exit codes: 0 all of it moves or moved; 3 some of it can't, and it is named; 2 the command or the configurations are not right;
1 any other failure.`,
		Example: `  grensloos herindeling --van heerhugowaard.yaml --van langedijk.yaml --naar dijk-en-waard.yaml --per 2022-01-01 --dry-run`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h := herindeling{dryRun: dryRun, door: als.account()}
			var err error
			switch {
			case len(van) == 0 || naar == "" || per == "":
				return usage("give --van, --naar and --per")
			case oude != "laten" && oude != "intrekken":
				return usage("--oude-contracten: give laten or intrekken")
			}
			if h.per, err = parseMoment("--per", per); err != nil {
				return err
			}
			if h.intrekken = oude == "intrekken"; h.intrekken && time.Now().Before(h.per) {
				return usage("--oude-contracten intrekken: on %s at the earliest; until then the old gemeenten answer", per)
			}
			if h.nieuw, err = loadConfig(naar); err != nil {
				return err
			}
			for _, file := range van {
				cfg, err := loadConfig(file)
				if err != nil {
					return err
				}
				h.oud = append(h.oud, cfg)
			}
			v, err := h.run(cmd.Context(), slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelError})))
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), v)
			} else {
				err = v.print(cmd.OutOrStdout())
			}
			if err == nil && len(v.NietOver) > 0 {
				err = exit{exitIncomplete, errors.New("not all of it can move; see what stays behind")}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&van, "van", nil, "configuration file of a gemeente that ends; once for each")
	f.StringVar(&naar, "naar", "", "configuration file of the gemeente that takes over")
	f.StringVar(&per, "per", "", "the day of the herindeling, such as 2022-01-01")
	f.StringVar(&oude, "oude-contracten", "laten", "laten (they run out by themselves) or intrekken")
	f.BoolVar(&dryRun, "dry-run", false, "show what would move, and change nothing")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.StringVar(&als.als, "als", "", "account of the worker who does this; recorded as a pseudonym (default: the user of this machine)")
	return usageFlags(cmd)
}

// herindeling is one run of the command.
type herindeling struct {
	oud       []*Config
	nieuw     *Config
	per       time.Time
	intrekken bool
	dryRun    bool
	door      string // account of the worker
}

// run plans and, unless it is a dry run, does what was planned.
func (h *herindeling) run(ctx context.Context, log *slog.Logger) (_ *herindelingVerslag, err error) {
	codes, err := gemeenten.Open(h.nieuw.Gemeenten)
	if err != nil {
		return nil, err
	}
	if err := checkHerindeling(codes, h.oud, h.nieuw, h.per); err != nil {
		return nil, err
	}
	scratch := ""
	if h.dryRun {
		if scratch, err = os.MkdirTemp("", "grensloos-herindeling-"); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	}
	open := func(cfg *Config) (*offline, error) {
		o, err := openOffline(ctx, cfg, scratch, log)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", cfg.Peer.Name, err)
		}
		return o, nil
	}
	nieuw, err := open(h.nieuw)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, nieuw.shut(ctx)) }()
	var oud []*offline
	for _, cfg := range h.oud {
		o, err := open(cfg)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, o.shut(ctx)) }()
		oud = append(oud, o)
	}
	plan, err := planHerindeling(ctx, oud, nieuw, h.per, h.intrekken)
	if err != nil {
		return nil, err
	}
	plan.verslag.Proef = h.dryRun
	if !h.dryRun {
		if err := plan.uitvoeren(ctx, oud, nieuw, h.door); err != nil {
			return nil, fmt.Errorf("herindeling broke off; run it again and it goes on: %w", err)
		}
	}
	plan.verslag.sort()
	return &plan.verslag, nil
}

// offline is a peer that does not run: its identity, policy, store, journal and manager, without a listener or a delivery. It holds
// the lock of the data folder, so that the peer can't start meanwhile.
type offline struct {
	*peer
	unlock func()
}

// openOffline opens a peer's files. With a scratch folder it opens a copy of the store instead, without a journal, and writes nothing
// of the peer's.
func openOffline(ctx context.Context, cfg *Config, scratch string, log *slog.Logger) (_ *offline, err error) {
	mine := *cfg
	o := &offline{peer: &peer{cfg: &mine, log: log, now: time.Now}, unlock: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.shut(ctx))
		}
	}()
	_, never := os.Stat(filepath.Join(cfg.Data, "lock"))
	if scratch == "" || !errors.Is(never, fs.ErrNotExist) { // who never ran has no lock to take
		if o.unlock, err = lockFolder(cfg.Data); err != nil {
			o.unlock = func() {}
			return nil, err
		}
	}
	if scratch != "" {
		mine.Store.Pad = filepath.Join(scratch, string(cfg.Peer.ID)+".db")
		for _, part := range []string{"", "-wal"} {
			if err := copyFile(cfg.Store.Pad+part, mine.Store.Pad+part); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("opslag: %w", err)
			}
		}
	}
	for _, step := range []func(context.Context) error{o.openIdentity, o.openPolicy, o.openStore} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	o.audit = &audit.Memory{}
	if scratch == "" {
		if o.journal, err = journal.Open(cfg.Audit.Journal, log, o.now); err != nil {
			return nil, fmt.Errorf("audit.journaal: %w", err)
		}
		o.opened = append(o.opened, o.journal.Close)
		o.audit = o.journal
	}
	return o, o.openContracts(ctx)
}

func (o *offline) shut(ctx context.Context) error {
	defer o.unlock()
	return o.close(context.WithoutCancel(ctx))
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// recordAct puts an act on record at both sides.
func recordAct(ctx context.Context, van, naar *offline, door string, acts ...audit.Act) error {
	for _, o := range []*offline{van, naar} {
		recs := make([]audit.Record, len(acts))
		for i, act := range acts {
			act.Door = o.pseudonyms.Worker(door)
			act.Details = map[string]string{"van": "oin:" + string(van.cfg.Peer.ID), "naar": "oin:" + string(naar.cfg.Peer.ID)}
			for name, value := range acts[i].Details {
				act.Details[name] = value
			}
			recs[i] = audit.NewBeheer(o.now(), act)
		}
		if err := o.audit.Append(ctx, recs...); err != nil {
			return fmt.Errorf("%s: vastlegging: %w", o.cfg.Peer.Name, err)
		}
	}
	return nil
}

// perKeer is how many consents go over in one transaction.
const perKeer = 500

// uitvoeren does what was planned, in an order in which breaking off anywhere leaves something that works and that another run
// completes: keys, consents, proposals, revocations.
func (p *herindelingPlan) uitvoeren(ctx context.Context, oud []*offline, nieuw *offline, door string) error {
	for _, o := range oud {
		err := recordAct(ctx, o, nieuw, door, audit.Act{
			Handeling: "herindeling", Object: p.verslag.Per, Details: map[string]string{
				"vanCode": "gm" + o.cfg.Peer.Gemeentecode, "naarCode": "gm" + nieuw.cfg.Peer.Gemeentecode,
			},
		})
		if err != nil {
			return err
		}
	}
	over, err := loadOvername(nieuw.cfg)
	if err != nil {
		return err
	}
	for _, s := range p.sleutels {
		err := recordAct(ctx, s.van, nieuw, door, audit.Act{
			Handeling: "pseudoniemsleutel-overgenomen", Object: "v" + strconv.Itoa(s.Versie),
			Details: map[string]string{"vanVersie": "v" + strconv.Itoa(s.VanVersie)},
		})
		if err != nil {
			return err
		}
		if err := over.write(nieuw.cfg, s.overgenomenSleutel, s.key); err != nil {
			return err
		}
	}
	for _, take := range p.gegeven {
		for rest := take.all; len(rest) > 0; {
			batch := rest[:min(len(rest), perKeer)]
			rest = rest[len(batch):]
			acts := make([]audit.Act, len(batch))
			for i, t := range batch {
				acts[i] = audit.Act{Handeling: "toestemming-overgenomen", Object: t.ID}
			}
			if err := recordAct(ctx, take.van, nieuw, door, acts...); err != nil {
				return err
			}
			if _, err := nieuw.store.NeemOver(ctx, batch); err != nil {
				return fmt.Errorf("toestemmingen: %w", err)
			}
		}
	}
	return p.tekenen(ctx, nieuw, door)
}

// tekenen proposes the new contracts and revokes the old ones; the managers record each act before they sign.
func (p *herindelingPlan) tekenen(ctx context.Context, nieuw *offline, door string) error {
	c := &p.verslag.Contracten
	for _, known := range p.adressen {
		if err := nieuw.store.PutPeer(ctx, known, nieuw.now()); err != nil {
			return err
		}
	}
	for _, v := range p.voorstel {
		if v.er != nil {
			continue
		}
		for _, old := range v.van {
			err := recordAct(ctx, old.peer, nieuw, door, audit.Act{Handeling: "contract-opgevolgd", Object: string(old.hash)})
			if err != nil {
				return err
			}
		}
		hash, err := nieuw.manager.Propose(ctx, v.content(nieuw.cfg.Group.ID, nieuw.now()), nieuw.pseudonyms.Worker(door))
		switch {
		case err == nil:
			p.verslag.Hashes = append(p.verslag.Hashes, hash)
		case gateway.KindOf(err) == gateway.Invalid || gateway.KindOf(err) == gateway.Conflict:
			c.Voorstellen--
			p.niet(v.van[0].peer, "contract", err.Error())
		default:
			return fmt.Errorf("voorstel: %w", err)
		}
	}
	for _, old := range p.intrekken {
		if err := old.peer.manager.Revoke(ctx, old.hash, old.peer.pseudonyms.Worker(door)); err != nil {
			return fmt.Errorf("%s: contract %s: %w", old.peer.cfg.Peer.Name, old.hash, err)
		}
	}
	return nil
}

// print shows what moves as lines.
func (v *herindelingVerslag) print(out io.Writer) error {
	ew := &errWriter{w: out}
	ew.printf("herindeling per %s", v.Per)
	if v.Proef {
		ew.printf(" (proef: er is niets veranderd)")
	}
	ew.printf("\n")
	for _, o := range v.Van {
		ew.printf("  van   %s %s (%s)\n", o.Code, oneLine(o.Naam), o.OIN)
	}
	ew.printf("  naar  %s %s (%s)\n", v.Naar.Code, oneLine(v.Naar.Naam), v.Naar.OIN)
	ew.printf("pseudoniemsleutels  %d over\n", v.Sleutels)
	t := v.Toestemmingen
	ew.printf("toestemmingen       %d over, waarvan %d ingetrokken; %d waren al over\n", t.Over, t.Ingetrokken, t.WasOver)
	c := v.Contracten
	ew.printf("contracten          %d van kracht; %d voorgesteld, %d waren al voorgesteld, waarvan %d geldig; %d oude ingetrokken\n",
		c.Oud, c.Voorstellen, c.WasVoorstel, c.Geldig, c.Ingetrokken)
	for _, hash := range v.Hashes {
		ew.printf("  voorstel %s\n", hash)
	}
	for _, n := range v.NietOver {
		ew.printf("niet over           %d x %s van %s: %s\n", n.Aantal, n.Wat, n.Van, oneLine(n.Reden))
	}
	if len(v.Hashes) > 0 {
		ew.printf("Start nu de nieuwe gemeente: die brengt de voorstellen naar de andere partijen, die ze accepteren.\n")
	}
	if c.Ingetrokken > 0 && !v.Proef {
		ew.printf("Start de oude gemeenten nog eenmaal, tot `grensloos contract show` zegt dat de intrekkingen zijn afgeleverd.\n")
	}
	return ew.err
}

// errWriter keeps the first error.
type errWriter struct {
	w   io.Writer
	err error
}

func (e *errWriter) printf(format string, args ...any) {
	if e.err == nil {
		_, e.err = fmt.Fprintf(e.w, format, args...)
	}
}
