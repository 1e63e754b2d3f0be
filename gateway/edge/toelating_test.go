package edge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

func certificate(t *testing.T) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(7)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestToelating(t *testing.T) {
	said := Toelating{
		Transactie: gateway.NewTransactionID(time.Now()), Grant: "$1$3$abc", Client: certificate(t), Chain: []*x509.Certificate{certificate(t), certificate(t)},
	}
	other := certificate(t)
	for name, tc := range map[string]struct {
		change func(http.Header)
		want   string // of the error; empty: it is good
	}{
		"good":                        {func(http.Header) {}, ""},
		"none":                        {func(h http.Header) { h.Del(HeaderToelating) }, "each once"},
		"twice":                       {func(h http.Header) { h.Add(HeaderToelating, h.Get(HeaderToelating)) }, "each once"},
		"no certificate":              {func(h http.Header) { h.Del(HeaderClientCert) }, "each once"},
		"the certificate of another":  {func(h http.Header) { h.Set(HeaderClientCert, ":"+base64.StdEncoding.EncodeToString(other.Raw)+":") }, "is not of the certificate"},
		"not a byte sequence":         {func(h http.Header) { h.Set(HeaderClientCert, strings.Trim(h.Get(HeaderClientCert), ":")) }, "byte sequence"},
		"no chain":                    {func(h http.Header) { h.Del(HeaderCertChain) }, ""},
		"two chains":                  {func(h http.Header) { h.Add(HeaderCertChain, h.Get(HeaderCertChain)) }, "each once"},
		"a chain of something else":   {func(h http.Header) { h.Set(HeaderCertChain, h.Get(HeaderCertChain)+", x") }, "list of byte sequences"},
		"no certificate in the chain": {func(h http.Header) { h.Set(HeaderCertChain, ":eA==:") }, "no certificate"},
		"no transaction":              {func(h http.Header) { h.Set(HeaderToelating, "x $1$3$abc y") }, HeaderToelating},
		"no grant": {func(h http.Header) {
			h.Set(HeaderToelating, strings.Replace(h.Get(HeaderToelating), "$1$3$abc", "", 1))
		}, "want transaction"},
		"no certificate in it": {func(h http.Header) {
			raw := []byte("nothing")
			bogus := Toelating{Transactie: said.Transactie, Grant: said.Grant, Client: &x509.Certificate{Raw: raw}}
			bogus.Set(h)
		}, "is no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			said.Set(h)
			tc.change(h)
			got, err := ToelatingFrom(h)
			if tc.want != "" {
				if gateway.KindOf(err) != gateway.Denied || !strings.Contains(err.Error(), tc.want) {
					t.Fatalf("got %v, want it denied with %q", err, tc.want)
				}
			} else if err != nil || got.Transactie != said.Transactie || got.Grant != said.Grant || !got.Client.Equal(said.Client) ||
				len(got.Chain) > 0 && !slices.EqualFunc(got.Chain, said.Chain, (*x509.Certificate).Equal) || (len(got.Chain) == 0) != (name == "no chain") {
				t.Fatalf("got %+v, %v", got, err)
			}
			if len(h) != 0 {
				t.Errorf("left on the request: %v", h)
			}
		})
	}
}

func TestStripForwarded(t *testing.T) {
	h := http.Header{"Client-Cert": {"a"}, "Client-Cert-Chain": {"b"}, "Client_cert": {"c"}, "Client": {"d"}}
	StripForwarded(h)
	if len(h) != 1 || h.Get("Client") != "d" {
		t.Errorf("left: %v", h)
	}
}
