package wyoming

import (
	"context"
	"errors"
	"strings"

	"bimamba/edge/home"
	"bimamba/edge/intent"
)

// answer is the events that an answer is sent as; the last one ends it.
//
// What Home Assistant makes of them decides: `intent` it does; `handled` is success, and its text is said; `not-recognized` and `not-handled` are errors, and
// their text is said. A question is no error, and there is no event for one: it goes as `handled`, which is said and listened to in the same way whether actions
// are done here or there, while an error would sound like one and stand in the log. Only `recognize` has no `handled` by the protocol, so there a question is
// `not-recognized`, with its text.
func (s *Server) answer(r *request, a *home.Answer, done string) ([]*Event, Outcome, error) {
	ctx := session{Conversation: r.conversation}
	say := func(kind, text string, o Outcome) ([]*Event, Outcome, error) {
		if kind == TypeHandled && r.recognize {
			kind = TypeNotRecognized
		}
		e, err := NewEvent(kind, spoken{text, ctx})
		return []*Event{e}, o, err
	}
	refused, does := TypeNotRecognized, s.opt.Performer != nil && !r.recognize
	if does {
		refused = TypeNotHandled
	}
	switch {
	case a.Kind == home.Act && len(a.Actions) > 0 && does:
		if done == "" {
			done = a.Text
		}
		return say(TypeHandled, done, Acted)
	case a.Kind == home.Act && len(a.Actions) > 0:
		events, err := intents(a, ctx)
		return events, Acted, err
	case a.Kind == home.Act, a.Kind == home.Say:
		return say(TypeHandled, a.Text, Said)
	case a.Kind == home.Ask:
		return say(TypeHandled, a.Text, Asked)
	default:
		return say(refused, a.Text, Declined)
	}
}

// intents is the events of actions: one alone, several between a start and a stop. Home Assistant before 2026.6 does the first of several.
func intents(a *home.Answer, ctx session) ([]*Event, error) {
	var list []*Event
	add := func(kind string, data any) error {
		e, err := NewEvent(kind, data)
		list = append(list, e)
		return err
	}
	of := struct {
		Context session `json:"context,omitzero"`
	}{ctx}
	var errs []error
	if len(a.Actions) > 1 {
		errs = append(errs, add(typeIntentsStart, of))
	}
	text := plain(a.Text)
	for _, action := range a.Actions {
		say := text
		if intent.Reads(action.Intent) {
			say = told[action.Intent] // "Done." is no answer
		} else {
			text = "" // Home Assistant says all texts
		}
		errs = append(errs, add(TypeIntent, Intent{action.Intent, entities(action.Slots), say, ctx}))
	}
	if len(a.Actions) > 1 {
		errs = append(errs, add(typeIntentsStop, of))
	}
	return list, errors.Join(errs...)
}

// told are templates by which Home Assistant answers questions, in which state is that of the entity asked for.
var told = map[string]string{
	"HassGetState":              "It is {{ state.state_with_unit }}.",
	"HassClimateGetTemperature": "It is {{ state.attributes.current_temperature }} degrees.",
	"HassGetWeather":            "It is {{ state.state }}.",
	"HassGetCurrentTime":        "It is {{ now().strftime('%-I:%M %p') }}.",
	"HassGetCurrentDate":        "Today is {{ now().strftime('%A, %B %-d, %Y') }}.",
}

// plain is a text without what makes it a template to Home Assistant, which renders the text of an intent: what somebody said can be in it, and would be run.
func plain(text string) string {
	return strings.NewReplacer("{{", "{ {", "{%", "{ %", "{#", "{ #").Replace(text)
}

// failed is the event that an error is sent as. Why a context ended says more than that it did.
func (s *Server) failed(ctx context.Context, r *request, err error) (*Event, Outcome, error) {
	if e, ok := errors.AsType[*performError](err); ok && ctx.Err() == nil {
		event, err := NewEvent(TypeNotHandled, spoken{e.Error(), session{Conversation: r.conversation}})
		return event, Failed, err
	}
	out, ok := errors.AsType[*Error](err)
	if !ok && ctx.Err() != nil {
		out, ok = errors.AsType[*Error](context.Cause(ctx))
	}
	if !ok {
		s.opt.Log.Error("wyoming: a request failed", "error", err.Error())
		out = errInternal
	}
	e, err := NewEvent(typeError, out)
	return e, Errors, err
}
