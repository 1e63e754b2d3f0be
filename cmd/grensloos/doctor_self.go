package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/connectors/database"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/store"
)

const (
	certSoon  = 30 * 24 * time.Hour // a certificate with less left asks for attention
	crlShare  = 4                   // a revocation list with less than one part in so many of its time left, too
	spaceLow  = 1 << 30             // bytes free in the data folder
	spaceOut  = 128 << 20
	lagSoon   = 30 * time.Second
	mendCert  = "vraag een nieuw certificaat aan en zet het met zijn sleutel in de plaats; herstarten is niet nodig (op een ontwikkel-PKI: grensloos pki issue)"
	mendCRL   = "haal een nieuwe lijst op en zet haar in de plaats van dit bestand; herstarten is niet nodig (op een ontwikkel-PKI: grensloos pki crl)"
	mendClock = "zet op beide machines de tijd gelijk (NTP): een vraag met een tijd die meer dan 5 s afwijkt wordt geweigerd"
)

// certificates looks at all that is in files: our own certificates, the anchors, the revocation lists, the keys.
func (d *doctor) certificates() {
	for _, own := range []struct {
		name string
		pair KeyPair
	}{{"groep", d.cfg.Certificate}, {"netwerk", d.cfg.Network.Certificate}} {
		if own.pair.Key == "" { // of Vault: open looks at it
			continue
		}
		id, err := certs.LoadIdentity(own.pair.Cert, own.pair.Key)
		if err != nil {
			d.fail("certificaat", own.name, mendCert, "%v", err)
			continue
		}
		d.lifetime(own.name, id.Cert(), mendCert)
		for _, above := range id.Chain()[1:] {
			d.lifetime(own.name+": uitgever "+above.Subject.CommonName, above, mendCert)
		}
	}
	for _, list := range []struct {
		name  string
		files []string
	}{{"anker van de groep", d.cfg.Group.Trust.Ankers}, {"CA van het eigen netwerk", []string{d.cfg.Network.CA}}} {
		for _, file := range list.files {
			all, err := certs.ReadCerts(file)
			if err != nil {
				d.fail("certificaat", list.name, "zet het juiste bestand neer", "%v", err)
			}
			for _, c := range all {
				d.lifetime(list.name+" "+c.Subject.CommonName, c, "vraag de uitgever om het nieuwe anker; alle peers hebben het nodig voordat het oude eindigt")
			}
		}
	}
	group, err := certs.OpenGroup(gateway.GroupRules{ID: d.cfg.Group.ID, Ports: d.cfg.Group.Ports}, d.cfg.Group.Trust, nil, nil)
	if err != nil {
		d.fail("vertrouwen", string(d.cfg.Group.ID), "verbeter group.vertrouwen in de configuratie", "%v", err)
		return
	}
	for _, l := range group.CRLs() {
		d.revocationList(l)
	}
	if d.cfg.Group.Trust.CRLsNietVerplicht {
		d.warn("intrekkingslijst", "", "zet crlsNietVerplicht uit en geef de lijsten", "zijn niet verplicht: een gestolen sleutel blijft geldig tot het certificaat eindigt")
	}
}

// lifetime tells how long a certificate still counts.
func (d *doctor) lifetime(over string, c *x509.Certificate, mend string) {
	const part = "certificaat"
	left := c.NotAfter.Sub(d.now)
	until := c.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case d.now.Before(c.NotBefore):
		d.fail(part, over, "kijk of de klok goed staat", "geldt pas vanaf %s", c.NotBefore.UTC().Format(time.RFC3339))
	case left <= 0:
		d.fail(part, over, mend, "is verlopen op %s", until)
	case left < certSoon:
		d.warn(part, over, mend, "nog %d dagen, tot %s", days(left), until)
	default:
		d.ok(part, over, "nog %d dagen, tot %s", days(left), until)
	}
}

func days(left time.Duration) int { return int(left / (24 * time.Hour)) }

func (d *doctor) revocationList(l certs.RevocationList) {
	age, left := d.now.Sub(l.ThisUpdate), l.NextUpdate.Sub(d.now)
	over := l.Issuer
	switch {
	case left <= 0:
		d.fail("intrekkingslijst", over, mendCRL, "%s is verlopen op %s: elk certificaat van deze uitgever wordt geweigerd", l.File, l.NextUpdate.UTC().Format(time.RFC3339))
	case left < l.NextUpdate.Sub(l.ThisUpdate)/crlShare:
		d.warn("intrekkingslijst", over, mendCRL, "%s is %v oud en geldt nog %v", l.File, age.Round(time.Minute), left.Round(time.Minute))
	default:
		d.ok("intrekkingslijst", over, "%s is %v oud en geldt nog %v", l.File, age.Round(time.Minute), left.Round(time.Minute))
	}
}

