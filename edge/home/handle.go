package home

import (
	"context"
	"maps"
	"slices"
	"strings"

	"bimamba/edge/intent"
)

// handle is Handle on a home, without IDs.
func (a *Assistant) handle(ctx context.Context, p *place, r Request) (*Answer, error) {
	text := strings.TrimSpace(r.Text)
	switch {
	case len(text) > maxText:
		return decline("Sorry, that is too long for me.", "the text is too long"), nil
	case strings.Trim(text, " .,!?") == "":
		return decline("Sorry, I did not hear anything.", "there is no text"), nil
	}
	if s := languages(p.home.Language, r.Language); s != "" {
		return decline("Sorry, I only understand English.", s), nil
	}
	here := p.area(r.Device)
	q := a.memory.take(r.Conversation, p.home)
	if q != nil {
		ans, err := a.answered(ctx, p, r, q, text)
		if ans != nil || err != nil {
			return ans, err
		}
	}
	if q == nil && (isYes(text) || isNo(text)) {
		reply := "Okay."
		if isYes(text) { // who says it may believe that something is done now
			reply = "There is nothing that waits for a yes."
		}
		return &Answer{Kind: Say, Text: reply, Meant: []Action{{Intent: "HassNevermind", Slots: map[string]any{}}}, Reason: "an answer to no question"}, nil
	}
	return a.commands(ctx, p, r, text, here)
}

func decline(text, reason string) *Answer { return &Answer{Kind: Decline, Text: text, Reason: reason} }

// languages is why a language is not understood, "" if it is.
func languages(home, request string) string {
	if s := primary(home); s != "" && s != "en" {
		return "the home's language is " + s + ", the model's English"
	}
	if s := primary(request); s != "" && s != "en" {
		return "the request's language is " + s + ", the home's English"
	}
	return ""
}

// English tells whether the home's language is English. The assistant of a home in another one declines all that is said.
func (h *Home) English() bool { return languages(h.Language, "") == "" }

func primary(tag string) string {
	s, _, _ := strings.Cut(strings.ReplaceAll(strings.ToLower(tag), "_", "-"), "-")
	return s
}

// commands understands a sentence of one command or several. Either all of them are done or none.
func (a *Assistant) commands(ctx context.Context, p *place, r Request, text, here string) (*Answer, error) {
	tries := [][]string{{text}}
	if parts := split(text); len(parts) > 1 {
		if tries = [][]string{parts, {text}}; texts().MatchString(strings.ToLower(clean(text))) {
			tries = [][]string{{text}, parts}
		}
	}
	if s := p.firstClause(text); s != "" {
		tries = append(tries, []string{s})
	}
	if parts := p.behindReason(text); parts != nil { // the reason alone may be a wish, too
		tries = slices.Insert(tries, 0, parts)
	} else if s := p.lastClause(text); s != "" {
		tries = append(tries, []string{s})
	}
	var first *Answer
	for _, parts := range tries {
		ans, err := a.all(ctx, p, r, parts, here)
		if err != nil {
			return nil, err
		}
		if ans.Kind != Decline {
			return ans, nil
		}
		if first == nil {
			first = ans
		}
	}
	return first, nil
}

// all understands some commands.
func (a *Assistant) all(ctx context.Context, p *place, r Request, parts []string, here string) (*Answer, error) {
	ans := &Answer{Kind: Act}
	doubt := false
	var last *reading
	for i, said := range parts {
		if i > 0 && len(ans.Actions) > 0 {
			said = pronouns().ReplaceAllString(said, "${1}"+about(&ans.Actions[len(ans.Actions)-1])+"${2}")
		}
		some, err := a.one(ctx, p, said, here)
		if err != nil {
			return nil, err
		}
		if i > 0 && len(some) == 1 && some[0].everywhere() {
			if where := last.place(); where != "" { // "open the blinds in the study and turn on the lights": those of the study
				if x, err := a.readAs(ctx, p, strings.TrimRight(some[0].said, ".!? ")+where, here); err != nil {
					return nil, err
				} else if !x.outcome.Refused {
					some[0] = x
				}
			}
		} else if i > 0 && last != nil && last.everywhere() && some[len(some)-1].place() != "" {
			doubt = true // "turn on the lights and close the shutter in the bedroom" may mean the lights there
		}
		last = some[len(some)-1]
		for _, x := range some {
			if len(ans.Actions) == 0 || x.score < ans.Score {
				ans.Score = x.score
			}
			if x.outcome.Refused {
				return a.refused(p, r, x, ans, here, doubt, i == len(parts)-1, len(parts) == 1), nil
			}
			doubt = doubt || x.ask || x.outcome.Doubt
			switch a.limits.sure(x) {
			case unsure:
				return &Answer{Kind: Decline, Text: "Sorry, I did not understand that.", Reason: "the score of " + x.text + " is too low", Score: ans.Score}, nil
			case doubtful:
				doubt = doubt || !intent.Reads(x.outcome.Intent)
			}
			if command, ok := x.outcome.Slots["conversation_command"].(string); ok && command != "" {
				no, why, err := a.later(ctx, p, r, command)
				if no != nil || err != nil {
					return no, err
				}
				if why != "" {
					ans.Reason, doubt = why, true
				}
			}
			ans.Actions = append(ans.Actions, x.actions()...)
		}
	}
	return a.settle(p, r, ans, doubt), nil
}

