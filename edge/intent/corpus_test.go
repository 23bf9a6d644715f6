package intent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"bimamba/internal/testmodel"
)

// exchange is a request of Home Assistant's, as testdata/homeassistant has them.
type exchange struct {
	Messages []struct{ Role, Content string }
	Tools    []struct {
		Function struct {
			Name       string
			Parameters json.RawMessage
		}
	}
}

func readExchange(t testing.TB, name string) (system, user string, tools []Tool, results []Result) {
	t.Helper()
	b, err := os.ReadFile("testdata/homeassistant/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var x exchange
	if err := json.Unmarshal(b, &x); err != nil {
		t.Fatal(err)
	}
	for _, m := range x.Messages {
		switch m.Role {
		case "system":
			system = m.Content
		case "user":
			user, results = m.Content, nil
		case "tool":
			results = append(results, Result{JSON: m.Content})
		}
	}
	for _, f := range x.Tools {
		tools = append(tools, Tool{f.Function.Name, f.Function.Parameters})
	}
	return system, user, tools, results
}

// row is one of the test set's.
type row struct {
	Prompt, Intent string
	Slots          map[string]any
}

// homeRows are the rows of the task home, and the house that they speak of as Home Assistant would tell of it.
func homeRows(t testing.TB) (rows []row, system string) {
	t.Helper()
	b, err := os.ReadFile(testmodel.Shared(t, "corpus", "assistant-test-dev.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var r struct {
			Task string
			row
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		for k, v := range r.Slots {
			if list, ok := v.([]any); ok {
				v = list[0]
			}
			if s, ok := v.(string); ok {
				v = strings.TrimSpace(s)
			}
			r.Slots[k] = v
		}
		if r.Task == "home" {
			rows = append(rows, r.row)
		}
	}
	f, err := os.Open(testmodel.Shared(t, "corpus", "home-fixtures.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out strings.Builder
	out.WriteString("Static Context: An overview of the areas and the devices in this smart home:\n")
	areas, section, name := map[string]string{}, "", ""
	for s := bufio.NewScanner(f); s.Scan(); {
		key, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(s.Text()), "- "), ":")
		value = strings.ReplaceAll(strings.ReplaceAll(strings.Trim(strings.TrimSpace(value), `"`), "[", ""), "]", "")
		switch {
		case key == "" || strings.HasPrefix(key, "#"):
		case !strings.HasPrefix(s.Text(), " "):
			section = key
		case key == "name":
			name = value
		case section == "areas" && key == "id":
			areas[value] = name
		case section == "entities" && key == "id":
			domain, _, _ := strings.Cut(value, ".")
			out.WriteString("- names: " + name + "\n  domain: " + domain + "\n")
		case section == "entities" && key == "area":
			out.WriteString("  areas: " + areas[value] + "\n")
		}
	}
	return rows, out.String()
}

// want is what a row's call should be, in the words of the model's slots.
func same(r row, o Outcome) bool {
	if len(o.Calls) != 1 || o.Calls[0].Name != r.Intent {
		return false
	}
	var got map[string]any
	if json.Unmarshal(o.Calls[0].Arguments, &got) != nil {
		return false
	}
	if len(got) != len(r.Slots) {
		return false
	}
	for k, v := range r.Slots {
		g := got[k]
		if list, ok := g.([]any); ok && len(list) == 1 {
			g = list[0]
		}
		if g != v && !isFold(g, v) {
			return false
		}
	}
	return true
}
