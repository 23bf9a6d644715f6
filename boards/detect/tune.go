package detect

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"bimamba/boards/tuning"
	"bimamba/neon"
	"bimamba/neon/layout"
	"bimamba/neon/pool"
)

// A tuner says how long to measure. At the speeds that are modelled for a Pi Zero 2 W, that of Tune takes about 45 seconds there.
type tuner struct {
	rounds   int           // of reading and of products, of which the median counts
	prefetch int           // rounds of prefetching: differences are small
	short    time.Duration // what is shorter is repeated until it can be timed
	memory   int           // bytes of weights that no cache holds
}

const (
	tuneCols   = 1536     // columns of the products, as in a model of 780M parameters
	tuneCached = 96 << 10 // bytes of weights that all threads have in their cache; a Cortex-A53 shares 512 KiB, the tables take as much again
	tuneGain   = 1.06     // by how much another thread has to read faster to be worth it, as in package pool
	tuneWorth  = 1.01     // by how much another distance has to be faster
)

// tuneDistances are the distances that are tried, neon.DefaultPrefetch among them.
var tuneDistances = []int{0, 256, 512, 1024, 2048, 4096}

// tuneForms are the precisions whose products are measured.
var tuneForms = []struct {
	form neon.Form
	name string
}{{neon.LUT16, "lut16"}, {neon.LUT8, "lut8"}}

// Tune measures memory and kernels with 1 thread up to all fast cores. Nothing else should run. progress is called with steps done and in all.
//
// The prefetch distance comes first, and the rest is measured with the best: that which decodes fastest, with as many threads as it takes to read memory at its
// full speed. The caller's distance is set again at the end.
func Tune(ctx context.Context, board *Board, progress func(done, total int)) (*tuning.File, error) {
	t := tuner{rounds: 5, prefetch: 16, short: 50 * time.Millisecond, memory: pool.ProbeSize}
	return t.run(ctx, board, progress)
}

func (t *tuner) run(ctx context.Context, board *Board, progress func(done, total int)) (*tuning.File, error) {
	kernels, err := neon.Kernel()
	if err != nil {
		return nil, err
	}
	f := &tuning.File{
		Version: tuning.Version, Board: board.ID, Model: board.Model, Kernels: kernels, Time: time.Now().UTC().Truncate(time.Second), Threads: pool.AllCores(),
		Prefetches: []tuning.PrefetchRate{},
	}
	before, taken := neon.Prefetch()
	defer neon.SetPrefetch(before)
	var widths []int // of the prefetch distance
	decode := 1
	if taken {
		decode = pool.Auto(f.Threads, int64(t.memory))
		widths = slices.Compact([]int{1, decode, f.Threads})
	}
	total, done := len(widths)+f.Threads*(1+len(tuneForms)), 0
	step := func() error {
		progress(done, total)
		done++
		return ctx.Err()
	}

	mem, err := unix.Mmap(-1, 0, t.memory, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("tuning: %d bytes of memory: %w", t.memory, err)
	}
	defer unix.Munmap(mem)
	for i := range mem { // which bits it holds does not matter to the time
		mem[i] = byte(i * 0x9d)
	}

	best := neon.DefaultPrefetch
	for _, n := range widths {
		if err := step(); err != nil {
			return nil, err
		}
		rates, err := t.distances(ctx, n, mem)
		if err != nil {
			return nil, err
		}
		for i, bytes := range tuneDistances {
			low, median, high := spread(rates[i])
			f.Prefetches = append(f.Prefetches, tuning.PrefetchRate{Bytes: bytes, Threads: n, Rate: median, Low: low, High: high})
		}
		if n == decode {
			best = bestDistance(rates)
		}
	}
	if taken {
		f.Prefetch = &best
		neon.SetPrefetch(best)
	}

	for n := 1; n <= f.Threads; n++ {
		if err := step(); err != nil {
			return nil, err
		}
		var rates []float64
		for range t.rounds {
			r, err := pool.MemoryRate(n)
			if err != nil {
				return nil, fmt.Errorf("tuning: %w", err)
			}
			rates = append(rates, r)
		}
		low, median, high := spread(rates)
		f.Read = append(f.Read, tuning.ReadRate{Threads: n, Rate: median, Low: low, High: high})
	}
	f.Decode, f.Steady = saturating(f.Read), steady(f.Read)

	for _, form := range tuneForms {
		for n := 1; n <= f.Threads; n++ {
			if err := step(); err != nil {
				return nil, err
			}
			p := tuning.ProductRate{Precision: form.name, Threads: n}
			p.Cached = t.rate(form.form, n, mem[:min(tuneCached, len(mem))])
			p.Streamed = t.rate(form.form, n, mem)
			p.Overlap = overlap(f.Read[n-1].Rate, p.Cached, p.Streamed)
			f.Products = append(f.Products, p)
		}
	}
	return f, nil
}

