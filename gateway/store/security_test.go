package store

import (
	"bytes"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
)

// A peer that proposes without end is weighed by what it puts on our disk: also when each proposal ends at once, and by its size.
// What it proposes in another's name as well does not use up the other's room.
func TestUnansweredIsNotEvaded(t *testing.T) {
	s := open(t)
	small := proposal(t, 1, now, "a")
	mustSign(t, s, small, signed(small, uwi, contract.Accept, "x", now))
	padded := proposal(t, 2, now, "a")
	raw := bytes.Replace(padded.Raw, []byte(`"iv"`), append(bytes.Repeat([]byte(" "), 10*unansweredUnit), `"iv"`...), 1)
	large, err := contract.ParseContent(raw)
	if err != nil {
		t.Fatal(err)
	}
	mustSign(t, s, large, signed(large, uwi, contract.Accept, "x", now))

	for _, tt := range []struct {
		what string
		peer gateway.PeerID
		at   time.Time
		want int
	}{
		{"one small, one of more than ten units", uwi, now, 1 + 11},
		{"a week after both ended", uwi, now.Add(8 * 24 * time.Hour), 1 + 11},
		{"named in both, signed neither", borne, now, 0},
	} {
		if got, err := s.Unanswered(t.Context(), tt.peer, derde, tt.at); err != nil || got != tt.want {
			t.Errorf("%s: got %d, %v, want %d", tt.what, got, err, tt.want)
		}
	}
}
