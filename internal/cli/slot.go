package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bimamba/boards/slot"
	"bimamba/boards/slot/health"
)

func (e *env) slotCmd() *cobra.Command {
	var root string
	c := &cobra.Command{
		Use:   "slot COMMAND",
		Short: "On a board: the versions that were deployed to it",
		Long: `Slot is the board's side of "bimamba deploy", which calls it over ssh; systemd calls it, too. It is of use by hand where the network is not.

` + slot.Dir + ` holds versions of daemon, program and model beside each other. ` + slot.Dir + `/current is the one that serves. A new one is on trial until it is confirmed;
it is rolled back if its daemon ends badly, hangs until the watchdog fires, or runs out of memory, if nobody confirms it in time, and if the board is started
again meanwhile. Times are the kernel's since boot: the clock does not matter.

A version that is on trial keeps nobody from "bimamba slot rollback", which always leads to the version that was confirmed last, or to what a package installed.`,
		Example: "  bimamba slot status\n  sudo bimamba slot rollback\n  sudo bimamba slot activate 0123456789abcdef && sudo bimamba slot health && sudo bimamba slot confirm 0123456789abcdef\n" +
			"  sudo bimamba slot activate package && sudo bimamba slot health && sudo bimamba slot confirm package",
		Hidden: true, // from the list of commands: it is no command for the machine that people type at
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%s has no command %q; `%s --help` lists them", c.CommandPath(), args[0], c.CommandPath())
			}
			return fmt.Errorf("%s needs a command; `%s --help` lists them", c.CommandPath(), c.CommandPath())
		},
		RunE: func(*cobra.Command, []string) error { return nil }, // so that Args is asked
	}
	c.PersistentFlags().StringVar(&root, "root", "/", "the system below this folder, for tests and images")
	open := func(c *cobra.Command) *slot.Store { return slot.Open(root, slot.Systemctl{Context: c.Context()}) }
	c.AddCommand(e.slotStatus(open), e.slotReceive(open), e.slotActivate(open), e.slotHealth(open), e.slotPrune(open), e.slotInstall(open),
		slotStep("confirm ID", "End a trial well: the version stays", 1, func(c *cobra.Command, a []string) error { return open(c).Confirm(a[0]) }),
		&cobra.Command{Use: "rollback [ID]", Short: "End a trial, of ID if it is given, in the version before it, and start that", Args: atMostOne, RunE: func(c *cobra.Command, a []string) error {
			return open(c).Rollback(strings.Join(a, ""), "by "+whoami())
		}},
		slotStep("boot", "Before the daemon's first start after a boot: roll a trial of an earlier boot back", 0, func(c *cobra.Command, _ []string) error {
			return open(c).BootCheck()
		}),
		slotStep("expire", "Roll a trial back whose time is over", 0, func(c *cobra.Command, _ []string) error { return open(c).Expire() }),
		slotStep("failed", "When the daemon has ended, with $SERVICE_RESULT: roll a trial back if that is not success", 0, func(c *cobra.Command, _ []string) error {
			result := os.Getenv("SERVICE_RESULT")
			if result == "" {
				return errors.New("$SERVICE_RESULT is not set: this is for ExecStopPost= of the daemon's service")
			}
			return open(c).Failed(result)
		}),
		slotStep("log", "Print what happened to the versions", 0, func(c *cobra.Command, _ []string) error {
			text, err := open(c).Log()
			if err == nil {
				_, err = io.WriteString(e.stdout, text)
			}
			return err
		}),
	)
	return c
}

// slotStep is a command of slot that takes so many arguments, and no flags.
func slotStep(use, short string, args int, run func(*cobra.Command, []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: exactly(args), RunE: run}
}

// exactly is the check of a command that takes n arguments.
func exactly(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("%s takes %s, not %d: %s", c.CommandPath(), count(n, "argument"), len(args), c.UseLine())
		}
		return nil
	}
}

