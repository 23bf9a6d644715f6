package action

import (
	"context"
	"errors"
	"time"
)

// work sends what is in the queue, one after the other, until ctx is done.
func (s *Spool) work(ctx context.Context) {
	defer close(s.done)
	pause := firstPause
	for ctx.Err() == nil {
		s.mu.Lock()
		s.expire()
		e, wait := s.next()
		s.mu.Unlock()
		s.tell()
		if e == nil {
			s.sleep(ctx, wait)
			continue
		}
		attempt, cancel := context.WithTimeout(ctx, min(s.opt.Attempt, e.at+e.ttl-s.opt.clock.boot()))
		err := s.target.Send(attempt, e.m)
		cancel()
		s.mu.Lock()
		if s.outcome(ctx, e, err) {
			pause = firstPause
		} else {
			s.retry = s.opt.clock.boot() + pause
			pause = min(2*pause, lastPause)
		}
		s.mu.Unlock()
		s.tell()
	}
}

// next is the entry to send now; if there is none, how long there is nothing to do, 0 for ever.
func (s *Spool) next() (*entry, time.Duration) {
	for file := range s.junk {
		s.remove(file)
	}
	if len(s.queue) == 0 {
		if len(s.junk) > 0 {
			return nil, lastPause
		}
		return nil, 0
	}
	now := s.opt.clock.boot()
	if until := max(s.retry, s.after); until > now {
		if s.after > now { // whoever came just now has to wait, too
			s.hold()
		}
		wait := until - now
		for _, e := range s.queue {
			wait = min(wait, e.at+e.ttl-now)
		}
		return nil, max(wait, time.Millisecond)
	}
	e := s.queue[0]
	e.sending = true
	return e, 0
}

// expire ends what has become too old.
func (s *Spool) expire() {
	now := s.opt.clock.boot()
	for i := 0; i < len(s.queue); {
		if e := s.queue[i]; now-e.at >= e.ttl {
			s.end(e, ErrExpired)
			continue
		}
		i++
	}
}

// outcome is what came of sending an entry; false: the target is away.
func (s *Spool) outcome(ctx context.Context, e *entry, err error) bool {
	e.sending = false
	var away *Away
	switch {
	case err == nil:
		s.back()
		s.end(e, nil)
		return true
	case ctx.Err() != nil: // Close: what is on disk stays there
		return false
	case !errors.As(err, &away):
		s.back()
		s.end(e, err)
		return true
	case e.left:
		s.end(e, context.Canceled)
	case away.Answered:
		if e.answers++; e.answers >= maxAnswers { // not for ever before those behind it
			s.end(e, away.Err)
		}
	}
	if s.away == nil {
		s.opt.Log.Warn("the target of actions is away", "error", away.Error())
	}
	s.away = away.Err
	if s.after = 0; away.After > 0 {
		s.after = s.opt.clock.boot() + min(away.After, maxAfter)
	}
	s.hold()
	return false
}

// back notes that the target is there.
func (s *Spool) back() {
	if s.away != nil {
		s.opt.Log.Info("the target of actions is back")
	}
	s.away, s.after, s.retry = nil, 0, 0
}

// hold keeps all that is in the queue, before it is sent again, and says so to who waits.
func (s *Spool) hold() {
	for i := 0; i < len(s.queue); {
		e := s.queue[i]
		if err := s.keep(e); err != nil {
			s.end(e, err)
			continue
		}
		select {
		case <-e.wait:
		default:
			close(e.wait)
		}
		i++
	}
}

// tell calls Ended for what has ended.
func (s *Spool) tell() {
	s.mu.Lock()
	list := s.report
	s.report = nil
	s.mu.Unlock()
	for _, r := range list {
		s.opt.Log.Info("an action that waited has ended", "id", r.a.ID, "intent", r.a.Intent, "done", r.err == nil)
		if s.opt.Ended != nil {
			s.opt.Ended(r.a, r.err)
		}
	}
}

// sleep waits until there is something to do.
func (s *Spool) sleep(ctx context.Context, d time.Duration) {
	var timer <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
	case <-s.kick:
	case <-timer:
	}
}
