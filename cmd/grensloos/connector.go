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
	var cfg database.Config
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "check --mapping FILE --bestand SQLITE",
		Short: "Try a mapping against a source and the common schema",
		Long: `Try a mapping against a source and the common schema.

Reports, each with file and line: what is wrong in the mapping; tables and columns that the source does not have; values in a sample
of rows that the mapping does not fit; persons who can't be found or not told apart; and what of the common schema is not mapped and
so not offered. The source is opened read-only, and no value of it is printed. Exits with 1 if the mapping can't be used.

  grensloos connector check --mapping borne/mapping.yaml --bestand borne/bron.sqlite`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), limit)
			defer cancel()
			return database.Check(ctx, cfg, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&cfg.Mapping, "mapping", "", "mapping file (YAML)")
	cmd.Flags().StringVar(&cfg.Bestand, "bestand", "", "SQLite file of the source")
	cmd.Flags().DurationVar(&cfg.Wachttijd, "wachttijd", 30*time.Second, "the longest that one statement may take")
	cmd.Flags().DurationVar(&limit, "limiet", 5*time.Minute, "the longest that all of it may take")
	for _, flag := range []string{"mapping", "bestand"} {
		_ = cmd.MarkFlagRequired(flag)
	}
	return cmd
}
