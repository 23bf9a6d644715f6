package home

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"bimamba/edge/engine"
	"bimamba/edge/model"
	"bimamba/internal/testmodel"
)

// testAssistant is one for the house of testdata. Its sentences here are others than those in beyond.jsonl.
func testAssistant(t testing.TB) *Assistant {
	t.Helper()
	h, err := Read("testdata/beyond-home.toml")
	if err != nil {
		t.Fatal(err)
	}
	return assistant(t, h)
}

func ask(t testing.TB, a *Assistant, r Request) *Answer {
	t.Helper()
	ans, err := a.Handle(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	check(t, r.Text, ans)
	return ans
}

// check sees to what holds of every answer.
func check(t testing.TB, text string, ans *Answer) {
	t.Helper()
	if (ans.Kind == Act) != (len(ans.Actions) > 0) || ans.Kind != Act && ans.Text == "" || ans.Kind == Decline && ans.Reason == "" {
		t.Errorf("%q: %+v", text, ans)
	}
	for _, x := range ans.Actions {
		if x.ID == "" || !strings.HasPrefix(x.Intent, "Hass") || x.Slots == nil {
			t.Errorf("%q: %+v", text, x)
		}
	}
}

// describe is an answer's kind and what was understood.
func describe(ans *Answer) string {
	var b strings.Builder
	b.WriteString(ans.Kind.String())
	for _, x := range ans.Meant {
		s, _ := json.Marshal(x.Slots)
		fmt.Fprintf(&b, " %s%s%v", strings.TrimPrefix(x.Intent, "Hass"), s, x.Entities)
	}
	return b.String()
}

func TestHandle(t *testing.T) {
	a := testAssistant(t)
	for _, c := range []struct{ said, at, want string }{
		{"turn on the floor lamp", "", `act TurnOn{"name":"Floor lamp"}[light.floor_lamp]`},
		{"Turn ON the Floor Lamp, please.", "", `act TurnOn{"name":"Floor lamp"}[light.floor_lamp]`},
		{"turn on the lights", "study", `act TurnOn{"area":"Study","domain":"light"}[light.desk_lamp]`},
		{"turn on the lights", "office", `act TurnOn{"area":"Study","domain":"light"}[light.desk_lamp]`},
		{"turn off the lights in here", "", `ask TurnOff{"domain":"light"}[]`},
		{"switch the telly off", "", `act TurnOff{"name":"TV"}[media_player.tv]`},
		{"set the floor lamp to fifty percent", "", `act LightSet{"brightness":50,"name":"Floor lamp"}[light.floor_lamp]`},
		{"22 degrees in the bedroom please", "", `act ClimateSetTemperature{"area":"Bedroom","temperature":22}[climate.bedroom]`},
		{"set a timer for an hour and a half", "", `act StartTimer{"hours":1,"minutes":30}[]`},
		{"what's the time", "", `act GetCurrentTime{}[]`},
		{"never mind", "", `say Nevermind{}[]`},

		// Slips.
		{"turn on the flore lamp", "", `act TurnOn{"name":"Floor lamp"}[light.floor_lamp]`},
		{"turn of the bed room fan", "", `act TurnOff{"name":"Bedroom fan"}[fan.bedroom]`},
		{"turn off the lights in the hall way", "", `act TurnOff{"area":"Hallway","domain":"light"}[light.hallway_ceiling]`},

		// Other words.
		{"it's dark in the hallway", "", `act TurnOn{"area":"hallway","domain":"light"}[light.hallway_ceiling]`},
		{"get the coffee machine going", "", `ask TurnOn{"name":"Coffee machine"}[switch.coffee_machine]`},
		{"it's movie night", "", `act TurnOn{"domain":"scene","name":"Movie night"}[scene.movie_night]`},

		// Several.
		{"turn on the lights in the kitchen and the study", "",
			`act TurnOn{"area":"Kitchen","domain":"light"}[light.island light.kitchen_spots] TurnOn{"area":"Study","domain":"light"}[light.desk_lamp]`},
		{"turn the floor lamp on and the desk lamp off", "", `act TurnOn{"name":"Floor lamp"}[light.floor_lamp] TurnOff{"name":"Desk lamp"}[light.desk_lamp]`},
		{"turn on the desk lamp and set it to 40 percent", "",
			`act TurnOn{"name":"Desk lamp"}[light.desk_lamp] LightSet{"brightness":40,"name":"Desk lamp"}[light.desk_lamp]`},
		{"turn on the floor lamp and the sauna", "", "decline"},
		{"turn off everything in the kitchen", "", `act TurnOff{"area":"Kitchen","domain":"light"}[light.island light.kitchen_spots] ` +
			`TurnOff{"area":"Kitchen","domain":"media_player"}[media_player.kitchen_radio] TurnOff{"area":"Kitchen","domain":"switch"}[switch.coffee_machine]`},

		{"lights on and blinds up", "living_room", `act TurnOn{"area":"Living room","domain":"light"}[light.floor_lamp light.living_room_ceiling] ` +
			`TurnOn{"area":"Living room","device_class":"blind","domain":"cover"}[cover.living_room_blinds]`},
		{"the study is empty, lights off", "", `act TurnOff{"area":"Study","domain":"light"}[light.desk_lamp]`},
		{"lights off, I'm going out", "study", `act TurnOff{"area":"Study","domain":"light"}[light.desk_lamp]`},

		// What the model takes for something else.
		{"put on the fairy lights", "", `act TurnOn{"name":"Fairy lights"}[switch.fairy_lights]`},
		{"turn the radio up", "", `act SetVolumeRelative{"name":"Kitchen radio","volume_step":"up"}[media_player.kitchen_radio]`},
		{"is the garage shut", "", `act GetState{"name":"Garage door","state":"closed"}[cover.garage_door]`},
		{"have the living room blinds closed", "", `act TurnOff{"name":"Living room blinds"}[cover.living_room_blinds]`},
		{"how warm is it outside", "", `act GetState{"area":"outside","device_class":"temperature","domain":"sensor"}[sensor.outside_temperature]`},
		{"how much gas do I have", "", "decline"},

		// To be confirmed.
		{"open the garage door", "", `ask TurnOn{"name":"Garage door"}[cover.garage_door]`},
		{"close the garage door", "", `act TurnOff{"name":"Garage door"}[cover.garage_door]`},
		{"unlock the front door", "", `ask TurnOff{"name":"Front door"}[lock.front_door]`},
		{"open the front door", "", `ask TurnOff{"name":"Front door"}[lock.front_door]`},
		{"lock the front door", "", `act TurnOn{"name":"Front door"}[lock.front_door]`},
		{"lock the garage door", "", "decline"},
		{"set the house alarm to away", "", "decline"},
		{"arm the house alarm", "", `ask TurnOn{"domain":"alarm_control_panel","name":"House alarm"}[alarm_control_panel.house]`},

		{"unlock everything", "", `ask TurnOff{"domain":"lock"}[lock.back_door lock.front_door]`},
		{"open everything in the garden", "", `ask TurnOn{"area":"Garden","domain":"cover"}[cover.driveway_gate]`},
		{"close everything in the garage", "", `act TurnOff{"area":"Garage","domain":"cover"}[cover.garage_door]`},
		{"turn off everything in the garage", "", "decline"},
		{"open the gate", "kitchen", `ask TurnOn{"device_class":"gate","domain":"cover"}[cover.driveway_gate]`},

		// Later.
		{"open the garage door in 5 minutes", "", `ask StartTimer{"conversation_command":"open the garage door","minutes":5}[]`},
		{"in 2 hours turn off the house alarm", "", `ask StartTimer{"conversation_command":"turn off the house alarm","hours":2}[]`},
		{"turn off the lights in 10 minutes", "kitchen", `act StartTimer{"conversation_command":"turn off the lights","minutes":10}[]`},
		{"in 5 minutes turn on the sauna", "", "decline"},
		{"turn the bathroom fan off in 10 minutes", "", `act StartTimer{"conversation_command":"turn off the bathroom fan","minutes":10}[]`},

		// Not to be done.
		{"", "", "decline"}, {" .,!", "", "decline"}, {strings.Repeat("on ", 400), "", "decline"},
		{"turn on the sauna", "", "decline"},
		{"turn on the lights when I get home", "", "decline"},
		{"don't turn on the lights", "", "decline"},
		{"turn off all the lights but the floor lamp", "", "decline"},
		{"turn off the lights at ten", "", "decline"},
		{"my fan broke yesterday", "", "decline"},
		{"what should I cook for dinner", "", "decline"},
		{"how do I close a bank account", "", "decline"},
		{"schalte das licht in der küche ein", "", "decline"},
		{"éteins la lumière", "", "decline"},
	} {
		ans := ask(t, a, Request{Text: c.said, Device: c.at})
		if got := describe(ans); !strings.EqualFold(got, c.want) {
			t.Errorf("%q: %s (%s), not %s", c.said, got, ans.Reason, c.want)
		}
	}
}

func TestLanguages(t *testing.T) {
	e := open(t)
	for _, c := range []struct {
		home, request string
		want          Kind
	}{
		{"en", "", Act}, {"en-GB", "en", Act}, {"en", "en_US", Act}, {"en", "de", Decline}, {"de", "", Decline}, {"de", "en", Decline},
	} {
		a, err := New(e, &Home{Language: c.home})
		if err != nil {
			t.Fatal(err)
		}
		if ans := ask(t, a, Request{Text: "set a timer for 5 minutes", Language: c.request}); ans.Kind != c.want || c.want == Decline && ans.Text != "Sorry, I only understand English." {
			t.Errorf("home %q, request %q: %v %q", c.home, c.request, ans.Kind, ans.Text)
		}
	}
}

// TestEmptyHome does what needs no device, and nothing else.
func TestEmptyHome(t *testing.T) {
	a := assistant(t, &Home{Language: "en"})
	for said, want := range map[string]string{
		"set a timer for 5 minutes":     `act StartTimer{"minutes":5}[]`,
		"add milk to the shopping list": `act ShoppingListAddItem{"item":"milk"}[]`,
		"what day is it":                `act GetCurrentDate{}[]`,
		"turn on the lights":            "decline",
		"turn off the kitchen lamp":     "decline",
		"unlock the door":               "decline",
		"turn off everything":           "decline",
	} {
		if got := describe(ask(t, a, Request{Text: said})); got != want {
			t.Errorf("%q: %s, not %s", said, got, want)
		}
	}
}

func TestConversation(t *testing.T) {
	a := testAssistant(t)
	now := time.Unix(1e9, 0)
	a.memory.now = func() time.Time { return now }
	type turn struct{ said, want string }
	for name, turns := range map[string][]turn{
		"yes":             {{"unlock the front door", `ask TurnOff{"name":"Front door"}[lock.front_door]`}, {"Yes, please.", `act TurnOff{"name":"Front door"}[lock.front_door]`}, {"yes", "say Nevermind{}[]"}},
		"no":              {{"unlock the front door", `ask TurnOff{"name":"Front door"}[lock.front_door]`}, {"no", "say"}, {"yes", "say Nevermind{}[]"}},
		"something else":  {{"unlock the front door", `ask TurnOff{"name":"Front door"}[lock.front_door]`}, {"turn on the desk lamp", `act TurnOn{"name":"Desk lamp"}[light.desk_lamp]`}, {"yes", "say Nevermind{}[]"}},
		"which":           {{"turn on the ceiling light", `ask TurnOn{"name":"ceiling light"}[]`}, {"the one in the hallway", `act TurnOn{"area":"Hallway","name":"Ceiling light"}[light.hallway_ceiling]`}},
		"which, no":       {{"turn on the ceiling light", `ask TurnOn{"name":"ceiling light"}[]`}, {"never mind", "say"}},
		"which, another":  {{"turn on the ceiling light", `ask TurnOn{"name":"ceiling light"}[]`}, {"turn on the TV", `act TurnOn{"name":"TV"}[media_player.tv]`}},
		"how much":        {{"it's freezing in the study", ""}, {"21", `act ClimateSetTemperature{"area":"Study","temperature":21}[climate.study]`}},
		"how long":        {{"set a timer", ""}, {"ten minutes", `act StartTimer{"minutes":10}[]`}},
		"first of many":   {{"turn on the desk lamp and unlock the back door", ""}, {"ok", `act TurnOn{"name":"Desk lamp"}[light.desk_lamp] TurnOff{"name":"Back door"}[lock.back_door]`}},
		"nothing to take": {{"yes", "say Nevermind{}[]"}},
	} {
		for i, x := range turns {
			ans := ask(t, a, Request{Text: x.said, Conversation: name})
			if got := describe(ans); x.want != "" && !strings.EqualFold(got, x.want) || x.want == "" && ans.Kind != Ask {
				t.Errorf("%s, turn %d, %q: %s %q (%s), not %s", name, i+1, x.said, got, ans.Text, ans.Reason, x.want)
			}
		}
	}

	// A question is no other conversation's, it does not wait for ever, and it goes with the home.
	question := func(conversation string) {
		t.Helper()
		if ans := ask(t, a, Request{Text: "unlock the front door", Conversation: conversation}); ans.Kind != Ask || ans.Text != "Unlock the Front door?" {
			t.Errorf("%v %q", ans.Kind, ans.Text)
		}
	}
	question("a")
	if ans := ask(t, a, Request{Text: "yes", Conversation: "b"}); ans.Kind == Act {
		t.Error("another conversation's yes unlocks the door")
	}
	now = now.Add(openFor + time.Second)
	if ans := ask(t, a, Request{Text: "yes", Conversation: "a"}); ans.Kind == Act {
		t.Error("a late yes unlocks the door")
	}
	question("")
	if ans := ask(t, a, Request{Text: "yes"}); ans.Kind == Act {
		t.Error("a yes without a conversation unlocks the door")
	}
	question("a")
	a.SetHome(a.Home())
	if ans := ask(t, a, Request{Text: "yes", Conversation: "a"}); ans.Kind == Act {
		t.Error("a yes in another home unlocks the door")
	}
}

// TestSetHome puts homes in each other's place while requests run.
func TestSetHome(t *testing.T) {
	a := testAssistant(t)
	full, empty := a.Home(), &Home{Language: "en"}
	var all sync.WaitGroup
	ids := sync.Map{}
	for i := range 4 {
		all.Go(func() {
			for range 3 {
				ans := ask(t, a, Request{Text: "turn on the desk lamp", Conversation: fmt.Sprint(i)})
				for _, x := range ans.Actions {
					if _, twice := ids.LoadOrStore(x.ID, true); twice {
						t.Errorf("ID %s is there twice", x.ID)
					}
				}
			}
		})
	}
	for i := range 6 {
		a.SetHome([]*Home{empty, full}[i%2])
	}
	all.Wait()
}

// TestTestSet counts rows that are understood exactly as the test set says, in its house, also with other entities.
func TestTestSet(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: runs without -short")
	}
	h := fixtureHome(t)
	for _, c := range []struct {
		others, step int
	}{{0, 1}, {200, 3}} {
		a := assistant(t, distract(h, c.others))
		exact, wrong, n := 0, 0, 0
		for i, r := range homeRows(t) {
			if i%c.step != 0 {
				continue
			}
			n++
			ans := ask(t, a, Request{Text: r.Prompt})
			p := *a.home.Load()
			p.runs = 1
			if said := clean(r.Prompt); !p.names.Accounts(said) { // which spares the model what is refused anyway
				if x, err := a.readAs(t.Context(), &p, said, ""); err != nil || x.taken() {
					t.Errorf("%q has a word that nothing accounts for, and is understood: %s, %v", r.Prompt, x.text, err)
				}
			}
			switch ok := len(ans.Meant) == 1 && same(r, ans.Meant[0]); {
			case ok:
				exact++
			case ans.Kind == Act:
				wrong++
				t.Logf("%q: %s, not %v", r.Prompt, describe(ans), r.Slots)
			default:
				t.Logf("%q: %s (%s), not %v", r.Prompt, describe(ans), ans.Reason, r.Slots)
			}
		}
		t.Logf("with %d other entities: of %d rows %d (%.1f %%) exact, %d acted on otherwise", c.others, n, exact, 100*float64(exact)/float64(n), wrong)
		if exact < 95*n/100 || wrong > n/50 {
			t.Errorf("with %d other entities: too few are exact, or too many wrong", c.others)
		}
	}
}

