package measure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/cpuid/v2"

	"bimamba/boards/detect"
	"bimamba/boards/sensor"
	"bimamba/edge/model"
	"bimamba/memmap"
	"bimamba/neon"
)

// Config says what to measure, and how.
type Config struct {
	Open  func() (*memmap.File, error) // maps the model; each load calls it
	Path  string                       // of its file, to be dropped from the kernel's cache before each load and to tell its storage; "" if there is none
	Name  string                       // of a model that has none itself
	Model model.Options

	Prompts   []string // nil: some of this package's own
	Task      string   // of an intent model; "": its first
	MaxTokens int      // of an answer; 0: the model's own limit, 128 at most
	Duration  time.Duration
	Repeat    int
	Soak      time.Duration // 0: none

	Instruments *Instruments
	Root        fs.FS          // os.DirFS("/")
	Program     string         // the version of this program
	Progress    func(Progress) // nil, or told where the measurement is; from several goroutines
}

// Progress is where a measurement is.
type Progress struct {
	Phase string        // what begins now; "" within a phase
	Run   int           // 0: none
	Done  time.Duration //
	Total time.Duration // about
}

// Parts of Duration that the other phases take.
const (
	prefillPart = 4 // a fourth
	idlePart    = 2
	longestIdle = 30 * time.Second
)

// idle is how long each of the two idle phases takes.
func (c *Config) idle() time.Duration { return min(c.Duration/idlePart, longestIdle) }

// long is how long the whole measurement takes, without loading.
func (c *Config) long() time.Duration {
	return 2*(c.idle()+c.idle()/settlePart) + time.Duration(c.Repeat)*(c.Duration+c.Duration/prefillPart) + c.Soak
}

// validate checks the ranges.
func (c *Config) validate() error {
	switch {
	case c.Duration < 100*time.Millisecond || c.Duration > 24*time.Hour:
		return fmt.Errorf("--duration %v is not within 100ms and 24h", c.Duration)
	case c.Repeat < 1 || c.Repeat > maxRuns:
		return fmt.Errorf("--repeat %d is not within 1 and %d", c.Repeat, maxRuns)
	case c.Soak < 0 || c.Soak > 7*24*time.Hour || c.Soak > 0 && c.Soak < time.Second:
		return fmt.Errorf("--soak %v is not within 1s and 168h", c.Soak)
	case c.MaxTokens < 0 || c.MaxTokens > 1<<20:
		return fmt.Errorf("--max-tokens %d is not within 0 and %d", c.MaxTokens, 1<<20)
	}
	return nil
}

// Run measures. If it fails or ctx ends on the way, the report has what was measured until then, and is not complete; it is nil if that is nothing.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	kernels, err := neon.Kernel()
	if err != nil {
		return nil, err
	}
	a := &asker{cfg: &cfg}
	if err := a.open(); err != nil { // what is wrong with the model or the prompts is said at once
		return nil, err
	}
	prompts, err := a.prepare()
	rep := &Report{Version: Version, Model: a.describe(), Options: a.options(prompts)}
	if err := errors.Join(err, a.close()); err != nil {
		return nil, err
	}
	rep.Program = Program{Version: cfg.Program, Go: runtime.Version(), Arch: runtime.GOARCH, Kernels: kernels, CPU: strings.TrimSpace(cpuid.CPU.BrandName)}
	rep.Board, rep.Machine = board(cfg.Root, cfg.Path)
	proc := process{root: cfg.Root, forget: func() { os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }}
	return (&runner{cfg: &cfg, subject: a, rep: rep, proc: proc}).measure(ctx)
}

