package main

import (
	"cmp"
	"context"
	"encoding/json"
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
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/beheer"
)

func auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Read what was recorded",
		RunE:  func(*cobra.Command, []string) error { return usage("give show or tail") },
	}
	cmd.AddCommand(auditShowCommand(), auditTailCommand())
	return usageFlags(cmd)
}

func auditShowCommand() *cobra.Command {
	var (
		files  []string
		id     identity
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "show TRANSACTION -c A.yaml [-c B.yaml]",
		Short: "Show the time line of one transaction, as each peer recorded it",
		Long: `Show the time line of one transaction: what each peer recorded, merged by time. With one -c it is one side of it.

Every peer is asked through its own beheer API, and gives what the caller's role there may read. That you looked is recorded there.

Exit codes: 0 all peers answered; 3 a peer could not be asked, or refused (it is named, and the rest is shown); 2 the command is not
right; 1 any other failure.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			transactie, err := gateway.ParseTransactionID(args[0])
			if err != nil {
				return exit{exitUsage, err}
			}
			if len(files) == 0 {
				return usage("-c: give the configuration file of at least one peer")
			}
			line := timeline{Transactie: transactie, Peers: []peerPart{}, Tijdlijn: []event{}}
			for _, file := range files {
				cfg, err := loadConfig(file)
				if err != nil {
					return err
				}
				if slices.ContainsFunc(line.Peers, func(p peerPart) bool { return p.OIN == cfg.Peer.ID }) {
					return usage("-c %s: peer %s stands there twice", file, cfg.Peer.ID)
				}
				line.add(cmd.Context(), cfg, &id)
			}
			slices.SortStableFunc(line.Tijdlijn, func(a, b event) int { return a.Tijd.Compare(b.Tijd) })
			if asJSON {
				if err := printJSON(cmd.OutOrStdout(), line); err != nil {
					return err
				}
			} else {
				line.print(cmd.OutOrStdout())
			}
			return line.missing()
		},
	}
	cmd.Flags().StringArrayVarP(&files, "config", "c", nil, "configuration file of a peer; once for each side")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	id.flags(cmd, beheer.RolPrivacyOfficer)
	return cmd
}

// timeline is what the peers recorded of one transaction.
type timeline struct {
	Transactie gateway.TransactionID `json:"transactie"`
	Peers      []peerPart            `json:"peers"`
	Tijdlijn   []event               `json:"tijdlijn"`
}

// peerPart says how asking one peer went.
type peerPart struct {
	OIN       gateway.PeerID `json:"oin"`
	Naam      string         `json:"naam"`
	Records   int            `json:"vastleggingen"`
	Ontbreekt string         `json:"ontbreekt,omitempty"` // why nothing came from this peer
}

// event is one record of one peer.
type event struct {
	Tijd   time.Time       `json:"tijd"`
	Peer   gateway.PeerID  `json:"peer"`
	Naam   string          `json:"naam"`
	Soort  audit.Soort     `json:"soort"`
	ID     string          `json:"id"`
	Inhoud json.RawMessage `json:"inhoud"`
}

// add asks one peer. What goes wrong is part of the time line, never a shorter one.
func (t *timeline) add(ctx context.Context, cfg *Config, id *identity) {
	part := peerPart{OIN: cfg.Peer.ID, Naam: cfg.Peer.Name}
	var out beheer.TransactieJSON
	a, err := newAPI(cfg, "beheer.luister", cfg.Beheer.Listen, id)
	if err == nil {
		err = a.call(ctx, http.MethodGet, "/transacties/"+string(t.Transactie), nil, &out)
	}
	if err == nil && (out.Transactie != t.Transactie || out.Peer.OIN != cfg.Peer.ID) {
		err = fmt.Errorf("the answer is about transaction %.36s of peer %.20s", out.Transactie, out.Peer.OIN)
	}
	if err != nil {
		part.Ontbreekt = err.Error()
	} else {
		part.Records = len(out.Vastleggingen)
		for _, v := range out.Vastleggingen {
			t.Tijdlijn = append(t.Tijdlijn, event{Tijd: v.Tijd, Peer: cfg.Peer.ID, Naam: cfg.Peer.Name, Soort: v.Soort, ID: v.ID, Inhoud: v.Inhoud})
		}
	}
	t.Peers = append(t.Peers, part)
}

func (t *timeline) missing() error {
	var names []string
	for _, p := range t.Peers {
		if p.Ontbreekt != "" {
			names = append(names, p.Naam)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return exit{exitIncomplete, errors.New("de tijdlijn is niet volledig: niets ontvangen van " + strings.Join(names, ", "))}
}

func (t *timeline) print(w io.Writer) {
	fmt.Fprintf(w, "transactie %s\n", t.Transactie)
	width := 0
	for _, p := range t.Peers {
		width = max(width, len([]rune(p.Naam)))
	}
	for _, e := range t.Tijdlijn {
		name := oneLine(e.Naam) + strings.Repeat(" ", width-len([]rune(e.Naam)))
		fmt.Fprintf(w, "%s  %s  %-10s  %s\n", e.Tijd.Format("2006-01-02 15:04:05.000000"), name, e.Soort, oneLine(summary(e)))
	}
	if len(t.Tijdlijn) == 0 {
		fmt.Fprintln(w, "niets vastgelegd bij wie antwoordde")
	}
	fmt.Fprintln(w)
	for _, p := range t.Peers {
		if p.Ontbreekt != "" {
			fmt.Fprintf(w, "%s (%s): ONTBREEKT: %s\n", oneLine(p.Naam), p.OIN, strings.ReplaceAll(oneLine(p.Ontbreekt), "\n", " "))
			continue
		}
		fmt.Fprintf(w, "%s (%s): %d vastleggingen\n", oneLine(p.Naam), p.OIN, p.Records)
	}
}

// summary is one line about a record: what matters of each kind, as its schema has it. A body that says nothing of it shows nothing.
func summary(e event) string {
	switch e.Soort {
	case audit.Transactie:
		var b struct {
			Direction string `json:"direction"`
			Service   string `json:"service_name"`
			Source    struct {
				Outway string `json:"outway_peer_id"`
			} `json:"source"`
			Destination struct {
				Service string `json:"service_peer_id"`
			} `json:"destination"`
		}
		_ = json.Unmarshal(e.Inhoud, &b)
		way := map[string]string{string(audit.Outgoing): "uitgaand", string(audit.Incoming): "inkomend"}[b.Direction]
		return fmt.Sprintf("%s: %s vraagt %s van %s", or(way, b.Direction), b.Source.Outway, b.Service, b.Destination.Service)
	case audit.ADL:
		return summaryADL(e.Inhoud)
	case audit.LDV:
		var b struct {
			Name       string         `json:"name"`
			Status     any            `json:"status"`
			Attributes map[string]any `json:"attributes"`
		}
		_ = json.Unmarshal(e.Inhoud, &b)
		return fmt.Sprintf("%s voor %v", b.Name, cmp.Or[any](b.Attributes["dpl.core.data_subject_id"], "-"))
	case audit.Afloop:
		var b struct {
			Status   int    `json:"status"`
			Uitkomst string `json:"uitkomst"`
			Reden    string `json:"reden"`
			Fout     string `json:"fout"`
			Claimed  bool   `json:"geclaimd"`
			Afnemer  string `json:"afnemer"`
			DuurMs   int64  `json:"duurMs"`
			In       int64  `json:"bytesIn"`
			Uit      int64  `json:"bytesUit"`
		}
		_ = json.Unmarshal(e.Inhoud, &b)
		if b.Claimed {
			b.Uitkomst += ", transactie genoemd door " + or(b.Afnemer, "een onbekende")
		}
		return fmt.Sprintf("%s (status %d%s%s), %d ms, %d bytes in, %d uit", b.Uitkomst, b.Status, prefixed(", ", b.Reden), prefixed(", ", b.Fout), b.DuurMs, b.In, b.Uit)
	case audit.Kwitantie:
		var b struct {
			Bron     string            `json:"bron"`
			Uitkomst map[string]string `json:"uitkomst"`
			Aantal   *int              `json:"aantal"`
		}
		_ = json.Unmarshal(e.Inhoud, &b)
		if b.Aantal == nil {
			return b.Bron + " tekende voor een antwoord"
		}
		parts := make([]string, 0, len(b.Uitkomst))
		for _, dienst := range slices.Sorted(maps.Keys(b.Uitkomst)) {
			parts = append(parts, dienst+" "+b.Uitkomst[dienst])
		}
		return fmt.Sprintf("%s tekende voor: %s; records: %d", b.Bron, strings.Join(parts, ", "), *b.Aantal)
	case audit.Beheer:
		var b struct {
			Handeling string `json:"handeling"`
			Object    string `json:"object"`
		}
		_ = json.Unmarshal(e.Inhoud, &b)
		return b.Handeling + " " + b.Object
	}
	return ""
}

func summaryADL(body json.RawMessage) string {
	type answer struct {
		Decision bool `json:"decision"`
		Context  struct {
			Redenen []string            `json:"redenen"`
			Velden  map[string][]string `json:"velden"`
			Regel   string              `json:"regel"`
		} `json:"context"`
	}
	var b struct {
		Resource map[string]string `json:"resource"`
		Body     struct {
			Response struct {
				answer
				Evaluations []answer `json:"evaluations"`
			} `json:"adl.core.response"`
		} `json:"body"`
	}
	_ = json.Unmarshal(body, &b)
	answers := b.Body.Response.Evaluations
	if len(answers) == 0 {
		answers = []answer{b.Body.Response.answer}
	}
	yes := 0
	var reasons []string
	for _, a := range answers {
		if a.Decision {
			yes++
		}
		for _, r := range a.Context.Redenen {
			if !slices.Contains(reasons, r) {
				reasons = append(reasons, r)
			}
		}
	}
	verdict := "geweigerd"
	switch {
	case yes == len(answers):
		verdict = "toegestaan"
	case yes > 0:
		verdict = fmt.Sprintf("toegestaan voor %d van %d diensten", yes, len(answers))
	}
	return b.Resource["service.name"] + ": " + verdict + prefixed(" (", strings.Join(reasons, ", ")) + strings.Repeat(")", min(1, len(reasons)))
}
