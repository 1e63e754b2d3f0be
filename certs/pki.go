package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// KeyType is the kind of key that the development PKI makes.
type KeyType string

// The kinds of key.
const (
	ECDSAP256 KeyType = "ecdsa-p256" // the default
	RSA3072   KeyType = "rsa-3072"
)

// What the development PKI gives when nothing else is asked.
const (
	DefaultCADays   = 3650
	DefaultLeafDays = 365
	DefaultCRLNext  = 30 * 24 * time.Hour

	backdate = 5 * time.Minute // certificates start this long ago, for clocks that are behind
)

// Files of the development PKI, within its folder.
const (
	RootFile            = "root.pem"         // the trust anchor: what goes into `ankers`
	RootCRLFile         = "root.crl"         // goes into `crls`, as does
	IntermediateCRLFile = "intermediate.crl" // this one
	IntermediateFile    = "intermediate.pem" // issues the leaf certificates
	rootKeyFile         = "root-key.pem"
	intermediateKeyFile = "intermediate-key.pem"

	CertFile = "cert.pem" // of an issued certificate: leaf and intermediate
	KeyFile  = "key.pem"  // of an issued certificate
)

// InitOptions say what kind of development PKI InitPKI makes.
type InitOptions struct {
	Name     string  // of the group or organisation, in the names of the CAs; default "Grensloos development"
	Days     int     // validity of root and intermediate; default DefaultCADays
	KeyType  KeyType // of root and intermediate; default ECDSAP256
	Internal bool    // for a peer's own network: certificates name hosts, no OIN
	Force    bool    // replace the PKI that is there; certificates of before stop being trusted
	Now      time.Time
}

// Request asks for a certificate.
type Request struct {
	OIN      gateway.PeerID // subject serialNumber; 20 digits. Not for an internal PKI.
	Name     string         // subject O: the organisation. Not needed for an internal PKI.
	Hosts    []string       // DNS names for the SAN; at least one host or IP address
	IPs      []net.IP       // IP addresses for the SAN
	Out      string         // folder for cert.pem and key.pem; default issued/<OIN or first host> in the PKI's folder
	Days     int            // validity; default DefaultLeafDays, never longer than the intermediate's
	KeyType  KeyType        // default ECDSAP256
	ReuseKey bool           // renew with the key that is in Out: contracts that name its thumbprint stay good
	Internal bool           // must be what the PKI was made for
	Roles    []Role         // of an internal certificate: the roles of peer OIN that its process runs
	Force    bool           // overwrite cert.pem and key.pem in Out
	Now      time.Time      // moment of issue; default now
}

// Issued is what Issue made.
type Issued struct {
	CertFile, KeyFile string
	Serial            string // hexadecimal, for Revoke
	NotAfter          time.Time
}

// InitPKI makes a development PKI in dir: a root, an intermediate that issues, and their CRLs. It is no substitute for
// PKIoverheid: keys are plain files (mode 0600), and a root that never leaves a laptop vouches for nobody. It refuses, kind
// Conflict, a folder that already has one.
func InitPKI(dir string, o InitOptions) error {
	if o.Name == "" {
		o.Name = "Grensloos development"
	}
	if o.Days == 0 {
		o.Days = DefaultCADays
	}
	if o.Days < 1 {
		return gateway.Errorf(gateway.Invalid, "days %d: give at least 1", o.Days)
	}
	now := orNow(o.Now)
	return withPKI(dir, func(p *pki) error {
		if p.exists(RootFile) || p.exists(rootKeyFile) || p.exists(indexFile) {
			if !o.Force {
				return gateway.Errorf(gateway.Conflict, "%s: there is a PKI already; use another folder, or force to replace it (its certificates stop being trusted)", dir)
			}
		}
		rootKey, err := newKey(o.KeyType)
		if err != nil {
			return err
		}
		interKey, err := newKey(o.KeyType)
		if err != nil {
			return err
		}
		until := now.AddDate(0, 0, o.Days)
		rootCert, err := sign(&x509.Certificate{
			Subject:   caName(o.Name, "root"),
			NotBefore: now.Add(-backdate), NotAfter: until, IsCA: true, BasicConstraintsValid: true, MaxPathLen: 1,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}, nil, rootKey.Public(), rootKey)
		if err != nil {
			return err
		}
		interCert, err := sign(&x509.Certificate{
			Subject:   caName(o.Name, "intermediate"),
			NotBefore: now.Add(-backdate), NotAfter: until, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}, rootCert, interKey.Public(), rootKey)
		if err != nil {
			return err
		}
		ix := index{Internal: o.Internal, Certs: []entry{entryOf(interCert, issuerRoot)}}
		for _, write := range []func() error{
			func() error { return p.writeKey(rootKeyFile, rootKey) },
			func() error { return p.writeKey(intermediateKeyFile, interKey) },
			func() error { return p.writeCerts(RootFile, rootCert) },
			func() error { return p.writeCerts(IntermediateFile, interCert) },
			func() error { return p.writeIndex(ix) },
			func() error { return p.writeCRLs(ix, now, DefaultCRLNext) },
		} {
			if err := write(); err != nil {
				return err
			}
		}
		return nil
	})
}

