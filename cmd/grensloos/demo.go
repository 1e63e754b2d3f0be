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
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/cmd/grensloos/bevolking"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/bevraging"
	"github.com/grensloos/grensloos/policies"
)

// The peers of demo D01 (domain.md): test OINs, prefix 00000099.
const (
	borneID gateway.PeerID = "00000099000000147000"
	uwiID   gateway.PeerID = "00000099900000001000"
)

func demoCommand() *cobra.Command {
	var keep bool
	var dir string
	cmd := &cobra.Command{
		Use:   "demo [--keep]",
		Short: "Run two organisations on this machine and ask a question across the border between them",
		Long: `Run Gemeente Borne and the regional organisation uwi-midden-twente on loopback, each with its own certificates, database, policies
and audit log, and show: an answer; a question for which there is no contract; a question that Borne's own policy refuses; a
consent given and withdrawn; the time line of one transaction.

All persons are fictitious. Everything it makes stands in one folder, which it removes at the end.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &demo{out: cmd.OutOrStdout(), start: time.Now()}
			return d.run(cmd.Context(), dir, keep)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave both organisations running until Ctrl-C and print what to try")
	cmd.Flags().StringVar(&dir, "map", "", "folder to work in; it must be empty and is kept (default: a temporary one)")
	return usageFlags(cmd)
}

// demo tells the story of D01, by the same commands that an operator types.
type demo struct {
	out    io.Writer
	start  time.Time
	dir    string
	region *region
	borne  *regionPeer
	uwi    *regionPeer
	peers  []*child
}

func (d *demo) run(ctx context.Context, dir string, keep bool) (err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "grensloos-demo-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	} else if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return usage("--map %s: is not empty", dir)
	}
	d.dir = dir
	defer func() { err = errors.Join(err, d.stop()) }()
	for _, step := range []func(context.Context) error{d.lay, d.startPeers, d.contracts, d.answer, d.noContract, d.ownPolicy, d.consent} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	d.say("\nDone in %.1f s. Every question went over mutual TLS between two processes, and stands in the audit log of each side that it reached.", time.Since(d.start).Seconds())
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

func (d *demo) lay(ctx context.Context) (err error) {
	peildatum := time.Now().UTC()
	personen, err := bevolking.Borne.Personen(peildatum)
	if err != nil {
		return err
	}
	d.title("Certificates, keys, configurations; %d fictitious clients of Borne, %d with a running benefit", len(personen), bevolking.Borne.Lopend)
	local, err := policies.Voorbeeld("borne-lokaal.rego")
	if err != nil {
		return err
	}
	d.borne = &regionPeer{
		ID: borneID, Name: "Gemeente Borne", Gemeentecode: "0147", LocalPolicy: local,
		Source: func(ctx context.Context, dir string) error {
			if err := os.WriteFile(filepath.Join(dir, "mapping.yaml"), bevolking.Mapping, 0o600); err != nil {
				return err
			}
			return bevolking.WriteSQLite(ctx, filepath.Join(dir, "bron.db"), personen, peildatum)
		},
	}
	d.uwi = &regionPeer{ID: uwiID, Name: "uwi-midden-twente"}
	d.region, err = layRegion(ctx, d.dir, d.borne, d.uwi)
	return err
}

func (d *demo) startPeers(ctx context.Context) error {
	d.title("Two processes: Gemeente Borne and uwi-midden-twente")
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, p := range []*regionPeer{d.borne, d.uwi} {
		c, err := startChild(ctx, self, p)
		if err != nil {
			return err
		}
		d.peers = append(d.peers, c)
	}
	for _, c := range d.peers {
		line, err := c.ready(ctx, 20*time.Second)
		if err != nil {
			return err
		}
		d.say("    %s", line)
	}
	return nil
}

func (d *demo) contracts(ctx context.Context) error {
	d.title("uwi proposes a contract per purpose; Borne accepts: both signatures travel between the managers (FSC Core 2.0.0)")
	for _, args := range [][]string{
		{"--doel", "pw-uitkering", "--namens", string(borneID)},
		{"--doel", "doorverwijzing-welzijn"},
	} {
		hash, err := d.grensloos(ctx, d.uwi, "", append([]string{"contract", "propose", "--aanbieder", string(borneID)}, args...)...)
		if err != nil {
			return err
		}
		hash = strings.TrimSpace(hash)
		if err := d.await(ctx, "the proposal to reach Borne", func() bool { return d.state(ctx, d.borne, hash) == "voorgesteld" }); err != nil {
			return err
		}
		if _, err := d.grensloos(ctx, d.borne, "", "contract", "accept", hash); err != nil {
			return err
		}
		if err := d.await(ctx, "Borne's signature to reach uwi", func() bool { return d.state(ctx, d.uwi, hash) == "geldig" }); err != nil {
			return err
		}
	}
	_, err := d.grensloos(ctx, d.uwi, "", "contract", "list")
	return err
}

// state is the state of a contract at one peer; empty when it is not there.
func (d *demo) state(ctx context.Context, p *regionPeer, hash string) string {
	var out bytes.Buffer
	var c struct {
		Toestand string `json:"toestand"`
	}
	if err := run(ctx, []string{"contract", "show", hash, "--json", "-c", p.config()}, strings.NewReader(""), &out, io.Discard); err != nil {
		return ""
	}
	_ = json.Unmarshal(out.Bytes(), &c)
	return c.Toestand
}

// client gives the BSN of the n-th client of Borne: the same one on every machine.
func (d *demo) client(n int) (string, error) {
	personen, err := bevolking.Borne.Personen(time.Now().UTC())
	if err != nil {
		return "", err
	}
	return personen[n].BSN.Reveal(), nil
}

func (d *demo) answer(ctx context.Context) error {
	d.title("A klantmanager asks about a client for an application (pw-uitkering), and gets what that purpose allows")
	bsn, err := d.client(0)
	if err != nil {
		return err
	}
	transactie, err := d.ask(ctx, bsn, bevraging.Beantwoord, "pw-uitkering", "pw-aanvraag")
	if err != nil {
		return err
	}
	d.title("The time line of that transaction, as both sides recorded it: no name, no BSN, no value in it")
	_, err = d.grensloos(ctx, d.uwi, "", "audit", "show", transactie, "-c", d.borne.config())
	return err
}

func (d *demo) noContract(ctx context.Context) error {
	d.title("The same client for re-integration: no contract for that purpose, so nothing is sent, and that is recorded at uwi")
	bsn, err := d.client(0)
	if err != nil {
		return err
	}
	transactie, err := d.ask(ctx, bsn, bevraging.NietGevraagd, "pw-reintegratie", "pw-reintegratietraject")
	if err != nil {
		return err
	}
	_, err = d.grensloos(ctx, d.uwi, "", "audit", "show", transactie)
	return err
}

func (d *demo) ownPolicy(ctx context.Context) error {
	d.title("A valid contract, and still a refusal: Borne does reviews (pw-heronderzoek) itself, says its own policy; recorded on both sides")
	bsn, err := d.client(0)
	if err != nil {
		return err
	}
	transactie, err := d.ask(ctx, bsn, bevraging.Geweigerd, "pw-uitkering", "pw-heronderzoek")
	if err != nil {
		return err
	}
	_, err = d.grensloos(ctx, d.uwi, "", "audit", "show", transactie, "-c", d.borne.config())
	return err
}

func (d *demo) consent(ctx context.Context) error {
	d.title("Referral to welfare work rests on consent alone: without it, refused")
	bsn, err := d.client(1)
	if err != nil {
		return err
	}
	const doel, zaaktype = "doorverwijzing-welzijn", "doorverwijzing"
	if _, err := d.ask(ctx, bsn, bevraging.Geweigerd, doel, zaaktype); err != nil {
		return err
	}
	d.title("The client gives consent at Borne's counter; then name and telephone number may go, and no BSN")
	id, err := d.grensloos(ctx, d.borne, bsn, "toestemming", "geef", "--doel", doel, "--ontvanger", string(uwiID), "--bsn-stdin")
	if err != nil {
		return err
	}
	if _, err := d.ask(ctx, bsn, bevraging.Beantwoord, doel, zaaktype); err != nil {
		return err
	}
	d.title("The client withdraws it; the very next question is refused")
	if _, err := d.grensloos(ctx, d.borne, "", "toestemming", "trek-in", strings.TrimSpace(id)); err != nil {
		return err
	}
	_, err = d.ask(ctx, bsn, bevraging.Geweigerd, doel, zaaktype)
	return err
}

// ask puts a question as a person would, shows the answer, and holds its outcome against what the story says.
func (d *demo) ask(ctx context.Context, bsn string, want bevraging.Uitkomst, doel, zaaktype string) (transactie string, err error) {
	shown, err := d.grensloos(ctx, d.uwi, bsn, "vraag", "--doel", doel, "--zaaktype", zaaktype, "--zaak", "Z-2026-0147", "--bsn-stdin")
	if err != nil && exitCode(err) != exitIncomplete {
		return "", err
	}
	if !strings.Contains(shown, uitkomsten[want]) {
		return "", fmt.Errorf("the answer should have said %q", uitkomsten[want])
	}
	if strings.Contains(shown, bsn) && doel == "doorverwijzing-welzijn" {
		return "", errors.New("an answer to a partner holds a BSN")
	}
	_, rest, _ := strings.Cut(shown, "transactie ")
	transactie, _, _ = strings.Cut(rest, "\n")
	return strings.TrimSpace(transactie), nil
}

// grensloos runs a command for a peer and shows it with what it prints, indented. A BSN goes in by standard input and is not shown.
func (d *demo) grensloos(ctx context.Context, p *regionPeer, bsn string, args ...string) (string, error) {
	args = append(args, "-c", p.config())
	shown := "$ grensloos " + strings.ReplaceAll(strings.Join(args, " "), d.dir+string(filepath.Separator), "")
	if bsn != "" {
		shown = "$ echo <BSN> | " + shown[2:]
	}
	d.say("    %s", shown)
	var out, problems bytes.Buffer
	err := run(ctx, args, strings.NewReader(bsn), &out, &problems)
	for line := range strings.Lines(out.String() + problems.String()) {
		d.say("      %s", strings.TrimRight(line, "\n"))
	}
	if err != nil && exitCode(err) == exitIncomplete {
		d.say("      (exit code %d: not a whole answer)", exitIncomplete)
	}
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

func (d *demo) keep(ctx context.Context) error {
	bsn, err := d.client(2)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	d.say(`
Both keep running; Ctrl-C ends them. In another terminal:

  cd %s
  echo %s | %s vraag -c uwi-midden-twente/peer.yaml --doel pw-uitkering --zaaktype pw-aanvraag --zaak Z-1 --bsn-stdin
  %s contract list -c gemeente-borne/peer.yaml
  %s toestemming list -c gemeente-borne/peer.yaml
  less gemeente-borne/peer.yaml gemeente-borne/serve.log`, d.dir, bsn, self, self, self)
	<-ctx.Done()
	return nil
}

// stop ends both processes and waits for them.
func (d *demo) stop() error {
	var errs []error
	for _, c := range d.peers {
		errs = append(errs, c.stop())
	}
	return errors.Join(errs...)
}
