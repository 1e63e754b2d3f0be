package contract_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/jose"
)

// managerSpec loads manager.yaml of FSC Core; GRENSLOOS_SPECS is the folder with the specifications.
func managerSpec(t *testing.T, edition string, patch func(*openapi3.T)) *openapi3.T {
	t.Helper()
	dir := os.Getenv("GRENSLOOS_SPECS")
	if dir == "" {
		t.Skip("set GRENSLOOS_SPECS to the folder with fsc-core-2.0.0/manager.yaml")
	}
	doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join(dir, edition, "manager.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if patch != nil {
		patch(doc)
	}
	return doc
}

// patch repairs, in memory, what makes the schema refuse every RSA key and accept EC keys by accident.
func patch(doc *openapi3.T) {
	schemas := doc.Components.Schemas
	ec := schemas["ecPublicKey"].Value
	ec.Required = []string{"crv", "x", "y"}
	ec.Properties["y"].Value.MinLength, ec.Properties["y"].Value.MaxLength = 0, nil
	schemas["rsaPublicKey"].Value.Required = []string{"n", "e"}
	for _, key := range []*openapi3.Schema{ec, schemas["rsaPublicKey"].Value} {
		for _, p := range key.Properties {
			p.Value.Format = "" // "byte" is base64; these are base64url
		}
	}
	jwk := schemas["jwk"].Value
	jwk.Properties["x5t#S256"] = jwk.Properties["x5t#s256"]
	delete(jwk.Properties, "x5t#s256")
}

func visit(t *testing.T, doc *openapi3.T, schema string, raw []byte) error {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return doc.Components.Schemas[schema].Value.VisitJSON(v)
}

func TestContentMatchesManagerYAML(t *testing.T) {
	doc := managerSpec(t, "fsc-core-2.0.0", patch)
	files, err := filepath.Glob("testdata/good_*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	for _, file := range files {
		c := parse(t, filepath.Base(file))
		if err := visit(t, doc, "contractContent", c.Raw); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		// what we build ourselves, too
		var data []contract.GrantData
		for _, g := range c.Grants {
			data = append(data, g.Data)
		}
		ours, err := contract.New(contract.NewContent{Group: group, Grants: data, NotBefore: now, NotAfter: c.NotAfter(), Now: now})
		if err != nil {
			t.Fatal(err)
		}
		if err := visit(t, doc, "contractContent", ours.Raw); err != nil {
			t.Errorf("%s, encoded by New: %v", file, err)
		}
	}
	// the schema does refuse
	for _, name := range []string{"outway_missing", "flat_thumbprint", "hash_algorithm", "grant_type", "fsc_version_missing"} {
		if visit(t, doc, "contractContent", read(t, "fail_"+name+".json")) == nil {
			t.Errorf("manager.yaml accepts fail_%s: does the test look at the right schema?", name)
		}
	}
}

// What is right in FSC 1.1.2 is refused by its version.
func TestContentOfFSC1IsRefused(t *testing.T) {
	old := managerSpec(t, "fsc-core-1.1.2", nil)
	var content map[string]any
	if err := json.Unmarshal(read(t, "fail_flat_thumbprint.json"), &content); err != nil {
		t.Fatal(err)
	}
	delete(content, "fsc_version")
	raw, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	if err := visit(t, old, "contractContent", raw); err != nil {
		t.Fatalf("is not a contract of 1.1.2: %v", err)
	}
	if _, err := contract.ParseContent(raw); err == nil || !strings.Contains(err.Error(), "fsc_version") {
		t.Errorf("got %v, want a refusal for its version", err)
	}
}

func TestJWKSMatchesManagerYAML(t *testing.T) {
	doc := managerSpec(t, "fsc-core-2.0.0", patch)
	keys := []crypto.Signer{}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range append(keys, key) {
		raw, err := jose.JWKS([]*x509.Certificate{certificate(t, uwi, key).Cert})
		if err != nil {
			t.Fatal(err)
		}
		if err := visit(t, doc, "jwks", raw); err != nil {
			t.Errorf("%T: %v", key, err)
		}
	}
}
