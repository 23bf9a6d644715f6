package voice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"periph.io/x/conn/v3/gpio"

	"bimamba/edge/home"
	"bimamba/edge/voice/audio"
)

// sound is a piece of what a microphone hears.
type sound struct {
	ms     int
	speech bool
}

// render makes sound: speech is a voice of 150 Hz with formants of no vowel in particular, silence a quiet room.
func render(pieces ...sound) []int16 {
	var x []int16
	noise := uint32(1)
	for _, p := range pieces {
		for i := range audio.Samples(time.Duration(p.ms) * time.Millisecond) {
			noise = noise*1664525 + 1013904223
			v := float64(int32(noise)) / (1 << 31) * 3
			if p.speech && i%(audio.Rate/4) < audio.Rate/5 { // in syllables
				for k := 1.0; k < 20; k++ {
					v += 1200 / (1 + math.Pow((150*k-600)/300, 2)) * math.Sin(2*math.Pi*150*k*float64(i)/audio.Rate)
				}
			}
			x = append(x, int16(v))
		}
	}
	return x
}

// tape is a source of samples that there are. A live one gives a frame for each token of pace, or at once where there is none.
type tape struct {
	x    []int16
	live bool
	pace chan struct{}
	over chan struct{} // closed when a live one is asked for more than there is; may be nil
}

func (t *tape) Read(ctx context.Context, p []int16) error {
	if t.pace != nil {
		select {
		case <-t.pace:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if len(t.x) == 0 {
		if t.live {
			if t.over != nil {
				close(t.over)
			}
			<-ctx.Done()
			return ctx.Err()
		}
		return io.EOF
	}
	clear(p[copy(p, t.x):])
	t.x = t.x[min(len(p), len(t.x)):]
	return nil
}
func (t *tape) Live() bool   { return t.live }
func (t *tape) Close() error { return nil }

// hearsAt is a waker that hears wake words ending at milliseconds.
type hearsAt struct {
	at    []int
	heard int64
}

func (w *hearsAt) Hear(_ context.Context, samples []int16, _, _ bool) (ends []int64, err error) {
	w.heard += int64(len(samples))
	for len(w.at) > 0 && w.heard >= int64(w.at[0])*audio.Rate/1000 {
		ends = append(ends, int64(w.at[0])*audio.Rate/1000)
		w.at = w.at[1:]
	}
	return ends, nil
}
func (w *hearsAt) Close() {}

// rig is a loop with engines that do as they are told.
type rig struct {
	mu        sync.Mutex
	texts     []string // transcripts, one after the other
	lengths   []time.Duration
	requests  []home.Request
	actions   []home.Action
	spoken    []string
	turns     []*Turn
	notices   []string
	recognize func(context.Context) (string, error) // instead of texts
	handle    func(home.Request) (*home.Answer, error)
	perform   func() (string, error)
	voice     func(text string) ([]int16, error)
	play      func(context.Context) error
}

func (r *rig) Recognize(ctx context.Context, speech []int16) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lengths = append(r.lengths, audio.Duration(len(speech)))
	if r.recognize != nil {
		return r.recognize(ctx)
	}
	if len(r.texts) == 0 {
		return "", errors.New("nothing more was to be heard")
	}
	s := r.texts[0]
	r.texts = r.texts[1:]
	return s, nil
}

func (r *rig) Handle(_ context.Context, q home.Request) (*home.Answer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, q)
	if r.handle != nil {
		return r.handle(q)
	}
	return &home.Answer{Kind: home.Act, Actions: []home.Action{{ID: fmt.Sprint(len(r.requests)), Intent: "HassTurnOn", Slots: map[string]any{"name": q.Text}}}, Text: "Turned on."}, nil
}

func (r *rig) Perform(_ context.Context, a []home.Action) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.actions = append(r.actions, a...)
	if r.perform != nil {
		return r.perform()
	}
	return "", nil
}

func (r *rig) Synthesize(_ context.Context, text string) ([]int16, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spoken = append(r.spoken, text)
	if r.voice != nil {
		return r.voice(text)
	}
	return make([]int16, audio.Rate/10), nil
}

func (r *rig) Play(ctx context.Context, _ []int16) error {
	if r.play != nil {
		return r.play(ctx)
	}
	return nil
}
func (r *rig) Close() error { return nil }

