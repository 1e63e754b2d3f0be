//go:build engines

package store

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
	"github.com/grensloos/grensloos/gateway/toestemming"
)

// What a question reads, what a change of contracts costs everybody, and a signature, on both engines.
func BenchmarkEngines(b *testing.B) {
	who := keys(b).Pseudonym(bsn(b, "999000019"))
	for name, cfg := range map[string]Config{"sqlite": {Pad: filepath.Join(b.TempDir(), "peer.db")}, "postgres": shared(b).migrated(b)} {
		s, err := Open(b.Context(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		for n := range 100 {
			c := proposal(b, n, now, "a")
			if _, err := s.Sign(b.Context(), c, signed(c, uwi, contract.Accept, "x", now), nil); err != nil {
				b.Fatal(err)
			}
		}
		c, err := toestemming.New(toestemming.Toestemming{
			Betrokkene: who, Soort: toestemming.AVG61a, Doel: "doel", DoelVersie: 1, Ontvanger: uwi, GegevenDoor: "zelf", GeregistreerdDoor: borne, GeldigTot: now.AddDate(1, 0, 0),
		}, now)
		if err == nil {
			err = s.Geef(b.Context(), c)
		}
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/consents of a person", func(b *testing.B) {
			for b.Loop() {
				if all, err := s.Toestemmingen(b.Context(), []gateway.Pseudonym{who, who + "x"}, "doel"); err != nil || len(all) != 1 {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/changes", func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Changes(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/100 contracts in force", func(b *testing.B) {
			for b.Loop() {
				if all, err := s.InForce(b.Context(), now); err != nil || len(all) < 100 {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/sign", func(b *testing.B) {
			for n := 0; b.Loop(); n++ {
				c := proposal(b, 1000+int(time.Now().UnixNano()%1e9), now.Add(-48*time.Hour), "a")
				if _, err := s.Sign(b.Context(), c, signed(c, uwi, contract.Accept, "x", now), nil); err != nil && gateway.KindOf(err) != gateway.Conflict {
					b.Fatal(err)
				}
			}
		})
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
