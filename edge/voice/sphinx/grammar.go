package sphinx

import (
	"fmt"
	"slices"
	"strings"

	"bimamba/edge/home"
)

// Grammar is what can be said in a home, in the JSpeech Grammar Format.
type Grammar struct {
	Commands []byte   // its public rule is a command
	Answers  []byte   // a command, or the answer to a question
	Words    []string // all words of both, sorted
	Left     []string // names that cannot be said: in another script
}

// items are what a shopping list is likely to get: a grammar has no free text.
var items = strings.Fields(`apples bananas beans beer bread butter carrots cheese chicken chocolate coffee cream eggs fish flour garlic ham honey juice lemons lettuce milk mushrooms
	oil onions oranges paper pasta peas pepper pizza potatoes rice salad salt sausages soap soup sugar tea tomatoes vinegar water wine yogurt`)

var colors = strings.Fields("white red orange yellow green blue purple pink")

// names are those of entities by their domain.
type names map[string][]string

func (n names) of(domains ...string) []string {
	var all []string
	for _, d := range domains {
		all = append(all, n[d]...)
	}
	return all
}

// builder writes the rules that both grammars have.
type builder struct {
	rules    strings.Builder
	commands []string
	words    map[string]bool
}

// rule defines a rule of alternatives and says whether there are any.
func (b *builder) rule(name string, alternatives []string) bool {
	alternatives = slices.Compact(slices.Sorted(slices.Values(alternatives)))
	if len(alternatives) == 0 {
		return false
	}
	for _, a := range alternatives {
		b.note(a)
	}
	fmt.Fprintf(&b.rules, "<%s> = %s;\n", name, strings.Join(alternatives, " | "))
	return true
}

// note keeps the words of an expansion.
func (b *builder) note(expansion string) {
	for _, w := range strings.FieldsFunc(expansion, func(r rune) bool { return strings.ContainsRune(" ()[]|", r) }) {
		if !strings.HasPrefix(w, "<") {
			b.words[w] = true
		}
	}
}

// say adds forms of commands.
func (b *builder) say(forms ...string) {
	for _, f := range forms {
		b.note(f)
		b.commands = append(b.commands, f)
	}
}

// NewGrammar makes the grammar of a home.
func NewGrammar(h *home.Home) *Grammar {
	g := &Grammar{}
	b := &builder{words: map[string]bool{}}
	byDomain, areas := names{}, []string{}
	classes := map[string]bool{}
	hear := func(all ...string) (can []string) {
		for _, n := range all {
			if s := spoken(n); s != "" {
				can = append(can, s)
			} else {
				g.Left = append(g.Left, n)
			}
		}
		return can
	}
	for _, a := range h.Areas {
		areas = append(areas, hear(append([]string{a.Name}, a.Aliases...)...)...)
	}
	for i := range h.Entities {
		e := &h.Entities[i]
		said := hear(append([]string{e.Name}, e.Aliases...)...)
		byDomain[e.Domain()] = append(byDomain[e.Domain()], said...)
		if e.Domain() == "cover" {
			classes[e.DeviceClass] = true
		}
	}
	b.general()
	b.numbers()
	in := "" // where there are areas
	if b.rule("area", areas) {
		in = " [in the <area>]"
	}
	b.lights(byDomain, in)
	b.devices(byDomain, classes, in)
	b.climate(byDomain, in)
	b.lists(byDomain)

	commands := "<command> = " + strings.Join(b.commands, "\n\t| ") + ";\n"
	answers := []string{"yes", "no", "yes please", "no thanks", "cancel", "never mind"}
	if in != "" {
		answers = append(answers, "[the one] [in] [the] <area> [one]")
	}
	var all []string
	for _, d := range sortedDomains(byDomain) {
		all = append(all, byDomain[d]...)
	}
	if b.rule("thing", all) {
		answers = append(answers, "[the] <thing>")
	}
	for _, a := range answers {
		b.note(a)
	}
	const head = "#JSGF V1.0;\ngrammar %s;\n"
	g.Commands = fmt.Appendf(nil, head+"public <utterance> = <command>;\n%s%s", "commands", commands, &b.rules)
	g.Answers = fmt.Appendf(nil, head+"public <utterance> = %s | <command>;\n%s%s", "answers", strings.Join(answers, " | "), commands, &b.rules)
	for w := range b.words {
		g.Words = append(g.Words, w)
	}
	slices.Sort(g.Words)
	slices.Sort(g.Left)
	g.Left = slices.Compact(g.Left)
	return g
}

func sortedDomains(n names) []string {
	var domains []string
	for d := range n {
		domains = append(domains, d)
	}
	slices.Sort(domains)
	return domains
}