func (r *rig) options() Options {
	return Options{
		Recognizer: r, Assistant: r, Performer: r, Synthesizer: r, Speaker: r, WakeWord: "hey computer", Area: "kitchen", Language: "en", Metrics: NewMetrics(),
		Report: func(t *Turn) { r.mu.Lock(); r.turns = append(r.turns, t); r.mu.Unlock() },
		Notice: func(s string) { r.mu.Lock(); r.notices = append(r.notices, s); r.mu.Unlock() },
	}
}

// run hears pieces as a file.
func (r *rig) run(t *testing.T, opt Options, pieces ...sound) {
	t.Helper()
	opt.Source = &tape{x: render(pieces...)}
	if err := Run(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
}

const on, off = true, false

func TestCommand(t *testing.T) {
	r := &rig{texts: []string{"Hey computer, turn on the lamp."}}
	opt := r.options()
	out := filepath.Join(t.TempDir(), "out.wav")
	var err error
	if opt.Speaker, err = CreateFile(out); err != nil {
		t.Fatal(err)
	}
	opt.Waker = &hearsAt{at: []int{2900}}
	// Speech before the wake word, and after the command, is nobody's business.
	r.run(t, opt, sound{500, off}, sound{800, on}, sound{700, off}, sound{2000, on}, sound{1500, off}, sound{1000, on}, sound{1000, off})
	opt.Speaker.Close()
	if len(r.requests) != 1 || r.requests[0].Text != "turn on the lamp." || r.requests[0].Device != "kitchen" || r.requests[0].Language != "en" || r.requests[0].Conversation == "" {
		t.Fatalf("%+v", r.requests)
	}
	if d := r.lengths[0]; d < 1000*time.Millisecond || d > 1800*time.Millisecond {
		t.Errorf("%v of speech are recognized, of 1.1 s behind the wake word", d)
	}
	if len(r.actions) != 1 || !slices.Equal(r.spoken, []string{"Turned on."}) || len(r.turns) != 1 {
		t.Fatalf("%v, %q, %v", r.actions, r.spoken, r.turns)
	}
	turn := r.turns[0]
	if turn.By != "wake word" || turn.Kind != "act" || len(turn.Errors) > 0 || turn.Stages.Speech == 0 || turn.Stages.Pause < 600 || turn.Stages.Answer < turn.Stages.Action {
		t.Errorf("%+v", turn)
	}
	if line := turn.Text(); !strings.Contains(line, `"Hey computer, turn on the lamp." -> HassTurnOn name=turn on the lamp. -> act: Turned on. [ms: pause `) {
		t.Error(line)
	}
	b, err := os.ReadFile(out)
	if err != nil || len(b) != 44+audio.Rate/10*2 {
		t.Errorf("%d bytes were spoken, %v", len(b), err)
	}
}

// TestSilence: nothing but noise, a click, and a wake word that nothing follows.
func TestSilence(t *testing.T) {
	r := &rig{}
	opt := r.options()
	opt.Waker = &hearsAt{at: []int{1000}}
	r.run(t, opt, sound{2000, off}, sound{60, on}, sound{6000, off})
	if len(r.requests) != 0 || len(r.turns) != 1 || r.turns[0].Kind != "silence" {
		t.Errorf("%v %v", r.requests, r.turns)
	}
	r = &rig{texts: []string{" \x00\x1b \u202e"}} // and a recognizer that hears no words
	r.run(t, r.options(), sound{500, off}, sound{900, on}, sound{900, off})
	if len(r.requests) != 0 || len(r.turns) != 1 || r.turns[0].Kind != "nothing" || len(r.spoken) != 0 {
		t.Errorf("%v %+v %q", r.requests, r.turns, r.spoken)
	}
}

// TestQuestion: the answer needs no wake word, and goes on with the conversation; later speech is not an answer.
func TestQuestion(t *testing.T) {
	r := &rig{texts: []string{"turn on the lamp", "the left one", "later"}}
	r.handle = func(q home.Request) (*home.Answer, error) {
		if q.Text == "turn on the lamp" {
			return &home.Answer{Kind: home.Ask, Text: "Which one, left or right?"}, nil
		}
		return &home.Answer{Kind: home.Act, Actions: []home.Action{{ID: "1", Intent: "HassTurnOn"}}}, nil
	}
	opt := r.options()
	opt.Waker = &hearsAt{at: []int{600}}
	r.run(t, opt, sound{500, off}, sound{1200, on}, sound{2000, off}, sound{900, on}, sound{1500, off}, sound{1000, on}, sound{1000, off})
	if len(r.requests) != 2 || r.requests[0].Conversation != r.requests[1].Conversation || len(r.actions) != 1 {
		t.Fatalf("%+v %v", r.requests, r.actions)
	}
	if r.turns[1].By != "answer" || !slices.Equal(r.spoken, []string{"Which one, left or right?", "Done."}) {
		t.Errorf("%+v %q", r.turns[1], r.spoken)
	}

	// Nobody answers.
	r.texts, r.requests, r.turns = []string{"turn on the lamp", "later"}, nil, nil
	opt.Waker = &hearsAt{at: []int{600}}
	r.run(t, opt, sound{500, off}, sound{1200, on}, sound{9500, off}, sound{900, on}, sound{1000, off})
	if len(r.requests) != 1 || len(r.turns) != 2 || r.turns[1].Kind != "silence" {
		t.Errorf("%+v %+v", r.requests, r.turns)
	}
}

// TestFaults: whatever fails, there is a line, the loop goes on, and an action that was understood is done.
func TestFaults(t *testing.T) {
	fails := errors.New("broken")
	for _, tt := range []struct {
		name   string
		change func(*rig)
		kind   string
		errors string // of the turn
		reply  string
		acted  bool
	}{
		{"recognizer", func(r *rig) { r.recognize = func(context.Context) (string, error) { return "", fails } }, "error", "recognize: broken", "Sorry, I cannot hear at the moment.", false},
		{"recognizer hangs", func(r *rig) {
			r.recognize = func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }
		}, "error", "recognize: no answer within 50ms", "Sorry, I cannot hear at the moment.", false},
		{"recognizer lies", func(r *rig) { r.texts = []string{strings.Repeat("word ", 1000)} }, "error", "recognize: a transcript of 5000 bytes", "Sorry, I cannot hear at the moment.", false},
		{"control characters", func(r *rig) { r.texts = []string{"turn\x1b[31m on\r\n\u202ethe\x00 lamp\xff"} }, "act", "", "Turned on.", true},
		{"assistant", func(r *rig) { r.handle = func(home.Request) (*home.Answer, error) { return nil, fails } }, "error", "understand: broken", "Sorry, I cannot think at the moment.", false},
		{"no answer", func(r *rig) { r.handle = func(home.Request) (*home.Answer, error) { return nil, nil } }, "error", "understand: there is no answer", "Sorry, I cannot think at the moment.", false},
		{"action", func(r *rig) { r.perform = func() (string, error) { return "", fails } }, "error", "act: broken", "broken", true},
		{"synthesizer", func(r *rig) { r.voice = func(string) ([]int16, error) { return nil, fails } }, "act", "synthesize: broken", "Turned on.", true},
		{"speaker", func(r *rig) { r.play = func(context.Context) error { return fails } }, "act", "play: broken", "Turned on.", true},
		{"declined", func(r *rig) {
			r.handle = func(home.Request) (*home.Answer, error) {
				return &home.Answer{Kind: home.Decline, Text: "No\x07."}, nil
			}
		}, "decline", "", "No .", false},
		{"its reply", func(r *rig) { r.perform = func() (string, error) { return "It is noon.", nil } }, "act", "", "It is noon.", true},
	} {
		r := &rig{texts: []string{"turn on the lamp"}}
		tt.change(r)
		opt := r.options()
		if strings.HasSuffix(tt.name, "hangs") {
			opt.Limits.Recognize = 50 * time.Millisecond
		}
		r.run(t, opt, sound{500, off}, sound{900, on}, sound{900, off})
		if len(r.turns) != 1 {
			t.Errorf("%s: %d turns", tt.name, len(r.turns))
			continue
		}
		turn := r.turns[0]
		if turn.Kind != tt.kind || !strings.HasPrefix(strings.Join(turn.Errors, "\n"), tt.errors) || tt.errors == "" && len(turn.Errors) > 0 || turn.Reply != tt.reply || tt.acted != (len(r.actions) == 1) {
			t.Errorf("%s: %+v, actions %v", tt.name, turn, r.actions)
		}
		if tt.name == "control characters" && turn.Heard != "turn [31m on the lamp" {
			t.Errorf("%q", turn.Heard)
		}
	}
}

