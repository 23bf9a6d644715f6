package eval

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"bimamba/edge/home"
)

// script answers by text.
type script map[string]*home.Answer

func (s script) Handle(_ context.Context, r home.Request) (*home.Answer, error) {
	return s[r.Text], nil
}

func beyondHome(t *testing.T) *home.Home {
	t.Helper()
	h, err := home.Read("../../edge/home/testdata/beyond-home.toml")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func act(actions ...home.Action) *home.Answer { return &home.Answer{Kind: home.Act, Actions: actions} }

func TestJudge(t *testing.T) {
	h := beyondHome(t)
	type slots = map[string]any
	on := func(s slots) home.Action { return home.Action{Intent: "HassTurnOn", Slots: s} }
	const (
		kitchen = `[{"do":[{"intent":"HassTurnOn","entities":["light.island","light.kitchen_spots"]}]}]`
		dim     = `[{"do":[{"intent":"HassLightSet","entities":["light.floor_lamp"],"slots":{"brightness":30}}]}]`
		unlock  = `[{"confirm":[{"intent":"HassTurnOff","entities":["lock.front_door"]}]}]`
		vacuum  = `[{"do":[{"intent":"HassVacuumStart","entities":["vacuum.dusty"]}]}]`
		pause   = `[{"do":[{"intent":"HassMediaPause"}]}]`
		timer   = `[{"do":[{"intent":"HassStartTimer","slots":{"minutes":10,"name":"tea"}}]}]`
		window  = `[{"do":[{"intent":"HassGetState","entities":["binary_sensor.bathroom_window"]}]}]`
		declind = `[{"kind":"decline"}]`
	)
	ask := &home.Answer{Kind: home.Ask}
	unlocked := act(home.Action{Intent: "HassTurnOff", Slots: slots{"name": "Front door", "domain": "lock"}})
	for _, c := range []struct {
		name, at, accept string
		first, yes       *home.Answer
		want             Verdict
	}{
		{"by area", "", kitchen, act(on(slots{"area": "kitchen", "domain": "light"})), nil, Acted},
		{"one by one", "", kitchen, act(on(slots{"name": "Island lamp"}), on(slots{"name": "KITCHEN SPOTS"})), nil, Acted},
		{"by entities", "", kitchen, act(home.Action{Intent: "HassTurnOn", Slots: slots{"area": "Kitchen"}, Entities: []string{"light.kitchen_spots", "light.island"}}), nil, Acted},
		{"here", "kitchen", kitchen, act(on(slots{"domain": "light"})), nil, Acted},
		{"everywhere", "", kitchen, act(on(slots{"domain": "light"})), nil, WrongAction},
		{"one of two", "", kitchen, act(on(slots{"name": "Island lamp"})), nil, WrongAction},
		{"all of the area", "", kitchen, act(on(slots{"area": "Kitchen"})), nil, WrongAction},
		{"one too many", "", kitchen, act(on(slots{"area": "Kitchen", "domain": "light"}), on(slots{"name": "Porch light"})), nil, WrongAction},
		{"the other way", "", kitchen, act(home.Action{Intent: "HassTurnOff", Slots: slots{"area": "Kitchen", "domain": "light"}}), nil, WrongAction},
		{"asked", "", kitchen, ask, nil, NeedlessAsk},
		{"refused", "", kitchen, &home.Answer{Kind: home.Decline}, nil, NeedlessRefusal},
		{"value", "", dim, act(home.Action{Intent: "HassLightSet", Slots: slots{"name": "floor lamp", "brightness": 30}}), nil, Acted},
		{"other value", "", dim, act(home.Action{Intent: "HassLightSet", Slots: slots{"name": "floor lamp", "brightness": 13.0}}), nil, WrongAction},
		{"no value", "", dim, act(home.Action{Intent: "HassLightSet", Slots: slots{"name": "floor lamp"}}), nil, WrongAction},
		{"one too many values", "", dim, act(home.Action{Intent: "HassLightSet", Slots: slots{"name": "floor lamp", "brightness": 30, "color": "red"}}), nil, WrongAction},
		{"confirmed", "", unlock, ask, unlocked, Asked},
		{"confirmed in vain", "", unlock, ask, &home.Answer{Kind: home.Decline}, NeedlessAsk},
		{"confirmed to something else", "", unlock, ask, act(on(slots{"name": "Front door"})), WrongAction},
		{"unasked", "", unlock, unlocked, nil, WrongAction},
		{"the only one", "", vacuum, act(home.Action{Intent: "HassVacuumStart"}), nil, Acted},
		{"what plays", "", pause, act(home.Action{Intent: "HassMediaPause"}), nil, Acted},
		{"what is not there", "", pause, act(home.Action{Intent: "HassMediaPause", Slots: slots{"name": "Sound bar"}}), nil, WrongAction},
		{"a timer's name", "", timer, act(home.Action{Intent: "HassStartTimer", Slots: slots{"minutes": 10, "name": "Tea"}}), nil, Acted},
		{"a timer's other name", "", timer, act(home.Action{Intent: "HassStartTimer", Slots: slots{"minutes": 10, "name": "pea"}}), nil, WrongAction},
		{"class and area", "", window, act(home.Action{Intent: "HassGetState", Slots: slots{"domain": "binary_sensor", "device_class": "window", "area": "bathroom", "state": "on"}}), nil, Acted},
		{"declined", "", declind, &home.Answer{Kind: home.Decline}, nil, Declined},
		{"act where nothing is wanted", "", declind, act(on(slots{"name": "TV"})), nil, WrongAction},
		{"answered where a refusal is wanted", "", declind, &home.Answer{Kind: home.Say}, nil, Declined},
		{"words only", "", declind, act(home.Action{Intent: "HassNevermind"}), nil, Declined},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := ""
			if c.at != "" {
				at = `"at":"` + c.at + `",`
			}
			s, err := ReadSentences(strings.NewReader(`{"group":"g","text":"t",`+at+`"accept":`+c.accept+`}`), h)
			if err != nil {
				t.Fatal(err)
			}
			got, ans, err := Judge(t.Context(), script{"t": c.first, "yes": c.yes}, h, &s[0], "c")
			if err != nil || got != c.want || ans != c.first {
				t.Errorf("judged %v, %v; want %v", got, err, c.want)
			}
		})
	}
}

