package plan

import (
	"fmt"
	"sort"
	"strings"

	"bimamba/boards/tuning"
	"bimamba/edge/model"
	"bimamba/memmap"
)

// Options is how the daemon would serve the model. Threads and Decode of Model are not looked at: all of a board's cores are taken to work.
type Options struct {
	Model model.Options
	Head  memmap.DType // of embedding and head, if they had been converted so: memmap.I8, I4 or F16; "" leaves them
	Tuned *tuning.File // what was measured on a board; nil: what others have published

	Storage float64 // bytes a second that were measured of the storage; 0: what its bus allows for
}

// Plan is what a model would be on a board.
type Plan struct {
	Board       string `json:"board"`
	Model       string `json:"model"`
	Sessions    int    `json:"sessions"`
	Checkpoints int    `json:"checkpoints"`
	Head        string `json:"head"`
	State       string `json:"state"`
	Precision   string `json:"precision"`

	Fits      bool   `json:"fits"`
	Resident  int64  `json:"resident_bytes"`  // the sum of Parts: the daemon's peak once all states are in use
	Mapped    int64  `json:"mapped_bytes"`    // the file, of which the kernel can drop pages and read them again
	Streamed  int64  `json:"streamed_bytes"`  // of the file, not mapped but read from storage for each token
	Available int64  `json:"available_bytes"` // what firmware and system leave of the board's RAM
	Parts     Parts  `json:"parts"`
	Memory    Memory `json:"memory"`
	Basis     string `json:"bytes_basis"` // which bytes were computed, and which were measured

	Decode  *Rate  `json:"tokens_per_s"`         // null: not modelled
	Prefill *Rate  `json:"prefill_tokens_per_s"` // of long prompts
	Storage *Rate  `json:"storage_bytes_per_s"`  // null: nothing is read from it
	Reason  string `json:"reason"`               // why it fits or does not, and then what would
}

// Rate is a range of tokens or bytes per second.
type Rate struct {
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	Basis  string  `json:"basis"` // "modelled": no rate of a plan was measured as such
	Source string  `json:"source"`
}

// New plans a model of a manifest on a board. It fails if the tuning is of a board that Find does not know.
func New(b Board, m *memmap.Manifest, opt Options) (*Plan, error) {
	if err := checkTuning(opt.Tuned); err != nil {
		return nil, err
	}
	if opt.Head != "" && opt.Head != headType(m) {
		var err error
		if m, err = withHead(m, opt.Head); err != nil {
			return nil, fmt.Errorf("plan of %s with another head: %w", m.Name, err)
		}
	}
	o := opt.Model
	o.Sessions, o.Prefixes = max(o.Sessions, 1), max(o.Prefixes, 0)
	f := model.NewFootprint(m, o)
	parts := newParts(m, &f)
	p := &Plan{
		Board: b.Name, Model: m.Name, Sessions: o.Sessions, Checkpoints: o.Prefixes, Head: headName(headType(m)), State: o.State.String(), Precision: o.Precision.String(),
		Resident: parts.Total(), Mapped: f.Mapped(), Streamed: f.Streamed, Available: b.Memory.Available(), Parts: parts, Memory: b.Memory,
		Basis: "computed from the model's shape; heap and program measured on x86-64; memory measured on the board unless its source says otherwise",
	}
	short := o.Memory > 0 && f.Within(o.Memory) != nil
	p.Fits = p.Resident <= p.Available && !short
	if !short {
		if f.Streamed > 0 {
			p.Storage = b.storageRate(opt.Storage)
		}
		p.Decode, p.Prefill = rates(&b, m, &f, &o, opt.Tuned, p.Storage)
	}
	if p.Fits {
		p.Reason = fmt.Sprintf("%s of the %s that the system leaves", megabytes(p.Resident), megabytes(p.Available))
		if r := p.Storage; r != nil {
			p.Reason += fmt.Sprintf(", and %s are read from storage for each token, which takes %.2g to %.2g s; with %s it would be a token a second",
				megabytes(f.Streamed), float64(f.Streamed)/r.High, float64(f.Streamed)/r.Low, megabytes(int64(r.Low)))
		}
		return p, nil
	}
	p.Reason = fmt.Sprintf("%s, and the system leaves %s", megabytes(p.Resident), megabytes(p.Available))
	if short {
		p.Reason = fmt.Sprintf("%s at the least, and %s are left to the model", megabytes(f.Total()), megabytes(o.Memory))
	}
	near, err := nearest(p.Available, m, o)
	if err != nil {
		return nil, err
	}
	p.Reason += "; " + near
	return p, nil
}

