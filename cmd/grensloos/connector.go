package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/connectors/database"
)

// connectorCommand is for whoever connects a source system.
func connectorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "connector",
		Short: "Connect a source system",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(connectorCheck())
	return cmd
}

func connectorCheck() *cobra.Command {
	var (
		file  string
		cfg   database.Config
		limit time.Duration
	)
	cmd := &cobra.Command{
		Use:   "check -c peer.yaml | --mapping FILE --bestand SQLITE",
		Short: "Try a mapping against a source and the common schema",
		Long: `Try a mapping against a source and the common schema: the source of a configuration, or a SQLite file.

Reports, each with file and line: what is wrong in the mapping; tables and columns that the source does not have, or that may not be
read; values in a sample of rows that the mapping does not fit; persons who can't be found or not told apart; what our role in the
source may do besides reading; and what of the common schema is not mapped and so not offered. The source is opened read-only, and no
value of it is printed. Exits with 1 if the mapping can't be used.

  grensloos connector check -c peer.yaml
  grensloos connector check -c peer.yaml --mapping new.yaml
  grensloos connector check --mapping borne/mapping.yaml --bestand borne/bron.sqlite`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), limit)
			defer cancel()
			if file != "" {
				peer, err := loadConfig(file)
				if err != nil {
					return err
				}
				if peer.Source == nil {
					return usage("-c %s: it has no bron", file)
				}
				given := cfg
				cfg = *peer.Source.Database
				cfg.Wachttijd = max(cfg.Wachttijd, given.Wachttijd)
				if given.Mapping != "" {
					cfg.Mapping = given.Mapping
				}
			} else if cfg.Mapping == "" || cfg.Bestand == "" {
				return usage("give -c, or --mapping and --bestand")
			}
			return database.Check(ctx, cfg, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "a peer's configuration file, whose source is tried")
	cmd.Flags().StringVar(&cfg.Mapping, "mapping", "", "mapping file (YAML); with -c: instead of the one there")
	cmd.Flags().StringVar(&cfg.Bestand, "bestand", "", "SQLite file of the source")
	cmd.Flags().DurationVar(&cfg.Wachttijd, "wachttijd", 30*time.Second, "the longest that one statement may take")
	cmd.Flags().DurationVar(&limit, "limiet", 5*time.Minute, "the longest that all of it may take")
	cmd.MarkFlagsMutuallyExclusive("config", "bestand")
	return cmd
}
