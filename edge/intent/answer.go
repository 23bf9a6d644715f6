package intent

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Result is what a client says that a call has come to.
type Result struct {
	Tool string // the tool's name, "" if the client does not say
	JSON string // the message's text, usually JSON
}

// maxAnswer is the number of states that an answer tells.
const maxAnswer = 8

// maxPlain is how many bytes of a tool's plain text are told.
const maxPlain = 300

// response is a result in one of Home Assistant's shapes: an intent's response (IntentResponse.as_dict in homeassistant/helpers/intent.py), what
// a tool gives ("success" and "result"), an exception ("error", "error_text"), or one of these within "data".
type response struct {
	Data      json.RawMessage `json:"data"`
	Error     json.RawMessage `json:"error"`
	ErrorText string          `json:"error_text"`
	Type      string          `json:"response_type"`
	Success   *bool           `json:"success"`
	Result    json.RawMessage `json:"result"`
	Speech    struct {
		Plain struct {
			Speech string `json:"speech"`
		} `json:"plain"`
	} `json:"speech"`
}

// Answer puts the results of the calls of a turn into words. What a tool tells as a short plain text is taken as it is; an action's success is "Done.".
func Answer(results []Result) string {
	var parts []string
	for _, r := range results {
		s := answer(r.JSON, 0)
		if plain := strings.TrimSpace(r.JSON); s == "" && r.Tool != "" && !acts(r.Tool) && len(plain) <= maxPlain && !strings.ContainsAny(plain, "{[\n") {
			s = plain
		}
		if s != "" && (len(parts) == 0 || parts[len(parts)-1] != s) {
			parts = append(parts, s)
		}
	}
	if len(parts) == 0 {
		return "Done."
	}
	return strings.Join(parts, " ")
}

func answer(text string, depth int) string {
	var r response
	text = strings.TrimSpace(text)
	if depth > 3 || len(text) > maxSystem || !strings.HasPrefix(text, "{") {
		return ""
	}
	if json.Unmarshal([]byte(text), &r) != nil {
		// Some field is of another kind than Home Assistant's. Whether it failed can be told still.
		var e struct{ Error, ErrorText json.RawMessage }
		if json.Unmarshal([]byte(text), &e) == nil && errorText(e.Error) != "" {
			return failed(errorText(e.Error))
		}
		return ""
	}
	switch {
	case r.ErrorText != "":
		return failed(r.ErrorText)
	case errorText(r.Error) != "":
		return failed(errorText(r.Error))
	case r.Speech.Plain.Speech != "":
		return r.Speech.Plain.Speech
	case r.Type == "error":
		var d struct {
			Code string `json:"code"`
		}
		_ = json.Unmarshal(r.Data, &d) // without a code there is no more to tell
		return failed(d.Code)
	case r.Type != "":
		return outcome(r.Data)
	case r.Success != nil && !*r.Success:
		return failed("")
	case len(r.Result) > 0:
		return told(r.Result)
	case len(r.Data) > 0:
		return answer(string(r.Data), depth+1)
	}
	return ""
}

func failed(why string) string {
	why = strings.Join(strings.Fields(why), " ")
	if why == "" {
		return "Sorry, that did not work."
	}
	return "Sorry, that did not work: " + strings.TrimSuffix(why, ".") + "."
}

// errorText is the text of an error, which is a string or an object with a message.
func errorText(raw json.RawMessage) string {
	var s string
	var o struct{ Message, Text string }
	switch {
	case len(raw) == 0 || string(raw) == "null" || string(raw) == "false":
		return ""
	case json.Unmarshal(raw, &s) == nil:
		return s
	case json.Unmarshal(raw, &o) == nil && o.Message+o.Text != "":
		return o.Message + o.Text
	}
	return "unknown error"
}

// outcome tells which devices did not do it.
func outcome(data json.RawMessage) string {
	var d struct {
		Failed []struct {
			Name string `json:"name"`
		} `json:"failed"`
	}
	if json.Unmarshal(data, &d) != nil || len(d.Failed) == 0 {
		return "Done."
	}
	var names []string
	for _, f := range d.Failed[:min(len(d.Failed), maxAnswer)] {
		names = append(names, f.Name)
	}
	return failed(strings.Join(names, ", "))
}

// told is the result of a tool that reads: the date and time, or the states of entities, as YAML.
func told(raw json.RawMessage) string {
	var now struct{ Date, Time, Weekday string }
	if json.Unmarshal(raw, &now) == nil && now.Time != "" {
		clock, _, _ := strings.Cut(now.Time, ":")
		if parts := strings.Split(now.Time, ":"); len(parts) > 1 {
			clock = parts[0] + ":" + parts[1]
		}
		return strings.TrimSpace(fmt.Sprintf("It is %s, %s %s.", clock, now.Weekday, now.Date))
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return ""
	}
	var parts []string
	entities := ReadHome(text).Entities
	for _, e := range entities[:min(len(entities), maxAnswer)] {
		if e.State != "" {
			parts = append(parts, strings.TrimSpace(e.Names[0]+": "+e.State+" "+e.Unit))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	if n := len(entities) - maxAnswer; n > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(parts, ", ") + "."
}
