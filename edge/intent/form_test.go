package intent

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestForm feeds what the model was trained to write, and what it must not be able to.
func TestForm(t *testing.T) {
	a := openAssistant(t)
	system, _, tools, _ := readExchange(t, "turn")
	home := ReadHome(system)
	for _, c := range []struct {
		name string
		h    *Home
		said string
		text string
		want bool
	}{
		{"name", home, "turn on the bedroom lamp", `{"intent":"HassTurnOn","domain":"light","name":"bedroom lamp"}`, true},
		{"alias", home, "turn on the night light", `{"intent":"HassTurnOn","name":"night light"}`, true},
		{"a slip", home, "turn on the bed room lamb", `{"intent":"HassTurnOn","name":"bedroom lamp"}`, true},
		{"a name that was not said", home, "turn on the bedroom lamp", `{"intent":"HassTurnOn","name":"front door"}`, false},
		{"what was said though something is near", home, "turn on the bedroom lamp", `{"intent":"HassTurnOn","name":"lamp"}`, false},
		{"what was said where nothing is near", home, "turn on the toaster", `{"intent":"HassTurnOn","name":"toaster"}`, true},
		{"an area that was not said", home, "turn on the kitchen lights", `{"intent":"HassTurnOn","area":"bedroom"}`, false},
		{"a timer's name", home, "pizza timer for five minutes", `{"intent":"HassStartTimer","minutes":5,"name":"pizza"}`, true},
		{"not offered, replaced", home, "are the lights on in the kitchen", `{"intent":"HassGetState","area":"kitchen","domain":"light","state":"on"}`, true},
		{"another task's", home, "play queen", `{"intent":"PlayMusic"}`, true},
		{"not offered, with slots", home, "play queen", `{"intent":"PlayMusic","artist":"queen"}`, false},
		{"no intent", home, "x", `{"intent":"HassExplode"}`, false},
		{"a free text", home, "add two apples, to my shopping list", `{"intent":"HassShoppingListAddItem","item":"two apples"}`, true},
		{"a quoted text", home, `add "eggs" to my shopping list`, `{"intent":"HassShoppingListAddItem","item":"\"eggs\""}`, true},
		{"a free text that was not said", home, "add two apples to my shopping list", `{"intent":"HassShoppingListAddItem","item":"eggs"}`, false},
		{"a number", home, "x", `{"intent":"HassClimateSetTemperature","temperature":20.5}`, true},
		{"a large number", home, "x", `{"intent":"HassLightSet","brightness":101}`, false},
		{"a number with a zero", home, "x", `{"intent":"HassLightSet","brightness":01}`, false},
		{"half a number", home, "x", `{"intent":"HassClimateSetTemperature","temperature":20.}`, false},
		{"an unknown color", home, "x", `{"intent":"HassLightSet","color":"plaid"}`, false},
		{"keys in another order", home, "x", `{"intent":"HassLightSet","color":"red","brightness":1}`, false},
		{"a key twice", home, "x", `{"intent":"HassLightSet","color":"red","color":"red"}`, false},
		{"a domain that is not switched", home, "x", `{"intent":"HassTurnOn","domain":"sensor"}`, false},
		{"a reply", home, "x", "{\"intent\":\"HassTurnOn\",\"domain\":\"light\"}\nTurned on", false},
		{"no reply", home, "hello", `{"intent":"HassRespond"}`, false},
		{"only a reply", home, "hello", "{\"intent\":\"HassRespond\"}\nHello.", true},
		{"two lines of reply", home, "hello", "{\"intent\":\"HassRespond\"}\nHello\nyou", false},
		{"unknown home", new(Home), "turn on the attic toaster", `{"intent":"HassTurnOn","area":"attic","name":"toaster"}`, true},
		{"nothing said", new(Home), "", `{"intent":"HassTurnOn"}`, true},
		{"a name of nothing but commands", new(Home), "turn it on", `{"intent":"HassTurnOn","name":"it on"}`, false},
	} {
		m := c.h.Form(c.said, tools).Start(a.vocab)
		ok := true
		for _, id := range a.tokens.Encode(nil, c.text) {
			ok = ok && m.Accept(id) == nil
		}
		if ok = ok && m.Complete(); ok != c.want {
			t.Errorf("%s: %q accepted is %v", c.name, c.text, ok)
		}
	}
}

