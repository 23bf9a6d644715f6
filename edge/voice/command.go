package voice

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"bimamba/edge/voice/audio"
)

// Words splits a command line into words at white space. Single and double quotes keep white space in a word; nothing else is special, and no shell is asked.
func Words(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	in, quote := false, rune(0)
	for _, r := range line {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			in, quote = true, r
		case strings.ContainsRune(" \t\r\n", r):
			if in {
				words = append(words, word.String())
				word.Reset()
				in = false
			}
		default:
			in = true
			word.WriteRune(r)
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("%q: the quote %c is not closed", line, quote)
	}
	if in {
		words = append(words, word.String())
	}
	if len(words) == 0 {
		return nil, errors.New("there is no command")
	}
	return words, nil
}

// command is a program that is run for each piece of work. {wav} in an argument is a file for the audio, {text} the text; without them audio and text
// go through standard input or output.
type command struct{ argv []string }

func newCommand(line string) (*command, error) {
	argv, err := Words(line)
	if err != nil {
		return nil, err
	}
	return &command{argv}, nil
}

// find says whether there is such a program.
func (c *command) find() error {
	if _, err := exec.LookPath(c.argv[0]); err != nil {
		return fmt.Errorf("the program %s is not here; install it, or give its whole path", c.argv[0])
	}
	return nil
}

func (c *command) uses(name string) bool {
	for _, a := range c.argv[1:] {
		if strings.Contains(a, name) {
			return true
		}
	}
	return false
}

// fill puts values into the arguments.
func (c *command) fill(pairs ...string) []string {
	r := strings.NewReplacer(pairs...)
	argv := []string{c.argv[0]}
	for _, a := range c.argv[1:] {
		argv = append(argv, r.Replace(a))
	}
	return argv
}

// run runs argv to its end and gives at most so many bytes of its output. All that it started ends with ctx.
func run(ctx context.Context, argv []string, stdin []byte, most int) ([]byte, error) {
	c := start(ctx, argv)
	if stdin != nil {
		c.Stdin = bytes.NewReader(stdin)
	}
	var out, said tail
	out.most, out.strict, said.most = most, true, 2048
	c.Stdout, c.Stderr = &out, &said
	if err := c.Run(); err != nil {
		return nil, commandError(ctx, argv[0], err, &out, said.String())
	}
	return out.b, nil
}

// start makes a command whose whole process group is killed when ctx ends.
func start(ctx context.Context, argv []string) *exec.Cmd {
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	return c
}

var errTooMuch = errors.New("it prints too much")

// commandError is why a command failed, with the last line that it said.
func commandError(ctx context.Context, name string, err error, out *tail, said string) error {
	name = filepath.Base(name)
	switch {
	case out != nil && out.over:
		return fmt.Errorf("%s: %w", name, errTooMuch)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s: it did not end in time", name)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("the program %s is not here; install it, or give its whole path", name)
	}
	if last := lastLine(said); last != "" {
		return fmt.Errorf("%s: %w: %s", name, err, last)
	}
	return fmt.Errorf("%s: %w", name, err)
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	line, _ := cleanTranscript(lines[len(lines)-1])
	return line
}

// tail keeps the first bytes that are written if it is strict, and then fails; else the last.
type tail struct {
	b      []byte
	most   int
	strict bool
	over   bool
}

func (t *tail) Write(p []byte) (int, error) {
	if t.strict && len(t.b)+len(p) > t.most {
		t.over = true
		return 0, errTooMuch
	}
	t.b = append(t.b, p...)
	if n := len(t.b) - t.most; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }

// withFile calls fn with the name of a temporary file of the given content.
func withFile(content []byte, fn func(name string) error) error {
	f, err := os.CreateTemp("", "bimamba-*.wav")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return fn(f.Name())
}

// onAudio runs the command on a piece of audio and gives its text.
func (c *command) onAudio(ctx context.Context, speech []int16) (text string, err error) {
	wav := audio.WAV(speech)
	if !c.uses("{wav}") {
		out, err := run(ctx, c.argv, wav, maxOutput)
		return string(out), err
	}
	err = withFile(wav, func(name string) error {
		out, err := run(ctx, c.fill("{wav}", name), nil, maxOutput)
		text = string(out)
		return err
	})
	return text, err
}

// Recognize implements [Recognizer].
func (c *command) Recognize(ctx context.Context, speech []int16) (string, error) {
	return c.onAudio(ctx, speech)
}

// Synthesize implements [Synthesizer].
func (c *command) Synthesize(ctx context.Context, text string) (speech []int16, err error) {
	stdin := []byte(text + "\n")
	if c.uses("{text}") {
		stdin = nil
	}
	if !c.uses("{wav}") {
		out, err := run(ctx, c.fill("{text}", text), stdin, maxAudio)
		if err != nil {
			return nil, err
		}
		return decoded(bytes.NewReader(out))
	}
	err = withFile(nil, func(name string) error {
		if _, err := run(ctx, c.fill("{text}", text, "{wav}", name), stdin, maxOutput); err != nil {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		speech, err = decoded(io.LimitReader(f, maxAudio))
		return err
	})
	return speech, err
}

func decoded(r io.Reader) ([]int16, error) {
	speech, err := audio.ReadAll(r, audio.Speech, maxSpeech)
	if err == nil && len(speech) == 0 {
		err = errors.New("it gave no audio")
	}
	return speech, err
}

// Spot implements [Spotter]: a command that prints something has heard the wake word, and a number is where it ended, in seconds.
func (c *command) Spot(ctx context.Context, piece []int16) (int, error) {
	text, err := c.onAudio(ctx, piece)
	if err != nil || strings.TrimSpace(text) == "" {
		return 0, err
	}
	return spotEnd(text, len(piece)), nil
}

// spotEnd finds the end of the last wake word in a command's lines: the last number of a line that is a time in the piece; else the piece's end.
func spotEnd(text string, n int) int {
	var seconds float64
	if _, err := fmt.Sscanf(lastLine(text), "%g", &seconds); err == nil && seconds > 0 && seconds*audio.Rate <= float64(n) {
		return int(seconds * audio.Rate)
	}
	return n
}
