package slot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	spare     = 16 << 20 // bytes that stay free on the disk
	syncEvery = 32 << 20 // bytes that a power cut takes back at the most
)

// Receive takes a version from a deployer, see [Send], keeps what the board has of it already, and then holds the lock until r ends or is silent for a minute.
// Its error has been told to the deployer. An end of r in the middle leaves what came whole.
func (s *Store) Receive(ctx context.Context, r io.Reader, w io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	in := newIdleReader(r, func() { cancel(errors.New("the deployer has been silent for a minute")) })
	defer in.stop()
	if _, err := io.WriteString(w, greeting); err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- s.receive(ctx, in, w) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		select { // what is being written comes to an end by itself; what is being read may not
		case err := <-failed:
			return err
		case <-time.After(time.Second):
			return context.Cause(ctx)
		}
	}
}

func (s *Store) receive(ctx context.Context, r *idleReader, w io.Writer) error {
	unlock, id, err := s.take(ctx, r, w)
	if unlock != nil {
		defer unlock()
	}
	if err == nil {
		err = writeJSON(w, kindDone, done{id})
	}
	if err != nil {
		if !r.ended { // else the deployer has gone, and has nothing to learn
			writeFrame(w, kindFail, []byte(strings.ReplaceAll(err.Error(), "\n", "; ")))
		}
		return err
	}
	for {
		kind, _, err := readFrame(r, 0)
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case kind != kindPing:
			return fmt.Errorf("a frame %q behind the last piece", kind)
		}
	}
}

// take receives an offer's files. unlock is not nil if the session was locked.
func (s *Store) take(ctx context.Context, r io.Reader, w io.Writer) (unlock func(), id string, err error) {
	o, m, err := readOffer(r)
	if err != nil {
		return nil, "", err
	}
	if unlock, err = s.lockSession(o.Who); err != nil {
		return nil, "", err
	}
	id = m.ID()
	t := &transfer{store: s, m: m, id: id, dir: filepath.Join("versions", id), progress: throttled(w)}
	return unlock, id, full(t.run(ctx, r, w))
}

// lockSession takes the lock of deployers, or says who has it.
func (s *Store) lockSession(who string) (func(), error) {
	if err := s.disk.mkdir("versions"); err != nil {
		return nil, err
	}
	unlock, err := s.disk.flock("lock", who+"\n", false)
	if errors.Is(err, errLocked) {
		b, _ := readLimited(s.disk.path("lock"), 2*maxText)
		return nil, fmt.Errorf("%s is deploying to this board: wait for its end", strings.TrimSpace(string(b)))
	}
	if err == nil {
		left, _ := filepath.Glob(filepath.Join(s.root, Incoming+".*"))
		for _, path := range left {
			os.Remove(path)
		}
	}
	return unlock, err
}

// throttled writes progress to the deployer, a few frames a second.
func throttled(w io.Writer) func(what string, done, total int64) {
	var last time.Time
	return func(what string, done, total int64) {
		if time.Since(last) > 300*time.Millisecond {
			last = time.Now()
			writeJSON(w, kindProgress, Progress{what, done, total}) // a deployer that has gone is found out elsewhere
		}
	}
}

// idleReader calls fn if nothing comes for idleTime.
type idleReader struct {
	r     io.Reader
	t     *time.Timer
	ended bool // nothing more will come, for whatever reason
}

func newIdleReader(r io.Reader, fn func()) *idleReader {
	i := &idleReader{r: r, t: time.AfterFunc(idleTime, fn)}
	i.stop()
	return i
}

func (i *idleReader) Read(p []byte) (int, error) {
	i.t.Reset(idleTime) // while something is waited for, and not while a disk is
	defer i.stop()
	n, err := i.r.Read(p)
	i.ended = err != nil
	return n, err
}

func (i *idleReader) stop() { i.t.Stop() }
