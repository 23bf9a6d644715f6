package pool

import (
	"testing"
	"time"
)

// TestNarrow plays runs of 10 ms to a narrow pool of four: cores is how many of them have a core to themselves at each second.
func TestNarrow(t *testing.T) {
	const workers, run = 4, 10 * time.Millisecond
	var r narrow
	now := time.Unix(1000, 0)
	// play goes on for a while, and returns how many runs had each width.
	play := func(cores int, d time.Duration) (had [workers + 1]int) {
		for end := now.Add(d); now.Before(end); {
			w := r.allow(workers, now)
			had[w]++
			now = now.Add(run)
			var slept time.Duration
			if w > cores { // two take turns on one core, and the others wait for half of the time
				slept = time.Duration(w-1) * run / 2
			}
			if w > 1 {
				r.ran(w, now, run, slept)
			}
		}
		return had
	}
	if had := play(4, 10*time.Second); had[4] != 1000 {
		t.Errorf("with a core for each: runs by width %v", had)
	}
	// 16 runs that show it, and 4 runs for each attempt, 0.5, 1, 2, 4 and 8 s after the one before.
	if had := play(3, 14*time.Second); had[3]+had[4] != 1400 || had[4] < 15+4*4 || had[4] > 16+5*5 {
		t.Errorf("with three cores: runs by width %v", had)
	}
	if had := play(1, 14*time.Second); had[1] < 1300 {
		t.Errorf("with one core: runs by width %v", had)
	}
	play(4, maxHold+time.Second)
	if had := play(4, time.Second); had[4] != 100 {
		t.Errorf("with a core for each again: runs by width %v", had)
	}
}

// TestNarrowStall leaves a pool wide that was stopped once, and one that waits while it spins.
func TestNarrowStall(t *testing.T) {
	var r narrow
	now := time.Unix(1000, 0)
	for i := range 1000 {
		slept := time.Duration(0)
		if i%50 == 49 {
			slept = 40 * time.Millisecond
		}
		if w := r.allow(2, now); w != 2 {
			t.Fatalf("run %d has %d workers", i, w)
		}
		now = now.Add(5*time.Millisecond + slept)
		r.ran(2, now, 5*time.Millisecond+slept, slept)
	}
}

// TestParked sees the sleep of workers who wait for one that holds a round.
func TestParked(t *testing.T) {
	p := newPool(t, 2)
	p.Run(func(w *Worker) error {
		w.For(2, 1, func(lo, hi int) {
			if lo == 0 {
				time.Sleep(20 * time.Millisecond)
			}
		})
		return nil
	})
	if got := p.parked(); got > time.Second {
		t.Errorf("slept for %v", got)
	}
	if p.narrow.time == 0 || p.narrow.width != 2 {
		t.Errorf("the run was not watched: %+v", p.narrow)
	}
}
