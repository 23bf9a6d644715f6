package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// answer is a chat's, as far as these tests look at it. What has to be the same bit by bit stays as it was written.
type answer struct {
	Choices []struct {
		Message      message         `json:"message"`
		FinishReason string          `json:"finish_reason"`
		LogProbs     json.RawMessage `json:"logprobs"`
	} `json:"choices"`
	Usage struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
		Details    struct {
			Cached int `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	} `json:"usage"`
}

// seed is one with which the small models say none of their special tokens in the conversations here.
const seed = 2600

// conversation is one that goes on, with the daemon that answers it.
type conversation struct {
	d        *daemon
	model    string
	seed     int // besides 0
	messages []message
	answers  []answer
	saved    int // how many of them a snapshot was made behind, which takes in the last one's last token
}

// turn says something and takes the answer into the conversation.
func (c *conversation) turn(text string) *answer {
	c.d.t.Helper()
	c.messages = append(c.messages, message{"user", text})
	var a answer
	c.d.get("/v1/chat/completions", map[string]any{
		"model": c.model, "messages": c.messages, "max_tokens": 8 + len(c.answers)%3, "temperature": 0.8, "seed": seed + c.seed + len(c.answers), "logprobs": true,
		"prompt_cache_key": "kitchen talk",
	}, &a)
	if s := a.Choices[0].Message.Content; strings.Contains(s, "<|") {
		// What comes back of it is the client's text, and not that token; so it is read again, as it has to be.
		c.d.t.Fatalf("with seed %d the model says a special token: %q; choose another seed", seed+c.seed, s)
	}
	c.messages = append(c.messages, a.Choices[0].Message)
	c.answers = append(c.answers, a)
	return &a
}

// computed is how many tokens went through the model for an answer: those of the prompt that were not known, and those of the answer but for the
// last one, unless that was looked at and ended the answer.
func (a *answer) computed() int { return a.Usage.Prompt - a.Usage.Details.Cached + a.sampled() }

func (a *answer) sampled() int {
	if a.Choices[0].FinishReason == "length" {
		return a.Usage.Completion - 1
	}
	return a.Usage.Completion
}

// seen is how many tokens the model has seen when the answer is over.
func (a *answer) seen() int { return a.Usage.Prompt + a.sampled() }

// once checks that each turn begins where the last one ended, and that so all tokens were computed once.
func (c *conversation) once() {
	c.d.t.Helper()
	total := 0
	for i := range c.answers {
		a := &c.answers[i]
		want := 0
		if i > 0 {
			want = c.answers[i-1].seen()
		}
		if c.saved > 0 && i == c.saved {
			total += whole(&c.answers[i-1]) - want
			want = whole(&c.answers[i-1])
		}
		if a.Usage.Details.Cached != want {
			c.d.t.Errorf("turn %d: %d of %d tokens were known, not %d", i+1, a.Usage.Details.Cached, a.Usage.Prompt, want)
		}
		total += a.computed()
	}
	if last := &c.answers[len(c.answers)-1]; total != last.seen() {
		c.d.t.Errorf("%d tokens were computed for a conversation of %d", total, last.seen())
	}
}

// whole is how many tokens a conversation has with an answer.
func whole(a *answer) int { return a.Usage.Prompt + a.Usage.Completion }

func questions(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("Question %d: is the kettle on, or is it the other one?", i))
	}
	return list
}

// TestTurns has ten turns, each of which reads what is new in it and nothing else.
func TestTurns(t *testing.T) {
	for _, model := range []string{"instruct", "base"} {
		for _, system := range []string{"", "You are the kettle."} {
			t.Run(strings.TrimSuffix(model+" "+system, " "), func(t *testing.T) {
				for _, seed := range []int{0, 300} {
					c := &conversation{d: start(t, model), model: "default", seed: seed}
					if system != "" {
						c.messages = append(c.messages, message{"system", system})
					}
					for _, q := range questions(10) {
						c.turn(q)
					}
					c.once()
					// What the engine counted, which is not what it says in usage.
					if rows, last := c.d.metric("rows_total"), &c.answers[9]; rows != last.seen() {
						t.Errorf("%d tokens went through the model for a conversation of %d", rows, last.seen())
					}
				}
			})
		}
	}
}

// TestTurnsBetween has two conversations by turns, with a session for one of them: the other waits as a checkpoint.
func TestTurnsBetween(t *testing.T) {
	d := start(t, "instruct", "--sessions", "1", "--checkpoints", "8")
	a := &conversation{d: d, messages: []message{{"system", "You are the kettle."}}}
	b := &conversation{d: d, messages: []message{{"system", "You are the toaster."}}}
	for _, q := range questions(5) {
		a.turn(q)
		b.turn("To you: " + q)
	}
	a.once()
	// The second one shares the beginning of its prompt with the first, but no message of it.
	b.once()
	if rows, seen := d.metric("rows_total"), a.answers[4].seen()+b.answers[4].seen(); rows != seen {
		t.Errorf("%d tokens went through the model for conversations of %d", rows, seen)
	}
}

// TestRestart saves a session in the middle of a conversation, ends the daemon, and goes on in another one: as if nothing had been.
func TestRestart(t *testing.T) {
	for _, model := range []string{"instruct", "base"} {
		t.Run(model, func(t *testing.T) {
			dir := t.TempDir()
			c := &conversation{d: start(t, model, "--state-dir", dir)}
			for _, q := range questions(5) {
				c.turn(q)
			}
			var saved struct{ Tokens int }
			c.d.get("/v1/state", map[string]any{"op": "save", "name": "at-noon", "session": "kitchen talk"}, &saved)
			if want := whole(&c.answers[4]); saved.Tokens != want {
				t.Errorf("the snapshot has %d tokens, not %d", saved.Tokens, want)
			}
			c.saved = 5
			before := c.d.metric("rows_total")
			undisturbed := *c
			undisturbed.messages, undisturbed.answers = slices.Clone(c.messages), slices.Clone(c.answers)
			for _, q := range questions(10)[5:] {
				undisturbed.turn(q)
			}
			undisturbed.once()
			c.d.stop()

			c.d = start(t, model, "--state-dir", dir)
			var list struct {
				Data []struct {
					Name   string
					Tokens int
					Usable bool
				}
			}
			c.d.get("/v1/state", nil, &list)
			if len(list.Data) != 1 || list.Data[0].Name != "at-noon" || list.Data[0].Tokens != saved.Tokens || !list.Data[0].Usable {
				t.Fatalf("snapshots: %+v", list)
			}
			c.d.get("/v1/state", map[string]any{"op": "load", "name": "at-noon", "session": "kitchen talk"}, &saved)
			for _, q := range questions(10)[5:] {
				c.turn(q)
			}
			c.once()
			if rows, last := before+c.d.metric("rows_total"), &c.answers[9]; rows != last.seen() {
				t.Errorf("%d tokens went through the model for a conversation of %d", rows, last.seen())
			}
			for i := range c.answers {
				got, _ := json.Marshal(c.answers[i])
				want, _ := json.Marshal(undisturbed.answers[i])
				if string(got) != string(want) {
					t.Errorf("turn %d:\n%s, without the restart\n%s", i+1, got, want)
				}
			}
		})
	}
}

// TestSnapshotOfAnother refuses what does not belong to the model, and says so.
func TestSnapshotOfAnother(t *testing.T) {
	dir := t.TempDir()
	c := &conversation{d: start(t, "instruct", "--state-dir", dir)}
	c.turn("Hello.")
	var saved struct{ Tokens int }
	c.d.get("/v1/state", map[string]any{"op": "save", "name": "hello", "session": "kitchen talk"}, &saved)
	c.d.stop()
	d := start(t, "base", "--state-dir", dir)
	for _, x := range []struct {
		body   map[string]any
		status int
		says   string
	}{
		{map[string]any{"op": "load", "name": "hello", "session": "s"}, http.StatusConflict, "model"},
		{map[string]any{"op": "load", "name": "hallo", "session": "s"}, http.StatusNotFound, "hallo"},
		{map[string]any{"op": "load", "name": "../hello", "session": "s"}, http.StatusBadRequest, "name"},
		{map[string]any{"op": "save", "name": "hello", "session": "nobody's"}, http.StatusNotFound, "session"},
		{map[string]any{"op": "save", "name": "hello"}, http.StatusBadRequest, "session"},
		{map[string]any{"op": "sing", "name": "hello", "session": "s"}, http.StatusBadRequest, "sing"},
		{map[string]any{"op": "delete", "name": "hello"}, http.StatusOK, "hello"},
		{map[string]any{"op": "delete", "name": "hello"}, http.StatusNotFound, "hello"},
	} {
		if status, answer := d.ask("/v1/state", x.body); status != x.status || !strings.Contains(string(answer), x.says) {
			t.Errorf("%v: status %d, %s; not %d and %q", x.body, status, answer, x.status, x.says)
		}
	}
	if files, _ := os.ReadDir(dir); slices.ContainsFunc(files, func(f os.DirEntry) bool { return strings.HasSuffix(f.Name(), ".state") }) {
		t.Errorf("a deleted snapshot is still there: %v", files)
	}
}

// TestPersona bakes a system prompt, and has a daemon serve it without ever reading it.
func TestPersona(t *testing.T) {
	const system = "You are the kettle. You answer in one word, and it is hot."
	for _, model := range []string{"instruct", "base"} {
		t.Run(model, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "kettle.state")
			out, err := bimamba("bake", blob(model), "--system", system, "-o", file, "--json")
			if err != nil {
				t.Fatal(err)
			}
			var baked struct{ Tokens int }
			if err := json.Unmarshal(out, &baked); err != nil || baked.Tokens < 20 {
				t.Fatalf("%v: %s", err, out)
			}
			plain := &conversation{d: start(t, model), seed: 300, messages: []message{{"system", system}}}
			persona := &conversation{d: start(t, model, "--persona", "kettle="+file), model: "kettle", seed: 300}
			for i, q := range questions(5) {
				want, got := plain.turn(q), persona.turn(q)
				if i == 0 && got.Usage.Details.Cached != baked.Tokens {
					t.Errorf("%d tokens of the first prompt were known, and %d were baked", got.Usage.Details.Cached, baked.Tokens)
				}
				if string(got.Choices[0].LogProbs) != string(want.Choices[0].LogProbs) || got.Choices[0].Message != want.Choices[0].Message {
					t.Errorf("turn %d: %s\nwith the persona, without\n%s", i+1, got.Choices[0].LogProbs, want.Choices[0].LogProbs)
				}
			}
			plain.once()
			if rows, last := persona.d.metric("rows_total"), &persona.answers[4]; rows != last.seen()-baked.Tokens {
				t.Errorf("%d tokens went through the model for a conversation of %d, of which %d were baked", rows, last.seen(), baked.Tokens)
			}
			// It stays, however many others come.
			for i := range 12 {
				persona.d.get("/v1/chat/completions", map[string]any{"messages": []message{{"system", fmt.Sprintf("You are spoon number %d.", i)}, {"user", "Hello."}}}, new(answer))
			}
			again := &conversation{d: persona.d, model: "kettle", seed: 300}
			if a := again.turn("Something new."); a.Usage.Details.Cached < baked.Tokens {
				t.Errorf("%d tokens of a later prompt were known, and %d were baked", a.Usage.Details.Cached, baked.Tokens)
			}
		})
	}

	t.Run("another model", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "kettle.state")
		if _, err := bimamba("bake", blob("base"), "--system", system, "-o", file); err != nil {
			t.Fatal(err)
		}
		d, ready := launch(t, "instruct", "--persona", "kettle="+file)
		select {
		case <-ready:
			t.Error("a persona of another model is served")
		case <-d.ended:
			if d.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(d.logged(), "kettle") {
				t.Errorf("exit status %d, %s", d.cmd.ProcessState.ExitCode(), d.logged())
			}
		case <-time.After(30 * time.Second):
			t.Fatal("bimambad neither starts nor ends")
		}
	})
}