// general are commands that every home knows.
func (b *builder) general() {
	b.say("what time is it", "what is the time", "what is the date", "what day is it")
	b.say("(set | start) a timer for <duration>", "(cancel | stop | pause | resume) (the | my) timer", "how much time is left on (the | my) timer", "how long is left on (the | my) timer",
		"add <minutes> to (the | my) timer")
}

// numbers are the rules of numbers.
func (b *builder) numbers() {
	var percent, degrees, small, round []string
	for n := 0; n <= 100; n += 5 {
		percent = append(percent, spell(n))
	}
	for n := 5; n <= 30; n++ {
		degrees = append(degrees, spell(n))
	}
	for n := 2; n <= 60; n++ {
		if n <= 20 || n%5 == 0 {
			small = append(small, spell(n))
		}
	}
	for n := 2; n <= 12; n++ {
		round = append(round, spell(n))
	}
	b.rule("percent", percent)
	b.rule("degrees", degrees)
	b.rule("small", small)
	b.rule("hours", round)
	b.rule("minutes", []string{"one minute", "<small> minutes"})
	b.rule("duration", []string{"<minutes>", "one hour", "<hours> hours", "<small> seconds", "one hour and <minutes>", "half an hour"})
	b.rule("color", colors)
}

func (b *builder) lights(n names, in string) {
	if !b.rule("light", n.of("light")) {
		return
	}
	b.say("(set | dim) [the] <light> to <percent> percent", "set the brightness of [the] <light> to <percent> percent", "(set | turn) [the] <light> to <color>", "make [the] <light> <color>")
	b.say("(turn | switch) (on | off) [all] the lights" + in)
	if in != "" {
		b.say("(turn | switch) (on | off) [the] <area> (light | lights)", "(turn | switch) [the] <area> (light | lights) (on | off)", "set [the] <area> lights to <percent> percent", "set the lights in the <area> to (<percent> percent | <color>)")
	}
}

// classNames are how groups of covers are called.
var classNames = map[string]string{
	"blind": "blinds", "curtain": "curtains", "shutter": "shutters", "awning": "awnings", "shade": "shades", "window": "windows",
}

func (b *builder) devices(n names, classes map[string]bool, in string) {
	if b.rule("switched", n.of("light", "switch", "fan", "media_player", "input_boolean", "climate", "humidifier", "siren", "valve")) {
		b.say("(turn | switch) (on | off) [the] <switched>", "(turn | switch) [the] <switched> (on | off)")
	}
	if b.rule("cover", n.of("cover", "valve")) {
		b.say("(open | close) [the] <cover>", "is [the] <cover> (open | closed)", "set [the] <cover> to <percent> percent")
		var groups []string
		for c, name := range classNames {
			if classes[c] {
				groups = append(groups, name)
			}
		}
		if b.rule("covers", groups) {
			b.say("(open | close) [all] [the] <covers>" + in)
			if in != "" {
				b.say("(open | close) [the] <area> <covers>")
			}
		}
	}
	if b.rule("lock", n.of("lock")) {
		b.say("(lock | unlock) [the] <lock>", "is [the] <lock> (locked | unlocked)")
	}
	if b.rule("player", n.of("media_player")) {
		b.say("(pause | resume | stop) the music", "(next | previous) (song | track)", "skip this song", "turn (up | down) the volume", "turn the volume (up | down)", "set the volume to <percent> percent",
			"(pause | resume | mute) [the] <player>", "set the volume of [the] <player> to <percent> percent")
	}
	if b.rule("vacuum", append(n.of("vacuum"), onlyIf(n.of("vacuum"), "vacuum", "vacuum cleaner")...)) {
		b.say("(start | stop | pause) [the] <vacuum>", "return [the] <vacuum> to its base", "send [the] <vacuum> home")
	}
	if b.rule("scene", n.of("scene", "script")) {
		b.say("(activate | start | turn on) [the scene] <scene>")
	}
	if b.rule("sensor", n.of("sensor", "binary_sensor", "weather")) {
		b.say("what is [the] <sensor>", "is [the] <sensor> (on | off | open | closed)")
	}
}

// onlyIf is more names if there are any.
func onlyIf(some []string, more ...string) []string {
	if len(some) == 0 {
		return nil
	}
	return more
}

func (b *builder) climate(n names, in string) {
	if !b.rule("climate", append(n.of("climate"), onlyIf(n.of("climate"), "thermostat", "heating")...)) {
		return
	}
	b.say("set [the] <climate> to <degrees> degrees", "set the temperature"+in+" to <degrees> degrees", "what is the temperature"+in)
}

func (b *builder) lists(n names) {
	b.rule("item", items)
	b.rule("list", append(n.of("todo"), "shopping list"))
	b.say("(add | put) <item> (to | on) (my | the) <list>")
}
