// Package kafka ships audit records to a Kafka cluster and reads them back, with kafka-go; and it has a broker to run in this
// process, for a peer that has no cluster.
//
// There is one topic for each kind of record. The key is the transaction id (the record id where there is none), so that all of
// one transaction stands in one partition of each topic; the headers are those of a CloudEvent (Kafka protocol binding, binary
// mode) and say journal, sequence and running hash, with which audit.Chain checks that nothing is missing. The value is the
// body. Delivery is at least once: a reader drops record ids that it has seen.
//
// Writer is a sink of gateway/audit/journal: it returns nil only when all in-sync replicas have the records. Reader finds a
// transaction by the time in its id, without an index; searching on anything else is for a store of its own.
//
// Invariant a reviewer must keep: the number of partitions of a topic never changes (EnsureTopics refuses), or the records of
// before would be looked for in the wrong one.
package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

// Config is the section of a peer's configuration that says where its Kafka cluster is.
type Config struct {
	// Brokers are addresses to begin with, host:port. Leave empty to use the embedded broker.
	Brokers []string `yaml:"brokers"`

	// TopicPrefix comes before the names of the topics: <prefix>.transactie, .adl, .ldv, .afloop, .kwitantie,
	// .beheer. Default grensloos.
	TopicPrefix string `yaml:"topicPrefix"`

	// Partitions of each topic, when it is made; it can't be changed afterwards. Default 3.
	Partitions int `yaml:"partities"`

	// Replication of each topic, and how many replicas must have a record before it counts, when the topic is made. In
	// production 3 and 2. Defaults 1 and 1.
	Replication int `yaml:"replicatie"`
	MinInsync   int `yaml:"minInsync"`

	// RetentionDays is how many days the cluster keeps each kind of record (transactie, adl, ldv, afloop, kwitantie, beheer), when
	// its topic is made and by `grensloos kafka init` afterwards. A kind that is not here is kept without end.
	RetentionDays map[audit.Soort]int `yaml:"bewaarDagen"`

	// Compression of what is sent, and so of what the brokers keep: geen, gzip, snappy, lz4 or zstd. Default lz4, and geen for the
	// embedded broker.
	Compression string `yaml:"compressie"`

	TLS  TLS  `yaml:"tls"`
	SASL SASL `yaml:"sasl"`

	// Timeout of one request to the cluster. Default 10s.
	Timeout time.Duration `yaml:"timeout"`

	// Window is how long after the time in its id a transaction may still get records; past it they are not found by its id.
	// It covers the longest exchange and the longest time that a record waits in a journal. Default 30m.
	Window time.Duration `yaml:"venster"`

	// Organisation is the peer whose records these are (ce_source); the program fills it in.
	Organisation gateway.PeerID `yaml:"-"`
}

// TLS says how the connection to the brokers is secured.
type TLS struct {
	Enabled    bool   `yaml:"aan"`
	CA         string `yaml:"ca"`          // file with the anchors (PEM); empty: those of the system
	Cert       string `yaml:"certificaat"` // files with an own certificate and key (PEM), if the cluster asks for one
	Key        string `yaml:"sleutel"`
	ServerName string `yaml:"serverNaam"` // name in the brokers' certificate, if it is not their address
}

// SASL says as whom to sign in.
type SASL struct {
	Mechanism    string `yaml:"mechanisme"` // SCRAM-SHA-256, SCRAM-SHA-512, or PLAIN over TLS; empty: none
	User         string `yaml:"gebruiker"`
	PasswordFile string `yaml:"wachtwoordBestand"` // file with the password, readable by its owner only; read at each new connection
	// Password gives it when it stands elsewhere (Vault, the embedded broker); it is asked at each new connection. Filled in by the
	// program.
	Password func() (string, error) `yaml:"-" json:"-"`
}

// compressions are the choices of Config.Compression. No cluster has to be told: the codec stands in each batch, and the topics keep
// batches as they come (compression.type producer).
var compressions = map[string]kafkago.Compression{
	"geen": 0, "gzip": kafkago.Gzip, "snappy": kafkago.Snappy, "lz4": kafkago.Lz4, "zstd": kafkago.Zstd,
}

// skew is how far the clock of a peer, and so the time in a transaction id, may be off: inway accepts five minutes.
const skew = 6 * time.Minute

