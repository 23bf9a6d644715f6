package home

import (
	"fmt"
	"strconv"
	"strings"
)

// about is what an action is about, in words: "the Bedroom Lamp", "the lights in the Kitchen".
func about(a *Action) string {
	name, _ := a.Slots["name"].(string)
	domain, _ := a.Slots["domain"].(string)
	class, _ := a.Slots["device_class"].(string)
	area, _ := a.Slots["area"].(string)
	floor, _ := a.Slots["floor"].(string)
	if domain == "" {
		switch a.Intent {
		case "HassLightSet":
			domain = "light"
		case "HassClimateSetTemperature":
			domain = "temperature"
		case "HassSetVolume":
			domain = "volume"
		}
	}
	s := "everything"
	switch {
	case name != "" && name != "all":
		s = "the " + name
		if domain == "scene" || domain == "script" || strings.HasPrefix(strings.ToLower(name), "the ") || strings.Contains(name, "'s ") {
			s = name
		}
	case class != "":
		s = "the " + plural(strings.ReplaceAll(class, "_", " "))
	case domain == "temperature" || domain == "volume":
		s = "the " + domain
	case domain != "":
		s = "the " + plural(strings.ReplaceAll(domain, "_", " "))
	}
	if area != "" {
		s += " in the " + area
	}
	if floor != "" {
		s += " on the " + floor
	}
	return s
}

func plural(s string) string {
	if strings.HasSuffix(s, "ch") || strings.HasSuffix(s, "s") {
		return s + "es"
	}
	return s + "s"
}

// verbs are what turning on and off is called for domains where it is called something else.
var verbs = map[string][2]string{
	"cover": {"Open", "Close"}, "valve": {"Open", "Close"}, "lock": {"Lock", "Unlock"}, "scene": {"Activate", "Deactivate"}, "script": {"Run", "Stop"},
	"alarm_control_panel": {"Arm", "Disarm"},
}

// order is an action as a command, without a full stop.
func (p *place) order(a *Action) string {
	domain, _ := a.Slots["domain"].(string)
	if domain == "" && len(a.Entities) > 0 {
		domain = p.entities[a.Entities[0]].Domain()
	}
	number := func(k string) string {
		n, _ := a.Slots[k].(float64)
		return strconv.FormatFloat(n, 'g', -1, 64)
	}
	v, ok := verbs[domain]
	if !ok {
		v = [2]string{"Turn on", "Turn off"}
	}
	switch a.Intent {
	case "HassTurnOn":
		return v[0] + " " + about(a)
	case "HassTurnOff":
		return v[1] + " " + about(a)
	case "HassSetPosition":
		return fmt.Sprintf("Set %s to %s percent", about(a), number("position"))
	case "HassSetVolume":
		return fmt.Sprintf("Set %s to %s percent", about(a), number("volume_level"))
	case "HassClimateSetTemperature":
		return fmt.Sprintf("Set %s to %s degrees", about(a), number("temperature"))
	case "HassLightSet":
		if c, ok := a.Slots["color"].(string); ok {
			return fmt.Sprintf("Make %s %s", about(a), c)
		}
		return fmt.Sprintf("Set %s to %s percent", about(a), number("brightness"))
	}
	if command, ok := a.Slots["conversation_command"].(string); ok {
		var parts []string
		for _, u := range []string{"hours", "minutes", "seconds"} {
			if n, ok := a.Slots[u].(float64); ok && n == 1 {
				parts = append(parts, "1 "+strings.TrimSuffix(u, "s"))
			} else if ok && n > 0 {
				parts = append(parts, number(u)+" "+u)
			}
		}
		return "In " + strings.Join(parts, " and ") + " " + strings.TrimRight(command, ".!?")
	}
	if s, ok := orders[a.Intent]; ok {
		if name, ok := a.Slots["name"].(string); ok {
			return s[1] + " " + name
		}
		return s[0]
	}
	// "HassPauseTimer" is "Pause timer".
	var b strings.Builder
	for i, r := range strings.TrimPrefix(a.Intent, "Hass") {
		if r >= 'A' && r <= 'Z' && i > 0 {
			b.WriteByte(' ')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// orders are intents as commands, without a name and in front of one.
var orders = map[string][2]string{
	"HassVacuumStart": {"Start the vacuum", "Start"}, "HassVacuumReturnToBase": {"Send the vacuum back", "Send back"},
	"HassMediaPause": {"Pause what is playing", "Pause"}, "HassMediaUnpause": {"Go on playing", "Go on with"}, "HassMediaNext": {"Skip to the next track", "Skip on"},
	"HassMediaPrevious": {"Go back to the track before", "Go back on"}, "HassMediaPlayerMute": {"Mute the sound", "Mute"},
	"HassMediaPlayerUnmute": {"Unmute the sound", "Unmute"}, "HassMediaSearchAndPlay": {"Play that", "Play that on"}, "HassListAddItem": {"Add that to the list", "Add that to"},
	"HassListCompleteItem": {"Check that off the list", "Check that off"}, "HassShoppingListAddItem": {"Add that to the shopping list", ""},
	"HassShoppingListCompleteItem": {"Check that off the shopping list", ""}, "HassFanSetSpeed": {"Set the fans", "Set"}, "HassSetVolumeRelative": {"Change the volume", "Change the volume of"},
	"HassGetState": {"Ask for a state", "Ask for the state of"}, "HassBroadcast": {"Announce that", ""}, "HassStartTimer": {"Start a timer", "Start a timer for"},
}

// question asks whether to do some actions.
func (p *place) question(actions []Action) string {
	var parts []string
	for i := range actions {
		s := p.order(&actions[i])
		if i > 0 {
			s = strings.ToLower(s[:1]) + s[1:]
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " and ") + "?"
}

// done is what to say when actions have been done.
func (p *place) done(actions []Action) string {
	if len(actions) != 1 {
		return "Done."
	}
	a := &actions[0]
	switch a.Intent {
	case "HassTurnOn", "HassTurnOff", "HassSetPosition", "HassSetVolume", "HassClimateSetTemperature", "HassLightSet":
		s := p.order(a)
		for _, v := range []struct{ do, done string }{{"Turn ", "Turned "}, {"Open ", "Opened "}, {"Close ", "Closed "}, {"Lock ", "Locked "},
			{"Unlock ", "Unlocked "}, {"Arm ", "Armed "}, {"Disarm ", "Disarmed "}, {"Activate ", "Activated "}, {"Deactivate ", "Deactivated "}, {"Run ", "Started "}, {"Stop ", "Stopped "}, {"Make ", "Made "}} {
			if rest, ok := strings.CutPrefix(s, v.do); ok {
				return v.done + rest + "."
			}
		}
		return s + "."
	}
	return "Done."
}
