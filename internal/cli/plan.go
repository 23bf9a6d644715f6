package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"bimamba/boards/detect"
	"bimamba/boards/plan"
	"bimamba/boards/tuning"
	"bimamba/edge/daemon"
	"bimamba/edge/daemon/config"
	"bimamba/edge/model"
	"bimamba/memmap"
)

// heads is the heads of --head by their element types.
var heads = map[string]memmap.DType{"int8": memmap.I8, "int4": memmap.I4, "f16": memmap.F16}

func (e *env) planCmd() *cobra.Command {
	def := config.Default()
	var size, head, tuned, memory, storage string
	var boards []string
	opt := plan.Options{Model: model.Options{Sessions: def.Sessions, Prefixes: def.Checkpoints}}
	precision, state := def.Precision.String(), def.State.String()
	var asJSON bool
	c := &cobra.Command{
		Use:   "plan [FILE | --size SIZE]",
		Short: "Say whether a model fits a board, what it takes there, and how fast it may be",
		Long: `Plan says what bimambad would take of a board's memory with a model, and whether that is there: beside what firmware, GPU and the system need.
It knows a model by its FILE, or by its size before there is a file: ` + strings.Join(plan.Sizes(), ", ") + `; without either it plans all of these.

Boards: ` + strings.Join(boardNames(), ", ") + `.
Those that are sold with several sizes of RAM are meant with the smallest (the Jetson Nano with 4 GB) unless a name says another, like pi-4-8gb. "here" is the
board that bimamba runs on, with the memory that its kernel has. Without --board it plans for all of them.

Bytes are computed as the daemon reserves them, but for its heap and its code, which were measured. Speed is modelled, from cycles of the kernels in a static
model of the core and from published measurements of the board's memory, or from a file of "bimamba doctor --tune" (--tuned). --json names the sources.

With --memory the daemon takes no more than that: it keeps as many layers as fit and reads the rest from storage for each token. A token then takes the time that
reading them takes; on an SD card, seconds.

If one board was asked for and the model does not fit it, the exit status is 1; the reason then says what would fit.`,
		Example: "  bimamba plan --size 780M --board pi-zero-2w\n  bimamba plan default\n" +
			"  bimamba plan --size 2.7B --board pi-4-2gb --board pi-5 --sessions 1 --checkpoints 2 --head int4 --json",
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) > 1 || len(args) == 1 && size != "":
				return fmt.Errorf("%s takes one FILE, or --size, or neither", c.CommandPath())
			case opt.Model.Sessions < 1 || opt.Model.Prefixes < 0 || opt.Model.Sessions > 1024 || opt.Model.Prefixes > 65536:
				return fmt.Errorf("--sessions is 1 to 1024, --checkpoints 0 to 65536")
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&size, "size", "", "plan a model of this size: "+strings.Join(plan.Sizes(), ", "))
	f.StringArrayVar(&boards, "board", nil, "a board, or here; may be given several times")
	f.IntVar(&opt.Model.Sessions, "sessions", opt.Model.Sessions, "requests that generate at a time")
	f.IntVar(&opt.Model.Prefixes, "checkpoints", opt.Model.Prefixes, "states of prompts' beginnings that are kept")
	f.Var(&choice{&head, []string{"int8", "int4", "f16"}}, "head", "plan with embedding and head in this form: int8, int4 or f16 (default: FILE's own, or int8)")
	f.StringVar(&state, "state", state, "how recurrent states are stored: f16 or f32")
	f.StringVar(&precision, "precision", precision, "arithmetic of the matrices: lut16, exact or fast")
	f.StringVar(&tuned, "tuned", "", "a file of bimamba doctor --tune, instead of published bandwidths of its board")
	f.StringVar(&memory, "memory", "", "plan with bimambad's option memory, as 256MiB: layers that do not fit are read from storage for each token")
	f.StringVar(&storage, "storage-rate", "", "how much of large files the board reads from its storage in a second, as 40MB, which doctor measures (default: what an SD card's bus allows for)")
	f.BoolVar(&asJSON, "json", false, "print the plans as a JSON array")
	c.RunE = func(c *cobra.Command, args []string) error {
		var err error
		if opt.Model.Precision, err = model.ParsePrecision(precision); err != nil {
			return fmt.Errorf("--%w", err)
		}
		if opt.Model.State, err = model.ParseState(state); err != nil {
			return fmt.Errorf("--%w", err)
		}
		if tuned != "" {
			if opt.Tuned, err = tuning.Read(tuned); err != nil {
				return err
			}
		}
		opt.Head = heads[head]
		if opt.Model.Memory, err = planMemory(memory); err != nil {
			return err
		}
		if storage != "" {
			n, err := config.ParseBytes(storage)
			if err != nil || n == 0 {
				return fmt.Errorf("--storage-rate %s: %w", storage, cmp.Or(err, errors.New("nothing is ever read at that")))
			}
			opt.Storage = float64(n)
		}
		models, err := planModels(args, size)
		if err != nil {
			return err
		}
		found, err := findBoards(boards)
		if err != nil {
			return err
		}
		plans := []*plan.Plan{}
		for _, b := range found {
			for _, m := range models {
				p, err := plan.New(b, m, opt)
				if err != nil {
					return err
				}
				plans = append(plans, p)
			}
		}
		switch {
		case asJSON:
			err = writeJSON(e.stdout, plans)
		case len(plans) == 1:
			err = printPlan(e.stdout, plans[0])
		default:
			err = printPlans(e.stdout, plans)
		}
		if err == nil && len(boards) == 1 {
			err = misfits(plans)
		}
		return err
	}
	return c
}

