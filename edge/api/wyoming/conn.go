package wyoming

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"bimamba/edge/home"
)

const (
	maxData  = 64 << 10 // bytes of data behind a line that a server takes
	maxShort = 256      // bytes of a language, a conversation, an area, a ping
	maxAhead = 4        // requests that a client may send before their answers
)

// request is what of an event is kept until its turn comes.
type request struct {
	kind         string
	text         string
	language     string
	conversation string
	area         string
	recognize    bool
	err          error // instead
}

// conn is a connection.
type conn struct {
	s        *Server
	net      net.Conn
	ctx      context.Context // of its requests; ends with the connection
	cancel   context.CancelCauseFunc
	requests chan request // closed when nothing more is read
	fault    *Error       // why, set before; nil: the client closed the connection, or left it idle
	told     bool         // a request ended with it
	own      string       // a conversation for requests without one

	mu      sync.Mutex
	reading bool // an event has begun to arrive
	waiting int  // requests that are not answered
	stopped bool // no request is taken any more
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{s: s, net: nc, requests: make(chan request, maxAhead), own: rand.Text()}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

// serve answers until the connection ends.
func (c *conn) serve() {
	defer c.net.Close()
	defer c.cancel(errGone)
	go c.read()
	for r := range c.requests {
		if err := c.do(&r); err != nil {
			c.s.opt.Log.Debug("wyoming: a connection ends", "error", err.Error())
			c.net.Close() // which ends read
			for range c.requests {
			}
			return
		}
		c.note(func() { c.waiting-- })
		if c.rests() {
			return
		}
	}
	if c.fault != nil {
		c.s.opt.Log.Debug("wyoming: a connection ends", "error", c.fault.Text)
		c.fail(c.fault)
	}
}

// fail sends an error, and reads for a moment what the client still sends: closing a connection with something unread would take the error away again.
func (c *conn) fail(e *Error) {
	if !c.told {
		event, err := NewEvent(typeError, e)
		if err != nil || c.write(event) != nil {
			return
		}
	}
	if half, ok := c.net.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		c.net.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		io.Copy(io.Discard, io.LimitReader(c.net, 1<<20))
	}
}

// note changes what the connection is doing and tells whom it may concern.
func (c *conn) note(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	if c.s.opt.Rest != nil {
		c.s.opt.Rest(c.net, !c.reading && c.waiting == 0)
	}
}

// stop closes the connection, or lets it end with the requests that it has.
func (c *conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	if c.waiting == 0 {
		c.net.Close()
	}
}

// rests tells whether the connection was stopped and has nothing left to answer.
func (c *conn) rests() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped && c.waiting == 0
}

// read takes requests off the connection until it ends. It goes on while one is answered, so that a client that leaves ends its request.
func (c *conn) read() {
	defer close(c.requests)
	r := NewReader(c.net, Limits{Data: maxData, Skip: true})
	for {
		if err := c.wait(r); err != nil {
			c.end(err)
			return
		}
		c.note(func() { c.reading = true })
		c.net.SetReadDeadline(time.Now().Add(c.s.opt.Read))
		e, err := r.Read()
		if err != nil {
			c.end(err)
			return
		}
		q, ok := c.parse(e)
		full := false
		c.note(func() {
			c.reading = false
			if !ok {
				return
			}
			if c.stopped {
				q.err = errStopping
			}
			if full = len(c.requests) == cap(c.requests); !full {
				c.waiting++
				c.requests <- q
			}
		})
		if full {
			c.end(errMany)
			return
		}
	}
}

// wait waits for the first byte of an event, for as long as a connection may be idle: not while a request is under way.
func (c *conn) wait(r *Reader) error {
	for {
		c.net.SetReadDeadline(time.Now().Add(c.s.opt.Idle))
		err := r.Wait()
		if e, ok := errors.AsType[net.Error](err); !ok || !e.Timeout() {
			return err
		}
		c.mu.Lock()
		busy := c.waiting > 0
		c.mu.Unlock()
		if !busy {
			return io.EOF
		}
	}
}

