package audit

import "time"

// Systeem stands in Act.Door for what the peer itself did, without a person.
const Systeem = "systeem"

// An Act is something that somebody did to the peer's own administration: signed a contract, gave a consent, read the log.
type Act struct {
	Handeling string            // what: "contract-aanvaard", "toestemming-ingetrokken", "log-ingezien": small letters and dashes
	Door      string            // pseudonym of the worker, or Systeem
	Object    string            // on what: a content hash, a consent id, a transaction id
	Details   map[string]string // what else matters, by name; no personal data
}

type beheerBody struct {
	Handeling string            `json:"handeling"`
	Door      string            `json:"door"`
	Object    string            `json:"object,omitempty"`
	Details   map[string]string `json:"details,omitempty"`
	Tijdstip  time.Time         `json:"tijdstip"`
}

// NewBeheer makes the record of a management act.
func NewBeheer(now time.Time, a Act) Record {
	return record(now, Beheer, "", beheerBody{
		Handeling: a.Handeling, Door: a.Door, Object: a.Object, Details: a.Details, Tijdstip: now.UTC(),
	})
}
