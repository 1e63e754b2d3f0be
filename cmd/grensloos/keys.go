package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"

	"github.com/grensloos/grensloos/gateway"
)

// maxKeyFile bounds a file with a key.
const maxKeyFile = 64 << 10

// readSecret reads a file that nobody else may read.
func readSecret(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: others may read it (mode %04o): chmod 600", file, info.Mode().Perm())
	}
	return io.ReadAll(io.LimitReader(f, maxKeyFile))
}

// loadPseudonymKeys reads the keys of the configuration's `pseudoniemen`, or of `vault.pseudoniemen`.
func loadPseudonymKeys(cfg *Config) (gateway.PseudonymKeys, error) {
	keys, err := ownPseudonymKeys(cfg)
	if err != nil {
		return gateway.PseudonymKeys{}, err
	}
	k, err := gateway.NewPseudonymKeys(keys)
	if err != nil {
		return k, fmt.Errorf("pseudoniemen: %w", err)
	}
	return k, nil
}

// loadPublicKey reads a PEM file with a public key (PKIX).
func loadPublicKey(file string) (crypto.PublicKey, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("%s: no PEM block PUBLIC KEY", file)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

// loadPrivateKey reads a PEM file with a private key (PKCS #8), which only we may read.
func loadPrivateKey(file string) (crypto.Signer, error) {
	raw, err := readSecret(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s: no PEM block PRIVATE KEY", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: not a PKCS #8 key", file)
	}
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		return k, nil
	case *rsa.PrivateKey:
		return k, nil
	}
	return nil, fmt.Errorf("%s: a key of type %T; give ECDSA or RSA", file, key)
}
