package audit_test

import (
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

var sink audit.Record

func BenchmarkNewTransactie(b *testing.B) {
	x := audit.Exchange{Transactie: tid, Richting: audit.Outgoing, Grant: grant, Trace: trace}
	b.ReportAllocs()
	for b.Loop() {
		sink = audit.NewTransactie(now, x)
	}
}

func BenchmarkNewAfloop(b *testing.B) {
	o := audit.Outcome{
		Transactie: tid, Richting: audit.Incoming, Trace: trace, Grant: grant.Hash, Afnemer: twente, Bron: borne, Dienst: "clientgegevens",
		Status: 200, Uitkomst: audit.Beantwoord, Duur: 12 * time.Millisecond, BytesIn: 100, BytesOut: 2000,
	}
	b.ReportAllocs()
	for b.Loop() {
		sink = audit.NewAfloop(now, o)
	}
}

func BenchmarkNewKwitantie(b *testing.B) {
	jws := make([]byte, 2600)
	for i := range jws {
		jws[i] = 'a' + byte(i%26)
	}
	r := audit.Receipt{
		Transactie: tid, Trace: trace, Grant: grant.Hash, Afnemer: twente, Bron: borne, Dienst: "clientgegevens", Doel: "pw-reintegratie",
		Besluit: true, Uitkomst: map[gateway.Dienst]string{"uitkering": "beantwoord", "persoon": "geen-gegevens"},
		VeldenDigest: "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU", Aantal: 2, Afgegeven: now, JWS: string(jws),
	}
	b.ReportAllocs()
	for b.Loop() {
		sink = audit.NewKwitantie(now, r)
	}
}
