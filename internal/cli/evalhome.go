package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"

	"bimamba/edge/engine"
	"bimamba/edge/home"
	"bimamba/internal/eval"
)

// assistantTest is a test of an assistant: which, and what is kept of its answers.
type assistantTest struct {
	test, half    string // half is "" for both
	outputs       string // a file for the answers, "" for none
	force, asJSON bool
	limit         int // 0 for all
}

// evalHome measures the assistant of a home.
func (e *env) evalHome(ctx context.Context, name string, flags *modelFlags, homeFile string, t assistantTest) error {
	h, err := home.Read(homeFile)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(t.test)
	if err != nil {
		return err
	}
	return withEngine(name, flags, 1, func(eng *engine.Engine) error {
		a, err := home.New(eng, h)
		if err != nil {
			return err
		}
		var outputs bytes.Buffer
		var print func() error
		if isSentences(data) {
			print, err = e.sentences(ctx, a, h, data, t, &outputs)
		} else {
			print, err = e.homeRows(ctx, a, data, t, &outputs)
		}
		if err != nil {
			return err
		}
		if t.outputs != "" {
			if err := writeFile(t.outputs, outputs.Bytes(), 0o644, t.force); err != nil {
				return err
			}
		}
		return print()
	})
}

// isSentences tells whether a test set is one of sentences with acceptable outcomes: its first line has "accept".
func isSentences(data []byte) bool {
	line, _, _ := bytes.Cut(bytes.TrimSpace(data), []byte("\n"))
	var row struct {
		Accept json.RawMessage `json:"accept"`
	}
	return json.Unmarshal(line, &row) == nil && row.Accept != nil
}

// sentences says sentences and returns what prints the figures by groups.
func (e *env) sentences(ctx context.Context, a eval.Handler, h *home.Home, data []byte, t assistantTest, outputs io.Writer) (func() error, error) {
	sentences, err := eval.ReadSentences(bytes.NewReader(data), h)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.test, err)
	}
	var tally eval.SentenceTally
	bar := newProgress(e.stderr, "evaluating", int64(len(sentences)), false)
	defer bar.done()
	n := 0
	for i := range sentences {
		s := &sentences[i]
		if t.half != "" && s.Half != t.half || t.limit > 0 && n == t.limit {
			continue
		}
		n++
		v, ans, err := eval.Judge(ctx, a, h, s, fmt.Sprintf("sentence %d", i+1))
		if err != nil {
			return nil, fmt.Errorf("sentence %d: %w", i+1, err)
		}
		tally.Add(s.Group, v)
		if err := writeJSON(outputs, map[string]any{"group": s.Group, "text": s.Text, "verdict": v.String(), "kind": ans.Kind.String(), "meant": understood(ans), "says": ans.Text, "reason": ans.Reason, "score": ans.Score}); err != nil {
			return nil, err
		}
		bar.set(int64(i+1), int64(len(sentences)))
	}
	if n == 0 {
		return nil, fmt.Errorf("%s has no sentence of the half %q", t.test, t.half)
	}
	return func() error {
		if t.asJSON {
			return writeJSON(e.stdout, tally.Figures())
		}
		return eval.WriteSentenceTable(e.stdout, tally.Figures())
	}, nil
}

// understood is the actions of an answer as JSON objects, as a model writes them.
func understood(a *home.Answer) []map[string]any {
	l := []map[string]any{}
	for _, x := range a.Meant {
		m := map[string]any{}
		maps.Copy(m, x.Slots)
		m["intent"] = x.Intent
		l = append(l, m)
	}
	return l
}

// homeRows says the rows of the task home and returns what prints the figures. What was understood as one action is held against the row's; all
// else, a refusal or several actions, has no intent.
func (e *env) homeRows(ctx context.Context, a eval.Handler, data []byte, t assistantTest, outputs *bytes.Buffer) (func() error, error) {
	rows, err := eval.ReadRows(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.test, err)
	}
	var tally eval.Tally
	bar := newProgress(e.stderr, "evaluating", int64(len(rows)), false)
	defer bar.done()
	n := 0
	for i, r := range rows {
		if r.Task != home.Task || t.limit > 0 && n == t.limit {
			continue
		}
		n++
		ans, err := a.Handle(ctx, home.Request{Text: r.Prompt, Conversation: fmt.Sprintf("row %d", i+1)})
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", i+1, err)
		}
		var line bytes.Buffer
		one := map[string]any{"intent": ""}
		if l := understood(ans); len(l) == 1 {
			one = l[0]
		}
		if err := writeJSON(&line, one); err != nil {
			return nil, err
		}
		tally.Add(r, line.String())
		if err := writeJSON(outputs, map[string]any{"task": r.Task, "prompt": r.Prompt, "output": line.String(), "kind": ans.Kind.String(), "reason": ans.Reason}); err != nil {
			return nil, err
		}
		bar.set(int64(i+1), int64(len(rows)))
	}
	if n == 0 {
		return nil, fmt.Errorf("%s has no row of the task %s", t.test, home.Task)
	}
	return func() error {
		if t.asJSON {
			return writeJSON(e.stdout, tally.Report())
		}
		return tally.Report().WriteTable(e.stdout)
	}, nil
}
