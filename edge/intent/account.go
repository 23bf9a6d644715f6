package intent

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// checkNumbers compares the numbers of a call with those that were said. The model invents some where none was.
func (c *call) checkNumbers(*parameters) *Outcome {
	said := c.said.numbers()
	if c.timer() && c.said.count("timer") > 1 {
		return refusal("Sorry, one timer at a time.", "the utterance speaks of two timers")
	}
	if c.intent == "HassStartTimer" && len(said) == 0 && !c.said.says(partWords) {
		for _, k := range []string{"hours", "minutes", "seconds"} {
			delete(c.slots, k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(c.slots)) {
		n, ok := c.slots[k].(float64)
		if !ok || slices.Contains(said, n) && (!c.timer() || c.said.hasUnit(n, k)) {
			continue
		}
		if c.timer() {
			if (n == 15 || n == 30 || n == 45) && !strings.HasSuffix(k, "hours") && c.said.says(partWords) {
				continue
			}
			return refusal("Sorry, I did not understand the time.", "%s = %v, but the utterance has %v", k, n, said)
		}
		switch {
		case len(said) == 1:
			c.slots[k] = said[0]
		case len(said) > 1:
			return refusal("Sorry, I did not understand the number.", "%s = %v, but the utterance has %v", k, n, said)
		case c.said.says(mostWords):
			c.slots[k] = 100.0
		case c.said.says(set("half halfway")):
			c.slots[k] = 50.0
		case c.said.says(leastWords):
			if n > 10 {
				return refusal("Sorry, I did not understand the number.", "%s = %v, which is not little", k, n)
			}
		case !c.home.known():
		default:
			delete(c.slots, k)
		}
	}
	return nil
}

// checkAllNumbers refuses what leaves a number out: "set the TV to 20 and the radio to 40" is more than one command.
func (c *call) checkAllNumbers(*parameters) *Outcome {
	if c.timer() || c.reads() || !c.home.known() {
		return nil
	}
	if c.hasText() {
		return nil
	}
	for _, n := range c.said.numbers() {
		used := false
		for _, v := range c.slots {
			used = used || v == n
		}
		if !used {
			return refusal("Sorry, I did not understand the number.", "%s has no number %v", c.intent, n)
		}
	}
	return nil
}

// checkColor refuses a color that was not said.
func (c *call) checkColor(*parameters) *Outcome {
	if s, ok := c.slots["color"].(string); ok && c.intent == "HassLightSet" && !c.said.has(words(s)) {
		if len(c.said.numbers()) == 0 {
			return refusal("Sorry, I did not understand that.", "the color %q is not in the utterance", s)
		}
		delete(c.slots, "color")
	}
	return nil
}

// checkKind refuses a kind of devices that no word means: the model writes some where only "it" was said.
func (c *call) checkKind(*parameters) *Outcome {
	if c.target != nil || !c.home.known() || c.reads() && (c.intent != "HassGetState" || c.tool != nil) {
		return nil
	}
	var own map[string]bool
	switch domain, _ := c.slots["domain"].(string); {
	case c.intent == "HassLightSet" || domain == "light":
		own = lightWords
	case domain != "":
		own = domainWords[domain]
		if domain == "person" {
			return nil
		}
	case c.intent == "HassGetState":
	default:
		return nil
	}
	if c.said.says(own) || c.said.says(classWords[c.class]) || c.slots["color"] != nil || c.everything() ||
		c.slots["area"] != nil && (c.said.says(set("percent")) || strings.Contains(c.said.text, "%")) {
		return nil
	}
	if c.reads() {
		return refusal("Sorry, I can't tell.", "no word of the utterance says what it is about")
	}
	o := lacks("What do you mean?", "no word of the utterance says %s of the domain %v", c.intent, c.slots["domain"])
	return &o
}

// hasUnit tells whether a number was said with the unit that a slot of a timer has ("start_minutes"), or with none at all.
func (u *utterance) hasUnit(n float64, slot string) bool {
	unit := strings.TrimSuffix(strings.TrimPrefix(slot, "start_"), "s")
	other := false
	for i, w := range u.words {
		if f, err := strconv.ParseFloat(w, 64); (err != nil || f != n) && float64(numberWords[w]) != n || i+1 == len(u.words) {
			continue
		}
		next := u.words[i+1]
		if strings.HasPrefix(next, unit[:3]) { // "min" is short for minutes
			return true
		}
		other = other || unitWords[next]
	}
	return !other
}

// count is how often a word, or its plural, was said.
func (u *utterance) count(w string) (n int) {
	for _, x := range u.words {
		if x == w || x == w+"s" {
			n++
		}
	}
	return n
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
	for i, w := range u.words {
		if n := numberWords[w]; n > 0 && !u.used[i] {
			found = append(found, float64(n))
		}
	}
	return found
}

// checkWay compares the way that a thing is turned with the verb, which the model sometimes takes for the opposite's: to unlock is to turn a lock off, to
// open is to turn a cover on.
func (c *call) checkWay(*parameters) *Outcome {
	for _, o := range opposites {
		if c.intent == o.a || c.intent == o.b {
			switch a, b := c.said.says(o.sayA), c.said.says(o.sayB); {
			case a && !b:
				c.intent = o.a
			case b && !a:
				c.intent = o.b
			}
			return nil
		}
	}
	if !c.onOff() {
		return nil
	}
	domain, _ := c.slots["domain"].(string)
	if c.target != nil {
		domain = c.target.Domain
	}
	if domain == "vacuum" {
		c.intent = "HassVacuumStart"
		if off := c.said.says(set("off stop return back home dock base")); off {
			c.intent = "HassVacuumReturnToBase"
		}
		return nil
	}
	if upDown[domain] && c.said.says(set("up down")) && !c.said.says(set("on off")) && set("turn crank bring turned")[c.said.words[0]] {
		return refusal("Sorry, I did not understand how far.", "to turn %s up or down is not to turn it on or off", domain)
	}
	way, ok := ways[domain]
	if !ok {
		way = ways[""]
	}
	on, off := c.said.says(way[0]), c.said.says(way[1])
	switch {
	case domain == "cover" && c.said.says(set("lock unlock secure bolt")):
		return refusal("Sorry, that has no lock.", "a cover cannot be locked")
	case domain == "alarm_control_panel" && !on && !off: // "set the alarm to away"
		return refusal("Sorry, I can arm and disarm an alarm, and know none of its modes.", "no word says whether to arm or to disarm")
	case domain == "lock" && !on && !off:
		return refusal("Sorry, I did not understand that.", "no word says whether to lock or to unlock")
	case on == off:
		return nil
	case on:
		c.intent = "HassTurnOn"
	default:
		c.intent = "HassTurnOff"
	}
	return nil
}

// checkTexts looks at free texts: the model cuts them out at the wrong place when it does not know the sentence.
func (c *call) checkTexts() *Outcome {
	if item, ok := c.slots["item"].(string); ok {
		if m := itemEnd.FindStringSubmatch(item); m != nil {
			item = m[1]
			c.slots["item"] = item
		}
		w := words(item)
		u := newUtterance(item)
		switch {
		case u.rest() == "":
			o := lacks("Add what?", "the item %q says nothing", item)
			return &o
		case u.says(set("list lists cart bag shopping add put remove cause because unless")) || len(w) > 0 && plainList[w[len(w)-1]]:
			return refusal("Sorry, I did not understand that.", "the item %q tells of the list, too", item)
		case strings.HasPrefix(c.intent, "HassShopping") && !c.said.says(set("shopping grocery groceries")) && (c.said.says(set("do todo task tasks chores")) || !c.said.says(set("list"))):
			return refusal("Sorry, I don't know that list.", "it is not about shopping")
		}
	}
	if s, ok := c.slots["search_query"].(string); ok && !slices.ContainsFunc(words(s), func(w string) bool {
		return !functionWords[w] && !intentWords["HassMediaPause"][w] && !intentWords["HassMediaNext"][w] && !intentWords["HassMediaPrevious"][w]
	}) {
		return refusal("Play what?", "the query %q says nothing", s)
	}
	if s, ok := c.slots["search_query"].(string); ok && newUtterance(s).says(set("joke jokes funny fact facts riddle")) {
		return refusal("Sorry, I can't tell any.", "the query %q is for something to be told", s)
	}
	if s, ok := c.slots["search_query"].(string); ok && c.device(s) {
		return refusal("Sorry, I did not understand that.", "the query %q is a device", s)
	}
	if s, ok := c.slots["conversation_command"].(string); ok && c.said.cut(words(s)) { // "turn the fan off in 10 minutes" is not to "turn the fan" then
		return refusal("Sorry, I did not understand all of that.", "the command %q is cut off", s)
	}
	if s, ok := c.slots["conversation_command"].(string); ok && (newUtterance(s).says(set("timer timers countdown wake alert remind notify warn ping")) || newUtterance(s).rest(set(timerWords)) == "") {
		delete(c.slots, "conversation_command")
	}
	return nil
}

// device tells whether a text to play is what a device of another kind, or all of a kind, is called: "put on the fairy lights" plays nothing.
func (c *call) device(text string) bool {
	u := newUtterance(text)
	for _, x := range c.home.index().near(u).entries {
		if d := x.entity.Domain; d != "media_player" && d != "scene" && d != "script" && u.span(x.words) >= 0 && u.without(x.words).rest() == "" {
			return true
		}
	}
	return u.rest() != "" && u.rest(domainWords["light"], domainWords["fan"], domainWords["switch"], domainWords["cover"]) == ""
}

// without is the utterance with some of its words accounted for.
func (u *utterance) without(ws []string) *utterance {
	c := u.clone()
	c.use(ws)
	return c
}

// cut tells whether a command that is a part of the utterance leaves a word outside that turns it into another.
func (u *utterance) cut(command []string) bool {
	i := u.span(command)
	if i < 0 {
		return false
	}
	outside := &utterance{words: slices.Concat(u.words[:i], u.words[i+len(command):])}
	return outside.says(set("on off open close closed shut lock unlock up down not"))
}

// hasText tells whether a slot holds free text.
func (c *call) hasText() bool {
	for k := range free {
		if c.slots[k] != nil {
			return true
		}
	}
	return false
}

// Accounts tells whether each word of an utterance may be accounted for: where one is neither a command's nor near to one of the home's names, and no free
// text can have it, Understand refuses the utterance whatever the model writes.
func (h *Home) Accounts(utterance string) bool {
	ix := h.index()
	u := newUtterance(utterance)
	if u.says(textWords()) {
		return true
	}
	for i, w := range u.words {
		joined := i > 0 && ix.words[u.words[i-1]+w] || i+1 < len(u.words) && ix.words[w+u.words[i+1]]
		if !plain(w) && !valueWords()[w] && !joined && !ix.words[w] && len(ix.named(w)) == 0 {
			return ix.near(u).names("todo") != nil // an item on a list
		}
	}
	return true
}

// valueWords are those of slots' values.
var valueWords = sync.OnceValue(func() map[string]bool {
	all := map[string]bool{}
	for _, list := range values {
		for _, v := range list {
			maps.Copy(all, set(strings.ReplaceAll(v, "_", " ")))
		}
	}
	return all
})

// textWords are words of which one is said with a free text, or with a timer's name.
var textWords = sync.OnceValue(func() map[string]bool {
	all := maps.Clone(unitWords)
	for name, k := range intents {
		if k.timer() || slices.ContainsFunc(k.slots, func(s string) bool { return free[s] }) {
			maps.Copy(all, mustSay[name])
		}
	}
	return all
})

// wishes tells whether it begins as one for a state does: "have the blinds closed", "make sure that the door is locked".
func (u *utterance) wishes() bool {
	if len(u.words) < 3 {
		return false
	}
	switch a, b := u.words[0], u.words[1]; a {
	case "have", "get", "want", "keep", "leave", "let", "put":
		return set("the my our all both it")[b]
	case "ensure":
		return true
	case "make", "be":
		return b == "sure"
	case "see":
		return b == "that" || b == "to"
	}
	return false
}

// asks tells whether it begins as a question about how things are: "is the garage shut" closes nothing.
func (u *utterance) asks() bool {
	return len(u.words) > 1 && set("is are was were did does has who what whats which when where why how hows")[u.words[0]] && u.words[1] != "about"
}

// itemEnd is an item with the list behind it.
var itemEnd = regexp.MustCompile(`(?i)^(.+?) (?:on|to|onto|in|from|off|off of) (?:the |my |our )?(?:[\pL']+ ){0,2}lists?$`)

// plainList are words that no item on a list ends with.
var plainList = set("to too on onto in my the off from for")

// checkRest refuses what has a word that the call does not account for: "turn on the toaster" is no order for all lights.
func (c *call) checkRest(p *parameters) *Outcome {
	if c.target != nil && c.slots["area"] == nil {
		for _, a := range c.home.Areas {
			if w := words(a); c.said.span(w) >= 0 && !c.said.allUsed(w) && spelled(c.target.Areas, a) == "" && !c.inText(w) {
				return refusal("Sorry, I don't know that device.", "%q is not in the area %q", c.target.Names[0], a)
			}
		}
	}
	if !c.home.known() {
		return nil
	}
	for k, v := range c.slots {
		if s, ok := v.(string); ok && (k != "name" || c.timer()) {
			c.said.use(words(s))
		}
	}
	if must := mustSay[c.intent]; must != nil && !c.said.says(must) && !(c.target != nil && c.target.Domain == "todo") && !(c.intent == "HassStartTimer" && c.said.says(unitWords)) {
		return refusal("Sorry, I did not understand that.", "no word of the utterance says %s", c.intent)
	}
	if o := c.checkTexts(); o != nil {
		return o
	}
	if !c.reads() && !c.timer() && c.said.says(conditions) && !c.hasText() {
		return refusal("Sorry, I can only do things at once.", "the utterance has a condition")
	}
	if c.onOff() && c.said.asks() {
		return refusal("Sorry, I did not understand that.", "the utterance asks, and %s acts", c.intent)
	}
	if c.intent == "HassGetState" && c.slots["state"] != nil && c.said.wishes() {
		return refusal("Sorry, I did not understand that.", "the utterance wants a state and does not ask for one")
	}
	if c.intent == "HassGetState" && c.said.says(set("who whos")) && c.slots["domain"] != "person" {
		return refusal("Sorry, I can't tell who.", "who is asked for, and the answer is no person")
	}
	if len(c.said.words) > 0 && (set("i we he she they somebody someone")[c.said.words[0]] || c.said.words[0] == "who" && !c.reads()) {
		return refusal("Sorry, I did not understand that.", "the utterance tells something")
	}
	sets := []map[string]bool{intentWords[c.intent]}
	if c.slots["area"] != nil || c.slots["floor"] != nil || c.everything() || c.reads() || strings.HasPrefix(c.intent, "HassVacuum") ||
		c.target == nil && c.said.says(set("this")) {
		sets = append(sets, placeWords)
	}
	if c.timer() || c.reads() || c.intent == "HassLightSet" && c.slots["color"] != nil && c.slots["brightness"] != nil || c.hasText() {
		sets = append(sets, joinWords)
	}
	own := c.domain()
	if d, ok := c.slots["domain"].(string); ok {
		own = d
	}
	if c.target != nil {
		own = c.target.Domain
		if c.intent == "HassGetState" || c.intent == "HassClimateGetTemperature" {
			sets = append(sets, classWords[c.target.Class])
		}
	}
	if c.class != "" {
		sets = append(sets, classWords[c.class])
	}
	if own != "" {
		sets = append(sets, domainWords[own])
	} else if c.target != nil { // of a kind that the text does not tell
		sets = slices.AppendSeq(sets, maps.Values(domainWords))
	}
	if strings.HasPrefix(c.intent, "HassTurn") { // which takes no number
		c.said.strict = true
	}
	if r := c.said.rest(sets...); r != "" {
		return refusal(fmt.Sprintf("Sorry, I don't know of %q.", r), "%s does not account for %q", c.intent, r)
	}
	return nil
}
