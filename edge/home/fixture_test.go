package home

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"bimamba/edge/engine"
	"bimamba/edge/model"
	"bimamba/internal/testmodel"
)

// fixtureHome is the house of Home Assistant's English tests.
func fixtureHome(t testing.TB) *Home {
	t.Helper()
	f, err := os.Open(testmodel.Shared(t, "corpus", "home-fixtures.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := &Home{Language: "en"}
	section := ""
	for s := bufio.NewScanner(f); s.Scan(); {
		line := strings.TrimPrefix(strings.TrimSpace(s.Text()), "- ")
		key, value, _ := strings.Cut(line, ":")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		name, optional := value, ""
		if a, rest, ok := strings.Cut(value, "["); ok { // a part that may be left out
			b, c, _ := strings.Cut(rest, "]")
			name, optional = a+c, a+b+c
		}
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case !strings.HasPrefix(s.Text(), " "):
			section = key
		case section == "floors" && key == "name":
			h.Floors = append(h.Floors, Floor{Name: name})
		case section == "floors" && key == "id":
			h.Floors[len(h.Floors)-1].ID = value
		case section == "areas" && key == "name":
			h.Areas = append(h.Areas, Area{Name: name})
		case section == "areas" && key == "id":
			h.Areas[len(h.Areas)-1].ID = value
		case section == "areas" && key == "floor":
			h.Areas[len(h.Areas)-1].Floor = value
		case section == "entities" && key == "name":
			h.Entities = append(h.Entities, Entity{Name: name})
			if optional != "" {
				h.Entities[len(h.Entities)-1].Aliases = []string{optional}
			}
		case section == "entities" && key == "id":
			h.Entities[len(h.Entities)-1].ID = strings.ReplaceAll(strings.ToLower(value), " ", "_")
		case section == "entities" && key == "area":
			h.Entities[len(h.Entities)-1].Area = value
		case section == "entities" && key == "device_class":
			h.Entities[len(h.Entities)-1].DeviceClass = value
		case section == "entities" && key == "unit_of_measurement":
			h.Entities[len(h.Entities)-1].Unit = value
		}
	}
	if err := h.Validate(); err != nil {
		t.Fatal(err)
	}
	return h
}

// row is one of the test set's.
type row struct {
	Task, Prompt, Intent string
	Slots                map[string]any
}

func homeRows(t testing.TB) (rows []row) {
	t.Helper()
	b, err := os.ReadFile(testmodel.Shared(t, "corpus", "assistant-test-dev.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var r row
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		if r.Task == Task {
			for k, v := range r.Slots {
				if l, ok := v.([]any); ok {
					r.Slots[k] = l[0]
				}
			}
			rows = append(rows, r)
		}
	}
	return rows
}

func open(t testing.TB) *engine.Engine {
	t.Helper()
	e, err := engine.Open(testmodel.Default(t), engine.Options{Model: model.Options{Precision: model.LUT16}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func assistant(t testing.TB, h *Home) *Assistant {
	t.Helper()
	a, err := New(open(t), h)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// same tells whether an action is the row's.
func same(r row, a Action) bool {
	if a.Intent != r.Intent || len(a.Slots) != len(r.Slots) {
		return false
	}
	for k, v := range r.Slots {
		x, y := v, a.Slots[k]
		if s, ok := x.(string); ok {
			x = strings.ToLower(strings.TrimSpace(s))
		}
		if s, ok := y.(string); ok {
			y = strings.ToLower(strings.TrimSpace(s))
		}
		if x != y {
			return false
		}
	}
	return true
}
