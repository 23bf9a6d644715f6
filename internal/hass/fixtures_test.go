package hass

import (
	"os"
	"strings"
	"testing"

	"bimamba/edge/home"
)

func TestReadFixtures(t *testing.T) {
	h, err := ReadFixtures([]byte(`
language: "en"
floors: [{name: "Upstairs", id: up_id}]
areas:
  - {name: "Bedroom", id: bedroom_id, floor: up_id}
entities:
  - name: "Store[']s"
    id: todo.stores
    state: ""
  - {name: Speed, id: "sensor.traveling speed", attributes: {device_class: speed, unit_of_measurement: "km/h", position: 5}}
  - {name: Lamp, id: light.lamp, area: bedroom_id, state: {in: "on", out: "on"}}
timers: [{name: pizza}]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &home.Home{Language: "en", Floors: []home.Floor{{ID: "up_id", Name: "Upstairs"}}, Areas: []home.Area{{ID: "bedroom_id", Name: "Bedroom", Floor: "up_id"}}, Entities: []home.Entity{
		{ID: "todo.stores", Name: "Stores", Aliases: []string{"Store's"}},
		{ID: "sensor.traveling_speed", Name: "Speed", DeviceClass: "speed", Unit: "km/h"},
		{ID: "light.lamp", Name: "Lamp", Area: "bedroom_id"},
	}}
	if d := Compare(want, h); d.String() != "nothing changed" {
		t.Errorf("%+v", d)
	}
	for _, bad := range []string{"areas: 5", "language: en\nareas: [{id: a}]", "\t", strings.Repeat("#", maxFixtures+1)} {
		if _, err := ReadFixtures([]byte(bad)); err == nil {
			t.Errorf("%.20q is taken", bad)
		}
	}
}

// TestFixtures reads the real ones where they are.
func TestFixtures(t *testing.T) {
	b, err := os.ReadFile("../../../shared/corpus/home-fixtures.yaml")
	if err != nil {
		t.Skip("the fixtures of home-assistant/intents are not here: ", err)
	}
	h, err := ReadFixtures(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Floors) != 5 || len(h.Areas) != 8 || len(h.Entities) < 100 {
		t.Errorf("%d floors, %d areas, %d entities", len(h.Floors), len(h.Areas), len(h.Entities))
	}
}

func TestCompare(t *testing.T) {
	before := &home.Home{Language: "en", Areas: []home.Area{{ID: "a", Name: "A"}, {ID: "b", Name: "B"}}, Entities: []home.Entity{{ID: "light.a", Name: "A"}}}
	for _, c := range []struct {
		before, after *home.Home
		want          string
	}{
		{before, before, "nothing changed"},
		{nil, before, "+2 areas, +1 entity"},
		{before, &home.Home{Language: "de"}, "-2 areas, -1 entity, another language"},
		{before, &home.Home{Language: "en", Floors: []home.Floor{{ID: "f"}}, Areas: []home.Area{{ID: "a", Name: "A", Aliases: []string{"x"}}, {ID: "b", Name: "Bee"}}, Entities: []home.Entity{{ID: "light.a", Name: "A"}}}, "+1 floor, 2 areas changed"},
	} {
		if got := Compare(c.before, c.after).String(); got != c.want {
			t.Errorf("%s; want %s", got, c.want)
		}
	}
}
