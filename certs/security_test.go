package certs

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"

	"github.com/grensloos/grensloos/gateway"
)

// giant is an RSA key that anybody can write down: it belongs to no one, and to check one signature by it takes seconds to minutes.
func giant(bits uint) *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), bits)
	return &rsa.PublicKey{N: n.Sub(n, big.NewInt(1)), E: 1<<31 - 1}
}

// A chain is refused for the size of its keys before any signature in it is looked at: whoever publishes it in a JWKS would
// otherwise choose how long we compute.
func TestGiantKeyInAChain(t *testing.T) {
	r := newRegion(t)
	for _, bits := range []uint{maxRSABits + 1, 65536} {
		issuerKey, err := rsa.GenerateKey(rand.Reader, 2048)
		must(t, err)
		issuer := signOwn(t, &x509.Certificate{Subject: pkix.Name{CommonName: "nobody"}}, issuerKey, func(c *x509.Certificate) {
			c.Subject = pkix.Name{CommonName: "nobody"}
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
			c.PublicKey = giant(bits)
		})
		leaf := signOwn(t, &x509.Certificate{Subject: pkix.Name{CommonName: "nobody"}}, issuerKey, func(*x509.Certificate) {})
		// A signature as long as the modulus, or crypto/rsa would refuse it unread.
		var parts struct {
			TBS, Alg  asn1.RawValue
			Signature asn1.BitString
		}
		_, err = asn1.Unmarshal(leaf.Raw, &parts)
		must(t, err)
		parts.Signature.Bytes = bytes.Repeat([]byte{0x55}, int(bits+7)/8)
		parts.Signature.Bytes[0], parts.Signature.BitLength = 0, 8*len(parts.Signature.Bytes)
		der, err := asn1.Marshal(parts)
		must(t, err)
		leaf, err = x509.ParseCertificate(der)
		must(t, err)

		_, err = r.group.VerifyChain([]*x509.Certificate{leaf, issuer}, r.clock.now())
		wantError(t, err, gateway.Denied, "RSA key of")
		_, _, err = r.group.PeerOf(state([]*x509.Certificate{leaf, issuer}))
		wantError(t, err, gateway.Denied, "RSA key of")
	}
}

// What stands in a certificate must name one peer to every reader: values of other types, a second serialNumber in one RDN, an OIN
// in another script.
func TestConfusingNames(t *testing.T) {
	r := newRegion(t)
	serial := asn1.ObjectIdentifier{2, 5, 4, 5}
	org := pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "Gemeente Borne"}
	one := func(v any) pkix.AttributeTypeAndValue { return pkix.AttributeTypeAndValue{Type: serial, Value: v} }
	for name, names := range map[string]pkix.RDNSequence{
		"two in one RDN":       {{one(string(borne)), one(string(uwi))}, {org}},
		"two in two RDNs":      {{one(string(borne))}, {one(string(uwi))}, {org}},
		"the same one twice":   {{one(string(borne))}, {one(string(borne))}, {org}},
		"full-width digits":    {{one("０００００００９９０００００１４７０００")}, {org}},
		"a NUL behind":         {{one(string(borne) + "\x00")}, {org}},
		"a space before":       {{one(" " + string(borne))}, {org}},
		"another on next line": {{one(string(borne) + "\n" + string(uwi))}, {org}},
		"none":                 {{org}},
	} {
		raw, err := asn1.Marshal(names)
		if err != nil { // no certificate can say so
			continue
		}
		chain := r.own(func(c *x509.Certificate) { c.RawSubject = raw })
		if peer, _, err := r.group.PeerOf(state(chain)); err == nil {
			t.Errorf("%s: taken for %s", name, peer.ID)
		}
	}
}
