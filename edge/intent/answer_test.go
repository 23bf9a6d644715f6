package intent

import "testing"

func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		name    string
		results []string
		want    string
	}{
		{"none", nil, "Done."},
		{"text", []string{"ok"}, "Done."},
		{"action", []string{`{"speech":{},"response_type":"action_done","data":{"success":[{"name":"Lamp","type":"entity","id":"light.lamp"}],"failed":[]}}`}, "Done."},
		{"action in data", []string{`{"data":{"speech":{},"response_type":"action_done","data":{"success":[],"failed":[]}},"error":null}`}, "Done."},
		{"speech", []string{`{"speech":{"plain":{"speech":"Three minutes left.","extra_data":null}},"response_type":"query_answer","data":{}}`}, "Three minutes left."},
		{"some failed", []string{`{"response_type":"action_done","data":{"success":[{"name":"A"}],"failed":[{"name":"B"},{"name":"C"}]}}`}, "Sorry, that did not work: B, C."},
		{"error", []string{`{"response_type":"error","data":{"code":"no_valid_targets"}}`}, "Sorry, that did not work: no_valid_targets."},
		{"exception", []string{`{"error":"MatchFailedError","error_text":"No light was found."}`}, "Sorry, that did not work: No light was found."},
		{"error in data", []string{`{"data":null,"error":"no such tool"}`}, "Sorry, that did not work: no such tool."},
		{"error object", []string{`{"data":null,"error":{"message":"no such\ntool"}}`}, "Sorry, that did not work: no such tool."},
		{"error of another kind", []string{`{"error":17}`}, "Sorry, that did not work: unknown error."},
		{"error beside a field of another kind", []string{`{"error":"broken","speech":"x"}`}, "Sorry, that did not work: broken."},
		{"no success", []string{`{"success":false}`}, "Sorry, that did not work."},
		{"time", []string{`{"success":true,"result":{"date":"2026-12-06","time":"16:55:02","timezone":"CET","weekday":"Sunday"}}`}, "It is 16:55, Sunday 2026-12-06."},
		{"states", []string{`{"success":true,"result":"Live Context: An overview of the areas and the devices in this smart home:\n- names: Front Door\n  domain: lock\n  state: locked\n- names: Power\n  domain: sensor\n  state: '12.5'\n  attributes:\n    unit_of_measurement: kWh\n"}`},
			"Front Door: locked, Power: 12.5 kWh."},
		{"two", []string{`{"success":false,"error":"a"}`, `{"response_type":"action_done"}`}, "Sorry, that did not work: a. Done."},
		{"two alike", []string{`{"response_type":"action_done"}`, `{"response_type":"action_done"}`}, "Done."},
		{"nested", []string{`{"data":{"data":{"data":{"data":{"data":{"error":"deep"}}}}}}`}, "Done."},
	} {
		var results []Result
		for _, r := range c.results {
			results = append(results, Result{JSON: r})
		}
		if got := Answer(results); got != c.want {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
}

func TestAnswerPlain(t *testing.T) {
	for _, c := range []struct{ tool, text, want string }{
		{"get_current_weather", "Sunny, 21 degrees.", "Sunny, 21 degrees."},
		{"assist__HassTurnOn", "ok", "Done."},
		{"get_current_weather", `[{"a":1}]`, "Done."},
		{"get_current_weather", "", "Done."},
	} {
		if got := Answer([]Result{{c.tool, c.text}}); got != c.want {
			t.Errorf("%s %q: %q, not %q", c.tool, c.text, got, c.want)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(`{"data":{"response_type":"action_done","data":{"failed":[{"name":"a"}]}}}`)
	f.Add(`{"success":true,"result":"- names: a\n  state: on\n"}`)
	f.Fuzz(func(t *testing.T, s string) {
		if Answer([]Result{{JSON: s}}) == "" {
			t.Fatal("no answer")
		}
	})
}
