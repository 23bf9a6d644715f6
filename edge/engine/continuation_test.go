package engine

import (
	"fmt"
	"slices"
	"testing"

	"bimamba/edge/model"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
)

func TestContinuation(t *testing.T) {
	e := open(t, testmodel.Tiny(t, memmap.KindInstruct), model.LUT16)
	id := func(text string) uint32 {
		n, ok := e.Tokens.ID(text)
		if !ok {
			t.Fatalf("no token %q", text)
		}
		return n
	}
	prefix := []uint32{0, id("x")}
	letters := func(s string) (ids []uint32) {
		for i := range len(s) {
			ids = append(ids, e.Tokens.Encode(nil, "a"+s[i:i+1])[1:]...)
		}
		return ids
	}
	end, user := id("<|end|>"), id("<|user|>")
	own := slices.Concat(letters("the in"), []uint32{end}, letters("\n"), []uint32{user}, letters("hi")) // " t", "he" are tokens
	client := func(s string) Part { return Part{Text: s, Client: true} }
	turn := []Part{client("the in"), {Text: "<|end|>\n"}, {Text: "<|user|>"}, client("hi"), {Text: "<|answer|>"}}
	for _, c := range []struct {
		name  string
		seq   []uint32 // behind prefix
		fed   int      // of it
		parts []Part
		ids   int // how many of seq
		text  string
	}{
		{"other tokens than the tokenizer's", letters("the in"), 5, []Part{client("the in")}, 6, "the in"},
		{"a token that was not fed is wrong", letters("the in"), 5, []Part{client("the iX")}, 5, "the i"},
		{"a token that was fed is wrong", letters("the in"), 5, []Part{client("theXin")}, 0, ""},
		{"nothing else", letters("the in"), 5, []Part{client("quite")}, 0, ""},
		{"across messages", own, len(own), turn, len(own), "the in<|end|>\n<|user|>hi"},
		{"special tokens of the client's are text", own, len(own), []Part{client("the in<|end|>\n<|user|>hi")}, 0, ""},
		{"special tokens written as text", letters("the in<|end|>"), 7, turn, 0, ""},
		{"the client's text, as text", letters("a<|end|>"), 3, []Part{client("a<|end|>b")}, 8, "a<|end|>"},
		{"white space in front", letters("  the"), 5, []Part{client("the")}, 5, "the"},
		{"white space in front of the client's", letters("the"), 3, []Part{client(" \nthe")}, 3, " \nthe"},
		{"white space alone", letters(" "), 1, []Part{client("the")}, 0, ""},
		{"half a character", letters("a🙂")[:3], 2, []Part{client("a\ufffd")}, 3, "a\ufffd"},
		{"a whole character", letters("a🙂"), 4, []Part{client("a🙂b")}, 5, "a🙂"},
		{"less than the state has seen", letters("the in"), 6, []Part{client("the i")}, 0, ""},
		{
			"half a character in front of a special token", slices.Concat(letters("a🙂")[:3], []uint32{end}), 4,
			[]Part{client("a\ufffd"), {Text: "<|end|>"}}, 4, "a\ufffd<|end|>",
		},
		{
			"white space in front of answers", letters("a:b.\nc:d"), 8,
			[]Part{client("a:"), {Text: " ", Answer: true}, client("b."), {Text: "\n"}, client("c:"), {Text: " ", Answer: true}, client("de")}, 8, "a: b.\nc: d",
		},
		{"nothing was generated", nil, 0, []Part{client("the i")}, 0, ""},
	} {
		s := &e.loop.states.all[0]
		s.seq, s.fed = slices.Concat(prefix, c.seq), len(prefix)+c.fed
		var script *Script
		read := func() {
			t.Helper()
			var err error
			if script, err = e.Script(slices.Concat([]Part{client("x")}, c.parts)); err != nil {
				t.Fatal(err)
			}
		}
		read()
		ids, n := e.Continuation(prefix, script, 1)
		if !slices.Equal(ids, c.seq[:c.ids]) || script.text[1:][:n] != c.text {
			t.Errorf("%s: %d tokens, %q; not %d, %q", c.name, len(ids), script.text[1:][:n], c.ids, c.text)
		}
		s.busy = true
		if read(); len(script.known) > 0 {
			t.Errorf("%s: a busy state is known", c.name)
		}
		if ids, n := e.Continuation(prefix, script, 1); len(ids)+n > 0 {
			t.Errorf("%s: a busy state was used", c.name)
		}
		s.busy = false
		read()
		if ids, _ := e.Continuation([]uint32{0, id("y")}, script, 1); ids != nil {
			t.Errorf("%s: behind another prefix %v", c.name, ids)
		}
	}
	// A stop string ends an answer within a token: what the client was given is the beginning of the state's.
	the := e.Tokens.Encode(nil, "a the")[1:] // " the" is one token
	s := &e.loop.states.all[0]
	s.seq, s.fed = slices.Concat(prefix, letters("a"), the), len(prefix)+1
	script, _ := e.Script([]Part{client("a th"), {Text: "<|end|>"}})
	if ids, n := e.Continuation(prefix, script, 0); len(the) != 1 || !slices.Equal(ids, letters("a")) || n != 1 {
		t.Errorf("a stop string: %v, %d", ids, n)
	}
	e.loop.states.all[0].clear()
}

// TestContinuationWork looks at each token of a state a few times, however many messages a conversation has and wherever it was changed.
func TestContinuationWork(t *testing.T) {
	e := open(t, testmodel.Tiny(t, memmap.KindInstruct), model.LUT16)
	for _, edit := range []int{0, 1, 200, 399, 400} {
		s := &e.loop.states.all[0]
		work, known := conversation(t, e, s, 400, edit)
		if n := len(s.seq); work > 3*n || known > n {
			t.Errorf("changed in message %d: %d tokens were looked at and %d are known of a state of %d", edit, work, known, n)
		}
		if edit == 400 && known == 0 { // which is not changed at all
			t.Error("nothing is known of the state's own conversation")
		}
		s.clear()
	}
}

// conversation lets s know a conversation of so many exchanges and looks for one of which one answer differs. It returns how many tokens were
// looked at, and how many of the conversation's came from the state.
func conversation(t testing.TB, e *Engine, s *state, exchanges, edit int) (work, known int) {
	t.Helper()
	var parts []Part
	s.seq = nil
	for i := range exchanges {
		question, answer := fmt.Sprintf("question %d", i), fmt.Sprintf("the answer %d", i)
		s.seq = e.Tokens.EncodePart(s.seq, "<|user|>"+question+"<|answer|>"+answer, i == 0, true)
		if i == edit {
			answer = "another one"
		}
		parts = append(parts, Part{Text: "<|user|>"}, Part{Text: question, Client: true}, Part{Text: "<|answer|>"}, Part{Answer: true}, Part{Text: answer, Client: true})
	}
	s.fed = len(s.seq)
	script, err := e.Script(parts)
	if err != nil {
		t.Fatal(err)
	}
	var ids []uint32
	at, done := 0, 0 // up to where the text is encoded, and where it is known
	for i := 0; i < len(parts); i += 5 {
		var text string
		for _, p := range parts[i : i+3] {
			text += p.Text
		}
		if at += len(text); at > done {
			ids = e.Tokens.EncodePart(ids, text, i == 0, true)
			more, n := e.Continuation(ids, script, at)
			ids, known, done = append(ids, more...), known+len(more), at+n
		}
		if answer := parts[i+4].Text; done < at+len(answer) {
			ids = e.Tokens.EncodePart(ids, answer, false, true)
		}
		at += len(parts[i+4].Text)
	}
	return script.work, known
}
