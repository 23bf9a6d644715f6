package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bimamba/boards/sensor"
	"bimamba/neon"
	"bimamba/neon/pool"
)

func (e *env) calibrateCmd() *cobra.Command {
	k := &calibrator{env: e}
	var wall, published, asJSON bool
	var name, meter, values, out, root string
	c := &cobra.Command{
		Use:   "calibrate --wall | --published",
		Short: "Fit the board's own sensor of power to a meter at the wall",
		Long: `Calibrate finds the line that carries the watts of the board's own sensor to those of a meter at the wall: wall = slope x sensor + offset. Sensors on a board do not see
all of it: the one of a Raspberry Pi 5 leaves out USB, PCIe, the fan and what the power supply itself loses.

With --wall the board is put under load step by step: idle, then 1, 2, ... of its fast cores (with one core also half of it). Each step takes --duration, and the sensor's
mean over it, without the first fifth, makes a pair with what the meter shows. Three pairs are the least. Where the meter's watts come from:

  --meter CMD    a program that prints watts, one number a line, or one number and ends: words with spaces between, no shell. Its mean over the step counts.
  --values LIST  numbers with commas between, one for each step in their order, of a meter that was read in another run.
  neither        each step asks for it, and goes on with its load until it has a number.

What is printed is each pair, how far the line is from it, and the error of the result: the residuals' standard deviation and the meter's own error together. An error of
more than a few per cent means that the load was not steady, or that something else was behind the meter. Nothing else should run.

With --published nothing is measured: it writes the line that users of the Raspberry Pi 5 pass on (wall = 1.1451 x pi5-pmic + 0.5879 W), whose error nobody published;
10 % is assumed.

The file goes to --output, or to calibration.json in the user's folder for bimamba's configuration. It is used by "bimambad --calibration FILE" and
"bimamba measure --calibration FILE", and belongs to one sensor of one board with one power supply.

--json prints {"version":1,"file","calibration","pairs":[{"load","threads","sensor_watts","wall_watts","line_watts","residual_watts"}]}; pairs is null with --published.`,
		Example: "  bimamba calibrate --wall\n  bimamba calibrate --wall --meter 'read-my-plug --watts' --meter-error 0.01 -o pi5.json\n  bimamba calibrate --published",
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) > 0:
				return fmt.Errorf("%s takes no arguments", c.CommandPath())
			case wall == published:
				return errors.New("say --wall to measure, or --published for a line that others measured")
			case c.Flags().Changed("meter") && strings.TrimSpace(meter) == "":
				return errors.New("--meter is empty")
			case meter != "" && values != "":
				return errors.New("--meter and --values do not go together: both say what the meter shows")
			case published && (meter != "" || values != "" || name != sensor.Auto):
				return errors.New("--published measures nothing: it goes without --sensor, --meter and --values")
			case k.duration < time.Second || k.duration > 10*time.Minute:
				return errors.New("--duration is 1s to 10m")
			case !(k.meterError >= 0 && k.meterError <= 0.5):
				return errors.New("--meter-error is 0 to 0.5")
			case k.threads < 0 || k.threads > 1024:
				return errors.New("--threads is 1 to 1024, or 0 for all fast cores")
			}
			return nil
		},
	}
	f := c.Flags()
	f.BoolVar(&wall, "wall", false, "fit to a meter at the wall")
	f.BoolVar(&published, "published", false, "write the published line of the Raspberry Pi 5")
	f.StringVar(&name, "sensor", sensor.Auto, "the board's sensor: auto, one that \"bimamba doctor\" lists, or a chip at I2C such as ina219:1:0x40:0.1")
	f.StringVar(&meter, "meter", "", "a program that prints watts")
	f.StringVar(&values, "values", "", "watts of the meter in each step, with commas between")
	f.Float64Var(&k.meterError, "meter-error", 0.02, "relative error of the meter, from its manual")
	f.DurationVar(&k.duration, "duration", 20*time.Second, "how long a step takes")
	f.IntVar(&k.threads, "threads", 0, "the most threads (default: all fast cores)")
	f.StringVarP(&out, "output", "o", "", "file for the result; one that is there is replaced")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	f.StringVar(&root, "root", "/", "look for the sensor's files below this folder")
	c.RunE = func(c *cobra.Command, args []string) error {
		r := &calibrateReport{Version: 1, Calibration: sensor.PublishedPi5}
		if wall {
			var err error
			if k.values, err = parseWatts(values); err != nil {
				return err
			}
			if r, err = k.run(c.Context(), os.DirFS(root), name, strings.Fields(meter)); err != nil {
				return err
			}
		}
		var err error
		if r.File, err = saveCalibration(&r.Calibration, out); err != nil {
			return err
		}
		if asJSON {
			return writeJSON(e.stdout, r)
		}
		return r.print(e.stdout)
	}
	return c
}

