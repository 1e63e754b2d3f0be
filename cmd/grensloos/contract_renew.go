package main

import (
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/gateway/beheer"
)

func contractRenewCommand() *cobra.Command {
	var (
		b   beheerCall
		tot string
	)
	cmd := &cobra.Command{
		Use:   "renew HASH -c peer.yaml [--tot DAG]",
		Short: "Propose a contract anew, with the same grants, from when it ends; prints the new hash",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var in beheer.VernieuwingJSON
			var err error
			if tot != "" {
				if in.GeldigTot, err = parseMoment("--tot", tot); err != nil {
					return err
				}
			}
			a, err := b.open()
			if err != nil {
				return err
			}
			var out beheer.ContractJSON
			if err := a.call(cmd.Context(), http.MethodPost, "/contracten/"+url.PathEscape(args[0])+"/_vernieuwen", in, &out); err != nil {
				return err
			}
			if b.json {
				return printJSON(cmd.OutOrStdout(), out)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), out.Hash)
			return err
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	cmd.Flags().StringVar(&tot, "tot", "", "first day or moment no more (default: as long as it lasted)")
	return cmd
}

func contractDiffCommand() *cobra.Command {
	var b beheerCall
	cmd := &cobra.Command{
		Use:   "diff HASH [HASH] -c peer.yaml",
		Short: "Show what a contract changes against another, or against the one that it takes the place of",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := b.open()
			if err != nil {
				return err
			}
			path := "/contracten/" + url.PathEscape(args[0]) + "/verschil"
			if len(args) == 2 {
				path += "?met=" + url.QueryEscape(args[1])
			}
			var out beheer.VerschilJSON
			if err := a.call(cmd.Context(), http.MethodGet, path, nil, &out); err != nil {
				return err
			}
			if b.json {
				return printJSON(cmd.OutOrStdout(), out)
			}
			return showDiff(cmd, out)
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	return cmd
}

func showDiff(cmd *cobra.Command, d beheer.VerschilJSON) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	if d.Met == "" {
		fmt.Fprintln(w, "nieuw: dit contract neemt van geen ander de plaats in")
		return w.Flush()
	}
	fmt.Fprintf(w, "tegenover %s (%s)\n", d.Met, d.ToestandMet)
	if len(d.Wijzigingen) == 0 {
		fmt.Fprintln(w, "geen verschil")
	}
	grant := ""
	for _, c := range d.Wijzigingen {
		if c.Grant != grant {
			grant = c.Grant
			fmt.Fprintln(w, oneLine(grant))
		}
		if c.Veld == "" {
			fmt.Fprintf(w, "  %s\n", c.Soort)
			continue
		}
		fmt.Fprintf(w, "  %s\t%s\t%s -> %s\n", c.Soort, oneLine(c.Veld), or(oneLine(short(c.Oud)), "-"), or(oneLine(short(c.Nieuw)), "-"))
	}
	return w.Flush()
}

// short writes a moment at midnight as a day.
func short(s string) string {
	if t, err := time.Parse(time.RFC3339, s); err == nil && t.Equal(t.Truncate(24*time.Hour)) {
		return t.Format(time.DateOnly)
	}
	return s
}
