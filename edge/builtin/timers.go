package builtin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// timer is one. Its times are the clock's since the machine was started.
type timer struct {
	name    string // "pizza"; may be empty
	area    string // where it was started, as it was said; may be empty
	command string // what to do then; may be empty
	total   time.Duration
	paused  bool
	left    time.Duration // while paused
	end     time.Duration // while not
	told    bool          // Wait has returned it

	// A timer of an earlier start of the machine ends by the wall's clock, and moves when that is set: until then it may be wrong. Zero for the others.
	until time.Time
	most  time.Duration // that was left when the machine stopped
}

// remaining is how long a timer has still to run.
func (t *timer) remaining(now time.Duration) time.Duration {
	if t.paused {
		return t.left
	}
	return t.end - now
}

// label is "pizza timer".
func (t *timer) label() string {
	if t.name != "" {
		return t.name + " timer"
	}
	return adjective(t.total) + " timer"
}

// start starts a timer, or a command that is to be done later.
func (b *Builtin) start(s slots) answer {
	d, given, ok := s.length("")
	name, area, command := plain(s.text("name"), "timer"), s.text("area"), s.text("conversation_command")
	switch {
	case !given || ok && d < time.Second:
		return fail(ErrSlots, "How long is the timer to run?")
	case !ok:
		return fail(ErrSlots, "I did not understand how long the timer is to run.")
	case d > maxLength:
		return fail(ErrLimit, "A timer runs for at most %d days.", int(maxLength/(24*time.Hour)))
	case len(b.timers) >= maxTimers:
		return fail(ErrLimit, "There are %d timers already.", len(b.timers))
	case len(name) > maxName || len(area) > maxName || len(command) > maxText:
		return fail(ErrLimit, "That name is too long.")
	}
	b.timers = append(b.timers, &timer{name: name, area: area, command: command, total: d, end: b.clock.boot() + d})
	b.dirty = true
	switch {
	case command != "":
		return say("OK, in %s: %s.", span(d), strings.TrimRight(command, ".!"))
	case name != "":
		return say("%s timer set for %s.", name, span(d))
	}
	return say("Timer set for %s.", span(d))
}

// running is the timers that are not over, the next one first.
func (b *Builtin) running() []*timer {
	now := b.clock.boot()
	var out []*timer
	for _, t := range b.timers {
		if t.paused || t.end > now {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(x, y *timer) int { return int(max(-1, min(1, x.remaining(now)-y.remaining(now)))) })
	return out
}

// Pending is how many timers are not over, or have not been told of; paused ones do not count.
func (b *Builtin) Pending() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, t := range b.timers {
		if !t.paused && !t.told {
			n++
		}
	}
	return n
}

// filter is the timers that the slots are about, and what they were asked for by: "pizza timer". ok is false if the slots make no sense.
func (b *Builtin) filter(s slots) (out []*timer, what string, ok bool) {
	start, given, ok := s.length("start_")
	if !ok {
		return nil, "", false
	}
	out, what = b.running(), "timer"
	if given && start > 0 {
		out = slices.DeleteFunc(out, func(t *timer) bool { return t.total != start })
		what = adjective(start) + " " + what
	}
	// "The kitchen timer" is one that was started in the kitchen, or one called kitchen.
	for _, slot := range []string{"name", "area"} {
		want := plain(s.text(slot), "timer")
		if want == "" {
			continue
		}
		what = want + " " + what
		first, second := func(t *timer) string { return t.name }, func(t *timer) string { return plain(t.area, "") }
		if slot == "area" {
			first, second = second, first
		}
		is := func(get func(*timer) string) []*timer {
			return slices.DeleteFunc(slices.Clone(out), func(t *timer) bool { return get(t) != want })
		}
		if some := is(first); len(some) > 0 {
			out = some
		} else {
			out = is(second)
		}
	}
	return out, what, true
}

// one finds the timer that the slots are about, among those that fit.
func (b *Builtin) one(s slots, fits func(*timer) bool, otherwise string) (*timer, answer) {
	all, what, ok := b.filter(s)
	if !ok {
		return nil, fail(ErrSlots, "I did not understand which timer you mean.")
	}
	if len(all) == 0 {
		return nil, fail(ErrNone, "There is no %s.", what)
	}
	some := slices.DeleteFunc(slices.Clone(all), func(t *timer) bool { return !fits(t) })
	switch len(some) {
	case 0:
		return nil, fail(ErrNone, "%s", otherwise)
	case 1:
		return some[0], answer{}
	}
	return nil, fail(ErrSeveral, "There are %d timers: %s. Which one?", len(some), b.list(some, 4))
}

func anyTimer(*timer) bool { return true }

// list is timers with the time that they have left, no more than most of them.
func (b *Builtin) list(timers []*timer, most int) string {
	now := b.clock.boot()
	var parts []string
	for i, t := range timers {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more", len(timers)-most))
			break
		}
		place := ""
		if t.area != "" && t.name == "" {
			place = " in the " + strings.ToLower(t.area)
		}
		state := "with " + about(t.remaining(now)) + " left"
		if t.paused {
			state = "paused " + state
		}
		parts = append(parts, fmt.Sprintf("the %s%s, %s", t.label(), place, state))
	}
	if len(parts) > 1 { // their commas need something stronger between them
		return strings.Join(parts[:len(parts)-1], "; ") + "; and " + parts[len(parts)-1]
	}
	return join(parts)
}

// drop removes a timer.
func (b *Builtin) drop(t *timer) {
	b.timers = slices.DeleteFunc(b.timers, func(x *timer) bool { return x == t })
	b.dirty = true
}

func (b *Builtin) cancel(s slots) answer {
	t, no := b.one(s, anyTimer, "")
	if t == nil {
		return no
	}
	b.drop(t)
	return say("The %s is cancelled.", t.label())
}

