package grammar

import (
	"encoding/binary"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// runeDFA is a deterministic automaton over characters. It begins in state 0.
type runeDFA struct{ states []runeState }

type runeState struct {
	edges  []runeEdge // in order, without overlap
	accept bool
}

type runeEdge struct {
	lo, hi rune
	to     int
}

const (
	maxPattern     = 2048 // states over characters
	maxPatternStep = 1 << 16
	maxEmail       = 64   // characters, which is the limit of its first part
	maxLength      = 1024 // characters that are counted: longer strings are not written where there is a limit, and not required
)

// formats are those that are kept, as patterns: RFC 3339, RFC 4122, RFC 2673, and the ordinary part of RFC 5322.
var formats = map[string]string{
	"date":      "^" + datePattern + "$",
	"time":      "^" + timePattern + "$",
	"date-time": "^" + datePattern + "T" + timePattern + "$",
	"uuid":      "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
	"ipv4":      `^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])$`,
	"email":     `^[a-zA-Z0-9_+-]+(\.[a-zA-Z0-9_+-]+)?@([a-zA-Z0-9]+(-[a-zA-Z0-9]+)*\.)+[a-zA-Z]{2,}$`,
}

const (
	datePattern = "[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
	timePattern = `([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])`
)

// string takes a string.
func (c *compiler) string(n *nfa, from, to int, v *value, path string) error {
	low, high, err := c.limits(v, "minLength", "maxLength", path)
	if err != nil {
		return err
	}
	if low > maxLength {
		return c.errorf(path+"/minLength", "%d characters are more than the limit of %d", low, maxLength)
	}
	if high != none {
		high = min(high, maxLength)
	}
	at, pattern := path+"/pattern", ""
	if x := v.get("pattern"); x != nil {
		if x.kind != isString {
			return c.errorf(at, "pattern has to be a string, not %s", x.kind)
		}
		pattern = x.text
	} else if x := v.get("format"); x != nil && x.kind == isString {
		at, pattern = path+"/format", formats[x.text]
		if x.text == "email" && (high == none || high > maxEmail) {
			if high = maxEmail; low > high {
				return c.errorf(at, "an email address of at least %d characters is not supported", low)
			}
		}
	}
	if pattern == "" {
		n.call(from, c.b.bounded(low, high), to)
		return nil
	}
	name := fmt.Sprintf("pattern %d %d %s", low, high, pattern)
	r, ok := c.b.shared[name]
	if !ok {
		d, err := compilePattern(pattern)
		if err == nil && (low > 0 || high != none) {
			d, err = d.counted(low, high)
		}
		if err != nil {
			return c.errorf(at, "%v", err)
		}
		r = c.b.written(name, d)
	}
	n.call(from, r, to)
	return nil
}

// compilePattern makes an automaton of a regular expression that is to be found somewhere in the text.
func compilePattern(pattern string) (*runeDFA, error) {
	re, err := syntax.Parse(fromECMA(pattern), syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("the pattern is not supported: %v", err)
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil, fmt.Errorf("the pattern is not supported: %v", err)
	}
	if len(prog.Inst) > maxPatternStep/8 {
		return nil, fmt.Errorf("the pattern is too large: %d steps", len(prog.Inst))
	}
	p := &patternSet{prog: prog, mark: make([]bool, len(prog.Inst)), ids: map[string]int{}}
	p.id([]uint32{uint32(prog.Start)}, true)
	for i := 0; i < len(p.sets); i++ {
		if err := p.expand(i); err != nil {
			return nil, err
		}
	}
	p.dfa.prune()
	return &p.dfa, nil
}

// prune takes away the edges to states from which no text is accepted.
func (d *runeDFA) prune() {
	from := make([][]int, len(d.states))
	live := make([]bool, len(d.states))
	var work []int
	for i, s := range d.states {
		for _, e := range s.edges {
			from[e.to] = append(from[e.to], i)
		}
		if s.accept {
			live[i] = true
			work = append(work, i)
		}
	}
	for len(work) > 0 {
		i := work[len(work)-1]
		work = work[:len(work)-1]
		for _, j := range from[i] {
			if !live[j] {
				live[j] = true
				work = append(work, j)
			}
		}
	}
	for i := range d.states {
		d.states[i].edges = slices.DeleteFunc(d.states[i].edges, func(e runeEdge) bool { return !live[e.to] })
	}
}

// fromECMA rewrites \uXXXX, which package syntax knows as \x{XXXX}.
func fromECMA(pattern string) string {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		b.WriteByte(pattern[i])
		if pattern[i] != '\\' || i+1 == len(pattern) {
			continue
		}
		i++
		if pattern[i] == 'u' && i+4 < len(pattern) && strings.Trim(pattern[i+1:i+5], "0123456789abcdefABCDEF") == "" {
			b.WriteString("x{" + pattern[i+1:i+5] + "}")
			i += 4
		} else {
			b.WriteByte(pattern[i])
		}
	}
	return b.String()
}

