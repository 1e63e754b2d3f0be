package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/beheer"
)

func servicesCommand() *cobra.Command {
	var (
		b    beheerCall
		zoek string
	)
	cmd := &cobra.Command{
		Use:     "services -c peer.yaml [--zoek TEKST]",
		Aliases: []string{"service"},
		Short:   "List the published services of the group; publish one, or withdraw it",
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := b.open()
			if err != nil {
				return err
			}
			list, err := listServices(cmd.Context(), a, zoek)
			if err != nil {
				return err
			}
			if b.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"services": list})
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SERVICE\tAANBIEDER\tOIN\tGEMEENTE\tVOOR\tDIRECTORY")
			for _, s := range list {
				gemeente := or(s.Gemeentecode, "-")
				if s.Gemeentecode != "" && !s.Bevestigd {
					gemeente += " (niet bevestigd)"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Service, oneLine(or(s.Naam, "-")), s.Aanbieder, gemeente,
					or(oneLine(s.DelegatorNaam), "-"), s.Directory)
			}
			return w.Flush()
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	cmd.Flags().StringVar(&zoek, "zoek", "", "only those whose name, provider or gemeentecode contains this")
	cmd.AddCommand(servicePublishCommand(), serviceWithdrawCommand())
	return usageFlags(cmd)
}

func listServices(ctx context.Context, a *api, zoek string) ([]beheer.ServiceJSON, error) {
	var out struct {
		Services []beheer.ServiceJSON `json:"services"`
	}
	err := a.call(ctx, http.MethodGet, "/services?zoek="+url.QueryEscape(zoek), nil, &out)
	return out.Services, err
}

func servicePublishCommand() *cobra.Command {
	var (
		b          beheerCall
		directory  string
		code       string
		vanaf, tot string
	)
	cmd := &cobra.Command{
		Use:   "publish SERVICE -c peer.yaml",
		Short: "Propose the publication of a service of this peer to a directory; prints the hash of the contract",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := b.open()
			if err != nil {
				return err
			}
			cfg, err := loadConfig(b.file)
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("gemeentecode") {
				code = cfg.Peer.Gemeentecode
			}
			in, err := publicationOf(cfg, gateway.ServiceName(args[0]), gateway.PeerID(directory), code)
			if err != nil {
				return err
			}
			if in.GeldigVanaf, in.GeldigTot, err = validity(vanaf, tot, time.Now()); err != nil {
				return err
			}
			var out beheer.ContractJSON
			if err := a.call(cmd.Context(), http.MethodPost, "/contracten", in, &out); err != nil {
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
	f := cmd.Flags()
	f.StringVar(&directory, "directory", "", "OIN of the directory (default: the first of the configuration)")
	f.StringVar(&code, "gemeentecode", "", "for which gemeente the service answers (default: peer.gemeentecode)")
	f.StringVar(&vanaf, "vanaf", "", "first day or moment, such as 2026-12-01 (default: now)")
	f.StringVar(&tot, "tot", "", "first day or moment no more (default: a year after --vanaf)")
	return cmd
}

// publicationOf is the proposal to publish one service, without its validity.
func publicationOf(cfg *Config, service gateway.ServiceName, directory gateway.PeerID, code string) (beheer.VoorstelJSON, error) {
	if directory == "" {
		all := cfg.directories()
		if len(all) == 0 {
			return beheer.VoorstelJSON{}, usage("--directory: the configuration has no directories; give the OIN of one")
		}
		directory = all[0].ID
	}
	if _, ours := cfg.Inway.Services[service]; !ours {
		return beheer.VoorstelJSON{}, usage("service %.100q: inway.services does not offer it", service)
	}
	return beheer.VoorstelJSON{Grants: []beheer.VoorstelGrantJSON{{
		Directory: directory, Aanbieder: cfg.Peer.ID, Service: service, Gemeentecode: code,
	}}}, nil
}

func serviceWithdrawCommand() *cobra.Command {
	var b beheerCall
	cmd := &cobra.Command{
		Use:   "withdraw SERVICE -c peer.yaml",
		Short: "Revoke every publication of a service of this peer; prints the hashes of the contracts",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := b.open()
			if err != nil {
				return err
			}
			list, err := listContracts(cmd.Context(), a)
			if err != nil {
				return err
			}
			done := 0
			for _, c := range list {
				if !publishes(c, gateway.ServiceName(args[0])) {
					continue
				}
				var out beheer.ContractJSON
				if err := a.call(cmd.Context(), http.MethodPost, "/contracten/"+url.PathEscape(string(c.Hash))+"/_intrekken", nil, &out); err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), c.Hash)
				done++
			}
			if done == 0 {
				return fmt.Errorf("service %.100q: no publication of it is in force", args[0])
			}
			return nil
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	return cmd
}

// publishes reports whether a contract that is, or may become, valid publishes a service of this peer.
func publishes(c beheer.ContractJSON, service gateway.ServiceName) bool {
	if c.Toestand != "geldig" && c.Toestand != "voorgesteld" && c.Toestand != "nog-niet-geldig" {
		return false
	}
	for _, g := range c.Grants {
		if g.Directory != "" && g.Service == service {
			return true
		}
	}
	return false
}
