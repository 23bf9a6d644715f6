package intent

import (
	"slices"
	"strings"
	"unicode"

	"bimamba/edge/internal/edit"
)

var apostrophes = strings.NewReplacer("'", "", "’", "")

// words are the words of a text in lower case. Apostrophes are dropped, all else that is no letter or digit parts words.
func words(s string) []string {
	s = strings.ToLower(s)
	if strings.ContainsAny(s, "'’") {
		s = apostrophes.Replace(s)
	}
	return strings.FieldsFunc(s, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !unicode.IsMark(c) })
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
	fixed []bool // words that are certainly what was said

	strict bool // numbers are to be accounted for, too
}

func newUtterance(s string) *utterance {
	w := words(s)
	u := &utterance{s, w, make([]bool, len(w)), make([]bool, len(w)), false}
	for i, x := range w {
		u.fixed[i] = plain(x)
	}
	return u
}

// plain tells whether a word is one of commands.
func plain(w string) bool {
	return isNumber(w) || vocabulary()[w]
}

// fix notes the words that are the home's.
func (u *utterance) fix(ix *index) {
	for i, w := range u.words {
		u.fixed[i] = u.fixed[i] || ix.words[w]
	}
}

func (u *utterance) clone() *utterance {
	c := *u
	c.used = slices.Clone(u.used)
	return &c
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
	for i, x := range u.words {
		if alike(w, x, u.fixed[i]) || i > 0 && len(w) > 5 && u.words[i-1]+x == w {
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
			if alike(w, x, u.fixed[i]) {
				u.used[i] = true
			}
			if i > 0 && len(w) > 5 && u.words[i-1]+x == w { // "bed room"
				u.used[i-1], u.used[i] = true, true
			}
		}
	}
}

// rest is the first run of words that neither the call nor the sets account for.
func (u *utterance) rest(sets ...map[string]bool) string {
	var run []string
	for i, w := range u.words {
		known := u.used[i] || functionWords[w] || (isNumber(w) || numberWords[w] > 0) && !u.strict
		for _, s := range sets {
			known = known || s[w]
		}
		if !known {
			run = append(run, w)
		} else if len(run) > 0 {
			break
		}
	}
	return strings.Join(run, " ")
}

// says tells whether any of the words of a set was said.
func (u *utterance) says(s map[string]bool) bool {
	return slices.ContainsFunc(u.words, func(w string) bool { return s[w] })
}

// left tells whether any of the words of a set was said that nothing accounts for.
func (u *utterance) left(s map[string]bool) bool {
	for i, w := range u.words {
		if s[w] && !u.used[i] {
			return true
		}
	}
	return false
}

func isNumber(w string) bool { return w[0] >= '0' && w[0] <= '9' }

// within tells whether the words stand in the utterance only as a part of the whole.
func (u *utterance) within(part, whole []string) bool {
	i := u.span(whole)
	if i < 0 {
		return false
	}
	j := i + len(whole)
	rest := &utterance{words: slices.Concat(u.words[:i], u.words[j:]), fixed: slices.Concat(u.fixed[:i], u.fixed[j:])}
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

// match is an entity by one of its names.
type match struct {
	entity *Entity
	name   string
	words  []string
}

// longest are those with the longest name that was said word for word, in words that nothing else accounts for. Where the model named none,
// names of one word do not count, and never those of a word like "lock", unless the model means it: such words are said in other meanings.
func (u *utterance) longest(names []match, named, domain string) []match {
	var best []match
	for _, m := range names {
		w, e := m.words, m.entity
		switch {
		case len(best) > 0 && len(w) < len(best[0].words) || u.unused(w) < 0:
		case len(w) == 1 && (named == "" || plain(w[0]) && !strings.EqualFold(m.name, named)):
		case named == "" && domain != "" && e.Domain != "" && e.Domain != domain && !domainless[e.Domain]:
		case len(best) > 0 && len(w) == len(best[0].words):
			best = append(best, m)
		default:
			best = []match{m}
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
