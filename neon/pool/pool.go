package pool

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// line keeps two numbers out of one cache line, and out of the pair of lines that some cores fetch together.
	line = 128
	// spinTime is how long a worker waits before it sleeps. The rounds of a loop end within a microsecond of one another; waking a sleeper takes several.
	spinTime = 50 * time.Microsecond
	// roundBits is the part of a cursor that counts rounds. What is left numbers the loops of a pool, enough for years.
	roundBits = 20
)

// counter is an atomic number in cache lines of its own.
type counter struct {
	atomic.Uint64
	_ [line - 8]byte
}

// Pool is a set of workers.
type Pool struct {
	workers []*Worker
	spin    time.Duration
	narrow  narrow // guarded by mu

	// Loops are numbered from 1 on, through all Runs.
	cursors []counter // for each worker's part of a loop: the loop, and how many of its rounds have been taken
	ended   counter   // rounds that have ended of the loop that is under way
	done    counter   // the last loop that has ended

	job    counter      // the Run that is under way, 0 for none
	base   uint64       // the loop before its first one
	width  atomic.Int64 // how many workers have a part in it
	runs   uint64
	fn     func(*Worker) error
	enters atomic.Int32 // workers that are looking at job, base, width and fn
	inside atomic.Int32 // workers in fn, the first one not counted
	failed atomic.Bool
	quit   atomic.Bool

	mu   sync.Mutex // one Run at a time
	meet waitPlace  // where workers wait for the end of a loop, and Run for workers
	gone sync.WaitGroup
}

// Worker is one of the threads of a Pool, as the function sees it that Run calls.
type Worker struct {
	p      *Pool
	id     int
	job    uint64
	width  int          // of that job
	loop   uint64       // the last one that it came to
	parked atomic.Int64 // nanoseconds that it has slept for in loops
	err    error
	thrown any       // what fn panicked with
	rest   waitPlace // where it waits for a Run
}

// New starts a pool of n workers, 1 at least. The caller of Run is one of them.
func New(n int) *Pool {
	if n < 1 {
		panic("pool: New: no workers")
	}
	p := &Pool{workers: make([]*Worker, n), cursors: make([]counter, n)}
	p.meet.init()
	if runtime.GOMAXPROCS(0) >= n { // else who spins keeps another from running
		p.spin = spinTime
	}
	for i := range p.workers {
		w := &Worker{p: p, id: i}
		w.rest.init()
		p.workers[i] = w
		if i > 0 {
			p.gone.Go(w.serve)
		}
	}
	return p
}

// Close ends the workers and waits for them. The pool must not be used afterwards.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quit.Store(true)
	for _, w := range p.workers {
		w.rest.rouse()
	}
	p.gone.Wait()
}

// Run is RunOn with all workers.
func (p *Pool) Run(fn func(*Worker) error) error { return p.RunOn(len(p.workers), fn) }

// RunOn calls fn on the first width workers, 1 at least and fewer while other processes need cores, and returns when all of its loops have ended, with the first worker's error of those that failed. Calls wait for one another.
//
// A worker that comes late, even after Run has returned, goes through fn and finds every loop done. So fn must do its work in loops; what it reads
// outside of them, to come to the same loops as the others, must not change, or be atomic and change between Runs only.
//
// When fn fails or panics in a loop on one worker, the others leave fn at their next loop, and Run waits for that; a panic goes on in
// the caller of Run. The pool stays usable. fn must not fail outside of loops, end its goroutine, or call Run.
func (p *Pool) RunOn(width int, fn func(*Worker) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := p.workers[0]
	p.runs++
	width = max(1, min(width, len(p.workers)))
	if width > 1 {
		start, parked := time.Now(), p.parked()
		width = p.narrow.allow(width, start)
		defer func() {
			now := time.Now()
			p.narrow.ran(width, now, now.Sub(start), p.parked()-parked)
		}()
	}
	p.fn, p.base = fn, p.done.Load()
	p.width.Store(int64(width))
	first.job, first.width, first.loop = p.runs, width, p.base
	if width > 1 {
		p.job.Store(p.runs)
		for _, w := range p.workers[1:width] {
			w.rest.rouse()
		}
	}
	first.run(fn)
	p.job.Store(0)
	p.meet.await(p.spin, func() bool { return p.enters.Load() == 0 })
	if !p.failed.Load() {
		return nil
	}

	p.meet.await(p.spin, func() bool { return p.inside.Load() == 0 })
	var err error
	var thrown any
	last := p.done.Load()
	for _, w := range p.workers {
		last = max(last, w.loop)
		if err == nil {
			err = w.err
		}
		if thrown == nil {
			thrown = w.thrown
		}
		w.err, w.thrown = nil, nil
	}
	p.ended.Store(0)
	p.done.Store(last)
	p.failed.Store(false)
	if thrown != nil {
		panic(thrown)
	}
	return err
}

