package grammar

import (
	"container/heap"
	"math"
	"unsafe"
)

// An automaton is a set of rules. A rule is a deterministic automaton over bytes whose states may also call a rule, itself too, and go on behind it:
// a stack remembers where. Regular parts (strings, numbers, keys) are rules without calls, so most of the time one stack with one moving top is all there is.
// Alternatives that begin alike are followed at once, each with a stack of its own.

// edge leads from a state to another on a byte from lo to hi. The edges of a state do not overlap and are in order.
type edge struct {
	lo, hi byte
	to     int32
}

// none is no state.
const none = -1

// call is a way through another rule.
type call struct {
	entry int32 // the first state of the rule called; its number while the automaton is built
	to    int32 // the state behind it; none if the calling rule ends with it
}

type state struct {
	edges, calls uint32 // where the state's begin; they end where the next state's begin
	like         int32  // states with the same number, if it is not 0, differ in nothing that a single token can notice (see builder.bounded)
	accept       bool   // the rule may end here
}

type automaton struct {
	states []state // and one behind the last
	edges  []edge
	calls  []call
	start  int32
	likes  int32 // the largest like
}

func (a *automaton) size() int { return len(a.states) - 1 }

func (a *automaton) edgesOf(s int32) []edge { return a.edges[a.states[s].edges:a.states[s+1].edges] }

func (a *automaton) callsOf(s int32) []call { return a.calls[a.states[s].calls:a.states[s+1].calls] }

// next is the state behind a byte, none if it does not fit.
func (a *automaton) next(s int32, c byte) int32 {
	edges := a.edgesOf(s)
	for len(edges) > 8 {
		if half := len(edges) / 2; c < edges[half].lo {
			edges = edges[:half]
		} else {
			edges = edges[half:]
		}
	}
	for i := range edges {
		if e := &edges[i]; c <= e.hi {
			if c < e.lo {
				break
			}
			return e.to
		}
	}
	return none
}

// bytes is the memory of the automaton.
func (a *automaton) bytes() int {
	return len(a.states)*int(unsafe.Sizeof(state{})) + len(a.edges)*int(unsafe.Sizeof(edge{})) + len(a.calls)*int(unsafe.Sizeof(call{}))
}

// involved tells whether the rules that may begin at some place, counted as often as ways lead to them, are more than most. No rule calls itself before it takes a byte.
func (a *automaton) involved(most int) bool {
	type ways struct {
		in  int // to rules and states behind them
		out int // to the end of the rule
	}
	known := make([]ways, a.size())
	var visit func(s int32) ways
	visit = func(s int32) ways {
		if known[s].in > 0 {
			return known[s]
		}
		w := ways{in: 1}
		if a.states[s].accept {
			w.out = 1
		}
		for _, c := range a.callsOf(s) {
			entry, to := visit(c.entry), ways{out: 1}
			if c.to != none && entry.out > 0 {
				to = visit(c.to)
			}
			w.in = min(w.in+entry.in+entry.out*to.in, most+1) // products of numbers up to most+1 fit
			w.out = min(w.out+entry.out*to.out, most+1)
		}
		known[s] = w
		return w
	}
	for s := range int32(a.size()) {
		if w := visit(s); w.in > most || w.out > most {
			return true
		}
	}
	return false
}

// never is the length of what has no end.
const never = math.MaxInt32

// choice is the first step of the shortest way to the end of a rule: neither edge nor call where it ends at once.
type choice struct {
	edge, call int32 // index, or none
	b          byte  // of the edge
}

// shortest finds the shortest text from each state to the end of its rule, as the sum of its bytes' weights: how long, the first step, and
// the states in an order in which each comes behind those that its step leads to. Weights are at least 1. It is Knuth's
// generalization of Dijkstra's algorithm ("A generalization of Dijkstra's algorithm", 1977).
func (a *automaton) shortest(weight *[256]int32) (length []int32, steps []choice, order []int32) {
	n := a.size()
	// Who has to be looked at again when a state is settled, as lists linked by index.
	type user struct{ state, next int32 }
	head := make([]int32, n)
	for i := range head {
		head[i] = none
	}
	users := make([]user, 0, len(a.edges)+2*len(a.calls))
	link := func(to, from int32) {
		users = append(users, user{from, head[to]})
		head[to] = int32(len(users) - 1)
	}
	length, steps = make([]int32, n), make([]choice, n)
	settled := make([]bool, n)
	q := &queue{length: length}
	for s := range int32(n) {
		length[s], steps[s] = never, choice{none, none, 0}
		if a.states[s].accept {
			length[s] = 0
			q.states = append(q.states, s)
		}
		for _, e := range a.edgesOf(s) {
			link(e.to, s)
		}
		for _, c := range a.callsOf(s) {
			link(c.entry, s)
			if c.to != none {
				link(c.to, s)
			}
		}
	}
	for q.Len() > 0 {
		s := heap.Pop(q).(int32)
		if settled[s] {
			continue
		}
		settled[s] = true
		order = append(order, s)
		for i := head[s]; i != none; i = users[i].next {
			u := users[i].state
			if settled[u] || !a.relax(u, settled, length, steps, weight) {
				continue
			}
			heap.Push(q, u)
		}
	}
	return length, steps, order
}

// relax looks for a shorter way from u over states that are settled.
func (a *automaton) relax(u int32, settled []bool, length []int32, steps []choice, weight *[256]int32) bool {
	better := false
	st := &a.states[u]
	for i, e := range a.edgesOf(u) {
		if !settled[e.to] {
			continue
		}
		for c := int(e.lo); c <= int(e.hi); c++ {
			if l := length[e.to] + weight[c]; l < length[u] {
				length[u], steps[u], better = l, choice{int32(st.edges) + int32(i), none, byte(c)}, true
			}
		}
	}
	for i, c := range a.callsOf(u) {
		if !settled[c.entry] || c.to != none && !settled[c.to] {
			continue
		}
		l := int64(length[c.entry])
		if c.to != none {
			l += int64(length[c.to])
		}
		if l < int64(length[u]) {
			length[u], steps[u], better = int32(l), choice{none, int32(st.calls) + int32(i), 0}, true
		}
	}
	return better
}

// queue is a heap of states by length; one may be in it several times.
type queue struct {
	states []int32
	length []int32
}

func (q *queue) Len() int           { return len(q.states) }
func (q *queue) Less(i, j int) bool { return q.length[q.states[i]] < q.length[q.states[j]] }
func (q *queue) Swap(i, j int)      { q.states[i], q.states[j] = q.states[j], q.states[i] }
func (q *queue) Push(x any)         { q.states = append(q.states, x.(int32)) }
func (q *queue) Pop() any {
	s := q.states[len(q.states)-1]
	q.states = q.states[:len(q.states)-1]
	return s
}
