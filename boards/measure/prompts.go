package measure

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"bimamba/memmap"
)

// The prompts that are asked without a file of one's own: commands for a model of intents, and questions of some lines for all others.
var (
	//go:embed prompts/commands.txt
	commands string
	//go:embed prompts/questions.txt
	questions string
)

func builtIn(kind memmap.Kind) []string {
	text := questions
	if kind == memmap.KindIntent {
		text = commands
	}
	return strings.Split(strings.TrimSpace(text), "\n")
}

// Limits of a file of prompts.
const (
	maxPrompts = 10_000
	maxPrompt  = 64 << 10 // bytes
)

// ReadPrompts reads prompts, one a line; empty lines are left out. An error names the line.
func ReadPrompts(r io.Reader) ([]string, error) {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 4096), maxPrompt)
	var out []string
	n := 1
	for ; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		switch {
		case line == "":
			continue
		case !utf8.ValidString(line):
			return nil, fmt.Errorf("line %d is not UTF-8", n)
		case len(out) == maxPrompts:
			return nil, fmt.Errorf("line %d: more than %d prompts", n, maxPrompts)
		}
		out = append(out, line)
	}
	switch err := sc.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d has more than %d bytes", n, maxPrompt)
	case err != nil:
		return nil, fmt.Errorf("line %d: %w", n, err)
	case len(out) == 0:
		return nil, errors.New("there is no prompt in it; it has one a line")
	}
	return out, nil
}
