package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bimamba/edge/home"
	"bimamba/edge/internal/durable/durabletest"
)

// bench is a Builtin on a disk in memory, with the clock of a test's bubble.
type bench struct {
	*Builtin
	t     *testing.T
	disk  *durabletest.Disk
	clock *clock
	start time.Time     // of the machine
	skew  time.Duration // of the wall's clock
}

func run(t *testing.T, name string, test func(b *bench)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := &bench{t: t, disk: durabletest.New(), start: time.Now().Add(-time.Hour)}
			b.skew = time.Until(time.Date(2026, 11, 26, 13, 2, 3, 0, time.UTC))
			b.clock = &clock{id: "boot-1", boot: func() time.Duration { return time.Since(b.start) }, wall: func() time.Time { return time.Now().Add(b.skew).UTC() }}
			b.open()
			test(b)
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	})
}

func (b *bench) open() {
	b.t.Helper()
	var err error
	if b.Builtin, err = Open(Options{files: b.disk, clock: b.clock}); err != nil {
		b.t.Fatal(err)
	}
}

// reboot is a machine that is off for a while and comes up with its clock behind by as much as it says.
func (b *bench) reboot(off, behind time.Duration) {
	b.t.Helper()
	if err := b.Close(); err != nil {
		b.t.Fatal(err)
	}
	time.Sleep(off)
	b.start = time.Now()
	b.clock.id += "x"
	b.skew -= behind
	b.open()
}

// says does an intent with slots in JSON and compares the reply.
func (b *bench) says(intent, slots, want string) {
	b.t.Helper()
	reply, err := b.do(intent, slots)
	if reply != want || err != nil {
		b.t.Errorf("%s %s: %q, %v; want %q", intent, slots, reply, err, want)
	}
}

// refuses is says for what is not done, and sees that nothing changes.
func (b *bench) refuses(intent, slots, want string, why error) {
	b.t.Helper()
	ops := b.disk.Ops()
	reply, err := b.do(intent, slots)
	if reply != want || !errors.Is(err, why) {
		b.t.Errorf("%s %s: %q, %v; want %q, %v", intent, slots, reply, err, want, why)
	}
	if b.disk.Ops() != ops {
		b.t.Errorf("%s %s: it wrote to the disk", intent, slots)
	}
}

func (b *bench) do(intent, slots string) (string, error) {
	b.t.Helper()
	a := home.Action{ID: "x", Intent: "Hass" + intent, Slots: map[string]any{}}
	if slots != "" {
		if err := json.Unmarshal([]byte(slots), &a.Slots); err != nil {
			b.t.Fatal(err)
		}
	}
	reply, handled, err := b.Do(b.t.Context(), a)
	if !handled {
		b.t.Fatalf("%s is not handled", intent)
	}
	return reply, err
}

// wait is the text of the next timer that ends, and how long that took.
func (b *bench) wait(within time.Duration) (string, time.Duration) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), within)
	defer cancel()
	start := time.Now()
	e, err := b.Wait(ctx)
	if err != nil {
		return err.Error(), time.Since(start)
	}
	if e.Command != "" {
		return "do: " + e.Command, time.Since(start)
	}
	return e.Text, time.Since(start)
}

// ends waits for a timer that says something after a time.
func (b *bench) ends(after time.Duration, want string) {
	b.t.Helper()
	if got, d := b.wait(1000 * time.Hour); got != want || d != after {
		b.t.Errorf("after %v: %q; want %q after %v", d, got, want, after)
	}
}

// quiet sees that no timer ends for a time.
func (b *bench) quiet(d time.Duration) {
	b.t.Helper()
	if got, _ := b.wait(d); got != context.DeadlineExceeded.Error() {
		b.t.Errorf("%q", got)
	}
}

