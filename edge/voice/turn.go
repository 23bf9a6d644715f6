package voice

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"bimamba/edge/home"
	"bimamba/edge/voice/audio"
)

// Turn is what became of one command.
type Turn struct {
	Time        time.Time `json:"time"`
	By          string    `json:"by"`    // "wake word", "button", "answer" (to a question), "speech" or "timer"
	Heard       string    `json:"heard"` // the transcript
	Kind        string    `json:"kind"`  // of the answer: "act", "ask", "decline" or "say"; "nothing" if there were no words, "silence" if nobody spoke, "error"
	Actions     []Action  `json:"actions,omitempty"`
	Reply       string    `json:"reply,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	Errors      []string  `json:"errors,omitempty"`
	Clipped     bool      `json:"clipped,omitempty"`     // the microphone is too loud
	Interrupted bool      `json:"interrupted,omitempty"` // the reply was
	Stages      Stages    `json:"milliseconds"`
}

// Action is a [home.Action], for reports.
type Action struct {
	ID       string         `json:"id"`
	Intent   string         `json:"intent"`
	Slots    map[string]any `json:"slots"`
	Entities []string       `json:"entities,omitempty"`
}

// Stages are how long each took, in milliseconds.
type Stages struct {
	Speech     int64 `json:"speech"` // that was listened to
	Pause      int64 `json:"pause"`  // from its end until that was sure
	Recognize  int64 `json:"recognize"`
	Understand int64 `json:"understand"`
	Act        int64 `json:"act"`
	Synthesize int64 `json:"synthesize"`
	Play       int64 `json:"play"`
	Action     int64 `json:"action"` // from the end of speech until all was done
	Answer     int64 `json:"answer"` // from the end of speech until the reply began; 0 if there was none
}

// Text is the turn as a line, without its time.
func (t *Turn) Text() string {
	var b strings.Builder
	switch t.Kind {
	case "silence":
		return fmt.Sprintf("(%s, and nobody spoke)", t.By)
	case "announcement":
		fmt.Fprintf(&b, "(announcement) %s", t.Reply)
	default:
		fmt.Fprintf(&b, "%q", t.Heard)
		for _, a := range t.Actions {
			fmt.Fprintf(&b, " -> %s", a.Intent)
			for i, name := range sortedKeys(a.Slots) {
				fmt.Fprintf(&b, "%s%s=%v", []string{" ", ", "}[min(i, 1)], name, a.Slots[name])
			}
		}
		fmt.Fprintf(&b, " -> %s", t.Kind)
		if t.Reply != "" {
			fmt.Fprintf(&b, ": %s", t.Reply)
		}
	}
	if t.Clipped {
		b.WriteString(" (the microphone is too loud: the sound is clipped)")
	}
	if t.Interrupted {
		b.WriteString(" (interrupted)")
	}
	for _, e := range t.Errors {
		fmt.Fprintf(&b, " (%s)", e)
	}
	s := &t.Stages
	fmt.Fprintf(&b, " [ms: pause %d, hear %d, understand %d, act %d, voice %d; action %d, answer %d]", s.Pause, s.Recognize, s.Understand, s.Act, s.Synthesize, s.Action, s.Answer)
	return b.String()
}

// maxClipped is the share of samples at the end of the scale above which a microphone is too loud.
const maxClipped = 0.005

func clipped(speech []int16) bool {
	n := 0
	for _, s := range speech {
		if s == math.MaxInt16 || s <= -math.MaxInt16 {
			n++
		}
	}
	return float64(n) > maxClipped*float64(len(speech))
}

// do does one job, in the worker's goroutine, and says whether its reply is a question.
func (l *loop) do(ctx context.Context, j *job) (ask bool) {
	t := &Turn{Time: time.Now(), By: j.by}
	if j.own.Say != "" {
		t.Kind, t.Reply = "announcement", clean(j.own.Say)
	} else {
		t.Clipped = clipped(j.speech)
		t.Stages.Speech = audio.Duration(len(j.speech)).Milliseconds()
		t.Stages.Pause = time.Since(j.ended).Milliseconds()
		ask = l.answer(ctx, j, t)
		t.Stages.Action = time.Since(j.ended).Milliseconds()
	}
	if ctx.Err() == nil {
		l.say(ctx, j, t)
	}
	l.Metrics.turn(t)
	l.report(t)
	return ask
}

// stage runs fn within its limit and measures it.
func (l *loop) stage(ctx context.Context, t *Turn, name string, limit time.Duration, took *int64, fn func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	// An engine that does not heed its context must not hold up the loop.
	failed := make(chan error, 1)
	go func() { failed <- fn(ctx) }()
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		select {
		case err = <-failed:
		case <-time.After(2 * time.Second):
			err = ctx.Err()
		}
	}
	*took = time.Since(began).Milliseconds()
	if err == nil {
		return true
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %v", limit)
	}
	t.Errors = append(t.Errors, fmt.Sprintf("%s: %v", name, err))
	l.Metrics.failed(name)
	return false
}

// hear turns speech into text.
func (l *loop) hear(ctx context.Context, j *job, t *Turn) bool {
	text := make(chan string, 1)
	ok := l.stage(ctx, t, "recognize", l.Limits.Recognize, &t.Stages.Recognize, func(ctx context.Context) error {
		recognize := l.Recognizer.Recognize
		if r, ok := l.Recognizer.(answerRecognizer); ok && j.answer {
			recognize = r.RecognizeAnswer
		}
		s, err := recognize(ctx, j.speech)
		if err == nil {
			s, err = cleanTranscript(s)
		}
		text <- s
		return err
	})
	if ok {
		t.Heard = <-text
	}
	return ok
}

// answer hears, understands and acts. What goes wrong is in t.
func (l *loop) answer(ctx context.Context, j *job, t *Turn) (ask bool) {
	t.Kind = "error"
	if t.Heard = j.own.Do; t.Heard == "" {
		if !l.hear(ctx, j, t) {
			t.Reply = "Sorry, I cannot hear at the moment."
			return false
		}
	}
	said := withoutWake(t.Heard, l.WakeWord)
	if strings.IndexFunc(said, func(r rune) bool { return !notWord(r) }) < 0 {
		t.Kind = "nothing"
		return false
	}
	answers := make(chan *home.Answer, 1)
	if !l.stage(ctx, t, "understand", l.Limits.Understand, &t.Stages.Understand, func(ctx context.Context) error {
		a, err := l.Assistant.Handle(ctx, home.Request{Text: said, Language: l.Language, Conversation: j.talk, Device: l.Area, Confirmed: j.own.Do != ""})
		if err == nil && a == nil {
			err = errors.New("there is no answer")
		}
		answers <- a
		return err
	}) {
		t.Reply = "Sorry, I cannot think at the moment."
		return false
	}
	a := <-answers
	t.Kind, t.Reply, t.Reason = a.Kind.String(), clean(a.Text), a.Reason
	if a.Kind != home.Act {
		return a.Kind == home.Ask
	}
	for _, x := range a.Actions {
		t.Actions = append(t.Actions, Action{x.ID, x.Intent, x.Slots, x.Entities})
	}
	replies := make(chan string, 1)
	ok := l.stage(ctx, t, "act", l.Limits.Act, &t.Stages.Act, func(ctx context.Context) error {
		s, err := l.Performer.Perform(ctx, a.Actions)
		if err != nil {
			s = err.Error()
			if cause := errors.Unwrap(err); cause != nil {
				err = cause
			}
		}
		replies <- s
		return err
	})
	reply := ""
	select {
	case reply = <-replies:
	default:
	}
	switch reply = clean(reply); {
	case reply != "":
		t.Reply = reply
	case !ok:
		t.Reply = "Sorry, that did not work."
	case t.Reply == "":
		t.Reply = "Done."
	}
	if !ok {
		t.Kind = "error"
	}
	return false
}

// say speaks the reply. One that cannot be spoken is in the report all the same.
func (l *loop) say(ctx context.Context, j *job, t *Turn) {
	if t.Reply == "" || l.Synthesizer == nil {
		return
	}
	loud, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(j.loud, cancel)()
	sounds := make(chan []int16, 1)
	if t.Interrupted = loud.Err() != nil; t.Interrupted {
		return
	}
	if !l.stage(loud, t, "synthesize", l.Limits.Synthesize, &t.Stages.Synthesize, func(ctx context.Context) error {
		s, err := l.Synthesizer.Synthesize(ctx, t.Reply)
		if ctx.Err() != nil && j.loud.Err() != nil {
			err = nil // it was interrupted, and no fault
		}
		sounds <- s
		return err
	}) {
		return
	}
	if t.Interrupted = j.loud.Err() != nil; t.Interrupted {
		return
	}
	sound := <-sounds
	if !j.ended.IsZero() {
		t.Stages.Answer = time.Since(j.ended).Milliseconds()
	}
	limit := audio.Duration(len(sound)) + 5*time.Second
	l.stage(loud, t, "play", limit, &t.Stages.Play, func(ctx context.Context) error {
		err := l.Speaker.Play(ctx, sound)
		if j.loud.Err() != nil {
			return nil
		}
		return err
	})
	t.Interrupted = j.loud.Err() != nil
}

// clean is a text as it may be spoken and printed.
func clean(s string) string {
	if r := []rune(s); len(r) > maxReply {
		s = string(r[:maxReply])
	}
	s, _ = cleanTranscript(s)
	return s
}
