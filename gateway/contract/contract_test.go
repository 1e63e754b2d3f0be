package contract_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
)

const (
	uwi       = gateway.PeerID("00000099900000001000")
	borne     = gateway.PeerID("00000099000000147000")
	hengelo   = gateway.PeerID("00000099000000164000")
	directory = gateway.PeerID("00000099900000009000")
	group     = gateway.GroupID("demo.regio.example")
	thumb     = "3a56f2e9269ac63f0d4394c46b96539da1625b6a985d38029ff89f34e490960c"
	doel      = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU" // a digest
)

var (
	now   = time.Unix(1767226000, 0)
	rules = contract.Rules{Group: gateway.GroupRules{ID: group}}
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func parse(t testing.TB, name string) *contract.Content {
	t.Helper()
	c, err := contract.ParseContent(read(t, name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return c
}

// The vector of the digest of the standard, computed there in Python: a delegated connection grant with a property.
func TestHashVector(t *testing.T) {
	raw := `{"fsc_version":"2.0.0","iv":"01890a5d-ac96-774b-bcce-b302099a8057","group_id":"demo.regio.example",
 "validity":{"not_before":1767225600,"not_after":1798761600},
 "grants":[{"data":{"type":"GRANT_TYPE_DELEGATED_SERVICE_CONNECTION",
   "outway":{"peer_id":"00000004000000001000","identification":{"type":"OUTWAY_IDENTIFICATION_TYPE_PUBLIC_KEY_THUMBPRINT",
     "public_key_thumbprint":"3a56f2e9269ac63f0d4394c46b96539da1625b6a985d38029ff89f34e490960c"}},
   "service":{"type":"SERVICE_TYPE_SERVICE","peer_id":"00000001000000003000","name":"client-inzage"},
   "delegator":{"peer_id":"00000001000000002000"},"properties":{"doel":"wmo-toegang"}}}],
 "hash_algorithm":"HASH_ALGORITHM_SHA3_512","created_at":1767225600}`
	c, err := contract.ParseContent([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	want := gateway.ContentHash("$1$1$H9enCY1BYDmfdigc6-h-VuY1Z-joeuiB4aUvtu0senv8J8zgbIA_RI7j4Q82FYXJvRW6YnkBi9y9ULQbZAK4rQ")
	if got := c.Hash(); got != want {
		t.Errorf("content hash\n got %s\nwant %s", got, want)
	}
	wantGrants := []gateway.GrantHash{"$1$4$yhN_oaQDU0wi4NICPRI9Ai1F-6Q3jEt0xIC1Hpz6urVIj-3XO7ahK1P7MmdTtuSlypHOgI3IBTx5c2hl1egUMw"}
	if diff := cmp.Diff(wantGrants, c.GrantHashes()); diff != "" {
		t.Error(diff)
	}
	// Its lone doel is not a purpose binding of ours: it neither validates nor passes for a plain grant.
	if err := c.Validate(rules, now); err == nil || !strings.Contains(err.Error(), "doelVersie: missing") {
		t.Errorf("validate: got %v, want doelVersie missing", err)
	}
	if got := c.ConnectionGrants(); len(got) != 0 {
		t.Errorf("got %d connection grants, want none while its properties are wrong", len(got))
	}
}

// testdata/hashes.json was computed by another implementation, in another language.
func TestGoodVectors(t *testing.T) {
	var hashes map[string][]string
	if err := json.Unmarshal(read(t, "hashes.json"), &hashes); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/good_*.json")
	if err != nil || len(files) != len(hashes) || len(files) == 0 {
		t.Fatalf("%d files, %d hashes, %v", len(files), len(hashes), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			c := parse(t, name)
			if err := c.Validate(rules, now); err != nil {
				t.Errorf("validate: %v", err)
			}
			got := []string{string(c.Hash())}
			for _, h := range c.GrantHashes() {
				got = append(got, string(h))
				if _, err := contract.ParseGrantHash(string(h)); err != nil {
					t.Errorf("%s: %v", h, err)
				}
			}
			if diff := cmp.Diff(hashes[strings.TrimSuffix(name, ".json")], got); diff != "" {
				t.Errorf("hashes (-want +got)\n%s", diff)
			}
			if _, err := contract.ParseContentHash(string(c.Hash())); err != nil {
				t.Error(err)
			}
			encoded, err := json.Marshal(struct{ Content *contract.Content }{c})
			if err != nil {
				t.Fatal(err)
			}
			var back struct{ Content *contract.Content }
			if err := json.Unmarshal(encoded, &back); err != nil || back.Content.Hash() != c.Hash() {
				t.Errorf("did not survive a round trip: %v", err)
			}
		})
	}
}

func TestFailVectors(t *testing.T) {
	const noCode = ""
	tested := 0
	for name, want := range map[string]struct{ code, message string }{
		"college_on_delegated":                   {noCode, "grants[0].data: properties.namensCollege: belongs in"},
		"connection_with_delegator":              {noCode, "grants[0].data: delegator: does not belong"},
		"connection_with_directory":              {noCode, "directory: does not belong"},
		"connection_with_protocol":               {noCode, "service.protocol: does not belong"},
		"created_in_future":                      {noCode, "content.created_at"},
		"created_missing":                        {noCode, "content.created_at"},
		"deep_properties":                        {noCode, "nested deeper than 32"},
		"delegated_to_itself":                    {noCode, "delegator.peer_id: a peer does not delegate to itself"},
		"delegated_without_delegator":            {noCode, "delegator: missing"},
		"delegator_null":                         {noCode, "delegator: wrong type: want an object, got null"},
		"domain_is_ip":                           {noCode, "domain_name"},
		"domain_wildcard":                        {noCode, "domain_name"},
		"duplicate_member":                       {noCode, "iv: is there twice"},
		"duplicate_member_in_properties":         {noCode, "grants[0].data.properties.doelVersie: is there twice"},
		"eleven_grants":                          {noCode, "content.grants: 11, give 1 to 10"},
		"flat_thumbprint":                        {noCode, "outway.public_key_thumbprint: unknown member"},
		"fsc_version_1":                          {contract.CodeUnknownVersion, "content.fsc_version"},
		"fsc_version_3":                          {contract.CodeUnknownVersion, "content.fsc_version"},
		"fsc_version_missing":                    {contract.CodeUnknownVersion, "content.fsc_version"},
		"grant_type":                             {noCode, "grants[0].data: type: give one of the four"},
		"grants_null":                            {noCode, "grants: wrong type"},
		"group":                                  {contract.CodeIncorrectGroup, "content.group_id"},
		"hash_algorithm":                         {contract.CodeUnknownHash, "content.hash_algorithm"},
		"hash_algorithm_missing":                 {contract.CodeUnknownHash, "content.hash_algorithm"},
		"identification_both":                    {noCode, "outway.identification"},
		"identification_missing":                 {noCode, "outway.identification: type"},
		"identification_type":                    {noCode, "outway.identification: type"},
		"integer_beyond":                         {noCode, "created_at: an integer beyond 2^53-1"},
		"iv":                                     {noCode, "content.iv: give a UUID"},
		"iv_zero":                                {noCode, "content.iv: give a UUID"},
		"member_case":                            {noCode, "Group_ID: unknown member"},
		"mixed_delegated_publication_connection": {contract.CodeGrantCombination, "content.grants"},
		"mixed_publication_connection":           {contract.CodeGrantCombination, "content.grants"},
		"mixed_publications":                     {contract.CodeGrantCombination, "content.grants"},
		"no_grants":                              {noCode, "content.grants: 0"},
		"not_json":                               {noCode, "not JSON"},
		"outway_missing":                         {noCode, "outway: missing"},
		"peer_id_short":                          {noCode, "service.peer_id"},
		"properties_array":                       {noCode, "properties: give a JSON object"},
		"properties_college_form":                {noCode, "properties: namensCollege"},
		"properties_college_of_another":          {noCode, "properties.namensCollege: must be the college whose service this is"},
		"properties_digest_hex":                  {noCode, "properties: doelDigest"},
		"properties_digest_missing":              {noCode, "properties: doelDigest: missing"},
		"properties_digest_not_canonical":        {noCode, "properties: doelDigest"},
		"properties_doel_empty":                  {noCode, "properties: doel: "},
		"properties_doel_form":                   {noCode, "properties: doel: "},
		"properties_doel_missing":                {noCode, "properties: doel: missing"},
		"properties_doel_type":                   {noCode, "properties: doel: wrong type"},
		"properties_external_reference":          {noCode, "known but not supported"},
		"properties_null":                        {noCode, "properties: give a JSON object"},
		"properties_on_publication":              {noCode, "belongs in a connection grant"},
		"properties_overeenkomst_empty":          {noCode, "properties: verwerkersovereenkomst"},
		"properties_overeenkomst_type":           {noCode, "properties: verwerkersovereenkomst: wrong type"},
		"properties_unknown_name":                {noCode, "no extension of this group documents"},
		"properties_velden_array":                {noCode, "properties: velden: wrong type"},
		"properties_velden_empty_dienst":         {noCode, "properties: velden.persoon"},
		"properties_velden_missing":              {noCode, "properties: velden: missing"},
		"properties_velden_name":                 {noCode, "properties: velden.persoon"},
		"properties_velden_twice":                {noCode, "properties: velden.persoon"},
		"properties_versie_fraction":             {noCode, "properties: doelVersie: wrong type"},
		"properties_versie_missing":              {noCode, "properties: doelVersie: missing"},
		"properties_versie_string":               {noCode, "properties: doelVersie: wrong type"},
		"properties_versie_zero":                 {noCode, "properties: doelVersie"},
		"publication_protocol":                   {noCode, "service.protocol"},
		"publication_with_outway":                {noCode, "outway: does not belong"},
		"publication_with_service_type":          {noCode, "service: type and delegator do not belong"},
		"publication_without_directory":          {noCode, "directory: missing"},
		"same_grant_twice":                       {noCode, "grants[1].data: the same grant"},
		"service_delegator_missing":              {noCode, "service.delegator: missing"},
		"service_delegator_self":                 {noCode, "service.delegator.peer_id"},
		"service_delegator_superfluous":          {noCode, "service.delegator: does not belong"},
		"service_name_short":                     {noCode, "service.name"},
		"service_name_slash":                     {noCode, "service.name"},
		"service_type_missing":                   {noCode, "service.type"},
		"thumbprint_short":                       {noCode, "public_key_thumbprint"},
		"unknown_member":                         {noCode, "extra: unknown member"},
		"unknown_member_beside_data":             {noCode, "grants[0].hash: unknown member"},
		"unknown_member_in_grant":                {noCode, "grants[0].data: comment: unknown member"},
		"validity_milliseconds":                  {noCode, "validity.not_after: wrong type"},
		"validity_missing":                       {noCode, "content.validity"},
		"validity_past":                          {noCode, "content.validity.not_after: is in the past"},
		"validity_reversed":                      {noCode, "content.validity"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := contract.ParseContent(read(t, "fail_"+name+".json"))
			if err == nil {
				err = c.Validate(rules, now)
			}
			if err == nil || !strings.Contains(err.Error(), want.message) {
				t.Fatalf("got %v, want an error with %q", err, want.message)
			}
			if gateway.KindOf(err) != gateway.Invalid || gateway.CodeOf(err) != want.code {
				t.Errorf("got %v %q, want invalid %q", gateway.KindOf(err), gateway.CodeOf(err), want.code)
			}
		})
		tested++
	}
	if files, err := filepath.Glob("testdata/fail_*.json"); err != nil || len(files) != tested {
		t.Errorf("%d files, %d tested, %v", len(files), tested, err)
	}
}

func TestRulesAreDefaultedNotDropped(t *testing.T) {
	c := parse(t, "good_service_connection_doelbinding.json")
	if err := c.Validate(contract.Rules{}, now); gateway.CodeOf(err) != contract.CodeIncorrectGroup {
		t.Errorf("no rules: got %v, want a refusal", err)
	}
	nameless, err := contract.ParseContent([]byte(strings.Replace(string(c.Raw), string(group), "", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if err := nameless.Validate(contract.Rules{}, now); gateway.CodeOf(err) != contract.CodeIncorrectGroup {
		t.Errorf("no rules, no group: got %v, want a refusal", err)
	}
	small := rules
	small.MaxProperties = 10
	if err := c.Validate(small, now); err == nil || !strings.Contains(err.Error(), "properties: ") {
		t.Errorf("large properties: got %v", err)
	}
	if err := (&contract.Content{}).Validate(rules, now); err == nil {
		t.Error("Content{} validates")
	}
	if _, err := contract.ParseContent(make([]byte, contract.MaxBytes+1)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("large content: got %v", err)
	}
	extra := rules
	extra.Properties = []string{"purpose"}
	raw := strings.Replace(string(read(t, "good_service_connection.json")), `"service": {`, `"properties": {"purpose": "x"}, "service": {`, 1)
	if c, err = contract.ParseContent([]byte(raw)); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(extra, now); err != nil {
		t.Errorf("a property of a documented extension: %v", err)
	}
	if g := c.ConnectionGrants(); len(g) != 1 || g[0].IsDoelgebonden() || string(g[0].RawProperties) != `{"purpose": "x"}` {
		t.Errorf("got %+v, want it carried and not purpose-bound", g)
	}
}

func TestArrayOrderCounts(t *testing.T) {
	c := parse(t, "good_two_connections_in_order.json")
	var doc map[string]any
	if err := json.Unmarshal(c.Raw, &doc); err != nil {
		t.Fatal(err)
	}
	grants := doc["grants"].([]any)
	grants[0], grants[1] = grants[1], grants[0]
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	swapped, err := contract.ParseContent(raw)
	if err != nil {
		t.Fatal(err)
	}
	if swapped.Hash() == c.Hash() {
		t.Error("the order of grants does not count in the hash")
	}
}

func TestConnectionGrants(t *testing.T) {
	got := parse(t, "good_service_connection_doelbinding.json").ConnectionGrants()
	if len(got) != 1 {
		t.Fatalf("got %d grants", len(got))
	}
	g := got[0]
	if g.Outway != uwi || g.ServicePeer != borne || g.Service != "clientgegevens" || g.OutwayThumbprint != thumb || g.Richting() != gateway.Namens ||
		g.NotBefore.Unix() != 1767225600 || g.NotAfter.Unix() != 1798761600 {
		t.Errorf("got %+v", g)
	}
	want := gateway.Properties{
		Doel: "pw-reintegratie", DoelVersie: 1, DoelDigest: doel, NamensCollege: borne, Verwerkersovereenkomst: "VO-2026-001",
		Velden: gateway.Velden{"persoon": {"naam", "geboortedatum"}, "uitkering": {"loopt"}},
	}
	if diff := cmp.Diff(want, g.Properties); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]gateway.Richting{
		"good_delegated_service_connection_doelbinding.json": gateway.Tussen,
		"good_service_connection.json":                       gateway.Partner,
	} {
		if got := parse(t, name).ConnectionGrants(); len(got) != 1 || got[0].Richting() != want {
			t.Errorf("%s: got %+v, want %s", name, got, want)
		}
	}
	if got := parse(t, "good_service_publication.json").ConnectionGrants(); len(got) != 0 {
		t.Errorf("a publication gives %d connection grants", len(got))
	}
	if got := parse(t, "good_service_connection_domain_name.json").ConnectionGrants(); got[0].OutwayDomain != "outway.uwi-midden-twente.example" || got[0].OutwayThumbprint != "" {
		t.Errorf("got %+v", got)
	}
}

func TestRequiredSigners(t *testing.T) {
	for name, want := range map[string][]gateway.PeerID{
		"service_publication":                            {directory, borne},
		"service_connection":                             {uwi, borne},
		"service_connection_delegated_service":           {uwi, borne, hengelo},
		"delegated_service_connection":                   {uwi, borne, hengelo},
		"delegated_service_connection_delegated_service": {uwi, borne, hengelo},
		"delegated_service_publication":                  {directory, borne, hengelo},
	} {
		if diff := cmp.Diff(want, parse(t, "good_"+name+".json").RequiredSigners()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	c := parse(t, "good_service_connection.json")
	for _, tc := range []struct {
		submitter, receiver gateway.PeerID
		want                string
	}{
		{uwi, borne, ""},
		{hengelo, borne, contract.CodeSubmitterNotParty},
		{"", borne, contract.CodeSubmitterNotParty},
		{uwi, hengelo, contract.CodeReceiverNotParty},
	} {
		if got := gateway.CodeOf(c.CheckParties(tc.submitter, tc.receiver)); got != tc.want {
			t.Errorf("%s to %s: got %q, want %q", tc.submitter, tc.receiver, got, tc.want)
		}
	}
}

func TestParseHashes(t *testing.T) {
	c := parse(t, "good_service_connection.json")
	content, grant := string(c.Hash()), string(c.GrantHashes()[0])
	for _, tc := range []struct{ in, code string }{
		{"", ""},
		{grant, ""},
		{content + "A", ""},
		{content[:len(content)-1], ""},
		{content[:len(content)-1] + "B", ""}, // not canonical: the last character has two bits too many
		{strings.Replace(content, "$1$1$", "$2$1$", 1), contract.CodeUnknownHash},
		{"$1$1$" + strings.Repeat("+", 85) + "A", ""},
	} {
		if _, err := contract.ParseContentHash(tc.in); err == nil || gateway.CodeOf(err) != tc.code {
			t.Errorf("%q: got %v, want code %q", tc.in, err, tc.code)
		}
	}
	for _, in := range []string{"", content, strings.Replace(grant, "$1$3$", "$1$6$", 1)} {
		if _, err := contract.ParseGrantHash(in); err == nil {
			t.Errorf("%q: accepted", in)
		}
	}
	if err := c.MatchPath(content); err != nil {
		t.Error(err)
	}
	if err := c.MatchPath(grant); gateway.CodeOf(err) != contract.CodeURLHashMismatch {
		t.Errorf("got %v", err)
	}
}

func TestNew(t *testing.T) {
	props, err := contract.Properties(gateway.Properties{Doel: "pw-uitkering", DoelVersie: 2, DoelDigest: doel, NamensCollege: borne})
	if err != nil {
		t.Fatal(err)
	}
	g := gateway.Grant{
		Type: gateway.ServiceConnection, Outway: uwi, OutwayThumbprint: thumb, ServicePeer: borne, Service: "clientgegevens",
		RawProperties: props,
	}
	data, err := contract.FromGrant(g)
	if err != nil {
		t.Fatal(err)
	}
	opts := contract.NewContent{Group: group, Grants: []contract.GrantData{data}, NotBefore: now, NotAfter: now.Add(time.Hour), Now: now}
	c, err := contract.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(rules, now); err != nil {
		t.Error(err)
	}
	got := c.ConnectionGrants()
	if len(got) != 1 || got[0].Properties.Doel != "pw-uitkering" || got[0].Contract != c.Hash() || got[0].Hash != c.GrantHashes()[0] {
		t.Errorf("got %+v", got)
	}
	again, err := contract.New(opts)
	if err != nil || again.Hash() == c.Hash() || again.IV == c.IV {
		t.Errorf("two contracts with the same content have the same iv: %v", err)
	}
	if _, err := contract.Properties(gateway.Properties{Doel: "pw-uitkering"}); err == nil {
		t.Error("properties without a digest: encoded")
	}
	if empty, err := contract.New(contract.NewContent{Group: group, NotBefore: now, NotAfter: now.Add(time.Hour), Now: now}); err != nil || empty.Validate(rules, now) == nil {
		t.Errorf("no grants: got %v, want a refusal by Validate", err)
	}
	// from properties alone, and every member of a delegated grant on a delegated service
	g = gateway.Grant{
		Type: gateway.DelegatedServiceConnection, Outway: uwi, OutwayDomain: "outway.example", ServicePeer: borne, Service: "clientgegevens",
		ServiceDelegator: hengelo, Delegator: directory, Properties: gateway.Properties{Doel: "pw-uitkering", DoelVersie: 1, DoelDigest: doel},
	}
	if data, err = contract.FromGrant(g); err != nil {
		t.Fatal(err)
	}
	opts.Grants = []contract.GrantData{data}
	if c, err = contract.New(opts); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(rules, now); err != nil {
		t.Error(err)
	}
	if got := c.ConnectionGrants(); len(got) != 1 || got[0].Delegator != directory || got[0].ServiceDelegator != hengelo || !got[0].IsDoelgebonden() {
		t.Errorf("got %+v", got)
	}
}
