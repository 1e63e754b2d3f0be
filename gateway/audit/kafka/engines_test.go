//go:build engines

package kafka_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/journal"
	"github.com/grensloos/grensloos/gateway/audit/kafka"
)

// env is what .ci/engines printed.
func env(t testing.TB, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set: start the brokers with .ci/engines kafka start DIR and source what it prints", name)
	}
	return v
}

// cluster is the real one, over TLS, for a user; each test has a prefix of its own.
func cluster(t testing.TB, user string) kafka.Config {
	t.Helper()
	dir := env(t, "GRENSLOOS_KAFKA_DIR")
	return kafka.Config{
		Brokers: strings.Split(env(t, "GRENSLOOS_KAFKA"), ","), TopicPrefix: fmt.Sprintf("%s-%d", t.Name(), time.Now().UnixNano()),
		Partitions: 3, Replication: 3, MinInsync: 2, Organisation: "00000099000000147000", Timeout: 10 * time.Second,
		TLS:  kafka.TLS{Enabled: true, CA: filepath.Join(dir, "tls", "ca.pem")},
		SASL: kafka.SASL{Mechanism: "SCRAM-SHA-512", User: user, PasswordFile: filepath.Join(dir, "wachtwoord")},
	}
}

func as(cfg kafka.Config, user string) kafka.Config {
	cfg.SASL.User = user
	return cfg
}

// engines calls the script that runs the brokers.
func engines(t testing.TB, args ...string) {
	t.Helper()
	args = append([]string{"kafka", args[0], env(t, "GRENSLOOS_KAFKA_DIR")}, args[1:]...)
	if out, err := exec.Command(env(t, "GRENSLOOS_ENGINES"), args...).CombinedOutput(); err != nil {
		t.Fatalf("engines %v: %v\n%s", args, err, out)
	}
}

func initialise(t testing.TB, cfg kafka.Config, principal string) []string {
	t.Helper()
	made, err := kafka.Init(t.Context(), as(cfg, "beheerder"), principal)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// findings is what Inspect says, and the kind of its verdict.
func findings(t *testing.T, cfg kafka.Config) (string, gateway.Kind) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	state, err := kafka.Inspect(ctx, cfg)
	if err == nil {
		if err = state.Err(); err == nil {
			return "", 0
		}
	}
	return err.Error(), gateway.KindOf(err)
}

