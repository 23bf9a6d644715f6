package engine

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"bimamba/convert"
	"bimamba/edge/model"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
)

// collect feeds the tokens of text to an output, one at a time, and returns what it emitted until a stop string was complete.
func collect(t *testing.T, e *Engine, stop []string, text string) (emitted []string, stopped bool) {
	t.Helper()
	o := newOutput(e.Tokens, stop, func(s string, _ []Token) { emitted = append(emitted, s) })
	for _, id := range e.Tokens.Encode(nil, text) {
		if o.token(id) {
			stopped = true
			break
		}
	}
	o.finish()
	if got := strings.Join(emitted, ""); got != o.text.String() {
		t.Errorf("emitted %q, kept %q", got, o.text.String())
	}
	return emitted, stopped
}

// TestStopStrings are found across tokens; nothing of them is emitted, and nothing is held back for good.
func TestStopStrings(t *testing.T) {
	e := open(t, testmodel.Default(t), model.LUT16)
	for _, c := range []struct {
		text, want string
		stop       []string
		stopped    bool
	}{
		{"one two three", "one two three", nil, false},
		{"one two three", "one ", []string{"two"}, true},
		{"one two three", "one tw", []string{"o three", "zzz"}, true},
		{"one two three", "", []string{"one"}, true},
		{"one two thr", "one two thr", []string{"three"}, false}, // held back, and given out at the end
		{"one two three", "on", []string{"three", "e two"}, true},
		{"aaab", "a", []string{"aab"}, true},
		{"héllo 🙂 wörld", "héllo ", []string{"🙂"}, true},
		{"line\nmore", "line", []string{"\n"}, true},
		{"x", "x", []string{""}, false},
	} {
		emitted, stopped := collect(t, e, c.stop, c.text)
		if got := strings.Join(emitted, ""); got != c.want || stopped != c.stopped {
			t.Errorf("%q until %q: %q, %t; not %q, %t", c.text, c.stop, got, stopped, c.want, c.stopped)
		}
		for _, s := range emitted {
			if strings.ToValidUTF8(s, "") != s {
				t.Errorf("%q: the piece %q splits a character", c.text, s)
			}
		}
	}
}

// TestGenerate ends as asked.
func TestGenerate(t *testing.T) {
	e := open(t, testmodel.Default(t), model.LUT16)
	text, err := e.TaskPrompt("home", "turn on the kitchen lights")
	if err != nil {
		t.Fatal(err)
	}
	prompt, err := e.Encode(text)
	if err != nil {
		t.Fatal(err)
	}
	req := Request{Prompt: prompt, MaxTokens: 80, Sample: greedy}
	generate := e.Generate

	var pieces []string
	whole, err := generate(context.Background(), req, func(p Piece) error { pieces = append(pieces, p.Text); return nil })
	if err != nil || whole.FinishReason != FinishStop || strings.Join(pieces, "") != whole.Text || len(pieces) < 5 {
		t.Fatalf("%+v in %d pieces, %v", whole, len(pieces), err)
	}
	short := req
	short.MaxTokens = 4
	if res, err := generate(context.Background(), short, nil); err != nil || res.FinishReason != FinishLength || !slices.Equal(res.IDs, whole.IDs[:4]) {
		t.Errorf("4 tokens: %+v, %v", res, err)
	}
	short.MaxTokens = 0
	if res, err := generate(context.Background(), short, nil); err != nil || res.FinishReason != FinishLength || res.Text != "" {
		t.Errorf("0 tokens: %+v, %v", res, err)
	}
	broken := errors.New("broken pipe")
	if _, err := generate(context.Background(), req, func(Piece) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("a failing reader gave %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	if _, err := generate(ctx, req, func(Piece) error {
		if n++; n == 3 {
			cancel()
		}
		return nil
	}); !errors.Is(err, context.Canceled) || n != 3 {
		t.Errorf("a cancelled generation gave %v behind %d pieces", err, n)
	}
	bad := req
	bad.Sample.TopP = 2
	if _, err := generate(context.Background(), bad, nil); err == nil {
		t.Error("top-p 2 is accepted")
	}
	bad = req
	bad.Prompt = nil
	if _, err := generate(context.Background(), bad, nil); err == nil {
		t.Error("an empty prompt is accepted")
	}
	if _, err := e.TaskPrompt("fly", "x"); err == nil || !strings.Contains(err.Error(), "home, assist, topics") {
		t.Errorf("an unknown task gave %v", err)
	}
}

// TestSessions run at once and do not disturb one another.
func TestSessions(t *testing.T) {
	blob := testmodel.Default(t)
	e, err := Open(blob, Options{Model: model.Options{Sessions: 3}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	prompts := []string{"turn on the kitchen lights", "set a timer for 5 minutes", "what is the temperature in the living room"}
	run := func(utterance string) []uint32 {
		text, err := e.TaskPrompt("home", utterance)
		if err != nil {
			t.Error(err)
			return nil
		}
		ids, err := e.Encode(text)
		if err != nil {
			t.Error(err)
			return nil
		}
		res, err := e.Generate(context.Background(), Request{Prompt: ids, MaxTokens: 12, Sample: greedy}, nil)
		if err != nil {
			t.Error(err)
			return nil
		}
		return res.IDs
	}
	var alone [3][]uint32
	for i, p := range prompts {
		alone[i] = run(p)
	}
	var wg sync.WaitGroup
	for i, p := range prompts {
		wg.Go(func() {
			if got := run(p); !slices.Equal(got, alone[i]) {
				t.Errorf("%q beside others: %v, alone %v", p, got, alone[i])
			}
		})
	}
	wg.Wait()
}

// TestFaultWhileGenerating cuts the file under a running request, which gets the error; the engine answers on.
func TestFaultWhileGenerating(t *testing.T) {
	b, err := os.ReadFile(testmodel.Default(t).Name())
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/m.bimamba"
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	blob, err := memmap.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	e := open(t, blob, model.LUT16)
	ids, err := e.Encode("<|home|>turn on the kitchen lights<|reply|>")
	if err != nil {
		t.Fatal(err)
	}
	eos := e.manifest.Prompt.EOSIDs
	e.eos(nil) // it must not end before the file is cut
	n := 0
	_, err = e.Generate(context.Background(), Request{Prompt: ids, MaxTokens: 1 << 30, Sample: greedy}, func(Piece) error {
		if n++; n == 2 {
			return os.Truncate(path, 1<<20)
		}
		return nil
	})
	e.eos(eos)
	var fault *memmap.FaultError
	if !errors.As(err, &fault) {
		t.Fatalf("the request gave %v", err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil { // the same file again, as when a card is put back
		t.Fatal(err)
	}
	if res := answer(t, e, "home", "turn on the kitchen lights"); !strings.HasPrefix(res.Text, `{"intent":"HassTurnOn"`) {
		t.Errorf("the next request gave %q", res.Text)
	}
}

// TestNoTokenizer refuses text by name.
func TestNoTokenizer(t *testing.T) {
	e := open(t, testmodel.Convert(t, "../../testdata/golden/bimamba-single", convert.Options{}), model.LUT16)
	if _, err := e.Encode("x"); !errors.Is(err, ErrNoTokenizer) {
		t.Errorf("Encode gave %v", err)
	}
	if _, err := e.Generate(context.Background(), Request{Prompt: []uint32{1}, Sample: greedy}, nil); !errors.Is(err, ErrNoTokenizer) {
		t.Errorf("Generate gave %v", err)
	}
}
