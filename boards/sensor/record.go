package sensor

import (
	"context"
	"sync"
	"time"
)

// Recorder samples a sensor in a goroutine until it is stopped. Its memory is fixed: the oldest samples give way to the newest,
// but count in Total. Its methods may be called at any time from anywhere.
type Recorder struct {
	sensor Sensor
	info   Info
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	ring  []Sample
	n     int // samples so far; the newest is ring[(n-1)%len(ring)]
	total integrator
	end   time.Time // zero while it runs
	stats Stats
	bits  Throttled // of the sample before
}

// Stats is what a recorder did and saw.
type Stats struct {
	Reads     int           // that gave a sample
	Failures  int           // that gave none
	LastError error         // of the last failure
	Forgotten int           // samples that the ring has no more
	Busy      time.Duration // spent reading
	Joules    float64       // between samples so far; it never falls, and 0 is no reading
	Throttled Throttled     // every bit that any sample had: the firmware's own "since boot" bits are cleared by others
	Changes   int           // how often a bit came or went
}

// slowest is the pause between tries while a sensor fails.
const slowest = 10 * time.Second

// Record starts to sample s and keeps the last capacity samples, at least 2. While it runs nobody else may use s. It does not close it.
func Record(s Sensor, capacity int) *Recorder {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Recorder{sensor: s, info: s.Info(), cancel: cancel, done: make(chan struct{}), ring: make([]Sample, max(capacity, 2))}
	r.total = integrator{info: r.info, from: time.Now()}
	go r.loop(ctx)
	return r
}

// Info describes the sensor.
func (r *Recorder) Info() Info { return r.info }

// Stop ends the sampling and returns when the sensor is free.
func (r *Recorder) Stop() {
	r.cancel()
	<-r.done
}

func (r *Recorder) loop(ctx context.Context) {
	defer func() {
		r.mu.Lock()
		r.end = time.Now()
		r.mu.Unlock()
		close(r.done)
	}()
	pause := max(r.info.Interval, time.Millisecond)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	slow := false
	for ctx.Err() == nil {
		start := time.Now()
		s, err := r.sensor.Read(ctx)
		if ctx.Err() != nil && err != nil {
			return
		}
		r.keep(&s, err, time.Since(start))
		switch { // a sensor that is gone costs less and less
		case err != nil && pause < slowest:
			pause, slow = min(2*pause, slowest), true
			tick.Reset(pause)
		case err == nil && slow:
			pause, slow = max(r.info.Interval, time.Millisecond), false
			tick.Reset(pause)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (r *Recorder) keep(s *Sample, err error, busy time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Busy += busy
	if err != nil {
		r.stats.Failures++
		r.stats.LastError = err
		return
	}
	if s.Has&Throttle != 0 {
		if r.stats.Reads > 0 && s.Throttled != r.bits {
			r.stats.Changes++
		}
		r.bits = s.Throttled
		r.stats.Throttled |= s.Throttled
	}
	r.stats.Reads++
	r.total.add(s)
	r.ring[r.n%len(r.ring)] = *s
	r.n++
}

// Stats is what was seen so far.
func (r *Recorder) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Forgotten = max(0, r.n-len(r.ring))
	s.Joules = r.total.joules
	return s
}

// Samples appends what the ring has to dst, oldest first.
func (r *Recorder) Samples(dst []Sample) []Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n <= len(r.ring) {
		return append(dst, r.ring[:r.n]...)
	}
	i := r.n % len(r.ring)
	return append(append(dst, r.ring[i:]...), r.ring[:i]...)
}

// Last is the newest sample; false if there is none.
func (r *Recorder) Last() (Sample, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == 0 {
		return Sample{}, false
	}
	return r.ring[(r.n-1)%len(r.ring)], true
}

// Total is the energy from the start until now, or until Stop.
func (r *Recorder) Total() (*Energy, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.total
	if g.to = r.end; g.to.IsZero() {
		g.to = time.Now()
	}
	return g.energy()
}

// Between is the energy between two moments, of the samples that the ring still has: Covered says how much that is.
func (r *Recorder) Between(from, to time.Time) (*Energy, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := integrator{info: r.info, from: from, to: to}
	oldest := max(0, r.n-len(r.ring))
	first := max(oldest, r.n-1)
	for first > oldest && r.ring[first%len(r.ring)].Time.After(from) {
		first--
	}
	for i := first; i < r.n; i++ {
		g.add(&r.ring[i%len(r.ring)])
	}
	return g.energy()
}
