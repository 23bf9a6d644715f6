package intent

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"bimamba/edge/internal/edit"
)

// words are the words of a text in lower case. Apostrophes are dropped, all else that is no letter or digit parts words.
func words(s string) []string {
	s = strings.NewReplacer("'", "", "’", "").Replace(strings.ToLower(s))
	return strings.FieldsFunc(s, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !unicode.IsMark(c) })
}

// similar tells whether two words count as one: one is the other's plural, or, if both are long, one letter is wrong. Numbers must be equal.
func similar(a, b string) bool {
	switch {
	case a == b:
		return true
	case min(len(a), len(b)) < 3 || a[0] != b[0]:
		return false
	case a+"s" == b || b+"s" == a || a+"es" == b || b+"es" == a:
		return true
	}
	return min(utf8.RuneCountInString(a), utf8.RuneCountInString(b)) >= 5 && !strings.ContainsFunc(a+b, unicode.IsDigit) && oneEdit([]rune(a), []rune(b))
}

// oneEdit tells whether one letter put in, left out, changed, or swapped with the next makes b of a.
func oneEdit(a, b []rune) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) < len(b) {
		return string(a[i:]) == string(b[i+1:])
	}
	return i == len(a) || string(a[i+1:]) == string(b[i+1:]) ||
		i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && string(a[i+2:]) == string(b[i+2:])
}

// utterance is what was said, with the words that something accounts for.
type utterance struct {
	text  string
	words []string
	used  []bool
}

func newUtterance(s string) *utterance {
	w := words(s)
	return &utterance{s, w, make([]bool, len(w))}
}

// has tells whether all of the words occur, in any order.
func (u *utterance) has(ws []string) bool {
	for _, w := range ws {
		if !u.hasWord(w) {
			return false
		}
	}
	return len(ws) > 0
}

func (u *utterance) hasWord(w string) bool {
	for _, x := range u.words {
		if similar(w, x) {
			return true
		}
	}
	return false
}

// span is where the words stand one behind the other, -1 if nowhere.
func (u *utterance) span(ws []string) int {
next:
	for i := 0; i+len(ws) <= len(u.words) && len(ws) > 0; i++ {
		for j, w := range ws {
			if u.words[i+j] != w {
				continue next
			}
		}
		return i
	}
	return -1
}

// use marks the words as accounted for, as often as they occur.
func (u *utterance) use(ws []string) {
	for _, w := range ws {
		for i, x := range u.words {
			if similar(w, x) {
				u.used[i] = true
			}
		}
	}
}

// rest is the first run of words that nothing accounts for: not the call, not the domains' own words, and not those of any command.
func (u *utterance) rest(domains ...string) string {
	var run []string
	for i, w := range u.words {
		known := u.used[i] || commandWords[w] || isNumber(w)
		for _, d := range domains {
			known = known || domainWords[d][w]
		}
		if !known {
			run = append(run, w)
		} else if len(run) > 0 {
			break
		}
	}
	return strings.Join(run, " ")
}

func isNumber(w string) bool { return w[0] >= '0' && w[0] <= '9' }