// atMostOne is the check of a command with an argument that may be missing.
func atMostOne(c *cobra.Command, args []string) error {
	if len(args) > 1 {
		return exactly(1)(c, args)
	}
	return nil
}

// whoami is who to name to others: user@host.
func whoami() string {
	name, host := "somebody", "somewhere"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if s := os.Getenv("SUDO_USER"); s != "" {
		name = s
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

type openSlot func(*cobra.Command) *slot.Store

func (e *env) slotStatus(open openSlot) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say which versions are here, which serves, and what is on trial",
		Long: `Status prints the versions, the current one, the one that a rollback leads to, the trial with the time that it has left, and who deploys now.

--json prints an object with "protocol", "program", "current", "previous", "confirmed", "trial", "left_s", "busy", "free_bytes", "versions", "last" (line of the log)
and "base" (the manifest of what serves). Fields may be added, and none will change its meaning.

The version "package" is what a package or an image installed; "current" is "" while it serves.

A version's "verity" is "on" if the kernel checks each page of its model as it is read (fs-verity). Where the file system has fs-verity that is turned on when the model comes; it is
"off" if it came before, and "none" where the file system or the kernel has no fs-verity. On ext4: tune2fs -O verity DEVICE, and a new start.`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			st, err := open(c).Status(version())
			switch {
			case err != nil:
				return err
			case asJSON:
				return writeJSON(e.stdout, st)
			}
			return printSlots(e.stdout, st)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the status as JSON")
	return c
}

// verityText says what a state of the current version's model means.
var verityText = map[string]string{
	slot.VerityOn:   "fs-verity: on, the kernel checks each page of the current model as it is read",
	slot.VerityOff:  "fs-verity: off, the current model was checked when it came; deploying it again turns it on, or `bimamba slot log` says why not",
	slot.VerityNone: "fs-verity: this file system or kernel has none, the current model was checked when it came",
}

// printSlots is a status for people.
func printSlots(out io.Writer, st *slot.Status) error {
	text := func(s string) string { return strings.Map(printableRune, s) } // it may come from a board, and from whoever deployed to it
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	verity := ""
	for _, v := range st.Versions {
		what := "not confirmed"
		switch {
		case slices.Contains(st.Confirmed, v.ID):
			what = "confirmed"
		case v.ID == slot.Package:
			what = "installed"
		}
		if v.ID == st.Current {
			verity = v.Verity
		}
		switch {
		case v.Error != "":
			what = v.Error
		case !v.Whole:
			what = "on its way"
		case st.Trial != nil && st.Trial.ID == v.ID:
			what = fmt.Sprintf("on trial for %.0f s more, by %s", st.Left, st.Trial.Who)
		case v.ID == cmp.Or(st.Current, slot.Package):
			what = "current"
		case st.Previous == v.ID:
			what = "the one before"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", text(v.ID), mega(v.Size), text(what), text(v.Label))
	}
	if len(st.Versions) == 0 {
		fmt.Fprintln(w, "nothing was deployed")
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if st.Busy != "" {
		fmt.Fprintf(out, "%s is deploying\n", text(st.Busy))
	}
	if said := verityText[verity]; said != "" {
		fmt.Fprintln(out, said)
	}
	_, err := fmt.Fprintf(out, "%s free\n%s\n", mega(st.Free), text(st.Last))
	return err
}

func (e *env) slotReceive(open openSlot) *cobra.Command {
	return &cobra.Command{
		Use:   "receive",
		Short: "Take a version from bimamba deploy, on standard input and output",
		Long: `Receive speaks the protocol of package boards/slot with "bimamba deploy" at the other end. It keeps what it has of the version, also from a connection that was
cut, checks every file against its SHA-256 as it lies on the storage, and holds the lock, so that nobody else deploys, until its input ends.`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error { return open(c).Receive(c.Context(), e.stdin, e.stdout) },
	}
}

func (e *env) slotActivate(open openSlot) *cobra.Command {
	var limit time.Duration
	var who string
	c := &cobra.Command{
		Use:   "activate ID",
		Short: "Switch to a version, or to the package's, on trial",
		Long: `Activate makes a version current and starts its daemon; "package" is what a package or an image installed. Unless it is confirmed within --limit, the one before it comes back. It returns when the daemon is ready, or has
failed and was rolled back: "bimamba slot health" tells.`,
		Args: func(c *cobra.Command, args []string) error {
			if limit < 10*time.Second || limit > 24*time.Hour {
				return fmt.Errorf("--limit %v is not within 10s and 24h", limit)
			}
			return exactly(1)(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			return open(c).Activate(args[0], limit, cmp.Or(who, whoami()))
		},
	}
	c.Flags().DurationVar(&limit, "limit", 5*time.Minute, "how long it may stay unconfirmed")
	c.Flags().StringVar(&who, "who", "", "who is named to others meanwhile (default: this user and host)")
	return c
}

func (e *env) slotHealth(open openSlot) *cobra.Command {
	var wait time.Duration
	c := &cobra.Command{
		Use:   "health [ID]",
		Short: "Ask the daemon whether it is well",
		Long: `Health waits until the daemon of the current version is ready, checks that it is that version's, and asks it the version's golden prompt, whose answer is the same on
every processor, to the last bit of the tokens' probabilities. With ID, the current version has to be that. It prints an object: "id", "pid", "address", "seconds",
"golden" (whether there is a golden prompt), "tokens". The exit status is 1 if the daemon is not well.

The daemon is asked where it was told to listen: at its Unix socket if it has one.`,
		Args: atMostOne,
		RunE: func(c *cobra.Command, args []string) error {
			s := open(c)
			_, id, err := s.Current()
			switch {
			case err != nil:
				return err
			case len(args) == 1:
				id = args[0]
			case id == "":
				return errors.New("no version is current: nothing was deployed")
			}
			ctx, cancel := context.WithTimeout(c.Context(), wait)
			defer cancel()
			r, err := health.Check(ctx, s, slot.Systemctl{Context: ctx}, id)
			if err != nil {
				return err
			}
			return writeJSON(e.stdout, r)
		},
	}
	c.Flags().DurationVar(&wait, "wait", 90*time.Second, "how long it may take until it is ready and has answered")
	return c
}

func (e *env) slotPrune(open openSlot) *cobra.Command {
	var keep int
	c := &cobra.Command{
		Use:   "prune",
		Short: "Remove versions that are not needed",
		Long:  "Prune removes versions until --keep are left, the earliest first. The current one, the one before it and the one on trial stay in any case.",
		Args: func(c *cobra.Command, args []string) error {
			if keep < 1 {
				return fmt.Errorf("--keep %d: at least the current one is kept", keep)
			}
			return exactly(0)(c, args)
		},
		RunE: func(c *cobra.Command, _ []string) error {
			removed, err := open(c).Prune(keep)
			for _, id := range removed {
				fmt.Fprintln(e.stdout, "removed", id)
			}
			return err
		},
	}
	c.Flags().IntVar(&keep, "keep", 3, "how many versions are kept")
	return c
}

func (e *env) slotInstall(open openSlot) *cobra.Command {
	var first, listens bool
	c := &cobra.Command{
		Use:   "install",
		Short: "Install what a board needs to take versions",
		Long: `Install writes systemd's files: those of the daemon unless a package brought them, a drop-in that rolls back, a check at boot, and a timer for trials. It makes the daemon's
user and folders. It can be run again, prints the names of the files that it wrote, and leaves alone what a package or an administrator wrote.`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			written, err := open(c).Install(c.Context(), first, listens)
			for _, path := range written {
				fmt.Fprintln(e.stdout, path)
			}
			return err
		},
	}
	c.Flags().BoolVar(&first, "enable", false, "also enable the daemon's service, and its socket unless a package brought them, so that they start at boot")
	c.Flags().BoolVar(&listens, "no-socket", false, "with --enable: not the socket, because the configuration says where to listen")
	return c
}