// Init makes what Inspect finds missing, the second time nothing, and gives the peer what it needs and nobody else anything.
func TestKafkaInit(t *testing.T) {
	cfg := cluster(t, "peer")
	cfg.RetentionDays = map[audit.Soort]int{audit.ADL: 30}
	want := func(name string, got string, kind, wantKind gateway.Kind, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(got, part) {
				t.Errorf("%s: got %q, want it to say %q", name, got, part)
			}
		}
		if kind != wantKind || len(parts) == 0 && got != "" {
			t.Errorf("%s: got kind %v (%s), want %v", name, kind, got, wantKind)
		}
	}
	got, kind := findings(t, as(cfg, "beheerder"))
	want("no topics", got, kind, gateway.Invalid, cfg.TopicPrefix+".transactie", "does not exist", "grensloos kafka init")

	if made := initialise(t, cfg, "User:peer"); len(made) != 2*len(audit.Soorten()) {
		t.Errorf("first init did %q, want each topic made and allowed", made)
	}
	if made := initialise(t, cfg, ""); len(made) != 0 {
		t.Errorf("second init did %q, want nothing", made)
	}
	settle(t, cfg, "")
	got, kind = findings(t, as(cfg, "vreemd"))
	want("another user", got, kind, gateway.Denied, "user vreemd", cfg.TopicPrefix+".adl", "--acl")
	if _, err := kafka.Init(t.Context(), cfg, ""); gateway.KindOf(err) != gateway.Denied {
		t.Errorf("init as the peer: got %v, want it denied: a peer may not make or change topics", err)
	}

	// Read and describe alone are not enough, and it is found without a record written.
	readOnly := cfg
	readOnly.TopicPrefix += "-lezen"
	initialise(t, readOnly, "")
	client := admin(t, cfg)
	var acls []kafkago.ACLEntry
	for _, s := range audit.Soorten() {
		for _, right := range []kafkago.ACLOperationType{kafkago.ACLOperationTypeRead, kafkago.ACLOperationTypeDescribe, kafkago.ACLOperationTypeDescribeConfigs} {
			acls = append(acls, kafkago.ACLEntry{
				ResourceType: kafkago.ResourceTypeTopic, ResourceName: readOnly.TopicPrefix + "." + string(s), ResourcePatternType: kafkago.PatternTypeLiteral,
				Principal: "User:peer", Host: "*", Operation: right, PermissionType: kafkago.ACLPermissionTypeAllow,
			})
		}
	}
	if _, err := client.CreateACLs(t.Context(), &kafkago.CreateACLsRequest{ACLs: acls}); err != nil {
		t.Fatal(err)
	}
	settle(t, readOnly, "may not write")
	w, _ := connectTo(t, readOnly)
	_, recs := exchange(time.Now())
	err := w.Write(t.Context(), chained(recs...))
	if gateway.KindOf(err) != gateway.Denied || !strings.Contains(err.Error(), "--acl") {
		t.Errorf("a write without the right to: got %v, want it denied with the command", err)
	}
	if all := count(t, as(readOnly, "beheerder")); len(all) != 0 {
		t.Errorf("inspecting and a refused write left %d records", len(all))
	}

	// A property that is off is found by name, and init mends it.
	for name, value := range map[string]string{"max.message.bytes": "2000", "min.insync.replicas": "1", "cleanup.policy": "compact", "retention.ms": "1000"} {
		alter(t, client, cfg.TopicPrefix+".adl", name, value)
		settle(t, cfg, name+" is "+value)
	}
	w, _ = connectTo(t, cfg)
	_, recs = exchange(time.Now())
	noise := make([]byte, 4000) // no compression makes it fit
	_, _ = rand.Read(noise)
	recs[1].Body = json.RawMessage(`{"groot":"` + hex.EncodeToString(noise) + `"}`)
	err = w.Write(t.Context(), chained(recs...))
	if gateway.KindOf(err) != gateway.Invalid || !strings.Contains(err.Error(), "max.message.bytes") {
		t.Errorf("a message that is too large: got %v, want it named", err)
	}
	if made := initialise(t, cfg, ""); len(made) != 4 {
		t.Errorf("init mended %q, want four properties", made)
	}
	settle(t, cfg, "")

	// Replicas and partitions are the cluster's to change.
	few := cfg
	few.TopicPrefix, few.Replication, few.MinInsync = cfg.TopicPrefix+"-een", 1, 1
	initialise(t, few, "User:peer")
	few.Replication = 3
	settle(t, few, "1 replicas, the configuration says 3")
	parts := cfg
	parts.Partitions = 4
	settle(t, parts, "partities: 3")
	many := cfg
	many.TopicPrefix, many.Replication = cfg.TopicPrefix+"-veel", 4
	if _, err := kafka.Init(t.Context(), as(many, "beheerder"), ""); gateway.KindOf(err) != gateway.Invalid || !strings.Contains(err.Error(), "replicatie 4") {
		t.Errorf("more replicas than brokers: got %v", err)
	}
}

// settle waits until Inspect finds what is wanted: a change of a topic or ACL takes a moment to reach all brokers.
func settle(t *testing.T, cfg kafka.Config, want string) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if got, _ = findings(t, cfg); want == "" && got == "" || want != "" && strings.Contains(got, want) {
			return
		}
	}
	t.Errorf("found %q, want %q", got, want)
}

func admin(t *testing.T, cfg kafka.Config) *kafkago.Client {
	t.Helper()
	brokers := strings.Split(env(t, "GRENSLOOS_KAFKA_PLAINTEXT"), ",")
	transport := &kafkago.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &kafkago.Client{Addr: kafkago.TCP(brokers...), Transport: transport, Timeout: cfg.Timeout}
}

