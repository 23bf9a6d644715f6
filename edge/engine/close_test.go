package engine

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"bimamba/edge/model"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
)

// endless starts n requests that do not end by themselves, and waits until they are in.
func endless(t *testing.T, e *Engine, n int) (errs chan error) {
	errs = make(chan error, n)
	for i := range n {
		go func() {
			_, err := e.Generate(context.Background(), Request{Prompt: tokens(i, 9), MaxTokens: 1 << 30, Sample: greedy}, func(Piece) error { return nil })
			errs <- err
		}()
	}
	eventually(t, "all are in", func() bool { s := e.Stats(); return s.Active+s.Waiting == n })
	return errs
}

// TestClose ends requests that run, that wait and whose clients do not read, and leaves nothing behind.
func TestClose(t *testing.T) {
	blob := testmodel.Tiny(t, memmap.KindBase)
	before := runtime.NumGoroutine()
	for range 20 {
		e := start(t, blob, Options{Model: model.Options{Sessions: 2, Threads: 2}})
		errs := endless(t, e, 4)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if err := <-errs; !errors.Is(err, ErrClosed) {
				t.Fatalf("a request ended with %v", err)
			}
		}
		if _, err := e.Generate(context.Background(), Request{Prompt: []uint32{50}, Sample: greedy}, nil); !errors.Is(err, ErrClosed) {
			t.Fatalf("a late request gave %v", err)
		}
		if err := e.Close(); err != nil {
			t.Fatalf("again: %v", err)
		}
	}
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= before })
}

// TestFair computes prompts however many answers are written, and answers however long prompts are.
func TestFair(t *testing.T) {
	blob := testmodel.Tiny(t, memmap.KindBase)
	for batch := 1; batch <= 4; batch++ {
		e := start(t, blob, Options{Model: model.Options{Sessions: 4, Batch: batch}})
		errs := endless(t, e, 3)
		eventually(t, "all write answers", func() bool {
			e.loop.mu.Lock()
			defer e.loop.mu.Unlock()
			return !slices.ContainsFunc(e.loop.active, (*job).prompting)
		})
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		if res, err := e.Generate(ctx, Request{Prompt: tokens(9, 50), MaxTokens: 20, Sample: greedy}, nil); err != nil || len(res.IDs) != 20 {
			t.Errorf("batches of %d: %v", batch, err)
		}
		cancel()
		// A prompt without end beside an answer.
		long := Request{Prompt: slices.Repeat(tokens(1, 10), 10000), Sample: greedy}
		ctx, cancel = context.WithCancel(context.Background())
		go e.Generate(ctx, long, nil)
		before := e.answered()
		eventually(t, "answers go on", func() bool {
			now := e.answered()
			return e.Stats().Active == 4 && now[0] > before[0]+5 && now[1] > before[1]+5 && now[2] > before[2]+5
		})
		cancel()
		e.Close()
		for range 3 {
			<-errs
		}
	}
}

// answered is how many tokens of their answers the requests that run have gone on by.
func (e *Engine) answered() (n []int) {
	e.loop.mu.Lock()
	defer e.loop.mu.Unlock()
	for _, j := range e.loop.active {
		n = append(n, j.state.fed-len(j.req.Prompt))
	}
	return append(n, 0, 0, 0)
}

// TestDrain lets requests end.
func TestDrain(t *testing.T) {
	e := tiny(t, Options{})
	done := make(chan error)
	release := make(chan struct{})
	started := make(chan struct{})
	var once sync.Once
	go func() {
		_, err := e.Generate(context.Background(), Request{Prompt: tokens(1, 9), MaxTokens: 3000, Sample: greedy, LogProbs: true}, func(Piece) error {
			once.Do(func() { close(started) })
			<-release
			return nil
		})
		done <- err
	}()
	<-started
	short, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	if err := e.Drain(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain gave %v while a request runs", err)
	}
	if _, err := e.Generate(context.Background(), Request{Prompt: []uint32{50}, Sample: greedy}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a new request gave %v", err)
	}
	close(release)
	if err := e.Drain(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Errorf("the request that ran gave %v", err)
	}
}
