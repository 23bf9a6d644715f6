package cli

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spf13/cobra"

	"bimamba/edge/engine"
	"bimamba/edge/grammar"
	"bimamba/edge/home"
	"bimamba/edge/intent"
	"bimamba/edge/sample"
	"bimamba/internal/atomicfile"
	"bimamba/internal/eval"
)

func (e *env) evalCmd() *cobra.Command {
	var test, outputs, homeFile, half, task string
	var maxTokens, limit int
	var asJSON, force, constrained bool
	c := &cobra.Command{
		Use:   "eval FILE --test TEST.jsonl",
		Short: "Measure an intent model on a test set",
		Long: `Eval runs every row {"task","prompt","intent","slots"} of TEST through the model, greedily, and prints per task how often it was right.

The first line of the output is parsed as JSON: "intent" is the intent, all else is slots. Intents and slot values are compared trimmed and in lower case, numbers by
value, lists as sets (for home, the first entry of the test's list); an output that is no JSON object has no intent and no slots.
in_scope_accuracy and oos_recall are given for tasks with out-of-scope rows; figures that mean nothing for a task are null.

With --constrained no token is taken that would break the task's JSON, as in bimambad.

With --home it is the assistant of that house that is measured, as bimambad runs it, and not the bare model. TEST may then be one of two kinds. Of rows as above, those
of the task home are taken, and what the assistant understood is compared. Of sentences {"group","half","text","at","accept"}, each is said in the area "at" in a
conversation of its own; "accept" lists the outcomes that count as right: {"do":[{"intent","entities","slots"}]}, actions with the entities that they are to be done
to, {"confirm":[...]}, a question whose "yes" leads to them, or {"kind":"ask"|"decline"|"say"}. The figures are by group: right (acted, asked or declined, where that
was in place), wrong actions, and questions and refusals where the wish was clear.`,
		Example: "  bimamba eval default --test assistant-test-dev.jsonl\n  bimamba eval default --home edge/home/testdata/beyond-home.toml --test edge/home/testdata/beyond.jsonl",
		Args: func(c *cobra.Command, args []string) error {
			if err := oneFile(c, args); err != nil {
				return err
			}
			switch {
			case test == "":
				return fmt.Errorf("%s needs --test TEST.jsonl", c.CommandPath())
			case homeFile == "" && half != "":
				return fmt.Errorf("--half is for sentences, and they need --home HOME.toml")
			case homeFile != "" && task != "" && task != home.Task:
				return fmt.Errorf("--home is for the task %s only", home.Task)
			case homeFile != "" && constrained:
				return fmt.Errorf("--constrained goes without --home: an assistant's model always is")
			}
			return nil
		},
	}
	flags := addModelFlags(c)
	c.Flags().StringVar(&test, "test", "", "the test set, JSON lines")
	c.Flags().StringVar(&task, "task", "", "only rows of this task; with --home it is home")
	c.Flags().StringVar(&outputs, "outputs", "", "also write {\"task\",\"prompt\",\"output\"} lines to this file")
	c.Flags().BoolVar(&force, "force", false, "replace the file of --outputs if it exists")
	c.Flags().IntVarP(&maxTokens, "max-tokens", "n", 80, "end an output after so many tokens")
	c.Flags().IntVar(&limit, "limit", 0, "only the first so many rows (0: all)")
	c.Flags().BoolVar(&constrained, "constrained", false, "let the model write nothing but JSON of the task's form")
	c.Flags().StringVar(&homeFile, "home", "", "measure the assistant of this home.toml")
	c.Flags().Var(&choice{&half, []string{"dev", "held"}}, "half", "only sentences of this half: dev or held (default: both)")
	c.Flags().BoolVar(&asJSON, "json", false, "print the figures as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		if maxTokens < 1 || limit < 0 {
			return fmt.Errorf("--max-tokens is at least 1, --limit at least 0")
		}
		if homeFile != "" {
			return e.evalHome(c.Context(), args[0], flags, homeFile, assistantTest{test, half, outputs, force, asJSON, limit})
		}
		f, err := os.Open(test)
		if err != nil {
			return err
		}
		defer f.Close()
		rows, err := eval.ReadRows(f)
		if err != nil {
			return fmt.Errorf("%s: %w", test, err)
		}
		if task != "" {
			if rows = slices.DeleteFunc(rows, func(r eval.Row) bool { return r.Task != task }); len(rows) == 0 {
				return fmt.Errorf("%s: there are no rows of the task %q", test, task)
			}
		}
		if limit > 0 {
			rows = rows[:min(limit, len(rows))]
		}
		var texts []string
		err = withEngine(args[0], flags, evalSessions, func(eng *engine.Engine) (err error) {
			r := &rowRunner{eng: eng, maxTokens: maxTokens, whole: outputs != ""}
			if constrained {
				if r.grammars, err = taskGrammars(rows); err != nil {
					return err
				}
			}
			texts, err = e.runRows(c.Context(), r, rows)
			return err
		})
		if err != nil {
			return err
		}
		if outputs != "" {
			if err := writeOutputs(outputs, force, rows, texts); err != nil {
				return err
			}
		}
		var tally eval.Tally
		for i, r := range rows {
			tally.Add(r, texts[i])
		}
		if asJSON {
			return writeJSON(e.stdout, tally.Report())
		}
		return tally.Report().WriteTable(e.stdout)
	}
	return c
}

