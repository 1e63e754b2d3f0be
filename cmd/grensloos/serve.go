package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/grensloos/grensloos/gateway/edge"
)

const (
	// stopWithin bounds a graceful stop: open exchanges end, the journal is shipped.
	stopWithin = 15 * time.Second
	// watchEvery is how often files that may change (anchors, CRLs, certificates) are looked at: a change bites within 5 s.
	watchEvery = 2 * time.Second
)

func serveCommand() *cobra.Command {
	var (
		file          string
		roles, listen []string
		name          string
	)
	cmd := &cobra.Command{
		Use:   "serve -c peer.yaml [--role inway ...]",
		Short: "Run all roles of one peer, or some of them",
		Long: `Run the roles of one peer that its configuration gives an address: manager, inway with its services, outway, bevraging and beheer.

With --role it runs only that role, or those: manager, inway, clientgegevens, outway, bevraging, beheer. All processes of a peer may have
the same configuration; each has its own folder below map, named after its roles or --proces, and opens only what its roles need. Roles
apart need PostgreSQL and a Kafka cluster. Several processes may run the same role (docs/roles.md).

It prints a line "gereed" on standard output when every listener is open, and logs as JSON on standard error. On SIGINT or SIGTERM it
stops taking new calls, lets open ones end, ships its journal and stops.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			part, err := parseProcess(roles, name, listen)
			if err != nil {
				return err
			}
			cfg, err := loadConfigOf(file, part)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the peer's configuration file")
	_ = cmd.MarkFlagRequired("config")
	cmd.Flags().StringArrayVar(&roles, "role", nil, "run this role in this process; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(strings.Split(joinRoles(serveRoles()), ", "), cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringVar(&name, "proces", "", "with --role: name of this process and of its folder below map (default: its roles)")
	cmd.Flags().StringArrayVar(&listen, "luister", nil, "with --role: ROLE=HOST:PORT or bewaking=HOST:PORT in place of what the configuration says; may be repeated")
	return usageFlags(cmd)
}

// serve runs a peer until ctx ends.
func serve(ctx context.Context, cfg *Config, stdout, stderr io.Writer) (err error) {
	unlock, err := lockFolder(cfg.Data)
	if err != nil {
		return err
	}
	defer unlock()
	log := slog.New(slog.NewJSONHandler(stderr, nil)).With(slog.String("peer", string(cfg.Peer.ID)))
	if cfg.process.apart() {
		log = log.With(slog.String("proces", cfg.process.String()))
	}
	p, err := openPeer(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		err = errors.Join(err, p.close(closing))
	}()
	listeners, err := p.listen(ctx)
	if err != nil {
		return err
	}
	what := ""
	if cfg.process.apart() {
		what = ": " + cfg.process.describe()
	}
	if _, err := fmt.Fprintf(stdout, "gereed: %s (%s)%s\n", cfg.Peer.Name, cfg.Peer.ID, what); err != nil {
		closeAll(listeners)
		return err
	}
	return p.run(ctx, listeners)
}

// run serves until ctx ends or a part fails. Then it stops in the order in which nothing is lost: open exchanges end, the background
// work stops, and what is journalled is shipped.
func (p *peer) run(ctx context.Context, listeners []net.Listener) error {
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	failed, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var work errgroup.Group
	for _, task := range p.tasks() {
		work.Go(func() error {
			if err := task.run(background); err != nil && background.Err() == nil {
				err = fmt.Errorf("%s: %w", task.name, err)
				fail(err)
				return err
			}
			return nil
		})
	}
	work.Go(func() error {
		err := <-p.shipping
		if err != nil {
			err = fmt.Errorf("audit.journaal: %w", err)
			fail(err)
		}
		return err
	})
	for i, role := range p.roles {
		work.Go(func() error {
			if err := role.server.ServeTLS(listeners[i], "", ""); !errors.Is(err, http.ErrServerClosed) {
				err = fmt.Errorf("%s: %w", role.name, err)
				fail(err)
				return err
			}
			return nil
		})
	}
	p.log.Info("ready")
	tuneCollector()
	<-failed.Done()
	p.stopping.Store(true)
	p.log.Info("stopping")
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	var stop errgroup.Group
	for _, role := range p.roles {
		stop.Go(func() error {
			if err := role.server.Shutdown(stopping); err != nil {
				return errors.Join(fmt.Errorf("%s: open exchanges were cut off: %w", role.name, err), role.server.Close())
			}
			return nil
		})
	}
	err := stop.Wait()
	stopBackground()
	err = errors.Join(err, p.journal.Close(stopping))
	return errors.Join(work.Wait(), err)
}

const (
	// gcPercent lets the heap grow to five times what is live, which is some ten megabytes: a question allocates a hundred kilobytes.
	gcPercent = 400
	// memoryLimit is what the collector works harder for than that to stay below.
	memoryLimit = 512 << 20
)

// tuneCollector sets the collector for a gateway, unless the environment says otherwise (GOGC, GOMEMLIMIT), and gives back what it took
// to start: compiling policies and reading contracts leaves forty megabytes that are of no use any more.
func tuneCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	debug.FreeOSMemory()
}

// listen opens every listener, so that "gereed" is true when it is said.
func (p *peer) listen(ctx context.Context) ([]net.Listener, error) {
	var open []net.Listener
	for _, role := range p.roles {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", role.address)
		if err != nil {
			closeAll(open)
			return nil, fmt.Errorf("%s.luister: %w", role.name, err)
		}
		open = append(open, edge.LimitListener(l, edge.MaxConns, edge.MaxHostConns, p.log.With(slog.String("role", role.name))))
	}
	return open, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}
