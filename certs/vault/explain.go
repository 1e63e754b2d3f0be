package vault

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/grensloos/grensloos/gateway"
)

// statusOf is the HTTP status of an error; 0 if there was no answer.
func statusOf(err error) int {
	if r, ok := errors.AsType[*api.ResponseError](err); ok {
		return r.StatusCode
	}
	return 0
}

// explain says what an error means and what mends it. Only what Vault says about itself is repeated, never what we sent.
func (c *Client) explain(err error, u use) error {
	at := " -address=" + c.cfg.Adres
	fail := func(k gateway.Kind, text string) error {
		return &gateway.Error{Kind: k, Message: "vault " + c.cfg.Adres + ": " + text}
	}
	answer, ok := errors.AsType[*api.ResponseError](err)
	if !ok {
		return fail(gateway.Unavailable, c.unreached(err))
	}
	said := strings.Join(answer.Errors, "; ")
	switch {
	case answer.StatusCode == http.StatusServiceUnavailable && strings.Contains(said, "sealed"):
		return fail(gateway.Unavailable, "it is sealed, so "+u.name+" can't be used; unseal it: bao operator unseal"+at)
	case u.login && strings.Contains(said, "invalid role or secret ID"), u.login && strings.Contains(said, "invalid secret id"):
		return fail(gateway.Denied, "login by "+u.name+" is refused: the role id or the secret id is wrong, used up or expired; "+
			"write a new one into vault.geheimIdBestand: bao write -field=secret_id -f auth/"+c.cfg.AppRole+"/role/ROL/secret-id")
	case u.login && answer.StatusCode == http.StatusForbidden, u.login && answer.StatusCode == http.StatusNotFound:
		return fail(gateway.Denied, "login at "+u.path+" is refused: is AppRole mounted there? bao auth enable -path="+c.cfg.AppRole+" approle")
	case answer.StatusCode == http.StatusForbidden:
		capability := "read"
		if u.write {
			capability = "update"
		}
		return fail(gateway.Denied, u.name+" is refused: our policy is too narrow; add to it: path \""+u.path+"\" { capabilities = [\""+capability+"\"] } (bao policy write ...; see docs/vault.md)")
	case answer.StatusCode == http.StatusNotFound && strings.Contains(said, "no handler for route"):
		mount, _, _ := strings.Cut(u.path, "/")
		return fail(gateway.NotFound, u.name+": no engine is mounted for "+u.path+": bao secrets enable -path="+mount+" ..., or correct the mount in the configuration")
	case strings.Contains(said, "signing key not found"), answer.StatusCode == http.StatusNotFound, strings.Contains(said, "unknown role"):
		return fail(gateway.NotFound, u.name+" is not there, or was deleted ("+u.path+"): "+u.mend)
	case strings.Contains(said, "requested version for signing"):
		return fail(gateway.NotFound, u.name+" has no such version, or it may not sign any more (min_encryption_version): set vault.groep.versie to one that may; bao read "+c.cfg.Transit+"/keys/NAAM")
	case answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode >= http.StatusInternalServerError:
		return fail(gateway.Unavailable, u.name+": it answers "+http.StatusText(answer.StatusCode)+" ("+brief(said)+"); look: bao status"+at)
	}
	return fail(gateway.Invalid, u.name+" ("+u.path+"): "+brief(said))
}

// unreached says why there was no answer.
func (c *Client) unreached(err error) string {
	host := c.cfg.Adres
	if u, perr := url.Parse(c.cfg.Adres); perr == nil {
		host = u.Host
	}
	look := "look: openssl s_client -connect " + host + " -showcerts </dev/null"
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return "its own certificate is expired, or not valid yet; give the server a new one (or set the clock right); " + look
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "its own certificate does not stand under vault.ca; put the right CA there; " + look
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return "its own certificate is not for " + e.Host + "; correct vault.adres or the certificate; " + look
	}
	if timeout, ok := errors.AsType[net.Error](err); errors.Is(err, context.DeadlineExceeded) || ok && timeout.Timeout() {
		return "no answer within " + callWithin.String() + "; look: bao status -address=" + c.cfg.Adres
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return "not reached (" + e.Err.Error() + "); start it, or correct vault.adres; look: bao status -address=" + c.cfg.Adres
	}
	return "not reached (" + brief(err.Error()) + "); look: bao status -address=" + c.cfg.Adres
}

// brief keeps a foreign text to one short line.
func brief(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return s[:min(len(s), 200)]
}
