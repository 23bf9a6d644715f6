package home_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"bimamba/edge/engine"
	"bimamba/edge/home"
	"bimamba/edge/model"
	"bimamba/internal/eval"
	"bimamba/internal/testmodel"
)

var answers = flag.String("answers", "", "also print the answers that are not right: dev, held or wishes")

// TestBeyond says sentences, most of them beyond Home Assistant's templates, to the default model in a house that it has never seen. The
// README has the figures for every other sentence ("held"), which nothing was tuned on; here they are kept from getting worse.
func TestBeyond(t *testing.T) {
	if testing.Short() {
		t.Skip("374 sentences take a while where races are looked for")
	}
	h, err := home.Read("testdata/beyond-home.toml")
	if err != nil {
		t.Fatal(err)
	}
	sentences := readSentences(t, "beyond", h)
	for _, s := range readSentences(t, "wishes", h) {
		s.Half = "wishes"
		sentences = append(sentences, s)
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
	tallies := map[string]*eval.SentenceTally{"dev": {}, "held": {}, "wishes": {}}
	for i := range sentences {
		s := &sentences[i]
		v, ans, err := eval.Judge(t.Context(), a, h, s, fmt.Sprint(i))
		if err != nil {
			t.Fatalf("%s: %v", s.Text, err)
		}
		tallies[s.Half].Add(s.Group, v)
		if !v.Right() && *answers == s.Half {
			fmt.Printf("%s\t%s\t%s\t%s\t%v %s\t%s\t%.3f\n", s.Group, v, s.Text, s.At, ans.Kind, effects(ans), ans.Reason, ans.Score)
		}
	}
	for _, c := range []struct {
		half                  string
		leastRight, mostWrong int
	}{{"dev", 182, 2}, {"held", 140, 2}, {"wishes", 134, 1}} {
		half := c.half
		var table strings.Builder
		figures := tallies[half].Figures()
		if all := figures[len(figures)-1]; all.Right < c.leastRight || all.WrongAction > c.mostWrong {
			t.Errorf("%s: %d of %d right and %d wrong actions; %d and %d are what there was", half, all.Right, all.N, all.WrongAction, c.leastRight, c.mostWrong)
		}
		if err := eval.WriteSentenceTable(&table, figures); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s:\n%s", half, table.String())
	}
}

func readSentences(t testing.TB, name string, h *home.Home) []eval.Sentence {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".jsonl")
	if err != nil {
		t.Fatal(err)
	}
	sentences, err := eval.ReadSentences(bytes.NewReader(b), h)
	if err != nil {
		t.Fatal(err)
	}
	return sentences
}

// effects is what an answer does, or would do.
func effects(a *home.Answer) string {
	var parts []string
	for _, x := range a.Meant {
		parts = append(parts, fmt.Sprint(x.Intent, x.Slots, x.Entities))
	}
	return strings.Join(parts, "; ")
}

// BenchmarkBeyond is text in to action out on one thread, of the sentences that were worked on: most are tried in several words. A sentence's time is the least
// of three.
func BenchmarkBeyond(b *testing.B) {
	h, err := home.Read("testdata/beyond-home.toml")
	if err != nil {
		b.Fatal(err)
	}
	e, err := engine.Open(testmodel.Default(b), engine.Options{Model: model.Options{Precision: model.LUT16, Threads: 1}})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	a, err := home.New(e, h)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		var took []time.Duration
		longest := ""
		for _, name := range []string{"beyond", "wishes"} {
			for _, s := range readSentences(b, name, h) {
				if s.Half != "dev" {
					continue
				}
				least := time.Hour
				for range 3 {
					ans, err := a.Handle(b.Context(), home.Request{Text: s.Text, Device: s.At})
					if err != nil {
						b.Fatal(err)
					}
					least = min(least, ans.Took)
				}
				if len(took) == 0 || least > slices.Max(took) {
					longest = s.Text
				}
				took = append(took, least)
			}
		}
		slices.Sort(took)
		for p, name := range map[int]string{50: "ms-median", 99: "ms-p99", 100: "ms-longest"} {
			b.ReportMetric(took[(len(took)-1)*p/100].Seconds()*1e3, name)
		}
		b.Logf("longest of %d: %s", len(took), longest)
	}
}