func alter(t *testing.T, c *kafkago.Client, topic, name, value string) {
	t.Helper()
	resp, err := c.IncrementalAlterConfigs(t.Context(), &kafkago.IncrementalAlterConfigsRequest{Resources: []kafkago.IncrementalAlterConfigsRequestResource{{
		ResourceType: kafkago.ResourceTypeTopic, ResourceName: topic, Configs: []kafkago.IncrementalAlterConfigsRequestConfig{{Name: name, Value: value}},
	}}})
	if err == nil {
		err = resp.Resources[0].Error
	}
	if err != nil {
		t.Fatal(err)
	}
}

func connectTo(t testing.TB, cfg kafka.Config) (*kafka.Writer, *kafka.Reader) {
	t.Helper()
	w, err := kafka.NewWriter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r, err := kafka.NewReader(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(); r.Close() })
	return w, r
}

func count(t *testing.T, cfg kafka.Config) []audit.Entry {
	t.Helper()
	_, r := connectTo(t, cfg)
	all, err := r.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Each way in works, and each wrong one is refused with what to do.
func TestKafkaSecurity(t *testing.T) {
	cfg := cluster(t, "peer")
	dir := env(t, "GRENSLOOS_KAFKA_DIR")
	initialise(t, cfg, "User:peer")
	own := cfg
	own.Brokers, own.SASL = strings.Split(env(t, "GRENSLOOS_KAFKA_MTLS"), ","), kafka.SASL{}
	own.TLS.Cert, own.TLS.Key = filepath.Join(dir, "tls", "client.crt"), filepath.Join(dir, "tls", "client.key")
	principal, err := own.Principal()
	if err != nil || principal != "User:CN=client,O=Grensloos CI" {
		t.Fatalf("principal of the certificate: got %q, %v", principal, err)
	}
	initialise(t, cfg, principal)
	settle(t, cfg, "")
	settle(t, own, "")
	sha256 := cfg
	sha256.SASL.Mechanism = "SCRAM-SHA-256"
	settle(t, sha256, "")
	for name, c := range map[string]kafka.Config{"SCRAM": cfg, "mutual TLS": own} {
		w, r := connectTo(t, c)
		id, recs := exchange(time.Now())
		if err := w.Write(t.Context(), chained(recs...)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := r.Transaction(t.Context(), id); err != nil || len(got) != len(recs) {
			t.Errorf("%s: read %d records, %v, want %d", name, len(got), err, len(recs))
		}
	}
	wrong := filepath.Join(t.TempDir(), "wachtwoord")
	if err := os.WriteFile(wrong, []byte("niet-dit"), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := map[string]struct {
		change func(*kafka.Config)
		kind   gateway.Kind
		want   string
	}{
		"wrong password":     {func(c *kafka.Config) { c.SASL.PasswordFile = wrong }, gateway.Denied, "wachtwoordBestand"},
		"unknown user":       {func(c *kafka.Config) { c.SASL.User = "niemand" }, gateway.Denied, "--entity-name niemand"},
		"wrong CA":           {func(c *kafka.Config) { c.TLS.CA = otherCA(t) }, gateway.Denied, "audit.kafka.tls.ca"},
		"other name":         {func(c *kafka.Config) { c.TLS.ServerName = "kafka.example" }, gateway.Denied, "serverNaam"},
		"no TLS there":       {func(c *kafka.Config) { c.Brokers = strings.Split(env(t, "GRENSLOOS_KAFKA_PLAINTEXT"), ",") }, gateway.Unavailable, "tls.aan"},
		"no certificate":     {func(c *kafka.Config) { c.Brokers, c.SASL = own.Brokers, kafka.SASL{} }, gateway.Denied, "tls.certificaat"},
		"TLS there, not us":  {func(c *kafka.Config) { c.TLS.Enabled = false }, gateway.Unavailable, "tls.aan"},
		"nobody listens":     {func(c *kafka.Config) { c.Brokers = []string{"127.0.0.1:1"} }, gateway.Unavailable, "audit.kafka.brokers"},
		"certificate, no CA": {func(c *kafka.Config) { *c = own; c.TLS.Cert, c.TLS.Key = selfSigned(t) }, gateway.Denied, "tls.certificaat"},
	}
	for name, b := range bad {
		c := cfg
		b.change(&c)
		c.Timeout = 3 * time.Second
		got, kind := findings(t, c)
		if kind != b.kind || !strings.Contains(got, b.want) {
			t.Errorf("%s: got %v %q, want %v and %q", name, kind, got, b.kind, b.want)
		}
	}
}

func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
		"-subj", "/CN=vreemd", "-keyout", key, "-out", cert).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	return cert, key
}

func otherCA(t *testing.T) string {
	cert, _ := selfSigned(t)
	return cert
}

// kcat, which knows nothing of us, reads JSON with the id of its schema and the headers of a CloudEvent. It signs in with a
// certificate: SCRAM of the librdkafka in Debian 12 is refused by brokers since CVE-2024-56128 was mended.
func TestKafkaKcat(t *testing.T) {
	cfg := cluster(t, "peer")
	initialise(t, cfg, "User:peer")
	initialise(t, cfg, "User:CN=client,O=Grensloos CI")
	settle(t, cfg, "")
	w, _ := connectTo(t, cfg)
	id, recs := exchange(time.Now())
	if err := w.Write(t.Context(), chained(recs...)); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(env(t, "GRENSLOOS_KAFKA_DIR"), "tls", "client")
	for _, rec := range recs {
		out, err := exec.Command("kcat", "-b", env(t, "GRENSLOOS_KAFKA_MTLS"), "-t", cfg.TopicPrefix+"."+string(rec.Soort), "-C", "-e", "-q",
			"-X", "security.protocol=SSL", "-X", "ssl.ca.location="+cfg.TLS.CA,
			"-X", "ssl.certificate.location="+own+".crt", "-X", "ssl.key.location="+own+".key", "-f", `%k\t%h\t%s\n`).Output()
		if err != nil {
			why, _ := errors.AsType[*exec.ExitError](err)
			t.Fatalf("kcat: %v\n%s", err, why.Stderr)
		}
		key, rest, _ := strings.Cut(strings.TrimSuffix(string(out), "\n"), "\t")
		head, body, _ := strings.Cut(rest, "\t")
		headers := map[string]string{}
		for h := range strings.SplitSeq(head, ",") {
			k, v, _ := strings.Cut(h, "=")
			headers[k] = v
		}
		if !json.Valid([]byte(body)) || body != string(rec.Body) {
			t.Errorf("%s: kcat reads %q, want the JSON that was written", rec.Soort, body)
		}
		want := map[string]string{
			"ce_specversion": "1.0", "ce_id": rec.ID, "ce_type": "nl.grensloos.audit." + string(rec.Soort) + ".v1",
			"ce_source": "urn:nld:oin:00000099000000147000:systeem:grensloos", "content-type": "application/json",
			"ce_dataschema": "https://github.com/grensloos/grensloos/blob/main/schemas/" + string(rec.Soort) + ".schema.json",
		}
		for k, v := range want {
			if headers[k] != v {
				t.Errorf("%s: header %s is %q, want %q", rec.Soort, k, headers[k], v)
			}
		}
		if key != string(id) {
			t.Errorf("%s: key %q, want the transaction %s", rec.Soort, key, id)
		}
	}
}

// outage is how long all brokers are away: a minute, unless GRENSLOOS_KAFKA_OUTAGE says otherwise.
func outage(t *testing.T) time.Duration {
	t.Helper()
	v := os.Getenv("GRENSLOOS_KAFKA_OUTAGE")
	if v == "" {
		return time.Minute
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// side is a journal under load that ships to the cluster.
type side struct {
	ack     journal.Ack
	journal *journal.Journal
	cfg     kafka.Config

	mu      sync.Mutex
	acked   map[string]bool
	refused atomic.Int64
	total   atomic.Int64
}

// load appends transactions from some writers until stop is closed.
func (s *side) load(t *testing.T, writers int, stop <-chan struct{}) *sync.WaitGroup {
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(25 * time.Millisecond):
				}
				_, recs := exchange(time.Now())
				err := s.journal.Append(context.Background(), recs...)
				if err != nil {
					if gateway.CodeOf(err) != "TRANSACTION_LOG_WRITE_ERROR" && gateway.KindOf(err) != gateway.Unavailable {
						t.Errorf("%s: an append was refused with %v", s.ack, err)
					}
					s.refused.Add(1)
					continue
				}
				s.mu.Lock()
				for _, r := range recs {
					s.acked[r.ID] = true
				}
				s.mu.Unlock()
				s.total.Add(1)
			}
		})
	}
	return &wg
}

