package voice

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"bimamba/edge/api/wyoming"
	"bimamba/edge/home"
	"bimamba/edge/voice/audio"
)

func TestWords(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string
	}{
		{"aplay -q -", []string{"aplay", "-q", "-"}},
		{" a  'b c' d\"e f\"g ''", []string{"a", "b c", "de fg", ""}},
		{`a "it's" $HOME \n;`, []string{"a", "it's", "$HOME", `\n;`}},
		{"", nil}, {"  ", nil}, {"a 'b", nil},
	} {
		got, err := Words(tt.line)
		if !slices.Equal(got, tt.want) || (err == nil) != (tt.want != nil) {
			t.Errorf("%q: %q, %v", tt.line, got, err)
		}
	}
}

func TestWithoutWake(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"Hey, computer! Turn on the lamp.", "Turn on the lamp."}, {"hey computer", ""}, {"turn on the computer", "turn on the computer"}, {"hey computers turn", "hey computers turn"},
		{"hey", "hey"}, {"", ""}, {"...hey computer... open", "open"},
	} {
		if got := withoutWake(tt.text, "hey computer"); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
	if got := withoutWake("hey computer", ""); got != "hey computer" {
		t.Errorf("%q", got)
	}
}

func FuzzTranscript(f *testing.F) {
	for _, s := range []string{"turn on the lamp", "a\x00b\x1b[0m\r\n", "\xff\xfe", "\u202eabc\u200b", strings.Repeat("é", 600)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := cleanTranscript(s)
		if err != nil {
			return
		}
		if len([]rune(got)) > maxTranscript || strings.ContainsFunc(got, unicode.IsControl) || got != strings.TrimSpace(got) {
			t.Errorf("%q", got)
		}
		withoutWake(got, "hey computer")
		withoutWake(s, got)
	})
}

// TestCommands runs engines that are commands.
func TestCommands(t *testing.T) {
	speech := render(sound{100, on})
	script := func(text string) *command {
		path := filepath.Join(t.TempDir(), "engine")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
		return &command{argv: []string{path}}
	}
	with := func(c *command, args ...string) *command { c.argv = append(c.argv, args...); return c }

	// Audio through standard input, and through a file that is gone afterwards.
	count := "wc -c; echo ' bytes'"
	if got, err := script(count).Recognize(t.Context(), speech); err != nil || strings.Join(strings.Fields(got), " ") != "3244 bytes" {
		t.Errorf("%q, %v", got, err)
	}
	got, err := with(script(`wc -c <"$1"; echo "$1"`), "{wav}").Recognize(t.Context(), speech)
	f := strings.Fields(got)
	if err != nil || len(f) != 2 || f[0] != "3244" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := os.Stat(f[1]); err == nil {
		t.Errorf("%s is still there", f[1])
	}
	// Speech as a file or standard output, text as an argument or standard input; the text is no shell's.
	wav := filepath.Join(t.TempDir(), "x.wav")
	if err := os.WriteFile(wav, audio.WAV(speech), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*command{
		with(script(`read line; [ "$line" = '$(x); -y' ] && cat "$1"`), wav),
		with(script(`[ "$2" = '$(x); -y' ] && cat "$1"`), wav, "{text}"),
		with(script(`[ "$2" = '$(x); -y' ] && cat "$1" >"$3"`), wav, "{text}", "{wav}"),
	} {
		if got, err := c.Synthesize(t.Context(), "$(x); -y"); err != nil || !slices.Equal(got, speech) {
			t.Errorf("%q: %d samples, %v", c.argv[1:], len(got), err)
		}
	}
	if _, err := script("exit 0").Synthesize(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "no audio") {
		t.Errorf("nothing: %v", err)
	}
	// What they say when they fail.
	for _, tt := range []struct {
		script, want string
		limit        time.Duration
	}{
		{"echo 'no model' >&2; exit 3", "engine: exit status 3: no model", time.Minute},
		{"yes", "engine: it prints too much", time.Minute},
		{"sleep 60 & sleep 60", "engine: it did not end in time", 300 * time.Millisecond},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
		began := time.Now()
		_, err := script(tt.script).Recognize(ctx, speech)
		cancel()
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.script, err, tt.want)
		}
		if time.Since(began) > 50*time.Second {
			t.Errorf("%s: it took %v", tt.script, time.Since(began))
		}
	}
	if _, err := (&command{argv: []string{"there-is-no-such-engine"}}).Recognize(t.Context(), speech); err == nil || !strings.Contains(err.Error(), "is not here") {
		t.Errorf("%v", err)
	}
	// Wake words by command.
	for _, tt := range []struct {
		script string
		want   int
	}{{"exit 0", 0}, {"echo found", len(speech)}, {"echo 0.05", audio.Rate / 20}, {"echo 99", len(speech)}, {"echo -1", len(speech)}, {"echo NaN", len(speech)}} {
		if got, err := script(tt.script).Spot(t.Context(), speech); got != tt.want || err != nil {
			t.Errorf("%s: %d, %v, want %d", tt.script, got, err, tt.want)
		}
	}
	// A loudspeaker stops at once.
	p := &player{command{argv: []string{"sleep", "60"}}}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := p.Play(ctx, speech); err == nil || time.Since(began) > 50*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

