package certs

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

const (
	maxChain    = 8    // certificates in a chain that a stranger hands us
	maxVerdicts = 4096 // remembered per trust state; far more than a group has certificates
	minRSABits  = 2048 // NCSC TLS guidelines: the least that is "voldoende"
	maxRSABits  = 8192 // as crypto/tls: a key of 256,000 bits, which anybody can write down, takes seconds for one signature
	maxFile     = 64e6 // bytes of an anchor or CRL file; a CRL of 100,000 entries is 4 MB
	pemCRL      = "X509 CRL"
	pemCert     = "CERTIFICATE"
)

// trust is what was read from the files at one moment. Apart from the memory of verdicts it never changes.
type trust struct {
	group    gateway.GroupID
	who      func(*x509.Certificate) (gateway.Peer, error) // whose a leaf certificate is
	roots    *x509.CertPool
	crls     map[string][]*crl // by raw issuer name, newest number first
	optional bool              // certificates of an issuer without any CRL pass

	verdicts sync.Map     // verdictKey -> *verdict
	recent   sync.Map     // presented -> *verdict, the same by the very certificates of a connection
	count    atomic.Int64 // of verdicts

	recentCount atomic.Int64 // of recent
}

// verdictKey is the hash of all certificates as they were presented, and what they were presented for.
type verdictKey struct {
	chain [sha256.Size]byte
	use   x509.ExtKeyUsage
}

// presented is a chain as a connection holds it: the certificates themselves, which nobody changes, so that they need not be hashed
// again for each request.
type presented struct {
	chain [maxChain]*x509.Certificate
	use   x509.ExtKeyUsage
}

// verdict is a chain found good, and the window in which nothing but a new trust state can change that.
type verdict struct {
	peer                gateway.Peer
	notBefore, notAfter time.Time // of the whole chain
	crlUntil            time.Time // the earliest nextUpdate; zero if no CRL was consulted
}

func (v *verdict) holds(at, now time.Time) bool {
	return !at.Before(v.notBefore) && !at.After(v.notAfter) && (v.crlUntil.IsZero() || now.Before(v.crlUntil))
}

// crl is one revocation list. Whether the issuer that it names signed it is checked when a chain brings that issuer.
type crl struct {
	file    string
	number  *big.Int
	next    time.Time
	revoked map[string]struct{} // serial numbers, big-endian bytes
	list    *x509.RevocationList

	signers sync.Map // SHA-256 of an issuer certificate -> error (nil: signed by it)
}

func loadTrust(group gateway.GroupID, cfg Config) (*trust, error) {
	t := &trust{group: group, who: gateway.PeerFrom, roots: x509.NewCertPool(), crls: map[string][]*crl{}, optional: cfg.CRLsNietVerplicht}
	if len(cfg.Ankers) == 0 {
		return nil, gateway.Errorf(gateway.Invalid, "ankers: none given; name the PEM file with the root certificate of group %s", group)
	}
	for _, name := range cfg.Ankers {
		certs, err := readCerts(name)
		if err != nil {
			return nil, err
		}
		for _, c := range certs {
			if !c.IsCA || !c.BasicConstraintsValid {
				return nil, gateway.Errorf(gateway.Invalid, "ankers: %s: %q is not the certificate of a CA; an anchor is a root certificate", name, c.Subject.CommonName)
			}
			t.roots.AddCert(c)
		}
	}
	if len(cfg.CRLs) == 0 && !cfg.CRLsNietVerplicht {
		return nil, gateway.Errorf(gateway.Invalid, "crls: none given; name the CRL files of the root and of each intermediate, or set crlsNietVerplicht: true to do without")
	}
	for _, name := range cfg.CRLs {
		lists, err := readCRLs(name)
		if err != nil {
			return nil, err
		}
		for _, l := range lists {
			t.crls[string(l.list.RawIssuer)] = append(t.crls[string(l.list.RawIssuer)], l)
		}
	}
	t.sort()
	return t, nil
}

func (t *trust) sort() {
	for _, lists := range t.crls {
		slices.SortStableFunc(lists, func(a, b *crl) int {
			return cmp.Or(b.number.Cmp(a.number), b.list.ThisUpdate.Compare(a.list.ThisUpdate))
		})
	}
}