// patternSet makes a deterministic automaton of a program: its states are sets of instructions.
type patternSet struct {
	prog  *syntax.Prog
	dfa   runeDFA
	sets  [][]uint32 // instructions that take a character or wait for the end
	first []bool     // whether nothing has been read
	ids   map[string]int
	mark  []bool
	bad   bool // there is an assertion that is not supported
	steps int
}

// everything marks the state behind a match, where any text may follow.
const everything = ^uint32(0)

// id is the state of a set of instructions.
func (p *patternSet) id(pcs []uint32, first bool) int {
	set, matched := p.closure(pcs, first, false)
	if matched {
		set = []uint32{everything}
	}
	key := []byte{0}
	if first {
		key[0] = 1
	}
	for _, pc := range set {
		key = binary.LittleEndian.AppendUint32(key, pc)
	}
	if i, ok := p.ids[string(key)]; ok {
		return i
	}
	i := len(p.sets)
	p.ids[string(key)] = i
	p.sets, p.first = append(p.sets, set), append(p.first, first)
	accept := matched
	if !matched {
		_, accept = p.closure(set, first, true)
	}
	p.dfa.states = append(p.dfa.states, runeState{accept: accept})
	return i
}

// closure follows instructions that take no character. At the end of the text those that wait for it are followed too.
func (p *patternSet) closure(pcs []uint32, first, end bool) (set []uint32, matched bool) {
	work := slices.Clone(pcs)
	var seen []uint32
	for len(work) > 0 {
		pc := work[len(work)-1]
		work = work[:len(work)-1]
		if p.mark[pc] {
			continue
		}
		p.mark[pc] = true
		seen = append(seen, pc)
		in := &p.prog.Inst[pc]
		switch in.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			work = append(work, in.Out, in.Arg)
		case syntax.InstCapture, syntax.InstNop:
			work = append(work, in.Out)
		case syntax.InstMatch:
			matched = true
		case syntax.InstEmptyWidth:
			switch op := syntax.EmptyOp(in.Arg); {
			case op == syntax.EmptyBeginText:
				if first {
					work = append(work, in.Out)
				}
			case op == syntax.EmptyEndText:
				if end {
					work = append(work, in.Out)
				} else {
					set = append(set, pc)
				}
			default:
				p.bad = true
			}
		case syntax.InstFail:
		default:
			set = append(set, pc)
		}
	}
	for _, pc := range seen {
		p.mark[pc] = false
	}
	slices.Sort(set)
	return set, matched
}