// calibrateReport is what was measured.
type calibrateReport struct {
	Version     int                `json:"version"`
	File        string             `json:"file"`
	Calibration sensor.Calibration `json:"calibration"`
	Pairs       []pairReport       `json:"pairs"`
}

type pairReport struct {
	Load     string  `json:"load"`
	Threads  float64 `json:"threads"` // that were busy
	Sensor   float64 `json:"sensor_watts"`
	Wall     float64 `json:"wall_watts"`
	Line     float64 `json:"line_watts"`
	Residual float64 `json:"residual_watts"` // Wall - Line
}

// parseWatts reads --values.
func parseWatts(list string) (values []float64, err error) {
	if list == "" {
		return nil, nil
	}
	for i, s := range strings.Split(list, ",") {
		v, err := watts(s)
		if err != nil {
			return nil, fmt.Errorf("--values: number %d: %w", i+1, err)
		}
		values = append(values, v)
	}
	return values, nil
}

// watts reads what a person types.
func watts(s string) (float64, error) {
	s = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(s), "W"))
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v > 0 && v <= 10_000) {
		return 0, fmt.Errorf("%.40q is no number of watts above 0", s)
	}
	return v, nil
}

// calibrator measures pairs.
type calibrator struct {
	*env
	duration   time.Duration
	threads    int
	meterError float64
	values     []float64 // nil: ask, or read the meter

	typed *bufio.Scanner
}

// step is one load.
type step struct {
	name    string
	threads int
	part    float64 // of the time in which they are busy
}

// steps are idle and each number of threads; at least three.
func steps(threads int) []step {
	list := []step{{"idle", 0, 0}}
	if threads == 1 {
		list = append(list, step{"half of 1 thread", 1, 0.5})
	}
	for n := 1; n <= threads; n++ {
		list = append(list, step{count(n, "thread"), n, 1})
	}
	return list
}

func (k *calibrator) run(ctx context.Context, root fs.FS, name string, meter []string) (*calibrateReport, error) {
	if k.threads == 0 {
		k.threads = pool.AllCores()
	}
	list := steps(k.threads)
	if k.values != nil && len(k.values) != len(list) {
		var names []string
		for _, s := range list {
			names = append(names, s.name)
		}
		return nil, fmt.Errorf("--values has %s, and there are %d steps: %s", count(len(k.values), "number"), len(list), strings.Join(names, ", "))
	}
	power, heat, err := sensor.Choose(root, name, sensor.Options{})
	if err != nil {
		return nil, fmt.Errorf("--sensor %s: %w", name, err)
	}
	if heat.Sensor != nil {
		heat.Sensor.Close()
	}
	if power.Sensor == nil {
		return nil, fmt.Errorf("there is no sensor of power to calibrate: %s", power.Reason)
	}
	defer power.Sensor.Close()
	info := power.Sensor.Info()
	if info.Quantities&sensor.Counter != 0 {
		return nil, fmt.Errorf("%s counts joules, and a line through watts is no use for it", info.Name)
	}
	k.typed = bufio.NewScanner(k.stdin)
	var wall *sensor.Recorder
	if len(meter) > 0 {
		m, err := sensor.OpenMeter(sensor.Command{Args: meter, Interval: max(k.duration/20, 50*time.Millisecond), Error: k.meterError})
		if err != nil {
			return nil, fmt.Errorf("--%w", err)
		}
		defer m.Close()
		wall = k.record(m)
		defer wall.Stop()
	}
	own := k.record(power.Sensor)
	defer own.Stop()

	r := &calibrateReport{Version: 1}
	var pairs []sensor.Pair
	for i, s := range list {
		fmt.Fprintf(k.stderr, "step %d of %d, %s: %v\n", i+1, len(list), s.name, k.duration)
		p, err := k.measure(ctx, i, s, own, wall)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		pairs = append(pairs, p)
		r.Pairs = append(r.Pairs, pairReport{Load: s.name, Threads: float64(s.threads) * s.part, Sensor: p.Sensor, Wall: p.Wall})
	}
	if r.Calibration, err = sensor.Fit(info.Name, pairs, k.meterError); err != nil {
		return nil, err
	}
	for i := range r.Pairs {
		p := &r.Pairs[i]
		p.Line = r.Calibration.Watts(p.Sensor)
		p.Residual = p.Wall - p.Line
	}
	return r, nil
}

