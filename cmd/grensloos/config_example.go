package main

import (
	"context"
	_ "embed" // the examples
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
)

// The examples are written from the comments of the Config and GroupRules structs by TestConfigExample, which fails when they
// differ: go test ./cmd/grensloos -run TestConfigExample -update
var (
	//go:embed config_example.yaml
	configExample string
	//go:embed group_example.yaml
	groupExample string
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Write and check configuration files",
		RunE:  func(*cobra.Command, []string) error { return usage("give example or check") },
	}
	cmd.AddCommand(configExampleCommand(), configCheckCommand())
	return usageFlags(cmd)
}

// completeFiles lets a shell complete YAML files after every -c (grensloos completion --help).
func completeFiles(cmd *cobra.Command) {
	if cmd.Flags().Lookup("config") != nil {
		_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	}
	for _, sub := range cmd.Commands() {
		completeFiles(sub)
	}
}

func configExampleCommand() *cobra.Command {
	var group bool
	cmd := &cobra.Command{
		Use:   "example",
		Short: "Print a configuration with every key that there is, and what it means",
		Long: `Print a configuration with every key that there is, and what it means. Keys that most peers leave out are commented away.

  grensloos config example > peer.yaml
  grensloos config example --groep > group.yaml     the rules that all peers of a group share (group.bestand)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text := configExample
			if group {
				text = groupExample
			}
			_, err := fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().BoolVar(&group, "groep", false, "the file of the group instead")
	return cmd
}

func configCheckCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "check -c peer.yaml",
		Short: "Check a configuration without starting anything",
		Long: `Check a configuration without starting anything: every key, the group rules, certificates and keys, trust and policy. grensloos doctor
looks further: at the source, the data folder and the neighbours.

Exit codes: 0 a peer can start with it; 2 the command is not right; 1 it can't (all that is wrong is named).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			p := &peer{cfg: cfg, log: slog.New(slog.DiscardHandler), now: time.Now, watch: &watchers{}, audit: noLog{}}
			defer func() { _ = p.close(context.WithoutCancel(cmd.Context())) }()
			if err := errors.Join(p.openIdentity(cmd.Context()), p.openPolicy(cmd.Context())); err != nil {
				return fmt.Errorf("configuration %s: %w", file, err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is goed: %s (%s), groep %s, groepsregels %s\n", file, cfg.Peer.Name, cfg.Peer.ID, cfg.Group.ID, cfg.Group.digest())
			return err
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the peer's configuration file")
	_ = cmd.MarkFlagRequired("config")
	return cmd
}