// TestBeyond holds the committed sentences to what they promise.
func TestBeyond(t *testing.T) {
	h := beyondHome(t)
	b, err := os.ReadFile("../../edge/home/testdata/beyond.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	sentences, err := ReadSentences(bytes.NewReader(b), h)
	if err != nil {
		t.Fatal(err)
	}
	if len(sentences) < 300 {
		t.Errorf("%d sentences, fewer than 300", len(sentences))
	}
	seen := map[string]bool{}
	halves := map[string]int{}
	for _, s := range sentences {
		k := s.Text + "\x00" + s.At
		if seen[k] {
			t.Errorf("%q is there twice", s.Text)
		}
		seen[k] = true
		halves[s.Group+s.Half]++
		if s.Half == "" {
			t.Errorf("%q is in no half", s.Text)
		}
	}
	for _, s := range sentences {
		if d := halves[s.Group+"dev"] - halves[s.Group+"held"]; d < -3 || d > 3 {
			t.Errorf("the halves of %s differ by %d", s.Group, d)
		}
	}
}

func TestReadSentences(t *testing.T) {
	h := beyondHome(t)
	for _, c := range []struct{ line, want string }{
		{``, "there are no sentences"},
		{`{"group":"g","text":"t"}`, "line 1: a sentence needs a group, a text and what to accept"},
		{`{"group":"g","text":"t","at":"attic","accept":[{"kind":"ask"}]}`, `line 1: the home has no area "attic"`},
		{`{"group":"g","text":"t","half":"test","accept":[{"kind":"ask"}]}`, `half is "test"`},
		{`{"group":"g","text":"t","accept":[{"kind":"act"}]}`, `an outcome is one of`},
		{`{"group":"g","text":"t","accept":[{"kind":"ask","do":[{"intent":"HassTurnOn"}]}]}`, `an outcome is one of`},
		{`{"group":"g","text":"t","accept":[{"do":[{"entities":["vacuum.dusty"]}]}]}`, `an action needs an intent`},
		{`{"group":"g","text":"t","accept":[{"do":[{"intent":"HassTurnOn","entities":["light.attic"]}]}]}`, `the home has no entity "light.attic"`},
		{`{"group":"g","text":"t","accpt":[]}`, "unknown field"},
		{`{`, "line 1: "},
	} {
		if _, err := ReadSentences(strings.NewReader(c.line), h); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %s", c.line, err, c.want)
		}
	}
}

func TestSentenceTable(t *testing.T) {
	var tally SentenceTally
	for v := range verdicts {
		tally.Add("b", v)
	}
	tally.Add("a", Acted)
	var b strings.Builder
	if err := WriteSentenceTable(&b, tally.Figures()); err != nil {
		t.Fatal(err)
	}
	want := []string{"b 6 3 (50.0 %) 1 1 1 1 (16.7 %) 1 1", "a 1 1 (100.0 %) 1 0 0 0 (0.0 %) 0 0", "all 7 4 (57.1 %) 2 1 1 1 (14.3 %) 1 1"}
	for i, l := range strings.Split(strings.TrimSpace(b.String()), "\n")[1:] {
		if got := strings.Join(strings.Fields(l), " "); got != want[i] {
			t.Errorf("line %d: %s; want %s", i+1, got, want[i])
		}
	}
}
