package home_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bimamba/edge/engine"
	"bimamba/edge/home"
	"bimamba/edge/model"
	"bimamba/internal/eval"
	"bimamba/internal/testmodel"
)

// homely are CLINC150's intents that a home may understand.
var homely = regexp.MustCompile(`smart_home|timer|time|date|weather|music|volume|song|list|reminder|alarm|cancel|greeting|yes|no|goodbye|playlist|ask|made|repeat`)

// TestCalibration prints what the limits of scores are chosen by: for each limit, how many right and how many wrong actions have a score at least as high.
// Actions are those on the home rows of the test set in their house, on the dev half of beyond.jsonl, on wishes.jsonl, and on utterances of CLINC150 about something else, all of which are wrong. What the
// held half does has no part in it.
func TestCalibration(t *testing.T) {
	if testing.Short() || !testing.Verbose() {
		t.Skip("prints figures: runs with -v")
	}
	h, err := home.Read("testdata/beyond-home.toml")
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(testmodel.Default(t), engine.Options{Model: model.Options{Precision: model.LUT16}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	a, err := home.New(e, h)
	if err != nil {
		t.Fatal(err)
	}
	a.Unlimited()
	var sentences []eval.Sentence
	for _, name := range []string{"beyond", "wishes"} {
		sentences = append(sentences, readSentences(t, name, h)...)
	}
	b, err := os.ReadFile(testmodel.Shared(t, "corpus", "assistant-test-dev.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var r struct{ Task, Prompt, Intent string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.Task == "topics" && !homely.MatchString(r.Intent) {
			sentences = append(sentences, eval.Sentence{Group: "something else", Half: "dev", Text: r.Prompt, Accept: []eval.Outcome{{Kind: "decline"}}})
		}
	}
	scores := map[string][2][]float64{} // of each group: right, wrong
	for i := range sentences {
		s := &sentences[i]
		if s.Half != "dev" {
			continue
		}
		v, ans, err := eval.Judge(t.Context(), a, h, s, fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if v != eval.Acted && v != eval.WrongAction {
			continue
		}
		l := scores[s.Group]
		k := 0
		if v == eval.WrongAction {
			k = 1
			t.Logf("wrong: %.2f %s: %s", ans.Score, s.Text, effects(ans))
		} else if ans.Score < -1 {
			t.Logf("right: %.2f %s: %s", ans.Score, s.Text, effects(ans))
		}
		l[k] = append(l[k], ans.Score)
		scores[s.Group] = l
	}
	fixture, err := home.New(e, home.FixtureHome(t))
	if err != nil {
		t.Fatal(err)
	}
	fixture.Unlimited()
	var rows [2][]float64
	for _, r := range home.HomeRows(t) {
		ans, err := fixture.Handle(t.Context(), home.Request{Text: r.Prompt})
		if err != nil {
			t.Fatal(err)
		}
		if ans.Kind != home.Act {
			continue
		}
		k := 1
		if len(ans.Meant) == 1 && home.Same(r, ans.Meant[0]) {
			k = 0
		} else {
			t.Logf("wrong: %.2f %s: %s", ans.Score, r.Prompt, effects(ans))
		}
		if k == 0 && ans.Score < -1 {
			t.Logf("right: %.2f %s: %s", ans.Score, r.Prompt, effects(ans))
		}
		rows[k] = append(rows[k], ans.Score)
	}
	scores["home rows"] = rows
	count := func(k int, limit float64) (n int) {
		for _, l := range scores {
			for _, s := range l[k] {
				if s >= limit {
					n++
				}
			}
		}
		return n
	}
	var table strings.Builder
	limits := []float64{-0.05, -0.1, -0.2, -0.5, -0.75, -1, -1.5, -2, -2.5, -3, -3.5, -4, -5, -1000}
	slices.Reverse(limits)
	for _, limit := range limits {
		fmt.Fprintf(&table, "%8g %6d %6d\n", limit, count(0, limit), count(1, limit))
	}
	t.Logf("\n   limit  right  wrong\n%s", table.String())
}
