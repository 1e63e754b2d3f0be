package contract

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
)

const (
	asker     gateway.PeerID = "00000099900000001000"
	provider  gateway.PeerID = "00000099000000147000"
	lister    gateway.PeerID = "00000099900000009000"
	providing                = "00000099900000001000 vraagt clientgegevens van 00000099000000147000"
)

func diffConnection(thumbprint, properties string) GrantData {
	return GrantData{
		Type:       gateway.ServiceConnection,
		Outway:     &Outway{PeerID: asker, Identification: Identification{Type: ByThumbprint, PublicKeyThumbprint: strings.Repeat(thumbprint, 64)}},
		Service:    Service{Type: ServiceTypeService, PeerID: provider, Name: "clientgegevens"},
		Properties: json.RawMessage(properties),
	}
}

func doel(id string, version int, velden string) string {
	raw, _ := json.Marshal(map[string]any{
		"doel": id, "doelVersie": version, "doelDigest": strings.Repeat("A", 43), "velden": json.RawMessage(velden), "namensCollege": provider,
	})
	return string(raw)
}

func diffContent(t *testing.T, created, until int, grants ...GrantData) *Content {
	t.Helper()
	day := func(n int) time.Time { return time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, n) }
	c, err := New(NewContent{Group: "g", Grants: grants, NotBefore: day(0), NotAfter: day(until), Now: day(created)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDiff(t *testing.T) {
	bound := func(version int, velden string) GrantData {
		return diffConnection("a", doel("pw-uitkering", version, velden))
	}
	const key = providing + ", doel pw-uitkering, namens 00000099000000147000"
	old := diffContent(t, 0, 30, bound(1, `{"uitkering":["loopt","soort"]}`))
	published := func(code string) GrantData {
		return Publish(Publication{Directory: lister, Peer: provider, Service: "clientgegevens", Gemeentecode: code})
	}
	const publishing = "00000099000000147000 publiceert clientgegevens bij 00000099900000009000"
	for name, tt := range map[string]struct {
		old, new   *Content
		want       []Change
		supersedes bool
	}{
		"the same":    {old, diffContent(t, 1, 30, bound(1, `{"uitkering":["loopt","soort"]}`)), nil, true},
		"made before": {diffContent(t, 1, 30, bound(1, `{}`)), diffContent(t, 0, 30, bound(1, `{}`)), nil, false},
		"dates": {
			old, diffContent(t, 1, 60, bound(1, `{"uitkering":["loopt","soort"]}`)),
			[]Change{{Changed, "", "geldigTot", "2026-12-01T00:00:00Z", "2026-12-31T00:00:00Z"}},
			true,
		},
		"version and fields": {old, diffContent(t, 1, 30, bound(2, `{"uitkering":["loopt"],"persoon":["naam"]}`)), []Change{
			{Changed, key, "doelVersie", "1", "2"}, {Added, key, "velden.persoon.naam", "", "ja"}, {Removed, key, "velden.uitkering.soort", "ja", ""},
		}, true},
		"another purpose": {old, diffContent(t, 1, 30, diffConnection("a", doel("pw-reintegratie", 1, `{}`))), []Change{
			{Kind: Removed, Grant: key}, {Kind: Added, Grant: strings.Replace(key, "pw-uitkering", "pw-reintegratie", 1)},
		}, false},
		"another key of the outway": {
			diffContent(t, 0, 30, diffConnection("a", `{}`)), diffContent(t, 1, 30, diffConnection("B", `{}`)),
			[]Change{{Changed, providing, "outway.sleutel", strings.Repeat("a", 64), strings.Repeat("b", 64)}},
			true,
		},
		"another gemeentecode": {
			diffContent(t, 0, 30, published("0147")), diffContent(t, 1, 30, published("0163")),
			[]Change{{Changed, publishing, "properties.gemeentecode", `"0147"`, `"0163"`}},
			true,
		},
		"twice the same parties": {
			diffContent(t, 0, 30, diffConnection("a", `{}`)), diffContent(t, 1, 30, diffConnection("a", `{}`), diffConnection("b", `{}`)),
			[]Change{{Kind: Added, Grant: providing + " #2"}},
			true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Diff(tt.old, tt.new)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := tt.new.Supersedes(tt.old); got != tt.supersedes {
				t.Errorf("supersedes %v, want %v", got, tt.supersedes)
			}
		})
	}
}

// gemeentecode stands in publications only, as four digits in text.
func TestGemeentecode(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	publication := Publish(Publication{Directory: lister, Peer: provider, Service: "clientgegevens"})
	for name, tt := range map[string]struct {
		grant      GrantData
		properties string
		code       string
		ok         bool
	}{
		"a publication":       {publication, `{"gemeentecode":"0147"}`, "0147", true},
		"none":                {publication, `{}`, "", true},
		"a number":            {publication, `{"gemeentecode":147}`, "", false},
		"three digits":        {publication, `{"gemeentecode":"147"}`, "", false},
		"null":                {publication, `{"gemeentecode":null}`, "", false},
		"another name":        {publication, `{"gemeente":"0147"}`, "", false},
		"a purpose":           {publication, doel("pw-uitkering", 1, `{}`), "", false},
		"in a connection":     {diffConnection("a", ""), `{"gemeentecode":"0147"}`, "", false},
		"a connection's none": {diffConnection("a", ""), `{}`, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			tt.grant.Properties = json.RawMessage(tt.properties)
			c := diffContent(t, 0, 30, tt.grant)
			err := c.Validate(Rules{Group: gateway.GroupRules{ID: "g"}}, now)
			if (err == nil) != tt.ok {
				t.Fatalf("%v, want accepted %v", err, tt.ok)
			}
			if p := c.Publications(); len(p) > 0 && p[0].Gemeentecode != tt.code {
				t.Errorf("code %q, want %q", p[0].Gemeentecode, tt.code)
			}
		})
	}
}
