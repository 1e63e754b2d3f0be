package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/gateway/store"
)

// migrate is what the command is asked.
type migrate struct {
	file, user, password string
	dryRun               bool
}

func migrateCommand() *cobra.Command {
	var o migrate
	cmd := &cobra.Command{
		Use:   "migrate -c peer.yaml [--dry-run]",
		Short: "Bring the schema of a PostgreSQL state store up to date",
		Long: `Bring the schema of the PostgreSQL database of opslag up to date, and give the role of opslag.postgres.gebruiker the privileges that
running needs, and no other. All in one transaction; it may be done again, and while peers run: those of the version before go on.

It signs in as opslag.postgres.migratie, or as the role that is given here; serve never does.

  grensloos migrate -c peer.yaml --dry-run
  grensloos migrate -c peer.yaml --gebruiker grensloos_migratie --wachtwoordbestand migratie.wachtwoord

With SQLite there is nothing to do: serve brings its own file up to date. docs/postgresql.md tells the rest.

Exit codes: 0 the schema is as this program wants it (or would be); 2 the command is not right; 1 it is not (what is wrong is named).`,
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
	cmd.Flags().StringVar(&o.user, "gebruiker", "", "sign in as this role instead of opslag.postgres.migratie.gebruiker")
	cmd.Flags().StringVar(&o.password, "wachtwoordbestand", "", "file with the password of --gebruiker")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print the SQL that would run, and change nothing")
	return usageFlags(cmd)
}

// migrateAtMost bounds the whole; each wait for a lock is bounded more tightly.
const migrateAtMost = 30 * time.Minute

func (o migrate) run(ctx context.Context, cfg *Config, w io.Writer) error {
	if o.password != "" && o.user == "" {
		return usage("--wachtwoordbestand is of --gebruiker: give both")
	}
	if !cfg.Store.IsPostgres() {
		_, err := fmt.Fprintln(w, "opslag is SQLite: serve brengt het bestand zelf bij; er is niets te doen")
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, migrateAtMost)
	defer cancel()
	ran, grants, err := store.Migrate(ctx, cfg.Store, store.MigrateOptions{User: o.user, PasswordFile: o.password, DryRun: o.dryRun})
	if err != nil {
		return fmt.Errorf("opslag: %w", err)
	}
	if o.dryRun {
		for _, m := range ran {
			fmt.Fprintf(w, "-- %s\n%s\n", m.Name, m.SQL)
		}
		_, err := fmt.Fprintf(w, "-- rechten\n%s", grants)
		return err
	}
	for _, m := range ran {
		fmt.Fprintln(w, "uitgevoerd:", m.Name)
	}
	_, err = fmt.Fprintf(w, "het schema van %s past bij dit programma; rol %s heeft wat draaien vraagt\n", cfg.Store.Postgres.Database, cfg.Store.Postgres.User)
	return err
}
