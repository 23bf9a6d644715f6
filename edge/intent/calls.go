package intent

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Call is a call of a tool.
type Call struct {
	Name      string
	Arguments json.RawMessage // an object
}

// Outcome is what a completion comes to: calls, or a text alone.
type Outcome struct {
	Calls   []Call // of Home.Calls
	Meaning        // of Home.Understand
	Text    string // for the user. With calls it is what to say when they have succeeded; it may be empty
	Refused bool   // nothing is done, and Text says so
	Doubt   bool   // it may not have been a command
	Lacks   bool   // Refused, and Text asks for what would make it complete
	Reason  string // of the refusal, for the log
}

// Meaning is an intent of the home's, with its slots, which are strings and numbers (float64).
type Meaning struct {
	Intent   string
	Slots    map[string]any
	Entities []*Entity // that it is for; none where it is for none
	Choices  []*Entity // Refused, because it may be for any of these
}

// maxUtterance is how many bytes of a message are read: no command to a house is longer.
const maxUtterance = 1000

// Utterance is a user's message as the task's prompt takes it: one line, in which no control token can be spelled. For home and topics it is in lower
// case without a full stop, as their training data are: "Turn on the lamp." is otherwise understood much less often.
func Utterance(task, message string) string {
	message = strings.Join(strings.Fields(strings.ToValidUTF8(message, "")), " ")
	for strings.Contains(message, "<|") {
		message = strings.ReplaceAll(message, "<|", "<")
	}
	if task == "home" || task == "topics" {
		message = strings.TrimRight(strings.ToLower(message), ".!?")
	}
	return message
}

// Intents that act on nothing: the model's reply is the answer.
var replies = set("HassNevermind HassRespond")

// instead are tools that answer an intent which Home Assistant does not offer as one (AssistAPI.IGNORE_INTENTS in homeassistant/helpers/llm.py).
// They read and change nothing.
var instead = map[string]string{
	"HassGetState":              "GetLiveContext",
	"HassClimateGetTemperature": "GetLiveContext",
	"HassGetWeather":            "GetLiveContext",
	"HassGetCurrentTime":        "GetDateTime",
	"HassGetCurrentDate":        "GetDateTime",
}

// Calls makes calls of a completion of the task home. utterance is what the user said, as the client sent it, so that free texts keep their case;
// tools are those that the grammar was made of. A completion that was decoded without it is refused wherever the grammar would not have let it be.
// Without tools the completion is the text.
func (h *Home) Calls(utterance, completion string, tools []Tool) Outcome {
	if len(tools) == 0 {
		return Outcome{Text: completion}
	}
	c, reply, refusal := h.read(utterance, completion)
	if refusal != nil {
		return *refusal
	}
	name := c.intent
	c.acts = func() bool { return acts(c.tool.Name) }
	if c.tool = find(tools, name); c.tool == nil {
		if replies[name] && reply != "" {
			return Outcome{Text: reply}
		}
		c.tool = c.substitute(tools)
	}
	if c.tool == nil {
		return refuse("Sorry, I can't do that here.", "the intent is %s, which the client has no tool for", name)
	}
	arguments, refusal := c.arguments()
	if refusal != nil {
		return *refusal
	}
	b, err := json.Marshal(arguments)
	if err != nil {
		return refuse("Sorry, I did not understand that.", "arguments of %s: %v", name, err)
	}
	return Outcome{Calls: []Call{{c.tool.Name, b}}, Text: reply}
}

// read is the call that a completion has, and the reply behind it.
func (h *Home) read(utterance, completion string) (*call, string, *Outcome) {
	if len(utterance) > maxUtterance || len(completion) > 8*maxUtterance {
		return nil, "", refusal("Sorry, that is too long for me.", "an utterance of %d bytes, a completion of %d", len(utterance), len(completion))
	}
	line, reply, _ := strings.Cut(completion, "\n")
	reply = strings.TrimSpace(reply)
	slots := map[string]any{}
	if err := json.Unmarshal([]byte(line), &slots); err != nil {
		return nil, "", refusal("Sorry, I did not understand that.", "the completion's first line is no JSON object: %v", err)
	}
	name, ok := slots["intent"].(string)
	if !ok {
		return nil, "", refusal("Sorry, I did not understand that.", "the completion has no intent")
	}
	delete(slots, "intent")
	c := &call{home: h, intent: name, slots: map[string]any{}, said: newUtterance(utterance)}
	c.said.fix(h.index())
	for k, v := range slots {
		if list, ok := v.([]any); ok && len(list) > 0 {
			v = list[0] // the model writes a slot twice when it doubts where its value ends
		}
		switch v := v.(type) {
		case string:
			if v = strings.TrimSpace(v); v != "" {
				c.slots[k] = v
			}
		case float64:
			c.slots[k] = v
		}
	}
	c.class, _ = c.slots["device_class"].(string)
	return c, reply, nil
}

