package voice

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"bimamba/edge/home"
	"bimamba/edge/voice/audio"
)

// An Assistant understands what is said. *home.Assistant is one, and [Remote].
type Assistant interface {
	Handle(context.Context, home.Request) (*home.Answer, error)
}

// A Performer does actions. *action.Performer is one.
type Performer interface {
	// Perform returns what to say, "" if there is no more to say than that it was done. An error's text is a sentence for who asked.
	Perform(context.Context, []home.Action) (text string, err error)
}

// Limits are how long each stage may take.
type Limits struct {
	Recognize, Understand, Act, Synthesize time.Duration
}

// DefaultLimits are patient enough for engines on a small board.
var DefaultLimits = Limits{Recognize: 20 * time.Second, Understand: 5 * time.Second, Act: 10 * time.Second, Synthesize: 10 * time.Second}

// Options of a loop. Source, Recognizer, Assistant and Performer have to be there.
type Options struct {
	Source      Source
	Recognizer  Recognizer
	Assistant   Assistant
	Performer   Performer
	Synthesizer Synthesizer   // nil: replies are text
	Speaker     Speaker       // for the Synthesizer
	Waker       Waker         // nil: no wake word
	Button      <-chan bool   // true when it is pressed, false when it is released; nil: there is none
	Light       func(on bool) // shows that it listens; may be nil

	// With neither Waker nor Button all speech is taken for commands.

	WakeWord string        // is dropped from the beginning of transcripts
	Language string        // of requests
	Area     string        // where this is: the Device of requests
	Pause    time.Duration // without speech that ends a command; 0: 700 ms
	Patience time.Duration // for a command to begin after the wake word; 0: 5 s
	FollowUp time.Duration // for the answer to a question to begin; 0: 8 s
	Limits   Limits        // zero ones are those of DefaultLimits

	Announce <-chan Announcement // what to say or do by itself, as when a timer ends; may be nil
	Report   func(*Turn)         // gets what became of each command; may be nil
	Notice   func(string)        // gets a line on what is wrong; may be nil
	Metrics  *Metrics            // may be nil
}

// An Announcement is something that nobody has just asked for.
type Announcement struct {
	Say string // text to speak
	Do  string // a command, as if it had been heard; instead of Say
}

// loop is one run. All fields belong to its goroutine.
type loop struct {
	Options
	vad   audio.VAD
	ring  []frame // the last sound, up to now
	heard int64   // samples up to now
	seg   *segmenter
	by    string // why it listens
	from  int64  // where the wake word ends, in samples
	waits bool   // for a little more sound behind it

	talk      string // the conversation of the command that is listened to
	last      string // the one of the last question
	lastUntil int64  // in samples, until when a wake word goes on with it

	work    chan *job
	results chan result
	running []*job // queued or in work, in order
	says    []Announcement
	zeros   int
}

// job is a command to understand, or a sentence to say.
type job struct {
	speech []int16
	own    Announcement // instead of speech
	by     string
	talk   string
	answer bool            // to a question
	ended  time.Time       // when the speech ended, by the wall's clock
	loud   context.Context // ends when it is not to speak any longer
	hush   context.CancelFunc
}

type result struct {
	job *job
	ask bool // the reply is a question
}

const (
	ringFrames = 10 * 50                // 10 s
	maxQueue   = 4                      // commands that wait for one in work
	maxSays    = 16                     // announcements that wait
	deadAfter  = 5 * 50                 // frames of zeros
	echo       = 300 * time.Millisecond // of a reply, which the microphone still hears when it has been played
	goesOn     = 30 * time.Second       // after a question, within which a wake word goes on with its conversation
)

// Run listens until ctx ends or the source does. Commands that were heard are finished then.
func Run(ctx context.Context, opt Options) error {
	opt.Pause = or(opt.Pause, 700*time.Millisecond)
	opt.Patience = or(opt.Patience, 5*time.Second)
	opt.FollowUp = or(opt.FollowUp, 8*time.Second)
	d := DefaultLimits
	opt.Limits = Limits{or(opt.Limits.Recognize, d.Recognize), or(opt.Limits.Understand, d.Understand), or(opt.Limits.Act, d.Act), or(opt.Limits.Synthesize, d.Synthesize)}
	if opt.Metrics == nil {
		opt.Metrics = NewMetrics()
	}
	l := &loop{Options: opt, work: make(chan *job, maxQueue), results: make(chan result, maxQueue+1)}
	worker := make(chan struct{})
	go func() {
		defer close(worker)
		for j := range l.work {
			l.results <- result{j, l.do(ctx, j)}
		}
	}()
	err := l.listen(ctx)
	close(l.work)
	if ctx.Err() != nil {
		l.quiet()
	}
	<-worker
	if l.Light != nil {
		l.Light(false)
	}
	return err
}