// nearest says what would fit into some bytes instead, the least change first.
func nearest(available int64, m *memmap.Manifest, opt model.Options) (string, error) {
	type change struct {
		m     *memmap.Manifest
		opt   model.Options
		flags []string
	}
	// Fewer states cost time to read prompts again. A state of binary16, a head of 4 bits and one session follow, then a smaller model.
	steps := func(c change) ([]change, error) {
		out := []change{c}
		if c.opt.State != model.StateF16 {
			c.opt.State, c.flags = model.StateF16, append(c.flags[:len(c.flags):len(c.flags)], "--state f16")
			out = append(out, c)
		}
		if headType(c.m) != memmap.I4 {
			m, err := withHead(c.m, memmap.I4)
			if err != nil {
				return nil, err
			}
			c.m, c.flags = m, append(c.flags[:len(c.flags):len(c.flags)], "--head int4")
			out = append(out, c)
		}
		if c.opt.Sessions > 1 {
			c.opt.Sessions, c.flags = 1, append(c.flags[:len(c.flags):len(c.flags)], "--sessions 1")
			out = append(out, c)
		}
		return out, nil
	}
	all, err := steps(change{m, opt, nil})
	if err != nil {
		return "", err
	}
	file := model.NewFootprint(m, opt)
	for i := range shapes {
		head := headType(m)
		if head != memmap.I4 && head != memmap.F16 {
			head = memmap.I8
		}
		small, err := Shape(shapes[i].size, head)
		if err != nil {
			return "", err
		}
		if f := model.NewFootprint(small, opt); f.File >= file.File {
			continue
		}
		more, err := steps(change{small, opt, []string{"--size " + shapes[i].size}})
		if err != nil {
			return "", err
		}
		all = append(all, more...)
	}
	for _, c := range all {
		n, ok := checkpoints(available, c.m, c.opt)
		if !ok {
			continue
		}
		if n < opt.Prefixes {
			c.flags = append(c.flags[:len(c.flags):len(c.flags)], fmt.Sprintf("--checkpoints %d", n))
		}
		return "what would fit: " + strings.Join(c.flags, " "), nil
	}
	return "no model that we know would fit", nil
}

// checkpoints is how many of the checkpoints fit, if all the rest does.
func checkpoints(available int64, m *memmap.Manifest, opt model.Options) (int, bool) {
	fits := func(n int) bool {
		opt.Prefixes = n
		f := model.NewFootprint(m, opt)
		parts := newParts(m, &f)
		return parts.Total() <= available && (opt.Memory == 0 || f.Within(opt.Memory) == nil)
	}
	n := sort.Search(opt.Prefixes+1, func(n int) bool { return !fits(n) }) // the first that does not
	return n - 1, n > 0
}

// rates models speed. At the best, memory and storage are as fast as the fastest measurement and computing happens while they are read; at the worst they
// are as slow as the slowest, and computing comes on top. storage is nil if nothing is read from it.
func rates(b *Board, m *memmap.Manifest, f *model.Footprint, opt *model.Options, tuned *tuning.File, storage *Rate) (decode, prefill *Rate) {
	w := newWork(m)
	slow, fast, source := b.bandwidths(tuned)
	passes := 1. // over the storage, for a token
	span := func(bytes, seconds float64) *Rate {
		low, high := bytes/slow+seconds, max(bytes/fast, seconds)
		if storage != nil {
			streamed := float64(f.Streamed) * passes
			low, high = low+streamed/storage.Low, max(high, streamed/storage.High)
		}
		return &Rate{Low: 1 / low, High: 1 / high, Basis: "modelled", Source: source}
	}
	if storage != nil {
		source = "storage " + storage.Basis + ": " + storage.Source + "; " + source
	}
	seconds, ok := w.seconds(b, opt, true)
	if !ok {
		return nil, nil
	}
	t := f.Traffic()
	decode = span(float64(t.Total()), seconds)
	// A batch of a prompt's tokens shares a pass over the weights and the states; only the last one needs the head.
	batch := float64(f.Batch)
	passes = 1 / batch
	seconds, _ = w.seconds(b, opt, false)
	return decode, span(float64(t.Weights+t.State)/batch+float64(t.Conv), seconds)
}

// bandwidths is the slowest and the fastest measurement of a board's memory in bytes a second, and what the model of its speed rests upon.
func (b *Board) bandwidths(tuned *tuning.File) (slow, fast float64, source string) {
	cycles := fmt.Sprintf("cycles of %d %s cores at %.2f GHz modelled by llvm-mca 22, without sampling and the threads' waiting for one another",
		b.cores, b.core.name, b.hertz/1e9)
	if b.core.note != "" {
		cycles += "; " + b.core.note
	}
	if measures(tuned, b) {
		best := tuned.Best()
		return best.Rate, best.Rate, fmt.Sprintf("bandwidth measured: %.2f GB/s with %d threads (doctor --tune); %s", best.Rate/1e9, best.Threads, cycles)
	}
	var text []string
	for i, w := range b.bandwidth {
		if i == 0 || w.rate < slow {
			slow = w.rate
		}
		fast = max(fast, w.rate)
		text = append(text, fmt.Sprintf("%s %.2f GB/s (%s)", w.what, w.rate/1e9, w.source))
	}
	return slow, fast, "bandwidth published, one thread: " + strings.Join(text, ", ") + "; " + cycles
}

// headName is a head's type as converters call it.
func headName(d memmap.DType) string {
	switch d {
	case memmap.I8:
		return "int8"
	case memmap.I4:
		return "int4"
	}
	return string(d)
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