// board is what of a board the report has.
func board(root fs.FS, path string) (Board, Machine) {
	var opt detect.Options
	if path != "" {
		opt.Paths = []string{path}
	}
	d := detect.Read(root, opt)
	b := Board{
		ID: d.ID, Name: d.Name, Model: d.Model, SoC: d.SoC, Features: d.Features, Memory: d.Memory.Total, PageSize: d.PageSize, Userland: d.Userland,
		OS: d.OS, Kernel: d.Kernel, Missing: d.Missing,
	}
	if len(d.Storage) > 0 && path != "" {
		b.Storage = d.Storage[0].Kind
	}
	for _, c := range d.Cores {
		b.Cores = append(b.Cores, Core{Name: c.Name, Count: c.Count, MHz: c.MaxMHz, LimitMHz: c.LimitMHz, Governor: c.Governor})
	}
	return b, machine(root, d.Emulated, cpuid.CPU.HypervisorVendorString)
}

// MachineOf says what this program runs on. root is os.DirFS("/").
func MachineOf(root fs.FS) Machine {
	_, m := board(root, "")
	return m
}

// runner is one measurement under way.
type runner struct {
	cfg     *Config
	subject subject
	rep     *Report
	proc    process
	rec     *recorders
	start   time.Time
	idle    *sensor.Idle // nil until the idle power is known

	run, whole struct{ first, next histogram } // of this run, and of all that count

	decoding  atomic.Bool
	mu        sync.Mutex // guards rep.Series and what follows
	generated int64      // tokens
	last      time.Time  // when the last of them was there, or decoding began
}

// step is that of a series at first.
const step = 250 * time.Millisecond

// measure goes through all phases.
func (r *runner) measure(ctx context.Context) (*Report, error) {
	r.start = time.Now()
	r.rep.Time = r.start.UTC().Truncate(time.Second)
	r.rep.Runs = []Repeat{}
	r.rep.Series.Step = step.Seconds()
	r.rec = r.cfg.Instruments.record(r.cfg.long())
	stop := make(chan struct{})
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		r.sample(stop)
	}()
	err := r.phases(ctx)
	close(stop)
	<-sampled
	r.rec.stop()
	err = errors.Join(err, r.subject.close())
	r.rep.Complete = err == nil
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled):
		r.rep.Ended = "interrupted"
	default:
		r.rep.Ended = cmp.Or(err.Error(), "failed")
	}
	r.rep.Sensors = r.rec.describe()
	r.rep.Throttling = r.rec.events(r.start)
	r.rep.Unsteady = unsteady(r.rep.Runs)
	if len(r.rep.Unsteady) == 0 {
		r.summarize()
	}
	lines(reflect.ValueOf(r.rep))
	return r.rep, err
}

func (r *runner) phases(ctx context.Context) (err error) {
	if r.rep.Before, err = r.rest(ctx); err != nil {
		return err
	}
	if e := r.rep.Before.Energy; e != nil {
		idle := sensor.Baseline(e.source)
		r.idle = &idle
	}
	for i := range r.cfg.Repeat {
		r.rep.Runs = append(r.rep.Runs, Repeat{Cut: true})
		run := &r.rep.Runs[i]
		from := time.Now()
		err := r.once(ctx, i+1, run)
		if bits, changes, ok := r.rec.throttled(from, time.Now()); ok {
			run.Throttled, run.Throttling = bitNames(bits), changes
		}
		if err != nil {
			return err
		}
		run.Cut = false
	}
	if r.rep.After, err = r.rest(ctx); err != nil {
		return err
	}
	if r.cfg.Soak > 0 {
		return r.soak(ctx)
	}
	return nil
}

// settlePart is the part of an idle phase for which clock and supply come to rest before it.
const settlePart = 10