func (c Config) complete() (Config, error) {
	if c.TopicPrefix == "" {
		c.TopicPrefix = "grensloos"
	}
	c.Partitions = max(c.Partitions, 0)
	if c.Partitions == 0 {
		c.Partitions = 3
	}
	if c.Replication == 0 {
		c.Replication = 1
	}
	if c.MinInsync == 0 {
		c.MinInsync = 1
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Window == 0 {
		c.Window = 30 * time.Minute
	}
	switch {
	case len(c.Brokers) == 0:
		return c, gateway.Errorf(gateway.Invalid, "kafka: brokers: give at least one host:port")
	case c.Replication < c.MinInsync:
		return c, gateway.Errorf(gateway.Invalid, "kafka: minInsync %d is more than replicatie %d", c.MinInsync, c.Replication)
	case c.Partitions > 1000 || c.Replication < 0 || c.MinInsync < 0:
		return c, gateway.Errorf(gateway.Invalid, "kafka: partities, replicatie and minInsync: give positive numbers, at most 1000 partitions")
	case c.Timeout < 0 || c.Window < 0:
		return c, gateway.Errorf(gateway.Invalid, "kafka: timeout and venster: give positive durations")
	}
	if c.Compression == "" {
		c.Compression = "lz4" // docs/kafka.md has the figures
	}
	if _, ok := compressions[c.Compression]; !ok {
		return c, gateway.Errorf(gateway.Invalid, "kafka: compressie: %.40q: give geen, gzip, snappy, lz4 or zstd", c.Compression)
	}
	for s, days := range c.RetentionDays {
		if !slices.Contains(audit.Soorten(), s) || days < 1 || days > 36500 {
			return c, gateway.Errorf(gateway.Invalid, "kafka: bewaarDagen: %s: %d: give 1 to 36500 days for one of %v", s, days, audit.Soorten())
		}
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			return c, gateway.Errorf(gateway.Invalid, "kafka: brokers: %q: give host:port", b)
		}
	}
	return c, nil
}

func (c Config) topic(s audit.Soort) string { return c.TopicPrefix + "." + string(s) }

func (c Config) addr() net.Addr { return kafkago.TCP(c.Brokers...) }

func (c Config) transport() (*kafkago.Transport, error) {
	login, err := c.SASL.login(c.TLS.Enabled)
	if err != nil {
		return nil, err
	}
	t := &kafkago.Transport{
		ClientID: "grensloos", DialTimeout: c.Timeout, SASL: login,
		// Asked by name, the cluster says of a topic that we may not see it. Another leader must be known before an append in mode
		// kafka is given up.
		MetadataTopics: c.topics(), MetadataTTL: 2 * time.Second,
	}
	if c.TLS.Enabled {
		if _, err := c.TLS.config(); err != nil {
			return nil, err
		}
		t.Dial = c.TLS.dial
	}
	return t, nil
}

// dial makes a connection with the anchors and the certificate that are in the files at this moment: one that is replaced counts for
// the next connection, and those that are open stay.
func (t TLS) dial(ctx context.Context, network, address string) (net.Conn, error) {
	cfg, err := t.config()
	if err != nil {
		return nil, err
	}
	if cfg.ServerName == "" {
		if cfg.ServerName, _, err = net.SplitHostPort(address); err != nil {
			return nil, err
		}
	}
	return (&tls.Dialer{Config: cfg}).DialContext(ctx, network, address)
}

func (t TLS) config() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, gateway.Wrap(gateway.Invalid, err, "kafka: tls: ca")
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, gateway.Errorf(gateway.Invalid, "kafka: tls: ca: no certificate (PEM) in %s", t.CA)
		}
	}
	if t.Cert != "" || t.Key != "" {
		cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, gateway.Wrap(gateway.Invalid, err, "kafka: tls: certificaat and sleutel")
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}

// login is how a connection signs in: with the password of that moment.
func (s SASL) login(secured bool) (sasl.Mechanism, error) {
	if s.Mechanism == "" {
		return nil, nil //nolint:nilnil // kafka-go's way to say none
	}
	if _, err := s.mechanism(); err != nil {
		return nil, err
	}
	if s.Mechanism == "PLAIN" && !secured {
		return nil, gateway.Errorf(gateway.Invalid, "kafka: sasl: mechanisme PLAIN sends the password as it is: set tls: aan: true, or use SCRAM-SHA-256")
	}
	return login{s}, nil
}

type login struct{ s SASL }

func (l login) Name() string { return l.s.Mechanism }

func (l login) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	m, err := l.s.mechanism()
	if err != nil {
		return nil, nil, err
	}
	return m.Start(ctx)
}

// mechanism reads the password.
func (s SASL) mechanism() (sasl.Mechanism, error) {
	var password string
	var err error
	switch {
	case s.Password != nil:
		if password, err = s.Password(); err != nil {
			return nil, gateway.Wrap(gateway.KindOf(err), err, "kafka: sasl")
		}
	case s.PasswordFile != "":
		b, err := os.ReadFile(s.PasswordFile)
		if err != nil {
			return nil, gateway.Wrap(gateway.Invalid, err, "kafka: sasl: wachtwoordBestand")
		}
		password = strings.TrimSpace(string(b))
	}
	if s.User == "" || password == "" {
		return nil, gateway.Errorf(gateway.Invalid, "kafka: sasl: give gebruiker and wachtwoordBestand, with a password in it")
	}
	switch s.Mechanism {
	case "SCRAM-SHA-256":
		return scram.Mechanism(scram.SHA256, s.User, password)
	case "SCRAM-SHA-512":
		return scram.Mechanism(scram.SHA512, s.User, password)
	case "PLAIN":
		return plain.Mechanism{Username: s.User, Password: password}, nil
	}
	return nil, gateway.Errorf(gateway.Invalid, "kafka: sasl: mechanisme %q: give SCRAM-SHA-256, SCRAM-SHA-512 or PLAIN", s.Mechanism)
}
