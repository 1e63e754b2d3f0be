package manager

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/accesstoken"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/store"
)

func handelingenIn(t *testing.T, log *audit.Memory) (all []string) {
	t.Helper()
	for _, rec := range log.Records() {
		var body struct{ Handeling string }
		mustJSON(t, rec.Body, &body)
		all = append(all, body.Handeling)
	}
	return all
}

// A contract goes its whole way between two managers that run: proposed, accepted, used, revoked.
func TestTwoManagers(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b, u := r.peers[borne].start(true), r.peers[uwi].start(true)
	hash, err := u.m.Propose(t.Context(), r.newContent(r.connection(uwi, borne)), "m1.voorsteller")
	must(t, err)
	eventually(t, "the proposal reaches Borne", func() bool { return b.state(hash) == contract.Proposed })
	if got := u.state(hash); got != contract.Proposed {
		t.Errorf("at the proposer %s", got)
	}
	must(t, b.m.Accept(t.Context(), hash, "m1.accepteerder"))
	if got := b.state(hash); got != contract.Valid {
		t.Errorf("at who accepted %s", got)
	}
	eventually(t, "the accept reaches the proposer", func() bool { return u.state(hash) == contract.Valid })

	grants, err := u.m.Grants(t.Context(), nil)
	must(t, err)
	if len(grants) != 1 || grants[0].ServicePeer != borne {
		t.Fatalf("grants %+v", grants)
	}
	if at, err := b.m.Grants(t.Context(), nil); err != nil || len(at) != 0 {
		t.Errorf("Borne is not the outway of %v, %v", at, err)
	}
	tokens := u.tokens()
	compact, claims, err := tokens.Token(t.Context(), grants[0])
	must(t, err)
	verifier := accesstoken.NewVerifier(borne, group, b.ownCert, r.clock.now)
	if _, err := verifier.Verify(compact, u.ident.Cert()); err != nil {
		t.Errorf("Borne's inway refuses its own manager's token: %v", err)
	}
	if claims.Audience != r.addrs[borne] {
		t.Errorf("aud %s", claims.Audience)
	}

	must(t, b.m.Revoke(t.Context(), hash, "m1.intrekker"))
	_, err = b.m.Grant(t.Context(), grants[0].Hash)
	wantError(t, err, gateway.NotFound, "no valid contract")
	eventually(t, "the revocation reaches the outway", func() bool { return u.state(hash) == contract.Revoked })
	eventually(t, "the grant is gone there", func() bool { // the moment between writing and telling is another goroutine's
		_, err := u.m.Grant(t.Context(), grants[0].Hash)
		return gateway.KindOf(err) == gateway.NotFound && err != nil
	})
	tokens.Drop(grants[0])
	_, _, err = tokens.Token(t.Context(), grants[0])
	wantError(t, err, gateway.Denied, invalidGrant)

	want := []string{"contract-accept-ontvangen", "contract-geaccepteerd", "contract-ingetrokken"}
	if got := handelingenIn(t, b.log); !slices.Equal(got, want) {
		t.Errorf("acts at Borne %v, want %v", got, want)
	}
	want = []string{"contract-voorgesteld", "contract-accept-ontvangen", "contract-intrekking-ontvangen"}
	if got := handelingenIn(t, u.log); !slices.Equal(got, want) {
		t.Errorf("acts at the proposer %v, want %v", got, want)
	}
}