// Issue makes a certificate with clientAuth and serverAuth (internal: serverAuth only) and writes it, with its intermediate, and
// its key into r.Out. It refuses, kind Conflict, to overwrite.
func Issue(dir string, r Request) (Issued, error) {
	if r.Days == 0 {
		r.Days = DefaultLeafDays
	}
	now := orNow(r.Now)
	template, err := r.template(now)
	if err != nil {
		return Issued{}, err
	}
	if r.Out == "" {
		r.Out = filepath.Join(dir, "issued", r.folder())
	}
	made := Issued{CertFile: filepath.Join(r.Out, CertFile), KeyFile: filepath.Join(r.Out, KeyFile)}
	err = withPKI(dir, func(p *pki) error {
		ix, err := p.readIndex()
		if err != nil {
			return err
		}
		switch {
		case ix.Internal && !r.Internal:
			return gateway.Errorf(gateway.Invalid, "%s: this PKI is for an own network; ask for an internal certificate, or use the PKI of the group", dir)
		case !ix.Internal && r.Internal:
			return gateway.Errorf(gateway.Invalid, "%s: this PKI is the group's; make another for the own network (init with intern)", dir)
		}
		issuer, issuerKey, err := p.ca(IntermediateFile, intermediateKeyFile)
		if err != nil {
			return err
		}
		template.NotAfter = earliest(template.NotAfter, issuer.NotAfter)
		key, isNew, err := r.key(made)
		if err != nil {
			return err
		}
		cert, err := sign(template, issuer, key.Public(), issuerKey)
		if err != nil {
			return err
		}
		made.Serial, made.NotAfter = hex.EncodeToString(cert.SerialNumber.Bytes()), cert.NotAfter
		ix.Certs = append(ix.Certs, entryOf(cert, issuerIntermediate))
		if err := p.writeIndex(ix); err != nil { // first: a certificate that is not in the index can't be revoked
			return err
		}
		if isNew {
			if err := writeKey(made.KeyFile, key); err != nil {
				return err
			}
		}
		return writeCerts(made.CertFile, cert, issuer)
	})
	if err != nil {
		return Issued{}, err
	}
	return made, nil
}

// template checks the request and says it in X.509.
func (r Request) template(now time.Time) (*x509.Certificate, error) {
	if r.Days < 1 {
		return nil, gateway.Errorf(gateway.Invalid, "days %d: give at least 1", r.Days)
	}
	if len(r.Hosts) == 0 && len(r.IPs) == 0 {
		return nil, gateway.Errorf(gateway.Invalid, "hosts: give at least one DNS name or IP address under which the certificate is used")
	}
	for _, host := range r.Hosts {
		if !validHost(host) {
			return nil, gateway.Errorf(gateway.Invalid, "host %.80q: give a DNS name, without scheme or port", host)
		}
	}
	for _, ip := range r.IPs {
		if len(ip) != net.IPv4len && len(ip) != net.IPv6len {
			return nil, gateway.Errorf(gateway.Invalid, "ip: %q is no IP address", ip.String())
		}
	}
	t := &x509.Certificate{
		NotBefore: now.Add(-backdate), NotAfter: now.AddDate(0, 0, r.Days), BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    r.Hosts, IPAddresses: r.IPs,
	}
	if len(r.Hosts) > 0 && len(r.Hosts[0]) <= 64 { // the upper bound of CN in X.520
		t.Subject.CommonName = r.Hosts[0]
	}
	if r.Name != "" {
		t.Subject.Organization = []string{r.Name}
	}
	if r.Internal {
		return r.internal(t)
	}
	if len(r.Roles) > 0 {
		return nil, gateway.Errorf(gateway.Invalid, "rol: only a certificate of the own network names roles")
	}
	if _, err := gateway.ParsePeerID(string(r.OIN)); err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "oin")
	}
	if strings.TrimSpace(r.Name) == "" {
		return nil, gateway.Errorf(gateway.Invalid, "name: give the name of the organisation")
	}
	t.Subject.Country = []string{"NL"}
	t.Subject.SerialNumber = string(r.OIN)
	t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	return t, nil
}

// internal is a certificate of the own network: of hosts, or of the roles of one peer, which also call each other.
func (r Request) internal(t *x509.Certificate) (*x509.Certificate, error) {
	switch {
	case len(r.Roles) == 0 && r.OIN != "":
		return nil, gateway.Errorf(gateway.Invalid, "oin: a certificate of the own network names no peer, unless it names roles; leave it out")
	case len(r.Roles) == 0:
		return t, nil
	}
	if _, err := gateway.ParsePeerID(string(r.OIN)); err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "oin")
	}
	for _, role := range r.Roles {
		uri, err := role.uri(r.OIN)
		if err != nil {
			return nil, err
		}
		t.URIs = append(t.URIs, uri)
	}
	t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	return t, nil
}

