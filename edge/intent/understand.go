package intent

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// HomeForm is what the model may write for an utterance, as Utterance gives it, in a home of our own: all intents that are Home Assistant's.
func (h *Home) HomeForm(utterance string) *Form {
	return h.form(utterance, func(intent string) bool { return strings.HasPrefix(intent, "Hass") })
}

// reading are the intents that change nothing.
var reading = set("HassGetState HassClimateGetTemperature HassGetWeather HassGetCurrentTime HassGetCurrentDate HassTimerStatus")

// Reads tells whether an intent changes nothing.
func Reads(intent string) bool { return reading[intent] }

// required are the slots that an intent is nothing without.
var required = map[string]string{
	"HassBroadcast": "message", "HassClimateSetTemperature": "temperature", "HassListAddItem": "item name", "HassListCompleteItem": "item name",
	"HassMediaSearchAndPlay": "search_query", "HassSetPosition": "position", "HassSetVolume": "volume_level", "HassShoppingListAddItem": "item",
	"HassShoppingListCompleteItem": "item",
}

// needs is what to ask for a slot that is missing.
var needs = map[string]string{
	"temperature": "To how many degrees?", "position": "To how many percent?", "volume_level": "To how many percent?", "item": "Add what?", "name": "On which list?",
}

// Understand makes a meaning of a completion of the task home, in a home of our own. utterance is what the user said; here is the speaker's area, as
// the home writes its name, "" if that is not known.
func (h *Home) Understand(utterance, completion, here string) Outcome {
	c, reply, refusal := h.read(utterance, completion)
	if refusal != nil {
		return *refusal
	}
	if !strings.HasPrefix(c.intent, "Hass") || intents[c.intent] == nil {
		return refuse("Sorry, I can't do that.", "the intent is %s, which is no intent of a home", c.intent)
	}
	c.here = here
	c.acts = func() bool { return !reading[c.intent] }
	p := &parameters{Properties: map[string]*parameter{}}
	for _, k := range intents[c.intent].slots {
		p.Properties[k] = &parameter{}
	}
	if o := c.resolve(p); o != nil {
		if c.intent == "HassClimateGetTemperature" && c.slots["area"] != nil && c.tool == nil {
			if o := h.sensed(utterance, c.slots["area"], here); !o.Refused {
				return o
			}
		}
		o.Intent, o.Slots = c.intent, c.slots
		return *o
	}
	for _, k := range strings.Fields(required[c.intent]) {
		if c.slots[k] == nil {
			text := needs[k]
			if text == "" {
				text = "Sorry, I did not understand all of that."
			}
			return lacks(text, "%s needs %s", c.intent, k)
		}
	}
	if c.intent == "HassLightSet" && c.slots["brightness"] == nil && c.slots["color"] == nil {
		return lacks("How bright, or in which color?", "HassLightSet needs brightness or color")
	}
	if o := c.place(); o != nil {
		return *o
	}
	if o := c.several(); o != nil {
		return *o
	}
	if class := c.slots["device_class"]; class != nil && c.intent == "HassGetState" && len(c.entities()) == 0 {
		return refuse("Sorry, I can't tell.", "no entity of the class %q", class)
	}
	return Outcome{Text: reply, Doubt: c.onOff() && !c.said.says(verbs), Meaning: Meaning{Intent: c.intent, Slots: c.slots, Entities: c.entities()}}
}

// sensed is a question for the temperature of an area that has no thermostat: its sensor knows it.
func (h *Home) sensed(utterance string, area any, here string) Outcome {
	b, err := json.Marshal(map[string]any{"intent": "HassGetState", "area": area, "domain": "sensor", "device_class": "temperature"})
	if err != nil {
		return refuse("", "%v", err)
	}
	return h.Understand(utterance, string(b), here)
}

