package action

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"bimamba/edge/home"
	"bimamba/edge/intent"
)

// Local does actions that need no device. *builtin.Builtin is one.
type Local interface {
	// Do returns what to say. handled is false, and nothing has happened, if the action is not for it. With an error nothing has happened either, and the reply says why.
	Do(context.Context, home.Action) (reply string, handled bool, err error)
}

// Performer does the actions of one answer.
type Performer struct {
	Local Local        // asked first; nil: there is none
	Sink  Sink         // gets the others; nil: there is none
	Log   *slog.Logger // nil: nothing is logged
}

// Failure is an error with a sentence for who asked.
type Failure struct {
	Text string
	Err  error
}

func (e *Failure) Error() string { return e.Text }
func (e *Failure) Unwrap() error { return e.Err }

// Perform does all actions, also after one that failed. The text is what to say; "" if there is no more to say than that it was done. An error is a *Failure, and says all that there is to say.
func (p *Performer) Perform(ctx context.Context, actions []home.Action) (text string, err error) {
	var said []string
	var errs []error
	local := false
	for _, a := range actions {
		reply, isLocal, err := p.do(ctx, a)
		local = local || isLocal
		if err != nil {
			errs = append(errs, err)
			if p.Log != nil {
				p.Log.Warn("an action was not done", "id", a.ID, "intent", a.Intent, "error", err.Error())
			}
		}
		if n := len(said); reply != "" && (n == 0 || said[n-1] != reply) {
			said = append(said, reply)
		}
	}
	text = strings.Join(said, " ")
	if len(errs) > 0 {
		return "", &Failure{text, errors.Join(errs...)}
	}
	if !local {
		return "", nil
	}
	return text, nil
}

func (p *Performer) do(ctx context.Context, a home.Action) (reply string, local bool, err error) {
	if p.Local != nil {
		if reply, handled, err := p.Local.Do(ctx, a); handled {
			return reply, true, err
		}
	}
	if intent.Reads(a.Intent) { // a target takes orders and does not answer: "Done." would be no answer, either
		return "I can't see from here how things are.", false, errors.New("it is a question, and no target of actions answers one")
	}
	if p.Sink == nil {
		return "There is nothing here that could do that.", false, errors.New("no target of actions is configured")
	}
	for _, part := range parts(a) {
		if err := p.Sink.Do(ctx, part); err != nil {
			return Sentence(err), false, err
		}
	}
	return "Done.", false, nil
}

// maxIDs is how many bytes of entities' IDs an action may have, so that its message has room for the rest.
const maxIDs = maxMessage / 2

// parts is an action for very many entities as several for some of them each, with IDs of their own.
func parts(a home.Action) (all []home.Action) {
	size, begin := 0, 0
	cut := func(end int) {
		part := a
		part.Entities = a.Entities[begin:end]
		if begin > 0 {
			part.ID = fmt.Sprintf("%s.%d", a.ID, len(all)+1)
		}
		all = append(all, part)
		size, begin = 0, end
	}
	for i, id := range a.Entities {
		n := len(id) + len(`"",`)
		if size+n > maxIDs && i > begin {
			cut(i)
		}
		size += n
	}
	cut(len(a.Entities))
	return all
}

// Sentence is what to say to who asked for an action that was not done.
func Sentence(err error) string {
	var queued *Queued
	switch {
	case errors.As(err, &queued):
		return fmt.Sprintf("The home does not answer. I will do it if it comes back within %s.", span(queued.For))
	case errors.Is(err, ErrExpired), errors.Is(err, ErrReboot):
		return "The home did not answer in time. I did not do it."
	case errors.Is(err, ErrFull):
		return "The home does not answer, and too much waits for it already. I will not do it."
	}
	return "That did not work."
}

// span is a time in words: seconds up to two minutes, then minutes, then hours.
func span(d time.Duration) string {
	n, unit := int(d.Round(time.Second)/time.Second), "second"
	switch {
	case d >= 2*time.Hour:
		n, unit = int(d.Round(time.Hour)/time.Hour), "hour"
	case d > 2*time.Minute:
		n, unit = int(d.Round(time.Minute)/time.Minute), "minute"
	}
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}
