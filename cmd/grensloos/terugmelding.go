package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/bevraging"
	"github.com/grensloos/grensloos/gateway/terugmelding"
)

// errUndelivered is what a command says of a report that the gemeente does not have, or whose status could not be asked.
var errUndelivered = errors.New("de gemeente is niet bereikt; probeer het later opnieuw met: grensloos terugmelding toon")

func terugmeldingCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "terugmelding",
		Short: "Report a doubtful field to the gemeente that gave it, and handle such reports",
		RunE:  func(*cobra.Command, []string) error { return usage("give meld, list, toon or behandel") },
	}
	cmd.AddCommand(terugmeldingMeldCommand(), terugmeldingListCommand(), terugmeldingToonCommand(), terugmeldingBehandelCommand())
	return usageFlags(cmd)
}

// openBevraging prepares calls to this peer's bevraging.
func (b *beheerCall) openBevraging() (*api, error) {
	if b.file == "" {
		return nil, usage("-c: give the peer's configuration file")
	}
	cfg, err := loadConfig(b.file)
	if err != nil {
		return nil, err
	}
	return newAPI(cfg, "bevraging.luister", cfg.Bevraging.Listen, &b.id)
}

// openSide prepares calls about reports at one side: those that were made to this peer are beheer's.
func (b *beheerCall) openSide(cmd *cobra.Command, ontvangen bool) (*api, error) {
	if !ontvangen {
		return b.openBevraging()
	}
	if !cmd.Flags().Changed("rol") {
		b.id.rollen = []string{beheer.RolBeheer}
	}
	return b.open()
}

func terugmeldingMeldCommand() *cobra.Command {
	var (
		b                                beheerCall
		dienst, veld, reden, toelichting string
	)
	cmd := &cobra.Command{
		Use:   "meld TRANSACTIE -c peer.yaml --dienst DIENST --veld VELD --reden REDEN",
		Short: "Report a field of an earlier answer as doubtful; prints the id of the report",
		Long: `Report a field of an earlier answer as doubtful, to the gemeente that gave it. The transaction is the one under which it answered
(grensloos vraag prints it); whom to tell, and under which contract, follows from what was recorded then.

Exit codes: 0 the gemeente has it; 3 it is kept here but the gemeente does not have it (yet).`,
		Example: `  grensloos terugmelding meld 019a0000-7c11-7d3e-9a55-3f5c0b1e2d44 -c uwi.yaml --dienst persoon --veld adres --reden verouderd`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := b.openBevraging()
			if err != nil {
				return err
			}
			in := map[string]string{"transactie": args[0], "dienst": dienst, "veld": veld, "reden": reden}
			if toelichting != "" {
				in["toelichting"] = toelichting
			}
			var out bevraging.TerugmeldingJSON
			if err := a.call(cmd.Context(), http.MethodPost, "/terugmeldingen", in, &out); err != nil {
				return err
			}
			if b.json {
				err = printJSON(cmd.OutOrStdout(), out)
			} else {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), out.ID)
			}
			return errors.Join(err, b.undelivered(cmd.ErrOrStderr(), out))
		},
	}
	b.flags(cmd, "klantmanager")
	f := cmd.Flags()
	f.StringVar(&dienst, "dienst", "", "dienst that the field stood in")
	f.StringVar(&veld, "veld", "", "the field")
	f.StringVar(&reden, "reden", "", "onjuist, verouderd, onvolledig, verkeerde-persoon or anders")
	f.StringVar(&toelichting, "toelichting", "", "what is doubtful, in a few words: no names, no BSN")
	return cmd
}

// undelivered says why the gemeente does not have a report, or could not be asked about it.
func (b *beheerCall) undelivered(w io.Writer, m bevraging.TerugmeldingJSON) error {
	switch {
	case m.Fout != nil:
		fmt.Fprintf(w, "let op: %s (%s)\n", m.Fout.Tekst, m.Fout.Code)
		return exit{exitIncomplete, errUndelivered}
	case m.Status == terugmelding.Geweigerd:
		return exit{exitIncomplete, errors.New(m.Antwoord)}
	}
	return nil
}