func (b *Builtin) cancelAll(s slots) answer {
	all, what, ok := b.filter(slots{"area": s["area"]})
	if !ok || len(all) == 0 {
		return say("There is no %s.", what)
	}
	for _, t := range all {
		b.drop(t)
	}
	if n := len(all); n > 1 {
		return say("%d timers are cancelled.", n)
	}
	return say("The %s is cancelled.", all[0].label())
}

func (b *Builtin) pause(s slots) answer {
	t, no := b.one(s, func(t *timer) bool { return !t.paused }, "It is paused already.")
	if t == nil {
		return no
	}
	t.left, t.paused, t.until = t.remaining(b.clock.boot()), true, time.Time{}
	b.dirty = true
	return say("The %s is paused, with %s left.", t.label(), about(t.left))
}

func (b *Builtin) unpause(s slots) answer {
	t, no := b.one(s, func(t *timer) bool { return t.paused }, "It is not paused.")
	if t == nil {
		return no
	}
	t.end, t.paused = b.clock.boot()+t.left, false
	b.dirty = true
	return say("The %s goes on, with %s left.", t.label(), about(t.left))
}

func (b *Builtin) increase(s slots) answer { return b.change(s, 1) }
func (b *Builtin) decrease(s slots) answer { return b.change(s, -1) }

// change gives a timer more time, or less.
func (b *Builtin) change(s slots, sign time.Duration) answer {
	d, given, ok := s.length("")
	if !given || !ok || d < time.Second {
		return fail(ErrSlots, "I did not understand by how much the timer is to change.")
	}
	t, no := b.one(s, anyTimer, "")
	if t == nil {
		return no
	}
	now := b.clock.boot()
	left := t.remaining(now) + sign*d
	switch {
	case left > maxLength:
		return fail(ErrLimit, "A timer runs for at most %d days.", int(maxLength/(24*time.Hour)))
	case left <= 0:
		t.paused, t.end, t.until = false, now, time.Time{}
		b.dirty = true
		return say("The %s ends now.", t.label())
	case t.paused:
		t.left = left
	default:
		t.end += sign * d
		if !t.until.IsZero() {
			t.until = t.until.Add(sign * d)
			t.most = min(t.most+sign*d, maxLength)
		}
	}
	b.dirty = true
	return say("The %s has %s left now.", t.label(), about(left))
}

func (b *Builtin) status(s slots) answer {
	all, what, ok := b.filter(s)
	switch {
	case !ok:
		return fail(ErrSlots, "I did not understand which timer you mean.")
	case len(all) == 0 && what == "timer":
		return say("There is no timer.")
	case len(all) == 0:
		return fail(ErrNone, "There is no %s.", what)
	case len(all) == 1 && all[0].paused:
		return say("The %s is paused, with %s left.", all[0].label(), about(all[0].left))
	case len(all) == 1:
		return say("The %s has %s left.", all[0].label(), about(all[0].remaining(b.clock.boot())))
	}
	return say("There are %d timers: %s.", len(all), b.list(all, 4))
}

// Ended is a timer that is over.
type Ended struct {
	Name    string        // "pizza"; may be empty
	Area    string        // where it was started; may be empty
	Length  time.Duration // as it was started with
	Late    time.Duration // how long ago it ended: more than a moment if the machine or the process was off
	Command string        // what to do now, as it was said; empty for most timers, and if it is too late for it
	Text    string        // what to say; empty if there is a command
}

const (
	tooLate = time.Minute      // after which a timer's command is not done any more
	look    = 30 * time.Second // how often the clocks are compared,
	lookNow = 5 * time.Second  // and how often if it matters
)

// Wait returns the next timer that is over, or ctx's error. One goroutine at a time calls it. One without a command is forgotten only when Wait is called the next time: if the process ends before, it is said again.
// One with a command is forgotten at once, so that the command is not done twice.
func (b *Builtin) Wait(ctx context.Context) (Ended, error) {
	b.mu.Lock()
	for _, t := range slices.Clone(b.timers) {
		if t.told {
			b.drop(t)
		}
	}
	for {
		b.step()
		e, ok, wait := b.next()
		if b.dirty {
			b.save()
		}
		b.mu.Unlock()
		if ok {
			return e, nil
		}
		alarm := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			alarm.Stop()
			return Ended{}, ctx.Err()
		case <-b.changed:
			alarm.Stop()
		case <-alarm.C:
		}
		b.mu.Lock()
	}
}

// next is a timer that is over, or how long to wait.
func (b *Builtin) next() (e Ended, ok bool, wait time.Duration) {
	now := b.clock.boot()
	wait = look
	var t *timer
	for _, x := range b.timers {
		switch {
		case x.paused || x.told:
		case x.end <= now:
			if t == nil || x.end < t.end {
				t = x
			}
		default:
			wait = min(wait, x.end-now)
			if !x.until.IsZero() {
				wait = min(wait, lookNow)
			}
		}
	}
	if t == nil {
		return e, false, wait
	}
	e = Ended{Name: t.name, Area: t.area, Length: t.total, Late: now - t.end, Command: t.command}
	switch {
	case t.command != "" && e.Late <= tooLate:
	case t.command != "":
		e.Command = ""
		e.Text = sentence(fmt.Sprintf("%s ago it was time for this, and I was off, so I did not do it: %s.", about(e.Late), strings.TrimRight(t.command, ".!")))
	case e.Late <= tooLate:
		e.Text = fmt.Sprintf("The %s is done.", t.label())
	default:
		e.Text = fmt.Sprintf("The %s ended %s ago, while I was off.", t.label(), about(e.Late))
	}
	if t.command != "" {
		b.drop(t)
	} else {
		t.told = true
	}
	return e, true, 0
}
