package intent

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"bimamba/edge/grammar"
)

// TestHomeAssistant asks the default model what a user of the recorded home would.
func TestHomeAssistant(t *testing.T) {
	a := openAssistant(t)
	system, user, tools, _ := readExchange(t, "turn")
	h := ReadHome(system)
	g := compile(t, h, tools)
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
		o := h.Calls(c.said, a.complete(t, "home", Utterance("home", c.said), g), tools)
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
	if o := ReadHome(system).Calls(user, a.complete(t, "home", Utterance("home", user), g), tools); !o.Refused || len(results) > 0 {
		t.Errorf("%q: %s behind %d results", user, describe(o), len(results))
	}
}

func compile(t testing.TB, h *Home, tools []Tool) *grammar.Grammar {
	t.Helper()
	g, err := h.Grammar(tools)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestGrammar feeds what the model was trained to write, and what it must not be able to.
func TestGrammar(t *testing.T) {
	a := openAssistant(t)
	system, _, tools, _ := readExchange(t, "turn")
	home := compile(t, ReadHome(system), tools)
	unknown := compile(t, new(Home), tools)
	task := func(name string) *grammar.Grammar {
		g, err := TaskGrammar(name)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	for _, c := range []struct {
		name string
		g    *grammar.Grammar
		text string
		want bool
	}{
		{"home", home, "{\"intent\":\"HassTurnOn\",\"domain\":\"light\",\"name\":\"bedroom lamp\"}\nTurned on", true},
		{"alias", home, "{\"intent\":\"HassTurnOn\",\"name\":\"night light\"}\nTurned on", true},
		{"no such name", home, "{\"intent\":\"HassTurnOn\",\"name\":\"toaster\"}\nTurned on", false},
		{"a name of another domain", home, "{\"intent\":\"HassListAddItem\",\"item\":\"x\",\"name\":\"rover\"}\nAdded x", false},
		{"no such area", home, "{\"intent\":\"HassTurnOn\",\"area\":\"attic\"}\nTurned on", false},
		{"a timer's name", home, "{\"intent\":\"HassStartTimer\",\"minutes\":5,\"name\":\"pizza\"}\nTimer set", true},
		{"not offered, replaced", home, "{\"intent\":\"HassGetState\",\"area\":\"kitchen\",\"domain\":\"light\",\"state\":\"on\"}\nLet me check", true},
		{"another task's", home, "{\"intent\":\"PlayMusic\"}\n", true},
		{"not offered, with slots", home, "{\"intent\":\"PlayMusic\",\"artist\":\"Queen\"}\n", false},
		{"no intent", home, "{\"intent\":\"HassExplode\"}\n", false},
		{"no reply line", home, "{\"intent\":\"HassTurnOn\",\"domain\":\"light\"}", false},
		{"two lines of reply", home, "{\"intent\":\"HassTurnOn\",\"domain\":\"light\"}\na\nb", false},
		{"unknown home", unknown, "{\"intent\":\"HassTurnOn\",\"area\":\"attic\",\"name\":\"toaster\"}\nTurned on", true},
		{"task home", task("home"), "{\"intent\":\"HassLightSet\",\"area\":\"attic\",\"brightness\":50}\nBrightness set", true},
		{"task assist", task("assist"), "{\"intent\":\"BookRestaurant\",\"party_size_number\":\"2\",\"cuisine\":[\"thai\",\"lao\"]}", true},
		{"task topics", task("topics"), "{\"intent\":\"travel_alert\"}", true},
		{"task topics with slots", task("topics"), "{\"intent\":\"travel_alert\",\"a\":\"b\"}", false},
	} {
		if got := a.accepts(c.g, c.text); got != c.want {
			t.Errorf("%s: %q accepted is %v", c.name, c.text, got)
		}
	}
	if _, err := TaskGrammar("chess"); err == nil {
		t.Error("a grammar for the task chess")
	}
}

// accepts tells whether a text, as the tokenizer splits it, is one of the grammar's.
func (a *assistant) accepts(g *grammar.Grammar, text string) bool {
	m := g.Start(a.vocab)
	for _, id := range a.tokens.Encode(nil, text) {
		if m.Accept(id) != nil {
			return false
		}
	}
	return m.Complete()
}

// TestGrammarTestSet feeds every completion that the test set expects and whose names the home has.
func TestGrammarTestSet(t *testing.T) {
	a := openAssistant(t)
	rows, system := homeRows(t)
	_, _, tools, _ := readExchange(t, "turn")
	h := ReadHome(system)
	g := compile(t, h, tools)
	skipped := 0
	for _, r := range rows {
		if name, ok := r.Slots["name"].(string); ok && name != "all" && !strings.Contains(r.Intent, "Timer") {
			if e, _ := h.named(name); e == nil {
				skipped++
				continue
			}
		}
		if area, ok := r.Slots["area"].(string); ok && spelled(h.Areas, area) == "" {
			skipped++
			continue
		}
		if text := r.completion(t) + "\nDone"; !a.accepts(g, text) {
			t.Errorf("%q is not a text of the grammar", text)
		}
	}
	t.Logf("%d of %d rows, the others name what the house of the test set does not list", len(rows)-skipped, len(rows))
	if skipped > len(rows)/20 {
		t.Errorf("%d rows were left out", skipped)
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
	g := compile(t, h, tools)
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
				completions[u] = a.complete(t, "home", u, g)
			}
			switch o := h.Calls(said, completions[u], tools); {
			case same(r, o):
				exact++
			case o.Refused:
				refused++
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
	grammars := map[string]*grammar.Grammar{}
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
		if grammars[name] == nil {
			grammars[name] = compile(t, h, tools)
		}
		said++
		o := h.Calls(r.Prompt, a.complete(t, "home", Utterance("home", r.Prompt), grammars[name]), tools)
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
	g := compile(t, h, tools)
	devices := "toaster|kitchen toaster|sauna|pool pump|hall chandelier|bedroom heater|desk lamp|garden lights|attic fan|garage sauna light|christmas tree|" +
		"back yard sprinkler|bedroom tv|kitchen radio|office lamp|dishwasher|oven|left lamp|guest room humidifier|hallway lights|bathroom fan|coffee machine|" +
		"living room aquarium|baby monitor|second bedroom lamp|outdoor lights|wine cooler|terrace awning|secret door|living room stereo|my wife's lamp|alarm"
	commands := []string{"turn on the %s", "switch the %s off", "set the %s to 50 percent", "open the %s", "lock the %s", "make the %s red", "activate my %s please"}
	said := 0
	for device := range strings.SplitSeq(devices, "|") {
		for _, command := range commands {
			u := fmt.Sprintf(command, device)
			said++
			if o := h.Calls(u, a.complete(t, "home", u, g), tools); !o.Refused {
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

func BenchmarkGrammar(b *testing.B) {
	system, _, tools, _ := readExchange(b, "turn")
	h := ReadHome(system)
	for b.Loop() {
		compile(b, h, tools)
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
