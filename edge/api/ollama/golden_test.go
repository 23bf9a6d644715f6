package ollama

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the answers in testdata anew")

// TestGolden replays the exchanges in testdata. A file has several: "=== request" with method, path, headers and body, "=== asked" with what
// reached the service, and "=== answer" with status, headers and body.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			f := &fake{}
			h := clocked(f) // one for the file: /api/ps tells of what was asked before
			head, rest, _ := strings.Cut(string(b), "=== request\n")
			got := head
			for part := range strings.SplitSeq(rest, "=== request\n") {
				request, _, _ := strings.Cut(part, "=== asked\n")
				request, _, _ = strings.Cut(request, "=== answer\n")
				r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(withLength(request))))
				if err != nil {
					t.Fatalf("%q: %v", request, err)
				}
				f.asked = nil
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				got += "=== request\n" + request
				if f.asked != nil {
					got += "=== asked\n" + asked(t, f.asked)
				}
				got += fmt.Sprintf("=== answer\n%d\n%s\n%s", w.Code, headers(w.Header()), w.Body)
				checkLines(t, w)
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(b) {
				t.Errorf("now it is (go test -update writes it):\n%s", got)
			}
		})
	}
}

// asked is a request to the service as JSON, without what is empty.
func asked(t *testing.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var m any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(without(m)); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// without is v without null, false, empty texts and empty objects.
func without(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, x := range v {
			if x = without(x); x == nil || x == "" || x == false {
				delete(v, key)
			} else {
				v[key] = x
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		for i := range v {
			v[i] = without(v[i])
		}
	}
	return v
}

// withLength makes a request of HTTP/1.1 of a golden one.
func withLength(s string) string {
	head, body, _ := strings.Cut(s, "\n\n")
	line, fields, _ := strings.Cut(head, "\n")
	if fields != "" {
		fields = strings.ReplaceAll(fields, "\n", "\r\n") + "\r\n"
	}
	return fmt.Sprintf("%s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", line, fields, len(body), body)
}

func headers(h http.Header) string {
	var lines []string
	for key, v := range h {
		lines = append(lines, key+": "+strings.Join(v, ", ")+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// fromISOFormat is what Python's datetime.fromisoformat reads in every version: before 3.11 no Z, and fractions of 3 or 6 digits only.
var fromISOFormat = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}(\d{3})?)?[+-]\d\d:\d\d$`)

// checkLines looks at what clients rely on in any answer: a JSON object a line, none of them blank, the last one with a newline, times that
// Python reads, arguments that are objects.
func checkLines(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	b := w.Body.Bytes()
	if len(b) == 0 || b[len(b)-1] != '\n' {
		t.Errorf("the answer does not end with a newline: %q", b)
		return
	}
	for l := range bytes.SplitSeq(b[:len(b)-1], []byte("\n")) {
		var v map[string]any
		if err := json.Unmarshal(l, &v); err != nil {
			t.Errorf("%q: %v", l, err)
			continue
		}
		checkValue(t, v)
	}
}

func checkValue(t *testing.T, v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, x := range v {
			switch key {
			case "created_at", "modified_at", "expires_at":
				if s, ok := x.(string); !ok || !fromISOFormat.MatchString(s) {
					t.Errorf("%s is %v", key, x)
				}
			case "arguments":
				if _, ok := x.(map[string]any); !ok {
					t.Errorf("arguments are %v", x)
				}
			}
			checkValue(t, x)
		}
	case []any:
		for _, x := range v {
			checkValue(t, x)
		}
	}
}
