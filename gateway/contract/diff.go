package contract

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Change is one thing in which a contract differs from another.
type Change struct {
	Kind  ChangeKind
	Grant string // of which grant, in words; empty: of the contract as a whole
	Field string // empty for a grant that was added or removed
	Old   string
	New   string
}

// ChangeKind says what happened.
type ChangeKind string

// The kinds of change.
const (
	Added   ChangeKind = "toegevoegd"
	Removed ChangeKind = "vervallen"
	Changed ChangeKind = "gewijzigd"
)

// Diff lists what new changes against old: its validity, grants added and removed, and per grant that is in both its outway, the
// version and meaning of its purpose, fields, and the rest of its properties. Equal contracts give nothing: created_at and iv do
// not count.
func Diff(old, new *Content) []Change {
	var out []Change
	change := func(grant, field, from, to string) {
		if from != to {
			out = append(out, Change{Kind: Changed, Grant: grant, Field: field, Old: from, New: to})
		}
	}
	change("", "geldigVanaf", day(old.NotBefore()), day(new.NotBefore()))
	change("", "geldigTot", day(old.NotAfter()), day(new.NotAfter()))
	before, after := old.byKey(), new.byKey()
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[key]; !ok {
			out = append(out, Change{Kind: Removed, Grant: key})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(after)) {
		was, ok := before[key]
		if !ok {
			out = append(out, Change{Kind: Added, Grant: key})
			continue
		}
		a, b := fields(was), fields(after[key])
		for _, field := range slices.Sorted(maps.Keys(both(a, b))) {
			kind := Changed
			switch {
			case a[field] == b[field]:
				continue
			case a[field] == "":
				kind = Added
			case b[field] == "":
				kind = Removed
			}
			out = append(out, Change{Kind: kind, Grant: key, Field: field, Old: a[field], New: b[field]})
		}
	}
	return out
}

// Supersedes reports whether c can take the place of old: it was made later and holds a grant between the same peers, for the same
// service and purpose.
func (c *Content) Supersedes(old *Content) bool {
	if c.hash == old.hash || c.CreatedAt < old.CreatedAt {
		return false
	}
	mine := c.byKey()
	for key := range old.byKey() {
		if _, ok := mine[key]; ok {
			return true
		}
	}
	return false
}

// Covers reports whether c holds every grant of old, between the same peers, for the same service and purpose.
func (c *Content) Covers(old *Content) bool {
	mine := c.byKey()
	for key := range old.byKey() {
		if _, ok := mine[key]; !ok {
			return false
		}
	}
	return true
}

func both(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func day(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// byKey gives the grants by what does not change when a contract is renewed: who, whom, which service, for which purpose. A
// second grant with the same key gets a number.
func (c *Content) byKey() map[string]grantAt {
	out := map[string]grantAt{}
	for i, env := range c.Grants {
		key := keyOf(env.Data, c.doelen[i].properties)
		for n := 2; ; n++ {
			if _, taken := out[key]; !taken {
				break
			}
			key = keyOf(env.Data, c.doelen[i].properties) + " #" + strconv.Itoa(n)
		}
		out[key] = grantAt{env.Data, c.doelen[i].properties}
	}
	return out
}

type grantAt struct {
	data       GrantData
	properties gateway.Properties
}

func keyOf(d GrantData, p gateway.Properties) string {
	var parts []string
	add := func(word, value string) {
		if value != "" {
			parts = append(parts, word+" "+value)
		}
	}
	if d.Outway != nil {
		parts = append(parts, string(d.Outway.PeerID)+" vraagt "+string(d.Service.Name)+" van "+string(d.Service.PeerID))
	} else if d.Directory != nil {
		parts = append(parts, string(d.Service.PeerID)+" publiceert "+string(d.Service.Name)+" bij "+string(d.Directory.PeerID))
	}
	if d.Service.Delegator != nil {
		add("aangeboden voor", string(d.Service.Delegator.PeerID))
	}
	if d.Delegator != nil {
		add("in opdracht van", string(d.Delegator.PeerID))
	}
	add("doel", string(p.Doel))
	add("namens", string(p.NamensCollege))
	return strings.Join(parts, ", ")
}

// fields are the members of a grant that may differ between two that have the same key, as text.
func fields(g grantAt) map[string]string {
	out := map[string]string{}
	put := func(name, value string) {
		if value != "" {
			out[name] = value
		}
	}
	if o := g.data.Outway; o != nil {
		put("outway.sleutel", strings.ToLower(o.Identification.PublicKeyThumbprint))
		put("outway.domein", strings.ToLower(o.Identification.DomainName))
	}
	put("service.protocol", g.data.Service.Protocol)
	if p := g.properties; p.Doel != "" {
		put("doelVersie", strconv.Itoa(p.DoelVersie))
		put("doelDigest", p.DoelDigest)
		put("verwerkersovereenkomst", p.Verwerkersovereenkomst)
		for dienst, velden := range p.Velden {
			for _, veld := range velden {
				put("velden."+string(dienst)+"."+string(veld), "ja")
			}
		}
	}
	var all map[string]json.RawMessage
	_ = json.Unmarshal(g.data.Properties, &all) // it parsed before
	for name, raw := range all {
		if !slices.Contains(ownProperties, name) {
			put("properties."+name, string(raw))
		}
	}
	return out
}
