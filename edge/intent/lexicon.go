package intent

import (
	"maps"
	"slices"
	"strings"
)

// index is a home's names made ready for many utterances.
type index struct {
	names, areas, floors lexicon
	words                map[string]bool // of all names
	heard                []heard         // those of at least three letters
}

// lexicon finds the names that an utterance may mean, at a cost that grows with the utterance and with what it finds, not with the home.
type lexicon struct {
	entries []entry
	ids     map[string]int32
	vocab   []string
	uses    [][]use            // of each word of vocab
	deletes map[string][]int32 // words by what is left of them when one letter is left out
	sounds  map[string][]int32 // words by their consonants' sounds
}

// entry is one spelling of a name.
type entry struct {
	spelling string
	words    []string
	own      []string // words without those that the name of the entity's area has, too, if any are left
	entity   *Entity  // nil for an area or a floor
	all      uint32   // a bit for each of own
}

// use is a word in an entry, or two that are written as one.
type use struct {
	entry int32
	bits  uint32
}

const maxWords = 32 // of a name; longer ones are cut

func (l *lexicon) add(spelling string, e *Entity, without [][]string) {
	w := words(spelling)
	if len(w) == 0 {
		return
	}
	w = w[:min(len(w), maxWords)]
	own := w
	for _, area := range without {
		if rest := less(own, area); len(rest) > 0 {
			own = rest
		}
	}
	i := int32(len(l.entries))
	l.entries = append(l.entries, entry{spelling, w, own, e, uint32(1)<<len(own) - 1})
	for k, x := range own {
		l.word(x, use{i, 1 << k})
		if k > 0 {
			l.word(own[k-1]+x, use{i, 3 << (k - 1)})
		}
	}
}

// less is ws without those of out.
func less(ws, out []string) []string {
	return slices.DeleteFunc(slices.Clone(ws), func(w string) bool { return slices.Contains(out, w) })
}

func (l *lexicon) word(w string, u use) {
	if l.ids == nil {
		l.ids, l.deletes, l.sounds = map[string]int32{}, map[string][]int32{}, map[string][]int32{}
	}
	id, ok := l.ids[w]
	if !ok {
		id = int32(len(l.vocab))
		l.ids[w] = id
		l.vocab = append(l.vocab, w)
		l.uses = append(l.uses, nil)
		for _, d := range deletes(w) {
			l.deletes[d] = append(l.deletes[d], id)
		}
		if k := consonants(w); k != "" {
			l.sounds[k] = append(l.sounds[k], id)
		}
	}
	l.uses[id] = append(l.uses[id], u)
}

// deletes is w, and w with one letter left out if it is long enough for similar to allow that.
func deletes(w string) []string {
	out := []string{w}
	if len(w) < 3 {
		return out
	}
	r := []rune(w)
	for i := range r {
		if len(r) < 5 && i < len(r)-1 { // a plural
			continue
		}
		out = append(out, string(r[:i])+string(r[i+1:]))
	}
	if s := strings.TrimSuffix(w, "es"); s != w {
		out = append(out, s)
	}
	return out
}

