package voice

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bimamba/edge/engine"
	"bimamba/edge/home"
	"bimamba/edge/model"
	"bimamba/edge/voice/sphinx"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
)

// spokenCommand is a line of testdata/commands.txt.
type spokenCommand struct {
	text     string
	ask      bool
	intents  []string
	entities []string // nil: any
	slots    map[string]string
}

// readLines is a file without empty lines and comments.
func readLines(t testing.TB, name string) (lines []string) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if line := strings.TrimSpace(sc.Text()); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

func readCommands(t testing.TB) (all []spokenCommand) {
	t.Helper()
	for _, line := range readLines(t, "commands.txt") {
		f := strings.Split(line, "|")
		if len(f) < 3 {
			t.Fatalf("%q has %d fields", line, len(f))
		}
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		c := spokenCommand{text: f[0], slots: map[string]string{}}
		f[1], c.ask = strings.TrimPrefix(f[1], "?"), f[1][0] == '?'
		c.intents = strings.Fields(f[1])
		if f[2] != "-" {
			c.entities = strings.Fields(f[2])
		}
		if len(f) > 3 {
			for _, s := range strings.Fields(f[3]) {
				name, value, _ := strings.Cut(s, "=")
				c.slots[name] = value
			}
		}
		all = append(all, c)
	}
	return all
}

// right says whether an answer is what the command asks for.
func (c *spokenCommand) right(a *home.Answer) bool {
	actions := a.Actions
	if c.ask {
		if a.Kind != home.Ask {
			return false
		}
		actions = a.Meant
	} else if a.Kind != home.Act {
		return false
	}
	if len(actions) != 1 {
		return false
	}
	x := actions[0]
	if !slices.Contains(c.intents, x.Intent) {
		return false
	}
	if c.entities != nil && !slices.Equal(slices.Sorted(slices.Values(x.Entities)), c.entities) {
		return false
	}
	for name, want := range c.slots {
		got := fmt.Sprint(x.Slots[name])
		if f, err := strconv.ParseFloat(got, 64); err == nil {
			got = strconv.FormatFloat(f, 'g', -1, 64)
		}
		if !strings.EqualFold(got, want) {
			return false
		}
	}
	return true
}