// record samples s with room for a step.
func (k *calibrator) record(s sensor.Sensor) *sensor.Recorder {
	return sensor.Record(s, min(2*int(k.duration/max(s.Info().Interval, time.Millisecond)), 1<<16))
}

// measure is the pair of one step.
func (k *calibrator) measure(ctx context.Context, i int, s step, own, wall *sensor.Recorder) (sensor.Pair, error) {
	stop := load(s)
	defer stop()
	if err := sleep(ctx, k.duration/5); err != nil {
		return sensor.Pair{}, err
	}
	from := time.Now()
	if err := sleep(ctx, k.duration-k.duration/5); err != nil {
		return sensor.Pair{}, err
	}
	to := time.Now()
	p := sensor.Pair{}
	var err error
	if p.Sensor, err = mean(own, from, to); err != nil {
		return p, err
	}
	switch {
	case wall != nil:
		p.Wall, err = mean(wall, from, to)
	case k.values != nil:
		p.Wall = k.values[i]
	default:
		p.Wall, err = k.ask()
	}
	return p, err
}

// ask has a person type what the meter shows.
func (k *calibrator) ask() (float64, error) {
	for {
		fmt.Fprint(k.stderr, "watts at the wall: ")
		if !k.typed.Scan() {
			if err := k.typed.Err(); err != nil {
				return 0, err
			}
			return 0, errors.New("nothing was typed; --meter and --values are for meters that nobody reads")
		}
		v, err := watts(k.typed.Text())
		if err == nil {
			return v, nil
		}
		if !k.env.typed {
			return 0, err
		}
		fmt.Fprintln(k.stderr, err)
	}
}

// mean is the mean of a recorder's watts between two moments.
func mean(r *sensor.Recorder, from, to time.Time) (float64, error) {
	const fewest = 3
	var sum float64
	n := 0
	for _, s := range r.Samples(nil) {
		if s.Has&sensor.Power != 0 && !s.Time.Before(from) && !s.Time.After(to) {
			sum += s.Watts
			n++
		}
	}
	if n < fewest {
		err := fmt.Errorf("%s gave %s in the step, and %d are needed: make --duration longer", r.Info().Name, count(n, "reading"), fewest)
		if st := r.Stats(); st.LastError != nil {
			err = fmt.Errorf("%w (%w)", err, st.LastError)
		}
		return 0, err
	}
	return sum / float64(n), nil
}

// load keeps threads busy with a kernel until it is stopped.
func load(s step) (stop func()) {
	const slot = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	var threads sync.WaitGroup
	for range s.threads {
		threads.Go(func() {
			x := make([]float32, 4096) // in the first-level cache
			for start := time.Now(); ctx.Err() == nil; {
				for range 64 {
					neon.Dot(x, x)
				}
				if d := time.Since(start); s.part < 1 && d >= time.Duration(s.part*float64(slot)) {
					time.Sleep(slot - min(d, slot))
					start = time.Now()
				}
			}
		})
	}
	return func() {
		cancel()
		threads.Wait()
	}
}

// sleep waits, or returns why it does not.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// saveCalibration writes c to path, or to where it is by default, and says where that is.
func saveCalibration(c *sensor.Calibration, path string) (string, error) {
	if path == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return "", fmt.Errorf("there is no folder for the result: %w; name a file with --output", err)
		}
		path = filepath.Join(dir, "bimamba", "calibration.json")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
	}
	return path, c.Save(path)
}

func (r *calibrateReport) print(out io.Writer) error {
	c := &r.Calibration
	if r.Pairs != nil {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "load\tsensor\twall\tline\tresidual")
		for _, p := range r.Pairs {
			fmt.Fprintf(w, "%s\t%.3f W\t%.3f W\t%.3f W\t%+.3f W\n", p.Load, p.Sensor, p.Wall, p.Line, p.Residual)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "wall = %.4f x %s %+.4f W\nerror %.1f %%: %s\n", c.Slope, c.Sensor, c.Offset, 100*c.Error, c.Source)
	if r.Pairs != nil {
		fmt.Fprintf(out, "residuals of %.3f W, meter of %.1f %%; proven from %.2f to %.2f W of the sensor\n", c.Residual, 100*c.Meter, c.Low, c.High)
	}
	_, err := fmt.Fprintf(out, "written to %s, for bimambad --calibration and bimamba measure --calibration\n", r.File)
	return err
}
