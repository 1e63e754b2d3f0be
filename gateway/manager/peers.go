package manager

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/edge"
	"github.com/grensloos/grensloos/gateway/jose"
)

const (
	callTimeout = 10 * time.Second
	maxAnswer   = 256 << 10
	// keysPause is the least time between two readings of one peer's key set, so that a stranger's thumbprints don't make us call.
	keysPause = 5 * time.Second
)

// Peers are the managers of the other peers: where they are and which certificates they sign with. Make it with its fields; use it
// by pointer.
type Peers struct {
	// Addresses are the managers by peer, https://host:port, that the configuration gives. They win over what Book knows.
	Addresses map[gateway.PeerID]string
	// Book knows where the other managers may be: gateway/store, from what peers and directories told. Nil: nobody else is known.
	Book addressBook
	// Own is this manager's address, sent along as Fsc-Manager-Address.
	Own string
	// Transport calls one peer over mTLS and reaches nobody else: certs.Transport.To.
	Transport func(gateway.PeerID) http.RoundTripper
	// VerifyChain checks a signing certificate: certs.Group.VerifyChain.
	VerifyChain func(chain []*x509.Certificate, at time.Time) (gateway.Peer, error)
	Now         func() time.Time

	flight singleflight.Group
	mu     sync.Mutex
	keys   map[gateway.PeerID]keySet // guarded by mu
	good   map[gateway.PeerID]string // the address that last answered; guarded by mu
}

// addressBook is where peers may be. An address is a hint: Transport lets nobody but the peer itself answer.
type addressBook interface {
	PeerAddresses(context.Context, gateway.PeerID) ([]string, error)
}

type keySet struct {
	read   time.Time
	chains map[string][]*x509.Certificate // by thumbprint
}

// Certificate returns the chain of the certificate with thumbprint x5t that peer publishes (FSC Core, JWKS), verified at this
// moment. Denied: the peer publishes no such certificate, or it does not count. Unavailable: the peer can't be asked.
func (p *Peers) Certificate(ctx context.Context, peer gateway.PeerID, x5t string) ([]*x509.Certificate, error) {
	set, ok := p.cached(peer)
	if _, has := set.chains[x5t]; !has && (!ok || p.Now().Sub(set.read).Abs() >= keysPause) {
		fetched, err, _ := p.flight.Do(string(peer), func() (any, error) { return p.fetchKeys(context.WithoutCancel(ctx), peer) })
		if err != nil {
			return nil, err
		}
		set = fetched.(keySet)
	}
	chain, has := set.chains[x5t]
	if !has {
		return nil, gateway.Errorf(gateway.Denied, "peer %s publishes no certificate with this x5t#S256 in its jwks.json", peer)
	}
	owner, err := p.VerifyChain(chain, p.Now())
	if err != nil {
		return nil, err
	}
	if owner.ID != peer {
		return nil, gateway.Errorf(gateway.Denied, "peer %s publishes a certificate of peer %s", peer, owner.ID)
	}
	return chain, nil
}

// holder is the peer that is known to sign with x5t, if any.
func (p *Peers) holder(x5t string) gateway.PeerID {
	p.mu.Lock()
	defer p.mu.Unlock()
	for peer, set := range p.keys {
		if _, ok := set.chains[x5t]; ok {
			return peer
		}
	}
	return ""
}

func (p *Peers) cached(peer gateway.PeerID) (keySet, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	set, ok := p.keys[peer]
	return set, ok
}