// dataFolder looks whether this peer can write, and for how long.
func (d *doctor) dataFolder() {
	dir := d.cfg.Data
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		d.warn("map", dir, "start de peer: grensloos serve -c ...", "is er nog niet; de eerste start maakt haar")
		return
	case err != nil || !info.IsDir():
		d.fail("map", dir, "geef in map een map voor deze peer alleen", "is geen leesbare map: %v", err)
		return
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		d.warn("map", dir, "chmod 700 "+dir, "anderen op deze machine kunnen erin (%04o)", mode)
	}
	probe, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		d.fail("map", dir, "geef de gebruiker van deze peer schrijfrecht", "schrijven lukt niet: %v", err)
		return
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		d.warn("map", dir, "", "vrije ruimte is niet te zien: %v", err)
		return
	}
	free := int64(fs.Bavail) * int64(fs.Bsize) //nolint:unconvert // the types differ by system
	mend := "maak ruimte, of verplaats map naar een grotere schijf: zonder ruimte voor het journaal wordt niets beantwoord"
	switch text := fmt.Sprintf("schrijfbaar, %.1f GiB vrij", float64(free)/(1<<30)); {
	case free < spaceOut:
		d.fail("map", dir, mend, "%s", text)
	case free < spaceLow:
		d.warn("map", dir, mend, "%s", text)
	default:
		d.ok("map", dir, "%s", text)
	}
}

// noLog keeps nothing: doctor does nothing that has to be on record, and a step that tries must fail.
type noLog struct{}

func (noLog) Append(context.Context, ...audit.Record) error {
	return audit.Refused(nil, "doctor keeps no records")
}

// open makes of the peer what is needed to look at others and at its contracts. What can't be opened is found and left out.
func (d *doctor) open(ctx context.Context) (closeAll func()) {
	p := &peer{cfg: d.cfg, log: slog.New(slog.DiscardHandler), now: time.Now, watch: &watchers{}, audit: noLog{}}
	closeAll = func() { _ = p.close(ctx) }
	if err := p.openIdentity(ctx); err != nil {
		d.fail("identiteit", "", "verbeter wat hier staat; de peer start er niet mee", "%v", err)
		return closeAll
	}
	d.p = p
	if p.vault != nil {
		d.ok("vault", d.cfg.Vault.Adres, "aangemeld; sleutels, certificaten en geheimen die van Vault komen zijn te gebruiken")
		if d.cfg.Vault.Groep.Sleutel != "" && d.cfg.Vault.Groep.Rol == "" { // what PKI gives is short-lived, and renewed without a hand
			d.lifetime("groep", p.identity.Cert(), mendCert)
		}
	}
	if err := p.openPolicy(ctx); err != nil {
		d.fail("beleid", "", "verbeter het beleid of de catalogus; de peer start er niet mee", "%v", err)
		return closeAll
	}
	d.ok("beleid", "", "revisie %s", p.policy.Session().Revision())
	var err error
	if p.store, err = store.Inspect(ctx, d.cfg.Store); err != nil {
		if d.cfg.Store.IsPostgres() { // what is wrong there mends nobody by starting the peer, and the error names the command that does
			d.fail("opslag", d.storeName(), "doe wat hier staat; de peer start er niet mee, of beantwoordt niets", "%v", err)
		} else {
			d.warn("opslag", d.storeName(), "start de peer; blijft dit, zet dan een reservekopie terug", "%v", err)
		}
		return closeAll
	}
	d.stored(ctx)
	p.onClose(p.store.Close)
	if err := p.openContracts(ctx); err != nil {
		d.fail("manager", "", "verbeter de configuratie; de peer start er niet mee", "%v", err)
	}
	return closeAll
}

// storeName is where the state is kept, for people.
func (d *doctor) storeName() string {
	if pg := d.cfg.Store.Postgres; d.cfg.Store.IsPostgres() {
		return strings.Join(pg.Addresses, ",") + "/" + pg.Database
	}
	return d.cfg.Store.Pad
}

