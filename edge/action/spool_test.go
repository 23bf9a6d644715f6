package action

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bimamba/edge/home"
	"bimamba/edge/internal/durable/durabletest"
)

// world is a Target that a test governs. It keeps what it has taken.
type world struct {
	mu     sync.Mutex
	answer func(m *Message) error // nil: yes
	delay  time.Duration
	taken  []string
	tries  int
	closed bool
}

var errAway = &Away{Err: errors.New("connection refused")}

func (w *world) Send(ctx context.Context, m *Message) error {
	w.mu.Lock()
	answer, delay := w.answer, w.delay
	w.tries++
	w.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return &Away{Err: ctx.Err()}
	}
	if answer != nil {
		if err := answer(m); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken = append(w.taken, m.ID)
	return nil
}

func (w *world) Close() { w.closed = true }

// set says how the target answers from now on.
func (w *world) set(answer func(m *Message) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = answer
}

// takes says how long it takes to answer from now on.
func (w *world) takes(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = d
}

func (w *world) away() { w.set(func(*Message) error { return errAway }) }

func (w *world) list() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.taken, " ")
}

func (w *world) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tries
}

// bench is a spool on a disk in memory, with a clock of the test's bubble.
type bench struct {
	t     *testing.T
	w     *world
	disk  *durabletest.Disk
	clock *clock
	s     *Spool
	start time.Time

	mu    sync.Mutex
	ended []string
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, w: &world{}, disk: durabletest.New(), start: time.Now()}
	b.clock = &clock{wall: time.Now, boot: func() time.Duration { return time.Hour + time.Since(b.start) }, id: "boot-1"}
	b.open()
	return b
}

func (b *bench) open() {
	b.t.Helper()
	var err error
	b.s, err = OpenSpool(b.w, SpoolOptions{files: b.disk, clock: b.clock, Ended: func(a home.Action, err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.ended = append(b.ended, fmt.Sprintf("%s: %v", a.ID, err))
	}})
	if err != nil {
		b.t.Fatal(err)
	}
}

// restart is a process that ends and one that begins.
func (b *bench) restart() {
	b.t.Helper()
	b.s.Close()
	b.open()
}

func (b *bench) do(id string) error { return b.s.Do(b.t.Context(), act(id)) }

// queued does an action that has to wait.
func (b *bench) queued(ids ...string) {
	b.t.Helper()
	for _, id := range ids {
		var q *Queued
		if err := b.do(id); !errors.As(err, &q) {
			b.t.Fatalf("%s: %v, want *Queued", id, err)
		}
	}
}

func (b *bench) wantTaken(want string) {
	b.t.Helper()
	synctest.Wait()
	if got := b.w.list(); got != want {
		b.t.Errorf("taken: %q, want %q", got, want)
	}
}

func (b *bench) wantEnded(want ...string) {
	b.t.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.ended, want) {
		b.t.Errorf("ended: %q, want %q", b.ended, want)
	}
}

func (b *bench) wantFiles(want int) {
	b.t.Helper()
	synctest.Wait()
	names, err := b.disk.Names()
	if err != nil || len(names) != want {
		b.t.Errorf("%d files, %v; want %d", len(names), err, want)
	}
}

// act is the action of an ID; one that begins with L may be late.
func act(id string) home.Action {
	a := home.Action{ID: id, Intent: "HassTurnOn", Slots: map[string]any{"name": "Lamp", "brightness": 50}, Entities: []string{"light.lamp"}}
	if id[0] == 'L' {
		a.Intent = "HassListAddItem"
	}
	return a
}

func spoolTest(t *testing.T, name string, run func(b *bench)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			run(b)
			b.s.Close()
			if !b.w.closed {
				t.Error("the target was not closed")
			}
		})
	})
}

