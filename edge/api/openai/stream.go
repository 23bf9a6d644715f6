package openai

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// heartbeat is how long a stream is silent before it says that it lives: proxies and clients give up on connections that are silent for a minute.
const heartbeat = 15 * time.Second

// stream is an answer in server-sent events. Its header goes out with the first of them, so that an error before it has its own status.
type stream struct {
	api    *api
	w      http.ResponseWriter
	flush  func() error
	ctx    context.Context // ends with the client and with the stream
	cancel context.CancelFunc

	mu     sync.Mutex // heartbeats come from a goroutine of their own
	timer  *time.Timer
	begun  bool
	fresh  bool // something was written since the timer was set
	closed bool
	err    error // of writing
}

// newStream begins a stream that has to be closed.
func (a *api) newStream(w http.ResponseWriter, r *http.Request) *stream {
	s := &stream{api: a, w: w, flush: http.NewResponseController(w).Flush}
	s.ctx, s.cancel = context.WithCancel(r.Context())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(heartbeat, s.beat)
	return s
}

func (s *stream) close() {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.timer.Stop()
}

// beat writes a comment, which clients skip, if nothing else was written for a while.
func (s *stream) beat() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if !s.fresh && s.write([]byte(": still working\n\n")) != nil {
		s.cancel()
		return
	}
	s.fresh = false
	s.timer.Reset(heartbeat)
}

// send writes events.
func (s *stream) send(events []byte) error {
	if len(events) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fresh = true
	return s.write(events)
}

func (s *stream) write(b []byte) error {
	if s.err != nil {
		return s.err
	}
	if !s.begun {
		s.begun = true
		h := s.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Accel-Buffering", "no") // nginx would collect the events
		s.w.WriteHeader(http.StatusOK)
	}
	if _, s.err = s.w.Write(b); s.err == nil {
		s.err = s.flush()
	}
	return s.err
}

// end writes the last events and that there are no more.
func (s *stream) end(events []byte) error {
	s.send(append(events, "data: [DONE]\n\n"...)) // an error is a client that has gone
	return nil
}

// fail ends the stream with an error: the caller's to answer if nothing has been written, else one event.
// No [DONE] follows, so that what has come does not look whole.
func (s *stream) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if !s.begun {
		return err
	}
	if s.err != nil {
		return nil
	}
	_, event := s.api.describe(s.w.Header().Clone(), err)
	s.write(append(append([]byte("data: "), event...), "\n\n"...))
	return nil
}
