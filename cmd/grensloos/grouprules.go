package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/jose"
)

// GroupRules is what FSC Core leaves a group to decide, and every peer of the group must have alike: one file, the same at all of
// them. Where anchors and revocation lists stand on a disk is each peer's own, and so is not in it.
type GroupRules struct {
	// ID is the Group ID, such as "midden-twente.example".
	ID gateway.GroupID `yaml:"id" json:"id"`
	// Ports on which peers may listen. FSC Core: 443 and 8443, the default.
	Ports []int `yaml:"poorten" json:"poorten"`
	// FSCVersion is the version of FSC Core that the group speaks. Default: the one of this program.
	FSCVersion string `yaml:"fscVersie" json:"fscVersie"`
	// Directories are the peers that list the others and their services.
	Directories []DirectoryPeer `yaml:"directories" json:"directories"`
	// Retention is how many days each kind of audit record (transactie, adl, ldv, afloop ...) is kept at least. The cluster of
	// audit.kafka must keep its topics that long. Empty: each peer decides.
	Retention map[audit.Soort]int `yaml:"bewaartermijnen" json:"bewaartermijnen"`
}

// DirectoryPeer is a directory of the group and where its manager listens.
type DirectoryPeer struct {
	// ID is the directory's OIN; its certificate must say the same.
	ID gateway.PeerID `yaml:"id" json:"id"`
	// Manager is the https URL of its manager.
	Manager string `yaml:"manager" json:"manager"`
}

// loadGroupRules reads the file of the group. The error names the file, and the line and key of all that is wrong.
func loadGroupRules(file string) (*GroupRules, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("group.bestand: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("group.bestand %s: %w", file, err)
	}
	if len(raw) > maxConfig {
		return nil, fmt.Errorf("group.bestand %s: larger than %d bytes", file, maxConfig)
	}
	r := &GroupRules{}
	if err := decodeStrict(raw, r); err != nil {
		return nil, fmt.Errorf("group.bestand %s: %w", file, err)
	}
	r.defaults()
	tree, err := parser.ParseBytes(raw, 0)
	if err != nil {
		return nil, fmt.Errorf("group.bestand %s: %w", file, err)
	}
	var errs []error
	r.check(func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s:%d: %s: %s", file, lineOf(tree, key), key, fmt.Sprintf(format, args...)))
	})
	return r, errors.Join(errs...)
}

// lineOf is the line of a key such as "directories[1].manager", or of the nearest key above it that is there.
func lineOf(tree *ast.File, key string) int {
	for key != "" {
		if path, err := yaml.PathString("$." + key); err == nil {
			if node, err := path.FilterFile(tree); err == nil && node.GetToken() != nil {
				return node.GetToken().Position.Line
			}
		}
		cut := max(lastByte(key, '.'), lastByte(key, '['))
		key = key[:max(cut, 0)]
	}
	return 1
}

func lastByte(s string, b byte) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == b {
			return i
		}
	}
	return -1
}

func (r *GroupRules) defaults() {
	if len(r.Ports) == 0 {
		r.Ports = []int{443, 8443}
	}
	r.FSCVersion = cmp.Or(r.FSCVersion, contract.Version)
}

// check tells bad of every key that is wrong.
func (r *GroupRules) check(bad func(key, format string, args ...any)) {
	if _, err := gateway.ParseGroupID(string(r.ID)); err != nil {
		bad("id", "%v", err)
	}
	for i, port := range r.Ports {
		if port < 1 || port > 65535 {
			bad("poorten["+strconv.Itoa(i)+"]", "give 1 to 65535")
		} else if slices.Contains(r.Ports[:i], port) {
			bad("poorten["+strconv.Itoa(i)+"]", "stands twice")
		}
	}
	if r.FSCVersion != contract.Version {
		bad("fscVersie", "%.20q: this program speaks %s", r.FSCVersion, contract.Version)
	}
	for i, d := range r.Directories {
		key := "directories[" + strconv.Itoa(i) + "]"
		if _, err := gateway.ParsePeerID(string(d.ID)); err != nil {
			bad(key+".id", "%v", err)
		} else if slices.ContainsFunc(r.Directories[:i], func(o DirectoryPeer) bool { return o.ID == d.ID }) {
			bad(key+".id", "stands twice")
		}
		u, err := url.Parse(d.Manager)
		if err != nil || u.Scheme != "https" || u.Port() == "" || (u.Path != "" && u.Path != "/") {
			bad(key+".manager", "give https://host:port")
		} else if port, _ := strconv.Atoi(u.Port()); !slices.Contains(r.Ports, port) {
			bad(key+".manager", "port %s is not one of poorten %v", u.Port(), r.Ports)
		}
	}
	for soort, days := range r.Retention {
		if !slices.Contains(audit.Soorten(), soort) {
			bad("bewaartermijnen."+string(soort), "no such kind of record: use %v", audit.Soorten())
		} else if days < 1 {
			bad("bewaartermijnen."+string(soort), "give days, 1 or more")
		}
	}
}

// digest is the SHA-256, in hex, over the canonical JSON (RFC 8785) of what the rules mean: order and remarks don't change it. Two
// peers with the same digest have the same rules.
func (r GroupRules) digest() string {
	r.defaults()
	r.Ports = slices.Sorted(slices.Values(r.Ports))
	r.Directories = slices.SortedFunc(slices.Values(r.Directories), func(a, b DirectoryPeer) int { return cmp.Compare(a.ID, b.ID) })
	if r.Directories == nil {
		r.Directories = []DirectoryPeer{}
	}
	if r.Retention == nil {
		r.Retention = map[audit.Soort]int{}
	}
	raw, err := jose.Canonical(r)
	if err != nil {
		panic("group rules: " + err.Error()) // numbers and strings always encode
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// load reads the file of the group, if there is one, relative to dir.
func (g *GroupConfig) load(dir string) (err error) {
	if g.File == "" {
		return nil
	}
	if g.ID != "" || len(g.Ports) > 0 {
		return errors.New("group: id and poorten stand in bestand; give the file, or them, not both")
	}
	if !filepath.IsAbs(g.File) {
		g.File = filepath.Join(dir, g.File)
	}
	if g.loaded, err = loadGroupRules(g.File); err != nil {
		return err
	}
	g.ID, g.Ports = g.loaded.ID, g.loaded.Ports
	return nil
}

// rules are the rules in force: those of the file, else those that stand in the configuration itself.
func (g *GroupConfig) rules() GroupRules {
	if g.loaded != nil {
		return *g.loaded
	}
	r := GroupRules{ID: g.ID, Ports: g.Ports}
	r.defaults()
	return r
}

func (g *GroupConfig) digest() string { return g.rules().digest() }
