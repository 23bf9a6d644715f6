package wyoming

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"bimamba/edge/home"
)

// Handler understands what somebody said. A *[home.Assistant] is one.
type Handler interface {
	Handle(context.Context, home.Request) (*home.Answer, error)
}

// Performer does what was understood, all of it or as far as it gets. Its text is what to say then; "" leaves that to the answer. The text of its error is
// said, too.
type Performer interface {
	Perform(context.Context, []home.Action) (text string, err error)
}

// Outcome is how a request ended, for counting.
type Outcome string

// Outcomes.
const (
	Acted    Outcome = "acted"    // intents were sent, or done
	Asked    Outcome = "asked"    // a question was sent back
	Said     Outcome = "said"     // there was nothing to do but to answer
	Declined Outcome = "declined" // it was not understood, or may not be
	Failed   Outcome = "failed"   // it was understood, and could not be done
	Errors   Outcome = "error"    // no answer came of it
)

// Outcomes lists them all.
var Outcomes = []Outcome{Acted, Asked, Said, Declined, Failed, Errors}

// Options of a Server. Handler and Info have to be there; of the others zero is a default.
type Options struct {
	Handler Handler
	Info    func() *Info // what the service is now; has to answer at once, whatever the handler does

	// Performer does what is understood, and clients learn what came of it. Without one they get intents, to do it themselves.
	Performer Performer

	Log *slog.Logger // for debugging; nothing that was said is in it

	MaxText  int                  // bytes of what somebody said; DefaultMaxText
	Idle     time.Duration        // that a connection stays open without a request; DefaultIdle
	Read     time.Duration        // for an event to arrive, from its first byte on; DefaultRead
	Write    time.Duration        // for a client to take an event; DefaultWrite
	Deadline func() time.Duration // how long a request may take; nil is DefaultDeadline

	// Admit may refuse a request of a connection, for one; an *[Error] is sent as it is. Nil refuses none.
	Admit func(net.Conn) error
	// Rest learns when a connection begins to wait for a request, and when it no longer does. Nil is none.
	Rest func(c net.Conn, waits bool)
	// Done learns how each request ended, and how long it took, before its client does. Nil is none.
	Done func(Outcome, time.Duration)
}

// Defaults of Options.
const (
	DefaultMaxText  = 1000
	DefaultIdle     = 2 * time.Minute
	DefaultRead     = 10 * time.Second
	DefaultWrite    = 10 * time.Second
	DefaultDeadline = 30 * time.Second
)

// grace is how long a handler may take to return when its context has ended. One that does not is left behind.
const grace = time.Second

// Reasons for which contexts of requests end.
var (
	errStopping = &Error{"the service is stopping; ask again when it is back", CodeStopping}
	errTimeout  = &Error{"that took longer than it may", CodeTimeout}
	errGone     = &Error{"the connection was closed before the answer", CodeGone}
	errMany     = &Error{"there are requests before this one that are not answered yet; wait for their answers", CodeBusy}
	errInternal = &Error{"internal error; the log of the service has more", CodeInternal}
)

// Server answers on connections.
type Server struct {
	opt Options

	mu        sync.Mutex
	listeners map[net.Listener]bool
	conns     map[*conn]bool
	stopping  bool
	gone      sync.WaitGroup // connections
}

// NewServer makes a Server.
func NewServer(opt Options) *Server {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.MaxText == 0 {
		opt.MaxText = DefaultMaxText
	}
	for p, v := range map[*time.Duration]time.Duration{&opt.Idle: DefaultIdle, &opt.Read: DefaultRead, &opt.Write: DefaultWrite} {
		if *p == 0 {
			*p = v
		}
	}
	if opt.Deadline == nil {
		opt.Deadline = func() time.Duration { return DefaultDeadline }
	}
	return &Server{opt: opt, listeners: map[net.Listener]bool{}, conns: map[*conn]bool{}}
}

// Serve answers on the connections of l until l fails, or the server is stopped: then its error is nil. It closes l.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.listen(l) {
		return nil
	}
	for {
		c, err := l.Accept()
		if err != nil {
			s.mu.Lock()
			delete(s.listeners, l)
			stopping := s.stopping
			s.mu.Unlock()
			if stopping {
				return nil
			}
			if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
				continue
			}
			return err
		}
		s.accept(c)
	}
}

// listen notes a listener, unless the server is stopping.
func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.listeners[l] = true
	return true
}

// accept begins to answer on a connection.
func (s *Server) accept(nc net.Conn) {
	c := newConn(s, nc)
	c.note(func() {}) // here, so that it gives way to the next if it has to
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		nc.Close()
		return
	}
	s.conns[c] = true
	s.gone.Go(func() {
		c.serve()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	})
}

// Shutdown closes the listeners and the connections that wait, and returns when the requests under way have ended, or with ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	for l := range s.listeners {
		l.Close()
	}
	s.mu.Unlock()
	s.each((*conn).stop)
	done := make(chan struct{})
	go func() {
		s.gone.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Abort ends the requests under way: their clients are told that the service is stopping.
func (s *Server) Abort() { s.each(func(c *conn) { c.cancel(errStopping) }) }

// Close closes all connections, whatever is under way on them.
func (s *Server) Close() { s.each(func(c *conn) { c.net.Close() }) }

func (s *Server) each(do func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		do(c)
	}
}

// handle runs the handler and, unless a client only wants to know, the performer. It returns when ctx has ended, even if they do not: left is true then.
func (s *Server) handle(ctx context.Context, r home.Request, only bool) (a *home.Answer, text string, left bool, err error) {
	type result struct {
		a    *home.Answer
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		var out result
		defer func() {
			if x := recover(); x != nil {
				s.opt.Log.Error("a handler panicked", "panic", fmt.Sprint(x), "stack", string(debug.Stack()))
				out = result{err: errInternal}
			}
			done <- out
		}()
		if out.a, out.err = s.opt.Handler.Handle(ctx, r); out.err == nil && out.a == nil {
			out.err = errInternal
		}
		if out.err != nil || out.a.Kind != home.Act || len(out.a.Actions) == 0 || s.opt.Performer == nil || only {
			return
		}
		if ctx.Err() != nil { // the client has been told that nothing came of it, or has gone
			out = result{err: context.Cause(ctx)}
			return
		}
		if out.text, out.err = s.opt.Performer.Perform(ctx, out.a.Actions); out.err != nil {
			out.err = &performError{out.err}
		}
	}()
	select {
	case r := <-done:
		return r.a, r.text, false, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done:
		return r.a, r.text, false, r.err
	case <-time.After(grace):
		return nil, "", true, context.Cause(ctx)
	}
}

// performError is what a Performer could not do.
type performError struct{ err error }

func (e *performError) Error() string { return e.err.Error() }
func (e *performError) Unwrap() error { return e.err }
