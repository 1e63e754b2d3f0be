package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
)

// region is a group of peers on one machine: certificates, keys, configurations and data folders below one folder. The demo and
// the end-to-end tests lay one out and then use it as an operator would: by its files.
type region struct {
	dir   string
	group gateway.GroupID
	pki   string
	peers []*regionPeer
}

// regionPeer is one peer of a region.
type regionPeer struct {
	ID           gateway.PeerID
	Name         string
	Gemeentecode string                                      // empty: not a gemeente
	Source       func(ctx context.Context, dir string) error // writes bron.db and mapping.yaml into dir; nil: no connector
	LocalPolicy  []byte                                      // Rego of its own; nil: none
	Real         bool                                        // not demo: BSNs outside the test block are accepted
	AnswerWithin time.Duration                               // how long one gemeente gets to answer its questions; 0: the default
	Directory    bool                                        // a directory: it accepts publications, and the others know nobody but it

	dir   string
	ports regionPorts
}

// regionPorts are the loopback ports of one peer.
type regionPorts struct{ Manager, Inway, Outway, Bevraging, Beheer, Kafka int }

func (p *regionPeer) config() string { return filepath.Join(p.dir, "peer.yaml") }

// crlFor is how long a region's revocation lists hold: longer than a demo or a test, which nobody keeps for a week.
const crlFor = 7 * 24 * time.Hour

// layRegion writes everything that the peers need to start.
func layRegion(ctx context.Context, dir string, peers ...*regionPeer) (*region, error) {
	r := &region{dir: dir, group: "demo.midden-twente.example", pki: filepath.Join(dir, "pki"), peers: peers}
	if err := certs.InitPKI(r.pki, certs.InitOptions{Name: "Midden Twente demo"}); err != nil {
		return nil, fmt.Errorf("region: %w", err)
	}
	if err := certs.CRL(r.pki, crlFor); err != nil {
		return nil, fmt.Errorf("region: %w", err)
	}
	ports, err := freePorts(6 * len(peers))
	if err != nil {
		return nil, fmt.Errorf("region: %w", err)
	}
	for i, p := range peers {
		p.dir = filepath.Join(dir, strings.ToLower(strings.ReplaceAll(p.Name, " ", "-")))
		n := ports[6*i:]
		p.ports = regionPorts{n[0], n[1], n[2], n[3], n[4], n[5]}
	}
	for _, p := range peers {
		if err := r.lay(ctx, p); err != nil {
			return nil, fmt.Errorf("region: %s: %w", p.Name, err)
		}
	}
	return r, nil
}

func (r *region) lay(ctx context.Context, p *regionPeer) error {
	loopback := []net.IP{net.IPv4(127, 0, 0, 1)}
	if _, err := certs.Issue(r.pki, certs.Request{OIN: p.ID, Name: p.Name, Hosts: []string{"localhost"}, IPs: loopback, Out: filepath.Join(p.dir, "group")}); err != nil {
		return err
	}
	intern := filepath.Join(p.dir, "intern")
	if err := certs.InitPKI(intern, certs.InitOptions{Name: p.Name + " intern", Internal: true}); err != nil {
		return err
	}
	if _, err := certs.Issue(intern, certs.Request{Hosts: []string{"localhost"}, IPs: loopback, Internal: true, Out: filepath.Join(p.dir, "netwerk")}); err != nil {
		return err
	}
	if err := writeIssuer(p.dir); err != nil {
		return err
	}
	pseudonym := make([]byte, 32)
	_, _ = rand.Read(pseudonym)
	if err := os.WriteFile(filepath.Join(p.dir, "pseudoniem.key"), pseudonym, 0o600); err != nil {
		return err
	}
	if p.LocalPolicy != nil {
		if err := os.MkdirAll(filepath.Join(p.dir, "beleid"), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(p.dir, "beleid", "lokaal.rego"), p.LocalPolicy, 0o600); err != nil {
			return err
		}
	}
	if p.Source != nil {
		if err := p.Source(ctx, p.dir); err != nil {
			return err
		}
	}
	return r.writeConfig(p)
}

