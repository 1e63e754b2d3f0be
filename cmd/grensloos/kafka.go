package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit/kafka"
)

// kafkaCommand is for whoever runs the cluster.
func kafkaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kafka",
		Short: "Prepare the Kafka cluster that keeps the audit records",
		RunE:  func(*cobra.Command, []string) error { return usage("give init") },
	}
	cmd.AddCommand(kafkaInitCommand())
	return usageFlags(cmd)
}

// kafkaInit is what kafka init is asked.
type kafkaInit struct {
	file, principal, user, password, cert, key string
	acl, newCluster                            bool
}

func kafkaInitCommand() *cobra.Command {
	var o kafkaInit
	cmd := &cobra.Command{
		Use:   "init -c peer.yaml [--acl]",
		Short: "Make the topics of a peer, and with --acl its rights, on the cluster of audit.kafka",
		Long: `Make the topics of a peer on the cluster of audit.kafka, or mend their properties: partitions, replicas, min.insync.replicas, retention.
With --acl the peer gets the right to write and read them, and no other. It may be done again; what is right stays.

It is done as the user of audit.kafka; a peer needs no right to do it, so give somebody who has it, for this once:

  grensloos kafka init -c peer.yaml --acl --gebruiker beheerder --wachtwoordbestand beheerder.wachtwoord

What is made, and why, stands in docs/kafka.md.

Exit codes: 0 the cluster is as the configuration wants it; 2 the command is not right; 1 it is not (what is left is named).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(o.file)
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), cfg, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVarP(&o.file, "config", "c", "", "the peer's configuration file")
	_ = cmd.MarkFlagRequired("config")
	cmd.Flags().BoolVar(&o.acl, "acl", false, "give the peer its rights (ACLs)")
	cmd.Flags().StringVar(&o.principal, "principal", "", "who the cluster takes the peer for (default: User: and audit.kafka.sasl.gebruiker, or the subject of audit.kafka.tls.certificaat)")
	cmd.Flags().StringVar(&o.user, "gebruiker", "", "sign in as this user instead of audit.kafka.sasl.gebruiker")
	cmd.Flags().StringVar(&o.password, "wachtwoordbestand", "", "file with the password of --gebruiker")
	cmd.Flags().StringVar(&o.cert, "certificaat", "", "sign in with this certificate (PEM) instead of audit.kafka.tls.certificaat")
	cmd.Flags().StringVar(&o.key, "sleutel", "", "the key (PEM) of --certificaat")
	cmd.Flags().BoolVar(&o.newCluster, "nieuw-cluster", false, "the cluster is meant to be another than the records went to before")
	return usageFlags(cmd)
}

const kafkaInitWithin = time.Minute

func (o kafkaInit) run(ctx context.Context, cfg *Config, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, kafkaInitWithin)
	defer cancel()
	target := cfg.Audit.Kafka
	switch {
	case len(target.Brokers) == 0:
		return usage("audit.kafka.brokers is empty: the peer has a broker of its own, which needs no init")
	case (o.user == "") != (o.password == ""):
		return usage("give --gebruiker and --wachtwoordbestand together")
	case (o.cert == "") != (o.key == ""):
		return usage("give --certificaat and --sleutel together")
	}
	if !o.acl && o.principal != "" {
		return usage("--principal says who gets the rights of --acl: give both")
	}
	if o.acl && o.principal == "" {
		var err error
		if o.principal, err = target.Principal(); err != nil {
			return err
		}
		if o.principal == "" {
			return usage("--acl: the configuration signs in as nobody (audit.kafka.sasl or tls.certificaat): give --principal")
		}
	}
	as := target
	if o.user != "" {
		as.SASL.User, as.SASL.PasswordFile, as.SASL.Password = o.user, o.password, nil
		if as.SASL.Mechanism == "" {
			as.SASL.Mechanism = "SCRAM-SHA-512"
		}
	}
	if o.cert != "" {
		as.TLS.Cert, as.TLS.Key = o.cert, o.key
	}
	done, err := kafka.Init(ctx, as, o.principal)
	for _, line := range done {
		fmt.Fprintln(w, line)
	}
	if err != nil {
		return err
	}
	state, err := inspectSettled(ctx, as)
	if err != nil {
		return err
	}
	if err := sameCluster(cfg.Data, state.ClusterID, o.newCluster); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "cluster %s is goed: %d brokers, topics %s.*\n", state.ClusterID, state.Brokers, target.TopicPrefix)
	return err
}

// inspectSettled inspects until all is well or ctx ends shortly: what was made takes a moment to reach every broker.
func inspectSettled(ctx context.Context, cfg kafka.Config) (kafka.State, error) {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	tick := time.NewTicker(settlePoll)
	defer tick.Stop()
	for {
		state, err := kafka.Inspect(ctx, cfg)
		if err == nil {
			err = state.Err()
		}
		if err == nil {
			return state, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return state, err
		}
	}
}

const (
	settleWithin = 20 * time.Second // a cluster that just started is slow
	settlePoll   = 200 * time.Millisecond
	// clusterFile, in the data folder, says to which cluster the records of this peer go.
	clusterFile = "kafka-cluster"
)

// sameCluster holds the id of a cluster to the one that records went to before, and keeps it when there is none, or when another is
// meant. Another cluster at the same address would take records that nobody looks for there.
func sameCluster(dir, id string, another bool) error {
	path := filepath.Join(dir, clusterFile)
	known, err := os.ReadFile(path)
	switch before := string(bytes.TrimSpace(known)); {
	case err == nil && before == id:
		return nil
	case err == nil && before != "" && !another:
		return gateway.Errorf(gateway.Conflict, "kafka: cluster %.40s answers, and the records of this peer went to cluster %.40s (%s): see audit.kafka.brokers; "+
			"if another cluster is meant: grensloos kafka init -c peer.yaml --nieuw-cluster", id, before, path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("kafka: cluster id: %w", err)
	case id == "":
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("kafka: cluster id: %w", err)
	}
	if err := os.WriteFile(path+".tmp", []byte(id+"\n"), 0o600); err != nil {
		return fmt.Errorf("kafka: cluster id: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("kafka: cluster id: %w", err)
	}
	return nil
}

// clusterReady says whether records can go to the cluster: it is the same as before, and as the configuration wants it.
func clusterReady(ctx context.Context, dir string, cfg kafka.Config) error {
	state, err := kafka.Inspect(ctx, cfg)
	if state.ClusterID != "" {
		if err := sameCluster(dir, state.ClusterID, false); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	return state.Err()
}

// cluster looks at the Kafka cluster, if the peer has one.
func (d *doctor) cluster(ctx context.Context) {
	target := d.cfg.Audit.Kafka
	if len(target.Brokers) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*lookWithin)
	defer cancel()
	over := strings.Join(target.Brokers, ", ")
	state, err := kafka.Inspect(ctx, target)
	if state.ClusterID != "" {
		known, readErr := os.ReadFile(filepath.Join(d.cfg.Data, clusterFile))
		if before := string(bytes.TrimSpace(known)); readErr == nil && before != "" && before != state.ClusterID {
			d.fail("kafka", "cluster", "verbeter audit.kafka.brokers; is een ander cluster bedoeld: grensloos kafka init -c peer.yaml --nieuw-cluster",
				"cluster %.40s antwoordt, maar de records van deze peer gingen naar cluster %.40s", state.ClusterID, before)
		}
	}
	for _, f := range state.Findings {
		if f.Kind == gateway.Unavailable {
			d.warn("kafka", f.Over, f.Mend, "%s", f.Text)
		} else {
			d.fail("kafka", f.Over, f.Mend, "%s", f.Text)
		}
	}
	if err != nil {
		d.fail("kafka", over, "doe wat hierboven staat; zonder het cluster wachten records in het journaal", "%v", err)
		return
	}
	if len(state.Findings) == 0 {
		d.ok("kafka", "cluster "+state.ClusterID, "%d brokers; topics, replica's en rechten zijn goed", state.Brokers)
	}
	if target.Replication < 3 || target.MinInsync < 2 {
		d.warn("kafka", over, "zet audit.kafka.replicatie op 3 en minInsync op 2 (docs/kafka.md)", "met replicatie %d en minInsync %d gaan records verloren met één schijf", target.Replication, target.MinInsync)
	}
}