// find is the entries all of whose own words the utterance has, or some that are similar.
func (l *lexicon) find(u *utterance) []int32 {
	if len(l.entries) == 0 {
		return nil
	}
	found := map[int32]uint32{}
	seen := map[int32]bool{}
	take := func(id int32) {
		if seen[id] {
			return
		}
		seen[id] = true
		for _, x := range l.uses[id] {
			found[x.entry] |= x.bits
		}
	}
	look := func(w string, fixed bool) {
		if id, ok := l.ids[w]; ok {
			take(id)
		}
		for _, d := range deletes(w) {
			for _, id := range l.deletes[d] {
				if alike(l.vocab[id], w, fixed) {
					take(id)
				}
			}
		}
		if k := consonants(w); k != "" && !fixed {
			for _, id := range l.sounds[k] {
				if alike(l.vocab[id], w, false) {
					take(id)
				}
			}
		}
	}
	for i, w := range u.words {
		look(w, u.fixed[i])
		if i > 0 {
			look(u.words[i-1]+w, u.fixed[i-1] && u.fixed[i])
		}
	}
	var out []int32
	for i, bits := range found {
		if bits == l.entries[i].all {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return out
}

// having are the entries that have all of the words.
func (l *lexicon) having(ws []string) []int32 {
	var out []int32
	if len(ws) == 0 {
		return nil
	}
	id, ok := l.ids[ws[0]]
	for i := 1; !ok && i < len(ws); i++ {
		id, ok = l.ids[ws[i]]
	}
	if !ok {
		return nil
	}
	for _, u := range l.uses[id] {
		e := &l.entries[u.entry]
		if !slices.Contains(out, u.entry) && !slices.ContainsFunc(ws, func(w string) bool {
			return !slices.ContainsFunc(e.words, func(x string) bool { return alike(w, x, true) })
		}) {
			out = append(out, u.entry)
		}
	}
	return out
}

// Prepare makes the home's names ready for utterances, which is done with the first one otherwise: 10,000 of them take a while.
func (h *Home) Prepare() { h.index() }

// index makes the home's names ready, once.
func (h *Home) index() *index {
	h.once.Do(func() {
		ix := &index{words: map[string]bool{}}
		areas := map[string][]string{}
		for i := range h.Entities {
			e := &h.Entities[i]
			var without [][]string
			for _, a := range e.Areas {
				w, ok := areas[a]
				if !ok {
					w = words(a)
					areas[a] = w
				}
				without = append(without, w)
			}
			for _, n := range e.Names {
				ix.names.add(n, e, without)
			}
		}
		for _, a := range h.Areas {
			ix.areas.add(a, nil, nil)
		}
		for _, f := range h.Floors {
			ix.floors.add(f, nil, [][]string{{"floor"}})
		}
		for _, l := range []*lexicon{&ix.names, &ix.areas, &ix.floors} {
			for _, e := range l.entries {
				for _, w := range e.words {
					ix.words[w] = true
				}
			}
		}
		for _, w := range slices.Sorted(maps.Keys(ix.words)) {
			if (len(w) == 3 && !functionWords[w] || len(w) > 3) && !isNumber(w) {
				ix.heard = append(ix.heard, heard{w, sound(w)})
			}
		}
		h.ix = ix
	})
	return h.ix
}

// nearby is what of a home an utterance may mean.
type nearby struct {
	entries       []*entry // names
	areas, floors []string // as the model may write them
}

func (ix *index) near(u *utterance) *nearby {
	n := &nearby{}
	u.fix(ix)
	for _, i := range ix.names.find(u) {
		n.entries = append(n.entries, &ix.names.entries[i])
	}
	for _, i := range ix.areas.find(u) {
		n.areas = append(n.areas, ix.areas.entries[i].spelling)
	}
	for _, i := range ix.floors.find(u) { // the model often leaves the word "floor" out
		e := &ix.floors.entries[i]
		n.floors = append(n.floors, e.spelling)
		if s, ok := strings.CutSuffix(strings.ToLower(e.spelling), " floor"); ok {
			n.floors = append(n.floors, s)
		}
	}
	return n
}

// names are the spellings of the domain's entities, of all if it is "".
func (n *nearby) names(domain string) []string {
	var out []string
	for _, e := range n.entries {
		if domain == "" || e.entity.Domain == "" || e.entity.Domain == domain {
			out = append(out, e.spelling)
		}
	}
	return out
}

// Mentioned is the longest name in a text that is there word for word, "" if there is none.
func (h *Home) Mentioned(text string) string {
	u := newUtterance(text)
	best, n := "", 0
	for _, e := range h.index().near(u).entries {
		if len(e.words) > n && u.span(e.words) >= 0 {
			best, n = e.spelling, len(e.words)
		}
	}
	return best
}

// Place is the one area, or floor, that a text names word for word, "" if it names none or several.
func (h *Home) Place(text string) string {
	u := newUtterance(text)
	ix := h.index()
	found := ""
	for _, l := range []*lexicon{&ix.areas, &ix.floors} {
		for _, i := range l.find(u) {
			if e := &l.entries[i]; u.span(e.words) >= 0 {
				if found != "" {
					return ""
				}
				found = e.spelling
			}
		}
	}
	return found
}
