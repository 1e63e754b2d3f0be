package certs

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"path/filepath"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/grensloos/grensloos/gateway"
)

// Whatever DER a stranger sends: no panic, and an identity only if a second, independent reading of the subject finds exactly that
// OIN and that name, once.
func FuzzPeerFrom(f *testing.F) {
	dir := f.TempDir()
	if err := InitPKI(dir, InitOptions{Now: t0}); err != nil {
		f.Fatal(err)
	}
	made, err := Issue(dir, Request{OIN: borne, Name: "Gemeente Borne", Hosts: []string{"localhost"}, Now: t0})
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{made.CertFile, filepath.Join(dir, RootFile)} {
		certs, err := readCerts(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, c := range certs {
			f.Add(c.Raw)
		}
	}
	issuer, key, err := (&pki{dir: dir}).ca(IntermediateFile, intermediateKeyFile)
	if err != nil {
		f.Fatal(err)
	}
	for _, names := range [][]pkix.AttributeTypeAndValue{
		{{Type: []int{2, 5, 4, 5}, Value: string(borne)}, {Type: []int{2, 5, 4, 5}, Value: string(uwi)}},
		{{Type: []int{2, 5, 4, 5}, Value: asn1.RawValue{Tag: asn1.TagBMPString, Bytes: []byte("\x000\x001")}}},
		{{Type: []int{2, 5, 4, 10}, Value: "Borne\x00\nvals"}, {Type: []int{2, 5, 4, 5}, Value: string(borne)}},
	} {
		leafKey, err := newKey(ECDSAP256)
		if err != nil {
			f.Fatal(err)
		}
		leaf, err := sign(&x509.Certificate{Subject: pkix.Name{ExtraNames: names}, DNSNames: []string{"x"}, NotBefore: t0, NotAfter: t0}, issuer, leafKey.Public(), key)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(leaf.Raw)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		peer, err := gateway.PeerFrom(cert)
		if err != nil {
			if peer != (gateway.Peer{}) {
				t.Errorf("got peer %v beside error %v", peer, err)
			}
			if got := gateway.KindOf(err); got != gateway.Invalid {
				t.Errorf("got kind %s, want invalid: %v", got, err)
			}
			return
		}
		if _, err := gateway.ParsePeerID(string(peer.ID)); err != nil {
			t.Errorf("peer with %v", err)
		}
		if !utf8.ValidString(peer.Name) || peer.Name == "" {
			t.Errorf("peer with name %q", peer.Name)
		}
		oins, names := rawStrings(t, cert.RawSubject, []byte{0x55, 4, 5}), rawStrings(t, cert.RawSubject, []byte{0x55, 4, 10})
		if len(oins) != 1 || oins[0] != string(peer.ID) {
			t.Errorf("got peer %s, the subject holds serialNumbers %q", peer.ID, oins)
		}
		if len(names) != 1 {
			t.Errorf("got name %q, the subject holds %q", peer.Name, names)
		}
		if len(cert.DNSNames)+len(cert.IPAddresses) == 0 {
			t.Error("peer without a SAN")
		}
	})
}

// rawStrings walks the DER of a subject by hand and gives the values of one attribute.
func rawStrings(t *testing.T, subject, oid []byte) []string {
	t.Helper()
	var found []string
	var name asn1.RawValue
	if _, err := asn1.Unmarshal(subject, &name); err != nil {
		t.Fatal(err)
	}
	for sets := name.Bytes; len(sets) > 0; {
		var set asn1.RawValue
		rest, err := asn1.Unmarshal(sets, &set)
		if err != nil {
			t.Fatal(err)
		}
		sets = rest
		for attributes := set.Bytes; len(attributes) > 0; {
			var attribute, kind, value asn1.RawValue
			rest, err := asn1.Unmarshal(attributes, &attribute)
			if err != nil {
				t.Fatal(err)
			}
			attributes = rest
			after, err := asn1.Unmarshal(attribute.Bytes, &kind)
			if err != nil {
				t.Fatal(err)
			}
			if string(kind.Bytes) != string(oid) {
				continue
			}
			if _, err := asn1.Unmarshal(after, &value); err != nil {
				t.Fatal(err)
			}
			switch value.Tag {
			case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagNumericString, asn1.TagT61String:
				found = append(found, string(value.Bytes))
			case asn1.TagBMPString:
				units := make([]uint16, len(value.Bytes)/2)
				for i := range units {
					units[i] = uint16(value.Bytes[2*i])<<8 | uint16(value.Bytes[2*i+1])
				}
				found = append(found, string(utf16.Decode(units)))
			default:
				t.Errorf("attribute of type %d was read as a string", value.Tag)
			}
		}
	}
	return found
}
