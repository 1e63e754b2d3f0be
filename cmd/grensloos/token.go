package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func tokenCommand() *cobra.Command {
	var (
		file string
		ttl  time.Duration
		id   identity
	)
	cmd := &cobra.Command{
		Use:   "token -c peer.yaml [--als ACCOUNT] [--rol ROL,...]",
		Short: "Issue a JWT of the own network with the issuer's key in the configuration",
		Long: `Issue a JWT for a caller on the own network: an application that asks, or a person at the command line.

It is signed with netwerk.issuerSleutel, which stands in the configuration of a demo or a single machine only. A real organisation's
issuer makes the tokens, and keeps the key. The token goes to standard output and is a secret until it expires.`,
		Example: `  grensloos token -c uwi.yaml --als j.jansen --rol klantmanager`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usage("-c: give the peer's configuration file")
			}
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			if id.tokenFile != "" {
				return usage("--token: a token is what this command makes")
			}
			token, err := id.token(cfg, time.Now(), ttl)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the peer's configuration file")
	cmd.Flags().DurationVar(&ttl, "geldig", time.Hour, "how long the token is valid, at most 12h")
	id.flags(cmd, "")
	_ = cmd.Flags().MarkHidden("token")
	return usageFlags(cmd)
}