func TestSpool(t *testing.T) {
	spoolTest(t, "nothing is written while the target answers", func(b *bench) {
		for i := range 100 {
			if err := b.do(fmt.Sprint(i)); err != nil {
				b.t.Fatal(err)
			}
		}
		if n := b.disk.Ops(); n != 0 {
			b.t.Errorf("%d operations of the disk", n)
		}
		if st := b.s.Stats(); st.Done != 100 || st.Waiting != 0 || st.Away != nil {
			b.t.Errorf("%+v", st)
		}
		b.wantEnded()
	})
	spoolTest(t, "away and back, in order", func(b *bench) {
		b.w.away()
		b.queued("a", "b", "c")
		b.wantFiles(3)
		if st := b.s.Stats(); st.Waiting != 3 || st.Away == nil {
			b.t.Errorf("%+v", st)
		}
		time.Sleep(20 * time.Second)
		b.wantTaken("")
		b.w.set(nil)
		time.Sleep(lastPause)
		b.wantTaken("a b c")
		b.wantEnded("a: <nil>", "b: <nil>", "c: <nil>")
		b.wantFiles(0)
		if err := b.do("d"); err != nil {
			b.t.Error(err)
		}
		b.wantTaken("a b c d")
	})
	spoolTest(t, "a new action tries at once, behind the others", func(b *bench) {
		b.w.away()
		b.queued("a", "b")
		time.Sleep(20 * time.Second)
		b.w.set(nil)
		start := time.Now()
		if err := b.do("c"); err != nil || time.Since(start) > 0 {
			b.t.Errorf("%v after %v", err, time.Since(start))
		}
		b.wantTaken("a b c")
	})
	spoolTest(t, "too old", func(b *bench) {
		b.w.away()
		b.queued("door", "List")
		err := b.do("door2")
		if q := (*Queued)(nil); !errors.As(err, &q) || q.For != time.Minute {
			b.t.Errorf("%v", err)
		}
		if got, want := Sentence(err), "The home does not answer. I will do it if it comes back within 60 seconds."; got != want {
			b.t.Errorf("%q, want %q", got, want)
		}
		time.Sleep(time.Minute - time.Millisecond)
		b.wantEnded()
		time.Sleep(2 * time.Millisecond)
		b.wantEnded("door: "+ErrExpired.Error(), "door2: "+ErrExpired.Error())
		b.w.set(nil)
		time.Sleep(lastPause)
		b.wantTaken("List")
		if err := b.do("door"); !errors.Is(err, ErrExpired) { // the same one again
			b.t.Error(err)
		}
		b.wantTaken("List")
	})
	spoolTest(t, "twice the same", func(b *bench) {
		b.w.takes(time.Second)
		first := make(chan error)
		go func() { first <- b.do("a") }()
		synctest.Wait()
		if err := errors.Join(b.do("a"), <-first, b.do("a")); err != nil {
			b.t.Error(err)
		}
		b.wantTaken("a")
		b.w.away()
		b.queued("b", "b")
		b.restart()
		b.queued("b")
		b.w.set(nil)
		time.Sleep(lastPause)
		b.wantTaken("a b")
	})
	spoolTest(t, "refused", func(b *bench) {
		no := errors.New("no such thing")
		b.w.set(func(m *Message) error {
			if m.ID == "bad" {
				return no
			}
			return nil
		})
		if err := b.do("bad"); !errors.Is(err, no) {
			b.t.Error(err)
		}
		if err := b.do("good"); err != nil {
			b.t.Error(err)
		}
		if st := b.s.Stats(); st.Failed != 1 || st.Done != 1 {
			b.t.Errorf("%+v", st)
		}
		b.w.away()
		b.queued("bad2", "good2")
		b.w.set(func(m *Message) error {
			if m.ID == "bad2" {
				return no
			}
			return nil
		})
		time.Sleep(lastPause)
		b.wantEnded("bad2: no such thing", "good2: <nil>")
	})
	spoolTest(t, "one that always fails does not hold up the others", func(b *bench) {
		b.w.set(func(m *Message) error {
			if m.ID == "List" {
				return &Away{Err: errors.New("500"), Answered: true}
			}
			return nil
		})
		b.queued("List", "a")
		time.Sleep(time.Minute - time.Second)
		b.wantTaken("a")
		b.wantEnded("List: 500", "a: <nil>")
	})
	spoolTest(t, "left alone as it asks", func(b *bench) {
		b.w.set(func(m *Message) error { return &Away{Err: errors.New("429"), After: 40 * time.Second, Answered: true} })
		b.queued("a", "b")
		if n := b.w.count(); n != 1 {
			b.t.Errorf("%d tries", n)
		}
		b.w.set(nil)
		time.Sleep(39 * time.Second)
		b.wantTaken("")
		time.Sleep(2 * time.Second)
		b.wantTaken("a b")
	})
	spoolTest(t, "an attempt ends", func(b *bench) {
		b.w.takes(time.Hour)
		start := time.Now()
		b.queued("a")
		if d := time.Since(start); d != DefaultAttempt {
			b.t.Errorf("after %v", d)
		}
		b.w.takes(0)
		time.Sleep(lastPause)
		b.wantTaken("a")
	})
	spoolTest(t, "who asks goes", func(b *bench) {
		b.w.takes(2 * time.Second)
		ctx, cancel := context.WithTimeout(b.t.Context(), time.Second)
		defer cancel()
		behind := make(chan error)
		go func() { behind <- b.s.Do(ctx, act("behind")) }() // the one or the other is first
		err := errors.Join(b.s.Do(ctx, act("first")), <-behind)
		if !errors.Is(err, context.DeadlineExceeded) {
			b.t.Error(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := b.w.list(); got != "first" && got != "behind" { // what was being sent is done, the other is not
			b.t.Errorf("taken: %q", got)
		}
		b.w.away()
		b.w.takes(2 * time.Second)
		ctx, cancel = context.WithTimeout(b.t.Context(), time.Second)
		defer cancel()
		if err := b.s.Do(ctx, act("x")); !errors.Is(err, context.DeadlineExceeded) {
			b.t.Error(err)
		}
		time.Sleep(5 * time.Second)
		b.w.set(nil)
		time.Sleep(lastPause)
		b.wantFiles(0)
		if strings.Contains(b.w.list(), "x") {
			b.t.Error("what nobody waited for was kept")
		}
	})
	spoolTest(t, "limits", func(b *bench) {
		b.w.away()
		for i := range maxWaiting {
			b.queued(fmt.Sprint("a", i))
		}
		if err := b.do("more"); !errors.Is(err, ErrFull) {
			b.t.Error(err)
		}
		for _, a := range []home.Action{
			{ID: "", Intent: "x"}, {ID: "a b", Intent: "x"}, {ID: "a\n", Intent: "x"}, {ID: strings.Repeat("a", 65), Intent: "x"}, {ID: "a"}, {ID: "a", Intent: strings.Repeat("x", 65)},
			{ID: "a", Intent: "x", Slots: map[string]any{"item": strings.Repeat("x", maxMessage)}}, {ID: "a", Intent: "x", Slots: map[string]any{"item": func() {}}},
		} {
			if err := b.s.Do(b.t.Context(), a); err == nil || errors.As(err, new(*Queued)) {
				b.t.Errorf("%.100v: %v", a, err)
			}
		}
	})
	spoolTest(t, "bytes are limited", func(b *bench) {
		b.w.away()
		var err error
		n := 0
		for ; err == nil && n < maxWaiting; n++ {
			a := act(fmt.Sprint("a", n))
			a.Slots["item"] = strings.Repeat("x", 15<<10)
			if err = b.s.Do(b.t.Context(), a); errors.As(err, new(*Queued)) {
				err = nil
			}
		}
		if !errors.Is(err, ErrFull) || n > maxBytes/(15<<10)+1 {
			b.t.Errorf("after %d: %v", n, err)
		}
	})
	spoolTest(t, "a disk that is full", func(b *bench) {
		b.w.away()
		b.disk.Fail(func(int) bool { return true })
		if err := b.do("a"); !errors.Is(err, durabletest.ErrIO) || errors.As(err, new(*Queued)) {
			b.t.Errorf("%v", err)
		}
		b.disk.Fail(nil)
		b.w.set(nil)
		time.Sleep(lastPause)
		b.wantTaken("")
		b.w.away()
		b.queued("b")
		b.disk.Fail(func(int) bool { return true }) // sent, and its file stays
		b.w.set(nil)
		time.Sleep(2 * lastPause)
		b.wantTaken("b")
		b.wantFiles(1)
		b.disk.Fail(nil)
		time.Sleep(2 * lastPause)
		b.wantFiles(0)
		b.wantTaken("b")
	})
	spoolTest(t, "closed", func(b *bench) {
		b.w.takes(time.Second)
		out := make(chan error)
		go func() { out <- b.do("a") }()
		synctest.Wait()
		b.s.Close()
		if err := errors.Join(<-out, b.do("b")); !errors.Is(err, ErrClosed) {
			b.t.Error(err)
		}
	})
}

func TestSpoolRestart(t *testing.T) {
	spoolTest(t, "the process", func(b *bench) {
		b.w.away()
		b.queued("a", "List", "b")
		b.restart()
		b.wantFiles(3)
		b.w.set(nil)
		time.Sleep(lastPause)
		b.wantTaken("a List b")
		b.wantFiles(0)
		b.wantEnded("a: <nil>", "List: <nil>", "b: <nil>")
	})
	spoolTest(t, "the process, after too long", func(b *bench) {
		b.w.away()
		b.queued("a", "List")
		b.s.Close()
		time.Sleep(time.Minute)
		b.w.set(nil)
		b.open()
		time.Sleep(lastPause)
		b.wantTaken("List")
		b.wantEnded("a: "+ErrExpired.Error(), "List: <nil>")
	})
	spoolTest(t, "the machine", func(b *bench) {
		b.w.away()
		b.queued("a", "List")
		b.s.Close()
		b.clock.id = "boot-2"
		b.start = time.Now().Add(time.Hour) // the clock starts anew, at 0
		b.w.set(nil)
		b.open()
		time.Sleep(lastPause)
		b.wantTaken("List")
		b.wantEnded("a: "+ErrReboot.Error(), "List: <nil>")
		b.wantFiles(0)
	})
	spoolTest(t, "the machine, a day later", func(b *bench) {
		b.w.away()
		b.queued("List")
		b.s.Close()
		time.Sleep(25 * time.Hour)
		b.clock.id = "boot-2"
		b.start = time.Now().Add(time.Hour)
		b.w.set(nil)
		b.open()
		b.wantTaken("")
		b.wantEnded("List: " + ErrExpired.Error())
	})
	spoolTest(t, "a clock that was set back", func(b *bench) {
		b.w.away()
		b.queued("a", "List")
		b.s.Close()
		b.clock.wall = func() time.Time { return time.Unix(0, 0) }
		b.w.set(nil)
		b.open()
		time.Sleep(lastPause)
		b.wantTaken("a List")
	})
	spoolTest(t, "files of others, and damaged ones", func(b *bench) {
		b.w.away()
		b.queued("a", "b", "c")
		b.s.Close()
		b.disk.Put("readme", []byte("x"))
		b.disk.Put("0000000000000002.action", []byte("00000000 {}"))
		b.w.set(nil)
		b.open()
		time.Sleep(lastPause)
		b.wantTaken("a c")
		b.wantFiles(1)
	})
}

// TestSpoolPowerCut cuts the power in the midst of each operation that the disk sees while three actions wait and are then sent.
func TestSpoolPowerCut(t *testing.T) {
	for _, sameBoot := range []bool{true, false} {
		for cut := 1; ; cut++ {
			done := false
			for seed := range uint64(6) {
				synctest.Test(t, func(t *testing.T) { done = powerCut(t, cut, seed, sameBoot) })
			}
			if done {
				t.Logf("%d operations", cut-1)
				break
			}
		}
	}
}

func powerCut(t *testing.T, cut int, seed uint64, sameBoot bool) (over bool) {
	b := newBench(t)
	name := fmt.Sprintf("cut at operation %d, seed %d, same boot %v", cut, seed, sameBoot)
	// Without power nobody sends anything.
	alive := func(answer error) func(*Message) error {
		return func(*Message) error {
			if b.disk.Dead() {
				return errAway
			}
			return answer
		}
	}
	b.disk.CutAt(cut)
	b.w.set(alive(errAway))
	promised := map[string]bool{} // by *Queued
	for _, id := range []string{"a", "b", "List"} {
		err := b.do(id)
		if b.disk.Dead() {
			break // whatever it says, nobody hears it
		}
		if promised[id] = errors.As(err, new(*Queued)); !promised[id] {
			t.Fatalf("%s: %s: %v", name, id, err)
		}
	}
	b.w.set(alive(nil))
	time.Sleep(lastPause)
	synctest.Wait()
	over = !b.disk.Dead()
	b.s.Close()
	before := slices.Clone(b.w.taken)
	b.mu.Lock()
	b.ended = nil
	b.mu.Unlock()

	b.disk.Reboot(rand.New(rand.NewPCG(seed, uint64(cut))))
	if !sameBoot {
		b.clock.id = "boot-2"
	}
	b.w.taken = nil
	b.w.set(nil)
	b.open()
	time.Sleep(lastPause)
	synctest.Wait()
	after := slices.Clone(b.w.taken)
	b.s.Close()
	b.wantFiles(0)

	for id := range promised {
		if slices.Contains(before, id) || slices.Contains(after, id) {
			continue
		}
		if sameBoot || id == "List" || !slices.Contains(b.ended, id+": "+ErrReboot.Error()) {
			t.Errorf("%s: %s was promised, and is neither done nor reported: %q, then %q, %q", name, id, before, after, b.ended)
		}
	}
	if both := append(slices.Clone(before), after...); len(after) > 0 && !slices.IsSorted(order(after)) || !slices.IsSorted(order(before)) || len(both) > 4 {
		t.Errorf("%s: %q, then %q: not in order, or more than one is sent twice", name, before, after)
	}
	if !sameBoot {
		for _, id := range after {
			if id != "List" {
				t.Errorf("%s: %s was done after the machine was started anew", name, id)
			}
		}
	}
	return over
}

// order is IDs as numbers in the order in which they were asked for.
func order(ids []string) []int {
	var out []int
	for _, id := range ids {
		out = append(out, slices.Index([]string{"a", "b", "List"}, id))
	}
	return out
}

func TestSpoolFolder(t *testing.T) {
	dir := t.TempDir() + "/spool"
	w := &world{}
	w.away()
	s, err := OpenSpool(w, SpoolOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Do(t.Context(), act("a")); !errors.As(err, new(*Queued)) {
		t.Error(err)
	}
	if _, err := OpenSpool(&world{}, SpoolOptions{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
	s.Close()
	done := make(chan string, 1)
	w2 := &world{}
	s, err = OpenSpool(w2, SpoolOptions{Dir: dir, Ended: func(a home.Action, err error) { done <- fmt.Sprint(a.ID, " ", err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := <-done; got != "a <nil>" {
		t.Error(got)
	}
}

func FuzzStored(f *testing.F) {
	m, err := newMessage(act("a"), time.Unix(1e9, 0), time.Minute)
	if err != nil {
		f.Fatal(err)
	}
	good, err := encode(&stored{"boot", time.Hour, time.Minute, false, m})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[9:], true)
	f.Add(good, false)
	f.Add([]byte(`{"boot":"","at":1,"ttl":1,"late":true,"message":{"id":"a","intent":"b","slots":{"x":1e999},"entities":null,"time":"2024-01-01T00:00:00Z","expires":"0001-01-01T00:00:00Z"}}`), true)
	f.Add([]byte(`{"at":-1}`), true)
	f.Fuzz(func(t *testing.T, b []byte, sum bool) {
		if sum {
			b = withSum(b)
		}
		s, err := decode(b)
		if err != nil {
			return
		}
		again, err := encode(s)
		if err != nil {
			t.Fatalf("%q was read and cannot be written: %v", b, err)
		}
		if s2, err := decode(again); err != nil || s2.Message.ID != s.Message.ID || s2.At != s.At || s2.TTL != s.TTL {
			t.Fatalf("%q became %q, %v", b, again, err)
		}
		disk := durabletest.New()
		disk.Put("0000000000000001.action", b)
		w := &world{}
		sp, err := OpenSpool(w, SpoolOptions{files: disk, clock: &clock{wall: time.Now, boot: func() time.Duration { return 2 * time.Hour }, id: "boot"}})
		if err != nil {
			t.Fatal(err)
		}
		sp.Close()
	})
}

func TestDecode(t *testing.T) {
	good, err := encode(&stored{"boot", time.Hour, time.Minute, false, &Message{ID: "a", Intent: "b", Time: time.Unix(1e9, 0), Expires: time.Unix(1e9, 0)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decode(good); err != nil {
		t.Error(err)
	}
	for i := range good { // whatever byte is wrong
		bad := slices.Clone(good)
		bad[i] ^= 1
		if _, err := decode(bad); err == nil {
			t.Errorf("byte %d is wrong: %q", i, bad)
		}
	}
	for name, text := range map[string]string{
		"no message": `{"boot":"","at":1,"ttl":1,"late":true}`, "no JSON": `x`, "more": `{} {}`, "unknown field": `{"x":1}`,
		"no TTL": `{"at":1,"message":{"id":"a","intent":"b","slots":{},"entities":[],"time":"2024-01-01T00:00:00Z","expires":"2024-01-01T00:00:00Z"}}`,
		"bad ID": `{"at":1,"ttl":1,"message":{"id":"a b","intent":"b","slots":{},"entities":[],"time":"2024-01-01T00:00:00Z","expires":"2024-01-01T00:00:00Z"}}`,
		"long":   `{"at":1,"ttl":1,"message":{"id":"a","intent":"` + strings.Repeat("b", 65) + `","slots":{},"entities":[],"time":"2024-01-01T00:00:00Z","expires":"2024-01-01T00:00:00Z"}}`,
	} {
		if s, err := decode(withSum([]byte(text))); err == nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