// expand finds the edges of a state.
func (p *patternSet) expand(i int) error {
	if p.bad {
		return fmt.Errorf(`the pattern is not supported: of assertions only ^ and $, without the flag m, are`)
	}
	if len(p.sets) > maxPattern {
		return fmt.Errorf("the pattern is too large: its automaton takes more than %d states", maxPattern)
	}
	set := p.sets[i]
	if len(set) == 1 && set[0] == everything {
		p.dfa.states[i].edges = []runeEdge{{0, utf8.MaxRune, i}}
		return nil
	}
	cuts := []rune{0}
	for _, pc := range set {
		for _, r := range ranges(&p.prog.Inst[pc]) {
			cuts = append(cuts, r.lo, r.hi+1)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	if p.steps += len(cuts) * (len(set) + 1); p.steps > 4*maxPatternStep {
		return fmt.Errorf("the pattern is too large: classes of many characters, or too many repetitions")
	}
	var edges []runeEdge
	for k, lo := range cuts {
		if lo > utf8.MaxRune {
			break
		}
		hi := rune(utf8.MaxRune)
		if k+1 < len(cuts) {
			hi = cuts[k+1] - 1
		}
		next := []uint32{uint32(p.prog.Start)} // the match may begin here
		for _, pc := range set {
			if in := &p.prog.Inst[pc]; in.Op != syntax.InstEmptyWidth && takes(in, lo) {
				next = append(next, in.Out)
			}
		}
		to := p.id(next, false)
		if n := len(edges) - 1; n >= 0 && edges[n].to == to {
			edges[n].hi = hi
		} else {
			edges = append(edges, runeEdge{lo, hi, to})
		}
	}
	p.dfa.states[i].edges = edges
	return nil
}

// lines are the characters that a dot does not take in ECMA-262.
const lines = "\n\r\u2028\u2029"

// takes tells whether an instruction takes a character.
func takes(in *syntax.Inst, r rune) bool {
	if in.Op == syntax.InstRuneAnyNotNL {
		return !strings.ContainsRune(lines, r)
	}
	return in.MatchRune(r)
}

// ranges are the characters within which an instruction takes all or none.
func ranges(in *syntax.Inst) (out []runeEdge) {
	switch in.Op {
	case syntax.InstRuneAnyNotNL:
		for _, r := range lines {
			out = append(out, runeEdge{r, r, 0})
		}
	case syntax.InstRune, syntax.InstRune1:
		if len(in.Rune) == 1 {
			out = append(out, runeEdge{in.Rune[0], in.Rune[0], 0})
			if syntax.Flags(in.Arg)&syntax.FoldCase != 0 {
				for r := unicode.SimpleFold(in.Rune[0]); r != in.Rune[0]; r = unicode.SimpleFold(r) {
					out = append(out, runeEdge{r, r, 0})
				}
			}
			return out
		}
		for i := 0; i+1 < len(in.Rune); i += 2 {
			out = append(out, runeEdge{in.Rune[i], in.Rune[i+1], 0})
		}
	}
	return out
}

// counted accepts the texts of d that have low to high characters; high is none if there is no limit.
func (d *runeDFA) counted(low, high int) (*runeDFA, error) {
	most := high // where counting ends
	if high == none {
		most = low
	}
	out := new(runeDFA)
	type pair struct{ state, n int }
	ids := map[pair]int{}
	var pairs []pair
	id := func(p pair) int {
		i, ok := ids[p]
		if !ok {
			i = len(pairs)
			ids[p] = i
			pairs = append(pairs, p)
			out.states = append(out.states, runeState{accept: d.states[p.state].accept && p.n >= low})
		}
		return i
	}
	id(pair{0, 0})
	edges := 0
	for i := 0; i < len(pairs); i++ {
		p := pairs[i]
		if len(pairs) > maxPattern || edges > maxPatternStep {
			return nil, fmt.Errorf("the pattern is too large together with the limits of the length")
		}
		if p.n == high {
			continue
		}
		for _, e := range d.states[p.state].edges {
			out.states[i].edges = append(out.states[i].edges, runeEdge{e.lo, e.hi, id(pair{e.to, min(p.n+1, most)})})
			edges++
		}
	}
	out.prune()
	return out, nil
}