func or(d, other time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return other
}

// heardFrame is what the microphone's goroutine gives.
type heardFrame struct {
	frame *frame
	err   error
}

func (l *loop) listen(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	frames := make(chan heardFrame)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			f := new(frame)
			err := l.Source.Read(ctx, f.samples[:])
			select {
			case frames <- heardFrame{f, err}:
			case <-ctx.Done():
			}
			var gap *Gap
			if err != nil && !errors.As(err, &gap) {
				return
			}
		}
	}()
	defer func() { stop(); <-ended }()
	if l.always() {
		l.listenFor("speech", 0)
	}
	for {
		select {
		case f := <-frames:
			var gap *Gap
			switch {
			case f.err == io.EOF:
				return l.finish(ctx)
			case errors.As(f.err, &gap):
				l.notice("%v; it is started again", gap)
				l.Metrics.restarted()
				continue
			case f.err != nil:
				return f.err
			}
			if err := l.frame(ctx, f.frame); err != nil {
				return err
			}
		case r := <-l.results:
			l.ended(r)
		case pressed, ok := <-l.Button:
			if !ok {
				return errors.New("the button cannot be read any longer")
			}
			l.button(pressed)
		case s := <-l.Announce:
			l.announce(s)
		case <-ctx.Done():
			return ctx.Err()
		}
		l.speakUp()
		// A file waits: what it says next was not said over the reply.
		for !l.Source.Live() && len(l.running) > 0 {
			select {
			case r := <-l.results:
				l.ended(r)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// always says that everything said is a command.
func (l *loop) always() bool { return l.Waker == nil && l.Button == nil }

// finish hears the silence behind the end of a file, and waits for commands.
func (l *loop) finish(ctx context.Context) error {
	for n := time.Duration(0); n < l.Pause+time.Second; n += frameTime {
		if err := l.frame(ctx, new(frame)); err != nil {
			return err
		}
	}
	for l.speakUp(); len(l.running) > 0; l.speakUp() {
		select {
		case r := <-l.results:
			l.ended(r)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// frame takes the next 20 ms.
func (l *loop) frame(ctx context.Context, f *frame) error {
	f.speech = l.vad.Speech(f.samples[:])
	l.watch(f)
	l.heard += audio.FrameSamples
	if l.ring = append(l.ring, *f); len(l.ring) >= 2*ringFrames {
		l.ring = append(l.ring[:0], l.ring[len(l.ring)-ringFrames:]...)
	}
	before := l.seg
	if l.Waker != nil {
		ends, err := l.Waker.Hear(ctx, f.samples[:], f.speech, !l.Source.Live())
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			l.Metrics.failed("wake")
			l.notice("wake word: %v", err)
		}
		for _, end := range ends {
			l.Metrics.woken("word")
			l.wake("wake word", end)
		}
	}
	switch {
	case l.seg == nil || l.always() && len(l.running) > 0:
	case l.waits && l.heard-l.from >= int64(audio.Samples(wordEnd)):
		l.replay()
	case !l.waits && l.seg == before:
		l.judge(l.seg.add(f))
	}
	return nil
}

// watch notices a microphone that gives nothing but zeros: even a quiet room gives more.
func (l *loop) watch(f *frame) {
	for _, s := range f.samples {
		if s != 0 {
			if l.zeros >= deadAfter && l.Source.Live() {
				l.notice("the microphone gives sound again")
				l.Metrics.dead(false)
			}
			l.zeros = 0
			return
		}
	}
	if l.zeros++; l.zeros == deadAfter && l.Source.Live() {
		l.notice("the microphone has given nothing but zeros for 5 s; is it muted, or another device meant?")
		l.Metrics.dead(true)
	}
}

// wake listens for a command that begins at a place in what was heard. Whatever is spoken stops.
func (l *loop) wake(by string, at int64) {
	l.quiet()
	talk := ""
	if l.heard < l.lastUntil {
		talk = l.last
	}
	l.listenFor(by, l.Patience)
	if talk != "" {
		l.talk = talk
	}
	l.from, l.waits = at, by != "button" // behind a wake word it has to be seen first where that ends
}

// replay listens to what was heard since the wake word.
func (l *loop) replay() {
	l.waits = false
	seg := l.seg
	first := max(0, len(l.ring)-int((l.heard-l.from)/audio.FrameSamples))
	for i := first + behindWord(l.ring, first); i < len(l.ring) && l.seg == seg; i++ {
		l.judge(seg.add(&l.ring[i]))
	}
}

// wordEnd is within what time behind the place where an engine says that the wake word has ended it does.
const wordEnd = 350 * time.Millisecond

// behindWord is how many frames after the place where an engine says that the wake word has ended it has: spotters are a syllable early at times, and a recognizer
// makes a word of that. It is where the sound first falls below a fifth of the word's loudness; 0 if it does not.
func behindWord(ring []frame, at int) int {
	level := func(f *frame) (sum float64) {
		for _, s := range f.samples {
			sum += float64(s) * float64(s)
		}
		return sum
	}
	var loudest float64
	for i := max(0, at-int(700*time.Millisecond/frameTime)); i < at; i++ {
		loudest = max(loudest, level(&ring[i]))
	}
	for i := at; i < min(len(ring), at+int(wordEnd/frameTime)); i++ {
		if level(&ring[i]) < loudest/25 {
			return i - at
		}
	}
	return 0
}

// listenFor begins to listen, in a conversation of its own.
func (l *loop) listenFor(by string, patient time.Duration) {
	l.seg = &segmenter{pause: l.Pause, patient: patient}
	if patient == 0 {
		l.seg.patient = 1 << 62
	}
	l.by, l.talk, l.waits = by, rand.Text(), false
	l.light()
}

// light shows that somebody was asked to speak.
func (l *loop) light() {
	if l.Light != nil {
		l.Light(l.seg != nil && !l.always())
	}
}

func (l *loop) button(pressed bool) {
	switch {
	case pressed:
		l.Metrics.woken("button")
		l.wake("button", l.heard)
		l.seg.hold = true
	case l.seg != nil && l.seg.hold:
		l.seg.hold = false
		if v := l.seg.finish(); v == done {
			l.judge(v)
		}
		// A short press: the command comes after it, as after a wake word.
	}
}

// judge acts on what the segmenter says.
func (l *loop) judge(v verdict) {
	if v == more {
		return
	}
	seg, by, talk := l.seg, l.by, l.talk
	l.seg = nil
	if l.always() {
		l.listenFor("speech", 0)
	}
	l.light()
	if v == silent || seg.finish() == silent {
		if by != "speech" {
			l.Metrics.turned("silence")
			l.report(&Turn{Time: time.Now(), By: by, Kind: "silence"})
		}
		return
	}
	if len(l.running) >= maxQueue {
		l.notice("too many commands at once: one was left out")
		l.Metrics.turned("dropped")
		return
	}
	l.submit(&job{speech: seg.utterance(), by: by, talk: talk, answer: talk == l.last, ended: time.Now().Add(-seg.silence())})
}

func (l *loop) submit(j *job) {
	j.loud, j.hush = context.WithCancel(context.Background())
	l.running = append(l.running, j)
	l.work <- j
}

// ended takes what became of a job.
func (l *loop) ended(r result) {
	r.job.hush()
	l.running = l.running[1:]
	if !r.ask {
		if r.job.talk == l.last {
			l.last, l.lastUntil = "", 0 // the question is answered
		}
		return
	}
	l.last, l.lastUntil = r.job.talk, l.heard+int64(audio.Samples(goesOn))
	if l.seg == nil || l.always() {
		l.listenFor("answer", l.FollowUp)
		l.talk = r.job.talk
		if l.Source.Live() {
			l.seg.deaf = int(echo / frameTime)
		}
	}
}

// quiet stops what is spoken now, and what commands under way would say.
func (l *loop) quiet() {
	for _, j := range l.running {
		j.hush()
	}
}

func (l *loop) announce(s Announcement) {
	if len(l.says) == maxSays {
		l.says = l.says[1:]
	}
	l.says = append(l.says, s)
}

// speakUp says announcements when nobody is speaking to us.
func (l *loop) speakUp() {
	if len(l.says) == 0 || len(l.running) > 0 || l.seg != nil && (l.seg.began || !l.always()) {
		return
	}
	l.submit(&job{own: l.says[0], by: "timer", talk: rand.Text(), ended: time.Now()})
	l.says = l.says[1:]
}

func (l *loop) notice(format string, args ...any) {
	if l.Notice != nil {
		l.Notice(fmt.Sprintf(format, args...))
	}
}

func (l *loop) report(t *Turn) {
	if l.Report != nil {
		l.Report(t)
	}
}
