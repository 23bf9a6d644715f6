package engine

import (
	"slices"

	"bimamba/edge/model"
)

// kind is what a copy is good for.
type kind int

const (
	inner kind = iota // a border within a conversation: for another answer there
	end               // where a conversation stands that may go on
	head              // the first border: what many prompts begin with
)

// state is one of the model's states with the tokens that it has seen: a session's, or a copy that was kept at a border.
type state struct {
	session *model.Session
	seq     []uint32 // the tokens; the session has seen the first fed of them
	fed     int
	hash    uint64 // of seq[:fed]
	logits  bool   // session.Logits are those behind seq[:fed]
	name    string // that requests gave it, "" for none
	asked   uint64 // when a request gave it its name, by the states' clock
	used    uint64 // when it was of use, by the same clock
	kind    kind   // of a copy
	pinned  bool   // a persona's: never given up
	busy    bool   // a request runs on it, or it is being read or written
}

// hashSeed and hashStep are those of FNV-1a, over tokens instead of bytes. A hash is a hint: tokens are compared before a state is used.
const (
	hashSeed = 14695981039346656037
	hashStep = 1099511628211
)

func hashNext(h uint64, id uint32) uint64 { return (h ^ uint64(id)) * hashStep }

func hashOf(ids []uint32) uint64 {
	h := uint64(hashSeed)
	for _, id := range ids {
		h = hashNext(h, id)
	}
	return h
}

// clear makes s empty.
func (s *state) clear() {
	s.kind = inner
	s.seq, s.fed, s.hash, s.logits, s.name, s.asked, s.used = nil, 0, hashSeed, false, "", 0, 0
}

// copyFrom makes s the copy of another state.
func (s *state) copyFrom(o *state) {
	s.session.CopyFrom(o.session)
	s.seq, s.fed, s.hash, s.logits = slices.Clone(o.seq[:o.fed]), o.fed, o.hash, o.logits
}

// states are all of an engine's, in fixed memory: those that requests run on, then the copies.
type states struct {
	all      []state
	sessions int // how many of them requests run on
	clock    uint64
}

func (t *states) touch(s *state) {
	t.clock++
	s.used = t.clock
}

// longest is the state that has seen most of a prompt and nothing else, nil if there is none. One that has seen all of it will do only
// with its logits.
func (t *states) longest(prompt []uint32) *state {
	hashes := make(map[int]uint64, len(t.all)) // of the prompt's beginnings that are as long as a state
	for i := range t.all {
		if s := &t.all[i]; s.fed > 0 && s.fed <= len(prompt) {
			hashes[s.fed] = 0
		}
	}
	h := uint64(hashSeed)
	for i, id := range prompt {
		h = hashNext(h, id)
		if _, ok := hashes[i+1]; ok {
			hashes[i+1] = h
		}
	}
	var best *state
	for i := range t.all {
		s := &t.all[i]
		switch {
		case s.busy || s.fed == 0 || s.fed > len(prompt) || s.fed == len(prompt) && !s.logits || best != nil && s.fed <= best.fed:
		case s.hash == hashes[s.fed] && slices.Equal(s.seq[:s.fed], prompt[:s.fed]):
			best = s
		}
	}
	return best
}

// shortest is the state that has seen least of a prompt and nothing else, nil if there is none: what many prompts begin with.
func (t *states) shortest(prompt []uint32) (best *state) {
	for i := range t.all {
		s := &t.all[i]
		if s.fed > 0 && s.fed <= len(prompt) && (best == nil || s.fed < best.fed) && slices.Equal(s.seq[:s.fed], prompt[:s.fed]) {
			best = s
		}
	}
	return best
}

// oldest is the state of some that was not used for the longest time, an empty one first; nil if all are busy or pinned.
func oldest(some []state) (best *state) {
	for i := range some {
		if s := &some[i]; !s.busy && !s.pinned && (best == nil || s.used < best.used) {
			best = s
		}
	}
	return best
}

// take finds a session for a prompt and makes it ready: unless it is to be fresh, it has seen as much of the prompt as any state.
// It is nil while all sessions are busy.
func (t *states) take(prompt []uint32, fresh bool) *state {
	var from *state
	if !fresh {
		from = t.longest(prompt)
	}
	if from != nil {
		t.touch(from)
	}
	if s := t.shortest(prompt); s != nil && s != from {
		t.touch(s)
	}
	if from != nil && t.isSession(from) {
		from.busy = true
		return from
	}
	s := oldest(t.all[:t.sessions])
	if s == nil {
		return nil
	}
	if from == nil {
		t.keep(s, s.name, end)
		s.clear()
		s.session.Reset()
	} else {
		from.busy = true // it must not make room for what s held
		t.keep(s, s.name, end)
		from.busy = false
		s.clear()
		s.copyFrom(from)
		if from.kind == end { // which moves on
			from.kind = inner
		}
	}
	t.touch(s)
	s.busy = true
	return s
}

// isSession tells whether requests run on s.
func (t *states) isSession(s *state) bool {
	for i := range t.all[:t.sessions] {
		if s == &t.all[i] {
			return true
		}
	}
	return false
}

// victim is the copy to give up for one of a kind, an empty one first; nil if there is none that is worth less. A quarter of the copies are for
// inner ones, and more only as long as nothing else wants the room: else each message of a conversation would drive out the end of another one.
func (t *states) victim(k kind) (best *state) {
	copies := t.all[t.sessions:]
	inners, room := 0, len(copies)/4
	for i := range copies {
		if c := &copies[i]; c.kind == inner && c.fed > 0 && !c.pinned {
			inners++
		}
	}
	if best = oldest(copies); best == nil || best.fed == 0 {
		return best
	}
	give := inners > room || k == inner && inners == room
	best = nil
	for i := range copies {
		if c := &copies[i]; (c.kind == inner) == give && !c.busy && !c.pinned && (best == nil || c.used < best.used) {
			best = c
		}
	}
	return best
}

// keep makes a copy of the session s under a name, in place of one that is worth less.
func (t *states) keep(s *state, name string, k kind) {
	if s.fed == 0 {
		return
	}
	copies := t.all[t.sessions:]
	i := slices.IndexFunc(copies, func(c state) bool {
		return c.fed == s.fed && c.hash == s.hash && slices.Equal(c.seq[:c.fed], s.seq[:s.fed])
	})
	if i < 0 {
		c := t.victim(k)
		if c == nil || c.used > s.used && (c.kind == inner) == (k == inner) {
			return
		}
		c.copyFrom(s)
		c.name, c.asked, c.used, c.kind = name, s.asked, s.used, k
		return
	}
	c := &copies[i]
	if c.busy { // it is being written to a file
		return
	}
	if s.logits && !c.logits {
		c.copyFrom(s)
	}
	if name != "" && s.asked > c.asked {
		c.name, c.asked = name, s.asked
	}
	c.used, c.kind = max(c.used, s.used), max(c.kind, k)
}

// named is the state that a request gave a name last, nil if there is none.
func (t *states) named(name string) (best *state) {
	if name == "" {
		return nil
	}
	for i := range t.all {
		if s := &t.all[i]; s.name == name && s.fed > 0 && (best == nil || s.asked > best.asked) {
			best = s
		}
	}
	return best
}
