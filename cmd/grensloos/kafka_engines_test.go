//go:build engines

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/kafka"
	"github.com/grensloos/grensloos/gateway/bevraging"
)

func engineEnv(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set: start the brokers with .ci/engines kafka start DIR and source what it prints", name)
	}
	return v
}

func brokers(t *testing.T, args ...string) {
	t.Helper()
	args = append([]string{"kafka", args[0], engineEnv(t, "GRENSLOOS_KAFKA_DIR")}, args[1:]...)
	if out, err := exec.Command(engineEnv(t, "GRENSLOOS_ENGINES"), args...).CombinedOutput(); err != nil {
		t.Fatalf("engines %v: %v\n%s", args, err, out)
	}
}

// entries are all records of a peer in Kafka, each once.
func entries(t *testing.T, p *regionPeer) []audit.Entry {
	t.Helper()
	cfg, err := loadConfig(p.config())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Audit.Kafka.Organisation = p.ID
	reader, err := kafka.NewReader(cfg.Audit.Kafka)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	all, err := reader.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// onCluster puts a peer on the real cluster, over TLS with SCRAM, in mode kafka; its topics have a prefix of their own. More lines go
// into the section of the cluster.
func onCluster(t *testing.T, p *regionPeer, more ...string) (prefix string) {
	t.Helper()
	dir := engineEnv(t, "GRENSLOOS_KAFKA_DIR")
	prefix = fmt.Sprintf("%s-%s-%d", t.Name(), p.ID, time.Now().UnixNano())
	file, err := os.ReadFile(p.config())
	if err != nil {
		t.Fatal(err)
	}
	section := fmt.Sprintf(`  journaal: {bevestiging: kafka, bevestigingBinnen: 2s}
  kafka:
    brokers: [%s]
    topicPrefix: %s
    replicatie: 3
    minInsync: 2
    bewaarDagen: {adl: 1825}
    tls: {aan: true, ca: %s}
    sasl: {mechanisme: SCRAM-SHA-512, gebruiker: peer, wachtwoordBestand: %s}
`, engineEnv(t, "GRENSLOOS_KAFKA"), prefix, filepath.Join(dir, "tls", "ca.pem"), filepath.Join(dir, "wachtwoord"))
	for _, line := range more {
		section += "    " + line + "\n"
	}
	file = bytes.Replace(file, []byte(fmt.Sprintf("  ingebouwd: {poort: %d}\n", p.ports.Kafka)), []byte(section), 1)
	if err := os.WriteFile(p.config(), file, 0o600); err != nil {
		t.Fatal(err)
	}
	return prefix
}

// asAdmin are the flags with which kafka init signs in as somebody who may.
func asAdmin(t *testing.T) []string {
	return []string{"--gebruiker", "beheerder", "--wachtwoordbestand", filepath.Join(engineEnv(t, "GRENSLOOS_KAFKA_DIR"), "wachtwoord")}
}

// startRefused starts a peer that must not start, and gives why.
func startRefused(t *testing.T, p *regionPeer) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out bytes.Buffer
	err := run(ctx, []string{"serve", "-c", p.config()}, strings.NewReader(""), &out, &out)
	if err == nil {
		t.Fatalf("%s started, want it refused", p.Name)
	}
	return err.Error()
}