// stored says what a PostgreSQL database that can be used could still do better.
func (d *doctor) stored(ctx context.Context) {
	if !d.cfg.Store.IsPostgres() {
		return // looked at with the data folder
	}
	warnings, err := d.p.store.Review(ctx)
	if err != nil {
		d.fail("opslag", d.storeName(), "doe wat hier staat", "%v", err)
		return
	}
	for _, w := range warnings {
		d.warn("opslag", d.storeName(), w.Mend, "%s", w.Text)
	}
	if len(warnings) == 0 {
		d.ok("opslag", d.storeName(), "bereikbaar, en het schema past bij dit programma")
	}
}

// ask lets the peer tell about itself, if it runs.
func (d *doctor) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", reachable(d.cfg.Manager.Listen))
	if err != nil {
		d.warn("peer", "", "grensloos serve -c ...", "draait niet: op manager.luister (%s) luistert niemand; hieronder staat wat van buiten te zien is", d.cfg.Manager.Listen)
		return
	}
	_ = conn.Close()
	d.Draait = true
	a, err := newAPI(d.cfg, "beheer.luister", d.cfg.Beheer.Listen, d.id)
	var g beheer.GezondheidJSON
	if err == nil {
		err = a.call(ctx, http.MethodGet, "/gezondheid", nil, &g)
	}
	if err == nil && g.Peer.OIN != d.cfg.Peer.ID {
		err = fmt.Errorf("the answer is of peer %.20s", g.Peer.OIN)
	}
	if err != nil {
		d.warn("peer", "", "zie dat beheer.luister goed is en geef zo nodig --token", "draait, maar vertelt niet hoe het gaat: %v", err)
		return
	}
	d.running = &g
	d.ok("peer", "", "draait sinds %s", g.Gestart.Format(time.RFC3339))
	if own := version(); g.Versie != own {
		d.warn("versie", "", "start de peer opnieuw, of gebruik het programma waarmee hij draait", "de peer draait met %.60s, dit programma is %s", g.Versie, own)
	}
	if own := d.cfg.Group.digest(); g.Groepsregels.Digest != own {
		d.warn("groepsregels", "", "start de peer opnieuw", "de peer draait met andere groepsregels dan er nu in het bestand staan (%.64s)", g.Groepsregels.Digest)
	}
	for _, part := range g.Onderdelen {
		if part.Gereed {
			d.ok("gereed", part.Naam, "ja")
		} else {
			d.fail("gereed", part.Naam, part.Herstel, "nee: %s", part.Uitleg)
		}
	}
	d.ownAddress(ctx, "manager.adres", d.cfg.Manager.Address)
	if d.cfg.Inway.Listen != "" {
		d.ownAddress(ctx, "inway.adres", d.cfg.Inway.Address)
	}
}

// reachable is an address to dial for one to listen on.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// ownAddress calls ourselves where others call us.
func (d *doctor) ownAddress(ctx context.Context, key, address string) {
	if d.p == nil {
		return
	}
	if err := d.handshake(ctx, d.cfg.Peer.ID, address); err != nil {
		d.warn("adres", key, "zie dat het adres naar deze peer wijst en dat het certificaat deze naam draagt; van binnen kan het ook aan de firewall liggen", "%s: %v", address, err)
		return
	}
	d.ok("adres", key, "%s antwoordt", address)
}

// contracts counts them: as the peer tells, else as its store has them.
func (d *doctor) contracts(ctx context.Context) {
	var counts beheer.ContractenJSON
	switch {
	case d.running != nil:
		counts = d.running.Contracten
	case d.p != nil && d.p.manager != nil:
		all, err := d.p.manager.List(ctx)
		counts = countContracts(all, d.cfg.Peer.ID, d.now)
		if err != nil {
			counts.Fout = err.Error()
		}
	default:
		return // said before
	}
	if counts.Fout != "" {
		d.fail("contracten", "", "zie dat de database van opslag bereikbaar is", "zijn niet te tellen: %s", counts.Fout)
		return
	}
	text := "geen"
	for i, state := range slices.Sorted(maps.Keys(counts.PerToestand)) {
		if i == 0 {
			text = ""
		} else {
			text += ", "
		}
		text += fmt.Sprintf("%d %s", counts.PerToestand[state], state)
	}
	d.ok("contracten", "", "%s", text)
	for _, a := range counts.Aandacht {
		others := fmt.Sprint(a.Partijen)
		switch a.Wat {
		case beheer.AandachtVerloopt:
			d.warn("contract", string(a.Hash), "spreek een nieuw contract af: grensloos contract propose; kijk eerst wat er staat: grensloos contract show "+string(a.Hash),
				"met %s verloopt over %d dagen, op %s, en niets neemt zijn plaats in", others, days(a.GeldigTot.Sub(d.now)), a.GeldigTot.Format(time.DateOnly))
		case beheer.AandachtWachtOns:
			d.warn("contract", string(a.Hash), "grensloos contract show "+string(a.Hash)+", en dan contract accept of contract reject", "met %s wacht op ons", others)
		case beheer.AandachtGeweigerd:
			d.warn("contract", string(a.Hash), "grensloos contract show "+string(a.Hash)+" zegt waarom; overleg met die partij", "een handtekening is door een van %s voorgoed geweigerd", others)
		}
	}
}