func terugmeldingToonCommand() *cobra.Command {
	var (
		b                  beheerCall
		ontvangen, bewaard bool
	)
	cmd := &cobra.Command{
		Use:   "toon ID -c peer.yaml [--ontvangen]",
		Short: "Show a report with its status; one that this peer made is asked of the gemeente",
		Long: `Show a report with its status. One that this peer made is asked of the gemeente now, and sent again if it was not delivered;
--bewaard shows what is kept here instead. --ontvangen shows one that was made to this peer.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := b.openSide(cmd, ontvangen)
			if err != nil {
				return err
			}
			path := "/terugmeldingen/" + url.PathEscape(args[0])
			if ontvangen {
				var out beheer.TerugmeldingJSON
				if err := a.call(cmd.Context(), http.MethodGet, path, nil, &out); err != nil {
					return err
				}
				return b.show(cmd.OutOrStdout(), out, receivedRow(out))
			}
			method, full := http.MethodPost, path+"/_opvragen"
			if bewaard {
				method, full = http.MethodGet, path
			}
			var out bevraging.TerugmeldingJSON
			if err := a.call(cmd.Context(), method, full, nil, &out); err != nil {
				return err
			}
			return errors.Join(b.show(cmd.OutOrStdout(), out, madeRow(out)), b.undelivered(cmd.ErrOrStderr(), out))
		},
	}
	b.flags(cmd, "klantmanager")
	cmd.Flags().BoolVar(&ontvangen, "ontvangen", false, "a report that was made to this peer")
	cmd.Flags().BoolVar(&bewaard, "bewaard", false, "do not ask the gemeente: show what is kept here")
	return cmd
}

func terugmeldingBehandelCommand() *cobra.Command {
	var (
		b                beheerCall
		status, antwoord string
	)
	cmd := &cobra.Command{
		Use:     "behandel ID -c peer.yaml --status STATUS [--antwoord TEKST]",
		Short:   "Say how far a report that was made to this peer is, or how it ended",
		Example: `  grensloos terugmelding behandel 019a0001-0000-7d3e-9a55-3f5c0b1e2d44 -c borne.yaml --status gecorrigeerd --antwoord "adres aangepast"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := b.open()
			if err != nil {
				return err
			}
			var out beheer.TerugmeldingJSON
			in := beheer.BehandelingJSON{Status: terugmelding.Status(status), Antwoord: antwoord}
			if err := a.call(cmd.Context(), http.MethodPost, "/terugmeldingen/"+url.PathEscape(args[0])+"/_behandelen", in, &out); err != nil {
				return err
			}
			return b.show(cmd.OutOrStdout(), out, receivedRow(out))
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	cmd.Flags().StringVar(&status, "status", "", "in-onderzoek, gecorrigeerd or ongegrond")
	cmd.Flags().StringVar(&antwoord, "antwoord", "", "what the reporter reads with it: no names, no BSN")
	return cmd
}

func terugmeldingListCommand() *cobra.Command {
	var (
		b               beheerCall
		ontvangen, open bool
	)
	cmd := &cobra.Command{
		Use:   "list -c peer.yaml [--ontvangen [--open]]",
		Short: "List the reports that you made, or those that were made to this peer",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if open && !ontvangen {
				return usage("--open: only with --ontvangen")
			}
			a, err := b.openSide(cmd, ontvangen)
			if err != nil {
				return err
			}
			if ontvangen {
				all := beheer.TerugmeldingenJSON{Terugmeldingen: []beheer.TerugmeldingJSON{}}
				err := eachPage(fmt.Sprintf("/terugmeldingen?aantal=1000&open=%t", open), func(path string) (string, error) {
					var page beheer.TerugmeldingenJSON
					err := a.call(cmd.Context(), http.MethodGet, path, nil, &page)
					all.Terugmeldingen = append(all.Terugmeldingen, page.Terugmeldingen...)
					return page.Volgende, err
				})
				if err != nil {
					return err
				}
				rows := make([]meldingRow, len(all.Terugmeldingen))
				for i, m := range all.Terugmeldingen {
					rows[i] = receivedRow(m)
				}
				return b.show(cmd.OutOrStdout(), all, rows...)
			}
			all := bevraging.TerugmeldingenJSON{Terugmeldingen: []bevraging.TerugmeldingJSON{}}
			err = eachPage("/terugmeldingen?aantal=1000", func(path string) (string, error) {
				var page bevraging.TerugmeldingenJSON
				err := a.call(cmd.Context(), http.MethodGet, path, nil, &page)
				all.Terugmeldingen = append(all.Terugmeldingen, page.Terugmeldingen...)
				return page.Volgende, err
			})
			if err != nil {
				return err
			}
			rows := make([]meldingRow, len(all.Terugmeldingen))
			for i, m := range all.Terugmeldingen {
				rows[i] = madeRow(m)
			}
			return b.show(cmd.OutOrStdout(), all, rows...)
		},
	}
	b.flags(cmd, "klantmanager")
	cmd.Flags().BoolVar(&ontvangen, "ontvangen", false, "those that were made to this peer")
	cmd.Flags().BoolVar(&open, "open", false, "only what has not ended")
	return cmd
}

// eachPage reads a list page by page; read gives what the next page begins after, empty on the last.
func eachPage(first string, read func(path string) (string, error)) error {
	for next := ""; ; {
		after, err := read(first + prefixed("&na=", next))
		if err != nil || after == "" || after == next {
			return err
		}
		next = after
	}
}

// meldingRow is a report as both sides print it.
type meldingRow struct {
	id                string
	peer              gateway.PeerID // the other side
	dienst            gateway.Dienst
	veld              gateway.Veld
	reden             terugmelding.Reden
	status            terugmelding.Status
	tekst, antwoord   string
	zaak              string
	gemeld, gewijzigd time.Time
}

func madeRow(m bevraging.TerugmeldingJSON) meldingRow {
	return meldingRow{m.ID, m.Gemeente, m.Dienst, m.Veld, m.Reden, m.Status, m.Toelichting, m.Antwoord, m.Zaak, m.Gemeld, m.Gewijzigd}
}

func receivedRow(m beheer.TerugmeldingJSON) meldingRow {
	return meldingRow{m.ID, m.Melder, m.Dienst, m.Veld, m.Reden, m.Status, m.Toelichting, m.Antwoord, m.Zaak, m.Gemeld, m.Gewijzigd}
}

// show prints reports: JSON for programs, else a table, with the texts of a single one below it.
func (b *beheerCall) show(out io.Writer, v any, rows ...meldingRow) error {
	if b.json {
		return printJSON(out, v)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STATUS\tVELD\tREDEN\tANDERE KANT\tZAAK\tGEMELD\tGEWIJZIGD\tID")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s.%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.status, r.dienst, r.veld, r.reden, r.peer, r.zaak,
			r.gemeld.Format(time.DateOnly), r.gewijzigd.Format(time.DateOnly), r.id)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(rows) == 1 {
		for _, text := range []struct{ name, value string }{{"toelichting", rows[0].tekst}, {"antwoord", rows[0].antwoord}} {
			if text.value != "" {
				fmt.Fprintf(out, "%s: %s\n", text.name, text.value)
			}
		}
	}
	return nil
}
