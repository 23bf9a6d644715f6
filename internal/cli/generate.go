package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"bimamba/edge/engine"
	"bimamba/edge/sample"
)

// sampling is the flags of sampling; one that was not set is as the model says.
type sampling struct {
	cmd       *cobra.Command
	maxTokens int
	params    sample.Params
	stop      []string
}

func samplingFlags(c *cobra.Command) *sampling {
	s := &sampling{cmd: c}
	f := c.Flags()
	f.IntVarP(&s.maxTokens, "max-tokens", "n", 0, "end after so many tokens (default: the model's)")
	f.Float32Var(&s.params.Temperature, "temperature", 0, "0 takes the likeliest token (default: the model's)")
	f.IntVar(&s.params.TopK, "top-k", 0, "sample among the k likeliest tokens, 0 for all (default: the model's)")
	f.Float32Var(&s.params.TopP, "top-p", 1, "sample among the likeliest tokens that hold this probability (default: the model's)")
	f.Float32Var(&s.params.MinP, "min-p", 0, "drop tokens less likely than this part of the likeliest (default: the model's)")
	f.Float32Var(&s.params.RepetitionPenalty, "repetition-penalty", 1, "divide the logits of tokens that have occurred (default: the model's)")
	f.Uint64Var(&s.params.Seed, "seed", 0, "the same seed gives the same text, on every CPU")
	f.StringArrayVar(&s.stop, "stop", nil, "end before this text (may be given several times)")
	return s
}

// request fills a request with the flags, and with the model's defaults where there are none.
func (s *sampling) request(e *engine.Engine) (engine.Request, error) {
	def := e.Defaults()
	p, n := def.Sample, def.MaxTokens
	p.Seed = s.params.Seed
	set := s.cmd.Flags().Changed
	if set("temperature") {
		p.Temperature = s.params.Temperature
	}
	if set("top-k") {
		p.TopK = s.params.TopK
	}
	if set("top-p") {
		p.TopP = s.params.TopP
	}
	if set("min-p") {
		p.MinP = s.params.MinP
	}
	if set("repetition-penalty") {
		p.RepetitionPenalty = s.params.RepetitionPenalty
	}
	if set("max-tokens") {
		n = s.maxTokens
	}
	if n < 0 {
		return engine.Request{}, fmt.Errorf("--max-tokens %d is negative", n)
	}
	return engine.Request{MaxTokens: n, Sample: p, Stop: s.stop}, p.Validate()
}

func (e *env) generateCmd() *cobra.Command {
	var prompt, task string
	var jsonl, asJSON bool
	c := &cobra.Command{
		Use:   "generate FILE --prompt TEXT",
		Short: "Continue a text",
		Long: `Generate continues the prompt and prints what it adds, as it comes. Rates and peak memory go to standard error.

Strings of special tokens in the prompt are tokens. BOS is added if the model wants it. With --task the prompt is an utterance, and is wrapped as
the model's prompt format says.

With --jsonl standard input holds lines {"prompt":...,"max_tokens":...,"task":...} (the last two optional), and each gives
{"prompt","text","tokens","ids","finish_reason"}; tokens is how many were generated, finish_reason is stop or length.`,
		Example: `  bimamba generate default --task home --prompt 'turn on the kitchen light'
  bimamba generate m.bimamba --prompt 'Once upon a time' -n 100 --temperature 0.8 --seed 7
  bimamba generate m.bimamba --jsonl < prompts.jsonl > out.jsonl`,
		Args: func(c *cobra.Command, args []string) error {
			if err := oneFile(c, args); err != nil {
				return err
			}
			if jsonl == c.Flags().Changed("prompt") {
				return fmt.Errorf("%s needs --prompt TEXT, or --jsonl and prompts on standard input", c.CommandPath())
			}
			return nil
		},
	}
	flags := addModelFlags(c)
	s := samplingFlags(c)
	c.Flags().StringVarP(&prompt, "prompt", "p", "", "the text to continue")
	c.Flags().StringVar(&task, "task", "", "wrap the prompt for this task of the model (default model: home, assist, topics)")
	c.Flags().BoolVar(&jsonl, "jsonl", false, "read prompts from standard input and print results, as JSON lines")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON, with times and counts")
	c.RunE = func(c *cobra.Command, args []string) error {
		return withEngine(args[0], flags, 1, func(eng *engine.Engine) error {
			req, err := s.request(eng)
			switch {
			case err != nil:
				return err
			case jsonl:
				return e.generateLines(c.Context(), eng, req, task)
			}
			return e.generateOne(c.Context(), eng, req, task, prompt, asJSON)
		})
	}
	return c
}

// generateOne prints the continuation of one prompt.
func (e *env) generateOne(ctx context.Context, eng *engine.Engine, req engine.Request, task, prompt string, asJSON bool) error {
	emit := func(p engine.Piece) error { _, err := io.WriteString(e.stdout, p.Text); return err }
	if asJSON {
		emit = nil
	}
	res, err := generate(ctx, eng, &req, task, prompt, emit)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(e.stdout, map[string]any{
			"prompt": prompt, "text": res.Text, "tokens": len(res.IDs), "ids": append([]uint32{}, res.IDs...), "finish_reason": res.FinishReason,
			"prompt_tokens": len(req.Prompt), "prefill_tokens_per_s": perSecond(len(req.Prompt), res.Prefill), "decode_tokens_per_s": perSecond(len(res.IDs), res.Decode),
			"peak_rss_bytes": peakRSS(),
		})
	}
	fmt.Fprintln(e.stdout)
	fmt.Fprintf(e.stderr, "prefill %d tokens, %.1f tokens/s; decode %d tokens, %.1f tokens/s; peak memory %s\n",
		len(req.Prompt), perSecond(len(req.Prompt), res.Prefill), len(res.IDs), perSecond(len(res.IDs), res.Decode), mega(peakRSS()))
	return nil
}

// generate runs one prompt from an empty state. It sets req.Prompt.
func generate(ctx context.Context, eng *engine.Engine, req *engine.Request, task, prompt string, emit func(engine.Piece) error) (*engine.Result, error) {
	var err error
	if task != "" {
		if prompt, err = eng.TaskPrompt(task, prompt); err != nil {
			return nil, err
		}
	}
	if req.Prompt, err = eng.Encode(prompt); err != nil {
		return nil, err
	}
	return eng.Generate(ctx, *req, emit)
}

func (e *env) generateLines(ctx context.Context, eng *engine.Engine, def engine.Request, task string) error {
	return eachLine(e.stdin, "standard input", func(line []byte) error {
		row := struct {
			Prompt    *string `json:"prompt"`
			MaxTokens int     `json:"max_tokens"`
			Task      string  `json:"task"`
		}{MaxTokens: def.MaxTokens, Task: task}
		if err := json.Unmarshal(line, &row); err != nil {
			return err
		}
		if row.Prompt == nil {
			return errors.New(`there is no "prompt"`)
		}
		if row.MaxTokens < 0 {
			return fmt.Errorf("max_tokens %d is negative", row.MaxTokens)
		}
		req := def
		req.MaxTokens = row.MaxTokens
		res, err := generate(ctx, eng, &req, row.Task, *row.Prompt, nil)
		if err != nil {
			return err
		}
		return writeJSON(e.stdout, struct {
			Prompt string              `json:"prompt"`
			Text   string              `json:"text"`
			Tokens int                 `json:"tokens"`
			IDs    []uint32            `json:"ids"`
			Finish engine.FinishReason `json:"finish_reason"`
		}{*row.Prompt, res.Text, len(res.IDs), append([]uint32{}, res.IDs...), res.FinishReason})
	})
}
