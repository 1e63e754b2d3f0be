package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/grensloos/grensloos/certs"
)

// apart looks at what the roles of this peer need to run in processes of their own, if its configuration is for that: the certificate of
// each that stands on this machine, and whether they reach each other.
func (d *doctor) apart(ctx context.Context) {
	if len(d.cfg.Roles) == 0 && d.cfg.Clientgegevens.Address == "" && d.cfg.Outway.Address == "" {
		return
	}
	d.apartEngines()
	ids := map[certs.Role]*certs.Identity{}
	for _, role := range serveRoles() {
		if id := d.roleCertificate(role); id != nil {
			ids[role] = id
		}
	}
	for _, call := range []struct {
		from, to certs.Role
		key      string
		address  string
	}{
		{roleInway, roleClientgegevens, "clientgegevens.adres", d.cfg.Clientgegevens.Address},
		{roleBevraging, roleOutway, "outway.adres", d.cfg.Outway.Address},
	} {
		if call.address == "" || ids[call.from] == nil {
			continue
		}
		if err := d.callRole(ctx, ids[call.from], call.to, call.address); err != nil {
			d.fail("rol "+string(call.to), call.address, "start het proces (serve --role "+string(call.to)+"), of verbeter "+call.key+"; zie docs/roles.md",
				"%s bereikt deze rol niet: %v", call.from, err)
			continue
		}
		d.ok("rol "+string(call.to), call.address, "bereikbaar voor %s, met het certificaat van deze rol", call.from)
	}
}

// apartEngines holds the configuration to what roles apart share.
func (d *doctor) apartEngines() {
	alone := *d.cfg
	alone.process = process{roles: []certs.Role{roleManager}}
	alone.checkRoles(func(key, format string, args ...any) {
		switch key {
		case "opslag", "audit.kafka.brokers", "audit.journaal.bevestiging":
			d.warn("rollen", key, "verbeter dit, of start alle rollen in één proces (serve zonder --role)", format, args...)
		}
	})
}

// roleCertificate looks at the certificate of a role on the own network, if it stands here.
func (d *doctor) roleCertificate(role certs.Role) *certs.Identity {
	mend := "grensloos pki issue --dir ... --intern --oin " + string(d.cfg.Peer.ID) + " --rol " + string(role) + " --host ... --out ..."
	pair := d.cfg.Roles[role].Network
	if pair == (KeyPair{}) {
		return nil
	}
	if _, err := os.Stat(pair.Cert); errors.Is(err, fs.ErrNotExist) {
		return nil // it stands where the role runs
	}
	id, err := certs.LoadIdentity(pair.Cert, pair.Key)
	if err != nil {
		d.fail("rol "+string(role), pair.Cert, mend, "%v", err)
		return nil
	}
	if has := certs.RolesOf(id.Cert(), d.cfg.Peer.ID); !slices.Contains(has, role) {
		d.fail("rol "+string(role), pair.Cert, mend, "noemt deze rol niet (%s), maar %q: het proces start er niet mee", role.URI(d.cfg.Peer.ID), has)
		return nil
	}
	d.lifetime("rol "+string(role), id.Cert(), mend)
	return id
}

// callRole opens a connection to a role, as another role. It sends nothing.
func (d *doctor) callRole(ctx context.Context, as *certs.Identity, to certs.Role, address string) error {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	network, err := certs.OpenInternal(d.cfg.Peer.ID, certs.InternalConfig{CA: d.cfg.Network.CA, CRLs: d.cfg.Network.CRLs}, as, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	cfg := network.ClientTLS(to)
	cfg.ServerName = u.Hostname()
	conn, err := (&tls.Dialer{NetDialer: &net.Dialer{}, Config: cfg}).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	return conn.Close()
}
