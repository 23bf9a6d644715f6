package sphinx

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"bimamba/edge/home"
)

var (
	ruleName = regexp.MustCompile(`<([a-z]+)>`)
	jsgfWord = regexp.MustCompile(`^[a-z']+$`)
)

// checkGrammar holds a grammar to what the recognizer takes: rules that are used are defined, once, brackets pair, and all words are in the list.
func checkGrammar(t *testing.T, text string, words []string) {
	t.Helper()
	defined := map[string]bool{}
	if !strings.HasPrefix(text, "#JSGF V1.0;\n") {
		t.Errorf("it begins %.20q", text)
	}
	for _, line := range strings.Split(strings.TrimSuffix(text, ";\n"), ";\n")[2:] {
		name, body, ok := strings.Cut(strings.TrimPrefix(line, "public "), " = ")
		m := ruleName.FindStringSubmatch(name)
		if !ok || m == nil || defined[m[1]] || strings.TrimSpace(body) == "" {
			t.Fatalf("the rule %.100q", line)
		}
		defined[m[1]] = true
		open := []rune{}
		for _, r := range body {
			switch r {
			case '(', '[':
				open = append(open, r)
			case ')', ']':
				if len(open) == 0 || open[len(open)-1] != map[rune]rune{')': '(', ']': '['}[r] {
					t.Fatalf("brackets of %.100q", line)
				}
				open = open[:len(open)-1]
			}
		}
		if len(open) > 0 {
			t.Fatalf("brackets of %.100q", line)
		}
		for _, w := range strings.FieldsFunc(ruleName.ReplaceAllString(body, " "), func(r rune) bool { return strings.ContainsRune(" \t\n()[]|", r) }) {
			if !jsgfWord.MatchString(w) {
				t.Errorf("the word %q", w)
			}
			if _, ok := slices.BinarySearch(words, w); !ok {
				t.Errorf("%q is not in the list of words", w)
			}
		}
	}
	for _, m := range ruleName.FindAllStringSubmatch(text, -1) {
		if !defined[m[1]] {
			t.Errorf("<%s> is not defined", m[1])
		}
	}
}

func TestGrammar(t *testing.T) {
	h, err := home.Read("../testdata/home.toml")
	if err != nil {
		t.Fatal(err)
	}
	h.Areas = append(h.Areas, home.Area{ID: "x", Name: "Küche; <command> = unlock"}, home.Area{ID: "y", Name: "厨房"})
	h.Entities = append(h.Entities, home.Entity{ID: "light.x", Name: "Ben's lamp 2"}, home.Entity{ID: "light.y", Name: "ламппа"})
	g := NewGrammar(h)
	checkGrammar(t, string(g.Commands), g.Words)
	checkGrammar(t, string(g.Answers), g.Words)
	for _, want := range []string{"kuche command unlock", "ben's lamp two", "<lock> = back door | front door;\n", "open | close"} {
		if !strings.Contains(string(g.Commands), want) {
			t.Errorf("there is no %q", want)
		}
	}
	if !slices.Equal(g.Left, []string{"ламппа", "厨房"}) {
		t.Errorf("left out: %q", g.Left)
	}
	// An empty home has what needs no device.
	g = NewGrammar(&home.Home{})
	checkGrammar(t, string(g.Commands), g.Words)
	checkGrammar(t, string(g.Answers), g.Words)
	if !strings.Contains(string(g.Commands), "timer") || strings.Contains(string(g.Commands), "<area>") {
		t.Errorf("%s", g.Commands)
	}
}

func FuzzGrammar(f *testing.F) {
	f.Add("Kitchen light", "Living room", "light")
	f.Add("a;b|c<d>(e)[f]{g}*+/\"\\=", "\x00\xff", "cover")
	f.Add("100 200 7", "ß'’'", "lock")
	f.Fuzz(func(t *testing.T, name, area, domain string) {
		g := NewGrammar(&home.Home{Areas: []home.Area{{ID: "a", Name: area}}, Entities: []home.Entity{{ID: domain + ".x", Name: name, DeviceClass: "blind"}}})
		checkGrammar(t, string(g.Commands), g.Words)
		checkGrammar(t, string(g.Answers), g.Words)
		for _, w := range g.Words {
			if len(Pronounce(w)) == 0 {
				t.Errorf("%q has no pronunciation", w)
			}
		}
	})
}

func TestSpoken(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"Kitchen Light", "kitchen light"}, {"Café-Lampe", "cafe lampe"}, {"Anna’s lamp", "anna's lamp"}, {"TV 2", "tv two"}, {"Room101", "room one zero one"}, {"Lamp #21", "lamp twenty one"},
		{"'quoted'", "quoted"}, {"Straße", "strasse"}, {"", ""}, {"...", ""}, {"кухня", ""}, {"007", "zero zero seven"}, {"00", "zero"},
	} {
		if got := spoken(tt.name); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestFigures(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"set the lamp to fifty five percent", "set the lamp to 55 percent"}, {"set a timer for one hour and twenty minutes", "set a timer for 1 hour and 20 minutes"},
		{"the one in the kitchen", "the one in the kitchen"}, {"one hundred percent", "100 percent"}, {"lamp two", "lamp two"}, {"percent", "percent"}, {"zero percent", "0 percent"}, {"", ""},
	} {
		if got := Figures(tt.text); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestDictionary(t *testing.T) {
	const full = "a AH\nlamp L AE M P\nlamps L AE M P S\nlive L AY V\nlive(2) L IH V\nbroken\n"
	dict, guessed, err := Dictionary(strings.NewReader(full), []string{"lamp", "live", "broken", "zoe", "lamp", "zoe"})
	if err != nil {
		t.Fatal(err)
	}
	want := "lamp L AE M P\nlive L AY V\nlive(2) L IH V\nbroken B R AA K EH N\nzoe Z AA\n"
	if string(dict) != want || !slices.Equal(guessed, []string{"broken", "zoe"}) {
		t.Errorf("%s%q", dict, guessed)
	}
	if _, _, err := Dictionary(strings.NewReader(strings.Repeat("x", 5000)), nil); err == nil {
		t.Error("a line of 5,000 bytes is taken")
	}
}

// TestPronounce: guesses that are right, among words that the dictionary has.
func TestPronounce(t *testing.T) {
	for word, want := range map[string]string{
		"lamp": "L AE M P", "light": "L AY T", "lake": "L EY K", "porch": "P AO R CH", "kitchen": "K IH CH EH N", "phone": "F OW N", "knob": "N AA B", "tv": "T IY V IY", "ben's": "B EH N Z",
		"table": "T AE B AH L", "shed": "SH EH D", "party": "P AA R T IY", "'": "AH", "queen": "K W IY N", "station": "S T AE SH AH N", "fridge": "F R IH JH",
	} {
		if got := strings.Join(Pronounce(word), " "); got != want {
			t.Errorf("%s: %s, want %s", word, got, want)
		}
	}
}
