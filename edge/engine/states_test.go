package engine

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"bimamba/edge/model"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
)

// table makes a table of empty states.
func table(t testing.TB, sessions, copies int) *states {
	t.Helper()
	m, err := model.Open(testmodel.Tiny(t, memmap.KindBase), model.Options{Sessions: sessions, Prefixes: copies})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	s := &states{all: make([]state, sessions+copies), sessions: sessions}
	for i := range s.all {
		s.all[i].session = m.Session(i)
		s.all[i].clear()
	}
	return s
}

// put makes state i one that has seen seq, as its memory tells, too.
func (t *states) put(i int, seq []uint32, logits bool) *state {
	s := &t.all[i]
	s.clear()
	s.seq, s.fed, s.hash, s.logits = slices.Clone(seq), len(seq), hashOf(seq), logits
	s.imprint()
	t.touch(s)
	return s
}

// imprint writes into the state's memory what it has seen.
func (s *state) imprint() { binary.LittleEndian.PutUint64(s.session.SSM(), hashOf(s.seq[:s.fed])) }

// intact tells whether the state's memory is that of the tokens that it says it has seen.
func (s *state) intact() bool {
	h := hashOf(s.seq[:s.fed])
	return s.hash == h && (s.fed == 0 || binary.LittleEndian.Uint64(s.session.SSM()) == h)
}

func TestLongest(t *testing.T) {
	x := table(t, 2, 4)
	x.put(0, []uint32{1, 2}, false)
	x.put(1, []uint32{1, 2, 3, 4}, false)
	x.put(2, []uint32{1, 2, 3}, false)
	x.put(3, []uint32{1, 2, 3, 4, 5}, true)
	x.put(4, []uint32{7}, true)
	for _, c := range []struct {
		prompt []uint32
		want   int // of all; -1 for none
	}{
		{[]uint32{1}, -1},
		{[]uint32{1, 2}, -1}, // all of it, but the logits are not known
		{[]uint32{1, 2, 9}, 0},
		{[]uint32{1, 2, 3}, 0},
		{[]uint32{1, 2, 3, 9}, 2},
		{[]uint32{1, 2, 3, 4}, 2},
		{[]uint32{1, 2, 3, 4, 9}, 1},
		{[]uint32{1, 2, 3, 4, 5}, 3}, // all of it, with logits
		{[]uint32{1, 2, 3, 4, 5, 6}, 3},
		{[]uint32{7}, 4},
		{[]uint32{8, 7}, -1},
	} {
		got := -1
		if s := x.longest(c.prompt); s != nil {
			got = slices.IndexFunc(x.all, func(o state) bool { return o.session == s.session })
		}
		if got != c.want {
			t.Errorf("%v: state %d, not %d", c.prompt, got, c.want)
		}
	}
	x.all[3].busy = true
	if s := x.longest([]uint32{1, 2, 3, 4, 5}); s != &x.all[1] {
		t.Errorf("beside a busy state: %v", s)
	}
}

// TestHashCollision gives other tokens the hash of the prompt: they are never taken for it.
func TestHashCollision(t *testing.T) {
	x := table(t, 1, 2)
	prompt := []uint32{1, 2, 3}
	for i := range x.all {
		x.put(i, []uint32{1, 9}, true).hash = hashOf(prompt[:2])
	}
	if s := x.longest(prompt); s != nil {
		t.Errorf("%v was taken for the beginning of %v", s.seq, prompt)
	}
	// A copy is made beside one of the same hash.
	x = table(t, 1, 2)
	s := x.put(0, prompt[:2], true)
	c := x.put(1, []uint32{1, 9}, true)
	c.hash = s.hash
	x.touch(s)
	x.keep(s, "", end)
	if !slices.Equal(c.seq, []uint32{1, 9}) || !slices.Equal(x.all[2].seq, prompt[:2]) {
		t.Errorf("kept %v and %v", c.seq, x.all[2].seq)
	}
}

