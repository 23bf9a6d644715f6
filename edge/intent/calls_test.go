package intent

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestCalls has completions as a model could write them without a grammar.
func TestCalls(t *testing.T) {
	system, _, tools, _ := readExchange(t, "turn")
	h := ReadHome(system)
	for _, c := range []struct{ said, completion, want string }{ // want is the call, or the beginning of the reason of a refusal behind "!"
		{"turn on the reading lamp", `{"intent":"HassTurnOn","name":"reading lamp"}`, `HassTurnOn {"name":"Reading Lamp"}`},
		{"turn on the night light", `{"intent":"HassTurnOn","domain":"light","name":"night light"}`, `HassTurnOn {"domain":["light"],"name":"night light"}`},
		{"turn on the kitchen lights", `{"intent":"HassTurnOn","area":"kitchen","domain":"light"}`, `HassTurnOn {"area":"Kitchen","domain":["light"]}`},
		{"turn off the kitchen lights", `{"intent":"HassTurnOff","area":"kitchen"}`, `HassTurnOff {"area":"Kitchen","domain":["light"]}`},
		{"turn off everything in the kitchen", `{"intent":"HassTurnOff","area":"kitchen"}`, `HassTurnOff {"area":"Kitchen"}`},
		{"turn off the kitchen", `{"intent":"HassTurnOff","area":"kitchen"}`, "!HassTurnOff without a device"},
		{"turn off everything", `{"intent":"HassTurnOff"}`, "!HassTurnOff without a device"},
		{"turn off all lights", `{"intent":"HassTurnOff","domain":"light","name":"all"}`, `HassTurnOff {"domain":["light"],"name":"all"}`},
		{"turn off the bedroom lamp", `{"intent":"HassTurnOff","area":"bedroom","domain":"light"}`, `HassTurnOff {"name":"Bedroom Lamp"}`},
		{"turn on the lights in the master bedroom", `{"intent":"HassTurnOn","area":"master bedroom","domain":"light"}`, `HassTurnOn {"area":"Master Bedroom","domain":["light"]}`},
		{"turn on the television", `{"intent":"HassTurnOn","name":"television"}`, `HassTurnOn {"name":"television"}`},
		{"turn on the tv", `{"intent":"HassTurnOn","name":"living room tv"}`, `HassTurnOn {"name":"Living Room TV"}`},
		{"turn on the lamp", `{"intent":"HassTurnOn","name":"bedroom lamp"}`, `HassTurnOn {"name":"Bedroom Lamp"}`},
		{"turn on the light", `{"intent":"HassTurnOn","name":"kitchen ceiling light"}`, "!the utterance does not name"},
		{"turn on the counter light", `{"intent":"HassTurnOn","name":"kitchen counter light"}`, `HassTurnOn {"name":"Kitchen Counter Light"}`},
		{"turn on the toaster", `{"intent":"HassTurnOn","name":"rover"}`, "!the utterance does not name"},
		{"turn on the toaster", `{"intent":"HassTurnOn","domain":"light"}`, `!HassTurnOn does not account for "toaster"`},
		{"turn on the toaster", `{"intent":"HassTurnOn","name":"toaster"}`, "!no entity is named"},
		{"turn on the kitchen toaster", `{"intent":"HassTurnOn","name":"coffee maker"}`, "!the utterance does not name"},
		{"turn on the kitchen toaster", `{"intent":"HassTurnOn","area":"kitchen","domain":"switch"}`, `!HassTurnOn does not account for "toaster"`},
		{"turn on the garden lights", `{"intent":"HassTurnOn","area":"garage","domain":"light"}`, "!the utterance does not name the area"},
		{"turn on the garden lights", `{"intent":"HassTurnOn","domain":"light"}`, `!HassTurnOn does not account for "garden"`},
		{"turn on the garage lights", `{"intent":"HassTurnOn","area":"garage","domain":"light"}`, "!no entity of domain"},
		{"turn on the kitchen lights", `{"intent":"HassTurnOn","area":"kitchen","floor":"attic","domain":"light"}`, "!the utterance does not name the floor"},
		{"turn on the first floor lights", `{"intent":"HassTurnOn","domain":"light","floor":"first"}`, `HassTurnOn {"domain":["light"],"floor":"first floor"}`},
		{"set the bedroom lamp to 40 percent", `{"intent":"HassLightSet","area":"bedroom","brightness":40}`, `HassLightSet {"brightness":40,"name":"Bedroom Lamp"}`},
		{"set the bedroom lamp to 40 percent", `{"intent":"HassLightSet","area":"bedroom","brightness":4}`, `HassLightSet {"brightness":40,"name":"Bedroom Lamp"}`},
		{"set the bedroom lamp to 140 percent", `{"intent":"HassLightSet","brightness":140,"name":"bedroom lamp"}`, "!HassLightSet: brightness = 140"},
		{"make the kitchen lights red", `{"intent":"HassLightSet","area":"kitchen","color":"red"}`, `HassLightSet {"area":"Kitchen","color":"red"}`},
		{"set the temperature to 20.5 degrees", `{"intent":"HassClimateSetTemperature","temperature":20}`, `HassClimateSetTemperature {"temperature":20.5}`},
		{"set the volume", `{"intent":"HassSetVolume"}`, "!HassSetVolume needs volume_level"},
		{"lock the front door", `{"intent":"HassTurnOn","name":"front door"}`, `HassTurnOn {"name":"Front Door"}`},
		{"lock the back door", `{"intent":"HassTurnOn","name":"front door"}`, "!the utterance does not name"},
		{"lock the back door", `{"intent":"HassTurnOn","name":"back door"}`, "!no entity is named"},
		{"start party time", `{"intent":"HassTurnOn","domain":"script","name":"party time"}`, `HassTurnOn {"domain":["scene"],"name":"Party Time"}`},
		{"add Oat Milk to my shopping list", `{"intent":"HassShoppingListAddItem","item":"oat milk"}`, `HassListAddItem {"item":"Oat Milk","name":"Shopping List"}`},
		{"tell everybody that dinner is ready", `{"intent":"HassBroadcast","message":"dinner isready"}`, `HassBroadcast {"message":"dinner is ready"}`},
		{"tell everybody that dinner is ready", `{"intent":"HassBroadcast","message":"the house is on fire"}`, `!message = "the house is on fire" is not`},
		{"play The Office", `{"intent":"HassMediaSearchAndPlay","search_query":"the office"}`, `HassMediaSearchAndPlay {"search_query":"The Office"}`},
		{"five minute pizza timer", `{"intent":"HassStartTimer","minutes":5,"name":"pizza"}`, `HassStartTimer {"minutes":5,"name":"pizza"}`},
		{"play Living Room TV", `{"intent":"HassMediaSearchAndPlay","search_query":"living room tv"}`, `HassMediaSearchAndPlay {"search_query":"Living Room TV"}`},
		{"start a timer", `{"intent":"HassStartTimer"}`, "!a timer without a length"},
		{"start a timer for 2.5 minutes", `{"intent":"HassStartTimer","minutes":2.5}`, "!HassStartTimer: minutes = 2.5"},
		{"is the front door locked", `{"intent":"HassGetState","domain":"lock","name":"front door","state":"locked"}`, `GetLiveContext {"domain":"lock","name":"Front Door"}`},
		{"is the sauna on", `{"intent":"HassGetState","name":"rover","state":"on"}`, "!the utterance does not name"},
		{"is any sensor on", `{"intent":"HassGetState","domain":"binary_sensor","state":"on"}`, "!the states of all"},
		{"what time is it", `{"intent":"HassGetCurrentTime"}`, `GetDateTime {}`},
		{"play Breaking Bad", `{"intent":"SearchCreativeWork","object_name":"Breaking Bad"}`, "!the intent is SearchCreativeWork"},
		{"turn on the reading lamp", `{"intent":"HassTurnOn","name":["reading lamp","lamp"]}`, `HassTurnOn {"name":"Reading Lamp"}`},
		{"turn on the reading lamp", `{"intent":"HassTurnOn","name":"reading lamp","color":"red"}`, "!HassTurnOn takes no color"},
		{"turn on the reading lamp", `{"intent":"HassTurnOn","name":"reading la`, "!the completion's first line"},
		{"turn on the reading lamp", `["HassTurnOn"]`, "!the completion's first line"},
		{"turn on the reading lamp", `{"name":"reading lamp"}`, "!the completion has no intent"},
		{"turn on the reading lamp", `{"intent":{"a":1}}`, "!the completion has no intent"},
		{"turn on the reading lamp", "", "!the completion's first line"},
		{strings.Repeat("turn on the lamp ", 100), `{"intent":"HassTurnOn","name":"reading lamp"}`, "!an utterance of"},
	} {
		o := h.Calls(c.said, c.completion+"\nOkay", tools)
		if got := describe(o); strings.HasPrefix(c.want, "!") && !strings.HasPrefix(got, c.want) || !strings.HasPrefix(c.want, "!") && got != c.want {
			t.Errorf("%q, %s:\n%s, not\n%s", c.said, c.completion, got, c.want)
		}
		if o.Refused && (o.Text == "" || o.Reason == "" || len(o.Calls) > 0) || !o.Refused && o.Text != "Okay" {
			t.Errorf("%q: %+v", c.said, o)
		}
	}
}