func TestTaskGrammar(t *testing.T) {
	a := openAssistant(t)
	for _, c := range []struct {
		task, text string
		want       bool
	}{
		{"home", "{\"intent\":\"HassLightSet\",\"area\":\"attic\",\"brightness\":50}\nBrightness set", true},
		{"home", "{\"intent\":\"HassLightSet\"}\na\nb", false},
		{"assist", `{"intent":"BookRestaurant","party_size_number":"2","cuisine":["thai","lao"]}`, true},
		{"topics", `{"intent":"travel_alert"}`, true},
		{"topics", `{"intent":"travel_alert","a":"b"}`, false},
	} {
		g, err := TaskGrammar(c.task)
		if err != nil {
			t.Fatal(err)
		}
		m := g.Start(a.vocab)
		ok := true
		for _, id := range a.tokens.Encode(nil, c.text) {
			ok = ok && m.Accept(id) == nil
		}
		if ok = ok && m.Complete(); ok != c.want {
			t.Errorf("%s: %q accepted is %v", c.task, c.text, ok)
		}
	}
	if _, err := TaskGrammar("chess"); err == nil {
		t.Error("a grammar for the task chess")
	}
}

func TestSimilar(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"lamp", "lamp", true}, {"lamp", "lamps", true}, {"lamp", "lamb", true}, {"kitchin", "kitchen", true}, {"light", "lite", true}, {"room", "rum", true},
		{"bathrom", "bathroom", true}, {"switch", "switches", true}, {"office", "offis", true},
		{"lamp", "light", false}, {"light", "loud", false}, {"den", "attic", false}, {"1", "11", false}, {"pm25", "pm10", false}, {"front", "back", false},
		{"left", "right", false}, {"co", "co2", false}, {"upstairs", "downstairs", false},
	} {
		if similar(c.a, c.b) != c.want || similar(c.b, c.a) != c.want {
			t.Errorf("%q and %q: not %v", c.a, c.b, c.want)
		}
	}
}

// TestNear looks names up in a home of 10,000, against comparing with each.
func TestNear(t *testing.T) {
	h := &Home{}
	rooms := strings.Fields("kitchen bedroom hallway attic basement office")
	for i := range 10_000 {
		room := rooms[i%len(rooms)]
		h.Entities = append(h.Entities, Entity{Names: []string{fmt.Sprintf("%s lamp %d", room, i)}, Domain: "light", Areas: []string{room}})
	}
	h.Areas = rooms
	for _, c := range []struct{ said, want string }{
		{"turn on the kitchen lamp 6", "kitchen lamp 6"},
		{"turn on lamb 6 in the kitchin", "kitchen lamp 6"},
		{"turn on lamp 77777", ""},
	} {
		n := h.index().near(newUtterance(c.said))
		var got []string
		for _, e := range n.entries {
			got = append(got, e.spelling)
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%q: %q, not %q", c.said, got, c.want)
		}
	}
}

// TestFormTestSet feeds what the test set expects, for a home of our own. Where the house has no such thing, or the utterance says it in other words, it cannot
// be written.
func TestFormTestSet(t *testing.T) {
	a := openAssistant(t)
	rows, system := homeRows(t)
	h := ReadHome(system)
	h.Floors = strings.Split("Upstairs|Ground Floor|First Floor|Second Floor|Basement", "|")
	accepted := 0
	for _, r := range rows {
		m := h.HomeForm(Utterance("home", r.Prompt)).Start(a.vocab)
		text := r.completion(t)
		if r.Intent == "HassRespond" || r.Intent == "HassNevermind" {
			text += "\nOkay"
		}
		ok := true
		for _, id := range a.tokens.Encode(nil, text) {
			ok = ok && m.Accept(id) == nil
		}
		if ok && m.Complete() {
			accepted++
		} else {
			t.Logf("%q: %s", r.Prompt, text)
		}
	}
	t.Logf("%d of %d", accepted, len(rows))
	if accepted < 95*len(rows)/100 {
		t.Error("too few")
	}
}

func FuzzForm(f *testing.F) {
	h := ReadHome("- names: Lamp, \"qu\\\"ote\"\n  domain: light\n  areas: Den\n- names: Rover\n  domain: vacuum\n")
	for _, s := range []string{"turn on the lamp", `add "x\" to`, "\xff \x00 , . ", "İ i̇"} {
		f.Add(s, `{"intent":"HassLightSet","area":"den","brightness":50}`)
	}
	f.Fuzz(func(t *testing.T, said, text string) {
		form := h.HomeForm(Utterance("home", said))
		s := state{list: listOpen, hi: 1}
		ok := true
		for _, b := range []byte(text) {
			if s, ok = form.Next(s, b); !ok {
				break
			}
		}
		if ok && form.Complete(s) {
			line, _, _ := strings.Cut(text, "\n")
			if !json.Valid([]byte(line)) {
				t.Errorf("%q is not JSON", line)
			}
		}
		h.Understand(said, text, "Den")
		h.Mend(said)
		h.Readings(said)
	})
}