// TestTake finds sessions, keeps what they held and never gives up what is pinned or busy.
func TestTake(t *testing.T) {
	x := table(t, 2, 2)
	a := x.put(0, []uint32{1, 2}, true)
	a.name, a.asked = "a", a.used
	b := x.put(1, []uint32{3, 4}, true)
	persona := x.put(2, []uint32{5}, true)
	persona.pinned = true

	// Another prompt takes the session that was used longest ago, whose state is kept.
	s := x.take([]uint32{9, 9}, false)
	if s != a || s.fed != 0 || s.name != "" || !s.busy || s.session.Pos() != 0 {
		t.Fatalf("took %+v", s)
	}
	if c := &x.all[3]; !slices.Equal(c.seq, []uint32{1, 2}) || !c.logits || c.name != "a" || x.named("a") != c || !c.intact() {
		t.Errorf("kept %+v", c)
	}
	// A prompt that a session has seen the beginning of takes it.
	if s := x.take([]uint32{3, 4, 5}, false); s != b || s.fed != 2 {
		t.Fatalf("took %+v", s)
	}
	// All are busy.
	if s := x.take([]uint32{1, 2, 3}, false); s != nil {
		t.Fatalf("took %+v", s)
	}
	b.busy = false
	// What a persona has seen is copied. The session's own state makes room for nothing: the only copy that could go is newer than it.
	x.all[3].used = x.clock + 1
	if s := x.take([]uint32{5, 6}, false); s != b || s.fed != 1 || !s.intact() || s.pinned {
		t.Errorf("took %+v", s)
	}
	if !persona.pinned || !slices.Equal(persona.seq, []uint32{5}) || !slices.Equal(x.all[3].seq, []uint32{1, 2}) {
		t.Errorf("the copies are %+v", x.all[2:])
	}
	b.busy = false
	if s := x.take([]uint32{5, 6}, true); s != b || s.fed != 0 {
		t.Errorf("fresh: took %+v", s)
	}
}

// TestKeep keeps every border once, the newest of them, beside sessions that stand at the same one.
func TestKeep(t *testing.T) {
	x := table(t, 2, 2)
	s := x.put(0, []uint32{1}, false)
	x.put(1, []uint32{1}, false).busy = true // about to go on
	x.keep(s, "", end)
	if !slices.Equal(x.all[2].seq, []uint32{1}) {
		t.Fatalf("a state that another session has, too, was not kept")
	}
	x.keep(s, "", end)
	if x.all[3].fed != 0 {
		t.Error("it was kept twice")
	}
	// With its logits it is worth more.
	s = x.put(0, []uint32{1}, true)
	if x.keep(s, "", end); !x.all[2].logits || x.all[3].fed != 0 {
		t.Errorf("%+v", x.all[2:])
	}
	x.keep(x.put(0, []uint32{1, 2}, false), "", end)
	x.touch(&x.all[2])
	x.keep(x.put(0, []uint32{1, 2, 3}, false), "", end) // in place of {1, 2}, which was used longest ago
	if !slices.Equal(x.all[2].seq, []uint32{1}) || !slices.Equal(x.all[3].seq, []uint32{1, 2, 3}) {
		t.Errorf("%v %v", x.all[2].seq, x.all[3].seq)
	}
	x.all[2].pinned, x.all[3].busy = true, true
	x.keep(x.put(0, []uint32{4}, false), "", end)
	if x.all[2].seq[0] != 1 || x.all[3].seq[0] != 1 {
		t.Error("a pinned or a busy state was given up")
	}
}

