package engine

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"bimamba/edge/model"
	snapshot "bimamba/edge/state"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
)

// hold runs fn while the session of a name is taken.
func (e *Engine) hold(name string, fn func()) error {
	return e.Export(name, func(*snapshot.Snapshot) error {
		fn()
		return nil
	})
}

// export writes the session's snapshot.
func export(t *testing.T, e *Engine, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := e.Export(name, func(x *snapshot.Snapshot) error { return snapshot.Write(&b, x) }); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// from reads a snapshot for Import.
func from(b []byte) func(snapshot.Expect, *snapshot.Snapshot) error {
	return func(want snapshot.Expect, to *snapshot.Snapshot) error {
		return snapshot.Read(bytes.NewReader(b), want, to)
	}
}

// TestSnapshot goes on in another engine, to the bit, behind an answer and behind a prompt.
func TestSnapshot(t *testing.T) {
	blob := testmodel.Tiny(t, memmap.KindBase)
	for _, dtype := range []model.State{model.StateF32, model.StateF16} {
		opt := Options{Model: model.Options{State: dtype, Prefixes: 2}}
		a, b := start(t, blob, opt), start(t, blob, opt)
		first := generate(t, a, Request{Prompt: tokens(1, 12), MaxTokens: 7, Sample: greedy, Name: "s"})
		answered := export(t, a, "s")
		next := Request{Prompt: slices.Concat(tokens(1, 12), first.IDs, tokens(2, 4)), Sample: greedy, Name: "s", LogProbs: true}
		generate(t, a, next) // the prompt only
		prompted := export(t, a, "s")
		next.MaxTokens = 9
		want := generate(t, a, next)
		if want.Cached != len(next.Prompt) {
			t.Fatalf("%d tokens were known", want.Cached)
		}
		for _, c := range []struct {
			snapshot []byte
			tokens   int
		}{{answered, 12 + 7}, {prompted, len(next.Prompt)}} {
			ids, err := b.Import("s", false, from(c.snapshot))
			if err != nil || !slices.Equal(ids, next.Prompt[:c.tokens]) {
				t.Fatalf("%s: imported %v, %v", dtype, ids, err)
			}
			if res := generate(t, b, next); res.Cached != c.tokens || digest(res) != digest(want) {
				t.Errorf("%s: behind %d tokens %s, not %s behind %d", dtype, res.Cached, digest(res), digest(want), c.tokens)
			}
		}
		other := Options{Model: model.Options{State: model.StateF16}}
		if dtype == model.StateF16 {
			other.Model.State = model.StateF32
		}
		if _, err := start(t, blob, other).Import("s", false, from(answered)); !errors.Is(err, snapshot.ErrModel) {
			t.Errorf("%s: another type of state gave %v", dtype, err)
		}
	}
}

// TestImportErrors leaves what there is.
func TestImportErrors(t *testing.T) {
	e := tiny(t, Options{Model: model.Options{Prefixes: 1}})
	generate(t, e, Request{Prompt: tokens(1, 12), MaxTokens: 7, Sample: greedy, Name: "s"})
	good := export(t, e, "s")
	damaged := slices.Clone(good)
	damaged[len(damaged)-40] ^= 1
	if _, err := e.Import("s", false, from(damaged)); !errors.Is(err, snapshot.ErrDamaged) {
		t.Errorf("a damaged one: %v", err)
	}
	if c := &e.loop.states.all[1]; c.fed != 0 || c.busy || c.pinned || c.name != "" {
		t.Errorf("it left %+v", c)
	}
	if _, err := start(t, testmodel.Tiny(t, memmap.KindInstruct), Options{}).Import("s", false, from(good)); !errors.Is(err, snapshot.ErrModel) {
		t.Errorf("another model: %v", err)
	}
	if err := e.hold("other", nil); !errors.Is(err, ErrNoSession) {
		t.Errorf("no session: %v", err)
	}
	if err := e.hold("", nil); !errors.Is(err, ErrNoSession) {
		t.Errorf("no name: %v", err)
	}
	if err := e.hold("s", func() {
		if err := e.hold("s", nil); !errors.Is(err, ErrInUse) {
			t.Errorf("a busy session: %v", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := e.Export("s", func(*snapshot.Snapshot) error { return io.ErrShortWrite }); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a failing writer: %v", err)
	}
	// A persona takes the only copy for good, and another finds no room.
	if _, err := e.Import("", true, from(good)); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Import("", true, from(good)); !errors.Is(err, ErrNoRoom) {
		t.Errorf("a second persona: %v", err)
	}
	for i := range 5 {
		generate(t, e, Request{Prompt: tokens(10+i, 12), MaxTokens: 2, Sample: greedy, Borders: []int{6, 12}})
	}
	if res := generate(t, e, Request{Prompt: append(e.loop.states.all[1].seq, 50), MaxTokens: 2, Sample: greedy}); res.Cached != 12+7 {
		t.Errorf("%d tokens of the persona were known", res.Cached)
	}
	// A session's own memory will do for what is no persona.
	if _, err := e.Import("t", false, from(good)); err != nil {
		t.Fatal(err)
	}
	if s := e.loop.states.named("t"); s != &e.loop.states.all[0] {
		t.Errorf("t is %+v", s)
	}
	if err := e.hold("t", func() {
		if _, err := e.Import("u", false, from(good)); !errors.Is(err, ErrNoRoom) {
			t.Errorf("a third one: %v", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// TestNames keeps a conversation under its name when another goes on from the same state.
func TestNames(t *testing.T) {
	e := tiny(t, Options{Model: model.Options{Sessions: 1, Prefixes: 4}})
	tokensOf := func(name string) (n int) {
		t.Helper()
		if err := e.Export(name, func(x *snapshot.Snapshot) error { n = len(x.IDs); return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	system := tokens(1, 10)
	generate(t, e, Request{Prompt: slices.Concat(system, tokens(2, 5)), Sample: greedy, Name: "a", Borders: []int{10}})
	generate(t, e, Request{Prompt: slices.Concat(system, tokens(3, 6)), Sample: greedy, Name: "b", Borders: []int{10}})
	generate(t, e, Request{Prompt: slices.Concat(system, tokens(4, 7)), Sample: greedy, Borders: []int{10}})
	if a, b := tokensOf("a"), tokensOf("b"); a != 15 || b != 16 {
		t.Errorf("a has %d tokens, b %d", a, b)
	}
	// Somebody without a name goes on from a's state.
	if res := generate(t, e, Request{Prompt: slices.Concat(system, tokens(2, 5), tokens(5, 5)), Sample: greedy}); res.Cached != 15 {
		t.Errorf("%d tokens were known", res.Cached)
	}
	if a := tokensOf("a"); a != 15 {
		t.Errorf("a has %d tokens", a)
	}
	if res := generate(t, e, Request{Prompt: slices.Concat(system, tokens(2, 5), tokens(6, 5)), Sample: greedy, Name: "a"}); res.Cached != 15 {
		t.Errorf("%d tokens of a were known", res.Cached)
	}
	if a := tokensOf("a"); a != 20 {
		t.Errorf("a has %d tokens", a)
	}
}

// TestCloseWaits does not free the memory under an export, and lets none begin.
func TestCloseWaits(t *testing.T) {
	e := tiny(t, Options{})
	generate(t, e, Request{Prompt: tokens(1, 12), Sample: greedy, Name: "s"})
	closed := make(chan error, 1)
	err := e.Export("s", func(x *snapshot.Snapshot) error {
		go func() { closed <- e.Close() }()
		eventually(t, "Close has begun", func() bool { return errors.Is(e.hold("other", nil), ErrClosed) })
		select {
		case <-closed:
			t.Error("Close did not wait")
		case <-time.After(5 * time.Millisecond):
		}
		return snapshot.Write(io.Discard, x)
	})
	if err != nil {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := e.Import("s", false, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a late import gave %v", err)
	}
}
