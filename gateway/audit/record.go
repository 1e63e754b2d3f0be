package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/schemas"
)

// record gives a body its id and time. A body that can't be encoded is a BSN or a channel put where neither belongs: a bug that
// must not become a record without content, so it panics.
func record(now time.Time, s Soort, t gateway.TransactionID, body any) Record {
	raw, err := json.Marshal(body)
	if err != nil {
		unencodable(err)
	}
	return encoded(now, s, t, raw)
}

// encoded is record for a body that is JSON already.
func encoded(now time.Time, s Soort, t gateway.TransactionID, raw []byte) Record {
	return Record{ID: gateway.NewUUID(now), Soort: s, Transactie: t, Tijd: now.UTC().Truncate(time.Microsecond), Body: raw}
}

// Validate checks the form of r and its body against the schema of its kind. The error is of kind Invalid and names the member,
// never its value. It costs many times what making a record costs: the constructors make it needless on the path of a question.
func (r Record) Validate() error {
	schema, ok := compiled()[r.Soort]
	if !ok {
		return gateway.Errorf(gateway.Invalid, "soort: no record kind of that name")
	}
	if _, err := gateway.ParseTransactionID(r.ID); err != nil {
		return gateway.Errorf(gateway.Invalid, "id: give a UUID of version 7 in lower case")
	}
	if r.Transactie != "" {
		if _, err := gateway.ParseTransactionID(string(r.Transactie)); err != nil {
			return gateway.Errorf(gateway.Invalid, "transactie: give a UUID of version 7 in lower case")
		}
	}
	if r.Tijd.IsZero() {
		return gateway.Errorf(gateway.Invalid, "tijd: missing")
	}
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.Body))
	if err != nil {
		return gateway.Errorf(gateway.Invalid, "body: not JSON")
	}
	if err := schema.Validate(body); err != nil {
		return gateway.Errorf(gateway.Invalid, "%s record: %s does not follow schemas/%s.schema.json", r.Soort, where(err), r.Soort)
	}
	return nil
}

// where names the deepest place that a validation error points at, without its value.
func where(err error) string {
	v, ok := err.(*jsonschema.ValidationError) //nolint:errorlint // Validate returns it unwrapped
	if !ok {
		return "body"
	}
	for len(v.Causes) > 0 {
		v = v.Causes[0]
	}
	return "body/" + strings.Join(v.InstanceLocation, "/") + " (" + strings.Join(v.ErrorKind.KeywordPath(), "/") + ")"
}

// compiled holds the schemas of all kinds; a schema of ours that doesn't compile is a bug.
var compiled = sync.OnceValue(func() map[Soort]*jsonschema.Schema {
	all := map[Soort]*jsonschema.Schema{}
	for _, s := range Soorten() {
		name := string(s) + ".schema.json"
		raw, err := schemas.FS.ReadFile(name)
		if err != nil {
			panic(fmt.Sprintf("audit: %v", err))
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			panic(fmt.Sprintf("audit: schemas/%s: %v", name, err))
		}
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		if err := c.AddResource(name, doc); err != nil {
			panic(fmt.Sprintf("audit: schemas/%s: %v", name, err))
		}
		all[s] = c.MustCompile(name)
	}
	return all
})