func TestTimers(t *testing.T) {
	run(t, "one", func(b *bench) {
		b.says("TimerStatus", "", "There is no timer.")
		b.says("StartTimer", `{"minutes":5}`, "Timer set for 5 minutes.")
		b.says("TimerStatus", "", "The 5 minute timer has 5 minutes left.")
		time.Sleep(99 * time.Second)
		b.says("TimerStatus", `{"start_minutes":5}`, "The 5 minute timer has 3 minutes and 21 seconds left.")
		b.says("PauseTimer", "", "The 5 minute timer is paused, with 3 minutes and 21 seconds left.")
		b.refuses("PauseTimer", "", "It is paused already.", ErrNone)
		time.Sleep(time.Hour)
		b.says("TimerStatus", "", "The 5 minute timer is paused, with 3 minutes and 21 seconds left.")
		b.says("IncreaseTimer", `{"seconds":39}`, "The 5 minute timer has 4 minutes left now.")
		b.says("UnpauseTimer", "", "The 5 minute timer goes on, with 4 minutes left.")
		b.refuses("UnpauseTimer", "", "It is not paused.", ErrNone)
		b.says("DecreaseTimer", `{"minutes":2,"seconds":"59"}`, "The 5 minute timer has 1 minute and 1 second left now.")
		b.ends(61*time.Second, "The 5 minute timer is done.")
		b.says("TimerStatus", "", "There is no timer.")
		b.quiet(time.Hour)
	})
	run(t, "cancelled", func(b *bench) {
		b.refuses("CancelTimer", "", "There is no timer.", ErrNone)
		b.says("CancelAllTimers", "", "There is no timer.")
		b.says("StartTimer", `{"hours":1,"name":"pizza"}`, "Pizza timer set for 1 hour.")
		b.refuses("CancelTimer", `{"name":"pasta"}`, "There is no pasta timer.", ErrNone)
		b.refuses("CancelTimer", `{"start_minutes":10}`, "There is no 10 minute timer.", ErrNone)
		b.says("CancelTimer", `{"name":"The Pizza timer"}`, "The pizza timer is cancelled.")
		b.says("StartTimer", `{"hours":1}`, "Timer set for 1 hour.")
		b.says("CancelAllTimers", "", "The 1 hour timer is cancelled.")
		b.says("StartTimer", `{"hours":1}`, "Timer set for 1 hour.")
		b.says("StartTimer", `{"hours":2,"area":"Kitchen"}`, "Timer set for 2 hours.")
		b.says("StartTimer", `{"hours":3}`, "Timer set for 3 hours.")
		b.says("CancelAllTimers", `{"area":"kitchen"}`, "The 2 hour timer is cancelled.")
		b.says("CancelAllTimers", `{"area":"kitchen"}`, "There is no kitchen timer.")
		b.says("CancelAllTimers", "", "2 timers are cancelled.")
		b.quiet(24 * time.Hour)
	})
	run(t, "several", func(b *bench) {
		b.says("StartTimer", `{"minutes":25,"name":"pizza"}`, "Pizza timer set for 25 minutes.")
		b.says("StartTimer", `{"hours":1,"minutes":15,"seconds":30}`, "Timer set for 1 hour, 15 minutes and 30 seconds.")
		b.says("StartTimer", `{"minutes":5,"area":"Living Room"}`, "Timer set for 5 minutes.")
		const list = "There are 3 timers: the 5 minute timer in the living room, with 5 minutes left; the pizza timer, with 25 minutes left; and the 1 hour 15 minute 30 second timer, with 1 hour and 16 minutes left."
		b.says("TimerStatus", "", list)
		for _, intent := range []string{"CancelTimer", "PauseTimer"} {
			b.refuses(intent, "", list+" Which one?", ErrSeveral)
		}
		b.refuses("IncreaseTimer", `{"minutes":1}`, list+" Which one?", ErrSeveral)
		b.says("TimerStatus", `{"start_hours":1,"start_minutes":15,"start_seconds":30}`, "The 1 hour 15 minute 30 second timer has 1 hour and 16 minutes left.")
		b.says("PauseTimer", `{"area":"living room"}`, "The 5 minute timer is paused, with 5 minutes left.")
		b.says("UnpauseTimer", "", "The 5 minute timer goes on, with 5 minutes left.") // the only one that is paused
		b.says("PauseTimer", `{"name":"living room"}`, "The 5 minute timer is paused, with 5 minutes left.")
		b.ends(25*time.Minute, "The pizza timer is done.")
		b.says("TimerStatus", "", "There are 2 timers: the 5 minute timer in the living room, paused with 5 minutes left; and the 1 hour 15 minute 30 second timer, with 50 minutes and 30 seconds left.")
		b.says("DecreaseTimer", `{"minutes":10,"area":"living room"}`, "The 5 minute timer ends now.")
		b.ends(0, "The 5 minute timer is done.")
		b.ends(50*time.Minute+30*time.Second, "The 1 hour 15 minute 30 second timer is done.")
	})
	run(t, "two at once", func(b *bench) {
		b.says("StartTimer", `{"minutes":1,"name":"a"}`, "A timer set for 1 minute.")
		b.says("StartTimer", `{"minutes":1,"name":"b"}`, "B timer set for 1 minute.")
		b.ends(time.Minute, "The a timer is done.")
		b.ends(0, "The b timer is done.")
	})
	run(t, "started while somebody waits", func(b *bench) {
		out := make(chan string)
		go func() { s, _ := b.wait(time.Hour); out <- s }()
		synctest.Wait()
		b.says("StartTimer", `{"seconds":1}`, "Timer set for 1 second.")
		start := time.Now()
		if got := <-out; got != "The 1 second timer is done." || time.Since(start) != time.Second {
			b.t.Errorf("%q after %v", got, time.Since(start))
		}
	})
	run(t, "commands", func(b *bench) {
		b.says("StartTimer", `{"minutes":5,"conversation_command":"open the garage door"}`, "OK, in 5 minutes: open the garage door.")
		b.ends(5*time.Minute, "do: open the garage door")
		b.says("StartTimer", `{"minutes":5,"conversation_command":"open the garage door"}`, "OK, in 5 minutes: open the garage door.")
		b.reboot(2*time.Hour, 0)
		b.ends(0, "1 hour and 55 minutes ago it was time for this, and I was off, so I did not do it: open the garage door.")
		b.quiet(time.Hour)
		b.says("StartTimer", `{"minutes":5,"conversation_command":"light off"}`, "OK, in 5 minutes: light off.")
		b.reboot(5*time.Minute+30*time.Second, 0)
		b.ends(0, "do: light off")
		b.reboot(0, 0) // it is not done twice
		b.quiet(time.Hour)
	})
	run(t, "slots", func(b *bench) {
		const how = "How long is the timer to run?"
		const what = "I did not understand how long the timer is to run."
		b.refuses("StartTimer", "", how, ErrSlots)
		b.refuses("StartTimer", `{"minutes":0}`, how, ErrSlots)
		b.refuses("StartTimer", `{"minutes":-5}`, what, ErrSlots)
		b.refuses("StartTimer", `{"minutes":"many"}`, what, ErrSlots)
		b.refuses("StartTimer", `{"minutes":true}`, what, ErrSlots)
		b.refuses("StartTimer", `{"minutes":1e300}`, what, ErrSlots)
		b.refuses("StartTimer", `{"hours":745}`, "A timer runs for at most 31 days.", ErrLimit)
		b.refuses("StartTimer", `{"hours":1000000,"minutes":1000000}`, "A timer runs for at most 31 days.", ErrLimit)
		b.refuses("StartTimer", `{"minutes":1,"name":"`+strings.Repeat("x", 65)+`"}`, "That name is too long.", ErrLimit)
		b.refuses("DecreaseTimer", "", "I did not understand by how much the timer is to change.", ErrSlots)
		b.refuses("CancelTimer", `{"start_minutes":"x"}`, "I did not understand which timer you mean.", ErrSlots)
		b.says("StartTimer", `{"hours":"half"}`, "Timer set for 30 minutes.")
		b.says("StartTimer", `{"hours":2.5}`, "Timer set for 2 hours and 30 minutes.")
		b.says("StartTimer", `{"hours":744}`, "Timer set for 744 hours.")
		b.refuses("IncreaseTimer", `{"hours":1,"start_hours":744}`, "A timer runs for at most 31 days.", ErrLimit)
		b.says("CancelTimer", `{"start_minutes":150}`, "The 2 hour 30 minute timer is cancelled.")
		for range maxTimers - 2 {
			b.says("StartTimer", `{"hours":1}`, "Timer set for 1 hour.")
		}
		b.refuses("StartTimer", `{"hours":1}`, "There are 64 timers already.", ErrLimit)
		if s, err := b.do("TimerStatus", ""); err != nil || !strings.HasSuffix(s, "; and 60 more.") {
			b.t.Error(s, err)
		}
	})
}