// TestKafkaPeers runs two peers on a real cluster in mode kafka: a start without topics or rights is refused with the command that
// mends it, questions are answered, nothing is while no broker is there, and it recovers by itself. Every record is in the cluster once.
func TestKafkaPeers(t *testing.T) {
	brokers(t, "run", "1", "2", "3")
	t.Cleanup(func() { brokers(t, "run", "1", "2", "3") })
	b, u := borne(t), uwi()
	laid, err := layRegion(t.Context(), t.TempDir(), b, u)
	if err != nil {
		t.Fatal(err)
	}
	prefixes := map[*regionPeer]string{b: onCluster(t, b), u: onCluster(t, u)}
	r := &running{region: laid, t: t, serve: map[*regionPeer]*served{}}
	t.Cleanup(func() {
		for p := range r.serve {
			r.stop(p)
		}
	})

	// What a peer may not see it can't tell from what is not there.
	says := func(where, got string, words ...string) {
		t.Helper()
		for _, word := range words {
			if !strings.Contains(got, word) {
				t.Errorf("%s says %q, want %q in it", where, got, word)
			}
		}
	}
	doctor := func(words ...string) {
		t.Helper()
		out, _ := r.grensloos(u, "", "doctor")
		says("doctor", out, words...)
	}
	says("start without topics", startRefused(t, u), prefixes[u]+".transactie", "grensloos kafka init -c peer.yaml --acl")
	doctor("FOUT    kafka topic "+prefixes[u]+".adl", "kafka init -c peer.yaml --acl")
	if _, err := r.grensloos(u, "", "kafka", "init", "--acl"); err == nil || !strings.Contains(err.Error(), "user peer may not (ACL)") {
		t.Errorf("init as the peer: got %v, want it denied", err)
	}
	r.must(u, "", append([]string{"kafka", "init"}, asAdmin(t)...)...)
	says("start without rights", startRefused(t, u), "ACL", "--acl")
	for _, p := range []*regionPeer{b, u} {
		says("init", r.must(p, "", append([]string{"kafka", "init", "--acl"}, asAdmin(t)...)...), "User:peer may", "is goed: 3 brokers")
	}

	// Another cluster under the same address.
	cfg, err := loadConfig(u.config())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.Data, clusterFile), []byte("een-ander-cluster\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	says("start on another cluster", startRefused(t, u), "een-ander-cluster", "--nieuw-cluster")
	doctor("een-ander-cluster", "--nieuw-cluster")
	r.must(u, "", append([]string{"kafka", "init", "--nieuw-cluster"}, asAdmin(t)...)...)

	// A topic with too small messages.
	set := func(value string) {
		t.Helper()
		transport := &kafkago.Transport{}
		defer transport.CloseIdleConnections()
		client := &kafkago.Client{Addr: kafkago.TCP(strings.Split(engineEnv(t, "GRENSLOOS_KAFKA_PLAINTEXT"), ",")...), Transport: transport}
		if _, err := client.IncrementalAlterConfigs(t.Context(), &kafkago.IncrementalAlterConfigsRequest{Resources: []kafkago.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafkago.ResourceTypeTopic, ResourceName: prefixes[u] + ".adl",
			Configs: []kafkago.IncrementalAlterConfigsRequestConfig{{Name: "max.message.bytes", Value: value}},
		}}}); err != nil {
			t.Fatal(err)
		}
	}
	set("1000")
	r.await("doctor to find the property", func() bool {
		out, _ := r.grensloos(u, "", "doctor")
		return strings.Contains(out, "max.message.bytes is 1000")
	})
	says("start with a property that is off", startRefused(t, u), prefixes[u]+".adl", "max.message.bytes is 1000", "grensloos kafka init")
	says("init", r.must(u, "", append([]string{"kafka", "init"}, asAdmin(t)...)...), "max.message.bytes from 1000 to")

	// A certificate of the brokers that stands under another CA, and a user that is not let in.
	file, err := os.ReadFile(u.config())
	if err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "wachtwoord")
	if err := os.WriteFile(wrong, []byte("niet-dit"), 0o600); err != nil {
		t.Fatal(err)
	}
	for old, other := range map[string]struct{ fresh, want string }{
		filepath.Join(engineEnv(t, "GRENSLOOS_KAFKA_DIR"), "tls", "ca.pem"): {filepath.Join(laid.pki, certs.RootFile), "audit.kafka.tls.ca"},
		filepath.Join(engineEnv(t, "GRENSLOOS_KAFKA_DIR"), "wachtwoord"):    {wrong, "user peer is not let in"},
	} {
		if err := os.WriteFile(u.config(), bytes.Replace(file, []byte(old), []byte(other.fresh), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		says("start", startRefused(t, u), other.want)
		doctor("FOUT    kafka", other.want)
	}
	if err := os.WriteFile(u.config(), file, 0o600); err != nil {
		t.Fatal(err)
	}

	r.start(b)
	r.start(u)
	doctor("topics, replica's en rechten zijn goed")
	r.contract(u, b, "--doel", "pw-uitkering", "--namens", string(b.ID))
	asked := 0
	ask := func() string {
		asked++
		return outcomes(r.ask(u, testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: clientOf(t, asked%5)}))
	}
	const answered = "persoon=beantwoord uitkering=beantwoord"
	for range 5 {
		if got := ask(); got != answered {
			t.Fatalf("all brokers there: got %s, want %s", got, answered)
		}
	}
	brokers(t, "kill", "2")
	recovers := func(why string, within time.Duration) {
		t.Helper()
		began := time.Now()
		for ask() != answered {
			if time.Since(began) > within {
				t.Fatalf("%s: no answer within %v", why, within)
			}
		}
		t.Logf("%s: answered after %v", why, time.Since(began).Round(time.Millisecond))
	}
	recovers("one broker killed", 30*time.Second)
	brokers(t, "stop")
	for range 3 {
		if got := ask(); strings.Contains(got, string(bevraging.Beantwoord)) || strings.Contains(got, string(bevraging.GeenGegevens)) {
			t.Errorf("no broker there: got %s, want a refusal", got)
		}
	}
	doctor("FOUT    kafka")
	brokers(t, "run", "1", "2", "3")
	recovers("all brokers back", 60*time.Second)
	r.stop(u)
	r.stop(b)
	for p, prefix := range prefixes {
		kept := clusterRecords(t, p).transactions
		for id, n := range kept {
			if n != 1 {
				t.Errorf("%s: transaction %s has %d records", p.Name, id, n)
			}
		}
		if len(kept) < 7 {
			t.Errorf("%s: %d transactions in %s, want one for each of the questions that were answered", p.Name, len(kept), prefix)
		}
	}
}

// TestKafkaModeStartsWithoutCluster: in mode kafka a peer whose cluster is away starts, and refuses every question.
func TestKafkaModeStartsWithoutCluster(t *testing.T) {
	b, u := borne(t), uwi()
	laid, err := layRegion(t.Context(), t.TempDir(), b, u)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GRENSLOOS_KAFKA", "127.0.0.1:1")
	onCluster(t, u)
	r := &running{region: laid, t: t, serve: map[*regionPeer]*served{}}
	t.Cleanup(func() {
		for p := range r.serve {
			r.stop(p)
		}
	})
	r.start(b)
	r.start(u)
	if _, err := r.grensloos(u, clientOf(t, 0), "vraag", "--doel", "pw-uitkering", "--zaaktype", "pw-aanvraag", "--zaak", "Z-1", "--bsn-stdin", "--gemeente", "0147"); err == nil {
		t.Error("a question was answered without its records acknowledged")
	}
}