// What was proposed while the receiver was down arrives, although the sender was restarted in between; and the other way about.
func TestDeliverySurvivesRestarts(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b, u := r.peers[borne], r.peers[uwi].start(true)
	hash, err := u.m.Propose(t.Context(), r.newContent(r.connection(uwi, borne)), "m1.test")
	must(t, err)
	eventually(t, "an attempt fails", func() bool {
		d, err := u.m.Show(t.Context(), hash)
		must(t, err)
		return len(d.Deliveries) == 1 && d.Deliveries[0].Reason != ""
	})
	d, err := u.m.Show(t.Context(), hash)
	must(t, err)
	if d.Deliveries[0].State != contract.Open || d.Deliveries[0].Receiver != borne {
		t.Errorf("delivery %+v", d.Deliveries[0])
	}
	u.stop()
	b.start(true)
	if got := b.state(hash); got != "" {
		t.Fatalf("it reached Borne already: %s", got)
	}
	u.start(true)
	eventually(t, "the proposal reaches Borne", func() bool { return b.state(hash) == contract.Proposed })
	eventually(t, "it counts as delivered", func() bool {
		d, err := u.m.Show(t.Context(), hash)
		must(t, err)
		return d.Deliveries[0].State == contract.Delivered
	})

	u.stop()
	must(t, b.m.Accept(t.Context(), hash, "m1.test"))
	b.stop()
	b.start(true)
	u.start(true)
	eventually(t, "the accept reaches the proposer", func() bool { return u.state(hash) == contract.Valid })
}

// Three parties: each signature reaches each other party, whatever comes first.
func TestThreeParties(t *testing.T) {
	r := newRegion(t, nil, borne, uwi, derde)
	b, u, d := r.peers[borne].start(true), r.peers[uwi].start(true), r.peers[derde]
	hash, err := u.m.Propose(t.Context(), r.newContent(delegatedConnection(r.connection(uwi, borne), derde)), "m1.test")
	must(t, err)
	eventually(t, "the proposal reaches Borne", func() bool { return b.state(hash) == contract.Proposed })
	must(t, b.m.Accept(t.Context(), hash, "m1.test"))
	d.start(true)
	eventually(t, "both accepts reach the third", func() bool {
		s, err := d.m.Show(t.Context(), hash)
		return err == nil && len(s.Missing) == 1 && s.Missing[0] == derde
	})
	must(t, d.m.Accept(t.Context(), hash, "m1.test"))
	for _, p := range []*testPeer{b, u, d} {
		eventually(t, "valid at "+string(p.id), func() bool { return p.state(hash) == contract.Valid })
	}
}

// A refusal for good is kept with its reason and not tried again.
func TestDeliveryRefused(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b, u := r.peers[borne], r.peers[uwi]
	b.options = func(o *Options) { o.Rules.MaxGrants = 1 }
	b.start(true)
	u.start(true)
	second := r.connection(uwi, borne)
	second.Service.Name = "tweede"
	hash, err := u.m.Propose(t.Context(), r.newContent(r.connection(uwi, borne), second), "m1.test")
	must(t, err)
	eventually(t, "the delivery fails", func() bool {
		d, err := u.m.Show(t.Context(), hash)
		must(t, err)
		return d.Deliveries[0].State == contract.Failed
	})
	d, err := u.m.Show(t.Context(), hash)
	must(t, err)
	if got := d.Deliveries[0]; got.Attempts != 1 || got.Reason != "status 422 "+codeUnprocessable+" content.grants: 2, give 1 to 1" {
		t.Errorf("delivery %+v", got)
	}
	list, err := u.m.List(t.Context())
	must(t, err)
	if len(list) != 1 || list[0].Failed != 1 || d.Failed != 1 {
		t.Errorf("failed: %d in the list, %d shown, want 1", list[0].Failed, d.Failed)
	}
}

func TestBackoff(t *testing.T) {
	want := []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300}
	for i, w := range want {
		if got := backoff(time.Second, i+1); got != w*time.Second {
			t.Errorf("after %d attempts %v, want %v", i+1, got, w*time.Second)
		}
	}
	if got := backoff(time.Second, 1_000_000); got != MaxRetry {
		t.Errorf("after a million attempts %v", got)
	}
}

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		want   contract.DeliveryState
	}{
		{200, "", contract.Delivered},
		{201, "", contract.Delivered},
		{204, "", contract.Delivered},
		{409, "", contract.Delivered},
		{302, "", contract.Open},
		{500, "", contract.Open},
		{503, "", contract.Open},
		{429, "", contract.Open},
		{408, "", contract.Open},
		{401, "", contract.Open},
		{403, "", contract.Open},
		{400, `{"code":"ERROR_CODE_PEER_CERTIFICATE_VERIFICATION_FAILED"}`, contract.Open},
		{400, `{"code":"GRENSLOOS_INVALID"}`, contract.Failed},
		{404, "", contract.Failed},
		{405, "", contract.Failed},
		{413, "not json", contract.Failed},
		{422, `{"code":"ERROR_CODE_INCORRECT_GROUP_ID"}`, contract.Failed},
	} {
		if got, _ := judge(tt.status, []byte(tt.body)); got != tt.want {
			t.Errorf("%d %s: %s, want %s", tt.status, tt.body, got, tt.want)
		}
	}
}