// TestRestart ends the process or the machine.
func TestRestart(t *testing.T) {
	run(t, "the process", func(b *bench) {
		b.says("StartTimer", `{"minutes":10,"name":"egg","area":"Kitchen"}`, "Egg timer set for 10 minutes.")
		b.says("StartTimer", `{"minutes":20}`, "Timer set for 20 minutes.")
		b.says("PauseTimer", `{"start_minutes":20}`, "The 20 minute timer is paused, with 20 minutes left.")
		if err := b.Close(); err != nil {
			b.t.Fatal(err)
		}
		b.skew += 3 * time.Hour // the clock is set meanwhile
		time.Sleep(4 * time.Minute)
		b.open()
		b.says("TimerStatus", "", "There are 2 timers: the egg timer, with 6 minutes left; and the 20 minute timer, paused with 20 minutes left.")
		b.ends(6*time.Minute, "The egg timer is done.")
		if err := b.Close(); err != nil { // before anybody has come back for the next one
			b.t.Fatal(err)
		}
		b.open()
		b.ends(0, "The egg timer is done.")
		b.quiet(time.Minute)
		if err := b.Close(); err != nil {
			b.t.Fatal(err)
		}
		b.open()
		b.quiet(time.Minute)
		b.says("CancelTimer", "", "The 20 minute timer is cancelled.")
	})
	run(t, "the machine", func(b *bench) {
		b.says("StartTimer", `{"minutes":10}`, "Timer set for 10 minutes.")
		b.says("StartTimer", `{"hours":3,"name":"roast"}`, "Roast timer set for 3 hours.")
		b.reboot(time.Hour, 0)
		b.ends(0, "The 10 minute timer ended 50 minutes ago, while I was off.")
		b.quiet(time.Minute)
		b.says("TimerStatus", "", "The roast timer has 1 hour and 59 minutes left.")
		b.says("IncreaseTimer", `{"minutes":31}`, "The roast timer has 2 hours and 30 minutes left now.")
		b.reboot(time.Hour, 0)
		b.ends(90*time.Minute, "The roast timer is done.")
	})
	run(t, "a clock that is set after the start", func(b *bench) {
		b.says("StartTimer", `{"minutes":10}`, "Timer set for 10 minutes.")
		b.says("StartTimer", `{"hours":3,"name":"roast"}`, "Roast timer set for 3 hours.")
		time.Sleep(5 * time.Minute)
		b.reboot(time.Hour, 20*365*24*time.Hour)
		// It is 20 years before: nobody knows how much time has gone by, and there is at most what there was.
		b.says("TimerStatus", `{"name":"roast"}`, "The roast timer has 3 hours left.")
		b.quiet(time.Minute)
		b.says("StartTimer", `{"minutes":30,"name":"new"}`, "New timer set for 30 minutes.")
		b.skew += 20 * 365 * 24 * time.Hour
		if got, d := b.wait(time.Hour); got != "The 10 minute timer ended 56 minutes ago, while I was off." || d > lookNow {
			b.t.Errorf("%q after %v", got, d)
		}
		b.says("TimerStatus", `{"name":"roast"}`, "The roast timer has 1 hour and 54 minutes left.")
		b.says("TimerStatus", `{"name":"new"}`, "The new timer has 30 minutes left.")
		b.quiet(time.Minute)
		// Again, to the wrong side and back, over another start.
		b.skew -= 24 * time.Hour
		b.reboot(0, 0)
		b.skew += 24 * time.Hour
		b.ends(29*time.Minute, "The new timer is done.")
		b.says("TimerStatus", `{"name":"roast"}`, "The roast timer has 1 hour and 24 minutes left.")
	})
	run(t, "a clock that is set while timers run", func(b *bench) {
		b.says("StartTimer", `{"minutes":10}`, "Timer set for 10 minutes.")
		b.skew += 1000 * time.Hour
		b.quiet(9 * time.Minute)
		b.reboot(30*time.Second, 0) // what is in the file went along
		b.ends(30*time.Second, "The 10 minute timer is done.")
	})
	run(t, "nothing is written without a change", func(b *bench) {
		b.says("StartTimer", `{"hours":10}`, "Timer set for 10 hours.")
		ops := b.disk.Ops()
		for range 9 {
			b.quiet(time.Hour)
			b.refuses("TimerStatus", `{"start_hours":9}`, "There is no 9 hour timer.", ErrNone)
		}
		if n := b.disk.Ops() - ops; n != 0 {
			b.t.Errorf("%d operations of the disk", n)
		}
	})
	run(t, "a disk that is full", func(b *bench) {
		b.disk.Fail(func(int) bool { return true })
		b.says("StartTimer", `{"minutes":1}`, "Timer set for 1 minute. I could not write that down, so it is lost when I am started anew.")
		b.disk.Fail(nil)
		b.ends(time.Minute, "The 1 minute timer is done.")
	})
	run(t, "a damaged file", func(b *bench) {
		b.says("ShoppingListAddItem", `{"item":"milk"}`, "Milk is on the shopping list.")
		if err := b.Close(); err != nil {
			b.t.Fatal(err)
		}
		b.disk.Put(fileName, []byte(`{"version":1,"timers":[{}`))
		b.open()
		b.says("TimerStatus", "", "There is no timer.")
		names, err := b.disk.Names()
		if err != nil || !slices.Equal(names, []string{badName}) {
			b.t.Errorf("%q, %v", names, err)
		}
	})
}

