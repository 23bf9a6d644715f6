package intent

import (
	"fmt"
	"maps"
	"slices"
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
		if c.reads() {
			name = ""
			delete(c.slots, "name")
		}
	}
	if best := c.said.longest(c.near(p), single, domain); len(best) > 0 {
		return c.choose(best)
	}
	if name == "" || name == "all" && c.onOff() {
		return nil
	}
	e, spelling := c.home.named(name)
	if e == nil {
		if some := c.partly(p, name); len(some) > 0 {
			c.slots["name"] = some[0].name
			return c.choose(some)
		}
		return refusal(fmt.Sprintf("Sorry, I don't know of %q.", name), "no entity is named %q", name)
	}
	// "the lamp" may be the Bedroom Lamp if no other lamp is in the home.
	if !c.supports(e, spelling) {
		return refusal("Sorry, I don't know that device.", "the utterance does not name %q", spelling)
	}
	return c.choose(c.near(p))
}

// near are the names that the utterance may mean, of entities that the call can be for, those that lack the fewest words in front.
func (c *call) near(p *parameters) []match {
	var found []match
	for _, x := range c.home.index().near(c.said).entries {
		if c.fits(p, x.entity) {
			found = append(found, match{x.entity, x.spelling, x.words})
		}
	}
	return found
}

// partly are the names that have all words of one: "the bedside lamp" may be anybody's. A word that means any device of a domain is none.
func (c *call) partly(p *parameters, name string) []match {
	own := words(name)
	if !slices.ContainsFunc(own, func(w string) bool { return !plain(w) }) {
		return nil
	}
	ix := c.home.index()
	var found []match
	for _, i := range ix.names.having(own) {
		if x := &ix.names.entries[i]; c.fits(p, x.entity) {
			found = append(found, match{x.entity, x.spelling, own})
		}
	}
	return found
}

// choose makes the call one for the entity that is meant among several.
func (c *call) choose(all []match) *Outcome {
	narrow := func(fits func(match) bool) {
		var some []match
		for _, m := range all {
			if fits(m) {
				some = append(some, m)
			}
		}
		if len(some) > 0 {
			all = some
		}
	}
	written, _ := c.slots["name"].(string)
	domain, _ := c.slots["domain"].(string)
	class, _ := c.slots["device_class"].(string)
	narrow(func(m match) bool { return c.exact(m) })
	if area, ok := c.slots["area"].(string); ok && c.said.has(words(area)) {
		narrow(func(m match) bool { return spelled(m.entity.Areas, area) != "" })
	}
	if class != "" {
		narrow(func(m match) bool { return m.entity.Class == class })
	}
	if domain != "" {
		narrow(func(m match) bool { return m.entity.Domain == domain })
	}
	if s, _ := c.slots["state"].(string); s == "locked" || s == "unlocked" {
		narrow(func(m match) bool { return m.entity.Domain == "lock" || m.entity.Class == "lock" })
	}
	if c.said.has(words(written)) { // else its words were not said, and the model had to write something
		narrow(func(m match) bool { return strings.EqualFold(m.name, written) })
	}
	if c.here != "" {
		narrow(func(m match) bool { return spelled(m.entity.Areas, c.here) != "" })
	}
	if len(all) == 0 {
		return refusal("Sorry, I don't know that device.", "%s is for no entity that the utterance names", c.intent)
	}
	var others []*Entity
	for _, m := range all {
		if !slices.Contains(others, m.entity) {
			others = append(others, m.entity)
		}
	}
	if len(others) > 1 && !c.reads() {
		try := *c
		try.slots, try.said = maps.Clone(c.slots), c.said.clone()
		try.setTarget(all[0].entity, all[0].name)
		if o := try.checkRest(&parameters{}); o != nil {
			return o
		}
		return c.ask(others)
	}
	c.setTarget(all[0].entity, all[0].name)
	return nil
}

// exact tells whether a name was said word for word.
func (c *call) exact(m match) bool { return c.said.span(m.words) >= 0 }