// faulty fails when told to.
type faulty struct {
	keeper
	down atomic.Bool
}

var errDown = errors.New("disk on fire")

func (f *faulty) Changes(ctx context.Context) (int64, error) {
	if f.down.Load() {
		return 0, errDown
	}
	return f.keeper.Changes(ctx)
}

func (f *faulty) InForce(ctx context.Context, now time.Time) ([]contract.Record, error) {
	if f.down.Load() {
		return nil, errDown
	}
	return f.keeper.InForce(ctx, now)
}

// What another peer says of a refusal can always be kept: also on PostgreSQL, which takes no NUL and no half character.
func TestReasonCanBeKept(t *testing.T) {
	for _, said := range []string{"nee\\u0000", "\xff", strings.Repeat("é", maxReason), "een\\nregel \\u202e"} {
		_, reason := judge(http.StatusUnprocessableEntity, []byte(`{"code":"X","message":"`+said+`"}`))
		if !utf8.ValidString(reason) || len(reason) > maxReason || strings.ContainsFunc(reason, func(c rune) bool { return !unicode.IsPrint(c) }) {
			t.Errorf("%q: kept as %q", said, reason)
		}
		if !strings.HasPrefix(reason, "status 422 X") {
			t.Errorf("%q: kept as %q, want the status and the code in it", said, reason)
		}
	}
}

// A grant is answered from memory for at most maxAge when the store fails, then not at all.
func TestGrantFailsClosed(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b := r.peers[borne]
	var f *faulty
	b.faults = func(k keeper) keeper { f = &faulty{keeper: k}; return f }
	b.start(false)
	hash := b.agree(r.content(r.connection(uwi, borne)))
	if _, err := b.m.Grant(t.Context(), hash); err != nil {
		t.Fatal(err)
	}
	f.down.Store(true)
	r.clock.advance(maxAge - 2*time.Second)
	if _, err := b.m.Grant(t.Context(), hash); err != nil {
		t.Errorf("within maxAge: %v", err)
	}
	r.clock.advance(2 * time.Second)
	_, err := b.m.Grant(t.Context(), hash)
	wantError(t, err, gateway.Unavailable, "can't be read")
	_, err = b.m.Grants(t.Context(), nil)
	wantError(t, err, gateway.Unavailable, "can't be read")
	u := r.peers[uwi]
	got, _ := u.call(borne, http.MethodPost, "/v1/token", "application/x-www-form-urlencoded", []byte(tokenRequest(hash, uwi).Encode()))
	wantAnswer(t, got, http.StatusServiceUnavailable, "GRENSLOOS_UNAVAILABLE")
	f.down.Store(false)
	if _, err := b.m.Grant(t.Context(), hash); err != nil {
		t.Errorf("after the store came back: %v", err)
	}
}

// What another process changes in the store is seen within maxAge; what this one changes, at once.
func TestGrantSeesAnotherProcess(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b, u := r.peers[borne].start(false), r.peers[uwi]
	c := r.content(r.connection(uwi, borne))
	hash := b.agree(c)
	if _, err := b.m.Grant(t.Context(), hash); err != nil {
		t.Fatal(err)
	}
	other, err := store.Open(t.Context(), store.Config{Pad: b.pad})
	must(t, err)
	defer other.Close()
	sig, err := contract.ParseSignature(u.sign(c, contract.Revoke))
	must(t, err)
	must(t, sig.Verify(u.ident.Cert(), c.Hash()))
	_, err = other.Sign(t.Context(), c, contract.Signed{Signature: *sig, Chain: u.ident.Chain(), Received: r.clock.now()}, nil)
	must(t, err)
	r.clock.advance(maxAge)
	_, err = b.m.Grant(t.Context(), hash)
	wantError(t, err, gateway.NotFound, "no valid contract")
}

