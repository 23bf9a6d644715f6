package voice

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"bimamba/edge/voice/audio"
)

// A Speaker is where sound goes.
type Speaker interface {
	// Play returns when all was heard. When ctx ends, the sound stops at once.
	Play(ctx context.Context, sound []int16) error
	Close() error
}

// player is a command that plays a WAV: as the file {wav}, or from standard input.
type player struct{ command }

// PlayBy plays through a command.
func PlayBy(line string) (Speaker, error) {
	c, err := newCommand(line)
	if err != nil {
		return nil, err
	}
	return &player{*c}, nil
}

func (p *player) Play(ctx context.Context, sound []int16) error {
	wav := audio.WAV(sound)
	if !p.uses("{wav}") {
		_, err := run(ctx, p.argv, wav, maxOutput)
		return err
	}
	return withFile(wav, func(name string) error {
		_, err := run(ctx, p.fill("{wav}", name), nil, maxOutput)
		return err
	})
}

func (p *player) Close() error { return nil }

// writer is a WAV file as a speaker: all that is said, one after the other.
type writer struct {
	f *os.File
	n int
}

// CreateFile says everything into a WAV file, which is whole after each sentence.
func CreateFile(path string) (Speaker, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	w := &writer{f: f}
	if _, err := f.Write(audio.Header(0)); err != nil {
		f.Close()
		return nil, err
	}
	return w, nil
}

func (w *writer) Play(ctx context.Context, sound []int16) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.n+len(sound) > maxAudio/2 {
		return fmt.Errorf("%s is full: it takes %v of speech", filepath.Base(w.f.Name()), audio.Duration(maxAudio/2))
	}
	b := bufio.NewWriter(w.f)
	b.Write(audio.Bytes(sound))
	if err := b.Flush(); err != nil {
		return err
	}
	w.n += len(sound)
	_, err := w.f.WriteAt(audio.Header(w.n), 0)
	return err
}

func (w *writer) Close() error { return w.f.Close() }
