package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bimamba/boards/detect"
	"bimamba/boards/sensor"
	"bimamba/boards/tuning"
	"bimamba/edge/daemon"
	"bimamba/edge/daemon/config"
)

func (e *env) doctorCmd() *cobra.Command {
	var root, out string
	var asJSON, tune bool
	c := &cobra.Command{
		Use:   "doctor [FILE]",
		Short: "Say what this board is, and what keeps models from running well on it",
		Long: `Doctor shows the board, its cores, memory, storage and system, which kernels run and why, and tests every one of them on every core against results that are the
same on all CPUs. It looks for what goes wrong on real boards: no memory controller, under-voltage, a slow card, a governor that holds the clock down, swap on a card,
32-bit programs, groups that the user is not in, too little memory for FILE. Each finding comes with the command that mends it.

The exit status is 1 if one of the findings is an error.

--tune takes a minute or two, in which nothing else should run. It measures how fast 1, 2, ... threads read memory, how fast they multiply weights that come from
memory and from the cache, and, with the kernels for arm64, how far ahead lines of memory are best asked for; it says in words what that means. The result goes to
--output: by default to ` + tuning.Path + ` for root, else to bimamba/tuning.json in the user's folder for configuration ($XDG_CONFIG_HOME, ~/.config). Commands
that run a model take the number of threads (with --threads auto) and the prefetch distance from the user's file, else from that of the machine; the daemon reads
that of the machine, and "bimamba plan --tuned" what it is given. A file counts for the board and the kernels that it was measured on, and no answer depends on it.

--json prints an object: "version" (1), "board", "kernels", "sensors", "model" (what FILE takes; null without one), "findings" (id, severity error, warning or note, what, why, mend),
"tuned" (the file of --tune that commands take and, if they do not, the error) and, with --tune, "tuning". What could not be read is absent, and listed in board.missing with the reason. Fields may be added, and none will change its meaning.`,
		Example: "  bimamba doctor\n  bimamba doctor m.bimamba --json\n  bimamba doctor --tune",
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return fmt.Errorf("%s takes one FILE at most, not %d", c.CommandPath(), len(args))
			case root != "" && tune:
				return fmt.Errorf("--root and --tune do not go together: speed can be measured on this machine only")
			case out != "" && !tune:
				return fmt.Errorf("--output goes with --tune")
			}
			return nil
		},
	}
	f := c.Flags()
	f.BoolVar(&asJSON, "json", false, "print everything as JSON")
	f.BoolVar(&tune, "tune", false, "measure memory and kernels, too")
	f.StringVarP(&out, "output", "o", "", "where --tune writes its result (default: "+tuning.Path+" for root, else a file of the user's)")
	f.StringVar(&root, "root", "", "read the files of another system, below this folder; its kernels and storage are not tried")
	c.RunE = func(c *cobra.Command, args []string) error {
		r := &doctorReport{Version: 1}
		path := ""
		if len(args) == 1 {
			var err error
			if r.Model, path, err = modelNeed(args[0]); err != nil {
				return err
			}
		}
		if root != "" {
			r.Board = detect.Read(os.DirFS(root), detect.Options{})
		} else {
			r.Board, r.Sensors = examineHere(c.Context(), path)
			r.Kernels = detect.TestKernels()
		}
		r.Findings = detect.Examine(r.Board, r.Kernels, r.Model)
		if tune {
			bar := newProgress(e.stderr, "tuning", 1, false)
			var err error
			r.Tuning, err = detect.Tune(c.Context(), r.Board, func(done, total int) { bar.set(int64(done), int64(total)) })
			bar.done()
			if err != nil {
				return err
			}
			if out, err = saveTuning(r.Tuning, out); err != nil {
				return err
			}
		}
		if root == "" {
			r.Tuned = tunedHere()
		}
		var err error
		if asJSON {
			err = writeJSON(e.stdout, r)
		} else {
			err = r.print(e.stdout, out)
		}
		if n := r.count(detect.Error); err == nil && n > 0 {
			err = fmt.Errorf("%s found", count(n, "error"))
		}
		return err
	}
	return c
}

type doctorReport struct {
	Version  int              `json:"version"`
	Board    *detect.Board    `json:"board"`
	Kernels  *detect.Kernels  `json:"kernels"`
	Sensors  []sensorReport   `json:"sensors"`
	Model    *detect.Need     `json:"model"`
	Findings []detect.Finding `json:"findings"`
	Tuned    *tunedReport     `json:"tuned"`
	Tuning   *tuning.File     `json:"tuning,omitempty"` // what --tune measured
}

func (r *doctorReport) count(s detect.Severity) (n int) {
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// modelNeed is what serving FILE takes, and where it lies: "" if it is in no file system.
func modelNeed(name string) (*detect.Need, string, error) {
	f, err := openBlob(name)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	m := daemon.Footprint(config.Default(), f.Manifest())
	need := &detect.Need{File: name, Bytes: f.Size(), Resident: m.Resident}
	path, err := filepath.Abs(f.Name())
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return need, "", nil // the built-in model, in memory
	}
	need.File = path
	return need, path, nil
}

const (
	readLimit  = 64 << 20        // bytes
	readBudget = 2 * time.Second // a card reads 40 MB in that time
)

