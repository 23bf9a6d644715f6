package governor

import (
	"math"
	"sync"
	"time"

	"bimamba/edge/engine"
)

// Limits are what to hold. 0 is no limit.
type Limits struct {
	Watts   float64 // mean power over some seconds
	Celsius float64
	Tokens  float64 // of answers, a second, all requests together; prompts are not held up
}

// Reading is what was measured since the Step before. What is not a number was not.
type Reading struct {
	Work    bool    // requests are under way
	Watts   float64 // mean power, of a time in which there was always work
	Idle    float64 // the board's power without work
	Celsius float64 // now
}

// State is what a governor does.
type State struct {
	Limits  Limits
	Power   bool    // lately it has held power,
	Heat    bool    // temperature,
	Speed   bool    // or tokens a second
	Duty    float64 // the part of the time in which passes may run, because of power and temperature
	Pauses  float64 // the part of the time with work that was rest, lately
	Rested  time.Duration
	Threads int // that decode at most
}

const (
	minDuty = 0.05
	band    = 5.0 // °C below the limit
	fall    = 0.2 // by which the duty for temperature changes in a step at most
	rise    = 0.05

	minRest = 2 * time.Millisecond // less is saved up: timers are not so precise
	maxRest = 5 * time.Second      // because of the duty

	low      = 0.45             // a duty below which a thread fewer runs: with 2 threads in place of 1 it is above still, so that the two do not take turns
	high     = 0.95             // and above which there is one more
	fewer    = 5 * time.Second  // how long it has to be low
	more     = 10 * time.Second // and high, at first
	mostMore = 10 * time.Minute
	early    = time.Minute // a thread that is taken away again within this time came too early
)

// Governor holds limits. Its methods may be called at any time from anywhere.
type Governor struct {
	mu     sync.Mutex
	limits Limits
	power  float64 // duty
	heat   float64
	debt   time.Duration // rest that passes have caused and that was not granted yet
	due    time.Time     // when the tokens so far have had their time

	all, threads           int
	lowFrom                time.Time // zero: the duty is not low
	highFrom               time.Time
	wait                   time.Duration // in place of more
	came                   time.Time     // when there was a thread more
	worked                 time.Duration // since the last Step
	rested                 time.Duration
	slowed                 bool // by tokens, since the last Step
	total                  time.Duration
	pauses                 float64
	isPower, isHot, isSlow bool
}

// New makes a governor without limits for as many threads as decode.
func New(threads int) *Governor {
	g := &Governor{power: 1, heat: 1, wait: more}
	g.SetThreads(threads)
	return g
}

// SetThreads says how many threads decode if nothing is limited.
func (g *Governor) SetThreads(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all, g.threads = n, n
	g.lowFrom, g.highFrom = time.Time{}, time.Time{}
}

// SetLimits replaces the limits. What was learned of a limit that stays is kept.
func (g *Governor) SetLimits(l Limits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limits = l
	if l.Watts == 0 {
		g.power, g.isPower = 1, false
	}
	if l.Celsius == 0 {
		g.heat, g.isHot = 1, false
	}
	if l.Tokens == 0 {
		g.due, g.isSlow = time.Time{}, false
	}
	if l.Watts == 0 && l.Celsius == 0 {
		g.threads, g.wait, g.debt = g.all, more, 0
	}
}

// duty is the part of the time in which passes may run.
func (g *Governor) duty() float64 { return min(g.power, g.heat) }

// Pace is told of a pass and says how long to rest before the next one, and before the next token of an answer.
func (g *Governor) Pace(p engine.Pass) engine.Rest {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.worked += p.Took
	var rest, hold time.Duration
	if d := g.duty(); d < 1 {
		g.debt = min(g.debt+time.Duration(float64(p.Took)*(1/d-1)), maxRest)
		if g.debt >= minRest {
			rest = g.debt
		}
	}
	if l := g.limits.Tokens; l > 0 {
		now := time.Now()
		if start := now.Add(-p.Took); g.due.Before(start) { // time that was not used is gone
			g.due = start
		}
		g.due = g.due.Add(time.Duration(float64(p.Sampled) / l * float64(time.Second)))
		if hold = max(0, g.due.Sub(now)); hold > rest && p.Sampled > 0 {
			g.slowed = true
		}
	}
	g.debt = max(0, g.debt-rest)
	both := rest
	if p.Sampled > 0 { // else prompts are read, and whoever is held back has been counted
		both = max(rest, hold)
	}
	g.rested += both
	g.total += both
	return engine.Rest{All: rest, Answers: hold}
}

// Step takes up a reading and returns how many threads are to decode; 0 is all of them. It is called about once a second.
func (g *Governor) Step(r Reading) (threads int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.limits.Watts; l > 0 && r.Watts > 0 {
		may, is := l, r.Watts
		if r.Idle > 0 && r.Idle < is { // what a duty can change
			may, is = max(l-r.Idle, 0), is-r.Idle
		}
		// From the duty that holds, which may be that of temperature: this one then does not run ahead of it.
		g.power = min(max(g.duty()*math.Sqrt(may/is), minDuty), 1)
	}
	if l := g.limits.Celsius; l > 0 && !math.IsNaN(r.Celsius) {
		want := min(max((l-r.Celsius)/band, minDuty), 1)
		g.heat += min(max(want-g.heat, -fall), rise)
	}
	g.isPower = r.Work && g.power < 1 && g.power <= g.heat
	g.isHot = r.Work && g.heat < 1 && g.heat <= g.power
	switch {
	case g.worked > 0:
		g.pauses, g.isSlow = float64(g.rested)/float64(g.worked+g.rested), g.slowed
		g.worked, g.rested, g.slowed = 0, 0, false
		g.adjustThreads(time.Now())
	case !r.Work: // else a pass takes longer than a step
		g.pauses, g.isSlow = 0, false
	}
	if g.threads == g.all {
		return 0
	}
	return g.threads
}

// adjustThreads takes a thread away where the duty has been low for long enough, or gives one back.
func (g *Governor) adjustThreads(now time.Time) {
	d := g.duty()
	since := func(t *time.Time, is bool) time.Duration {
		switch {
		case !is:
			*t = time.Time{}
		case t.IsZero():
			*t = now
		default:
			return now.Sub(*t)
		}
		return 0
	}
	isLow, isHigh := since(&g.lowFrom, d < low && g.threads > 1), since(&g.highFrom, d >= high && g.threads < g.all)
	n := g.threads
	switch {
	case isLow >= fewer:
		if n--; !g.came.IsZero() && now.Sub(g.came) < early {
			g.wait = min(2*g.wait, mostMore)
		}
	case isHigh >= g.wait:
		n++
		g.came = now
	default:
		return
	}
	if g.limits.Watts > 0 { // about the same power, from which the next steps go on
		g.power = min(max(g.power*float64(g.threads)/float64(n), minDuty), 1)
	}
	g.threads, g.lowFrom, g.highFrom = n, time.Time{}, time.Time{}
}

// State is what the governor does now.
func (g *Governor) State() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return State{
		Limits: g.limits, Power: g.isPower, Heat: g.isHot, Speed: g.isSlow, Duty: g.duty(), Pauses: g.pauses, Rested: g.total, Threads: g.threads,
	}
}