// place is the area or floor that a command names, as "in the Kitchen"; "" if it names none.
func (x *reading) place() string {
	if x.outcome.Refused {
		return ""
	}
	if s, ok := x.outcome.Slots["area"].(string); ok {
		return " in the " + s
	}
	if s, ok := x.outcome.Slots["floor"].(string); ok {
		return " on the " + s
	}
	return ""
}

// everywhere tells whether a command is for all devices of a kind in the house, without saying so.
func (x *reading) everywhere() bool {
	return !x.outcome.Refused && x.place() == "" && len(x.outcome.Entities) > 1 && !whole().MatchString(x.said)
}

var whole = lazy(`(?i)\b(?:all|every|everything|everywhere|both|house|home)\b`)

// later understands the command of a timer when that is set, as nobody may be there to be asked when it is over. no is why the timer is not set; why
// is why the command wants a yes, "" if it wants none.
func (a *Assistant) later(ctx context.Context, p *place, r Request, command string) (no *Answer, why string, err error) {
	ans, err := a.commands(ctx, p, Request{Device: r.Device}, command, p.area(r.Device))
	switch {
	case err != nil:
		return nil, "", err
	case slices.ContainsFunc(append(ans.Actions, ans.Meant...), func(x Action) bool { return x.Slots["conversation_command"] != nil }):
		return decline("Sorry, I can put that off once only.", "a timer's command sets a timer with a command"), "", nil
	case ans.Kind == Say:
		return decline("Sorry, I did not understand that.", "at a timer's end there is nothing to do"), "", nil
	case ans.Kind == Ask && ans.confirms:
		return nil, ans.Reason, nil
	case ans.Kind == Ask:
		return decline("Sorry, I would have to ask about that then. Please say it in full.", "at a timer's end: "+ans.Reason), "", nil
	case ans.Kind == Decline:
		return decline(ans.Text, "at a timer's end: "+ans.Reason), "", nil
	}
	return nil, "", nil
}

// one understands one command, which may be for several things: "turn on the lamp and the fan". Then there is a reading for each, and none is refused.
func (a *Assistant) one(ctx context.Context, p *place, said, here string) ([]*reading, error) {
	said = clean(said)
	first, err := a.first(ctx, p, said, here)
	if err != nil || first.taken() {
		return []*reading{first}, err
	}
	for _, parts := range [][]string{inBoth(said, p.isArea), both(said)} {
		if some, err := a.each(ctx, p, parts, here); err != nil || some != nil {
			return some, err
		}
	}
	x, err := a.again(ctx, p, said, here)
	if x == nil {
		x = first
	}
	return []*reading{x}, err
}

// each understands each of some commands. It is nil where one is refused.
func (a *Assistant) each(ctx context.Context, p *place, parts []string, here string) (some []*reading, err error) {
	for _, part := range parts {
		part = clean(part)
		x, err := a.first(ctx, p, part, here)
		if err == nil && !x.taken() {
			x, err = a.again(ctx, p, part, here)
		}
		if err != nil || x == nil || x.outcome.Refused {
			return nil, err
		}
		some = append(some, x)
	}
	return some, nil
}

