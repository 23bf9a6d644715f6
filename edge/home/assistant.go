package home

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bimamba/edge/engine"
	"bimamba/edge/intent"
)

// A Request is what somebody said.
type Request struct {
	Text         string // as it was typed or heard
	Language     string // a BCP 47 tag ("en", "en-GB"), or "" for the home's
	Conversation string // what binds a "yes" to its question; "" for none
	Device       string // where the speaker is: an area's ID or name, or ""
	Confirmed    bool   // there has been a yes to it: it is a timer's command, which was asked about when the timer was set
}

// An Action is one thing to do, in Home Assistant's words.
type Action struct {
	ID       string         // unique among all actions
	Intent   string         // "HassTurnOn"
	Slots    map[string]any // strings and float64s, as Home Assistant names them
	Entities []string       // IDs of the home's entities that it is for; empty where it is for none of them, as a timer
	Area     string         // the name of the area where the speaker is, "" if that is not known. It is for who keeps timers; what the action is for is in Slots
}

// A Kind says what an answer is.
type Kind int

const (
	Act     Kind = iota // Actions are to be done
	Ask                 // Text is a question; its answer comes with the same conversation
	Decline             // nothing is done, and Text says why
	Say                 // nothing is to be done, Text is the answer
)

var kinds = [...]string{"act", "ask", "decline", "say"}

// String is the kind's name.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kinds) {
		return "unknown"
	}
	return kinds[k]
}

// An Answer is what comes of a request.
type Answer struct {
	Kind    Kind
	Actions []Action      // of an Act
	Meant   []Action      // what was understood: the Actions of an Act, what a yes to an Ask would do. It is for measuring and logs, and never to be done
	Text    string        // what to say
	Reason  string        // why, for the log
	Score   float64       // how sure the model is: the mean log probability of what it wrote, 0 for certain
	Took    time.Duration // from text in to answer out

	confirms bool // of an Ask: a yes is what it wants
}

// Task is the task that a model has to have.
const Task = "home"

// An Assistant understands what is said in a home. It changes nothing itself. Its methods may be called from several goroutines.
type Assistant struct {
	e      *engine.Engine
	limits limits
	home   atomic.Pointer[place]
	memory memory
	ids    ids
}

// place is a home made ready. Each request has a copy.
type place struct {
	runs     int // how often the model may still be asked for this request
	home     *Home
	names    *intent.Home
	entities map[string]*Entity
	confirm  map[string]bool   // Home.Confirm
	scenes   map[string]string // names of scenes and scripts, by themselves as plain makes them
}

// New makes an assistant of a model that knows the task "home". It does not close the engine.
func New(e *engine.Engine, h *Home) (*Assistant, error) {
	if _, err := e.Task(Task); err != nil {
		return nil, fmt.Errorf("the model cannot control a home: %w", err)
	}
	if e.Tokens == nil {
		return nil, engine.ErrNoTokenizer
	}
	a := &Assistant{e: e, limits: calibrated}
	a.SetHome(h)
	return a, nil
}

// SetHome puts another home in the place of the one before, while requests run. h must not change afterwards. Open questions are forgotten.
func (a *Assistant) SetHome(h *Home) {
	a.home.Store(newPlace(h))
	a.memory.clear()
}

// Home is the home.
func (a *Assistant) Home() *Home { return a.home.Load().home }

func newPlace(h *Home) *place {
	p := &place{home: h, names: &intent.Home{Whole: true}, entities: make(map[string]*Entity, len(h.Entities)), scenes: map[string]string{}, confirm: set(h.Confirm...)}
	floors, areas := map[string][]string{}, map[string]*Area{}
	for _, f := range h.Floors {
		floors[f.ID] = append([]string{f.Name}, f.Aliases...)
		p.names.Floors = append(p.names.Floors, floors[f.ID]...)
	}
	for i, x := range h.Areas {
		areas[x.ID] = &h.Areas[i]
		p.names.Areas = append(append(p.names.Areas, x.Name), x.Aliases...)
	}
	p.names.Entities = make([]intent.Entity, len(h.Entities))
	for i := range h.Entities {
		e := &h.Entities[i]
		p.entities[e.ID] = e
		x := intent.Entity{ID: e.ID, Names: append([]string{e.Name}, e.Aliases...), Domain: e.Domain(), Class: e.DeviceClass, Unit: e.Unit}
		if area := areas[e.Area]; area != nil {
			x.Areas = append([]string{area.Name}, area.Aliases...)
			x.Floors = floors[area.Floor]
		}
		p.names.Entities[i] = x
		if x.Domain == "scene" || x.Domain == "script" {
			for _, n := range x.Names {
				p.scenes[plain(n)] = n
			}
		}
	}
	p.names.Prepare()
	return p
}

// area is the name of the area with the ID or name, "" if there is none.
func (p *place) area(s string) string {
	if s == "" {
		return ""
	}
	if a := p.home.Area(s); a != nil {
		return a.Name
	}
	for _, a := range p.home.Areas {
		for _, n := range append([]string{a.Name}, a.Aliases...) {
			if strings.EqualFold(n, s) {
				return a.Name
			}
		}
	}
	return ""
}

// maxRuns is how often the model is asked for one request: a command that is refused is tried in other words, and a sentence may have eight of them.
const maxRuns = 40

// maxText is how many bytes of a request are read.
const maxText = 1000

// Handle understands a request. The error is about the engine or the context; what is not understood is an Answer of the kind Decline.
func (a *Assistant) Handle(ctx context.Context, r Request) (*Answer, error) {
	began := time.Now()
	p := *a.home.Load()
	p.runs = maxRuns
	ans, err := a.handle(ctx, &p, r)
	if err != nil {
		return nil, err
	}
	for i := range ans.Actions {
		ans.Actions[i].ID, ans.Actions[i].Area = a.ids.next(), p.area(r.Device)
	}
	if ans.Kind == Act {
		ans.Meant = ans.Actions
	}
	ans.Took = time.Since(began)
	return ans, nil
}

// ids numbers actions: a random part of this process, then a count.
type ids struct {
	once   sync.Once
	prefix string
	n      atomic.Uint64
}
