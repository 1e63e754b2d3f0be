package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/certs/vault"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/postgres"
)

// vaultWithin bounds what a command asks of Vault.
const vaultWithin = 15 * time.Second

// checkVault checks the section vault, and that nothing comes from two places.
func (c *Config) checkVault(bad func(key, format string, args ...any)) {
	if err := c.Vault.Check(); err != nil {
		bad("vault", "%v", err)
	}
	twice := func(key, other string, both bool) {
		if both {
			bad("vault."+key, "not beside %s: give one of the two", other)
		}
	}
	g := &c.Vault.Groep
	twice("groep.sleutel", "certificaat.sleutel", g.Sleutel != "" && c.Certificate.Key != "")
	twice("groep.rol", "certificaat.certificaat", g.Rol != "" && c.Certificate.Cert != "")
	twice("netwerk.rol", "netwerk.certificaat", c.Vault.Netwerk.Rol != "" && c.Network.Certificate != KeyPair{})
	twice("pseudoniemen", "pseudoniemen", len(c.Vault.Pseudoniemen) > 0 && len(c.Pseudonyms) > 0)
	for _, p := range c.vaultPasswords() {
		twice(p.key, p.file, p.path != "" && p.inFile != "")
		if p.path != "" && !p.used {
			bad("vault."+p.key, "nothing asks for it: leave it out, or set %s", p.needs)
		}
	}
	if g.Rol != "" && len(g.Namen) == 0 {
		for _, address := range []string{c.Manager.Address, c.Inway.Address} {
			if u, err := url.Parse(address); err == nil && u.Hostname() != "" && !slices.Contains(g.Namen, u.Hostname()) {
				g.Namen = append(g.Namen, u.Hostname())
			}
		}
	}
}

// vaultPassword is a password that may come from Vault: for whom, and where it stands instead.
type vaultPassword struct {
	key, path    string                  // below vault, and in KV
	file, inFile string                  // the key of the file that may hold it, and its value
	used         bool                    // somebody signs in with it
	needed       bool                    // this process does; the others need not be let read it
	needs        string                  // what is to be set so that somebody does
	into         *func() (string, error) // who asks for it, at each new connection
}

func (c *Config) vaultPasswords() []vaultPassword {
	sasl, store := &c.Audit.Kafka.SASL, &c.Store.Postgres
	source := &postgres.Config{}
	if c.Source != nil && c.Source.Database != nil {
		source = &c.Source.Database.Postgres
	}
	need := c.needs()
	return []vaultPassword{
		{"kafkaWachtwoord", c.Vault.KafkaWachtwoord, "audit.kafka.sasl.wachtwoordBestand", sasl.PasswordFile, sasl.Mechanism != "", true, "audit.kafka.sasl", &sasl.Password},
		{"opslagWachtwoord", c.Vault.OpslagWachtwoord, "opslag.postgres.wachtwoordBestand", store.PasswordFile, c.Store.IsPostgres(), need.Store, "opslag.driver: postgres", &store.Password},
		{"bronWachtwoord", c.Vault.BronWachtwoord, "bron.database.postgres.wachtwoordBestand", source.PasswordFile, len(source.Addresses) > 0, need.Source, "bron.database.driver: postgres", &source.Password},
	}
}

// askVault has each password that comes from Vault asked for when somebody connects, with a login of its own: for commands. A peer that
// runs keeps one login, see openVault.
func (c *Config) askVault() {
	for _, p := range c.vaultPasswords() {
		if p.path == "" {
			continue
		}
		*p.into = func() (string, error) {
			ctx, cancel := context.WithTimeout(context.Background(), vaultWithin)
			defer cancel()
			v, err := vault.Open(ctx, c.Vault, nil, nil)
			if err != nil {
				return "", err
			}
			defer v.Close()
			ask, err := v.Password(ctx, p.path)
			if err != nil {
				return "", fmt.Errorf("vault.%s: %w", p.key, err)
			}
			return ask()
		}
	}
}

