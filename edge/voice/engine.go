package voice

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"bimamba/edge/voice/audio"
)

// A Recognizer turns speech into text.
type Recognizer interface {
	// Recognize returns what was said, "" for nothing. Its text is not trusted.
	Recognize(ctx context.Context, speech []int16) (string, error)
}

// answerRecognizer is a Recognizer that hears the answer to a question in another way than a command.
type answerRecognizer interface {
	RecognizeAnswer(ctx context.Context, speech []int16) (string, error)
}

// A Synthesizer turns text into speech.
type Synthesizer interface {
	Synthesize(ctx context.Context, text string) ([]int16, error)
}

// A Spotter looks for the wake word in a piece of audio.
type Spotter interface {
	// Spot returns the number of samples up to the end of the last wake word, and 0 if there is none.
	Spot(ctx context.Context, piece []int16) (end int, err error)
}

// A Waker listens for the wake word while the microphone runs.
type Waker interface {
	// Hear takes the next samples, and whether they are speech. It returns the ends of wake words that it has found by now, each as the number of samples
	// heard before it. It does not block unless wait is true: then all that was heard has been looked at.
	Hear(ctx context.Context, samples []int16, speech, wait bool) ([]int64, error)
	Close()
}

// Limits of what engines may say.
const (
	maxTranscript = 500              // characters
	maxSpeech     = time.Minute      // of a reply's audio
	maxReply      = 500              // characters that are spoken
	maxOutput     = 64 << 10         // bytes of a command's text
	maxAudio      = 32 << 20         // bytes of a command's audio
	maxUtterance  = 15 * time.Second // of speech that is listened to
)

// cleanTranscript is a transcript as one line of text, or an error if nobody can have said that.
func cleanTranscript(s string) (string, error) {
	if len(s) > 4*maxTranscript || utf8.RuneCountInString(s) > maxTranscript {
		return "", fmt.Errorf("a transcript of %d bytes is not taken; nobody says more than %d characters in %v", len(s), maxTranscript, maxUtterance)
	}
	s = strings.ToValidUTF8(s, " ")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " "), nil
}

// withoutWake drops the wake word from the beginning of what was heard: recognizers that get all of a sentence write it, too.
func withoutWake(text, wake string) string {
	rest := text
	for _, w := range strings.Fields(wake) {
		rest = strings.TrimLeftFunc(rest, notWord)
		if len(rest) < len(w) || !strings.EqualFold(rest[:len(w)], w) {
			return text
		}
		if rest = rest[len(w):]; rest != "" && !notWord(firstRune(rest)) {
			return text
		}
	}
	return strings.TrimLeftFunc(rest, notWord)
}

func notWord(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }

func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

// spotting makes a Waker of a Spotter, which looks at speech when it ends and, while it lasts, once a second.
type spotting struct {
	spotter Spotter
	limit   time.Duration
	heard   int64   // samples
	piece   []int16 // the last of them
	speech  bool
	since   int // samples since the last look
	quiet   int // samples without speech
	running chan spotted
	again   bool // look once more when the one that runs is done
	cancel  context.CancelFunc
}

type spotted struct {
	end int64
	err error
}

const (
	pieceLong  = 3 * audio.Rate      // what a look sees
	pieceLead  = audio.Rate / 3      // of it before speech began
	lookEvery  = audio.Rate          // while speech lasts
	lookBehind = 3 * audio.Rate / 10 // after its end
)

// Spotting makes a [Waker] of a [Spotter] that gets so long for each look.
func Spotting(s Spotter, limit time.Duration) Waker { return &spotting{spotter: s, limit: limit} }

func (s *spotting) Hear(ctx context.Context, samples []int16, speech, wait bool) (ends []int64, err error) {
	s.heard += int64(len(samples))
	s.piece = append(s.piece, samples...)
	if n := len(s.piece) - pieceLong; n > pieceLong {
		s.piece = append(s.piece[:0], s.piece[n:]...)
	}
	look := false
	switch {
	case speech:
		if !s.speech {
			s.speech = true
			if n := len(s.piece) - len(samples) - pieceLead; n > 0 {
				s.piece = append(s.piece[:0], s.piece[n:]...)
			}
			s.since = 0
		}
		s.quiet = 0
		s.since += len(samples)
		look = s.since >= lookEvery
	case s.speech:
		s.since += len(samples)
		if s.quiet += len(samples); s.quiet >= lookBehind {
			s.speech, look = false, true
		}
	}
	if s.running == nil && (look || s.again) {
		s.start(ctx)
	} else if look {
		s.again = true
	}
	for s.running != nil {
		if !wait {
			select {
			case r := <-s.running:
				ends, err = s.done(r, ends)
			default:
				return ends, err
			}
			continue
		}
		select {
		case r := <-s.running:
			ends, err = s.done(r, ends)
		case <-ctx.Done():
			return ends, ctx.Err()
		}
		if s.again {
			s.start(ctx)
		}
	}
	return ends, err
}

// start has the spotter look at the last of what was heard.
func (s *spotting) start(ctx context.Context) {
	piece := append([]int16(nil), s.piece[max(0, len(s.piece)-pieceLong):]...)
	first := s.heard - int64(len(piece))
	s.since, s.again = 0, false
	ctx, s.cancel = context.WithTimeout(ctx, s.limit)
	c := make(chan spotted, 1)
	s.running = c
	go func() {
		end, err := s.spotter.Spot(ctx, piece)
		r := spotted{-1, err}
		if end > 0 {
			r.end = first + int64(min(end, len(piece)))
		}
		c <- r
	}()
}

// done takes what a look has found.
func (s *spotting) done(r spotted, ends []int64) ([]int64, error) {
	s.cancel()
	s.running = nil
	if r.end > 0 {
		ends = append(ends, r.end)
		// What has been found is not looked at again.
		if n := int64(len(s.piece)) - (s.heard - r.end); n > 0 {
			s.piece = append(s.piece[:0], s.piece[n:]...)
		}
		if s.since = 0; s.again && s.heard-r.end < lookBehind {
			s.again = false
		}
	}
	return ends, r.err
}

func (s *spotting) Close() {
	if s.running != nil {
		s.cancel()
		<-s.running
		s.running = nil
	}
}
