package intent

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// quote writes free texts and timers' names as the user did: the model has seen lower case only, and it drops a letter now and then.
func (c *call) quote(*parameters) *Outcome {
	for k, v := range c.slots {
		s, ok := v.(string)
		if !ok || !free[k] && !(k == "name" && c.timer()) {
			continue
		}
		q := c.said.quote(s)
		if q == "" {
			return refusal("Sorry, I did not understand all of that.", "%s = %q is not in the utterance", k, s)
		}
		c.slots[k] = q
		if free[k] {
			c.said.use(words(q))
		}
	}
	return nil
}

// resolveName finds the entity that is meant. What the utterance says in full goes before what the model wrote.
func (c *call) resolveName(p *parameters) *Outcome {
	name, _ := c.slots["name"].(string)
	if p.Properties["name"] == nil || c.timer() || !c.home.known() || c.target != nil {
		return nil
	}
	domain, _ := c.slots["domain"].(string)
	single := name
	if name == "all" { // Home Assistant takes this name for any
		single = ""
	}
	if best := c.said.longest(c.candidates(p), single, domain); best.entity != nil {
		c.setTarget(best.entity, best.name)
		return nil
	}
	if name == "" || name == "all" && c.onOff() {
		return nil
	}
	e, spelling := c.home.named(name)
	if e == nil {
		return refusal(fmt.Sprintf("Sorry, I don't know of %q.", name), "no entity is named %q", name)
	}
	// "the lamp" may be the Bedroom Lamp if no other lamp is in the home.
	if !c.supports(e, spelling) {
		return refusal("Sorry, I don't know that device.", "the utterance does not name %q", spelling)
	}
	for _, o := range c.candidates(p) {
		if i := slices.IndexFunc(o.Names, func(n string) bool { return c.supports(o, n) }); i >= 0 && o.Names[0] != e.Names[0] {
			return refusal(fmt.Sprintf("Which one, %s or %s?", e.Names[0], o.Names[0]), "the utterance may mean %q or %q", e.Names[0], o.Names[0])
		}
	}
	c.setTarget(e, spelling)
	return nil
}

// supports tells whether the utterance has all words of a name, those aside that the name of the entity's area has, too.
func (c *call) supports(e *Entity, name string) bool {
	own := words(name)
	for _, a := range e.Areas {
		for _, w := range words(a) {
			if rest := slices.DeleteFunc(slices.Clone(own), func(x string) bool { return x == w }); len(rest) > 0 {
				own = rest
			}
		}
	}
	return c.said.has(own)
}

func (c *call) everything() bool {
	return slices.ContainsFunc(c.said.words, func(w string) bool { return set("all every everything each any")[w] })
}

// setTarget makes the call one for e.
func (c *call) setTarget(e *Entity, name string) {
	_, named := c.slots["name"]
	c.target = e
	c.slots["name"] = name
	own := words(name)
	if _, ok := c.slots["domain"]; ok && named && e.Domain != "" {
		c.slots["domain"] = e.Domain
	} else {
		delete(c.slots, "domain")
	}
	delete(c.slots, "device_class")
	if a, ok := c.slots["area"].(string); ok && c.said.within(words(a), own) {
		delete(c.slots, "area") // it was said as a part of the name
	}
	c.said.use(own)
}

// candidates are the entities that the tool can be meant for.
func (c *call) candidates(p *parameters) []*Entity {
	var found []*Entity
	for i := range c.home.Entities {
		e := &c.home.Entities[i]
		if d := p.Properties["domain"]; d != nil && e.Domain != "" {
			if _, ok := d.value(e.Domain, 0); !ok {
				continue
			}
		}
		if d := domains[c.intent]; d != "" && e.Domain != "" && d != e.Domain {
			continue
		}
		found = append(found, e)
	}
	return found
}

// domains of the intents that are for one only.
var domains = map[string]string{
	"HassLightSet": "light", "HassClimateSetTemperature": "climate", "HassSetVolume": "media_player", "HassMediaNext": "media_player",
	"HassMediaPrevious": "media_player", "HassMediaPause": "media_player", "HassMediaUnpause": "media_player", "HassMediaSearchAndPlay": "media_player",
	"HassVacuumStart": "vacuum", "HassVacuumReturnToBase": "vacuum", "HassListAddItem": "todo", "HassListCompleteItem": "todo",
}

func (h *Home) inDomain(domain string) []*Entity {
	var found []*Entity
	for i := range h.Entities {
		if h.Entities[i].Domain == domain {
			found = append(found, &h.Entities[i])
		}
	}
	return found
}

// floors need no word "floor" behind them.
var floors = set("upstairs downstairs basement attic")

// resolveFloor: the model leaves the word out that most floors' names end with.
func (c *call) resolveFloor(*parameters) *Outcome {
	floor, ok := c.slots["floor"].(string)
	if !ok {
		return nil
	}
	w := words(floor)
	if !c.said.has(w) {
		return refusal("Sorry, I don't know which floor you mean.", "the utterance does not name the floor %q", floor)
	}
	if s := spelled(c.home.Floors, floor); s != "" {
		floor = s
	} else if !floors[strings.ToLower(floor)] { // "second" may be the second of anything
		if c.said.span(append(slices.Clone(w), "floor")) < 0 && w[len(w)-1] != "floor" {
			return refusal("Sorry, I don't know which floor you mean.", "the utterance does not call %q a floor", floor)
		}
		floor = strings.TrimSuffix(floor, " floor") + " floor"
		if s := spelled(c.home.Floors, floor); s != "" {
			floor = s
		}
	}
	c.said.use(words(floor))
	c.slots["floor"] = floor
	return nil
}

