package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/toestemming"
)

func toestemmingCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "toestemming",
		Short: "Register, withdraw, confirm and list consents at the gemeente, through its beheer API",
		RunE:  func(*cobra.Command, []string) error { return usage("give geef, trek-in, bevestig or list") },
	}
	cmd.AddCommand(
		toestemmingGeefCommand(), toestemmingListCommand(),
		toestemmingChangeCommand("trek-in", "_intrekken", "Withdraw a consent: the next question that needs it is refused"),
		toestemmingChangeCommand("bevestig", "_bevestigen", "Confirm a consent that its own recipient registered"),
	)
	return usageFlags(cmd)
}

func toestemmingGeefCommand() *cobra.Command {
	var (
		b                               beheerCall
		stdin                           bool
		soort, doel, ontvanger, gever   string
		registrar, tekst, kanaal, geldt string
		velden                          []string
	)
	cmd := &cobra.Command{
		Use:   "geef -c peer.yaml --doel DOEL --ontvanger OIN --bsn-stdin",
		Short: "Register a consent that a resident gave; prints its id",
		Long: `Register a consent that a resident gave, for one purpose and one recipient. The person is kept as a pseudonym.

A consent that its own recipient registers (--geregistreerd-door equal to --ontvanger) is voorlopig and opens nothing until it is
confirmed. A purpose that rests on the law takes no consent.`,
		Example: `  echo 999993653 | grensloos toestemming geef -c borne.yaml --doel doorverwijzing-welzijn --ontvanger 00000099900000001000 --bsn-stdin`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !stdin {
				return usage("--bsn-stdin: give the BSN on standard input")
			}
			until, err := parseMoment("--geldig-tot", or(geldt, time.Now().AddDate(1, 0, 0).UTC().Format(time.DateOnly)))
			if err != nil {
				return err
			}
			fields, err := parseVelden(velden)
			if err != nil {
				return err
			}
			a, err := b.open()
			if err != nil {
				return err
			}
			bsn, err := readBSN(cmd.InOrStdin())
			if err != nil {
				return err
			}
			var out beheer.ToestemmingJSON
			err = a.call(cmd.Context(), http.MethodPost, "/toestemmingen", beheer.NieuweToestemmingJSON{
				BSN: bsn.Reveal(), Soort: toestemming.Soort(soort), Doel: gateway.Doel(doel), Ontvanger: gateway.PeerID(ontvanger),
				Velden: fields, GegevenDoor: gever, GeregistreerdDoor: gateway.PeerID(registrar), Tekstversie: tekst, Kanaal: kanaal,
				GeldigTot: until,
			}, &out)
			if err != nil {
				return err
			}
			if b.json {
				return printJSON(cmd.OutOrStdout(), out)
			}
			if out.Toestand != string(gateway.Geldig) {
				fmt.Fprintf(cmd.ErrOrStderr(), "let op: deze toestemming is %s en opent nog niets\n", out.Toestand)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), out.ID)
			return err
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	f := cmd.Flags()
	f.BoolVar(&stdin, "bsn-stdin", false, "read the BSN from standard input (the only way)")
	f.StringVar(&doel, "doel", "", "purpose that the consent is for")
	f.StringVar(&ontvanger, "ontvanger", "", "OIN of the organisation that may then receive")
	f.StringVar(&soort, "soort", string(toestemming.AVG61a), "kind of consent")
	f.StringVar(&gever, "gegeven-door", "zelf", "zelf, gezag, curator or gemachtigde")
	f.StringVar(&registrar, "geregistreerd-door", "", "OIN of the organisation that wrote it down (default: this peer)")
	f.StringVar(&tekst, "tekstversie", "standaard-1", "version of the text that the person saw")
	f.StringVar(&kanaal, "kanaal", "balie", "where it was given")
	f.StringVar(&geldt, "geldig-tot", "", "first day or moment no more (default: a year from today)")
	f.StringSliceVar(&velden, "velden", nil, "part of what the purpose gives: dienst.veld (default: all)")
	return cmd
}

func toestemmingChangeCommand(verb, operation, short string) *cobra.Command {
	var b beheerCall
	cmd := &cobra.Command{
		Use:   verb + " ID -c peer.yaml",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := b.open()
			if err != nil {
				return err
			}
			var out beheer.ToestemmingJSON
			if err := a.call(cmd.Context(), http.MethodPost, "/toestemmingen/"+url.PathEscape(args[0])+"/"+operation, nil, &out); err != nil {
				return err
			}
			if b.json {
				return printJSON(cmd.OutOrStdout(), out)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", out.ID, out.Toestand)
			return err
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	return cmd
}

func toestemmingListCommand() *cobra.Command {
	var (
		b     beheerCall
		stdin bool
	)
	cmd := &cobra.Command{
		Use:   "list -c peer.yaml [--bsn-stdin]",
		Short: "List the register by pseudonym, or the consents of one person",
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := b.open()
			if err != nil {
				return err
			}
			all := beheer.ToestemmingenJSON{Toestemmingen: []beheer.ToestemmingJSON{}}
			if stdin {
				bsn, err := readBSN(cmd.InOrStdin())
				if err != nil {
					return err
				}
				if err := a.call(cmd.Context(), http.MethodPost, "/toestemmingen/_zoek", map[string]string{"bsn": bsn.Reveal()}, &all); err != nil {
					return err
				}
			} else {
				for next := ""; ; {
					var page beheer.ToestemmingenJSON
					if err := a.call(cmd.Context(), http.MethodGet, "/toestemmingen?aantal=1000"+prefixed("&na=", next), nil, &page); err != nil {
						return err
					}
					all.Toestemmingen = append(all.Toestemmingen, page.Toestemmingen...)
					if page.Volgende == "" || page.Volgende == next {
						break
					}
					next = page.Volgende
				}
			}
			if b.json {
				return printJSON(cmd.OutOrStdout(), all)
			}
			return listToestemmingen(cmd.OutOrStdout(), all.Toestemmingen)
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	cmd.Flags().BoolVar(&stdin, "bsn-stdin", false, "only of the person whose BSN is on standard input; that you looked is recorded")
	return cmd
}

func listToestemmingen(out io.Writer, all []beheer.ToestemmingJSON) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TOESTAND\tDOEL\tONTVANGER\tGEGEVEN\tGELDIG TOT\tID")
	for _, t := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", t.Toestand, t.Doel, t.Ontvanger,
			t.Gegeven.Format(time.DateOnly), t.GeldigTot.Format(time.DateOnly), t.ID)
	}
	return w.Flush()
}
