package kafka

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

// Finding is one thing that is wrong with a cluster, or with what we may do there.
type Finding struct {
	Kind gateway.Kind // Unavailable if it may mend itself; Invalid or Denied if somebody must
	Over string       // what it is about: a topic, or the cluster
	Text string       // what is wrong and what that means
	Mend string       // what to do, with the command if there is one
}

func (f Finding) String() string { return f.Over + ": " + f.Text + "; to mend it: " + f.Mend }

// State is what a cluster says of itself and of our topics.
type State struct {
	ClusterID string
	Brokers   int // those that run
	Findings  []Finding
}

// Err is nil if records can be written as the configuration promises. Its kind is Unavailable if it may mend itself.
func (s State) Err() error {
	if len(s.Findings) == 0 {
		return nil
	}
	worst := gateway.Unavailable
	lines := make([]string, len(s.Findings))
	for i, f := range s.Findings {
		lines[i] = f.String()
		if f.Kind != gateway.Unavailable {
			worst = f.Kind
		}
	}
	return gateway.Errorf(worst, "kafka: %s", strings.Join(lines, "; "))
}

const (
	mendInit     = "grensloos kafka init -c peer.yaml"
	mendACL      = "grensloos kafka init -c peer.yaml --acl (as a user of the cluster who may: --gebruiker, --wachtwoordbestand)"
	mendBrokers  = "start the brokers that are away; what is journalled goes by itself then"
	mendReassign = "kafka-reassign-partitions.sh with more replicas, or set replicatie to what there is"
)

// setting is a property of a topic: what it is made with, and whether another value will do.
type setting struct {
	name, value string
	fits        func(value string) bool
	means       string // what goes wrong with a value that doesn't fit
}

func atLeast(n int64) func(string) bool {
	return func(v string) bool { got, err := strconv.ParseInt(v, 10, 64); return err == nil && got >= n }
}

// maxMessage is what a topic must take: the largest record that a journal takes with its headers, and a batch of the writer.
const maxMessage = 1<<20 + 12

// settings of the topic of a kind.
func (c Config) settings(s audit.Soort) []setting {
	keep, keeps := "-1", func(v string) bool { return v == "-1" }
	if days := c.RetentionDays[s]; days > 0 {
		ms := int64(days) * 24 * time.Hour.Milliseconds()
		keep, keeps = strconv.FormatInt(ms, 10), func(v string) bool { return v == "-1" || atLeast(ms)(v) }
	}
	exactly := func(want string) func(string) bool { return func(v string) bool { return v == want } }
	return []setting{
		{"min.insync.replicas", strconv.Itoa(c.MinInsync), atLeast(int64(c.MinInsync)), "a record counts as kept with fewer copies than minInsync"},
		{"cleanup.policy", "delete", exactly("delete"), "records are thrown away for a later one of the same transaction"},
		{"retention.ms", keep, keeps, "records are thrown away before bewaarDagen is over"},
		{"retention.bytes", "-1", exactly("-1"), "records are thrown away when there are many"},
		{"max.message.bytes", strconv.Itoa(maxMessage), atLeast(maxMessage), "a large record is refused, and those behind it wait"},
		{"message.timestamp.type", "CreateTime", exactly("CreateTime"), "a transaction is not found by the time in its id"},
		{"unclean.leader.election.enable", "false", exactly("false"), "acknowledged records are lost when a broker without them becomes leader"},
	}
}

// topics are the names of all our topics.
func (c Config) topics() []string {
	var all []string
	for _, s := range audit.Soorten() {
		all = append(all, c.topic(s))
	}
	return all
}

// Inspect looks whether the cluster is there, has the topics as the configuration wants them, and lets us write and read. It
// writes nothing. The error says why the cluster can't be asked; what is wrong with it stands in the state.
func Inspect(ctx context.Context, cfg Config) (State, error) {
	a, err := dial(cfg)
	if err != nil {
		return State{}, err
	}
	defer a.close()
	return a.inspect(ctx)
}

// asker asks one cluster; its connections are new, so nothing that it learns is of before.
type asker struct {
	cfg    Config
	client *kafkago.Client
	close  func()
}

func dial(cfg Config) (*asker, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	t, err := cfg.transport()
	if err != nil {
		return nil, err
	}
	return &asker{cfg: cfg, client: &kafkago.Client{Addr: cfg.addr(), Timeout: cfg.Timeout, Transport: t}, close: t.CloseIdleConnections}, nil
}

