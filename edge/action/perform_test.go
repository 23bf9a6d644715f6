package action

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"bimamba/edge/home"
)

type sink func(home.Action) error

func (f sink) Do(_ context.Context, a home.Action) error { return f(a) }
func (sink) Close()                                      {}

type local map[string]string

func (l local) Do(_ context.Context, a home.Action) (string, bool, error) {
	reply, ok := l[a.Intent]
	if a.ID == "no" {
		return reply, ok, errors.New("no timer")
	}
	return reply, ok, nil
}

func TestPerform(t *testing.T) {
	timers := local{"HassStartTimer": "Timer set for 5 minutes.", "HassCancelTimer": "There is no timer."}
	ok := sink(func(home.Action) error { return nil })
	broken := sink(func(a home.Action) error {
		if a.Intent == "HassTurnOn" {
			return errors.New("404")
		}
		return nil
	})
	away := sink(func(home.Action) error { return &Queued{For: time.Minute, Err: errAway} })
	const light, timer, blinds = "HassTurnOn", "HassStartTimer", "HassTurnOff"
	for name, tc := range map[string]struct {
		p       Performer
		intents []string
		text    string
		err     string
	}{
		"nothing":         {Performer{}, nil, "", ""},
		"there":           {Performer{timers, ok, nil}, []string{light, blinds}, "", ""},
		"here":            {Performer{timers, nil, nil}, []string{timer}, "Timer set for 5 minutes.", ""},
		"both":            {Performer{timers, ok, nil}, []string{timer, light}, "Timer set for 5 minutes. Done.", ""},
		"nowhere":         {Performer{timers, nil, nil}, []string{light}, "", "There is nothing here that could do that."},
		"one of two":      {Performer{nil, broken, nil}, []string{light, blinds}, "", "That did not work. Done."},
		"away":            {Performer{timers, away, nil}, []string{light, blinds}, "", "The home does not answer. I will do it if it comes back within 60 seconds."},
		"away and here":   {Performer{timers, away, nil}, []string{light, timer}, "", "The home does not answer. I will do it if it comes back within 60 seconds. Timer set for 5 minutes."},
		"here in vain":    {Performer{timers, nil, nil}, []string{"no"}, "", "There is no timer."},
		"a question":      {Performer{timers, ok, nil}, []string{"HassGetState"}, "", "I can't see from here how things are."},
		"no local at all": {Performer{nil, ok, nil}, []string{timer}, "", ""},
	} {
		var actions []home.Action
		for i, intent := range tc.intents {
			a := home.Action{ID: fmt.Sprint(i), Intent: intent}
			if intent == "no" {
				a = home.Action{ID: "no", Intent: "HassCancelTimer"}
			}
			actions = append(actions, a)
		}
		text, err := tc.p.Perform(t.Context(), actions)
		if text != tc.text || (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
			t.Errorf("%s: %q, %v; want %q, %q", name, text, err, tc.text, tc.err)
		}
		if f := (*Failure)(nil); err != nil && (!errors.As(err, &f) || f.Unwrap() == nil) {
			t.Errorf("%s: %T", name, err)
		}
	}
}

func TestSentence(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&Queued{For: time.Second, Err: errAway}, "The home does not answer. I will do it if it comes back within 1 second."},
		{&Queued{For: 59400 * time.Millisecond, Err: errAway}, "The home does not answer. I will do it if it comes back within 59 seconds."},
		{&Queued{For: 10 * time.Minute, Err: errAway}, "The home does not answer. I will do it if it comes back within 10 minutes."},
		{&Queued{For: 24 * time.Hour, Err: errAway}, "The home does not answer. I will do it if it comes back within 24 hours."},
		{fmt.Errorf("x: %w", ErrExpired), "The home did not answer in time. I did not do it."},
		{ErrReboot, "The home did not answer in time. I did not do it."},
		{ErrFull, "The home does not answer, and too much waits for it already. I will not do it."},
		{errors.New("404"), "That did not work."},
	} {
		if got := Sentence(tc.err); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.err, got, tc.want)
		}
	}
}

// TestManyEntities sends an action for more entities than a message has room for in parts, each of which is within the limit.
func TestManyEntities(t *testing.T) {
	a := home.Action{ID: "a-1", Intent: "HassTurnOff", Slots: map[string]any{"domain": "light"}}
	for i := range 1000 {
		a.Entities = append(a.Entities, fmt.Sprintf("light.%0100d", i))
	}
	var sent []string
	ids := map[string]bool{}
	p := Performer{Sink: sink(func(x home.Action) error {
		if _, err := newMessage(x, time.Now(), time.Minute); err != nil {
			t.Error(err)
		}
		if ids[x.ID] || x.Intent != a.Intent || x.Slots["domain"] != "light" {
			t.Errorf("%+v", x)
		}
		ids[x.ID] = true
		sent = append(sent, x.Entities...)
		return nil
	})}
	if _, err := p.Perform(t.Context(), []home.Action{a}); err != nil || !slices.Equal(sent, a.Entities) || !ids["a-1"] || !ids["a-1.2"] {
		t.Errorf("%v, %d of %d, %v", err, len(sent), len(a.Entities), ids)
	}
}
