package pool

import (
	"sync"
	"sync/atomic"
	"time"
)

// waitPlace is where goroutines wait for something to change.
type waitPlace struct {
	asleep atomic.Int32
	mu     sync.Mutex
	wake   sync.Cond
}

func (p *waitPlace) init() { p.wake.L = &p.mu }

// await waits until ready says so: it spins for a while, then it sleeps until someone has changed what ready looks at and calls rouse.
// It returns how long that took when it had to sleep, and 0 when not.
func (p *waitPlace) await(spin time.Duration, ready func() bool) time.Duration {
	if ready() {
		return 0
	}
	start := time.Now()
	for time.Since(start) < spin {
		for range 16 {
			pause()
			if ready() {
				return 0
			}
		}
	}
	p.mu.Lock()
	p.asleep.Add(1)
	for !ready() {
		p.wake.Wait()
	}
	p.asleep.Add(-1)
	p.mu.Unlock()
	return time.Since(start)
}

// rouse wakes those that sleep. One that is about to has counted itself, or sees what has changed.
func (p *waitPlace) rouse() {
	if p.asleep.Load() > 0 {
		p.mu.Lock()
		p.wake.Broadcast()
		p.mu.Unlock()
	}
}