// A grant ends by time without anybody writing anything: by the contract's own span, and with a signing certificate.
func TestGrantEndsByTime(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b, u := r.peers[borne].start(false), r.peers[uwi]
	n := r.newContent(r.connection(uwi, borne))
	n.NotBefore, n.NotAfter = r.clock.now().Add(time.Hour), r.clock.now().Add(2*time.Hour)
	c, err := contract.New(n)
	must(t, err)
	hash := b.agree(c)
	for _, step := range []struct {
		forward time.Duration
		valid   bool
	}{{0, false}, {61 * time.Minute, true}, {time.Hour, false}} {
		r.clock.advance(step.forward)
		if _, err := b.m.Grant(t.Context(), hash); (err == nil) != step.valid {
			t.Errorf("after %v more: %v, want valid %v", step.forward, err, step.valid)
		}
	}
	t.Run("a signature whose certificate ended counts no more, until it is put again", func(t *testing.T) {
		u.issue(certs.Request{Days: 1, ReuseKey: true})
		c := r.content(r.connection(uwi, borne))
		hash := b.agree(c)
		if _, err := b.m.Grant(t.Context(), hash); err != nil {
			t.Fatal(err)
		}
		r.clock.advance(25 * time.Hour)
		_, err := b.m.Grant(t.Context(), hash)
		wantError(t, err, gateway.NotFound, "no valid contract")
		d, err := b.m.Show(t.Context(), c.Hash())
		must(t, err)
		if d.State != contract.Proposed || len(d.Missing) != 1 || d.Missing[0] != uwi {
			t.Errorf("state %s, missing %v; want uwi to sign again", d.State, d.Missing)
		}
		u.issue(certs.Request{Days: 300, ReuseKey: true})
		wantAnswer(t, u.put(borne, c.Hash(), contract.Accept, c, u.sign(c, contract.Accept)), http.StatusCreated, "")
		if _, err := b.m.Grant(t.Context(), hash); err != nil {
			t.Errorf("after signing again: %v", err)
		}
	})
}

// A revoked certificate closes what it accepted, and leaves what it refused refused.
func TestRevokedCertificate(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b, u := r.peers[borne].start(false), r.peers[uwi]
	accepted, ended := r.content(r.connection(uwi, borne)), r.content(r.connection(uwi, borne))
	hash := b.agree(accepted)
	b.agree(ended)
	wantAnswer(t, u.put(borne, ended.Hash(), contract.Revoke, ended, u.sign(ended, contract.Revoke)), http.StatusCreated, "")
	if _, err := b.m.Grant(t.Context(), hash); err != nil {
		t.Fatal(err)
	}
	must(t, certs.Revoke(r.pki, u.ident.Cert().SerialNumber.Text(16)))
	must(t, b.group.Reload())
	r.clock.advance(maxAge)
	_, err := b.m.Grant(t.Context(), hash)
	wantError(t, err, gateway.NotFound, "no valid contract")
	if got := b.state(ended.Hash()); got != contract.Revoked {
		t.Errorf("what it revoked is %s", got)
	}
	_, err = b.m.Grant(t.Context(), ended.GrantHashes()[0])
	wantError(t, err, gateway.NotFound, "no valid contract")
}

// A no outlives the certificate that signed it: the accept beside it, under a certificate that still counts, opens nothing.
func TestRevokeOutlivesItsCertificate(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b, u := r.peers[borne].start(false), r.peers[uwi]
	c := r.content(r.connection(uwi, borne))
	hash := b.agree(c)
	u.issue(certs.Request{Days: 1, ReuseKey: true})
	wantAnswer(t, u.put(borne, c.Hash(), contract.Revoke, c, u.sign(c, contract.Revoke)), http.StatusCreated, "")
	r.clock.advance(25 * time.Hour)
	_, err := b.m.Grant(t.Context(), hash)
	wantError(t, err, gateway.NotFound, "no valid contract")
	if got := b.state(c.Hash()); got != contract.Revoked {
		t.Errorf("state %s", got)
	}
}