// TestPowerCut cuts the power in the midst of each operation of the disk: what is there afterwards is what was there before or after a change.
func TestPowerCut(t *testing.T) {
	for cut := 1; cut <= 20; cut++ {
		for seed := range uint64(5) {
			run(t, fmt.Sprintf("%d,%d", cut, seed), func(b *bench) {
				b.disk.CutAt(cut)
				said := []int{0, 0} // the numbers of timers that there may be
				for n := 1; n <= 4 && !b.disk.Dead(); n++ {
					if _, err := b.do("StartTimer", `{"hours":1}`); err != nil {
						b.t.Fatal(err)
					}
					if said[1] = n; !b.disk.Dead() {
						said[0] = n
					}
				}
				b.disk.Reboot(rand.New(rand.NewPCG(seed, uint64(cut))))
				b.clock.id = "boot-2"
				b.open()
				if n := len(b.timers); n < said[0] || n > said[1] {
					b.t.Errorf("%d timers, want %d to %d", n, said[0], said[1])
				}
				if names, err := b.disk.Names(); err != nil || slices.Contains(names, badName) {
					b.t.Errorf("%q, %v", names, err)
				}
			})
		}
	}
}

func TestLists(t *testing.T) {
	run(t, "shopping", func(b *bench) {
		b.says("ShoppingListLastItems", "", "The shopping list is empty.")
		b.refuses("ShoppingListAddItem", "", "What is to go on the shopping list?", ErrSlots)
		b.says("ShoppingListAddItem", `{"item":"apples"}`, "Apples is on the shopping list.")
		b.says("ListAddItem", `{"item":"Oat  milk","name":"Shopping list"}`, "Oat milk is on the shopping list.")
		b.says("ShoppingListAddItem", `{"item":"oat milk"}`, "Oat milk is on the shopping list already.")
		b.says("ShoppingListLastItems", "", "On the shopping list: apples and Oat milk.")
		b.refuses("ShoppingListCompleteItem", `{"item":"bread"}`, "Bread is not on the shopping list.", ErrNone)
		b.refuses("ShoppingListCompleteItem", "", "What is to go off the shopping list?", ErrSlots)
		b.reboot(time.Hour, 0)
		b.says("ShoppingListCompleteItem", `{"item":"apple"}`, "Apples is off the shopping list.")
		b.says("ListRemoveItem", `{"item":"oat milk","name":"shopping"}`, "Oat milk is off the shopping list.")
		b.says("ShoppingListLastItems", "", "The shopping list is empty.")
		for i := range 7 {
			b.says("ShoppingListAddItem", fmt.Sprintf(`{"item":"i%d"}`, i), fmt.Sprintf("I%d is on the shopping list.", i))
		}
		b.says("ShoppingListLastItems", "", "There are 7 items on the shopping list. The newest: i2, i3, i4, i5 and i6.")
	})
	run(t, "others", func(b *bench) {
		b.refuses("ListCompleteItem", `{"item":"take out the trash","name":"Chores"}`, "Take out the trash is not on the chores list.", ErrNone)
		b.says("ListAddItem", `{"item":"take out the trash","name":"my Chores list"}`, "There is a chores list now, with take out the trash on it.")
		b.says("ListAddItem", `{"item":"nails","name":"hardware"}`, "There is a hardware list now, with nails on it.")
		if got := fmt.Sprint(b.Lists()); got != "[{chores [take out the trash]} {hardware [nails]}]" {
			b.t.Error(got)
		}
		b.says("ListCompleteItem", `{"item":"take out the trash","name":"Chores"}`, "Take out the trash is off the chores list.")
	})
	run(t, "limits", func(b *bench) {
		b.refuses("ListAddItem", `{"item":"`+strings.Repeat("x", 201)+`"}`, "That is too long for a list.", ErrLimit)
		b.refuses("ListAddItem", `{"item":"x","name":"`+strings.Repeat("x", 65)+`"}`, "That is too long for a list.", ErrLimit)
		for i := range maxLists {
			b.do("ListAddItem", fmt.Sprintf(`{"item":"x","name":"l%d"}`, i))
		}
		b.refuses("ListAddItem", `{"item":"x","name":"more"}`, "There are 32 lists already.", ErrLimit)
		for i := range maxItems - 1 {
			b.do("ListAddItem", fmt.Sprintf(`{"item":"i%d","name":"l0"}`, i))
		}
		b.refuses("ListAddItem", `{"item":"more","name":"l0"}`, "The l0 list is full: it has 256 items.", ErrLimit)
		b.reboot(time.Minute, 0)
		if n := len(b.Lists()); n != maxLists {
			b.t.Errorf("%d lists", n)
		}
	})
}