// inText tells whether the words were said only within a free text.
func (c *call) inText(w []string) bool {
	for k := range free {
		if text, ok := c.slots[k].(string); ok && c.said.within(w, words(text)) {
			return true
		}
	}
	return false
}

func (c *call) resolveArea(*parameters) *Outcome {
	area, ok := c.slots["area"].(string)
	if !ok {
		return nil
	}
	w := words(area)
	if c.inText(w) { // "play The Office"
		delete(c.slots, "area")
		return nil
	}
	if !c.said.has(w) {
		return refusal("Sorry, I don't know which area you mean.", "the utterance does not name the area %q", area)
	}
	if len(c.home.Areas) > 0 {
		s := spelled(c.home.Areas, area)
		if s == "" {
			return refusal(fmt.Sprintf("Sorry, I don't know of an area %q.", area), "no area is named %q", area)
		}
		c.slots["area"] = s
	}
	c.said.use(w)
	return nil
}

// resolveDomain sees to it that a call for no single device is for a kind of devices that is there.
func (c *call) resolveDomain(p *parameters) *Outcome {
	if name := c.slots["name"]; name != nil && name != "all" || p.Properties["domain"] == nil && domains[c.intent] == "" || c.timer() {
		return nil
	}
	domain, _ := c.slots["domain"].(string)
	if domain == "" && c.onOff() {
		for _, d := range []string{"light", "fan"} {
			if slices.ContainsFunc(c.said.words, func(w string) bool { return domainWords[d][w] }) {
				domain = d
			}
		}
		if slices.Contains(c.said.words, "light") && slices.Contains(c.said.words, "fan") || domain == "" && !(c.slots["area"] != nil && c.everything()) {
			return refusal("What do you mean?", "%s without a device or a kind of devices", c.intent)
		}
		if domain != "" {
			c.slots["domain"] = domain
		}
	}
	if domain == "" {
		domain = domains[c.intent]
	}
	area, _ := c.slots["area"].(string)
	if c.reads() && area == "" && strings.HasSuffix(domain, "sensor") {
		return refusal("Sorry, I can't tell.", "the states of all of the home's sensors are no answer")
	}
	if c.home.known() && !c.home.hasDomain(domain, area) {
		return refusal("Sorry, there is no such device.", "no entity of domain %q in area %q", domain, area)
	}
	return nil
}

// checkNumber compares the one number of a call with the one that was said.
func (c *call) checkNumber(*parameters) *Outcome {
	if c.timer() {
		return nil
	}
	for k, v := range c.slots {
		n, ok := v.(float64)
		said := c.said.numbers()
		if !ok || len(said) == 0 || slices.Contains(said, n) {
			continue
		}
		if len(said) > 1 {
			return refusal("Sorry, I did not understand the number.", "%s = %v, but the utterance has %v", k, n, said)
		}
		c.slots[k] = said[0]
	}
	return nil
}

// numbers are the decimal numbers in the text that are not used by a name.
func (u *utterance) numbers() []float64 {
	var found []float64
	for f := range strings.FieldsFuncSeq(u.text, func(r rune) bool { return !strings.ContainsRune("0123456789.,", r) }) {
		f = strings.Trim(f, ".,")
		n, err := strconv.ParseFloat(strings.Replace(f, ",", ".", 1), 64)
		if w := words(f); err == nil && len(w) > 0 && !u.isUsed(w[0]) {
			found = append(found, n)
		}
	}
	return found
}

// checkRest refuses what has a word that the call does not account for: "turn on the toaster" is no order for all lights.
func (c *call) checkRest(p *parameters) *Outcome {
	if c.target != nil && c.slots["area"] == nil {
		for _, a := range c.home.Areas {
			if w := words(a); c.said.span(w) >= 0 && !c.said.allUsed(w) && spelled(c.target.Areas, a) == "" && !c.inText(w) {
				return refusal("Sorry, I don't know that device.", "%q is not in the area %q", c.target.Names[0], a)
			}
		}
	}
	if c.reads() || c.timer() || p.Properties["name"] == nil || !c.home.known() {
		return nil
	}
	for k, v := range c.slots {
		if free[k] {
			return nil
		}
		if s, ok := v.(string); ok && k != "name" {
			c.said.use(words(s))
		}
	}
	own := domains[c.intent]
	if d, ok := c.slots["domain"].(string); ok {
		own = d
	}
	if c.target != nil {
		own = c.target.Domain
	}
	owns := []string{own}
	if own == "" { // of a kind that the text does not tell
		owns = slices.Collect(maps.Keys(domainWords))
	}
	if r := c.said.rest(owns...); r != "" {
		return refusal(fmt.Sprintf("Sorry, I don't know of %q.", r), "%s does not account for %q", c.intent, r)
	}
	return nil
}