func (p *Peers) fetchKeys(ctx context.Context, peer gateway.PeerID) (keySet, error) {
	status, body, err := p.call(ctx, peer, http.MethodGet, "/v1/.well-known/jwks.json", "", nil)
	if err != nil { // why is for our log: where to look was the peer's word, and what we found there is not for it to know
		return keySet{}, &gateway.Error{
			Kind: gateway.Unavailable, Message: "jwks.json of peer " + string(peer) + ": can't be fetched now", Cause: gateway.Wrap(gateway.Internal, err, "fetch"),
		}
	}
	if status != http.StatusOK {
		return keySet{}, gateway.Errorf(gateway.Unavailable, "jwks.json of peer %s: status %d", peer, status)
	}
	keys, err := jose.ParseJWKS(body)
	if err != nil {
		return keySet{}, gateway.Wrap(gateway.Denied, err, "jwks.json of peer "+string(peer))
	}
	set := keySet{read: p.Now(), chains: map[string][]*x509.Certificate{}}
	for _, k := range keys {
		if len(k.Chain) > 0 {
			set.chains[k.X5T] = k.Chain
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		p.keys = map[gateway.PeerID]keySet{}
	}
	p.keys[peer] = set
	return set, nil
}

// addresses are where the manager of a peer may be, in the order in which to try: the configured one alone, or the one that last
// answered and then what Book knows.
func (p *Peers) addresses(ctx context.Context, peer gateway.PeerID) ([]string, error) {
	if configured := p.Addresses[peer]; configured != "" {
		return []string{configured}, nil
	}
	if p.Book == nil {
		return nil, nil
	}
	known, err := p.Book.PeerAddresses(ctx, peer)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	good := p.good[peer]
	p.mu.Unlock()
	var all []string
	if slices.Contains(known, good) {
		all = append(all, good)
	}
	for _, address := range known {
		if !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	return all, nil
}

// call asks another manager, at each of its addresses until one answers. The error is of kind Unavailable, or Denied if who
// answers turns out to be another.
func (p *Peers) call(ctx context.Context, peer gateway.PeerID, method, path, contentType string, body []byte) (int, []byte, error) {
	all, err := p.addresses(ctx, peer)
	if err != nil {
		return 0, nil, err
	}
	if len(all) == 0 {
		return 0, nil, gateway.Errorf(gateway.Unavailable, "peer %s: the address of its manager is not known; no directory lists it, and it is not in peers", peer)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, base := range all {
		var status int
		var answer []byte
		if status, answer, err = p.callAt(ctx, base, peer, method, path, contentType, body); err == nil {
			p.mu.Lock()
			if p.good == nil {
				p.good = map[gateway.PeerID]string{}
			}
			p.good[peer] = base
			p.mu.Unlock()
			return status, answer, nil
		}
	}
	return 0, nil, err
}

func (p *Peers) callAt(ctx context.Context, base string, peer gateway.PeerID, method, path, contentType string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(base, "/")+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, gateway.Wrap(gateway.Invalid, err, "address of the manager of peer "+string(peer))
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if method != http.MethodGet {
		req.Header.Set(edge.HeaderManager, p.Own)
	}
	req.Header.Set("Accept", "application/json")
	client := http.Client{ // no redirects: another address is another peer until the configuration says otherwise
		Transport:     p.Transport(peer),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		kind := gateway.Unavailable
		if gateway.KindOf(err) == gateway.Denied {
			kind = gateway.Denied
		}
		return 0, nil, gateway.Wrap(kind, err, "manager of peer "+string(peer))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return 0, nil, gateway.Wrap(gateway.Unavailable, err, "manager of peer "+string(peer))
	}
	if len(answer) > maxAnswer {
		return 0, nil, gateway.Errorf(gateway.Unavailable, "manager of peer %s: answers more than %d bytes", peer, maxAnswer)
	}
	return resp.StatusCode, answer, nil
}

// signatureBody is the body of POST /contracts and of accept, reject and revoke.
type signatureBody struct {
	Content   json.RawMessage `json:"content"`
	Signature string          `json:"signature"`
}

// send brings one signature to its receiver.
func (p *Peers) send(ctx context.Context, d contract.Delivery, content json.RawMessage) (int, []byte, error) {
	body, err := json.Marshal(signatureBody{Content: content, Signature: d.JWS})
	if err != nil {
		return 0, nil, gateway.Wrap(gateway.Internal, err, "contract")
	}
	method, path := http.MethodPut, "/v1/contracts/"+string(d.Contract)+"/"+string(d.Type)
	if d.Submit {
		method, path = http.MethodPost, "/v1/contracts"
	}
	return p.call(ctx, d.Receiver, method, path, "application/json", body)
}
