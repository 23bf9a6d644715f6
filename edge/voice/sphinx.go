package voice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"bimamba/edge/home"
	"bimamba/edge/voice/audio"
	"bimamba/edge/voice/sphinx"
)

// Sphinx is pocketsphinx (5prealpha, as in Debian) with a grammar of a home: a [Recognizer] and a [Spotter]. Its words are those of package sphinx.
type Sphinx struct {
	dir  string
	wake string
	Left []string // names of the home that it cannot hear
	Lent []string // words whose pronunciation is a guess
}

const (
	sphinxProgram = "pocketsphinx_batch"
	sphinxModel   = "/usr/share/pocketsphinx/model/en-us"

	// How sure the wake word has to be, against other sounds that are made as likely as this. `make voice-test` has what comes of it.
	spotThreshold = "1e-30"
	spotOthers    = "1e-3"
)

// NewSphinx writes the grammar and dictionary of a home and a wake word into a folder of its own.
func NewSphinx(h *home.Home, wake string) (*Sphinx, error) {
	c := command{argv: []string{sphinxProgram}}
	if err := c.find(); err != nil {
		return nil, fmt.Errorf("%w (Debian: apt install pocketsphinx pocketsphinx-en-us)", err)
	}
	dir, err := os.MkdirTemp("", "bimamba-sphinx-")
	if err != nil {
		return nil, err
	}
	s := &Sphinx{dir: dir, wake: strings.ToLower(wake)}
	if err := s.SetHome(h); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// SetHome writes grammar and dictionary of another home, for the next piece of speech.
func (s *Sphinx) SetHome(h *home.Home) error {
	full, err := os.Open(filepath.Join(sphinxModel, "cmudict-en-us.dict"))
	if err != nil {
		return fmt.Errorf("pocketsphinx's model of English: %w (Debian: apt install pocketsphinx-en-us)", err)
	}
	defer full.Close()
	g := sphinx.NewGrammar(h)
	dict, lent, err := sphinx.Dictionary(full, append(g.Words, strings.Fields(s.wake)...))
	if err != nil {
		return err
	}
	s.Left, s.Lent = g.Left, lent
	// The dictionary is there before a grammar has its words, and never goes while one is read.
	for _, f := range []struct {
		name string
		b    []byte
	}{{"home.dict", dict}, {"commands.gram", g.Commands}, {"answers.gram", g.Answers}} {
		next := s.file("next")
		if err := errors.Join(os.WriteFile(next, f.b, 0o600), os.Rename(next, s.file(f.name))); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sphinx) file(name string) string { return filepath.Join(s.dir, name) }

// Close removes its files.
func (s *Sphinx) Close() error { return os.RemoveAll(s.dir) }

// decode runs pocketsphinx on speech and gives what it heard, with frames of 10 ms: "0 TEXT LAST FRAME" and more.
// It is the program for many files, with one: only that takes the mean of a whole piece from its features, without which noise hides all words of a short one.
func (s *Sphinx) decode(ctx context.Context, speech []int16, args ...string) (text, frames string, err error) {
	dir, err := os.MkdirTemp(s.dir, "piece-")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(dir)
	file := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.WriteFile(file("piece.raw"), audio.Bytes(withFloor(speech)), 0o600), os.WriteFile(file("list"), []byte("piece\n"), 0o600)); err != nil {
		return "", "", err
	}
	_, err = run(ctx, append([]string{
		sphinxProgram, "-ctl", file("list"), "-cepdir", dir, "-cepext", ".raw", "-adcin", "yes", "-hmm", filepath.Join(sphinxModel, "en-us"), "-dict", s.file("home.dict"),
		"-hyp", file("text"), "-hypseg", file("frames"), "-logfn", os.DevNull,
	}, args...), nil, maxOutput)
	if err != nil {
		return "", "", err
	}
	if text, err = readPart(file("text")); err == nil {
		frames, err = readPart(file("frames"))
	}
	return text, frames, err
}

// readPart reads the beginning of a file.
func readPart(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxOutput))
	return string(b), err
}

// Recognize implements [Recognizer].
func (s *Sphinx) Recognize(ctx context.Context, speech []int16) (string, error) {
	return s.text(ctx, speech, "commands.gram")
}

// RecognizeAnswer hears what was said to a question.
func (s *Sphinx) RecognizeAnswer(ctx context.Context, speech []int16) (string, error) {
	return s.text(ctx, speech, "answers.gram")
}

func (s *Sphinx) text(ctx context.Context, speech []int16, grammar string) (string, error) {
	text, _, err := s.decode(ctx, speech, "-jsgf", s.file(grammar))
	text, _, _ = strings.Cut(text, "(") // behind the text is its score
	return sphinx.Figures(text), err
}

// Spot implements [Spotter].
func (s *Sphinx) Spot(ctx context.Context, piece []int16) (int, error) {
	if s.wake == "" {
		return 0, errors.New("pocketsphinx needs a wake word")
	}
	_, frames, err := s.decode(ctx, piece, "-keyphrase", s.wake, "-kws_threshold", spotThreshold, "-kws_plp", spotOthers, "-remove_silence", "no")
	if err != nil {
		return 0, err
	}
	return spottedEnd(frames, s.wake, len(piece)), nil
}

// spottedEnd finds where the last wake word ends in a line of pocketsphinx: behind its words is its last frame.
func spottedEnd(line, wake string, n int) int {
	i := strings.LastIndex(line, " "+wake+" ")
	if i < 0 {
		return 0
	}
	var frame int
	if _, err := fmt.Sscan(line[i+len(wake)+2:], &frame); err != nil || frame < 1 || frame > n/(audio.Rate/100) {
		return n
	}
	return min((frame+1)*audio.Rate/100, n)
}

// withFloor adds white noise 32 dB below the sound's mean, as it comes with every real recording. pocketsphinx's acoustic model knows no digital silence:
// without the noise it finds the wake word in none of espeak-ng's sentences, with it in all.
func withFloor(speech []int16) []int16 {
	var sum float64
	for _, s := range speech {
		sum += float64(s) * float64(s)
	}
	const below = 0.025 * 1.732 // 32 dB; a uniform distribution's amplitude is sqrt(3) of its RMS
	amplitude := max(2, below*math.Sqrt(sum/float64(max(1, len(speech)))))
	out := make([]int16, len(speech))
	r := rand.New(rand.NewPCG(1, 2)) // the same sound is the same text
	for i, s := range speech {
		out[i] = int16(max(-1<<15, min(1<<15-1, math.Round(float64(s)+amplitude*(2*r.Float64()-1)))))
	}
	return out
}
