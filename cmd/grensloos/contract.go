package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/jose"
)

func contractCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "contract",
		Short: "Propose, accept, reject, revoke, renew, compare and read contracts, through the peer's beheer API",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usage("give propose, accept, reject, revoke, renew, diff, list or show")
		},
	}
	cmd.AddCommand(
		contractProposeCommand(), contractListCommand(), contractShowCommand(), contractRenewCommand(), contractDiffCommand(),
		contractSignCommand("accept", "_accepteren", "Accept a proposed contract"),
		contractSignCommand("reject", "_weigeren", "Reject a proposed contract"),
		contractSignCommand("revoke", "_intrekken", "Revoke a contract: from now on nothing can be asked under it"),
	)
	return usageFlags(cmd)
}

// beheerCall is a command that talks to the beheer API of one peer.
type beheerCall struct {
	file string
	id   identity
	json bool
}

func (b *beheerCall) flags(cmd *cobra.Command, rol string) {
	cmd.Flags().StringVarP(&b.file, "config", "c", "", "the peer's configuration file")
	cmd.Flags().BoolVar(&b.json, "json", false, "print JSON")
	b.id.flags(cmd, rol)
}

func (b *beheerCall) open() (*api, error) {
	if b.file == "" {
		return nil, usage("-c: give the peer's configuration file")
	}
	cfg, err := loadConfig(b.file)
	if err != nil {
		return nil, err
	}
	return newAPI(cfg, "beheer.luister", cfg.Beheer.Listen, &b.id)
}

