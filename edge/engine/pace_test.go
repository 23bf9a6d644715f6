package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bimamba/edge/model"
)

// pacer makes an engine rest for a time that can be changed, and sums up what it is told.
type pacer struct {
	rest, hold    atomic.Int64
	rows, sampled atomic.Int64
}

func (p *pacer) pace(pass Pass) Rest {
	p.rows.Add(int64(pass.Rows))
	p.sampled.Add(int64(pass.Sampled))
	return Rest{All: time.Duration(p.rest.Load()), Answers: time.Duration(p.hold.Load())}
}

// Rests change no bit, the engine is not taken for one that hangs meanwhile, and every token is told.
func TestPace(t *testing.T) {
	req := Request{Prompt: tokens(1, 40), MaxTokens: 8, Sample: greedy}
	want := digest(generate(t, tiny(t, Options{}), req))
	p := &pacer{}
	const rest = 5 * time.Millisecond
	p.rest.Store(int64(rest))
	e := tiny(t, Options{Pace: p.pace, Model: model.Options{Batch: 20}})
	start := time.Now()
	res := generate(t, e, req)
	if got := digest(res); got != want {
		t.Errorf("with rests:\n%s\nwithout\n%s", got, want)
	}
	// Two passes for the prompt and one for each token but the last, which no pass follows.
	eventually(t, "it is told of all rows and tokens", func() bool { return p.rows.Load() == 40+7 && p.sampled.Load() == 8 })
	if took := time.Since(start); took < 8*rest {
		t.Errorf("9 passes with rests of %v between them took %v", rest, took)
	}
	p.rest.Store(int64(time.Hour))
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, err := e.Generate(ctx, req, nil)
		done <- err
	}()
	eventually(t, "the engine rests", func() bool {
		_, busy := e.Progress()
		return !busy && e.Stats().Active == 1
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	eventually(t, "the session is free again", func() bool { return e.Stats().Active == 0 })
}

// Who comes while the engine rests gets a session, who is one too many is told, and the end does not wait.
func TestPaceStops(t *testing.T) {
	p := &pacer{}
	p.rest.Store(int64(time.Hour))
	e := tiny(t, Options{Pace: p.pace, Queue: -1, Model: model.Options{Sessions: 2}})
	done := make(chan error, 2)
	for i := range 2 {
		go func() {
			_, err := e.Generate(context.Background(), Request{Prompt: tokens(i, 3), MaxTokens: 1000, Sample: greedy}, nil)
			done <- err
		}()
		eventually(t, "a session", func() bool { return e.Stats().Active == i+1 })
	}
	if _, err := e.Generate(context.Background(), Request{Prompt: tokens(3, 3), MaxTokens: 1, Sample: greedy}, nil); !errors.As(err, new(*BusyError)) {
		t.Errorf("one too many: %v", err)
	}
	start := time.Now()
	e.abandon()
	for range 2 {
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("the end took %v", took)
	}
}

// Answers that are held back hold up no prompt beside them.
func TestPaceHolds(t *testing.T) {
	p := &pacer{}
	e := tiny(t, Options{Pace: p.pace, Model: model.Options{Sessions: 2, Batch: 4}})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := e.Generate(ctx, Request{Prompt: tokens(1, 3), MaxTokens: 1000000, Sample: greedy}, nil)
		done <- err
	}()
	eventually(t, "tokens", func() bool { return p.sampled.Load() > 2 })
	p.hold.Store(int64(time.Hour))
	eventually(t, "the engine rests", func() bool {
		_, busy := e.Progress()
		return !busy && e.Stats().Active == 1
	})
	was := p.sampled.Load()
	if res := generate(t, e, Request{Prompt: tokens(2, 40), MaxTokens: 1, Sample: greedy}); len(res.IDs) != 1 {
		t.Errorf("%d tokens behind the prompt", len(res.IDs))
	}
	eventually(t, "its token is told", func() bool { return p.sampled.Load() > was })
	if n := p.sampled.Load() - was; n != 1 {
		t.Errorf("%d tokens while answers are held back", n)
	}
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// An engine that drains does not rest.
func TestPaceDrains(t *testing.T) {
	p := &pacer{}
	p.rest.Store(int64(time.Hour))
	e := tiny(t, Options{Pace: p.pace})
	done := make(chan error, 1)
	go func() {
		_, err := e.Generate(context.Background(), Request{Prompt: tokens(1, 3), MaxTokens: 20, Sample: greedy}, nil)
		done <- err
	}()
	eventually(t, "the engine rests", func() bool { return p.rows.Load() > 0 })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := e.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Shares of requests beside one another are by tokens, and add up to the time in which there was work.
func TestShare(t *testing.T) {
	p := &pacer{}
	p.rest.Store(int64(2 * time.Millisecond))
	e := tiny(t, Options{Pace: p.pace, Model: model.Options{Sessions: 3}})
	results := make([]*Result, 3)
	start := time.Now()
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() { results[i] = generate(t, e, Request{Prompt: tokens(i, 3), MaxTokens: 60, Sample: greedy}) })
	}
	wg.Wait()
	wall := time.Since(start)
	var sum time.Duration
	for _, r := range results {
		sum += r.Share
		if whole := r.Prefill + r.Decode; r.Share <= 0 || r.Share > whole*9/10 {
			t.Errorf("one of three has %v of the %v that it took", r.Share, whole)
		}
		if r.Began.Before(start) || r.Began.After(start.Add(wall)) {
			t.Errorf("it began at %v", r.Began)
		}
	}
	if sum > wall || sum < wall/2 {
		t.Errorf("the shares are %v together, and all took %v", sum, wall)
	}
	if r := generate(t, e, Request{Prompt: tokens(7, 3), MaxTokens: 20, Sample: greedy}); r.Share > r.Prefill+r.Decode || r.Share < (r.Prefill+r.Decode)*8/10 {
		t.Errorf("alone it has %v of %v", r.Share, r.Prefill+r.Decode)
	}
}

// Threads that come and go while requests run change no bit.
func TestLimitThreads(t *testing.T) {
	req := Request{Prompt: tokens(1, 40), MaxTokens: 100, Sample: greedy}
	want := digest(generate(t, tiny(t, Options{}), req))
	e := tiny(t, Options{Model: model.Options{Threads: 3, Sessions: 2}})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				e.Model.LimitThreads(n%6 - 1) // also numbers that are none, and more than there are
			}
		}
	}()
	for range 4 {
		if got := digest(generate(t, e, req)); got != want {
			t.Errorf("with threads that change:\n%s\nelse\n%s", got, want)
		}
	}
	close(stop)
	<-stopped
}
