package home

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCommandCleaned(t *testing.T) {
	for _, c := range []struct{ said, want string }{
		{"turn on the lamp", "turn on the lamp"},
		{"  Hey,  could you please turn on the lamp for me, please?", "turn on the lamp"},
		{"I'd like you to close the blinds right now", "close the blinds"},
		{"please", "please"},
		{"can you", "can you"},
		{"turn of the lamp", "turn off the lamp"},
		{"add milk too the list", "add milk to the list"},
		{"set the lamp to fifty percent", "set the lamp to 50 percent"},
		{"set the lamp to twenty-five per cent", "set the lamp to 25 percent"},
		{"set it to twenty one point five degrees", "set it to 21.5 degrees"},
		{"volume of twenty five", "volume of 25"},
		{"turn on lamp one", "turn on lamp one"},
		{"add two apples to the list", "add two apples to the list"},
		{"set a timer for an hour and a half", "set a timer for 1 hour and 30 minutes"},
		{"set a timer for 1 and a half hours", "set a timer for 1 hours and 30 minutes"},
		{"set a timer for half an hour", "set a timer for 30 minutes"},
		{"set a timer for to minutes", "set a timer for 2 minutes"},
		{"dim the lamp to a third", "dim the lamp to 33 percent"},
		{"a hundred percent", "100 percent"},
	} {
		if got := clean(c.said); got != c.want {
			t.Errorf("%q: %q, not %q", c.said, got, c.want)
		}
	}
}

func TestSplit(t *testing.T) {
	area := func(s string) bool {
		return slices.Contains([]string{"kitchen", "study", "living room"}, strings.ToLower(s))
	}
	for _, c := range []struct{ said, parts, both, inBoth string }{
		{"turn on the lamp", "turn on the lamp", "", ""},
		{"turn on the lamp and close the blinds", "turn on the lamp|close the blinds", "turn on the lamp|turn on close the blinds", ""},
		{"turn on the lamp, then close the blinds and lock the door", "turn on the lamp|close the blinds|lock the door", "*", ""},
		{"turn on the lamp and the fan", "turn on the lamp and the fan", "turn on the lamp|turn on the fan", ""},
		{"turn the lamp and the fan off", "turn the lamp and the fan off", "turn off the lamp|turn off the fan", ""},
		{"turn the lamp on and the fan off", "turn the lamp on|the fan off", "turn the lamp on|turn the fan off", ""},
		{"set the kitchen to 18 and the study to 21 degrees", "set the kitchen to 18 and the study to 21 degrees", "set the kitchen to 18 degrees|set the study to 21 degrees", ""},
		{"lights off and blinds down", "lights off|blinds down", "", ""},
		{"turn on the lights in the kitchen and the study", "turn on the lights in the kitchen and the study", "*", "turn on the lights in the kitchen|turn on the lights in the study"},
		{"turn on the kitchen and living room lights", "turn on the kitchen and living room lights", "*", "turn on the kitchen lights|turn on the living room lights"},
		{"add bread and butter to the list", "add bread and butter to the list", "", ""},
		{"and turn on the lamp", "and turn on the lamp", "", ""},
		{strings.Repeat("turn on the lamp and ", 20) + "stop", "*", "", ""},
	} {
		for _, x := range []struct {
			name, want string
			got        []string
		}{{"split", c.parts, split(c.said)}, {"both", c.both, both(c.said)}, {"inBoth", c.inBoth, inBoth(c.said, area)}} {
			if got := strings.Join(x.got, "|"); got != x.want && x.want != "*" || len(x.got) > maxCommands {
				t.Errorf("%s of %q: %q, not %q", x.name, c.said, got, x.want)
			}
		}
	}
}

func TestGuarded(t *testing.T) {
	h := &Home{Language: "en", Entities: []Entity{{ID: "lock.door", Name: "Door"}, {ID: "cover.garage", Name: "Garage", DeviceClass: "garage"}, {ID: "cover.gate", Name: "Back gate"},
		{ID: "cover.blind", Name: "Blind", DeviceClass: "blind"}, {ID: "cover.curtain", Name: "Door curtain", DeviceClass: "curtain"}, {ID: "alarm_control_panel.house", Name: "House"},
		{ID: "switch.siren", Name: "Alarm siren"}, {ID: "light.garage", Name: "Garage door light"}}}
	p := newPlace(h)
	for _, c := range []struct {
		id, intent string
		slots      map[string]any
		want       bool
	}{
		{"lock.door", "HassTurnOff", nil, true}, {"lock.door", "HassTurnOn", nil, false},
		{"cover.garage", "HassTurnOn", nil, true}, {"cover.garage", "HassTurnOff", nil, false},
		{"cover.garage", "HassSetPosition", map[string]any{"position": 10.0}, true}, {"cover.garage", "HassSetPosition", map[string]any{"position": 0.0}, false},
		{"cover.gate", "HassTurnOn", nil, true}, {"cover.blind", "HassTurnOn", nil, false}, {"cover.curtain", "HassTurnOn", nil, false},
		{"alarm_control_panel.house", "HassTurnOff", nil, true}, {"switch.siren", "HassTurnOff", nil, true}, {"light.garage", "HassTurnOn", nil, false},
		{"", "HassTurnOff", map[string]any{"domain": "lock"}, true}, {"", "HassTurnOn", map[string]any{"domain": "cover", "device_class": "garage"}, true},
		{"", "HassTurnOn", map[string]any{"domain": "cover", "device_class": "blind"}, false},
		{"lock.door", "HassGetState", nil, false},
	} {
		a := Action{Intent: c.intent, Slots: c.slots}
		if c.id != "" {
			a.Entities = []string{c.id}
		}
		if p.guarded(&a) != c.want {
			t.Errorf("%s %s %v: not %v", c.intent, c.id, c.slots, c.want)
		}
	}
}

// TestMemory keeps the latest questions, a limited number of them.
func TestMemory(t *testing.T) {
	now := time.Unix(0, 0)
	m := memory{now: func() time.Time { return now }}
	for i := range maxOpen + 10 {
		m.ask(strings.Repeat("c", i+1), &question{})
	}
	if len(m.open) != maxOpen || m.order.Len() != maxOpen {
		t.Errorf("%d and %d questions", len(m.open), m.order.Len())
	}
	if m.take("c", nil) != nil || m.take(strings.Repeat("c", maxOpen+10), nil) == nil || m.take(strings.Repeat("c", maxOpen+10), nil) != nil {
		t.Error("the first is there, or the last is not there once")
	}
	m.ask("a", &question{more: "1"})
	m.ask("a", &question{more: "2"})
	now = now.Add(openFor)
	if q := m.take("a", nil); q == nil || q.more != "2" {
		t.Errorf("%+v", q)
	}
	m.ask(strings.Repeat("long", 1000), &question{})
	m.ask("", &question{})
	if m.take("", nil) != nil || m.take(strings.Repeat("long", 1000), nil) != nil {
		t.Error("a question without a conversation, or with a long one, is kept")
	}
}