// evalSessions is how many rows run at a time: they share passes over the weights.
const evalSessions = 8

// rowRunner generates rows' outputs.
type rowRunner struct {
	eng       *engine.Engine
	maxTokens int
	whole     bool                        // else an output ends with its first line
	grammars  map[string]*grammar.Grammar // of the tasks; nil for any text
}

// taskGrammars are those of the rows' tasks.
func taskGrammars(rows []eval.Row) (map[string]*grammar.Grammar, error) {
	m := map[string]*grammar.Grammar{}
	for i, r := range rows {
		if m[r.Task] != nil {
			continue
		}
		g, err := intent.TaskGrammar(r.Task)
		if err != nil {
			return nil, fmt.Errorf("row %d: --constrained: %w", i+1, err)
		}
		m[r.Task] = g
	}
	return m, nil
}

// runRows generates every row's output.
func (e *env) runRows(ctx context.Context, r *rowRunner, rows []eval.Row) ([]string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	texts := make([]string, len(rows))
	bar := newProgress(e.stderr, "evaluating", int64(len(rows)), false)
	defer bar.done()
	var next, ended atomic.Int64
	var workers sync.WaitGroup
	for range evalSessions {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(rows) {
					return
				}
				var err error
				if texts[i], err = r.run(ctx, rows[i]); err != nil {
					cancel(fmt.Errorf("row %d: %w", i+1, err))
					return
				}
				bar.set(ended.Add(1), int64(len(rows)))
			}
		})
	}
	workers.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return texts, nil
}

func (r *rowRunner) run(ctx context.Context, row eval.Row) (string, error) {
	prompt, err := r.eng.TaskPrompt(row.Task, row.Prompt)
	if err != nil {
		return "", err
	}
	req := engine.Request{MaxTokens: r.maxTokens, Sample: sample.Params{TopP: 1, RepetitionPenalty: 1}, Grammar: r.grammars[row.Task]}
	if !r.whole {
		req.Stop = []string{"\n"}
	}
	if req.Prompt, err = r.eng.Encode(prompt); err != nil {
		return "", err
	}
	res, err := r.eng.Generate(ctx, req, nil)
	if err != nil {
		return "", err
	}
	return res.Text, nil
}

func writeOutputs(path string, force bool, rows []eval.Row, texts []string) error {
	f, err := atomicfile.Create(path, atomicfile.Options{Force: force})
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for i, r := range rows {
		if err := writeJSON(w, map[string]string{"task": r.Task, "prompt": r.Prompt, "output": strings.ToValidUTF8(texts[i], "\ufffd")}); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Commit()
}
