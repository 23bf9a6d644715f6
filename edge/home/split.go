package home

import (
	"strings"
)

// maxCommands is how many commands a sentence may have.
const maxCommands = 8

// starts are words that commands begin with. Behind an "and" they begin another one.
var starts = lazy(`^(?:please |also |then |can you |could you |would you )*(?:turn|switch|open|close|shut|lock|unlock|set|dim|brighten|start|stop|pause|resume|play|skip|` +
	`add|put|remove|cancel|make|change|activate|deactivate|enable|disable|run|raise|lower|increase|decrease|tell|announce|broadcast|what|what's|is|are|how|mute|unmute|kill|crank|` +
	`light|vacuum|clean|hoover|heat|warm|cool|crank|secure|bolt|did|does|do|has|will|where|who|which|when|send|return|check|give|show|lift|roll|pull|draw|bring|hit|flick|flip|pop|snap|cut|douse|arm|disarm|dock|hold|hush|next|louder|quieter|ventilate|water)\b`)

// joints are where a sentence may have another command.
var joints = lazy(`(?i)[,;.]? (?:and then|but|and after that|and afterwards|and also|and|then|plus|as well as|while you're at it) |[,;] |\. `)

// states are what verbless commands end with: "lights off and blinds down".
var states = lazy(`(?i)[\pL\d'] (?:on|off|up|down|open|shut|closed)[.!?]?$`)

// texts are words that begin commands with a text for people or for later, in which an "and" may join anything.
var texts = lazy(`^(?:please )?(?:broadcast|announce|tell|say|in \d+ )`)

// split parts a sentence where a word that commands begin with follows an "and", a "then", or a comma.
func split(text string) []string {
	var parts []string
	begin := 0
	for _, j := range joints().FindAllStringIndex(text, -1) {
		left, right := text[begin:j[0]], text[j[1]:]
		if next := joints().FindStringIndex(right); next != nil {
			right = right[:next[0]]
		}
		if (starts().MatchString(strings.ToLower(right)) || states().MatchString(left) && states().MatchString(right)) && len(strings.Fields(left)) > 1 && len(parts) < maxCommands-1 {
			parts = append(parts, strings.TrimSpace(left))
			begin = j[1]
		}
	}
	return append(parts, strings.TrimSpace(text[begin:]))
}

// verb is what a command says is done, in front of what it is done to.
var verb = lazy(`(?i)^((?:please |can you |could you )?(?:turn on|turn off|switch on|switch off|shut off|open|close|shut|lock|unlock|activate|deactivate|enable|disable|start|stop|raise|lower|dim|pause|set|change|make|put|kill|mute))\s+(.+)$`)

// particle is one that stands behind what it is done to: "turn the lamp and the fan off".
var particle = lazy(`(?i)^((?:please |can you |could you )?(?:turn|switch))\s+(.+)\s+(on|off)[.!?]?$`)

// each has a particle behind either thing: "turn the lamp on and the fan off".
var each = lazy(`(?i)^((?:please |can you |could you )?(?:turn|switch))\s+(.+ (?:on|off))(?:,? and|,) (.+ (?:on|off))[.!?]?$`)

var unit = lazy(`(?i) ?(?:degrees|percent|%)$`)

// both gives each of the things that a command is for a command of its own: "turn on the lamp and the fan". It is nil where there are no two things.
func both(text string) []string {
	if m := each().FindStringSubmatch(text); m != nil {
		return []string{m[1] + " " + m[2], m[1] + " " + m[3]}
	}
	if m := particle().FindStringSubmatch(text); m != nil {
		text = m[1] + " " + m[3] + " " + m[2]
	}
	m := verb().FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	var parts []string
	for _, s := range regexpAnd().Split(m[2], maxCommands+1) {
		parts = append(parts, m[1]+" "+strings.TrimSpace(s))
	}
	if len(parts) < 2 || len(parts) > maxCommands {
		return nil
	}
	if u := unit().FindString(text); u != "" { // "the bedroom to 18 and the study to 21 degrees"
		for i := range parts[:len(parts)-1] {
			if last := parts[i][len(parts[i])-1]; last >= '0' && last <= '9' {
				parts[i] += u
			}
		}
	}
	return parts
}

var regexpAnd = lazy(`(?i),? (?:and then|and also|and|as well as|plus|along with|then) |, `)

// inBoth gives each of the places a command of its own: "turn on the lights in the kitchen and the hall", "turn on the kitchen and hall lights".
// It is nil where there are no two.
func inBoth(text string, areas func(string) bool) []string {
	loc := regexpAnd().FindStringIndex(text)
	if loc == nil {
		return nil
	}
	left, right := text[:loc[0]], strings.TrimRight(text[loc[1]:], ".!? ")
	bare := strings.TrimPrefix(strings.TrimPrefix(right, "in "), "the ")
	if i := strings.LastIndex(left, " in "); i >= 0 && areas(bare) {
		return []string{left, left[:i] + " in the " + bare}
	}
	words := strings.Fields(bare)
	for n := len(words) - 1; n > 0; n-- {
		if !areas(strings.Join(words[:n], " ")) {
			continue
		}
		tail := " " + strings.Join(words[n:], " ")
		lw := strings.Fields(left)
		for k := 1; k < len(lw); k++ {
			if areas(strings.Join(lw[k:], " ")) {
				return []string{left + tail, strings.Join(lw[:k], " ") + " " + bare}
			}
		}
	}
	return nil
}
