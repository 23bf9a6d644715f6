package home

import (
	"slices"
	"strings"
)

// guarded tells whether an action lets somebody in, or switches an alarm off, and so wants a yes: unlocking, opening doors, gates and garages, disarming.
// Closing and locking do not.
func (p *place) guarded(a *Action) bool {
	opens := a.Intent == "HassTurnOn" || a.Intent == "HassSetPosition" && a.Slots["position"] != 0.0
	domain, _ := a.Slots["domain"].(string)
	class, _ := a.Slots["device_class"].(string)
	if domain == "lock" && a.Intent == "HassTurnOff" || domain == "cover" && opens && slices.Contains(doors, class) {
		return true
	}
	for _, id := range a.Entities {
		e := p.entities[id]
		names := strings.ToLower(strings.Join(append([]string{e.Name}, e.Aliases...), " "))
		switch e.Domain() {
		case "lock":
			if a.Intent == "HassTurnOff" {
				return true
			}
		case "cover":
			if opens && (slices.Contains(doors, e.DeviceClass) || e.DeviceClass == "" && names != "" && containsAny(names, "door", "gate", "garage")) {
				return true
			}
		case "alarm_control_panel":
			return true
		case "switch", "script", "scene", "siren", "input_boolean", "button", "input_button":
			if containsAny(names, "alarm", "siren", "unlock", "disarm", "garage door", "gate") && (a.Intent == "HassTurnOn" || a.Intent == "HassTurnOff") {
				return true
			}
		}
	}
	return false
}

// doors are the classes of covers that somebody can come in by.
var doors = []string{"door", "garage", "gate"}

func containsAny(s string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(s, p) })
}
