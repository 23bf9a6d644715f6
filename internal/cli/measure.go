package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bimamba/boards/measure"
	"bimamba/memmap"
)

// measureFlags is the flags of measure beside those of the model.
type measureFlags struct {
	prompts, dir string
	asJSON       bool
	force        bool
	share        string // folder
	ssh, program string
	sensors      measure.SensorOptions
	config       measure.Config
}

func (e *env) measureCmd() *cobra.Command {
	m := &measureFlags{}
	c := &cobra.Command{
		Use:   "measure FILE -o DIR",
		Short: "Measure a model on this board: speed, memory, joules, temperature",
		Long: `Measure loads FILE, has it read prompts and answer them, --repeat times, and writes what the board did meanwhile to DIR: report.json (boards/measure/REPORT.md
describes it), report.md, and report.html, one file with plots. Nothing else should run meanwhile.

The phases: idle without the model (half of --duration, 30 s at most); in each run load (the file is dropped from the kernel's cache before; the first token is part of it),
prefill (prompts of 512 tokens for a fourth of --duration) and decode (whole answers, one after the other, for --duration); idle with the model; and with --soak
answers without a pause, of which the last minute is held against the first (half against half if it is shorter; below 20 s there is no such comparison).

Energy comes from the first sensor of power that "bimamba doctor" finds, the sensor that --sensor names, or a command that prints watts (--meter). It is given
as measured and above idle, with its uncertainty; fewer than 10 samples give none, and a sensor that is missing is not 0 W. If throttling came or went between the runs
there is no mean of them; if they differ by 10 % the report says so.

Prompts are a few of this program's own, in the form that the model's kind asks for, or the lines of --prompts. Reports hold their number and checksum, not their text.
Ctrl-C ends a measurement; what was measured until then is written, and marked as incomplete; a second one ends the program at once.

--ssh measures on another board, with the system's ssh and its configuration. A bimamba of the same version must be there, or be given with --program; the model is
copied unless it is there already, and stays in ~/.cache/bimamba/measure; files of --prompts and --calibration are copied and removed again. The sensors are those of that board.

--share writes a part of the report to boards/results/BOARD-DATE.json, for README's table: no names of hosts and files, no prompts. It refuses what ran in an
emulator or with --memory, was not complete, was throttled in some of the runs only, or has no rate of decoding.`,
		Example: "  bimamba measure default -o report\n  bimamba measure m.bimamba --duration 60s --repeat 5 --soak 15m -o report\n" +
			"  bimamba measure m.bimamba --sensor ina219:1:0x40:0.1 -o report\n  bimamba measure m.bimamba --meter 'read-my-plug --watts' -o report\n" +
			"  bimamba measure m.bimamba --ssh pi@board --program bimamba-arm64 -o report",
		Args: func(c *cobra.Command, args []string) error {
			if err := oneFile(c, args); err != nil {
				return err
			}
			switch {
			case m.dir == "" && !m.asJSON:
				return fmt.Errorf("%s needs -o DIR, a folder for the report, or --json", c.CommandPath())
			case m.program != "" && m.ssh == "":
				return fmt.Errorf("--program goes with --ssh")
			case c.Flags().Changed("meter") && strings.TrimSpace(m.sensors.Meter) == "":
				return errors.New("--meter is empty")
			}
			return nil
		},
	}
	flags := addModelFlags(c)
	f := c.Flags()
	f.StringVar(&m.prompts, "prompts", "", "a file of prompts, one a line")
	f.StringVar(&m.config.Task, "task", "", "task of an intent model (default: its first)")
	f.IntVarP(&m.config.MaxTokens, "max-tokens", "n", 0, "end an answer after so many tokens (default: the model's limit, 128 at most)")
	f.DurationVar(&m.config.Duration, "duration", time.Minute, "how long the answers of a run go on; the last one is not cut")
	f.IntVar(&m.config.Repeat, "repeat", 5, "runs")
	f.DurationVar(&m.config.Soak, "soak", 0, "then answer without a pause for so long")
	f.StringVar(&m.sensors.Name, "sensor", "", "sensor of power: auto, one of \"bimamba doctor\", a chip such as ina219:1:0x40:0.1, or none (default auto)")
	f.StringVar(&m.sensors.Meter, "meter", "", "a command that prints watts, one number a line: words with spaces between, no shell; a second's lines are averaged")
	f.StringVar(&m.sensors.Calibration, "calibration", "", "a file of \"bimamba calibrate\", which carries the sensor's watts to those at the wall")
	f.StringVarP(&m.dir, "output", "o", "", "folder for report.json, report.md and report.html; it is made")
	f.BoolVar(&m.force, "force", false, "replace a report that is there")
	f.BoolVar(&m.asJSON, "json", false, "print the report as JSON, too")
	f.StringVar(&m.share, "share", "", "also write what may be published, to this folder (boards/results without a value)")
	f.Lookup("share").NoOptDefVal = filepath.Join("boards", "results")
	f.StringVar(&m.ssh, "ssh", "", "measure on this board: a host, or user@host")
	f.StringVar(&m.program, "program", "", "with --ssh: the program that is copied there, static and for that board")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := m.check(); err != nil {
			return err
		}
		run := e.measure
		if m.ssh != "" {
			run = e.measureThere
		}
		rep, err := run(c, args[0], flags, m)
		if rep == nil {
			return err
		}
		return errors.Join(err, e.writeReport(rep, m))
	}
	return c
}

