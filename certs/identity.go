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
	certFile, keyFile string        // certFile empty: the identity is not of files; Replace gives the next
	key               crypto.Signer // what goes with certFile when the key is not in a file; else nil

	mu   sync.Mutex // one reload at a time
	seen string     // fingerprint of the files that are in use; guarded by mu

	pair   atomic.Pointer[Pair]
	before atomic.Pointer[Pair] // the one that pair replaced
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

// LoadCertificate is LoadIdentity for a key that stands elsewhere, such as in Vault.
func LoadCertificate(certFile string, key crypto.Signer) (*Identity, error) {
	i := &Identity{certFile: certFile, key: key}
	if err := i.Reload(); err != nil {
		return nil, err
	}
	return i, nil
}

// NewIdentity is an identity that is in no file. What renews its certificate calls Replace.
func NewIdentity(key crypto.Signer, chain []*x509.Certificate) (*Identity, error) {
	i := &Identity{}
	if err := i.Replace(key, chain); err != nil {
		return nil, err
	}
	return i, nil
}

// Replace takes over a new certificate, leaf first, with its key. Open connections stay; handshakes from now on show the new one.
// On an error the identity of before stays.
func (i *Identity) Replace(key crypto.Signer, chain []*x509.Certificate) error {
	if len(chain) == 0 || key == nil {
		return gateway.Errorf(gateway.Invalid, "certificate: give a key and its certificate")
	}
	pair, err := pairOf(key, chain, "certificate "+chain[0].Subject.CommonName)
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.take(pair)
	return nil
}

func (i *Identity) take(pair *Pair) {
	if old := i.pair.Load(); old != nil && !old.Cert().Equal(pair.Cert()) {
		i.before.Store(old)
	}
	i.pair.Store(pair)
}

// Recent is the leaf certificate and the one that it replaced: what was signed under that one a moment ago is ours too.
func (i *Identity) Recent() []*x509.Certificate {
	all := []*x509.Certificate{i.Cert()}
	if old := i.before.Load(); old != nil {
		all = append(all, old.Cert())
	}
	return all
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
	if i.certFile == "" {
		return nil
	}
	seen := fingerprint([]string{i.certFile, i.keyFile}) // taken before reading
	var pair *Pair
	var err error
	if i.key != nil {
		var chain []*x509.Certificate
		if chain, err = readCerts(i.certFile); err == nil {
			pair, err = pairOf(i.key, chain, i.certFile)
		}
	} else {
		pair, err = loadPair(i.certFile, i.keyFile)
	}
	if err != nil {
		return err
	}
	i.take(pair)
	i.seen = seen
	return nil
}

// Watch looks at the files every so often and takes over a new certificate. It returns when ctx ends.
func (i *Identity) Watch(ctx context.Context, every time.Duration, log *slog.Logger) {
	told := "" // fingerprint of the files that were reported as unreadable: tried at every look, reported once
	poll(ctx, every, func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		now := fingerprint([]string{i.certFile, i.keyFile})
		if i.certFile == "" || i.seen == now {
			return
		}
		if err := i.reloadLocked(); err != nil {
			if told != now {
				told = now
				log.Error("certificate not reloaded; the one of before stays in use, and this is tried again", slog.String("file", i.certFile), slog.Any("error", err))
			}
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
	if err := fitChain(chain, certFile); err != nil {
		return nil, err
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

// pairOf is loadPair for a key that can only sign. What names the certificate in errors.
func pairOf(key crypto.Signer, chain []*x509.Certificate, what string) (*Pair, error) {
	if err := fitChain(chain, what); err != nil {
		return nil, err
	}
	if pub, ok := chain[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(key.Public()) {
		return nil, gateway.Errorf(gateway.Invalid, "%s: it is of another key", what)
	}
	if err := fitLeaf(chain[0]); err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, what)
	}
	both := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		both.Certificate = append(both.Certificate, c.Raw)
	}
	return &Pair{Key: key, Chain: chain, tls: both}, nil
}

func fitChain(chain []*x509.Certificate, what string) error {
	for n := range chain[:len(chain)-1] {
		if err := chain[n].CheckSignatureFrom(chain[n+1]); err != nil {
			return gateway.Wrap(gateway.Invalid, err, what+": put the leaf first and each issuer after what it issued")
		}
	}
	return nil
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
