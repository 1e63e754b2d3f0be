package certs

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Identity is the certificate and key with which this process shows who it is: a peer's group certificate, or the certificate of
// a listener on its own network. It is safe for concurrent use and can be replaced while it is in use.
type Identity struct {
	certFile, keyFile string

	mu   sync.Mutex // one reload at a time
	seen string     // fingerprint at the last attempt; guarded by mu

	pair atomic.Pointer[Pair]
}

// Pair is a certificate with its key, as they were at one moment. Take one Pair for work that needs both to belong together.
type Pair struct {
	Key   crypto.Signer
	Chain []*x509.Certificate // leaf first, then intermediates, as in the file
	tls   *tls.Certificate
}

// Cert is the leaf.
func (p *Pair) Cert() *x509.Certificate { return p.Chain[0] }

// LoadIdentity reads a certificate (PEM, leaf first, intermediates after it) and its private key (PEM: PKCS #8, SEC 1 or PKCS #1).
// The error names the file: a key that others can read, a key of another certificate, a chain out of order.
func LoadIdentity(certFile, keyFile string) (*Identity, error) {
	i := &Identity{certFile: certFile, keyFile: keyFile}
	if err := i.Reload(); err != nil {
		return nil, err
	}
	return i, nil
}

// Pair gives certificate and key that belong together.
func (i *Identity) Pair() *Pair { return i.pair.Load() }

// Signer is the private key.
func (i *Identity) Signer() crypto.Signer { return i.Pair().Key }

// Cert is the leaf certificate.
func (i *Identity) Cert() *x509.Certificate { return i.Pair().Cert() }

// Chain is the leaf certificate followed by the intermediates of the file.
func (i *Identity) Chain() []*x509.Certificate { return i.Pair().Chain }

// Peer is the peer that the certificate names; an error of kind Invalid for a certificate of the own network.
func (i *Identity) Peer() (gateway.Peer, error) { return gateway.PeerFrom(i.Cert()) }

// Reload reads the files again, now. On an error the identity of before stays.
func (i *Identity) Reload() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.reloadLocked()
}

func (i *Identity) reloadLocked() error {
	i.seen = fingerprint([]string{i.certFile, i.keyFile})
	pair, err := loadPair(i.certFile, i.keyFile)
	if err != nil {
		return err
	}
	i.pair.Store(pair)
	return nil
}

// Watch looks at the files every so often and takes over a new certificate. It returns when ctx ends.
func (i *Identity) Watch(ctx context.Context, every time.Duration, log *slog.Logger) {
	poll(ctx, every, func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.seen == fingerprint([]string{i.certFile, i.keyFile}) {
			return
		}
		if err := i.reloadLocked(); err != nil {
			log.Error("certificate not reloaded; the one of before stays in use", slog.String("file", i.certFile), slog.Any("error", err))
			return
		}
		log.Info("certificate reloaded", slog.String("file", i.certFile), slog.Time("notAfter", i.Cert().NotAfter))
	})
}

func loadPair(certFile, keyFile string) (*Pair, error) {
	chain, err := readCerts(certFile)
	if err != nil {
		return nil, err
	}
	for n := range chain[:len(chain)-1] {
		if err := chain[n].CheckSignatureFrom(chain[n+1]); err != nil {
			return nil, gateway.Wrap(gateway.Invalid, err, certFile+": put the leaf first and each issuer after what it issued")
		}
	}
	if err := checkKeyMode(keyFile); err != nil {
		return nil, err
	}
	rawKey, err := readFile(keyFile)
	if err != nil {
		return nil, err
	}
	var rawCerts []byte
	for _, c := range chain {
		rawCerts = append(rawCerts, pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: c.Raw})...)
	}
	both, err := tls.X509KeyPair(rawCerts, rawKey)
	if err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "certificate "+certFile+" with key "+keyFile)
	}
	key, ok := both.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, gateway.Errorf(gateway.Invalid, "key %s: can't sign", keyFile)
	}
	if err := fitLeaf(chain[0]); err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, certFile)
	}
	return &Pair{Key: key, Chain: chain, tls: &both}, nil
}

// checkKeyMode refuses a key that every account of the machine can read, or that others than its owner can change. Reading by the
// group is allowed: that is how Kubernetes and systemd hand over secrets.
func checkKeyMode(keyFile string) error {
	info, err := os.Stat(keyFile)
	if err != nil {
		return gateway.Wrap(gateway.Invalid, err, "key file")
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o027 != 0 {
		return gateway.Errorf(gateway.Invalid, "key %s: mode %04o lets others at it; run chmod 600", keyFile, mode)
	}
	return nil
}
