package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/contactpersoon"
)

func contactpersoonCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "contactpersoon",
		Short: "Keep the register of fixed contact persons at the gemeente, through its beheer API",
		RunE:  func(*cobra.Command, []string) error { return usage("give wijs-toe, beeindig or list") },
	}
	cmd.AddCommand(contactpersoonWijsToeCommand(), contactpersoonBeeindigCommand(), contactpersoonListCommand())
	return usageFlags(cmd)
}

func contactpersoonWijsToeCommand() *cobra.Command {
	var (
		b     beheerCall
		stdin bool
		in    beheer.NieuweContactpersoonJSON
		wet   string
	)
	cmd := &cobra.Command{
		Use:   "wijs-toe -c peer.yaml --huishouden KENMERK --naam NAAM --organisatie ORGANISATIE --bsn-stdin",
		Short: "Assign a household its contact person; prints the id",
		Long: `Assign a household its contact person, for a gemeente whose source has none. The residents stand on standard input, one BSN a line;
they are kept as pseudonyms. A household, and a resident, has one contact at a time: end the old one first.`,
		Example: `  echo 999993653 | grensloos contactpersoon wijs-toe -c borne.yaml --huishouden HH-12 --naam "J. Jansen" \
      --organisatie "Sociaal team Borne" --telefoon "074 000 00 00" --wet Wmo2015 --bsn-stdin`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !stdin {
				return usage("--bsn-stdin: give the BSNs on standard input, one a line")
			}
			a, err := b.open()
			if err != nil {
				return err
			}
			if in.BSNs, err = readBSNs(cmd.InOrStdin()); err != nil {
				return err
			}
			in.Wet = contactpersoon.Wet(wet)
			var out beheer.ContactpersoonJSON
			if err := a.call(cmd.Context(), http.MethodPost, "/contactpersonen", in, &out); err != nil {
				return err
			}
			if b.json {
				return printJSON(cmd.OutOrStdout(), out)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), out.ID)
			return err
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	f := cmd.Flags()
	f.BoolVar(&stdin, "bsn-stdin", false, "read the BSNs of the residents from standard input (the only way)")
	f.StringVar(&in.Huishouden, "huishouden", "", "the gemeente's reference of the household; no name, no BSN")
	f.StringVar(&in.Naam, "naam", "", "name of the contact person")
	f.StringVar(&in.Organisatie, "organisatie", "", "where the contact person works")
	f.StringVar(&in.Telefoon, "telefoon", "", "telephone of the contact person")
	f.StringVar(&wet, "wet", "", "law that the contact comes from: Participatiewet, Wmo2015, Jeugdwet or Wgs; no partner sees it")
	f.StringVar(&in.GeldigVan, "geldig-van", "", "first day (default: today)")
	return cmd
}

// readBSNs reads BSNs from standard input, one a line.
func readBSNs(stdin io.Reader) ([]string, error) {
	raw, err := io.ReadAll(io.LimitReader(stdin, 64*(contactpersoon.MaxLeden+1)))
	if err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	var all []string
	for i, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		bsn, err := gateway.ParseBSN(strings.TrimSpace(line))
		if err != nil {
			return nil, exit{exitUsage, fmt.Errorf("standard input, line %d: %w", i+1, err)}
		}
		all = append(all, bsn.Reveal())
	}
	return all, nil
}

func contactpersoonBeeindigCommand() *cobra.Command {
	var b beheerCall
	cmd := &cobra.Command{
		Use:   "beeindig ID -c peer.yaml",
		Short: "End a contact; after that the household can get another",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := b.open()
			if err != nil {
				return err
			}
			var out beheer.ContactpersoonJSON
			if err := a.call(cmd.Context(), http.MethodPost, "/contactpersonen/"+url.PathEscape(args[0])+"/_beeindigen", nil, &out); err != nil {
				return err
			}
			if b.json {
				return printJSON(cmd.OutOrStdout(), out)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s beëindigd\n", out.ID)
			return err
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	return cmd
}

func contactpersoonListCommand() *cobra.Command {
	var (
		b            beheerCall
		stdin, alles bool
	)
	cmd := &cobra.Command{
		Use:   "list -c peer.yaml [--alles | --bsn-stdin]",
		Short: "List the contact persons of now, or that of one person",
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := b.open()
			if err != nil {
				return err
			}
			all := beheer.ContactpersonenJSON{Contactpersonen: []beheer.ContactpersoonJSON{}}
			if stdin {
				bsn, err := readBSN(cmd.InOrStdin())
				if err != nil {
					return err
				}
				if err := a.call(cmd.Context(), http.MethodPost, "/contactpersonen/_zoek", map[string]string{"bsn": bsn.Reveal()}, &all); err != nil {
					return err
				}
			} else if err := eachPage(fmt.Sprintf("/contactpersonen?aantal=1000&actief=%t", !alles), func(path string) (string, error) {
				var page beheer.ContactpersonenJSON
				err := a.call(cmd.Context(), http.MethodGet, path, nil, &page)
				all.Contactpersonen = append(all.Contactpersonen, page.Contactpersonen...)
				return page.Volgende, err
			}); err != nil {
				return err
			}
			if b.json {
				return printJSON(cmd.OutOrStdout(), all)
			}
			return listContactpersonen(cmd.OutOrStdout(), all.Contactpersonen)
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	cmd.Flags().BoolVar(&alles, "alles", false, "those that ended too")
	cmd.Flags().BoolVar(&stdin, "bsn-stdin", false, "only of the person whose BSN is on standard input; that you looked is recorded")
	return cmd
}

func listContactpersonen(out io.Writer, all []beheer.ContactpersoonJSON) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HUISHOUDEN\tNAAM\tORGANISATIE\tTELEFOON\tWET\tGELDIG VAN\tBEËINDIGD\tID")
	for _, c := range all {
		ended := ""
		if c.Beeindigd != nil {
			ended = c.Beeindigd.Format("2006-01-02")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Huishouden, c.Naam, c.Organisatie, c.Telefoon, c.Wet, c.GeldigVan, ended, c.ID)
	}
	return w.Flush()
}
