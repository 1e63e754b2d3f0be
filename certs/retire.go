package certs

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"
)

// shownKey is the context key of the certificate that a connection was shown.
type shownKey struct{}

// Retire makes srv end connections that were shown a certificate of before, each with the answer that it is giving: so the callers
// have moved to the new certificate long before the old one ends, when they would cut a connection in the middle of a question. Call
// it before srv serves, once.
func (i *Identity) Retire(srv *http.Server) {
	before, next := srv.ConnContext, srv.Handler
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if before != nil {
			ctx = before(ctx, c)
		}
		return context.WithValue(ctx, shownKey{}, i.Cert()) // the handshake comes after this: it may show a newer one, no older
	}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if shown, ok := r.Context().Value(shownKey{}).(*x509.Certificate); ok && shown != i.Cert() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
