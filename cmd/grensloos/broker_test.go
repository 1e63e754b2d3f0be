package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/grensloos/grensloos/gateway/audit/kafka"
	"github.com/grensloos/grensloos/gateway/bevraging"
)

// TestBrokerGone runs the asker on a cluster that is away: it carries on from its journal up to the bound, then refuses without
// sending anything, and recovers by itself when the cluster comes.
func TestBrokerGone(t *testing.T) {
	b, u := borne(t), uwi()
	laid, err := layRegion(t.Context(), t.TempDir(), b, u)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := kafka.BrokerConfig{Dir: t.TempDir(), Port: u.ports.Kafka}
	broker, err := kafka.StartBroker(elsewhere, nil)
	if err != nil {
		t.Fatal(err)
	}
	sasl := broker.Config().SASL
	password, err := sasl.Password()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(u.dir+"/broker.password", []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(u.config())
	if err != nil {
		t.Fatal(err)
	}
	away := fmt.Sprintf(`  journaal: {maxAchterstandBytes: 24000}
  kafka:
    brokers: ["127.0.0.1:%d"]
    replicatie: 1
    minInsync: 1
    sasl: {mechanisme: %s, gebruiker: %s, wachtwoordBestand: broker.password}
`, u.ports.Kafka, sasl.Mechanism, sasl.User)
	file = bytes.Replace(file, []byte(fmt.Sprintf("  ingebouwd: {poort: %d}\n", u.ports.Kafka)), []byte(away), 1)
	if err := os.WriteFile(u.config(), file, 0o600); err != nil {
		t.Fatal(err)
	}
	r := &running{region: laid, t: t, serve: map[*regionPeer]*served{}}
	r.must(u, "", "kafka", "init")
	if err := broker.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for p := range r.serve {
			r.stop(p)
		}
	})
	r.start(b)
	r.start(u)
	r.contract(u, b, "--doel", "pw-uitkering", "--namens", string(b.ID))
	ask := func() string {
		return outcomes(r.ask(u, testVraag{doel: "pw-uitkering", zaaktype: "pw-aanvraag", bsn: clientOf(t, 0)}))
	}
	const answered = "persoon=beantwoord uitkering=beantwoord"
	if got := ask(); got != answered {
		t.Fatalf("with the cluster away and room in the journal: got %s, want %s", got, answered)
	}
	refused := ""
	for range 50 {
		if refused = ask(); refused != answered {
			break
		}
	}
	if strings.Contains(refused, string(bevraging.Beantwoord)) || strings.Contains(refused, string(bevraging.GeenGegevens)) {
		t.Fatalf("past the bound: got %s, want a refusal", refused)
	}
	if broker, err = kafka.StartBroker(elsewhere, nil); err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	r.await("the journal to be shipped and questions to be answered again", func() bool { return ask() == answered })
	r.stop(u)
}