// stream tells how far the audit stream is behind, and whether its cluster is there.
func (d *doctor) stream(ctx context.Context) {
	mend := "zie dat Kafka bereikbaar is (audit.kafka); boven de grens van audit.journaal wordt niets meer beantwoord"
	if d.running != nil {
		lag, age := d.running.Journaal.AchterstandBytes, time.Duration(d.running.Journaal.AchterstandSeconden*float64(time.Second))
		if age > lagSoon {
			d.warn("journaal", "", mend, "%d bytes wachten op verzending naar Kafka, de oudste al %v", lag, age.Round(time.Second))
		} else {
			d.ok("journaal", "", "%d bytes wachten op verzending naar Kafka", lag)
		}
	}
	for _, broker := range d.cfg.Audit.Kafka.Brokers {
		conn, err := (&net.Dialer{Timeout: lookWithin}).DialContext(ctx, "tcp", broker)
		if err != nil {
			d.fail("kafka", broker, mend, "niet bereikbaar: %v", err)
			continue
		}
		_ = conn.Close()
		d.ok("kafka", broker, "bereikbaar")
	}
}

// mapping holds the mapping of the source against the source and the common schema.
func (d *doctor) mapping(ctx context.Context) {
	if d.cfg.Source == nil || d.cfg.Source.Database == nil {
		return
	}
	const mend = "verbeter de mapping; grensloos connector check probeert haar zonder te starten"
	cfg := *d.cfg.Source.Database
	cfg.Wachttijd = max(cfg.Wachttijd, lookWithin) // a sample of a large table takes longer than a question
	found, err := database.Findings(ctx, cfg)
	switch {
	case gateway.KindOf(err) == gateway.Unavailable:
		d.fail("bron", "", "zie dat de bron er is en deze peer erbij mag (bron.database); zolang dat niet zo is, is elk antwoord bron-onbereikbaar", "%v", err)
		return
	case err != nil:
		d.fail("bron", cfg.Mapping, mend, "%v", err)
		return
	}
	well := true
	for _, b := range found {
		f := finding{Onderdeel: "bron", Ernst: letOp, Tekst: b.Tekst, Herstel: mend, Bestand: b.Bestand, Regel: b.Regel}
		switch {
		case b.NietAangeboden:
			f.Ernst, f.Herstel = inOrde, ""
		case b.Ernst == connectors.Fout:
			f.Ernst, well = fout, false
		}
		d.add(f)
	}
	if well {
		d.ok("bron", cfg.Mapping, "de mapping past op de bron")
	}
}

// handshake opens a connection to one peer, as that peer. It sends nothing, so that nothing is on record there.
func (d *doctor) handshake(ctx context.Context, id gateway.PeerID, address string) error {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	host, err := hostPort(address)
	if err != nil {
		return err
	}
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		return err
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
	if err != nil {
		return err
	}
	defer raw.Close()
	cfg := d.p.group.ClientTLS(d.p.identity, id)
	cfg.ServerName = name
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	// In TLS 1.3 a server that refuses our certificate says so after the handshake; one that accepts it waits for us to speak.
	_ = raw.SetReadDeadline(time.Now().Add(refusedWithin))
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		if waits, ok := errors.AsType[net.Error](err); !ok || !waits.Timeout() {
			return fmt.Errorf("it refuses our certificate: %w", err)
		}
	}
	return nil
}

// refusedWithin is how long we wait for the alert of a server that does not want our certificate.
const refusedWithin = 250 * time.Millisecond
