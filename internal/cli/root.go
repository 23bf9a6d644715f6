// Package cli is the command bimamba: one file a subcommand.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"bimamba/edge/daemon"
)

// env is what a command may touch of the outside world.
type env struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	typed  bool // a person types on stdin
}

// Main runs the command line args and returns the exit status: 0, 1 for a failure, 2 for a wrong call.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the first signal asks the command to end, a second one ends the program
	e := &env{newInterruptible(ctx, stdin), stdout, stderr, isTerminal(stdin)}
	root := e.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, syscall.EPIPE): // the reader of our output has gone, and wants no word about it
		return 1
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(stderr, "bimamba: interrupted")
		return 130
	}
	fmt.Fprintf(stderr, "bimamba: %v\n", err)
	var u usageError
	if errors.As(err, &u) {
		fmt.Fprintf(stderr, "bimamba: `%s --help` shows how it is called\n", u.command)
		return 2
	}
	return 1
}

// usageError is a wrong call.
type usageError struct {
	command string
	err     error
}

func (u usageError) Error() string { return u.err.Error() }
func (u usageError) Unwrap() error { return u.err }

func (e *env) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "bimamba",
		Short: "Language models of one bit a weight, for small boards",
		Long: `bimamba converts Bi-Mamba and Mamba-2 checkpoints to one file that is memory-mapped as it is, and runs it.

FILE is a .bimamba file, or the word "default" for the model that is built into this program.`,
		Version:           version(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetVersionTemplate("bimamba {{.Version}}\n")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usageError{c.CommandPath(), err} })
	root.AddCommand(e.convertCmd(), e.inspectCmd(), e.verifyCmd(), e.keygenCmd(), e.signCmd(), e.chatCmd(), e.generateCmd(), e.tokenizeCmd(), e.scoreCmd(), e.evalCmd(), e.benchCmd(), e.bakeCmd(), e.unitsCmd(), e.kubernetesCmd(), e.doctorCmd(), e.planCmd(), e.measureCmd(), e.compareCmd(), e.calibrateCmd(), e.deployCmd(), e.slotCmd(), e.imageCmd(), e.flashCmd(), e.boardsCmd(), e.homeCmd(), e.voiceCmd(), e.synthCmd(), e.versionCmd())
	usageErrors(root)
	return root
}

// Root is the command line as packages document and complete it. It touches nothing outside unless it is executed.
func Root() *cobra.Command {
	return (&env{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}).root()
}

// version is the program's version, which is the daemon's, and, where the linker did not set it, the commit of the checkout that it was built in.
func version() string {
	v := daemon.Version
	if strings.Contains(v, "+") {
		return v
	}
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				v += "+" + s.Value[:12]
			}
		}
	}
	return v
}

// usageErrors makes errors of the arguments of the commands below c those of a wrong call.
func usageErrors(c *cobra.Command) {
	for _, c := range c.Commands() {
		if args := c.Args; args != nil {
			c.Args = func(c *cobra.Command, a []string) error {
				if err := args(c, a); err != nil {
					return usageError{c.CommandPath(), err}
				}
				return nil
			}
		}
		usageErrors(c)
	}
}

// oneFile is the check of a command's arguments: exactly FILE.
func oneFile(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s takes one FILE, not %d", c.CommandPath(), len(args))
	}
	return nil
}