// TestStuck: an engine that heeds no context does not hold up the loop.
func TestStuck(t *testing.T) {
	r := &rig{}
	opt := r.options()
	opt.Limits.Recognize = 10 * time.Millisecond
	held := make(chan struct{})
	defer close(held)
	opt.Recognizer = stuck{held}
	r.run(t, opt, sound{500, off}, sound{900, on}, sound{900, off})
	if len(r.turns) != 1 || r.turns[0].Kind != "error" {
		t.Errorf("%+v", r.turns)
	}
}

type stuck struct{ until chan struct{} }

func (s stuck) Recognize(context.Context, []int16) (string, error) { <-s.until; return "", nil }

// TestClipped: a microphone that is too loud is said to be.
func TestClipped(t *testing.T) {
	r := &rig{texts: []string{"turn on the lamp"}}
	x := render(sound{500, off}, sound{900, on}, sound{900, off})
	for i, v := range x {
		x[i] = int16(max(-1<<15, min(1<<15-1, 100*int(v))))
	}
	opt := r.options()
	opt.Source = &tape{x: x}
	if err := Run(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	if len(r.turns) != 1 || !r.turns[0].Clipped || len(r.actions) != 1 {
		t.Errorf("%+v", r.turns)
	}
}

// TestBargeIn: the wake word stops a reply at once, and the next command is heard.
func TestBargeIn(t *testing.T) {
	r := &rig{texts: []string{"turn on the lamp", "turn on the fan"}}
	speaking, stopped := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.play = func(ctx context.Context) error {
		first := false
		once.Do(func() { first = true })
		if !first {
			return nil
		}
		close(speaking)
		<-ctx.Done()
		close(stopped)
		return ctx.Err()
	}
	opt := r.options()
	opt.Waker = &hearsAt{at: []int{600, 4000}}
	pace := make(chan struct{})
	opt.Source = &tape{x: render(sound{500, off}, sound{1000, on}, sound{2000, off}, sound{2000, on}, sound{1500, off}), live: true, pace: pace}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- Run(ctx, opt) }()
	frames := func(ms int) {
		for range ms / 20 {
			pace <- struct{}{}
		}
	}
	frames(3400)
	<-speaking
	frames(800)
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		t.Fatal("it goes on speaking")
	}
	frames(2800)
	for range 3000 {
		r.mu.Lock()
		n := len(r.turns)
		r.mu.Unlock()
		if n == 2 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Error(err)
	}
	if len(r.turns) != 2 || !r.turns[0].Interrupted || len(r.turns[0].Errors) > 0 || r.turns[1].Interrupted || len(r.actions) != 2 {
		t.Errorf("%+v %v", r.turns, r.actions)
	}
}

