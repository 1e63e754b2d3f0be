package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/beheer"
)

const (
	joinWait     = 20 * time.Second // for another peer to answer
	joinLook     = 250 * time.Millisecond
	joinCall     = 10 * time.Second // for one call to a manager
	joinCertSoon = 30 * 24 * time.Hour
	clockLeeway  = 5 * time.Second
	publishFor   = 365 * 24 * time.Hour
)

// joinToestand says how far one step of joining is.
type joinToestand string

const (
	joinKlaar  joinToestand = "klaar"  // it was so already
	joinGedaan joinToestand = "gedaan" // this command did it
	joinMens   joinToestand = "doen"   // a person must do it; Herstel says who and what
	joinWacht  joinToestand = "wacht"  // an earlier step must be done first
)

// joinStap is one line of the checklist.
type joinStap struct {
	Stap     string       `json:"stap"`
	Toestand joinToestand `json:"toestand"`
	Uitleg   string       `json:"uitleg"`
	Herstel  string       `json:"herstel,omitempty"`
}

func joinCommand() *cobra.Command {
	var b beheerCall
	cmd := &cobra.Command{
		Use:   "join -c peer.yaml",
		Short: "Join the group: a checklist that does what it can, and names what a person must do",
		Long: `Go through all that a peer needs to take part in a group: configuration, certificate, revocation lists, clock, ports, directory,
announcement, published services, contracts. What can be done from here is done: announcing this peer, and proposing the publication
of its services. The peer must be running (grensloos serve). Give it as often as you like.

Exit code 0: all is done. 3: a person must still do something.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.file == "" {
				return usage("-c: give the peer's configuration file")
			}
			j := &joining{now: time.Now, id: &b.id}
			if cfg, err := loadConfig(b.file); err != nil {
				j.add("configuratie", joinMens, err.Error(), "verbeter het bestand")
			} else {
				j.cfg = cfg
				j.add("configuratie", joinKlaar, fmt.Sprintf("%s (%s) in groep %s", cfg.Peer.Name, cfg.Peer.ID, cfg.Group.ID), "")
				j.run(cmd.Context())
			}
			if err := j.show(cmd.OutOrStdout(), b.json); err != nil {
				return err
			}
			if open := j.open(); len(open) > 0 {
				return exit{exitIncomplete, fmt.Errorf("still to do: %s", strings.Join(open, ", "))}
			}
			return nil
		},
	}
	b.flags(cmd, beheer.RolBeheer)
	return usageFlags(cmd)
}

// joining is one walk through the checklist.
type joining struct {
	cfg   *Config
	now   func() time.Time
	id    *identity
	steps []joinStap

	transport *certs.Transport
	api       *api
}

func (j *joining) add(stap string, t joinToestand, uitleg, herstel string) {
	j.steps = append(j.steps, joinStap{Stap: stap, Toestand: t, Uitleg: uitleg, Herstel: herstel})
}

// open are the steps that are not done.
func (j *joining) open() []string {
	var open []string
	for _, s := range j.steps {
		if s.Toestand != joinKlaar && s.Toestand != joinGedaan {
			open = append(open, s.Stap)
		}
	}
	return open
}

func (j *joining) show(w io.Writer, asJSON bool) error {
	if asJSON {
		return printJSON(w, map[string]any{"klaar": len(j.open()) == 0, "stappen": j.steps})
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range j.steps {
		fmt.Fprintf(out, "%s\t%s\t%s\n", s.Toestand, s.Stap, oneLine(s.Uitleg))
		if s.Herstel != "" {
			fmt.Fprintf(out, "\t\t-> %s\n", oneLine(s.Herstel))
		}
	}
	return out.Flush()
}

func (j *joining) run(ctx context.Context) {
	if !j.identity() {
		for _, stap := range []string{"directory", "aanmelding", "contracten"} {
			j.add(stap, joinWacht, "eerst het certificaat en de intrekkingslijsten", "")
		}
		return
	}
	defer j.transport.CloseIdleConnections()
	j.listeners(ctx)
	reached := j.directories(ctx)
	if !j.running(ctx) {
		for _, stap := range []string{"aanmelding", "contracten"} {
			j.add(stap, joinWacht, "eerst de peer zelf", "")
		}
		return
	}
	j.announce(ctx, reached)
	j.publish(ctx, reached)
	j.contracts(ctx)
}

// identity checks certificate and revocation lists.
func (j *joining) identity() bool {
	now := j.now()
	rules := gateway.GroupRules{ID: j.cfg.Group.ID, Ports: j.cfg.Group.Ports}
	group, err := certs.OpenGroup(rules, j.cfg.Group.Trust, j.now, slog.New(slog.DiscardHandler))
	if err != nil {
		j.add("vertrouwen", joinMens, err.Error(), "haal de ankers en intrekkingslijsten van de groep op, en noem ze in group.vertrouwen")
		return false
	}
	id, err := loadGroupIdentity(j.cfg)
	if err != nil {
		j.add("certificaat", joinMens, err.Error(), "vraag een certificaat aan onder het anker van de groep, met subject serialNumber "+string(j.cfg.Peer.ID))
		return false
	}
	self, err := group.VerifyChain(id.Chain(), now)
	switch days := int(id.Cert().NotAfter.Sub(now).Hours() / 24); {
	case gateway.KindOf(err) == gateway.Unavailable && err != nil:
		j.add("intrekkingslijsten", joinMens, err.Error(), "haal de nieuwste intrekkingslijst op; zonder verse lijst wordt niemand vertrouwd")
		return false
	case err != nil:
		j.add("certificaat", joinMens, err.Error(), "vraag een certificaat aan onder het anker van de groep")
		return false
	case self.ID != j.cfg.Peer.ID || self.Name != j.cfg.Peer.Name:
		j.add("certificaat", joinMens, fmt.Sprintf("is van %s (%s)", self.Name, self.ID), "zet peer.id en peer.naam zoals zij in het certificaat staan")
		return false
	case id.Cert().NotAfter.Sub(now) < joinCertSoon:
		j.add("certificaat", joinMens, fmt.Sprintf("nog %d dagen geldig", days), "vernieuw het, op dezelfde sleutel: dan blijven contracten staan")
	default:
		j.add("certificaat", joinKlaar, fmt.Sprintf("van %s, nog %d dagen geldig", self.Name, days), "")
	}
	var next time.Time
	for _, list := range group.CRLs() {
		if next.IsZero() || list.NextUpdate.Before(next) {
			next = list.NextUpdate
		}
	}
	j.add("intrekkingslijsten", joinKlaar, "vers tot "+next.UTC().Format(time.RFC3339), "")
	j.transport = group.Transport(id)
	return true
}

// reach asks a peer of the group who it is, by its address, and returns the moment on its clock.
func (j *joining) reach(ctx context.Context, peer gateway.PeerID, address string) (theirs time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, joinCall)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(address, "/")+"/v1/peer", nil)
	if err != nil {
		return theirs, err
	}
	resp, err := j.transport.To(peer).RoundTrip(req)
	if err != nil {
		return theirs, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxRefusal))
	theirs, err = http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return theirs, fmt.Errorf("answer without a Date: %w", err)
	}
	return theirs, nil
}

// listeners checks that our own manager and inway answer, with our certificate, where others will look for them.
func (j *joining) listeners(ctx context.Context) {
	addresses := map[string]string{"manager": j.cfg.Manager.Address}
	if j.cfg.Inway.Listen != "" {
		addresses["inway"] = j.cfg.Inway.Address
	}
	for _, role := range []string{"manager", "inway"} {
		address, wanted := addresses[role]
		if !wanted {
			continue
		}
		if _, err := j.reach(ctx, j.cfg.Peer.ID, address); err != nil {
			j.add("poort "+role, joinMens, err.Error(), "start de peer (grensloos serve), en laat de firewall "+address+" door")
			continue
		}
		j.add("poort "+role, joinKlaar, address+" antwoordt, van hier af gezien", "")
	}
}

// directories checks that each answers, and holds our clock to theirs.
func (j *joining) directories(ctx context.Context) (reached []DirectoryPeer) {
	all := j.cfg.directories()
	if len(all) == 0 {
		j.add("directory", joinKlaar, "geen; deze groep kent elkaar uit de configuratie", "")
	}
	for _, d := range all {
		before := j.now()
		theirs, err := j.reach(ctx, d.ID, d.Manager)
		if err != nil {
			j.add("directory", joinMens, fmt.Sprintf("%s: %v", d.ID, err), "vraag de beheerder van de directory of "+d.Manager+" klopt en bereikbaar is")
			continue
		}
		j.add("directory", joinKlaar, fmt.Sprintf("%s op %s antwoordt", d.ID, d.Manager), "")
		reached = append(reached, d)
		if len(reached) > 1 {
			continue
		}
		if off := theirs.Sub(before.Truncate(time.Second)); off > clockLeeway+j.now().Sub(before) || off < -clockLeeway {
			j.add("klok", joinMens, fmt.Sprintf("loopt %v uit de pas met die van de directory", off.Abs()), "zet de klok gelijk met NTP")
		} else {
			j.add("klok", joinKlaar, "gelijk met die van de directory", "")
		}
	}
	return reached
}

// running checks that the peer itself runs and takes our orders.
func (j *joining) running(ctx context.Context) bool {
	a, err := newAPI(j.cfg, "beheer.luister", j.cfg.Beheer.Listen, j.id)
	if err == nil {
		var out beheer.GroepJSON
		err = a.call(ctx, http.MethodGet, "/groep", nil, &out)
	}
	if err != nil {
		j.add("peer", joinMens, err.Error(), "start de peer: grensloos serve")
		return false
	}
	j.add("peer", joinKlaar, "draait", "")
	j.api = a
	return true
}

func (j *joining) announce(ctx context.Context, reached []DirectoryPeer) {
	if len(j.cfg.directories()) == 0 {
		return
	}
	if len(reached) == 0 {
		j.add("aanmelding", joinWacht, "eerst de directory", "")
		return
	}
	var out beheer.GroepJSON
	if err := j.api.call(ctx, http.MethodPost, "/groep/_hervatten", nil, &out); err != nil {
		j.add("aanmelding", joinMens, err.Error(), "geef dit commando nog eens; blijft het, vraag het de beheerder van de directory")
		return
	}
	j.add("aanmelding", joinGedaan, fmt.Sprintf("bij %d directories", len(reached)), "")
}

// publish proposes the publication of every service that has none, and waits a little for the directory.
func (j *joining) publish(ctx context.Context, reached []DirectoryPeer) {
	if len(reached) == 0 {
		return
	}
	contracts, err := listContracts(ctx, j.api)
	if err != nil {
		j.add("publicatie", joinMens, err.Error(), "")
		return
	}
	var names []gateway.ServiceName
	for name := range j.cfg.Inway.Services {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		stap := "publicatie " + string(name)
		var c beheer.ContractJSON
		done := joinGedaan
		if i := slices.IndexFunc(contracts, func(c beheer.ContractJSON) bool { return publishes(c, name) }); i >= 0 {
			c, done = contracts[i], joinKlaar
		} else if c, err = j.propose(ctx, name); err != nil {
			j.add(stap, joinMens, err.Error(), "grensloos services publish "+string(name))
			continue
		}
		if c, err = j.await(ctx, c); err != nil {
			j.add(stap, joinMens, err.Error(), "")
			continue
		}
		switch {
		case c.Toestand == "geldig":
			j.add(stap, done, "bij "+string(c.Grants[0].Directory)+prefixed(", voor gemeente ", c.Grants[0].Gemeentecode), "")
		case slices.Contains(c.WachtOp, j.cfg.Peer.ID):
			j.add(stap, joinMens, "wacht op deze peer", "grensloos contract accept '"+string(c.Hash)+"'")
		default:
			j.add(stap, joinMens, "wacht op "+joined(c.WachtOp), "vraag die het te accepteren: "+string(c.Hash))
		}
	}
}

func (j *joining) propose(ctx context.Context, name gateway.ServiceName) (c beheer.ContractJSON, err error) {
	in, err := publicationOf(j.cfg, name, "", j.cfg.Peer.Gemeentecode)
	if err != nil {
		return c, err
	}
	in.GeldigVanaf = j.now().UTC().Truncate(time.Second)
	in.GeldigTot = in.GeldigVanaf.Add(publishFor)
	return c, j.api.call(ctx, http.MethodPost, "/contracten", in, &c)
}

// await looks at a contract until it is no longer only proposed, for a while.
func (j *joining) await(ctx context.Context, c beheer.ContractJSON) (beheer.ContractJSON, error) {
	for end := j.now().Add(joinWait); c.Toestand == "voorgesteld" && j.now().Before(end) && !slices.Contains(c.WachtOp, j.cfg.Peer.ID); {
		if err := pause(ctx, joinLook); err != nil {
			return c, err
		}
		list, err := listContracts(ctx, j.api)
		if err != nil {
			return c, err
		}
		if i := slices.IndexFunc(list, func(o beheer.ContractJSON) bool { return o.Hash == c.Hash }); i >= 0 {
			c = list[i]
		}
	}
	return c, nil
}

// contracts says what waits for whom. To take part is to have a contract: which one is a decision of people.
func (j *joining) contracts(ctx context.Context) {
	list, err := listContracts(ctx, j.api)
	if err != nil {
		j.add("contracten", joinMens, err.Error(), "")
		return
	}
	valid := 0
	for _, c := range list {
		connection := slices.ContainsFunc(c.Grants, func(g beheer.GrantJSON) bool {
			return g.Soort == gateway.ServiceConnection || g.Soort == gateway.DelegatedServiceConnection
		})
		switch {
		case !connection:
		case c.Toestand == "geldig":
			valid++
		case c.Toestand == "voorgesteld" && slices.Contains(c.WachtOp, j.cfg.Peer.ID):
			j.add("contract", joinMens, fmt.Sprintf("%s wacht op deze peer", c.Hash),
				"bekijk het (grensloos contract diff), en dan: grensloos contract accept '"+string(c.Hash)+"', of reject")
		case c.Toestand == "voorgesteld":
			j.add("contract", joinMens, fmt.Sprintf("%s wacht op %s", c.Hash, joined(c.WachtOp)), "vraag die het te accepteren")
		}
	}
	if valid == 0 {
		j.add("contracten", joinMens, "nog geen contract is geldig",
			"wie vraagt, stelt voor: grensloos contract propose; wie antwoordt, accepteert: grensloos contract accept")
		return
	}
	j.add("contracten", joinKlaar, fmt.Sprintf("%d geldig", valid), "")
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
