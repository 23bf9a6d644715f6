package intent

import (
	"encoding/json"
	"slices"
	"sort"
	"strings"

	"bimamba/edge/grammar"
)

// Form is what the model may write for the task home, given a home and an utterance: one line of JSON with an intent and its slots, in the order in
// which the model writes them.
//
// Names, areas and floors are those of the home that the utterance may mean, and where it means none, words of the utterance, so that a refusal can tell
// what is not there. Free texts are words of the utterance. All else is out of lists, and numbers have limits. Of an intent that is not offered only the
// name can be written: the model can say that it is meant, and it is refused. Slots that a tool does not take can be written, for the same
// reason: "pause the kitchen timer" must not pause another one because the tool knows no areas.
type Form struct {
	lists [][]string // each in order
	slots [][]slot   // of each intent, as lists[keys+i] has their keys
	reply []bool     // of each intent: a line of text follows
}

// slot is what a key takes.
type slot struct {
	list   int // of strings, for a number -1
	most   int32
	tenths bool
}

// Lists of every Form. Those of the intents' keys are behind them, then those that values are from.
const (
	listOpen = iota
	listIntents
	listKeys
)

// state is a place in a text of a Form.
type state struct {
	at            place
	intent        int16
	slot          int16 // the first that may come next, or the one whose value is being written
	list          int32
	lo, hi, depth int32 // what of the list begins with the depth bytes so far
	number        int32 // tenths
	digits        int8
	fraction      bool
}

type place uint8

const (
	atOpen    place = iota
	atIntent        // in its name
	atNext          // behind an intent or a value
	atKeyOpen       // behind a comma
	atKey           // in a key
	atColon         // behind a key
	atValue         // behind a colon
	atString        // in a text
	atNumber        // in a number, which may be over
	atEnd           // behind the object
	atReply         // in the line of text
)

// maxReply is how many bytes a reply may have.
const maxReply = 160

// Form is what the model may write for an utterance, as Utterance gives it, when the client offers tools.
func (h *Home) Form(utterance string, tools []Tool) *Form {
	return h.form(utterance, func(intent string) bool {
		return find(tools, intent) != nil || replies[intent] || instead[intent] != "" && find(tools, instead[intent]) != nil ||
			strings.HasPrefix(intent, "HassShoppingList") && find(tools, strings.Replace(intent, "Shopping", "", 1)) != nil
	})
}

func (h *Home) form(utterance string, offered func(intent string) bool) *Form {
	f := &Form{lists: [][]string{{`{"intent":"`}, intentNames}}
	ix := h.index()
	near := ix.near(newUtterance(utterance))
	spans := newSpans(utterance)
	fallback := nameSpans(spans)
	lists := map[string]int{}
	list := func(name string, items func() []string) int {
		i, ok := lists[name]
		if !ok {
			l := items()
			slices.Sort(l)
			i = len(f.lists)
			f.lists = append(f.lists, slices.Compact(l))
			lists[name] = i
		}
		return i
	}
	var keys [][]string
	for _, name := range intentNames {
		var k []string
		if x := intents[name]; offered(name) {
			k = x.slots
		}
		keys = append(keys, k)
		f.reply = append(f.reply, replies[name])
	}
	f.lists = append(f.lists, keys...)
	for i, name := range intentNames {
		var slots []slot
		var kept []string
		for _, k := range keys[i] {
			s := slot{list: -1}
			x := intents[name]
			switch {
			case numbers[k].most > 0:
				s.most, s.tenths = numbers[k].most, numbers[k].tenths
			case free[k]:
				s.list = list("spans", func() []string { return spans })
			case k == "name" && x.timer():
				s.list = list("timer", func() []string { return slices.Clone(fallback) })
			case k == "name":
				s.list = list("name "+x.domain, func() []string { return orSpans(near.names(x.domain), fallback, x.domain == "") })
			case k == "area":
				s.list = list(k, func() []string { return orSpans(near.areas, fallback, false) })
			case k == "floor":
				s.list = list(k, func() []string { return orSpans(near.floors, fallback, false) })
			case k == "state":
				s.list = list(k, func() []string { return append(slices.Clone(values[k]), spans...) })
			case k == "domain":
				s.list = list(k+" "+x.kinds, func() []string { return strings.Fields(x.kinds) })
			default:
				s.list = list(k, func() []string { return slices.Clone(values[k]) })
			}
			if s.list < 0 || len(f.lists[s.list]) > 0 { // else nothing could be written there
				slots, kept = append(slots, s), append(kept, k)
			}
		}
		f.lists[listKeys+i] = kept
		f.slots = append(f.slots, slots)
	}
	return f
}

// orSpans is names as JSON has them, or the words of the utterance if there are none.
func orSpans(names, spans []string, all bool) []string {
	var out []string
	for _, n := range names {
		out = append(out, body(strings.ToLower(n)))
	}
	if len(out) == 0 {
		out = slices.Clone(spans)
	}
	if all {
		out = append(out, "all")
	}
	return out
}

// maxSpan is how many words a free text may have.
const maxSpan = 32

