package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/certs"
)

// doctor runs the command and gives what it found and its exit code.
func (r *running) doctor(p *regionPeer) (diagnosis, int) {
	r.t.Helper()
	out, err := r.grensloos(p, "", "doctor", "--json")
	code := 0
	if err != nil {
		code = exitCode(err)
	}
	var d diagnosis
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		r.t.Fatalf("doctor --json: %v (%v)\n%s", err, errors.Unwrap(err), out)
	}
	return d, code
}

// wants looks for a finding of a part, with words in it.
func wants(t *testing.T, d diagnosis, part string, how ernst, words ...string) finding {
	t.Helper()
	for _, f := range d.Bevindingen {
		all := f.Onderdeel == part && f.Ernst == how
		for _, w := range words {
			all = all && strings.Contains(f.Over+" "+f.Tekst, w)
		}
		if all {
			if how != inOrde && f.Herstel == "" {
				t.Errorf("%+v says nothing of what to do", f)
			}
			return f
		}
	}
	t.Errorf("no %s of %s with %q in\n%s", how, part, words, listed(d))
	return finding{}
}

func listed(d diagnosis) string {
	var b strings.Builder
	d.print(&b)
	return b.String()
}

// One region, and what can go wrong with it one after the other: each is found, named, and mended by what doctor says.
func TestDoctor(t *testing.T) {
	b, u := borne(t), uwi()
	b.Source = withoutWet
	r := startRegion(t, b, u)
	r.contract(u, b, "--doel", "pw-reintegratie", "--namens", string(b.ID))

	t.Run("all is well", func(t *testing.T) {
		for _, p := range []*regionPeer{b, u} {
			d, code := r.doctor(p)
			if code != 0 || d.count(fout) > 0 || d.count(letOp) > 0 || !d.Draait || d.Peer != p.ID {
				t.Fatalf("%s: exit code %d\n%s", p.Name, code, listed(d))
			}
			for _, part := range []string{"configuratie", "versie", "groepsregels", "certificaat", "intrekkingslijst", "map", "beleid", "peer", "gereed", "adres", "journaal", "manager", "klok"} {
				wants(t, d, part, inOrde)
			}
			wants(t, d, "contracten", inOrde, "1 geldig")
		}
		d, _ := r.doctor(u)
		wants(t, d, "inway", inOrde, b.Name, "antwoordt")
		wants(t, d, "certificaat", inOrde, b.Name, "nog 364 dagen")
		text, err := r.grensloos(b, "", "doctor")
		if err != nil || !strings.Contains(text, "0 let op, 0 fout") {
			t.Errorf("as text: %v\n%s", err, text)
		}
	})

	t.Run("a contract ends soon, and has a successor", func(t *testing.T) {
		r := startRegion(t, borne(t), uwi())
		b, u := r.peers[0], r.peers[1]
		args := []string{"--doel", "pw-reintegratie", "--namens", string(b.ID)}
		until := time.Now().Add(10 * 24 * time.Hour).UTC()
		hash := r.contract(u, b, append(args, "--tot", until.Format(time.RFC3339))...)
		d, code := r.doctor(u)
		if code != exitLetOp {
			t.Errorf("exit code %d, want %d", code, exitLetOp)
		}
		f := wants(t, d, "contract", letOp, hash, "verloopt over 9 dagen", string(b.ID))
		if !strings.Contains(f.Herstel, "grensloos contract") {
			t.Errorf("got %q, want a command", f.Herstel)
		}
		r.contract(u, b, args...)
		r.await("the count to be renewed", func() bool { _, code := r.doctor(u); return code == 0 })
	})

	t.Run("a list of revocations is past its end", func(t *testing.T) {
		if err := certs.CRL(r.pki, time.Second); err != nil {
			t.Fatal(err)
		}
		var d diagnosis
		r.await("the list to be past its end, and read", func() bool {
			d, _ = r.doctor(b)
			return strings.Contains(listed(d), "FOUT    gereed intrekkingslijsten")
		})
		f := wants(t, d, "intrekkingslijst", fout, "intermediate.crl", "is verlopen")
		if !strings.Contains(f.Herstel, "grensloos pki crl") {
			t.Errorf("got %q, want the command that makes a list", f.Herstel)
		}
		wants(t, d, "gereed", fout, "intrekkingslijsten", "verlopen")
		wants(t, d, "manager", fout, u.Name, "past its nextUpdate")
		if err := certs.CRL(r.pki, crlFor); err != nil {
			t.Fatal(err)
		}
		r.await("the mend to work", func() bool { _, code := r.doctor(b); return code == 0 })
	})

	t.Run("a certificate ends soon", func(t *testing.T) {
		dir := t.TempDir()
		made, err := certs.Issue(r.pki, certs.Request{OIN: b.ID, Name: b.Name, Hosts: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Days: 12, Out: dir})
		if err != nil {
			t.Fatal(err)
		}
		old := swap(t, map[string]string{
			filepath.Join(b.dir, "group", "cert.pem"): made.CertFile, filepath.Join(b.dir, "group", "key.pem"): made.KeyFile,
		})
		var d diagnosis
		r.await("Borne to show its new certificate", func() bool {
			d, _ = r.doctor(u)
			return d.count(letOp) > 0
		})
		wants(t, d, "certificaat", letOp, b.Name, "nog 11 dagen")
		d, code := r.doctor(b)
		if code != exitLetOp {
			t.Errorf("exit code %d, want %d", code, exitLetOp)
		}
		wants(t, d, "certificaat", letOp, "groep", "nog 11 dagen")
		old()
		r.await("the mend to work", func() bool { _, code := r.doctor(u); return code == 0 })
	})

	t.Run("a field that the gemeente has no column for", func(t *testing.T) {
		file := filepath.Join(b.dir, "mapping.yaml")
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		less := strings.Replace(string(whole), "      email: mail\n", "", 1)
		if err := os.WriteFile(file, []byte(less), 0o600); err != nil {
			t.Fatal(err)
		}
		d, code := r.doctor(b)
		f := wants(t, d, "bron", inOrde, "veld persoon.email is not mapped")
		if code != 0 || filepath.Base(f.Bestand) != "mapping.yaml" || f.Regel == 0 || less == string(whole) {
			t.Errorf("exit code %d, %+v: want a place in the mapping, and that it is no defect", code, f)
		}
		if err := os.WriteFile(file, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("the mapping has lost a column", func(t *testing.T) {
		db, err := sql.Open("sqlite", filepath.Join(b.dir, "bron.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		mapping, err := os.ReadFile(filepath.Join(b.dir, "mapping.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		const table, column = "uitkering", "regeling"
		before, _, ok := strings.Cut(string(mapping), "kolom: "+column)
		if !ok {
			t.Fatal("the mapping has no such column")
		}
		line := 1 + strings.Count(before, "\n")
		rename := func(from, to string) {
			if _, err := db.ExecContext(t.Context(), `ALTER TABLE "`+table+`" RENAME COLUMN "`+from+`" TO "`+to+`"`); err != nil {
				t.Fatal(err)
			}
		}
		rename(column, "anders")
		d, code := r.doctor(b)
		if code != exitFout {
			t.Errorf("exit code %d, want %d", code, exitFout)
		}
		f := wants(t, d, "bron", fout, `has no column "`+column+`"`)
		if filepath.Base(f.Bestand) != "mapping.yaml" || f.Regel != line || !strings.Contains(f.Herstel, "connector check") {
			t.Errorf("got %+v, want line %d of the mapping and the command to try it", f, line)
		}
		rename("anders", column)
		if _, code := r.doctor(b); code != 0 {
			t.Errorf("after the mend: exit code %d", code)
		}
	})

	t.Run("what a peer says of itself says nothing of a person", func(t *testing.T) {
		d, _ := r.doctor(b)
		raw, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), "99999") {
			t.Errorf("a number in the range of BSNs:\n%s", raw)
		}
	})

	t.Run("a neighbour is down, and then we are", func(t *testing.T) {
		r.stop(b)
		d, code := r.doctor(u)
		if code != exitFout {
			t.Errorf("exit code %d, want %d", code, exitFout)
		}
		wants(t, d, "manager", fout, b.Name, "niet bereikbaar")
		d, code = r.doctor(b)
		if code != exitLetOp || d.Draait {
			t.Errorf("of one that is down: exit code %d, runs %v\n%s", code, d.Draait, listed(d))
		}
		wants(t, d, "peer", letOp, "draait niet")
		wants(t, d, "contracten", inOrde, "1 geldig") // from its store
		wants(t, d, "manager", inOrde, u.Name)
		wants(t, d, "bron", inOrde, "past op de bron")
		r.start(b)
		if _, code := r.doctor(u); code != 0 {
			t.Errorf("with everybody back: exit code %d", code)
		}
	})
}

// A configuration that can't be read is a finding too, also as JSON.
func TestDoctorWithoutConfiguration(t *testing.T) {
	var out syncBuffer
	file := filepath.Join(t.TempDir(), "peer.yaml")
	if err := os.WriteFile(file, []byte("mapp: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), []string{"doctor", "--json", "-c", file}, strings.NewReader(""), &out, &syncBuffer{})
	var d diagnosis
	if exitCode(err) != exitFout || json.Unmarshal([]byte(out.String()), &d) != nil {
		t.Fatalf("got %v, %s", err, out.String())
	}
	if f := wants(t, d, "configuratie", fout, `did you mean "map"?`); !strings.Contains(f.Herstel, "config example") {
		t.Errorf("got %+v", f)
	}
}

func TestClockOffset(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name      string
		date      time.Time
		sent      time.Time
		rtt, want time.Duration
	}{
		{"same second", noon, noon.Add(900 * time.Millisecond), 10 * time.Millisecond, 0},
		{"the second turned on the way", noon.Add(time.Second), noon.Add(995 * time.Millisecond), 10 * time.Millisecond, 0},
		{"slow answer", noon.Add(time.Second), noon, 3 * time.Second, 0},
		{"ahead", noon.Add(10 * time.Second), noon, 0, 10 * time.Second},
		{"behind", noon.Add(-10 * time.Second), noon, 0, -9 * time.Second},
	} {
		if got := clockOffset(tc.date, tc.sent, tc.rtt); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
	d := &doctor{}
	for off, want := range map[time.Duration]ernst{0: inOrde, -3 * time.Second: letOp, 6 * time.Second: fout} {
		d.Bevindingen = nil
		d.clock("x", &off)
		wants(t, d.diagnosis, "klok", want)
	}
}

// swap puts files in the place of others and gives the way back.
func swap(t *testing.T, files map[string]string) (back func()) {
	t.Helper()
	old := map[string][]byte{}
	put := func(name string, raw []byte) {
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, with := range files {
		was, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(with)
		if err != nil {
			t.Fatal(err)
		}
		old[name] = was
		put(name, raw)
	}
	return func() {
		for name, raw := range old {
			put(name, raw)
		}
	}
}

// withoutWet is Borne's source behind a mapping that leaves one field out.
func withoutWet(ctx context.Context, dir string) error {
	if err := borneSource(ctx, dir); err != nil {
		return err
	}
	file := filepath.Join(dir, "mapping.yaml")
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var kept []string
	for line := range strings.Lines(string(raw)) {
		if !strings.Contains(line, "wet: {kolom") {
			kept = append(kept, line)
		}
	}
	return os.WriteFile(file, []byte(strings.Join(kept, "")), 0o600)
}