// refused is the answer to a command that is not done: a question, if its answer would make it one that is. before are the actions of the commands
// in front of it.
func (a *Assistant) refused(p *place, r Request, x *reading, before *Answer, here string, doubt, last, alone bool) *Answer {
	ans := &Answer{Kind: Decline, Text: x.outcome.Text, Reason: x.outcome.Reason, Score: before.Score}
	switch {
	case len(x.outcome.Choices) > 0 && last:
		ans.Kind = Ask
		if alone {
			ans.Meant = x.actions()
		}
		a.memory.ask(r.Conversation, &question{home: p.home, which: x, before: before.Actions, here: here, doubt: doubt})
	case x.outcome.Lacks && alone:
		ans.Kind = Ask
		if x.outcome.Slots != nil {
			ans.Meant = x.actions()
		}
		a.memory.ask(r.Conversation, &question{home: p.home, more: x.said, here: here})
	case len(x.outcome.Choices) > 0 || x.outcome.Lacks: // its answer would not be one to the whole
		ans.Text = "Sorry, I did not understand all of that. Please say one thing at a time."
	}
	return ans
}

// settle makes an answer of actions: they are done, or first asked about.
func (a *Assistant) settle(p *place, r Request, ans *Answer, doubt bool) *Answer {
	if len(ans.Actions) == 1 && (ans.Actions[0].Intent == "HassNevermind" || ans.Actions[0].Intent == "HassRespond") {
		ans.Kind, ans.Meant, ans.Actions = Say, ans.Actions, nil
		if ans.Text == "" {
			ans.Text = "Okay."
		}
		return ans
	}
	for i := range ans.Actions {
		if p.guarded(&ans.Actions[i]) {
			ans.Reason, doubt = "it lets somebody in", true
		}
	}
	if !doubt || r.Confirmed {
		ans.Text = p.done(ans.Actions)
		return ans
	}
	if ans.Reason == "" {
		ans.Reason = "the score is low"
	}
	a.memory.ask(r.Conversation, &question{home: p.home, yes: ans.Actions})
	ans.Kind, ans.Text, ans.Meant, ans.Actions, ans.confirms = Ask, p.question(ans.Actions), ans.Actions, nil, true
	return ans
}

// answered takes an answer to a question, nil if the text is none: then it is a command.
func (a *Assistant) answered(ctx context.Context, p *place, r Request, q *question, text string) (*Answer, error) {
	switch {
	case isNo(text):
		return &Answer{Kind: Say, Text: "Okay, I won't.", Reason: "no"}, nil
	case q.yes != nil:
		if isYes(text) {
			return &Answer{Kind: Act, Actions: q.yes, Text: p.done(q.yes), Reason: "yes"}, nil
		}
	case q.which != nil:
		if e := intent.Choose(text, q.which.outcome.Choices); e != nil {
			x := *q.which
			x.outcome = p.names.Chosen(x.outcome, e)
			return a.settle(p, r, &Answer{Kind: Act, Actions: append(q.before, x.actions()...), Score: x.score}, q.doubt), nil
		}
	case q.more != "" && len(strings.Fields(text)) <= 6 && !starts().MatchString(strings.ToLower(text)):
		ans, err := a.commands(ctx, p, r, q.more+" "+text, q.here)
		if err != nil || ans.Kind != Decline {
			return ans, err
		}
	}
	return nil, nil
}

var (
	yes = set("yes", "yeah", "yep", "yes please", "sure", "ok", "okay", "do it", "confirm", "confirmed", "go ahead", "of course", "please do", "correct", "right", "yes do it", "yes go ahead")
	no  = set("no", "nope", "no thanks", "no thank you", "cancel", "don't", "do not", "stop", "nevermind", "never mind", "forget it", "no don't", "cancel that")
)

func set(list ...string) map[string]bool {
	m := map[string]bool{}
	for _, s := range list {
		m[s] = true
	}
	return m
}

func isYes(text string) bool { return yes[plain(text)] }
func isNo(text string) bool  { return no[plain(text)] }

// plain is a text in lower case without punctuation.
func plain(text string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(strings.ReplaceAll(text, "’", "'")), func(r rune) bool { return strings.ContainsRune(" .,!?;", r) }), " ")
}

// isArea tells whether a text is the name of an area or a floor.
func (p *place) isArea(s string) bool {
	if p.area(s) != "" {
		return true
	}
	for _, f := range p.names.Floors {
		if strings.EqualFold(f, s) {
			return true
		}
	}
	return false
}