func TestClock(t *testing.T) {
	run(t, "set", func(b *bench) {
		b.says("GetCurrentTime", "", "It is 1:02 PM.")
		b.says("GetCurrentDate", "", "Today is Thursday, November 26th, 2026.")
		b.skew -= 13 * time.Hour
		b.says("GetCurrentTime", "", "It is 12:02 AM.")
	})
	run(t, "not set", func(b *bench) {
		b.skew -= 40 * 365 * 24 * time.Hour
		b.refuses("GetCurrentTime", "", "I do not know what time it is: my clock has not been set.", ErrClock)
		b.refuses("GetCurrentDate", "", "I do not know what day it is: my clock has not been set.", ErrClock)
	})
}

func TestNotOurs(t *testing.T) {
	b, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []home.Action{{Intent: "HassTurnOn"}, {Intent: ""}, {Intent: "HassListAddItem", Slots: map[string]any{"item": "x"}, Entities: []string{"todo.chores"}}} {
		if reply, handled, err := b.Do(t.Context(), a); reply != "" || handled || err != nil {
			t.Errorf("%+v: %q, %v, %v", a, reply, handled, err)
		}
	}
	// In memory, with the system's clocks.
	if reply, handled, err := b.Do(t.Context(), home.Action{Intent: "HassStartTimer", Slots: map[string]any{"seconds": 1}}); reply != "Timer set for 1 second." || !handled || err != nil {
		t.Errorf("%q, %v, %v", reply, handled, err)
	}
	if e, err := b.Wait(t.Context()); err != nil || e.Text != "The 1 second timer is done." || e.Length != time.Second {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestArea(t *testing.T) {
	b, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a := home.Action{Intent: "HassStartTimer", Area: "Kitchen", Slots: map[string]any{"seconds": 1.0, "conversation_command": "turn off the lights"}}
	if _, _, err := b.Do(t.Context(), a); err != nil || a.Slots["area"] != nil {
		t.Fatal(err, a.Slots)
	}
	if e, err := b.Wait(t.Context()); err != nil || e.Area != "Kitchen" || e.Command != "turn off the lights" {
		t.Errorf("%+v %v", e, err)
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir() + "/builtin"
	for _, want := range []string{"Milk is on the shopping list.", "Milk is on the shopping list already."} {
		b, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if reply, _, err := b.Do(t.Context(), home.Action{Intent: "HassShoppingListAddItem", Slots: map[string]any{"item": "milk"}}); reply != want || err != nil {
			t.Errorf("%q, %v", reply, err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Second: "1 second", 90 * time.Second: "1 minute and 30 seconds", time.Hour + time.Second: "1 hour and 1 second", 61*time.Minute + time.Second: "1 hour, 1 minute and 1 second",
		0: "0 seconds", 400 * time.Millisecond: "0 seconds",
	} {
		if got := span(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "1 second", -time.Second: "1 second", 59600 * time.Millisecond: "1 minute", 10*time.Minute + 4*time.Second: "10 minutes", 59*time.Minute + 58*time.Second: "1 hour",
		3*time.Hour + 29*time.Minute + 40*time.Second: "3 hours and 30 minutes", 60 * time.Hour: "3 days", 48 * time.Hour: "2 days",
	} {
		if got := about(d); got != want {
			t.Errorf("about %v: %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int]string{1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 11: "11th", 12: "12th", 13: "13th", 21: "21st", 22: "22nd", 31: "31st"} {
		if got := ordinal(n); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, pair := range [][2]string{{"eggs", "egg"}, {"potatoes", "potato"}, {"apples", "apple"}, {"berries", "berry"}} {
		if singular(pair[0]) != singular(pair[1]) {
			t.Errorf("%s: %s, %s: %s", pair[0], singular(pair[0]), pair[1], singular(pair[1]))
		}
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(`{"version":1,"boot":"b","at":1,"wall":"2026-01-01T00:00:00Z","timers":[{"name":"egg","total":60000000000,"left":1}],"lists":[{"name":"shopping","items":["milk"]}]}`))
	f.Add([]byte(`{"version":1,"boot":"","at":1,"wall":"9999-01-01T00:00:00Z","timers":[{"total":60000000000,"left":-5,"until":"0001-01-01T00:00:00Z","most":-1},{"total":1000000000,"left":5,"paused":true,"command":"x"}],"lists":[]}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1} `))
	f.Fuzz(func(t *testing.T, data []byte) {
		disk := durabletest.New()
		disk.Put(fileName, data)
		c := &clock{id: "b", boot: func() time.Duration { return time.Hour }, wall: func() time.Time { return time.Unix(1.8e9, 0).UTC() }}
		b, err := Open(Options{files: disk, clock: c})
		if err != nil {
			t.Fatal(err)
		}
		done, cancel := context.WithCancel(t.Context())
		cancel()
		for range len(b.timers) + 1 {
			if _, err := b.Wait(done); err != nil {
				break
			}
		}
		for _, a := range []home.Action{
			{Intent: "HassTimerStatus"}, {Intent: "HassIncreaseTimer", Slots: map[string]any{"hours": 700}}, {Intent: "HassShoppingListLastItems"}, {Intent: "HassListAddItem", Slots: map[string]any{"item": "x"}}, {Intent: "HassStartTimer", Slots: map[string]any{"hours": 1}},
		} {
			if _, handled, _ := b.Do(t.Context(), a); !handled {
				t.Error("not handled")
			}
		}
		b.dirty = true
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		// What it wrote it can read, in this start of the machine and in the next.
		for _, id := range []string{"b", "c"} {
			c.id = id
			timers, lists := len(b.timers), len(b.lists)
			if b, err = Open(Options{files: disk, clock: c}); err != nil || len(b.timers) != timers || len(b.lists) != lists {
				t.Fatalf("%d timers and %d lists became %d and %d, %v", timers, lists, len(b.timers), len(b.lists), err)
			}
		}
	})
}
