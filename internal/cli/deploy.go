package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bimamba/boards/deploy"
	"bimamba/boards/slot"
	"bimamba/internal/ssh"
)

// deployFlags are those of bimamba deploy.
type deployFlags struct {
	opt    deploy.Options
	ssh    ssh.Options
	how    deploy.How
	fleet  string
	asJSON bool
}

func (e *env) deployCmd() *cobra.Command {
	d := &deployFlags{opt: deploy.Options{Open: openModel}}
	c := &cobra.Command{
		Use:   "deploy USER@HOST | --fleet FILE",
		Short: "Bring a model and its daemon to a board over ssh, and take them back if they are not well",
		Long: `Deploy brings a version of daemon, command, model and configuration to a board. What is not named is taken over from what serves there: the version that was deployed
before, or a package's. On a board with nothing, --daemon and --cli are needed: static programs for its processor, as "make boards" builds them.

It examines the board with "bimamba doctor", plans with the board's own memory and refuses what will not fit. Then it sends what differs from what the board
has: programs, and the tensors of a model, by their checksums. A connection that is lost is made again, and what came whole is not sent twice. Where the board's file
system has fs-verity, its kernel checks each page of the model from then on ("deploy status" says whether it does).

The version is switched to as a trial. The board asks its daemon whether it is ready, and for the golden answer: the tokens that the model continues a prompt with,
and their probabilities to the last bit, which were computed here and are the same on every processor. Then the version is confirmed. If the daemon does not start,
crashes, hangs, or answers otherwise, the version before it serves again, and the reason is printed with the last lines of the daemon's log. The same happens, by the
board itself, if this program is stopped or the connection stays lost (after --trial), and if the board loses its power meanwhile.

The first deployment to a board installs systemd's files, unless a package did, and enables the daemon. It needs root there, or sudo without a password.

Connections are those of the system's ssh, with its configuration, agents and jump hosts. The host's key has to be known, and that cannot be switched off; to look at
a new one and accept it: ssh -o StrictHostKeyChecking=ask USER@HOST true.

--fleet deploys to the boards of a TOML file: those with canary = true first, one by one (the first one, if none has it), then as many at a time as "parallel" says. After a
failure no other board is begun. A table follows.

  parallel = 4
  model = "m.bimamba"            # model, daemon, cli, config: for all hosts, or in a host's table
  daemon = "dist/arm64/bimambad"
  cli = "dist/arm64/bimamba"
  [[host]]
  ssh = "pi@kitchen"             # as ssh takes it
  name = "kitchen"               # in the table
  canary = true

--json prints an object for each board, in a fleet an array: "name", "ssh", "state" (deployed; current: it was already, and is well; rolled back; failed; not started),
"seconds", "error", "id" (of the version), "before", "sent" and "bytes" (sent, and in all), "ready_s", "golden" (asked and right), "changed", "rolled_back".`,
		Example: "  bimamba deploy pi@kitchen --model m.bimamba\n  bimamba deploy pi@kitchen --model default --daemon dist/arm64/bimambad --cli dist/arm64/bimamba\n" +
			"  bimamba deploy --fleet hosts.toml --model m.bimamba\n  bimamba deploy status pi@kitchen\n  bimamba deploy rollback pi@kitchen",
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case d.fleet == "" && len(args) != 1:
				return fmt.Errorf("%s takes one USER@HOST, or --fleet FILE", c.CommandPath())
			case d.fleet != "" && len(args) != 0:
				return fmt.Errorf("%s takes USER@HOST or --fleet, not both", c.CommandPath())
			}
			return d.check()
		},
	}
	f := c.Flags()
	f.StringVar(&d.opt.Model, "model", "", "a .bimamba file, or default for the built-in one; FILE.minisig goes with it if it is there (default: the model that is there)")
	f.StringVar(&d.opt.Daemon, "daemon", "", "bimambad for the board (default: the one that is there)")
	f.StringVar(&d.opt.CLI, "cli", "", "bimamba for the board (default: the one that is there)")
	f.StringVar(&d.opt.Config, "config", "", "bimambad.toml for the daemon, with --model (default: the one that is there)")
	f.StringVar(&d.opt.Label, "label", "", "what lists call the version (default: the model's name)")
	f.StringVar(&d.fleet, "fleet", "", "deploy to the boards of this TOML file")
	f.IntVar(&d.how.Keep, "keep", deploy.DefaultKeep, "how many versions stay on the board; at least the current one and the one before it do")
	f.DurationVar(&d.how.Trial, "trial", deploy.DefaultTrial, "after how long the board takes the version back by itself if nobody confirmed it")
	f.BoolVar(&d.asJSON, "json", false, "print what came of it as JSON")
	c.PersistentFlags().StringVar(&d.ssh.Config, "ssh-config", "", "ssh's configuration file (default: the user's)")
	c.RunE = func(c *cobra.Command, args []string) error {
		d.how.Who = whoami()
		if d.fleet != "" {
			return e.deployFleet(c.Context(), d)
		}
		return e.deployOne(c.Context(), d, args[0])
	}
	c.AddCommand(e.deployStatus(d), e.deployRollback(d), e.deployLogs(d))
	return c
}