// newAssistant is the default model in the house of testdata.
func newAssistant(t testing.TB) (*home.Assistant, *home.Home) {
	t.Helper()
	h, err := home.Read("testdata/home.toml")
	if err != nil {
		t.Fatal(err)
	}
	blob, err := memmap.Open(filepath.Join(testmodel.Root(), "models", "default.bimamba"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blob.Close() })
	e, err := engine.Open(blob, engine.Options{Model: model.Options{Sessions: 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	a, err := home.New(e, h)
	if err != nil {
		t.Fatal(err)
	}
	return a, h
}

// listener keeps what an assistant answers.
type listener struct {
	Assistant
	mu      sync.Mutex
	answers []*home.Answer
	heard   []string
}

func (l *listener) Handle(ctx context.Context, r home.Request) (*home.Answer, error) {
	a, err := l.Assistant.Handle(ctx, r)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.answers, l.heard = append(l.answers, a), append(l.heard, r.Text)
	}
	return a, err
}

// pleased is a performer to which all is well.
type pleased struct{}

func (pleased) Perform(context.Context, []home.Action) (string, error) { return "", nil }

// say has a voice speak into a WAV file of a room: silence around it and, if it is noisy, white noise 20 dB below speech.
func say(t *testing.T, voice, text string, noisy bool, out string) {
	t.Helper()
	script := map[string]string{
		"flite slt": `flite -voice slt -t "$1" -o "$2.raw.wav"`,
		"flite rms": `flite -voice rms -t "$1" -o "$2.raw.wav"`,
		"espeak-ng": `espeak-ng -v en-us -s 140 -w "$2.raw.wav" "$1"`,
	}[voice] + ` && sox -D "$2.raw.wav" -r 16000 -c 1 -b 16 "$2.pad.wav" pad 0.4 0.9 && rm "$2.raw.wav"`
	if noisy {
		script += ` && rms=$(sox "$2.pad.wav" -n stat 2>&1 | awk '/RMS.*amplitude/{print $3 * 0.1 / 0.577}') &&
			sox -R "$2.pad.wav" -p synth whitenoise | sox -R -m -v 1 "$2.pad.wav" -v "$rms" - -b 16 "$2" && rm "$2.pad.wav"`
	} else {
		script += ` && mv "$2.pad.wav" "$2"`
	}
	if b, err := exec.Command("sh", "-c", script, "sh", text, out).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", text, err, b)
	}
}

// TestVoiceSet speaks 60 commands and 20 other sentences with three voices, in silence and in noise, and counts the actions that come of them.
// It takes a quarter of an hour, and programs that not every machine has: `make voice-test`. BIMAMBA_VOICE is a
// regular expression of what to do of it, as "flite slt, clean: ", or "." for all.
func TestVoiceSet(t *testing.T) {
	parts := os.Getenv("BIMAMBA_VOICE")
	if parts == "" {
		t.Skip("takes a quarter of an hour: BIMAMBA_VOICE=. (make voice-test)")
	}
	only := regexp.MustCompile(parts)
	assistant, h := newAssistant(t)
	s, err := NewSphinx(h, "hey computer")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	commands, unrelated := readCommands(t), readLines(t, "unrelated.txt")
	typed := 0
	for _, c := range commands {
		a, err := assistant.Handle(t.Context(), home.Request{Text: sphinx.Figures(c.text)})
		if err != nil {
			t.Fatal(err)
		}
		if c.right(a) {
			typed++
		} else {
			t.Logf("typed: %q: %v %v %q", c.text, a.Kind, a.Meant, a.Text)
		}
	}
	t.Logf("typed: %d of %d", typed, len(commands))
	rights, total, wrong := 0, 0, 0
	for _, voice := range []string{"flite slt", "flite rms", "espeak-ng"} {
		for _, noisy := range []bool{false, true} {
			part := voice + map[bool]string{false: ", clean", true: ", 20 dB"}[noisy]
			right, said, acted, others := 0, 0, 0, 0
			for _, c := range commands {
				if !only.MatchString(part + ": " + c.text) {
					continue
				}
				said++
				l := hearOne(t, s, assistant, voice, "Hey computer. "+c.text, noisy)
				if len(l.answers) == 1 && c.right(l.answers[0]) {
					right++
				} else {
					t.Logf("%s: %q: heard %q, %v", part, c.text, l.heard, kindsOf(l.answers))
				}
			}
			for _, text := range unrelated {
				if !only.MatchString(part + ": " + text) {
					continue
				}
				others++
				l := hearOne(t, s, assistant, voice, text, noisy)
				if slices.ContainsFunc(l.answers, func(a *home.Answer) bool { return a.Kind == home.Act }) {
					acted++
					t.Logf("%s: %q: heard %q", part, text, l.heard)
				}
			}
			if said+others > 0 {
				t.Logf("RESULT %s: %d of %d commands, %d of %d others", part, right, said, acted, others)
			}
			rights, total, wrong = rights+right, total+said, wrong+acted
		}
	}
	t.Logf("RESULT %d of %d commands (%.1f %%), %d others", rights, total, 100*float64(rights)/float64(max(1, total)), wrong)
	if rights*10 < total*9 || wrong > 0 {
		t.Errorf("fewer than 90 %% of commands end in the right action, or something else ends in one")
	}
}

func kindsOf(answers []*home.Answer) (s []string) {
	for _, a := range answers {
		s = append(s, fmt.Sprint(a.Kind, " ", a.Meant, " ", a.Text))
	}
	return s
}

// hearOne runs the loop on a sentence.
func hearOne(t *testing.T, s *Sphinx, a Assistant, voice, text string, noisy bool) *listener {
	t.Helper()
	wav := filepath.Join(t.TempDir(), "said.wav")
	say(t, voice, text, noisy, wav)
	src, err := OpenFile(wav)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	l := &listener{Assistant: a}
	err = Run(t.Context(), Options{Source: src, Recognizer: s, Waker: Spotting(s, time.Minute), Assistant: l, Performer: pleased{}, WakeWord: "hey computer",
		Limits: Limits{Recognize: time.Minute, Understand: time.Minute}, Notice: func(n string) { t.Log(n) }})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return l
}