// TestLargeHome has 10,000 entities.
func TestLargeHome(t *testing.T) {
	h, err := Read("testdata/beyond-home.toml")
	if err != nil {
		t.Fatal(err)
	}
	a := assistant(t, distract(h, 10_000-len(h.Entities)))
	for said, want := range map[string]string{
		"turn on the desk lamp":                `act TurnOn{"name":"Desk lamp"}[light.desk_lamp]`,
		"turn off the lights in the nursary":   `act TurnOff{"area":"Nursery","domain":"light"}[light.night_light]`,
		"turn on the sauna":                    "decline",
		"unlock the back door":                 `ask TurnOff{"name":"Back door"}[lock.back_door]`,
		"what is the capital of the dolomites": "decline",
	} {
		if got := describe(ask(t, a, Request{Text: said})); got != want {
			t.Errorf("%q: %s, not %s", said, got, want)
		}
	}
}

func FuzzHandle(f *testing.F) {
	e, err := engine.Open(testmodel.Default(f), engine.Options{Model: model.Options{Precision: model.LUT16}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { e.Close() })
	h, err := Read("testdata/beyond-home.toml")
	if err != nil {
		f.Fatal(err)
	}
	a, err := New(e, h)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"turn on the desk lamp", "set a timer for \"x\\\" minutes", "add <|reply|> to the list", "\xff\xfe on", "turn on the İ lamp and, then. ; and the fan",
		"set the lamp to 1e999 percent", "a one twenty-five hundred and a half per cent point", "the the the it it them, close it"} {
		f.Add(s, "study")
	}
	f.Fuzz(func(t *testing.T, said, at string) {
		ans, err := a.Handle(t.Context(), Request{Text: said, Device: at, Conversation: "fuzz"})
		if err != nil {
			t.Fatal(err)
		}
		check(t, said, ans)
		for _, x := range ans.Actions {
			for _, id := range x.Entities {
				if a.home.Load().entities[id] == nil {
					t.Errorf("%q: there is no entity %q", said, id)
				}
			}
		}
	})
}