// TestTwoAtOnce: the second command comes while the first is recognized. Both are done, in order, and only the second is answered aloud.
func TestTwoAtOnce(t *testing.T) {
	r := &rig{}
	gate := make(chan struct{})
	texts := []string{"first", "second"}
	opt := r.options()
	opt.Recognizer = gated{func() string { <-gate; s := texts[0]; texts = texts[1:]; return s }}
	opt.Waker = &hearsAt{at: []int{600, 3100}}
	over := make(chan struct{})
	opt.Source = &tape{x: render(sound{500, off}, sound{1000, on}, sound{1500, off}, sound{1000, on}, sound{1500, off}), live: true, over: over}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- Run(ctx, opt) }()
	<-over // both have been said
	close(gate)
	for range 3000 {
		r.mu.Lock()
		n := len(r.turns)
		r.mu.Unlock()
		if n == 2 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	<-ended
	if len(r.actions) != 2 || r.actions[0].Slots["name"] != "first" || r.actions[1].Slots["name"] != "second" {
		t.Errorf("%v", r.actions)
	}
	if len(r.turns) != 2 || !r.turns[0].Interrupted || r.turns[1].Interrupted {
		t.Errorf("%+v", r.turns)
	}
}

type gated struct{ next func() string }

func (g gated) Recognize(context.Context, []int16) (string, error) { return g.next(), nil }

// pin is a GPIO line of the test.
type pin struct {
	gpio.PinIO
	mu    sync.Mutex
	level gpio.Level
	edge  chan bool
}

func (p *pin) In(pull gpio.Pull, edge gpio.Edge) error {
	if pull != gpio.PullUp || edge != gpio.BothEdges {
		return errors.New("that is no button")
	}
	return nil
}

func (p *pin) Out(l gpio.Level) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.level = l
	return nil
}

func (p *pin) Read() gpio.Level {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.level
}

func (p *pin) WaitForEdge(d time.Duration) bool {
	select {
	case <-p.edge:
		return true
	case <-time.After(d):
		return false
	}
}

func (p *pin) Halt() error { return nil }

// set changes the level from outside.
func (p *pin) set(l gpio.Level) { p.Out(l); p.edge <- true }

