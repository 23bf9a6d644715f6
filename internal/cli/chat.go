package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

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

  instruct  turns as the model's prompt format says; the state is kept, so that each turn costs only its own tokens
  intent    each line is an utterance for --task, from an empty state
  base      each line continues the transcript

/task NAME changes the task, /reset forgets the conversation, /quit or Ctrl-D leaves. With --json each answer is a line of JSON.`,
		Example: "  bimamba chat default\n  bimamba chat default --task topics\n  bimamba chat m.bimamba --system 'Answer briefly.'",
		Args:    oneFile,
	}
	flags := addModelFlags(c)
	s := samplingFlags(c)
	c.Flags().StringVar(&system, "system", "", "system turn (instruct models)")
	c.Flags().StringVar(&task, "task", "", "task of an intent model (default: its first)")
	c.Flags().BoolVar(&asJSON, "json", false, "print answers as JSON lines")
	c.RunE = func(c *cobra.Command, args []string) error {
		return withEngine(args[0], flags, 1, func(eng *engine.Engine) error {
			req, err := s.request(eng)
			if err != nil {
				return err
			}
			ch := &chat{env: e, eng: eng, req: req, system: system, asJSON: asJSON, prompts: e.typed && !asJSON}
			if eng.Manifest().Kind == memmap.KindIntent && task == "" {
				task = eng.Manifest().Tasks[0].Name
			}
			if system != "" && eng.Manifest().Kind != memmap.KindInstruct {
				return fmt.Errorf("--system: %s is of kind %s, which has no system turn", args[0], eng.Manifest().Kind)
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

// chat is one conversation.
type chat struct {
	*env
	eng     *engine.Engine
	req     engine.Request
	system  string
	task    string
	asJSON  bool
	prompts bool // a person types: show that a line is awaited
}

func (c *chat) setTask(name string) error {
	if _, err := c.eng.TaskPrompt(name, ""); err != nil {
		return err
	}
	c.task = name
	return nil
}

func (c *chat) run(ctx context.Context) error {
	s := c.eng.Model.Session(0)
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
			s.Reset()
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

func (c *chat) prompt() {
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
func (c *chat) answer(ctx context.Context, line string) error {
	s := c.eng.Model.Session(0)
	var text string
	var err error
	first := s.Pos() == 0
	switch c.eng.Manifest().Kind {
	case memmap.KindIntent:
		s.Reset()
		first = true
		if text, err = c.eng.TaskPrompt(c.task, line); err != nil {
			return err
		}
	case memmap.KindInstruct:
		if first && c.system != "" {
			text = c.eng.TurnPrompt(engine.System, c.system)
		}
		if !first {
			text = c.eng.Manifest().Prompt.Turns.Assistant.Suffix // ends the answer before, whose end token was not fed
		}
		text += c.eng.TurnPrompt(engine.User, line)
	default:
		text = line
		if !first {
			text = "\n" + line
		}
	}
	req := c.req
	if req.Prompt, err = c.eng.Encode(text); err != nil {
		return err
	}
	if p := &c.eng.Manifest().Prompt; !first && p.AddBOS && p.BOSID >= 0 {
		req.Prompt = req.Prompt[1:] // BOS opens a conversation, not a turn
	}
	emit := func(t string) error { _, err := io.WriteString(c.stdout, t); return err }
	if c.asJSON {
		emit = nil
	}
	res, err := c.eng.Generate(ctx, s, req, emit)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			fmt.Fprintln(c.stdout)
		}
		return err
	}
	if c.asJSON {
		return writeJSON(c.stdout, map[string]any{
			"text": res.Text, "tokens": len(res.IDs), "finish_reason": res.FinishReason,
			"prompt_tokens": len(req.Prompt), "decode_tokens_per_s": perSecond(len(res.IDs), res.Decode),
		})
	}
	fmt.Fprintf(c.stdout, "\n[%d tokens, %.1f tokens/s]\n", len(res.IDs), perSecond(len(res.IDs), res.Decode))
	return nil
}
