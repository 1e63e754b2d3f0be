package vault

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/grensloos/grensloos/gateway"
)

// Key is an ECDSA P-256 key in Transit. It signs, and never leaves Vault. It is safe for concurrent use.
type Key struct {
	client  *Client
	name    string
	version int
	pub     *ecdsa.PublicKey
}

var _ crypto.Signer = (*Key)(nil)

// Key finds a version of a key in Transit, and tries whether it signs.
func (c *Client) Key(ctx context.Context, name string, version int) (*Key, error) {
	u := use{name: "transit key " + name, path: c.cfg.Transit + "/keys/" + name, mend: c.makeKey(name)}
	s, err := c.call(ctx, u, nil)
	if err != nil {
		return nil, err
	}
	if kind, _ := s.Data["type"].(string); kind != "ecdsa-p256" {
		return nil, gateway.Errorf(gateway.Invalid, "vault: %s is of type %.40q, give one of ecdsa-p256: %s", u.name, kind, u.mend)
	}
	if deleted, _ := s.Data["soft_deleted"].(bool); deleted {
		return nil, gateway.Errorf(gateway.NotFound, "vault: %s is deleted: bao write -f %s/keys/%s/soft-delete-restore", u.name, c.cfg.Transit, name)
	}
	versions, _ := s.Data["keys"].(map[string]any)
	this, ok := versions[strconv.Itoa(version)].(map[string]any)
	if !ok {
		return nil, gateway.Errorf(gateway.NotFound, "vault: %s has no version %d (the newest is %v): set vault.groep.versie to one that is there; contracts name the key, so a new version needs new contracts", u.name, version, s.Data["latest_version"])
	}
	text, _ := this["public_key"].(string)
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, gateway.Errorf(gateway.Invalid, "vault: %s: no public key in PEM", u.name)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	pub, ok := parsed.(*ecdsa.PublicKey)
	if err != nil || !ok || pub.Curve != elliptic.P256() {
		return nil, gateway.Errorf(gateway.Invalid, "vault: %s: its public key is not ECDSA P-256", u.name)
	}
	k := &Key{client: c, name: name, version: version, pub: pub}
	// Whether it may sign is found now, not at the first contract or question.
	probe := sha256.Sum256([]byte("grensloos: kan deze sleutel tekenen?"))
	if _, err := k.Sign(nil, probe[:], crypto.SHA256); err != nil {
		return nil, err
	}
	return k, nil
}

func (c *Client) makeKey(name string) string {
	return fmt.Sprintf("restore it from a backup; or, for a peer without contracts, make it: bao write -f %s/keys/%s type=ecdsa-p256", c.cfg.Transit, name)
}

// Public implements crypto.Signer.
func (k *Key) Public() crypto.PublicKey { return k.pub }

// Sign implements crypto.Signer: a signature in ASN.1 over a digest. It verifies what it gives: a key that was replaced under the
// same name is found here, not at a peer.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	hash, ok := map[crypto.Hash]string{crypto.SHA256: "sha2-256", crypto.SHA384: "sha2-384", crypto.SHA512: "sha2-512"}[opts.HashFunc()]
	if !ok || len(digest) != opts.HashFunc().Size() {
		return nil, gateway.Errorf(gateway.Internal, "vault: transit key %s signs digests of SHA-256, SHA-384 or SHA-512", k.name)
	}
	c := k.client
	u := use{name: "transit key " + k.name, path: c.cfg.Transit + "/sign/" + k.name, write: true, mend: c.makeKey(k.name)}
	s, err := c.call(context.Background(), u, map[string]any{
		"input": base64.StdEncoding.EncodeToString(digest), "prehashed": true, "hash_algorithm": hash,
		"marshaling_algorithm": "asn1", "key_version": k.version,
	})
	if err != nil {
		return nil, err
	}
	text, _ := s.Data["signature"].(string)
	sig, err := base64.StdEncoding.DecodeString(text[strings.LastIndexByte(text, ':')+1:])
	if err != nil || !ecdsa.VerifyASN1(k.pub, digest, sig) {
		return nil, gateway.Errorf(gateway.Conflict, "vault: %s signs with another key than it did when this peer started: it was replaced under the same name; restore it from a backup (contracts name the old key), or restart with a certificate over the new one", u.name)
	}
	return sig, nil
}
