package pool

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bimamba/neon"
)

// Auto chooses how many of cores workers to take for work that goes through size bytes again and again.
//
// What fits the processor's last cache is bound by arithmetic: all cores of the fastest kind. Anything larger is bound by memory, which some cores
// saturate: as many as still read faster together, measured on the spot (two of four on most boards). That takes some tenths of a second, a second on the
// smallest boards.
func Auto(cores int, size int64) int {
	sys := os.DirFS("/sys/devices/system/cpu")
	if cores == 1 || size <= LastCache(sys) {
		return cores
	}
	return saturating(cores, min(size, ProbeSize))
}

const (
	// ProbeSize is as much memory as a measurement needs: more than most caches, an eighth of the smallest board's.
	ProbeSize = 64 << 20
	// gain is by how much another core has to speed reading up to be worth its power.
	gain = 1.06
)

// AllCores is Cores of this machine.
func AllCores() int { return Cores(os.DirFS("/sys/devices/system/cpu")) }

// Cores is the number of cores that this process may use at once and that are as fast as the fastest of them.
// sys is /sys/devices/system/cpu: where cores differ, cpuN/cpu_capacity tells.
func Cores(sys fs.FS) int {
	n := runtime.GOMAXPROCS(0)
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return n
	}
	var capacity []int
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			c, ok := number(sys, path.Join("cpu"+strconv.Itoa(cpu), "cpu_capacity"))
			if !ok {
				c = 1
			}
			capacity = append(capacity, c)
		}
	}
	fastest := 0
	for _, c := range capacity {
		if c == slices.Max(capacity) {
			fastest++
		}
	}
	return max(1, min(n, fastest))
}

// LastCache is the size of the largest cache that the first core has, in bytes; 1 MiB where the system does not say, as on many boards.
func LastCache(sys fs.FS) int64 {
	sizes, _ := fs.Glob(sys, "cpu0/cache/index*/size")
	best := int64(0)
	for _, name := range sizes {
		b, err := fs.ReadFile(sys, name)
		if err != nil {
			continue
		}
		text, unit := strings.TrimSpace(string(b)), int64(1)
		if t, ok := strings.CutSuffix(text, "K"); ok {
			text, unit = t, 1<<10
		} else if t, ok := strings.CutSuffix(text, "M"); ok {
			text, unit = t, 1<<20
		}
		if n, err := strconv.ParseInt(text, 10, 32); err == nil {
			best = max(best, n*unit)
		}
	}
	if best == 0 {
		return 1 << 20
	}
	return best
}

func number(sys fs.FS, name string) (int, bool) {
	b, err := fs.ReadFile(sys, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	return n, err == nil
}

// saturating is the least number of workers, up to cores, that read memory of size bytes about as fast as more do.
func saturating(cores int, size int64) int {
	mem, err := probe(size)
	if err != nil {
		return cores
	}
	defer unix.Munmap(mem)
	best := 0.0
	for n := 1; n <= cores; n++ {
		rate := rateOf(n, mem)
		if n > 1 && rate < gain*best {
			return n - 1
		}
		best = rate
	}
	return cores
}

// MemoryRate is how fast n workers read ProbeSize bytes of fresh memory together, in bytes a second. It fails where there is not so much.
func MemoryRate(n int) (float64, error) {
	mem, err := probe(ProbeSize)
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(mem)
	return rateOf(n, mem), nil
}

// rateOf is how fast n workers read memory of our own.
func rateOf(n int, mem []byte) float64 {
	p := New(n)
	defer p.Close()
	rate, _ := p.ReadRate(n, 5, nil, mem) // it does not fail
	return rate
}

// probe is fresh memory, each page of its own.
func probe(size int64) ([]byte, error) {
	mem, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("%d bytes to measure memory with: %w", size, err)
	}
	for i := 0; i < len(mem); i += unix.Getpagesize() {
		mem[i] = 1 // else all pages are one page of zeros
	}
	return mem, nil
}

// readPart is how much of the memory a round of ReadRate reads.
const readPart = 1 << 18

// ReadRate is how fast the first width workers read parts of memory together, each once, front to back, in bytes a second: the fastest of some passes.
// guard, unless it is nil, runs what touches the parts on each worker, and makes errors of page faults.
func (p *Pool) ReadRate(width, passes int, guard func(func() error) error, parts ...[]byte) (float64, error) {
	if guard == nil {
		guard = func(fn func() error) error { return fn() }
	}
	var size int64
	for _, b := range parts {
		size += int64(len(b))
	}
	sink := make([]uint64, len(p.workers))
	best := time.Duration(1<<63 - 1)
	pass := func(w *Worker) error {
		return guard(func() error {
			for _, b := range parts {
				w.For((len(b)+readPart-1)/readPart, 1, func(lo, hi int) {
					sink[w.id] ^= neon.Read(b[lo*readPart : min(hi*readPart, len(b))])
				})
			}
			return nil
		})
	}
	for range passes {
		start := time.Now()
		if err := p.RunOn(width, pass); err != nil {
			return 0, err
		}
		best = min(best, time.Since(start))
	}
	runtime.KeepAlive(sink)
	return float64(size) / best.Seconds(), nil
}