func set(s string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

// commandWords say nothing about which device is meant. They are what is left of Home Assistant's English command templates when names, areas
// and kinds of devices are taken out, and their like.
var commandWords = set(`
	a an the this that these those it its them here there my our your me us i we you
	all every each everything everywhere anything any single both entire whole devices device
	to in on off of at for from by with into onto out up down over across around throughout inside and or then but also too
	is are be am was do does did can could would will should may might want need like love d id s ll please thanks thank hey ok okay now just right away
	again let lets have get got make made sure there so
	turn turned switch switched put bring set change adjust activate deactivate enable disable start stop run play pause resume unpause skip next previous
	back go open opened close closed shut lock unlock raise lower lift increase decrease dim brighten light illuminate lit transition show give reduce
	toggle press power clean vacuum return dock
	percent degrees degree brightness color colour position temperature temp volume level value highest lowest maximum minimum max min half full fully
	room rooms area areas space floor floors level house home apartment flat place building
	one two three four five six seven eight nine ten fifteen twenty thirty forty fifty sixty seventy eighty ninety hundred zero quarter
	warmer cooler hotter colder louder quieter brighter darker
	last latest replay rewind song songs track tracks music item media show shows scene script mode
	what whats which who where when how many much state status tell`)

// domainWords are the words that mean any device of a domain.
var domainWords = map[string]map[string]bool{
	"light":        set("light lights lamp lamps lighting bulb bulbs"),
	"fan":          set("fan fans"),
	"switch":       set("switch switches outlet outlets plug plugs"),
	"cover":        set("cover covers curtain curtains blind blinds shade shades shutter shutters awning awnings gate gates window windows door doors garage drapes damper"),
	"lock":         set("lock locks door doors"),
	"valve":        set("valve valves"),
	"scene":        set("scene scenes"),
	"script":       set("script scripts"),
	"climate":      set("thermostat thermostats heating climate ac"),
	"media_player": set("player players tv television tvs speaker speakers radio stereo sound"),
	"vacuum":       set("vacuum vacuums robot cleaner base"),
}

// within tells whether the words stand in the utterance only as a part of the whole.
func (u *utterance) within(part, whole []string) bool {
	i := u.span(whole)
	if i < 0 {
		return false
	}
	rest := &utterance{words: append(append([]string(nil), u.words[:i]...), u.words[i+len(whole):]...)}
	return !rest.has(part)
}

func (u *utterance) isUsed(w string) bool {
	for i, x := range u.words {
		if x == w && u.used[i] {
			return true
		}
	}
	return false
}

func (u *utterance) allUsed(ws []string) bool {
	for _, w := range ws {
		if !u.isUsed(w) {
			return false
		}
	}
	return true
}

// match is an entity whose whole name was said.
type match struct {
	entity *Entity
	name   string
	n      int // words
}

// longest is the entity with the longest name that was said word for word, in words that nothing else accounts for. Where the model named none,
// names of one word do not count, and never those of a word like "lock", unless the model means it: such words are said in other meanings.
func (u *utterance) longest(entities []*Entity, named, domain string) match {
	var best match
	for _, e := range entities {
		for _, name := range e.Names {
			w := words(name)
			switch {
			case len(w) <= best.n || u.unused(w) < 0:
			case len(w) == 1 && (named == "" || commandWords[w[0]] && !strings.EqualFold(name, named)):
			case named == "" && domain != "" && e.Domain != "" && e.Domain != domain && !domainless[e.Domain]:
			default:
				best = match{e, name, len(w)}
			}
		}
	}
	return best
}

// unused is where the words stand one behind the other, none of them accounted for, -1 if nowhere.
func (u *utterance) unused(ws []string) int {
	i := u.span(ws)
	if i >= 0 && slices.Contains(u.used[i:i+len(ws)], true) {
		return -1
	}
	return i
}

// domainless are domains that are meant by name only, so that a command for a kind of devices that has their name means them.
var domainless = set("scene script")

// quote is the part of the text that s is a copy of, as it stands there; "" if there is none that is near enough.
func (u *utterance) quote(s string) string {
	s = strings.ToLower(s)
	if lower := strings.ToLower(u.text); len(lower) == len(u.text) {
		if i := strings.Index(lower, s); i >= 0 {
			return u.text[i : i+len(s)]
		}
	}
	// Else words in a row, of which few letters differ.
	s = strings.Join(words(s), "")
	best, limit := "", 1+len(s)/8
	fields := strings.Fields(u.text)
	for i := range fields {
		said := ""
		for j := i; j < len(fields) && len(said) <= len(s)+limit; j++ {
			said += strings.Join(words(fields[j]), "")
			if d := edit.Distance(said, s, limit); d <= limit && len(said) > 0 {
				best, limit = strings.Trim(strings.Join(fields[i:j+1], " "), ".,;:!?"), d-1
			}
		}
	}
	return best
}
