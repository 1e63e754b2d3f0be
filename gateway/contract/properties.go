package contract

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

// externalReference are the properties of FSC External Contract Reference 1.0.0. A receiver must verify the external contract
// and refuse otherwise; we can't verify it, so we refuse.
var externalReference = []string{
	"delegation.connection.external_contract_reference",
	"delegation.publication.external_contract_reference",
}

// ownProperties are the names of our extension (schemas/fsc-doelbinding.md).
var ownProperties = []string{"doel", "doelVersie", "doelDigest", "velden", "namensCollege", "verwerkersovereenkomst"}

// publicationProperties are the names of our extension in a publication grant.
var publicationProperties = []string{"gemeentecode"}

var (
	codeForm   = regexp.MustCompile(`^[0-9]{4}$`)
	doelForm   = regexp.MustCompile(`^[a-z][a-z0-9-]{1,63}$`)
	naamForm   = regexp.MustCompile(`^[a-z][A-Za-z0-9-]{0,63}$`)
	digestForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
)

// The most that one grant can name, and the longest reference of a verwerkersovereenkomst in bytes.
const (
	maxDiensten  = 50
	maxVelden    = 200
	maxReference = 200
	maxVersie    = 1_000_000
)

// Properties encodes the properties of our extension for a grant.
func Properties(p gateway.Properties) (json.RawMessage, error) {
	if p.Velden == nil {
		p.Velden = gateway.Velden{}
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, gateway.Wrap(gateway.Invalid, err, "properties")
	}
	if _, err := parseProperties(raw); err != nil {
		return nil, err
	}
	return raw, nil
}

// parseProperties reads the members of our extension; others are left to Validate. Without any of ours the grant is not
// purpose-bound and the result is zero.
func parseProperties(raw json.RawMessage) (gateway.Properties, error) {
	if raw == nil {
		return gateway.Properties{}, nil
	}
	var all map[string]json.RawMessage
	if err := jose.Decode(raw, &all); err != nil {
		return gateway.Properties{}, gateway.Wrap(gateway.Invalid, err, "properties")
	}
	own := map[string]json.RawMessage{}
	for name, value := range all {
		if slices.Contains(ownProperties, name) {
			own[name] = value
		}
	}
	if len(own) == 0 {
		return gateway.Properties{}, nil
	}
	ours, err := json.Marshal(own)
	if err != nil {
		return gateway.Properties{}, gateway.Wrap(gateway.Invalid, err, "properties")
	}
	var p gateway.Properties
	if err := jose.Decode(ours, &p); err != nil {
		return gateway.Properties{}, gateway.Wrap(gateway.Invalid, err, "properties")
	}
	if err := checkProperties(p, own); err != nil {
		return gateway.Properties{}, gateway.Wrap(gateway.Invalid, err, "properties")
	}
	return p, nil
}

func checkProperties(p gateway.Properties, present map[string]json.RawMessage) error {
	for _, name := range ownProperties[:4] {
		if present[name] == nil {
			return gateway.Errorf(gateway.Invalid, "%s: missing; a purpose-bound grant has doel, doelVersie, doelDigest and velden", name)
		}
	}
	if !doelForm.MatchString(string(p.Doel)) {
		return gateway.Errorf(gateway.Invalid, "doel: give the id of a purpose: lower case, digits and hyphens")
	}
	if p.DoelVersie < 1 || p.DoelVersie > maxVersie {
		return gateway.Errorf(gateway.Invalid, "doelVersie: give a version from 1")
	}
	if _, err := base64.RawURLEncoding.Strict().DecodeString(p.DoelDigest); err != nil || !digestForm.MatchString(p.DoelDigest) {
		return gateway.Errorf(gateway.Invalid, "doelDigest: give base64url of a SHA-256")
	}
	if len(p.Velden) > maxDiensten {
		return gateway.Errorf(gateway.Invalid, "velden: at most %d diensten", maxDiensten)
	}
	for dienst, velden := range p.Velden {
		if !naamForm.MatchString(string(dienst)) {
			return gateway.Errorf(gateway.Invalid, "velden: the name of a dienst is letters, digits and hyphens, the first a small letter")
		}
		if len(velden) == 0 || len(velden) > maxVelden {
			return gateway.Errorf(gateway.Invalid, "velden.%s: give 1 to %d fields, or leave the dienst out", dienst, maxVelden)
		}
		for i, veld := range velden {
			if !naamForm.MatchString(string(veld)) || slices.Contains(velden[:i], veld) {
				return gateway.Errorf(gateway.Invalid, "velden.%s: each field once: letters, digits and hyphens, the first a small letter", dienst)
			}
		}
	}
	if present["namensCollege"] != nil {
		if _, err := gateway.ParsePeerID(string(p.NamensCollege)); err != nil {
			return gateway.Errorf(gateway.Invalid, "namensCollege: give an OIN of 20 digits, or leave it out")
		}
	}
	if present["verwerkersovereenkomst"] != nil {
		ref := p.Verwerkersovereenkomst
		if ref == "" || len(ref) > maxReference || strings.ContainsFunc(ref, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return gateway.Errorf(gateway.Invalid, "verwerkersovereenkomst: give a reference of 1 to %d bytes, or leave it out", maxReference)
		}
	}
	return nil
}

// checkNames refuses property names that no extension of the group documents (FSC Core, properties).
func checkNames(raw json.RawMessage, t gateway.GrantType, extra []string) error {
	if raw == nil {
		return nil
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return gateway.Errorf(gateway.Invalid, "properties: give a JSON object, or leave it out")
	}
	for name := range all {
		switch {
		case slices.Contains(externalReference, name):
			return gateway.Errorf(gateway.Invalid,
				"properties: %s: FSC External Contract Reference is known but not supported, since the external contract can't be verified here; let the delegator sign", name)
		case slices.Contains(ownProperties, name):
			if t != gateway.ServiceConnection && t != gateway.DelegatedServiceConnection {
				return gateway.Errorf(gateway.Invalid, "properties: %s: belongs in a connection grant", name)
			}
		case slices.Contains(publicationProperties, name):
			if !publication(t) {
				return gateway.Errorf(gateway.Invalid, "properties: %s: belongs in a publication grant", name)
			}
			if gemeentecode(raw) == "" {
				return gateway.Errorf(gateway.Invalid, "properties.gemeentecode: give the four digits of table 33 as text, or leave it out")
			}
		case !slices.Contains(extra, name):
			return gateway.Errorf(gateway.Invalid, "properties: a name that no extension of this group documents; this group knows %s",
				strings.Join(slices.Concat(ownProperties, publicationProperties, extra), ", "))
		}
	}
	return nil
}

// gemeentecode reads the code from the properties of a publication; empty when there is none, or no four digits.
func gemeentecode(raw json.RawMessage) string {
	var p struct {
		Gemeentecode *string `json:"gemeentecode"`
	}
	if raw == nil || json.Unmarshal(raw, &p) != nil || p.Gemeentecode == nil || !codeForm.MatchString(*p.Gemeentecode) {
		return ""
	}
	return *p.Gemeentecode
}