// TestButton: what is said while it is held, pauses and all, is one command; the light shows it.
func TestButton(t *testing.T) {
	r := &rig{texts: []string{"turn on the lamp"}}
	opt := r.options()
	pin, led := &pin{level: gpio.High, edge: make(chan bool, 1)}, &pin{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var err error
	if opt.Button, err = Button(ctx, pin); err != nil {
		t.Fatal(err)
	}
	if opt.Light, err = Light(led); err != nil {
		t.Fatal(err)
	}
	pace := make(chan struct{})
	opt.Source = &tape{x: render(sound{1000, off}, sound{500, on}, sound{1000, off}, sound{500, on}, sound{1000, off}), live: true, pace: pace}
	ended := make(chan error)
	go func() { ended <- Run(ctx, opt) }()
	frames := func(ms int) {
		for range ms / 20 {
			pace <- struct{}{}
		}
	}
	lit := func(want gpio.Level) {
		for range 3000 {
			if led.Read() == want {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("the light is not %v", want)
	}
	frames(800)
	pin.set(gpio.Low)
	lit(gpio.High)
	frames(2600)
	pin.set(gpio.High)
	lit(gpio.Low)
	for range 3000 {
		r.mu.Lock()
		n := len(r.turns)
		r.mu.Unlock()
		if n == 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	<-ended
	if len(r.turns) != 1 || r.turns[0].By != "button" || r.lengths[0] < 1900*time.Millisecond || len(r.actions) != 1 {
		t.Errorf("%+v %v %v", r.turns, r.lengths, r.actions)
	}
}

// TestAnnouncements: what a timer says is spoken, what it does is done.
func TestAnnouncements(t *testing.T) {
	r := &rig{}
	opt := r.options()
	opt.Waker = &hearsAt{}
	says := make(chan Announcement, 2)
	says <- Announcement{Say: "The timer is done."}
	says <- Announcement{Do: "turn off the lamp"}
	opt.Announce = says
	opt.Source = &tape{x: render(sound{2000, off}), live: true}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- Run(ctx, opt) }()
	for range 3000 {
		r.mu.Lock()
		n := len(r.turns)
		r.mu.Unlock()
		if n == 2 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	<-ended
	if !slices.Equal(r.spoken, []string{"The timer is done.", "Turned on."}) || len(r.actions) != 1 || r.actions[0].Slots["name"] != "turn off the lamp" {
		t.Errorf("%q %v", r.spoken, r.actions)
	}
}

// TestDeadMicrophone: zeros are told of once.
func TestDeadMicrophone(t *testing.T) {
	r := &rig{}
	opt := r.options()
	pace := make(chan struct{})
	opt.Source = &tape{x: append(make([]int16, 8*audio.Rate), render(sound{100, off})...), live: true, pace: pace}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- Run(ctx, opt) }()
	for range 405 {
		pace <- struct{}{}
	}
	cancel()
	<-ended
	if len(r.notices) != 2 || !strings.Contains(r.notices[0], "zeros") || !strings.Contains(r.notices[1], "again") {
		t.Errorf("%q", r.notices)
	}
}

func TestMetrics(t *testing.T) {
	r := &rig{texts: []string{"turn on the lamp"}}
	opt := r.options()
	r.run(t, opt, sound{500, off}, sound{900, on}, sound{900, off})
	var b strings.Builder
	if err := opt.Metrics.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"bimamba_voice_turns_total{kind=\"act\"} 1\n", "bimamba_voice_stage_seconds_bucket{stage=\"pause\",le=\"0.5\"} 0\n", "bimamba_voice_stage_seconds_count{stage=\"recognize\"} 1\n",
		"bimamba_voice_stage_seconds_count{stage=\"answer\"} 1\n", "bimamba_voice_microphone_dead 0\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, &b)
		}
	}
}

// TestBehindWord: the wake word's end is where it gets quiet, soon behind the place that the engine names.
func TestBehindWord(t *testing.T) {
	loud, soft := frame{}, frame{}
	for i := range loud.samples {
		loud.samples[i], soft.samples[i] = 1000, 100
	}
	ring := func(loudFrames, softFrames int) (all []frame) {
		for range loudFrames {
			all = append(all, loud)
		}
		for range softFrames {
			all = append(all, soft)
		}
		return all
	}
	for _, tt := range []struct {
		ring     []frame
		at, want int
	}{{ring(30, 10), 30, 0}, {ring(30, 10), 22, 8}, {ring(60, 10), 22, 0}, {ring(30, 0), 30, 0}, {ring(30, 0), 25, 0}, {nil, 0, 0}} {
		if got := behindWord(tt.ring, tt.at); got != tt.want {
			t.Errorf("%d frames, at %d: %d, want %d", len(tt.ring), tt.at, got, tt.want)
		}
	}
}
