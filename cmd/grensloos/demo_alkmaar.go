package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/grensloos/grensloos/cmd/grensloos/bevolking"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/bevraging"
)

// kennemerland tells demo D20 of domain.md: seven gemeenten with one organisation, of which Heerhugowaard and Langedijk become Dijk
// en Waard on 2022-01-01, the very day that the organisation was to start.
type kennemerland struct {
	*demo
	gemeenten                          []*regionPeer // the five that stay
	heerhugowaard, langedijk, opvolger *regionPeer
	old                                []string // contracts of the two that end, for the purpose that reaches the group
}

func (d *demo) alkmaar() ([]*regionPeer, []func(context.Context) error) {
	k := &kennemerland{
		demo: d,
		gemeenten: []*regionPeer{
			gemeente("0361", "Gemeente Alkmaar", nil, bevolking.Alkmaar),
			gemeente("0373", "Gemeente Bergen NH", nil, bevolking.BergenNH),
			gemeente("0383", "Gemeente Castricum", nil, bevolking.Castricum),
			gemeente("0399", "Gemeente Heiloo", nil, bevolking.Heiloo),
			gemeente("0450", "Gemeente Uitgeest", nil, bevolking.Uitgeest),
		},
		heerhugowaard: gemeente("0398", "Gemeente Heerhugowaard", nil, bevolking.Heerhugowaard),
		langedijk:     gemeente("0416", "Gemeente Langedijk", nil, bevolking.Langedijk),
		opvolger:      gemeente("1980", "Gemeente Dijk en Waard", nil, bevolking.Heerhugowaard, bevolking.Langedijk),
	}
	d.asker = &regionPeer{ID: "00000099900000002000", Name: "uwi-alkmaar", AnswerWithin: 5 * time.Second}
	peers := append([]*regionPeer{d.asker, k.heerhugowaard, k.langedijk, k.opvolger}, k.gemeenten...)
	return peers, []func(context.Context) error{k.start, k.contracts, k.ask7, k.consent, k.herindeling, k.ask6, k.carriedOver}
}

func (k *kennemerland) start(ctx context.Context) error {
	k.title("Eight processes: seven gemeenten of the region of Alkmaar, and the organisation that works for them")
	return k.startPeers(ctx, append([]*regionPeer{k.asker, k.heerhugowaard, k.langedijk}, k.gemeenten...)...)
}

func (k *kennemerland) contracts(ctx context.Context) error {
	k.title("Each college signs for finding the fixed contact (casusregie-contact), a purpose that reaches the whole group")
	for _, p := range append([]*regionPeer{k.heerhugowaard, k.langedijk}, k.gemeenten...) {
		hash, err := k.contract(ctx, p, "--doel", "casusregie-contact", "--namens", string(p.ID))
		if err != nil {
			return err
		}
		if p == k.heerhugowaard || p == k.langedijk {
			k.old = append(k.old, hash)
		}
	}
	_, err := k.contract(ctx, k.heerhugowaard, "--doel", "doorverwijzing-welzijn")
	return err
}

func (k *kennemerland) contact(ctx context.Context, want ...bevraging.Uitkomst) error {
	bsn, err := clientWithContact(bevolking.Alkmaar)
	if err != nil {
		return err
	}
	_, err = k.ask(ctx, demoVraag{doel: "casusregie-contact", zaaktype: "casusregie", bsn: bsn, want: want})
	return err
}

// clientWithContact is the first client of a gemeente who has a fixed contact.
func clientWithContact(g bevolking.Gemeente) (string, error) {
	personen, err := g.Personen(time.Now().UTC())
	if err != nil {
		return "", err
	}
	for _, p := range personen {
		if p.Contactpersoon != nil {
			return p.BSN.Reveal(), nil
		}
	}
	return "", fmt.Errorf("no client of %s has a contact", g.Naam)
}

func (k *kennemerland) ask7(ctx context.Context) error {
	k.title("Who is the contact of this client of Alkmaar? One question, seven gemeenten")
	return k.contact(ctx, bevraging.Beantwoord, bevraging.GeenGegevens)
}

