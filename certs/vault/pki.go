package vault

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
)

// Subject is what a certificate says of its holder; zero for one of the own network.
type Subject struct {
	Peer gateway.Peer
}

// Kept is an identity whose certificate comes from PKI and is renewed at two thirds of its life.
type Kept struct {
	*certs.Identity

	client   *Client
	what     string
	order    Certificaat
	subject  Subject
	key      func() (crypto.Signer, error) // the key of the next certificate
	obtained time.Time
}

// Identity gets a certificate over a key that stays, such as one in Transit.
func (c *Client) Identity(ctx context.Context, what string, order Certificaat, s Subject, key crypto.Signer) (*Kept, error) {
	return c.keep(ctx, &Kept{what: what, order: order, subject: s, key: func() (crypto.Signer, error) { return key, nil }})
}

// MemoryIdentity gets a certificate over a key that is made in memory, anew with each certificate.
func (c *Client) MemoryIdentity(ctx context.Context, what string, order Certificaat) (*Kept, error) {
	return c.keep(ctx, &Kept{what: what, order: order, key: func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }})
}

func (c *Client) keep(ctx context.Context, k *Kept) (*Kept, error) {
	k.client = c
	k.order.Mount = cmp.Or(k.order.Mount, c.cfg.PKI)
	if err := k.renew(ctx); err != nil {
		return nil, err
	}
	return k, nil
}

// Run renews the certificate at two thirds of its life, until ctx ends. While that fails the one of before stays, and it tries again
// every half minute or sooner.
func (k *Kept) Run(ctx context.Context) error {
	wait, pause := k.untilRenewal(), retryPause
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		err := k.renew(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // we stop; nothing is wrong
		}
		switch {
		case err != nil:
			k.client.log.Error("certificate not renewed; the one of before stays in use until it ends", slog.String("certificate", k.what), slog.Time("notAfter", k.Cert().NotAfter), slog.Any("error", err))
			wait, pause = pause, min(2*pause, retryMost)
		default:
			k.client.log.Info("certificate renewed", slog.String("certificate", k.what), slog.Time("notAfter", k.Cert().NotAfter))
			wait, pause = k.untilRenewal(), retryPause
		}
	}
}

// untilRenewal counts from when we got the certificate: PKI dates it back, by more than a short one lives.
func (k *Kept) untilRenewal() time.Duration {
	return max(k.obtained.Add(k.Cert().NotAfter.Sub(k.obtained)*2/3).Sub(k.client.now()), time.Second)
}

func (k *Kept) renew(ctx context.Context) error {
	key, err := k.key()
	if err != nil {
		return gateway.Wrap(gateway.Internal, err, "vault: key of "+k.what)
	}
	chain, err := k.client.issue(ctx, k.order, k.subject, key)
	if err != nil {
		return err
	}
	now := k.client.now()
	if leaf := chain[0]; now.Before(leaf.NotBefore) || !now.Before(leaf.NotAfter) {
		return gateway.Errorf(gateway.Unavailable, "vault: the certificate for %s holds from %s to %s, and here it is %s: set the clocks right (NTP)", k.what, leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if k.Identity == nil {
		k.Identity, err = certs.NewIdentity(key, chain)
	} else {
		err = k.Replace(key, chain)
	}
	if err != nil {
		return gateway.Wrap(gateway.KindOf(err), err, "vault: PKI role "+k.order.Rol)
	}
	k.obtained = now
	return nil
}

// issue has PKI sign a request; the chain is leaf first, without the root.
func (c *Client) issue(ctx context.Context, order Certificaat, s Subject, key crypto.Signer) ([]*x509.Certificate, error) {
	template := &x509.CertificateRequest{}
	data := map[string]any{"format": "pem"}
	if s.Peer.ID != "" {
		template.Subject = pkix.Name{Country: []string{"NL"}, Organization: []string{s.Peer.Name}, SerialNumber: string(s.Peer.ID)}
		data["serial_number"] = string(s.Peer.ID)
	}
	var dns, ips string
	for _, name := range order.Namen {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			ips += "," + name
		} else {
			template.DNSNames = append(template.DNSNames, name)
			dns += "," + name
		}
	}
	data["alt_names"], data["ip_sans"] = trimComma(dns), trimComma(ips)
	for _, text := range order.URIs {
		uri, err := url.Parse(text)
		if err != nil {
			return nil, gateway.Wrap(gateway.Invalid, err, "URI of a certificate")
		}
		template.URIs = append(template.URIs, uri)
	}
	if len(order.URIs) > 0 {
		data["uri_sans"] = strings.Join(order.URIs, ",")
	}
	if len(template.DNSNames) > 0 {
		template.Subject.CommonName = template.DNSNames[0]
		data["common_name"] = template.DNSNames[0]
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, gateway.Wrap(gateway.KindOf(err), err, "certificate request")
	}
	data["csr"] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	u := use{name: "PKI role " + order.Rol, path: order.Mount + "/sign/" + order.Rol, write: true, mend: "make it: bao write " + order.Mount + "/roles/" + order.Rol + " ... (see docs/vault.md)"}
	answer, err := c.call(ctx, u, data)
	if err != nil {
		return nil, err
	}
	texts := []any{answer.Data["certificate"]}
	if above, ok := answer.Data["ca_chain"].([]any); ok {
		texts = append(texts, above...)
	} else {
		texts = append(texts, answer.Data["issuing_ca"])
	}
	var chain []*x509.Certificate
	for i, text := range texts {
		t, _ := text.(string)
		block, _ := pem.Decode([]byte(t))
		if block == nil {
			return nil, gateway.Errorf(gateway.Invalid, "vault: %s gave no certificate in PEM", u.name)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, gateway.Errorf(gateway.Invalid, "vault: %s gave a certificate that can't be read", u.name)
		}
		if i > 0 && cert.CheckSignatureFrom(cert) == nil {
			break // the root: who trusts it has it
		}
		chain = append(chain, cert)
	}
	if s.Peer.ID != "" {
		peer, err := gateway.PeerFrom(chain[0])
		if err != nil || peer.ID != s.Peer.ID || peer.Name != s.Peer.Name {
			return nil, gateway.Errorf(gateway.Invalid, "vault: %s gave a certificate of another peer than %s (%s): set organization and allowed_serial_numbers of the role, as docs/vault.md says", u.name, s.Peer.Name, s.Peer.ID)
		}
	}
	return chain, nil
}

func trimComma(s string) string {
	if s == "" {
		return ""
	}
	return s[1:]
}