// ask asks which of some entities is meant, by what an answer can tell them apart by.
func (c *call) ask(which []*Entity) *Outcome {
	names := labels(which)
	o := refusal("", "the utterance may mean any of %q", names)
	for i, n := range names {
		if j := slices.Index(names, n); j < i {
			where := ""
			if which[i].area() != "" {
				where = " in the " + which[i].area()
			}
			o.Text = fmt.Sprintf("Sorry, several things%s are called %s, and I cannot tell them apart. Please rename one.", where, which[i].Names[0])
			o.Reason = fmt.Sprintf("%s and %s cannot be told apart", which[j].ID, which[i].ID)
			return o
		}
	}
	const most = 4
	if len(names) > most {
		o.Text = fmt.Sprintf("Which one? There are %d.", len(names))
	} else {
		o.Text = "Which one, " + strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1] + "?"
	}
	o.Choices = which
	return o
}

// labels are what entities are called in a question: their names, with their areas or kinds where names are not enough.
func labels(which []*Entity) []string {
	out := make([]string, len(which))
	for i, e := range which {
		var twins []*Entity
		for _, o := range which {
			if o != e && strings.EqualFold(o.Names[0], e.Names[0]) {
				twins = append(twins, o)
			}
		}
		kind := "one"
		if slices.ContainsFunc(twins, func(o *Entity) bool {
			return o.Domain != e.Domain && spelled(o.Areas, e.area()) != "" || o.area() == "" && e.area() == ""
		}) {
			kind = strings.ReplaceAll(e.Domain, "_", " ")
		}
		switch {
		case len(twins) == 0 || kind == "one" && e.area() == "":
			out[i] = e.Names[0]
		case e.area() == "":
			out[i] = "the " + kind
		default:
			out[i] = "the " + kind + " in the " + e.area()
		}
	}
	return out
}

