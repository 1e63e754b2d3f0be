package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/grensloos/grensloos/cmd/grensloos/bevolking"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/bevraging"
	"github.com/grensloos/grensloos/policies"
)

// The organisations of the demos that are no gemeente: test OINs, prefix 00000099 (domain.md 5.2).
const (
	borneID         gateway.PeerID = "00000099000000147000"
	uwiID           gateway.PeerID = "00000099900000001000"
	directoryTwente gateway.PeerID = "00000099900000009000"
)

// gemeenteOIN is the test OIN of a gemeente: prefix, gemeentecode in nine digits, suffix.
func gemeenteOIN(code string) gateway.PeerID {
	return gateway.PeerID(fmt.Sprintf("00000099%09s000", code))
}

// sourceFile is the database of a gemeente's own application, in its folder.
const sourceFile = "bron.db"

// twente tells demo D01 and D02 of domain.md: one organisation for work and income that works for three colleges.
type twente struct {
	*demo
	directory, borne, hengelo, haaksbergen *regionPeer
	answered                               string // the transaction that Borne answered
}

func (d *demo) middenTwente() ([]*regionPeer, []func(context.Context) error) {
	t := &twente{
		demo:        d,
		directory:   &regionPeer{ID: directoryTwente, Name: "Directory Midden Twente", Directory: true},
		borne:       gemeente("0147", "Gemeente Borne", policies.Voorbeeld("borne-lokaal.rego"), bevolking.Borne),
		hengelo:     gemeente("0164", "Gemeente Hengelo", nil, bevolking.Hengelo),
		haaksbergen: gemeente("0158", "Gemeente Haaksbergen", nil, bevolking.Haaksbergen),
	}
	d.asker = &regionPeer{ID: uwiID, Name: "uwi-midden-twente", AnswerWithin: 2 * time.Second}
	return []*regionPeer{t.directory, t.borne, t.hengelo, t.haaksbergen, d.asker}, []func(context.Context) error{
		t.start, t.publish, t.contracts, t.answer, t.noContract, t.ownPolicy, t.consent, t.join, t.overTheRegion, t.failures, t.doubtful,
	}
}

func (t *twente) start(ctx context.Context) error {
	t.title("Four processes: a directory, Borne (%d running benefits), Hengelo (%d) and uwi-midden-twente; Haaksbergen joins later",
		bevolking.Borne.Lopend, bevolking.Hengelo.Lopend)
	return t.startPeers(ctx, t.directory, t.borne, t.hengelo, t.asker)
}

// publish makes the service of gemeenten known through the directory, by contract.
func (t *twente) publish(ctx context.Context) error {
	t.title("Borne and Hengelo publish their connector in the directory, by contract; nobody has the other's address in a file")
	for _, p := range []*regionPeer{t.borne, t.hengelo} {
		if err := t.publishOne(ctx, p); err != nil {
			return err
		}
	}
	_, err := t.grensloos(ctx, t.asker, "", "services")
	return err
}

func (t *twente) publishOne(ctx context.Context, p *regionPeer) error {
	if _, err := t.grensloos(ctx, p, "", "services", "publish", string(serviceClientgegevens)); err != nil {
		return err
	}
	return t.await(ctx, "the directory to show "+p.Name, func() bool {
		out, err := t.quiet(ctx, t.asker, "services")
		return err == nil && strings.Contains(out, string(p.ID))
	})
}

func (t *twente) contracts(ctx context.Context) error {
	t.title("uwi proposes a contract per purpose, each college accepts its own: signatures travel between the managers (FSC Core 2.0.0)")
	for _, c := range []struct {
		provider *regionPeer
		args     []string
	}{
		{t.borne, []string{"--doel", "pw-uitkering", "--namens", string(t.borne.ID)}},
		{t.borne, []string{"--doel", "doorverwijzing-welzijn"}},
		{t.hengelo, []string{"--doel", "pw-reintegratie", "--namens", string(t.hengelo.ID)}},
	} {
		if _, err := t.contract(ctx, c.provider, c.args...); err != nil {
			return err
		}
	}
	_, err := t.grensloos(ctx, t.asker, "", "contract", "list")
	return err
}

func (t *twente) answer(ctx context.Context) error {
	t.title("A klantmanager asks Borne about a client for an application (pw-uitkering), and gets what that purpose allows")
	bsn, err := client(bevolking.Borne, 0)
	if err != nil {
		return err
	}
	t.answered, err = t.ask(ctx, demoVraag{"pw-uitkering", "pw-aanvraag", bsn, []string{"0147"}, []bevraging.Uitkomst{bevraging.Beantwoord}})
	if err != nil {
		return err
	}
	t.title("The time line of that transaction, as both sides recorded it: no name, no BSN, no value in it")
	_, err = t.grensloos(ctx, t.asker, "", "audit", "show", t.answered, "-c", t.borne.config())
	return err
}

func (t *twente) noContract(ctx context.Context) error {
	t.title("The same client for re-integration: Borne did not sign for that purpose, so nothing is sent, and that is recorded at uwi")
	bsn, err := client(bevolking.Borne, 0)
	if err != nil {
		return err
	}
	transactie, err := t.ask(ctx, demoVraag{"pw-reintegratie", "pw-reintegratietraject", bsn, []string{"0147"}, []bevraging.Uitkomst{bevraging.NietGevraagd}})
	if err != nil {
		return err
	}
	_, err = t.grensloos(ctx, t.asker, "", "audit", "show", transactie)
	return err
}

