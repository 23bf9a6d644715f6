package pool

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// sizes are numbers of workers: one, as many as there are cores, and more.
var sizes = []int{1, 2, 3, 7}

func newPool(t testing.TB, n int) *Pool {
	p := New(n)
	t.Cleanup(p.Close)
	return p
}

// TestFor runs every round of every loop once, and nobody is in a loop before all have left the one before.
func TestFor(t *testing.T) {
	for _, workers := range sizes {
		p := newPool(t, workers)
		for range 20 {
			const loops = 30
			var inside [loops]atomic.Int32
			var rounds [loops][200]int32
			err := p.Run(func(w *Worker) error {
				for i := range loops {
					n, grain := i*7%len(rounds[i]), 1+i%5
					w.For(n, grain, func(lo, hi int) {
						if i > 0 && inside[i-1].Load() != int32((i-1)*7%len(rounds[i])) {
							t.Errorf("%d workers: loop %d began before loop %d was done", workers, i, i-1)
						}
						if lo >= hi || hi > n || hi-lo > grain {
							t.Errorf("a part from %d to %d of %d, grain %d", lo, hi, n, grain)
						}
						for r := lo; r < hi; r++ {
							atomic.AddInt32(&rounds[i][r], 1)
							inside[i].Add(1)
						}
					})
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for i := range rounds {
				for r, n := range rounds[i] {
					if want := int32(0); r < i*7%len(rounds[i]) {
						want = 1
						if n != want {
							t.Fatalf("%d workers: round %d of loop %d ran %d times", workers, r, i, n)
						}
					} else if n != want {
						t.Fatalf("%d workers: round %d of loop %d ran, beyond its end", workers, r, i)
					}
				}
			}
		}
	}
}

// TestRunOn gives loops to some of the workers only, a different number every time.
func TestRunOn(t *testing.T) {
	p := newPool(t, 4)
	for i := range 2000 {
		width := []int{1, 4, 2, 3, 9, 2, 0}[i%7]
		var ran atomic.Int32
		var who [4]atomic.Bool
		p.RunOn(width, func(w *Worker) error {
			for range 3 {
				w.For(8, 1, func(lo, hi int) {
					who[w.id].Store(true)
					ran.Add(int32(hi - lo))
				})
			}
			return nil
		})
		if ran.Load() != 24 {
			t.Fatalf("%d workers: %d rounds of 24", width, ran.Load())
		}
		for id := max(1, width); id < len(who); id++ {
			if who[id].Load() {
				t.Fatalf("worker %d took part in a Run on %d", id, width)
			}
		}
	}
}

// TestSlowWorker keeps the worker that took the first round from its others: the rest take them.
func TestSlowWorker(t *testing.T) {
	p := newPool(t, 2)
	release := make(chan struct{})
	var done atomic.Int32
	go func() {
		for done.Load() < 99 {
			time.Sleep(time.Millisecond)
		}
		close(release)
	}()
	p.Run(func(w *Worker) error {
		w.For(100, 1, func(lo, hi int) {
			if lo == 0 {
				<-release
				return
			}
			done.Add(1)
		})
		return nil
	})
}

var errTest = errors.New("as a test")

// TestFailure lets one worker fail, in each of the loops: the others end, the pool stays usable.
func TestFailure(t *testing.T) {
	for _, workers := range sizes {
		p := newPool(t, workers)
		for bad := range 10 {
			for _, throw := range []bool{false, true} {
				var reached [10]atomic.Bool
				err := func() (err error) {
					defer func() {
						if r := recover(); r != nil {
							err = r.(error)
						}
					}()
					return p.Run(func(w *Worker) (err error) {
						if !throw {
							defer func() { // as memmap.File.Guard does
								if r := recover(); r == any(errTest) {
									err = errTest
								} else if r != nil {
									panic(r)
								}
							}()
						}
						for i := range reached {
							w.For(50, 1, func(lo, hi int) {
								reached[i].Store(true)
								if i == bad && lo <= 13 && 13 < hi {
									panic(errTest)
								}
							})
						}
						return nil
					})
				}()
				if !errors.Is(err, errTest) {
					t.Fatalf("%d workers, loop %d, thrown %v: Run gave %v", workers, bad, throw, err)
				}
				if bad < 9 && reached[bad+1].Load() {
					t.Fatalf("%d workers: loop %d ran after loop %d had failed", workers, bad+1, bad)
				}
			}
		}
		var n atomic.Int32
		if err := p.Run(func(w *Worker) error { w.For(10, 1, func(lo, hi int) { n.Add(int32(hi - lo)) }); return nil }); err != nil || n.Load() != 10 {
			t.Errorf("%d workers: after failures Run gave %v and ran %d rounds of 10", workers, err, n.Load())
		}
	}
}

// TestLateWorker keeps a worker between two loops: it holds no round, so the Runs end without it, and it finds their loops done.
func TestLateWorker(t *testing.T) {
	p := newPool(t, 2)
	release := make(chan struct{})
	var late atomic.Bool
	for !late.Load() { // until it comes in time
		p.Run(func(w *Worker) error {
			w.For(2, 1, func(lo, hi int) {})
			if w.id == 1 && late.CompareAndSwap(false, true) {
				<-release // between two loops
			}
			w.For(2, 1, func(lo, hi int) {})
			return nil
		})
	}
	var n atomic.Int32
	loops := func(w *Worker) error {
		for range 7 {
			w.For(10, 1, func(lo, hi int) { n.Add(int32(hi - lo)) })
		}
		return nil
	}
	for range 100 {
		p.Run(loops)
	}
	if n.Load() != 7000 {
		t.Errorf("%d rounds of 7000", n.Load())
	}
	close(release)
	for range 100 {
		p.Run(loops)
	}
	if n.Load() != 14000 {
		t.Errorf("%d rounds of 14000", n.Load())
	}
}

// TestConcurrentRuns calls Run from many goroutines.
func TestConcurrentRuns(t *testing.T) {
	p := newPool(t, 2)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				sum := make([]int, 64)
				p.Run(func(w *Worker) error {
					w.For(len(sum), 3, func(lo, hi int) {
						for i := lo; i < hi; i++ {
							sum[i] += i
						}
					})
					return nil
				})
				if i := slices.IndexFunc(sum, func(v int) bool { return v != 0 }); i != 1 {
					t.Errorf("a loop was not run")
				}
			}
		})
	}
	wg.Wait()
}