func refuse(text, reason string, args ...any) Outcome {
	return Outcome{Text: text, Refused: true, Reason: fmt.Sprintf(reason, args...)}
}

func refusal(text, reason string, args ...any) *Outcome {
	o := refuse(text, reason, args...)
	return &o
}

func find(tools []Tool, intent string) *Tool {
	for i := range tools {
		if tools[i].intent() == intent {
			return &tools[i]
		}
	}
	return nil
}

// call is a call in the making.
type call struct {
	home   *Home
	said   *utterance
	intent string
	slots  map[string]any // strings and numbers
	tool   *Tool          // nil in a home of our own
	acts   func() bool    // whether the call may change something
	target *Entity        // that is named
	class  string         // the device class that the model wrote
	here   string         // the speaker's area, "" if that is not known
}

// substitute is another tool that does the same.
func (c *call) substitute(tools []Tool) *Tool {
	if item, ok := strings.CutPrefix(c.intent, "HassShoppingList"); ok { // a to-do list like any other, where there is no integration of that name
		c.intent = "HassList" + item
		for _, e := range c.home.inDomain("todo") {
			if m := c.said.longest([]match{{e, e.Names[0], words(e.Names[0])}}, e.Names[0], ""); len(m) > 0 || slices.Contains(words(e.Names[0]), "shopping") && c.target == nil {
				c.setTarget(e, e.Names[0])
			}
		}
		if c.target == nil {
			return nil
		}
		return find(tools, c.intent)
	}
	t := find(tools, instead[c.intent])
	if t == nil || t.intent() != "GetLiveContext" {
		return t
	}
	p := t.parameters().Properties
	if p["name"] == nil || p["domain"] == nil || p["area"] == nil {
		return nil // before Home Assistant 2026 it gives the state of the whole home, which is no answer
	}
	switch c.intent {
	case "HassClimateGetTemperature":
		c.slots["domain"] = "climate"
	case "HassGetWeather":
		c.slots["domain"] = "weather"
	}
	for k := range c.slots {
		if p[k] == nil && k != "floor" {
			delete(c.slots, k) // state and device_class: the answer tells the state
		}
	}
	return t
}

// reads tells whether the call changes nothing.
func (c *call) reads() bool { return !c.acts() }

// onOff tells whether the intent does something to whatever it is given, so that it must be given something.
func (c *call) onOff() bool { return c.intent == "HassTurnOn" || c.intent == "HassTurnOff" }

// timer tells whether the intent is about a timer, whose name is not one of the home's.
func (c *call) timer() bool { return strings.Contains(c.intent, "Timer") }

// free are the slots that hold what the user said, word for word.
var free = set("item message search_query conversation_command")

// arguments are the tool's.
func (c *call) arguments() (map[string]any, *Outcome) {
	p := c.tool.parameters()
	if o := c.resolve(p); o != nil {
		return nil, o
	}
	arguments := map[string]any{}
	for _, k := range slices.Sorted(maps.Keys(c.slots)) {
		param, ok := p.Properties[k]
		if !ok {
			if k == "domain" || k == "device_class" {
				continue // it narrows nothing that the tool does not narrow itself
			}
			return nil, refusal("Sorry, I can't do that.", "%s takes no %s", c.tool.Name, k)
		}
		v, ok := param.value(c.slots[k], 0)
		if !ok {
			return nil, refusal("Sorry, I can't do that.", "%s: %s = %v is not what the tool takes", c.tool.Name, k, c.slots[k])
		}
		arguments[k] = v
	}
	for _, k := range p.Required {
		if arguments[k] == nil {
			return nil, refusal("Sorry, I did not understand all of that.", "%s needs %s", c.tool.Name, k)
		}
	}
	return arguments, nil
}

// whichList takes a list that was named for the shopping list, which the model knows best.
func (c *call) whichList(*parameters) *Outcome {
	item, ok := strings.CutPrefix(c.intent, "HassShoppingList")
	if !ok || c.tool != nil {
		return nil
	}
	for _, e := range c.home.index().near(c.said).entries {
		if e.entity.Domain == "todo" && c.said.span(e.words) >= 0 && !slices.Contains(e.words, "shopping") {
			c.intent = "HassList" + item
			c.setTarget(e.entity, e.spelling)
		}
	}
	return nil
}

// resolve makes the slots those of this home.
func (c *call) resolve(p *parameters) *Outcome {
	for _, step := range []func(*parameters) *Outcome{c.whichList, c.quote, c.resolveFloor, c.resolveName, c.resolveArea, c.resolveDomain, c.checkColor, c.checkNumbers, c.checkAllNumbers, c.checkWay, c.checkRest, c.checkKind} {
		if o := step(p); o != nil {
			return o
		}
	}
	if c.intent == "HassStartTimer" && c.slots["hours"] == nil && c.slots["minutes"] == nil && c.slots["seconds"] == nil {
		o := lacks("For how long?", "a timer without a length")
		return &o
	}
	c.describe()
	return nil
}
