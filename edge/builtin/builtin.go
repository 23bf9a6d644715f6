package builtin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"bimamba/edge/home"
	"bimamba/edge/internal/durable"
	"bimamba/internal/boottime"
)

// Why nothing was done. Replies have more of it; these hold nothing that somebody said.
var (
	ErrNone    = errors.New("there is no such timer or item")
	ErrSeveral = errors.New("several timers fit")
	ErrLimit   = errors.New("there is no room for more")
	ErrSlots   = errors.New("a slot is missing, or makes no sense")
	ErrClock   = errors.New("the clock has not been set")
)

// Limits of what is kept.
const (
	maxTimers  = 64
	maxLists   = 32
	maxItems   = 256 // of a list
	maxName    = 64  // bytes
	maxText    = 200 // bytes of an item or a command
	maxLength  = 31 * 24 * time.Hour
	leastEpoch = 2025 // a clock that shows an earlier year has not been set
)

// Options of Open.
type Options struct {
	Dir string       // a folder of its own; "": nothing outlives the process
	Log *slog.Logger // nil: nothing is logged

	clock *clock        // for tests
	files durable.Files // for tests, instead of Dir
}

// clock is the wall's, which may be wrong and jumps when it is set right, and the time since the machine was started, which only grows.
type clock struct {
	wall func() time.Time
	boot func() time.Duration
	id   string // of this start of the machine; "": unknown
}

func systemClock() *clock {
	id, _ := boottime.ID()
	return &clock{wall: time.Now, boot: boottime.Now, id: id}
}

// Builtin has the timers and the lists. Its methods may be called from several goroutines.
type Builtin struct {
	clock   *clock
	log     *slog.Logger
	dir     *durable.Dir  // nil: in memory
	changed chan struct{} // something that Wait looks at

	mu     sync.Mutex
	timers []*timer
	lists  []*list
	offset time.Duration // between the clocks, when it was looked at last
	dirty  bool          // the file is older than what is here
}

// Open opens the folder and takes up what is in it. A file that cannot be read is put aside as damaged.json.
func Open(opt Options) (*Builtin, error) {
	b := &Builtin{clock: opt.clock, log: opt.Log, changed: make(chan struct{}, 1)}
	if b.clock == nil {
		b.clock = systemClock()
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	zone, _ := b.clock.wall().Zone() // this reads the zone's file, which a sandbox may hide later
	b.log.Debug("timers and lists", "time_zone", zone)
	b.offset = b.clock.offset()
	var err error
	switch {
	case opt.files != nil:
		b.dir, err = durable.On(opt.files)
	case opt.Dir != "":
		b.dir, err = durable.Open(opt.Dir)
	default:
		return b, nil
	}
	if err == nil {
		err = b.load()
	}
	if err != nil {
		return nil, fmt.Errorf("timers and lists: %w", err)
	}
	return b, nil
}

// Close gives the folder back. Timers that run go on when it is opened again.
func (b *Builtin) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dir == nil {
		return nil
	}
	if b.dirty {
		b.save()
	}
	err := b.dir.Close()
	b.dir = nil
	return err
}

// answers are the replies and errors of Do's parts.
type answer struct {
	text string
	err  error
}

func say(format string, args ...any) answer {
	return answer{text: sentence(fmt.Sprintf(format, args...))}
}

func fail(err error, format string, args ...any) answer {
	return answer{sentence(fmt.Sprintf(format, args...)), err}
}

// Do does an action that needs no device; handled is false if this is none, as one for an entity of the home. With an error nothing has happened, and the reply says why.
func (b *Builtin) Do(_ context.Context, a home.Action) (reply string, handled bool, err error) {
	do := map[string]func(slots) answer{
		"HassStartTimer": b.start, "HassCancelTimer": b.cancel, "HassCancelAllTimers": b.cancelAll, "HassIncreaseTimer": b.increase, "HassDecreaseTimer": b.decrease,
		"HassPauseTimer": b.pause, "HassUnpauseTimer": b.unpause, "HassTimerStatus": b.status,
		"HassShoppingListAddItem": b.add, "HassListAddItem": b.add, "HassShoppingListCompleteItem": b.complete, "HassListCompleteItem": b.complete, "HassListRemoveItem": b.complete,
		"HassShoppingListLastItems": b.show,
		"HassGetCurrentTime":        b.time, "HassGetCurrentDate": b.date,
	}[a.Intent]
	if do == nil || len(a.Entities) > 0 {
		return "", false, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.step()
	s := slots(a.Slots)
	if a.Intent == "HassStartTimer" && a.Area != "" && s["area"] == nil { // a timer is where it was set, and its command is obeyed there
		s = maps.Clone(s)
		if s == nil {
			s = slots{}
		}
		s["area"] = a.Area
	}
	out := do(s)
	if b.dirty && out.err == nil {
		if b.save() != nil {
			out.text += " I could not write that down, so it is lost when I am started anew."
		}
		b.notify()
	}
	return out.text, true, out.err
}

func (b *Builtin) notify() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// slots are an action's.
type slots map[string]any

// text is a slot's text without needless spaces, "" if it is not there.
func (s slots) text(name string) string {
	switch v := s[name].(type) {
	case nil:
		return ""
	case string:
		return strings.Join(strings.Fields(strings.ToValidUTF8(v, "")), " ")
	default:
		return fmt.Sprint(v)
	}
}

func (b *Builtin) time(slots) answer {
	now := b.clock.wall()
	if now.Year() < leastEpoch {
		return fail(ErrClock, "I do not know what time it is: my clock has not been set.")
	}
	return say("It is %s.", now.Format("3:04 PM"))
}

func (b *Builtin) date(slots) answer {
	now := b.clock.wall()
	if now.Year() < leastEpoch {
		return fail(ErrClock, "I do not know what day it is: my clock has not been set.")
	}
	return say("Today is %s %s, %d.", now.Format("Monday, January"), ordinal(now.Day()), now.Year())
}