// describe is the call of an outcome, or the reason of a refusal behind "!".
func describe(o Outcome) string {
	if o.Refused {
		return "!" + o.Reason
	}
	if len(o.Calls) != 1 {
		return o.Text
	}
	return o.Calls[0].Name + " " + string(o.Calls[0].Arguments)
}

func TestCallsWithoutCalls(t *testing.T) {
	system, _, tools, _ := readExchange(t, "turn")
	h := ReadHome(system)
	if o := h.Calls("never mind", "{\"intent\":\"HassNevermind\"}\nDone", tools); o.Refused || len(o.Calls) > 0 || o.Text != "Done" {
		t.Errorf("never mind: %+v", o)
	}
	text := "{\"intent\":\"HassTurnOn\",\"name\":\"reading lamp\"}\nTurned on"
	if o := h.Calls("turn on the reading lamp", text, nil); o.Refused || len(o.Calls) > 0 || o.Text != text {
		t.Errorf("without tools: %+v", o)
	}
}

// TestCallsNamespace has tools as Home Assistant names them where it merges several APIs.
func TestCallsNamespace(t *testing.T) {
	system, _, tools, _ := readExchange(t, "turn")
	for i := range tools {
		tools[i].Name = "assist__" + tools[i].Name
	}
	o := ReadHome(system).Calls("turn on the reading lamp", `{"intent":"HassTurnOn","name":"reading lamp"}`, tools)
	if got := describe(o); got != `assist__HassTurnOn {"name":"Reading Lamp"}` {
		t.Error(got)
	}
}

