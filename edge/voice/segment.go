package voice

import (
	"time"

	"bimamba/edge/voice/audio"
)

// frame is 20 ms of what was heard.
type frame struct {
	samples [audio.FrameSamples]int16
	speech  bool
}

const frameTime = 20 * time.Millisecond

// Lengths of what a segmenter decides by.
const (
	leastSpeech = 150 * time.Millisecond // less is a click
	lead        = 300 * time.Millisecond // of sound before speech that goes with it: soft beginnings are no speech yet
	trail       = 400 * time.Millisecond // and behind it, as far as the VAD can tell: soft ends are none, either
	joinWithin  = 400 * time.Millisecond // a pause after a click until it is forgotten
)

// segmenter cuts an utterance out of frames.
type segmenter struct {
	pause   time.Duration // that ends it
	patient time.Duration // for speech to begin
	hold    bool          // a button is held: pauses do not end it
	deaf    int           // frames at the beginning that are not heard

	frames []frame // from the beginning, or the last ones before it
	speech int     // frames of speech so far
	quiet  int     // frames since the last of them
	waited int     // frames before speech
	began  bool
}

type verdict int

const (
	more   verdict = iota
	done           // the utterance is whole
	silent         // nobody spoke
)

// add takes the next frame.
func (s *segmenter) add(f *frame) verdict {
	if s.deaf > 0 {
		s.deaf--
		return more
	}
	s.frames = append(s.frames, *f)
	if f.speech {
		s.began = true
		s.speech++
		s.quiet = 0
	} else {
		s.quiet++
	}
	whole := s.whole()
	if !whole {
		s.waited++
	}
	if s.began && !whole && s.silence() >= joinWithin {
		s.began, s.speech = false, 0
	}
	if !s.began {
		if n := len(s.frames) - int(lead/frameTime); n > 0 {
			s.frames = append(s.frames[:0], s.frames[n:]...)
		}
	}
	switch {
	case time.Duration(len(s.frames))*frameTime >= maxUtterance:
		return done
	case s.hold:
		return more
	case whole && s.silence() >= s.pause:
		return done
	case !whole && time.Duration(s.waited)*frameTime >= s.patient:
		return silent
	}
	return more
}

// whole says whether there was enough speech for a command.
func (s *segmenter) whole() bool {
	return time.Duration(s.speech)*frameTime >= leastSpeech+audio.VADTail
}

// silence is how long ago the last speech was.
func (s *segmenter) silence() time.Duration {
	if s.quiet == 0 {
		return 0
	}
	return time.Duration(s.quiet)*frameTime + audio.VADTail
}

// finish ends the utterance now.
func (s *segmenter) finish() verdict {
	if s.whole() {
		return done
	}
	return silent
}

// utterance is the sound, with some of the pause behind it.
func (s *segmenter) utterance() []int16 {
	n := len(s.frames) - max(0, int((s.silence()-trail)/frameTime))
	all := make([]int16, 0, n*audio.FrameSamples)
	for i := range s.frames[:n] {
		all = append(all, s.frames[i].samples[:]...)
	}
	return all
}