// actions are what a command does: one, but for "everything", which is one for each kind of devices.
func (x *reading) actions() []Action {
	o := &x.outcome
	if o.Slots["domain"] == nil && o.Slots["name"] == nil && (o.Intent == "HassTurnOn" || o.Intent == "HassTurnOff") && len(o.Entities) > 0 {
		var all []Action
		for _, e := range o.Entities {
			i := slices.IndexFunc(all, func(a Action) bool { return a.Slots["domain"] == e.Domain })
			if i < 0 {
				i = len(all)
				slots := maps.Clone(o.Slots)
				slots["domain"] = e.Domain
				all = append(all, Action{Intent: o.Intent, Slots: slots})
			}
			all[i].Entities = append(all[i].Entities, e.ID)
		}
		return all
	}
	act := Action{Intent: o.Intent, Slots: o.Slots}
	for _, e := range o.Entities {
		act.Entities = append(act.Entities, e.ID)
	}
	return []Action{act}
}

// pronouns are what a later command calls the thing of the one before.
var pronouns = lazy(`(?i)^(.*\b)(?:it|them|that|those)(\b.*)$`)

// behindReason is the commands behind a sentence that begins by telling why: "the floor is dirty, start the vacuum". It is nil where it does not.
func (p *place) behindReason(text string) []string {
	before, rest := "", text
	for {
		i := strings.IndexAny(rest, ",;")
		if i < 0 || !tells().MatchString(strings.ToLower(clean(rest[:i]))) {
			break
		}
		before += " " + rest[:i]
		rest = strings.TrimSpace(rest[i+1:])
	}
	if before == "" || len(strings.Fields(rest)) < 2 {
		return nil
	}
	parts := split(rest)
	first, ok := p.refer(before, parts[0])
	if !ok {
		return nil
	}
	parts[0] = first
	return parts
}

// lastClause is what stands behind the last comma, if what is before does no more than tell why. It is "" if there is none.
func (p *place) lastClause(text string) string {
	i := strings.LastIndexAny(text, ",;")
	if i < 0 || len(strings.Fields(text[i+1:])) < 2 {
		return ""
	}
	s, ok := p.refer(text[:i], strings.TrimSpace(text[i+1:]))
	if !ok {
		return ""
	}
	return s
}

// refer is a command behind a reason, with what it refers to: a pronoun means what the reason names, and a kind of devices is for the place that the reason
// names. ok is false where what is in front does more than tell why.
func (p *place) refer(before, command string) (s string, ok bool) {
	before = strings.ToLower(strings.TrimSpace(before))
	if starts().MatchString(before) || noReason().MatchString(before) {
		return "", false
	}
	if pronouns().MatchString(command) {
		name := p.names.Mentioned(before)
		return pronouns().ReplaceAllString(command, "${1}the "+name+"${2}"), name != ""
	}
	// "The study is empty, lights off" is about the study.
	if where := p.names.Place(before); where != "" && p.names.Mentioned(command) == "" && p.names.Place(command) == "" {
		return there().ReplaceAllString(command, "") + " in the " + where, true
	}
	return command, true
}

// tells are sentences that begin by telling why.
var tells = lazy(`^(?:i|i'm|i've|i am|we|we're|we've|somebody|someone|nobody|no one|there's|there is|there are|it's|it is|that's)\b|` +
	`^(?:the|my|our|this|that) [^,;]*\b(?:is|are|has|have|had|gets|needs|feels|looks|smells|keeps|won't|doesn't|isn't|aren't)\b`)

// there is the place that the reason names.
var there = lazy(`(?i) (?:in |over )?there[.!?]*$|[.!?]+$`)

// firstClause is what stands before the first comma, if what is behind it only tells why: "lights off, I'm going to sleep". It is "" if there is none.
func (p *place) firstClause(text string) string {
	m := because().FindStringSubmatch(text)
	if m == nil || len(split(m[2])) > 1 || strings.ContainsAny(m[2], ",;") || noReason().MatchString(strings.ToLower(m[2])) || p.names.Mentioned(m[2]) != "" || p.names.Place(m[2]) != "" {
		return ""
	}
	return m[1]
}

var because = lazy(`(?i)^([^,;]+?)(?:[,;] (?:because |since |as )?((?:i'm|i am|we're|we are|i|we|it's|it is|nobody|no one|there's|there is) .+)| (?:because|since) .+)$`)

// noReason are words by which a clause does more than tell why.
var noReason = lazy(`\b(?:if|when|unless|until|don't|dont|not|never|before|after|once|while|or|tomorrow|tonight|later)\b`)