// TestInner keeps a quarter of the copies for borders within conversations, and the rest from them.
func TestInner(t *testing.T) {
	x := table(t, 1, 8)
	for i := range uint32(6) { // the ends of conversations
		x.keep(x.put(0, []uint32{i}, true), "", end)
	}
	for i := range uint32(20) {
		x.keep(x.put(0, []uint32{9, i}, true), "", inner)
	}
	inners := func() (n int) {
		for i := range x.all {
			if i > 0 && x.all[i].kind == inner && x.all[i].fed > 0 {
				n++
			}
		}
		return n
	}
	for i := range uint32(6) {
		if s := x.longest([]uint32{i, 1}); s == nil || s.fed != 1 {
			t.Errorf("conversation %d was given up", i)
		}
	}
	if s := x.longest([]uint32{9, 18, 1}); inners() != 2 || s == nil || s.kind != inner {
		t.Errorf("%d are inner", inners())
	}
	// One that is of use stays so; what the session held in the end is the end of a conversation.
	if x.take([]uint32{9, 18, 1}, false); inners() != 1 {
		t.Errorf("%d are inner", inners())
	}
	x.keep(x.put(0, []uint32{9, 50}, true), "", inner)
	x.keep(x.put(0, []uint32{9, 51}, true), "", inner)
	for i := range uint32(9) {
		x.keep(x.put(0, []uint32{20 + i}, true), "", end)
	}
	if inners() != 2 {
		t.Errorf("%d are inner behind the ends of other conversations", inners())
	}
}

// TestNamed is the state of the last request of a name, whoever used copies of it since.
func TestNamed(t *testing.T) {
	x := table(t, 1, 2)
	if x.put(0, []uint32{1}, true); x.named("") != nil {
		t.Error("a state without a name goes by the name \"\"")
	}
	old := x.put(1, []uint32{1}, true)
	old.name, old.asked = "a", old.used
	last := x.put(2, []uint32{1, 2}, true)
	last.name, last.asked = "a", last.used
	x.touch(old)
	if s := x.named("a"); s != last {
		t.Errorf("%+v", s)
	}
	if x.named("b") != nil {
		t.Error("b has a state")
	}
}

// FuzzStates runs requests on a table of states, several at a time, and compares it with what it should be after each step.
func FuzzStates(f *testing.F) {
	f.Add([]byte{0, 5, 1, 3, 2, 0, 3, 4, 0, 9, 1, 1, 4, 2, 5, 0})
	f.Add([]byte{0, 1, 0, 2, 0, 3, 1, 0, 1, 1, 2, 0, 2, 1, 3, 0, 3, 1, 6, 7, 0, 1, 0, 2, 4, 0})
	f.Add([]byte{5, 200, 5, 100, 0, 200, 1, 7, 1, 7, 1, 7, 3, 0, 0, 200, 2, 0, 6, 0})
	const sessions, copies = 2, 5
	all := table(f, sessions, copies).all
	f.Fuzz(func(t *testing.T, ops []byte) {
		x := &states{all: make([]state, sessions+copies), sessions: sessions}
		for i := range x.all {
			x.all[i].session = all[i].session
			x.all[i].clear()
		}
		running := map[*state][]uint32{} // prompts
		nth := func(n byte) *state {
			for i := range x.all[:sessions] {
				if s := &x.all[(int(n)+i)%sessions]; running[s] != nil {
					return s
				}
			}
			return nil
		}
		for k := 0; k+1 < min(len(ops), 400); k += 2 {
			before := slices.Clone(x.all)
			op, arg := ops[k]%7, ops[k+1]
			var own *state // that the step may change in any way
			switch op {
			case 0: // a request
				own = takeOne(t, x, before, promptOf(arg))
				if own != nil {
					running[own] = promptOf(arg)
					own.seq, own.name = slices.Clone(running[own]), string('a'+rune(arg%2))
					own.asked = own.used
				}
			case 1: // a pass
				if own = nth(arg); own != nil {
					own.seq = append(own.seq[:max(own.fed, len(running[own]))], uint32(arg%3))
					for range arg/3%4 + 1 {
						if own.fed < len(own.seq) {
							own.hash = hashNext(own.hash, own.seq[own.fed])
							own.fed++
						}
					}
					own.logits = own.fed >= len(running[own])
					own.imprint()
				}
			case 2: // a border
				if own = nth(arg); own != nil {
					x.touch(own)
					x.keep(own, "", kind(arg%3))
				}
			case 3: // the end
				if own = nth(arg); own != nil {
					x.touch(own)
					own.busy, own.asked = false, own.used
					delete(running, own)
				}
			case 4: // a fault
				if own = nth(arg); own != nil {
					own.clear()
					own.busy = false
					delete(running, own)
				}
			case 5: // an import
				if s := x.victim(end); s != nil {
					own = x.put(slices.IndexFunc(x.all, func(o state) bool { return o.session == s.session }), promptOf(arg), arg%2 == 0)
					own.pinned, own.kind = arg%5 == 0, end
				}
			case 6:
				name := string('a' + rune(arg%2))
				if s := x.named(name); s != nil && (s.name != name || s.fed == 0) {
					t.Fatalf("named %q is %+v", name, s)
				}
			}
			checkStates(t, x, before, own)
		}
	})
}

