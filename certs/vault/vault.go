// Package vault owns what a peer gets from HashiCorp Vault or OpenBao: a signing key in Transit as crypto.Signer, certificates from
// PKI, secrets from KV version 2, and the AppRole login under which all of it is asked.
//
// A private key in Transit never leaves it, one for a certificate of the own network is made in memory: no key of a peer need touch
// a disk. It refuses a key of another type than ECDSA P-256, a signature that does not verify under the key that was asked for, a
// certificate over another key, and an address that would send a token in the clear.
//
// When Vault is sealed or away, what is in memory goes on: certificates until they end, open connections, secrets that were read.
// What needs Vault at that moment fails with kind Unavailable, by name, within a few seconds. Nothing has to be restarted
// afterwards: the next use works, and a token that ended meanwhile is replaced by a new login.
//
// Invariant: each error names the thing in Vault, what that means, and the command that mends it; none holds a secret.
package vault

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/grensloos/grensloos/gateway"
)

const (
	callWithin  = 5 * time.Second // one call; somebody may be waiting for a signature
	closeWithin = 2 * time.Second
	lookEvery   = 5 * time.Second // how often Run looks whether Vault is there
	loginPause  = time.Second     // the least time between two logins for a token that is refused
	retryPause  = 2 * time.Second // the first pause after a renewal that failed; it doubles
	retryMost   = 30 * time.Second
	maxSecretID = 4 << 10
)

// Client asks one Vault, under one AppRole. It is safe for concurrent use.
type Client struct {
	cfg       Config
	api       *api.Client
	anonymous *api.Client // for logins; never has a token
	transport *http.Transport
	log       *slog.Logger
	now       func() time.Time

	logins   sync.Mutex // one login at a time
	relogged time.Time  // guarded by logins

	mu      sync.Mutex // guards what follows
	token   tokenState
	trouble error // of the last look; nil when all is well
}

// tokenState is the token of this moment.
type tokenState struct {
	renewAt   time.Time     // zero: it does not end
	lease     time.Duration // at login
	renewable bool
}

// Open logs in. The configuration must have passed Check.
func Open(ctx context.Context, cfg Config, log *slog.Logger, now func() time.Time) (*Client, error) {
	if now == nil {
		now = time.Now
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Client{cfg: cfg, log: log, now: now}
	if _, err := c.trust(); err != nil {
		return nil, err
	}
	// No proxy and nothing else of the environment: where a token goes is said in the configuration alone.
	dialer := &net.Dialer{Timeout: callWithin}
	transport := &http.Transport{
		DialContext: dialer.DialContext, DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			trust, err := c.trust()
			if err != nil {
				return nil, err
			}
			return (&tls.Dialer{NetDialer: dialer, Config: trust}).DialContext(ctx, network, address)
		},
		MaxIdleConnsPerHost: 32, IdleConnTimeout: 90 * time.Second,
	}
	c.transport = transport
	for _, made := range []**api.Client{&c.api, &c.anonymous} {
		own, err := api.NewClient(&api.Config{
			Address: cfg.Adres, Timeout: callWithin,
			HttpClient: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		})
		if err != nil {
			return nil, gateway.Wrap(gateway.Invalid, err, "vault.adres")
		}
		own.ClearToken()
		own.ClearNamespace()
		*made = own
	}
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	if err := c.login(ctx); err != nil {
		transport.CloseIdleConnections()
		return nil, err
	}
	return c, nil
}

// trust is whom we trust at this moment: the file is read anew for each connection, so that it can be replaced.
func (c *Client) trust() (*tls.Config, error) {
	trust := &tls.Config{MinVersion: tls.VersionTLS12, Time: c.now}
	if c.cfg.CA == "" {
		return trust, nil
	}
	raw, err := os.ReadFile(c.cfg.CA)
	if err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "vault.ca")
	}
	trust.RootCAs = x509.NewCertPool()
	if !trust.RootCAs.AppendCertsFromPEM(raw) {
		return nil, gateway.Errorf(gateway.Invalid, "vault.ca: %s has no certificate in PEM", c.cfg.CA)
	}
	return trust, nil
}

// Close revokes the token and gives up connections. If Vault is away the token ends by itself.
func (c *Client) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	_ = c.api.Auth().Token().RevokeSelfWithContext(ctx, "")
	c.transport.CloseIdleConnections()
}

// Trouble is what keeps Vault from being used, as Run last saw it; nil when all is well.
func (c *Client) Trouble() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trouble
}

// login asks for a token.
func (c *Client) login(ctx context.Context) error {
	role, err := readID("vault.rolIdBestand", c.cfg.RolID, false)
	if err != nil {
		return err
	}
	secret, err := readID("vault.geheimIdBestand", c.cfg.GeheimID, true)
	if err != nil {
		return err
	}
	path := "auth/" + c.cfg.AppRole + "/login"
	s, err := c.anonymous.Logical().WriteWithContext(ctx, path, map[string]any{"role_id": role, "secret_id": secret})
	if err != nil {
		return c.explain(err, use{name: "AppRole " + c.cfg.AppRole, path: path, login: true})
	}
	if s == nil || s.Auth == nil || s.Auth.ClientToken == "" {
		return gateway.Errorf(gateway.Unavailable, "vault: login at %s gave no token", path)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.api.SetToken(s.Auth.ClientToken)
	c.token = tokenState{lease: time.Duration(s.Auth.LeaseDuration) * time.Second, renewable: s.Auth.Renewable}
	c.token.renewAt = renewal(c.now(), c.token.lease)
	return nil
}

func renewal(now time.Time, lease time.Duration) time.Time {
	if lease <= 0 {
		return time.Time{}
	}
	return now.Add(lease * 2 / 3)
}

// readID reads a file with a role id or a secret id.
func readID(key, file string, secret bool) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", gateway.Wrap(gateway.Invalid, err, key)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", gateway.Wrap(gateway.Invalid, err, key)
	}
	if mode := info.Mode().Perm(); secret && mode&0o027 != 0 {
		return "", gateway.Errorf(gateway.Invalid, "%s: %s has mode %04o, others can read it; run chmod 600", key, file, mode)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxSecretID))
	if err != nil {
		return "", gateway.Wrap(gateway.Invalid, err, key)
	}
	id := string(bytes.TrimSpace(raw))
	if id == "" {
		return "", gateway.Errorf(gateway.Invalid, "%s: %s is empty", key, file)
	}
	return id, nil
}