func (a *asker) inspect(ctx context.Context) (State, error) {
	meta, err := a.client.Metadata(ctx, &kafkago.MetadataRequest{Topics: a.cfg.topics()})
	if err != nil {
		return State{}, a.cfg.explain(err, "metadata")
	}
	state := State{ClusterID: meta.ClusterID, Brokers: len(meta.Brokers)}
	add := func(kind gateway.Kind, over, mend, format string, args ...any) {
		state.Findings = append(state.Findings, Finding{kind, over, fmt.Sprintf(format, args...), mend})
	}
	var there []audit.Soort
	for _, s := range audit.Soorten() {
		name := a.cfg.topic(s)
		at := slices.IndexFunc(meta.Topics, func(t kafkago.Topic) bool { return t.Name == name })
		over := "topic " + name
		switch {
		case at < 0 || errors.Is(meta.Topics[at].Error, kafkago.UnknownTopicOrPartition):
			add(gateway.Invalid, over, mendInit, "does not exist: no record of this kind can be kept")
		case errors.Is(meta.Topics[at].Error, kafkago.TopicAuthorizationFailed):
			add(gateway.Denied, over, mendACL, "%s may not see it (ACL), or it does not exist", a.cfg.who())
		case meta.Topics[at].Error != nil:
			add(gateway.Unavailable, over, mendBrokers, "%v", meta.Topics[at].Error)
		default:
			there = append(there, s)
			a.replicas(meta.Topics[at], over, add)
		}
	}
	if len(there) == 0 {
		return state, nil
	}
	if err := a.properties(ctx, there, add); err != nil {
		return state, err
	}
	for _, s := range there {
		if err := a.rights(ctx, a.cfg.topic(s), add); err != nil {
			return state, err
		}
	}
	return state, nil
}

type adder func(kind gateway.Kind, over, mend, format string, args ...any)

// replicas looks at how many partitions there are, and how many copies of each.
func (a *asker) replicas(t kafkago.Topic, over string, add adder) {
	if n := len(t.Partitions); n != a.cfg.Partitions {
		add(gateway.Invalid, over, fmt.Sprintf("set partities: %d", n), "has %d partitions, the configuration says %d (partities): transactions would be looked for in the wrong one; it can't change", n, a.cfg.Partitions)
	}
	for _, p := range t.Partitions {
		switch {
		case len(p.Replicas) < a.cfg.Replication:
			add(gateway.Invalid, over, mendReassign, "partition %d has %d replicas, the configuration says %d (replicatie): it bears the loss of fewer brokers than promised", p.ID, len(p.Replicas), a.cfg.Replication)
			return
		case len(p.Isr) < a.cfg.MinInsync:
			add(gateway.Unavailable, over, mendBrokers, "partition %d has %d replicas in sync and needs %d (minInsync): nothing is acknowledged", p.ID, len(p.Isr), a.cfg.MinInsync)
			return
		}
	}
}

// properties looks at how the topics are configured.
func (a *asker) properties(ctx context.Context, kinds []audit.Soort, add adder) error {
	req := &kafkago.DescribeConfigsRequest{}
	for _, s := range kinds {
		r := kafkago.DescribeConfigRequestResource{ResourceType: kafkago.ResourceTypeTopic, ResourceName: a.cfg.topic(s)}
		for _, want := range a.cfg.settings(s) {
			r.ConfigNames = append(r.ConfigNames, want.name)
		}
		req.Resources = append(req.Resources, r)
	}
	resp, err := a.client.DescribeConfigs(ctx, req)
	if err != nil {
		return a.cfg.explain(err, "properties of topics")
	}
	for _, r := range resp.Resources {
		over := "topic " + r.ResourceName
		at := slices.IndexFunc(kinds, func(s audit.Soort) bool { return a.cfg.topic(s) == r.ResourceName })
		switch {
		case at < 0:
		case errors.Is(r.Error, kafkago.TopicAuthorizationFailed):
			add(gateway.Denied, over, mendACL, "%s may not see its properties (ACL DescribeConfigs)", a.cfg.who())
		case r.Error != nil:
			add(gateway.Unavailable, over, mendBrokers, "%v", r.Error)
		default:
			for _, want := range a.cfg.settings(kinds[at]) {
				for _, got := range r.ConfigEntries {
					if got.ConfigName == want.name && !want.fits(got.ConfigValue) {
						add(gateway.Invalid, over, mendInit, "%s is %s and must be %s: %s", want.name, got.ConfigValue, want.value, want.means)
					}
				}
			}
		}
	}
	return nil
}