func (k *kennemerland) consent(ctx context.Context) error {
	k.title("A resident of Heerhugowaard gives consent for a referral, before there is a Dijk en Waard")
	bsn, err := client(bevolking.Heerhugowaard, 1)
	if err != nil {
		return err
	}
	if _, err := k.grensloos(ctx, k.heerhugowaard, bsn, "toestemming", "geef", "--doel", "doorverwijzing-welzijn", "--ontvanger", string(k.asker.ID), "--bsn-stdin"); err != nil {
		return err
	}
	return k.referral(ctx, string(k.heerhugowaard.ID))
}

// referral asks about that resident, at a gemeente by its code or its OIN.
func (k *kennemerland) referral(ctx context.Context, at string) error {
	bsn, err := client(bevolking.Heerhugowaard, 1)
	if err != nil {
		return err
	}
	_, err = k.ask(ctx, demoVraag{"doorverwijzing-welzijn", "doorverwijzing", bsn, []string{at}, []bevraging.Uitkomst{bevraging.Beantwoord}})
	return err
}

func (k *kennemerland) herindeling(ctx context.Context) error {
	k.title("1 January 2022: Heerhugowaard and Langedijk stop; first a dry run of what moves to Dijk en Waard, then the move")
	for _, p := range []*regionPeer{k.heerhugowaard, k.langedijk} {
		if err := k.stopPeer(p); err != nil {
			return err
		}
	}
	args := []string{
		"herindeling", "--van", k.heerhugowaard.config(), "--van", k.langedijk.config(), "--naar", k.opvolger.config(), "--per", "2022-01-01", "--als", "beheerder",
	}
	for _, extra := range [][]string{{"--dry-run"}, nil} {
		if err := k.shown(ctx, append(args, extra...)...); err != nil {
			return err
		}
	}
	k.title("Dijk en Waard starts; its managers' proposals reach the organisation, which accepts them")
	if err := k.startPeers(ctx, k.opvolger); err != nil {
		return err
	}
	var proposed []string
	err := k.await(ctx, "the proposals of Dijk en Waard", func() bool {
		proposed = k.proposals(ctx)
		return len(proposed) >= 2
	})
	if err != nil {
		return err
	}
	for _, hash := range proposed {
		if _, err := k.quiet(ctx, k.asker, "contract", "accept", hash); err != nil {
			return err
		}
		k.say("    $ grensloos contract accept %.20s... -c %s", hash, k.short(k.asker.config()))
		if err := k.await(ctx, "the acceptance to arrive", func() bool { return k.state(ctx, k.opvolger, hash) == "geldig" }); err != nil {
			return err
		}
	}
	return nil
}

// shown runs a command that belongs to no one peer.
func (k *kennemerland) shown(ctx context.Context, args ...string) error {
	k.say("    $ grensloos %s", strings.ReplaceAll(strings.Join(args, " "), k.dir+"/", ""))
	var out strings.Builder
	err := run(ctx, args, strings.NewReader(""), &out, &out)
	for line := range strings.Lines(out.String()) {
		k.say("      %s", strings.TrimRight(line, "\n"))
	}
	if err != nil && exitCode(err) != exitIncomplete {
		return err
	}
	return nil
}

// proposals are the contracts that wait for the asker's signature.
func (k *kennemerland) proposals(ctx context.Context) []string {
	out, err := k.quiet(ctx, k.asker, "contract", "list", "--json")
	var list struct {
		Contracten []beheer.ContractJSON `json:"contracten"`
	}
	if err != nil || json.Unmarshal([]byte(out), &list) != nil {
		return nil
	}
	var hashes []string
	for _, c := range list.Contracten {
		if c.Toestand == "voorgesteld" {
			hashes = append(hashes, string(c.Hash))
		}
	}
	return hashes
}

func (k *kennemerland) ask6(ctx context.Context) error {
	k.title("The organisation ends its contracts with the two that are no more")
	for _, hash := range k.old {
		if _, err := k.quiet(ctx, k.asker, "contract", "revoke", hash); err != nil {
			return err
		}
		k.say("    $ grensloos contract revoke %.20s... -c %s", hash, k.short(k.asker.config()))
	}
	k.title("The same question again: seven gemeenten have become six, and nothing of the others changed")
	return k.contact(ctx, bevraging.Beantwoord, bevraging.GeenGegevens)
}

func (k *kennemerland) carriedOver(ctx context.Context) error {
	k.title("The consent of before the herindeling opens the answer of after it; the old code finds who holds the records now")
	if err := k.referral(ctx, "0398"); err != nil {
		return fmt.Errorf("the consent was not carried over: %w", err)
	}
	return nil
}
