package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

// rights of the peer on each topic; nothing else, and nothing on the cluster.
var peerRights = []kafkago.ACLOperationType{
	kafkago.ACLOperationTypeDescribe, kafkago.ACLOperationTypeDescribeConfigs, kafkago.ACLOperationTypeWrite, kafkago.ACLOperationTypeRead,
}

// Init makes the topics that are missing, and gives those that are there the properties that the configuration wants. A principal
// ("User:peer") that is not empty gets the right to write and read them. It may be done again. What it did is returned, a line each.
// It changes no number of partitions and no replicas: Inspect tells what is left.
func Init(ctx context.Context, cfg Config, principal string) ([]string, error) {
	a, err := dial(cfg)
	if err != nil {
		return nil, err
	}
	defer a.close()
	made, old, err := a.create(ctx)
	if err != nil {
		return made, err
	}
	set, err := a.configure(ctx, old)
	made = append(made, set...)
	if err != nil || principal == "" {
		return made, err
	}
	allowed, err := a.allow(ctx, principal)
	return append(made, allowed...), err
}

// create makes the topics that are missing, and gives the kinds whose topic was there.
func (a *asker) create(ctx context.Context) (made []string, old []audit.Soort, err error) {
	req := &kafkago.CreateTopicsRequest{}
	for _, s := range audit.Soorten() {
		t := kafkago.TopicConfig{Topic: a.cfg.topic(s), NumPartitions: a.cfg.Partitions, ReplicationFactor: a.cfg.Replication}
		for _, p := range a.cfg.settings(s) {
			t.ConfigEntries = append(t.ConfigEntries, kafkago.ConfigEntry{ConfigName: p.name, ConfigValue: p.value})
		}
		req.Topics = append(req.Topics, t)
	}
	resp, err := a.client.CreateTopics(ctx, req)
	if err != nil {
		return nil, nil, a.cfg.explain(err, "make topics")
	}
	for _, s := range audit.Soorten() {
		topic := a.cfg.topic(s)
		switch err := resp.Errors[topic]; {
		case err == nil:
			made = append(made, fmt.Sprintf("topic %s made: %d partitions, %d replicas", topic, a.cfg.Partitions, a.cfg.Replication))
		case errors.Is(err, kafkago.TopicAlreadyExists):
			old = append(old, s)
		case errors.Is(err, kafkago.InvalidReplicationFactor):
			return made, nil, gateway.Wrap(gateway.Invalid, err, fmt.Sprintf("kafka: make topic %s: the cluster has fewer brokers than replicatie %d: start more brokers, or set replicatie lower", topic, a.cfg.Replication))
		default:
			return made, nil, a.cfg.explain(err, "make topic "+topic)
		}
	}
	return made, old, nil
}

// configure gives the topics of these kinds the properties that they miss.
func (a *asker) configure(ctx context.Context, kinds []audit.Soort) ([]string, error) {
	if len(kinds) == 0 {
		return nil, nil
	}
	req := &kafkago.IncrementalAlterConfigsRequest{}
	var done []string
	describe := &kafkago.DescribeConfigsRequest{}
	for _, s := range kinds {
		describe.Resources = append(describe.Resources, kafkago.DescribeConfigRequestResource{ResourceType: kafkago.ResourceTypeTopic, ResourceName: a.cfg.topic(s)})
	}
	is, err := a.client.DescribeConfigs(ctx, describe)
	if err != nil {
		return nil, a.cfg.explain(err, "properties of topics")
	}
	for _, s := range kinds {
		change := kafkago.IncrementalAlterConfigsRequestResource{ResourceType: kafkago.ResourceTypeTopic, ResourceName: a.cfg.topic(s)}
		for _, r := range is.Resources {
			if r.ResourceName != change.ResourceName {
				continue
			}
			if r.Error != nil {
				return nil, a.cfg.explain(r.Error, "properties of topic "+r.ResourceName)
			}
			for _, want := range a.cfg.settings(s) {
				for _, got := range r.ConfigEntries {
					if got.ConfigName == want.name && !want.fits(got.ConfigValue) {
						change.Configs = append(change.Configs, kafkago.IncrementalAlterConfigsRequestConfig{Name: want.name, Value: want.value})
						done = append(done, fmt.Sprintf("topic %s: %s from %s to %s", r.ResourceName, want.name, got.ConfigValue, want.value))
					}
				}
			}
		}
		if len(change.Configs) > 0 {
			req.Resources = append(req.Resources, change)
		}
	}
	if len(req.Resources) == 0 {
		return nil, nil
	}
	resp, err := a.client.IncrementalAlterConfigs(ctx, req)
	if err != nil {
		return nil, a.cfg.explain(err, "properties of topics")
	}
	for _, r := range resp.Resources {
		if r.Error != nil {
			return nil, a.cfg.explain(r.Error, "properties of topic "+r.ResourceName)
		}
	}
	return done, nil
}

func (a *asker) allow(ctx context.Context, principal string) ([]string, error) {
	if _, name, ok := strings.Cut(principal, ":"); !ok || name == "" {
		return nil, gateway.Errorf(gateway.Invalid, "kafka: principal %q: give it as Kafka has it, such as User:peer, or User:CN=peer,O=Gemeente", principal)
	}
	req := &kafkago.CreateACLsRequest{}
	var done []string
	for _, topic := range a.cfg.topics() {
		for _, right := range peerRights {
			req.ACLs = append(req.ACLs, kafkago.ACLEntry{
				ResourceType: kafkago.ResourceTypeTopic, ResourceName: topic, ResourcePatternType: kafkago.PatternTypeLiteral,
				Principal: principal, Host: "*", Operation: right, PermissionType: kafkago.ACLPermissionTypeAllow,
			})
		}
		done = append(done, fmt.Sprintf("topic %s: %s may Describe, DescribeConfigs, Write and Read", topic, principal))
	}
	resp, err := a.client.CreateACLs(ctx, req)
	if err != nil {
		return nil, a.cfg.explain(err, "make ACLs")
	}
	for _, err := range resp.Errors {
		switch {
		case errors.Is(err, kafkago.SecurityDisabled):
			return nil, gateway.Wrap(gateway.Invalid, err, "kafka: make ACLs: the cluster has no authorizer: set authorizer.class.name on its brokers, or leave --acl away")
		case err != nil:
			return nil, a.cfg.explain(err, "make ACLs")
		}
	}
	return done, nil
}

// Principal is who the cluster takes us for, as Kafka's own rule makes it; empty if that can't be told. Of a certificate it is the
// subject, unless the brokers have ssl.principal.mapping.rules.
func (c Config) Principal() (string, error) {
	switch {
	case c.SASL.User != "":
		return "User:" + c.SASL.User, nil
	case c.TLS.Cert != "":
		t, err := c.TLS.config()
		if err != nil {
			return "", err
		}
		return "User:" + t.Certificates[0].Leaf.Subject.String(), nil
	}
	return "", nil
}
