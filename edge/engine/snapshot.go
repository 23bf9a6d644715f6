package engine

import (
	"context"
	"errors"
	"slices"

	snapshot "bimamba/edge/state"
)

// Errors of Export and Import.
var (
	ErrNoSession = errors.New("no session of that name has a state here; it may have made room for others since its last request")
	ErrInUse     = errors.New("a request runs on the session; wait for its end")
	ErrNoRoom    = errors.New("there is no room for another state: all of them are in use, or personas; ask for more checkpoints")
)

// Expect is what a snapshot has to be to be imported.
func (e *Engine) Expect() snapshot.Expect {
	s := e.Model.Session(0)
	return snapshot.Expect{
		Model: e.Model.Blob().ID(), ModelName: e.manifest.Name, DType: e.Model.Options().State.String(), Precision: e.Model.Options().Precision.String(),
		SSM: len(s.SSM()), Conv: len(s.Conv()), Vocab: int(e.Model.Hyper().VocabSize),
	}
}

// Export gives fn the state of the session that requests called name. Its slices are the session's own memory: they are valid until fn returns.
// Meanwhile no request gets the session.
func (e *Engine) Export(name string, fn func(*snapshot.Snapshot) error) error {
	l := &e.loop
	if prompt := l.unfed(name); prompt != nil {
		// An answer's last token is not in the state yet, and its text alone may not tell which one it was.
		if _, err := e.Generate(context.Background(), Request{Prompt: prompt, Name: name, Sample: e.Defaults().Sample}, nil); err != nil {
			return err
		}
	}
	s, err := l.hold(func() (*state, error) {
		switch s := l.states.named(name); {
		case s == nil:
			return nil, ErrNoSession
		case s.busy:
			return nil, ErrInUse
		default:
			return s, nil
		}
	})
	if err != nil {
		return err
	}
	defer e.release(s)

	want := e.Expect()
	x := &snapshot.Snapshot{
		Header: snapshot.Header{Model: want.Model, ModelName: want.ModelName, DType: want.DType, Precision: want.Precision},
		IDs:    s.seq[:s.fed], SSM: s.session.SSM(), Conv: s.session.Conv(),
	}
	if s.logits {
		x.Logits = s.session.Logits()
	}
	return fn(x)
}

// unfed is the tokens of the session called name, if its state has not seen all of them.
func (l *loop) unfed(name string) []uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.states.named(name); s != nil && !s.busy && s.fed < len(s.seq) {
		return slices.Clone(s.seq)
	}
	return nil
}

// hold takes a state that choose finds away from requests, until release.
func (l *loop) hold(choose func() (*state, error)) (*state, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	s, err := choose()
	if err != nil {
		return nil, err
	}
	s.busy = true
	l.held.Add(1)
	return s, nil
}

// release gives a held state back.
func (e *Engine) release(s *state) {
	e.loop.mu.Lock()
	s.busy = false
	e.loop.held.Done()
	e.loop.more.Signal()
	e.loop.mu.Unlock()
}

// Import fills a state by read, which gets the memory for it, and gives it a name. Requests whose prompt begins with the tokens of the snapshot
// then begin there. A pinned one is never given up. On an error all is as before, but a state less may be kept.
func (e *Engine) Import(name string, pin bool, read func(want snapshot.Expect, to *snapshot.Snapshot) error) (tokens []uint32, err error) {
	l := &e.loop
	s, err := l.hold(func() (*state, error) {
		s := l.states.victim(end)
		if s == nil && !pin {
			s = oldest(l.states.all[:l.states.sessions])
		}
		if s == nil {
			return nil, ErrNoRoom
		}
		s.clear()
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	defer e.release(s)

	x := snapshot.Snapshot{SSM: s.session.SSM(), Conv: s.session.Conv(), Logits: s.session.Logits()[:0]}
	if err := read(e.Expect(), &x); err != nil {
		return nil, err
	}
	s.session.Restore(int64(len(x.IDs)))
	l.mu.Lock()
	defer l.mu.Unlock()
	s.seq, s.fed, s.hash, s.logits = x.IDs, len(x.IDs), hashOf(x.IDs), len(x.Logits) > 0
	s.name, s.pinned, s.kind = name, pin, end
	if pin {
		s.kind = head
	}
	l.states.touch(s)
	s.asked = s.used
	return x.IDs, nil
}