// grows waits until more appends are acknowledged than can have been on their way.
func (s *side) grows(t *testing.T, why string, within time.Duration) time.Duration {
	t.Helper()
	began, from := time.Now(), s.total.Load()
	for s.total.Load() < from+20 {
		if time.Since(began) > within {
			t.Fatalf("%s: %s: nothing was acknowledged within %v", s.ack, why, within)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

// Under load one broker is killed and comes back, then all three go and come back. Nothing that was acknowledged is lost, nothing
// is there twice once record ids are told apart, the running hash has no gap, and it all goes on by itself; in mode kafka nothing
// is acknowledged while there is no cluster.
func TestKafkaOutage(t *testing.T) {
	engines(t, "run", "1", "2", "3")
	t.Cleanup(func() { engines(t, "run", "1", "2", "3") })
	stop := make(chan struct{})
	var sides []*side
	var loads []*sync.WaitGroup
	for _, ack := range []journal.Ack{journal.AckJournal, journal.AckKafka} {
		cfg := cluster(t, "peer")
		cfg.TopicPrefix += "." + string(ack)
		initialise(t, cfg, "User:peer")
		settle(t, cfg, "")
		w, _ := connectTo(t, cfg)
		j, err := journal.Open(journal.Config{Dir: t.TempDir(), Ack: ack, AckTimeout: 2 * time.Second, MaxLagBytes: 1 << 30}, quiet(), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		s := &side{ack: ack, journal: j, cfg: cfg, acked: map[string]bool{}}
		shipped := make(chan error, 1)
		go func() { shipped <- j.Ship(context.Background(), w) }()
		t.Cleanup(func() { // after a failure there may be no broker to ship to
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			_ = j.Close(ctx)
			select {
			case err := <-shipped:
				if err != nil {
					t.Errorf("%s: shipping ended with %v", ack, err)
				}
			case <-ctx.Done():
				t.Errorf("%s: not all was shipped", ack)
			}
		})
		sides = append(sides, s)
		loads = append(loads, s.load(t, 8, stop))
	}
	each := func(why string, within time.Duration) {
		for _, s := range sides {
			t.Logf("%s: %s: acknowledging again after %v", s.ack, why, s.grows(t, why, within).Round(time.Millisecond))
		}
	}
	each("all brokers there", 20*time.Second)
	engines(t, "kill", "1")
	each("one broker killed", 30*time.Second)
	engines(t, "run", "1")
	each("it is back", 30*time.Second)

	engines(t, "stop")
	away := sides[1]
	// What the cluster acknowledged as it went may still be on its way to a writer.
	quietFrom := time.Now().Add(away.ackWithin())
	for time.Now().Before(quietFrom) {
		time.Sleep(10 * time.Millisecond)
	}
	acked := away.total.Load()
	sides[0].grows(t, "no broker there", 5*time.Second)
	time.Sleep(outage(t))
	if got := away.total.Load() - acked; got != 0 {
		t.Errorf("mode kafka acknowledged %d transactions while no broker was there", got)
	}
	if away.refused.Load() == 0 {
		t.Error("mode kafka refused nothing while no broker was there")
	}
	engines(t, "run", "1", "2", "3")
	each("all are back", 60*time.Second)
	close(stop)
	for _, wg := range loads {
		wg.Wait()
	}
	for _, s := range sides {
		s.check(t)
	}
}

func (*side) ackWithin() time.Duration { return 2500 * time.Millisecond }

// check holds what is in the cluster to what was acknowledged.
func (s *side) check(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := s.journal.Close(ctx); err != nil {
		t.Fatal(err)
	}
	all := count(t, s.cfg)
	ids := map[string]int{}
	for _, e := range all {
		ids[e.Record.ID]++
	}
	for id, n := range ids {
		if n != 1 {
			t.Errorf("%s: record %s is there %d times after its id was told apart", s.ack, id, n)
		}
	}
	lost := 0
	for id := range s.acked {
		if ids[id] == 0 {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%s: %d of %d acknowledged records are lost", s.ack, lost, len(s.acked))
	}
	if _, err := audit.CheckChain(slices.Values(all)); err != nil {
		t.Errorf("%s: the chain: %v", s.ack, err)
	}
	raw := messages(t, s.cfg)
	t.Logf("%s: %d records acknowledged, %d transactions refused, %d records in the cluster in %d messages", s.ack, len(s.acked), s.refused.Load(), len(all), raw)
	if len(s.acked) == 0 || s.ack == journal.AckJournal && s.refused.Load() > 0 {
		t.Errorf("%s: %d acknowledged, %d refused", s.ack, len(s.acked), s.refused.Load())
	}
}

// messages counts what stands in the topics, doubles and all.
func messages(t *testing.T, cfg kafka.Config) int64 {
	t.Helper()
	client := admin(t, cfg)
	req := &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{}}
	for _, s := range audit.Soorten() {
		for p := range cfg.Partitions {
			req.Topics[cfg.TopicPrefix+"."+string(s)] = append(req.Topics[cfg.TopicPrefix+"."+string(s)], kafkago.LastOffsetOf(p))
		}
	}
	resp, err := client.ListOffsets(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	for _, parts := range resp.Topics {
		for _, p := range parts {
			n += p.LastOffset
			err = errors.Join(err, p.Error)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Anchors, certificate and password are those of the moment of a connection: what is replaced counts for the next one, in a writer that
// has long been there, and a connection that is open goes on.
func TestKafkaRenewedFiles(t *testing.T) {
	cfg := cluster(t, "peer")
	dir := env(t, "GRENSLOOS_KAFKA_DIR")
	initialise(t, cfg, "User:peer")
	initialise(t, cfg, "User:CN=client,O=Grensloos CI")
	settle(t, cfg, "")
	files := t.TempDir()
	put := func(name, from string) string {
		t.Helper()
		raw, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(files, name)
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	_, recs := exchange(time.Now())
	write := func(w *kafka.Writer) error { // the same each time, so that it goes to brokers to which there is a connection
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return w.Write(ctx, chained(recs...))
	}
	wrong := filepath.Join(files, "verkeerd")
	if err := os.WriteFile(wrong, []byte("niet-dit"), 0o600); err != nil {
		t.Fatal(err)
	}
	strange, strangeKey := selfSigned(t)

	scram := cfg
	scram.TLS.CA, scram.SASL.PasswordFile = put("ca.pem", strange), put("wachtwoord", wrong)
	w, _ := connectTo(t, scram)
	if err := write(w); gateway.KindOf(err) != gateway.Denied || !strings.Contains(err.Error(), "audit.kafka.tls.ca") {
		t.Errorf("another CA: got %v", err)
	}
	put("ca.pem", cfg.TLS.CA)
	if err := write(w); gateway.KindOf(err) != gateway.Denied || !strings.Contains(err.Error(), "wachtwoordBestand") {
		t.Errorf("the right CA, a wrong password: got %v", err)
	}
	put("wachtwoord", cfg.SASL.PasswordFile)
	if err := write(w); err != nil {
		t.Errorf("all mended, no restart: %v", err)
	}
	put("ca.pem", strange)
	put("wachtwoord", wrong)
	for range 5 {
		if err := write(w); err != nil {
			t.Errorf("over connections that are open: %v", err)
		}
	}
	if got, kind := findings(t, scram); kind != gateway.Denied {
		t.Errorf("a new connection with the files of now: %v %q", kind, got)
	}

	own := cfg
	own.Brokers, own.SASL = strings.Split(env(t, "GRENSLOOS_KAFKA_MTLS"), ","), kafka.SASL{}
	own.TLS.Cert, own.TLS.Key = put("cert.pem", strange), put("key.pem", strangeKey)
	if w, _ = connectTo(t, own); write(w) == nil {
		t.Error("written with a certificate of nobody")
	}
	put("cert.pem", filepath.Join(dir, "tls", "client.crt"))
	if err := write(w); gateway.KindOf(err) != gateway.Unavailable || !strings.Contains(err.Error(), "certificaat and sleutel") {
		t.Errorf("a certificate whose key is not there yet: got %v", err)
	}
	put("key.pem", filepath.Join(dir, "tls", "client.key"))
	if err := write(w); err != nil {
		t.Errorf("the key too: %v", err)
	}
}

// A broker whose certificate ended is named as that. The one here stands before a real broker.
func TestKafkaExpiredCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	front, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { front.Close() })
	broker := strings.Split(env(t, "GRENSLOOS_KAFKA_PLAINTEXT"), ",")[0]
	go func() {
		for {
			in, err := front.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", broker)
			if err != nil {
				in.Close()
				continue
			}
			go func() { _, _ = io.Copy(out, in); out.Close() }()
			go func() { _, _ = io.Copy(in, out); in.Close() }()
		}
	}()
	cfg := cluster(t, "peer")
	cfg.Brokers, cfg.SASL, cfg.Timeout = []string{front.Addr().String()}, kafka.SASL{}, 3*time.Second
	cfg.TLS.CA = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(cfg.TLS.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	got, kind := findings(t, cfg)
	if kind != gateway.Denied || !strings.Contains(got, cfg.Brokers[0]+" is expired") || !strings.Contains(got, "renew it on the brokers") {
		t.Errorf("got %v %q", kind, got)
	}
	w, _ := connectTo(t, cfg)
	_, recs := exchange(time.Now())
	if err := w.Write(t.Context(), chained(recs...)); gateway.KindOf(err) != gateway.Denied || !strings.Contains(err.Error(), "is expired") {
		t.Errorf("a write: got %v", err)
	}
}

// With fewer replicas in sync than asked nothing is acknowledged, and both the look and the write say so; it mends itself with the broker.
func TestKafkaFewInSync(t *testing.T) {
	engines(t, "run", "1", "2", "3")
	t.Cleanup(func() { engines(t, "run", "1", "2", "3") })
	cfg := cluster(t, "peer")
	cfg.MinInsync = 3
	initialise(t, cfg, "User:peer")
	settle(t, cfg, "")
	engines(t, "kill", "1")
	settle(t, cfg, "replicas in sync and needs 3 (minInsync): nothing is acknowledged")
	if got, kind := findings(t, cfg); kind != gateway.Unavailable || !strings.Contains(got, "start the brokers") {
		t.Errorf("got %v %q, want Unavailable with what mends it", kind, got)
	}
	w, _ := connectTo(t, cfg)
	_, recs := exchange(time.Now())
	write := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		return w.Write(ctx, chained(recs...))
	}
	if err := write(); gateway.KindOf(err) != gateway.Unavailable || !strings.Contains(err.Error(), "min.insync.replicas") {
		t.Errorf("a write: got %v", err)
	}
	engines(t, "run", "1")
	settle(t, cfg, "")
	if err := write(); err != nil {
		t.Errorf("with the broker back: %v", err)
	}
}
