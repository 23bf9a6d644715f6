package intent

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestHomeAssistant asks the default model what a user of the recorded home would.
func TestHomeAssistant(t *testing.T) {
	a := openAssistant(t)
	system, user, tools, _ := readExchange(t, "turn")
	h := ReadHome(system)
	for _, c := range []struct{ said, want string }{ // as in TestCalls; "!" alone is any refusal
		{user, `HassTurnOn {"area":"Kitchen","domain":["light"]}`},
		{"Turn on the bedroom lamp.", `HassTurnOn {"name":"Bedroom Lamp"}`},
		{"turn off all the lights", `HassTurnOff {"domain":["light"]}`},
		{"open the garage door", `HassTurnOn {"name":"Garage Door"}`},
		{"lock the front door", `HassTurnOn {"name":"Front Door"}`},
		{"activate party time", `HassTurnOn {"domain":["scene"],"name":"Party Time"}`},
		{"set the bedroom lamp to 40 percent", `HassLightSet {"brightness":40,"name":"Bedroom Lamp"}`},
		{"set kitchen brightness to 50%", `HassLightSet {"area":"Kitchen","brightness":50}`},
		{"set the temperature to 21 degrees", `HassClimateSetTemperature {"temperature":21}`},
		{"set the volume to 30 percent", `HassSetVolume {"volume_level":30}`},
		{"pause the living room tv", `HassMediaPause {"name":"Living Room TV"}`},
		{"start rover", `HassVacuumStart {"name":"Rover"}`},
		{"add milk to my shopping list", `HassListAddItem {"item":"milk","name":"Shopping List"}`},
		{"set a timer for 5 minutes", `HassStartTimer {"minutes":5}`},
		{"is the front door locked?", `GetLiveContext {"domain":"lock","name":"Front Door"}`},
		{"what time is it?", `GetDateTime {}`},
		{"turn on the toaster", "!"},
		{"turn on the kitchen toaster", "!"},
		{"turn on the hallway lights", "!no entity of domain"},
		{"turn on the desk lamp", "!"},
		{"close the bathroom window", "!"},
		{"turn off the garden lights", "!"},
	} {
		o := h.Calls(c.said, a.ask(t, h, c.said, tools), tools)
		if got := describe(o); strings.HasPrefix(c.want, "!") && !strings.HasPrefix(got, c.want) || !strings.HasPrefix(c.want, "!") && got != c.want {
			t.Errorf("%q: %s, not %s", c.said, got, c.want)
		}
	}
	for name, want := range map[string]string{"results": "Done.", "failed": "Sorry, that did not work: No light was found in the area Kitchen."} {
		if _, _, _, results := readExchange(t, name); Answer(results) != want {
			t.Errorf("%s: %q, not %q", name, Answer(results), want)
		}
	}
	system, user, tools, results := readExchange(t, "refused")
	if o := ReadHome(system).Calls(user, a.ask(t, ReadHome(system), user, tools), tools); !o.Refused || len(results) > 0 {
		t.Errorf("%q: %s behind %d results", user, describe(o), len(results))
	}
}

// completion is the line of JSON that the model was trained to write: the intent, and the slots by their keys, in lower case.
func (r row) completion(t testing.TB) string {
	t.Helper()
	slots := map[string]any{}
	for k, v := range r.Slots {
		if s, ok := v.(string); ok {
			v = strings.ToLower(s)
		}
		slots[k] = v
	}
	b, err := json.Marshal(slots) // sorts the keys
	if err != nil {
		t.Fatal(err)
	}
	if len(slots) == 0 {
		return fmt.Sprintf("{\"intent\":%q}", r.Intent)
	}
	return fmt.Sprintf("{\"intent\":%q,%s", r.Intent, b[1:])
}

// offered are the rows whose intent Home Assistant offers as a tool.
func offered(rows []row, tools []Tool) []row {
	var out []row
	for _, r := range rows {
		if find(tools, r.Intent) != nil {
			out = append(out, r)
		}
	}
	return out
}

