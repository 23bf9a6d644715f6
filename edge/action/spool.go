package action

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"bimamba/edge/home"
	"bimamba/edge/internal/durable"
)

// Defaults of SpoolOptions.
const (
	DefaultTTL     = time.Minute
	DefaultLateTTL = 24 * time.Hour
	DefaultAttempt = 3 * time.Second
)

const (
	maxWaiting = 64
	maxBytes   = 256 << 10
	maxEnded   = 256                    // IDs that are remembered
	maxAnswers = 6                      // that a target gives to one action before it is given up
	firstPause = 500 * time.Millisecond // between tries,
	lastPause  = 15 * time.Second       // which doubles up to this
	maxAfter   = time.Hour              // that a target may ask for
)

// late is the intents that change nothing in the world: they may be done hours later.
var late = map[string]bool{
	"HassShoppingListAddItem": true, "HassShoppingListCompleteItem": true,
	"HassListAddItem": true, "HassListCompleteItem": true, "HassListRemoveItem": true,
}

// SpoolOptions of OpenSpool. Zero is a default.
type SpoolOptions struct {
	Dir     string        // the folder, this spool's own; "": what waits is in memory and ends with the process
	TTL     time.Duration // how long an action may wait that acts on the world; DefaultTTL
	LateTTL time.Duration // and one of a list's items; DefaultLateTTL
	Attempt time.Duration // that sending may take; DefaultAttempt

	// Ended is called when an action has ended for which Do has returned a *Queued, with nil when it was done. One after the other, in a goroutine of the spool's. May be nil.
	Ended func(home.Action, error)

	Log *slog.Logger // nil: nothing is logged

	clock *clock        // for tests
	files durable.Files // for tests, instead of Dir
}

// Spool is a Sink before a Target.
type Spool struct {
	opt    SpoolOptions
	target Target
	store  *store // nil: in memory
	stop   context.CancelFunc
	done   chan struct{} // closed when the worker has ended
	kick   chan struct{} // there is something to do

	mu      sync.Mutex
	queue   []*entry // in order; the first may be under way
	byID    map[string]*entry
	bytes   int
	away    error            // why the target is; nil: it is not, as far as is known
	retry   time.Duration    // by the clock, when to try again
	after   time.Duration    // by the clock, before when the target is to be left alone
	ended   map[string]error // what became of actions, of the newest maxEnded
	endedID []string         // in order
	report  []reported       // to Ended
	stats   Stats
	junk    map[string]bool // files that could not be removed
	closed  bool
}

type reported struct {
	a   home.Action
	err error
}

// entry is an action that waits or is under way.
type entry struct {
	m       *Message
	size    int
	late    bool          // it may be
	at      time.Duration // when it was asked for, by the clock
	ttl     time.Duration
	file    string // its name on disk; "": none
	sending bool
	asking  int  // calls of Do that wait for it
	left    bool // they have gone
	told    bool // Do has returned a *Queued
	answers int  // that were no

	ended chan struct{}
	err   error         // behind ended
	wait  chan struct{} // closed when it is clear that it has to wait
}

func newEntry(m *Message) *entry {
	b, _ := json.Marshal(m) // newMessage has done so
	return &entry{m: m, size: len(b) + 256, ended: make(chan struct{}), wait: make(chan struct{})}
}

// Stats are a spool's.
type Stats struct {
	Waiting int    // actions on disk
	Done    uint64 // since the start
	Failed  uint64 // not taken by the target
	Expired uint64 // given up because of their age
	Away    error  // why the target is away; nil: it is not, as far as is known
}

