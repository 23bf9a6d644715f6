package detect

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"bimamba/neon"
	"bimamba/neon/layout"
	"bimamba/neon/pool"
)

// Tuning is what was measured of a board's memory and kernels. In JSON it is the file that `bimamba plan --tuned` reads.
type Tuning struct {
	Version int       `json:"version"` // 1
	Board   string    `json:"board"`   // a board that plans know, or ""
	Model   string    `json:"model"`   // the board's own name
	Kernels string    `json:"kernels"` // the set in use
	Time    time.Time `json:"time"`    // by the board's clock, which may be wrong

	Steady   bool          `json:"steady"`         // no round of Read took a third longer than the fastest; else something else was running
	Read     []ReadRate    `json:"read"`           // by threads, from 1 on
	Products []ProductRate `json:"products"`       // of 1-bit weights, by precision and threads
	Threads  int           `json:"threads"`        // to read prompts with: all fast cores
	Decode   int           `json:"decode_threads"` // to decode with: the fewest that read memory at its full speed
}

// ReadRate is how fast threads read memory together.
type ReadRate struct {
	Threads int     `json:"threads"`
	Rate    float64 `json:"bytes_per_s"` // the median
	Low     float64 `json:"low"`         // the slowest round
	High    float64 `json:"high"`        // the fastest
}

// ProductRate is how fast threads multiply 1-bit weights by one vector, in weights a second.
//
// Overlap is in which part the shorter of the two, reading the weights and computing, hides behind the longer: 1 is the roofline, 0 is one after the other.
type ProductRate struct {
	Precision string  `json:"precision"` // lut16 or lut8
	Threads   int     `json:"threads"`
	Cached    float64 `json:"cached_weights_per_s"`   // weights that stay in the cache
	Streamed  float64 `json:"streamed_weights_per_s"` // weights that come from memory
	Overlap   float64 `json:"overlap"`
}

const (
	tuneRounds = 5        // of which the median counts
	tuneCols   = 1536     // columns of the products, as in a model of 780M parameters
	tuneCached = 96 << 10 // bytes of weights that all threads have in their cache; a Cortex-A53 shares 512 KiB, the tables take as much again
	tuneShort  = 50 * time.Millisecond
	tuneGain   = 1.06 // by how much another thread has to read faster to be worth it, as in package pool
)

// Tune measures memory and kernels with 1 thread up to all fast cores, for some seconds each. Nothing else should run. progress is called with steps done and in all.
func Tune(ctx context.Context, board *Board, progress func(done, total int)) (*Tuning, error) {
	kernels, err := neon.Kernel()
	if err != nil {
		return nil, err
	}
	t := &Tuning{Version: 1, Board: board.ID, Model: board.Model, Kernels: kernels, Time: time.Now().UTC().Truncate(time.Second), Threads: pool.AllCores()}
	total := 3 * t.Threads
	done := 0
	step := func() error {
		progress(done, total)
		done++
		return ctx.Err()
	}
	for n := 1; n <= t.Threads; n++ {
		if err := step(); err != nil {
			return nil, err
		}
		var rates []float64
		for range tuneRounds {
			r, err := pool.MemoryRate(n)
			if err != nil {
				return nil, fmt.Errorf("tuning: %w", err)
			}
			rates = append(rates, r)
		}
		slices.Sort(rates)
		t.Read = append(t.Read, ReadRate{n, rates[len(rates)/2], rates[0], rates[len(rates)-1]})
	}
	t.Decode, t.Steady = saturating(t.Read), steady(t.Read)

	mem, err := unix.Mmap(-1, 0, pool.ProbeSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("tuning: %d bytes of memory: %w", pool.ProbeSize, err)
	}
	defer unix.Munmap(mem)
	for i := range mem { // which bits it holds does not matter to the time
		mem[i] = byte(i * 0x9d)
	}
	for _, f := range []struct {
		form neon.Form
		name string
	}{{neon.LUT16, "lut16"}, {neon.LUT8, "lut8"}} {
		for n := 1; n <= t.Threads; n++ {
			if err := step(); err != nil {
				return nil, err
			}
			p := ProductRate{Precision: f.name, Threads: n}
			p.Cached = productRate(f.form, n, mem[:tuneCached])
			p.Streamed = productRate(f.form, n, mem)
			p.Overlap = overlap(t.Read[n-1].Rate, p.Cached, p.Streamed)
			t.Products = append(t.Products, p)
		}
	}
	return t, nil
}

// saturating is the fewest threads that more of them do not outdo.
func saturating(read []ReadRate) int {
	for i := 1; i < len(read); i++ {
		if read[i].Rate < tuneGain*read[i-1].Rate {
			return read[i-1].Threads
		}
	}
	return read[len(read)-1].Threads
}

// steady tells whether the rounds agree.
func steady(read []ReadRate) bool {
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

// productRate is the weights a second of the product of one vector and the matrix in w, of which a part that is no whole tile is left out: the median of some
// rounds, each of which goes through it as often as makes a time that can be measured.
func productRate(form neon.Form, threads int, w []byte) float64 {
	l := layout.Bits{Cols: tuneCols, Kb: layout.BlockWidth(tuneCols)}
	l.Rows = len(w) / (layout.TileRows * tuneCols / 8) * layout.TileRows
	dst, x := make([]float32, l.Rows), make([]float32, tuneCols)
	for i := range x {
		x[i] = float32(i%17) - 8
	}
	lut := neon.NewLUT(aligned(neon.LUTSize(tuneCols, form)), tuneCols, form)
	lut.Build(x, l)
	p := pool.New(threads)
	defer p.Close()
	grain := max(neon.MinTiles(), l.Tiles()/(8*threads))
	pass := func(times int) time.Duration {
		start := time.Now()
		p.Run(func(w2 *pool.Worker) error {
			for range times {
				w2.For(l.Tiles(), grain, func(lo, hi int) { neon.BitMatVec(dst, w, l, lut, lo, hi) })
			}
			return nil
		})
		return time.Since(start)
	}
	times := 1
	for pass(times) < tuneShort {
		times *= 2
	}
	var took []time.Duration
	for range tuneRounds {
		took = append(took, pass(times))
	}
	slices.Sort(took)
	runtime.KeepAlive(dst)
	return float64(times) * float64(l.Rows) * tuneCols / took[len(took)/2].Seconds()
}

// aligned is n bytes on a cache line.
func aligned(n int64) []byte {
	b := make([]byte, n+63)
	return b[-uintptr(unsafe.Pointer(unsafe.SliceData(b)))&63:][:n]
}
