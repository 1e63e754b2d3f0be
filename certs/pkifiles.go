package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

const (
	indexFile = "index.json"
	lockFile  = ".lock"

	issuerRoot         = "root"
	issuerIntermediate = "intermediate"
)

// index is what the development PKI remembers: every certificate it issued.
type index struct {
	Internal bool    `json:"internal,omitzero"`
	Number   int64   `json:"crlNumber"` // of the last CRLs
	Certs    []entry `json:"certificates"`
}

type entry struct {
	Serial   string         `json:"serial"` // hexadecimal
	Issuer   string         `json:"issuer"` // issuerRoot or issuerIntermediate
	OIN      gateway.PeerID `json:"oin,omitzero"`
	Name     string         `json:"name,omitzero"` // O, or CN
	NotAfter time.Time      `json:"notAfter"`
	Revoked  time.Time      `json:"revoked,omitzero"`
}

func entryOf(c *x509.Certificate, issuer string) entry {
	name := c.Subject.CommonName
	if len(c.Subject.Organization) > 0 {
		name = c.Subject.Organization[0]
	}
	return entry{
		Serial: hex.EncodeToString(c.SerialNumber.Bytes()), Issuer: issuer,
		OIN: gateway.PeerID(c.Subject.SerialNumber), Name: name, NotAfter: c.NotAfter,
	}
}

// pki is the folder of a development PKI while its lock is held.
type pki struct{ dir string }

// withPKI holds the lock of the folder: two processes that issue or revoke at once must not lose each other's entry.
func withPKI(dir string, do func(*pki) error) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return gateway.Wrap(gateway.Invalid, err, "PKI folder")
	}
	unlock, err := lock(filepath.Join(dir, lockFile))
	if err != nil {
		return gateway.Wrap(gateway.Unavailable, err, "PKI folder "+dir)
	}
	defer unlock()
	return do(&pki{dir: dir})
}

func (p *pki) path(name string) string { return filepath.Join(p.dir, name) }
func (p *pki) exists(name string) bool { return exists(p.path(name)) }
func (p *pki) writeCerts(name string, certs ...*x509.Certificate) error {
	return writeCerts(p.path(name), certs...)
}
func (p *pki) writeKey(name string, key crypto.Signer) error { return writeKey(p.path(name), key) }

func (p *pki) ca(certName, keyName string) (*x509.Certificate, crypto.Signer, error) {
	certs, err := readCerts(p.path(certName))
	if err != nil {
		return nil, nil, err
	}
	key, err := readKey(p.path(keyName))
	if err != nil {
		return nil, nil, err
	}
	return certs[0], key, nil
}

func (p *pki) readIndex() (index, error) {
	raw, err := os.ReadFile(p.path(indexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return index{}, gateway.Errorf(gateway.NotFound, "%s: there is no PKI here; make one with `grensloos pki init`", p.dir)
	}
	if err != nil {
		return index{}, gateway.Wrap(gateway.Internal, err, "PKI index")
	}
	var ix index
	if err := json.Unmarshal(raw, &ix); err != nil {
		return index{}, gateway.Wrap(gateway.Invalid, err, p.path(indexFile))
	}
	return ix, nil
}

func (p *pki) writeIndex(ix index) error {
	raw, err := json.MarshalIndent(ix, "", "  ")
	if err != nil {
		return gateway.Wrap(gateway.Internal, err, "PKI index")
	}
	return writeFile(p.path(indexFile), append(raw, '\n'), 0o600)
}

// writeCRLs signs the list of each CA anew, with the next number.
func (p *pki) writeCRLs(ix index, now time.Time, next time.Duration) error {
	ix.Number++
	if err := p.writeIndex(ix); err != nil { // first: a number is never used twice
		return err
	}
	for _, ca := range []struct{ issuer, cert, key, crl string }{
		{issuerRoot, RootFile, rootKeyFile, RootCRLFile},
		{issuerIntermediate, IntermediateFile, intermediateKeyFile, IntermediateCRLFile},
	} {
		cert, key, err := p.ca(ca.cert, ca.key)
		if err != nil {
			return err
		}
		list := &x509.RevocationList{Number: big.NewInt(ix.Number), ThisUpdate: now, NextUpdate: now.Add(next)}
		for _, e := range ix.Certs {
			if e.Issuer != ca.issuer || e.Revoked.IsZero() {
				continue
			}
			serial, ok := new(big.Int).SetString(e.Serial, 16)
			if !ok {
				return gateway.Errorf(gateway.Invalid, "%s: serial %q is not hexadecimal", p.path(indexFile), e.Serial)
			}
			list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: e.Revoked})
		}
		der, err := x509.CreateRevocationList(rand.Reader, list, cert, key)
		if err != nil {
			return gateway.Wrap(gateway.Internal, err, "sign CRL")
		}
		if err := writeFile(p.path(ca.crl), pem.EncodeToMemory(&pem.Block{Type: pemCRL, Bytes: der}), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func writeCerts(name string, certs ...*x509.Certificate) error {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: c.Raw})...)
	}
	return writeFile(name, out, 0o644)
}

func writeKey(name string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return gateway.Wrap(gateway.Internal, err, "key")
	}
	return writeFile(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func readKey(name string) (crypto.Signer, error) {
	if err := checkKeyMode(name); err != nil {
		return nil, err
	}
	raw, err := readFile(name)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, gateway.Errorf(gateway.Invalid, "%s: no key in PEM found", name)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, name)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, gateway.Errorf(gateway.Invalid, "%s: this key can't sign", name)
	}
	return signer, nil
}

// writeFile replaces a file in one step: whoever reads it sees the old content or the new, also after a crash.
func writeFile(name string, content []byte, mode os.FileMode) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return gateway.Wrap(gateway.Invalid, err, "folder")
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(name)+"-*") // mode 0600
	if err != nil {
		return gateway.Wrap(gateway.Invalid, err, "file")
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already when all went well
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return gateway.Wrap(gateway.Internal, err, "write "+name)
	}
	return nil
}
