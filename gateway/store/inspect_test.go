package store

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/contract"
)

// Inspect reads beside the peer that writes, changes nothing, and makes no database.
func TestInspect(t *testing.T) {
	pad := filepath.Join(t.TempDir(), "peer.db")
	if _, err := Inspect(t.Context(), Config{Pad: pad}); gateway.KindOf(err) != gateway.NotFound {
		t.Errorf("no database: got %v, want NotFound", err)
	}
	if _, err := os.Stat(pad); err == nil {
		t.Error("Inspect made the file")
	}
	s := openAt(t, pad)
	r, err := Inspect(t.Context(), Config{Pad: pad})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	known := contract.KnownPeer{Peer: gateway.Peer{ID: uwi, Name: "uwi"}, Address: "https://uwi.example:8443"}
	if err := s.PutPeer(t.Context(), known, now); err != nil {
		t.Fatal(err)
	}
	got, err := r.Peers(t.Context(), contract.PeerFilter{Limit: 10})
	if err != nil || len(got) != 1 || got[0] != known {
		t.Errorf("got %+v, %v, want what the peer wrote meanwhile", got, err)
	}
	for name, opened := range map[string]*Store{"Open": s, "Inspect": r} {
		if err := opened.Ping(t.Context()); err != nil {
			t.Errorf("%s: ping: %v", name, err)
		}
	}
	if _, err := r.read.ExecContext(t.Context(), `DELETE FROM peers`); err == nil {
		t.Error("a store for reading let a row be deleted")
	}
	if _, err := s.write.ExecContext(t.Context(), `PRAGMA user_version = 99`); err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(t.Context(), Config{Pad: pad}); gateway.KindOf(err) != gateway.Conflict {
		t.Errorf("another schema: got %v, want Conflict", err)
	}
}
