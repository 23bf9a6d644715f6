package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"bimamba/convert"
	"bimamba/convert/synth"
	"bimamba/edge/engine"
	"bimamba/edge/model"
	"bimamba/internal/bench"
	"bimamba/neon"
)

func (e *env) benchCmd() *cobra.Command {
	var size, head string
	var opt bench.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "bench FILE | --size SIZE",
		Short: "Measure the speed of a model on this machine",
		Long: `Bench feeds a prompt of --prefill tokens, then --decode tokens one by one with their logits, --runs times after a warm-up, and prints medians.

Decoding is held against memory: how many bytes a token moves, reads and writes (weights, head, recurrent state, convolution state), how fast the same threads
read the same bytes between the runs, and which fraction of that the decoding reaches. Writes count like reads. A model that fits the processor's
last cache is bound by arithmetic: it has no such fraction, but multiplications by weights per second. With --memory, layers are read from storage for every token:
decoding is then held against reading them without computing, between the runs.

With --size a random model of that shape is measured: ` + strings.Join(synth.Sizes(), ", ") + `. It is made once and kept in the user's cache folder. Other engines' speeds at that shape are
printed beside; their decoding is scaled by the bandwidth of this run over that of the machine that they were measured on.

BIMAMBA_KERNEL=portable|neon|avx2|avx512 in the environment chooses the kernels.`,
		Example: "  bimamba bench default\n  bimamba bench --size 780M --threads 1\n  BIMAMBA_KERNEL=avx2 bimamba bench --size 780M --state f32 --json",
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) > 1 || (len(args) == 1) == (size != ""):
				return fmt.Errorf("%s needs either one FILE or --size", c.CommandPath())
			case size == "" && head != "":
				return fmt.Errorf("--head goes with --size; FILE has its own")
			case opt.Prefill < 1 || opt.Decode < 1 || opt.Runs < 1:
				return fmt.Errorf("--prefill, --decode and --runs are at least 1")
			}
			return nil
		},
	}
	flags := addModelFlags(c)
	f := c.Flags()
	f.StringVar(&size, "size", "", "measure a random model of this shape: "+strings.Join(synth.Sizes(), ", "))
	f.IntVar(&opt.Prefill, "prefill", 512, "tokens of the prompt")
	f.IntVar(&opt.Decode, "decode", 128, "tokens that are decoded")
	f.IntVar(&opt.Runs, "runs", 3, "how often")
	headFlag(c, &head)
	f.BoolVar(&asJSON, "json", false, "print the report as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		var file string
		if size != "" {
			var err error
			if file, err = e.synthModel(c, size, convert.Head(head)); err != nil {
				return err
			}
		} else {
			file = args[0]
		}
		return withEngine(file, flags, 1, func(eng *engine.Engine) error {
			bar := newProgress(e.stderr, "measuring", int64(opt.Runs)+1, false)
			r, err := bench.Run(c.Context(), eng.Model, opt, func(done, total int) { bar.set(int64(done), int64(total)) })
			bar.done()
			if err != nil {
				return err
			}
			if r.Model == "" {
				r.Model = filepath.Base(file)
			}
			var rivals []bench.Rival
			if r.Precision == model.LUT16.String() && !r.InCache { // else it would be no fair comparison
				rivals = bench.Rivals(size, r.Threads, r.Read)
			}
			if asJSON {
				return writeJSON(e.stdout, struct {
					*bench.Report
					Rivals []bench.Rival `json:"rivals,omitempty"`
				}{r, rivals})
			}
			return printBench(e.stdout, r, rivals)
		})
	}
	return c
}

// synthModel is the path of a random model of a size, made unless it is in the cache.
func (e *env) synthModel(c *cobra.Command, size string, head convert.Head) (string, error) {
	ck, err := synth.New(size, 1)
	if err != nil {
		return "", fmt.Errorf("--size: %w", err)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("--size: there is no folder to keep the model in: %w; make one with `bimamba synth` and name it", err)
	}
	opt := synthOptions(size, 1, head)
	if opt.Head == "" {
		opt.Head = convert.HeadInt8
	}
	path := filepath.Join(dir, "bimamba", fmt.Sprintf("synth-%s-%s-v%d.bimamba", size, opt.Head, synth.Version))
	if f, err := openBlob(path); err == nil {
		return path, f.Close()
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	_, err = e.writeBlob(c.Context(), path, true, ck, opt)
	return path, err
}

func printBench(out io.Writer, r *bench.Report, rivals []bench.Rival) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, a ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, a...)) }
	line("model", "%s, head %s, state %s, precision %s", r.Model, r.Head, r.State, r.Precision)
	prefetch := ""
	if n, taken := neon.Prefetch(); taken {
		prefetch = fmt.Sprintf(", prefetch %d bytes ahead", n)
	}
	line("machine", "%s, kernels %s, threads %d for prefill, %d for decode%s", r.CPU, r.Kernel, r.All, r.Threads, prefetch)
	line("prefill", "%d tokens, %.1f tokens/s (%.1f to %.1f)", r.Prefill.Tokens, r.Prefill.PerSecond, r.Prefill.Min, r.Prefill.Max)
	line("decode", "%d tokens, %.1f tokens/s (%.1f to %.1f), a token %.2f ms, 95 %% within %.2f ms", r.Decode.Tokens, r.Decode.PerSecond, r.Decode.Min, r.Decode.Max, r.Decode.P50, r.Decode.P95)
	line("bytes a token", "%s: weights %s, head %s, state %s, convolution %s", mega(r.Bytes.Total), mega(r.Bytes.Weights), mega(r.Bytes.Head), mega(r.Bytes.State), mega(r.Bytes.Conv))
	line("reading the same", "%.2f GB/s", r.Read/1e9)
	switch {
	case r.Storage != nil:
		st, how := r.Storage, "direct"
		if st.Buffered {
			how = "through the page cache"
		}
		line("storage", "%d layers, %s a token, %s; %.1f MB/s without computing (%.1f to %.1f), decoding reaches %.1f %%", st.Layers, mega(st.Bytes), how, st.Rate/1e6, st.Low/1e6, st.High/1e6, 100*st.Fraction)
		if st.Unlocked != "" {
			line("not locked", "%s", st.Unlocked)
		}
	case r.Roofline != nil:
		line("roofline", "%.1f %% of it, %.1f GMAC/s", 100**r.Roofline, r.GMACs)
	default:
		line("roofline", "cache-resident: %.1f GMAC/s", r.GMACs)
	}
	line("allocations", "%.2f a token", r.Allocs)
	line("memory", "%s: mapped %s, state and workspace %s, heap %s; peak %s", mega(r.RSS.Total), mega(r.RSS.Mapped), mega(r.RSS.State), mega(r.RSS.Heap), mega(r.RSS.Peak))
	for _, v := range rivals {
		line(v.Engine, "%.1f tokens/s at %.1f GB/s; at this run's %.1f GB/s %.1f: ratio %.1f", v.Decode, v.Bandwidth/1e9, r.Read/1e9, v.Scaled, r.Decode.PerSecond/v.Scaled)
	}
	return w.Flush()
}
