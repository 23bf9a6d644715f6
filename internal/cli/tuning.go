package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"bimamba/boards/detect"
	"bimamba/boards/plan"
	"bimamba/boards/tuning"
	"bimamba/neon"
)

// userTuning is where a user who is not root keeps what was measured.
func userTuning() (string, error) {
	dir, err := os.UserConfigDir()
	return filepath.Join(dir, "bimamba", "tuning.json"), err
}

// saveTuning writes a tuning to path, or to where it is by default, and says where that is.
func saveTuning(t *tuning.File, path string) (string, error) {
	if path == "" {
		path = tuning.Path
		if os.Geteuid() != 0 {
			var err error
			if path, err = userTuning(); err != nil {
				return "", fmt.Errorf("--tune: there is no folder for the result: %w; name a file with --output", err)
			}
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
	}
	var b bytes.Buffer
	if err := writeJSON(&b, t); err != nil {
		return "", err
	}
	return path, writeFile(path, b.Bytes(), 0o644, true)
}

// findTuning is what was measured of this board, and where: in the user's own file, else in the machine's. The path is "" if there is neither; an error says that a
// file is damaged, or of another board or other kernels.
func findTuning() (t *tuning.File, path string, err error) {
	paths := []string{tuning.Path}
	if own, err := userTuning(); err == nil {
		paths = []string{own, tuning.Path}
	}
	for _, path := range paths {
		t, err := tuning.Read(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, path, err
		}
		kernels, _ := neon.Kernel()
		if err := t.Matches(kernels, detect.Model(os.DirFS("/"))); err != nil {
			return nil, path, fmt.Errorf("%s: %w", path, err)
		}
		return t, path, nil
	}
	return nil, "", nil
}

// applyTuning sets what package neon takes of what was measured of this board, and returns it, nil without one. One that cannot be used is told on stderr and left
// alone: nothing but speed depends on it.
func applyTuning(stderr io.Writer) *tuning.File {
	t, _, err := findTuning()
	if err != nil {
		fmt.Fprintf(stderr, "bimamba: what was tuned is left alone: %v\n", err)
	}
	if t != nil {
		t.Use()
	}
	return t
}

// tunedReport is the tuning that commands take.
type tunedReport struct {
	File  string `json:"file"`
	Error string `json:"error,omitempty"` // why they do not

	file *tuning.File
}

// tunedHere is nil if there is none.
func tunedHere() *tunedReport {
	t, path, err := findTuning()
	if path == "" {
		return nil
	}
	r := &tunedReport{File: path, file: t}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func (r *tunedReport) String() string {
	switch {
	case r == nil:
		return "no: bimamba doctor --tune measures which threads and prefetch distance suit this board"
	case r.file == nil:
		return "no: " + r.Error
	}
	s := fmt.Sprintf("%s: %d threads for prompts, %d for decoding", r.File, r.file.Threads, r.file.Decode)
	if p := r.file.Prefetch; p != nil {
		s += fmt.Sprintf(", prefetch %d bytes ahead", *p)
	}
	return s
}

// printTuning prints what was measured, and in words what it says.
func printTuning(line func(name, format string, a ...any), t *tuning.File, b *detect.Board, saved string) {
	for _, m := range t.Read {
		line("memory", "%s: %.2f GB/s (%.2f to %.2f)", count(m.Threads, "thread"), m.Rate/1e9, m.Low/1e9, m.High/1e9)
	}
	for _, p := range t.Products {
		line(p.Precision, "%s: %.1f GMAC/s from the cache, %.1f from memory, overlap %.0f %%", count(p.Threads, "thread"), p.Cached/1e9, p.Streamed/1e9, 100*p.Overlap)
	}
	for _, p := range t.Prefetches {
		line("prefetch", "%s, %d bytes ahead: %.1f GMAC/s from memory (%.1f to %.1f)", count(p.Threads, "thread"), p.Bytes, p.Rate/1e9, p.Low/1e9, p.High/1e9)
	}
	line("so", "%s", bandwidthWords(t))
	if s := cycleWords(t, b); s != "" {
		line("", "%s", s)
	}
	line("", "%s", prefetchWords(t))
	if s := overlapWords(t); s != "" {
		line("", "%s", s)
	}
	line("threads", "%d for prompts, %d for decoding; written to %s", t.Threads, t.Decode, saved)
	if saved != tuning.Path {
		line("", "for the daemon: sudo install -D -m 644 %s %s", saved, tuning.Path)
	}
	if !t.Steady {
		line("caution", "the rounds differ by a quarter and more: something else was running, so tune again")
	}
}

// bandwidthWords says how many threads memory is worth.
func bandwidthWords(t *tuning.File) string {
	best := t.Best()
	i := slices.IndexFunc(t.Read, func(m tuning.ReadRate) bool { return m.Threads == t.Decode })
	if i < 0 || best.Threads == t.Decode {
		return fmt.Sprintf("memory: with %s the most, %.2f GB/s", count(best.Threads, "thread"), best.Rate/1e9)
	}
	return fmt.Sprintf("memory: with %s %.0f %% of the bandwidth of %d", count(t.Decode, "thread"), 100*t.Read[i].Rate/best.Rate, best.Threads)
}

// cycleWords says what a core takes for 1-bit weights, TBL and loads from the cache, beside what a static model of the core says. "" if its clock is unknown.
func cycleWords(t *tuning.File, b *detect.Board) string {
	if len(b.Cores) == 0 || b.Cores[len(b.Cores)-1].MaxMHz == 0 {
		return ""
	}
	core := b.Cores[len(b.Cores)-1]
	mhz := core.MaxMHz
	if core.LimitMHz > 0 {
		mhz = min(mhz, core.LimitMHz)
	}
	cycles := map[string]float64{}
	for _, p := range t.Products {
		if p.Threads == 1 {
			cycles[p.Precision] = 1024 * float64(mhz) * 1e6 / p.Cached
		}
	}
	if cycles["lut16"] == 0 || cycles["lut8"] == 0 {
		return ""
	}
	s := fmt.Sprintf("kernels: 1024 weights in the cache take %.0f cycles in lut16, %.0f in lut8, if the clock was %d MHz", cycles["lut16"], cycles["lut8"], mhz)
	if known, err := plan.Find(t.Board); err == nil && t.Kernels == "neon" {
		lut16, lut8 := known.Cycles()
		s += fmt.Sprintf("; the static model of this core says %.0f and %.0f", lut16, lut8)
	}
	return s
}

// prefetchWords says which distance is best, and what prefetching is worth.
func prefetchWords(t *tuning.File) string {
	if t.Prefetch == nil {
		return fmt.Sprintf("prefetch: fixed in the kernels %s", t.Kernels)
	}
	width := 1
	if slices.ContainsFunc(t.Prefetches, func(p tuning.PrefetchRate) bool { return p.Threads == t.Decode }) {
		width = t.Decode
	}
	rates := map[int]float64{} // by distance
	for _, p := range t.Prefetches {
		if p.Threads == width {
			rates[p.Bytes] = p.Rate
		}
	}
	s := fmt.Sprintf("prefetch: %d bytes ahead, the default, as no other distance is faster beyond noise", *t.Prefetch)
	if *t.Prefetch != neon.DefaultPrefetch {
		s = fmt.Sprintf("prefetch: %d bytes ahead are faster than the default of %d beyond noise", *t.Prefetch, neon.DefaultPrefetch)
		if a, b := rates[*t.Prefetch], rates[neon.DefaultPrefetch]; a > 0 && b > 0 {
			s += fmt.Sprintf(", with %s by %.1f %%", count(width, "thread"), 100*(a/b-1))
		}
	}
	if a, b := rates[*t.Prefetch], rates[0]; *t.Prefetch > 0 && a > 0 && b > 0 {
		s += fmt.Sprintf("; without it, %.0f %% of that speed with %s", 100*b/a, count(width, "thread"))
	}
	return s
}

// overlapWords says how far reading weights hides behind multiplying by them, where decoding happens.
func overlapWords(t *tuning.File) string {
	for _, p := range t.Products {
		if p.Precision != "lut16" || p.Threads != t.Decode {
			continue
		}
		near := "nearer the roofline (a) than one after the other (b)"
		if p.Overlap < 0.5 {
			near = "nearer one after the other (b) than the roofline (a)"
		}
		return fmt.Sprintf("overlap: with %s %.0f %% of the shorter of reading and computing hides behind the longer, %s", count(p.Threads, "thread"), 100*p.Overlap, near)
	}
	return ""
}