// openVault logs in, if the configuration uses Vault.
func (p *peer) openVault(ctx context.Context) (err error) {
	if !p.cfg.Vault.Enabled() {
		return nil
	}
	if p.vault, err = vault.Open(ctx, p.cfg.Vault, p.log, p.now); err != nil {
		return err
	}
	p.onClose(func() error { p.vault.Close(); return nil })
	p.vaultTasks = append(p.vaultTasks, task{"vault", p.vault.Run})
	for _, w := range p.cfg.vaultPasswords() {
		if w.path == "" || !w.needed {
			continue
		}
		if *w.into, err = p.vault.Password(ctx, w.path); err != nil {
			return fmt.Errorf("vault.%s: %w", w.key, err)
		}
	}
	return nil
}

// groupIdentity is our certificate in the group: of files, of a file over a key in Transit, or of PKI over a key in Transit.
func (p *peer) groupIdentity(ctx context.Context) (*certs.Identity, error) {
	g := p.cfg.Vault.Groep
	if g.Sleutel == "" {
		id, err := certs.LoadIdentity(p.cfg.Certificate.Cert, p.cfg.Certificate.Key)
		if err != nil {
			return nil, fmt.Errorf("certificaat: %w", err)
		}
		return id, nil
	}
	key, err := p.vault.Key(ctx, g.Sleutel, g.Versie)
	if err != nil {
		return nil, fmt.Errorf("vault.groep: %w", err)
	}
	if g.Rol == "" {
		id, err := certs.LoadCertificate(p.cfg.Certificate.Cert, key)
		if err != nil {
			return nil, fmt.Errorf("certificaat: %w", err)
		}
		return id, nil
	}
	self := gateway.Peer{ID: p.cfg.Peer.ID, Name: p.cfg.Peer.Name}
	kept, err := p.vault.Identity(ctx, "certificaat", g.Certificaat, vault.Subject{Peer: self}, key)
	if err != nil {
		return nil, fmt.Errorf("vault.groep: %w", err)
	}
	p.vaultTasks = append(p.vaultTasks, task{"vault.groep", kept.Run})
	return kept.Identity, nil
}

// networkIdentity is our certificate on our own network: of files, or of PKI over a key in memory.
func (p *peer) networkIdentity(ctx context.Context) (*certs.Identity, error) {
	if p.cfg.Vault.Netwerk.Rol == "" {
		id, err := certs.LoadIdentity(p.cfg.Network.Certificate.Cert, p.cfg.Network.Certificate.Key)
		if err != nil {
			return nil, fmt.Errorf("netwerk.certificaat: %w", err)
		}
		return id, nil
	}
	kept, err := p.vault.MemoryIdentity(ctx, "netwerk.certificaat", p.cfg.Vault.Netwerk)
	if err != nil {
		return nil, fmt.Errorf("vault.netwerk: %w", err)
	}
	p.vaultTasks = append(p.vaultTasks, task{"vault.netwerk", kept.Run})
	return kept.Identity, nil
}

// loadGroupIdentity is groupIdentity for a command that looks once. Nothing renews what it gives.
func loadGroupIdentity(cfg *Config) (_ *certs.Identity, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), vaultWithin)
	defer cancel()
	own := *cfg // cfg keeps asking for its passwords by itself
	p := &peer{cfg: &own, log: slog.New(slog.DiscardHandler), now: time.Now}
	defer func() { err = errors.Join(err, p.close(ctx)) }()
	if err := p.openVault(ctx); err != nil {
		return nil, err
	}
	return p.groupIdentity(ctx)
}

// pseudonymSources are the versions of our own pseudonym keys, with where each stands.
func (c *Config) pseudonymSources() map[int]string {
	if len(c.Vault.Pseudoniemen) > 0 {
		return c.Vault.Pseudoniemen
	}
	return c.Pseudonyms
}

// ownPseudonymKeys reads our own pseudonym keys, from files or from Vault.
func ownPseudonymKeys(cfg *Config) (map[int][]byte, error) {
	if len(cfg.Vault.Pseudoniemen) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), vaultWithin)
		defer cancel()
		c, err := vault.Open(ctx, cfg.Vault, nil, nil)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		return c.PseudonymKeys(ctx)
	}
	keys := make(map[int][]byte, len(cfg.Pseudonyms))
	for version, file := range cfg.Pseudonyms {
		key, err := readSecret(file)
		if err != nil {
			return nil, fmt.Errorf("pseudoniemen: %w", err)
		}
		keys[version] = key
	}
	return keys, nil
}