// keepNewer takes over the lists of old that have a higher number than what the files hold now, so that putting back an old file
// does not give a revoked certificate its life back; also lists that vanished from their file. It returns what it kept.
func (t *trust) keepNewer(old *trust) []*crl {
	if old == nil {
		return nil
	}
	var kept []*crl
	for issuer, lists := range old.crls {
		for _, l := range lists {
			replaced := slices.ContainsFunc(t.crls[issuer], func(n *crl) bool {
				return bytes.Equal(n.list.AuthorityKeyId, l.list.AuthorityKeyId) && n.number.Cmp(l.number) >= 0
			})
			if !replaced {
				kept = append(kept, l)
			}
		}
	}
	for _, l := range kept {
		t.crls[string(l.list.RawIssuer)] = append(t.crls[string(l.list.RawIssuer)], l)
	}
	t.sort()
	return kept
}

func (t *trust) stale(now time.Time) []*crl {
	var stale []*crl
	for _, lists := range t.crls {
		for _, l := range lists {
			if !now.Before(l.next) {
				stale = append(stale, l)
			}
		}
	}
	return stale
}

// verify judges a chain, leaf first. Validity counts at the moment at, the freshness of CRLs now.
func (t *trust) verify(chain []*x509.Certificate, at, now time.Time, use x509.ExtKeyUsage) (*verdict, error) {
	if len(chain) == 0 || slices.Contains(chain, nil) {
		return nil, gateway.Errorf(gateway.Denied, "certificate: none given")
	}
	if len(chain) > maxChain {
		return nil, gateway.Errorf(gateway.Denied, "certificate chain: %d certificates; send the leaf and its intermediates, at most %d", len(chain), maxChain)
	}
	same := presented{use: use}
	copy(same.chain[:], chain)
	if known, ok := t.recent.Load(same); ok {
		if v := known.(*verdict); v.holds(at, now) {
			return v, nil
		}
	}
	key := keyOf(chain, use)
	if known, ok := t.verdicts.Load(key); ok {
		if v := known.(*verdict); v.holds(at, now) {
			t.remember(same, v)
			return v, nil
		}
	}
	v, err := t.judge(chain, at, now, use)
	if err != nil {
		return nil, err
	}
	if t.count.Add(1) > maxVerdicts {
		t.verdicts.Clear()
		t.count.Store(1)
	}
	t.verdicts.Store(key, v)
	t.remember(same, v)
	return v, nil
}

// remember keeps a verdict by the certificates of a connection, for as many as there may be verdicts.
func (t *trust) remember(same presented, v *verdict) {
	if t.recentCount.Add(1) > maxVerdicts {
		t.recent.Clear()
		t.recentCount.Store(1)
	}
	t.recent.Store(same, v)
}

func keyOf(chain []*x509.Certificate, use x509.ExtKeyUsage) verdictKey {
	if len(chain) == 1 {
		return verdictKey{sha256.Sum256(chain[0].Raw), use}
	}
	h := sha256.New()
	for _, c := range chain {
		_, _ = h.Write(c.Raw)
	}
	key := verdictKey{use: use}
	h.Sum(key.chain[:0])
	return key
}

func (t *trust) judge(chain []*x509.Certificate, at, now time.Time, use x509.ExtKeyUsage) (*verdict, error) {
	leaf := chain[0]
	for _, c := range chain { // before any signature in the chain is looked at
		if pub, ok := c.PublicKey.(*rsa.PublicKey); ok && pub.N.BitLen() > maxRSABits {
			return nil, gateway.Errorf(gateway.Denied, "certificate chain: RSA key of %d bits; at most %d", pub.N.BitLen(), maxRSABits)
		}
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: t.roots, Intermediates: intermediates, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{use}})
	if err != nil {
		return nil, t.explain(err, at)
	}
	if err := fitLeaf(leaf); err != nil {
		return nil, err
	}
	peer, err := t.who(leaf)
	if err != nil {
		return nil, gateway.Wrap(gateway.Denied, err, "certificate identity")
	}
	var refused error
	for _, path := range chains {
		v := &verdict{peer: peer, notBefore: leaf.NotBefore, notAfter: leaf.NotAfter}
		if err := t.checkRevocation(v, path, now); err != nil {
			refused = cmp.Or(refused, err)
			continue
		}
		return v, nil
	}
	return nil, refused
}

