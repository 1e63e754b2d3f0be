package main

import (
	"fmt"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/beheer"
)

func groupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "group",
		Short: "Show the group and its rules, or leave it",
		RunE:  func(*cobra.Command, []string) error { return usage("give show or leave; to join: grensloos join") },
	}
	cmd.AddCommand(groupShowCommand(), groupLeaveCommand())
	return usageFlags(cmd)
}

// groupShown is what `group show` prints.
type groupShown struct {
	Groep           gateway.GroupID `json:"groep"`
	Digest          string          `json:"digest"` // of the rules; the same at every peer of the group
	Bestand         string          `json:"bestand,omitempty"`
	Poorten         []int           `json:"poorten"`
	FSCVersie       string          `json:"fscVersie"`
	Bewaartermijnen map[string]int  `json:"bewaartermijnen,omitempty"`
	beheer.GroepJSON
}

func groupShowCommand() *cobra.Command {
	var b beheerCall
	cmd := &cobra.Command{
		Use:   "show -c peer.yaml",
		Short: "Show the rules of the group, and how this peer stands with its directories",
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := b.open()
			if err != nil {
				return err
			}
			cfg, err := loadConfig(b.file)
			if err != nil {
				return err
			}
			rules := cfg.Group.rules()
			out := groupShown{
				Groep: rules.ID, Digest: rules.digest(), Bestand: cfg.Group.File, Poorten: rules.Ports, FSCVersie: rules.FSCVersion,
				Bewaartermijnen: map[string]int{},
			}
			for soort, days := range rules.Retention {
				out.Bewaartermijnen[string(soort)] = days
			}
			if err := a.call(cmd.Context(), http.MethodGet, "/groep", nil, &out.GroepJSON); err != nil {
				return err
			}
			if b.json {
				return printJSON(cmd.OutOrStdout(), out)
			}
			return showGroup(cmd, out)
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	return cmd
}

func showGroup(cmd *cobra.Command, g groupShown) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "groep\t%s\nregels\t%s%s\npoorten\t%v\n", g.Groep, g.Digest, prefixed(" uit ", g.Bestand), g.Poorten)
	fmt.Fprintf(w, "deze peer\t%s (%s)\n", g.Naam, g.OIN)
	if g.BeeindigdOp != nil {
		fmt.Fprintf(w, "deelname\tbeeindigd op %s; hervatten: grensloos join\n", g.BeeindigdOp.Format(time.RFC3339))
	}
	for _, d := range g.Directories {
		fmt.Fprintf(w, "directory\t%s op %s, aangemeld %s, gelezen %s%s\n", d.OIN, d.Adres, momentOr(d.AangemeldOp), momentOr(d.GelezenOp),
			prefixed("; laatste poging: ", oneLine(d.Probleem)))
	}
	if len(g.Directories) == 0 {
		fmt.Fprintln(w, "directory\tgeen; wie deze peer kent staat in zijn configuratie")
	}
	fmt.Fprintf(w, "bekend\t%d peers, %d services\n", g.Peers, g.Services)
	return w.Flush()
}

func momentOr(t *time.Time) string {
	if t == nil {
		return "nog niet"
	}
	return t.Format(time.RFC3339)
}

func groupLeaveCommand() *cobra.Command {
	var (
		b  beheerCall
		ja bool
	)
	cmd := &cobra.Command{
		Use:   "leave -c peer.yaml --ja",
		Short: "Leave the group: revoke every contract and publication of this peer, and announce it no more",
		Long: `Leave the group: revoke every contract and publication of this peer, reject what waits for it, and announce it no more. Revoking
is final: to come back is grensloos join, with new contracts. Exit code 3 says that not everybody has heard of it yet; as long as
this peer runs it goes on telling them, and the command may be given again to look.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !ja {
				return usage("--ja: leaving revokes every contract for good; say that this is meant")
			}
			a, err := b.open()
			if err != nil {
				return err
			}
			var out beheer.GroepJSON
			if err := a.call(cmd.Context(), http.MethodPost, "/groep/_verlaten", nil, &out); err != nil {
				return err
			}
			for end := time.Now().Add(joinWait); out.Onderweg > 0 && time.Now().Before(end); {
				if err := pause(cmd.Context(), joinLook); err != nil {
					return err
				}
				if err := a.call(cmd.Context(), http.MethodGet, "/groep", nil, &out); err != nil {
					return err
				}
			}
			if b.json {
				if err := printJSON(cmd.OutOrStdout(), out); err != nil {
					return err
				}
			} else {
				fmt.Fprintln(cmd.OutOrStdout(), "verlaten")
			}
			if out.Onderweg > 0 {
				return exit{exitIncomplete, fmt.Errorf("%d signatures are still on their way; keep this peer running until they have arrived", out.Onderweg)}
			}
			return nil
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	cmd.Flags().BoolVar(&ja, "ja", false, "yes, revoke every contract")
	return cmd
}