// promptOf makes few prompts, of which many begin alike.
func promptOf(n byte) (ids []uint32) {
	for v := int(n) + 1; v > 0; v /= 3 {
		ids = append(ids, uint32(v%3))
	}
	return ids
}

// takeOne takes a session and compares it with what a search of all states finds.
func takeOne(t *testing.T, x *states, before []state, prompt []uint32) *state {
	longest, free := 0, false
	for i, s := range before {
		free = free || i < x.sessions && !s.busy
		if !s.busy && s.fed <= len(prompt) && (s.fed < len(prompt) || s.logits) && slices.Equal(s.seq[:s.fed], prompt[:s.fed]) {
			longest = max(longest, s.fed)
		}
	}
	s := x.take(prompt, false)
	if s == nil {
		if free {
			t.Fatalf("no session for %v", prompt)
		}
		return nil
	}
	if s.fed != longest || !slices.Equal(s.seq[:s.fed], prompt[:s.fed]) || s.fed == len(prompt) && !s.logits || !s.intact() {
		t.Fatalf("%v begins with %v of %d tokens, and %d are known", prompt, s.seq, s.fed, longest)
	}
	return s
}

// checkStates compares the states behind a step with those before it.
func checkStates(t *testing.T, x *states, before []state, own *state) {
	replaced := 0
	for i := range x.all {
		s, was := &x.all[i], &before[i]
		if !s.intact() {
			t.Fatalf("state %d is not what it says: %+v", i, s)
		}
		if s.busy && i >= x.sessions {
			t.Fatalf("a request runs on the copy %d", i)
		}
		if s == own || slices.Equal(s.seq, was.seq) && s.fed == was.fed {
			continue
		}
		replaced++
		if was.busy || was.pinned || i < x.sessions {
			t.Fatalf("state %d was given up: %+v for %+v", i, was, s)
		}
		if was.kind != inner && was.fed > 0 && s.kind == inner && slices.ContainsFunc(before[x.sessions:], func(o state) bool { return o.kind == inner && !o.pinned && o.fed > 0 }) {
			t.Fatalf("state %d was given up for an inner one beside another: %+v", i, was)
		}
		for j, o := range before[x.sessions:] {
			if !o.busy && !o.pinned && o.used < was.used && (o.kind == inner) == (was.kind == inner) {
				if x.all[x.sessions+j].used == o.used { // it was not of use in this step
					t.Fatalf("state %d was given up before %d, which was used longer ago", i, x.sessions+j)
				}
			}
		}
	}
	if replaced > 1 {
		t.Fatalf("%d copies were replaced at once", replaced)
	}
	for i := range x.all[x.sessions:] {
		for j := range i {
			a, b := &x.all[x.sessions+i], &x.all[x.sessions+j]
			if a.fed > 0 && !a.pinned && !b.pinned && a != own && b != own && fmt.Sprint(a.seq[:a.fed]) == fmt.Sprint(b.seq[:b.fed]) &&
				!slices.Equal(before[x.sessions+i].seq, a.seq) {
				t.Fatalf("%v was kept twice", a.seq)
			}
		}
	}
}