// singulars are the words that mean one device of a domain, of which there may be several. What has an s behind it means all.
var singulars = map[string][]string{
	"light": strings.Fields("light lamp bulb"), "fan": {"fan"}, "switch": strings.Fields("switch outlet plug"), "lock": {"door"},
	"cover": strings.Fields("blind curtain shade shutter awning gate window door damper"), "vacuum": {"vacuum"}, "valve": {"valve"},
}

// doorClasses are the classes that one and the same door may have. The other kinds of covers are taken for each other, but not for a door.
var doorClasses = set("door garage gate garage_door")

// several asks which device is meant where one was spoken of, or one temperature, and there are more. It is also where the home has none.
func (c *call) several() *Outcome {
	if name := c.slots["name"]; c.target != nil || c.reads() || c.timer() || name != nil && name != "all" {
		return nil
	}
	all := c.entities()
	if len(all) == 0 && c.onOff() && c.home.Whole {
		if d := c.slots["domain"]; d == nil {
			return refusal("Sorry, there is nothing to turn on or off.", "no entities")
		}
	}
	if d := c.slots["domain"]; d == "scene" || d == "script" {
		o := lacks("Which one?", "%v without a name", d)
		return &o
	}
	class, _ := c.slots["device_class"].(string)
	if len(all) == 0 && class != "" {
		delete(c.slots, "device_class") // a garage's door may be of the class "garage"
		if some := c.entities(); len(some) == 1 && c.slots["area"] != nil && (some[0].Class == "" || doorClasses[class] == doorClasses[some[0].Class]) {
			c.setTarget(some[0], some[0].Names[0])
			delete(c.slots, "domain")
			return nil
		}
		return refusal("Sorry, there is no such device.", "no entity of the class %q", class)
	}
	if c.slots["area"] != nil || c.slots["floor"] != nil || c.everything() || len(all) < 2 {
		return nil
	}
	one := c.intent == "HassClimateSetTemperature"
	for _, w := range singulars[all[0].Domain] {
		one = one || c.said.says(set(w)) && !c.said.says(set(w+"s"))
	}
	if !one {
		return nil
	}
	o := c.ask(all)
	o.Intent, o.Slots = c.intent, c.slots
	return o
}

// place puts a command for a kind of devices in the room where the speaker is, if there are some.
func (c *call) place() *Outcome {
	if c.target != nil || c.slots["area"] != nil || c.slots["floor"] != nil || c.timer() || c.reads() {
		return nil
	}
	domain, _ := c.slots["domain"].(string)
	if domain == "" {
		domain = c.domain()
	}
	if domain == "" || domain == "todo" || domain == "scene" || domain == "script" || c.said.says(set("all every everywhere house home everything")) && !c.said.says(set("here")) {
		return nil
	}
	if c.here != "" {
		class, _ := c.slots["device_class"].(string)
		if slices.ContainsFunc(c.home.Entities, func(e Entity) bool { // the gate is not the curtain of the room where it was said
			return e.Domain == domain && (class == "" || e.Class == class) && spelled(e.Areas, c.here) != ""
		}) {
			c.slots["area"] = c.here
		}
		return nil
	}
	for _, here := range []string{"here", "this room", "this area", "this space"} {
		if c.said.span(words(here)) >= 0 {
			o := lacks("In which room?", "the utterance says %q, and where the speaker is is not known", here)
			o.Meaning = Meaning{Intent: c.intent, Slots: c.slots}
			return &o
		}
	}
	return nil
}

// lacks refuses what can be understood with more words.
func lacks(text, reason string, args ...any) Outcome {
	o := refuse(text, reason, args...)
	o.Lacks = true
	return o
}

// Choose is the one of some entities that an answer to "Which one?" names, by words of its name, area or kind that the others do not have; nil if it
// names none.
func Choose(answer string, among []*Entity) *Entity {
	u := newUtterance(answer)
	var chosen *Entity
	tell := func(e *Entity) []string {
		return words(strings.Join(slices.Concat(e.Names, e.Areas, []string{strings.ReplaceAll(e.Domain, "_", " ")}), " "))
	}
	for i, e := range among {
		var others []string
		for j, o := range among {
			if j != i {
				others = append(others, tell(o)...)
			}
		}
		own := less(tell(e), others)
		if !slices.ContainsFunc(own, u.hasWord) {
			continue
		}
		if chosen != nil {
			return nil
		}
		chosen = e
	}
	return chosen
}

