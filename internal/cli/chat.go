package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"bimamba/edge/chat"
	"bimamba/edge/engine"
	"bimamba/memmap"
)

func (e *env) chatCmd() *cobra.Command {
	var system, task string
	var asJSON bool
	c := &cobra.Command{
		Use:   "chat FILE",
		Short: "Talk to a model",
		Long: `Chat reads a line, prints the model's answer and waits for the next. How it prompts depends on the model's kind:

  instruct  turns as the model's prompt format says
  base      a plain transcript of "User:" and "Assistant:", which the model continues
  intent    each line is an utterance for --task, and those before it are not read

The state is kept, so that each turn costs only its own tokens.

/task NAME changes the task, /reset forgets the conversation, /quit or Ctrl-D leaves. With --json each answer is a line of JSON.`,
		Example: "  bimamba chat default\n  bimamba chat default --task topics\n  bimamba chat m.bimamba --system 'Answer briefly.'",
		Args:    oneFile,
	}
	flags := addModelFlags(c)
	s := samplingFlags(c)
	c.Flags().StringVar(&system, "system", "", "system prompt")
	c.Flags().StringVar(&task, "task", "", "task of an intent model (default: its first)")
	c.Flags().BoolVar(&asJSON, "json", false, "print answers as JSON lines")
	c.RunE = func(c *cobra.Command, args []string) error {
		return withEngine(args[0], flags, 1, func(eng *engine.Engine) error {
			req, err := s.request(eng)
			if err != nil {
				return err
			}
			local, err := chat.NewLocal(eng, chat.LocalOptions{TokenCap: math.MaxInt, MaxPrompt: math.MaxInt})
			if err != nil {
				return err
			}
			ch := &talk{env: e, local: local, system: system, asJSON: asJSON, prompts: e.typed && !asJSON}
			p := req.Sample
			ch.req.MaxTokens, ch.req.Stop = req.MaxTokens, req.Stop
			ch.req.Sampling = chat.Sampling{
				Temperature: &p.Temperature, TopK: &p.TopK, TopP: &p.TopP, MinP: &p.MinP, RepetitionPenalty: &p.RepetitionPenalty, Seed: &p.Seed,
			}
			ch.reset()
			if eng.Manifest().Kind == memmap.KindIntent && task == "" {
				task = eng.Manifest().Tasks[0].Name
			}
			if system != "" && eng.Manifest().Kind == memmap.KindIntent {
				return fmt.Errorf("--system: %s is of kind %s, which reads no system prompt", args[0], eng.Manifest().Kind)
			}
			if task != "" {
				if err := ch.setTask(task); err != nil {
					return err
				}
			}
			return ch.run(c.Context())
		})
	}
	return c
}

// talk is one conversation.
type talk struct {
	*env
	local   *chat.Local
	req     chat.Request // with the messages so far
	system  string
	task    string
	asJSON  bool
	prompts bool // a person types: show that a line is awaited
}

func (c *talk) setTask(name string) error {
	if _, err := c.local.Engine().Task(name); err != nil {
		return err
	}
	c.task = name
	c.req.Model = ":" + name
	return nil
}

// reset forgets the conversation.
func (c *talk) reset() {
	c.req.Messages = nil
	if c.system != "" {
		c.req.Messages = []chat.Message{{Role: chat.System, Text: c.system}}
	}
}

func (c *talk) run(ctx context.Context) error {
	in := bufio.NewScanner(c.stdin)
	in.Buffer(nil, 1<<20)
	for c.prompt(); in.Scan(); c.prompt() {
		line := strings.TrimSpace(in.Text())
		switch {
		case line == "":
			continue
		case line == "/quit" || line == "/exit":
			return nil
		case line == "/reset":
			c.reset()
			continue
		case strings.HasPrefix(line, "/task"):
			if err := c.setTask(strings.TrimSpace(strings.TrimPrefix(line, "/task"))); err != nil {
				fmt.Fprintf(c.stderr, "bimamba: %v\n", err)
			}
			continue
		}
		if err := c.answer(ctx, line); err != nil {
			return err
		}
	}
	if c.prompts {
		fmt.Fprintln(c.stdout)
	}
	return in.Err()
}

func (c *talk) prompt() {
	if !c.prompts {
		return
	}
	if c.task != "" {
		fmt.Fprintf(c.stdout, "%s> ", c.task)
		return
	}
	io.WriteString(c.stdout, "> ")
}

// answer feeds one line and prints what the model says to it.
func (c *talk) answer(ctx context.Context, line string) error {
	c.req.Messages = append(c.req.Messages, chat.Message{Role: chat.User, Text: line})
	emit := func(e chat.Event) error { _, err := io.WriteString(c.stdout, e.Text); return err }
	if c.asJSON {
		emit = nil
	}
	res, err := c.local.Chat(ctx, &c.req, emit)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			fmt.Fprintln(c.stdout)
		}
		return err
	}
	c.req.Messages = append(c.req.Messages, chat.Message{Role: chat.Assistant, Text: res.Text})
	rate := perSecond(res.Usage.Completion, res.Timing.Decode)
	if c.asJSON {
		return writeJSON(c.stdout, map[string]any{
			"text": res.Text, "tokens": res.Usage.Completion, "finish_reason": res.Finish,
			"prompt_tokens": res.Usage.Prompt, "cached_tokens": res.Usage.Cached, "decode_tokens_per_s": rate,
		})
	}
	fmt.Fprintf(c.stdout, "\n[%d tokens, %.1f tokens/s]\n", res.Usage.Completion, rate)
	return nil
}
