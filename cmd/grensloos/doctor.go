package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/beheer"
)

// ernst is how bad a finding is.
type ernst string

const (
	inOrde ernst = "ok"
	letOp  ernst = "let op"
	fout   ernst = "fout"
)

// finding is one thing that doctor looked at. It holds nothing about a person.
type finding struct {
	Onderdeel string `json:"onderdeel"`
	Over      string `json:"over,omitempty"` // the peer, file or certificate that it is about
	Ernst     ernst  `json:"ernst"`
	Tekst     string `json:"tekst"`
	Herstel   string `json:"herstel,omitempty"` // what to do, with the command if there is one
	Bestand   string `json:"bestand,omitempty"`
	Regel     int    `json:"regel,omitempty"`
}

// diagnosis is what doctor found about one peer and its neighbours.
type diagnosis struct {
	Peer        gateway.PeerID `json:"peer,omitempty"`
	Naam        string         `json:"naam,omitempty"`
	Tijd        time.Time      `json:"tijd"`
	Versie      string         `json:"versie"`
	Draait      bool           `json:"draait"`
	Bevindingen []finding      `json:"bevindingen"`
}

// Exit codes of doctor, beside those of client.go.
const (
	exitLetOp = 3
	exitFout  = 4
)

const (
	doctorWithin = 60 * time.Second // all of it
	lookWithin   = 5 * time.Second  // one look at another machine
)

func doctorCommand() *cobra.Command {
	var (
		file   string
		id     identity
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "doctor -c peer.yaml",
		Short: "Find what is wrong with a peer and its neighbours, and say what to do",
		Long: `Find what is wrong with a peer and its neighbours, and say what to do.

It looks at the configuration and the group rules, certificates and revocation lists, the data folder, the source and its mapping (by
file and line), contracts, how far the audit stream is behind, and over the network at every neighbour: its manager, the inways that
we ask, its certificate and its clock. A peer that runs tells about itself through its beheer API (role beheer); of one that is down
what can be seen from outside is told. It changes nothing, and no personal data is read or shown.

Exit codes: 0 all is well; 3 something asks for attention (let op); 4 something is broken (fout); 2 the command is not right.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), doctorWithin)
			defer cancel()
			d := examine(ctx, file, &id)
			if asJSON {
				if err := printJSON(cmd.OutOrStdout(), d); err != nil {
					return err
				}
			} else {
				d.print(cmd.OutOrStdout())
			}
			return d.verdict()
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the peer's configuration file")
	_ = cmd.MarkFlagRequired("config")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	id.flags(cmd, beheer.RolBeheer)
	return usageFlags(cmd)
}

// doctor examines one peer. Each step adds what it found; a step that can't be taken says so.
type doctor struct {
	diagnosis
	cfg *Config
	id  *identity
	now time.Time

	p       *peer                  // what of the peer could be opened to look with; never served from
	running *beheer.GezondheidJSON // what the peer says of itself; nil when it could not be asked
}

// examine looks at everything that there is to see.
func examine(ctx context.Context, file string, id *identity) *diagnosis {
	now := time.Now()
	d := &doctor{id: id, now: now, diagnosis: diagnosis{Tijd: now.UTC(), Versie: version(), Bevindingen: []finding{}}}
	cfg, err := loadConfig(file)
	if err != nil {
		d.add(finding{
			Onderdeel: "configuratie", Over: file, Ernst: fout, Tekst: err.Error(),
			Herstel: "verbeter het bestand; grensloos config example toont elke sleutel met uitleg",
		})
		return &d.diagnosis
	}
	d.cfg, d.Peer, d.Naam = cfg, cfg.Peer.ID, cfg.Peer.Name
	d.ok("configuratie", file, "is goed")
	d.ok("versie", "", "%s", version())
	rules := cfg.Group.rules()
	d.ok("groepsregels", string(rules.ID), "digest %s, FSC %s: vergelijk hem met die van de buren", rules.digest(), rules.FSCVersion)
	d.certificates()
	d.dataFolder()
	closeAll := d.open(ctx)
	defer closeAll()
	d.ask(ctx)
	d.contracts(ctx)
	d.stream(ctx)
	d.cluster(ctx)
	d.mapping(ctx)
	d.apart(ctx)
	d.neighbours(ctx)
	return &d.diagnosis
}

func (d *diagnosis) add(f finding) { d.Bevindingen = append(d.Bevindingen, f) }

func (d *diagnosis) ok(part, over, format string, args ...any) {
	d.add(finding{Onderdeel: part, Over: over, Ernst: inOrde, Tekst: fmt.Sprintf(format, args...)})
}

func (d *diagnosis) warn(part, over, mend, format string, args ...any) {
	d.add(finding{Onderdeel: part, Over: over, Ernst: letOp, Herstel: mend, Tekst: fmt.Sprintf(format, args...)})
}

func (d *diagnosis) fail(part, over, mend, format string, args ...any) {
	d.add(finding{Onderdeel: part, Over: over, Ernst: fout, Herstel: mend, Tekst: fmt.Sprintf(format, args...)})
}

func (d *diagnosis) count(e ernst) int {
	n := 0
	for _, f := range d.Bevindingen {
		if f.Ernst == e {
			n++
		}
	}
	return n
}

// verdict is the error, with its exit code, that a script sees; nil when all is well.
func (d *diagnosis) verdict() error {
	switch {
	case d.count(fout) > 0:
		return exit{exitFout, fmt.Errorf("doctor: %d keer fout, %d keer let op", d.count(fout), d.count(letOp))}
	case d.count(letOp) > 0:
		return exit{exitLetOp, fmt.Errorf("doctor: %d keer let op", d.count(letOp))}
	}
	return nil
}

func (d *diagnosis) print(w io.Writer) {
	if d.Naam != "" {
		fmt.Fprintf(w, "%s (%s), %s\n\n", oneLine(d.Naam), d.Peer, d.Tijd.Format("2006-01-02 15:04:05 MST"))
	}
	for _, f := range d.Bevindingen {
		mark := "ok"
		if f.Ernst != inOrde {
			mark = strings.ToUpper(string(f.Ernst))
		}
		what := f.Onderdeel + prefixed(" ", f.Over)
		where := ""
		if f.Bestand != "" {
			where = fmt.Sprintf("%s:%d: ", f.Bestand, f.Regel)
		}
		fmt.Fprintf(w, "%-7s %s: %s%s\n", mark, oneLine(what), oneLine(where), strings.ReplaceAll(oneLine(f.Tekst), "\n", "; "))
		if f.Herstel != "" {
			fmt.Fprintf(w, "        doe: %s\n", oneLine(f.Herstel))
		}
	}
	fmt.Fprintf(w, "\n%d ok, %d let op, %d fout\n", d.count(inOrde), d.count(letOp), d.count(fout))
}