// reportFiles is what a report's folder holds.
var reportFiles = []struct {
	name  string
	write func(*measure.Report, io.Writer) error
}{
	{"report.json", func(r *measure.Report, w io.Writer) error { return writeJSON(w, r) }},
	{"report.md", (*measure.Report).Markdown},
	{"report.html", (*measure.Report).HTML},
}

// check finds out before minutes of measuring whether the report can be written.
func (m *measureFlags) check() error {
	if m.share != "" && m.ssh == "" {
		if on := measure.MachineOf(os.DirFS("/")); on.Kind == measure.Emulator {
			return fmt.Errorf("--share: this is an emulator (%s): its speed and power are not published", on.Evidence)
		}
	}
	if m.dir == "" {
		return nil
	}
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return err
	}
	for _, f := range reportFiles {
		path := filepath.Join(m.dir, f.name)
		if _, err := os.Lstat(path); err == nil && !m.force {
			return fmt.Errorf("%s exists; --force replaces it", path)
		}
	}
	return nil
}

// measure measures here.
func (e *env) measure(c *cobra.Command, name string, flags *modelFlags, m *measureFlags) (*measure.Report, error) {
	cfg := m.config
	cfg.Root, cfg.Program, cfg.Name = os.DirFS("/"), version(), filepath.Base(name)
	if m.prompts != "" {
		var err error
		if cfg.Prompts, err = readPrompts(m.prompts); err != nil {
			return nil, err
		}
	}
	f, err := openModel(name)
	if err != nil {
		return nil, err
	}
	cfg.Model, err = flags.options(f, 1)
	path, perr := filepath.Abs(f.Name())
	if perr == nil {
		path, perr = filepath.EvalSymlinks(path)
	}
	if perr == nil { // else it is the built-in model, in memory
		cfg.Path = path
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	cfg.Open = func() (*memmap.File, error) { return openModel(name) }
	if cfg.Instruments, err = measure.FindInstruments(c.Context(), cfg.Root, m.sensors); err != nil {
		return nil, err
	}
	defer cfg.Instruments.Close()
	bar := newProgress(e.stderr, "measuring", 1, false)
	defer bar.done()
	cfg.Progress = func(p measure.Progress) {
		bar.set(int64(p.Done/time.Second), int64(p.Total/time.Second))
		if p.Phase != "" && bar.bar == nil {
			run := ""
			if p.Run > 0 {
				run = fmt.Sprintf("run %d of %d: ", p.Run, cfg.Repeat)
			}
			fmt.Fprintf(e.stderr, "measure: %s%s\n", run, p.Phase)
		}
	}
	return measure.Run(c.Context(), cfg)
}

// measureThere measures on the board of --ssh.
func (e *env) measureThere(c *cobra.Command, name string, _ *modelFlags, m *measureFlags) (*measure.Report, error) {
	ctx := c.Context()
	if m.prompts != "" {
		if _, err := readPrompts(m.prompts); err != nil {
			return nil, err
		}
	}
	r, err := e.dial(ctx, m.ssh)
	if err != nil {
		return nil, err
	}
	defer r.close(ctx)
	program, err := r.program(ctx, m.program)
	if err != nil {
		return nil, err
	}
	file, err := r.model(ctx, name)
	if err != nil {
		return nil, err
	}
	args := append([]string{"measure", file}, forwarded(c.Flags())...)
	for _, f := range []struct{ flag, path string }{{"--prompts", m.prompts}, {"--calibration", m.sensors.Calibration}} {
		if f.path == "" {
			continue
		}
		to := r.work + "/" + strings.TrimPrefix(f.flag, "--")
		if err := r.put(ctx, f.path, to, 0o600); err != nil {
			return nil, err
		}
		args = append(args, f.flag, to)
	}
	rep, err := r.run(ctx, program, args)
	if rep != nil && name != defaultName && rep.Model.Name == filepath.Base(file) {
		rep.Model.Name = filepath.Base(name) // a model without a name is called like its file
	}
	return rep, err
}

// here is the flags of measure that do not go to another board as they are: files, which are copied there, and what this side does itself.
var here = []string{"prompts", "calibration", "output", "force", "json", "share", "ssh", "program", "help"}

// forwarded is all other flags that were given; a program of the same version has the same defaults.
func forwarded(flags *pflag.FlagSet) (args []string) {
	flags.Visit(func(f *pflag.Flag) {
		if !slices.Contains(here, f.Name) {
			args = append(args, "--"+f.Name+"="+f.Value.String())
		}
	})
	return args
}

func readPrompts(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := measure.ReadPrompts(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

// writeReport writes the report's files, and says in a line what was measured.
func (e *env) writeReport(rep *measure.Report, m *measureFlags) error {
	if m.dir != "" {
		for _, f := range reportFiles {
			if err := writeWhole(filepath.Join(m.dir, f.name), m.force, func(w io.Writer) error { return f.write(rep, w) }); err != nil {
				return err
			}
		}
	}
	var err error
	if m.asJSON {
		err = writeJSON(e.stdout, rep)
	} else {
		_, err = fmt.Fprintf(e.stdout, "%s\n%s\n", rep.Brief(), filepath.Join(m.dir, "report.html"))
	}
	if err != nil || m.share == "" {
		return err
	}
	res, err := rep.Share()
	if err != nil {
		return err
	}
	path, err := res.Save(m.share)
	if err == nil {
		fmt.Fprintf(e.stderr, "written for publication: %s\n", path)
	}
	return err
}
