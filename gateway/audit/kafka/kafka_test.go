package kafka_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/kafka"
)

const borne gateway.PeerID = "00000099000000147000"

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func broker(t testing.TB, cfg kafka.BrokerConfig) *kafka.Broker {
	t.Helper()
	b, err := kafka.StartBroker(cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func connect(t testing.TB, cfg kafka.Config) (*kafka.Writer, *kafka.Reader) {
	t.Helper()
	cfg.Organisation = borne
	if err := kafka.EnsureTopics(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	w, err := kafka.NewWriter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r, err := kafka.NewReader(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = w.Close(), r.Close() })
	return w, r
}

// chained gives records their place in a journal.
func chained(recs ...audit.Record) []audit.Entry {
	const journal = "0190b6a2-0000-7000-8000-000000000001"
	prev := audit.Genesis(journal)
	var all []audit.Entry
	for i, r := range recs {
		seq := uint64(i) + 1
		prev = audit.Link(prev, seq, r)
		all = append(all, audit.Entry{Journal: journal, Seq: seq, Hash: prev, Record: r})
	}
	return all
}

// kept leaves out what of a record is not kept.
var kept = cmpopts.IgnoreFields(audit.Record{}, "Telling")

// exchange is what one question leaves on one side.
func exchange(at time.Time) (gateway.TransactionID, []audit.Record) {
	id := gateway.NewTransactionID(at)
	trace := gateway.NewTrace()
	grant := gateway.Grant{Hash: gateway.GrantHash("$1$3$" + strings.Repeat("a", 86)), Outway: "00000099900000001000", ServicePeer: borne, Service: "clientgegevens"}
	item := audit.EvaluationItem{Subject: audit.Entity{Type: "peer", ID: "x"}, Action: audit.Action{Name: "lezen"}, Resource: audit.Entity{Type: "dienst", ID: "persoon"}}
	return id, []audit.Record{
		audit.NewTransactie(at.Add(time.Millisecond), audit.Exchange{Transactie: id, Richting: audit.Incoming, Grant: grant, Trace: trace}),
		audit.NewADL(at.Add(2*time.Millisecond), audit.Evaluation{Transactie: id, Trace: trace, Producent: borne, Rol: "inway", Vragen: []audit.EvaluationItem{item}}),
		audit.NewLDV(at.Add(3*time.Millisecond), audit.Processing{Transactie: id, Trace: trace, Naam: "x", Start: at, Eind: at, Activiteit: "urn:x:y", Betrokkene: "v1.x", Dienst: "clientgegevens"}),
		audit.NewKwitantie(at.Add(4*time.Millisecond), audit.Receipt{Transactie: id, Trace: trace, Grant: grant.Hash, Bron: borne, Dienst: grant.Service, JWS: "e30.e30.c2ln"}),
		audit.NewAfloop(at.Add(10*time.Minute), audit.Outcome{Transactie: id, Richting: audit.Incoming, Status: 200, Uitkomst: audit.Beantwoord}),
	}
}

// What is compressed by any codec is read back as it was.
func TestCompression(t *testing.T) {
	b := broker(t, kafka.BrokerConfig{Dir: t.TempDir()})
	defer b.Close()
	for _, codec := range []string{"", "geen", "gzip", "snappy", "lz4", "zstd"} {
		cfg := b.Config()
		cfg.Compression, cfg.TopicPrefix = codec, "proef-"+codec
		w, r := connect(t, cfg)
		id, recs := exchange(start)
		if err := w.Write(t.Context(), chained(recs...)); err != nil {
			t.Fatalf("%s: %v", codec, err)
		}
		got, err := r.Transaction(t.Context(), id)
		if err != nil {
			t.Fatalf("%s: %v", codec, err)
		}
		if diff := cmp.Diff(recs, got, kept); diff != "" {
			t.Errorf("%s (-want +got):\n%s", codec, diff)
		}
	}
}

func TestWriteReadRestart(t *testing.T) {
	dir := t.TempDir()
	b := broker(t, kafka.BrokerConfig{Dir: dir})
	w, r := connect(t, b.Config())
	ctx := t.Context()

	var recs []audit.Record
	var ids []gateway.TransactionID
	want := map[gateway.TransactionID][]audit.Record{}
	for i := range 300 { // five hours, so that most is outside the window of each
		id, x := exchange(start.Add(time.Duration(i) * time.Minute))
		ids = append(ids, id)
		want[id] = x
		recs = append(recs, x...)
	}
	slices.SortStableFunc(recs, func(a, b audit.Record) int { return a.Tijd.Compare(b.Tijd) })
	for i := range 10 {
		recs = append(recs, audit.NewBeheer(start.Add(time.Duration(i)*time.Hour), audit.Act{Handeling: "log-ingezien", Door: audit.Systeem}))
	}
	all := chained(recs...)
	if err := w.Write(ctx, all[:700]); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(ctx, all[600:]); err != nil { // at least once: 100 come again
		t.Fatal(err)
	}
	check := func(t *testing.T, r *kafka.Reader) {
		for _, i := range []int{0, 1, 150, 299} {
			got, err := r.Transaction(ctx, ids[i])
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want[ids[i]], got, kept); diff != "" {
				t.Errorf("transaction %d (-want +got):\n%s", i, diff)
			}
		}
		for s, n := range map[audit.Soort]int{audit.Transactie: 300, audit.ADL: 300, audit.LDV: 300, audit.Kwitantie: 300, audit.Afloop: 300, audit.Beheer: 10} {
			got, err := r.All(ctx, s)
			if err != nil || len(got) != n {
				t.Errorf("All(%s) = %d records, %v; want %d, each once", s, len(got), err, n)
			}
		}
		acts, err := r.Beheer(ctx, start.Add(2*time.Hour), start.Add(5*time.Hour))
		if err != nil || len(acts) != 3 || !acts[0].Tijd.Equal(start.Add(2*time.Hour)) {
			t.Errorf("Beheer from 2 until 5 = %d records, %v; want 3", len(acts), err)
		}
		got, err := r.Transaction(ctx, gateway.NewTransactionID(start.Add(24*time.Hour)))
		if err != nil || len(got) != 0 {
			t.Errorf("a transaction of another day = %d records, %v; want none", len(got), err)
		}
		if got, err = r.Transaction(ctx, gateway.NewTransactionID(start.Add(-24*time.Hour))); err != nil || len(got) != 0 {
			t.Errorf("a transaction of before all = %d records, %v; want none", len(got), err)
		}
		entries, err := r.Entries(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := audit.CheckChain(slices.Values(entries)); err != nil || c.Seq != uint64(len(recs)) {
			t.Errorf("chain ends at %d, %v; want %d", c.Seq, err, len(recs))
		}
	}
	t.Run("fresh", func(t *testing.T) { check(t, r) })
	if _, err := r.Transaction(ctx, "x"); gateway.KindOf(err) != gateway.Invalid {
		t.Errorf("a malformed id = %v, want kind invalid", err)
	}
	_, port, err := net.SplitHostPort(b.Config().Brokers[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}

	t.Run("broker gone", func(t *testing.T) {
		short, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		if err := w.Write(short, all[:1]); gateway.KindOf(err) != gateway.Unavailable {
			t.Errorf("Write = %v, want kind unavailable", err)
		}
		if _, err := r.Transaction(short, ids[0]); gateway.KindOf(err) != gateway.Unavailable {
			t.Errorf("Transaction = %v, want kind unavailable", err)
		}
	})

	p, err := net.LookupPort("tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	b = broker(t, kafka.BrokerConfig{Dir: dir, Port: p})
	defer func() { _ = b.Close() }()
	if got := b.Config().Brokers[0]; got != net.JoinHostPort("127.0.0.1", port) {
		t.Errorf("after a restart at %s, want the fixed port %s", got, port)
	}
	t.Run("restarted", func(t *testing.T) {
		w2, r2 := connect(t, b.Config())
		check(t, r2)
		check(t, r) // a reader of before goes on
		if err := w2.Write(ctx, all[:5]); err != nil {
			t.Error(err)
		}
	})
}

func TestHeaders(t *testing.T) {
	b := broker(t, kafka.BrokerConfig{Dir: t.TempDir()})
	defer func() { _ = b.Close() }()
	cfg := b.Config()
	w, _ := connect(t, cfg)
	id, recs := exchange(start)
	all := chained(recs[0])
	if err := w.Write(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	password, err := cfg.SASL.Password()
	if err != nil {
		t.Fatal(err)
	}
	mech, err := scram.Mechanism(scram.SHA256, cfg.SASL.User, password)
	if err != nil {
		t.Fatal(err)
	}
	partition := (&kafkago.Hash{}).Balance(kafkago.Message{Key: []byte(id)}, 0, 1, 2)
	r := kafkago.NewReader(kafkago.ReaderConfig{
		Brokers: cfg.Brokers, Topic: "grensloos.transactie", Partition: partition, MaxWait: 100 * time.Millisecond,
		Dialer: &kafkago.Dialer{SASLMechanism: mech, Timeout: 5 * time.Second},
	})
	defer func() { _ = r.Close() }()
	m, err := r.ReadMessage(t.Context()) // a plain consumer, as of somebody else
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{"key": string(m.Key)}
	for _, h := range m.Headers {
		got[h.Key] = string(h.Value)
	}
	delete(got, "hash")
	want := map[string]string{
		"key": string(id), "content-type": "application/json", "record-id": recs[0].ID, "transactie": string(id),
		"journal": all[0].Journal, "seq": "1",
		"ce_specversion": "1.0", "ce_id": recs[0].ID, "ce_type": "nl.grensloos.audit.transactie.v1",
		"ce_source": "urn:nld:oin:" + string(borne) + ":systeem:grensloos", "ce_time": "2026-01-01T00:00:00.001Z",
		"ce_dataschema": "https://github.com/grensloos/grensloos/blob/main/schemas/transactie.schema.json",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("key and headers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(string(recs[0].Body), string(m.Value)); diff != "" {
		t.Errorf("value (-want +got):\n%s", diff)
	}
}

// A batch that no broker takes would come again for ever.
func TestLargeRecords(t *testing.T) {
	b := broker(t, kafka.BrokerConfig{Dir: t.TempDir()})
	defer func() { _ = b.Close() }()
	w, r := connect(t, b.Config())
	id := gateway.NewTransactionID(start)
	of := func(bytes int) audit.Record {
		rec := audit.NewAfloop(start, audit.Outcome{Transactie: id, Richting: audit.Incoming, Uitkomst: audit.Mislukt})
		rec.Body = []byte(`"` + strings.Repeat("x", bytes-2) + `"`)
		return rec
	}
	recs := []audit.Record{of(900<<10 - 200)} // the largest that the journal takes
	for range 999 {
		recs = append(recs, of(4000))
	}
	if err := w.Write(t.Context(), chained(recs...)); err != nil {
		t.Fatal(err)
	}
	got, err := r.Transaction(t.Context(), id)
	if err != nil || len(got) != len(recs) {
		t.Fatalf("%d records, %v; want %d", len(got), err, len(recs))
	}
}

func TestBrokerWantsThePassword(t *testing.T) {
	dir := t.TempDir()
	b := broker(t, kafka.BrokerConfig{Dir: dir})
	defer func() { _ = b.Close() }()
	admin := func() (string, error) { return "admin", nil }
	for name, sasl := range map[string]kafka.SASL{
		"none":  {},
		"wrong": {Mechanism: "SCRAM-SHA-256", User: "grensloos", Password: admin},
		"admin": {Mechanism: "SCRAM-SHA-256", User: "admin", Password: admin},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := b.Config()
			cfg.SASL, cfg.Timeout = sasl, 2*time.Second
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if err := kafka.EnsureTopics(ctx, cfg); gateway.KindOf(err) != gateway.Unavailable {
				t.Errorf("EnsureTopics = %v, want refused", err)
			}
		})
	}
	st, err := os.Stat(filepath.Join(dir, "wachtwoord"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("password file: %v, %v; want mode 0600", st, err)
	}
	if host, _, _ := net.SplitHostPort(b.Config().Brokers[0]); host != "127.0.0.1" {
		t.Errorf("the broker listens on %s, want loopback only", host)
	}
	if _, err := kafka.StartBroker(kafka.BrokerConfig{Dir: dir}, quiet()); gateway.KindOf(err) != gateway.Conflict {
		t.Errorf("second broker on the folder = %v, want kind conflict", err)
	}
}

func TestPartitionsNeverChange(t *testing.T) {
	b := broker(t, kafka.BrokerConfig{Dir: t.TempDir()})
	defer func() { _ = b.Close() }()
	cfg := b.Config()
	connect(t, cfg)
	cfg.Partitions = 6
	if err := kafka.EnsureTopics(t.Context(), cfg); gateway.KindOf(err) != gateway.Invalid || !strings.Contains(err.Error(), "partities") {
		t.Errorf("EnsureTopics with 6 partitions = %v, want kind invalid naming partities", err)
	}
}

func TestConfigIsRefused(t *testing.T) {
	good := kafka.Config{Brokers: []string{"127.0.0.1:9092"}, Organisation: borne}
	cases := map[string]struct {
		edit func(*kafka.Config)
		want string
	}{
		"no broker":    {func(c *kafka.Config) { c.Brokers = nil }, "brokers"},
		"no port":      {func(c *kafka.Config) { c.Brokers = []string{"kafka"} }, "host:port"},
		"min in sync":  {func(c *kafka.Config) { c.MinInsync = 2 }, "minInsync"},
		"timeout":      {func(c *kafka.Config) { c.Timeout = -1 }, "timeout"},
		"organisation": {func(c *kafka.Config) { c.Organisation = "" }, "organisation"},
		"mechanism": {func(c *kafka.Config) {
			c.SASL = kafka.SASL{Mechanism: "GSSAPI", User: "u", Password: func() (string, error) { return "p", nil }}
		}, "mechanisme"},
		"compression": {func(c *kafka.Config) { c.Compression = "brotli" }, `compressie: "brotli": give geen, gzip, snappy, lz4 or zstd`},
		"no password": {func(c *kafka.Config) { c.SASL = kafka.SASL{Mechanism: "PLAIN", User: "u"} }, "wachtwoordBestand"},
		"plain, no TLS": {func(c *kafka.Config) {
			c.SASL = kafka.SASL{Mechanism: "PLAIN", User: "u", Password: func() (string, error) { return "p", nil }}
		}, "tls"},
		"no such CA file": {func(c *kafka.Config) { c.TLS = kafka.TLS{Enabled: true, CA: "/nonexistent"} }, "ca"},
		"no certificate":  {func(c *kafka.Config) { c.TLS = kafka.TLS{Enabled: true, Cert: "/nonexistent"} }, "certificaat"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := good
			tc.edit(&cfg)
			if _, err := kafka.NewWriter(cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("NewWriter = %v, want an error naming %s", err, tc.want)
			}
		})
	}
	if _, err := kafka.NewWriter(good); err != nil {
		t.Error(err)
	}
}

func BenchmarkWrite(b *testing.B) {
	k := broker(b, kafka.BrokerConfig{Dir: b.TempDir()})
	defer func() { _ = k.Close() }()
	cfg := k.Config()
	cfg.Organisation = borne
	if err := kafka.EnsureTopics(b.Context(), cfg); err != nil {
		b.Fatal(err)
	}
	w, err := kafka.NewWriter(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	var recs []audit.Record
	for i := range 250 {
		_, x := exchange(start.Add(time.Duration(i) * time.Second))
		recs = append(recs, x...)
	}
	all := chained(recs...)
	n, before := 0, cpu(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Write(context.Background(), all); err != nil {
			b.Fatal(err)
		}
		n += len(all)
	}
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/1e3/float64(n), "cpu-us/record")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

// The password is that of the moment of a connection: open ones stay, and one that was mended works without a restart.
func TestPasswordOfTheMoment(t *testing.T) {
	b, err := kafka.StartBroker(kafka.BrokerConfig{Dir: t.TempDir()}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	cfg := b.Config()
	cfg.Organisation, cfg.Timeout = "00000099000000147000", 3*time.Second
	if err := kafka.EnsureTopics(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	good, err := cfg.SASL.Password()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "wachtwoord")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("verkeerd\n")
	cfg.SASL.Password, cfg.SASL.PasswordFile = nil, file
	w, err := kafka.NewWriter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	write := func() error {
		_, recs := exchange(time.Now())
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		return w.Write(ctx, chained(recs[0]))
	}
	if err := write(); err == nil {
		t.Fatal("written with a wrong password")
	}
	put(good + "\n")
	if err := write(); err != nil {
		t.Fatalf("mended: %v", err)
	}
	put("")
	if err := write(); err != nil {
		t.Errorf("an open connection: %v", err)
	}
	if _, err := kafka.NewWriter(cfg); gateway.KindOf(err) != gateway.Invalid || !strings.Contains(err.Error(), "wachtwoordBestand") {
		t.Errorf("no password at the start: got %v", err)
	}
	broken := cfg
	broken.SASL.PasswordFile = ""
	broken.SASL.Password = func() (string, error) { return good, nil }
	if w, err = kafka.NewWriter(broken); err != nil {
		t.Fatal(err)
	}
	w.Close()
	away := false
	broken.SASL.Password = func() (string, error) {
		if away {
			return "", gateway.Errorf(gateway.Unavailable, "vault: it is sealed")
		}
		return good, nil
	}
	if w, err = kafka.NewWriter(broken); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	away = true
	if err := write(); gateway.KindOf(err) != gateway.Unavailable || !strings.Contains(err.Error(), "sealed") {
		t.Errorf("a password that can't be had: got %v, want Unavailable with the reason", err)
	}
}