// TestRecorder: microphones that end, hang, are missing or give the wrong thing.
func TestRecorder(t *testing.T) {
	var p [audio.FrameSamples]int16
	open := func(script string) *recorder {
		t.Helper()
		path := filepath.Join(t.TempDir(), "mic")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
		s, err := Record(path)
		if err != nil {
			t.Fatal(err)
		}
		r := s.(*recorder)
		t.Cleanup(func() { r.Close() })
		return r
	}
	for _, tt := range []struct{ script, want string }{
		{"echo 'arecord: no soundcards found' >&2; exit 1", "the microphone: mic: exit status 1: arecord: no soundcards found"},
		{"exit 0", "the microphone: mic: it ended"},
		{"sleep 60", "the microphone: mic: no sample for 200ms"},
		{"printf 'RIFF0000WAVEfmt \\000\\000\\000\\000'; sleep 60", "the microphone: mic: the WAV: its format has 0 bytes"},
	} {
		r := open(tt.script)
		r.stalled = time.Minute
		if tt.script == "sleep 60" {
			r.stalled = 200 * time.Millisecond
		}
		err := r.Read(t.Context(), p[:])
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.script, err, tt.want)
		}
		if gap := (*Gap)(nil); errors.As(err, &gap) {
			t.Errorf("%s: one that never worked is started again", tt.script)
		}
	}
	// One that gives some sound and ends is started again.
	r := open("head -c 6400 /dev/zero")
	r.least = time.Millisecond
	frames, gaps := 0, 0
	for frames < 25 {
		err := r.Read(t.Context(), p[:])
		var gap *Gap
		switch {
		case errors.As(err, &gap):
			gaps++
		case err != nil:
			t.Fatal(err)
		default:
			frames++
		}
	}
	if gaps != 2 {
		t.Errorf("%d gaps in %d frames", gaps, frames)
	}
	// A context ends what it reads from.
	r = open("sleep 60")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Read(ctx, p[:]); err != context.DeadlineExceeded {
		t.Errorf("%v", err)
	}
}

// TestFile reads a WAV of 8 kHz and two channels.
func TestFile(t *testing.T) {
	if _, err := exec.LookPath("sox"); err != nil {
		t.Skip("sox is not here")
	}
	dir := t.TempDir()
	wav, other := filepath.Join(dir, "a.wav"), filepath.Join(dir, "b.wav")
	if err := os.WriteFile(wav, audio.WAV(render(sound{500, on})), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sox", wav, "-r", "8000", "-c", "2", other).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s, err := OpenFile(other)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var p [audio.FrameSamples]int16
	n := 0
	for ; ; n++ {
		if err := s.Read(t.Context(), p[:]); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n != 25 {
		t.Errorf("%d frames", n)
	}
	if _, err := OpenFile(filepath.Join(dir, "none.wav")); err == nil {
		t.Error("a file that is not there was opened")
	}
}

// serve is a Wyoming service that answers each event by a function.
func serve(t *testing.T, answer func(e *wyoming.Event, send func(kind string, data any, payload []byte))) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := wyoming.NewReader(bufio.NewReader(c), wyoming.Limits{})
				for {
					e, err := r.Read()
					if err != nil {
						return
					}
					answer(e, func(kind string, data any, payload []byte) {
						out, err := wyoming.NewEvent(kind, data)
						if err != nil {
							t.Error(err)
							return
						}
						out.Payload = payload
						b, err := wyoming.Append(nil, out)
						if err != nil {
							t.Error(err)
							return
						}
						c.Write(b)
					})
				}
			}()
		}
	}()
	return "tcp://" + ln.Addr().String()
}

