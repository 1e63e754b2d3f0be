package vault

import (
	"context"
	"encoding/base64"
	"fmt"
	"sync"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

const minPseudonymKey = 32

// Secret reads one field of a secret in KV version 2.
func (c *Client) Secret(ctx context.Context, path, field string) (string, error) {
	mend := fmt.Sprintf("bao kv put -mount=%s %s %s=...", c.cfg.KV, path, field)
	u := use{name: "secret " + path, path: c.cfg.KV + "/data/" + path, mend: mend}
	s, err := c.call(ctx, u, nil)
	if err != nil {
		return "", err
	}
	values, ok := s.Data["data"].(map[string]any)
	if !ok {
		if about, _ := s.Data["metadata"].(map[string]any); about != nil {
			return "", gateway.Errorf(gateway.NotFound, "vault: %s: its newest version %v is deleted: bao kv undelete -mount=%s -versions=%v %s", u.name, about["version"], c.cfg.KV, about["version"], path)
		}
		return "", gateway.Errorf(gateway.Invalid, "vault: %s: %s is not KV version 2: bao kv enable-versioning %s", u.name, c.cfg.KV, c.cfg.KV)
	}
	value, ok := values[field].(string)
	if !ok || value == "" {
		return "", gateway.Errorf(gateway.NotFound, "vault: %s has no field %s: %s", u.name, field, mend)
	}
	return value, nil
}

const (
	passwordWithin = 2 * time.Second // a connection waits for it, and another password is known
	passwordFresh  = time.Second     // connections that are made together ask once
)

// Password reads a password in KV, and gives what it is at the moment that it is asked for: one that was replaced counts for the next
// connection. While Vault is away it is the last one that was read.
func (c *Client) Password(ctx context.Context, path string) (func() (string, error), error) {
	const field = "wachtwoord"
	first, err := c.Secret(ctx, path, field)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex // guards what follows
	last, again := first, c.now().Add(passwordFresh)
	return func() (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if c.now().Before(again) {
			return last, nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), passwordWithin)
		defer cancel()
		switch now, err := c.Secret(ctx, path, field); {
		case err == nil:
			last, again = now, c.now().Add(passwordFresh)
		case gateway.KindOf(err) == gateway.Unavailable:
			again = c.now().Add(lookEvery)
		default:
			return "", err
		}
		return last, nil
	}, nil
}

// PseudonymKeys reads the keys of `vault.pseudoniemen`, by version.
func (c *Client) PseudonymKeys(ctx context.Context) (map[int][]byte, error) {
	keys := make(map[int][]byte, len(c.cfg.Pseudoniemen))
	for version, path := range c.cfg.Pseudoniemen {
		text, err := c.Secret(ctx, path, "sleutel")
		if err != nil {
			return nil, fmt.Errorf("vault.pseudoniemen.%d: %w", version, err)
		}
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(key) < minPseudonymKey {
			return nil, gateway.Errorf(gateway.Invalid, "vault.pseudoniemen.%d: secret %s: sleutel must be base64 of %d bytes or more: openssl rand -base64 32", version, path, minPseudonymKey)
		}
		keys[version] = key
	}
	return keys, nil
}
