package intent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"bimamba/edge/grammar"
)

// intents are those of the task home with their slots, in the order in which the model writes them. They are Home Assistant's
// (home-assistant/intents, CC BY 4.0).
var intents = []struct{ name, slots string }{
	{"HassBroadcast", "message"},
	{"HassCancelAllTimers", "area"},
	{"HassCancelTimer", "area name start_hours start_minutes start_seconds"},
	{"HassClimateGetTemperature", "area name"},
	{"HassClimateSetTemperature", "area floor name temperature"},
	{"HassDecreaseTimer", "area hours minutes name seconds start_hours start_minutes start_seconds"},
	{"HassGetCurrentDate", ""},
	{"HassGetCurrentTime", ""},
	{"HassGetState", "area device_class domain floor name state"},
	{"HassGetWeather", "name"},
	{"HassIncreaseTimer", "area hours minutes name seconds start_hours start_minutes start_seconds"},
	{"HassLightSet", "area brightness color floor name"},
	{"HassListAddItem", "item name"},
	{"HassListCompleteItem", "item name"},
	{"HassMediaNext", "area name"},
	{"HassMediaPause", "area name"},
	{"HassMediaPrevious", "area name"},
	{"HassMediaSearchAndPlay", "area media_class name search_query"},
	{"HassMediaUnpause", "area name"},
	{"HassNevermind", ""},
	{"HassPauseTimer", "area name start_hours start_minutes start_seconds"},
	{"HassRespond", ""},
	{"HassSetPosition", "area device_class domain name position"},
	{"HassSetVolume", "area name volume_level"},
	{"HassShoppingListAddItem", "item"},
	{"HassShoppingListCompleteItem", "item"},
	{"HassStartTimer", "conversation_command hours minutes name seconds"},
	{"HassTimerStatus", "area name start_hours start_minutes start_seconds"},
	{"HassTurnOff", "area device_class domain floor name"},
	{"HassTurnOn", "area device_class domain floor name"},
	{"HassUnpauseTimer", "area name start_hours start_minutes start_seconds"},
	{"HassVacuumReturnToBase", "name"},
	{"HassVacuumStart", "floor name"},
}

// assistIntents are those of the task assist (SNIPS). The model writes them now and then where home was asked for: then they are refused.
var assistIntents = []string{"AddToPlaylist", "BookRestaurant", "GetWeather", "PlayMusic", "RateBook", "SearchCreativeWork", "SearchScreeningEvent"}

const (
	anyString = `{"type":"string"}`
	anyWord   = `{"type":"string","pattern":"^[a-z0-9_]{1,40}$"}`
)

// slotTypes are the schemas of slots whose values are not the home's.
var slotTypes = map[string]string{
	"brightness": `{"type":"number"}`, "position": `{"type":"number"}`, "temperature": `{"type":"number"}`, "volume_level": `{"type":"number"}`,
	"hours": `{"type":"integer"}`, "minutes": `{"type":"integer"}`, "seconds": `{"type":"integer"}`,
	"start_hours": `{"type":"integer"}`, "start_minutes": `{"type":"integer"}`, "start_seconds": `{"type":"integer"}`,
	"domain": anyWord, "device_class": anyWord, "media_class": anyWord, "state": anyWord,
	"color": `{"type":"string","pattern":"^[a-z ]{1,24}$"}`,
	"item":  anyString, "message": anyString, "search_query": anyString, "conversation_command": anyString,
}

// maxEnumerated is how many bytes of names a grammar may list. In a larger home names are free, and Calls looks at them.
const maxEnumerated = 12 << 10

