package eval

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"bimamba/internal/testmodel"
)

func row(t *testing.T, s string) Row {
	t.Helper()
	rows, err := ReadRows(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	return rows[0]
}

func TestAdd(t *testing.T) {
	gold := `{"task":"home","prompt":"p","intent":"HassLightSet","slots":{"name":"Lamp","brightness":50,"color":["red","blue"]}}`
	for _, c := range []struct {
		name, output         string
		valid, intent, exact float64
		f1                   float64
	}{
		{"right", `{"intent":"hasslightset ","brightness":"50.0","color":"Red","name":" lamp"}` + "\nOK", 1, 1, 1, 1},
		{"one slot less", `{"intent":"HassLightSet","brightness":50,"name":"lamp"}`, 1, 1, 0, 0.8},
		{"one slot wrong", `{"intent":"HassLightSet","brightness":51,"name":"lamp","color":"red"}`, 1, 1, 0, 2. / 3},
		{"other intent", `{"intent":"HassTurnOn","brightness":50,"name":"lamp","color":"red"}`, 1, 0, 0, 1},
		{"cut", `{"intent":"HassLightSet","brightness":50`, 0, 0, 0, 0},
		{"second line", "\n" + `{"intent":"HassLightSet"}`, 0, 0, 0, 0},
		{"a list", `["intent"]`, 0, 0, 0, 0},
		{"more behind", `{"intent":"HassLightSet"} {}`, 0, 0, 0, 0},
		{"null", `null`, 0, 0, 0, 0},
		{"no intent", `{"name":"lamp"}`, 0, 0, 0, 0.5},
	} {
		var tally Tally
		tally.Add(row(t, gold), c.output)
		f := tally.Report()["home"]
		for i, x := range []struct{ got, want float64 }{{*f.ValidJSON, c.valid}, {*f.IntentAccuracy, c.intent}, {*f.ExactMatch, c.exact}, {*f.SlotF1, c.f1}} {
			if math.Abs(x.got-x.want) > 1e-12 {
				t.Errorf("%s: figure %d is %v, not %v", c.name, i, x.got, x.want)
			}
		}
		if f.InScopeAccuracy != nil || f.OOSRecall != nil {
			t.Errorf("%s: scope figures for a task without out-of-scope rows", c.name)
		}
	}
}

func TestScope(t *testing.T) {
	var tally Tally
	for _, r := range []struct{ gold, out string }{{"a", "a"}, {"a", "b"}, {"oos", "oos"}, {"oos", "oos"}, {"oos", "a"}, {"b", "oos"}} {
		tally.Add(Row{Task: "topics", Intent: r.gold}, `{"intent":"`+r.out+`"}`)
	}
	f := tally.Report()["topics"]
	if *f.InScopeAccuracy != 1./3 || *f.OOSRecall != 2./3 || *f.IntentAccuracy != 0.5 || f.SlotF1 != nil {
		t.Errorf("figures are %+v", f)
	}
	b, err := json.Marshal(f)
	if err != nil || !strings.Contains(string(b), `"slot_f1":null`) {
		t.Errorf("%s, %v", b, err)
	}
}

func TestReadRows(t *testing.T) {
	for _, bad := range []string{"", "{", `{"task":"x"}`, "[]", `{"task":"home","intent":"a","slots":[]}`} {
		if _, err := ReadRows(strings.NewReader(bad)); err == nil {
			t.Errorf("%q gave no error", bad)
		}
	}
	_, err := ReadRows(strings.NewReader(`{"task":"a","intent":"b"}` + "\n\n{"))
	if err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("the error does not name line 3: %v", err)
	}
}

// TestPublishedFigures takes the recorded outputs of the reference assistant and comes to the figures of its README.
func TestPublishedFigures(t *testing.T) {
	test := testmodel.Shared(t, "corpus", "assistant-test-dev.jsonl")
	recorded := testmodel.Shared(t, "models", "assistant", "outputs.json")
	f, err := os.Open(test)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := ReadRows(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	var outputs []struct{ Task, Prompt, Output string }
	if err := json.Unmarshal(b, &outputs); err != nil {
		t.Fatal(err)
	}
	byPrompt := make(map[[2]string]string)
	for _, o := range outputs {
		byPrompt[[2]string{o.Task, o.Prompt}] = o.Output
	}
	var tally Tally
	for _, r := range rows {
		tally.Add(r, byPrompt[[2]string{r.Task, r.Prompt}])
	}
	r := tally.Report()
	for _, c := range []struct {
		what string
		got  *float64
		want float64
	}{
		{"home intent", r["home"].IntentAccuracy, 99.4}, {"home exact", r["home"].ExactMatch, 68.2}, {"home slot F1", r["home"].SlotF1, 82.4},
		{"assist intent", r["assist"].IntentAccuracy, 98.0}, {"assist exact", r["assist"].ExactMatch, 70.5}, {"assist slot F1", r["assist"].SlotF1, 86.5},
		{"topics in scope", r["topics"].InScopeAccuracy, 91.6}, {"topics oos recall", r["topics"].OOSRecall, 45.3},
	} {
		if got := 100 * *c.got; math.Abs(got-c.want) > 0.5 {
			t.Errorf("%s: %.2f %%, the README says %.1f", c.what, got, c.want)
		} else {
			t.Logf("%s: %.2f %%, the README says %.1f", c.what, got, c.want)
		}
	}
}

func FuzzAdd(f *testing.F) {
	f.Add(`{"task":"home","intent":"a","slots":{"x":[1,"2"]}}`, `{"intent":"a","x":1.0}`)
	f.Add(`{"task":"t","intent":"oos","slots":{"x":{"y":null}}}`, "\n")
	f.Fuzz(func(t *testing.T, line, output string) {
		rows, err := ReadRows(strings.NewReader(line))
		if err != nil {
			return
		}
		var tally Tally
		for _, r := range rows {
			tally.Add(r, output)
		}
		for _, fig := range tally.Report() {
			for _, p := range []*float64{fig.ValidJSON, fig.IntentAccuracy, fig.ExactMatch, fig.SlotF1, fig.InScopeAccuracy, fig.OOSRecall} {
				if p != nil && !(*p >= 0 && *p <= 1) {
					t.Fatalf("figure %v", *p)
				}
			}
		}
	})
}