func (d *deployFlags) check() error {
	switch {
	case d.how.Keep < 1:
		return fmt.Errorf("--keep %d: at least the current version stays", d.how.Keep)
	case d.how.Trial < 30*time.Second || d.how.Trial > 24*time.Hour:
		return fmt.Errorf("--trial %v is not within 30s and 24h", d.how.Trial)
	}
	return nil
}

// bundle reads what is to be deployed.
func (e *env) bundle(ctx context.Context, opt deploy.Options) (*deploy.Bundle, error) {
	bar := newProgress(e.stderr, "checking "+opt.Model, 1, true)
	defer bar.done()
	return deploy.New(ctx, opt, bar.set)
}

// steps shows on a terminal what is done to a board, with a bar for bytes; elsewhere, and for one of several boards, a line for each step.
func (e *env) steps(name string) (show func(what string, done, total int64), end func()) {
	last, bar := "", &progress{}
	lines := name != "" || !isTerminal(e.stderr)
	show = func(what string, done, total int64) {
		if what != last {
			last = what
			bar.done()
			bar = &progress{}
			if lines {
				fmt.Fprintf(e.stderr, "%s%s\n", name, what)
			} else {
				bar = newProgress(e.stderr, what, max(1, total), total > 0)
			}
		}
		if total > 0 {
			bar.set(done, total)
		}
	}
	return show, func() { bar.done() }
}

func (e *env) deployOne(ctx context.Context, d *deployFlags, target string) error {
	b, err := e.bundle(ctx, d.opt)
	if err != nil {
		return err
	}
	defer b.Close()
	h, err := ssh.New(target, d.ssh)
	if err != nil {
		return err
	}
	defer h.Close()
	how := d.how
	var end func()
	how.Progress, end = e.steps("")
	start := time.Now()
	r, err := b.To(ctx, h, how)
	end()
	x := deploy.NewResult(deploy.FleetHost{SSH: target, Name: target}, r, time.Since(start), err)
	if d.asJSON {
		if jerr := writeJSON(e.stdout, x); jerr != nil {
			return jerr
		}
		return err
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(e.stdout, deployedLine(&x))
	return err
}

// deployedLine says in words what came of a board that is well.
func deployedLine(x *deploy.HostResult) string {
	golden := "the golden answer is right"
	if !x.Golden {
		golden = "the model has no golden answer"
	}
	if x.State == deploy.Current {
		return fmt.Sprintf("%s: version %s is current already and well: %s", x.Name, x.ID, golden)
	}
	return fmt.Sprintf("%s: version %s serves; %s of %s sent, ready in %.1f s, %s; it took %.0f s", x.Name, x.ID, mega(x.Sent), mega(x.Size), x.Ready, golden, x.Seconds)
}

func (e *env) deployFleet(ctx context.Context, d *deployFlags) error {
	fleet, err := deploy.ReadFleet(d.fleet)
	if err != nil {
		return err
	}
	// Every file is read before the first board is touched.
	type key struct{ model, daemon, cli, config string }
	of := func(o deploy.Options) key { return key{o.Model, o.Daemon, o.CLI, o.Config} }
	made := map[key]*deploy.Bundle{}
	for _, h := range fleet.Hosts {
		o := fleet.Options(h, d.opt)
		if made[of(o)] != nil {
			continue
		}
		b, err := e.bundle(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		defer b.Close()
		made[of(o)] = b
	}
	var mu sync.Mutex
	results, err := fleet.Run(ctx, func(ctx context.Context, fh deploy.FleetHost) (*deploy.Result, error) {
		opt := d.ssh
		opt.Batch = true
		h, err := ssh.New(fh.SSH, opt)
		if err != nil {
			return nil, err
		}
		defer h.Close()
		how := d.how
		show, _ := e.steps(fh.Name + ": ")
		how.Progress = func(what string, done, total int64) {
			mu.Lock()
			defer mu.Unlock()
			show(what, done, total)
		}
		return made[of(fleet.Options(fh, d.opt))].To(ctx, h, how)
	})
	if d.asJSON {
		if jerr := writeJSON(e.stdout, results); jerr != nil {
			return jerr
		}
		return err
	}
	if perr := printFleet(e.stdout, results); perr != nil {
		return perr
	}
	return err
}

// printFleet is the table at the end.
func printFleet(out io.Writer, results []deploy.HostResult) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "board\tstate\tversion\tsent\tready\ttook")
	for _, x := range results {
		id, sent, ready, took := "-", "-", "-", "-"
		if x.Result != nil {
			if x.ID != "" {
				id = x.ID
			}
			sent = mega(x.Sent)
			if x.Ready > 0 {
				ready = fmt.Sprintf("%.1f s", x.Ready)
			}
		}
		if x.State != deploy.NotStarted {
			took = fmt.Sprintf("%.0f s", x.Seconds)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", x.Name, x.State, id, sent, ready, took)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, x := range results {
		if x.Error != "" {
			if _, err := fmt.Fprintf(out, "\n%s: %s\n", x.Name, strings.TrimPrefix(x.Error, x.SSH+": ")); err != nil {
				return err
			}
		}
	}
	return nil
}

// withBoard connects for one of deploy's commands.
func (d *deployFlags) withBoard(ctx context.Context, target string, fn func(h *ssh.Host) error) error {
	h, err := ssh.New(target, d.ssh)
	if err != nil {
		return err
	}
	defer h.Close()
	return fn(h)
}

func oneHost(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s takes one USER@HOST, not %d", c.CommandPath(), len(args))
	}
	return nil
}