// planMemory is what bimambad leaves to the model of the memory that it may take, "" for no limit.
func planMemory(memory string) (int64, error) {
	if memory == "" {
		return 0, nil
	}
	conf := config.Default()
	var err error
	if conf.Memory, err = config.ParseBytes(memory); err != nil {
		return 0, fmt.Errorf("--memory %s %w", memory, err)
	}
	if err := conf.Validate(); err != nil {
		return 0, fmt.Errorf("--memory %s: %w", memory, err)
	}
	return daemon.ModelMemory(conf), nil
}

func boardNames() []string {
	var names []string
	for _, b := range plan.Boards() {
		names = append(names, b.Name)
	}
	return names
}

// planModels is the manifests to plan with.
func planModels(args []string, size string) ([]*memmap.Manifest, error) {
	if len(args) == 1 {
		f, err := openBlob(args[0])
		if err != nil {
			return nil, err
		}
		defer f.Close()
		m := *f.Manifest() // copied: nothing in it points into the map
		if m.Name == "" {
			m.Name = args[0]
		}
		return []*memmap.Manifest{&m}, nil
	}
	sizes := plan.Sizes()
	if size != "" {
		sizes = []string{size}
	}
	var out []*memmap.Manifest
	for _, s := range sizes {
		m, err := plan.Shape(s, memmap.I8)
		if err != nil {
			return nil, fmt.Errorf("--size: %w", err)
		}
		out = append(out, m)
	}
	return out, nil
}

func findBoards(names []string) ([]plan.Board, error) {
	if len(names) == 0 {
		return plan.Boards(), nil
	}
	var out []plan.Board
	for _, name := range names {
		var b plan.Board
		var err error
		if name == "here" {
			b, err = boardHere()
		} else {
			b, err = plan.Find(name)
		}
		if err != nil {
			return nil, fmt.Errorf("--board: %w", err)
		}
		out = append(out, b)
	}
	return out, nil
}

// boardHere is the board that this program runs on.
func boardHere() (plan.Board, error) {
	b := detect.Read(os.DirFS("/"), detect.Options{})
	if b.Memory.Total == 0 {
		return plan.Board{}, errors.New("here: /proc/meminfo does not tell how much memory there is")
	}
	found, err := plan.Here(b.ID, b.Memory.Total)
	if err != nil {
		err = fmt.Errorf("here: %w", err)
	}
	return found, err
}

// misfits is the error of the plans of one board that do not fit.
func misfits(plans []*plan.Plan) error {
	var bad []string
	for _, p := range plans {
		if !p.Fits {
			bad = append(bad, fmt.Sprintf("%s does not fit %s: it takes %s", p.Model, p.Board, p.Reason))
		}
	}
	if bad == nil {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(bad, "\n"))
}

// tokens is a range of speeds for people.
func tokens(r *plan.Rate) string {
	switch {
	case r == nil:
		return "-"
	case r.High < 1:
		return fmt.Sprintf("%.2f to %.2f", r.Low, r.High)
	case r.High < 10:
		return fmt.Sprintf("%.1f to %.1f", r.Low, r.High)
	}
	return fmt.Sprintf("%.0f to %.0f", r.Low, r.High)
}

func printPlans(out io.Writer, plans []*plan.Plan) error {
	p := plans[0]
	fmt.Fprintf(out, "%d sessions, %d checkpoints, state %s, precision %s; speeds are modelled\n\n", p.Sessions, p.Checkpoints, p.State, p.Precision)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "board\tmodel\thead\tfits\ttokens/s\tprompt tokens/s\ttakes")
	for _, p := range plans {
		fits := "yes"
		if !p.Fits {
			fits = "no"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Board, p.Model, p.Head, fits, tokens(p.Decode), tokens(p.Prefill), p.Reason)
	}
	return w.Flush()
}

func printPlan(out io.Writer, p *plan.Plan) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, a ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, a...)) }
	line("model", "%s, head %s, state %s, precision %s, %d sessions, %d checkpoints", p.Model, p.Head, p.State, p.Precision, p.Sessions, p.Checkpoints)
	line("board", "%s: RAM %s, of which Linux has %s and the system itself takes %s", p.Board, mega(p.Memory.RAM), mega(p.Memory.Total), mega(p.Memory.System))
	line("", "measured: %s", p.Memory.Source)
	verdict := "yes"
	if !p.Fits {
		verdict = "no"
	}
	line("fits", "%s: it takes %s", verdict, p.Reason)
	for _, x := range []struct {
		name string
		n    int64
		what string
	}{
		{"weights", p.Parts.Weights, "mapped"}, {"head", p.Parts.Head, "mapped"}, {"tokenizer", p.Parts.Tokenizer, "mapped"}, {"padding", p.Parts.Padding, "mapped"},
		{"states", p.Parts.States, ""}, {"logits", p.Parts.Logits, ""}, {"buffers", p.Parts.Buffers, ""}, {"workspace", p.Parts.Workspace, ""},
		{"heap", p.Parts.Heap, "measured"}, {"program", p.Parts.Program, "measured"},
	} {
		line("  "+x.name, "%s", strings.TrimSpace(mega(x.n)+" "+x.what))
	}
	if p.Decode != nil {
		line("tokens/s", "%s, %s", tokens(p.Decode), p.Decode.Basis)
		line("prompt tokens/s", "%s, %s", tokens(p.Prefill), p.Prefill.Basis)
		for i, s := range strings.Split(p.Decode.Source, "; ") {
			line([]string{"by", ""}[min(i, 1)], "%s", s)
		}
	} else {
		why := "as it does not fit"
		if p.Precision == model.Exact.String() {
			why = "with precision " + p.Precision
		}
		line("tokens/s", "not modelled %s", why)
	}
	return w.Flush()
}