// OpenSpool opens a spool and takes up what waits in its folder. It owns the target from then on, also if it fails.
func OpenSpool(target Target, opt SpoolOptions) (*Spool, error) {
	if opt.TTL == 0 {
		opt.TTL = DefaultTTL
	}
	if opt.LateTTL == 0 {
		opt.LateTTL = DefaultLateTTL
	}
	if opt.Attempt == 0 {
		opt.Attempt = DefaultAttempt
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.clock == nil {
		opt.clock = systemClock()
	}
	s := &Spool{
		opt: opt, target: target, done: make(chan struct{}), kick: make(chan struct{}, 1), byID: map[string]*entry{}, ended: map[string]error{},
	}
	if opt.Dir != "" || opt.files != nil {
		if err := s.load(); err != nil {
			target.Close()
			return nil, fmt.Errorf("actions that wait: %w", err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.work(ctx)
	return s, nil
}

// load takes up what is on the disk.
func (s *Spool) load() error {
	var err error
	if s.opt.files != nil {
		s.store, err = openStore(s.opt.files, s.opt.clock)
	} else {
		s.store, err = openStoreDir(s.opt.Dir, s.opt.clock)
	}
	if err != nil {
		return err
	}
	entries, bad, err := s.store.load(s.opt.Log)
	if err != nil {
		return errors.Join(err, s.store.close())
	}
	for _, e := range entries {
		e.told = true
		s.queue = append(s.queue, e)
		s.byID[e.m.ID] = e
		s.bytes += e.size
	}
	for _, e := range bad {
		e.told = true
		s.byID[e.m.ID] = e
		s.finish(e, ErrReboot)
	}
	s.stats.Waiting = len(s.queue)
	if len(s.queue) > 0 {
		s.away = errors.New("the process was started anew")
		s.opt.Log.Info("actions wait for their target", "actions", len(s.queue))
	}
	return nil
}

// Do does an action or, if the target is away, keeps it and says so by a *Queued. If ctx ends first, the action is given up, but where it is being sent at that moment.
func (s *Spool) Do(ctx context.Context, a home.Action) error {
	ttl, isLate := s.opt.TTL, late[a.Intent]
	if isLate {
		ttl = s.opt.LateTTL
	}
	m, err := newMessage(a, s.opt.clock.wall(), ttl)
	if err != nil {
		return err
	}
	e := newEntry(m)
	e.late, e.ttl, e.at = isLate, ttl, s.opt.clock.boot()
	e, err = s.add(e)
	if e == nil {
		return err
	}
	select {
	case <-e.ended:
		return e.err
	case <-e.wait:
		s.mu.Lock()
		defer s.mu.Unlock()
		select {
		case <-e.ended:
			return e.err
		default:
		}
		e.told = true
		return &Queued{For: e.at + e.ttl - s.opt.clock.boot(), Err: s.away}
	case <-ctx.Done():
		s.giveUp(e)
		return context.Cause(ctx)
	}
}

// add puts an action into the queue. A nil entry is the end of it: it was done before, or cannot be taken.
func (s *Spool) add(e *entry) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	id := e.m.ID
	if err, ok := s.ended[id]; ok {
		return nil, err
	}
	if old := s.byID[id]; old != nil {
		old.asking++
		return old, nil
	}
	if len(s.queue) >= maxWaiting || s.bytes+e.size > maxBytes {
		return nil, ErrFull
	}
	if s.away != nil { // it will hardly go straight through
		if err := s.keep(e); err != nil {
			return nil, err
		}
	}
	s.queue = append(s.queue, e)
	s.byID[id] = e
	s.bytes += e.size
	e.asking = 1
	s.retry = 0
	s.nudge()
	return e, nil
}

// keep writes an entry to the disk.
func (s *Spool) keep(e *entry) error {
	if s.store == nil || e.file != "" {
		return nil
	}
	if err := s.store.write(e); err != nil {
		return fmt.Errorf("the target is away (%w), and the action cannot be kept: %w", s.away, err)
	}
	s.stats.Waiting++
	return nil
}

func (s *Spool) nudge() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// giveUp ends an action whose asker has gone before he was told anything.
func (s *Spool) giveUp(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.asking--; e.told || e.asking > 0 { // somebody else asked for the same
		return
	}
	e.left = true
	if !e.sending && s.byID[e.m.ID] == e {
		s.end(e, context.Canceled)
	}
}

// end takes an entry out of the queue.
func (s *Spool) end(e *entry, err error) {
	for i, x := range s.queue {
		if x == e {
			s.queue = append(s.queue[:i:i], s.queue[i+1:]...)
			s.bytes -= e.size
			break
		}
	}
	s.finish(e, err)
}

// finish says what became of an entry, which is not in the queue any more, and removes its file.
func (s *Spool) finish(e *entry, err error) {
	id := e.m.ID
	delete(s.byID, id)
	s.ended[id] = err
	if s.endedID = append(s.endedID, id); len(s.endedID) > maxEnded {
		delete(s.ended, s.endedID[0])
		s.endedID = s.endedID[1:]
	}
	if e.file != "" {
		s.remove(e.file)
		s.stats.Waiting = max(0, s.stats.Waiting-1)
	}
	switch {
	case err == nil:
		s.stats.Done++
	case errors.Is(err, ErrExpired), errors.Is(err, ErrReboot):
		s.stats.Expired++
	default:
		s.stats.Failed++
	}
	if e.told {
		s.report = append(s.report, reported{e.m.action(), err})
	}
	e.err = err
	close(e.ended)
}

// remove removes a file, or remembers to. What is in it was ended in this process and is not sent again by it.
func (s *Spool) remove(file string) {
	if err := s.store.remove(file); err != nil {
		if s.junk == nil {
			s.junk = map[string]bool{}
		}
		if !s.junk[file] {
			s.opt.Log.Error("an action that has ended is still on the disk", "file", file, "error", err.Error())
		}
		s.junk[file] = true
		return
	}
	delete(s.junk, file)
}

// Stats says what there is and was.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Away = s.away
	return st
}

// Close ends the spool and its target. What is on disk stays there for the next one; what is not fails.
func (s *Spool) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.done
		return
	}
	s.closed = true
	s.mu.Unlock()
	s.stop()
	<-s.done
	s.target.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.queue {
		e.err = ErrClosed
		close(e.ended)
	}
	s.queue = nil
	if s.store != nil {
		if err := s.store.close(); err != nil {
			s.opt.Log.Error("actions that wait", "error", err.Error())
		}
	}
}