func (e *env) deployStatus(d *deployFlags) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status USER@HOST",
		Short: "Say which versions are on a board, and which serves",
		Long:  "Status prints what \"bimamba slot status\" says on the board; with --json its object, but for \"base\", which is long.",
		Args:  oneHost,
		RunE: func(c *cobra.Command, args []string) error {
			return d.withBoard(c.Context(), args[0], func(h *ssh.Host) error {
				b, err := deploy.Connect(c.Context(), h)
				if err != nil {
					return err
				}
				var st *slot.Status
				if st, err = b.Status(c.Context()); err != nil {
					return err
				}
				if asJSON {
					st.Base = nil
					return writeJSON(e.stdout, st)
				}
				return printSlots(e.stdout, st)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the status as JSON")
	return c
}

func (e *env) deployRollback(d *deployFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "rollback USER@HOST [VERSION]",
		Short: "Take a board back to the version before, or to any that is there",
		Long: `Rollback ends a trial, if there is one. Otherwise it switches to VERSION, as "bimamba deploy status" lists them, or to the one that was confirmed before the current
one, on trial and with the same questions as a new one: if that is not well any more, the current one stays.

VERSION may be "package": what a package or an image installed serves then, as before the first deployment, with its own configuration. It has no golden answer, and is only asked
whether it is ready. From there, rollback leads to the version that was deployed last. Nothing is removed: that is "bimamba slot prune", on the board.`,
		Example: "  bimamba deploy rollback pi@kitchen\n  bimamba deploy rollback pi@kitchen package",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 2 {
				return nil
			}
			return oneHost(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			return d.withBoard(c.Context(), args[0], func(h *ssh.Host) error {
				how := d.how
				how.Who = whoami()
				var end func()
				how.Progress, end = e.steps("")
				r, err := deploy.Rollback(c.Context(), h, strings.Join(args[1:], ""), how)
				end()
				if err != nil {
					return err
				}
				name := func(id string) string {
					if id == "" || id == slot.Package {
						return "what a package installed"
					}
					return "version " + id
				}
				_, err = fmt.Fprintf(e.stdout, "%s: %s serves, in place of %s\n", args[0], name(r.ID), name(r.Before))
				return err
			})
		},
	}
}

func (e *env) deployLogs(d *deployFlags) *cobra.Command {
	var lines int
	var follow bool
	c := &cobra.Command{
		Use:   "logs USER@HOST",
		Short: "Print the end of the daemon's log on a board",
		Args:  oneHost,
		RunE: func(c *cobra.Command, args []string) error {
			return d.withBoard(c.Context(), args[0], func(h *ssh.Host) error {
				b, err := deploy.Connect(c.Context(), h)
				if err != nil {
					return err
				}
				return b.Logs(c.Context(), e.stdout, lines, follow)
			})
		},
	}
	c.Flags().IntVarP(&lines, "lines", "n", 50, "how many lines")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is logged from now on, until Ctrl-C")
	return c
}