// end is the end of reading: requests under way end, too.
func (c *conn) end(err error) {
	cause := errGone
	if e, ok := asError(err).(*Error); ok {
		c.fault, cause = e, e
	} else if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		c.fault = &Error{fmt.Sprintf("an event took longer than %v to arrive", c.s.opt.Read), CodeTimeout}
		cause = c.fault
	}
	c.cancel(cause)
}

// parse is the request that an event is; ok is false for one that is none.
func (c *conn) parse(e *Event) (q request, ok bool) {
	q.kind = e.Type
	switch e.Type {
	case typeDescribe:
	case typePing:
		var data spoken
		q.err = asError(e.Decode(&data))
		q.text = strings.Clone(cut(data.Text, maxShort)) // a part would keep the whole
	case typeTranscript, typeRecognize:
		var data utterance
		q.err = asError(e.Decode(&data))
		q.text, q.language, q.conversation, q.area = data.Text, data.Language, data.Context.Conversation, data.Context.Area
		q.recognize = e.Type == typeRecognize
		if n := len(q.text); n > c.s.opt.MaxText {
			q.text, q.err = "", &Error{fmt.Sprintf("that has %d bytes, and %d are the most that is listened to", n, c.s.opt.MaxText), CodeLength}
		}
		for _, s := range []string{q.language, q.conversation, q.area} {
			if len(s) > maxShort {
				q = request{kind: e.Type, err: &Error{fmt.Sprintf("language, conversation_id and area have at most %d bytes each", maxShort), CodeLength}}
			}
		}
	default:
		return q, false
	}
	return q, true
}

// do answers a request. An error is of the connection.
func (c *conn) do(r *request) error {
	var e *Event
	var err error
	switch r.kind {
	case typeDescribe:
		e, err = c.s.opt.Info().event()
	case typePing:
		e, err = NewEvent(typePong, spoken{Text: r.text})
	default:
		return c.understand(r)
	}
	if r.err != nil {
		e, _, err = c.s.failed(c.ctx, r, r.err)
	}
	if err != nil {
		return err
	}
	return c.write(e)
}

// understand answers what somebody said.
func (c *conn) understand(r *request) error {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(c.ctx, c.s.opt.Deadline(), errTimeout)
	defer cancel()
	events, outcome, left, err := c.answer(ctx, r)
	if c.s.opt.Done != nil {
		c.s.opt.Done(outcome, time.Since(began))
	}
	for i := 0; i < len(events) && err == nil; i++ {
		err = c.write(events[i])
	}
	if left && err == nil {
		err = errors.New("a handler does not return")
	}
	return err
}

// answer is the events of an answer. An error is one that no event says.
func (c *conn) answer(ctx context.Context, r *request) (events []*Event, o Outcome, left bool, err error) {
	fail := func(cause error) ([]*Event, Outcome, bool, error) {
		e, o, err := c.s.failed(ctx, r, cause)
		return []*Event{e}, o, left, err
	}
	if r.err != nil {
		return fail(r.err)
	}
	if c.s.opt.Admit != nil {
		if err := c.s.opt.Admit(c.net); err != nil {
			return fail(err)
		}
	}
	if c.ctx.Err() != nil { // nobody waits any more
		c.told = true
		return fail(context.Cause(c.ctx))
	}
	q := home.Request{Text: r.text, Language: r.language, Conversation: r.conversation, Device: r.area}
	if q.Conversation == "" {
		q.Conversation = c.own
	}
	a, done, left, err := c.s.handle(ctx, q, r.recognize)
	if err != nil {
		c.told = c.ctx.Err() != nil
		return fail(err)
	}
	if events, o, err = c.s.answer(r, a, done); err != nil { // a slot that is no JSON
		return fail(err)
	}
	return events, o, left, nil
}

// write sends an event whole.
func (c *conn) write(e *Event) error {
	b, err := Append(nil, e)
	if err != nil {
		return err
	}
	c.net.SetWriteDeadline(time.Now().Add(c.s.opt.Write))
	_, err = c.net.Write(b)
	return err
}

// asError is a fault of what a client sent as it learns it; other errors stay as they are.
func asError(err error) error {
	if e, ok := errors.AsType[*FormatError](err); ok {
		return &Error{e.Message, CodeFormat}
	}
	return err
}