// TestServices: engines and an assistant behind Wyoming.
func TestServices(t *testing.T) {
	speech := render(sound{300, on})
	heard := 0
	uri := serve(t, func(e *wyoming.Event, send func(string, any, []byte)) {
		switch e.Type {
		case "audio-chunk":
			heard += len(e.Payload)
		case "audio-stop":
			send("transcript", map[string]any{"text": "turn on the lamp"}, nil)
		case "synthesize":
			f := map[string]any{"rate": 8000, "width": 2, "channels": 2}
			send("audio-start", f, nil)
			send("audio-chunk", f, make([]byte, 8000))
			send("audio-stop", nil, nil)
		case "transcript":
			send("intents-start", nil, nil)
			send("intent", map[string]any{"name": "HassTurnOn", "entities": []map[string]any{{"name": "name", "value": "lamp"}}, "text": "Turned on."}, nil)
			send("intent", map[string]any{"name": "HassTurnOff"}, nil)
			send("intents-stop", nil, nil)
		}
	})
	a, err := NewRecognizer(uri, "en", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := a.Recognize(t.Context(), speech); err != nil || got != "turn on the lamp" || heard != 2*len(speech) {
		t.Errorf("%q, %v, %d bytes", got, err, heard)
	}
	s, err := NewSynthesizer(uri, "en")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Synthesize(t.Context(), "hello"); err != nil || len(got) != audio.Rate/4 {
		t.Errorf("%d samples, %v", len(got), err)
	}
	n := 0
	r, err := NewRemote(uri, func() string { n++; return string(rune('a' + n)) })
	if err != nil {
		t.Fatal(err)
	}
	ans, err := r.Handle(t.Context(), home.Request{Text: "turn on the lamp"})
	if err != nil || ans.Kind != home.Act || len(ans.Actions) != 2 || ans.Actions[0].ID == ans.Actions[1].ID || ans.Actions[0].Slots["name"] != "lamp" || ans.Text != "Turned on." {
		t.Errorf("%+v, %v", ans, err)
	}

	// One that says nothing, and one that is not there.
	mute := serve(t, func(*wyoming.Event, func(string, any, []byte)) {})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	a, _ = NewRecognizer(mute, "", nil)
	if _, err := a.Recognize(ctx, speech); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	a, _ = NewRecognizer("tcp://127.0.0.1:1", "", nil)
	if _, err := a.Recognize(t.Context(), speech); err == nil || !strings.Contains(err.Error(), "tcp://127.0.0.1:1") {
		t.Errorf("%v", err)
	}
}

// TestRemoteKinds: what events mean to the loop.
func TestRemoteKinds(t *testing.T) {
	for _, tt := range []struct {
		event, text string
		want        home.Kind
	}{
		{"handled", "Done.", home.Say}, {"handled", "Which one, A or B?", home.Ask}, {"not-recognized", "I do not know that.", home.Decline}, {"not-handled", "It is away.", home.Decline},
	} {
		uri := serve(t, func(e *wyoming.Event, send func(string, any, []byte)) {
			send(tt.event, map[string]any{"text": tt.text}, nil)
		})
		r, err := NewRemote(uri, func() string { return "" })
		if err != nil {
			t.Fatal(err)
		}
		a, err := r.Handle(t.Context(), home.Request{Text: "x"})
		if err != nil || a.Kind != tt.want || a.Text != tt.text {
			t.Errorf("%s: %+v, %v", tt.event, a, err)
		}
	}
}

// TestWakeService: a service that hears the wake word after 300 ms of sound, twice.
func TestWakeService(t *testing.T) {
	uri := serve(t, func(e *wyoming.Event, send func(string, any, []byte)) {
		var at struct {
			Timestamp int64 `json:"timestamp"`
		}
		if e.Type == "audio-chunk" && e.Decode(&at) == nil && at.Timestamp >= 300 {
			send("detection", map[string]any{"name": "hey_jarvis", "timestamp": 300}, nil)
		}
	})
	w, err := NewWaker(uri, "hey jarvis", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var ends []int64
	x := render(sound{2000, off})
	for len(x) > 0 && len(ends) < 2 {
		got, err := w.Hear(t.Context(), x[:audio.FrameSamples], false, true)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, got...)
		x = x[audio.FrameSamples:]
	}
	if len(ends) != 2 || ends[0] != 300*audio.Rate/1000 || ends[1] <= ends[0] {
		t.Errorf("%v", ends)
	}
	gone, _ := NewWaker("tcp://127.0.0.1:1", "", nil)
	defer gone.Close()
	for range 3000 {
		if _, err = gone.Hear(t.Context(), x[:0], false, false); err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err == nil {
		t.Error("a service that is not there is not told of")
	}
}

// TestSpotting: a spotter sees speech when it ends, and while it lasts; what it finds is not found twice.
func TestSpotting(t *testing.T) {
	var seen []int
	s := Spotting(spotter(func(piece []int16) int {
		seen = append(seen, len(piece))
		if len(seen) == 2 {
			return len(piece) / 2
		}
		return 0
	}), time.Second)
	defer s.Close()
	var ends []int64
	for i := range 300 { // 6 s, of which the second to the fourth is speech
		got, err := s.Hear(t.Context(), make([]int16, audio.FrameSamples), i >= 50 && i < 200, true)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, got...)
	}
	if len(ends) != 1 || len(seen) < 3 || len(seen) > 5 {
		t.Fatalf("%v, pieces %v", ends, seen)
	}
	// The second look is 2 s into speech that begins at 1 s, and sees 0.3 s before it.
	at := audio.Duration(int(ends[0]))
	if at < 1700*time.Millisecond || at > 2*time.Second {
		t.Errorf("found at %v", at)
	}
	if d := audio.Duration(seen[2]); d > 2300*time.Millisecond {
		t.Errorf("%v are looked at behind the wake word, with it", d)
	}
}

type spotter func(piece []int16) int

func (s spotter) Spot(_ context.Context, piece []int16) (int, error) { return s(piece), nil }

func TestEngineNames(t *testing.T) {
	for _, spec := range []string{"", "whisper", "http://x", "tcp://x", "command", "command 'x", "command there-is-no-such-engine"} {
		if _, err := NewRecognizer(spec, "", nil); err == nil {
			t.Errorf("--asr %q is taken", spec)
		}
		if _, err := NewSynthesizer(spec, ""); err == nil {
			t.Errorf("--tts %q is taken", spec)
		}
		if _, err := NewWaker(spec, "", nil); err == nil {
			t.Errorf("--wake %q is taken", spec)
		}
	}
	for _, spec := range []string{"unix:///run/x", "command cat"} {
		if _, err := NewRecognizer(spec, "", nil); err != nil {
			t.Error(err)
		}
	}
}

func TestSpottedEnd(t *testing.T) {
	for _, tt := range []struct {
		line string
		want int
	}{
		{"piece S 0 T -2911 A -2911 L 0 61 -2911 0 hey computer 141", 142 * 160}, {"piece S 0 T 0 A 0 L 0 0", 0}, {"", 0}, {"x hey computer 99999", 32000}, {"x hey computer y", 32000}, {"x hey computer -4", 32000},
	} {
		if got := spottedEnd(tt.line, "hey computer", 32000); got != tt.want {
			t.Errorf("%q: %d, want %d", tt.line, got, tt.want)
		}
	}
}