// examineHere reads this machine's board. Storage is that of path, or of this program.
func examineHere(ctx context.Context, path string) (*detect.Board, []sensorReport) {
	if path == "" {
		path, _ = os.Executable()
	}
	root := os.DirFS("/")
	opt := detect.Options{Paths: []string{path}}
	sensors := []sensorReport{}
	for _, f := range sensor.Find(root, sensor.Options{}) {
		sensors = append(sensors, sensorReport{f.Name, f.Sensor != nil, f.Reason, f.Mend})
		if f.Sensor == nil {
			continue
		}
		defer f.Sensor.Close()
		if f.Name == "pi-firmware" {
			opt.Throttle = func() (detect.ThrottleBits, error) {
				s, err := f.Sensor.Read(ctx)
				return detect.ThrottleBits(s.Throttled), err
			}
		}
	}
	b := detect.Read(root, opt)
	for i := range b.Storage {
		s, err := detect.ReadSpeed(path, readLimit, readBudget)
		if err != nil {
			b.Storage[i].NoSpeed = err.Error()
		}
		b.Storage[i].Bandwidth = s
	}
	return b, sensors
}

// sensorReport is a sensor that is here, or why it is not.
type sensorReport struct {
	Name   string `json:"name"`
	Usable bool   `json:"usable"`
	Reason string `json:"reason,omitempty"`
	Mend   string `json:"mend,omitempty"`
}

// print writes the report for people, a page of it.
func (r *doctorReport) print(out io.Writer, saved string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, a ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, a...)) }
	b := r.Board
	line("board", "%s", orUnknown(joined(", ", b.Model, b.SoC)))
	line("known as", "%s", b.ID)
	for _, c := range b.Cores {
		line("cores", "%s", joined(", ", c.String(), governor(c.Governor)))
	}
	if len(b.Features) > 0 {
		line("features", "%s", strings.Join(b.Features, " "))
	}
	if m := b.Memory; m.Total > 0 {
		pages := ""
		if b.PageSize > 0 {
			pages = fmt.Sprintf("pages of %d KiB", b.PageSize>>10)
		}
		line("memory", "%s", joined(", ", mebi(m.Total), mebi(m.Available)+" of it free", pages))
	}
	for _, s := range b.Swap {
		line("swap", "%s, %s (%s)", mebi(s.Size), s.Name, s.Kind)
	}
	for _, s := range b.Storage {
		speed := s.NoSpeed
		if s.Bandwidth != nil {
			speed = fmt.Sprintf("reads %.0f MB/s", s.Bandwidth.BytesPerSecond/1e6)
		}
		line("storage", "%s", joined(", ", s.Mount+" on "+joined(" ", s.Kind, s.Model, s.Device), s.FS, speed))
	}
	bits := ""
	if b.Userland > 0 {
		bits = fmt.Sprintf("%d-bit programs", b.Userland)
	}
	line("system", "%s", orUnknown(joined(", ", b.OS, joined(" ", b.Kernel, b.Arch), bits)))
	if c := b.Cgroup; c.Version > 0 {
		line("cgroups", "v%d: %s", c.Version, strings.Join(c.Controllers, " "))
	}
	if t := b.Throttle; t != nil {
		now, before := "not throttled now", ""
		if len(t.Now) > 0 {
			now = "throttled now: " + strings.Join(t.Now, ", ")
		}
		if len(t.SinceBoot) > 0 {
			before = "since boot: " + strings.Join(t.SinceBoot, ", ")
		}
		line("throttling", "%s (%s)", joined("; ", now, before), t.Source)
	}
	if k := r.Kernels; k != nil {
		line("kernels", "%s: %s", k.InUse, k.Why)
		verdict := "all right"
		if len(k.Faults) > 0 {
			verdict = count(len(k.Faults), "fault")
		}
		line("self-test", "%s on %s: %s", strings.Join(k.Sets, ", "), count(len(k.Cores), "core"), verdict)
	}
	for _, s := range r.Sensors {
		switch {
		case s.Usable:
			line("sensor", "%s", s.Name)
		case s.Mend != "":
			line("sensor", "%s: %s: %s", s.Name, s.Reason, s.Mend)
		}
	}
	if m := r.Model; m != nil {
		line("model", "%s: %s, %s when served", m.File, mebi(m.Bytes), mebi(m.Resident))
	}
	for _, m := range b.Missing {
		line("unknown", "%s: %s", m.What, m.Reason)
	}
	switch {
	case r.Tuning != nil:
		printTuning(line, r.Tuning, b, saved)
	case r.Kernels != nil: // this machine
		line("tuned", "%s", r.Tuned)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s, %s, %s\n", count(r.count(detect.Error), "error"), count(r.count(detect.Warning), "warning"), count(r.count(detect.Note), "note"))
	for _, f := range r.Findings {
		fmt.Fprintf(out, "\n%s: %s\n  %s\n", f.Severity, f.What, f.Why)
		if f.Mend != "" {
			fmt.Fprintf(out, "  > %s\n", f.Mend)
		}
	}
	return nil
}

// joined joins what is not empty.
func joined(sep string, parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), sep)
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func governor(s string) string {
	if s == "" {
		return ""
	}
	return "governor " + s
}

// count is n of a thing.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// mebi writes a number of bytes in MiB.
func mebi(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<19)>>20) }
