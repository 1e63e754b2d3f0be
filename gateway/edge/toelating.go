package edge

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/grensloos/grensloos/gateway"
)

// The headers between an inway and a service of its own peer in another process. They count on a connection of the inway alone;
// whoever else sends them has them taken off.
const (
	HeaderToelating  = "Grensloos-Toelating" // which request the inway admitted
	HeaderClientCert = "Client-Cert"         // the certificate of the peer that asks (RFC 9440)
	HeaderCertChain  = "Client-Cert-Chain"   // what it sent after that: the intermediates (RFC 9440)
)

// Toelating is what an inway says to a service of its peer in another process: it recorded this transaction under this grant, for the
// holder of this certificate, and serves it now. Whose the certificate is, and whether it is good, the service finds itself: for that
// goes the chain along.
type Toelating struct {
	Transactie gateway.TransactionID
	Grant      gateway.GrantHash
	Client     *x509.Certificate
	Chain      []*x509.Certificate // that stand over Client
}

// Set puts it on a request to the service.
func (t Toelating) Set(h http.Header) {
	sum := sha256.Sum256(t.Client.Raw)
	h.Set(HeaderToelating, string(t.Transactie)+" "+string(t.Grant)+" "+base64.RawURLEncoding.EncodeToString(sum[:]))
	h.Set(HeaderClientCert, byteSequence(t.Client))
	above := make([]string, 0, len(t.Chain))
	for _, c := range t.Chain {
		above = append(above, byteSequence(c))
	}
	if len(above) > 0 {
		h.Set(HeaderCertChain, strings.Join(above, ", "))
	}
}

func byteSequence(c *x509.Certificate) string {
	return ":" + base64.StdEncoding.EncodeToString(c.Raw) + ":"
}

// fromByteSequence is the bytes of a byte sequence (RFC 9440); ok is false if it is none.
func fromByteSequence(s string) (raw []byte, ok bool) {
	text, begins := strings.CutPrefix(s, ":")
	text, ends := strings.CutSuffix(text, ":")
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	return raw, err == nil && begins && ends
}

// ToelatingFrom reads it, and takes it off. Only a request of an inway of this peer may be asked for it. The error is of kind Denied.
func ToelatingFrom(h http.Header) (Toelating, error) {
	wrong := func(format string, args ...any) (Toelating, error) {
		return Toelating{}, gateway.Errorf(gateway.Denied, format, args...)
	}
	said, certs, above := h[HeaderToelating], h[HeaderClientCert], h[HeaderCertChain]
	StripForwarded(h)
	delete(h, HeaderToelating)
	if len(said) != 1 || len(certs) != 1 || len(above) > 1 {
		return wrong("%s, %s, %s: each once; only the inway sends them", HeaderToelating, HeaderClientCert, HeaderCertChain)
	}
	parts := strings.Split(said[0], " ")
	if len(parts) != 3 || parts[1] == "" {
		return wrong("%s: want transaction, grant and certificate", HeaderToelating)
	}
	id, err := gateway.ParseTransactionID(parts[0])
	if err != nil {
		return Toelating{}, gateway.Wrap(gateway.Denied, err, HeaderToelating)
	}
	raw, ok := fromByteSequence(certs[0])
	if !ok {
		return wrong("%s: is not a byte sequence (RFC 9440)", HeaderClientCert)
	}
	if sum := sha256.Sum256(raw); base64.RawURLEncoding.EncodeToString(sum[:]) != parts[2] {
		return wrong("%s: is not of the certificate in %s", HeaderToelating, HeaderClientCert)
	}
	client, err := x509.ParseCertificate(raw)
	if err != nil {
		return wrong("%s: is no certificate", HeaderClientCert)
	}
	t := Toelating{Transactie: id, Grant: gateway.GrantHash(parts[1]), Client: client}
	for _, list := range above {
		for item := range strings.SplitSeq(list, ",") {
			raw, ok := fromByteSequence(strings.TrimSpace(item))
			if !ok {
				return wrong("%s: is not a list of byte sequences (RFC 9440)", HeaderCertChain)
			}
			c, err := x509.ParseCertificate(raw)
			if err != nil {
				return wrong("%s: holds what is no certificate", HeaderCertChain)
			}
			t.Chain = append(t.Chain, c)
		}
	}
	return t, nil
}

// StripForwarded takes off what says whose certificate another proxy saw (RFC 9440): from outside it is nobody's word.
func StripForwarded(h http.Header) {
	for name := range h {
		if forwarded(name) {
			delete(h, name)
		}
	}
}

func forwarded(name string) bool { return hasPrefixFold(name, "client-cert") }
