package pool

import "time"

const (
	watchTime = 150 * time.Millisecond // what a width is judged by; one stall must not decide
	probeTime = 40 * time.Millisecond  // the same, of a width that was too much a while ago
	minHold   = 500 * time.Millisecond // how long a pool stays narrow before it tries again
	maxHold   = 8 * time.Second        // the same, after attempts for nothing
)

// narrow finds how many workers a pool has cores for. While another process takes a core, two workers come to share one: who is off the core keeps a
// round that the others sleep for, and together they do less than one worker fewer.
//
// A worker that is off its core for a share s of the time makes the w-1 others sleep as long. What is left, w*(1-s), is no more than w-1 when s is at least
// 1/w, which is when they sleep for (w-1)/w² of all workers' time. Waiting that ends while they spin comes from parts of unequal length;
// a worker fewer would not mend it.
type narrow struct {
	limit int           // workers at most, 0 when all may run
	until time.Time     // when to try one more
	hold  time.Duration // how long that took to come
	probe bool          // one more is being tried

	width        int // that is being watched
	time, parked time.Duration
}

// allow is how many of n workers should run now.
func (r *narrow) allow(n int, now time.Time) int {
	if r.limit == 0 {
		return n
	}
	if !r.probe && !now.Before(r.until) {
		r.limit++
		r.probe, r.width = true, 0
	}
	return min(n, r.limit)
}

// ran notes that a number of workers ran until now, for a time in which they all together slept in loops for parked.
func (r *narrow) ran(width int, now time.Time, time, parked time.Duration) {
	if width != r.width {
		r.width, r.time, r.parked = width, 0, 0
	}
	r.time += time
	r.parked += parked
	if r.time < watchTime && !(r.probe && r.time >= probeTime) {
		return
	}
	switch w := float64(width); {
	case float64(r.parked)*w >= float64(r.time)*(w-1):
		r.hold = min(2*r.hold, maxHold)
		if !r.probe {
			r.hold = minHold
		}
		r.limit, r.until, r.probe = width-1, now.Add(r.hold), false
	case r.probe && width == r.limit:
		// One more has its core. So may the next one.
		r.until, r.probe = now, false
	}
	r.width = 0
}
