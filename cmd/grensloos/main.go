// Command grensloos is the data-exchange gateway of one organisation: all its roles in one process (`serve`), the command line
// of its own administration, a development PKI, and a demo that runs two peers on one machine.
//
// main calls run and nothing else; tests call run too. Each subcommand stands in a file of its own and is plain construction:
// no package here keeps state, registers itself or starts anything on import.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "grensloos:", err)
		os.Exit(exitCode(err))
	}
}

// run is the whole program as a value. Its error says what went wrong; exitCode tells what a script sees.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	root := &cobra.Command{
		Use:           "grensloos",
		Short:         "Data exchange between municipalities, without a central register",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
	}
	root.AddCommand(serveCommand(), demoCommand(), pkiCommand(), tokenCommand(), contractCommand(), peersCommand(), servicesCommand(), groupCommand(), joinCommand(),
		toestemmingCommand(), terugmeldingCommand(), contactpersoonCommand(),
		vraagCommand(), auditCommand(), connectorCommand(), herindelingCommand(),
		doctorCommand(), configCommand(), kafkaCommand(), migrateCommand())
	completeFiles(root)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

// exit is an error with the exit code that a script sees.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string { return e.err.Error() }
func (e exit) Unwrap() error { return e.err }

// exitCode is 1 for an error that chose no other.
func exitCode(err error) int {
	if e, ok := errors.AsType[exit](err); ok {
		return e.code
	}
	return 1
}