// An act that the audit log did not take does not take effect, whoever's act it is.
func TestNoActWithoutItsRecord(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b, u := r.peers[borne].start(false), r.peers[uwi]
	known := r.content(r.connection(uwi, borne))
	wantAnswer(t, u.submit(borne, known, u.sign(known, contract.Accept)), http.StatusCreated, "")
	fail := func(audit.Record) error { return errDown }
	for name, set := range map[string]func(func(audit.Record) error){
		"refused":            func(f func(audit.Record) error) { b.log.Fail = f },
		"kept but not known": func(f func(audit.Record) error) { b.log.FailPersisted = f },
	} {
		t.Run(name, func(t *testing.T) {
			set(fail)
			defer set(nil)
			before, err := b.store.Changes(t.Context())
			must(t, err)
			_, err = b.m.Propose(t.Context(), r.newContent(r.connection(uwi, borne)), "m1.test")
			wantError(t, err, gateway.Unavailable, "audit log")
			for name, act := range map[string]func(context.Context, gateway.ContentHash, string) error{"accept": b.m.Accept, "reject": b.m.Reject} {
				if err := act(t.Context(), known.Hash(), "m1.test"); gateway.KindOf(err) != gateway.Unavailable {
					t.Errorf("%s: %v", name, err)
				}
			}
			fresh := r.content(r.connection(uwi, borne))
			wantAnswer(t, u.submit(borne, fresh, u.sign(fresh, contract.Accept)), http.StatusServiceUnavailable, audit.WriteError)
			wantAnswer(t, u.put(borne, known.Hash(), contract.Revoke, known, u.sign(known, contract.Revoke)), http.StatusServiceUnavailable, audit.WriteError)
			if after, err := b.store.Changes(t.Context()); err != nil || after != before {
				t.Errorf("changes from %d to %d, %v", before, after, err)
			}
		})
	}
	must(t, b.m.Accept(t.Context(), known.Hash(), "m1.test")) // the log is back
	if got := b.state(known.Hash()); got != contract.Valid {
		t.Errorf("state %s", got)
	}
}

// hesitant writes a signature and only then says so, with an error or without.
type hesitant struct {
	keeper
	written func() // called after the write, before it returns; nil: not
	err     error
}

func (h *hesitant) Sign(ctx context.Context, c *contract.Content, sig contract.Signed, deliver []contract.Delivery) (bool, error) {
	adds, err := h.keeper.Sign(ctx, c, sig, deliver)
	if h.written != nil {
		h.written()
	}
	return adds, errors.Join(err, h.err)
}

// A revocation that is in the store is seen by the next question, also before the write has returned, and when it says that it failed.
func TestGrantSeesAWriteThatIsUnderWay(t *testing.T) {
	r := newRegion(t, nil, borne, uwi)
	b := r.peers[borne]
	var h *hesitant
	b.faults = func(k keeper) keeper { h = &hesitant{keeper: k}; return h }
	b.start(false)
	c := r.content(r.connection(uwi, borne))
	grant := b.agree(c)
	if _, err := b.m.Grant(t.Context(), grant); err != nil {
		t.Fatal(err)
	}
	var during error
	h.written = func() { _, during = b.m.Grant(t.Context(), grant) }
	h.err = gateway.Errorf(gateway.Unavailable, "disk")
	if err := b.m.Revoke(t.Context(), c.Hash(), "m1.test"); err == nil {
		t.Fatal("the store's error is gone")
	}
	wantError(t, during, gateway.NotFound, "no valid contract")
	_, err := b.m.Grant(t.Context(), grant)
	wantError(t, err, gateway.NotFound, "no valid contract")
}