// rights tries to write and to read without doing either: a write that asks for acknowledgements in a way that does not exist is
// refused, but not before it is looked at who asks.
func (a *asker) rights(ctx context.Context, topic string, add adder) error {
	over := "topic " + topic
	produced, err := a.client.Produce(ctx, &kafkago.ProduceRequest{
		Topic: topic, RequiredAcks: 2, Records: kafkago.NewRecordReader(kafkago.Record{Value: kafkago.NewBytes([]byte("{}"))}),
	})
	switch {
	case err != nil:
		return a.cfg.explain(err, over)
	case errors.Is(produced.Error, kafkago.TopicAuthorizationFailed):
		add(gateway.Denied, over, mendACL, "%s may not write to it (ACL Write): no record of this kind can be kept", a.cfg.who())
	case produced.Error != nil && !errors.Is(produced.Error, kafkago.InvalidRequiredAcks):
		add(gateway.Unavailable, over, mendBrokers, "%v", produced.Error)
	}
	fetched, err := a.client.Fetch(ctx, &kafkago.FetchRequest{Topic: topic, MinBytes: 0, MaxBytes: 1, MaxWait: time.Millisecond})
	switch {
	case err != nil:
		return a.cfg.explain(err, over)
	case errors.Is(fetched.Error, kafkago.TopicAuthorizationFailed):
		add(gateway.Denied, over, mendACL, "%s may not read it (ACL Read): records can't be shown", a.cfg.who())
	}
	return nil
}

// who is as whom we sign in, for people.
func (c Config) who() string {
	switch {
	case c.SASL.User != "":
		return "user " + c.SASL.User
	case c.TLS.Cert != "":
		return "the owner of certificate " + c.TLS.Cert
	}
	return "an anonymous user"
}

// explain adds to an error of the cluster what it means and how to mend it. Its kind is Unavailable if it may mend itself.
func (c Config) explain(err error, doing string) error {
	brokers := strings.Join(c.Brokers, ", ")
	say := func(k gateway.Kind, format string, args ...any) error {
		return gateway.Wrap(k, err, "kafka: "+doing+": "+fmt.Sprintf(format, args...))
	}
	if _, own := errors.AsType[*gateway.Error](err); own { // a file or a secret of ours that can't be read now
		return gateway.Wrap(gateway.Unavailable, err, "kafka: "+doing+": no connection is made")
	}
	_, tooLarge := errors.AsType[kafkago.MessageTooLargeError](err)
	op, isOp := errors.AsType[*net.OpError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	cert, invalid := errors.AsType[x509.CertificateInvalidError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	switch {
	case tooLarge || errors.Is(err, kafkago.MessageSizeTooLarge) || errors.Is(err, kafkago.RecordListTooLarge):
		return say(gateway.Invalid, "a message is larger than max.message.bytes of its topic: it and those behind it wait in the journal; to mend it: %s", mendInit)
	case errors.Is(err, kafkago.TopicAuthorizationFailed) || errors.Is(err, kafkago.ClusterAuthorizationFailed):
		return say(gateway.Denied, "%s may not (ACL); to mend it: %s", c.who(), mendACL)
	case errors.Is(err, kafkago.SASLAuthenticationFailed):
		return say(gateway.Denied, "%s is not let in: see audit.kafka.sasl (mechanisme, gebruiker, wachtwoordBestand); to make the user: kafka-configs.sh --alter --entity-type users --entity-name %s --add-config '%s=[password=...]'", c.who(), c.SASL.User, c.SASL.Mechanism)
	case errors.Is(err, kafkago.UnsupportedSASLMechanism) || errors.Is(err, kafkago.IllegalSASLState):
		return say(gateway.Invalid, "the cluster does not take this way to sign in: see audit.kafka.sasl.mechanisme")
	case errors.Is(err, kafkago.UnknownTopicOrPartition):
		return say(gateway.Invalid, "a topic does not exist; to mend it: %s", mendInit)
	case errors.Is(err, kafkago.NotEnoughReplicas) || errors.Is(err, kafkago.NotEnoughReplicasAfterAppend):
		return say(gateway.Unavailable, "fewer replicas in sync than min.insync.replicas, nothing is acknowledged; to mend it: %s", mendBrokers)
	case unknown:
		return say(gateway.Denied, "the certificate of %s is of no CA that we trust: give the right audit.kafka.tls.ca", brokers)
	case invalid && cert.Reason == x509.Expired:
		return say(gateway.Denied, "the certificate of %s is expired, or a clock is wrong: renew it on the brokers", brokers)
	case invalid:
		return say(gateway.Denied, "the certificate of %s can't be used: renew it on the brokers", brokers)
	case host:
		return say(gateway.Denied, "the certificate of %s is of another name: renew it, or give audit.kafka.tls.serverNaam", brokers)
	case isOp && op.Op == "remote error": // an alert of TLS
		return say(gateway.Denied, "%s refuses our certificate: see audit.kafka.tls.certificaat and sleutel", brokers)
	}
	return say(gateway.Unavailable, "%s not reached; if it does not come by itself, see audit.kafka.brokers, and whether the port speaks TLS (tls.aan) and asks for a user (sasl)", brokers)
}
