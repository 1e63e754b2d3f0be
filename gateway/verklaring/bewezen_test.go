package verklaring_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/verklaring"
)

// TestVerifyOnce: a signature that was verified for this request need not be again; nothing else is taken as proven.
func TestVerifyOnce(t *testing.T) {
	s, stranger := signer(t, uwi, nil), signer(t, uwi, nil)
	v := statement()
	compact := sign(t, s, v)
	verified, err := expect(s, v).Verify(compact)
	if err != nil {
		t.Fatal(err)
	}
	// Of these bytes the signature is broken: that they pass shows that it was not looked at again.
	p := cut(t, compact)
	p.sig = strings.Repeat("A", len(p.sig))
	unsigned := p.String()
	ctx := verklaring.Verified(t.Context(), unsigned, s.Cert, *verified)
	got, err := expect(s, v).VerifyOnce(ctx, unsigned)
	if err != nil || !cmp.Equal(verified, got) {
		t.Errorf("got %v: %s", err, cmp.Diff(verified, got))
	}
	if _, err := expect(s, v).VerifyOnce(t.Context(), unsigned); gateway.KindOf(err) != gateway.Denied {
		t.Errorf("without a proof: got %v", err)
	}
	if _, err := expect(s, v).VerifyOnce(ctx, compact); err != nil {
		t.Errorf("other bytes, which are good: got %v", err)
	}
	p.sig = strings.Repeat("B", len(p.sig))
	if _, err := expect(s, v).VerifyOnce(ctx, p.String()); gateway.KindOf(err) != gateway.Denied {
		t.Errorf("other bytes, which are not: got %v", err)
	}
	for name, edit := range map[string]func(*verklaring.Expect){
		"another connection":   func(e *verklaring.Expect) { e.ClientCert = stranger.Cert },
		"no connection":        func(e *verklaring.Expect) { e.ClientCert = nil },
		"another token":        func(e *verklaring.Expect) { e.Cnf = "x" },
		"another peer":         func(e *verklaring.Expect) { e.Audience = other },
		"another grant":        func(e *verklaring.Expect) { e.Grant.Hash = "$1$3$other" },
		"a grant that changed": func(e *verklaring.Expect) { e.Grant.Properties.DoelDigest = "x" },
		"another transaction":  func(e *verklaring.Expect) { e.Transactie = gateway.NewTransactionID(now) },
		"another method":       func(e *verklaring.Expect) { e.Method = "PUT" },
		"another path":         func(e *verklaring.Expect) { e.Target = "/" },
		"another body":         func(e *verklaring.Expect) { e.BodyDigest = verklaring.Digest(nil) },
		"later":                func(e *verklaring.Expect) { e.Now = now.Add(verklaring.MaxTTL + 3*time.Second) },
		"nothing expected":     func(e *verklaring.Expect) { *e = verklaring.Expect{ClientCert: s.Cert} },
	} {
		e := expect(s, v)
		edit(&e)
		if _, err := e.VerifyOnce(ctx, unsigned); gateway.KindOf(err) != gateway.Denied {
			t.Errorf("%s: got %v, want Denied", name, err)
		}
	}
}
