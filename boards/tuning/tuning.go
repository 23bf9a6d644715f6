package tuning

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"bimamba/neon"
	"bimamba/neon/pool"
)

// Path is the machine's file, which the daemon reads. Root writes it; all may read it.
const Path = "/etc/bimamba/tuning.json"

// Version is that of the format.
const Version = 1

// File is what was measured, in JSON. A field that it does not have is an error: what a newer program measured is measured again in minutes.
type File struct {
	Version int       `json:"version"`
	Board   string    `json:"board"`   // its kind, as package detect names it: pi-4, x86
	Model   string    `json:"model"`   // the board's own name; "" if it has none
	Kernels string    `json:"kernels"` // the set of package neon that was in use
	Time    time.Time `json:"time"`    // by the board's clock, which may be wrong

	Steady   bool `json:"steady"`         // the rounds agree; else something else was running
	Threads  int  `json:"threads"`        // to read prompts with: all fast cores
	Decode   int  `json:"decode_threads"` // to decode with, up to Threads: the fewest that read memory at its full speed
	Prefetch *int `json:"prefetch_bytes"` // for neon.SetPrefetch; null where the kernels have a distance of their own

	Read       []ReadRate     `json:"read"`       // by threads, from few to many; at least one
	Prefetches []PrefetchRate `json:"prefetches"` // may be empty
	Products   []ProductRate  `json:"products"`   // of 1-bit weights, by precision and threads; may be empty
}

// ReadRate is how fast threads read memory together, in bytes a second.
type ReadRate struct {
	Threads int     `json:"threads"`
	Rate    float64 `json:"bytes_per_s"` // the median
	Low     float64 `json:"low"`         // the slowest round
	High    float64 `json:"high"`        // the fastest
}

