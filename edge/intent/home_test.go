package intent

import (
	"reflect"
	"strings"
	"testing"
)

func TestReadHome(t *testing.T) {
	lamp := Entity{Names: []string{"Lamp"}, Domain: "light", Areas: []string{"Kitchen"}}
	for _, c := range []struct {
		name, text string
		want       []Entity
		areas      []string
		floors     []string
	}{
		{"nothing", "You are a helpful assistant.", nil, nil, nil},
		{"empty", "", nil, nil, nil},
		{"2025", "Static Context: An overview of the areas and the devices in this smart home:\n- names: Lamp\n  domain: light\n  areas: Kitchen\n",
			[]Entity{lamp}, []string{"Kitchen"}, nil},
		{"text before and behind", "Be brief: 3 words.\n- names matter\nOverview:\n- names: Lamp\n  domain: light\n  areas: Kitchen\n\nCurrent time is 16:55:02. Today's date is 2026-12-06.\n",
			[]Entity{lamp}, []string{"Kitchen"}, nil},
		{"text at once behind", "- names: Lamp\n  domain: light\n  areas: Kitchen\nCurrent time is 16:55:02.\n  domain: fan\n", []Entity{lamp}, []string{"Kitchen"}, nil},
		{"line ends of Windows", "- names: Lamp\r\n  domain: light\r\n  areas: Kitchen\r\n", []Entity{lamp}, []string{"Kitchen"}, nil},
		{"states", "- names: Lamp\n  domain: light\n  state: 'on'\n  areas: Kitchen\n  attributes:\n    brightness: '73'\n- names: Power\n  domain: sensor\n  state: '12.5'\n  attributes:\n    unit_of_measurement: kWh\n",
			[]Entity{{Names: []string{"Lamp"}, Domain: "light", Areas: []string{"Kitchen"}, State: "on"}, {Names: []string{"Power"}, Domain: "sensor", State: "12.5", Unit: "kWh"}},
			[]string{"Kitchen"}, nil},
		{"aliases", "- names: Test Device, my test light\n  domain: light\n  areas: Test Area, Alternative name\n",
			[]Entity{{Names: []string{"Test Device", "my test light"}, Domain: "light", Areas: []string{"Test Area", "Alternative name"}}},
			[]string{"Alternative name", "Test Area"}, nil},
		{"by id", "An overview of the areas and the devices in this smart home:\nlight.lamp:\n  names: Lamp\n  state: 'on'\n  areas: Kitchen\nlock.front_door:\n  names: Front Door\n  state: locked\n",
			[]Entity{{Names: []string{"Lamp"}, Domain: "light", Areas: []string{"Kitchen"}, State: "on"}, {Names: []string{"Front Door"}, Domain: "lock", State: "locked"}},
			[]string{"Kitchen"}, nil},
		{"another order", "- domain: light\n  names: Lamp\n  areas: Kitchen\n", []Entity{lamp}, []string{"Kitchen"}, nil},
		{"indented list", "Devices:\n  - names: Lamp\n    domain: light\n    areas: Kitchen\n", []Entity{lamp}, []string{"Kitchen"}, nil},
		{"quoted", "- names: 'Mum''s: lamp'\n  domain: light\n- names: \"Caf\\xE9 \\u2603\"\n  domain: light\n- names: '1'\n  domain: switch\n",
			[]Entity{{Names: []string{"Mum's: lamp"}, Domain: "light"}, {Names: []string{"Café ☃"}, Domain: "light"}, {Names: []string{"1"}, Domain: "switch"}}, nil, nil},
		{"folded", "- names: A lamp with a very long name that goes on, and an alias that makes it longer\n    than a line\n  domain: light\n- names: \"Sn\\xF6 lamp, and an\\\n    \\ alias\"\n  domain: light\n",
			[]Entity{{Names: []string{"A lamp with a very long name that goes on", "and an alias that makes it longer than a line"}, Domain: "light"},
				{Names: []string{"Snö lamp", "and an alias"}, Domain: "light"}}, nil, nil},
		{"place", "You are in area Den (floor First Floor) and all generic commands like 'turn on the lights' should target this area.\n- names: Lamp\n  domain: light\n  areas: Kitchen\n",
			[]Entity{lamp}, []string{"Den", "Kitchen"}, []string{"First Floor"}},
		{"place without floor", "You are in area Den and all generic commands like 'turn on the lights' should target this area.\n", nil, []string{"Den"}, nil},
		{"no names", "- names:\n  domain: light\n- names: ''\n  domain: light\n- names: ', , '\n  domain: light\n", nil, nil, nil},
		{"same area twice", "- names: A\n  domain: fan\n  areas: Den\n- names: B\n  domain: fan\n  areas: den\n",
			[]Entity{{Names: []string{"A"}, Domain: "fan", Areas: []string{"Den"}}, {Names: []string{"B"}, Domain: "fan", Areas: []string{"den"}}}, []string{"Den"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := ReadHome(c.text)
			if !reflect.DeepEqual(h.Entities, c.want) {
				t.Errorf("entities %+v, not %+v", h.Entities, c.want)
			}
			if !reflect.DeepEqual(h.Areas, c.areas) || !reflect.DeepEqual(h.Floors, c.floors) {
				t.Errorf("areas %q and floors %q, not %q and %q", h.Areas, h.Floors, c.areas, c.floors)
			}
		})
	}
}

func TestReadHomeLimits(t *testing.T) {
	h := ReadHome(strings.Repeat("- names: Lamp\n  domain: light\n", maxEntities+10))
	if len(h.Entities) != maxEntities {
		t.Errorf("%d entities", len(h.Entities))
	}
	h = ReadHome("- names: " + strings.Repeat("a, ", 100) + strings.Repeat("b", maxName+1) + "\n  domain: light\n")
	if n := len(h.Entities[0].Names); n != maxNames {
		t.Errorf("%d names", n)
	}
	if h := ReadHome("- names: " + strings.Repeat("b", maxName+1) + "\n"); h.known() {
		t.Errorf("an entity with a name of %d bytes", len(h.Entities[0].Names[0]))
	}
	if h := ReadHome(strings.Repeat(" ", maxSystem) + "\n- names: Lamp\n"); h.known() {
		t.Error("an entity behind the limit of the text")
	}
}

func FuzzReadHome(f *testing.F) {
	for _, s := range []string{"- names: Lamp\n  domain: light\n  areas: Kitchen\n", "light.a:\n  names: \"A\\\n    \\ b\"\n", "- names: 'a\n    b'\n", "You are in area X (floor Y) and all generic commands"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h := ReadHome(s)
		if len(h.Entities) > maxEntities {
			t.Fatalf("%d entities", len(h.Entities))
		}
		for _, e := range h.Entities {
			if len(e.Names) == 0 || len(e.Names) > maxNames || len(e.Areas) > maxNames || len(e.Domain) > maxName {
				t.Fatalf("%+v", e)
			}
			for _, n := range e.Names {
				if n == "" || len(n) > maxName {
					t.Fatalf("name %q", n)
				}
			}
		}
	})
}
