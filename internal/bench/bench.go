// Package bench measures how fast a model runs, and holds that against the speed of memory.
package bench

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"

	"bimamba/edge/model"
	"bimamba/memmap"
	"bimamba/neon"
	"bimamba/neon/pool"
)

// Options say what to run.
type Options struct {
	Prefill int // tokens
	Decode  int // tokens
	Runs    int // how often; the report gives medians
}

// Rate is a speed over some runs.
type Rate struct {
	Tokens    int     `json:"tokens"`
	PerSecond float64 `json:"tokens_per_s"` // the median run's
	Min       float64 `json:"min"`
	Max       float64 `json:"max"`
}

// Decode is the speed of decoding, and how long the slowest tokens took.
type Decode struct {
	Rate
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
}

// Bytes is what a token moves between memory and processor, reads and writes.
type Bytes struct {
	Weights int64 `json:"weights"`
	Head    int64 `json:"head"`
	State   int64 `json:"state"`
	Conv    int64 `json:"conv"`
	Total   int64 `json:"total"`
}

// Storage is what is read of a model that is larger than its memory.
type Storage struct {
	Layers   int     `json:"layers"`          // that are read for each token
	Bytes    int64   `json:"bytes_per_token"` // theirs
	Buffered bool    `json:"buffered"`        // through the page cache, as the file system has no direct reads
	Unlocked string  `json:"unlocked,omitempty"`
	Rate     float64 `json:"bytes_per_s"` // reading them without computing, between the runs: the median
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	Fraction float64 `json:"fraction"` // of Rate that decoding reaches
}

// RSS is the memory in use behind the last run. Total is the kernel's word for it, the parts are the process's own.
type RSS struct {
	Mapped int64 `json:"mapped"` // file pages: the model and the program
	State  int64 `json:"state"`  // the arena: states and workspace
	Heap   int64 `json:"heap"`   // of the Go runtime, stacks included
	Total  int64 `json:"total"`
	Peak   int64 `json:"peak"` // since the measurement began
}

// Report is what was measured. A rate of memory that means nothing is nil.
type Report struct {
	Model     string   `json:"model"`
	Kernel    string   `json:"kernel"`
	CPU       string   `json:"cpu"`
	Threads   int      `json:"threads"` // that decode
	All       int      `json:"prefill_threads"`
	Precision string   `json:"precision"`
	State     string   `json:"state"`
	Head      string   `json:"head"`
	Runs      int      `json:"runs"`
	Prefill   Rate     `json:"prefill"`
	Decode    Decode   `json:"decode"`
	Bytes     Bytes    `json:"bytes_per_token"`
	Read      float64  `json:"read_bandwidth_bytes_per_s"` // the same bytes, the same threads, between the runs; the fastest pass
	Roofline  *float64 `json:"roofline_fraction"`          // of Read that decoding moves; nil where the model fits the cache or waits for storage
	InCache   bool     `json:"cache_resident"`
	GMACs     float64  `json:"gmac_per_s"` // of decoding, multiplications by weights
	Storage   *Storage `json:"storage,omitempty"`
	Allocs    float64  `json:"allocs_per_token"`
	RSS       RSS      `json:"rss_bytes"`
}