// checkRevocation holds every certificate of a verified path, except the root, against the CRL of its issuer, and narrows v.
func (t *trust) checkRevocation(v *verdict, path []*x509.Certificate, now time.Time) error {
	for i, c := range path {
		v.notBefore = latest(v.notBefore, c.NotBefore)
		v.notAfter = earliest(v.notAfter, c.NotAfter)
		if i == len(path)-1 {
			break
		}
		issuer := path[i+1]
		list, err := t.crlOf(issuer)
		if err != nil {
			return err
		}
		if list == nil {
			if t.optional {
				continue
			}
			return gateway.Errorf(gateway.Unavailable, "no CRL of %q: add its file to crls", issuer.Subject.CommonName)
		}
		// Revoked goes before stale: a list that is too old to clear anyone still tells who was revoked.
		if _, revoked := list.revoked[string(c.SerialNumber.Bytes())]; revoked {
			if i > 0 {
				return gateway.Errorf(gateway.Denied, "certificate of %s: its issuer %q is revoked", v.peer.ID, c.Subject.CommonName)
			}
			return gateway.Errorf(gateway.Denied, "certificate of %s is revoked: ask %q for a new one", v.peer.ID, issuer.Subject.CommonName)
		}
		if !now.Before(list.next) {
			return gateway.Errorf(gateway.Unavailable, "CRL of %q is past its nextUpdate (%s): fetch a new one into %s",
				issuer.Subject.CommonName, list.next.UTC().Format(time.RFC3339), list.file)
		}
		if v.crlUntil.IsZero() || list.next.Before(v.crlUntil) {
			v.crlUntil = list.next
		}
	}
	return nil
}

// crlOf gives the newest list that issuer signed; nil if no list names it. A list that names it and that it did not sign is an
// error when there is no other: somebody meant to revoke something.
func (t *trust) crlOf(issuer *x509.Certificate) (*crl, error) {
	var refused error
	for _, l := range t.crls[string(issuer.RawSubject)] {
		err := l.signedBy(issuer)
		if err == nil {
			return l, nil
		}
		if len(l.list.AuthorityKeyId) > 0 && len(issuer.SubjectKeyId) > 0 && !bytes.Equal(l.list.AuthorityKeyId, issuer.SubjectKeyId) {
			continue // another CA of the same name
		}
		refused = gateway.Wrap(gateway.Unavailable, err, "CRL in "+l.file+" is not signed by its issuer")
	}
	return nil, refused
}

func (l *crl) signedBy(issuer *x509.Certificate) error {
	key := sha256.Sum256(issuer.Raw)
	if known, ok := l.signers.Load(key); ok {
		err, _ := known.(error)
		return err
	}
	err := l.list.CheckSignatureFrom(issuer)
	if err != nil {
		l.signers.Store(key, err)
	} else {
		l.signers.Store(key, true)
	}
	return err
}

// fitLeaf refuses certificates that chain to the anchor and still are no certificate of a peer.
func fitLeaf(leaf *x509.Certificate) error {
	if leaf.IsCA {
		return gateway.Errorf(gateway.Denied, "certificate: this is the certificate of a CA, not of a peer")
	}
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return gateway.Errorf(gateway.Denied, "certificate: its key usage lacks digitalSignature")
	}
	switch pub := leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if bits := pub.Curve.Params().BitSize; bits < 256 {
			return gateway.Errorf(gateway.Denied, "certificate: ECDSA key of %d bits; use P-256, P-384 or P-521", bits)
		}
	case *rsa.PublicKey:
		if bits := pub.N.BitLen(); bits < minRSABits {
			return gateway.Errorf(gateway.Denied, "certificate: RSA key of %d bits; use at least %d", bits, minRSABits)
		}
	default:
		return gateway.Errorf(gateway.Denied, "certificate: key type %T; FSC signs with RSA or ECDSA", pub)
	}
	return nil
}