// area is the name of the entity's area, "" if it is in none.
func (e *Entity) area() string {
	if len(e.Areas) == 0 {
		return ""
	}
	return e.Areas[0]
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
	if c.home.Whole {
		c.slots["name"] = e.Names[0]
	}
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

// tells are domains whose entities have a state and nothing to turn on.
var tells = set("sensor binary_sensor person weather device_tracker sun zone todo calendar event update image camera conversation tts stt wake_word")

// positioned are domains whose entities have a position; a fan's speed and a lamp's brightness are none.
var positioned = set("cover valve")

// fits tells whether the tool can be meant for an entity.
func (c *call) fits(p *parameters, e *Entity) bool {
	if d := p.Properties["domain"]; d != nil && e.Domain != "" {
		if _, ok := d.value(e.Domain, 0); !ok {
			return false
		}
	}
	if c.onOff() && tells[e.Domain] || c.intent == "HassSetPosition" && e.Domain != "" && !positioned[e.Domain] {
		return false
	}
	d := c.domain()
	return d == "" || e.Domain == "" || d == e.Domain
}

// domain is that of the entities that the intent is for, "" if it is for any.
func (c *call) domain() string {
	if k := intents[c.intent]; k != nil {
		return k.domain
	}
	return ""
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
		if f := c.left(&c.home.index().floors, "floor"); f != "" {
			c.slots["floor"] = f
			c.said.use(words(f))
		}
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
	if c.home.Whole && spelled(c.home.Floors, floor) == "" {
		return refusal(fmt.Sprintf("Sorry, I don't know of a floor %q.", floor), "no floor is named %q", floor)
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

// left is the one area, or floor, that was said word for word and that the model left out; "" where there is none, or where the intent takes none.
func (c *call) left(l *lexicon, slot string) string {
	k := intents[c.intent]
	if c.tool != nil || k == nil || !slices.Contains(k.slots, slot) || c.target != nil || c.timer() || c.intent == "HassMediaSearchAndPlay" {
		return ""
	}
	found := ""
	for _, i := range l.find(c.said) {
		if e := &l.entries[i]; c.said.unused(e.words) >= 0 && !c.inText(e.words) && !plain(e.words[0]) {
			if found != "" {
				return ""
			}
			found = e.spelling
		}
	}
	return found
}

func (c *call) resolveArea(*parameters) *Outcome {
	area, ok := c.slots["area"].(string)
	if !ok {
		if a := c.left(&c.home.index().areas, "area"); a != "" {
			c.slots["area"] = a
			c.said.use(words(a))
		}
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
		if c.target != nil && len(c.target.Areas) > 0 && spelled(c.target.Areas, s) == "" {
			return refusal("Sorry, I don't know that device.", "%q is not in the area %q", c.target.Names[0], s)
		}
	}
	c.said.use(w)
	return nil
}

// resolveDomain sees to it that a call for no single device is for a kind of devices that is there.
func (c *call) resolveDomain(p *parameters) *Outcome {
	if name := c.slots["name"]; name != nil && name != "all" || p.Properties["domain"] == nil && c.domain() == "" || c.timer() {
		return nil
	}
	domain, _ := c.slots["domain"].(string)
	if c.onOff() && c.tool == nil && c.said.says(set("everything")) { // which is of the kind that the verb is for, whatever the model made of it
		class, _ := c.slots["device_class"].(string)
		if !c.said.left(domainWords[domain]) || class != "" && !c.said.left(classWords[class]) {
			domain, c.class = "", ""
			for _, k := range []string{"domain", "device_class"} {
				delete(c.slots, k)
			}
			if c.slots["name"] == "all" {
				delete(c.slots, "name")
			}
		}
		switch {
		case domain != "":
		case c.said.says(set("lock unlock")):
			domain = "lock"
		case c.said.says(set("open close shut")):
			domain = "cover"
		}
		if domain != "" {
			c.slots["domain"] = domain
		}
	}
	if c.onOff() && c.tool == nil && domain == "switch" && !c.said.says(set("switches outlet outlets plug plugs")) && slices.Index(c.said.words, "switch") == 0 { // which was the verb
		domain = ""
		delete(c.slots, "domain")
		delete(c.slots, "device_class")
		if c.slots["name"] == "all" {
			delete(c.slots, "name")
		}
	}
	if domain == "" && c.onOff() {
		var said []string
		for _, d := range []string{"light", "fan", "cover", "valve", "switch", "scene", "script", "media_player"} {
			if c.said.left(domainWords[d]) || c.said.says(domainWords[d]) && !(c.tool == nil && c.said.says(set("everything"))) { // not of everything in the garage
				said = append(said, d)
			}
		}
		if i := slices.Index(said, "switch"); i >= 0 && len(said) > 1 { // which was the verb
			said = slices.Delete(said, i, i+1)
		}
		switch {
		case c.said.says(set("lock locks")) || c.said.says(set("unlock")) && c.said.says(set("door doors")):
			domain = "lock"
		case len(said) == 1:
			domain = said[0]
		case len(said) > 1:
			return refusal("What do you mean?", "the utterance speaks of %q", said)
		case c.everything() && (c.slots["area"] != nil || c.tool == nil && (c.slots["floor"] != nil || c.said.says(set("everything")))):
		default:
			if o := c.checkRest(p); o != nil {
				return o
			}
			o := lacks("What do you mean?", "%s without a device or a kind of devices", c.intent)
			return &o
		}
		if domain == "cover" && c.class == "" {
			for _, class := range strings.Fields(coverClasses) {
				if c.said.says(classWords[class]) && c.class == "" {
					c.class, c.slots["device_class"] = class, class
				}
			}
		}
		if domain != "" {
			c.slots["domain"] = domain
		}
	}
	if domain == "" {
		domain = c.domain()
	}
	area, _ := c.slots["area"].(string)
	if c.reads() && area == "" && strings.HasSuffix(domain, "sensor") && c.slots["device_class"] == nil {
		return refusal("Sorry, I can't tell.", "the states of all of the home's sensors are no answer")
	}
	if c.home.known() && domain != "" && !c.home.hasDomain(domain, area) {
		return refusal("Sorry, there is no such device.", "no entity of domain %q in area %q", domain, area)
	}
	return nil
}