// relogin replaces a token that was refused, unless another did so since. It leaves loginPause between two logins.
func (c *Client) relogin(ctx context.Context, refused string) error {
	c.logins.Lock()
	defer c.logins.Unlock()
	if c.api.Token() != refused {
		return nil
	}
	now := c.now()
	if now.Sub(c.relogged) < loginPause {
		return gateway.Errorf(gateway.Unavailable, "vault %s: our token is refused again right after a login: does the policy of our AppRole exist? bao read auth/%s/role/ROL", c.cfg.Adres, c.cfg.AppRole)
	}
	c.relogged = now
	if err := c.login(ctx); err != nil {
		return err
	}
	c.log.Warn("vault refused our token; logged in anew", slog.String("adres", c.cfg.Adres))
	return nil
}

// use says what a call is for, so that an error can name it and its mend.
type use struct {
	name  string // such as "transit key borne"
	path  string
	write bool
	login bool
	mend  string // the command that makes the thing
}

// call does one call. A refused token is replaced once.
func (c *Client) call(ctx context.Context, u use, data map[string]any) (*api.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	do := func() (*api.Secret, error) {
		if u.write {
			return c.api.Logical().WriteWithContext(ctx, u.path, data)
		}
		return c.api.Logical().ReadWithContext(ctx, u.path)
	}
	token := c.api.Token()
	s, err := do()
	if statusOf(err) == http.StatusForbidden && !c.tokenGood(ctx) {
		if err := c.relogin(ctx, token); err != nil {
			return nil, err
		}
		s, err = do()
	}
	if err != nil {
		return nil, c.explain(err, u)
	}
	if s == nil {
		return nil, gateway.Errorf(gateway.NotFound, "vault: %s is not there (%s): %s", u.name, u.path, u.mend)
	}
	return s, nil
}

// tokenGood tells a token that Vault does not know from one whose policy is too narrow.
func (c *Client) tokenGood(ctx context.Context) bool {
	_, err := c.api.Auth().Token().LookupSelfWithContext(ctx)
	return err == nil
}

// Run keeps the token alive and looks whether Vault is there, until ctx ends. It tells the log once when Vault goes and once when it
// comes back.
func (c *Client) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-c.tokenDue(ctx):
		}
		c.look(ctx)
	}
}

// tokenDue fires when the token must be renewed; not more than once in retryPause.
func (c *Client) tokenDue(ctx context.Context) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token.renewAt.IsZero() || ctx.Err() != nil {
		return nil
	}
	return time.After(max(c.token.renewAt.Sub(c.now()), retryPause))
}

// look renews the token when it is time, else tries it.
func (c *Client) look(ctx context.Context) {
	c.mu.Lock()
	due := !c.token.renewAt.IsZero() && !c.now().Before(c.token.renewAt)
	c.mu.Unlock()
	var err error
	if due {
		err = c.renew(ctx)
	} else {
		err = c.probe(ctx)
	}
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	before := c.trouble
	c.trouble = err
	c.mu.Unlock()
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		c.log.Error("vault can't be used: signatures, new connections and renewals wait; what is in memory goes on", slog.Any("error", err))
	case err == nil && before != nil:
		c.log.Info("vault is back", slog.String("adres", c.cfg.Adres))
	}
}

// probe asks Vault about our token.
func (c *Client) probe(ctx context.Context) error {
	token := c.api.Token()
	asking, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	_, err := c.api.Auth().Token().LookupSelfWithContext(asking)
	if statusOf(err) == http.StatusForbidden {
		return c.relogin(asking, token)
	}
	if err != nil {
		return c.explain(err, use{name: "our token", path: "auth/token/lookup-self"})
	}
	return nil
}

// renew makes the token last; one that can't be renewed, or whose longest life is near, is replaced.
func (c *Client) renew(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	c.mu.Lock()
	t := c.token
	c.mu.Unlock()
	if t.renewable {
		s, err := c.api.Auth().Token().RenewSelfWithContext(asking, 0)
		if err == nil && s != nil && s.Auth != nil {
			if lease := time.Duration(s.Auth.LeaseDuration) * time.Second; lease > t.lease/2 {
				c.mu.Lock()
				c.token.renewAt = renewal(c.now(), lease)
				c.mu.Unlock()
				return nil
			}
		}
		switch statusOf(err) {
		case http.StatusForbidden, http.StatusBadRequest, http.StatusInternalServerError: // ended; OpenBao says 500 past its longest life
		default:
			if err != nil {
				return c.explain(err, use{name: "our token", path: "auth/token/renew-self"})
			}
		}
	}
	c.logins.Lock()
	defer c.logins.Unlock()
	if err := c.login(asking); err != nil {
		return fmt.Errorf("token not renewed: %w", err)
	}
	return nil
}