// Run measures session 0 of m. step, if not nil, is told which part of how many is done.
func Run(ctx context.Context, m *model.Model, opt Options, step func(done, total int)) (*Report, error) {
	if opt.Prefill < 1 || opt.Decode < 1 || opt.Runs < 1 {
		return nil, errors.New("a measurement has at least one run of one token of each kind")
	}
	if step == nil {
		step = func(int, int) {}
	}
	kernel, err := neon.Kernel()
	if err != nil {
		return nil, err
	}
	mo, fp, man := m.Options(), m.Footprint(), m.Blob().Manifest()
	traffic := fp.Traffic()
	r := &Report{
		Model: man.Name, Kernel: kernel, CPU: cpuid.CPU.BrandName, Threads: mo.Decode, All: mo.Threads, Precision: mo.Precision.String(), State: mo.State.String(), Head: head(man), Runs: opt.Runs,
		Bytes: Bytes{traffic.Weights, traffic.Head, traffic.State, traffic.Conv, traffic.Total()},
	}
	s := m.Session(0)
	vocab := int(m.Hyper().VocabSize)
	ids := make([]uint32, opt.Prefill+opt.Decode)
	for i := range ids {
		ids[i] = uint32((i*7919 + 13) % vocab)
	}
	logits := make([]float32, vocab)
	times := make([]time.Duration, 0, opt.Decode*opt.Runs)
	var prefill, decode []float64
	var before, after runtime.MemStats
	var mallocs uint64
	var stored []float64
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // forget the peak of what came before (proc(5)); where that is refused, it counts
	for run := range opt.Runs + 1 {                       // the first one reads the file and warms up
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		step(run, opt.Runs+1)
		s.Reset()
		start := time.Now()
		if err := s.Prefill(ctx, ids[:opt.Prefill], logits); err != nil {
			return nil, err
		}
		prefilled := time.Since(start)
		runtime.ReadMemStats(&before)
		var decoded time.Duration
		for _, id := range ids[opt.Prefill:] {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			start := time.Now()
			if err := s.Step(id, logits); err != nil {
				return nil, err
			}
			d := time.Since(start)
			decoded += d
			if run > 0 {
				times = append(times, d)
			}
		}
		runtime.ReadMemStats(&after)
		read, err := m.ReadRate(3)
		if err != nil {
			return nil, err
		}
		if run == 0 {
			continue
		}
		r.Read = max(r.Read, read)
		if m.Storage().Layers > 0 {
			rate, err := m.StorageRate(3)
			if err != nil {
				return nil, err
			}
			stored = append(stored, rate)
		}
		mallocs += after.Mallocs - before.Mallocs
		prefill = append(prefill, float64(opt.Prefill)/prefilled.Seconds())
		decode = append(decode, float64(opt.Decode)/decoded.Seconds())
	}
	step(opt.Runs+1, opt.Runs+1)
	r.Prefill = rate(opt.Prefill, prefill)
	r.Decode.Rate = rate(opt.Decode, decode)
	slices.Sort(times)
	r.Decode.P50, r.Decode.P95 = millis(times[len(times)/2]), millis(times[min(len(times)-1, len(times)*95/100)])
	r.Allocs = float64(mallocs) / float64(len(times))
	r.GMACs = float64(macs(man)) * r.Decode.PerSecond / 1e9
	r.RSS = rss(fp.Arena(), &after)
	if len(stored) > 0 { // memory is not what it waits for
		st, speed := m.Storage(), rate(0, stored)
		r.Storage = &Storage{
			Layers: st.Layers, Bytes: st.Bytes, Buffered: st.Buffered, Unlocked: st.Unlocked, Rate: speed.PerSecond, Low: speed.Min, High: speed.Max,
		}
		r.Storage.Fraction = r.Decode.PerSecond * float64(st.Bytes) / r.Storage.Rate
		return r, nil
	}
	if r.InCache, err = inCache(r); err != nil {
		return nil, err
	}
	if !r.InCache {
		f := float64(r.Bytes.Total) * r.Decode.PerSecond / r.Read
		r.Roofline = &f
	}
	return r, nil
}

func millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// rate summarises the runs' speeds.
func rate(tokens int, perSecond []float64) Rate {
	slices.Sort(perSecond)
	n := len(perSecond)
	return Rate{Tokens: tokens, PerSecond: (perSecond[(n-1)/2] + perSecond[n/2]) / 2, Min: perSecond[0], Max: perSecond[n-1]}
}

// head is the element type of the head.
func head(m *memmap.Manifest) string {
	name := "lm_head.weight"
	if m.Model.TieEmbeddings {
		name = "embedding.weight"
	}
	for i := range m.Sections {
		if t, ok := m.Sections[i].Tensor(name); ok && m.Sections[i].Name == "io" {
			return string(t.DType)
		}
	}
	return ""
}

// macs is how many multiplications by weights of matrices a token takes.
func macs(m *memmap.Manifest) (n uint64) {
	for i := range m.Sections {
		for _, t := range m.Sections[i].Tensors {
			switch t.Name {
			case "in_proj.weight", "out_proj.weight":
				n += t.Shape[0] * t.Shape[1]
			}
		}
	}
	return n + uint64(m.Model.VocabSize)*uint64(m.Model.DModel)
}

// inCache tells whether what a token moves stays in the processor's caches: it fits the last one or, as virtual machines hide that, is read
// much faster than memory is.
func inCache(r *Report) (bool, error) {
	if r.Bytes.Total <= max(pool.LastCache(os.DirFS("/sys/devices/system/cpu")), int64(cpuid.CPU.Cache.L3)) {
		return true, nil
	}
	if r.Bytes.Total >= pool.ProbeSize {
		return false, nil
	}
	memory, err := pool.MemoryRate(r.Threads)
	return r.Read > 1.5*memory, err
}

// rss reads /proc/self/status (proc(5)).
func rss(arena int64, mem *runtime.MemStats) RSS {
	r := RSS{State: arena, Heap: int64(mem.HeapInuse + mem.StackInuse)}
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return r
	}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			continue
		}
		switch key {
		case "RssFile":
			r.Mapped = n << 10
		case "VmRSS":
			r.Total = n << 10
		case "VmHWM":
			r.Peak = n << 10
		}
	}
	return r
}
