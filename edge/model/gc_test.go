package model

import (
	"runtime"
	"sync/atomic"
	"testing"

	"bimamba/convert"
	"bimamba/internal/testmodel"
)

// TestGarbageCollection decodes on several threads while another goroutine makes garbage without end: collections come and go, whose pauses ask the
// workers to stop in the middle of loops and barriers, and the results are those of a quiet process.
func TestGarbageCollection(t *testing.T) {
	m := openModel(t, testmodel.Convert(t, goldenDir("bimamba"), convert.Options{}), Options{Threads: 3})
	ids := sequence(200, int(m.h.VocabSize))
	s := m.Session(0)
	want := run(t, s, ids)
	var stop atomic.Bool
	ended := make(chan int)
	go func() {
		var kept [64][]byte
		n := 0
		for ; !stop.Load(); n++ {
			kept[n%len(kept)] = make([]byte, 64<<10)
			if n%500 == 0 {
				runtime.GC()
			}
		}
		ended <- n
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 5 {
		s.Reset()
		got := run(t, s, ids)
		for i, v := range got {
			if v != want[i] {
				t.Fatalf("logit %d differs in a busy process: %v, want %v", i, v, want[i])
			}
		}
	}
	runtime.ReadMemStats(&after)
	stop.Store(true)
	if n := <-ended; after.NumGC-before.NumGC < 3 {
		t.Errorf("only %d collections during the test, %d pieces of garbage", after.NumGC-before.NumGC, n)
	}
}
