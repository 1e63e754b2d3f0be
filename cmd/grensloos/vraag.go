package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/bevraging"
)

// errIncomplete is what a command says of an answer that is there but not whole.
var errIncomplete = errors.New("het antwoord is niet volledig: uit wat ontbreekt mag niets worden afgeleid")

func vraagCommand() *cobra.Command {
	var (
		b                        beheerCall
		stdin                    bool
		doel, zaak, zaaktype, to string
		velden                   []string
	)
	cmd := &cobra.Command{
		Use:   "vraag -c peer.yaml --doel DOEL --zaak ZAAK --zaaktype ZAAKTYPE --bsn-stdin",
		Short: "Ask a gemeente about one person, for one purpose",
		Long: `Ask a gemeente about one person, for one purpose and one case, through this peer's bevraging.

Prints every value with its source, the day it describes and the law that it is given under, and every withheld field with the
reason. A dienst that could not be asked or did not answer says so: that is not the same as having nothing.

Exit codes: 0 answered whole; 3 answered in part, or denied, or out of reach; 2 the command or the question is not right, and
nothing was sent; 1 any other failure.`,
		Example: `  echo 999993653 | grensloos vraag -c uwi.yaml --doel pw-reintegratie --zaak Z-1 --zaaktype pw-reintegratietraject --bsn-stdin`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !stdin {
				return usage("--bsn-stdin: give the BSN on standard input")
			}
			if b.file == "" {
				return usage("-c: give the peer's configuration file")
			}
			fields, err := parseVelden(velden)
			if err != nil {
				return err
			}
			cfg, err := loadConfig(b.file)
			if err != nil {
				return err
			}
			a, err := newAPI(cfg, "bevraging.luister", cfg.Bevraging.Listen, &b.id)
			if err != nil {
				return err
			}
			bsn, err := readBSN(cmd.InOrStdin())
			if err != nil {
				return err
			}
			in := map[string]any{"doel": doel, "zaak": zaak, "zaaktype": zaaktype, "bsn": bsn.Reveal()}
			if len(fields) > 0 {
				in["velden"] = fields
			}
			if to != "" {
				in["gemeenten"] = []string{to}
			}
			var out bevraging.Antwoord
			if err := a.call(cmd.Context(), http.MethodPost, "/bevragingen", in, &out); err != nil {
				if r, ok := errors.AsType[*refusal](err); ok && r.Status == http.StatusBadRequest {
					return exit{exitUsage, err}
				}
				return err
			}
			if b.json {
				err = printJSON(cmd.OutOrStdout(), out)
			} else {
				err = printAntwoord(cmd.OutOrStdout(), out)
			}
			if err == nil && !out.Volledig {
				err = exit{exitIncomplete, errIncomplete}
			}
			return err
		},
	}
	b.flags(cmd, "klantmanager")
	f := cmd.Flags()
	f.BoolVar(&stdin, "bsn-stdin", false, "read the BSN from standard input (the only way)")
	f.StringVar(&doel, "doel", "", "purpose; choosing a purpose is choosing a contract")
	f.StringVar(&zaak, "zaak", "", "reference of the case; recorded, so no name and no BSN")
	f.StringVar(&zaaktype, "zaaktype", "", "kind of the case")
	f.StringSliceVar(&velden, "velden", nil, "what to ask: dienst.veld, or dienst for all of it (default: all that the purpose gives)")
	f.StringVar(&to, "gemeente", "", "gemeentecode or OIN (default: the only one that is known)")
	return usageFlags(cmd)
}

// printAntwoord prints an answer for a person: one line per value, and below each row where it comes from.
func printAntwoord(w io.Writer, a bevraging.Antwoord) error {
	fmt.Fprintf(w, "doel %s, zaak %s\n", a.Doel, a.Zaak)
	for _, g := range a.Gemeenten {
		fmt.Fprintf(w, "\n%s%s\n", oneLine(g.Naam), prefixed(", transactie ", string(g.Transactie)))
		if g.Geheim {
			fmt.Fprintln(w, "  GEHEIM: op deze gegevens rust een geheimhouding; geef ze niet door")
		}
		for _, d := range g.Diensten {
			printDienst(w, d)
		}
	}
	last := "\nvolledig: ja"
	if !a.Volledig {
		last = "\nvolledig: nee; uit wat ontbreekt mag niets worden afgeleid"
	}
	_, err := fmt.Fprintln(w, last)
	return err
}

// uitkomsten says in words what an outcome means for whoever reads it.
var uitkomsten = map[bevraging.Uitkomst]string{
	bevraging.Beantwoord:       "beantwoord",
	bevraging.GeenGegevens:     "geen gegevens: de bronnen hebben geantwoord en kennen deze persoon niet",
	bevraging.Geweigerd:        "geweigerd",
	bevraging.BronOnbereikbaar: "bron onbereikbaar: onbekend of er gegevens zijn",
	bevraging.Onbereikbaar:     "onbereikbaar: onbekend of er gegevens zijn",
	bevraging.TeLaat:           "te laat: onbekend of er gegevens zijn",
	bevraging.NietGevraagd:     "niet gevraagd: er is niets verstuurd",
}

func printDienst(w io.Writer, d bevraging.DienstAntwoord) {
	fmt.Fprintf(w, "  %s: %s\n", d.Dienst, or(uitkomsten[d.Uitkomst], string(d.Uitkomst)))
	if d.Reden != nil {
		fmt.Fprintf(w, "    reden %s: %s\n", oneLine(d.Reden.Code), oneLine(d.Reden.Tekst))
	}
	for _, rij := range d.Rijen {
		for _, veld := range slices.Sorted(maps.Keys(rij.Waarden)) {
			fmt.Fprintf(w, "    %-16s %s\n", veld, plainJSON(rij.Waarden[veld]))
		}
		fmt.Fprintf(w, "      uit %s, peildatum %s, op grond van %s\n", oneLine(d.Bron), oneLine(rij.Peildatum), oneLine(d.Grondslag))
	}
	for _, o := range d.Onthouden {
		fmt.Fprintf(w, "    onthouden %s: %s (%s)\n", joined[gateway.Veld](o.Velden), oneLine(o.Reden.Tekst), oneLine(o.Reden.Code))
	}
}
