package action

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"bimamba/edge/home"
)

// Limits of an action.
const (
	maxID      = 64
	maxIntent  = 64
	maxMessage = 16 << 10 // bytes of JSON
)

// Message is an action as targets get it, in JSON.
type Message struct {
	ID       string         `json:"id"` // the same each time an action is sent
	Intent   string         `json:"intent"`
	Slots    map[string]any `json:"slots"`
	Entities []string       `json:"entities"`
	Time     time.Time      `json:"time"`    // when it was asked for, by the sender's clock
	Expires  time.Time      `json:"expires"` // after which it is not to be done any more
}

// newMessage checks an action and gives it its times.
func newMessage(a home.Action, now time.Time, ttl time.Duration) (*Message, error) {
	if err := checkID(a.ID); err != nil {
		return nil, err
	}
	if a.Intent == "" || len(a.Intent) > maxIntent {
		return nil, fmt.Errorf("action %s: an intent of %d bytes: 1 to %d", a.ID, len(a.Intent), maxIntent)
	}
	m := &Message{a.ID, a.Intent, a.Slots, a.Entities, now.UTC().Round(time.Millisecond), now.Add(ttl).UTC().Round(time.Millisecond)}
	if m.Slots == nil {
		m.Slots = map[string]any{}
	}
	if m.Entities == nil {
		m.Entities = []string{}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("action %s: %w", a.ID, err)
	}
	if len(b) > maxMessage {
		return nil, fmt.Errorf("action %s: %d bytes, more than %d", a.ID, len(b), maxMessage)
	}
	return m, nil
}

// checkID says why s cannot be an action's ID, which stands in headers of HTTP as it is.
func checkID(s string) error {
	ok := len(s) > 0 && len(s) <= maxID
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
	}
	if !ok {
		return fmt.Errorf("an action's ID %.80q: 1 to %d of a-z, A-Z, 0-9, hyphen, underscore and dot", s, maxID)
	}
	return nil
}

func (m *Message) action() home.Action {
	return home.Action{ID: m.ID, Intent: m.Intent, Slots: m.Slots, Entities: m.Entities}
}

// Target is where actions are sent.
type Target interface {
	// Send sends an action, once, and returns nil when the target has taken it. An *Away says that it may work later; after any other error it will not,
	// or nobody may try: also where ctx has ended, it is the target that knows which. No two calls are at the same time.
	Send(ctx context.Context, m *Message) error
	Close()
}

// Sink does actions.
type Sink interface {
	// Do returns nil when the action was taken by where it is done. A *Queued says that it may still be; after any other error it is not.
	// An action whose ID was done before is not done again.
	Do(context.Context, home.Action) error
	Close()
}

// Away is why a target has not taken an action that it may take later.
type Away struct {
	Err      error
	After    time.Duration // that the target asks to be left alone
	Answered bool          // it was there, and could not
}

func (e *Away) Error() string { return e.Err.Error() }
func (e *Away) Unwrap() error { return e.Err }

// Queued says that an action waits for its target, and for how long at most.
type Queued struct {
	For time.Duration
	Err error // why
}

func (e *Queued) Error() string {
	return fmt.Sprintf("it waits at most %v: %v", e.For.Round(time.Second), e.Err)
}

func (e *Queued) Unwrap() error { return e.Err }

// Errors that a Spool's actions end with.
var (
	ErrExpired = errors.New("the target was away until the action was too old to be done")
	ErrReboot  = errors.New("the machine was started anew while the action waited, and nobody knows how old it is")
	ErrFull    = errors.New("too many actions wait for the target")
	ErrClosed  = errors.New("the spool is closed")
)
