package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"bimamba/edge/action"
)

const (
	maxOutput = 4096            // bytes of what a program says that are kept
	grace     = time.Second     // for its output to end after it has
	tempfail  = 75              // the exit status that asks to try again (EX_TEMPFAIL of sysexits.h)
	Timeout   = 5 * time.Second // that a program may take, unless the options say
)

// Options of New.
type Options struct {
	// Argv is the program and its arguments; no shell looks at them. In the arguments {id}, {intent} and {slots.NAME} stand for what an action has, {slots.NAME} for nothing where it has no such slot.
	Argv    []string
	Timeout time.Duration // 0: Timeout
}

// Command is a target of actions. The program gets the action as JSON on standard input.
type Command struct {
	path    string
	args    [][]part
	timeout time.Duration
}

// part of an argument: text, or what stands for something.
type part struct{ text, name string }

// New finds the program and checks its arguments.
func New(opt Options) (*Command, error) {
	if len(opt.Argv) == 0 {
		return nil, errors.New("a command of no words")
	}
	c := &Command{timeout: opt.Timeout}
	if c.timeout == 0 {
		c.timeout = Timeout
	}
	var err error
	if c.path, err = exec.LookPath(opt.Argv[0]); err != nil {
		return nil, err
	}
	for _, arg := range opt.Argv[1:] {
		parts, err := parse(arg)
		if err != nil {
			return nil, fmt.Errorf("argument %q: %w", arg, err)
		}
		c.args = append(c.args, parts)
	}
	return c, nil
}

func parse(arg string) ([]part, error) {
	var parts []part
	for arg != "" {
		text, rest, ok := strings.Cut(arg, "{")
		if text != "" {
			parts = append(parts, part{text: text})
		}
		if !ok {
			break
		}
		name, after, ok := strings.Cut(rest, "}")
		if slot, isSlot := strings.CutPrefix(name, "slots."); !ok || name != "id" && name != "intent" && (!isSlot || slot == "") {
			return nil, errors.New("braces hold id, intent or slots.NAME, and nothing else")
		}
		parts = append(parts, part{name: name})
		arg = after
	}
	return parts, nil
}

// fill is an argument for an action.
func fill(parts []part, m *action.Message) (string, error) {
	var b strings.Builder
	for _, p := range parts {
		value := p.text
		switch slot, isSlot := strings.CutPrefix(p.name, "slots."); {
		case p.name == "id":
			value = m.ID
		case p.name == "intent":
			value = m.Intent
		case isSlot && m.Slots[slot] != nil:
			value = fmt.Sprint(m.Slots[slot])
		}
		if strings.ContainsRune(value, 0) {
			return "", fmt.Errorf("{%s} has a NUL in it", p.name)
		}
		b.WriteString(value)
	}
	// What somebody said must not become an option of the program.
	if arg := b.String(); strings.HasPrefix(arg, "-") && parts[0].name != "" {
		return "", fmt.Errorf("it is %.40q, which would be an option; put text before {%s}", arg, parts[0].name)
	}
	return b.String(), nil
}

// Send is of action.Target: exit status 0 is a yes, 75 (EX_TEMPFAIL) asks to try again later, and all else is final, also that it took too long: it may have done a part.
func (c *Command) Send(ctx context.Context, m *action.Message) error {
	input, err := json.Marshal(m)
	if err != nil {
		return err
	}
	args := make([]string, len(c.args))
	for i, parts := range c.args {
		if args[i], err = fill(parts, m); err != nil {
			return fmt.Errorf("command %s: argument %d: %w", c.path, i+1, err)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("it took longer than %v", c.timeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path, args...)
	cmd.Stdin = bytes.NewReader(append(input, '\n'))
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its children end with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = grace
	err = cmd.Run()
	if cmd.ProcessState != nil && cmd.ProcessState.Success() && ctx.Err() == nil {
		return nil // also if a child of it that goes on holds the output open
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	err = fmt.Errorf("command %s: %w%s", c.path, err, out.say())
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == tempfail {
		return &action.Away{Err: err, Answered: true}
	}
	return err
}

// Close does nothing: a program ends with its action.
func (c *Command) Close() {}

// output keeps the beginning of what a program says.
type output struct{ b []byte }

func (o *output) Write(b []byte) (int, error) {
	o.b = append(o.b, b[:min(len(b), maxOutput-len(o.b))]...)
	return len(b), nil
}

// say is the output in one line.
func (o *output) say() string {
	s := strings.Join(strings.Fields(strings.ToValidUTF8(string(o.b), "?")), " ")
	if s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 127 {
			return -1
		}
		return r
	}, s); s == "" {
		return ""
	}
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + " ..."
	}
	return ": " + s
}
