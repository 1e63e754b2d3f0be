package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/gateway/beheer"
)

func peersCommand() *cobra.Command {
	var (
		b    beheerCall
		zoek string
	)
	cmd := &cobra.Command{
		Use:   "peers -c peer.yaml [--zoek TEKST]",
		Short: "List the other peers of the group, as this peer knows them",
		Long: `List the other peers of the group: who they are, where their manager is, for which gemeente they answer, and from whom this
peer knows it: the configuration, the peer itself, or a directory.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := b.open()
			if err != nil {
				return err
			}
			list, err := listPeers(cmd.Context(), a, zoek)
			if err != nil {
				return err
			}
			if b.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"peers": list})
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "OIN\tNAAM\tGEMEENTE\tMANAGER\tBRON\tSERVICES")
			for _, p := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", p.OIN, oneLine(or(p.Naam, "-")), or(p.Gemeentecode, "-"), oneLine(p.Adres), p.Bron,
					or(joined(p.Services), "-"))
			}
			return w.Flush()
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	cmd.Flags().StringVar(&zoek, "zoek", "", "only those whose name, OIN or gemeentecode contains this")
	return usageFlags(cmd)
}

func listPeers(ctx context.Context, a *api, zoek string) ([]beheer.GroepspeerJSON, error) {
	var out struct {
		Peers []beheer.GroepspeerJSON `json:"peers"`
	}
	err := a.call(ctx, http.MethodGet, "/peers?zoek="+url.QueryEscape(zoek), nil, &out)
	return out.Peers, err
}
