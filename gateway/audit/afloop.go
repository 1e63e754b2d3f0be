package audit

import (
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Usual values of Outcome.Uitkomst.
const (
	Beantwoord   = "beantwoord"   // an answer left, or came in, whole
	Geweigerd    = "geweigerd"    // refused: by a check, a policy or the other side
	Onbereikbaar = "onbereikbaar" // the other side or the service could not be reached
	Mislukt      = "mislukt"      // broke on our side
	Afgebroken   = "afgebroken"   // the answer was cut short
)

// An Outcome is how an exchange ended on one side. Of a call that was refused before its token was verified most is unknown, and
// left out.
type Outcome struct {
	Transactie gateway.TransactionID // if it has the form of one
	Geclaimd   bool                  // Transactie is the caller's word: it may be that of another exchange, of another peer
	Richting   Direction
	Trace      gateway.Trace
	Grant      gateway.GrantHash
	Afnemer    gateway.PeerID // who asked, as far as proven
	Bron       gateway.PeerID // who was asked
	Dienst     gateway.ServiceName
	Status     int            // HTTP status given to the caller; 0 if none went out
	Uitkomst   string         // Beantwoord, Geweigerd ...: small letters and dashes
	Reden      gateway.Reason // internal reason of a refusal by policy
	Fout       string         // Fsc-Error-Code or other public code
	Duur       time.Duration
	BytesIn    int64 // body of the request
	BytesOut   int64 // body of the answer
}

// NewAfloop makes the record of how an exchange ended.
func NewAfloop(now time.Time, x Outcome) Record {
	o := &object{b: make([]byte, 0, usualAfloop)}
	o.open()
	o.optional("transactie", string(x.Transactie))
	if x.Geclaimd && x.Transactie != "" {
		o.flag("geclaimd", true)
	}
	o.text("richting", string(x.Richting))
	o.ownTrace(x.Trace)
	o.optional("grant", string(x.Grant))
	o.optional("afnemer", string(x.Afnemer))
	o.optional("bron", string(x.Bron))
	o.optional("dienst", string(x.Dienst))
	o.number("status", int64(x.Status))
	o.text("uitkomst", x.Uitkomst)
	o.optional("reden", string(x.Reden))
	o.optional("fout", x.Fout)
	o.number("duurMs", x.Duur.Milliseconds())
	o.number("bytesIn", x.BytesIn)
	o.number("bytesUit", x.BytesOut)
	o.shut()
	r := encoded(now, Afloop, x.Transactie, o.b)
	r.Telling = Telling{Richting: x.Richting, Uitkomst: x.Uitkomst, Fout: x.Fout}
	return r
}

// usualAfloop is more bytes than most of these records have.
const usualAfloop = 640