// TestOneCore gives the workers one core to share: who waits does not keep the others from it.
func TestOneCore(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	p := newPool(t, 3)
	var n atomic.Int32
	for range 10 {
		p.Run(func(w *Worker) error {
			for range 100 {
				w.For(9, 1, func(lo, hi int) { n.Add(1) })
			}
			return nil
		})
	}
	if n.Load() != 9000 {
		t.Errorf("%d rounds of 9000", n.Load())
	}
}

func TestNoAllocation(t *testing.T) {
	p := newPool(t, 2)
	var n atomic.Int32
	fn := func(w *Worker) error {
		for range 10 {
			w.For(9, 1, func(lo, hi int) { n.Add(1) })
		}
		return nil
	}
	if a := testing.AllocsPerRun(100, func() { p.Run(fn) }); a != 0 {
		t.Errorf("a Run allocates %v times", a)
	}
}

func TestNoWorkers(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a pool of no workers was made")
		}
	}()
	New(0)
}

// BenchmarkFor is the price of a loop of nothing.
func BenchmarkFor(b *testing.B) {
	for _, workers := range []int{1, 2, 4} {
		b.Run(fmt.Sprint("workers=", workers), func(b *testing.B) {
			p := newPool(b, workers)
			p.Run(func(w *Worker) error {
				for range b.N {
					w.For(2*workers, 1, func(lo, hi int) {})
				}
				return nil
			})
		})
	}
}
