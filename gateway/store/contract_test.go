package store

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
)

func TestSign(t *testing.T) {
	c := proposal(t, 1, now, "a")
	accept := signed(c, uwi, contract.Accept, "x1", now)

	t.Run("keeps content byte for byte, and the signature", func(t *testing.T) {
		s := open(t)
		mustSign(t, s, c, accept)
		rec, err := s.Contract(t.Context(), c.Hash())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(rec.Raw, c.Raw) {
			t.Errorf("content %s, want %s", rec.Raw, c.Raw)
		}
		got, ok := rec.Of(uwi, contract.Accept)
		if !ok || got.JWS != accept.JWS || got.X5T != "x1" || !got.SignedAt.Equal(now) || len(got.Chain) != 1 || !got.Chain[0].Equal(testCert) || got.Hash != c.Hash() {
			t.Errorf("signature %+v, want %+v", got, accept)
		}
	})
	t.Run("a second time changes nothing", func(t *testing.T) {
		s := open(t)
		mustSign(t, s, c, accept)
		later := signed(c, uwi, contract.Accept, "x1", now.Add(time.Minute))
		later.JWS = "other bytes, same certificate"
		if adds, err := s.Sign(t.Context(), c, later, nil); adds || err != nil {
			t.Errorf("adds %v, error %v", adds, err)
		}
		if n, err := s.Changes(t.Context()); n != 1 || err != nil {
			t.Errorf("changes %d, %v, want 1", n, err)
		}
		rec, err := s.Contract(t.Context(), c.Hash())
		if got, _ := rec.Of(uwi, contract.Accept); err != nil || got.JWS != accept.JWS {
			t.Errorf("signature %q, %v, want the first", got.JWS, err)
		}
	})
	t.Run("a renewed certificate replaces", func(t *testing.T) {
		s := open(t)
		mustSign(t, s, c, accept)
		mustSign(t, s, c, signed(c, uwi, contract.Accept, "x2", now.Add(time.Minute)))
		older := signed(c, uwi, contract.Accept, "x1", now)
		if adds, err := s.Sign(t.Context(), c, older, nil); adds || err != nil {
			t.Errorf("the older signature: adds %v, error %v", adds, err)
		}
		rec, err := s.Contract(t.Context(), c.Hash())
		if got, _ := rec.Of(uwi, contract.Accept); err != nil || got.X5T != "x2" || len(rec.Signed) != 1 {
			t.Errorf("signature by %q of %d, %v, want x2 alone", got.X5T, len(rec.Signed), err)
		}
	})
	for _, no := range []contract.SignatureType{contract.Reject, contract.Revoke} {
		t.Run("no accept after a "+string(no), func(t *testing.T) {
			s := open(t)
			mustSign(t, s, c, signed(c, uwi, no, "x1", now))
			_, err := s.Sign(t.Context(), c, signed(c, uwi, contract.Accept, "x2", now.Add(time.Minute)), nil)
			wantKind(t, err, gateway.Conflict, "final")
			mustSign(t, s, c, signed(c, borne, contract.Accept, "x1", now)) // another peer's no binds that peer only
		})
		t.Run("a "+string(no)+" after an accept", func(t *testing.T) {
			s := open(t)
			mustSign(t, s, c, accept)
			mustSign(t, s, c, signed(c, uwi, no, "x1", now))
		})
	}
	t.Run("another content under the same iv", func(t *testing.T) {
		s := open(t)
		mustSign(t, s, c, accept)
		other := proposal(t, 1, now, "b")
		_, err := s.Sign(t.Context(), other, signed(other, uwi, contract.Accept, "x1", now), []contract.Delivery{{Receiver: borne}})
		wantKind(t, err, gateway.Conflict, "content.iv")
		_, err = s.Contract(t.Context(), other.Hash())
		wantKind(t, err, gateway.NotFound, "content hash")
		if next, err := s.NextDelivery(t.Context()); err != nil || !next.IsZero() {
			t.Errorf("a refused contract left a delivery: %v, %v", next, err)
		}
	})
}

func TestInForce(t *testing.T) {
	s := open(t)
	c := proposal(t, 1, now, "a") // ends 24 h after now, that second included
	mustSign(t, s, c, signed(c, uwi, contract.Accept, "x", now))
	for _, tt := range []struct {
		at   time.Time
		want int
	}{{now, 1}, {now.Add(24 * time.Hour), 1}, {now.Add(24*time.Hour + time.Second), 0}} {
		got, err := s.InForce(t.Context(), tt.at)
		if err != nil || len(got) != tt.want {
			t.Errorf("at %v: %d contracts, %v, want %d", tt.at, len(got), err, tt.want)
		}
	}
}

