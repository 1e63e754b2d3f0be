package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
)

// pkiRun runs `grensloos pki` with args and gives what it printed.
func pkiRun(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := pkiCommand()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.Execute()
	return out.String(), err
}

// From nothing to a peer that is trusted, then revoked, by commands alone.
func TestPKI(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	run := func(args ...string) string {
		t.Helper()
		out, err := pkiRun(t, append(args, "--dir", dir)...)
		if err != nil {
			t.Fatalf("grensloos pki %s: %v", strings.Join(args, " "), err)
		}
		return out
	}
	if got := run("init", "--name", "Proefregio"); !strings.Contains(got, filepath.Join(dir, certs.RootFile)) {
		t.Errorf("init does not say where the anchor is:\n%s", got)
	}
	out := run("issue", "--oin", "00000099000000147000", "--name", "Gemeente Borne", "--host", "borne.example", "--host", "localhost", "--ip", "127.0.0.1")
	certFile := filepath.Join(dir, "issued", "00000099000000147000", certs.CertFile)
	if !strings.Contains(out, certFile) {
		t.Errorf("issue does not say where the certificate is:\n%s", out)
	}
	id, err := certs.LoadIdentity(certFile, filepath.Join(filepath.Dir(certFile), certs.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(id.Cert().DNSNames, " "), "borne.example localhost"; got != want {
		t.Errorf("got hosts %q, want %q", got, want)
	}
	group, err := certs.OpenGroup(gateway.GroupRules{ID: "proef"}, certs.Config{
		Ankers: []string{filepath.Join(dir, certs.RootFile)},
		CRLs:   []string{filepath.Join(dir, certs.RootCRLFile), filepath.Join(dir, certs.IntermediateCRLFile)},
	}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := group.VerifyChain(id.Chain(), id.Cert().NotBefore); err != nil {
		t.Error(err)
	}
	run("crl", "--next", "1h")
	run("revoke", certFile)
	if err := group.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := group.VerifyChain(id.Chain(), id.Cert().NotBefore); gateway.KindOf(err) != gateway.Denied {
		t.Errorf("got %v, want the revoked certificate denied", err)
	}
}

func TestPKIIntern(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"init", "--dir", dir, "--intern", "--name", "Gemeente Borne"},
		{"issue", "--dir", dir, "--intern", "--host", "localhost", "--out", filepath.Join(dir, "host"), "--key", "rsa-3072"},
	} {
		if out, err := pkiRun(t, args...); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "host", certs.KeyFile)); err != nil {
		t.Error(err)
	}
}

func TestPKIRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	if _, err := pkiRun(t, "init", "--dir", dir); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"init"}, "there is a PKI already"},
		{[]string{"init", "--force", "--key", "dsa"}, "use ecdsa-p256 or rsa-3072"},
		{[]string{"issue", "--name", "Borne", "--host", "localhost"}, "OIN of 20 digits"},
		{[]string{"issue", "--oin", "00000099000000147000", "--name", "Borne"}, "hosts: give at least one"},
		{[]string{"issue", "--ip", "twaalf"}, "ip"},
		{[]string{"revoke"}, "accepts 1 arg"},
		{[]string{"revoke", "weg.pem"}, "no such file"},
		{[]string{"crl", "--next", "-1h"}, "say how long"},
		{[]string{"crl", "extra"}, "unknown command"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			_, err := pkiRun(t, append(tt.args, "--dir", dir)...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want it to say %q", err, tt.want)
			}
		})
	}
}