// writeIssuer makes the key of the issuer of JWTs on the peer's own network.
func writeIssuer(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "issuer.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "issuer.pem"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600)
}

// regionConfig is the configuration of a peer of a region. It is also what an operator starts from.
var regionConfig = template.Must(template.New("peer.yaml").Parse(`# {{.Peer.Name}}, a peer on one machine. Every key is explained in the Config struct (cmd/grensloos/config.go).
peer: {id: "{{.Peer.ID}}", naam: "{{.Peer.Name}}"{{if .Peer.Gemeentecode}}, gemeentecode: "{{.Peer.Gemeentecode}}"{{end}}}
map: data
demo: {{not .Peer.Real}}
group:
  id: {{.Group}}
  poorten: [{{range $i, $p := .Ports}}{{if $i}}, {{end}}{{$p}}{{end}}]
  vertrouwen:
    ankers: [../pki/root.pem]
    crls: [../pki/root.crl, ../pki/intermediate.crl]
certificaat: {certificaat: group/cert.pem, sleutel: group/key.pem}
netwerk:
  certificaat: {certificaat: netwerk/cert.pem, sleutel: netwerk/key.pem}
  ca: intern/root.pem
  issuer: https://issuer.{{.Peer.ID}}.example
  issuerSleutels: [issuer.pem]
  issuerSleutel: issuer.key
pseudoniemen: {1: pseudoniem.key}
manager: {luister: "127.0.0.1:{{.Peer.Port.Manager}}", adres: "https://127.0.0.1:{{.Peer.Port.Manager}}"{{if .Peer.Directory}}, directory: {accepteer: true}{{else if .Directories}}, directory: {ververs: 1s}{{end}}}
{{- if .Directories}}
directories:
{{- range .Directories}}
  - {id: "{{.ID}}", manager: "https://127.0.0.1:{{.Port.Manager}}"}
{{- end}}
{{- end}}
{{- if .Peer.Source}}
inway:
  luister: 127.0.0.1:{{.Peer.Port.Inway}}
  adres: https://127.0.0.1:{{.Peer.Port.Inway}}
  services:
    clientgegevens: {}
bron:
  database: {bestand: bron.db, mapping: mapping.yaml}
{{- end}}
outway: {luister: "127.0.0.1:{{.Peer.Port.Outway}}"}
bevraging: {luister: "127.0.0.1:{{.Peer.Port.Bevraging}}"{{if .Peer.AnswerWithin}}, wachttijdGemeente: {{.Peer.AnswerWithin}}{{end}}}
beheer: {luister: "127.0.0.1:{{.Peer.Port.Beheer}}"}
{{- if .Peer.LocalPolicy}}
beleid: {lokaal: beleid}
{{- end}}
audit:
  ingebouwd: {poort: {{.Peer.Port.Kafka}}}
{{- if .Others}}
peers:
{{- end}}
{{- range .Others}}
  - {id: "{{.ID}}", naam: "{{.Name}}", manager: "https://127.0.0.1:{{.Port.Manager}}"{{if .Gemeentecode}}, gemeentecode: "{{.Gemeentecode}}"{{end}}}
{{- end}}
`))

func (r *region) writeConfig(p *regionPeer) error {
	var ports []int
	var others, directories []*regionPeer
	known := slices.ContainsFunc(r.peers, func(p *regionPeer) bool { return p.Directory })
	for _, other := range r.peers {
		ports = append(ports, other.ports.Manager, other.ports.Inway)
		switch {
		case other == p:
		case other.Directory:
			directories = append(directories, other)
		case !known:
			others = append(others, other)
		}
	}
	var out strings.Builder
	if err := regionConfig.Execute(&out, map[string]any{"Peer": p, "Group": r.group, "Ports": ports, "Others": others, "Directories": directories}); err != nil {
		return err
	}
	return os.WriteFile(p.config(), []byte(out.String()), 0o600)
}

// Port gives the template the ports.
func (p *regionPeer) Port() regionPorts { return p.ports }

// freePorts finds loopback ports that nobody listens on at this moment.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // bound and closed at once
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
