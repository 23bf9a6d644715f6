package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bimamba/edge/grammar"
	"bimamba/edge/model"
	"bimamba/edge/sample"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
)

// tiny opens a small base model, which has no end token: its answers are as long as they may be.
func tiny(t testing.TB, opt Options) *Engine {
	t.Helper()
	return start(t, testmodel.Tiny(t, memmap.KindBase), opt)
}

func start(t testing.TB, blob *memmap.File, opt Options) *Engine {
	t.Helper()
	opt.Model.Precision = model.LUT16
	e, err := Open(blob, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	e.eos(nil)
	return e
}

// eos replaces the end tokens.
func (e *Engine) eos(ids []uint32) {
	m := *e.manifest
	m.Prompt.EOSIDs = ids
	e.manifest = &m
}

func generate(t testing.TB, e *Engine, r Request) *Result {
	t.Helper()
	res, err := e.Generate(context.Background(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// eventually waits for what other goroutines do soon.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// tokens makes n tokens that are the same for the same seed.
func tokens(seed, n int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		seed = seed*1103515245 + 12345
		ids[i] = uint32(seed>>16)&127 + 40
	}
	return ids
}

// digest is all of a result that must not depend on what else runs.
func digest(r *Result) string {
	return fmt.Sprintf("%q %v %s %x %x", r.Text, r.IDs, r.FinishReason, fmt.Sprint(r.Prompt), fmt.Sprint(r.Tokens))
}

// TestTogether gets the same bits from requests of every kind alone and beside one another, prompts beside answers.
func TestTogether(t *testing.T) {
	blob := testmodel.Tiny(t, memmap.KindBase)
	warm := sample.Params{Temperature: 0.9, TopP: 0.95, TopK: 40, RepetitionPenalty: 1.1, PresencePenalty: 0.5, Seed: 7}
	requests := []Request{
		{Prompt: tokens(1, 90), MaxTokens: 10, Sample: greedy, LogProbs: true, TopTokens: 3},
		{Prompt: tokens(2, 3), MaxTokens: 60, Sample: warm, LogProbs: true},
		{Prompt: tokens(3, 25), MaxTokens: 4, Sample: greedy, PromptLogProbs: true, TopTokens: 2},
		{Prompt: tokens(4, 17), MaxTokens: 40, Sample: warm, Grammar: grammar.JSON(), Borders: []int{5, 17}},
	}
	var alone []string
	for _, r := range requests {
		alone = append(alone, digest(generate(t, start(t, blob, Options{}), r)))
	}
	for _, opt := range []Options{
		{Model: model.Options{Sessions: 4, Threads: 2}},
		{Model: model.Options{Sessions: 4, Prefixes: 4, Batch: 8}, Slice: 3},
		{Model: model.Options{Sessions: 2, Prefixes: 1, Batch: 1}},
	} {
		e := start(t, blob, opt)
		for round := range 3 { // later ones begin with states of those before
			var wg sync.WaitGroup
			for k := range requests {
				i := (k + round) % len(requests)
				wg.Go(func() {
					res, err := e.Generate(context.Background(), requests[i], func(Piece) error { return nil })
					if err != nil {
						t.Error(err)
					} else if got := digest(res); got != alone[i] {
						t.Errorf("%+v, request %d, round %d:\n%s\nalone\n%s", opt, i, round, got, alone[i])
					}
				})
			}
			wg.Wait()
		}
	}
}

// TestDefaultTogether is TestTogether with the default model.
func TestDefaultTogether(t *testing.T) {
	slow(t)
	e, err := Open(testmodel.Default(t), Options{Model: model.Options{Precision: model.LUT16, Sessions: 4}, Slice: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, alone := range []bool{true, false} {
		var wg sync.WaitGroup
		for _, c := range testmodel.AssistantGolden(t).Cases[:4] {
			run := func() {
				res, err := e.Generate(context.Background(), Request{Prompt: c.PromptIDs, MaxTokens: 80, Sample: greedy}, nil)
				if err != nil || c.SmallestMargin > 0.05 && res.Text != c.Text {
					t.Errorf("alone %t, %q: %+v, not %q (%v)", alone, c.Prompt, res, c.Text, err)
				}
			}
			if alone {
				run()
			} else {
				wg.Go(run)
			}
		}
		wg.Wait()
	}
}

// TestTurns computes every token of conversations once.
func TestTurns(t *testing.T) {
	blob := testmodel.Tiny(t, memmap.KindBase)
	for _, c := range []struct {
		name                            string
		sessions, copies, conversations int
	}{{"one session", 1, 0, 1}, {"copies", 1, 8, 1}, {"interleaved", 1, 8, 3}, {"on more sessions", 3, 8, 5}} {
		t.Run(c.name, func(t *testing.T) {
			e := start(t, blob, Options{Model: model.Options{Sessions: c.sessions, Prefixes: c.copies}})
			history := make([][]uint32, c.conversations)
			system := tokens(99, 20)
			for turn := range 10 {
				for i := range history {
					known := max(len(history[i])-1, 0) // all but the answer's last token, behind which nothing had been asked for
					if turn == 0 {
						history[i] = slices.Clone(system)
						if i > 0 && c.copies > 0 {
							known = len(system)
						}
					}
					border := len(history[i])
					history[i] = append(history[i], tokens(100*turn+i, 5+turn)...)
					res := generate(t, e, Request{Prompt: history[i], MaxTokens: 4, Sample: greedy, Borders: []int{len(system), border, len(history[i])}})
					if res.Cached != known || len(res.IDs) != 4 {
						t.Errorf("turn %d of conversation %d: %d of %d tokens were known, not %d", turn, i, res.Cached, len(history[i]), known)
					}
					history[i] = append(history[i], res.IDs...)
				}
			}
			all := 0
			for _, h := range history {
				all += len(h) - 1 - len(system)
			}
			if s := e.Stats(); s.Rows != uint64(all+len(system)) {
				t.Errorf("%d tokens were computed for %d of conversations", s.Rows, all+len(system))
			}
		})
	}
}

// TestAgain answers a prompt that was answered before without computing any of it.
func TestAgain(t *testing.T) {
	e := tiny(t, Options{Model: model.Options{Prefixes: 2}})
	r := Request{Prompt: tokens(1, 30), MaxTokens: 6, Sample: greedy, Borders: []int{10, 30}}
	first, second := generate(t, e, r), generate(t, e, r)
	if first.Cached != 0 || second.Cached != 30 || second.Prefill != 0 || digest(first) != digest(second) {
		t.Errorf("%+v, then %+v", first, second)
	}
	r.Prompt = slices.Concat(r.Prompt[:10], tokens(5, 9))
	if res := generate(t, e, r); res.Cached != 10 {
		t.Errorf("%d tokens of another prompt were known, not 10", res.Cached)
	}
}

// held runs fn while the only session of e is taken.
func held(t *testing.T, e *Engine, fn func()) {
	t.Helper()
	generate(t, e, Request{Prompt: []uint32{50}, Sample: greedy, Name: "held"})
	if err := e.hold("held", fn); err != nil {
		t.Fatal(err)
	}
}

// TestQueue answers in order, and refuses what is too much.
func TestQueue(t *testing.T) {
	e := tiny(t, Options{Model: model.Options{Prefixes: 4}, Queue: 2})
	var wg sync.WaitGroup
	held(t, e, func() {
		for i := range 3 { // one for the session, two wait
			wg.Go(func() {
				if _, err := e.Generate(context.Background(), Request{Prompt: tokens(10+i, 4), MaxTokens: 3, Sample: greedy}, nil); err != nil {
					t.Error(err)
				}
			})
			eventually(t, "the request waits", func() bool { return e.Stats().Waiting == i+1 })
		}
		_, err := e.Generate(context.Background(), Request{Prompt: tokens(13, 4), MaxTokens: 3, Sample: greedy}, nil)
		var busy *BusyError
		if !errors.As(err, &busy) || busy.Waiting != 3 || busy.RetryAfter < time.Second || busy.RetryAfter > time.Minute || !strings.Contains(err.Error(), "3 requests are waiting") {
			t.Errorf("one too many: %v", err)
		}
	})
	wg.Wait()
	// The copies tell the order.
	e.loop.mu.Lock()
	defer e.loop.mu.Unlock()
	var last uint64
	for i := range 3 {
		s := e.loop.states.longest(append(tokens(10+i, 4), e.loop.states.find(tokens(10+i, 4))...))
		if s == nil || s.used <= last {
			t.Fatalf("request %d was not answered behind the one before it", i)
		}
		last = s.used
	}
	if s := e.loop.stats; s.Refused != 1 || s.Requests != 4 {
		t.Errorf("%+v", s)
	}
}

// find is what a state saw behind a prompt.
func (t *states) find(prompt []uint32) []uint32 {
	for i := range t.all {
		if s := &t.all[i]; s.fed >= len(prompt) && slices.Equal(s.seq[:len(prompt)], prompt) {
			return slices.Concat(s.seq[len(prompt):s.fed], []uint32{0})
		}
	}
	return nil
}

// TestLeaveWhileWaiting frees the place in the queue.
func TestLeaveWhileWaiting(t *testing.T) {
	e := tiny(t, Options{Queue: 1})
	held(t, e, func() {
		ctx, cancel := context.WithCancel(context.Background())
		gone := make(chan error)
		go func() {
			_, err := e.Generate(ctx, Request{Prompt: tokens(1, 4), MaxTokens: 3, Sample: greedy}, nil)
			gone <- err
		}()
		eventually(t, "the request waits", func() bool { return e.Stats().Waiting == 1 })
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("left with %v", err)
		}
		eventually(t, "the queue is empty", func() bool { return e.Stats().Waiting == 0 })
		late, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if _, err := e.Generate(late, Request{Prompt: tokens(1, 4), MaxTokens: 3, Sample: greedy}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("late with %v", err)
		}
		eventually(t, "the queue is empty", func() bool { return e.Stats().Waiting == 0 })
	})
	if s := e.Stats(); s.Cancelled != 2 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
	generate(t, e, Request{Prompt: tokens(1, 4), MaxTokens: 3, Sample: greedy})
}

// TestLeave keeps what was computed for a request whose caller has left, in its prompt and in its answer.
func TestLeave(t *testing.T) {
	e := tiny(t, Options{Model: model.Options{Batch: 2}})
	prompt := tokens(1, 3000)
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan error)
	before, _ := e.Progress()
	go func() {
		_, err := e.Generate(ctx, Request{Prompt: prompt, MaxTokens: 3, Sample: greedy}, nil)
		gone <- err
	}()
	eventually(t, "five passes", func() bool { n, _ := e.Progress(); return n >= before+5 })
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatalf("left with %v", err)
	}
	eventually(t, "the session is free", func() bool { return e.Stats().Active == 0 })
	short := Request{Prompt: prompt[:0], MaxTokens: 3, Sample: greedy, LogProbs: true}
	n := e.loop.states.all[0].fed
	if n < 10 || n >= len(prompt) {
		t.Fatalf("%d tokens were computed", n)
	}
	short.Prompt = prompt[:n+5]
	res := generate(t, e, short)
	if fresh := generate(t, tiny(t, Options{}), short); res.Cached != n || digest(res) != digest(fresh) {
		t.Errorf("%d tokens were known, not %d; %s, fresh %s", res.Cached, n, digest(res), digest(fresh))
	}

	ctx, cancel = context.WithCancel(context.Background())
	long := Request{Prompt: tokens(2, 20), MaxTokens: 1 << 40, Sample: greedy}
	text, pieces := "", 0
	_, err := e.Generate(ctx, long, func(p Piece) error {
		text += p.Text
		if pieces++; pieces == 3 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || pieces != 3 {
		t.Fatalf("left behind %d pieces with %v", pieces, err)
	}
	eventually(t, "the session is free", func() bool { return e.Stats().Active == 0 })
	seq := slices.Clone(e.loop.states.all[0].seq)
	if res := generate(t, e, Request{Prompt: append(seq, 60), MaxTokens: 2, Sample: greedy}); res.Cached < 20+3 {
		t.Errorf("%d tokens were known", res.Cached)
	}
	broken := errors.New("broken pipe")
	if _, err := e.Generate(context.Background(), long, func(Piece) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("emit's error gave %v", err)
	}
	eventually(t, "the session is free", func() bool { return e.Stats().Active == 0 })
}

// standsStill tells whether the only request has a client that does not read.
func (e *Engine) standsStill() bool {
	e.loop.mu.Lock()
	defer e.loop.mu.Unlock()
	return len(e.loop.active) == 1 && e.loop.active[0].stalled()
}

// TestSlowReader stands still when its client does not read, and nobody else does.
func TestSlowReader(t *testing.T) {
	e := tiny(t, Options{Model: model.Options{Sessions: 2}})
	slowly := Request{Prompt: tokens(1, 5), MaxTokens: 2500, Sample: greedy, LogProbs: true}
	read := make(chan struct{})
	var whole *Result
	var got []Token
	var wg sync.WaitGroup
	wg.Go(func() {
		var err error
		whole, err = e.Generate(context.Background(), slowly, func(p Piece) error {
			<-read
			got = append(got, p.Tokens...)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	eventually(t, "it stands still", e.standsStill)
	e.loop.mu.Lock()
	j := e.loop.active[0]
	j.mu.Lock()
	unread, done := j.unread, len(j.res.IDs)
	j.mu.Unlock()
	e.loop.mu.Unlock()
	if unread <= maxUnread || unread > maxUnread+1024 || done >= slowly.MaxTokens {
		t.Errorf("%d bytes are unread behind %d tokens", unread, done)
	}
	other := Request{Prompt: tokens(2, 5), MaxTokens: 20, Sample: greedy}
	if res := generate(t, e, other); len(res.IDs) != 20 {
		t.Errorf("the other request gave %+v", res)
	}
	close(read)
	wg.Wait()
	if whole == nil || len(whole.IDs) != slowly.MaxTokens || len(got) != len(whole.IDs) || fmt.Sprint(got) != fmt.Sprint(whole.Tokens) {
		t.Errorf("the slow reader got %d of %d tokens", len(got), slowly.MaxTokens)
	}
}

// TestFault fails the requests of the pass that met it. One that stands still meanwhile goes on.
func TestFault(t *testing.T) {
	b, err := os.ReadFile(testmodel.Tiny(t, memmap.KindBase).Name())
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/m.bimamba"
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	blob, err := memmap.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	e := start(t, blob, Options{Model: model.Options{Sessions: 3}})
	stalled := Request{Prompt: tokens(1, 5), MaxTokens: 1500, Sample: greedy, LogProbs: true}
	want := digest(generate(t, tiny(t, Options{}), stalled))
	read := make(chan struct{})
	var got string
	var wg sync.WaitGroup
	wg.Go(func() {
		if res, err := e.Generate(context.Background(), stalled, func(Piece) error { <-read; return nil }); err != nil {
			t.Error(err)
		} else {
			got = digest(res)
		}
	})
	eventually(t, "it stands still", e.standsStill)
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	failed := func(err error) bool { _, ok := errors.AsType[*memmap.FaultError](err); return ok }
	for i := range 2 {
		wg.Go(func() {
			if _, err := e.Generate(context.Background(), Request{Prompt: tokens(5+i, 5), MaxTokens: 5, Sample: greedy}, nil); !failed(err) {
				t.Errorf("a request on a truncated file gave %v", err)
			}
		})
	}
	if _, err := e.Generate(context.Background(), Request{Prompt: tokens(9, 5), MaxTokens: 5, Sample: greedy, Grammar: grammar.JSON()}, nil); !failed(err) {
		t.Errorf("a grammar on a truncated file gave %v", err)
	}
	eventually(t, "they have failed", func() bool { return e.Stats().Failed == 2 })
	if err := os.WriteFile(path, b, 0o600); err != nil { // the same file again, as when a card is put back
		t.Fatal(err)
	}
	close(read)
	wg.Wait()
	if got != want {
		t.Errorf("the request that stood still gave %.200s, not %.200s", got, want)
	}
	res := generate(t, e, Request{Prompt: tokens(9, 5), MaxTokens: 40, Sample: greedy, Grammar: grammar.JSON()})
	if !json.Valid([]byte(res.Text)) || res.Cached != 0 {
		t.Errorf("the next one gave %+v", res)
	}
}

// TestSampleUnlocked holds a job up while it samples: the engine answers all the same.
func TestSampleUnlocked(t *testing.T) {
	e := tiny(t, Options{Model: model.Options{Sessions: 2, Prefixes: 2}})
	for name, cached := range map[string]bool{"behind a pass": false, "a prompt that was computed": true} {
		prompt := tokens(7, 5)
		if cached {
			generate(t, e, Request{Prompt: prompt, Sample: greedy, Borders: []int{len(prompt)}})
		}
		held, release := make(chan struct{}), make(chan struct{})
		j := &job{e: e, ctx: t.Context(), req: &Request{Prompt: prompt, MaxTokens: 1, Sample: greedy}, wake: make(chan struct{}, 1), came: time.Now()}
		j.out = newOutput(e.Tokens, nil, func(string, []Token) {
			close(held)
			<-release
		})
		j.req.LogProbs = true // so that a piece comes whatever the token is
		if err := e.submit(j); err != nil {
			t.Fatal(err)
		}
		<-held
		done := make(chan struct{})
		go func() {
			defer close(done)
			if s := e.Stats(); s.Active != 1 {
				t.Errorf("%s: %+v", name, s)
			}
			if err := e.Export("nobody", nil); !errors.Is(err, ErrNoSession) {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := e.Script([]Part{{Text: "x"}}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: the engine waits for a job that samples", name)
		}
		close(release)
		<-j.wake
	}
}
