package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/bevraging"
)

// exitLater is the exit code of a question that can be asked again: nothing was sent, as this peer can't take it now.
const exitLater = 4

// errIncomplete is what a command says of an answer that is there but not whole.
var errIncomplete = errors.New("het antwoord is niet volledig: uit wat ontbreekt mag niets worden afgeleid")

func vraagCommand() *cobra.Command {
	var (
		b                               beheerCall
		stdin                           bool
		doel, zaak, zaaktype, peildatum string
		velden, gemeenten               []string
	)
	cmd := &cobra.Command{
		Use:   "vraag -c peer.yaml --doel DOEL --zaak ZAAK --zaaktype ZAAKTYPE --bsn-stdin",
		Short: "Ask gemeenten about one person, for one purpose",
		Long: `Ask one or more gemeenten about one person, for one purpose and one case, through this peer's bevraging.

All are asked at once. In a terminal a table shows each as it answers, with the whole answer below it; elsewhere each gemeente is
printed as it answers, in the order in which they do; --json prints one document when all is in. Ctrl-C ends what is under way.

Prints every value with its source, the day it describes and the law that it is given under, and every withheld field with the
reason. A dienst that could not be asked or did not answer says so: that is not the same as having nothing.

How many gemeenten a question may name follows from the purpose, and each is asked on a ground: woonplaats, zaak, verhuizing or
groep (default: that of the purpose). A purpose that reaches the group asks every gemeente with a contract for it, unless some are
named.

Exit codes: 0 answered whole; 3 answered in part, or denied, or out of reach; 2 the command or the question is not right, and
nothing was sent; 4 nothing was sent because this peer is too busy or can't record it now: try again later; 1 any other failure,
also an answer that broke off.`,
		Example: `  echo 999993653 | grensloos vraag -c uwi.yaml --doel pw-reintegratie --zaak Z-1 --zaaktype pw-reintegratietraject \
      --gemeente 0147 --gemeente 0164=verhuizing --bsn-stdin`,
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
			if len(gemeenten) > 0 {
				in["gemeenten"] = parseGemeenten(gemeenten)
			}
			if peildatum != "" {
				in["peildatum"] = peildatum
			}
			out, err := vraag(cmd.Context(), a, in, cmd.OutOrStdout(), b.json)
			if r, ok := errors.AsType[*refusal](err); ok {
				switch r.Status {
				case http.StatusBadRequest:
					return exit{exitUsage, err}
				case http.StatusServiceUnavailable:
					return exit{exitLater, err}
				}
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
	f.StringSliceVar(&gemeenten, "gemeente", nil, "gemeentecode or OIN, with =ground if not that of the purpose; repeat for more (default: the only one that is known, or the group)")
	f.StringVar(&peildatum, "peildatum", "", "the day on which the codes were valid, such as 2021-12-31 (default: today)")
	return usageFlags(cmd)
}

// parseGemeenten reads what --gemeente names: 0147, or 0147=verhuizing.
func parseGemeenten(names []string) []any {
	var all []any
	for _, name := range names {
		code, grond, has := strings.Cut(name, "=")
		if !has {
			all = append(all, code)
			continue
		}
		all = append(all, map[string]string{"gemeente": code, "grond": grond})
	}
	return all
}

// vraag asks, and prints the answer: as it comes in, unless it is for a program.
func vraag(ctx context.Context, a *api, in map[string]any, w io.Writer, asJSON bool) (bevraging.Antwoord, error) {
	if asJSON {
		var out bevraging.Antwoord
		if err := a.call(ctx, http.MethodPost, "/bevragingen", in, &out); err != nil {
			return out, err
		}
		return out, printJSON(w, out)
	}
	var show weergave = &regels{w: w}
	if width, height, ok := terminal(w); ok {
		show = &tabel{w: w, width: width, height: height, start: time.Now()}
	}
	out, streamed, err := a.stroom(ctx, in, show)
	if err != nil {
		return out, err
	}
	if !streamed {
		return out, printAntwoord(w, out)
	}
	return out, show.klaar(out)
}

// printAntwoord prints an answer for a person: one line per value, and below each row where it comes from.
func printAntwoord(w io.Writer, a bevraging.Antwoord) error {
	fmt.Fprintf(w, "doel %s, zaak %s\n", oneLine(string(a.Doel)), oneLine(a.Zaak))
	for _, g := range a.Gemeenten {
		printGemeente(w, g)
	}
	return printSlot(w, a.Volledig)
}

func printGemeente(w io.Writer, g bevraging.GemeenteAntwoord) {
	fmt.Fprintf(w, "\n%s%s\n", oneLine(g.Naam), prefixed(", transactie ", string(g.Transactie)))
	if len(g.GevraagdAls) > 0 {
		fmt.Fprintf(w, "  gevraagd als %s, nu %s\n", oneLine(strings.Join(g.GevraagdAls, ", ")), oneLine(g.Gemeentecode))
	}
	if g.Geheim {
		fmt.Fprintln(w, "  GEHEIM: op deze gegevens rust een geheimhouding; geef ze niet door")
	}
	for _, d := range g.Diensten {
		printDienst(w, d)
	}
}

func printSlot(w io.Writer, volledig bool) error {
	last := "\nvolledig: ja"
	if !volledig {
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
