package certs

import (
	"testing"
	"time"
)

// What the group says of its lists is what it judges by: the newest of each issuer, also after an older file is put back.
func TestGroupCRLs(t *testing.T) {
	r := newRegion(t)
	must(t, writeCRLs(r.dir, time.Hour, t0))
	must(t, r.group.Reload())
	got := r.group.CRLs()
	if len(got) != 2 {
		t.Fatalf("got %+v, want the lists of root and intermediate", got)
	}
	for _, l := range got {
		if !l.ThisUpdate.Equal(t0) || !l.NextUpdate.Equal(t0.Add(time.Hour)) || l.File == "" || l.Issuer == "" {
			t.Errorf("got %+v, want file, issuer, from %v until an hour later", l, t0)
		}
	}
	must(t, writeCRLs(r.dir, 2*time.Hour, t0.Add(time.Minute)))
	must(t, r.group.Reload())
	newer := r.group.CRLs()
	if len(newer) != 2 || newer[0].Number == got[0].Number || !newer[0].NextUpdate.Equal(t0.Add(time.Minute+2*time.Hour)) {
		t.Errorf("got %+v, want the new lists only", newer)
	}
}