// explain says in words of the operator why x509 refused.
func (t *trust) explain(err error, at time.Time) error {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return gateway.Wrap(gateway.Denied, err, "certificate is not issued under an anchor of group "+string(t.group))
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Cert != nil {
		switch {
		case invalid.Reason == x509.Expired && at.Before(invalid.Cert.NotBefore):
			return gateway.Errorf(gateway.Denied, "certificate is not valid before %s: check the clock", invalid.Cert.NotBefore.UTC().Format(time.RFC3339))
		case invalid.Reason == x509.Expired:
			return gateway.Errorf(gateway.Denied, "certificate expired on %s: renew it", invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
		case invalid.Reason == x509.IncompatibleUsage:
			return gateway.Errorf(gateway.Denied, "certificate: its extended key usage does not fit; a peer needs clientAuth and serverAuth")
		}
	}
	return gateway.Wrap(gateway.Denied, err, "certificate")
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// readFile reads a PEM or DER file of a bounded size.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "certificate file")
	}
	if info.Size() > maxFile {
		return nil, gateway.Errorf(gateway.Invalid, "%s: %d bytes; at most %d", name, info.Size(), int64(maxFile))
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "certificate file")
	}
	return raw, nil
}

// readCerts reads all certificates of a PEM file, in order; at least one.
func readCerts(name string) ([]*x509.Certificate, error) {
	raw, err := readFile(name)
	if err != nil {
		return nil, err
	}
	return parseCerts(name, raw)
}

func parseCerts(name string, raw []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != pemCert {
			return nil, gateway.Errorf(gateway.Invalid, "%s: holds a %q; only %s blocks belong here", name, block.Type, pemCert)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, gateway.Wrap(gateway.Invalid, err, name)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, gateway.Errorf(gateway.Invalid, "%s: no certificate in PEM found", name)
	}
	return certs, nil
}

// readCRLs reads one list in DER, or all lists of a PEM file; at least one.
func readCRLs(name string) ([]*crl, error) {
	raw, err := readFile(name)
	if err != nil {
		return nil, err
	}
	var ders [][]byte
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != pemCRL {
			return nil, gateway.Errorf(gateway.Invalid, "crls: %s: holds a %q; only %s blocks belong here", name, block.Type, pemCRL)
		}
		ders = append(ders, block.Bytes)
	}
	if len(ders) == 0 {
		ders = [][]byte{raw}
	}
	lists := make([]*crl, 0, len(ders))
	for _, der := range ders {
		l, err := parseCRL(name, der)
		if err != nil {
			return nil, err
		}
		lists = append(lists, l)
	}
	return lists, nil
}

// parseCRL refuses lists that it can't read in full: without nextUpdate or number, and with a critical extension, which means a
// delta or partitioned list that does not name every revoked certificate (RFC 5280, CRL extensions).
func parseCRL(name string, der []byte) (*crl, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "crls: "+name)
	}
	if list.NextUpdate.IsZero() || list.Number == nil {
		return nil, gateway.Errorf(gateway.Invalid, "crls: %s: a list without nextUpdate or number; RFC 5280 demands both", name)
	}
	for _, ext := range list.Extensions {
		if ext.Critical {
			return nil, gateway.Errorf(gateway.Invalid, "crls: %s: critical extension %s; give the full list of the issuer, not a delta or a part", name, ext.Id)
		}
	}
	l := &crl{
		file: name, number: list.Number, next: list.NextUpdate, list: list,
		revoked: make(map[string]struct{}, len(list.RevokedCertificateEntries)),
	}
	for _, entry := range list.RevokedCertificateEntries {
		for _, ext := range entry.Extensions {
			if ext.Critical {
				return nil, gateway.Errorf(gateway.Invalid, "crls: %s: an entry has critical extension %s; give the issuer's own list, not an indirect one", name, ext.Id)
			}
		}
		l.revoked[string(entry.SerialNumber.Bytes())] = struct{}{}
	}
	list.RevokedCertificateEntries = nil // the map has them
	return l, nil
}
