package measure

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bimamba/internal/atomicfile"
)

// Result is what of a report is published. It has no names of hosts or files, no serial numbers and no prompts.
type Result struct {
	Version int      `json:"version"`
	Date    string   `json:"date"` // 2006-01-02, by the board's clock
	Program Program  `json:"program"`
	Machine Machine  `json:"machine"` // hardware or virtual machine
	Board   Board    `json:"board"`
	Model   Model    `json:"model"`
	Options Options  `json:"options"`
	Power   *Source  `json:"power_sensor"` // null: there was none
	Summary *Summary `json:"summary"`
	Soak    *Drift   `json:"soak_drift"` // null: there was no soak, or it was too short
}

// Share is the part of a report that is published. It fails for what would mislead: an emulator, a measurement that is not complete, or runs that throttling changed.
func (r *Report) Share() (*Result, error) {
	switch {
	case r.Machine.Kind == Emulator:
		return nil, fmt.Errorf("--share: this ran in an emulator (%s): its speed and power are not published", r.Machine.Evidence)
	case !r.Complete:
		return nil, fmt.Errorf("--share: the measurement is incomplete: %s", r.Ended)
	case r.Options.Memory > 0:
		return nil, errors.New("--share: this was measured with --memory; the table is of models that are whole in memory")
	case r.Summary == nil:
		return nil, fmt.Errorf("--share: throttling changed between the runs; see to cooling and supply, and measure again: %s", strings.Join(r.Unsteady, "; "))
	case r.Summary.Decode == nil:
		return nil, fmt.Errorf("--share: there is no rate of decoding: %s", r.Summary.NoDecode)
	}
	out := &Result{
		Version: Version, Date: r.Time.Format(time.DateOnly), Program: r.Program, Machine: r.Machine, Board: r.Board, Model: r.Model, Options: r.Options, Summary: r.Summary,
	}
	out.Board.Missing = nil
	if out.Model.Unnamed {
		out.Model.Name = "unnamed " + out.Model.ID[:min(8, len(out.Model.ID))] // not its file's
	}
	if out.Options.Prompts.Source == "file" {
		out.Options.Prompts.SHA256 = "" // short prompts could be guessed from it
	}
	if p := r.Sensors.Power; p != nil {
		s := *p
		if strings.HasPrefix(s.Name, "meter ") {
			s.Name = "meter" // the rest is a path
		}
		out.Power = &s
	}
	if r.Soak != nil {
		out.Soak = r.Soak.Drift
	}
	return out, nil
}

// ReadResult reads a published result, as strictly as [Read].
func ReadResult(r io.Reader) (*Result, error) {
	res := &Result{}
	if err := decode(r, res); err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	if err := res.validate(); err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	return res, nil
}

func (r *Result) validate() error {
	c := &checker{}
	if _, err := time.Parse(time.DateOnly, r.Date); err != nil {
		c.fail("date", "%.20q is no date such as 2026-01-31", r.Date)
	}
	r.Machine.check(c)
	if r.Machine.Kind == Emulator {
		c.fail("machine.kind", "results of emulators are not published")
	}
	r.Board.check(c)
	r.Model.check(c)
	if r.Options.Prompts.SHA256 == "" {
		o := r.Options
		o.Prompts.SHA256 = strings.Repeat("0", 64)
		o.check(c)
	} else {
		r.Options.check(c)
	}
	if p := r.Power; p != nil {
		c.within("power_sensor.relative_error", p.Error, 0, 1)
		c.within("power_sensor.interval_s", p.Interval, 0, anyLong)
	}
	if d := r.Soak; d != nil {
		d.check(c, "soak_drift")
	}
	if r.Options.Memory > 0 {
		c.fail("options.memory_bytes", "results with a budget of memory are not published")
	}
	switch {
	case r.Summary == nil:
		c.fail("summary", "it is not there")
	case r.Summary.Decode == nil:
		c.fail("summary.decode_tokens_per_s", "results without it are not published")
	default:
		r.Summary.check(c, "summary")
	}
	return c.err
}

// Save writes the result to dir under a name that is free: BOARD-DATE.json, BOARD-DATE-2.json, ... It never replaces a file, and returns its path.
func (r *Result) Save(dir string) (string, error) {
	if err := r.validate(); err != nil {
		return "", fmt.Errorf("result: %w", err)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name := r.Board.ID + "-" + r.Date
	for i := 1; i < 1000; i++ {
		path := filepath.Join(dir, name+".json")
		if i > 1 {
			path = filepath.Join(dir, fmt.Sprintf("%s-%d.json", name, i))
		}
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		f, err := atomicfile.Create(path, atomicfile.Options{})
		if err != nil {
			return "", err
		}
		defer f.Close()
		if _, err := f.Write(b.Bytes()); err != nil {
			return "", err
		}
		return path, f.Commit()
	}
	return "", fmt.Errorf("%s: a thousand results of this board and day are there", dir)
}

// ReadResults reads all results of a folder, the oldest first.
func ReadResults(dir fs.FS) (map[string]*Result, error) {
	names, err := fs.Glob(dir, "*.json")
	if err != nil {
		return nil, err
	}
	out := map[string]*Result{}
	for _, name := range names {
		f, err := dir.Open(name)
		if err != nil {
			return nil, err
		}
		r, err := ReadResult(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = r
	}
	return out, nil
}

// newest is the names of results, the newest first.
func newest(results map[string]*Result) []string {
	var names []string
	for n := range results {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int {
		if c := strings.Compare(results[b].Date, results[a].Date); c != 0 {
			return c
		}
		return strings.Compare(b, a)
	})
	return names
}
