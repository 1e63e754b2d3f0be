package vault

import (
	"context"
	"encoding/base64"
	"fmt"

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
