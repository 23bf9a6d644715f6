package voice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"bimamba/edge/voice/audio"
)

// A Source is where sound comes from.
type Source interface {
	// Read fills p and returns io.EOF if the source has ended for good. It returns an error of the type *Gap when samples are missing and go on: a microphone that was started anew.
	Read(ctx context.Context, p []int16) error
	// Live says whether sound goes by while nobody reads.
	Live() bool
	Close() error
}

// Gap says that a microphone stopped giving samples and is started again.
type Gap struct{ Err error }

func (g *Gap) Error() string { return g.Err.Error() }
func (g *Gap) Unwrap() error { return g.Err }

// file is a WAV file as a microphone.
type file struct {
	f *os.File
	a *audio.Reader
}

// OpenFile hears a WAV file. It is heard as fast as the loop goes.
func OpenFile(path string) (Source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	a, err := audio.NewReader(f, audio.Speech)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &file{f, a}, nil
}

func (f *file) Read(_ context.Context, p []int16) error { return fill(f.a, p) }
func (f *file) Live() bool                              { return false }
func (f *file) Close() error                            { return f.f.Close() }

// fill reads all of p. What is missing of the last piece is silence.
func fill(a *audio.Reader, p []int16) error {
	for n := 0; n < len(p); {
		m, err := a.Read(p[n:])
		n += m
		if err == io.EOF && n > 0 {
			clear(p[n:])
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recorder is a command that records. One that ends or hangs is started again, later and later; one that has never given a sample is an error.
type recorder struct {
	argv    []string
	stalled time.Duration // without a sample until it counts as hung
	retry   time.Duration // before it is started again
	least   time.Duration // of retry
	worked  bool          // it has given samples
	given   int           // samples since it was started
	cmd     *exec.Cmd
	stop    context.CancelFunc
	said    *tail
	chunks  chan chunk
	rest    []int16
}

type chunk struct {
	samples []int16
	err     error
}

// Record hears what a command prints: WAV, or raw samples in the format of package audio.
func Record(line string) (Source, error) {
	argv, err := Words(line)
	if err != nil {
		return nil, err
	}
	return &recorder{argv: argv, stalled: 5 * time.Second, least: time.Second}, nil
}

func (r *recorder) Live() bool { return true }

func (r *recorder) Read(ctx context.Context, p []int16) error {
	if r.cmd == nil {
		if err := r.start(ctx); err != nil {
			return r.failed(ctx, err)
		}
	}
	timer := time.NewTimer(r.stalled)
	defer timer.Stop()
	for len(r.rest) < len(p) {
		select {
		case c := <-r.chunks:
			if c.err != nil {
				return r.failed(ctx, c.err)
			}
			r.worked = true
			if r.given += len(c.samples); r.given > 10*audio.Rate {
				r.retry = 0 // it works again
			}
			r.rest = append(r.rest, c.samples...)
		case <-timer.C:
			return r.failed(ctx, fmt.Errorf("no sample for %v", r.stalled))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	copy(p, r.rest)
	r.rest = append(r.rest[:0], r.rest[len(p):]...)
	return nil
}

func (r *recorder) start(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	c := start(ctx, r.argv)
	r.said = &tail{most: 2048}
	c.Stderr = r.said
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		stop()
		return commandError(ctx, r.argv[0], err, nil, "")
	}
	r.cmd, r.stop, r.given = c, stop, 0
	chunks := make(chan chunk, 250) // 5 s: more is lost by the recorder
	r.chunks = chunks
	go func() {
		a, err := audio.NewReader(out, audio.Speech)
		for err == nil {
			b := make([]int16, audio.FrameSamples)
			var n int
			n, err = a.Read(b)
			if n > 0 {
				select {
				case chunks <- chunk{samples: b[:n]}:
				case <-ctx.Done():
					return
				}
			}
		}
		select {
		case chunks <- chunk{err: err}:
		case <-ctx.Done():
		}
	}()
	return nil
}

// failed ends the command and makes the error for whoever reads.
func (r *recorder) failed(ctx context.Context, err error) error {
	if r.cmd != nil {
		var ended error
		if errors.Is(err, io.EOF) {
			ended = r.wait(time.Second) // it says why by itself
		}
		r.Close()
		if err == io.EOF {
			if err = ended; err == nil {
				err = errors.New("it ended")
			}
		}
		err = commandError(ctx, r.argv[0], err, nil, r.said.String())
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !r.worked {
		return fmt.Errorf("the microphone: %w", err)
	}
	r.retry = min(max(2*r.retry, r.least), 30*time.Second)
	select {
	case <-time.After(r.retry):
	case <-ctx.Done():
		return ctx.Err()
	}
	return &Gap{fmt.Errorf("the microphone: %w", err)}
}

// wait gives the command so long to end by itself.
func (r *recorder) wait(d time.Duration) error {
	stop := time.AfterFunc(d, r.stop)
	defer stop.Stop()
	err := r.cmd.Wait()
	r.cmd = nil
	return err
}

func (r *recorder) Close() error {
	if r.stop != nil {
		r.stop()
	}
	if r.cmd != nil {
		r.cmd.Wait()
		r.cmd = nil
	}
	r.rest = nil
	return nil
}