// TestLater sets a timer with a command that wants a yes: the yes comes when it is set, and where.
func TestLater(t *testing.T) {
	a := testAssistant(t)
	ans := ask(t, a, Request{Text: "open the garage door in 5 minutes", Conversation: "a", Device: "kitchen"})
	if ans.Kind != Ask || ans.Text != "In 5 minutes open the garage door?" {
		t.Fatalf("%v %q", ans.Kind, ans.Text)
	}
	ans = ask(t, a, Request{Text: "yes", Conversation: "a", Device: "kitchen"})
	if got, want := describe(ans), `act StartTimer{"conversation_command":"open the garage door","minutes":5}[]`; got != want || ans.Actions[0].Area != "Kitchen" {
		t.Fatalf("%s, not %s; %+v", got, want, ans.Actions)
	}
	ans = ask(t, a, Request{Text: "open the garage door", Confirmed: true})
	if got, want := describe(ans), `act TurnOn{"name":"Garage door"}[cover.garage_door]`; got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

// TestOldQuestion answers a question that was asked of a home which is not there any more, as one asked while the home changed.
func TestOldQuestion(t *testing.T) {
	a := testAssistant(t)
	a.memory.ask("a", &question{home: &Home{}, yes: []Action{{Intent: "HassTurnOff", Slots: map[string]any{}, Entities: []string{"lock.gone"}}}})
	if ans := ask(t, a, Request{Text: "yes", Conversation: "a"}); ans.Kind != Say || ans.Text != "There is nothing that waits for a yes." {
		t.Errorf("%v %q", ans.Kind, ans.Text)
	}
}

func TestGuardedNames(t *testing.T) {
	h := &Home{Language: "en", Areas: []Area{{ID: "garage", Name: "Garage"}}, Entities: []Entity{
		{ID: "switch.a", Name: "Door opener"}, {ID: "script.b", Name: "Leave", Aliases: []string{"unlock the flat"}}, {ID: "switch.c", Name: "Clock"},
		{ID: "cover.d", Name: "Roller", Area: "garage"}, {ID: "cover.e", Name: "Blind", DeviceClass: "blind", Area: "garage"}, {ID: "alarm_control_panel.f", Name: "F"},
	}}
	p := newPlace(h)
	for _, c := range []struct {
		intent, id string
		want       bool
	}{
		{"HassTurnOn", "switch.a", true}, {"HassTurnOn", "script.b", true}, {"HassTurnOn", "switch.c", false}, {"HassTurnOn", "cover.d", true}, {"HassTurnOff", "cover.d", false},
		{"HassTurnOn", "cover.e", false}, {"HassTurnOff", "alarm_control_panel.f", true}, {"HassGetState", "alarm_control_panel.f", false},
	} {
		if got := p.guarded(&Action{Intent: c.intent, Entities: []string{c.id}}); got != c.want {
			t.Errorf("%s %s: %v", c.intent, c.id, got)
		}
	}
}

// TestTwins asks which of two things of one name is meant, by their kinds where they are in one room, and says so where nothing tells them apart.
func TestTwins(t *testing.T) {
	twin := func(id, area string) Entity { return Entity{ID: id, Name: "Party bubble", Area: area} }
	home := func(entities ...Entity) *Home {
		return &Home{Language: "en", Areas: []Area{{ID: "study", Name: "Study"}, {ID: "hall", Name: "Hall"}}, Entities: entities}
	}
	for _, c := range []struct {
		name         string
		home         *Home
		text, answer string
		want         string // what the answer leads to
	}{
		{"two rooms", home(twin("light.a", "study"), twin("light.b", "hall")), "Which one, the one in the Study or the one in the Hall?", "the one in the hall", `act TurnOn{"area":"Hall","name":"Party bubble"}[light.b]`},
		{"two kinds", home(twin("light.a", "study"), twin("switch.b", "study")), "Which one, the light in the Study or the switch in the Study?", "the switch", `act TurnOn{"area":"Study","domain":"switch","name":"Party bubble"}[switch.b]`},
		{"two kinds, no room", home(twin("light.a", ""), twin("switch.b", "")), "Which one, the light or the switch?", "the light", `act TurnOn{"domain":"light","name":"Party bubble"}[light.a]`},
		{"no difference", home(twin("light.a", "study"), twin("light.b", "study")), "Sorry, several things in the Study are called Party bubble, and I cannot tell them apart. Please rename one.", "", ""},
	} {
		a := assistant(t, c.home)
		ans := ask(t, a, Request{Text: "turn on the party bubble", Conversation: c.name})
		if ans.Text != c.text || (ans.Kind == Ask) != (c.want != "") {
			t.Errorf("%s: %v %q (%s)", c.name, ans.Kind, ans.Text, ans.Reason)
		}
		if c.want != "" {
			if got := describe(ask(t, a, Request{Text: c.answer, Conversation: c.name})); got != c.want {
				t.Errorf("%s, %q: %s, not %s", c.name, c.answer, got, c.want)
			}
		}
	}
}

// TestConfirm is what a home's owner wants to be asked about, and scripts, which are not by themselves.
func TestConfirm(t *testing.T) {
	h := &Home{Language: "en", Entities: []Entity{{ID: "script.party", Name: "Party time"}, {ID: "switch.heater", Name: "Heater"}, {ID: "light.a", Name: "Floor lamp"}}}
	for _, c := range []struct {
		confirm []string
		want    [3]Kind
	}{{nil, [3]Kind{Act, Act, Act}}, {[]string{"script.*"}, [3]Kind{Ask, Act, Act}}, {[]string{"switch.heater", "light.b"}, [3]Kind{Act, Ask, Act}}} {
		g := *h
		g.Confirm = c.confirm
		a := assistant(t, &g)
		for i, said := range []string{"run the script party time", "turn on the heater", "turn on the floor lamp"} {
			if ans := ask(t, a, Request{Text: said}); ans.Kind != c.want[i] {
				t.Errorf("confirm %q, %q: %v (%s)", c.confirm, said, ans.Kind, ans.Reason)
			}
		}
	}
	for _, bad := range []string{"script", "*", "script.", "Light.a", "light.*.*"} {
		if _, err := Parse([]byte("confirm = [\"" + bad + "\"]\n")); err == nil || !strings.Contains(err.Error(), "line 1: confirm has") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