func (r Request) folder() string {
	switch {
	case len(r.Roles) > 0:
		return string(r.Roles[0])
	case r.OIN != "":
		return string(r.OIN)
	case len(r.Hosts) > 0:
		return strings.TrimPrefix(r.Hosts[0], "*.")
	}
	return strings.ReplaceAll(r.IPs[0].String(), ":", "-")
}

// key gives the key to certify and whether it is new.
func (r Request) key(made Issued) (crypto.Signer, bool, error) {
	if r.ReuseKey {
		key, err := readKey(made.KeyFile)
		return key, false, err
	}
	for _, name := range []string{made.CertFile, made.KeyFile} {
		if exists(name) && !r.Force {
			return nil, false, gateway.Errorf(gateway.Conflict, "%s is there already; give another folder, reuse its key to renew, or force to overwrite", name)
		}
	}
	key, err := newKey(r.KeyType)
	return key, true, err
}

// Revoke puts a certificate on the CRL of its issuer and writes new CRLs. What names the certificate: its file, or its serial
// number in hexadecimal. Revoking the intermediate takes all certificates under it along. Twice is no error.
func Revoke(dir, what string) error { return revoke(dir, what, time.Now()) }

func revoke(dir, what string, now time.Time) error {
	return withPKI(dir, func(p *pki) error {
		ix, err := p.readIndex()
		if err != nil {
			return err
		}
		serial, err := serialOf(what)
		if err != nil {
			return err
		}
		n := slices.IndexFunc(ix.Certs, func(e entry) bool { return e.Serial == serial })
		if n < 0 {
			return gateway.Errorf(gateway.NotFound, "%s: serial %s was not issued by the PKI in %s", what, serial, dir)
		}
		if ix.Certs[n].Revoked.IsZero() {
			ix.Certs[n].Revoked = now.UTC().Truncate(time.Second)
		}
		if err := p.writeIndex(ix); err != nil {
			return err
		}
		return p.writeCRLs(ix, now, DefaultCRLNext)
	})
}

// serialOf reads the serial of a certificate file, else takes what as hexadecimal digits, colons allowed.
func serialOf(what string) (string, error) {
	if exists(what) {
		certs, err := readCerts(what)
		if err != nil {
			return "", err
		}
		return hex.EncodeToString(certs[0].SerialNumber.Bytes()), nil
	}
	n, ok := new(big.Int).SetString(strings.ReplaceAll(what, ":", ""), 16)
	if !ok || n.Sign() <= 0 {
		return "", gateway.Errorf(gateway.Invalid, "%.80q: no such file, and no serial number in hexadecimal", what)
	}
	return hex.EncodeToString(n.Bytes()), nil
}

// CRL writes new CRLs of root and intermediate that hold until next from now.
func CRL(dir string, next time.Duration) error { return writeCRLs(dir, next, time.Now()) }

func writeCRLs(dir string, next time.Duration, now time.Time) error {
	if next < time.Second {
		return gateway.Errorf(gateway.Invalid, "next %s: say how long the CRL holds, such as 720h", next)
	}
	return withPKI(dir, func(p *pki) error {
		ix, err := p.readIndex()
		if err != nil {
			return err
		}
		return p.writeCRLs(ix, now, next)
	})
}

func orNow(t time.Time) time.Time {
	if t.IsZero() {
		return time.Now()
	}
	return t
}

func caName(name, role string) pkix.Name {
	return pkix.Name{Country: []string{"NL"}, Organization: []string{name}, CommonName: name + " " + role}
}

func newKey(t KeyType) (crypto.Signer, error) {
	switch t {
	case ECDSAP256, "":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	}
	return nil, gateway.Errorf(gateway.Invalid, "key type %q: use %s or %s", t, ECDSAP256, RSA3072)
}

// sign issues template; without issuer it signs itself.
func sign(template, issuer *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	serial := make([]byte, 16)
	_, _ = rand.Read(serial)
	serial[0] = serial[0]&0x7f | 0x40 // positive, and always 16 bytes
	template.SerialNumber = new(big.Int).SetBytes(serial)
	if issuer == nil {
		issuer = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, pub, key)
	if err != nil {
		return nil, gateway.Wrap(gateway.Internal, err, "issue certificate")
	}
	return x509.ParseCertificate(der)
}

// validHost accepts a DNS name in LDH labels, with at most a leading "*." label.
func validHost(host string) bool {
	if len(host) == 0 || len(host) > 253 || net.ParseIP(host) != nil {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimPrefix(host, "*."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !bytes.ContainsRune([]byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"), rune(c)) {
				return false
			}
		}
	}
	return true
}