// TestTestSet counts exact calls over the test set. What is neither exact nor refused is a wrong action or one that says too little or too much.
func TestTestSet(t *testing.T) {
	slow(t)
	a := openAssistant(t)
	rows, system := homeRows(t)
	_, _, tools, _ := readExchange(t, "turn")
	rows = offered(rows, tools)
	h := ReadHome(system)
	completions := map[string]string{}
	for _, c := range []struct {
		name string
		form func(string) string
	}{
		{"as written", func(s string) string { return s }},
		{"as speech recognition writes", func(s string) string { return strings.ToUpper(s[:1]) + strings.TrimRight(s[1:], ".?!") + "." }},
	} {
		exact, refused := 0, 0
		for _, r := range rows {
			said := c.form(r.Prompt)
			u := Utterance("home", said)
			if _, ok := completions[u]; !ok {
				completions[u] = a.ask(t, h, said, tools)
			}
			switch o := h.Calls(said, completions[u], tools); {
			case same(r, o):
				exact++
			case o.Refused:
				refused++
				t.Logf("%q: %s", said, o.Reason)
			default:
				t.Logf("%q: %s, not %v", said, describe(o), r.Slots)
			}
		}
		t.Logf("%s: of %d utterances %d (%.1f %%) exact, %d refused, %d otherwise", c.name, len(rows), exact, 100*float64(exact)/float64(len(rows)),
			refused, len(rows)-exact-refused)
		if exact < 95*len(rows)/100 || len(rows)-exact-refused > len(rows)/50 {
			t.Errorf("%s: too few are exact, or too many wrong", c.name)
		}
	}
}

// TestRemoved says every utterance of the test set that names an entity to the home without that entity: nothing may be done.
func TestRemoved(t *testing.T) {
	slow(t)
	a := openAssistant(t)
	rows, system := homeRows(t)
	_, _, tools, _ := readExchange(t, "turn")
	full := ReadHome(system)
	said, acted, told := 0, 0, 0
	for _, r := range rows {
		name, _ := r.Slots["name"].(string)
		h := &Home{Areas: full.Areas, Floors: full.Floors}
		for _, e := range full.Entities {
			if spelled(e.Names, name) == "" {
				h.Entities = append(h.Entities, e)
			}
		}
		if len(h.Entities) == len(full.Entities) || strings.Contains(r.Intent, "Timer") {
			continue
		}
		said++
		o := h.Calls(r.Prompt, a.ask(t, h, r.Prompt, tools), tools)
		switch {
		case o.Refused:
		case strings.HasPrefix(o.Calls[0].Name, "Hass"):
			acted++
			t.Errorf("%q without %q: %s", r.Prompt, name, describe(o))
		default:
			told++
			t.Logf("%q without %q: %s", r.Prompt, name, describe(o))
		}
	}
	t.Logf("of %d utterances %d did something, %d asked for the state of something else", said, acted, told)
	if said < 100 || told > said/10 {
		t.Error("too few utterances, or too many answers about other entities")
	}
}

// TestAbsent names devices that the house of the test set has not.
func TestAbsent(t *testing.T) {
	slow(t)
	a := openAssistant(t)
	_, system := homeRows(t)
	_, _, tools, _ := readExchange(t, "turn")
	h := ReadHome(system)
	devices := "toaster|kitchen toaster|sauna|pool pump|hall chandelier|bedroom heater|desk lamp|garden lights|attic fan|garage sauna light|christmas tree|" +
		"back yard sprinkler|bedroom tv|kitchen radio|office lamp|dishwasher|oven|left lamp|guest room humidifier|hallway lights|bathroom fan|coffee machine|" +
		"living room aquarium|baby monitor|second bedroom lamp|outdoor lights|wine cooler|terrace awning|secret door|living room stereo|my wife's lamp|alarm"
	commands := []string{"turn on the %s", "switch the %s off", "set the %s to 50 percent", "open the %s", "lock the %s", "make the %s red", "activate my %s please"}
	said := 0
	for device := range strings.SplitSeq(devices, "|") {
		for _, command := range commands {
			u := fmt.Sprintf(command, device)
			said++
			if o := h.Calls(u, a.ask(t, h, u, tools), tools); !o.Refused {
				t.Errorf("%q: %s", u, describe(o))
			}
		}
	}
	t.Logf("%d utterances", said)
}

// slow leaves a test out of -short, where the race detector or an emulator would take minutes for it.
func slow(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: runs without -short")
	}
}

func BenchmarkForm(b *testing.B) {
	system, _, tools, _ := readExchange(b, "turn")
	h := ReadHome(system)
	for b.Loop() {
		h.Form("set the bedroom lamp to 40 percent", tools)
	}
}

func BenchmarkReadHome(b *testing.B) {
	system, _, _, _ := readExchange(b, "turn")
	b.SetBytes(int64(len(system)))
	for b.Loop() {
		ReadHome(system)
	}
}

func BenchmarkCalls(b *testing.B) {
	system, _, tools, _ := readExchange(b, "turn")
	h := ReadHome(system)
	for b.Loop() {
		h.Calls("set the bedroom lamp to 40 percent", `{"intent":"HassLightSet","area":"bedroom","brightness":40}`, tools)
	}
}
