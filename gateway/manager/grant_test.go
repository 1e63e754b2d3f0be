package manager

import (
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// BenchmarkGrant is what inway and outway pay per request: a look in memory.
func BenchmarkGrant(b *testing.B) {
	now := time.Now()
	m := &Contracts{o: Following{Now: func() time.Time { return now }}}
	grants := map[gateway.GrantHash]standing{}
	for i := range 1000 {
		hash := gateway.GrantHash("$1$3$" + string(rune('a'+i%26)) + time.Duration(i).String())
		grants[hash] = standing{grant: gateway.Grant{Hash: hash, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}, until: now.Add(time.Hour)}
	}
	m.snap.Store(&snapshot{checked: now, grants: grants})
	hash := gateway.GrantHash("$1$3$a0s")
	if _, err := m.Grant(b.Context(), hash); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Grant(b.Context(), hash); err != nil {
			b.Fatal(err)
		}
	}
}