// Grammar is what the model may write for the task home: a line of JSON with an intent and its slots, and a short reply behind it.
//
// Names, areas and floors are those of the home, in lower case, if it has any. Of an intent that neither the tools offer nor another tool
// stands in for, only the name can be written: the model can say that it is meant, and Calls refuses it. Slots that a tool does not take can be
// written, too, for the same reason: "pause the kitchen timer" must not pause another one because the tool knows no areas.
// The error is about the limits of package grammar.
func (h *Home) Grammar(tools []Tool) (*grammar.Grammar, error) {
	var s schema
	s.defs.WriteString(`{"$defs":{"floor":` + s.enum(h.Floors))
	s.defs.WriteString(`,"area":` + s.enum(h.Areas))
	s.defs.WriteString(`,"name":` + h.names(&s, ""))
	for _, i := range intents {
		if d := domains[i.name]; d != "" && !slices.Contains(s.domains, d) && len(h.inDomain(d)) > 0 {
			s.domains = append(s.domains, d)
			s.defs.WriteString(`,"name_` + d + `":` + h.names(&s, d))
		}
	}
	for _, i := range intents {
		if find(tools, i.name) == nil && !replies[i.name] && (instead[i.name] == "" || find(tools, instead[i.name]) == nil) &&
			!(strings.HasPrefix(i.name, "HassShoppingList") && find(tools, strings.Replace(i.name, "Shopping", "", 1)) != nil) {
			s.intent(i.name, "")
		} else {
			s.intent(i.name, i.slots)
		}
	}
	for _, name := range assistIntents {
		s.intent(name, "")
	}
	return withReply(s.bytes())
}

// TaskGrammar is what the model may write for a task when there are no tools: for home a line of JSON with any slots, and a reply; for assist JSON
// with the slots as texts or lists of them; for topics JSON with an intent alone.
func TaskGrammar(task string) (*grammar.Grammar, error) {
	switch task {
	case "home":
		return withReply([]byte(`{"type":"object","properties":{"intent":` + anyString + `},"required":["intent"],"additionalProperties":{"type":["string","number"]}}`))
	case "assist":
		return grammar.Schema([]byte(`{"type":"object","properties":{"intent":` + anyString + `},"required":["intent"],` +
			`"additionalProperties":{"anyOf":[` + anyString + `,{"type":"array","items":` + anyString + `}]}}`))
	case "topics":
		return grammar.Schema([]byte(`{"type":"object","properties":{"intent":` + anyString + `},"required":["intent"],"additionalProperties":false}`))
	}
	return nil, fmt.Errorf("the task %q has no grammar; home, assist and topics have", task)
}

// replyEnd keeps the reply on its line.
var replyEnd = sync.OnceValue(func() *grammar.Grammar { return grammar.Concat(grammar.Choice("\n"), grammar.Text('\n')) })

func withReply(schema []byte) (*grammar.Grammar, error) {
	g, err := grammar.Schema(schema)
	if err != nil {
		return nil, fmt.Errorf("the grammar of the task home: %w", err)
	}
	return grammar.Concat(g, replyEnd()), nil
}

// schema is a JSON Schema in the making: an object for each intent.
type schema struct {
	defs, any  bytes.Buffer
	domains    []string // that have names of their own
	enumerated int
}

func (s *schema) bytes() []byte {
	return []byte(s.defs.String() + `},"anyOf":[` + s.any.String() + `]}`)
}

// enum is one of the names, in lower case, or any string if there are none or too many.
func (s *schema) enum(names []string) string {
	var list []string
	for _, n := range names {
		list = append(list, strings.ToLower(n))
		s.enumerated += len(n)
	}
	slices.Sort(list)
	if len(list) == 0 || s.enumerated > maxEnumerated {
		return anyString
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(slices.Compact(list)) // strings, into memory
	return `{"enum":` + strings.TrimSpace(b.String()) + `}`
}

// names are those of the entities of a domain, or of all if it is "".
func (h *Home) names(s *schema, domain string) string {
	if !h.known() {
		return anyString
	}
	var names []string
	if domain == "" {
		names = append(names, "all")
	}
	for _, e := range h.Entities {
		if domain == "" || e.Domain == domain {
			names = append(names, e.Names...)
		}
	}
	return s.enum(names)
}

// intent adds an intent with its slots.
func (s *schema) intent(name, slots string) {
	if s.any.Len() > 0 {
		s.any.WriteByte(',')
	}
	fmt.Fprintf(&s.any, `{"type":"object","properties":{"intent":{"const":%q}`, name)
	for _, k := range strings.Fields(slots) {
		kind := slotTypes[k]
		switch {
		case k == "name" && strings.Contains(name, "Timer"):
			kind = anyString
		case k == "name" && slices.Contains(s.domains, domains[name]):
			kind = `{"$ref":"#/$defs/name_` + domains[name] + `"}`
		case kind == "":
			kind = `{"$ref":"#/$defs/` + k + `"}`
		}
		fmt.Fprintf(&s.any, `,%q:%s`, k, kind)
	}
	s.any.WriteString(`},"required":["intent"],"additionalProperties":false}`)
}
