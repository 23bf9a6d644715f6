package home

import (
	"slices"
	"strings"

	"bimamba/edge/intent"
)

// guarded tells whether an action lets somebody in, or switches an alarm on or off, and so wants a yes: unlocking, opening doors, gates and garages, disarming.
// Closing and locking do not. So does what the home says ([Home.Confirm]).
//
// Scripts and scenes run without a yes, unless they are called after such a thing: Home Assistant exposes none by itself, who does has chosen to have it run by
// voice, and "movie night" that asks back is of no use. What one does cannot be known from here. Whoever wants to be asked puts "script.*" into confirm.
func (p *place) guarded(a *Action) bool {
	if intent.Reads(a.Intent) {
		return false
	}
	opens := a.Intent == "HassTurnOn" || a.Intent == "HassSetPosition" && a.Slots["position"] != 0.0
	domain, _ := a.Slots["domain"].(string)
	class, _ := a.Slots["device_class"].(string)
	if domain == "lock" && a.Intent == "HassTurnOff" || domain == "cover" && opens && slices.Contains(doors, class) || domain == "alarm_control_panel" {
		return true
	}
	if p.confirm[domain+".*"] {
		return true
	}
	return slices.ContainsFunc(a.Entities, func(id string) bool {
		e := p.entities[id]
		if p.confirm[id] || p.confirm[e.Domain()+".*"] {
			return true
		}
		switch e.Domain() {
		case "lock":
			return a.Intent == "HassTurnOff"
		case "cover":
			return opens && (slices.Contains(doors, e.DeviceClass) || e.DeviceClass == "" && (e.called(entries) || e.Area == "garage"))
		case "alarm_control_panel":
			return true
		case "switch", "script", "scene", "siren", "input_boolean", "button", "input_button":
			return e.called(keys) && (a.Intent == "HassTurnOn" || a.Intent == "HassTurnOff")
		}
		return false
	})
}

var (
	// doors are the classes of covers that somebody can come in by,
	doors = []string{"door", "garage", "gate"}
	// entries what such covers are called,
	entries = set("door", "doors", "gate", "gates", "garage")
	// and keys what switches, scripts and scenes are called that do the like.
	keys = set("door", "doors", "gate", "gates", "unlock", "unlocks", "lock", "locks", "disarm", "arm", "alarm", "alarms", "siren", "buzzer", "opener")
)

// called tells whether one of the entity's names has one of the words.
func (e *Entity) called(words map[string]bool) bool {
	return slices.ContainsFunc(append([]string{e.Name}, e.Aliases...), func(name string) bool {
		return slices.ContainsFunc(strings.FieldsFunc(plain(name), func(r rune) bool { return r == ' ' || r == '-' || r == '_' || r == '/' }), func(w string) bool { return words[w] })
	})
}