// TestCallsNames has names that are said in another meaning, too.
func TestCallsNames(t *testing.T) {
	_, _, tools, _ := readExchange(t, "turn")
	h := ReadHome("- names: Floor Lamp\n  domain: light\n  areas: Den\n- names: Spot\n  domain: light\n  areas: Den\n- names: Lock\n  domain: lock\n  areas: Den\n- names: Gate\n  domain: cover\n")
	for _, c := range []struct{ said, completion, want string }{
		{"first floor lamp on", `{"intent":"HassTurnOn","domain":"light","floor":"first"}`, `HassTurnOn {"domain":["light"],"floor":"first floor"}`},
		{"floor lamp on", `{"intent":"HassTurnOn","name":"floor lamp"}`, `HassTurnOn {"name":"Floor Lamp"}`},
		{"lock the shed", `{"intent":"HassTurnOn","name":"gate"}`, "!the utterance does not name"},
		{"unlock the lock", `{"intent":"HassTurnOff","name":"lock"}`, `HassTurnOff {"name":"Lock"}`},
	} {
		if got := describe(h.Calls(c.said, c.completion, tools)); strings.HasPrefix(c.want, "!") && !strings.HasPrefix(got, c.want) || !strings.HasPrefix(c.want, "!") && got != c.want {
			t.Errorf("%q: %s, not %s", c.said, got, c.want)
		}
	}
}

// TestCallsUnknownHome has a client that tells nothing of its home: then nothing can be checked against it.
func TestCallsUnknownHome(t *testing.T) {
	_, _, tools, _ := readExchange(t, "turn")
	o := new(Home).Calls("turn on the reading lamp", `{"intent":"HassTurnOn","name":"reading lamp"}`, tools)
	if got := describe(o); got != `HassTurnOn {"name":"reading lamp"}` {
		t.Error(got)
	}
}

func FuzzCalls(f *testing.F) {
	system, _, tools, _ := readExchange(f, "turn")
	h := ReadHome(system)
	f.Add("turn on the reading lamp", `{"intent":"HassTurnOn","name":"reading lamp"}`, `{"type":"object","properties":{"name":{"anyOf":[null,{"enum":[{"a":1},"x"]}]}}}`)
	f.Add("set it to 1.5.2, ok", `{"intent":"HassLightSet","brightness":1e999,"area":[[]],"name":[]}`, `{"properties":{"brightness":{"type":["integer","string"]}}}`)
	f.Add("İ add eggs", `{"intent":"HassShoppingListAddItem","item":"i̇ add"}`, `{"required":["x"]}`)
	f.Fuzz(func(t *testing.T, said, completion, parameters string) {
		own := append([]Tool{{"HassVacuumStart", json.RawMessage(parameters)}, {"HassLightSet", json.RawMessage(parameters)}}, tools...)
		for _, tools := range [][]Tool{tools, own} {
			for _, h := range []*Home{h, {}} {
				o := h.Calls(said, completion, tools)
				if o.Refused && (len(o.Calls) > 0 || o.Text == "" || o.Reason == "") {
					t.Fatalf("%+v", o)
				}
				for _, c := range o.Calls {
					var args map[string]any
					if find(tools, strings.TrimPrefix(c.Name, "assist__")) == nil || json.Unmarshal(c.Arguments, &args) != nil || args == nil {
						t.Fatalf("%s %s", c.Name, c.Arguments)
					}
					if name, ok := args["name"].(string); ok && h.known() && !strings.Contains(c.Name, "Timer") && name != "all" {
						if _, spelling := h.named(name); spelling != name {
							t.Fatalf("%q is not in the home", name)
						}
					}
				}
			}
		}
	})
}

func TestUtterance(t *testing.T) {
	for _, c := range []struct{ task, message, want string }{
		{"home", "  Turn ON\nthe lights. ", "turn on the lights"},
		{"topics", "Hello?", "hello"},
		{"assist", "Play  Queen!", "Play Queen!"},
		{"home", "<|reply|> hi <<||home|>", "<reply|> hi <<home|>"},
		{"home", "a\xffb", "ab"},
		{"home", "", ""},
	} {
		if got := Utterance(c.task, c.message); got != c.want {
			t.Errorf("%q: %q, not %q", c.message, got, c.want)
		}
	}
}
