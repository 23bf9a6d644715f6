package openai

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"bimamba/edge/chat"
)

// FuzzString checks that encoding/json reads a string back, both as text and as bytes.
func FuzzString(f *testing.F) {
	for _, s := range []string{"", `"\/`, "\x00\x1f\x7f\n\r\t\b", "é€🌍\u2028", "\xff", "a\xe2\x82", "\xe2\x82\xacb\xc3", "\xed\xa0\x80", "\ufffd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := appendString([]byte("x"), s)
		if got := appendString([]byte("x"), []byte(s)); string(got) != string(b) {
			t.Errorf("%q is %q as text and %q as bytes", s, b, got)
		}
		var got string
		if err := json.Unmarshal(b[1:], &got); err != nil || !utf8.Valid(b) {
			t.Fatalf("%q became %q: %v", s, b, err)
		}
		var want strings.Builder
		for _, r := range s { // a byte that is no character is U+FFFD
			want.WriteRune(r)
		}
		if got != want.String() {
			t.Errorf("%q came back as %q", s, got)
		}
	})
}

func TestAppendLogProb(t *testing.T) {
	for p, want := range map[float64]string{
		-0.1: "-0.1", -1e-300: "-1e-300", -12.345678901234567: "-12.345678901234567", 0: "0",
		math.Inf(-1): "-9999.0", -1e9: "-9999.0", math.Inf(1): "null",
	} {
		if got := string(appendLogProb(nil, p)); got != want || !json.Valid([]byte(got)) {
			t.Errorf("%v became %s", p, got)
		}
	}
	if got := string(appendLogProb(nil, math.NaN())); got != "null" {
		t.Errorf("NaN became %s", got)
	}
}

func TestTokenText(t *testing.T) {
	for in, want := range map[string]string{"": "", "é": "é", "\xe2\x82": `bytes:\xe2\x82`, "a\xff": `bytes:\x61\xff`} {
		if got := tokenText(chat.Token{Bytes: []byte(in)}); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
}

// Rates are numbers where no time was measured, too.
func TestAppendUsage(t *testing.T) {
	got := string(append(appendUsage([]byte("{"), chat.Usage{Prompt: 3, Cached: 3, Completion: 1}, chat.Timing{}, nil), '}'))
	want := `{"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4,"prompt_tokens_details":{"cached_tokens":3}},` +
		`"timings":{"queued_ms":0.000,"prefill_ms":0.000,"decode_ms":0.000,"prompt_per_second":0,"predicted_per_second":0}}`
	if got != want {
		t.Errorf("got %s", got)
	}
}

// Energy is in usage: its joules, or why there are none.
func TestAppendEnergy(t *testing.T) {
	known := &chat.Energy{Joules: chat.Round(3.00004), AboveIdle: chat.Round(1.25), Uncertainty: chat.Round(0.15), Samples: 12, Sensor: `a "b"`}
	for _, tt := range []struct {
		e    *chat.Energy
		want string
	}{
		{known, `{"joules":3,"above_idle_joules":1.25,"uncertainty":0.15,"samples":12,"sensor":"a \"b\""}`},
		{
			&chat.Energy{Samples: 2, Sensor: "rapl", Reason: "too short: 2 samples"},
			`{"joules":null,"above_idle_joules":null,"uncertainty":null,"samples":2,"sensor":"rapl","reason":"too short: 2 samples"}`,
		},
		{known.Plus(&chat.Energy{Reason: "no", Samples: 1}), `{"joules":null,"above_idle_joules":null,"uncertainty":null,"samples":13,"sensor":"a \"b\"","reason":"no"}`},
		{known.Plus(known), `{"joules":6,"above_idle_joules":2.5,"uncertainty":0.3,"samples":24,"sensor":"a \"b\""}`},
	} {
		got := string(append(appendUsage([]byte("{"), chat.Usage{}, chat.Timing{}, tt.e), '}'))
		if !json.Valid([]byte(got)) || !strings.Contains(got, `{"cached_tokens":0},"energy":`+tt.want+`},"timings":`) {
			t.Errorf("got %s", got)
		}
	}
	if known.Plus(nil) != nil {
		t.Error("without a sensor there is energy")
	}
}