// rest is an idle phase.
func (r *runner) rest(ctx context.Context) (*Phase, error) {
	r.mark("idle", 0)
	if err := pause(ctx, r.cfg.idle()/settlePart); err != nil {
		return nil, err
	}
	return r.phase("idle", 0, func(time.Time) error { return pause(ctx, r.cfg.idle()) })
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// once is one repeat: the model is loaded anew, reads prompts and answers them.
func (r *runner) once(ctx context.Context, n int, run *Repeat) error {
	if err := r.subject.close(); err != nil {
		return err
	}
	load := &Load{Dropped: r.subject.drop()}
	p, err := r.phase("load", n, func(time.Time) error {
		start := time.Now()
		if err := r.subject.open(); err != nil {
			return err
		}
		load.Open = round(time.Since(start).Seconds())
		return r.subject.first()
	})
	if err != nil {
		return err
	}
	load.Phase = *p
	run.Load = load

	pre := &Prefill{}
	p, err = r.phase("prefill", n, func(from time.Time) error {
		for end := from.Add(r.cfg.Duration / prefillPart); ; {
			k, err := r.subject.prefill(ctx)
			if err != nil {
				return err
			}
			pre.Tokens += k
			if !time.Now().Before(end) {
				return nil
			}
		}
	})
	if err != nil {
		return err
	}
	pre.Phase = *p
	pre.TokensPerSecond = float64(pre.Tokens) / p.Seconds
	pre.PerToken, _ = per([]*Phase{p}, pre.Tokens)
	run.Prefill = pre

	dec := &Decode{}
	r.run.first, r.run.next = histogram{}, histogram{}
	p, err = r.phase("decode", n, func(from time.Time) error {
		for end := from.Add(r.cfg.Duration); ; {
			if err := r.answer(ctx, dec, nil); err != nil {
				return err
			}
			if !time.Now().Before(end) {
				return nil
			}
		}
	})
	if p == nil || dec.Answers == 0 {
		return err
	}
	dec.Phase = *p
	dec.Generating = dec.generating.Seconds()
	if dec.NoRate = noRate; dec.Generating > 0 {
		rate := float64(dec.following) / dec.Generating
		dec.TokensPerSecond, dec.NoRate = &rate, ""
	}
	dec.FirstToken, dec.NextToken = r.run.first.times(), r.run.next.times()
	dec.PerToken, _ = per([]*Phase{p}, dec.Tokens)
	dec.PerAnswer, _ = per([]*Phase{p}, dec.Answers)
	run.Decode = dec
	if err == nil {
		r.whole.first.merge(&r.run.first)
		r.whole.next.merge(&r.run.next)
	}
	return err
}

// noRate is why a run has no tokens a second: an answer's first token comes of reading its prompt.
const noRate = "no answer had a second token"

// answer answers one prompt, and adds it to dec: its tokens one by one, and itself when it has ended. each, if it is not nil, is told of every token when the one
// before was there, zero for the first, and when it was.
//
// The time of a token is from the one before, choosing it included; the first one's is from the start of the prompt.
func (r *runner) answer(ctx context.Context, dec *Decode, each func(before, now time.Time)) error {
	start := time.Now()
	var before time.Time
	prompt, err := r.subject.answer(ctx, func() {
		now := time.Now()
		if before.IsZero() { // it comes of the prompt
			r.run.first.add(now.Sub(start))
		} else {
			r.run.next.add(now.Sub(before))
			dec.following++
			dec.generating += now.Sub(before)
		}
		dec.Tokens++
		r.mu.Lock()
		r.generated, r.last = r.generated+1, now
		r.mu.Unlock()
		if each != nil {
			each(before, now)
			now = time.Now() // what it did is no part of the next token
		}
		before = now
	})
	if err != nil {
		return err
	}
	dec.Answers++
	dec.Prompted += prompt
	return nil
}

func float(n *int64) *float64 {
	if n == nil {
		return nil
	}
	f := float64(*n)
	return &f
}

// percent is how much b is more than a.
func percent(a, b *float64) *float64 {
	if a == nil || b == nil || *a == 0 {
		return nil
	}
	p := 100 * (*b - *a) / *a
	return &p
}

// phase measures fn, which is told when it began. Of a phase that ctx ended early there is a Phase beside the error; any other error has none.
func (r *runner) phase(name string, run int, fn func(from time.Time) error) (*Phase, error) {
	r.mark(name, run)
	from := time.Now()
	r.rec.tally.begin(from)
	before, ferr := r.proc.faults()
	if r.proc.forget != nil {
		r.proc.forget()
	}
	if name == "decode" || name == "soak" {
		r.mu.Lock()
		r.last = from
		r.mu.Unlock()
		r.decoding.Store(true)
	}
	err := fn(from)
	r.decoding.Store(false)
	to := time.Now()
	if end := from.Add(r.cfg.Soak); name == "soak" && to.After(end) {
		to = end // the token that was under way has ended since
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return nil, err
	}
	p := &Phase{Start: round(from.Sub(r.start).Seconds()), Seconds: round(to.Sub(from).Seconds()), Heat: r.rec.heat(from, to), Clock: r.rec.clock(from, to)}
	if after, e := r.proc.faults(); e == nil && ferr == nil {
		p.Faults = after.since(before)
	}
	p.Memory = r.proc.memory()
	p.Energy, p.NoEnergy = r.rec.phaseEnergy(to, r.idle)
	return p, err
}

// mark says that a phase begins. One that has begun already does not begin again.
func (r *runner) mark(name string, run int) {
	r.mu.Lock()
	s := &r.rep.Series
	if n := len(s.Marks); n > 0 && s.Marks[n-1].Name == name && s.Marks[n-1].Run == run {
		r.mu.Unlock()
		return
	}
	if len(s.Marks) < maxMarks {
		s.Marks = append(s.Marks, Mark{round(time.Since(r.start).Seconds()), name, run})
	}
	r.mu.Unlock()
	r.progress(Progress{Phase: name, Run: run})
}

func (r *runner) progress(p Progress) {
	if r.cfg.Progress == nil {
		return
	}
	p.Done, p.Total = time.Since(r.start), r.cfg.long()
	p.Total = max(p.Total, p.Done)
	r.cfg.Progress(p)
}

// sample fills the series until it is stopped.
func (r *runner) sample(stop <-chan struct{}) {
	tick := time.NewTicker(step)
	defer tick.Stop()
	every, skip := 1, 0           // of the ticks one in so many gives a point
	var last int64                // tokens that were counted
	var since time.Time           // when the last of them was there
	decoding, waiting := false, 0 // waiting: points in which no token came yet
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		r.progress(Progress{})
		r.rec.tally.roll()
		r.mu.Lock()
		n, at := r.generated, r.last
		r.mu.Unlock()
		now := r.decoding.Load()
		if now && !decoding {
			decoding, last, since, waiting = true, n, at, 0
		}
		skip++
		rate := math.NaN()
		if decoding && n > last && at.After(since) && (skip == every || !now) {
			rate = float64(n-last) / at.Sub(since).Seconds()
			last, since = n, at
			// A slow board has no token in many steps: their rate is known when the next one comes.
			r.mu.Lock()
			r.rep.Series.fill(waiting, rate)
			r.mu.Unlock()
			waiting = 0
		}
		if decoding = now; skip < every {
			continue
		}
		skip = 0
		if !decoding {
			rate = math.NaN()
		}
		value := func(has sensor.Quantity, of func(*sensor.Sample) float64) float64 {
			if s, ok := r.rec.last(has); ok {
				return of(&s)
			}
			return math.NaN()
		}
		watts := value(sensor.Power, func(s *sensor.Sample) float64 { return s.Watts })
		heat := value(sensor.Heat, func(s *sensor.Sample) float64 { return s.Celsius })
		clock := value(sensor.Clock, func(s *sensor.Sample) float64 { return s.Hertz / 1e6 })
		r.mu.Lock()
		if s := &r.rep.Series; len(s.Tokens) == maxPoints {
			s.halve()
			every *= 2
			waiting /= 2
		}
		r.rep.Series.point(watts, heat, clock, rate)
		if decoding && math.IsNaN(rate) {
			waiting++
		}
		r.mu.Unlock()
	}
}