// PrefetchRate is how fast threads multiply weights that come from memory, in weights a second, when a line is asked for some bytes ahead.
type PrefetchRate struct {
	Bytes   int     `json:"bytes"` // 0: no prefetching
	Threads int     `json:"threads"`
	Rate    float64 `json:"weights_per_s"` // the median
	Low     float64 `json:"low"`           // the slowest round
	High    float64 `json:"high"`          // the fastest
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

// Limits of a file.
const (
	maxBytes   = 64 << 10
	maxThreads = 1024
	maxText    = 256 // bytes of a name
	maxRates   = 4096
	minRate    = 1e4  // bytes or weights a second: slower than any board, even an emulated one
	maxRate    = 1e15 // faster than any
)

// again is what mends every fault.
const again = "run `bimamba doctor --tune` again"

// Read reads the file at path. An error names it and the field at fault; one of a file that is not there is fs.ErrNotExist.
func Read(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := Parse(f)
	if err != nil && !errors.As(err, new(*fs.PathError)) {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return t, err
}

// Parse reads a file. An error says which field is at fault.
func Parse(r io.Reader) (*File, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxBytes {
		return nil, fmt.Errorf("more than %d bytes: that is no file of `bimamba doctor --tune`", maxBytes)
	}
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, fmt.Errorf("%w; %s", err, again)
	}
	if v.Version != Version {
		return nil, fmt.Errorf("version is %d, not %d; %s", v.Version, Version, again)
	}
	t := &File{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(t); err != nil {
		return nil, fmt.Errorf("%w; %s", err, again)
	}
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("%w; %s", err, again)
	}
	return t, nil
}

// Matches tells whether the file is about these kernels (neon.Kernel) and a board that calls itself so (detect.Model). The error says what differs.
func (t *File) Matches(kernels, model string) error {
	switch {
	case t.Model != model:
		return fmt.Errorf("it is of the board %q, and this is %q; %s", t.Model, model, again)
	case t.Kernels != kernels:
		return fmt.Errorf("it is of the kernels %s, and %s are in use; %s", t.Kernels, kernels, again)
	}
	return nil
}

// Use sets the prefetch distance of package neon.
func (t *File) Use() {
	if t.Prefetch != nil {
		neon.SetPrefetch(*t.Prefetch)
	}
}

// ThreadsFor is with how many threads this process should read prompts, and with how many decode when a token moves so many bytes: what pool.Auto measures.
func (t *File) ThreadsFor(bytes int64) (threads, decode int) {
	threads = min(t.Threads, pool.AllCores())
	if bytes <= pool.LastCache(os.DirFS("/sys/devices/system/cpu")) {
		return threads, threads
	}
	return threads, min(t.Decode, threads)
}

// Best is the fastest measurement of memory.
func (t *File) Best() ReadRate {
	best := t.Read[0]
	for _, m := range t.Read[1:] {
		if m.Rate > best.Rate {
			best = m
		}
	}
	return best
}

// check is whether the values can be.
func (t *File) check() error {
	c := &checker{}
	c.text("board", t.Board)
	c.text("model", t.Model)
	c.text("kernels", t.Kernels)
	if t.Kernels == "" {
		c.fail("kernels is empty")
	}
	c.number("threads", t.Threads, 1, maxThreads)
	c.number("decode_threads", t.Decode, 1, t.Threads)
	if t.Prefetch != nil {
		c.number("prefetch_bytes", *t.Prefetch, 0, neon.MaxPrefetch)
	}
	if len(t.Read) == 0 {
		c.fail("read has no measurement")
	}
	c.number("the length of read", len(t.Read), 0, maxThreads)
	for i, m := range t.Read {
		at := fmt.Sprintf("read[%d].", i)
		c.number(at+"threads", m.Threads, 1, maxThreads)
		if i > 0 && m.Threads <= t.Read[i-1].Threads {
			c.fail("%sthreads is %d, after %d", at, m.Threads, t.Read[i-1].Threads)
		}
		c.spread(at, "bytes_per_s", m.Rate, m.Low, m.High)
	}
	c.number("the length of prefetches", len(t.Prefetches), 0, maxRates)
	for i, m := range t.Prefetches {
		at := fmt.Sprintf("prefetches[%d].", i)
		c.number(at+"bytes", m.Bytes, 0, neon.MaxPrefetch)
		c.number(at+"threads", m.Threads, 1, maxThreads)
		c.spread(at, "weights_per_s", m.Rate, m.Low, m.High)
	}
	c.number("the length of products", len(t.Products), 0, maxRates)
	for i, m := range t.Products {
		at := fmt.Sprintf("products[%d].", i)
		if m.Precision != "lut16" && m.Precision != "lut8" {
			c.fail("%sprecision is %.20q, not lut16 or lut8", at, m.Precision)
		}
		c.number(at+"threads", m.Threads, 1, maxThreads)
		c.rate(at+"cached_weights_per_s", m.Cached)
		c.rate(at+"streamed_weights_per_s", m.Streamed)
		if !(m.Overlap >= 0 && m.Overlap <= 1) {
			c.fail("%soverlap is %g, not 0 to 1", at, m.Overlap)
		}
	}
	return c.err
}

// checker keeps the first fault.
type checker struct{ err error }

func (c *checker) fail(format string, a ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, a...)
	}
}

func (c *checker) number(name string, n, lo, hi int) {
	if n < lo || n > hi {
		c.fail("%s is %d, not %d to %d", name, n, lo, hi)
	}
}

func (c *checker) rate(name string, r float64) {
	if !(r >= minRate && r <= maxRate) {
		c.fail("%s is %g, not %g to %g", name, r, minRate, maxRate)
	}
}

func (c *checker) spread(at, name string, rate, low, high float64) {
	c.rate(at+name, rate)
	c.rate(at+"low", low)
	c.rate(at+"high", high)
	if low > rate || rate > high {
		c.fail("%s%s is %g, not from low %g to high %g", at, name, rate, low, high)
	}
}

func (c *checker) text(name, s string) {
	if len(s) > maxText || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		c.fail("%s is %.20q, not up to %d bytes of text", name, s, maxText)
	}
}