// newSpans are the parts of an utterance that free texts may be: words in a row, as JSON has them.
func newSpans(utterance string) []string {
	text := body(utterance)
	var starts, ends []int
	for i := 0; i < len(text); {
		if text[i] == ' ' {
			i++
			continue
		}
		j := i
		for j < len(text) && text[j] != ' ' {
			j++
		}
		starts, ends = append(starts, i), append(ends, j)
		i = j
	}
	var out []string
	for i := range starts {
		for j := i; j < len(ends) && j < i+maxSpan; j++ {
			if s := strings.TrimRight(text[starts[i]:ends[j]], ".,;:!?"); s != "" && !strings.HasSuffix(s, `\`) {
				out = append(out, s)
			}
		}
	}
	if len(out) == 0 {
		out = []string{"?"} // some text must be within reach
	}
	return out
}

// nameSpans are the spans that may be a name: neither their first nor their last word is one of commands.
func nameSpans(spans []string) []string {
	var out []string
	for _, s := range spans {
		if w := words(s); len(w) > 0 && len(w) <= 6 && !plain(w[0]) && (!plain(w[len(w)-1]) || len(w) > 1 && !functionWords[w[len(w)-1]]) {
			out = append(out, s)
		}
	}
	return out
}

// body is a text as it stands between the quotes in JSON.
func body(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // into memory
	return strings.TrimSuffix(strings.TrimSpace(b.String())[1:], `"`)
}

// Start begins a text.
func (f *Form) Start(v *grammar.Vocab) *grammar.Follower[state] {
	return grammar.Follow(v, f, state{at: atOpen, list: listOpen, hi: 1})
}

// narrow takes a byte of what is in a list.
func (f *Form) narrow(s state, b byte) (state, bool) {
	l := f.lists[s.list][s.lo:s.hi]
	d := int(s.depth)
	lo := sort.Search(len(l), func(i int) bool { return len(l[i]) > d && l[i][d] >= b })
	hi := lo + sort.Search(len(l)-lo, func(i int) bool { return l[lo+i][d] > b })
	s.lo, s.hi, s.depth = s.lo+int32(lo), s.lo+int32(hi), s.depth+1
	return s, lo < hi
}

// whole tells whether the bytes so far are all of an entry of the list, which is at s.lo.
func (f *Form) whole(s state) bool { return len(f.lists[s.list][s.lo]) == int(s.depth) }

// Next is one byte on. It is for package grammar.
func (f *Form) Next(s state, b byte) (state, bool) {
	switch s.at {
	case atOpen:
		n, ok := f.narrow(s, b)
		if ok && f.whole(n) {
			return state{at: atIntent, list: listIntents, hi: int32(len(f.lists[listIntents]))}, true
		}
		return n, ok
	case atIntent, atString:
		if n, ok := f.narrow(s, b); ok || b != '"' { // a quote within the text has a backslash before it
			return n, ok
		}
		if !f.whole(s) {
			return s, false
		}
		if s.at == atIntent {
			s.intent, s.slot = int16(s.lo), -1
		}
		return state{at: atNext, intent: s.intent, slot: s.slot + 1}, true
	case atNext:
		if b == '}' {
			return state{at: atEnd, intent: s.intent}, true
		}
		return state{at: atKeyOpen, intent: s.intent, slot: s.slot}, b == ',' && int(s.slot) < len(f.slots[s.intent])
	case atKeyOpen:
		return state{at: atKey, intent: s.intent, list: listKeys + int32(s.intent), lo: int32(s.slot), hi: int32(len(f.slots[s.intent]))}, b == '"'
	case atKey:
		if b != '"' {
			return f.narrow(s, b)
		}
		return state{at: atColon, intent: s.intent, slot: int16(s.lo)}, f.whole(s)
	case atColon:
		s.at = atValue
		return s, b == ':'
	case atValue:
		x := f.slots[s.intent][s.slot]
		if x.list < 0 {
			s.at = atNumber
			return f.digit(s, b)
		}
		return state{at: atString, intent: s.intent, slot: s.slot, list: int32(x.list), hi: int32(len(f.lists[x.list]))}, b == '"'
	case atNumber:
		if b == ',' || b == '}' {
			if s.fraction && s.digits == 0 {
				return s, false
			}
			return f.Next(state{at: atNext, intent: s.intent, slot: s.slot + 1}, b)
		}
		return f.digit(s, b)
	case atEnd:
		return state{at: atReply, intent: s.intent}, f.reply[s.intent] && b == '\n'
	case atReply:
		s.depth++
		return s, b >= ' ' && b <= '~' && s.depth <= maxReply
	}
	return s, false
}

// digit takes a byte of a number. s.number is in tenths.
func (f *Form) digit(s state, b byte) (state, bool) {
	x := f.slots[s.intent][s.slot]
	switch {
	case b == '.':
		ok := x.tenths && !s.fraction && s.digits > 0 && s.number < 10*x.most
		s.fraction, s.digits = true, 0
		return s, ok
	case b < '0' || b > '9':
		return s, false
	case s.fraction:
		ok := s.digits == 0
		s.digits, s.number = 1, s.number+int32(b-'0')
		return s, ok
	case s.digits > 0 && s.number == 0: // no zero in front
		return s, false
	}
	s.digits++
	s.number = 10*s.number + 10*int32(b-'0')
	return s, s.number <= 10*x.most
}

// Complete tells whether a text may end. It is for package grammar.
func (f *Form) Complete(s state) bool {
	return s.at == atEnd && !f.reply[s.intent] || s.at == atReply && s.depth > 0
}