// parked is how long all workers together have slept in loops.
func (p *Pool) parked() (sum time.Duration) {
	for _, w := range p.workers {
		sum += time.Duration(w.parked.Load())
	}
	return sum
}

// serve is what a worker does but for the first.
func (w *Worker) serve() {
	p := w.p
	for {
		w.rest.await(p.spin, func() bool {
			job := p.job.Load()
			return job != 0 && job != w.job && w.id < int(p.width.Load()) || p.quit.Load()
		})
		if p.quit.Load() {
			return
		}
		var fn func(*Worker) error
		p.enters.Add(1)
		if job := p.job.Load(); job != 0 { // RunOn changes nothing before enters is 0 again
			if width := int(p.width.Load()); w.id < width {
				w.job, w.width, w.loop, fn = job, width, p.base, p.fn
				p.inside.Add(1)
			}
		}
		p.enters.Add(-1)
		p.meet.rouse()
		if fn != nil {
			w.run(fn)
			p.inside.Add(-1)
			p.meet.rouse()
		}
	}
}

// errBroken makes the workers leave fn after one of them has failed.
var errBroken = errors.New("pool: another worker failed")

func (w *Worker) run(fn func(*Worker) error) {
	defer func() {
		if r := recover(); r != nil && r != any(errBroken) {
			w.thrown = r
		}
		if w.width > 1 && w.p.job.Load() != w.job { // late: there was nothing left that could fail
			w.err = nil
		}
		if w.err != nil || w.thrown != nil {
			w.p.failed.Store(true)
			w.p.meet.rouse()
		}
	}()
	w.err = fn(w)
}

// For calls fn for parts of the range 0 to n-1, up to grain rounds at a time, shared among the workers, and returns when all of them have ended.
// Every worker has to come to it with the same n and grain, in the same order of loops. A part is what a worker may have to be waited for.
func (w *Worker) For(n, grain int, fn func(lo, hi int)) {
	if n <= 0 {
		return
	}
	p := w.p
	workers := w.width
	grain = max(grain, 1, n>>(roundBits-1))
	if workers == 1 {
		for lo := 0; lo < n; lo += grain {
			fn(lo, min(lo+grain, n))
		}
		return
	}
	w.loop++
	if p.job.Load() != w.job || p.done.Load() >= w.loop {
		return
	}
	ran := 0
	for k := range workers {
		part := w.id + k
		if part >= workers {
			part -= workers
		}
		cursor, lo, hi := &p.cursors[part], n*part/workers, n*(part+1)/workers
		for {
			v, next := cursor.Load(), 0
			if v>>roundBits == w.loop {
				next = int(v & (1<<roundBits - 1))
			}
			from := lo + next*grain
			if v>>roundBits > w.loop || from >= hi {
				break
			}
			if cursor.CompareAndSwap(v, w.loop<<roundBits+uint64(next)+1) {
				to := min(from+grain, hi)
				fn(from, to)
				ran += to - from
			}
		}
	}
	if ran > 0 && p.ended.Add(uint64(ran)) == uint64(n) {
		p.ended.Store(0) // nobody adds to it before he sees done
		p.done.Store(w.loop)
		p.meet.rouse()
		return
	}
	slept := p.meet.await(p.spin, func() bool { return p.done.Load() >= w.loop || p.failed.Load() })
	w.parked.Add(int64(slept))
	if p.done.Load() < w.loop {
		panic(errBroken)
	}
}