// spread is the least, the median and the largest of some values.
func spread(v []float64) (low, median, high float64) {
	s := slices.Sorted(slices.Values(v))
	return s[0], s[len(s)/2], s[len(s)-1]
}

// saturating is the fewest threads that more of them do not outdo.
func saturating(read []tuning.ReadRate) int {
	for i := 1; i < len(read); i++ {
		if read[i].Rate < tuneGain*read[i-1].Rate {
			return read[i-1].Threads
		}
	}
	return read[len(read)-1].Threads
}

// steady tells whether the rounds agree.
func steady(read []tuning.ReadRate) bool {
	for _, r := range read {
		if r.Low < 0.75*r.High {
			return false
		}
	}
	return true
}

// overlap compares the time of a weight that comes from memory with the times of reading it, an eighth of a byte, and of computing alone.
func overlap(read, cached, streamed float64) float64 {
	memory, compute, both := 1/(8*read), 1/cached, 1/streamed
	return min(1, max(0, (memory+compute-both)/min(memory, compute)))
}

// distances is how fast threads multiply the weights in mem with each of tuneDistances, round by round: within a round all of them see the same machine.
func (t *tuner) distances(ctx context.Context, threads int, mem []byte) ([][]float64, error) {
	p := newProduct(neon.LUT16, threads, mem)
	defer p.pool.Close()
	times := p.repeat(t.short)
	rates := make([][]float64, len(tuneDistances))
	for round := range t.prefetch {
		for i := range tuneDistances {
			i := (i + round) % len(tuneDistances) // no distance always follows the same other
			neon.SetPrefetch(tuneDistances[i])
			rates[i] = append(rates[i], p.rate(times, p.pass(times)))
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return rates, nil
}

// bestDistance is the fastest of the distances that are faster than the default beyond noise: in seven of eight rounds, which by chance one in some hundreds is,
// and by tuneWorth in the median. If there is none, it is the default.
func bestDistance(rates [][]float64) int {
	usual := rates[slices.Index(tuneDistances, neon.DefaultPrefetch)]
	best, gain := neon.DefaultPrefetch, tuneWorth
	for i, bytes := range tuneDistances {
		ratios := make([]float64, len(usual))
		for round, r := range rates[i] {
			ratios[round] = r / usual[round]
		}
		slices.Sort(ratios)
		if median := ratios[len(ratios)/2]; ratios[len(ratios)/8] > 1 && median > gain {
			best, gain = bytes, median
		}
	}
	return best
}

// rate is the median rate of a product, in weights a second.
func (t *tuner) rate(form neon.Form, threads int, w []byte) float64 {
	p := newProduct(form, threads, w)
	defer p.pool.Close()
	times := p.repeat(t.short)
	var rates []float64
	for range t.rounds {
		rates = append(rates, p.rate(times, p.pass(times)))
	}
	_, median, _ := spread(rates)
	return median
}

// product is that of one vector and a matrix of 1-bit weights, by some threads.
type product struct {
	l     layout.Bits
	w     []byte
	dst   []float32
	lut   *neon.LUT
	pool  *pool.Pool
	grain int
}

// newProduct takes as much of w as makes whole tiles. The pool is to be closed.
func newProduct(form neon.Form, threads int, w []byte) *product {
	l := layout.Bits{Cols: tuneCols, Kb: layout.BlockWidth(tuneCols)}
	l.Rows = len(w) / (layout.TileRows * tuneCols / 8) * layout.TileRows
	x := make([]float32, l.Cols)
	for i := range x {
		x[i] = float32(i%17) - 8
	}
	lut := neon.NewLUT(aligned(neon.LUTSize(tuneCols, form)), tuneCols, form)
	lut.Build(x, l)
	return &product{l, w, make([]float32, l.Rows), lut, pool.New(threads), max(neon.MinTiles(), l.Tiles()/(8*threads))}
}

// pass multiplies so many times.
func (p *product) pass(times int) time.Duration {
	start := time.Now()
	p.pool.Run(func(w *pool.Worker) error {
		for range times {
			w.For(p.l.Tiles(), p.grain, func(lo, hi int) { neon.BitMatVec(p.dst, p.w, p.l, p.lut, lo, hi) })
		}
		return nil
	})
	runtime.KeepAlive(p.dst)
	return time.Since(start)
}

// repeat is how many times take at least that long.
func (p *product) repeat(short time.Duration) int {
	times := 1
	for p.pass(times) < short {
		times *= 2
	}
	return times
}

// rate is weights a second.
func (p *product) rate(times int, took time.Duration) float64 {
	return float64(times) * float64(p.l.Rows) * float64(p.l.Cols) / took.Seconds()
}

// aligned is n bytes on a cache line.
func aligned(n int64) []byte {
	b := make([]byte, n+63)
	return b[-uintptr(unsafe.Pointer(unsafe.SliceData(b)))&63:][:n]
}
