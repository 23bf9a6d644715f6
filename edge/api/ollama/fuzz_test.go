package ollama

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fuzzBody sends bodies to a path: whatever comes, no status of the server's fault, and lines that clients can read.
func fuzzBody(f *testing.F, path string) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for l := range strings.Lines(string(b)) {
			if strings.HasPrefix(l, `{"model"`) {
				f.Add([]byte(l))
			}
		}
	}
	for _, s := range []string{
		"", "null", "[]", `{"model":"default","messages":[{"role":"tool","content":"x","tool_name":"f"}],"keep_alive":"1h","logprobs":true,"top_logprobs":2}`,
		`{"model":"default","prompt":"x","options":{"stop":["a"],"seed":-1,"top_p":1e-9,"num_predict":1e99},"format":{"type":"object"},"stream":false}`,
		`{"model":"default","messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{"a":[1e400]}}}]}],"think":"low"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := &fake{}
		w := do(t, clocked(s), "POST", path, string(body))
		if w.Code != 200 && (w.Code < 400 || w.Code >= 500) {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		checkLines(t, w)
		if w.Code == 200 && !json.Valid(body) {
			t.Fatal("a body that is no JSON is taken")
		}
		if s.asked != nil {
			if _, err := json.Marshal(s.asked); err != nil {
				t.Fatalf("the service is asked something that is no JSON: %v", err)
			}
		}
	})
}

func FuzzChatBody(f *testing.F)     { fuzzBody(f, "/api/chat") }
func FuzzGenerateBody(f *testing.F) { fuzzBody(f, "/api/generate") }
