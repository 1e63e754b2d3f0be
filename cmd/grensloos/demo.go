package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/cmd/grensloos/bevolking"
	"github.com/grensloos/grensloos/gateway/bevraging"
)

// story is a region that the demo can run: who takes part, and what happens.
type story func(*demo) ([]*regionPeer, []func(context.Context) error)

func demoCommand() *cobra.Command {
	var keep bool
	var dir, region string
	cmd := &cobra.Command{
		Use:   "demo [--region NAME] [--keep]",
		Short: "Run a whole region on this machine and ask questions across the borders in it",
		Long: `Run a region on loopback, each organisation in a process of its own with its own certificates, database, policies and audit log, and
tell its story by the commands that an operator or a caseworker types.

midden-twente (the default): a directory, the gemeenten Borne, Hengelo and Haaksbergen, and the organisation uwi-midden-twente that
works for all three: answers, refusals, consent given and withdrawn, a gemeente that joins, a source and a gemeente that fail, a
field reported as doubtful, the time line of one transaction.

alkmaar: seven gemeenten, of which two become one on the way (herindeling), with their contracts and consents.

All persons are fictitious. Everything it makes stands in one folder, which it removes at the end.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tell, ok := map[string]story{"midden-twente": (*demo).middenTwente, "alkmaar": (*demo).alkmaar}[region]
			if !ok {
				return usage("--region %.40q: choose from midden-twente, alkmaar", region)
			}
			d := &demo{out: cmd.OutOrStdout(), start: time.Now(), running: map[*regionPeer]*child{}}
			return d.run(cmd.Context(), tell, dir, keep)
		},
	}
	cmd.Flags().StringVar(&region, "region", "midden-twente", "midden-twente or alkmaar")
	cmd.Flags().BoolVar(&keep, "keep", false, "leave everything running until Ctrl-C and print what to try")
	cmd.Flags().StringVar(&dir, "map", "", "folder to work in; it must be empty and is kept (default: a temporary one)")
	return usageFlags(cmd)
}

// demo runs a region and shows what is typed and what comes back.
type demo struct {
	out     io.Writer
	start   time.Time
	dir     string
	program string // this program: every peer is a process of it
	region  *region
	asker   *regionPeer
	running map[*regionPeer]*child
}

func (d *demo) run(ctx context.Context, tell story, dir string, keep bool) (err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "grensloos-demo-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	} else if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return usage("--map %s: is not empty", dir)
	}
	if d.program, err = os.Executable(); err != nil {
		return err
	}
	d.dir = dir
	defer func() { err = errors.Join(err, d.stopAll()) }()
	peers, steps := tell(d)
	d.title("Certificates, keys, configurations and fictitious clients for %d organisations", len(peers))
	if d.region, err = layRegion(ctx, dir, peers...); err != nil {
		return err
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	d.say("\nDone in %.1f s. Every question went over mutual TLS, and stands in the audit log of each side that it reached.", time.Since(d.start).Seconds())
	if keep {
		return d.keep(ctx)
	}
	return nil
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// title begins a part of the story.
func (d *demo) title(format string, args ...any) {
	d.say("\n[%4.1f s] "+format, append([]any{time.Since(d.start).Seconds()}, args...)...)
}

// gemeente is a gemeente with a connector on the source of its own application.
func gemeente(code, name string, policy []byte, of ...bevolking.Gemeente) *regionPeer {
	return &regionPeer{ID: gemeenteOIN(code), Name: name, Gemeentecode: code, LocalPolicy: policy, Source: sourceOf(of...)}
}

// sourceOf writes the database of the residents of one or more gemeenten, and its mapping.
func sourceOf(gemeenten ...bevolking.Gemeente) func(context.Context, string) error {
	return func(ctx context.Context, dir string) error {
		peildatum := time.Now().UTC()
		personen, err := bevolking.Samen(peildatum, gemeenten...)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "mapping.yaml"), bevolking.Mapping, 0o600); err != nil {
			return err
		}
		return bevolking.WriteSQLite(ctx, filepath.Join(dir, sourceFile), personen, peildatum)
	}
}

// startPeers starts peers, all at once, and waits until each is ready.
func (d *demo) startPeers(ctx context.Context, peers ...*regionPeer) error {
	for _, p := range peers {
		c, err := startChild(ctx, d.program, p)
		if err != nil {
			return err
		}
		d.running[p] = c
	}
	for _, p := range peers {
		line, err := d.running[p].ready(ctx, 20*time.Second)
		if err != nil {
			return err
		}
		d.say("    %s", line)
	}
	return nil
}

// stopPeer ends one peer in good order.
func (d *demo) stopPeer(p *regionPeer) error {
	c := d.running[p]
	delete(d.running, p)
	return c.stop()
}

// stopAll ends what still runs.
func (d *demo) stopAll() error {
	var errs []error
	for p := range d.running {
		errs = append(errs, d.stopPeer(p))
	}
	return errors.Join(errs...)
}

// contract proposes, has it accepted, and waits until both sides hold it for valid. Shown are the two commands.
func (d *demo) contract(ctx context.Context, provider *regionPeer, args ...string) (hash string, err error) {
	hash, err = d.grensloos(ctx, d.asker, "", append([]string{"contract", "propose", "--aanbieder", string(provider.ID)}, args...)...)
	if err != nil {
		return "", err
	}
	hash = strings.TrimSpace(hash)
	if err := d.await(ctx, "the proposal to reach "+provider.Name, func() bool { return d.state(ctx, provider, hash) == "voorgesteld" }); err != nil {
		return "", err
	}
	if _, err := d.quiet(ctx, provider, "contract", "accept", hash); err != nil {
		return "", err
	}
	d.say("    $ grensloos contract accept %.20s... -c %s", hash, d.short(provider.config()))
	return hash, d.await(ctx, "the signature of "+provider.Name+" to arrive", func() bool { return d.state(ctx, d.asker, hash) == "geldig" })
}

// state is the state of a contract at one peer; empty when it is not there.
func (d *demo) state(ctx context.Context, p *regionPeer, hash string) string {
	out, err := d.quiet(ctx, p, "contract", "show", hash, "--json")
	var c struct {
		Toestand string `json:"toestand"`
	}
	if err != nil || json.Unmarshal([]byte(out), &c) != nil {
		return ""
	}
	return c.Toestand
}

// demoVraag is a question of the story and what must come of it.
type demoVraag struct {
	doel, zaaktype string
	bsn            string
	gemeenten      []string
	want           []bevraging.Uitkomst // outcomes that the answer must show
}

// ask puts a question as a person would, shows the answer, and holds it against what the story says.
func (d *demo) ask(ctx context.Context, q demoVraag) (transactie string, err error) {
	args := []string{"vraag", "--doel", q.doel, "--zaaktype", q.zaaktype, "--zaak", "Z-2026-0147", "--bsn-stdin"}
	for _, g := range q.gemeenten {
		args = append(args, "--gemeente", g)
	}
	shown, err := d.grensloos(ctx, d.asker, q.bsn, args...)
	if err != nil && exitCode(err) != exitIncomplete {
		return "", err
	}
	for _, want := range q.want {
		if !strings.Contains(shown, uitkomsten[want]) {
			return "", fmt.Errorf("the answer should have said %q", uitkomsten[want])
		}
	}
	_, rest, _ := strings.Cut(shown, "transactie ")
	transactie, _, _ = strings.Cut(rest, "\n")
	return strings.TrimSpace(transactie), nil
}

// short leaves the demo's folder out of a path.
func (d *demo) short(path string) string {
	return strings.TrimPrefix(path, d.dir+string(filepath.Separator))
}

// grensloos runs a command for a peer and shows it with what it prints, indented. A BSN goes in by standard input and is not shown.
func (d *demo) grensloos(ctx context.Context, p *regionPeer, bsn string, args ...string) (string, error) {
	shown := "$ "
	if bsn != "" {
		shown += "echo <BSN> | "
	}
	shown += "grensloos " + strings.Join(append(slices.Clone(args), "-c", p.config()), " ")
	d.say("    %s", strings.ReplaceAll(shown, d.dir+string(filepath.Separator), ""))
	var problems bytes.Buffer
	out, err := d.command(ctx, p, bsn, &problems, args...)
	for line := range strings.Lines(out + problems.String()) {
		d.say("      %s", strings.TrimRight(line, "\n"))
	}
	if err != nil && exitCode(err) == exitIncomplete {
		d.say("      (exit code %d: not a whole answer)", exitIncomplete)
	}
	return out, err
}

// quiet runs a command without showing it.
func (d *demo) quiet(ctx context.Context, p *regionPeer, args ...string) (string, error) {
	return d.command(ctx, p, "", io.Discard, args...)
}

func (d *demo) command(ctx context.Context, p *regionPeer, bsn string, problems io.Writer, args ...string) (string, error) {
	var out bytes.Buffer
	err := run(ctx, append(slices.Clone(args), "-c", p.config()), strings.NewReader(bsn), &out, problems)
	return out.String(), err
}

// await looks until done, for at most ten seconds.
func (d *demo) await(ctx context.Context, what string, done func() bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("waited ten seconds for %s", what)
		case <-tick.C:
		}
	}
	return nil
}

// client gives the BSN of the n-th client of a gemeente: the same one on every machine.
func client(g bevolking.Gemeente, n int) (string, error) {
	personen, err := g.Personen(time.Now().UTC())
	if err != nil {
		return "", err
	}
	return personen[n].BSN.Reveal(), nil
}

func (d *demo) keep(ctx context.Context) error {
	bsn, err := client(bevolking.Borne, 2)
	if err != nil {
		return err
	}
	d.say(`
Everything keeps running; Ctrl-C ends it. In another terminal:

  cd %s
  echo %s | %s vraag -c uwi-midden-twente/peer.yaml --doel pw-uitkering --zaaktype pw-aanvraag --zaak Z-1 --gemeente 0147 --bsn-stdin
  %s contract list -c gemeente-borne/peer.yaml
  %s doctor -c gemeente-borne/peer.yaml
  less gemeente-borne/peer.yaml gemeente-borne/serve.log`, d.dir, bsn, d.program, d.program, d.program)
	<-ctx.Done()
	return nil
}
