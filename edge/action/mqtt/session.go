package mqtt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	writeTime   = 10 * time.Second // that a packet takes to go out
	maxInFlight = 16               // messages that wait for their acknowledgement
)

var errRefused = errors.New("the broker refuses the subscription")

// session is one connection after CONNACK.
type session struct {
	conn  net.Conn
	r     *bufio.Reader
	alive time.Duration
	gone  chan struct{} // closed when it has ended

	writing sync.Mutex

	mu      sync.Mutex
	err     error // why it ended
	lastID  uint16
	waiting map[uint16]chan error // for PUBACK and SUBACK
}

// write sends packets. After an error the connection is closed.
func (s *session) write(b []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.conn.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := s.conn.Write(b); err != nil {
		s.conn.Close() // a part of a packet may be out
		return err
	}
	return nil
}

// read handles what comes until the connection ends.
func (s *session) read(deliver func(Message)) error {
	for {
		s.conn.SetReadDeadline(time.Now().Add(s.alive)) // there is a PINGRESP in half of that
		p, err := readPacket(s.r)
		if err != nil {
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded):
				return fmt.Errorf("nothing came for %v", s.alive)
			case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
				return errors.New("the connection ended")
			}
			return err
		}
		if err := s.handle(p, deliver); err != nil {
			return err
		}
	}
}

func (s *session) handle(p packet, deliver func(Message)) error {
	switch p.kind {
	case typePublish:
		m, id, err := p.publish()
		if err != nil {
			return err
		}
		deliver(m)
		if m.QoS > 0 {
			return s.write(appendPuback(nil, id))
		}
	case typePuback:
		id, err := p.ack()
		if err != nil {
			return err
		}
		s.answer(id, nil)
	case typeSuback:
		id, ok, err := p.suback()
		if err != nil {
			return err
		}
		if ok {
			s.answer(id, nil)
		} else {
			s.answer(id, errRefused)
		}
	case typePingresp:
		if p.flags != 0 || len(p.body) != 0 {
			return fmt.Errorf("a PINGRESP of %d bytes", len(p.body))
		}
	default:
		return fmt.Errorf("a packet of type %d, which a broker does not send", p.kind)
	}
	return nil
}

// answer ends the wait for an identifier. One that nobody waits for any more is no error.
func (s *session) answer(id uint16, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.waiting[id]; c != nil {
		delete(s.waiting, id)
		c <- err
	}
}

// ping keeps the connection alive.
func (s *session) ping(ctx context.Context) {
	tick := time.NewTicker(s.alive / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.gone:
			return
		case <-tick.C:
			if s.write(appendPacket(nil, typePingreq, 0)) != nil {
				return
			}
		}
	}
}

// goodbye ends the connection so that the broker keeps the will to itself.
func (s *session) goodbye() {
	s.conn.SetWriteDeadline(time.Now().Add(time.Second)) // also of a write that is under way
	s.writing.Lock()
	defer s.writing.Unlock()
	s.conn.SetWriteDeadline(time.Now().Add(time.Second))
	s.conn.Write(appendPacket(nil, typeDisconnect, 0))
	s.conn.Close()
}

// end makes all that wait fail.
func (s *session) end(err error) {
	s.conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	close(s.gone)
}

// register is a free identifier, and where its answer comes.
func (s *session) register() (uint16, chan error, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) >= maxInFlight {
		return 0, nil, fmt.Errorf("%d messages wait for their acknowledgement", len(s.waiting))
	}
	for {
		if s.lastID++; s.lastID != 0 && s.waiting[s.lastID] == nil {
			c := make(chan error, 1)
			s.waiting[s.lastID] = c
			return s.lastID, c, nil
		}
	}
}

func (s *session) forget(id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, id)
}

// exchange sends a packet and waits for its answer.
func (s *session) exchange(ctx context.Context, packet func(id uint16) []byte) error {
	id, answer, err := s.register()
	if err != nil {
		return &Error{Err: err}
	}
	defer s.forget(id)
	if err := s.write(packet(id)); err != nil {
		return &Error{Sent: true, Err: err}
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return &Error{Sent: true, Err: context.Cause(ctx)}
	case <-s.gone:
		select {
		case err := <-answer: // it came before the end
			return err
		default:
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return &Error{Sent: true, Err: s.err}
	}
}

func (s *session) publish(ctx context.Context, m Message) error {
	if m.QoS == 0 {
		if err := s.write(appendPublish(nil, m, 0)); err != nil {
			return &Error{Sent: true, Err: err}
		}
		return nil
	}
	return s.exchange(ctx, func(id uint16) []byte { return appendPublish(nil, m, id) })
}

func (s *session) subscribe(ctx context.Context, filter string) error {
	return s.exchange(ctx, func(id uint16) []byte { return appendSubscribe(nil, filter, id) })
}