func TestUnanswered(t *testing.T) {
	s := open(t)
	for i := range 3 {
		c := proposal(t, i, now, "a")
		mustSign(t, s, c, signed(c, uwi, contract.Accept, "x", now))
	}
	answered := proposal(t, 0, now, "a")
	mustSign(t, s, answered, signed(answered, borne, contract.Reject, "x", now))
	for _, tt := range []struct {
		peer gateway.PeerID
		at   time.Time
		want int
	}{{uwi, now, 2}, {derde, now, 0}, {uwi, now.Add(25 * time.Hour), 2}, {uwi, now.Add(32 * 24 * time.Hour), 0}} {
		if got, err := s.Unanswered(t.Context(), tt.peer, borne, tt.at); err != nil || got != tt.want {
			t.Errorf("%s at %v: %d, %v, want %d", tt.peer, tt.at, got, err, tt.want)
		}
	}
}

func TestContracts(t *testing.T) {
	s := open(t)
	var hashes []gateway.ContentHash
	for i := range 5 {
		c := proposal(t, i, now.Add(time.Duration(i/2)*time.Minute), "a") // created in pairs
		mustSign(t, s, c, signed(c, uwi, contract.Accept, "x", now))
		hashes = append(hashes, c.Hash())
	}
	walk := func(t *testing.T, f contract.Filter) (all []gateway.ContentHash, pages int) {
		t.Helper()
		for {
			recs, more, err := s.Contracts(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for _, rec := range recs {
				all = append(all, rec.Hash)
			}
			if pages++; more == nil {
				return all, pages
			}
			f.After = *more
		}
	}
	all, pages := walk(t, contract.Filter{Party: uwi, Limit: 2, Ascending: true})
	if len(all) != 5 || pages != 3 {
		t.Fatalf("%d contracts in %d pages, want 5 in 3", len(all), pages)
	}
	if all[4] != hashes[4] {
		t.Errorf("the newest is not last")
	}
	back, _ := walk(t, contract.Filter{Party: uwi, Limit: 2})
	for i := range back {
		if back[i] != all[4-i] {
			t.Fatalf("descending is not ascending reversed: %v, %v", back, all)
		}
	}
	if got, _ := walk(t, contract.Filter{Party: derde, Limit: 2}); got != nil {
		t.Errorf("an outsider sees %v", got)
	}
	if got, _ := walk(t, contract.Filter{Party: uwi, Limit: 10, GrantType: gateway.ServicePublication}); got != nil {
		t.Errorf("by another grant type: %v", got)
	}
	grant := proposal(t, 3, now.Add(time.Minute), "a").GrantHashes()
	got, _ := walk(t, contract.Filter{Party: uwi, GrantHashes: append(grant, "$1$3$unknown"), GrantType: gateway.ServicePublication})
	if diff := cmp.Diff([]gateway.ContentHash{hashes[3]}, got); diff != "" {
		t.Errorf("by grant hash (-want +got):\n%s", diff)
	}
	if got, _ := walk(t, contract.Filter{Party: derde, GrantHashes: grant}); got != nil {
		t.Errorf("an outsider sees by grant hash %v", got)
	}
	for _, limit := range []int{0, -1, MaxContracts + 1} {
		_, _, err := s.Contracts(t.Context(), contract.Filter{Limit: limit})
		wantKind(t, err, gateway.Invalid, "limit")
	}
}

// A page ends at its limit of bytes too, and says where the next one begins.
func TestPagesAreBounded(t *testing.T) {
	s := open(t)
	const n = 18 // of nearly a megabyte each
	for i := range n {
		small := proposal(t, i, now.Add(time.Duration(i)*time.Second), "a")
		raw := bytes.Replace(small.Raw, []byte(`"iv"`), append(bytes.Repeat([]byte(" "), 1<<20-2048), `"iv"`...), 1)
		c, err := contract.ParseContent(raw)
		if err != nil {
			t.Fatal(err)
		}
		mustSign(t, s, c, signed(c, uwi, contract.Accept, "x", now))
	}
	f, pages, seen := contract.Filter{Limit: 100, Ascending: true}, 0, 0
	for {
		recs, more, err := s.Contracts(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for _, rec := range recs {
			size += len(rec.Raw)
			if len(rec.Signed) != 1 || rec.Received.IsZero() {
				t.Errorf("%d signatures, received %v", len(rec.Signed), rec.Received)
			}
		}
		if size > maxBytes || len(recs) == 0 {
			t.Errorf("page %d: %d contracts of %d bytes", pages, len(recs), size)
		}
		pages, seen = pages+1, seen+len(recs)
		if more == nil {
			break
		}
		f.After = *more
	}
	if pages != 2 || seen != n {
		t.Errorf("%d contracts on %d pages, want %d on 2", seen, pages, n)
	}
}