// Chosen is what was refused because it may be for several entities, for one of them.
func (h *Home) Chosen(o Outcome, e *Entity) Outcome {
	m := Meaning{Intent: o.Intent, Slots: maps.Clone(o.Slots), Entities: []*Entity{e}}
	m.Slots["name"] = e.Names[0]
	if len(e.Areas) > 0 && slices.ContainsFunc(o.Choices, func(x *Entity) bool { return x != e && strings.EqualFold(x.Names[0], e.Names[0]) }) {
		m.Slots["area"] = e.Areas[0] // the name alone does not tell
	}
	delete(m.Slots, "device_class")
	_, ok := m.Slots["domain"]
	if ok || slices.ContainsFunc(o.Choices, func(x *Entity) bool { return x.Domain != e.Domain && strings.EqualFold(x.Names[0], e.Names[0]) }) {
		m.Slots["domain"] = e.Domain
	}
	return Outcome{Meaning: m}
}

// describe tells of the one entity that is meant what Home Assistant's sentences do.
func (c *call) describe() {
	if c.target == nil {
		return
	}
	switch {
	case c.target.Domain == "scene" || c.target.Domain == "script" || c.target.Domain == "valve" && c.onOff():
		c.slots["domain"] = c.target.Domain
	case c.intent == "HassSetPosition":
		c.slots["domain"] = c.target.Domain
	case c.intent == "HassGetState" && strings.HasSuffix(c.target.Domain, "sensor") && c.target.Class != "":
		c.slots["domain"], c.slots["device_class"] = c.target.Domain, c.target.Class
	}
	if s, ok := c.slots["state"].(string); ok {
		if s = stateOf(c.target.Domain, s); s == "" {
			delete(c.slots, "state")
		} else {
			c.slots["state"] = s
		}
	}
}

// stateOf is a state as entities of the domain tell it: what a cover calls "closed" is "off" of a binary sensor. It is "" where a state is a number.
func stateOf(domain, state string) string {
	on := state == "on" || state == "open" || state == "unlocked"
	off := state == "off" || state == "closed" || state == "locked"
	switch {
	case domain == "sensor" || domain == "climate" || domain == "weather":
		return ""
	case !on && !off:
		return state
	case domain == "cover" || domain == "valve":
		return pick(on, "open", "closed")
	case domain == "lock":
		return pick(on && state != "on", "unlocked", "locked")
	}
	return pick(on, "on", "off")
}

func pick(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// plainDomains are those that "everything" means. Nobody wants the doors unlocked who turns everything off.
var plainDomains = set("light switch fan media_player")

// entities are those that the call is for.
func (c *call) entities() []*Entity {
	if c.target != nil {
		return []*Entity{c.target}
	}
	domain, _ := c.slots["domain"].(string)
	if domain == "" {
		domain = c.domain()
	}
	if domain == "" && !(c.onOff() && (c.slots["area"] != nil || c.slots["floor"] != nil || c.everything())) {
		return nil
	}
	if domain == "media_player" && c.slots["area"] == nil && c.slots["floor"] == nil && !c.everything() {
		if all := c.home.inDomain(domain); len(all) == 1 {
			return all
		}
		return nil // whichever is playing
	}
	class, _ := c.slots["device_class"].(string)
	area, _ := c.slots["area"].(string)
	floor, _ := c.slots["floor"].(string)
	var found []*Entity
	for i := range c.home.Entities {
		e := &c.home.Entities[i]
		if (e.Domain == domain || domain == "" && plainDomains[e.Domain]) && (class == "" || e.Class == class) && (area == "" || spelled(e.Areas, area) != "") && (floor == "" || spelled(e.Floors, floor) != "") {
			found = append(found, e)
		}
	}
	return found
}