func contractProposeCommand() *cobra.Command {
	var (
		b           beheerCall
		contentFile string
		grant       beheer.VoorstelGrantJSON
		aanbieder   string
		outway      string
		namens      string
		service     string
		doel        string
		velden      []string
		vanaf, tot  string
	)
	cmd := &cobra.Command{
		Use:   "propose -c peer.yaml --aanbieder OIN --doel DOEL [--namens OIN]",
		Short: "Propose a contract, sign it and offer it to the other parties; prints its hash",
		Long: `Propose a contract with one connection grant, sign it and offer it to the other parties.

The version, meaning and fields of the purpose come from this peer's catalogue. Without --outway this peer is the one who asks.
A contract with several grants: --bestand, a JSON file as in schemas/beheer.openapi.yaml (Voorstel).`,
		Example: `  grensloos contract propose -c uwi.yaml --aanbieder 00000099000000147000 --doel pw-reintegratie --namens 00000099000000147000`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var in beheer.VoorstelJSON
			if contentFile != "" {
				raw, err := os.ReadFile(contentFile)
				if err != nil {
					return fmt.Errorf("--bestand: %w", err)
				}
				if err := jose.Decode(raw, &in); err != nil {
					return exit{exitUsage, fmt.Errorf("--bestand %s: %w", contentFile, err)}
				}
			} else {
				from, until, err := validity(vanaf, tot, time.Now())
				if err != nil {
					return err
				}
				if grant.Velden, err = parseVelden(velden); err != nil {
					return err
				}
				grant.Aanbieder, grant.Outway, grant.NamensCollege = gateway.PeerID(aanbieder), gateway.PeerID(outway), gateway.PeerID(namens)
				grant.Service, grant.Doel = gateway.ServiceName(service), gateway.Doel(doel)
				in = beheer.VoorstelJSON{GeldigVanaf: from, GeldigTot: until, Grants: []beheer.VoorstelGrantJSON{grant}}
			}
			a, err := b.open()
			if err != nil {
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
	f.StringVar(&contentFile, "bestand", "", "JSON file with the whole proposal; the flags below then do not count")
	f.StringVar(&aanbieder, "aanbieder", "", "OIN of the peer that offers the service")
	f.StringVar(&service, "service", string(serviceClientgegevens), "name of the service")
	f.StringVar(&doel, "doel", "", "purpose; without it the grant is not purpose-bound")
	f.StringVar(&namens, "namens", "", "OIN of the college on whose behalf is asked; without it this is a partner's question")
	f.StringVar(&outway, "outway", "", "OIN of the peer that asks (default: this peer)")
	f.StringVar(&grant.OutwaySleutel, "outway-sleutel", "", "public-key thumbprint of that peer's outway (default: this peer's)")
	f.StringVar(&grant.Verwerkersovereenkomst, "verwerkersovereenkomst", "", "reference of the processing agreement")
	f.StringSliceVar(&velden, "velden", nil, "part of what the purpose allows: dienst.veld, or dienst for all of it (default: all)")
	f.StringVar(&vanaf, "vanaf", "", "first day or moment, such as 2026-12-01 (default: now)")
	f.StringVar(&tot, "tot", "", "first day or moment no more (default: a year after --vanaf)")
	return cmd
}

// validity reads a span from days or moments.
func validity(vanaf, tot string, now time.Time) (from, until time.Time, err error) {
	from = now.UTC().Truncate(time.Second)
	if vanaf != "" {
		if from, err = parseMoment("--vanaf", vanaf); err != nil {
			return from, until, err
		}
	}
	until = from.AddDate(1, 0, 0)
	if tot != "" {
		until, err = parseMoment("--tot", tot)
	}
	return from, until, err
}

// parseMoment reads a day (midnight UTC) or a moment with its offset.
func parseMoment(flag, s string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage("%s: give a day such as 2026-12-01, or a moment such as 2026-12-01T09:00:00Z", flag)
}

// parseVelden reads dienst.veld and dienst; the latter is a dienst without fields: all of it.
func parseVelden(list []string) (gateway.Velden, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := gateway.Velden{}
	for _, item := range list {
		dienst, veld, has := strings.Cut(strings.TrimSpace(item), ".")
		if dienst == "" || has && veld == "" {
			return nil, usage("--velden %q: give dienst.veld, such as uitkering.loopt, or dienst for all of it", item)
		}
		d := gateway.Dienst(dienst)
		old, there := out[d]
		if there && (len(old) == 0) != !has {
			return nil, usage("--velden: %s stands there both whole and by field", dienst)
		}
		if out[d] = old; has {
			out[d] = append(old, gateway.Veld(veld))
		} else {
			out[d] = []gateway.Veld{}
		}
	}
	return out, nil
}

func contractSignCommand(verb, operation, short string) *cobra.Command {
	var b beheerCall
	cmd := &cobra.Command{
		Use:   verb + " HASH -c peer.yaml",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := b.open()
			if err != nil {
				return err
			}
			var out beheer.ContractJSON
			if err := a.call(cmd.Context(), http.MethodPost, "/contracten/"+url.PathEscape(args[0])+"/"+operation, nil, &out); err != nil {
				return err
			}
			return showContract(cmd.OutOrStdout(), out, b.json)
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	return cmd
}

func contractShowCommand() *cobra.Command {
	var b beheerCall
	cmd := &cobra.Command{
		Use:   "show HASH -c peer.yaml",
		Short: "Show one contract with its grants and signatures",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := b.open()
			if err != nil {
				return err
			}
			var out beheer.ContractJSON
			if err := a.call(cmd.Context(), http.MethodGet, "/contracten/"+url.PathEscape(args[0]), nil, &out); err != nil {
				return err
			}
			return showContract(cmd.OutOrStdout(), out, b.json)
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	return cmd
}

func contractListCommand() *cobra.Command {
	var b beheerCall
	cmd := &cobra.Command{
		Use:   "list -c peer.yaml",
		Short: "List the contracts of this peer, newest first",
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := b.open()
			if err != nil {
				return err
			}
			list, err := listContracts(cmd.Context(), a)
			if err != nil {
				return err
			}
			if b.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"contracten": list})
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "TOESTAND\tDOEL\tOUTWAY\tAANBIEDER\tGELDIG TOT\tHASH")
			for _, c := range list {
				for _, g := range c.Grants {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", c.Toestand, or(string(g.Doel), "-"), or(string(g.Outway), "-"), g.Aanbieder,
						c.GeldigTot.Format(time.DateOnly), c.Hash)
				}
			}
			return w.Flush()
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	return cmd
}

func listContracts(ctx context.Context, a *api) ([]beheer.ContractJSON, error) {
	var out struct {
		Contracten []beheer.ContractJSON `json:"contracten"`
	}
	err := a.call(ctx, http.MethodGet, "/contracten", nil, &out)
	return out.Contracten, err
}

func showContract(w io.Writer, c beheer.ContractJSON, asJSON bool) error {
	if asJSON {
		return printJSON(w, c)
	}
	fmt.Fprintf(w, "contract   %s\ntoestand   %s\ngeldig     %s tot %s\n", c.Hash, c.Toestand,
		c.GeldigVanaf.Format(time.RFC3339), c.GeldigTot.Format(time.RFC3339))
	for _, g := range c.Grants {
		fmt.Fprintf(w, "grant      %s\n", g.Hash)
		if g.Directory != "" {
			fmt.Fprintf(w, "  %s publiceert %s bij %s%s\n", g.Aanbieder, g.Service, g.Directory, prefixed(", voor gemeente ", g.Gemeentecode))
			continue
		}
		fmt.Fprintf(w, "  %s vraagt %s van %s\n", or(string(g.Outway), "-"), g.Service, g.Aanbieder)
		if g.Doel != "" {
			fmt.Fprintf(w, "  doel %s (versie %d), richting %s%s\n", g.Doel, g.DoelVersie, g.Richting, prefixed(", namens ", string(g.NamensCollege)))
			for _, dienst := range g.Velden.Diensten() {
				fmt.Fprintf(w, "  %s: %s\n", dienst, joined(g.Velden[dienst]))
			}
		}
	}
	for _, s := range c.Handtekeningen {
		fmt.Fprintf(w, "%-10s %s op %s", s.Soort, s.Peer, s.GetekendOp.Format(time.RFC3339))
		if !s.Telt {
			fmt.Fprintf(w, ", telt niet: %s", oneLine(s.Waarom))
		}
		fmt.Fprintln(w)
	}
	if len(c.WachtOp) > 0 {
		fmt.Fprintf(w, "wacht op   %s\n", joined(c.WachtOp))
	}
	if c.Bezwaar != "" {
		fmt.Fprintf(w, "bezwaar    %s\n", oneLine(c.Bezwaar))
	}
	for _, d := range c.Afleveringen {
		if d.Toestand != "afgeleverd" {
			fmt.Fprintf(w, "aflevering %s aan %s: %s na %d pogingen%s\n", d.Soort, d.Aan, d.Toestand, d.Pogingen, prefixed(": ", oneLine(d.Reden)))
		}
	}
	return nil
}

func joined[S ~string](list []S) string {
	parts := make([]string, len(list))
	for i, s := range list {
		parts[i] = string(s)
	}
	return strings.Join(parts, ", ")
}

// or is s, or what stands for nothing.
func or(s, nothing string) string {
	if s == "" {
		return nothing
	}
	return s
}

// prefixed is s with something before it, or nothing at all.
func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// plainJSON is a value as a person reads it: text without quotes, ja and nee, a dash for nothing.
func plainJSON(raw json.RawMessage) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return string(raw)
	}
	switch v := v.(type) {
	case nil:
		return "-"
	case string:
		return oneLine(v)
	case bool:
		if v {
			return "ja"
		}
		return "nee"
	case map[string]any:
		var parts []string
		for _, name := range []string{"straat", "huisnummer", "postcode", "woonplaats"} {
			if s, ok := v[name].(string); ok {
				parts = append(parts, oneLine(s))
			}
		}
		if len(parts) == len(v) {
			return strings.Join(parts, " ")
		}
	}
	return oneLine(string(raw))
}

// oneLine keeps what a stranger wrote from steering the terminal or faking a line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || unicode.Is(unicode.Cf, r) { // Cf turns text around, or hides it
			return ' '
		}
		return r
	}, s)
}
