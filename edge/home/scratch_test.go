package home

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestScratch(t *testing.T) {
	if os.Getenv("SCRATCH") == "" {
		t.Skip()
	}
	h := fixtureHome(t)
	a := assistant(t, h)
	var neg []struct{ Topic, Text string }
	b, _ := os.ReadFile("/tmp/u/neg.json")
	json.Unmarshal(b, &neg)
	f, _ := os.Create("/tmp/u/scores.jsonl")
	defer f.Close()
	e := json.NewEncoder(f)
	dump := func(kind, text string, right bool) {
		x, err := a.read(t.Context(), a.home.Load(), text, "")
		if err != nil {
			t.Fatal(err)
		}
		e.Encode(map[string]any{"kind": kind, "text": text, "right": right, "out": x.text, "refused": x.outcome.Refused, "reason": x.outcome.Reason, "score": x.score})
	}
	for i, r := range homeRows(t) {
		if i%2 == 0 {
			ans, _ := a.Handle(t.Context(), Request{Text: r.Prompt})
			dump("home", r.Prompt, len(ans.Meant) == 1 && same(r, ans.Meant[0]))
		}
	}
	if p := os.Getenv("TOPICS"); p != "" {
		neg = nil
		b, _ := os.ReadFile(p)
		json.Unmarshal(b, &neg)
	}
	for _, n := range neg {
		dump(n.Topic, n.Text, false)
	}
	fmt.Println("done")
}

func TestOwn(t *testing.T) {
	if os.Getenv("SCRATCH") == "" {
		t.Skip()
	}
	h, err := Read("testdata/beyond-home.toml")
	if err != nil {
		t.Fatal(err)
	}
	a := assistant(t, h)
	b, _ := os.ReadFile(os.Getenv("OWN"))
	for _, l := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		text, at, _ := strings.Cut(l, "@")
		ans, err := a.Handle(t.Context(), Request{Text: text, Device: at, Conversation: text})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%-60s %s ", l, ans.Kind)
		for _, x := range ans.Meant {
			fmt.Print(strings.TrimPrefix(x.Intent, "Hass"), x.Slots, len(x.Entities), "; ")
		}
		if ans.Kind != Act {
			fmt.Print(ans.Text, " | ", ans.Reason)
		}
		fmt.Println()
	}
}
