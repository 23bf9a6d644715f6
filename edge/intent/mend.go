package intent

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"bimamba/edge/internal/edit"
)

// known words as they sound, for comparing.
type heard struct{ word, sound string }

// commands are the words that speech recognition may have meant, beside the names of a home.
var commands = sync.OnceValue(func() []heard {
	var out []heard
	for _, w := range slices.Sorted(maps.Keys(vocabulary())) {
		if len(w) >= 4 && !functionWords[w] && !isNumber(w) {
			out = append(out, heard{w, sound(w)})
		}
	}
	return out
})

// most is how many words of a text are looked at, and how many readings it may have.
const (
	maxMend     = 24
	maxReadings = 4
)

// Mend is an utterance with words that are neither the home's nor those of commands replaced by ones that are spelled nearly so or sound alike, and
// words written apart that the home writes as one. It is the utterance itself where there is none.
func (h *Home) Mend(utterance string) string {
	ix := h.index()
	fields := strings.Fields(utterance)
	if len(fields) > maxMend {
		return utterance
	}
	for i := 0; i < len(fields); i++ {
		w := bareWord(fields[i])
		if w == "" {
			continue
		}
		if i+1 < len(fields) {
			if joined := w + bareWord(fields[i+1]); len(joined) > 1 && joined != w && ix.words[joined] && !(ix.words[w] && ix.words[bareWord(fields[i+1])]) {
				fields = slices.Replace(fields, i, i+2, joined)
				continue
			}
		}
		if ix.words[w] || plain(w) || otherWords[w] {
			continue
		}
		best, least := "", 0
		for _, x := range ix.similar(w) {
			if d := edit.Distance(w, x, len(w)); best == "" || d < least || d == least && x < best {
				best, least = x, d
			}
		}
		if best != "" {
			fields[i] = best
		}
	}
	return strings.Join(fields, " ")
}

// bareWord is a word as words gives it, "" for one that is several.
func bareWord(s string) string {
	if w := words(s); len(w) == 1 {
		return w[0]
	}
	return ""
}

// named are the home's words that are similar to w.
func (ix *index) named(w string) []string {
	var out []string
	for _, l := range []*lexicon{&ix.names, &ix.areas, &ix.floors} {
		for _, d := range deletes(w) {
			for _, id := range l.deletes[d] {
				if similar(l.vocab[id], w) {
					out = append(out, l.vocab[id])
				}
			}
		}
		for _, id := range l.sounds[consonants(w)] {
			if similar(l.vocab[id], w) {
				out = append(out, l.vocab[id])
			}
		}
	}
	return out
}

// similar are the home's words that are similar to w, or those of commands where there are none.
func (ix *index) similar(w string) []string {
	out := ix.named(w)
	if len(out) == 0 && len(w) >= 4 {
		s := sound(w)
		for _, c := range commands() {
			if abs(len(c.word)-len(w)) <= 1 && (c.sound == s || similar(c.word, w)) {
				out = append(out, c.word)
			}
		}
	}
	return out
}

func abs(n int) int { return max(n, -n) }

// Reading is what else an utterance may have been.
type Reading struct {
	Text string
	Word string // the home's word in it that was heard as another
	Far  int    // how far that one is from what was heard; the nearest is first
}

// Readings are what else an utterance may have been, where speech recognition heard another word, or two, for one of the home's that only sounds a
// little like it. The nearest are first.
func (h *Home) Readings(utterance string) []Reading {
	ix := h.index()
	fields := strings.Fields(utterance)
	if len(fields) > maxMend {
		return nil
	}
	var all []Reading
	add := func(i, n int, w string, x heard) {
		s := sound(w)
		limit := max(1, max(len(s), len(x.sound))/3)
		d := edit.Distance(s, x.sound, limit)
		if w == x.word || d > limit || edit.Distance(consonants(w), consonants(x.word), 1) > 1 {
			return
		}
		text := strings.Join(slices.Replace(slices.Clone(fields), i, i+n, x.word), " ")
		all = append(all, Reading{text, x.word, 10*d + edit.Distance(w, x.word, len(w))})
	}
	for i := range fields {
		w := bareWord(fields[i])
		if i == 0 || len(w) < 3 || plain(w) && numberWords[w] == 0 || logicWords[w] { // the first word is the verb
			continue
		}
		for _, x := range ix.heard {
			add(i, 1, w, x)
		}
		if i+1 < len(fields) {
			if next := bareWord(fields[i+1]); next != "" && !(ix.words[w] && ix.words[next]) && !plain(w) {
				for _, x := range ix.heard {
					add(i, 2, w+next, x)
				}
			}
		}
	}
	if len(fields) < 2 {
		return nil
	}
	if w := bareWord(fields[0]); w != "" && !plain(w) && !ix.words[w] {
		for _, x := range slices.Sorted(maps.Keys(startVerbs)) {
			add(0, 1, w, heard{x, sound(x)})
		}
	}
	slices.SortStableFunc(all, func(a, b Reading) int { return cmp.Compare(a.Far, b.Far) })
	var out []Reading
	for _, r := range all {
		if !slices.ContainsFunc(out, func(o Reading) bool { return o.Text == r.Text }) && len(out) < maxReadings {
			out = append(out, r)
		}
	}
	return out
}

// startVerbs are what most commands begin with.
var startVerbs = set("turn switch set open close shut lock unlock dim start stop pause resume add put cancel make skip")

// Uses tells whether what was understood is for something that has the word in its name, its area or its floor.
func (o *Outcome) Uses(word string) bool {
	if startVerbs[word] {
		return len(o.Entities) > 0 || strings.Contains(o.Intent, "Timer")
	}
	for _, k := range []string{"name", "area", "floor"} {
		if s, ok := o.Slots[k].(string); ok && slices.Contains(words(s), word) {
			return true
		}
	}
	return false
}