func (t *twente) ownPolicy(ctx context.Context) error {
	t.title("A valid contract, and still a refusal: Borne does reviews (pw-heronderzoek) itself, says its own policy; recorded on both sides")
	bsn, err := client(bevolking.Borne, 0)
	if err != nil {
		return err
	}
	transactie, err := t.ask(ctx, demoVraag{"pw-uitkering", "pw-heronderzoek", bsn, []string{"0147"}, []bevraging.Uitkomst{bevraging.Geweigerd}})
	if err != nil {
		return err
	}
	_, err = t.grensloos(ctx, t.asker, "", "audit", "show", transactie, "-c", t.borne.config())
	return err
}

func (t *twente) consent(ctx context.Context) error {
	t.title("Referral to welfare work rests on consent alone: without it, refused")
	bsn, err := client(bevolking.Borne, 1)
	if err != nil {
		return err
	}
	q := demoVraag{"doorverwijzing-welzijn", "doorverwijzing", bsn, []string{"0147"}, []bevraging.Uitkomst{bevraging.Geweigerd}}
	if _, err := t.ask(ctx, q); err != nil {
		return err
	}
	t.title("The client gives consent at Borne's counter; then name and telephone number may go, and no BSN")
	id, err := t.grensloos(ctx, t.borne, bsn, "toestemming", "geef", "--doel", q.doel, "--ontvanger", string(uwiID), "--bsn-stdin")
	if err != nil {
		return err
	}
	given := q
	given.want = []bevraging.Uitkomst{bevraging.Beantwoord}
	if _, err := t.ask(ctx, given); err != nil {
		return err
	}
	t.title("The client withdraws it; the very next question is refused")
	if _, err := t.grensloos(ctx, t.borne, "", "toestemming", "trek-in", strings.TrimSpace(id)); err != nil {
		return err
	}
	_, err = t.ask(ctx, q)
	return err
}

// join is Haaksbergen in 2016.
func (t *twente) join(ctx context.Context) error {
	t.title("Haaksbergen joins the running group (%d running benefits): nothing is restarted or changed at the others", bevolking.Haaksbergen.Lopend)
	if err := t.startPeers(ctx, t.haaksbergen); err != nil {
		return err
	}
	if err := t.publishOne(ctx, t.haaksbergen); err != nil {
		return err
	}
	_, err := t.contract(ctx, t.haaksbergen, "--doel", "pw-reintegratie", "--namens", string(t.haaksbergen.ID))
	return err
}

func (t *twente) overTheRegion(ctx context.Context) error {
	t.title("One question over the region, about a client of Hengelo who moved: each gemeente answers for its own part, or it says why not")
	return t.region3(ctx, bevraging.Beantwoord, bevraging.GeenGegevens, bevraging.NietGevraagd)
}

// region3 asks all three gemeenten about one client of Hengelo.
func (t *twente) region3(ctx context.Context, want ...bevraging.Uitkomst) error {
	bsn, err := client(bevolking.Hengelo, 0)
	if err != nil {
		return err
	}
	_, err = t.ask(ctx, demoVraag{"pw-reintegratie", "pw-reintegratietraject", bsn, []string{"0164", "0158=verhuizing", "0147"}, want})
	return err
}

// failures shows that what could not be asked never looks like "has nothing", and that one gemeente's trouble is not another's.
func (t *twente) failures(ctx context.Context) error {
	t.title("Haaksbergen hangs: too late, while Hengelo's part is there")
	process := t.running[t.haaksbergen].cmd.Process
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	err := t.region3(ctx, bevraging.Beantwoord, bevraging.TeLaat)
	if err := errors.Join(err, process.Signal(syscall.SIGCONT)); err != nil {
		return err
	}
	t.title("Haaksbergen is switched off, and the source of Hengelo is dead: unknown, both, and said so")
	if err := t.stopPeer(t.haaksbergen); err != nil {
		return err
	}
	if err := breakSource(ctx, t.hengelo); err != nil {
		return err
	}
	return t.region3(ctx, bevraging.BronOnbereikbaar, bevraging.Onbereikbaar, bevraging.NietGevraagd)
}

// breakSource takes the table of clients away from a gemeente's application.
func breakSource(ctx context.Context, p *regionPeer) (err error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(p.dir, sourceFile)+"?mode=rw&_pragma=busy_timeout(2000)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, `ALTER TABLE client RENAME TO weg`)
	return err
}

// doubtful reports a field of an earlier answer (D02: "te veel gemaild").
func (t *twente) doubtful(ctx context.Context) error {
	t.title("The address in Borne's answer is out of date: uwi reports it, Borne mends it, and both sides see how far it is")
	id, err := t.grensloos(ctx, t.asker, "", "terugmelding", "meld", t.answered, "--dienst", "persoon", "--veld", "adres", "--reden", "verouderd")
	if err != nil {
		return err
	}
	id = strings.TrimSpace(id)
	if _, err := t.grensloos(ctx, t.borne, "", "terugmelding", "behandel", id, "--status", "gecorrigeerd", "--antwoord", "adres aangepast"); err != nil {
		return err
	}
	shown, err := t.grensloos(ctx, t.asker, "", "terugmelding", "toon", id)
	if err != nil {
		return err
	}
	if !strings.Contains(shown, "gecorrigeerd") {
		return errors.New("the asker should have seen that the report is dealt with")
	}
	return nil
}
