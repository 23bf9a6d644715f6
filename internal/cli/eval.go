package cli

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"bimamba/edge/engine"
	"bimamba/edge/sample"
	"bimamba/internal/atomicfile"
	"bimamba/internal/eval"
)

func (e *env) evalCmd() *cobra.Command {
	var test, outputs string
	var maxTokens, limit int
	var asJSON, force bool
	c := &cobra.Command{
		Use:   "eval FILE --test TEST.jsonl",
		Short: "Measure an intent model on a test set",
		Long: `Eval runs every row {"task","prompt","intent","slots"} of TEST through the model, greedily, and prints per task how often it was right.

The first line of the output is parsed as JSON: "intent" is the intent, all else is slots. Intents and slot values are compared trimmed and in lower case, numbers by
value, lists as sets (for home, the first entry of the test's list); an output that is no JSON object has no intent and no slots.
in_scope_accuracy and oos_recall are given for tasks with out-of-scope rows; figures that mean nothing for a task are null.`,
		Example: "  bimamba eval default --test assistant-test-dev.jsonl",
		Args: func(c *cobra.Command, args []string) error {
			if err := oneFile(c, args); err != nil {
				return err
			}
			if test == "" {
				return fmt.Errorf("%s needs --test TEST.jsonl", c.CommandPath())
			}
			return nil
		},
	}
	flags := addModelFlags(c)
	c.Flags().StringVar(&test, "test", "", "the test set, JSON lines")
	c.Flags().StringVar(&outputs, "outputs", "", "also write {\"task\",\"prompt\",\"output\"} lines to this file")
	c.Flags().BoolVar(&force, "force", false, "replace the file of --outputs if it exists")
	c.Flags().IntVarP(&maxTokens, "max-tokens", "n", 80, "end an output after so many tokens")
	c.Flags().IntVar(&limit, "limit", 0, "only the first so many rows (0: all)")
	c.Flags().BoolVar(&asJSON, "json", false, "print the figures as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		if maxTokens < 1 || limit < 0 {
			return fmt.Errorf("--max-tokens is at least 1, --limit at least 0")
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
		if limit > 0 {
			rows = rows[:min(limit, len(rows))]
		}
		var texts []string
		err = withEngine(args[0], flags, 1, func(eng *engine.Engine) (err error) {
			texts, err = e.runRows(c.Context(), eng, rows, maxTokens, outputs != "")
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

// runRows generates every row's output. Unless whole is set, an output ends with its first line.
func (e *env) runRows(ctx context.Context, eng *engine.Engine, rows []eval.Row, maxTokens int, whole bool) ([]string, error) {
	texts := make([]string, len(rows))
	bar := newProgress(e.stderr, "evaluating", int64(len(rows)), false)
	defer bar.done()
	for i, r := range rows {
		text, err := runRow(ctx, eng, r, maxTokens, whole)
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", i+1, err)
		}
		texts[i] = text
		bar.set(int64(i+1), int64(len(rows)))
	}
	return texts, nil
}

func runRow(ctx context.Context, eng *engine.Engine, r eval.Row, maxTokens int, whole bool) (string, error) {
	prompt, err := eng.TaskPrompt(r.Task, r.Prompt)
	if err != nil {
		return "", err
	}
	req := engine.Request{MaxTokens: maxTokens, Sample: sample.Params{TopP: 1, RepetitionPenalty: 1}}
	if !whole {
		req.Stop = []string{"\n"}
	}
	if req.Prompt, err = eng.Encode(prompt); err != nil {
		return "", err
	}
	s := eng.Model.Session(0)
	s.Reset()
	res, err := eng.Generate(ctx, s, req, nil)
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
